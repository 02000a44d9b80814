//! Back to plain TCP (RFC 8684 3.7): on the only subflow, for good.

use super::{Connection, LocalFin, Mode};
use crate::counters::Counter;
use crate::dsn;
use crate::option::{Dss, Mapping, MpOption, ResetReason, parse};
use crate::{Cx, DataSeq};
use stack::tcp::Item;
use stack::time::Duration;
use stack::wire::tcp::{Flags, Segment};
use stack::{PacketBuf, SeqNum, Slice};

/// How long data without a mapping is held before its subflow is reset; and how long nothing comes of a mapping, or of an
/// infinite one that was asked for, before the peer is asked whether it is there at all.
pub(super) const UNCOVERED_MAX: Duration = Duration::from_secs(5);
/// How often the peer is asked; the waits for an answer double, to more than the 100 s of RFC 1122 4.2.3.5 in all.
const ASKED_MAX: u8 = 4;

/// An infinite mapping that our next data is to carry: from `seq` on, all octets follow `dsn`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Infinite {
    dsn: DataSeq,
    seq: SeqNum,
}

impl<B: PacketBuf> Connection<B> {
    /// Turns the connection into plain TCP on its only subflow. `tell` is whether our next data says so to the peer,
    /// whose options may still reach us, or ours it.
    pub(super) fn fall_back(&mut self, cx: &mut Cx<'_>, why: Counter, tell: bool) {
        if self.mode == Mode::Fallback || self.subflows.len() != 1 {
            return;
        }
        cx.mptcp.count(why);
        self.mode = Mode::Fallback;
        self.paths.clear();
        self.capable_due = false;
        self.data_timer.on_progress();
        if tell {
            // The oldest number that was not DATA_ACKed, where TCP has it (RFC 8684 3.7): retroactive.
            let back = dsn::octets(self.send.nxt(), self.send.una());
            let seq = self.subflows[0].tcb.push_seq() - u32::try_from(back).unwrap_or(0);
            self.infinite = Some(Infinite {
                dsn: self.send.una(),
                seq,
            });
        }
        self.recv.discard_ahead();
        self.release_held();
        for slice in self.send.take_plain() {
            self.send_plain(slice);
        }
        if self.local_fin != LocalFin::Open {
            self.finish_plain();
        }
        self.renew_windows();
    }

    /// All that TCP delivered is now in order.
    fn release_held(&mut self) {
        let subflow = &mut self.subflows[0];
        subflow.data_fin_due = false;
        subflow.uncovered_until = None;
        subflow.failed = None;
        subflow.fail_again_at = None;
        subflow.join_ack_at = None;
        while let Some(slice) = subflow.held.slices.pop_front() {
            self.recv.append(slice);
        }
        subflow.held.len = 0;
        while let Some((_, slice)) = subflow.tcb.take() {
            self.recv.append(slice);
        }
    }

    /// Sends on the subflow that is left; the first data carries the infinite mapping where one is due.
    pub(super) fn send_plain(&mut self, payload: Slice<B>) {
        self.dirty = true;
        let Some(subflow) = self.subflows.first_mut() else {
            return;
        };
        let Some(infinite) = self.infinite.take() else {
            subflow.tcb.send(payload);
            return;
        };
        let upper: stack::wire::tcp::OptBytes = MpOption::from(Dss {
            data_ack: None,
            mapping: Some(Mapping {
                dsn: infinite.dsn.full(),
                ssn: infinite.seq - subflow.iss,
                len: 0,
                checksum: self.params.checksum.then_some(0),
                data_fin: false,
            }),
        })
        .into();
        let cut = subflow.tcb.max_payload(upper.len()).min(payload.len());
        subflow.tcb.push(Item {
            payload: payload.slice(0..cut),
            upper,
            psh: cut == payload.len(),
        });
        if cut < payload.len() {
            subflow.tcb.send(payload.slice(cut..payload.len()));
        }
    }

    /// FIN takes the place of DATA_FIN.
    pub(super) fn finish_plain(&mut self) {
        self.local_fin = LocalFin::Wanted;
        if let Some(subflow) = self.subflows.first_mut() {
            subflow.finishing = true;
            subflow.tcb.finish();
        }
    }

