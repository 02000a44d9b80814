//! Packet memory: payload by reference, headers by value.
//!
//! A received frame is an immutable buffer. Everything above takes [`Slice`]s of it, each a cheap clone; the memory is
//! free once the last slice is gone. What goes to a port is a [`Frame`]: an owned [`Header`] and a few slices. Only the
//! port decides whether that becomes a chain, a header written before the payload, or a linear copy.

use crate::checksum::Sum;
use crate::prefetch;
use arrayvec::ArrayVec;
use core::fmt;
use core::ops::Range;

/// The buffer that a port receives into: a counted reference to immutable bytes. The only generic of the stack.
pub trait PacketBuf: Clone {
    /// All received bytes, from the first of the Ethernet header.
    fn bytes(&self) -> &[u8];

    /// The octets in `range` in a buffer of ordinary memory, where that makes this one free for the port to receive into:
    /// `None` if it is ordinary memory itself, or is known to have other holders.
    fn out_of_pool(&self, _range: Range<usize>) -> Option<Self> {
        None
    }

    /// Has the processor fetch its first octets, the headers of what was received. Who can tell where they are without reading
    /// what is not in a cache yet does so: the next buffer's would wait for that.
    fn fetch_headers(&self) {
        let octets = self.bytes();
        prefetch(octets.get(..HEADER_MAX).unwrap_or(octets));
    }

    /// Has the processor fetch what is needed of it to be sent.
    fn fetch(&self) {}

    /// Nobody will read the first `octets` octets any more, if nobody else refers to this buffer now: a port may write a header there
    /// once, straight before what is sent, while others still refer to the rest.
    fn unread(&self, _octets: usize) {}

    /// This buffer with `octets` in the place of those from `at` on: `None` if nobody may write it, as somebody else refers to it,
    /// or if they do not lie within it.
    fn rewritten(self, _at: usize, _octets: [u8; 2]) -> Option<Self> {
        None
    }
}

/// What a device says of the checksums of a received frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RxChecksum {
    /// Verified: that of TCP or UDP is right. (That of an IPv4 header is verified by whoever reads the header.)
    Good,
    /// Not verified: whoever needs them sums the octets.
    Unknown,
    /// The octets are intact, as the device vouches, but the checksum of TCP or UDP is yet to be computed: its field holds the
    /// sum of the pseudo header. So frames come that never were on a wire.
    Partial,
    /// Found wrong: the frame is to be dropped and counted.
    Bad,
}

/// Index of a port within its worker, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortId(pub u8);

/// A range of a received buffer, with the sum of its octets once somebody had to compute it.
#[derive(Clone)]
pub struct Slice<B> {
    buf: B,
    place: Place,
}

impl<B: PacketBuf> Slice<B> {
    /// The whole of `buf`, cut off at 65,535 octets: no port delivers more.
    #[must_use]
    pub fn new(buf: B) -> Self {
        let end = u16::try_from(buf.bytes().len()).unwrap_or(u16::MAX);
        let place = Place::new(0, end, None);
        Self { buf, place }
    }

