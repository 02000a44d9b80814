//! Further subflows from the customer's edge: from a secondary port's own address to the peer's announced or configured
//! ones, each by the access that its route names.

use super::joins::WSCALE;
use super::{Engine, FlowRef, PortRole, Timer};
use crate::Counter;
use crate::relay::{Target, Which};
use core::net::IpAddr;
use mptcp::AddrId;
use mptcp::connection::Mode;
use mptcp::join::{Initiated, OpenJoin};
use stack::ip::{Ingress, TcpArrival};
use stack::slab::Handle;
use stack::tcp::handshake::{Offer, Opening};
use stack::time::Duration;
use stack::wire::tcp::{Flags, Timestamps};
use stack::{Frame, Instant, PacketBuf, Tuple};

/// SYNs sent for one join, the first included.
const SYNS_MAX: u8 = 4;

/// Joins of one address before it is left alone.
const TRIES_MAX: u8 = 8;

/// A join of ours that waits for its answer.
pub(super) struct Outbound {
    open: OpenJoin,
    relay: Handle,
    /// Of the segments that we send.
    tuple: Tuple,
}

impl<B: PacketBuf> Engine<B> {
    /// Whether a packet in transit would leave on a secondary access: none does, as its source is not ours (BCP 38).
    pub(super) fn strays(&self, ingress: &Ingress<B>) -> bool {
        if self.config.edge.is_none() {
            return false;
        }
        let dst = match ingress {
            Ingress::Done => return false,
            Ingress::Tcp(arrival) => arrival.packet.dst,
            Ingress::IcmpError(arrival) => arrival.packet.dst,
            Ingress::Opaque(opaque) => opaque.packet.dst,
            Ingress::Transit(packet) => packet.dst,
        };
        !self.net.is_own(dst) && self.secondary_toward(dst).is_some()
    }

    /// The address that a join towards `dst` leaves from, and its id, if its route is by a secondary port.
    fn secondary_toward(&self, dst: IpAddr) -> Option<(IpAddr, AddrId)> {
        let port = self.net.port_toward(dst)?;
        if self.config.role(port) != PortRole::Secondary {
            return None;
        }
        let mut interfaces = self.config.net.interfaces.iter();
        let interface = interfaces.find(|interface| interface.port == port)?;
        let mut addresses = interface.addresses.iter().map(ipnet::IpNet::addr);
        let address = addresses.find(|address| address.is_ipv4() == dst.is_ipv4())?;
        // Two families on one port are two addresses (RFC 8684 3.4.1); 0 is the first subflow's.
        let id = 1 + 2 * (port.0 % 100) + u8::from(dst.is_ipv6());
        Some((address, AddrId(id)))
    }

    /// The peer announced an address.
    pub(super) fn on_announced(
        &mut self,
        now: Instant,
        handle: Handle,
        addr: IpAddr,
        port: Option<u16>,
    ) {
        let Some(edge) = &self.config.edge else {
            return;
        };
        let known = edge.hag.contains(&addr);
        if known || edge.hag_prefixes.iter().any(|net| net.contains(&addr)) {
            self.add_target(now, handle, addr, port);
        }
    }

    fn add_target(&mut self, now: Instant, handle: Handle, addr: IpAddr, port: Option<u16>) {
        let reachable = self.secondary_toward(addr).is_some();
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        if reachable && !relay.targets.iter().any(|target| target.addr == addr) {
            let target = Target {
                addr,
                port: port.unwrap_or(relay.ends.outer.dst_port),
                at: Some(now),
                tries: 0,
            };
            relay.targets.try_push(target).ok();
        }
    }

    /// Opens the joins that are due, once options were seen to pass in both directions.
    pub(super) fn run_joins(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let Some(edge) = &self.config.edge else {
            return;
        };
        let verified = self.relays.get(handle).is_some_and(|relay| {
            let connection = relay.multipath();
            connection.is_some_and(|leg| leg.mode() == Mode::Verified) && !relay.is_closing()
        });
        if !verified {
            return self.clear_due(now, handle);
        }
        for at in 0..edge.hag.len() {
            let address = self.config.edge.as_ref().and_then(|edge| edge.hag.get(at));
            if let Some(&address) = address {
                self.add_target(now, handle, address, None);
            }
        }
        let due = self.relays.get_mut(handle).and_then(|relay| {
            let mut targets = relay.targets.iter_mut();
            let target = targets.find(|target| target.at.is_some_and(|at| at <= now))?;
            target.at = None;
            Some(*target)
        });
        if let Some(target) = due {
            self.open_one(now, handle, target, out);
        }
    }

    /// Puts joins off that cannot be opened yet.
    fn clear_due(&mut self, now: Instant, handle: Handle) {
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        for target in &mut relay.targets {
            if target.at.is_some_and(|at| at <= now) {
                target.at = Some(now + Duration::from_millis(100));
            }
        }
    }

