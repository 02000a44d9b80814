//! How connections and subflows end: DATA_FIN, half-close, resets, MP_FASTCLOSE.

mod world;

use mptcp::connection::{Limits, ResetReason};
use mptcp::option::{Dss, Mapping, parse};
use mptcp::{Counter, Key, MpOption, Outcome, SubflowId, Version, WireSeq};
use stack::time::Duration;
use stack::wire::tcp::Flags;
use std::cell::RefCell;
use std::rc::Rc;
use world::{A, B, Link, Setup, World};

const MINUTE: Duration = Duration::from_secs(60);

fn two_paths(setup: Setup) -> World {
    let mut world = World::new(setup, vec![Link::pair(0, 10, 0), Link::pair(0, 25, 0)]);
    world.join_all(&[1]);
    world
}

fn options(segment: &stack::wire::tcp::Segment<world::Buf>) -> Vec<MpOption> {
    parse(&segment.options.mptcp).flatten().collect()
}

fn is_data_fin(option: &MpOption) -> bool {
    matches!(option, MpOption::Dss(Dss { mapping: Some(mapping), .. }) if mapping.data_fin)
}

#[test]
fn m16_half_close_in_either_direction() {
    for first in [A, B] {
        let mut world = two_paths(Setup::default());
        world.ends[first].send(10_000, true);
        world.run(MINUTE, |w| w.ends[1 - first].fin_seen);
        world.pass(Duration::from_secs(30));
        assert!(world.ends[first].conn.fin_acknowledged());
        // The other direction goes on, for as long as it likes.
        world.ends[1 - first].send(500_000, true);
        world.run(MINUTE, World::is_complete);
        world.ends[first].assert_intact();
        world.run(MINUTE, World::is_closed);
        assert!(
            world
                .ends
                .iter()
                .all(|end| end.conn.outcome() == Outcome::Closed)
        );
    }
}

#[test]
fn m16_lost_data_fins_are_sent_again() {
    for losses in [1, 3, 5] {
        let mut world = two_paths(Setup::default());
        let mut left = losses * 2;
        world.middlebox = Some(Box::new(move |transit| {
            let lose = left > 0 && options(transit.segment).iter().any(is_data_fin);
            left -= usize::from(lose);
            !lose
        }));
        world.transfer([1000, 2000], 5 * MINUTE);
    }
}

/// What left after A's first DATA_FIN, with that: by which end and path, and whether with a DATA_FIN. That first one is
/// lost if so asked.
fn since_the_end(world: &mut World, lost: bool) -> Vec<(usize, usize, bool)> {
    let seen: Rc<RefCell<Vec<_>>> = Rc::default();
    let noted = Rc::clone(&seen);
    world.middlebox = Some(Box::new(move |transit| {
        let ends = options(transit.segment).iter().any(is_data_fin);
        let mut noted = noted.borrow_mut();
        let first = noted.is_empty();
        if ends || !first {
            noted.push((transit.from, transit.path, ends));
        }
        !(lost && ends && first)
    }));
    world.pass(Duration::from_secs(1));
    world.ends[A].send(0, true);
    world.run(MINUTE, |w| w.ends[A].conn.fin_acknowledged());
    world.pass(Duration::from_secs(1));
    seen.take()
}

#[test]
fn m16_a_data_fin_goes_by_one_subflow_the_fastest() {
    for paths in [[10, 25], [25, 10]] {
        let mut world = World::new(
            Setup::default(),
            paths.map(|delay| Link::pair(0, delay, 0)).into(),
        );
        world.join_all(&[1]);
        world.ends[A].send(200_000, false);
        world.pass(Duration::from_secs(5));
        let fastest = usize::from(paths[1] < paths[0]);
        let seen = since_the_end(&mut world, false);
        assert_eq!(seen, [(A, fastest, true), (B, fastest, false)], "{paths:?}");
    }
}

