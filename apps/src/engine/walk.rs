//! The walk of a received frame, up to the leg that it belongs to.

use super::metering::Carried;
use super::policy::side_of;
use super::{Engine, FlowRef};
use crate::Counter;
use crate::relay::{Relay, Which};
use dataplane::Received;
use mptcp::Version;
use mptcp::connection::SubflowId;
use mptcp::option::{MpOption, ResetReason, parse};
use stack::ip::{Contents, Gathered, Ingress, IpOut, Opaque, Packet, TcpArrival};
use stack::slab::Handle;
use stack::wire::ip::TCP;
use stack::wire::tcp::{Flags, OutSegment, Segment};
use stack::{Ended, FlowKey, Frame, Instant, PacketBuf, PortId, Step, Tally, Tuple};

impl<B: PacketBuf> Engine<B> {
    /// Takes one frame: answered, forwarded, or given to its leg, whose relay then runs at the end of the burst.
    pub(super) fn walk(
        &mut self,
        now: Instant,
        port: PortId,
        received: Received<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Received { frame, checksum } = received;
        self.tools.ledger.enter(Step::Parse);
        let cx = &mut self.tools.cx(now);
        let ingress = self.net.input(cx, port, frame, checksum, out);
        match ingress {
            Ingress::Done(ended) => ended,
            Ingress::Transit(packet) if packet.fragment_id().is_some() => {
                self.on_fragment(now, packet, out)
            },
            Ingress::Transit(packet) => self.pass(now, packet, out),
            Ingress::IcmpError(arrival) => self.on_icmp_error(now, arrival, out),
            Ingress::Tcp(arrival) => self.on_segment(now, arrival, out),
            Ingress::Opaque(opaque) if opaque.packet.fragment_id().is_some() => {
                self.on_fragment(now, opaque.packet, out)
            },
            Ingress::Opaque(opaque) => self.on_opaque(now, opaque, out),
        }
    }

    /// A fragment: those of subscribers' TCP are held until the segment is whole. If its flow is split it is then taken as
    /// any other; else the fragments go on as they came. A segment that is damaged goes nowhere.
    fn on_fragment(&mut self, now: Instant, packet: Packet<B>, out: &mut Vec<Frame<B>>) -> Ended {
        if self.steering.is_alone() {
            return self.on_placed_fragment(now, packet, out);
        }
        match self.place_fragment(now, packet) {
            Ok(placed) => {
                let placed = placed.into_iter();
                Ended::all(placed.map(|packet| self.on_placed_fragment(now, packet, out)))
            },
            Err(ended) => ended,
        }
    }

    fn on_placed_fragment(
        &mut self,
        now: Instant,
        packet: Packet<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let subscribers =
            self.config.is_subscriber(packet.src) || self.config.is_subscriber(packet.dst);
        if !subscribers {
            return self.pass(now, packet, out);
        }
        let cx = &mut self.tools.cx(now);
        match self.fragments.gather(cx, packet) {
            Gathered::Pass(packet) => self.on_fragment_alone(now, packet, out),
            Gathered::Kept(ended) => ended,
            Gathered::Whole { packets, parts } => {
                let unread = |packets: Vec<_>, counters: &mut Tally<_>| {
                    let each = packets.iter();
                    Ended::all(each.map(|_| counters.end(stack::Counter::DropUnread)))
                };
                let Some(first) = parts.first().map(|part| &part.segment) else {
                    // Damaged, so of no use to anybody; and what it says must not pass a split flow's relay by.
                    return unread(packets, &mut self.tools.stack);
                };
                let split = self.flow(&self.key_of(&first.tuple)).is_some();
                if first.flags.has(Flags::SYN) && !first.options.mptcp.is_empty() {
                    // No host cuts a SYN; whoever does hides its options, which must not pass.
                    unread(packets, &mut self.tools.stack)
                } else if split {
                    let parts = parts.into_iter();
                    Ended::all(parts.map(|part| self.on_segment(now, part, out)))
                } else {
                    let packets = packets.into_iter();
                    Ended::all(packets.map(|packet| self.pass(now, packet, out)))
                }
            },
        }
    }

