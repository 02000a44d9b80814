//! The end of a connection at once: MP_FASTCLOSE (RFC 8684 3.5, RFC 6824 3.5).

use super::{Connection, Mode, Outcome, Output, ResetReason, SubflowId};
use crate::Cx;
use crate::counters::Counter;
use crate::option::{MpOption, parse};
use crate::subflow::Subflow;
use crate::types::Version;
use stack::tcp::Verdict;
use stack::wire::tcp::{OptBytes, Segment};
use stack::{Instant, PacketBuf};

/// How often MP_FASTCLOSE is sent once more: RFC 8684 3.5 recommends three.
const FASTCLOSES_AGAIN: u8 = 3;

/// An MP_FASTCLOSE on an ACK that waits for the peer's reset: FASTCLOSE_WAIT (RFC 6824 3.5).
#[derive(Clone, Copy, Debug)]
pub(super) struct Fastclose {
    /// The subflow that is left for it.
    subflow: SubflowId,
    /// When it is due again.
    pub(super) again: Instant,
    sends: u8,
    /// Why the connection is cut off.
    reason: ResetReason,
}

impl<B: PacketBuf> Connection<B> {
    /// Cuts the connection off: MP_FASTCLOSE and resets on all subflows, to be fetched with [`Self::output`]. In version 0
    /// the connection ends only once the peer has answered, or did not for some round trips.
    pub fn abort(&mut self, cx: &mut Cx<'_>) {
        self.cut_off(cx, ResetReason::Aborted);
    }

    /// Ends the connection at once, and tells the peer by a reset of every subflow: with MP_FASTCLOSE in version 1, so
    /// that each alone ends it (RFC 8684 3.5, option R). Version 0 knows MP_FASTCLOSE on an ACK only, to which the peer
    /// answers with a reset (RFC 6824 3.5).
    pub(super) fn cut_off(&mut self, cx: &mut Cx<'_>, reason: ResetReason) {
        if self.ended.is_some() || self.fastclose.is_some() {
            return;
        }
        // After a complete exchange of DATA_FINs there is nothing left to cut off.
        let tell = self.mode != Mode::Fallback && !self.is_complete();
        let asked = if tell && self.params.version == Version::V0 {
            self.best_for_fastclose()
        } else {
            None
        };
        for at in 0..self.subflows.len() {
            let upper = if tell && self.params.version == Version::V1 {
                cx.mptcp.count(Counter::FastcloseTx);
                self.fastclose_option()
            } else {
                OptBytes::new()
            };
            if asked != Some(self.subflows[at].id) {
                self.send_reset(cx, at, upper);
            }
        }
        match asked {
            Some(subflow) => {
                self.fastclose = Some(Fastclose {
                    subflow,
                    again: cx.now,
                    sends: 0,
                    reason,
                });
                self.advance_fastclose(cx);
            },
            None => self.end(Outcome::Reset(reason)),
        }
    }

    fn fastclose_option(&self) -> OptBytes {
        let receiver_key = self.params.remote_key;
        MpOption::Fastclose { receiver_key }.into()
    }

    /// The subflow whose peer most likely answers.
    fn best_for_fastclose(&self) -> Option<SubflowId> {
        let live = self.subflows.iter().filter(|s| s.is_live());
        live.min_by_key(|s| (!s.is_usable(), s.srtt()))
            .map(Subflow::id)
    }

    /// Sends the MP_FASTCLOSE that is due, or gives its answer up (RFC 6824 3.5).
    pub(super) fn advance_fastclose(&mut self, cx: &mut Cx<'_>) {
        let Some(fastclose) = self.fastclose.filter(|fastclose| fastclose.again <= cx.now) else {
            return;
        };
        let Some(at) = self.index(fastclose.subflow) else {
            return self.end(Outcome::Reset(fastclose.reason));
        };
        if fastclose.sends > FASTCLOSES_AGAIN {
            self.send_reset(cx, at, OptBytes::new());
            return self.end(Outcome::Reset(fastclose.reason));
        }
        cx.mptcp.count(Counter::FastcloseTx);
        self.fastclose_ack(cx, at, self.fastclose_option());
        self.fastclose = Some(Fastclose {
            again: cx.now + self.subflows[at].base_rto(),
            sends: fastclose.sends + 1,
            ..fastclose
        });
    }

    /// What comes in while the answer to MP_FASTCLOSE is waited for: only that counts, and an MP_FASTCLOSE of the peer's
    /// own, which is answered with a reset (RFC 6824 3.5).
    pub(super) fn input_fastclosing(
        &mut self,
        cx: &mut Cx<'_>,
        at: usize,
        seg: &Segment<B>,
        Fastclose {
            subflow, reason, ..
        }: Fastclose,
    ) {
        if self.subflows[at].id != subflow {
            return;
        }
        let closes = |option| matches!(option, MpOption::Fastclose { receiver_key } if receiver_key == self.params.local.key);
        let crossed = parse(&seg.options.mptcp).flatten().any(closes);
        match self.subflows[at].tcb.input(&mut cx.stack(), seg) {
            Verdict::Reset => self.end(Outcome::Reset(reason)),
            Verdict::Accepted { .. } if crossed => {
                cx.mptcp.count(Counter::FastcloseRx);
                self.send_reset(cx, at, OptBytes::new());
                self.end(Outcome::Reset(reason));
            },
            Verdict::Accepted { .. } | Verdict::Dropped => {},
        }
    }

    /// The peer's MP_FASTCLOSE with our key: every subflow is reset, and that is all (RFC 8684 3.5).
    pub(super) fn on_fastclose(&mut self, cx: &mut Cx<'_>) {
        cx.mptcp.count(Counter::FastcloseRx);
        for at in 0..self.subflows.len() {
            self.send_reset(cx, at, OptBytes::new());
        }
        self.end(Outcome::Reset(ResetReason::Fastclose));
    }

    /// Queues an ACK with MP_FASTCLOSE.
    fn fastclose_ack(&mut self, cx: &mut Cx<'_>, at: usize, upper: OptBytes) {
        let subflow = &mut self.subflows[at];
        subflow.tcb.request_ack();
        if let Some(mut segment) = subflow.tcb.output(&mut cx.stack(), upper.len()) {
            segment.options.mptcp = upper;
            let (id, tuple) = (subflow.id, subflow.tuple.reversed());
            self.outbox.push_back(Output {
                subflow: id,
                tuple,
                segment,
            });
        }
    }
}
