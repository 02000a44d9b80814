//! Packets that are not ours.

use super::*;

const UDP: u8 = 17;
const FROM_CLIENT: (PortId, [u8; 6]) = (ACCESS, CLIENT_MAC);
const V4: (&str, &str) = ("10.1.0.2", "198.51.100.7");
const V6: (&str, &str) = ("fd00:1::2", "2001:db8::7");

#[test]
fn transit_changes_ttl_and_stations_and_nothing_else() {
    for (addrs, ttl_at) in [(V4, 22), (V6, 21)] {
        for protocol in [UDP, 47, 50, 132, 41] {
            let mut bed = Bed::acquainted();
            let frame = packet(FROM_CLIENT, addrs, protocol, 64, b"anything at all");
            bed.route(ACCESS, frame.clone());
            let (port, sent) = bed.sent_one();
            assert_eq!(port, CORE);
            let mut expected = frame;
            expected[..6].copy_from_slice(&SERVER_MAC);
            expected[6..12].copy_from_slice(&mac(CORE));
            expected[ttl_at] = 63;
            if ttl_at == 22 {
                edit_ipv4(&mut expected, |_| {});
            }
            assert_eq!(sent, expected);
            assert_eq!(bed.counted(), [(Counter::Forwarded, 1)]);
        }
    }
}

#[test]
fn the_payload_is_referenced_where_it_was_received() {
    let mut bed = Bed::acquainted();
    let received = Buf(packet(FROM_CLIENT, V4, UDP, 64, b"payload").into());
    let frame = Slice::new(received.clone());
    let ingress = bed.with(|net, cx, out| net.input(cx, ACCESS, frame, RxChecksum::Unknown, out));
    let Ingress::Transit(packet) = ingress else {
        panic!("{ingress:?}");
    };
    _ = bed.with(|net, cx, out| net.forward(cx, packet, out));
    let frame = bed.out.pop().unwrap();
    assert_eq!(frame.payload.len(), 1);
    assert!(
        received
            .0
            .as_ptr_range()
            .contains(&frame.payload[0].bytes().as_ptr())
    );
}

#[test]
fn the_checksum_after_ttl_is_right_for_every_header() {
    // RFC 1624 4: the corner is where the old checksum is 0xffff or 0x0000.
    let mut bed = Bed::acquainted();
    for id in 0..=u16::MAX {
        let mut frame = packet(FROM_CLIENT, V4, UDP, 2, b"x");
        edit_ipv4(&mut frame, |ip| ip[4..6].copy_from_slice(&id.to_be_bytes()));
        bed.route(ACCESS, frame);
        let (_, sent) = bed.sent_one();
        assert!(
            Ipv4Packet::new_checked(&sent[14..])
                .unwrap()
                .verify_checksum(),
            "id {id}"
        );
    }
}

#[test]
fn ethernet_padding_is_not_passed_on() {
    let mut bed = Bed::acquainted();
    let frame = packet(FROM_CLIENT, V4, UDP, 64, b"x");
    let len = frame.len();
    bed.route(ACCESS, [frame, vec![0xee; 25]].concat());
    assert_eq!(bed.sent_one().1.len(), len);
}

