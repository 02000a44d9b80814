//! A frame that came right behind one of its own flow: most of its headers are the same octets, and so is what was found of them.

use super::head::{Head, at, header_len};
use crate::buf::{PacketBuf, Slice};
use crate::checksum::Sum;
use crate::wire::ip::{ETHERNET, IPV4_MIN, IPV6};
use crate::wire::tcp::{Flags, HEADER_MIN};

/// How a segment stands to the one before it, of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// It does not go on where that ends, or says more than that.
    Apart,
    /// Its text goes on where that of the other ends, and its header differs in number, PSH and checksum alone. (What the urgent
    /// pointer says counts nowhere.)
    Same,
    /// The same, but options differ.
    Other,
}

impl Head {
    /// Reads `frame` as [`Net::head`](super::Net::head) would read it, if it is of the same flow as the frame `before` it from the same port, whose
    /// head is `like`: all before the TCP header is the same octets, but for length, identification and checksum of IP, and so are
    /// the ports. Then all that was found of them is the same, too. How its segment stands to that of `before`.
    #[inline]
    pub fn follow<B: PacketBuf>(
        &mut self,
        frame: &Slice<B>,
        (before, like): (&Slice<B>, &Self),
    ) -> Option<Behind> {
        let (l3, l4) = (usize::from(like.l3), usize::from(like.l4));
        let (bytes, bytes_before) = (frame.bytes(), before.bytes());
        let (link, packet) = bytes.split_at_checked(l3)?;
        let (link_before, packet_before) = bytes_before.split_at_checked(l3)?;
        let untagged = link.first_chunk::<ETHERNET>()? == link_before.first_chunk()?;
        if !untagged || l3 != ETHERNET && link != link_before {
            return None;
        }
        let len = if l4 == l3 + IPV4_MIN {
            let ip = packet.first_chunk::<IPV4_MIN>()?;
            if !is_like_ipv4(ip, packet_before.first_chunk()?) || !Sum::of_ipv4(ip).is_intact() {
                return None;
            }
            usize::from(u16::from_be_bytes([ip[2], ip[3]]))
        } else {
            let ip = packet.first_chunk::<IPV6>()?;
            if !is_like_ipv6(ip, packet_before.first_chunk()?) {
                return None;
            }
            IPV6 + usize::from(u16::from_be_bytes([ip[4], ip[5]]))
        };
        let (segment, segment_before) = (bytes.get(l4..l3 + len)?, bytes_before.get(l4..)?);
        let (this, last) = (segment.first_chunk()?, segment_before.first_chunk()?);
        let header = header_len(this);
        if header < HEADER_MIN || header > segment.len() || this[..4] != last[..4] {
            return None;
        }
        *self = *like;
        (self.flags, self.end) = (Flags(this[13]), at(l3 + len));
        self.data = at(l4 + header);
        let options = HEADER_MIN..header;
        Some(if !text_goes_on(this, (last, like.text_len())) {
            Behind::Apart
        } else if are_same(segment.get(options.clone())?, segment_before.get(options)?) {
            Behind::Same
        } else {
            Behind::Other
        })
    }
}

/// Whether an IPv4 header is like the one `before`, but for length, identification and checksum.
#[inline]
fn is_like_ipv4(this: &[u8; IPV4_MIN], before: &[u8; IPV4_MIN]) -> bool {
    const FIRST: u64 = u64::from_be_bytes([0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff]);
    const SECOND: u64 = u64::from_be_bytes([0xff, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    let first = (word(this, 0) ^ word(before, 0)) & FIRST;
    let second = (word(this, 8) ^ word(before, 8)) & SECOND;
    first | second == 0 && this[16..] == before[16..]
}

/// Whether an IPv6 header is like the one `before`, but for length.
#[inline]
fn is_like_ipv6(this: &[u8; IPV6], before: &[u8; IPV6]) -> bool {
    const FIRST: u64 = u64::from_be_bytes([0xff, 0xff, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let rest = (8..IPV6).step_by(8);
    let differs = rest.fold(0, |all, at| all | word(this, at) ^ word(before, at));
    (word(this, 0) ^ word(before, 0)) & FIRST | differs == 0
}

/// Whether the text of a segment goes on where `text` octets behind the header `before` end, in a header that has the same to say.
#[inline]
fn text_goes_on(this: &[u8; HEADER_MIN], (before, text): (&[u8; HEADER_MIN], usize)) -> bool {
    let number = |fixed: &[u8; HEADER_MIN]| (word(fixed, 0) & 0xffff_ffff) as u32;
    // The acknowledgment, the header's length, control bits, the window.
    let rest = |fixed: &[u8; HEADER_MIN]| word(fixed, 8) | u64::from(Flags::PSH.0) << 16;
    let next = number(before).wrapping_add(u32::try_from(text).unwrap_or(0));
    number(this) == next && rest(this) == rest(before)
}

/// Whether options are the same octets: where they are timestamps alone in a few moves, without a call.
#[inline]
fn are_same(this: &[u8], before: &[u8]) -> bool {
    match (<&[u8; 12]>::try_from(this), <&[u8; 12]>::try_from(before)) {
        (Ok(this), Ok(before)) => this == before,
        _ => this == before,
    }
}

/// Eight octets as a number.
#[inline]
fn word<const N: usize>(octets: &[u8; N], at: usize) -> u64 {
    u64::from_be_bytes(core::array::from_fn(|i| octets[at + i]))
}
