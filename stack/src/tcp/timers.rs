//! The timers of one connection, each at most one deadline, and what happens when one is due.

use super::rare::Rare;
use super::{State, Tcb};
use crate::counters::Counter;
use crate::time::{Duration, Instant};
use crate::{Cx, PacketBuf};

/// Longest time that an ACK waits for company (RFC 9293 3.8.6.3 allows 500 ms).
pub(super) const DELAYED_ACK: Duration = Duration::from_millis(40);

/// Retransmissions or unanswered probes in a row after which we give up: R2 of RFC 1122 4.2.3.5, which must be at least
/// 100 s. With the least RTO of 200 ms, fifteen doublings up to 60 s make 462 s.
pub(super) const GIVE_UP: u8 = 15;

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The oldest segment in flight is not acknowledged (RFC 6298).
    Retransmit,
    /// The peer's window is too small for what is queued (RFC 9293 3.8.6.1).
    Persist,
    /// A segment sent before a delivered one may yet arrive reordered (RFC 8985 6.2).
    Reorder,
    /// An acknowledgment is overdue, and a loss probe asks for it (RFC 8985 7.2).
    LossProbe,
    /// An ACK waits for company (RFC 9293 3.8.6.3).
    DelayedAck,
    /// Old duplicates die out (RFC 9293 3.6).
    TimeWait,
}

/// Deadlines indexed by [`Timer`]. Moving one later costs one store.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    at: [Instant; 6],
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            at: [Instant::NEVER; 6],
        }
    }
}

impl Timers {
    pub(super) const fn set(&mut self, timer: Timer, at: Instant) {
        self.at[timer as usize] = at;
    }

    pub(super) const fn clear(&mut self, timer: Timer) {
        self.at[timer as usize] = Instant::NEVER;
    }

    /// The deadline of `timer`; the end of time if it is not set.
    const fn at(&self, timer: Timer) -> Instant {
        self.at[timer as usize]
    }

    pub(super) fn is_set(&self, timer: Timer) -> bool {
        self.at[timer as usize] != Instant::NEVER
    }

    pub(super) fn next(&self) -> Instant {
        let none = Instant::NEVER;
        self.at.iter().fold(none, |first, at| first.min(*at))
    }

    /// Whether `timer` is due; stops it if so.
    fn take_due(&mut self, timer: Timer, now: Instant) -> bool {
        let due = self.at[timer as usize] <= now;
        if due {
            self.clear(timer);
        }
        due
    }
}

impl<B: PacketBuf> Tcb<B> {
    /// When [`Self::advance`] is due.
    #[must_use]
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        let mut next = self.timers.next().before(self.keepalive_at());
        if self.rare.is_some() {
            next = next.before(self.paced_at());
        }
        next.or_never()
    }

    /// Runs the timers that are due: reordering, loss probe, retransmission, persist, delayed ACK, keepalive, TIME-WAIT. Follow with [`Self::output`].
    pub fn advance(&mut self, cx: &mut Cx<'_>) {
        if self.timers.take_due(Timer::DelayedAck, cx.now) {
            self.rcv.ack.request();
        }
        if self.timers.take_due(Timer::Reorder, cx.now) {
            self.detect_losses(cx);
        }
        // Before the retransmission timer, which it puts off where both are due.
        if self.timers.take_due(Timer::LossProbe, cx.now) {
            self.on_probe_timeout(cx.now);
        }
        if self.timers.take_due(Timer::Retransmit, cx.now) {
            self.on_retransmission_timeout(cx);
        }
        if self.timers.take_due(Timer::Persist, cx.now) {
            self.on_persist_timeout(cx);
        }
        if self.keepalive_at().is_some_and(|at| at <= cx.now) {
            self.on_keepalive_timeout(cx);
        }
        if self.timers.take_due(Timer::TimeWait, cx.now) {
            self.state = State::Closed;
        }
    }

    /// RFC 6298 5.4 to 5.7.
    fn on_retransmission_timeout(&mut self, cx: &mut Cx<'_>) {
        if self.snd.queue.flight() == 0 {
            return;
        }
        if self.snd.consecutive_rtos >= GIVE_UP {
            return self.give_up(cx);
        }
        cx.counters.count(Counter::TcpRto);
        self.suspect_black_hole(cx);
        self.snd.on_rto(cx.now);
        self.timers.clear(Timer::Reorder);
        self.timers.clear(Timer::LossProbe);
        // The retransmission that output() now makes may wait for its turn: the timer does not (5.6).
        self.timers
            .set(Timer::Retransmit, cx.now + self.snd.rtt.rto());
    }

    /// RFC 8985 7.2: the probe timer starts anew if what it waits for has come or was sent, and stops where there is nothing
    /// to ask for.
    pub(super) fn arm_probe(&mut self, now: Instant, anew: bool) {
        match self.snd.probe_at(now, self.timers.at(Timer::Retransmit)) {
            Some(at) if anew => self.timers.set(Timer::LossProbe, at),
            Some(_) => {},
            None => self.timers.clear(Timer::LossProbe),
        }
    }

    /// RFC 8985 7.3: [`Self::output`] sends the probe, and the retransmission timer starts anew.
    fn on_probe_timeout(&mut self, now: Instant) {
        self.snd.tlp.due = self.snd.may_probe();
        if self.snd.tlp.due {
            self.arm_retransmit(now);
        }
    }

    /// RFC 9293 3.8.6.1: the first probe after one RTO, then less and less often; never given up while answered.
    fn on_persist_timeout(&mut self, cx: &mut Cx<'_>) {
        let asks = |rare: &mut Box<Rare>| core::mem::take(&mut rare.asks_window);
        let asks = self.rare.as_mut().is_some_and(asks);
        let waits = self.snd.queue.unsent() > 0;
        if !(waits || asks) || self.snd.queue.flight() != 0 {
            return;
        }
        if self.snd.unanswered_probes >= GIVE_UP {
            return self.give_up(cx);
        }
        self.snd.unanswered_probes += 1;
        self.snd.probes = self.snd.probes.saturating_add(1);
        if !waits {
            // There is no octet to send, and none is needed: an answer has the window. The owner asks again if it still waits.
            return self.request_probe();
        }
        self.snd.probe_due = true;
        self.timers
            .set(Timer::Persist, cx.now + self.snd.persist_interval());
    }

    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>) {
        cx.counters.count(Counter::TcpTimedOut);
        self.timed_out = true;
        self.close();
    }
}
