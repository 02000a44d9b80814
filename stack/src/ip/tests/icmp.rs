//! Echo, errors that we send, and errors that quote TCP.

use super::*;
use crate::seq::SeqNum;
use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet};

const UDP: u8 = 17;
const FROM_CLIENT: (PortId, [u8; 6]) = (ACCESS, CLIENT_MAC);
const V4: (&str, &str) = ("10.1.0.2", "198.51.100.7");
const V6: (&str, &str) = ("fd00:1::2", "2001:db8::7");

/// An ICMP or ICMPv6 message with a right checksum.
fn icmp((src, dst): (&str, &str), kind: u8, code: u8, word: [u8; 4], body: &[u8]) -> (u8, Vec<u8>) {
    let mut bytes = [&[kind, code, 0, 0][..], &word, body].concat();
    match (ip(src), ip(dst)) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            Icmpv6Packet::new_unchecked(&mut bytes[..]).fill_checksum(&src, &dst);
            (58, bytes)
        },
        _ => {
            Icmpv4Packet::new_unchecked(&mut bytes[..]).fill_checksum();
            (1, bytes)
        },
    }
}

fn icmp_packet(
    from: (PortId, [u8; 6]),
    addrs: (&str, &str),
    kind: u8,
    code: u8,
    word: [u8; 4],
    body: &[u8],
) -> Vec<u8> {
    let (protocol, l4) = icmp(addrs, kind, code, word, body);
    packet(from, addrs, protocol, 64, &l4)
}

/// Type, code, second word and quote of an error from `src`, its checksum verified by smoltcp.
fn read_error(frame: &[u8]) -> (IpAddr, u8, u8, [u8; 4], Vec<u8>) {
    let (src, dst, l4) = l4_of(frame);
    match (src, dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            assert!(
                Icmpv6Packet::new_checked(&l4[..])
                    .unwrap()
                    .verify_checksum(&src, &dst)
            );
        },
        _ => assert!(
            Icmpv4Packet::new_checked(&l4[..])
                .unwrap()
                .verify_checksum()
        ),
    }
    (
        src,
        l4[0],
        l4[1],
        l4[4..8].try_into().unwrap(),
        l4[8..].to_vec(),
    )
}

#[test]
fn echo_is_answered_by_every_address_of_ours() {
    let data: Vec<u8> = (0..=200).collect();
    for (addrs, request) in [
        (("10.1.0.2", "10.1.0.1"), 8),
        (("10.1.0.2", "10.9.0.1"), 8),
        (("10.1.0.2", "10.99.0.2"), 8),
        (("fd00:1::2", "fd00:1::1"), 128),
        (("fd00:1::2", "fd00:99::2"), 128),
    ] {
        let mut bed = Bed::acquainted();
        bed.input(
            ACCESS,
            icmp_packet(FROM_CLIENT, addrs, request, 0, [1, 2, 3, 4], &data),
        );
        assert_eq!(bed.out[0].payload[0].bytes(), data, "by reference");
        let (port, frame) = bed.sent_one();
        assert_eq!((port, &frame[..6]), (ACCESS, &CLIENT_MAC[..]));
        let (src, kind, code, word, body) = read_error(&frame);
        assert_eq!(src, ip(addrs.1));
        assert_eq!(
            (kind, code, word),
            (if request == 8 { 0 } else { 129 }, 0, [1, 2, 3, 4])
        );
        assert_eq!(body, data);
    }
}

#[test]
fn echo_through_us_and_damaged_echo_are_not_answered() {
    let mut bed = Bed::acquainted();
    let through = icmp_packet(FROM_CLIENT, V4, 8, 0, [0; 4], b"x");
    assert!(matches!(bed.input(ACCESS, through), Ingress::Transit(_)));
    let mut damaged = icmp_packet(FROM_CLIENT, ("10.1.0.2", "10.1.0.1"), 8, 0, [0; 4], b"x");
    *damaged.last_mut().unwrap() ^= 1;
    bed.input(ACCESS, damaged);
    assert_eq!(bed.counted(), [(Counter::DropChecksum, 1)]);
    assert_eq!(bed.sent(), []);
}

