//! Reno's windows (RFC 5681) as NewReno uses them (RFC 6582), counted in octets (RFC 3465).

use super::CongestionControl;

/// Most segments by which slow start grows on one ACK (RFC 9406 4.2 has 8 for senders without pacing): an ACK may
/// stand for a whole burst of ours.
pub(super) const SLOW_START_LIMIT: u32 = 8;

/// Slow start, congestion avoidance, halving.
#[derive(Clone, Debug)]
pub struct NewReno {
    cwnd: u32,
    ssthresh: u32,
    /// Octets delivered in congestion avoidance since the window last grew.
    counted: u32,
}

impl NewReno {
    /// Starts at the initial window (RFC 6928 2), or one segment if the SYN was lost (RFC 5681 3.1).
    #[must_use]
    pub fn new(smss: u32, syn_lost: bool) -> Self {
        Self {
            cwnd: if syn_lost { smss } else { initial_window(smss) },
            ssthresh: u32::MAX,
            counted: 0,
        }
    }
}

/// RFC 6928 2: ten segments, at most 14,600 octets unless two segments are more.
pub(super) fn initial_window(smss: u32) -> u32 {
    (10 * smss).min(14_600.max(2 * smss))
}

impl CongestionControl for NewReno {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn on_ack(&mut self, delivered: u32, smss: u32) {
        let mut delivered = delivered;
        if self.cwnd < self.ssthresh {
            // RFC 5681 3.1, slow start, in octets (RFC 3465 2.2).
            let growth = delivered
                .min(SLOW_START_LIMIT * smss)
                .min(self.ssthresh - self.cwnd);
            self.cwnd = self.cwnd.saturating_add(growth);
            delivered -= growth;
            if self.cwnd < self.ssthresh {
                return;
            }
        }
        // RFC 5681 3.1, congestion avoidance: one segment per window delivered (RFC 3465 2.1).
        self.counted = self.counted.saturating_add(delivered);
        if self.counted >= self.cwnd {
            self.counted -= self.cwnd;
            self.cwnd = self.cwnd.saturating_add(smss);
        }
    }

    fn on_loss(&mut self, flight: u32, smss: u32) {
        // RFC 5681 3.1 equation (4).
        self.ssthresh = (flight / 2).max(2 * smss);
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

    fn on_idle(&mut self, smss: u32) {
        // RFC 5681 4.1: the restart window.
        self.cwnd = self.cwnd.min(initial_window(smss));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t8_initial_window_is_ten_segments() {
        let rows = [
            (1460, 14_600),
            (536, 5_360),
            (8_960, 17_920),
            (1_448, 14_480),
        ];
        for (smss, cwnd) in rows {
            assert_eq!(NewReno::new(smss, false).cwnd(), cwnd, "smss {smss}");
        }
        assert_eq!(NewReno::new(1460, true).cwnd(), 1460);
    }

    #[test]
    fn t8_slow_start_doubles_and_avoidance_adds_one_segment_a_window() {
        let mut cc = NewReno::new(1000, false);
        for _ in 0..10 {
            cc.on_ack(1000, 1000);
        }
        assert_eq!(cc.cwnd(), 20_000);
        cc.on_loss(20_000, 1000);
        cc.set_cwnd(cc.ssthresh());
        for _ in 0..9 {
            cc.on_ack(1000, 1000);
        }
        assert_eq!(cc.cwnd(), 10_000);
        cc.on_ack(1000, 1000);
        assert_eq!(cc.cwnd(), 11_000);
    }

    #[test]
    fn t8_slow_start_ends_at_ssthresh() {
        let mut cc = NewReno::new(1000, false);
        cc.on_rto(10_000, 1000, false);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (1_000, 5_000));
        cc.on_ack(8_000, 1000);
        assert_eq!(cc.cwnd(), 5_000);
        cc.on_rto(5_000, 1000, true);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (1_000, 5_000));
    }

    #[test]
    fn t8_idle_restarts_at_the_initial_window() {
        let mut cc = NewReno::new(1000, false);
        cc.on_ack(8_000, 1000);
        cc.on_idle(1000);
        assert_eq!(cc.cwnd(), 10_000);
    }
}
