//! Takes options of Multipath TCP out of segments, or SYNs that carry them out of the way (RFC 8684 3.7).

use super::{Middlebox, Way, flow_of};
use crate::packet::{ACK, SYN, Tcp, kind};
use stack::Instant;
use std::collections::BTreeMap;

/// From which segments the options go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// SYNs.
    Syn,
    /// SYN+ACKs.
    SynAck,
    /// All that is neither.
    Data,
    /// The segment of this number and all after it, counted for each direction of each flow from 0.
    Nth(u32),
    /// None: SYNs with such options do not pass at all.
    Swallow,
}

/// The middlebox.
pub struct Strip {
    from: From,
    /// Which ways of travel it looks at.
    ways: [bool; 2],
    /// Whether what follows a removed option closes up to it, instead of NOPs in its place.
    close_up: bool,
    seen: BTreeMap<(Way, super::FlowId), u32>,
}

impl Strip {
    /// One that strips `from` what travels the `ways`.
    #[must_use]
    pub const fn new(from: From, ways: [bool; 2], close_up: bool) -> Self {
        Self {
            from,
            ways,
            close_up,
            seen: BTreeMap::new(),
        }
    }

    fn meant(&mut self, way: Way, tcp: &Tcp) -> bool {
        let count = self.seen.entry((way, flow_of(tcp, way))).or_default();
        let number = *count;
        *count += 1;
        match self.from {
            From::Syn => tcp.has(SYN) && !tcp.has(ACK),
            From::SynAck => tcp.has(SYN | ACK),
            From::Data => !tcp.has(SYN),
            From::Nth(first) => number >= first,
            From::Swallow => false,
        }
    }
}

impl Middlebox for Strip {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(mut tcp) = Tcp::parse(&frame).filter(|_| self.ways[way.index()]) else {
            return out.push((way, frame));
        };
        let syn = tcp.has(SYN) && !tcp.has(ACK);
        if self.from == From::Swallow && syn && tcp.option(kind::MPTCP).is_some() {
            return;
        }
        if self.meant(way, &tcp) && tcp.strip(kind::MPTCP, self.close_up) {
            return out.push((way, tcp.frame()));
        }
        out.push((way, frame));
    }
}
