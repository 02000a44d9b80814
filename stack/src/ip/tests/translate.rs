//! Packets that go on with other addresses and ports, judged by smoltcp: checksums, quotes, fragments.

use super::*;
use proptest::prelude::*;
use smoltcp::wire::{Icmpv4Packet, TcpPacket, UdpPacket};

const H: &str = "10.1.0.2";
const S: &str = "198.51.100.7";
const PUBLIC: Endpoint = Endpoint {
    addr: Ipv4Addr::new(10, 99, 0, 2),
    port: 61_001,
};
const INSIDE: Endpoint = Endpoint {
    addr: Ipv4Addr::new(10, 1, 0, 2),
    port: 40_000,
};
/// From H as it leaves.
pub(super) const OUT: Translation = Translation {
    src: Some(PUBLIC),
    dst: None,
};
/// Back to H.
const BACK: Translation = Translation {
    src: None,
    dst: Some(INSIDE),
};

use core::net::Ipv4Addr;

fn udp(src: &str, dst: &str, ports: (u16, u16), data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 8 + data.len()];
    bytes[8..].copy_from_slice(data);
    let mut packet = UdpPacket::new_unchecked(&mut bytes[..]);
    packet.set_src_port(ports.0);
    packet.set_dst_port(ports.1);
    packet.set_len(u16::try_from(8 + data.len()).unwrap());
    packet.fill_checksum(&IpAddress::from(ip(src)), &IpAddress::from(ip(dst)));
    bytes
}

fn icmp(kind: u8, code: u8, word: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut bytes = [&[kind, code, 0, 0][..], &word, data].concat();
    let mut packet = Icmpv4Packet::new_unchecked(&mut bytes[..]);
    packet.fill_checksum();
    bytes
}

/// Sends `l4` as `protocol` through the router, translated; the IP packet that left.
fn through(
    bed: &mut Bed,
    (port, addrs): (PortId, (&str, &str)),
    protocol: u8,
    l4: &[u8],
    to: &Translation,
) -> Vec<u8> {
    let station = if port == ACCESS {
        CLIENT_MAC
    } else {
        SERVER_MAC
    };
    let frame = packet((port, station), addrs, protocol, 64, l4);
    frame_through(bed, port, frame, to)
}

fn frame_through(bed: &mut Bed, port: PortId, frame: Vec<u8>, to: &Translation) -> Vec<u8> {
    let packet = match bed.input(port, frame) {
        Ingress::Done(_) => panic!("not handed up: {:?}", bed.counted()),
        Ingress::Tcp(arrival) => arrival.packet,
        Ingress::IcmpError(arrival) => arrival.packet,
        Ingress::Opaque(opaque) => opaque.packet,
        Ingress::Transit(packet) => packet,
    };
    _ = bed.with(|net, cx, out| net.forward_translated(cx, packet, to, out));
    bed.sent_one().1[14..].to_vec()
}

/// A router behind whose address 10.99.0.2 there are others.
fn sharing() -> Bed {
    let mut bed = Bed::of(NetConfig {
        shared: vec![ip("10.99.0.2")],
        ..config()
    });
    bed.acquaint(ACCESS, CLIENT_MAC, ip("10.1.0.2"));
    bed.acquaint(CORE, SERVER_MAC, ip("10.9.0.2"));
    bed
}

/// Checks the sums of an IPv4 packet; its addresses and what it carries.
fn judged(packet: &[u8]) -> (String, String, Vec<u8>) {
    let ip = Ipv4Packet::new_checked(packet).unwrap();
    assert!(ip.verify_checksum());
    let (src, dst) = (ip.src_addr(), ip.dst_addr());
    let (from, to) = (IpAddress::from(src), IpAddress::from(dst));
    match ip.next_header() {
        IpProtocol::Udp => {
            let udp = UdpPacket::new_checked(ip.payload()).unwrap();
            assert!(udp.verify_checksum(&from, &to));
        },
        IpProtocol::Tcp => {
            let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
            assert!(tcp.verify_checksum(&from, &to));
        },
        IpProtocol::Icmp => {
            assert!(
                Icmpv4Packet::new_checked(ip.payload())
                    .unwrap()
                    .verify_checksum()
            );
        },
        _ => {},
    }
    (src.to_string(), dst.to_string(), ip.payload().to_vec())
}

