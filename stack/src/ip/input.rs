//! A received frame: Ethernet, IP, and whom it is for.

use super::address::{is_group, is_host, is_routed_group};
use super::link::{Tags, link_len};
use super::packet::{Ingress, Opaque, Packet, TcpArrival};
use super::partial::completed;
use super::sight::{Sight, sight};
use super::{Net, RxChecksum};
use crate::buf::{Frame, PacketBuf, PortId, Slice};
use crate::checksum::Sum;
use crate::wire::ip::{
    ETHERNET, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ICMP, ICMPV6, IPV4_MIN, IPV6, TCP,
};
use crate::wire::tcp;
use crate::{Counter, Cx, Tally};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whom a packet is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    /// One of our addresses.
    Ours,
    /// A host that we route to.
    Transit,
}

impl<B: PacketBuf> Net<B> {
    /// Takes in a frame from `port`. Answers, and packets that waited for a neighbor, are appended to `out`.
    pub fn input(
        &mut self,
        cx: &mut Cx<'_>,
        port: PortId,
        frame: Slice<B>,
        checksum: RxChecksum,
        out: &mut Vec<Frame<B>>,
    ) -> Ingress<B> {
        let Some((frame, checksum)) = completed(cx, frame, checksum) else {
            return drop_as(cx, Counter::DropChecksum);
        };
        let Some(interface) = self.interface(port) else {
            return drop_as(cx, Counter::DropNotOurs);
        };
        let Some(ethernet) = frame.bytes().first_chunk::<ETHERNET>() else {
            return drop_as(cx, Counter::DropMalformed);
        };
        if ethernet[6] & 1 != 0 {
            return drop_as(cx, Counter::DropMalformed);
        }
        let ours = ethernet[..6] == interface.mac;
        if let (false, Some(other)) = (ours, self.paired(port)) {
            return self.input_bridged(cx, (port, other), &frame, checksum, out);
        }
        let group = ethernet[0] & 1 != 0;
        if !group && !ours {
            return drop_as(cx, Counter::DropNotOurs);
        }
        let tags = Tags::of_frame(frame.bytes());
        if !interface.tags.is_same(&tags) {
            return drop_as(cx, Counter::DropVlan);
        }
        if ethertype(&frame, tags) == Some(ETHERTYPE_ARP) {
            let bytes = frame.bytes().get(link_len(tags)..).unwrap_or(&[]);
            let fate = self.input_arp(cx, port, bytes, out);
            return drop_as(cx, fate);
        }
        match Self::parse_ip(port, frame, tags) {
            Some(Ok(packet)) => self.input_ip(cx, packet, group, checksum, out),
            Some(Err(counter)) => drop_as(cx, counter),
            None => drop_as(cx, Counter::DropNotOurs),
        }
    }

    /// Learns from a neighbor's message that another core of ours answers. What waited for it is appended to `out`.
    pub fn learn_from(
        &mut self,
        cx: &mut Cx<'_>,
        port: PortId,
        frame: Slice<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        // The core that answers it also counts what became of it, and lets it cross.
        let mut counters = Tally::default();
        let ours = &mut *cx.counters;
        let cx = &mut Cx {
            now: cx.now,
            rng: cx.rng,
            counters: &mut counters,
        };
        let mut frames = Vec::new();
        let mac = self.interface(port).map(|own| own.mac);
        if self.paired(port).is_some() && frame.bytes().first_chunk().copied() != mac {
            if frame.bytes().first().is_some_and(|first| first & 1 != 0) {
                let tags = Tags::of_frame(frame.bytes());
                self.overhear(cx, port, &frame, tags, &mut frames);
            }
        } else {
            self.input(cx, port, frame, RxChecksum::Unknown, &mut frames);
        }
        for fate in [Counter::Forwarded, Counter::Fragmented] {
            ours.end_waiting(fate, counters.get(fate));
        }
        let waited = frames
            .into_iter()
            .filter(|frame| sight(frame.header.bytes()) != Sight::Neighbor);
        out.extend(waited);
    }

