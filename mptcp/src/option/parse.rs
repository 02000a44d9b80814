//! Octets to options. Nothing here trusts a length: every read is checked, every failure has a name.

use super::emit::{DSS_ACK, DSS_ACK_FULL, DSS_FIN, DSS_MAPPING, DSS_MAPPING_FULL};
use super::{
    AddAddr, AddAddrProof, AddrIds, Capable, CapableFlags, CapableForm, Dss, Join, Mapping,
    MpOption, Prio, ResetReason, TcpRst,
};
use crate::crypto::{JoinHmac, Key};
use crate::types::{AddrId, Token, WireSeq};
use core::net::IpAddr;
use stack::wire::tcp::KIND_MPTCP;

/// The subtypes of option 30 (RFC 8684 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Subtype {
    /// MP_CAPABLE.
    Capable = 0,
    /// MP_JOIN.
    Join = 1,
    /// DSS.
    Dss = 2,
    /// ADD_ADDR.
    AddAddr = 3,
    /// REMOVE_ADDR.
    RemoveAddr = 4,
    /// MP_PRIO.
    Prio = 5,
    /// MP_FAIL.
    Fail = 6,
    /// MP_FASTCLOSE.
    Fastclose = 7,
    /// MP_TCPRST.
    TcpRst = 8,
}

/// Why an option does not parse. It is to be ignored and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The octets end within an option, or its length is below 3. Nothing after it can be read.
    #[error("an option is cut off")]
    Truncated,
    /// Not kind 30. Nothing after it is read.
    #[error("an option of another kind")]
    Kind,
    /// The length is none of those that the subtype has with these flags.
    #[error("{subtype:?} with a length of {len}")]
    Length {
        /// The subtype.
        subtype: Subtype,
        /// The length field.
        len: u8,
    },
    /// An ADD_ADDR whose IP version is neither that of version 0 nor the flags of version 1.
    #[error("ADD_ADDR with IP version {0}")]
    IpVersion(u8),
}

/// Reads options of kind 30, one after another, as `stack` hands them up.
#[must_use]
pub const fn parse(octets: &[u8]) -> Options<'_> {
    Options { rest: octets }
}

/// The DSS of a segment that carries this option and no other, as nearly every segment does. `None` is for [`parse`] to
/// look into.
#[must_use]
#[inline(always)]
pub fn lone_dss(octets: &[u8]) -> Option<Dss> {
    let [KIND_MPTCP, len, subtype, body @ ..] = octets else {
        return None;
    };
    if usize::from(*len) != octets.len() || subtype >> 4 != Subtype::Dss as u8 {
        return None;
    }
    let mut r = Reader(body);
    dss(&mut r).filter(|_| r.0.is_empty())
}

/// The mapping in `options`, those of a whole TCP header, if they are the same as those `before`, but for the numbers of a mapping in
/// a DSS that is the only option beside aligned timestamps.
#[must_use]
#[inline]
pub fn next_mapping([options, before]: [&[u8]; 2]) -> Option<Mapping> {
    const STAMPS: usize = 12;
    let at = match options {
        [1, 1, 8, 10, ..] => STAMPS,
        _ => 0,
    };
    let len = usize::from(*options.get(at + 1)?);
    let (dss, rest) = options.get(at..)?.split_at_checked(len)?;
    let mapping = lone_dss(dss)?.mapping?;
    // SSN and DSN are before the length, and that is the last.
    let numbers = at + len.checked_sub(6 + mapping.dsn.encoded_len())?;
    let same = mapping.checksum.is_none()
        && options.get(..numbers) == before.get(..numbers)
        && before.get(at + len..) == Some(rest);
    same.then_some(mapping)
}

