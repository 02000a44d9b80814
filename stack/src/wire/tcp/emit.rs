//! From an [`OutSegment`] to octets.

use super::{OPTIONS_MAX, Options, OutSegment, kind};
use crate::buf::{Header, PacketBuf, Slice, chain_len};
use crate::checksum::Sum;
use crate::flow::Tuple;
use crate::wire::ip::{TCP, pseudo_header};

use super::parse::HEADER_MIN;

/// Octets that `options` take on the wire, padding included. More than [`OPTIONS_MAX`] means that they do not fit.
#[must_use]
pub fn options_len(options: &Options) -> usize {
    let aligned = layout_len(options, true);
    if aligned > OPTIONS_MAX {
        layout_len(options, false)
    } else {
        aligned
    }
}

/// Appends the TCP header of `segment` with options and checksum; octets of the whole segment. Does not read the payload where
/// its sum is known.
///
/// Options are padded with NOPs to multiples of four as everybody does; where they do not fit so, they stand
/// unpadded (timestamps 10 + ADD_ADDR with an IPv6 address and port 30 = 40). Those that do not fit even so are left
/// out: callers ask [`options_len`] before.
pub fn emit<B: PacketBuf>(segment: &OutSegment<B>, tuple: &Tuple, header: &mut Header) -> usize {
    let room = &mut header.spare()[HEADER_MIN..HEADER_MIN + OPTIONS_MAX];
    let options_len = lay_out(&segment.options, room);
    let len = HEADER_MIN + options_len;
    let total = len + chain_len(&segment.payload);
    let bytes = header.reserve(len);
    let Some((fixed, options)) = bytes.split_first_chunk_mut::<HEADER_MIN>() else {
        return total;
    };
    // What is written is summed up as it goes: the fixed header is five words and the urgent pointer, which is zero.
    let of = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
    let flags = u16::try_from(len / 4).unwrap_or(0) << 12 | u16::from(segment.flags.0);
    let words = [
        of(tuple.src_port, tuple.dst_port),
        segment.seq.0,
        segment.ack.0,
        of(flags, segment.wnd),
    ];
    for (place, word) in fixed.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    let own = Sum::of_words(words.iter().map(|word| u64::from(*word)).sum());
    let head = pseudo_header(tuple.src, tuple.dst, TCP, total)
        .then(own)
        .then(Sum::of_header(options));
    let sum = segment.payload.iter().map(Slice::sum).fold(head, Sum::then);
    [fixed[16], fixed[17]] = sum.checksum().to_be_bytes();
    total
}

/// Writes the option octets as they go onto the wire to the front of `room`: how many, a multiple of four.
fn lay_out(options: &Options, room: &mut [u8]) -> usize {
    let aligned = layout_len(options, true) <= OPTIONS_MAX;
    debug_assert!(
        aligned || layout_len(options, false) <= OPTIONS_MAX,
        "{options:?} do not fit"
    );
    let mut out = Layout {
        room,
        len: 0,
        aligned,
    };
    if let Some(mss) = options.mss {
        let [a, b] = mss.to_be_bytes();
        out.put(0, &[kind::MSS, 4, a, b]);
    }
    // SACK-permitted takes the place of the timestamps' two NOPs, as every stack lays out its SYN.
    let before_ts = if options.sack_permitted {
        let nops = if options.ts.is_some() { 0 } else { 2 };
        out.put(nops, &[kind::SACK_PERMITTED, 2]);
        0
    } else {
        2
    };
    if let Some(stamps) = options.ts {
        let mut ts = [0; 10];
        ts[..2].copy_from_slice(&[kind::TIMESTAMPS, 10]);
        ts[2..6].copy_from_slice(&stamps.val.to_be_bytes());
        ts[6..].copy_from_slice(&stamps.ecr.to_be_bytes());
        out.put(before_ts, &ts);
    }
    if let Some(shift) = options.wscale {
        out.put(1, &[kind::WSCALE, 3, shift]);
    }
    if !options.sack.is_empty() {
        let len = 2 + 8 * options.sack.len();
        let mut sack = [0; 34];
        sack[0] = kind::SACK;
        sack[1] = u8::try_from(len).unwrap_or(0);
        for (place, block) in sack[2..].chunks_exact_mut(8).zip(&options.sack) {
            place[..4].copy_from_slice(&block.start.0.to_be_bytes());
            place[4..].copy_from_slice(&block.end.0.to_be_bytes());
        }
        out.put(2, &sack[..len]);
    }
    out.put(0, &options.mptcp);
    let padding = out.len.next_multiple_of(4) - out.len;
    out.put(0, &[kind::NOP; 3][..padding]);
    out.len
}

struct Layout<'a> {
    room: &'a mut [u8],
    len: usize,
    aligned: bool,
}

impl Layout<'_> {
    /// Appends `option` after `nops` NOPs, which are left out where alignment is; nothing if it does not fit.
    fn put(&mut self, nops: usize, option: &[u8]) {
        let nops = if self.aligned { nops } else { 0 };
        let end = self.len + nops + option.len();
        if let Some(place) = self.room.get_mut(self.len..end) {
            let (before, place) = place.split_at_mut(nops);
            before.fill(kind::NOP);
            place.copy_from_slice(option);
            self.len = end;
        }
    }
}

/// What [`lay_out`] needs for all of `options`.
fn layout_len(options: &Options, aligned: bool) -> usize {
    let nops = |n: usize| if aligned { n } else { 0 };
    let mut len = 0;
    if options.mss.is_some() {
        len += 4;
    }
    len += match (options.sack_permitted, options.ts.is_some()) {
        (true, true) => 12,
        (true, false) => nops(2) + 2,
        (false, true) => nops(2) + 10,
        (false, false) => 0,
    };
    if options.wscale.is_some() {
        len += nops(1) + 3;
    }
    if !options.sack.is_empty() {
        len += nops(2) + 2 + 8 * options.sack.len();
    }
    (len + options.mptcp.len()).next_multiple_of(4)
}
