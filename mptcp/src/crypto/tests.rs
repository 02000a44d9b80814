//! Known answers. Those of version 1 agree with the kernel's own tests or were recorded from a 6.18 kernel; those of
//! version 0 were computed with Python's hashlib and hmac.

use super::{JoinHmac, Key, Keyed, add_addr_hmac, dss_checksum, dss_intact, keyed, same};
use crate::testing::{hex, key};
use crate::types::{AddrId, DataSeq, Token, Version};
use core::net::IpAddr;
use hmac::Hmac;
use sha2::Sha256;
use stack::checksum::Sum;

/// Key, version 0 token and IDSN, version 1 token and IDSN.
const DERIVED: [(&str, u32, u64, u32, u64); 6] = [
    (
        "0102030405060708",
        0xdd57_83bc,
        0x3a95_ed6e_4ebb_4ad5,
        0x6684_0dda,
        0xf5a1_01d3_d29d_6f72,
    ),
    (
        "1112131415161718",
        0x3383_d918,
        0x9e1a_e42f_7026_27a9,
        0xccad_45ac,
        0x535b_eea3_8e08_7c8e,
    ),
    (
        "fedcba9876543210",
        0xa5be_6871,
        0x334f_c234_bee4_95ca,
        0x18f9_781b,
        0x2808_18bf_0fa7_e28e,
    ),
    (
        "0000000000000000",
        0x05fe_4057,
        0xac55_8654_f107_c7e9,
        0xaf55_70f5,
        0xe5b2_328d_e0e8_3dfc,
    ),
    (
        "ffffffffffffffff",
        0xbe67_3e8a,
        0x8667_01c1_1ef8_e089,
        0x12a3_ae44,
        0x57fb_595b_bbac_f0ca,
    ),
    (
        "0000000000000002",
        0x07aa_e1b6,
        0xfa17_23be_f865_6fe4,
        0xcd04_a475,
        0x8865_40e5_dce7_7f70,
    ),
];

#[test]
fn kat_v0_token_and_idsn() {
    for (k, token, idsn, _, _) in DERIVED {
        let derived = key(k).derive(Version::V0);
        assert_eq!(
            (derived.token, derived.idsn),
            (Token(token), DataSeq(idsn)),
            "key {k}"
        );
    }
}

#[test]
fn kat_v1_token_and_idsn() {
    for (k, _, _, token, idsn) in DERIVED {
        assert_eq!(key(k).token(Version::V1), Token(token), "key {k}");
        assert_eq!(key(k).idsn(Version::V1), DataSeq(idsn), "key {k}");
    }
}

const KA: &str = "0102030405060708";
const KB: &str = "1112131415161718";
const RA: u32 = 0xa1a2_a3a4;
const RB: u32 = 0xb1b2_b3b4;

#[test]
fn kat_v1_join_hmac_a() {
    let hmac = JoinHmac::compute(Version::V1, &key(KA), &key(KB), RA, RB);
    assert_eq!(
        hmac.octets(),
        &hex("53037f2899475529844115fd07e665d23d3554fb")
    );
}

#[test]
fn kat_v1_join_hmac_b() {
    let hmac = JoinHmac::compute(Version::V1, &key(KB), &key(KA), RB, RA);
    assert_eq!(
        hmac.octets(),
        &hex("864b40428762fd06fa24bb3c5ea12c1bbf6546e7")
    );
    assert_eq!(hmac.truncated(), hex("864b40428762fd06"));
}

#[test]
fn kat_v0_join_hmac_a() {
    let hmac = JoinHmac::compute(Version::V0, &key(KA), &key(KB), RA, RB);
    assert_eq!(
        hmac.octets(),
        &hex("5f9d9b1144766ae5a6402e4bc813bf52fad0199b")
    );
}

#[test]
fn kat_v0_join_hmac_b() {
    let hmac = JoinHmac::compute(Version::V0, &key(KB), &key(KA), RB, RA);
    assert_eq!(
        hmac.octets(),
        &hex("f983baffc3c12488ee5547ded1bab6f7f552859a")
    );
    assert_eq!(hmac.truncated(), hex("f983baffc3c12488"));
}

