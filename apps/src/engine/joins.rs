//! Further subflows that the peer opens: MP_JOIN to one of our addresses for that, on any port; the token alone names
//! the connection.

use super::{Engine, FlowRef, HalfOpen, Timer, TokenRef};
use crate::Counter;
use crate::relay::{By, Ends, Relay, State};
use mptcp::connection::{Subflow, SubflowId};
use mptcp::handshake::join;
use mptcp::join::{JoinRefusal, Joined};
use stack::ip::TcpArrival;
use stack::slab::Handle;
use stack::tcp::handshake::{Accepting, Offer, WSCALE_MAX};
use stack::wire::tcp::{Segment, Timestamps};
use stack::{Alarm, Ended, Frame, Instant, PacketBuf, Tuple};

/// Shift of the windows that we announce on joined subflows: the least that can say all of `buffer` octets, which a relay
/// may hold in one direction.
pub(super) fn wscale_for(buffer: u32) -> u8 {
    let says_all = |shift: &u8| u32::from(u16::MAX) << shift >= buffer;
    (0..WSCALE_MAX).find(says_all).unwrap_or(WSCALE_MAX)
}

/// SYN+ACKs sent for one join, the first included.
const ANSWERS_MAX: u8 = 5;

impl<B: PacketBuf> Engine<B> {
    /// Takes a SYN with MP_JOIN to one of our addresses that take joins.
    pub(super) fn on_join(
        &mut self,
        now: Instant,
        syn: &Segment<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Ok(request) = join::request(&syn.options.mptcp) else {
            return self.refuse_join(now, syn, Counter::JoinRefused, out);
        };
        let token = self.tokens.get(request.token);
        if token == Some(TokenRef::PENDING) {
            // A reset would end the client's joining for good; its SYN comes again.
            return self.tools.apps.end(Counter::JoinTooEarly);
        }
        let Some(relay) = token.and_then(|token| self.relays.at(token.0)) else {
            return self.refuse_join(now, syn, Counter::JoinNoToken, out);
        };
        if self.joinings.len() >= self.joinings.capacity() {
            return self.tools.apps.end(Counter::JoinLimit);
        }
        if self.joins_too_much(relay) {
            return self.tools.apps.end(Counter::JoinLimitSubscriber);
        }
        let accepting = self.accepting(now, syn);
        let (ours, theirs) = (syn.tuple.dst, syn.tuple.src);
        let Some(local) = self.own.find(ours).map(|own| own.id) else {
            return self.refuse_join(now, syn, Counter::JoinRefused, out);
        };
        let by = self.path_between(ours, theirs);
        let Some(held) = self.relays.get_mut(relay) else {
            return self.refuse_join(now, syn, Counter::JoinRefused, out);
        };
        if held.is_taken(by) {
            // In silence: a reset would end the peer's joining for good, and ours may yet come to nothing.
            return self.tools.apps.end(Counter::JoinSurplus);
        }
        let Some(connection) = held.multipath_mut() else {
            return self.refuse_join(now, syn, Counter::JoinRefused, out);
        };
        match connection.join(&mut self.tools.leg(now), syn, accepting, local) {
            Err(refusal) => {
                if let Some(reset) = connection.refuse_join(syn, refusal) {
                    self.send(now, &syn.tuple.reversed(), reset, out);
                }
                self.tools.apps.end(Counter::JoinRefused)
            },
            Ok(joining) => {
                held.await_peer(by);
                let half_open = HalfOpen {
                    joining,
                    relay,
                    subscriber: held.subscriber,
                    tuple: syn.tuple,
                    opened: now,
                    alarm: Alarm::default(),
                };
                self.enter_join(now, half_open, out)
            },
        }
    }

    /// Answers a join that has no connection here: with a reset that says so (RFC 8684 3.2).
    pub(super) fn refuse_join(
        &mut self,
        now: Instant,
        syn: &Segment<B>,
        why: Counter,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        if let Some(reset) = mptcp::join::refuse_join(syn, JoinRefusal::NoToken) {
            self.send(now, &syn.tuple.reversed(), reset, out);
        }
        self.tools.apps.end(why)
    }

    fn enter_join(&mut self, now: Instant, half_open: HalfOpen, out: &mut Vec<Frame<B>>) -> Ended {
        let key = self.key_of(&half_open.tuple);
        let subscriber = half_open.subscriber;
        let Ok(handle) = self.joinings.insert(half_open) else {
            return self.tools.apps.end(Counter::JoinLimit);
        };
        self.subscribers
            .change_at(subscriber, |usage| usage.joining += 1);
        if self.enter_flow(&key, FlowRef::Joining(handle)).is_err() {
            self.give_up_join(now, handle);
            return self.tools.apps.end(Counter::JoinLimit);
        }
        self.answer_join(now, handle, out);
        self.tools.apps.end(Counter::JoinTaken)
    }

