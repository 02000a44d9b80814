//! Multipath TCP's hashes, computed from the definitions: SHA-1 in version 0 (RFC 6824 3), SHA-256 in version 1 (RFC 8684 3).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Digest, Sha256};

fn digest(version: u8, octets: &[u8]) -> Vec<u8> {
    match version {
        0 => Sha1::digest(octets).to_vec(),
        _ => Sha256::digest(octets).to_vec(),
    }
}

fn hmac(version: u8, key: &[u8], message: &[u8]) -> Vec<u8> {
    const TAKEN: &str = "an HMAC takes a key of any length";
    if version == 0 {
        let mut mac = Hmac::<Sha1>::new_from_slice(key).expect(TAKEN);
        mac.update(message);
        return mac.finalize().into_bytes().to_vec();
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect(TAKEN);
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

/// The token of the connection whose owner drew `key`: the first 32 bits of its hash.
pub(crate) fn token(version: u8, key: u64) -> [u8; 4] {
    let hash = digest(version, &key.to_be_bytes());
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Where the data of who drew `key` begins: the last 64 bits of its hash.
pub(crate) fn idsn(version: u8, key: u64) -> u64 {
    let hash = digest(version, &key.to_be_bytes());
    let last = &hash[hash.len() - 8..];
    last.iter()
        .fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// The HMAC of MP_JOIN by the owner of the first key and number, 160 bits of it.
pub(crate) fn join(version: u8, keys: [u64; 2], nonces: [u32; 2]) -> Vec<u8> {
    let key = keys.map(u64::to_be_bytes).concat();
    let message = nonces.map(u32::to_be_bytes).concat();
    let mut hmac = hmac(version, &key, &message);
    hmac.truncate(20);
    hmac
}

/// The HMAC of ADD_ADDR by the owner of the first key: the last 64 bits (version 1).
pub(crate) fn add_addr(keys: [u64; 2], id: u8, addr: &[u8], port: u16) -> Vec<u8> {
    let key = keys.map(u64::to_be_bytes).concat();
    let message = [&[id], addr, &port.to_be_bytes()].concat();
    let hmac = hmac(1, &key, &message);
    hmac[hmac.len() - 8..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u64 = 0x0102_0304_0506_0708;
    const B: u64 = 0x1112_1314_1516_1718;

    /// Made with Python's hashlib and hmac.
    #[test]
    fn known_answers() {
        assert_eq!(token(1, A), [0x66, 0x84, 0x0d, 0xda]);
        assert_eq!(token(0, A), [0xdd, 0x57, 0x83, 0xbc]);
        assert_eq!(idsn(1, B), 0x535b_eea3_8e08_7c8e);
        assert_eq!(idsn(0, B), 0x9e1a_e42f_7026_27a9);
        let nonces = [0xa1a2_a3a4, 0xb1b2_b3b4];
        assert_eq!(join(1, [A, B], nonces)[..4], [0x53, 0x03, 0x7f, 0x28]);
        assert_eq!(join(0, [A, B], nonces)[..4], [0x5f, 0x9d, 0x9b, 0x11]);
        let hmac = add_addr([A, B], 7, &[192, 0, 2, 1], 0);
        assert_eq!(hmac, [0x98, 0x30, 0x09, 0x5a, 0x3d, 0x46, 0x2c, 0x66]);
    }
}
