//! Randomness as an argument: one seeded ChaCha generator per core.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};

/// A cryptographic generator with an explicit seed: from the operating system in production, fixed in tests.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha12Rng);

impl Rng {
    /// A generator that is wholly determined by `seed`.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    /// A generator for tests and simulations, wholly determined by `seed`.
    #[must_use]
    pub fn from_u64(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    /// A uniformly distributed 32-bit value.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A uniformly distributed 64-bit value.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Fills `bytes` with random data.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A value in `0..bound`; 0 when `bound` is 0. The bias is below 2^-32.
    pub fn below(&mut self, bound: u32) -> u32 {
        u32::try_from((u64::from(self.u32()) * u64::from(bound)) >> 32).unwrap_or(0)
    }
}
