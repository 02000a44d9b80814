//! Time: each subflow's own timers, and those of the data level as the backstop of them all.

use super::{Connection, LocalFin, Mode, Outcome, ResetReason};
use crate::counters::Counter;
use crate::option::ResetReason as RstReason;
use crate::send_queue::SlotSet;
use crate::subflow::Subflow;
use crate::types::Version;
use crate::{Cx, DataSeq};
use stack::tcp::State;
use stack::time::Duration;
use stack::{Instant, PacketBuf};

/// Pieces sent again per data-level timeout.
const BURST: usize = 16;
/// Data-level timeouts in a row, with the peer's TCP alive and its window open, before the connection is given up.
const TIMEOUTS_MAX: u8 = 8;
/// Most DATA_FINs sent in a row to a peer that says nothing; the waits between them double.
const DATA_FINS_MAX: u8 = 10;
/// Most third ACKs of a join sent again; the waits between them double.
const JOIN_ACKS_MAX: u8 = 5;
/// Longest wait of the data level.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What the data-level timer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// A DATA_ACK of what was sent.
    Retransmit,
    /// A window.
    Probe,
}

/// The data-level retransmission and probe timer (RFC 8684 3.3.6).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DataTimer {
    at: Option<Instant>,
    backoff: u8,
    /// Until this is DATA_ACKed, a timeout's loss is being repaired.
    recover: Option<DataSeq>,
}

impl DataTimer {
    /// Whether nothing is waited for, nor being repaired.
    pub(super) const fn is_idle(&self) -> bool {
        self.at.is_none() && self.backoff == 0 && self.recover.is_none()
    }

    /// A DATA_ACK moved on: the wait begins anew.
    pub(super) const fn on_progress(&mut self) {
        self.at = None;
        self.backoff = 0;
    }

    /// Starts the timer where something is to be waited for, stops it where not.
    pub(super) fn arm<B: PacketBuf>(
        &mut self,
        now: Instant,
        what: Option<Timer>,
        subflows: &[Subflow<B>],
    ) {
        if what.is_none() {
            self.at = None;
        } else if self.at.is_none() {
            let wait = patience(subflows) * (1 << self.backoff.min(6));
            self.at = Some(now + wait.min(WAIT_MAX));
        }
    }

    fn expire(&mut self) {
        self.at = None;
        self.backoff = self.backoff.saturating_add(1);
    }
}

/// How long the data level waits for an answer: twice the RTO of the slowest subflow, so that subflows with very
/// different round trips do not look lossy to it.
pub(super) fn patience<B: PacketBuf>(subflows: &[Subflow<B>]) -> Duration {
    let slowest = subflows
        .iter()
        .filter(|s| s.is_live() && !s.stale)
        .map(Subflow::base_rto)
        .max();
    (slowest.unwrap_or(Duration::from_secs(1)) * 2).max(Duration::from_millis(400))
}

/// Whether one of `carriers` still has something to deliver, as TCP sees it.
fn is_under_way<B: PacketBuf>(subflows: &[Subflow<B>], carriers: SlotSet) -> bool {
    let mut carriers = subflows.iter().filter(|s| carriers.has(s.id.0));
    carriers.any(|s| s.is_live() && !s.stale && s.tcb.queued() > 0)
}

