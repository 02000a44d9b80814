//! What must hold: octets out are octets in, position by position; an end that looks clean is the end; nothing is left.

use crate::middlebox::chance::Chance;
use crate::middlebox::gateway::{ADDRESS, is_address, rewritten};
use crate::middlebox::payload::{INSERTED, swapped};
use crate::stream::Stream;
use core::fmt;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// A host was given an octet that was not sent at this place.
    WrongOctet {
        /// Which flow.
        flow: usize,
        /// Where in its stream.
        at: u64,
        /// What came.
        came: u8,
        /// What was sent there.
        sent: u8,
    },
    /// A host was given more than was sent.
    TooMuch {
        /// Which flow.
        flow: usize,
        /// How many octets were sent.
        sent: u64,
    },
    /// A host saw a clean end of a stream of which octets are missing.
    CleanCut {
        /// Which flow.
        flow: usize,
        /// How many came.
        came: u64,
        /// How many were sent.
        sent: u64,
    },
    /// A flow did not end in time.
    Unended {
        /// Which flow.
        flow: usize,
        /// How far each end came.
        state: String,
    },
    /// A flow ended without being whole, though nothing was done to it that may end one.
    Broken {
        /// Which flow.
        flow: usize,
        /// How far each end came.
        state: String,
    },
    /// A box still holds something after all has ended.
    Leftover {
        /// Which box.
        node: &'static str,
        /// What it holds.
        what: String,
    },
    /// A payload was copied between receiving and sending.
    Copied {
        /// Which box.
        node: &'static str,
    },
    /// A box holds more than its limits allow.
    OverLimit {
        /// Which box.
        node: &'static str,
        /// What it holds.
        what: String,
    },
    /// A link, a device and a box do not agree on how many frames there were.
    Lost {
        /// What was counted.
        what: String,
    },
    /// Of the frames that a box was given not every one has one fate.
    Unbalanced {
        /// Which box.
        node: &'static str,
        /// What it counted.
        what: String,
    },
    /// A box sent what may not be sent after what it was given.
    Sent {
        /// Which box.
        node: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// The network does not come to rest.
    Restless {
        /// Who.
        who: String,
    },
    /// Something panicked.
    Panic {
        /// What it said.
        message: String,
    },
    /// The same seed did not give the same trace.
    Undetermined,
}

impl Failure {
    /// Failures of one kind look alike to whoever looks for the fewest faults that show one.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::WrongOctet { .. } => "wrong octet",
            Self::TooMuch { .. } => "too much",
            Self::CleanCut { .. } => "clean cut",
            Self::Unended { .. } => "unended",
            Self::Broken { .. } => "broken",
            Self::Leftover { .. } => "leftover",
            Self::Copied { .. } => "copied",
            Self::OverLimit { .. } => "over limit",
            Self::Lost { .. } => "lost",
            Self::Unbalanced { .. } => "unbalanced",
            Self::Sent { .. } => "sent",
            Self::Restless { .. } => "restless",
            Self::Panic { .. } => "panic",
            Self::Undetermined => "undetermined",
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongOctet {
                flow,
                at,
                came,
                sent,
            } => {
                write!(
                    f,
                    "flow {flow}: octet {at} is {came:#04x}, and {sent:#04x} was sent"
                )
            },
            Self::TooMuch { flow, sent } => {
                write!(f, "flow {flow}: more than the {sent} octets sent")
            },
            Self::CleanCut { flow, came, sent } => {
                write!(f, "flow {flow}: a clean end after {came} of {sent} octets")
            },
            Self::Unended { flow, state } => write!(f, "flow {flow} does not end: {state}"),
            Self::Broken { flow, state } => write!(f, "flow {flow} broke: {state}"),
            Self::Leftover { node, what } => write!(f, "{node} still holds {what}"),
            Self::Copied { node } => write!(f, "{node} copied payload"),
            Self::OverLimit { node, what } => write!(f, "{node} is over its limits: {what}"),
            Self::Lost { what } => write!(f, "frames are lost between counters: {what}"),
            Self::Unbalanced { node, what } => write!(f, "{node} does not balance: {what}"),
            Self::Sent { node, what } => write!(f, "{node} sent what it may not: {what}"),
            Self::Restless { who } => write!(f, "no rest: {who}"),
            Self::Panic { message } => write!(f, "panic: {message}"),
            Self::Undetermined => write!(f, "the same seed gave another trace"),
        }
    }
}

