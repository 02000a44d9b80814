//! TCP segments in Ethernet frames, read and written without the stack under test.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;

pub use flag::{ACK, CWR, ECE, FIN, PSH, RST, SYN};

/// Control bits of a TCP header (RFC 9293 3.1).
pub mod flag {
    /// No more from the sender.
    pub const FIN: u8 = 1;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 16;
    /// Congestion was experienced, as the other end is told (RFC 3168 6.1).
    pub const ECE: u8 = 64;
    /// The congestion window was reduced for that.
    pub const CWR: u8 = 128;
}

/// Kinds of TCP options.
pub mod kind {
    /// Maximum segment size.
    pub const MSS: u8 = 2;
    /// Window scale.
    pub const WSCALE: u8 = 3;
    /// Selective acknowledgments are understood.
    pub const SACK_PERMITTED: u8 = 4;
    /// Selective acknowledgments.
    pub const SACK: u8 = 5;
    /// Timestamps.
    pub const TIMESTAMPS: u8 = 8;
    /// Multipath TCP.
    pub const MPTCP: u8 = 30;
}

const ETHERNET: usize = 14;
const TCP: u8 = 6;

/// A TCP segment in an Ethernet frame; what is not a field here is kept as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    /// The Ethernet and the IP header; lengths, addresses and checksums in it are those of the frame that was read.
    head: Vec<u8>,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    /// Window field, not scaled.
    pub wnd: u16,
    /// Urgent pointer.
    pub urgent: u16,
    /// Options with their padding.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Tcp {
    /// A segment with nothing in it, from one end to another: the station and the socket of each.
    #[must_use]
    pub fn between(from: ([u8; 6], SocketAddr), to: ([u8; 6], SocketAddr)) -> Self {
        let (src, dst) = (from.1, to.1);
        let mut head = [to.0, from.0].concat();
        if src.is_ipv4() {
            head.extend([8, 0, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, TCP]);
            head.extend([0; 10]);
        } else {
            head.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, TCP, 64]);
            head.extend([0; 32]);
        }
        Self {
            head,
            src: src.ip(),
            dst: dst.ip(),
            src_port: src.port(),
            dst_port: dst.port(),
            seq: 0,
            ack: 0,
            flags: 0,
            wnd: 0,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Reads a frame. `None` if it is anything but one whole TCP segment with right checksums behind a plain IP header.
    #[must_use]
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let (src, dst, range) = l4(frame, TCP)?;
        let tcp = frame.get(range.clone())?;
        if tcp.len() < 20 || checksum(&[&pseudo(src, dst, TCP, tcp.len()), tcp]) != 0 {
            return None;
        }
        let word = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let long = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
        let end = usize::from(tcp[12] >> 4) * 4;
        Some(Self {
            head: frame[..range.start].to_vec(),
            src,
            dst,
            src_port: word(0),
            dst_port: word(2),
            seq: long(4),
            ack: long(8),
            flags: tcp[13],
            wnd: word(14),
            urgent: word(18),
            options: tcp.get(20..end)?.to_vec(),
            payload: tcp[end..].to_vec(),
        })
    }

    /// The frame, with right lengths and checksums. Options are padded with NOPs, and cut at 40 octets.
    #[must_use]
    pub fn frame(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4).min(40), 1);
        let mut tcp = Vec::with_capacity(20 + options.len() + self.payload.len());
        tcp.extend(self.src_port.to_be_bytes());
        tcp.extend(self.dst_port.to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.push(u8::try_from(20 + options.len()).unwrap_or(60) << 2);
        tcp.push(self.flags);
        tcp.extend(self.wnd.to_be_bytes());
        tcp.extend([0; 2]);
        tcp.extend(self.urgent.to_be_bytes());
        tcp.extend(options);
        tcp.extend(&self.payload);
        let sum = checksum(&[&pseudo(self.src, self.dst, TCP, tcp.len()), &tcp]);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut frame = self.head.clone();
        set_addresses(&mut frame, self.src, self.dst);
        set_length(&mut frame, tcp.len());
        frame.extend(tcp);
        frame
    }

    /// Whether all of the bits `flags` are set.
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }

    /// Whether its headers are those of `other`, but for what each segment of a stream has for itself.
    #[must_use]
    pub fn has_header_of(&self, other: &Self) -> bool {
        let of = |tcp: &Self| {
            let ends = (tcp.src, tcp.dst, tcp.src_port, tcp.dst_port);
            (ends, tcp.ack, tcp.wnd, tcp.urgent, tcp.ecn())
        };
        let ethernet = self.head[..ETHERNET] == other.head[..ETHERNET];
        ethernet && of(self) == of(other) && self.options == other.options
    }

    /// Sequence numbers that it takes.
    #[must_use]
    pub fn seq_len(&self) -> u32 {
        let controls = u32::from(self.has(SYN)) + u32::from(self.has(FIN));
        u32::try_from(self.payload.len()).unwrap_or(0) + controls
    }

    /// Where each option stands, NOPs left out; ends at nonsense.
    #[must_use]
    pub fn ranges(&self) -> Vec<(u8, Range<usize>)> {
        let mut all = Vec::new();
        let mut at = 0;
        while let Some(&kind) = self.options.get(at) {
            match (kind, self.options.get(at + 1)) {
                (1, _) => at += 1,
                (0, _) | (_, None | Some(0 | 1)) => break,
                (_, Some(&len)) => {
                    let end = at + usize::from(len);
                    if end > self.options.len() {
                        break;
                    }
                    all.push((kind, at..end));
                    at = end;
                },
            }
        }
        all
    }

    /// The octets of each option of `kind`, kind and length included.
    #[must_use]
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let ranges = self.ranges();
        let (_, range) = ranges.iter().find(|(k, _)| *k == kind)?;
        self.options.get(range.clone())
    }

    /// Takes out every option of `kind`: its octets become NOPs, or go if `close_up`. Whether there was one.
    pub fn strip(&mut self, kind: u8, close_up: bool) -> bool {
        let found: Vec<_> = self
            .ranges()
            .into_iter()
            .filter(|(k, _)| *k == kind)
            .collect();
        for (_, range) in found.iter().rev() {
            if close_up {
                self.options.drain(range.clone());
            } else {
                self.options[range.clone()].fill(1);
            }
        }
        !found.is_empty()
    }

    /// A segment without options and payload that its receiver might have sent back, with `flags`.
    #[must_use]
    pub fn answer(&self, flags: u8) -> Self {
        let mut head = self.head.clone();
        head[..12].rotate_left(6);
        Self {
            head,
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            seq: self.ack,
            ack: self.seq.wrapping_add(self.seq_len()),
            flags,
            wnd: self.wnd,
            urgent: 0,
            options: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// The two bits of the IP header that carry congestion marks (RFC 3168 5).
    #[must_use]
    pub fn ecn(&self) -> u8 {
        match self.src {
            IpAddr::V4(_) => self.head[ETHERNET + 1] & 3,
            IpAddr::V6(_) => self.head[ETHERNET + 1] >> 4 & 3,
        }
    }

    /// Sets these two bits.
    pub fn set_ecn(&mut self, bits: u8) {
        let octet = &mut self.head[ETHERNET + 1];
        *octet = match self.src {
            IpAddr::V4(_) => *octet & !3 | bits,
            IpAddr::V6(_) => *octet & !0x30 | bits << 4,
        };
    }
}

/// The body of a DSS from its flags on, and where in the options it stands.
#[must_use]
pub fn dss(tcp: &Tcp) -> Option<Range<usize>> {
    let mut ranges = tcp.ranges().into_iter();
    let is_dss = |range: &Range<usize>| {
        tcp.options
            .get(range.start + 2)
            .is_some_and(|b| b >> 4 == 2)
    };
    let (_, range) =
        ranges.find(|(k, range)| *k == kind::MPTCP && range.len() >= 4 && is_dss(range))?;
    Some(range)
}

/// Whether a segment has a DATA_FIN.
#[must_use]
pub fn is_data_fin(tcp: &Tcp) -> bool {
    dss(tcp).is_some_and(|range| tcp.options[range.start + 3] & 0x10 != 0)
}

/// Whether a frame carries IP.
#[must_use]
pub fn is_ip(frame: &[u8]) -> bool {
    matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]))
}

