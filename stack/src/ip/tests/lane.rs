//! Segments that leave one after another: what is found once for all of them, and when it is found anew.

use super::*;
use crate::buf::RxChecksum;
use crate::checksum::Sum;
use crate::flow::Tuple;
use crate::seq::SeqNum;
use crate::time::Duration;
use crate::wire::tcp::{Flags, Options, OutSegment, Timestamps, parse};
use proptest::prelude::*;

fn segment(len: usize) -> OutSegment<Buf> {
    OutSegment {
        seq: SeqNum(7),
        ack: SeqNum(9),
        flags: Flags::ACK,
        wnd: 100,
        ect: false,
        options: Options::default(),
        payload: (len > 0).then(|| Slice::new(Buf(vec![0x55; len].into()))),
    }
}

fn tuple(src: &str, dst: &str, src_port: u16) -> Tuple {
    Tuple {
        src: ip(src),
        dst: ip(dst),
        src_port,
        dst_port: 40_000,
    }
}

fn send(bed: &mut Bed, tuple: &Tuple, ip_out: IpOut, mut segment: OutSegment<Buf>) -> Vec<u8> {
    bed.with(|net, cx, out| net.send_tcp(cx, tuple, ip_out, &mut segment, out));
    assert!(segment.payload.is_none(), "it is in the frame");
    // The neighbor may be asked before.
    bed.sent().pop().unwrap().1
}

#[test]
fn what_differs_from_segment_to_segment_is_right_in_each() {
    let rows = [
        (0, 0, false),
        (1, 0xb8, false),
        (1_000, 0xb8, true),
        (1_400, 3, false),
        (33, 0xfc, true),
        (0, 0xff, false),
    ];
    let ends = [("198.51.100.7", "10.1.0.2"), ("2001:db8::7", "fd00:1::2")];
    for (at, (src, dst)) in ends.into_iter().cycle().take(4).enumerate() {
        let mut bed = Bed::acquainted();
        if at >= 2 {
            // The device completes them; here who looks at them does.
            bed.net.summing.push(ACCESS);
        }
        let mut ids = Vec::new();
        for (at, (len, tos, ect)) in rows.into_iter().cycle().take(200).enumerate() {
            // From time to time another connection comes in between.
            let tuple = tuple(src, dst, if at % 5 == 4 { 81 } else { 80 });
            let ip_out = IpOut {
                tos,
                ttl: if at % 7 == 6 { 61 } else { 64 },
            };
            let sent = send(
                &mut bed,
                &tuple,
                ip_out,
                OutSegment {
                    ect,
                    ..segment(len)
                },
            );
            let tos = tos | if ect { 2 } else { 0 };
            let found = if tuple.src.is_ipv4() {
                assert!(Sum::of(&sent[14..34]).is_intact(), "checksum of {at}");
                assert_eq!(usize::from(sent[16]) << 8 | usize::from(sent[17]), 40 + len);
                ids.push(u16::from_be_bytes([sent[18], sent[19]]));
                (sent[15], sent[22])
            } else {
                assert_eq!(usize::from(sent[18]) << 8 | usize::from(sent[19]), 20 + len);
                (sent[14] << 4 | sent[15] >> 4, sent[21])
            };
            assert_eq!(found, (tos, ip_out.ttl), "{at}");
            let (from, to, l4) = l4_of(&sent);
            let l4 = Slice::new(Buf(l4.into()));
            let parsed = parse(l4, from, to, 0, RxChecksum::Unknown).unwrap();
            assert_eq!(parsed.tuple, tuple, "{at}");
            assert_eq!(parsed.payload.bytes(), vec![0x55; len], "{at}");
        }
        assert!(ids.is_sorted_by(|a, b| *b == a + 1), "{ids:?}");
    }
}

#[test]
fn a_neighbor_that_moved_gets_the_next_segment() {
    let mut bed = Bed::acquainted();
    let tuple = tuple("198.51.100.7", "10.1.0.2", 80);
    let to = |bed: &mut Bed| send(bed, &tuple, IpOut::default(), segment(5))[..6].to_vec();
    assert_eq!(to(&mut bed), CLIENT_MAC);
    assert_eq!(to(&mut bed), CLIENT_MAC);
    // A first answer is believed for a moment.
    bed.now = bed.now + Duration::from_secs(2);
    assert_eq!(to(&mut bed), CLIENT_MAC);
    let moved = [2, 0, 0, 0, 0xaa, 1];
    bed.acquaint(ACCESS, moved, tuple.dst);
    assert_eq!(to(&mut bed), moved);
}

