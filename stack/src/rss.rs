//! The hash by which a device spreads flows over its queues, made symmetric.
//!
//! Receive side scaling hashes addresses and ports by Toeplitz's matrix, which a 40-octet key defines. With a key of one
//! repeated 16-bit word each such word of the input meets the same part of the matrix, so the hash is that of the exclusive
//! or of all words, and both directions of a flow have the same. So what a device computes is cheap to compute here, too.

use crate::flow::Tuple;
use core::net::IpAddr;

/// The repeated word. Its bits are spread well enough that any few input bits reach all of the result.
const WORD: u16 = 0x6d5a;

/// The key as a device takes it, cut or repeated to the length that it wants: at most 52 octets.
pub const KEY: [u8; 52] = {
    let mut key = [0; 52];
    let [high, low] = WORD.to_be_bytes();
    let mut at = 0;
    while at < key.len() {
        key[at] = high;
        key[at + 1] = low;
        at += 2;
    }
    key
};

/// What the first octet of a word adds to the hash.
const FIRST: [u16; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let mut bit = 0;
        while bit < 8 {
            if octet & (0x80 >> bit) != 0 {
                table[octet] ^= WORD.rotate_left(bit);
            }
            bit += 1;
        }
        octet += 1;
    }
    table
};

/// The hash of an input of which `folded` is the exclusive or of all 16-bit words: both halves of a device's 32 bits.
#[must_use]
pub const fn hash_folded(folded: u16) -> u16 {
    let [first, second] = folded.to_be_bytes();
    FIRST[first as usize] ^ FIRST[second as usize].rotate_left(8)
}

/// The exclusive or of the 16-bit words of an address.
#[must_use]
pub const fn fold(address: IpAddr) -> u16 {
    let words = match address {
        IpAddr::V4(address) => address.to_bits() as u128,
        IpAddr::V6(address) => address.to_bits(),
    };
    let words = words ^ (words >> 64);
    let words = words ^ (words >> 32);
    (words ^ (words >> 16)) as u16
}

/// The hash of a flow: the same for both directions.
#[must_use]
pub const fn hash(tuple: &Tuple) -> u16 {
    hash_folded(fold(tuple.src) ^ fold(tuple.dst) ^ tuple.src_port ^ tuple.dst_port)
}

/// Entries of the table that leads from a hash to a queue. Devices have 64 to 2,048; the first of these repeat in larger
/// ones.
pub const TABLE: u16 = 128;

/// Which of `queues` (at least 1) gets what has this hash.
#[must_use]
pub const fn queue(hash: u16, queues: u16) -> u16 {
    (hash % TABLE) % if queues == 0 { 1 } else { queues }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Toeplitz's hash as devices are specified to compute it, bit by bit.
    fn toeplitz(input: &[u8]) -> u32 {
        let mut hash = 0;
        for (at, octet) in input.iter().enumerate() {
            for bit in (0..8).filter(|bit| octet & (0x80 >> bit) != 0) {
                let window = |n: usize| u64::from(KEY[(at + n) % 2]) << (32 - 8 * n);
                let window: u64 = (0..5).map(window).sum();
                hash ^= (window >> (8 - bit)) as u32;
            }
        }
        hash
    }

    fn input(tuple: &Tuple) -> Vec<u8> {
        let octets = |address| match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        [
            octets(tuple.src),
            octets(tuple.dst),
            tuple.src_port.to_be_bytes().to_vec(),
            tuple.dst_port.to_be_bytes().to_vec(),
        ]
        .concat()
    }

    fn tuples() -> impl Iterator<Item = Tuple> {
        (0..2_000_u16).map(|n| {
            let (src, dst) = if n % 2 == 0 {
                let n = n.to_be_bytes();
                (
                    IpAddr::from([10, 1, n[0], n[1]]),
                    IpAddr::from([192, 0, 2, n[1] ^ 0x5a]),
                )
            } else {
                (
                    IpAddr::from([0x2001, 0xdb8, n, 7, 0, n ^ 0x1234, 0, n]),
                    IpAddr::from([0x2001, 0xdb8, 0xffff, n, 1, 2, 3, 4]),
                )
            };
            Tuple {
                src,
                dst,
                src_port: 32_768 | n.wrapping_mul(0x9e37),
                dst_port: 443,
            }
        })
    }

    #[test]
    fn it_is_what_a_device_computes_and_the_same_both_ways() {
        for tuple in tuples() {
            let device = toeplitz(&input(&tuple));
            let ours = hash(&tuple);
            assert_eq!(device, u32::from(ours) << 16 | u32::from(ours), "{tuple:?}");
            assert_eq!(ours, hash(&tuple.reversed()));
        }
    }

    #[test]
    fn flows_spread_evenly() {
        for queues in [2, 3, 4, 8] {
            let mut all = vec![0; usize::from(queues)];
            for tuple in tuples() {
                all[usize::from(queue(hash(&tuple), queues))] += 1;
            }
            let fair = 2_000 / i32::from(queues);
            let even = |n: &i32| (n - fair).abs() < fair / 3;
            assert!(all.iter().all(even), "{all:?}");
        }
    }
}
