//! The end of a burst: due timers, then each woken relay once: data moves, segments leave, what has ended is freed.

use super::caps::{Caps, charge};
use super::metering::{Leaving, Metering};
use super::split::announce_other;
use super::subscribers::Usage;
use super::tools::Tools;
use super::{Engine, FlowRef, Limits, Remains, Timeouts, Timer};
use crate::Counter;
use crate::relay::{LEGS, Leg, Relay, Room};
use arrayvec::ArrayVec;
use dataplane::BURST;
use mptcp::connection::{Connection, Event, SUBFLOWS_MAX};
use mptcp::time_wait::TimeWait;
use stack::ip::{IpOut, Net};
use stack::slab::Handle;
use stack::wheel::{Alarm, Wheel};
use stack::wire::tcp::OutSegment;
use stack::{FlowKey, Frame, Instant, PacketBuf, Step, Tuple};

/// Octets that a relay may hold in each direction however little is left.
pub(super) const ROOM_MIN: u32 = 64 << 10;

/// The same for relays of a subscriber whose share is used up.
const ROOM_LAST: u32 = 8 << 10;

/// What a relay whose reader has not read anything yet may hold in each direction, at most.
const ROOM_START: u32 = 256 << 10;

/// Receive buffers in use, in thousandths, past which windows stay small.
pub(super) const SHORT_PERMILLE: u32 = 750;

/// The same, past which payload is refused where more than a few slices are held.
pub(super) const LAST_PERMILLE: u32 = 900;

impl<B: PacketBuf> Engine<B> {
    pub(super) fn run_timers(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        self.tools.ledger.enter(Step::Timers);
        if self.net.next_deadline().is_some_and(|at| at <= now) {
            self.net.advance(&mut self.tools.cx(now), out);
        }
        if self.fragments.next_deadline().is_some_and(|at| at <= now) {
            self.fragments.expire(&mut self.tools.cx(now));
        }
        self.run_gate(now, out);
        self.run_steering(now);
        let mut due = core::mem::take(&mut self.due);
        self.timers.expired(now, &mut due);
        for (at, &timer) in due.iter().enumerate() {
            if at.is_multiple_of(BURST) && self.has_many_relays() {
                let next = due.iter().skip(at).take(BURST);
                self.fetch_relays(next.filter_map(|timer| timer.relay()));
            }
            match timer {
                Timer::Relay(handle) => self.on_relay_timer(now, handle),
                Timer::Joining(handle) => self.on_join_timer(now, handle, out),
                Timer::OpenJoin(handle) => self.on_open_join_timer(now, handle, out),
                Timer::Pending(handle) => self.on_pending_timer(now, handle),
                Timer::TimeWait(handle) => self.on_time_wait_timer(now, handle),
            }
        }
        due.clear();
        self.due = due;
    }

    fn on_relay_timer(&mut self, now: Instant, handle: Handle) {
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        self.timers.disarm(&mut relay.alarm);
        let deadline = relay.next_deadline(&self.config.timeouts);
        if deadline <= now {
            return self.wake(handle);
        }
        if relay.ran + self.config.timeouts.rest <= now {
            self.timers
                .arm(&mut relay.alarm, Timer::Relay(handle), deadline);
            relay.ran = now;
            if self.relays.rest(handle) {
                return;
            }
        }
        self.arm_relay(handle);
    }

    /// One entry per relay: a deadline that moved later finds it when the entry fires.
    fn arm_relay(&mut self, handle: Handle) {
        if let Some(relay) = self.relays.get_mut(handle) {
            arm(&mut self.timers, relay, handle, &self.config.timeouts);
        }
    }

    /// Sees to it that the pending flow is looked at when its time has come.
    pub(super) fn arm_pending(&mut self, handle: Handle) {
        if let Some(pending) = self.pendings.get_mut(handle) {
            let expires = pending.touched + self.config.timeouts.pending;
            self.timers
                .arm(&mut pending.alarm, Timer::Pending(handle), expires);
        }
    }

    fn on_pending_timer(&mut self, now: Instant, handle: Handle) {
        let Some(pending) = self.pendings.get_mut(handle) else {
            return;
        };
        self.timers.disarm(&mut pending.alarm);
        if pending.touched + self.config.timeouts.pending > now {
            self.arm_pending(handle);
        } else {
            self.tools.apps.count(Counter::PendingExpired);
            self.drop_pending(handle);
        }
    }

