//! What kernels sent to each other: every option parses and emits the same octets, every handshake replays, and every
//! token, HMAC and DSS checksum recomputes.

#[path = "captures/reader.rs"]
mod reader;

use mptcp::crypto::{Keyed, add_addr_hmac, dss_checksum};
use mptcp::handshake::capable::{self, Answered, ThirdAck, Versions};
use mptcp::handshake::join::{self, Joining, Keys};
use mptcp::option::{AddAddrProof, CapableFlags, CapableForm, Join, Mapping, parse};
use mptcp::{DataSeq, Key, MpOption, Version};
use reader::{Captured, files, read};
use stack::Tuple;
use stack::checksum::Sum;
use stack::wire::tcp::{Flags, OptBytes};
use std::collections::BTreeMap;
use std::path::Path;

/// The tree's captures.
const OURS: &str = "../testbed/captures";

fn octets(option: impl Into<MpOption>) -> OptBytes {
    OptBytes::from(option.into())
}

/// What was recomputed, so that no test passes for want of anything to look at.
#[derive(Debug, Default, PartialEq)]
struct Done {
    options: usize,
    capable: usize,
    joins: usize,
    add_addrs: usize,
    checksums: usize,
    data_fins: usize,
}

#[test]
fn every_option_parses_and_emits_the_same_octets() {
    for path in files(OURS) {
        let mut options = 0;
        for segment in read(&path) {
            let mut out = OptBytes::new();
            let mut captured = segment.mptcp;
            for option in parse(&segment.mptcp) {
                let option = option.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                if matches!(option, MpOption::Join(Join::Ack { .. })) {
                    clear_reserved(&mut captured[out.len()..]);
                }
                option.emit(&mut out).expect("fits, it came in a header");
                options += 1;
            }
            assert_eq!(out, captured, "{}", path.display());
        }
        assert!(options > 300, "{}: {options} options", path.display());
    }
}

/// The out-of-tree kernel leaves flag B in the third MP_JOIN, where the RFC has reserved bits: we send them as 0.
fn clear_reserved(option: &mut [u8]) {
    option[2] &= 0xf0;
}

#[test]
fn every_token_hmac_and_checksum_recomputes() {
    let expected = [
        ("v0-kernel54-fullmesh-checksum.pcapng", (1, 3, 0, 435, 2)),
        ("v1-kernel618-addaddr-join.pcapng", (1, 1, 1, 0, 4)),
        ("v1-kernel618-cflag.pcapng", (1, 1, 1, 0, 4)),
        ("v1-kernel618-checksum.pcap", (1, 1, 1, 386, 5)),
        ("v1-kernel618-listener-side-join.pcapng", (1, 1, 1, 0, 4)),
        ("v1-kernel618-mixed-family.pcapng", (1, 1, 1, 0, 4)),
    ];
    let found: Vec<(String, Done)> = files(OURS)
        .iter()
        .map(|path| {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            (name, recompute(&read(path), path))
        })
        .collect();
    for ((name, done), (expected_name, figures)) in found.iter().zip(expected) {
        assert_eq!(name, expected_name);
        let Done {
            capable,
            joins,
            add_addrs,
            checksums,
            data_fins,
            ..
        } = *done;
        assert_eq!(
            (capable, joins, add_addrs, checksums, data_fins),
            figures,
            "{name}"
        );
    }
    assert_eq!(found.len(), expected.len());
}

/// The connection of a capture: its handshake, from which the keys come.
struct Capture<'a> {
    segments: &'a [Captured],
    /// Initiator's and responder's key.
    keys: (Key, Key),
    version: Version,
    checksum: bool,
    initiator: Tuple,
}

fn recompute(segments: &[Captured], path: &Path) -> Done {
    let capture = replay_capable(segments);
    let mut done = Done {
        options: segments.len(),
        capable: 1,
        ..Done::default()
    };
    let sides = replay_joins(&capture, &mut done);
    check_add_addrs(&capture, &sides, &mut done);
    check_mappings(&capture, &sides, &mut done, path);
    done
}

/// The first segment with an option that `wanted` takes.
fn first(
    segments: &[Captured],
    wanted: impl Fn(&Captured, &MpOption) -> bool,
) -> Option<&Captured> {
    segments.iter().find(|segment| {
        parse(&segment.mptcp)
            .flatten()
            .any(|option| wanted(segment, &option))
    })
}

