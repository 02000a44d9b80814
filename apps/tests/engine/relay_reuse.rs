//! Tuples that are used again, and commands amid set-up.

use crate::common::raw::{ACK, RST, SYN, SYN_OPTIONS, Tcp};
use crate::common::script::{only, send, sent_since};
use crate::common::{
    ACCESS1, CLIENT, CORE, H, MAC_AT, S, SERVER, Sim, Way, assert_empty, config, connect, counter,
    pattern, plain_sim, port_mac, raw_sim,
};
use apps::control::Command;
use stack::time::Duration;

#[test]
fn t3_a_tuple_used_again_outlives_the_time_wait_of_its_former_life() {
    let mut sim = plain_sim(1);
    let first = connect(&mut sim, 40_000, S);
    sim.hosts[CLIENT].tcp(first.client).close();
    sim.idle(Duration::from_secs(1));
    sim.hosts[SERVER].tcp(first.server).close();
    sim.idle(Duration::from_secs(1));
    assert_eq!(counter(&mut sim, "relay_closed_clean"), 1);
    assert_eq!(sim.occupancy().time_waits, 1);
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

/// RFC 9293 3.6.1: what the former life sent to the client ends before where the new one begins, also if it sent far more
/// than the clock of RFC 6528 ticks.
#[test]
fn t3_a_tuple_used_again_begins_beyond_what_its_former_life_sent() {
    let mut sim = plain_sim(1);
    let first = connect(&mut sim, 40_000, S);
    let data = pattern(4 << 20, 7);
    let (mut sent, mut got) = (0, Vec::new());
    let done = sim.run(Duration::from_secs(30), |sim| {
        sent += sim.hosts[SERVER].send(first.server, &data[sent..]);
        sim.hosts[CLIENT].recv(first.client, &mut got);
        got.len() == data.len()
    });
    assert!(done, "{} of {}", got.len(), data.len());
    // The server closes first, so our leg towards the client is the one in TIME-WAIT.
    sim.hosts[SERVER].tcp(first.server).close();
    sim.idle(Duration::from_millis(200));
    sim.hosts[CLIENT].tcp(first.client).close();
    sim.idle(Duration::from_millis(200));
    assert_eq!(sim.occupancy().time_waits, 1);
    let to_client = |sim: &Sim<_>, from: usize| sent_since(sim, from, ACCESS1);
    let used = to_client(&sim, 0);
    let used = used.iter().map(|tcp| tcp.seq + tcp.payload.len() as u32);
    let used = used
        .reduce(|a, b| if (b.wrapping_sub(a) as i32) > 0 { b } else { a })
        .unwrap();
    let before = sim.seen.len();
    sim.hosts[CLIENT].sockets.remove(first.client);
    sim.hosts[SERVER].sockets.remove(first.server);
    connect(&mut sim, 40_000, S);
    let answers = to_client(&sim, before);
    let answer = answers.iter().find(|tcp| tcp.has(SYN)).unwrap();
    let ahead = answer.seq.wrapping_sub(used) as i32;
    assert!(ahead > 0, "{ahead} octets beyond");
}

#[test]
fn t2_a_syn_on_the_tuple_of_a_relay_draws_a_challenge_ack_and_changes_nothing() {
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

#[test]
fn a_reset_of_all_reaches_both_ends_of_a_flow_that_the_server_has_answered() {
    let mut sim = raw_sim(config());
    let syn = Tcp::capable_syn(H, 1000, S);
    let out = send(&mut sim, ACCESS1, &syn, CORE);
    let mut answer = only(&out).answer(SYN | ACK, 77_000);
    answer.options = SYN_OPTIONS.to_vec();
    let out = send(&mut sim, CORE, &answer, ACCESS1);
    let ours = only(&out).clone();
    // Another flow, which nobody has answered, is forgotten in silence.
    send(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1001, S), CORE);
    let before = sim.seen.len();
    sim.command(Command::ResetAll);
    sim.idle(Duration::from_millis(20));
    let to_server = sent_since(&sim, before, CORE);
    let to_server = only(&to_server);
    assert_eq!((to_server.flags, to_server.seq), (RST, syn.seq + 1));
    let to_client = sent_since(&sim, before, ACCESS1);
    let to_client = only(&to_client);
    assert_eq!(
        (to_client.flags, to_client.seq, to_client.ack),
        (RST | ACK, ours.seq + 1, syn.seq + 1)
    );
    assert_eq!(counter(&mut sim, "pending"), 0);
    assert_empty(&mut sim);
}