/// The answer to an end of data waits for the other end as an ACK may.
#[test]
fn m16_a_data_fin_that_follows_acknowledges_the_one_before() {
    for follows in [true, false] {
        let mut world = two_paths(Setup::default());
        world.pass(Duration::from_secs(1));
        let answers: Rc<RefCell<Vec<_>>> = Rc::default();
        let noted = Rc::clone(&answers);
        world.middlebox = Some(Box::new(move |transit| {
            if transit.from == B {
                let ends = options(transit.segment).iter().any(is_data_fin);
                noted.borrow_mut().push(ends);
            }
            true
        }));
        world.ends[A].send(0, true);
        world.run(MINUTE, |w| w.ends[B].fin_seen);
        let accepted = world.now;
        world.ends[B].send(0, follows);
        world.run(MINUTE, |w| w.ends[A].conn.fin_acknowledged());
        assert_eq!(*answers.borrow(), [follows]);
        let took = world.now.since(accepted);
        let waited = took >= Duration::from_millis(40);
        assert_eq!(waited, !follows, "{took:?}");
        assert!(took <= Duration::from_millis(65), "{took:?}");
    }
}

#[test]
fn m16_a_data_fin_that_is_not_answered_goes_by_every_subflow() {
    let mut world = two_paths(Setup::default());
    let seen = since_the_end(&mut world, true);
    let ends: Vec<_> = seen.iter().filter(|(.., ends)| *ends).collect();
    assert_eq!(
        ends,
        [&(A, 0, true), &(A, 0, true), &(A, 1, true)],
        "{seen:?}"
    );
}

/// A number below what came is no end of it: nothing may follow that (RFC 8684 3.3.3).
#[test]
fn m16_a_data_fin_below_what_came_is_none() {
    let mut world = World::new(Setup::default(), vec![Link::pair(0, 10, 0)]);
    let mut first = true;
    world.middlebox = Some(Box::new(move |transit| {
        let options = &mut transit.segment.options.mptcp;
        if let Some(Ok(MpOption::Dss(dss))) = parse(options).next()
            && let Some(mapping) = dss.mapping.filter(|mapping| mapping.data_fin)
            && transit.from == A
            && std::mem::take(&mut first)
        {
            let dsn = match mapping.dsn {
                WireSeq::Full(dsn) => WireSeq::Full(dsn.wrapping_sub(100)),
                WireSeq::Low(low) => WireSeq::Low(low.wrapping_sub(100)),
            };
            let mapping = Some(Mapping { dsn, ..mapping });
            *options = MpOption::from(Dss { mapping, ..dss }).into();
        }
        true
    }));
    world.ends[A].send(5_000, false);
    world.run(MINUTE, |w| w.ends[B].received == 5_000);
    world.transfer([0, 5_000], MINUTE);
    assert_eq!(world.ends[B].count(Counter::DssMalformed), 1);
}

#[test]
fn m16_data_fin_is_not_acknowledged_before_it_is_accepted() {
    let mut world = two_paths(Setup::default());
    world.ends[B].reads = false;
    world.ends[A].send(5000, true);
    world.pass(Duration::from_secs(20));
    assert!(!world.ends[A].conn.fin_acknowledged());
    assert!(world.ends[A].conn.fin_sent());
    world.ends[B].reads = true;
    world.ends[B].send(0, true);
    world.run(MINUTE, World::is_closed);
    assert!(
        world
            .ends
            .iter()
            .all(|end| end.conn.outcome() == Outcome::Closed)
    );
}

/// Seed 33619 of the simulator: a connection without data had nothing else whose acknowledgment could show that options no
/// longer pass, and its DATA_FIN was repeated for as long as bare acknowledgments came.
#[test]
fn m16_a_data_fin_that_only_segments_without_options_answer_is_given_up() {
    for lens in [[0, 0], [5_000, 5_000]] {
        let mut world = World::new(Setup::default(), vec![Link::pair(0, 10, 0)]);
        world.ends[A].send(lens[A], false);
        world.ends[B].send(lens[B], false);
        world.pass(MINUTE);
        world.middlebox = Some(Box::new(|transit| {
            if transit.from == B {
                transit.segment.options.mptcp.clear();
            }
            true
        }));
        world.ends[A].send(0, true);
        world.ends[B].send(0, true);
        world.run(20 * MINUTE, |w| w.ends[A].conn.outcome() != Outcome::Alive);
    }
}

#[test]
fn m16_an_end_that_is_taken_late_is_waited_for_while_the_peer_answers() {
    let mut world = two_paths(Setup::default());
    world.ends[B].reads = false;
    world.ends[A].send(5_000, true);
    // Far longer than ten DATA_FINs with waits that double.
    world.pass(20 * MINUTE);
    assert_eq!(world.ends[A].conn.outcome(), Outcome::Alive);
    assert!(
        world.ends[A].count(Counter::DataFinTx) < 150,
        "each half a minute"
    );
    world.ends[B].reads = true;
    world.ends[B].send(0, true);
    world.run(MINUTE, World::is_closed);
    assert!(
        world
            .ends
            .iter()
            .all(|end| end.conn.outcome() == Outcome::Closed)
    );
}