/// The address that an ARP request asks for (RFC 826).
#[must_use]
pub fn arp_asks_for(frame: &[u8]) -> Option<Ipv4Addr> {
    let request = frame.get(12..22)? == [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    let target: [u8; 4] = frame.get(38..42)?.try_into().ok()?;
    request.then_some(target.into())
}

/// The answer to an ARP request: `station` has the address that was asked for.
#[must_use]
pub fn arp_answer(request: &[u8], station: [u8; 6]) -> Vec<u8> {
    let (asker, asked) = (&request[22..32], &request[38..42]);
    [
        &request[6..12],
        &station,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        &station,
        asked,
        asker,
    ]
    .concat()
}

/// Whether the checksums of a frame with IP and TCP in it are right; `None` for any other.
#[must_use]
pub fn is_intact(frame: &[u8]) -> Option<bool> {
    let ip = frame.get(ETHERNET..)?;
    let v4 = frame.get(12..14)? == [0x08, 0x00];
    let plain = if v4 {
        ip.len() >= 20 && ip[0] == 0x45 && ip[9] == TCP && ip[6] & 0x3f == 0 && ip[7] == 0
    } else {
        frame.get(12..14)? == [0x86, 0xdd] && ip.len() >= 40 && ip[6] == TCP
    };
    if !plain {
        return None;
    }
    let Some((src, dst, range)) = l4(frame, TCP) else {
        return Some(false);
    };
    let tcp = frame.get(range)?;
    Some(tcp.len() >= 20 && checksum(&[&pseudo(src, dst, TCP, tcp.len()), tcp]) == 0)
}

/// `frame` as a neighbor on the same machine hands it over that leaves its checksum to whoever needs it: the field of TCP holds the
/// sum of the pseudo header. `None` if it is not intact, or no TCP.
#[must_use]
pub fn unfinished(frame: &[u8]) -> Option<Vec<u8>> {
    is_intact(frame)?.then_some(())?;
    let (src, dst, range) = l4(frame, TCP)?;
    let sum = !checksum(&[&pseudo(src, dst, TCP, range.len())]);
    let mut frame = frame.to_vec();
    let at = range.start + 16;
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    Some(frame)
}

/// `frame` with right checksums of IP and TCP, if it is one TCP segment behind a plain IP header.
#[must_use]
pub fn repaired(mut frame: Vec<u8>) -> Vec<u8> {
    if is_intact(&frame) != Some(false) {
        return frame;
    }
    if frame[12..14] == [0x08, 0x00] {
        frame[24..26].fill(0);
        let sum = checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    }
    let Some((src, dst, range)) = l4(&frame, TCP).filter(|(_, _, range)| range.len() >= 20) else {
        return frame;
    };
    let at = range.start + 16;
    frame[at..at + 2].fill(0);
    let tcp = &frame[range];
    let sum = checksum(&[&pseudo(src, dst, TCP, tcp.len()), tcp]);
    frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Addresses of an IP packet with a plain header and a right checksum, and where what it carries stands if that is
/// `protocol`, and no fragment.
fn l4(frame: &[u8], protocol: u8) -> Option<(IpAddr, IpAddr, Range<usize>)> {
    let ip = frame.get(ETHERNET..)?;
    match frame.get(12..14)? {
        [0x08, 0x00] => {
            let header = ip.get(..20)?;
            let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let fragment = header[6] & 0x3f != 0 || header[7] != 0;
            let plain = header[0] == 0x45 && header[9] == protocol && !fragment;
            if !plain || checksum(&[header]) != 0 || len < 20 || ETHERNET + len > frame.len() {
                return None;
            }
            let at = |at: usize| {
                IpAddr::from([header[at], header[at + 1], header[at + 2], header[at + 3]])
            };
            Some((at(12), at(16), ETHERNET + 20..ETHERNET + len))
        },
        [0x86, 0xdd] => {
            let header = ip.get(..40)?;
            let end = ETHERNET + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
            if header[6] != protocol || end > frame.len() {
                return None;
            }
            let at = |at: usize| <[u8; 16]>::try_from(&header[at..at + 16]).map(IpAddr::from);
            Some((at(8).ok()?, at(24).ok()?, ETHERNET + 40..end))
        },
        _ => None,
    }
}

fn set_addresses(frame: &mut [u8], src: IpAddr, dst: IpAddr) {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            frame[26..30].copy_from_slice(&src.octets());
            frame[30..34].copy_from_slice(&dst.octets());
        },
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            frame[22..38].copy_from_slice(&src.octets());
            frame[38..54].copy_from_slice(&dst.octets());
        },
        _ => {},
    }
}

