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
        let block = |at: u64| mix(self.key ^ (at / 8)).to_le_bytes();
        let within = usize::try_from(at % 8).unwrap_or(0);
        let (head, rest) = into.split_at_mut(into.len().min((8 - within) % 8));
        head.copy_from_slice(&block(at)[within..][..head.len()]);
        for (at, part) in (at + head.len() as u64..)
            .step_by(8)
            .zip(rest.chunks_mut(8))
        {
            part.copy_from_slice(&block(at)[..part.len()]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_octet_is_the_same_wherever_a_part_begins() {
        let stream = Stream::new(7, 1_000);
        let whole: Vec<u8> = (0..64).map(|at| stream.octet(at)).collect();
        for at in 0..20 {
            for len in 0..20 {
                let mut part = vec![0; len];
                stream.fill(at as u64, &mut part);
                assert_eq!(part, whole[at..at + len]);
            }
        }
        let (differs, same) = (whole[..8] != whole[8..16], whole[0] == whole[1]);
        assert!(differs && !same, "{whole:?}");
    }
}
