//! Losses found by time: what was sent before something that has arrived, and is overdue, is lost (RFC 8985 6).

use super::queue::{Mark, News, SendQueue};
use crate::PacketBuf;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

/// Loss recoveries without a DSACK for which a widened reordering window is kept (6.2 step 4).
const PERSIST: u8 = 16;

/// When an acknowledgment came, and what it says about its cause.
#[derive(Clone, Copy, Debug)]
pub(in crate::tcp) struct Receipt {
    pub(in crate::tcp) now: Instant,
    /// Our timestamp clock, in whole milliseconds since the start, when the segment that is answered was sent, as far as
    /// the acknowledgment tells (RFC 7323 4.3).
    pub(in crate::tcp) answers: Option<u64>,
    /// RACK.min_RTT.
    pub(in crate::tcp) min_rtt: Duration,
}

impl Receipt {
    /// 6.2 step 2: whether this may be the answer to an earlier transmission than the last one, of `sent_at`.
    fn is_ambiguous(&self, sent_at: Instant) -> bool {
        self.answers.is_some_and(|tick| tick < sent_at.as_millis())
            || self.now.since(sent_at) < self.min_rtt
    }
}

/// What is known of the path (RFC 8985 5.3), beside RACK.min_RTT and SRTT, which are the estimator's.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Rack {
    /// RACK.xmit_ts.
    sent_at: Instant,
    /// RACK.end_seq.
    end: SeqNum,
    /// RACK.fack: the highest octet that has arrived.
    fack: SeqNum,
    /// RACK.rtt in microseconds: 71 minutes at most.
    rtt: u32,
    /// RACK.dsack_round: SND.NXT when the window was last widened, until that is acknowledged.
    dsack_round: Option<SeqNum>,
    /// RACK.reo_wnd_mult.
    mult: u8,
    /// RACK.reo_wnd_persist.
    persist: u8,
    /// RACK.reordering_seen.
    reordering_seen: bool,
}

/// What of [`Rack`] outlasts the segments that it was learnt from.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestingRack {
    mult: u8,
    persist: u8,
    reordering_seen: bool,
}

impl RestingRack {
    /// The state of a path on which everything before `nxt` has arrived.
    pub(super) const fn wake(self, nxt: SeqNum) -> Rack {
        Rack {
            mult: self.mult,
            persist: self.persist,
            reordering_seen: self.reordering_seen,
            ..Rack::new(nxt)
        }
    }
}

impl Rack {
    pub(super) const fn rest(&self) -> RestingRack {
        RestingRack {
            mult: self.mult,
            persist: self.persist,
            reordering_seen: self.reordering_seen,
        }
    }

    pub(super) const fn new(end: SeqNum) -> Self {
        Self {
            sent_at: Instant::ZERO,
            end,
            fack: end,
            rtt: 0,
            dsack_round: None,
            mult: 1,
            persist: PERSIST,
            reordering_seen: false,
        }
    }

    /// 6.2 steps 2 and 3 for one segment that has arrived. What they change is set by [`Self::conclude`], so that the
    /// order of an acknowledgment's blocks is not taken for that of arrival.
    pub(super) fn note(
        &mut self,
        receipt: &Receipt,
        (sent_at, end): (Instant, SeqNum),
        resent: bool,
        news: &mut News,
    ) {
        if end < self.fack && !resent {
            self.reordering_seen = true;
        }
        if news.highest.is_none_or(|highest| end > highest) {
            news.highest = Some(end);
        }
        if resent && receipt.is_ambiguous(sent_at) {
            return;
        }
        if news
            .latest
            .is_none_or(|latest| is_later((sent_at, end), latest))
        {
            news.latest = Some((sent_at, end));
        }
    }

    /// All that an acknowledgment reports was noted.
    fn conclude(&mut self, now: Instant, news: &News) {
        if let Some(highest) = news.highest {
            self.fack = self.fack.max(highest);
        }
        if let Some(latest) = news.latest {
            self.rtt = u32::try_from(now.since(latest.0).as_micros()).unwrap_or(u32::MAX);
            if is_later(latest, (self.sent_at, self.end)) {
                (self.sent_at, self.end) = latest;
            }
        }
    }

    /// 6.2 step 4, first half: the window is widened once in a round trip that brings a DSACK. `true` if so.
    fn adapt(&mut self, una: SeqNum, nxt: SeqNum, dsack: bool) -> bool {
        if self.dsack_round.is_some_and(|round| una >= round) {
            self.dsack_round = None;
        }
        let widens = dsack && self.dsack_round.is_none();
        if widens {
            self.dsack_round = Some(nxt);
            self.mult = self.mult.saturating_add(1);
            self.persist = PERSIST;
        }
        widens
    }

    /// A loss recovery ended, by an acknowledgment that did not widen the window.
    fn on_recovery_end(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.mult = 1;
        }
    }

    fn window(&self, min_rtt: Duration, srtt: Duration) -> Duration {
        (min_rtt * u32::from(self.mult) / 4).min(srtt)
    }

    fn is_later_than(&self, sent_at: Instant, end: SeqNum) -> bool {
        is_later((self.sent_at, self.end), (sent_at, end))
    }

    /// 6.2 step 5: when a segment sent at `sent_at`, before the one that has arrived, counts as lost.
    fn overdue_at(&self, sent_at: Instant, reo_wnd: Duration) -> Instant {
        sent_at + Duration::from_micros(u64::from(self.rtt)) + reo_wnd
    }
}

