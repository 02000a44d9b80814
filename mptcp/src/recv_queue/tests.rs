use super::*;
use crate::testing::slice;
use proptest::prelude::*;

fn octets(from: usize, to: usize) -> Vec<u8> {
    (from..to)
        .map(|at| u8::try_from(at * 7 % 251).expect("small"))
        .collect()
}

fn drain(queue: &mut RecvQueue<crate::testing::Buf>) -> Vec<u8> {
    core::iter::from_fn(|| queue.take())
        .flat_map(|piece| piece.bytes().to_vec())
        .collect()
}

#[test]
fn what_fills_the_gap_is_never_refused_for_what_lies_beyond_it() {
    let start = DataSeq(100);
    let mut queue = RecvQueue::new(start, 4);
    let edge = start + 1000;
    for i in 1..5 {
        assert_eq!(
            queue.insert(start + i * 10, slice(vec![0; 5]), edge),
            Received::OutOfOrder
        );
    }
    assert_eq!(
        queue.insert(start + 60, slice(vec![0; 5]), edge),
        Received::Refused
    );
    assert_eq!(
        queue.insert(start, slice(vec![0; 10]), edge),
        Received::InOrder
    );
    assert_eq!(queue.next(), start + 15);
    assert_eq!(queue.held(), 15 + 10);
}

/// Each piece holds a whole packet buffer, however short it is: a window alone would let an owner that takes nothing hold
/// millions.
#[test]
fn pieces_that_the_owner_does_not_take_are_bounded() {
    let start = DataSeq(100);
    let mut queue = RecvQueue::new(start, 4);
    let edge = start + 1000;
    for i in 0..4 {
        let piece = slice(vec![0; 1]);
        assert_eq!(queue.insert(start + i, piece, edge), Received::InOrder);
    }
    let next = || slice(vec![0; 1]);
    assert_eq!(queue.insert(start + 4, next(), edge), Received::Refused);
    assert_eq!(queue.pieces(), 4);
    queue.take();
    assert_eq!(queue.insert(start + 4, next(), edge), Received::InOrder);
}

#[test]
fn m15_nothing_beyond_the_window_is_taken() {
    let start = DataSeq(u64::MAX - 20);
    let mut queue = RecvQueue::new(start, 100);
    assert_eq!(
        queue.insert(start, slice(octets(0, 50)), start + 30),
        Received::InOrder
    );
    assert_eq!(queue.next(), start + 30);
    assert_eq!(
        queue.insert(start + 30, slice(octets(30, 50)), start + 30),
        Received::Refused
    );
    assert_eq!(
        queue.insert(start, slice(octets(0, 30)), start + 30),
        Received::Duplicate
    );
    assert_eq!(drain(&mut queue), octets(0, 30));
    assert_eq!(queue.taken(), start + 30);
}

proptest! {
    /// Any cutting, repeating, overlapping and reordering delivers each octet once and in order, also where the numbers
    /// wrap at 64 bits.
    #[test]
    fn m13_any_order_delivers_once(
        parts in proptest::collection::vec((0usize..300, 1usize..60), 0..80),
        takes in proptest::collection::vec(any::<bool>(), 80),
        start in prop_oneof![Just(u64::MAX - 150), Just(0xffff_ff00u64), any::<u64>()],
    ) {
        let start = DataSeq(start);
        let mut queue = RecvQueue::new(start, 10_000);
        let edge = start + 400;
        let mut got = Vec::new();
        let all = (0..300).step_by(50).map(|at| (at, 50));
        for (i, (at, len)) in parts.into_iter().chain(all).enumerate() {
            let end = (at + len).min(300);
            queue.insert(start + at as u64, slice(octets(at, end)), edge);
            let held: usize = queue.ahead.iter().map(|(_, piece)| piece.len()).sum();
            prop_assert_eq!(held, queue.ahead_len);
            if takes.get(i).copied().unwrap_or(true) {
                got.extend(drain(&mut queue));
            }
        }
        got.extend(drain(&mut queue));
        prop_assert_eq!(got, octets(0, 300));
        prop_assert_eq!(queue.next(), start + 300);
        prop_assert_eq!(queue.held(), 0);
    }
}
