//! Subflows that join, addresses that come and go, priorities.

mod world;

use mptcp::connection::Limits;
use mptcp::option::{AddAddrProof, Prio, parse};
use mptcp::{AddrId, Counter, Event, JoinRefusal, Mode, MpOption, Outcome, SubflowId, Version};
use stack::time::Duration;
use std::net::IpAddr;
use world::{A, B, Link, Setup, Transit, World};

const MINUTE: Duration = Duration::from_secs(60);

fn paths(count: usize) -> Vec<[Link; 2]> {
    (0..count)
        .map(|i| Link::pair(1_000_000, 10 + 5 * i as u64, 100_000))
        .collect()
}

/// For what version 0 does not have: the HMAC and the echo of ADD_ADDR.
fn version_1() -> Setup {
    Setup {
        version: Version::V1,
        ..Setup::default()
    }
}

fn has(transit: &Transit<'_>, what: impl Fn(&MpOption) -> bool) -> bool {
    parse(&transit.segment.options.mptcp)
        .flatten()
        .any(|option| what(&option))
}

#[test]
fn m8_eight_subflows_and_not_one_more() {
    let mut world = World::new(Setup::default(), paths(9));
    world.join_all(&[1, 2, 3, 4, 5, 6, 7]);
    world.ends[A].send(20_000_000, true);
    world.ends[B].send(1_000, true);
    world.run(MINUTE, World::is_complete);
    world.ends[B].assert_intact();
    assert!(
        (0..8).all(|path| world.paths[path][A].carried() > 500_000),
        "each carried data"
    );
}

#[test]
fn m9_the_limit_refuses_with_a_reset_and_leaves_nothing() {
    // Joins that are not done count, too.
    for done in [true, false] {
        let mut world = World::new(Setup::default(), paths(3));
        let limits = Limits {
            subflows: 2,
            ..Limits::default()
        };
        world.ends[B] = World::new(
            Setup {
                limits,
                ..Setup::default()
            },
            paths(3),
        )
        .ends
        .into_iter()
        .nth(1)
        .unwrap();
        if done {
            world.join_all(&[1]);
        } else {
            world.join(1);
        }
        world.join(2);
        world.run(MINUTE, |w| w.refused.len() == 2);
        assert_eq!(world.refused, [JoinRefusal::Limit, JoinRefusal::Dropped]);
        assert_eq!(world.ends[B].count(Counter::MpJoinRefused), 1);
        world.transfer([100_000, 100_000], MINUTE);
    }
}

#[test]
fn m8_handshake_segments_of_a_join_may_get_lost() {
    for lost in 0..4 {
        for from in [A, B] {
            let mut world = World::new(Setup::default(), paths(2));
            world.middlebox = Some(Box::new(move |transit| {
                !(transit.path == 1 && transit.from == from && transit.nth == lost)
            }));
            world.join_all(&[1]);
            world.transfer([300_000, 300_000], 2 * MINUTE);
            assert!(world.paths[1][A].carried() > 10_000);
        }
    }
}

#[test]
fn m8_no_data_on_a_join_before_the_fourth_ack() {
    let mut world = World::new(Setup::default(), paths(2));
    world.ends[A].send(5_000_000, true);
    world.ends[B].send(0, true);
    let early = std::rc::Rc::new(std::cell::Cell::new((false, false)));
    let seen = early.clone();
    world.middlebox = Some(Box::new(move |transit| {
        let (mut fourth, mut wrong) = seen.get();
        if transit.path == 1 {
            if transit.from == B && transit.nth > 0 {
                fourth = true;
            }
            wrong |= transit.from == A && !transit.segment.payload.is_empty() && !fourth;
            // The fourth ACK is late.
            if transit.from == B && (1..3).contains(&transit.nth) {
                fourth = false;
                seen.set((fourth, wrong));
                return false;
            }
        }
        seen.set((fourth, wrong));
        true
    }));
    world.join(1);
    world.run(2 * MINUTE, World::is_complete);
    assert_eq!(early.get(), (true, false));
    assert!(world.paths[1][A].carried() > 100_000);
}

