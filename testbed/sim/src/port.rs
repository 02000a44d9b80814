//! A device in memory that can do to a box what devices do: have no buffer, take fewer frames than it is given, verify
//! checksums or leave that to others, compute them, cut what leaves and put together what arrives. It counts its buffers, so that
//! one that is never given back is seen.

use crate::offload::{self, Offloads};
use crate::packet;
use crate::seed::Draw;
use dataplane::headers::tcp_payload_in_header;
use dataplane::memory::{MemBuf, linear};
use dataplane::{BURST, BufferUse, Port, PortInfo, PortStats, Received, RxChecksum, train};
use stack::ip::{Sight, sight};
use stack::time::Duration;
use stack::{Frame, Instant, PacketBuf, Rng, Slice, rss};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

/// Most frames of a worker that wait for the device to take them.
const WAITING: usize = 100;
/// Frames that wait to be fetched before the device drops.
const RING: usize = 1024;

/// A received frame in a buffer of a pool; the buffer is free again once the last reference is gone.
#[derive(Clone)]
pub struct SimBuf(Rc<Held>);

struct Held {
    frame: MemBuf,
    /// The pool's count of buffers that are used; none in ordinary memory.
    used: Option<Rc<Cell<u32>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(used) = &self.used {
            used.set(used.get() - 1);
        }
    }
}

impl PacketBuf for SimBuf {
    fn bytes(&self) -> &[u8] {
        self.0.frame.bytes()
    }

    fn out_of_pool(&self, range: Range<usize>) -> Option<Self> {
        if self.0.used.is_none() || Rc::strong_count(&self.0) != 1 {
            return None;
        }
        let frame = self.bytes().get(range)?.to_vec().into();
        Some(Self(Rc::new(Held { frame, used: None })))
    }

    fn rewritten(mut self, at: usize, octets: [u8; 2]) -> Option<Self> {
        let held = Rc::get_mut(&mut self.0)?;
        let frame = std::mem::replace(&mut held.frame, Vec::new().into());
        held.frame = frame.rewritten(at, octets)?;
        Some(self)
    }
}

/// What a device does about the checksums of what it receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// It verifies them.
    Verifies,
    /// It hands over what a neighbor on the same machine leaves unfinished.
    Shares,
    /// Nothing.
    Leaves,
}

/// What is wrong with a device for some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// There is no buffer to receive into.
    NoBuffer,
    /// Of the frames that it is given at once it takes but the first few, in so many percent of all cases.
    TakesFewer(u32),
    /// The same, and the rest waits in the port, as far as there is room.
    MakesWait(u32),
    /// It gives frames to any queue, whatever flow they are of, in so many percent of all cases.
    Missteers(u32),
}

/// Trouble from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// What it is.
    pub trouble: Trouble,
    /// When it begins.
    pub from: Instant,
    /// How long it lasts.
    pub lasts: Duration,
}

/// What the network sees of a device: the rings, and its state.
pub struct Ring {
    now: Instant,
    /// Each worker's.
    rx: Vec<VecDeque<Vec<u8>>>,
    /// Whether flows are spread over the queues by their hash, as a network card does; all is in the first one else.
    spreads: bool,
    /// What was to be sent, and whether the device took it.
    tx: Vec<(Vec<u8>, bool)>,
    stats: PortStats,
    spells: Vec<Spell>,
    rng: Rng,
    checksums: Checksums,
    offloads: Offloads,
    /// Frames that were put together, and what came of them, which nobody has looked at.
    joined: [u64; 2],
    parts: Vec<Vec<u8>>,
    pool: u32,
    used: Rc<Cell<u32>>,
}

impl Ring {
    fn in_trouble(&self, wanted: fn(Trouble) -> Option<u32>) -> Option<u32> {
        let now = |spell: &&Spell| spell.from <= self.now && self.now < spell.from + spell.lasts;
        self.spells
            .iter()
            .filter(now)
            .find_map(|spell| wanted(spell.trouble))
    }

    fn has_buffers(&self) -> bool {
        let none = |trouble| (trouble == Trouble::NoBuffer).then_some(0);
        self.in_trouble(none).is_none() && self.used.get() < self.pool
    }

    /// `frame` in a buffer of its own.
    fn received(&mut self, frame: Vec<u8>, checksum: RxChecksum) -> Received<SimBuf> {
        self.stats.rx_packets += 1;
        self.stats.rx_bytes += frame.len() as u64;
        self.used.set(self.used.get() + 1);
        let held = Held {
            frame: frame.into(),
            used: Some(Rc::clone(&self.used)),
        };
        Received {
            frame: Slice::new(SimBuf(Rc::new(held))),
            checksum,
        }
    }

