use super::queue::{News, SendQueue};
use super::rack::Receipt;
use crate::seq::SeqNum;
use crate::tcp::Item;
use crate::tcp::tests::rig::{Buf, slice};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{OptBytes, SackBlock};
use proptest::prelude::*;

mod rack;

/// Just before the wrap.
const FIRST: u32 = u32::MAX - 3_000;
const LEN: u32 = 100;

fn queue(segments: u32) -> SendQueue<Buf> {
    let mut queue = SendQueue::new(SeqNum(FIRST));
    for n in 0..segments {
        queue.push(Item {
            payload: slice(&[u8::try_from(n % 256).unwrap(); LEN as usize]),
            upper: OptBytes::new(),
            psh: false,
        });
    }
    queue
}

fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

/// An acknowledgment that comes `ms` after the start and tells nothing of its cause.
fn receipt(ms: u64) -> Receipt {
    Receipt {
        now: at(ms),
        answers: None,
        min_rtt: Duration::ZERO,
    }
}

fn block(start: u32, end: u32) -> SackBlock {
    SackBlock {
        start: SeqNum(FIRST) + start,
        end: SeqNum(FIRST) + end,
    }
}

/// What the sums must be, counted from the marks.
fn check(queue: &SendQueue<Buf>) {
    use super::queue::Mark;
    let of = |marks: &[Mark]| -> u32 {
        let sent = queue.entries.iter().take(queue.sent);
        sent.filter(|e| marks.contains(&e.mark))
            .map(super::queue::Entry::seq_len)
            .sum()
    };
    assert_eq!(queue.pipe(), of(&[Mark::Fresh, Mark::Resent]), "pipe");
    assert_eq!(queue.lost(), of(&[Mark::Lost]), "lost");
    let sacked = queue.entries.iter().filter(|e| e.mark == Mark::Sacked);
    assert_eq!(queue.sacked() as usize, sacked.count(), "sacked");
    let all: u32 = queue.entries.iter().map(super::queue::Entry::seq_len).sum();
    assert_eq!(
        queue.flight() + queue.unsent(),
        all,
        "the queue is contiguous"
    );
    assert!(
        queue
            .entries
            .iter()
            .skip(queue.sent)
            .all(|e| e.mark == Mark::Fresh),
        "what was not sent has no mark"
    );
}

/// Below the last segment reported all is lost that was sent before it, once the reordering window has passed.
#[test]
fn t11_what_was_sent_before_an_arrival_is_lost_when_the_window_has_passed() {
    // (reported blocks in segments, lost segments)
    type Row = (&'static [(u32, u32)], &'static [u32]);
    let rows: &[Row] = &[
        (&[(0, 3)], &[]),
        (&[(1, 2)], &[0]),
        (&[(2, 3), (4, 5)], &[0, 1, 3]),
        (&[(3, 4), (6, 9)], &[0, 1, 2, 4, 5]),
    ];
    for (reported, lost) in rows {
        let mut queue = queue(10);
        while queue.send_next(at(0)).is_some() {}
        let mut news = News::default();
        for (start, end) in *reported {
            queue.sack(block(start * LEN, end * LEN), &receipt(100), &mut news);
        }
        queue.conclude(at(100), &news);
        let wnd = Duration::from_millis(25);
        let again = queue.detect_losses(at(100), wnd);
        assert_eq!(again, (!lost.is_empty()).then(|| at(125)), "{reported:?}");
        assert_eq!(queue.lost(), 0, "{reported:?}");
        assert_eq!(queue.detect_losses(at(125), wnd), None, "{reported:?}");
        check(&queue);
        let mut found = Vec::new();
        while let Some((index, entry)) = queue.next_lost() {
            found.push((entry.seq - SeqNum(FIRST)) / LEN);
            queue.resend(index, at(125));
        }
        assert_eq!(found, *lost, "{reported:?}");
    }
}

#[test]
fn t10_blocks_that_cannot_be_are_ignored() {
    let mut queue = queue(10);
    for _ in 0..5 {
        queue.send_next(at(0));
    }
    let mut news = News::default();
    queue.ack(SeqNum(FIRST) + LEN, &receipt(1), &mut news);
    let before = news.delivered;
    for (start, end) in [
        (0, LEN),
        (300, 300),
        (300, 200),
        (200, 501),
        (150, 190),
        (600, 700),
    ] {
        queue.sack(block(start, end), &receipt(1), &mut news);
        check(&queue);
    }
    assert_eq!(news.delivered, before);
}

