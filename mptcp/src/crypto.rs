//! Keys, and what is computed from them: tokens, initial data sequence numbers, HMACs; and the DSS checksum.

use crate::types::{AddrId, DataSeq, Token, Version};
use core::fmt;
use core::net::IpAddr;
use hmac::{Hmac, KeyInit, Mac};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use stack::Rng;
use stack::checksum::Sum;

/// A host's 64-bit key of one connection (RFC 8684 3.1). Secret: it is never printed, and compared in constant time.
#[derive(Clone, Copy)]
pub struct Key([u8; 8]);

impl Key {
    /// The key with these octets, as on the wire.
    #[must_use]
    pub const fn new(octets: [u8; 8]) -> Self {
        Self(octets)
    }

    /// A key drawn from `rng`.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Self {
        Self(rng.u64().to_be_bytes())
    }

    /// The octets, to be sent or hashed; not to be printed.
    #[must_use]
    pub const fn octets(&self) -> &[u8; 8] {
        &self.0
    }

    /// The token that names the connection at the owner of this key: the most significant 32 bits of the key's hash.
    #[must_use]
    pub fn token(&self, version: Version) -> Token {
        self.derive(version).token
    }

    /// The initial data sequence number of the owner of this key: the least significant 64 bits of the key's hash.
    /// MP_CAPABLE occupies it; the first octet of data has the number after it.
    #[must_use]
    pub fn idsn(&self, version: Version) -> DataSeq {
        self.derive(version).idsn
    }

    /// Token and initial data sequence number, with one hash.
    #[must_use]
    pub fn derive(&self, version: Version) -> LocalKey {
        let (token, idsn) = match version {
            Version::V0 => {
                let [t0, t1, t2, t3, .., a, b, c, d, e, f, g, h] = Sha1::digest(self.0).0;
                ([t0, t1, t2, t3], [a, b, c, d, e, f, g, h])
            },
            Version::V1 => {
                let [t0, t1, t2, t3, .., a, b, c, d, e, f, g, h] = Sha256::digest(self.0).0;
                ([t0, t1, t2, t3], [a, b, c, d, e, f, g, h])
            },
        };
        LocalKey {
            key: *self,
            token: Token(u32::from_be_bytes(token)),
            idsn: DataSeq(u64::from_be_bytes(idsn)),
        }
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// A key with what its hash gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalKey {
    /// The key.
    pub key: Key,
    /// Names the connection at the key's owner.
    pub token: Token,
    /// The owner's initial data sequence number.
    pub idsn: DataSeq,
}

/// What HMACs of version 1 under the same two keys have in common, computed once: half of the work of each (RFC 2104 4).
#[derive(Clone)]
pub struct Keyed(Hmac<Sha256>);

impl Keyed {
    /// Of the host with `sender_key`.
    #[must_use]
    pub fn new(sender_key: &Key, receiver_key: &Key) -> Self {
        // A shorter key is padded with zeros to a block (RFC 2104 2).
        let mut key = [0; 64];
        key[..8].copy_from_slice(&sender_key.0);
        key[8..16].copy_from_slice(&receiver_key.0);
        Self(Hmac::new(&key.into()))
    }

    fn sign(&self, message: &[u8]) -> [u8; 32] {
        self.0
            .clone()
            .chain_update(message)
            .finalize()
            .into_bytes()
            .0
    }
}

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed(secret)")
    }
}

/// The HMAC of MP_JOIN, truncated to its leftmost 160 bits (RFC 8684 3.2). Compares in constant time.
#[derive(Clone, Copy)]
pub struct JoinHmac([u8; 20]);

impl JoinHmac {
    /// The HMAC that the host with `sender_key` and `sender_nonce` proves itself with. Keys and nonces are the
    /// sender's first: HMAC-A when the host that sent the MP_JOIN SYN is the sender, HMAC-B when it is the other.
    #[must_use]
    pub fn compute(
        version: Version,
        sender_key: &Key,
        receiver_key: &Key,
        sender_nonce: u32,
        receiver_nonce: u32,
    ) -> Self {
        match version {
            Version::V0 => {
                let message = nonces(sender_nonce, receiver_nonce);
                let mut key = [0; 16];
                key[..8].copy_from_slice(&sender_key.0);
                key[8..].copy_from_slice(&receiver_key.0);
                Self(keyed::<Hmac<Sha1>, 20>(&key, &message))
            },
            Version::V1 => {
                let keyed = Keyed::new(sender_key, receiver_key);
                Self::under(&keyed, sender_nonce, receiver_nonce)
            },
        }
    }

