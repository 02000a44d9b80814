//! Whoever is not on the path of a bonded connection cannot join it, end it, or put a word in.

use crate::common::raw::{ACK, RST, SYN, Tcp};
use crate::common::{
    ACCESS1, ACCESS2, CLIENT, CLIENT_MAC_2, CORE, Either, H, HAG2, MAC_AT, S, SERVER, Sim, Way,
    assert_empty, bonded_sim, config, counter, pattern, port_mac,
};
use smoltcp::iface::SocketHandle;
use stack::time::Duration;

/// A bonded connection with a subflow on each line.
fn established() -> (Sim<Either>, SocketHandle) {
    let mut sim = bonded_sim(config(), 1);
    let socket = sim.hosts[SERVER].tcp().listen(80);
    let now = sim.now;
    sim.hosts[CLIENT].mptcp().connect(now, 40_000, (S, 80));
    let joined = sim.run(Duration::from_secs(5), |sim| {
        sim.hosts[CLIENT].mptcp().subflows() == 2
    });
    assert!(joined);
    sim.idle(Duration::from_millis(300));
    assert_eq!(counter(&mut sim, "join_accepted"), 1);
    (sim, socket)
}

/// Sends both ways, and compares every octet.
fn exchange(sim: &mut Sim<Either>, socket: SocketHandle) {
    let (up, down) = (pattern(300_000, 1), pattern(300_000, 2));
    sim.hosts[CLIENT].mptcp().data.clone_from(&up);
    let (mut sent, mut got) = (0, Vec::new());
    let done = sim.run(Duration::from_secs(30), |sim| {
        let server = sim.hosts[SERVER].tcp();
        sent += server.send(socket, &down[sent..]);
        server.recv(socket, &mut got);
        got.len() == up.len() && sim.hosts[CLIENT].mptcp().got.len() == down.len()
    });
    assert!(done, "the connection has suffered");
    assert!(got == up && sim.hosts[CLIENT].mptcp().got == down);
    assert_eq!(sim.hosts[CLIENT].mptcp().subflows(), 2);
}

fn inject(sim: &mut Sim<Either>, port: usize, tcp: &Tcp) {
    sim.inject(port, tcp.frame(MAC_AT[port], port_mac(port)));
    sim.idle(Duration::from_millis(30));
}

/// The last segment seen on the link of `port`.
fn last(sim: &Sim<Either>, port: usize, way: Way) -> Tcp {
    let mut seen = sim.on(port, way).filter_map(|s| Tcp::parse(&s.frame));
    let first = seen.next().unwrap();
    seen.filter(|tcp| !tcp.has(RST)).last().unwrap_or(first)
}

/// The three TCP connections of the relay, each by its last segment towards the box and the port where it came.
fn targets(sim: &Sim<Either>) -> [(usize, Tcp); 3] {
    [ACCESS1, ACCESS2, CORE].map(|port| (port, last(sim, port, Way::ToBox)))
}

#[test]
fn t2_blind_resets_end_nothing() {
    let (mut sim, socket) = established();
    for (port, sample) in targets(&sim) {
        let mut reset = sample;
        reset.flags = RST;
        reset.options.clear();
        reset.payload.clear();
        let exact = reset.seq;
        let before = counter(&mut sim, "tcp_drop_window");
        for n in 1..100_u32 {
            // All over the sequence space, as by somebody who knows addresses and ports.
            reset.seq = exact.wrapping_add(n.wrapping_mul(0x0289_0000) | 0x4000_0000);
            inject(&mut sim, port, &reset);
        }
        assert!(counter(&mut sim, "tcp_drop_window") > before, "{port}");
        // In the window, but not the very next number: RFC 5961 3.2 asks back.
        let before = counter(&mut sim, "tcp_challenge_ack");
        reset.seq = exact.wrapping_add(1_000);
        inject(&mut sim, port, &reset);
        assert_eq!(counter(&mut sim, "tcp_challenge_ack"), before + 1);
        sim.idle(Duration::from_secs(6));
    }
    assert_eq!(counter(&mut sim, "tcp_reset_received"), 0);
    exchange(&mut sim, socket);
}

#[test]
fn t2_blind_syns_end_nothing() {
    let (mut sim, socket) = established();
    for (port, sample) in targets(&sim) {
        let mut syn = sample;
        syn.flags = SYN;
        let at = position(&syn.options, 8).unwrap();
        syn.options = [&[1, 1], &syn.options[at..at + 10]].concat();
        syn.payload.clear();
        let before = counter(&mut sim, "tcp_challenge_ack");
        syn.seq = syn.seq.wrapping_add(0x5000_0000);
        inject(&mut sim, port, &syn);
        assert_eq!(counter(&mut sim, "tcp_challenge_ack"), before + 1, "{port}");
    }
    assert_eq!(counter(&mut sim, "pending_opened"), 1);
    exchange(&mut sim, socket);
}

