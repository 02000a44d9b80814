//! Packet buffers: [`Mbuf`], which everybody may read and clone, and the raw one that only this crate fills.
//!
//! An mbuf of no pool stands in ordinary memory, its octets behind its struct. It is read, cloned and dropped as any other, but
//! no device ever sees it: what is sent of it is copied.
//!
//! What is sent while others still refer to it, as TCP does until it is acknowledged, can be sent from where it lies, with its
//! headers written before it: see [`Mbuf::lend`]. The fields that tell a device where a frame is are the device's from then on;
//! an [`Mbuf`] goes by what it has noted elsewhere.

use crate::mempool::HEADROOM;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;
use core::sync::atomic::{AtomicU16, Ordering};
use dpdk_sys::{rte_mbuf, rte_mbuf__bindgen_ty_2};
use stack::PacketBuf;
use stack::buf::{Partial, RxChecksum};
use stack::prefetch::prefetch_to_write;
use std::alloc::{self, Layout};

/// One reference to a received frame. Cloning takes one more, dropping gives it back; the last one frees the buffer.
///
/// Not `Sync`: a count of one is raised without an atomic operation, as only its holder can do so.
pub struct Mbuf {
    raw: NonNull<rte_mbuf>,
}

// SAFETY: the octets are never written while an Mbuf exists; the count is atomic once it is above one, and a thread that
// holds the only reference is the only one that can raise it.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// Takes over the caller's only reference, to an mbuf of one segment.
    pub(crate) fn new(raw: RawMbuf) -> Self {
        let mbuf = Self { raw: raw.raw };
        core::mem::forget(raw);
        // SAFETY: the only reference is ours, so nobody else reads or writes the mbuf.
        unsafe {
            let raw = mbuf.raw.as_ptr();
            noted_of(mbuf.raw).write(Noted {
                start: (*raw).data_off,
                len: (*raw).data_len,
            });
        }
        mbuf
    }

    /// The buffer to be changed and sent, if this is the only reference to it and the buffer stands on its own memory.
    pub(crate) fn into_sole(self) -> Result<RawMbuf, Self> {
        if !self.is_sole() {
            return Err(self);
        }
        let mut raw = RawMbuf { raw: self.raw };
        let noted = self.noted();
        raw.set_data(noted.start, noted.len);
        core::mem::forget(self);
        Ok(raw)
    }

    /// This reference as a frame of `header` and the octets in `range`, before which it is written. Nobody else may read or write
    /// there: it must be the room of the slice that this reference was in, see [`stack::Slice::has_room`]. Whoever sends it reads
    /// the header for as long as he likes. Others may go on reading the octets in `range`, and whatever is behind.
    pub(crate) fn lend(self, header: &[u8], range: &Range<usize>) -> Result<RawMbuf, Self> {
        let mut raw = RawMbuf { raw: self.raw };
        let noted = self.noted();
        raw.set_data(noted.start, noted.len);
        core::mem::forget(self);
        if raw.rewrite(header, range) {
            return Ok(raw);
        }
        let mbuf = Self { raw: raw.raw };
        core::mem::forget(raw);
        Err(mbuf)
    }

    /// Makes the fresh `indirect` a segment of the octets in `range`, with a reference of its own to this buffer.
    pub(crate) fn attach(&self, indirect: &mut RawMbuf, range: &Range<usize>) {
        let Noted { start, len } = *self.noted();
        let offset = octets(range.start).min(len);
        let len = octets(range.len()).min(len - offset);
        // SAFETY: both are live; indirect is fresh and ours alone; the octets lie within this buffer's data, as Slice guarantees
        // and the clamps above enforce.
        unsafe {
            dpdk_sys::braid_attach(indirect.as_ptr(), self.raw.as_ptr(), start + offset, len);
        }
    }

    fn noted(&self) -> &Noted {
        // SAFETY: written when the Mbuf was made, and never since.
        unsafe { noted_of(self.raw).as_ref() }
    }

    /// Whether it is of no pool.
    pub(crate) fn is_ordinary(&self) -> bool {
        // SAFETY: raw points to a live mbuf, as self holds a reference to it; who makes it sets the field, and nobody after.
        unsafe { (*self.raw.as_ptr()).pool.is_null() }
    }

    /// A buffer in ordinary memory with these octets; `None` if there is no memory, or if they are too many for an mbuf.
    fn ordinary(octets: &[u8]) -> Option<Self> {
        let len = u16::try_from(octets.len()).ok()?;
        // SAFETY: the layout has a size that is not zero, as the struct has one.
        let raw = NonNull::new(unsafe { alloc::alloc(layout(len)?) })?.cast::<rte_mbuf>();
        // SAFETY: the memory is fresh, aligned, and has room for the struct and the octets behind it; an rte_mbuf of zeros is
        // one without a pool and without segments after it.
        unsafe {
            let mbuf = raw.as_ptr();
            let data = mbuf.add(1).cast::<u8>();
            mbuf.write(core::mem::zeroed());
            core::ptr::copy_nonoverlapping(octets.as_ptr(), data, octets.len());
            (*mbuf).buf_addr = data.cast();
            (*mbuf).buf_len = len;
            (*mbuf).data_len = len;
            (*mbuf).pkt_len = u32::from(len);
            (*mbuf).nb_segs = 1;
            // No device may have it, so nobody may take it for one that stands on memory of a pool.
            (*mbuf).ol_flags = dpdk_sys::BRAID_MBUF_NOT_DIRECT;
            noted_of(raw).write(Noted { start: 0, len });
            AtomicU16::from_ptr(&raw mut (*mbuf).refcnt).store(1, Ordering::Relaxed);
        }
        Some(Self { raw })
    }

    fn refcnt(&self) -> &AtomicU16 {
        // SAFETY: the field lives as long as our reference, is aligned, and everybody changes it atomically, or alone.
        unsafe { AtomicU16::from_ptr(&raw mut (*self.raw.as_ptr()).refcnt) }
    }
}

