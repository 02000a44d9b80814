//! Mappings that do not fill, as a middlebox has taken some of their data out: which are waited for, and which end Multipath TCP.

mod world;

use mptcp::option::parse;
use mptcp::{Counter, Mode, MpOption};
use stack::time::Duration;
use stack::wire::tcp::Flags;
use std::cell::Cell;
use std::rc::Rc;
use world::{A, B, Link, Setup, World, one_path};

const MINUTE: Duration = Duration::from_secs(60);

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

/// The peer, asked whether more is under way, answers with the number of what it sends next, which was lost until now; and
/// is told before what came, so that it need not wait for that.
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
    // The second subflow was there when the first began to wait, and is lost: its data comes again on the first, behind
    // what waits.
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
    for _ in 0..2 {
        world.ends[A].send(1_400, false);
        world.pass(Duration::from_millis(1));
    }
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