#[test]
fn m16_an_end_that_nobody_answers_is_given_up() {
    let mut world = two_paths(Setup::default());
    world.ends[B].reads = false;
    world.ends[A].send(5_000, true);
    world.pass(5 * MINUTE);
    for path in &mut world.paths {
        path.iter_mut().for_each(|link| link.set_down(true));
    }
    let took = world.run(10 * MINUTE, |w| w.ends[A].conn.is_closed());
    assert!(took > 4 * MINUTE, "{took:?}");
    assert_eq!(
        world.ends[A].conn.outcome(),
        Outcome::Reset(ResetReason::TimedOut)
    );
}

#[test]
fn bug8_the_last_data_ack_is_lost_and_the_close_is_bounded() {
    // From the moment that both ends are known, nothing of A's arrives any more.
    let mut world = two_paths(Setup::default());
    world.ends[A].send(1000, true);
    world.ends[B].send(1000, true);
    world.run(MINUTE, |w| w.ends[A].fin_seen);
    for path in &mut world.paths {
        path[A].set_down(true);
    }
    let took = world.run(5 * MINUTE, World::is_closed);
    assert!(took < 3 * MINUTE, "{took:?}");
}

/// A peer that ends its only subflow together with its data: the FIN is on the DATA_FIN.
fn fin_with_data_fin() -> World {
    let mut world = World::new(Setup::default(), vec![Link::pair(0, 10, 0)]);
    let mut done = false;
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from == A && !done && options(transit.segment).iter().any(is_data_fin) {
            done = true;
            transit.segment.flags = transit.segment.flags.with(Flags::FIN);
        }
        // From then on A does not know what it has sent: it says no more.
        transit.from == B || !done || transit.segment.flags.has(Flags::FIN)
    }));
    world
}

#[test]
fn bug8_a_fin_with_the_data_fin_leaves_a_slow_owner_all_the_time() {
    let mut world = fin_with_data_fin();
    world.ends[B].reads = false;
    world.ends[A].send(5_000, true);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.ends[B].conn.outcome(), Outcome::Alive);
    world.ends[B].reads = true;
    world.pass(Duration::from_secs(1));
    assert_eq!(world.ends[B].received, 5_000);
    assert!(world.ends[B].fin_seen);
}

#[test]
fn bug8_a_fin_with_the_data_fin_is_a_half_close() {
    let mut world = fin_with_data_fin();
    world.ends[A].send(5_000, true);
    world.pass(Duration::from_secs(30));
    assert!(world.ends[B].fin_seen);
    assert_eq!(world.ends[B].conn.outcome(), Outcome::Alive);
}

#[test]
fn bug8_subflows_in_time_wait_alone_do_not_keep_a_connection() {
    for who in [A, B] {
        let mut world = two_paths(Setup::default());
        world.ends[A].send(10_000, false);
        let (now, rng) = (world.now, &mut world.rng);
        world.ends[who].with(now, rng, |conn, cx| conn.withdraw(cx, mptcp::AddrId(1)));
        world.pass(Duration::from_secs(1));
        world.middlebox = Some(Box::new(move |transit| {
            if transit.from != who && transit.path == 0 {
                into_reset(transit.segment);
            }
            transit.path == 0
        }));
        world.ends[1 - who].send(20_000, false);
        let took = world.run(5 * MINUTE, |w| w.ends[who].conn.is_closed());
        assert!(took < Duration::from_secs(15), "{took:?}");
    }
}