#[test]
fn fragments_are_no_segments_and_options_and_extension_headers_are_looked_behind() {
    let segment = tcp_segment(V4, 0x02, &[2, 4, 5, 180], b"");
    let plain = packet(FROM_CLIENT, V4, 6, 64, &segment);
    let mut first = plain.clone();
    edit_ipv4(&mut first, |ip| ip[6] = 0x20);
    let mut last = plain.clone();
    edit_ipv4(&mut last, |ip| ip[7] = 1);
    let mut options = plain.clone();
    options.splice(34..34, [1, 1, 1, 0]);
    options[14] = 0x46;
    options[17] += 4;
    edit_ipv4(&mut options, |_| {});
    let extension = [
        &[6, 0, 1, 4, 0, 0, 0, 0][..],
        &tcp_segment(V6, 0x02, &[], b""),
    ]
    .concat();
    let extended = packet(FROM_CLIENT, V6, 60, 64, &extension);
    let fragment = |offset: u8| {
        let header = [6, 0, 0, offset | 1, 0, 0, 0, 9];
        let segment = tcp_segment(V6, 0x02, &[], b"");
        packet(FROM_CLIENT, V6, 44, 64, &[&header[..], &segment].concat())
    };
    let unknown = packet(FROM_CLIENT, V6, 135, 64, &extension);
    for (name, frame, ports) in [
        ("first", first, true),
        ("last", last, false),
        ("first of IPv6", fragment(0), true),
        ("second of IPv6", fragment(8), false),
        ("unknown extension", unknown, false),
    ] {
        let mut bed = Bed::acquainted();
        let told = match bed.input(ACCESS, frame) {
            Ingress::Opaque(opaque) => {
                assert_eq!(opaque.why, Counter::DropUnread, "{name}");
                Some((opaque.tuple.src_port, opaque.tuple.dst_port))
            },
            Ingress::Transit(_) => None,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(told, ports.then_some((40_000, 80)), "{name}");
    }
    for (name, frame) in [("options", options), ("extension", extended)] {
        let mut bed = Bed::acquainted();
        let Ingress::Tcp(arrival) = bed.input(ACCESS, frame.clone()) else {
            panic!("{name}: no segment");
        };
        let tuple = arrival.segment.tuple;
        assert_eq!((tuple.src_port, tuple.dst_port), (40_000, 80), "{name}");
        assert!(!arrival.packet.is_plain(), "{name}");
        // Edited or not, what stands before the segment goes on with it, and the lengths are right.
        _ = bed.with(|net, cx, out| net.forward_syn(cx, &arrival, SynEdit::default(), out));
        _ = bed.with(|net, cx, out| net.forward(cx, arrival.packet, out));
        let sent = bed.sent();
        assert_eq!(sent.len(), 2, "{name}");
        assert_eq!(sent[0], sent[1], "{name}");
        assert_eq!(sent[0].1.len(), frame.len(), "{name}");
    }
    let ingress = Bed::acquainted().input(ACCESS, plain);
    assert!(
        matches!(ingress, Ingress::Tcp(TcpArrival { local: false, .. })),
        "{ingress:?}"
    );
}

#[test]
fn what_no_router_passes_on_is_dropped_by_name() {
    let udp = |addrs, ttl| packet(FROM_CLIENT, addrs, UDP, ttl, b"x");
    let to = |dst: [u8; 6], mut frame: Vec<u8>| {
        frame[..6].copy_from_slice(&dst);
        frame
    };
    let mut bad_sum = udp(V4, 64);
    bad_sum[24] ^= 1;
    let mut long = udp(V4, 64);
    long[17] += 1;
    let mut version = udp(V6, 64);
    version[14] = 0x50;
    let rows: Vec<(&str, Vec<u8>, Counter)> = vec![
        (
            "another station",
            to([2, 9, 9, 9, 9, 9], udp(V4, 64)),
            Counter::DropNotOurs,
        ),
        (
            "unicast by broadcast",
            to([0xff; 6], udp(V4, 64)),
            Counter::DropGroup,
        ),
        ("empty", vec![], Counter::DropMalformed),
        (
            "ethernet alone",
            udp(V4, 64)[..14].to_vec(),
            Counter::DropMalformed,
        ),
        ("header checksum", bad_sum, Counter::DropChecksum),
        ("longer than the frame", long, Counter::DropMalformed),
        ("version", version, Counter::DropMalformed),
        (
            "source multicast",
            udp(("224.0.0.5", V4.1), 64),
            Counter::DropMartian,
        ),
        (
            "source loopback",
            udp(("127.0.0.1", V4.1), 64),
            Counter::DropMartian,
        ),
        (
            "source zero",
            udp(("0.0.0.0", V4.1), 64),
            Counter::DropMartian,
        ),
        (
            "source reserved",
            udp(("240.0.0.1", V4.1), 64),
            Counter::DropMartian,
        ),
        (
            "source ourselves",
            udp(("10.1.0.1", V4.1), 64),
            Counter::DropMartian,
        ),
        (
            "source a broadcast",
            udp(("10.1.0.255", V4.1), 64),
            Counter::DropMartian,
        ),
        (
            "source unspecified",
            udp(("::", V6.1), 64),
            Counter::DropMartian,
        ),
        (
            "source v6 loopback",
            udp(("::1", V6.1), 64),
            Counter::DropMartian,
        ),
        (
            "source v6 multicast",
            udp(("ff02::1", V6.1), 64),
            Counter::DropMartian,
        ),
        (
            "source v4-mapped",
            udp(("::ffff:10.1.0.2", V6.1), 64),
            Counter::DropMartian,
        ),
        (
            "to loopback",
            udp((V4.0, "127.0.0.1"), 64),
            Counter::DropMartian,
        ),
        (
            "to multicast",
            udp((V4.0, "224.0.0.251"), 64),
            Counter::DropGroup,
        ),
        (
            "to broadcast",
            udp((V4.0, "255.255.255.255"), 64),
            Counter::DropGroup,
        ),
        (
            "to another network's broadcast",
            udp((V4.0, "10.9.0.255"), 64),
            Counter::DropGroup,
        ),
        (
            "to v6 multicast",
            udp((V6.0, "ff02::fb"), 64),
            Counter::DropGroup,
        ),
        (
            "from link-local",
            udp(("fe80::5", V6.1), 64),
            Counter::DropScope,
        ),
        (
            "from v4 link-local",
            udp(("169.254.1.1", V4.1), 64),
            Counter::DropScope,
        ),
        (
            "vlan",
            {
                let mut f = udp(V4, 64);
                f[12..14].copy_from_slice(&[0x81, 0]);
                f
            },
            Counter::DropVlan,
        ),
    ];
    for (name, frame, counter) in rows {
        let mut bed = Bed::acquainted();
        bed.route(ACCESS, frame);
        assert_eq!(bed.counted(), [(counter, 1)], "{name}");
        assert_eq!(bed.sent(), [], "{name}");
    }
}

#[test]
fn a_device_that_found_a_checksum_wrong_is_believed_about_what_is_ours() {
    let ours = ("10.1.0.2", "10.99.0.2");
    let mut bed = Bed::acquainted();
    let frame = packet(FROM_CLIENT, ours, 6, 64, &tcp_segment(ours, 2, &[], b""));
    assert!(matches!(
        bed.input_as(ACCESS, frame, RxChecksum::Bad),
        Ingress::Done(_)
    ));
    assert_eq!(bed.counted(), [(Counter::DropChecksum, 1)]);
    // What is in transit passes: its receiver checks for itself.
    let frame = packet(FROM_CLIENT, V4, 6, 64, &tcp_segment(V4, 2, &[], b""));
    let ingress = bed.input_as(ACCESS, frame, RxChecksum::Bad);
    assert!(
        matches!(&ingress, Ingress::Opaque(opaque) if opaque.why == Counter::DropChecksum),
        "{ingress:?}"
    );
    let frame = packet(FROM_CLIENT, V4, UDP, 64, &[0; 12]);
    assert!(matches!(
        bed.input_as(ACCESS, frame, RxChecksum::Bad),
        Ingress::Transit(_)
    ));
}

#[test]
fn a_packet_that_may_be_cut_is_cut_and_fits_together_again() {
    let mut config = config();
    // Not a multiple of eight octets behind either header.
    config.interfaces[2].mtu = 1302;
    let mut bed = Bed::of(config);
    bed.acquaint(CORE, SERVER_MAC, ip("10.9.0.2"));
    let payload: Vec<u8> = (0..1400u16).map(|n| n.to_be_bytes()[1]).collect();
    // Already the middle of a packet, with an option that is copied and one that is not.
    let mut frame = packet(FROM_CLIENT, V4, UDP, 64, &payload);
    frame.splice(34..34, [0x94, 4, 0, 0, 7, 3, 4, 0]);
    frame[14] = 0x47;
    let total = u16::try_from(frame.len() - 14).unwrap();
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    edit_ipv4(&mut frame, |ip| {
        ip[4..8].copy_from_slice(&[0x12, 0x34, 0x20, 10]);
    });
    bed.route(ACCESS, frame);
    assert_eq!(bed.counted(), [(Counter::Fragmented, 1)]);
    let sent = bed.sent();
    let mut seen = vec![0; payload.len()];
    for (n, (_, frame)) in sent.iter().enumerate() {
        assert!(frame.len() - 14 <= 1302);
        let part = Ipv4Packet::new_checked(&frame[14..]).unwrap();
        assert!(part.verify_checksum() && part.more_frags());
        assert_eq!((part.ident(), part.hop_limit()), (0x1234, 63));
        assert_eq!(part.header_len(), if n == 0 { 28 } else { 24 });
        assert_eq!(frame[34..38], [0x94, 4, 0, 0]);
        let at = usize::from(part.frag_offset()) - 80;
        seen[at..at + part.payload().len()].copy_from_slice(part.payload());
    }
    assert_eq!(sent.len(), 2);
    assert_eq!(seen, payload);
}

#[test]
fn the_last_fragment_of_a_whole_packet_says_so() {
    let mut config = config();
    config.interfaces[2].mtu = 1280;
    let mut bed = Bed::of(config);
    bed.acquaint(CORE, SERVER_MAC, ip("10.9.0.2"));
    let mut frame = packet(FROM_CLIENT, V4, UDP, 64, &[7; 1400]);
    edit_ipv4(&mut frame, |ip| ip[6] = 0);
    bed.route(ACCESS, frame);
    let more: Vec<_> = bed
        .sent()
        .iter()
        .map(|(_, frame)| frame[20] & 0x20 != 0)
        .collect();
    assert_eq!(more, [true, false]);
}

/// Groups of more than a link's scope have one way on, by the port they came by; TCP has none, nor has what may not leave
/// its link.
#[test]
fn groups_go_from_port_to_port() {
    let grouped = || {
        Bed::of(NetConfig {
            groups: vec![(ACCESS, CORE)],
            ..config()
        })
    };
    let rows = [
        (V4.0, "239.7.7.7", [0x01, 0x00, 0x5e, 7, 7, 7], 22),
        (V4.0, "232.200.1.2", [0x01, 0x00, 0x5e, 72, 1, 2], 22),
        (V6.0, "ff05::1:3", [0x33, 0x33, 0, 1, 0, 3], 21),
    ];
    for (src, group, station, ttl_at) in rows {
        let mut bed = grouped();
        let mut frame = packet(FROM_CLIENT, (src, group), UDP, 64, b"to many");
        frame[..6].copy_from_slice(&station);
        bed.route(ACCESS, frame.clone());
        let (port, sent) = bed.sent_one();
        assert_eq!(port, CORE);
        frame[6..12].copy_from_slice(&mac(CORE));
        frame[ttl_at] = 63;
        if ttl_at == 22 {
            edit_ipv4(&mut frame, |_| {});
        }
        assert_eq!(sent, frame, "{group}");
    }
    let stay = [
        (ACCESS, "224.0.0.251", UDP, 64),
        (ACCESS, "ff02::fb", UDP, 64),
        (ACCESS, "239.7.7.7", 6, 64),
        (SECOND, "239.7.7.7", UDP, 64),
        (ACCESS, "239.7.7.7", UDP, 1),
    ];
    for (port, group, protocol, ttl) in stay {
        let src = if group.contains(':') { V6.0 } else { V4.0 };
        let mut bed = grouped();
        let frame = packet((port, CLIENT_MAC), (src, group), protocol, ttl, b"to many");
        bed.route(port, frame);
        assert_eq!(bed.out.len(), 0, "{group} by {port:?}, protocol {protocol}");
    }
}
