//! Checksums of Multipath TCP that are right by chance for data that a gateway has changed, one in 65,536 of them: nobody can know, and
//! it is taken for what was sent (RFC 8684 3.3.1).

use crate::packet::Tcp;
use crate::watch::{Dss, Mapping};
use std::collections::BTreeMap;

/// Data that is taken for other data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chance {
    /// What was sent, as far as it had passed when all that comes for it had.
    pub sent: Vec<u8>,
    /// What comes for it.
    pub comes: Vec<u8>,
}

/// Octets at the places of a stream, each as it was seen first.
#[derive(Default)]
struct Octets(Vec<Option<u8>>);

impl Octets {
    fn put(&mut self, at: usize, octets: &[u8]) {
        if self.0.len() < at + octets.len() {
            self.0.resize(at + octets.len(), None);
        }
        for (known, octet) in self.0[at..].iter_mut().zip(octets) {
            known.get_or_insert(*octet);
        }
    }

    /// The `len` octets from `at` on, as far as there is no gap.
    fn from(&self, at: usize, len: usize) -> Vec<u8> {
        let known = self.0.iter().skip(at).take(len);
        known.map_while(|octet| *octet).collect()
    }
}

/// Goes through what travels one way of a flow as its receiver does: mapping by mapping, up to the first whose checksum is wrong.
#[derive(Default)]
pub(super) struct Follower {
    sent: Octets,
    comes: Octets,
    /// By where they begin.
    mappings: BTreeMap<u64, Mapping>,
    /// Where the next one begins.
    next: u64,
    is_over: bool,
}

impl Follower {
    /// What was `sent` at the place `at` comes as `tcp` at the place `behind`, both counted from the first octet of the stream; what is
    /// now taken for other data goes to `found`.
    pub(super) fn pass(
        &mut self,
        (at, sent): (u32, &[u8]),
        (behind, tcp): (u32, &Tcp),
        found: &mut Vec<Chance>,
    ) {
        if self.is_over {
            return;
        }
        self.sent.put(at as usize, sent);
        self.comes.put(behind as usize, &tcp.payload);
        if let Some(mapping) = Dss::of(tcp).and_then(|dss| dss.mapping) {
            // Without checksums nothing is found out, and after an infinite mapping nothing is mapped.
            self.is_over |= mapping.is_infinite || !mapping.is_checked();
            if let Some(begins) = mapping.begins(behind.into()).filter(|_| mapping.len > 0) {
                self.mappings.entry(begins).or_insert(mapping);
            }
        }
        while let Some(mapping) = self.mappings.get(&self.next).filter(|_| !self.is_over) {
            let (place, len) = (self.next as usize, mapping.len as usize);
            let comes = self.comes.from(place, len);
            if comes.len() < len {
                return;
            }
            let sent = self.sent.from(place, len);
            self.is_over = !mapping.fits(&comes);
            if !self.is_over && !comes.starts_with(&sent) {
                found.push(Chance { sent, comes });
            }
            self.next += mapping.len;
        }
    }
}
