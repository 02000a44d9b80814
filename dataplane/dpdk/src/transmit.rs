//! From [`Frame`]s to what a device takes.
//!
//! A checksum that is left to the port is the device's business, if it can compute one; else it is computed here. Segments of a flow
//! that go out one after another are one frame to a device that cuts frames apart.
//!
//! Three ways, in this order: the header is written before the payload where that lies, if nobody else refers to it, or nobody
//! reads what was there and it is sent for the first time; a chain of a header mbuf and references to the payload, if the device
//! sends chains and the payload is in packet memory; else one mbuf that all is copied into.

use crate::mbuf::{Lengths, Mbuf, RawMbuf};
use crate::mempool::Stash;
use dataplane::PortStats;
use dataplane::headers::tcp_payload_in_header;
use dataplane::train::{self, Coupled};
use dpdk_sys::rte_mbuf;
use stack::buf::chain_len;
use stack::{Frame, PacketBuf, Slice};

/// Frames given to the device at once.
const TX_BURST: usize = 64;
/// Most frames that wait for the device, beyond those that its queue holds: as long as TCP takes to be told that it is full.
pub(crate) const WAITING_MAX: usize = 1024;

/// The sending half of a port.
#[derive(Debug)]
pub(crate) struct Sender {
    port: u16,
    queue: u16,
    frames: Stash,
    /// Mbufs without memory of their own, if the device sends chains.
    links: Option<Stash>,
    abilities: Abilities,
    /// What the device has not taken yet, oldest first.
    waiting: Vec<*mut rte_mbuf>,
    /// How many frames each of `waiting` is, and of how many octets.
    sizes: Vec<(u64, u64)>,
    /// Whether it did not take all when it was last asked: it is asked once a turn then, at its end.
    refuses: bool,
}

/// What a device does for who sends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    /// The longest chain of one segment.
    pub(crate) max_segments: usize,
    /// It computes TCP checksums that are left to it.
    pub(crate) sums: bool,
    /// The longest chain of a frame that it cuts into segments; 0 if it cuts none.
    pub(crate) cuts: usize,
    /// It cuts those of IPv6, too.
    pub(crate) cuts_ipv6: bool,
    /// It writes checksums of IPv4.
    pub(crate) sums_ip: bool,
}

// SAFETY: those in `waiting` are ours alone, and any thread may send or free them; the rest is Send.
unsafe impl Send for Sender {}

impl Sender {
    /// `links` are mbufs without memory of their own, if the device sends chains.
    pub(crate) fn new(
        (port, queue): (u16, u16),
        frames: Stash,
        links: Option<Stash>,
        abilities: Abilities,
    ) -> Self {
        Self {
            port,
            queue,
            frames,
            links,
            abilities,
            waiting: Vec::with_capacity(WAITING_MAX),
            sizes: Vec::with_capacity(WAITING_MAX),
            refuses: false,
        }
    }

    pub(crate) const fn sends_chains(&self) -> bool {
        self.links.is_some()
    }

    pub(crate) fn missing(&self) -> u32 {
        self.frames.missing() + self.links.as_ref().map_or(0, Stash::missing)
    }

    /// How many frames, or trains of them, the device has not taken yet.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Sends `frames` behind what waits, in order and by the next [`flush`](Self::flush). What is more than may wait is dropped.
    ///
    /// They are built where they lie, after the last of them was written: a header that was itself just written would be waited for.
    pub(crate) fn give(&mut self, frames: &mut [Frame<Mbuf>], counts: &mut PortStats) {
        let mut left = frames;
        while let Some(first) = left.first_mut() {
            if self.waiting.len() == WAITING_MAX {
                self.send(counts);
                if self.waiting.len() == WAITING_MAX {
                    break;
                }
            }
            counts.copied_in_stack += tcp_payload_in_header(first.header.bytes()) as u64;
            let (n, built) = match self.train(left) {
                Some((train, n)) => {
                    let built = self.build_train(&train, left.get(..n).unwrap_or(&[]));
                    counts.tx_trains += u64::from(built.is_some());
                    (n, built)
                },
                None => (
                    1,
                    left.first_mut().and_then(|first| self.build(first, counts)),
                ),
            };
            match built {
                Some(mbuf) => {
                    self.sizes.push((n as u64, mbuf.len() as u64));
                    self.waiting.push(mbuf.into_ptr());
                },
                None => counts.tx_dropped += n as u64,
            }
            left = left.split_at_mut(n).1;
            if !self.refuses && self.waiting.len() >= TX_BURST {
                self.send(counts);
            }
        }
        counts.tx_dropped += left.len() as u64;
    }

    /// Sends what was given and waits, as far as the device takes it.
    pub(crate) fn flush(&mut self, counts: &mut PortStats) {
        if !self.waiting.is_empty() {
            self.send(counts);
        }
    }

    /// What the device gets as one, and how many of `frames` that is.
    fn train(&self, frames: &[Frame<Mbuf>]) -> Option<(Coupled, usize)> {
        if self.abilities.cuts == 0 {
            return None;
        }
        let frames = frames.get(..train::len(frames, self.abilities.cuts))?;
        let mut slices = frames.iter().flat_map(|frame| &frame.payload);
        if frames.len() < 2 || slices.any(|slice| slice.buffer().is_ordinary()) {
            return None;
        }
        let train = train::coupled(frames)?;
        (self.abilities.cuts_ipv6 || !train.is_ipv6).then_some((train, frames.len()))
    }