    fn on_time_wait_timer(&mut self, now: Instant, handle: Handle) {
        let Some(remains) = self.remains.get_mut(handle) else {
            return;
        };
        self.timers.disarm(&mut remains.alarm);
        if remains.state.deadline() > now {
            self.arm_time_wait(handle);
        } else {
            self.bury(handle);
        }
    }

    fn arm_time_wait(&mut self, handle: Handle) {
        if let Some(remains) = self.remains.get_mut(handle) {
            let ends = remains.state.deadline();
            self.timers
                .arm(&mut remains.alarm, Timer::TimeWait(handle), ends);
        }
    }

    /// Runs every relay that something arrived for, or whose time has come. What a run wakes, itself included, is run in
    /// the next turn, which is due at once.
    pub(super) fn run_woken(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        self.tools.ledger.enter(Step::Relay);
        let mut woken = core::mem::take(&mut self.woken);
        for handle in woken.drain(..) {
            self.run_relay(now, handle, out);
        }
        // The buffer that has grown to its working size is the one that is kept.
        woken.append(&mut self.woken);
        self.woken = woken;
    }

    /// Whether so much is held that windows stay small.
    pub(super) const fn is_short(&self) -> bool {
        self.buffers_used > SHORT_PERMILLE || self.held >= self.config.limits.buffer_total
    }

    /// What a relay may hold in each direction: half of what is left `to_all` (Choudhury and Hahne's dynamic threshold),
    /// so that readers that stall leave room to others; and a little in any case, so that none of those ever stops.
    /// Of these and of what its subscriber may hold the less: one whose share is used up keeps as little as goes on.
    fn room(to_all: u32, usage: &Usage, limits: &Limits) -> Room {
        let share = usage.room(&limits.per_subscriber);
        let most = to_all.min(share);
        let start = usage.room_of_each(&limits.per_subscriber);
        Room {
            start: start.clamp(ROOM_MIN, ROOM_START),
            most: most.max(ROOM_LAST.min(limits.buffer)),
        }
    }

    fn room_of_all(&self) -> u32 {
        let limits = &self.config.limits;
        let least = ROOM_MIN.min(limits.buffer);
        if self.is_short() {
            return least;
        }
        let half = limits.buffer_total.saturating_sub(self.held) / 2;
        let half = u32::try_from(half).unwrap_or(u32::MAX);
        half.clamp(least, limits.buffer)
    }

    /// What a relay of `subscriber` may hold in each direction, whatever was offered before, octets. When the last buffers
    /// are due, or those of the subscriber, relays that have more than a little must do with that: what is left is for
    /// acknowledgments, which free buffers, and for everybody else.
    pub(super) fn held_max(&self, subscriber: Option<Handle>) -> usize {
        let limits = &self.config.limits;
        let last = self.buffers_used > LAST_PERMILLE
            || self.subscribers.held(subscriber) >= limits.per_subscriber.buffer;
        let most = if last { 0 } else { limits.buffer };
        most.max(ROOM_MIN) as usize
    }

    fn run_relay(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let (short, to_all) = (self.is_short(), self.room_of_all());
        let Self {
            config,
            relays,
            subscribers,
            net,
            tools,
            metering,
            caps,
            ..
        } = self;
        let Some(relay) = relays.get_mut(handle) else {
            return;
        };
        if relay.announce_other_at.is_some_and(|at| at <= now) {
            announce_other(config, relay);
        }
        let limits = &config.limits;
        let usage = subscribers.get(relay.subscriber);
        let over = usage.held >= limits.per_subscriber.buffer;
        relay.woken = false;
        if (short || over) && !relay.starved {
            tools.apps.count(if short {
                Counter::BufferBudgetHit
            } else {
                Counter::BufferShareHit
            });
        }
        relay.starved = short || over;
        let room = Self::room(to_all, &usage, limits);
        let moved = relay.run(&mut tools.leg(now), room, &config.timeouts);
        tools.apps.add(Counter::RelayedOctets, moved);
        while emit(
            relay,
            now,
            (&mut *net, &mut *tools),
            (&mut *metering, &mut *caps),
            out,
        ) {}
        let told = relay.multipath().is_some_and(Connection::has_event);
        if told || relay.paths.is_some() {
            self.take_events(now, handle);
            self.run_joins(now, handle, out);
        }
        self.settle(now, handle);
    }