    /// The octets of this range.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buf.bytes().get(self.place.range()).unwrap_or(&[])
    }

    /// Number of octets.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.place.len()
    }

    /// Whether the range is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.place.len() == 0
    }

    /// A part of this range, `range` counted from its start; clamped to it. Shares the buffer.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        self.clone().narrow(range)
    }

    /// This range cut to a part of it, as [`Slice::slice`] without another reference to the buffer.
    #[must_use]
    pub fn narrow(self, range: Range<usize>) -> Self {
        let Self { buf, place } = self;
        let len = place.len();
        if range.start == 0 && range.end >= len {
            return Self { buf, place };
        }
        let at = |offset: usize| place.start() + u16::try_from(offset.min(len)).unwrap_or(0);
        let (start, end) = (at(range.start), at(range.end));
        let place = Place::new(start, end.max(start), None);
        Self { buf, place }
    }

    /// Has the processor fetch the headers that the buffer begins with. Changes nothing.
    pub fn fetch_headers(&self) {
        self.buf.fetch_headers();
    }

    /// Has the processor fetch what is needed of the buffer to be sent. Changes nothing.
    pub fn fetch(&self) {
        self.buf.fetch();
    }

    /// Tells the buffer that nobody reads any more what is before this range, see [`PacketBuf::unread`].
    pub fn only_from_here(&self) {
        self.buf.unread(self.place.start().into());
    }

    /// The buffer behind this range, and where in it the range lies: for the port, which may use the room before it.
    #[must_use]
    pub fn into_parts(self) -> (B, Range<usize>) {
        (self.buf, self.place.range())
    }

    /// The buffer behind this range.
    #[must_use]
    pub const fn buffer(&self) -> &B {
        &self.buf
    }

    /// Copies the octets into ordinary memory, if that frees a buffer of a port; whether it did. They stay the same.
    pub fn leave_pool(&mut self) -> bool {
        let Some(buf) = self.buf.out_of_pool(self.place.range()) else {
            return false;
        };
        let len = self.place.end() - self.place.start();
        (self.buf, self.place) = (buf, Place::new(0, len, self.place.sum()));
        true
    }

    /// These octets with two others in the place of those from `at` on; `None` if nobody may write them, see
    /// [`PacketBuf::rewritten`].
    #[must_use]
    pub fn rewritten(self, at: usize, octets: [u8; 2]) -> Option<Self> {
        let Self { buf, place } = self;
        let buf = buf.rewritten(usize::from(place.start()) + at, octets)?;
        let place = Place::new(place.start(), place.end(), None);
        Some(Self { buf, place })
    }

    /// Records the sum of the octets where it follows from a verified checksum.
    pub const fn set_sum(&mut self, sum: Sum) {
        self.place = Place::new(self.place.start(), self.place.end(), Some(sum));
    }

    /// The sum of the octets: remembered, or computed now by reading them all.
    #[must_use]
    pub fn sum(&self) -> Sum {
        self.known_sum().unwrap_or_else(|| Sum::of(self.bytes()))
    }

    /// The same, remembered from now on; and how many octets were read for it.
    pub fn sum_once(&mut self) -> (Sum, u64) {
        if let Some(sum) = self.known_sum() {
            return (sum, 0);
        }
        let (sum, read) = (self.sum(), self.len());
        self.set_sum(sum);
        (sum, u64::try_from(read).unwrap_or(u64::MAX))
    }

    /// The sum if it is already known.
    #[must_use]
    pub const fn known_sum(&self) -> Option<Sum> {
        self.place.sum()
    }
}

impl<B> fmt::Debug for Slice<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} octets)", self.place.len())
    }
}

/// Where in its buffer a [`Slice`] lies, and what its octets sum to if that is known: all in one word. With a buffer of one
/// pointer a slice is two words then, which stay in registers as it is moved from queue to queue. Written as four fields and
/// read again as a whole, it would be waited for each time: a processor forwards no load from several stores.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    const END: u32 = 16;
    const SUM: u32 = 32;
    const SUMMED: u64 = 1 << 48;

    const fn new(start: u16, end: u16, sum: Option<Sum>) -> Self {
        let range = start as u64 | (end as u64) << Self::END;
        let Some(sum) = sum else {
            return Self(range);
        };
        Self(range | (sum.folded() as u64) << Self::SUM | Self::SUMMED)
    }

    const fn start(self) -> u16 {
        self.0 as u16
    }

    const fn end(self) -> u16 {
        (self.0 >> Self::END) as u16
    }

    const fn len(self) -> usize {
        (self.end() - self.start()) as usize
    }

    fn range(self) -> Range<usize> {
        self.start().into()..self.end().into()
    }

    const fn sum(self) -> Option<Sum> {
        if self.0 & Self::SUMMED == 0 {
            return None;
        }
        let folded = (self.0 >> Self::SUM) as u16;
        Some(Sum::from_parts(folded, self.len()))
    }
}

/// Most slices that one frame carries.
pub const MAX_SLICES: usize = 2;

/// The payload of one frame, in order.
pub type Chain<B> = ArrayVec<Slice<B>, MAX_SLICES>;

/// Octets in a chain.
#[must_use]
pub fn chain_len<B: PacketBuf>(chain: &[Slice<B>]) -> usize {
    chain.iter().map(Slice::len).sum()
}

/// Most octets of headers in one frame: Ethernet 14, two VLAN tags 8, IPv6 40, TCP 60.
pub const HEADER_MAX: usize = 128;

/// The headers of an outgoing frame, written front to back and owned.
#[derive(Clone)]
pub struct Header {
    bytes: [u8; HEADER_MAX],
    len: u8,
}

impl Default for Header {
    fn default() -> Self {
        Self {
            bytes: [0; HEADER_MAX],
            len: 0,
        }
    }
}

