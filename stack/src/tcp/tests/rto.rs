//! Retransmission: when, what, and how often (RFC 6298, RFC 6675, RFC 5681).

use super::rig::{Rig, ack, plain, sack, stamped, with_sack, with_ts};
use crate::Counter;
use crate::tcp::{Agreed, State};
use crate::time::Duration;

fn measured(agreed: Agreed) -> Agreed {
    Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..agreed
    }
}

#[test]
fn t7_retransmissions_double_to_a_minute_then_the_connection_is_given_up() {
    let mut rig = Rig::new(&plain());
    rig.push(1000);
    assert_eq!(rig.sent(), [(0, 1000)]);
    let waits = [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 60, 60, 60];
    let mut at = 0;
    for (n, wait) in (1..).zip(waits) {
        at += wait * 1000;
        rig.at(at - 1);
        assert_eq!(rig.sent(), [], "1 ms before retransmission {n}");
        rig.at(at);
        // From the fourth on it may be the path that does not take so much.
        let len = if n < 4 { 1000 } else { 536 };
        assert_eq!(rig.sent(), [(0, len)], "retransmission {n}");
        assert_eq!(rig.tcb.consecutive_rtos(), n);
    }
    assert!(at >= 100_000, "R2 of RFC 1122 4.2.3.5");
    rig.at(at + 60_000);
    assert_eq!(rig.sent(), []);
    assert!(rig.tcb.is_closed() && rig.tcb.timed_out());
    assert_eq!(rig.tcb.next_deadline(), None);
    assert_eq!(rig.count(Counter::TcpRto), 15);
    assert_eq!(rig.count(Counter::TcpTimedOut), 1);
}

#[test]
fn t7_rto_after_a_lost_syn_is_three_seconds_and_one_segment() {
    let mut rig = Rig::new(&Agreed {
        syn_lost: true,
        ..plain()
    });
    rig.push(1000);
    rig.push(1000);
    assert_eq!(rig.sent(), [(0, 1000)]);
    assert_eq!(rig.deadline_ms(), Some(3000));
}

#[test]
fn t7_the_timer_starts_anew_with_each_acknowledgment_and_stops_with_the_last() {
    let mut rig = Rig::new(&measured(plain()));
    rig.push(1000);
    rig.push(1000);
    assert_eq!(rig.sent().len(), 2);
    assert_eq!(rig.deadline_ms(), Some(300));
    rig.at(100);
    rig.input(&ack(1000));
    // RTTVAR is 3/4 of 50 ms now, the least variance term 200 ms.
    assert_eq!(rig.deadline_ms(), Some(100 + 300));
    rig.at(110);
    rig.input(&ack(2000));
    assert_eq!(rig.deadline_ms(), None);
}

#[test]
fn t7_karn_keeps_the_back_off_until_something_sent_once_is_acknowledged() {
    let mut rig = Rig::new(&measured(plain()));
    rig.push(1000);
    rig.sent();
    rig.at(300);
    rig.sent();
    rig.at(500);
    rig.input(&ack(1000));
    assert_eq!(rig.tcb.srtt(), Some(Duration::from_millis(100)));
    assert_eq!(rig.tcb.rto(), Duration::from_millis(600));
    rig.push(1000);
    rig.sent();
    rig.at(600);
    rig.input(&ack(2000));
    assert_eq!(rig.tcb.rto(), Duration::from_millis(300));
}

#[test]
fn t7_timestamps_measure_what_was_resent() {
    let mut rig = Rig::new(&measured(with_ts(5)));
    rig.push(988);
    let first = rig.drain();
    let clock = first[0].options.ts.unwrap().val;
    rig.at(300);
    rig.drain();
    rig.at(350);
    rig.input(&stamped(ack(988), 6, clock + 300));
    // SRTT = 7/8 * 100 + 1/8 * 50.
    assert_eq!(rig.tcb.srtt(), Some(Duration::from_micros(93_750)));
    assert_eq!(rig.tcb.rto().as_millis(), 293);
}

