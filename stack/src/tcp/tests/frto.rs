//! Timeouts that lost nothing (RFC 5682).

use super::network::{Features, Link, Network, pattern};
use super::rig::{Buf, Rig, ack, plain, sack, with_sack};
use crate::Counter;
use crate::tcp::Agreed;
use crate::tcp::congestion::Algorithm;
use crate::time::Duration;
use crate::wire::tcp::Segment;

/// Ten segments in flight of as many as were pushed, and `timeouts` after them.
fn timed_out(agreed: &Agreed, pushed: usize, timeouts: u64) -> Rig {
    let mut rig = Rig::new(&Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..*agreed
    });
    for _ in 0..pushed {
        rig.push(1000);
    }
    assert_eq!(rig.sent().len(), 10);
    run_until(&mut rig, timeouts);
    rig
}

/// Runs timers until so many timeouts were counted; the last one sends the oldest segment again and nothing else.
fn run_until(rig: &mut Rig, timeouts: u64) {
    let oldest = rig.tcb.snd_una() - crate::SeqNum(super::rig::ISS + 1);
    while rig.count(Counter::TcpRto) < timeouts {
        let due = rig.due_ms().expect("a timer");
        rig.at(due);
        let sent = rig.sent();
        if rig.count(Counter::TcpRto) == timeouts {
            assert_eq!(sent, [(oldest, 1000)]);
        }
    }
}

/// The number of the first octet never sent.
fn next(rig: &Rig) -> u32 {
    rig.tcb.snd_nxt() - crate::SeqNum(super::rig::ISS + 1)
}

#[test]
fn t7_a_timeout_that_lost_nothing_is_taken_back() {
    for (agreed, timeouts) in [(plain(), 1), (plain(), 2), (with_sack(), 1)] {
        let mut rig = timed_out(&agreed, 20, timeouts);
        assert_eq!(rig.tcb.cwnd(), 1000);
        let new = next(&rig);
        let resent = rig.tcb.retransmitted();
        rig.input(&ack(1000));
        assert_eq!(rig.sent(), [(new, 1000), (new + 1000, 1000)]);
        assert_eq!(rig.sent(), [], "two and no more");
        rig.input(&ack(2000));
        assert_eq!(rig.count(Counter::TcpSpuriousRto), 1);
        assert!(!rig.tcb.in_recovery());
        // In slow start, where it was, and one segment further.
        assert_eq!((rig.tcb.cwnd(), rig.tcb.ssthresh()), (11_000, u32::MAX));
        assert!(rig.sent().iter().all(|(seq, _)| *seq > new));
        rig.input(&ack(new));
        rig.sent();
        assert_eq!(rig.tcb.retransmitted(), resent);
    }
}

/// RFC 4015 3.2 step 8: when most of a large window has been acknowledged meanwhile, the rest does not leave in one burst.
#[test]
fn t7_a_timeout_that_is_taken_back_lets_no_burst_go() {
    let mut rig = Rig::new(&Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..plain()
    });
    for _ in 0..200 {
        rig.push(1000);
    }
    let mut una = 0;
    for _ in 0..2 {
        let sent = u32::try_from(rig.sent().len()).unwrap();
        for _ in 0..sent {
            una += 1000;
            rig.input(&ack(una));
        }
    }
    let window = rig.tcb.cwnd();
    assert!(window >= 40_000, "{window}");
    rig.sent();
    run_until(&mut rig, 1);
    rig.input(&ack(una + 1000));
    rig.sent();
    let left = rig.tcb.snd_nxt() - rig.tcb.snd_una() - 30_000;
    rig.input(&ack(una + 31_000));
    assert_eq!(rig.count(Counter::TcpSpuriousRto), 1);
    // And what this acknowledgment itself adds in slow start.
    let most = left + 10_000 + 8_000;
    assert!(
        most < window && rig.tcb.cwnd() <= most,
        "{}",
        rig.tcb.cwnd()
    );
}

