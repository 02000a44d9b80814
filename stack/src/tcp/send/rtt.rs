//! Round-trip time and the retransmission timeout (RFC 6298). Whole microseconds, scaled; no floats.

use crate::seq::SeqNum;
use crate::tcp::tcb::seconds;
use crate::time::{Duration, Instant};

/// RTO before anything was measured (2.1).
const INITIAL: Duration = Duration::from_secs(1);
/// RTO before anything was measured when the SYN had to be resent (5.7).
const INITIAL_AFTER_SYN_LOSS: Duration = Duration::from_secs(3);
/// Least RTO, and least variance term: RFC 6298 2.4 says 1 s, hosts use less; a term that shrank with a steady round
/// trip would time out on the first delayed ACK.
const MIN: Duration = Duration::from_millis(200);
/// Largest RTO (2.5 allows any bound of at least 60 s).
const MAX: Duration = Duration::from_secs(60);

/// How long the least round trip counts at least, and half of how long it does at most: after a change to a longer path it
/// is that of the new one (RFC 8985 6.2 step 1).
const MIN_WINDOW_SECS: u32 = 150;

/// SRTT, RTTVAR and the RTO that follows from them.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct RttEstimator {
    /// SRTT in 1/8 us.
    srtt8: u32,
    /// RTTVAR in 1/4 us.
    rttvar4: u32,
    /// Least round trip of the present window, us; `u32::MAX` before the first.
    min: u32,
    /// The same of the window before.
    min_before: u32,
    /// When the present window began, s.
    min_since: u32,
    /// One sample a round trip goes into the averages: the next once this is acknowledged.
    next_sample: SeqNum,
    backoff: u8,
    syn_lost: bool,
}

/// A [`RttEstimator`] while nothing is under way that could be measured.
#[derive(Clone, Debug)]
pub(super) struct RestingRtt {
    srtt8: u32,
    rttvar4: u32,
    min: u32,
    min_since: u32,
    backoff: u8,
    syn_lost: bool,
}

impl RestingRtt {
    /// Goes on with what is sent from `next_sample` on.
    pub(super) const fn wake(&self, next_sample: SeqNum) -> RttEstimator {
        RttEstimator {
            srtt8: self.srtt8,
            rttvar4: self.rttvar4,
            min: self.min,
            min_before: u32::MAX,
            min_since: self.min_since,
            next_sample,
            backoff: self.backoff,
            syn_lost: self.syn_lost,
        }
    }
}

impl RttEstimator {
    /// What is left at rest: the least of the window before counts as long as that of the present one.
    pub(super) fn rest(&self) -> RestingRtt {
        RestingRtt {
            srtt8: self.srtt8,
            rttvar4: self.rttvar4,
            min: self.min.min(self.min_before),
            min_since: self.min_since,
            backoff: self.backoff,
            syn_lost: self.syn_lost,
        }
    }

    pub(in crate::tcp) const fn new(next_sample: SeqNum, syn_lost: bool) -> Self {
        Self {
            srtt8: 0,
            rttvar4: 0,
            min: u32::MAX,
            min_before: u32::MAX,
            min_since: 0,
            next_sample,
            backoff: 0,
            syn_lost,
        }
    }

    /// Takes the round trip of a segment sent once (Karn), acknowledged up to `una` while `nxt` was next to be sent.
    pub(in crate::tcp) fn sample(&mut self, rtt: Duration, now: Instant, una: SeqNum, nxt: SeqNum) {
        let us = micros(rtt).max(1);
        self.note_least(us, seconds(now));
        // 5, after 5.7: a measurement ends the back-off.
        self.backoff = 0;
        if self.srtt8 != 0 && una < self.next_sample {
            return;
        }
        self.next_sample = nxt + 1;
        if self.srtt8 == 0 {
            // 2.2: SRTT = R, RTTVAR = R/2.
            self.srtt8 = us.saturating_mul(8);
            self.rttvar4 = us.saturating_mul(2);
            return;
        }
        // 2.3: RTTVAR = 3/4 RTTVAR + 1/4 |SRTT - R|, then SRTT = 7/8 SRTT + 1/8 R.
        let deviation = (self.srtt8 / 8).abs_diff(us);
        self.rttvar4 = (self.rttvar4 - self.rttvar4 / 4).saturating_add(deviation);
        self.srtt8 = (self.srtt8 - self.srtt8 / 8).saturating_add(us);
    }

    fn note_least(&mut self, us: u32, now: u32) {
        let age = now.wrapping_sub(self.min_since);
        if age >= MIN_WINDOW_SECS {
            let recent = age < 2 * MIN_WINDOW_SECS;
            self.min_before = if recent { self.min } else { u32::MAX };
            self.min = us;
            self.min_since = now;
        } else {
            self.min = self.min.min(us);
        }
    }

    /// 5.5: the timer doubles.
    pub(in crate::tcp) const fn back_off(&mut self) {
        self.backoff = self.backoff.saturating_add(1);
    }

