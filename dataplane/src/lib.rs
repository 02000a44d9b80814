//! Ports, the App that is run over them, and the worker loop that joins both.
//!
//! [`Worker::poll`] is the loop's body and reads as a packet's walk: mailbox, receive, steer, [`App::input`],
//! [`App::flush`], transmit. It is generic over [`Port`], so the very loop that runs on a NIC also runs a whole
//! network in virtual time over [`memory`]. This crate reads the clock in one place ([`clock`]), sleeps in one place
//! ([`idle`]), and knows nothing of DPDK.
#![deny(unsafe_code)]

pub mod app;
pub mod clock;
pub mod cycles;
pub mod headers;
pub mod idle;
pub mod long;
pub mod mailbox;
pub mod memory;
pub mod port;
pub mod siblings;
#[cfg(test)]
mod testing;
pub mod train;
pub mod worker;

pub use app::{App, CoreId, Owner};
pub use clock::Clock;
pub use idle::{Idle, run};
pub use mailbox::{AskError, Inbox, Mailbox, await_reply, mailbox};
pub use memory::{MemBuf, MemPort, MemWire};
pub use port::{BURST, BufferUse, Port, PortInfo, PortReport, PortStats, Received};
pub use siblings::{Siblings, siblings, siblings_with};
pub use stack::buf::RxChecksum;
pub use worker::{Worker, WorkerStats};
