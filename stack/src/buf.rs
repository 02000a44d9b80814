//! Packet memory: payload by reference, headers by value.
//!
//! A received frame is an immutable buffer. Everything above takes [`Slice`]s of it, each a cheap clone; the memory is
//! free once the last slice is gone. What goes to a port is a [`Frame`]: an owned [`Header`] and a few slices. Only the
//! port decides whether that becomes a chain, a header written before the payload, or a linear copy.

use crate::checksum::Sum;
use crate::prefetch;
use arrayvec::ArrayVec;
use core::cell::Cell;
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

    /// Whether nobody else refers to this buffer now, and a port may write into it.
    fn is_sole(&self) -> bool {
        false
    }

    /// This buffer with `octets` in the place of those from `at` on: `None` if nobody may write it, as somebody else refers to it,
    /// or if they do not lie within it.
    fn rewritten(self, _at: usize, _octets: [u8; 2]) -> Option<Self> {
        None
    }
}

/// What a device says of the checksums of a received frame. As wide as a word, so that what is received with it has no padding,
/// which would be moved along, and waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
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
///
/// One of those that share a buffer may have the [room](Self::has_room) before its range to itself, for the headers that it is
/// sent with.
pub struct Slice<B> {
    buf: B,
    place: Cell<Place>,
}

impl<B> Slice<B> {
    const fn at(buf: B, place: Place) -> Self {
        let place = Cell::new(place);
        Self { buf, place }
    }
}

impl<B: PacketBuf> Slice<B> {
    /// The whole of `buf`, cut off at 65,535 octets: no port delivers more.
    #[must_use]
    pub fn new(buf: B) -> Self {
        let end = u16::try_from(buf.bytes().len()).unwrap_or(u16::MAX);
        Self::at(buf, Place::new(0, end, None))
    }

    /// The octets of this range.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buf
            .bytes()
            .get(self.place.get().range())
            .unwrap_or(&[])
    }

    /// Number of octets.
    #[must_use]
    pub fn len(&self) -> usize {
        self.place.get().len()
    }

    /// Whether the range is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
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
        let (place, len) = (place.get(), place.get().len());
        if range.start == 0 && range.end >= len {
            return Self::at(buf, place);
        }
        let at = |offset: usize| place.start() + u16::try_from(offset.min(len)).unwrap_or(0);
        let (start, end) = (at(range.start), at(range.end));
        let part = Place::new(start, end.max(start), None);
        let room = place.has_room() && start == place.start();
        Self::at(buf, if room { part.with_room() } else { part })
    }

    /// Has the processor fetch the headers that the buffer begins with. Changes nothing.
    pub fn fetch_headers(&self) {
        self.buf.fetch_headers();
    }

    /// Has the processor fetch what is needed of the buffer to be sent. Changes nothing.
    pub fn fetch(&self) {
        self.buf.fetch();
    }

    /// Nobody reads any more what is before this range: it gets that room to itself, if no other slice shares the buffer now.
    pub fn only_from_here(&mut self) {
        if self.buf.is_sole() {
            self.place.set(self.place.get().with_room());
        }
    }

    /// Whether the octets before this range are nobody else's, so that the port that sends it may write its headers there, while
    /// others still refer to the rest.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.place.get().has_room()
    }

    /// As [`Clone`], but that the copy has the room now, if this had it.
    #[must_use]
    pub fn hand_on(&self) -> Self {
        let place = self.place.get();
        self.place.set(place.without_room());
        Self::at(self.buf.clone(), place)
    }

    /// The buffer behind this range, and where in it the range lies: for the port, which may use the room before it.
    #[must_use]
    pub fn into_parts(self) -> (B, Range<usize>) {
        (self.buf, self.place.get().range())
    }

    /// The buffer behind this range.
    #[must_use]
    pub const fn buffer(&self) -> &B {
        &self.buf
    }

    /// Copies the octets into ordinary memory, if that frees a buffer of a port; whether it did. They stay the same.
    pub fn leave_pool(&mut self) -> bool {
        let place = self.place.get();
        let Some(buf) = self.buf.out_of_pool(place.range()) else {
            return false;
        };
        *self = Self::at(buf, Place::new(0, place.end() - place.start(), place.sum()));
        true
    }

    /// These octets with two others in the place of those from `at` on; `None` if nobody may write them, see
    /// [`PacketBuf::rewritten`].
    #[must_use]
    pub fn rewritten(self, at: usize, octets: [u8; 2]) -> Option<Self> {
        let place = self.place.get();
        let start = usize::from(place.start());
        let buf = self.buf.rewritten(start + at, octets)?;
        Some(Self::at(buf, Place::new(place.start(), place.end(), None)))
    }

    /// Records the sum of the octets where it follows from a verified checksum.
    pub fn set_sum(&mut self, sum: Sum) {
        self.place.set(self.place.get().with_sum(sum));
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
    pub fn known_sum(&self) -> Option<Sum> {
        self.place.get().sum()
    }
}

