//! An established connection as its owner sees it, whether it is TCP or Multipath TCP: a stream in, a stream out, an end.

use crate::Cx;
use crate::connection::{Connection, Outcome, Output, ResetReason, SubflowId};
use crate::time_wait::TimeWait;
use stack::ip::IcmpKind;
use stack::tcp::{Resting, State, Tcb, Verdict};
use stack::wire::tcp::{OutSegment, Segment};
use stack::{Instant, PacketBuf, SeqNum, Slice, Step, Tuple};

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

    /// What is left of it at rest, if it is.
    pub fn rest(&self) -> Option<Resting> {
        let is_open = self.fate.is_none() && self.parting.is_none();
        is_open.then(|| self.tcb.rest()).flatten()
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

    /// Whether the end of the stream has left: it takes the sequence number after the last octet.
    fn fin_sent(&self) -> bool {
        self.tcb.snd_nxt() > self.tcb.push_seq()
    }

    /// Acts on an ICMP error about a segment numbered `seq` if it is in flight (RFC 5927 4). What says that packets are
    /// too big lowers the segment size; all else is soft once a connection is established (RFC 5461 4).
    fn on_icmp_error(&mut self, seq: SeqNum, kind: IcmpKind) -> bool {
        let in_flight = in_flight(&self.tcb, seq);
        if let (true, IcmpKind::TooBig { mtu }) = (in_flight, kind)
            && let Some(smss) = smss_of(mtu, &self.tuple)
        {
            self.tcb.set_smss(smss);
        }
        in_flight
    }

    /// Writes the next segment to send to `segment`, as [`Tcb::output_into`] does; whether there is one.
    pub fn output_into(&mut self, cx: &mut Cx<'_>, segment: &mut OutSegment<B>) -> bool {
        cx.ledger.enter(Step::TcpOut);
        if let Some(parting) = self.parting.take() {
            *segment = *parting;
            return true;
        }
        self.tcb.output_into(&mut cx.stack(), 0, segment)
    }

    /// Writes one more to `segment`, as [`Tcb::output_more`] does, behind one with data that is there; whether there is one.
    #[inline]
    pub fn output_more(&mut self, now: Instant, segment: &mut OutSegment<B>) -> bool {
        self.tcb.output_more(now, segment)
    }

    /// What was sent last waits behind a full queue of the device: see [`Tcb::on_crowded`].
    pub fn on_crowded(&mut self, cx: &mut Cx<'_>) {
        self.tcb.on_crowded(&mut cx.stack());
    }
}

/// An established connection, where its owner has it: behind a box it would cost a miss per segment.
pub enum Stream<B> {
    /// TCP.
    Plain(Plain<B>),
    /// Multipath TCP, or what it fell back to.
    Multipath(Connection<B>),
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
            Self::Plain(plain) => {
                cx.ledger.enter(Step::TcpIn);
                plain.input(cx, segment)
            },
            Self::Multipath(connection) => {
                cx.ledger.enter(Step::MptcpIn);
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
    pub fn accept_fin(&mut self, now: Instant) {
        match self {
            Self::Plain(plain) => plain.tcb.accept_fin(),
            Self::Multipath(connection) => connection.accept_fin(now),
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

    /// Whether the end of the stream towards the peer has left at least once.
    pub fn fin_sent(&self) -> bool {
        match self {
            Self::Plain(plain) => plain.fin_sent(),
            Self::Multipath(connection) => connection.fin_sent(),
        }
    }

    /// Octets that came and were not taken, most of them beyond a gap.
    pub fn waiting(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.tcb.readable() + plain.tcb.out_of_order(),
            Self::Multipath(connection) => connection.held(),
        }
    }

    /// Slices of payload that make up [`Self::waiting`].
    pub fn waiting_pieces(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.tcb.pieces_in(),
            Self::Multipath(connection) => connection.pieces_held(),
        }
    }

    /// Whether what begins at `seq` on subflow `id` leaves no gap there.
    pub fn is_next(&self, id: SubflowId, seq: SeqNum) -> bool {
        match self {
            Self::Plain(plain) => seq <= plain.tcb.rcv_nxt(),
            Self::Multipath(connection) => connection
                .subflow(id)
                .is_none_or(|subflow| seq <= subflow.tcb().rcv_nxt()),
        }
    }

    /// Octets that the peer has not acknowledged, sent or not.
    pub fn queued(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.tcb.queued(),
            Self::Multipath(connection) => connection.queued(),
        }
    }