impl<B: PacketBuf> Connection<B> {
    /// When [`Self::advance`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        if let Some(fastclose) = self.fastclose {
            return Some(fastclose.again);
        }
        let mut next = Instant::NEVER
            .before(self.close_at)
            .before(self.closed_at)
            .before(self.data_timer.at)
            .before(self.paths.next_deadline());
        if let LocalFin::Sent { again, .. } = self.local_fin
            && self.mode != Mode::Fallback
        {
            next = next.min(again);
        }
        // One that is alone has nobody to leave its data to, however late it is.
        let (mut usable, mut stale) = (0, Instant::NEVER);
        for subflow in &self.subflows {
            next = next
                .before(subflow.tcb.next_deadline())
                .before(subflow.join_ack_at)
                .before(subflow.fail_again_at)
                .before(subflow.withdrawal.map(|withdrawal| withdrawal.until))
                .before(subflow.uncovered_until);
            if subflow.is_usable() {
                usable += 1;
                stale = stale.before(subflow.stale_at());
            }
        }
        if usable > 1 {
            next = next.min(stale);
        }
        next.or_never()
    }

    /// Subflows that may carry new data.
    pub(super) fn usable(&self) -> usize {
        self.subflows
            .iter()
            .filter(|subflow| subflow.is_usable())
            .count()
    }

    /// Runs the timers that are due. Follow with [`Self::output`].
    pub fn advance(&mut self, cx: &mut Cx<'_>) -> Outcome {
        if self.is_over() {
            self.advance_fastclose(cx);
            return self.outcome();
        }
        self.dirty = true;
        for at in 0..self.subflows.len() {
            self.advance_subflow(cx, at);
        }
        // Version 0 has no echo (RFC 6824 3.4.1).
        self.paths.advance(cx, self.params.version == Version::V1);
        if self.mode != Mode::Fallback {
            self.advance_data(cx);
            self.advance_data_fin(cx);
        }
        self.settle(cx);
        if self.close_at.is_some_and(|at| at <= cx.now) && self.ended.is_none() {
            self.on_close_timeout(cx);
        }
        self.outcome()
    }

    fn advance_subflow(&mut self, cx: &mut Cx<'_>, at: usize) {
        let several = self.usable() > 1;
        let subflow = &mut self.subflows[at];
        let timeouts = subflow.tcb.consecutive_rtos();
        if subflow.tcb.next_deadline().is_some_and(|due| due <= cx.now) {
            subflow.tcb.advance(&mut cx.stack());
        }
        if several && subflow.tcb.consecutive_rtos() > timeouts {
            self.reinject_carried_alone();
        }
        let subflow = &mut self.subflows[at];
        if subflow.join_ack_at.is_some_and(|due| due <= cx.now) {
            if subflow.join_acks >= JOIN_ACKS_MAX {
                cx.mptcp.count(Counter::SubflowLost);
                self.reset_subflow(cx, at, RstReason::UNACCEPTABLE_PERFORMANCE);
                return;
            }
            // The fourth ACK has not come: say the third again (RFC 8684 3.2).
            subflow.tcb.request_ack();
            subflow.join_acks += 1;
            subflow.join_ack_at = Some(cx.now + subflow.tcb.rto() * (1 << subflow.join_acks));
        }
        if subflow.fail_again_at.is_some_and(|due| due <= cx.now) {
            subflow.fail_again_at = None;
            subflow.fail_due = subflow.failed;
        }
        if subflow
            .withdrawal
            .is_some_and(|withdrawal| withdrawal.until <= cx.now)
        {
            subflow.withdrawal = None;
            cx.mptcp.count(Counter::SubflowWithdrawn);
            self.reset_subflow(cx, at, RstReason::MPTCP_SPECIFIC);
            return;
        }
        if several && subflow.is_usable() && subflow.stale_at().is_some_and(|due| due <= cx.now) {
            subflow.stale = true;
            cx.mptcp.count(Counter::SubflowStale);
            self.reinject_carried_alone();
        }
        let subflow = &self.subflows[at];
        if subflow.uncovered_until.is_some_and(|until| until <= cx.now) {
            self.on_waited(cx, at);
        }
    }

    /// Sends again what no subflow that still makes progress carries (RFC 8684 3.3.6). One whose timer has expired makes
    /// none as long as nothing answers: its own repair is a segment each time that the timer has doubled, and all that follows
    /// waits for that at the other end. Where nothing was lost it answers, and what was acknowledged by then does not go out.
    pub(super) fn reinject_carried_alone(&mut self) {
        let subflows = &self.subflows;
        self.send.send_again(usize::MAX, |chunk| {
            !subflows
                .iter()
                .any(|s| chunk.carriers.has(s.id.0) && s.makes_progress())
        });
    }

    /// The backstop: data that the subflows delivered, as TCP sees it, and that was never DATA_ACKed; or a closed
    /// window that nothing in flight would open (RFC 8684 3.3.6, RFC 9293 3.8.6.1).
    fn advance_data(&mut self, cx: &mut Cx<'_>) {
        if self.data_timer.at.is_none_or(|due| due > cx.now) {
            return;
        }
        let Some(what) = self.has_unacknowledged() else {
            return self.data_timer.on_progress();
        };
        // What is marked to be sent again from here on is the scheduler's first.
        let probe = self.is_stuck() || what == Timer::Probe;
        let lost = match what {
            Timer::Probe => 0,
            // Until options are known to pass, the peer's stream may be a plain one: nothing may come twice.
            Timer::Retransmit if self.mode == Mode::Unverified => self.oldest_undelivered(),
            // Nor where plain streams were asked for.
            Timer::Retransmit if self.subflows.iter().any(|s| s.failed.is_some()) => 0,
            Timer::Retransmit => {
                self.reset_bare(cx);
                self.reinject_undelivered()
            },
        };
        if lost > 0 {
            cx.mptcp.count(Counter::DataRto);
            if self.data_timer.backoff >= TIMEOUTS_MAX && self.send_edge > self.send.una() {
                // TCP acknowledges and the window is open, but no DATA_ACK comes: options no longer pass.
                self.cut_off(cx, ResetReason::Unusable);
                return;
            }
            self.data_timer.recover = Some(self.send.nxt());
        }
        if probe {
            self.give_probe(cx);
        }
        if probe || lost > 0 {
            self.data_timer.expire();
        } else {
            self.data_timer.at = None;
        }
    }

    /// Whether data waits and nothing is on its way that would bring an answer: no subflow's window lets it go, or none of
    /// those that the scheduler would choose. Another's may be open, as what announced it came by that one alone.
    pub(super) fn is_stuck(&self) -> bool {
        let within = !self.send.all_sent() && self.send_edge > self.send.nxt();
        let waits = within || self.send.is_again();
        let mut usable = self.subflows.iter().filter(|s| s.is_usable());
        waits && !self.capped && usable.all(|s| s.tcb.queued() == 0)
    }

    /// A subflow that delivered data, as TCP sees it, without any DATA_ACK, and whose acknowledgments carry no option any
    /// more, is broken (RFC 8684 3.7). The peer may even have fallen back on it: nothing may come twice there.
    fn reset_bare(&mut self, cx: &mut Cx<'_>) {
        let Some(carriers) = self.send.oldest().map(|oldest| oldest.carriers) else {
            return;
        };
        for at in 0..self.subflows.len() {
            let subflow = &self.subflows[at];
            if subflow.bare && carriers.has(subflow.id.0) && subflow.tcb.queued() == 0 {
                cx.mptcp.count(Counter::DataAckMissing);
                self.reset_subflow(cx, at, RstReason::MIDDLEBOX_INTERFERENCE);
            }
        }
    }

    /// Sends again what no subflow has under way, as TCP sees it, and that was never DATA_ACKed; how many pieces.
    fn reinject_undelivered(&mut self) -> usize {
        let subflows = &self.subflows;
        self.send
            .send_again(BURST, |chunk| !is_under_way(subflows, chunk.carriers))
    }

    /// How many of the oldest piece no subflow has under way, as TCP sees it.
    fn oldest_undelivered(&self) -> usize {
        let oldest = self.send.oldest();
        let undelivered = oldest.filter(|chunk| !is_under_way(&self.subflows, chunk.carriers));
        undelivered.into_iter().count()
    }

    /// A DATA_ACK moved on. After a timeout the rest of what was under way then is lost too, as far as no subflow still
    /// has it: no further timeout is waited for.
    pub(super) fn on_data_progress(&mut self) {
        self.data_timer.on_progress();
        if let Some(recover) = self.data_timer.recover {
            if self.send.una() >= recover {
                self.data_timer.recover = None;
            } else {
                self.reinject_undelivered();
            }
        }
    }

    /// DATA_FIN has a timer of its own, and goes out on any live subflow (RFC 8684 3.3.3). A peer that acknowledges it
    /// late, as its owner has not taken the end, answers each of them all the same: only silence is given up, and
    /// what comes without options is none of its answers.
    fn advance_data_fin(&mut self, cx: &mut Cx<'_>) {
        let LocalFin::Sent {
            dsn,
            again,
            sends,
            unanswered,
        } = self.local_fin
        else {
            return;
        };
        if again > cx.now {
            return;
        }
        if self.send.in_flight() > 0 {
            // The data before it is not through yet: its own timers push it.
            self.local_fin = LocalFin::Sent {
                dsn,
                again: cx.now + patience(&self.subflows),
                sends,
                unanswered,
            };
            return;
        }
        let unanswered = if self.heard { 0 } else { unanswered + 1 };
        self.heard = false;
        if unanswered >= DATA_FINS_MAX {
            self.cut_off(cx, ResetReason::TimedOut);
            return;
        }
        let wait = (patience(&self.subflows) * (1 << sends.min(6))).min(WAIT_MAX);
        self.local_fin = LocalFin::Sent {
            dsn,
            again: cx.now + wait,
            sends: sends.saturating_add(1),
            unanswered,
        };
        self.ask_data_fin();
    }

    /// Whether a subflow has nothing left to do but answer old segments.
    pub(super) fn has_ended(subflow: &Subflow<B>) -> bool {
        matches!(subflow.tcb.state(), State::Closed | State::TimeWait)
    }
}