#[test]
fn m8_a_join_without_a_fourth_ack_is_given_up() {
    let mut world = World::new(Setup::default(), paths(2));
    world.middlebox = Some(Box::new(|t| !(t.path == 1 && t.from == B && t.nth > 0)));
    world.join_all(&[1]);
    let before = world.sent_segments;
    world.pass(5 * MINUTE);
    assert_eq!(world.ends[A].conn.subflows().count(), 1);
    let sent = world.sent_segments - before;
    assert!(sent < 20, "{sent} segments for nothing");
}

#[test]
fn m8_a_subflows_name_is_not_used_again_before_its_end_was_told() {
    let delays = [10, 30, 10].map(|delay| Link::pair(0, delay, 0));
    let mut world = World::new(Setup::default(), delays.into());
    world.join_all(&[1]);
    world.pass(Duration::from_secs(1));
    // A reset on path 1 and the third ACK on path 2 arrive at the same instant.
    world.join(2);
    world.middlebox = Some(Box::new(|transit| {
        let segment = transit.segment;
        if transit.path == 1 && transit.from == A && segment.payload.len() > 100 {
            segment.flags = stack::wire::tcp::Flags::RST;
            segment.options = stack::wire::tcp::Options::default();
            segment.payload = segment.payload.slice(0..0);
        }
        true
    }));
    world.ends[A].send(20 * 1400, false);
    world.ends[B].events.clear();
    world.pass(Duration::from_millis(35));
    let events: Vec<_> = world.ends[B].events.iter().collect();
    assert!(
        matches!(
            events[..],
            [
                Event::SubflowClosed {
                    id: SubflowId(1),
                    ..
                },
                Event::SubflowOpened {
                    id: SubflowId(2),
                    ..
                },
            ]
        ),
        "{events:?}"
    );
}

#[test]
fn m8_the_first_data_of_a_join_has_its_mapping_though_mp_capable_is_due() {
    // So small a buffer that the responder has no larger window to tell of, which would carry an option.
    let limits = Limits {
        recv_buffer: 50_000,
        ..Limits::default()
    };
    let setup = Setup {
        limits,
        ..Setup::default()
    };
    let mut world = World::new(setup, vec![Link::pair(0, 10, 0); 2]);
    world.join_all(&[1]);
    world.ends[A].send(50_000, true);
    let took = world.run(MINUTE, |w| w.ends[B].received == 50_000);
    assert!(took < Duration::from_millis(200), "{took:?}");
    world.ends[B].assert_intact();
}

#[test]
fn m9_a_wrong_hmac_is_refused() {
    for (from, counter) in [
        (A, Counter::MpJoinAckHmacFailure),
        (B, Counter::MpJoinSynAckHmacFailure),
    ] {
        let mut world = World::new(Setup::default(), paths(2));
        world.middlebox = Some(Box::new(move |transit| {
            let options = &mut transit.segment.options.mptcp;
            if transit.path == 1 && transit.from == from && options.len() >= 16 {
                options[9] ^= 1;
            }
            true
        }));
        world.join(1);
        world.run(MINUTE, |w| !w.refused.is_empty());
        assert!(world.refused.contains(&JoinRefusal::Hmac));
        assert_eq!(world.ends[1 - from].count(counter), 1);
        world.pass(Duration::from_secs(5));
        assert_eq!(world.ends[B].conn.subflows().count(), 1);
        world.transfer([100_000, 100_000], MINUTE);
    }
}

#[test]
fn m10_a_join_before_any_data_verifies_the_connection() {
    let mut world = World::new(Setup::default(), paths(2));
    world.join_all(&[1]);
    assert!(
        world
            .ends
            .iter()
            .all(|end| end.conn.mode() == Mode::Verified)
    );
}

