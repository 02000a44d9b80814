//! What of TCP and IP crosses the box from end to end, and what ends on a leg: asked with raw frames.

use crate::common::raw::{ACK, FIN, Ip, RST, SYN, Tcp};
use crate::common::{
    ACCESS1, CORE, Dumb, H, MAC_AT, S, Sim, Way, assert_empty, config, counter, port_mac, raw_sim,
};
use apps::engine::EngineConfig;
use stack::time::Duration;

const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;
/// ECT(0) and CE of the IP header.
const ECT0: u8 = 2;
const CE: u8 = 3;

/// Sends `frame` into `port`, and returns the segments that left by `at` since.
fn send_frame(sim: &mut Sim<Dumb>, port: usize, frame: Vec<u8>, at: usize) -> Vec<Tcp> {
    let before = sim.seen.len();
    sim.inject(port, frame);
    // Long enough for a delayed ACK.
    sim.idle(Duration::from_millis(60));
    let out = sim.seen[before..]
        .iter()
        .filter(|s| s.port == at && s.way == Way::FromBox);
    out.filter_map(|s| Tcp::parse(&s.frame)).collect()
}

fn send(sim: &mut Sim<Dumb>, port: usize, segment: &Tcp, at: usize) -> Vec<Tcp> {
    let frame = segment.frame(MAC_AT[port], port_mac(port));
    send_frame(sim, port, frame, at)
}

fn only(segments: &[Tcp]) -> Tcp {
    assert_eq!(segments.len(), 1, "{segments:?}");
    segments[0].clone()
}

/// A connection through the box, plain on either side, as its ends see it.
struct Pair {
    sim: Sim<Dumb>,
    /// The host's next segment.
    host: Tcp,
    /// The server's next segment.
    server: Tcp,
}

/// Sets a connection up with `more` flags on the SYN and on the SYN+ACK; what host and server were told.
fn pair_with(config: EngineConfig, (syn_flags, answer_flags): (u8, u8)) -> (Pair, [Tcp; 2]) {
    let mut sim = raw_sim(config);
    let mut syn = Tcp::plain_syn(H, 1000, S);
    syn.options = vec![2, 4, 5, 0xb4];
    syn.flags |= syn_flags;
    let asked = only(&send(&mut sim, ACCESS1, &syn, CORE));
    let mut answer = asked.answer(SYN | ACK | answer_flags, 77_000);
    answer.options = vec![2, 4, 5, 0xb4];
    let told = only(&send(&mut sim, CORE, &answer, ACCESS1));
    let mut host = told.answer(ACK, syn.seq + 1);
    host.tos = 0;
    let third = only(&send(&mut sim, ACCESS1, &host, CORE));
    assert_eq!(third.flags, ACK);
    let mut server = third.answer(ACK, 77_001);
    server.tos = 0;
    (Pair { sim, host, server }, [asked, told])
}

fn plain() -> EngineConfig {
    EngineConfig {
        accept_plain: true,
        ..config()
    }
}

#[test]
fn t14_congestion_marks_are_agreed_upon_only_if_host_and_server_both_answer_them() {
    // Flags of the host's SYN, of the server's SYN+ACK; what the server is asked, what the host is told.
    let both = ECE | CWR;
    for (syn, answer, asked, told) in [
        (both, ECE, both, ECE),
        (both, 0, both, 0),
        (0, 0, 0, 0),
        // A server that answers more than it was asked is not believed.
        (0, ECE, 0, 0),
        // RFC 3168 6.1.1: not an ECN-setup SYN+ACK.
        (both, both, both, 0),
    ] {
        let (_, seen) = pair_with(plain(), (syn, answer));
        assert_eq!(seen[0].flags & both, asked, "{syn:x} {answer:x}");
        assert_eq!(seen[1].flags & both, told, "{syn:x} {answer:x}");
    }
}

#[test]
fn t14_accurate_ecn_is_offered_on_as_the_classic_one() {
    let mut sim = raw_sim(plain());
    let mut syn = Tcp::plain_syn(H, 1000, S);
    syn.flags |= ECE | CWR;
    let mut frame = syn.frame(MAC_AT[ACCESS1], port_mac(ACCESS1));
    // AE is the lowest bit beside the data offset; the checksum follows.
    frame[14 + 20 + 12] |= 1;
    let sum = u16::from_be_bytes([frame[50], frame[51]]) - 0x100;
    frame[50..52].copy_from_slice(&sum.to_be_bytes());
    let before = sim.seen.len();
    let out = only(&send_frame(&mut sim, ACCESS1, frame, CORE));
    assert_eq!(out.flags, SYN | ECE | CWR);
    let left = sim.seen[before..].iter();
    let mut left = left.filter(|s| s.port == CORE && s.way == Way::FromBox);
    let syn = left.rfind(|s| Tcp::parse(&s.frame).is_some());
    assert_eq!(syn.unwrap().frame[14 + 20 + 12] & 0x0f, 0, "AE is off");
}

