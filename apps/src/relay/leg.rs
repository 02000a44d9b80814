//! One side of a relay: a TCP connection, seen by the relay as a stream in, a stream out, and its fate.

use super::info::SubflowInfo;
use stack::ip::IcmpKind;
use stack::tcp::time_wait::TimeWait;
use stack::tcp::{State, Tcb, Verdict};
use stack::wire::tcp::{OutSegment, Segment};
use stack::{Cx, Instant, PacketBuf, SeqNum, Slice, Tuple};

/// How a leg ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Both directions ended and were acknowledged.
    Clean,
    /// The peer reset it.
    Reset,
    /// The peer stopped answering.
    Lost,
    /// We reset it.
    Aborted,
}

/// A TCP leg.
pub(crate) struct Plain<B> {
    pub(crate) tcb: Tcb<B>,
    /// Addresses and ports of the segments that we send.
    pub(crate) tuple: Tuple,
    end: Option<End>,
    /// The reset that is still to be sent.
    parting: Option<OutSegment<B>>,
}

impl<B: PacketBuf> Plain<B> {
    /// A leg over `tcb` whose segments leave with `tuple`.
    pub(crate) const fn new(tcb: Tcb<B>, tuple: Tuple) -> Self {
        Self {
            tcb,
            tuple,
            end: None,
            parting: None,
        }
    }

    fn input(&mut self, cx: &mut Cx<'_>, segment: &Segment<B>) -> bool {
        match self.tcb.input(cx, segment) {
            Verdict::Accepted { .. } => true,
            Verdict::Dropped => false,
            Verdict::Reset => {
                self.end.get_or_insert(End::Reset);
                true
            },
        }
    }

    fn end(&self) -> Option<End> {
        self.end.or_else(|| match self.tcb.state() {
            State::Closed if self.tcb.timed_out() => Some(End::Lost),
            State::Closed | State::TimeWait => Some(End::Clean),
            _ => None,
        })
    }

    fn abort(&mut self, cx: &mut Cx<'_>) {
        if self.end().is_none() {
            self.parting = self.tcb.abort(cx);
            self.end = Some(End::Aborted);
        }
    }

    /// Whether the end of the stream has left: it takes the sequence number after the last octet.
    fn fin_sent(&self) -> bool {
        self.tcb.snd_nxt() > self.tcb.push_seq()
    }

    /// Acts on an ICMP error about a segment numbered `seq` if it is in flight (RFC 5927 4). What says that packets are
    /// too big lowers the segment size; all else is soft once a connection is established (RFC 5461 4).
    fn on_icmp_error(&mut self, seq: SeqNum, kind: IcmpKind) -> bool {
        let in_flight = seq.within(self.tcb.snd_una(), self.tcb.snd_nxt() - self.tcb.snd_una());
        if let (true, IcmpKind::TooBig { mtu }) = (in_flight, kind) {
            let (headers, least) = if self.tuple.dst.is_ipv4() {
                (40, 576)
            } else {
                (60, 1280)
            };
            // A router that names no MTU, or one below the family's minimum, is believed down to that minimum.
            self.tcb.set_smss(mtu.max(least) - headers);
        }
        in_flight
    }

    fn output(&mut self, cx: &mut Cx<'_>) -> Option<OutSegment<B>> {
        self.parting.take().or_else(|| self.tcb.output(cx, 0))
    }
}

/// A leg: what the relay sees of either protocol.
pub(crate) enum Leg<B> {
    /// TCP.
    Plain(Plain<B>),
}

impl<B: PacketBuf> Leg<B> {
    /// Takes a segment that the peer sent; whether it was acceptable.
    pub(crate) fn input(&mut self, cx: &mut Cx<'_>, segment: &Segment<B>) -> bool {
        match self {
            Self::Plain(leg) => leg.input(cx, segment),
        }
    }

    /// The next payload in order.
    pub(crate) fn take(&mut self) -> Option<Slice<B>> {
        match self {
            Self::Plain(leg) => leg.tcb.take().map(|(_, payload)| payload),
        }
    }

    /// Whether the peer has closed and all before that was taken. It is not told so before [`Self::accept_fin`].
    pub(crate) fn fin_received(&self) -> bool {
        match self {
            Self::Plain(leg) => leg.tcb.fin_received(),
        }
    }

    /// Acknowledges the peer's end of stream.
    pub(crate) fn accept_fin(&mut self) {
        match self {
            Self::Plain(leg) => leg.tcb.accept_fin(),
        }
    }

    /// How many octets the relay can hold beyond what it took.
    pub(crate) fn set_recv_room(&mut self, octets: u32) {
        match self {
            Self::Plain(leg) => leg.tcb.set_recv_room(octets),
        }
    }

    /// Queues payload towards the peer.
    pub(crate) fn send(&mut self, payload: Slice<B>) {
        match self {
            Self::Plain(leg) => leg.tcb.send(payload),
        }
    }

    /// Ends the stream towards the peer after what is queued.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Plain(leg) => leg.tcb.finish(),
        }
    }

    /// Whether the end of the stream towards the peer has left at least once.
    pub(crate) fn fin_sent(&self) -> bool {
        match self {
            Self::Plain(leg) => leg.fin_sent(),
        }
    }

    /// Octets that the peer has not acknowledged, sent or not.
    pub(crate) fn queued(&self) -> usize {
        match self {
            Self::Plain(leg) => leg.tcb.queued(),
        }
    }

    /// Resets the connection, unless it has ended.
    pub(crate) fn abort(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Plain(leg) => leg.abort(cx),
        }
    }

    /// How it ended, if it did.
    pub(crate) fn end(&self) -> Option<End> {
        match self {
            Self::Plain(leg) => leg.end(),
        }
    }

    /// The next segment to send, with its addresses and ports; call until `None`.
    pub(crate) fn output(&mut self, cx: &mut Cx<'_>) -> Option<(Tuple, OutSegment<B>)> {
        match self {
            Self::Plain(leg) => leg.output(cx).map(|segment| (leg.tuple, segment)),
        }
    }

    /// When [`Self::advance`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Plain(leg) => leg.tcb.next_deadline(),
        }
    }

    /// Runs the timers that are due.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Plain(leg) => leg.tcb.advance(cx),
        }
    }

    /// Acts on an ICMP error that quotes `tuple` and `seq`; whether that segment is in flight.
    pub(crate) fn on_icmp_error(&mut self, (_tuple, seq): (Tuple, SeqNum), kind: IcmpKind) -> bool {
        match self {
            Self::Plain(leg) => leg.on_icmp_error(seq, kind),
        }
    }

    /// What is left of it in TIME-WAIT, with the tuple of the segments that we send.
    pub(crate) fn time_wait(&self, now: Instant) -> Option<(Tuple, TimeWait)> {
        match self {
            Self::Plain(leg) => leg.tcb.time_wait(now).map(|state| (leg.tuple, state)),
        }
    }

    /// The MPTCP version and our token; `None` on a plain leg.
    pub(crate) const fn multipath(&self) -> Option<(u8, u32)> {
        match self {
            Self::Plain(_) => None,
        }
    }

    /// Tells `each` of every TCP connection of the leg.
    pub(crate) fn subflows(&self, each: &mut dyn FnMut(SubflowInfo)) {
        match self {
            Self::Plain(leg) => each(SubflowInfo::of(0, leg.tuple, false, &leg.tcb)),
        }
    }
}
