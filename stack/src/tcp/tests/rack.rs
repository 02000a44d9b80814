//! The reordering window (RFC 8985 6.2 step 4) and what a timeout marks (6.3), on whole connections.

use super::rig::{Rig, ack, sack, seg, stamped, with_sack};
use crate::Counter;
use crate::tcp::{Agreed, TsState};
use crate::time::Duration;
use crate::wire::tcp::Flags;

fn rig_with(segments: usize) -> Rig {
    let mut rig = Rig::new(&Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..with_sack()
    });
    for _ in 0..segments {
        rig.push(1000);
    }
    rig
}

fn lost(rig: &Rig) -> u32 {
    rig.tcb.snd.queue.lost() / 1000
}

#[test]
fn reported_segments_are_told_until_they_are_acknowledged() {
    let mut rig = rig_with(4);
    assert_eq!(rig.sent().len(), 4);
    rig.input(&sack(0, &[(1000, 2000), (3000, 4000)]));
    assert_eq!(rig.tcb.sacked(), 2);
    rig.input(&ack(2000));
    assert_eq!(rig.tcb.sacked(), 1);
}

/// Three segments reported are certainty, fewer wait for a quarter of the least round trip: (reported at 100 ms, lost at
/// once, lost at 125 ms).
#[test]
fn t11_three_reported_segments_are_enough() {
    type Row = (&'static [(u32, u32)], u32, u32);
    let rows: &[Row] = &[
        (&[(1000, 2000)], 0, 1),
        (&[(1000, 3000)], 0, 1),
        (&[(2000, 3000), (4000, 5000)], 0, 3),
        (&[(1000, 4000)], 1, 1),
        (&[(6000, 7000), (4000, 5000), (2000, 3000)], 4, 4),
    ];
    for (blocks, at_once, later) in rows {
        let mut rig = rig_with(10);
        assert_eq!(rig.sent().len(), 10);
        rig.at(100);
        rig.input(&sack(0, blocks));
        assert_eq!(lost(&rig), *at_once, "{blocks:?}");
        assert_eq!(rig.tcb.in_recovery(), *at_once > 0, "{blocks:?}");
        rig.at(125);
        assert_eq!(lost(&rig), *later, "{blocks:?}");
        assert!(rig.tcb.in_recovery());
        assert_eq!(rig.count(Counter::TcpFastRecovery), 1);
    }
}

/// Once an original was overtaken, counting proves nothing any more.
#[test]
fn t11_after_reordering_three_reported_segments_wait_too() {
    let mut rig = rig_with(4);
    rig.sent();
    rig.at(100);
    rig.input(&sack(0, &[(1000, 2000)]));
    rig.at(110);
    rig.input(&ack(4000));
    assert_eq!(rig.count(Counter::TcpFastRecovery), 0);
    for _ in 0..8 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(210);
    rig.input(&sack(4000, &[(5000, 12_000)]));
    assert_eq!(lost(&rig), 0);
    assert_eq!(rig.deadline_ms(), Some(235));
    rig.at(235);
    assert_eq!(lost(&rig), 1);
}

/// The newest block comes first in an acknowledgment (RFC 2018 4); the older one behind it was not overtaken.
#[test]
fn t11_the_order_of_blocks_is_not_that_of_arrival() {
    let mut rig = rig_with(10);
    rig.sent();
    rig.at(100);
    rig.input(&sack(0, &[(5000, 6000), (2000, 3000)]));
    rig.at(101);
    rig.input(&sack(0, &[(7000, 8000), (5000, 6000), (2000, 3000)]));
    // 0, 1, 3, 4 and 6.
    assert_eq!(lost(&rig), 5);
}

/// The model: RACK_update_reo_wnd, with min_RTT 100 ms and SRTT 100 ms.
struct Model {
    mult: u32,
    persist: u32,
}

impl Model {
    fn window(&self) -> u64 {
        u64::from(self.mult * 100 / 4).min(100)
    }
}

/// Each row is a step: a round trip with so many DSACKs, or so many recoveries without. The window follows.
#[test]
fn t11_dsacks_widen_the_window_for_sixteen_recoveries() {
    enum Step {
        Dsacks(u32),
        Recoveries(u32),
    }
    let steps = [
        Step::Dsacks(1),
        Step::Dsacks(3),
        Step::Recoveries(15),
        Step::Dsacks(1),
        Step::Dsacks(1),
        Step::Dsacks(1),
        Step::Recoveries(16),
        Step::Recoveries(2),
        Step::Dsacks(1),
    ];
    let mut rig = rig_with(0);
    let mut model = Model {
        mult: 1,
        persist: 16,
    };
    let (mut ms, mut una) = (0, 0);
    // What leaves is acknowledged after 100 ms: SRTT and the least round trip stay.
    let round = |rig: &mut Rig, ms: &mut u64, una: &mut u32| {
        rig.push(1000);
        rig.push(1000);
        assert_eq!(rig.sent().len(), 2);
        *ms += 100;
        rig.at(*ms);
        *una += 2000;
    };
    let check = |rig: &Rig, model: &Model| {
        let queue = &rig.tcb.snd.queue;
        let (min, srtt) = (rig.tcb.min_rtt().unwrap(), rig.tcb.srtt().unwrap());
        assert_eq!((min.as_millis(), srtt.as_millis()), (100, 100));
        let window = queue.reo_wnd_max(min, srtt).as_millis();
        assert_eq!(window, u128::from(model.window()), "mult {}", model.mult);
    };
    for step in steps {
        match step {
            Step::Dsacks(count) => {
                round(&mut rig, &mut ms, &mut una);
                for _ in 0..count {
                    let mut twice = ack(una - 1000);
                    twice.options.sack = sack(0, &[(una - 2000, una - 1000)]).options.sack;
                    rig.input(&twice);
                }
                rig.input(&ack(una));
                model.mult += 1;
                model.persist = 16;
                check(&rig, &model);
            },
            Step::Recoveries(count) => {
                for _ in 0..count {
                    for _ in 0..5 {
                        rig.push(1000);
                    }
                    let sent = rig.sent().len();
                    assert!(sent >= 2, "{sent}");
                    ms += 100;
                    rig.at(ms);
                    let end = una + u32::try_from(sent).unwrap() * 1000;
                    rig.input(&sack(una, &[(una + 1000, end)]));
                    ms += 100;
                    rig.at(ms);
                    assert!(rig.tcb.in_recovery());
                    rig.drain();
                    ms += 100;
                    rig.at(ms);
                    una = rig.tcb.snd_nxt() - crate::SeqNum(super::rig::ISS + 1);
                    rig.input(&ack(una));
                    assert!(!rig.tcb.in_recovery());
                    while rig.tcb.queued() > 0 {
                        let sent = rig.sent().len();
                        ms += 100;
                        rig.at(ms);
                        una += u32::try_from(sent).unwrap() * 1000;
                        rig.input(&ack(una));
                    }
                    model.persist -= model.persist.min(1);
                    if model.persist == 0 {
                        model.mult = 1;
                    }
                    check(&rig, &model);
                }
            },
        }
    }
}

/// A DSACK lies below the acknowledgment or within the second block (RFC 2883 4); anything else reports octets once.
#[test]
fn t11_what_is_a_dsack() {
    // (acknowledgment, blocks, whether the window widens)
    type Row = (u32, &'static [(u32, u32)], bool);
    let rows: &[Row] = &[
        (2000, &[(1000, 2000)], true),
        (2000, &[(0, 500)], true),
        (2000, &[(3000, 4000), (3000, 6000)], true),
        (2000, &[(3000, 4000)], false),
        (2000, &[(3000, 4000), (5000, 6000)], false),
        (2000, &[(5000, 6000), (1000, 2000)], false),
        (2000, &[(2000, 1000)], false),
        (2000, &[(1500, 2500)], false),
    ];
    for (upto, blocks, widens) in rows {
        let mut rig = rig_with(8);
        rig.sent();
        rig.at(100);
        rig.input(&sack(*upto, blocks));
        let (min, srtt) = (rig.tcb.min_rtt().unwrap(), rig.tcb.srtt().unwrap());
        let window = rig.tcb.snd.queue.reo_wnd_max(min, srtt).as_millis();
        assert_eq!(window, if *widens { 50 } else { 25 }, "{upto} {blocks:?}");
    }
}

/// 6.2 step 2: what was sent twice proves nothing if the answer echoes the time of the first, or comes sooner than any
/// round trip. Else a late original would make all sent since look lost.
#[test]
fn t11_the_answer_to_an_original_does_not_count_for_its_retransmission() {
    for stamps in [false, true] {
        let mut rig = Rig::new(&Agreed {
            rtt: Some(Duration::from_millis(100)),
            ts: stamps.then_some(TsState {
                recent: 5,
                offset: 0,
            }),
            ..with_sack()
        });
        for _ in 0..3 {
            rig.push(900);
        }
        let clock = super::rig::START.as_millis();
        let clock = u32::try_from(clock).unwrap();
        rig.sent();
        let dress = |seg, ecr| if stamps { stamped(seg, 6, ecr) } else { seg };
        // The last segment is probed at 200 ms; new data follows; then the originals' answer comes at last.
        rig.at(200);
        assert_eq!(rig.sent(), [(1800, 900)]);
        rig.at(210);
        rig.push(900);
        assert_eq!(rig.sent(), [(2700, 900)]);
        rig.at(220);
        rig.input(&dress(ack(2700), clock));
        assert_eq!(rig.tcb.snd.queue.lost(), 0);
        assert_eq!(rig.count(Counter::TcpFastRecovery), 0);
        // The new segment's own answer is in time: nothing was found overdue before.
        rig.at(310);
        rig.input(&dress(ack(3600), clock + 210));
        assert_eq!(rig.count(Counter::TcpFastRecovery), 0);
    }
}

/// 6.3: what was sent less than a round trip before the timeout still travels, and is not sent again with the rest.
#[test]
fn t11_a_timeout_spares_what_was_sent_just_before() {
    let mut rig = rig_with(2);
    rig.sent();
    rig.at(90);
    // The first is acknowledged: the round trip is known to RACK.
    rig.input(&ack(1000));
    rig.push(1000);
    assert_eq!(rig.sent(), [(2000, 1000)]);
    let mut sent = Vec::new();
    while rig.count(Counter::TcpRto) == 0 {
        let due = rig.due_ms().unwrap();
        if rig.count(Counter::TcpLossProbe) > 0 && sent.len() == 1 {
            // A segment of new data leaves 50 ms before the timeout.
            rig.at(due - 50);
            rig.push(1000);
            assert_eq!(rig.sent(), [(3000, 1000)]);
        }
        rig.at(due);
        sent.extend(rig.sent());
    }
    // The probe of the tail, then by the timeout the oldest alone, whatever the window of one segment says.
    assert_eq!(sent, [(2000, 1000), (1000, 1000)]);
    assert_eq!(lost(&rig), 1, "the probed segment");
    assert_eq!(rig.tcb.snd.pipe(), 2000);
    assert_eq!(rig.tcb.cwnd(), 1000);
}

/// Without SACK arrivals say nothing of what was sent before them: duplicates are counted, as ever.
#[test]
fn t11_without_sack_duplicates_are_counted() {
    let mut rig = Rig::new(&Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..super::rig::plain()
    });
    for _ in 0..6 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(100);
    for _ in 0..2 {
        rig.input(&sack(0, &[(1000, 6000)]));
        assert_eq!(rig.sent(), []);
    }
    rig.input(&seg(0, 0, Flags::ACK, b""));
    assert_eq!(rig.sent(), [(0, 1000)]);
}
