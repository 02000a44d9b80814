//! The neighbor cache: who is asked, what waits, who is believed.

use super::discovery::{BROADCAST, advertise, arp, ndp, solicit};
use super::*;
use smoltcp::wire::{ArpOperation, NdiscNeighborFlags};

#[test]
fn packets_wait_for_the_neighbor_in_order_the_oldest_dropped() {
    for (src, dst, v6) in [
        ("10.1.0.2", "10.9.0.2", false),
        ("fd00:1::2", "fd00:9::2", true),
    ] {
        let mut bed = Bed::new();
        for n in 0..10 {
            bed.route(
                ACCESS,
                packet((ACCESS, CLIENT_MAC), (src, dst), 17, 9, &[n]),
            );
        }
        let (port, question) = bed.sent_one();
        assert_eq!(port, CORE);
        assert_eq!(bed.count(Counter::DropNeighbor), 2);
        let answer = if v6 {
            assert_eq!(question[..6], [0x33, 0x33, 0xff, 0, 0, 2]);
            let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
            ndp(
                CORE,
                SERVER_MAC,
                ("fd00:9::2", "fd00:9::1"),
                255,
                advertise("fd00:9::2", flags, SERVER_MAC),
            )
        } else {
            assert_eq!(question[..6], BROADCAST);
            assert_eq!(question[28..32], [10, 9, 0, 1]);
            arp(
                CORE,
                mac(CORE),
                ArpOperation::Reply,
                (SERVER_MAC, "10.9.0.2"),
                "10.9.0.1",
            )
        };
        bed.input(CORE, answer);
        let sent = bed.sent();
        assert!(
            sent.iter()
                .all(|(port, frame)| *port == CORE && frame[..6] == SERVER_MAC)
        );
        let order: Vec<u8> = sent
            .iter()
            .map(|(_, frame)| *frame.last().unwrap())
            .collect();
        assert_eq!(order, [2, 3, 4, 5, 6, 7, 8, 9]);
        let fates = [Counter::Forwarded, Counter::DropNeighbor].map(|fate| bed.count(fate));
        assert_eq!((fates, bed.net.waiting()), ([8, 2], 0));
    }
}

#[test]
fn a_silent_neighbor_is_asked_three_times_and_the_sender_told() {
    for (src, dst, kind, code) in [
        ("10.1.0.2", "10.9.0.7", 3, 1),
        ("fd00:1::2", "fd00:9::7", 1, 3),
    ] {
        let mut bed = Bed::acquainted();
        let original = packet((ACCESS, CLIENT_MAC), (src, dst), 17, 9, b"hello");
        bed.route(ACCESS, original.clone());
        bed.pass(2_900);
        assert_eq!(bed.sent().len(), 3);
        bed.pass(200);
        let (port, frame) = bed.sent_one();
        assert_eq!(port, ACCESS);
        let (_, to, l4) = l4_of(&frame);
        assert_eq!((to, l4[0], l4[1]), (ip(src), kind, code));
        assert_eq!(
            l4[8..],
            original[14..],
            "the quote is the packet as it was received"
        );
        assert_eq!(bed.count(Counter::DropNeighbor), 1);
        assert_eq!(bed.count(Counter::Forwarded), 0);
        bed.pass(60_000);
        assert!(bed.net.next_deadline().is_some(), "the known neighbors age");
    }
}

#[test]
fn what_waits_in_all_is_bounded() {
    let mut bed = Bed::new();
    for host in 0..=65_000u16 {
        let [high, low] = host.to_be_bytes();
        let dst = format!("10.9.0.{}", 3 + low % 200);
        bed.route(
            ACCESS,
            packet(
                (ACCESS, CLIENT_MAC),
                ("10.1.0.2", &dst),
                17,
                9,
                &[high, low],
            ),
        );
        let dst = format!("fd00:9::{host:x}");
        if host > 1 {
            bed.route(
                ACCESS,
                packet(
                    (ACCESS, CLIENT_MAC),
                    ("fd00:1::2", &dst),
                    17,
                    9,
                    &[high, low],
                ),
            );
        }
    }
    let routed = 2 * 65_001 - 2;
    let in_waiting = routed - bed.count(Counter::DropNeighbor);
    assert_eq!(in_waiting, bed.net.waiting() as u64);
    assert!(in_waiting <= 256, "{in_waiting}");
    // The server can still be asked for, and answers.
    bed.sent();
    bed.route(
        ACCESS,
        packet((ACCESS, CLIENT_MAC), ("10.1.0.2", "10.9.0.2"), 17, 9, b"!"),
    );
    bed.sent();
    bed.input(
        CORE,
        arp(
            CORE,
            mac(CORE),
            ArpOperation::Reply,
            (SERVER_MAC, "10.9.0.2"),
            "10.9.0.1",
        ),
    );
    assert_eq!(bed.sent_one().1.last(), Some(&b'!'));
}