/// RFC 8684 3.7: after a fallback nothing runs beside the only subflow, though the join was answered before it.
#[test]
fn m26_a_join_whose_third_ack_a_fallback_overtook_is_refused() {
    let links = vec![Link::pair(0, 10, 0), Link::pair(0, 50, 0)];
    let mut world = World::new(Setup::default(), links);
    world.join(1);
    // The third ACK is under way, on the slow path.
    world.run(MINUTE, |w| w.ends[A].conn.subflows().count() == 2);
    world.middlebox = Some(Box::new(|transit| {
        if transit.path == 0 && transit.from == A {
            transit.segment.options.mptcp.clear();
        }
        true
    }));
    world.ends[A].send(1_400, false);
    world.run(MINUTE, |w| w.ends[B].conn.mode() == Mode::Fallback);
    assert!(world.refused.is_empty());
    world.run(MINUTE, |w| !w.refused.is_empty());
    assert_eq!(world.refused[0], JoinRefusal::NotJoinable);
    let conn = &world.ends[B].conn;
    assert_eq!((conn.mode(), conn.subflows().count()), (Mode::Fallback, 1));
}

fn announced(world: &mut World, end: usize) -> Vec<Event> {
    core::iter::from_fn(|| world.ends[end].events.pop_front())
        .filter(|event| {
            matches!(
                event,
                Event::AddressAnnounced { .. } | Event::AddressRemoved { .. }
            )
        })
        .collect()
}

#[test]
fn m18_an_announcement_is_repeated_until_it_is_echoed() {
    let addresses = ["10.99.0.2", "fd00:99::2"].map(|a| a.parse::<IpAddr>().unwrap());
    for timestamps in [false, true] {
        for port in [None, Some(8080)] {
            for lost in [0, 1, 2] {
                let mut world = World::new(
                    Setup {
                        version: Version::V1,
                        timestamps,
                        ..Setup::default()
                    },
                    paths(1),
                );
                let (mut adds, mut echoes) = (lost, lost);
                world.middlebox = Some(Box::new(move |transit| {
                    let add = has(
                        &transit,
                        |o| matches!(o, MpOption::AddAddr(a) if a.proof != AddAddrProof::Echo),
                    );
                    let echo = has(
                        &transit,
                        |o| matches!(o, MpOption::AddAddr(a) if a.proof == AddAddrProof::Echo),
                    );
                    if add && adds > 0 {
                        adds -= 1;
                        return false;
                    }
                    if echo && echoes > 0 {
                        echoes -= 1;
                        return false;
                    }
                    true
                }));
                for (id, addr) in (1..).zip(addresses) {
                    world.ends[B].conn.announce(AddrId(id), addr, port);
                }
                world.run(MINUTE, |w| w.ends[B].count(Counter::EchoAddRx) >= 2);
                let tx = world.ends[B].count(Counter::AddAddrTx);
                world.pass(MINUTE);
                assert_eq!(
                    world.ends[B].count(Counter::AddAddrTx),
                    tx,
                    "an echo ends it"
                );
                assert_eq!(world.ends[A].count(Counter::AddAddrHmacFailure), 0);
                let events = announced(&mut world, A);
                for (id, addr) in (1..).zip(addresses) {
                    let event = Event::AddressAnnounced {
                        id: AddrId(id),
                        addr,
                        port,
                    };
                    assert!(events.contains(&event), "{events:?}");
                }
                world.transfer([10_000, 10_000], MINUTE);
            }
        }
    }
}

