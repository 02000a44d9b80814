//! Where options or data are changed on the way: fallback where RFC 8684 3.7 allows it, a reset where not.

mod world;

use mptcp::connection::ResetReason;
use mptcp::option::{Dss, parse};
use mptcp::{Counter, DataSeq, Mode, MpOption, Outcome, Version};
use stack::time::Duration;
use stack::wire::tcp::Flags;
use std::cell::Cell;
use std::rc::Rc;
use world::{A, B, Link, Setup, Transit, World};

const MINUTE: Duration = Duration::from_secs(60);

fn strip(transit: &mut Transit<'_>) {
    transit.segment.options.mptcp.clear();
}

fn one_path(setup: Setup) -> World {
    World::new(setup, vec![Link::pair(0, 10, 0)])
}

#[test]
fn m26_options_stripped_from_the_start_mean_plain_tcp() {
    for version in [Version::V0, Version::V1] {
        for checksum in [false, true] {
            for directions in [&[A][..], &[B], &[A, B]] {
                for lens in [[100_000, 0], [0, 100_000], [50_000, 80_000]] {
                    let mut world = one_path(Setup {
                        version,
                        checksum,
                        ..Setup::default()
                    });
                    let directions = directions.to_vec();
                    let note = format!("{version:?} {checksum} {directions:?} {lens:?}");
                    world.middlebox = Some(Box::new(move |mut transit| {
                        if directions.contains(&transit.from) {
                            strip(&mut transit);
                        }
                        true
                    }));
                    for (end, len) in world.ends.iter_mut().zip(lens) {
                        end.send(len, true);
                    }
                    world.run(5 * MINUTE, World::is_complete);
                    world.ends.iter().for_each(world::End::assert_intact);
                    let fallen = world
                        .ends
                        .iter()
                        .filter(|end| end.conn.mode() == Mode::Fallback)
                        .count();
                    assert!(fallen >= 1, "{note}: {}", world.describe());
                    world.run(2 * MINUTE, World::is_closed);
                }
            }
        }
    }
}

#[test]
fn m26_a_verified_connection_never_falls_back() {
    // From the n-th segment on, after DATA_ACKs went both ways, options vanish in one direction.
    for direction in [A, B] {
        let mut world = one_path(Setup::default());
        world.middlebox = Some(Box::new(move |mut transit| {
            if transit.from == direction && transit.nth >= 60 {
                strip(&mut transit);
            }
            true
        }));
        world.ends[A].send(2_000_000, true);
        world.ends[B].send(2_000_000, true);
        world.run(5 * MINUTE, |w| w.ends[1 - direction].conn.is_closed());
        let end = &world.ends[1 - direction];
        assert_ne!(end.conn.mode(), Mode::Fallback, "{}", world.describe());
        assert_eq!(
            end.conn.outcome(),
            Outcome::Reset(ResetReason::Unusable),
            "{}",
            world.describe()
        );
        let found = end.count(Counter::DssUncovered) + end.count(Counter::DataAckMissing);
        assert_eq!(found, 1, "{}", world.describe());
        end.assert_intact();
    }
}

#[test]
fn m26_stripped_in_mid_stream_resets_both_ways_and_repeats_nothing() {
    for (up, down) in [(3_000_000, 0), (0, 3_000_000), (3_000_000, 3_000_000)] {
        let mut world = World::new(Setup::default(), vec![Link::pair(1_000_000, 10, 100_000)]);
        world.middlebox = Some(Box::new(move |mut transit| {
            if transit.nth >= 200 {
                strip(&mut transit);
            }
            true
        }));
        world.ends[A].send(up, true);
        world.ends[B].send(down, true);
        let took = world.run(5 * MINUTE, World::is_closed);
        assert!(took < Duration::from_secs(20), "{took:?}");
        for end in &world.ends {
            end.assert_intact();
            assert!(
                matches!(end.conn.outcome(), Outcome::Reset(_)),
                "{}",
                world.describe()
            );
            assert_eq!(
                end.count(Counter::Reinjected),
                0,
                "nothing may come twice on the only subflow"
            );
        }
    }
}