    /// The same in version 1, under the sender's `keyed`.
    #[must_use]
    pub fn under(keyed: &Keyed, sender_nonce: u32, receiver_nonce: u32) -> Self {
        let whole = keyed.sign(&nonces(sender_nonce, receiver_nonce));
        let mut left = [0; 20];
        left.copy_from_slice(&whole[..20]);
        Self(left)
    }

    /// The HMAC with these octets, as in the third ACK.
    #[must_use]
    pub const fn new(octets: [u8; 20]) -> Self {
        Self(octets)
    }

    /// The 20 octets of the third ACK.
    #[must_use]
    pub const fn octets(&self) -> &[u8; 20] {
        &self.0
    }

    /// The leftmost 64 bits, as in the SYN+ACK.
    #[must_use]
    pub const fn truncated(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h]
    }
}

impl PartialEq for JoinHmac {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for JoinHmac {}

impl fmt::Debug for JoinHmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinHmac(..)")
    }
}

/// What an HMAC of MP_JOIN is over.
fn nonces(sender: u32, receiver: u32) -> [u8; 8] {
    (u64::from(sender) << 32 | u64::from(receiver)).to_be_bytes()
}

/// The truncated HMAC of a version 1 ADD_ADDR, under the sender's `keyed`: the rightmost 64 bits, over address id, address and
/// port, the port zero where none is announced (RFC 8684 3.4.1).
#[must_use]
pub fn add_addr_hmac(keyed: &Keyed, id: AddrId, addr: IpAddr, port: Option<u16>) -> [u8; 8] {
    let mut message = [0; 1 + 16 + 2];
    message[0] = id.0;
    let end = match addr {
        IpAddr::V4(v4) => {
            message[1..5].copy_from_slice(&v4.octets());
            5
        },
        IpAddr::V6(v6) => {
            message[1..17].copy_from_slice(&v6.octets());
            17
        },
    };
    message[end..end + 2].copy_from_slice(&port.unwrap_or(0).to_be_bytes());
    let [.., a, b, c, d, e, f, g, h] = keyed.sign(&message[..end + 2]);
    [a, b, c, d, e, f, g, h]
}

/// Whether two secrets of equal length are equal, in time that depends on the length alone.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |acc, (x, y)| acc | (x ^ y));
    a.len() == b.len() && core::hint::black_box(differing) == 0
}

/// The DSS checksum (RFC 8684 3.3.1): the sum over the pseudo-header and `payload`, the octets of the whole mapping.
/// `len` counts a DATA_FIN, `payload` does not hold it. 0x0000 is a value like any other.
#[must_use]
pub fn dss_checksum(dsn: DataSeq, ssn: u32, len: u16, payload: Sum) -> u16 {
    dss_sum(dsn, ssn, len, payload).checksum()
}

/// Whether `checksum` is that of a mapping.
#[must_use]
pub fn dss_intact(dsn: DataSeq, ssn: u32, len: u16, payload: Sum, checksum: u16) -> bool {
    dss_checksum(dsn, ssn, len, payload) == checksum
}

fn dss_sum(dsn: DataSeq, ssn: u32, len: u16, payload: Sum) -> Sum {
    let mut header = [0; 16];
    header[..8].copy_from_slice(&dsn.0.to_be_bytes());
    header[8..12].copy_from_slice(&ssn.to_be_bytes());
    header[12..14].copy_from_slice(&len.to_be_bytes());
    Sum::of(&header).then(payload)
}

fn keyed<M: Mac + KeyInit, const N: usize>(key: &[u8], message: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    // HMAC takes keys of any length, so there is no error to handle here.
    if let Ok(mut mac) = <M as KeyInit>::new_from_slice(key) {
        mac.update(message);
        let whole = mac.finalize().into_bytes();
        out.copy_from_slice(whole.get(..N).unwrap_or(&[0; N]));
    }
    out
}

#[cfg(test)]
mod tests;