#[test]
fn t8_the_acknowledgment_that_ends_a_timeout_opens_the_window_as_any_other() {
    for agreed in [plain(), with_sack()] {
        let mut rig = Rig::new(&measured(agreed));
        rig.push(1000);
        rig.sent();
        while rig.tcb.consecutive_rtos() == 0 {
            let due = rig.due_ms().unwrap();
            rig.at(due);
            rig.sent();
        }
        assert_eq!(rig.tcb.cwnd(), 1000);
        rig.input(&ack(1000));
        assert_eq!(rig.tcb.cwnd(), 2000);
        for _ in 0..4 {
            rig.push(1000);
        }
        assert_eq!(rig.sent(), [(1000, 1000), (2000, 1000)]);
    }
}

#[test]
fn t8_timeout_leaves_one_segment_and_half_the_flight() {
    let mut rig = Rig::new(&measured(plain()));
    for _ in 0..10 {
        rig.push(1000);
    }
    assert_eq!(rig.sent().len(), 10);
    rig.at(300);
    assert_eq!(rig.sent(), [(0, 1000)]);
    assert_eq!((rig.tcb.cwnd(), rig.tcb.ssthresh()), (1000, 5000));
    // The same data times out again: ssthresh is held (RFC 5681 3.1).
    rig.at(900);
    assert_eq!(rig.sent(), [(0, 1000)]);
    assert_eq!((rig.tcb.cwnd(), rig.tcb.ssthresh()), (1000, 5000));
    // Slow start over what was lost.
    rig.at(1000);
    rig.input(&ack(1000));
    assert_eq!(rig.sent(), [(1000, 1000), (2000, 1000)]);
}

#[test]
fn t10_timeout_resends_only_what_no_block_reported() {
    let mut rig = Rig::new(&measured(with_sack()));
    for _ in 0..4 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(10);
    rig.input(&sack(0, &[(1000, 2000)]));
    rig.at(1000);
    let mut resent = rig.sent();
    rig.at(1100);
    rig.input(&sack(1000 + 1000, &[]));
    resent.extend(rig.sent());
    assert!(!resent.iter().any(|(seq, _)| *seq == 1000), "{resent:?}");
    assert!(resent.contains(&(2000, 1000)), "{resent:?}");
}

#[test]
fn t10_a_receiver_that_throws_reported_data_away_gets_it_again() {
    let mut rig = Rig::new(&measured(with_sack()));
    for _ in 0..3 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(10);
    rig.input(&sack(0, &[(1000, 3000)]));
    // The gap is filled, yet the acknowledgment stops at what had been reported.
    rig.at(20);
    rig.input(&ack(1000));
    let mut resent = Vec::new();
    for ms in [1_000, 3_000, 8_000] {
        rig.at(ms);
        resent.extend(rig.sent());
    }
    assert!(resent.contains(&(1000, 1000)), "{resent:?}");
}

/// Its receiver has thrown away the end of a block across which the acknowledgment stops (RFC 2018 8): it reports nothing.
#[test]
fn t10_a_block_across_the_acknowledgment_reports_nothing() {
    let mut rig = Rig::new(&measured(with_sack()));
    for _ in 0..3 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(10);
    rig.input(&ack(1000));
    rig.input(&sack(1000, &[(0, 2000)]));
    assert_eq!(rig.tcb.snd.queue.sacked(), 0);
    rig.input(&sack(1000, &[(2000, 3000)]));
    assert_eq!(rig.tcb.snd.queue.sacked(), 1);
}

#[test]
fn t10_third_report_resends_the_gap_at_once_and_halves_the_window() {
    let mut rig = Rig::new(&measured(with_sack()));
    for _ in 0..12 {
        rig.push(1000);
    }
    assert_eq!(rig.sent().len(), 10);
    rig.at(100);
    rig.input(&sack(0, &[(1000, 2000)]));
    // Limited transmit (RFC 3042): what arrived lets something new go.
    assert_eq!(rig.sent(), [(10_000, 1000)]);
    rig.input(&sack(0, &[(1000, 3000)]));
    assert_eq!(rig.sent(), [(11_000, 1000)]);
    rig.input(&sack(0, &[(1000, 4000)]));
    assert_eq!(rig.sent(), [(0, 1000)]);
    // Half of the ten that the window let go (RFC 5681 3.2 step 2).
    assert_eq!(rig.tcb.ssthresh(), 5000);
    assert!(rig.tcb.in_recovery());
    assert_eq!(rig.count(Counter::TcpFastRecovery), 1);
    rig.at(200);
    rig.input(&ack(12_000));
    assert!(!rig.tcb.in_recovery());
    assert_eq!(rig.count(Counter::TcpRto), 0);
}