#[test]
fn t14_a_mark_is_answered_on_its_leg_and_does_not_cross() {
    let (mut pair, _) = pair_with(plain(), (ECE | CWR, ECE));
    pair.server.payload = vec![7; 100];
    pair.server.tos = CE;
    let before = pair.sim.seen.len();
    let back = send(&mut pair.sim, CORE, &pair.server, CORE);
    assert!(only(&back).has(ECE), "the server hears of it");
    let crossed = pair.sim.seen[before..]
        .iter()
        .filter(|s| s.port == ACCESS1 && s.way == Way::FromBox);
    let crossed: Vec<_> = crossed.filter_map(|s| Tcp::parse(&s.frame)).collect();
    let crossed = only(&crossed);
    assert_eq!(crossed.payload, pair.server.payload);
    assert_eq!(
        crossed.tos, ECT0,
        "not leaked, and the other leg may be marked"
    );
    assert!(!crossed.has(ECE));
    // The host's mark on what it got halves our window on its leg alone.
    let mut echo = crossed.answer(ACK | ECE, pair.host.seq);
    echo.tos = 0;
    send(&mut pair.sim, ACCESS1, &echo, ACCESS1);
    pair.server.seq += 100;
    pair.server.tos = ECT0;
    let next = only(&send(&mut pair.sim, CORE, &pair.server, ACCESS1));
    assert!(next.has(CWR), "and the host is told so");
    assert_eq!(counter(&mut pair.sim, "tcp_congestion_marked"), 1);
    assert_eq!(counter(&mut pair.sim, "tcp_congestion_echoed"), 1);
}

#[test]
fn t14_data_of_ends_without_ecn_is_not_marked_as_capable() {
    let (mut pair, _) = pair_with(plain(), (0, 0));
    pair.server.payload = vec![7; 100];
    let crossed = only(&send(&mut pair.sim, CORE, &pair.server, ACCESS1));
    assert_eq!(crossed.tos & 3, 0);
}

#[test]
fn the_class_of_traffic_crosses_both_ways_from_the_first_packet() {
    let mut sim = raw_sim(plain());
    let mut syn = Tcp::plain_syn(H, 1000, S);
    syn.tos = 0xb8;
    let asked = only(&send(&mut sim, ACCESS1, &syn, CORE));
    assert_eq!(asked.tos, 0xb8);
    let mut answer = asked.answer(SYN | ACK, 77_000);
    answer.tos = 0x28;
    let told = only(&send(&mut sim, CORE, &answer, ACCESS1));
    assert_eq!(told.tos, 0x28);
    let mut host = told.answer(ACK, syn.seq + 1);
    host.tos = 0xb8;
    host.payload = b"up".to_vec();
    let up = send(&mut sim, ACCESS1, &host, CORE);
    assert!(up.iter().all(|tcp| tcp.tos == 0xb8), "{up:?}");
    let mut server = up.last().unwrap().answer(ACK, 77_001);
    for (class, data) in [(0x28, b"a"), (0x68, b"b")] {
        server.tos = class;
        server.payload = data.to_vec();
        let down = send(&mut sim, CORE, &server, ACCESS1);
        let down = down.last().unwrap();
        assert_eq!(down.tos, class);
        host = down.answer(ACK, host.seq + u32::from(class == 0x28) * 2);
        host.tos = 0xb8;
        send(&mut sim, ACCESS1, &host, CORE);
        server.seq += 1;
    }
    // Our own ACK has the class of the host's last packet, after any silence.
    sim.idle(Duration::from_secs(20));
    assert_eq!(sim.occupancy().resting, 1);
    let acks = send(&mut sim, CORE, &server, CORE);
    assert_eq!(acks.last().unwrap().tos, 0xb8, "{acks:?}");
}

#[test]
fn t18_urgent_data_crosses_in_line_and_none_is_lost() {
    let (mut pair, _) = pair_with(plain(), (0, 0));
    pair.host.payload = b"abc".to_vec();
    pair.host.flags |= URG;
    let mut frame = pair.host.frame(MAC_AT[ACCESS1], port_mac(ACCESS1));
    // The urgent pointer: behind the second octet.
    frame[14 + 20 + 19] = 2;
    let sum = u16::from_be_bytes([frame[50], frame[51]]) - 2;
    frame[50..52].copy_from_slice(&sum.to_be_bytes());
    let out = only(&send_frame(&mut pair.sim, ACCESS1, frame, CORE));
    assert_eq!(out.payload, b"abc");
    assert!(!out.has(URG));
}