#[test]
fn bug1_stripped_after_first_data_falls_back_silently() {
    // The request passes with its options; from then on the path strips both ways, before any DATA_ACK passed.
    for first in [1, 2] {
        let mut world = one_path(Setup::default());
        world.middlebox = Some(Box::new(move |mut transit| {
            if transit.from == B || transit.nth > first {
                strip(&mut transit);
            }
            true
        }));
        world.ends[A].send(1_000, false);
        world.run(MINUTE, |w| w.ends[B].received == 1_000);
        world.ends[B].send(500_000, true);
        world.ends[A].send(100_000, true);
        world.run(5 * MINUTE, World::is_complete);
        world.ends.iter().for_each(world::End::assert_intact);
        assert!(
            world
                .ends
                .iter()
                .all(|end| end.conn.mode() == Mode::Fallback)
        );
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
fn bug2_a_joined_subflow_that_loses_options_is_reset_and_its_data_goes_elsewhere() {
    for direction in [A, B] {
        for from_nth in [3, 40] {
            let paths = vec![
                Link::pair(1_000_000, 20, 100_000),
                Link::pair(1_000_000, 5, 100_000),
            ];
            let mut world = World::new(Setup::default(), paths);
            world.join_all(&[1]);
            world.middlebox = Some(Box::new(move |mut transit| {
                if transit.path == 1 && transit.from == direction && transit.nth >= from_nth {
                    strip(&mut transit);
                }
                true
            }));
            world.ends[A].send(12_000_000, true);
            world.ends[B].send(12_000_000, true);
            world.run(5 * MINUTE, World::is_complete);
            world.ends.iter().for_each(world::End::assert_intact);
            let resets: u64 = world
                .ends
                .iter()
                .map(|end| end.count(Counter::DssUncovered))
                .sum();
            assert!(resets >= 1, "{}", world.describe());
            world.run(MINUTE, World::is_closed);
            assert!(
                world
                    .ends
                    .iter()
                    .all(|end| end.conn.outcome() == Outcome::Closed)
            );
        }
    }
}

/// Changes one octet of the payload of the `nth` data segment of `from` on `path`.
fn flip(world: &mut World, from: usize, path: usize, nth: usize) {
    let mut seen = 0;
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from == from && transit.path == path && transit.segment.payload.len() > 100 {
            seen += 1;
            if seen == nth {
                let mut octets = transit.segment.payload.bytes().to_vec();
                octets[50] ^= 0x40;
                transit.segment.payload = world::slice(octets);
            }
        }
        true
    }));
}

#[test]
fn m22_a_changed_octet_resets_one_of_several_subflows() {
    for path in [0, 1] {
        let setup = Setup {
            checksum: true,
            ..Setup::default()
        };
        let paths = vec![
            Link::pair(1_000_000, 20, 100_000),
            Link::pair(1_000_000, 20, 100_000),
        ];
        let mut world = World::new(setup, paths);
        world.join_all(&[1]);
        flip(&mut world, A, path, 30);
        world.ends[A].send(1_000_000, true);
        world.ends[B].send(100_000, true);
        world.run(5 * MINUTE, World::is_complete);
        world.ends.iter().for_each(world::End::assert_intact);
        assert_eq!(world.ends[B].count(Counter::DssChecksumError), 1);
        assert_eq!(world.ends[B].count(Counter::MpFailTx), 1);
        assert_eq!(world.ends[A].count(Counter::MpFailRx), 1);
    }
}

#[test]
fn m22_a_changed_octet_on_the_only_subflow_means_an_infinite_mapping() {
    for nth in [1, 2, 30] {
        let mut world = one_path(Setup {
            checksum: true,
            ..Setup::default()
        });
        world.paths[0] = Link::pair(1_000_000, 20, 100_000);
        flip(&mut world, A, 0, nth);
        world.ends[A].send(1_000_000, true);
        world.ends[B].send(100_000, true);
        world.run(5 * MINUTE, World::is_complete);
        assert!(
            world
                .ends
                .iter()
                .all(|end| end.conn.mode() == Mode::Fallback),
            "{}",
            world.describe()
        );
        assert_eq!(world.ends[B].count(Counter::DssChecksumError), 1);
        assert_eq!(world.ends[B].count(Counter::MpFailTx), 1);
        assert_eq!(world.ends[A].count(Counter::MpFailRx), 1);
        world.run(MINUTE, World::is_closed);
    }
}

#[test]
fn m22_a_changed_octet_in_the_last_segment_means_an_infinite_mapping_too() {
    // The sender has no more data that could carry the mapping, only its end: its own MP_FAIL stands for one. What answers
    // may get lost.
    for (finish, losses) in [(true, 0), (false, 0), (true, 2), (false, 2)] {
        let mut world = one_path(Setup {
            checksum: true,
            ..Setup::default()
        });
        let (mut seen, mut left) = (0, losses);
        world.middlebox = Some(Box::new(move |transit| {
            let segment = transit.segment;
            if transit.from == A && segment.payload.len() > 100 {
                seen += 1;
                if seen == 15 {
                    let mut octets = segment.payload.bytes().to_vec();
                    octets[50] ^= 0x40;
                    segment.payload = world::slice(octets);
                }
            }
            let mut options = parse(&segment.options.mptcp).flatten();
            let fails = options.any(|option| matches!(option, MpOption::Fail { .. }));
            let lose = transit.from == A && fails && left > 0;
            left -= i32::from(lose);
            !lose
        }));
        world.ends[A].send(15 * 1400, finish);
        world.ends[B].send(1_000, finish);
        world.run(MINUTE, |w| w.ends[B].received == 15 * 1400);
        assert!(
            world
                .ends
                .iter()
                .all(|end| end.conn.mode() == Mode::Fallback),
            "{}",
            world.describe()
        );
        if !finish {
            // The wait for an infinite mapping is over, too.
            world.pass(Duration::from_secs(6));
            assert_eq!(world.ends[B].count(Counter::DssUnfilled), 0);
            world.ends.iter_mut().for_each(|end| end.send(1_000, true));
        }
        world.run(MINUTE, World::is_complete);
        world.run(MINUTE, World::is_closed);
    }
}