    /// The peer's infinite mapping: octet `ssn` of the subflow is `dsn`, and all that follow follow.
    pub(super) fn on_infinite(&mut self, cx: &mut Cx<'_>, at: usize, ssn: u32, dsn: DataSeq) {
        if self.subflows.len() != 1 || self.subflows[at].joined && !self.subflows[at].verified {
            cx.mptcp.count(Counter::DssMalformed);
            self.reset_subflow(cx, at, ResetReason::MPTCP_SPECIFIC);
            return;
        }
        let subflow = &mut self.subflows[at];
        let start = subflow.irs + ssn;
        // Where the octets that wait belong, by this mapping: no octet may be missing before them.
        let place = dsn::offset(dsn, i64::from(subflow.held.start.distance(start)));
        let known = self.recv.next().distance(place);
        let misses = self.recv.has_gap() || known < 0;
        if misses || !subflow.is_contiguous(self.send.una(), self.send.nxt()) {
            cx.mptcp.count(Counter::DssMalformed);
            self.reset_subflow(cx, at, ResetReason::MPTCP_SPECIFIC);
            return;
        }
        // What is known already must not come twice.
        let mut skip = u32::try_from(known.max(0)).unwrap_or(0);
        while skip > 0 {
            let end = subflow.held.start + skip;
            let Some((_, slice)) = subflow.held.pop_before(end) else {
                break;
            };
            skip -= u32::try_from(slice.len()).unwrap_or(0);
        }
        if skip > 0 {
            // More is to come that is known already.
            cx.mptcp.count(Counter::DssMalformed);
            self.reset_subflow(cx, at, ResetReason::MPTCP_SPECIFIC);
            return;
        }
        self.fall_back(cx, Counter::FallbackInfiniteRx, false);
    }

    /// A DSS checksum is wrong (RFC 8684 3.7): a middlebox changes what passes. Beside others the subflow is reset;
    /// alone, the peer is asked for an infinite mapping, which takes the data as it is.
    pub(super) fn on_checksum_error(&mut self, cx: &mut Cx<'_>, at: usize, dsn: DataSeq) {
        let subflow = &self.subflows[at];
        let is_plain = subflow.is_contiguous(self.send.una(), self.send.nxt());
        if self.subflows.len() > 1 || self.recv.has_gap() || subflow.joined || !is_plain {
            self.fail_subflow(cx, at, dsn);
            return;
        }
        cx.mptcp.count(Counter::FallbackChecksum);
        let subflow = &mut self.subflows[at];
        subflow.failed = Some(dsn);
        subflow.fail_due = Some(dsn);
        (subflow.asked, subflow.answered) = (0, false);
        subflow.uncovered_until = Some(cx.now + UNCOVERED_MAX);
    }

    /// The mapping that comes first on subflow `at` got more of its data, and not all. A middlebox may have made it shorter,
    /// and nothing else need follow that fills it. Where the peer's data was DATA_ACKed before, or has other ways, what is
    /// missing comes again; else nothing says so to a peer that may send nothing twice (RFC 8684 3.7).
    pub(super) fn await_rest(&mut self, cx: &mut Cx<'_>, at: usize) {
        let is_first = self.subflows.len() == 1 && self.recv.next() == self.first_in;
        let subflow = &mut self.subflows[at];
        subflow.asked = 0;
        subflow.uncovered_until = is_first.then_some(cx.now + UNCOVERED_MAX);
    }

