//! Reads tables and scalars from the tree, and collects what is wrong with them instead of stopping at it.

use core::net::IpAddr;
use core::ops::RangeInclusive;
use stack::time::Duration;

use ipnet::IpNet;

use super::place::Place;
use super::tree::Node;
use super::types::BoxKind;
use super::{hint, quoted};

/// A value and where it stands, for what can only be checked later.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A mistake whose line is not yet known.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) place: Place,
    pub(super) what: String,
    pub(super) instead: String,
}

/// The mistakes so far.
#[derive(Debug)]
pub(super) struct Reader {
    /// Which box the file is for.
    pub(super) kind: BoxKind,
    pub(super) found: Vec<Found>,
    pub(super) warnings: Vec<Found>,
}

impl Reader {
    /// Nothing found yet in a file for `kind`.
    pub(super) const fn new(kind: BoxKind) -> Self {
        Self {
            kind,
            found: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Notes a mistake.
    pub(super) fn wrong(
        &mut self,
        place: &Place,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        self.found.push(Found {
            place: place.clone(),
            what: what.into(),
            instead: instead.into(),
        });
    }

    /// Notes what is legal and probably not meant.
    pub(super) fn warn(
        &mut self,
        place: &Place,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        self.warnings.push(Found {
            place: place.clone(),
            what: what.into(),
            instead: instead.into(),
        });
    }

    fn not(&mut self, at: &At<&Node>, is_no: &str, instead: &str) {
        let what = format!("{} is {is_no}", at.value.describe());
        self.wrong(&at.place, what, instead);
    }

    /// Opens a table; every key that is not in `keys`, and every key that is there twice, is a mistake.
    pub(super) fn table<'n>(
        &mut self,
        at: At<&'n Node>,
        keys: &'static [&'static str],
    ) -> Option<Table<'n>> {
        let Node::Table(entries) = at.value else {
            let instead = format!("write keys with values: {}", keys.join(", "));
            self.not(&at, "no table", &instead);
            return None;
        };
        let mut table = Table {
            place: at.place,
            entries,
            guessed: Vec::new(),
        };
        for (n, (key, _)) in entries.iter().enumerate() {
            let place = table.place.entry(n, key);
            if !keys.contains(&key.as_str()) {
                let guess = hint::nearest(key, keys).filter(|guess| table.find(guess).is_none());
                table.guessed.extend(guess);
                let instead = guess.map_or_else(
                    || format!("the keys here are {}", keys.join(", ")),
                    |guess| format!("did you mean \"{guess}\"?"),
                );
                self.wrong(&place, "unknown key", instead);
            } else if entries.iter().take(n).any(|(earlier, _)| earlier == key) {
                self.wrong(&place, "this key is here twice", "keep one of them");
            }
        }
        Some(table)
    }

    /// The items of a list.
    pub(super) fn list<'n>(&mut self, at: &At<&'n Node>, instead: &str) -> Vec<At<&'n Node>> {
        let Node::List(items) = at.value else {
            self.not(at, "no list", instead);
            return Vec::new();
        };
        let item = |(n, value)| At {
            value,
            place: at.place.item(n),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// Text that is not empty, at most 200 characters long, without control characters.
    pub(super) fn text(&mut self, at: At<&Node>, instead: &str) -> Option<At<String>> {
        match at.value {
            Node::Text(text)
                if !text.is_empty()
                    && text.chars().count() <= 200
                    && !text.chars().any(char::is_control) =>
            {
                Some(At {
                    value: text.clone(),
                    place: at.place,
                })
            },
            Node::Text(_) => {
                self.not(&at, "empty, too long, or has control characters", instead);
                None
            },
            Node::Integer(_) | Node::Decimal(_) | Node::Bool(_) => {
                let instead = format!("put it in quotes: \"{}\"", at.value.describe());
                self.not(&at, "not text", &instead);
                None
            },
            _ => {
                self.not(&at, "not text", instead);
                None
            },
        }
    }

    /// `true` or `false`.
    pub(super) fn boolean(&mut self, at: &At<&Node>) -> Option<bool> {
        if let Node::Bool(value) = at.value {
            return Some(*value);
        }
        self.not(at, "neither true nor false", "write true or false");
        None
    }

    /// A whole number in `range`.
    pub(super) fn integer<T>(&mut self, at: &At<&Node>, range: RangeInclusive<T>) -> Option<T>
    where
        T: Copy + Into<i128> + TryFrom<i128>,
    {
        let (low, high) = ((*range.start()).into(), (*range.end()).into());
        let value = match at.value {
            Node::Integer(value) if (low..=high).contains(value) => T::try_from(*value).ok(),
            _ => None,
        };
        if value.is_none() {
            let is_no = match at.value {
                Node::Integer(value) if *value < low => "too small",
                Node::Integer(_) => "too large",
                _ => "no whole number",
            };
            let instead = format!("write a whole number from {low} to {high}");
            self.not(at, is_no, &instead);
        }
        value
    }

    /// One of `choices`, by its name.
    pub(super) fn choice<T: Copy>(
        &mut self,
        at: &At<&Node>,
        choices: &'static [(&'static str, T)],
    ) -> Option<T> {
        let written = match at.value {
            Node::Text(text) => text.as_str(),
            // YAML has many spellings of a truth value; here they are words like others.
            Node::Bool(true) => "yes",
            Node::Bool(false) => "no",
            _ => "",
        };
        let choice = choices.iter().find(|(name, _)| *name == written);
        if choice.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let instead = hint::nearest(written, &names).map_or_else(
                || format!("write {}", names.join(" or ")),
                |guess| format!("did you mean {guess}? (there is {})", names.join(", ")),
            );
            self.not(at, "not a choice here", &instead);
        }
        choice.map(|(_, value)| *value)
    }

    /// A number of octets: a whole number, or one with KiB, MiB or GiB.
    pub(super) fn octets(&mut self, at: &At<&Node>, range: RangeInclusive<u64>) -> Option<u64> {
        let value = match at.value {
            Node::Integer(value) => u64::try_from(*value).ok(),
            Node::Text(text) => hint::octets(text),
            _ => None,
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = (
                hint::show_octets(*range.start()),
                hint::show_octets(*range.end()),
            );
            let instead = format!("write a size from {low} to {high}, such as 512KiB or 4MiB");
            self.not(at, "no size that fits here", &instead);
        }
        value
    }

    /// Bits per second: a whole number with kbit/s, Mbit/s or Gbit/s.
    pub(super) fn rate(&mut self, at: &At<&Node>, range: RangeInclusive<u64>) -> Option<u64> {
        let value = match at.value {
            Node::Text(text) => hint::rate(text),
            _ => None,
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = (
                hint::show_rate(*range.start()),
                hint::show_rate(*range.end()),
            );
            let instead = format!("write a rate from {low} to {high}, such as 10Mbit/s");
            self.not(at, "no rate that fits here", &instead);
        }
        value
    }

    /// A length of time with its unit: ms, s, m or h.
    pub(super) fn duration(
        &mut self,
        at: &At<&Node>,
        range: RangeInclusive<Duration>,
    ) -> Option<Duration> {
        let value = match at.value {
            Node::Text(text) => hint::duration(text),
            Node::Integer(0) => Some(Duration::ZERO),
            _ => None,
        };
        let value = value.filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = (
                hint::show_duration(*range.start()),
                hint::show_duration(*range.end()),
            );
            let instead = format!(
                "write a time with its unit (ms, s, m, h) from {low} to {high}, such as 10s"
            );
            self.not(at, "no time that fits here", &instead);
        }
        value
    }

    /// An IP address of a host, without a prefix length.
    pub(super) fn address(&mut self, at: At<&Node>) -> Option<At<IpAddr>> {
        let instead = "write an address such as 10.1.0.1 or \"fd00::1\"";
        let Node::Text(text) = at.value else {
            self.not(&at, "no address", instead);
            return None;
        };
        match text.parse::<IpAddr>() {
            Ok(value) => self.host(At {
                value,
                place: at.place,
            }),
            Err(_) if text.parse::<IpNet>().is_ok() => {
                let bare = text.split('/').next().unwrap_or(text);
                let instead = format!("leave the prefix length out: {}", quoted(bare));
                self.not(&at, "a network, not an address", &instead);
                None
            },
            Err(_) => {
                self.not(&at, "no address", instead);
                None
            },
        }
    }

    /// Refuses addresses that no single host of the network can have.
    pub(super) fn host(&mut self, at: At<IpAddr>) -> Option<At<IpAddr>> {
        let kind = match at.value {
            address if address.is_unspecified() => "the unspecified address",
            address if address.is_multicast() => "a multicast address",
            address if address.is_loopback() => "a loopback address",
            IpAddr::V4(address) if address.is_broadcast() => "a broadcast address",
            IpAddr::V6(address) if address.is_unicast_link_local() => "a link-local address",
            IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => "an IPv4-mapped address",
            _ => return Some(at),
        };
        let what = format!("{} is {kind}", at.value);
        self.wrong(
            &at.place,
            what,
            "write the address of one host that others can reach",
        );
        None
    }

    /// A prefix, `10.1.0.0/24`, which may have host bits set.
    pub(super) fn prefix(&mut self, at: At<&Node>, example: &str) -> Option<At<IpNet>> {
        let instead = format!("write a prefix such as {example}");
        let Node::Text(text) = at.value else {
            self.not(&at, "no prefix", &instead);
            return None;
        };
        if let Ok(value) = text.parse::<IpNet>() {
            return Some(At {
                value,
                place: at.place,
            });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let length = if address.is_ipv4() { 24 } else { 64 };
            let instead = format!("add it: \"{address}/{length}\", if that is the network's");
            self.not(&at, "without its prefix length", &instead);
        } else {
            self.not(&at, "no prefix", &instead);
        }
        None
    }

    /// A prefix without host bits: the name of a network.
    pub(super) fn network(&mut self, at: At<&Node>, example: &str) -> Option<At<IpNet>> {
        let prefix = self.prefix(at, example)?;
        if prefix.value.trunc() == prefix.value {
            return Some(prefix);
        }
        let what = format!("{} has bits set behind its prefix", prefix.value);
        let instead = format!("write {}", quoted(&prefix.value.trunc().to_string()));
        self.wrong(&prefix.place, what, instead);
        None
    }
}

/// An open table.
pub(super) struct Table<'n> {
    pub(super) place: Place,
    entries: &'n [(String, Node)],
    /// Keys that an unknown key probably was meant to be: they are not also missing.
    guessed: Vec<&'static str>,
}

impl<'n> Table<'n> {
    /// The first value of `key`, if the key is there.
    pub(super) fn find(&self, key: &str) -> Option<At<&'n Node>> {
        let (n, (_, value)) = (self.entries.iter().enumerate()).find(|(_, (k, _))| k == key)?;
        Some(At {
            value,
            place: self.place.entry(n, key),
        })
    }

    /// The first value of `key`; that it is not there is a mistake.
    pub(super) fn require(
        &self,
        reader: &mut Reader,
        key: &'static str,
        instead: &str,
    ) -> Option<At<&'n Node>> {
        let found = self.find(key);
        if found.is_none() && !self.guessed.contains(&key) {
            reader.wrong(&self.place, format!("\"{key}\" is missing"), instead);
        }
        found
    }
}
