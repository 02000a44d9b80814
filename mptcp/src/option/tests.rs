use super::{
    AddAddr, AddAddrProof, Capable, CapableFlags, CapableForm, Contradiction, Dss, Join, Malformed,
    Mapped, Mapping, MpOption, NoRoom, Packer, Prio, ResetReason, Subtype, TcpRst, data_dss,
    lone_dss, next_mapping, parse, space,
};
use crate::crypto::JoinHmac;
use crate::testing::{encoded, hex, key, octets};
use crate::types::{AddrId, Token, WireSeq};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use stack::wire::tcp::OptBytes;

fn one(text: &str) -> Result<MpOption, Malformed> {
    let bytes = octets(text);
    let mut options = parse(&bytes);
    let first = options.next().expect("an option");
    assert!(options.next().is_none(), "one option in {text}");
    first
}

/// `text` parses to `option`, and `option` emits the octets of `text`.
fn both_ways(text: &str, option: impl Into<MpOption>) {
    let option = option.into();
    assert_eq!(one(text), Ok(option.clone()), "{text}");
    let mut out = OptBytes::new();
    option.emit(&mut out).expect("fits");
    assert_eq!(out[..], octets(text), "{option:?}");
    assert_eq!(option.encoded_len(), out.len());
}

fn capable(version: u8, flags: u8, form: CapableForm) -> Capable {
    Capable {
        version,
        flags: CapableFlags(flags),
        form,
    }
}

#[test]
fn m1_m2_mp_capable_in_every_form() {
    let (sender, receiver) = (key("0102030405060708"), key("1112131415161718"));
    let a = "0102030405060708";
    let b = "1112131415161718";
    both_ways("1e04 0181", capable(1, 0x81, CapableForm::Bare));
    both_ways(
        &format!("1e0c 0001 {a}"),
        capable(0, 1, CapableForm::OneKey { sender }),
    );
    both_ways(
        &format!("1e0c 0121 {a}"),
        capable(1, 0x21, CapableForm::OneKey { sender }),
    );
    both_ways(
        &format!("1e14 0081 {a} {b}"),
        capable(0, 0x81, CapableForm::TwoKeys { sender, receiver }),
    );
    let data = |checksum| CapableForm::Data {
        sender,
        receiver,
        len: 100,
        checksum,
    };
    both_ways(
        &format!("1e16 0101 {a} {b} 0064"),
        capable(1, 1, data(None)),
    );
    both_ways(
        &format!("1e18 0181 {a} {b} 0064 3f2b"),
        capable(1, 0x81, data(Some(0x3f2b))),
    );
}

/// Flags 0x81, the first data of a checksummed connection, as a 6.18 kernel sent it.
#[test]
fn bug5_first_data_with_checksum_is_not_laid_out_like_a_dss() {
    let first = one("1e18 0181 6028d36faec348fb 80bbdf0d6bed5eab 0064 3f2b");
    let Ok(MpOption::Capable(Capable {
        form: CapableForm::Data { len, checksum, .. },
        ..
    })) = first
    else {
        panic!("{first:?}");
    };
    assert_eq!((len, checksum), (100, Some(0x3f2b)));
}

#[test]
fn m8_mp_join_in_every_form() {
    let id = AddrId(3);
    both_ways(
        "1e0c 1103 cfc3004f 04300dbf",
        Join::Syn {
            backup: true,
            id,
            token: Token(0xcfc3_004f),
            nonce: 0x0430_0dbf,
        },
    );
    both_ways(
        "1e10 1003 d2eb8ee72a41fcb7 1fc0be62",
        Join::SynAck {
            backup: false,
            id,
            hmac: hex("d2eb8ee72a41fcb7"),
            nonce: 0x1fc0_be62,
        },
    );
    both_ways(
        "1e18 1000 36ebbc92d0f8d8d3c18de6362fde4c5269051953",
        Join::Ack {
            hmac: JoinHmac::new(hex("36ebbc92d0f8d8d3c18de6362fde4c5269051953")),
        },
    );
}

