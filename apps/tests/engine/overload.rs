//! More arrives than the core can do: new flows go on unbonded but for a few, and those that there are notice nothing of it.

use crate::common::customer::edge_config;
use crate::common::raw::Tcp;
use crate::common::script::sent_since;
use crate::common::{
    ACCESS1, CLIENT, CORE, Dumb, HAG2, MAC_AT, Node, S, SERVER, Sim, assert_empty, bonded_sim,
    config, counter, port_mac, raw_sim,
};
use apps::engine::{EdgeSettings, EngineConfig, Limits};
use dataplane::BURST;
use stack::time::Duration;

/// So many turns that leave frames behind are far more than it takes.
const TURNS: usize = 130;

/// Frames that must come for a flow to be bonded meanwhile, and of how many flows they are saved.
const PRICE: u64 = 512;
const SAVED: u64 = 16;

/// The core has had too much to do for a while: frames for nobody, as many as `TURNS` take.
fn overload<N: Node>(sim: &mut Sim<N>) {
    for _ in 0..TURNS * BURST {
        sim.inject(CORE, vec![0x0e; 60]);
    }
    sim.idle(Duration::from_millis(20));
}

/// It has had nothing to do for a few milliseconds.
fn rest<N: Node>(sim: &mut Sim<N>) {
    for _ in 0..PRICE {
        sim.idle(Duration::from_micros(100));
    }
}

/// SYNs of `count` flows; how many were bonded. Each must go on, and ask the server for no MPTCP.
fn ask<N: Node>(sim: &mut Sim<N>, from: u16, count: u16) -> u64 {
    let (before, opened) = (sim.seen.len(), counter(sim, "pending_opened"));
    for n in from..from + count {
        let syn = Tcp::capable_syn("10.1.0.9", n, S);
        sim.inject(ACCESS1, syn.frame(MAC_AT[ACCESS1], port_mac(ACCESS1)));
    }
    sim.idle(Duration::from_millis(15));
    let sent = sent_since(sim, before, CORE);
    let sent = sent
        .iter()
        .filter(|syn| (from..from + count).contains(&syn.src_port));
    let sent = sent.inspect(|syn| assert_eq!(syn.option(30), None));
    assert_eq!(sent.count(), usize::from(count), "each goes on once");
    counter(sim, "pending_opened") - opened
}

fn protecting(protect_established: bool) -> Sim<Dumb> {
    let limits = Limits {
        protect_established,
        ..Limits::default()
    };
    let mut sim = raw_sim(EngineConfig { limits, ..config() });
    // The next hop to the server is asked for once.
    ask(&mut sim, 999, 1);
    sim
}

#[test]
fn new_flows_have_a_part_of_what_arrives_and_the_others_go_on_unbonded() {
    let mut sim = protecting(true);
    assert_eq!(
        ask(&mut sim, 1_000, 150),
        150,
        "at once, as time is to spare"
    );
    rest(&mut sim);
    overload(&mut sim);
    let bonded = ask(&mut sim, 2_000, 300);
    // For what came, or was saved before; some turns leave nothing behind meanwhile.
    let least = (TURNS * BURST) as u64 / PRICE;
    assert!((least..=SAVED + 2).contains(&bonded), "{bonded}");
    assert_eq!(counter(&mut sim, "bypass_overload"), 300 - bonded);
    assert!(ask(&mut sim, 3_000, 64) <= 1, "they have had it");
    rest(&mut sim);
    assert_eq!(ask(&mut sim, 4_000, 64), 64, "as soon as nothing waits");
    assert!(counter(&mut sim, "bypass_overload") >= 363 - bonded);
    assert_empty(&mut sim);
}

#[test]
fn a_box_that_moves_as_much_as_it_can_bonds_the_few_flows_that_come() {
    let mut sim = protecting(true);
    for n in 0..10 {
        overload(&mut sim);
        assert_eq!(ask(&mut sim, 1_000 + 100 * n, 8), 8);
    }
    assert_eq!(counter(&mut sim, "bypass_overload"), 0);
}

#[test]
fn an_operator_may_have_all_bonded() {
    let mut sim = protecting(false);
    overload(&mut sim);
    assert_eq!(ask(&mut sim, 1_000, 300), 300);
    assert_eq!(counter(&mut sim, "bypass_overload"), 0);
}

#[test]
fn connections_that_there_are_get_their_subflows() {
    let mut sim = bonded_sim(config(), 1);
    sim.hosts[SERVER].tcp().listen(80);
    let now = sim.now;
    sim.hosts[CLIENT].mptcp().connect(now, 40_000, (S, 80));
    sim.idle(Duration::from_secs(1));
    let before = sim.hosts[CLIENT].mptcp().subflows();
    overload(&mut sim);
    assert!(ask(&mut sim, 1_000, 300) < 50);
    let (now, to) = (sim.now, HAG2.parse().unwrap());
    sim.hosts[CLIENT].mptcp().join(now, to, 80);
    sim.idle(Duration::from_millis(200));
    assert_eq!(sim.hosts[CLIENT].mptcp().subflows(), before + 1);
}

#[test]
fn at_the_customers_edge_a_host_goes_on_without_an_offer() {
    let mut config = edge_config(EdgeSettings::default());
    for (port, interface) in config.net.interfaces.iter_mut().enumerate() {
        interface.mac = port_mac(port);
    }
    let mut sim = raw_sim(config);
    let (lan, primary) = (0, 1);
    let syn = |port| Tcp::plain_syn("10.11.0.2", port, S);
    let offered = |sim: &mut Sim<Dumb>, ports: core::ops::Range<u16>| {
        let before = sim.seen.len();
        for port in ports.clone() {
            sim.inject(lan, syn(port).frame(MAC_AT[lan], port_mac(lan)));
        }
        sim.idle(Duration::from_millis(15));
        let sent = sent_since(sim, before, primary);
        let sent = sent.iter().filter(|syn| ports.contains(&syn.src_port));
        let (with, without): (Vec<_>, Vec<_>) = sent.partition(|syn| syn.option(30).is_some());
        assert_eq!(with.len() + without.len(), ports.len(), "each goes on once");
        with.len()
    };
    assert_eq!(offered(&mut sim, 999..1_000), 1);
    overload(&mut sim);
    assert!(offered(&mut sim, 2_000..2_300) < 50);
    assert!(counter(&mut sim, "bypass_overload") > 250);
    rest(&mut sim);
    assert_eq!(offered(&mut sim, 4_000..4_064), 64);
}
