//! TCP relayed to TCP between two hosts that we did not write, in virtual time.

use crate::common::raw::{ACK, RST, SYN, Tcp};
use crate::common::{
    CLIENT, CORE, H, Host, Pair, S, S6, SERVER, Sim, Way, assert_empty, config, connect, counter,
    pattern, plain_sim, plain_sim_with,
};
use apps::engine::{EngineConfig, Limits};
use smoltcp::socket::tcp::State;
use stack::time::Duration;

/// What is to be sent, and what came.
#[derive(Default)]
struct Stream {
    data: Vec<u8>,
    sent: usize,
    closed: bool,
    got: Vec<u8>,
}

fn feed(host: &mut Host, handle: smoltcp::iface::SocketHandle, stream: &mut Stream) {
    stream.sent += host.send(handle, &stream.data[stream.sent..]);
    if stream.sent == stream.data.len() && !stream.closed {
        host.tcp(handle).close();
        stream.closed = true;
    }
}

/// Sends `up` and `down` at once, closes each side after its own, and checks what came out.
fn exchange(sim: &mut Sim<Host>, pair: &Pair, up: usize, down: usize, limit: Duration) {
    let mut up = Stream {
        data: pattern(up, 1),
        ..Stream::default()
    };
    let mut down = Stream {
        data: pattern(down, 2),
        ..Stream::default()
    };
    let done = sim.run(limit, |sim| {
        feed(&mut sim.hosts[CLIENT], pair.client, &mut up);
        feed(&mut sim.hosts[SERVER], pair.server, &mut down);
        sim.hosts[SERVER].recv(pair.server, &mut up.got);
        sim.hosts[CLIENT].recv(pair.client, &mut down.got);
        let over = |state| matches!(state, State::Closed | State::TimeWait);
        up.got.len() == up.data.len()
            && down.got.len() == down.data.len()
            && over(sim.hosts[CLIENT].tcp(pair.client).state())
            && over(sim.hosts[SERVER].tcp(pair.server).state())
    });
    assert!(
        done,
        "up {}/{}, down {}/{}, client {:?}, server {:?}",
        up.got.len(),
        up.data.len(),
        down.got.len(),
        down.data.len(),
        sim.hosts[CLIENT].tcp(pair.client).state(),
        sim.hosts[SERVER].tcp(pair.server).state(),
    );
    // The last acknowledgment is still on its way.
    sim.idle(Duration::from_secs(1));
    assert!(up.got == up.data, "upload differs");
    assert!(down.got == down.data, "download differs");
}

#[test]
fn both_directions_are_byte_exact_and_never_copied() {
    let mut sim = plain_sim(1);
    let pair = connect(&mut sim, 40_000, S);
    exchange(&mut sim, &pair, 1 << 20, 1 << 20, Duration::from_secs(60));
    assert_eq!(counter(&mut sim, "copied_in_stack"), 0);
    assert_eq!(counter(&mut sim, "relay_opened_plain"), 1);
    assert_eq!(counter(&mut sim, "relay_closed_clean"), 1);
    assert_eq!(counter(&mut sim, "relays"), 0);
    assert_empty(&mut sim);
}

#[test]
fn ipv6_is_relayed_alike() {
    let mut sim = plain_sim(1);
    let pair = connect(&mut sim, 40_000, S6);
    exchange(&mut sim, &pair, 300_000, 300_000, Duration::from_secs(60));
    assert_eq!(counter(&mut sim, "relay_opened_plain"), 1);
    assert_empty(&mut sim);
}

#[test]
fn loss_on_every_link_costs_time_but_no_octet_and_no_copy() {
    for seed in 1..=6 {
        let mut sim = plain_sim(seed);
        sim.record = false;
        for link in &mut sim.links {
            link.shape.loss = 20_000;
        }
        let pair = connect(&mut sim, 40_000, S);
        exchange(&mut sim, &pair, 400_000, 400_000, Duration::from_secs(300));
        assert_eq!(counter(&mut sim, "copied_in_stack"), 0, "seed {seed}");
        assert!(
            counter(&mut sim, "tcp_retransmitted") > 0,
            "seed {seed}: nothing was lost"
        );
        for link in &mut sim.links {
            link.shape.loss = 0;
        }
        assert_empty(&mut sim);
    }
}