#[test]
fn m13_dss_in_every_encoding() {
    let acks = [
        (None, 0, ""),
        (Some(WireSeq::Low(0x0a0b_0c0d)), 0x01, "0a0b0c0d"),
        (
            Some(WireSeq::Full(0x0102_0304_0a0b_0c0d)),
            0x03,
            "010203040a0b0c0d",
        ),
    ];
    let dsns = [
        (WireSeq::Low(0x1a1b_1c1d), 0x04, "1a1b1c1d"),
        (
            WireSeq::Full(0x1112_1314_1a1b_1c1d),
            0x0c,
            "111213141a1b1c1d",
        ),
    ];
    for (data_ack, ack_flags, ack_text) in acks {
        let len = 4 + ack_text.len() / 2;
        both_ways(
            &format!("1e{len:02x} 20{ack_flags:02x} {ack_text}"),
            Dss {
                data_ack,
                mapping: None,
            },
        );
        for (dsn, dsn_flags, dsn_text) in dsns {
            for (checksum, csum_text) in [(None, ""), (Some(0), "0000"), (Some(0xabcd), "abcd")] {
                for data_fin in [false, true] {
                    let flags = ack_flags | dsn_flags | if data_fin { 0x10 } else { 0 };
                    let body = format!("{ack_text}{dsn_text}000000010005{csum_text}");
                    let mapping = Some(Mapping {
                        dsn,
                        ssn: 1,
                        len: 5,
                        checksum,
                        data_fin,
                    });
                    both_ways(
                        &format!("1e{:02x} 20{flags:02x} {body}", 4 + body.len() / 2),
                        Dss { data_ack, mapping },
                    );
                }
            }
        }
    }
}

#[test]
fn m13_the_dss_of_data_is_laid_out_as_any_other() {
    let acks = [WireSeq::Full(0x0102_0304_0a0b_0c0d), WireSeq::Low(7)];
    let numbers = [WireSeq::Full(0x1112_1314_1a1b_1c1d), WireSeq::Low(9)];
    for data_ack in acks {
        for dsn in numbers {
            for checksum in [None, Some(0), Some(0xabcd)] {
                let dss = Dss {
                    data_ack: Some(data_ack),
                    mapping: Some(Mapping {
                        dsn,
                        ssn: 0x2122_2324,
                        len: 0x3132,
                        checksum,
                        data_fin: false,
                    }),
                };
                let octets = data_dss(data_ack, (dsn, 0x2122_2324, 0x3132), checksum);
                assert_eq!(octets, OptBytes::from(MpOption::from(dss)));
                assert_eq!(lone_dss(&octets), Some(dss));
            }
        }
    }
}

#[test]
fn a_dss_beside_something_else_is_not_alone() {
    let alone = octets("1e0c 2003 010203040a0b0c0d");
    assert!(lone_dss(&alone).is_some());
    let others = [
        "",
        "1e",
        "1e02",
        "1e0c 1003 010203040a0b0c0d",
        "1d0c 2003 010203040a0b0c0d",
        "1e0b 2003 010203040a0b0c",
        "1e0c 2001 010203040a0b0c0d",
        "1e0c 2003 010203040a0b0c0d 1e04 5000",
    ];
    for text in others {
        assert_eq!(lone_dss(&octets(text)), None, "{text}");
    }
}

#[test]
fn m13_dss_flags_without_their_field_mean_nothing() {
    // a without A, m and F without M.
    assert_eq!(one("1e04 201a"), Ok(Dss::default().into()));
}

fn mapping(len: u16, data_fin: bool, checksum: Option<u16>) -> Mapping {
    Mapping {
        dsn: WireSeq::Full(9),
        ssn: 1,
        len,
        checksum,
        data_fin,
    }
}

