//! Received ICMP and ICMPv6: echo for our addresses, and errors that quote a TCP segment.

use super::Net;
use super::error::ICMP_HEADER;
use super::input::drop_as;
use super::output::chain_of;
use super::packet::{IcmpArrival, IcmpKind, Ingress, IpOut, Packet};
use crate::buf::{Frame, Header, PacketBuf};
use crate::checksum::Sum;
use crate::flow::Tuple;
use crate::seq::SeqNum;
use crate::tally::Ended;
use crate::wire::ip::{ICMPV6, IPV4_MIN, IPV6, TCP, pseudo_header};
use crate::{Counter, Cx};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Types of echo request and reply: ICMP, ICMPv6.
const ECHO_V4: (u8, u8) = (8, 0);
const ECHO_V6: (u8, u8) = (128, 129);

/// What an error quotes of a segment: addresses, ports and sequence number.
struct Quote {
    tuple: Tuple,
    seq: SeqNum,
}

impl<B: PacketBuf> Net<B> {
    pub(super) fn input_icmp(
        &mut self,
        cx: &mut Cx<'_>,
        packet: Packet<B>,
        local: bool,
        out: &mut Vec<Frame<B>>,
    ) -> Ingress<B> {
        let bytes = packet.l4_bytes();
        let v6 = packet.src.is_ipv6();
        let handed_up = !local || self.shared.contains(packet.dst);
        let right_family = (packet.protocol == ICMPV6) == v6;
        let (Some(icmp), true) = (bytes.first_chunk::<ICMP_HEADER>(), right_family) else {
            return stray(cx, packet, handed_up);
        };
        let request = if v6 { ECHO_V6.0 } else { ECHO_V4.0 };
        let quote = error_kind(v6, icmp).and_then(|kind| {
            let quote = quoted(v6, &bytes[ICMP_HEADER..])?;
            // An error is sent to who sent what it quotes (RFC 1122 3.2.2); one about another's packet is no use.
            (quote.tuple.src == packet.dst).then_some((kind, quote))
        });
        if quote.is_none() && !(local && icmp[0] == request) {
            return stray(cx, packet, handed_up);
        }
        let pseudo = if v6 {
            pseudo_header(packet.src, packet.dst, ICMPV6, bytes.len())
        } else {
            Sum::ZERO
        };
        if !pseudo.then(Sum::of(bytes)).is_intact() {
            return drop_as(cx, Counter::DropChecksum);
        }
        match quote {
            Some((kind, Quote { tuple, seq })) => Ingress::IcmpError(IcmpArrival {
                kind,
                tuple,
                seq,
                packet,
            }),
            None => Ingress::Done(self.echo(cx, &packet, out)),
        }
    }

    /// RFC 1122 3.2.2.6, RFC 4443 4.2: the data goes back as it came, by reference.
    fn echo(&mut self, cx: &mut Cx<'_>, packet: &Packet<B>, out: &mut Vec<Frame<B>>) -> Ended {
        if !self.answers.take(cx.now) {
            return cx.counters.end(Counter::DropEcho);
        }
        let Some(hop) = self.hop_back(cx, packet, out) else {
            return cx.counters.end(Counter::DropNoRoute);
        };
        if packet.len() > usize::from(hop.mtu) {
            return cx.counters.end(Counter::DropTooBig);
        }
        let l4 = packet.l4_slice();
        let data = l4.slice(ICMP_HEADER..l4.len());
        let mut icmp = [0; ICMP_HEADER];
        icmp[0] = if packet.src.is_ipv6() {
            ECHO_V6.1
        } else {
            ECHO_V4.1
        };
        // Identifier and sequence number.
        icmp[4..].copy_from_slice(&packet.l4_bytes()[4..ICMP_HEADER]);
        let (src, dst, protocol) = (packet.dst, packet.src, packet.protocol);
        let pseudo = if src.is_ipv6() {
            pseudo_header(src, dst, protocol, l4.len())
        } else {
            Sum::ZERO
        };
        let sum = pseudo.then(Sum::of(&icmp)).then(data.sum());
        icmp[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
        let ip = IpOut {
            tos: packet.tos,
            ttl: 64,
        };
        let mut header = Header::default();
        self.push_ip(&mut header, &hop, (src, dst), protocol, l4.len(), ip);
        header.push(&icmp);
        let frame = Frame::new(hop.port, header, chain_of(data));
        cx.counters.count(Counter::IcmpSent);
        self.transmit(cx, &hop, frame, out);
        cx.counters.end(Counter::EchoTaken)
    }
}

/// ICMP that is nothing to us: passed on, or dropped if it was sent to us alone.
fn stray<B>(cx: &mut Cx<'_>, packet: Packet<B>, handed_up: bool) -> Ingress<B> {
    if handed_up {
        Ingress::Transit(packet)
    } else {
        drop_as(cx, Counter::DropLocal)
    }
}

/// What an error says: RFC 1122 3.2.2.1 and 4.2.3.9, RFC 1812 5.2.7.1, RFC 4443 3, RFC 5461 2. `None` for queries,
/// source quench (RFC 6633) and redirects.
fn error_kind(v6: bool, icmp: &[u8; ICMP_HEADER]) -> Option<IcmpKind> {
    let mtu16 = u16::from_be_bytes([icmp[6], icmp[7]]);
    let kind = match (v6, icmp[0], icmp[1]) {
        (false, 3, 4) => IcmpKind::TooBig { mtu: mtu16 },
        (false, 3, 2 | 3 | 9 | 10 | 13) => IcmpKind::HardUnreachable,
        (false, 3, _) => IcmpKind::SoftUnreachable,
        (false, 11, _) | (true, 3, _) => IcmpKind::TimeExceeded,
        (false, 12, _) | (true, 4, _) => IcmpKind::ParameterProblem,
        (true, 1, 1 | 4) => IcmpKind::HardUnreachable,
        (true, 1, _) => IcmpKind::SoftUnreachable,
        (true, 2, _) => {
            let wide = icmp[4] != 0 || icmp[5] != 0;
            let mtu = if wide { u16::MAX } else { mtu16 };
            IcmpKind::TooBig { mtu }
        },
        _ => return None,
    };
    Some(kind)
}

/// Reads the quoted packet: at least eight octets of a TCP segment that follow an IP header.
fn quoted(v6: bool, bytes: &[u8]) -> Option<Quote> {
    let (src, dst, l4) = if v6 {
        let ip: &[u8; IPV6] = bytes.first_chunk()?;
        if ip[0] >> 4 != 6 || ip[6] != TCP {
            return None;
        }
        let addr = |at: usize| {
            let octets: [u8; 16] = core::array::from_fn(|i| ip[at + i]);
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        (addr(8), addr(24), IPV6)
    } else {
        let ip: &[u8; IPV4_MIN] = bytes.first_chunk()?;
        let header_len = usize::from(ip[0] & 0xf) * 4;
        let later_fragment = ip[6] & 0x1f != 0 || ip[7] != 0;
        if ip[0] >> 4 != 4 || header_len < IPV4_MIN || ip[9] != TCP || later_fragment {
            return None;
        }
        let addr =
            |at: usize| IpAddr::V4(Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]));
        (addr(12), addr(16), header_len)
    };
    let tcp: &[u8; 8] = bytes.get(l4..)?.first_chunk()?;
    Some(Quote {
        tuple: Tuple {
            src,
            dst,
            src_port: u16::from_be_bytes([tcp[0], tcp[1]]),
            dst_port: u16::from_be_bytes([tcp[2], tcp[3]]),
        },
        seq: SeqNum(u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]])),
    })
}
