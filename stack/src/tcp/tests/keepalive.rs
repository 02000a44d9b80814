//! Probes of a silent peer, by RFC 9293 3.8.4 and RFC 1122 4.2.3.6.

use super::rig::{ISS, Rig, START, ack, plain};
use crate::Counter;
use crate::seq::SeqNum;
use crate::tcp::{KEEPALIVE_PROBES, State};
use crate::time::Duration;

fn probing(seconds: u64) -> Rig {
    let mut rig = Rig::new(&plain());
    rig.tcb.set_keepalive(START, Duration::from_secs(seconds));
    rig
}

#[test]
fn t16_silence_is_probed_below_the_window_and_an_answer_ends_it() {
    let mut rig = probing(30);
    rig.at(29_999);
    assert!(rig.drain().is_empty());
    rig.at(30_000);
    let sent = rig.drain();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].seq, SeqNum(ISS), "one below SND.NXT");
    assert!(sent[0].payload.is_none());
    rig.at(30_050);
    rig.input(&ack(0));
    rig.at(60_000);
    assert!(rig.drain().is_empty(), "heard half a minute ago at most");
    rig.at(60_050);
    assert_eq!(rig.drain().len(), 1);
    assert_eq!(rig.count(Counter::TcpKeepalive), 2);
}

#[test]
fn t16_a_peer_that_answers_no_probe_is_given_up_in_time() {
    let mut rig = probing(30);
    let mut sent = 0;
    let mut at = 0;
    while !rig.tcb.is_closed() {
        at = u64::try_from(rig.deadline_ms().unwrap()).unwrap();
        rig.at(at);
        sent += rig.drain().len();
    }
    assert_eq!(sent, usize::from(KEEPALIVE_PROBES));
    assert_eq!(at, 30_000 * (1 + u64::from(KEEPALIVE_PROBES)));
    assert!(rig.tcb.timed_out());
    assert_eq!(rig.count(Counter::TcpKeepaliveTimedOut), 1);
}

#[test]
fn t16_what_is_in_flight_probes_by_itself() {
    let mut rig = probing(1);
    rig.push(100);
    rig.drain();
    rig.at(1_000);
    rig.drain();
    assert_eq!(rig.count(Counter::TcpKeepalive), 0);
    assert_eq!(rig.count(Counter::TcpRetransmitted), 1);
}

/// RFC 9293 has no timer in FIN-WAIT-2, so a peer that vanished there would stay for ever.
#[test]
fn t16_a_peer_that_vanishes_in_fin_wait_2_is_given_up_too() {
    let mut rig = probing(30);
    rig.tcb.finish();
    rig.drain();
    rig.input(&ack(1));
    assert_eq!(rig.tcb.state(), State::FinWait2);
    let mut at = 0;
    while !rig.tcb.is_closed() {
        at = u64::try_from(rig.deadline_ms().unwrap()).unwrap();
        rig.at(at);
        rig.drain();
    }
    assert_eq!(at, 30_000 * (1 + u64::from(KEEPALIVE_PROBES)));
    // One that answers may go on sending for as long as it likes (RFC 9293 3.6, half-closed).
    let mut rig = probing(30);
    rig.tcb.finish();
    rig.drain();
    rig.input(&ack(1));
    for _ in 0..100 {
        rig.at(u64::try_from(rig.deadline_ms().unwrap()).unwrap());
        if !rig.drain().is_empty() {
            rig.input(&ack(1));
        }
    }
    assert_eq!(rig.tcb.state(), State::FinWait2);
}

/// RFC 9293 MUST-24 and 25: who does not ask for probes gets none.
#[test]
fn t16_must_25_a_connection_probes_nobody_unless_told() {
    let mut rig = Rig::new(&plain());
    rig.push(10);
    rig.drain();
    rig.input(&ack(10));
    assert_eq!(rig.deadline_ms(), None);
    rig.at(100 * 24 * 3_600 * 1_000);
    assert!(rig.drain().is_empty());
}