/// Runs the captured MP_CAPABLE handshake through both roles.
fn replay_capable(segments: &[Captured]) -> Capture<'_> {
    let form = |wanted: fn(&CapableForm) -> bool, flags: Flags| {
        first(segments, |segment, option| {
            matches!(option, MpOption::Capable(c) if wanted(&c.form)) && segment.flags.has(flags)
        })
        .expect("a segment of the handshake")
    };
    let syn_ack = form(
        |form| matches!(form, CapableForm::OneKey { .. }),
        Flags(0x12),
    );
    let third = form(
        |form| matches!(form, CapableForm::TwoKeys { .. }),
        Flags::ACK,
    );
    let syn = segments
        .iter()
        .find(|s| s.tuple == third.tuple && s.flags.has(Flags::SYN))
        .expect("the SYN");
    let Some(Ok(MpOption::Capable(both))) = parse(&third.mptcp).next() else {
        panic!("the third ACK begins with MP_CAPABLE");
    };
    let CapableForm::TwoKeys {
        sender: a,
        receiver: b,
    } = both.form
    else {
        panic!("both keys")
    };

    let request = capable::request(&syn.mptcp, Versions::V1ThenV0).expect("a request");
    let Some(Ok(MpOption::Capable(captured))) = parse(&syn_ack.mptcp).next() else {
        panic!("the SYN+ACK has MP_CAPABLE");
    };
    let ours = capable::Terms {
        checksum: captured.flags.has(CapableFlags::CHECKSUM),
        deny_join_initial: captured.flags.has(CapableFlags::DENY_JOIN_INITIAL),
    };
    assert_eq!(
        octets(capable::syn(request.version, a, request.terms)),
        syn.mptcp
    );
    assert_eq!(octets(capable::answer(&request, b, ours)), syn_ack.mptcp);
    let agreed =
        capable::syn_ack(&syn_ack.mptcp, request.version, a, request.terms).expect("agreed");
    assert_eq!(agreed.remote, b);
    // In version 0 a DSS follows.
    assert!(third.mptcp.starts_with(&octets(agreed.third_ack())));
    let answered = Answered {
        version: request.version,
        checksum: agreed.checksum,
        local: b,
        remote: request.key,
    };
    assert_eq!(
        capable::third_ack(&third.mptcp, &answered),
        ThirdAck::Established {
            remote: a,
            first_data: None
        }
    );
    Capture {
        segments,
        keys: (a, b),
        version: request.version,
        checksum: agreed.checksum,
        initiator: third.tuple,
    }
}

/// The direction of each subflow's initiator-to-responder segments, in terms of the connection's roles.
type Sides = Vec<Tuple>;

/// Runs every captured MP_JOIN handshake through both roles.
fn replay_joins(capture: &Capture<'_>, done: &mut Done) -> Sides {
    let mut sides = vec![capture.initiator];
    let (a, b) = capture.keys;
    let as_seen_by = |local, remote| Keys {
        version: capture.version,
        local,
        remote,
    };
    for (at, syn) in capture.segments.iter().enumerate() {
        let Some(Ok(MpOption::Join(Join::Syn {
            backup,
            id,
            nonce,
            token,
        }))) = parse(&syn.mptcp).next()
        else {
            continue;
        };
        let from_initiator = token == b.token(capture.version);
        assert!(
            from_initiator || token == a.token(capture.version),
            "a token of either key"
        );
        let (opener, other) = if from_initiator {
            (as_seen_by(a, b), as_seen_by(b, a))
        } else {
            (as_seen_by(b, a), as_seen_by(a, b))
        };
        sides.push(if from_initiator {
            syn.tuple
        } else {
            syn.tuple.reversed()
        });
        assert_eq!(octets(join::syn(&opener, nonce, id, backup)), syn.mptcp);
        let request = join::request(&syn.mptcp).expect("a request");
        let rest = &capture.segments[at..];
        let syn_ack = rest
            .iter()
            .find(|s| s.tuple == syn.tuple.reversed() && s.flags.has(Flags::SYN))
            .expect("the SYN+ACK");
        let Some(Ok(MpOption::Join(Join::SynAck {
            backup,
            id,
            nonce: answer,
            ..
        }))) = parse(&syn_ack.mptcp).next()
        else {
            panic!("the SYN+ACK has MP_JOIN");
        };
        let joining = Joining::new(&request, answer);
        assert_eq!(octets(joining.syn_ack(&other, id, backup)), syn_ack.mptcp);
        let joined = join::syn_ack(&syn_ack.mptcp, &opener, nonce).expect("a right HMAC");
        let third = rest
            .iter()
            .find(|s| s.tuple == syn.tuple && s.flags == Flags::ACK)
            .expect("the third ACK");
        let mut captured = third.mptcp;
        clear_reserved(&mut captured);
        assert_eq!(octets(joined.ack), captured);
        assert_eq!(joining.third_ack(&other, &third.mptcp), Ok(()));
        done.joins += 1;
    }
    sides
}

