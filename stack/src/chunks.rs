//! A list that grows without ever moving what is in it.

use core::ops::{Index, IndexMut};

/// Values by number, in chunks of 2^`BITS`: memory is taken for one chunk at a time and kept. So growing costs the same
/// however many there are, and at most a chunk is unused.
#[derive(Clone, Debug)]
pub(crate) struct Chunks<T, const BITS: usize> {
    chunks: Vec<Vec<T>>,
    len: usize,
}

impl<T, const BITS: usize> Default for Chunks<T, BITS> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
        }
    }
}

impl<T, const BITS: usize> Chunks<T, BITS> {
    const MASK: usize = (1 << BITS) - 1;

    /// Appends `value`, where at most `capacity` are expected in all.
    pub(crate) fn push(&mut self, value: T, capacity: usize) {
        if self.len & Self::MASK == 0 {
            let room = (1 << BITS).min(capacity.saturating_sub(self.len).max(1));
            self.chunks.push(Vec::with_capacity(room));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(value);
            self.len += 1;
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index >> BITS)?.get(index & Self::MASK)
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.chunks
            .get_mut(index >> BITS)?
            .get_mut(index & Self::MASK)
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T, const BITS: usize> Index<u32> for Chunks<T, BITS> {
    type Output = T;
    fn index(&self, index: u32) -> &T {
        let index = index as usize;
        &self.chunks[index >> BITS][index & Self::MASK]
    }
}

impl<T, const BITS: usize> IndexMut<u32> for Chunks<T, BITS> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        let index = index as usize;
        &mut self.chunks[index >> BITS][index & Self::MASK]
    }
}
