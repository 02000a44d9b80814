//! A window that grows beside others of one Multipath TCP connection, and so less than Reno's (RFC 6356, OLIA, BALIA).
//!
//! What is less is not known here: the connection sees all windows, and hands each its [`Share`] before an
//! acknowledgment is processed. Slow start, recovery and the windows after a timeout are Reno's (RFC 6356 3).

use super::hystart::GROWTH_LIMIT;
use super::{Ack, CongestionControl};
use crate::time::Instant;

/// What the other subflows of a connection leave to one of them of Reno's additive increase, and what a loss costs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Parts of [`Self::ONE`] of the increase that Reno would make: one segment a window. From -1 to 2 times that; below
    /// 0 the window shrinks (OLIA alone).
    pub gain: i32,
    /// Parts of [`Self::ONE`] of what is in flight by which a loss lowers the window: a half, or more (BALIA alone).
    pub cut: u32,
}

impl Share {
    /// What `gain` and `cut` are counted in: a number with 24 bits behind the point.
    pub const ONE: u32 = 1 << 24;
    /// What Reno does.
    pub const RENO: Self = Self {
        gain: Self::ONE.cast_signed(),
        cut: Self::ONE / 2,
    };
}

/// Slow start, congestion avoidance by a share of Reno's increase, and a decrease by a share of the window.
#[derive(Clone, Debug)]
pub struct Coupled {
    cwnd: u32,
    ssthresh: u32,
    share: Share,
    /// Octets delivered in congestion avoidance since the window last changed, times the gain: with 24 bits behind the
    /// point.
    counted: i64,
}

impl Coupled {
    /// Goes on with another controller's windows.
    #[must_use]
    pub const fn new(cwnd: u32, ssthresh: u32, share: Share) -> Self {
        Self {
            cwnd,
            ssthresh,
            share,
            counted: 0,
        }
    }

    /// Sets what applies to the next acknowledgments and losses.
    pub const fn set_share(&mut self, share: Share) {
        self.share = share;
    }

    /// Congestion avoidance: as Reno's, one segment per window delivered (RFC 5681 3.1, RFC 3465 2.1), but each octet
    /// delivered counts by the gain. RFC 6356 3 has an increase that would round to nothing be one octet; here what
    /// does not make a segment yet is kept.
    fn avoid(&mut self, delivered: u32, smss: u32) {
        let window = i64::from(self.cwnd) * i64::from(Share::ONE);
        self.counted += i64::from(delivered) * i64::from(self.share.gain);
        if self.counted >= window {
            self.counted -= window;
            self.cwnd = self.cwnd.saturating_add(smss);
        } else if self.counted <= -window {
            self.counted += window;
            self.cwnd = self.cwnd.saturating_sub(smss).max(2 * smss);
            // It is no loss: no slow start follows.
            self.ssthresh = self.ssthresh.min(self.cwnd);
        }
    }
}

