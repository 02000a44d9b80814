//! What goes out: the way to a destination, and the headers of what is ours.

use super::Net;
use super::address::group_mac;
use super::isolated::Domain;
use super::link::{LINK_MAX, Tags, link_len};
use super::neighbor::{Held, Resolution, Solicit};
use super::packet::{IpOut, Packet};
use super::route::Target;
use crate::buf::{Chain, Frame, Header, PacketBuf, PortId, Slice};
use crate::checksum::Sum;
use crate::flow::Tuple;
use crate::tally::Ended;
use crate::time::Instant;
use crate::wire::ip::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_MIN, IPV6};
use crate::wire::tcp::OutSegment;
use crate::{Counter, Cx};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// ECN-capable transport, codepoint 0 (RFC 3168 5).
const ECT0: u8 = 0b10;

/// Places in the route cache.
pub(super) const CACHE_LEN: usize = 256;

/// The way to a destination, known down to the Ethernet address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cached {
    dst: IpAddr,
    /// Whose routes were followed.
    domain: Domain,
    /// The neighbor cache's epoch when this was found.
    epoch: u32,
    /// The neighbor is to be looked at again then.
    until: Instant,
    way: Way,
}

/// A next hop whose neighbor is known, with what stands before every packet that goes there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    hop: Hop,
    link: [u8; LINK_MAX],
    link_len: u8,
}

impl Way {
    fn new(hop: Hop, dst: IpAddr) -> Self {
        let mut header = Header::default();
        push_link(&mut header, &hop, dst);
        let mut link = [0; LINK_MAX];
        link[..header.len()].copy_from_slice(header.bytes());
        let link_len = u8::try_from(header.len()).unwrap_or(0);
        Self {
            hop,
            link,
            link_len,
        }
    }

    pub(super) const fn port(&self) -> PortId {
        self.hop.port
    }

    pub(super) fn mtu(&self) -> usize {
        usize::from(self.hop.mtu)
    }

    /// The next hop, while its neighbor is being asked.
    pub(super) fn asked(&self) -> Option<Hop> {
        Some(self.hop).filter(|hop| hop.dst_mac.is_none())
    }

    /// The link header of what goes there.
    #[inline]
    pub(super) fn link(&self) -> &[u8] {
        &self.link[..usize::from(self.link_len)]
    }

    /// Begins a frame that goes there.
    #[inline]
    pub(super) fn push_link(&self, header: &mut Header) {
        let link = self.link();
        match <&[u8; ETHERNET]>::try_from(link) {
            // Without tags, as most are, it is a few moves.
            Ok(ethernet) => header.push(ethernet),
            Err(_) => header.push(link),
        }
    }
}

impl Cached {
    pub(super) const EMPTY: Self = Self {
        dst: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        domain: None,
        epoch: 0,
        until: Instant::ZERO,
        way: Way {
            hop: Hop {
                port: PortId(0),
                mtu: 0,
                next: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                src_mac: [0; 6],
                dst_mac: None,
                tags: Tags::NONE,
                crossing: false,
            },
            link: [0; LINK_MAX],
            link_len: 0,
        },
    };
}

/// The next hop of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) port: PortId,
    /// Most octets of an IP packet on the link.
    pub(super) mtu: u16,
    next: IpAddr,
    src_mac: [u8; 6],
    /// `None` while the neighbor is being asked.
    dst_mac: Option<[u8; 6]>,
    tags: Tags,
    /// Over a bump in the wire, which is no hop: TTL stays as it is.
    pub(super) crossing: bool,
}

impl Hop {
    /// To the other end of a wire, to and from stations that are not ours.
    pub(super) const fn across(
        (port, mtu): (PortId, u16),
        dst: IpAddr,
        (to, from): ([u8; 6], [u8; 6]),
        tags: Tags,
    ) -> Self {
        Self {
            port,
            mtu,
            next: dst,
            src_mac: from,
            dst_mac: Some(to),
            tags,
            crossing: true,
        }
    }

    /// Octets of its frames before the IP packet.
    pub(super) fn link_len(&self) -> usize {
        link_len(self.tags)
    }
}

