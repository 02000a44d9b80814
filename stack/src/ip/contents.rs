//! What a packet in transit carries, as far as a translator of addresses or a filter has to look.

use super::error::ICMP_HEADER;
use super::packet::{EXTENSIONS_MAX, Packet};
use crate::buf::PacketBuf;
use crate::wire::ip::{ICMP, ICMPV6, IPV4_MIN, IPV6, TCP, UDP};
use crate::wire::tcp::Flags;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Source and destination port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Of the sender.
    pub src: u16,
    /// Of the receiver.
    pub dst: u16,
}

/// What follows a packet's IP header, read no further than a translator needs; nothing of it is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// The beginning of a TCP segment.
    Segment {
        /// Its ports.
        ports: Ports,
        /// Its flags.
        flags: Flags,
        /// Whether payload follows the header.
        data: bool,
    },
    /// The beginning of a UDP datagram.
    Datagram(Ports),
    /// An ICMP query or its answer: echo, and for IPv4 timestamp (RFC 5508 3.1).
    Query {
        /// The identifier, which takes the place of a port.
        id: u16,
        /// Whether it asks.
        request: bool,
    },
    /// An ICMP error and the packet that it quotes.
    Error(Quoted),
    /// A fragment but the first: its transport header is in another packet.
    LaterFragment,
    /// Any other protocol, or one of the above too short to be read.
    Other(u8),
}

/// The packet that an ICMP error is about, as it reads in the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Who sent it.
    pub src: IpAddr,
    /// Whom it was sent to.
    pub dst: IpAddr,
    /// Its transport protocol.
    pub protocol: u8,
    /// Its ports; of an ICMP query both are its identifier, of other protocols zero.
    pub ports: Ports,
}

/// What all fragments of a packet have in common (RFC 791 3.2, RFC 8200 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentId {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Of IPv4 the protocol; of IPv6 zero, as fragments may differ in it.
    pub protocol: u8,
    /// The identification.
    pub id: u32,
}

impl<B: PacketBuf> Packet<B> {
    /// What the packet carries.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let v6 = self.src.is_ipv6();
        if !v6 && is_later_fragment(self.ip_header()) {
            return Contents::LaterFragment;
        }
        match transport(v6, self.protocol, self.l4_bytes()) {
            Transport::Begins(protocol, bytes) => read(v6, protocol, bytes),
            Transport::Elsewhere => Contents::LaterFragment,
            Transport::Unknown(protocol) => Contents::Other(protocol),
        }
    }

    /// Whether an IPv6 routing header of type 0 comes before the transport header (RFC 5095).
    #[must_use]
    pub fn has_routing_header_0(&self) -> bool {
        let (mut next, mut rest) = (self.protocol, self.l4_bytes());
        for _ in 0..if self.src.is_ipv6() {
            EXTENSIONS_MAX
        } else {
            0
        } {
            let len = match (next, rest) {
                (43, [_, _, 0, ..]) => return true,
                (0 | 43 | 60, [_, len, ..]) => (usize::from(*len) + 1) * 8,
                (44, [_, _, 0, low, ..]) if *low & 0xf8 == 0 => 8,
                _ => return false,
            };
            next = rest.first().copied().unwrap_or(59);
            rest = rest.get(len..).unwrap_or(&[]);
        }
        false
    }

    /// Which packet this is a fragment of, if it is one.
    #[must_use]
    pub fn fragment_id(&self) -> Option<FragmentId> {
        let (protocol, id) = if self.src.is_ipv4() {
            let &[_, _, _, _, a, b, flags, offset, ..] = self.ip_header() else {
                return None;
            };
            if flags & 0x3f == 0 && offset == 0 {
                return None;
            }
            (self.protocol, u32::from(u16::from_be_bytes([a, b])))
        } else {
            (0, fragment_header(self.protocol, self.l4_bytes())?)
        };
        Some(FragmentId {
            src: self.src,
            dst: self.dst,
            protocol,
            id,
        })
    }
}

/// Where a transport header is.
enum Transport<'a> {
    /// Here.
    Begins(u8, &'a [u8]),
    /// In the first fragment.
    Elsewhere,
    /// Behind what we cannot read.
    Unknown(u8),
}

/// Looks behind the extension headers that RFC 8200 4.1 knows.
fn transport(v6: bool, first: u8, bytes: &[u8]) -> Transport<'_> {
    let (mut next, mut rest) = (first, bytes);
    if !v6 {
        return Transport::Begins(next, rest);
    }
    for _ in 0..EXTENSIONS_MAX {
        let len = match (next, rest) {
            (0 | 43 | 60, [_, len, ..]) => (usize::from(*len) + 1) * 8,
            (44, [_, _, high, low, ..]) if *high == 0 && *low & 0xf8 == 0 => 8,
            (44, [_, _, _, _, ..]) => return Transport::Elsewhere,
            (0 | 43 | 44 | 60, _) => return Transport::Unknown(next),
            _ => return Transport::Begins(next, rest),
        };
        let (Some(&following), Some(behind)) = (rest.first(), rest.get(len..)) else {
            return Transport::Unknown(next);
        };
        (next, rest) = (following, behind);
    }
    Transport::Unknown(next)
}