/// What A sends is kept: of each path the last segment with a DATA_FIN, the last FIN, and the last of all.
#[test]
fn what_is_left_of_subflows_acknowledges_both_ends_again() {
    type Seen = [Option<stack::wire::tcp::Segment<world::Buf>>; 3];
    let sent: Rc<RefCell<[Seen; 2]>> = Rc::default();
    let mut world = two_paths(Setup::default());
    let seen = Rc::clone(&sent);
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from == A {
            let kept = &mut seen.borrow_mut()[transit.path];
            let fin = transit.segment.flags.has(Flags::FIN);
            let data_fin = options(transit.segment).iter().any(is_data_fin);
            for (at, is) in [data_fin, fin, true].into_iter().enumerate() {
                if is {
                    kept[at] = Some(transit.segment.clone());
                }
            }
        }
        true
    }));
    world.ends[A].send(1000, true);
    world.ends[B].send(2000, true);
    world.run(MINUTE, |w| w.ends[B].conn.is_past());
    world.ends[B].assert_intact();
    let now = world.now;
    let mut left: Vec<_> = world.ends[B].conn.time_waits(now).collect();
    assert_eq!(left.len(), 2, "both ends close at once");
    let (end, later) = (now + Duration::from_millis(500), Duration::from_millis(100));
    let mut counters = stack::Tally::default();
    let mut cx = stack::Cx {
        now: now + later,
        rng: &mut world.rng,
        counters: &mut counters,
    };
    let sent = sent.borrow();
    let data_fin = sent.iter().find_map(|[data_fin, ..]| data_fin.as_ref());
    for ((tuple, left), [_, fin, last]) in left.iter_mut().zip(&*sent) {
        let (fin, last) = (fin.as_ref().unwrap(), last.as_ref().unwrap());
        assert_eq!(*tuple, last.tuple.reversed());
        assert_eq!(left.deadline(), end);
        assert!(left.input(&mut cx, last).is_none(), "nothing to answer");
        let again = stack::wire::tcp::Segment {
            options: data_fin.unwrap().options.clone(),
            ..last.clone()
        };
        for (segment, deadline) in [(&again, end), (fin, end + later)] {
            let answer = left.input(&mut cx, segment).expect("an answer");
            let told = parse(&answer.options.mptcp).flatten().next();
            let mapping = options(&again).into_iter().find_map(|option| match option {
                MpOption::Dss(dss) => dss.mapping,
                _ => None,
            });
            let mapping = mapping.unwrap();
            let WireSeq::Full(dsn) = mapping.dsn else {
                panic!("{again:?}");
            };
            let expected = Dss {
                data_ack: Some(WireSeq::Full(dsn + u64::from(mapping.len))),
                mapping: None,
            };
            assert_eq!(told, Some(expected.into()));
            assert_eq!((answer.seq, answer.ack), (last.ack, last.seq));
            assert_eq!(left.deadline(), deadline, "a FIN restarts the wait");
        }
        let mut reset = fin.clone();
        reset.flags = Flags::RST;
        assert!(left.input(&mut cx, &reset).is_none(), "RFC 1337");
    }
}

#[test]
fn m23_abort_ends_the_other_side_at_once() {
    for version in [Version::V0, Version::V1] {
        for from in [A, B] {
            let mut world = two_paths(Setup {
                version,
                ..Setup::default()
            });
            world.ends[from].send(5_000_000, false);
            world.pass(Duration::from_secs(1));
            let (now, rng) = (world.now, &mut world.rng);
            world.ends[from].with(now, rng, |conn, cx| conn.abort(cx));
            let took = world.run(MINUTE, World::is_closed);
            assert!(took < Duration::from_secs(1), "{took:?}");
            assert_eq!(
                world.ends[from].conn.outcome(),
                Outcome::Reset(ResetReason::Aborted)
            );
            let other = &world.ends[1 - from];
            assert_eq!(other.conn.outcome(), Outcome::Reset(ResetReason::Fastclose));
            assert_eq!(other.count(Counter::FastcloseRx), 1);
        }
    }
}

#[test]
fn m23_version_0_repeats_a_fastclose_until_it_is_answered() {
    // The first, its answer, or all that are sent are lost.
    for (lost, answers_lost) in [(1, 0), (3, 0), (0, 1), (100, 0)] {
        let mut world = two_paths(Setup {
            version: Version::V0,
            ..Setup::default()
        });
        world.ends[A].send(50_000, false);
        world.pass(Duration::from_secs(1));
        let (mut closes, mut answers) = (lost, answers_lost);
        world.middlebox = Some(Box::new(move |transit| {
            let closing = options(transit.segment)
                .iter()
                .any(|option| matches!(option, MpOption::Fastclose { .. }));
            if transit.from == A && closing && closes > 0 {
                closes -= 1;
                return false;
            }
            let answer = transit.from == B && transit.segment.flags.has(Flags::RST);
            if answer && answers > 0 {
                answers -= 1;
                return false;
            }
            true
        }));
        let (now, rng) = (world.now, &mut world.rng);
        world.ends[A].with(now, rng, |conn, cx| conn.abort(cx));
        let took = world.run(MINUTE, |w| w.ends[A].conn.is_closed());
        assert!(took < Duration::from_secs(2), "{took:?}");
        let aborted = Outcome::Reset(ResetReason::Aborted);
        assert_eq!(world.ends[A].conn.outcome(), aborted);
        let sent = (lost + answers_lost + 1).min(4);
        assert_eq!(world.ends[A].count(Counter::FastcloseTx), sent);
        world.run(MINUTE, World::is_closed);
        let reason = if lost < 4 {
            ResetReason::Fastclose
        } else {
            ResetReason::LastSubflow
        };
        assert_eq!(world.ends[B].conn.outcome(), Outcome::Reset(reason));
    }
}

