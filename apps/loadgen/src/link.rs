//! One established connection as a stream, TCP or Multipath TCP.

use mptcp::Cx;
use mptcp::connection::{Connection, Outcome, Output, SubflowId};
use stack::tcp::time_wait::TimeWait;
use stack::tcp::{State, Tcb, Verdict};
use stack::wire::tcp::{OutSegment, Segment};
use stack::{Instant, PacketBuf, Slice, Tuple};

/// Octets that may wait for the peer's acknowledgment, and that may wait for us to read them.
pub(crate) const WINDOW: u32 = 1 << 20;

/// Octets that are queued unsent at most: more would only take memory.
const AHEAD: usize = 256 << 10;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Both directions ended and were acknowledged.
    Clean,
    /// The peer reset it.
    Reset,
    /// The peer stopped answering.
    Lost,
}

/// An established connection.
pub(crate) enum Link<B> {
    /// TCP, with the tuple of the segments that we send.
    Plain {
        tcb: Box<Tcb<B>>,
        tuple: Tuple,
        /// The peer reset it, or we did.
        reset: bool,
        /// The reset that is still to be sent.
        parting: Option<Box<OutSegment<B>>>,
    },
    /// Multipath TCP, or what it fell back to.
    Multipath(Box<Connection<B>>),
}

impl<B: PacketBuf> Link<B> {
    /// A TCP connection whose segments leave with `tuple`.
    pub(crate) fn plain(tcb: Tcb<B>, tuple: Tuple) -> Self {
        Self::Plain {
            tcb: Box::new(tcb),
            tuple,
            reset: false,
            parting: None,
        }
    }

    /// Takes a segment of subflow `id`.
    pub(crate) fn input(&mut self, cx: &mut Cx<'_>, id: SubflowId, segment: &Segment<B>) {
        match self {
            Self::Plain { tcb, reset, .. } => {
                *reset |= matches!(tcb.input(&mut cx.stack(), segment), Verdict::Reset);
            },
            Self::Multipath(connection) => {
                connection.input(cx, id, segment);
            },
        }
    }

    /// The next octets in order.
    pub(crate) fn take(&mut self) -> Option<Slice<B>> {
        match self {
            Self::Plain { tcb, .. } => tcb.take().map(|(_, payload)| payload),
            Self::Multipath(connection) => connection.take(),
        }
    }

    /// Says that everything was read.
    pub(crate) fn open_window(&mut self) {
        match self {
            Self::Plain { tcb, .. } => tcb.set_recv_room(WINDOW),
            Self::Multipath(connection) => connection.set_recv_room(WINDOW),
        }
    }

    /// Whether one more piece may be queued.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Plain { tcb, .. } => tcb.unsent() < AHEAD && tcb.queued() < WINDOW as usize,
            Self::Multipath(connection) => connection.send_room() > 0,
        }
    }

    /// Queues payload.
    pub(crate) fn send(&mut self, payload: Slice<B>) {
        match self {
            Self::Plain { tcb, .. } => tcb.send(payload),
            Self::Multipath(connection) => connection.send(payload),
        }
    }

    /// Ends our direction after what is queued.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Plain { tcb, .. } => tcb.finish(),
            Self::Multipath(connection) => connection.finish(),
        }
    }

    /// Whether the peer has ended its direction and all before that was taken.
    pub(crate) fn fin_received(&self) -> bool {
        match self {
            Self::Plain { tcb, .. } => tcb.fin_received(),
            Self::Multipath(connection) => connection.fin_received(),
        }
    }

    /// Acknowledges that.
    pub(crate) fn accept_fin(&mut self) {
        match self {
            Self::Plain { tcb, .. } => tcb.accept_fin(),
            Self::Multipath(connection) => connection.accept_fin(),
        }
    }

    /// Resets it.
    pub(crate) fn abort(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Plain {
                tcb,
                reset,
                parting,
                ..
            } => {
                *parting = tcb.abort(&mut cx.stack()).map(Box::new);
                *reset = true;
            },
            Self::Multipath(connection) => connection.abort(cx),
        }
    }

    /// The next segment to send; call until `None`.
    pub(crate) fn output(&mut self, cx: &mut Cx<'_>) -> Option<Output<B>> {
        match self {
            Self::Plain {
                tcb,
                tuple,
                parting,
                ..
            } => {
                let parting = parting.take().map(|segment| *segment);
                let segment = parting.or_else(|| tcb.output(&mut cx.stack(), 0))?;
                Some(Output {
                    subflow: SubflowId::INITIAL,
                    tuple: *tuple,
                    segment,
                })
            },
            Self::Multipath(connection) => connection.output(cx),
        }
    }

    /// When [`Self::advance`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Plain { tcb, .. } => tcb.next_deadline(),
            Self::Multipath(connection) => connection.next_deadline(),
        }
    }

    /// Runs the timers that are due.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Plain { tcb, .. } => tcb.advance(&mut cx.stack()),
            Self::Multipath(connection) => {
                connection.advance(cx);
            },
        }
    }

    /// How it ended, if it did.
    pub(crate) fn fate(&self) -> Option<Fate> {
        match self {
            Self::Plain { reset: true, .. } => Some(Fate::Reset),
            Self::Plain { tcb, .. } => match tcb.state() {
                State::Closed if tcb.timed_out() => Some(Fate::Lost),
                State::Closed | State::TimeWait => Some(Fate::Clean),
                _ => None,
            },
            Self::Multipath(connection) => match connection.outcome() {
                Outcome::Alive => None,
                Outcome::Closed => Some(Fate::Clean),
                Outcome::Reset(mptcp::connection::ResetReason::TimedOut) => Some(Fate::Lost),
                Outcome::Reset(_) => Some(Fate::Reset),
            },
        }
    }

    /// What is left of it in TIME-WAIT.
    pub(crate) fn time_wait(&self, now: Instant) -> Option<TimeWait> {
        match self {
            Self::Plain { tcb, .. } => tcb.time_wait(now),
            Self::Multipath(_) => None,
        }
    }

    /// The Multipath TCP connection, if it is one.
    pub(crate) fn multipath(&mut self) -> Option<&mut Connection<B>> {
        match self {
            Self::Plain { .. } => None,
            Self::Multipath(connection) => Some(connection),
        }
    }

    /// Subflows that live; a TCP connection has one.
    pub(crate) fn subflows(&self) -> usize {
        match self {
            Self::Plain { .. } => 1,
            Self::Multipath(connection) => connection.subflows().count(),
        }
    }
}
