//! Segments of ours, and SYNs in transit with their options edited.

use super::*;
use crate::flow::Tuple;
use crate::seq::SeqNum;
use crate::wire::tcp::{Flags, Options, OutSegment};
use smoltcp::wire::TcpPacket;

const FROM_CLIENT: (PortId, [u8; 6]) = (ACCESS, CLIENT_MAC);
const V4: (&str, &str) = ("10.1.0.2", "198.51.100.7");
const V6: (&str, &str) = ("fd00:1::2", "2001:db8::7");
/// As a Linux client sends them: MSS 1460, SACK permitted, timestamps, NOP, window scale 7, then MP_CAPABLE.
const LINUX: [u8; 24] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7, 30, 4, 1, 1,
];

fn syn(addrs: (&str, &str), options: &[u8], payload: &[u8]) -> Vec<u8> {
    packet(
        FROM_CLIENT,
        addrs,
        6,
        64,
        &tcp_segment(addrs, 0x02, options, payload),
    )
}

fn arrival(bed: &mut Bed, frame: Vec<u8>) -> TcpArrival<Buf> {
    match bed.input(ACCESS, frame) {
        Ingress::Tcp(arrival) => arrival,
        other => panic!("{other:?}"),
    }
}

/// The TCP header's options and the payload; the checksum verified by smoltcp.
fn read(frame: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (src, dst, l4) = l4_of(frame);
    let segment = TcpPacket::new_checked(&l4[..]).unwrap();
    assert!(segment.verify_checksum(&IpAddress::from(src), &IpAddress::from(dst)));
    let header_len = usize::from(segment.header_len());
    (l4[20..header_len].to_vec(), l4[header_len..].to_vec())
}