#[test]
fn a_full_queue_is_that_of_the_port_by_which_the_last_segment_left() {
    let mut bed = Bed::acquainted();
    let to_client = tuple("198.51.100.7", "10.1.0.2", 80);
    let to_server = tuple("198.51.100.8", "10.9.0.2", 80);
    let crowded = |bed: &mut Bed, tuple| {
        send(bed, tuple, IpOut::default(), segment(5));
        bed.net.is_crowded()
    };
    bed.net.set_crowded(ACCESS, true);
    bed.net.set_crowded(ACCESS, true);
    assert!(crowded(&mut bed, &to_client));
    assert!(!crowded(&mut bed, &to_server));
    bed.net.set_crowded(ACCESS, false);
    assert!(!crowded(&mut bed, &to_client));
}

/// Segments with data that leave in a row, and the frames that they become: each on its own, and each but the first as one more.
fn rows_of(
    tuple: &Tuple,
    summing: bool,
    segments: &[OutSegment<Buf>],
    more: bool,
) -> Vec<Frame<Buf>> {
    let mut bed = Bed::acquainted();
    if summing {
        bed.net.summing.push(ACCESS);
    }
    let ip_out = IpOut { tos: 0xb8, ttl: 64 };
    bed.with(|net, cx, out| {
        let mut leads = false;
        for segment in segments {
            let mut segment = segment.clone();
            if leads && more {
                net.send_more(cx, ip_out, &mut segment, out);
            } else {
                leads = net.send_tcp(cx, tuple, ip_out, &mut segment, out);
            }
        }
        out.clone()
    })
}

proptest! {
    #[test]
    fn what_is_sent_as_one_more_is_sent_as_anything_else(
        ipv6: bool,
        summing: bool,
        stamps in any::<Option<(u32, u32)>>(),
        (ack, wnd) in any::<(u32, u16)>(),
        rows in prop::collection::vec((any::<u32>(), any::<bool>(), 1..1_400_usize, any::<bool>(), any::<[u8; 28]>(), 0..8_u8), 1..12),
        upper in prop_oneof![2 => Just(0_usize), 4 => Just(26), 2 => Just(22), 4 => Just(18), 1 => Just(28), 1 => Just(12)],
    ) {
        let (src, dst) = if ipv6 { ("2001:db8::7", "fd00:1::2") } else { ("198.51.100.7", "10.1.0.2") };
        let tuple = tuple(src, dst, 80);
        let segments = rows.into_iter().map(|(seq, psh, len, known, octets, odd)| {
            let mut segment = segment(len);
            segment.seq = SeqNum(seq);
            segment.ack = SeqNum(ack);
            segment.wnd = wnd;
            if psh {
                segment.flags = segment.flags.with(Flags::PSH);
            }
            segment.options.ts = stamps.map(|(val, ecr)| Timestamps { val, ecr });
            // Now and then one has options of another length.
            let upper = if odd == 0 { 16 } else { upper };
            segment.options.mptcp = octets.into_iter().take(upper).collect();
            if let Some(payload) = segment.payload.as_mut().filter(|_| known) {
                payload.sum_once();
            }
            segment
        });
        let segments: Vec<_> = segments.collect();
        let [alone, more] = [false, true].map(|more| rows_of(&tuple, summing, &segments, more));
        prop_assert_eq!(alone.len(), more.len());
        for (alone, more) in alone.iter().zip(&more) {
            prop_assert_eq!(alone.header.bytes(), more.header.bytes());
            prop_assert_eq!((alone.port, alone.partial), (more.port, more.partial));
            prop_assert_eq!(alone.len(), more.len());
        }
    }
}

#[test]
fn one_more_that_is_too_long_for_the_link_is_not_sent() {
    let tuple = tuple("198.51.100.7", "10.1.0.2", 80);
    let long = 1_500 - 20 - 20;
    let rows = [segment(long), segment(long), segment(long + 1), segment(5)];
    let sent = rows_of(&tuple, false, &rows, true);
    let sent: Vec<_> = sent.iter().map(Frame::len).collect();
    assert_eq!(sent, [1_514, 1_514, 59]);
}
