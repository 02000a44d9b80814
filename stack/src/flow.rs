//! What names a connection: the received 4-tuple and the side it came from.

use core::net::IpAddr;

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
