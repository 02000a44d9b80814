//! The Internet checksum (RFC 1071), kept as partial sums so that sums of sums stand for bytes.

/// A ones-complement partial sum over a run of octets, with the run's parity.
///
/// Adding runs in order gives the sum of their concatenation: a run that starts at an odd offset contributes its
/// octets swapped (RFC 1071 2 B), which [`Sum::then`] takes care of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    folded: u16,
    odd: bool,
}

impl Sum {
    /// The sum over no octets.
    pub const ZERO: Self = Self {
        folded: 0,
        odd: false,
    };

    /// The sum over `bytes`. Reads every octet: the only function that does.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        // RFC 1071 2 B: the sum does not depend on the byte order, if the result is swapped alike. So words are added
        // as they lie in memory, the widest that carry into a second one: two instructions for eight octets.
        let mut acc: u128 = 0;
        let mut add = |word: &[u8; 8]| acc += u128::from(u64::from_ne_bytes(*word));
        let (blocks, rest) = bytes.as_chunks::<32>();
        for block in blocks {
            block.as_chunks().0.iter().for_each(&mut add);
        }
        let (words, rest) = rest.as_chunks();
        words.iter().for_each(&mut add);
        let (half, rest) = rest.as_chunks::<4>();
        for word in half {
            acc += u128::from(u32::from_ne_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 4];
            for (to, from) in last.iter_mut().zip(rest) {
                *to = *from;
            }
            acc += u128::from(u32::from_ne_bytes(last));
        }
        // Packets are shorter than 2^16 octets, so that there are few carries.
        let (words, carries) = (acc as u64, (acc >> 64) as u64);
        Self::of_native((words & 0xffff_ffff) + (words >> 32) + carries, bytes.len())
    }

    /// The sum over a run of `N` octets, a few whole 32-bit words: without a loop.
    #[must_use]
    #[inline]
    pub(crate) fn of_array<const N: usize>(octets: &[u8; N]) -> Self {
        Self::of_native(native_words(octets), N)
    }

    /// The sum over an IPv4 header without options.
    #[must_use]
    #[inline]
    pub(crate) fn of_ipv4(header: &[u8; 20]) -> Self {
        let words = header.as_chunks::<4>().0.iter();
        let acc = words.map(|word| u64::from(u32::from_ne_bytes(*word))).sum();
        Self::of_native(acc, 20)
    }

    /// The sum over a header, a short run of whole 32-bit words, behind a pseudo header: `pseudo` is the sum of that without
    /// its length field, and `len` that field.
    #[must_use]
    #[inline]
    pub(crate) fn of_header_behind(pseudo: Self, len: usize, header: &[u8]) -> Self {
        let native = |word: u16| u64::from(u16::from_ne_bytes(word.to_be_bytes()));
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        let before = native(pseudo.folded) + native(len);
        // With timestamps alone, as most are, it is a few moves.
        let words = match <&[u8; 32]>::try_from(header) {
            Ok(header) => native_words(header),
            Err(_) => native_words(header),
        };
        Self::of_native(before + words, header.len())
    }

    /// The sum over `len` octets whose 32-bit words, as they lie in memory, add up to `acc`.
    const fn of_native(acc: u64, len: usize) -> Self {
        Self {
            folded: u16::from_be_bytes(fold(acc).to_ne_bytes()),
            odd: len % 2 == 1,
        }
    }

    /// The sum over 32-bit words, each read as a big-endian number, that add up to `total`: at most 256 of them.
    pub(crate) const fn of_words(total: u64) -> Self {
        Self {
            folded: fold(total),
            odd: false,
        }
    }

    /// The sum over a run of `len` octets whose folded sum is `folded`.
    #[must_use]
    pub const fn from_parts(folded: u16, len: usize) -> Self {
        Self {
            folded,
            odd: len % 2 == 1,
        }
    }

    /// The sum over this run followed by `next`.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        let swapped = if self.odd {
            next.folded.swap_bytes()
        } else {
            next.folded
        };
        Self {
            folded: fold(u64::from(self.folded) + u64::from(swapped)),
            odd: self.odd != next.odd,
        }
    }

    /// The sum of a run from which the leading `head` is taken away.
    #[must_use]
    pub fn without_head(self, head: Self) -> Self {
        let rest = fold(u64::from(self.folded) + u64::from(!head.folded));
        Self {
            folded: if head.odd { rest.swap_bytes() } else { rest },
            odd: self.odd != head.odd,
        }
    }

    /// The folded 16-bit sum, not complemented.
    #[must_use]
    pub const fn folded(self) -> u16 {
        self.folded
    }

    /// The value for a checksum field: the complement of the sum.
    #[must_use]
    pub const fn checksum(self) -> u16 {
        !self.folded
    }

    /// Whether a run that includes its own checksum field is intact.
    #[must_use]
    pub const fn is_intact(self) -> bool {
        self.folded == 0xffff
    }
}