#[test]
fn m23_two_fastcloses_that_cross_end_both() {
    for version in [Version::V0, Version::V1] {
        let mut world = two_paths(Setup {
            version,
            ..Setup::default()
        });
        world.ends[A].send(50_000, false);
        world.pass(Duration::from_secs(1));
        for me in [A, B] {
            let (now, rng) = (world.now, &mut world.rng);
            world.ends[me].with(now, rng, |conn, cx| conn.abort(cx));
        }
        let took = world.run(MINUTE, World::is_closed);
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
}

#[test]
fn bug9_fastclose_with_a_wrong_key_is_ignored() {
    let mut world = two_paths(Setup::default());
    let mut forged = false;
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from == A && transit.segment.payload.is_empty() && !forged {
            forged = true;
            transit.segment.options.mptcp = MpOption::Fastclose {
                receiver_key: Key::new([9; 8]),
            }
            .into();
        }
        true
    }));
    world.transfer([1000, 100_000], MINUTE);
    assert_eq!(world.ends[B].count(Counter::FastcloseWrongKey), 1);
}

#[test]
fn m23_a_reset_with_a_fastclose_of_a_wrong_key_ends_its_subflow_and_no_more() {
    for victim in [0, 1] {
        let mut world = two_paths(Setup::default());
        let mut forged = false;
        world.middlebox = Some(Box::new(move |transit| {
            // One in order: an ACK of A's without data.
            let at = transit.from == A && transit.path == victim && transit.nth > 3;
            if at && !forged && transit.segment.payload.is_empty() {
                forged = true;
                into_reset(transit.segment);
                let receiver_key = Key::new([9; 8]);
                transit.segment.options.mptcp = MpOption::Fastclose { receiver_key }.into();
            }
            true
        }));
        world.ends[A].send(0, true);
        world.ends[B].send(600_000, true);
        world.run(2 * MINUTE, World::is_complete);
        world.ends[A].assert_intact();
        assert_eq!(world.ends[B].count(Counter::FastcloseWrongKey), 1);
        assert_eq!(world.ends[B].count(Counter::FastcloseRx), 0);
        assert_eq!(world.ends[B].count(Counter::SubflowReset), 1);
    }
}

/// RFC 6824 3.5: who waits for the answer to its MP_FASTCLOSE takes only that, or one with its own key.
#[test]
fn m23_a_fastclose_of_a_wrong_key_is_no_answer_to_ones_own() {
    let mut world = two_paths(Setup {
        version: Version::V0,
        ..Setup::default()
    });
    world.ends[A].send(50_000, false);
    world.ends[B].send(50_000, false);
    world.pass(Duration::from_secs(1));
    // B does not hear of it, and what it sends comes with another's.
    world.middlebox = Some(Box::new(|transit| {
        let receiver_key = Key::new([9; 8]);
        transit.segment.options.mptcp = MpOption::Fastclose { receiver_key }.into();
        transit.from == B
    }));
    let (now, rng) = (world.now, &mut world.rng);
    world.ends[A].with(now, rng, |conn, cx| conn.abort(cx));
    world.ends[B].send(1_000, false);
    world.pass(Duration::from_millis(50));
    assert!(!world.ends[A].conn.is_closed(), "{}", world.describe());
    world.pass(Duration::from_secs(10));
    assert_eq!(world.ends[A].count(Counter::FastcloseTx), 4);
    assert_eq!(world.ends[A].count(Counter::FastcloseRx), 0);
}

