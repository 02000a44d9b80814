//! A port that replays: pre-built frames in buffers like a network card's, and the server's end of each flow.
//!
//! A buffer has a struct of its own with the count of its holders, which the port writes when it receives the frame, as a driver
//! does, and the octets of its headers lie elsewhere. Nobody reads payload whose checksum the port has verified, so that of a
//! frame is whatever lies behind its headers: the headers of the next ones. So a second's frames fit into memory.

use crate::relays::SEGMENT;
use core::ops::Range;
use dataplane::memory::{MemBuf, linear};
use dataplane::{BURST, BufferUse, Port, PortInfo, PortStats, Received, RxChecksum};
use stack::{Frame, PacketBuf, Slice, prefetch};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use testbed::scene;

/// Segments of a subflow that come in at once.
pub(super) const PIECE: usize = 4;
/// Segments of a flow that may be on their way.
const WINDOW: u32 = 32;
/// The client's port of the first flow.
pub(super) const FIRST_PORT: u16 = 10_000;
/// From the headers of one frame to those of the next.
const STRIDE: usize = 128;

/// What a driver keeps of a buffer: a cache line of its own.
#[repr(align(64))]
#[derive(Debug, Default)]
struct Descriptor {
    holders: AtomicU32,
    octets: Range<usize>,
}

/// The frames of a subflow, in order.
#[derive(Debug, Default)]
pub struct Reel {
    octets: Vec<u8>,
    buffers: Vec<Descriptor>,
}

impl Reel {
    pub(super) fn of(frames: impl Iterator<Item = Vec<u8>>) -> Self {
        let mut reel = Self::default();
        for frame in frames {
            let start = reel.octets.len();
            let headers = frame.len() - SEGMENT;
            assert!(headers <= STRIDE, "headers fit");
            reel.octets.extend_from_slice(&frame[..headers]);
            reel.octets.resize(start + STRIDE, 0);
            reel.buffers.push(Descriptor {
                holders: AtomicU32::new(0),
                octets: start..start + frame.len(),
            });
        }
        reel.octets.extend_from_slice(&[0; STRIDE + SEGMENT]);
        reel
    }
}

/// Where the frames of all subflows stay while workers hold references to them.
pub type Reels = [OnceLock<Reel>];

/// A buffer of a [`Replay`].
#[derive(Debug)]
pub(super) enum Buffer<'a> {
    /// Of what is not replayed.
    Ordinary(Box<MemBuf>),
    /// A frame of a reel.
    Replayed(&'a Reel, u32),
}

impl<'a> Buffer<'a> {
    fn descriptor(reel: &'a Reel, at: u32) -> &'a Descriptor {
        &reel.buffers[at as usize]
    }

    /// As a driver gives a frame away.
    fn received(reel: &'a Reel, at: usize) -> Self {
        reel.buffers[at].holders.store(1, Ordering::Relaxed);
        Self::Replayed(reel, at as u32)
    }
}

impl PacketBuf for Buffer<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Ordinary(buffer) => buffer.bytes(),
            Self::Replayed(reel, at) => &reel.octets[Self::descriptor(reel, *at).octets.clone()],
        }
    }

    fn fetch(&self) {
        if let Self::Replayed(reel, at) = self {
            prefetch(Self::descriptor(reel, *at));
        }
    }
}

// Counted as mbufs are: atomically where there are several holders.
impl Clone for Buffer<'_> {
    fn clone(&self) -> Self {
        match self {
            Self::Ordinary(buffer) => Self::Ordinary(buffer.clone()),
            Self::Replayed(reel, at) => {
                let holders = &Self::descriptor(reel, *at).holders;
                if holders.load(Ordering::Relaxed) == 1 {
                    holders.store(2, Ordering::Relaxed);
                } else {
                    holders.fetch_add(1, Ordering::Relaxed);
                }
                Self::Replayed(reel, *at)
            },
        }
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        if let Self::Replayed(reel, at) = self {
            let holders = &Self::descriptor(reel, *at).holders;
            if holders.load(Ordering::Acquire) != 1 {
                holders.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// How far a flow has come: segments that the server has received. Apart from others', as cores share cache lines.
#[repr(align(128))]
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU32);

/// A subflow's frames.
pub(super) struct Lane<'a> {
    reel: &'a Reel,
    next: usize,
    /// Segments of the flow that went before the next piece of this subflow, other subflows' included.
    before: u32,
    progress: Arc<Progress>,
    /// What was read there: read again only where that is not enough, as another core may write it.
    reached: u32,
}

impl<'a> Lane<'a> {
    pub(super) fn new(reel: &'a Reel, before: u32, progress: &Arc<Progress>) -> Self {
        Self {
            reel,
            next: 0,
            before,
            progress: Arc::clone(progress),
            reached: 0,
        }
    }

    /// The next piece.
    fn advance(&mut self) -> Range<usize> {
        let piece = self.next..self.next + PIECE;
        (self.next, self.before) = (piece.end, self.before + 2 * PIECE as u32);
        // A device writes frames to where a driver finds them in its cache.
        for buffer in self.reel.buffers.iter().skip(piece.end).take(PIECE) {
            prefetch(buffer);
            let start = buffer.octets.start;
            prefetch(&self.reel.octets[start..start + STRIDE]);
        }
        piece
    }

    fn may_go_on(&mut self) -> bool {
        let wanted = self.before + PIECE as u32;
        if self.next >= self.reel.buffers.len() {
            return false;
        }
        if wanted > self.reached + WINDOW {
            self.reached = self.progress.0.load(Ordering::Acquire);
        }
        wanted <= self.reached + WINDOW
    }
}

/// The server's end of a flow.
pub(super) struct Server {
    pub(super) acknowledgment: Vec<u8>,
    /// The sequence number of the first octet.
    pub(super) first: u32,
    /// Octets that came, and that will have come in the end.
    pub(super) received: u32,
    pub(super) wanted: u32,
    pub(super) progress: Arc<Progress>,
    /// An acknowledgment is owed.
    pub(super) owes: bool,
}

/// A port of one worker.
pub(super) struct Replay<'a> {
    info: PortInfo,
    stats: PortStats,
    /// While connections are set up: what comes in, and what has left.
    pub(super) injected: VecDeque<MemBuf>,
    pub(super) captured: Option<Vec<Frame<MemBuf>>>,
    pub(super) lanes: Vec<Lane<'a>>,
    turn: usize,
    /// By the client's port; only those of flows that this worker owns.
    pub(super) servers: Vec<Option<Server>>,
    owing: Vec<usize>,
    /// Flows that are not through yet, of all workers.
    left: Arc<AtomicUsize>,
}

