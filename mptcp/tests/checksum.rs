//! Where data is changed on the way, and DSS checksums tell (RFC 8684 3.7): MP_FAIL, and an infinite mapping or the end of
//! a subflow.

mod world;

use mptcp::connection::ResetReason;
use mptcp::option::{Dss, Mapping, parse};
use mptcp::{Counter, DataSeq, Mode, MpOption, Outcome, Version, WireSeq};
use stack::time::Duration;
use stack::wire::tcp::{Flags, Options, Segment};
use std::cell::Cell;
use std::rc::Rc;
use world::{A, B, Link, Setup, World, one_path};

const MINUTE: Duration = Duration::from_secs(60);

/// Changes an octet of its payload.
fn change(segment: &mut Segment<world::Buf>) {
    let mut octets = segment.payload.bytes().to_vec();
    octets[50] ^= 0x40;
    segment.payload = world::slice(octets);
}

/// Changes one octet of the payload of the `nth` data segment of `from` on `path`.
fn flip(world: &mut World, from: usize, path: usize, nth: usize) {
    let mut seen = 0;
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from == from && transit.path == path && transit.segment.payload.len() > 100 {
            seen += 1;
            if seen == nth {
                change(transit.segment);
            }
        }
        true
    }));
}

/// The end of the data alone has a checksum, too (RFC 8684 3.3.3): what is wrong is not believed, and comes again.
#[test]
fn m17_an_end_of_data_whose_checksum_is_wrong_is_none() {
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    let mut first = true;
    world.middlebox = Some(Box::new(move |transit| {
        let options = &mut transit.segment.options.mptcp;
        if let Some(Ok(MpOption::Dss(dss))) = parse(options).next()
            && let Some(mapping) = dss.mapping.filter(|mapping| mapping.len == 1)
            && transit.from == A
            && std::mem::take(&mut first)
        {
            // A number that would leave the last octets out.
            let dsn = match mapping.dsn {
                WireSeq::Full(dsn) => WireSeq::Full(dsn.wrapping_add(5_000)),
                WireSeq::Low(low) => WireSeq::Low(low.wrapping_add(5_000)),
            };
            let mapping = Some(Mapping { dsn, ..mapping });
            *options = MpOption::from(Dss { mapping, ..dss }).into();
        }
        true
    }));
    world.transfer([5_000, 5_000], MINUTE);
    assert_eq!(world.ends[B].count(Counter::DssChecksumError), 1);
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

/// A joined subflow never falls back, though it is the only one left and has all that was sent.
#[test]
fn m22_a_changed_octet_on_a_join_that_is_left_alone_resets_it() {
    let setup = Setup {
        checksum: true,
        ..Setup::default()
    };
    let mut world = World::new(setup, vec![Link::pair(0, 10, 0), Link::pair(0, 20, 0)]);
    world.join_all(&[1]);
    world.pass(Duration::from_secs(1));
    // The first one is reset at either end before any data.
    world.middlebox = Some(Box::new(|transit| {
        if transit.path == 0 {
            transit.segment.flags = Flags::RST;
            transit.segment.options = Options::default();
            transit.segment.payload = transit.segment.payload.slice(0..0);
        }
        true
    }));
    world.ends[A].send(1_400, false);
    world.ends[B].send(1_400, false);
    world.run(MINUTE, |w| {
        let done = |end: &world::End| end.received == 1_400 && end.conn.subflows().count() == 1;
        w.ends.iter().all(done)
    });
    world.pass(Duration::from_secs(1));
    flip(&mut world, A, 1, 1);
    world.ends[A].send(1_400, false);
    world.run(MINUTE, |w| w.ends[B].count(Counter::DssChecksumError) == 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.ends[B].count(Counter::FallbackChecksum), 0);
    assert_eq!(world.ends[B].count(Counter::MpFailTx), 1);
    assert_eq!(world.ends[B].conn.subflows().count(), 0);
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
                    change(segment);
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
                change(segment);
            }
            let mut options = parse(&segment.options.mptcp).flatten();
            !options.any(|option| matches!(option, MpOption::Fail { .. }))
        }));
        world.ends[A].send(1_400, false);
        world.pass(Duration::from_millis(300));
        if others {
            world.join(1);
        }
        // Whether the path works is found out after five seconds, and then it has five more.
        world.pass(Duration::from_secs(if others { 6 } else { 11 }));
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
                    let is_next = |dsn| {
                        dss.data_ack
                            .is_none_or(|ack| DataSeq::expand(ack, dsn) == dsn)
                    };
                    assert!(asked.is_none_or(|dsn| is_next(DataSeq(dsn))));
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
            change(segment);
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
            change(segment);
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
                change(segment);
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
            segment.options = Options::default();
            segment.payload = segment.payload.slice(0..0);
        } else if transit.path == 0 && !changed {
            changed = true;
            change(segment);
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
            change(segment);
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