#[test]
fn m22_an_infinite_mapping_that_never_comes_costs_the_subflow() {
    // The other end does not even hear that it is asked for one. Where there is another subflow by then, that has the data.
    for others in [false, true] {
        let setup = Setup {
            checksum: true,
            ..Setup::default()
        };
        let mut world = World::new(setup, vec![Link::pair(0, 10, 0); 2]);
        let mut changed = false;
        world.middlebox = Some(Box::new(move |transit| {
            let segment = transit.segment;
            if segment.payload.len() > 100 && !changed {
                changed = true;
                let mut octets = segment.payload.bytes().to_vec();
                octets[50] ^= 0x40;
                segment.payload = world::slice(octets);
            }
            let mut options = parse(&segment.options.mptcp).flatten();
            !options.any(|option| matches!(option, MpOption::Fail { .. }))
        }));
        world.ends[A].send(1_400, false);
        world.pass(Duration::from_millis(300));
        if others {
            world.join(1);
        }
        world.pass(Duration::from_secs(6));
        let [seen, unfilled] = [Counter::DssUncovered, Counter::DssUnfilled]
            .map(|counter| world.ends[B].count(counter));
        assert_eq!((seen, unfilled), (1, 0), "{}", world.describe());
        if others {
            assert_eq!(world.ends[B].conn.subflows().count(), 1);
            world.transfer([10_000, 10_000], MINUTE);
        } else {
            assert!(world.ends[B].conn.is_closed(), "{}", world.describe());
        }
    }
}

/// Seeds 8114, 24923, 26993 and 223244: what was sent before the fallback and again after it had a DATA_ACK of all that came
/// since, of octets that no mapping tells the place of, and beside a window of TCP's.
#[test]
fn m22_nothing_is_data_acked_after_the_fallback() {
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    world.paths[0] = Link::pair(1_000_000, 20, 100_000);
    let resent = Rc::new(Cell::new(0));
    let (again, mut sent, mut asked, mut fallen) = (Rc::clone(&resent), [0; 2], None, false);
    world.middlebox = Some(Box::new(move |transit| {
        let (from, segment) = (transit.from, transit.segment);
        for option in parse(&segment.options.mptcp).flatten() {
            match option {
                MpOption::Fail { dsn } if from == B => asked = Some(dsn),
                MpOption::Fail { .. } => fallen = true,
                // Until the infinite mapping is there, what is right before it is DATA_ACKed.
                MpOption::Dss(dss) if from == B => {
                    let next = asked.map(|dsn| DataSeq(dsn).full());
                    assert!(next.is_none() || dss.data_ack.is_none_or(|ack| Some(ack) == next));
                },
                MpOption::Dss(dss) => {
                    let mapped = dss.mapping.map_or(1, |mapping| mapping.len);
                    fallen |= mapped == 0;
                    assert!(!fallen || dss.data_ack.is_none());
                    // The mapping stays, as it was.
                    again.set(again.get() + u32::from(fallen && mapped > 0));
                },
                _ => {},
            }
        }
        let full = segment.payload.len() > 100;
        sent[from] += u32::from(full);
        if from == A && full && sent[A] == 30 {
            let mut octets = segment.payload.bytes().to_vec();
            octets[50] ^= 0x40;
            segment.payload = world::slice(octets);
        }
        !(full && (31..60).contains(&sent[from]) && sent[from] % 5 == 0)
    }));
    world
        .ends
        .iter_mut()
        .for_each(|end| end.send(200_000, true));
    world.run(5 * MINUTE, World::is_complete);
    let modes = world.ends.each_ref().map(|end| end.conn.mode());
    assert_eq!(modes, [Mode::Fallback; 2], "{}", world.describe());
    assert!(resent.get() > 0);
    world.run(MINUTE, World::is_closed);
}

/// Seeds 88091 and 102822: the answer to an MP_FAIL was put on data that took up all of a segment without it.
#[test]
fn m22_no_segment_is_longer_for_an_answer_to_mp_fail() {
    let mut world = one_path(Setup {
        checksum: true,
        timestamps: false,
        ..Setup::default()
    });
    world.paths[0] = Link::pair(1_000_000, 20, 100_000);
    let mut sent = 0;
    world.middlebox = Some(Box::new(move |transit| {
        let segment = transit.segment;
        let (len, options) = (segment.payload.len(), segment.options.mptcp.len());
        assert!(
            len == 0 || len + options.next_multiple_of(4) <= 1_460,
            "{len} octets and {options} of options (RFC 9293 3.7.1)"
        );
        sent += u32::from(transit.from == A && len > 100);
        if transit.from == A && len > 100 && sent == 5 {
            let mut octets = segment.payload.bytes().to_vec();
            octets[50] ^= 0x40;
            segment.payload = world::slice(octets);
        }
        true
    }));
    // More than a segment in one piece.
    world.ends[A].piece = 10_000;
    world.ends[A].send(200_000, true);
    world.ends[B].send(0, true);
    world.run(MINUTE, World::is_complete);
    let modes = world.ends.each_ref().map(|end| end.conn.mode());
    assert_eq!(modes, [Mode::Fallback; 2], "{}", world.describe());
    assert_eq!(world.ends[A].count(Counter::MpFailTx), 1, "the answer");
    world.run(MINUTE, World::is_closed);
}