#[test]
fn kat_join_hmac_whole_digests() {
    let message: [u8; 8] = hex("a1a2a3a4b1b2b3b4");
    assert_eq!(
        keyed::<Hmac<Sha256>, 32>(&hex::<16>("01020304050607081112131415161718"), &message),
        hex("53037f2899475529844115fd07e665d23d3554fb8dde7551287562b1aa8e53de")
    );
    let message: [u8; 8] = hex("b1b2b3b4a1a2a3a4");
    assert_eq!(
        keyed::<Hmac<Sha256>, 32>(&hex::<16>("11121314151617180102030405060708"), &message),
        hex("864b40428762fd06fa24bb3c5ea12c1bbf6546e7aace88911139aa8f77f90286")
    );
}

/// The kernel's crypto_test.c: keys and messages are ASCII text.
#[test]
fn kat_kunit_hmac_sha256() {
    let rows = [
        (
            "0b0b0b0b0b0b0b0b",
            "48692054",
            "8385e24fb4235ac37556b6b886db106284a1da671699f46db1f235ec622dcafa",
        ),
        (
            "aaaaaaaaaaaaaaaa",
            "dddddddd",
            "2c5e219164ff1dca1c4a92318d847bb6b9d44492984e1eb71aff9022f71046e9",
        ),
        (
            "0102030405060708",
            "cdcdcdcd",
            "e73b9ba9969969cefb04aa0d6df18ec2fcc075b6f23b4d8c4da736a5dbbc6e7d",
        ),
    ];
    for (k, message, mac) in rows {
        let (first, second) = k.as_bytes().split_at(8);
        let (ra, rb) = message.as_bytes().split_at(4);
        let hmac = JoinHmac::compute(
            Version::V1,
            &Key::new(first.try_into().unwrap()),
            &Key::new(second.try_into().unwrap()),
            u32::from_be_bytes(ra.try_into().unwrap()),
            u32::from_be_bytes(rb.try_into().unwrap()),
        );
        assert_eq!(
            keyed::<Hmac<Sha256>, 32>(k.as_bytes(), message.as_bytes()),
            hex(mac)
        );
        assert_eq!(hmac.octets()[..], hex::<32>(mac)[..20], "key {k}");
    }
}

#[test]
fn kat_v1_add_addr_hmac() {
    let rows: [(u8, &str, Option<u16>, &str, &str); 5] = [
        (7, "192.0.2.1", None, "9830095a3d462c66", "9a68fbb32538129a"),
        (
            7,
            "192.0.2.1",
            Some(80),
            "1c8a1d004fa28761",
            "232f1caa664d2aaa",
        ),
        (
            2,
            "198.51.100.2",
            Some(8080),
            "7e40fc418ad68978",
            "a7b73a2838f5203b",
        ),
        (
            1,
            "2001:db8::1",
            None,
            "563017bdeaefa678",
            "b338af69d03ab41c",
        ),
        (
            1,
            "2001:db8::1",
            Some(443),
            "66a18008cdfe2f75",
            "5985c51aaf5bf198",
        ),
    ];
    for (id, addr, port, from_a, from_b) in rows {
        let (a, b, address) = (key(KA), key(KB), addr.parse::<IpAddr>().unwrap());
        assert_eq!(
            add_addr_hmac(&Keyed::new(&a, &b), AddrId(id), address, port),
            hex(from_a),
            "A: {addr} {port:?}"
        );
        assert_eq!(
            add_addr_hmac(&Keyed::new(&b, &a), AddrId(id), address, port),
            hex(from_b),
            "B: {addr} {port:?}"
        );
    }
}

/// DSN, SSN, length, payload, checksum.
fn dss_rows() -> Vec<(u64, u32, u16, Vec<u8>, u16)> {
    vec![
        (0x8899_aabb_ccdd_eeff, 1, 5, b"hello".to_vec(), 0xccf4),
        (0x8899_aabb_ccdd_eeff, 0, 1, vec![], 0x10cc),
        (
            0xffff_ffff_ffff_ff00,
            0x7fff_ffff,
            1024,
            (0..=255).cycle().take(1024).collect(),
            0x7c00,
        ),
        (0x0000_0000_ffff_fffe, 101, 1, vec![1], 0xfe9a),
        (0x1122_3344_5566_7788, 0, 1, vec![], 0xeea9),
        (0, 1, 3, b"ab".to_vec(), 0x9e99),
        (0x8899_aabb_ccdd_eeff, 1, 2, vec![0x10, 0xca], 0x0000),
    ]
}

