//! Spans of time.

use core::ops::{Add, AddAssign, Div, Mul, Sub};

/// A span of time in whole nanoseconds, at most 584 years; what would be more is that.
///
/// As [`core::time::Duration`], which keeps seconds and nanoseconds apart: each sum of those is a comparison, each number of
/// microseconds a division, and a segment takes dozens of both.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

impl Duration {
    /// No time.
    pub const ZERO: Self = Self(0);
    /// The longest span.
    pub const MAX: Self = Self(u64::MAX);

    /// So many hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self::from_mins(hours.saturating_mul(60))
    }

    /// So many minutes.
    #[must_use]
    pub const fn from_mins(mins: u64) -> Self {
        Self(mins.saturating_mul(60 * SECOND))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(SECOND))
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(MILLI))
    }

    /// So many microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros.saturating_mul(MICRO))
    }

    /// So many nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / SECOND
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u128 {
        (self.0 / MILLI) as u128
    }

    /// Whole microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u128 {
        (self.0 / MICRO) as u128
    }

    /// Nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> u128 {
        self.0 as u128
    }

    pub(super) const fn nanos(self) -> u64 {
        self.0
    }

    /// Whether it is no time at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// What is left when `other` is taken away; zero if that is longer.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl AddAssign for Duration {
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl Sub for Duration {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        self.saturating_sub(rhs)
    }
}

impl Mul<u32> for Duration {
    type Output = Self;
    fn mul(self, rhs: u32) -> Self {
        Self(self.0.saturating_mul(rhs.into()))
    }
}

impl Mul<Duration> for u32 {
    type Output = Duration;
    fn mul(self, rhs: Duration) -> Duration {
        rhs * self
    }
}

impl Div<u32> for Duration {
    type Output = Self;
    fn div(self, rhs: u32) -> Self {
        Self(self.0 / u64::from(rhs))
    }
}

impl core::iter::Sum for Duration {
    fn sum<I: Iterator<Item = Self>>(spans: I) -> Self {
        spans.fold(Self::ZERO, Add::add)
    }
}

impl From<core::time::Duration> for Duration {
    fn from(value: core::time::Duration) -> Self {
        Self(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl From<Duration> for core::time::Duration {
    fn from(value: Duration) -> Self {
        Self::from_nanos(value.0)
    }
}

impl core::fmt::Debug for Duration {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::time::Duration::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Duration;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_what_the_standard_one_is(a in 0..1u64 << 62, b in 0..1u64 << 62, n in 1..4u32) {
            let (x, y) = (Duration::from_nanos(a), Duration::from_nanos(b));
            let (s, t) = (core::time::Duration::from_nanos(a), core::time::Duration::from_nanos(b));
            let same = |ours: Duration, std: core::time::Duration| ours.as_nanos() == std.as_nanos();
            prop_assert!(same(x + y, s + t) && same(x * n, s * n) && same(x / n, s / n));
            prop_assert!(same(x.saturating_sub(y), s.saturating_sub(t)));
            prop_assert_eq!((x.as_secs(), x.as_millis(), x.as_micros()), (s.as_secs(), s.as_millis(), s.as_micros()));
            prop_assert_eq!(x < y, s < t);
            prop_assert_eq!(format!("{x:?}"), format!("{s:?}"));
        }
    }

    #[test]
    fn what_is_too_long_is_the_longest() {
        let (most, none) = (Duration::MAX, Duration::ZERO);
        assert_eq!(Duration::from_secs(u64::MAX), most);
        assert_eq!((most + most, most * 2, none - most), (most, most, none));
    }
}
