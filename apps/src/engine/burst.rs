//! A burst: what its frames are is read of all of them before the first is taken, so that what they need can be on its way.
//! Nearly all hold TCP segments, and go the short way from there: to the leg whose flow they are of, or routed on. All
//! others `walk`.

use super::flows::relay_of;
use super::policy::side_of;
use super::{Engine, FlowRef};
use crate::relay::Leg;
use arrayvec::ArrayVec;
use dataplane::{BURST, Received};
use mptcp::connection::Connection;
use mptcp::option::{Mapping, next_mapping};
use stack::ip::{Behind, Head, Ingress, Net};
use stack::wire::tcp::{Flags, KIND_MPTCP};
use stack::{
    Ended, FlowHash, FlowKey, Frame, Instant, PacketBuf, PortId, RxChecksum, Side, Slice, Step,
};
use std::vec::Drain;

/// From so many relays on the cache of a core, of a megabyte or two, does not hold those that the next burst needs.
const RELAYS_MANY: usize = 256;

/// Of a frame, what was read before any of its burst was taken.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen {
    /// Whether it holds a TCP segment that goes the short way.
    short: bool,
    /// Whether the frame before it does, too, and is of the same flow.
    again: bool,
    /// How its text goes on where that of the frame before it ends, if it does.
    pub(super) goes_on: Option<How>,
    pub(super) head: Head,
    /// Of the segment's flow.
    hash: FlowHash,
}

/// How a segment goes on behind one whose header differs in number and PSH alone, but for options.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// With the same options.
    Same,
    /// With those of the other, but for the numbers of a mapping.
    Mapped(Mapping),
}

impl<B: PacketBuf> Engine<B> {
    /// Takes the frames of a burst, in their order.
    pub(super) fn take_burst(
        &mut self,
        now: Instant,
        port: PortId,
        burst: &mut Vec<Received<B>>,
        out: &mut Vec<Frame<B>>,
    ) {
        self.tools.ledger.enter(Step::Parse);
        self.received += burst.len() as u64;
        // Places that are kept, so that each head is written where it is read.
        let mut all = core::mem::take(&mut self.seen);
        all.resize(burst.len(), Seen::default());
        let mut before: Option<(&Received<B>, &Seen)> = None;
        for (received, seen) in burst.iter().zip(&mut all) {
            self.see(port, received, before, seen);
            before = seen.short.then_some((received, seen));
        }
        if self.has_many_relays() {
            self.fetch_ahead(&all);
        }
        let (mut frames, mut rest) = (burst.drain(..), all.as_slice());
        while let [first, others @ ..] = rest {
            let more = others.iter().take_while(|seen| seen.again).count();
            let (run, behind) = rest.split_at(1 + more);
            if first.short {
                self.take_run(now, run, &mut frames, out);
            } else if let Some(received) = frames.next() {
                _ = self.walk(now, port, received, out);
            }
            rest = behind;
        }
        self.seen = all;
    }

    /// Reads what `received` is, which came right after `before`, if that goes the short way.
    #[inline]
    fn see(
        &mut self,
        port: PortId,
        received: &Received<B>,
        before: Option<(&Received<B>, &Seen)>,
        seen: &mut Seen,
    ) {
        let (frame, checksum) = (&received.frame, received.checksum);
        if let Some((before, like)) = before
            && checksum != RxChecksum::Bad
            && let Some(behind) = seen.head.follow(frame, (&before.frame, &like.head))
        {
            (seen.short, seen.again, seen.hash) = (true, true, like.hash);
            seen.goes_on = match behind {
                Behind::Apart => None,
                Behind::Same => Some(How::Same),
                Behind::Other => {
                    let options = [seen.head.options(frame), like.head.options(&before.frame)];
                    next_mapping(options).map(How::Mapped)
                },
            };
            return;
        }
        (seen.again, seen.goes_on) = (false, None);
        let config = &self.config;
        let side = |tuple: &_| side_of(config, tuple);
        let read = self.net.head(port, (frame, checksum), side, &mut seen.head);
        seen.short = read.is_some();
        if seen.short {
            seen.hash = self.flows.hash(&seen.head.key);
            if seen.head.flags.has(Flags::SYN) && !seen.head.flags.has(Flags::ACK) {
                self.fetch_for_new(seen);
            } else {
                self.flows.prefetch(seen.hash);
            }
        }
    }

