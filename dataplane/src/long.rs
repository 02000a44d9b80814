//! Received segments that are longer than a buffer: what a neighbor has not cut, as the device would have done for it, or what a
//! device has put together. Each of its buffers becomes a segment of its own.

use crate::headers::{Headers, headers};
use stack::Header;
use stack::buf::HEADER_MAX;
use stack::checksum::Sum;
use stack::wire::tcp::Flags;
use stack::wire::tcp::part::{make_part, may_be_cut, pseudo_header_behind};

/// The headers of a segment that is to be cut.
#[derive(Clone, Debug)]
pub struct Model {
    header: Header,
    at: Headers,
}

impl Model {
    /// Those of a segment in a frame of `all` octets that begins with `bytes`, if it is a whole one and has text there.
    #[must_use]
    pub fn of(bytes: &[u8], all: usize) -> Option<Self> {
        let at = headers(bytes)?;
        let Headers { l3, l4, end } = at;
        let (fixed, ip) = (bytes.get(l4..l4 + 20)?, bytes.get(l3..l4)?);
        let is_ipv4 = ip[0] >> 4 == 4;
        let (field, before) = if is_ipv4 {
            (ip.get(2..4)?, 0)
        } else {
            (ip.get(4..6)?, 40)
        };
        let len = before + usize::from(u16::from_be_bytes(*field.first_chunk()?));
        // Its parts get a header checksum of our making: what is wrong must stay so.
        let damaged = is_ipv4 && !Sum::of(ip).is_intact();
        let fragment = is_ipv4 && (ip[6] & 0x3f != 0 || ip[7] != 0);
        let plain = !damaged && !fragment && may_be_cut(Flags(fixed[13]));
        let fits = end <= HEADER_MAX && end < bytes.len();
        if !plain || !fits || l3 + len != all {
            return None;
        }
        let mut header = Header::default();
        header.push(bytes.get(..end)?);
        Some(Self { header, at })
    }

    /// Octets of the headers.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.at.end
    }

    /// The sum over the segment, in a frame of `octets`, and its pseudo header: whether it is intact.
    #[must_use]
    pub fn is_intact<'a>(&self, mut octets: impl Iterator<Item = &'a [u8]>, all: usize) -> bool {
        let Headers { l3, l4, .. } = self.at;
        let ip = self.header.bytes().get(l3..l4).unwrap_or(&[]);
        let head = pseudo_header_behind(ip, all.saturating_sub(l4));
        let first = octets.next().and_then(|first| first.get(l4..));
        let head = head.then(Sum::of(first.unwrap_or(&[])));
        let sum = octets.fold(head, |sum, octets| sum.then(Sum::of(octets)));
        sum.is_intact()
    }

    /// The headers of the part whose text begins `at` octets after the first and has `len`; whether it is the last one. Its checksum is
    /// left to whoever needs it.
    #[must_use]
    pub fn part(&self, at: usize, len: usize, last: bool) -> Header {
        let Headers { l3, l4, .. } = self.at;
        let mut header = self.header.clone();
        let (front, tcp) = header.bytes_mut().split_at_mut(l4);
        make_part(&mut front[l3..], tcp, (at, len), last);
        header
    }
}
