//! Earliest completion first (Lim et al., "ECF", CoNEXT 2017).

use super::{Candidate, Demand, Purpose, Schedule, eligible, fastest, micros, octets};
use crate::connection::SubflowId;

/// Once the fastest subflow is waited for, a slower one must be done sooner by a quarter to be used again: beta.
const HYSTERESIS: u64 = 4;

/// The subflow with the lowest round-trip time; a slower one only while so much waits that the fastest would need longer
/// for all of it than the slower one for a piece. Else the fastest is waited for: so the end of what is sent does not
/// hang on the slow path.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ecf {
    waiting: bool,
}

impl Ecf {
    /// Whether to wait for `fast` rather than to use `slow`.
    fn waits(&mut self, demand: &Demand, fast: &Candidate, slow: &Candidate) -> bool {
        let rounds = |subflow: &Candidate| rounds(subflow, octets(demand.waiting));
        let margin = micros(fast.rttvar.max(slow.rttvar));
        let by_fast = micros(fast.srtt) + rounds(fast);
        let by_slow = micros(slow.srtt) + margin;
        let patience = if self.waiting {
            by_slow / HYSTERESIS
        } else {
            0
        };
        if by_fast >= by_slow + patience {
            self.waiting = false;
            return false;
        }
        // The slow one, which needs a round trip at least, would all the same be done before the fast one's next but one.
        if rounds(slow).max(micros(slow.srtt)) < 2 * micros(fast.srtt) + margin {
            return false;
        }
        self.waiting = true;
        true
    }
}

/// How long `subflow` takes to send `waiting` octets, in microseconds: a window each round trip. One in slow start, as
/// after a pause, doubles meanwhile, or the paper's estimate would have the slow path take what is gone long before.
fn rounds(subflow: &Candidate, waiting: u64) -> u64 {
    let (trip, ssthresh) = (micros(subflow.srtt), u64::from(subflow.ssthresh));
    let (mut window, mut left, mut took) = (u64::from(subflow.cwnd.max(1)), waiting, 0);
    while window < ssthresh && left > window {
        left -= window;
        took += trip;
        window = (window * 2).min(ssthresh);
    }
    left.saturating_mul(trip) / window + took
}

impl Schedule for Ecf {
    fn pick(&mut self, demand: &Demand, candidates: &[Candidate]) -> Option<SubflowId> {
        let fast = fastest(eligible(candidates))?;
        let best = fastest(eligible(candidates).filter(|candidate| candidate.has_space))?;
        let waits =
            demand.purpose == Purpose::New && best.id != fast.id && self.waits(demand, fast, best);
        (!waits).then_some(best.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::tests::{candidate, demand};
    use stack::time::Duration;

    /// A full subflow of 10 ms and one of `slow_ms` with space, windows of 50,000 octets.
    fn picked(scheduler: &mut Ecf, slow_ms: u64, waiting: usize) -> Option<u8> {
        let subflow = |id, ms, has_space| Candidate {
            srtt: Duration::from_millis(ms),
            rttvar: Duration::from_millis(1),
            cwnd: 50_000,
            ssthresh: 50_000,
            ..candidate(id, has_space)
        };
        let pair = [subflow(0, 10, false), subflow(1, slow_ms, true)];
        scheduler.pick(&demand(waiting), &pair).map(|id| id.0)
    }

    #[test]
    fn m29_the_end_of_what_is_sent_waits_for_the_fast_path() {
        // The fast one needs 10 ms and 10 more for each window; the slow one 101 ms with its variation.
        let mut ecf = Ecf::default();
        assert_eq!(picked(&mut ecf, 100, 456_000), Some(1));
        assert_eq!(picked(&mut ecf, 100, 454_000), None);
        // Now it waits: the slow one would have to be done by a quarter sooner.
        assert_eq!(picked(&mut ecf, 100, 456_000), None);
        assert_eq!(picked(&mut ecf, 100, 580_000), None);
        assert_eq!(picked(&mut ecf, 100, 582_000), Some(1));
        assert_eq!(picked(&mut ecf, 100, 456_000), Some(1));
        assert_eq!(picked(&mut ecf, 100, 1_400), None);
    }

    #[test]
    fn m29_a_window_in_slow_start_doubles() {
        let subflow = |cwnd, ssthresh| Candidate {
            srtt: Duration::from_millis(10),
            cwnd,
            ssthresh,
            ..candidate(0, true)
        };
        for (cwnd, ssthresh, waiting, micros) in [
            (50_000, 50_000, 200_000, 40_000),
            (10_000, 10_000, 200_000, 200_000),
            // Windows of 10, 20, 40 kB, and then of 50 kB.
            (10_000, 50_000, 170_000, 50_000),
            (10_000, u32::MAX, 150_000, 40_000),
            (10_000, 50_000, 5_000, 5_000),
            (0, 1, 1, 10_000),
        ] {
            assert_eq!(rounds(&subflow(cwnd, ssthresh), waiting), micros);
        }
    }

    #[test]
    fn m29_a_path_that_is_hardly_slower_is_not_waited_beside() {
        assert_eq!(picked(&mut Ecf::default(), 20, 1_400), Some(1));
        assert_eq!(picked(&mut Ecf::default(), 22, 1_400), None);
    }

    #[test]
    fn m29_what_was_lost_does_not_wait() {
        let lost = Demand {
            purpose: Purpose::Again,
            ..demand(1_400)
        };
        let slow = Candidate {
            srtt: Duration::from_secs(1),
            ..candidate(1, true)
        };
        let picked = Ecf::default().pick(&lost, &[candidate(0, false), slow]);
        assert_eq!(picked, Some(SubflowId(1)));
    }
}