#[test]
fn m22_a_lost_mp_fail_is_sent_again() {
    for losses in [1, 2] {
        let mut world = one_path(Setup {
            checksum: true,
            ..Setup::default()
        });
        let (mut changed, mut left) = (false, losses);
        world.middlebox = Some(Box::new(move |transit| {
            let segment = transit.segment;
            if transit.from == A && segment.payload.len() > 100 && !changed {
                changed = true;
                let mut octets = segment.payload.bytes().to_vec();
                octets[50] ^= 0x40;
                segment.payload = world::slice(octets);
            }
            let mut options = parse(&segment.options.mptcp).flatten();
            let fails = options.any(|option| matches!(option, MpOption::Fail { .. }));
            let lose = transit.from == B && fails && left > 0;
            left -= i32::from(lose);
            !lose
        }));
        world.ends[A].send(100_000, true);
        world.ends[B].send(1_000, true);
        world.run(MINUTE, World::is_complete);
        let mut modes = world.ends.iter().map(|end| end.conn.mode());
        assert!(
            modes.all(|mode| mode == Mode::Fallback),
            "{}",
            world.describe()
        );
        let sent = world.ends[B].count(Counter::MpFailTx);
        assert_eq!(sent, u64::try_from(losses).unwrap() + 1);
        world.run(MINUTE, World::is_closed);
    }
}

#[test]
fn m22_no_infinite_mapping_over_data_that_a_lost_subflow_carried() {
    let setup = Setup {
        checksum: true,
        ..Setup::default()
    };
    let mut world = World::new(setup, vec![Link::pair(0, 100, 0), Link::pair(0, 10, 0)]);
    world.join_all(&[1]);
    world.pass(Duration::from_secs(1));
    // The first ten pieces go by the fast subflow, whose first segment becomes a reset; the last two by the slow one,
    // where the first of them is changed. Then the ten follow them there.
    let (mut lost, mut changed) = (false, false);
    world.middlebox = Some(Box::new(move |transit| {
        let segment = transit.segment;
        if transit.from == B || segment.payload.len() < 100 {
            return true;
        }
        if transit.path == 1 && !lost {
            lost = true;
            segment.flags = Flags::RST;
            segment.options = stack::wire::tcp::Options::default();
            segment.payload = segment.payload.slice(0..0);
        } else if transit.path == 0 && !changed {
            changed = true;
            let mut octets = segment.payload.bytes().to_vec();
            octets[50] ^= 0x40;
            segment.payload = world::slice(octets);
        }
        true
    }));
    world.ends[A].send(12 * 1400, false);
    world.run(MINUTE, |w| {
        w.ends[A].conn.mode() == Mode::Fallback || w.ends[A].conn.is_closed()
    });
    assert_eq!(world.ends[B].count(Counter::DssChecksumError), 1);
    assert_eq!(world.ends[B].count(Counter::MpFailTx), 1);
    world.ends[A].send(12 * 1400, true);
    world.run(MINUTE, World::is_closed);
    world.ends[B].assert_intact();
    assert_eq!(world.ends[A].count(Counter::MpFailTx), 1, "on the reset");
}

#[test]
fn m22_a_data_fin_under_a_wrong_checksum_ends_nothing() {
    let setup = Setup {
        checksum: true,
        ..Setup::default()
    };
    let mut world = World::new(setup, vec![Link::pair(0, 10, 0); 2]);
    world.join_all(&[1]);
    let mut forged = 0;
    world.middlebox = Some(Box::new(move |transit| {
        let segment = transit.segment;
        forged += i32::from(transit.from == A && segment.payload.len() > 100);
        if forged != 15 {
            return true;
        }
        forged += 1;
        let options: Vec<_> = parse(&segment.options.mptcp).flatten().collect();
        segment.options.mptcp.clear();
        for mut option in options {
            if let MpOption::Dss(Dss {
                mapping: Some(mapping),
                ..
            }) = &mut option
            {
                mapping.data_fin = true;
                mapping.len += 1;
            }
            option.emit(&mut segment.options.mptcp).unwrap();
        }
        true
    }));
    world.transfer([100_000, 1_000], MINUTE);
    assert_eq!(world.ends[B].count(Counter::DssChecksumError), 1);
}

/// Takes the last three octets out of A's segment of data number `nth`, and has all numbers fit what is left.
fn shorten(world: &mut World, nth: usize) {
    const BY: u32 = 3;
    let (mut seen, mut cut_to) = (0, None);
    world.middlebox = Some(Box::new(move |transit| {
        let segment = transit.segment;
        let end = segment.seq + u32::try_from(segment.payload.len()).unwrap();
        let is_data = transit.from == A && !segment.payload.is_empty();
        if is_data && cut_to.is_none() {
            seen += 1;
            cut_to = (seen == nth).then(|| end - BY);
        }
        match cut_to {
            Some(to) if is_data && end == to + BY => {
                let left = segment.payload.len() - 3;
                segment.payload = segment.payload.slice(0..left);
            },
            Some(to) if transit.from == A && segment.seq > to => segment.seq = segment.seq - BY,
            Some(to) if transit.from == B && segment.ack >= to => segment.ack += BY,
            _ => {},
        }
        true
    }));
}

