//! Versions 0 and 1 of Multipath TCP between the box at the customer's edge and the one in the network: whatever each
//! speaks, every connection works, and it is bonded as soon as both know a version that both speak.

use crate::common::customer::{LAN_HOST, edge_config, hag_config};
use crate::common::site::{
    Site, announced, close, configured, connect, edge_counter, held_at_edge, large, network_of,
    transfer,
};
use crate::common::{ACCESS1, ACCESS2, CORE, S, S6, Sim, Way, counter};
use apps::control::{Command, ConnectionState, Reply};
use apps::engine::{EdgeSettings, EngineConfig, JoinSettings, JoinSubscriber, Occupancy};
use mptcp::{Version, Versions};
use smoltcp::iface::SocketHandle;
use stack::time::Duration;

/// Boxes that speak `edge` and `hag`, asking for checksums or not.
fn boxes(edge: Versions, hag: Versions, checksum: (bool, bool)) -> Sim<Site> {
    boxes_with(edge, hag, checksum, false)
}

fn boxes_with(edge: Versions, hag: Versions, checksum: (bool, bool), inbound: bool) -> Sim<Site> {
    let edge = EngineConfig {
        versions: edge,
        checksum: checksum.0,
        ..edge_config(announced())
    };
    let hag = EngineConfig {
        versions: hag,
        checksum: checksum.1,
        inbound,
        ..hag_config()
    };
    network_of(&edge, hag)
}

/// State and version of the connections that the box in the network shows.
fn shown(sim: &mut Sim<Site>) -> Vec<(ConnectionState, Option<u8>)> {
    let Reply::Connections(reply) = sim.command(Command::ShowConnections { limit: 10 }) else {
        panic!("connections were asked for");
    };
    let connections = reply.connections.iter();
    connections.map(|c| (c.state, c.version)).collect()
}

/// One connection of `version`, or plain TCP: data crosses byte for byte both ways, by both accesses if it is bonded.
fn one(sim: &mut Sim<Site>, version: Option<Version>) {
    one_to(sim, S, version);
}

fn one_to(sim: &mut Sim<Site>, to: &str, version: Option<Version>) {
    let sockets = connect(sim, to);
    check(sim, sockets, version);
}

/// The same, opened by the server as a client of the customer's host.
fn one_in(sim: &mut Sim<Site>, version: Option<Version>) {
    let host = sim.hosts[0].host().listen(80);
    let client = sim.hosts[1].host().connect(40_000, (LAN_HOST, 80));
    let up = sim.run(Duration::from_secs(10), |sim| {
        sim.hosts[0].host().tcp(host).may_send() && sim.hosts[1].host().tcp(client).may_send()
    });
    assert!(up, "no connection");
    check(sim, [host, client], version);
}

fn check(sim: &mut Sim<Site>, sockets: [SocketHandle; 2], version: Option<Version>) {
    transfer(sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(1));
    let expected = version.map(|version| (ConnectionState::Mptcp, Some(version.wire())));
    assert_eq!(shown(sim), Vec::from_iter(expected));
    assert_eq!(held_at_edge(sim).relays, usize::from(version.is_some()));
    for (from, way) in [(0, Way::ToBox), (1, Way::FromBox)] {
        sim.seen.clear();
        transfer(sim, sockets, from, 3_000_000);
        let [primary, secondary] = [ACCESS1, ACCESS2].map(|port| large(sim, port, way));
        assert!(primary > 200, "{primary} {way:?}");
        assert_eq!(secondary > 200, version.is_some(), "{secondary} {way:?}");
        let to_server: Vec<_> = sim.on(CORE, Way::FromBox).collect();
        assert!(to_server.iter().all(|seen| !has_option_30(&seen.frame)));
    }
    close(sim, sockets);
}

/// Whether a TCP segment over IPv4 or IPv6 has an option of kind 30.
fn has_option_30(frame: &[u8]) -> bool {
    let l4 = match frame[12..14] {
        [8, 0] if frame[23] == 6 => &frame[34..],
        [0x86, 0xdd] if frame[20] == 6 => &frame[54..],
        _ => return false,
    };
    let options = &l4[20..usize::from(l4[12] >> 4) * 4];
    stack::wire::tcp::parse_options(options).is_some_and(|options| !options.mptcp.is_empty())
}

#[test]
fn each_version_bonds_with_and_without_checksums_in_both_families() {
    for (versions, version) in [(Versions::V0, Version::V0), (Versions::V1, Version::V1)] {
        for checksum in [(false, false), (true, true), (true, false), (false, true)] {
            let mut sim = boxes(versions, versions, checksum);
            one(&mut sim, Some(version));
            one_to(&mut sim, S6, Some(version));
            assert_eq!(counter(&mut sim, "dss_checksum_error"), 0);
            assert_eq!(counter(&mut sim, "fallback_data"), 0);
            let in_version_0 = counter(&mut sim, "relay_opened_version_0");
            assert_eq!(in_version_0, if version == Version::V0 { 2 } else { 0 });
            assert_eq!(
                edge_counter(&mut sim, "relay_opened_version_0"),
                in_version_0
            );
        }
    }
}

#[test]
fn version_0_joins_as_configured_without_an_announcement() {
    let edge = EngineConfig {
        versions: Versions::V0,
        ..edge_config(configured())
    };
    let hag = EngineConfig {
        versions: Versions::V0,
        ..hag_config()
    };
    one(&mut network_of(&edge, hag), Some(Version::V0));
}

