//! Ports for their own addresses alone: nobody else's leave by them, and theirs by no other, whatever is sent.

use super::*;
use crate::wire::tcp::{Flags, OutSegment};
use crate::{SeqNum, Tuple};
use proptest::prelude::*;

const UDP: u8 = 17;
const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 2, 9];

/// A host's edge: hosts on the first port, a secondary access on the second, the primary one on the third.
fn edge() -> Bed {
    let mut bed = Bed::of(NetConfig {
        isolated: vec![IsolatedConfig {
            port: SECOND,
            gateways: vec![ip("10.2.0.9"), ip("fd00:2::9")],
        }],
        ..config()
    });
    for (port, station, addrs) in [
        (ACCESS, CLIENT_MAC, ["10.1.0.2", "fd00:1::2"]),
        (SECOND, GATEWAY_MAC, ["10.2.0.9", "fd00:2::9"]),
        (CORE, SERVER_MAC, ["10.9.0.2", "fd00:9::2"]),
    ] {
        for addr in addrs {
            bed.acquaint(port, station, ip(addr));
        }
    }
    bed
}

fn emit(bed: &mut Bed, src: &str, dst: &str) {
    let tuple = Tuple {
        src: ip(src),
        dst: ip(dst),
        src_port: 1,
        dst_port: 2,
    };
    let mut segment = OutSegment {
        ect: false,
        seq: SeqNum(1),
        ack: SeqNum(0),
        flags: Flags::SYN,
        wnd: 1,
        options: crate::wire::tcp::Options::default(),
        payload: None,
    };
    bed.with(|net, cx, out| net.send_tcp(cx, &tuple, IpOut::default(), &mut segment, out));
}

/// The port that a segment leaves by.
fn send(bed: &mut Bed, src: &str, dst: &str) -> Option<PortId> {
    emit(bed, src, dst);
    let sent = bed.sent();
    assert!(sent.len() <= 1);
    let port = sent.first().map(|(port, _)| *port);
    assert_eq!(port, bed.net.port_from(ip(src), ip(dst)), "{src} {dst}");
    if let Some((SECOND, frame)) = sent.first() {
        assert_eq!(frame[..6], GATEWAY_MAC);
    }
    port
}

#[test]
fn the_source_names_the_port_and_not_the_destination() {
    let mut bed = edge();
    for _ in 0..2 {
        // Twice: the second comes from the route cache.
        for dst in ["10.99.7.7", "192.0.2.1", "10.9.0.2"] {
            assert_eq!(send(&mut bed, "10.2.0.1", dst), Some(SECOND), "{dst}");
            assert_eq!(send(&mut bed, "10.1.0.2", dst), Some(CORE), "{dst}");
            assert_eq!(send(&mut bed, "10.9.0.1", dst), Some(CORE), "{dst}");
        }
        assert_eq!(send(&mut bed, "fd00:2::1", "2001:db8::1"), Some(SECOND));
        assert_eq!(send(&mut bed, "fd00:9::1", "2001:db8::1"), Some(CORE));
        // Its link is nobody else's: they get there as to anywhere.
        assert_eq!(send(&mut bed, "10.1.0.2", "10.2.0.9"), Some(CORE));
    }
    assert_eq!(
        bed.net.mtu_from(ip("10.2.0.1"), ip("192.0.2.1")),
        Some(1500)
    );
    assert_eq!(bed.net.port_toward(ip("10.2.0.9")), Some(CORE));
}

#[test]
fn a_route_by_an_isolated_port_serves_its_addresses_alone() {
    let mut config = config();
    config.routes.push(RouteConfig {
        to: "10.98.0.0/24".parse().unwrap(),
        via: ip("10.2.0.9"),
    });
    config.isolated.push(IsolatedConfig {
        port: SECOND,
        gateways: Vec::new(),
    });
    let bed = Bed::of(config);
    let from = |src: &str, dst: &str| bed.net.port_from(ip(src), ip(dst));
    assert_eq!(from("10.2.0.1", "10.98.0.2"), Some(SECOND));
    assert_eq!(from("10.1.0.2", "10.98.0.2"), Some(CORE));
    // Without a route of its own it reaches nobody, least of all by another port.
    assert_eq!(from("10.2.0.1", "192.0.2.1"), None);
}

