//! Tokens in use, and a pool of keys drawn ahead of time.

use crate::counters::Counter;
use crate::crypto::{Key, LocalKey};
use crate::handshake::capable::Versions;
use crate::types::{Token, Version};
use core::hash::{BuildHasherDefault, Hasher};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use stack::{Rng, Tally};

/// Finds the connection that a token names: one per core, bounded.
#[derive(Debug)]
pub struct TokenTable<V> {
    map: HashMap<Token, V, BuildHasherDefault<TokenHasher>>,
    capacity: usize,
}

/// Why a token could not be entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Another connection has it: draw another key (RFC 8684 3.1).
    #[error("the token is in use")]
    Taken,
    /// The table holds as many tokens as it may.
    #[error("the token table is full")]
    Full,
}

impl<V: Copy> TokenTable<V> {
    /// A table for at most `capacity` tokens, allocated now.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            map: HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()),
            capacity,
        }
    }

    /// Enters a token.
    ///
    /// # Errors
    /// See [`TokenError`]; the table is then as before.
    pub fn insert(&mut self, token: Token, value: V) -> Result<(), TokenError> {
        let full = self.map.len() >= self.capacity;
        match self.map.entry(token) {
            Entry::Occupied(_) => Err(TokenError::Taken),
            Entry::Vacant(_) if full => Err(TokenError::Full),
            Entry::Vacant(vacant) => {
                vacant.insert(value);
                Ok(())
            },
        }
    }

    /// Changes what is entered under `token`, if it is in use.
    pub fn set(&mut self, token: Token, value: V) {
        if let Some(held) = self.map.get_mut(&token) {
            *held = value;
        }
    }

    /// What was entered under `token`.
    #[must_use]
    pub fn get(&self, token: Token) -> Option<V> {
        self.map.get(&token).copied()
    }

    /// Whether `token` is in use.
    #[must_use]
    pub fn contains(&self, token: Token) -> bool {
        self.map.contains_key(&token)
    }

    /// Frees a token.
    pub fn remove(&mut self, token: Token) -> Option<V> {
        self.map.remove(&token)
    }

    /// Tokens in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether no token is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }
}

/// Tokens that we enter are hashes of keys that we drew, so nobody else chooses them: spreading their bits is enough.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenHasher(u64);

impl Hasher for TokenHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u32(u32::from(byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        // The low bits of all our tokens are the core's: the multiplication carries the others over the whole word.
        let mixed = (self.0 ^ u64::from(value)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// Keys of one version whose tokens name the core, drawn off the packet path.
#[derive(Debug)]
pub struct KeyPool {
    version: Version,
    core: u32,
    core_bits: u8,
    ready: Vec<LocalKey>,
}

/// Most keys drawn for one connection before it goes without, times the patterns of the core's bits: of ten million
/// connections that find the pool empty, one finds no key.
const DRAWS_PER_PATTERN: u32 = 16;

impl KeyPool {
    /// An empty pool for up to `capacity` keys. The low `core_bits` (0..=16) bits of their tokens will be `core`.
    #[must_use]
    pub fn new(version: Version, core: u32, core_bits: u8, capacity: usize) -> Self {
        assert!(
            core_bits <= 16 && core < 1 << core_bits,
            "core {core} does not fit {core_bits} bits"
        );
        Self {
            version,
            core,
            core_bits,
            ready: Vec::with_capacity(capacity),
        }
    }

    /// Draws until the pool is full, but no more than `draws` times. Returns how many keys are ready.
    pub fn refill(&mut self, rng: &mut Rng, draws: u32) -> usize {
        for _ in 0..draws {
            if self.ready.len() == self.ready.capacity() {
                break;
            }
            self.ready.extend(self.draw(rng));
        }
        self.ready.len()
    }

    /// Fills the pool, and has those of `keys` be taken first whose tokens name the core. For tests in which data's numbers
    /// are to begin somewhere.
    pub fn put_first(&mut self, rng: &mut Rng, keys: &[Key]) {
        self.refill(rng, u32::MAX);
        for key in keys {
            let key = key.derive(self.version);
            if key.token.core(self.core_bits) == self.core && !self.ready.is_empty() {
                self.ready.swap_remove(0);
                self.ready.push(key);
            }
        }
    }

    /// Keys ready.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ready.len()
    }

    /// Whether no key is ready.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// A key whose token is not `taken`: a ready one, else one drawn now. `None` if the draws found none, which ends
    /// in a connection without MP_CAPABLE (RFC 8684 3.1).
    pub fn take(
        &mut self,
        rng: &mut Rng,
        counters: &mut Tally<Counter>,
        taken: impl Fn(Token) -> bool,
    ) -> Option<LocalKey> {
        let mut free = |key: &LocalKey| {
            let taken = taken(key.token);
            counters.add(Counter::TokenCollision, u64::from(taken));
            !taken
        };
        while let Some(key) = self.ready.pop() {
            if free(&key) {
                return Some(key);
            }
        }
        let drawn = (0..DRAWS_PER_PATTERN << self.core_bits)
            .filter_map(|_| self.draw(rng))
            .find(free)?;
        counters.count(Counter::KeyDrawnOnPath);
        Some(drawn)
    }

    fn draw(&self, rng: &mut Rng) -> Option<LocalKey> {
        let key = Key::draw(rng).derive(self.version);
        (key.token.core(self.core_bits) == self.core).then_some(key)
    }
}

/// A pool for each version that is spoken: the token is cut from the version's own hash.
#[derive(Debug)]
pub struct KeyPools {
    v0: KeyPool,
    v1: KeyPool,
}

impl KeyPools {
    /// Empty pools for up to `capacity` keys of each of `versions`; see [`KeyPool::new`].
    #[must_use]
    pub fn new(versions: Versions, core: u32, core_bits: u8, capacity: usize) -> Self {
        let pool = |version| {
            let capacity = if versions.has(version) { capacity } else { 0 };
            KeyPool::new(version, core, core_bits, capacity)
        };
        Self {
            v0: pool(Version::V0),
            v1: pool(Version::V1),
        }
    }

    /// Draws up to `draws` keys for each pool that is not full.
    pub fn refill(&mut self, rng: &mut Rng, draws: u32) {
        self.v0.refill(rng, draws);
        self.v1.refill(rng, draws);
    }

    /// Has `keys` be the first of `version`; see [`KeyPool::put_first`].
    pub fn put_first(&mut self, version: Version, rng: &mut Rng, keys: &[Key]) {
        self.of(version).put_first(rng, keys);
    }

    /// A key of `version`; see [`KeyPool::take`].
    pub fn take(
        &mut self,
        version: Version,
        rng: &mut Rng,
        counters: &mut Tally<Counter>,
        taken: impl Fn(Token) -> bool,
    ) -> Option<LocalKey> {
        self.of(version).take(rng, counters, taken)
    }

    const fn of(&mut self, version: Version) -> &mut KeyPool {
        match version {
            Version::V0 => &mut self.v0,
            Version::V1 => &mut self.v1,
        }
    }
}

#[cfg(test)]
mod tests;
