//! More arrives than the core can do: new flows go on unbonded but for a few, and those that there are notice nothing of it.

use crate::attach::{across, bump};
use crate::common::customer::edge_config;
use crate::common::raw::{ACK, SYN, SYN_OPTIONS, Tcp};
use crate::common::script::sent_since;
use crate::common::{
    ACCESS1, CLIENT, CORE, Dumb, H, HAG2, MAC_AT, Node, S, SERVER, Sim, assert_empty, bonded_sim,
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

#[test]
fn over_a_bump_in_the_wire_a_flow_goes_on_as_it_came_and_what_is_split_stays_so() {
    let mut sim = raw_sim(bump());
    let crosses = |sim: &mut Sim<Dumb>, from: usize, segment: &Tcp| {
        let (before, other) = (sim.seen.len(), ACCESS1 + CORE - from);
        sim.inject(from, across(from, segment, &[]));
        sim.idle(Duration::from_millis(60));
        let sent = sent_since(sim, before, other);
        sent.last().expect("it crosses").clone()
    };
    // One that is split.
    let syn = Tcp::plain_syn(H, 1_000, S);
    let mut answer = crosses(&mut sim, ACCESS1, &syn).answer(SYN | ACK, 77_000);
    answer.options = SYN_OPTIONS.to_vec();
    let told = crosses(&mut sim, CORE, &answer);
    let mut data = told.answer(ACK, syn.seq + 1);
    let clocks = [syn.option(8).unwrap(), told.option(8).unwrap()];
    data.options = [&[8, 10][..], &clocks[0][..4], &clocks[1][..4]].concat();
    data.payload = b"before".to_vec();
    assert_eq!(crosses(&mut sim, ACCESS1, &data).payload, b"before");
    assert_eq!(counter(&mut sim, "relay_opened"), 1);
    // The storm.
    overload(&mut sim);
    let before = sim.seen.len();
    for n in 2_000..2_300 {
        sim.inject(
            ACCESS1,
            across(ACCESS1, &Tcp::plain_syn("10.1.0.9", n, S), &[]),
        );
    }
    sim.idle(Duration::from_millis(15));
    let sent = sim.seen[before..].iter().filter(|seen| seen.port == CORE);
    let as_they_came = |frame: &Vec<u8>| {
        let syn = Tcp::parse(frame).expect("a segment");
        *frame == across(ACCESS1, &Tcp::plain_syn("10.1.0.9", syn.src_port, S), &[])
    };
    let sent: Vec<_> = sent.map(|seen| &seen.frame).collect();
    assert_eq!(sent.len(), 300, "each goes on once");
    let same = sent.into_iter().filter(|frame| as_they_came(frame)).count();
    // The first was split.
    let refused = 301 - counter(&mut sim, "pending_opened");
    assert!(refused > 250, "{refused}");
    assert!(same as u64 >= refused, "{same} of {refused}");
    // And the end of one that was refused is reached as it is.
    let last = Tcp::plain_syn("10.1.0.9", 2_299, S);
    let answer = last.answer(SYN | ACK, 5);
    assert_eq!(crosses(&mut sim, CORE, &answer), answer);
    data.seq += 6;
    data.payload = b"behind".to_vec();
    let behind = crosses(&mut sim, ACCESS1, &data);
    assert_eq!(
        (behind.src_port, &behind.payload[..]),
        (1_000, &b"behind"[..])
    );
    assert_ne!(behind.ack, data.ack, "it is relayed");
    assert_eq!(counter(&mut sim, "relay_opened"), 1);
}
