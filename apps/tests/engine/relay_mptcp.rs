//! An MPTCP client with two access lines, the box, and a TCP server, in virtual time.

use crate::common::raw::{RST, Tcp};
use crate::common::script::{only, send};
use crate::common::{
    ACCESS1, ACCESS2, CLIENT, CORE, Either, H, HAG2, MAC_AT, MpHost, S, S6, SERVER, Sim, Way,
    assert_empty, bonded_sim, config, counter, link, pattern, port_mac, server, sim_of,
};
use apps::control::{Command, ConnectionState, Reply};
use dataplane::App;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::State;
use stack::time::Duration;
use stack::{Instant, PortId};

/// Connects the client; the server's socket.
pub(super) fn connect(sim: &mut Sim<Either>, to: &str) -> SocketHandle {
    let socket = sim.hosts[SERVER].tcp().listen(80);
    let now = sim.now;
    sim.hosts[CLIENT].mptcp().connect(now, 40_000, (to, 80));
    let up = sim.run(Duration::from_secs(10), |sim| {
        sim.hosts[CLIENT].mptcp().is_up() && sim.hosts[SERVER].tcp().tcp(socket).may_send()
    });
    assert!(up, "no connection");
    socket
}

fn client(sim: &mut Sim<Either>) -> &mut MpHost {
    sim.hosts[CLIENT].mptcp()
}

pub(super) fn await_subflows(sim: &mut Sim<Either>, n: usize) {
    let there = sim.run(Duration::from_secs(5), |sim| client(sim).subflows() == n);
    assert!(there, "{} subflows", client(sim).subflows());
    // The box learns of a join when its third ACK comes.
    sim.idle(Duration::from_millis(200));
}

/// Sends both ways at once, ends both streams, and checks what came out.
pub(super) fn exchange(
    sim: &mut Sim<Either>,
    socket: SocketHandle,
    up: usize,
    down: usize,
    limit: Duration,
) {
    let (up, down) = (pattern(up, 1), pattern(down, 2));
    client(sim).data = up.clone();
    client(sim).finish = true;
    let (mut sent, mut got, mut closed) = (0, Vec::new(), false);
    let done = sim.run(limit, |sim| {
        let server = sim.hosts[SERVER].tcp();
        sent += server.send(socket, &down[sent..]);
        if sent == down.len() && !closed {
            server.tcp(socket).close();
            closed = true;
        }
        server.recv(socket, &mut got);
        let over = matches!(server.tcp(socket).state(), State::Closed | State::TimeWait);
        over && got.len() == up.len()
            && client(sim).got.len() == down.len()
            && client(sim).connection.as_ref().unwrap().is_closed()
    });
    let state = sim.hosts[SERVER].tcp().tcp(socket).state();
    assert!(
        done,
        "up {}/{}, down {}/{}, server {state:?}, client {:?}",
        got.len(),
        up.len(),
        client(sim).got.len(),
        down.len(),
        client(sim).connection.as_ref().unwrap().outcome(),
    );
    assert!(got == up, "upload differs");
    assert!(client(sim).got == down, "download differs");
    sim.idle(Duration::from_secs(2));
    assert_eq!(counter(sim, "copied_in_stack"), 0);
    assert_eq!(counter(sim, "relays"), 0);
    assert_eq!(counter(sim, "relay_closed_clean"), 1);
}

/// Payload octets that the box sent by each access port.
fn down_by_port(sim: &Sim<Either>) -> [usize; 2] {
    [ACCESS1, ACCESS2].map(|port| {
        let segments = sim
            .on(port, Way::FromBox)
            .filter_map(|s| Tcp::parse(&s.frame));
        segments.map(|tcp| tcp.payload.len()).sum()
    })
}

#[test]
fn a_download_and_an_upload_use_both_lines_byte_exact() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    exchange(&mut sim, socket, 3 << 20, 3 << 20, Duration::from_secs(60));
    assert_eq!(counter(&mut sim, "join_accepted"), 1);
    assert_eq!(counter(&mut sim, "relay_opened_mptcp"), 1);
    let by_port = down_by_port(&sim);
    assert!(by_port.iter().all(|&n| n > 100_000), "{by_port:?}");
    let to_server = sim
        .on(CORE, Way::FromBox)
        .filter_map(|s| Tcp::parse(&s.frame));
    for tcp in to_server {
        assert_eq!(tcp.src.to_string(), H, "the server sees one address");
        assert_eq!(tcp.option(30), None, "no MPTCP towards the Internet");
    }
    assert_empty(&mut sim);
}