/// RFC 9937 6.2: what was reported before the loss was known is not delivered in recovery, so it is no part of RecoverFS.
#[test]
fn t8_half_of_what_is_delivered_in_recovery_goes() {
    let mut rig = Rig::new(&measured(with_sack()));
    (0..20).for_each(|_| rig.push(1000));
    assert_eq!(rig.sent().len(), 10);
    rig.at(100);
    for end in [2000, 3000] {
        rig.input(&sack(0, &[(1000, end)]));
        assert_eq!(rig.sent().len(), 1);
    }
    rig.input(&sack(0, &[(1000, 4000)]));
    assert_eq!(rig.sent(), [(0, 1000)]);
    assert_eq!(rig.tcb.ssthresh(), 5000);
    // Twelve were sent, and two reported: of ten the half.
    for end in [5000, 6000] {
        rig.input(&sack(0, &[(1000, end)]));
        assert_eq!(rig.sent(), []);
    }
    rig.input(&sack(0, &[(1000, 7000)]));
    assert_eq!(rig.sent(), [(12_000, 1000)]);
}

#[test]
fn t8_three_duplicate_acks_resend_the_oldest_and_partial_acks_the_next() {
    let mut rig = Rig::new(&measured(plain()));
    for _ in 0..10 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(100);
    for n in 1..=2 {
        rig.input(&ack(0));
        assert_eq!(rig.sent(), [], "duplicate {n}");
    }
    rig.input(&ack(0));
    assert_eq!(rig.sent(), [(0, 1000)]);
    rig.at(200);
    rig.input(&ack(4000));
    assert_eq!(rig.sent(), [(4000, 1000)]);
    assert!(rig.tcb.in_recovery());
    rig.at(300);
    rig.input(&ack(10_000));
    assert!(!rig.tcb.in_recovery());
    // RFC 6582 3.2 step 3: ssthresh, or no more than one beyond what is in flight.
    assert_eq!(rig.tcb.cwnd(), 2000);
}

/// RFC 6582 3.2 step 2: what a timeout sent again may have come twice, and the answers to that tell of no loss.
#[test]
fn t8_duplicate_acks_of_what_a_timeout_resent_start_no_recovery() {
    let mut rig = Rig::new(&measured(plain()));
    for _ in 0..3 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(300);
    assert_eq!(rig.sent(), [(0, 1000)]);
    rig.at(400);
    rig.input(&ack(1000));
    assert_eq!(rig.sent(), [(1000, 1000), (2000, 1000)]);
    rig.at(500);
    rig.input(&ack(3000));
    for _ in 0..3 {
        rig.push(1000);
    }
    rig.sent();
    for _ in 0..3 {
        rig.input(&ack(3000));
    }
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.count(Counter::TcpFastRecovery), 0);
    // One segment further on they are about what was sent once.
    rig.input(&ack(4000));
    for _ in 0..3 {
        rig.input(&ack(4000));
    }
    assert_eq!(rig.sent(), [(4000, 1000)]);
    assert_eq!(rig.count(Counter::TcpFastRecovery), 1);
}

/// RFC 5681 2: a duplicate has the largest number that was acknowledged. What the network held back has an older one.
#[test]
fn t8_acks_that_come_late_are_no_duplicates() {
    let mut rig = Rig::new(&measured(plain()));
    for _ in 0..10 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(100);
    rig.input(&ack(4000));
    for late in [1000, 2000, 3000] {
        rig.input(&ack(late));
    }
    assert_eq!(rig.sent(), []);
    assert_eq!(rig.count(Counter::TcpFastRecovery), 0);
}