/// What a middlebox that changes octets may have made of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Swaps {
    /// Nothing.
    #[default]
    None,
    /// It changed all that it could.
    All,
    /// It saw some of them: each may be as it was sent, or as it was changed.
    Some,
    /// It saw all of them, and a checksum told the ends so: from one octet on it changed all that it could, as that is
    /// where they went on without (RFC 8684 3.7), and none before.
    Since,
}

/// What a gateway between the boxes may have made of what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rewrites {
    /// Nothing.
    #[default]
    None,
    /// Any address may be rewritten where the ends went on as TCP (RFC 8684 3.7). All other octets are as they were sent,
    /// or what the gateway has put in the place of a mapping that nobody can tell from that (3.3.1): the one has no
    /// checksum, or the other has the same.
    Some {
        /// Whether what is rewritten is longer.
        longer: bool,
    },
}

/// What must come at one end of a flow: what was sent, as middleboxes on legs of plain TCP may change it, for whose ends
/// it is what was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    stream: Stream,
    swaps: Swaps,
    /// Before which octet [`INSERTED`] is added.
    inserted: Option<u64>,
    rewrites: Rewrites,
    /// Addresses in the stream.
    addresses: u64,
    /// How far it may have come in the stream, where addresses are rewritten: more than one only within what comes by chance.
    places: Vec<Place>,
    /// Other octets that may come, by their places: in the first of these where there is one, in the next where there is another.
    chances: Vec<Vec<Option<u8>>>,
    got: u64,
}

/// A place in a stream whose addresses are rewritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Octets of the stream that came, each address that was rewritten as a whole.
    of_stream: u64,
    /// What is still to come of a rewritten address.
    rest: &'static [u8],
}