#[test]
fn bug7_length_payload_and_data_fin_are_taken_together() {
    let data = |octets, data_fin| Ok(Mapped::Data { octets, data_fin });
    let rows = [
        (0, false, 0, Ok(Mapped::Infinite)),
        (0, false, 100, Ok(Mapped::Infinite)),
        (0, true, 0, Err(Contradiction::FinWithoutLength)),
        (0, true, 100, Err(Contradiction::FinWithoutLength)),
        (1, true, 0, Ok(Mapped::DataFin)),
        (1, true, 100, Ok(Mapped::DataFin)),
        (2, true, 0, Err(Contradiction::FinWithoutData)),
        (65535, true, 0, Err(Contradiction::FinWithoutData)),
        (101, true, 100, data(100, true)),
        (2000, true, 100, data(1999, true)),
        (100, false, 100, data(100, false)),
        (100, false, 0, data(100, false)),
        (65535, false, 100, data(65535, false)),
    ];
    for (len, data_fin, payload, meaning) in rows {
        assert_eq!(
            mapping(len, data_fin, None).classify(payload),
            meaning,
            "length {len}, DATA_FIN {data_fin}, payload {payload}"
        );
    }
    assert_eq!(mapping(0, false, Some(0)).classify(9), Ok(Mapped::Infinite));
    assert_eq!(
        mapping(0, false, Some(1)).classify(9),
        Err(Contradiction::InfiniteChecksum)
    );
}

const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 9, 2, 2));

#[test]
fn m18_add_addr_in_every_form() {
    let v4 = "0a090202";
    let v6 = "20010db8000000000000000000000001";
    let hmac = "1803d71ef92f61f5";
    let proof = AddAddrProof::Hmac(hex(hmac));
    let id = AddrId(1);
    let rows = [
        (format!("1e08 3401 {v4}"), V4, None, AddAddrProof::V0),
        (
            format!("1e0a 3401 {v4} 1e61"),
            V4,
            Some(7777),
            AddAddrProof::V0,
        ),
        (format!("1e14 3601 {v6}"), V6, None, AddAddrProof::V0),
        (
            format!("1e16 3601 {v6} 1e61"),
            V6,
            Some(7777),
            AddAddrProof::V0,
        ),
        (format!("1e10 3001 {v4} {hmac}"), V4, None, proof),
        (format!("1e12 3001 {v4} 1e61 {hmac}"), V4, Some(7777), proof),
        (format!("1e1c 3001 {v6} {hmac}"), V6, None, proof),
        (format!("1e1e 3001 {v6} 1e61 {hmac}"), V6, Some(7777), proof),
        (format!("1e08 3101 {v4}"), V4, None, AddAddrProof::Echo),
        (
            format!("1e0a 3101 {v4} 1e61"),
            V4,
            Some(7777),
            AddAddrProof::Echo,
        ),
        (format!("1e14 3101 {v6}"), V6, None, AddAddrProof::Echo),
        (
            format!("1e16 3101 {v6} 1e61"),
            V6,
            Some(7777),
            AddAddrProof::Echo,
        ),
    ];
    for (text, addr, port, proof) in rows {
        both_ways(
            &text,
            AddAddr {
                id,
                addr,
                port,
                proof,
            },
        );
    }
}

#[test]
fn m18_add_addr_of_neither_version_is_malformed() {
    assert_eq!(one("1e08 3001 0a090202"), Err(Malformed::IpVersion(0)));
    assert_eq!(one("1e08 3601 0a090202"), Err(Malformed::IpVersion(6)));
    let length = |len| {
        Err(Malformed::Length {
            subtype: Subtype::AddAddr,
            len,
        })
    };
    assert_eq!(one("1e10 3101 0a090202 1803d71ef92f61f5"), length(16));
    assert_eq!(one("1e09 3101 0a090202 00"), length(9));
}

#[test]
fn m18_reserved_bits_of_add_addr_are_ignored() {
    let Ok(MpOption::AddAddr(add)) = one("1e10 3401 0a090202 1803d71ef92f61f5") else {
        panic!("version 1 with a reserved bit");
    };
    assert_eq!(add.proof, AddAddrProof::Hmac(hex("1803d71ef92f61f5")));
}

