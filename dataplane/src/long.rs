//! Received segments that are longer than a buffer: what a neighbor has not cut, as the device would have done for it, or what a
//! device has put together. Each of its buffers becomes a segment of its own.

use crate::headers::{Headers, headers};
use stack::Header;
use stack::buf::HEADER_MAX;
use stack::checksum::Sum;
use stack::wire::ip::{TCP, set_length};
use stack::wire::tcp::Flags;

/// What the last part alone has.
const LAST_ONLY: Flags = Flags::FIN.with(Flags::PSH);
/// What is not of a segment that could be cut.
const WHOLE_ALONE: Flags = Flags::SYN.with(Flags::RST).with(Flags::URG);

/// The headers of a segment that is to be cut.
#[derive(Clone, Debug)]
pub struct Model {
    header: Header,
    at: Headers,
    /// Of the first octet.
    number: u32,
    /// The sum of its pseudo header, without the length.
    pseudo: Sum,
}

impl Model {
    /// Those of a segment in a frame of `all` octets that begins with `bytes`, if it is a whole one and has text there.
    #[must_use]
    pub fn of(bytes: &[u8], all: usize) -> Option<Self> {
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
        let fits = end <= HEADER_MAX && end < bytes.len();
        if !plain || !fits || l3 + len != all {
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

    /// Octets of the headers.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.at.end
    }

    /// The sum over the segment, in a frame of `octets`, and its pseudo header: whether it is intact.
    #[must_use]
    pub fn is_intact<'a>(&self, mut octets: impl Iterator<Item = &'a [u8]>, all: usize) -> bool {
        let head = self.pseudo_of(all.saturating_sub(self.at.l4));
        let first = octets.next().and_then(|first| first.get(self.at.l4..));
        let head = head.then(Sum::of(first.unwrap_or(&[])));
        let sum = octets.fold(head, |sum, octets| sum.then(Sum::of(octets)));
        sum.is_intact()
    }

    /// The sum of the pseudo header of a segment of `len` octets.
    fn pseudo_of(&self, len: usize) -> Sum {
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        self.pseudo.then(Sum::of(&len.to_be_bytes()))
    }

    /// The headers of the part whose text begins `at` octets after the first and has `len`; whether it is the last one. Its checksum is
    /// left to whoever needs it.
    #[must_use]
    pub fn part(&self, at: usize, len: usize, last: bool) -> Header {
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