/// The sender's and the receiver's key of a segment.
fn keys_of(capture: &Capture<'_>, sides: &Sides, segment: &Captured) -> Option<(Key, Key)> {
    let (a, b) = capture.keys;
    if sides.contains(&segment.tuple) {
        Some((a, b))
    } else {
        sides.contains(&segment.tuple.reversed()).then_some((b, a))
    }
}

fn check_add_addrs(capture: &Capture<'_>, sides: &Sides, done: &mut Done) {
    for segment in capture.segments {
        for option in parse(&segment.mptcp).flatten() {
            if let MpOption::AddAddr(add) = option
                && let AddAddrProof::Hmac(hmac) = add.proof
            {
                let (sender, receiver) = keys_of(capture, sides, segment).expect("a subflow");
                assert_eq!(
                    add_addr_hmac(&Keyed::new(&sender, &receiver), add.id, add.addr, add.port),
                    hmac
                );
                done.add_addrs += 1;
            }
        }
    }
}

/// Octets of one direction of a subflow, by relative sequence number.
fn gather(capture: &Capture<'_>, tuple: Tuple) -> BTreeMap<u32, u8> {
    let syn = capture
        .segments
        .iter()
        .find(|s| s.tuple == tuple && s.flags.has(Flags::SYN))
        .expect("a SYN");
    let data = capture
        .segments
        .iter()
        .filter(|s| s.tuple == tuple && s.len > 0);
    data.flat_map(|s| (s.seq.wrapping_sub(syn.seq)..).zip(s.payload.iter().copied()))
        .collect()
}

fn check_mappings(capture: &Capture<'_>, sides: &Sides, done: &mut Done, path: &Path) {
    let directions = sides.iter().flat_map(|&tuple| [tuple, tuple.reversed()]);
    for tuple in directions {
        let octets = gather(capture, tuple);
        for segment in capture.segments.iter().filter(|s| s.tuple == tuple) {
            let (sender, _) = keys_of(capture, sides, segment).expect("a subflow");
            let idsn = sender.idsn(capture.version);
            for mapping in parse(&segment.mptcp)
                .flatten()
                .filter_map(|o| mapping(&o, idsn))
            {
                mapping.classify(segment.len).expect("a sound mapping");
                done.data_fins += usize::from(mapping.data_fin);
                assert_eq!(
                    mapping.checksum.is_some(),
                    capture.checksum,
                    "{}",
                    path.display()
                );
                if let Some(checksum) = mapping.checksum {
                    let data: Vec<u8> = (mapping.ssn..)
                        .take(usize::from(mapping.len - u16::from(mapping.data_fin)))
                        .map(|at| octets[&at])
                        .collect();
                    let dsn = DataSeq::expand(mapping.dsn, idsn);
                    let computed = dss_checksum(dsn, mapping.ssn, mapping.len, Sum::of(&data));
                    assert_eq!(computed, checksum, "{}: DSN {:#x}", path.display(), dsn.0);
                    done.checksums += 1;
                }
            }
        }
    }
}

/// The mapping of a DSS, or of the first data's MP_CAPABLE.
fn mapping(option: &MpOption, idsn: DataSeq) -> Option<Mapping> {
    match option {
        MpOption::Dss(dss) => dss.mapping,
        MpOption::Capable(capable) => match capable.form {
            CapableForm::Data { len, checksum, .. } => Some(Mapping {
                dsn: (idsn + 1).full(),
                ssn: 1,
                len,
                checksum,
                data_fin: false,
            }),
            _ => None,
        },
        _ => None,
    }
}