/// `RACK_sent_after` of RFC 8985 6.2.
fn is_later(a: (Instant, SeqNum), b: (Instant, SeqNum)) -> bool {
    (a.0, a.1.distance(b.1)) > (b.0, 0)
}

impl<B: PacketBuf> SendQueue<B> {
    /// All that an acknowledgment reports was taken: marks what is lost by now. The deadline at which more may be, if
    /// nothing else arrives.
    ///
    /// For peers that send SACK only: without it, an arrival says nothing about what was sent before.
    pub(in crate::tcp) fn detect_losses(
        &mut self,
        now: Instant,
        reo_wnd: Duration,
    ) -> Option<Instant> {
        let fresh = self.detect_fresh(now, reo_wnd);
        crate::time::earlier(fresh, self.detect_resent(now, reo_wnd))
    }

    /// What [`Self::ack`] and [`Self::sack`] found goes into the state of RACK (RFC 8985 6.2, steps 2 and 3).
    pub(in crate::tcp) fn conclude(&mut self, now: Instant, news: &News) {
        self.rack.conclude(now, news);
    }

    /// RFC 8985 6.2 step 4: an acknowledgment brought a DSACK or not. `true` if it widened the reordering window.
    pub(in crate::tcp) fn adapt(&mut self, una: SeqNum, nxt: SeqNum, dsack: bool) -> bool {
        self.rack.adapt(una, nxt, dsack)
    }

    /// A loss recovery ended, by an acknowledgment that did not widen the reordering window.
    pub(in crate::tcp) fn on_recovery_end(&mut self) {
        self.rack.on_recovery_end();
    }

    /// First transmissions, which were sent in the order of the queue.
    fn detect_fresh(&mut self, now: Instant, reo_wnd: Duration) -> Option<Instant> {
        while self.examined < self.sent
            && let Some(entry) = self.entries.get(self.examined)
        {
            if entry.mark == Mark::Fresh {
                if !self.rack.is_later_than(entry.sent_at, entry.end()) {
                    return None;
                }
                let overdue = self.rack.overdue_at(entry.sent_at, reo_wnd);
                if now < overdue {
                    return Some(overdue);
                }
                self.mark_lost(self.examined);
            }
            self.examined += 1;
        }
        None
    }

    /// Retransmissions, in the order of their sending.
    fn detect_resent(&mut self, now: Instant, reo_wnd: Duration) -> Option<Instant> {
        loop {
            let (seq, sent_at) = self.oldest_resent()?;
            if let Some((index, entry)) = self.sent_entry_at(seq)
                && entry.mark == Mark::Resent
                && entry.sent_at == sent_at
            {
                let end = entry.end();
                if !self.rack.is_later_than(sent_at, end) {
                    return None;
                }
                let overdue = self.rack.overdue_at(sent_at, reo_wnd);
                if now < overdue {
                    return Some(overdue);
                }
                self.mark_lost_again(index);
            }
            self.forget_oldest_resent();
        }
    }

    /// Marks what is lost when the retransmission timer expires: the oldest segment, and with SACK whatever else is overdue
    /// (RFC 8985 6.3); all that was not reported without it (RFC 5681 3.1). If the oldest was reported and is still not
    /// acknowledged, the peer has thrown it away, and no report counts (RFC 2018 8).
    pub(in crate::tcp) fn mark_lost_on_timeout(&mut self, now: Instant, reo_wnd: Option<Duration>) {
        let reneged = self
            .entries
            .front()
            .is_some_and(|head| self.sent > 0 && head.mark == Mark::Sacked);
        (self.pipe, self.lost) = (0, 0);
        self.examined = self.sent;
        for (index, entry) in self.entries.iter_mut().take(self.sent).enumerate() {
            let len = entry.seq_len();
            let travels = matches!(entry.mark, Mark::Fresh | Mark::Resent)
                && index > 0
                && reo_wnd.is_some_and(|wnd| now < self.rack.overdue_at(entry.sent_at, wnd));
            if travels {
                self.pipe += len;
                if entry.mark == Mark::Fresh {
                    self.examined = self.examined.min(index);
                }
            } else if reneged || entry.mark != Mark::Sacked {
                entry.mark = Mark::Lost;
                self.lost += len;
            }
        }
        self.next_lost = 0;
        if reneged {
            self.sacked = 0;
        }
        if let Some(board) = &mut self.board {
            board.on_timeout(reneged);
        }
    }

    /// The timeout that has marked segments as lost was spurious: they travel. What was known of the path then was `rack`.
    /// A probe among them counts as its original; that it was sent later puts off the look at what follows it, no more.
    pub(in crate::tcp) fn unmark_lost(&mut self, rack: Rack) {
        self.rack = rack;
        self.examined = 0;
        for entry in self.entries.iter_mut().take(self.sent) {
            if entry.mark == Mark::Lost {
                entry.mark = Mark::Fresh;
                self.lost -= entry.seq_len();
                self.pipe += entry.seq_len();
            }
        }
    }

    /// RACK.reordering_seen.
    pub(in crate::tcp) const fn reordering_seen(&self) -> bool {
        self.rack.reordering_seen
    }

    /// RACK.reo_wnd where segments may have overtaken each other.
    pub(in crate::tcp) fn reo_wnd_max(&self, min_rtt: Duration, srtt: Duration) -> Duration {
        self.rack.window(min_rtt, srtt)
    }
}
