//! What segments of a connection that leave one after another have in common, found and written once for all of them.

use super::output::{Hop, Way, ip_len, write_ip};
use super::packet::IpOut;
use crate::buf::{Chain, FRONT_MAX, Frame, Header, PacketBuf, Partial, PortId, append};
use crate::checksum::Sum;
use crate::flow::Tuple;
use crate::time::Instant;
use crate::wire::ip::{ETHERNET, TCP};
use crate::wire::tcp::{self, OutSegment};
use core::net::{IpAddr, Ipv4Addr};

/// The way of a connection's segments, and what stands at the front of each.
#[derive(Debug)]
pub(super) struct Lane {
    tuple: Tuple,
    ttl: u8,
    /// The neighbor cache's epoch when the way was found.
    epoch: u32,
    /// The way is to be looked at again then.
    until: Instant,
    port: PortId,
    mtu: usize,
    /// The next hop, while its neighbor is being asked.
    asked: Option<Hop>,
    /// Link header and IP header, the latter as if it carried nothing, and zeros behind them.
    front: [u8; FRONT_MAX],
    /// Where in `front` that of IP begins, and where it ends.
    l3: usize,
    l4: u8,
    /// The same for the port, which adds up what nobody has.
    partial: Option<Partial>,
    /// Whether its device adds up everything.
    sums: bool,
    common: tcp::Common,
    /// The frame of the first in a row, once there is a second.
    first: Option<First>,
}

/// A frame with data, as a template of those behind it that have its header but for number, PSH, lengths and options of the layer
/// above as long as its own.
#[derive(Debug)]
struct First {
    header: Header,
    tcp: tcp::First,
}

impl Lane {
    /// One that leads nowhere.
    pub(super) fn closed() -> Self {
        let none = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let tuple = Tuple {
            src: none,
            dst: none,
            src_port: 0,
            dst_port: 0,
        };
        Self {
            tuple,
            ttl: 0,
            epoch: 0,
            until: Instant::ZERO,
            port: PortId(0),
            mtu: 0,
            asked: None,
            front: [0; FRONT_MAX],
            l3: 0,
            l4: 0,
            partial: None,
            sums: false,
            common: tcp::Common::of(&tuple),
            first: None,
        }
    }

    /// Makes it that of segments with `tuple` by `way`, which is known `until` and as long as the neighbor cache is in `epoch`.
    /// Whether the device at its beginning `sums`. It is written where it lies: a lone segment has one of its own.
    pub(super) fn lead(
        &mut self,
        (way, sums): (&Way, bool),
        tuple: &Tuple,
        ttl: u8,
        (epoch, until): (u32, Instant),
    ) {
        let l3 = way.link().len();
        let l4 = l3 + ip_len(tuple.dst);
        self.front = [0; FRONT_MAX];
        match <&[u8; ETHERNET]>::try_from(way.link()) {
            // Without tags, as most are, it is a few moves.
            Ok(ethernet) => self.front[..ETHERNET].copy_from_slice(ethernet),
            Err(_) => self.front[..l3].copy_from_slice(way.link()),
        }
        let ip = IpOut { tos: 0, ttl };
        let ends = (tuple.src, tuple.dst);
        write_ip(&mut self.front[l3..l4], ends, TCP, 0, ip, 0);
        self.tuple = *tuple;
        self.ttl = ttl;
        (self.epoch, self.until) = (epoch, until);
        self.port = way.port();
        self.mtu = way.mtu();
        self.asked = way.asked();
        self.l3 = l3;
        self.l4 = u8::try_from(l4).unwrap_or(0);
        self.partial = Partial::at(l3, l4);
        self.sums = sums;
        self.common = tcp::Common::of(tuple);
        self.first = None;
    }

    /// Whether it is that of segments with `tuple`.
    #[inline]
    pub(super) fn is_of(&self, tuple: &Tuple, ttl: u8, (epoch, now): (u32, Instant)) -> bool {
        self.epoch == epoch && now < self.until && self.ttl == ttl && self.tuple == *tuple
    }

    pub(super) const fn port(&self) -> PortId {
        self.port
    }

    /// The next hop, while its neighbor is being asked.
    pub(super) const fn asked(&self) -> Option<Hop> {
        self.asked
    }