    /// The timeout as it stands, backed off.
    pub(in crate::tcp) fn rto(&self) -> Duration {
        self.backed_off(self.backoff)
    }

    /// The timeout after `doublings`.
    pub(in crate::tcp) fn backed_off(&self, doublings: u8) -> Duration {
        (self.base() * (1 << doublings.min(9))).min(MAX)
    }

    fn base(&self) -> Duration {
        if self.srtt8 == 0 {
            return if self.syn_lost {
                INITIAL_AFTER_SYN_LOSS
            } else {
                INITIAL
            };
        }
        // 2.3: RTO = SRTT + max(G, K*RTTVAR).
        let variance = Duration::from_micros(u64::from(self.rttvar4)).max(MIN);
        (Duration::from_micros(u64::from(self.srtt8 / 8)) + variance).min(MAX)
    }

    pub(in crate::tcp) fn srtt(&self) -> Option<Duration> {
        (self.srtt8 != 0).then(|| Duration::from_micros(u64::from(self.srtt8 / 8)))
    }

    pub(in crate::tcp) fn rttvar(&self) -> Duration {
        Duration::from_micros(u64::from(self.rttvar4 / 4))
    }

    /// The least of the last few minutes.
    pub(in crate::tcp) fn min_rtt(&self) -> Option<Duration> {
        let min = self.min.min(self.min_before);
        (min != u32::MAX).then(|| Duration::from_micros(u64::from(min)))
    }
}

/// Microseconds, at most 268 s: what fits into an eighth of the range.
fn micros(rtt: Duration) -> u32 {
    u32::try_from(rtt.as_micros())
        .unwrap_or(u32::MAX)
        .min(u32::MAX / 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// (samples in ms, doublings, RTO in us) by the formulas of RFC 6298 2.
    #[test]
    fn t7_rto_follows_rfc6298() {
        let rows: &[(&str, &[u64], u8, u64)] = &[
            ("nothing measured", &[], 0, 1_000_000),
            ("nothing measured, doubled twice", &[], 2, 4_000_000),
            ("first: R + 4 * R/2", &[100], 0, 300_000),
            (
                "second: var = 3/4*50 + 1/4*100, srtt = 112.5",
                &[100, 200],
                0,
                362_500,
            ),
            ("least variance term", &[10], 0, 210_000),
            ("doubled", &[100], 3, 2_400_000),
            ("at most 60 s", &[100], 15, 60_000_000),
        ];
        for (name, samples, doublings, us) in rows {
            let mut rtt = RttEstimator::new(SeqNum(0), false);
            for (n, sample) in (1..).zip(*samples) {
                rtt.sample(ms(*sample), Instant::ZERO, SeqNum(n * 100), SeqNum(n * 100));
            }
            for _ in 0..*doublings {
                rtt.back_off();
            }
            assert_eq!(rtt.rto(), Duration::from_micros(*us), "{name}");
        }
        assert_eq!(RttEstimator::new(SeqNum(0), true).rto(), ms(3000));
    }

    #[test]
    fn t7_one_sample_a_round_trip_goes_into_the_average() {
        let mut rtt = RttEstimator::new(SeqNum(0), false);
        rtt.sample(ms(100), Instant::ZERO, SeqNum(1), SeqNum(1000));
        rtt.sample(ms(500), Instant::ZERO, SeqNum(900), SeqNum(1900));
        assert_eq!(rtt.srtt(), Some(ms(100)));
        rtt.sample(ms(500), Instant::ZERO, SeqNum(1001), SeqNum(2000));
        assert_eq!(rtt.srtt(), Some(ms(150)));
    }

    #[test]
    fn t7_a_measurement_ends_the_back_off() {
        let mut rtt = RttEstimator::new(SeqNum(0), false);
        rtt.back_off();
        assert_eq!(rtt.rto(), ms(2000));
        rtt.sample(ms(100), Instant::ZERO, SeqNum(1), SeqNum(2));
        assert_eq!(rtt.rto(), ms(300));
    }

    /// (second of the sample, its ms, least ms of the last minutes): a route that became longer is noticed.
    #[test]
    fn t11_the_least_round_trip_is_that_of_the_last_minutes() {
        let mut rtt = RttEstimator::new(SeqNum(0), false);
        let rows = [
            (0, 40, 40),
            (100, 90, 40),
            (149, 30, 30),
            (150, 80, 30),
            (299, 85, 30),
            (300, 90, 80),
            (450, 95, 90),
            (2000, 200, 200),
            (2001, 190, 190),
        ];
        for (n, (secs, sample, least)) in (1..).zip(rows) {
            let now = Instant::from_millis(secs * 1000);
            rtt.sample(ms(sample), now, SeqNum(n), SeqNum(n));
            assert_eq!(rtt.min_rtt(), Some(ms(least)), "at {secs} s");
        }
    }
}
