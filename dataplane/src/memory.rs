//! A port in memory: for tests, benchmarks and whole networks in virtual time.
//!
//! A received buffer is memory of its own. A port's far end is either another port ([`MemPort::pair`]) or a test that
//! holds the wire ([`MemPort::with_wire`]) and sees each [`Frame`] as the app built it: what is header, what is reference.

use crate::headers::tcp_payload_in_header;
use crate::port::{BURST, BufferUse, Port, PortInfo, PortStats, Received};
use core::ops::Range;
use crossbeam::channel::{Receiver, Sender, bounded};
use stack::buf::{HEADER_MAX, RxChecksum};
use stack::prefetch::{prefetch_to_read, prefetch_to_write};
use stack::{Frame, PacketBuf, Slice};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use triomphe::ThinArc;

/// Frames that a wire holds in each direction before it drops.
pub const WIRE_FRAMES: usize = 16_384;

/// A received buffer in ordinary memory: one pointer, as a device's is. Its count of references lies straight before its octets,
/// as a device's buffers have theirs beside them: who has fetched the headers has fetched it.
#[derive(Clone, Debug)]
pub struct MemBuf(ThinArc<Option<Loan>, u8>);

impl MemBuf {
    fn new(octets: &[u8], loan: Option<Loan>) -> Self {
        Self(ThinArc::from_header_and_slice(loan, octets))
    }

    /// Whether it is of a pool.
    fn is_lent(&self) -> bool {
        self.0.header.header.is_some()
    }
}

impl PacketBuf for MemBuf {
    fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    fn out_of_pool(&self, range: Range<usize>) -> Option<Self> {
        // What a pool lends leaves it; memory of its own that nobody else holds is free as soon.
        let alone = !self.is_lent() && ThinArc::strong_count(&self.0) == 1;
        let octets = self.bytes().get(range).filter(|_| !alone)?;
        Some(Self::new(octets, None))
    }

    fn fetch_headers(&self) {
        prefetch_to_read(self.0.as_ptr().cast(), BEFORE + HEADER_MAX);
    }

    fn fetch(&self) {
        prefetch_to_write(self.0.as_ptr().cast(), BEFORE);
    }

    fn rewritten(mut self, at: usize, octets: [u8; 2]) -> Option<Self> {
        if self.is_lent() {
            return None;
        }
        self.0.with_arc_mut(|whole| {
            let own = triomphe::Arc::get_mut(whole)?.slice_mut();
            *own.get_mut(at..)?.first_chunk_mut()? = octets;
            Some(())
        })?;
        Some(self)
    }
}

/// Octets before those of a buffer: the count of references, the pool that it is of, and their number.
const BEFORE: usize = 3 * size_of::<usize>();

/// The buffers that a port receives into; without a size there are as many as it takes.
#[derive(Debug, Default)]
struct Pool {
    size: AtomicU32,
    lent: AtomicU32,
}

/// A buffer's absence from its pool, which is free again once the last reference is gone.
#[derive(Debug)]
struct Loan(Arc<Pool>);

impl Pool {
    /// The frame in a buffer of the pool, if it has one left.
    fn lend(self: &Arc<Self>, frame: MemBuf) -> Option<MemBuf> {
        let size = self.size.load(Ordering::Relaxed);
        if size == 0 {
            return Some(frame);
        }
        if self.lent.load(Ordering::Relaxed) >= size {
            return None;
        }
        self.lent.fetch_add(1, Ordering::Relaxed);
        let loan = Loan(Arc::clone(self));
        Some(MemBuf::new(frame.bytes(), Some(loan)))
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.0.lent.fetch_sub(1, Ordering::Relaxed);
    }
}

impl From<Vec<u8>> for MemBuf {
    fn from(octets: Vec<u8>) -> Self {
        Self::new(&octets, None)
    }
}

/// All octets of `frame` in one piece, as they would stand on the wire.
#[must_use]
pub fn linear<B: PacketBuf>(frame: &Frame<B>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(frame.len());
    bytes.extend_from_slice(frame.header.bytes());
    for slice in &frame.payload {
        bytes.extend_from_slice(slice.bytes());
    }
    if let Some((field, checksum)) = frame.checksum() {
        bytes[field].copy_from_slice(&checksum);
    }
    bytes
}

/// Where a [`MemPort`] sends.
enum Far {
    /// To a test, as the app built them.
    Wire(Sender<Frame<MemBuf>>),
    /// To another port, in one piece.
    Port(Sender<(MemBuf, RxChecksum)>),
}