    /// Data of subflow `at` waited long enough for its mapping, for the rest of it, or for an infinite one. A path that is
    /// down brings neither of the last two, and takes nothing away: what the peer says counts, once it can (RFC 8684 3.7
    /// names no time).
    pub(super) fn on_waited(&mut self, cx: &mut Cx<'_>, at: usize) {
        let others = self.subflows.len() > 1;
        let subflow = &mut self.subflows[at];
        let may_ask = !others && !subflow.answered && subflow.asked < ASKED_MAX;
        match (
            subflow.mappings.covering(subflow.held.start),
            subflow.failed,
        ) {
            (Some(_), None) if others => subflow.uncovered_until = None,
            (Some(_), None) | (_, Some(_)) if may_ask => {
                // What was lost comes again, but not while a path is down, and the peer's timer doubles as long. An ACK
                // before the probe, so that a peer goes on that does not know that the first part came; or MP_FAIL once
                // more.
                subflow.fail_due = subflow.failed;
                subflow.tcb.request_ack();
                subflow.tcb.request_probe();
                subflow.asked += 1;
                subflow.uncovered_until = Some(cx.now + UNCOVERED_MAX * (1 << subflow.asked));
            },
            (Some(mapping), None) => {
                self.on_unfilled(cx, at, mapping.dsn);
                // Who said nothing for so long is not waited for as long again.
                self.subflows[at].asked = ASKED_MAX;
            },
            _ => {
                cx.mptcp.count(Counter::DssUncovered);
                self.reset_subflow(cx, at, ResetReason::MIDDLEBOX_INTERFERENCE);
            },
        }
    }

    /// `seg` came on subflow `at` since the peer was asked for the rest of a mapping, or for an infinite one.
    #[cold]
    pub(super) fn on_asked(&mut self, cx: &mut Cx<'_>, at: usize, seg: &Segment<B>) {
        let alone = self.subflows.len() == 1 && self.mode != Mode::Fallback;
        let Some(subflow) = self.subflows.get_mut(at).filter(|_| alone) else {
            return;
        };
        if subflow.uncovered_until.is_none() || subflow.answered {
            return;
        }
        if subflow.failed.is_some() {
            // The path works again: it is told at once, and as often as at first.
            subflow.answered = true;
            subflow.fail_due = subflow.failed;
            subflow.uncovered_until = Some(cx.now + UNCOVERED_MAX);
            return;
        }
        // An ACK alone has the number that the peer sends next: where that is the one that we expect, all that it sent has
        // come, and nothing fills the mapping.
        let is_ack = seg.payload.is_empty() && !seg.flags.has(Flags::FIN);
        let has_all = is_ack && seg.seq == subflow.tcb.rcv_nxt();
        if let Some(mapping) = subflow.mappings.covering(subflow.held.start)
            && has_all
        {
            self.on_unfilled(cx, at, mapping.dsn);
        }
    }

    fn on_unfilled(&mut self, cx: &mut Cx<'_>, at: usize, dsn: DataSeq) {
        cx.mptcp.count(Counter::DssUnfilled);
        self.on_checksum_error(cx, at, dsn);
    }

    /// The peer found a wrong checksum in our data, on its only subflow: all is plain TCP from here, both ways.
    pub(super) fn on_fail(&mut self, cx: &mut Cx<'_>, at: usize, dsn: DataSeq) {
        cx.mptcp.count(Counter::MpFailRx);
        if self.subflows.len() > 1 {
            self.reset_subflow(cx, at, ResetReason::MIDDLEBOX_INTERFERENCE);
            return;
        }
        if !self.subflows[at].is_contiguous(self.send.una(), self.send.nxt()) {
            // What a lost subflow carried was sent again on this one, or waits for it: no mapping fits all of it.
            self.fail_subflow(cx, at, dsn);
            return;
        }
        let asked = self.subflows[at].failed.is_some();
        if !asked {
            // Nothing of the peer's failed: what counts is that there is an answer. It names what we have not got.
            let next = self.recv.next();
            self.subflows[at].fail_due = Some(next);
            self.fail_answer = Some(next);
        }
        self.fall_back(cx, Counter::FallbackFailRx, true);
    }

    /// After the fallback nothing counts but the peer's MP_FAIL once more: our answer, which stands for the infinite
    /// mapping where we have no data to put it on, was lost.
    pub(super) fn on_fail_again(&mut self, cx: &mut Cx<'_>, at: usize, seg: &Segment<B>) {
        if self.fail_answer.is_none() || seg.options.mptcp.is_empty() {
            return;
        }
        for option in parse(&seg.options.mptcp).flatten() {
            if let MpOption::Fail { .. } = option {
                cx.mptcp.count(Counter::MpFailRx);
                self.subflows[at].fail_due = self.fail_answer;
            }
        }
    }
}