#[test]
fn a_syn_whose_ttl_ends_here_is_answered_and_leaves_nothing() {
    let mut sim = raw_sim(config());
    let mut syn = Tcp::capable_syn(H, 1000, S);
    syn.ttl = 1;
    sim.inject(ACCESS1, syn.frame(MAC_AT[ACCESS1], port_mac(ACCESS1)));
    sim.idle(Duration::from_millis(20));
    assert_eq!(sim.occupancy().pending, 0);
    let told: Vec<_> = sim
        .on(ACCESS1, Way::FromBox)
        .filter_map(|s| Ip::parse(&s.frame))
        .filter(|ip| (ip.protocol, ip.payload[0]) == (1, 11))
        .map(|ip| ip.payload.to_vec())
        .collect();
    assert_eq!(told.len(), 1);
    // The quoted segment is the host's own, as it sent it.
    let mut quoted = vec![0; 14];
    quoted[12] = 8;
    quoted.extend(&told[0][8..]);
    assert_eq!(Tcp::parse(&quoted).expect("all of it"), syn);
    let next = send(&mut sim, ACCESS1, &Tcp { ttl: 2, ..syn }, CORE);
    assert_eq!(only(&next).ttl, 1, "one hop less");
}

#[test]
fn t16_a_server_that_fell_silent_is_found_dead_and_the_host_is_told() {
    let mut config = plain();
    config.timeouts.keepalive = Duration::from_secs(20);
    let (mut pair, _) = pair_with(config, (0, 0));
    let sent = pair.sim.seen.len();
    // The host answers every probe, the server none.
    let end = pair.sim.now + Duration::from_secs(101);
    while pair.sim.now < end {
        let before = pair.sim.seen.len();
        pair.sim.idle(Duration::from_secs(1));
        let probes = pair.sim.seen[before..].iter();
        let probes = probes.filter(|s| s.port == ACCESS1 && s.way == Way::FromBox);
        let probed = probes
            .filter_map(|s| Tcp::parse(&s.frame))
            .any(|tcp| !tcp.has(RST));
        if probed {
            let answer = pair.host.frame(MAC_AT[ACCESS1], port_mac(ACCESS1));
            pair.sim.inject(ACCESS1, answer);
        }
    }
    let left = |port| {
        let seen = pair.sim.seen[sent..].iter();
        let seen = seen.filter(move |s| s.port == port && s.way == Way::FromBox);
        seen.filter_map(|s| Tcp::parse(&s.frame))
            .collect::<Vec<_>>()
    };
    let to_server = left(CORE);
    let probes = to_server
        .iter()
        .filter(|tcp| tcp.seq == pair.host.seq - 1)
        .count();
    assert_eq!(probes, 4, "{to_server:?}");
    let to_host = left(ACCESS1);
    assert!(to_host.last().unwrap().has(RST), "{to_host:?}");
    assert_eq!(counter(&mut pair.sim, "relay_closed_server_lost"), 1);
    assert_eq!(counter(&mut pair.sim, "tcp_keepalive_timed_out"), 1);
    assert_empty(&mut pair.sim);
}

#[test]
fn t16_an_idle_connection_whose_ends_live_stays() {
    let mut config = plain();
    config.timeouts.keepalive = Duration::from_secs(20);
    config.timeouts.idle = Duration::from_secs(90);
    let (mut pair, _) = pair_with(config, (0, 0));
    for _ in 0..300 {
        let before = pair.sim.seen.len();
        pair.sim.idle(Duration::from_secs(1));
        for (port, answer) in [(ACCESS1, &pair.host), (CORE, &pair.server)] {
            let probes = pair.sim.seen[before..].iter();
            let probed = probes
                .filter(|s| s.port == port && s.way == Way::FromBox)
                .any(|s| Tcp::parse(&s.frame).is_some());
            if probed {
                let frame = answer.frame(MAC_AT[port], port_mac(port));
                pair.sim.inject(port, frame);
            }
        }
    }
    assert_eq!(pair.sim.occupancy().relays, 1);
    pair.host.flags |= FIN;
    let fin = send(&mut pair.sim, ACCESS1, &pair.host, CORE);
    assert!(only(&fin).has(FIN), "and still carries");
}
