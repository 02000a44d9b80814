//! What is sent: octets that say where they belong, so that one in a wrong place is seen.

use crate::seed::mix;

/// A stream of `len` octets, each a function of its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
    /// Octets in it.
    pub len: u64,
}

impl Stream {
    /// The stream of `key`, cut after `len` octets.
    #[must_use]
    pub const fn new(key: u64, len: u64) -> Self {
        Self { key, len }
    }

    /// Writes the octets from position `at` on into `into`.
    pub fn fill(&self, at: u64, into: &mut [u8]) {
        let mut block = [0; 8];
        for (n, octet) in (at..).zip(into.iter_mut()) {
            if n % 8 == 0 || n == at {
                block = mix(self.key ^ (n / 8)).to_le_bytes();
            }
            *octet = block[(n % 8) as usize];
        }
    }

    /// The octet at position `at`.
    #[must_use]
    pub fn octet(&self, at: u64) -> u8 {
        let mut one = [0];
        self.fill(at, &mut one);
        one[0]
    }
}
