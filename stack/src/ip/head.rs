//! The short way of nearly all packets: a TCP segment in a plain packet to one of our stations is read once, where it lies in
//! its frame. Its reader then takes it as a segment, or routes it on.
//!
//! What this does not read, [`Net::input`] does: everything else, and all that is wrong.

use super::address::is_link_scoped;
use super::forward::decrement_ttl;
use super::input::{Whose, drop_as};
use super::output::{CACHE_LEN, bits_of};
use super::packet::Packet;
use super::partial::completed;
use super::{Ingress, Net, RxChecksum};
use crate::buf::{Chain, Frame, Header, PacketBuf, Partial, PortId, Slice, append};
use crate::checksum::Sum;
use crate::flow::{FlowKey, Side, Tuple};
use crate::tally::Ended;
use crate::wire::ip::{
    ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_MIN, IPV6, TCP, pseudo_header,
};
use crate::wire::tcp::{self, Flags, HEADER_MIN, ParseError, Segment};
use crate::{Counter, Cx};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What was read of a frame that holds a TCP segment. It has room for many to be read into, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Side and tuple of the segment.
    pub key: FlowKey,
    /// The port it came in by.
    pub port: PortId,
    /// Whether the destination is one of our own addresses.
    pub local: bool,
    /// Its control bits.
    pub flags: Flags,
    tos: u8,
    ttl: u8,
    /// Whether its addresses let it leave their links.
    routed: bool,
    /// The sum of its pseudo header, but for the length.
    pseudo: Sum,
    /// Where in the frame the IP header starts, the TCP header, what follows it, and where the packet ends.
    pub(super) l3: u16,
    pub(super) l4: u16,
    pub(super) data: u16,
    pub(super) end: u16,
}

/// What was found of TCP packets between two addresses. It holds until the configuration changes, and with it the whole
/// [`Net`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Judged {
    port: PortId,
    src: IpAddr,
    dst: IpAddr,
    verdict: Verdict,
}

/// The same without whom it is about.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    side: Side,
    local: bool,
    routed: bool,
    pseudo: Sum,
}

/// What an IP header says of its packet: lengths are those of header and packet.
struct Ip {
    tos: u8,
    ttl: u8,
    header: usize,
    len: usize,
}

/// Reads the header of a whole TCP packet without options.
#[inline]
fn ipv4(fixed: &[u8; IPV4_MIN]) -> Option<Ip> {
    let whole = fixed[6] & 0x3f == 0 && fixed[7] == 0;
    let plain = fixed[0] == 0x45 && fixed[9] == TCP && whole;
    if !plain || !Sum::of_ipv4(fixed).is_intact() {
        return None;
    }
    Some(Ip {
        tos: fixed[1],
        ttl: fixed[8],
        header: IPV4_MIN,
        len: u16::from_be_bytes([fixed[2], fixed[3]]).into(),
    })
}

/// Reads the header of a TCP packet without extension headers.
#[inline]
fn ipv6(fixed: &[u8; IPV6]) -> Option<Ip> {
    if fixed[0] >> 4 != 6 || fixed[6] != TCP {
        return None;
    }
    let payload = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    Some(Ip {
        tos: (fixed[0] << 4) | (fixed[1] >> 4),
        ttl: fixed[7],
        header: IPV6,
        len: IPV6 + payload,
    })
}

/// Octets of a TCP header, as it says.
pub(super) const fn header_len(fixed: &[u8; HEADER_MIN]) -> usize {
    (fixed[12] >> 4) as usize * 4
}

/// A place in a frame.
pub(super) fn at(offset: usize) -> u16 {
    u16::try_from(offset).unwrap_or(u16::MAX)
}

impl Default for Head {
    /// Of no frame.
    fn default() -> Self {
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            key: FlowKey {
                side: Side::Access,
                tuple: Tuple {
                    src: nobody,
                    dst: nobody,
                    src_port: 0,
                    dst_port: 0,
                },
            },
            port: PortId(0),
            local: false,
            flags: Flags::default(),
            tos: 0,
            ttl: 0,
            routed: false,
            pseudo: Sum::ZERO,
            l3: 0,
            l4: 0,
            data: 0,
            end: 0,
        }
    }
}