/// The 32-bit words of a short run, as they lie in memory, added up to less than 2^33. With carries, and so one after another:
/// to add many of them at once takes more to begin and to end than it saves.
#[inline]
fn native_words(octets: &[u8]) -> u64 {
    let (words, rest) = octets.as_chunks();
    let mut acc: u64 = 0;
    for word in words {
        let (sum, carry) = acc.overflowing_add(u64::from_ne_bytes(*word));
        acc = sum + u64::from(carry);
    }
    if let Some(last) = rest.first_chunk() {
        let (sum, carry) = acc.overflowing_add(u64::from(u32::from_ne_bytes(*last)));
        acc = sum + u64::from(carry);
    }
    (acc & 0xffff_ffff) + (acc >> 32)
}

/// The ones-complement sum of the 16-bit words of `acc`, which is below 2^40.
const fn fold(acc: u64) -> u16 {
    let acc = (acc & 0xffff) + ((acc >> 16) & 0xffff) + (acc >> 32);
    let acc = (acc & 0xffff) + (acc >> 16);
    let acc = (acc & 0xffff) + (acc >> 16);
    acc as u16
}

#[cfg(test)]
mod tests {
    use super::Sum;
    use proptest::prelude::*;

    #[test]
    fn rfc1071_example() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), 0xddf2);
    }

    proptest! {
        #[test]
        fn an_array_has_the_sum_of_its_octets(octets: [u8; 28], ones: bool) {
            let octets = if ones { [0xff; 28] } else { octets };
            prop_assert_eq!(Sum::of_array(&octets), Sum::of(&octets));
        }

        #[test]
        fn a_header_has_the_sum_of_its_octets(header: [u8; 20]) {
            prop_assert_eq!(Sum::of_ipv4(&header), Sum::of(&header));
        }

        #[test]
        fn a_header_behind_a_pseudo_header_has_the_sum_of_both(
            addresses: [u8; 8],
            len: u16,
            words in prop::collection::vec(any::<[u8; 4]>(), 0..16),
        ) {
            let [high, low] = len.to_be_bytes();
            let pseudo = [&addresses[..], &[0, 6]].concat();
            let whole = [&pseudo[..], &[high, low], &words.concat()].concat();
            let sum = Sum::of_header_behind(Sum::of(&pseudo), len.into(), &words.concat());
            prop_assert_eq!(sum, Sum::of(&whole));
        }

        #[test]
        fn sums_of_parts_are_the_sum_of_the_whole(a: Vec<u8>, b: Vec<u8>, c: Vec<u8>) {
            let whole = [a.clone(), b.clone(), c.clone()].concat();
            prop_assert_eq!(Sum::of(&a).then(Sum::of(&b)).then(Sum::of(&c)), Sum::of(&whole));
        }

        #[test]
        fn taking_the_head_away_leaves_the_tail(a: Vec<u8>, b: Vec<u8>) {
            let whole = Sum::of(&[a.clone(), b.clone()].concat());
            let tail = whole.without_head(Sum::of(&a));
            // Ones-complement zero has two forms; both mean the same.
            let same = |x: u16, y: u16| x == y || (x.is_multiple_of(0xffff) && y.is_multiple_of(0xffff));
            prop_assert!(same(tail.folded(), Sum::of(&b).folded()));
        }
    }
}
