//! A recorded connection of version 0 between two kernels, each half played at a connection of ours in the place of the
//! other. Keys, random numbers and sequence numbers are those of the recording, so what we say must be what the kernel
//! said: MP_CAPABLE, tokens, HMACs, mappings with their checksums, the end of data.

#[path = "replay/player.rs"]
mod player;
#[path = "captures/reader.rs"]
mod reader;

use mptcp::option::{CapableForm, Join, parse};
use mptcp::{DataSeq, MpOption, Role, Version};
use player::{Player, Said};
use reader::Captured;
use stack::Tuple;
use stack::wire::tcp::Flags;
use std::collections::BTreeMap;
use std::path::Path;

const RECORDING: &str = "../testbed/captures/v0-kernel54-fullmesh-checksum.pcapng";

/// The server's port.
const SERVER: u16 = 5001;

/// The recording in the order of time: its two interfaces stand behind one another in the file.
fn recording() -> Vec<Captured> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORDING);
    let mut segments = reader::read(&path);
    segments.sort_by_key(|segment| segment.time);
    assert!(segments.len() > 600, "the whole recording");
    segments
}

fn sent_by(role: Role, segment: &Captured) -> bool {
    (segment.tuple.dst_port == SERVER) == (role == Role::Initiator)
}

/// What the kernel in the place of `role` said that follows from keys, random numbers and data alone.
fn recorded(segments: &[Captured], role: Role, idsn: DataSeq) -> Said {
    let mut said = Said::default();
    for segment in segments.iter().filter(|s| sent_by(role, s)) {
        said.note(
            segment.tuple,
            segment.seq,
            &segment.mptcp,
            &segment.payload,
            idsn,
        );
    }
    said
}

/// Plays the recording against a connection of ours in the place of `role`.
fn play(role: Role) -> (Player, Said) {
    let segments = recording();
    let mut player = Player::new(role, &segments);
    for segment in &segments {
        player.pass_until(segment.time);
        if sent_by(role, segment) {
            player.say(segment, &segments);
        } else {
            player.hear(segment, &segments);
        }
    }
    let said = recorded(&segments, role, player.local_idsn());
    (player, said)
}

fn compare(player: &Player, recorded: &Said) {
    let said = &player.said;
    assert_eq!(said.capable, recorded.capable, "MP_CAPABLE");
    assert_eq!(said.joins, recorded.joins, "tokens, nonces, HMACs");
    let differing: Vec<_> = recorded
        .mappings
        .iter()
        .filter(|mapping| !said.mappings.contains(mapping))
        .map(|(tuple, seq, dsn, ssn, len, checksum, _)| (tuple, seq, dsn, ssn, len, checksum))
        .take(3)
        .collect();
    assert!(differing.is_empty(), "not said: {differing:?}");
    assert_eq!(said.mappings.len(), recorded.mappings.len());
    assert_eq!(said.data_fin, recorded.data_fin, "the end of data");
    assert!(said.data_fin.is_some());
    assert_eq!(player.conn().params().version, Version::V0);
}

#[test]
fn m1_our_responder_says_what_the_recorded_server_said() {
    let (player, recorded) = play(Role::Responder);
    compare(&player, &recorded);
    assert_eq!(recorded.joins.len(), 3, "a SYN+ACK for each join");
    assert_eq!(recorded.mappings.len(), 1, "the server said one thing");
    // All that the client sent came out, in the order of its data sequence numbers.
    let first = player.remote_idsn() + 1;
    let mut sent = BTreeMap::new();
    for segment in recording().iter().filter(|s| sent_by(Role::Initiator, s)) {
        for option in parse(&segment.mptcp).flatten() {
            if let MpOption::Dss(dss) = option
                && let Some(mapping) = dss.mapping
                && segment.len > 0
            {
                let at = DataSeq::expand(mapping.dsn, first) - first;
                sent.insert(at, segment.payload.clone());
            }
        }
    }
    let sent: Vec<u8> = sent.into_values().flatten().collect();
    assert!(sent.len() > 600_000 && player.heard == sent);
    assert_eq!(
        player.lags, 0,
        "the kernel acknowledged no data before we did"
    );
    let (ours, theirs) = player.data_acks();
    assert_eq!(ours, theirs, "the DATA_FIN included");
}

#[test]
fn m1_our_initiator_says_what_the_recorded_client_said() {
    let (player, recorded) = play(Role::Initiator);
    compare(&player, &recorded);
    assert_eq!(
        recorded.joins.len(),
        6,
        "a SYN and a third ACK for each join"
    );
    assert!(recorded.mappings.len() > 400);
    assert_eq!(player.heard.len(), 101);
    let (ours, theirs) = player.data_acks();
    assert_eq!(ours, theirs, "the DATA_FIN included");
    let again: u64 = player
        .conn()
        .subflows()
        .map(|subflow| subflow.tcb().retransmitted())
        .sum();
    assert_eq!(again, 0, "every acknowledgment was understood");
}

#[test]
fn the_recording_is_of_version_0_with_checksums_and_three_joins() {
    let segments = recording();
    let mut joins = 0;
    let mut keys = 0;
    for segment in &segments {
        for option in parse(&segment.mptcp).flatten() {
            match option {
                MpOption::Capable(capable) => {
                    assert_eq!(capable.version, 0);
                    assert!(capable.flags.has(mptcp::option::CapableFlags::CHECKSUM));
                    keys += usize::from(matches!(capable.form, CapableForm::TwoKeys { .. }));
                },
                MpOption::Join(Join::Syn { .. }) => joins += 1,
                _ => {},
            }
        }
    }
    assert_eq!((keys, joins), (1, 3));
    let flows: Vec<Tuple> = segments
        .iter()
        .filter(|s| s.flags == Flags::SYN)
        .map(|s| s.tuple)
        .collect();
    assert_eq!(flows.len(), 4);
}