#[test]
fn strangers_make_no_entries() {
    let mut bed = Bed::new();
    for operation in [ArpOperation::Reply, ArpOperation::Request] {
        bed.input(
            CORE,
            arp(
                CORE,
                mac(CORE),
                operation,
                (SERVER_MAC, "10.9.0.2"),
                "10.9.0.9",
            ),
        );
    }
    let flags = NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE;
    bed.input(
        CORE,
        ndp(
            CORE,
            SERVER_MAC,
            ("fd00:9::2", "fd00:9::1"),
            255,
            advertise("fd00:9::2", flags, SERVER_MAC),
        ),
    );
    assert_eq!(bed.net.next_deadline(), None);
    for (src, dst) in [("10.1.0.2", "10.9.0.2"), ("fd00:1::2", "fd00:9::2")] {
        bed.route(
            ACCESS,
            packet((ACCESS, CLIENT_MAC), (src, dst), 17, 9, b"x"),
        );
        let (_, question) = bed.sent_one();
        assert_ne!(question[..6], SERVER_MAC, "it is asked for");
    }
}

#[test]
fn who_asked_for_us_is_answered_without_a_question() {
    let mut bed = Bed::new();
    let asks = (SERVER_MAC, "10.9.0.2");
    bed.input(
        CORE,
        arp(CORE, BROADCAST, ArpOperation::Request, asks, "10.9.0.1"),
    );
    let asks = solicit("fd00:9::1", Some(SERVER_MAC));
    let way = ("fd00:9::2", "ff02::1:ff00:1");
    bed.input(CORE, ndp(CORE, SERVER_MAC, way, 255, asks));
    bed.sent();
    for (src, dst) in [("10.1.0.2", "10.9.0.2"), ("fd00:1::2", "fd00:9::2")] {
        bed.route(
            ACCESS,
            packet((ACCESS, CLIENT_MAC), (src, dst), 17, 9, b"x!"),
        );
        let sent = bed.sent();
        assert_eq!(
            sent.len(),
            2,
            "a question whether it hears us, and the packet"
        );
        assert!(sent.iter().all(|(_, frame)| frame[..6] == SERVER_MAC));
        assert_eq!(sent[1].1.last(), Some(&b'!'));
    }
    // Nobody is remembered who is not on the link.
    let asks = (SERVER_MAC, "192.0.2.1");
    let mut bed = Bed::new();
    bed.input(
        CORE,
        arp(CORE, BROADCAST, ArpOperation::Request, asks, "10.9.0.1"),
    );
    assert_eq!(bed.net.next_deadline(), None);
}

#[test]
fn who_asks_for_us_takes_half_the_room_at_most() {
    let mut bed = Bed::new();
    let host = |n: u32| format!("fd00:9::{:x}", 0x1000 + n);
    for n in 0..4_000 {
        let asks = solicit("fd00:9::1", Some(SERVER_MAC));
        let (sender, everybody) = (host(n), "ff02::1:ff00:1");
        let way = (sender.as_str(), everybody);
        bed.input(CORE, ndp(CORE, SERVER_MAC, way, 255, asks));
    }
    bed.sent();
    let mut is_known = |n| {
        let (key, mut asked) = ((CORE, ip(&host(n))), None);
        bed.with(|net, cx, _| net.neighbors.resolve(cx, key, &mut asked));
        asked.is_none_or(|ask: crate::ip::neighbor::Solicit| ask.mac.is_some())
    };
    let known = (0..4_000).filter(|&n| is_known(n)).count();
    assert_eq!(known, 2_048);
}

#[test]
fn a_neighbor_is_asked_again_at_its_address_while_packets_flow() {
    let mut bed = Bed::acquainted();
    let udp = || packet((ACCESS, CLIENT_MAC), ("10.1.0.2", "10.9.0.2"), 17, 9, b"x");
    bed.route(ACCESS, udp());
    assert_eq!(bed.sent().len(), 1);
    bed.pass(46_000);
    bed.sent();
    bed.route(ACCESS, udp());
    let sent = bed.sent();
    assert_eq!(sent.len(), 2, "a question and the packet");
    assert!(sent.iter().all(|(_, frame)| frame[..6] == SERVER_MAC));
    assert_eq!(sent[0].1[12..14], [0x08, 0x06]);
    bed.input(
        CORE,
        arp(
            CORE,
            mac(CORE),
            ArpOperation::Reply,
            (SERVER_MAC, "10.9.0.2"),
            "10.9.0.1",
        ),
    );
    bed.route(ACCESS, udp());
    assert_eq!(bed.sent().len(), 1, "reachable again");
}

