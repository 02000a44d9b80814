//! Relays through which nothing moves are put to rest, and wake as if nothing had been.

use crate::common::raw::{ACK, RST, SYN, SYN_OPTIONS, Tcp};
use crate::common::script::{passes, send, sent_since};
use crate::common::{
    ACCESS1, CLIENT, CORE, Dumb, Either, H, MAC_AT, S, S6, SERVER, Sim, Way, assert_empty,
    bonded_sim, config, connect as connect_plain, counter, pattern, plain_sim_with, port_mac,
    raw_sim,
};
use crate::relay_mptcp::{await_subflows, connect, exchange};
use apps::control::{Command, PathTraffic, Reply};
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
fn a_relay_at_rest_wakes_by_what_comes_on_a_joined_subflow() {
    for to in [S, S6] {
        let mut sim = bonded_sim(config(), 1);
        let socket = connect(&mut sim, to);
        await_subflows(&mut sim, 2);
        sim.idle(Duration::from_secs(100));
        assert_eq!(sim.worker.app().occupancy().resting, 1);
        // What the first subflow would have brought comes by the other.
        sim.links[ACCESS1].shape.down = true;
        let up = pattern(100_000, 1);
        sim.hosts[CLIENT].mptcp().data = up.clone();
        let mut got = Vec::new();
        let done = sim.run(Duration::from_secs(20), |sim| {
            sim.hosts[SERVER].tcp().recv(socket, &mut got);
            got.len() == up.len()
        });
        assert!(done && got == up, "{} octets", got.len());
        assert_eq!(counter(&mut sim, "not_ours_reset"), 0);
    }
}

#[test]
fn a_relay_of_which_one_end_has_closed_goes_on_after_any_silence() {
    for client_first in [true, false] {
        let mut sim = bonded_sim(config(), 1);
        let socket = connect(&mut sim, S);
        await_subflows(&mut sim, 2);
        let data = pattern(300_000, 1);
        if client_first {
            sim.hosts[CLIENT].mptcp().finish = true;
        } else {
            sim.hosts[SERVER].tcp().tcp(socket).close();
        }
        sim.idle(Duration::from_secs(100));
        assert_eq!(sim.worker.app().occupancy().resting, 0);
        let (mut sent, mut got) = (0, Vec::new());
        if client_first {
            sim.run(Duration::from_secs(20), |sim| {
                let server = sim.hosts[SERVER].tcp();
                sent += server.send(socket, &data[sent..]);
                sent == data.len()
            });
            sim.hosts[SERVER].tcp().tcp(socket).close();
            sim.idle(Duration::from_secs(5));
            got.clone_from(&sim.hosts[CLIENT].mptcp().got);
        } else {
            sim.hosts[CLIENT].mptcp().data = data.clone();
            sim.hosts[CLIENT].mptcp().finish = true;
            sim.run(Duration::from_secs(20), |sim| {
                sim.hosts[SERVER].tcp().recv(socket, &mut got);
                false
            });
        }
        assert!(got == data, "{} octets", got.len());
        assert_eq!(counter(&mut sim, "relay_closed_clean"), 1);
        assert_empty(&mut sim);
    }
}