#[test]
fn ipv6_is_bonded_alike() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S6);
    await_subflows(&mut sim, 2);
    exchange(&mut sim, socket, 1 << 20, 1 << 20, Duration::from_secs(60));
    assert_eq!(counter(&mut sim, "join_accepted"), 1);
    assert_empty(&mut sim);
}

#[test]
fn loss_on_every_line_costs_no_octet_and_no_copy() {
    for seed in 1..=5 {
        let mut sim = bonded_sim(config(), seed);
        sim.record = false;
        for link in &mut sim.links {
            link.shape.loss = 10_000;
        }
        let socket = connect(&mut sim, S);
        exchange(&mut sim, socket, 1 << 20, 1 << 20, Duration::from_secs(300));
        assert!(counter(&mut sim, "tcp_retransmitted") > 0);
        for link in &mut sim.links {
            link.shape.loss = 0;
        }
        assert_empty(&mut sim);
    }
}

#[test]
fn losing_a_line_for_good_loses_no_octet() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    let data = pattern(4 << 20, 9);
    let mut sent = 0;
    let done = sim.run(Duration::from_secs(300), |sim| {
        sent += sim.hosts[SERVER].tcp().send(socket, &data[sent..]);
        if client(sim).got.len() > 1 << 20 {
            sim.links[ACCESS2].shape.down = true;
        }
        client(sim).got.len() == data.len()
    });
    assert!(done, "{} of {}", client(&mut sim).got.len(), data.len());
    assert!(client(&mut sim).got == data);
}

#[test]
fn the_show_commands_tell_of_both_subflows() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    sim.hosts[SERVER].tcp().send(socket, &pattern(100_000, 1));
    sim.idle(Duration::from_secs(1));
    let Reply::Connections(shown) = sim.command(Command::ShowConnections { limit: 10 }) else {
        panic!("connections were asked for");
    };
    assert_eq!(shown.total, 1);
    let connection = &shown.connections[0];
    assert_eq!(connection.state, ConnectionState::Mptcp);
    assert_eq!(
        (&*connection.client, &*connection.server),
        ("10.1.0.2:40000", "10.9.0.2:80")
    );
    assert_eq!(
        (connection.version, connection.bytes_down),
        (Some(1), 100_000)
    );
    let ports: Vec<_> = connection.subflows.iter().map(|s| &*s.port).collect();
    assert_eq!(ports, ["access1", "access2"]);
    assert_eq!(connection.subflows[1].local, format!("{HAG2}:80"));
    assert!(connection.subflows.iter().map(|s| s.bytes_out).sum::<u64>() >= 100_000);
}

#[test]
fn a_reset_by_the_server_is_a_fastclose_on_every_subflow() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    sim.hosts[SERVER].tcp().tcp(socket).abort();
    sim.idle(Duration::from_secs(1));
    for port in [ACCESS1, ACCESS2] {
        let segments = sim
            .on(port, Way::FromBox)
            .filter_map(|s| Tcp::parse(&s.frame));
        let resets: Vec<_> = segments.filter(|tcp| tcp.has(RST)).collect();
        assert_eq!(resets.len(), 1, "port {port}");
        let option = resets[0].option(30).expect("MP_FASTCLOSE");
        assert_eq!(option[0] >> 4, 7, "port {port}");
    }
    assert!(client(&mut sim).connection.as_ref().unwrap().is_closed());
    assert_eq!(counter(&mut sim, "relay_closed_server_reset"), 1);
    assert_empty(&mut sim);
}

#[test]
fn a_fastclose_by_the_client_resets_the_server() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    let now = sim.now;
    client(&mut sim).abort(now);
    sim.idle(Duration::from_secs(1));
    assert_eq!(sim.hosts[SERVER].tcp().tcp(socket).state(), State::Closed);
    assert_eq!(counter(&mut sim, "relay_closed_client_reset"), 1);
    assert_empty(&mut sim);
}

#[test]
fn a_client_that_is_gone_is_given_up_and_the_server_reset() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    sim.links[ACCESS1].shape.down = true;
    sim.links[ACCESS2].shape.down = true;
    sim.hosts[SERVER].tcp().send(socket, &pattern(10_000, 1));
    let gone = sim.run(Duration::from_secs(1800), |sim| {
        sim.hosts[SERVER].tcp().tcp(socket).state() == State::Closed
    });
    assert!(gone);
    assert_eq!(counter(&mut sim, "relay_closed_all_paths_lost"), 1);
    assert_empty(&mut sim);
}

