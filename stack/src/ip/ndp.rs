//! Neighbor discovery (RFC 4861 7): answers for our addresses, questions for next hops. We send no router
//! advertisements and believe none.
//!
//! smoltcp's representation holds one option only and takes hosts' messages with several for malformed, so the two
//! messages of 24 octets are read and written here.

use super::Net;
use super::address::{Interface, is_host, is_station};
use super::neighbor::{Hearsay, Solicit};
use super::output::{push_ethernet, push_ipv6};
use super::packet::{IpOut, Packet};
use crate::buf::{Chain, Frame, Header, PacketBuf, PortId};
use crate::checksum::Sum;
use crate::wire::ip::{ETHERNET, ETHERTYPE_IPV6, ICMPV6, pseudo_header};
use crate::{Counter, Cx};
use core::net::{IpAddr, Ipv6Addr};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;
/// Octets of either message before its options.
const FIXED: usize = 24;
/// R, S and O of an advertisement (RFC 4861 4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// The only hop limit that proves that no router was passed (RFC 4861 7.1).
const HOP_LIMIT: u8 = 255;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// A neighbor solicitation or advertisement.
struct Message {
    kind: u8,
    flags: u8,
    target: Ipv6Addr,
    mac: Option<[u8; 6]>,
}

impl<B: PacketBuf> Net<B> {
    /// Takes a message of neighbor discovery; its fate, if it has no other.
    pub(super) fn input_ndp(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Counter {
        let bytes = packet.l4_bytes();
        let pseudo = pseudo_header(packet.src, packet.dst, ICMPV6, bytes.len());
        if !pseudo.then(Sum::of(bytes)).is_intact() {
            return Counter::DropChecksum;
        }
        let Some(message) = parse(bytes).filter(|_| packet.ttl == HOP_LIMIT) else {
            return Counter::DropMalformed;
        };
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (packet.src, packet.dst) else {
            return Counter::DropMalformed;
        };
        if self.is_local(packet.port, packet.src) {
            cx.counters.count(Counter::NeighborConflict);
            return Counter::NeighborTaken;
        }
        match message.kind {
            SOLICITATION => self.input_solicitation(cx, packet, (src, dst), &message, out),
            ADVERTISEMENT => self.input_advertisement(cx, packet.port, dst, &message, out),
            // Router solicitations, advertisements and redirects.
            _ => Counter::DropGroup,
        }
    }

    /// RFC 4861 7.1.1, 7.2.3, 7.2.4.
    fn input_solicitation(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        (src, dst): (Ipv6Addr, Ipv6Addr),
        message: &Message,
        out: &mut Vec<Frame<B>>,
    ) -> Counter {
        let port = packet.port;
        let target = message.target;
        if !self.is_local(port, IpAddr::V6(target)) {
            return Counter::DropGroup;
        }
        let probe = src.is_unspecified();
        let dst_fits = dst == solicited_node(target) || (dst == target && !probe);
        let src_fits = is_host(IpAddr::V6(src)) || (probe && message.mac.is_none());
        if !dst_fits || !src_fits {
            return Counter::DropMartian;
        }
        let Some(interface) = self.interface(port) else {
            return Counter::DropNotOurs;
        };
        let on_link = interface.is_on_link(IpAddr::V6(src));
        // A host that checks whether the address is taken hears it as all nodes do (RFC 4861 7.2.4).
        let (to, flags) = if probe {
            (ALL_NODES, ROUTER | OVERRIDE)
        } else {
            (src, ROUTER | SOLICITED | OVERRIDE)
        };
        let station = match (probe, message.mac) {
            (true, _) => multicast_mac(ALL_NODES),
            (false, Some(mac)) => mac,
            (false, None) => source_mac(packet),
        };
        if !probe && !is_station(station) {
            return Counter::DropMartian;
        }
        let answer = Message {
            kind: ADVERTISEMENT,
            flags,
            target,
            mac: Some(interface.mac),
        };
        let reply = emit(interface, station, target, to, &answer);
        out.push(reply);
        if !probe && let Some(mac) = message.mac {
            let how = Hearsay {
                solicited: false,
                overrides: true,
            };
            let key = (port, IpAddr::V6(src));
            if on_link {
                self.neighbors.meet(cx.now, key, mac);
            }
            self.neighbors.learn(cx, key, mac, how, out);
        }
        Counter::NeighborTaken
    }

    /// RFC 4861 7.1.2, 7.2.5.
    fn input_advertisement(
        &mut self,
        cx: &mut Cx<'_>,
        port: PortId,
        dst: Ipv6Addr,
        message: &Message,
        out: &mut Vec<Frame<B>>,
    ) -> Counter {
        let solicited = message.flags & SOLICITED != 0;
        let target = IpAddr::V6(message.target);
        if self.is_local(port, target) {
            cx.counters.count(Counter::NeighborConflict);
            return Counter::NeighborTaken;
        }
        let mac = message.mac.filter(|mac| is_station(*mac));
        let (Some(mac), false) = (mac, solicited && dst.is_multicast()) else {
            return Counter::DropMalformed;
        };
        let how = Hearsay {
            solicited,
            overrides: message.flags & OVERRIDE != 0,
        };
        self.neighbors.learn(cx, (port, target), mac, how, out);
        Counter::NeighborTaken
    }

    /// Asks for `target`: the group of all that may have it, or the station that had it last.
    pub(super) fn neighbor_solicitation(
        &self,
        ask: Solicit,
        target: Ipv6Addr,
        out: &mut Vec<Frame<B>>,
    ) {
        let Some(interface) = self.interface(ask.key.0) else {
            return;
        };
        let src = match interface.source_for(IpAddr::V6(target)) {
            Some(IpAddr::V6(addr)) => addr,
            _ => interface.link_local,
        };
        let (to, station) = match ask.mac {
            Some(mac) => (target, mac),
            None => (
                solicited_node(target),
                multicast_mac(solicited_node(target)),
            ),
        };
        let question = Message {
            kind: SOLICITATION,
            flags: 0,
            target,
            mac: Some(interface.mac),
        };
        let frame = emit(interface, station, src, to, &question);
        out.push(frame);
    }
}

/// The station that a frame came from.
fn source_mac<B: PacketBuf>(packet: &Packet<B>) -> [u8; 6] {
    let ethernet = packet.frame.bytes().first_chunk::<ETHERNET>();
    ethernet.map_or([0; 6], |bytes| core::array::from_fn(|i| bytes[6 + i]))
}

/// RFC 4291 2.7.1.
fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = addr.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c])
}

