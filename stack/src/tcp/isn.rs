//! Initial sequence numbers that an outsider cannot guess (RFC 6528).

use super::low32;
use crate::flow::Tuple;
use crate::seq::SeqNum;
use crate::time::Instant;
use core::hash::Hasher;
use core::net::IpAddr;
use siphasher::sip::SipHasher13;

/// Draws initial sequence numbers and timestamp offsets from a keyed hash of the tuple.
#[derive(Clone)]
pub struct IsnGenerator {
    secret: [u8; 16],
}

impl IsnGenerator {
    /// A generator for `secret`, which must come from the operating system's entropy and stay in this process.
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self { secret }
    }

    /// ISN = M + F(tuple, secret), where M ticks every 4 us (RFC 6528 3): later incarnations of one tuple start later.
    /// `tuple` is that of the segments we send.
    #[must_use]
    pub fn isn(&self, now: Instant, tuple: &Tuple) -> SeqNum {
        let ticks = now.as_nanos() / 4_000;
        SeqNum(self.hash(b'i', tuple).wrapping_add(low32(ticks)))
    }

    /// The same for a tuple that is taken over out of TIME-WAIT, whose former life sent up to before `used`: beyond all of that
    /// (RFC 9293 3.6.1, MAY-2). The clock alone does not see to it where more than 250,000 octets were sent in a second.
    #[must_use]
    pub fn isn_beyond(&self, now: Instant, tuple: &Tuple, used: SeqNum) -> SeqNum {
        let drawn = self.isn(now, tuple);
        if drawn > used {
            drawn
        } else {
            // Not the very next: who saw the old connection shall not know the new one's number.
            used + 1 + (drawn.0 & 0xffff)
        }
    }

    /// The offset of the timestamp clock of `tuple`, so that the clock tells nothing of our uptime nor of other
    /// connections (RFC 7323 5.4).
    #[must_use]
    pub fn ts_offset(&self, tuple: &Tuple) -> u32 {
        self.hash(b't', tuple)
    }

    fn hash(&self, purpose: u8, tuple: &Tuple) -> u32 {
        // In one piece where that is short: the hash is the same, and its pieces would each be buffered.
        let ports = (u32::from(tuple.src_port) << 16 | u32::from(tuple.dst_port)).to_be_bytes();
        let mut hasher = SipHasher13::new_with_key(&self.secret);
        if let (IpAddr::V4(src), IpAddr::V4(dst)) = (tuple.src, tuple.dst) {
            let [[a, b, c, d], [e, f, g, h]] = [src.octets(), dst.octets()];
            let [i, j, k, l] = ports;
            hasher.write(&[purpose, a, b, c, d, e, f, g, h, i, j, k, l]);
            return low32(hasher.finish());
        }
        hasher.write_u8(purpose);
        for addr in [tuple.src, tuple.dst] {
            match addr {
                IpAddr::V4(v4) => hasher.write(&v4.octets()),
                IpAddr::V6(v6) => hasher.write(&v6.octets()),
            }
        }
        hasher.write(&ports);
        low32(hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(src_port: u16) -> Tuple {
        Tuple {
            src: IpAddr::from([10, 1, 0, 2]),
            dst: IpAddr::from([10, 9, 0, 2]),
            src_port,
            dst_port: 80,
        }
    }

    #[test]
    fn t5_isn_of_one_tuple_moves_250_000_a_second() {
        let isn = IsnGenerator::new([7; 16]);
        let first = isn.isn(Instant::ZERO, &tuple(1));
        assert_eq!(
            isn.isn(Instant::from_millis(1000), &tuple(1)) - first,
            250_000
        );
        assert_eq!(isn.isn(Instant::from_nanos(3_999), &tuple(1)), first);
    }

    #[test]
    fn t3_a_tuple_taken_over_begins_beyond_all_that_was_used() {
        let isn = IsnGenerator::new([7; 16]);
        let at = Instant::from_millis(5_000);
        let drawn = isn.isn(at, &tuple(1));
        assert_eq!(isn.isn_beyond(at, &tuple(1), drawn - 1), drawn);
        for sent in [0, 1, 65_535, 1 << 30] {
            let used = drawn + sent;
            let next = isn.isn_beyond(at, &tuple(1), used);
            assert!(next > used && next - used <= 65_536, "{sent}");
        }
    }

    #[test]
    fn t5_every_part_of_a_tuple_counts_in_both_families() {
        let isn = IsnGenerator::new([9; 16]);
        for (src, dst) in [("10.1.0.2", "10.9.0.2"), ("fd00:1::2", "fd00:9::2")] {
            let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
            let next = |addr| match addr {
                IpAddr::V4(v4) => IpAddr::V4((v4.to_bits() + 1).into()),
                IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() + 1).into()),
            };
            let of = |src, dst, src_port, dst_port| {
                isn.ts_offset(&Tuple {
                    src,
                    dst,
                    src_port,
                    dst_port,
                })
            };
            let first = of(src, dst, 1, 2);
            assert_ne!(first, of(next(src), dst, 1, 2));
            assert_ne!(first, of(src, next(dst), 1, 2));
            assert_ne!(first, of(src, dst, 0x101, 2));
            assert_ne!(first, of(src, dst, 1, 3));
        }
    }

    #[test]
    fn the_hash_of_a_tuple_is_that_of_its_octets() {
        let mut hasher = SipHasher13::new_with_key(&[9; 16]);
        hasher.write(b"t\x0a\x01\x00\x02\x0a\x09\x00\x02\x00\x01\x00\x50");
        let of = IsnGenerator::new([9; 16]).ts_offset(&tuple(1));
        assert_eq!(of, low32(hasher.finish()));
    }

    #[test]
    fn t5_isn_differs_by_tuple_and_secret_and_purpose() {
        let (a, b) = (IsnGenerator::new([1; 16]), IsnGenerator::new([2; 16]));
        let at = Instant::ZERO;
        assert_ne!(a.isn(at, &tuple(1)), a.isn(at, &tuple(2)));
        assert_ne!(a.isn(at, &tuple(1)), a.isn(at, &tuple(1).reversed()));
        assert_ne!(a.isn(at, &tuple(1)), b.isn(at, &tuple(1)));
        assert_ne!(a.isn(at, &tuple(1)).0, a.ts_offset(&tuple(1)));
    }
}
