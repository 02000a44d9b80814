//! Acknowledges in the receiver's place what it has only seen pass, as accelerators do (RFC 8684 3.3.5 names them).

use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{ACK, FIN, RST, SYN, Tcp, kind};
use stack::Instant;
use std::collections::BTreeMap;

/// The middlebox: it acknowledges data that travels forth, keeps none of it, and so cannot make good a loss behind it.
#[derive(Default)]
pub struct Accelerator {
    /// For each flow what comes next of what travels forth.
    next: BTreeMap<FlowId, u32>,
}

impl Middlebox for Accelerator {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        if let Some(tcp) = Tcp::parse(&frame).filter(|_| way == Way::Forth) {
            self.acknowledge(&tcp, out);
        }
        out.push((way, frame));
    }
}

impl Accelerator {
    fn acknowledge(&mut self, tcp: &Tcp, out: &mut Vec<(Way, Vec<u8>)>) {
        let flow = flow_of(tcp, Way::Forth);
        let end = tcp.seq.wrapping_add(tcp.seq_len());
        if tcp.has(SYN) || tcp.has(RST) || !tcp.has(ACK) {
            self.next.insert(flow, end);
            return;
        }
        let Some(next) = self.next.get_mut(&flow) else {
            return;
        };
        // The end of a stream is left to its receiver.
        if tcp.payload.is_empty() || tcp.has(FIN) || tcp.seq != *next {
            return;
        }
        *next = end;
        let mut ack = tcp.answer(ACK);
        if let Some(&[kind, len, v0, v1, v2, v3, e0, e1, e2, e3]) = tcp.option(kind::TIMESTAMPS) {
            ack.options = vec![1, 1, kind, len, e0, e1, e2, e3, v0, v1, v2, v3];
        }
        out.push((Way::Back, ack.frame()));
    }
}
