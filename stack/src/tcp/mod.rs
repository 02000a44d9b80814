//! One TCP connection as a value: segments, time and randomness in; segments, payload and deadlines out (RFC 9293).
//!
//! [`handshake`] holds the small structs of connections that are not yet there, [`Tcb`] runs one from ESTABLISHED on,
//! and [`time_wait`] is what is left of it afterwards. The owner calls, in this order and as often as it likes:
//!
//! 1. [`Tcb::input`] for each segment, then [`Tcb::take`] until `None`, [`Tcb::fin_received`], [`Tcb::set_recv_room`];
//! 2. [`Tcb::push`], [`Tcb::send`] and [`Tcb::finish`] for what is to go out;
//! 3. [`Tcb::advance`] when [`Tcb::next_deadline`] has passed (a spurious call does nothing);
//! 4. [`Tcb::output`] until `None`, whenever any of the above was called.
//!
//! Payload is never copied: what came in by [`Slice`] is held, resent and handed on by [`Slice`].
//!
//! [`Slice`]: crate::Slice

mod black_hole;
mod challenge_ack;
pub mod congestion;
mod crowded;
mod ecn;
pub mod handshake;
mod input;
pub mod isn;
mod keepalive;
mod output;
mod pacing;
mod rare;
mod readings;
mod recv;
mod rest;
mod send;
mod state;
mod tcb;
#[cfg(test)]
mod tests;
pub mod time_wait;
mod timers;

pub use keepalive::{KEEPALIVE_BETWEEN_MAX, KEEPALIVE_PROBES};
pub use rest::Resting;
pub use state::State;
pub use tcb::{Agreed, Item, Tcb, TsState, Verdict};

use crate::PacketBuf;
use crate::seq::SeqNum;
use crate::time::Instant;
use crate::wire::tcp::{Flags, Options, OutSegment, Segment};

/// The answer to a segment that belongs to no connection: a reset that the sender will believe, or nothing if it
/// was itself a reset (RFC 9293 3.10.7.1).
#[must_use]
pub fn reset_for<B: PacketBuf>(segment: &Segment<B>) -> Option<OutSegment<B>> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    let (seq, ack, flags) = if segment.flags.has(Flags::ACK) {
        (segment.ack, SeqNum(0), Flags::RST)
    } else {
        let ack = segment.seq + segment.seq_len();
        (SeqNum(0), ack, Flags::RST.with(Flags::ACK))
    };
    Some(OutSegment {
        seq,
        ack,
        flags,
        wnd: 0,
        ect: false,
        options: Options::default(),
        payload: None,
    })
}

/// The low half: clocks and sequence numbers count modulo 2^32.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the low 32 bits are wanted"
)]
const fn low32(value: u64) -> u32 {
    value as u32
}
