//! Everything on every subflow: for data that must not be late, at the price of all capacity but one path's.

use super::{Candidate, Demand, LowestRtt, Schedule};
use crate::connection::SubflowId;

/// The subflow with the lowest round-trip time that has space leads. The connection gives what it has under way to all
/// others too, each in order from the oldest octet that is not DATA_ACKed; only one that carries all of that takes new
/// data itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Redundant;

impl Schedule for Redundant {
    fn pick(&mut self, demand: &Demand, candidates: &[Candidate]) -> Option<SubflowId> {
        LowestRtt.pick(demand, candidates)
    }
}
