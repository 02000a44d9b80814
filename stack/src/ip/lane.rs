//! What segments of a connection that leave one after another have in common, found and written once for all of them.

use super::output::{Hop, Way, ip_len, write_ip};
use super::packet::IpOut;
use crate::buf::{Chain, FRONT_MAX, Frame, Header, PacketBuf, Partial, PortId};
use crate::checksum::Sum;
use crate::flow::Tuple;
use crate::time::Instant;
use crate::wire::ip::TCP;
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
        }
    }

    /// That of segments with `tuple` by `way`, which is known `until` and as long as the neighbor cache is in `epoch`. Whether the
    /// device at its beginning `sums`.
    pub(super) fn new(
        (way, sums): (&Way, bool),
        tuple: &Tuple,
        ttl: u8,
        (epoch, until): (u32, Instant),
    ) -> Self {
        let mut header = Header::default();
        way.push_link(&mut header);
        let l3 = header.len();
        let ip = IpOut { tos: 0, ttl };
        let bytes = header.reserve(ip_len(tuple.dst));
        write_ip(bytes, (tuple.src, tuple.dst), TCP, 0, ip, 0);
        let mut front = [0; FRONT_MAX];
        front[..header.len()].copy_from_slice(header.bytes());
        let l4 = u8::try_from(header.len()).unwrap_or(0);
        Self {
            tuple: *tuple,
            ttl,
            epoch,
            until,
            port: way.port(),
            mtu: way.mtu(),
            asked: way.asked(),
            front,
            l3,
            l4,
            partial: Partial::at(l3, l4.into()),
            sums,
            common: tcp::Common::of(tuple),
        }
    }

    /// Whether it is that of segments with `tuple`.
    #[inline]
    pub(super) fn is_of(&self, tuple: &Tuple, ttl: u8, (epoch, now): (u32, Instant)) -> bool {
        self.epoch == epoch && now < self.until && self.ttl == ttl && self.tuple == *tuple
    }

    /// The next hop, while its neighbor is being asked.
    pub(super) const fn asked(&self) -> Option<Hop> {
        self.asked
    }

    /// Appends `segment` to `out` as a frame, with its payload; whether it fits the link. `id` is that of IPv4.
    #[inline]
    pub(super) fn push<B: PacketBuf>(
        &self,
        segment: &mut OutSegment<B>,
        (tos, id): (u8, u16),
        out: &mut Vec<Frame<B>>,
    ) -> bool {
        // The frame is built where it will lie.
        let sum = match &segment.payload {
            Some(_) if self.sums => None,
            Some(payload) => payload.known_sum(),
            None => Some(Sum::ZERO),
        };
        out.push(Frame {
            port: self.port,
            header: Header::begun(&self.front, self.l4),
            payload: Chain::new(),
            partial: self.partial.filter(|_| sum.is_none()),
        });
        let Some(frame) = out.last_mut() else {
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
