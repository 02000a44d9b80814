//! Received segments that are longer than a buffer: what a neighbor has not cut, as the device would have done for it, or what a
//! device has put together.
//!
//! Such a frame comes as a chain. Each of its buffers becomes a frame of its own, with the headers written before the payload,
//! which stays where it is: so a segment is as long as a buffer, and nobody above knows of chains.

use crate::mbuf::{Mbuf, RawMbuf};
use dataplane::long::Model;
use dataplane::{Received, RxChecksum};
use stack::Slice;

/// Cuts the segment in `chain`, of which the device says `checksum`, where its buffers end, and appends the parts to `into`. The
/// chain as it was, if it is none that can be cut.
pub(crate) fn cut(
    chain: RawMbuf,
    checksum: RxChecksum,
    into: &mut Vec<Received<Mbuf>>,
) -> Result<(), RawMbuf> {
    let model = Model::of(chain.first(), chain.len());
    // Each of its buffers has room for headers and is nobody else's.
    let Some(model) = model.filter(|model| chain.has_room_in_each(model.end())) else {
        return Err(chain);
    };
    // Parts have no checksum of their own: they are what is vouched for, or nothing.
    let is_intact = match checksum {
        RxChecksum::Good | RxChecksum::Partial => true,
        RxChecksum::Unknown => model.is_intact(chain.segments(), chain.len()),
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
        let from = if at == 0 { model.end() } else { 0 };
        let text = from..part.len();
        let header = model.part(at, text.len(), behind.is_none());
        at += text.len();
        // There is room, as was asked before.
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

#[cfg(test)]
mod tests;
