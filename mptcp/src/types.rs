//! The numbers of Multipath TCP, each a type of its own.

use core::cmp::Ordering;
use core::ops::{Add, AddAssign, Sub};

/// The protocol version of a connection: it selects the hash and the forms of some options.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// RFC 6824: HMAC-SHA1, the initiator's key in the SYN, ADD_ADDR without HMAC or echo.
    V0,
    /// RFC 8684: HMAC-SHA256, the initiator's key in the third ACK.
    V1,
}

impl Version {
    /// The value of the version field of MP_CAPABLE.
    #[must_use]
    pub const fn wire(self) -> u8 {
        match self {
            Self::V0 => 0,
            Self::V1 => 1,
        }
    }
}

/// Which end of a connection we are. For the keys and MP_CAPABLE it is who sent the first SYN, whoever joins later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sent the SYN.
    Initiator,
    /// Answered it.
    Responder,
}

/// What names a connection at the host that drew the key: the first 32 bits of the key's hash (RFC 8684 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u32);

impl Token {
    /// The core that owns the connection: the low `core_bits` (0..=16) bits of the token.
    #[must_use]
    pub const fn core(self, core_bits: u8) -> u32 {
        self.0 & ((1 << core_bits) - 1)
    }
}

/// Identifies an address of one host within a connection; 0 is the address of the first subflow (RFC 8684 3.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddrId(pub u8);

/// A 64-bit data sequence number. Comparison is circular: valid for numbers less than 2^63 apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DataSeq(pub u64);

/// A data sequence number or DATA_ACK as it stands in an option: whole, or its lower half (RFC 8684 3.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireSeq {
    /// The lower 32 bits.
    Low(u32),
    /// All 64 bits.
    Full(u64),
}

impl WireSeq {
    /// Octets on the wire.
    #[must_use]
    pub const fn encoded_len(self) -> usize {
        match self {
            Self::Low(_) => 4,
            Self::Full(_) => 8,
        }
    }
}

impl DataSeq {
    /// The number that `wire` means beside `near`, a number of the same direction: of all that have the same lower
    /// half, the one closest to `near`. The only place where 32 bits become 64, for DSN, DATA_ACK and DATA_FIN alike
    /// (RFC 8684 3.3.1).
    #[must_use]
    pub const fn expand(wire: WireSeq, near: Self) -> Self {
        match wire {
            WireSeq::Full(value) => Self(value),
            WireSeq::Low(low) => {
                #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
                let near_low = near.0 as u32;
                #[expect(clippy::cast_possible_wrap, reason = "circular distance")]
                let ahead = low.wrapping_sub(near_low) as i32;
                Self(near.0.wrapping_add_signed(ahead as i64))
            },
        }
    }

    /// All 64 bits, for an option.
    #[must_use]
    pub const fn full(self) -> WireSeq {
        WireSeq::Full(self.0)
    }

    /// The lower 32 bits, for an option.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    pub const fn low(self) -> WireSeq {
        WireSeq::Low(self.0 as u32)
    }

    /// How far `self` lies after `other`; negative when before it.
    #[must_use]
    #[expect(clippy::cast_possible_wrap, reason = "circular distance")]
    pub const fn distance(self, other: Self) -> i64 {
        self.0.wrapping_sub(other.0) as i64
    }

    /// Whether `self` lies in `[start, start + len)`.
    #[must_use]
    pub const fn within(self, start: Self, len: u64) -> bool {
        self.0.wrapping_sub(start.0) < len
    }

    /// The later of two numbers.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if self > other { self } else { other }
    }

    /// The earlier of two numbers.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if self < other { self } else { other }
    }
}

impl PartialOrd for DataSeq {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.distance(*other).cmp(&0))
    }
}

impl Add<u64> for DataSeq {
    type Output = Self;
    fn add(self, rhs: u64) -> Self {
        Self(self.0.wrapping_add(rhs))
    }
}

impl AddAssign<u64> for DataSeq {
    fn add_assign(&mut self, rhs: u64) {
        self.0 = self.0.wrapping_add(rhs);
    }
}

impl Sub<u64> for DataSeq {
    type Output = Self;
    fn sub(self, rhs: u64) -> Self {
        Self(self.0.wrapping_sub(rhs))
    }
}

/// The number of octets from `rhs` to `self`, modulo 2^64.
impl Sub for DataSeq {
    type Output = u64;
    fn sub(self, rhs: Self) -> u64 {
        self.0.wrapping_sub(rhs.0)
    }
}

#[cfg(test)]
mod tests;