#[test]
fn the_server_sees_the_clients_own_syn_and_the_client_no_early_answer() {
    let mut sim = plain_sim(1);
    connect(&mut sim, 40_000, S);
    let first = |port, way, want: fn(&Tcp) -> bool| {
        let mut segments = sim
            .on(port, way)
            .filter_map(|s| Some((s.at, Tcp::parse(&s.frame)?)));
        segments.find(|(_, tcp)| want(tcp)).unwrap()
    };
    let is_syn = |tcp: &Tcp| tcp.has(SYN) && !tcp.has(ACK);
    let is_answer = |tcp: &Tcp| tcp.has(SYN) && tcp.has(ACK);
    let is_ack = |tcp: &Tcp| !tcp.has(SYN) && tcp.has(ACK);
    let (_, in_syn) = first(0, Way::ToBox, is_syn);
    let (_, out_syn) = first(CORE, Way::FromBox, is_syn);
    assert_eq!(
        (out_syn.seq, out_syn.src_port),
        (in_syn.seq, in_syn.src_port)
    );
    assert_eq!(out_syn.src.to_string(), H);
    assert_eq!(out_syn.options, in_syn.options);
    assert_eq!(out_syn.ttl, in_syn.ttl - 1);
    let (answered, in_answer) = first(CORE, Way::ToBox, is_answer);
    let (passed_on, out_answer) = first(0, Way::FromBox, is_answer);
    assert!(
        passed_on >= answered + Duration::from_millis(10),
        "answered early"
    );
    assert_ne!(out_answer.seq, in_answer.seq, "the number must be ours");
    let (client_acked, _) = first(0, Way::ToBox, is_ack);
    let (we_acked, _) = first(CORE, Way::FromBox, is_ack);
    assert!(
        we_acked >= client_acked + Duration::from_millis(5),
        "acknowledged early"
    );
}

#[test]
fn t4_half_close_by_the_client_leaves_the_download_running() {
    let mut sim = plain_sim(1);
    let pair = connect(&mut sim, 40_000, S);
    sim.hosts[CLIENT].send(pair.client, b"request");
    sim.hosts[CLIENT].tcp(pair.client).close();
    let mut got = Vec::new();
    let closed = sim.run(Duration::from_secs(5), |sim| {
        sim.hosts[SERVER].recv(pair.server, &mut got);
        sim.hosts[SERVER].tcp(pair.server).state() == State::CloseWait
    });
    assert!(closed && got == b"request");
    // Ten minutes half closed, then the answer.
    sim.idle(Duration::from_secs(600));
    exchange_down(&mut sim, &pair);
    assert_empty(&mut sim);
}

fn exchange_down(sim: &mut Sim<Host>, pair: &Pair) {
    let mut down = Stream {
        data: pattern(200_000, 3),
        ..Stream::default()
    };
    let done = sim.run(Duration::from_secs(30), |sim| {
        feed(&mut sim.hosts[SERVER], pair.server, &mut down);
        sim.hosts[CLIENT].recv(pair.client, &mut down.got);
        down.got.len() == down.data.len() && !sim.hosts[SERVER].tcp(pair.server).is_open()
    });
    assert!(done, "{} came", down.got.len());
    assert!(down.got == down.data);
}

#[test]
fn t4_half_close_by_the_server_leaves_the_upload_running() {
    let mut sim = plain_sim(1);
    let pair = connect(&mut sim, 40_000, S);
    sim.hosts[SERVER].tcp(pair.server).close();
    let closed = sim.run(Duration::from_secs(5), |sim| {
        sim.hosts[CLIENT].tcp(pair.client).state() == State::CloseWait
    });
    assert!(closed);
    sim.idle(Duration::from_secs(60));
    let mut up = Stream {
        data: pattern(200_000, 3),
        ..Stream::default()
    };
    let done = sim.run(Duration::from_secs(30), |sim| {
        feed(&mut sim.hosts[CLIENT], pair.client, &mut up);
        sim.hosts[SERVER].recv(pair.server, &mut up.got);
        up.got.len() == up.data.len() && !sim.hosts[CLIENT].tcp(pair.client).is_open()
    });
    assert!(done && up.got == up.data, "{} came", up.got.len());
    assert_empty(&mut sim);
}

#[test]
fn a_refusal_reaches_the_client_as_it_would_without_us() {
    let mut sim = plain_sim(1);
    let client = sim.hosts[CLIENT].connect(40_000, (S, 81));
    let refused = sim.run(Duration::from_secs(5), |sim| {
        sim.hosts[CLIENT].tcp(client).state() == State::Closed
    });
    assert!(refused);
    let last = sim
        .on(0, Way::FromBox)
        .filter_map(|s| Tcp::parse(&s.frame))
        .last();
    assert!(last.unwrap().has(RST));
    assert_eq!(counter(&mut sim, "pending_refused"), 1);
    assert_empty(&mut sim);
}

