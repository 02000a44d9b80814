//! Paths that drop what is too large and say nothing.

use super::rig::{ISS, Rig, ack, plain};
use crate::tcp::Agreed;
use crate::{Counter, SeqNum};

fn wide() -> Agreed {
    Agreed {
        smss: 1460,
        ..plain()
    }
}

/// Lets whatever is due next time out; what leaves then.
fn time_out(rig: &mut Rig) -> Vec<(u32, usize)> {
    rig.now = rig.tcb.next_deadline().expect("a timer");
    rig.advance();
    rig.sent()
}

#[test]
fn t15_a_full_segment_that_times_out_twice_goes_on_in_smaller_ones() {
    let mut rig = Rig::new(&wide());
    rig.push(1460);
    assert_eq!(rig.sent(), [(0, 1460)]);
    rig.at(1000);
    assert_eq!(rig.sent(), [(0, 1460)], "once may be chance");
    rig.at(3000);
    assert_eq!(rig.sent(), [(0, 1220)]);
    rig.input(&ack(1220));
    assert_eq!(rig.sent(), [(1220, 240)]);
    assert_eq!(rig.count(Counter::TcpBlackHole), 1);
}

#[test]
fn t15_the_old_size_fails_once_more_and_the_smaller_one_is_kept() {
    let mut rig = Rig::new(&wide());
    rig.push(1460);
    rig.push(1460);
    rig.sent();
    time_out(&mut rig);
    assert_eq!(time_out(&mut rig), [(0, 1220)]);
    rig.input(&ack(1220));
    assert_eq!(rig.tcb.max_payload(0), 1460, "an outage, perhaps");
    assert_eq!(rig.sent(), [(1220, 240), (1460, 1460)]);
    rig.input(&ack(1460));
    assert_eq!(time_out(&mut rig), [(1460, 1220)], "no outage");
    rig.input(&ack(2680));
    assert_eq!(rig.sent(), [(2680, 240)]);
    rig.input(&ack(2920));
    assert_eq!(rig.tcb.max_payload(0), 1220, "kept for what follows");
    assert_eq!(rig.count(Counter::TcpBlackHole), 2);
}

#[test]
fn t15_what_still_does_not_pass_goes_as_every_host_must_take_it() {
    let mut rig = Rig::new(&wide());
    rig.push(1460);
    rig.sent();
    for ms in [1000, 3000, 7000] {
        rig.at(ms);
        assert_eq!(rig.sent().len(), 1);
    }
    rig.at(15_000);
    assert_eq!(rig.sent(), [(0, 536)]);
    assert_eq!(rig.count(Counter::TcpBlackHole), 2);
}

#[test]
fn t15_a_plain_outage_leaves_the_size_as_it_was() {
    for timeouts in 1..8 {
        let mut rig = Rig::new(&wide());
        let mut at = 0;
        for outage in 0..3 {
            for _ in 0..4 {
                rig.push(1460);
            }
            rig.sent();
            for _ in 0..timeouts {
                time_out(&mut rig);
            }
            // The path is back: all that is sent from here on arrives.
            let mut longest = 0;
            while rig.tcb.queued() > 0 {
                let una = rig.tcb.snd_una() - SeqNum(ISS + 1);
                rig.input(&ack(una + rig.tcb.flight_size().min(536)));
                let lens = rig.sent().into_iter().map(|(_, len)| len);
                longest = lens.fold(longest, usize::max);
            }
            at += 4 * 1460;
            assert_eq!(rig.tcb.snd_una(), SeqNum(ISS + 1) + at);
            assert_eq!(rig.tcb.max_payload(0), 1460, "outage {outage}");
            assert!(
                longest > 1_220,
                "{longest}: what was lost goes on in the old size"
            );
        }
        // One is doubted while it lasts, and proven innocent each time.
        let doubts = [0, 1, 1, 2, 2, 2, 2][timeouts - 1];
        assert_eq!(rig.count(Counter::TcpBlackHole), 3 * doubts, "{timeouts}");
    }
}

#[test]
fn t15_a_small_segment_that_times_out_suspects_nothing() {
    let mut rig = Rig::new(&wide());
    rig.push(600);
    rig.sent();
    for ms in [1000, 3000, 7000] {
        rig.at(ms);
        assert_eq!(rig.sent(), [(0, 600)]);
    }
    assert_eq!(rig.tcb.max_payload(0), 1460);
    assert_eq!(rig.count(Counter::TcpBlackHole), 0);
}

/// A connection that is sure of its black hole, and when that was, in milliseconds after the start.
fn sure() -> (Rig, u64) {
    let mut rig = Rig::new(&wide());
    rig.push(1460);
    rig.push(1460);
    rig.sent();
    time_out(&mut rig);
    time_out(&mut rig);
    rig.input(&ack(1460));
    rig.sent();
    let at = u64::try_from(rig.deadline_ms().unwrap()).unwrap();
    assert_eq!(time_out(&mut rig), [(1460, 1220)]);
    rig.input(&ack(2920));
    (rig, at)
}

#[test]
fn t15_the_old_size_is_tried_again_after_ten_minutes() {
    let (mut rig, at) = sure();
    rig.at(at + 599_000);
    rig.push(100);
    rig.sent();
    rig.input(&ack(3020));
    assert_eq!(rig.tcb.max_payload(0), 1220);
    rig.at(at + 600_000);
    rig.push(100);
    rig.sent();
    assert_eq!(rig.tcb.max_payload(0), 1460);
}

#[test]
fn t15_what_a_router_said_meanwhile_still_holds_afterwards() {
    let (mut rig, at) = sure();
    rig.tcb.set_smss(1300);
    assert_eq!(rig.tcb.max_payload(0), 1220);
    rig.at(at + 600_000);
    rig.push(100);
    rig.sent();
    assert_eq!(rig.tcb.max_payload(0), 1300);
}
