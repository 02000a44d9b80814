//! Options to octets.

use super::{AddAddr, AddAddrProof, Capable, CapableForm, Dss, Join, MpOption, Subtype};
use crate::types::WireSeq;
use core::net::IpAddr;
use stack::wire::tcp::{KIND_MPTCP, OptBytes};

/// An option does not fit what is left of the option space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for {needed} octets of options")]
pub struct NoRoom {
    /// Octets that the option takes.
    pub needed: usize,
}

pub(super) fn encoded_len(option: &MpOption) -> usize {
    match option {
        MpOption::Capable(capable) => match capable.form {
            CapableForm::Bare => 4,
            CapableForm::OneKey { .. } => 12,
            CapableForm::TwoKeys { .. } => 20,
            CapableForm::Data { checksum, .. } => 22 + checksum_len(checksum),
        },
        MpOption::Join(Join::Syn { .. }) | MpOption::Fail { .. } | MpOption::Fastclose { .. } => 12,
        MpOption::Join(Join::SynAck { .. }) => 16,
        MpOption::Join(Join::Ack { .. }) => 24,
        MpOption::Dss(dss) => dss_len(dss),
        MpOption::AddAddr(add) => {
            let addr = if add.addr.is_ipv4() { 4 } else { 16 };
            let hmac = if matches!(add.proof, AddAddrProof::Hmac(_)) {
                8
            } else {
                0
            };
            4 + addr + hmac + if add.port.is_some() { 2 } else { 0 }
        },
        MpOption::RemoveAddr(ids) => 3 + ids.len(),
        MpOption::Prio(prio) => 3 + usize::from(prio.id.is_some()),
        MpOption::TcpRst(_) => 4,
        MpOption::Unknown { .. } => 0,
    }
}

fn dss_len(dss: &Dss) -> usize {
    let ack = dss.data_ack.map_or(0, WireSeq::encoded_len);
    let mapping = dss
        .mapping
        .map_or(0, |m| m.dsn.encoded_len() + 6 + checksum_len(m.checksum));
    4 + ack + mapping
}

const fn checksum_len(checksum: Option<u16>) -> usize {
    if checksum.is_some() { 2 } else { 0 }
}

pub(super) fn emit(option: &MpOption, out: &mut OptBytes) -> Result<(), NoRoom> {
    let needed = encoded_len(option);
    if needed > out.remaining_capacity() {
        return Err(NoRoom { needed });
    }
    let mut w = Writer(out);
    match option {
        MpOption::Capable(capable) => w.capable(needed, capable),
        MpOption::Join(join) => w.join(needed, join),
        MpOption::Dss(dss) => w.dss(needed, dss),
        MpOption::AddAddr(add) => w.add_addr(needed, add),
        MpOption::RemoveAddr(ids) => {
            w.head(needed, Subtype::RemoveAddr, 0);
            for id in ids {
                w.put(&[id.0]);
            }
        },
        MpOption::Prio(prio) => {
            w.head(needed, Subtype::Prio, u8::from(prio.backup));
            if let Some(id) = prio.id {
                w.put(&[id.0]);
            }
        },
        MpOption::Fail { dsn } => {
            w.head(needed, Subtype::Fail, 0);
            w.put(&[0]);
            w.put(&dsn.to_be_bytes());
        },
        MpOption::Fastclose { receiver_key } => {
            w.head(needed, Subtype::Fastclose, 0);
            w.put(&[0]);
            w.put(receiver_key.octets());
        },
        MpOption::TcpRst(rst) => {
            w.head(needed, Subtype::TcpRst, u8::from(rst.transient));
            w.put(&[rst.reason.0]);
        },
        MpOption::Unknown { .. } => {},
    }
    Ok(())
}

/// The octets of the [`Dss`] that data carries, with its DATA_ACK: as any other's, but for how long it takes.
pub(crate) fn data_dss(
    data_ack: WireSeq,
    (dsn, ssn, len): (WireSeq, u32, u16),
    checksum: Option<u16>,
) -> OptBytes {
    let mut octets = [0; DSS_MAX];
    let mut flags = DSS_ACK | DSS_MAPPING;
    let mut at = 4;
    for (number, full) in [(data_ack, DSS_ACK_FULL), (dsn, DSS_MAPPING_FULL)] {
        match number {
            WireSeq::Low(low) => octets[at..at + 4].copy_from_slice(&low.to_be_bytes()),
            WireSeq::Full(whole) => {
                octets[at..at + 8].copy_from_slice(&whole.to_be_bytes());
                flags |= full;
            },
        }
        at += number.encoded_len();
    }
    octets[at..at + 4].copy_from_slice(&ssn.to_be_bytes());
    octets[at + 4..at + 6].copy_from_slice(&len.to_be_bytes());
    at += 6;
    if let Some(checksum) = checksum {
        octets[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        at += 2;
    }
    let total = u8::try_from(at).unwrap_or(0);
    octets[..4].copy_from_slice(&[KIND_MPTCP, total, (Subtype::Dss as u8) << 4, flags]);
    let mut option = OptBytes::from(octets);
    option.truncate(at);
    option
}

/// Appends to option bytes whose room was checked.
struct Writer<'a>(&'a mut OptBytes);

