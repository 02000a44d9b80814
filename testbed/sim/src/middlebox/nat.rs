//! Translates the ports of who is on its near side, and may forget what it chose: the flow then comes from another port.

use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{ACK, SYN, Tcp};
use stack::Instant;
use stack::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

/// The middlebox. Flows that the far side opens keep their ports.
pub struct Nat {
    /// When it forgets all mappings, once.
    forgets: Option<Instant>,
    /// How long a mapping is kept that nothing from inside uses.
    timeout: Option<Duration>,
    mappings: BTreeMap<FlowId, Mapping>,
    /// Flows that its near side opened.
    opened: BTreeSet<FlowId>,
    next: u16,
}

#[derive(Clone, Copy)]
struct Mapping {
    outside: u16,
    used: Instant,
}

impl Nat {
    /// One that forgets all mappings at `forgets`, and each that was not used for `timeout`.
    #[must_use]
    pub const fn new(forgets: Option<Instant>, timeout: Option<Duration>) -> Self {
        Self {
            forgets,
            timeout,
            mappings: BTreeMap::new(),
            opened: BTreeSet::new(),
            next: 50_000,
        }
    }

    fn outward(&mut self, now: Instant, mut tcp: Tcp) -> Option<Tcp> {
        let flow = flow_of(&tcp, Way::Forth);
        if tcp.has(SYN) && !tcp.has(ACK) {
            self.opened.insert(flow);
        }
        if !self.opened.contains(&flow) {
            return Some(tcp);
        }
        if !self.mappings.contains_key(&flow) {
            let outside = self.next;
            self.next = self.next.wrapping_add(1).max(50_000);
            self.mappings.insert(flow, Mapping { outside, used: now });
        }
        let mapping = self.mappings.get_mut(&flow)?;
        mapping.used = now;
        tcp.src_port = mapping.outside;
        Some(tcp)
    }

    fn inward(&self, mut tcp: Tcp) -> Option<Tcp> {
        if tcp.dst_port < 50_000 {
            return Some(tcp);
        }
        let flow = flow_of(&tcp, Way::Back);
        let mut mappings = self.mappings.iter();
        let (inside, _) = mappings.find(|(inside, mapping)| {
            mapping.outside == flow.near.1 && inside.far == flow.far && inside.near.0 == flow.near.0
        })?;
        tcp.dst_port = inside.near.1;
        Some(tcp)
    }
}

impl Middlebox for Nat {
    fn pass(&mut self, now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        if self.forgets.is_some_and(|at| at <= now) {
            self.forgets = None;
            self.mappings.clear();
        }
        if let Some(timeout) = self.timeout {
            self.mappings
                .retain(|_, mapping| now.since(mapping.used) < timeout);
        }
        let Some(tcp) = Tcp::parse(&frame) else {
            return out.push((way, frame));
        };
        let translated = match way {
            Way::Forth => self.outward(now, tcp),
            Way::Back => self.inward(tcp),
        };
        out.extend(translated.map(|tcp| (way, tcp.frame())));
    }
}
