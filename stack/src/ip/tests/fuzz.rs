//! Whatever comes in: no panic, a name for every drop, and nothing out that is not IP.

use super::*;
use crate::flow::{Side, Tuple};
use crate::ip::Behind;
use crate::wire::tcp::{Flags, Segment};
use proptest::prelude::*;

fn addr(v6: bool) -> impl Strategy<Value = &'static str> {
    let addrs = if v6 {
        vec![
            "fd00:1::2",
            "fd00:9::2",
            "fd00:99::2",
            "fd00:1::1",
            "2001:db8::1",
            "ff02::1",
            "fe80::1",
            "::",
        ]
    } else {
        vec![
            "10.1.0.2",
            "10.9.0.2",
            "10.99.0.2",
            "10.1.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "169.254.0.1",
            "0.0.0.0",
        ]
    };
    prop::sample::select(addrs)
}

/// A frame that is right as far as Ethernet and IP go, or nearly.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..120);
    let protocol = prop_oneof![Just(6), Just(1), Just(58), Just(44), Just(0), any::<u8>()];
    let fields = any::<bool>().prop_flat_map(|v6| (addr(v6), addr(v6)));
    let options = prop::collection::vec(any::<u8>(), 0..10);
    let edits = prop::collection::vec((14..60usize, any::<u8>()), 0..3);
    (
        fields,
        protocol,
        body,
        any::<u8>(),
        options,
        edits,
        any::<bool>(),
    )
        .prop_map(|(addrs, protocol, body, ttl, options, edits, right)| {
            let l4 = match protocol {
                6 if right => {
                    let words = options.len() / 4 * 4;
                    tcp_segment(addrs, body.len().to_le_bytes()[0], &options[..words], &body)
                },
                _ => body,
            };
            let mut frame = packet((ACCESS, CLIENT_MAC), addrs, protocol, ttl, &l4);
            for (at, value) in edits {
                if let Some(byte) = frame.get_mut(at) {
                    *byte = value;
                }
            }
            if right && frame[14] == 0x45 {
                edit_ipv4(&mut frame, |_| {});
            }
            frame
        })
}

