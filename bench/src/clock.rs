//! The processor time of this thread.

use nix::time::{ClockId, clock_gettime};
use stack::time::Duration;

/// Processor time that this thread has spent: what others spend on the same core meanwhile is not in it.
///
/// # Panics
/// The kernel has no such clock.
#[must_use]
pub fn spent() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock of this thread");
    std::time::Duration::from(now).into()
}

/// What a pair of readings takes by itself.
#[must_use]
pub fn reading() -> Duration {
    let mut taken: Vec<_> = (0..101)
        .map(|_| {
            let start = spent();
            spent().saturating_sub(start)
        })
        .collect();
    taken.sort_unstable();
    taken[taken.len() / 2]
}