    /// Octets of those that were never sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.tcb.unsent(),
            Self::Multipath(connection) => connection.unsent(),
        }
    }

    /// Octets of [`Self::queued`] that have not come to the peer's host yet, as far as it said.
    #[must_use]
    pub fn not_arrived(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.tcb.queued(),
            Self::Multipath(connection) => connection.not_arrived(),
        }
    }

    /// How many octets wait for good if they wait: see [`Connection::worth_waiting`].
    #[must_use]
    pub fn worth_waiting(&self) -> u64 {
        match self {
            Self::Plain(_) => 0,
            Self::Multipath(connection) => connection.worth_waiting(),
        }
    }

    /// Slices of payload that make up [`Self::queued`].
    pub fn pieces(&self) -> usize {
        match self {
            Self::Plain(plain) => plain.tcb.pieces(),
            Self::Multipath(connection) => connection.pieces(),
        }
    }

    /// The next segment to send; call until `None`.
    pub fn output(&mut self, cx: &mut Cx<'_>) -> Option<Output<B>> {
        match self {
            Self::Plain(plain) => {
                let mut segment = OutSegment::default();
                let leaves = plain.output_into(cx, &mut segment);
                leaves.then_some(Output {
                    subflow: SubflowId::INITIAL,
                    tuple: plain.tuple,
                    segment,
                })
            },
            Self::Multipath(connection) => connection.output(cx),
        }
    }

    /// What `id` sent last waits behind a full queue of the device: see [`Tcb::on_crowded`].
    pub fn on_crowded(&mut self, cx: &mut Cx<'_>, id: SubflowId) {
        match self {
            Self::Plain(plain) => plain.on_crowded(cx),
            Self::Multipath(connection) => connection.on_crowded(cx, id),
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

    /// Acts on an ICMP error that quotes `tuple` and `seq`; whether that segment is in flight.
    pub fn on_icmp_error(&mut self, (tuple, seq): (Tuple, SeqNum), kind: IcmpKind) -> bool {
        match self {
            Self::Plain(plain) => plain.on_icmp_error(seq, kind),
            Self::Multipath(connection) => {
                let subflow = connection
                    .subflows()
                    .find(|s| s.tuple() == tuple.reversed());
                let Some(subflow) = subflow.filter(|s| in_flight(s.tcb(), seq)) else {
                    return false;
                };
                let id = subflow.id();
                if let IcmpKind::TooBig { mtu } = kind
                    && let Some(smss) = smss_of(mtu, &tuple)
                {
                    connection.path_mtu(id, smss);
                }
                true
            },
        }
    }

    /// Whether nothing is left of it but what [`Self::time_waits`] says.
    pub fn is_past(&self) -> bool {
        match self {
            Self::Plain(plain) => plain.fate().is_some(),
            Self::Multipath(connection) => connection.is_past() || self.fate().is_some(),
        }
    }

    /// What is left of it in TIME-WAIT, each with the tuple of the segments that we send: of a TCP connection, or of each
    /// subflow once the connection [is past](Connection::is_past).
    pub fn time_waits(&self, now: Instant) -> impl Iterator<Item = (Tuple, TimeWait)> {
        let (plain, subflows) = match self {
            Self::Plain(plain) => {
                let state = plain.tcb.time_wait(now);
                (state.map(|tcp| (plain.tuple, TimeWait::plain(tcp))), None)
            },
            Self::Multipath(connection) => (None, Some(connection.time_waits(now))),
        };
        plain.into_iter().chain(subflows.into_iter().flatten())
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

/// The segment size for a path whose next hop takes packets of `mtu` octets. An IPv4 router that names no MTU, or one
/// below 576, is believed down to that (RFC 1191 5); there is no such IPv6 link, and who says so is not believed at all
/// (RFC 8201 4).
fn smss_of(mtu: u16, tuple: &Tuple) -> Option<u16> {
    if tuple.dst.is_ipv4() {
        Some(mtu.max(576) - 40)
    } else {
        (mtu >= 1280).then(|| mtu - 60)
    }
}

fn in_flight<B: PacketBuf>(tcb: &Tcb<B>, seq: SeqNum) -> bool {
    seq.within(tcb.snd_una(), tcb.snd_nxt() - tcb.snd_una())
}

#[cfg(test)]
mod tests {
    use super::smss_of;
    use stack::Tuple;

    #[test]
    fn t15_a_path_is_believed_to_be_as_narrow_as_its_family_allows() {
        let rows = [
            ("10.9.0.2", 1400, Some(1360)),
            ("10.9.0.2", 576, Some(536)),
            ("10.9.0.2", 68, Some(536)),
            ("10.9.0.2", 0, Some(536)),
            ("10.9.0.2", u16::MAX, Some(65_495)),
            ("fd00:9::2", 1400, Some(1340)),
            ("fd00:9::2", 1280, Some(1220)),
            ("fd00:9::2", 1279, None),
            ("fd00:9::2", 0, None),
        ];
        for (dst, mtu, smss) in rows {
            let dst = dst.parse().unwrap();
            let tuple = Tuple {
                src: dst,
                dst,
                src_port: 1,
                dst_port: 2,
            };
            assert_eq!(smss_of(mtu, &tuple), smss, "{dst} {mtu}");
        }
    }
}
