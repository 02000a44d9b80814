//! The mapping store: which octets of a subflow are which octets of the connection (RFC 8684 3.3.1).
//!
//! Mappings are kept by ranges of subflow sequence numbers. They may come repeated on each segment, before, with or
//! after their data, longer than a segment, cut anew by a retransmission or by a middlebox: a declared octet keeps the
//! place that was declared first. Without checksums neighbors melt together, so that a long transfer holds a few
//! ranges; with checksums a mapping stays whole, because its checksum covers it whole (RFC 8684 3.3.1).

use crate::DataSeq;
use crate::dsn;
use stack::SeqNum;
use std::collections::VecDeque;

/// What a mapping's checksum is computed over besides the data (RFC 8684 3.3.1, figure 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Subflow sequence number relative to the subflow's ISN, as on the wire.
    pub(crate) ssn: u32,
    /// Data-level length as on the wire: counts a DATA_FIN.
    pub(crate) dll: u16,
    /// The checksum field.
    pub(crate) checksum: u16,
}

/// One declared range: `len` octets from `seq` on the subflow are those from `dsn` on in the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) seq: SeqNum,
    pub(crate) dsn: DataSeq,
    pub(crate) len: u32,
    pub(crate) check: Option<Check>,
}

impl Mapping {
    fn end(&self) -> SeqNum {
        self.seq + self.len
    }

    /// The place of subflow octet `at` in the connection, by this mapping's offset.
    pub(crate) fn place(&self, at: SeqNum) -> DataSeq {
        dsn::offset(self.dsn, i64::from(at.distance(self.seq)))
    }

    /// The part of the mapping in `[from, to)`.
    fn part(&self, from: SeqNum, to: SeqNum) -> Self {
        Self {
            seq: from,
            dsn: self.place(from),
            len: to - from,
            check: None,
        }
    }
}

/// What became of a declared mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declared {
    /// At least one octet of it was new.
    New,
    /// All of it was known already, or consumed.
    Known,
    /// Part of it contradicts what was declared before; what was declared first stands.
    Conflict,
    /// It was not kept: too many ranges are declared.
    Full,
}

/// The mappings of one subflow's incoming direction that still have data to come.
#[derive(Debug)]
pub(crate) struct MappingStore {
    /// First subflow octet that was not consumed yet.
    next: SeqNum,
    ranges: VecDeque<Mapping>,
    /// Most ranges declared ahead: past it a mapping is refused, and its data counts as uncovered.
    ranges_max: usize,
}

impl MappingStore {
    /// An empty store for a subflow whose first octet of data has sequence number `first`. `ranges_max` must not be less
    /// than the segments that the peer's window lets fly: behind one lost segment all of them may need a range each.
    pub(crate) const fn new(first: SeqNum, ranges_max: usize) -> Self {
        Self {
            next: first,
            ranges: VecDeque::new(),
            ranges_max,
        }
    }

    /// Adds `mapping`, or what of it is new.
    #[inline]
    pub(crate) fn declare(&mut self, mapping: Mapping) -> Declared {
        if mapping.len == 0 || mapping.end() <= self.next {
            return Declared::Known;
        }
        if mapping.check.is_some() {
            return self.declare_whole(mapping);
        }
        if mapping.seq >= self.next
            && self
                .ranges
                .back()
                .is_none_or(|last| last.end() <= mapping.seq)
        {
            return self.add(self.ranges.len(), mapping);
        }
        self.declare_parts(mapping)
    }

    /// Adds what of `mapping` is new, around what it overlaps.
    fn declare_parts(&mut self, mapping: Mapping) -> Declared {
        let mut rest = if mapping.seq < self.next {
            mapping.part(self.next, mapping.end())
        } else {
            mapping
        };
        let (mut new, mut conflict) = (false, false);
        while rest.len > 0 {
            let at = self.first_ending_after(rest.seq);
            let held = self.ranges.get(at).copied();
            let free_until = held.map_or(rest.end(), |held| held.seq.min(rest.end()));
            if rest.seq < free_until {
                if self.add(at, rest.part(rest.seq, free_until)) == Declared::Full {
                    return Declared::Full;
                }
                new = true;
                rest = rest.part(free_until, rest.end());
            } else if let Some(held) = held {
                conflict |= held.place(rest.seq) != rest.dsn;
                rest = rest.part(held.end().min(rest.end()), rest.end());
            }
        }
        match (conflict, new) {
            (true, _) => Declared::Conflict,
            (false, true) => Declared::New,
            (false, false) => Declared::Known,
        }
    }

