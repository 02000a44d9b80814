//! Where options are changed or taken out on the way: fallback where RFC 8684 3.7 allows it, a reset where not.

mod world;

use mptcp::connection::ResetReason;
use mptcp::{Counter, Mode, Outcome, Version};
use stack::time::Duration;
use world::{A, B, Link, Setup, Transit, World, one_path};

const MINUTE: Duration = Duration::from_secs(60);

fn strip(transit: &mut Transit<'_>) {
    transit.segment.options.mptcp.clear();
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
