//! The timer wheel: schedule in O(1), expire in O(expired), whatever the number of entries.
//!
//! Entries are not cancelled and not moved. An owner whose deadline moved later leaves its entry where it is, finds
//! nothing due when it fires, and schedules the next one; one whose entry was removed is not found by its handle.

use crate::slab::Handle;
use crate::time::{Duration, Instant};

/// Levels of 64 slots, each slot as wide as the whole level below: together they span all of time.
const LEVELS: usize = 11;
const SLOTS: usize = 64;
const SLOT_BITS: usize = 6;

/// No node.
const NONE: u32 = u32::MAX;

/// An entry in its slot's list, or a free place in the list of those.
#[derive(Clone, Copy, Debug)]
struct Node<K> {
    key: K,
    tick: u64,
    next: u32,
}

/// Indices of nodes; [`NONE`] twice if the list is empty.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

const EMPTY: List = List {
    first: NONE,
    last: NONE,
};

#[derive(Clone, Copy, Debug)]
struct Level {
    occupied: u64,
    slots: [List; SLOTS],
}

/// A hierarchical timer wheel. An entry fires at the first [`Wheel::expired`] at or after its time, rounded up to
/// the granularity. Its memory grows to the most entries that it ever held at a time.
#[derive(Debug)]
pub struct Wheel<K = Handle> {
    granularity: u64,
    /// All ticks up to this one were expired.
    elapsed: u64,
    len: usize,
    levels: [Level; LEVELS],
    nodes: Vec<Node<K>>,
    free: u32,
}

impl<K: Copy> Default for Wheel<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Copy> Wheel<K> {
    /// A wheel with ticks of one millisecond.
    #[must_use]
    pub fn new() -> Self {
        Self::with_granularity(Duration::from_millis(1))
    }

    /// A wheel with ticks of `granularity`, at least one nanosecond.
    #[must_use]
    pub fn with_granularity(granularity: Duration) -> Self {
        Self {
            granularity: u64::try_from(granularity.as_nanos())
                .unwrap_or(u64::MAX)
                .max(1),
            elapsed: 0,
            len: 0,
            levels: [Level {
                occupied: 0,
                slots: [EMPTY; SLOTS],
            }; LEVELS],
            nodes: Vec::new(),
            free: NONE,
        }
    }

    /// Has `key` fire at `at`, in addition to whatever was scheduled before.
    ///
    /// # Panics
    /// There are 2^32 entries already.
    pub fn schedule(&mut self, key: K, at: Instant) {
        let tick = at.as_nanos().div_ceil(self.granularity);
        self.len += 1;
        let next = NONE;
        let node = Node { key, tick, next };
        let index = self.free;
        if index == NONE {
            let index = u32::try_from(self.nodes.len()).expect("fewer than 2^32 entries");
            self.nodes.push(node);
            self.place(index);
        } else {
            let place = &mut self.nodes[index as usize];
            self.free = core::mem::replace(place, node).next;
            self.place(index);
        }
    }

    /// Appends the keys of all entries due at `now` to `due`, the earliest tick first.
    pub fn expired(&mut self, now: Instant, due: &mut Vec<K>) {
        let now = now.as_nanos() / self.granularity;
        while let Some((level, slot, start)) = self.first_slot() {
            if start > now {
                break;
            }
            self.elapsed = self.elapsed.max(start);
            let level = &mut self.levels[level];
            level.occupied &= !(1 << slot);
            let mut at = core::mem::replace(&mut level.slots[slot], EMPTY).first;
            while at != NONE {
                let node = &mut self.nodes[at as usize];
                let next = core::mem::replace(&mut node.next, NONE);
                if node.tick <= self.elapsed {
                    due.push(node.key);
                    node.next = core::mem::replace(&mut self.free, at);
                    self.len -= 1;
                } else {
                    self.place(at);
                }
                at = next;
            }
        }
        self.elapsed = self.elapsed.max(now);
    }

    /// When [`Wheel::expired`] must be called next; nothing fires before it, though at it perhaps nothing does.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let (_, _, start) = self.first_slot()?;
        Some(Instant::from_nanos(start.saturating_mul(self.granularity)))
    }

    /// Entries scheduled and not fired yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no entry is scheduled.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a node to its slot. It belongs to the level of the highest digit (base 64) in which its tick differs from
    /// `elapsed`.
    fn place(&mut self, index: u32) {
        let tick = self.nodes[index as usize].tick.max(self.elapsed);
        let differing = (tick ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = (63 - differing.leading_zeros() as usize) / SLOT_BITS;
        let slot = Self::digit(tick, level);
        let level = &mut self.levels[level];
        level.occupied |= 1 << slot;
        let list = &mut level.slots[slot];
        let before = core::mem::replace(&mut list.last, index);
        if before == NONE {
            list.first = index;
        } else {
            self.nodes[before as usize].next = index;
        }
    }

    const fn digit(tick: u64, level: usize) -> usize {
        ((tick >> (level * SLOT_BITS)) & (SLOTS as u64 - 1)) as usize
    }

    /// The occupied slot that starts first: level, slot, and the tick it starts at. Lower levels lie before higher
    /// ones, and no occupied slot lies before the one of `elapsed`.
    fn first_slot(&self) -> Option<(usize, usize, u64)> {
        if self.len == 0 {
            return None;
        }
        let (number, level) = self
            .levels
            .iter()
            .enumerate()
            .find(|(_, level)| level.occupied != 0)?;
        let slot = level.occupied.trailing_zeros() as usize;
        let shift = number * SLOT_BITS;
        let above = if shift + SLOT_BITS >= 64 {
            0
        } else {
            (self.elapsed >> (shift + SLOT_BITS)) << (shift + SLOT_BITS)
        };
        Some((number, slot, above | ((slot as u64) << shift)))
    }
}