/// The options of one segment, in order; see [`parse`].
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl Iterator for Options<'_> {
    type Item = Result<MpOption, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = core::mem::take(&mut self.rest);
        let (&kind, after_kind) = rest.split_first()?;
        if kind != KIND_MPTCP {
            return Some(Err(Malformed::Kind));
        }
        let Some(len) = after_kind.first().copied().filter(|&len| len >= 3) else {
            return Some(Err(Malformed::Truncated));
        };
        let Some((option, rest)) = rest.split_at_checked(usize::from(len)) else {
            return Some(Err(Malformed::Truncated));
        };
        self.rest = rest;
        Some(one(len, &option[2..]))
    }
}

/// One option: `body` is what follows kind and length, at least one octet.
fn one(len: u8, body: &[u8]) -> Result<MpOption, Malformed> {
    let mut r = Reader(body);
    let first = r.u8().ok_or(Malformed::Truncated)?;
    let nibble = first & 0x0f;
    let (subtype, option) = match first >> 4 {
        0 => (Subtype::Capable, capable(len, nibble, &mut r)),
        1 => (Subtype::Join, join(len, nibble, &mut r)),
        2 => (Subtype::Dss, dss(&mut r).map(MpOption::Dss)),
        3 => (Subtype::AddAddr, add_addr(len, nibble, &mut r)?),
        4 => (Subtype::RemoveAddr, remove_addr(&mut r)),
        5 => (Subtype::Prio, prio(len, nibble, &mut r)),
        6 => (Subtype::Fail, fail(&mut r)),
        7 => (Subtype::Fastclose, fastclose(&mut r)),
        8 => (Subtype::TcpRst, tcp_rst(nibble, &mut r)),
        subtype => return Ok(MpOption::Unknown { subtype }),
    };
    // What a form does not account for to the last octet is no form of the subtype.
    option
        .filter(|_| r.0.is_empty())
        .ok_or(Malformed::Length { subtype, len })
}

/// RFC 8684 3.1: the content follows from the length.
fn capable(len: u8, version: u8, r: &mut Reader<'_>) -> Option<MpOption> {
    let flags = CapableFlags(r.u8()?);
    let form = match len {
        4 => CapableForm::Bare,
        12 => CapableForm::OneKey { sender: r.key()? },
        20 => CapableForm::TwoKeys {
            sender: r.key()?,
            receiver: r.key()?,
        },
        22 | 24 => CapableForm::Data {
            sender: r.key()?,
            receiver: r.key()?,
            len: r.u16()?,
            checksum: if len == 24 { Some(r.u16()?) } else { None },
        },
        _ => return None,
    };
    Some(MpOption::Capable(Capable {
        version,
        flags,
        form,
    }))
}

/// RFC 8684 3.2.
fn join(len: u8, nibble: u8, r: &mut Reader<'_>) -> Option<MpOption> {
    let backup = nibble & 1 == 1;
    let id = AddrId(r.u8()?);
    Some(MpOption::Join(match len {
        12 => Join::Syn {
            backup,
            id,
            token: Token(r.u32()?),
            nonce: r.u32()?,
        },
        16 => Join::SynAck {
            backup,
            id,
            hmac: r.array()?,
            nonce: r.u32()?,
        },
        24 => Join::Ack {
            hmac: JoinHmac::new(r.array()?),
        },
        _ => return None,
    }))
}

/// RFC 8684 3.3: `a` and `m` mean nothing without `A` and `M`, nor does `F` without `M`.
#[inline(always)]
fn dss(r: &mut Reader<'_>) -> Option<Dss> {
    let flags = r.u8()?;
    let data_ack = if flags & DSS_ACK == 0 {
        None
    } else {
        Some(r.seq(flags & DSS_ACK_FULL != 0)?)
    };
    let mapping = if flags & DSS_MAPPING == 0 {
        None
    } else {
        Some(Mapping {
            dsn: r.seq(flags & DSS_MAPPING_FULL != 0)?,
            ssn: r.u32()?,
            len: r.u16()?,
            checksum: if r.0.is_empty() { None } else { Some(r.u16()?) },
            data_fin: flags & DSS_FIN != 0,
        })
    };
    Some(Dss { data_ack, mapping })
}