#[test]
fn an_edited_syn_keeps_all_other_options_verbatim_and_in_order() {
    let strip = SynEdit {
        strip_mptcp: true,
        mss_max: None,
        ..SynEdit::default()
    };
    let lower = SynEdit {
        strip_mptcp: false,
        mss_max: Some(1400),
        ..SynEdit::default()
    };
    let both = SynEdit {
        strip_mptcp: true,
        mss_max: Some(1400),
        ..SynEdit::default()
    };
    let capable = [30, 4, 1, 1];
    let add = SynEdit {
        add_mptcp: capable.into_iter().collect(),
        ..SynEdit::default()
    };
    let with_key = [30, 12, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
    let add_version_0 = SynEdit {
        add_mptcp: with_key.into_iter().collect(),
        ..SynEdit::default()
    };
    let full = [&LINUX[..20], &[254, 20], &[7; 18][..]].concat();
    let nearly = [&LINUX[..20], &[254, 16], &[7; 14][..]].concat();
    let lowered = [&[2, 4, 5, 0x78], &LINUX[4..]].concat();
    let twelve = [30, 12, 0x10, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let rows: Vec<(&str, Vec<u8>, SynEdit, Vec<u8>)> = vec![
        (
            "nothing",
            LINUX.to_vec(),
            SynEdit::default(),
            LINUX.to_vec(),
        ),
        ("strip", LINUX.to_vec(), strip, LINUX[..20].to_vec()),
        ("lower", LINUX.to_vec(), lower, lowered.clone()),
        ("both", LINUX.to_vec(), both, lowered[..20].to_vec()),
        (
            "add",
            LINUX[..20].to_vec(),
            add,
            [&LINUX[..20], &capable].concat(),
        ),
        ("add to none", vec![], add, capable.to_vec()),
        (
            "add to the last room",
            nearly.clone(),
            add,
            [&nearly[..], &capable].concat(),
        ),
        ("no room to add", full.clone(), add, full),
        (
            "add with a key",
            LINUX[..20].to_vec(),
            add_version_0,
            [&LINUX[..20], &with_key].concat(),
        ),
        (
            "no room for the key",
            nearly.clone(),
            add_version_0,
            nearly.clone(),
        ),
        ("small mss stays", vec![2, 4, 2, 0], lower, vec![2, 4, 2, 0]),
        ("no mss is added", vec![4, 2, 1, 1], lower, vec![4, 2, 1, 1]),
        (
            "in the middle",
            [&LINUX[..4], &twelve, &LINUX[4..20]].concat(),
            strip,
            LINUX[..20].to_vec(),
        ),
        (
            "every one of them",
            [&twelve[..], &LINUX[20..], &LINUX[..4]].concat(),
            strip,
            LINUX[..4].to_vec(),
        ),
        (
            "odd lengths are padded",
            vec![30, 3, 9, 254, 3, 7, 1, 1],
            strip,
            vec![254, 3, 7, 1, 1, 0, 0, 0],
        ),
        (
            "unknown options stay",
            vec![254, 4, 7, 8, 19, 4, 1, 1],
            strip,
            vec![254, 4, 7, 8, 19, 4, 1, 1],
        ),
        (
            "what follows the end goes",
            vec![2, 4, 5, 0xb4, 0, 9, 9, 9],
            strip,
            vec![2, 4, 5, 0xb4],
        ),
    ];
    for (name, options, edit, expected) in rows {
        for (addrs, payload) in [(V4, &b""[..]), (V6, &b"fast open data"[..])] {
            let mut bed = Bed::acquainted();
            let frame = syn(addrs, &options, payload);
            let arrival = arrival(&mut bed, frame.clone());
            _ = bed.with(|net, cx, out| net.forward_syn(cx, &arrival, edit, out));
            let (port, sent) = bed.sent_one();
            assert_eq!((port, &sent[..6]), (CORE, &SERVER_MAC[..]), "{name}");
            let (got, data) = read(&sent);
            assert_eq!(got, expected, "{name}");
            assert_eq!(data, payload, "{name}");
            // Ports, sequence numbers, flags and window, addresses, identification, traffic class.
            let l4 = sent.len() - 20 - got.len() - payload.len();
            let old = frame.len() - 20 - options.len() - payload.len();
            assert_eq!(sent[l4..l4 + 12], frame[old..old + 12], "{name}");
            assert_eq!(sent[l4 + 13..l4 + 16], frame[old + 13..old + 16], "{name}");
            assert_eq!(sent[15], frame[15], "{name}");
            let read = u64::try_from(payload.len()).unwrap();
            let mut counted = vec![(Counter::Forwarded, 1), (Counter::PayloadSummed, read)];
            counted.retain(|(_, n)| *n > 0);
            assert_eq!(bed.counted(), counted, "{name}");
        }
    }
}

#[test]
fn an_unedited_syn_leaves_as_forwarding_leaves_it() {
    for addrs in [V4, V6] {
        let mut bed = Bed::acquainted();
        let arrival = arrival(&mut bed, syn(addrs, &LINUX, b"data"));
        _ = bed.with(|net, cx, out| net.forward_syn(cx, &arrival, SynEdit::default(), out));
        let edited = bed.sent_one();
        _ = bed.with(|net, cx, out| net.forward(cx, arrival.packet, out));
        assert_eq!(edited, bed.sent_one());
    }
}

#[test]
fn segments_to_our_addresses_are_local() {
    for addrs in [
        ("10.2.0.2", "10.99.0.2"),
        ("10.1.0.2", "10.1.0.1"),
        ("fd00:2::2", "fd00:99::2"),
    ] {
        let mut bed = Bed::acquainted();
        assert!(arrival(&mut bed, syn(addrs, &LINUX, b"")).local);
    }
}

#[test]
fn t18_damaged_segments_to_us_are_dropped_by_name() {
    let ours = ("10.2.0.2", "10.99.0.2");
    let mut damaged = syn(ours, &LINUX, b"data");
    *damaged.last_mut().unwrap() ^= 1;
    let rows = [
        (damaged, Counter::DropChecksum),
        (syn(ours, &[2, 0, 0, 0], b""), Counter::DropMalformed),
        (
            packet(FROM_CLIENT, ours, 6, 64, &[0; 19]),
            Counter::DropMalformed,
        ),
    ];
    for (frame, counter) in rows {
        let mut bed = Bed::acquainted();
        bed.route(ACCESS, frame);
        assert_eq!(bed.counted(), [(counter, 1)]);
        assert_eq!(bed.sent(), []);
    }
}

/// A router passes on what it does not understand (RFC 1812 5.3); only who has the flow may drop it, by name.
#[test]
fn t18_damaged_segments_in_transit_pass_untouched() {
    for addrs in [V4, V6] {
        let mut damaged = syn(addrs, &LINUX, b"data");
        *damaged.last_mut().unwrap() ^= 1;
        let short = packet(FROM_CLIENT, addrs, 6, 64, &[0x9c, 0x40, 0, 80, 0, 0, 0]);
        let rows = [
            ("checksum", damaged, Counter::DropChecksum),
            (
                "length 0",
                syn(addrs, &[2, 0, 0, 0], b""),
                Counter::DropMalformed,
            ),
            (
                "beyond the header",
                syn(addrs, &[3, 9, 7, 1], b"data"),
                Counter::DropMalformed,
            ),
            (
                "odd length",
                syn(addrs, &[5, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], b""),
                Counter::DropMalformed,
            ),
            ("short", short, Counter::DropMalformed),
        ];
        for (name, frame, why) in rows {
            let mut bed = Bed::acquainted();
            let Ingress::Opaque(opaque) = bed.input(ACCESS, frame.clone()) else {
                panic!("{name}");
            };
            assert_eq!(opaque.why, why, "{name}");
            let (src, dst) = (ip(addrs.0), ip(addrs.1));
            assert_eq!((opaque.tuple.src, opaque.tuple.dst), (src, dst), "{name}");
            let ports = (opaque.tuple.src_port, opaque.tuple.dst_port);
            assert_eq!(ports, (40_000, 80), "{name}");
            _ = bed.with(|net, cx, out| net.forward(cx, opaque.packet, out));
            assert_eq!(l4_of(&bed.sent_one().1), l4_of(&frame), "{name}");
            assert_eq!(bed.counted(), [(Counter::Forwarded, 1)], "{name}");
        }
    }
}

#[test]
fn a_segment_of_ours_reaches_the_wire_whole() {
    for (src, dst) in [("198.51.100.7", "10.1.0.2"), ("2001:db8::7", "fd00:1::2")] {
        let mut bed = Bed::acquainted();
        let data = Slice::new(Buf(bytes::Bytes::from_static(b"hello, client")));
        let segment = OutSegment {
            ect: false,
            seq: SeqNum(7),
            ack: SeqNum(9),
            flags: Flags::ACK,
            wnd: 100,
            options: Options::default(),
            payload: Some(data.slice(0..13)),
        };
        let tuple = Tuple {
            src: ip(src),
            dst: ip(dst),
            src_port: 80,
            dst_port: 40_000,
        };
        for _ in 0..2 {
            // The second time by the route cache.
            let ip_out = IpOut { tos: 0x2a, ttl: 61 };
            bed.with(|net, cx, out| net.send_tcp(cx, &tuple, ip_out, &mut segment.clone(), out));
            assert_eq!(bed.out[0].payload.len(), 1);
            let (port, sent) = bed.sent_one();
            assert_eq!((port, &sent[..6]), (ACCESS, &CLIENT_MAC[..]));
            let (from, to, _) = l4_of(&sent);
            assert_eq!((from, to), (tuple.src, tuple.dst));
            let (tos, ttl) = match tuple.src {
                IpAddr::V4(_) => (sent[15], sent[22]),
                IpAddr::V6(_) => ((sent[14] << 4) | (sent[15] >> 4), sent[21]),
            };
            assert_eq!((tos, ttl), (0x2a, 61));
            assert_eq!(read(&sent).1, b"hello, client");
        }
    }
}

#[test]
fn a_segment_without_route_or_too_long_is_counted() {
    let mut bed = Bed::of(NetConfig {
        routes: vec![],
        ..config()
    });
    bed.acquaint(ACCESS, CLIENT_MAC, ip("10.1.0.2"));
    let data = Slice::new(Buf(vec![0; 1461].into()));
    let mut segment = OutSegment {
        ect: false,
        seq: SeqNum(7),
        ack: SeqNum(9),
        flags: Flags::ACK,
        wnd: 100,
        options: Options::default(),
        payload: Some(data.clone()),
    };
    let tuple = |dst| Tuple {
        src: ip("198.51.100.7"),
        dst: ip(dst),
        src_port: 80,
        dst_port: 40_000,
    };
    let send = |bed: &mut Bed, dst, segment: &OutSegment<Buf>| {
        bed.with(|net, cx, out| {
            net.send_tcp(cx, &tuple(dst), IpOut::default(), &mut segment.clone(), out);
        });
        bed.sent().len()
    };
    assert_eq!(send(&mut bed, "203.0.113.1", &segment), 0);
    assert_eq!(send(&mut bed, "10.1.0.2", &segment), 0);
    segment.payload = Some(data.slice(0..1460));
    assert_eq!(send(&mut bed, "10.1.0.2", &segment), 1);
    assert_eq!(bed.count(Counter::SendNoRoute), 1);
    assert_eq!(bed.count(Counter::SendTooBig), 1);
    assert_eq!(bed.ended(), 0, "nothing was received");
}