const OUTWARD: (PortId, (&str, &str)) = (ACCESS, (H, S));
const INWARD: (PortId, (&str, &str)) = (CORE, (S, "10.99.0.2"));

proptest! {
    #[test]
    fn sums_hold_and_the_way_back_undoes_the_way_out(
        data in prop::collection::vec(any::<u8>(), 0..64),
        from in any::<u16>(),
        to in any::<u16>(),
        seq in any::<u32>(),
    ) {
        let mut bed = sharing();
        let out = Translation { src: Some(Endpoint { port: to, ..PUBLIC }), dst: None };
        let back = Translation { src: None, dst: Some(Endpoint { port: from, ..INSIDE }) };
        let datagram = udp(H, S, (from, 53), &data);
        let (src, dst, l4) = judged(&through(&mut bed, OUTWARD, 17, &datagram, &out));
        prop_assert_eq!((src.as_str(), dst.as_str()), ("10.99.0.2", S));
        prop_assert_eq!(&l4[..2], &to.to_be_bytes());
        prop_assert_eq!(&l4[8..], &data[..]);
        let answer = udp(S, "10.99.0.2", (53, to), &data);
        let (src, dst, l4) = judged(&through(&mut bed, INWARD, 17, &answer, &back));
        prop_assert_eq!((src.as_str(), dst.as_str()), (S, H));
        prop_assert_eq!(&l4[2..4], &from.to_be_bytes());

        let mut segment = tcp_segment((H, S), 0x10, &[], &data);
        segment[..2].copy_from_slice(&from.to_be_bytes());
        segment[4..8].copy_from_slice(&seq.to_be_bytes());
        TcpPacket::new_unchecked(&mut segment[..])
            .fill_checksum(&IpAddress::from(ip(H)), &IpAddress::from(ip(S)));
        let (_, _, l4) = judged(&through(&mut bed, OUTWARD, 6, &segment, &out));
        prop_assert_eq!(&l4[..2], &to.to_be_bytes());
        prop_assert_eq!(&l4[2..16], &segment[2..16]);
        prop_assert_eq!(&l4[18..], &segment[18..]);

        let [a, b] = from.to_be_bytes();
        let query = icmp(8, 0, [a, b, 0, 9], &data);
        let (_, _, l4) = judged(&through(&mut bed, OUTWARD, 1, &query, &out));
        prop_assert_eq!(&l4[4..6], &to.to_be_bytes());
        let [a, b] = to.to_be_bytes();
        let reply = icmp(0, 0, [a, b, 0, 9], &data);
        let (_, dst, l4) = judged(&through(&mut bed, INWARD, 1, &reply, &back));
        prop_assert_eq!((dst.as_str(), &l4[4..6]), (H, &from.to_be_bytes()[..]));
    }

    #[test]
    fn an_error_about_what_left_reads_as_if_it_had_left_untranslated(
        data in prop::collection::vec(any::<u8>(), 0..64),
        protocol in prop::sample::select(vec![1_u8, 6, 17]),
        words in 4..20_usize,
    ) {
        let mut bed = sharing();
        let l4 = match protocol {
            1 => icmp(8, 0, [0x9c, 0x40, 0, 9], &data),
            6 => tcp_segment((H, S), 2, &[], &data),
            _ => udp(H, S, (40_000, 53), &data),
        };
        let sent = packet((ACCESS, CLIENT_MAC), (H, S), protocol, 63, &l4)[14..].to_vec();
        let left = through(&mut bed, OUTWARD, protocol, &l4, &OUT);
        let quote = |packet: &[u8]| packet[..packet.len().min(20 + 2 * words)].to_vec();
        let error = icmp(11, 0, [0; 4], &quote(&left));
        let (src, dst, heard) = judged(&through(&mut bed, INWARD, 1, &error, &BACK));
        prop_assert_eq!((src.as_str(), dst.as_str()), (S, H));
        prop_assert_eq!(&heard[8..], &quote(&sent)[..]);
    }
}

