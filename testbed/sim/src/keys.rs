//! Keys whose hashes have data's numbers begin shortly before they come round, or their low half does, as that is all that
//! a peer may write of them (RFC 8684 3.3.1). Nobody can choose a number and find its key, but among some millions there
//! are a few for the low half; for the whole it took a hundred thousand million tries, and they begin further away.

use mptcp::{Key, Version};

/// What comes round in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// The low half of its data's numbers, within [`BEFORE`] octets.
    Low,
    /// The whole, within [`before_whole`] octets.
    Whole,
}

/// Octets of data at most until the low half of its numbers comes round.
pub const BEFORE: u32 = 300_000;

/// For either version keys as numbers, in the order in which they were found.
const V0: [u64; 16] = [
    5_774, 40_621, 40_958, 44_782, 54_589, 68_777, 73_925, 77_879, 80_623, 90_030, 112_353,
    120_838, 136_327, 149_179, 153_420, 170_593,
];
const V1: [u64; 16] = [
    2_552, 14_862, 14_945, 34_703, 39_998, 69_161, 74_499, 89_003, 90_119, 97_592, 104_282,
    113_230, 128_374, 171_403, 186_352, 205_204,
];

/// The key that begins nearest before the whole comes round.
const WHOLE_V0: u64 = 44_117_839_893;
const WHOLE_V1: u64 = 6_863_997_130;

/// Octets of data at most until all numbers come round of the connection with [`whole`].
#[must_use]
pub const fn before_whole(version: Version) -> u64 {
    match version {
        Version::V0 => 531_000_000,
        Version::V1 => 49_000_000,
    }
}

/// Those of `version` for one of two boxes, none of which is the other's.
#[must_use]
pub fn of(version: Version, which: usize) -> Vec<Key> {
    let all = match version {
        Version::V0 => &V0,
        Version::V1 => &V1,
    };
    let own = all.iter().skip(which).step_by(2);
    own.map(|key| Key::new(key.to_be_bytes())).collect()
}

/// The one of `version` whose numbers come round as a whole; a box alone can have it.
#[must_use]
pub const fn whole(version: Version) -> Key {
    let key = match version {
        Version::V0 => WHOLE_V0,
        Version::V1 => WHOLE_V1,
    };
    Key::new(key.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn their_numbers_come_round_soon() {
        for version in [Version::V0, Version::V1] {
            for key in [0, 1].into_iter().flat_map(|which| of(version, which)) {
                let low = key.idsn(version).0 as u32;
                assert!(low > u32::MAX - BEFORE, "{low}");
            }
            let first = whole(version).idsn(version).0;
            assert!(first > u64::MAX - before_whole(version), "{first}");
        }
    }
}