    /// Our side of the handshake on a joined subflow: nothing is mirrored, as it ends here.
    fn accepting(&self, now: Instant, syn: &Segment<B>) -> Accepting {
        let to_client = syn.tuple.reversed();
        let limit = self.segment_max_from(to_client.src, to_client.dst);
        let clock = u32::try_from(now.as_millis() & u64::from(u32::MAX)).unwrap_or(0);
        let val = clock.wrapping_add(self.isn.ts_offset(&to_client));
        let peer = Offer::of(syn);
        let ours = Offer {
            mss: Some(limit),
            wscale: Some(wscale_for(self.config.limits.buffer)),
            sack: true,
            ts: Some(Timestamps { val, ecr: 0 }),
            wnd: u16::MAX,
            ecn: peer.ecn,
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

    /// Sends the SYN+ACK of a join, and sets its timer.
    fn answer_join(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let Some(half_open) = self.joinings.get_mut(handle) else {
            return;
        };
        let (tuple, relay) = (half_open.tuple.reversed(), half_open.relay);
        let segment = half_open.joining.syn_ack(now);
        let again = half_open.joining.next_deadline();
        let expires = half_open.opened + self.config.timeouts.joining;
        let at = again.map_or(expires, |at| at.min(expires));
        self.timers
            .arm(&mut half_open.alarm, Timer::Joining(handle), at);
        self.send_join(now, relay, &tuple, segment, out);
    }

    /// The timer of a half-open join: answers once more, or gives up.
    pub(super) fn on_join_timer(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let Some(half_open) = self.joinings.get_mut(handle) else {
            return;
        };
        self.timers.disarm(&mut half_open.alarm);
        let expires = half_open.opened + self.config.timeouts.joining;
        if now >= expires || half_open.joining.sends() >= ANSWERS_MAX {
            self.tools.apps.count(Counter::JoinExpired);
            self.give_up_join(now, handle);
            return;
        }
        match half_open.joining.next_deadline() {
            Some(at) if at > now => {
                let at = at.min(expires);
                self.timers
                    .arm(&mut half_open.alarm, Timer::Joining(handle), at);
            },
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
    ) -> Ended {
        let segment = &arrival.segment;
        let Some(half_open) = self.joinings.get_mut(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        let Some(connection) = self
            .relays
            .get_mut(half_open.relay)
            .and_then(Relay::multipath_mut)
        else {
            self.give_up_join(now, handle);
            return self.refuse(now, segment, Counter::JoinRefused, out);
        };
        let cx = &mut self.tools.leg(now);
        let mut fate = Counter::JoinTaken;
        match connection.complete_join(cx, &mut half_open.joining, segment) {
            Joined::Established(id) => {
                let relay = half_open.relay;
                self.take_joining(handle);
                self.tools.apps.count(Counter::JoinAccepted);
                let was = FlowRef::Joining(handle);
                self.enter_subflow(now, relay, id, (segment.tuple, false), was);
            },
            Joined::Waiting(answer) => self.send_if_any(now, &segment.tuple, answer, out),
            Joined::Refused(why, answer) => {
                if why != JoinRefusal::Dropped {
                    fate = Counter::JoinRefused;
                }
                let relay = half_open.relay;
                // The connection has freed the join's place itself.
                self.drop_joining(handle);
                self.free_path(now, relay, &segment.tuple);
                self.send_if_any(now, &segment.tuple, answer, out);
            },
        }
        self.tools.apps.end(fate)
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

    /// A joined subflow lives, whoever opened it: its tuple, until now that of `was`, is its leg's, and its path has what
    /// it can have.
    pub(super) fn enter_subflow(
        &mut self,
        now: Instant,
        handle: Handle,
        id: SubflowId,
        (tuple, ours): (Tuple, bool),
        was: FlowRef,
    ) {
        let by = self.path_between(tuple.dst, tuple.src);
        let key = self.key_of(&tuple);
        let Some(relay) = self.relays.get_mut(handle) else {
            return self.leave_flow(&key, was);
        };
        relay.joined.push((id, tuple));
        let leg = FlowRef::Leg(handle, relay.multipath_leg(id));
        let before = relay.occupy(by, tuple, ours, now);
        self.turn_flow(&key, was, leg);
        match before {
            // The peer was faster: one subflow is enough.
            Some((State::Opening(Some(open)), _)) if !ours => self.give_up_open(open),
            // The customer's box opened one although ours had come to life: its own stays.
            Some((State::Live(surplus, _), true)) if !ours => {
                self.close_surplus(now, handle, surplus);
            },
            _ => {},
        }
        self.keep_alive(now, handle, id, by);
        self.wake(handle);
    }

    /// Ends the subflow that receives `tuple` in good order: there is another on its path.
    fn close_surplus(&mut self, now: Instant, handle: Handle, tuple: Tuple) {
        let relay = self.relays.get_mut(handle);
        let Some(connection) = relay.and_then(Relay::multipath_mut) else {
            return;
        };
        let id = connection
            .subflows()
            .find(|s| s.tuple() == tuple)
            .map(Subflow::id);
        if let Some(id) = id {
            self.tools.apps.count(Counter::JoinSurplusClosed);
            connection.close_surplus(&mut self.tools.leg(now), id);
        }
    }

    /// Has a subflow probed while it is silent, if its port says so, or if no other of its connection is left.
    fn keep_alive(&mut self, now: Instant, handle: Handle, id: SubflowId, by: By) {
        let relay = self.relays.get_mut(handle);
        let Some(connection) = relay.and_then(Relay::multipath_mut) else {
            return;
        };
        let kept = match (&self.config.edge, by) {
            (Some(edge), By::Port(port)) => edge.keepalive.iter().find(|(kept, _)| *kept == port),
            _ => None,
        };
        let alone = connection.subflows().count() == 1;
        let interval = kept.map(|(_, interval)| *interval);
        let interval = interval.or_else(|| alone.then_some(self.config.timeouts.keepalive));
        if let Some(interval) = interval {
            connection.keep_alive(now, id, interval);
        }
    }

    /// Takes a half-open join out of its place alone.
    fn take_joining(&mut self, handle: Handle) -> Option<HalfOpen> {
        let mut half_open = self.joinings.remove(handle)?;
        self.timers.disarm(&mut half_open.alarm);
        self.subscribers
            .change_at(half_open.subscriber, |usage| usage.joining -= 1);
        Some(half_open)
    }

    /// The same, and its tuple is free.
    fn drop_joining(&mut self, handle: Handle) -> Option<HalfOpen> {
        let half_open = self.take_joining(handle)?;
        let key = self.key_of(&half_open.tuple);
        self.leave_flow(&key, FlowRef::Joining(handle));
        Some(half_open)
    }

    /// Forgets a half-open join.
    fn give_up_join(&mut self, now: Instant, handle: Handle) {
        let Some(half_open) = self.drop_joining(handle) else {
            return;
        };
        if let Some(connection) = self
            .relays
            .get_mut(half_open.relay)
            .and_then(Relay::multipath_mut)
        {
            connection.abandon_join();
        }
        self.free_path(now, half_open.relay, &half_open.tuple);
    }

    /// A join of the peer's that received `tuple` came to nothing: its path is free again.
    fn free_path(&mut self, now: Instant, relay: Handle, tuple: &Tuple) {
        let by = self.path_between(tuple.dst, tuple.src);
        if let Some(paths) = self.paths_mut(relay)
            && paths
                .of(by)
                .is_some_and(|path| path.state == State::Opening(None))
        {
            paths.on_failure(by, 1, now);
            // Its timer follows the path's.
            self.wake(relay);
        }
    }

    /// A subflow has ended before its relay: a joined one frees its tuple; the first one's is still the server leg's, and
    /// what comes on it must never be forwarded.
    pub(super) fn on_subflow_closed(&mut self, now: Instant, handle: Handle, tuple: Tuple) {
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        let Ends { inner, outer, .. } = relay.ends;
        let first = [inner, outer.reversed()].contains(&tuple);
        relay.joined.retain(|(_, joined)| *joined != tuple);
        if let Some(paths) = &mut relay.paths {
            paths.on_end(&tuple, now);
        }
        let key = self.key_of(&tuple);
        if first {
            self.enter_flow(&key, FlowRef::Gone(handle)).ok();
        } else {
            self.leave_relay_flow(&key, handle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn i_ws_the_scale_of_a_join_says_all_that_a_relay_may_hold() {
        for (buffer, shift) in [
            (64 << 10, 1),
            (65_535, 0),
            (4 << 20, 7),
            (25_000_000, 9),
            (64 << 20, 11),
            (1 << 28, 13),
            (u32::MAX, 14),
        ] {
            assert_eq!(wscale_for(buffer), shift, "{buffer} octets");
        }
    }
}