#[test]
fn m22_a_first_mapping_that_became_shorter_means_an_infinite_mapping() {
    // The sender may have more data later, or its end alone.
    for (more, finish) in [(0, true), (0, false), (5_000, true)] {
        let mut world = one_path(Setup {
            checksum: true,
            ..Setup::default()
        });
        shorten(&mut world, 1);
        world.ends[A].send(800, finish && more == 0);
        world.ends[B].send(0, false);
        let took = world.run(MINUTE, |w| w.ends[B].received == 797);
        assert!(took < Duration::from_secs(6), "{took:?}");
        let mut modes = world.ends.iter().map(|end| end.conn.mode());
        assert!(
            modes.all(|mode| mode == Mode::Fallback),
            "{}",
            world.describe()
        );
        assert_eq!(world.ends[B].count(Counter::DssUnfilled), 1);
        assert_eq!(world.ends[A].count(Counter::Reinjected), 0);
        world.ends[A].send(more, finish);
        world.ends[B].send(10_000, true);
        world.run(MINUTE, |w| w.ends[A].received == 10_000);
        assert_eq!(world.ends[B].received, 797 + more);
        if finish {
            world.run(2 * MINUTE, World::is_closed);
        }
    }
}

#[test]
fn m22_a_mapping_that_takes_long_to_come_is_waited_for() {
    // Two segments are one mapping, and the second is late, but not lost for good.
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    world.ends[A].send(800, false);
    world.middlebox = Some(Box::new(|transit| {
        let len = transit.segment.payload.len();
        if transit.from == A && len > 700 {
            transit.segment.payload = transit.segment.payload.slice(0..700);
        }
        transit.from == B || len == 0 || len > 700
    }));
    world.pass(Duration::from_millis(1_500));
    assert_eq!(world.ends[B].received, 0);
    world.middlebox = None;
    world.run(MINUTE, |w| w.ends[B].received == 800);
    world.ends[B].assert_intact();
    assert_eq!(world.ends[B].count(Counter::DssUnfilled), 0);
    world.ends[A].send(100_000, true);
    world.ends[B].send(100_000, true);
    world.run(5 * MINUTE, World::is_complete);
    world.ends.iter().for_each(world::End::assert_intact);
}

/// Seed 79774: a path that is down for long cuts the first mapping in two, and no answer says that there is no rest.
#[test]
fn m22_an_outage_within_the_first_mapping_is_no_change_of_it() {
    // How long the path is down, whether both ways, and whether the receiver has something to send itself.
    let outages = [(7, true), (20, true), (20, false), (60, true)];
    for ((secs, both), other) in outages.into_iter().flat_map(|of| [(of, 0), (of, 3_000)]) {
        let mut world = one_path(Setup {
            checksum: true,
            ..Setup::default()
        });
        let note = format!("{secs} s, both ways {both}, {other} octets the other way");
        world.ends[A].send(800, false);
        let mut first = true;
        world.middlebox = Some(Box::new(move |transit| {
            let len = transit.segment.payload.len();
            let passes = transit.from == A && len > 0 && first;
            if passes {
                transit.segment.payload = transit.segment.payload.slice(0..300);
                first = false;
            }
            passes || transit.from == B && !both
        }));
        world.pass(Duration::from_secs(1));
        world.ends[B].send(other, false);
        world.pass(Duration::from_secs(secs));
        assert_eq!(world.ends[B].received, 0, "{note}");
        world.middlebox = None;
        world.run(2 * MINUTE, |w| w.ends[B].received == 800);
        assert_eq!(world.ends[B].count(Counter::DssUnfilled), 0, "{note}");
        world
            .ends
            .iter_mut()
            .for_each(|end| end.send(100_000, true));
        world.run(2 * MINUTE, World::is_complete);
        world.ends.iter().for_each(world::End::assert_intact);
        let modes = world.ends.each_ref().map(|end| end.conn.mode());
        assert_eq!(modes, [Mode::Verified; 2], "{note}");
        world.run(MINUTE, World::is_closed);
    }
}

