//! Rings between the workers of one program: what one core receives and another owns.
//!
//! Each pair of workers has a ring in each direction, with one producer and one consumer, so the order of a flow's
//! frames is kept. A ring is bounded: a core that falls behind loses frames under a name, and nobody waits for it.

use crate::app::CoreId;
use crate::port::Received;
use crossbeam::queue::ArrayQueue;
use stack::{Frame, PortId};
use std::sync::Arc;

/// Frames that a ring holds: a few bursts from each port of a core that was away for a while.
pub const RING_FRAMES: usize = 1024;

/// A received frame on its way to its owner.
#[derive(Debug)]
pub(crate) struct Handed<B> {
    pub(crate) port: PortId,
    pub(crate) received: Received<B>,
    /// Every core gets one, and another answers it.
    pub(crate) copy: bool,
}

/// What one worker sends another.
#[derive(Debug)]
struct Ring<B, W> {
    received: ArrayQueue<Handed<B>>,
    /// Frames to be sent by the other's queue of a device that has too few.
    sent: ArrayQueue<Frame<B>>,
    /// What the app tells.
    words: ArrayQueue<W>,
}

/// A worker's ends of all rings that it has.
#[derive(Debug)]
pub struct Siblings<B, W> {
    core: CoreId,
    /// By core; none to itself.
    to: Vec<Option<Arc<Ring<B, W>>>>,
    from: Vec<Option<Arc<Ring<B, W>>>>,
}

/// The rings between `workers` workers (1 to 256), each worker's ends in the order of [`CoreId`].
#[must_use]
pub fn siblings<B, W>(workers: usize) -> Vec<Siblings<B, W>> {
    siblings_with(workers, RING_FRAMES)
}

/// The same with rings for `frames` frames (at least 1) in each direction.
#[must_use]
pub fn siblings_with<B, W>(workers: usize, frames: usize) -> Vec<Siblings<B, W>> {
    let ring = |from, to| {
        (from != to).then(|| {
            Arc::new(Ring {
                received: ArrayQueue::new(frames.max(1)),
                sent: ArrayQueue::new(frames.max(1)),
                words: ArrayQueue::new(RING_FRAMES),
            })
        })
    };
    let all: Vec<Vec<_>> = (0..workers)
        .map(|from| (0..workers).map(|to| ring(from, to)).collect())
        .collect();
    let ends = (0..=u8::MAX).zip(&all).map(|(core, to)| Siblings {
        core: CoreId(core),
        to: to.clone(),
        from: all
            .iter()
            .filter_map(|to| to.get(usize::from(core)).cloned())
            .collect(),
    });
    ends.collect()
}

/// What became of a frame that was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandOver {
    Done,
    /// The ring is full.
    Full,
    /// There is no such core.
    NoCore,
}

impl<B, W: Copy> Siblings<B, W> {
    /// Workers in all.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.to.len()
    }

    /// The worker that these ends belong to.
    #[must_use]
    pub const fn core(&self) -> CoreId {
        self.core
    }

    fn ring_to(&self, core: CoreId) -> Option<&Ring<B, W>> {
        self.to.get(usize::from(core.0))?.as_deref()
    }

    /// All others.
    pub(crate) fn others(&self) -> impl Iterator<Item = CoreId> + use<B, W> {
        let own = self.core;
        (0..=u8::MAX)
            .take(self.to.len())
            .map(CoreId)
            .filter(move |core| *core != own)
    }

    /// Puts a received frame into the ring to `core`.
    pub(crate) fn hand_over(&self, core: CoreId, handed: Handed<B>) -> HandOver {
        let Some(ring) = self.ring_to(core) else {
            return HandOver::NoCore;
        };
        match ring.received.push(handed) {
            Ok(()) => HandOver::Done,
            Err(_) => HandOver::Full,
        }
    }

    /// Has `core` send a frame.
    pub(crate) fn send_by(&self, core: CoreId, frame: Frame<B>) -> HandOver {
        let Some(ring) = self.ring_to(core) else {
            return HandOver::NoCore;
        };
        match ring.sent.push(frame) {
            Ok(()) => HandOver::Done,
            Err(_) => HandOver::Full,
        }
    }

    /// Tells all others; how many rings had no room.
    pub(crate) fn tell(&self, word: W) -> u64 {
        let rings = self.to.iter().flatten();
        let full = rings.filter(|ring| ring.words.push(word).is_err());
        full.map(|_| 1).sum()
    }

    /// What others tell, at most `most` from each.
    pub(crate) fn told(&self, most: usize) -> impl Iterator<Item = (CoreId, W)> {
        let rings = (0..=u8::MAX).map(CoreId).zip(&self.from);
        let rings = rings.filter_map(|(core, ring)| Some((core, ring.as_deref()?)));
        rings.flat_map(move |(core, ring)| {
            core::iter::from_fn(|| ring.words.pop())
                .take(most)
                .map(move |word| (core, word))
        })
    }

    /// Received frames that others have put here, at most `most` from each.
    pub(crate) fn taken_over(&self, most: usize) -> impl Iterator<Item = Handed<B>> {
        let rings = self.from.iter().flatten();
        rings.flat_map(move |ring| core::iter::from_fn(|| ring.received.pop()).take(most))
    }

    /// Frames that others want sent, at most `most` from each.
    pub(crate) fn to_send(&self, most: usize) -> impl Iterator<Item = Frame<B>> {
        let rings = self.from.iter().flatten();
        rings.flat_map(move |ring| core::iter::from_fn(|| ring.sent.pop()).take(most))
    }
}
