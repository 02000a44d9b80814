//! Sans-IO TCP/IP: packets, time and randomness come in as arguments, packets and deadlines go out as values.
//!
//! This crate knows no device, socket, thread, clock or global. It reads in the order of a packet's walk:
//! [`wire`] parses, [`ip`] decides whether a packet is ours, [`flow`] names its connection, [`tcp`] runs it, and
//! [`ip`] turns what comes down into frames. [`buf`], [`time`], [`rng`], [`slab`], [`wheel`], [`tally`] and [`ledger`]
//! are what all of it stands on.
#![deny(unsafe_code)]

pub mod buf;
pub mod checksum;
mod chunks;
pub mod counters;
pub mod flow;
pub mod flow_index;
pub mod flow_table;
pub mod ip;
pub mod ledger;
pub mod prefetch;
pub mod rng;
pub mod rss;
pub mod seq;
pub mod slab;
pub mod tally;
pub mod tcp;
pub mod time;
pub mod wheel;
pub mod wire;

pub use buf::{Frame, Header, PacketBuf, PortId, RxChecksum, Slice};
pub use counters::Counter;
pub use flow::{FlowKey, PackedTuple, Side, Tuple};
pub use flow_index::{FlowHash, FlowIndex};
pub use flow_table::FlowTable;
pub use ledger::{Ledger, Step};
pub use prefetch::{prefetch, prefetch_ring};
pub use rng::Rng;
pub use seq::SeqNum;
pub use slab::{Handle, Slab};
pub use tally::{Ended, Tally};
pub use time::Instant;
pub use wheel::{Alarm, Wheel};

/// What every protocol entry point is lent: the burst's time, randomness, and where to count.
pub struct Cx<'a> {
    /// Read once per burst; never goes back.
    pub now: Instant,
    /// The core's generator: sequence numbers, keys, nonces, jitter.
    pub rng: &'a mut Rng,
    /// The core's named counters of this crate.
    pub counters: &'a mut Tally<Counter>,
}