#[test]
fn a_surplus_subflow_ends_in_good_order_and_the_last_one_stays() {
    for surplus in [0, 1] {
        let mut world = two_paths(Setup::default());
        let close = |world: &mut World, id: u8| {
            let (now, rng) = (world.now, &mut world.rng);
            let close = |conn: &mut mptcp::Connection<_>, cx: &mut mptcp::Cx<'_>| {
                conn.close_surplus(cx, SubflowId(id));
            };
            world.ends[A].with(now, rng, close);
        };
        for end in &mut world.ends {
            end.send(300_000, false);
        }
        world.pass(Duration::from_millis(30));
        close(&mut world, surplus);
        world.run(MINUTE, |w| w.ends.iter().all(|end| end.received == 300_000));
        world.run(MINUTE, |w| {
            w.ends.iter().all(|end| end.conn.subflows().count() == 1)
        });
        close(&mut world, 1 - surplus);
        world.pass(Duration::from_secs(5));
        for end in &world.ends {
            end.assert_intact();
            assert_eq!(end.conn.outcome(), Outcome::Alive);
            assert_eq!(end.count(Counter::SubflowReset), 0);
            assert_eq!(end.count(Counter::Reinjected), 0);
        }
        world.transfer([100_000, 100_000], MINUTE);
    }
}

#[test]
fn bug9_no_fastclose_after_both_data_fins() {
    let setup = Setup {
        limits: Limits {
            time_wait: Duration::from_secs(5),
            ..Limits::default()
        },
        ..Setup::default()
    };
    let mut world = two_paths(setup);
    world.ends[A].send(1000, true);
    world.ends[B].send(1000, true);
    world.run(MINUTE, |w| {
        w.is_complete() && w.ends.iter().all(|end| end.conn.fin_acknowledged())
    });
    let (now, rng) = (world.now, &mut world.rng);
    world.ends[A].with(now, rng, |conn, cx| conn.abort(cx));
    assert_eq!(world.ends[A].count(Counter::FastcloseTx), 0);
}

/// Turns a segment into a reset that its receiver believes.
fn into_reset(segment: &mut stack::wire::tcp::Segment<world::Buf>) {
    segment.flags = Flags::RST;
    segment.options = stack::wire::tcp::Options::default();
    segment.payload = segment.payload.slice(0..0);
}

#[test]
fn m25_a_reset_of_one_subflow_does_not_end_the_connection() {
    for victim in [0, 1] {
        let mut world = two_paths(Setup::default());
        let mut done = false;
        world.middlebox = Some(Box::new(move |transit| {
            // One in order: an ACK of A's without data.
            let at = transit.from == A && transit.path == victim && transit.nth > 3;
            if at && !done && transit.segment.payload.is_empty() {
                done = true;
                into_reset(transit.segment);
            }
            true
        }));
        world.ends[A].send(0, true);
        world.ends[B].send(600_000, true);
        world.run(2 * MINUTE, World::is_complete);
        world.ends[A].assert_intact();
        assert_eq!(world.ends[B].count(Counter::SubflowReset), 1);
    }
}

#[test]
fn m25_a_reset_of_the_last_subflow_resets_the_connection() {
    let mut world = World::new(Setup::default(), vec![Link::pair(0, 10, 0)]);
    world.middlebox = Some(Box::new(|transit| {
        if transit.from == A && transit.nth > 4 && transit.segment.payload.is_empty() {
            into_reset(transit.segment);
        }
        true
    }));
    world.ends[B].send(600_000, true);
    world.run(2 * MINUTE, |w| w.ends[B].conn.is_closed());
    assert_eq!(
        world.ends[B].conn.outcome(),
        Outcome::Reset(ResetReason::LastSubflow)
    );
}

/// Resets all that is under way on both paths until both ends have no subflow left.
fn lose_all_subflows(world: &mut World) {
    world.middlebox = Some(Box::new(|transit| {
        if transit.path < 2 {
            into_reset(transit.segment);
        }
        true
    }));
    world.run(MINUTE, |w| {
        w.ends.iter().all(|end| end.conn.subflows().count() == 0)
    });
    world.middlebox = None;
}

fn three_paths(version: Version) -> World {
    let delays = [10, 25, 15];
    let setup = Setup {
        version,
        ..Setup::default()
    };
    let mut world = World::new(
        setup,
        delays
            .map(|delay| Link::pair(1_000_000, delay, 100_000))
            .into(),
    );
    world.join_all(&[1]);
    world
}

