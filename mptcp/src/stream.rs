//! An established connection as its owner sees it, whether it is TCP or Multipath TCP: a stream in, a stream out, an end.

use crate::Cx;
use crate::connection::{Connection, Outcome, Output, ResetReason, SubflowId};
use stack::tcp::time_wait::TimeWait;
use stack::tcp::{State, Tcb, Verdict};
use stack::wire::tcp::{OutSegment, Segment};
use stack::{Instant, PacketBuf, Slice, Tuple};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Both directions ended and were acknowledged.
    Clean,
    /// The peer reset it.
    Reset,
    /// The peer stopped answering.
    Lost,
    /// We reset it.
    Aborted,
}

/// A TCP connection, the tuple of its segments, and how it ended.
pub struct Plain<B> {
    /// Its state.
    pub tcb: Tcb<B>,
    /// Addresses and ports of the segments that we send.
    pub tuple: Tuple,
    fate: Option<Fate>,
    /// The reset that is still to be sent.
    parting: Option<Box<OutSegment<B>>>,
}

impl<B: PacketBuf> Plain<B> {
    /// One over `tcb` whose segments leave with `tuple`.
    pub const fn new(tcb: Tcb<B>, tuple: Tuple) -> Self {
        Self {
            tcb,
            tuple,
            fate: None,
            parting: None,
        }
    }

    fn input(&mut self, cx: &mut Cx<'_>, segment: &Segment<B>) -> bool {
        match self.tcb.input(&mut cx.stack(), segment) {
            Verdict::Accepted { .. } => true,
            Verdict::Dropped => false,
            Verdict::Reset => {
                self.fate.get_or_insert(Fate::Reset);
                true
            },
        }
    }

    fn fate(&self) -> Option<Fate> {
        self.fate.or_else(|| match self.tcb.state() {
            State::Closed if self.tcb.timed_out() => Some(Fate::Lost),
            State::Closed | State::TimeWait => Some(Fate::Clean),
            _ => None,
        })
    }

    fn abort(&mut self, cx: &mut Cx<'_>) {
        if self.fate().is_none() {
            self.parting = self.tcb.abort(&mut cx.stack()).map(Box::new);
            self.fate = Some(Fate::Aborted);
        }
    }

    fn output(&mut self, cx: &mut Cx<'_>) -> Option<OutSegment<B>> {
        if self.parting.is_some() {
            return self.parting.take().map(|segment| *segment);
        }
        self.tcb.output(&mut cx.stack(), 0)
    }
}

/// An established connection.
#[expect(
    clippy::large_enum_variant,
    reason = "every relay has a TCP leg at least towards the server; a box would cost a miss per segment"
)]
pub enum Stream<B> {
    /// TCP.
    Plain(Plain<B>),
    /// Multipath TCP, or what it fell back to.
    Multipath(Box<Connection<B>>),
}

impl<B: PacketBuf> Stream<B> {
    /// TCP whose segments leave with `tuple`.
    pub const fn plain(tcb: Tcb<B>, tuple: Tuple) -> Self {
        Self::Plain(Plain::new(tcb, tuple))
    }

    /// Takes a segment that the peer sent on subflow `id` (always the initial one of TCP); whether it was acceptable, as
    /// far as that is known.
    pub fn input(&mut self, cx: &mut Cx<'_>, id: SubflowId, segment: &Segment<B>) -> bool {
        match self {
            Self::Plain(plain) => plain.input(cx, segment),
            Self::Multipath(connection) => {
                connection.input(cx, id, segment);
                true
            },
        }
    }

    /// The next payload in order.
    pub fn take(&mut self) -> Option<Slice<B>> {
        match self {
            Self::Plain(plain) => plain.tcb.take().map(|(_, payload)| payload),
            Self::Multipath(connection) => connection.take(),
        }
    }

