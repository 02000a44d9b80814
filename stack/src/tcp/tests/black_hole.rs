//! Paths that drop what is too large and say nothing.

use super::rig::{Rig, ack, plain};
use crate::Counter;
use crate::tcp::Agreed;

fn wide() -> Agreed {
    Agreed {
        smss: 1460,
        ..plain()
    }
}

#[test]
fn a_full_segment_that_times_out_twice_goes_on_in_smaller_ones() {
    let mut rig = Rig::new(&wide());
    rig.push(1460);
    assert_eq!(rig.sent(), [(0, 1460)]);
    rig.at(1000);
    assert_eq!(rig.sent(), [(0, 1460)], "once may be chance");
    rig.at(3000);
    assert_eq!(rig.sent(), [(0, 1220)]);
    rig.input(&ack(1220));
    assert_eq!(rig.sent(), [(1220, 240)]);
    assert_eq!(rig.tcb.max_payload(0), 1220, "kept for what follows");
    assert_eq!(rig.count(Counter::TcpBlackHole), 1);
}

#[test]
fn what_still_does_not_pass_goes_as_every_host_must_take_it() {
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
fn a_small_segment_that_times_out_suspects_nothing() {
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

#[test]
fn the_old_size_is_tried_again_after_ten_minutes() {
    let mut rig = Rig::new(&wide());
    rig.push(1460);
    rig.sent();
    rig.at(1000);
    rig.sent();
    rig.at(3000);
    rig.sent();
    rig.input(&ack(1220));
    rig.sent();
    rig.input(&ack(1460));
    rig.at(3000 + 599_000);
    rig.push(100);
    rig.sent();
    rig.input(&ack(1560));
    assert_eq!(rig.tcb.max_payload(0), 1220);
    rig.at(3000 + 600_000);
    rig.push(100);
    rig.sent();
    assert_eq!(rig.tcb.max_payload(0), 1460);
}