    /// A fragment that is not held, for want of room or as it is none of plain TCP: it passes, but for the first one of what
    /// must not, without which the others are of no use (RFC 1858 3). That is a segment of a flow that is split, a SYN, whose
    /// options are not seen to, and what is too short to tell.
    fn on_fragment_alone(
        &mut self,
        now: Instant,
        packet: Packet<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let stays = match packet.contents() {
            Contents::Segment { flags, .. } if flags.has(Flags::SYN) => true,
            Contents::Segment { ports, .. } => {
                let tuple = Tuple {
                    src: packet.src,
                    dst: packet.dst,
                    src_port: ports.src,
                    dst_port: ports.dst,
                };
                self.flow(&self.key_of(&tuple)).is_some()
            },
            Contents::Other(protocol) => protocol == TCP,
            _ => false,
        };
        if stays {
            self.tools.stack.end(stack::Counter::DropFragment)
        } else {
            self.pass(now, packet, out)
        }
    }

    /// TCP that is no segment to us passes as through any router, unless its flow is split here: the one end must not
    /// hear the other behind the relay's back.
    pub(super) fn on_opaque(
        &mut self,
        now: Instant,
        opaque: Opaque<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let split = self.flow(&self.key_of(&opaque.tuple)).is_some();
        if split {
            self.tools.stack.end(opaque.why)
        } else {
            self.pass(now, opaque.packet, out)
        }
    }

    fn on_segment(
        &mut self,
        now: Instant,
        arrival: TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        self.tools.ledger.enter(Step::Lookup);
        let key = self.key_of(&arrival.segment.tuple);
        let flow = self.flow(&key);
        if flow.is_some() {
            self.net.learn_way(&arrival.packet, &key.tuple);
        }
        if let Some(FlowRef::Leg(handle, which)) = flow {
            let by = (arrival.packet.port, arrival.packet.frame.len());
            return self.on_leg(now, (handle, which), by, &arrival.segment);
        }
        self.on_other_segment(now, (key, flow), arrival, out)
    }

    /// Takes a segment that is not of a leg.
    pub(super) fn on_other_segment(
        &mut self,
        now: Instant,
        (key, flow): (FlowKey, Option<FlowRef>),
        arrival: TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        match flow {
            Some(FlowRef::Pending(handle)) => self.on_pending(now, handle, key.side, arrival, out),
            Some(FlowRef::Joining(handle)) => self.on_joining(now, handle, &arrival, out),
            Some(FlowRef::OpenJoin(handle)) => self.on_open_join(now, handle, &arrival, out),
            Some(FlowRef::Gone(_)) => self.refuse_mid_stream(now, &arrival.segment, out),
            Some(FlowRef::TimeWait(handle)) => self.on_time_wait(now, handle, key, arrival, out),
            Some(FlowRef::Leg(..)) | None => self.on_miss(now, arrival, out),
        }
    }

    /// The key of the flow that a received segment belongs to.
    pub(super) fn key_of(&self, tuple: &Tuple) -> FlowKey {
        FlowKey {
            side: side_of(&self.config, tuple),
            tuple: *tuple,
        }
    }

    /// Gives a segment, which came in a frame of so many octets by that port, to its leg and wakes the relay.
    fn on_leg(
        &mut self,
        now: Instant,
        leg: (Handle, Which),
        (port, frame): (PortId, usize),
        segment: &Segment<B>,
    ) -> Ended {
        let held_max = self.held_max(self.relays.subscriber(leg.0));
        let payload = segment.payload.len();
        let (ended, _) = self.give(now, leg, held_max, segment);
        self.after_leg(now, leg, port, Carried { payload, frame });
        ended
    }

    /// Gives a segment to its leg. Its relay may hold `held_max` octets in each direction. Whether it was given with its
    /// payload.
    #[inline]
    pub(super) fn give(
        &mut self,
        now: Instant,
        (handle, which): (Handle, Which),
        held_max: usize,
        segment: &Segment<B>,
    ) -> (Ended, bool) {
        let Some(relay) = self.relays.get_mut(handle) else {
            return (self.tools.apps.end(Counter::DropNoFlow), false);
        };
        let full = !segment.payload.is_empty() && relay.is_full(which, segment, held_max);
        if full {
            // What it acknowledges counts; its payload is not acknowledged, and comes again.
            self.tools.apps.count(Counter::BufferRefused);
            let refused = without_payload(segment);
            relay.input(&mut self.tools.leg(now), which, &refused);
        } else {
            relay.input(&mut self.tools.leg(now), which, segment);
        }
        if segment.flags.has(Flags::RST) && self.config.edge.is_some() && forgotten(relay, segment)
        {
            relay.reset(&mut self.tools.leg(now), Counter::ClosedForgotten);
        }
        (self.legs.end(), !full)
    }

