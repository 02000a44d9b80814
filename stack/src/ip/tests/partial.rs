//! Frames that come with their checksum yet to be computed.

use super::*;
use crate::checksum::Sum;
use crate::flow::{Side, Tuple};
use crate::wire::ip::{TCP, UDP, pseudo_header};

const V4: (&str, &str) = ("10.1.0.2", "198.51.100.7");
const V6: (&str, &str) = ("fd00:1::2", "2001:db8::7");
const FROM_CLIENT: (PortId, [u8; 6]) = (ACCESS, CLIENT_MAC);

/// Where the field is in a transport's header.
const fn field(protocol: u8) -> usize {
    if protocol == TCP { 16 } else { 6 }
}

fn pseudo((src, dst): (&str, &str), protocol: u8, len: usize) -> Sum {
    pseudo_header(ip(src), ip(dst), protocol, len)
}

/// A segment or a datagram in whose field the sum of the pseudo header stands.
fn unfinished(addrs: (&str, &str), protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut l4 = if protocol == TCP {
        tcp_segment(addrs, 0x10, &[1, 1, 1, 0], payload)
    } else {
        let len = u16::try_from(8 + payload.len()).unwrap().to_be_bytes();
        [&[1, 2, 3, 4, len[0], len[1], 0, 0], payload].concat()
    };
    let sum = pseudo(addrs, protocol, l4.len()).folded();
    l4[field(protocol)..][..2].copy_from_slice(&sum.to_be_bytes());
    packet(FROM_CLIENT, addrs, protocol, 64, &l4)
}

fn is_whole(frame: &[u8], addrs: (&str, &str), protocol: u8) -> bool {
    let (.., l4) = l4_of(frame);
    pseudo(addrs, protocol, l4.len())
        .then(Sum::of(&l4))
        .is_intact()
}

#[test]
fn what_is_routed_on_is_complete() {
    for addrs in [V4, V6] {
        for protocol in [TCP, UDP] {
            // An odd number of octets, an even one, and none.
            for payload in [&b"hello"[..], &[0xff; 1_000], b""] {
                let mut bed = Bed::acquainted();
                let frame = unfinished(addrs, protocol, payload);
                assert!(!is_whole(&frame, addrs, protocol));
                let packet = match bed.input_as(ACCESS, frame, RxChecksum::Partial) {
                    Ingress::Tcp(arrival) => arrival.packet,
                    Ingress::Transit(packet) => packet,
                    other => panic!("{other:?}"),
                };
                _ = bed.with(|net, cx, out| net.forward(cx, packet, out));
                let (_, sent) = bed.sent_one();
                assert!(
                    is_whole(&sent, addrs, protocol),
                    "{addrs:?} {protocol}: {sent:02x?}"
                );
                let text = if protocol == TCP { payload.len() } else { 0 };
                assert_eq!(bed.count(Counter::PayloadSummed), text as u64);
            }
        }
    }
}

/// 4,000 octets, each of which tells its place among 251.
fn text() -> Vec<u8> {
    let octet = |at: usize| u8::try_from(at % 251).unwrap();
    (0..4_000).map(octet).collect()
}

/// A packet with `segment` that no router may make fragments of.
fn alone(addrs: (&str, &str), segment: &[u8]) -> Vec<u8> {
    let mut frame = packet(FROM_CLIENT, addrs, TCP, 64, segment);
    if addrs.0 == V4.0 {
        edit_ipv4(&mut frame, |ip| ip[6] = 0x40);
    }
    frame
}

/// `parts` are what a device would have made of `segment`, which has FIN and PSH, for links that take `narrow` octets; each behind
/// a link header of `link` octets, and with this `ttl`.
fn assert_cut(
    parts: &[(PortId, Vec<u8>)],
    (addrs, segment): ((&str, &str), &[u8]),
    (link, narrow, ttl): (usize, u16, u8),
) {
    let text = &segment[24..];
    assert!(parts.len() > 2);
    let mut at = 0;
    for (n, (_, part)) in (1..).zip(parts) {
        let part = &part[link - 14..];
        assert!(part.len() <= 14 + usize::from(narrow) && is_whole(part, addrs, TCP));
        let (.., l4) = l4_of(part);
        let number = u32::from_be_bytes(*l4[4..].first_chunk().unwrap());
        assert_eq!(number as usize, 1_000_000 + at);
        assert_eq!(l4[13], if n == parts.len() { 0x19 } else { 0x10 });
        assert_eq!((&l4[..4], &l4[20..24]), (&segment[..4], &segment[20..24]));
        assert_eq!(l4[24..], text[at..at + l4.len() - 24]);
        assert_eq!(part[if addrs.0 == V4.0 { 22 } else { 21 }], ttl);
        at += l4.len() - 24;
    }
    assert_eq!(at, text.len());
}