#[test]
fn an_error_from_inside_quotes_the_address_that_was_sent_to() {
    let mut bed = sharing();
    // S sent this to the public address; H got it with its own, and says that nothing listens there.
    let arrived = udp(S, H, (53, 40_000), b"late");
    let quote = packet((CORE, SERVER_MAC), (S, H), 17, 60, &arrived)[14..].to_vec();
    let error = icmp(3, 3, [0; 4], &quote);
    let (src, dst, told) = judged(&through(&mut bed, OUTWARD, 1, &error, &OUT));
    assert_eq!((src.as_str(), dst.as_str()), ("10.99.0.2", S));
    let expected = udp(S, "10.99.0.2", (53, PUBLIC.port), b"late");
    let expected = packet((CORE, SERVER_MAC), (S, "10.99.0.2"), 17, 60, &expected);
    assert_eq!(told[8..], expected[14..]);
}

#[test]
fn no_udp_checksum_stays_none_and_a_damaged_one_stays_damaged() {
    let mut bed = sharing();
    let mut datagram = udp(H, S, (40_000, 53), b"data");
    datagram[6..8].fill(0);
    let left = through(&mut bed, OUTWARD, 17, &datagram, &OUT);
    assert_eq!(left[26..28], [0, 0]);
    let mut datagram = udp(H, S, (40_000, 53), b"data");
    datagram[9] ^= 1;
    let left = through(&mut bed, OUTWARD, 17, &datagram, &OUT);
    let udp = UdpPacket::new_checked(&left[20..]).unwrap();
    let (from, to) = (IpAddress::v4(10, 99, 0, 2), IpAddress::from(ip(S)));
    assert!(!udp.verify_checksum(&from, &to));
}

#[test]
fn a_translated_segment_that_nobody_has_cut_leaves_in_parts() {
    let mut bed = sharing();
    let segment = tcp_segment((H, S), 0x18, &[], &[7; 3_000]);
    let mut frame = packet((ACCESS, CLIENT_MAC), (H, S), 6, 64, &segment);
    edit_ipv4(&mut frame, |ip| ip[6] = 0x40);
    let Ingress::Tcp(arrival) = bed.input(ACCESS, frame) else {
        panic!("a segment");
    };
    _ = bed.with(|net, cx, out| net.forward_translated(cx, arrival.packet, &OUT, out));
    let parts = bed.sent();
    assert_eq!(parts.len(), 3);
    let mut text = 0;
    for (_, part) in &parts {
        let (src, dst, l4) = judged(&part[14..]);
        assert_eq!((src, dst), (PUBLIC.addr.to_string(), S.to_owned()));
        assert_eq!(l4[..2], PUBLIC.port.to_be_bytes());
        text += l4.len() - 20;
    }
    assert_eq!(text, 3_000);
}

#[test]
fn a_translated_packet_that_is_too_long_leaves_in_fragments_that_join_again() {
    let mut bed = sharing();
    let data: Vec<u8> = (0..1_400).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let datagram = udp(H, S, (40_000, 53), &data);
    let mut small = Bed::of(NetConfig {
        interfaces: config()
            .interfaces
            .into_iter()
            .map(|interface| InterfaceConfig {
                mtu: if interface.port == CORE { 1280 } else { 1500 },
                ..interface
            })
            .collect(),
        ..config()
    });
    small.acquaint(CORE, SERVER_MAC, ip("10.9.0.2"));
    let frame = packet((ACCESS, CLIENT_MAC), (H, S), 17, 64, &datagram);
    let mut frame = frame;
    edit_ipv4(&mut frame, |ip| ip[6] = 0);
    let Ingress::Transit(packet) = small.input(ACCESS, frame.clone()) else {
        panic!("in transit");
    };
    _ = small.with(|net, cx, out| net.forward_translated(cx, packet, &OUT, out));
    let parts = small.sent();
    assert_eq!(parts.len(), 2);
    let mut joined = Vec::new();
    for (_, part) in &parts {
        let ip = Ipv4Packet::new_checked(&part[14..]).unwrap();
        assert!(ip.verify_checksum());
        assert_eq!(ip.src_addr(), PUBLIC.addr);
        assert_eq!(usize::from(ip.frag_offset()), joined.len());
        joined.extend_from_slice(ip.payload());
    }
    let whole = frame_through(&mut bed, ACCESS, frame, &OUT);
    assert_eq!(joined, whole[20..]);
    // A fragment but the first has no ports.
    let mut later = super::packet((ACCESS, CLIENT_MAC), (H, S), 17, 64, b"the rest");
    edit_ipv4(&mut later, |ip| ip[7] = 9);
    let left = frame_through(&mut bed, ACCESS, later, &OUT);
    assert_eq!(left[12..16], PUBLIC.addr.octets());
    assert_eq!(&left[20..], b"the rest");
}

