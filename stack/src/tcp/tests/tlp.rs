//! Tail loss probes (RFC 8985 7).

use super::rig::{ISS, Rig, ack, payload, plain, sack, seg, with_sack};
use crate::Counter;
use crate::seq::SeqNum;
use crate::tcp::{Agreed, Item};
use crate::time::Duration;
use crate::wire::tcp::{Flags, OptBytes};

/// SACK, and a first round trip of `ms`.
fn measured(ms: u64) -> Agreed {
    Agreed {
        rtt: Some(Duration::from_millis(ms)),
        ..with_sack()
    }
}

fn rig_with(agreed: &Agreed, segments: usize) -> Rig {
    let mut rig = Rig::new(agreed);
    for _ in 0..segments {
        rig.push(1000);
    }
    rig
}

/// What leaves up to `ms` after the start, deadline by deadline: (when, first octet).
fn until(rig: &mut Rig, ms: u64) -> Vec<(u64, u32)> {
    let mut sent = Vec::new();
    while let Some(due) = rig.due_ms()
        && due <= ms
    {
        rig.at(due);
        sent.extend(rig.sent().iter().map(|(seq, _)| (due, *seq)));
    }
    rig.at(ms);
    sent
}

/// (first round trip, segments in flight, when the probe goes out, when the timeout follows): twice SRTT, more for a lone
/// segment, never after the timeout that it replaces. The timeout is one RTO after the probe (7.3).
#[test]
fn t11_the_probe_leaves_after_two_round_trips() {
    let rows = [
        (100, 3, 200, 500),
        (100, 2, 200, 500),
        (100, 1, 300, 600),
        (10, 4, 20, 230),
        (10, 1, 210, 420),
        (1, 4, 10, 211),
        (400, 3, 800, 2_000),
        (400, 1, 1_000, 2_200),
        (1_000, 1, 2_200, 5_200),
    ];
    for (rtt, segments, probe, timeout) in rows {
        let mut rig = rig_with(&measured(rtt), segments);
        assert_eq!(rig.sent().len(), segments);
        let last = u32::try_from(segments - 1).unwrap() * 1000;
        let name = format!("RTT {rtt} ms, {segments} segments");
        assert_eq!(until(&mut rig, timeout - 1), [(probe, last)], "{name}");
        assert_eq!(rig.count(Counter::TcpLossProbe), 1, "{name}");
        assert_eq!(rig.count(Counter::TcpRto), 0, "{name}");
        assert_eq!(until(&mut rig, timeout), [(timeout, 0)], "{name}");
        assert_eq!(rig.count(Counter::TcpRto), 1, "{name}");
    }
}

/// 7.2 and 4: no probe without SACK, before a round trip was measured, and while the peer reports gaps.
#[test]
fn t11_where_a_probe_tells_nothing_the_timeout_is_left() {
    let without_sack = Agreed {
        sack: false,
        ..measured(100)
    };
    for (name, agreed, rto) in [
        ("no SACK", without_sack, 300),
        ("nothing measured", with_sack(), 1_000),
        ("neither", plain(), 1_000),
    ] {
        let mut rig = rig_with(&agreed, 3);
        assert_eq!(rig.sent().len(), 3);
        assert_eq!(until(&mut rig, rto), [(rto, 0)], "{name}");
        assert_eq!(rig.count(Counter::TcpLossProbe), 0, "{name}");
    }
    let mut rig = rig_with(&measured(100), 5);
    assert_eq!(rig.sent().len(), 5);
    rig.at(190);
    rig.input(&sack(0, &[(1000, 2000)]));
    // RACK waits for reordering, then resends the gap: no probe of the tail, which would have been due at 200.
    assert_eq!(until(&mut rig, 250), [(215, 0)]);
    assert_eq!(rig.count(Counter::TcpLossProbe), 0);
}

