//! Data sequence numbers (RFC 8684 3.3). Streams of data are told apart by their numbers, which begin at random among
//! 2^64: what is within 2^32 of a stream's numbers belongs to it, by whichever subflow it comes.

use super::stream::{Got, unwrap};
use crate::middlebox::FlowId;
use crate::packet::{self, Tcp, kind};
use mptcp::{Key, Version};
use std::collections::BTreeMap;

/// A number as it stands in an option: the whole, or its low half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Whole(u64),
    Low(u32),
}

impl Number {
    fn read(octets: &[u8]) -> Option<Self> {
        match octets.len() {
            4 => Some(Self::Low(u32::from_be_bytes(octets.try_into().ok()?))),
            _ => Some(Self::Whole(u64::from_be_bytes(octets.try_into().ok()?))),
        }
    }

    /// The whole number, the one of all that is nearest to `near`.
    fn near(self, near: u64) -> u64 {
        match self {
            Self::Whole(number) => number,
            Self::Low(low) => {
                let distance = low.wrapping_sub((near & 0xffff_ffff) as u32);
                near.wrapping_add_signed(i64::from(distance.cast_signed()))
            },
        }
    }
}

/// A mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(super) dsn: Number,
    ssn: u32,
    /// Octets of data in it; the end of the stream is not counted.
    pub(crate) len: u64,
    is_end: bool,
    pub(crate) is_infinite: bool,
    /// What its checksum is of beside the payload, and the checksum, where it has one (RFC 8684 3.3.1).
    checked: Option<[u8; 16]>,
}

impl Mapping {
    /// Where in its flow it begins, the place nearest to `near`.
    pub(crate) fn begins(&self, near: u64) -> Option<u64> {
        unwrap(self.ssn, 1, near)
    }

    /// Whether it has a checksum.
    pub(crate) const fn is_checked(&self) -> bool {
        self.checked.is_some()
    }

    /// Whether its checksum, where it has one, is right for `data` (RFC 8684 3.3.1).
    pub(crate) fn fits(&self, data: &[u8]) -> bool {
        let sum = |head: [u8; 16]| packet::checksum(&[&head, data]);
        self.checked.is_none_or(|head| sum(head) == 0)
    }

    /// A mapping is of what its segment carries, and its checksum is right (RFC 8684 3.3.1).
    pub(super) fn covers(&self, at: u64, tcp: &Tcp) -> Result<(), String> {
        let len = tcp.payload.len() as u64;
        let begins = self.begins(at);
        let holds = |begins: u64| begins <= at && at + len <= begins + self.len;
        if len > 0 && !begins.is_some_and(holds) {
            return Err(format!("{self:?} is not of the {len} octets at {at}"));
        }
        let whole = len == self.len && (len == 0 || begins == Some(at));
        if whole && !self.fits(&tcp.payload) {
            return Err(format!("the checksum of {self:?} is wrong"));
        }
        Ok(())
    }
}

/// What a DSS option says, or an MP_CAPABLE that stands for one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dss {
    pub(super) ack: Option<Number>,
    pub(crate) mapping: Option<Mapping>,
}

impl Dss {
    pub(crate) fn of(tcp: &Tcp) -> Option<Self> {
        let Some(range) = packet::dss(tcp) else {
            return Self::of_first_data(tcp);
        };
        let flags = tcp.options[range.start + 3];
        let mut rest = &tcp.options[range.start + 4..range.end];
        let mut number = |has: u8, whole: u8| {
            if flags & has == 0 {
                return None;
            }
            let len = if flags & whole == 0 { 4 } else { 8 };
            let (octets, behind) = rest.split_at_checked(len)?;
            rest = behind;
            Number::read(octets)
        };
        let ack = number(1, 2);
        let dsn = number(4, 8);
        let mapping = dsn.and_then(|dsn| Mapping::read(dsn, flags & 16 != 0, rest));
        Some(Self { ack, mapping })
    }