impl<B: Clone> Clone for Slice<B> {
    /// Another reference to the same octets. The room before them stays that of `self`.
    fn clone(&self) -> Self {
        Self::at(self.buf.clone(), self.place.get().without_room())
    }
}

impl<B> fmt::Debug for Slice<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slice({} octets)", self.place.get().len())
    }
}

/// Where in its buffer a [`Slice`] lies, what its octets sum to if that is known, and whether the room before them is its own:
/// all in one word. With a buffer of one pointer a slice is two words then, which stay in registers as it is moved from queue to
/// queue. Written as four fields and read again as a whole, it would be waited for each time: a processor forwards no load from
/// several stores.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    const END: u32 = 16;
    const SUM: u32 = 32;
    const SUMMED: u64 = 1 << 48;
    const ROOM: u64 = 1 << 49;

    const fn new(start: u16, end: u16, sum: Option<Sum>) -> Self {
        let range = Self(start as u64 | (end as u64) << Self::END);
        match sum {
            Some(sum) => range.with_sum(sum),
            None => range,
        }
    }

    const fn with_sum(self, sum: Sum) -> Self {
        let rest = self.0 & !((u16::MAX as u64) << Self::SUM);
        Self(rest | (sum.folded() as u64) << Self::SUM | Self::SUMMED)
    }

    const fn has_room(self) -> bool {
        self.0 & Self::ROOM != 0
    }

    const fn with_room(self) -> Self {
        Self(self.0 | Self::ROOM)
    }

    const fn without_room(self) -> Self {
        Self(self.0 & !Self::ROOM)
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

    /// The first `len` octets of what was written so far, to be patched.
    pub(crate) fn first_mut(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[..len]
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

/// Appends what `build` makes to `all`, and lends it. It is built where it lies then: as the argument of a call it would be put
/// together elsewhere first, and waited for as it is moved.
#[inline]
pub fn append<T>(all: &mut Vec<T>, build: impl FnOnce() -> T) -> Option<&mut T> {
    all.extend(core::iter::once_with(build));
    all.last_mut()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[derive(Clone)]
    struct Buf(Arc<[u8]>);

    impl PacketBuf for Buf {
        fn bytes(&self) -> &[u8] {
            &self.0
        }

        fn is_sole(&self) -> bool {
            Arc::strong_count(&self.0) == 1
        }
    }

    fn text() -> Slice<Buf> {
        let whole = Slice::new(Buf([7; 100].into()));
        let mut text = whole.narrow(54..100);
        text.only_from_here();
        text
    }

    #[test]
    fn the_room_before_a_text_is_that_of_one_slice() {
        let text = text();
        assert!(text.has_room());
        let mut other = text.clone();
        assert!(!other.has_room() && !text.slice(0..9).has_room());
        let sent = text.hand_on();
        assert!(sent.has_room() && !text.has_room());
        assert!(!text.hand_on().has_room());
        other.only_from_here();
        assert!(!other.has_room(), "others share the buffer");
    }

    #[test]
    fn what_is_cut_off_at_the_end_leaves_the_room_and_at_the_front_does_not() {
        assert!(text().narrow(0..9).has_room());
        assert!(!text().narrow(1..9).has_room());
        assert_eq!(text().narrow(0..9).len(), 9);
    }

    #[test]
    fn a_sum_is_of_the_octets_that_it_was_set_for() {
        let mut text = text();
        for octets in [[1, 2, 3].as_slice(), &[4, 5]] {
            text.set_sum(Sum::from_parts(Sum::of(octets).folded(), text.len()));
            assert_eq!(text.sum().folded(), Sum::of(octets).folded());
        }
        assert!(text.has_room() && text.known_sum().is_some());
        assert_eq!(text.clone().known_sum(), text.known_sum());
        assert_eq!(text.narrow(0..9).known_sum(), None);
    }
}
