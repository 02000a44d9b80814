//! Segments of a flow that leave one after another, where the device takes them as one and cuts them apart again (TCP
//! segmentation offload): the protocols' work on each was done, and what is saved is the device's.

use crate::headers::{Headers, headers};
use stack::buf::{Frame, Header, PacketBuf, Partial, Slice, chain_len};
use stack::wire::ip::set_length;
use stack::wire::tcp::Flags;
use stack::wire::tcp::part::LAST_ONLY;

/// Most octets of an IP packet.
const PACKET_MAX: usize = 65_535;

/// How many of `frames`, from the first on, can be one train of at most `slices_max` slices of payload: at least 1, if there is one.
///
/// All have the same headers, but for what a device writes anew in each: lengths, identification, number, checksums. Each but
/// the last is as long as the first, and only the last has FIN or PSH, which a device leaves to it.
#[must_use]
pub fn len<B: PacketBuf>(frames: &[Frame<B>], slices_max: usize) -> usize {
    let Some((first, others)) = frames.split_first() else {
        return 0;
    };
    let Some(lead) = lead(first).filter(|_| !others.is_empty()) else {
        return 1;
    };
    let segment = chain_len(&first.payload);
    let (mut octets, mut slices) = (lead.end - lead.l3 + segment, first.payload.len());
    let mut len = 1;
    for next in others {
        let payload = chain_len(&next.payload);
        octets += payload;
        slices += next.payload.len();
        let fits =
            payload > 0 && payload <= segment && octets <= PACKET_MAX && slices <= slices_max;
        let number = lead
            .number
            .wrapping_add(u32::try_from(len * segment).unwrap_or(0));
        if !fits || first.port != next.port || !goes_on(first, next, &lead, number) {
            break;
        }
        len += 1;
        if payload < segment || flags(next, &lead) != Flags::ACK {
            break;
        }
    }
    len
}

/// The header of `frames`, which are a train, as one: that of a packet as long as they are together, with TCP's checksum left to the
/// device; and how many octets of payload are in each but the last. `None` if they are too long.
#[must_use]
pub fn coupled<B: PacketBuf>(frames: &[Frame<B>]) -> Option<Coupled> {
    let (first, last) = (frames.first()?, frames.last()?);
    let lead = lead(first)?;
    let Lead { l3, l4, end, .. } = lead;
    let payload: usize = frames.iter().map(|frame| chain_len(&frame.payload)).sum();
    if end - l3 + payload > PACKET_MAX {
        return None;
    }
    let mut header = first.header.clone();
    let bytes = header.bytes_mut();
    bytes[l4 + 13] = flags(last, &lead).0;
    set_length(&mut bytes[l3..l4], end - l4 + payload);
    Some(Coupled {
        partial: Partial::at(l3, l4)?,
        segment: u16::try_from(chain_len(&first.payload)).ok()?,
        is_ipv6: bytes[l3] >> 4 == 6,
        header,
    })
}

/// What a train's device is told of it.
#[derive(Clone, Debug)]
pub struct Coupled {
    /// Its header.
    pub header: Header,
    /// Where that of IP and that of TCP are in it.
    pub partial: Partial,
    /// Octets of payload in each segment but the last.
    pub segment: u16,
    /// Whether it is IPv6.
    pub is_ipv6: bool,
}

/// A frame that others may follow.
struct Lead {
    l3: usize,
    l4: usize,
    end: usize,
    number: u32,
}

/// What stands in `frame`, if it holds text of our sending, with its headers apart.
fn lead<B: PacketBuf>(frame: &Frame<B>) -> Option<Lead> {
    let bytes = frame.header.bytes();
    let Headers { l3, l4, end } = headers(bytes)?;
    let number = bytes.get(l4 + 4..)?.first_chunk()?;
    let lead = Lead {
        l3,
        l4,
        end,
        number: u32::from_be_bytes(*number),
    };
    let text = bytes.len() == end && chain_len(&frame.payload) > 0 && is_vouched_for(frame);
    // Whatever else than ACK is set is for one segment alone.
    (text && flags(frame, &lead) == Flags::ACK).then_some(lead)
}

/// Whether the device may give it a checksum of its own making: what is only on its way through, translated, keeps the one it came
/// with, which may be wrong, and nobody has its sum.
fn is_vouched_for<B: PacketBuf>(frame: &Frame<B>) -> bool {
    let known = |slice: &Slice<B>| slice.known_sum().is_some();
    frame.partial.is_some() || frame.payload.iter().all(known)
}

/// The control bits of `frame`, which is as long as `lead`.
fn flags<B>(frame: &Frame<B>, lead: &Lead) -> Flags {
    let octet = frame.header.bytes().get(lead.l4 + 13);
    Flags(octet.copied().unwrap_or_default())
}

/// Whether the headers of `next` are those of `first`, with `number` as that of the first octet.
fn goes_on<B: PacketBuf>(first: &Frame<B>, next: &Frame<B>, lead: &Lead, number: u32) -> bool {
    let &Lead { l3, l4, end, .. } = lead;
    let (a, b) = (first.header.bytes(), next.header.bytes());
    if a.len() != b.len() || !is_vouched_for(next) {
        return false;
    }
    let same = |from: usize, to: usize| a[from..to] == b[from..to];
    // Between lengths, identification and checksums.
    let same_ip = if a[l3] >> 4 == 4 {
        same(0, l3 + 2) && same(l3 + 6, l3 + 10) && same(l3 + 12, l4 + 4)
    } else {
        same(0, l3 + 4) && same(l3 + 6, l4 + 4)
    };
    same_ip
        && b[l4 + 4..l4 + 8] == number.to_be_bytes()
        && same(l4 + 8, l4 + 13)
        && flags(next, lead).without(LAST_ONLY) == Flags::ACK
        && same(l4 + 14, l4 + 16)
        && same(l4 + 18, end)
}
