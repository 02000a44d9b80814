//! What runs a connection from ESTABLISHED on: TCP, or Multipath TCP and what it fell back to.

use dataplane::MemBuf;
use mptcp::Cx;
use mptcp::connection::{Connection, Outcome, ResetReason, SubflowId};
use stack::tcp::{State, Tcb, Verdict};
use stack::wire::tcp::{OutSegment, Segment};
use stack::{Instant, Slice, Tuple};

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Both directions ended and were acknowledged.
    Clean,
    /// The peer reset it, or we did.
    Reset,
    /// The peer stopped answering.
    Lost,
}

/// An established connection.
pub(crate) enum Stream {
    Plain { tcb: Box<Tcb<MemBuf>>, reset: bool },
    Multi(Box<Connection<MemBuf>>),
}

impl Stream {
    pub(crate) fn plain(tcb: Tcb<MemBuf>) -> Self {
        Self::Plain {
            tcb: Box::new(tcb),
            reset: false,
        }
    }

    /// The TCP of the first subflow, while there is one.
    pub(crate) fn tcb(&self) -> Option<&Tcb<MemBuf>> {
        match self {
            Self::Plain { tcb, .. } => Some(tcb),
            Self::Multi(connection) => connection.subflows().next().map(|subflow| subflow.tcb()),
        }
    }

    /// Takes a segment of subflow `id`; whether it brought octets that are next.
    pub(crate) fn input(
        &mut self,
        cx: &mut Cx<'_>,
        id: SubflowId,
        segment: &Segment<MemBuf>,
    ) -> bool {
        match self {
            Self::Plain { tcb, reset } => {
                let next = tcb.rcv_nxt();
                *reset |= tcb.input(&mut cx.stack(), segment) == Verdict::Reset;
                tcb.rcv_nxt() != next
            },
            Self::Multi(connection) => {
                connection.input(cx, id, segment);
                false
            },
        }
    }

    pub(crate) fn take(&mut self) -> Option<Slice<MemBuf>> {
        match self {
            Self::Plain { tcb, .. } => tcb.take().map(|(_, payload)| payload),
            Self::Multi(connection) => connection.take(),
        }
    }

    pub(crate) fn set_recv_room(&mut self, octets: u32) {
        match self {
            Self::Plain { tcb, .. } => tcb.set_recv_room(octets),
            Self::Multi(connection) => connection.set_recv_room(octets),
        }
    }

    /// Acknowledges the peer's end, if that is next; whether it was.
    pub(crate) fn accept_fin(&mut self) -> bool {
        match self {
            Self::Plain { tcb, .. } => {
                let next = tcb.fin_received();
                tcb.accept_fin();
                next
            },
            Self::Multi(connection) => {
                let next = connection.fin_received();
                connection.accept_fin();
                next
            },
        }
    }

    /// Has what arrived acknowledged at once.
    pub(crate) fn request_ack(&mut self) {
        if let Self::Plain { tcb, .. } = self {
            tcb.request_ack();
        }
    }

    /// Most octets of a segment of its own.
    pub(crate) fn piece(&self) -> usize {
        match self {
            Self::Plain { tcb, .. } => tcb.max_payload(0),
            Self::Multi(_) => usize::MAX,
        }
    }

    /// Octets that were sent or wait to be, and are not acknowledged.
    pub(crate) fn queued(&self) -> usize {
        match self {
            Self::Plain { tcb, .. } => tcb.queued(),
            Self::Multi(connection) => connection.queued(),
        }
    }

    /// Queues a piece of the stream, with PSH after it if `push`.
    pub(crate) fn send(&mut self, payload: Slice<MemBuf>, push: bool) {
        match self {
            Self::Plain { tcb, .. } => {
                tcb.push(stack::tcp::Item {
                    payload,
                    upper: stack::wire::tcp::OptBytes::new(),
                    psh: push,
                });
            },
            Self::Multi(connection) => connection.send(payload),
        }
    }

    pub(crate) fn finish(&mut self) {
        match self {
            Self::Plain { tcb, .. } => tcb.finish(),
            Self::Multi(connection) => connection.finish(),
        }
    }

    /// Resets it; a reset that is not among what [`Self::output`] gives.
    pub(crate) fn abort(&mut self, cx: &mut Cx<'_>) -> Option<OutSegment<MemBuf>> {
        match self {
            Self::Plain { tcb, reset } => {
                *reset = true;
                tcb.abort(&mut cx.stack())
            },
            Self::Multi(connection) => {
                connection.abort(cx);
                None
            },
        }
    }

    /// The next segment to send, with its tuple unless that is the connection's own; call until `None`.
    pub(crate) fn output(
        &mut self,
        cx: &mut Cx<'_>,
    ) -> Option<(OutSegment<MemBuf>, Option<Tuple>)> {
        match self {
            Self::Plain { tcb, .. } => tcb
                .output(&mut cx.stack(), 0)
                .map(|segment| (segment, None)),
            Self::Multi(connection) => {
                let output = connection.output(cx)?;
                Some((output.segment, Some(output.tuple)))
            },
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Plain { tcb, .. } => tcb.next_deadline(),
            Self::Multi(connection) => connection.next_deadline(),
        }
    }

    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Plain { tcb, .. } => tcb.advance(&mut cx.stack()),
            Self::Multi(connection) => {
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
            Self::Multi(connection) => match connection.outcome() {
                Outcome::Alive => None,
                Outcome::Closed => Some(Fate::Clean),
                Outcome::Reset(ResetReason::TimedOut) => Some(Fate::Lost),
                Outcome::Reset(_) => Some(Fate::Reset),
            },
        }
    }
}
