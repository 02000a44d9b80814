//! For any octets the parser ends without a panic; for any option, what is emitted parses to the same.

use super::{
    AddAddr, AddAddrProof, AddrIds, Capable, CapableFlags, CapableForm, Dss, Join, Mapping,
    MpOption, Prio, ResetReason, TcpRst, parse,
};
use crate::crypto::{JoinHmac, Key};
use crate::types::{AddrId, Token, WireSeq};
use core::net::IpAddr;
use proptest::prelude::*;
use stack::wire::tcp::OptBytes;

fn any_key() -> impl Strategy<Value = Key> {
    any::<[u8; 8]>().prop_map(Key::new)
}

fn any_seq() -> impl Strategy<Value = WireSeq> {
    prop_oneof![
        any::<u32>().prop_map(WireSeq::Low),
        any::<u64>().prop_map(WireSeq::Full)
    ]
}

fn any_capable() -> impl Strategy<Value = MpOption> {
    let form = prop_oneof![
        Just(CapableForm::Bare),
        any_key().prop_map(|sender| CapableForm::OneKey { sender }),
        (any_key(), any_key())
            .prop_map(|(sender, receiver)| CapableForm::TwoKeys { sender, receiver }),
        (any_key(), any_key(), any::<u16>(), any::<Option<u16>>()).prop_map(
            |(sender, receiver, len, checksum)| {
                CapableForm::Data {
                    sender,
                    receiver,
                    len,
                    checksum,
                }
            }
        ),
    ];
    (0..16_u8, any::<u8>(), form).prop_map(|(version, flags, form)| {
        Capable {
            version,
            flags: CapableFlags(flags),
            form,
        }
        .into()
    })
}

fn any_join() -> impl Strategy<Value = MpOption> {
    let id = any::<u8>().prop_map(AddrId);
    prop_oneof![
        (any::<bool>(), id.clone(), any::<u32>(), any::<u32>()).prop_map(
            |(backup, id, token, nonce)| Join::Syn {
                backup,
                id,
                token: Token(token),
                nonce
            }
        ),
        (any::<bool>(), id, any::<[u8; 8]>(), any::<u32>()).prop_map(
            |(backup, id, hmac, nonce)| Join::SynAck {
                backup,
                id,
                hmac,
                nonce
            }
        ),
        any::<[u8; 20]>().prop_map(|hmac| Join::Ack {
            hmac: JoinHmac::new(hmac)
        }),
    ]
    .prop_map(MpOption::from)
}

fn any_dss() -> impl Strategy<Value = MpOption> {
    let mapping = (
        any_seq(),
        any::<u32>(),
        any::<u16>(),
        any::<Option<u16>>(),
        any::<bool>(),
    )
        .prop_map(|(dsn, ssn, len, checksum, data_fin)| Mapping {
            dsn,
            ssn,
            len,
            checksum,
            data_fin,
        });
    (prop::option::of(any_seq()), prop::option::of(mapping))
        .prop_map(|(data_ack, mapping)| Dss { data_ack, mapping }.into())
}

fn any_add_addr() -> impl Strategy<Value = MpOption> {
    let proof = prop_oneof![
        Just(AddAddrProof::V0),
        Just(AddAddrProof::Echo),
        any::<[u8; 8]>().prop_map(AddAddrProof::Hmac)
    ];
    (any::<u8>(), any::<IpAddr>(), any::<Option<u16>>(), proof).prop_map(
        |(id, addr, port, proof)| {
            AddAddr {
                id: AddrId(id),
                addr,
                port,
                proof,
            }
            .into()
        },
    )
}

fn any_option() -> impl Strategy<Value = MpOption> {
    let ids = prop::collection::vec(any::<u8>(), 1..=37)
        .prop_map(|ids| MpOption::RemoveAddr(ids.into_iter().map(AddrId).collect::<AddrIds>()));
    let rst = (any::<bool>(), any::<u8>()).prop_map(|(transient, reason)| {
        TcpRst {
            transient,
            reason: ResetReason(reason),
        }
        .into()
    });
    prop_oneof![
        any_capable(),
        any_join(),
        any_dss(),
        any_add_addr(),
        ids,
        (
            any::<bool>(),
            prop::option::of(any::<u8>().prop_map(AddrId))
        )
            .prop_map(|(backup, id)| MpOption::Prio(Prio { backup, id })),
        any::<u64>().prop_map(|dsn| MpOption::Fail { dsn }),
        any_key().prop_map(|receiver_key| MpOption::Fastclose { receiver_key }),
        rst,
    ]
}

proptest! {
    #[test]
    fn what_is_emitted_parses_to_the_same(option in any_option()) {
        let mut out = OptBytes::new();
        prop_assert_eq!(option.emit(&mut out), Ok(()));
        prop_assert_eq!(out.len(), option.encoded_len());
        let mut parsed = parse(&out);
        prop_assert_eq!(parsed.next(), Some(Ok(option)));
        prop_assert_eq!(parsed.next(), None);
    }

    #[test]
    fn no_octets_make_the_parser_panic_or_loop(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        prop_assert!(parse(&bytes).count() <= 20);
    }

    /// Bodies of every length behind every subtype: deeper than random octets get.
    #[test]
    fn what_parses_emits_as_many_octets(first: u8, body in prop::collection::vec(any::<u8>(), 0..37)) {
        let mut bytes = vec![30, u8::try_from(3 + body.len()).unwrap(), first];
        bytes.extend(&body);
        if let Some(Ok(option)) = parse(&bytes).next() {
            let mut out = OptBytes::new();
            prop_assert_eq!(option.emit(&mut out), Ok(()));
            if !matches!(option, MpOption::Unknown { .. }) {
                prop_assert_eq!(out.len(), bytes.len());
                prop_assert_eq!(parse(&out).next(), Some(Ok(option)));
            }
        }
    }
}