    /// Whether the peer has closed and all before that was taken. It is not told so before [`Self::accept_fin`].
    pub fn fin_received(&self) -> bool {
        match self {
            Self::Plain(plain) => plain.tcb.fin_received(),
            Self::Multipath(connection) => connection.fin_received(),
        }
    }

    /// Acknowledges the peer's end of stream.
    pub fn accept_fin(&mut self) {
        match self {
            Self::Plain(plain) => plain.tcb.accept_fin(),
            Self::Multipath(connection) => connection.accept_fin(),
        }
    }

    /// How many octets the owner can hold beyond what it took.
    pub fn set_recv_room(&mut self, octets: u32) {
        match self {
            Self::Plain(plain) => plain.tcb.set_recv_room(octets),
            Self::Multipath(connection) => connection.set_recv_room(octets),
        }
    }

    /// Queues payload towards the peer.
    pub fn send(&mut self, payload: Slice<B>) {
        match self {
            Self::Plain(plain) => plain.tcb.send(payload),
            Self::Multipath(connection) => connection.send(payload),
        }
    }

    /// Ends the stream towards the peer after what is queued.
    pub fn finish(&mut self) {
        match self {
            Self::Plain(plain) => plain.tcb.finish(),
            Self::Multipath(connection) => connection.finish(),
        }
    }

    /// Octets that the peer has not acknowledged, sent or not.
    pub fn queued(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.tcb.queued(),
            Self::Multipath(connection) => connection.queued(),
        }
    }

    /// The next segment to send; call until `None`.
    pub fn output(&mut self, cx: &mut Cx<'_>) -> Option<Output<B>> {
        match self {
            Self::Plain(plain) => plain.output(cx).map(|segment| Output {
                subflow: SubflowId::INITIAL,
                tuple: plain.tuple,
                segment,
            }),
            Self::Multipath(connection) => connection.output(cx),
        }
    }

    /// Resets the connection, unless it has ended.
    pub fn abort(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Plain(plain) => plain.abort(cx),
            Self::Multipath(connection) => {
                if !connection.is_closed() {
                    connection.abort(cx);
                }
            },
        }
    }

    /// How it ended, if it did.
    pub fn fate(&self) -> Option<Fate> {
        match self {
            Self::Plain(plain) => plain.fate(),
            Self::Multipath(connection) => match connection.outcome() {
                Outcome::Alive => None,
                Outcome::Closed => Some(Fate::Clean),
                Outcome::Reset(ResetReason::Fastclose | ResetReason::LastSubflow) => {
                    Some(Fate::Reset)
                },
                Outcome::Reset(ResetReason::TimedOut | ResetReason::Unusable) => Some(Fate::Lost),
                Outcome::Reset(ResetReason::Aborted) => Some(Fate::Aborted),
            },
        }
    }

    /// When [`Self::advance`] is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Plain(plain) => plain.tcb.next_deadline(),
            Self::Multipath(connection) => connection.next_deadline(),
        }
    }

    /// Runs the timers that are due.
    pub fn advance(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Plain(plain) => plain.tcb.advance(&mut cx.stack()),
            Self::Multipath(connection) => {
                connection.advance(cx);
            },
        }
    }

    /// What is left of it in TIME-WAIT, with the tuple of the segments that we send.
    pub fn time_wait(&self, now: Instant) -> Option<(Tuple, TimeWait)> {
        match self {
            Self::Plain(plain) => plain.tcb.time_wait(now).map(|state| (plain.tuple, state)),
            Self::Multipath(_) => None,
        }
    }

    /// The Multipath TCP connection, unless it is plain TCP.
    pub fn multipath(&self) -> Option<&Connection<B>> {
        match self {
            Self::Plain(_) => None,
            Self::Multipath(connection) => Some(connection),
        }
    }

    /// The same, to be changed.
    pub fn multipath_mut(&mut self) -> Option<&mut Connection<B>> {
        match self {
            Self::Plain(_) => None,
            Self::Multipath(connection) => Some(connection),
        }
    }
}