/// Sets the length of what follows the IP header, which ends `frame`.
fn set_length(frame: &mut [u8], len: usize) {
    let v4 = frame[12..14] == [0x08, 0x00];
    let total = u16::try_from(len + if v4 { 20 } else { 0 }).unwrap_or(u16::MAX);
    if v4 {
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[24..26].fill(0);
        let sum = checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
    } else {
        frame[18..20].copy_from_slice(&total.to_be_bytes());
    }
}

fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    for address in [src, dst] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend(u32::try_from(len).unwrap_or(0).to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

/// The Internet checksum over `parts`, each of even length but the last.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        let words = part.chunks_exact(4);
        let rest = words.remainder();
        sum += words
            .map(|w| u64::from(u32::from_be_bytes([w[0], w[1], w[2], w[3]])))
            .sum::<u64>();
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        sum += u64::from(u32::from_be_bytes(last));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// What a router in the way answers to `frame`, an IP packet larger than the `mtu` of the next link (RFC 1191, RFC 8201).
#[must_use]
pub fn too_big(frame: &[u8], mtu: u16) -> Option<Vec<u8>> {
    let (src, _, _) = l4(frame, TCP)?;
    let [high, low] = mtu.to_be_bytes();
    let quoted = &frame[ETHERNET..frame.len().min(ETHERNET + 72)];
    let mut head = [&frame[6..12], &frame[..6], &frame[12..14]].concat();
    let (protocol, mut icmp, router): (u8, Vec<u8>, IpAddr) = match src {
        IpAddr::V4(_) => {
            head.extend([0x45, 0, 0, 0, 0, 1, 0, 0, 64, 1]);
            head.extend([0; 10]);
            (1, vec![3, 4, 0, 0, 0, 0, high, low], [192, 0, 2, 9].into())
        },
        IpAddr::V6(_) => {
            head.extend([0x60, 0, 0, 0, 0, 0, 58, 64]);
            head.extend([0; 32]);
            let router = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 9];
            (58, vec![2, 0, 0, 0, 0, 0, high, low], router.into())
        },
    };
    icmp.extend(quoted);
    set_addresses(&mut head, router, src);
    set_length(&mut head, icmp.len());
    let sum = match src {
        IpAddr::V4(_) => checksum(&[&icmp]),
        IpAddr::V6(_) => checksum(&[&pseudo(router, src, protocol, icmp.len()), &icmp]),
    };
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    Some([head, icmp].concat())
}