/// A neighbor on the same machine leaves long segments to be cut: where they do not end here they go on cut.
#[test]
fn a_long_segment_is_routed_on_in_parts_that_fit() {
    let text = text();
    for (addrs, narrow) in [(V4, 1500), (V6, 1500), (V4, 1280)] {
        let mut config = config();
        config.interfaces[2].mtu = narrow;
        let mut bed = Bed::of(config);
        bed.acquaint(ACCESS, CLIENT_MAC, ip(addrs.0));
        bed.acquaint(CORE, SERVER_MAC, ip("10.9.0.2"));
        bed.acquaint(CORE, SERVER_MAC, ip("fd00:9::2"));
        // FIN, PSH and ACK.
        let segment = tcp_segment(addrs, 0x19, &[1, 1, 1, 0], &text);
        bed.route(ACCESS, alone(addrs, &segment));
        assert_cut(&bed.sent(), (addrs, &segment), (14, narrow, 63));
        assert_eq!((bed.count(Counter::Forwarded), bed.ended()), (1, 1));
        // Neither a damaged one, nor what is no longer than the link that it came by.
        let mut damaged = segment.clone();
        damaged[1_000] ^= 1;
        let mut refused = vec![alone(addrs, &damaged)];
        if narrow < 1500 {
            let short = tcp_segment(addrs, 0x10, &[], &text[..1_400]);
            refused.push(alone(addrs, &short));
        }
        for (n, frame) in (1..).zip(refused) {
            bed.route(ACCESS, frame);
            assert_eq!(bed.count(Counter::DropTooBig), n);
            bed.sent_one();
        }
    }
}

/// The same over a bump in the wire, which changes neither stations nor tags nor TTL.
#[test]
fn a_long_segment_is_bridged_in_parts_that_fit() {
    let text = text();
    for (addrs, narrow) in [(V4, 1500), (V6, 1500), (V4, 1280)] {
        for tag in [&[][..], &[0x81, 0, 0, 42]] {
            let mut config = config();
            config.interfaces[2].mtu = narrow;
            let mut bed = Bed::of(config);
            bed.net.bridge([ACCESS, CORE], 16, 1);
            let across = |segment: &[u8]| {
                let frame = alone(addrs, segment);
                [&SERVER_MAC, &frame[6..12], tag, &frame[12..]].concat()
            };
            let segment = tcp_segment(addrs, 0x19, &[1, 1, 1, 0], &text);
            bed.route(ACCESS, across(&segment));
            let parts = bed.sent();
            let stations = [SERVER_MAC, CLIENT_MAC].concat();
            for (port, part) in &parts {
                assert_eq!((*port, &part[..12]), (CORE, &stations[..]));
                assert_eq!(part[12..12 + tag.len()], *tag);
            }
            assert_cut(&parts, (addrs, &segment), (14 + tag.len(), narrow, 64));
            assert_eq!((bed.count(Counter::Bridged), bed.ended()), (1, 1));
            // Nothing is told about what is refused: there is no hop here.
            let mut damaged = segment.clone();
            damaged[1_000] ^= 1;
            let mut refused = vec![across(&damaged)];
            if narrow < 1500 {
                let short = tcp_segment(addrs, 0x10, &[], &text[..1_400]);
                refused.push(across(&short));
            }
            for (n, frame) in (1..).zip(refused) {
                bed.route(ACCESS, frame);
                assert_eq!(bed.count(Counter::DropTooBig), n);
                assert!(bed.sent().is_empty());
            }
        }
    }
}

#[test]
fn what_goes_the_short_way_is_not_read_and_left_to_the_next_port() {
    for addrs in [V4, V6] {
        let mut bed = Bed::acquainted();
        // The way is known from then on.
        bed.route(ACCESS, packet(FROM_CLIENT, addrs, UDP, 64, b"first"));
        bed.sent_one();
        let frame = Slice::new(Buf(unfinished(addrs, TCP, b"hello").into()));
        let side = |_: &Tuple| Side::Access;
        let mut head = Head::default();
        let seen = (&frame, RxChecksum::Partial);
        bed.net.head(ACCESS, seen, side, &mut head).unwrap();
        let read = (frame.clone(), RxChecksum::Partial);
        let segment = bed.with(|_, cx, _| Net::segment(cx, &head, read.0, read.1));
        assert_eq!(segment.unwrap().payload.known_sum(), None);
        let passed = (frame, RxChecksum::Partial);
        _ = bed.with(|net, cx, out| net.forward_head(cx, &head, passed, out));
        assert_eq!(bed.count(Counter::PayloadSummed), 0);
        let partial = bed.out[0].partial.unwrap();
        let ip_len = if addrs == V4 { 20 } else { 40 };
        assert_eq!((partial.l3, partial.l4), (14, 14 + ip_len));
        let (_, sent) = bed.sent_one();
        assert!(is_whole(&sent, addrs, TCP), "{sent:02x?}");
    }
}

#[test]
fn a_datagram_whose_sum_is_zero_keeps_a_checksum() {
    // RFC 768: zero would say that there is none.
    let mut frame = unfinished(V4, UDP, &[0, 0]);
    let end = frame.len();
    let sum = Sum::of(&frame[34..]).checksum();
    frame[end - 2..].copy_from_slice(&sum.to_be_bytes());
    let mut bed = Bed::acquainted();
    let Ingress::Transit(packet) = bed.input_as(ACCESS, frame, RxChecksum::Partial) else {
        panic!("it is for another host");
    };
    assert_eq!(packet.l4_bytes()[6..8], [0xff, 0xff]);
}

#[test]
fn what_somebody_holds_is_not_written() {
    let mut bed = Bed::acquainted();
    let frame = Slice::new(Buf(unfinished(V4, UDP, b"held").into()));
    let before = frame.bytes().to_vec();
    let lent = frame.clone();
    bed.with(|net, cx, out| net.input(cx, ACCESS, lent, RxChecksum::Partial, out));
    assert_eq!(frame.bytes(), before);
    assert_eq!(bed.count(Counter::DropChecksum), 1);
}
