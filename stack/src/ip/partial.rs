//! Frames whose checksum is yet to be computed, off the short way: it is, before anybody takes them for what came by a wire.

use super::link::Tags;
use super::sight::Borrowed;
use super::{Net, RxChecksum};
use crate::buf::{PacketBuf, PortId, Slice};
use crate::checksum::Sum;
use crate::wire::ip::UDP;
use crate::{Counter, Cx};

/// Where the checksum of a transport is in its header, and of what.
struct Place {
    /// Where in the frame the header begins.
    l4: usize,
    /// Where in it the field is.
    field: usize,
    /// Where in the frame the packet ends.
    end: usize,
    /// Octets of TCP payload before that.
    text: usize,
}

/// `frame` with the checksum that it lacks, if `checksum` says so, and what is to be said of it then. `None` if nobody may write
/// it.
pub(super) fn completed<B: PacketBuf>(
    cx: &mut Cx<'_>,
    frame: Slice<B>,
    checksum: RxChecksum,
) -> Option<(Slice<B>, RxChecksum)> {
    if checksum != RxChecksum::Partial {
        return Some((frame, checksum));
    }
    let Some(place) = place_of(frame.bytes()) else {
        return Some((frame, RxChecksum::Unknown));
    };
    let octets = frame.bytes().get(place.l4..place.end)?;
    cx.counters.add(Counter::PayloadSummed, place.text as u64);
    let sum = match Sum::of(octets).checksum() {
        // RFC 768: zero would say that there is none. RFC 9293 3.1 does not tell the two apart.
        0 => 0xffff,
        sum => sum,
    };
    let frame = frame.rewritten(place.l4 + place.field, sum.to_be_bytes())?;
    Some((frame, RxChecksum::Good))
}

/// Of whole packets, as devices leave others alone.
fn place_of(frame: &[u8]) -> Option<Place> {
    let packet = Net::parse_ip(
        PortId(0),
        Slice::new(Borrowed(frame)),
        Tags::of_frame(frame),
    )?;
    let packet = packet.ok()?;
    let end = packet.frame.len();
    if packet.fragment_id().is_some() {
        return None;
    }
    let (rest, field, text) = match packet.tcp_bytes() {
        Some(tcp) => (tcp.len(), 16, text_len(tcp)),
        None if packet.protocol == UDP => (packet.l4_bytes().len(), 6, 0),
        None => return None,
    };
    let l4 = end - rest;
    (rest >= field + 2).then_some(Place {
        l4,
        field,
        end,
        text,
    })
}

/// Octets behind the header of a segment.
fn text_len(tcp: &[u8]) -> usize {
    let header = tcp.get(12).map_or(0, |offset| usize::from(offset >> 4) * 4);
    tcp.len().saturating_sub(header)
}
