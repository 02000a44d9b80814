//! The document as a tree that keeps what a map would lose: the order of keys, and keys that are written twice.

use core::cell::Cell;
use core::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// The largest number of values in a document: anchors and aliases cannot make a short file fill the memory.
const VALUES_MAX: u32 = 100_000;

/// A value in the document.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Node {
    /// Nothing, `null` or `~`.
    Empty,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Decimal(f64),
    /// Anything else that is no list and no table.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// Keys with values, in the order of the document.
    Table(Vec<(String, Self)>),
}

impl Node {
    /// What the value is, for a sentence: `10` or `a list`.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Empty => "nothing".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Integer(value) => value.to_string(),
            Self::Decimal(value) => value.to_string(),
            Self::Text(text) => super::quoted(text),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }
}

/// Reads the document's one value.
///
/// # Errors
/// What the YAML parser says: a syntax error, a tag, too many values, too deep a nesting.
pub(super) fn read(source: &str) -> Result<Node, serde_yaml::Error> {
    let budget = Cell::new(VALUES_MAX);
    Value(&budget).deserialize(serde_yaml::Deserializer::from_str(source))
}

#[derive(Clone, Copy)]
struct Value<'b>(&'b Cell<u32>);

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Integer(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Integer(value))
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Node, E> {
        Ok(i128::try_from(value).map_or_else(|_| Node::Text(value.to_string()), Node::Integer))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Decimal(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Empty)
    }

    fn visit_none<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Empty)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            self.spend()?;
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut table = Vec::new();
        while let Some(key) = entries.next_key_seed(self)? {
            self.spend()?;
            let key = match key {
                Node::Text(text) => text,
                Node::Empty => "null".to_owned(),
                Node::List(_) | Node::Table(_) => {
                    return Err(de::Error::custom("a key that is a list or a table"));
                },
                other => other.describe(),
            };
            table.push((key, entries.next_value_seed(self)?));
        }
        Ok(Node::Table(table))
    }
}

impl Value<'_> {
    fn spend<E: de::Error>(self) -> Result<(), E> {
        let left = self.0.get().checked_sub(1);
        self.0.set(
            left.ok_or_else(|| de::Error::custom(format_args!("more than {VALUES_MAX} values")))?,
        );
        Ok(())
    }
}
