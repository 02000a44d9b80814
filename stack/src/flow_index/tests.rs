use super::{FILLED, FlowHash, FlowIndex, SPARE, WAYS};
use crate::flow::{FlowKey, Side, Tuple};
use crate::flow_table::Full;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The key of flow `n`: so the numbers name their keys, as an owner's places do.
fn key(n: u32) -> FlowKey {
    let [a, b, c, d] = n.to_be_bytes();
    FlowKey {
        side: if n & 1 == 0 { Side::Access } else { Side::Core },
        tuple: Tuple {
            src: [10, a, b, c].into(),
            dst: [10, 0, 0, d >> 1].into(),
            src_port: 1,
            dst_port: 2,
        },
    }
}

fn insert(index: &mut FlowIndex, n: u32) -> Result<(), Full> {
    index.insert(index.hash(&key(n)), n, |other| other == n)
}

fn get(index: &FlowIndex, n: u32) -> Option<u32> {
    index
        .get(index.hash(&key(n)))
        .find(|&other| key(other) == key(n))
}

#[test]
fn it_takes_as_many_as_it_was_made_for_and_no_more() {
    for (capacity, seed) in [(1, 1), (13, 2), (1_000, 3), (100_000, 4), (100_000, 5)] {
        let mut index = FlowIndex::new(capacity, seed);
        let capacity = u32::try_from(capacity).unwrap();
        for n in 0..capacity {
            assert_eq!(insert(&mut index, n), Ok(()), "{n} of {capacity}");
        }
        assert_eq!(insert(&mut index, capacity), Err(Full));
        assert_eq!(insert(&mut index, 0), Ok(()), "one that is in is replaced");
        for n in 0..=capacity {
            assert_eq!(get(&index, n), (n < capacity).then_some(n));
        }
        let places = index.buckets.len() * WAYS;
        let least = index.capacity * FILLED.1 / FILLED.0;
        assert!(places < least + (SPARE + 1) * WAYS, "{places} places");
    }
}

#[test]
fn what_is_replaced_keeps_its_entry_even_where_no_other_fits() {
    let mut index = FlowIndex::new(13, 2);
    for n in 0..13 {
        insert(&mut index, n).unwrap();
    }
    let hash = index.hash(&key(5));
    assert!(index.replace(hash, 50, |value| value == 5));
    assert!(!index.replace(hash, 51, |value| value == 5), "it is gone");
    assert!(index.get(hash).any(|value| value == 50));
    assert_eq!((index.len(), get(&index, 4)), (13, Some(4)));
    assert_eq!(index.remove(hash, |value| value == 50), Some(50));
    assert!(!index.replace(hash, 52, |_| true), "nothing is entered");
    assert_eq!(index.len(), 12);
}

/// Keys that all have the same two buckets: what somebody could choose who knew the secret.
#[test]
fn keys_that_meet_fill_two_buckets_and_are_refused_then() {
    let mut index = FlowIndex::new(10_000, 7);
    let hash = FlowHash(0x0123_4567_89ab_cdef);
    for value in 0..100 {
        let entered = index.insert(hash, value, |other| other == value);
        assert_eq!(entered.is_ok(), (value as usize) < 2 * WAYS, "{value}");
    }
    assert_eq!(index.len(), 2 * WAYS);
    for value in 0..100 {
        let found = index.remove(hash, |other| other == value);
        assert_eq!(found.is_some(), (value as usize) < 2 * WAYS, "{value}");
    }
    assert!(index.is_empty());
}

#[test]
fn the_other_bucket_of_the_other_is_the_first() {
    for capacity in [1, 2, 15, 720, 88_884] {
        let index = FlowIndex::new(capacity, 7);
        for n in 0..1_000 {
            let hash = index.hash(&key(n));
            let first = index.first(hash);
            let second = index.other(first, hash.tag());
            assert_eq!(index.other(second, hash.tag()), first);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn behaves_like_a_map(
        seed: u64,
        capacity in 1..200usize,
        ops in prop::collection::vec((0..3u8, 0..250u32), 0..1_000),
    ) {
        let mut index = FlowIndex::new(capacity, seed);
        let mut model = BTreeMap::new();
        for (op, n) in ops {
            match op {
                0 => {
                    let fits = model.len() < capacity || model.contains_key(&n);
                    prop_assert_eq!(insert(&mut index, n).is_ok(), fits);
                    if fits {
                        model.insert(n, n);
                    }
                },
                1 => {
                    let removed = index.remove(index.hash(&key(n)), |other| other == n);
                    prop_assert_eq!(removed, model.remove(&n));
                },
                _ => prop_assert_eq!(get(&index, n), model.get(&n).copied()),
            }
            prop_assert_eq!(index.len(), model.len());
        }
        for &n in model.keys() {
            prop_assert_eq!(get(&index, n), Some(n));
        }
    }
}
