//! Time as an argument: a monotonic instant that only the worker reads from a clock.

mod duration;

use core::ops::{Add, Sub};
pub use duration::Duration;

/// Nanoseconds since an arbitrary start (the process's, or zero in virtual time). Wraps after 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The start of time.
    pub const ZERO: Self = Self(0);

    /// The instant `nanos` nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The instant `millis` milliseconds after the start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the start: the unit of our TCP timestamp clock (RFC 7323 5.4).
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The end of time: the deadline of what is not waited for.
    pub const NEVER: Self = Self(u64::MAX);

    /// The earlier of this and a deadline, if there is that.
    #[must_use]
    #[inline]
    pub fn before(self, deadline: Option<Self>) -> Self {
        self.min(deadline.unwrap_or(Self::NEVER))
    }

    /// This, unless it is [`NEVER`](Self::NEVER).
    #[must_use]
    #[inline]
    pub fn or_never(self) -> Option<Self> {
        (self != Self::NEVER).then_some(self)
    }

    /// Time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs.nanos()))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs.nanos()))
    }
}

/// An [`Instant`] that is kept for long, in half the room: to within 64 ms, rounded up. It takes those of the first eight
/// years, and later ones as the last of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Coarse(u32);

/// One unit of [`Coarse`], ns.
const COARSE: u64 = 64_000_000;

impl From<Instant> for Coarse {
    fn from(at: Instant) -> Self {
        Self(u32::try_from(at.0.div_ceil(COARSE)).unwrap_or(u32::MAX))
    }
}

impl From<Coarse> for Instant {
    fn from(at: Coarse) -> Self {
        Self(u64::from(at.0) * COARSE)
    }
}

/// The earlier of two optional deadlines.
#[must_use]
pub fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, None) => a,
        (None, b) => b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_instant_is_never_earlier_and_hardly_later() {
        let years = |n: u64| n * 365 * 86_400 * 1_000;
        for ms in [0, 1, 63, 64, 65, 10_000, 86_400_001, years(8)] {
            let at = Instant::from_millis(ms) + Duration::from_nanos(1);
            let kept = Instant::from(Coarse::from(at));
            assert!(
                kept >= at && kept.since(at) < Duration::from_millis(64),
                "{ms} ms"
            );
        }
        assert!(
            Coarse::from(Instant::from_millis(years(100)))
                > Coarse::from(Instant::from_millis(years(8)))
        );
    }
}