impl Head {
    /// Octets of the frame, up to the end of the packet.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        usize::from(self.end)
    }

    /// Whether there is an option of `kind` in `frame`, whose head this is.
    #[must_use]
    pub fn has_option<B: PacketBuf>(&self, frame: &Slice<B>, kind: u8) -> bool {
        let mut rest = self.options(frame);
        loop {
            let len = match *rest {
                [] | [0, ..] => return false,
                [1, ..] => 1,
                [found, len, ..] if found != kind && len >= 2 => usize::from(len),
                [found, ..] => return found == kind,
            };
            rest = rest.get(len..).unwrap_or(&[]);
        }
    }

    /// The options in `frame`, whose head this is.
    #[must_use]
    pub fn options<'a, B: PacketBuf>(&self, frame: &'a Slice<B>) -> &'a [u8] {
        let options = usize::from(self.l4) + HEADER_MIN..usize::from(self.data);
        frame.bytes().get(options).unwrap_or(&[])
    }

    /// Counts the text that is read, where its sum has to be computed.
    #[inline]
    fn count_read(&self, cx: &mut Cx<'_>, checksum: RxChecksum) {
        if checksum == RxChecksum::Unknown {
            let read = u64::from(self.end - self.data);
            cx.counters.add(Counter::PayloadSummed, read);
        }
    }

    /// Octets of text.
    #[must_use]
    pub fn text_len(&self) -> usize {
        usize::from(self.end - self.data)
    }

    /// Notes where everything is in a packet that begins at `l3`; its ports.
    #[inline]
    fn place(&mut self, l3: usize, ip: &Ip, packet: &[u8]) -> Option<[u16; 2]> {
        let segment = packet.get(ip.header..ip.len)?;
        let fixed = segment.first_chunk::<HEADER_MIN>()?;
        let header = header_len(fixed);
        if header < HEADER_MIN || header > segment.len() {
            return None;
        }
        (self.tos, self.ttl, self.flags) = (ip.tos, ip.ttl, Flags(fixed[13]));
        (self.l3, self.l4) = (at(l3), at(l3 + ip.header));
        (self.data, self.end) = (at(l3 + ip.header + header), at(l3 + ip.len));
        let port = |at| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
        Some([port(0), port(2)])
    }

    /// The packet in `frame`, whose head this is.
    fn packet<B: PacketBuf>(&self, frame: Slice<B>) -> Packet<B> {
        Packet {
            port: self.port,
            src: self.key.tuple.src,
            dst: self.key.tuple.dst,
            tos: self.tos,
            ttl: self.ttl,
            protocol: TCP,
            l3: self.l3,
            l4: self.l4,
            frame: frame.narrow(0..usize::from(self.end)),
        }
    }
}