#[derive(Clone, Debug)]
enum Step {
    Send,
    Resend,
    Ack(u32),
    Sack(u32, u32),
    Detect,
    Timeout,
    HeadLost,
    Cut(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Send),
        4 => Just(Step::Resend),
        2 => (0u32..6_000).prop_map(Step::Ack),
        4 => (0u32..6_000, 1u32..900).prop_map(|(s, l)| Step::Sack(s, s + l)),
        3 => Just(Step::Detect),
        1 => Just(Step::Timeout),
        1 => Just(Step::HeadLost),
        1 => (1u32..100).prop_map(Step::Cut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Whatever a peer reports in whatever order, the sums hold, and nothing is delivered twice or lost from sight.
    #[test]
    fn t10_the_scoreboard_holds_its_sums(steps in prop::collection::vec(step(), 1..200)) {
        let mut queue = queue(60);
        let mut delivered = 0;
        for (n, step) in (1..).zip(steps) {
            let mut news = News::default();
            match step {
                Step::Send => {
                    queue.send_next(at(n));
                },
                Step::Resend => {
                    let index = queue.next_lost().map(|(index, _)| index);
                    if let Some(index) = index {
                        queue.resend(index, at(n));
                    }
                },
                Step::Ack(to) => {
                    let ack = SeqNum(FIRST) + to;
                    if queue.una() < ack && ack <= queue.nxt() {
                        queue.ack(ack, &receipt(n), &mut news);
                    }
                },
                Step::Sack(start, end) => queue.sack(block(start, end), &receipt(n), &mut news),
                Step::Detect => {
                    queue.detect_losses(at(n), Duration::from_millis(n % 3));
                },
                Step::Timeout => {
                    let window = (n % 2 == 0).then(|| Duration::from_millis(n % 3));
                    queue.mark_lost_on_timeout(at(n), window);
                },
                Step::HeadLost => queue.mark_head_lost(),
                Step::Cut(len) => {
                    let index = queue.next_lost().map(|(index, _)| index);
                    match index {
                        Some(index) => queue.cut_lost(index, len),
                        None => queue.cut_unsent(len),
                    }
                },
            }
            queue.conclude(at(n), &news);
            delivered += news.delivered;
            check(&queue);
            prop_assert!(delivered >= queue.una() - SeqNum(FIRST));
            prop_assert!(queue.lost() == 0 || queue.next_lost().is_some(), "lost segments out of sight");
        }
    }
}

/// A retransmission that was lost too is listed by its number, which a partial acknowledgment changes.
#[test]
fn t10_a_partly_acknowledged_loss_stays_in_sight() {
    let mut queue = queue(12);
    for n in 0..4 {
        queue.send_next(at(n));
    }
    queue.mark_lost_on_timeout(at(4), None);
    for n in 5..8 {
        let index = queue.next_lost().map(|(index, _)| index).unwrap();
        queue.resend(index, at(n));
    }
    for n in 8..16 {
        queue.send_next(at(n));
    }
    let mut news = News::default();
    queue.sack(block(4 * LEN, 11 * LEN), &receipt(17), &mut news);
    queue.conclude(at(17), &news);
    queue.detect_losses(at(18), Duration::ZERO);
    assert!(queue.lost() > 0, "retransmissions were lost");
    queue.ack(SeqNum(FIRST) + LEN + 1, &receipt(19), &mut news);
    check(&queue);
    while queue.lost() > 0 {
        let index = queue.next_lost().map(|(index, _)| index);
        queue.resend(index.expect("it is in sight"), at(20));
    }
}

/// Without SACK nobody walks the list of retransmissions: what was acknowledged must leave it all the same.
#[test]
fn t8_retransmissions_that_were_acknowledged_are_forgotten() {
    let mut queue = queue(1_000);
    queue.send_next(at(1));
    for n in 1..1_000 {
        // Something is always in flight.
        queue.send_next(at(1));
        queue.mark_head_lost();
        let index = queue.next_lost().map(|(index, _)| index).unwrap();
        queue.resend(index, at(2));
        let noted = queue.board.as_ref().map_or(0, |board| board.noted());
        assert!(noted <= 2, "{noted} after {n} retransmissions");
        let mut news = News::default();
        queue.ack(SeqNum(FIRST) + n * LEN, &receipt(3), &mut news);
    }
}