    /// The mapping of the first data in version 1: MP_CAPABLE names both keys, of which the sender's makes the number, and
    /// the length (RFC 8684 3.1).
    fn of_first_data(tcp: &Tcp) -> Option<Self> {
        const CAPABLE_V1: u8 = 1;
        let mut ranges = tcp.ranges().into_iter();
        let (_, range) = ranges.find(|(k, range)| {
            *k == kind::MPTCP && range.len() >= 22 && tcp.options[range.start + 2] == CAPABLE_V1
        })?;
        let option = &tcp.options[range];
        let key = Key::new(option.get(4..12)?.try_into().ok()?);
        let dsn = key.idsn(Version::V1).0.wrapping_add(1);
        let ssn = [0, 0, 0, 1];
        let rest = [&ssn, option.get(20..)?].concat();
        let mapping = Mapping::read(Number::Whole(dsn), false, &rest);
        Some(Self { ack: None, mapping })
    }

    pub(super) fn is_infinite(&self) -> bool {
        self.mapping.is_some_and(|mapping| mapping.is_infinite)
    }
}

impl Mapping {
    fn read(dsn: Number, is_end: bool, rest: &[u8]) -> Option<Self> {
        let len = u16::from_be_bytes(rest.get(4..6)?.try_into().ok()?);
        let checked = match (dsn, rest.get(4..8)) {
            (Number::Whole(dsn), Some(len_and_sum)) => {
                let mut octets = [0; 16];
                octets[..8].copy_from_slice(&dsn.to_be_bytes());
                octets[8..12].copy_from_slice(&rest[..4]);
                octets[12..].copy_from_slice(len_and_sum);
                Some(octets)
            },
            _ => None,
        };
        Some(Self {
            dsn,
            ssn: u32::from_be_bytes(rest.get(..4)?.try_into().ok()?),
            len: u64::from(len).saturating_sub(u64::from(is_end)),
            is_end,
            is_infinite: len == 0,
            checked,
        })
    }
}

/// A key of a connection, and the version that says what follows from it.
pub(super) type Told = (Key, Version);

/// The keys in an MP_CAPABLE: the sender's, and the receiver's, as far as it names them (RFC 8684 3.1).
pub(super) fn keys_in(tcp: &Tcp) -> Option<[Option<Told>; 2]> {
    const CAPABLE: u8 = 0;
    let mut ranges = tcp.ranges().into_iter();
    let (_, range) = ranges.find(|(k, range)| {
        *k == kind::MPTCP && range.len() >= 4 && tcp.options[range.start + 2] >> 4 == CAPABLE
    })?;
    let option = &tcp.options[range];
    let version = match option[2] & 0xf {
        0 => Version::V0,
        _ => Version::V1,
    };
    let key = |at: usize| Some(Key::new(option.get(at..at + 8)?.try_into().ok()?));
    Some([4, 12].map(|at| key(at).map(|key| (key, version))))
}

/// The number of the first octet of data of whose key is `key`.
pub(super) fn first_of((key, version): &Told) -> Number {
    Number::Whole(key.idsn(*version).0.wrapping_add(1))
}

/// What joins name the connection by to whose key is `key`.
pub(super) fn token_of((key, version): &Told) -> u32 {
    key.token(*version).0
}

/// The token in a SYN that joins a connection.
pub(super) fn token_of_join(syn: &Tcp) -> Option<u32> {
    const JOIN: u8 = 1;
    let mut ranges = syn.ranges().into_iter();
    let (_, range) = ranges.find(|(k, range)| {
        *k == kind::MPTCP && range.len() == 12 && syn.options[range.start + 2] >> 4 == JOIN
    })?;
    let token = syn.options.get(range.start + 4..range.start + 8)?;
    Some(u32::from_be_bytes(token.try_into().ok()?))
}

/// Octets of a stream kept for comparison.
const KEPT: usize = 1 << 22;

/// Where in a stream the first is that was seen of it: what was sent before may come later, by another subflow.
const LEAD: u64 = 1 << 24;

