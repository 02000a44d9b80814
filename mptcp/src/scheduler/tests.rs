//! What the schedulers' tests begin with.

use super::{Candidate, Demand, Purpose};
use crate::connection::SubflowId;
use stack::Instant;
use stack::time::Duration;

/// A subflow with a window of 100,000 octets and a round trip of 50 ms.
pub(super) fn candidate(id: u8, has_space: bool) -> Candidate {
    Candidate {
        id: SubflowId(id),
        cost: u16::from(id),
        weight: 1,
        srtt: Duration::from_millis(50),
        rttvar: Duration::ZERO,
        cwnd: 100_000,
        ssthresh: 100_000,
        flight: if has_space { 0 } else { 100_000 },
        starting: false,
        backup: false,
        has_space,
    }
}

/// New data of which `waiting` octets wait, with a window that bounds nothing.
pub(super) fn demand(waiting: usize) -> Demand {
    Demand {
        now: Instant::from_millis(1_000),
        purpose: Purpose::New,
        len: 1_400,
        waiting,
        window: 64 << 20,
    }
}
