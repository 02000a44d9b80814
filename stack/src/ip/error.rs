//! ICMP errors that we send (RFC 792, RFC 1812 4.3, RFC 4443 3).

use super::Net;
use super::address::is_group;
use super::output::chain_of;
use super::packet::{EXTENSIONS_MAX, IpOut, Packet, Unreachable};
use super::route::Target;
use crate::buf::{Frame, Header, PacketBuf, PortId};
use crate::checksum::Sum;
use crate::wire::ip::{ICMP, ICMPV6, IPV4_MIN, IPV6, pseudo_header};
use crate::{Counter, Cx};
use core::net::IpAddr;

use super::output::Hop;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Complaint {
    Unreachable(Unreachable),
    /// It does not fit a link of this MTU, and may not be fragmented.
    TooBig(u16),
    TimeExceeded,
}

/// Octets of an ICMP header.
pub(super) const ICMP_HEADER: usize = 8;
/// An ICMP error is at most this long (RFC 1812 4.3.2.3).
const ERROR_MAX_V4: usize = 576;
/// An ICMPv6 error is at most the minimum MTU (RFC 4443 2.4 (c)).
const ERROR_MAX_V6: usize = 1280;

impl<B: PacketBuf> Net<B> {
    /// Refuses `packet`: tells its sender `reason`, within the rate limit and the rules of RFC 1122 3.2.2.
    pub fn send_icmp_unreachable(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        reason: Unreachable,
        out: &mut Vec<Frame<B>>,
    ) {
        self.complain(cx, packet, Complaint::Unreachable(reason), out);
    }

