//! Answers SYNs in the place of who is asked, as portals and load balancers do, and lets nothing of the flow through.

use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{ACK, RST, SYN, Tcp};
use stack::Instant;
use std::collections::BTreeSet;

/// What becomes of the flows that it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Their data is reset.
    Reset,
    /// Their data is swallowed.
    Silence,
}

/// The middlebox: it answers SYNs that travel forth, without any option.
pub struct Portal {
    then: Then,
    flows: BTreeSet<FlowId>,
}

impl Portal {
    /// One that does `then` with what it has lured.
    #[must_use]
    pub const fn new(then: Then) -> Self {
        Self {
            then,
            flows: BTreeSet::new(),
        }
    }
}

impl Middlebox for Portal {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(tcp) = Tcp::parse(&frame) else {
            return out.push((way, frame));
        };
        let flow = flow_of(&tcp, way);
        if way == Way::Forth && tcp.has(SYN) && !tcp.has(ACK) {
            let mut answer = tcp.answer(SYN | ACK);
            answer.seq = 0x0bad_cafe;
            answer.wnd = 8192;
            self.flows.insert(flow);
            return out.push((Way::Back, answer.frame()));
        }
        if !self.flows.contains(&flow) {
            return out.push((way, frame));
        }
        if way == Way::Forth && self.then == Then::Reset && !tcp.payload.is_empty() {
            out.push((Way::Back, tcp.answer(RST).frame()));
        }
    }
}
