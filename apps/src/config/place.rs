//! Places in the document: their names for a sentence, and their lines in the source.

use core::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The way from the document's root to a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place(Vec<Step>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// The entry of a table by its ordinal, as a key may be there twice.
    Entry(usize, String),
    /// The item of a list.
    Item(usize),
}

impl Place {
    /// The place of the `index`-th entry of the table here.
    pub(super) fn entry(&self, index: usize, key: &str) -> Self {
        self.then(Step::Entry(index, key.to_owned()))
    }

    /// The place of the `index`-th item of the list here.
    pub(super) fn item(&self, index: usize) -> Self {
        self.then(Step::Item(index))
    }

    fn then(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The line, from 1, of the key (of an entry) or of the start of the value (of an item).
    ///
    /// serde gives no positions, but the parser puts one on the errors that a visitor returns. So this walks to the
    /// place and fails there on purpose: exact in block and in flow style, with comments, quotes and anchors.
    pub(super) fn line(&self, source: &str) -> usize {
        let walk = Walk(&self.0);
        match walk.deserialize(serde_yaml::Deserializer::from_str(source)) {
            Err(error) => error.location().map_or(1, |location| location.line()),
            Ok(()) => 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                Step::Entry(_, key) if n == 0 => write!(f, "{}", key.escape_debug())?,
                Step::Entry(_, key) => write!(f, ".{}", key.escape_debug())?,
                Step::Item(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Walks the steps and fails at their end; whatever else it meets is skipped.
#[derive(Clone, Copy)]
struct Walk<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

/// The error that carries the position; its text is never read.
fn here<E: de::Error>() -> E {
    de::Error::custom("here")
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(here())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let Some((&Step::Item(index), rest)) = self.0.split_first() else {
            return Err(here());
        };
        for _ in 0..index {
            items.next_element::<IgnoredAny>()?;
        }
        items.next_element_seed(Walk(rest))?;
        Err(here())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((&Step::Entry(index, _), rest)) = self.0.split_first() else {
            return Err(here());
        };
        for _ in 0..index {
            entries.next_entry::<IgnoredAny, IgnoredAny>()?;
        }
        if rest.is_empty() {
            entries.next_key_seed(Walk(&[]))?;
        } else {
            entries.next_key::<IgnoredAny>()?;
            entries.next_value_seed(Walk(rest))?;
        }
        Err(here())
    }
}
