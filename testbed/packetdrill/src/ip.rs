//! IP around TCP, as packetdrill hands it over: no Ethernet, no neighbors, no routes.

use dataplane::MemBuf;
use stack::checksum::Sum;
use stack::wire::tcp::{OutSegment, Segment, emit, parse};
use stack::{Header, PacketBuf, RxChecksum, SeqNum, Slice, Tuple};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Octets of an IP header: neither options nor extension headers are read or written here.
pub(crate) const fn header_len(addr: IpAddr) -> usize {
    if addr.is_ipv4() { 20 } else { 40 }
}

/// A packet that came in.
pub(crate) enum Arrival {
    /// A segment, its checksum verified.
    Tcp(Segment<MemBuf>),
    /// An ICMP error that quotes a segment of ours.
    Error {
        /// Of the segment that we sent.
        tuple: Tuple,
        /// Its sequence number.
        seq: SeqNum,
        /// What is wrong with it.
        why: Trouble,
    },
}

/// What an ICMP error says (RFC 1122 4.2.3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The next link takes no more than this many octets of an IP packet.
    TooBig(u16),
    /// Protocol or port unreachable: trying again will not help.
    Refused,
    /// Network or host unreachable, or anything else that may pass.
    Unreachable,
}

/// Reads an IP packet; `None` if it is neither TCP nor an error about it, or damaged.
pub(crate) fn read(packet: Vec<u8>) -> Option<Arrival> {
    let (src, dst, tos, protocol, range) = header(&packet)?;
    if protocol == TCP {
        let whole = Slice::new(MemBuf::from(packet));
        let segment = parse(whole.narrow(range), src, dst, tos, RxChecksum::Unknown);
        return segment.ok().map(Arrival::Tcp);
    }
    let icmp = packet.get(range)?;
    let (&[kind, code, _, _, a, b, c, d], quoted) = icmp.split_first_chunk()?;
    let why = match (protocol, kind, code) {
        (ICMP, 3, 4) => Trouble::TooBig(u16::from_be_bytes([c, d])),
        (ICMPV6, 2, _) => {
            let mtu = u32::from_be_bytes([a, b, c, d]);
            Trouble::TooBig(u16::try_from(mtu).unwrap_or(u16::MAX))
        },
        (ICMP, 3, 2 | 3) | (ICMPV6, 1, 4) => Trouble::Refused,
        (ICMP, 3 | 11 | 12, _) | (ICMPV6, 1 | 3 | 4, _) => Trouble::Unreachable,
        _ => return None,
    };
    let (src, dst, protocol) = addresses(quoted)?;
    let start = match quoted.first()? >> 4 {
        4 => usize::from(quoted.first()? & 0xf) * 4,
        _ => 40,
    };
    let &[a, b, c, d, e, f, g, h] = quoted.get(start..)?.first_chunk()?;
    let tuple = Tuple {
        src,
        dst,
        src_port: u16::from_be_bytes([a, b]),
        dst_port: u16::from_be_bytes([c, d]),
    };
    let seq = SeqNum(u32::from_be_bytes([e, f, g, h]));
    (protocol == TCP).then_some(Arrival::Error { tuple, seq, why })
}

/// Addresses, traffic class, protocol, and where what it carries stands.
fn header(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8, u8, core::ops::Range<usize>)> {
    let (src, dst, protocol) = addresses(packet)?;
    let word = |at: usize| {
        Some(usize::from(u16::from_be_bytes([
            *packet.get(at)?,
            *packet.get(at + 1)?,
        ])))
    };
    let (tos, start, end) = match packet.first()? >> 4 {
        4 => (packet[1], usize::from(packet[0] & 0xf) * 4, word(2)?),
        _ => ((packet[0] << 4) | (packet[1] >> 4), 40, 40 + word(4)?),
    };
    (start <= end && end <= packet.len()).then_some((src, dst, tos, protocol, start..end))
}

fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr, u8)> {
    if packet.first()? >> 4 == 4 {
        let four = |at: usize| packet.get(at..)?.first_chunk::<4>().copied();
        Some((
            Ipv4Addr::from(four(12)?).into(),
            Ipv4Addr::from(four(16)?).into(),
            packet[9],
        ))
    } else {
        let sixteen = |at: usize| packet.get(at..)?.first_chunk::<16>().copied();
        Some((
            Ipv6Addr::from(sixteen(8)?).into(),
            Ipv6Addr::from(sixteen(24)?).into(),
            packet[6],
        ))
    }
}

/// A segment of ours as an IP packet that must not be fragmented (RFC 1191 3).
pub(crate) fn write(segment: &OutSegment<MemBuf>, tuple: &Tuple, tos: u8) -> Vec<u8> {
    let mut header = Header::default();
    emit(segment, tuple, &mut header);
    let mut tcp = header.bytes().to_vec();
    if let Some(slice) = &segment.payload {
        tcp.extend_from_slice(slice.bytes());
    }
    let tos = tos & !3 | if segment.ect { 2 } else { 0 };
    let len = u16::try_from(tcp.len()).unwrap_or(u16::MAX);
    let mut packet = Vec::with_capacity(40 + tcp.len());
    match (tuple.src, tuple.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            packet.extend([0x45, tos]);
            packet.extend((len + 20).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 64, TCP, 0, 0]);
            packet.extend(src.octets());
            packet.extend(dst.octets());
            let sum = Sum::of(&packet).checksum();
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        },
        (src, dst) => {
            packet.extend([0x60 | tos >> 4, tos << 4, 0, 0]);
            packet.extend(len.to_be_bytes());
            packet.extend([TCP, 64]);
            for addr in [src, dst] {
                match addr {
                    IpAddr::V4(v4) => packet.extend(v4.to_ipv6_mapped().octets()),
                    IpAddr::V6(v6) => packet.extend(v6.octets()),
                }
            }
        },
    }
    packet.extend(tcp);
    packet
}

/// Octets as a received buffer is held.
pub(crate) fn slice(octets: Vec<u8>) -> Slice<MemBuf> {
    Slice::new(MemBuf::from(octets))
}

/// All octets of payload.
pub(crate) fn octets<B: PacketBuf>(slice: &Slice<B>) -> &[u8] {
    slice.bytes()
}
