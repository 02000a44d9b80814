//! Named counters. Each crate declares one table; code, `braidctl`, metrics and documents read that table.

use core::marker::PhantomData;

/// An enumeration whose values are counters. Implemented by [`counters!`](crate::counters!) alone.
pub trait Counted: Copy + 'static {
    /// Every counter, in the order of its table.
    const ALL: &'static [Self];
    /// The counter's place in [`Self::ALL`].
    fn index(self) -> usize;
    /// The name that operators read: lower case, words joined by `_`.
    fn name(self) -> &'static str;
    /// One sentence: what exactly is counted.
    fn help(self) -> &'static str;
    /// Whether it is a fate: what became of a received frame. Each frame has one, so the fates add up to what came in.
    fn is_fate(self) -> bool;
}

/// That a received frame has ended: its fate is counted, or will be by whoever has it wait. What takes a frame returns this,
/// so none is forgotten and none counted twice.
#[derive(Debug)]
#[must_use = "who took a frame tells its caller that it has ended"]
pub struct Ended(());

impl Ended {
    /// The frame waits. Who holds it calls [`Tally::end_waiting`] when it ends, or takes it up again as one that came in.
    pub const fn later() -> Self {
        Self(())
    }

    /// So has another frame, which had waited.
    pub const fn and(self, Self(()): Self) -> Self {
        self
    }

    /// All of these have, at least one.
    pub fn all(ends: impl Iterator<Item = Self>) -> Self {
        ends.fold(Self(()), Self::and)
    }
}

/// Frames of one fate, gathered on a path where each addition is felt.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gathering(u64);

impl Gathering {
    /// Ends one more. It is counted once [`Tally::settle`] is called.
    #[inline]
    pub const fn end(&mut self) -> Ended {
        self.0 += 1;
        Ended(())
    }

    /// Frames that have ended so and are not counted yet.
    #[must_use]
    pub const fn ended(&self) -> u64 {
        self.0
    }
}

/// One core's values of a table of counters.
#[derive(Clone, Debug)]
pub struct Tally<C> {
    values: Box<[u64]>,
    table: PhantomData<C>,
}

impl<C: Counted> Default for Tally<C> {
    fn default() -> Self {
        Self {
            values: vec![0; C::ALL.len()].into_boxed_slice(),
            table: PhantomData,
        }
    }
}

impl<C: Counted> Tally<C> {
    /// Counts one.
    pub fn count(&mut self, counter: C) {
        self.add(counter, 1);
    }

    /// Counts `n`.
    pub fn add(&mut self, counter: C, n: u64) {
        debug_assert!(!counter.is_fate(), "{} is a fate", counter.name());
        self.sum_up(counter, n);
    }

    /// Ends a received frame in `fate`.
    pub fn end(&mut self, fate: C) -> Ended {
        self.end_waiting(fate, 1);
        Ended(())
    }

    /// Ends `n` received frames that have waited.
    pub fn end_waiting(&mut self, fate: C, n: u64) {
        debug_assert!(fate.is_fate(), "{} is no fate", fate.name());
        self.sum_up(fate, n);
    }

    /// Counts what was gathered of `fate`.
    pub fn settle(&mut self, fate: C, gathered: &mut Gathering) {
        self.end_waiting(fate, core::mem::take(gathered).0);
    }

    /// Received frames that have ended.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.iter()
            .filter(|(counter, _)| counter.is_fate())
            .fold(0, |sum, (_, n)| sum.wrapping_add(n))
    }

    fn sum_up(&mut self, counter: C, n: u64) {
        if let Some(value) = self.values.get_mut(counter.index()) {
            *value = value.wrapping_add(n);
        }
    }

    /// The present value.
    #[must_use]
    pub fn get(&self, counter: C) -> u64 {
        self.values.get(counter.index()).copied().unwrap_or(0)
    }

    /// Every counter of the table with its value.
    pub fn iter(&self) -> impl Iterator<Item = (C, u64)> + '_ {
        C::ALL.iter().map(|&c| (c, self.get(c)))
    }
}

/// Declares an enumeration of counters: one row per counter, `Variant "its_name" "What is counted."`; of fates
/// `Variant: fate "its_name" "What became of a frame."`.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($variant:ident $(: $fate:ident)? $label:literal $help:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $(#[doc = $help] $variant,)+ }
        impl $crate::tally::Counted for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn index(self) -> usize { self as usize }
            fn name(self) -> &'static str { match self { $(Self::$variant => $label,)+ } }
            fn help(self) -> &'static str { match self { $(Self::$variant => $help,)+ } }
            fn is_fate(self) -> bool {
                match self { $(Self::$variant => $crate::counters!(@is_fate $($fate)?),)+ }
            }
        }
    };
    (@is_fate fate) => { true };
    (@is_fate) => { false };
}
