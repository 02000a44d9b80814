//! Further subflows: MP_JOIN to one of the announced addresses, on any port; the token alone names the connection.

use super::{Engine, FlowRef, HalfOpen, Timer, TokenRef};
use crate::Counter;
use crate::relay::{Ends, Which};
use core::net::IpAddr;
use mptcp::AddrId;
use mptcp::handshake::join;
use mptcp::join::{JoinRefusal, Joined};
use stack::ip::TcpArrival;
use stack::slab::Handle;
use stack::tcp::handshake::{Accepting, Offer};
use stack::wire::tcp::{Segment, Timestamps};
use stack::{FlowKey, Frame, Instant, PacketBuf, Side, Tuple};

/// Shift of the windows that we announce on joined subflows: 65,535 << 7 is more than any buffer of ours.
pub(super) const WSCALE: u8 = 7;

/// SYN+ACKs sent for one join, the first included.
const ANSWERS_MAX: u8 = 5;

const fn key_of(tuple: Tuple) -> FlowKey {
    FlowKey {
        side: Side::Access,
        tuple,
    }
}

impl<B: PacketBuf> Engine<B> {
    /// Takes a SYN with MP_JOIN to an announced address.
    pub(super) fn on_join(&mut self, now: Instant, syn: &Segment<B>, out: &mut Vec<Frame<B>>) {
        let Ok(request) = join::request(&syn.options.mptcp) else {
            return self.refuse(now, syn, Counter::JoinRefused, out);
        };
        let relay = match self.tokens.get(request.token) {
            Some(TokenRef::Relay(relay)) => relay,
            // A reset would end the client's joining for good; its SYN comes again.
            Some(TokenRef::Pending) => return self.tools.apps.count(Counter::JoinTooEarly),
            None => return self.refuse(now, syn, Counter::JoinNoToken, out),
        };
        let accepting = self.accepting(now, syn);
        let local = self.announced_id(syn.tuple.dst);
        let Some(connection) = self
            .relays
            .get_mut(relay)
            .and_then(|relay| relay.client.multipath_mut())
        else {
            return self.refuse(now, syn, Counter::JoinRefused, out);
        };
        if self.joinings.len() >= self.joinings.capacity() {
            return self.tools.apps.count(Counter::JoinLimit);
        }
        match connection.join(&mut self.tools.leg(now), syn, accepting, local) {
            Err(refusal) => {
                self.tools.apps.count(Counter::JoinRefused);
                if let Some(reset) = connection.refuse_join(syn, refusal) {
                    self.send(now, &syn.tuple.reversed(), reset, out);
                }
            },
            Ok(joining) => {
                let half_open = HalfOpen {
                    joining,
                    relay,
                    tuple: syn.tuple,
                    opened: now,
                };
                self.enter_join(now, half_open, out);
            },
        }
    }

    fn enter_join(&mut self, now: Instant, half_open: HalfOpen, out: &mut Vec<Frame<B>>) {
        let key = key_of(half_open.tuple);
        let Ok(handle) = self.joinings.insert(half_open) else {
            return self.tools.apps.count(Counter::JoinLimit);
        };
        if self.flows.insert(key, FlowRef::Joining(handle)).is_err() {
            self.give_up_join(handle);
            return self.tools.apps.count(Counter::JoinLimit);
        }
        self.answer_join(now, handle, out);
    }

    /// Our side of the handshake on a joined subflow: nothing is mirrored, as it ends here.
    fn accepting(&self, now: Instant, syn: &Segment<B>) -> Accepting {
        let to_client = syn.tuple.reversed();
        let limit = self.segment_max(to_client.dst);
        let clock = u32::try_from(now.as_millis() & u64::from(u32::MAX)).unwrap_or(0);
        let val = clock.wrapping_add(self.isn.ts_offset(&to_client));
        let peer = Offer::of(syn);
        let ours = Offer {
            mss: Some(limit),
            wscale: Some(WSCALE),
            sack: true,
            ts: Some(Timestamps { val, ecr: 0 }),
            wnd: u16::MAX,
        };
        let smss = peer.smss(limit, to_client.dst.is_ipv6());
        Accepting::new(
            self.isn.isn(now, &to_client),
            syn.seq,
            &peer,
            &ours,
            smss,
            now,
        )
    }

