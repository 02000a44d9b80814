//! What an acknowledgment does to the sender (RFC 5681 3, RFC 6582 3.2, RFC 8985 6.2).

use super::Sender;
use super::queue::News;
use super::rack::Receipt;
use super::recovery::{Mode, PrrAck};
use super::scoreboard::DUP_THRESH;
use crate::counters::Counter;
use crate::tcp::congestion::{Ack, CongestionControl, Delivery};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, SackBlock, Segment};
use crate::{Cx, PacketBuf};

/// What the connection must know of an acknowledgment.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tcp) struct Acked {
    /// Octets of payload acknowledged for the first time.
    pub(in crate::tcp) payload: u32,
    /// Whether SND.UNA advanced.
    pub(in crate::tcp) advanced: bool,
    /// When to look for losses again (RFC 8985 6.2).
    pub(in crate::tcp) reorder_at: Option<Instant>,
}

impl<B: PacketBuf> Sender<B> {
    /// Takes an acceptable acknowledgment. `echoed` is the age in milliseconds of the timestamp that it echoes (RFC 7323 4.1).
    pub(in crate::tcp) fn on_ack(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment<B>,
        echoed: Option<u32>,
    ) -> Acked {
        let una = self.queue.una();
        let flight = self.queue.flight();
        let wnd = self.wnd;
        let advanced = seg.ack > una;
        let mut receipt = Receipt {
            now: cx.now,
            answers: None,
            min_rtt: self.rtt.min_rtt().unwrap_or_default(),
        };
        if !advanced && seg.ack < una {
            // An old acknowledgment: its window is older than the one we have, its blocks are still true.
            return self.on_blocks_only(cx, seg, &receipt);
        }
        let mut news = News::default();
        if advanced {
            // A segment beyond a gap is answered with the timestamp from before the gap: blocks have no echo of their own.
            receipt.answers = echoed.map(|age| cx.now.as_millis().saturating_sub(age.into()));
            self.queue.ack(seg.ack, &receipt, &mut news);
            receipt.answers = None;
            self.consecutive_rtos = 0;
            self.last_progress = cx.now;
            self.octets_acked += u64::from(news.acked);
            self.renew_marks();
        }
        self.take_window(seg);
        self.take_blocks(seg, &receipt, &mut news);
        self.measure(cx.now, advanced, &news, echoed);
        // RFC 5681 2: a duplicate ACK carries nothing, changes nothing, and something is outstanding.
        let plain = seg.payload.is_empty()
            && !seg.flags.has(Flags::FIN)
            && self.wnd == wnd
            && !seg.options.is_signal();
        self.count_duplicates(advanced, flight > 0 && plain, &mut news);
        let duplicate = flight > 0 && !advanced && plain;
        let stands = self.judge_timeout(cx, &news, advanced, duplicate);
        let dsack = self.dsack_of(seg);
        self.on_probe_ack(cx, seg, (flight, !advanced && plain), dsack);
        let (una, nxt) = (self.queue.una(), self.queue.nxt());
        news.reordered = self.queue.adapt(una, nxt, dsack.is_some());
        let lost_before = self.queue.lost();
        let reorder_at = self.find_losses(cx.now, &news);
        let safe = advanced && self.queue.lost() <= lost_before;
        self.step(cx, flight, advanced, safe, &news);
        if stands {
            self.resume_slow_start();
        }
        Acked {
            payload: news.acked,
            advanced,
            reorder_at,
        }
    }

    /// Whether `seg` acknowledges what is acknowledged already, while nothing is outstanding, repaired or asked for: it is
    /// about the window alone, as are most segments of a peer whom we send nothing.
    pub(in crate::tcp) fn is_window_alone(&self, seg: &Segment<B>) -> bool {
        seg.ack == self.queue.una()
            && self.queue.flight() == 0
            && seg.options.sack.is_empty()
            && self.recovery.mode == Mode::Open
            && self.tlp.end.is_none()
    }

    /// The window of an acknowledgment that is not an old one.
    pub(in crate::tcp) fn take_window(&mut self, seg: &Segment<B>) {
        self.update_window(seg);
        self.unanswered_probes = 0;
        if self.wnd == 0 {
            // RFC 9293 3.8.6.1: who answers with a closed window is alive.
            self.consecutive_rtos = 0;
        }
    }

