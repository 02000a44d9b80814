//! One direction of a relay: payload by reference from one leg to the other, and the end of the stream after it.
//!
//! Back-pressure: a leg may receive what the relay can still hold, which is the buffer size minus what the other leg has
//! not got acknowledged yet. So a reader that stalls closes the window of the sender behind the box. A slice pins a whole
//! packet buffer: it counts as [`PIECE_MIN`] octets however short it is, and payload beyond what may be held is refused, as a
//! window once offered cannot be taken back. For that reason, too, a direction begins with little and gets more as
//! the reader takes what came: connections that nobody reads were never offered much, however many they are.

use super::Leg;
use super::room::{Enough, Now, Room};
use stack::{Instant, PacketBuf};

/// Octets that a slice counts as at least.
const PIECE_MIN: usize = 512;

/// What is to be remembered about one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pump {
    /// Payload octets moved so far.
    pub(crate) bytes: u64,
    /// What of it may be held.
    enough: Enough,
    /// The sender's end of stream was seen, all before it moved, and the other leg told to send it on.
    finishing: bool,
    /// The end of stream has been sent on, and only then acknowledged to the sender.
    finished: bool,
}

impl Pump {
    /// A direction that is open and has moved so many octets.
    pub(crate) fn of(bytes: u64) -> Self {
        Self {
            bytes,
            enough: Enough::after(bytes),
            ..Self::default()
        }
    }

    /// Whether the sender of this direction has closed.
    pub(crate) const fn is_finishing(self) -> bool {
        self.finishing
    }

    /// Whether an end of stream is still to be sent on.
    pub(crate) const fn has_end(self) -> bool {
        self.finishing && !self.finished
    }

    /// Acknowledges the sender's end of stream once `to` has sent it on: a FIN that got an answer was delivered, and if
    /// this box dies before, both ends see a reset, never a clean end of a cut stream. Whether it did so now.
    pub(crate) fn settle_end<B: PacketBuf>(
        &mut self,
        now: Instant,
        from: &mut Leg<B>,
        to: &Leg<B>,
    ) -> bool {
        let settles = self.has_end() && to.fin_sent();
        if settles {
            from.accept_fin(now);
            self.finished = true;
        }
        settles
    }
}

/// What is held for `to`, octets: its payload, or more if the slices of it are short.
pub(crate) fn held<B: PacketBuf>(to: &Leg<B>) -> usize {
    to.queued().max(to.pieces() * PIECE_MIN)
}

/// What has come from `from` and waits there, most of it for what is missing before it, counted likewise.
pub(crate) fn waiting<B: PacketBuf>(from: &Leg<B>) -> usize {
    from.waiting().max(from.waiting_pieces() * PIECE_MIN)
}

/// Moves all that has arrived in order on `from` to `to`, then lets `from` receive what makes `to` hold `room` at most.
/// Returns how many octets moved.
pub(crate) fn move_data<B: PacketBuf>(
    pump: &mut Pump,
    from: &mut Leg<B>,
    to: &mut Leg<B>,
    room: Room,
) -> u64 {
    let before = pump.bytes;
    let unsent = to.unsent();
    while let Some(payload) = from.take() {
        pump.bytes += octets(payload.len());
        to.send(payload);
    }
    if !pump.finishing && from.fin_received() {
        to.finish();
        pump.finishing = true;
    }
    let now = Now {
        arrived: pump.bytes.saturating_sub(octets(to.not_arrived())),
        unsent: at_most(unsent),
        held: at_most(held(to)),
    };
    let enough = pump.enough.of(room, now, || to.worth_waiting());
    from.set_recv_room(enough.saturating_sub(now.held));
    pump.bytes - before
}

fn at_most(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

fn octets(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
