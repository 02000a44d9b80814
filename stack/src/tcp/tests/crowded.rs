//! A full queue of our own device, which is answered as a mark is (RFC 3168 6.1.2).

use super::rig::{Rig, ack, plain};
use crate::counters::Counter;
use crate::tcp::Agreed;
use crate::time::Duration;

/// A connection over 100 ms with ten segments under way.
fn busy() -> Rig {
    let mut rig = Rig::new(&Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..plain()
    });
    (0..10).for_each(|_| rig.push(1000));
    assert_eq!(rig.sent().len(), 10);
    rig
}

fn tell(rig: &mut Rig) {
    let mut cx = crate::Cx {
        now: rig.now,
        rng: &mut rig.rng,
        counters: &mut rig.counters,
    };
    rig.tcb.on_crowded(&mut cx);
}

#[test]
fn a_full_queue_of_ours_reduces_the_window_once_in_a_round_trip_and_nothing_goes_again() {
    let mut rig = busy();
    let before = rig.tcb.cwnd();
    tell(&mut rig);
    let reduced = rig.tcb.cwnd();
    assert!(
        reduced < before && reduced >= before / 2,
        "{before} {reduced}"
    );
    rig.at(100);
    rig.input(&ack(9_000));
    let grown = rig.tcb.cwnd();
    tell(&mut rig);
    assert_eq!(rig.tcb.cwnd(), grown, "the same round trip");
    rig.input(&ack(10_000));
    rig.push(1000);
    rig.push(1000);
    rig.sent();
    tell(&mut rig);
    assert_eq!(rig.count(Counter::TcpCongestionOwn), 2);
    assert_eq!(rig.count(Counter::TcpRetransmitted), 0);
}

#[test]
fn a_full_queue_changes_nothing_where_nothing_travels_or_a_loss_is_repaired() {
    let mut rig = busy();
    (0..3).for_each(|_| {
        rig.input(&ack(0));
    });
    rig.sent();
    assert!(rig.tcb.in_recovery());
    let (cwnd, ssthresh) = (rig.tcb.cwnd(), rig.tcb.ssthresh());
    tell(&mut rig);
    assert_eq!((rig.tcb.cwnd(), rig.tcb.ssthresh()), (cwnd, ssthresh));
    rig.at(150);
    rig.input(&ack(10_000));
    let cwnd = rig.tcb.cwnd();
    tell(&mut rig);
    assert_eq!(rig.tcb.cwnd(), cwnd);
    assert_eq!(rig.count(Counter::TcpCongestionOwn), 0);
}