    /// Counts what was given to a leg, and wakes its relay.
    pub(super) fn after_leg(
        &mut self,
        now: Instant,
        (handle, which): (Handle, Which),
        port: PortId,
        carried: Carried,
    ) {
        // Of damaged segments nobody hears, a relay at rest least of all.
        if carried.frame == 0 {
            return;
        }
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        if relay.leg(which).multipath().is_some() {
            self.metering.received(now, (relay.account, port), carried);
        }
        if !relay.woken {
            relay.woken = true;
            self.woken.push(handle);
        }
    }

    fn on_time_wait(
        &mut self,
        now: Instant,
        handle: Handle,
        key: FlowKey,
        arrival: TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Some(remains) = self.remains.get_mut(handle) else {
            return self.on_miss(now, arrival, out);
        };
        if remains.state.gives_way_to(&arrival.segment) {
            let used = remains.state.used();
            self.bury(handle);
            let ended = self.on_miss(now, arrival, out);
            if let Some(FlowRef::Pending(handle)) = self.flow(&key)
                && let Some(pending) = self.pendings.get_mut(handle)
            {
                pending.used = Some(used);
            }
            return ended;
        }
        let tuple = remains.tuple;
        let answer = remains
            .state
            .input(&mut self.tools.cx(now), &arrival.segment);
        if let Some(segment) = answer {
            self.send(now, &tuple, segment, out);
        }
        self.tools.apps.end(Counter::TimeWaitTaken)
    }

    /// Sends a segment that belongs to no relay.
    pub(super) fn send(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        segment: OutSegment<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        self.send_as(now, tuple, IpOut::default(), segment, out);
    }

    /// Sends a segment of a join, in the traffic class of the relay that it joins.
    pub(super) fn send_join(
        &mut self,
        now: Instant,
        relay: Handle,
        tuple: &Tuple,
        segment: OutSegment<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let ip = IpOut {
            tos: self
                .relays
                .get(relay)
                .map_or(0, |relay| relay.multipath_tos()),
            ..IpOut::default()
        };
        self.send_as(now, tuple, ip, segment, out);
    }

    fn send_as(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        ip: IpOut,
        mut segment: OutSegment<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let cx = &mut self.tools.cx(now);
        if segment.flags.has(Flags::RST) {
            cx.counters.count(stack::Counter::TcpResetSent);
        }
        self.net.send_tcp(cx, tuple, ip, &mut segment, out);
    }
}

/// Whether `segment`, a reset that was taken, says that the box in the network has lost the connection: it came on the
/// first subflow, which runs through that box on its way to the server, and gives the reason that stands for that (RFC
/// 8684 3.6). Version 0 knows no reasons.
fn forgotten<B: PacketBuf>(relay: &Relay<B>, segment: &Segment<B>) -> bool {
    let Some(connection) = relay.server.multipath() else {
        return false;
    };
    let first = connection
        .subflows()
        .find(|subflow| subflow.id() == SubflowId::INITIAL);
    let reason = parse(&segment.options.mptcp).any(|option| {
        let reset = option.ok();
        matches!(reset, Some(MpOption::TcpRst(reset)) if reset.reason == ResetReason::MPTCP_SPECIFIC)
    });
    segment.tuple == relay.ends.outer.reversed()
        && first.is_none_or(|subflow| subflow.tcb().is_closed())
        && (reason || connection.params().version == Version::V0)
}

/// `segment` as if it carried no payload, and so not what follows it.
fn without_payload<B: PacketBuf>(segment: &Segment<B>) -> Segment<B> {
    Segment {
        flags: segment.flags.without(Flags::FIN),
        payload: segment.payload.slice(0..0),
        ..segment.clone()
    }
}
