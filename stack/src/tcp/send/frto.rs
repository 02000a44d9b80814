//! Whether a retransmission timeout was needed (RFC 5682): a path that stood still for longer than the timer, as radio
//! links do, has lost nothing. After the oldest segment was sent again, new data goes instead of what is believed lost,
//! and the next acknowledgment tells whether the originals have arrived all the same.
//!
//! With SACK the enhanced version (3.1), without it the basic one (2.1).

use super::Sender;
use super::queue::{Mark, News};
use super::rack::Rack;
use super::recovery::Mode;
use crate::counters::Counter;
use crate::seq::SeqNum;
use crate::tcp::congestion::{Congestion, CongestionControl, initial_window};
use crate::{Cx, PacketBuf};

/// New segments that ask whether the originals have arrived (step 2b).
const ASKING: u8 = 2;

/// What is remembered from a timeout until it is known whether it was spurious.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Frto {
    step: Step,
    /// Where the segment ends that was sent again.
    resent_end: SeqNum,
    /// Congestion control as it was before.
    congestion: Congestion,
    /// What was known of the path before: the answer to an original must not be taken for that to its retransmission.
    rack: Rack,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// 2: for the acknowledgment of what was sent again.
    Second,
    /// 3: for the one after it. So many new segments may still be sent, and what was sent by the end of step 2 ends at
    /// "recover", RecoveryPoint with SACK.
    Third { left: u8, recover: SeqNum },
}

/// What to send while a timeout is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tcp) enum Turn {
    /// As ever.
    Usual,
    /// Nothing: the answer to what was sent again comes first.
    Wait,
    /// New data only. `first` if none was sent yet: where there is none, nothing can be asked.
    New { first: bool },
}

impl<B: PacketBuf> Sender<B> {
    /// Step 1, before the timeout is taken. Not while a loss is repaired, but for the same segment once more.
    pub(super) fn begin_frto(&mut self) {
        match self.frto_step() {
            Some(Step::Second) => {},
            None if self.recovery.mode == Mode::Open => {
                // One that was reported and is due again was thrown away: that is no question of time.
                let oldest = self.queue.entry(0);
                let oldest = oldest.filter(|oldest| oldest.mark != Mark::Sacked);
                let frto = oldest.map(|oldest| {
                    Box::new(Frto {
                        step: Step::Second,
                        resent_end: oldest.end(),
                        congestion: self.cc.clone(),
                        rack: self.queue.rack.clone(),
                    })
                });
                self.queue.board.get_or_insert_default().frto = frto;
            },
            Some(Step::Third { .. }) | None => self.end_frto(),
        }
    }

    fn frto(&self) -> Option<&Frto> {
        self.queue.board.as_ref()?.frto.as_deref()
    }

    fn frto_mut(&mut self) -> Option<&mut Frto> {
        self.queue.board.as_mut()?.frto.as_deref_mut()
    }

    fn frto_step(&self) -> Option<Step> {
        self.frto().map(|frto| frto.step)
    }

    /// The timeout stands.
    pub(in crate::tcp) fn end_frto(&mut self) {
        if let Some(board) = &mut self.queue.board {
            board.frto = None;
        }
    }

    /// What may be sent now.
    pub(in crate::tcp) fn turn(&self) -> Turn {
        match self.frto_step() {
            None => Turn::Usual,
            Some(Step::Second) if self.recovery.oldest_due => Turn::Usual,
            Some(Step::Second | Step::Third { left: 0, .. }) => Turn::Wait,
            Some(Step::Third { left, .. }) => Turn::New {
                first: left == ASKING,
            },
        }
    }

    /// New segments that may leave whatever is believed lost.
    pub(super) fn may_ask(&self) -> Option<u8> {
        match self.frto_step()? {
            Step::Second => Some(0),
            Step::Third { left, .. } => Some(left),
        }
    }

    /// A new segment was sent.
    pub(in crate::tcp) fn note_asked(&mut self) {
        if let Some(Step::Third { left, .. }) = self.frto_mut().map(|frto| &mut frto.step) {
            *left = left.saturating_sub(1);
        }
    }

    /// Steps 2 and 3: takes an acknowledgment. `advanced` if SND.UNA moved, `duplicate` if it is a duplicate. `true` if the
    /// timeout stands although new data was sent to ask: see [`Self::resume_slow_start`].
    pub(super) fn judge_timeout(
        &mut self,
        cx: &mut Cx<'_>,
        news: &News,
        advanced: bool,
        duplicate: bool,
    ) -> bool {
        let (una, nxt, sack) = (self.queue.una(), self.queue.nxt(), self.sack);
        let Some(frto) = self.frto_mut() else {
            return false;
        };
        let counts = advanced || duplicate || news.delivered > 0;
        match frto.step {
            // With SACK duplicates are waited out.
            Step::Second if !advanced && (sack || !duplicate) => {},
            // One that covers all has ended this: the queue remembers nothing of what has arrived.
            Step::Second if advanced && una >= frto.resent_end => {
                frto.step = Step::Third {
                    left: ASKING,
                    recover: nxt,
                };
            },
            Step::Second => self.end_frto(),
            Step::Third { .. } if !counts => {},
            Step::Third { recover, .. } => {
                let beyond = news.highest.is_some_and(|highest| highest > recover);
                let spurious = if sack {
                    news.delivered > 0 && una <= recover && !beyond
                } else {
                    advanced
                };
                if spurious {
                    self.undo_timeout(cx);
                } else {
                    self.end_frto();
                    return true;
                }
            },
        }
        false
    }

    /// 3a: two round trips have passed, and that is how far slow start would be by now.
    pub(super) fn resume_slow_start(&mut self) {
        self.cc.set_cwnd(3 * self.smss());
    }

    /// SPUR_TO: what was marked lost travels, and congestion control goes on where it was, but not with a burst: beyond
    /// what is in flight, no more than a connection begins with (RFC 4015 3.2 step 8).
    fn undo_timeout(&mut self, cx: &mut Cx<'_>) {
        let board = self.queue.board.as_mut();
        let Some(frto) = board.and_then(|board| board.frto.take()) else {
            return;
        };
        cx.counters.count(Counter::TcpSpuriousRto);
        self.queue.unmark_lost(frto.rack);
        self.cc = frto.congestion;
        let most = self.queue.flight() + initial_window(self.smss());
        let window = self.cc.cwnd().min(most);
        self.cc.set_cwnd(window);
        // "recover" is SND.UNA, so that losses are repaired as ever: at once.
        self.recovery.mode = Mode::Open;
        self.recovery.point = self.queue.una() - 1;
    }
}