#[test]
fn a_neighbor_that_moved_is_found_by_asking_everybody() {
    let mut bed = Bed::acquainted();
    let udp = || packet((ACCESS, CLIENT_MAC), ("10.1.0.2", "10.9.0.2"), 17, 9, b"x");
    bed.pass(46_000);
    bed.route(ACCESS, udp());
    bed.sent();
    bed.pass(3_100);
    let questions = bed.sent();
    assert_eq!(questions.last().unwrap().1[..6], BROADCAST);
    bed.route(ACCESS, udp());
    assert_eq!(bed.sent(), [], "held");
    let moved = [2, 0, 0, 0, 9, 9];
    bed.input(
        CORE,
        arp(
            CORE,
            mac(CORE),
            ArpOperation::Reply,
            (moved, "10.9.0.2"),
            "10.9.0.1",
        ),
    );
    assert_eq!(bed.sent_one().1[..6], moved);
    bed.route(ACCESS, udp());
    assert_eq!(bed.sent_one().1[..6], moved);
}

#[test]
fn an_address_just_learnt_is_not_overwritten_unasked_and_later_is() {
    let mut bed = Bed::acquainted();
    let udp = || packet((ACCESS, CLIENT_MAC), ("10.1.0.2", "10.9.0.2"), 17, 9, b"x");
    let moved = [2, 0, 0, 0, 9, 9];
    let gratuitous = || {
        arp(
            CORE,
            BROADCAST,
            ArpOperation::Request,
            (moved, "10.9.0.2"),
            "10.9.0.2",
        )
    };
    bed.route(ACCESS, udp());
    bed.sent();
    bed.input(CORE, gratuitous());
    bed.route(ACCESS, udp());
    assert_eq!(bed.sent_one().1[..6], SERVER_MAC);
    bed.pass(2_000);
    bed.input(CORE, gratuitous());
    bed.route(ACCESS, udp());
    let sent = bed.sent();
    assert_eq!(sent.len(), 2, "the new address is used, and asked");
    assert!(sent.iter().all(|(_, frame)| frame[..6] == moved));
}

#[test]
fn an_advertisement_without_override_only_casts_doubt() {
    let mut bed = Bed::acquainted();
    let udp = || {
        packet(
            (ACCESS, CLIENT_MAC),
            ("fd00:1::2", "fd00:9::2"),
            17,
            9,
            b"x",
        )
    };
    bed.route(ACCESS, udp());
    bed.sent();
    let other = [2, 0, 0, 0, 9, 9];
    bed.input(
        CORE,
        ndp(
            CORE,
            other,
            ("fd00:9::2", "ff02::1"),
            255,
            advertise("fd00:9::2", NdiscNeighborFlags::empty(), other),
        ),
    );
    bed.route(ACCESS, udp());
    let sent = bed.sent();
    assert_eq!(sent.len(), 2, "asked, and sent");
    assert!(sent.iter().all(|(_, frame)| frame[..6] == SERVER_MAC));
}

#[test]
fn no_more_than_256_packets_wait() {
    let mut bed = Bed::new();
    for host in 10..110 {
        let dst = format!("10.9.0.{host}");
        for n in 0..8 {
            let udp = packet((ACCESS, CLIENT_MAC), ("10.1.0.2", &dst), 17, 9, &[host, n]);
            bed.route(ACCESS, udp);
        }
    }
    assert_eq!(bed.count(Counter::DropNeighbor), 800 - 256);
    // The oldest were dropped: the last 32 hosts' packets are there.
    bed.sent();
    for (host, waiting) in [(77, 0), (78, 8), (109, 8)] {
        let sender = format!("10.9.0.{host}");
        let reply = arp(
            CORE,
            mac(CORE),
            ArpOperation::Reply,
            (SERVER_MAC, &sender),
            "10.9.0.1",
        );
        bed.input(CORE, reply);
        assert_eq!(bed.sent().len(), waiting, "{sender}");
    }
}

#[test]
fn no_more_than_256_neighbors_are_asked_at_once() {
    let mut bed = Bed::new();
    for host in 0..400 {
        let dst = format!("fd00:9::{:x}", 0x100 + host);
        let udp = packet((ACCESS, CLIENT_MAC), ("fd00:1::2", &dst), 17, 9, b"x");
        bed.route(ACCESS, udp);
    }
    assert_eq!(bed.sent().len(), 400);
    bed.pass(1_000);
    assert_eq!(bed.sent().len(), 256, "asked again");
}

#[test]
fn of_more_neighbors_than_have_room_those_heard_of_longest_ago_are_asked_again() {
    let mut bed = Bed::new();
    let host = |n: u32| IpAddr::from((0x0a09_0000 + n).to_be_bytes());
    for n in 0..4_100 {
        bed.now = bed.now + crate::time::Duration::from_micros(100);
        bed.acquaint(CORE, SERVER_MAC, host(n));
    }
    let mut is_known = |n| {
        let mut asked = None;
        bed.with(|net, cx, _| net.neighbors.resolve(cx, (CORE, host(n)), &mut asked));
        asked.is_none()
    };
    assert!((4..4_100).all(&mut is_known));
    assert!(!(0..4).any(&mut is_known));
}