impl Reference {
    /// The very octets of `stream`.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            swaps: Swaps::None,
            inserted: None,
            rewrites: Rewrites::None,
            addresses: 0,
            places: vec![Place::default()],
            chances: Vec::new(),
            got: 0,
        }
    }

    /// The same after a gateway.
    #[must_use]
    pub fn rewritten(mut self, rewrites: Rewrites) -> Self {
        if rewrites != Rewrites::None {
            let places = 0..self.stream.len;
            self.addresses = places.filter(|at| self.is_address(*at)).count() as u64;
        }
        if self.addresses > 0 {
            self.rewrites = rewrites;
        }
        self
    }

    /// The same after middleboxes have changed octets, and added some before octet `inserted`.
    #[must_use]
    pub fn changed(mut self, swaps: Swaps, inserted: Option<u64>) -> Self {
        self.swaps = swaps;
        self.inserted = inserted.filter(|at| *at < self.stream.len);
        self
    }

    /// Octets that came so far.
    #[must_use]
    pub const fn got(&self) -> u64 {
        self.got
    }

    /// Octets that must come.
    #[must_use]
    pub fn len(&self) -> u64 {
        let more = if self.inserted.is_some() {
            INSERTED.len() as u64
        } else {
            0
        };
        let to_come = |place: &Place| place.rest.len() as u64 + self.stream.len - place.of_stream;
        match self.rewrites {
            Rewrites::None => self.stream.len + more,
            Rewrites::Some { .. } => self.got + self.places.first().map_or(0, to_come),
        }
    }

    /// Whether nothing must come.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all has come.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        match self.rewrites {
            Rewrites::None => self.got == self.len(),
            Rewrites::Some { .. } => self.places.iter().any(|place| self.is_end(place)),
        }
    }

    /// Takes what came next.
    ///
    /// # Errors
    /// The first octet that is wrong.
    pub fn take(&mut self, flow: usize, data: &[u8]) -> Result<(), Failure> {
        if let Rewrites::Some { longer } = self.rewrites {
            return self.take_rewritten(flow, data, rewritten(longer));
        }
        let mut sent = vec![0; data.len()];
        self.expect(self.got, &mut sent);
        let at = self.got;
        self.got += data.len() as u64;
        if self.got > self.len() {
            let sent = self.len();
            return Err(Failure::TooMuch { flow, sent });
        }
        if self.swaps == Swaps::None && data == sent {
            return Ok(());
        }
        for (n, (&came, &sent)) in (at..).zip(data.iter().zip(&sent)) {
            if self.comes_by_chance(n, came) {
                continue;
            }
            let changed = swapped(sent);
            let fits = match self.swaps {
                Swaps::None => came == sent,
                Swaps::All => came == changed,
                Swaps::Some | Swaps::Since => came == sent || came == changed,
            };
            if !fits {
                return Err(Failure::WrongOctet {
                    flow,
                    at: n,
                    came,
                    sent,
                });
            }
            if self.swaps == Swaps::Since && came != sent {
                self.swaps = Swaps::All;
            }
        }
        Ok(())
    }

    /// Takes what came next of a stream in which `text` may stand in the place of any address.
    fn take_rewritten(
        &mut self,
        flow: usize,
        data: &[u8],
        text: &'static [u8],
    ) -> Result<(), Failure> {
        let (mut data, mut next) = (data, Vec::new());
        while let [came, behind @ ..] = data {
            // From one place what is as it was sent leads to one place.
            if let [
                Place {
                    of_stream,
                    rest: [],
                },
            ] = &mut self.places[..]
            {
                let same = self.stream.begins(*of_stream, data);
                if same > 0 {
                    *of_stream += same as u64;
                    self.got += same as u64;
                    data = &data[same..];
                    continue;
                }
            }
            for place in &self.places {
                self.step(*place, *came, text, &mut next);
            }
            if next.is_empty() {
                return Err(self.wrong(flow, *came));
            }
            std::mem::swap(&mut self.places, &mut next);
            next.clear();
            self.got += 1;
            data = behind;
        }
        Ok(())
    }

    /// Where the stream may be after `place` if `came` is next.
    fn step(&self, place: Place, came: u8, text: &'static [u8], next: &mut Vec<Place>) {
        let Place { of_stream, rest } = place;
        if let [first, rest @ ..] = rest {
            next.extend((came == *first).then_some(Place { of_stream, rest }));
            return;
        }
        if of_stream == self.stream.len {
            return;
        }
        // By chance comes what has a mapping, before anything is taken that was rewritten.
        let by_chance = of_stream == self.got && self.comes_by_chance(of_stream, came);
        if by_chance || came == self.stream.octet(of_stream) {
            next.push(Place {
                of_stream: of_stream + 1,
                rest,
            });
        }
        if came == text[0] && self.is_address(of_stream) {
            next.push(Place {
                of_stream: of_stream + ADDRESS as u64,
                rest: &text[1..],
            });
        }
    }

    const fn is_end(&self, place: &Place) -> bool {
        place.rest.is_empty() && place.of_stream == self.stream.len
    }

    /// What is wrong with `came` where it is not what comes next of a stream whose addresses are rewritten.
    fn wrong(&self, flow: usize, came: u8) -> Failure {
        let expected = |place: &Place| {
            let stream = || self.stream.octet(place.of_stream);
            place.rest.first().copied().unwrap_or_else(stream)
        };
        match self.places.iter().find(|place| !self.is_end(place)) {
            None => Failure::TooMuch {
                flow,
                sent: self.len(),
            },
            Some(place) => Failure::WrongOctet {
                flow,
                at: self.got,
                came,
                sent: expected(place),
            },
        }
    }

    /// Other data is taken for what was sent: that may come, but nothing else.
    pub fn may_come(&mut self, chance: &Chance) {
        if self.inserted.is_some() || chance.beside.is_empty() {
            return;
        }
        let len = usize::try_from(self.stream.len).unwrap_or(0);
        for place in self.stream.places_of(&chance.beside) {
            let places = place.saturating_add_signed(chance.ahead)..self.stream.len;
            for (at, octet) in places.zip(&chance.comes) {
                let at = usize::try_from(at).unwrap_or(0);
                let takes = |of: &Vec<Option<u8>>| of[at].is_none_or(|known| known == *octet);
                let nth = self.chances.iter().position(takes);
                let nth = nth.unwrap_or_else(|| {
                    self.chances.push(vec![None; len]);
                    self.chances.len() - 1
                });
                self.chances[nth][at] = Some(*octet);
            }
        }
    }

    /// Whether `came` may come at `at`, whatever was sent.
    fn comes_by_chance(&self, at: u64, came: u8) -> bool {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let mut chances = self.chances.iter();
        chances.any(|of| of.get(at) == Some(&Some(came)))
    }

    /// Whether an address stands at `at` of what is sent.
    fn is_address(&self, at: u64) -> bool {
        let mut octets = [0; ADDRESS];
        self.stream.fill(at, &mut octets);
        at + ADDRESS as u64 <= self.stream.len && is_address(&octets)
    }

    /// The octets from `at` on.
    fn expect(&self, at: u64, into: &mut [u8]) {
        let Some(place) = self.inserted else {
            return self.stream.fill(at, into);
        };
        let more = INSERTED.len() as u64;
        for (n, octet) in (at..).zip(into.iter_mut()) {
            *octet = match n.checked_sub(place) {
                None => self.stream.octet(n),
                Some(add) if add < more => INSERTED[usize::try_from(add).unwrap_or(0)],
                Some(_) => self.stream.octet(n - more),
            };
        }
    }

    /// Takes note of a clean end.
    ///
    /// # Errors
    /// Something is missing before it.
    pub fn end(&self, flow: usize) -> Result<(), Failure> {
        if self.is_complete() {
            return Ok(());
        }
        Err(Failure::CleanCut {
            flow,
            came: self.got,
            sent: self.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream with an address in it, and where that stands.
    fn stream() -> (Stream, Vec<u8>, usize) {
        let streams = (0..).map(|key| Stream::new(key, 1_000));
        let found = |stream: Stream| {
            let mut octets = vec![0; 1_000];
            stream.fill(0, &mut octets);
            let at = octets.windows(ADDRESS).position(is_address)?;
            (at > 100 && at < 800).then_some((stream, octets, at))
        };
        streams.filter_map(found).next().expect("one of some")
    }

    /// What is taken for other data by chance may come, in its place, whole or in part, and neither before it is known nor
    /// elsewhere.
    #[test]
    fn what_comes_by_chance_is_known_to_the_octet() {
        let (stream, octets, at) = stream();
        let end = at + 50;
        let comes = [&octets[at - 50..at], b"#", &octets[at + ADDRESS..end + 3]].concat();
        let chance = Chance {
            beside: octets[at - 20..end].to_vec(),
            ahead: -30,
            comes: comes.clone(),
        };
        let with = |part: &[u8]| [&octets[..at - 50], part, &octets[end..]].concat();
        let mut half = comes.clone();
        half[..60].copy_from_slice(&octets[at - 50..at + 10]);
        let mut other = comes.clone();
        other[70] ^= 1;
        let seen = Rewrites::Some { longer: false };
        for rewrites in [Rewrites::None, seen] {
            let takes = |noted: bool, data: &[u8]| {
                let mut reference = Reference::new(stream).rewritten(rewrites);
                if noted {
                    reference.may_come(&chance);
                }
                let taken = reference.take(0, data).and_then(|()| reference.end(0));
                taken.is_ok()
            };
            assert!(takes(true, &with(&comes)) && takes(true, &with(&half)));
            assert!(takes(true, &octets));
            assert!(!takes(false, &with(&comes)), "it is not known");
            assert!(!takes(true, &with(&other)), "something else");
            assert!(!takes(true, &with(&comes[1..])), "in another place");
            assert!(!takes(true, &with(&comes)[..990]), "a part is missing");
            // What is rewritten after a fallback stays what it is.
            let plain = [&octets[..at], b"#", &octets[at + ADDRESS..]].concat();
            assert_eq!(takes(true, &plain), rewrites == seen);
        }
    }
}