impl<B: PacketBuf> Net<B> {
    /// Sends a segment of ours, whatever its source address, and takes its payload. Never fragmented (RFC 1191 3). Whether its frame
    /// is the last of `out` now.
    pub fn send_tcp(
        &mut self,
        cx: &mut Cx<'_>,
        tuple: &Tuple,
        ip: IpOut,
        segment: &mut OutSegment<B>,
        out: &mut Vec<Frame<B>>,
    ) -> bool {
        let known = (self.neighbors.epoch(), cx.now);
        if !self.lane.is_of(tuple, ip.ttl, known) && !self.find_lane(cx, tuple, ip.ttl, out) {
            cx.counters.count(Counter::SendNoRoute);
            return false;
        }
        // The identification is of use to IPv4 alone, and to skip one does no harm.
        self.next_id = self.next_id.wrapping_add(1);
        let tos = ip.tos | if segment.ect { ECT0 } else { 0 };
        if !self.lane.push(segment, (tos, self.next_id), out) {
            cx.counters.count(Counter::SendTooBig);
            return false;
        }
        if let Some(hop) = self.lane.asked()
            && let Some(frame) = out.pop()
        {
            self.hold(cx, &hop, frame, None);
            return false;
        }
        true
    }

    /// Sends one more like that which [`Self::send_tcp`] sent before, with nothing in between, and which is the last of `out`: both
    /// have data, and differ in number, PSH, payload and options of the layer above alone.
    pub fn send_more(
        &mut self,
        cx: &mut Cx<'_>,
        ip: IpOut,
        segment: &mut OutSegment<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        self.next_id = self.next_id.wrapping_add(1);
        let tos = ip.tos | if segment.ect { ECT0 } else { 0 };
        if !self.lane.push_more(segment, (tos, self.next_id), out) {
            cx.counters.count(Counter::SendTooBig);
        }
    }

