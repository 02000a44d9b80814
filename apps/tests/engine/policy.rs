//! Which access carries what, through both boxes: cost, cap and overflow, each way on its own.
//!
//! The accesses: a primary one of 20 Mbit/s and 30 ms, a secondary one of 40 Mbit/s and 60 or 15 ms, with queues of one
//! product of bandwidth and delay.

use crate::common::customer::{edge_config, hag_config};
use crate::common::site::{Site, announced, connect, network_of};
use crate::common::{ACCESS1, ACCESS2, CORE, S, Sim, Way, pattern};
use apps::engine::{EngineConfig, PolicySettings};
use smoltcp::iface::SocketHandle;
use stack::time::Duration;
use testbed::link::Shape;

const MBIT: u64 = 1_000_000;

/// The boxes with the scheduler of a file that says nothing.
fn boxes() -> (EngineConfig, EngineConfig) {
    let policy = PolicySettings::default();
    let edge = EngineConfig {
        policy,
        ..edge_config(announced())
    };
    let hag = EngineConfig {
        policy,
        ..hag_config()
    };
    (edge, hag)
}

fn line(rate: u64, rtt_ms: u64) -> Shape {
    Shape {
        rate,
        delay: Duration::from_millis(rtt_ms / 2),
        queue: Some(rate / 8 * rtt_ms / 1_000),
        ..Shape::default()
    }
}

/// A connection through `boxes`, joined, over the accesses above.
fn joined(
    (edge, hag): (EngineConfig, EngineConfig),
    rtt_ms: u64,
) -> (Sim<Site>, [SocketHandle; 2]) {
    let mut sim = network_of(&edge, hag);
    sim.links[ACCESS1].shape = line(20 * MBIT, 30);
    sim.links[ACCESS2].shape = line(40 * MBIT, rtt_ms);
    sim.links[CORE].shape.delay = Duration::from_millis(1);
    let sockets = connect(&mut sim, S);
    trickle(&mut sim, sockets, 0, 100_000, 1);
    sim.idle(Duration::from_secs(1));
    sim.seen.clear();
    (sim, sockets)
}

/// Has `from` write `rate` octets of data per second, every 10 ms, for `seconds`; what it could not write in time is
/// written later. Returns what arrived.
fn trickle(
    sim: &mut Sim<Site>,
    sockets: [SocketHandle; 2],
    from: usize,
    rate: usize,
    seconds: u64,
) -> usize {
    let data = pattern(64 << 10, 5);
    let (mut due, mut sent, mut got) = (0, 0, 0);
    let mut taken = Vec::new();
    for _ in 0..seconds * 100 {
        due += rate / 100;
        sim.run(Duration::from_millis(10), |sim| {
            while sent < due {
                let len = (due - sent).min(data.len());
                let wrote = sim.hosts[from].host().send(sockets[from], &data[..len]);
                sent += wrote;
                if wrote == 0 {
                    break;
                }
            }
            sim.hosts[1 - from]
                .host()
                .recv(sockets[1 - from], &mut taken);
            got += taken.len();
            taken.clear();
            false
        });
    }
    got
}

/// Octets of frames that the sender of `from` put on each access.
fn carried(sim: &Sim<Site>, from: usize) -> [usize; 2] {
    let way = if from == 0 { Way::ToBox } else { Way::FromBox };
    [ACCESS1, ACCESS2].map(|port| sim.on(port, way).map(|seen| seen.frame.len()).sum())
}

/// Of 20 Mbit/s of frames, the payload.
const PRIMARY: usize = 2_500_000 * 14 / 15;

#[test]
fn what_the_primary_can_carry_stays_on_it_and_the_rest_overflows() {
    for rtt in [60, 15] {
        for from in [0, 1] {
            let (mut sim, sockets) = joined(boxes(), rtt);
            trickle(&mut sim, sockets, from, PRIMARY * 8 / 10, 10);
            let [primary, secondary] = carried(&sim, from);
            println!("{rtt} ms, from {from}: {primary} and {secondary}");
            assert!(secondary * 1_000 < primary, "{primary} and {secondary}");
            trickle(&mut sim, sockets, from, PRIMARY * 2, 3);
            sim.seen.clear();
            let got = trickle(&mut sim, sockets, from, PRIMARY * 2, 10);
            let [primary, secondary] = carried(&sim, from);
            println!("{rtt} ms, from {from}: {primary} and {secondary}, {got} arrived");
            assert!(
                primary >= 25_000_000 * 95 / 100,
                "{primary} and {secondary}"
            );
            assert!(got >= PRIMARY * 20 * 98 / 100, "{got} of {}", PRIMARY * 20);
        }
    }
}

#[test]
fn each_side_keeps_to_its_own_policy() {
    // The edge prefers the secondary; the box in the network does not.
    let (mut edge, hag) = boxes();
    edge.ports[1].cost = Some(5);
    edge.ports[2].cost = Some(2);
    let (mut sim, sockets) = joined((edge, hag), 60);
    for from in [0, 1] {
        sim.seen.clear();
        trickle(&mut sim, sockets, from, PRIMARY / 2, 5);
        let octets = carried(&sim, from);
        println!("from {from}: {octets:?}");
        let (most, least) = if from == 0 {
            (octets[1], octets[0])
        } else {
            (octets[0], octets[1])
        };
        // The first subflow alone carried what came before the join.
        assert!(least * 1_000 < most, "from {from}: {octets:?}");
    }
}

#[test]
fn a_cap_holds_within_a_twentieth_in_each_direction() {
    for (mbit, rtt) in [(10, 60), (10, 15), (2, 60)] {
        let (mut edge, mut hag) = boxes();
        edge.ports[2].cap = Some(mbit * MBIT);
        hag.ports[ACCESS2].cap = Some(mbit * MBIT);
        let (mut sim, sockets) = joined((edge, hag), rtt);
        for from in [0, 1] {
            trickle(&mut sim, sockets, from, 20_000_000, 3);
            sim.seen.clear();
            trickle(&mut sim, sockets, from, 20_000_000, 10);
            let [primary, secondary] = carried(&sim, from);
            let share = secondary as u64 * 8 * 1_000 / (mbit * MBIT * 10);
            println!(
                "{mbit} Mbit/s, {rtt} ms, from {from}: {share} of 1000 of the cap, {primary} on the primary"
            );
            assert!((950..=1_050).contains(&share), "{share} of 1000");
            assert!(primary >= 25_000_000 * 95 / 100, "{primary}");
            sim.idle(Duration::from_secs(2));
        }
    }
}

#[test]
fn a_capped_primary_overflows_and_is_kept_to() {
    let (mut edge, hag) = boxes();
    edge.ports[1].cap = Some(5 * MBIT);
    let (mut sim, sockets) = joined((edge, hag), 60);
    trickle(&mut sim, sockets, 0, PRIMARY, 3);
    sim.seen.clear();
    let got = trickle(&mut sim, sockets, 0, PRIMARY, 10);
    let [primary, secondary] = carried(&sim, 0);
    let share = primary * 8 / 50_000;
    println!("{share} of 1000 of the cap, {secondary} on the secondary");
    assert!((950..=1_050).contains(&share), "{share} of 1000");
    assert!(got >= PRIMARY * 10 * 98 / 100, "{got}");
}
