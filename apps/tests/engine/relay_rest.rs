//! Relays through which nothing moves are put to rest, and wake as if nothing had been.

use crate::common::raw::{RST, Tcp};
use crate::common::{
    CORE, Either, S, S6, Sim, Way, assert_empty, bonded_sim, config, connect as connect_plain,
    counter, plain_sim_with,
};
use crate::relay_mptcp::{await_subflows, connect, exchange};
use apps::control::{Command, Reply};
use apps::engine::EngineConfig;
use stack::time::Duration;

/// What an operator is shown of the relays.
fn shown(sim: &mut Sim<Either>) -> String {
    match sim.command(Command::ShowConnections { limit: 10 }) {
        Reply::Connections(list) => format!("{:?}", list.connections),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_relay_at_rest_is_shown_as_any_other_and_goes_on() {
    for to in [S, S6] {
        let mut sim = bonded_sim(config(), 1);
        let socket = connect(&mut sim, to);
        await_subflows(&mut sim, 2);
        sim.idle(Duration::from_secs(100));
        let held = sim.worker.app().occupancy();
        assert_eq!((held.relays, held.resting, held.timers), (1, 1, 1), "{to}");
        assert_eq!(held.flows, 3);
        let connection = shown(&mut sim);
        assert!(connection.contains("subflows"), "{connection}");
        assert_eq!(
            sim.worker.app().occupancy().resting,
            1,
            "looking wakes nothing"
        );
        exchange(&mut sim, socket, 1 << 20, 1 << 20, Duration::from_secs(60));
        assert_empty(&mut sim);
    }
}

#[test]
fn a_plain_relay_rests_and_is_closed_in_good_order() {
    let config = EngineConfig {
        accept_plain: true,
        ..config()
    };
    let mut sim = plain_sim_with(config, 1);
    let pair = connect_plain(&mut sim, 40_000, S);
    sim.idle(Duration::from_secs(100));
    assert_eq!(sim.worker.app().occupancy().resting, 1);
    sim.hosts[0].tcp(pair.client).close();
    sim.hosts[1].tcp(pair.server).close();
    sim.idle(Duration::from_secs(5));
    assert_eq!(counter(&mut sim, "relay_closed_clean"), 1);
    assert_eq!(sim.worker.app().occupancy().relays, 0);
}

#[test]
fn a_reset_reaches_the_other_end_of_a_relay_at_rest() {
    let mut sim = bonded_sim(config(), 1);
    connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    sim.idle(Duration::from_secs(100));
    assert_eq!(sim.worker.app().occupancy().resting, 1);
    sim.command(Command::ResetAll);
    sim.idle(Duration::from_secs(1));
    assert_eq!(counter(&mut sim, "relays"), 0);
    let resets = sim.on(CORE, Way::FromBox);
    let resets = resets.filter_map(|s| Tcp::parse(&s.frame));
    assert_eq!(resets.filter(|tcp| tcp.flags & RST != 0).count(), 1);
    assert_empty(&mut sim);
}