#[test]
fn m25_a_connection_whose_last_subflow_is_gone_goes_on_with_one_that_joins_in_time() {
    for wait in [1, 9] {
        let mut world = three_paths(Version::V1);
        world.ends[A].send(2_000_000, true);
        world.ends[B].send(3_000_000, true);
        world.pass(Duration::from_millis(300));
        lose_all_subflows(&mut world);
        assert!(
            world
                .ends
                .iter()
                .all(|end| end.conn.outcome() == Outcome::Alive)
        );
        world.pass(Duration::from_secs(wait));
        world.join(2);
        world.run(MINUTE, World::is_complete);
        world.ends.iter().for_each(world::End::assert_intact);
        world.run(MINUTE, World::is_closed);
        assert!(
            world
                .ends
                .iter()
                .all(|end| end.conn.outcome() == Outcome::Closed)
        );
    }
}

#[test]
fn m25_a_connection_whose_last_subflow_is_gone_ends_if_none_joins() {
    // Version 0 has no reason in a reset: it may be that of a peer that has forgotten all.
    for (version, least, most) in [(Version::V1, 9, 11), (Version::V0, 0, 1)] {
        let mut world = three_paths(version);
        world.ends[A].send(2_000_000, true);
        world.ends[B].send(3_000_000, true);
        world.pass(Duration::from_millis(300));
        lose_all_subflows(&mut world);
        let took = world.run(MINUTE, World::is_closed);
        let (least, most) = (Duration::from_secs(least), Duration::from_secs(most));
        assert!((least..most).contains(&took), "{took:?}");
        let reset = Outcome::Reset(ResetReason::LastSubflow);
        assert!(world.ends.iter().any(|end| end.conn.outcome() == reset));
    }
}

#[test]
fn m25_a_peer_that_has_forgotten_the_connection_is_not_waited_for() {
    let mut world = three_paths(Version::V1);
    world.ends[A].send(2_000_000, false);
    world.pass(Duration::from_millis(300));
    world.middlebox = Some(Box::new(|transit| {
        if transit.from == B {
            into_reset(transit.segment);
            transit.segment.options.mptcp = MpOption::TcpRst(mptcp::option::TcpRst {
                transient: false,
                reason: mptcp::option::ResetReason::MPTCP_SPECIFIC,
            })
            .into();
        }
        true
    }));
    let took = world.run(MINUTE, |w| w.ends[A].conn.is_closed());
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn m24_mp_tcprst_means_nothing_without_a_reset() {
    let mut world = two_paths(Setup::default());
    world.middlebox = Some(Box::new(|transit| {
        if transit.from == A && transit.nth == 5 && transit.segment.payload.is_empty() {
            transit.segment.options.mptcp = MpOption::TcpRst(mptcp::option::TcpRst {
                transient: false,
                reason: mptcp::option::ResetReason::PROHIBITED,
            })
            .into();
        }
        true
    }));
    world.transfer([1000, 100_000], MINUTE);
    assert_eq!(world.ends[B].count(Counter::TcpRstRx), 0);
}

#[test]
fn a_silent_peer_is_given_up_in_bounded_time() {
    let mut world = two_paths(Setup::default());
    world.ends[A].send(100_000_000, true);
    world.pass(Duration::from_secs(1));
    for path in &mut world.paths {
        path.iter_mut().for_each(|link| link.set_down(true));
    }
    let took = world.run(60 * MINUTE, |w| w.ends[A].conn.is_closed());
    println!("{took:?}");
    assert_eq!(
        world.ends[A].conn.outcome(),
        Outcome::Reset(ResetReason::TimedOut)
    );
}

#[test]
fn m16_the_end_of_an_empty_stream_does_not_wait_for_the_peer_to_speak() {
    let mut world = World::new(Setup::default(), vec![Link::pair(0, 10, 0)]);
    let mut ended = false;
    world.middlebox = Some(Box::new(move |transit| {
        ended |= options(transit.segment).iter().any(is_data_fin);
        transit.from == A || ended
    }));
    world.ends[A].send(0, true);
    world.run(Duration::from_secs(1), |w| w.ends[B].fin_seen);
}

#[test]
fn a_join_that_is_answered_after_the_end_does_not_keep_a_past_deadline() {
    let paths = vec![Link::pair(0, 10, 0), Link::pair(0, 300, 0)];
    let mut world = World::new(Setup::default(), paths);
    world.join(1);
    world.pass(Duration::from_millis(290));
    for end in &mut world.ends {
        end.send(10, true);
    }
    world.run(MINUTE, World::is_closed);
    for end in &world.ends {
        assert_eq!(end.conn.outcome(), Outcome::Closed);
    }
}
