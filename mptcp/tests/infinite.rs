//! Infinite mappings that do not fit what is there (RFC 8684 3.7): each resets the subflow that it came on, and no octet
//! comes twice or is left out.

mod world;

use mptcp::option::{Dss, Mapping, parse};
use mptcp::{Counter, Mode, MpOption, Outcome, WireSeq};
use stack::time::Duration;
use stack::wire::tcp::{Flags, Options, Segment};
use std::cell::Cell;
use std::rc::Rc;
use world::{A, B, Link, Setup, Transit, World, one_path};

const MINUTE: Duration = Duration::from_secs(60);
/// Octets in a segment of data.
const PIECE: i64 = 1_400;

/// Has the mapping of a segment begin `by` octets later in the stream of data.
fn shift(mapping: Mapping, by: i64) -> Mapping {
    let dsn = match mapping.dsn {
        WireSeq::Low(low) => WireSeq::Low(low.wrapping_add_signed(i32::try_from(by).unwrap())),
        WireSeq::Full(dsn) => WireSeq::Full(dsn.wrapping_add_signed(by)),
    };
    Mapping { dsn, ..mapping }
}

/// Changes the mapping of a segment of data.
fn map(segment: &mut Segment<world::Buf>, change: impl FnOnce(Mapping) -> Mapping) {
    let Some(Ok(MpOption::Dss(dss))) = parse(&segment.options.mptcp).next() else {
        panic!("no DSS");
    };
    let mapping = dss.mapping.map(change);
    segment.options.mptcp = MpOption::from(Dss { mapping, ..dss }).into();
}

/// Has it be an infinite one from `by` octets later on.
fn make_infinite(segment: &mut Segment<world::Buf>, by: i64) {
    map(segment, |mapping| Mapping {
        len: 0,
        checksum: None,
        data_fin: false,
        ..shift(mapping, by)
    });
}

fn is_data(transit: &Transit<'_>, path: usize) -> bool {
    transit.from == A && transit.path == path && !transit.segment.payload.is_empty()
}

/// Data went both ways, and was acknowledged.
fn warm(mut world: World) -> World {
    world.ends.iter_mut().for_each(|end| end.send(1_400, false));
    world.run(MINUTE, |w| w.ends.iter().all(|end| end.received == 1_400));
    world.pass(Duration::from_secs(1));
    assert!(
        world
            .ends
            .iter()
            .all(|end| end.conn.mode() == Mode::Verified)
    );
    world
}

/// B has refused an infinite mapping.
fn assert_refused(world: &World) {
    assert_eq!(world.ends[B].count(Counter::DssMalformed), 1);
    assert_eq!(world.ends[B].count(Counter::FallbackInfiniteRx), 0);
    world.ends[B].assert_intact();
}

#[test]
fn m22_an_infinite_mapping_beside_another_subflow_ends_its_own_and_nothing_else() {
    for path in [0, 1] {
        let links = vec![Link::pair(1_000_000, 20, 100_000); 2];
        let mut world = World::new(Setup::default(), links);
        world.join_all(&[1]);
        let mut world = warm(world);
        let mut seen = 0;
        world.middlebox = Some(Box::new(move |transit| {
            if is_data(&transit, path) {
                seen += 1;
                if seen == 20 {
                    make_infinite(transit.segment, 0);
                }
            }
            true
        }));
        world.transfer([2_000_000, 2_000_000], MINUTE);
        assert_refused(&world);
        assert_eq!(world.ends[A].count(Counter::SubflowReset), 1);
    }
}

#[test]
fn m22_an_infinite_mapping_that_leaves_octets_out_or_repeats_them_is_refused() {
    for by in [-PIECE, -1, 1, PIECE] {
        let mut world = warm(one_path(Setup::default()));
        let mut first = true;
        world.middlebox = Some(Box::new(move |transit| {
            if is_data(&transit, 0) && std::mem::take(&mut first) {
                make_infinite(transit.segment, by);
            }
            true
        }));
        world.ends[A].send(10_000, true);
        world.run(MINUTE, World::is_closed);
        assert_refused(&world);
        assert_eq!(world.ends[B].received, 1_400, "{by}");
        let outcome = world.ends[B].conn.outcome();
        assert!(matches!(outcome, Outcome::Reset(_)), "{by}: {outcome:?}");
    }
}

