//! What is sent: octets that say where they belong, so that one in a wrong place is seen.

use crate::seed::{mix, unmix};

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

    /// Where `octets` stand in it.
    #[must_use]
    pub fn places_of(&self, octets: &[u8]) -> Vec<u64> {
        let part = |at: u64, len: usize| {
            let mut part = vec![0; len];
            self.fill(at, &mut part);
            part
        };
        if octets.len() < 15 {
            let whole = part(0, usize::try_from(self.len).unwrap_or(0));
            let parts = (0..).zip(whole.windows(octets.len().max(1)));
            let found = parts.filter(|(_, part)| *part == octets);
            return found.map(|(at, _)| at).collect();
        }
        // With eight of them that begin where eight are made at once, the position follows.
        let at_of = |skipped: usize| {
            let block = octets.get(skipped..)?.first_chunk()?;
            let at = (self.key ^ unmix(u64::from_le_bytes(*block))).checked_mul(8)?;
            at.checked_sub(skipped as u64)
        };
        let len = octets.len();
        let is_at = |at: &u64| at + len as u64 <= self.len && part(*at, len) == octets;
        (0..8).filter_map(at_of).filter(is_at).collect()
    }

    /// How many of `octets`, of which a few are looked at, are those from position `at` on.
    #[must_use]
    pub fn begins(&self, at: u64, octets: &[u8]) -> usize {
        let mut few = [0; 64];
        self.fill(at, &mut few);
        let left = usize::try_from(self.len - at).unwrap_or(usize::MAX);
        let pairs = few.iter().zip(octets).take(left);
        pairs.take_while(|(one, other)| one == other).count()
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
    fn octets_are_found_where_they_stand() {
        let stream = Stream::new(7, 1_000);
        for (at, len) in [(0, 15), (1, 40), (990, 10), (985, 15), (8, 700), (500, 4)] {
            let mut part = vec![0; len];
            stream.fill(at, &mut part);
            assert_eq!(stream.places_of(&part), [at]);
            part[len / 2] ^= 1;
            assert!(stream.places_of(&part).is_empty());
        }
        let mut beyond = vec![0; 40];
        stream.fill(970, &mut beyond);
        assert!(stream.places_of(&beyond).is_empty());
    }

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
