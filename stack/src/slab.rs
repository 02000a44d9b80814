//! A bounded arena: values behind handles that stop working when the value is removed.

use crate::chunks::Chunks;
use crate::prefetch::prefetch;

/// Names a value in a [`Slab`]; stale once that value was removed, whatever took its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle {
    /// The place in the slab.
    pub index: u32,
    /// How often that place had been vacated when the value went in.
    pub generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

/// Places come in chunks of 2^8.
const CHUNK_BITS: usize = 8;

/// At most a fixed number of values. Memory is taken in chunks as they are needed and kept from then on.
#[derive(Debug)]
pub struct Slab<T> {
    entries: Chunks<Entry<T>, CHUNK_BITS>,
    vacant: Vec<u32>,
    len: usize,
    capacity: usize,
}

impl<T> Slab<T> {
    /// An empty slab that will hold at most `capacity` values.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            entries: Chunks::default(),
            vacant: Vec::new(),
            len: 0,
            capacity: capacity.min(u32::MAX as usize),
        }
    }

    /// Takes `value` in; gives it back if the slab is full.
    pub fn insert(&mut self, value: T) -> Result<Handle, T> {
        if let Some(index) = self.vacant.pop() {
            let entry = &mut self.entries[index];
            entry.value = Some(value);
            let generation = entry.generation;
            self.len += 1;
            return Ok(Handle { index, generation });
        }
        if self.len >= self.capacity {
            return Err(value);
        }
        let Ok(index) = u32::try_from(self.len) else {
            return Err(value);
        };
        let entry = Entry {
            generation: 0,
            value: Some(value),
        };
        self.entries.push(entry, self.capacity);
        self.len += 1;
        Ok(Handle {
            index,
            generation: 0,
        })
    }

    /// How many places there are, taken or not: those of indices below this number.
    #[must_use]
    pub const fn places(&self) -> usize {
        self.entries.len()
    }

    /// Whatever is at `index` now, with its handle.
    #[must_use]
    pub fn at(&self, index: u32) -> Option<(Handle, &T)> {
        let entry = self.entries.get(index as usize)?;
        let handle = Handle {
            index,
            generation: entry.generation,
        };
        entry.value.as_ref().map(|value| (handle, value))
    }

    /// Has the processor fetch what [`Self::at`] will look at.
    pub fn prefetch(&self, index: u32) {
        if let Some(entry) = self.entries.get(index as usize) {
            prefetch(entry);
        }
    }

    /// The value that `handle` names, if it is still there.
    #[must_use]
    pub fn get(&self, handle: Handle) -> Option<&T> {
        let entry = self.entries.get(handle.index as usize)?;
        if entry.generation == handle.generation {
            entry.value.as_ref()
        } else {
            None
        }
    }

    /// The value that `handle` names, to be changed, if it is still there.
    pub fn get_mut(&mut self, handle: Handle) -> Option<&mut T> {
        let entry = self.entries.get_mut(handle.index as usize)?;
        if entry.generation == handle.generation {
            entry.value.as_mut()
        } else {
            None
        }
    }

    /// Takes out the value that `handle` names; the handle is stale from now on.
    pub fn remove(&mut self, handle: Handle) -> Option<T> {
        let entry = self.entries.get_mut(handle.index as usize)?;
        if entry.generation != handle.generation {
            return None;
        }
        let value = entry.value.take()?;
        entry.generation = entry.generation.wrapping_add(1);
        self.vacant.push(handle.index);
        self.len -= 1;
        Some(value)
    }

    /// Values that are in.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no value is in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Most values that can be in.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Every value with its handle, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Handle, &T)> {
        (0u32..)
            .zip(self.entries.iter())
            .filter_map(|(index, entry)| {
                let generation = entry.generation;
                let value = entry.value.as_ref()?;
                Some((Handle { index, generation }, value))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{Handle, Slab};
    use proptest::prelude::*;

    #[test]
    fn a_stale_handle_misses_what_took_the_place() {
        let mut slab = Slab::with_capacity(1);
        let old = slab.insert('a').unwrap();
        assert_eq!(slab.remove(old), Some('a'));
        let new = slab.insert('b').unwrap();
        assert_eq!(old.index, new.index);
        assert_eq!(slab.get(old), None);
        assert_eq!(slab.get_mut(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get(new), Some(&'b'));
    }

    #[test]
    fn a_full_slab_gives_the_value_back() {
        let mut slab = Slab::with_capacity(300);
        for value in 0..300 {
            slab.insert(value).unwrap();
        }
        assert_eq!(slab.insert(300), Err(300));
        assert_eq!(slab.len(), 300);
    }

    proptest! {
        #[test]
        fn behaves_like_a_list_of_handles(ops in prop::collection::vec((any::<bool>(), any::<u16>()), 0..600)) {
            let mut slab = Slab::with_capacity(270);
            let mut live: Vec<(Handle, u16)> = Vec::new();
            let mut dead: Vec<Handle> = Vec::new();
            for (insert, x) in ops {
                if insert || live.is_empty() {
                    match slab.insert(x) {
                        Ok(handle) => live.push((handle, x)),
                        Err(_) => prop_assert_eq!(live.len(), 270),
                    }
                } else {
                    let (handle, value) = live.swap_remove(usize::from(x) % live.len());
                    prop_assert_eq!(slab.remove(handle), Some(value));
                    dead.push(handle);
                }
            }
            prop_assert_eq!(slab.len(), live.len());
            for &(handle, value) in &live {
                prop_assert_eq!(slab.get(handle), Some(&value));
            }
            for handle in dead {
                prop_assert_eq!(slab.get(handle), None);
            }
            let mut listed: Vec<_> = slab.iter().map(|(handle, &value)| (handle, value)).collect();
            listed.sort_unstable();
            live.sort_unstable();
            prop_assert_eq!(listed, live);
        }
    }
}
