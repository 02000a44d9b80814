//! From octets to a [`Segment`]: one pass over header and options.

use super::{Flags, KIND_MPTCP, Options, SackBlock, Segment, Timestamps, kind};
use crate::Counter;
use crate::buf::{PacketBuf, RxChecksum, Slice};
use crate::checksum::Sum;
use crate::flow::Tuple;
use crate::seq::SeqNum;
use crate::wire::ip::pseudo_header;
use core::net::IpAddr;

/// Why octets are no TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Too short, a data offset beyond the end, or an option with an impossible length.
    #[error("the TCP header or its options do not parse")]
    Malformed,
    /// The checksum is wrong.
    #[error("the TCP checksum is wrong")]
    Checksum,
}

impl From<ParseError> for Counter {
    /// What a packet counts as that is dropped for it.
    fn from(error: ParseError) -> Self {
        match error {
            ParseError::Malformed => Self::DropMalformed,
            ParseError::Checksum => Self::DropChecksum,
        }
    }
}

/// Octets of a TCP header without options.
pub(crate) const HEADER_MIN: usize = 20;

/// Reads the TCP segment `l4`, which came from `src` to `dst` with the traffic class octet `tos`.
///
/// The sum of the payload is remembered in its slice: derived from the checksum field where the device has verified
/// that, computed where nobody has verified it.
pub fn parse<B: PacketBuf>(
    l4: Slice<B>,
    src: IpAddr,
    dst: IpAddr,
    tos: u8,
    checksum: RxChecksum,
) -> Result<Segment<B>, ParseError> {
    let ports = l4.bytes().first_chunk().ok_or(ParseError::Malformed)?;
    let [a, b, c, d] = *ports;
    let tuple = Tuple {
        src,
        dst,
        src_port: u16::from_be_bytes([a, b]),
        dst_port: u16::from_be_bytes([c, d]),
    };
    let pseudo = pseudo_header(src, dst, crate::wire::ip::TCP, 0);
    parse_of(l4, (tuple, pseudo), tos, checksum)
}

/// The same of a segment whose addresses and ports are known, and the sum of its pseudo header without the length.
pub(crate) fn parse_of<B: PacketBuf>(
    l4: Slice<B>,
    (tuple, pseudo): (Tuple, Sum),
    tos: u8,
    checksum: RxChecksum,
) -> Result<Segment<B>, ParseError> {
    let bytes = l4.bytes();
    let fixed: [u8; HEADER_MIN] = *bytes.first_chunk().ok_or(ParseError::Malformed)?;
    let header_len = usize::from(fixed[12] >> 4) * 4;
    let option_bytes = bytes
        .get(HEADER_MIN..header_len)
        .ok_or(ParseError::Malformed)?;
    let mut options = Options::default();
    if !option_bytes.is_empty() {
        read_options(option_bytes, &mut options).ok_or(ParseError::Malformed)?;
    }
    let end = l4.len();
    let payload = text_of(l4, (0, header_len, end), pseudo, checksum)?;
    let u32_at = |at: usize| be32([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    Ok(Segment {
        tuple,
        seq: SeqNum(u32_at(4)),
        ack: SeqNum(u32_at(8)),
        flags: Flags(fixed[13]),
        wnd: u16::from_be_bytes([fixed[14], fixed[15]]),
        options,
        payload,
        tos,
    })
}

/// The text of the segment at `l4` in `frame`, which is from `data` to `end` there, with its sum: derived from the header's or
/// computed.
#[inline(always)]
pub(crate) fn text_of<B: PacketBuf>(
    frame: Slice<B>,
    (l4, data, end): (usize, usize, usize),
    pseudo: Sum,
    checksum: RxChecksum,
) -> Result<Slice<B>, ParseError> {
    let header = frame.bytes().get(l4..data).ok_or(ParseError::Malformed)?;
    let head = Sum::of_header_behind(pseudo, end - l4, header);
    let mut payload = frame.narrow(data..end);
    payload.only_from_here();
    match checksum {
        RxChecksum::Good => payload.set_sum(rest_of_good(head, payload.len())),
        RxChecksum::Unknown => {
            let sum = Sum::of(payload.bytes());
            if !head.then(sum).is_intact() {
                return Err(ParseError::Checksum);
            }
            payload.set_sum(sum);
        },
        // What nobody needs is not read: the port that sends it can do that.
        RxChecksum::Partial => {},
        RxChecksum::Bad => return Err(ParseError::Checksum),
    }
    Ok(payload)
}

/// The sum of a payload whose segment is intact: what is missing from all ones.
const fn rest_of_good(head: Sum, len: usize) -> Sum {
    if len == 0 {
        Sum::ZERO
    } else {
        Sum::from_parts(!head.folded(), len)
    }
}

const fn be32(bytes: [u8; 4]) -> u32 {
    u32::from_be_bytes(bytes)
}

/// RFC 9293 3.2 and MUST-7: every kind but 0 and 1 has a length, and a length that cannot be is an error of the
/// whole segment. `None` for such.
#[must_use]
pub fn parse_options(octets: &[u8]) -> Option<Options> {
    let mut options = Options::default();
    read_options(octets, &mut options)?;
    Some(options)
}

fn read_options(mut rest: &[u8], options: &mut Options) -> Option<()> {
    // As nearly every segment begins that has timestamps (RFC 7323 appendix A).
    if let [kind::NOP, kind::NOP, kind::TIMESTAMPS, 10, behind @ ..] = rest
        && let Some((body, behind)) = behind.split_first_chunk::<8>()
    {
        let (val, ecr) = (u32_of(body), u32_of(&body[4..]));
        options.ts = Some(Timestamps { val, ecr });
        rest = behind;
    }
    loop {
        let (kind, len) = match *rest {
            [] | [kind::END, ..] => return Some(()),
            [kind::NOP, ref after @ ..] => {
                rest = after;
                continue;
            },
            [kind, len, ..] if len >= 2 => (kind, usize::from(len)),
            _ => return None,
        };
        let option = rest.get(..len)?;
        rest = &rest[len..];
        match (kind, &option[2..]) {
            (kind::MSS, &[a, b]) => {
                let mss = u16::from_be_bytes([a, b]);
                options.mss = options.mss.or(Some(mss));
            },
            // RFC 7323 2.3: a shift beyond 14 is taken as 14.
            (kind::WSCALE, &[shift]) => {
                let shift = shift.min(14);
                options.wscale = options.wscale.or(Some(shift));
            },
            (kind::SACK_PERMITTED, []) => options.sack_permitted = true,
            (kind::SACK, blocks) if blocks.len() % 8 == 0 => {
                for block in blocks.chunks_exact(8) {
                    let (start, end) = (u32_of(block), u32_of(&block[4..]));
                    let _ = options.sack.try_push(SackBlock {
                        start: SeqNum(start),
                        end: SeqNum(end),
                    });
                }
            },
            (kind::TIMESTAMPS, body @ [_, _, _, _, _, _, _, _]) => {
                let (val, ecr) = (u32_of(body), u32_of(&body[4..]));
                options.ts = options.ts.or(Some(Timestamps { val, ecr }));
            },
            (
                kind::MSS | kind::WSCALE | kind::SACK_PERMITTED | kind::SACK | kind::TIMESTAMPS,
                _,
            ) => return None,
            (KIND_MPTCP, _) => options.mptcp.try_extend_from_slice(option).ok()?,
            (kind::MD5 | kind::AO, _) => options.authenticated = true,
            (kind::FAST_OPEN, _) => options.fast_open = true,
            _ => {},
        }
    }
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |chunk| be32(*chunk))
}