#[test]
fn a_cap_holds_after_a_silence() {
    let mut config = config();
    for port in &mut config.ports[..2] {
        port.cap = Some(4_000_000);
    }
    let mut sim = bonded_sim(config, 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    sim.idle(Duration::from_secs(100));
    let (data, begin) = (pattern(1 << 20, 1), sim.now);
    let mut sent = 0;
    let done = sim.run(Duration::from_secs(60), |sim| {
        sent += sim.hosts[SERVER].tcp().send(socket, &data[sent..]);
        sim.hosts[CLIENT].mptcp().got.len() == data.len()
    });
    // A megabyte at one megabyte a second in all.
    let took = sim.now.since(begin).as_millis();
    assert!(done && (900..1_500).contains(&took), "{took} ms");
}

#[test]
fn what_is_to_be_announced_later_keeps_a_relay_from_rest() {
    for to in [S, S6] {
        let mut sim = bonded_sim(config(), 1);
        sim.hosts[CLIENT].mptcp().joining = false;
        let socket = connect(&mut sim, to);
        // With data that the client has acknowledged nothing else keeps it from rest.
        sim.hosts[SERVER].tcp().send(socket, b"hello");
        sim.idle(Duration::from_millis(1_500));
        assert_eq!(sim.hosts[CLIENT].mptcp().announced.len(), 1, "{to}");
        assert_eq!(sim.worker.app().occupancy().resting, 0, "{to}");
        sim.idle(Duration::from_secs(3));
        assert_eq!(sim.hosts[CLIENT].mptcp().announced.len(), 2, "{to}");
        assert_eq!(sim.worker.app().occupancy().resting, 1, "{to}");
    }
}

/// A network in which a server has answered with 77,000, and what the client asks it.
fn asking() -> (Sim<Dumb>, Tcp) {
    let mut sim = raw_sim(EngineConfig {
        accept_plain: true,
        ..config()
    });
    let mut syn = Tcp::plain_syn(H, 1000, S);
    syn.options = SYN_OPTIONS[..4].to_vec();
    passes(&mut sim, ACCESS1, &syn, CORE);
    let mut answer = syn.answer(SYN | ACK, 77_000);
    answer.options = SYN_OPTIONS[..4].to_vec();
    let answered = passes(&mut sim, CORE, &answer, ACCESS1);
    let mut ask = answered.answer(ACK, syn.seq + 1);
    ask.payload = b"ask".to_vec();
    (sim, ask)
}

#[test]
fn a_traffic_class_outlasts_a_silence() {
    let (mut sim, mut ask) = asking();
    ask.tos = 0xb8;
    let asked = send(&mut sim, ACCESS1, &ask, CORE).pop().unwrap();
    assert_eq!((&asked.payload[..], asked.tos), (&b"ask"[..], 0xb8));
    let mut reply = asked.answer(ACK, 77_001);
    reply.payload = b"reply".to_vec();
    reply.tos = 0x28;
    let replied = send(&mut sim, CORE, &reply, ACCESS1).pop().unwrap();
    assert_eq!((&replied.payload[..], replied.tos), (&b"reply"[..], 0x28));
    send(&mut sim, ACCESS1, &replied.answer(ACK, ask.seq + 3), CORE);
    sim.idle(Duration::from_secs(20));
    assert_eq!(sim.worker.app().occupancy().resting, 1);
    // An acknowledgment has the class of what was sent that way last.
    let mut more = reply.clone();
    (more.seq, more.payload, more.tos) = (reply.seq + 5, b"more".to_vec(), 0);
    let before = sim.seen.len();
    send(&mut sim, CORE, &more, ACCESS1);
    sim.idle(Duration::from_millis(500));
    let acked = sent_since(&sim, before, CORE);
    assert!(
        !acked.is_empty() && acked.iter().all(|tcp| tcp.tos == 0xb8),
        "{acked:?}"
    );
}

#[test]
fn octets_after_a_silence_are_counted_for_the_same_subscriber() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    sim.idle(Duration::from_secs(100));
    exchange(&mut sim, socket, 1 << 18, 1 << 18, Duration::from_secs(60));
    let Reply::Accounts(accounts) = sim.command(Command::ShowAccounts { limit: 10 }) else {
        panic!("accounts were asked for");
    };
    let [account] = &accounts.accounts[..] else {
        panic!("{accounts:?}");
    };
    assert_eq!(account.subscriber, H);
    let sum = |of: fn(&PathTraffic) -> u64| account.paths.iter().map(of).sum::<u64>();
    assert!(sum(|path| path.bytes_up) >= 1 << 18 && sum(|path| path.bytes_down) >= 1 << 18);
}

#[test]
fn a_probe_after_a_silence_ends_no_relay_whose_ends_are_there() {
    let mut config = config();
    config.timeouts.keepalive = Duration::from_secs(100);
    config.timeouts.idle = Duration::from_secs(150);
    let mut sim = bonded_sim(config, 1);
    // So late that a time which is forgotten lies long ago.
    sim.idle(Duration::from_secs(1_000));
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    sim.idle(Duration::from_secs(1_000));
    assert_eq!(sim.worker.app().occupancy().relays, 1);
    exchange(&mut sim, socket, 1 << 16, 1 << 16, Duration::from_secs(60));
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

/// Seed 36013 of the simulator: what a relay held was forgotten as it was put to rest in the turn in which it was acknowledged,
/// and counted as held for ever.
#[test]
fn what_is_acknowledged_in_the_turn_in_which_a_relay_may_rest_is_held_no_more() {
    let (mut sim, ask) = asking();
    let asked = send(&mut sim, ACCESS1, &ask, CORE).pop().unwrap();
    // It is sent again after 1, 3, 7 and 15 s, and after 31 s next.
    sim.idle(Duration::from_secs(16));
    assert!(sim.worker.app().occupancy().held > 0);
    // The box is away until after it might have rested, and finds the acknowledgment then.
    let acknowledgment = asked.answer(ACK, 77_001);
    sim.inject(CORE, acknowledgment.frame(MAC_AT[CORE], port_mac(CORE)));
    sim.now = sim.now + Duration::from_secs(12);
    sim.idle(Duration::from_millis(20));
    assert_eq!(sim.worker.app().occupancy().held, 0);
    sim.idle(Duration::from_secs(20));
    assert_eq!(sim.worker.app().occupancy().resting, 1);
}