/// The peer, asked whether more is under way, answers with the number of what it sends next, which was lost until now; and is told
/// before what came, so that it need not wait for that.
#[test]
fn m22_an_answer_with_a_later_number_says_that_there_is_more() {
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    world.ends[A].send(800, false);
    let acks = Rc::new(Cell::new(0));
    let (told, mut first, mut initial, mut answered) = (Rc::clone(&acks), true, None, false);
    world.middlebox = Some(Box::new(move |transit| {
        let segment = transit.segment;
        let is_data = !segment.payload.is_empty();
        if transit.from == A {
            answered |= !first && !is_data;
            if first && is_data {
                segment.payload = segment.payload.slice(0..300);
                return std::mem::take(&mut first);
            }
            return answered;
        }
        // A probe has the number before the next. All else of B is lost until that is answered.
        let (next, nothing) = *initial.get_or_insert((segment.seq, segment.ack));
        let probes = segment.seq < next;
        told.set(told.get() + u32::from(!probes && segment.ack > nothing));
        assert!(!probes || told.get() == 2, "when it came, and again");
        probes || answered
    }));
    world.run(2 * MINUTE, |w| w.ends[B].received == 800);
    assert!(acks.get() >= 2);
    assert_eq!(world.ends[B].count(Counter::DssUnfilled), 0);
}

/// Nothing fills it, and nobody says so: the peer is asked for so long as it may take to answer.
#[test]
fn m22_a_first_mapping_whose_rest_nobody_answers_for_is_given_up() {
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    world.ends[A].send(800, false);
    let mut first = true;
    world.middlebox = Some(Box::new(move |transit| {
        let passes = transit.from == A && !transit.segment.payload.is_empty() && first;
        if passes {
            transit.segment.payload = transit.segment.payload.slice(0..300);
            first = false;
        }
        passes
    }));
    world.pass(2 * MINUTE);
    assert_eq!(world.ends[B].count(Counter::DssUnfilled), 0);
    world.run(MINUTE, |w| w.ends[B].conn.is_closed());
    assert_eq!(world.ends[B].count(Counter::DssUnfilled), 1);
}

/// A world with checksums in which A's mapping of 800 octets is cut to 700 on the first path, and nothing follows it there for as
/// long as this middlebox stays.
fn withhold_the_rest(world: &mut World) {
    world.middlebox = Some(Box::new(|transit| {
        let payload = &mut transit.segment.payload;
        let is_whole = payload.len() == 800;
        if transit.from == A && transit.path == 0 && is_whole {
            *payload = payload.slice(0..700);
        }
        transit.from == B || transit.path > 0 || payload.is_empty() || is_whole
    }));
}

#[test]
fn m22_a_later_mapping_is_waited_for_however_long_it_takes() {
    // Its sender sends again what has no DATA_ACK: nothing is lost by patience, as it would be by plain TCP.
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    world.ends.iter_mut().for_each(|end| end.send(1_400, false));
    world.run(MINUTE, |w| w.ends.iter().all(|end| end.received == 1_400));
    withhold_the_rest(&mut world);
    world.ends[A].send(800, false);
    world.pass(Duration::from_secs(8));
    assert_eq!(world.ends[B].received, 1_400);
    world.middlebox = None;
    world.transfer([10_000, 10_000], MINUTE);
    assert_eq!(world.ends[B].count(Counter::DssUnfilled), 0);
}

#[test]
fn m22_a_first_mapping_is_waited_for_where_it_has_other_ways() {
    // A second subflow that comes while the first waits brings what is missing there, which is no reason to end the first.
    let setup = Setup {
        checksum: true,
        ..Setup::default()
    };
    let mut world = World::new(setup, vec![Link::pair(0, 10, 0); 2]);
    withhold_the_rest(&mut world);
    world.ends[A].send(800, false);
    world.pass(Duration::from_millis(100));
    world.join(1);
    world.run(MINUTE, |w| w.ends[B].received == 800);
    world.pass(Duration::from_secs(6));
    let seen = |counter| world.ends.each_ref().map(|end| end.count(counter));
    assert_eq!(seen(Counter::DssUnfilled), [0; 2]);
    assert_eq!(seen(Counter::SubflowReset), [0; 2]);
    let subflows = world.ends.each_ref().map(|end| end.conn.subflows().count());
    assert_eq!(subflows, [2; 2], "{}", world.describe());
}

#[test]
fn m22_a_first_mapping_is_waited_for_where_it_had_other_ways() {
    // The second subflow was there when the first began to wait, and is lost: its data comes again on the first, behind what waits.
    let setup = Setup {
        checksum: true,
        ..Setup::default()
    };
    let mut world = World::new(setup, vec![Link::pair(0, 10, 0), Link::pair(0, 100, 0)]);
    world.join_all(&[1]);
    withhold_the_rest(&mut world);
    let withhold = world.middlebox.take();
    let mut withhold = withhold.expect("set");
    world.middlebox = Some(Box::new(move |transit| {
        let segment = &mut *transit.segment;
        if transit.path == 1 && transit.from == A && !segment.payload.is_empty() {
            segment.flags = Flags::RST;
            segment.options = stack::wire::tcp::Options::default();
            segment.payload = segment.payload.slice(0..0);
        }
        withhold(transit)
    }));
    world.ends[A].send(800, false);
    world.pass(Duration::from_secs(8));
    assert_eq!(world.ends[B].received, 0);
    assert_eq!(world.ends[B].conn.subflows().count(), 1);
    world.middlebox = None;
    world.transfer([10_000, 10_000], MINUTE);
    assert_eq!(world.ends[B].count(Counter::DssUnfilled), 0);
}