impl<'a> Replay<'a> {
    pub(super) fn new(port: usize, left: &Arc<AtomicUsize>) -> Self {
        let number = u8::try_from(port).unwrap_or(0);
        Self {
            info: PortInfo {
                name: format!("port{port}"),
                device: "memory".into(),
                mac: scene::port_mac(number),
                mtu: 1500,
                sums: false,
            },
            stats: PortStats::default(),
            injected: VecDeque::new(),
            captured: Some(Vec::new()),
            lanes: Vec::new(),
            turn: 0,
            servers: Vec::new(),
            owing: Vec::new(),
            left: Arc::clone(left),
        }
    }

    fn push(&mut self, into: &mut Vec<Received<Buffer<'a>>>, frame: Buffer<'a>) {
        self.stats.rx_packets += 1;
        into.push(Received {
            frame: Slice::new(frame),
            checksum: RxChecksum::Good,
        });
    }

    /// The next pieces of subflows whose flow is not too far ahead of its server.
    fn replay(&mut self, into: &mut Vec<Received<Buffer<'a>>>) {
        for _ in 0..self.lanes.len() {
            if into.len() + PIECE > BURST {
                return;
            }
            self.turn = (self.turn + 1) % self.lanes.len();
            let Some(lane) = self.lanes.get_mut(self.turn) else {
                return;
            };
            if !lane.may_go_on() {
                continue;
            }
            let reel = lane.reel;
            for at in lane.advance() {
                self.push(into, Buffer::received(reel, at));
            }
        }
    }

    fn acknowledge(&mut self, into: &mut Vec<Received<Buffer<'a>>>) {
        while into.len() < BURST
            && let Some(at) = self.owing.pop()
        {
            if let Some(Some(server)) = self.servers.get_mut(at) {
                server.owes = false;
                let segments = server.received / SEGMENT as u32;
                server.progress.0.store(segments, Ordering::Release);
                let frame = MemBuf::from(server.acknowledgment.clone());
                self.push(into, Buffer::Ordinary(Box::new(frame)));
            }
        }
    }

    /// The server takes a segment in.
    fn serve(&mut self, frame: &Frame<Buffer<'a>>) {
        let header = frame.header.bytes();
        let len = stack::buf::chain_len(&frame.payload);
        let (Some(port), Some(seq)) = (header.get(34..36), header.get(38..42)) else {
            return;
        };
        let port = u16::from_be_bytes([port[0], port[1]]);
        let Some(at) = port.checked_sub(FIRST_PORT).map(usize::from) else {
            return;
        };
        let Some(Some(server)) = self.servers.get_mut(at).filter(|_| len > 0) else {
            return;
        };
        let seq = u32::from_be_bytes([seq[0], seq[1], seq[2], seq[3]]);
        let end = seq.wrapping_add(u32::try_from(len).unwrap_or(0));
        server.acknowledgment[42..46].copy_from_slice(&end.to_be_bytes());
        // The box may send the end of one segment with the beginning of the next.
        let received = end.wrapping_sub(server.first).max(server.received);
        let done = received == server.wanted && server.received < received;
        server.received = received;
        if done {
            self.left.fetch_sub(1, Ordering::AcqRel);
        }
        if !server.owes {
            server.owes = true;
            self.owing.push(at);
        }
    }
}

impl<'a> Port for Replay<'a> {
    type Buf = Buffer<'a>;

    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, into: &mut Vec<Received<Buffer<'a>>>) {
        while let Some(frame) = self.injected.pop_front() {
            self.stats.rx_packets += 1;
            into.push(Received {
                frame: Slice::new(Buffer::Ordinary(Box::new(frame))),
                checksum: RxChecksum::Unknown,
            });
        }
        self.acknowledge(into);
        self.replay(into);
    }

    fn give(&mut self, frames: &mut [Frame<Buffer<'a>>]) {
        self.stats.tx_packets += frames.len() as u64;
        if let Some(captured) = &mut self.captured {
            captured.extend(frames.iter().map(|frame| {
                Frame::new(
                    frame.port,
                    stack::Header::default(),
                    [Slice::new(MemBuf::from(linear(frame)))]
                        .into_iter()
                        .collect(),
                )
            }));
            return;
        }
        for frame in frames {
            self.serve(frame);
        }
    }

    fn stats(&self) -> PortStats {
        self.stats
    }

    fn buffers(&self) -> BufferUse {
        BufferUse::default()
    }
}
