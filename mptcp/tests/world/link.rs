use stack::time::Duration;
use stack::{Instant, Rng};
use testbed::link::{Fate, Pipe, Shape};

/// One direction of a path.
#[derive(Clone, Debug)]
pub struct Link(Pipe);

impl Link {
    /// Without loss; `rate` in octets per second, 0 being without limit. What comes when `queue` octets wait is dropped.
    pub fn new(rate: u64, delay_ms: u64, queue: u64) -> Self {
        Self(Pipe::new(Shape {
            rate: rate * 8,
            queue: Some(queue),
            delay: Duration::from_millis(delay_ms),
            ..Shape::default()
        }))
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
        Self::pair(0, delay_ms, 0).map(|mut link| {
            link.0.shape.loss = loss * 100;
            link.0.shape.reorder = reorder * 100;
            link.0.shape.reorder_by = Duration::from_millis(delay_ms * 2);
            link
        })
    }

    /// The same, losing `loss` of 10,000 segments.
    pub fn with_loss(mut self, loss: u32) -> Self {
        self.0.shape.loss = loss * 100;
        self
    }

    /// The same, each segment up to so much later than the last; none overtakes another.
    pub fn with_jitter(mut self, jitter_ms: u64) -> Self {
        self.0.shape.jitter = Duration::from_millis(jitter_ms);
        self
    }

    /// Changes the rate, in octets per second; what has entered keeps its times.
    pub fn set_rate(&mut self, rate: u64) {
        self.0.shape.rate = rate * 8;
    }

    pub fn delay(&self) -> Duration {
        self.0.shape.delay
    }

    /// Whether nothing passes.
    pub fn set_down(&mut self, down: bool) {
        self.0.shape.down = down;
    }

    /// Octets that came out.
    pub fn carried(&self) -> u64 {
        self.0.counts.passed_octets
    }

    /// When a segment of `len` octets that enters now comes out; `None` if it is dropped.
    pub fn enter(&mut self, now: Instant, len: usize, rng: &mut Rng) -> Option<Instant> {
        match self.0.enter(now, len, rng) {
            Fate::Passes { at, .. } => Some(at),
            Fate::Dropped(_) => None,
        }
    }
}
