//! Blocking estimation (Ferlin et al., "BLEST", IFIP Networking 2016).

use super::{Candidate, Demand, Purpose, Schedule, eligible, fastest, micros, octets};
use crate::connection::SubflowId;
use stack::Instant;

/// What the correction is counted in.
const ONE: u64 = 64;
/// The correction grows by so much a round trip of the fastest subflow in which the window was blocked all the same,
const UP: u64 = 4;
/// and shrinks by so much in one in which it was not,
const DOWN: u64 = 1;
/// up to half as much again as was estimated.
const MOST: u64 = 96;

/// The subflow with the lowest round-trip time; a slower one only if the window has room for its data and for all that
/// the fastest could send until that is acknowledged. Else the fastest is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Blest {
    /// By how much more the fastest subflow is taken to send than is estimated: lambda.
    correction: u64,
    blocked: bool,
    renewed_at: Instant,
}

impl Default for Blest {
    fn default() -> Self {
        Self {
            correction: ONE,
            blocked: false,
            renewed_at: Instant::ZERO,
        }
    }
}

impl Blest {
    /// The window was full with data of a slow subflow.
    pub const fn on_blocked(&mut self) {
        self.blocked = true;
    }

    fn renew(&mut self, now: Instant, fast: &Candidate) {
        if now.since(self.renewed_at) < fast.srtt {
            return;
        }
        self.renewed_at = now;
        self.correction = if self.blocked {
            (self.correction + UP).min(MOST)
        } else {
            (self.correction - DOWN).max(ONE)
        };
        self.blocked = false;
    }

    /// Whether data on `slow` would leave the window too small for `fast` before it is acknowledged.
    fn would_block(&self, demand: &Demand, fast: &Candidate, slow: &Candidate) -> bool {
        // In tenths of round trips of the fast one, each of which lets its window grow by a segment.
        let trips = 10 * micros(slow.srtt) / micros(fast.srtt);
        let growth = octets(demand.len) * trips.saturating_sub(10) / 20;
        let sent = (u64::from(fast.cwnd) + growth).saturating_mul(trips) / 10;
        let sent = sent.saturating_mul(self.correction) / ONE;
        let left =
            octets(demand.window).saturating_sub(u64::from(slow.flight) + octets(demand.len));
        sent > left
    }
}

impl Schedule for Blest {
    fn pick(&mut self, demand: &Demand, candidates: &[Candidate]) -> Option<SubflowId> {
        let fast = fastest(eligible(candidates))?;
        self.renew(demand.now, fast);
        let best = fastest(eligible(candidates).filter(|candidate| candidate.has_space))?;
        let waits = demand.purpose == Purpose::New
            && best.id != fast.id
            && self.would_block(demand, fast, best);
        (!waits).then_some(best.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::tests::{candidate, demand};
    use stack::time::Duration;

    /// A full subflow of 10 ms with a window of 50,000 octets, and one of 100 ms with space.
    fn pair() -> [Candidate; 2] {
        let fast = Candidate {
            srtt: Duration::from_millis(10),
            cwnd: 50_000,
            ..candidate(0, false)
        };
        let slow = Candidate {
            srtt: Duration::from_millis(100),
            flight: 20_000,
            ..candidate(1, true)
        };
        [fast, slow]
    }

    fn picked(scheduler: &mut Blest, window: usize, purpose: Purpose) -> Option<u8> {
        let demand = Demand {
            window,
            purpose,
            ..demand(1 << 20)
        };
        scheduler.pick(&demand, &pair()).map(|id| id.0)
    }

    #[test]
    fn m29_a_slow_subflow_is_used_only_where_the_window_holds_both() {
        // Ten round trips of the fast one, its window growing by 4.5 segments on average: 563,000 octets.
        let needed = (50_000 + 1_400 * 9 / 2) * 10 + 20_000 + 1_400;
        let mut blest = Blest::default();
        assert_eq!(picked(&mut blest, needed, Purpose::New), Some(1));
        assert_eq!(picked(&mut blest, needed - 1, Purpose::New), None);
        assert_eq!(picked(&mut blest, 1, Purpose::Again), Some(1));
        let mut fast_has_space = pair();
        fast_has_space[0].has_space = true;
        let demand = Demand {
            window: 1,
            ..demand(1 << 20)
        };
        assert_eq!(blest.pick(&demand, &fast_has_space), Some(SubflowId(0)));
    }

    #[test]
    fn m29_blocking_all_the_same_makes_it_more_careful_for_a_while() {
        let mut blest = Blest::default();
        let mut least_window = |blocked: bool, trips: u64| {
            let mut now = blest.renewed_at;
            for _ in 0..trips {
                if blocked {
                    blest.on_blocked();
                }
                now = now + Duration::from_millis(10);
                blest.renew(now, &pair()[0]);
            }
            let wants = |window: &usize| {
                let demand = Demand {
                    window: *window,
                    ..demand(1 << 20)
                };
                !blest.would_block(&demand, &pair()[0], &pair()[1])
            };
            (0..2_000_000).step_by(1_000).find(wants).unwrap()
        };
        let at_first = least_window(false, 1);
        let careful = least_window(true, 100);
        assert_eq!(careful * 10 / at_first, 14);
        assert!(least_window(false, 10) < careful);
        assert_eq!(least_window(false, 100), at_first);
    }
}
