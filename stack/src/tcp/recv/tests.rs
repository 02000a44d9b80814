use super::queue::{Arrival, RecvQueue, SACK_BLOCKS};
use crate::seq::SeqNum;
use crate::tcp::tests::rig::{Buf, slice};
use crate::wire::tcp::SackBlock;
use arrayvec::ArrayVec;
use proptest::prelude::*;

/// Just before the wrap, so that every test crosses it.
const FIRST: u32 = u32::MAX - 500;

fn octet(at: usize) -> u8 {
    u8::try_from((at * 7 + at / 251) % 256).unwrap()
}

fn piece(start: usize, len: usize) -> crate::Slice<Buf> {
    slice(&(start..start + len).map(octet).collect::<Vec<_>>())
}

fn insert(queue: &mut RecvQueue<Buf>, start: usize, len: usize) -> Arrival {
    let at = SeqNum(FIRST) + u32::try_from(start).unwrap();
    queue.insert(at, piece(start, len), 1000)
}

fn blocks(queue: &mut RecvQueue<Buf>, room: usize) -> Vec<(u32, u32)> {
    let mut out = ArrayVec::<SackBlock, SACK_BLOCKS>::new();
    queue.blocks(room, &mut out);
    out.iter()
        .map(|b| (b.start - SeqNum(FIRST), b.end - SeqNum(FIRST)))
        .collect()
}

#[test]
fn t10_blocks_are_most_recent_first() {
    let mut queue = RecvQueue::<Buf>::new(SeqNum(FIRST));
    insert(&mut queue, 100, 10);
    assert_eq!(blocks(&mut queue, 3), [(100, 110)]);
    insert(&mut queue, 300, 10);
    assert_eq!(blocks(&mut queue, 3), [(300, 310), (100, 110)]);
    insert(&mut queue, 200, 10);
    assert_eq!(blocks(&mut queue, 3), [(200, 210), (300, 310), (100, 110)]);
    insert(&mut queue, 110, 10);
    assert_eq!(blocks(&mut queue, 3), [(100, 120), (200, 210), (300, 310)]);
    insert(&mut queue, 120, 80);
    assert_eq!(blocks(&mut queue, 3), [(100, 210), (300, 310)]);
}

#[test]
fn t10_a_burst_of_arrivals_is_reported_whole_by_several_acks() {
    let mut queue = RecvQueue::<Buf>::new(SeqNum(FIRST));
    for n in 1..=6 {
        insert(&mut queue, n * 100, 10);
    }
    assert_eq!(blocks(&mut queue, 3), [(300, 310), (200, 210), (100, 110)]);
    assert!(queue.has_unreported());
    assert_eq!(blocks(&mut queue, 3), [(600, 610), (500, 510), (400, 410)]);
    assert!(!queue.has_unreported());
}

#[test]
fn t10_no_room_for_blocks_still_ends() {
    let mut queue = RecvQueue::<Buf>::new(SeqNum(FIRST));
    insert(&mut queue, 100, 10);
    insert(&mut queue, 100, 10);
    for _ in 0..20 {
        assert!(blocks(&mut queue, 0).is_empty());
    }
    assert!(!queue.has_unreported());
}

#[test]
fn t10_arrivals_are_named() {
    let mut queue = RecvQueue::<Buf>::new(SeqNum(FIRST));
    assert_eq!(insert(&mut queue, 0, 10), Arrival::InOrder);
    assert_eq!(insert(&mut queue, 20, 10), Arrival::OutOfOrder);
    assert_eq!(insert(&mut queue, 22, 5), Arrival::Duplicate);
    assert_eq!(blocks(&mut queue, 4), [(22, 27), (20, 30)], "RFC 2883");
    assert_eq!(insert(&mut queue, 5, 15), Arrival::Filling);
    assert_eq!(blocks(&mut queue, 4), [(5, 10)]);
    assert_eq!(insert(&mut queue, 0, 30), Arrival::Duplicate);
    assert_eq!(queue.octets_beyond(), 0);
}

#[test]
fn what_is_held_beyond_gaps_is_bounded() {
    let mut queue = RecvQueue::<Buf>::new(SeqNum(FIRST));
    let arrivals: Vec<_> = (0..20)
        .map(|n| queue.insert(SeqNum(FIRST) + (10 + 2 * n), piece(0, 1), 8))
        .collect();
    assert_eq!(arrivals[7], Arrival::OutOfOrder);
    assert!(arrivals[8..].iter().all(|a| *a == Arrival::Full));
    assert_eq!(queue.octets_beyond(), 8);
}

#[test]
fn runs_beyond_gaps_are_bounded() {
    let mut queue = RecvQueue::<Buf>::new(SeqNum(FIRST));
    let full = (0..3000).find(|n| {
        let at = SeqNum(FIRST) + (10 + 2 * n);
        queue.insert(at, piece(0, 1), 100_000) == Arrival::Full
    });
    assert_eq!(full, Some(1024));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any order, duplication and overlap: each octet once and in order; the blocks are what is held, the run of the
    /// latest arrival first.
    #[test]
    fn t10_any_arrival_order_delivers_each_octet_once_in_order(
        pieces in prop::collection::vec((0usize..1200, 1usize..120), 1..120),
    ) {
        let mut queue = RecvQueue::<Buf>::new(SeqNum(FIRST));
        let mut have = [false; 1400];
        let mut taken = Vec::new();
        for (start, len) in pieces {
            let old = have[start..start + len].iter().all(|h| *h);
            let before = queue.nxt();
            let arrival = insert(&mut queue, start, len);
            have[start..start + len].fill(true);
            let edge = have.iter().position(|h| !h).unwrap();
            prop_assert_eq!(queue.nxt() - SeqNum(FIRST), u32::try_from(edge).unwrap());
            prop_assert_eq!(arrival == Arrival::Duplicate, old);
            prop_assert_eq!(queue.nxt() > before, matches!(arrival, Arrival::InOrder | Arrival::Filling));
            let held = have[edge..].iter().filter(|h| **h).count();
            prop_assert_eq!(queue.octets_beyond(), held);
            let mut reported = blocks(&mut queue, 4);
            if arrival == Arrival::Duplicate || start < (before - SeqNum(FIRST)) as usize {
                reported.remove(0);
            }
            for (n, (s, e)) in reported.iter().enumerate() {
                let (s, e) = (*s as usize, *e as usize);
                prop_assert!(have[s..e].iter().all(|h| *h), "block {}..{} was not received", s, e);
                prop_assert!(!have[s - 1] && !have[e], "block {}..{} is not whole", s, e);
                if n == 0 && arrival == Arrival::OutOfOrder {
                    prop_assert!(s <= start && start + len <= e, "the latest arrival is not first");
                }
            }
            while let Some((seq, part)) = queue.take() {
                prop_assert_eq!((seq - SeqNum(FIRST)) as usize, taken.len());
                taken.extend_from_slice(part.bytes());
            }
        }
        prop_assert_eq!(&taken, &(0..taken.len()).map(octet).collect::<Vec<_>>());
        prop_assert_eq!(taken.len(), have.iter().position(|h| !h).unwrap());
    }
}
