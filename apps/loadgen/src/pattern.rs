//! What is sent, so that whoever receives it can tell that each octet is in its place.
//!
//! The octet at position `p` of a message is a function of `p` and of the message's *seed*: that of one fixed random string,
//! read from a place that the seed gives. Two neighbors' messages have different seeds, so octets that end up in another
//! connection are noticed as well as those that are lost, doubled, changed or out of order. A request begins with a header
//! that tells the server the seed, how long the request is, and how long an answer it wants.

use stack::checksum::Sum;
use stack::{PacketBuf, Rng, Slice};

/// Octets of payload of a full segment, as in the definitions of the benchmarks: with the options of Multipath TCP and
/// timestamps it fits in an IPv6 packet of 1,500.
pub(crate) const PIECE: usize = 1400;

/// Different seeds; the pattern repeats itself after as many pieces.
pub(crate) const SEEDS: u32 = 31;

/// Octets of the header of a request: the least that a request may have.
pub(crate) const HEADER: usize = 24;

const MAGIC: [u8; 4] = *b"flow";

/// What a request tells the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) seed: u32,
    /// Octets of the request, header included.
    pub(crate) request: u64,
    /// Octets of the answer.
    pub(crate) response: u64,
}

impl Ask {
    fn header(self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&self.seed.to_be_bytes());
        header[8..16].copy_from_slice(&self.request.to_be_bytes());
        header[16..].copy_from_slice(&self.response.to_be_bytes());
        header
    }

    /// Reads a header; `None` if it is none.
    pub(crate) fn read(header: [u8; HEADER]) -> Option<Self> {
        let (magic, rest) = header.split_first_chunk::<4>()?;
        let (seed, rest) = rest.split_first_chunk()?;
        let (request, rest) = rest.split_first_chunk()?;
        let response = rest.first_chunk()?;
        let ask = Self {
            seed: u32::from_be_bytes(*seed),
            request: u64::from_be_bytes(*request),
            response: u64::from_be_bytes(*response),
        };
        (*magic == MAGIC && ask.seed < SEEDS && ask.request >= HEADER as u64).then_some(ask)
    }
}

/// The string, in octets to compare with and in buffers to send.
pub(crate) struct Pattern<B> {
    octets: Vec<u8>,
    pieces: Vec<Slice<B>>,
    /// The first piece of a group's request of each seed: the header stands in the place of the first octets.
    heads: Vec<Vec<Slice<B>>>,
}

impl<B: PacketBuf> Pattern<B> {
    /// The pattern in buffers that `fill` makes, for groups with requests and responses of these lengths. `None` if `fill` has
    /// no more buffers.
    pub(crate) fn new(
        lengths: impl IntoIterator<Item = (u64, u64)>,
        fill: &mut dyn FnMut(&[u8]) -> Option<B>,
    ) -> Option<Self> {
        let mut octets = vec![0; PIECE * SEEDS as usize];
        Rng::from_u64(1).fill(&mut octets);
        let mut slice = |piece: &[u8]| {
            let mut slice = Slice::new(fill(piece)?);
            slice.set_sum(Sum::of(piece));
            Some(slice)
        };
        let pieces = octets.chunks_exact(PIECE).map(&mut slice);
        let pieces = pieces.collect::<Option<_>>()?;
        let heads = lengths.into_iter().map(|(request, response)| {
            let heads = (0..).zip(octets.chunks_exact(PIECE)).map(|(seed, piece)| {
                let ask = Ask {
                    seed,
                    request,
                    response,
                };
                let mut head = piece.to_vec();
                head[..HEADER].copy_from_slice(&ask.header());
                slice(&head)
            });
            heads.collect::<Option<_>>()
        });
        let heads = heads.collect::<Option<_>>()?;
        Some(Self {
            octets,
            pieces,
            heads,
        })
    }

    /// The next piece of a message at position `at`, of which `left` octets are to come: a response, or a request of the group
    /// `request`.
    pub(crate) fn piece(&self, seed: u32, at: u64, left: u64, request: Option<usize>) -> Slice<B> {
        let number = at / PIECE as u64;
        let from = (at % PIECE as u64) as usize;
        let to = PIECE.min(from + usize::try_from(left).unwrap_or(PIECE));
        let piece = match request {
            Some(group) if number == 0 => &self.heads[group][seed as usize],
            _ => &self.pieces[((u64::from(seed) + number) % u64::from(SEEDS)) as usize],
        };
        piece.slice(from..to)
    }

    /// Whether `octets` are what stands at position `at` of a message.
    pub(crate) fn matches(&self, seed: u32, at: u64, octets: &[u8]) -> bool {
        let start = u64::from(seed) * PIECE as u64 + at;
        let mut from = (start % self.octets.len() as u64) as usize;
        let mut rest = octets;
        while !rest.is_empty() {
            let (here, beyond) = rest.split_at(rest.len().min(self.octets.len() - from));
            if self.octets[from..from + here.len()] != *here {
                return false;
            }
            (rest, from) = (beyond, 0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::MemBuf;

    fn pattern() -> Pattern<MemBuf> {
        Pattern::new([(5_000, 9), (64, 7)], &mut |octets| {
            Some(MemBuf::from(octets.to_vec()))
        })
        .unwrap()
    }

    fn message(pattern: &Pattern<MemBuf>, seed: u32, len: u64, request: Option<usize>) -> Vec<u8> {
        let mut octets = Vec::new();
        while (octets.len() as u64) < len {
            let at = octets.len() as u64;
            octets.extend_from_slice(pattern.piece(seed, at, len - at, request).bytes());
        }
        octets
    }

    #[test]
    fn a_message_matches_in_its_place_and_nowhere_else() {
        let pattern = pattern();
        let whole = message(&pattern, 3, 100_000, None);
        assert_eq!(whole.len(), 100_000);
        for (at, len) in [(0, 100_000), (1, 5_000), (1_399, 2), (43_000, 3_000)] {
            let part = &whole[at..at + len];
            assert!(pattern.matches(3, at as u64, part));
            for (seed, elsewhere) in [(4, at), (3, at + 1), (3, at + PIECE)] {
                assert!(
                    !pattern.matches(seed, elsewhere as u64, part),
                    "{elsewhere}"
                );
            }
        }
        let mut changed = whole;
        changed[99_999] ^= 1;
        assert!(!pattern.matches(3, 0, &changed));
    }

    #[test]
    fn a_request_begins_with_what_it_asks_for() {
        let pattern = pattern();
        for (group, len, answer) in [(0, 5_000, 9), (1, 64, 7)] {
            let request = message(&pattern, 30, len, Some(group));
            let (header, rest) = request.split_first_chunk().unwrap();
            let ask = Ask::read(*header).unwrap();
            assert_eq!((ask.seed, ask.request, ask.response), (30, len, answer));
            assert!(pattern.matches(30, HEADER as u64, rest));
        }
        assert_eq!(Ask::read([0; HEADER]), None);
    }

    #[test]
    fn whole_pieces_know_their_sum() {
        let pattern = pattern();
        for request in [Some(0), Some(1), None] {
            let piece = pattern.piece(1, 0, 9_999, request);
            assert_eq!(piece.known_sum(), Some(Sum::of(piece.bytes())));
        }
    }
}
