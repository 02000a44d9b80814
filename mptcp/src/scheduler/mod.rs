//! Which subflow carries the next piece of data.

mod lowest_rtt;
mod overflow;

pub use lowest_rtt::LowestRtt;
pub use overflow::Overflow;

use crate::connection::SubflowId;
use stack::Instant;
use stack::time::Duration;

/// What a scheduler sees of a subflow that could carry the next piece now.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// The subflow.
    pub id: SubflowId,
    /// What its path costs: less is preferred. Only ever compared.
    pub cost: u16,
    /// Its smoothed round-trip time.
    pub srtt: Duration,
    /// Its congestion window in octets.
    pub cwnd: u32,
    /// Octets in flight on it.
    pub flight: u32,
    /// In slow start since it began: what its path carries is not known yet, and is found out within round trips.
    pub starting: bool,
    /// The peer wants it used only when no other is there (RFC 8684 3.3.8).
    pub backup: bool,
    /// Whether the piece fits into its congestion window, the peer's window and its path's cap now.
    pub has_space: bool,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// The present time; never goes back.
    pub now: Instant,
    /// Why the piece is sent.
    pub purpose: Purpose,
    /// Octets of the piece.
    pub len: usize,
    /// Octets that wait and that no subflow has carried yet, those of the piece included.
    pub waiting: usize,
    /// Octets that may be under way without an acknowledgment of the data level: by the peer's window and by our buffer.
    pub window: usize,
}

/// Why a piece is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// No subflow has carried it.
    New,
    /// The subflow that carried it lost it, or is lost.
    Again,
    /// It is on its way on a slow subflow, and holds up what follows: it may be overtaken.
    Overtake,
}

/// Picks a subflow for one piece of data. Pieces are given out one at a time, as late as possible: only to a subflow
/// that sends them at once.
pub trait Schedule {
    /// The subflow for the next piece, if one should carry it now. `candidates` are all subflows that are usable, for
    /// a piece that goes out once more only those that did not carry it.
    fn pick(&mut self, demand: &Demand, candidates: &[Candidate]) -> Option<SubflowId>;
}

/// The schedulers there are.
#[derive(Clone, Debug)]
pub enum Scheduler {
    /// The subflow with the lowest round-trip time that has space.
    LowestRtt(LowestRtt),
    /// The cheapest subflows; dearer ones for what those cannot carry.
    Overflow(Overflow),
}

impl Scheduler {
    /// How often it began to use dearer subflows.
    #[must_use]
    pub const fn activations(&self) -> u64 {
        match self {
            Self::LowestRtt(_) => 0,
            Self::Overflow(scheduler) => scheduler.activations(),
        }
    }
}

impl Default for Scheduler {
    fn default() -> Self {
        Self::LowestRtt(LowestRtt)
    }
}

impl Schedule for Scheduler {
    fn pick(&mut self, demand: &Demand, candidates: &[Candidate]) -> Option<SubflowId> {
        match self {
            Self::LowestRtt(scheduler) => scheduler.pick(demand, candidates),
            Self::Overflow(scheduler) => scheduler.pick(demand, candidates),
        }
    }
}