impl Clone for Mbuf {
    fn clone(&self) -> Self {
        let refcnt = self.refcnt();
        if refcnt.load(Ordering::Relaxed) == 1 {
            refcnt.store(2, Ordering::Relaxed);
        } else {
            refcnt.fetch_add(1, Ordering::Relaxed);
        }
        Self { raw: self.raw }
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        let refcnt = self.refcnt();
        if refcnt.load(Ordering::Acquire) != 1 {
            if refcnt.fetch_sub(1, Ordering::AcqRel) != 1 {
                return;
            }
            // The others went meanwhile: the last reference is ours.
            refcnt.store(1, Ordering::Relaxed);
        }
        if self.is_ordinary() {
            // SAFETY: the last reference; `ordinary` made it with the same layout, of a length that was never changed.
            unsafe {
                if let Some(layout) = layout((*self.raw.as_ptr()).buf_len) {
                    alloc::dealloc(self.raw.as_ptr().cast(), layout);
                }
            }
            return;
        }
        // SAFETY: the last reference is given back, and self is not used again.
        unsafe { dpdk_sys::braid_free(self.raw.as_ptr()) };
    }
}

/// The memory of an mbuf of no pool with `len` octets.
fn layout(len: u16) -> Option<Layout> {
    let (whole, _) = Layout::new::<rte_mbuf>()
        .extend(Layout::array::<u8>(usize::from(len)).ok()?)
        .ok()?;
    Some(whole)
}

impl PacketBuf for Mbuf {
    fn bytes(&self) -> &[u8] {
        let Noted { start, len } = self.noted();
        // SAFETY: our reference keeps the buffer alive; start and len describe octets that the device has written. Nobody writes
        // them while an Mbuf exists, but those before a slice that has room: see `lend`.
        unsafe {
            let memory = (*self.raw.as_ptr()).buf_addr.cast::<u8>();
            slice::from_raw_parts(memory.add(usize::from(*start)), usize::from(*len))
        }
    }

    fn fetch(&self) {
        stack::prefetch(self.noted());
        // A pool's mbuf has its memory behind it, with the headers at its start: where they will be written. Those of a device that
        // puts them elsewhere are not fetched.
        let headers = self
            .raw
            .as_ptr()
            .cast::<u8>()
            .wrapping_add(size_of::<rte_mbuf>() + usize::from(HEADROOM));
        prefetch_to_write(headers, HEADERS);
    }

    fn is_sole(&self) -> bool {
        // SAFETY: raw points to a live mbuf; once the only reference to it is ours, nobody changes its flags.
        self.refcnt().load(Ordering::Acquire) == 1
            && unsafe { (*self.raw.as_ptr()).ol_flags } & dpdk_sys::BRAID_MBUF_NOT_DIRECT == 0
    }