/// RFC 2464 7.
const fn multicast_mac(group: Ipv6Addr) -> [u8; 6] {
    let [.., a, b, c, d] = group.octets();
    [0x33, 0x33, a, b, c, d]
}

/// RFC 4861 4.3, 4.4, 4.6.1 and 7.1: `None` if it is too short, has a code, or an option of length zero or beyond
/// the end. Router solicitations, advertisements and redirects yield their kind alone.
fn parse(bytes: &[u8]) -> Option<Message> {
    let (&kind, &code) = (bytes.first()?, bytes.get(1)?);
    if code != 0 {
        return None;
    }
    let mut message = Message {
        kind,
        flags: 0,
        target: Ipv6Addr::UNSPECIFIED,
        mac: None,
    };
    let wanted = match kind {
        SOLICITATION => SOURCE_LINK_LAYER,
        ADVERTISEMENT => TARGET_LINK_LAYER,
        _ => return Some(message),
    };
    let fixed: &[u8; FIXED] = bytes.first_chunk()?;
    message.flags = fixed[4];
    message.target = Ipv6Addr::from(core::array::from_fn::<u8, 16, _>(|i| fixed[8 + i]));
    let mut rest = &bytes[FIXED..];
    while let [option, len, ..] = *rest {
        let body = rest.get(2..usize::from(len) * 8)?;
        if option == wanted {
            message.mac = body.first_chunk().copied().or(message.mac);
        }
        rest = &rest[2 + body.len()..];
    }
    rest.is_empty().then_some(message)
}

fn emit<B: PacketBuf>(
    interface: &Interface,
    station: [u8; 6],
    src: Ipv6Addr,
    dst: Ipv6Addr,
    message: &Message,
) -> Frame<B> {
    let mut body = [0; FIXED + 8];
    body[0] = message.kind;
    body[4] = message.flags;
    body[8..FIXED].copy_from_slice(&message.target.octets());
    body[FIXED] = match message.kind {
        SOLICITATION => SOURCE_LINK_LAYER,
        _ => TARGET_LINK_LAYER,
    };
    body[FIXED + 1] = 1;
    body[FIXED + 2..].copy_from_slice(&message.mac.unwrap_or(interface.mac));
    let pseudo = pseudo_header(IpAddr::V6(src), IpAddr::V6(dst), ICMPV6, body.len());
    let checksum = pseudo.then(Sum::of(&body)).checksum();
    body[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut header = Header::default();
    push_ethernet(
        &mut header,
        station,
        interface.mac,
        interface.tags,
        ETHERTYPE_IPV6,
    );
    let ip = IpOut {
        tos: 0,
        ttl: HOP_LIMIT,
    };
    push_ipv6(&mut header, (src, dst), ICMPV6, body.len(), ip);
    header.push(&body);
    Frame::new(interface.port, header, Chain::new())
}