#[test]
fn ttl_that_runs_out_is_told_from_the_port_it_came_by() {
    for (addrs, us, kind) in [(V4, "10.1.0.1", 11), (V6, "fd00:1::1", 3)] {
        for ttl in [0, 1] {
            let mut bed = Bed::acquainted();
            let original = packet(FROM_CLIENT, addrs, UDP, ttl, b"probe");
            bed.route(ACCESS, original.clone());
            let (port, frame) = bed.sent_one();
            assert_eq!(port, ACCESS);
            let quote = original[14..].to_vec();
            assert_eq!(read_error(&frame), (ip(us), kind, 0, [0; 4], quote));
            assert_eq!(
                bed.counted(),
                [(Counter::DropTtl, 1), (Counter::IcmpSent, 1)]
            );
        }
    }
}

#[test]
fn no_route_is_told() {
    for (addrs, kind) in [(V4, 3), (V6, 1)] {
        let mut bed = Bed::of(NetConfig {
            routes: vec![],
            ..config()
        });
        bed.acquaint(ACCESS, CLIENT_MAC, ip(addrs.0));
        bed.route(ACCESS, packet(FROM_CLIENT, addrs, UDP, 9, b"x"));
        let (_, frame) = bed.sent_one();
        let (_, got, code, ..) = read_error(&frame);
        assert_eq!((got, code), (kind, 0));
        assert_eq!(bed.count(Counter::DropNoRoute), 1);
    }
}

#[test]
fn too_big_is_told_with_the_next_mtu() {
    for (addrs, kind, code, most) in [(V4, 3, 4, 576), (V6, 2, 0, 1280)] {
        let mut config = config();
        config.interfaces[2].mtu = 1280;
        let mut bed = Bed::of(config);
        bed.acquaint(ACCESS, CLIENT_MAC, ip(addrs.0));
        bed.acquaint(CORE, SERVER_MAC, ip("10.9.0.2"));
        bed.acquaint(CORE, SERVER_MAC, ip("fd00:9::2"));
        let mut original = packet(FROM_CLIENT, addrs, UDP, 9, &[7; 1400]);
        if addrs == V4 {
            edit_ipv4(&mut original, |ip| ip[6] = 0x40);
        }
        bed.route(ACCESS, original.clone());
        let (_, frame) = bed.sent_one();
        assert_eq!(frame.len() - 14, most, "as much of the packet as fits");
        let (_, got_kind, got_code, word, quote) = read_error(&frame);
        assert_eq!((got_kind, got_code, word), (kind, code, [0, 0, 5, 0]));
        assert_eq!(quote, original[14..14 + quote.len()]);
        assert_eq!(bed.count(Counter::DropTooBig), 1);
    }
}

#[test]
fn what_we_do_not_serve_is_refused() {
    for (addrs, kind, code) in [
        (("10.1.0.2", "10.1.0.1"), 3, 3),
        (("fd00:1::2", "fd00:99::2"), 1, 4),
    ] {
        let mut bed = Bed::acquainted();
        assert!(matches!(
            bed.input(ACCESS, packet(FROM_CLIENT, addrs, UDP, 9, b"x")),
            Ingress::Done(_)
        ));
        let (_, frame) = bed.sent_one();
        let (src, got_kind, got_code, ..) = read_error(&frame);
        assert_eq!((src, got_kind, got_code), (ip(addrs.1), kind, code));
        assert_eq!(bed.count(Counter::DropLocal), 1);
    }
}

#[test]
fn a_caller_can_refuse_for_each_reason() {
    let rows = [
        (Unreachable::Network, (3, 0), (1, 0)),
        (Unreachable::Host, (3, 1), (1, 3)),
        (Unreachable::Port, (3, 3), (1, 4)),
        (Unreachable::Prohibited, (3, 13), (1, 1)),
    ];
    for (reason, v4, v6) in rows {
        for (addrs, expected) in [(V4, v4), (V6, v6)] {
            let mut bed = Bed::acquainted();
            let Ingress::Transit(refused) =
                bed.input(ACCESS, packet(FROM_CLIENT, addrs, UDP, 9, b"x"))
            else {
                panic!("transit");
            };
            bed.with(|net, cx, out| net.send_icmp_unreachable(cx, &refused, reason, out));
            let (_, frame) = bed.sent_one();
            let (_, kind, code, ..) = read_error(&frame);
            assert_eq!((kind, code), expected, "{reason:?}");
        }
    }
}