    /// Whether the queue of the device by which [`Self::send_tcp`] sent last is full.
    #[inline]
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.crowded.contains(&self.lane.port())
    }

    /// What is sent by `port` waits as the queue of its device is full, or does not any more.
    pub fn set_crowded(&mut self, port: PortId, crowded: bool) {
        self.crowded.retain(|other| *other != port);
        if crowded {
            self.crowded.push(port);
        }
    }

    /// Finds the lane of segments with `tuple`; whether there is a route.
    fn find_lane(
        &mut self,
        cx: &mut Cx<'_>,
        tuple: &Tuple,
        ttl: u8,
        out: &mut Vec<Frame<B>>,
    ) -> bool {
        let known = match self.bridge {
            None => self.known(cx.now, tuple.src, tuple.dst),
            Some(_) => None,
        };
        if let Some((at, _)) = known {
            let Cached {
                epoch, until, way, ..
            } = &self.cache[at];
            let sums = self.summing.contains(&way.port());
            self.lane.lead((way, sums), tuple, ttl, (*epoch, *until));
            return true;
        }
        let learned = self.learned_hop(tuple);
        let Some(hop) = learned.or_else(|| self.hop(cx, tuple.src, tuple.dst, out)) else {
            return false;
        };
        // For this segment alone: what a bridge learns next is another way.
        let way = Way::new(hop, tuple.dst);
        let sums = self.summing.contains(&way.port());
        let known = (self.neighbors.epoch(), Instant::ZERO);
        self.lane.lead((&way, sums), tuple, ttl, known);
        true
    }

    /// The way of a packet from `src` to `dst`; asks for the neighbor if need be. `None` if there is no route.
    pub(super) fn hop(
        &mut self,
        cx: &mut Cx<'_>,
        src: IpAddr,
        dst: IpAddr,
        out: &mut Vec<Frame<B>>,
    ) -> Option<Hop> {
        if let Some(way) = self.known_way(cx.now, src, dst) {
            return Some(way.hop);
        }
        let domain = self.domain_of(src);
        let target = self.routes(domain).get(dst)?;
        let (hop, until) = self.hop_to(cx, target, dst, out)?;
        if hop.dst_mac.is_some() {
            self.cache[place_of(dst, domain)] = Cached {
                dst,
                domain,
                epoch: self.neighbors.epoch(),
                until,
                way: Way::new(hop, dst),
            };
        }
        Some(hop)
    }

    /// The way of a packet from `src` to `dst`, if one went there not long ago.
    #[inline]
    pub(super) fn known_way(&self, now: Instant, src: IpAddr, dst: IpAddr) -> Option<&Way> {
        self.known(now, src, dst).map(|(_, cached)| &cached.way)
    }

    /// The same, and where in the route cache it is.
    #[inline]
    fn known(&self, now: Instant, src: IpAddr, dst: IpAddr) -> Option<(usize, &Cached)> {
        let domain = self.domain_of(src);
        let at = place_of(dst, domain);
        let cached = &self.cache[at];
        let known = cached.dst == dst
            && cached.domain == domain
            && cached.epoch == self.neighbors.epoch()
            && now < cached.until;
        known.then_some((at, cached))
    }

    /// The way on to a group, for what came by `port`.
    pub(super) fn group_hop(&self, port: PortId, group: IpAddr) -> Option<Hop> {
        let interface = self.interface(self.group_port(port)?)?;
        Some(Hop {
            port: interface.port,
            mtu: interface.mtu,
            next: group,
            src_mac: interface.mac,
            dst_mac: Some(group_mac(group)),
            tags: interface.tags,
            crossing: false,
        })
    }

    /// The way to `dst` over a known link.
    pub(super) fn hop_to(
        &mut self,
        cx: &mut Cx<'_>,
        target: Target,
        dst: IpAddr,
        out: &mut Vec<Frame<B>>,
    ) -> Option<(Hop, Instant)> {
        let interface = self.interface(target.port)?;
        let mut hop = Hop {
            port: target.port,
            mtu: interface.mtu,
            next: target.via.unwrap_or(dst),
            src_mac: interface.mac,
            dst_mac: None,
            tags: interface.tags,
            crossing: false,
        };
        let mut ask = None;
        let key = (hop.port, hop.next);
        let found = self.neighbors.resolve(cx, key, &mut ask);
        if let Some(ask) = ask {
            self.solicit(ask, out);
        }
        match found {
            Resolution::Known { mac, until } => {
                hop.dst_mac = Some(mac);
                Some((hop, until))
            },
            Resolution::Unknown => Some((hop, cx.now)),
        }
    }

    pub(super) fn solicit(&self, ask: Solicit, out: &mut Vec<Frame<B>>) {
        match ask.key.1 {
            IpAddr::V4(target) => self.arp_request(ask, target, out),
            IpAddr::V6(target) => self.neighbor_solicitation(ask, target, out),
        }
    }

    /// Sends `frame` of our own, whose header begins as [`push_link`] wrote it, or keeps it until the neighbor answers.
    pub(super) fn transmit(
        &mut self,
        cx: &mut Cx<'_>,
        hop: &Hop,
        frame: Frame<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        if hop.dst_mac.is_some() {
            out.push(frame);
        } else {
            self.hold(cx, hop, frame, None);
        }
    }

    /// Sends `frame` on in the place of a packet, whose fate that is; or keeps it until the neighbor answers. The packet is
    /// quoted to its sender if the neighbor does not.
    pub(super) fn transmit_on(
        &mut self,
        cx: &mut Cx<'_>,
        hop: &Hop,
        frame: Frame<B>,
        (packet, fate): (Packet<B>, Counter),
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        if hop.dst_mac.is_some() {
            out.push(frame);
            return cx.counters.end(fate);
        }
        self.hold(cx, hop, frame, Some((packet, fate)));
        Ended::later()
    }

    /// Keeps `frame` until the neighbor answers.
    fn hold(
        &mut self,
        cx: &mut Cx<'_>,
        hop: &Hop,
        frame: Frame<B>,
        original: Option<(Packet<B>, Counter)>,
    ) {
        let held = Held {
            key: (hop.port, hop.next),
            frame,
            original,
        };
        self.neighbors.hold(held, cx.counters);
    }

    /// Begins a packet of our own: Ethernet and IP headers for `l4_len` octets of `protocol`.
    pub(super) fn push_ip(
        &mut self,
        header: &mut Header,
        hop: &Hop,
        (src, dst): (IpAddr, IpAddr),
        protocol: u8,
        l4_len: usize,
        ip: IpOut,
    ) {
        push_link(header, hop, dst);
        let bytes = header.reserve(ip_len(dst));
        self.next_id = self.next_id.wrapping_add(1);
        write_ip(bytes, (src, dst), protocol, l4_len, ip, self.next_id);
    }
}

/// Writes the IP header of a packet of our own into `bytes`, which are zero and [`ip_len`] many. `id` is that of IPv4.
pub(super) fn write_ip(
    bytes: &mut [u8],
    (src, dst): (IpAddr, IpAddr),
    protocol: u8,
    l4_len: usize,
    ip: IpOut,
    id: u16,
) {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            if let Some(bytes) = bytes.first_chunk_mut() {
                write_ipv4(bytes, (src, dst), protocol, l4_len, ip, id);
            }
        },
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            write_ipv6(bytes, (src, dst), protocol, l4_len, ip);
        },
        // A tuple is of one family: this packet would be no use to anybody.
        _ => {},
    }
}

