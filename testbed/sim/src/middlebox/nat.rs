//! Translates the ports of who is on its near side, or ports and addresses (of IPv4), and may forget what it chose: the flow
//! then comes from elsewhere. For the addresses that it uses it answers ARP, in the place of who is behind them.

use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{self, ACK, SYN, Tcp};
use stack::Instant;
use stack::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// The middlebox. Flows that the far side opens keep their ports.
pub struct Nat {
    /// When it forgets all mappings, once.
    forgets: Option<Instant>,
    /// How long a mapping is kept that nothing from inside uses.
    timeout: Option<Duration>,
    mappings: BTreeMap<FlowId, Mapping>,
    /// Flows that its near side opened, and that its far side did: a SYN within one of these opens no other, whoever sent it.
    opened: BTreeSet<FlowId>,
    taken: BTreeSet<FlowId>,
    next: u16,
    /// The last octet of the address that flows come from, where addresses are translated.
    host: Option<u8>,
    /// The addresses that were used, and the station behind them.
    outside: BTreeSet<Ipv4Addr>,
    station: [u8; 6],
}

/// Ports from here on are its own.
const FIRST: u16 = 50_000;

#[derive(Clone, Copy)]
struct Mapping {
    outside: (IpAddr, u16),
    used: Instant,
}

impl Nat {
    /// One that forgets all mappings at `forgets`, and each that was not used for `timeout`; whether it translates
    /// `addresses`, too.
    #[must_use]
    pub fn new(forgets: Option<Instant>, timeout: Option<Duration>, addresses: bool) -> Self {
        Self {
            forgets,
            timeout,
            mappings: BTreeMap::new(),
            opened: BTreeSet::new(),
            taken: BTreeSet::new(),
            next: FIRST,
            host: addresses.then_some(70),
            outside: BTreeSet::new(),
            station: [0; 6],
        }
    }

    fn outward(&mut self, now: Instant, mut tcp: Tcp) -> Option<Tcp> {
        let flow = flow_of(&tcp, Way::Forth);
        if tcp.has(SYN) && !tcp.has(ACK) && !self.taken.contains(&flow) {
            self.opened.insert(flow);
        }
        if !self.opened.contains(&flow) {
            return Some(tcp);
        }
        if !self.mappings.contains_key(&flow) {
            let outside = (self.translated(tcp.src), self.next);
            self.next = self.next.wrapping_add(1).max(FIRST);
            self.mappings.insert(flow, Mapping { outside, used: now });
        }
        let mapping = self.mappings.get_mut(&flow)?;
        mapping.used = now;
        (tcp.src, tcp.src_port) = mapping.outside;
        Some(tcp)
    }

    /// The address that a flow from `inside` comes from.
    fn translated(&mut self, inside: IpAddr) -> IpAddr {
        let (IpAddr::V4(inside), Some(host)) = (inside, self.host) else {
            return inside;
        };
        let [a, b, c, _] = inside.octets();
        let outside = Ipv4Addr::new(a, b, c, host);
        self.outside.insert(outside);
        outside.into()
    }

    fn inward(&mut self, mut tcp: Tcp) -> Option<Tcp> {
        let flow = flow_of(&tcp, Way::Back);
        let mut mappings = self.mappings.iter();
        let of = |(inside, mapping): &(&FlowId, &Mapping)| {
            mapping.outside == flow.near && inside.far == flow.far
        };
        let Some((inside, _)) = mappings.find(of) else {
            let keeps = tcp.dst_port < FIRST;
            if keeps && tcp.has(SYN) && !tcp.has(ACK) {
                self.taken.insert(flow);
            }
            return keeps.then_some(tcp);
        };
        (tcp.dst, tcp.dst_port) = inside.near;
        Some(tcp)
    }
}

impl Middlebox for Nat {
    fn pass(&mut self, now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        if self.forgets.is_some_and(|at| at <= now) {
            self.forgets = None;
            self.mappings.clear();
            self.host = self.host.map(|host| host + 1);
        }
        if let Some(timeout) = self.timeout {
            self.mappings
                .retain(|_, mapping| now.since(mapping.used) < timeout);
        }
        if way == Way::Forth {
            self.station.copy_from_slice(&frame[6..12]);
        } else if let Some(asked) = packet::arp_asks_for(&frame)
            && self.outside.contains(&asked)
        {
            return out.push((Way::Forth, packet::arp_answer(&frame, self.station)));
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
