//! Lowest round-trip time first.

use super::{Candidate, Demand, Schedule, eligible, fastest};
use crate::connection::SubflowId;

/// Fills the subflow with the lowest round-trip time, then the next. A backup subflow is used only while no other
/// subflow is there, however full the others are (RFC 8684 3.3.8).
#[derive(Clone, Copy, Debug, Default)]
pub struct LowestRtt;

impl Schedule for LowestRtt {
    fn pick(&mut self, _: &Demand, candidates: &[Candidate]) -> Option<SubflowId> {
        fastest(eligible(candidates).filter(|candidate| candidate.has_space))
            .map(|candidate| candidate.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::tests::{candidate as of, demand};
    use stack::time::Duration;

    fn candidate(id: u8, srtt_ms: u64, backup: bool, has_space: bool) -> Candidate {
        Candidate {
            srtt: Duration::from_millis(srtt_ms),
            backup,
            ..of(id, has_space)
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
                LowestRtt.pick(&demand(1400), &candidates),
                expected.map(SubflowId),
                "{candidates:?}"
            );
        }
    }
}
