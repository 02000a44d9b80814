//! How late frames left: counted in buckets a sixteenth wide, so that a percentile is right within 7 %.

use stack::time::Duration;

/// Buckets to the doubling.
const FINE: usize = 16;
/// Up to 2^40 ns, 18 minutes.
const BUCKETS: usize = FINE * 38;

/// Counted durations.
pub(crate) struct Histogram {
    buckets: [u64; BUCKETS],
    count: u64,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            count: 0,
            max: Duration::ZERO,
        }
    }
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&mut self, value: Duration) {
        let nanos = u64::try_from(value.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos).min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.max = self.max.max(value);
    }

    /// The largest.
    pub(crate) const fn max(&self) -> Duration {
        self.max
    }

    /// What `share` of a thousand do not exceed; rounded up to the bucket's end. Zero if nothing was counted.
    pub(crate) fn per_mille(&self, share: u64) -> Duration {
        let mut left = (self.count * share).div_ceil(1000);
        for (bucket, &count) in self.buckets.iter().enumerate() {
            if count >= left {
                return end(bucket).min(self.max);
            }
            left -= count;
        }
        self.max
    }
}

/// The bucket of a value: as it is below 16, then by its five leading bits.
fn bucket(nanos: u64) -> usize {
    let doublings = (nanos / FINE as u64)
        .checked_ilog2()
        .map_or(0, |n| n as usize + 1);
    if doublings == 0 {
        return nanos as usize;
    }
    let leading = (nanos >> (doublings - 1)) as usize - FINE;
    doublings * FINE + leading
}

/// The largest value of a bucket.
fn end(bucket: usize) -> Duration {
    let (doublings, leading) = (bucket / FINE, (bucket % FINE) as u64);
    let nanos = match doublings {
        0 => leading,
        _ => ((leading + FINE as u64 + 1) << (doublings - 1)) - 1,
    };
    Duration::from_nanos(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        let mut last = 0;
        for nanos in 0..100_000 {
            let here = bucket(nanos);
            assert!(here == last || here == last + 1, "{nanos}: {last}, {here}");
            assert!(end(here) >= Duration::from_nanos(nanos), "{nanos}");
            if here > last {
                assert_eq!(end(last), Duration::from_nanos(nanos - 1), "{nanos}");
            }
            last = here;
        }
    }

    #[test]
    fn percentiles_of_a_ramp() {
        let mut histogram = Histogram::default();
        for micros in 1..=1000 {
            histogram.record(Duration::from_micros(micros));
        }
        for share in [10, 500, 990, 999] {
            let got = histogram.per_mille(share).as_nanos();
            let exact = u128::from(share) * 1000;
            assert!(got >= exact && got <= exact * 107 / 100, "{share}: {got}");
        }
        assert_eq!(histogram.per_mille(1000), Duration::from_millis(1));
        assert_eq!(histogram.max(), Duration::from_millis(1));
    }

    #[test]
    fn nothing_counted_is_zero_and_the_longest_is_counted() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.per_mille(999), Duration::ZERO);
        histogram.record(Duration::MAX);
        assert_eq!(histogram.max(), Duration::MAX);
    }
}