fn echo_request(src: &str, dst: &str) -> Vec<u8> {
    let mut bytes = [8, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4];
    smoltcp::wire::Icmpv4Packet::new_unchecked(&mut bytes[..]).fill_checksum();
    packet((SECOND, GATEWAY_MAC), (src, dst), 1, 64, &bytes)
}

#[test]
fn an_echo_goes_back_the_way_it_came() {
    let mut bed = edge();
    bed.route(SECOND, echo_request("192.0.2.77", "10.2.0.1"));
    let (port, frame) = bed.sent_one();
    assert_eq!((port, &frame[..6]), (SECOND, &GATEWAY_MAC[..]));
    let (src, dst, l4) = l4_of(&frame);
    assert_eq!((src, dst, l4[0]), (ip("10.2.0.1"), ip("192.0.2.77"), 0));
}

#[test]
fn its_addresses_are_found_there_alone_and_it_lets_nothing_else_in() {
    let mut bed = edge();
    // To its address by another port, to another port's by it, to our own address that is on no port, and in transit.
    let rows = [
        (ACCESS, CLIENT_MAC, "10.1.0.2", "10.2.0.1"),
        (SECOND, GATEWAY_MAC, "192.0.2.7", "10.9.0.1"),
        (SECOND, GATEWAY_MAC, "192.0.2.7", "10.99.0.2"),
        (SECOND, GATEWAY_MAC, "192.0.2.7", "10.1.0.2"),
    ];
    for (n, (port, station, src, dst)) in (1..).zip(rows) {
        let l4 = tcp_segment((src, dst), 2, &[], &[]);
        bed.route(port, packet((port, station), (src, dst), 6, 64, &l4));
        assert!(bed.sent().is_empty(), "{src} {dst}");
        assert_eq!(bed.count(Counter::DropIsolated), n, "{src} {dst}");
    }
}

#[test]
fn nobody_hears_of_its_addresses_elsewhere() {
    use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr};
    for (port, target, answers) in [
        (SECOND, [10, 2, 0, 1], 1),
        (ACCESS, [10, 2, 0, 1], 0),
        (SECOND, [10, 9, 0, 1], 0),
        (ACCESS, [10, 9, 0, 1], 1),
    ] {
        let mut bed = edge();
        let repr = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: EthernetAddress(CLIENT_MAC),
            source_protocol_addr: [10, if port == SECOND { 2 } else { 1 }, 0, 9].into(),
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: target.into(),
        };
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[..]));
        let frame = ethernet([0xff; 6], CLIENT_MAC, EthernetProtocol::Arp, &bytes);
        assert!(matches!(bed.input(port, frame), Ingress::Done(_)));
        assert_eq!(bed.sent().len(), answers, "{target:?} on {port:?}");
    }
}

proptest! {
    /// Whatever comes by whichever port: what leaves by the isolated port is its own, and its own leaves by no other.
    #[test]
    fn no_address_leaves_where_it_does_not_belong(
        packets in prop::collection::vec((0..3u8, 0..8usize, 0..8usize, 0..4u8, 0..3u8), 1..40),
    ) {
        const ADDRESSES: [&str; 8] = [
            "10.1.0.2", "10.2.0.9", "10.9.0.2", "192.0.2.1", "10.1.0.1", "10.2.0.1", "10.9.0.1", "10.99.0.2",
        ];
        let mut bed = edge();
        for (port, src, dst, kind, ttl) in packets {
            let (port, addrs) = (PortId(port), (ADDRESSES[src], ADDRESSES[dst]));
            let (protocol, l4) = match kind {
                0 => (6, tcp_segment(addrs, 2, &[], &[])),
                1 => (UDP, vec![0; 20]),
                2 => (1, echo_request(addrs.0, addrs.1)[34..].to_vec()),
                _ => {
                    emit(&mut bed, addrs.0, addrs.1);
                    (UDP, Vec::new())
                },
            };
            bed.route(port, packet((port, CLIENT_MAC), addrs, protocol, ttl, &l4));
            for (port, frame) in bed.sent() {
                if frame[12..14] == [8, 0] {
                    prop_assert_eq!(port == SECOND, l4_of(&frame).0 == ip("10.2.0.1"), "{:02x?}", frame);
                }
            }
        }
    }
}
