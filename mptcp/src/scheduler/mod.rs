//! Which subflow carries the next piece of data.

mod lowest_rtt;

pub use lowest_rtt::LowestRtt;

use crate::connection::SubflowId;
use stack::time::Duration;

/// What a scheduler sees of a subflow that could carry the next piece now.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The subflow.
    pub id: SubflowId,
    /// Its smoothed round-trip time.
    pub srtt: Duration,
    /// The peer wants it used only when no other is there (RFC 8684 3.3.8).
    pub backup: bool,
    /// Whether the piece fits into its congestion window and the peer's window now.
    pub has_space: bool,
}

/// Picks a subflow for one piece of data. Pieces are given out one at a time, as late as possible: only to a subflow
/// that sends them at once.
pub trait Schedule {
    /// The subflow for the next piece, if one should carry it now.
    fn pick(&mut self, candidates: &[Candidate]) -> Option<SubflowId>;
}

/// The schedulers there are.
#[derive(Clone, Debug)]
pub enum Scheduler {
    /// The subflow with the lowest round-trip time that has space.
    LowestRtt(LowestRtt),
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::LowestRtt(LowestRtt)
    }
}

impl Schedule for Scheduler {
    fn pick(&mut self, candidates: &[Candidate]) -> Option<SubflowId> {
        match self {
            Self::LowestRtt(scheduler) => scheduler.pick(candidates),
        }
    }
}