/// With SACK a duplicate says as much, if it reports an original. What is missing before that is lost.
#[test]
fn t7_an_original_that_is_reported_takes_the_timeout_back() {
    let mut rig = timed_out(&with_sack(), 20, 1);
    let new = next(&rig);
    // Duplicates before the first new acknowledgment are waited out.
    rig.input(&sack(0, &[(5000, 6000)]));
    assert_eq!(rig.sent(), []);
    rig.input(&sack(1000, &[(5000, 6000)]));
    assert_eq!(rig.sent(), [(new, 1000), (new + 1000, 1000)]);
    rig.input(&sack(1000, &[(5000, 7000)]));
    assert_eq!(rig.count(Counter::TcpSpuriousRto), 1);
    assert!(rig.tcb.cwnd() >= 10_000);
    // Three that arrived after them: the repair of what is missing begins as ever, from SND.UNA on.
    rig.input(&sack(1000, &[(5000, 8000)]));
    assert!(rig.tcb.in_recovery());
    assert_eq!(rig.sent().first(), Some(&(1000, 1000)));
    assert_eq!(rig.count(Counter::TcpFastRecovery), 1);
}

/// (what, agreed, segments pushed, acknowledgments): slow start over what was lost, and the window is three segments at most.
#[test]
fn t7_a_timeout_that_may_have_lost_something_stands() {
    type Answer = fn(&Rig) -> Segment<Buf>;
    let rows: [(&str, Agreed, usize, &[Answer]); 8] = [
        ("a duplicate", plain(), 20, &[|_| ack(0)]),
        ("nothing new to ask with", plain(), 10, &[|_| ack(1000)]),
        ("a part of what was resent", plain(), 20, &[|_| ack(500)]),
        ("the same, with SACK", with_sack(), 20, &[|_| ack(500)]),
        (
            "a duplicate after the new data",
            plain(),
            20,
            &[|_| ack(1000), |_| ack(1000)],
        ),
        (
            "a duplicate without news",
            with_sack(),
            20,
            &[|_| ack(1000), |_| ack(1000)],
        ),
        (
            "new data alone arrived",
            with_sack(),
            20,
            &[
                |_| ack(1000),
                |rig| sack(1000, &[(next(rig) - 1000, next(rig))]),
            ],
        ),
        (
            "originals arrived, but so did new data",
            with_sack(),
            20,
            &[
                |_| ack(1000),
                |rig| sack(1000, &[(next(rig) - 1000, next(rig)), (2000, 3000)]),
            ],
        ),
    ];
    for (name, agreed, pushed, answers) in rows {
        let mut rig = timed_out(&agreed, pushed, 1);
        let new = next(&rig);
        let (last, before) = answers.split_last().unwrap();
        for answer in before {
            let answer = answer(&rig);
            rig.input(&answer);
            assert!(rig.sent().iter().all(|(seq, _)| *seq >= new), "{name}");
        }
        let answer = last(&rig);
        rig.input(&answer);
        assert!(rig.tcb.cwnd() <= 3000, "{name}: {}", rig.tcb.cwnd());
        assert_eq!(rig.tcb.ssthresh(), new / 2, "{name}");
        let sent = rig.sent();
        assert_eq!(sent.first(), Some(&(1000, 1000)), "{name}");
        assert!(sent.iter().all(|(seq, _)| *seq < new), "{name}: {sent:?}");
        assert_eq!(rig.count(Counter::TcpSpuriousRto), 0, "{name}");
    }
}

/// Step 2a: if the first acknowledgment covers all that was sent, nothing is left whose arrival could tell.
#[test]
fn t7_an_acknowledgment_of_everything_leaves_nothing_to_judge_by() {
    for agreed in [plain(), with_sack()] {
        let mut rig = timed_out(&agreed, 20, 1);
        let new = next(&rig);
        rig.input(&ack(new));
        assert_eq!(rig.sent().first(), Some(&(new, 1000)));
        rig.input(&ack(new + 1000));
        assert_eq!(rig.count(Counter::TcpSpuriousRto), 0);
        assert_eq!(rig.tcb.ssthresh(), new / 2);
    }
}

/// Step 3a with SACK: what acknowledges new data, if only a part of a segment, was perhaps caused by that.
#[test]
fn t7_an_acknowledgment_beyond_recovery_point_does_not_tell() {
    // The whole of what had been sent before is no new data yet.
    for (beyond, spurious) in [(0, 1), (500, 0)] {
        let mut rig = timed_out(&with_sack(), 20, 1);
        let new = next(&rig);
        rig.input(&ack(1000));
        assert_eq!(rig.sent(), [(new, 1000), (new + 1000, 1000)]);
        rig.input(&ack(new + beyond));
        let judged = rig.count(Counter::TcpSpuriousRto);
        assert_eq!(judged, spurious, "{beyond} octets beyond");
    }
}

