//! The flow index: from the key of a received segment to a number that stands for its flow.
//!
//! It keeps no keys, as they stand in what the numbers name: the owner compares there. An entry is eight octets, and a
//! bucket of eight a cache line. A key has two buckets, so that a lookup reads two lines at most, whoever chose the keys;
//! where both are full others are moved to their second ones, a bounded number of them (partial-key cuckoo hashing: Fan et
//! al., "Cuckoo Filter", CoNEXT 2014). Keys are hashed under a secret, so nobody outside can choose which ones meet.

use crate::flow::FlowKey;
use crate::flow_table::{Full, hash};
use crate::prefetch::prefetch;
use rapidhash::v3::RapidSecrets;

/// Entries of a bucket.
const WAYS: usize = 8;

/// Entries that are moved at most to make room for a new one.
const MOVES_MAX: usize = 64;

/// Of ten places nine are used at most: up to there, moving a few entries always made room.
const FILLED: (usize, usize) = (9, 10);

/// Buckets beyond that: of a few alone one is easily both buckets of more keys than it has places.
const SPARE: usize = 8;

/// Tags of 0 are vacant places.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    tags: [u32; WAYS],
    values: [u32; WAYS],
}

const EMPTY: Bucket = Bucket {
    tags: [0; WAYS],
    values: [0; WAYS],
};

/// The hash of a key under the secret of one index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowHash(u64);

impl FlowHash {
    /// What tells the entries of a bucket apart; never 0.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    const fn tag(self) -> u32 {
        self.0 as u32 | 1
    }
}

/// Where an entry is.
type Place = (usize, usize);

/// At most a fixed number of flows, each a number.
pub struct FlowIndex {
    buckets: Vec<Bucket>,
    secrets: RapidSecrets,
    len: usize,
    capacity: usize,
    /// The way that is moved next.
    turn: usize,
}

impl FlowIndex {
    /// An empty index for at most `capacity` flows; `seed` is the secret. All memory is taken now.
    #[must_use]
    pub fn new(capacity: usize, seed: u64) -> Self {
        let buckets = (capacity * FILLED.1).div_ceil(FILLED.0 * WAYS) + SPARE;
        Self {
            buckets: vec![EMPTY; buckets],
            secrets: RapidSecrets::seed(seed),
            len: 0,
            capacity,
            turn: 0,
        }
    }

    /// The hash of `key`, by which all else is found.
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> FlowHash {
        FlowHash(hash(key, &self.secrets))
    }

    /// Has the processor fetch what [`Self::get`] will look at first.
    pub fn prefetch(&self, hash: FlowHash) {
        if let Some(bucket) = self.buckets.get(self.first(hash)) {
            prefetch(bucket);
        }
    }

    /// Has it fetch all that [`Self::get`] looks at where there is no such flow, and [`Self::insert`] where one is new.
    pub fn prefetch_new(&self, hash: FlowHash) {
        let first = self.first(hash);
        for at in [first, self.other(first, hash.tag())] {
            if let Some(bucket) = self.buckets.get(at) {
                prefetch(bucket);
            }
        }
    }

