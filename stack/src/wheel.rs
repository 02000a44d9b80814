//! The timer wheel: set, move and stop in O(1), expire in O(expired), whatever the number of timers.
//!
//! Each owner has one entry at most and keeps its [`Alarm`]. A deadline that moves later leaves the entry where it is, and is noted
//! there: when its turn comes the entry moves on, and the owner is not looked at. So what restarts a timer costs a comparison, and
//! timers that are set and stopped all the time, as those of TCP, cost little even where each owner has left the cache meanwhile.

use crate::chunks::Chunks;
use crate::slab::Handle;
use crate::time::{Duration, Instant};

/// Levels of 64 slots, each slot as wide as the whole level below: together they span all of time.
const LEVELS: usize = 11;
const SLOTS: usize = 64;
const SLOT_BITS: usize = 6;

/// No node.
const NONE: u32 = u32::MAX;

/// The slot of a node that is in no slot's ring: it has fired, or is free.
const NOWHERE: u16 = u16::MAX;

/// An entry in its slot's ring, one that has fired, or a free place in the list of those.
#[derive(Clone, Copy, Debug)]
struct Node<K> {
    /// The lower half of the tick where it stands, at which its turn comes. Never after `due`.
    tick: u32,
    /// The same of when it is to fire.
    due: u32,
    key: K,
    next: u32,
    prev: u32,
    slot: u16,
}

/// How many ticks ahead an entry is due at most, so that the lower halves of two ticks tell which is the earlier: one that is due
/// later fires early.
const AHEAD_MAX: u64 = 1 << 30;

/// What an owner keeps of its entry in a [`Wheel`]: where it is, and when it fires. Unset to begin with.
#[derive(Clone, Copy, Debug)]
pub struct Alarm {
    /// The lower half of the tick where its entry stood when it was last set. If that is over the entry has moved on, or fired.
    tick: u32,
    node: u32,
}

impl Default for Alarm {
    fn default() -> Self {
        Self::UNSET
    }
}

impl Alarm {
    /// One that is not set.
    pub const UNSET: Self = Self {
        tick: 0,
        node: NONE,
    };

    /// Whether it is set, or has fired and was not disarmed.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.node != NONE
    }
}