#[cfg(test)]
mod tests {
    use super::Wheel;
    use crate::time::{Duration, Instant};
    use proptest::prelude::*;

    #[test]
    fn an_entry_never_fires_early() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        wheel.schedule(1, Instant::from_nanos(1_500_000));
        wheel.expired(Instant::from_millis(1), &mut due);
        assert_eq!(due, []);
        assert_eq!(wheel.next_deadline(), Some(Instant::from_millis(2)));
        wheel.expired(Instant::from_millis(2), &mut due);
        assert_eq!(due, [1]);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn an_entry_in_the_past_fires_at_once() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        wheel.expired(Instant::from_millis(70_000), &mut due);
        wheel.schedule(1, Instant::from_millis(5));
        assert!(wheel.next_deadline() <= Some(Instant::from_millis(70_000)));
        wheel.expired(Instant::from_millis(70_000), &mut due);
        assert_eq!(due, [1]);
    }

    #[test]
    fn the_end_of_time_can_be_scheduled() {
        let mut wheel = Wheel::with_granularity(Duration::from_nanos(1));
        let mut due = Vec::new();
        wheel.schedule(1, Instant::from_nanos(u64::MAX));
        wheel.expired(Instant::from_nanos(u64::MAX - 1), &mut due);
        assert_eq!(due, []);
        wheel.expired(Instant::from_nanos(u64::MAX), &mut due);
        assert_eq!(due, [1]);
    }

    #[derive(Clone, Debug)]
    enum Op {
        Schedule(u64),
        Pass(u64),
        PassToDeadline,
    }

    fn op() -> impl Strategy<Value = Op> {
        let span = prop_oneof![0..70u64, 0..5_000u64, 0..20_000_000u64, 0..1u64 << 40];
        prop_oneof![
            3 => span.clone().prop_map(Op::Schedule),
            1 => span.prop_map(Op::Pass),
            1 => Just(Op::PassToDeadline),
        ]
    }

    #[test]
    fn memory_is_that_of_the_most_entries_at_a_time() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        for round in 0..1000u64 {
            for key in 0..10 {
                wheel.schedule(key, Instant::from_millis(round + 7 * key * key));
            }
            wheel.expired(Instant::from_millis(round + 1000), &mut due);
            assert!(wheel.is_empty());
        }
        assert_eq!((due.len(), wheel.nodes.len()), (10_000, 10));
    }

    proptest! {
        #[test]
        fn behaves_like_a_sorted_list(ops in prop::collection::vec(op(), 0..200)) {
            let mut wheel = Wheel::new();
            let mut model: Vec<(u64, usize)> = Vec::new();
            let mut now = 0;
            for (key, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Schedule(after) => {
                        wheel.schedule(key, Instant::from_millis(now + after));
                        model.push((now + after, key));
                        continue;
                    },
                    Op::Pass(time) => now += time,
                    Op::PassToDeadline => {
                        let first = model.iter().map(|&(at, _)| at).min();
                        let Some(next) = wheel.next_deadline() else {
                            prop_assert_eq!(first, None);
                            continue;
                        };
                        prop_assert!(Some(next.as_millis()) <= first, "the deadline comes after an entry");
                        now = now.max(next.as_millis());
                    },
                }
                let mut due = Vec::new();
                wheel.expired(Instant::from_millis(now), &mut due);
                let mut expected: Vec<_> = model.extract_if(.., |&mut (at, _)| at <= now).collect();
                expected.sort_unstable();
                due.sort_unstable();
                let mut keys: Vec<_> = expected.into_iter().map(|(_, key)| key).collect();
                keys.sort_unstable();
                prop_assert_eq!(due, keys);
                prop_assert_eq!(wheel.len(), model.len());
            }
        }

        #[test]
        fn following_the_deadlines_ends(at in 0..1u64 << 50) {
            let mut wheel = Wheel::new();
            wheel.schedule((), Instant::from_nanos(at));
            let mut due = Vec::new();
            for _ in 0..super::LEVELS {
                let Some(next) = wheel.next_deadline() else { break };
                wheel.expired(next, &mut due);
            }
            prop_assert_eq!(due.len(), 1);
        }
    }
}
