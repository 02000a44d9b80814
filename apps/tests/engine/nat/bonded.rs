//! Bonded flows of private hosts.

use super::*;
use crate::common::accesses::customer;
use crate::common::customer::hag_config;
use crate::common::raw::SYN_OPTIONS;
use crate::common::site::{
    connect, edge_counter, held_at_edge, large, network_of, sources, transfer,
};
use crate::common::{ACCESS1, ACCESS2, CORE, Node, S};
use dataplane::BURST;

#[test]
fn a_private_host_is_bonded_and_the_server_sees_the_public_address_alone() {
    let mut sim = network_of(&config(Some(Inbound::Drop)), hag_config());
    let sockets = connect(&mut sim, S);
    transfer(&mut sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(1));
    for from in [0, 1] {
        transfer(&mut sim, sockets, from, 4_000_000);
    }
    for (port, way) in [
        (ACCESS1, Way::ToBox),
        (ACCESS2, Way::ToBox),
        (ACCESS2, Way::FromBox),
    ] {
        let frames = large(&sim, port, way);
        assert!(frames > 200, "{frames} on {port} {way:?}");
    }
    // The public address, and the second access network's.
    for (port, way, source) in [
        (ACCESS1, Way::ToBox, [10, 1, 0, 2]),
        (ACCESS2, Way::ToBox, [10, 2, 0, 2]),
        (CORE, Way::FromBox, [10, 1, 0, 2]),
    ] {
        assert_eq!(sources(&sim, port, way), [source]);
    }
    assert_eq!(held_at_edge(&sim).relays, 1);
    // However long nothing passes, the flow keeps its port.
    sim.idle(Duration::from_secs(500));
    assert_eq!(held_at_edge(&sim).mappings, 2);
    transfer(&mut sim, sockets, 0, 100_000);
    // Nor is it lost to what comes for it.
    sim.idle(Duration::from_secs(500));
    assert_eq!(held_at_edge(&sim).resting, 1);
    sim.links[ACCESS2].shape.down = true;
    transfer(&mut sim, sockets, 1, 100_000);
    sim.links[ACCESS2].shape.down = false;
    assert_eq!(sources(&sim, CORE, Way::FromBox), [[10, 1, 0, 2]]);
    for at in [0, 1] {
        sim.hosts[at].host().tcp(sockets[at]).close();
        sim.idle(Duration::from_secs(3));
    }
    sim.idle(Duration::from_secs(500));
    assert_eq!(held_at_edge(&sim).mappings, 1);
    assert_eq!(
        (held_at_edge(&sim).relays, held_at_edge(&sim).flows),
        (0, 0)
    );
    assert_eq!(sim.occupancy().relays, 0);
}

#[test]
fn a_bonded_flow_from_outside_reaches_the_host_behind_a_forward() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let syn = Tcp {
        dst_port: 8080,
        ..Tcp::capable_syn(FAR, 9_000, PUBLIC)
    };
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &syn)[0].1).unwrap();
    assert_eq!(
        (heard.src, heard.dst, heard.dst_port),
        (ip(FAR), ip(H1), 80)
    );
    assert_eq!(heard.option(30), None);
    assert_eq!(sim.occupancy().pending, 1);
    let mut answer = heard.answer(SYN | ACK, 5);
    answer.options = SYN_OPTIONS.to_vec();
    let (port, frame) = put_tcp(&mut sim, LAN, &answer).remove(0);
    let accepted = Tcp::parse(&frame).unwrap();
    assert_eq!(port, WAN);
    assert_eq!((accepted.src, accepted.src_port), (ip(PUBLIC), 8080));
    assert_eq!(accepted.dst_port, 9_000);
    assert!(accepted.option(30).is_some(), "bonded");
    // A port that leads nowhere is as silent to a bonded SYN as to any other.
    let stray = Tcp {
        dst_port: 8081,
        ..syn
    };
    assert_eq!(put_tcp(&mut sim, WAN, &stray), []);
}

#[test]
fn a_flow_that_is_too_dear_goes_unbonded_from_the_public_address_and_others_stay_bonded() {
    let mut sim = network_of(&config(Some(Inbound::Drop)), hag_config());
    let sockets = connect(&mut sim, S);
    transfer(&mut sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(1));
    // The box at the edge has far too much to do, with frames for nobody, and is asked for more flows than it has saved for.
    for _ in 0..130 {
        for _ in 0..BURST {
            let now = sim.now;
            customer(&mut sim).deliver(now, WAN - 1, vec![0x0e; 60]);
        }
    }
    sim.idle(Duration::from_millis(1));
    for port in 0..40 {
        sim.hosts[0].host().connect(41_000 + port, (S, 1_000));
    }
    let server = sim.hosts[1].host().listen(81);
    let client = sim.hosts[0].host().connect(40_001, (S, 81));
    let before = sim.seen.len();
    let up = sim.run(Duration::from_secs(1), |sim| {
        sim.hosts[0].host().tcp(client).may_send() && sim.hosts[1].host().tcp(server).may_send()
    });
    assert!(up, "no connection");
    assert!(edge_counter(&mut sim, "bypass_overload") >= 20);
    let asked = sim.seen[before..]
        .iter()
        .filter(|seen| seen.port == ACCESS1);
    let asked = asked.filter_map(|seen| Tcp::parse(&seen.frame));
    let asked: Vec<_> = asked
        .filter(|tcp| tcp.flags == SYN && tcp.dst_port == 81)
        .collect();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].src, asked[0].option(30)), (ip(PUBLIC), None));
    for from in [0, 1] {
        transfer(&mut sim, [client, server], from, 200_000);
    }
    assert_eq!(held_at_edge(&sim).relays, 1);
    for (from, way) in [(0, Way::ToBox), (1, Way::FromBox)] {
        sim.seen.clear();
        transfer(&mut sim, sockets, from, 2_000_000);
        let frames = large(&sim, ACCESS2, way);
        assert!(frames > 100, "{frames} {way:?}");
    }
    assert_eq!(sources(&sim, CORE, Way::FromBox), [[10, 1, 0, 2]]);
    for pair in [[client, server], sockets] {
        for at in [0, 1] {
            sim.hosts[at].host().tcp(pair[at]).close();
            sim.idle(Duration::from_secs(3));
        }
    }
    sim.idle(Duration::from_secs(500));
    let held = held_at_edge(&sim);
    assert_eq!((held.relays, held.flows, held.pending), (0, 0, 0));
}
