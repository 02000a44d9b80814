//! The sending half: queue, scoreboard, peer's window, round trip, congestion, loss recovery.

mod ack;
pub(super) mod frto;
pub(super) mod queue;
mod rack;
pub(super) mod recovery;
mod rest;
pub(super) mod rtt;
mod scoreboard;
#[cfg(test)]
mod tests;
mod tlp;

use super::Agreed;
use super::congestion::{Algorithm, Congestion, CongestionControl, initial_window};
use crate::PacketBuf;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::wire::tcp::Segment;
use queue::SendQueue;
use recovery::{Mode, Recovery};
pub(super) use rest::RestingSender;
use rtt::RttEstimator;
use scoreboard::DUP_THRESH;
use tlp::Tlp;

/// The send variables of RFC 9293 3.3.1 and what loss recovery and congestion control add.
#[derive(Clone, Debug)]
pub(super) struct Sender<B> {
    pub(super) queue: SendQueue<B>,
    pub(super) rtt: RttEstimator,
    pub(super) cc: Congestion,
    pub(super) recovery: Recovery,
    pub(super) tlp: Tlp,
    /// SND.WND, octets.
    pub(super) wnd: u32,
    /// MAX.SND.WND (RFC 5961 5.2).
    pub(super) wnd_max: u32,
    pub(super) wscale: u8,
    /// SND.WL1.
    wl1: SeqNum,
    /// SND.WL2.
    wl2: SeqNum,
    pub(super) smss: u16,
    pub(super) sack: bool,
    /// ACKs up to here acknowledge what was sent while the congestion window was the limit.
    pub(super) limited_until: SeqNum,
    /// The window was reduced for all that was sent before this, as the queue of our own device was full.
    pub(super) crowded_until: SeqNum,
    /// Octets known to have arrived, by acknowledgment or SACK; wraps.
    pub(super) delivered: u32,
    pub(super) last_sent: Instant,
    pub(super) last_progress: Instant,
    pub(super) consecutive_rtos: u8,
    pub(super) probe_due: bool,
    /// Zero-window probes since the window closed.
    pub(super) probes: u8,
    pub(super) unanswered_probes: u8,
    pub(super) octets_acked: u64,
    pub(super) resends: u32,
}

impl<B: PacketBuf> Sender<B> {
    pub(super) fn new(agreed: &Agreed, now: Instant) -> Self {
        let nxt = agreed.iss + 1;
        let mut rtt = RttEstimator::new(nxt, agreed.syn_lost);
        if let Some(measured) = agreed.rtt {
            rtt.sample(measured, now, nxt, nxt);
        }
        let smss = u32::from(agreed.smss);
        // RFC 5681 3.1: one segment if the SYN was lost.
        let cwnd = if agreed.syn_lost {
            smss
        } else {
            initial_window(smss)
        };
        Self {
            queue: SendQueue::new(nxt),
            rtt,
            cc: Congestion::new(Algorithm::NewReno, cwnd),
            recovery: Recovery::new(agreed.iss),
            tlp: Tlp::new(agreed.rtt.is_some()),
            wnd: agreed.snd_wnd,
            wnd_max: agreed.snd_wnd,
            wscale: agreed.snd_wscale,
            // The segment that established us is given to input() after this, or was the SYN+ACK itself.
            wl1: agreed.irs,
            wl2: nxt,
            smss: agreed.smss,
            sack: agreed.sack,
            limited_until: nxt,
            crowded_until: nxt,
            delivered: 0,
            last_sent: now,
            last_progress: now,
            consecutive_rtos: 0,
            probe_due: false,
            probes: 0,
            unanswered_probes: 0,
            octets_acked: 0,
            resends: 0,
        }
    }

    pub(super) fn smss(&self) -> u32 {
        u32::from(self.smss)
    }

    /// The first octet that the peer does not take.
    pub(super) fn wnd_edge(&self) -> SeqNum {
        self.queue.una() + self.wnd
    }

    /// Octets that the peer's window still takes beyond SND.NXT.
    pub(super) fn usable_wnd(&self) -> u32 {
        let (edge, nxt) = (self.wnd_edge(), self.queue.nxt());
        if edge > nxt { edge - nxt } else { 0 }
    }

    /// Octets believed to travel: pipe of RFC 6675, less what duplicate ACKs stand for where there is no SACK.
    pub(super) const fn pipe(&self) -> u32 {
        self.queue.pipe().saturating_sub(self.recovery.assumed)
    }

    /// Whether the congestion window lets `len` octets go. One segment may always be in flight.
    pub(super) fn cwnd_allows(&self, len: u32) -> bool {
        let pipe = self.pipe();
        pipe == 0 || pipe.saturating_add(len) <= self.cc.cwnd()
    }

