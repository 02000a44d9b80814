//! Where in the file a value stands.
//!
//! serde gives no positions, but the parser puts one on the errors that a visitor returns. So this walks to the place and fails
//! there on purpose: exact in block and in flow style, with comments, quotes and anchors.

use core::fmt;
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A step on the way from the document's root to a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of a key.
    Key(&'static str),
    /// An item of a list; what is no list is its only item.
    Item(usize),
}

/// The line, from 1, of the key or the item at `place`; that of what it should stand in if it is not there.
pub(super) fn line_of(place: &[Step], source: &str) -> usize {
    match Walk(place).deserialize(serde_yaml::Deserializer::from_str(source)) {
        Err(error) => error.location().map_or(1, |location| location.line()),
        Ok(()) => 1,
    }
}

/// The error that carries the position; its text is never read.
fn here<E: Error>() -> E {
    Error::custom("here")
}

/// Walks the steps and fails at their end.
#[derive(Clone, Copy)]
struct Walk<'p>(&'p [Step]);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the place")
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
        let mut steps = self.0;
        if let [Step::Item(_), rest @ ..] = steps {
            steps = rest;
        }
        let [Step::Key(name), rest @ ..] = steps else {
            return Err(here());
        };
        let last = rest.is_empty();
        while let Some(found) = entries.next_key_seed(Key { name, last })? {
            if found {
                entries.next_value_seed(Walk(rest))?;
                return Err(here());
            }
            entries.next_value::<IgnoredAny>()?;
        }
        Err(here())
    }
}

/// Tells whether a key is the one that is looked for; fails there if it is and the `last` step.
struct Key<'p> {
    name: &'p str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<bool, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<bool, E> {
        let found = text == self.name;
        if found && self.last {
            return Err(here());
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Step::{Item, Key};

    #[test]
    fn keys_and_items_are_found_in_either_style() {
        let text = "# a file\nports:\n  - { name: a }\n  - name: b\n    mtu: 9\nclient: [ { to: x,\n  rate: 5 },\n { to: y } ]\n";
        for (place, line) in [
            (&[Key("ports")][..], 2),
            (&[Key("ports"), Item(0), Key("name")], 3),
            (&[Key("ports"), Item(1), Key("mtu")], 5),
            (&[Key("client"), Item(0), Key("rate")], 7),
            (&[Key("client"), Item(1), Key("to")], 8),
        ] {
            assert_eq!(line_of(place, text), line, "{place:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_its_only_item_and_what_is_missing_would_stand_in_it() {
        let text = "a: 1\nclient:\n  to: x\n  rate: 5\n";
        assert_eq!(line_of(&[Key("client"), Item(0), Key("rate")], text), 4);
        assert_eq!(line_of(&[Key("client"), Item(0), Key("name")], text), 3);
    }
}
