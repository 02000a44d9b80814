//! A connection at rest: what is left of one on which nothing travels, waits or is due. Most connections of a box are at
//! rest at any time, and this takes a quarter of the memory of a [`Tcb`].

use super::challenge_ack::ChallengeAcks;
use super::ecn::Ecn;
use super::keepalive::RestingKeepalive;
use super::pacing::Pacing;
use super::rare::Rare;
use super::recv::RestingReceiver;
use super::send::RestingSender;
use super::timers::Timers;
use super::{State, Tcb, TsState};
use crate::PacketBuf;
use crate::time::Instant;

/// A [`Tcb`] in ESTABLISHED of which all that was sent is acknowledged and all that came was taken. What it remembers only for
/// a round trip or some seconds is forgotten, so it is to be made some time after the last segment.
#[derive(Clone, Debug)]
pub struct Resting {
    snd: RestingSender,
    rcv: RestingReceiver,
    keepalive: Option<RestingKeepalive>,
    ts: TsState,
    ts_recent_age: u32,
    has_ts: bool,
    ecn: bool,
    paced: bool,
}

impl Resting {
    /// Octets of payload that the peer has acknowledged.
    #[must_use]
    pub const fn bytes_acked(&self) -> u64 {
        self.snd.octets_acked()
    }

    /// Octets of payload that have come in order.
    #[must_use]
    pub const fn bytes_received(&self) -> u64 {
        self.rcv.octets()
    }

    /// The connection, to go on with.
    #[must_use]
    pub fn wake<B: PacketBuf>(&self) -> Tcb<B> {
        let rcv = self.rcv.wake();
        let rare = Rare {
            ecn: self.ecn.then(Ecn::default),
            pacing: self.paced.then(Pacing::default),
            ..Rare::default()
        };
        let is_used = self.ecn || self.paced;
        Tcb {
            state: State::Established,
            timed_out: false,
            has_ts: self.has_ts,
            ts: self.ts,
            ts_recent_age: self.ts_recent_age,
            last_ack_sent: rcv.nxt(),
            challenges: ChallengeAcks::default(),
            rare: is_used.then(|| Box::new(rare)),
            keepalive: self.keepalive.map(RestingKeepalive::wake),
            timers: Timers::default(),
            snd: self.snd.wake(rcv.nxt()),
            rcv,
        }
    }
}

impl<B: PacketBuf> Tcb<B> {
    /// The connection at rest; `None` while anything is to be done about it.
    #[must_use]
    pub fn rest(&self) -> Option<Resting> {
        // All fields are named: a new one has to be kept, or not to matter at rest.
        let Self {
            state,
            timed_out,
            has_ts,
            ts,
            ts_recent_age,
            last_ack_sent,
            challenges: _,
            rare,
            keepalive,
            timers,
            snd,
            rcv,
        } = self;
        let rests = *state == State::Established && !timed_out && timers.next() == Instant::NEVER;
        if !rests {
            return None;
        }
        let Rare {
            ecn,
            suspicion,
            pacing,
            probe,
            asks_window: _,
        } = rare.as_deref().cloned().unwrap_or_default();
        let is_idle = |ecn: &Ecn| ecn.is_idle();
        let rests = suspicion.is_none() && !probe && ecn.as_ref().is_none_or(is_idle);
        rests.then_some(())?;
        let keepalive = match keepalive {
            None => None,
            Some(keepalive) => Some(keepalive.rest()?),
        };
        let (snd, rcv_resting) = (snd.rest()?, rcv.rest()?);
        // What came and is not acknowledged has its ACK due, or waiting.
        debug_assert_eq!(*last_ack_sent, rcv.nxt());
        Some(Resting {
            snd,
            rcv: rcv_resting,
            keepalive,
            ts: *ts,
            ts_recent_age: *ts_recent_age,
            has_ts: *has_ts,
            ecn: ecn.is_some(),
            paced: pacing.is_some(),
        })
    }
}