impl<B: PacketBuf> Net<B> {
    /// Reads `frame` from `port` into `head`, if it is a TCP segment in a plain packet to our station there. `side` tells which
    /// side a segment between two addresses comes from, as long as the configuration is the same.
    #[inline]
    pub fn head(
        &mut self,
        port: PortId,
        (frame, checksum): (&Slice<B>, RxChecksum),
        side: impl FnOnce(&Tuple) -> Side,
        head: &mut Head,
    ) -> Option<()> {
        let interface = self.interface(port)?;
        let bytes = frame.bytes();
        let ethernet = bytes.first_chunk::<ETHERNET>()?;
        let ours = ethernet[..6] == interface.mac && ethernet[6] & 1 == 0;
        if !ours || checksum == RxChecksum::Bad {
            return None;
        }
        let l3 = interface.packet_at(bytes)?;
        let kind = u16::from_be_bytes(*bytes.get(l3 - 2..l3)?.first_chunk()?);
        let (packet, tuple) = (&bytes[l3..], &mut head.key.tuple);
        let ip;
        match kind {
            ETHERTYPE_IPV4 => {
                let fixed = packet.first_chunk::<IPV4_MIN>()?;
                ip = ipv4(fixed)?;
                let addr = |at: usize| {
                    Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3])
                };
                (tuple.src, tuple.dst) = (IpAddr::V4(addr(12)), IpAddr::V4(addr(16)));
            },
            ETHERTYPE_IPV6 => {
                let fixed = packet.first_chunk::<IPV6>()?;
                ip = ipv6(fixed)?;
                let addr = |at: usize| {
                    let octets: [u8; 16] = core::array::from_fn(|i| fixed[at + i]);
                    IpAddr::V6(Ipv6Addr::from(octets))
                };
                (tuple.src, tuple.dst) = (addr(8), addr(24));
            },
            _ => return None,
        }
        let [src_port, dst_port] = head.place(l3, &ip, packet)?;
        let tuple = &mut head.key.tuple;
        (tuple.src_port, tuple.dst_port, head.port) = (src_port, dst_port, port);
        let verdict = self.judged(port, &head.key.tuple, side)?;
        (head.key.side, head.local) = (verdict.side, verdict.local);
        (head.routed, head.pseudo) = (verdict.routed, verdict.pseudo);
        Some(())
    }

    /// What is known of TCP between two addresses: most packets are like one before. `None` if they are to be dropped.
    #[inline]
    fn judged(
        &mut self,
        port: PortId,
        tuple: &Tuple,
        side: impl FnOnce(&Tuple) -> Side,
    ) -> Option<Verdict> {
        // Both ways between two addresses have a place of their own.
        let bits = bits_of(&tuple.src).rotate_left(32) ^ bits_of(&tuple.dst);
        let place = (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % CACHE_LEN;
        match &self.judged[place] {
            Some(judged)
                if judged.port == port && judged.src == tuple.src && judged.dst == tuple.dst =>
            {
                Some(judged.verdict)
            },
            _ => self.judge(place, port, tuple, side),
        }
    }

    #[cold]
    #[inline(never)]
    fn judge(
        &mut self,
        place: usize,
        port: PortId,
        tuple: &Tuple,
        side: impl FnOnce(&Tuple) -> Side,
    ) -> Option<Verdict> {
        let Tuple { src, dst, .. } = *tuple;
        let whose = self.whose((port, src, dst), TCP, false).ok()?;
        let verdict = Verdict {
            side: side(tuple),
            local: matches!(whose, Whose::Ours),
            routed: !is_link_scoped(src) && !is_link_scoped(dst),
            pseudo: pseudo_header(src, dst, TCP, 0),
        };
        self.judged[place] = Some(Judged {
            port,
            src,
            dst,
            verdict,
        });
        Some(verdict)
    }

    /// Takes the segment in `frame`, whose head is `head`: no reference to the buffer but that of the payload is left.
    #[inline]
    pub fn segment(
        cx: &mut Cx<'_>,
        head: &Head,
        frame: Slice<B>,
        checksum: RxChecksum,
    ) -> Result<Segment<B>, ParseError> {
        head.count_read(cx, checksum);
        let l4 = frame.narrow(usize::from(head.l4)..usize::from(head.end));
        tcp::parse_of(l4, (head.key.tuple, head.pseudo), head.tos, checksum)
    }

    /// The text of that segment alone.
    #[inline]
    pub fn text(
        cx: &mut Cx<'_>,
        head: &Head,
        frame: Slice<B>,
        checksum: RxChecksum,
    ) -> Result<Slice<B>, ParseError> {
        head.count_read(cx, checksum);
        let places = (head.l4.into(), head.data.into(), head.end.into());
        tcp::text_of(frame, places, head.pseudo, checksum)
    }

    /// Takes the segment with its packet.
    pub fn arrival(
        cx: &mut Cx<'_>,
        head: &Head,
        frame: Slice<B>,
        checksum: RxChecksum,
    ) -> Ingress<B> {
        let Some((frame, checksum)) = completed(cx, frame, checksum) else {
            return drop_as(cx, Counter::DropChecksum);
        };
        Self::input_tcp(cx, head.packet(frame), checksum, head.local)
    }

    /// Routes the packet in `frame`, whose head is `head`, on as [`Net::forward`] does. A checksum that is yet to be computed is
    /// left to the port by which it leaves.
    #[inline]
    pub fn forward_head(
        &mut self,
        cx: &mut Cx<'_>,
        head: &Head,
        (frame, checksum): (Slice<B>, RxChecksum),
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Tuple { src, dst, .. } = head.key.tuple;
        let len = usize::from(head.end - head.l3);
        let known = self.known_way(cx.now, src, dst);
        let Some(way) = known.filter(|way| head.routed && head.ttl > 1 && len <= way.mtu()) else {
            return match completed(cx, frame, checksum) {
                Some((frame, _)) => self.forward(cx, head.packet(frame), out),
                None => cx.counters.end(Counter::DropChecksum),
            };
        };
        let ended = cx.counters.end(Counter::Forwarded);
        let blank = || Frame::new(way.port(), Header::default(), Chain::new());
        let Some(onward) = append(out, blank) else {
            return ended;
        };
        way.push_link(&mut onward.header);
        let bytes = frame.bytes();
        let (l3, l4) = (usize::from(head.l3), usize::from(head.l4));
        // Two lengths, so that each is a few moves.
        if let (IpAddr::V4(_), Some(ip)) = (src, bytes[l3..].first_chunk::<IPV4_MIN>()) {
            let mut ip = *ip;
            decrement_ttl(&mut ip);
            onward.header.push(&ip);
        } else if let Some(ip) = bytes[l3..].first_chunk::<IPV6>() {
            let mut ip = *ip;
            decrement_ttl(&mut ip);
            onward.header.push(&ip);
        }
        if checksum == RxChecksum::Partial {
            let l3 = onward.header.len() - (l4 - l3);
            onward.partial = Partial::at(l3, onward.header.len());
        }
        onward.payload.push(frame.narrow(l4..usize::from(head.end)));
        ended
    }
}
