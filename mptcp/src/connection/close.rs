//! The ends of a connection and of its subflows (RFC 8684 3.3.3, 3.5, 3.6).

use super::{Connection, Event, LocalFin, Mode, Outcome, Output, ResetReason, SubflowId};
use crate::Cx;
use crate::counters::Counter;
use crate::option::{MpOption, ResetReason as RstReason, TcpRst, parse};
use crate::subflow::Subflow;
use crate::time_wait::TimeWait;
use crate::types::Version;
use stack::tcp::State;
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes, OutSegment, Segment};
use stack::{Instant, PacketBuf, Tuple};

impl<B: PacketBuf> Connection<B> {
    /// Whether the peer's end of data is next and everything before it was taken: its DATA_FIN, or its FIN after a
    /// fallback. It is not acknowledged before [`Self::accept_fin`].
    #[must_use]
    pub fn fin_received(&self) -> bool {
        if self.remote_fin_accepted || !self.recv.is_drained() {
            return false;
        }
        match self.mode {
            Mode::Fallback => self.subflows.first().is_some_and(|s| s.tcb.fin_received()),
            Mode::Unverified | Mode::Verified => self.remote_fin == Some(self.recv.next()),
        }
    }

    /// Acknowledges the peer's end of data, once [`Self::fin_received`]. Before our own end it waits for that as an ACK may:
    /// mostly one DATA_FIN follows the other, and says both.
    pub fn accept_fin(&mut self, now: Instant) {
        if !self.fin_received() {
            return;
        }
        self.remote_fin_accepted = true;
        self.dirty = true;
        if self.mode == Mode::Fallback {
            if let Some(subflow) = self.subflows.first_mut() {
                subflow.tcb.accept_fin();
            }
            return;
        }
        self.recv.step_over_fin();
        if matches!(self.local_fin, LocalFin::Open | LocalFin::Wanted) {
            self.for_end(|subflow| subflow.tcb.delay_ack(now));
        } else {
            self.for_end(|subflow| subflow.tcb.request_ack());
        }
    }

    /// Does `act` on the subflow by which an end of data is said, or acknowledged, for the first time: one is enough, as both are
    /// said again if they are lost (RFC 8684 3.3.3). Where none is known to work it does so on all.
    pub(super) fn for_end(&mut self, mut act: impl FnMut(&mut Subflow<B>)) {
        let usable = self.subflows.iter_mut().filter(|s| s.is_usable());
        match usable.min_by_key(|s| (s.backup, s.srtt())) {
            Some(best) => act(best),
            None => {
                let live = self.subflows.iter_mut().filter(|s| s.is_live());
                live.for_each(act);
            },
        }
    }

    /// Ends our direction after all that was queued: DATA_FIN, or FIN after a fallback.
    pub fn finish(&mut self) {
        if self.local_fin != LocalFin::Open || self.ended.is_some() {
            return;
        }
        self.local_fin = LocalFin::Wanted;
        self.dirty = true;
        if self.mode == Mode::Fallback {
            self.finish_plain();
        }
    }

    /// Whether our end of data is acknowledged.
    #[must_use]
    pub fn fin_acknowledged(&self) -> bool {
        match self.mode {
            Mode::Fallback => {
                self.local_fin != LocalFin::Open
                    && self.subflows.first().is_none_or(|s| {
                        matches!(
                            s.tcb.state(),
                            State::FinWait2 | State::TimeWait | State::Closed
                        )
                    })
            },
            Mode::Unverified | Mode::Verified => self.local_fin == LocalFin::Acked,
        }
    }

    /// Whether our end of data has left at least once: the DATA_FIN, or the FIN after a fallback. A relay acknowledges
    /// the other side's end only then.
    #[must_use]
    pub fn fin_sent(&self) -> bool {
        match (self.mode, self.local_fin) {
            (_, LocalFin::Open) => false,
            (Mode::Fallback, _) => self.subflows.first().is_none_or(|s| {
                // The FIN has the number after the last octet queued.
                s.tcb.unsent() == 0 && s.tcb.snd_nxt() > s.tcb.push_seq()
                    || matches!(
                        s.tcb.state(),
                        State::FinWait2 | State::TimeWait | State::Closed
                    )
            }),
            (_, LocalFin::Wanted) => false,
            (_, LocalFin::Sent { .. }) => {
                let mut live = self.subflows.iter().filter(|s| s.is_live());
                !live.any(|s| s.data_fin_due)
            },
            (_, LocalFin::Acked) => true,
        }
    }