#[test]
fn t2_blind_data_reaches_nobody() {
    let (mut sim, socket) = established();
    for (port, sample) in targets(&sim) {
        let mut data = sample;
        data.flags = ACK;
        // Even whoever guessed the clock of the timestamps.
        let at = position(&data.options, 8).unwrap();
        data.options = [&[1, 1], &data.options[at..at + 10]].concat();
        data.payload = b"GET /forged HTTP/1.0\r\n\r\n".to_vec();
        let refused = |sim: &mut Sim<Either>| {
            ["tcp_drop_window", "tcp_drop_ack", "tcp_drop_paws"]
                .map(|name| counter(sim, name))
                .iter()
                .sum::<u64>()
        };
        let before = refused(&mut sim);
        let (seq, ack) = (data.seq, data.ack);
        // A number out of the window; and one within, with an acknowledgment of what was never sent.
        data.seq = seq.wrapping_add(0x5000_0000);
        inject(&mut sim, port, &data);
        data.seq = seq;
        data.ack = ack.wrapping_add(0x5000_0000);
        inject(&mut sim, port, &data);
        // And without a timestamp, where both ends have agreed on them (RFC 7323 3.2).
        data.ack = ack;
        data.options.clear();
        inject(&mut sim, port, &data);
        assert_eq!(refused(&mut sim), before + 3, "{port}");
    }
    exchange(&mut sim, socket);
}

/// The segments of the client's join: its SYN, and its third ACK.
fn recorded_join(sim: &Sim<Either>) -> [Tcp; 2] {
    let seen = sim.on(ACCESS2, Way::ToBox);
    let mut seen = seen.filter_map(|s| Tcp::parse(&s.frame));
    let syn = seen.find(|tcp| tcp.has(SYN)).unwrap();
    let third = seen.find(|tcp| tcp.option(30).is_some_and(|o| o.len() == 22));
    [syn, third.unwrap()]
}

/// Whoever recorded a join and plays it again meets another nonce of ours, so that the old HMAC proves nothing.
#[test]
fn a_replayed_join_is_refused() {
    let (mut sim, socket) = established();
    let [mut syn, mut third] = recorded_join(&sim);
    for tcp in [&mut syn, &mut third] {
        tcp.src_port = 5_555;
    }
    let to_box = |tcp: &Tcp| tcp.frame(CLIENT_MAC_2, port_mac(ACCESS2));
    sim.inject(ACCESS2, to_box(&syn));
    sim.idle(Duration::from_millis(50));
    let answers = sim.on(ACCESS2, Way::FromBox);
    let answers = answers.filter_map(|s| Tcp::parse(&s.frame));
    let answer = answers.filter(|tcp| tcp.dst_port == 5_555).last();
    let answer = answer.expect("the token is right, so it is asked for proof");
    third.ack = answer.seq.wrapping_add(1);
    if let (Some(theirs), Some(at)) = (answer.option(8), position(&third.options, 8)) {
        third.options[at + 6..at + 10].copy_from_slice(&theirs[..4]);
    }
    sim.inject(ACCESS2, to_box(&third));
    sim.idle(Duration::from_millis(50));
    assert_eq!(counter(&mut sim, "mpjoin_ack_hmac_failure"), 1);
    assert_eq!(counter(&mut sim, "join_refused"), 1);
    assert_eq!(counter(&mut sim, "join_accepted"), 1, "the client's own");
    exchange(&mut sim, socket);
}

/// Where the option of `kind` begins.
fn position(options: &[u8], kind: u8) -> Option<usize> {
    let mut at = 0;
    while at < options.len() {
        match options[at] {
            1 => at += 1,
            0 => return None,
            found if found == kind => return Some(at),
            _ => at += usize::from(options[at + 1]),
        }
    }
    None
}

#[test]
fn guessed_tokens_find_nothing() {
    let (mut sim, socket) = established();
    for n in 0..200_u16 {
        let mut syn = Tcp::plain_syn("10.2.0.77", 6_000 + n, HAG2);
        let token = u32::from(n).wrapping_mul(0x9e37_79b9).to_be_bytes();
        syn.options = [
            &crate::common::raw::SYN_OPTIONS[..],
            &[30, 12, 0x10, 3],
            &token,
            &[5, 6, 7, 8],
        ]
        .concat();
        inject(&mut sim, ACCESS2, &syn);
    }
    assert_eq!(counter(&mut sim, "join_no_token"), 200);
    assert_eq!(sim.occupancy().joining, 0);
    exchange(&mut sim, socket);
}

/// From the Internet, somebody who sends as the client or the server without seeing what they say.
#[test]
fn a_flow_that_is_not_there_yet_cannot_be_opened_for_others() {
    let mut sim = bonded_sim(config(), 1);
    let mut third = Tcp::new(H, 40_001, S, 80, ACK);
    third.payload = b"GET / HTTP/1.0\r\n\r\n".to_vec();
    // A DSS that belongs to nothing.
    third.options = vec![30, 8, 0x20, 0x01, 0, 0, 0, 1];
    inject(&mut sim, ACCESS1, &third);
    assert_eq!(counter(&mut sim, "relays"), 0);
    assert_eq!(counter(&mut sim, "mid_stream_reset"), 1);
    assert_empty(&mut sim);
}
