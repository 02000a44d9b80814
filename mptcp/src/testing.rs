//! What the tests of this crate share.

use crate::connection::{Limits, Params};
use crate::crypto::Key;
use crate::types::{Role, Version};
use stack::wire::tcp::OptBytes;

/// The octets that `text` writes in hexadecimal; spaces are ignored.
pub(crate) fn octets(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| !c.is_whitespace())
        .map(|c| c.to_digit(16).expect("a hexadecimal digit"))
        .collect();
    assert_eq!(digits.len() % 2, 0, "an even number of digits");
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).expect("an octet"))
        .collect()
}

/// The `N` octets that `text` writes in hexadecimal.
pub(crate) fn hex<const N: usize>(text: &str) -> [u8; N] {
    octets(text)
        .try_into()
        .expect("as many octets as asked for")
}

/// The key that `text` writes in hexadecimal.
pub(crate) fn key(text: &str) -> Key {
    Key::new(hex(text))
}

/// The octets of one option.
pub(crate) fn encoded(option: impl Into<crate::MpOption>) -> OptBytes {
    OptBytes::from(option.into())
}

/// What a connection of version 1 without checksums agreed on, its keys drawn by nobody.
pub(crate) fn params(role: Role) -> Params {
    Params {
        version: Version::V1,
        role,
        local: Key::new([1; 8]).derive(Version::V1),
        remote_key: Key::new([2; 8]),
        checksum: false,
        peer_denies_initial_addr: false,
        limits: Limits::default(),
    }
}

/// Addresses and ports of what the peer sends from `src_port`.
pub(crate) fn tuple(src_port: u16) -> stack::Tuple {
    let [src, dst] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(Into::into);
    stack::Tuple {
        src,
        dst,
        src_port,
        dst_port: 80,
    }
}

/// A received packet.
#[derive(Clone, Debug)]
pub(crate) struct Buf(bytes::Bytes);

impl stack::PacketBuf for Buf {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn is_sole(&self) -> bool {
        self.0.is_unique()
    }
}

/// Octets as a slice.
pub(crate) fn slice(octets: Vec<u8>) -> stack::Slice<Buf> {
    stack::Slice::new(Buf(octets.into()))
}
