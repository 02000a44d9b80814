//! Tuples that are used again, commands amid set-up, and what a SYN asks for that neither leg can keep.

mod common;

use common::raw::{ACK, Tcp};
use common::{
    ACCESS1, CLIENT, CORE, H, MAC_AT, S, SERVER, Way, assert_empty, connect, counter, plain_sim,
    port_mac,
};
use stack::time::Duration;

#[test]
fn a_tuple_used_again_outlives_the_time_wait_of_its_former_life() {
    let mut sim = plain_sim(1);
    let first = connect(&mut sim, 40_000, S);
    sim.hosts[CLIENT].tcp(first.client).close();
    sim.idle(Duration::from_secs(1));
    sim.hosts[SERVER].tcp(first.server).close();
    sim.idle(Duration::from_secs(1));
    assert_eq!(counter(&mut sim, "relay_closed_clean"), 1);
    assert_eq!(sim.worker.app().occupancy().time_waits, 1);
    // The client has no memory of its first connection.
    sim.hosts[CLIENT].sockets.remove(first.client);
    let second = connect(&mut sim, 40_000, S);
    sim.idle(Duration::from_secs(100));
    sim.hosts[SERVER].send(second.server, b"still one flow");
    sim.idle(Duration::from_secs(1));
    let mut got = Vec::new();
    sim.hosts[CLIENT].recv(second.client, &mut got);
    assert_eq!(got, b"still one flow");
    assert_eq!(counter(&mut sim, "relays"), 1);
    sim.hosts[CLIENT].tcp(second.client).abort();
    assert_empty(&mut sim);
}

#[test]
fn a_syn_on_the_tuple_of_a_relay_draws_a_challenge_ack_and_changes_nothing() {
    let mut sim = plain_sim(1);
    let pair = connect(&mut sim, 40_000, S);
    let before = sim.seen.len();
    for mut syn in [Tcp::capable_syn(H, 40_000, S), Tcp::plain_syn(H, 40_000, S)] {
        syn.seq = 1;
        sim.inject(ACCESS1, syn.frame(MAC_AT[ACCESS1], port_mac(ACCESS1)));
        sim.idle(Duration::from_millis(500));
    }
    let of = |port| {
        let out = sim.seen[before..].iter();
        let out = out.filter(move |s| s.port == port && s.way == Way::FromBox);
        out.filter_map(|s| Tcp::parse(&s.frame)).collect::<Vec<_>>()
    };
    assert!(
        of(CORE).iter().all(|tcp| tcp.flags == ACK),
        "{:?}",
        of(CORE)
    );
    assert!(!of(ACCESS1).is_empty());
    assert!(of(ACCESS1).iter().all(|tcp| tcp.flags == ACK));
    sim.hosts[SERVER].send(pair.server, b"unmoved");
    sim.idle(Duration::from_secs(1));
    let mut got = Vec::new();
    sim.hosts[CLIENT].recv(pair.client, &mut got);
    assert_eq!(got, b"unmoved");
}