    /// RACK.reo_wnd (RFC 8985 6.2 step 4, second half): no waiting where segments were never seen to overtake each other and
    /// a loss is certain.
    pub(super) fn reo_wnd(&self) -> Duration {
        let certain = self.recovery.mode != Mode::Open || self.queue.sacked() >= DUP_THRESH;
        if certain && !self.queue.reordering_seen() {
            return Duration::ZERO;
        }
        let (min_rtt, srtt) = (self.rtt.min_rtt(), self.rtt.srtt());
        self.queue
            .reo_wnd_max(min_rtt.unwrap_or_default(), srtt.unwrap_or_default())
    }

    /// Notes a transmission of `len` octets, new or again.
    pub(super) fn on_sent(&mut self, len: u32, now: Instant) {
        self.last_sent = now;
        self.recovery.on_sent(len);
        self.cc.on_sent(now, self.pipe() <= len);
        let (pipe, cwnd, smss) = (self.pipe(), self.cc.cwnd(), self.smss());
        // RFC 7661 3: the window is validated if it is used. Slow start doubles, so half of it is use enough.
        let slow_start = cwnd < self.cc.ssthresh();
        if pipe.saturating_add(2 * smss) > cwnd || (slow_start && pipe.saturating_mul(2) >= cwnd) {
            self.limited_until = self.queue.nxt();
        }
    }

    /// There is nothing to send: what is measured now says little of the path.
    pub(super) fn note_app_limited(&mut self) {
        let pipe = self.pipe();
        if self.queue.lost() == 0 && pipe < self.cc.cwnd() {
            self.cc.on_app_limited(pipe);
        }
    }

    /// RFC 5681 4.1: after an idle RTO, the ACK clock is gone.
    pub(super) fn restart_if_idle(&mut self, now: Instant) {
        if self.queue.flight() == 0 {
            let idle = now.since(self.last_sent) > self.rtt.rto();
            self.cc
                .on_start(now, idle.then(|| initial_window(self.smss())));
        }
    }

    /// RFC 6298 5.5, RFC 5681 3.1, RFC 8985 6.3 and 7.1, RFC 5682 2.1 step 1.
    pub(super) fn on_rto(&mut self, now: Instant) {
        self.begin_frto();
        let again = self.consecutive_rtos > 0;
        self.consecutive_rtos += 1;
        self.rtt.back_off();
        let flight = self.queue.flight();
        let smss = self.smss();
        self.cc.on_rto(flight, smss, again);
        let reo_wnd = self.sack.then(|| self.reo_wnd());
        self.queue.mark_lost_on_timeout(now, reo_wnd);
        self.recovery.enter_loss(self.queue.nxt());
        self.tlp.reset();
    }

    /// Time between zero-window probes: RTO, doubling (RFC 9293 3.8.6.1).
    pub(super) fn persist_interval(&self) -> Duration {
        self.rtt.backed_off(self.probes)
    }

    /// RFC 9293 3.10.7.4, fifth: the window update. `true` if the right edge moved forward.
    ///
    /// What acknowledges more than ever before is news whatever its number: SND.UNA moves with it, and with an older window
    /// the edge would move beyond what was offered. smoltcp, for one, goes back in its numbers where it sends again.
    pub(super) fn update_window(&mut self, seg: &Segment<B>) -> bool {
        let before = self.wnd_edge();
        if self.is_news(seg) {
            self.wnd = u32::from(seg.wnd) << self.wscale;
            self.wnd_max = self.wnd_max.max(self.wnd);
            self.wl1 = seg.seq;
            self.wl2 = seg.ack;
        }
        self.wnd_edge() > before
    }

    /// Whether the window of `seg` is no older than the one that is known.
    pub(super) fn is_news(&self, seg: &Segment<B>) -> bool {
        self.wl1 < seg.seq || self.wl2 < seg.ack || (self.wl1 == seg.seq && self.wl2 == seg.ack)
    }

    /// A segment numbered `seq` has the same window and acknowledgment as the one before it, which was news.
    pub(super) const fn same_window(&mut self, seq: SeqNum) {
        self.wl1 = seq;
    }

    /// Octets that would leave at once if they were queued now.
    pub(super) fn space(&self) -> u32 {
        let by_cwnd = match self.may_ask() {
            Some(segments) => u32::from(segments) * self.smss(),
            None => self
                .cc
                .cwnd()
                .saturating_sub(self.pipe().saturating_add(self.queue.lost())),
        };
        by_cwnd
            .min(self.usable_wnd())
            .saturating_sub(self.queue.unsent())
    }

    pub(super) fn in_recovery(&self) -> bool {
        self.recovery.mode != Mode::Open
    }
}
