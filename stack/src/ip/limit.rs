//! How often we speak unasked: a token bucket (RFC 1812 4.3.2.8, RFC 4443 2.4 (f)).

use crate::time::Instant;

/// So many messages a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    per_second: u64,
    burst: u64,
    /// Billionths of a message.
    tokens: u64,
    last: Instant,
}

const WHOLE: u64 = 1_000_000_000;

impl TokenBucket {
    pub(super) const fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: per_second as u64,
            burst: burst as u64 * WHOLE,
            tokens: burst as u64 * WHOLE,
            last: Instant::ZERO,
        }
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let passed = u64::try_from(now.since(self.last).as_nanos()).unwrap_or(u64::MAX);
        self.last = self.last.max(now);
        let earned = passed.saturating_mul(self.per_second);
        self.tokens = self.tokens.saturating_add(earned).min(self.burst);
        let there = self.tokens >= WHOLE;
        if there {
            self.tokens -= WHOLE;
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::TokenBucket;
    use crate::time::Instant;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let mut bucket = TokenBucket::new(10, 3);
        let passed = |bucket: &mut TokenBucket, ms| {
            (0..10)
                .filter(|_| bucket.take(Instant::from_millis(ms)))
                .count()
        };
        assert_eq!(passed(&mut bucket, 0), 3);
        assert_eq!(passed(&mut bucket, 99), 0);
        assert_eq!(passed(&mut bucket, 100), 1);
        assert_eq!(passed(&mut bucket, 300), 2);
        assert_eq!(passed(&mut bucket, 100_000), 3);
    }
}
