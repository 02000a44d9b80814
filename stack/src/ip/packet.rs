//! What the IP layer hands up: packets with their headers read, and what is told about them.

use super::link::LINK_MAX;
use super::translate::Translation;
use crate::Counter;
use crate::buf::{HEADER_MAX, PacketBuf, PortId, Slice};
use crate::flow::Tuple;
use crate::seq::SeqNum;
use crate::tally::Ended;
use crate::wire::ip::{ICMPV6, IPV4_MIN, IPV6, TCP};
use crate::wire::tcp::{OptBytes, Segment};
use core::net::IpAddr;

/// IPv6 extension headers looked through for what they precede.
pub(super) const EXTENSIONS_MAX: usize = 8;

/// What became of a received frame.
#[derive(Debug)]
pub enum Ingress<B> {
    /// Consumed, answered, or dropped, and counted.
    Done(Ended),
    /// A whole TCP segment with a good checksum; ours or in transit, which the caller decides. Fragments and packets
    /// with IPv4 options or IPv6 extension headers never come here.
    Tcp(TcpArrival<B>),
    /// TCP in transit that cannot be taken as a segment: passed on with [`Net::forward`](super::Net::forward) as any
    /// router does, unless the caller has the flow.
    Opaque(Opaque<B>),
    /// An ICMP or ICMPv6 error that quotes a TCP segment: consumed by the caller, or passed on with
    /// [`Net::forward`](super::Net::forward).
    IcmpError(IcmpArrival<B>),
    /// Everything else that is not for us: the caller passes it on with [`Net::forward`](super::Net::forward).
    Transit(Packet<B>),
}

/// A received IP packet. Its frame is cut to the length that the IP header gives.
#[derive(Clone, Debug)]
pub struct Packet<B> {
    /// The port it came in by.
    pub port: PortId,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Traffic class octet: DSCP and ECN.
    pub tos: u8,
    /// Time to live or hop limit as received.
    pub ttl: u8,
    /// Protocol number, or the first next-header value in IPv6.
    pub protocol: u8,
    /// From the Ethernet header to the end of the IP packet.
    pub frame: Slice<B>,
    /// Where in `frame` the IP header starts.
    pub l3: u16,
    /// Where in `frame` the IP header (without IPv6 extension headers) ends.
    pub l4: u16,
}

/// A TCP segment and the packet it came in.
#[derive(Clone, Debug)]
pub struct TcpArrival<B> {
    /// The segment, its checksum verified.
    pub segment: Segment<B>,
    /// The packet, to be forwarded if the segment is not ours.
    pub packet: Packet<B>,
    /// Whether the destination is one of our own addresses.
    pub local: bool,
}

/// A TCP packet in transit that does not parse, is damaged or a first fragment, or has IP options or extension headers.
#[derive(Clone, Debug)]
pub struct Opaque<B> {
    /// Its addresses and ports, whatever else of it is wrong.
    pub tuple: Tuple,
    /// What it counts as if the caller drops it.
    pub why: Counter,
    /// The packet.
    pub packet: Packet<B>,
}

/// An ICMP error about a TCP segment, its checksum verified.
#[derive(Clone, Debug)]
pub struct IcmpArrival<B> {
    /// What it says.
    pub kind: IcmpKind,
    /// The quoted segment's own addresses and ports: its source is who sent what the error is about.
    pub tuple: Tuple,
    /// The quoted segment's sequence number, to be checked against what is in flight (RFC 5927 4).
    pub seq: SeqNum,
    /// The packet with the error, to be passed on.
    pub packet: Packet<B>,
}

/// What an ICMP error says (RFC 1122 4.2.3.9, RFC 5461 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpKind {
    /// Protocol or port unreachable, or administratively prohibited: trying again will not help.
    HardUnreachable,
    /// Network or host unreachable: may be transient.
    SoftUnreachable,
    /// Fragmentation needed or packet too big, with the next hop's MTU in octets; 0 where an old router says none.
    TooBig {
        /// Most octets of an IP packet that fit.
        mtu: u16,
    },
    /// TTL, hop limit or reassembly time exceeded.
    TimeExceeded,
    /// The packet's header was not understood.
    ParameterProblem,
}

/// Why a packet is refused, as told to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route (ICMP code 0, ICMPv6 code 0).
    Network,
    /// The host does not answer (ICMP code 1, ICMPv6 code 3).
    Host,
    /// Nothing listens at the port (ICMP code 3, ICMPv6 code 4).
    Port,
    /// Refused by policy (ICMP code 13, ICMPv6 code 1).
    Prohibited,
}

/// What an outgoing packet's IP header says beside its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpOut {
    /// Traffic class octet: DSCP and ECN.
    pub tos: u8,
    /// Time to live or hop limit.
    pub ttl: u8,
}

impl Default for IpOut {
    fn default() -> Self {
        Self { tos: 0, ttl: 64 }
    }
}

