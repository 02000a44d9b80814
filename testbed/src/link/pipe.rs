//! What becomes of a frame that enters one direction of a link.

use super::MILLION;
use stack::time::Duration;
use stack::{Instant, Rng};
use std::collections::VecDeque;

const NANOS: u128 = 1_000_000_000;

/// What one direction of a link is like. The default is a perfect wire: no delay, no limit, nothing lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Bits per second of the frames' octets; 0 is without limit.
    pub rate: u64,
    /// Octets of frames that wait at most for those before them to be sent; a frame for which there is no room is
    /// dropped. The frame that is being sent does not wait, so 0 is a link without a queue. `None` is without limit.
    pub queue: Option<u64>,
    /// How long a frame travels once it was sent.
    pub delay: Duration,
    /// How much longer it may travel, evenly distributed from zero to this. Order is kept all the same.
    pub jitter: Duration,
    /// Frames lost, of [a million](MILLION).
    pub loss: u32,
    /// Frames held back, of a million, so that others overtake them.
    pub reorder: u32,
    /// How long such a frame is held back, evenly distributed from zero to this.
    pub reorder_by: Duration,
    /// Frames that come twice, of a million; the second right after the first.
    pub duplicate: u32,
    /// Whether nothing passes at all.
    pub down: bool,
}

/// What a pipe has counted. Octets are those of whole frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that entered.
    pub entered: u64,
    /// Frames that come out, copies included.
    pub passed: u64,
    /// Octets that come out, copies included.
    pub passed_octets: u64,
    /// Frames dropped because the queue was full.
    pub full: u64,
    /// Frames lost at random.
    pub lost: u64,
    /// Frames that came while the link was down.
    pub down: u64,
    /// Frames held back.
    pub reordered: u64,
    /// Frames that come twice.
    pub duplicated: u64,
    /// Octets that ever waited at once, at most.
    pub queue_max: u64,
}

/// Why a frame does not come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The queue was full.
    Full,
    /// It was lost at random.
    Lost,
    /// The link is down.
    Down,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It comes out at `at`, and again at `copy` if that is said.
    Passes {
        /// When it comes out.
        at: Instant,
        /// When its copy comes out, if it has one.
        copy: Option<Instant>,
    },
    /// It does not come out.
    Dropped(Refusal),
}

/// One direction of a link. It holds no frames: their owner does, and gives each entering frame's length.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// What it is like; may change at any time, for frames that enter later.
    pub shape: Shape,
    /// What it counted so far.
    pub counts: Counts,
    /// When all that entered has been sent.
    busy_until: Instant,
    /// What sending has taken beyond `busy_until`: nanoseconds times the rate, below one nanosecond. Without it a rate
    /// that does not divide evenly would drift.
    owed: u128,
    /// When the sending of each waiting frame begins, and its length.
    waiting: VecDeque<(Instant, u64)>,
    /// Octets in `waiting`.
    waiting_octets: u64,
    /// When the last frame comes out that was not held back: none after it comes out earlier.
    last_out: Instant,
}

impl Pipe {
    /// An idle pipe of `shape`.
    #[must_use]
    pub const fn new(shape: Shape) -> Self {
        Self {
            shape,
            counts: Counts {
                entered: 0,
                passed: 0,
                passed_octets: 0,
                full: 0,
                lost: 0,
                down: 0,
                reordered: 0,
                duplicated: 0,
                queue_max: 0,
            },
            busy_until: Instant::ZERO,
            owed: 0,
            waiting: VecDeque::new(),
            waiting_octets: 0,
            last_out: Instant::ZERO,
        }
    }

    /// What becomes of a frame of `len` octets that enters `now`, which never goes back.
    ///
    /// Every frame draws the same five numbers, whatever the shape and its fate: so with the same seed the same frames
    /// are lost however fast the link is.
    pub fn enter(&mut self, now: Instant, len: usize, rng: &mut Rng) -> Fate {
        let shape = self.shape;
        let jitter = part(shape.jitter, rng);
        let lost = rng.below(MILLION) < shape.loss;
        let reordered = rng.below(MILLION) < shape.reorder;
        let held = part(shape.reorder_by, rng);
        let duplicated = rng.below(MILLION) < shape.duplicate;
        let len = len as u64;
        self.counts.entered += 1;
        if shape.down {
            self.counts.down += 1;
            return Fate::Dropped(Refusal::Down);
        }
        let Some(sent) = self.send(now, len) else {
            self.counts.full += 1;
            return Fate::Dropped(Refusal::Full);
        };
        if lost {
            self.counts.lost += 1;
            return Fate::Dropped(Refusal::Lost);
        }
        let mut at = (sent + shape.delay + jitter).max(self.last_out);
        if reordered {
            self.counts.reordered += 1;
            at = at + held;
        } else {
            self.last_out = at;
        }
        let copies = 1 + u64::from(duplicated);
        self.counts.duplicated += u64::from(duplicated);
        self.counts.passed += copies;
        self.counts.passed_octets += copies * len;
        Fate::Passes {
            at,
            copy: duplicated.then_some(at),
        }
    }

    /// When the last bit of a frame that enters now has been sent; `None` if the queue has no room for it.
    fn send(&mut self, now: Instant, len: u64) -> Option<Instant> {
        let shape = self.shape;
        if shape.rate == 0 {
            return Some(now.max(self.busy_until));
        }
        while let Some(&(start, octets)) = self.waiting.front()
            && start <= now
        {
            self.waiting.pop_front();
            self.waiting_octets -= octets;
        }
        if self.busy_until <= now {
            self.busy_until = now;
            self.owed = 0;
        } else {
            let would_wait = self.waiting_octets + len;
            if shape.queue.is_some_and(|queue| would_wait > queue) {
                return None;
            }
            self.waiting.push_back((self.busy_until, len));
            self.waiting_octets = would_wait;
            self.counts.queue_max = self.counts.queue_max.max(would_wait);
        }
        let rate = u128::from(shape.rate);
        // A change of the rate may leave more than a nanosecond of the new one: it is paid with the next frame.
        let work = u128::from(len) * 8 * NANOS + self.owed;
        let nanos = u64::try_from(work / rate).unwrap_or(u64::MAX);
        self.owed = work % rate;
        self.busy_until = self.busy_until + Duration::from_nanos(nanos);
        Some(self.busy_until)
    }
}

/// An evenly drawn part of `whole`, from zero to all of it.
fn part(whole: Duration, rng: &mut Rng) -> Duration {
    let drawn = u128::from(rng.u32());
    let nanos = whole.as_nanos() * drawn / u128::from(u32::MAX);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
