//! A packet in transit with other addresses and ports: what a translator sends on (RFC 3022, RFC 4787, RFC 5508).
//!
//! Headers are rewritten in the outgoing frame's own copy and checksums follow by difference (RFC 1624), so the payload is
//! neither read nor copied, and one that was damaged stays so.

use super::Net;
use super::contents::Contents;
use super::error::ICMP_HEADER;
use super::forward::Onward;
use super::packet::{Packet, Unreachable};
use crate::buf::{Frame, HEADER_MAX, PacketBuf};
use crate::tally::Ended;
use crate::wire::ip::{ETHERNET, IPV4_MIN, TCP, UDP};
use crate::{Counter, Cx};
use arrayvec::ArrayVec;
use core::net::{IpAddr, Ipv4Addr};

/// Most octets behind the IP header that are rewritten: an ICMP error's header, the IP header that it quotes, and of what
/// follows it a TCP header.
pub(super) const HEAD_MAX: usize = ICMP_HEADER + 60 + 20;

/// Octets of IP header and what is rewritten behind it that fit a frame's header, with two VLAN tags before them.
const ROOM: usize = HEADER_MAX - ETHERNET - 8;

/// An IPv4 address, and a port or what stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub addr: Ipv4Addr,
    /// The port or ICMP identifier; of no meaning to other protocols.
    pub port: u16,
}

/// What takes the place of a packet's source and destination. In an ICMP error the quoted packet, which went the other
/// way, has the same applied to it the other way round (RFC 5508 4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The new source, if it changes.
    pub src: Option<Endpoint>,
    /// The new destination, if it changes.
    pub dst: Option<Endpoint>,
}

impl Translation {
    /// Nothing changes.
    pub const NONE: Self = Self {
        src: None,
        dst: None,
    };

    /// Whether nothing changes.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        self.src.is_none() && self.dst.is_none()
    }

    /// Where a packet to `dst` goes.
    pub(super) fn destination(&self, dst: IpAddr) -> IpAddr {
        self.dst.map_or(dst, |to| IpAddr::V4(to.addr))
    }

    /// Where a packet from `src` comes from.
    pub(super) fn source(&self, src: IpAddr) -> IpAddr {
        self.src.map_or(src, |from| IpAddr::V4(from.addr))
    }

    /// Rewrites the ports of a TCP or UDP header; by how much they changed.
    pub(super) fn rewrite_ports(&self, head: &mut [u8]) -> Delta {
        let mut delta = Delta::default();
        for (at, to) in [(0, self.src), (2, self.dst)] {
            if let Some(to) = to {
                delta.replace(head, at, &to.port.to_be_bytes());
            }
        }
        delta
    }

    /// Rewrites the addresses of an IPv4 header and its checksum; by how much they changed.
    pub(super) fn rewrite_ip(&self, ip: &mut [u8]) -> Delta {
        let mut delta = Delta::default();
        for (at, to) in [(12, self.src), (16, self.dst)] {
            if let Some(to) = to {
                delta.replace(ip, at, &to.addr.octets());
            }
        }
        delta.fix(ip, 10);
        delta
    }

    /// The other way round: for what an error quotes.
    const fn mirrored(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
        }
    }
}

/// How much a sum changes where words are replaced (RFC 1624 eqn. 3: HC' = ~(~HC + ~m + m')).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Delta(u32);

impl Delta {
    /// Puts `new` at `at`, an even offset.
    pub(super) fn replace(&mut self, bytes: &mut [u8], at: usize, new: &[u8]) {
        let Some(old) = bytes.get_mut(at..at + new.len()) else {
            return;
        };
        let (old_words, _) = old.as_chunks::<2>();
        let (new_words, _) = new.as_chunks::<2>();
        for (old, new) in old_words.iter().zip(new_words) {
            self.0 += u32::from(!u16::from_be_bytes(*old)) + u32::from(u16::from_be_bytes(*new));
        }
        old.copy_from_slice(new);
    }

    /// Corrects the checksum at `at`; what that changes in turn.
    pub(super) fn fix(self, bytes: &mut [u8], at: usize) -> Self {
        let mut change = Self::default();
        if let Some(&[a, b]) = bytes.get(at..at + 2).and_then(<[u8]>::first_chunk) {
            let sum = self.after(u16::from_be_bytes([a, b]));
            change.replace(bytes, at, &sum.to_be_bytes());
        }
        change
    }

