//! TCP segments that come in fragments (RFC 791 3.2, RFC 8200 4.5): held until they are whole, and looked into only then.
//!
//! Nothing is copied. A whole segment of a flow that ends here becomes a few segments, one for each fragment; one of any
//! other flow goes on in the very fragments that it came in. Fragments that overlap spoil what they belong to (RFC 5722).

use super::contents::FragmentId;
use super::packet::{Packet, TcpArrival};
use crate::buf::{PacketBuf, RxChecksum, Slice};
use crate::checksum::Sum;
use crate::tally::Ended;
use crate::time::{Duration, Instant};
use crate::wire::ip::{IPV4_MIN, TCP, pseudo_header};
use crate::wire::tcp::{self, Flags, HEADER_MIN};
use crate::{Counter, Cx};

/// Segments in the making at once, and fragments of all of them: each pins a packet buffer.
const SEGMENTS_MAX: usize = 64;
const FRAGMENTS_MAX: usize = 512;

/// How long fragments wait for the others. RFC 1122 3.3.2 has 60 s for hosts; between two routers nothing takes so long.
const WAIT: Duration = Duration::from_secs(5);

/// What of a segment a fragment holds.
struct Part<B> {
    start: usize,
    data: Slice<B>,
    packet: Packet<B>,
}

impl<B: PacketBuf> Part<B> {
    fn end(&self) -> usize {
        self.start + self.data.len()
    }
}

/// A segment in the making.
struct Making<B> {
    id: FragmentId,
    since: Instant,
    /// By their start.
    parts: Vec<Part<B>>,
    /// Where it ends, once its last fragment came.
    end: Option<usize>,
    /// Fragments overlapped: all that follow are dropped.
    spoiled: bool,
}

/// What a fragment is to the others of its segment.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Added {
    Anew,
    /// It is there already.
    Again,
    /// It does not fit them: none of them is of use.
    Spoils,
}

/// Counts fragments that have waited for nothing.
fn lose(cx: &mut Cx<'_>, fragments: usize) {
    let lost = u64::try_from(fragments).unwrap_or(u64::MAX);
    cx.counters.end_waiting(Counter::DropFragment, lost);
}

/// What became of a fragment.
pub enum Gathered<B> {
    /// It is none of TCP, or there is no room: to be passed on as it is.
    Pass(Packet<B>),
    /// It waits for the others, or was dropped and counted.
    Kept(Ended),
    /// The last that was missing: all of them in order, and what they are to TCP.
    Whole {
        /// The fragments.
        packets: Vec<Packet<B>>,
        /// The segment in as many parts; empty if it is damaged.
        parts: Vec<TcpArrival<B>>,
    },
}

/// Segments in the making.
pub struct Reassembly<B> {
    makings: Vec<Making<B>>,
}

impl<B> Default for Reassembly<B> {
    fn default() -> Self {
        Self {
            makings: Vec::new(),
        }
    }
}

impl<B: PacketBuf> Reassembly<B> {
    /// Takes a fragment in transit.
    pub fn gather(&mut self, cx: &mut Cx<'_>, packet: Packet<B>) -> Gathered<B> {
        let (Some(id), Some((start, more, data))) = (packet.fragment_id(), part_of(&packet)) else {
            return Gathered::Pass(packet);
        };
        self.expire(cx);
        let place = match self.makings.iter().position(|making| making.id == id) {
            Some(place) => place,
            None if self.makings.len() >= SEGMENTS_MAX || self.held() >= FRAGMENTS_MAX => {
                return Gathered::Pass(packet);
            },
            None => {
                self.makings.push(Making {
                    id,
                    since: cx.now,
                    parts: Vec::new(),
                    end: None,
                    spoiled: false,
                });
                self.makings.len() - 1
            },
        };
        let full = self.held() >= FRAGMENTS_MAX;
        let Some(making) = self.makings.get_mut(place) else {
            return Gathered::Pass(packet);
        };
        let part = Part {
            start,
            data,
            packet,
        };
        let added = if full {
            Added::Spoils
        } else {
            making.add(part, more)
        };
        if added == Added::Again {
            return Gathered::Kept(cx.counters.end(Counter::DropFragment));
        }
        if added == Added::Spoils {
            making.spoiled = true;
            let held = core::mem::take(&mut making.parts).len();
            lose(cx, held);
            return Gathered::Kept(cx.counters.end(Counter::DropFragment));
        }
        if !making.is_whole() {
            return Gathered::Kept(Ended::later());
        }
        let making = self.makings.swap_remove(place);
        cx.counters.count(Counter::Reassembled);
        let parts = making.segments();
        Gathered::Whole {
            packets: making.parts.into_iter().map(|part| part.packet).collect(),
            parts,
        }
    }

    /// Drops fragments whose others did not come in time.
    pub fn expire(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now;
        let late = |making: &mut Making<B>| now.since(making.since) >= WAIT;
        for making in self.makings.extract_if(.., late) {
            lose(cx, making.parts.len());
        }
    }