#[test]
fn while_draining_relays_go_on_and_a_reset_of_all_ends_them() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    sim.command(Command::Drain);
    sim.hosts[SERVER].tcp().send(socket, b"still here");
    sim.idle(Duration::from_secs(1));
    assert_eq!(client(&mut sim).got, b"still here");
    let Reply::Status(status) = sim.command(Command::ResetAll) else {
        panic!("a status was asked for");
    };
    assert_eq!((status.relays, status.draining), (0, true));
    sim.idle(Duration::from_secs(1));
    assert_eq!(sim.hosts[SERVER].tcp().tcp(socket).state(), State::Closed);
    assert!(client(&mut sim).connection.as_ref().unwrap().is_closed());
    assert_eq!(counter(&mut sim, "relay_closed_by_operator"), 1);
    assert_empty(&mut sim);
}

#[test]
fn t4_m16_half_close_crosses_as_data_fin_both_ways() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    client(&mut sim).data = b"request".to_vec();
    client(&mut sim).finish = true;
    let mut got = Vec::new();
    let closed = sim.run(Duration::from_secs(5), |sim| {
        let server = sim.hosts[SERVER].tcp();
        server.recv(socket, &mut got);
        server.tcp(socket).state() == State::CloseWait
    });
    assert!(closed && got == b"request");
    sim.idle(Duration::from_secs(600));
    exchange(&mut sim, socket, 0, 500_000, Duration::from_secs(60));
    assert_empty(&mut sim);
}

/// Two subflows over lines alike: what is sent on both at once comes in one turn of the box. The time when all is quiet.
fn two_lines_alike(sim: &mut Sim<Either>) -> (SocketHandle, Instant) {
    let socket = connect(sim, S);
    await_subflows(sim, 2);
    (socket, sim.now)
}

fn lines_alike() -> Sim<Either> {
    let hosts = vec![
        Either::Mptcp(Box::new(MpHost::new(1))),
        Either::Tcp(server()),
    ];
    let links = [(CLIENT, 0), (CLIENT, 1), (SERVER, 0)].map(|(host, nic)| link(host, nic, 10));
    sim_of(config(), hosts, links.into(), 1)
}

/// Segments on both accesses since then.
fn on_accesses(sim: &Sim<Either>, way: Way, since: Instant) -> [usize; 2] {
    [ACCESS1, ACCESS2].map(|port| sim.on(port, way).filter(|seen| seen.at >= since).count())
}

#[test]
fn m16_a_data_fin_and_what_acknowledges_it_are_one_segment_each() {
    let mut sim = lines_alike();
    let (socket, since) = two_lines_alike(&mut sim);
    client(&mut sim).finish = true;
    let closed = sim.run(Duration::from_secs(5), |sim| {
        sim.hosts[SERVER].tcp().tcp(socket).state() == State::CloseWait
    });
    assert!(closed);
    sim.idle(Duration::from_millis(500));
    let (said, answered) = (
        on_accesses(&sim, Way::ToBox, since),
        on_accesses(&sim, Way::FromBox, since),
    );
    assert_eq!(said.iter().sum::<usize>(), 1, "{said:?}");
    assert_eq!(answered.iter().sum::<usize>(), 1, "{answered:?}");
    let since = sim.now;
    sim.hosts[SERVER].tcp().tcp(socket).close();
    let said = sim.run(Duration::from_secs(1), |sim| {
        on_accesses(sim, Way::FromBox, since) != [0, 0]
    });
    let said_on = on_accesses(&sim, Way::FromBox, since);
    assert!(said && said_on.iter().sum::<usize>() == 1, "{said_on:?}");
}