    /// The IP packet behind `tags`; `None` if it is something else.
    pub(super) fn parse_ip(
        port: PortId,
        frame: Slice<B>,
        tags: Tags,
    ) -> Option<Result<Packet<B>, Counter>> {
        let at = link_len(tags);
        match ethertype(&frame, tags) {
            Some(ETHERTYPE_IPV4) => Some(parse_ipv4(port, frame, at)),
            Some(ETHERTYPE_IPV6) => Some(parse_ipv6(port, frame, at)),
            _ => None,
        }
    }

    fn input_ip(
        &mut self,
        cx: &mut Cx<'_>,
        packet: Packet<B>,
        group: bool,
        checksum: RxChecksum,
        out: &mut Vec<Frame<B>>,
    ) -> Ingress<B> {
        let port = packet.port;
        if packet.is_neighbor_discovery() {
            let fate = self.input_ndp(cx, &packet, out);
            return drop_as(cx, fate);
        }
        let whose = match self.whose((port, packet.src, packet.dst), packet.protocol, group) {
            Ok(whose) => whose,
            Err(counter) => return drop_as(cx, counter),
        };
        let local = matches!(whose, Whose::Ours);
        match packet.protocol {
            TCP if packet.is_plain() => Self::input_tcp(cx, packet, checksum, local),
            ICMP | ICMPV6 if packet.is_plain() => self.input_icmp(cx, packet, local, out),
            _ if let Some(found) = packet.unwrapped() => {
                Self::input_tcp(cx, found, RxChecksum::Unknown, local)
            },
            _ if local && !self.shared.contains(packet.dst) => {
                // RFC 1122 3.2.2.1: no fragments, no options, nothing but TCP and echo is served here.
                Ingress::Done(self.refuse(cx, &packet, out))
            },
            _ => opaque(packet, Counter::DropUnread),
        }
    }

    /// RFC 1812 5.2.3, 5.3.4 to 5.3.7: who may send, what stays on its link, what is for a group.
    pub(super) fn whose(
        &self,
        (port, src, dst): (PortId, IpAddr, IpAddr),
        protocol: u8,
        link_group: bool,
    ) -> Result<Whose, Counter> {
        if !is_host(src)
            || self.is_own(src)
            || self.is_local(port, src)
            || self.broadcasts.contains(src)
        {
            return Err(Counter::DropMartian);
        }
        if protocol != TCP && is_routed_group(dst) && self.group_port(port).is_some() {
            return Ok(Whose::Transit);
        }
        if is_group(dst) || self.broadcasts.contains(dst) {
            return Err(Counter::DropGroup);
        }
        if !is_host(dst) {
            return Err(Counter::DropMartian);
        }
        if link_group {
            // RFC 1812 5.3.4: what came by a link-layer group address is not for a router to pass on, and
            // RFC 1122 3.3.6: nor for a host to accept, if its IP destination is not a group.
            return Err(Counter::DropGroup);
        }
        let private = self.is_private(dst);
        if private && !self.is_behind(port) {
            return Err(Counter::DropPrivate);
        }
        if self.is_local(port, dst) {
            // Our answer would carry that address outside.
            let inside = |from: super::Target| self.is_behind(from.port);
            if private && !self.routes.get(src).is_some_and(inside) {
                return Err(Counter::DropPrivate);
            }
            return Ok(Whose::Ours);
        }
        if self.domain_at(port).is_some() || self.domain_of(dst).is_some() {
            return Err(Counter::DropIsolated);
        }
        Ok(Whose::Transit)
    }

    fn is_private(&self, addr: IpAddr) -> bool {
        self.private.iter().any(|net| net.contains(&addr))
    }

    /// Whether a port is of a private network.
    fn is_behind(&self, port: PortId) -> bool {
        let mut nets = self.interface(port).into_iter().flat_map(|i| &i.addresses);
        nets.any(|net| self.is_private(net.addr()))
    }

    /// Where what came by `port` for a group goes on.
    pub(super) fn group_port(&self, port: PortId) -> Option<PortId> {
        let mut pairs = self.groups.iter();
        pairs.find(|(from, _)| *from == port).map(|(_, to)| *to)
    }

    /// Whether `addr` is ours as seen from `port`: an isolated port's addresses are its own alone, and no others are there.
    pub(super) fn is_local(&self, port: PortId, addr: IpAddr) -> bool {
        let link_local = |interface: &super::Interface| IpAddr::V6(interface.link_local) == addr;
        let served = || self.domain_of(addr) == self.domain_at(port);
        self.is_own(addr) && served() || self.interface(port).is_some_and(link_local)
    }