#[test]
fn a_silent_server_gets_the_clients_syns_and_no_more() {
    let mut sim = plain_sim(1);
    sim.links[CORE].shape.down = true;
    sim.hosts[CLIENT].connect(40_000, (S, 80));
    sim.idle(Duration::from_secs(8));
    let syns = |port, way| {
        let segments = sim.on(port, way).filter_map(|s| Tcp::parse(&s.frame));
        segments.filter(|tcp| tcp.has(SYN)).count()
    };
    // The box asks for the server's Ethernet address first, so SYNs towards it wait.
    assert!(syns(0, Way::ToBox) >= 2);
    assert!(syns(CORE, Way::FromBox) <= syns(0, Way::ToBox));
    assert_eq!(syns(0, Way::FromBox), 0, "nothing is invented");
}

#[test]
fn a_pending_flow_whose_server_is_silent_expires() {
    let mut sim = plain_sim(1);
    warm_up(&mut sim);
    let syn = Tcp::plain_syn(H, 41_000, "10.9.0.77");
    sim.inject(
        0,
        syn.frame(crate::common::CLIENT_MAC, crate::common::port_mac(0)),
    );
    sim.idle(Duration::from_secs(1));
    assert_eq!(counter(&mut sim, "pending"), 1);
    assert_empty(&mut sim);
    assert_eq!(counter(&mut sim, "pending_expired"), 1);
}

/// Lets the box learn both hosts' Ethernet addresses.
fn warm_up(sim: &mut Sim<Host>) {
    let pair = connect(sim, 39_999, S);
    sim.hosts[CLIENT].tcp(pair.client).abort();
    sim.idle(Duration::from_secs(1));
}

#[test]
fn t13_a_stalled_reader_stops_the_sender_at_the_buffer_limit() {
    let limits = Limits {
        buffer: 200_000,
        ..Limits::default()
    };
    let config = EngineConfig {
        accept_plain: true,
        limits,
        ..config()
    };
    let mut sim = plain_sim_with(config, 1);
    let pair = connect(&mut sim, 40_000, S);
    let data = pattern(8 << 20, 4);
    let (mut sent, mut most) = (0, 0);
    sim.run(Duration::from_secs(60), |sim| {
        sent += sim.hosts[SERVER].send(pair.server, &data[sent..]);
        most = most.max(sim.occupancy().held);
        false
    });
    // The client's own buffer (256 KiB), ours, and the server's own.
    assert!(most <= 200_000 + 65_536, "held {most}");
    assert!(sent < 1 << 20, "the server sent {sent}");
    // The reader wakes up, and all arrives.
    let mut got = Vec::new();
    let done = sim.run(Duration::from_secs(300), |sim| {
        sent += sim.hosts[SERVER].send(pair.server, &data[sent..]);
        sim.hosts[CLIENT].recv(pair.client, &mut got);
        got.len() == data.len()
    });
    assert!(done && got == data, "{} of {} came", got.len(), data.len());
}

#[test]
fn a_reset_crosses_in_either_direction() {
    for from_server in [false, true] {
        let mut sim = plain_sim(1);
        let pair = connect(&mut sim, 40_000, S);
        let (host, handle) = if from_server {
            (SERVER, pair.server)
        } else {
            (CLIENT, pair.client)
        };
        sim.hosts[host].tcp(handle).abort();
        let gone = sim.run(Duration::from_secs(5), |sim| {
            sim.hosts[CLIENT].tcp(pair.client).state() == State::Closed
                && sim.hosts[SERVER].tcp(pair.server).state() == State::Closed
        });
        assert!(gone, "from server: {from_server}");
        let name = if from_server {
            "relay_closed_server_reset"
        } else {
            "relay_closed_client_reset"
        };
        assert_eq!(counter(&mut sim, name), 1);
        assert_empty(&mut sim);
    }
}

#[test]
fn many_connections_at_once_and_after_one_another_leave_nothing() {
    let mut sim = plain_sim(3);
    sim.record = false;
    for port in 0..20 {
        let pair = connect(&mut sim, 42_000 + port, S);
        exchange(&mut sim, &pair, 20_000, 20_000, Duration::from_secs(30));
    }
    assert_eq!(counter(&mut sim, "relay_closed_clean"), 20);
    assert_empty(&mut sim);
}
