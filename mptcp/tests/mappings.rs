//! Mappings in any way that a peer may cut, repeat, overlap and delay them, over two subflows and a wrap of the lower half
//! of the data sequence numbers: every octet comes once and in its place.

mod world;

use mptcp::crypto::dss_checksum;
use mptcp::option::{Dss, Mapping, MpOption};
use mptcp::{Counter, DataSeq, Key, Mode, SubflowId, Version};
use proptest::prelude::*;
use stack::checksum::Sum;
use stack::time::Duration;
use stack::wire::tcp::{Flags, Options, OutSegment};
use stack::{Rng, SeqNum};
use std::sync::LazyLock;
use world::end::byte_at;
use world::{A, B, Buf, Link, Setup, World, cross, slice, tuple};

/// A key whose initial data sequence number is less than 4,000 octets before a wrap of its lower half.
static NEAR_THE_WRAP: LazyLock<[u8; 8]> = LazyLock::new(|| {
    let left = |key: &[u8; 8]| u32::MAX - low(Key::new(*key).idsn(Version::V1));
    (0u64..)
        .map(u64::to_be_bytes)
        .find(|key| left(key) < 4_000)
        .unwrap()
});

fn low(dsn: DataSeq) -> u32 {
    u32::try_from(dsn.0 & 0xffff_ffff).unwrap()
}

/// Part of the stream, in a place of a subflow.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// In the stream.
    from: usize,
    len: usize,
    /// In the subflow, from 0.
    at: usize,
}

/// What a subflow carries in its order, and the segments that it is cut into: where each ends, and which piece's mapping
/// it carries.
#[derive(Default)]
struct Line {
    pieces: Vec<Piece>,
    octets: Vec<u8>,
    segments: Vec<(usize, usize)>,
}

impl Line {
    fn push(&mut self, from: usize, len: usize) {
        let at = self.octets.len();
        self.octets
            .extend((from..from + len).map(|offset| byte_at(0, offset)));
        self.pieces.push(Piece { from, len, at });
    }

    /// Cuts each piece into segments; then lets some segments run on into the next piece, whose mapping so comes late.
    fn cut(&mut self, rng: &mut Rng) {
        let mut cuts: Vec<(usize, usize)> = Vec::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            let end = piece.at + piece.len;
            let mut at = piece.at;
            while at < end {
                at = (at + 1 + below(rng, 1_400)).min(end);
                cuts.push((at, index));
            }
        }
        for at in 0..cuts.len() {
            let (end, piece) = cuts[at];
            let ends_piece = end == self.pieces[piece].at + self.pieces[piece].len;
            let Some(&(next_end, next)) = cuts.get(at + 1) else {
                self.segments.push((end, piece));
                continue;
            };
            let next_has_more = cuts.get(at + 2).is_some_and(|&(_, later)| later == next);
            let end = if ends_piece && next_has_more && rng.below(2) == 0 {
                end + below(rng, next_end - end)
            } else {
                end
            };
            self.segments.push((end, piece));
        }
    }
}

fn below(rng: &mut Rng, limit: usize) -> usize {
    usize::try_from(rng.below(u32::try_from(limit).unwrap().max(1))).unwrap()
}

/// The stream of `len` octets in pieces, some more than once and some overlapping others, in any order on two lines.
fn lines(rng: &mut Rng, len: usize) -> [Line; 2] {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < len {
        let part = (1 + below(rng, 3_000)).min(len - at);
        parts.push((at, part));
        at += part;
    }
    for _ in 0..below(rng, 6) {
        let from = below(rng, len);
        parts.push((from, 1 + below(rng, (len - from).min(3_000))));
    }
    for at in (1..parts.len()).rev() {
        let other = below(rng, at + 1);
        parts.swap(at, other);
    }
    let mut lines = [Line::default(), Line::default()];
    for (from, len) in parts {
        lines[below(rng, 2)].push(from, len);
    }
    for line in &mut lines {
        line.cut(rng);
    }
    lines
}

