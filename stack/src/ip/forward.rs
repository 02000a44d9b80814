//! A packet in transit: TTL, MTU, the next hop. Nothing else of it changes (RFC 1812 5.2, 5.3).

use super::Net;
use super::address::{is_group, is_link_scoped};
use super::error::Complaint;
use super::output::{Hop, chain_of, length, push_link};
use super::packet::{Packet, Unreachable};
use super::translate::HEAD_MAX;
use crate::buf::{Frame, Header, PacketBuf};
use crate::checksum::Sum;
use crate::wire::ip::IPV4_MIN;
use crate::{Counter, Cx};
use arrayvec::ArrayVec;
use core::net::IpAddr;

const DONT_FRAGMENT: u8 = 0x40;
const MORE_FRAGMENTS: u8 = 0x20;

/// What a packet goes on as, where a translator changed it.
pub(super) struct Onward {
    /// Where it goes.
    pub(super) dst: IpAddr,
    /// Its IP header, before its TTL is lowered.
    pub(super) ip: ArrayVec<u8, 60>,
    /// What replaces as many octets behind the IP header.
    pub(super) head: ArrayVec<u8, HEAD_MAX>,
}

impl<B: PacketBuf> Net<B> {
    /// Routes a packet on: only TTL (hop limit) and Ethernet addresses change. Answers with ICMP errors where due.
    pub fn forward(&mut self, cx: &mut Cx<'_>, packet: Packet<B>, out: &mut Vec<Frame<B>>) {
        self.send_on(cx, packet, None, out);
    }

    /// Routes a packet on, as it is or as `changed`.
    pub(super) fn send_on(
        &mut self,
        cx: &mut Cx<'_>,
        packet: Packet<B>,
        changed: Option<&Onward>,
        out: &mut Vec<Frame<B>>,
    ) {
        if let Some(other) = self.crossing(&packet) {
            return self.cross(cx, other, &packet.frame, out);
        }
        let dst = changed.map_or(packet.dst, |changed| changed.dst);
        let Some(hop) = self.way_on(cx, &packet, dst, out) else {
            return;
        };
        let mtu = usize::from(hop.mtu);
        if packet.len() > mtu {
            let flags = packet.ip_header().get(6).copied().unwrap_or(0);
            if packet.src.is_ipv6() || flags & DONT_FRAGMENT != 0 {
                cx.counters.count(Counter::DropTooBig);
                self.complain(cx, &packet, Complaint::TooBig(hop.mtu), out);
            } else {
                self.fragment(cx, &packet, &hop, changed, out);
            }
            return;
        }
        cx.counters.count(Counter::Forwarded);
        let (ip, head) = headers(&packet, changed);
        let mut header = Header::default();
        push_link(&mut header, &hop, dst);
        header.push(ip);
        decrement_ttl(&mut header.bytes_mut()[hop.link_len()..]);
        header.push(head);
        let data = packet.l4_slice();
        let rest = head.len()..data.len();
        let frame = Frame {
            port: hop.port,
            header,
            payload: chain_of(data.narrow(rest)),
        };
        self.transmit(cx, &hop, frame, Some(packet), out);
    }

    /// RFC 1812 5.2.1.2: the checks before a packet is passed on towards `dst`, and its next hop.
    pub(super) fn way_on(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        dst: IpAddr,
        out: &mut Vec<Frame<B>>,
    ) -> Option<Hop> {
        if let Some(other) = self.crossing(packet) {
            return self.hop_across(packet, other);
        }
        if is_link_scoped(packet.src) || is_link_scoped(dst) {
            cx.counters.count(Counter::DropScope);
            return None;
        }
        if packet.ttl <= 1 {
            cx.counters.count(Counter::DropTtl);
            self.complain(cx, packet, Complaint::TimeExceeded, out);
            return None;
        }
        if is_group(dst) {
            let hop = self.group_hop(packet.port, dst);
            cx.counters
                .add(Counter::DropGroup, u64::from(hop.is_none()));
            return hop;
        }
        let hop = self.hop(cx, packet.src, dst, out);
        if hop.is_none() {
            cx.counters.count(Counter::DropNoRoute);
            self.send_icmp_unreachable(cx, packet, Unreachable::Network, out);
        }
        hop
    }

