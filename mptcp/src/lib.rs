//! Sans-IO Multipath TCP over [`stack::tcp`]: RFC 6824 (version 0) and RFC 8684 (version 1).
//!
//! [`option`] reads and writes option 30, [`crypto`] computes what the options carry, [`token`] finds a connection
//! by its token, and [`handshake`] decides what MP_CAPABLE and MP_JOIN mean. Above them stands the connection; [`stream`]
//! is what its owner sees, whether it is one of these or of TCP alone.
#![forbid(unsafe_code)]

pub mod connection;
pub mod counters;
mod coupling;
pub mod crypto;
mod dsn;
mod dss;
pub mod handshake;
pub mod join;
pub mod option;
mod path_manager;
mod recv_queue;
pub mod scheduler;
mod send_queue;
pub mod stream;
mod subflow;
#[cfg(test)]
mod testing;
pub mod time_wait;
pub mod token;
pub mod types;

pub use connection::{Connection, Event, Mode, Outcome, Output, Params, Subflow, SubflowId};
pub use counters::Counter;
pub use coupling::Coupling;
pub use crypto::{Key, LocalKey};
pub use handshake::capable::Versions;
pub use join::{JoinRefusal, Joined, Joining};
pub use option::MpOption;
pub use stream::Stream;
pub use token::{KeyPool, KeyPools, TokenTable};
pub use types::{AddrId, DataSeq, Role, Token, Version, WireSeq};

use stack::{Instant, Ledger, Rng, Tally};

/// What every entry point of this crate is lent: the burst's time, randomness, and where both layers count.
pub struct Cx<'a> {
    /// Read once per burst; never goes back.
    pub now: Instant,
    /// The core's generator: keys, nonces, jitter.
    pub rng: &'a mut Rng,
    /// The core's named counters of IP and TCP.
    pub tcp: &'a mut Tally<stack::Counter>,
    /// The core's named counters of this crate.
    pub mptcp: &'a mut Tally<Counter>,
    /// Where the core books its cycles.
    pub ledger: &'a mut Ledger,
}

impl Cx<'_> {
    /// The part of this context that the TCP layer takes.
    pub fn stack(&mut self) -> stack::Cx<'_> {
        stack::Cx {
            now: self.now,
            rng: self.rng,
            counters: self.tcp,
        }
    }
}