/// RFC 3042 2: each of the first two duplicate ACKs lets a new segment go, if the peer's window takes it, and the
/// congestion window stays as it is; the third one starts recovery.
#[test]
fn t8_limited_transmit_sends_two_new_segments_for_two_duplicates() {
    let mut rig = Rig::new(&measured(plain()));
    for _ in 0..14 {
        rig.push(1000);
    }
    assert_eq!(rig.sent().len(), 10);
    rig.at(100);
    for n in 10..12 {
        rig.input(&ack(0));
        assert_eq!(rig.sent(), [(n * 1000, 1000)]);
        assert_eq!(rig.tcb.cwnd(), 10_000);
    }
    rig.input(&ack(0));
    assert_eq!(rig.sent(), [(0, 1000)]);
    // Half of the ten that the window let go; the two do not count (RFC 5681 3.2 step 2).
    assert_eq!(rig.tcb.ssthresh(), 5000);
    let mut closed = Rig::new(&Agreed {
        snd_wnd: 10_000,
        ..measured(plain())
    });
    for _ in 0..14 {
        closed.push(1000);
    }
    closed.sent();
    for _ in 0..2 {
        let mut dup = ack(0);
        dup.wnd = 10_000;
        closed.input(&dup);
        assert_eq!(closed.sent(), [], "the peer's window is full");
    }
}

#[test]
fn t8_a_window_update_or_data_is_no_duplicate_ack() {
    let mut rig = Rig::new(&measured(plain()));
    for _ in 0..10 {
        rig.push(1000);
    }
    rig.sent();
    for wnd in [60_000, 50_000, 40_000, 30_000] {
        let mut update = ack(0);
        update.wnd = wnd;
        rig.input(&update);
    }
    for n in 0..4 {
        rig.input(&super::rig::seg(n, 0, crate::wire::tcp::Flags::ACK, b"x"));
    }
    assert!(rig.sent().iter().all(|(_, len)| *len == 0));
    assert!(!rig.tcb.in_recovery());
}

#[test]
fn t11_a_lost_retransmission_is_seen_by_what_was_sent_after_it() {
    let mut rig = Rig::new(&measured(with_sack()));
    for _ in 0..30 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(100);
    rig.input(&sack(0, &[(1000, 4000)]));
    let resent = rig.sent();
    assert_eq!(resent.first(), Some(&(0, 1000)));
    // New data goes out a little later and is reported: the retransmission before it was lost.
    rig.at(110);
    rig.input(&sack(0, &[(1000, 8000)]));
    let later = rig.sent();
    let new = later.iter().map(|(seq, _)| *seq).max().unwrap();
    assert!(new >= 10_000, "{later:?}");
    rig.at(250);
    rig.input(&sack(0, &[(1000, new + 1000)]));
    // Sent at 100, overdue after the 140 ms of that round trip: while a loss is repaired and nothing was overtaken so far,
    // nothing is left for reordering (RFC 8985 6.2 step 4).
    assert_eq!(rig.sent().first(), Some(&(0, 1000)));
    assert_eq!(rig.count(Counter::TcpRto), 0);
}

#[test]
fn t11_few_segments_after_the_gap_are_enough_when_time_passes() {
    let mut rig = Rig::new(&measured(with_sack()));
    for _ in 0..2 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(100);
    rig.input(&sack(0, &[(1000, 2000)]));
    assert_eq!(rig.sent(), []);
    // RTT 100 ms and a quarter of the least one for reordering.
    assert_eq!(rig.deadline_ms(), Some(125));
    rig.at(125);
    assert_eq!(rig.sent(), [(0, 1000)]);
    assert_eq!(rig.count(Counter::TcpRto), 0);
}

#[test]
fn t15_a_smaller_path_cuts_what_is_in_flight_and_resends_it() {
    let mut rig = Rig::new(&measured(plain()));
    rig.push(1000);
    rig.push(300);
    rig.sent();
    rig.tcb.set_smss(600);
    assert_eq!(rig.sent(), [(0, 600), (600, 400)]);
    rig.tcb.set_smss(900);
    assert_eq!(rig.tcb.smss(), 600);
    rig.at(50);
    rig.input(&ack(1300));
    assert_eq!(rig.tcb.state(), State::Established);
    assert_eq!(rig.tcb.queued(), 0);
}