/// One end of a link in memory.
pub struct MemPort {
    info: PortInfo,
    stats: PortStats,
    incoming: Receiver<(MemBuf, RxChecksum)>,
    far: Far,
    buffers: Arc<AtomicU64>,
    pool: Arc<Pool>,
}

/// A test's hold of the far end of a [`MemPort`].
pub struct MemWire {
    to_port: Sender<(MemBuf, RxChecksum)>,
    from_port: Receiver<Frame<MemBuf>>,
    buffers: Arc<AtomicU64>,
    pool: Arc<Pool>,
}

impl MemPort {
    /// A port and the wire that it hangs on.
    #[must_use]
    pub fn with_wire(info: PortInfo) -> (Self, MemWire) {
        let (to_port, incoming) = bounded(WIRE_FRAMES);
        let (outgoing, from_port) = bounded(WIRE_FRAMES);
        let port = Self::new(info, incoming, Far::Wire(outgoing));
        let wire = MemWire {
            to_port,
            from_port,
            buffers: Arc::clone(&port.buffers),
            pool: Arc::clone(&port.pool),
        };
        (port, wire)
    }

    /// Two ports, each the other's far end; a frame is there at once, its checksums not yet verified.
    #[must_use]
    pub fn pair(a: PortInfo, b: PortInfo) -> (Self, Self) {
        let (to_a, in_a) = bounded(WIRE_FRAMES);
        let (to_b, in_b) = bounded(WIRE_FRAMES);
        (
            Self::new(a, in_a, Far::Port(to_b)),
            Self::new(b, in_b, Far::Port(to_a)),
        )
    }

    fn new(info: PortInfo, incoming: Receiver<(MemBuf, RxChecksum)>, far: Far) -> Self {
        Self {
            info,
            stats: PortStats::default(),
            incoming,
            far,
            buffers: Arc::default(),
            pool: Arc::default(),
        }
    }

    /// Octets of TCP payload that were sent out of a header instead of by reference: 0 unless somebody copied.
    #[must_use]
    pub const fn copied_in_stack(&self) -> u64 {
        self.stats.copied_in_stack
    }
}

impl Port for MemPort {
    type Buf = MemBuf;

    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, into: &mut Vec<Received<MemBuf>>) {
        for (buf, checksum) in self.incoming.try_iter().take(BURST) {
            let Some(buf) = self.pool.lend(buf) else {
                self.stats.rx_nobuf += 1;
                continue;
            };
            let frame = Slice::new(buf);
            self.stats.rx_packets += 1;
            self.stats.rx_bytes += octets(frame.len());
            into.push(Received { frame, checksum });
        }
    }

    fn give(&mut self, frames: &mut [Frame<MemBuf>]) {
        for frame in frames.iter_mut().map(Frame::take) {
            let len = octets(frame.len());
            self.stats.copied_in_stack += octets(tcp_payload_in_header(frame.header.bytes()));
            let taken = match &self.far {
                Far::Wire(wire) => wire.try_send(frame).is_ok(),
                Far::Port(port) => {
                    let whole = linear(&frame).into();
                    port.try_send((whole, RxChecksum::Unknown)).is_ok()
                },
            };
            if taken {
                self.stats.tx_packets += 1;
                self.stats.tx_bytes += len;
            } else {
                self.stats.tx_dropped += 1;
            }
        }
    }

    fn stats(&self) -> PortStats {
        self.stats
    }

    fn buffers(&self) -> BufferUse {
        let size = self.pool.size.load(Ordering::Relaxed);
        if size > 0 {
            let used = self.pool.lent.load(Ordering::Relaxed);
            return BufferUse { used, size };
        }
        let both = self.buffers.load(Ordering::Relaxed).to_be_bytes();
        let [a, b, c, d, e, f, g, h] = both;
        BufferUse {
            used: u32::from_be_bytes([a, b, c, d]),
            size: u32::from_be_bytes([e, f, g, h]),
        }
    }
}

impl MemWire {
    /// Puts a frame on the wire towards the port, its checksums not yet verified; `false` if the wire is full or the
    /// port is gone.
    pub fn put(&self, frame: impl Into<MemBuf>) -> bool {
        self.put_verified(frame, RxChecksum::Unknown)
    }

    /// As [`put`](Self::put), with what the device says of the frame's checksums.
    pub fn put_verified(&self, frame: impl Into<MemBuf>, checksum: RxChecksum) -> bool {
        self.to_port.try_send((frame.into(), checksum)).is_ok()
    }