    fn open_one(&mut self, now: Instant, relay: Handle, to: Target, out: &mut Vec<Frame<B>>) {
        let Some((src, id)) = self.secondary_toward(to.addr) else {
            return;
        };
        let low = u16::try_from(self.tools.rng.below(0x8000)).unwrap_or(0);
        let tuple = Tuple {
            src,
            dst: to.addr,
            src_port: 0x8000 | low,
            dst_port: to.port,
        };
        let key = self.key_of(&tuple.reversed());
        if self.flows.get(&key).is_some() {
            return self.join_again(now, relay, tuple.reversed());
        }
        let clock = u32::try_from(now.as_millis() & u64::from(u32::MAX)).unwrap_or(0);
        let val = clock.wrapping_add(self.isn.ts_offset(&tuple));
        let ours = Offer {
            mss: Some(self.segment_max(to.addr)),
            wscale: Some(WSCALE),
            sack: true,
            ts: Some(Timestamps { val, ecr: 0 }),
            wnd: u16::MAX,
        };
        let opening = Opening::new(self.isn.isn(now, &tuple), &ours, now);
        let Some(connection) = self.relays.get_mut(relay).and_then(|r| r.multipath_mut()) else {
            return;
        };
        let cx = &mut self.tools.leg(now);
        let Ok(open) = connection.open_join(cx, opening, id, false) else {
            return self.join_again(now, relay, tuple.reversed());
        };
        let syn = open.syn(now);
        let again = open.next_deadline();
        let outbound = Outbound { open, relay, tuple };
        let Ok(handle) = self.open_joins.insert(outbound) else {
            self.abandon(relay);
            return self.tools.apps.count(Counter::JoinLimit);
        };
        if self.flows.insert(key, FlowRef::OpenJoin(handle)).is_err() {
            self.open_joins.remove(handle);
            self.abandon(relay);
            return self.tools.apps.count(Counter::JoinLimit);
        }
        self.arm(now, Timer::OpenJoin(handle), again.unwrap_or(now));
        self.send(now, &tuple, syn, out);
    }

    /// Takes a segment that answers a join of ours.
    pub(super) fn on_open_join(
        &mut self,
        now: Instant,
        handle: Handle,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let segment = &arrival.segment;
        let limit = self.segment_max(segment.tuple.src);
        let Some(outbound) = self.open_joins.get_mut(handle) else {
            return;
        };
        let relay = outbound.relay;
        let Some(connection) = self.relays.get_mut(relay).and_then(|r| r.multipath_mut()) else {
            self.forget_join(handle);
            return self.refuse(now, segment, Counter::JoinRefused, out);
        };
        let cx = &mut self.tools.leg(now);
        let answer = match connection.input_join(cx, &mut outbound.open, limit, segment) {
            Initiated::Established(id) => {
                self.open_joins.remove(handle);
                let leg = FlowRef::Leg(relay, Which::Server(id));
                self.flows.insert(self.key_of(&segment.tuple), leg).ok();
                if let Some(relay) = self.relays.get_mut(relay) {
                    relay.joined.try_push(segment.tuple).ok();
                }
                self.tools.apps.count(Counter::JoinOpened);
                self.wake(relay);
                None
            },
            Initiated::Waiting(answer) => answer,
            Initiated::Refused(_, answer) => {
                self.tools.apps.count(Counter::JoinRefused);
                self.forget_join(handle);
                if segment.flags.has(Flags::RST) {
                    self.stop_joins(relay);
                }
                answer
            },
        };
        if let Some(answer) = answer {
            self.send(now, &segment.tuple.reversed(), answer, out);
        }
    }

    /// The peer wants no further subflow of this connection.
    fn stop_joins(&mut self, relay: Handle) {
        if let Some(relay) = self.relays.get_mut(relay) {
            for target in &mut relay.targets {
                target.at = None;
                target.tries = TRIES_MAX;
            }
        }
    }

    /// The timer of a join of ours: its SYN once more, or it is given up.
    pub(super) fn on_open_join_timer(
        &mut self,
        now: Instant,
        handle: Handle,
        out: &mut Vec<Frame<B>>,
    ) {
        let Some(outbound) = self.open_joins.get_mut(handle) else {
            return;
        };
        let (relay, tuple) = (outbound.relay, outbound.tuple);
        let lives = self.relays.get(relay).is_some();
        if !lives || outbound.open.sends() >= SYNS_MAX {
            self.tools.apps.count(Counter::JoinExpired);
            self.forget_join(handle);
            self.abandon(relay);
            self.join_again(now, relay, tuple.reversed());
            return self.wake(relay);
        }
        if let Some(at) = outbound.open.next_deadline().filter(|at| *at > now) {
            return self.arm(now, Timer::OpenJoin(handle), at);
        }
        outbound.open.sent_again(now);
        let syn = outbound.open.syn(now);
        let again = outbound.open.next_deadline();
        self.arm(now, Timer::OpenJoin(handle), again.unwrap_or(now));
        self.send(now, &tuple, syn, out);
    }

    fn forget_join(&mut self, handle: Handle) {
        if let Some(outbound) = self.open_joins.remove(handle) {
            let key = self.key_of(&outbound.tuple.reversed());
            self.flows.remove(&key);
        }
    }

    fn abandon(&mut self, relay: Handle) {
        if let Some(connection) = self.relays.get_mut(relay).and_then(|r| r.multipath_mut()) {
            connection.abandon_join();
        }
    }

    /// The subflow that received `tuple` is lost, or never came: it is due again after a while that doubles each time.
    pub(super) fn join_again(&mut self, now: Instant, handle: Handle, tuple: Tuple) {
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        let mut targets = relay.targets.iter_mut();
        if let Some(target) = targets.find(|target| target.addr == tuple.src)
            && target.tries < TRIES_MAX
        {
            target.at = Some(now + Duration::from_secs(1 << target.tries));
            target.tries += 1;
        }
    }
}
