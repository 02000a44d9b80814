//! Draws other sequence numbers than the hosts did, as firewalls do that do not trust theirs: any, or such as soon come round.

use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{ACK, SYN, Tcp, kind};
use crate::seed::mix;
use stack::Instant;
use std::collections::BTreeMap;

/// What numbers it draws.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawn {
    /// Any, which follow from this key.
    Any(u64),
    /// Those of each stream come round after so many octets.
    Wrapping(u32),
}

/// The middlebox.
pub struct Numbers {
    drawn: Drawn,
    /// Whether it sets right what SACK blocks say; many do not.
    sack: bool,
    /// What the numbers of each direction of a flow are moved by.
    offsets: BTreeMap<(Way, FlowId), u32>,
}

impl Numbers {
    /// One that draws its numbers so.
    #[must_use]
    pub const fn new(drawn: Drawn, sack: bool) -> Self {
        Self {
            drawn,
            sack,
            offsets: BTreeMap::new(),
        }
    }

    /// What the sequence numbers of `flow` that travel `way` are moved by, of which `syn` is the first if it is known here.
    fn offset(&mut self, flow: FlowId, way: Way, syn: Option<u32>) -> u32 {
        match (self.drawn, syn) {
            (Drawn::Any(key), _) => {
                let ports = u64::from(flow.near.1) << 16 | u64::from(flow.far.1);
                (mix(key ^ ports << 1 ^ way.index() as u64) & 0xffff_ffff) as u32
            },
            (Drawn::Wrapping(after), Some(syn)) => {
                // A later one may be forged.
                let offset = self.offsets.entry((way, flow));
                *offset.or_insert(0_u32.wrapping_sub(after).wrapping_sub(syn))
            },
            (Drawn::Wrapping(_), None) => self.offsets.get(&(way, flow)).copied().unwrap_or(0),
        }
    }
}

impl Middlebox for Numbers {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(mut tcp) = Tcp::parse(&frame) else {
            return out.push((way, frame));
        };
        let flow = flow_of(&tcp, way);
        let syn = tcp.has(SYN).then_some(tcp.seq);
        let (ours, theirs) = (
            self.offset(flow, way, syn),
            self.offset(flow, way.turned(), None),
        );
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    #[test]
    fn numbers_come_round_after_so_many_octets_and_what_acknowledges_them_is_moved_back() {
        let ends = ["10.0.0.1:1", "10.0.0.2:2"]
            .map(|end| ([0; 6], end.parse::<SocketAddr>().expect("an end")));
        let mut numbers = Numbers::new(Drawn::Wrapping(1_000), true);
        let mut pass = |way, tcp: &Tcp| {
            let mut out = Vec::new();
            numbers.pass(Instant::from_millis(0), way, tcp.frame(), &mut out);
            Tcp::parse(&out[0].1).expect("a segment")
        };
        let (mut forth, mut back) = (
            Tcp::between(ends[0], ends[1]),
            Tcp::between(ends[1], ends[0]),
        );
        (forth.flags, forth.seq) = (SYN, 70_000);
        assert_eq!(pass(Way::Forth, &forth).seq, 0_u32.wrapping_sub(1_000));
        (back.flags, back.seq) = (SYN | ACK, 5);
        back.ack = 0_u32.wrapping_sub(999);
        let answer = pass(Way::Back, &back);
        assert_eq!(
            (answer.seq, answer.ack),
            (0_u32.wrapping_sub(1_000), 70_001)
        );
        (forth.flags, forth.seq, forth.ack) = (ACK, 71_000, answer.seq.wrapping_add(1));
        let data = pass(Way::Forth, &forth);
        assert_eq!((data.seq, data.ack), (0, 6));
        // A forged SYN moves nothing.
        (forth.flags, forth.seq) = (SYN, 72_000);
        assert_eq!(pass(Way::Forth, &forth).seq, 1_000);
    }
}
