use super::{
    Agreed, Answered, CapableRequest, FirstData, NotCapable, Terms, ThirdAck, Versions, answer,
    request, syn, syn_ack, third_ack,
};
use crate::counters::Counter;
use crate::crypto::Key;
use crate::option::{Capable, CapableFlags, CapableForm, Dss, Malformed, Subtype};
use crate::testing::{encoded, hex, key, octets};
use crate::types::{Version, WireSeq};

const PLAIN: Terms = Terms {
    checksum: false,
    deny_join_initial: false,
};
const CHECKSUM: Terms = Terms {
    checksum: true,
    ..PLAIN
};
const DENY: Terms = Terms {
    deny_join_initial: true,
    ..PLAIN
};

fn ka() -> Key {
    key("2e499f8bd18a89ba")
}

fn kb() -> Key {
    key("f1f7b46aca526202")
}

#[test]
fn m3_the_answer_has_a_version_not_above_the_one_asked_for() {
    let v0 = "1e0c 0001 2e499f8bd18a89ba";
    let rows = [
        ("1e04 0101", Versions::V1, Ok(Version::V1)),
        ("1e04 0101", Versions::V1ThenV0, Ok(Version::V1)),
        ("1e04 0101", Versions::V0, Err(NotCapable::Version(1))),
        (v0, Versions::V0, Ok(Version::V0)),
        (v0, Versions::V1ThenV0, Ok(Version::V0)),
        (v0, Versions::V1, Err(NotCapable::Version(0))),
        ("1e04 0201", Versions::V1, Ok(Version::V1)),
        ("1e04 0f01", Versions::V1ThenV0, Ok(Version::V1)),
        ("1e04 0201", Versions::V0, Err(NotCapable::Version(2))),
        // A keyless SYN of version 0 and a SYN with key of version 1 are nobody's.
        ("1e04 0001", Versions::V1ThenV0, Err(NotCapable::Form)),
        (
            "1e0c 0101 2e499f8bd18a89ba",
            Versions::V1ThenV0,
            Err(NotCapable::Form),
        ),
    ];
    for (text, versions, expected) in rows {
        let result = request(&octets(text), versions);
        assert_eq!(result.map(|r| r.version), expected, "{text} {versions:?}");
    }
    assert_eq!(
        request(&octets(v0), Versions::V1ThenV0).map(|r| r.key),
        Ok(Some(ka()))
    );
}

#[test]
fn m4_a_syn_that_must_be_ignored_is_plain_tcp() {
    let rows = [
        ("", NotCapable::Absent),
        ("1e04 0141", NotCapable::Extensibility),
        ("1e04 01c1", NotCapable::Extensibility),
        ("1e04 0100", NotCapable::Algorithm),
        ("1e04 0180", NotCapable::Algorithm),
        (
            "1e05 010100",
            NotCapable::Malformed(Malformed::Length {
                subtype: Subtype::Capable,
                len: 5,
            }),
        ),
        ("1e04 01", NotCapable::Malformed(Malformed::Truncated)),
        ("1e04 0101 1e04 0101", NotCapable::Contradiction),
        (
            "1e04 0101 1e0c 1001 cfc3004f 04300dbf",
            NotCapable::Contradiction,
        ),
        ("1e0c 1001 cfc3004f 04300dbf", NotCapable::Contradiction),
        (
            "1e14 0101 2e499f8bd18a89ba f1f7b46aca526202",
            NotCapable::Form,
        ),
    ];
    for (text, reason) in rows {
        assert_eq!(
            request(&octets(text), Versions::V1ThenV0),
            Err(reason),
            "{text}"
        );
    }
}

#[test]
fn m4_checksums_are_used_when_either_side_asks() {
    for (theirs, ours, used) in [
        (0x01, PLAIN, false),
        (0x81, PLAIN, true),
        (0x01, CHECKSUM, true),
    ] {
        let asked = request(&[30, 4, 1, theirs], Versions::V1ThenV0).expect("answerable");
        let answer = answer(&asked, kb(), ours);
        assert_eq!(answer.flags.has(CapableFlags::CHECKSUM), used);
        let agreed = syn_ack(&encoded(answer), Version::V1, ka(), asked.terms).expect("agreed");
        assert_eq!(agreed.checksum, used);
        assert_eq!(agreed.third_ack().flags.has(CapableFlags::CHECKSUM), used);
    }
}

