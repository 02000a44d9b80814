//! What is spread over time instead of sent as acknowledgments come.

use super::network::{Features, Link, Network, pattern};
use super::rig::{Rig, ack, plain, slice, with_sack};
use crate::Counter;
use crate::tcp::Agreed;
use crate::tcp::congestion::Algorithm;
use crate::time::Duration;

/// Runs every timer until `ms` after the start; (when, first octet) of what leaves.
fn until(rig: &mut Rig, ms: u64) -> Vec<(u64, u32)> {
    let mut sent = Vec::new();
    while let Some(due) = rig.due_ms()
        && due <= ms
    {
        rig.at(due);
        sent.extend(rig.sent().iter().map(|(seq, _)| (due, *seq)));
    }
    sent
}

fn paced(segments: usize) -> Rig {
    let mut rig = Rig::new(&Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..plain()
    });
    rig.tcb.set_pacing();
    for _ in 0..segments {
        rig.push(1000);
    }
    rig
}

/// A window of ten segments in a round trip of 100 ms, twice that in slow start: one in 5 ms. What a late timer would miss,
/// 2 ms, is given at the start.
#[test]
fn t8_a_window_leaves_over_half_a_round_trip_in_slow_start() {
    let mut rig = paced(20);
    assert_eq!(rig.sent(), [(0, 1000)]);
    let sent = until(&mut rig, 99);
    let expected: Vec<_> = (1..10).map(|n| (u64::from(n) * 5 - 2, n * 1000)).collect();
    assert_eq!(sent, expected);
    // The window is full: no timer but that of retransmission runs.
    assert_eq!(rig.deadline_ms(), Some(300));
    // An acknowledgment of all lets one go, not twenty.
    rig.at(100);
    rig.input(&ack(10_000));
    assert_eq!(rig.sent(), [(10_000, 1000)]);
}

/// In avoidance a quarter more than the window in a round trip.
#[test]
fn t8_in_avoidance_the_rate_is_a_quarter_above_the_windows() {
    let mut rig = paced(10);
    rig.tcb.snd.cc = crate::tcp::congestion::Congestion::new(Algorithm::NewReno, 10_000);
    crate::tcp::congestion::CongestionControl::on_loss(&mut rig.tcb.snd.cc, 16_000, 1000);
    assert_eq!(rig.sent(), [(0, 1000)]);
    let sent = until(&mut rig, 99);
    let expected: Vec<_> = (1..10).map(|n| (u64::from(n) * 8 - 2, n * 1000)).collect();
    assert_eq!(sent, expected);
}

/// A timer that fires late makes up for what it missed, but not for a pause.
#[test]
fn t8_a_late_timer_makes_up_for_two_milliseconds() {
    let mut rig = paced(10);
    rig.sent();
    rig.at(9);
    // Due at 3 and at 8.
    assert_eq!(rig.sent(), [(1000, 1000)]);
    let mut rig = paced(10);
    rig.sent();
    rig.at(4);
    assert_eq!(rig.sent(), [(1000, 1000)]);
    assert_eq!(
        rig.deadline_ms(),
        Some(8),
        "not 9: the clock was late by one"
    );
}

/// What a timeout sends is not held back by what left shortly before.
#[test]
fn t8_a_timeout_does_not_wait_for_its_turn() {
    let mut rig = paced(1);
    assert_eq!(rig.sent(), [(0, 1000)]);
    rig.at(299);
    (0..3).for_each(|_| rig.push(1000));
    assert_eq!(rig.sent(), [(1000, 1000)]);
    assert_eq!(rig.due_ms(), Some(300), "the timeout; the turn is at 302");
    rig.at(300);
    assert_eq!(rig.sent(), [(0, 1000)]);
}

/// Nor is a loss probe, however slow the path: BBR may hold a segment back for longer than two round trips.
#[test]
fn t8_a_loss_probe_does_not_wait_for_its_turn() {
    let mut rig = Rig::new(&Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..with_sack()
    });
    rig.tcb.set_congestion(Algorithm::Bbr);
    rig.push(1000);
    assert_eq!(rig.sent(), [(0, 1000)]);
    // An acknowledgment of nothing, at which the rate is computed: a few octets a second.
    crate::tcp::congestion::CongestionControl::set_cwnd(&mut rig.tcb.snd.cc, 1);
    rig.input(&ack(0));
    rig.at(10);
    (0..2).for_each(|_| rig.push(1000));
    assert_eq!(rig.sent(), [(1000, 1000)]);
    assert_eq!(rig.due_ms(), Some(210), "twice the round trip");
    rig.at(210);
    assert_eq!(rig.sent(), [(2000, 1000)]);
    assert_eq!(rig.count(Counter::TcpLossProbe), 1);
}

/// What a timeout sends is not held back, and a connection that is over waits for nothing.
#[test]
fn t8_what_asks_for_an_answer_is_not_held_back() {
    let mut rig = paced(1);
    rig.sent();
    rig.at(300);
    assert_eq!(rig.sent(), [(0, 1000)]);
    let mut rig = paced(10);
    rig.sent();
    assert_eq!(rig.deadline_ms(), Some(3));
    rig.abort();
    assert_eq!(rig.deadline_ms(), None);
}

/// A sender that had paused has a window and no acknowledgments to spread it by: the queue on its way holds half.
#[test]
fn t8_a_burst_after_a_pause_overflows_no_short_queue() {
    let dropped = |pacing: bool| {
        let links = [Link::new(5_000_000, 20, 30_000), Link::new(0, 20, 0)];
        let features = Features {
            sack: true,
            ts: true,
        };
        let mut net = Network::new(2, &features, links);
        if pacing {
            net.ends[0].tcb.set_pacing();
        }
        let idle = |net: &Network| net.ends[0].tcb.queued() == 0;
        let long = Duration::from_secs(20);
        for _ in 0..30 {
            net.ends[0].tcb.send(slice(&pattern(60_000, 1)));
            net.run(long, idle);
            net.now = net.now + Duration::from_millis(100);
        }
        net.dropped
    };
    let (burst, spread) = (dropped(false), dropped(true));
    assert!(burst >= 10, "{burst}");
    assert_eq!(spread, 0);
}

/// Recovery may leave a window of nothing; the simulator had an end of stream wait for minutes behind the segment that was sent
/// then.
#[test]
fn t8_a_window_of_nothing_does_not_hold_the_next_segment_for_minutes() {
    let mut rig = paced(2);
    crate::tcp::congestion::CongestionControl::set_cwnd(&mut rig.tcb.snd.cc, 0);
    assert_eq!(rig.sent(), [(0, 1000)]);
    rig.at(100);
    rig.input(&ack(1000));
    let mut sent: Vec<_> = rig.sent().iter().map(|(seq, _)| (100, *seq)).collect();
    sent.extend(until(&mut rig, 200));
    assert_eq!(sent.first().map(|(_, seq)| *seq), Some(1000), "{sent:?}");
}
