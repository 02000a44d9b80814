//! Payload that waits long leaves the port's pool.

use super::Leg;
use stack::{PacketBuf, Slice};

/// What was copied out of the port's pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freed {
    /// Slices looked at.
    pub(crate) looked_at: usize,
    /// Slices copied, each of which frees a buffer.
    pub(crate) slices: usize,
    /// Octets in these.
    pub(crate) octets: usize,
}

/// Copies payload of `leg` out of the port's pool, at most `copies` slices: what is queued but for the `spared` octets that
/// leave first, and if none are spared also what was received and not taken.
pub(crate) fn leave_pool<B: PacketBuf>(leg: &mut Leg<B>, spared: usize, copies: usize) -> Freed {
    let mut freed = Freed::default();
    match leg {
        Leg::Plain(leg) => leave(leg.tcb.queued_mut(), spared, copies, &mut freed),
        Leg::Multipath(leg) => leave(leg.queued_mut(), spared, copies, &mut freed),
    }
    if spared == 0 {
        match leg {
            Leg::Plain(leg) => leave(leg.tcb.received_mut(), 0, copies, &mut freed),
            Leg::Multipath(leg) => leave(leg.received_mut(), 0, copies, &mut freed),
        }
    }
    freed
}

fn leave<'a, B: PacketBuf + 'a>(
    slices: impl Iterator<Item = &'a mut Slice<B>>,
    spared: usize,
    copies: usize,
    freed: &mut Freed,
) {
    let mut before = 0;
    for slice in slices {
        if freed.slices == copies {
            return;
        }
        freed.looked_at += 1;
        if before >= spared && slice.leave_pool() {
            freed.slices += 1;
            freed.octets += slice.len();
        }
        before += slice.len();
    }
}