#[test]
fn bug12_an_address_is_announced_once_the_one_before_is_echoed_or_given_up() {
    let addresses = ["10.99.0.2", "fd00:99::2", "10.99.0.3"].map(|a| a.parse::<IpAddr>().unwrap());
    // The second is never echoed in the second run; version 0 knows no echo at all.
    for (version, mute) in [
        (Version::V1, None),
        (Version::V1, Some(2)),
        (Version::V0, None),
    ] {
        let setup = Setup {
            version,
            ..Setup::default()
        };
        let mut world = World::new(setup, paths(1));
        let order = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        let seen = order.clone();
        world.middlebox = Some(Box::new(move |transit| {
            for option in parse(&transit.segment.options.mptcp).flatten() {
                let MpOption::AddAddr(add) = option else {
                    continue;
                };
                seen.borrow_mut().push((transit.from, add.id.0));
                if transit.from == A && mute == Some(add.id.0) {
                    return false;
                }
            }
            true
        }));
        for (id, addr) in (1..).zip(addresses) {
            world.ends[B].conn.announce(AddrId(id), addr, None);
        }
        world.pass(MINUTE);
        let mut order = order.borrow().clone();
        order.dedup();
        let mut expected = vec![(B, 1), (A, 1), (B, 2), (A, 2), (B, 3), (A, 3)];
        if version == Version::V0 {
            // Each a few times, but only after all others.
            expected.retain(|(from, _)| *from == B);
            expected = expected.repeat(3);
        }
        if mute.is_some() {
            // Six times the second, each with an echo that is lost.
            let again = [(B, 2), (A, 2)].repeat(5);
            expected.splice(4..4, again);
        }
        assert_eq!(order, expected, "{version:?} {mute:?}");
        assert_eq!(
            announced(&mut world, A).len(),
            match (version, mute) {
                (Version::V1, None) => 3,
                (Version::V1, Some(_)) => 8,
                (Version::V0, _) => 9,
            }
        );
    }
}

/// Seed 32376 of the simulator: the first acknowledgment of a peer's data was on an ADD_ADDR that left no room for a DATA_ACK,
/// and the peer fell back to TCP, as RFC 8684 3.7 wants.
#[test]
fn m18_what_acknowledges_data_first_has_a_data_ack() {
    let addr = |n: u8| format!("fd00:99::{n}").parse::<IpAddr>().unwrap();
    let mut world = World::new(version_1(), paths(1));
    let (mut told, mut adds) = (None, 0);
    let seen = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = seen.clone();
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from != B {
            return true;
        }
        let ack = transit.segment.ack;
        let first = *told.get_or_insert(ack);
        if has(
            &transit,
            |o| matches!(o, MpOption::Dss(dss) if dss.data_ack.is_some()),
        ) {
            told = Some(ack);
        } else {
            assert_eq!(ack, first, "data is acknowledged without a DATA_ACK");
            adds += 1;
            count.set(adds);
        }
        true
    }));
    for n in 1..=8 {
        // One segment alone, whose acknowledgment waits for a second.
        world.ends[A].send(500, n == 8);
        world.pass(Duration::from_millis(20));
        world.ends[B].conn.announce(AddrId(n), addr(n), None);
        world.pass(Duration::from_secs(1));
    }
    world.ends[B].send(0, true);
    world.run(MINUTE, World::is_closed);
    assert!(seen.get() >= 3, "{} announcements", seen.get());
}

#[test]
fn m18_an_announcement_nobody_echoes_is_given_up() {
    let mut world = World::new(version_1(), paths(1));
    world.middlebox = Some(Box::new(|t| {
        !(t.from == B && has(&t, |o| matches!(o, MpOption::AddAddr(_))))
    }));
    world.ends[B]
        .conn
        .announce(AddrId(1), "10.99.0.2".parse().unwrap(), None);
    world.pass(10 * MINUTE);
    assert_eq!(world.ends[B].count(Counter::AddAddrGivenUp), 1);
    assert!(world.ends[B].count(Counter::AddAddrTx) <= 8);
    world.transfer([10_000, 10_000], MINUTE);
}

#[test]
fn m18_version_0_announces_a_few_times_and_expects_no_echo() {
    let mut world = World::new(
        Setup {
            version: Version::V0,
            ..Setup::default()
        },
        paths(1),
    );
    world.ends[B]
        .conn
        .announce(AddrId(1), "10.99.0.2".parse().unwrap(), None);
    world.pass(MINUTE);
    assert_eq!(world.ends[B].count(Counter::AddAddrTx), 3);
    assert_eq!(world.ends[B].count(Counter::AddAddrGivenUp), 0);
    assert_eq!(announced(&mut world, A).len(), 3);
    assert_eq!(world.ends[A].count(Counter::EchoAddTx), 0);
}