#[test]
fn m16_a_data_fin_on_two_subflows_at_once_is_acknowledged_once_on_each() {
    let mut sim = lines_alike();
    let (socket, since) = two_lines_alike(&mut sim);
    let last = |sim: &Sim<Either>, port, way| {
        let seen = sim.on(port, way).filter_map(|seen| Tcp::parse(&seen.frame));
        seen.last().unwrap()
    };
    // The last on the joined subflow is the fourth ACK: a DSS with a DATA_ACK, and nothing else.
    let data_ack = last(&sim, ACCESS2, Way::FromBox).option(30).unwrap()[2..10].to_vec();
    for port in [ACCESS1, ACCESS2] {
        // Kinds and lengths as RFC 8684 3.3 has them: a DSS with no DATA_ACK, but a DSN of 8 octets, and bit F.
        let mut end = last(&sim, port, Way::ToBox);
        let timestamps = end.option(8).unwrap().to_vec();
        end.options = [
            &[8, 10],
            &timestamps[..],
            &[30, 18, 2 << 4, 0x1c],
            &data_ack,
            &[0, 0, 0, 0, 0, 1],
        ]
        .concat();
        sim.inject(port, end.frame(MAC_AT[port], port_mac(port)));
    }
    let closed = sim.run(Duration::from_secs(5), |sim| {
        sim.hosts[SERVER].tcp().tcp(socket).state() == State::CloseWait
    });
    assert!(closed);
    sim.idle(Duration::from_millis(500));
    assert_eq!(on_accesses(&sim, Way::ToBox, since), [1, 1]);
    assert_eq!(on_accesses(&sim, Way::FromBox, since), [1, 1]);
}

#[test]
fn ends_that_come_again_are_acknowledged_after_their_relay_is_gone() {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    // Both close at once, so our subflows pass TIME-WAIT.
    sim.hosts[SERVER].tcp().tcp(socket).close();
    sim.idle(Duration::from_millis(200));
    client(&mut sim).finish = true;
    let gone = sim.run(Duration::from_secs(5), |sim| sim.occupancy().relays == 0);
    assert!(gone && !client(&mut sim).connection.as_ref().unwrap().is_closed());
    assert_eq!(counter(&mut sim, "relay_closed_clean"), 1);
    assert_eq!(sim.occupancy().time_waits, 2);
    sim.idle(Duration::from_millis(100));
    // Bit F of a DSS: a DATA_FIN.
    let ends = |tcp: &Tcp| {
        tcp.option(30)
            .is_some_and(|dss| dss[0] >> 4 == 2 && dss[1] & 0x10 != 0)
    };
    let sent = [ACCESS1, ACCESS2].map(|port| {
        let all = sim.on(port, Way::ToBox);
        let all = all.filter_map(|s| Tcp::parse(&s.frame));
        let bare = all.filter(|tcp| tcp.payload.is_empty());
        (port, bare.collect::<Vec<_>>())
    });
    // It was said on one subflow; the other may carry it when it is said again.
    let said = sent
        .iter()
        .find_map(|(_, sent)| sent.iter().rfind(|tcp| ends(tcp)));
    let dss = said.unwrap().option(30).unwrap();
    for (port, sent) in &sent {
        // As late as it can be: after the subflow's own end, in its place.
        let mut again = sent.last().unwrap().clone();
        let timestamps = again.option(8).unwrap().to_vec();
        let len = u8::try_from(dss.len() + 2).unwrap();
        again.options = [&[8, 10], &timestamps[..], &[30, len], dss].concat();
        let end = sent.iter().rfind(|tcp| ends(tcp)).cloned();
        for segment in end.into_iter().chain([again]) {
            let answers = send(&mut sim, *port, &segment, *port);
            let answer = only(&answers);
            assert!(
                answer.option(30).is_some_and(|dss| dss[..2] == [2 << 4, 3]),
                "{answer:?}"
            );
        }
    }
    assert_eq!(counter(&mut sim, "time_wait_taken"), 3);
    sim.idle(Duration::from_secs(1));
    assert_eq!(sim.occupancy().time_waits, 0);
    assert_empty(&mut sim);
}