impl CongestionControl for Coupled {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        if !ack.limited {
            return;
        }
        let (mut delivered, smss) = (ack.delivered, ack.smss);
        if self.cwnd < self.ssthresh {
            // RFC 6356 3: slow start is as RFC 5681 3.1 has it.
            let growth = delivered
                .min(GROWTH_LIMIT * smss)
                .min(self.ssthresh - self.cwnd);
            self.cwnd += growth;
            delivered -= growth;
        }
        if self.cwnd >= self.ssthresh {
            self.avoid(delivered, smss);
        }
    }

    fn on_loss(&mut self, flight: u32, smss: u32) {
        let cut = u64::from(flight) * u64::from(self.share.cut) / u64::from(Share::ONE);
        let left = flight.saturating_sub(u32::try_from(cut).unwrap_or(u32::MAX));
        self.ssthresh = left.max(2 * smss);
        self.counted = 0;
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd;
    }

    fn on_rto(&mut self, flight: u32, smss: u32, again: bool) {
        // RFC 5681 3.1: ssthresh is held when the same segment times out again; the loss window is one segment.
        if !again {
            self.on_loss(flight, smss);
        }
        self.cwnd = smss;
        self.counted = 0;
    }

    fn on_start(&mut self, _: Instant, idle: Option<u32>) {
        if let Some(restart_window) = idle {
            self.cwnd = self.cwnd.min(restart_window);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::NewReno;
    use super::super::tests::ack;
    use super::*;

    const ONE: i32 = Share::RENO.gain;

    /// A window of ten segments of 1,000 octets in congestion avoidance.
    fn ten(gain: i32) -> Coupled {
        let share = Share {
            gain,
            ..Share::RENO
        };
        Coupled::new(10_000, 10_000, share)
    }

    #[test]
    fn m28_a_whole_share_is_reno() {
        let mut coupled = ten(ONE);
        let mut reno = NewReno::new(10_000);
        reno.on_loss(20_000, 1000);
        reno.set_cwnd(10_000);
        for step in 0..2_000u32 {
            let delivered = 1 + step * 37 % 2_000;
            coupled.on_ack(&ack(delivered));
            reno.on_ack(&ack(delivered));
            if step % 300 == 299 {
                coupled.on_loss(coupled.cwnd(), 1000);
                coupled.set_cwnd(coupled.ssthresh());
                reno.on_loss(reno.cwnd(), 1000);
                reno.set_cwnd(reno.ssthresh());
            }
            if step == 1_000 {
                coupled.on_rto(8_000, 1000, false);
                reno.on_rto(8_000, 1000, false);
            }
            assert_eq!(
                (coupled.cwnd(), coupled.ssthresh()),
                (reno.cwnd(), reno.ssthresh()),
                "step {step}"
            );
        }
    }

    #[test]
    fn m28_a_window_grows_by_its_share_of_a_segment_a_window() {
        for (gain, windows, cwnd) in [
            (ONE, 1, 11_000),
            (ONE / 2, 2, 11_000),
            (ONE / 128, 128, 11_000),
            (ONE / 128, 127, 10_000),
            // Windows of 10,000 and 11,000 octets by two thirds of as many, and not yet one of 12,000.
            (ONE / 2 * 3, 2, 12_000),
            (0, 1_000, 10_000),
        ] {
            let mut cc = ten(gain);
            for _ in 0..10 * windows {
                cc.on_ack(&ack(1000));
            }
            assert_eq!(cc.cwnd(), cwnd, "{windows} windows by {gain}");
        }
    }

    #[test]
    fn m28_a_window_that_shrinks_does_not_slow_start_and_keeps_two_segments() {
        let mut cc = ten(-ONE / 4);
        for _ in 0..4 * 10 {
            cc.on_ack(&ack(1000));
        }
        assert_eq!((cc.cwnd(), cc.ssthresh()), (9_000, 9_000));
        for _ in 0..10_000 {
            cc.on_ack(&ack(1000));
        }
        assert_eq!((cc.cwnd(), cc.ssthresh()), (2_000, 2_000));
    }

    #[test]
    fn m28_a_loss_cuts_by_the_share_and_a_timeout_starts_slowly() {
        for (cut, ssthresh) in [
            (Share::ONE / 2, 10_000),
            (Share::ONE / 4 * 3, 5_000),
            (Share::ONE, 2_000),
        ] {
            let share = Share { cut, ..Share::RENO };
            let mut cc = Coupled::new(20_000, 10_000, share);
            cc.on_loss(20_000, 1000);
            assert_eq!(cc.ssthresh(), ssthresh);
            cc.on_rto(20_000, 1000, false);
            assert_eq!((cc.cwnd(), cc.ssthresh()), (1_000, ssthresh));
            cc.on_ack(&ack(1000));
            assert_eq!(cc.cwnd(), 2_000);
        }
    }

    #[test]
    fn m28_idle_restarts_at_the_initial_window() {
        let mut cc = Coupled::new(50_000, 10_000, Share::RENO);
        cc.on_start(Instant::ZERO, Some(10_000));
        assert_eq!(cc.cwnd(), 10_000);
    }
}