    /// Whether both directions ended and both ends are acknowledged.
    pub(super) fn is_complete(&self) -> bool {
        self.remote_fin_accepted && self.fin_acknowledged()
    }

    /// Aborts the TCP connection of subflow `at` and queues its reset with `upper`.
    pub(super) fn send_reset(&mut self, cx: &mut Cx<'_>, at: usize, upper: OptBytes) {
        let subflow = &mut self.subflows[at];
        let segment: Option<OutSegment<B>> = subflow.tcb.abort(&mut cx.stack());
        let (id, tuple) = (subflow.id, subflow.tuple.reversed());
        if let Some(mut segment) = segment {
            segment.options.mptcp = upper;
            self.outbox.push_back(Output {
                subflow: id,
                tuple,
                segment,
            });
        }
    }

    /// Resets one subflow and says why (RFC 8684 3.6); its data goes to others.
    pub(super) fn reset_subflow(&mut self, cx: &mut Cx<'_>, at: usize, reason: RstReason) {
        let mut upper = OptBytes::new();
        if self.params.version == Version::V1 {
            cx.mptcp.count(Counter::TcpRstTx);
            upper = MpOption::from(TcpRst {
                transient: false,
                reason,
            })
            .into();
        }
        self.last_loss = ResetReason::Unusable;
        self.send_reset(cx, at, upper);
    }

    /// Resets one subflow with MP_FAIL: its data is void from `dsn` on (RFC 8684 3.7).
    pub(super) fn fail_subflow(&mut self, cx: &mut Cx<'_>, at: usize, dsn: crate::DataSeq) {
        cx.mptcp.count(Counter::MpFailTx);
        self.last_loss = ResetReason::Unusable;
        self.send_reset(cx, at, MpOption::Fail { dsn: dsn.0 }.into());
    }

    /// The peer reset subflow `at` (RFC 8684 3.5, 3.6): only with MP_FASTCLOSE does that end more than the subflow.
    pub(super) fn on_reset(&mut self, cx: &mut Cx<'_>, at: usize, seg: &Segment<B>) {
        debug_assert!(seg.flags.has(Flags::RST), "only a reset ends a subflow so");
        self.last_loss = ResetReason::LastSubflow;
        if self.mode == Mode::Fallback {
            return;
        }
        for option in parse(&seg.options.mptcp).flatten() {
            match option {
                MpOption::Fastclose { receiver_key } => {
                    if receiver_key == self.params.local.key {
                        self.on_fastclose(cx);
                        return;
                    }
                    cx.mptcp.count(Counter::FastcloseWrongKey);
                },
                MpOption::TcpRst(why) => {
                    cx.mptcp.count(Counter::TcpRstRx);
                    self.forgotten |= !why.transient && why.reason == RstReason::MPTCP_SPECIFIC;
                },
                MpOption::Fail { .. } => cx.mptcp.count(Counter::MpFailRx),
                _ => {},
            }
        }
        if self.subflows[at].joined || self.subflows.len() > 1 {
            cx.mptcp.count(Counter::SubflowReset);
        }
        // It may have lost the whole connection, as after a restart: asked by the other subflows, it resets them as well.
        for (other, subflow) in self.subflows.iter_mut().enumerate() {
            if other != at && subflow.is_usable() {
                subflow.tcb.request_ack();
            }
        }
    }

