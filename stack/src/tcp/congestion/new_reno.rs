//! Reno's windows (RFC 5681) as NewReno uses them (RFC 6582), counted in octets (RFC 3465).

use super::hystart::GROWTH_LIMIT;
use super::{Ack, CongestionControl};
use crate::time::Instant;

/// Slow start, congestion avoidance, halving.
#[derive(Clone, Debug)]
pub struct NewReno {
    cwnd: u32,
    ssthresh: u32,
    /// Octets delivered in congestion avoidance since the window last grew.
    counted: u32,
}

impl NewReno {
    /// Starts in slow start with a window of `cwnd` octets.
    #[must_use]
    pub const fn new(cwnd: u32) -> Self {
        Self {
            cwnd,
            ssthresh: u32::MAX,
            counted: 0,
        }
    }
}

impl NewReno {
    /// Goes on with windows of before.
    pub(super) const fn after(cwnd: u32, ssthresh: u32) -> Self {
        Self {
            cwnd,
            ssthresh,
            counted: 0,
        }
    }
}

impl CongestionControl for NewReno {
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
            // RFC 5681 3.1, slow start, in octets (RFC 3465 2.2).
            let growth = delivered
                .min(GROWTH_LIMIT * smss)
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

    fn on_start(&mut self, _: Instant, idle: Option<u32>) {
        if let Some(restart_window) = idle {
            self.cwnd = self.cwnd.min(restart_window);
        }
    }
}
