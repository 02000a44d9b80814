//! CUBIC (RFC 9438): the window follows a cubic curve in time around the window of the last loss, and Reno's where that is
//! more. Whole octets and nanoseconds with remainders; no floats.

use super::hystart::{GROWTH_LIMIT, HyStart};
use super::{Ack, CongestionControl};
use crate::time::{Duration, Instant};

/// Time on the curve counts in units of 2^18 ns (0.26 ms).
const UNIT_BITS: u32 = 18;

/// C = 0.4 segments per cubed second (5.1), in segments per cubed unit, times 2^64: 0.4 * 2^54 / 10^27 * 2^64.
#[expect(clippy::cast_possible_truncation, reason = "it is 1.3e8")]
const C: u64 = ((1_u128 << 120) / 10_u128.pow(28)) as u64;

/// Furthest from K that the curve is computed: 9 minutes, whose cube fits into 64 bits. Its window is past all bounds.
const DISTANCE_MAX: u64 = (1 << 21) - 1;

/// One congestion window and the curve that it follows.
#[derive(Clone, Debug)]
pub struct Cubic {
    cwnd: u32,
    ssthresh: u32,
    /// `W_max`; 0 after a timeout, and before the first loss.
    w_max: u32,
    /// `cwnd_prior`: the window at the time of the last loss.
    prior: u32,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    /// The first slow start.
    Start(HyStart),
    /// A loss is being repaired, or slow start leads back to the threshold: the next growth begins an epoch.
    Between,
    /// Congestion avoidance.
    Avoidance(Epoch),
}

/// A stage of congestion avoidance (4.2).
#[derive(Clone, Debug)]
struct Epoch {
    /// When the last acknowledgment came, or sending began again.
    seen: Instant,
    /// t: time since the epoch began, less that in which the window was not what limited us (5.8), ns.
    elapsed: u64,
    /// `W_est`, with 16 bits behind the point.
    w_est: u64,
    /// K, in units.
    k: u32,
    /// What of an octet the window has grown beyond, in parts of `cwnd`.
    rest: u32,
}

impl Cubic {
    /// Starts in slow start with a window of `cwnd` octets.
    #[must_use]
    pub const fn new(cwnd: u32) -> Self {
        Self {
            cwnd,
            ssthresh: u32::MAX,
            w_max: 0,
            prior: 0,
            phase: Phase::Start(HyStart::new()),
        }
    }

    #[cfg(test)]
    pub(super) const fn w_max(&self) -> u32 {
        self.w_max
    }

    /// 4.10: HyStart++ below an unknown threshold, else Reno's slow start. The octets that are left for avoidance.
    fn slow_start(&mut self, ack: &Ack) -> u32 {
        match &mut self.phase {
            Phase::Start(hystart) => {
                let (growth, over) = hystart.on_ack(ack);
                if ack.limited {
                    self.cwnd = self.cwnd.saturating_add(growth);
                }
                if over {
                    self.ssthresh = self.cwnd;
                    self.prior = self.cwnd;
                    self.phase = Phase::Between;
                }
                0
            },
            phase => {
                if let Phase::Avoidance(epoch) = phase {
                    epoch.seen = ack.now;
                }
                if !ack.limited {
                    return 0;
                }
                let growth = ack.delivered.min(GROWTH_LIMIT * ack.smss);
                let growth = growth.min(self.ssthresh - self.cwnd);
                self.cwnd += growth;
                ack.delivered - growth
            },
        }
    }

    /// 4.2 to 4.5.
    fn avoid(&mut self, ack: &Ack, delivered: u32) {
        if !matches!(self.phase, Phase::Avoidance(_)) {
            // 4.8, 4.10: the curve begins at its plateau where no loss tells how high that is.
            self.w_max = self.w_max.max(self.cwnd);
            self.phase = Phase::Avoidance(Epoch {
                seen: ack.now,
                elapsed: 0,
                k: time_to_rise(self.w_max - self.cwnd, ack.smss),
                w_est: u64::from(self.cwnd) << 16,
                rest: 0,
            });
        }
        let Phase::Avoidance(epoch) = &mut self.phase else {
            return;
        };
        let passed = nanos(ack.now.since(epoch.seen));
        epoch.seen = ack.now;
        if !ack.limited {
            return;
        }
        epoch.elapsed += passed;
        let cwnd = u64::from(self.cwnd.max(1));
        let w_est = epoch.grow_w_est(delivered, ack.smss, cwnd, self.prior);
        if curve(epoch.elapsed, epoch.k, self.w_max, ack.smss) < u64::from(w_est) {
            self.cwnd = self.cwnd.max(w_est);
            return;
        }
        let ahead = epoch.elapsed + nanos(ack.srtt);
        let target = curve(ahead, epoch.k, self.w_max, ack.smss).clamp(cwnd, cwnd + cwnd / 2);
        // (target - cwnd) / cwnd of what was delivered.
        let growth = (target - cwnd) * u64::from(delivered) + u64::from(epoch.rest);
        epoch.rest = saturated(growth % cwnd);
        self.cwnd = saturated(cwnd + growth / cwnd);
    }
}

