//! Bonded flows of private hosts.

use super::*;
use crate::common::customer::hag_config;
use crate::common::raw::SYN_OPTIONS;
use crate::common::site::{connect, held_at_edge, large, network_of, sources, transfer};
use crate::common::{ACCESS1, ACCESS2, CORE, S};

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