    /// Puts `first` and what waits behind it together, and that into as many buffers as it takes: whether it did.
    fn receive_joined(
        &mut self,
        queue: usize,
        first: &[u8],
        into: &mut Vec<Received<SimBuf>>,
    ) -> bool {
        let Some(room) = self.offloads.joins else {
            return false;
        };
        let (len, whole) = offload::joined(first, &self.rx[queue]);
        let Some(parts) = offload::in_buffers(&whole, room).filter(|_| len > 0) else {
            return false;
        };
        self.rx[queue].drain(..len);
        let free = self.pool.saturating_sub(self.used.get()) as usize;
        if !self.has_buffers() || free < parts.len() {
            self.stats.rx_nobuf += 1 + len as u64;
            return true;
        }
        self.joined[0] += 1 + len as u64;
        self.joined[1] += parts.len() as u64;
        for part in parts {
            self.parts.push(part.clone());
            into.push(self.received(part, RxChecksum::Partial));
        }
        true
    }

    /// The queue for a frame.
    fn queue_of(&mut self, frame: &[u8]) -> usize {
        let queues = u16::try_from(self.rx.len()).unwrap_or(1);
        if queues == 1 {
            return 0;
        }
        let missteers = self.in_trouble(|trouble| match trouble {
            Trouble::Missteers(percent) => Some(percent),
            _ => None,
        });
        if let Some(percent) = missteers
            && self.rng.percent(percent)
        {
            return self.rng.below(queues.into()) as usize;
        }
        match sight(frame) {
            Sight::Flow(seen) if self.spreads => rss::queue(rss::hash(&seen.tuple), queues).into(),
            _ => 0,
        }
    }
}

/// The device as the network holds it.
#[derive(Clone)]
pub struct Far(Rc<RefCell<Ring>>);

impl Far {
    /// Frames arrive: those for which the ring has no room are lost.
    pub fn put(&self, frame: Vec<u8>) {
        let mut ring = self.0.borrow_mut();
        let queue = ring.queue_of(&frame);
        if ring.rx[queue].len() < RING {
            ring.rx[queue].push_back(frame);
        } else {
            ring.stats.rx_missed += 1;
        }
    }

    /// Takes what was to be sent, each frame with whether the device took it.
    #[must_use]
    pub fn take(&self) -> Vec<(Vec<u8>, bool)> {
        std::mem::take(&mut self.0.borrow_mut().tx)
    }

    /// Tells it the time, before the box is polled.
    pub fn at(&self, now: Instant) {
        self.0.borrow_mut().now = now;
    }

    /// Whether frames wait to be fetched.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.0.borrow().rx.iter().any(|queue| !queue.is_empty())
    }

    /// Adds trouble.
    pub fn trouble(&self, spell: Spell) {
        self.0.borrow_mut().spells.push(spell);
    }

    /// What it counted.
    #[must_use]
    pub fn stats(&self) -> PortStats {
        self.0.borrow().stats
    }

    /// Frames that it put together, and into how many buffers each with headers of its own.
    #[must_use]
    pub fn joined(&self) -> [u64; 2] {
        self.0.borrow().joined
    }

    /// Takes what came of frames that were put together.
    #[must_use]
    pub fn take_parts(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.0.borrow_mut().parts)
    }

    /// Buffers that somebody still refers to.
    #[must_use]
    pub fn buffers(&self) -> u32 {
        self.0.borrow().used.get()
    }
}

/// The device as a worker of the box holds it: with a queue of its own.
pub struct SimPort {
    info: PortInfo,
    queue: usize,
    ring: Rc<RefCell<Ring>>,
    /// What the device has not taken yet.
    waiting: Vec<Waiting>,
}

/// A frame that was given to the port.
struct Waiting {
    frame: Vec<u8>,
    /// There was no room for it to wait. Whoever looks at what was to be sent sees it behind those that waited before it.
    lost: bool,
}

impl Waiting {
    const fn given(frame: Vec<u8>) -> Self {
        let lost = false;
        Self { frame, lost }
    }
}

impl SimPort {
    /// A device with `pool` buffers, which does about `checksums` what it does, and the `offloads`, as each of `workers` workers
    /// holds it; whether it `spreads` flows over their queues.
    #[must_use]
    pub fn new(
        info: &PortInfo,
        pool: u32,
        (checksums, offloads): (Checksums, Offloads),
        (workers, spreads): (u8, bool),
        rng: Rng,
    ) -> (Vec<Self>, Far) {
        let ring = Rc::new(RefCell::new(Ring {
            now: Instant::ZERO,
            rx: vec![VecDeque::new(); workers.into()],
            spreads,
            tx: Vec::new(),
            stats: PortStats::default(),
            spells: Vec::new(),
            rng,
            checksums,
            offloads,
            joined: [0; 2],
            parts: Vec::new(),
            pool,
            used: Rc::default(),
        }));
        let held = (0..workers.into()).map(|queue| Self {
            info: info.clone(),
            queue,
            ring: Rc::clone(&ring),
            waiting: Vec::new(),
        });
        (held.collect(), Far(Rc::clone(&ring)))
    }
}