/// A peer that reported a segment and then acknowledges only what is before it threw it away (RFC 2018 8): it has to be sent
/// again, and so has what was reported after it.
#[test]
fn t7_what_a_peer_threw_away_is_no_question_of_time() {
    let mut rig = Rig::new(&Agreed {
        rtt: Some(Duration::from_millis(100)),
        ..with_sack()
    });
    (0..20).for_each(|_| rig.push(1000));
    assert_eq!(rig.sent().len(), 10);
    rig.at(100);
    rig.input(&sack(0, &[(1000, 2000)]));
    rig.input(&sack(1000, &[]));
    rig.sent();
    assert!(!rig.tcb.in_recovery());
    while rig.count(Counter::TcpRto) == 0 {
        let due = rig.due_ms().expect("a timer");
        rig.at(due);
    }
    assert_eq!(rig.sent().first(), Some(&(1000, 1000)));
    rig.input(&ack(2000));
    assert_eq!(rig.sent().first(), Some(&(2000, 1000)), "and no new data");
    rig.input(&ack(3000));
    assert_eq!(rig.count(Counter::TcpSpuriousRto), 0);
}

#[test]
fn t7_what_a_later_timeout_or_an_earlier_loss_blurs_is_not_judged() {
    // The timer expires again while the new data is under way.
    let mut rig = timed_out(&plain(), 20, 1);
    rig.input(&ack(1000));
    assert_eq!(rig.sent().len(), 2);
    run_until(&mut rig, 2);
    rig.input(&ack(2000));
    assert_eq!(rig.sent().first(), Some(&(2000, 1000)));
    rig.input(&ack(3000));
    assert_eq!(rig.count(Counter::TcpSpuriousRto), 0);
    // A loss is being repaired when it expires.
    let mut rig = Rig::new(&with_sack());
    for _ in 0..20 {
        rig.push(1000);
    }
    rig.sent();
    rig.at(100);
    rig.input(&sack(0, &[(1000, 5000)]));
    assert!(rig.tcb.in_recovery());
    rig.sent();
    run_until(&mut rig, 1);
    rig.input(&sack(5000, &[]));
    rig.sent();
    rig.input(&sack(6000, &[]));
    assert_eq!(rig.count(Counter::TcpSpuriousRto), 0);
    // A router says that the path takes less: what was marked lost did not pass.
    let mut rig = timed_out(&plain(), 20, 1);
    rig.tcb.set_smss(600);
    rig.input(&ack(1000));
    assert_eq!(rig.sent().first(), Some(&(1000, 600)));
}

/// Acknowledgments stand still for longer than the timer, as on a radio link that hands over, and then all come: what is
/// resent is what asked for them, and the window is the one before.
#[test]
fn t7_a_link_that_stood_still_costs_no_window() {
    for (algorithm, sack, stall) in [
        (Algorithm::Cubic, true, 600),
        (Algorithm::NewReno, true, 600),
        (Algorithm::NewReno, false, 600),
        (Algorithm::Cubic, true, 2_000),
    ] {
        let links = [Link::new(2_500_000, 20, 200_000), Link::new(0, 20, 0)];
        let features = Features { sack, ts: true };
        let mut net = Network::new(2, &features, links);
        net.ends[0].tcb.set_congestion(algorithm);
        // Twice what the path holds: nothing is ever lost.
        net.ends[1].room = 200_000;
        net.send(0, pattern(20_000_000, 1), true);
        let long = Duration::from_secs(60);
        net.run(long, |net| net.ends[1].received.len() > 5_000_000);
        let resent = net.ends[0].tcb.retransmitted();
        net.links[1].busy_until = net.now + Duration::from_millis(stall);
        let until = net.now + Duration::from_millis(stall + 100);
        net.run(long, |net| net.now >= until);
        let end = &net.ends[0];
        let name = format!("{algorithm:?}, SACK {sack}, {stall} ms: {}", net.describe());
        let timeouts = end.counters.get(Counter::TcpRto);
        let probes = end.counters.get(Counter::TcpLossProbe);
        assert!(
            end.tcb.retransmitted() - resent <= timeouts + probes,
            "{name}"
        );
        assert_eq!(end.counters.get(Counter::TcpSpuriousRto), 1, "{name}");
        assert!(end.tcb.cwnd() >= 200_000, "{name}");
    }
}