    /// All of `frames` as one that the device cuts.
    fn build_train(&mut self, train: &Coupled, frames: &[Frame<Mbuf>]) -> Option<RawMbuf> {
        let mut first = self.frames.take()?;
        first.append([train.header.bytes()]).then_some(())?;
        let payload = frames.iter().flat_map(|frame| &frame.payload);
        let mut whole = chain(first, self.links.as_mut()?, payload)?;
        let lengths = Lengths::of(train.partial, train.header.bytes(), &[]);
        let told = (lengths, train.segment);
        let cut = whole.ask_cut((self.port, self.queue), told, self.abilities.sums_ip);
        cut.then_some(whole)
    }

    fn build(&mut self, frame: &mut Frame<Mbuf>, counts: &mut PortStats) -> Option<RawMbuf> {
        let Some(partial) = frame.partial else {
            return self.assemble(frame, true, counts);
        };
        // What is on its way through has its TCP header in the payload, where it is changed only in one piece.
        let own = frame.header.len() > usize::from(partial.l4);
        if self.abilities.sums {
            let payload = frame.payload.first().map_or(&[][..], Slice::bytes);
            let lengths = Lengths::of(partial, frame.header.bytes(), payload);
            let mut mbuf = self.assemble(frame, own, counts)?;
            mbuf.ask_checksum(lengths);
            return Some(mbuf);
        }
        let (field, checksum) = frame.checksum()?;
        counts.summed_at_port += chain_len(&frame.payload) as u64;
        if let Some(place) = frame.header.bytes_mut().get_mut(field.clone()) {
            place.copy_from_slice(&checksum);
            return self.assemble(frame, true, counts);
        }
        let mut mbuf = self.assemble(frame, own, counts)?;
        mbuf.overwrite(field.start, checksum).then_some(mbuf)
    }

    /// The frame as the device takes it, in one piece unless it `may_chain`. Takes its payload.
    fn assemble(
        &mut self,
        frame: &mut Frame<Mbuf>,
        may_chain: bool,
        counts: &mut PortStats,
    ) -> Option<RawMbuf> {
        if let Some(mbuf) = in_place(frame) {
            return Some(mbuf);
        }
        let (header, payload) = (frame.header.bytes(), core::mem::take(&mut frame.payload));
        let mut first = self.frames.take()?;
        first.append([header]).then_some(())?;
        let mut buffers = payload.iter().map(Slice::buffer);
        let fits = may_chain && payload.len() < self.abilities.max_segments;
        let chained = fits && !buffers.any(Mbuf::is_ordinary);
        if let Some(links) = self.links.as_mut().filter(|_| chained) {
            return chain(first, links, &payload);
        }
        counts.copied_at_port += chain_len(&payload) as u64;
        let whole = first.append(payload.iter().map(Slice::bytes));
        whole.then_some(first)
    }

    /// Gives what waits to the device.
    fn send(&mut self, counts: &mut PortStats) {
        let n = u16::try_from(self.waiting.len()).unwrap_or(u16::MAX);
        // SAFETY: a queue of the open port, used by this thread alone; n mbufs that we hand over, of which those that it does not
        // take stay ours.
        let taken = unsafe {
            dpdk_sys::braid_tx_burst(self.port, self.queue, self.waiting.as_mut_ptr(), n)
        };
        let taken = usize::from(taken).min(self.waiting.len());
        self.waiting.drain(..taken);
        for (frames, octets) in self.sizes.drain(..taken) {
            counts.tx_packets += frames;
            counts.tx_bytes += octets;
        }
        self.refuses = !self.waiting.is_empty();
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        for mbuf in self.waiting.drain(..) {
            // SAFETY: the device did not take it, so it is ours to free.
            unsafe { dpdk_sys::braid_free(mbuf) };
        }
    }
}

/// The frame with its header written before its payload, where that lies, if it is a single slice, and nobody else refers to it
/// or it has room of its own. Takes the payload then.
fn in_place(frame: &mut Frame<Mbuf>) -> Option<RawMbuf> {
    if frame.payload.len() != 1 {
        return None;
    }
    let header = frame.header.bytes();
    let slice = frame.payload.pop()?;
    let (sum, room) = (slice.known_sum(), slice.has_room());
    let (buf, range) = slice.into_parts();
    let unused = match buf.into_sole() {
        Ok(mut mbuf) => {
            if mbuf.rewrite(header, &range) {
                return Some(mbuf);
            }
            Mbuf::new(mbuf)
        },
        Err(shared) if room => match shared.lend(header, &range) {
            Ok(mbuf) => return Some(mbuf),
            Err(shared) => shared,
        },
        Err(shared) => shared,
    };
    let mut slice = Slice::new(unused).narrow(range);
    if let Some(sum) = sum {
        slice.set_sum(sum);
    }
    frame.payload.push(slice);
    None
}

/// Links references to `payload` behind the header.
fn chain<'a>(
    mut first: RawMbuf,
    links: &mut Stash,
    payload: impl IntoIterator<Item = &'a Slice<Mbuf>>,
) -> Option<RawMbuf> {
    let mut tail = first.as_ptr();
    for slice in payload.into_iter().filter(|slice| !slice.is_empty()) {
        let mut link = links.take()?;
        let start = slice.bytes().as_ptr().addr() - slice.buffer().bytes().as_ptr().addr();
        slice
            .buffer()
            .attach(&mut link, &(start..start + slice.len()));
        // SAFETY: tail is the last segment of first's chain: first itself, or what was linked last.
        tail = unsafe { first.link(tail, link) };
    }
    Some(first)
}