#[test]
fn m19_a_forged_announcement_is_ignored() {
    let mut world = World::new(version_1(), paths(1));
    world.middlebox = Some(Box::new(|transit| {
        let forged = has(&transit, |o| matches!(o, MpOption::AddAddr(_))) && transit.from == B;
        if forged {
            let options = &mut transit.segment.options.mptcp;
            options[5] ^= 1;
        }
        true
    }));
    world.ends[B]
        .conn
        .announce(AddrId(1), "10.99.0.2".parse().unwrap(), None);
    world.pass(MINUTE);
    assert!(world.ends[A].count(Counter::AddAddrHmacFailure) > 0);
    assert!(announced(&mut world, A).is_empty());
    assert_eq!(world.ends[A].count(Counter::EchoAddTx), 0);
}

#[test]
fn m20_a_withdrawn_address_closes_its_subflows_and_loses_nothing() {
    for who in [A, B] {
        let mut world = World::new(Setup::default(), paths(2));
        world.join_all(&[1]);
        world.ends[A].send(3_000_000, true);
        world.ends[B].send(3_000_000, true);
        world.pass(Duration::from_millis(500));
        let (now, rng) = (world.now, &mut world.rng);
        world.ends[who].with(now, rng, |conn, cx| conn.withdraw(cx, AddrId(1)));
        world.run(MINUTE, |w| {
            w.ends.iter().all(|end| {
                end.conn
                    .subflows()
                    .filter(|s| !matches!(s.tcb().state(), stack::tcp::State::TimeWait))
                    .count()
                    == 1
            })
        });
        assert_eq!(world.ends[1 - who].count(Counter::RemoveAddrRx), 1);
        world.run(MINUTE, World::is_complete);
        world.ends.iter().for_each(world::End::assert_intact);
    }
}

#[test]
fn m20_a_withdrawn_address_that_answers_is_kept() {
    for load in [0, 8_000_000] {
        let mut world = World::new(Setup::default(), paths(2));
        world.join_all(&[1]);
        world.ends[A].send(load, false);
        world.pass(Duration::from_millis(500));
        let mut forged = false;
        world.middlebox = Some(Box::new(move |transit| {
            let segment = transit.segment;
            if transit.from == A && transit.path == 0 && segment.payload.is_empty() && !forged {
                forged = true;
                let ids = [AddrId(1)].into_iter().collect();
                segment.options.mptcp = MpOption::RemoveAddr(ids).into();
            }
            true
        }));
        world.ends[B].send(2_000_000, false);
        world.run(MINUTE, |w| w.ends[B].count(Counter::RemoveAddrRx) == 1);
        world.pass(Duration::from_secs(20));
        assert_eq!(world.ends[B].count(Counter::RemoveAddrAnswered), 1);
        assert_eq!(
            world.ends[B].conn.subflows().count(),
            2,
            "{}",
            world.describe()
        );
        let before = world.paths[1][B].carried();
        world.ends[B].send(2_000_000, false);
        world.run(MINUTE, |w| w.ends[A].received == 4_000_000);
        assert!(
            world.paths[1][B].carried() - before > 200_000,
            "it is used again"
        );
    }
}

/// Data shows that an address works as any answer does, though the answer to the probe is lost.
#[test]
fn m20_data_by_a_withdrawn_address_is_an_answer() {
    let mut world = World::new(Setup::default(), paths(2));
    world.join_all(&[1]);
    world.ends[A].send(20_000_000, false);
    world.pass(Duration::from_secs(2));
    let mut forged = false;
    world.middlebox = Some(Box::new(move |transit| {
        let (path, segment) = (transit.path, transit.segment);
        if transit.from == A && path == 0 && !std::mem::replace(&mut forged, true) {
            let ids = [AddrId(1)].into_iter().collect();
            segment.options.mptcp = MpOption::RemoveAddr(ids).into();
            segment.payload = segment.payload.slice(0..0);
        }
        transit.from == B || path == 0 || !segment.payload.is_empty()
    }));
    world.run(MINUTE, |w| w.ends[B].count(Counter::RemoveAddrRx) == 1);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.ends[B].count(Counter::RemoveAddrAnswered), 1);
    assert_eq!(world.ends[B].count(Counter::SubflowWithdrawn), 0);
}