    /// Appends `segment` to `out` as a frame, with its payload; whether it fits the link. `id` is that of IPv4.
    #[inline]
    pub(super) fn push<B: PacketBuf>(
        &mut self,
        segment: &mut OutSegment<B>,
        (tos, id): (u8, u16),
        out: &mut Vec<Frame<B>>,
    ) -> bool {
        self.first = None;
        let sum = self.sum_of(segment);
        let frame = append(out, || Frame {
            port: self.port,
            header: Header::begun(&self.front, self.l4),
            payload: Chain::new(),
            partial: self.partial.filter(|_| sum.is_none()),
        });
        let Some(frame) = frame else {
            return false;
        };
        let header = &mut frame.header;
        let l4_len = tcp::emit_common(segment, sum, &self.common, header);
        let len = usize::from(self.l4) - self.l3 + l4_len;
        if len > self.mtu {
            out.pop();
            return false;
        }
        if let Some(ip) = header.bytes_mut()[self.l3..].first_chunk_mut() {
            match self.tuple.dst {
                IpAddr::V4(_) => complete_ipv4(ip, (tos, len, id)),
                IpAddr::V6(_) => complete_ipv6(ip, (tos, l4_len)),
            }
        }
        frame.payload.extend(segment.payload.take());
        true
    }

    /// The same of one behind that which was appended last and is the last of `out`, with the same traffic class: both have data,
    /// and differ in number, PSH, payload and options of the layer above alone.
    #[inline]
    pub(super) fn push_more<B: PacketBuf>(
        &mut self,
        segment: &mut OutSegment<B>,
        (tos, id): (u8, u16),
        out: &mut Vec<Frame<B>>,
    ) -> bool {
        if self.first.is_none() {
            self.first = out.last().and_then(|frame| {
                let tcp = tcp::First::of(segment, &self.common)?;
                let header = frame.header.clone();
                let same_len = header.len() == usize::from(self.l4) + tcp.len();
                same_len.then_some(First { header, tcp })
            });
        }
        let first = self.first.as_ref();
        let Some(first) = first.filter(|first| first.tcp.leads(segment)) else {
            return self.push(segment, (tos, id), out);
        };
        let total = first.tcp.len() + segment.payload_len();
        let (l3, l4) = (self.l3, usize::from(self.l4));
        let len = l4 - l3 + total;
        if len > self.mtu {
            return false;
        }
        let sum = self.sum_of(segment);
        let frame = append(out, || Frame {
            port: self.port,
            header: first.header.clone(),
            payload: Chain::new(),
            partial: self.partial.filter(|_| sum.is_none()),
        });
        let Some(frame) = frame else {
            return false;
        };
        // As long as that which was copied, which is asked as its own was just written.
        let header = frame.header.first_mut(first.header.len());
        if let Some(ip) = header[l3..].first_chunk_mut() {
            match self.tuple.dst {
                IpAddr::V4(_) => {
                    if let Some(front) = self.front[l3..].first_chunk() {
                        *ip = *front;
                    }
                    complete_ipv4(ip, (tos, len, id));
                },
                IpAddr::V6(_) => {
                    let len = u16::try_from(total).unwrap_or(u16::MAX);
                    ip[4..6].copy_from_slice(&len.to_be_bytes());
                },
            }
        }
        first.tcp.go_on(segment, sum, &mut header[l4..]);
        frame.payload.extend(segment.payload.take());
        true
    }

    /// The sum of the payload of `segment`, unless it is left to the port.
    fn sum_of<B: PacketBuf>(&self, segment: &OutSegment<B>) -> Option<Sum> {
        match &segment.payload {
            Some(_) if self.sums => None,
            Some(payload) => payload.known_sum(),
            None => Some(Sum::ZERO),
        }
    }
}

/// Enters in an IPv4 header that carries nothing what is different in each packet: traffic class, total length,
/// identification, and so the checksum (RFC 1624 3).
#[inline]
fn complete_ipv4(header: &mut [u8; 12], (tos, len, id): (u8, usize, u16)) {
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    let [.., high, low] = *header;
    // RFC 1624 3: the checksum's complement is the sum of the rest, of which 20 octets were the length and 0 all else.
    let rest = u64::from(!u16::from_be_bytes([high, low])) + u64::from(!20_u16);
    let total = rest + (u64::from(tos) + u64::from(len) + u64::from(id));
    let checksum = Sum::of_words(total).checksum();
    header[1] = tos;
    header[2..4].copy_from_slice(&len.to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[10..].copy_from_slice(&checksum.to_be_bytes());
}

/// The same in an IPv6 header, which has no checksum.
#[inline]
fn complete_ipv6(header: &mut [u8; 12], (tos, len): (u8, usize)) {
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    header[0] |= tos >> 4;
    header[1] = tos << 4;
    header[4..6].copy_from_slice(&len.to_be_bytes());
}
