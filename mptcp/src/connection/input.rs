//! What comes in on a subflow: TCP first, then options, then data.

use super::fallback::UNCOVERED_MAX;
use super::options::Seen;
use super::{Connection, Mode, Outcome, SubflowId};
use crate::counters::Counter;
use crate::coupling::Coupling;
use crate::crypto::dss_intact;
use crate::dss;
use crate::option::ResetReason;
use crate::recv_queue::Received;
use crate::{Cx, DataSeq};
use stack::tcp::Verdict;
use stack::wire::tcp::Segment;
use stack::{PacketBuf, Slice, Step};

/// The longest mapping, and a segment that ends it and begins the next.
const MAPPING_MAX: u32 = 2 * 65_535;

impl<B: PacketBuf> Connection<B> {
    /// Takes a segment of subflow `id`: TCP first, then its options, then its data. What TCP does not accept counts
    /// for nothing above it.
    pub fn input(&mut self, cx: &mut Cx<'_>, id: SubflowId, seg: &Segment<B>) -> Outcome {
        self.predicted = None;
        let Some(at) = self.index(id) else {
            return self.outcome();
        };
        if let Some(fastclose) = self.fastclose {
            self.input_fastclosing(cx, at, seg, fastclose);
            return self.outcome();
        }
        if self.input_predicted(cx, at, seg) {
            self.predicted = Some(at);
            return self.outcome();
        }
        self.dirty = true;
        self.couple(at);
        let subflow = &mut self.subflows[at];
        let outer = cx.ledger.enter(Step::TcpIn);
        let verdict = subflow.tcb.input(&mut cx.stack(), seg);
        cx.ledger.enter(outer);
        subflow.rate.on_ack(cx.now, &subflow.tcb);
        match verdict {
            Verdict::Dropped => {},
            Verdict::Reset => self.on_reset(cx, at, seg),
            Verdict::Accepted { acked } => self.on_accepted(cx, at, seg, acked),
        }
        self.settle(cx);
        self.outcome()
    }

    /// Tells subflow `at` what the others leave to its congestion window.
    fn couple(&mut self, at: usize) {
        if self.coupling == Coupling::Uncoupled {
            return;
        }
        let subflow = &mut self.subflows[at];
        if self.coupling == Coupling::Olia {
            let (acked, recovering) = (subflow.tcb.bytes_acked(), subflow.tcb.in_recovery());
            subflow.spans.renew(acked, recovering);
        }
        if let Some(share) = self.coupling.share(&self.subflows, at) {
            self.subflows[at].tcb.couple(share);
        }
    }

    fn on_accepted(&mut self, cx: &mut Cx<'_>, at: usize, seg: &Segment<B>, acked: u32) {
        let subflow = &mut self.subflows[at];
        let was_asked = subflow.asked > 0;
        match subflow.withdrawal {
            Some(withdrawal) if withdrawal.answered_from <= cx.now => {
                // It works: the withdrawal may be forged, and if not, its owner ends the subflow (RFC 8684 3.4.2).
                cx.mptcp.count(Counter::RemoveAddrAnswered);
                subflow.withdrawal = None;
                subflow.stale = false;
            },
            Some(_) => {},
            None if acked > 0 => subflow.stale = false,
            None => {},
        }
        if self.mode != Mode::Fallback {
            let seen = self.on_options(cx, at, seg);
            if self.ended.is_some() {
                return;
            }
            self.on_signs(cx, at, seen, acked);
            if self.ended.is_some() || self.subflows[at].tcb.is_closed() {
                return;
            }
        } else {
            self.on_fail_again(cx, at, seg);
        }
        self.receive(cx, at);
        if was_asked {
            self.on_asked(cx, at, seg);
        }
        self.on_subflow_fin(cx, at);
    }

    /// What the presence or absence of options says about the path (RFC 8684 3.7).
    fn on_signs(&mut self, cx: &mut Cx<'_>, at: usize, seen: Seen, acked: u32) {
        let subflow = &mut self.subflows[at];
        if seen.any {
            self.heard = true;
            // An initiator's third ACK has arrived: on the first subflow MP_CAPABLE, on others the fourth ACK is here.
            if !subflow.joined {
                self.capable_due = false;
            }
        }
        subflow.on_fourth_ack();
        if acked > 0 {
            subflow.bare = !seen.any;
        }
        if acked == 0 || seen.any || self.mode == Mode::Fallback {
            return;
        }
        // Data was acknowledged, not just a SYN, and no option came with it.
        if subflow.joined && !subflow.verified {
            cx.mptcp.count(Counter::DssUncovered);
            self.reset_subflow(cx, at, ResetReason::MIDDLEBOX_INTERFERENCE);
        } else if self.mode == Mode::Unverified {
            self.fall_back(cx, Counter::FallbackNoDataAck, true);
        }
    }

    /// Moves what TCP has in order up to the connection.
    pub(super) fn receive(&mut self, cx: &mut Cx<'_>, at: usize) {
        let mut came = false;
        while let Some((seq, slice)) = self.subflows[at].tcb.take() {
            came = true;
            if self.mode == Mode::Fallback {
                self.recv.append(slice);
                continue;
            }
            let subflow = &mut self.subflows[at];
            let free = subflow.held.len == 0;
            match subflow.mappings.place_of(seq, slice.len()) {
                // Nothing waits before it.
                Some(dsn) if free => {
                    subflow.held.pass(slice.len());
                    self.place(cx, at, dsn, slice);
                    self.on_placed(at);
                },
                _ => subflow.held.push(slice),
            }
        }
        if self.subflows[at].held.len > 0 {
            self.place_held(cx, at);
            self.bound_held(cx, at);
        } else {
            self.subflows[at].uncovered_until = None;
            if !came {
                return;
            }
        }
        // The others' follow when the owner has taken what came.
        let window = self.window();
        if let Some(subflow) = self.subflows.get_mut(at) {
            subflow.tcb.set_recv_room(window);
        }
    }