/// Seed 61397 of the simulator: once the first subflow was gone, nobody asked a silent peer by the others whether it was there.
#[test]
fn a_silent_peer_is_probed_by_the_subflow_that_is_left() {
    let mut world = World::new(Setup::default(), paths(2));
    world.join_all(&[1]);
    world.ends[A].send(1_000, false);
    let now = world.now;
    let conn = &mut world.ends[A].conn;
    conn.keep_alive(now, SubflowId::INITIAL, MINUTE);
    world.pass(Duration::from_secs(1));
    let close = |path: &mut [Link; 2]| path.iter_mut().for_each(|link| link.set_down(true));
    close(&mut world.paths[0]);
    world.run(10 * MINUTE, |w| w.ends[A].conn.subflows().count() == 1);
    assert_eq!(world.ends[A].conn.outcome(), Outcome::Alive);
    close(&mut world.paths[1]);
    world.run(10 * MINUTE, |w| w.ends[A].conn.subflows().count() == 0);
}

#[test]
fn m20_a_withdrawn_address_that_is_silent_is_reset_soon() {
    for load in [0, 3_000_000] {
        let mut world = World::new(Setup::default(), paths(2));
        world.join_all(&[1]);
        world.ends[B].send(load, false);
        world.pass(Duration::from_millis(200));
        world.paths[1]
            .iter_mut()
            .for_each(|link| link.set_down(true));
        let (now, rng) = (world.now, &mut world.rng);
        world.ends[A].with(now, rng, |conn, cx| conn.withdraw(cx, AddrId(1)));
        let took = world.run(MINUTE, |w| w.ends[B].conn.subflows().count() == 1);
        assert!(took < Duration::from_secs(4), "{took:?}");
        assert_eq!(world.ends[B].count(Counter::SubflowWithdrawn), 1);
        world.ends[B].send(1_000_000, true);
        world.ends[A].send(0, true);
        world.run(MINUTE, World::is_complete);
        world.ends[A].assert_intact();
    }
}

#[test]
fn m21_bug17_the_flag_of_a_join_is_one_ends_wish_and_a_backup_serves_once_it_is_alone() {
    // In A's SYN it is for B, in B's SYN+ACK for A.
    for asks in [A, B] {
        let mut world = World::new(Setup::default(), paths(2));
        world.middlebox = Some(Box::new(move |transit| {
            let join = transit.path == 1 && transit.from == B && transit.nth == 0;
            if join && asks == B {
                transit.segment.options.mptcp[2] |= 1;
            }
            true
        }));
        world.join_as(1, asks == A);
        world.run(MINUTE, |w| {
            w.ends.iter().all(|end| end.conn.subflows().count() == 2)
        });
        let told = 1 - asks;
        for end in [A, B] {
            let backup = world.ends[end].conn.subflow(SubflowId(1)).unwrap().backup();
            assert_eq!(backup, end == told, "{asks} asks");
            world.ends[end].send(2_000_000, false);
        }
        let before = [A, B].map(|from| world.paths[1][from].carried());
        world.run(MINUTE, |w| {
            w.ends.iter().all(|end| end.received == 2_000_000)
        });
        let carried = [A, B].map(|from| world.paths[1][from].carried() - before[from]);
        // Acknowledgments go both ways all the same.
        assert!(carried[told] < carried[asks] / 3, "{carried:?}");
        world.paths[0]
            .iter_mut()
            .for_each(|link| link.set_down(true));
        world.ends[told].send(500_000, false);
        world.run(MINUTE, |w| w.ends[asks].received == 2_500_000);
        world.ends[asks].assert_intact();
    }
}