    fn after(self, checksum: u16) -> u16 {
        let mut sum = u32::from(!checksum) + self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap_or(0)
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl<B: PacketBuf> Net<B> {
    /// Routes an IPv4 packet on as [`Net::forward`] does, with other addresses and ports. An error about it goes to who
    /// sent it, and quotes it as it came.
    pub fn forward_translated(
        &mut self,
        cx: &mut Cx<'_>,
        packet: Packet<B>,
        to: &Translation,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        if to.is_none() {
            return self.forward(cx, packet, out);
        }
        let mut ip: ArrayVec<u8, 60> = packet.ip_header().iter().copied().take(60).collect();
        let addresses = to.rewrite_ip(&mut ip);
        let Some(head) = rewritten_head(&packet, to, addresses) else {
            return cx.counters.end(Counter::DropMalformed);
        };
        if packet.src.is_ipv6() || ip.len() + head.len() > ROOM {
            return cx.counters.end(Counter::DropMalformed);
        }
        let dst = to.destination(packet.dst);
        self.send_on(cx, packet, Some(&Onward { dst, ip, head }), out)
    }

    /// Answers a packet to an address of ours that was handed up because others are behind that address, and that is
    /// for none of them: as [`Net::input`] does for all other addresses.
    pub fn refuse(
        &mut self,
        cx: &mut Cx<'_>,
        packet: &Packet<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        if packet.is_plain() {
            self.send_icmp_unreachable(cx, packet, Unreachable::Port, out);
        }
        cx.counters.end(Counter::DropLocal)
    }
}

/// The first octets behind the IP header, rewritten; empty if nothing of them changes. `None` if what has to change is
/// not in this packet.
fn rewritten_head<B: PacketBuf>(
    packet: &Packet<B>,
    to: &Translation,
    addresses: Delta,
) -> Option<ArrayVec<u8, HEAD_MAX>> {
    let bytes = packet.l4_bytes();
    let take = |len: usize| {
        bytes
            .iter()
            .copied()
            .take(len)
            .collect::<ArrayVec<u8, HEAD_MAX>>()
    };
    match packet.contents() {
        Contents::Segment { .. } => {
            // RFC 1858: a first fragment without all of the header is nobody's honest work.
            let mut head = take(20);
            (head.len() == 20).then(|| {
                addresses
                    .and(to.rewrite_ports(&mut head))
                    .fix(&mut head, 16);
                head
            })
        },
        Contents::Datagram(_) => {
            let mut head = take(8);
            let delta = addresses.and(to.rewrite_ports(&mut head));
            fix_udp(&mut head, delta);
            Some(head)
        },
        Contents::Query { request, .. } => {
            let mut head = take(ICMP_HEADER);
            let id = if request { to.src } else { to.dst };
            let mut delta = Delta::default();
            if let Some(id) = id {
                delta.replace(&mut head, 4, &id.port.to_be_bytes());
            }
            delta.fix(&mut head, 2);
            Some(head)
        },
        Contents::Error(_) => quote(take(HEAD_MAX), to.mirrored()),
        Contents::LaterFragment => Some(ArrayVec::new()),
        // Of these we know no checksum that covers addresses, but for UDP and TCP too short to have one.
        Contents::Other(TCP | UDP) => None,
        Contents::Other(_) => Some(ArrayVec::new()),
    }
}

/// RFC 768: zero says that there is no checksum, and stands for itself.
fn fix_udp(head: &mut [u8], delta: Delta) -> Delta {
    match head.get(6..8) {
        Some([0, 0]) | None => Delta::default(),
        Some(_) => {
            let mut change = delta.fix(head, 6);
            if head[6..8] == [0, 0] {
                change.replace(head, 6, &[0xff, 0xff]);
            }
            change
        },
    }
}

/// RFC 5508 4.2: rewrites the packet that an error quotes, and the error's checksum over it.
fn quote(mut head: ArrayVec<u8, HEAD_MAX>, to: Translation) -> Option<ArrayVec<u8, HEAD_MAX>> {
    let quoted = head.get_mut(ICMP_HEADER..)?;
    let ip_len = usize::from(quoted.first()? & 0xf) * 4;
    if ip_len < IPV4_MIN || quoted.len() < ip_len + 8 {
        return None;
    }
    let (ip, l4) = quoted.split_at_mut(ip_len);
    let protocol = ip[9];
    let addresses = to.rewrite_ip(ip);
    // The header's own checksum makes up for its addresses, so that the sum over all of it stays as it was.
    let inner = match protocol {
        TCP => {
            let delta = to.rewrite_ports(l4);
            delta.and(addresses.and(delta).fix(l4, 16))
        },
        UDP => {
            let delta = to.rewrite_ports(l4);
            delta.and(fix_udp(l4, addresses.and(delta)))
        },
        1 => {
            // The identifier: of a request the sender's, of an answer the receiver's.
            let id = match l4[0] {
                8 | 13 => to.src,
                _ => to.dst,
            };
            let mut delta = Delta::default();
            if let Some(id) = id {
                delta.replace(l4, 4, &id.port.to_be_bytes());
            }
            delta.and(delta.fix(l4, 2))
        },
        _ => Delta::default(),
    };
    inner.fix(&mut head, 2);
    // What was not changed goes by reference.
    head.truncate(ICMP_HEADER + ip_len + if protocol == TCP { 20 } else { 8 });
    Some(head)
}