#[test]
fn t8_an_idle_connection_starts_again_at_the_initial_window() {
    let mut rig = Rig::new(&measured(plain()));
    for round in 0..4 {
        for _ in 0..40 {
            rig.push(1000);
        }
        let mut at = 100 * (round + 1);
        while rig.tcb.queued() > 0 {
            rig.sent();
            rig.at(at);
            at += 1;
            let up_to = rig.tcb.snd_nxt() - crate::SeqNum(super::rig::ISS + 1);
            rig.input(&ack(up_to));
        }
    }
    assert!(rig.tcb.cwnd() > 10_000, "{}", rig.tcb.cwnd());
    rig.at(60_000);
    rig.push(1000);
    rig.sent();
    assert_eq!(rig.tcb.cwnd(), 10_000);
}

#[test]
fn retransmissions_reuse_the_very_same_buffer() {
    let mut rig = Rig::new(&plain());
    rig.push(1000);
    let first = rig.drain();
    rig.at(1000);
    let second = rig.drain();
    let at = |seg: &crate::wire::tcp::OutSegment<super::rig::Buf>| super::rig::address(seg);
    assert_eq!(at(&first[0]), at(&second[0]));
}

/// Sequence numbers that were noted long ago come round again: what is compared with them must not turn.
#[test]
fn t8_fast_retransmit_works_after_two_gigabytes_without_a_loss() {
    let mut rig = Rig::new(&Agreed {
        smss: 60_000,
        ..plain()
    });
    let chunk = super::rig::slice(&[0x55; 60_000]);
    let mut up_to = 0_u32;
    while up_to < (1 << 31) + 100_000 {
        rig.tcb.send(chunk.clone());
        assert_eq!(rig.drain().len(), 1);
        up_to += 60_000;
        rig.input(&ack(up_to));
    }
    for _ in 0..8 {
        rig.push(1000);
    }
    assert_eq!(rig.sent().len(), 8);
    for _ in 0..3 {
        rig.input(&ack(up_to));
    }
    assert_eq!(rig.sent().first(), Some(&(up_to, 1000)));
    assert_eq!(rig.count(Counter::TcpFastRecovery), 1);
}

/// The window grows only while it is what limits us, however much was sent since it last was (RFC 7661).
#[test]
fn t8_the_window_stays_after_two_gigabytes_within_it() {
    let mut rig = Rig::new(&Agreed {
        smss: 6_000,
        ..plain()
    });
    let chunk = super::rig::slice(&[0x55; 6_000]);
    let mut up_to = 0_u32;
    let mut at_rest = 0;
    while up_to < (1 << 31) + 100_000_000 {
        rig.tcb.send(chunk.clone());
        rig.drain();
        up_to += 6_000;
        rig.input(&ack(up_to));
        if up_to == 60_000_000 {
            at_rest = rig.tcb.cwnd();
        }
    }
    assert_eq!(rig.tcb.cwnd(), at_rest);
}

/// A tail has nothing after it that could report it: without SACK the timer repairs it, first the oldest, then by slow
/// start, and after a pause the timer is that of the path again.
#[test]
fn t7_a_lost_tail_takes_one_timeout_and_leaves_nothing_behind() {
    let mut rig = Rig::new(&measured(plain()));
    for _ in 0..6 {
        rig.push(1000);
    }
    assert_eq!(rig.sent().len(), 6);
    rig.at(100);
    rig.input(&ack(3000));
    // 100 ms of round trip and the least variance term.
    assert_eq!(rig.deadline_ms(), Some(400));
    rig.at(400);
    assert_eq!(rig.sent(), [(3000, 1000)]);
    rig.at(500);
    rig.input(&ack(4000));
    assert_eq!(rig.sent(), [(4000, 1000), (5000, 1000)]);
    rig.at(600);
    rig.input(&ack(6000));
    assert!(!rig.tcb.in_recovery());
    assert_eq!(rig.deadline_ms(), None);
    // Karn: the back-off lasts until something sent once is acknowledged.
    rig.at(60_000);
    rig.push(1000);
    assert_eq!(rig.sent(), [(6000, 1000)]);
    assert_eq!(rig.deadline_ms(), Some(60_600));
    rig.at(60_100);
    rig.input(&ack(7000));
    assert_eq!(rig.tcb.rto(), Duration::from_millis(300));
    assert_eq!(rig.count(Counter::TcpRto), 1);
}