#[test]
fn bug17_the_peers_backup_flag_is_obeyed_and_taken_back() {
    let mut world = World::new(Setup::default(), paths(2));
    world.join_all(&[1]);
    world.ends[A].conn.set_backup(SubflowId(1), true);
    world.pass(Duration::from_secs(1));
    assert!(world.ends[B].conn.subflow(SubflowId(1)).unwrap().backup());
    assert!(
        !world.ends[A].conn.subflow(SubflowId(1)).unwrap().backup(),
        "B is per direction"
    );
    let before = world.paths[1][B].carried();
    world.ends[B].send(2_000_000, false);
    world.run(MINUTE, |w| w.ends[A].received == 2_000_000);
    assert!(world.paths[1][B].carried() - before < 10_000);
    world.ends[A].conn.set_backup(SubflowId(1), false);
    world.pass(Duration::from_secs(1));
    world.ends[B].send(2_000_000, false);
    world.run(MINUTE, |w| w.ends[A].received == 4_000_000);
    assert!(world.paths[1][B].carried() - before > 200_000);
}

/// RFC 6824 3.3.8 lets MP_PRIO name an address, whose subflows are meant; RFC 8684 3.3.8 knows the subflow alone that it
/// comes on.
#[test]
fn m21_mp_prio_that_names_an_address_is_of_its_subflows_in_version_0_alone() {
    for (version, meant) in [(Version::V0, 2), (Version::V1, 1)] {
        let setup = Setup {
            version,
            ..Setup::default()
        };
        let mut world = World::new(setup, paths(3));
        world.join_all(&[1, 2]);
        for backup in [true, false] {
            let mut done = false;
            world.middlebox = Some(Box::new(move |transit| {
                if transit.from == A && transit.path == 1 && !done {
                    done = true;
                    let id = Some(AddrId(2));
                    let prio = MpOption::Prio(Prio { backup, id });
                    prio.emit(&mut transit.segment.options.mptcp).unwrap();
                }
                true
            }));
            for end in &mut world.ends {
                end.send(300_000, false);
            }
            world.pass(Duration::from_secs(5));
            let flags = world.ends[B].conn.subflows().map(|s| s.backup());
            let expected: Vec<_> = (0..3).map(|path| backup && path == meant).collect();
            assert_eq!(flags.collect::<Vec<_>>(), expected, "{version:?}");
        }
        let mut both = world.ends.iter();
        assert!(both.all(|end| end.received == 600_000));
    }
}

#[test]
fn t15_a_smaller_path_cuts_one_subflows_segments_and_resends_what_was_too_large() {
    for (checksum, victim) in [(false, 0), (true, 0), (false, 1), (true, 1)] {
        let setup = Setup {
            checksum,
            ..Setup::default()
        };
        let mut world = World::new(setup, vec![Link::pair(0, 10, 0); 2]);
        world.join_all(&[1]);
        world.pass(Duration::from_millis(100));
        // Too large only with their options: 1,340 + 12 + 20 + 40 octets.
        world.ends[A].piece = 1340;
        let dropped = std::rc::Rc::new(std::cell::Cell::new(0));
        let seen = dropped.clone();
        world.middlebox = Some(Box::new(move |transit| {
            let segment = transit.segment;
            let headers = 40 + 12 + segment.options.mptcp.len().next_multiple_of(4);
            let too_big = transit.path == victim && segment.payload.len() + headers > 1400;
            seen.set(seen.get() + i32::from(too_big));
            !too_big
        }));
        world.ends[A].send(200_000, true);
        world.ends[B].send(0, true);
        world.pass(Duration::from_millis(1));
        assert!(dropped.get() > 0);
        let before = dropped.get();
        let id = SubflowId(u8::try_from(victim).unwrap());
        world.ends[A].conn.path_mtu(id, 1360);
        let took = world.run(MINUTE, World::is_complete);
        world.ends[B].assert_intact();
        assert_eq!(dropped.get(), before, "no more than the first flight");
        assert!(
            took < Duration::from_millis(190),
            "{took:?}: before any timeout"
        );
    }
}
