//! Rings between the workers of one program: what one core receives and another owns.
//!
//! Each pair of workers has a ring in each direction, with one producer and one consumer, so the order of a flow's
//! frames is kept. A ring is bounded: a core that falls behind loses frames under a name, and nobody waits for it.
//!
//! A cache line that two cores write costs each of them more than a frame's own work. So what is put into a ring in a row is
//! shown at once, by one store, and taken out at once; and either end keeps what it knows of the other's place, and looks again
//! only where that is not enough.

use crate::app::CoreId;
use crate::port::Received;
use rtrb::{Consumer, Producer, RingBuffer};
use stack::buf::append;
use stack::{Frame, PacketBuf, PortId};

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

/// The end of a ring that much is put into in a row.
#[derive(Debug)]
struct Inlet<T> {
    ring: Producer<T>,
    /// What was put there and not shown yet.
    waiting: Vec<T>,
}

impl<T> Inlet<T> {
    const fn new(ring: Producer<T>) -> Self {
        let waiting = Vec::new();
        Self { ring, waiting }
    }

    /// Shows what waits to the other end, as far as there is room; how many, and what there was no room for.
    fn show(&mut self) -> (u64, impl Iterator<Item = T>) {
        let wanted = self.waiting.len();
        let count = match self.ring.cached_slots() {
            room if room < wanted => self.ring.slots().min(wanted),
            _ => wanted,
        };
        let mut waiting = self.waiting.drain(..);
        if let Ok(chunk) = self.ring.write_chunk_uninit(count) {
            chunk.fill_from_iter(waiting.by_ref());
        }
        (u64::try_from(count).unwrap_or(0), waiting)
    }
}

/// Takes out at most `most`.
fn take<T>(ring: &mut Consumer<T>, most: usize) -> impl Iterator<Item = T> {
    let there = ring.slots().min(most);
    // Where there is nothing, nothing is written for the other end to see.
    let chunk = (there > 0).then(|| ring.read_chunk(there).ok());
    chunk.flatten().into_iter().flatten()
}

/// A worker's ends of the rings to another.
#[derive(Debug)]
struct Outbound<B, W> {
    received: Inlet<Handed<B>>,
    /// Frames to be sent by the other's queue of a device that has too few.
    sent: Inlet<Frame<B>>,
    /// What the app tells.
    words: Producer<W>,
}

/// The same of those from another.
#[derive(Debug)]
struct Inbound<B, W> {
    received: Consumer<Handed<B>>,
    sent: Consumer<Frame<B>>,
    words: Consumer<W>,
}

/// A worker's ends of all rings that it has.
#[derive(Debug)]
pub struct Siblings<B, W> {
    core: CoreId,
    /// By core; none to itself.
    to: Vec<Option<Outbound<B, W>>>,
    from: Vec<Option<Inbound<B, W>>>,
}

/// The rings between `workers` workers (1 to 256), each worker's ends in the order of [`CoreId`].
#[must_use]
pub fn siblings<B, W>(workers: usize) -> Vec<Siblings<B, W>> {
    siblings_with(workers, RING_FRAMES)
}

/// The same with rings for `frames` frames (at least 1) in each direction.
#[must_use]
pub fn siblings_with<B, W>(workers: usize, frames: usize) -> Vec<Siblings<B, W>> {
    let cores = (0..=u8::MAX).take(workers);
    let ends = cores.map(|core| Siblings {
        core: CoreId(core),
        to: Vec::new(),
        from: Vec::new(),
    });
    let mut all: Vec<_> = ends.collect();
    for from in 0..all.len() {
        for to in 0..all.len() {
            let (begin, end) = (from != to).then(|| ring(frames.max(1))).unzip();
            all[from].to.push(begin);
            all[to].from.push(end);
        }
    }
    all
}

/// Both ends of what leads from one worker to another.
fn ring<B, W>(frames: usize) -> (Outbound<B, W>, Inbound<B, W>) {
    let (received, taken) = RingBuffer::new(frames);
    let (sent, to_send) = RingBuffer::new(frames);
    let (words, told) = RingBuffer::new(RING_FRAMES);
    let to = Outbound {
        received: Inlet::new(received),
        sent: Inlet::new(sent),
        words,
    };
    let from = Inbound {
        received: taken,
        sent: to_send,
        words: told,
    };
    (to, from)
}