    /// Gives the data held on a subflow its place in the connection, as far as mappings are known.
    fn place_held(&mut self, cx: &mut Cx<'_>, at: usize) {
        loop {
            let subflow = &mut self.subflows[at];
            if subflow.held.len == 0 {
                subflow.uncovered_until = None;
                return;
            }
            let Some(mapping) = subflow.mappings.covering(subflow.held.start) else {
                self.on_uncovered(cx, at);
                return;
            };
            if let Some(check) = mapping.check {
                if subflow.failed.is_some() {
                    return;
                }
                let summed = subflow.held.summed_len;
                let mut read = 0;
                let sum = subflow.held.sum_front(mapping.len as usize, &mut read);
                cx.tcp.add(stack::Counter::PayloadSummed, read);
                let Some(sum) = sum else {
                    if subflow.held.summed_len > summed {
                        self.await_rest(cx, at);
                    }
                    return;
                };
                if !dss_intact(mapping.dsn, check.ssn, check.dll, sum, check.checksum) {
                    cx.mptcp.count(Counter::DssChecksumError);
                    self.on_checksum_error(cx, at, mapping.dsn);
                    return;
                }
                if u32::from(check.dll) > mapping.len {
                    self.on_data_fin(cx, at, mapping.dsn + u64::from(mapping.len));
                }
            }
            self.place_mapped(cx, at, &mapping);
            self.subflows[at].uncovered_until = None;
        }
    }

    fn place_mapped(&mut self, cx: &mut Cx<'_>, at: usize, mapping: &dss::Mapping) {
        let end = mapping.seq + mapping.len;
        while let Some((seq, slice)) = self.subflows[at].held.pop_before(end) {
            let dsn = crate::dsn::offset(mapping.dsn, i64::from(seq.distance(mapping.seq)));
            self.place(cx, at, dsn, slice);
        }
        self.on_placed(at);
    }

    /// Subflow `at` holds less than before.
    fn on_placed(&mut self, at: usize) {
        let subflow = &mut self.subflows[at];
        subflow.mappings.consume(subflow.held.start);
        // More than an initial window came mapped, so the peer has our DATA_ACKs and may send data again on its own: it
        // would come twice in a plain stream.
        let initial_window = 10 * i64::from(subflow.tcb.smss());
        let mapped = self.recv.next().distance(self.first_in);
        if self.mode == Mode::Unverified && mapped > initial_window {
            self.mode = Mode::Verified;
        }
    }

    pub(super) fn place(&mut self, cx: &mut Cx<'_>, at: usize, dsn: DataSeq, slice: Slice<B>) {
        // Nothing can follow the peer's DATA_FIN (RFC 8684 3.3.3).
        let edge = self
            .remote_fin
            .map_or(self.recv_edge, |fin| fin.min(self.recv_edge));
        let counter = match self.recv.insert(dsn, slice, edge) {
            Received::InOrder => return,
            Received::OutOfOrder => Counter::DssOutOfOrder,
            Received::Duplicate => Counter::DssDuplicate,
            Received::Refused => Counter::DssOutOfWindow,
        };
        cx.mptcp.count(counter);
        if counter != Counter::DssOutOfOrder {
            // The peer does not know what we have, or probes our window: tell it now (RFC 8684 3.3.6).
            self.subflows[at].tcb.request_ack();
        }
    }

    /// Data in order without a mapping (RFC 8684 3.7): on the first subflow, before anything was verified, it means
    /// that options do not pass; later it is held for a mapping that may yet come, for some time.
    fn on_uncovered(&mut self, cx: &mut Cx<'_>, at: usize) {
        if self.mode == Mode::Unverified {
            self.fall_back(cx, Counter::FallbackData, false);
        } else {
            let until = cx.now + UNCOVERED_MAX;
            self.subflows[at].uncovered_until.get_or_insert(until);
        }
    }

    /// What waits for a mapping, for the rest of one with a checksum, or for an infinite one is outside the connection's
    /// window: a peer that heeds that never has more than one window of it.
    fn bound_held(&mut self, cx: &mut Cx<'_>, at: usize) {
        let limits = &self.params.limits;
        let octets = limits.recv_buffer.max(MAPPING_MAX) as usize;
        let held = &self.subflows[at].held;
        if held.len > octets || held.slices.len() > limits.pieces_max() {
            cx.mptcp.count(Counter::DssUncovered);
            self.reset_subflow(cx, at, ResetReason::MIDDLEBOX_INTERFERENCE);
        }
    }

    /// Lets every subflow's own window follow the connection's (RFC 8684 3.3.1).
    pub(super) fn renew_windows(&mut self) {
        let window = self.window();
        for subflow in &mut self.subflows {
            subflow.tcb.set_recv_room(window);
            // No ACK could tell the rest of it (RFC 7323 2.3).
            let window = window.min(u32::from(u16::MAX) << subflow.tcb.rcv_wscale());
            // A subflow that last announced far less would keep the peer waiting.
            let smallest = 2 * u32::from(subflow.tcb.smss());
            if self.mode != Mode::Fallback
                && window >= smallest
                && subflow.announced < window / 2
                && subflow.announced + smallest <= window
                && subflow.announced_once
            {
                subflow.tcb.request_ack();
                // Asked once; the announcement itself is noted when it leaves.
                subflow.announced = window;
            }
        }
        self.dirty = true;
    }
}
