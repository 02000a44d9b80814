//! Received segments that are longer than a buffer: what a neighbor has not cut, as the device would have done for it, or what a
//! device has put together.
//!
//! Such a frame comes as a chain. Each of its buffers becomes a frame of its own, with the headers written before the payload,
//! which stays where it is: so a segment is as long as a buffer, and nobody above knows of chains.

use crate::mbuf::{Mbuf, RawMbuf};
use dataplane::headers::{Headers, headers};
use dataplane::{Received, RxChecksum};
use stack::buf::HEADER_MAX;
use stack::checksum::Sum;
use stack::wire::ip::{TCP, set_length};
use stack::wire::tcp::Flags;
use stack::{Header, Slice};

/// What the last part alone has.
const LAST_ONLY: Flags = Flags::FIN.with(Flags::PSH);
/// What is not of a segment that could be cut.
const WHOLE_ALONE: Flags = Flags::SYN.with(Flags::RST).with(Flags::URG);

/// Cuts the segment in `chain`, of which the device says `checksum`, where its buffers end, and appends the parts to `into`. The
/// chain as it was, if it is none that can be cut.
pub(crate) fn cut(
    chain: RawMbuf,
    checksum: RxChecksum,
    into: &mut Vec<Received<Mbuf>>,
) -> Result<(), RawMbuf> {
    let Some(model) = Model::of(&chain) else {
        return Err(chain);
    };
    // Parts have no checksum of their own: they are what is vouched for, or nothing.
    let is_intact = match checksum {
        RxChecksum::Good | RxChecksum::Partial => true,
        RxChecksum::Unknown => model.sum(&chain).is_intact(),
        RxChecksum::Bad => false,
    };
    let checksum = if is_intact {
        RxChecksum::Partial
    } else {
        RxChecksum::Bad
    };
    let (mut rest, mut at) = (Some(chain), 0);
    while let Some(whole) = rest.take() {
        let (mut part, behind) = whole.split_first();
        let from = if at == 0 { model.at.end } else { 0 };
        let text = from..part.len();
        let header = model.part(at, text.len(), behind.is_none());
        at += text.len();
        // There is room: `Model::of` has looked.
        if part.rewrite(header.bytes(), &text) {
            into.push(Received {
                frame: Slice::new(Mbuf::new(part)),
                checksum,
            });
        }
        rest = behind.filter(|_| is_intact);
    }
    Ok(())
}

/// The headers of a segment that is to be cut.
struct Model {
    header: Header,
    at: Headers,
    /// Of the first octet.
    number: u32,
    /// The sum of its pseudo header, without the length.
    pseudo: Sum,
}

impl Model {
    /// Those of the segment in `chain`, if it is a whole one and each of its buffers has room for headers and is nobody else's.
    fn of(chain: &RawMbuf) -> Option<Self> {
        let bytes = chain.first();
        let at = headers(bytes)?;
        let Headers { l3, l4, end } = at;
        let (fixed, ip) = (bytes.get(l4..l4 + 20)?, bytes.get(l3..l4)?);
        let is_ipv4 = ip[0] >> 4 == 4;
        let (field, before, addresses) = if is_ipv4 {
            (ip.get(2..4)?, 0, ip.get(12..20)?)
        } else {
            (ip.get(4..6)?, 40, ip.get(8..40)?)
        };
        let len = before + usize::from(u16::from_be_bytes(*field.first_chunk()?));
        // Its parts get a header checksum of our making: what is wrong must stay so.
        let damaged = is_ipv4 && !Sum::of(ip).is_intact();
        let fragment = is_ipv4 && (ip[6] & 0x3f != 0 || ip[7] != 0);
        let flags = Flags(fixed[13]);
        let plain = !damaged && !fragment && flags == flags.without(WHOLE_ALONE);
        let fits = end <= HEADER_MAX && end < bytes.len() && chain.has_room_in_each(end);
        if !plain || !fits || l3 + len != chain.len() {
            return None;
        }
        let mut header = Header::default();
        header.push(bytes.get(..end)?);
        Some(Self {
            header,
            at,
            number: u32::from_be_bytes(*fixed[4..].first_chunk()?),
            pseudo: Sum::of(addresses).then(Sum::of(&[0, TCP])),
        })
    }

    /// The sum over the segment in `chain` and its pseudo header.
    fn sum(&self, chain: &RawMbuf) -> Sum {
        let head = self.pseudo_of(chain.len() - self.at.l4);
        let mut octets = chain.segments();
        let first = octets.next().and_then(|first| first.get(self.at.l4..));
        let head = head.then(Sum::of(first.unwrap_or(&[])));
        octets.fold(head, |sum, octets| sum.then(Sum::of(octets)))
    }

    /// The sum of the pseudo header of a segment of `len` octets.
    fn pseudo_of(&self, len: usize) -> Sum {
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        self.pseudo.then(Sum::of(&len.to_be_bytes()))
    }

    /// The headers of the part that begins `at` octets after the first and has `len`; whether it is the last one.
    fn part(&self, at: usize, len: usize, last: bool) -> Header {
        let Headers { l3, l4, end } = self.at;
        let mut header = self.header.clone();
        let bytes = header.bytes_mut();
        set_length(&mut bytes[l3..l4], end - l4 + len);
        let number = self.number.wrapping_add(u32::try_from(at).unwrap_or(0));
        bytes[l4 + 4..l4 + 8].copy_from_slice(&number.to_be_bytes());
        if !last {
            bytes[l4 + 13] = Flags(bytes[l4 + 13]).without(LAST_ONLY).0;
        }
        let pseudo = self.pseudo_of(end - l4 + len).folded();
        bytes[l4 + 16..l4 + 18].copy_from_slice(&pseudo.to_be_bytes());
        header
    }
}

#[cfg(test)]
mod tests;