    pub(super) fn input_tcp(
        cx: &mut Cx<'_>,
        packet: Packet<B>,
        checksum: RxChecksum,
        local: bool,
    ) -> Ingress<B> {
        let l4 = packet.l4_slice();
        let parsed = tcp::parse(l4, packet.src, packet.dst, packet.tos, checksum);
        if checksum == RxChecksum::Unknown
            && let Ok(segment) = &parsed
        {
            let read = u64::try_from(segment.payload.len()).unwrap_or(u64::MAX);
            cx.counters.add(Counter::PayloadSummed, read);
        }
        match parsed {
            Ok(segment) => Ingress::Tcp(TcpArrival {
                segment,
                packet,
                local,
            }),
            Err(error) => {
                let why = error.into();
                if local {
                    drop_as(cx, why)
                } else {
                    opaque(packet, why)
                }
            },
        }
    }
}

/// RFC 1812 5.3: what a transport makes of a packet in transit is no business of a router's.
fn opaque<B: PacketBuf>(packet: Packet<B>, why: Counter) -> Ingress<B> {
    match packet.tcp_tuple() {
        Some(tuple) => Ingress::Opaque(Opaque { tuple, why, packet }),
        None => Ingress::Transit(packet),
    }
}

pub(super) fn drop_as<B>(cx: &mut Cx<'_>, counter: Counter) -> Ingress<B> {
    Ingress::Done(cx.counters.end(counter))
}

/// What follows the Ethernet header and its tags.
fn ethertype<B: PacketBuf>(frame: &Slice<B>, tags: Tags) -> Option<u16> {
    let end = link_len(tags);
    let &[a, b] = frame.bytes().get(end - 2..end)?.first_chunk()?;
    Some(u16::from_be_bytes([a, b]))
}

/// RFC 1122 3.2.1.1 to 3.2.1.2: version, lengths and header checksum.
fn parse_ipv4<B: PacketBuf>(
    port: PortId,
    frame: Slice<B>,
    at: usize,
) -> Result<Packet<B>, Counter> {
    let bytes = frame.bytes().get(at..).ok_or(Counter::DropMalformed)?;
    let fixed: &[u8; IPV4_MIN] = bytes.first_chunk().ok_or(Counter::DropMalformed)?;
    let header_len = usize::from(fixed[0] & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if fixed[0] >> 4 != 4 || header_len < IPV4_MIN || total < header_len || total > bytes.len() {
        return Err(Counter::DropMalformed);
    }
    let sum = match header_len {
        IPV4_MIN => Sum::of_ipv4(fixed),
        len => Sum::of(&bytes[..len]),
    };
    if !sum.is_intact() {
        return Err(Counter::DropChecksum);
    }
    let addr = |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
    Ok(Packet {
        port,
        src: IpAddr::V4(addr(12)),
        dst: IpAddr::V4(addr(16)),
        tos: fixed[1],
        ttl: fixed[8],
        protocol: fixed[9],
        l3: offset(at),
        l4: offset(at + header_len),
        frame: frame.narrow(0..at + total),
    })
}

/// RFC 8200 3.
fn parse_ipv6<B: PacketBuf>(
    port: PortId,
    frame: Slice<B>,
    at: usize,
) -> Result<Packet<B>, Counter> {
    let bytes = frame.bytes().get(at..).ok_or(Counter::DropMalformed)?;
    let fixed: &[u8; IPV6] = bytes.first_chunk().ok_or(Counter::DropMalformed)?;
    let total = IPV6 + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    if fixed[0] >> 4 != 6 || total > bytes.len() {
        return Err(Counter::DropMalformed);
    }
    let addr = |at: usize| {
        let octets: [u8; 16] = core::array::from_fn(|i| fixed[at + i]);
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    Ok(Packet {
        port,
        src: addr(8),
        dst: addr(24),
        tos: (fixed[0] << 4) | (fixed[1] >> 4),
        ttl: fixed[7],
        protocol: fixed[6],
        l3: offset(at),
        l4: offset(at + IPV6),
        frame: frame.narrow(0..at + total),
    })
}

/// An offset within a frame, which is shorter than 65,536 octets.
fn offset(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}