/// A hierarchical timer wheel. An entry fires at the first [`Wheel::expired`] at or after its time, rounded up to
/// the granularity, but no more than 2^30 ticks (12 days at one millisecond) after it was set. Its memory grows to the
/// most entries that it ever held at a time.
#[derive(Debug)]
pub struct Wheel<K = Handle> {
    granularity: u64,
    /// All ticks up to this one were expired.
    elapsed: u64,
    len: usize,
    /// For each level, its slots that have entries.
    occupied: [u64; LEVELS],
    /// The first node of each slot's ring.
    slots: [u32; LEVELS * SLOTS],
    nodes: Chunks<Node<K>, 10>,
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
            occupied: [0; LEVELS],
            slots: [NONE; LEVELS * SLOTS],
            nodes: Chunks::default(),
            free: NONE,
        }
    }

    /// Has `key` fire at `at`, and not when it would have. One that has fired is left to its owner, who has yet to see that.
    ///
    /// # Panics
    /// There are 2^32 - 1 entries already.
    pub fn arm(&mut self, alarm: &mut Alarm, key: K, at: Instant) {
        let tick = at.as_nanos().div_ceil(self.granularity);
        let tick = low(tick.clamp(self.elapsed, self.elapsed.saturating_add(AHEAD_MAX)));
        if !alarm.is_set() {
            alarm.node = self.take_node(key);
        } else if is_before(low(self.elapsed), alarm.tick) && !is_before(tick, alarm.tick) {
            self.nodes[alarm.node].due = tick;
            return;
        } else {
            let node = &mut self.nodes[alarm.node];
            if node.slot == NOWHERE {
                return;
            }
            if !is_before(tick, node.tick) {
                (alarm.tick, node.due) = (node.tick, tick);
                return;
            }
            self.unlink(alarm.node);
        }
        alarm.tick = tick;
        let node = &mut self.nodes[alarm.node];
        (node.tick, node.due) = (tick, tick);
        self.place(alarm.node);
    }

    /// Stops the timer, whether it has fired or not. Does nothing if it is not set.
    pub fn disarm(&mut self, alarm: &mut Alarm) {
        let index = core::mem::replace(&mut alarm.node, NONE);
        if index == NONE {
            return;
        }
        self.unlink(index);
        self.nodes[index].next = core::mem::replace(&mut self.free, index);
        self.len -= 1;
    }

    /// Appends the keys of all entries due at `now` to `due`, the earliest tick first. Each one's owner is to
    /// [disarm](Self::disarm) its alarm, which has its place until then, and may arm it anew.
    pub fn expired(&mut self, now: Instant, due: &mut Vec<K>) {
        let now = now.as_nanos() / self.granularity;
        while let Some((slot, start)) = self.first_slot() {
            if start > now {
                break;
            }
            self.elapsed = self.elapsed.max(start);
            let elapsed = low(self.elapsed);
            let first = core::mem::replace(&mut self.slots[slot], NONE);
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
            let mut at = first;
            loop {
                let node = &mut self.nodes[at];
                let next = node.next;
                if !is_before(elapsed, node.due) {
                    node.slot = NOWHERE;
                    due.push(node.key);
                } else {
                    if !is_before(elapsed, node.tick) {
                        node.tick = node.due;
                    }
                    self.place(at);
                }
                at = next;
                if at == first {
                    break;
                }
            }
        }
        self.elapsed = self.elapsed.max(now);
    }

    /// When [`Wheel::expired`] must be called next; nothing fires before it, though at it perhaps nothing does.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let (_, start) = self.first_slot()?;
        Some(Instant::from_nanos(start.saturating_mul(self.granularity)))
    }

    /// Alarms that are set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no alarm is set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn take_node(&mut self, key: K) -> u32 {
        self.len += 1;
        let node = Node {
            tick: 0,
            due: 0,
            key,
            next: NONE,
            prev: NONE,
            slot: NOWHERE,
        };
        let index = self.free;
        if index == NONE {
            let index = u32::try_from(self.nodes.len()).ok();
            let index = index.filter(|&index| index != NONE);
            self.nodes.push(node, usize::MAX);
            return index.expect("fewer than 2^32 entries");
        }
        self.free = core::mem::replace(&mut self.nodes[index], node).next;
        index
    }

    /// Appends a node to its slot. It belongs to the level of the highest digit (base 64) in which its tick differs from
    /// `elapsed`.
    fn place(&mut self, index: u32) {
        let ahead = self.nodes[index].tick.wrapping_sub(low(self.elapsed));
        let tick = self.elapsed.saturating_add(u64::from(ahead));
        let differing = (tick ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = (63 - differing.leading_zeros() as usize) / SLOT_BITS;
        let digit = Self::digit(tick, level);
        self.occupied[level] |= 1 << digit;
        let slot = level * SLOTS + digit;
        let first = self.slots[slot];
        let (prev, next) = if first == NONE {
            self.slots[slot] = index;
            (index, index)
        } else {
            let last = core::mem::replace(&mut self.nodes[first].prev, index);
            self.nodes[last].next = index;
            (last, first)
        };
        let node = &mut self.nodes[index];
        (node.prev, node.next) = (prev, next);
        node.slot = u16::try_from(slot).unwrap_or(NOWHERE);
    }

    /// Takes a node out of its slot's ring, if it is in one.
    fn unlink(&mut self, index: u32) {
        let Node {
            next, prev, slot, ..
        } = self.nodes[index];
        if slot == NOWHERE {
            return;
        }
        self.nodes[index].slot = NOWHERE;
        let slot = usize::from(slot);
        if next == index {
            self.slots[slot] = NONE;
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
            return;
        }
        self.nodes[prev].next = next;
        self.nodes[next].prev = prev;
        if self.slots[slot] == index {
            self.slots[slot] = next;
        }
    }

    const fn digit(tick: u64, level: usize) -> usize {
        ((tick >> (level * SLOT_BITS)) & (SLOTS as u64 - 1)) as usize
    }

    /// The occupied slot that starts first, and the tick it starts at. Lower levels lie before higher ones, and no
    /// occupied slot lies before the one of `elapsed`.
    fn first_slot(&self) -> Option<(usize, u64)> {
        let level = self.occupied.iter().position(|&occupied| occupied != 0)?;
        let digit = self.occupied[level].trailing_zeros() as usize;
        let shift = level * SLOT_BITS;
        let above = if shift + SLOT_BITS >= 64 {
            0
        } else {
            (self.elapsed >> (shift + SLOT_BITS)) << (shift + SLOT_BITS)
        };
        Some((level * SLOTS + digit, above | ((digit as u64) << shift)))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
const fn low(tick: u64) -> u32 {
    tick as u32
}

/// Whether the tick with the lower half `a` comes before that with `b`; they are less than 2^31 apart.
const fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

#[cfg(test)]
mod tests {
    use super::{AHEAD_MAX, Alarm, Wheel};
    use crate::time::{Duration, Instant};
    use proptest::prelude::*;

    /// An entry of `key` at `at`, its alarm dropped: it fires once and is never moved.
    fn schedule<K: Copy>(wheel: &mut Wheel<K>, key: K, at: Instant) -> Alarm {
        let mut alarm = Alarm::default();
        wheel.arm(&mut alarm, key, at);
        alarm
    }

    #[test]
    fn an_entry_never_fires_early() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        schedule(&mut wheel, 1, Instant::from_nanos(1_500_000));
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
        schedule(&mut wheel, 1, Instant::from_millis(5));
        assert!(wheel.next_deadline() <= Some(Instant::from_millis(70_000)));
        wheel.expired(Instant::from_millis(70_000), &mut due);
        assert_eq!(due, [1]);
    }

    #[test]
    fn the_end_of_time_can_be_scheduled() {
        let mut wheel = Wheel::with_granularity(Duration::from_nanos(1));
        let mut due = Vec::new();
        wheel.expired(Instant::from_nanos(u64::MAX - AHEAD_MAX), &mut due);
        schedule(&mut wheel, 1, Instant::from_nanos(u64::MAX));
        wheel.expired(Instant::from_nanos(u64::MAX - 1), &mut due);
        assert_eq!(due, []);
        wheel.expired(Instant::from_nanos(u64::MAX), &mut due);
        assert_eq!(due, [1]);
    }

    #[test]
    fn what_is_too_far_ahead_fires_early() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        let mut alarm = schedule(&mut wheel, 1, Instant::from_nanos(u64::MAX));
        wheel.arm(&mut alarm, 1, Instant::from_millis(AHEAD_MAX + 5));
        wheel.expired(Instant::from_millis(AHEAD_MAX - 1), &mut due);
        assert_eq!(due, []);
        wheel.expired(Instant::from_millis(AHEAD_MAX), &mut due);
        assert_eq!(due, [1]);
    }

    #[test]
    fn an_entry_fires_when_it_was_last_set_to() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        let mut alarm = schedule(&mut wheel, 1, Instant::from_millis(5_000));
        wheel.arm(&mut alarm, 1, Instant::from_millis(300));
        wheel.arm(&mut alarm, 1, Instant::from_millis(9_000));
        wheel.expired(Instant::from_millis(301), &mut due);
        // It has moved on by itself, and is moved from there.
        wheel.arm(&mut alarm, 1, Instant::from_millis(400));
        wheel.expired(Instant::from_millis(399), &mut due);
        assert_eq!(due, []);
        wheel.expired(Instant::from_millis(400), &mut due);
        assert_eq!((due.len(), wheel.len()), (1, 1), "its place is kept");
        wheel.disarm(&mut alarm);
        assert_eq!((alarm.is_set(), wheel.len()), (false, 0));
    }

    #[test]
    fn what_has_fired_is_left_to_its_owner() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        let mut alarm = schedule(&mut wheel, 1, Instant::from_millis(300));
        wheel.expired(Instant::from_millis(300), &mut due);
        wheel.arm(&mut alarm, 1, Instant::from_millis(400));
        wheel.expired(Instant::from_millis(1_000), &mut due);
        assert_eq!(due, [1], "once");
        wheel.disarm(&mut alarm);
        wheel.arm(&mut alarm, 1, Instant::from_millis(1_100));
        wheel.expired(Instant::from_millis(1_100), &mut due);
        assert_eq!(due, [1, 1]);
    }

    #[test]
    fn an_owner_that_ends_after_its_entry_fired_disturbs_nobody() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        let mut fired = schedule(&mut wheel, 1, Instant::from_millis(1));
        wheel.expired(Instant::from_millis(1), &mut due);
        let mut other = schedule(&mut wheel, 2, Instant::from_millis(9));
        wheel.disarm(&mut fired);
        schedule(&mut wheel, 3, Instant::from_millis(9));
        wheel.disarm(&mut other);
        due.clear();
        wheel.expired(Instant::from_millis(9), &mut due);
        assert_eq!(due, [3]);
    }

    #[test]
    fn memory_is_that_of_the_most_entries_at_a_time() {
        let mut wheel = Wheel::new();
        let mut due = Vec::new();
        for round in 0..1000u64 {
            let mut alarms = [Alarm::default(); 10];
            for (key, alarm) in (0..).zip(&mut alarms) {
                wheel.arm(alarm, key, Instant::from_millis(round + 7 * key * key));
            }
            wheel.expired(Instant::from_millis(round + 1000), &mut due);
            for alarm in &mut alarms {
                wheel.disarm(alarm);
            }
            assert!(wheel.is_empty());
        }
        assert_eq!((due.len(), wheel.nodes.len()), (10_000, 10));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Arm(usize, u64),
        Disarm(usize),
        Pass(u64),
        PassToDeadline,
    }

    /// Owners in the property test: few enough that operations meet.
    const OWNERS: usize = 24;

    fn op() -> impl Strategy<Value = Op> {
        let span = prop_oneof![0..70u64, 0..5_000u64, 0..20_000_000u64, 0..=AHEAD_MAX / 8];
        prop_oneof![
            4 => (0..OWNERS, span.clone()).prop_map(|(owner, after)| Op::Arm(owner, after)),
            1 => (0..OWNERS).prop_map(Op::Disarm),
            1 => span.prop_map(Op::Pass),
            1 => Just(Op::PassToDeadline),
        ]
    }

    proptest! {
        #[test]
        fn behaves_like_a_list_of_deadlines(ops in prop::collection::vec(op(), 0..300)) {
            let mut wheel = Wheel::new();
            let mut alarms = [Alarm::default(); OWNERS];
            let mut model: [Option<u64>; OWNERS] = [None; OWNERS];
            let mut now = 0;
            for op in ops {
                match op {
                    Op::Arm(owner, after) => {
                        let at = now + after;
                        wheel.arm(&mut alarms[owner], owner, Instant::from_millis(at));
                        model[owner] = Some(at);
                        continue;
                    },
                    Op::Disarm(owner) => {
                        wheel.disarm(&mut alarms[owner]);
                        model[owner] = None;
                        continue;
                    },
                    Op::Pass(time) => now += time,
                    Op::PassToDeadline => {
                        let first = model.iter().flatten().min().copied();
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
                for &owner in &due {
                    prop_assert!(model[owner].take().is_some_and(|at| at <= now));
                    wheel.disarm(&mut alarms[owner]);
                }
                prop_assert!(model.iter().flatten().all(|&at| at > now));
                prop_assert_eq!(wheel.len(), model.iter().flatten().count());
            }
        }

        #[test]
        fn following_the_deadlines_ends(at in 0..AHEAD_MAX * 1_000_000) {
            let mut wheel = Wheel::new();
            schedule(&mut wheel, (), Instant::from_nanos(at));
            let mut due = Vec::new();
            for _ in 0..super::LEVELS {
                let Some(next) = wheel.next_deadline() else { break };
                wheel.expired(next, &mut due);
            }
            prop_assert_eq!(due.len(), 1);
        }
    }
}