    /// Numbers that SND.UNA has passed stay right behind it: 2^31 octets later they would lie ahead.
    fn renew_marks(&mut self) {
        let una = self.queue.una();
        if self.limited_until < una {
            self.limited_until = una - 1;
        }
        if self.recovery.mode == Mode::Open && self.recovery.point < una {
            self.recovery.point = una - 1;
        }
    }

    fn on_blocks_only(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>, receipt: &Receipt) -> Acked {
        let flight = self.queue.flight();
        let mut news = News::default();
        self.take_blocks(seg, receipt, &mut news);
        let stands = self.judge_timeout(cx, &news, false, false);
        let reorder_at = self.find_losses(cx.now, &news);
        self.step(cx, flight, false, false, &news);
        if stands {
            self.resume_slow_start();
        }
        Acked {
            reorder_at,
            ..Acked::default()
        }
    }

    fn take_blocks(&mut self, seg: &Segment<B>, receipt: &Receipt, news: &mut News) {
        if self.sack {
            for block in &seg.options.sack {
                self.queue.sack(*block, receipt, news);
            }
        }
    }

    /// The first block, if it reports octets that came twice: below the acknowledgment, or within the second block
    /// (RFC 2883 4).
    fn dsack_of(&self, seg: &Segment<B>) -> Option<SackBlock> {
        let first = *seg.options.sack.first().filter(|_| self.sack)?;
        if first.start >= first.end {
            return None;
        }
        let within = |second: &SackBlock| second.start <= first.start && first.end <= second.end;
        let twice = first.end <= seg.ack || seg.options.sack.get(1).is_some_and(within);
        twice.then_some(first)
    }

    /// RFC 6298 3: Karn's rule, unless timestamps tell the transmissions apart.
    fn measure(&mut self, now: Instant, advanced: bool, news: &News, echoed: Option<u32>) {
        let rtt = if news.resent {
            // The clock ticks once a millisecond: what it cannot tell from nothing took one.
            echoed
                .filter(|_| advanced)
                .map(|age| Duration::from_millis(age.max(1).into()))
        } else {
            news.fresh.map(|sent_at| now.since(sent_at))
        };
        if let Some(rtt) = rtt {
            let (una, nxt) = (self.queue.una(), self.queue.nxt());
            self.rtt.sample(rtt, now, una, nxt);
            self.tlp.measured = true;
        }
    }

    /// Counts duplicate ACKs, where there is no SACK, and what they say has left the network.
    fn count_duplicates(&mut self, advanced: bool, dup: bool, news: &mut News) {
        let smss = self.smss();
        let recovery = &mut self.recovery;
        if advanced {
            recovery.dup_acks = 0;
            // RFC 6582 3.2, partial ACK: what it covers beyond the resent segment had been assumed.
            let covered = news.delivered.saturating_sub(smss);
            recovery.assumed = recovery.assumed.saturating_sub(covered);
            if recovery.mode == Mode::Open {
                recovery.assumed = 0;
            }
        } else if dup && !self.sack {
            recovery.dup_acks = recovery.dup_acks.saturating_add(1);
            recovery.assumed = recovery.assumed.saturating_add(smss);
            news.delivered += smss;
        }
    }

    /// Marks what is lost: by time (RFC 8985 6.2), or without SACK by duplicate and partial ACKs (RFC 6582 3.2).
    fn find_losses(&mut self, now: Instant, news: &News) -> Option<Instant> {
        if self.sack {
            self.queue.conclude(now, news);
            return self.queue.detect_losses(now, self.reo_wnd());
        }
        let una = self.queue.una();
        let recovery = &self.recovery;
        // Step 2: not for ACKs of what a timeout has resent.
        let third =
            recovery.mode == Mode::Open && recovery.dup_acks >= DUP_THRESH && una > recovery.point;
        // Step 3, partial acknowledgment.
        let partial =
            recovery.mode == Mode::Recovery && recovery.dup_acks == 0 && una < recovery.point;
        if third || partial {
            self.queue.mark_head_lost();
        }
        None
    }

