//! ICMP errors about established legs: whose they are, what they change, and that nobody off the path can abuse them.

use crate::common::raw::{ACK, Ip, Tcp, checksum, ip_frame};
use crate::common::sim::Seen;
use crate::common::{
    ACCESS1, ACCESS2, CLIENT, CORE, HAG2, MAC_AT, Node, S, SERVER, Sim, Way, bonded_sim, config,
    connect, counter, pattern, plain_sim, port_mac, raw_sim,
};
use stack::time::Duration;

const FRAGMENTATION_NEEDED: u8 = 4;
const PORT_UNREACHABLE: u8 = 3;

/// An ICMP destination-unreachable about the packet in `frame`, sent back to who sent that, into `port`.
fn unreachable(port: usize, frame: &[u8], code: u8, mtu: u16) -> Vec<u8> {
    error(port, frame, [3, code], mtu)
}

/// Any ICMP error about it, by type and code.
fn error(port: usize, frame: &[u8], [kind, code]: [u8; 2], mtu: u16) -> Vec<u8> {
    let packet = &frame[14..];
    let quoted = Ip::parse(frame).unwrap();
    let mut icmp = vec![kind, code, 0, 0, 0, 0];
    icmp.extend(mtu.to_be_bytes());
    icmp.extend(&packet[..28]);
    let sum = checksum(&[&icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let router = "192.0.2.1".parse().unwrap();
    let ends = (router, quoted.src);
    ip_frame(MAC_AT[port], port_mac(port), ends, (0, 64), 1, &icmp)
}

/// The last frame with payload that the box sent by `port`.
fn last_data<N: Node>(sim: &Sim<N>, port: usize) -> Vec<u8> {
    let data = |frame: &[u8]| Tcp::parse(frame).is_some_and(|tcp| !tcp.payload.is_empty());
    let mut frames: Vec<_> = sim.on(port, Way::FromBox).collect();
    frames.retain(|s| data(&s.frame));
    frames.last().expect("data").frame.clone()
}

/// Whether the box sends data by `port` at this very instant, so that it is in flight when an error about it arrives.
fn sends_now<N: Node>(sim: &Sim<N>, port: usize) -> bool {
    let now = sim.seen.iter().rev().take_while(|s| s.at == sim.now);
    let mut sent = now.filter(|s| s.port == port && s.way == Way::FromBox);
    sent.any(|s| Tcp::parse(&s.frame).is_some_and(|tcp| !tcp.payload.is_empty()))
}

/// The longest packet that the box sent by `port` since `from`.
fn longest<N: Node>(sim: &Sim<N>, from: usize, port: usize) -> usize {
    let sent = sim.seen[from..].iter();
    let sent = sent.filter(|s| s.port == port && s.way == Way::FromBox);
    sent.map(|s| s.frame.len() - 14).max().unwrap_or(0)
}

#[test]
fn t15_a_smaller_path_mtu_is_heeded_on_either_subflow_and_no_octet_is_lost() {
    for port in [ACCESS1, ACCESS2] {
        let mut sim = bonded_sim(config(), 1);
        let socket = sim.hosts[SERVER].tcp().listen(80);
        let now = sim.now;
        sim.hosts[CLIENT].mptcp().connect(now, 40_000, (S, 80));
        let two = sim.run(Duration::from_secs(5), |sim| {
            sim.hosts[CLIENT].mptcp().subflows() == 2
        });
        assert!(two);
        let data = pattern(3 << 20, 9);
        let mut sent = 0;
        let half = sim.run(Duration::from_secs(30), |sim| {
            sent += sim.hosts[SERVER].tcp().send(socket, &data[sent..]);
            sim.hosts[CLIENT].mptcp().got.len() > 1 << 20 && sends_now(sim, port)
        });
        assert!(half);
        let error = unreachable(port, &last_data(&sim, port), FRAGMENTATION_NEEDED, 1300);
        sim.inject(port, error);
        // It is a few milliseconds on the way.
        sim.idle(Duration::from_millis(25));
        assert_eq!(counter(&mut sim, "icmp_consumed"), 1, "port {port}");
        let from = sim.seen.len();
        let done = sim.run(Duration::from_secs(60), |sim| {
            sent += sim.hosts[SERVER].tcp().send(socket, &data[sent..]);
            sim.hosts[CLIENT].mptcp().got.len() == data.len()
        });
        assert!(done && sim.hosts[CLIENT].mptcp().got == data);
        let longest = longest(&sim, from, port);
        assert!((1200..=1300).contains(&longest), "{longest} on {port}");
        assert_eq!(counter(&mut sim, "copied_in_stack"), 0);
    }
}

#[test]
fn t15_hard_errors_about_an_established_leg_change_nothing() {
    let mut sim = bonded_sim(config(), 1);
    let socket = sim.hosts[SERVER].tcp().listen(80);
    let now = sim.now;
    sim.hosts[CLIENT].mptcp().connect(now, 40_000, (S, 80));
    sim.idle(Duration::from_secs(2));
    let data = pattern(2 << 20, 9);
    sim.hosts[CLIENT].mptcp().data = data.clone();
    let (mut sent, mut got) = (0, Vec::new());
    let mut about = vec![ACCESS1, ACCESS2, CORE];
    let done = sim.run(Duration::from_secs(60), |sim| {
        sent += sim.hosts[SERVER].tcp().send(socket, &data[sent..]);
        sim.hosts[SERVER].tcp().recv(socket, &mut got);
        if got.len().min(sim.hosts[CLIENT].mptcp().got.len()) > 1 << 18
            && let Some(at) = about.iter().position(|&port| sends_now(sim, port))
        {
            let port = about.swap_remove(at);
            sim.inject(
                port,
                unreachable(port, &last_data(sim, port), PORT_UNREACHABLE, 0),
            );
        }
        got.len() == data.len() && sim.hosts[CLIENT].mptcp().got.len() == data.len()
    });
    assert!(done && got == data, "{} of {}", got.len(), data.len());
    assert_eq!(counter(&mut sim, "icmp_consumed"), 3);
    assert_eq!(sim.hosts[CLIENT].mptcp().subflows(), 2);
}

/// RFC 5461 4 and RFC 9293 MUST-54 to 56: about what is in flight only the size of packets is believed. Nothing else ends a leg
/// or slows it down, source quench least of all.
#[test]
fn t15_no_error_but_one_of_size_changes_an_established_leg() {
    let errors: [[u8; 2]; 9] = [
        [3, 0],
        [3, 1],
        [3, 2],
        [3, 3],
        [3, 5],
        [3, 13],
        [11, 0],
        [12, 0],
        [4, 0],
    ];
    for kind in errors {
        let mut sim = plain_sim(1);
        let pair = connect(&mut sim, 40_000, S);
        let data = pattern(1 << 20, 9);
        let (mut sent, mut got, mut told) = (0, Vec::new(), 0);
        let done = sim.run(Duration::from_secs(30), |sim| {
            sent += sim.hosts[SERVER].send(pair.server, &data[sent..]);
            sim.hosts[CLIENT].recv(pair.client, &mut got);
            if got.len() > 1 << 16 && told < 10 && sends_now(sim, ACCESS1) {
                told += 1;
                let about = last_data(sim, ACCESS1);
                sim.inject(ACCESS1, error(ACCESS1, &about, kind, 600));
            }
            got.len() == data.len()
        });
        assert!(
            done && got == data,
            "{kind:?}: {} of {}",
            got.len(),
            data.len()
        );
        // Some are overtaken by the acknowledgment on their way. Source quench passes as it came (RFC 6633).
        let [taken, late] = ["icmp_consumed", "icmp_stray"].map(|name| counter(&mut sim, name));
        if kind[0] == 4 {
            assert_eq!(taken + late, 0, "{kind:?}");
        } else {
            assert_eq!(taken + late, 10, "{kind:?}");
            assert!(taken >= 5, "{kind:?}: {taken}");
        }
        assert!(longest(&sim, 0, ACCESS1) > 1400);
        assert_eq!(counter(&mut sim, "tcp_retransmitted"), 0, "{kind:?}");
        assert_eq!(counter(&mut sim, "relays"), 1, "{kind:?}");
    }
}

#[test]
fn t15_an_error_about_what_is_not_in_flight_is_dropped_and_counted() {
    let mut sim = plain_sim(1);
    let pair = connect(&mut sim, 40_000, S);
    sim.hosts[SERVER].send(pair.server, &pattern(20_000, 1));
    sim.hosts[CLIENT].send(pair.client, &pattern(20_000, 2));
    sim.idle(Duration::from_secs(2));
    // All was acknowledged long ago, so these errors are forged or stale.
    for (n, port) in [(1, ACCESS1), (2, CORE)] {
        let error = unreachable(port, &last_data(&sim, port), FRAGMENTATION_NEEDED, 600);
        let before = sim.seen.len();
        sim.inject(port, error);
        sim.idle(Duration::from_secs(1));
        assert_eq!(counter(&mut sim, "icmp_stray"), n);
        let icmp = |s: &&Seen| Ip::parse(&s.frame).is_some_and(|ip| ip.protocol == 1);
        let passed = sim.seen[before..].iter().filter(icmp);
        assert_eq!(passed.count(), 1, "only our own injection was seen");
    }
    let before = sim.seen.len();
    sim.hosts[SERVER].send(pair.server, &pattern(20_000, 1));
    sim.idle(Duration::from_secs(1));
    assert!(
        longest(&sim, before, ACCESS1) > 1400,
        "the path is as before"
    );
}

#[test]
fn t15_an_error_to_our_own_address_about_no_flow_of_ours_is_not_routed() {
    let mut sim = raw_sim(config());
    let quoted = Tcp::new(HAG2, 80, "10.2.0.2", 50_000, ACK);
    let frame = quoted.frame(port_mac(ACCESS2), MAC_AT[ACCESS2]);
    sim.inject(ACCESS2, unreachable(ACCESS2, &frame, PORT_UNREACHABLE, 0));
    sim.idle(Duration::from_secs(1));
    for port in [ACCESS1, ACCESS2, CORE] {
        assert_eq!(sim.on(port, Way::FromBox).count(), 0, "port {port}");
    }
    assert_eq!(counter(&mut sim, "icmp_stray"), 1);
}
