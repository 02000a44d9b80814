//! A subflow that joins a connection: the time between SYN and third ACK, on either side (RFC 8684 3.2).

mod initiate;

pub use initiate::{Initiated, OpenJoin};

use crate::Cx;
use crate::connection::{Connection, Event, Mode, SUBFLOWS_MAX, SubflowId};
use crate::counters::Counter;
use crate::handshake::join::{self, Keys, NotJoin};
use crate::option::{MpOption, ResetReason, TcpRst};
use crate::subflow::Subflow;
use crate::types::{AddrId, Version};
use stack::tcp::handshake::{AcceptVerdict, Accepting};
use stack::tcp::{Agreed, Tcb};
use stack::wire::tcp::{OptBytes, OutSegment, Segment};
use stack::{Instant, PacketBuf, Tuple};

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
    /// The peer took its SYN back: nothing to answer.
    Dropped,
    /// The token names no connection: for owners that answer such a SYN.
    NoToken,
    /// The peer's C flag forbids joins to its first address and port (RFC 8684 3.1).
    Denied,
}

impl JoinRefusal {
    /// The reason code that the peer is told (RFC 8684 3.6).
    #[must_use]
    pub const fn reason(self) -> ResetReason {
        match self {
            Self::Malformed | Self::Hmac | Self::NoToken | Self::Dropped => {
                ResetReason::MPTCP_SPECIFIC
            },
            Self::Limit => ResetReason::LACK_OF_RESOURCES,
            Self::NotJoinable | Self::Denied => ResetReason::PROHIBITED,
            Self::Missing => ResetReason::MIDDLEBOX_INTERFERENCE,
        }
    }
}

/// A join that was answered and waits for its third ACK. Small: a flood of SYNs multiplies these.
#[derive(Clone, Debug)]
pub struct Joining {
    accepting: Accepting,
    state: join::Joining,
    local_id: AddrId,
    /// The MP_JOIN of the SYN+ACK, computed once (RFC 8684 3.2, figure 6).
    option: [u8; 16],
}

impl Joining {
    /// The SYN+ACK, the same each time the SYN or our timer asks for it.
    pub fn syn_ack<B: PacketBuf>(&mut self, now: Instant) -> OutSegment<B> {
        let upper = self.option.iter().copied().collect::<OptBytes>();
        self.accepting.syn_ack(now, upper)
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
    /// The subflow lives and the segment was taken in: see [`Connection::outcome`]. The fourth ACK is due: call
    /// [`Connection::output`].
    Established(SubflowId),
    /// Nothing came of it yet: go on waiting, after sending this, if anything.
    Waiting(Option<OutSegment<B>>),
    /// Give it up, after sending this reset, if any.
    Refused(JoinRefusal, Option<OutSegment<B>>),
}

impl<B: PacketBuf> Connection<B> {
    pub(crate) const fn keys(&self) -> Keys {
        Keys {
            version: self.params().version,
            local: self.params().local.key,
            remote: self.params().remote_key,
        }
    }

    /// Whether one more subflow may join.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check_joinable(&self) -> Result<(), JoinRefusal> {
        if self.is_over() || self.mode() == Mode::Fallback || self.is_closing() {
            return Err(JoinRefusal::NotJoinable);
        }
        let under_way = self.subflows().count() + usize::from(self.joins_pending());
        let limit = usize::from(self.params().limits.subflows).min(SUBFLOWS_MAX);
        if under_way >= limit {
            Err(JoinRefusal::Limit)
        } else {
            Ok(())
        }
    }

