//! A host behind a box at the customer's edge, two accesses, the box in the network, and a server: both ends plain TCP.
#![allow(missing_docs)]

mod common;

use apps::control::{Command, Reply};
use apps::engine::{EdgeSettings, EngineConfig, Occupancy};
use common::customer::{Customer, hag_config};
use common::{ACCESS1, ACCESS2, Host, Node, S, S6, Sim, Way, link, pattern, server, sim_of};
use dataplane::App;
use smoltcp::iface::SocketHandle;
use stack::Instant;
use stack::time::Duration;

#[expect(clippy::large_enum_variant, reason = "a test has two of them")]
enum Site {
    Customer(Customer),
    Server(Host),
}

impl Site {
    fn node(&mut self) -> &mut dyn Node {
        match self {
            Self::Customer(node) => node,
            Self::Server(node) => node,
        }
    }

    fn host(&mut self) -> &mut Host {
        match self {
            Self::Customer(node) => &mut node.host,
            Self::Server(node) => node,
        }
    }
}

impl Node for Site {
    fn deliver(&mut self, now: Instant, nic: usize, frame: Vec<u8>) {
        self.node().deliver(now, nic, frame);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        self.node().poll(now, out);
    }

    fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        self.node().next_deadline(now)
    }
}

fn announced() -> EdgeSettings {
    EdgeSettings {
        hag: Vec::new(),
        hag_prefixes: vec![
            "10.99.0.0/24".parse().unwrap(),
            "fd00:99::/64".parse().unwrap(),
        ],
    }
}

fn configured() -> EdgeSettings {
    EdgeSettings {
        hag: vec!["10.99.0.2".parse().unwrap()],
        hag_prefixes: Vec::new(),
    }
}

fn network(edge: EdgeSettings, hag: EngineConfig) -> Sim<Site> {
    let hosts = vec![Site::Customer(Customer::new(edge)), Site::Server(server())];
    let links = vec![link(0, 0, 10), link(0, 1, 20), link(1, 0, 5)];
    sim_of(hag, hosts, links, 1)
}

fn connect(sim: &mut Sim<Site>, to: &str) -> [SocketHandle; 2] {
    let server = sim.hosts[1].host().listen(80);
    let client = sim.hosts[0].host().connect(40_000, (to, 80));
    let up = sim.run(Duration::from_secs(10), |sim| {
        sim.hosts[0].host().tcp(client).may_send() && sim.hosts[1].host().tcp(server).may_send()
    });
    assert!(up, "no connection");
    [client, server]
}

/// Sends `len` octets from host `from` to the other, and compares them.
fn transfer(sim: &mut Sim<Site>, sockets: [SocketHandle; 2], from: usize, len: usize) {
    let data = pattern(len, 5);
    let (mut sent, mut got) = (0, Vec::new());
    let done = sim.run(Duration::from_secs(120), |sim| {
        sent += sim.hosts[from].host().send(sockets[from], &data[sent..]);
        sim.hosts[1 - from].host().recv(sockets[1 - from], &mut got);
        got.len() == data.len()
    });
    assert!(done, "{} of {len} octets came", got.len());
    assert!(got == data, "not the octets that were sent");
}

fn close(sim: &mut Sim<Site>, sockets: [SocketHandle; 2]) {
    for at in [0, 1] {
        sim.hosts[at].host().tcp(sockets[at]).close();
        sim.idle(Duration::from_secs(3));
    }
    sim.idle(Duration::from_secs(130));
    assert_eq!(held_at_edge(sim), Occupancy::default());
    assert_eq!(sim.worker.app().occupancy(), Occupancy::default());
}

fn held_at_edge(sim: &Sim<Site>) -> Occupancy {
    match &sim.hosts[0] {
        Site::Customer(customer) => customer.occupancy(),
        Site::Server(_) => panic!("the customer comes first"),
    }
}

/// Payload-sized frames seen on the link of `port`.
fn large(sim: &Sim<Site>, port: usize, way: Way) -> usize {
    sim.on(port, way)
        .filter(|seen| seen.frame.len() > 1_000)
        .count()
}

/// The IPv4 sources of what the customer sent on `port`.
fn sources(sim: &Sim<Site>, port: usize) -> Vec<[u8; 4]> {
    let mut all: Vec<[u8; 4]> = sim
        .on(port, Way::ToBox)
        .filter(|seen| seen.frame[12..14] == [8, 0])
        .map(|seen| seen.frame[26..30].try_into().unwrap())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

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
        assert_eq!(sources(&sim, ACCESS1), v4([11, 2]));
        assert_eq!(sources(&sim, ACCESS2), v4([2, 2]));
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
    assert!(sources(&sim, ACCESS2).is_empty());
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
    assert!(sources(&sim, ACCESS2).is_empty());
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

/// A counter of the box at the edge.
fn edge_counter(sim: &mut Sim<Site>, name: &str) -> u64 {
    let now = sim.now;
    let Site::Customer(customer) = &mut sim.hosts[0] else {
        panic!("the customer comes first");
    };
    let app = customer.worker.app_mut();
    let Reply::Counters(reply) = app.command(now, Command::ShowCounters, &mut Vec::new()) else {
        panic!("counters were asked for");
    };
    reply.counters[name]
}