#[test]
fn no_error_about_an_error_or_a_later_fragment() {
    let quoted = &packet(FROM_CLIENT, V4, UDP, 9, b"12345678")[14..];
    let quoted6 = &packet(FROM_CLIENT, V6, UDP, 9, b"12345678")[14..];
    let die = |mut frame: Vec<u8>| {
        if frame[12] == 0x08 {
            edit_ipv4(&mut frame, |ip| ip[8] = 1);
        } else {
            frame[21] = 1;
        }
        frame
    };
    let mut later = packet(FROM_CLIENT, V4, UDP, 1, b"x");
    edit_ipv4(&mut later, |ip| ip[7] = 5);
    let hidden = [
        &[58, 0, 1, 4, 0, 0, 0, 0][..],
        &icmp(V6, 1, 0, [0; 4], quoted6).1,
    ]
    .concat();
    let fragment6 = [17, 0, 0, 8, 0, 0, 0, 1, 9, 9];
    let rows = [
        (
            "unreachable",
            die(icmp_packet(FROM_CLIENT, V4, 3, 1, [0; 4], quoted)),
            false,
        ),
        (
            "time exceeded",
            die(icmp_packet(FROM_CLIENT, V4, 11, 0, [0; 4], quoted)),
            false,
        ),
        (
            "redirect",
            die(icmp_packet(FROM_CLIENT, V4, 5, 1, [0; 4], quoted)),
            false,
        ),
        (
            "echo",
            die(icmp_packet(FROM_CLIENT, V4, 8, 0, [0; 4], b"")),
            true,
        ),
        ("later fragment", later, false),
        (
            "v6 unreachable",
            die(icmp_packet(FROM_CLIENT, V6, 1, 0, [0; 4], quoted6)),
            false,
        ),
        (
            "v6 error behind an extension header",
            packet(FROM_CLIENT, V6, 60, 1, &hidden),
            false,
        ),
        (
            "v6 later fragment",
            packet(FROM_CLIENT, V6, 44, 1, &fragment6),
            false,
        ),
        (
            "v6 echo",
            die(icmp_packet(FROM_CLIENT, V6, 128, 0, [0; 4], b"")),
            true,
        ),
    ];
    for (name, frame, told) in rows {
        let mut bed = Bed::acquainted();
        bed.route(ACCESS, frame);
        assert_eq!(bed.sent().len(), usize::from(told), "{name}");
        assert_eq!(bed.count(Counter::DropTtl), 1, "{name}");
    }
}

#[test]
fn errors_are_rate_limited() {
    let mut bed = Bed::acquainted();
    for _ in 0..500 {
        bed.route(ACCESS, packet(FROM_CLIENT, V4, UDP, 1, b"x"));
    }
    assert_eq!(bed.sent().len(), 100);
    assert_eq!(bed.count(Counter::IcmpLimited), 400);
    bed.pass(10);
    for _ in 0..500 {
        bed.route(ACCESS, packet(FROM_CLIENT, V4, UDP, 1, b"x"));
    }
    assert_eq!(bed.sent().len(), 10);
}