    /// The peer's FIN on a subflow: of the stream after a fallback, else of the subflow alone (RFC 8684 3.3.3).
    pub(super) fn on_subflow_fin(&mut self, cx: &mut Cx<'_>, at: usize) {
        if !self.subflows[at].tcb.fin_received() {
            return;
        }
        if self.mode == Mode::Fallback {
            if self.remote_fin_accepted {
                // The owner took the end as a DATA_FIN, before the fallback.
                self.subflows[at].tcb.accept_fin();
            }
            return;
        }
        if self.mode == Mode::Unverified && self.remote_fin.is_none() {
            // A peer that speaks MPTCP ends its data before the subflow.
            self.fall_back(cx, Counter::FallbackData, false);
            return;
        }
        if self.subflows[at].failed.is_some() {
            // It ends the stream of a peer that has fallen back already, whose answer to our MP_FAIL was lost.
            return;
        }
        self.subflows[at].tcb.accept_fin();
        if self.usable() > 1 || !self.subflows[at].is_usable() {
            self.close_subflow(cx, at);
        } else if !self.has_all() && self.close_at.is_none() {
            // Without the rest nothing more can come, unless another subflow joins in time.
            self.close_at = Some(cx.now + self.params.limits.close_timeout);
        }
    }

    /// Whether nothing more is to come but acknowledgments: the owner may still have to take it.
    fn has_all(&self) -> bool {
        self.remote_fin_accepted || self.remote_fin == Some(self.recv.next())
    }

    /// Has subflow `id` probed while it is silent for `period`, and given up if it does not answer: what translates
    /// addresses on its path forgets a connection that says nothing for long (RFC 5382 5).
    pub fn keep_alive(&mut self, now: Instant, id: SubflowId, period: Duration) {
        if let Some(subflow) = self.subflow_mut(id) {
            subflow.tcb.set_keepalive(now, period);
        }
    }

    /// A peer that was probed on a subflow that is `gone` still is, where none of the others is probed: it may be gone, too.
    fn keep_another_alive(&mut self, now: Instant, gone: &Subflow<B>) {
        let Some(period) = gone.tcb.keepalive_period() else {
            return;
        };
        let probed = |s: &Subflow<B>| s.tcb.keepalive_period().is_some();
        if !self.subflows.iter().any(probed)
            && let Some(heir) = self.subflows.first_mut()
        {
            heir.tcb.set_keepalive(now, period);
        }
    }

    /// Ends subflow `id` in good order, if it is not the only one: what it carries is finished on it.
    pub fn close_surplus(&mut self, cx: &mut Cx<'_>, id: SubflowId) {
        if let Some(at) = self.index(id)
            && self.usable() > 1
        {
            self.close_subflow(cx, at);
        }
    }

    /// Ends a subflow in good order; what it carries is finished on it.
    pub(super) fn close_subflow(&mut self, _cx: &mut Cx<'_>, at: usize) {
        let subflow = &mut self.subflows[at];
        if !subflow.finishing {
            subflow.finishing = true;
            subflow.withdrawal = None;
            subflow.tcb.finish();
            self.dirty = true;
        }
    }

