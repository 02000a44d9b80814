//! Middleboxes: small machines on a link, a frame in, frames out, without clock or socket. A file for each family.

pub mod acks;
pub mod answers;
mod begin;
pub mod chance;
pub mod ends;
pub mod gateway;
pub mod inject;
pub mod nat;
pub mod numbers;
pub mod options;
pub mod payload;
pub mod segments;
pub mod storm;
pub mod strip;

use crate::packet::Tcp;
use stack::Instant;
use stack::time::Duration;
use std::net::IpAddr;

/// Which way a frame goes on a link: from its first end to its second, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the first end to the second.
    Forth,
    /// From the second end to the first.
    Back,
}

impl Way {
    /// The other one.
    #[must_use]
    pub const fn turned(self) -> Self {
        match self {
            Self::Forth => Self::Back,
            Self::Back => Self::Forth,
        }
    }

    /// 0 or 1.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Something on a link that does more than pass frames on.
pub trait Middlebox {
    /// Takes a frame that goes `way`; what leaves is put into `out`, each with the way it goes.
    fn pass(&mut self, now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>);

    /// When [`advance`](Self::advance) has something to do.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// What it has made of data since it was asked last that a checksum is right for all the same.
    fn chances(&mut self) -> Vec<chance::Chance> {
        Vec::new()
    }

    /// Does what is due.
    fn advance(&mut self, _now: Instant, _out: &mut Vec<(Way, Vec<u8>)>) {}
}

/// Every kind of middlebox, with what it is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`strip::Strip`].
    Strip {
        /// From which segments.
        from: strip::From,
        /// Travelling which way.
        ways: [bool; 2],
        /// Whether the rest closes up.
        close_up: bool,
    },
    /// [`options::Options`].
    Options(options::Change),
    /// [`numbers::Numbers`].
    Numbers {
        /// Which.
        drawn: numbers::Drawn,
        /// Whether it sets SACK blocks right.
        sack: bool,
    },
    /// [`ends::LoseEnds`].
    LoseEnds(u32),
    /// [`segments::Split`].
    Split(usize),
    /// [`segments::Join`].
    Join {
        /// Whether the second's options are kept.
        keeps_second: bool,
    },
    /// [`acks::Accelerator`].
    Accelerator,
    /// [`answers::Portal`].
    Portal(answers::Then),
    /// [`inject::Forger`].
    Forger {
        /// What.
        forgery: inject::Forgery,
        /// Into what travels which way.
        ways: [bool; 2],
        /// After one in so many segments.
        every: u32,
        /// How often at most.
        most: u32,
        /// Of its chance.
        seed: u64,
    },
    /// [`nat::Nat`].
    Nat {
        /// How long after the start it forgets all mappings, once.
        forgets: Option<Duration>,
        /// How long it keeps one that is not used.
        timeout: Option<Duration>,
        /// Whether it translates addresses, too, and not ports alone.
        addresses: bool,
    },
    /// [`storm::Storm`].
    Storm {
        /// How long after the start it begins.
        from: Duration,
        /// How often.
        rows: u16,
        /// How many SYNs at once.
        in_a_row: u16,
    },
    /// [`payload::Swap`].
    Swap([bool; 2]),
    /// [`payload::Insert`].
    Insert(u32),
    /// [`gateway::Gateway`].
    Gateway {
        /// In what travels which way.
        ways: [bool; 2],
        /// Whether addresses become longer, or shorter.
        longer: bool,
        /// How many of each flow.
        most: usize,
    },
}

impl Kind {
    /// Such a middlebox in a run that begins at `start`.
    #[must_use]
    pub fn build(self, start: Instant) -> Box<dyn Middlebox> {
        match self {
            Self::Strip {
                from,
                ways,
                close_up,
            } => Box::new(strip::Strip::new(from, ways, close_up)),
            Self::Options(change) => Box::new(options::Options::new(change)),
            Self::Numbers { drawn, sack } => Box::new(numbers::Numbers::new(drawn, sack)),
            Self::LoseEnds(most) => Box::new(ends::LoseEnds::new(most)),
            Self::Split(at) => Box::new(segments::Split(at)),
            Self::Join { keeps_second } => Box::new(segments::Join::new(keeps_second)),
            Self::Accelerator => Box::new(acks::Accelerator::default()),
            Self::Portal(then) => Box::new(answers::Portal::new(then)),
            Self::Forger {
                forgery,
                ways,
                every,
                most,
                seed,
            } => Box::new(inject::Forger::new(forgery, ways, (every, most), seed)),
            Self::Nat {
                forgets,
                timeout,
                addresses,
            } => {
                let forgets = forgets.map(|after| start + after);
                Box::new(nat::Nat::new(forgets, timeout, addresses))
            },
            Self::Storm {
                from,
                rows,
                in_a_row,
            } => Box::new(storm::Storm::new(start + from, rows, in_a_row)),
            Self::Swap(ways) => Box::new(payload::Swap(ways)),
            Self::Insert(before) => Box::new(payload::Insert::new(before)),
            Self::Gateway { ways, longer, most } => {
                Box::new(gateway::Gateway::new(ways, longer, most))
            },
        }
    }
}

/// The two ends of a flow on a link: on the side of its first end, and on that of its second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId {
    /// Address and port on the side of the first end.
    pub near: (IpAddr, u16),
    /// Address and port on the side of the second end.
    pub far: (IpAddr, u16),
}

/// The flow that a segment which goes `way` belongs to.
#[must_use]
pub const fn flow_of(tcp: &Tcp, way: Way) -> FlowId {
    let (src, dst) = ((tcp.src, tcp.src_port), (tcp.dst, tcp.dst_port));
    match way {
        Way::Forth => FlowId {
            near: src,
            far: dst,
        },
        Way::Back => FlowId {
            near: dst,
            far: src,
        },
    }
}
