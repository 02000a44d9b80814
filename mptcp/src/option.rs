//! Option 30 (RFC 8684 3, RFC 6824 3): every subtype of both versions as a typed value.
//!
//! Forms are told apart by length and flags alone, so parsing needs no version; whether a form fits the version and
//! the state of a connection is for its owner to say. Each value emits exactly the octets it was parsed from, with
//! reserved bits zero.

mod emit;
mod parse;
pub mod room;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use emit::NoRoom;
pub(crate) use emit::data_dss;
pub use parse::{Malformed, Options, Subtype, lone_dss, next_mapping, parse};
pub use room::{OPTION_SPACE, Packer, space};

use crate::crypto::{JoinHmac, Key};
use crate::types::{AddrId, Token, WireSeq};
use arrayvec::ArrayVec;
use core::net::IpAddr;

/// One option of kind 30.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MpOption {
    /// Multipath capable (RFC 8684 3.1).
    Capable(Capable),
    /// Join connection (RFC 8684 3.2).
    Join(Join),
    /// Data sequence signal (RFC 8684 3.3).
    Dss(Dss),
    /// Add address (RFC 8684 3.4.1).
    AddAddr(AddAddr),
    /// Remove addresses (RFC 8684 3.4.2); never empty.
    RemoveAddr(AddrIds),
    /// Change subflow priority (RFC 8684 3.3.8).
    Prio(Prio),
    /// Fallback (RFC 8684 3.7): all data from `dsn` on is void.
    Fail {
        /// Always all 64 bits.
        dsn: u64,
    },
    /// Fast close (RFC 8684 3.5).
    Fastclose {
        /// The key of the host that receives this option.
        receiver_key: Key,
    },
    /// Why a subflow is reset (RFC 8684 3.6).
    TcpRst(TcpRst),
    /// A subtype that neither version defines: to be ignored. Never sent: it emits nothing.
    Unknown {
        /// The subtype, 9 to 15.
        subtype: u8,
    },
}

/// Address ids of one REMOVE_ADDR: as many as 40 octets of options hold.
pub type AddrIds = ArrayVec<AddrId, 37>;

/// MP_CAPABLE in any of its forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capable {
    /// The version field as it stands, 0 to 15.
    pub version: u8,
    /// The flags A to H.
    pub flags: CapableFlags,
    /// What follows the flags.
    pub form: CapableForm,
}

/// The second octet of MP_CAPABLE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapableFlags(pub u8);

impl CapableFlags {
    /// A: checksums are required.
    pub const CHECKSUM: Self = Self(0x80);
    /// B: extensibility; an option with it must be ignored.
    pub const EXTENSIBILITY: Self = Self(0x40);
    /// C: do not open subflows to the address and port that this option came from (version 1).
    pub const DENY_JOIN_INITIAL: Self = Self(0x20);
    /// H: the HMAC of the version, SHA-1 or SHA-256.
    pub const HMAC: Self = Self(0x01);

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
}

/// The forms of MP_CAPABLE, told apart by its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapableForm {
    /// 4 octets: the SYN of version 1.
    Bare,
    /// 12 octets: the SYN of version 0, the SYN+ACK of both.
    OneKey {
        /// The key of the host that sends this option.
        sender: Key,
    },
    /// 20 octets: the third ACK.
    TwoKeys {
        /// The key of the host that sends this option.
        sender: Key,
        /// The key of the host that receives it.
        receiver: Key,
    },
    /// 22 octets, 24 with a checksum: the first data of version 1. Not laid out like a DSS: a mapping whose data
    /// starts at the initial data sequence number plus 1, and at subflow sequence number 1.
    Data {
        /// The key of the host that sends this option.
        sender: Key,
        /// The key of the host that receives it.
        receiver: Key,
        /// Data-level length in octets.
        len: u16,
        /// The DSS checksum, if negotiated.
        checksum: Option<u16>,
    },
}

/// MP_JOIN; the form follows from the length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// 12 octets.
    Syn {
        /// B: use this subflow only when no other is available.
        backup: bool,
        /// The sender's id of the address that it sends from.
        id: AddrId,
        /// The receiver's token of the connection.
        token: Token,
        /// The sender's random number.
        nonce: u32,
    },
    /// 16 octets.
    SynAck {
        /// B: use this subflow only when no other is available.
        backup: bool,
        /// The sender's id of the address that it sends from.
        id: AddrId,
        /// The leftmost 64 bits of HMAC-B.
        hmac: [u8; 8],
        /// The sender's random number.
        nonce: u32,
    },
    /// 24 octets.
    Ack {
        /// The leftmost 160 bits of HMAC-A.
        hmac: JoinHmac,
    },
}

/// A data sequence signal: a DATA_ACK, a mapping, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dss {
    /// The next data sequence number that the sender expects.
    pub data_ack: Option<WireSeq>,
    /// The mapping of the sender's data.
    pub mapping: Option<Mapping>,
}

/// A data sequence mapping as it stands in a DSS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Data sequence number of the first octet.
    pub dsn: WireSeq,
    /// Subflow sequence number of the first octet, relative to the initial one; 0 for a DATA_FIN alone.
    pub ssn: u32,
    /// Data-level length, counting a DATA_FIN; 0 is an infinite mapping.
    pub len: u16,
    /// The DSS checksum; its presence follows from the option's length.
    pub checksum: Option<u16>,
    /// F: the last number of the mapping is a DATA_FIN.
    pub data_fin: bool,
}