/// 7.2: after a probe there is none until a round trip was measured anew, which the probe's own answer does not tell.
#[test]
fn t11_probes_do_not_follow_each_other_by_the_same_round_trip() {
    let mut rig = rig_with(&measured(100), 2);
    rig.sent();
    assert_eq!(until(&mut rig, 250), [(200, 1000)]);
    rig.at(300);
    rig.input(&ack(2000));
    // The probe came twice: nothing was lost, and the episode is over.
    rig.input(&sack(2000, &[(1000, 2000)]));
    for at in [2000, 4000] {
        rig.push(1000);
        rig.push(1000);
        assert_eq!(rig.sent(), [(at, 1000), (at + 1000, 1000)]);
        let probe = at == 4000;
        let now = rig.now.since(super::rig::START).as_millis();
        let wait = if probe { 200 } else { 300 };
        assert_eq!(rig.deadline_ms(), Some(now + wait), "at {at}");
        rig.at(u64::try_from(now).unwrap() + 100);
        rig.input(&ack(at + 2000));
    }
}

/// 7.2: both new data and the acknowledgment of old data put the probe off, within what the timeout allows.
#[test]
fn t11_the_probe_timer_starts_anew_with_each_segment_and_acknowledgment() {
    let mut rig = rig_with(&measured(100), 2);
    assert_eq!(rig.sent().len(), 2);
    rig.at(50);
    rig.push(1000);
    assert_eq!(rig.sent().len(), 1);
    assert_eq!(rig.deadline_ms(), Some(250));
    rig.at(150);
    rig.push(1000);
    assert_eq!(rig.sent().len(), 1);
    // The timeout would come at 300.
    assert_eq!(rig.deadline_ms(), Some(300));
    rig.at(160);
    rig.input(&ack(1000));
    // SRTT = 7/8 * 100 + 1/8 * 160 = 107.5.
    assert_eq!(rig.deadline_ms(), Some(160 + 215));
    // A duplicate does not.
    rig.at(170);
    rig.input(&ack(1000));
    assert_eq!(rig.deadline_ms(), Some(375));
    rig.at(180);
    rig.input(&ack(4000));
    assert_eq!(rig.deadline_ms(), None);
}

/// 7.3: a segment never sent is preferred, though the congestion window is full; not though the peer's is.
#[test]
fn t11_a_probe_carries_new_data_where_there_is_any() {
    let mut rig = rig_with(&measured(100), 12);
    assert_eq!(rig.sent().len(), 10);
    assert_eq!(until(&mut rig, 200), [(200, 10_000)]);
    assert_eq!(rig.tcb.flight_size(), 11_000);
    // Its delivery is no sign of a loss.
    rig.at(300);
    rig.input(&ack(11_000));
    let cwnd = rig.tcb.cwnd();
    assert!(cwnd > 10_000, "{cwnd}");
    assert_eq!(rig.count(Counter::TcpLossProbeRepaired), 0);

    let mut rig = rig_with(
        &Agreed {
            snd_wnd: 4000,
            ..measured(100)
        },
        6,
    );
    assert_eq!(rig.sent().len(), 4);
    assert_eq!(until(&mut rig, 200), [(200, 3000)]);
    assert_eq!(rig.tcb.flight_size(), 4000);
}

/// 7.3: one probe until it is answered, and until a round trip was measured again.
#[test]
fn t11_one_probe_at_a_time_and_none_without_a_measurement_between() {
    let mut rig = rig_with(&measured(100), 2);
    rig.sent();
    assert_eq!(until(&mut rig, 250), [(200, 1000)]);
    // More to send restarts nothing while the probe is out.
    rig.push(1000);
    assert_eq!(rig.sent(), [(2000, 1000)]);
    assert_eq!(rig.deadline_ms(), Some(500));
    // The probe and its original were one octet run: Karn forbids to measure it, so no probe follows.
    rig.at(300);
    rig.input(&ack(2000));
    assert_eq!(rig.deadline_ms(), Some(600));
    rig.at(350);
    rig.input(&ack(3000));
    // That was measured.
    rig.push(1000);
    rig.push(1000);
    rig.sent();
    assert_eq!(until(&mut rig, 600), [(550, 4000)]);
}

/// 7.4.1: the report of the probe shows what was lost before it: fast recovery instead of a timeout.
#[test]
fn t11_the_answer_to_a_probe_starts_the_recovery_of_a_lost_tail() {
    let mut rig = rig_with(&measured(100), 6);
    rig.sent();
    rig.at(100);
    rig.input(&ack(3000));
    assert_eq!(until(&mut rig, 300), [(300, 5000)]);
    rig.at(400);
    rig.input(&sack(3000, &[(5000, 6000)]));
    // Sent 400 ms ago, and the probe took 100.
    assert_eq!(rig.sent().first(), Some(&(3000, 1000)));
    assert!(rig.tcb.in_recovery());
    rig.at(410);
    rig.input(&sack(4000, &[(5000, 6000)]));
    rig.at(500);
    rig.input(&ack(6000));
    assert!(!rig.tcb.in_recovery());
    assert_eq!(rig.count(Counter::TcpRto), 0);
    assert_eq!(rig.count(Counter::TcpFastRecovery), 1);
    assert_eq!(rig.count(Counter::TcpLossProbeRepaired), 0);
}