    /// When [`Self::expire`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.makings.iter().map(|making| making.since + WAIT).min()
    }

    /// Fragments that wait for others.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.held()
    }

    fn held(&self) -> usize {
        self.makings.iter().map(|making| making.parts.len()).sum()
    }
}

impl<B: PacketBuf> Making<B> {
    /// Adds a fragment, if all is well with it.
    fn add(&mut self, part: Part<B>, more: bool) -> Added {
        let (start, end) = (part.start, part.end());
        let whole_words = !more || part.data.len().is_multiple_of(8);
        // RFC 1858 3.2: a header that is cut is nobody's honest work.
        let header = part
            .data
            .bytes()
            .get(12)
            .map_or(HEADER_MIN, |words| usize::from(words >> 4) * 4);
        let cut_header = start == 0 && part.data.len() < header.max(HEADER_MIN);
        if self.spoiled || part.data.is_empty() || !whole_words || cut_header || end > 65_535 {
            return Added::Spoils;
        }
        let place = self.parts.partition_point(|other| other.start < start);
        if let Some(same) = self.parts.get(place)
            && (same.start, same.end()) == (start, end)
        {
            return Added::Again;
        }
        let before = place.checked_sub(1).and_then(|n| self.parts.get(n));
        let behind = self.parts.get(place);
        let overlaps = before.is_some_and(|other| other.end() > start)
            || behind.is_some_and(|other| other.start < end);
        let last = self.parts.last().map_or(0, Part::end);
        let beyond = match (self.end, more) {
            (Some(known), true) => end > known,
            (Some(known), false) => end != known,
            (None, true) => false,
            (None, false) => last > end,
        };
        if overlaps || beyond {
            return Added::Spoils;
        }
        if !more {
            self.end = Some(end);
        }
        self.parts.insert(place, part);
        Added::Anew
    }

    fn is_whole(&self) -> bool {
        let held: usize = self.parts.iter().map(|part| part.data.len()).sum();
        self.end == Some(held)
    }

    /// The segment, one part for each fragment; empty if it is damaged.
    fn segments(&self) -> Vec<TcpArrival<B>> {
        self.try_segments().unwrap_or_default()
    }

    fn try_segments(&self) -> Option<Vec<TcpArrival<B>>> {
        let first = self.parts.first()?;
        let (src, dst, tos) = (first.packet.src, first.packet.dst, first.packet.tos);
        // Every fragment but the last is of whole words, so that each sum stands by itself.
        let pseudo = pseudo_header(src, dst, TCP, self.end?);
        let sums = self.parts.iter().map(|part| Sum::of(part.data.bytes()));
        if !sums.fold(pseudo, Sum::then).is_intact() {
            return None;
        }
        let header = usize::from(first.data.bytes().get(12)? >> 4) * 4;
        let head = tcp::parse(first.data.clone(), src, dst, tos, RxChecksum::Good).ok()?;
        let last = self.parts.len() - 1;
        let mut parts = Vec::new();
        for (n, part) in self.parts.iter().enumerate() {
            let mut segment = head.clone();
            let payload = part.data.clone();
            if n == 0 {
                segment.payload = payload.narrow(header..usize::MAX);
            } else {
                let ahead = u32::try_from(part.start.checked_sub(header)?).ok()?;
                segment.seq = head.seq + ahead + u32::from(head.flags.has(Flags::SYN));
                segment.flags = segment.flags.without(Flags::SYN);
                segment.payload = payload;
                // Options belong to the first part; what maps data maps all of it there.
                segment.options.mptcp = tcp::OptBytes::new();
            }
            if n != last {
                segment.flags = segment.flags.without(Flags::FIN).without(Flags::PSH);
            }
            parts.push(TcpArrival {
                segment,
                packet: part.packet.clone(),
                local: false,
            });
        }
        Some(parts)
    }
}

/// Where in its segment a fragment of TCP belongs, whether more follow, and its octets.
fn part_of<B: PacketBuf>(packet: &Packet<B>) -> Option<(usize, bool, Slice<B>)> {
    let l4 = packet.l4_slice();
    let (field, data) = if packet.src.is_ipv4() {
        let ip = packet.ip_header();
        if packet.protocol != TCP || ip.len() != IPV4_MIN {
            return None;
        }
        let field = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]);
        // In units of eight octets; in IPv6 the same number of octets.
        ((field & 0x1fff) << 3 | (field >> 13 & 1), l4)
    } else {
        let &[next, _, a, b, _, _, _, _] = packet.l4_bytes().first_chunk()?;
        if packet.protocol != 44 || next != TCP {
            return None;
        }
        (u16::from_be_bytes([a, b]), l4.slice(8..l4.len()))
    };
    Some((usize::from(field & !7), field & 1 != 0, data))
}