#[test]
fn m5_flag_c_is_of_version_1_alone() {
    let asked = request(&[30, 4, 1, 0x21], Versions::V1ThenV0).expect("answerable");
    assert!(asked.terms.deny_join_initial);
    let v1 = answer(&asked, kb(), DENY);
    assert_eq!(v1.flags, CapableFlags(0x21));
    assert!(
        syn_ack(&encoded(v1), Version::V1, ka(), PLAIN)
            .expect("agreed")
            .deny_join_initial
    );
    let asked =
        request(&octets("1e0c 0021 2e499f8bd18a89ba"), Versions::V1ThenV0).expect("answerable");
    assert!(!asked.terms.deny_join_initial);
    assert_eq!(answer(&asked, kb(), DENY).flags, CapableFlags(0x01));
    assert_eq!(syn(Version::V0, ka(), DENY).flags, CapableFlags(0x01));
}

fn answered(version: Version, checksum: bool) -> Answered {
    let remote = (version == Version::V0).then(ka);
    Answered {
        version,
        checksum,
        local: kb(),
        remote,
    }
}

const BOTH_KEYS: &str = "2e499f8bd18a89ba f1f7b46aca526202";

#[test]
fn m1_m2_the_third_ack_in_every_form_establishes() {
    let rows = [
        (
            format!("1e14 0001 {BOTH_KEYS}"),
            answered(Version::V0, false),
            None,
        ),
        (
            format!("1e14 0081 {BOTH_KEYS}"),
            answered(Version::V0, true),
            None,
        ),
        (
            format!("1e14 0101 {BOTH_KEYS}"),
            answered(Version::V1, false),
            None,
        ),
        (
            format!("1e16 0101 {BOTH_KEYS} 0064"),
            answered(Version::V1, false),
            Some(FirstData {
                len: 100,
                checksum: None,
            }),
        ),
        (
            format!("1e18 0181 {BOTH_KEYS} 0064 3f2b"),
            answered(Version::V1, true),
            Some(FirstData {
                len: 100,
                checksum: Some(0x3f2b),
            }),
        ),
    ];
    for (text, answered, first_data) in rows {
        let expected = ThirdAck::Established {
            remote: ka(),
            first_data,
        };
        assert_eq!(third_ack(&octets(&text), &answered), expected, "{text}");
    }
}

#[test]
fn m6_m26_a_third_ack_that_does_not_repeat_what_was_agreed_falls_back() {
    let (v0, v1, v1_checksum) = (
        answered(Version::V0, false),
        answered(Version::V1, false),
        answered(Version::V1, true),
    );
    let rows = [
        (String::new(), v1, NotCapable::Absent),
        (String::new(), v0, NotCapable::Absent),
        (format!("1e14 0001 {BOTH_KEYS}"), v1, NotCapable::Version(0)),
        (format!("1e14 0101 {BOTH_KEYS}"), v0, NotCapable::Version(1)),
        (format!("1e14 0100 {BOTH_KEYS}"), v1, NotCapable::Algorithm),
        (
            format!("1e14 0141 {BOTH_KEYS}"),
            v1,
            NotCapable::Extensibility,
        ),
        (format!("1e14 0181 {BOTH_KEYS}"), v1, NotCapable::Terms),
        (
            format!("1e14 0101 {BOTH_KEYS}"),
            v1_checksum,
            NotCapable::Terms,
        ),
        (
            format!("1e16 0181 {BOTH_KEYS} 0064"),
            v1_checksum,
            NotCapable::Terms,
        ),
        (
            format!("1e18 0101 {BOTH_KEYS} 0064 3f2b"),
            v1,
            NotCapable::Terms,
        ),
        (format!("1e16 0101 {BOTH_KEYS} 0000"), v1, NotCapable::Form),
        (format!("1e16 0001 {BOTH_KEYS} 0064"), v0, NotCapable::Form),
        ("1e04 0101".into(), v1, NotCapable::Form),
        ("1e0c 0101 2e499f8bd18a89ba".into(), v1, NotCapable::Form),
        (
            "1e14 0101 2e499f8bd18a89ba f1f7b46aca526203".into(),
            v1,
            NotCapable::Key,
        ),
        (
            "1e14 0001 2e499f8bd18a89bb f1f7b46aca526202".into(),
            v0,
            NotCapable::Key,
        ),
    ];
    for (text, answered, reason) in rows {
        assert_eq!(
            third_ack(&octets(&text), &answered),
            ThirdAck::Fallback(reason),
            "{text}"
        );
    }
}

#[test]
fn m6_a_dss_that_overtook_the_third_ack_does_not_fall_back() {
    let dss = encoded(Dss {
        data_ack: Some(WireSeq::Full(1)),
        mapping: None,
    });
    assert_eq!(
        third_ack(&dss, &answered(Version::V1, false)),
        ThirdAck::TooEarly
    );
    let v0 = third_ack(&dss, &answered(Version::V0, false));
    assert_eq!(
        v0,
        ThirdAck::Established {
            remote: ka(),
            first_data: None
        }
    );
}