#[test]
fn m26_data_waits_for_its_own_mapping_as_long_as_the_data_before_it_did() {
    // The mappings of two segments come late, on ACKs: the second one's after more than the time that data is held, but not more
    // than that after the first one's.
    let mut world = one_path(Setup::default());
    world.ends.iter_mut().for_each(|end| end.send(1_400, false));
    world.pass(Duration::from_secs(1));
    let (due, mut kept) = (Rc::new(Cell::new(None)), Vec::new());
    let asked = Rc::clone(&due);
    world.middlebox = Some(Box::new(move |transit| {
        let segment = transit.segment;
        if let Some(Ok(MpOption::Dss(mut dss))) = parse(&segment.options.mptcp).next()
            && transit.from == A
        {
            kept.extend(dss.mapping.take());
            if segment.payload.is_empty() {
                dss.mapping = asked.take().map(|nth: usize| kept[nth]);
            }
            segment.options.mptcp = MpOption::from(dss).into();
        }
        true
    }));
    world.ends[A].send(2_800, false);
    for (nth, secs) in [(0, 4), (1, 3)] {
        world.pass(Duration::from_secs(secs));
        due.set(Some(nth));
        // So that A sends an ACK.
        world.ends[B].send(100, false);
        world.run(MINUTE, |w| w.ends[B].received == 1_400 * (nth + 2));
    }
    world.ends[B].assert_intact();
    assert_eq!(world.ends[B].count(Counter::DssUncovered), 0);
}

#[test]
fn m22_no_infinite_mapping_over_data_that_one_stream_has_twice() {
    // The last mapping became shorter: what was sent again filled it, and stands in the stream once more behind it.
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    world.ends[A].send(1_400, false);
    world.ends[B].send(1_400, false);
    world.run(MINUTE, |w| {
        w.ends[B].received == 1_400 && w.ends[A].received == 1_400
    });
    world.pass(Duration::from_secs(1));
    shorten(&mut world, 1);
    world.ends[A].send(800, true);
    world.run(MINUTE, World::is_closed);
    assert_eq!(world.ends[A].count(Counter::Reinjected), 1);
    assert_eq!(world.ends[B].count(Counter::DssChecksumError), 1);
    assert_eq!(world.ends[A].count(Counter::MpFailTx), 1, "on the reset");
    world.ends[B].assert_intact();
}

/// B's last data comes through, but its DATA_ACKs do not; after so many milliseconds B finds a wrong checksum.
fn fail_beside_a_late_data_ack(millis: u64) -> World {
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    world.ends[A].send(1_400, false);
    world.ends[B].send(1_400, false);
    world.run(MINUTE, |w| w.ends.iter().all(|end| end.received == 1_400));
    world.pass(Duration::from_secs(1));
    let mut frozen = None;
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from == B {
            return true;
        }
        let segment = transit.segment;
        let options = segment.options.mptcp;
        if let Some(Ok(MpOption::Dss(dss))) = parse(&options).next() {
            let data_ack = *frozen.get_or_insert(dss.data_ack);
            segment.options.mptcp = MpOption::from(Dss { data_ack, ..dss }).into();
        }
        if segment.payload.len() > 100 {
            let mut octets = segment.payload.bytes().to_vec();
            octets[50] ^= 0x40;
            segment.payload = world::slice(octets);
        }
        true
    }));
    // What comes first is the DATA_ACK that stays.
    world.ends[A].send(1, false);
    world.run(MINUTE, |w| w.ends[B].received == 1_401);
    world.ends[B].send(1_400, false);
    world.pass(Duration::from_millis(millis));
    world.ends[A].send(1_400, true);
    world.ends[B].send(0, true);
    world.run(MINUTE, World::is_closed);
    world
}

#[test]
fn m22_nothing_is_sent_again_while_an_infinite_mapping_is_asked_for() {
    // B asks for plain streams just when it would send again.
    let mut asked = 0;
    for millis in (300..600).step_by(5) {
        let world = fail_beside_a_late_data_ack(millis);
        let note = || format!("{millis} {}", world.describe());
        assert!(world.ends[A].received <= 2_800, "{}", note());
        world.ends[A].assert_intact();
        asked += world.ends[A].count(Counter::FallbackFailRx);
    }
    assert!(asked > 0);
}

#[test]
fn m22_no_infinite_mapping_is_asked_for_beside_data_that_ones_own_stream_has_twice() {
    let world = fail_beside_a_late_data_ack(600);
    assert_eq!(world.ends[B].count(Counter::Reinjected), 1);
    assert_eq!(world.ends[B].count(Counter::MpFailTx), 1, "on the reset");
    assert_eq!(world.ends[A].count(Counter::FallbackFailRx), 0);
}