/// 7.4.2: the four ways in which the probe of the last segment is answered, and whether they tell of a loss.
#[test]
fn t11_a_loss_that_the_probe_repaired_costs_what_any_loss_costs() {
    // The ACK of the probe and of its original, if both came.
    let dsack = [ack(3000), sack(3000, &[(2000, 3000)])];
    let older_dsack = [ack(3000), sack(3000, &[(0, 1000)])];
    let rows = [
        ("the probe alone arrived", &[ack(3000)][..], true),
        ("a DSACK says that both did", &dsack, false),
        ("a DSACK of something else", &older_dsack, true),
        (
            "a duplicate ACK without SACK",
            &[ack(3000), ack(3000)],
            false,
        ),
        (
            "a duplicate with data is none",
            &[ack(3000), seg(0, 3000, Flags::ACK, b"x")],
            true,
        ),
    ];
    for (name, answers, repaired) in rows {
        let mut rig = rig_with(&measured(100), 3);
        rig.sent();
        assert_eq!(until(&mut rig, 200), [(200, 2000)], "{name}");
        rig.at(300);
        for answer in answers {
            rig.input(answer);
        }
        assert_eq!(rig.tcb.cwnd(), 10_000, "{name}: too early to tell");
        // What is acknowledged beyond the probe closes the case.
        rig.push(1000);
        rig.drain();
        rig.at(400);
        rig.input(&seg(1, 4000, Flags::ACK, b""));
        assert_eq!(
            rig.count(Counter::TcpLossProbeRepaired),
            u64::from(repaired),
            "{name}"
        );
        // Three segments were in flight: two is the least threshold.
        let (cwnd, ssthresh) = if repaired {
            (2000, 2000)
        } else {
            (10_000, u32::MAX)
        };
        assert_eq!(rig.tcb.ssthresh(), ssthresh, "{name}");
        assert!(rig.tcb.cwnd() >= cwnd, "{name}");
        assert!(!repaired || rig.tcb.cwnd() < 4000, "{name}");
        assert!(!rig.tcb.in_recovery(), "{name}");
    }
}

/// 7.1: recovery and timeouts forget the probe.
#[test]
fn t11_a_timeout_forgets_the_probe() {
    let mut rig = rig_with(&measured(100), 3);
    rig.sent();
    assert_eq!(until(&mut rig, 500), [(200, 2000), (500, 0)]);
    assert_eq!(rig.tcb.cwnd(), 1000);
    rig.at(600);
    rig.input(&ack(3000));
    rig.push(1000);
    rig.sent();
    rig.at(700);
    let cwnd = rig.tcb.cwnd();
    rig.input(&ack(4000));
    assert!(rig.tcb.cwnd() >= cwnd);
    assert_eq!(rig.count(Counter::TcpLossProbeRepaired), 0);
}

/// The probe is the very item: its options, its buffer, its flags.
#[test]
fn t11_a_probe_carries_the_options_of_the_layer_above_and_the_fin() {
    let upper: OptBytes = [30, 4, 0x20, 0].into_iter().collect();
    let mut rig = Rig::new(&measured(100));
    for n in 0..2 {
        rig.tcb.push(Item {
            payload: super::rig::slice(&[n; 500]),
            upper,
            psh: true,
        });
    }
    rig.tcb.finish();
    let first = rig.drain();
    rig.at(200);
    let probe = rig.drain();
    assert_eq!(probe.len(), 1);
    assert_eq!(probe[0].seq, SeqNum(ISS + 1) + 500);
    assert_eq!(probe[0].options.mptcp, upper);
    assert_eq!(probe[0].flags, first[1].flags);
    assert!(probe[0].flags.has(Flags::FIN));
    assert_eq!(payload(&probe[0]), payload(&first[1]));
    assert_eq!(
        super::rig::address(&probe[0]),
        super::rig::address(&first[1])
    );
}
