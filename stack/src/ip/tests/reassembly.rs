//! Segments in fragments, cut here by hand: what becomes whole, what spoils it, and what is held at most.

use super::*;
use crate::wire::ip::{TCP, UDP};
use crate::wire::tcp::Flags;

const V4: (&str, &str) = ("10.1.0.2", "198.51.100.7");
const V6: (&str, &str) = ("fd00:1::2", "2001:db8::7");
const FROM_CLIENT: (PortId, [u8; 6]) = (ACCESS, CLIENT_MAC);
const ACK: u8 = 0x10;

/// Octets `from..to` of `segment` as a fragment of packet `id`; the last of it unless `more` follow.
fn cut(
    addrs: (&str, &str),
    id: u16,
    segment: &[u8],
    (from, to): (usize, usize),
    more: bool,
) -> Vec<u8> {
    let to = to.min(segment.len());
    raw(addrs, (id, TCP), (from, more), &segment[from.min(to)..to])
}

/// The same with any octets at any place.
fn raw(
    addrs: (&str, &str),
    (id, protocol): (u16, u8),
    (at, more): (usize, bool),
    part: &[u8],
) -> Vec<u8> {
    let at = u16::try_from(at).unwrap();
    assert_eq!(at % 8, 0);
    if addrs.0.contains(':') {
        let [a, b] = (at | u16::from(more)).to_be_bytes();
        let [c, d] = id.to_be_bytes();
        let l4 = [&[protocol, 0, a, b, 0, 0, c, d], part].concat();
        return packet(FROM_CLIENT, addrs, 44, 64, &l4);
    }
    let mut frame = packet(FROM_CLIENT, addrs, protocol, 64, part);
    edit_ipv4(&mut frame, |ip| {
        ip[4..6].copy_from_slice(&id.to_be_bytes());
        let field = (at / 8) | if more { 0x2000 } else { 0 };
        ip[6..8].copy_from_slice(&field.to_be_bytes());
    });
    frame
}

/// What became of a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Kept,
    /// The payload, and how many fragments it came in.
    Whole(Vec<u8>, usize),
    Damaged,
}

struct Table {
    bed: Bed,
    all: Reassembly<Buf>,
    whole: Vec<TcpArrival<Buf>>,
}

impl Table {
    fn new() -> Self {
        Self {
            bed: Bed::acquainted(),
            all: Reassembly::default(),
            whole: Vec::new(),
        }
    }

    fn put(&mut self, frame: Vec<u8>) -> Fate {
        let packet = match self.bed.input(ACCESS, frame) {
            Ingress::Transit(packet) => packet,
            Ingress::Opaque(opaque) => opaque.packet,
            other => panic!("{other:?}"),
        };
        let all = &mut self.all;
        match self.bed.with(|_, cx, _| all.gather(cx, packet)) {
            Gathered::Pass(_) => Fate::Passed,
            Gathered::Kept(_) => Fate::Kept,
            Gathered::Whole { parts, .. } if parts.is_empty() => Fate::Damaged,
            Gathered::Whole { packets, parts } => {
                let segments = parts.iter().map(|part| &part.segment);
                let mut next = parts[0].segment.seq;
                let mut payload = Vec::new();
                for segment in segments {
                    assert_eq!(segment.seq, next);
                    payload.extend_from_slice(segment.payload.bytes());
                    next = segment.seq
                        + u32::try_from(segment.payload.len()).unwrap()
                        + u32::from(segment.flags.has(Flags::SYN));
                }
                self.whole = parts;
                Fate::Whole(payload, packets.len())
            },
        }
    }

    fn lost(&self) -> u64 {
        self.bed.count(Counter::DropFragment)
    }
}