/// The identification in an IPv6 fragment header, if there is one.
fn fragment_header(first: u8, bytes: &[u8]) -> Option<u32> {
    let (mut next, mut rest) = (first, bytes);
    for _ in 0..EXTENSIONS_MAX {
        match (next, rest) {
            (44, &[_, _, _, _, a, b, c, d, ..]) => return Some(u32::from_be_bytes([a, b, c, d])),
            (0 | 43 | 60, &[following, len, ..]) => {
                next = following;
                rest = rest.get((usize::from(len) + 1) * 8..)?;
            },
            _ => return None,
        }
    }
    None
}

/// Whether an IPv4 header has a fragment offset.
fn is_later_fragment(ip: &[u8]) -> bool {
    matches!(*ip, [_, _, _, _, _, _, flags, offset, ..] if flags & 0x1f != 0 || offset != 0)
}

fn read(v6: bool, protocol: u8, bytes: &[u8]) -> Contents {
    let contents = match protocol {
        TCP => ports(bytes).and_then(|ports| {
            let &[offset, flags] = bytes.get(12..14)?.first_chunk()?;
            let header = usize::from(offset >> 4) * 4;
            Some(Contents::Segment {
                ports,
                flags: Flags(flags),
                data: bytes.len() > header,
            })
        }),
        UDP => ports(bytes)
            .filter(|_| bytes.len() >= 8)
            .map(Contents::Datagram),
        ICMP if !v6 => message(v6, bytes),
        ICMPV6 if v6 => message(v6, bytes),
        _ => None,
    };
    contents.unwrap_or(Contents::Other(protocol))
}

fn ports(bytes: &[u8]) -> Option<Ports> {
    let &[a, b, c, d] = bytes.first_chunk()?;
    Some(Ports {
        src: u16::from_be_bytes([a, b]),
        dst: u16::from_be_bytes([c, d]),
    })
}

fn message(v6: bool, bytes: &[u8]) -> Option<Contents> {
    let header = bytes.first_chunk::<ICMP_HEADER>()?;
    if let Some((id, request)) = query(v6, header) {
        return Some(Contents::Query { id, request });
    }
    let error = if v6 {
        matches!(header[0], 1..=4)
    } else {
        matches!(header[0], 3 | 11 | 12)
    };
    if !error {
        return None;
    }
    quoted(v6, &bytes[ICMP_HEADER..]).map(Contents::Error)
}

/// The identifier of a query or its answer (RFC 792, RFC 4443 4), and whether it asks.
const fn query(v6: bool, header: &[u8; ICMP_HEADER]) -> Option<(u16, bool)> {
    let request = match (v6, header[0]) {
        (false, 8 | 13) | (true, 128) => true,
        (false, 0 | 14) | (true, 129) => false,
        _ => return None,
    };
    Some((u16::from_be_bytes([header[4], header[5]]), request))
}

/// Reads a quoted packet: its IP header and eight octets behind it (RFC 792, RFC 4443 3).
fn quoted(v6: bool, bytes: &[u8]) -> Option<Quoted> {
    let (src, dst, protocol, rest) = if v6 {
        let ip: &[u8; IPV6] = bytes.first_chunk()?;
        if ip[0] >> 4 != 6 {
            return None;
        }
        let addr = |at: usize| {
            let octets: [u8; 16] = core::array::from_fn(|i| ip[at + i]);
            IpAddr::V6(Ipv6Addr::from(octets))
        };
        match transport(true, ip[6], &bytes[IPV6..]) {
            Transport::Begins(protocol, rest) => (addr(8), addr(24), protocol, rest),
            Transport::Elsewhere | Transport::Unknown(_) => return None,
        }
    } else {
        let ip: &[u8; IPV4_MIN] = bytes.first_chunk()?;
        let header_len = usize::from(ip[0] & 0xf) * 4;
        if ip[0] >> 4 != 4 || header_len < IPV4_MIN || is_later_fragment(ip) {
            return None;
        }
        let addr =
            |at: usize| IpAddr::V4(Ipv4Addr::new(ip[at], ip[at + 1], ip[at + 2], ip[at + 3]));
        (addr(12), addr(16), ip[9], bytes.get(header_len..)?)
    };
    let ports = match protocol {
        TCP | UDP => ports(rest.first_chunk::<8>()?)?,
        ICMP | ICMPV6 => {
            let (id, _) = query(v6, rest.first_chunk()?)?;
            Ports { src: id, dst: id }
        },
        _ => Ports::default(),
    };
    Some(Quoted {
        src,
        dst,
        protocol,
        ports,
    })
}
