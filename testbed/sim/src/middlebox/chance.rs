//! Data that is taken for other data behind a gateway that has changed it (RFC 8684 3.3.1): where mappings have no
//! checksums all that stands in their places then, and else that for which a checksum is right by chance, once in 65,536
//! times. Nobody can know.

use crate::packet::Tcp;
use crate::watch::{Dss, Mapping};
use std::collections::BTreeMap;

/// Data that is taken for other data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chance {
    /// Something of the stream as it was sent.
    pub beside: Vec<u8>,
    /// How many octets after the first of that [`Self::comes`] is taken for what was sent.
    pub ahead: i64,
    /// What comes.
    pub comes: Vec<u8>,
}

/// Octets at the places of a stream, each as it was seen first.
#[derive(Default)]
struct Octets(Vec<Option<u8>>);

impl Octets {
    /// Whether some are new.
    fn put(&mut self, at: u64, octets: &[u8]) -> bool {
        let at = at as usize;
        if self.0.len() < at + octets.len() {
            self.0.resize(at + octets.len(), None);
        }
        let mut is_new = false;
        for (known, octet) in self.0[at..].iter_mut().zip(octets) {
            is_new |= known.is_none();
            known.get_or_insert(*octet);
        }
        is_new
    }

    /// The `len` octets from `at` on, as far as there is no gap.
    fn from(&self, at: u64, len: u64) -> Vec<u8> {
        let known = self.0.iter().skip(at as usize).take(len as usize);
        known.map_while(|octet| *octet).collect()
    }

    fn has(&self, at: u64) -> bool {
        self.0.get(at as usize).is_some_and(Option::is_some)
    }
}

/// A mapping, with what its segment brought of its data, and where that stands.
struct Known {
    mapping: Mapping,
    beside: Vec<u8>,
    at: u64,
}

/// Goes through what travels one way of a flow as its receiver does.
#[derive(Default)]
pub(super) struct Follower {
    sent: Octets,
    comes: Octets,
    /// By where they begin.
    mappings: BTreeMap<u64, Known>,
    /// Where the next one begins that has a checksum.
    next: u64,
    /// An infinite mapping has come, or a checksum that is wrong.
    is_over: bool,
}

/// Behind all that is sent: what is forged.
const FAR: u32 = 1 << 24;

/// No mapping is longer than its 16-bit length says.
const LONGEST: u64 = 1 << 16;

impl Follower {
    /// What was `sent` at the place `at` comes as `tcp` at the place `behind`, both counted from the first octet of the
    /// stream; what is now taken for other data goes to `found`.
    pub(super) fn pass(
        &mut self,
        (at, sent): (u32, &[u8]),
        (behind, tcp): (u32, &Tcp),
        found: &mut Vec<Chance>,
    ) {
        if self.is_over || at.max(behind) > FAR {
            return;
        }
        let (at, behind) = (u64::from(at), u64::from(behind));
        self.sent.put(at, sent);
        let is_new = self.comes.put(behind, &tcp.payload);
        if let Some(mapping) = Dss::of(tcp).and_then(|dss| dss.mapping) {
            self.is_over |= mapping.is_infinite;
            self.map(mapping, (at, sent), found);
        }
        if is_new {
            let end = behind + tcp.payload.len() as u64;
            let of = self.mappings.range(behind.saturating_sub(LONGEST)..end);
            let unchecked = of.filter(|(_, known)| !known.mapping.is_checked());
            for (begins, known) in unchecked {
                let to = end.min(begins + known.mapping.len);
                self.take(known, (behind.max(*begins), to), found);
            }
        }
        self.check(found);
    }

    /// `mapping` comes with what was `sent` at `at`.
    fn map(&mut self, mapping: Mapping, (at, sent): (u64, &[u8]), found: &mut Vec<Chance>) {
        let Some(begins) = mapping.begins(at).filter(|_| mapping.len > 0) else {
            return;
        };
        let within = |place: u64| place >= begins && place < begins + mapping.len;
        let own = (at..).zip(sent).skip_while(|(place, _)| !within(*place));
        let own: Vec<_> = own.take_while(|(place, _)| within(*place)).collect();
        if let Some((at, _)) = own.first()
            && !self.mappings.contains_key(&begins)
        {
            let known = Known {
                mapping,
                beside: own.iter().map(|(_, octet)| **octet).collect(),
                at: *at,
            };
            if !mapping.is_checked() {
                self.take(&known, (begins, begins + mapping.len), found);
            }
            self.mappings.insert(begins, known);
        }
    }

    /// Finds what is known of the places `from..to` of a mapping, and is other data than was sent.
    fn take(&self, known: &Known, (from, to): (u64, u64), found: &mut Vec<Chance>) {
        let mut at = from;
        while at < to {
            let comes = self.comes.from(at, to - at);
            if comes.is_empty() {
                at += 1;
                continue;
            }
            let len = comes.len() as u64;
            if self.sent.from(at, len) != comes {
                found.push(Chance {
                    beside: known.beside.clone(),
                    ahead: at.cast_signed() - known.at.cast_signed(),
                    comes,
                });
            }
            at += len;
        }
    }

    /// Takes what has a checksum: mapping by mapping, up to the first that is wrong.
    fn check(&mut self, found: &mut Vec<Chance>) {
        while let Some(known) = self.mappings.get(&self.next).filter(|_| !self.is_over) {
            let (at, to) = (self.next, self.next + known.mapping.len);
            if !known.mapping.is_checked() || (at..to).any(|place| !self.comes.has(place)) {
                return;
            }
            self.is_over = !known.mapping.fits(&self.comes.from(at, to - at));
            if !self.is_over {
                self.take(known, (at, to), found);
            }
            self.next = to;
        }
    }
}
