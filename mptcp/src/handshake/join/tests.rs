use super::{Joining, Keys, NotJoin, request, syn, syn_ack};
use crate::option::{Join, Malformed, Subtype};
use crate::testing::{encoded, key, octets};
use crate::types::{AddrId, Token, Version};

/// As host A and as host B of live vector set A has them.
fn keys(version: Version) -> (Keys, Keys) {
    let (a, b) = (key("2e499f8bd18a89ba"), key("f1f7b46aca526202"));
    (
        Keys {
            version,
            local: a,
            remote: b,
        },
        Keys {
            version,
            local: b,
            remote: a,
        },
    )
}

const RA: u32 = 0x0430_0dbf;
const RB: u32 = 0x1fc0_be62;

#[test]
fn kat_live_set_a_join_of_both_roles() {
    let (a, b) = keys(Version::V1);
    let first = encoded(syn(&a, RA, AddrId(2), false));
    assert_eq!(first[..], octets("1e0c 1002 cfc3004f 04300dbf"));
    let request = request(&first).expect("SYN");
    assert_eq!(request.token, Token(0xcfc3_004f));
    let joining = Joining::new(&request, RB);
    let second = encoded(joining.syn_ack(&b, AddrId(1), false));
    assert_eq!(second[..], octets("1e10 1001 d2eb8ee72a41fcb7 1fc0be62"));
    let joined = syn_ack(&second, &a, RA).expect("SYN+ACK");
    let third = encoded(joined.ack);
    assert_eq!(
        third[..],
        octets("1e18 1000 36ebbc92d0f8d8d3c18de6362fde4c5269051953")
    );
    assert_eq!(joining.third_ack(&b, &third), Ok(()));
}

#[test]
fn m8_both_versions_and_either_opener_agree() {
    for version in [Version::V0, Version::V1] {
        let (a, b) = keys(version);
        for (opener, other) in [(a, b), (b, a)] {
            let request = request(&encoded(syn(&opener, 7, AddrId(9), true))).expect("SYN");
            assert!(request.backup && request.id == AddrId(9));
            assert_eq!(request.token, other.local.token(version));
            let joining = Joining::new(&request, 8);
            let joined = syn_ack(
                &encoded(joining.syn_ack(&other, AddrId(4), false)),
                &opener,
                7,
            )
            .expect("SYN+ACK");
            // B is per direction, not mirrored.
            assert!(!joined.backup && joined.remote_id == AddrId(4));
            assert_eq!(joining.third_ack(&other, &encoded(joined.ack)), Ok(()));
        }
    }
}

#[test]
fn m9_a_wrong_bit_in_either_hmac_is_found() {
    for version in [Version::V0, Version::V1] {
        let (a, b) = keys(version);
        let joining = Joining::new(
            &request(&encoded(syn(&a, RA, AddrId(2), false))).unwrap(),
            RB,
        );
        let second = encoded(joining.syn_ack(&b, AddrId(1), false));
        let third = encoded(syn_ack(&second, &a, RA).unwrap().ack);
        for bit in 0..160 {
            let mut wrong = third;
            wrong[4 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                joining.third_ack(&b, &wrong),
                Err(NotJoin::Hmac),
                "bit {bit}"
            );
        }
        // The HMAC of the SYN+ACK, and the random number that it covers.
        for bit in 0..96 {
            let mut wrong = second;
            wrong[4 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(syn_ack(&wrong, &a, RA), Err(NotJoin::Hmac), "bit {bit}");
        }
    }
}

#[test]
fn m9_an_hmac_of_the_other_version_or_direction_is_wrong() {
    let (a, _) = keys(Version::V1);
    let request = request(&encoded(syn(&a, RA, AddrId(2), false))).unwrap();
    let joining = Joining::new(&request, RB);
    let (a0, b0) = keys(Version::V0);
    let second = encoded(joining.syn_ack(&b0, AddrId(1), false));
    assert_eq!(syn_ack(&second, &a, RA), Err(NotJoin::Hmac));
    let mirrored = encoded(joining.syn_ack(&a, AddrId(1), false));
    assert_eq!(syn_ack(&mirrored, &a, RA), Err(NotJoin::Hmac));
    assert!(syn_ack(&second, &a0, RA).is_ok());
}

#[test]
fn m9_what_is_not_the_awaited_mp_join_is_refused() {
    let (a, b) = keys(Version::V1);
    let first = encoded(syn(&a, RA, AddrId(2), false));
    let joining = Joining::new(&request(&first).unwrap(), RB);
    let second = encoded(joining.syn_ack(&b, AddrId(1), false));
    let third = encoded(syn_ack(&second, &a, RA).unwrap().ack);
    assert_eq!(request(&second), Err(NotJoin::Contradiction));
    assert_eq!(request(&third), Err(NotJoin::Contradiction));
    assert_eq!(syn_ack(&first, &a, RA), Err(NotJoin::Contradiction));
    assert_eq!(joining.third_ack(&b, &first), Err(NotJoin::Contradiction));
    assert_eq!(joining.third_ack(&b, &[]), Err(NotJoin::Absent));
    assert_eq!(
        request(&octets("1e04 0101 1e0c 1002 cfc3004f 04300dbf")),
        Err(NotJoin::Contradiction)
    );
    let cut = NotJoin::Malformed(Malformed::Length {
        subtype: Subtype::Join,
        len: 11,
    });
    assert_eq!(request(&octets("1e0b 1002 cfc3004f 04300d")), Err(cut));
}

#[test]
fn the_third_join_is_the_join_of_the_ack_form() {
    let (a, b) = keys(Version::V1);
    let joining = Joining::new(
        &request(&encoded(syn(&a, RA, AddrId(0), false))).unwrap(),
        RB,
    );
    let joined = syn_ack(&encoded(joining.syn_ack(&b, AddrId(0), true)), &a, RA).unwrap();
    assert!(matches!(joined.ack, Join::Ack { .. }) && joined.backup);
}