/// What [`Net::forward_syn`](super::Net::forward_syn) changes in a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynEdit {
    /// Remove every option of kind 30.
    pub strip_mptcp: bool,
    /// Lower the maximum segment size to this many octets if it is larger; never adds the option.
    pub mss_max: Option<u16>,
    /// Offer congestion marks as RFC 3168 has them in the place of accurate ones (RFC 9768 3.1.2): who goes on with the
    /// connection answers only those.
    pub decline_accurate_ecn: bool,
    /// Add this option of kind 30 (none if it is empty) behind all others, if 40 octets hold it: an MP_CAPABLE of 4
    /// octets in version 1 (RFC 8684 3.1), of 12 in version 0 (RFC 6824 3.1). A segment without that room goes on
    /// without it.
    pub add_mptcp: OptBytes,
    /// Other addresses and ports, of IPv4.
    pub translation: Translation,
}

impl<B: PacketBuf> Packet<B> {
    /// The IP header; of IPv6 the fixed one.
    #[must_use]
    pub fn ip_header(&self) -> &[u8] {
        let range = usize::from(self.l3)..usize::from(self.l4);
        self.frame.bytes().get(range).unwrap_or(&[])
    }

    /// What follows the IP header; in IPv6 extension headers are part of it.
    #[must_use]
    pub fn l4_bytes(&self) -> &[u8] {
        self.frame
            .bytes()
            .get(usize::from(self.l4)..)
            .unwrap_or(&[])
    }

    /// [`Packet::l4_bytes`] by reference.
    #[must_use]
    pub fn l4_slice(&self) -> Slice<B> {
        self.frame.slice(usize::from(self.l4)..self.frame.len())
    }

    /// Octets of the IP packet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frame.len() - usize::from(self.l3).min(self.frame.len())
    }

    /// Never: an IP packet has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the transport header follows the IP header, and all of it is here: no fragment and no IPv4 options.
    /// (With IPv6 extension headers `protocol` is not a transport's.)
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match *self.ip_header() {
            [0x45, _, _, _, _, _, flags, offset, ..] => flags & 0x3f == 0 && offset == 0,
            [first, ..] => first >> 4 == 6 && self.ip_header().len() == IPV6,
            [] => false,
        }
    }

    /// This packet with its TCP header right behind what counts as the IP header: IPv4 options and the extension headers of
    /// IPv6 are part of that. `None` for fragments, other protocols, what is on a route that its sender chose, and headers
    /// too long to be rewritten.
    pub(super) fn unwrapped(&self) -> Option<Self> {
        let rest = self.tcp_bytes()?;
        let start = self.frame.len() - rest.len();
        let ip = self.frame.bytes().get(usize::from(self.l3)..start)?;
        let header = usize::from(rest.get(12)? >> 4) * 4;
        let plain = if self.src.is_ipv4() {
            let fragment = ip.get(6)? & 0x3f != 0 || *ip.get(7)? != 0;
            !fragment && !has_source_route(ip.get(IPV4_MIN..)?)
        } else {
            !matches!(self.protocol, 43 | 44) && self.fragment_id().is_none()
        };
        if !plain || LINK_MAX + ip.len() + header > HEADER_MAX {
            return None;
        }
        Some(Self {
            l4: u16::try_from(start).ok()?,
            protocol: TCP,
            ..self.clone()
        })
    }

    /// Addresses and ports, if a TCP header begins in this packet.
    pub(super) fn tcp_tuple(&self) -> Option<Tuple> {
        let &[a, b, c, d] = self.tcp_bytes()?.first_chunk()?;
        Some(Tuple {
            src: self.src,
            dst: self.dst,
            src_port: u16::from_be_bytes([a, b]),
            dst_port: u16::from_be_bytes([c, d]),
        })
    }

    /// From the TCP header on: behind IPv4 options, or the extension headers that RFC 8200 4.1 knows.
    pub(super) fn tcp_bytes(&self) -> Option<&[u8]> {
        let mut rest = self.l4_bytes();
        if self.src.is_ipv4() {
            let later = matches!(*self.ip_header(), [_, _, _, _, _, _, flags, offset, ..]
                if flags & 0x1f != 0 || offset != 0);
            return (self.protocol == TCP && !later).then_some(rest);
        }
        let mut next = self.protocol;
        for _ in 0..EXTENSIONS_MAX {
            let len = match (next, rest) {
                (TCP, _) => return Some(rest),
                (0 | 43 | 60, [_, len, ..]) => (usize::from(*len) + 1) * 8,
                (44, [_, _, high, low, ..]) if *high == 0 && *low & 0xf8 == 0 => 8,
                _ => return None,
            };
            next = *rest.first()?;
            rest = rest.get(len..)?;
        }
        None
    }

    /// Whether this is the kind of ICMPv6 that never leaves a link (RFC 4861 4).
    pub(super) fn is_neighbor_discovery(&self) -> bool {
        self.protocol == ICMPV6
            && self.src.is_ipv6()
            && matches!(self.l4_bytes().first(), Some(133..=137))
    }
}

/// Whether IPv4 options name routers to pass by (RFC 791 3.1: loose and strict source routes).
fn has_source_route(options: &[u8]) -> bool {
    let mut rest = options;
    loop {
        let len = match *rest {
            [131 | 137, ..] => return true,
            [1, ..] => 1,
            [_, len, ..] if len >= 2 => usize::from(len),
            _ => return false,
        };
        rest = rest.get(len..).unwrap_or(&[]);
    }
}
