//! What names a connection: the received 4-tuple and the side it came from.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Source and destination of a TCP segment, as seen in that segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tuple {
    /// Source address.
    pub src: IpAddr,
    /// Destination address; always of the source's family.
    pub dst: IpAddr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
}

impl Tuple {
    /// The tuple of the answers: source and destination exchanged.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
        }
    }
}

/// A [`Tuple`] that is kept and not looked at: IPv4's takes 16 octets, and IPv6's as many and a block of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PackedTuple {
    /// Source and destination, ports in the same order.
    V4([Ipv4Addr; 2], [u16; 2]),
    /// The same.
    V6(Box<([Ipv6Addr; 2], [u16; 2])>),
}

impl From<Tuple> for PackedTuple {
    fn from(tuple: Tuple) -> Self {
        let ports = [tuple.src_port, tuple.dst_port];
        match (tuple.src, tuple.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Self::V4([src, dst], ports),
            (src, dst) => Self::V6(Box::new(([in_ipv6(src), in_ipv6(dst)], ports))),
        }
    }
}

impl From<&PackedTuple> for Tuple {
    fn from(packed: &PackedTuple) -> Self {
        let ([src, dst], [src_port, dst_port]) = match packed {
            PackedTuple::V4(ends, ports) => (ends.map(IpAddr::V4), *ports),
            PackedTuple::V6(packed) => (packed.0.map(IpAddr::V6), packed.1),
        };
        Self {
            src,
            dst,
            src_port,
            dst_port,
        }
    }
}

const fn in_ipv6(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        IpAddr::V6(addr) => addr,
    }
}

/// Which side of the box a segment came from. Both legs of a relay have the same 4-tuple, and with one port, or
/// as a bump in the wire, the port does not tell them apart: the side is "the source is a subscriber".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// From a subscriber (H, or HCPE@2 towards HAG@2).
    Access,
    /// From the Internet (S).
    Core,
}

/// The key of the flow table: side and tuple of a *received* segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The side that the segment came from.
    pub side: Side,
    /// The segment's own addresses and ports.
    pub tuple: Tuple,
}
