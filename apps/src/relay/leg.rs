//! One side of a relay: a TCP connection, seen by the relay as a stream in, a stream out, and its fate.

use super::info::SubflowInfo;
use mptcp::Cx;
use mptcp::connection::{Connection, Outcome, ResetReason, SubflowId};
use stack::ip::IcmpKind;
use stack::tcp::time_wait::TimeWait;
use stack::tcp::{Resting, State, Tcb, Verdict};
use stack::wire::tcp::{OutSegment, Segment};
use stack::{Instant, PacketBuf, SeqNum, Slice, Step, Tuple};

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
    parting: Option<Box<OutSegment<B>>>,
}

impl<B: PacketBuf> Plain<B> {
    /// What is left of it at rest, if it is.
    pub(super) fn rest(&self) -> Option<Resting> {
        let is_open = self.end.is_none() && self.parting.is_none();
        is_open.then(|| self.tcb.rest()).flatten()
    }

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
        match self.tcb.input(&mut cx.stack(), segment) {
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
            self.parting = self.tcb.abort(&mut cx.stack()).map(Box::new);
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
        let in_flight = in_flight(&self.tcb, seq);
        if let (true, IcmpKind::TooBig { mtu }) = (in_flight, kind)
            && let Some(smss) = smss_of(mtu, &self.tuple)
        {
            self.tcb.set_smss(smss);
        }
        in_flight
    }

    /// Writes the next segment to send to `segment`, as [`Tcb::output_into`] does; whether there is one.
    pub(crate) fn output_into(&mut self, cx: &mut Cx<'_>, segment: &mut OutSegment<B>) -> bool {
        cx.ledger.enter(Step::TcpOut);
        if let Some(parting) = self.parting.take() {
            *segment = *parting;
            return true;
        }
        self.tcb.output_into(&mut cx.stack(), 0, segment)
    }
}

/// A leg: what the relay sees of either protocol.
#[expect(
    clippy::large_enum_variant,
    reason = "every relay has a TCP leg at least towards the server; a box would cost a miss per segment"
)]
pub(crate) enum Leg<B> {
    /// TCP.
    Plain(Plain<B>),
    /// Multipath TCP, or what it fell back to.
    Multipath(Box<Connection<B>>),
}

impl<B: PacketBuf> Leg<B> {
    /// Takes a segment that the peer sent on subflow `id` (always the initial one of a TCP leg); whether it was
    /// acceptable, as far as that is known.
    pub(crate) fn input(&mut self, cx: &mut Cx<'_>, id: SubflowId, segment: &Segment<B>) -> bool {
        match self {
            Self::Plain(leg) => {
                cx.ledger.enter(Step::TcpIn);
                leg.input(cx, segment)
            },
            Self::Multipath(leg) => {
                cx.ledger.enter(Step::MptcpIn);
                leg.input(cx, id, segment);
                true
            },
        }
    }

    /// The next payload in order.
    pub(crate) fn take(&mut self) -> Option<Slice<B>> {
        match self {
            Self::Plain(leg) => leg.tcb.take().map(|(_, payload)| payload),
            Self::Multipath(leg) => leg.take(),
        }
    }

    /// Whether the peer has closed and all before that was taken. It is not told so before [`Self::accept_fin`].
    pub(crate) fn fin_received(&self) -> bool {
        match self {
            Self::Plain(leg) => leg.tcb.fin_received(),
            Self::Multipath(leg) => leg.fin_received(),
        }
    }

    /// Acknowledges the peer's end of stream.
    pub(crate) fn accept_fin(&mut self) {
        match self {
            Self::Plain(leg) => leg.tcb.accept_fin(),
            Self::Multipath(leg) => leg.accept_fin(),
        }
    }

    /// How many octets the relay can hold beyond what it took.
    pub(crate) fn set_recv_room(&mut self, octets: u32) {
        match self {
            Self::Plain(leg) => leg.tcb.set_recv_room(octets),
            Self::Multipath(leg) => leg.set_recv_room(octets),
        }
    }

    /// Queues payload towards the peer.
    pub(crate) fn send(&mut self, payload: Slice<B>) {
        match self {
            Self::Plain(leg) => leg.tcb.send(payload),
            Self::Multipath(leg) => leg.send(payload),
        }
    }