    /// A mapping with a checksum is kept whole or not at all: a part of it could not be verified.
    fn declare_whole(&mut self, mapping: Mapping) -> Declared {
        let at = self.first_ending_after(mapping.seq);
        match self.ranges.get(at) {
            Some(held) if held.seq == mapping.seq && held.len == mapping.len => {
                if held.dsn == mapping.dsn {
                    Declared::Known
                } else {
                    Declared::Conflict
                }
            },
            Some(held) if held.seq < mapping.end() => Declared::Conflict,
            _ if mapping.seq < self.next => Declared::Conflict,
            _ => self.add(at, mapping),
        }
    }

    fn add(&mut self, at: usize, mapping: Mapping) -> Declared {
        let previous = at.checked_sub(1).and_then(|i| self.ranges.get_mut(i));
        // A checksum is on every mapping or on none (RFC 8684 3.3).
        if let Some(previous) = previous
            && mapping.check.is_none()
            && previous.end() == mapping.seq
            && previous.place(mapping.seq) == mapping.dsn
            && previous.len < 1 << 30
        {
            previous.len += mapping.len;
            return Declared::New;
        }
        if self.ranges.len() >= self.ranges_max {
            return Declared::Full;
        }
        if at == self.ranges.len() {
            self.ranges.push_back(mapping);
        } else {
            self.ranges.insert(at, mapping);
        }
        Declared::New
    }

    /// Index of the first range that ends after `seq`.
    fn first_ending_after(&self, seq: SeqNum) -> usize {
        // The newest mapping mostly continues the last one: look there before searching.
        match self.ranges.back() {
            None => return 0,
            Some(last) if last.end() <= seq => return self.ranges.len(),
            Some(last) if last.seq <= seq => return self.ranges.len() - 1,
            Some(_) => {},
        }
        self.ranges.partition_point(|range| range.end() <= seq)
    }

    /// The mapping that covers subflow octet `seq`, whole (with checksum) or as melted together.
    pub(crate) fn covering(&self, seq: SeqNum) -> Option<Mapping> {
        self.ranges
            .iter()
            .find(|range| seq < range.end())
            .filter(|range| range.seq <= seq)
            .copied()
    }

    /// The place of the `len` octets from `seq` on, if one mapping has them all that needs no look at the octets themselves.
    pub(crate) fn place_of(&self, seq: SeqNum, len: usize) -> Option<DataSeq> {
        let (first, len) = (self.ranges.front()?, u32::try_from(len).ok()?);
        let whole = first.seq <= seq && seq + len <= first.end();
        (whole && first.check.is_none()).then(|| first.place(seq))
    }

    /// Whether the `len` octets from `seq` on are the next ones, and `mapping`, which has no checksum, is what places them:
    /// nothing else that is declared does, or says the same.
    pub(crate) fn is_next(&self, seq: SeqNum, len: u32, mapping: &Mapping) -> bool {
        let covered = mapping.seq <= seq && seq + len <= mapping.end();
        let (first, last) = (self.ranges.front(), self.ranges.len() <= 1);
        let agrees = |first: &Mapping| {
            let within = first.seq <= seq && mapping.end() <= first.end();
            within && first.check.is_none() && first.place(seq) == mapping.place(seq)
        };
        seq == self.next && covered && last && first.is_none_or(agrees)
    }

    /// Takes in `mapping` and forgets everything before `end`, the end of octets that it places and that [`Self::is_next`] was
    /// asked about: as [`Self::declare`] and [`Self::consume`] do.
    pub(crate) fn pass(&mut self, mapping: Mapping, end: SeqNum) {
        match self.ranges.front() {
            // It says the same of all of the mapping that is to come.
            Some(first) if first.end() == end => self.ranges.clear(),
            Some(_) => {},
            None if mapping.end() > end => self
                .ranges
                .push_back(mapping.part(self.next, mapping.end())),
            None => {},
        }
        self.next = end;
    }

    /// Forgets everything before `seq`: the data up to it went on.
    pub(crate) fn consume(&mut self, seq: SeqNum) {
        if self.next < seq {
            self.next = seq;
        }
        while let Some(front) = self.ranges.front() {
            if front.end() > self.next {
                break;
            }
            self.ranges.pop_front();
        }
    }

    /// Whether all before `next` was consumed, and nothing is declared beyond.
    pub(crate) fn is_idle(&self, next: SeqNum) -> bool {
        self.next == next && self.ranges.is_empty()
    }

    /// Number of ranges held.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }
}

#[cfg(test)]
mod tests;