/// What a mapping means once length, DATA_FIN and the segment's payload are taken together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// It maps `octets` octets of data, more than none, and after them a DATA_FIN if `data_fin`.
    Data {
        /// Octets of data, without the DATA_FIN.
        octets: u16,
        /// Whether a DATA_FIN follows the last of them.
        data_fin: bool,
    },
    /// A DATA_FIN and no data.
    DataFin,
    /// All that follows on the subflow, until it ends (RFC 8684 3.7).
    Infinite,
}

/// Why length, DATA_FIN and payload of a mapping contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// A DATA_FIN occupies one number, so a length of 0 cannot hold it (RFC 8684 3.3.3).
    #[error("a DATA_FIN in a mapping of length 0")]
    FinWithoutLength,
    /// A DATA_FIN without payload is a mapping of length 1 (RFC 8684 3.3.3).
    #[error("a DATA_FIN after data that the segment does not carry")]
    FinWithoutData,
    /// An infinite mapping has the checksum 0 (RFC 8684 3.7).
    #[error("an infinite mapping with a checksum other than 0")]
    InfiniteChecksum,
}

impl Mapping {
    /// What the mapping means on a segment with `payload` octets.
    ///
    /// # Errors
    /// The mapping contradicts itself or the payload: it is to be ignored and counted.
    pub const fn classify(&self, payload: usize) -> Result<Mapped, Contradiction> {
        match (self.len, self.data_fin) {
            (0, true) => Err(Contradiction::FinWithoutLength),
            (0, false) => match self.checksum {
                None | Some(0) => Ok(Mapped::Infinite),
                Some(_) => Err(Contradiction::InfiniteChecksum),
            },
            (1, true) => Ok(Mapped::DataFin),
            (_, true) if payload == 0 => Err(Contradiction::FinWithoutData),
            (len, data_fin) => Ok(Mapped::Data {
                octets: len - data_fin as u16,
                data_fin,
            }),
        }
    }
}

/// An announced address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddAddr {
    /// The sender's id of the address.
    pub id: AddrId,
    /// The address.
    pub addr: IpAddr,
    /// The port; without one, that of the subflow that carries the option.
    pub port: Option<u16>,
    /// What vouches for it.
    pub proof: AddAddrProof,
}

/// The forms of ADD_ADDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddAddrProof {
    /// Version 0: nothing; the IP version stands in place of the flags.
    V0,
    /// Version 1, E = 0: the rightmost 64 bits of the HMAC.
    Hmac([u8; 8]),
    /// Version 1, E = 1: the receiver's confirmation.
    Echo,
}

/// MP_PRIO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prio {
    /// B: use the subflow only when no other is available.
    pub backup: bool,
    /// Version 0: the address whose subflows are meant; else the subflow that carries the option.
    pub id: Option<AddrId>,
}

/// MP_TCPRST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpRst {
    /// T: the condition may pass, a new subflow may be tried.
    pub transient: bool,
    /// Why.
    pub reason: ResetReason,
}

/// The reason codes of MP_TCPRST (RFC 8684 3.6). Any value may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetReason(pub u8);

impl ResetReason {
    /// 0: no reason is given.
    pub const UNSPECIFIED: Self = Self(0);
    /// 1: a message that the protocol does not allow here.
    pub const MPTCP_SPECIFIC: Self = Self(1);
    /// 2: resources are short.
    pub const LACK_OF_RESOURCES: Self = Self(2);
    /// 3: policy forbids the subflow.
    pub const PROHIBITED: Self = Self(3);
    /// 4: the subflow carries too much that is outstanding.
    pub const TOO_MUCH_OUTSTANDING: Self = Self(4);
    /// 5: the path is too slow or loses too much.
    pub const UNACCEPTABLE_PERFORMANCE: Self = Self(5);
    /// 6: something on the path interferes with options or data.
    pub const MIDDLEBOX_INTERFERENCE: Self = Self(6);
}

impl MpOption {
    /// Appends this option, kind and length included.
    ///
    /// # Errors
    /// It does not fit what is left of the 40 octets; `out` is then as before.
    pub fn emit(&self, out: &mut stack::wire::tcp::OptBytes) -> Result<(), NoRoom> {
        emit::emit(self, out)
    }

    /// Octets on the wire, kind and length included, without padding.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        emit::encoded_len(self)
    }
}

impl From<Capable> for MpOption {
    fn from(value: Capable) -> Self {
        Self::Capable(value)
    }
}

impl From<Join> for MpOption {
    fn from(value: Join) -> Self {
        Self::Join(value)
    }
}

impl From<Dss> for MpOption {
    fn from(value: Dss) -> Self {
        Self::Dss(value)
    }
}

impl From<AddAddr> for MpOption {
    fn from(value: AddAddr) -> Self {
        Self::AddAddr(value)
    }
}

impl From<TcpRst> for MpOption {
    fn from(value: TcpRst) -> Self {
        Self::TcpRst(value)
    }
}

/// The octets of one option alone: what a segment with nothing else of MPTCP carries.
impl From<MpOption> for stack::wire::tcp::OptBytes {
    fn from(value: MpOption) -> Self {
        let mut out = Self::new();
        // Every option fits 40 octets by itself: the longest list of address ids was cut to that.
        let fits = value.emit(&mut out);
        debug_assert!(fits.is_ok(), "an option fits an empty header");
        out
    }
}