/// The box in the network opens the subflow: the token that it names is of the customer's key, by the version's hash.
#[test]
fn each_version_joins_from_the_network() {
    for version in [Version::V0, Version::V1] {
        let versions = match version {
            Version::V0 => Versions::V0,
            Version::V1 => Versions::V1,
        };
        let edge = EngineConfig {
            versions,
            ..edge_config(EdgeSettings::default())
        };
        let mut hag = EngineConfig {
            versions,
            join: JoinSettings {
                subscribers: vec![JoinSubscriber {
                    prefix: "10.11.0.0/24".parse().unwrap(),
                    addresses: vec!["10.2.0.2".parse().unwrap()],
                }],
                announced: false,
                sole: true,
            },
            ..hag_config()
        };
        hag.net.own.clone_from(&hag.announce);
        let mut sim = network_of(&edge, hag);
        one(&mut sim, Some(version));
        assert_eq!(
            counter(&mut sim, "join_opened"),
            1,
            "by the box in the network"
        );
    }
}

/// What the boxes settle on, flow after flow.
#[test]
fn mixed_boxes_settle_on_what_both_speak() {
    use Version::{V0, V1};
    let rows: [(Versions, Versions, [Option<Version>; 3]); 8] = [
        (Versions::V1ThenV0, Versions::V1ThenV0, [Some(V1); 3]),
        (Versions::V0ThenV1, Versions::V1ThenV0, [Some(V0); 3]),
        (Versions::V1ThenV0, Versions::V1, [Some(V1); 3]),
        (Versions::V0, Versions::V1ThenV0, [Some(V0); 3]),
        (Versions::V1, Versions::V0ThenV1, [Some(V1); 3]),
        // The box in the network does not see the first flow's option; the next flow asks for the other version.
        (Versions::V1ThenV0, Versions::V0, [None, Some(V0), Some(V0)]),
        (Versions::V0ThenV1, Versions::V1, [None, Some(V1), Some(V1)]),
        (Versions::V1, Versions::V0, [None; 3]),
    ];
    for (edge, hag, expected) in rows {
        let mut sim = boxes(edge, hag, (false, false));
        for version in expected {
            one(&mut sim, version);
        }
        let plain = expected.iter().filter(|version| version.is_none()).count();
        assert_eq!(
            counter(&mut sim, "bypass_version"),
            plain as u64,
            "{edge:?} {hag:?}"
        );
        let changed = u64::from(plain == 1);
        assert_eq!(
            edge_counter(&mut sim, "version_changed"),
            changed,
            "{edge:?} {hag:?}"
        );
    }
}

/// The box in the network opens these, so it is its order that counts; it remembers for each subscriber.
#[test]
fn connections_from_the_internet_settle_likewise() {
    use Version::{V0, V1};
    let rows: [(Versions, Versions, [Option<Version>; 3]); 6] = [
        (Versions::V1ThenV0, Versions::V1ThenV0, [Some(V1); 3]),
        (Versions::V1ThenV0, Versions::V0ThenV1, [Some(V0); 3]),
        (Versions::V1ThenV0, Versions::V0, [Some(V0); 3]),
        (Versions::V0, Versions::V1ThenV0, [None, Some(V0), Some(V0)]),
        (Versions::V1, Versions::V0ThenV1, [None, Some(V1), Some(V1)]),
        (Versions::V0, Versions::V1, [None; 3]),
    ];
    for (edge, hag, expected) in rows {
        let mut sim = boxes_with(edge, hag, (true, false), true);
        for version in expected {
            one_in(&mut sim, version);
        }
        let changed = u64::from(expected[0].is_none() && expected[1].is_some());
        assert_eq!(
            counter(&mut sim, "version_changed"),
            changed,
            "{edge:?} {hag:?}"
        );
    }
}

#[test]
fn version_0_alone_beside_version_1_alone_is_plain_tcp() {
    let mut sim = boxes(Versions::V0, Versions::V1, (true, false));
    one(&mut sim, None);
    assert_eq!(counter(&mut sim, "bypass_version"), 1);
    assert_eq!(
        held_at_edge(&sim),
        Occupancy::default(),
        "the key's token too"
    );
}

/// A lost packet of the handshake costs time, never the connection. The third SYN of a host goes plain.
#[test]
fn each_packet_of_a_version_0_handshake_may_be_lost() {
    for lost in 0..8 {
        let mut sim = boxes(Versions::V0, Versions::V0, (true, true));
        let sockets = connect_without(&mut sim, lost);
        transfer(&mut sim, sockets, 0, 300_000);
        transfer(&mut sim, sockets, 1, 300_000);
        assert_eq!(
            shown(&mut sim),
            [(ConnectionState::Mptcp, Some(0))],
            "{lost}"
        );
        close(&mut sim, sockets);
    }
}

/// Connects while the primary loses what crosses it in the `lost`-th eighth of the handshake's time.
fn connect_without(sim: &mut Sim<Site>, lost: u64) -> [SocketHandle; 2] {
    let server = sim.hosts[1].host().listen(80);
    let client = sim.hosts[0].host().connect(40_000, (S, 80));
    // 10 ms on the primary and 5 ms on the core, each way.
    sim.idle(Duration::from_millis(6 * lost));
    sim.links[ACCESS1].shape.down = true;
    sim.idle(Duration::from_millis(6));
    sim.links[ACCESS1].shape.down = false;
    let up = sim.run(Duration::from_secs(20), |sim| {
        sim.hosts[0].host().tcp(client).may_send() && sim.hosts[1].host().tcp(server).may_send()
    });
    assert!(up, "no connection: {lost}");
    [client, server]
}
