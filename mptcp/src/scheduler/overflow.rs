//! Cheapest first, and the rest only for what the cheapest cannot carry.
//!
//! This is not what backup subflows are for (RFC 8684 3.3.8): those wait until no other subflow is left, and the peer
//! would have to ask for it. Each side decides on its own here, and nothing is signalled.
//!
//! A congestion window that is full for a moment does not mean that a path lacks capacity: every burst fills one, and
//! every connection begins with a small one. What tells is data that piles up. So dearer subflows come into use only
//! once more has waited than the cheaper ones take up in half a round trip, for [`PATIENCE`], or so much at once that
//! they would need [`PLENTY`] for it; never while a cheaper one is still in its first slow start. While they are in use
//! they get what waits beyond that half round trip: so the cheaper ones never run dry. They fall out of use after
//! [`QUIET`] without having been needed, which bounds how often they can come into use.

use super::{Candidate, Demand, Purpose, Schedule, eligible, micros, octets};
use crate::connection::SubflowId;
use stack::Instant;
use stack::time::Duration;

/// How long data must pile up before dearer subflows come into use.
const PATIENCE: Duration = Duration::from_millis(500);
/// What would take the cheaper subflows so long is not waited for.
const PLENTY: Duration = Duration::from_millis(250);
/// How long the dearest subflows in use must have been idle before they fall out of use.
const QUIET: Duration = Duration::from_secs(1);
/// This part of the window is kept for the time in which a cheaper subflow repairs a loss, and nothing is acknowledged.
const REPAIRS: usize = 8;

/// Fills the subflows of the least cost, by round-trip time where it is equal; dearer ones with what piles up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overflow {
    /// Subflows that cost at most this are in use.
    limit: u16,
    /// Since when more has waited than those in use can take up soon.
    over_since: Option<Instant>,
    /// When those at the limit were last needed.
    needed_at: Instant,
    activations: u64,
    /// The last piece was new and went to one of the cheapest: no other is preferred to that while it has space.
    stays: bool,
}

impl Overflow {
    /// One that brought dearer subflows into use `activations` times, all of them out of use now.
    pub(super) fn after(activations: u64) -> Self {
        Self {
            activations,
            ..Self::default()
        }
    }

    /// How often dearer subflows came into use.
    #[must_use]
    pub const fn activations(&self) -> u64 {
        self.activations
    }

    pub(super) const fn stays(&self) -> bool {
        self.stays
    }

    /// Nothing waits any more.
    pub(super) const fn on_all_given(&mut self) {
        self.over_since = None;
    }

    /// Moves the limit up or down.
    fn renew(&mut self, demand: &Demand, candidates: &[Candidate], base: u16) {
        self.limit = self.limit.max(base);
        if self.limit > base && demand.now.since(self.needed_at) >= QUIET {
            let lower = candidates.iter().map(|candidate| candidate.cost);
            let lower = lower.filter(|&cost| cost < self.limit).max();
            self.limit = lower.unwrap_or(base);
            self.needed_at = demand.now;
            self.over_since = None;
        }
        let limit = self.limit;
        let Some(next) = dearer(candidates, limit) else {
            self.over_since = None;
            return;
        };
        let in_use = || candidates.iter().filter(move |c| c.cost <= limit);
        if demand.waiting <= reserve(in_use(), demand) {
            self.over_since = None;
            return;
        }
        if in_use().any(|candidate| candidate.has_space || candidate.starting) {
            return;
        }
        let since = *self.over_since.get_or_insert(demand.now);
        if demand.now.since(since) >= PATIENCE || demand.waiting >= plenty(in_use(), demand) {
            self.limit = next;
            self.needed_at = demand.now;
            self.over_since = None;
            self.activations += 1;
        }
    }

    /// Whether new data may go to `best`, which costs more than others: more waits than those take up soon, and it
    /// would not hold them up.
    fn may_spill(best: &Candidate, demand: &Demand, candidates: &[Candidate]) -> bool {
        let cheaper = || candidates.iter().filter(|c| c.cost < best.cost);
        if demand.waiting <= reserve(cheaper(), demand) {
            return false;
        }
        // What the cheaper ones send while the piece is on its way must fit into the window as well, or the piece makes
        // them wait (Ferlin et al., "BLEST", IFIP Networking 2016).
        let meanwhile: u64 = cheaper()
            .map(|c| u64::from(c.cwnd) * micros(best.srtt).max(micros(c.srtt)) / micros(c.srtt))
            .sum();
        // And what all send while a cheaper one repairs a loss: some round trips of its own, which are the shorter ones.
        let repairs = demand.window / REPAIRS;
        u64::from(best.flight) + octets(demand.len) + meanwhile <= octets(demand.window - repairs)
    }
}

impl Schedule for Overflow {
    fn pick(&mut self, demand: &Demand, candidates: &[Candidate]) -> Option<SubflowId> {
        let eligible = || eligible(candidates);
        let base = eligible().map(|candidate| candidate.cost).min()?;
        self.stays = false;
        if demand.purpose == Purpose::New {
            self.renew(demand, candidates, base);
        }
        let best = eligible()
            .filter(|candidate| candidate.has_space)
            .min_by_key(|candidate| (candidate.cost, candidate.srtt, candidate.id))?;
        let allowed = match demand.purpose {
            // What was lost goes where it can.
            Purpose::Again => true,
            Purpose::Overtake => best.cost <= self.limit,
            Purpose::New if best.cost == base => true,
            Purpose::New => best.cost <= self.limit && Self::may_spill(best, demand, candidates),
        };
        if !allowed {
            return None;
        }
        if best.cost == self.limit {
            self.needed_at = demand.now;
        }
        self.stays = demand.purpose == Purpose::New && best.cost == base;
        Some(best.id)
    }
}

/// The least cost beyond `limit`.
fn dearer(candidates: &[Candidate], limit: u16) -> Option<u16> {
    let usable = candidates.iter().filter(|candidate| !candidate.backup);
    usable.map(|c| c.cost).filter(|&cost| cost > limit).min()
}

/// What waits for `cheaper` subflows in any case: half of their windows, so about half a round trip, but no more than a
/// part of what may be under way at all.
fn reserve<'a>(cheaper: impl Iterator<Item = &'a Candidate>, demand: &Demand) -> usize {
    let windows: u64 = cheaper.map(|candidate| u64::from(candidate.cwnd)).sum();
    let half = usize::try_from(windows / 2).unwrap_or(usize::MAX);
    half.min(demand.window / 8)
}

/// What takes the subflows `in_use` as long as [`PLENTY`], or fills half of the window.
fn plenty<'a>(in_use: impl Iterator<Item = &'a Candidate>, demand: &Demand) -> usize {
    let carried: u64 = in_use
        .map(|c| u64::from(c.cwnd) * micros(PLENTY) / micros(c.srtt))
        .sum();
    usize::try_from(carried)
        .unwrap_or(usize::MAX)
        .min(demand.window / 2)
}

#[cfg(test)]
mod tests;
