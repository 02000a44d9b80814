//! Many independent sources of chance from one seed.

use stack::Rng;

/// A source for the purpose `name`: what one draws does not move what another does, so a fault that is switched off leaves
/// all others as they were.
#[must_use]
pub fn rng(seed: u64, name: &str) -> Rng {
    Rng::from_u64(derive(seed, name))
}

/// A seed for the purpose `name`.
#[must_use]
pub fn derive(seed: u64, name: &str) -> u64 {
    name.bytes()
        .fold(mix(seed), |h, octet| mix(h ^ u64::from(octet)))
}

/// A value that differs in about half of its bits if `x` differs in one (the finalizer of SplitMix64).
#[must_use]
pub const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What [`mix`] makes `x` of.
#[must_use]
pub const fn unmix(x: u64) -> u64 {
    let x = x ^ (x >> 31) ^ (x >> 62);
    let x = x.wrapping_mul(0x3196_42b2_d24d_8ec3);
    let x = x ^ (x >> 27) ^ (x >> 54);
    let x = x.wrapping_mul(0x96de_1b17_3f11_9089);
    let x = x ^ (x >> 30) ^ (x >> 60);
    x.wrapping_sub(0x9e37_79b9_7f4a_7c15)
}

/// Draws from a source.
pub trait Draw {
    /// A value in `low..=high`.
    fn between(&mut self, low: u32, high: u32) -> u32;
    /// Whether an event of so many percent happens.
    fn percent(&mut self, percent: u32) -> bool;
    /// One of `all`.
    fn pick<T: Copy>(&mut self, all: &[T]) -> T;
}

impl Draw for Rng {
    fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(u32::try_from(all.len()).unwrap_or(1)) as usize]
    }
}