fn option(rng: &mut Rng, setup: &Setup, line: &Line, segment: usize) -> MpOption {
    let (_, index) = line.segments[segment];
    let mut piece = line.pieces[index];
    let begin = segment.checked_sub(1).map_or(0, |at| line.segments[at].0);
    // Without checksums a mapping may be cut as well, once what lies before the cut is declared.
    let declared = segment > 0 && line.segments[segment - 1].1 == index;
    if !setup.checksum && declared && begin > piece.at && rng.below(2) == 0 {
        let gone = begin - piece.at;
        piece = Piece {
            from: piece.from + gone,
            len: piece.len - gone,
            at: begin,
        };
    }
    let first = Key::new(setup.keys[A]).idsn(setup.version) + 1;
    let dsn = first + piece.from as u64;
    let ssn = u32::try_from(piece.at + 1).unwrap();
    let len = u16::try_from(piece.len).unwrap();
    let octets = &line.octets[piece.at..piece.at + piece.len];
    MpOption::from(Dss {
        data_ack: None,
        mapping: Some(Mapping {
            dsn: if rng.below(2) == 0 {
                dsn.low()
            } else {
                dsn.full()
            },
            ssn,
            len,
            checksum: setup
                .checksum
                .then(|| dss_checksum(dsn, ssn, len, Sum::of(octets))),
            data_fin: false,
        }),
    })
}