    /// Tells the sender of `packet` what is wrong with it, if RFC 1812 4.3.2.7 and RFC 4443 2.4 (e) allow it.
    pub(super) fn complain(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        complaint: Complaint,
        out: &mut Vec<Frame<B>>,
    ) {
        if !may_complain(packet) {
            return;
        }
        if !self.errors.take(cx.now) {
            cx.counters.count(Counter::IcmpLimited);
            return;
        }
        let Some((hop, src)) = self.way_back(cx, packet, out) else {
            return;
        };
        let (protocol, room) = match src {
            IpAddr::V4(_) => (ICMP, ERROR_MAX_V4 - IPV4_MIN - ICMP_HEADER),
            IpAddr::V6(_) => (ICMPV6, ERROR_MAX_V6 - IPV6 - ICMP_HEADER),
        };
        let start = usize::from(packet.l3);
        let quote = packet.frame.slice(start..start + room);
        let mut icmp = [0; ICMP_HEADER];
        describe(complaint, src.is_ipv6(), &mut icmp);
        let sum = Sum::of(&icmp).then(quote.sum());
        let l4_len = ICMP_HEADER + quote.len();
        let sum = match src {
            IpAddr::V4(_) => sum,
            IpAddr::V6(_) => pseudo_header(src, packet.src, ICMPV6, l4_len).then(sum),
        };
        icmp[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
        let ip = IpOut {
            // Internetwork control (RFC 1812 4.3.2.5).
            tos: if src.is_ipv4() { 0xc0 } else { 0 },
            ttl: 64,
        };
        let mut header = Header::default();
        self.push_ip(&mut header, &hop, (src, packet.src), protocol, l4_len, ip);
        header.push(&icmp);
        let frame = Frame::new(hop.port, header, chain_of(quote));
        cx.counters.count(Counter::IcmpSent);
        self.transmit(cx, &hop, frame, out);
    }

    /// The next hop towards the sender of `packet`, and our address on that link (RFC 1812 4.3.2.4).
    fn way_back(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Option<(Hop, IpAddr)> {
        let hop = self.hop_back(cx, packet, out)?;
        // Who sent to an address of ours hears from that address.
        if self.is_local(packet.port, packet.dst) {
            return Some((hop, packet.dst));
        }
        let src = self
            .source_on(hop.port, packet.src)
            .or_else(|| self.source_on(packet.port, packet.src))
            .or_else(|| self.own_toward(packet.src))?;
        Some((hop, src))
    }

    /// The next hop towards the sender of `packet`; a link-local one is on the link that it came by.
    pub(super) fn hop_back(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Option<Hop> {
        let on_link = match packet.src {
            IpAddr::V4(_) => false,
            IpAddr::V6(addr) => addr.is_unicast_link_local(),
        };
        if !on_link {
            // From the address that it was sent to, if that is ours.
            return self.hop(cx, packet.dst, packet.src, out);
        }
        let target = Target {
            port: packet.port,
            via: None,
        };
        let (hop, _) = self.hop_to(cx, target, packet.src, out)?;
        Some(hop)
    }

    /// Our lowest address of the family of `toward` that may be used on any port.
    fn own_toward(&self, toward: IpAddr) -> Option<IpAddr> {
        let mut own = self.own.of_family(toward);
        own.find(|&addr| self.domain_of(addr).is_none())
    }

    fn source_on(&self, port: PortId, toward: IpAddr) -> Option<IpAddr> {
        self.interface(port)?.source_for(toward)
    }
}

/// Type, code, and the MTU where it belongs.
fn describe(complaint: Complaint, v6: bool, icmp: &mut [u8; ICMP_HEADER]) {
    let (kind, code) = match (complaint, v6) {
        (Complaint::Unreachable(reason), false) => {
            let code = match reason {
                Unreachable::Network => 0,
                Unreachable::Host => 1,
                Unreachable::Port => 3,
                Unreachable::Prohibited => 13,
            };
            (3, code)
        },
        (Complaint::Unreachable(reason), true) => {
            let code = match reason {
                Unreachable::Network => 0,
                Unreachable::Prohibited => 1,
                Unreachable::Host => 3,
                Unreachable::Port => 4,
            };
            (1, code)
        },
        (Complaint::TooBig(_), false) => (3, 4),
        (Complaint::TooBig(_), true) => (2, 0),
        (Complaint::TimeExceeded, false) => (11, 0),
        (Complaint::TimeExceeded, true) => (3, 0),
    };
    icmp[0] = kind;
    icmp[1] = code;
    if let Complaint::TooBig(mtu) = complaint {
        // The last two octets of the second word in both: RFC 1191 4 has 16 bits, RFC 4443 3.2 has 32.
        icmp[6..8].copy_from_slice(&mtu.to_be_bytes());
    }
}

/// No error about an error, a fragment but the first, a group, or from nobody. (Groups and nobodies do not come this
/// far: [`Net::input`] drops them.)
fn may_complain<B: PacketBuf>(packet: &Packet<B>) -> bool {
    if is_group(packet.dst) {
        return false;
    }
    match packet.src {
        IpAddr::V4(_) => {
            let first = match *packet.ip_header() {
                [_, _, _, _, _, _, flags, offset, ..] => flags & 0x1f == 0 && offset == 0,
                _ => false,
            };
            // The queries of RFC 792, RFC 950 and RFC 1256; all others are errors, or unknown (RFC 1122 3.2.2).
            let query = matches!(packet.l4_bytes().first(), Some(0 | 8 | 9 | 10 | 13..=18));
            first && (packet.protocol != ICMP || query)
        },
        IpAddr::V6(_) => !is_icmpv6_error(packet),
    }
}

/// Whether an IPv6 packet is an ICMPv6 error or redirect, or a fragment that may belong to one.
fn is_icmpv6_error<B: PacketBuf>(packet: &Packet<B>) -> bool {
    let mut rest = packet.l4_bytes();
    let mut next = packet.protocol;
    for _ in 0..EXTENSIONS_MAX {
        let len = match (next, rest) {
            (ICMPV6, [kind, ..]) => return *kind < 128 || *kind == 137,
            (ICMPV6, []) => return true,
            // Hop-by-hop, routing and destination options: length in units of eight octets beyond the first.
            (0 | 43 | 60, [_, len, ..]) => (usize::from(*len) + 1) * 8,
            (44, [_, _, offset_high, offset_low, ..]) => {
                if *offset_high != 0 || *offset_low & 0xf8 != 0 {
                    return true;
                }
                8
            },
            _ => return false,
        };
        next = rest.first().copied().unwrap_or(59);
        rest = rest.get(len..).unwrap_or(&[]);
    }
    true
}