/// One stream of data.
struct Stream {
    /// The number of offset 0.
    first: u64,
    /// The octets from offset `base` on that were seen: what the box sends.
    octets: Vec<Option<u8>>,
    base: u64,
    end: Option<u64>,
    /// The right edge of the other end's window, once a DATA_ACK told it.
    limit: Option<u64>,
    /// What came without a gap, and beyond one: what the box gets.
    next: u64,
    beyond: BTreeMap<u64, u64>,
    /// For each flow its mappings: where each begins, where it ends, and the offset in the stream.
    mappings: BTreeMap<(FlowId, u64), (u64, u64)>,
}

/// All streams of data that a box sends, or that it gets.
#[derive(Default)]
pub(super) struct Data {
    streams: Vec<Stream>,
    /// For each number that was acknowledged of a stream of which nothing was seen yet the widest window: the other end may
    /// offer more on an additional subflow before any data.
    early: BTreeMap<u64, u64>,
    /// How often the low half of a stream's numbers came round, and all of them.
    pub(super) rounds: (u64, u64),
}

impl Data {
    /// The stream that `number` is of, on a flow that was seen to carry stream `known`.
    pub(super) fn stream(&mut self, number: Number, known: Option<usize>) -> Option<usize> {
        let Number::Whole(dsn) = number else {
            return known;
        };
        let found = self.streams.iter().position(|stream| stream.is_near(dsn));
        Some(found.unwrap_or_else(|| {
            let mut stream = Stream::from(dsn);
            let early = self.early.iter().filter_map(|(ack, window)| {
                let ack = ack.wrapping_sub(stream.first);
                (ack <= LEAD).then_some(ack + window)
            });
            stream.limit = early.max();
            self.streams.push(stream);
            self.streams.len() - 1
        }))
    }

    fn of(&mut self, number: Number, known: Option<usize>) -> Option<(&mut Stream, u64)> {
        let stream = self.streams.get_mut(known?)?;
        let near = stream.first.wrapping_add(stream.next.max(stream.last()));
        let offset = number.near(near).wrapping_sub(stream.first);
        (offset >> 34 == 0).then_some((stream, offset))
    }

    /// The other end acknowledges.
    pub(super) fn acknowledged(&mut self, known: Option<usize>, ack: Number, window: u64) {
        // An additional subflow may carry acknowledgments alone.
        let nearest = || match ack {
            Number::Whole(dsn) => self.streams.iter().position(|stream| stream.is_near(dsn)),
            Number::Low(_) => None,
        };
        let known = known.or_else(nearest);
        if let (None, Number::Whole(dsn)) = (known, ack) {
            // The handshake's own window, which is not seen here, may have offered more (RFC 8684 3.3.4).
            let widest = self.early.entry(dsn).or_insert(u16::MAX.into());
            *widest = window.max(*widest);
        }
        if let Some((stream, ack)) = self.of(ack, known) {
            // The handshake's own window, which is not seen here, may have offered more (RFC 8684 3.3.4).
            let start = LEAD + u64::from(u16::MAX);
            let limit = stream.limit.unwrap_or(start).max(ack + window);
            stream.limit = Some(limit);
        }
    }

    /// The box sends what `mapping` says of the `payload` at `at` of a flow.
    pub(super) fn sends(
        &mut self,
        known: Option<usize>,
        flow: FlowId,
        mapping: &Mapping,
        at: u64,
        payload: &[u8],
    ) -> Result<(), String> {
        let Some((stream, offset)) = self.of(mapping.dsn, known) else {
            return Ok(());
        };
        let last = offset + mapping.len;
        if mapping.is_end && *stream.end.get_or_insert(last) != last {
            return Err(format!("DATA_FIN moves to {last} (RFC 8684 3.3.3)"));
        }
        if stream.end.is_some_and(|end| last > end) {
            return Err(format!("data {last} after DATA_FIN (RFC 8684 3.3.3)"));
        }
        let Some(begins) = mapping.begins(at).filter(|_| !payload.is_empty()) else {
            return Ok(());
        };
        stream.map(flow, (begins, begins + mapping.len), offset)?;
        let from = offset + (at - begins);
        let sent = stream.last();
        let ends = [sent, sent.max(from + payload.len() as u64)];
        let [before, after] = ends.map(|offset| stream.first.wrapping_add(offset));
        stream.compare(from, payload)?;
        self.rounds.0 += u64::from((after as u32) < before as u32);
        self.rounds.1 += u64::from(after < before);
        Ok(())
    }