fn receives_all(seed: u64, version: Version, checksum: bool) {
    let setup = Setup {
        seed,
        version,
        checksum,
        keys: [*NEAR_THE_WRAP, [0x21; 8]],
        timestamps: false,
        ..Setup::default()
    };
    let mut world = World::new(setup, vec![Link::pair(0, 5, 0); 2]);
    world.join_all(&[1]);
    world.pass(Duration::from_secs(1));
    let rng = &mut Rng::from_u64(seed ^ 0xabcd);
    let total = 1 + below(rng, 12_000);
    let lines = lines(rng, total);
    let starts = [0, 1].map(|id| {
        let subflow = world.ends[B].conn.subflow(SubflowId(id)).unwrap();
        (subflow.tcb().rcv_nxt(), subflow.tcb().snd_nxt())
    });
    // Segments of each subflow in order, but for one that is overtaken or comes twice; the subflows in any turn.
    let mut turns: Vec<(usize, usize)> = Vec::new();
    let mut next = [0, 0];
    while (0..2).any(|l| next[l] < lines[l].segments.len()) {
        let line = below(rng, 2);
        if next[line] == lines[line].segments.len() {
            continue;
        }
        turns.push((line, next[line]));
        next[line] += 1;
        let last = turns.len() - 1;
        match rng.below(8) {
            0 => turns.push((line, below(rng, next[line]))),
            1 if last > 0 => turns.swap(last - 1, last),
            _ => {},
        }
    }
    for (line, segment) in turns {
        let (seq, ack): (SeqNum, SeqNum) = starts[line];
        let begin = segment
            .checked_sub(1)
            .map_or(0, |at| lines[line].segments[at].0);
        let end = lines[line].segments[segment].0;
        let mut options = Options::default();
        option(rng, &setup, &lines[line], segment)
            .emit(&mut options.mptcp)
            .unwrap();
        let payload = Some(slice(lines[line].octets[begin..end].to_vec()));
        let segment: OutSegment<Buf> = OutSegment {
            seq: seq + u32::try_from(begin).unwrap(),
            ack,
            flags: Flags::ACK,
            wnd: 1_000,
            ect: false,
            options,
            payload,
        };
        let segment = cross(&segment, tuple(A, line));
        let id = SubflowId(u8::try_from(line).unwrap());
        let (now, end) = (world.now, &mut world.ends[B]);
        end.with(now, &mut world.rng, |conn, cx| conn.input(cx, id, &segment));
        end.turn(now, &mut world.rng);
    }
    let end = &world.ends[B];
    assert_eq!(end.received, total, "{}", world.describe());
    end.assert_intact();
    assert_eq!(end.conn.mode(), Mode::Verified);
    assert_eq!(end.conn.subflows().count(), 2, "{}", world.describe());
    assert_eq!(end.conn.held(), 0);
    for counter in [
        Counter::DssNoMatch,
        Counter::DssUncovered,
        Counter::DssOutOfWindow,
    ] {
        assert_eq!(end.count(counter), 0, "{}", world.describe());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn m13_bug16_any_cut_of_mappings_gives_every_octet_once(seed: u64, v0: bool) {
        receives_all(seed, if v0 { Version::V0 } else { Version::V1 }, false);
    }

    #[test]
    fn m17_bug6_any_cut_of_mappings_under_checksums_gives_every_octet_once(seed: u64) {
        receives_all(seed, Version::V1, true);
    }
}

/// A segment of A's on its first subflow, `at` octets after what B has, that maps octet `ssn` to stream offset `from`.
fn inject(
    world: &mut World,
    setup: &Setup,
    at: u32,
    octets: Vec<u8>,
    (ssn, from, len): (u32, u64, u16),
) -> usize {
    let subflow = world.ends[B].conn.subflow(SubflowId(0)).unwrap();
    let (start, ack) = (subflow.tcb().rcv_nxt(), subflow.tcb().snd_nxt());
    let first = Key::new(setup.keys[A]).idsn(setup.version) + 1;
    let mut options = Options::default();
    let dss = Dss {
        data_ack: None,
        mapping: Some(Mapping {
            dsn: (first + from).full(),
            ssn,
            len,
            checksum: None,
            data_fin: false,
        }),
    };
    MpOption::from(dss).emit(&mut options.mptcp).unwrap();
    let payload = Some(slice(octets));
    let segment = OutSegment {
        seq: start + at,
        ack,
        flags: Flags::ACK,
        wnd: 1_000,
        ect: false,
        options,
        payload,
    };
    let segment = cross(&segment, tuple(A, 0));
    let (now, end) = (world.now, &mut world.ends[B]);
    end.with(now, &mut world.rng, |conn, cx| {
        conn.input(cx, SubflowId(0), &segment)
    });
    end.turn(now, &mut world.rng).len()
}

fn quiet(recv_buffer: u32) -> (Setup, World) {
    let setup = Setup {
        limits: mptcp::connection::Limits {
            recv_buffer,
            ..mptcp::connection::Limits::default()
        },
        timestamps: false,
        ..Setup::default()
    };
    let mut world = World::new(setup, vec![Link::pair(0, 5, 0); 2]);
    world.join_all(&[1]);
    world.pass(Duration::from_secs(1));
    (setup, world)
}

/// What was declared first stands, and what contradicts it is counted.
#[test]
fn m14_a_mapping_that_contradicts_an_earlier_one_does_not_move_data() {
    let (setup, mut world) = quiet(1 << 20);
    let octets = |from: usize, len: usize| (from..from + len).map(|at| byte_at(0, at)).collect();
    // The first half of a mapping; then the second under another that puts all of it elsewhere.
    inject(&mut world, &setup, 0, octets(0, 500), (1, 0, 1_000));
    inject(&mut world, &setup, 0, octets(500, 500), (1, 7_000, 1_000));
    let end = &world.ends[B];
    assert_eq!(end.count(Counter::DssNoMatch), 1);
    assert_eq!(end.received, 1_000);
    end.assert_intact();
}

/// What lies beyond the connection's window is dropped, and told again (RFC 8684 3.3.4).
#[test]
fn m15_data_beyond_the_window_is_dropped_and_not_acknowledged() {
    let (setup, mut world) = quiet(20_000);
    let before = world.ends[B].conn.data_ack();
    let mut ssn = 1;
    // Of the first piece half lies within; numbers far beyond are as wrong as those just behind the edge.
    for (from, held) in [(19_500, 500), (30_000, 500), (1 << 40, 500)] {
        let sent = inject(&mut world, &setup, 0, vec![7; 1_000], (ssn, from, 1_000));
        assert_eq!(world.ends[B].conn.held(), held, "{}", world.describe());
        assert!(from < 20_000 || sent > 0, "it is answered at once");
        ssn += 1_000;
    }
    let end = &world.ends[B];
    assert_eq!(end.count(Counter::DssOutOfWindow), 2);
    assert_eq!(end.conn.data_ack(), before);
}
