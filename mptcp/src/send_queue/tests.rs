use super::*;
use crate::testing::{Buf, slice};

const START: DataSeq = DataSeq(u64::MAX - 150);

fn queue_of(pieces: usize) -> SendQueue<Buf> {
    let mut queue = SendQueue::new(START);
    for _ in 0..pieces {
        queue.push(slice(vec![0; 100]));
    }
    queue
}

#[test]
fn m15_data_acks_move_on_in_whole_and_in_part_and_never_ahead() {
    let mut queue = queue_of(5);
    for slot in 0..3 {
        assert!(queue.send_head(100, slot, Instant::ZERO).is_some());
    }
    assert_eq!(queue.acknowledge(START + 301, false), DataAcked::NeverSent);
    assert_eq!(
        queue.acknowledge(START + 150, false),
        DataAcked::Octets(150)
    );
    assert_eq!(queue.acknowledge(START + 100, false), DataAcked::Nothing);
    assert_eq!(
        queue.oldest().map(|chunk| (chunk.dsn, chunk.payload.len())),
        Some((START + 150, 50))
    );
    assert_eq!(queue.acknowledge(START + 301, true), DataAcked::Octets(150));
    assert_eq!(
        (queue.una(), queue.in_flight(), queue.len()),
        (START + 300, 0, 200)
    );
}

#[test]
fn a_piece_is_cut_to_what_the_subflow_takes() {
    let mut queue = queue_of(1);
    let (first, head) = queue.send_head(60, 0, Instant::ZERO).expect("data");
    let (second, tail) = queue.send_head(60, 0, Instant::ZERO).expect("data");
    assert_eq!(
        (first, head.len(), second, tail.len()),
        (START, 60, START + 60, 40)
    );
    assert!(queue.all_sent());
}

/// So that a port need not chain headers of its own to it.
#[test]
fn the_first_part_of_a_piece_that_is_cut_keeps_the_room_before_it() {
    let mut piece = slice(vec![0; 100]).narrow(40..100);
    piece.only_from_here();
    let mut queue = SendQueue::new(START);
    queue.push(piece);
    let mut room = || {
        let (_, payload) = queue.send_head(30, 0, Instant::ZERO).expect("data");
        payload.has_room()
    };
    assert_eq!((room(), room()), (true, false));
}

#[test]
fn m29_what_is_to_be_sent_again_is_skipped_once_acknowledged_and_follows_a_partial_one() {
    let mut queue = queue_of(4);
    for _ in 0..4 {
        queue.send_head(100, 1, Instant::ZERO);
    }
    assert_eq!(
        queue.send_again(usize::MAX, |chunk| chunk.carriers.has(1)),
        4
    );
    assert_eq!(queue.send_again(usize::MAX, |_| true), 0, "each waits once");
    queue.acknowledge(START + 130, false);
    let (dsn, payload, carriers) = queue.again_head().expect("the rest of the second");
    assert_eq!(
        (dsn, payload.len(), carriers.has(1)),
        (START + 130, 70, true)
    );
    queue.sent_again(2, Instant::ZERO);
    let (dsn, ..) = queue.again_head().expect("the third");
    assert_eq!(dsn, START + 200);
    queue.acknowledge(START + 400, false);
    assert!(queue.again_head().is_none());
}

#[test]
fn a_freed_slot_counts_as_a_carrier_no_more() {
    let mut queue = queue_of(1);
    queue.send_head(100, 3, Instant::ZERO);
    queue.forget(3);
    assert_eq!(
        queue.send_again(1, |chunk| chunk.carriers == SlotSet::default()),
        1
    );
}