#[test]
fn m20_m21_m22_m23_m24_the_short_options() {
    let ids = |ids: &[u8]| MpOption::RemoveAddr(ids.iter().copied().map(AddrId).collect());
    both_ways("1e04 4007", ids(&[7]));
    both_ways("1e06 40070001", ids(&[7, 0, 1]));
    both_ways(
        "1e03 51",
        MpOption::Prio(Prio {
            backup: true,
            id: None,
        }),
    );
    both_ways(
        "1e04 5004",
        MpOption::Prio(Prio {
            backup: false,
            id: Some(AddrId(4)),
        }),
    );
    both_ways(
        "1e0c 6000 0102030405060708",
        MpOption::Fail {
            dsn: 0x0102_0304_0506_0708,
        },
    );
    both_ways(
        "1e0c 7000 0102030405060708",
        MpOption::Fastclose {
            receiver_key: key("0102030405060708"),
        },
    );
    let rst = |transient, reason| TcpRst { transient, reason };
    both_ways("1e04 8001", rst(false, ResetReason::MPTCP_SPECIFIC));
    both_ways("1e04 8106", rst(true, ResetReason::MIDDLEBOX_INTERFERENCE));
}

#[test]
fn unknown_subtypes_are_named_and_skipped() {
    let bytes = octets("1e03 90 1e07 f001020304 1e04 8002");
    let all: Vec<_> = parse(&bytes).collect();
    assert_eq!(
        all[..2],
        [
            Ok(MpOption::Unknown { subtype: 9 }),
            Ok(MpOption::Unknown { subtype: 15 })
        ]
    );
    assert!(matches!(all[2], Ok(MpOption::TcpRst(_))) && all.len() == 3);
    assert!(encoded(MpOption::Unknown { subtype: 9 }).is_empty());
}

#[test]
fn every_other_length_of_every_subtype_is_malformed() {
    for first in 0..=0x8f_u8 {
        for len in 3..=40_u8 {
            let mut bytes = vec![0; usize::from(len)];
            bytes[..3].copy_from_slice(&[30, len, first]);
            let parsed = parse(&bytes).next().expect("one option");
            let valid = match (first >> 4, first & 0x0f) {
                (0, _) => [4, 12, 20, 22, 24].contains(&len),
                (1, _) => [12, 16, 24].contains(&len),
                // Flags 0: neither a DATA_ACK nor a mapping.
                (2, _) => len == 4,
                (3, 4) => [8, 10, 16, 18, 28, 30].contains(&len),
                (3, 6) => [20, 22, 16, 18, 28, 30].contains(&len),
                (3, flags) if flags & 1 == 1 => [8, 10, 20, 22].contains(&len),
                (3, _) => [16, 18, 28, 30].contains(&len),
                (4, _) => len >= 4,
                (5, _) => len <= 4,
                (6 | 7, _) => len == 12,
                _ => len == 4,
            };
            assert_eq!(
                parsed.is_ok(),
                valid,
                "{first:#04x} length {len}: {parsed:?}"
            );
        }
    }
}

#[test]
fn t18_a_cut_or_foreign_option_ends_the_walk() {
    for (text, reason) in [
        ("1e", Malformed::Truncated),
        ("1e02", Malformed::Truncated),
        ("1e00", Malformed::Truncated),
        ("1e0c 0101", Malformed::Truncated),
        ("0101", Malformed::Kind),
        ("08 0a 0000", Malformed::Kind),
    ] {
        let bytes = octets(text);
        assert_eq!(parse(&bytes).collect::<Vec<_>>(), [Err(reason)], "{text}");
    }
}

#[test]
fn an_option_that_does_not_fit_leaves_the_octets_alone() {
    let mut out = OptBytes::new();
    let join = MpOption::from(Join::Ack {
        hmac: JoinHmac::new([1; 20]),
    });
    assert_eq!(join.emit(&mut out), Ok(()));
    assert_eq!(join.emit(&mut out), Err(NoRoom { needed: 24 }));
    assert_eq!(out.len(), 24);
}

