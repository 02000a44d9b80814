//! By weight: while several subflows have space, each gets its share of the octets.

use super::{Candidate, Demand, LowestRtt, Purpose, Schedule, eligible, octets};
use crate::connection::{SUBFLOWS_MAX, SubflowId};

/// What an octet counts on a subflow of weight 1.
const SCALE: u64 = 1_000;

/// Gives the next piece to the subflow that is least ahead of its share. One without space is passed over and gets
/// nothing later for it: the shares are of what is given while there is a choice, and no path waits for another.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weighted {
    /// By how much each subflow, by its id, is ahead of the one that was least: octets by weight.
    ahead: [u32; SUBFLOWS_MAX],
}

impl Weighted {
    fn ahead_mut(&mut self, id: SubflowId) -> Option<&mut u32> {
        self.ahead.get_mut(usize::from(id.0))
    }

    fn ahead(&self, id: SubflowId) -> u32 {
        self.ahead.get(usize::from(id.0)).copied().unwrap_or(0)
    }
}

impl Schedule for Weighted {
    fn pick(&mut self, demand: &Demand, candidates: &[Candidate]) -> Option<SubflowId> {
        if demand.purpose != Purpose::New {
            return LowestRtt.pick(demand, candidates);
        }
        let best = eligible(candidates)
            .filter(|candidate| candidate.has_space)
            .min_by_key(|candidate| (self.ahead(candidate.id), candidate.srtt, candidate.id))?;
        let least = self.ahead(best.id);
        for ahead in &mut self.ahead {
            *ahead = ahead.saturating_sub(least);
        }
        let step = octets(demand.len) * SCALE / u64::from(best.weight.max(1));
        if let Some(ahead) = self.ahead_mut(best.id) {
            *ahead = u32::try_from(step).unwrap_or(u32::MAX);
        }
        Some(best.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::tests::{candidate, demand};

    fn weighing(id: u8, weight: u16, has_space: bool) -> Candidate {
        Candidate {
            weight,
            ..candidate(id, has_space)
        }
    }

    /// How many of `count` pieces each of three subflows gets.
    fn given(scheduler: &mut Weighted, candidates: &[Candidate], count: usize) -> [usize; 3] {
        let mut given = [0; 3];
        for _ in 0..count {
            let id = scheduler.pick(&demand(1 << 20), candidates).unwrap();
            given[usize::from(id.0)] += 1;
        }
        given
    }

    #[test]
    fn m29_weights_share_out_what_several_could_take() {
        for (weights, shares) in [
            ([1, 1, 1], [100, 100, 100]),
            ([3, 1, 1], [180, 60, 60]),
            ([10, 4, 1], [200, 80, 20]),
            ([1000, 1000, 1], [150, 150, 0]),
        ] {
            let candidates = [0, 1, 2].map(|id| weighing(id, weights[usize::from(id)], true));
            let given = given(&mut Weighted::default(), &candidates, 300);
            for (got, share) in given.into_iter().zip(shares) {
                assert!(got.abs_diff(share) <= 1, "{given:?} of {weights:?}");
            }
        }
    }

    #[test]
    fn m29_a_full_subflow_is_passed_over_and_gets_nothing_for_it_later() {
        let mut scheduler = Weighted::default();
        let full = [weighing(0, 3, false), weighing(1, 1, true)];
        assert_eq!(given(&mut scheduler, &full, 1_000), [0, 1_000, 0]);
        let both = [weighing(0, 3, true), weighing(1, 1, true)];
        let later = given(&mut scheduler, &both, 400);
        assert!(later[0].abs_diff(300) <= 3, "{later:?}");
    }

    #[test]
    fn m29_weights_do_not_wake_a_backup() {
        let backup = Candidate {
            backup: true,
            ..weighing(1, 1_000, true)
        };
        let candidates = [weighing(0, 1, true), backup];
        assert_eq!(given(&mut Weighted::default(), &candidates, 10), [10, 0, 0]);
    }
}