/// What became of what was shown to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown {
    /// It is in its ring.
    pub(crate) done: u64,
    /// Received frames for whose ring was full.
    pub(crate) full: u64,
    /// The same of what was no received frame on its way to its owner.
    pub(crate) missed: u64,
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

    fn to(&mut self, core: CoreId) -> Option<&mut Outbound<B, W>> {
        self.to.get_mut(usize::from(core.0))?.as_mut()
    }

    /// All others.
    pub(crate) fn others(&self) -> impl Iterator<Item = CoreId> + use<B, W> {
        let own = self.core;
        (0..=u8::MAX)
            .take(self.to.len())
            .map(CoreId)
            .filter(move |core| *core != own)
    }

    /// Puts what `port` received into the ring to `core`, its owner, which sees it once it is [shown](Self::show_received); whether
    /// there is such a core.
    #[inline]
    pub(crate) fn hand_over(&mut self, core: CoreId, port: PortId, received: Received<B>) -> bool {
        self.put(core, port, received, false)
    }

    /// The same of what every core gets, and another answers.
    pub(crate) fn hand_copy(&mut self, core: CoreId, port: PortId, received: Received<B>) -> bool {
        self.put(core, port, received, true)
    }

    #[inline]
    fn put(&mut self, core: CoreId, port: PortId, received: Received<B>, copy: bool) -> bool {
        let Some(to) = self.to(core) else {
            return false;
        };
        append(&mut to.received.waiting, || Handed {
            port,
            received,
            copy,
        });
        true
    }

    /// Shows the others what was handed over.
    pub(crate) fn show_received(&mut self) -> Shown {
        let mut shown = Shown::default();
        for to in self.to.iter_mut().flatten() {
            if to.received.waiting.is_empty() {
                continue;
            }
            let (done, rest) = to.received.show();
            shown.done += done;
            for handed in rest {
                shown.full += u64::from(!handed.copy);
                shown.missed += u64::from(handed.copy);
            }
        }
        shown
    }

    /// Has `core` send `frames` once they are [shown](Self::show_sent); whether there is such a core.
    pub(crate) fn send_by(&mut self, core: CoreId, frames: &mut [Frame<B>]) -> bool
    where
        B: PacketBuf,
    {
        let frames = frames.iter_mut().map(Frame::take);
        let to = self.to(core);
        to.map(|to| to.sent.waiting.extend(frames)).is_some()
    }

    /// Shows the others what they are to send.
    pub(crate) fn show_sent(&mut self) -> Shown {
        let mut shown = Shown::default();
        for to in self.to.iter_mut().flatten() {
            if to.sent.waiting.is_empty() {
                continue;
            }
            let (done, rest) = to.sent.show();
            shown.done += done;
            shown.missed += u64::try_from(rest.count()).unwrap_or(0);
        }
        shown
    }

    /// Tells all others; how many rings had no room.
    pub(crate) fn tell(&mut self, word: W) -> u64 {
        let rings = self.to.iter_mut().flatten();
        let full = rings.filter_map(|to| to.words.push(word).err());
        full.map(|_| 1).sum()
    }

    /// What others tell, at most `most` from each.
    pub(crate) fn told(&mut self, most: usize) -> impl Iterator<Item = (CoreId, W)> {
        let rings = (0..=u8::MAX).map(CoreId).zip(&mut self.from);
        let rings = rings.filter_map(|(core, from)| Some((core, from.as_mut()?)));
        rings
            .flat_map(move |(core, from)| take(&mut from.words, most).map(move |word| (core, word)))
    }

    /// Received frames that others have put here, at most `most` from each.
    pub(crate) fn taken_over(&mut self, most: usize) -> impl Iterator<Item = Handed<B>> {
        let rings = self.from.iter_mut().flatten();
        rings.flat_map(move |from| take(&mut from.received, most))
    }

    /// Frames that others want sent, at most `most` from each.
    pub(crate) fn outgoing(&mut self, most: usize) -> impl Iterator<Item = Frame<B>> {
        let rings = self.from.iter_mut().flatten();
        rings.flat_map(move |from| take(&mut from.sent, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemBuf;
    use stack::{RxChecksum, Slice};
    use std::thread;

    type Ends = Siblings<MemBuf, u32>;

    fn received(number: u32) -> Received<MemBuf> {
        Received {
            frame: Slice::new(MemBuf::from(number.to_be_bytes().to_vec())),
            checksum: RxChecksum::Good,
        }
    }

    fn put(ends: &mut Ends, number: u32, copy: bool) -> bool {
        ends.put(CoreId(1), PortId(0), received(number), copy)
    }

    fn number(handed: &Handed<MemBuf>) -> u32 {
        let octets = handed.received.frame.bytes().try_into();
        u32::from_be_bytes(octets.expect("four octets"))
    }

    fn two(frames: usize) -> [Ends; 2] {
        let both = siblings_with(2, frames).try_into();
        both.expect("there are two")
    }

    #[test]
    fn what_does_not_fit_is_counted_by_what_it_was() {
        let [mut one, mut other] = two(3);
        for (number, copy) in [
            (0, false),
            (1, true),
            (2, false),
            (3, true),
            (4, false),
            (5, false),
        ] {
            assert!(put(&mut one, number, copy));
        }
        assert_eq!(other.taken_over(9).count(), 0, "nothing is shown yet");
        let shown = Shown {
            done: 3,
            full: 2,
            missed: 1,
        };
        assert_eq!(one.show_received(), shown);
        assert_eq!(one.show_received(), Shown::default());
        let taken: Vec<_> = other.taken_over(2).map(|handed| number(&handed)).collect();
        assert_eq!(taken, [0, 1]);
        // There is room again for as many as were taken, though not in a row.
        for number in 6..9 {
            assert!(put(&mut one, number, false));
        }
        let shown = one.show_received();
        assert_eq!((shown.done, shown.full), (2, 1));
        let taken: Vec<_> = other.taken_over(9).map(|handed| number(&handed)).collect();
        assert_eq!(taken, [2, 6, 7]);
        for core in [0, 2] {
            assert!(!one.hand_over(CoreId(core), PortId(0), received(0)));
        }
    }

    #[test]
    fn two_threads_keep_the_order_and_lose_nothing_that_is_not_counted() {
        const FRAMES: u32 = 100_000;
        let [mut one, mut other] = two(64);
        let sender = thread::spawn(move || {
            let mut lost = 0;
            for burst in 0..FRAMES / 20 {
                for number in burst * 20..burst * 20 + 20 {
                    assert!(put(&mut one, number, false));
                }
                lost += one.show_received().full;
            }
            assert_eq!(one.tell(7), 0);
            lost
        });
        let (mut taken, mut last) = (0, None);
        loop {
            let over = other.told(1).count() > 0;
            loop {
                let before = taken;
                for handed in other.taken_over(32) {
                    let number = number(&handed);
                    assert!(last < Some(number), "{number} after {last:?}");
                    (taken, last) = (taken + 1, Some(number));
                }
                if taken == before {
                    break;
                }
            }
            if over {
                break;
            }
        }
        let lost = sender.join().expect("it does not fail");
        assert_eq!(taken + lost, u64::from(FRAMES));
    }
}
