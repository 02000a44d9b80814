//! What the engine lends to every layer below it: randomness, and where to count.

use crate::Counter;
use stack::{Cx, Instant, Ledger, Rng, Tally};

/// The core's generator and its counters, apart from the engine's tables so that both can be borrowed at once.
pub(super) struct Tools {
    pub(super) rng: Rng,
    pub(super) stack: Tally<stack::Counter>,
    pub(super) mptcp: Tally<mptcp::Counter>,
    pub(super) apps: Tally<Counter>,
    pub(super) ledger: Ledger,
}

impl Tools {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            rng,
            stack: Tally::default(),
            mptcp: Tally::default(),
            apps: Tally::default(),
            ledger: Ledger::new(dataplane::cycles::now),
        }
    }

    /// For the layers of `stack`.
    pub(super) fn cx(&mut self, now: Instant) -> Cx<'_> {
        Cx {
            now,
            rng: &mut self.rng,
            counters: &mut self.stack,
        }
    }

    /// For the legs of a relay.
    pub(super) fn leg(&mut self, now: Instant) -> mptcp::Cx<'_> {
        mptcp::Cx {
            now,
            rng: &mut self.rng,
            tcp: &mut self.stack,
            mptcp: &mut self.mptcp,
            ledger: &mut self.ledger,
        }
    }
}