    /// Follows the subflows that came and ended.
    fn take_events(&mut self, now: Instant, handle: Handle) {
        while let Some(event) = self
            .relays
            .get_mut(handle)
            .and_then(Relay::multipath_mut)
            .and_then(|connection| connection.take_event())
        {
            match event {
                Event::SubflowClosed { id, tuple } => {
                    if let Some(relay) = self.relays.get_mut(handle) {
                        relay.uncap(id);
                    }
                    self.on_subflow_closed(now, handle, tuple);
                },
                Event::AddressAnnounced { id, addr, port } => {
                    self.on_announced(now, handle, id, (addr, port));
                },
                Event::AddressRemoved { id } => self.on_withdrawn(handle, id),
                // A joined subflow was entered when its handshake ended.
                Event::SubflowOpened { id, tuple } => self.on_subflow_opened(handle, id, tuple),
            }
        }
    }

    /// After a run: counts what is held, frees a relay that is over, or sets its timer.
    fn settle(&mut self, now: Instant, handle: Handle) {
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        let holds = relay.holds();
        let held = core::mem::replace(&mut relay.held, holds);
        if holds != held {
            self.held = self.held.wrapping_add(holds).wrapping_sub(held);
            self.subscribers.change_at(relay.subscriber, |usage| {
                usage.held = usage.held.wrapping_add(holds).wrapping_sub(held);
            });
        }
        // Without room for what is left of its subflows it waits for their end itself.
        let kept = self.remains.len() + SUBFLOWS_MAX + 1 < self.remains.capacity();
        match relay.is_over(kept) {
            Some(why) => self.close(now, handle, why),
            None => arm(&mut self.timers, relay, handle, &self.config.timeouts),
        }
    }

    /// Frees a relay. What is in TIME-WAIT keeps its tuple until old duplicates have died out.
    fn close(&mut self, now: Instant, handle: Handle, why: Counter) {
        let Some(mut relay) = self.relays.remove(handle) else {
            return;
        };
        self.tools.apps.count(why);
        self.timers.disarm(&mut relay.alarm);
        self.held = self.held.wrapping_sub(relay.held);
        self.subscribers.change_at(relay.subscriber, |usage| {
            usage.held = usage.held.wrapping_sub(relay.held);
            usage.relays -= 1;
        });
        if let Some(token) = relay.token {
            self.tokens.remove(token);
        }
        let mut kept: ArrayVec<FlowKey, { SUBFLOWS_MAX + 1 }> = ArrayVec::new();
        for which in LEGS {
            let leg = relay.leg(which);
            // TCP waits for a minute: it leaves half of the room to subflows, which wait for half a second.
            if leg.multipath().is_none() && self.remains.len() >= self.remains.capacity() / 2 {
                continue;
            }
            for (tuple, state) in leg.time_waits(now) {
                let key = self.keep_time_wait(handle, tuple, state);
                kept.extend(key.filter(|_| !kept.is_full()));
            }
        }
        for key in relay.ends.keys() {
            if !kept.contains(&key) {
                self.leave_relay_flow(&key, handle);
            }
        }
        self.release(Some(now), &relay.ends);
        for (_, tuple) in &relay.joined {
            let key = self.key_of(tuple);
            if !kept.contains(&key) {
                self.leave_relay_flow(&key, handle);
            }
        }
    }

    /// Keeps what is left of the leg of `relay` that sent as `tuple`: the key that from now on names it, unless there is
    /// no room.
    fn keep_time_wait(&mut self, relay: Handle, tuple: Tuple, state: TimeWait) -> Option<FlowKey> {
        let alarm = Alarm::default();
        let remains = Remains {
            state,
            tuple,
            alarm,
        };
        // Without room the tuple is simply free at once.
        let handle = self.remains.insert(remains).ok()?;
        let key = self.key_of(&tuple.reversed());
        let entered = self.turn_relay_flow(&key, relay, FlowRef::TimeWait(handle));
        if entered.is_err() {
            self.remains.remove(handle);
            return None;
        }
        self.arm_time_wait(handle);
        Some(key)
    }

