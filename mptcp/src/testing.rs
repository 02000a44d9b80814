//! What the tests of this crate share.

use crate::crypto::Key;
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

/// A received packet.
#[derive(Clone, Debug)]
pub(crate) struct Buf(bytes::Bytes);

impl stack::PacketBuf for Buf {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Octets as a slice.
pub(crate) fn slice(octets: Vec<u8>) -> stack::Slice<Buf> {
    stack::Slice::new(Buf(octets.into()))
}
