//! From an [`OutSegment`] to octets.

use super::{Flags, OPTIONS_MAX, OptBytes, Options, OutSegment, Timestamps, kind};
use crate::buf::{Header, PacketBuf, Slice};
use crate::checksum::Sum;
use crate::flow::Tuple;
use crate::wire::ip::{TCP, pseudo_header_words};

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

/// Appends the TCP header of `segment` with options and checksum; octets of the whole segment. Reads the payload where its sum is
/// not known.
///
/// Options are padded with NOPs to multiples of four as everybody does; where they do not fit so, they stand
/// unpadded (timestamps 10 + ADD_ADDR with an IPv6 address and port 30 = 40). Those that do not fit even so are left
/// out: callers ask [`options_len`] before.
pub fn emit<B: PacketBuf>(segment: &OutSegment<B>, tuple: &Tuple, header: &mut Header) -> usize {
    let payload = segment.payload.as_ref().map_or(Sum::ZERO, Slice::sum);
    emit_common(segment, Some(payload), &Common::of(tuple), header)
}

/// What all segments between two ports have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common {
    ports: u32,
    /// What the 32-bit words of the ports and of the pseudo header add up to, as if it carried nothing.
    words: u64,
}

impl Common {
    pub(crate) fn of(tuple: &Tuple) -> Self {
        let ports = u32::from(tuple.src_port) << 16 | u32::from(tuple.dst_port);
        let pseudo = pseudo_header_words(tuple.src, tuple.dst, TCP, 0);
        Self {
            ports,
            words: pseudo + u64::from(ports),
        }
    }
}

/// As [`emit`] does, with a payload whose sum is `payload`. Without it the checksum is left to the port: see
/// [`Partial`](crate::buf::Partial).
#[inline]
pub(crate) fn emit_common<B: PacketBuf>(
    segment: &OutSegment<B>,
    payload: Option<Sum>,
    common: &Common,
    header: &mut Header,
) -> usize {
    let place = &mut header.spare()[..HEADER_MIN + OPTIONS_MAX];
    let (fixed, room) = place.split_at_mut(HEADER_MIN);
    // What is written is summed up as it goes.
    let (options_len, options_sum) = if is_usual(&segment.options) {
        lay_out_usual(&segment.options, room)
    } else {
        let len = lay_out(&segment.options, room);
        (len, Sum::of(&room[..len]))
    };
    let len = HEADER_MIN + options_len;
    let total = len + segment.payload_len();
    // The fixed header is five words; the last, the checksum and the urgent pointer, is zero so far.
    let own = [segment.seq.0, segment.ack.0, fields(segment, len)];
    put_words(fixed, [common.ports]);
    let words = put_words(&mut fixed[4..], own);
    let ends = common.words + u64::from(u16::try_from(total).unwrap_or(u16::MAX));
    let field = match payload {
        Some(payload) => {
            // All that stands before the payload is of even length, so that what it adds up to is added as it is.
            let parts = u64::from(options_sum.folded()) + u64::from(payload.folded());
            Sum::of_words(ends + words + parts).checksum()
        },
        None => Sum::of_words(ends - u64::from(common.ports)).folded(),
    };
    [fixed[16], fixed[17]] = field.to_be_bytes();
    header.reserve(len);
    total
}

/// Octets of the options of the layer above that data carries where there are any: a DSS without a checksum, each of whose two numbers may
/// be short (RFC 8684 3.3).
const UPPER_SHORT: usize = 18;
const UPPER_MIXED: usize = 22;
const UPPER: usize = 26;

/// What is the same in all headers of segments with data that leave in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct First {
    /// Where the options of the layer above begin, and where the header ends.
    upper: usize,
    len: usize,
    /// Octets of the options of the layer above.
    upper_len: usize,
    /// What [`Common`] and the words of the header add up to, but for number, PSH, length and options of the layer above.
    words: u64,
    /// The same of the pseudo header.
    pseudo: u64,
}

impl First {
    /// Of the header of `segment`, whose options are timestamps, one of the layer above as data has it, or both.
    pub(crate) fn of<B: PacketBuf>(segment: &OutSegment<B>, common: &Common) -> Option<Self> {
        let options = &segment.options;
        let upper_len = options.mptcp.len();
        if !is_usual(options) || !matches!(upper_len, 0 | UPPER_SHORT | UPPER_MIXED | UPPER) {
            return None;
        }
        let (ts_len, ts) = match options.ts {
            Some(stamps) => (TS_LEN, usual_ts(stamps).iter().map(|&w| u64::from(w)).sum()),
            None => (0, 0),
        };
        let upper = HEADER_MIN + ts_len;
        let len = upper + upper_len.next_multiple_of(4);
        let nops = (len - upper - upper_len) / 2 * usize::from(u16::from_be_bytes([kind::NOP; 2]));
        let fields = u64::from(segment.ack.0) + u64::from(fields(segment, len));
        let psh = u64::from(segment.flags.0 & Flags::PSH.0) << 16;
        Some(Self {
            upper,
            len,
            upper_len,
            words: common.words + fields - psh + ts + u64::try_from(nops).unwrap_or(0),
            pseudo: common.words - u64::from(common.ports),
        })
    }

    /// Octets of the header.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether the header of `segment` is as long: all else is the same, as whoever asks knows.
    #[inline]
    pub(crate) fn leads<B: PacketBuf>(&self, segment: &OutSegment<B>) -> bool {
        segment.options.mptcp.len() == self.upper_len
    }

