//! The headers of a segment's parts, where it is cut as a device does it that is left to (TCP segmentation offload).

use super::Flags;
use crate::checksum::Sum;
use crate::wire::ip::{TCP, set_length};

/// What the last part alone has.
pub const LAST_ONLY: Flags = Flags::FIN.with(Flags::PSH);
/// What is not of a segment that could be cut.
const WHOLE_ALONE: Flags = Flags::SYN.with(Flags::RST).with(Flags::URG);

/// Whether a segment with `flags` may be cut.
#[must_use]
pub fn may_be_cut(flags: Flags) -> bool {
    flags == flags.without(WHOLE_ALONE)
}

/// The sum of the pseudo header of a segment of `len` octets behind the header `ip`, which is a whole one.
#[must_use]
pub fn pseudo_header_behind(ip: &[u8], len: usize) -> Sum {
    let addresses = match ip.first().map(|first| first >> 4) {
        Some(4) => ip.get(12..20),
        _ => ip.get(8..40),
    };
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    Sum::of(addresses.unwrap_or(&[]))
        .then(Sum::of(&[0, TCP]))
        .then(Sum::of(&len.to_be_bytes()))
}

/// Makes of `ip` and `tcp`, the whole headers of a segment, those of its part whose text begins `at` octets after the first and has
/// `len`; whether it is the `last`. The checksum is left to whoever needs it: its field holds the sum of the pseudo header.
pub fn make_part(ip: &mut [u8], tcp: &mut [u8], (at, len): (usize, usize), last: bool) {
    set_length(ip, tcp.len() + len);
    let pseudo = pseudo_header_behind(ip, tcp.len() + len).folded();
    let Some(fixed) = tcp.first_chunk_mut::<{ super::HEADER_MIN }>() else {
        return;
    };
    let number = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    let number = number.wrapping_add(u32::try_from(at).unwrap_or(0));
    fixed[4..8].copy_from_slice(&number.to_be_bytes());
    if !last {
        fixed[13] = Flags(fixed[13]).without(LAST_ONLY).0;
    }
    fixed[16..18].copy_from_slice(&pseudo.to_be_bytes());
}