    /// A mapping reaches the box in a segment at `at` of a flow, which has `given` the box what it has.
    pub(super) fn mapped(
        &mut self,
        known: Option<usize>,
        flow: FlowId,
        mapping: &Mapping,
        at: u64,
        given: &Got,
    ) {
        let Some((stream, offset)) = self.of(mapping.dsn, known) else {
            return;
        };
        if mapping.is_end {
            stream.end = Some(offset + mapping.len);
        }
        let Some(at) = mapping.begins(at).filter(|_| mapping.len > 0) else {
            return;
        };
        let end = at + mapping.len;
        stream.mappings.insert((flow, at), (end, offset));
        stream.forget(flow, at);
        let parts = given.parts(at, end);
        for (from, to) in parts {
            stream.cover(offset + (from - at), offset + (to - at));
        }
    }

    /// Octets reach the box that a mapping came before.
    pub(super) fn arrived(&mut self, known: Option<usize>, flow: FlowId, at: u64, len: u64) {
        let Some(stream) = known.and_then(|known| self.streams.get_mut(known)) else {
            return;
        };
        let end = at + len;
        // No mapping is longer than its 16-bit length says.
        let least = at.saturating_sub(1 << 16);
        let of = stream.mappings.range((flow, least)..(flow, end));
        let parts = of.filter_map(|((_, from), (to, offset))| {
            let (a, b) = (at.max(*from), end.min(*to));
            (a < b).then(|| (offset + (a - from), offset + (b - from)))
        });
        let parts: Vec<_> = parts.collect();
        parts.into_iter().for_each(|(a, b)| stream.cover(a, b));
    }

    /// The box acknowledges data: only what came (RFC 8684 3.3.2). The offset of what it acknowledges.
    pub(super) fn acknowledges(
        &mut self,
        known: Option<usize>,
        ack: Number,
    ) -> Result<Option<u64>, String> {
        let Some((stream, ack)) = self.of(ack, known) else {
            return Ok(None);
        };
        let end = stream.next + u64::from(stream.end == Some(stream.next));
        if ack > end {
            return Err(format!("data {ack} is acknowledged, and {end} came"));
        }
        Ok(Some(ack))
    }
}

impl Stream {
    const fn from(seen: u64) -> Self {
        Self {
            first: seen.wrapping_sub(LEAD),
            octets: Vec::new(),
            base: LEAD,
            end: None,
            limit: None,
            next: LEAD,
            beyond: BTreeMap::new(),
            mappings: BTreeMap::new(),
        }
    }

    const fn is_near(&self, dsn: u64) -> bool {
        dsn.wrapping_sub(self.first).wrapping_add(1 << 32) >> 34 == 0
    }

    const fn last(&self) -> u64 {
        self.base + self.octets.len() as u64
    }

    fn cover(&mut self, at: u64, end: u64) {
        let known = self.beyond.entry(at).or_insert(end);
        *known = end.max(*known);
        while let Some(first) = self.beyond.first_entry().filter(|e| *e.key() <= self.next) {
            self.next = self.next.max(first.remove());
        }
    }