    /// Draws the consequences after any input or timer: dead subflows go, a complete connection closes.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.ended.is_some() || self.fastclose.is_some() || self.is_open() {
            return;
        }
        self.reap(cx);
        if self.ended.is_some() {
            return;
        }
        if self.mode != Mode::Fallback && self.is_complete() {
            self.close_at
                .get_or_insert(cx.now + self.params.limits.close_timeout);
            for at in 0..self.subflows.len() {
                self.close_subflow(cx, at);
            }
        } else if self.mode != Mode::Fallback && !self.has_way() {
            // What is left is closing or in TIME-WAIT: unless another subflow joins in time, it is over.
            self.close_at
                .get_or_insert(cx.now + self.params.limits.close_timeout);
        }
        let over = self.subflows.iter().all(Self::has_ended);
        if over && self.is_complete() {
            // The data-level TIME-WAIT: its subflows' TIME-WAITs answer what was lost of the end, for a short time.
            let until = *self
                .closed_at
                .get_or_insert(cx.now + self.params.limits.time_wait);
            if until <= cx.now {
                self.end(Outcome::Closed);
            }
        }
    }

    /// Whether nothing is left but to answer what comes again: both ends of data are acknowledged, all subflows are in
    /// TIME-WAIT, and all output was fetched. The owner may drop the connection before it ends by itself, and keep
    /// [`Self::time_waits`].
    #[must_use]
    pub fn is_past(&self) -> bool {
        self.closed_at.is_some()
            && self.ended.is_none()
            && self.fastclose.is_none()
            && self.outbox.is_empty()
            && self.joins_pending == 0
            && self.is_complete()
            && self.subflows.iter().all(Self::has_ended)
    }

    /// What is left of each subflow of a connection that [is past](Self::is_past), with the tuple of the segments that we
    /// send: it answers for as long as the connection would, [`Limits::time_wait`](super::Limits::time_wait).
    pub fn time_waits(&self, now: Instant) -> impl Iterator<Item = (Tuple, TimeWait)> {
        let subflows = self.is_past().then_some(&self.subflows);
        let (wait, wnd) = (self.params.limits.time_wait, self.window());
        let data_ack = (self.mode != Mode::Fallback).then(|| self.recv.next());
        subflows.into_iter().flatten().filter_map(move |subflow| {
            let tcp = subflow.tcb.time_wait_of(now, wait, wnd)?;
            let left = TimeWait::subflow(tcp, data_ack);
            Some((subflow.tuple.reversed(), left))
        })
    }

    /// Whether nothing ends: the peer's data goes on, and so does every subflow.
    pub(super) fn is_open(&self) -> bool {
        let open = |s: &Subflow<B>| !s.finishing && s.tcb.state() == State::Established;
        !self.remote_fin_accepted && !self.subflows.is_empty() && self.subflows.iter().all(open)
    }

    /// Removes subflows whose TCP connection is gone; their data goes to others.
    fn reap(&mut self, cx: &mut Cx<'_>) {
        let mut lost = false;
        while let Some(at) = self.subflows.iter().position(|s| s.tcb.is_closed()) {
            let subflow = self.subflows.swap_remove(at);
            if subflow.tcb.timed_out() {
                cx.mptcp.count(Counter::SubflowLost);
                self.last_loss = ResetReason::TimedOut;
            }
            self.send.forget(subflow.id.0);
            self.keep_another_alive(cx.now, &subflow);
            self.tell(Event::SubflowClosed {
                id: subflow.id,
                tuple: subflow.tuple,
            });
            lost = true;
        }
        if !lost {
            return;
        }
        self.turn = 0;
        self.reinject_carried_alone();
        if !self.subflows.is_empty() {
            return;
        }
        if self.is_complete() {
            self.end(Outcome::Closed);
        } else if !self.may_be_joined_again() {
            self.end(Outcome::Reset(self.last_loss));
        }
    }

    /// Whether to wait for another subflow to join after the last is gone, until the close takes too long (RFC 8684
    /// 3.3.3, 3.5: break-before-make). Where none ever joined, none will; and a peer that has forgotten the connection
    /// resets every segment of it, with the reason that stands for this. Version 0 knows no reasons.
    fn may_be_joined_again(&self) -> bool {
        let several = self.has_joined || self.joins_pending() > 0;
        let reset = self.last_loss == ResetReason::LastSubflow;
        let forgotten = match self.params.version {
            Version::V0 => reset,
            Version::V1 => reset && self.forgotten,
        };
        self.mode != Mode::Fallback && several && !forgotten
    }

    /// Whether a subflow is open for data, though it may not work at present.
    fn has_way(&self) -> bool {
        self.subflows.iter().any(|s| s.is_live() && !s.finishing)
    }

    /// The close took too long: what is left of it is reset.
    pub(super) fn on_close_timeout(&mut self, cx: &mut Cx<'_>) {
        self.close_at = None;
        if self.subflows.is_empty() {
            self.end(Outcome::Reset(self.last_loss));
        } else if self.is_complete() {
            for at in 0..self.subflows.len() {
                if !Self::has_ended(&self.subflows[at]) {
                    self.send_reset(cx, at, OptBytes::new());
                }
            }
            self.end(Outcome::Closed);
        } else if !self.has_way() || self.usable() <= 1 && !self.has_all() {
            self.cut_off(cx, ResetReason::TimedOut);
        }
    }

    /// Ends the connection and lets go of all it holds.
    pub(super) fn end(&mut self, outcome: Outcome) {
        if self.ended.is_none() {
            self.ended = Some(outcome);
            while let Some(subflow) = self.subflows.pop() {
                self.tell(Event::SubflowClosed {
                    id: subflow.id,
                    tuple: subflow.tuple,
                });
            }
        }
    }
}
