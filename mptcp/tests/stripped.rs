//! Option 30 removed on the way: by direction, from which moment on, and in which version.
//!
//! While the connection is on one subflow and nothing is verified, it goes on as plain TCP; later, and on joined subflows, a
//! subflow without options is reset. Data is never changed, doubled or lost behind an end of stream (RFC 8684 3.7).

mod world;

use mptcp::{Counter, Mode, Outcome, Version};
use stack::time::Duration;
use world::{A, B, Link, Setup, Transit, World};

const MINUTE: Duration = Duration::from_secs(60);

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The third ACK.
    ThirdAck,
    /// The first segment with data, either way.
    FirstData,
    /// What follows the first segment with data.
    AfterFirstData,
    /// A hundred segments of each end.
    MidStream,
    /// The SYN of a joined subflow.
    JoinSyn,
    /// The third and fourth ACK of a joined subflow.
    JoinAck,
    /// The first segment with data on a joined subflow.
    JoinData,
    /// A hundred segments of each end on a joined subflow.
    JoinMidStream,
}

impl Moment {
    const fn is_on_join(self) -> bool {
        matches!(
            self,
            Self::JoinSyn | Self::JoinAck | Self::JoinData | Self::JoinMidStream
        )
    }
}

/// Strips what `directions` send on the path that `moment` names, from then on.
fn middlebox(moment: Moment, directions: &[usize]) -> world::Middlebox {
    let directions = directions.to_vec();
    let path = usize::from(moment.is_on_join());
    let mut data_seen = false;
    Box::new(move |transit: Transit<'_>| {
        if transit.path != path {
            return true;
        }
        let carries_data = !transit.segment.payload.is_empty();
        let begun = match moment {
            Moment::ThirdAck | Moment::JoinSyn => true,
            Moment::JoinAck => transit.nth >= 1,
            Moment::FirstData | Moment::JoinData => data_seen || carries_data,
            Moment::AfterFirstData => data_seen,
            Moment::MidStream | Moment::JoinMidStream => transit.nth >= 100,
        };
        data_seen |= carries_data;
        if begun && directions.contains(&transit.from) {
            transit.segment.options.mptcp.clear();
        }
        true
    })
}

/// How both ends end up: with a fallback, and whether all data came.
fn run(moment: Moment, directions: &[usize], version: Version) -> (World, bool) {
    let setup = Setup {
        version,
        ..Setup::default()
    };
    let paths = vec![
        Link::pair(1_000_000, 20, 100_000),
        Link::pair(1_000_000, 5, 100_000),
    ];
    let mut world = World::new(setup, paths);
    if moment.is_on_join() {
        // Let the first subflow be known to work.
        world
            .ends
            .iter_mut()
            .for_each(|end| end.send(30_000, false));
        world.pass(Duration::from_secs(1));
    }
    world.middlebox = Some(middlebox(moment, directions));
    world
        .ends
        .iter_mut()
        .for_each(|end| end.send(2_000_000, true));
    if moment.is_on_join() {
        world.join(1);
    }
    world.run(5 * MINUTE, |w| w.is_complete() || w.is_closed());
    let complete = world.is_complete();
    world.ends.iter().for_each(world::End::assert_intact);
    world.run(5 * MINUTE, World::is_closed);
    (world, complete)
}

fn each(moment: Moment, judge: impl Fn(&World, bool, &str)) {
    for version in [Version::V0, Version::V1] {
        for directions in [&[A][..], &[B], &[A, B]] {
            let note = format!("{moment:?} {directions:?} {version:?}");
            let (world, complete) = run(moment, directions, version);
            println!("{note}: complete {complete}\n{}", world.describe());
            judge(&world, complete, &note);
        }
    }
}

fn falls_back(world: &World, complete: bool, note: &str) {
    assert!(complete, "{note}: {}", world.describe());
    for end in &world.ends {
        assert_eq!(end.conn.mode(), Mode::Fallback, "{note}");
        assert_eq!(end.conn.outcome(), Outcome::Closed, "{note}");
        assert_eq!(end.count(Counter::Reinjected), 0, "{note}");
    }
}

/// Nothing is told to have ended that did not.
fn resets(world: &World, complete: bool, note: &str) {
    assert!(!complete, "{note}");
    for end in &world.ends {
        assert_ne!(end.conn.mode(), Mode::Fallback, "{note}");
        assert!(
            matches!(end.conn.outcome(), Outcome::Reset(_)),
            "{note}: {}",
            world.describe()
        );
    }
}

fn goes_on(world: &World, complete: bool, note: &str) {
    assert!(complete, "{note}: {}", world.describe());
    for end in &world.ends {
        assert_ne!(end.conn.mode(), Mode::Fallback, "{note}");
        assert_eq!(end.conn.outcome(), Outcome::Closed, "{note}");
    }
}

#[test]
fn m26_from_the_third_ack_on_it_is_plain_tcp() {
    each(Moment::ThirdAck, falls_back);
}

#[test]
fn m26_m6_from_the_first_data_on_it_is_plain_tcp() {
    each(Moment::FirstData, falls_back);
}

#[test]
fn m26_bug1_after_the_first_data_it_is_plain_tcp() {
    each(Moment::AfterFirstData, falls_back);
}

#[test]
fn m26_bug1_in_mid_stream_the_only_subflow_is_reset() {
    each(Moment::MidStream, resets);
}

#[test]
fn m26_bug2_a_join_whose_syn_is_stripped_leaves_the_connection_as_it_is() {
    each(Moment::JoinSyn, goes_on);
}

#[test]
fn m26_bug2_a_join_whose_acks_are_stripped_is_reset() {
    each(Moment::JoinAck, goes_on);
}

#[test]
fn m26_bug2_a_join_whose_data_is_stripped_is_reset() {
    each(Moment::JoinData, goes_on);
}

#[test]
fn m26_bug2_a_join_stripped_in_mid_stream_is_reset() {
    each(Moment::JoinMidStream, goes_on);
}