    /// What stands at a place of a flow is mapped once and for all (RFC 8684 3.3.1).
    fn map(&mut self, flow: FlowId, (at, end): (u64, u64), offset: u64) -> Result<(), String> {
        let overlaps = self.mappings.range((flow, 0)..(flow, end));
        let other = overlaps
            .rev()
            .take_while(|((_, from), (to, _))| *from + (1 << 16) > at || *to > at)
            .find(|((_, from), (to, other))| {
                *to > at && other.wrapping_sub(*from) != offset.wrapping_sub(at)
            });
        if let Some(((_, from), (to, other))) = other {
            return Err(format!(
                "{at}..{end} is mapped to {offset}, and {from}..{to} of it to {other} before"
            ));
        }
        self.mappings.insert((flow, at), (end, offset));
        self.forget(flow, at);
        Ok(())
    }

    /// What is far behind `at` does not come again.
    fn forget(&mut self, flow: FlowId, at: u64) {
        while let Some((&first, _)) = self.mappings.range((flow, 0)..(flow, at)).next()
            && first.1 + LEAD < at
        {
            self.mappings.remove(&first);
        }
    }

    /// The same number is the same octet, on every subflow (RFC 8684 3.3.6), and all are in the window (3.3.4).
    fn compare(&mut self, at: u64, payload: &[u8]) -> Result<(), String> {
        let end = at + payload.len() as u64;
        if let Some(limit) = self.limit.filter(|limit| end > limit + 1) {
            return Err(format!("data {end} beyond the window {limit}"));
        }
        let place = |offset: u64| usize::try_from(offset - self.base).unwrap_or(0);
        let from = at.max(self.base);
        if from >= end {
            return Ok(());
        }
        // One subflow may be ahead of what another has yet to send.
        let (first, last) = (place(from), place(end));
        if self.octets.len() < last {
            self.octets.resize(last, None);
        }
        let skipped = usize::try_from(from - at).unwrap_or(0);
        for (before, octet) in self.octets[first..last].iter_mut().zip(&payload[skipped..]) {
            if *before.get_or_insert(*octet) != *octet {
                return Err(format!("other data at {from}..{end} than before"));
            }
        }
        if self.octets.len() > 2 * KEPT {
            self.octets.drain(..KEPT);
            self.base += KEPT as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(port: u16) -> FlowId {
        let end = |port| (std::net::Ipv4Addr::LOCALHOST.into(), port);
        FlowId {
            near: end(port),
            far: end(80),
        }
    }

    /// The box sends `len` octets at the beginning of a flow, mapped to `dsn`.
    fn sends(data: &mut Data, flow: FlowId, dsn: u64, len: u16) -> Result<(), String> {
        let mapping = Mapping {
            dsn: Number::Whole(dsn),
            ssn: 1,
            len: len.into(),
            is_end: false,
            is_infinite: false,
            checked: None,
        };
        let known = data.stream(mapping.dsn, None);
        data.sends(known, flow, &mapping, 0, &vec![0; len.into()])
    }

    /// Seeds 10791 and 17387: windows that additional subflows offered before any data, or for what was sent before the
    /// first data that was seen, were not known.
    #[test]
    fn a_window_counts_that_was_offered_before_any_data() {
        for first in [0, 1_000, u64::MAX - 70_000] {
            let mut data = Data::default();
            data.acknowledged(None, Number::Whole(first), 100_000);
            data.acknowledged(None, Number::Whole(first), 30_000);
            let mut at = first;
            // The first of it went by another subflow, and is seen last.
            for (port, skipped, len) in [(1, 20_000, 50_000), (2, 70_000, 30_000)] {
                at = first.wrapping_add(skipped);
                assert_eq!(sends(&mut data, flow(port), at, len), Ok(()));
            }
            assert_eq!(sends(&mut data, flow(3), first, 20_000), Ok(()));
            let beyond = at.wrapping_add(30_000);
            assert!(sends(&mut data, flow(4), beyond, 2).is_err());
            // And what acknowledges none of what was seen opens the window all the same.
            let one = Number::Whole(first.wrapping_add(1));
            data.acknowledged(Some(0), one, 110_000);
            assert_eq!(sends(&mut data, flow(5), beyond, 10_001), Ok(()));
            assert!(sends(&mut data, flow(6), beyond, 10_003).is_err());
        }
    }
}