/// Octets of the IP header of a packet of our own to `dst`.
pub(super) const fn ip_len(dst: IpAddr) -> usize {
    match dst {
        IpAddr::V4(_) => IPV4_MIN,
        IpAddr::V6(_) => IPV6,
    }
}

/// The place of `dst` in the route cache: each domain has its own, so that paths to one address do not displace each other.
fn place_of(dst: IpAddr, domain: Domain) -> usize {
    // Fibonacci hashing: the top bits depend on all others.
    let hash = (bits_of(&dst).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as usize;
    (hash + domain.map_or(0, |at| 1 + usize::from(at))) % CACHE_LEN
}

/// An address as a number to be hashed.
pub(super) const fn bits_of(addr: &IpAddr) -> u64 {
    match addr {
        IpAddr::V4(addr) => addr.to_bits() as u64,
        IpAddr::V6(addr) => {
            let bits = addr.to_bits();
            // Both halves of the address are mixed.
            (bits >> 64) as u64 ^ bits as u64
        },
    }
}

/// The Ethernet header of an IP packet to `dst`.
pub(super) fn push_link(header: &mut Header, hop: &Hop, dst: IpAddr) {
    let ethertype = match dst {
        IpAddr::V4(_) => ETHERTYPE_IPV4,
        IpAddr::V6(_) => ETHERTYPE_IPV6,
    };
    let station = hop.dst_mac.unwrap_or_default();
    push_ethernet(header, station, hop.src_mac, hop.tags, ethertype);
}

pub(super) fn push_ethernet(
    header: &mut Header,
    to: [u8; 6],
    from: [u8; 6],
    tags: Tags,
    ethertype: u16,
) {
    let mut stations = [0; ETHERNET - 2];
    stations[..6].copy_from_slice(&to);
    stations[6..].copy_from_slice(&from);
    header.push(&stations);
    if tags.len() > 0 {
        header.push(tags.octets());
    }
    header.push(&ethertype.to_be_bytes());
}

/// RFC 791 3.1, with DF set: nothing of ours is fragmented on its way.
fn write_ipv4(
    bytes: &mut [u8; IPV4_MIN],
    (src, dst): (Ipv4Addr, Ipv4Addr),
    protocol: u8,
    l4_len: usize,
    ip: IpOut,
    id: u16,
) {
    let len = u16::try_from(IPV4_MIN + l4_len).unwrap_or(u16::MAX);
    let mut words = [
        u32::from_be_bytes([0x45, ip.tos, 0, 0]) | u32::from(len),
        u32::from(id) << 16 | 0x4000,
        u32::from_be_bytes([ip.ttl, protocol, 0, 0]),
        src.to_bits(),
        dst.to_bits(),
    ];
    let total = words.iter().map(|word| u64::from(*word)).sum();
    words[2] |= u32::from(Sum::of_words(total).checksum());
    for (place, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
}

/// The same of IPv6.
pub(super) fn push_ipv6(
    header: &mut Header,
    addrs: (Ipv6Addr, Ipv6Addr),
    next_header: u8,
    l4_len: usize,
    ip: IpOut,
) {
    write_ipv6(header.reserve(IPV6), addrs, next_header, l4_len, ip);
}

/// RFC 8200 3.
fn write_ipv6(
    bytes: &mut [u8],
    (src, dst): (Ipv6Addr, Ipv6Addr),
    next_header: u8,
    l4_len: usize,
    ip: IpOut,
) {
    bytes[0] = 0x60 | (ip.tos >> 4);
    bytes[1] = ip.tos << 4;
    bytes[4..6].copy_from_slice(&length(l4_len));
    bytes[6] = next_header;
    bytes[7] = ip.ttl;
    bytes[8..24].copy_from_slice(&src.octets());
    bytes[24..].copy_from_slice(&dst.octets());
}

/// A length field; frames are shorter than 65,536 octets.
pub(super) fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

/// One slice as the payload of a frame, unless it is empty.
pub(super) fn chain_of<B: PacketBuf>(slice: Slice<B>) -> Chain<B> {
    let mut chain = Chain::new();
    if !slice.is_empty() {
        chain.push(slice);
    }
    chain
}
