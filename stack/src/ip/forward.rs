//! A packet in transit: TTL, MTU, the next hop. Nothing else of it changes (RFC 1812 5.2, 5.3).

use super::Net;
use super::address::{is_group, is_link_scoped};
use super::error::Complaint;
use super::output::{Hop, chain_of, push_link};
use super::packet::{Packet, Unreachable};
use super::translate::HEAD_MAX;
use crate::buf::{Frame, Header, PacketBuf};
use crate::tally::Ended;
use crate::wire::ip::{IPV4_MIN, set_length};
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
    pub fn forward(
        &mut self,
        cx: &mut Cx<'_>,
        packet: Packet<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        self.send_on(cx, packet, None, out)
    }

    /// Routes a packet on, as it is or as `changed`.
    pub(super) fn send_on(
        &mut self,
        cx: &mut Cx<'_>,
        packet: Packet<B>,
        changed: Option<&Onward>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        if let Some(other) = self.crossing(&packet) {
            return self.cross(cx, other, &packet.frame, out);
        }
        let dst = changed.map_or(packet.dst, |changed| changed.dst);
        let hop = match self.way_on(cx, &packet, dst, out) {
            Ok(hop) => hop,
            Err(ended) => return ended,
        };
        let mtu = usize::from(hop.mtu);
        if packet.len() > mtu {
            if let Some(ended) = self.send_cut(cx, &packet, (&hop, changed), out) {
                return ended;
            }
            let flags = packet.ip_header().get(6).copied().unwrap_or(0);
            if packet.src.is_ipv6() || flags & DONT_FRAGMENT != 0 {
                self.complain(cx, &packet, Complaint::TooBig(hop.mtu), out);
                return cx.counters.end(Counter::DropTooBig);
            }
            return self.fragment(cx, &packet, &hop, changed, out);
        }
        let (ip, head) = headers(&packet, changed);
        let mut header = Header::default();
        push_link(&mut header, &hop, dst);
        header.push(ip);
        decrement_ttl(&mut header.bytes_mut()[hop.link_len()..]);
        header.push(head);
        let data = packet.l4_slice();
        let rest = head.len()..data.len();
        let frame = Frame::new(hop.port, header, chain_of(data.narrow(rest)));
        self.transmit_on(cx, &hop, frame, (packet, Counter::Forwarded), out)
    }

    /// RFC 1812 5.2.1.2: the checks before a packet is passed on towards `dst`, and its next hop, if it does not end here.
    pub(super) fn way_on(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        dst: IpAddr,
        out: &mut Vec<Frame<B>>,
    ) -> Result<Hop, Ended> {
        if let Some(other) = self.crossing(packet) {
            let hop = self.hop_across(packet, other);
            return hop.ok_or_else(|| cx.counters.end(Counter::DropNotOurs));
        }
        if is_link_scoped(packet.src) || is_link_scoped(dst) {
            return Err(cx.counters.end(Counter::DropScope));
        }
        if packet.ttl <= 1 {
            self.complain(cx, packet, Complaint::TimeExceeded, out);
            return Err(cx.counters.end(Counter::DropTtl));
        }
        if is_group(dst) {
            let hop = self.group_hop(packet.port, dst);
            return hop.ok_or_else(|| cx.counters.end(Counter::DropGroup));
        }
        let Some(hop) = self.hop(cx, packet.src, dst, out) else {
            self.send_icmp_unreachable(cx, packet, Unreachable::Network, out);
            return Err(cx.counters.end(Counter::DropNoRoute));
        };
        Ok(hop)
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
    ) -> Ended {
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
        let mut ended = None;
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
            let more = if more_after || !last { 0x2000 } else { 0 };
            // An offset past the field's 13 bits stands only in packets longer than any may be; it wraps.
            bytes[6..8].copy_from_slice(&((offset & 0x1fff) | more).to_be_bytes());
            bytes[8] = packet.ttl.saturating_sub(1);
            set_length(bytes, part.len());
            header.push(head);
            at += part.len();
            let rest = head.len()..part.len();
            let frame = Frame::new(hop.port, header, chain_of(part.narrow(rest)));
            // The packet's fate is that of its first fragment, and one complaint is made of it if the neighbor stays silent.
            if ended.is_none() {
                let original = (packet.clone(), Counter::Fragmented);
                ended = Some(self.transmit_on(cx, hop, frame, original, out));
            } else {
                self.transmit(cx, hop, frame, out);
            }
        }
        // What is all header fits any link.
        ended.unwrap_or_else(|| cx.counters.end(Counter::DropTooBig))
    }
}

/// The IP header that a packet goes on with, and what replaces as many octets behind it.
pub(super) fn headers<'a, B: PacketBuf>(
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
