//! Two ports as a bump in the wire: what comes by one leaves by the other as it came, stations and tags included.
//!
//! Only TCP is looked into. A flow that ends here is answered in frames like those that its ends exchange: what we send from
//! A to B has the stations and tags of the last frame that A sent to B through us.

use super::link::{Tags, link_len};
use super::output::{Hop, chain_of};
use super::packet::{Ingress, Packet};
use super::{Net, RxChecksum};
use crate::buf::{Frame, Header, PacketBuf, PortId, Slice};
use crate::flow::{FlowKey, Side, Tuple};
use crate::flow_table::FlowTable;
use crate::tally::Ended;
use crate::wire::ip::{ETHERNET, ETHERTYPE_ARP, ICMP, ICMPV6, TCP};
use crate::{Counter, Cx};
use core::net::IpAddr;

/// The frames that a flow's ends exchange, one way.
#[derive(Clone, Copy, Debug)]
struct Way {
    port: PortId,
    to: [u8; 6],
    from: [u8; 6],
    tags: Tags,
}

/// Pairs of ports, and the ways of flows that end here.
#[derive(Debug)]
pub(super) struct Bridge {
    /// The other port of a pair, by the number of the one.
    other: Vec<Option<PortId>>,
    /// Ways by the tuple of what goes them. When `young` is full it becomes `old`: who still sends is entered again.
    young: FlowTable<Way>,
    old: FlowTable<Way>,
}

impl<B: PacketBuf> Net<B> {
    /// Makes `ports` a bump in the wire for at most `flows` flows that end here; `seed` is the secret of a table.
    pub fn bridge(&mut self, ports: [PortId; 2], flows: usize, seed: u64) {
        let bridge = self.bridge.get_or_insert_with(|| Bridge {
            other: Vec::new(),
            young: FlowTable::new(2 * flows, seed),
            old: FlowTable::new(2 * flows, seed),
        });
        for (one, other) in [(ports[0], ports[1]), (ports[1], ports[0])] {
            let place = usize::from(one.0);
            if bridge.other.len() <= place {
                bridge.other.resize(place + 1, None);
            }
            bridge.other[place] = Some(other);
        }
    }

    /// The other port of the pair that `port` belongs to.
    #[must_use]
    pub fn paired(&self, port: PortId) -> Option<PortId> {
        let bridge = self.bridge.as_ref()?;
        bridge.other.get(usize::from(port.0)).copied().flatten()
    }

    /// The smallest MTU of paired ports.
    pub(super) fn bridged_mtu(&self) -> Option<u16> {
        let interfaces = self.interfaces.iter().flatten();
        let paired = interfaces.filter(|interface| self.paired(interface.port).is_some());
        paired.map(|interface| interface.mtu).min()
    }

    /// Where a packet crosses to: it came by one of a pair of ports, and not to our own station there.
    pub(super) fn crossing(&self, packet: &Packet<B>) -> Option<PortId> {
        let other = self.paired(packet.port)?;
        let ours = self.interface(packet.port)?.mac;
        (packet.frame.bytes().get(..6)? != ours).then_some(other)
    }

    /// A frame that came by a paired port to another station than ours; it has an Ethernet header.
    pub(super) fn input_bridged(
        &mut self,
        cx: &mut Cx<'_>,
        (port, other): (PortId, PortId),
        frame: &Slice<B>,
        checksum: RxChecksum,
        out: &mut Vec<Frame<B>>,
    ) -> Ingress<B> {
        let tags = Tags::of_frame(frame.bytes());
        let group = frame.bytes().first().is_some_and(|first| first & 1 != 0);
        if group {
            let ended = self.cross(cx, other, frame, out);
            self.overhear(cx, port, frame, tags, out);
            return Ingress::Done(ended);
        }
        let Some(Ok(packet)) = Self::parse_ip(port, frame.clone(), tags) else {
            return Ingress::Done(self.cross(cx, other, frame, out));
        };
        if self.is_own(packet.src) || self.is_own(packet.dst) {
            // Somebody takes our address for another station's, or our packets came round.
            return Ingress::Done(self.cross(cx, other, frame, out));
        }
        match packet.protocol {
            TCP if packet.is_plain() => Self::input_tcp(cx, packet, checksum, false),
            ICMP | ICMPV6 if packet.is_plain() && !packet.is_neighbor_discovery() => {
                self.input_icmp(cx, packet, false, out)
            },
            _ => Ingress::Done(self.cross(cx, other, frame, out)),
        }
    }