    /// Enters in `header`, a copy of the first's, what is different in that of `segment`: as [`emit_common`] writes it.
    #[inline]
    pub(crate) fn go_on<B: PacketBuf>(
        &self,
        segment: &OutSegment<B>,
        payload: Option<Sum>,
        header: &mut [u8],
    ) {
        let (room, options) = (&mut header[self.upper..], &segment.options.mptcp);
        let upper = match self.upper_len {
            0 => Sum::ZERO,
            UPPER_SHORT => put_upper::<UPPER_SHORT, { UPPER_SHORT + 2 }>(room, options),
            UPPER_MIXED => put_upper::<UPPER_MIXED, { UPPER_MIXED + 2 }>(room, options),
            _ => put_upper::<UPPER, { UPPER + 2 }>(room, options),
        };
        let Some(fixed) = header.first_chunk_mut::<HEADER_MIN>() else {
            return;
        };
        let total = self.len + segment.payload_len();
        let total = u64::from(u16::try_from(total).unwrap_or(u16::MAX));
        let psh = segment.flags.0 & Flags::PSH.0;
        fixed[4..8].copy_from_slice(&segment.seq.0.to_be_bytes());
        fixed[13] = segment.flags.0;
        let field = match payload {
            Some(payload) => {
                let own = u64::from(segment.seq.0) + (u64::from(psh) << 16);
                let parts = u64::from(upper.folded()) + u64::from(payload.folded());
                Sum::of_words(self.words + total + own + parts).checksum()
            },
            None => Sum::of_words(self.pseudo + total).folded(),
        };
        [fixed[16], fixed[17]] = field.to_be_bytes();
    }
}

/// The fourth word of the header of `segment`, which is of `len` octets.
fn fields<B>(segment: &OutSegment<B>, len: usize) -> u32 {
    let offset = u32::try_from(len / 4).unwrap_or(0);
    offset << 28 | u32::from(segment.flags.0) << 16 | u32::from(segment.wnd)
}

/// Aligned timestamps.
const fn usual_ts(stamps: Timestamps) -> [u32; TS_LEN / 4] {
    let head = u32::from_be_bytes([kind::NOP, kind::NOP, kind::TIMESTAMPS, 10]);
    [head, stamps.val, stamps.ecr]
}

/// Writes `words` to the front of `place`; what they add up to.
#[inline]
fn put_words<const N: usize>(place: &mut [u8], words: [u32; N]) -> u64 {
    let places = place.as_chunks_mut::<4>().0.iter_mut();
    for (place, word) in places.zip(words) {
        *place = word.to_be_bytes();
    }
    words.iter().map(|word| u64::from(*word)).sum()
}

/// Writes the first `N` octets of `options`, an even number, zeros where there are fewer; their sum.
#[inline]
fn put_options<const N: usize>(room: &mut [u8], options: &OptBytes) -> Sum {
    let octets = options.with_zeros().first_chunk::<N>();
    let (Some(place), Some(octets)) = (room.first_chunk_mut(), octets) else {
        return Sum::ZERO;
    };
    *place = *octets;
    Sum::of_array(octets)
}

/// The same of `options` of `N` octets, before padding up to `PADDED`, which stays as it is: their sum.
#[inline]
fn put_upper<const N: usize, const PADDED: usize>(room: &mut [u8], options: &OptBytes) -> Sum {
    let octets = options.with_zeros();
    if let (Some(place), Some(octets)) = (room.first_chunk_mut::<N>(), octets.first_chunk()) {
        *place = *octets;
    }
    let padded = octets.first_chunk();
    padded.map_or(Sum::ZERO, Sum::of_array::<PADDED>)
}

/// Octets of aligned timestamps.
const TS_LEN: usize = 12;

/// Whether nothing is there but timestamps, options of the layer above, or both, with room to be aligned: in nearly all
/// segments.
#[inline]
fn is_usual(options: &Options) -> bool {
    let ts_len = if options.ts.is_some() { TS_LEN } else { 0 };
    let syn = options.mss.is_some() || options.wscale.is_some() || options.sack_permitted;
    !syn && options.sack.is_empty() && ts_len + options.mptcp.len() <= OPTIONS_MAX
}

/// Writes what [`is_usual`] as [`lay_out`] does, at places that are known beforehand; how many octets, and their sum.
#[inline]
fn lay_out_usual(options: &Options, room: &mut [u8]) -> (usize, Sum) {
    let upper = &options.mptcp;
    // All that there can be of them is copied, as what there is not is zero: so many octets are a few moves.
    let (ts_len, mut words, sum) = match options.ts {
        Some(stamps) => {
            let words = put_words(room, usual_ts(stamps));
            let room = &mut room[TS_LEN..];
            let sum = put_options::<{ OPTIONS_MAX - TS_LEN }>(room, upper);
            (TS_LEN, words, sum)
        },
        None => (0, 0, put_options::<OPTIONS_MAX>(room, upper)),
    };
    let end = ts_len + upper.len();
    let padded = end.next_multiple_of(4);
    if end < padded
        && let Some(last) = room[..padded].last_chunk_mut::<4>()
    {
        let nops = u32::from_be_bytes([kind::NOP; 4]) >> (8 * (end % 4));
        *last = (u32::from_be_bytes(*last) | nops).to_be_bytes();
        words += u64::from(nops);
    }
    (padded, Sum::of_words(words).then(sum))
}

/// Writes the option octets as they go onto the wire to the front of `room`: how many, a multiple of four.
#[cold]
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