fn payload(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

fn segment(addrs: (&str, &str), len: usize) -> Vec<u8> {
    tcp_segment(addrs, ACK, &[], &payload(len))
}

#[test]
fn a_segment_becomes_whole_in_any_order_and_what_comes_twice_does_no_harm() {
    for addrs in [V4, V6] {
        let whole = segment(addrs, 300);
        let cuts = [(0, 24), (24, 128), (128, 136), (136, 320)];
        let parts = cuts.map(|cut_at| cut(addrs, 7, &whole, cut_at, cut_at.1 < 320));
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut table = Table::new();
            for n in &order[..3] {
                assert_eq!(table.put(parts[*n].clone()), Fate::Kept);
                assert_eq!(table.put(parts[*n].clone()), Fate::Kept, "again");
            }
            assert_eq!((table.all.waiting(), table.lost()), (3, 3));
            let fate = table.put(parts[order[3]].clone());
            assert_eq!(fate, Fate::Whole(payload(300), 4), "{order:?}");
            assert_eq!(table.all.waiting(), 0);
            assert_eq!(table.bed.count(Counter::Reassembled), 1);
        }
    }
}

#[test]
fn flags_and_options_are_those_of_their_place() {
    // A checksum is written over whatever the option says; its length alone is looked at here.
    let dss = [30, 4, 0x20, 0];
    let mut table = Table::new();
    let whole = tcp_segment(V4, ACK | 1 | 2 | 8, &dss, &payload(100));
    assert_eq!(table.put(cut(V4, 1, &whole, (0, 64), true)), Fate::Kept);
    let fate = table.put(cut(V4, 1, &whole, (64, 124), false));
    // The number of what follows a SYN counts it, which `put` checks.
    assert_eq!(fate, Fate::Whole(payload(100), 2));
    let [first, last] = &table.whole[..] else {
        panic!("two parts");
    };
    let flags = |part: &TcpArrival<Buf>| part.segment.flags.0;
    assert_eq!((flags(first), flags(last)), (ACK | 2, ACK | 1 | 8));
    assert_eq!(&first.segment.options.mptcp[..], dss);
    assert!(last.segment.options.mptcp.is_empty());
}

/// Each row is sent, then all of an honest segment of the same packet: none of it must become whole.
#[test]
fn what_does_not_fit_spoils_its_packet() {
    let whole = segment(V4, 300);
    let part = |at, more, len| raw(V4, (7, TCP), (at, more), &vec![0xaa; len]);
    let honest = |from, to| cut(V4, 7, &whole, (from, to), to < 320);
    let mut header = whole[..24].to_vec();
    header[12] = 0x80;
    let rows: [(&str, Vec<Vec<u8>>); 10] = [
        (
            "over the end of one before",
            vec![honest(0, 64), part(56, true, 64)],
        ),
        (
            "over the begin of one behind",
            vec![honest(64, 128), part(0, true, 72)],
        ),
        ("inside of one", vec![honest(0, 128), part(64, true, 8)]),
        (
            "the same begin, but longer",
            vec![honest(64, 128), part(64, true, 72)],
        ),
        ("beyond the end", vec![honest(128, 320), part(320, true, 8)]),
        ("another end", vec![honest(128, 320), part(328, false, 8)]),
        (
            "an end before what there is",
            vec![honest(128, 192), part(64, false, 8)],
        ),
        ("no whole words", vec![part(64, true, 13)]),
        (
            "a header that is cut",
            vec![raw(V4, (7, TCP), (0, true), &header)],
        ),
        ("beyond any packet", vec![part(65_528, false, 100)]),
    ];
    for (what, evil) in rows {
        let mut table = Table::new();
        let spoilt = u64::try_from(evil.len()).unwrap();
        for frame in evil {
            assert_eq!(table.put(frame), Fate::Kept, "{what}");
        }
        assert_eq!((table.all.waiting(), table.lost()), (0, spoilt), "{what}");
        for at in [(0, 64), (64, 128), (128, 192), (192, 320)] {
            assert_eq!(table.put(honest(at.0, at.1)), Fate::Kept, "{what}");
        }
        assert_eq!(
            (table.all.waiting(), table.lost()),
            (0, spoilt + 4),
            "{what}"
        );
    }
}