fn check(
    bed: &mut Bed,
    port: PortId,
    frame: Vec<u8>,
    checksum: RxChecksum,
) -> Result<(), TestCaseError> {
    let before = bed.ended();
    let frames = match bed.input_as(port, frame, checksum) {
        Ingress::Done(_) => 1,
        Ingress::Tcp(arrival) => {
            let edit = SynEdit {
                strip_mptcp: true,
                mss_max: Some(900),
                decline_accurate_ecn: true,
                add_mptcp: [30, 4, 1, 1].into_iter().collect(),
                translation: Translation::NONE,
            };
            _ = bed.with(|net, cx, out| net.forward_syn(cx, &arrival, edit, out));
            _ = bed.with(|net, cx, out| net.forward(cx, arrival.packet, out));
            2
        },
        Ingress::IcmpError(arrival) => {
            _ = bed.with(|net, cx, out| net.forward(cx, arrival.packet, out));
            1
        },
        Ingress::Opaque(Opaque { packet, .. }) | Ingress::Transit(packet) => {
            bed.with(|net, cx, out| {
                net.send_icmp_unreachable(cx, &packet, Unreachable::Prohibited, out);
                _ = net.forward_translated(cx, packet.clone(), &translate::OUT, out);
                _ = net.forward(cx, packet, out);
            });
            2
        },
    };
    prop_assert_eq!(bed.ended(), before + frames, "not one fate each");
    bed.pass(700);
    for (_, frame) in bed.sent() {
        match frame[12..14] {
            [0x08, 0x00] => {
                let header_len = usize::from(frame[14] & 0xf) * 4;
                prop_assert!(crate::checksum::Sum::of(&frame[14..14 + header_len]).is_intact());
                let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
                prop_assert_eq!(total + 14, frame.len());
            },
            [0x86, 0xdd] => {
                let total = usize::from(u16::from_be_bytes([frame[18], frame[19]]));
                prop_assert_eq!(total + 54, frame.len());
            },
            [0x08, 0x06] => {},
            _ => prop_assert!(false, "{:02x?}", frame),
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn random_octets(mut frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 1..10), ours: bool) {
        let mut bed = Bed::acquainted();
        for frame in &mut frames {
            if ours && frame.len() > 14 {
                frame[..6].copy_from_slice(&mac(ACCESS));
                let ethertype = [[0x08, 0x00], [0x08, 0x06], [0x86, 0xdd]][usize::from(frame[13]) % 3];
                frame[12..14].copy_from_slice(&ethertype);
            }
        }
        for frame in frames {
            let frame = Slice::new(Buf(frame.into()));
            let ingress = bed.with(|net, cx, out| net.input(cx, ACCESS, frame, RxChecksum::Unknown, out));
            if let Ingress::Transit(packet) = ingress {
                _ = bed.with(|net, cx, out| net.forward(cx, packet, out));
            }
        }
    }

    #[test]
    fn frames_that_are_nearly_right(frames in prop::collection::vec((frame(), 0..3usize), 1..10)) {
        let mut bed = Bed::acquainted();
        for (frame, said) in frames {
            let checksum = [RxChecksum::Good, RxChecksum::Unknown, RxChecksum::Partial][said];
            check(&mut bed, ACCESS, frame, checksum)?;
        }
    }

    #[test]
    fn the_short_way_leads_where_the_long_one_does(
        frames in prop::collection::vec((frame(), 0..3usize, prop::collection::vec(any::<u8>(), 0..3)), 1..10),
    ) {
        let (mut short, mut long) = (Bed::acquainted(), Bed::acquainted());
        // What was read before stands in it still.
        let mut head = Head::default();
        for (frame, good, padding) in frames {
            let checksum = [RxChecksum::Good, RxChecksum::Unknown, RxChecksum::Bad][good];
            let frame = [frame, padding].concat();
            let slice = Slice::new(Buf(frame.clone().into()));
            let side = |_: &Tuple| Side::Core;
            let read = short.net.head(ACCESS, (&slice, checksum), side, &mut head).is_some();
            if !read {
                short.input_as(ACCESS, frame.clone(), checksum);
            }
            let taken = long.input_as(ACCESS, frame, checksum);
            let plain = |packet: &Packet<Buf>| packet.l4 - packet.l3 == if packet.src.is_ipv4() { 20 } else { 40 };
            match taken {
                Ingress::Tcp(arrival) => {
                    prop_assert_eq!(read, plain(&arrival.packet));
                    if read {
                        let segment = short.with(|_, cx, _| Net::segment(cx, &head, slice.clone(), checksum)).unwrap();
                        prop_assert_eq!(head.key.tuple, arrival.segment.tuple);
                        prop_assert_eq!(head.frame_len(), arrival.packet.frame.len());
                        prop_assert_eq!(head.local, arrival.local);
                        prop_assert_eq!(head.has_option(&slice, 30), !arrival.segment.options.mptcp.is_empty());
                        prop_assert_eq!(segment.payload.bytes(), arrival.segment.payload.bytes());
                        prop_assert_eq!(format!("{segment:?}"), format!("{:?}", arrival.segment));
                        let again = short.with(|_, cx, _| Net::arrival(cx, &head, slice.clone(), checksum));
                        prop_assert_eq!(format!("{again:?}"), format!("{:?}", Ingress::Tcp(arrival.clone())));
                        _ = short.with(|net, cx, out| net.forward_head(cx, &head, (slice, RxChecksum::Unknown), out));
                        _ = long.with(|net, cx, out| net.forward(cx, arrival.packet, out));
                    }
                },
                Ingress::Opaque(opaque) if read => {
                    let again = short.with(|_, cx, _| Net::arrival(cx, &head, slice.clone(), checksum));
                    prop_assert_eq!(format!("{again:?}"), format!("{:?}", Ingress::Opaque(opaque.clone())));
                    _ = short.with(|net, cx, out| net.forward_head(cx, &head, (slice, RxChecksum::Unknown), out));
                    _ = long.with(|net, cx, out| net.forward(cx, opaque.packet, out));
                },
                // Sent to ourselves, and damaged.
                Ingress::Done(_) if read => {
                    let again = short.with(|_, cx, _| Net::arrival(cx, &head, slice, checksum));
                    prop_assert!(head.local && matches!(again, Ingress::Done(_)));
                },
                _ => prop_assert!(!read),
            }
            prop_assert_eq!(short.sent(), long.sent());
        }
        let forwarded = |bed: &Bed| bed.count(Counter::Forwarded);
        prop_assert_eq!(forwarded(&short), forwarded(&long));
    }

    #[test]
    fn what_follows_a_frame_of_its_flow_is_read_as_if_it_came_alone(
        v6: bool,
        body in prop::collection::vec(any::<u8>(), 20..60),
        tail in prop::collection::vec(any::<u8>(), 0..3),
        edits in prop::collection::vec((0..80usize, any::<u8>()), 0..3),
        right: bool,
        goes_on: bool,
    ) {
        let addrs = if v6 { ("fd00:1::2", "fd00:9::2") } else { ("10.1.0.2", "10.9.0.2") };
        let stamps = [1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 6];
        let first = packet((ACCESS, CLIENT_MAC), addrs, 6, 64, &tcp_segment(addrs, 0x10, &stamps[..12 * (body.len() % 2)], &body));
        let mut second = [first.clone(), tail].concat();
        if goes_on {
            let at = if v6 { 58 } else { 38 };
            let next = 1_000_000 + u32::try_from(body.len()).unwrap();
            second[at..at + 4].copy_from_slice(&next.to_be_bytes());
        }
        let edited = !edits.is_empty();
        for (at, value) in edits {
            second[at % first.len()] = value;
        }
        if right && !v6 {
            edit_ipv4(&mut second, |_| {});
        }
        // Lengths, identification and checksum of IPv4 may be different.
        let free: &[usize] = if v6 { &[18, 19] } else { &[16, 17, 18, 19, 24, 25] };
        let same = |at: usize| free.contains(&at) || first[at] == second[at];
        let same_ends = (0..if v6 { 58 } else { 38 }).all(same);
        let [first, second] = [first, second].map(|frame| Slice::new(Buf(frame.into())));
        let (mut bed, side) = (Bed::acquainted(), |_: &Tuple| Side::Core);
        let [mut before, mut alone, mut after] = [Head::default(); 3];
        let good = RxChecksum::Good;
        prop_assert!(bed.net.head(ACCESS, (&first, good), side, &mut before).is_some());
        let is_read = bed.net.head(ACCESS, (&second, good), side, &mut alone).is_some();
        let follows = after.follow(&second, (&first, &before));
        prop_assert_eq!(follows.is_some(), is_read && same_ends);
        if let Some(behind) = follows {
            prop_assert_eq!(format!("{after:?}"), format!("{alone:?}"));
            let options = after.options(&second) == before.options(&first);
            prop_assert!(options || behind != Behind::Same);
            prop_assert!(behind == Behind::Same || !goes_on || edited);
            let read = |bed: &mut Bed, head: &Head, frame: &Slice<Buf>| {
                bed.with(|_, cx, _| Net::segment(cx, head, frame.clone(), good))
            };
            // Options that differ may be anything.
            let this = read(&mut bed, &after, &second);
            prop_assert!(this.is_ok() || behind != Behind::Same);
            if let (Ok(this), true) = (this, behind != Behind::Apart) {
                let last = read(&mut bed, &before, &first).unwrap();
                let text = bed.with(|_, cx, _| Net::text(cx, &after, second.clone(), good)).unwrap();
                prop_assert_eq!(text.bytes(), this.payload.bytes());
                prop_assert_eq!(text.known_sum(), this.payload.known_sum());
                let expected = Segment {
                    seq: last.seq + last.seq_len(),
                    flags: last.flags.without(Flags::PSH).with(Flags(this.flags.0 & Flags::PSH.0)),
                    payload: this.payload.clone(),
                    options: if behind == Behind::Same { last.options } else { this.options.clone() },
                    ..last
                };
                prop_assert_eq!(format!("{this:?}"), format!("{expected:?}"));
            }
        }
    }

    #[test]
    fn neighbor_messages_that_are_nearly_right(
        bodies in prop::collection::vec((133..138u8, prop::collection::vec(any::<u8>(), 0..60), addr(true), addr(true), any::<bool>()), 1..10),
    ) {
        let mut bed = Bed::acquainted();
        for (kind, body, src, dst, target_ours) in bodies {
            let mut l4 = [&[kind, 0, 0, 0, 0xe0, 0, 0, 0][..], &body].concat();
            if target_ours && l4.len() >= 24 {
                let IpAddr::V6(target) = ip("fd00:1::1") else { unreachable!() };
                l4[8..24].copy_from_slice(&target.octets());
            }
            let (IpAddr::V6(from), IpAddr::V6(to)) = (ip(src), ip(dst)) else { unreachable!() };
            smoltcp::wire::Icmpv6Packet::new_unchecked(&mut l4[..]).fill_checksum(&from, &to);
            let frame = packet((ACCESS, CLIENT_MAC), (src, dst), 58, 255, &l4);
            bed.input(ACCESS, frame);
            bed.pass(300);
        }
    }
}
