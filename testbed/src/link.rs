//! A link model without clock, thread or socket: a frame and the time go in, the frame comes out when it is due.
//!
//! [`Pipe`] is one direction: it says what becomes of a frame of some length. [`Link`] is a pipe with randomness of its
//! own and the frames under way. The emulator process runs two of them between two interfaces, simulations as many as
//! they have links; one seed replays all that a link does.
//!
//! What happens to a frame, in this order: it waits in the queue, or is dropped at its tail ([`Shape::queue`]); it is
//! sent at the link's rate ([`Shape::rate`]); it may be lost, which took its time on the line nevertheless
//! ([`Shape::loss`]); it travels ([`Shape::delay`], [`Shape::jitter`]), or is held back for others to overtake
//! ([`Shape::reorder`]); and it may come twice ([`Shape::duplicate`]).

mod pipe;

#[cfg(test)]
mod tests;

pub use pipe::{Counts, Fate, Pipe, Refusal, Shape};

use stack::{Instant, Rng};
use std::collections::BTreeMap;

/// What a share of all frames is counted in: [`Shape::loss`] of 10,000 loses one frame in a hundred.
pub const MILLION: u32 = 1_000_000;

/// One direction of a link and the frames on it. `F` is whatever the owner calls a frame.
#[derive(Clone, Debug)]
pub struct Link<F> {
    pipe: Pipe,
    rng: Rng,
    /// By the time they are due, then by the order in which they came.
    under_way: BTreeMap<(Instant, u64), F>,
    order: u64,
}

impl<F: Clone> Link<F> {
    /// An empty link of `shape`; `seed` decides every loss, jitter, overtaking and copy.
    #[must_use]
    pub fn new(shape: Shape, seed: u64) -> Self {
        Self {
            pipe: Pipe::new(shape),
            rng: Rng::from_u64(seed),
            under_way: BTreeMap::new(),
            order: 0,
        }
    }

    /// Puts a frame of `len` octets on the link, and says what becomes of it. `now` never goes back.
    pub fn put(&mut self, now: Instant, len: usize, frame: F) -> Fate {
        let fate = self.pipe.enter(now, len, &mut self.rng);
        if let Fate::Passes { at, copy } = fate {
            if let Some(copy_at) = copy {
                self.keep(copy_at, frame.clone());
            }
            self.keep(at, frame);
        }
        fate
    }

    fn keep(&mut self, at: Instant, frame: F) {
        self.under_way.insert((at, self.order), frame);
        self.order += 1;
    }

    /// When the next frame is due; `None` if none is under way.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.under_way.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Takes the next frame that is due by `now`, and when it was due. Call until `None`.
    pub fn take(&mut self, now: Instant) -> Option<(Instant, F)> {
        let first = self.under_way.first_entry()?;
        let (at, _) = *first.key();
        (at <= now).then(|| (at, first.remove()))
    }

    /// How many frames are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// What it counted so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.pipe.counts
    }

    /// Changes what the link is like, for frames that come from now on.
    pub const fn reshape(&mut self, shape: Shape) {
        self.pipe.shape = shape;
    }
}