    /// Ends the stream towards the peer after what is queued.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Plain(leg) => leg.tcb.finish(),
            Self::Multipath(leg) => leg.finish(),
        }
    }

    /// Whether the end of the stream towards the peer has left at least once.
    pub(crate) fn fin_sent(&self) -> bool {
        match self {
            Self::Plain(leg) => leg.fin_sent(),
            Self::Multipath(leg) => leg.fin_sent(),
        }
    }

    /// Octets that the peer has not acknowledged, sent or not.
    pub(crate) fn queued(&self) -> usize {
        match self {
            Self::Plain(leg) => leg.tcb.queued(),
            Self::Multipath(leg) => leg.queued(),
        }
    }

    /// Octets that came and were not taken, most of them beyond a gap.
    pub(crate) fn waiting(&self) -> usize {
        match self {
            Self::Plain(leg) => leg.tcb.readable() + leg.tcb.out_of_order(),
            Self::Multipath(leg) => leg.held(),
        }
    }

    /// Slices of payload that make up [`Self::waiting`].
    pub(crate) fn waiting_pieces(&self) -> usize {
        match self {
            Self::Plain(leg) => leg.tcb.pieces_in(),
            Self::Multipath(leg) => leg.pieces_held(),
        }
    }

    /// Whether what begins at `seq` on subflow `id` leaves no gap there.
    pub(crate) fn is_next(&self, id: SubflowId, seq: SeqNum) -> bool {
        match self {
            Self::Plain(leg) => seq <= leg.tcb.rcv_nxt(),
            Self::Multipath(leg) => leg
                .subflow(id)
                .is_none_or(|subflow| seq <= subflow.tcb().rcv_nxt()),
        }
    }

    /// Slices of payload that make up [`Self::queued`].
    pub(crate) fn pieces(&self) -> usize {
        match self {
            Self::Plain(leg) => leg.tcb.pieces(),
            Self::Multipath(leg) => leg.pieces(),
        }
    }

    /// Copies payload out of the port's pool, at most `copies` slices: what is queued but for the `spared` octets that leave
    /// first, and if none are spared also what was received and not taken.
    pub(crate) fn leave_pool(&mut self, spared: usize, copies: usize) -> Freed {
        let mut freed = Freed::default();
        match self {
            Self::Plain(leg) => leave_pool(leg.tcb.queued_mut(), spared, copies, &mut freed),
            Self::Multipath(leg) => leave_pool(leg.queued_mut(), spared, copies, &mut freed),
        }
        if spared == 0 {
            match self {
                Self::Plain(leg) => leave_pool(leg.tcb.received_mut(), 0, copies, &mut freed),
                Self::Multipath(leg) => leave_pool(leg.received_mut(), 0, copies, &mut freed),
            }
        }
        freed
    }

    /// Resets the connection, unless it has ended.
    pub(crate) fn abort(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Plain(leg) => leg.abort(cx),
            Self::Multipath(leg) => {
                if !leg.is_closed() {
                    leg.abort(cx);
                }
            },
        }
    }

    /// How it ended, if it did.
    pub(crate) fn end(&self) -> Option<End> {
        match self {
            Self::Plain(leg) => leg.end(),
            Self::Multipath(leg) => match leg.outcome() {
                Outcome::Alive => None,
                Outcome::Closed => Some(End::Clean),
                Outcome::Reset(ResetReason::Fastclose | ResetReason::LastSubflow) => {
                    Some(End::Reset)
                },
                Outcome::Reset(ResetReason::TimedOut | ResetReason::Unusable) => Some(End::Lost),
                Outcome::Reset(ResetReason::Aborted) => Some(End::Aborted),
            },
        }
    }

    /// When [`Self::advance`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match self {
            Self::Plain(leg) => leg.tcb.next_deadline(),
            Self::Multipath(leg) => leg.next_deadline(),
        }
    }

    /// Runs the timers that are due.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>) {
        match self {
            Self::Plain(leg) => leg.tcb.advance(&mut cx.stack()),
            Self::Multipath(leg) => {
                leg.advance(cx);
            },
        }
    }

    /// Acts on an ICMP error that quotes `tuple` and `seq`; whether that segment is in flight.
    pub(crate) fn on_icmp_error(&mut self, (tuple, seq): (Tuple, SeqNum), kind: IcmpKind) -> bool {
        match self {
            Self::Plain(leg) => leg.on_icmp_error(seq, kind),
            Self::Multipath(leg) => {
                let subflow = leg.subflows().find(|s| s.tuple() == tuple.reversed());
                let Some(subflow) = subflow.filter(|s| in_flight(s.tcb(), seq)) else {
                    return false;
                };
                let id = subflow.id();
                if let IcmpKind::TooBig { mtu } = kind
                    && let Some(smss) = smss_of(mtu, &tuple)
                {
                    leg.path_mtu(id, smss);
                }
                true
            },
        }
    }

    /// What is left of it in TIME-WAIT, with the tuple of the segments that we send.
    pub(crate) fn time_wait(&self, now: Instant) -> Option<(Tuple, TimeWait)> {
        match self {
            Self::Plain(leg) => leg.tcb.time_wait(now).map(|state| (leg.tuple, state)),
            Self::Multipath(_) => None,
        }
    }

    /// The MPTCP connection, unless this is a TCP leg.
    pub(crate) fn multipath(&self) -> Option<&Connection<B>> {
        match self {
            Self::Plain(_) => None,
            Self::Multipath(leg) => Some(leg),
        }
    }

    /// The same, to be changed.
    pub(crate) fn multipath_mut(&mut self) -> Option<&mut Connection<B>> {
        match self {
            Self::Plain(_) => None,
            Self::Multipath(leg) => Some(leg),
        }
    }

    /// Tells `each` of every TCP connection of the leg.
    pub(crate) fn subflows(&self, each: &mut dyn FnMut(SubflowInfo)) {
        match self {
            Self::Plain(leg) => each(SubflowInfo::of(0, leg.tuple, false, &leg.tcb)),
            Self::Multipath(leg) => leg.subflows().for_each(|subflow| {
                let id = u32::from(subflow.id().0);
                let tuple = subflow.tuple().reversed();
                each(SubflowInfo::of(id, tuple, subflow.backup(), subflow.tcb()));
            }),
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

/// What was copied out of the port's pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Freed {
    /// Slices looked at.
    pub(crate) looked_at: usize,
    /// Slices copied, each of which frees a buffer.
    pub(crate) slices: usize,
    /// Octets in these.
    pub(crate) octets: usize,
}

fn leave_pool<'a, B: PacketBuf + 'a>(
    slices: impl Iterator<Item = &'a mut Slice<B>>,
    spared: usize,
    copies: usize,
    freed: &mut Freed,
) {
    let mut before = 0;
    for slice in slices {
        if freed.slices == copies {
            return;
        }
        freed.looked_at += 1;
        if before >= spared && slice.leave_pool() {
            freed.slices += 1;
            freed.octets += slice.len();
        }
        before += slice.len();
    }
}