    /// Looks for losses because time has passed (RFC 8985 6.3); when to look again.
    pub(in crate::tcp) fn on_reorder_timeout(&mut self, cx: &mut Cx<'_>) -> Option<Instant> {
        let flight = self.queue.flight();
        let news = News::default();
        let reorder_at = self.find_losses(cx.now, &news);
        self.step(cx, flight, false, false, &news);
        reorder_at
    }

    /// Moves recovery on and sets the congestion window.
    fn step(&mut self, cx: &mut Cx<'_>, flight: u32, advanced: bool, safe: bool, news: &News) {
        self.delivered = self.delivered.wrapping_add(news.delivered);
        let una = self.queue.una();
        let after_timeout = self.recovery.mode == Mode::Loss;
        let grows = self.may_grow(advanced);
        if self.recovery.mode != Mode::Open && una >= self.recovery.point && advanced {
            self.leave_recovery(news);
        }
        if grows {
            self.cc.on_ack(&Ack {
                now: cx.now,
                delivered: news.delivered,
                smss: self.smss(),
                limited: after_timeout || una <= self.limited_until,
                rtt: news.fresh.map(|sent_at| cx.now.since(sent_at)),
                srtt: self.rtt.srtt().unwrap_or_default(),
                una,
                nxt: self.queue.nxt(),
            });
        }
        if self.recovery.mode == Mode::Open && self.queue.lost() > 0 {
            cx.counters.count(Counter::TcpFastRecovery);
            // RFC 5681 3.2 step 2: what went beyond the window by limited transmit does not count.
            self.cc.on_loss(flight.min(self.cc.cwnd()), self.smss());
            let outstanding = self.queue.flight() - self.queue.sacked_octets();
            let before = if self.sack {
                outstanding + news.delivered
            } else {
                flight
            };
            self.recovery.enter(self.queue.nxt(), before);
            self.tlp.reset();
        }
        if self.recovery.mode == Mode::Recovery {
            let ack = PrrAck {
                delivered: news.delivered,
                pipe: self.pipe(),
                ssthresh: self.cc.ssthresh(),
                smss: self.smss(),
                safe,
                force: advanced && !self.sack,
            };
            let window = self.recovery.window(&ack);
            self.cc.set_cwnd(window);
        }
        self.tell_delivery(cx.now, news);
    }

    fn tell_delivery(&mut self, now: Instant, news: &News) {
        let delivery = Delivery {
            now,
            // Without SACK, duplicates have only been assumed to stand for something.
            delivered: if self.sack {
                news.delivered
            } else {
                news.acked
            },
            sent_at: news.latest.map(|(sent_at, _)| sent_at),
            rtt: news.fresh.map(|sent_at| now.since(sent_at)),
            srtt: self.rtt.srtt().unwrap_or_default(),
            pipe: self.pipe(),
            smss: self.smss(),
            losing: self.queue.lost() > 0,
            recovering: self.recovery.mode == Mode::Recovery,
            after_timeout: self.recovery.mode == Mode::Loss,
        };
        self.cc.on_delivery(&delivery);
    }

    /// Whether this ACK may open the congestion window: RFC 5681 3.1 for new data while no loss is known; after a timeout, for
    /// whatever arrives.
    fn may_grow(&self, advanced: bool) -> bool {
        match self.recovery.mode {
            Mode::Open => advanced && self.queue.lost() == 0,
            Mode::Loss => true,
            Mode::Recovery => false,
        }
    }

    /// RFC 6582 3.2 step 3, full acknowledgment: no burst, the rest of the way is slow start.
    fn leave_recovery(&mut self, news: &News) {
        if self.recovery.mode == Mode::Recovery {
            let smss = self.smss();
            let window = self.queue.flight().max(smss) + smss;
            self.cc.set_cwnd(window.min(self.cc.ssthresh()));
        }
        self.recovery.mode = Mode::Open;
        self.recovery.assumed = 0;
        self.recovery.dup_acks = 0;
        if !news.reordered {
            self.queue.on_recovery_end();
        }
    }
}
