//! A host's share in explicit congestion notification (RFC 3168 6.1), which smoltcp has not: it agrees on it, marks what it
//! sends as able, echoes marks until that is answered, and answers echoes. The host's rate is smoltcp's own affair.

use crate::middlebox::{FlowId, Way, flow_of};
use crate::packet::{ACK, CWR, ECE, SYN, Tcp};
use std::collections::BTreeMap;

/// The sender understands marks (RFC 3168 5).
const ABLE: u8 = 2;
/// Congestion experienced.
const MARKED: u8 = 3;

/// What a host knows of each of its flows.
#[derive(Default)]
pub struct Ecn(BTreeMap<FlowId, Flow>);

#[derive(Default)]
struct Flow {
    /// Whether this end has offered it, and the other.
    offered: [bool; 2],
    /// Whether both use it.
    agreed: bool,
    /// Whether a mark came that is to be told.
    echoes: bool,
    /// Whether an echo came that is to be answered.
    answers: bool,
    /// The end of what was sent: what is sent again is not marked as able (RFC 3168 6.1.5).
    end: u32,
}

impl Ecn {
    /// A frame arrives.
    pub fn arrives(&mut self, frame: &[u8]) {
        let Some(tcp) = Tcp::parse(frame) else { return };
        let flow = self.0.entry(flow_of(&tcp, Way::Back)).or_default();
        if tcp.has(SYN) {
            flow.offered[1] = tcp.flags & (ECE | CWR | ACK) == ECE | CWR;
            let taken = tcp.flags & (ECE | CWR | ACK) == ECE | ACK;
            flow.agreed |= flow.offered[0] && taken;
            return;
        }
        if !flow.agreed {
            return;
        }
        flow.echoes &= !tcp.has(CWR);
        flow.echoes |= tcp.ecn() == MARKED;
        flow.answers |= tcp.has(ECE);
    }

    /// `frame`, which leaves, with what belongs on it.
    pub fn leaves(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let Some(mut tcp) = Tcp::parse(&frame) else {
            return frame;
        };
        let flow = self.0.entry(flow_of(&tcp, Way::Forth)).or_default();
        let end = tcp.seq.wrapping_add(tcp.seq_len());
        if tcp.has(SYN) {
            flow.end = end;
            if tcp.has(ACK) {
                flow.agreed |= flow.offered[1];
                tcp.flags |= if flow.agreed { ECE } else { 0 };
            } else {
                flow.offered[0] = true;
                tcp.flags |= ECE | CWR;
            }
            return tcp.frame();
        }
        if !flow.agreed {
            return frame;
        }
        let is_new = end != flow.end && end.wrapping_sub(flow.end) < 1 << 31;
        if is_new && !tcp.payload.is_empty() {
            flow.end = end;
            tcp.set_ecn(ABLE);
            if std::mem::take(&mut flow.answers) {
                tcp.flags |= CWR;
            }
        }
        if flow.echoes {
            tcp.flags |= ECE;
        }
        tcp.frame()
    }
}
