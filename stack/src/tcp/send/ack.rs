//! What an acknowledgment does to the sender (RFC 5681 3, RFC 6582 3.2, RFC 6675 5).

use super::Sender;
use super::queue::News;
use super::recovery::{Mode, PrrAck};
use super::scoreboard::DUP_THRESH;
use crate::counters::Counter;
use crate::tcp::congestion::CongestionControl;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, Segment};
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
    /// Takes an acceptable acknowledgment. `echoed` is the round trip by timestamps (RFC 7323 4.1).
    pub(in crate::tcp) fn on_ack(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment<B>,
        echoed: Option<Duration>,
    ) -> Acked {
        let una = self.queue.una();
        let flight = self.queue.flight();
        let wnd = self.wnd;
        let advanced = seg.ack > una;
        if !advanced && seg.ack < una {
            // An old acknowledgment: its window is older than the one we have, its blocks are still true.
            return self.on_blocks_only(cx, seg);
        }
        let mut news = News::default();
        if advanced {
            self.queue.ack(seg.ack, cx.now, &mut news);
            self.consecutive_rtos = 0;
            self.last_progress = cx.now;
            self.octets_acked += u64::from(news.acked);
            self.renew_marks();
        }
        self.update_window(seg);
        self.unanswered_probes = 0;
        if self.wnd == 0 {
            // RFC 9293 3.8.6.1: who answers with a closed window is alive.
            self.consecutive_rtos = 0;
        }
        let blocks = news.delivered;
        self.take_blocks(cx.now, seg, &mut news);
        let new_blocks = news.delivered > blocks;
        self.measure(cx.now, advanced, &news, echoed);
        // RFC 5681 2: a duplicate ACK carries nothing, changes nothing, and something is outstanding.
        let plain = seg.payload.is_empty() && !seg.flags.has(Flags::FIN) && self.wnd == wnd;
        let duplicate = !advanced && flight > 0 && plain;
        self.count_duplicates(advanced, duplicate, new_blocks, &mut news);
        let lost_before = self.queue.lost();
        let reorder_at = self.find_losses(cx.now);
        let safe = advanced && self.queue.lost() <= lost_before;
        self.step(cx, flight, advanced, safe, &news);
        Acked {
            payload: news.acked,
            advanced,
            reorder_at,
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

    fn on_blocks_only(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) -> Acked {
        let flight = self.queue.flight();
        let mut news = News::default();
        self.take_blocks(cx.now, seg, &mut news);
        let reorder_at = self.find_losses(cx.now);
        self.step(cx, flight, false, false, &news);
        Acked {
            reorder_at,
            ..Acked::default()
        }
    }

    fn take_blocks(&mut self, now: Instant, seg: &Segment<B>, news: &mut News) {
        if self.sack {
            for block in &seg.options.sack {
                self.queue.sack(*block, now, news);
            }
        }
    }

    /// RFC 6298 3: Karn's rule, unless timestamps tell the transmissions apart.
    fn measure(&mut self, now: Instant, advanced: bool, news: &News, echoed: Option<Duration>) {
        let (una, nxt) = (self.queue.una(), self.queue.nxt());
        if news.resent {
            if let (true, Some(rtt)) = (advanced, echoed) {
                self.rtt.sample(rtt, una, nxt);
            }
        } else if let Some(sent_at) = news.fresh {
            self.rtt.sample(now.since(sent_at), una, nxt);
        }
    }

    /// Counts duplicate ACKs, and without SACK what they say has left the network.
    fn count_duplicates(&mut self, advanced: bool, dup: bool, new_blocks: bool, news: &mut News) {
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
        }
        if self.sack {
            if new_blocks {
                recovery.dup_acks = recovery.dup_acks.saturating_add(1);
            }
        } else if dup {
            recovery.dup_acks = recovery.dup_acks.saturating_add(1);
            recovery.assumed = recovery.assumed.saturating_add(smss);
            news.delivered += smss;
        }
    }

    /// Marks what is lost, by every rule that applies.
    fn find_losses(&mut self, now: Instant) -> Option<Instant> {
        let una = self.queue.una();
        let recovery = &self.recovery;
        let third = recovery.dup_acks >= DUP_THRESH && recovery.mode == Mode::Open;
        // RFC 6582 3.2 step 2 and 4: not for ACKs of what a timeout has resent.
        let partial = !self.sack && recovery.mode == Mode::Recovery && una < recovery.point;
        let counts = if self.sack {
            !self.queue.reordering_seen()
        } else {
            una > recovery.point
        };
        if (third && counts) || (partial && recovery.dup_acks == 0) {
            self.queue.mark_head_lost();
        }
        if self.sack {
            self.queue.detect_losses(now, self.smss())
        } else {
            None
        }
    }

    /// Looks for losses because time has passed (RFC 8985 6.3); when to look again.
    pub(in crate::tcp) fn on_reorder_timeout(&mut self, cx: &mut Cx<'_>) -> Option<Instant> {
        let flight = self.queue.flight();
        let reorder_at = self.find_losses(cx.now);
        self.step(cx, flight, false, false, &News::default());
        reorder_at
    }

    /// Moves recovery on and sets the congestion window.
    fn step(&mut self, cx: &mut Cx<'_>, flight: u32, advanced: bool, safe: bool, news: &News) {
        self.delivered = self.delivered.wrapping_add(news.delivered);
        let una = self.queue.una();
        if self.recovery.mode != Mode::Open && una >= self.recovery.point && advanced {
            self.leave_recovery();
        } else if self.grows(advanced) {
            self.cc.on_ack(news.delivered, self.smss());
        }
        if self.recovery.mode == Mode::Open && self.queue.lost() > 0 {
            cx.counters.count(Counter::TcpFastRecovery);
            self.cc.on_loss(flight, self.smss());
            self.recovery.enter(self.queue.nxt(), flight);
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
    }

    /// Whether this ACK may open the congestion window: RFC 5681 3.1 for new data while no loss is known, and only while
    /// the window is what limits us (RFC 7661); after a timeout, for whatever arrives.
    fn grows(&self, advanced: bool) -> bool {
        match self.recovery.mode {
            Mode::Open => {
                advanced && self.queue.lost() == 0 && self.queue.una() <= self.limited_until
            },
            Mode::Loss => true,
            Mode::Recovery => false,
        }
    }

    /// RFC 6582 3.2 step 3, full acknowledgment: no burst, the rest of the way is slow start.
    fn leave_recovery(&mut self) {
        if self.recovery.mode == Mode::Recovery {
            let smss = self.smss();
            let window = self.queue.flight().max(smss) + smss;
            self.cc.set_cwnd(window.min(self.cc.ssthresh()));
        }
        self.recovery.mode = Mode::Open;
        self.recovery.assumed = 0;
        self.recovery.dup_acks = 0;
    }
}