#[test]
fn m2_m26_a_syn_ack_that_does_not_answer_the_syn_falls_back() {
    let rows = [
        ("", Version::V1, NotCapable::Absent),
        // An echoed SYN option.
        ("1e04 0101", Version::V1, NotCapable::Form),
        ("1e0c 0001 2e499f8bd18a89ba", Version::V0, NotCapable::Key),
        (
            "1e0c 0001 f1f7b46aca526202",
            Version::V1,
            NotCapable::Version(0),
        ),
        (
            "1e0c 0201 f1f7b46aca526202",
            Version::V1,
            NotCapable::Version(2),
        ),
        (
            "1e0c 0101 f1f7b46aca526202",
            Version::V0,
            NotCapable::Version(1),
        ),
        (
            "1e0c 0141 f1f7b46aca526202",
            Version::V1,
            NotCapable::Extensibility,
        ),
        (
            "1e0c 0100 f1f7b46aca526202",
            Version::V1,
            NotCapable::Algorithm,
        ),
    ];
    for (text, version, reason) in rows {
        assert_eq!(
            syn_ack(&octets(text), version, ka(), PLAIN),
            Err(reason),
            "{text} {version:?}"
        );
    }
}

/// Both ends, every version, checksums on either side: they agree, and the responder learns the initiator's key.
#[test]
fn m1_m2_both_roles_agree() {
    for version in [Version::V0, Version::V1] {
        for (asked, ours) in [
            (PLAIN, PLAIN),
            (CHECKSUM, PLAIN),
            (PLAIN, CHECKSUM),
            (CHECKSUM, DENY),
        ] {
            let request =
                request(&encoded(syn(version, ka(), asked)), Versions::V1ThenV0).expect("SYN");
            assert_eq!(request.version, version);
            let answer = answer(&request, kb(), ours);
            let agreed = syn_ack(&encoded(answer), version, ka(), asked).expect("SYN+ACK");
            let checksum = asked.checksum || ours.checksum;
            assert_eq!((agreed.remote, agreed.checksum), (kb(), checksum));
            let answered = Answered {
                version,
                checksum,
                local: kb(),
                remote: request.key,
            };
            let bare = third_ack(&encoded(agreed.third_ack()), &answered);
            assert_eq!(
                bare,
                ThirdAck::Established {
                    remote: ka(),
                    first_data: None
                }
            );
            if version == Version::V1 {
                let data = FirstData {
                    len: 5,
                    checksum: checksum.then_some(0),
                };
                let first = third_ack(&encoded(agreed.first_data(data)), &answered);
                assert_eq!(
                    first,
                    ThirdAck::Established {
                        remote: ka(),
                        first_data: Some(data)
                    }
                );
            }
        }
    }
}

#[test]
fn kat_live_set_b_first_data_option() {
    let agreed = Agreed {
        version: Version::V1,
        checksum: true,
        deny_join_initial: false,
        local: key("6028d36faec348fb"),
        remote: key("80bbdf0d6bed5eab"),
    };
    let option = encoded(agreed.first_data(FirstData {
        len: 100,
        checksum: Some(0x3f2b),
    }));
    assert_eq!(
        option[..],
        hex::<24>("1e180181 6028d36faec348fb 80bbdf0d6bed5eab 0064 3f2b")
    );
}

#[test]
fn the_answer_of_a_request_has_one_key() {
    let request = CapableRequest {
        version: Version::V1,
        terms: PLAIN,
        key: None,
    };
    let form = CapableForm::OneKey { sender: kb() };
    assert_eq!(
        answer(&request, kb(), PLAIN),
        Capable {
            version: 1,
            flags: CapableFlags(1),
            form
        }
    );
}

#[test]
fn bug20_third_acks_count_under_what_they_mean() {
    let v1 = answered(Version::V1, false);
    let rows = [
        (
            format!("1e14 0101 {BOTH_KEYS}"),
            Some(Counter::MpCapableAckRx),
        ),
        (
            format!("1e16 0101 {BOTH_KEYS} 0064"),
            Some(Counter::MpCapableDataRx),
        ),
        ("1e04 2000".into(), None),
        (String::new(), Some(Counter::FallbackAck)),
        (format!("1e14 0181 {BOTH_KEYS}"), Some(Counter::FallbackKey)),
    ];
    for (text, counter) in rows {
        assert_eq!(third_ack(&octets(&text), &v1).counter(), counter, "{text}");
    }
}
