//! Relays that end by the clock, and flows that have nowhere to go.

use crate::common::raw::Tcp;
use crate::common::{
    ACCESS1, CLIENT, CORE, H, MAC_AT, S, SERVER, Way, assert_empty, config, connect, counter,
    plain_sim_with, port_mac, raw_sim,
};
use apps::engine::EngineConfig;
use smoltcp::socket::tcp::State;
use stack::time::Duration;

fn plain() -> EngineConfig {
    EngineConfig {
        accept_plain: true,
        ..config()
    }
}

#[test]
fn t16_a_relay_through_which_nothing_passes_is_reset_at_both_ends() {
    let mut config = plain();
    config.timeouts.idle = Duration::from_secs(100);
    let mut sim = plain_sim_with(config, 1);
    let pair = connect(&mut sim, 40_000, S);
    sim.idle(Duration::from_secs(90));
    assert_eq!(counter(&mut sim, "relays"), 1);
    sim.idle(Duration::from_secs(30));
    assert_eq!(counter(&mut sim, "relay_closed_idle"), 1);
    assert_eq!(sim.hosts[CLIENT].tcp(pair.client).state(), State::Closed);
    assert_eq!(sim.hosts[SERVER].tcp(pair.server).state(), State::Closed);
    assert_empty(&mut sim);
}

/// RFC 9293 knows no timer in FIN-WAIT-2, where a leg is whose far end has not closed yet; RFC 5382 REQ-5 lets such a
/// connection be forgotten no earlier than any other.
#[test]
fn t16_a_half_closed_relay_through_which_nothing_passes_is_reset_in_the_same_time() {
    let mut config = plain();
    config.timeouts.idle = Duration::from_secs(400);
    assert!(config.timeouts.idle > config.timeouts.closing);
    let mut sim = plain_sim_with(config, 1);
    let pair = connect(&mut sim, 40_000, S);
    sim.hosts[CLIENT].tcp(pair.client).close();
    sim.idle(Duration::from_secs(390));
    assert_eq!(sim.hosts[SERVER].tcp(pair.server).state(), State::CloseWait);
    assert_eq!(counter(&mut sim, "relays"), 1);
    sim.idle(Duration::from_secs(30));
    assert_eq!(counter(&mut sim, "relay_closed_idle"), 1);
    assert_eq!(sim.hosts[SERVER].tcp(pair.server).state(), State::Closed);
    assert_empty(&mut sim);
}

#[test]
fn t16_nothing_is_forgotten_before_rfc5382_allows_it() {
    let timeouts = config().timeouts;
    assert!(
        timeouts.idle >= Duration::from_secs(2 * 3600 + 4 * 60),
        "REQ-5"
    );
    assert!(timeouts.closing >= Duration::from_secs(4 * 60), "REQ-5");
    assert!(
        timeouts.keepalive >= Duration::from_secs(2 * 3600),
        "RFC 9293 MUST-28"
    );
}

#[test]
fn t16_a_server_that_is_gone_is_given_up_and_the_client_reset() {
    let mut sim = plain_sim_with(plain(), 1);
    sim.record = false;
    let pair = connect(&mut sim, 40_000, S);
    sim.links[CORE].shape.down = true;
    sim.hosts[CLIENT].send(pair.client, b"are you there?");
    let gone = sim.run(Duration::from_secs(1800), |sim| {
        sim.hosts[CLIENT].tcp(pair.client).state() == State::Closed
    });
    assert!(gone);
    assert_eq!(counter(&mut sim, "relay_closed_server_lost"), 1);
    assert_empty(&mut sim);
}

#[test]
fn a_syn_without_a_route_is_not_split() {
    let mut config = config();
    config.net.routes.clear();
    let mut sim = raw_sim(config);
    let syn = Tcp::capable_syn(H, 1000, "192.0.2.7");
    sim.inject(ACCESS1, syn.frame(MAC_AT[ACCESS1], port_mac(ACCESS1)));
    sim.idle(Duration::from_secs(1));
    assert_eq!(counter(&mut sim, "bypass_no_route"), 1);
    assert_eq!(counter(&mut sim, "pending"), 0);
    assert_eq!(sim.on(CORE, Way::FromBox).count(), 0);
}

/// An entry that an earlier one has replaced must not come again by itself, beside that one, as long as its relay lives.
#[test]
fn a_relay_that_wakes_often_has_no_more_timers_than_one_that_woke_once() {
    let mut sim = plain_sim_with(plain(), 1);
    let pair = connect(&mut sim, 40_000, S);
    let mut timers = Vec::new();
    for _ in 0..20 {
        let socket = sim.hosts[CLIENT].tcp(pair.client);
        assert_eq!(socket.send_slice(b"hello"), Ok(5));
        sim.idle(Duration::from_secs(25));
        let read = sim.hosts[SERVER]
            .tcp(pair.server)
            .recv(|data| (data.len(), data.len()));
        assert_eq!(read, Ok(5));
        timers.push(sim.occupancy().timers);
    }
    assert_eq!(timers, [timers[0]; 20]);
}