impl Port for SimPort {
    type Buf = SimBuf;

    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, into: &mut Vec<Received<SimBuf>>) {
        let mut ring = self.ring.borrow_mut();
        for _ in 0..BURST {
            let Some(frame) = ring.rx[self.queue].pop_front() else {
                return;
            };
            if ring.receive_joined(self.queue, &frame, into) {
                continue;
            }
            if !ring.has_buffers() {
                ring.stats.rx_nobuf += 1;
                continue;
            }
            let intact = packet::is_intact(&frame);
            let (frame, checksum) = match (ring.checksums, intact) {
                (Checksums::Verifies, Some(true)) => (frame, RxChecksum::Good),
                (Checksums::Verifies, Some(false)) => (frame, RxChecksum::Bad),
                (Checksums::Shares, Some(true)) => (
                    packet::unfinished(&frame).unwrap_or(frame),
                    RxChecksum::Partial,
                ),
                _ => (frame, RxChecksum::Unknown),
            };
            into.push(ring.received(frame, checksum));
        }
    }

    fn give(&mut self, frames: &mut [Frame<SimBuf>]) {
        let mut ring = self.ring.borrow_mut();
        let mut n = 0;
        while n < frames.len() {
            let cuts = ring.offloads.cuts;
            let len = if cuts > 0 {
                train::len(&frames[n..], cuts)
            } else {
                1
            };
            let of = &frames[n..n + len];
            for frame in of {
                let copied = tcp_payload_in_header(frame.header.bytes()) as u64;
                ring.stats.copied_in_stack += copied;
            }
            let whole = if len > 1 { train::coupled(of) } else { None };
            ring.stats.tx_trains += u64::from(whole.is_some());
            match whole {
                Some(whole) => {
                    let parts = offload::cut_up(&whole, of).into_iter();
                    self.waiting.extend(parts.map(Waiting::given));
                },
                None => self
                    .waiting
                    .extend(of.iter().map(linear).map(Waiting::given)),
            }
            n += len;
        }
    }

    fn flush(&mut self) {
        let mut ring = self.ring.borrow_mut();
        let all = std::mem::take(&mut self.waiting);
        if all.is_empty() {
            return;
        }
        let drops = ring.in_trouble(|trouble| match trouble {
            Trouble::TakesFewer(percent) => Some(percent),
            _ => None,
        });
        let waits = ring.in_trouble(|trouble| match trouble {
            Trouble::MakesWait(percent) => Some(percent),
            _ => None,
        });
        let mut taken = all.len();
        if let Some(percent) = drops.or(waits)
            && ring.rng.percent(percent)
        {
            taken = ring.rng.below(u32::try_from(taken).unwrap_or(u32::MAX)) as usize;
        }
        for (at, Waiting { frame, lost }) in all.into_iter().enumerate() {
            if at < taken {
                if !lost {
                    ring.stats.tx_packets += 1;
                    ring.stats.tx_bytes += frame.len() as u64;
                }
                ring.tx.push((frame, !lost));
                continue;
            }
            let full = waits.is_none() || self.waiting() >= WAITING;
            ring.stats.tx_dropped += u64::from(full && !lost);
            let lost = full || lost;
            if lost && self.waiting.is_empty() {
                ring.tx.push((frame, false));
            } else {
                self.waiting.push(Waiting { frame, lost });
            }
        }
    }

    fn waiting(&self) -> usize {
        self.waiting.iter().filter(|frame| !frame.lost).count()
    }

    fn stats(&self) -> PortStats {
        self.ring.borrow().stats
    }

    fn buffers(&self) -> BufferUse {
        let ring = self.ring.borrow();
        BufferUse {
            used: ring.used.get(),
            size: ring.pool,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::{Header, PortId};

    /// Of seed 7491: what there was no room for was seen before what waited before it, and looked like a gap in a flow.
    #[test]
    fn what_was_to_be_sent_is_seen_in_its_order_whether_it_waited_or_was_lost() {
        let checks = (Checksums::Leaves, Offloads::default());
        let info = PortInfo::default();
        let (mut ports, far) = SimPort::new(&info, 16, checks, (1, false), Rng::from_u64(7));
        far.trouble(Spell {
            trouble: Trouble::MakesWait(100),
            from: Instant::ZERO,
            lasts: Duration::from_secs(1),
        });
        let numbers = 0..3 * WAITING as u32;
        let frame = |number: u32| {
            let mut header = Header::default();
            header.push(&number.to_be_bytes());
            Frame::new(PortId(0), header, stack::buf::Chain::new())
        };
        let mut frames: Vec<_> = numbers.clone().map(frame).collect();
        let port = &mut ports[0];
        port.give(&mut frames);
        port.flush();
        assert!((1..=WAITING).contains(&port.waiting()));
        far.at(Instant::from_millis(1_000));
        port.flush();
        let seen = far.take();
        let lost = seen.iter().filter(|(_, taken)| !taken).count() as u64;
        assert!(lost > 0 && lost == far.stats().tx_dropped);
        let of = |(frame, _): &(Vec<u8>, bool)| {
            u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]])
        };
        assert!(seen.iter().map(of).eq(numbers));
    }
}