impl Epoch {
    /// Equation 4 of 4.3 in octets, as RFC 3465 counts: alpha of what was delivered, over the windows that it makes. The
    /// new `W_est`.
    fn grow_w_est(&mut self, delivered: u32, smss: u32, cwnd: u64, prior: u32) -> u32 {
        // alpha = 3 * (1 - 0.7) / (1 + 0.7) = 9/17, until the window of the loss is reached again.
        let alpha = if self.w_est >> 16 < u64::from(prior) {
            9
        } else {
            17
        };
        let segments = u64::from(delivered) * u64::from(smss);
        self.w_est += segments.saturating_mul(alpha << 16) / (17 * cwnd);
        saturated(self.w_est >> 16)
    }
}

impl Cubic {
    /// `W_max` and `cwnd_prior`.
    pub(super) const fn marks(&self) -> (u32, u32) {
        (self.w_max, self.prior)
    }

    /// Goes on with windows and marks of before: in the first slow start if that was never left, else the next growth begins
    /// an epoch.
    pub(super) const fn after((cwnd, ssthresh): (u32, u32), (w_max, prior): (u32, u32)) -> Self {
        let phase = if ssthresh == u32::MAX {
            Phase::Start(HyStart::new())
        } else {
            Phase::Between
        };
        Self {
            cwnd,
            ssthresh,
            w_max,
            prior,
            phase,
        }
    }
}

impl CongestionControl for Cubic {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        let mut delivered = ack.delivered;
        if self.cwnd < self.ssthresh {
            delivered = self.slow_start(ack);
            if delivered == 0 {
                return;
            }
        }
        self.avoid(ack, delivered);
    }

    fn on_loss(&mut self, flight: u32, smss: u32) {
        // 4.7, fast convergence: whoever finds less room than before leaves more of it to others.
        let shrinks = self.cwnd < self.w_max;
        self.w_max = share(self.cwnd, if shrinks { 17 } else { 20 }, 20);
        // 4.6.
        self.prior = self.cwnd;
        self.ssthresh = share(flight, 7, 10).max(2 * smss);
        self.phase = Phase::Between;
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd;
    }

    fn on_rto(&mut self, flight: u32, smss: u32, again: bool) {
        // RFC 5681 3.1: ssthresh is held when the same segment times out again; the loss window is one segment.
        if !again {
            self.on_loss(flight, smss);
        }
        // 4.8.
        self.w_max = 0;
        self.cwnd = smss;
    }

    fn on_start(&mut self, now: Instant, idle: Option<u32>) {
        if let Phase::Avoidance(epoch) = &mut self.phase {
            epoch.seen = now;
        }
        if let Some(restart_window) = idle {
            self.cwnd = self.cwnd.min(restart_window);
        }
    }
}

/// Equation 1 of 4.2, `W_cubic(t)`, in octets, `elapsed` ns after the epoch began.
fn curve(elapsed: u64, k: u32, w_max: u32, smss: u32) -> u64 {
    let (t, k) = (elapsed >> UNIT_BITS, u64::from(k));
    let distance = t.abs_diff(k).min(DISTANCE_MAX);
    let cube = u128::from(distance * distance * distance);
    let offset = (cube * u128::from(C * u64::from(smss))) >> 64;
    let offset = u64::try_from(offset).unwrap_or(u64::MAX);
    if t < k {
        u64::from(w_max).saturating_sub(offset)
    } else {
        u64::from(w_max) + offset
    }
}

/// Equation 2 of 4.2: K in units, until the curve has risen by `octets`.
fn time_to_rise(octets: u32, smss: u32) -> u32 {
    let per_unit = u128::from(C) * u128::from(smss.max(1));
    let cube = (u128::from(octets) << 64) / per_unit;
    cube_root(u64::try_from(cube).unwrap_or(u64::MAX))
}

/// The greatest number whose cube is not greater than `cube`.
fn cube_root(cube: u64) -> u32 {
    let mut root = 0_u64;
    // 2^64 has a root of 21.3 bits.
    for bit in (0..22).rev() {
        let larger = root | 1 << bit;
        if larger.checked_pow(3).is_some_and(|larger| larger <= cube) {
            root = larger;
        }
    }
    saturated(root)
}

/// `part` of `whole` of some octets.
fn share(octets: u32, part: u64, whole: u64) -> u32 {
    saturated(u64::from(octets) * part / whole)
}

fn saturated(octets: u64) -> u32 {
    u32::try_from(octets).unwrap_or(u32::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