#[test]
fn kat_dss_checksum() {
    for (dsn, ssn, len, payload, checksum) in dss_rows() {
        let sum = Sum::of(&payload);
        assert_eq!(
            dss_checksum(DataSeq(dsn), ssn, len, sum),
            checksum,
            "DSN {dsn:#x} length {len}"
        );
        assert!(dss_intact(DataSeq(dsn), ssn, len, sum, checksum));
        assert!(!dss_intact(DataSeq(dsn), ssn, len, sum, checksum ^ 1));
    }
}

#[test]
fn kat_dss_checksum_from_sums_of_pieces() {
    for (dsn, ssn, len, payload, checksum) in dss_rows() {
        for cut in 0..=payload.len() {
            let (head, tail) = payload.split_at(cut);
            let sum = Sum::of(head).then(Sum::of(tail));
            assert_eq!(
                dss_checksum(DataSeq(dsn), ssn, len, sum),
                checksum,
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn dss_checksum_of_zero_stands_for_itself_alone() {
    let sum = Sum::of(&[0x10, 0xca]);
    let dsn = DataSeq(0x8899_aabb_ccdd_eeff);
    assert!(dss_intact(dsn, 1, 2, sum, 0x0000));
    assert!(!dss_intact(dsn, 1, 2, sum, 0xffff));
}

/// Recorded from a 6.18 kernel.
#[test]
fn kat_live_set_a() {
    let (ka, kb) = (key("2e499f8bd18a89ba"), key("f1f7b46aca526202"));
    let (ra, rb) = (0x0430_0dbf, 0x1fc0_be62);
    assert_eq!(kb.token(Version::V1), Token(0xcfc3_004f));
    assert_eq!(ka.idsn(Version::V1), DataSeq(0xb36c_07f7_554f_d454));
    assert_eq!(kb.idsn(Version::V1), DataSeq(0xf15b_f083_2536_7cf2));
    let syn_ack = JoinHmac::compute(Version::V1, &kb, &ka, rb, ra);
    assert_eq!(syn_ack.truncated(), hex("d2eb8ee72a41fcb7"));
    let ack = JoinHmac::compute(Version::V1, &ka, &kb, ra, rb);
    assert_eq!(
        ack.octets(),
        &hex("36ebbc92d0f8d8d3c18de6362fde4c5269051953")
    );
    assert_eq!(
        add_addr_hmac(
            &Keyed::new(&kb, &ka),
            AddrId(1),
            "10.9.2.2".parse().unwrap(),
            None
        ),
        hex("1803d71ef92f61f5")
    );
    assert_eq!(
        dss_checksum(DataSeq(0xb36c_07f7_5552_e195), 0, 1, Sum::ZERO),
        0x0db3
    );
    assert_eq!(
        dss_checksum(DataSeq(0xf15b_f083_253b_10d3), 0, 1, Sum::ZERO),
        0xe810
    );
}

#[test]
fn keys_and_hmacs_do_not_print() {
    let k = key("0102030405060708");
    assert_eq!(format!("{k:?}"), "Key(secret)");
    assert!(!format!("{:?}", k.derive(Version::V1)).contains("[1, 2"));
    let hmac = JoinHmac::compute(Version::V1, &k, &k, 1, 2);
    assert_eq!(format!("{hmac:?}"), "JoinHmac(..)");
}

#[test]
fn secrets_are_the_same_only_in_every_bit() {
    assert!(same(b"12345678", b"12345678"));
    assert!(!same(b"12345678", b"1234567"));
    for bit in 0..64 {
        let mut other = *b"12345678";
        other[bit / 8] ^= 1 << (bit % 8);
        assert!(!same(b"12345678", &other), "bit {bit}");
    }
}