/// RFC 8684 3.4.1 and RFC 6824 3.4.1. Version 0 has the IP version where version 1 has flags; no length belongs to
/// both a version 0 form and a version 1 form with the same nibble, reserved bits set or not.
fn add_addr(len: u8, nibble: u8, r: &mut Reader<'_>) -> Result<Option<MpOption>, Malformed> {
    let echo = nibble & 1 == 1;
    let (v6, port, proof) = match (len, nibble) {
        (8 | 10, 4) => (false, len == 10, Form::V0),
        (20 | 22, 6) => (true, len == 22, Form::V0),
        (8 | 10, _) if echo => (false, len == 10, Form::Echo),
        (20 | 22, _) if echo => (true, len == 22, Form::Echo),
        (16 | 18, _) if !echo => (false, len == 18, Form::Hmac),
        (28 | 30, _) if !echo => (true, len == 30, Form::Hmac),
        (8 | 10 | 20 | 22, _) => return Err(Malformed::IpVersion(nibble)),
        _ => return Ok(None),
    };
    Ok(address(v6, port, proof, r))
}

#[derive(Clone, Copy)]
enum Form {
    V0,
    Hmac,
    Echo,
}

fn address(v6: bool, port: bool, form: Form, r: &mut Reader<'_>) -> Option<MpOption> {
    Some(MpOption::AddAddr(AddAddr {
        id: AddrId(r.u8()?),
        addr: if v6 {
            IpAddr::from(r.array::<16>()?)
        } else {
            IpAddr::from(r.array::<4>()?)
        },
        port: if port { Some(r.u16()?) } else { None },
        proof: match form {
            Form::V0 => AddAddrProof::V0,
            Form::Hmac => AddAddrProof::Hmac(r.array()?),
            Form::Echo => AddAddrProof::Echo,
        },
    }))
}

/// RFC 8684 3.4.2: one id or more.
fn remove_addr(r: &mut Reader<'_>) -> Option<MpOption> {
    let mut ids = AddrIds::new();
    while let Some(id) = r.u8() {
        ids.try_push(AddrId(id)).ok()?;
    }
    (!ids.is_empty()).then_some(MpOption::RemoveAddr(ids))
}

/// RFC 8684 3.3.8; RFC 6824 3.3.8 adds an optional address id.
fn prio(len: u8, nibble: u8, r: &mut Reader<'_>) -> Option<MpOption> {
    Some(MpOption::Prio(Prio {
        backup: nibble & 1 == 1,
        id: if len == 3 {
            None
        } else {
            Some(AddrId(r.u8()?))
        },
    }))
}

/// RFC 8684 3.7.
fn fail(r: &mut Reader<'_>) -> Option<MpOption> {
    r.u8()?;
    Some(MpOption::Fail {
        dsn: u64::from_be_bytes(r.array()?),
    })
}

/// RFC 8684 3.5.
fn fastclose(r: &mut Reader<'_>) -> Option<MpOption> {
    r.u8()?;
    Some(MpOption::Fastclose {
        receiver_key: r.key()?,
    })
}

/// RFC 8684 3.6.
fn tcp_rst(nibble: u8, r: &mut Reader<'_>) -> Option<MpOption> {
    Some(MpOption::TcpRst(TcpRst {
        transient: nibble & 1 == 1,
        reason: ResetReason(r.u8()?),
    }))
}

/// Takes octets from the front; `None` once there are too few.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn key(&mut self) -> Option<Key> {
        self.array().map(Key::new)
    }

    fn seq(&mut self, full: bool) -> Option<WireSeq> {
        if full {
            self.array()
                .map(|octets| WireSeq::Full(u64::from_be_bytes(octets)))
        } else {
            self.u32().map(WireSeq::Low)
        }
    }
}