    /// RFC 791 3.2: cuts an IPv4 packet at multiples of eight octets. Options go with the first fragment, and with
    /// all others if they say so.
    fn fragment(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        hop: &Hop,
        changed: Option<&Onward>,
        out: &mut Vec<Frame<B>>,
    ) {
        let (whole, head) = headers(packet, changed);
        let dst = changed.map_or(packet.dst, |changed| changed.dst);
        let data = packet.l4_slice();
        let rest_header = header_of_rest(whole);
        let field = u16::from_be_bytes([
            whole.get(6).copied().unwrap_or(0),
            whole.get(7).copied().unwrap_or(0),
        ]);
        let first_offset = field & 0x1fff;
        let more_after = field & (u16::from(MORE_FRAGMENTS) << 8) != 0;
        cx.counters.count(Counter::Fragmented);
        let mut at = 0;
        while at < data.len() {
            let (ip, head): (&[u8], &[u8]) = if at == 0 {
                (whole, head)
            } else {
                (&rest_header, &[])
            };
            let room = (usize::from(hop.mtu).saturating_sub(ip.len()) / 8 * 8).max(8);
            let part = data.slice(at..at.saturating_add(room));
            let last = at + part.len() >= data.len();
            let offset = first_offset + u16::try_from(at / 8).unwrap_or(0);
            let mut header = Header::default();
            push_link(&mut header, hop, dst);
            header.push(ip);
            let bytes = &mut header.bytes_mut()[hop.link_len()..];
            bytes[2..4].copy_from_slice(&length(ip.len() + part.len()));
            let more = if more_after || !last { 0x2000 } else { 0 };
            // An offset past the field's 13 bits stands only in packets longer than any may be; it wraps.
            bytes[6..8].copy_from_slice(&((offset & 0x1fff) | more).to_be_bytes());
            bytes[8] = packet.ttl.saturating_sub(1);
            rewrite_checksum(bytes);
            header.push(head);
            // One complaint a packet, if the neighbor stays silent.
            let original = (at == 0).then(|| packet.clone());
            at += part.len();
            let rest = head.len()..part.len();
            let frame = Frame {
                port: hop.port,
                header,
                payload: chain_of(part.narrow(rest)),
            };
            self.transmit(cx, hop, frame, original, out);
        }
    }
}

/// The IP header that a packet goes on with, and what replaces as many octets behind it.
fn headers<'a, B: PacketBuf>(
    packet: &'a Packet<B>,
    changed: Option<&'a Onward>,
) -> (&'a [u8], &'a [u8]) {
    match changed {
        Some(changed) => (&changed.ip, &changed.head),
        None => (packet.ip_header(), &[]),
    }
}

/// The IPv4 header of all fragments but the first: with the options that have the copied flag.
fn header_of_rest(whole: &[u8]) -> ArrayVec<u8, 60> {
    let mut header = ArrayVec::new();
    let (fixed, mut options) = whole.split_at(whole.len().min(IPV4_MIN));
    header.extend(fixed.iter().copied());
    loop {
        let len = match *options {
            [] | [0, ..] => break,
            [1, ..] => 1,
            [_, len, ..] if len >= 2 => usize::from(len),
            _ => break,
        };
        let Some(option) = options.get(..len) else {
            break;
        };
        if option[0] & 0x80 != 0 {
            header.extend(option.iter().copied());
        }
        options = &options[len..];
    }
    while !header.len().is_multiple_of(4) {
        header.push(0);
    }
    let words = u8::try_from(header.len() / 4).unwrap_or(0);
    if let Some(first) = header.first_mut() {
        *first = 0x40 | words;
    }
    header
}

/// Lowers TTL or hop limit, which is not 0, by one; the IPv4 checksum follows by RFC 1624 eqn. 3.
#[inline]
pub(super) fn decrement_ttl(ip: &mut [u8]) {
    match ip.first().map(|first| first >> 4) {
        Some(4) if ip.len() >= IPV4_MIN => {
            ip[8] = ip[8].saturating_sub(1);
            // HC' = ~(~HC + ~m + m'), where TTL is the upper octet of its word, so that ~m + m' is ~0x100.
            let sum = u32::from(!u16::from_be_bytes([ip[10], ip[11]])) + 0xfeff;
            let [_, _, a, b] = (sum + (sum >> 16)).to_be_bytes();
            (ip[10], ip[11]) = (!a, !b);
        },
        Some(6) if ip.len() >= 8 => ip[7] = ip[7].saturating_sub(1),
        _ => {},
    }
}

/// Computes the checksum of a changed IPv4 header.
pub(super) fn rewrite_checksum(ip: &mut [u8]) {
    ip[10..12].fill(0);
    let checksum = Sum::of(ip).checksum();
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
}
