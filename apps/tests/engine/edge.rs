//! A host behind a box at the customer's edge, two accesses, the box in the network, and a server: both ends plain TCP.

use crate::common::customer::{edge_config, hag_config};
use crate::common::site::{
    Site, announced, close, configured, connect, edge_counter, held_at_edge, large, network,
    network_of, sources, transfer,
};
use crate::common::{ACCESS1, ACCESS2, S, S6, Sim, Way};
use apps::engine::{EdgeSettings, EngineConfig, Limits, Occupancy};
use stack::time::Duration;

fn both_ways_by_both_accesses(edge: EdgeSettings, to: &str) -> Sim<Site> {
    let mut sim = network(edge, hag_config());
    let sockets = connect(&mut sim, to);
    transfer(&mut sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(1));
    assert_eq!(held_at_edge(&sim).relays, 1);
    sim.seen.clear();
    for (from, way) in [(0, Way::ToBox), (1, Way::FromBox)] {
        transfer(&mut sim, sockets, from, 4_000_000);
        for port in [ACCESS1, ACCESS2] {
            let frames = large(&sim, port, way);
            assert!(frames > 200, "{frames} on {port} {way:?}");
        }
    }
    // BCP 38: each access carries its own addresses alone, the server sees the host's.
    let v4 = |last: [u8; 2]| vec![[10, last[0], 0, last[1]]];
    if to == S {
        assert_eq!(sources(&sim, ACCESS1, Way::ToBox), v4([11, 2]));
        assert_eq!(sources(&sim, ACCESS2, Way::ToBox), v4([2, 2]));
    }
    close(&mut sim, sockets);
    sim
}

#[test]
fn data_crosses_by_both_accesses_after_an_announcement() {
    both_ways_by_both_accesses(announced(), S);
}

#[test]
fn ipv6_data_crosses_by_both_accesses_after_an_announcement() {
    both_ways_by_both_accesses(announced(), S6);
}

#[test]
fn data_crosses_by_both_accesses_as_configured_without_an_announcement() {
    both_ways_by_both_accesses(configured(), S);
}

#[test]
fn an_announced_address_outside_the_prefixes_is_not_joined() {
    let mut sim = network(EdgeSettings::default(), hag_config());
    let sockets = connect(&mut sim, S);
    transfer(&mut sim, sockets, 0, 1_000_000);
    assert_eq!(large(&sim, ACCESS2, Way::ToBox), 0);
    assert!(sources(&sim, ACCESS2, Way::ToBox).is_empty());
    close(&mut sim, sockets);
}

#[test]
fn without_a_box_on_the_path_the_flow_is_plain_and_nothing_is_kept() {
    let hag = EngineConfig {
        subscribers: Vec::new(),
        ..hag_config()
    };
    let mut sim = network(announced(), hag);
    let sockets = connect(&mut sim, S);
    assert_eq!(held_at_edge(&sim).relays, 0);
    assert_eq!(held_at_edge(&sim).pending, 0);
    assert_eq!(held_at_edge(&sim).flows, 0);
    assert_eq!(held_at_edge(&sim).tokens, 0);
    transfer(&mut sim, sockets, 0, 500_000);
    transfer(&mut sim, sockets, 1, 500_000);
    assert!(sources(&sim, ACCESS2, Way::ToBox).is_empty());
    close(&mut sim, sockets);
}

#[test]
fn a_servers_refusal_reaches_the_host() {
    let mut sim = network(announced(), hag_config());
    let client = sim.hosts[0].host().connect(40_000, (S, 81));
    let refused = sim.run(Duration::from_secs(2), |sim| {
        !sim.hosts[0].host().tcp(client).is_open()
    });
    assert!(refused);
    sim.idle(Duration::from_secs(130));
    assert_eq!(held_at_edge(&sim), Occupancy::default());
}

#[test]
fn one_direction_goes_on_after_the_other_was_closed() {
    let mut sim = network(announced(), hag_config());
    let sockets = connect(&mut sim, S);
    transfer(&mut sim, sockets, 0, 10_000);
    sim.hosts[0].host().tcp(sockets[0]).close();
    let seen = sim.run(Duration::from_secs(2), |sim| {
        !sim.hosts[1].host().tcp(sockets[1]).may_recv()
    });
    assert!(seen, "the server does not see the end");
    transfer(&mut sim, sockets, 1, 1_000_000);
    close(&mut sim, sockets);
}

#[test]
fn a_lost_secondary_costs_no_octet() {
    let mut sim = network(announced(), hag_config());
    let sockets = connect(&mut sim, S);
    transfer(&mut sim, sockets, 0, 500_000);
    sim.links[ACCESS2].shape.down = true;
    transfer(&mut sim, sockets, 0, 2_000_000);
    transfer(&mut sim, sockets, 1, 2_000_000);
    close(&mut sim, sockets);
}

#[test]
fn a_secondary_that_comes_up_late_is_joined_after_a_while() {
    let mut sim = network(announced(), hag_config());
    sim.links[ACCESS2].shape.down = true;
    let sockets = connect(&mut sim, S);
    transfer(&mut sim, sockets, 0, 500_000);
    sim.idle(Duration::from_secs(60));
    assert_eq!(edge_counter(&mut sim, "join_opened"), 0);
    sim.links[ACCESS2].shape.down = false;
    sim.idle(Duration::from_secs(60));
    assert!(edge_counter(&mut sim, "join_opened") > 0, "not joined");
    transfer(&mut sim, sockets, 0, 2_000_000);
    close(&mut sim, sockets);
}

#[test]
fn a_join_without_room_does_not_stop_its_connection() {
    let limits = Limits {
        joining: 0,
        ..Limits::default()
    };
    let edge = EngineConfig {
        limits,
        ..edge_config(announced())
    };
    let mut sim = network_of(&edge, hag_config());
    let sockets = connect(&mut sim, "10.9.0.2");
    transfer(&mut sim, sockets, 1, 200_000);
    assert!(edge_counter(&mut sim, "join_unopened") > 0);
    assert_eq!(edge_counter(&mut sim, "join_opened"), 0);
    close(&mut sim, sockets);
}