#[test]
fn errors_that_quote_tcp_are_told_with_what_they_quote() {
    // The server's router answers the client's segment: sequence 1,000,000 from port 40000 to 80.
    let rows = [
        (V4, 3, 0, 0, IcmpKind::SoftUnreachable),
        (V4, 3, 1, 0, IcmpKind::SoftUnreachable),
        (V4, 3, 2, 0, IcmpKind::HardUnreachable),
        (V4, 3, 3, 0, IcmpKind::HardUnreachable),
        (V4, 3, 4, 1400, IcmpKind::TooBig { mtu: 1400 }),
        (V4, 3, 4, 0, IcmpKind::TooBig { mtu: 0 }),
        (V4, 3, 13, 0, IcmpKind::HardUnreachable),
        (V4, 11, 0, 0, IcmpKind::TimeExceeded),
        (V4, 12, 0, 0, IcmpKind::ParameterProblem),
        (V6, 1, 0, 0, IcmpKind::SoftUnreachable),
        (V6, 1, 1, 0, IcmpKind::HardUnreachable),
        (V6, 1, 3, 0, IcmpKind::SoftUnreachable),
        (V6, 1, 4, 0, IcmpKind::HardUnreachable),
        (V6, 2, 0, 1300, IcmpKind::TooBig { mtu: 1300 }),
        (V6, 2, 0, 0x1_0000, IcmpKind::TooBig { mtu: u16::MAX }),
        (V6, 3, 0, 0, IcmpKind::TimeExceeded),
        (V6, 4, 1, 0, IcmpKind::ParameterProblem),
    ];
    for (addrs, kind, code, word, expected) in rows {
        let name = format!("type {kind} code {code}");
        let quoted = packet(
            FROM_CLIENT,
            addrs,
            6,
            60,
            &tcp_segment(addrs, 2, &[], b"data"),
        );
        let back = (
            if addrs == V4 {
                "192.0.2.9"
            } else {
                "2001:db8::9"
            },
            addrs.0,
        );
        let word: u32 = word;
        let frame = icmp_packet(
            (CORE, SERVER_MAC),
            back,
            kind,
            code,
            word.to_be_bytes(),
            &quoted[14..],
        );
        let mut bed = Bed::acquainted();
        let Ingress::IcmpError(arrival) = bed.input(CORE, frame.clone()) else {
            panic!("{name}");
        };
        assert_eq!(arrival.kind, expected, "{name}");
        assert_eq!(
            (arrival.tuple.src, arrival.tuple.dst),
            (ip(addrs.0), ip(addrs.1))
        );
        assert_eq!(
            (arrival.tuple.src_port, arrival.tuple.dst_port),
            (40_000, 80)
        );
        assert_eq!(arrival.seq, SeqNum(1_000_000));
        // Passed on, it is as it was.
        _ = bed.with(|net, cx, out| net.forward(cx, arrival.packet, out));
        assert_eq!(l4_of(&bed.sent_one().1), l4_of(&frame), "{name}");
    }
}

#[test]
fn errors_that_are_not_about_tcp_from_their_destination_are_transit() {
    let tcp = packet(FROM_CLIENT, V4, 6, 60, &tcp_segment(V4, 2, &[], b"data"))[14..].to_vec();
    let udp = packet(FROM_CLIENT, V4, UDP, 60, &[0; 20])[14..].to_vec();
    let mut later = packet(FROM_CLIENT, V4, 6, 60, &[0; 20]);
    edit_ipv4(&mut later, |ip| ip[7] = 3);
    let rows = [
        ("udp", "10.1.0.2", udp),
        ("cut short", "10.1.0.2", tcp[..27].to_vec()),
        ("a later fragment", "10.1.0.2", later[14..].to_vec()),
        ("about another's packet", "10.1.0.3", tcp),
        ("nothing", "10.1.0.2", vec![]),
    ];
    for (name, dst, quote) in rows {
        let frame = icmp_packet((CORE, SERVER_MAC), ("192.0.2.9", dst), 3, 1, [0; 4], &quote);
        let ingress = Bed::acquainted().input(CORE, frame);
        assert!(
            matches!(ingress, Ingress::Transit(_)),
            "{name}: {ingress:?}"
        );
    }
}

#[test]
fn a_damaged_error_is_dropped() {
    let tcp = packet(FROM_CLIENT, V4, 6, 60, &tcp_segment(V4, 2, &[], b"data"))[14..].to_vec();
    let mut frame = icmp_packet((CORE, SERVER_MAC), ("192.0.2.9", V4.0), 3, 1, [0; 4], &tcp);
    *frame.last_mut().unwrap() ^= 0x40;
    let mut bed = Bed::acquainted();
    bed.route(CORE, frame);
    assert_eq!(bed.counted(), [(Counter::DropChecksum, 1)]);
}

#[test]
fn messages_are_those_that_smoltcp_names() {
    assert_eq!(u8::from(Icmpv4Message::DstUnreachable), 3);
    assert_eq!(u8::from(Icmpv4Message::TimeExceeded), 11);
    assert_eq!(u8::from(Icmpv6Message::DstUnreachable), 1);
    assert_eq!(u8::from(Icmpv6Message::PktTooBig), 2);
    assert_eq!(u8::from(Icmpv6Message::TimeExceeded), 3);
}
