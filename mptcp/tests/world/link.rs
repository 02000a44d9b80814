use stack::time::Duration;
use stack::{Instant, Rng};

/// One direction of a path.
#[derive(Clone, Debug)]
pub struct Link {
    /// Octets per second; 0 is without limit.
    pub rate: u64,
    pub delay: Duration,
    /// Octets that wait at most; what comes then is dropped.
    pub queue: u64,
    /// Segments lost, of 10,000.
    pub loss: u32,
    /// Segments delayed by up to `jitter` more, of 10,000.
    pub reorder: u32,
    pub jitter: Duration,
    /// Nothing passes.
    pub down: bool,
    busy_until: Instant,
    /// Octets that came out.
    pub passed: u64,
}

impl Link {
    pub fn new(rate: u64, delay_ms: u64, queue: u64) -> Self {
        Self {
            rate,
            delay: Duration::from_millis(delay_ms),
            queue,
            loss: 0,
            reorder: 0,
            jitter: Duration::ZERO,
            down: false,
            busy_until: Instant::ZERO,
            passed: 0,
        }
    }

    /// The same both ways.
    pub fn pair(rate: u64, delay_ms: u64, queue: u64) -> [Self; 2] {
        [
            Self::new(rate, delay_ms, queue),
            Self::new(rate, delay_ms, queue),
        ]
    }

    /// Loses `loss` and reorders `reorder` of 10,000 segments, both ways.
    pub fn bad_pair(delay_ms: u64, loss: u32, reorder: u32) -> [Self; 2] {
        Self::pair(0, delay_ms, 0).map(|link| Self {
            loss,
            reorder,
            jitter: Duration::from_millis(delay_ms * 2),
            ..link
        })
    }

    /// When a segment of `len` octets that enters now comes out; `None` if it is dropped.
    pub fn enter(&mut self, now: Instant, len: u64, rng: &mut Rng) -> Option<Instant> {
        let start = self.busy_until.max(now);
        let mut out = start;
        if self.rate > 0 {
            let waiting = start.since(now).as_nanos() * u128::from(self.rate) / 1_000_000_000;
            if waiting > u128::from(self.queue) {
                return None;
            }
            out = start + Duration::from_nanos(len * 1_000_000_000 / self.rate);
            self.busy_until = out;
        }
        if self.down || rng.below(10_000) < self.loss {
            return None;
        }
        let mut delay = self.delay;
        if rng.below(10_000) < self.reorder {
            delay += self.jitter * rng.below(1000) / 1000;
        }
        self.passed += len;
        Some(out + delay)
    }
}
