//! TCP segments as values: [`Segment`] is what came in, [`OutSegment`] is what goes out (RFC 9293 3.1, RFC 7323, RFC 2018).

mod emit;
mod opt_bytes;
mod parse;
pub mod part;
#[cfg(test)]
mod tests;

pub(crate) use emit::{Common, First, emit_common};
pub use emit::{emit, options_len};
pub use opt_bytes::{OptBytes, OptionsFull};
pub(crate) use parse::{HEADER_MIN, parse_of, text_of};
pub use parse::{ParseError, parse, parse_options};

use crate::buf::Slice;
use crate::flow::Tuple;
use crate::seq::SeqNum;
use arrayvec::ArrayVec;

/// Most octets of options in one TCP header.
pub const OPTIONS_MAX: usize = 40;

/// The option kind of Multipath TCP (RFC 8684 3): handed up and down raw.
pub const KIND_MPTCP: u8 = 30;

/// Option kinds that this crate reads or writes (IANA TCP parameters).
pub(crate) mod kind {
    pub(crate) const END: u8 = 0;
    pub(crate) const NOP: u8 = 1;
    pub(crate) const MSS: u8 = 2;
    pub(crate) const WSCALE: u8 = 3;
    pub(crate) const SACK_PERMITTED: u8 = 4;
    pub(crate) const SACK: u8 = 5;
    pub(crate) const TIMESTAMPS: u8 = 8;
    pub(crate) const MD5: u8 = 19;
    pub(crate) const AO: u8 = 29;
    pub(crate) const FAST_OPEN: u8 = 34;
}

/// The control bits of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is significant.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The union of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// A block of received octets beyond a gap: `start` inclusive, `end` exclusive (RFC 2018 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SackBlock {
    /// First octet of the block.
    pub start: SeqNum,
    /// The octet after the last one of the block.
    pub end: SeqNum,
}

/// TSval and TSecr (RFC 7323 3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock.
    pub val: u32,
    /// The echoed clock; meaningless without ACK.
    pub ecr: u32,
}

/// The options of a segment, each at most once; the first of a kind counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size, on SYN only.
    pub mss: Option<u16>,
    /// Window scale shift, on SYN only; values above 14 read as 14 (RFC 7323 2.3).
    pub wscale: Option<u8>,
    /// SACK permitted, on SYN only.
    pub sack_permitted: bool,
    /// SACK blocks.
    pub sack: ArrayVec<SackBlock, 4>,
    /// Timestamps.
    pub ts: Option<Timestamps>,
    /// Every option of kind 30, whole and in order.
    pub mptcp: OptBytes,
    /// Whether a TCP-MD5 (19) or TCP-AO (29) option is there: such a flow is never ours to split.
    pub authenticated: bool,
    /// Whether a fast-open cookie option (34) is there.
    pub fast_open: bool,
}

impl Options {
    /// Whether there is an option of Multipath TCP that is no DSS. A duplicate ACK with one was sent for its sake, and says
    /// nothing of losses (RFC 8684 3).
    #[must_use]
    pub fn is_signal(&self) -> bool {
        const DSS: u8 = 2;
        let mut rest: &[u8] = &self.mptcp;
        while let [_, len, subtype, ..] = *rest {
            if subtype >> 4 != DSS {
                return true;
            }
            rest = rest.get(usize::from(len.max(2))..).unwrap_or_default();
        }
        false
    }
}

/// A received segment, its checksum verified.
#[derive(Clone, Debug)]
pub struct Segment<B> {
    /// Addresses and ports as received.
    pub tuple: Tuple,
    /// Sequence number of the first octet (or of SYN).
    pub seq: SeqNum,
    /// Acknowledgment number; meaningful if [`Flags::ACK`] is set.
    pub ack: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// The window field as it stands, not scaled.
    pub wnd: u16,
    /// Options.
    pub options: Options,
    /// Data.
    pub payload: Slice<B>,
    /// Traffic class octet of the IP header: DSCP and ECN.
    pub tos: u8,
}

impl<B: crate::PacketBuf> Segment<B> {
    /// SEG.LEN: the octets occupied in sequence space, counting SYN and FIN (RFC 9293 3.4).
    #[must_use]
    pub fn seq_len(&self) -> u32 {
        u32::try_from(self.payload.len()).unwrap_or(0)
            + u32::from(self.flags.has(Flags::SYN))
            + u32::from(self.flags.has(Flags::FIN))
    }
}

/// A segment on its way out: everything but ports, addresses and checksum.
#[derive(Clone, Debug)]
pub struct OutSegment<B> {
    /// Sequence number.
    pub seq: SeqNum,
    /// Acknowledgment number, sent if [`Flags::ACK`] is set.
    pub ack: SeqNum,
    /// Control bits.
    pub flags: Flags,
    /// The window field as it will stand on the wire, already scaled down.
    pub wnd: u16,
    /// Whether its packet may be marked on congestion: ECT(0) in the IP header (RFC 3168 5).
    pub ect: bool,
    /// The options that TCP itself sends; `mptcp` holds those of the layer above.
    pub options: Options,
    /// Data, by reference.
    pub payload: Option<Slice<B>>,
}

impl<B: crate::PacketBuf> OutSegment<B> {
    /// Octets of payload.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.payload.as_ref().map_or(0, Slice::len)
    }
}

impl<B> Default for OutSegment<B> {
    /// A segment without anything: the place that one is written to.
    fn default() -> Self {
        Self {
            seq: SeqNum(0),
            ack: SeqNum(0),
            flags: Flags::default(),
            wnd: 0,
            ect: false,
            options: Options::default(),
            payload: None,
        }
    }
}