/// Octets of the longest link and IP header, rounded up to be copied in a few moves: Ethernet 14, two VLAN tags 8, IPv6 40.
pub(crate) const FRONT_MAX: usize = 64;

impl Header {
    /// Headers of which the first `len` octets of `front` are written; the others are zero.
    #[inline]
    pub(crate) fn begun(front: &[u8; FRONT_MAX], len: u8) -> Self {
        let mut bytes = [0; HEADER_MAX];
        bytes[..FRONT_MAX].copy_from_slice(front);
        Self { bytes, len }
    }

    /// Appends `bytes`. Panics past [`HEADER_MAX`]: callers know the sizes of the headers they build.
    pub fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len()).copy_from_slice(bytes);
    }

    /// Appends `len` zero octets and lends them to be written. Panics past [`HEADER_MAX`].
    pub fn reserve(&mut self, len: usize) -> &mut [u8] {
        let start = usize::from(self.len);
        let end = start + len;
        assert!(end <= HEADER_MAX, "headers of {end} octets");
        self.len = u8::try_from(end).unwrap_or(0);
        &mut self.bytes[start..end]
    }

    /// What was written so far.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// Octets written so far.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The octets behind what was written so far, for who knows their number only afterwards: [`reserve`](Self::reserve)
    /// then takes them in. Whatever it does not take must stay zero.
    pub fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[usize::from(self.len)..]
    }

    /// What was written so far, to be patched.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Header({} octets)", self.len)
    }
}

/// What the port still has to do to a frame of TCP: its checksum. The field holds the sum of the pseudo header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Where in the frame the IP header begins.
    pub l3: u16,
    /// Where the TCP header begins.
    pub l4: u16,
}

impl Partial {
    /// With the IP header at `l3`, and the TCP header at `l4`.
    #[must_use]
    pub fn at(l3: usize, l4: usize) -> Option<Self> {
        let (l3, l4) = (u16::try_from(l3).ok()?, u16::try_from(l4).ok()?);
        Some(Self { l3, l4 })
    }

    /// Where in the frame the field of the checksum is.
    #[must_use]
    pub fn field(self) -> Range<usize> {
        let start = usize::from(self.l4) + 16;
        start..start + 2
    }
}

/// One frame on its way to a port.
#[derive(Clone, Debug)]
pub struct Frame<B> {
    /// The port it leaves by.
    pub port: PortId,
    /// Ethernet header and all that follows up to the payload.
    pub header: Header,
    /// The payload, by reference.
    pub payload: Chain<B>,
    /// What the port still has to do.
    pub partial: Option<Partial>,
}

/// Appends the frame that `build` makes to `frames`, and lends it. It is built where it lies then: as the argument of a call it would be
/// built elsewhere first, and moved.
#[inline]
pub(crate) fn append<B>(
    frames: &mut Vec<Frame<B>>,
    build: impl FnOnce() -> Frame<B>,
) -> Option<&mut Frame<B>> {
    frames.extend(core::iter::once_with(build));
    frames.last_mut()
}

impl<B: PacketBuf> Frame<B> {
    /// A frame of `header` and `payload` that leaves by `port` as it is.
    #[must_use]
    #[inline]
    pub const fn new(port: PortId, header: Header, payload: Chain<B>) -> Self {
        Self {
            port,
            header,
            payload,
            partial: None,
        }
    }

    /// The whole frame, of which only headers are left behind.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self {
            port: self.port,
            header: self.header.clone(),
            payload: core::mem::take(&mut self.payload),
            partial: self.partial,
        }
    }

    /// The checksum that the port still has to compute, if it has to: where in the frame it belongs, and what to write there.
    /// Reads the payload.
    #[must_use]
    pub fn checksum(&self) -> Option<(Range<usize>, [u8; 2])> {
        let partial = self.partial?;
        // Where the TCP header is not of our making, it lies in the payload, and all before it in `header`.
        let own = self.header.bytes().get(usize::from(partial.l4)..)?;
        let payload = self.payload.iter().map(Slice::sum);
        let sum = payload.fold(Sum::of(own), Sum::then);
        let field = Some(partial.field()).filter(|field| field.end <= self.len());
        Some((field?, sum.checksum().to_be_bytes()))
    }

    /// Octets on the wire, without preamble and frame check sequence.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.bytes().len() + chain_len(&self.payload)
    }

    /// Whether the frame has no octets at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
