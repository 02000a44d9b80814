//! A join that we open: SYN, SYN+ACK, and the third ACK that is repeated until the fourth (RFC 8684 3.2).

use super::JoinRefusal;
use crate::Cx;
use crate::connection::{Connection, SubflowId};
use crate::counters::Counter;
use crate::handshake::join;
use crate::option::MpOption;
use crate::types::AddrId;
use core::net::IpAddr;
use stack::tcp::handshake::{OpenVerdict, Opening};
use stack::wire::tcp::{OptBytes, OutSegment, Segment};
use stack::{Instant, PacketBuf};

/// A join of ours that waits for its SYN+ACK.
#[derive(Clone, Debug)]
pub struct OpenJoin {
    opening: Opening,
    nonce: u32,
    local_id: AddrId,
    option: OptBytes,
}

impl OpenJoin {
    /// The SYN, the same each time.
    #[must_use]
    pub fn syn<B: PacketBuf>(&self, now: Instant) -> OutSegment<B> {
        self.opening.syn(now, self.option)
    }

    /// When the SYN is due again; note each with [`Self::sent_again`].
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.opening.next_deadline()
    }

    /// Notes that the SYN went out once more.
    pub const fn sent_again(&mut self, now: Instant) {
        self.opening.sent_again(now);
    }

    /// How often the SYN was sent: the owner gives up after a few.
    #[must_use]
    pub const fn sends(&self) -> u8 {
        self.opening.sends()
    }
}

/// What a segment meant to an [`OpenJoin`].
#[derive(Debug)]
pub enum Initiated<B> {
    /// The subflow lives; it carries no data of ours before the fourth ACK. Call [`Connection::output`].
    Established(SubflowId),
    /// Nothing came of it yet: go on waiting, after sending this, if anything.
    Waiting(Option<OutSegment<B>>),
    /// Give it up, after sending this reset, if any.
    Refused(JoinRefusal, Option<OutSegment<B>>),
}

impl<B: PacketBuf> Connection<B> {
    /// Opens one more subflow from our address `local_id` to the peer's address and port `to`: `opening` holds the SYN.
    /// Send [`OpenJoin::syn`] next.
    ///
    /// # Errors
    /// Why no subflow may join now.
    pub fn open_join(
        &mut self,
        cx: &mut Cx<'_>,
        opening: Opening,
        to: (IpAddr, u16),
        local_id: AddrId,
        backup: bool,
    ) -> Result<OpenJoin, JoinRefusal> {
        if self.denies_join(to) {
            return Err(JoinRefusal::Denied);
        }
        let nonce = cx.rng.u32();
        self.open_join_with(cx, opening, local_id, backup, nonce)
    }

    /// [`Self::open_join`] with a given random number instead of one that is drawn, for the replay of a capture.
    ///
    /// # Errors
    /// As [`Self::open_join`].
    pub fn open_join_with(
        &mut self,
        cx: &mut Cx<'_>,
        opening: Opening,
        local_id: AddrId,
        backup: bool,
        nonce: u32,
    ) -> Result<OpenJoin, JoinRefusal> {
        self.check_joinable()?;
        let option = MpOption::from(join::syn(&self.keys(), nonce, local_id, backup)).into();
        *self.joins_pending_mut() += 1;
        cx.mptcp.count(Counter::MpJoinSynTx);
        Ok(OpenJoin {
            opening,
            nonce,
            local_id,
            option,
        })
    }

    /// Takes a segment of a join of ours: its SYN+ACK makes a subflow if HMAC-B is right. `smss` is what
    /// [`Offer::smss`](stack::tcp::handshake::Offer::smss) of the answer gives at most on this path.
    pub fn input_join(
        &mut self,
        cx: &mut Cx<'_>,
        open: &mut OpenJoin,
        smss_limit: u16,
        seg: &Segment<B>,
    ) -> Initiated<B> {
        let offer = match open.opening.input(&mut cx.stack(), seg) {
            OpenVerdict::Answered(offer) => offer,
            // A SYN of the peer's on the very ports of ours goes unanswered: each side tries again in its own time.
            OpenVerdict::Dropped | OpenVerdict::Crossed(_) => return Initiated::Waiting(None),
            OpenVerdict::Reset(reset) => return Initiated::Waiting(Some(reset)),
            OpenVerdict::Refused => {
                self.abandon_join();
                return Initiated::Refused(JoinRefusal::Dropped, None);
            },
        };
        self.abandon_join();
        let joined = match join::syn_ack(&seg.options.mptcp, &self.keys(), open.nonce) {
            Ok(joined) => joined,
            Err(why) => {
                let refusal = match why {
                    join::NotJoin::Hmac => {
                        cx.mptcp.count(Counter::MpJoinSynAckHmacFailure);
                        JoinRefusal::Hmac
                    },
                    join::NotJoin::Absent => JoinRefusal::Missing,
                    _ => JoinRefusal::Malformed,
                };
                return Initiated::Refused(refusal, self.refuse_join(seg, refusal));
            },
        };
        cx.mptcp.count(Counter::MpJoinSynAckRx);
        // Since its SYN the connection may have fallen back, and then nothing may run beside its only subflow (RFC 8684 3.7),
        // or begun to end.
        if let Err(refusal) = self.check_joinable() {
            return Initiated::Refused(refusal, self.refuse_join(seg, refusal));
        }
        let ipv6 = seg.tuple.src.is_ipv6();
        let now = cx.now;
        let local_id = open.local_id;
        let id = open
            .opening
            .agreed(offer.smss(smss_limit, ipv6))
            .and_then(|agreed| {
                self.add_joined(cx, &agreed, seg.tuple, |subflow| {
                    subflow.local_id = local_id;
                    subflow.remote_id = joined.remote_id;
                    subflow.backup = joined.backup;
                    subflow.join_ack = Some(MpOption::from(joined.ack).into());
                    subflow.join_ack_at = Some(now + subflow.tcb.rto());
                    subflow.tcb.request_ack();
                })
            });
        id.map_or_else(
            || {
                let refusal = JoinRefusal::Limit;
                Initiated::Refused(refusal, self.refuse_join(seg, refusal))
            },
            Initiated::Established,
        )
    }
}