    fn out_of_pool(&self, range: Range<usize>) -> Option<Self> {
        if self.is_ordinary() || self.refcnt().load(Ordering::Relaxed) != 1 {
            return None;
        }
        Self::ordinary(self.bytes().get(range)?)
    }

    fn rewritten(self, at: usize, octets: [u8; 2]) -> Option<Self> {
        let mut raw = self.into_sole().ok()?;
        raw.overwrite(at, octets).then(|| Self::new(raw))
    }
}

impl core::fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Mbuf({} octets)", self.bytes().len())
    }
}

/// Octets of headers that are fetched.
const HEADERS: usize = 128;

/// Of the link, IP and TCP headers of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    octets: [u16; 3],
    ipv6: bool,
}

impl Lengths {
    /// Those of a frame that is made of `header` and, where TCP's is not in there, `payload`. What was written into an mbuf is not
    /// asked: it would be waited for until it has reached the cache.
    pub(crate) fn of(partial: Partial, header: &[u8], payload: &[u8]) -> Self {
        let octet = |at: usize| {
            let behind = at.checked_sub(header.len());
            behind.map_or_else(|| header.get(at), |at| payload.get(at))
        };
        let version = octet(partial.l3.into()).map_or(0, |octet| octet >> 4);
        let tcp = octet(usize::from(partial.l4) + 12).map_or(0, |octet| octet >> 4);
        Self {
            octets: [partial.l3, partial.l4 - partial.l3, u16::from(tcp) * 4],
            ipv6: version == 6,
        }
    }
}

/// What an [`Mbuf`] knows of its data, in the place of the hash of the flow, which is asked of no device and told to none.
#[repr(C)]
struct Noted {
    /// Where in its memory the data begins.
    start: u16,
    len: u16,
}

const _: () = assert!(size_of::<Noted>() <= size_of::<rte_mbuf__bindgen_ty_2>());

/// Where it is. The mbuf must be live.
fn noted_of(raw: NonNull<rte_mbuf>) -> NonNull<Noted> {
    // SAFETY: a place within a live mbuf, and so not null.
    unsafe { NonNull::new_unchecked((&raw mut (*raw.as_ptr()).__bindgen_anon_2).cast()) }
}

/// The head of a chain of mbufs that this crate alone holds: fresh from a pool, from a device, or about to be sent. Of one that is
/// lent, others read the payload.
pub(crate) struct RawMbuf {
    raw: NonNull<rte_mbuf>,
}

// SAFETY: sole holder; see `Mempool` for giving it back from another thread.
unsafe impl Send for RawMbuf {}

impl RawMbuf {
    /// # Safety
    /// `raw` heads a live chain, of which the caller hands over the only reference to its head.
    pub(crate) const unsafe fn new(raw: NonNull<rte_mbuf>) -> Self {
        Self { raw }
    }

    pub(crate) const fn as_ptr(&self) -> *mut rte_mbuf {
        self.raw.as_ptr()
    }

    /// Gives the reference to somebody who frees it: a device.
    pub(crate) fn into_ptr(self) -> *mut rte_mbuf {
        let raw = self.as_ptr();
        core::mem::forget(self);
        raw
    }

