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
use stack::buf::{Chain, chain_len};
use stack::{Frame, PacketBuf, Slice};

/// Frames given to the device at once.
const TX_BURST: usize = 64;
/// How often a device that took nothing is asked again before the rest is dropped.
const RETRIES: u32 = 8;

/// The sending half of a port.
#[derive(Debug)]
pub(crate) struct Sender {
    port: u16,
    queue: u16,
    frames: Stash,
    /// Mbufs without memory of their own, if the device sends chains.
    links: Option<Stash>,
    abilities: Abilities,
    burst: Vec<*mut rte_mbuf>,
    /// How many frames each of `burst` is.
    frames_in: Vec<u64>,
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

// SAFETY: `burst` is empty between calls; the rest is Send.
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
            burst: Vec::with_capacity(TX_BURST),
            frames_in: Vec::with_capacity(TX_BURST),
        }
    }

    pub(crate) const fn sends_chains(&self) -> bool {
        self.links.is_some()
    }

    pub(crate) fn missing(&self) -> u32 {
        self.frames.missing() + self.links.as_ref().map_or(0, Stash::missing)
    }

    /// Sends all of `frames` in order and leaves it empty.
    ///
    /// They stay where they are until then: a copy of a header that was itself just written would be waited for.
    pub(crate) fn transmit(&mut self, frames: &mut Vec<Frame<Mbuf>>, counts: &mut PortStats) {
        let mut left = frames.as_mut_slice();
        while let Some(first) = left.first_mut() {
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
                    self.burst.push(mbuf.into_ptr());
                    self.frames_in.push(n as u64);
                },
                None => counts.tx_dropped += n as u64,
            }
            if self.burst.len() == TX_BURST {
                self.send(counts);
            }
            left = left.split_at_mut(n).1;
        }
        frames.clear();
        self.send(counts);
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
        let header = frame.header.bytes();
        let payload = match in_place(header, core::mem::take(&mut frame.payload)) {
            Ok(mbuf) => return Some(mbuf),
            Err(payload) => payload,
        };
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

    /// Gives the burst to the device. What it does not take after a few tries is dropped.
    fn send(&mut self, counts: &mut PortStats) {
        let mut left = self.burst.as_mut_slice();
        let mut retries = 0;
        while !left.is_empty() && retries < RETRIES {
            let octets = |mbufs: &[*mut rte_mbuf]| -> u64 {
                // SAFETY: those in `left` are ours: live until the device takes them.
                mbufs
                    .iter()
                    .map(|&mbuf| u64::from(unsafe { (*mbuf).pkt_len }))
                    .sum()
            };
            let offered = octets(left);
            let n = u16::try_from(left.len()).unwrap_or(u16::MAX);
            // SAFETY: a queue of the open port, used by this thread alone; n mbufs that we hand over, of which those
            // that it does not take stay ours.
            let taken =
                unsafe { dpdk_sys::braid_tx_burst(self.port, self.queue, left.as_mut_ptr(), n) };
            let taken = usize::from(taken).min(left.len());
            left = left.split_at_mut(taken).1;
            counts.tx_packets += self.frames_in.drain(..taken).sum::<u64>();
            counts.tx_bytes += offered - octets(left);
            retries += u32::from(taken == 0);
        }
        counts.tx_dropped += self.frames_in.drain(..).sum::<u64>();
        for &mut mbuf in left {
            // SAFETY: the device did not take it, so it is ours to free.
            unsafe { dpdk_sys::braid_free(mbuf) };
        }
        self.burst.clear();
    }
}

/// Writes `header` before the payload, where it lies, if it is a single slice, and nobody else refers to it or it is still to be lent.
fn in_place(header: &[u8], mut payload: Chain<Mbuf>) -> Result<RawMbuf, Chain<Mbuf>> {
    if payload.len() != 1 {
        return Err(payload);
    }
    let Some(slice) = payload.pop() else {
        return Err(payload);
    };
    let sum = slice.known_sum();
    let (buf, range) = slice.into_parts();
    let unused = match buf.into_sole() {
        Ok(mut mbuf) => {
            if mbuf.rewrite(header, &range) {
                return Ok(mbuf);
            }
            Mbuf::new(mbuf)
        },
        Err(shared) => match shared.lend(header, &range) {
            Ok(mbuf) => return Ok(mbuf),
            Err(shared) => shared,
        },
    };
    let mut slice = Slice::new(unused).slice(range);
    if let Some(sum) = sum {
        slice.set_sum(sum);
    }
    payload.push(slice);
    Err(payload)
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
