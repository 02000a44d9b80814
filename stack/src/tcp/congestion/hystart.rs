//! HyStart++ (RFC 9406): the first slow start ends where the round trip grows, before the queue that it fills overflows.

use super::Ack;
use crate::seq::SeqNum;

/// L: segments by which slow start grows at most on one ACK, for senders without pacing (4.2).
pub(super) const GROWTH_LIMIT: u32 = 8;
/// `MIN_RTT_THRESH`, us.
const THRESHOLD_MIN: u32 = 4_000;
/// `MAX_RTT_THRESH`, us.
const THRESHOLD_MAX: u32 = 16_000;
/// `MIN_RTT_DIVISOR`.
const THRESHOLD_DIVISOR: u32 = 8;
/// `N_RTT_SAMPLE`.
const SAMPLES: u8 = 8;
/// `CSS_GROWTH_DIVISOR`.
const CONSERVATIVE_DIVISOR: u32 = 4;
/// `CSS_ROUNDS`.
const CONSERVATIVE_ROUNDS: u8 = 5;
/// No round trip.
const INFINITY: u32 = u32::MAX;

/// The state of one first slow start. Round trips in microseconds.
#[derive(Clone, Debug)]
pub(super) struct HyStart {
    /// windowEnd: the round ends when this is acknowledged; `None` before the first.
    round_end: Option<SeqNum>,
    /// lastRoundMinRTT.
    least_before: u32,
    /// currentRoundMinRTT.
    least: u32,
    /// cssBaselineMinRtt; infinite outside of conservative slow start.
    baseline: u32,
    /// rttSampleCount, as far as it matters.
    samples: u8,
    /// Rounds of conservative slow start that have ended.
    rounds: u8,
}

impl HyStart {
    pub(super) const fn new() -> Self {
        Self {
            round_end: None,
            least_before: INFINITY,
            least: INFINITY,
            baseline: INFINITY,
            samples: 0,
            rounds: 0,
        }
    }

    /// Takes an acknowledgment: octets by which the window may grow for it, and whether slow start is over then.
    pub(super) fn on_ack(&mut self, ack: &Ack) -> (u32, bool) {
        let over = self.end_round(ack);
        if let Some(rtt) = ack.rtt {
            let us = u32::try_from(rtt.as_micros()).unwrap_or(INFINITY);
            self.least = self.least.min(us);
            self.samples = self.samples.saturating_add(1).min(SAMPLES);
        }
        let growth = ack.delivered.min(GROWTH_LIMIT * ack.smss);
        let growth = if self.baseline == INFINITY {
            growth
        } else {
            growth / CONSERVATIVE_DIVISOR
        };
        if self.samples == SAMPLES {
            self.compare();
        }
        (growth, over)
    }

    /// `true` if conservative slow start has lasted long enough.
    fn end_round(&mut self, ack: &Ack) -> bool {
        if self.round_end.is_some_and(|end| ack.una < end) {
            return false;
        }
        self.round_end = Some(ack.nxt);
        self.least_before = self.least;
        self.least = INFINITY;
        self.samples = 0;
        if self.baseline == INFINITY {
            return false;
        }
        // The round in which it began counts, though it was not a whole one.
        self.rounds += 1;
        self.rounds >= CONSERVATIVE_ROUNDS
    }

    /// 4.2: enough round trips of this round were measured to be compared with the round before, or with what they were
    /// when conservative slow start began.
    fn compare(&mut self) {
        if self.baseline != INFINITY {
            if self.least < self.baseline {
                // It was jitter.
                self.baseline = INFINITY;
            }
        } else if self.least_before != INFINITY {
            let threshold = self.least_before / THRESHOLD_DIVISOR;
            let threshold = threshold.clamp(THRESHOLD_MIN, THRESHOLD_MAX);
            if self.least >= self.least_before.saturating_add(threshold) {
                self.baseline = self.least;
                self.rounds = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Duration, Instant};

    /// Runs rounds of `acks` ACKs, each with the round trip of its row in ms; the growth per ACK of 1000 octets by the end
    /// of each round, until slow start is over.
    fn rounds(acks: u32, rtts: &[u64]) -> (Vec<u32>, bool) {
        let mut hystart = HyStart::new();
        let mut growths = Vec::new();
        let mut una = SeqNum(u32::MAX - 10_000);
        for rtt in rtts {
            let nxt = una + acks * 1000;
            let mut last = 0;
            for _ in 0..acks {
                una += 1000;
                let (growth, over) = hystart.on_ack(&Ack {
                    now: Instant::ZERO,
                    delivered: 1000,
                    smss: 1000,
                    limited: true,
                    rtt: Some(Duration::from_millis(*rtt)),
                    srtt: Duration::ZERO,
                    una,
                    nxt: nxt + 1,
                });
                last = growth;
                if over {
                    return (growths, true);
                }
            }
            growths.push(last);
        }
        (growths, false)
    }

    /// (ACKs a round, round trip of each round, growth at the end of each, whether it ended): by the constants of RFC 9406
    /// 4.3.
    #[test]
    fn t8_hystart_leaves_where_the_delay_grows() {
        type Row = (u32, &'static [u64], &'static [u32], bool);
        let rows: &[Row] = &[
            // Steady: never.
            (10, &[50; 8], &[1000; 8], false),
            // An eighth of 80 ms is 10: 89 is not enough, 90 is.
            (10, &[80, 89, 89], &[1000, 1000, 1000], false),
            (10, &[80, 90], &[1000, 250], false),
            // At least 4 ms, at most 16 ms.
            (10, &[8, 11], &[1000, 1000], false),
            (10, &[8, 12], &[1000, 250], false),
            (10, &[400, 415], &[1000, 1000], false),
            (10, &[400, 416], &[1000, 250], false),
            // Five rounds of it, the one in which it began included.
            (
                10,
                &[80, 90, 95, 95, 95, 95, 95],
                &[1000, 250, 250, 250, 250, 250],
                true,
            ),
            // Jitter: back below what it was when the growth was noticed.
            (10, &[80, 90, 89, 89], &[1000, 250, 1000, 1000], false),
            // Too few samples tell nothing.
            (7, &[80, 200, 200], &[1000, 1000, 1000], false),
            (8, &[80, 200, 200], &[1000, 1000, 250], false),
        ];
        for (acks, rtts, growths, over) in rows {
            let got = rounds(*acks, rtts);
            assert_eq!((got.0.as_slice(), got.1), (*growths, *over), "{rtts:?}");
        }
    }

    #[test]
    fn t8_one_ack_grows_slow_start_by_eight_segments_at_most() {
        let mut hystart = HyStart::new();
        let (growth, _) = hystart.on_ack(&Ack {
            now: Instant::ZERO,
            delivered: 100_000,
            smss: 1000,
            limited: true,
            rtt: None,
            srtt: Duration::ZERO,
            una: SeqNum(0),
            nxt: SeqNum(0),
        });
        assert_eq!(growth, 8_000);
    }
}