    /// Answers a SYN with MP_JOIN whose token named this connection. `accepting` is made from the SYN, `local_id` names
    /// the address it came to (0 for that of the first subflow). Send [`Joining::syn_ack`] next; a repeated SYN gets it
    /// again. On a refusal, answer with [`Self::refuse_join`].
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
        let nonce = cx.rng.u32();
        self.join_with(cx, syn, accepting, local_id, nonce)
    }

    /// [`Self::join`] with a given random number instead of one that is drawn, for the replay of a capture.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub fn join_with(
        &mut self,
        cx: &mut Cx<'_>,
        syn: &Segment<B>,
        accepting: Accepting,
        local_id: AddrId,
        nonce: u32,
    ) -> Result<Joining, JoinRefusal> {
        let Ok(request) = join::request(&syn.options.mptcp) else {
            cx.mptcp.count(Counter::MpJoinSynMalformed);
            return Err(JoinRefusal::Malformed);
        };
        cx.mptcp.count(Counter::MpJoinSynRx);
        self.check_joinable()
            .inspect_err(|_| cx.mptcp.count(Counter::MpJoinRefused))?;
        let state = join::Joining::new(&request, nonce);
        let answer = MpOption::from(match self.params().version {
            Version::V0 => state.syn_ack(&self.keys(), local_id, false),
            Version::V1 => state.syn_ack_under(self.keyed(), local_id, false),
        });
        let mut option = [0; 16];
        for (octet, value) in option.iter_mut().zip(OptBytes::from(answer).iter()) {
            *octet = *value;
        }
        *self.joins_pending_mut() += 1;
        cx.mptcp.count(Counter::MpJoinSynAckTx);
        Ok(Joining {
            accepting,
            state,
            local_id,
            option,
        })
    }

    /// Takes the next segment of a join: its third ACK makes a subflow if HMAC-A is right (RFC 8684 3.2).
    pub fn complete_join(
        &mut self,
        cx: &mut Cx<'_>,
        joining: &mut Joining,
        seg: &Segment<B>,
    ) -> Joined<B> {
        let agreed = match joining.accepting.third_ack(&mut cx.stack(), seg) {
            AcceptVerdict::Established(agreed) => agreed,
            AcceptVerdict::Resend => return Joined::Waiting(Some(joining.syn_ack(cx.now))),
            AcceptVerdict::Answer(segment) => return Joined::Waiting(Some(segment)),
            AcceptVerdict::Dropped => return Joined::Waiting(None),
            AcceptVerdict::Reset => {
                self.abandon_join();
                return Joined::Refused(JoinRefusal::Dropped, None);
            },
        };
        self.abandon_join();
        let proven = match joining.state.third_ack(&self.keys(), &seg.options.mptcp) {
            Ok(()) => self.check_joinable(),
            Err(NotJoin::Absent) => {
                cx.mptcp.count(Counter::MpJoinAckMissing);
                Err(JoinRefusal::Missing)
            },
            Err(NotJoin::Hmac) => {
                cx.mptcp.count(Counter::MpJoinAckHmacFailure);
                Err(JoinRefusal::Hmac)
            },
            Err(NotJoin::Malformed(_) | NotJoin::Contradiction) => Err(JoinRefusal::Malformed),
        };
        if let Err(refusal) = proven {
            return Joined::Refused(refusal, self.refuse_join(seg, refusal));
        }
        cx.mptcp.count(Counter::MpJoinAckRx);
        let Some(id) = self.add_joined(cx, &agreed, seg.tuple, |subflow| {
            subflow.local_id = joining.local_id;
            subflow.remote_id = joining.state.remote_id;
            subflow.backup = joining.state.backup;
            // The fourth ACK: only it lets the peer send data.
            subflow.tcb.request_ack();
        }) else {
            let refusal = JoinRefusal::Limit;
            return Joined::Refused(refusal, self.refuse_join(seg, refusal));
        };
        self.input(cx, id, seg);
        if let Some(at) = self.subflow_mut(id) {
            at.tcb.request_ack();
        }
        Joined::Established(id)
    }

    /// Notes that a join was given up: its place counts against the limit no more. Not for joins that
    /// [`Self::complete_join`] established or refused.
    pub fn abandon_join(&mut self) {
        let pending = self.joins_pending_mut();
        *pending = pending.saturating_sub(1);
    }

    /// The reset that answers a refused MP_JOIN: in version 1 with the reason (RFC 8684 3.6).
    #[must_use]
    pub fn refuse_join(&self, seg: &Segment<B>, refusal: JoinRefusal) -> Option<OutSegment<B>> {
        match self.params().version {
            Version::V0 => stack::tcp::reset_for(seg),
            Version::V1 => refuse_join(seg, refusal),
        }
    }

    /// Adds a subflow whose peer proved that it knows both keys.
    pub(crate) fn add_joined(
        &mut self,
        cx: &mut Cx<'_>,
        agreed: &Agreed,
        tuple: Tuple,
        prepare: impl FnOnce(&mut Subflow<B>),
    ) -> Option<SubflowId> {
        let id = self.free_id()?;
        let (tcb, pieces_max) = (Tcb::new(agreed, cx.now), self.params().limits.pieces_max());
        let mut subflow = Subflow::new(id, tuple, tcb, true, pieces_max);
        prepare(&mut subflow);
        self.adopt(subflow);
        self.tell(Event::SubflowOpened { id, tuple });
        Some(id)
    }
}

/// The reset that answers an MP_JOIN without a connection, with the reason (RFC 8684 3.6): who speaks version 0, which
/// does not know that option, ignores it. See [`Connection::refuse_join`].
#[must_use]
pub fn refuse_join<B: PacketBuf>(seg: &Segment<B>, refusal: JoinRefusal) -> Option<OutSegment<B>> {
    let mut reset = stack::tcp::reset_for(seg)?;
    let transient = refusal == JoinRefusal::Limit;
    reset.options.mptcp = MpOption::from(TcpRst {
        transient,
        reason: refusal.reason(),
    })
    .into();
    Some(reset)
}