/// What an ADD_ADDR shares a segment with: {timestamps} x {IPv4, IPv6} x {port} x {echo}, beside a 64-bit DATA_ACK.
#[test]
fn bug12_bug13_add_addr_fits_beside_timestamps_or_goes_without_a_dss() {
    let ack = MpOption::from(Dss {
        data_ack: Some(WireSeq::Full(1)),
        mapping: None,
    });
    let rows = [
        // timestamps, address, port, echo: octets, alone, beside a DATA_ACK.
        (true, V4, false, false, 16, true, true),
        (true, V4, true, false, 18, true, true),
        (true, V6, false, false, 28, true, false),
        (true, V6, true, false, 30, true, false),
        (true, V4, false, true, 8, true, true),
        (true, V4, true, true, 10, true, true),
        (true, V6, false, true, 20, true, false),
        (true, V6, true, true, 22, true, false),
        (false, V4, false, false, 16, true, true),
        (false, V4, true, false, 18, true, true),
        (false, V6, false, false, 28, true, true),
        (false, V6, true, false, 30, true, false),
        (false, V4, false, true, 8, true, true),
        (false, V4, true, true, 10, true, true),
        (false, V6, false, true, 20, true, true),
        (false, V6, true, true, 22, true, true),
    ];
    for (timestamps, addr, port, echo, len, alone, beside_ack) in rows {
        let add = MpOption::from(AddAddr {
            id: AddrId(1),
            addr,
            port: port.then_some(7777),
            proof: if echo {
                AddAddrProof::Echo
            } else {
                AddAddrProof::Hmac([9; 8])
            },
        });
        let row = format!("timestamps {timestamps}, {addr}, port {port}, echo {echo}");
        assert_eq!(add.encoded_len(), len, "{row}");
        assert_eq!(Packer::new(space(timestamps, 0)).push(&add), alone, "{row}");
        let mut packer = Packer::new(space(timestamps, 0));
        assert!(packer.push(&ack));
        assert_eq!(packer.push(&add), beside_ack, "{row}");
        let packed = packer.finish();
        assert_eq!(parse(&packed).count(), 1 + usize::from(beside_ack), "{row}");
    }
}

#[test]
fn option_space_is_what_tcp_leaves() {
    let rows = [
        (false, 0, 40),
        (true, 0, 30),
        (false, 1, 28),
        (true, 1, 16),
        (true, 2, 8),
        (true, 3, 0),
        (true, 4, 0),
    ];
    for (timestamps, blocks, octets) in rows {
        assert_eq!(
            space(timestamps, blocks),
            octets,
            "timestamps {timestamps}, {blocks} blocks"
        );
    }
    // The longest DSS, 28 octets, goes with timestamps but without SACK blocks.
    let dss = MpOption::from(Dss {
        data_ack: Some(WireSeq::Full(1)),
        mapping: Some(mapping(1, false, Some(2))),
    });
    assert_eq!(dss.encoded_len(), 28);
    assert!(Packer::new(space(true, 0)).push(&dss));
    assert!(!Packer::new(space(true, 1)).push(&dss));
}

#[test]
fn the_next_mapping_differs_in_its_numbers_alone() {
    let header = |stamp: u8, ack: u64, dsn: u64, ssn: u32, checksum: Option<u16>| {
        let dss = MpOption::Dss(Dss {
            data_ack: Some(WireSeq::Full(ack)),
            mapping: Some(Mapping {
                dsn: WireSeq::Full(dsn),
                ssn,
                len: 1_000,
                checksum,
                data_fin: false,
            }),
        });
        let mut octets = vec![1, 1, 8, 10, stamp, 0, 0, 0, 0, 0, 0, 0];
        octets.extend_from_slice(&OptBytes::from(dss));
        octets.resize(octets.len().next_multiple_of(4), 1);
        octets
    };
    let before = header(1, 7, 5_000, 1, None);
    let next = |octets: &[u8]| next_mapping([octets, &before]).map(|m| (m.dsn, m.ssn, m.len));
    let same = header(1, 7, 7_000, 1_001, None);
    assert_eq!(next(&same), Some((WireSeq::Full(7_000), 1_001, 1_000)));
    assert_eq!(next(&header(2, 7, 6_000, 1_001, None)), None, "timestamps");
    assert_eq!(next(&header(1, 8, 6_000, 1_001, None)), None, "DATA_ACK");
    let summed = header(1, 7, 6_000, 1_001, Some(3));
    assert_eq!(next_mapping([&summed, &summed]), None, "a checksum");
    let without_stamps = next_mapping([&same[12..], &before[12..]]);
    assert_eq!(without_stamps.map(|m| m.ssn), Some(1_001));
    for cut in 0..same.len() {
        _ = next_mapping([&same[..cut], &before[..cut]]);
    }
    let mut other = same;
    other[40 - 1] = 0;
    assert_eq!(next(&other), None, "what follows");
}