    /// What may be the value under `hash`: nearly always that one alone, but only the owner can tell.
    #[must_use]
    #[inline]
    pub fn get(&self, hash: FlowHash) -> Candidates<'_> {
        let first = self.first(hash);
        Candidates {
            index: self,
            tag: hash.tag(),
            first,
            at: first,
            ways: self.ways(first, hash.tag()),
        }
    }

    /// Enters `value` in place of the one of which `is` holds. `Err` if there is none and no room.
    pub fn insert(
        &mut self,
        hash: FlowHash,
        value: u32,
        is: impl FnMut(u32) -> bool,
    ) -> Result<(), Full> {
        if self.replace(hash, value, is) {
            return Ok(());
        }
        if self.len >= self.capacity {
            return Err(Full);
        }
        let (tag, first) = (hash.tag(), self.first(hash));
        let second = self.other(first, tag);
        match self.vacant(first).or_else(|| self.vacant(second)) {
            Some(place) => _ = self.put(place, (tag, value)),
            None => self.displace(second, (tag, value))?,
        }
        self.len += 1;
        Ok(())
    }

    /// Puts `value` where the one under `hash` is of which `is` holds; whether there was one.
    pub fn replace(&mut self, hash: FlowHash, value: u32, is: impl FnMut(u32) -> bool) -> bool {
        let place = self.find(hash, is);
        if let Some((bucket, way)) = place {
            self.buckets[bucket].values[way] = value;
        }
        place.is_some()
    }

    /// Takes out the value under `hash` of which `is` holds.
    pub fn remove(&mut self, hash: FlowHash, is: impl FnMut(u32) -> bool) -> Option<u32> {
        let place = self.find(hash, is)?;
        self.len -= 1;
        Some(self.put(place, (0, 0)).1)
    }

    /// Flows in the index.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no flow is in the index.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn find(&self, hash: FlowHash, mut is: impl FnMut(u32) -> bool) -> Option<Place> {
        let mut candidates = self.get(hash);
        loop {
            let place = candidates.next_place()?;
            if is(self.buckets[place.0].values[place.1]) {
                return Some(place);
            }
        }
    }

    #[inline]
    fn ways(&self, bucket: usize, tag: u32) -> u32 {
        self.buckets
            .get(bucket)
            .map_or(0, |bucket| same(&bucket.tags, tag))
    }

    /// The bucket that an entry goes to unless it is full.
    fn first(&self, hash: FlowHash) -> usize {
        self.within(hash.0 >> 32)
    }

    /// The other bucket of an entry that is in `bucket`: of the other one's, this is the other again.
    fn other(&self, bucket: usize, tag: u32) -> usize {
        // The sum of both buckets' numbers is the tag's alone.
        let mixed = u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let sum = self.within(mixed);
        if sum >= bucket {
            sum - bucket
        } else {
            sum + self.buckets.len() - bucket
        }
    }

    /// A number of 32 bits, brought below that of the buckets.
    fn within(&self, number: u64) -> usize {
        ((number * self.buckets.len() as u64) >> 32) as usize
    }

    fn vacant(&self, bucket: usize) -> Option<Place> {
        let ways = same(&self.buckets.get(bucket)?.tags, 0);
        (ways != 0).then(|| (bucket, first_way(ways)))
    }

    fn put(&mut self, (bucket, way): Place, (tag, value): (u32, u32)) -> (u32, u32) {
        let bucket = &mut self.buckets[bucket];
        let tag = core::mem::replace(&mut bucket.tags[way], tag);
        (tag, core::mem::replace(&mut bucket.values[way], value))
    }

    /// Puts an entry into `bucket`, which is full: one of those there goes to its other bucket, for which one may have to
    /// leave that, and so on. If that leads nowhere all is as before.
    fn displace(&mut self, bucket: usize, entry: (u32, u32)) -> Result<(), Full> {
        let mut path: [Place; MOVES_MAX] = [(0, 0); MOVES_MAX];
        let (mut entry, mut bucket) = (entry, bucket);
        for place in &mut path {
            self.turn = self.turn.wrapping_add(1);
            *place = (bucket, self.turn % WAYS);
            entry = self.put(*place, entry);
            bucket = self.other(bucket, entry.0);
            if let Some(vacant) = self.vacant(bucket) {
                self.put(vacant, entry);
                return Ok(());
            }
        }
        for place in path.into_iter().rev() {
            entry = self.put(place, entry);
        }
        Err(Full)
    }
}

/// Values whose tag is that of a key, one after another.
#[derive(Debug)]
pub struct Candidates<'a> {
    index: &'a FlowIndex,
    tag: u32,
    first: usize,
    /// The bucket that is looked at, and which of its ways are left.
    at: usize,
    ways: u32,
}

impl Candidates<'_> {
    #[inline]
    fn next_place(&mut self) -> Option<Place> {
        if self.ways == 0 {
            if self.at != self.first {
                return None;
            }
            self.at = self.index.other(self.first, self.tag);
            if self.at == self.first {
                return None;
            }
            self.ways = self.index.ways(self.at, self.tag);
            if self.ways == 0 {
                return None;
            }
        }
        let way = first_way(self.ways);
        self.ways &= self.ways - 1;
        Some((self.at, way))
    }
}

impl Iterator for Candidates<'_> {
    type Item = u32;
    #[inline]
    fn next(&mut self) -> Option<u32> {
        let (bucket, way) = self.next_place()?;
        Some(self.index.buckets.get(bucket)?.values[way])
    }
}

/// A bit for each of `tags` that is `tag`. No branch depends on which it is.
#[inline]
fn same(tags: &[u32; WAYS], tag: u32) -> u32 {
    let bits = tags.iter().enumerate();
    bits.fold(0, |ways, (way, at)| ways | u32::from(*at == tag) << way)
}

/// The first way that [`same`] found.
const fn first_way(ways: u32) -> usize {
    ways.trailing_zeros() as usize
}

impl core::fmt::Debug for FlowIndex {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "FlowIndex({} of {})", self.len, self.capacity)
    }
}

#[cfg(test)]
mod tests;