    /// Questions for our own addresses are sent to groups: they cross, which is their fate, and are answered.
    pub(super) fn overhear(
        &mut self,
        cx: &mut Cx<'_>,
        port: PortId,
        frame: &Slice<B>,
        tags: Tags,
        out: &mut Vec<Frame<B>>,
    ) {
        let of_port = self.interface(port).map(|interface| interface.tags);
        if of_port.is_none_or(|ours| !ours.is_same(&tags)) {
            return;
        }
        let at = link_len(tags);
        if frame.bytes().get(at - 2..at) == Some(&ETHERTYPE_ARP.to_be_bytes()) {
            self.input_arp(cx, port, frame.bytes().get(at..).unwrap_or(&[]), out);
        } else if let Some(Ok(packet)) = Self::parse_ip(port, frame.clone(), tags)
            && packet.is_neighbor_discovery()
        {
            self.input_ndp(cx, &packet, out);
        }
    }

    /// Carries `frame` over as it is; or in parts, if it was left to a device to be cut.
    pub(super) fn cross(
        &mut self,
        cx: &mut Cx<'_>,
        other: PortId,
        frame: &Slice<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let tags = Tags::of_frame(frame.bytes());
        let mtu = self.interface(other).map_or(0, |interface| interface.mtu);
        if frame.len() > link_len(tags) + usize::from(mtu) {
            let ended = self.cross_cut(cx, other, frame, out);
            return ended.unwrap_or_else(|| cx.counters.end(Counter::DropTooBig));
        }
        let mut header = Header::default();
        header.push(frame.bytes().get(..ETHERNET).unwrap_or(&[]));
        out.push(Frame::new(
            other,
            header,
            chain_of(frame.slice(ETHERNET..frame.len())),
        ));
        cx.counters.end(Counter::Bridged)
    }

    /// Carries `frame`, which is longer than the link beyond `other` takes, over in parts, if it is a segment that may be cut.
    #[cold]
    fn cross_cut(
        &mut self,
        cx: &mut Cx<'_>,
        other: PortId,
        frame: &Slice<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Option<Ended> {
        let port = self.paired(other)?;
        let packet = Self::parse_ip(port, frame.clone(), Tags::of_frame(frame.bytes()))?.ok()?;
        let hop = self.hop_across(&packet, other)?;
        self.send_cut(cx, &packet, (&hop, None), out)
    }

    /// Remembers how a segment of a flow that ends here came, if it came by a paired port: what we send in its sender's
    /// place goes on in the same way.
    pub fn learn_way(&mut self, packet: &Packet<B>, tuple: &Tuple) {
        let Some(port) = self.crossing(packet) else {
            return;
        };
        let bytes = packet.frame.bytes();
        let (Some(&to), Some(&from)) = (
            bytes.first_chunk(),
            bytes.get(6..).and_then(<[u8]>::first_chunk),
        ) else {
            return;
        };
        let way = Way {
            port,
            to,
            from,
            tags: Tags::of_frame(bytes),
        };
        if let Some(bridge) = &mut self.bridge {
            bridge.enter(key_of(tuple), way);
        }
    }

    /// The way of what we send with `tuple` in another's place.
    pub(super) fn learned_hop(&mut self, tuple: &Tuple) -> Option<Hop> {
        let bridge = self.bridge.as_mut()?;
        let key = key_of(tuple);
        let way = match bridge.young.get(&key) {
            Some(way) => way,
            None => {
                let way = bridge.old.get(&key)?;
                bridge.enter(key, way);
                way
            },
        };
        self.hop_of(way, tuple.dst)
    }

    /// The way of a packet that goes on as it came, but for what is edited in it.
    pub(super) fn hop_across(&self, packet: &Packet<B>, other: PortId) -> Option<Hop> {
        let bytes = packet.frame.bytes();
        let way = Way {
            port: other,
            to: *bytes.first_chunk()?,
            from: *bytes.get(6..)?.first_chunk()?,
            tags: Tags::of_frame(bytes),
        };
        self.hop_of(way, packet.dst)
    }

    fn hop_of(&self, way: Way, dst: IpAddr) -> Option<Hop> {
        let mtu = self.interface(way.port)?.mtu;
        Some(Hop::across(
            (way.port, mtu),
            dst,
            (way.to, way.from),
            way.tags,
        ))
    }
}

impl Bridge {
    fn enter(&mut self, key: FlowKey, way: Way) {
        if self.young.insert(key, way).is_err() {
            core::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.young.insert(key, way).ok();
        }
    }
}

const fn key_of(tuple: &Tuple) -> FlowKey {
    FlowKey {
        side: Side::Access,
        tuple: *tuple,
    }
}
