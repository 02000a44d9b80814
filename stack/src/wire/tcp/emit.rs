//! From an [`OutSegment`] to octets.

use super::{OPTIONS_MAX, OptBytes, Options, OutSegment, kind};
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

/// Octets of the TCP header that [`emit`] writes for `options`.
#[must_use]
pub fn header_len(options: &Options) -> usize {
    let len = options_len(options);
    // What does not fit is left out: only the layout itself tells what.
    HEADER_MIN
        + if len > OPTIONS_MAX {
            layout(options).len()
        } else {
            len
        }
}

/// Appends the TCP header of `segment` with options and checksum. Does not read the payload where its sum is known.
///
/// Options are padded with NOPs to multiples of four as everybody does; where they do not fit so, they stand
/// unpadded (timestamps 10 + ADD_ADDR with an IPv6 address and port 30 = 40). Those that do not fit even so are left
/// out: callers ask [`options_len`] before.
pub fn emit<B: PacketBuf>(segment: &OutSegment<B>, tuple: &Tuple, header: &mut Header) {
    let options = layout(&segment.options);
    let len = HEADER_MIN + options.len();
    let payload_len = chain_len(&segment.payload);
    let bytes = header.reserve(len);
    bytes[0..2].copy_from_slice(&tuple.src_port.to_be_bytes());
    bytes[2..4].copy_from_slice(&tuple.dst_port.to_be_bytes());
    bytes[4..8].copy_from_slice(&segment.seq.0.to_be_bytes());
    bytes[8..12].copy_from_slice(&segment.ack.0.to_be_bytes());
    bytes[12] = u8::try_from(len / 4).unwrap_or(0) << 4;
    bytes[13] = segment.flags.0;
    bytes[14..16].copy_from_slice(&segment.wnd.to_be_bytes());
    bytes[HEADER_MIN..].copy_from_slice(&options);
    let head = pseudo_header(tuple.src, tuple.dst, TCP, len + payload_len).then(Sum::of(bytes));
    let sum = segment.payload.iter().map(Slice::sum).fold(head, Sum::then);
    bytes[16..18].copy_from_slice(&sum.checksum().to_be_bytes());
}

/// The option octets as they go onto the wire, a multiple of four.
fn layout(options: &Options) -> OptBytes {
    let aligned = layout_len(options, true) <= OPTIONS_MAX;
    debug_assert!(
        aligned || layout_len(options, false) <= OPTIONS_MAX,
        "{options:?} do not fit"
    );
    let mut out = Layout {
        bytes: OptBytes::new(),
        aligned,
    };
    if let Some(mss) = options.mss {
        let [a, b] = mss.to_be_bytes();
        out.put(0, &[kind::MSS, 4, a, b]);
    }
    let mut ts = [0; 10];
    if let Some(stamps) = options.ts {
        ts[..2].copy_from_slice(&[kind::TIMESTAMPS, 10]);
        ts[2..6].copy_from_slice(&stamps.val.to_be_bytes());
        ts[6..].copy_from_slice(&stamps.ecr.to_be_bytes());
    }
    // SACK-permitted takes the place of the timestamps' two NOPs, as every stack lays out its SYN.
    match (options.sack_permitted, options.ts.is_some()) {
        (true, true) => {
            out.put(0, &[kind::SACK_PERMITTED, 2]);
            out.put(0, &ts);
        },
        (true, false) => out.put(2, &[kind::SACK_PERMITTED, 2]),
        (false, true) => out.put(2, &ts),
        (false, false) => {},
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
    let padding = out.bytes.len().next_multiple_of(4) - out.bytes.len();
    out.put(0, &[kind::NOP; 3][..padding]);
    out.bytes
}

struct Layout {
    bytes: OptBytes,
    aligned: bool,
}

impl Layout {
    /// Appends `option` after `nops` NOPs, which are left out where alignment is; nothing if it does not fit.
    fn put(&mut self, nops: usize, option: &[u8]) {
        let nops = if self.aligned { nops } else { 0 };
        if nops + option.len() <= self.bytes.remaining_capacity() {
            for octets in [&[kind::NOP; 2][..nops], option] {
                let fits = self.bytes.try_extend_from_slice(octets);
                debug_assert!(fits.is_ok(), "there is room");
            }
        }
    }
}

/// What [`layout`] needs for all of `options`.
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