    /// Frees a tuple in TIME-WAIT.
    pub(super) fn bury(&mut self, handle: Handle) {
        if let Some(mut remains) = self.remains.remove(handle) {
            self.timers.disarm(&mut remains.alarm);
            let key = self.key_of(&remains.tuple.reversed());
            self.leave_flow(&key, FlowRef::TimeWait(handle));
        }
    }
}

/// Sends all that both legs have to send: first the one that has an end of stream to send on, so that what the other one
/// sends acknowledges it. Whether that left the first one something to send.
fn emit<B: PacketBuf>(
    relay: &mut Relay<B>,
    now: Instant,
    (net, tools): (&mut Net<B>, &mut Tools),
    (metering, caps): (&mut Metering, &mut Caps),
    frames: &mut Vec<Frame<B>>,
) -> bool {
    relay.grant(now, caps);
    let capped = core::mem::take(&mut relay.capped);
    let (mut segment, mut again) = (OutSegment::default(), false);
    for which in relay.order() {
        let ip = IpOut {
            tos: relay.tos(which),
            ..IpOut::default()
        };
        let account = relay.account;
        match relay.leg(which) {
            Leg::Plain(leg) => {
                while leg.output_into(&mut tools.leg(now), &mut segment) {
                    let (to, step) = ((leg.tuple, ip), Step::TcpOut);
                    let more = |segment: &mut _| leg.output_more(now, segment);
                    if send_run(now, (net, tools), to, &mut segment, frames, step, more) {
                        leg.on_crowded(&mut tools.leg(now));
                    }
                }
            },
            Leg::Multipath(leg) => {
                tools.ledger.enter(Step::MptcpOut);
                let mut leaving = Leaving::default();
                while let Some((subflow, tuple)) =
                    leg.output_into(&mut tools.leg(now), &mut segment)
                {
                    let before = frames.len();
                    let (to, step) = ((tuple, ip), Step::MptcpOut);
                    let more = |segment: &mut _| leg.output_more(now, segment);
                    if send_run(now, (net, tools), to, &mut segment, frames, step, more) {
                        leg.on_crowded(&mut tools.leg(now), subflow);
                    }
                    let sent = frames.get(before..).unwrap_or_default();
                    if !capped.is_empty() {
                        charge((&mut *caps, &capped), now, subflow, sent);
                    }
                    for frame in sent {
                        metering.leaves(now, account, frame, &mut leaving);
                    }
                }
                metering.left(now, account, leaving);
            },
        }
        again = relay.settle_ends(now);
    }
    tools.ledger.enter(Step::Relay);
    relay.capped = capped;
    relay.await_caps(now, caps);
    again
}

/// Sends `segment`, and what `more` of the same leg then makes of it, which goes with its headers; what the leg does is booked to
/// `step`. Whether there was data, for a port that has no room for more.
#[inline]
fn send_run<B: PacketBuf>(
    now: Instant,
    (net, tools): (&mut Net<B>, &mut Tools),
    (tuple, ip): (Tuple, IpOut),
    segment: &mut OutSegment<B>,
    frames: &mut Vec<Frame<B>>,
    step: Step,
    mut more: impl FnMut(&mut OutSegment<B>) -> bool,
) -> bool {
    let has_data = segment.payload.is_some();
    tools.ledger.enter(Step::IpOut);
    let leads = net.send_tcp(&mut tools.cx(now), &tuple, ip, segment, frames);
    tools.ledger.enter(step);
    while has_data && leads && more(segment) {
        tools.ledger.enter(Step::IpOut);
        net.send_more(&mut tools.cx(now), ip, segment, frames);
        tools.ledger.enter(step);
    }
    has_data && net.is_crowded()
}

/// Sets the timer of a relay: by when it is to be run, or looked at for rest.
fn arm<B: PacketBuf>(
    timers: &mut Wheel<Timer>,
    relay: &mut Relay<B>,
    handle: Handle,
    timeouts: &Timeouts,
) {
    let deadline = relay.next_deadline(timeouts);
    let deadline = deadline.min(relay.ran + timeouts.rest);
    timers.arm(&mut relay.alarm, Timer::Relay(handle), deadline);
}
