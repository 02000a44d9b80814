//! Either box loses what it knew: connections that were split end soon at both ends, those that were not go on.

use crate::common::customer::{edge_config, hag_config};
use crate::common::site::{Site, announced, edge_counter, network_of, transfer};
use crate::common::{S, Sim, counter};
use apps::engine::{EngineConfig, Rule, Select};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use stack::time::Duration;

/// The port of connections that are not bonded.
const PLAIN: u16 = 81;

fn edge() -> EngineConfig {
    let rule = Rule {
        port: Some((PLAIN, PLAIN)),
        ..Rule::default()
    };
    EngineConfig {
        select: Select {
            exclude: vec![rule],
            ..Select::default()
        },
        ..edge_config(announced())
    }
}

/// A bonded connection and a plain one, both in use.
fn two(sim: &mut Sim<Site>) -> [[SocketHandle; 2]; 2] {
    [(80, 40_000), (PLAIN, 40_001)].map(|(port, from)| {
        let server = sim.hosts[1].host().listen(port);
        let client = sim.hosts[0].host().connect(from, (S, port));
        let up = sim.run(Duration::from_secs(5), |sim| {
            sim.hosts[0].host().tcp(client).may_send() && sim.hosts[1].host().tcp(server).may_send()
        });
        assert!(up, "no connection to {port}");
        transfer(sim, [client, server], 0, 200_000);
        sim.idle(Duration::from_secs(1));
        [client, server]
    })
}

/// Sends a little from `at`, and says how long it takes until that end is reset.
fn reset_after(sim: &mut Sim<Site>, sockets: [SocketHandle; 2], at: usize) -> Duration {
    let began = sim.now;
    sim.hosts[at].host().send(sockets[at], b"are you there?");
    let reset = sim.run(Duration::from_secs(20), |sim| {
        sim.hosts[at].host().tcp(sockets[at]).state() == State::Closed
    });
    assert!(reset, "end {at} hears nothing");
    sim.now.since(began)
}

/// One round trip over the primary: 2 x (10 + 5) ms, and a little.
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// An end's first retransmission timeout (RFC 6298 2.1), and a round trip.
const SENT_AGAIN: Duration = Duration::from_millis(1_040);

/// A round trip by each access in turn, and twice one that a box needs to learn its neighbor there anew.
const BY_EACH: Duration = Duration::from_millis(2 * 20 + 2 * 40 + 10);

#[test]
fn a_restart_in_the_network_resets_what_was_split_and_nothing_else() {
    // The host's segment is the box's at the edge, and answered at once. The server's shows that box what has happened,
    // and finds its relay gone when it is sent again.
    for (first, soon) in [(0, ROUND_TRIP), (1, SENT_AGAIN)] {
        let mut sim = network_of(&edge(), hag_config());
        let [bonded, plain] = two(&mut sim);
        sim.replace_box(network_of(&edge(), hag_config()));
        let took = reset_after(&mut sim, bonded, first);
        assert!(took <= soon, "end {first} is reset after {took:?}");
        assert_eq!(edge_counter(&mut sim, "relay_closed_forgotten"), 1);
        assert_eq!(edge_counter(&mut sim, "relays"), 0);
        let took = reset_after(&mut sim, bonded, 1 - first);
        assert!(took <= ROUND_TRIP, "the other is reset after {took:?}");
        transfer(&mut sim, plain, 0, 100_000);
        transfer(&mut sim, plain, 1, 100_000);
        assert!(counter(&mut sim, "mid_stream_reset") > 0);
    }
}

#[test]
fn a_restart_at_the_edge_resets_what_was_split_and_nothing_else() {
    // The host's segment passes the box at the edge as a stranger's. The one in the network cannot place it, and its answer
    // tells both of them; the segment that is sent again meets nobody but the server, which has been reset by then.
    for (first, soon) in [(0, SENT_AGAIN), (1, BY_EACH)] {
        let mut sim = network_of(&edge(), hag_config());
        let [bonded, plain] = two(&mut sim);
        let Site::Customer(customer) = &mut sim.hosts[0] else {
            panic!("the customer comes first");
        };
        customer.restart(&edge());
        let took = reset_after(&mut sim, bonded, first);
        assert!(took <= soon, "end {first} is reset after {took:?}");
        assert!(edge_counter(&mut sim, "mid_stream_reset") > 0);
        assert_eq!(
            counter(&mut sim, "relays"),
            0,
            "whatever the other end does"
        );
        let took = reset_after(&mut sim, bonded, 1 - first);
        assert!(took <= ROUND_TRIP, "the other is reset after {took:?}");
        transfer(&mut sim, plain, 0, 100_000);
        transfer(&mut sim, plain, 1, 100_000);
    }
}

/// Neither host has anything to say, and each is told of its own box when it asks whether the other is there.
#[test]
fn t16_a_restart_is_found_out_although_nobody_says_anything() {
    let mut config = edge();
    config.timeouts.keepalive = Duration::from_secs(300);
    let mut sim = network_of(&config, hag_config());
    let [bonded, _] = two(&mut sim);
    for (at, socket) in [0, 1].into_iter().zip(bonded) {
        let every = smoltcp::time::Duration::from_secs(20);
        sim.hosts[at].host().tcp(socket).set_keep_alive(Some(every));
    }
    sim.replace_box(network_of(&config, hag_config()));
    sim.idle(Duration::from_secs(301));
    assert_eq!(edge_counter(&mut sim, "relay_closed_forgotten"), 1);
    assert_eq!(sim.hosts[0].host().tcp(bonded[0]).state(), State::Closed);
}
