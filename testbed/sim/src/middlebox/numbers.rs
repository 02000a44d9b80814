//! Draws other sequence numbers than the hosts did, as firewalls do that do not trust theirs.

use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{ACK, Tcp, kind};
use crate::seed::mix;
use stack::Instant;

/// The middlebox.
pub struct Numbers {
    key: u64,
    /// Whether it sets right what SACK blocks say; many do not.
    sack: bool,
}

impl Numbers {
    /// One whose numbers follow from `key`.
    #[must_use]
    pub const fn new(key: u64, sack: bool) -> Self {
        Self { key, sack }
    }

    /// What the sequence numbers that travel `way` are moved by.
    fn offset(&self, flow: &FlowId, way: Way) -> u32 {
        let ports = u64::from(flow.near.1) << 16 | u64::from(flow.far.1);
        (mix(self.key ^ ports << 1 ^ way.index() as u64) & 0xffff_ffff) as u32
    }
}

impl Middlebox for Numbers {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(mut tcp) = Tcp::parse(&frame) else {
            return out.push((way, frame));
        };
        let flow = flow_of(&tcp, way);
        let (ours, theirs) = (self.offset(&flow, way), self.offset(&flow, way.turned()));
        tcp.seq = tcp.seq.wrapping_add(ours);
        if tcp.has(ACK) {
            tcp.ack = tcp.ack.wrapping_sub(theirs);
        }
        if self.sack {
            for (_, range) in tcp.ranges().into_iter().filter(|(k, _)| *k == kind::SACK) {
                for edge in tcp.options[range.start + 2..range.end].chunks_exact_mut(4) {
                    let at = u32::from_be_bytes([edge[0], edge[1], edge[2], edge[3]]);
                    edge.copy_from_slice(&at.wrapping_sub(theirs).to_be_bytes());
                }
            }
        }
        out.push((way, tcp.frame()));
    }
}