    /// Octets of all segments.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: live, by the invariant of the type.
        unsafe { (*self.as_ptr()).pkt_len as usize }
    }

    /// Whether all octets are in one segment, to which nobody else refers.
    pub(crate) fn is_ours(&self) -> bool {
        // SAFETY: as above; who else holds a reference changes the count atomically.
        unsafe {
            let mbuf = self.as_ptr();
            let count = AtomicU16::from_ptr(&raw mut (*mbuf).refcnt);
            (*mbuf).nb_segs == 1 && count.load(Ordering::Acquire) == 1
        }
    }

    /// What the device says of the checksums.
    pub(crate) fn checksum(&self) -> RxChecksum {
        // SAFETY: as above.
        let flags = unsafe { (*self.as_ptr()).ol_flags };
        let ip = flags & dpdk_sys::BRAID_RX_IP_CKSUM_MASK;
        let l4 = flags & dpdk_sys::BRAID_RX_L4_CKSUM_MASK;
        if ip == dpdk_sys::BRAID_RX_IP_CKSUM_BAD {
            RxChecksum::Bad
        } else if l4 == dpdk_sys::BRAID_RX_L4_CKSUM_GOOD {
            RxChecksum::Good
        } else if l4 == dpdk_sys::BRAID_RX_L4_CKSUM_NONE {
            RxChecksum::Partial
        } else {
            // Also where the device calls TCP's or UDP's wrong: some do so for datagrams that carry none. Summing decides.
            RxChecksum::Unknown
        }
    }

    /// Has the frame be the `len` octets of its memory that begin at `start`, and nothing else. Only for a direct mbuf.
    fn set_data(&mut self, start: u16, len: u16) {
        // SAFETY: the mbuf is ours alone, or what tells a device where its data is.
        unsafe {
            let mbuf = self.as_ptr();
            (*mbuf).data_off = start;
            (*mbuf).data_len = len;
            (*mbuf).pkt_len = u32::from(len);
        }
    }

    /// The octets of each segment.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &[u8]> {
        let mut next = self.as_ptr();
        core::iter::from_fn(move || {
            // SAFETY: the segments of a chain live as long as its head, which self holds, and nobody writes them meanwhile.
            let (octets, following) = unsafe { (segment(next.as_mut()?), (*next).next) };
            next = following;
            Some(octets)
        })
    }

    /// Whether each segment stands on memory of its own that nobody else refers to, with room for `octets` before its data.
    pub(crate) fn has_room_in_each(&self, octets: usize) -> bool {
        let mut next = self.as_ptr();
        // SAFETY: as in `segments`.
        while let Some(mbuf) = unsafe { next.as_mut() } {
            // SAFETY: the field lives as long as the segment, is aligned, and who else holds a reference changes it atomically.
            let count = unsafe { AtomicU16::from_ptr(&raw mut mbuf.refcnt) };
            let direct = mbuf.ol_flags & dpdk_sys::BRAID_MBUF_NOT_DIRECT == 0;
            let first = core::ptr::eq(next, self.as_ptr());
            let room = first || usize::from(mbuf.data_off) >= octets;
            if !direct || !room || count.load(Ordering::Acquire) != 1 {
                return false;
            }
            next = mbuf.next;
        }
        true
    }

    /// The first segment, and the chain of all others, if there are any.
    pub(crate) fn split_first(self) -> (Self, Option<Self>) {
        // SAFETY: the chain is ours alone. Its first segment becomes a frame of its own; the second one becomes the head of the
        // others, whose number and octets are what is left.
        unsafe {
            let mbuf = self.as_ptr();
            let others = NonNull::new((*mbuf).next).map(|head| {
                (*head.as_ptr()).nb_segs = (*mbuf).nb_segs - 1;
                (*head.as_ptr()).pkt_len = (*mbuf).pkt_len - u32::from((*mbuf).data_len);
                Self::new(head)
            });
            (*mbuf).next = core::ptr::null_mut();
            (*mbuf).nb_segs = 1;
            (*mbuf).pkt_len = u32::from((*mbuf).data_len);
            (self, others)
        }
    }

    /// The octets of the first segment.
    pub(crate) fn first(&self) -> &[u8] {
        // SAFETY: live and ours; data_off and data_len lie within the segment's memory.
        unsafe { segment(self.as_ptr()) }
    }

    /// Appends the octets of `parts`; `false` if they do not fit in the segment. Only for a fresh, direct mbuf.
    pub(crate) fn append<'a>(&mut self, parts: impl IntoIterator<Item = &'a [u8]>) -> bool {
        for part in parts {
            // SAFETY: the mbuf is ours alone; what is written lies between the end of its data and the end of its
            // memory, which is checked first, and `part` is other memory, as nobody else can refer to ours.
            unsafe {
                let mbuf = self.as_ptr();
                let end = usize::from((*mbuf).data_off) + usize::from((*mbuf).data_len);
                if end + part.len() > usize::from((*mbuf).buf_len) {
                    return false;
                }
                let to = (*mbuf).buf_addr.cast::<u8>().add(end);
                core::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
                (*mbuf).data_len += octets(part.len());
                (*mbuf).pkt_len += u32::from(octets(part.len()));
            }
        }
        true
    }

    /// Appends all octets of `chain`; `false` if they do not fit.
    pub(crate) fn append_chain(&mut self, chain: &Self) -> bool {
        let mut next = chain.as_ptr();
        while !next.is_null() {
            // SAFETY: `chain` is held for the loop, so its segments live and are not written; self is another mbuf.
            let (octets, following) = unsafe { (segment(next), (*next).next) };
            if !self.append([octets]) {
                return false;
            }
            next = following;
        }
        true
    }

    /// Writes `octets` over those from `at` on in the first segment; `false` if they do not lie within it. Only for a direct mbuf.
    pub(crate) fn overwrite(&mut self, at: usize, octets: [u8; 2]) -> bool {
        // SAFETY: the mbuf is ours alone; what is written lies within its data, which is checked first.
        unsafe {
            let mbuf = self.as_ptr();
            if at + octets.len() > usize::from((*mbuf).data_len) {
                return false;
            }
            let start = usize::from((*mbuf).data_off) + at;
            let to = (*mbuf).buf_addr.cast::<u8>().add(start);
            core::ptr::copy_nonoverlapping(octets.as_ptr(), to, octets.len());
        }
        true
    }

    /// Has the device compute the checksum that is left to it. The first segment must hold all headers.
    pub(crate) fn ask_checksum(&mut self, Lengths { octets, ipv6 }: Lengths) {
        // SAFETY: the mbuf is ours alone; the lengths are three.
        unsafe { dpdk_sys::braid_ask_checksum(self.as_ptr(), octets.as_ptr(), ipv6) };
    }

    /// Has the device behind the queue of a port cut it into segments of `segment` octets; whether it does. `sums_ip` if it writes
    /// checksums of IPv4. The first segment must hold all headers.
    pub(crate) fn ask_cut(
        &mut self,
        (port, queue): (u16, u16),
        (Lengths { octets, ipv6 }, segment): (Lengths, u16),
        sums_ip: bool,
    ) -> bool {
        let (mbuf, lens) = (self.as_ptr(), octets.as_ptr());
        // SAFETY: the port is open; the mbuf is ours alone, and stays ours; the lengths are three.
        unsafe { dpdk_sys::braid_ask_cut(port, queue, mbuf, lens, segment, ipv6, sums_ip) }
    }

    /// Links `segment` (one segment) after `tail`, the last one of this chain, and returns the new last one.
    ///
    /// # Safety
    /// `tail` is the last segment of this chain.
    pub(crate) unsafe fn link(&mut self, tail: *mut rte_mbuf, segment: Self) -> *mut rte_mbuf {
        let added = segment.into_ptr();
        // SAFETY: all three are live and ours; tail is of this chain, by the contract.
        unsafe {
            (*tail).next = added;
            (*self.as_ptr()).nb_segs += 1;
            (*self.as_ptr()).pkt_len += u32::from((*added).data_len);
        }
        added
    }

    /// Writes `header` straight before the octets in `range` and cuts the frame to both; `false` and unchanged if there is
    /// too little room before them. Only for a direct mbuf of one segment.
    pub(crate) fn rewrite(&mut self, header: &[u8], range: &Range<usize>) -> bool {
        // SAFETY: the mbuf is ours alone, or at least all of it up to its payload; the header lies between the start of its memory
        // and its payload, which lies within its data, as checked before anything is written; `header` is other memory.
        unsafe {
            let mbuf = self.as_ptr();
            let payload = usize::from((*mbuf).data_off) + range.start;
            let Some(start) = payload.checked_sub(header.len()) else {
                return false;
            };
            if range.end > usize::from((*mbuf).data_len) || range.start > range.end {
                return false;
            }
            let to = (*mbuf).buf_addr.cast::<u8>().add(start);
            core::ptr::copy_nonoverlapping(header.as_ptr(), to, header.len());
            self.set_data(octets(start), octets(header.len() + range.len()));
            // What the device said of the received frame is no instruction for the sent one.
            (*mbuf).ol_flags = 0;
            (*mbuf).vlan_tci = 0;
        }
        true
    }
}

impl Drop for RawMbuf {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that self holds.
        unsafe { dpdk_sys::braid_free(self.as_ptr()) };
    }
}

impl core::fmt::Debug for RawMbuf {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "RawMbuf({} octets)", self.len())
    }
}

/// # Safety
/// `mbuf` is live for `'a`, and nobody writes its data in that time.
unsafe fn segment<'a>(mbuf: *mut rte_mbuf) -> &'a [u8] {
    // SAFETY: data_off and data_len lie within the segment's memory; the rest is the contract.
    unsafe {
        let data = (*mbuf)
            .buf_addr
            .cast::<u8>()
            .add(usize::from((*mbuf).data_off));
        slice::from_raw_parts(data, usize::from((*mbuf).data_len))
    }
}

/// Lengths and offsets within an mbuf are below 65,536, as its `buf_len` is.
fn octets(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

const _: () = assert!(
    HEADROOM as usize >= stack::buf::HEADER_MAX,
    "the headers of a frame fit before its payload"
);
