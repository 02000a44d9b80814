//! Changes what is in the payload: one octet for another, or more of them than there were, as gateways do that rewrite
//! addresses inside a protocol. Where it changes the length, it sets sequence and acknowledgment numbers right.

use super::begin::Beginning;
use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{ACK, SYN, Tcp};
use stack::Instant;
use std::collections::BTreeMap;

/// The octet that is put in the place of another: whatever it was sent for, also in what is sent again.
#[must_use]
pub const fn swapped(octet: u8) -> u8 {
    match octet {
        0x41..=0x48 => octet ^ 0x20,
        _ => octet,
    }
}

/// Puts one octet in the place of another in what travels `ways`.
pub struct Swap(pub [bool; 2]);

impl Middlebox for Swap {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(mut tcp) = Tcp::parse(&frame).filter(|_| self.0[way.index()]) else {
            return out.push((way, frame));
        };
        tcp.payload
            .iter_mut()
            .for_each(|octet| *octet = swapped(*octet));
        out.push((way, tcp.frame()));
    }
}

/// What [`Insert`] adds to a stream.
pub const INSERTED: &[u8] = b"[added on the way]";

/// Adds octets to what travels forth on each flow, before the octet at a given place.
pub struct Insert {
    /// Which octet of the stream, from 0.
    before: u32,
    streams: BTreeMap<FlowId, Beginning>,
}

impl Insert {
    /// One that adds [`INSERTED`] before octet `before`.
    #[must_use]
    pub const fn new(before: u32) -> Self {
        Self {
            before,
            streams: BTreeMap::new(),
        }
    }

    fn forth(&self, first: u32, mut tcp: Tcp, out: &mut Vec<(Way, Vec<u8>)>) {
        let more = u32::try_from(INSERTED.len()).unwrap_or(0);
        let at = tcp.seq.wrapping_sub(first);
        let len = u32::try_from(tcp.payload.len()).unwrap_or(0);
        let far = 1 << 31;
        if at < far && at > self.before {
            tcp.seq = tcp.seq.wrapping_add(more);
        }
        if at >= far || at > self.before || at + len <= self.before {
            return out.push((Way::Forth, tcp.frame()));
        }
        let [before, mut behind] = super::segments::cut(tcp, (self.before - at) as usize);
        if !before.payload.is_empty() {
            out.push((Way::Forth, before.frame()));
        }
        let mut added = behind.clone();
        added.payload = INSERTED.to_vec();
        added.flags = ACK;
        out.push((Way::Forth, added.frame()));
        behind.seq = behind.seq.wrapping_add(more);
        out.push((Way::Forth, behind.frame()));
    }
}

impl Middlebox for Insert {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(mut tcp) = Tcp::parse(&frame) else {
            return out.push((way, frame));
        };
        let flow = flow_of(&tcp, way);
        if way == Way::Forth && tcp.has(SYN) {
            let stream = self.streams.entry(flow);
            let stream = stream.or_insert_with(|| Beginning::of(&tcp));
            if stream.travels(&tcp) {
                *stream = Beginning::of(&tcp);
            }
            return out.push((way, frame));
        }
        let Some(stream) = self.streams.get_mut(&flow) else {
            return out.push((way, frame));
        };
        let first = stream.first;
        if way == Way::Forth {
            stream.travels(&tcp);
            return self.forth(first, tcp, out);
        }
        stream.answered(&tcp);
        // What acknowledges a part of what was added acknowledges what is before it.
        let more = u32::try_from(INSERTED.len()).unwrap_or(0);
        let at = tcp.ack.wrapping_sub(first);
        if tcp.has(ACK) && at < 1 << 31 && at > self.before {
            let back = more.min(at - self.before);
            tcp.ack = tcp.ack.wrapping_sub(back);
        }
        out.push((way, tcp.frame()));
    }
}
