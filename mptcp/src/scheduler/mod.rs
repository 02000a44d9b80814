//! Which subflow carries the next piece of data.

mod blest;
mod ecf;
mod lowest_rtt;
mod overflow;
mod redundant;
mod weighted;

pub use blest::Blest;
pub use ecf::Ecf;
pub use lowest_rtt::LowestRtt;
pub use overflow::Overflow;
pub use redundant::Redundant;
pub use weighted::Weighted;

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
    /// Its share of the data beside the others', at least 1.
    pub weight: u16,
    /// Its smoothed round-trip time.
    pub srtt: Duration,
    /// How much its round-trip time varies (RTTVAR of RFC 6298).
    pub rttvar: Duration,
    /// Its congestion window in octets.
    pub cwnd: u32,
    /// Its slow start threshold: a window below it doubles each round trip.
    pub ssthresh: u32,
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
    /// Each subflow by its weight.
    Weighted(Weighted),
    /// All data on all subflows.
    Redundant(Redundant),
    /// A slow subflow only where its data does not block the window of the fastest.
    Blest(Blest),
    /// A slow subflow only where the fastest would not be done sooner with what waits.
    Ecf(Ecf),
}

macro_rules! each {
    ($self:ident, $scheduler:ident => $body:expr) => {
        match $self {
            Self::LowestRtt($scheduler) => $body,
            Self::Overflow($scheduler) => $body,
            Self::Weighted($scheduler) => $body,
            Self::Redundant($scheduler) => $body,
            Self::Blest($scheduler) => $body,
            Self::Ecf($scheduler) => $body,
        }
    };
}

impl Scheduler {
    /// How often it began to use dearer subflows.
    #[must_use]
    pub const fn activations(&self) -> u64 {
        match self {
            Self::Overflow(scheduler) => scheduler.activations(),
            _ => 0,
        }
    }

    /// Whether the subflow that was picked last for new data would be picked again as long as it has space, whatever else
    /// changes.
    #[must_use]
    pub const fn stays(&self) -> bool {
        match self {
            Self::LowestRtt(_) => true,
            Self::Overflow(scheduler) => scheduler.stays(),
            _ => false,
        }
    }

    /// Whether each piece goes out on every subflow.
    #[must_use]
    pub const fn is_redundant(&self) -> bool {
        matches!(self, Self::Redundant(_))
    }

    /// Notes that nothing waits any more.
    pub const fn on_all_given(&mut self) {
        if let Self::Overflow(scheduler) = self {
            scheduler.on_all_given();
        }
    }

    /// Notes that the window was full with data of a slow subflow, and held up the others.
    pub const fn on_blocked(&mut self) {
        if let Self::Blest(scheduler) = self {
            scheduler.on_blocked();
        }
    }
}

/// A [`Scheduler`] while nothing is to be scheduled: what it measured or began is out of date by the time that something is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RestingScheduler {
    LowestRtt,
    /// How often it began to use dearer subflows.
    Overflow(u32),
    Weighted,
    Redundant,
    Blest,
    Ecf,
}

impl Scheduler {
    pub(crate) fn rest(&self) -> RestingScheduler {
        match self {
            Self::LowestRtt(_) => RestingScheduler::LowestRtt,
            Self::Overflow(overflow) => {
                let activations = u32::try_from(overflow.activations());
                RestingScheduler::Overflow(activations.unwrap_or(u32::MAX))
            },
            Self::Weighted(_) => RestingScheduler::Weighted,
            Self::Redundant(_) => RestingScheduler::Redundant,
            Self::Blest(_) => RestingScheduler::Blest,
            Self::Ecf(_) => RestingScheduler::Ecf,
        }
    }
}

impl RestingScheduler {
    pub(crate) fn wake(self) -> Scheduler {
        match self {
            Self::LowestRtt => Scheduler::LowestRtt(LowestRtt),
            Self::Overflow(activations) => Scheduler::Overflow(Overflow::after(activations.into())),
            Self::Weighted => Scheduler::Weighted(Weighted::default()),
            Self::Redundant => Scheduler::Redundant(Redundant),
            Self::Blest => Scheduler::Blest(Blest::default()),
            Self::Ecf => Scheduler::Ecf(Ecf::default()),
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
        each!(self, scheduler => scheduler.pick(demand, candidates))
    }
}

/// The subflows that may be used: those that are no backup, or all if there are no others (RFC 8684 3.3.8).
fn eligible(candidates: &[Candidate]) -> impl Iterator<Item = &Candidate> + Clone {
    let backup = candidates.iter().all(|candidate| candidate.backup);
    candidates
        .iter()
        .filter(move |candidate| candidate.backup == backup)
}

/// The one of the lowest round-trip time.
fn fastest<'a>(candidates: impl Iterator<Item = &'a Candidate>) -> Option<&'a Candidate> {
    candidates.min_by_key(|candidate| (candidate.srtt, candidate.id))
}

/// At least one.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1)
}

fn octets(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