    /// A SYN is of no flow most often, and the flow that it begins is entered for either end. Apart, so that the way of all other
    /// segments stays short.
    #[cold]
    #[inline(never)]
    fn fetch_for_new(&self, seen: &Seen) {
        let FlowKey { side, tuple } = seen.head.key;
        let answers = FlowKey {
            side: match side {
                Side::Access => Side::Core,
                Side::Core => Side::Access,
            },
            tuple: tuple.reversed(),
        };
        self.flows.prefetch_new(seen.hash);
        self.flows.prefetch_new(self.flows.hash(&answers));
    }

    /// Whether the caches hold but a few of the relays.
    pub(super) const fn has_many_relays(&self) -> bool {
        self.relays.len() >= RELAYS_MANY
    }

    /// Has the processor fetch the relays of what was seen: of many each lies in memory that no cache holds, and to wait for
    /// it costs more than the packet's own work. In rounds, so that those of all frames are on their way together.
    fn fetch_ahead(&self, all: &[Seen]) {
        let first = all.iter().filter(|seen| seen.short && !seen.again);
        self.fetch_relays(first.filter_map(|seen| self.flows.get(seen.hash).find_map(relay_of)));
    }

    /// The same of the relays at the places `all`, of the first [`BURST`] of them.
    pub(super) fn fetch_relays(&self, all: impl Iterator<Item = u32>) {
        let mut places: ArrayVec<u32, BURST> = ArrayVec::new();
        for place in all.take(BURST) {
            self.relays.prefetch_place(place);
            places.push(place);
        }
        for &place in &places {
            self.relays.prefetch(place);
        }
        let legs = || places.iter().filter_map(|&at| self.relays.legs_at(at));
        for leg in legs().flatten() {
            match leg {
                Leg::Plain(leg) => leg.tcb.prefetch_queues(),
                Leg::Multipath(leg) => leg.prefetch_subflows(),
            }
        }
        let multipath = legs().flatten().filter_map(Leg::multipath);
        multipath.for_each(Connection::prefetch_queues);
    }

    /// Takes the first of `frames`, which came in a row and are all of one flow: as many as this was seen of.
    #[inline]
    fn take_run(
        &mut self,
        now: Instant,
        mut run: &[Seen],
        frames: &mut Drain<'_, Received<B>>,
        out: &mut Vec<Frame<B>>,
    ) {
        while let [first, ..] = run {
            self.tools.ledger.enter(Step::Lookup);
            self.flows_changed = false;
            let flow = self.flow_by(first.hash, &first.head.key);
            if let Some(FlowRef::Leg(handle, which)) = flow {
                return self.on_run(now, (handle, which), run, frames);
            }
            while let [seen, behind @ ..] = run
                && !self.flows_changed
            {
                let Some(received) = frames.next() else {
                    return;
                };
                _ = self.take(now, seen, flow, received, out);
                run = behind;
            }
        }
    }

    /// Takes a segment of `flow`, which is of no leg.
    #[inline]
    fn take(
        &mut self,
        now: Instant,
        Seen { head, .. }: &Seen,
        flow: Option<FlowRef>,
        Received { frame, checksum }: Received<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        if flow.is_none() && self.is_routed(head, &frame) {
            let cx = &mut self.tools.cx(now);
            return self.net.forward_head(cx, head, (frame, checksum), out);
        }
        self.take_whole(now, (head, flow), (frame, checksum), out)
    }

    /// Takes a segment with its packet. Apart, so that the way of all others stays short.
    #[inline(never)]
    fn take_whole(
        &mut self,
        now: Instant,
        (head, flow): (&Head, Option<FlowRef>),
        (frame, checksum): (Slice<B>, RxChecksum),
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let cx = &mut self.tools.cx(now);
        match Net::arrival(cx, head, frame, checksum) {
            Ingress::Tcp(arrival) => self.on_other_segment(now, (head.key, flow), arrival, out),
            Ingress::Opaque(opaque) => self.on_opaque(now, opaque, out),
            Ingress::Done(ended) => ended,
            Ingress::Transit(packet) => self.pass(now, packet, out),
            Ingress::IcmpError(arrival) => self.on_icmp_error(now, arrival, out),
        }
    }

    /// Whether a segment without a flow is any router's business: see [`Engine::on_miss`] for what is not.
    fn is_routed(&self, head: &Head, frame: &Slice<B>) -> bool {
        let judged_elsewhere = head.local || self.gate.is_some();
        let from_other_box =
            || self.may_be_split(head.port, &head.key) && head.has_option(frame, KIND_MPTCP);
        !judged_elsewhere && !head.flags.has(Flags::SYN) && !from_other_box()
    }
}
