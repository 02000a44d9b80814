use super::*;
use proptest::prelude::*;

/// The true place of subflow octet `at`: in runs of a few octets that lie anywhere in the connection.
fn truth(at: u32) -> DataSeq {
    DataSeq(u64::MAX - 500).max(DataSeq(0)) + u64::from(at / 16) * 1000 + u64::from(at % 16)
}

const START: SeqNum = SeqNum(u32::MAX - 100);

fn mapping(from: u32, len: u32) -> Mapping {
    Mapping {
        seq: START + from,
        dsn: truth(from),
        len,
        check: None,
    }
}

#[test]
fn m13_a_mapping_repeated_on_each_segment_is_one_range() {
    let mut store = MappingStore::new(START, RANGES_MAX);
    let whole = Mapping {
        len: 60_000,
        ..mapping(0, 0)
    };
    assert_eq!(store.declare(whole), Declared::New);
    for at in (0..60_000).step_by(1400) {
        assert_eq!(store.declare(whole), Declared::Known);
        let found = store.covering(START + at).expect("covered");
        assert_eq!(found.place(START + at), whole.dsn + u64::from(at));
        store.consume(START + at + 1400);
    }
    assert_eq!(store.len(), 0);
    assert_eq!(store.declare(whole), Declared::Known, "late");
    assert_eq!(store.covering(START + 60_000), None);
}

#[test]
fn m13_neighbors_melt_and_gaps_do_not() {
    let mut store = MappingStore::new(START, RANGES_MAX);
    let at = |from: u32, len| Mapping {
        seq: START + from,
        dsn: DataSeq(7) + u64::from(from),
        len,
        check: None,
    };
    for part in [at(0, 100), at(100, 100), at(300, 50), at(200, 100)] {
        assert_eq!(store.declare(part), Declared::New);
    }
    assert!(store.len() <= 2, "{}", store.len());
    assert_eq!(
        store.covering(START + 349).map(|m| m.place(START + 349)),
        Some(DataSeq(7 + 349))
    );
    assert_eq!(store.covering(START + 350), None);
}

#[test]
fn bug16_what_was_declared_first_stands() {
    let mut store = MappingStore::new(START, RANGES_MAX);
    let first = Mapping {
        seq: START,
        dsn: DataSeq(1000),
        len: 100,
        check: None,
    };
    assert_eq!(store.declare(first), Declared::New);
    let other = Mapping {
        seq: START + 50,
        dsn: DataSeq(9000),
        len: 100,
        check: None,
    };
    assert_eq!(store.declare(other), Declared::Conflict);
    assert_eq!(
        store.covering(START + 99).map(|m| m.place(START + 99)),
        Some(DataSeq(1099))
    );
    assert_eq!(
        store.covering(START + 100).map(|m| m.place(START + 100)),
        Some(DataSeq(9050))
    );
}

#[test]
fn m17_a_mapping_with_a_checksum_is_kept_whole_or_not_at_all() {
    let check = Some(Check {
        ssn: 1,
        dll: 100,
        checksum: 7,
    });
    let whole = Mapping {
        check,
        ..mapping(0, 100)
    };
    let mut store = MappingStore::new(START, RANGES_MAX);
    assert_eq!(store.declare(whole), Declared::New);
    assert_eq!(store.declare(whole), Declared::Known);
    for (from, len) in [(0, 50), (50, 100), (10, 20)] {
        let part = Mapping {
            seq: START + from,
            len,
            ..whole
        };
        assert_eq!(store.declare(part), Declared::Conflict);
    }
    assert_eq!(
        store.declare(Mapping {
            seq: START + 100,
            ..whole
        }),
        Declared::New
    );
    assert_eq!(store.len(), 2, "never melted");
    assert_eq!(store.covering(START), Some(whole));
    // What was taken of it can be summed no more.
    store.consume(START + 200);
    let behind = Mapping {
        seq: START + 199,
        ..whole
    };
    assert_eq!(store.declare(behind), Declared::Conflict);
    assert_eq!(store.len(), 0);
}

#[test]
fn ranges_are_bounded() {
    let mut store = MappingStore::new(START, RANGES_MAX);
    let apart = |i: u32| Mapping {
        seq: START + i * 10,
        dsn: DataSeq(u64::from(i) * 999),
        len: 5,
        check: None,
    };
    let max = u32::try_from(RANGES_MAX).expect("small");
    for i in 0..max {
        assert_eq!(store.declare(apart(i)), Declared::New);
    }
    assert_eq!(store.declare(apart(max)), Declared::Full);
    assert_eq!(store.len(), RANGES_MAX);
    store.consume(START + 15);
    assert_eq!(store.declare(apart(max)), Declared::New);
}

/// Ranges that the stores of these tests hold at most.
const RANGES_MAX: usize = 2048;

proptest! {
    /// However true mappings are cut, repeated, overlapped and reordered, each octet that one covers has its place,
    /// and no other has any.
    #[test]
    fn m13_any_cutting_places_each_octet_once(
        cuts in proptest::collection::vec((0u32..320, 1u32..40), 1..60),
        consumed in proptest::collection::vec(0u32..320, 0..6),
    ) {
        let mut store = MappingStore::new(START, RANGES_MAX);
        let mut known = [false; 400];
        let mut next = 0;
        let mut steps = consumed.iter();
        for (i, &(from, len)) in cuts.iter().enumerate() {
            // A mapping maps one run of the truth.
            let len = len.min(16 - from % 16);
            let declared = store.declare(mapping(from, len));
            prop_assert!(matches!(declared, Declared::New | Declared::Known), "{:?}", declared);
            for at in from..from + len {
                known[at as usize] = true;
            }
            if i % 10 == 9 && let Some(&to) = steps.next() {
                next = next.max(to);
                store.consume(START + next);
            }
        }
        for at in next..360 {
            let found = store.covering(START + at).map(|m| m.place(START + at));
            prop_assert_eq!(found, known[at as usize].then(|| truth(at)), "octet {}", at);
        }
    }
}
