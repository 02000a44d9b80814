use super::*;
use crate::buf::{Header, PacketBuf, RxChecksum};
use crate::checksum::Sum;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use proptest::prelude::*;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpAddress, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber, TcpTimestampRepr};

#[derive(Clone, Debug)]
struct Buf(Vec<u8>);

impl PacketBuf for Buf {
    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

const SRC: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
const DST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2));
const SRC6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 2));
const DST6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 2));

fn slice(bytes: &[u8]) -> Slice<Buf> {
    Slice::new(Buf(bytes.to_vec()))
}

fn options(bytes: &[u8]) -> Option<Options> {
    parse_options(bytes)
}

#[test]
fn t18_options_table() {
    let none = Options::default();
    let rows: &[(&str, &[u8], Option<Options>)] = &[
        ("none", &[], Some(none.clone())),
        ("nops and end", &[1, 1, 0, 99], Some(none.clone())),
        (
            "mss",
            &[2, 4, 5, 180],
            Some(Options {
                mss: Some(1460),
                ..none.clone()
            }),
        ),
        (
            "first mss counts",
            &[2, 4, 5, 180, 2, 4, 0, 1],
            Some(Options {
                mss: Some(1460),
                ..none.clone()
            }),
        ),
        ("mss of a wrong length", &[2, 3, 5, 1], None),
        (
            "wscale beyond 14",
            &[3, 3, 15, 0],
            Some(Options {
                wscale: Some(14),
                ..none.clone()
            }),
        ),
        (
            "sack permitted",
            &[4, 2],
            Some(Options {
                sack_permitted: true,
                ..none.clone()
            }),
        ),
        (
            "timestamps",
            &[8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
            Some(Options {
                ts: Some(Timestamps { val: 1, ecr: 2 }),
                ..none.clone()
            }),
        ),
        ("timestamps cut short", &[8, 10, 0, 0, 0, 1], None),
        ("length zero", &[254, 0, 0, 0], None),
        ("length one", &[254, 1, 0, 0], None),
        ("a kind without its length", &[1, 1, 1, 254], None),
        (
            "unknown is skipped",
            &[254, 4, 9, 9, 4, 2],
            Some(Options {
                sack_permitted: true,
                ..none.clone()
            }),
        ),
        (
            "md5",
            &[19, 2],
            Some(Options {
                authenticated: true,
                ..none.clone()
            }),
        ),
        (
            "ao",
            &[29, 4, 0, 0],
            Some(Options {
                authenticated: true,
                ..none.clone()
            }),
        ),
        (
            "fast open",
            &[34, 2],
            Some(Options {
                fast_open: true,
                ..none.clone()
            }),
        ),
        (
            "two of kind 30 stay whole and in order",
            &[30, 4, 1, 2, 1, 30, 3, 7],
            Some(Options {
                mptcp: [30, 4, 1, 2, 30, 3, 7].into_iter().collect(),
                ..none
            }),
        ),
        ("sack of a wrong length", &[5, 6, 0, 0, 0, 0], None),
    ];
    for (name, bytes, expected) in rows {
        assert_eq!(options(bytes), *expected, "{name}");
    }
}

#[test]
fn t18_a_data_offset_beyond_the_end_or_below_five_is_malformed() {
    for offset in [0, 4, 6, 15] {
        let mut bytes = [0; 20];
        bytes[12] = offset << 4;
        let parsed = parse(slice(&bytes), SRC, DST, 0, RxChecksum::Good);
        assert_eq!(
            parsed.unwrap_err(),
            ParseError::Malformed,
            "offset {offset}"
        );
    }
}

#[test]
fn bug13_full_header_unpads_timestamps_for_the_longest_add_addr() {
    // BUG13 of the field: an IPv6 address with port takes 30 octets, beside timestamps 10.
    let options = Options {
        ts: Some(Timestamps { val: 1, ecr: 2 }),
        mptcp: [30, 30].into_iter().chain([7; 28]).collect(),
        ..Options::default()
    };
    assert_eq!(options_len(&options), 40);
    let bytes = emitted(&out_segment(options.clone(), &[]), SRC, DST);
    assert_eq!(bytes[20..22], [8, 10]);
    let parsed = parse(slice(&bytes), SRC, DST, 0, RxChecksum::Unknown).unwrap();
    assert_eq!(parsed.options, options);
}

#[test]
fn aligned_timestamps_stand_as_everybody_writes_them() {
    let options = Options {
        ts: Some(Timestamps { val: 1, ecr: 2 }),
        ..Options::default()
    };
    let bytes = emitted(&out_segment(options, &[]), SRC, DST);
    assert_eq!(bytes[20..], [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
}

#[test]
fn a_payload_that_the_port_verified_is_not_read() {
    let payload = [1, 2, 3, 4];
    let mut bytes = emitted(&out_segment(Options::default(), &payload), SRC, DST);
    // Whoever read the octets would take this for the payload; the checksum knows better, so that the receiver sees it.
    *bytes.last_mut().unwrap() ^= 0xff;
    let parsed = parse(slice(&bytes), SRC, DST, 0, RxChecksum::Good).unwrap();
    assert_eq!(parsed.payload.known_sum(), Some(Sum::of(&payload)));
}

fn out_segment(options: Options, payload: &[u8]) -> OutSegment<Buf> {
    OutSegment {
        ect: false,
        seq: SeqNum(0xffff_fff0),
        ack: SeqNum(77),
        flags: Flags::ACK.with(Flags::PSH),
        wnd: 501,
        options,
        payload: Some(slice(payload)),
    }
}

fn emitted(segment: &OutSegment<Buf>, src: IpAddr, dst: IpAddr) -> Vec<u8> {
    let tuple = Tuple {
        src,
        dst,
        src_port: 1234,
        dst_port: 80,
    };
    let mut header = Header::default();
    emit(segment, &tuple, &mut header);
    assert_eq!(header.len(), HEADER_MIN + options_len(&segment.options));
    let mut bytes = header.bytes().to_vec();
    if let Some(part) = &segment.payload {
        bytes.extend_from_slice(part.bytes());
    }
    bytes
}

fn any_options() -> impl Strategy<Value = Options> {
    let mptcp = prop_oneof![
        Just(Vec::new()),
        prop::collection::vec(any::<u8>(), 0..28).prop_map(|body| {
            let len = u8::try_from(body.len() + 2).unwrap();
            [vec![30, len], body].concat()
        }),
    ];
    let sack = prop::collection::vec((any::<u32>(), any::<u32>()), 0..=3);
    (
        any::<Option<u16>>(),
        prop::option::of(0..=14u8),
        any::<bool>(),
        sack,
        any::<Option<(u32, u32)>>(),
        mptcp,
    )
        .prop_map(|(mss, wscale, sack_permitted, sack, ts, mptcp)| Options {
            mss,
            wscale,
            sack_permitted,
            sack: sack
                .into_iter()
                .map(|(start, end)| SackBlock {
                    start: SeqNum(start),
                    end: SeqNum(end),
                })
                .collect(),
            ts: ts.map(|(val, ecr)| Timestamps { val, ecr }),
            mptcp: mptcp.into_iter().collect(),
            authenticated: false,
            fast_open: false,
        })
        .prop_filter("more than a header holds", |options| {
            options_len(options) <= OPTIONS_MAX
        })
}

proptest! {
    #[test]
    fn t18_what_is_emitted_parses_to_the_same(
        options in any_options(),
        payload: Vec<u8>,
        flags: u8,
        v6: bool,
    ) {
        let (src, dst) = if v6 { (SRC6, DST6) } else { (SRC, DST) };
        let out = OutSegment { flags: Flags(flags), ..out_segment(options, &payload) };
        let bytes = emitted(&out, src, dst);
        for checksum in [RxChecksum::Unknown, RxChecksum::Good] {
            let parsed = parse(slice(&bytes), src, dst, 3, checksum).unwrap();
            prop_assert_eq!(parsed.tuple, Tuple { src, dst, src_port: 1234, dst_port: 80 });
            prop_assert_eq!((parsed.seq, parsed.ack, parsed.flags), (out.seq, out.ack, out.flags));
            prop_assert_eq!((parsed.wnd, parsed.tos), (out.wnd, 3));
            prop_assert_eq!(&parsed.options, &out.options);
            prop_assert_eq!(parsed.payload.bytes(), &payload);
            // The remembered sum is that of the octets; ones-complement zero has two forms.
            let sum = parsed.payload.known_sum().unwrap();
            let whole = Sum::of(&[&[1, 2][..], &payload].concat());
            prop_assert_eq!(Sum::of(&[1, 2]).then(sum), whole);
        }
    }

    #[test]
    fn t18_one_flipped_bit_is_seen(options in any_options(), payload: Vec<u8>, at: prop::sample::Index, bit in 0..8u8) {
        let mut bytes = emitted(&out_segment(options, &payload), SRC, DST);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(parse(slice(&bytes), SRC, DST, 0, RxChecksum::Unknown).is_err());
    }

    #[test]
    fn random_octets_never_panic(bytes: Vec<u8>, offset in 5..16u8) {
        let mut bytes = bytes;
        let _ = parse_options(&bytes);
        let _ = parse(slice(&bytes), SRC, DST, 0, RxChecksum::Good);
        if let Some(byte) = bytes.get_mut(12) {
            *byte = offset << 4;
        }
        let _ = parse(slice(&bytes), SRC6, DST6, 0, RxChecksum::Good);
    }

    #[test]
    fn smoltcp_reads_what_is_emitted(
        mss: Option<u16>,
        wscale in prop::option::of(0..=14u8),
        ts: Option<(u32, u32)>,
        payload: Vec<u8>,
        v6: bool,
    ) {
        let (src, dst) = if v6 { (SRC6, DST6) } else { (SRC, DST) };
        let options = Options {
            mss,
            wscale,
            sack_permitted: true,
            ts: ts.map(|(val, ecr)| Timestamps { val, ecr }),
            ..Options::default()
        };
        let bytes = emitted(&OutSegment { flags: Flags::SYN, ..out_segment(options, &payload) }, src, dst);
        let packet = TcpPacket::new_checked(&bytes[..]).unwrap();
        let caps = ChecksumCapabilities::default();
        let repr = TcpRepr::parse(&packet, &IpAddress::from(src), &IpAddress::from(dst), &caps).unwrap();
        prop_assert_eq!(repr.control, TcpControl::Syn);
        prop_assert_eq!(repr.max_seg_size, mss);
        prop_assert_eq!(repr.window_scale, wscale);
        prop_assert!(repr.sack_permitted);
        prop_assert_eq!(repr.timestamp, ts.map(|(val, ecr)| TcpTimestampRepr::new(val, ecr)));
        prop_assert_eq!(repr.payload, &payload[..]);
    }

    #[test]
    fn smoltcp_writes_what_is_parsed(
        seq: i32,
        ack: i32,
        wnd: u16,
        ts: Option<(u32, u32)>,
        sack: Option<(u32, u32)>,
        payload: Vec<u8>,
        v6: bool,
    ) {
        let (src, dst) = if v6 { (SRC6, DST6) } else { (SRC, DST) };
        let repr = TcpRepr {
            src_port: 1234,
            dst_port: 80,
            control: TcpControl::Fin,
            seq_number: TcpSeqNumber(seq),
            ack_number: Some(TcpSeqNumber(ack)),
            window_len: wnd,
            window_scale: None,
            max_seg_size: None,
            sack_permitted: false,
            sack_ranges: [sack, None, None],
            timestamp: ts.map(|(val, ecr)| TcpTimestampRepr::new(val, ecr)),
            payload: &payload,
        };
        let mut bytes = vec![0; repr.buffer_len()];
        let caps = ChecksumCapabilities::default();
        let mut packet = TcpPacket::new_unchecked(&mut bytes[..]);
        repr.emit(&mut packet, &IpAddress::from(src), &IpAddress::from(dst), &caps);
        let parsed = parse(slice(&bytes), src, dst, 0, RxChecksum::Unknown).unwrap();
        prop_assert_eq!(parsed.seq.0, seq.cast_unsigned());
        prop_assert_eq!(parsed.ack.0, ack.cast_unsigned());
        prop_assert_eq!(parsed.flags, Flags::FIN.with(Flags::ACK));
        prop_assert_eq!(parsed.wnd, wnd);
        prop_assert_eq!(parsed.options.ts, ts.map(|(val, ecr)| Timestamps { val, ecr }));
        let blocks: Vec<_> = parsed.options.sack.iter().map(|b| (b.start.0, b.end.0)).collect();
        prop_assert_eq!(blocks, sack.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(parsed.payload.bytes(), &payload);
    }
}