    /// The address id under which `address` is announced.
    fn announced_id(&self, address: IpAddr) -> AddrId {
        let mut ids = (1..=u8::MAX).zip(&self.config.announce);
        AddrId(ids.find(|(_, a)| **a == address).map_or(0, |(id, _)| id))
    }

    /// Sends the SYN+ACK of a join, and sets its timer.
    fn answer_join(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let Some(half_open) = self.joinings.get_mut(handle) else {
            return;
        };
        let tuple = half_open.tuple.reversed();
        let segment = half_open.joining.syn_ack(now);
        let again = half_open.joining.next_deadline();
        let expires = half_open.opened + self.config.timeouts.joining;
        let at = again.map_or(expires, |at| at.min(expires));
        self.arm(now, Timer::Joining(handle), at);
        self.send(now, &tuple, segment, out);
    }

    /// The timer of a half-open join: answers once more, or gives up.
    pub(super) fn on_join_timer(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let Some(half_open) = self.joinings.get(handle) else {
            return;
        };
        let expires = half_open.opened + self.config.timeouts.joining;
        if now >= expires || half_open.joining.sends() >= ANSWERS_MAX {
            self.tools.apps.count(Counter::JoinExpired);
            self.give_up_join(handle);
            return;
        }
        match half_open.joining.next_deadline() {
            Some(at) if at > now => self.arm(now, Timer::Joining(handle), at.min(expires)),
            _ => self.answer_join(now, handle, out),
        }
    }

    /// Takes the next segment of a half-open join.
    pub(super) fn on_joining(
        &mut self,
        now: Instant,
        handle: Handle,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let segment = &arrival.segment;
        let Some(half_open) = self.joinings.get_mut(handle) else {
            return;
        };
        let Some(connection) = self
            .relays
            .get_mut(half_open.relay)
            .and_then(|relay| relay.client.multipath_mut())
        else {
            self.give_up_join(handle);
            return self.refuse(now, segment, Counter::JoinRefused, out);
        };
        let cx = &mut self.tools.leg(now);
        match connection.complete_join(cx, &mut half_open.joining, segment) {
            Joined::Established(id) => {
                let relay = half_open.relay;
                self.joinings.remove(handle);
                self.on_joined(relay, id, segment.tuple);
            },
            Joined::Waiting(answer) => self.send_if_any(now, &segment.tuple, answer, out),
            Joined::Refused(why, answer) => {
                if why != JoinRefusal::Dropped {
                    self.tools.apps.count(Counter::JoinRefused);
                }
                // The connection has freed the join's place itself.
                self.joinings.remove(handle);
                self.flows.remove(&key_of(segment.tuple));
                self.send_if_any(now, &segment.tuple, answer, out);
            },
        }
    }

    fn send_if_any(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        answer: Option<stack::wire::tcp::OutSegment<B>>,
        out: &mut Vec<Frame<B>>,
    ) {
        if let Some(segment) = answer {
            self.send(now, &tuple.reversed(), segment, out);
        }
    }

    fn on_joined(&mut self, handle: Handle, id: mptcp::connection::SubflowId, tuple: Tuple) {
        self.tools.apps.count(Counter::JoinAccepted);
        // In place of the half-open join's entry, so there is room.
        let leg = FlowRef::Leg(handle, Which::Client(id));
        self.flows.insert(key_of(tuple), leg).ok();
        if let Some(relay) = self.relays.get_mut(handle) {
            relay.joined.try_push(tuple).ok();
        }
        self.wake(handle);
    }

    /// Forgets a half-open join.
    fn give_up_join(&mut self, handle: Handle) {
        let Some(half_open) = self.joinings.remove(handle) else {
            return;
        };
        self.flows.remove(&key_of(half_open.tuple));
        if let Some(connection) = self
            .relays
            .get_mut(half_open.relay)
            .and_then(|relay| relay.client.multipath_mut())
        {
            connection.abandon_join();
        }
    }

    /// A subflow has ended before its relay: a joined one frees its tuple; the first one's is still the server leg's, and
    /// what comes on it must never be forwarded.
    pub(super) fn on_subflow_closed(&mut self, handle: Handle, tuple: Tuple) {
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        let Ends { inner, outer, .. } = relay.ends;
        let first = [inner, outer.reversed()].contains(&tuple);
        relay.joined.retain(|joined| *joined != tuple);
        let key = self.key_of(&tuple);
        if first {
            self.flows.insert(key, FlowRef::Gone(handle)).ok();
        } else {
            self.flows.remove(&key);
        }
    }
}