#[test]
fn other_protocols_change_their_address_alone() {
    let mut bed = sharing();
    for protocol in [47, 50, 132, 41] {
        let left = through(&mut bed, OUTWARD, protocol, b"anything at all", &OUT);
        let (src, _, l4) = judged(&left);
        assert_eq!(
            (src.as_str(), &l4[..]),
            ("10.99.0.2", &b"anything at all"[..])
        );
    }
    // TCP without all of its header has no checksum to correct.
    let frame = packet((ACCESS, CLIENT_MAC), (H, S), 6, 64, &[0; 12]);
    let Ingress::Opaque(opaque) = bed.input(ACCESS, frame) else {
        panic!("handed up");
    };
    _ = bed.with(|net, cx, out| net.forward_translated(cx, opaque.packet, &OUT, out));
    assert_eq!(bed.sent(), []);
    assert_eq!(bed.count(Counter::DropMalformed), 1);
}

#[test]
fn a_shared_address_answers_echo_and_hands_up_all_else() {
    let mut bed = sharing();
    let frame =
        |protocol, l4: &[u8]| packet((CORE, SERVER_MAC), (S, "10.99.0.2"), protocol, 64, l4);
    let datagram = udp(S, "10.99.0.2", (53, 7), b"");
    let Ingress::Transit(packet) = bed.input(CORE, frame(17, &datagram)) else {
        panic!("handed up");
    };
    assert_eq!(
        packet.contents(),
        Contents::Datagram(Ports { src: 53, dst: 7 })
    );
    _ = bed.with(|net, cx, out| net.refuse(cx, &packet, out));
    assert_eq!(bed.sent_one().1[34..36], [3, 3]);
    assert_eq!(bed.count(Counter::DropLocal), 1);
    let reply = icmp(0, 0, [0, 7, 0, 1], b"");
    let Ingress::Transit(packet) = bed.input(CORE, frame(1, &reply)) else {
        panic!("handed up");
    };
    let query = Contents::Query {
        id: 7,
        request: false,
    };
    assert_eq!(packet.contents(), query);
    let request = icmp(8, 0, [0, 7, 0, 1], b"");
    assert!(matches!(
        bed.input(CORE, frame(1, &request)),
        Ingress::Done(_)
    ));
    assert_eq!(bed.sent_one().1[34], 0);
}

#[test]
fn what_a_packet_carries_is_found_behind_extension_headers() {
    let mut bed = Bed::acquainted();
    let addrs = ("fd00:1::2", "2001:db8::7");
    let datagram = [&[0, 7, 0, 53, 0, 8, 0, 0][..]].concat();
    let options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &datagram].concat();
    let first = [&[17, 0, 0, 1, 0, 0, 0, 9][..], &datagram].concat();
    let later = [&[17, 0, 0, 8, 0, 0, 0, 9][..], &datagram].concat();
    let ports = Contents::Datagram(Ports { src: 7, dst: 53 });
    for (next, l4, want, id) in [
        (17, &datagram, ports, None),
        (60, &options, ports, None),
        (44, &first, ports, Some(9)),
        (44, &later, Contents::LaterFragment, Some(9)),
        (60, &vec![17], Contents::Other(60), None),
    ] {
        let frame = packet((ACCESS, CLIENT_MAC), addrs, next, 64, l4);
        let Ingress::Transit(packet) = bed.input(ACCESS, frame) else {
            panic!("in transit");
        };
        assert_eq!(packet.contents(), want);
        assert_eq!(packet.fragment_id().map(|fragment| fragment.id), id);
    }
}
