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

/// Declares an enumeration of counters: one row per counter, `Variant "its_name" "What is counted."`.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $vis:vis enum $name:ident { $($variant:ident $label:literal $help:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis enum $name { $(#[doc = $help] $variant,)+ }
        impl $crate::tally::Counted for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn index(self) -> usize { self as usize }
            fn name(self) -> &'static str { match self { $(Self::$variant => $label,)+ } }
            fn help(self) -> &'static str { match self { $(Self::$variant => $help,)+ } }
        }
    };
}