#[test]
fn without_room_for_what_is_left_of_it_a_relay_waits_itself() {
    let mut config = config();
    config.limits.relays = 8;
    let mut sim = bonded_sim(config, 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    sim.hosts[SERVER].tcp().tcp(socket).close();
    sim.idle(Duration::from_millis(200));
    client(&mut sim).finish = true;
    let closing = sim.now;
    let gone = sim.run(Duration::from_secs(5), |sim| sim.occupancy().relays == 0);
    assert!(gone && sim.now.since(closing) >= Duration::from_millis(500));
    assert_eq!(sim.occupancy().time_waits, 0);
    assert_empty(&mut sim);
}

#[test]
fn t13_a_stalled_client_bounds_what_the_box_holds() {
    let mut config = config();
    config.limits.buffer = 200_000;
    let mut sim = bonded_sim(config, 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    client(&mut sim).reading = false;
    let data = pattern(16 << 20, 5);
    let (mut sent, mut most) = (0, 0);
    sim.run(Duration::from_secs(60), |sim| {
        sent += sim.hosts[SERVER].tcp().send(socket, &data[sent..]);
        most = most.max(sim.occupancy().held);
        false
    });
    assert!(most <= 200_000 + 65_536, "held {most}");
    // The client's own buffer is 4 MiB.
    assert!(sent < 6 << 20, "the server sent {sent}");
    client(&mut sim).reading = true;
    let done = sim.run(Duration::from_secs(300), |sim| {
        sent += sim.hosts[SERVER].tcp().send(socket, &data[sent..]);
        client(sim).got.len() == data.len()
    });
    assert!(
        done && client(&mut sim).got == data,
        "{}",
        client(&mut sim).got.len()
    );
}

/// Frames on the second line, as the client's MP_JOIN goes.
fn join_frames(sim: &Sim<Either>, way: Way) -> Vec<Tcp> {
    let segments = sim.on(ACCESS2, way).filter_map(|s| Tcp::parse(&s.frame));
    segments
        .filter(|tcp| tcp.dst.to_string() == HAG2 || tcp.src.to_string() == HAG2)
        .collect()
}

/// The client's join SYN as it was sent in a simulation with the same seeds.
fn join_syn() -> Tcp {
    let mut sim = bonded_sim(config(), 1);
    connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    join_frames(&sim, Way::ToBox)[0].clone()
}

#[test]
fn a_join_before_the_clients_key_is_dropped_in_silence_and_one_after_it_taken() {
    let syn = join_syn();
    let mut sim = bonded_sim(config(), 1);
    client(&mut sim).silent = true;
    sim.hosts[SERVER].tcp().listen(80);
    let now = sim.now;
    sim.hosts[CLIENT].mptcp().connect(now, 40_000, (S, 80));
    sim.idle(Duration::from_millis(500));
    assert_eq!(counter(&mut sim, "pending"), 1);
    sim.inject(
        ACCESS2,
        syn.frame(crate::common::CLIENT_MAC_2, port_mac(ACCESS2)),
    );
    sim.idle(Duration::from_millis(100));
    assert_eq!(counter(&mut sim, "join_too_early"), 1);
    assert!(
        join_frames(&sim, Way::FromBox).is_empty(),
        "not even a reset"
    );
    assert_empty(&mut sim);
}

#[test]
fn m11_a_join_is_taken_at_any_port_of_the_announced_address() {
    for port in [1, 80, 443, 65_535] {
        let mut sim = bonded_sim(config(), 1);
        client(&mut sim).joining = false;
        let socket = connect(&mut sim, S);
        sim.idle(Duration::from_secs(1));
        let now = sim.now;
        client(&mut sim).join(now, HAG2.parse().unwrap(), port);
        await_subflows(&mut sim, 2);
        assert!(
            join_frames(&sim, Way::ToBox)
                .iter()
                .all(|join| join.dst_port == port)
        );
        exchange(&mut sim, socket, 100_000, 100_000, Duration::from_secs(20));
    }
}

#[test]
fn a_join_with_a_wrong_hmac_is_reset_and_harms_nothing() {
    let mut sim = bonded_sim(config(), 1);
    client(&mut sim).joining = false;
    let socket = connect(&mut sim, S);
    sim.idle(Duration::from_secs(1));
    // The right token, but the third ACK proves nothing.
    let syn = join_syn();
    let to_box = |tcp: &Tcp| tcp.frame(crate::common::CLIENT_MAC_2, port_mac(ACCESS2));
    sim.inject(ACCESS2, to_box(&syn));
    sim.idle(Duration::from_millis(100));
    let answer = join_frames(&sim, Way::FromBox).pop().expect("SYN+ACK");
    assert_eq!(answer.option(30).map(|o| (o.len(), o[0])), Some((14, 0x10)));
    let mut ack = answer.answer(crate::common::raw::ACK, syn.seq + 1);
    ack.options = [&[30, 24, 0x10, 0][..], &[7; 20]].concat();
    let ts = answer.option(8).map(|ts| ts[..4].to_vec()).unwrap();
    ack.options
        .extend([&[8, 10, 0xff, 0, 0, 0][..], &ts].concat());
    // A timestamp that is not older than the SYN's.
    let clock = syn.option(8).unwrap()[..4].to_vec();
    ack.options[26..30].copy_from_slice(&clock);
    sim.inject(ACCESS2, to_box(&ack));
    sim.idle(Duration::from_millis(100));
    assert!(join_frames(&sim, Way::FromBox).pop().unwrap().has(RST));
    assert_eq!(counter(&mut sim, "join_refused"), 1);
    assert_eq!(counter(&mut sim, "mpjoin_ack_hmac_failure"), 1);
    exchange(&mut sim, socket, 100_000, 100_000, Duration::from_secs(20));
    assert_empty(&mut sim);
}

#[test]
fn after_a_restart_the_first_mptcp_segment_draws_a_reset_and_plain_ones_pass() {
    let mut sim = bonded_sim(config(), 1);
    connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    let fresh = bonded_sim(config(), 2);
    // The same hosts and links around a box that knows nothing.
    sim.replace_box(fresh);
    client(&mut sim).data = b"are you there?".to_vec();
    sim.idle(Duration::from_secs(20));
    assert!(client(&mut sim).connection.as_ref().unwrap().is_closed());
    assert!(counter(&mut sim, "mid_stream_reset") + counter(&mut sim, "not_ours_reset") >= 2);
}

#[test]
fn t15_lines_that_take_less_shrink_segments_on_each_leg() {
    for (address, ports) in [
        (S, &[ACCESS1, ACCESS2, CORE][..]),
        (S6, &[ACCESS1, ACCESS2, CORE]),
        (S, &[ACCESS2]),
        (S, &[CORE]),
    ] {
        let mut sim = bonded_sim(config(), 1);
        let socket = connect(&mut sim, address);
        await_subflows(&mut sim, 2);
        for &port in ports {
            sim.links[port].mtu = 1400;
        }
        exchange(&mut sim, socket, 2 << 20, 2 << 20, Duration::from_secs(20));
        assert!(sim.too_big > 0);
        assert_eq!(
            counter(&mut sim, "icmp_consumed"),
            sim.too_big as u64,
            "no error was about anything else"
        );
        // A first flight each, and not one more.
        assert!(sim.too_big < 30 * ports.len(), "{} too big", sim.too_big);
        assert_empty(&mut sim);
    }
}

#[test]
fn m18_the_other_family_is_announced_only_where_no_subflow_joined() {
    for (to, joins) in [(S, true), (S6, true), (S, false), (S6, false)] {
        let mut sim = bonded_sim(config(), 1);
        client(&mut sim).joining = joins;
        connect(&mut sim, to);
        let told = |sim: &mut Sim<Either>| client(sim).announced.clone();
        sim.idle(Duration::from_millis(1_500));
        let own = told(&mut sim);
        let v6 = to == S6;
        assert!(own.iter().all(|addr| addr.is_ipv6() == v6), "{own:?}");
        assert_eq!(own.len(), 1, "{to}, joins: {joins}");
        sim.idle(Duration::from_secs(3));
        assert_eq!(told(&mut sim).len(), if joins { 1 } else { 2 }, "{to}");
    }
}

/// How often each leg's windows were reduced while so many octets went either way and frames waited to leave by `port`.
fn reduced_by(port: usize, (up, down): (usize, usize)) -> u64 {
    let mut sim = bonded_sim(config(), 1);
    let socket = connect(&mut sim, S);
    await_subflows(&mut sim, 2);
    let id = PortId(u8::try_from(port).unwrap());
    sim.worker.app_mut().waits(id, 7);
    exchange(&mut sim, socket, up, down, Duration::from_secs(60));
    assert_eq!(counter(&mut sim, "tcp_retransmitted"), 0);
    counter(&mut sim, "tcp_congestion_own")
}

#[test]
fn a_full_queue_of_a_port_slows_what_is_sent_by_it_and_nothing_else() {
    const MUCH: usize = 200_000;
    assert!(reduced_by(CORE, (MUCH, 0)) > 0);
    assert_eq!(reduced_by(CORE, (0, MUCH)), 0);
    assert!(reduced_by(ACCESS1, (0, MUCH)) > 0);
    assert!(reduced_by(ACCESS2, (0, MUCH)) > 0);
    assert_eq!(reduced_by(ACCESS1, (MUCH, 0)), 0);
}
