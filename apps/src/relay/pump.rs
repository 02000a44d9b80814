//! One direction of a relay: payload by reference from one leg to the other, and the end of the stream after it.
//!
//! Back-pressure: a leg may receive what the relay can still hold, which is the buffer size minus what the other leg has
//! not got acknowledged yet. So a reader that stalls closes the window of the sender behind the box. A slice pins a whole
//! packet buffer: it counts as [`PIECE_MIN`] octets however short it is, and beyond so many slices payload is refused, as
//! a window once offered cannot be taken back.

use super::leg::Leg;
use stack::PacketBuf;

/// Octets that a slice counts as at least.
pub(crate) const PIECE_MIN: usize = 512;

/// What is to be remembered about one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pump {
    /// Payload octets moved so far.
    pub(crate) bytes: u64,
    /// The sender's end of stream was seen, all before it moved, and the other leg told to send it on.
    finishing: bool,
    /// The end of stream has been sent on, and only then acknowledged to the sender.
    finished: bool,
}

impl Pump {
    /// Whether the sender of this direction has closed.
    pub(crate) const fn is_finishing(self) -> bool {
        self.finishing
    }

    /// Acknowledges the sender's end of stream once `to` has sent it on: a FIN that got an answer was delivered, and if
    /// this box dies before, both ends see a reset, never a clean end of a cut stream. Whether it did so now.
    pub(crate) fn settle_end<B: PacketBuf>(&mut self, from: &mut Leg<B>, to: &Leg<B>) -> bool {
        let now = self.finishing && !self.finished && to.fin_sent();
        if now {
            from.accept_fin();
            self.finished = true;
        }
        now
    }
}

/// Moves all that has arrived in order on `from` to `to`, then lets `from` receive up to `room` more than `to` holds.
pub(crate) fn move_data<B: PacketBuf>(
    pump: &mut Pump,
    from: &mut Leg<B>,
    to: &mut Leg<B>,
    room: u32,
) {
    while let Some(payload) = from.take() {
        pump.bytes = pump.bytes.wrapping_add(octets(payload.len()));
        to.send(payload);
    }
    if !pump.finishing && from.fin_received() {
        to.finish();
        pump.finishing = true;
    }
    let held = to.queued().max(to.pieces() * PIECE_MIN);
    let held = u32::try_from(held).unwrap_or(u32::MAX);
    from.set_recv_room(room.saturating_sub(held));
}

fn octets(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