    /// Makes the port report `buffers` from now on, as a device with a pool of that size would; it reports none before.
    pub fn report_buffers(&self, buffers: BufferUse) {
        let both = u64::from(buffers.used) << 32 | u64::from(buffers.size);
        self.buffers.store(both, Ordering::Relaxed);
    }

    /// Gives the port a pool of `size` buffers to receive into from now on: a frame for which there is none left is lost, and
    /// counts as `rx_nobuf`.
    pub fn limit_buffers(&self, size: u32) {
        self.pool.size.store(size, Ordering::Relaxed);
    }

    /// The oldest frame that the port has sent and nobody has taken.
    #[must_use]
    pub fn take(&self) -> Option<Frame<MemBuf>> {
        self.from_port.try_recv().ok()
    }
}

fn octets(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{frame, port_info};

    #[test]
    fn frames_cross_a_pair_whole_and_both_ends_count() {
        let (mut a, mut b) = MemPort::pair(port_info("a"), port_info("b"));
        let received = Received {
            frame: Slice::new(MemBuf::from(b"xpayload".to_vec())).slice(1..8),
            checksum: RxChecksum::Good,
        };
        let mut frames = vec![frame(0, b"header,", Some(received))];
        a.transmit(&mut frames);
        assert!(frames.is_empty());
        let mut into = Vec::new();
        b.receive(&mut into);
        assert_eq!(into[0].frame.bytes(), b"header,payload");
        assert_eq!(into[0].checksum, RxChecksum::Unknown);
        let (sent, got) = (a.stats(), b.stats());
        assert_eq!((sent.tx_packets, sent.tx_bytes), (1, 14));
        assert_eq!((got.rx_packets, got.rx_bytes), (1, 14));
    }

    #[test]
    fn a_full_wire_drops_and_counts() {
        let (mut port, wire) = MemPort::with_wire(port_info("a"));
        let mut frames = vec![frame(0, b"x", None); WIRE_FRAMES + 3];
        port.transmit(&mut frames);
        let stats = port.stats();
        assert_eq!(stats.tx_dropped, 3);
        assert_eq!(stats.tx_packets, u64::try_from(WIRE_FRAMES).unwrap());
        drop(wire);
        port.transmit(&mut vec![frame(0, b"x", None)]);
        assert_eq!(port.stats().tx_dropped, 4);
    }

    #[test]
    fn a_wire_tells_what_the_device_says_of_checksums() {
        let (mut port, wire) = MemPort::with_wire(port_info("a"));
        let all = [RxChecksum::Good, RxChecksum::Unknown, RxChecksum::Bad];
        for checksum in all {
            assert!(wire.put_verified(vec![1], checksum));
        }
        let mut into = Vec::new();
        port.receive(&mut into);
        assert_eq!(into.iter().map(|r| r.checksum).collect::<Vec<_>>(), all);
    }

    #[test]
    fn payload_in_a_tcp_header_is_counted_as_copied() {
        let (mut port, wire) = MemPort::with_wire(port_info("a"));
        let mut tcp = [0_u8; 14 + 20 + 20 + 5];
        (tcp[12], tcp[14], tcp[23], tcp[46]) = (0x08, 0x45, 6, 0x50);
        port.transmit(&mut vec![frame(0, &tcp[..54], None)]);
        assert_eq!(port.copied_in_stack(), 0);
        port.transmit(&mut vec![frame(0, &tcp, None)]);
        assert_eq!(port.copied_in_stack(), 5);
        assert_eq!(wire.take().map(|f| f.len()), Some(54));
    }

    #[test]
    fn a_port_with_a_pool_receives_into_what_is_left_of_it() {
        let (mut port, wire) = MemPort::with_wire(port_info("a"));
        wire.limit_buffers(2);
        for n in 0..3 {
            assert!(wire.put(vec![n; 9]));
        }
        let mut held = Vec::new();
        port.receive(&mut held);
        let (used, lost) = (port.buffers().used, port.stats().rx_nobuf);
        assert_eq!((held.len(), used, lost), (2, 2, 1));
        let mut frame = held.remove(0).frame.narrow(2..5);
        assert!(frame.leave_pool(), "it was in the pool");
        assert_eq!((frame.bytes(), port.buffers().used), (&[0, 0, 0][..], 1));
        assert!(!frame.leave_pool(), "it is no more");
        assert!(wire.put(vec![3]));
        port.receive(&mut held);
        assert_eq!((held.len(), port.buffers().used), (2, 2));
        drop(held);
        assert_eq!(port.buffers().used, 0);
    }
}