#[test]
fn m22_an_infinite_mapping_behind_a_gap_of_data_is_refused() {
    // The first segment says that it is the second, and the second that it is the first and all that follows.
    let mut world = warm(one_path(Setup::default()));
    let mut seen = 0;
    world.middlebox = Some(Box::new(move |transit| {
        if is_data(&transit, 0) {
            seen += 1;
            match seen {
                1 => map(transit.segment, |mapping| shift(mapping, PIECE)),
                2 => make_infinite(transit.segment, -PIECE),
                _ => {},
            }
        }
        true
    }));
    world.ends[A].send(10_000, true);
    world.run(MINUTE, World::is_closed);
    assert_refused(&world);
    assert_eq!(world.ends[B].received, 1_400);
}

#[test]
fn m22_no_infinite_mapping_ends_the_numbers_of_data_that_another_subflow_carried() {
    // What B sent by the fast subflow is lost with it, and comes again by the slow one, behind what that has: its stream is
    // not that of the connection any more, so B's data must keep its mappings.
    let links = vec![Link::pair(0, 100, 0), Link::pair(0, 10, 0)];
    let mut world = World::new(Setup::default(), links);
    world.join_all(&[1]);
    let mut world = warm(world);
    let lost = Rc::new(Cell::new(false));
    let is_lost = Rc::clone(&lost);
    let mut infinite = false;
    world.middlebox = Some(Box::new(move |transit| {
        let data = !transit.segment.payload.is_empty();
        if transit.from == B && transit.path == 1 && data && !lost.replace(true) {
            transit.segment.flags = Flags::RST;
            transit.segment.options = Options::default();
            transit.segment.payload = transit.segment.payload.slice(0..0);
        } else if is_data(&transit, 0) && lost.get() && !infinite {
            infinite = true;
            make_infinite(transit.segment, 0);
        }
        true
    }));
    world.ends[B].send(12 * 1_400, false);
    world.run(MINUTE, |_| is_lost.get());
    world.run(MINUTE, |w| {
        w.ends.iter().all(|end| end.conn.subflows().count() == 1)
    });
    world.ends[A].send(1_400, false);
    world.run(MINUTE, |w| w.ends[B].conn.is_closed());
    assert_refused(&world);
    world.ends[A].assert_intact();
}

#[test]
fn m22_an_infinite_mapping_on_a_join_that_nothing_was_said_on_is_refused() {
    // B is left with a join on which no DATA_ACK has come: whether options pass there is not known, and none may end with it
    // (RFC 8684 3.7 has a join without options at its beginning reset, never fall back).
    let links = vec![Link::pair(0, 20, 0), Link::pair(0, 10, 0)];
    let mut world = World::new(Setup::default(), links);
    world.ends.iter_mut().for_each(|end| end.send(1_400, false));
    world.run(MINUTE, |w| w.ends.iter().all(|end| end.received == 1_400));
    world.pass(Duration::from_secs(1));
    let lost = Rc::new(Cell::new(false));
    let is_lost = Rc::clone(&lost);
    world.middlebox = Some(Box::new(move |transit| {
        let data = !transit.segment.payload.is_empty();
        match (transit.from, transit.path) {
            (A, 0) if lost.get() => false,
            // B alone is told that the first subflow is gone.
            (A, 0) if data => {
                lost.set(true);
                transit.segment.flags = Flags::RST;
                transit.segment.options = Options::default();
                transit.segment.payload = transit.segment.payload.slice(0..0);
                true
            },
            (A, 1) if data && !lost.get() => false,
            (A, 1) if data => {
                make_infinite(transit.segment, 0);
                true
            },
            // The handshake of the join, and no DATA_ACK alone.
            (A, 1) => {
                let dss = |option| matches!(option, MpOption::Dss(_));
                !parse(&transit.segment.options.mptcp).flatten().any(dss)
            },
            _ => true,
        }
    }));
    world.join_all(&[1]);
    world.ends[A].send(1_400, false);
    world.run(MINUTE, |_| is_lost.get());
    world.run(MINUTE, |w| w.ends[B].conn.is_closed());
    assert_refused(&world);
    assert_eq!(world.ends[B].received, 1_400);
}