#[test]
fn m22_unverified_data_that_is_never_data_acked_ends() {
    // A peer that waits for the rest of a mapping says so by acknowledging with options, and DATA_ACKs nothing.
    let mut world = one_path(Setup::default());
    let mut first = None;
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from == B {
            let options = transit.segment.options.mptcp;
            if let Some(Ok(MpOption::Dss(dss))) = parse(&options).next() {
                let data_ack = *first.get_or_insert(dss.data_ack);
                transit.segment.options.mptcp = MpOption::from(Dss { data_ack, ..dss }).into();
            }
        }
        true
    }));
    world.pass(Duration::from_secs(1));
    world.ends[A].send(800, true);
    world.run(5 * MINUTE, |w| w.ends[A].conn.is_closed());
    let unusable = Outcome::Reset(ResetReason::Unusable);
    assert_eq!(world.ends[A].conn.outcome(), unusable);
    assert_eq!(
        world.ends[A].count(Counter::Reinjected),
        0,
        "nothing may come twice"
    );
}

/// Gives each mapping from A on the second path the checksum that `checksum` makes of its own.
fn with_checksums(world: &mut World, checksum: fn(Option<u16>) -> Option<u16>) {
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from == A && transit.path == 1 && transit.segment.payload.len() > 100 {
            let options: Vec<_> = parse(&transit.segment.options.mptcp).flatten().collect();
            transit.segment.options.mptcp.clear();
            for mut option in options {
                if let MpOption::Dss(Dss {
                    mapping: Some(mapping),
                    ..
                }) = &mut option
                {
                    mapping.checksum = checksum(mapping.checksum);
                }
                option.emit(&mut transit.segment.options.mptcp).unwrap();
            }
        }
        true
    }));
}

#[test]
fn m14_a_mapping_without_the_negotiated_checksum_resets_the_subflow() {
    let mut world = World::new(
        Setup {
            checksum: true,
            ..Setup::default()
        },
        vec![Link::pair(0, 10, 0); 2],
    );
    world.join_all(&[1]);
    with_checksums(&mut world, |_| None);
    world.ends[A].send(300_000, true);
    world.ends[B].send(1_000, true);
    world.run(MINUTE, World::is_complete);
    world.ends.iter().for_each(world::End::assert_intact);
    assert!(world.ends[B].count(Counter::DssChecksumForm) >= 1);
    assert_eq!(world.ends[A].count(Counter::SubflowReset), 1);
}

/// RFC 8684 3.3: such a peer does not behave as negotiated. RFC 6824 3.3.1 has the checksum ignored.
#[test]
fn m14_a_checksum_that_was_not_negotiated_resets_the_subflow_in_version_1() {
    for (version, resets) in [(Version::V1, 1), (Version::V0, 0)] {
        let setup = Setup {
            version,
            ..Setup::default()
        };
        let mut world = World::new(setup, vec![Link::pair(0, 10, 0); 2]);
        world.join_all(&[1]);
        with_checksums(&mut world, |_| Some(0x1234));
        world.ends[A].send(300_000, true);
        world.ends[B].send(1_000, true);
        world.run(MINUTE, World::is_complete);
        world.ends.iter().for_each(world::End::assert_intact);
        assert!(world.ends[B].count(Counter::DssChecksumForm) >= 1);
        assert_eq!(
            world.ends[A].count(Counter::SubflowReset),
            resets,
            "{version:?}"
        );
    }
}

#[test]
fn t18_garbage_in_options_is_counted_and_harms_nothing() {
    let mut world = World::new(
        Setup::default(),
        vec![Link::pair(0, 10, 0), Link::pair(0, 30, 0)],
    );
    world.join_all(&[1]);
    let mut state = 12345u32;
    world.middlebox = Some(Box::new(move |transit| {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12345);
        if state >> 16 & 7 == 0 && transit.segment.payload.is_empty() {
            let options = &mut transit.segment.options.mptcp;
            let len = 3 + (state >> 20 & 7) as u8 * 2;
            let garbage = (2..len).map(|i| (state >> (i % 24)) as u8);
            *options = [30, len].into_iter().chain(garbage).collect();
        }
        true
    }));
    world.ends[A].send(300_000, false);
    world.ends[B].send(300_000, false);
    world.pass(Duration::from_secs(30));
    assert!(
        world
            .ends
            .iter()
            .any(|end| end.count(Counter::OptionMalformed) > 0)
    );
}

#[test]
fn m26_a_join_that_is_answered_after_the_fallback_is_refused() {
    let paths = vec![Link::pair(0, 10, 0), Link::pair(0, 300, 0)];
    let mut world = World::new(Setup::default(), paths);
    world.join(1);
    world.pass(Duration::from_millis(310));
    // The answer is under way when options stop to come back on the first subflow.
    world.middlebox = Some(Box::new(|transit| {
        if transit.path == 0 && transit.from == B {
            transit.segment.options.mptcp.clear();
        }
        true
    }));
    for end in &mut world.ends {
        end.send(100_000, true);
    }
    world.run(MINUTE, World::is_complete);
    world.ends.iter().for_each(world::End::assert_intact);
    world.pass(Duration::from_secs(1));
    // At one end, whose reset the other then sees.
    let refused = [mptcp::JoinRefusal::NotJoinable, mptcp::JoinRefusal::Dropped];
    assert_eq!(world.refused, refused);
    assert_eq!(world.ends[A].conn.mode(), Mode::Fallback);
}
