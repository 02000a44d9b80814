//! Lowest round-trip time first.

use super::{Candidate, Demand, Schedule};
use crate::connection::SubflowId;

/// Fills the subflow with the lowest round-trip time, then the next. A backup subflow is used only while no other
/// subflow is there, however full the others are (RFC 8684 3.3.8).
#[derive(Clone, Copy, Debug, Default)]
pub struct LowestRtt;

impl Schedule for LowestRtt {
    fn pick(&mut self, _: &Demand, candidates: &[Candidate]) -> Option<SubflowId> {
        let backup = candidates.iter().all(|candidate| candidate.backup);
        candidates
            .iter()
            .filter(|candidate| candidate.has_space && candidate.backup == backup)
            .min_by_key(|candidate| (candidate.srtt, candidate.id))
            .map(|candidate| candidate.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::Purpose;
    use stack::Instant;
    use stack::time::Duration;

    const DEMAND: Demand = Demand {
        now: Instant::ZERO,
        purpose: Purpose::New,
        len: 1400,
        waiting: 1400,
        window: 1 << 20,
    };

    fn candidate(id: u8, srtt_ms: u64, backup: bool, has_space: bool) -> Candidate {
        Candidate {
            id: SubflowId(id),
            cost: 0,
            srtt: Duration::from_millis(srtt_ms),
            cwnd: 14_000,
            flight: 0,
            starting: false,
            backup,
            has_space,
        }
    }

    #[test]
    fn m29_lowest_rtt_with_space_and_backup_only_alone() {
        for (candidates, expected) in [
            (vec![], None),
            (
                vec![candidate(0, 30, false, true), candidate(1, 10, false, true)],
                Some(1),
            ),
            (
                vec![
                    candidate(0, 30, false, true),
                    candidate(1, 10, false, false),
                ],
                Some(0),
            ),
            (
                vec![candidate(0, 30, false, true), candidate(1, 10, true, true)],
                Some(0),
            ),
            (
                vec![candidate(0, 30, false, false), candidate(1, 10, true, true)],
                None,
            ),
            (vec![candidate(1, 10, true, true)], Some(1)),
            (
                vec![candidate(2, 10, false, true), candidate(1, 10, false, true)],
                Some(1),
            ),
        ] {
            assert_eq!(
                LowestRtt.pick(&DEMAND, &candidates),
                expected.map(SubflowId),
                "{candidates:?}"
            );
        }
    }
}