#[test]
fn a_fragment_without_octets_spoils_its_packet() {
    for addrs in [V4, V6] {
        let (mut table, whole) = (Table::new(), segment(addrs, 100));
        for at in [(0, 64), (64, 120)] {
            assert_eq!(table.put(cut(addrs, 7, &whole, at, true)), Fate::Kept);
        }
        // An end where all that comes before it does end.
        assert_eq!(
            table.put(raw(addrs, (7, TCP), (120, false), &[])),
            Fate::Kept
        );
        assert_eq!((table.all.waiting(), table.lost()), (0, 3));
    }
}

#[test]
fn a_segment_that_is_damaged_is_nobodys() {
    for addrs in [V4, V6] {
        let (mut table, mut whole) = (Table::new(), segment(addrs, 100));
        whole[90] ^= 1;
        assert_eq!(table.put(cut(addrs, 7, &whole, (0, 64), true)), Fate::Kept);
        let last = cut(addrs, 7, &whole, (64, 120), false);
        assert_eq!(table.put(last), Fate::Damaged);
    }
}

#[test]
fn what_is_no_tcp_alone_passes() {
    let whole = segment(V4, 100);
    let mut table = Table::new();
    let mut options = cut(V4, 7, &whole, (8, 64), true);
    options.splice(34..34, [1, 1, 1, 0]);
    options[14] = 0x46;
    let len = u16::from_be_bytes([options[16], options[17]]) + 4;
    edit_ipv4(&mut options, |ip| {
        ip[2..4].copy_from_slice(&len.to_be_bytes());
    });
    for frame in [
        raw(V4, (7, UDP), (0, true), &payload(64)),
        raw(V6, (7, UDP), (0, true), &payload(64)),
        // What comes before the segment of IPv6 belongs to it, and is not looked behind.
        raw(V6, (7, 60), (0, true), &payload(64)),
        options,
    ] {
        assert_eq!(table.put(frame), Fate::Passed);
    }
    assert_eq!(table.all.waiting(), 0);
}

#[test]
fn so_many_segments_wait_at_once_and_no_longer_than_five_seconds() {
    let (mut table, whole) = (Table::new(), segment(V4, 100));
    for id in 0..64 {
        assert_eq!(table.put(cut(V4, id, &whole, (0, 64), true)), Fate::Kept);
    }
    assert_eq!(table.put(cut(V4, 64, &whole, (0, 64), true)), Fate::Passed);
    // One of those that wait still becomes whole, and leaves its place to another.
    let rest = |id| cut(V4, id, &whole, (64, 120), false);
    assert_eq!(table.put(rest(9)), Fate::Whole(payload(100), 2));
    assert_eq!(table.put(cut(V4, 64, &whole, (0, 64), true)), Fate::Kept);
    assert_eq!(table.all.waiting(), 64);
    let due = table.all.next_deadline().unwrap();
    assert_eq!(due.since(table.bed.now).as_millis(), 5_000);
    table.bed.now = due;
    let all = &mut table.all;
    table.bed.with(|_, cx, _| all.expire(cx));
    assert_eq!((table.all.waiting(), table.lost()), (0, 64));
    assert_eq!(table.all.next_deadline(), None);
    // What comes too late is the beginning of another.
    assert_eq!(table.put(rest(10)), Fate::Kept);
}

#[test]
fn so_many_fragments_wait_at_once() {
    let (mut table, whole) = (Table::new(), segment(V4, 200));
    let nth = |id, n: usize| cut(V4, id, &whole, (24 * n, 24 * n + 24), true);
    for id in 0..64 {
        for n in 0..8 {
            assert_eq!(table.put(nth(id, n)), Fate::Kept);
        }
    }
    assert_eq!((table.all.waiting(), table.lost()), (512, 0));
    // A segment that needs more gives way, and leaves room to the others.
    assert_eq!(table.put(nth(3, 8)), Fate::Kept);
    assert_eq!((table.all.waiting(), table.lost()), (504, 9));
    assert_eq!(table.put(nth(4, 8)), Fate::Kept);
    assert_eq!((table.all.waiting(), table.lost()), (505, 9));
}