impl Writer<'_> {
    fn put(&mut self, octets: &[u8]) {
        let fits = self.0.try_extend_from_slice(octets);
        debug_assert!(fits.is_ok(), "encoded_len counted every octet");
    }

    /// Kind, length, and the octet of subtype and `nibble`.
    fn head(&mut self, len: usize, subtype: Subtype, nibble: u8) {
        let len = u8::try_from(len).unwrap_or(0);
        self.put(&[KIND_MPTCP, len, (subtype as u8) << 4 | nibble & 0x0f]);
    }

    fn checksum(&mut self, checksum: Option<u16>) {
        if let Some(checksum) = checksum {
            self.put(&checksum.to_be_bytes());
        }
    }

    fn capable(&mut self, needed: usize, capable: &Capable) {
        self.head(needed, Subtype::Capable, capable.version);
        self.put(&[capable.flags.0]);
        match capable.form {
            CapableForm::Bare => {},
            CapableForm::OneKey { sender } => self.put(sender.octets()),
            CapableForm::TwoKeys { sender, receiver } => {
                self.put(sender.octets());
                self.put(receiver.octets());
            },
            CapableForm::Data {
                sender,
                receiver,
                len,
                checksum,
            } => {
                self.put(sender.octets());
                self.put(receiver.octets());
                self.put(&len.to_be_bytes());
                self.checksum(checksum);
            },
        }
    }

    fn add_addr(&mut self, needed: usize, add: &AddAddr) {
        let nibble = match (add.proof, add.addr) {
            (AddAddrProof::V0, IpAddr::V4(_)) => 4,
            (AddAddrProof::V0, IpAddr::V6(_)) => 6,
            (AddAddrProof::Hmac(_), _) => 0,
            (AddAddrProof::Echo, _) => 1,
        };
        self.head(needed, Subtype::AddAddr, nibble);
        self.put(&[add.id.0]);
        match add.addr {
            IpAddr::V4(v4) => self.put(&v4.octets()),
            IpAddr::V6(v6) => self.put(&v6.octets()),
        }
        if let Some(port) = add.port {
            self.put(&port.to_be_bytes());
        }
        if let AddAddrProof::Hmac(hmac) = add.proof {
            self.put(&hmac);
        }
    }

    fn join(&mut self, len: usize, join: &Join) {
        match join {
            Join::Syn {
                backup,
                id,
                token,
                nonce,
            } => {
                self.head(len, Subtype::Join, u8::from(*backup));
                self.put(&[id.0]);
                self.put(&token.0.to_be_bytes());
                self.put(&nonce.to_be_bytes());
            },
            Join::SynAck {
                backup,
                id,
                hmac,
                nonce,
            } => {
                self.head(len, Subtype::Join, u8::from(*backup));
                self.put(&[id.0]);
                self.put(hmac);
                self.put(&nonce.to_be_bytes());
            },
            Join::Ack { hmac } => {
                self.head(len, Subtype::Join, 0);
                self.put(&[0]);
                self.put(hmac.octets());
            },
        }
    }

    /// All data carries one: its octets are put together before they are appended.
    fn dss(&mut self, len: usize, dss: &Dss) {
        let mut flags = match dss.data_ack {
            None => 0,
            Some(WireSeq::Low(_)) => DSS_ACK,
            Some(WireSeq::Full(_)) => DSS_ACK | DSS_ACK_FULL,
        };
        if let Some(mapping) = dss.mapping {
            flags |= DSS_MAPPING
                | match mapping.dsn {
                    WireSeq::Low(_) => 0,
                    WireSeq::Full(_) => DSS_MAPPING_FULL,
                }
                | if mapping.data_fin { DSS_FIN } else { 0 };
        }
        let mut octets = [0; DSS_MAX];
        let wire_len = u8::try_from(len).unwrap_or(0);
        octets[..4].copy_from_slice(&[KIND_MPTCP, wire_len, (Subtype::Dss as u8) << 4, flags]);
        let mut at = 4;
        let mut put = |part: &[u8]| {
            octets[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        let mut put_seq = |seq| match seq {
            WireSeq::Low(low) => put(&low.to_be_bytes()),
            WireSeq::Full(full) => put(&full.to_be_bytes()),
        };
        if let Some(ack) = dss.data_ack {
            put_seq(ack);
        }
        if let Some(mapping) = dss.mapping {
            put_seq(mapping.dsn);
            put(&mapping.ssn.to_be_bytes());
            put(&mapping.len.to_be_bytes());
            if let Some(checksum) = mapping.checksum {
                put(&checksum.to_be_bytes());
            }
        }
        self.put(&octets[..len]);
    }
}

/// Octets of the longest DSS: with a checksum and both numbers whole.
const DSS_MAX: usize = 28;

/// A: a DATA_ACK is there.
pub(super) const DSS_ACK: u8 = 0x01;
/// a: it has 8 octets.
pub(super) const DSS_ACK_FULL: u8 = 0x02;
/// M: a mapping is there.
pub(super) const DSS_MAPPING: u8 = 0x04;
/// m: its data sequence number has 8 octets.
pub(super) const DSS_MAPPING_FULL: u8 = 0x08;
/// F: the mapping ends with a DATA_FIN.
pub(super) const DSS_FIN: u8 = 0x10;
