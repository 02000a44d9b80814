//! Boxes of several workers: every flow has one owner, however badly the device spreads frames.

use crate::common::accesses::{Family, by_announcement, chain, close, connect, edge_of, hag_of};
use crate::common::raw::{ACK, SYN, SYN_OPTIONS, Tcp, ip_frame, too_big};
use crate::common::site::{edge_counter, transfer};
use crate::common::{
    ACCESS1, ACCESS2, CLIENT, CORE, Dumb, Either, H, MAC_AT, S, S6, SERVER, Sim, Way, assert_empty,
    bonded_sim, config, counter, pattern, port_mac, raw_sim, workers_of,
};
use apps::engine::{EngineConfig, PortRole};
use dataplane::{App, CoreId, Owner};
use smoltcp::socket::tcp::State;
use stack::PortId;
use stack::time::Duration;

fn of_cores(cores: u8) -> EngineConfig {
    EngineConfig { cores, ..config() }
}

/// The core that each of a box's workers takes for the owner of `frame`: they must agree.
fn owner(config: &EngineConfig, frame: &[u8]) -> u8 {
    let mut owners = workers_of(config)
        .into_iter()
        .map(|(worker, _)| worker.app().owner(PortId(0), frame));
    let first = owners.next().unwrap();
    assert!(owners.all(|other| other == first));
    match first {
        Owner::Core(CoreId(core)) => core,
        Owner::Every => panic!("everybody's"),
    }
}

fn framed(segment: &Tcp) -> Vec<u8> {
    segment.frame(MAC_AT[0], port_mac(0))
}

fn flow(n: u16, to: &str) -> Tcp {
    let from = if to == S { H } else { "fd00:1::2" };
    Tcp::new(from, 20_000 + 7 * n, to, 80, ACK)
}

#[test]
fn both_directions_of_a_flow_and_errors_about_it_have_one_owner() {
    let config = of_cores(3);
    for to in [S, S6] {
        let mut owned = [0; 3];
        for n in 0..150 {
            let there = flow(n, to);
            let core = owner(&config, &framed(&there));
            let mut back = there.answer(ACK, 1);
            back.payload = vec![0; 100];
            assert_eq!(owner(&config, &framed(&back)), core);
            assert_eq!(owner(&config, &too_big(&framed(&back), 1300)), core);
            owned[usize::from(core)] += 1;
        }
        assert!(owned.iter().all(|&n| n > 25), "{owned:?}");
    }
}

#[test]
fn with_caps_all_flows_of_a_subscriber_have_one_owner() {
    let mut config = of_cores(3);
    config.ports[0].cap = Some(10_000_000);
    let mut owners = Vec::new();
    for host in 2..40 {
        let host = format!("10.1.0.{host}");
        let of = |n: u16| {
            let there = Tcp::new(&host, 20_000 + n, S, 80, ACK);
            let core = owner(&config, &framed(&there));
            assert_eq!(owner(&config, &framed(&there.answer(ACK, 1))), core);
            core
        };
        let core = of(0);
        assert!((1..20).all(|n| of(n) == core), "{host}");
        owners.push(core);
    }
    owners.sort_unstable();
    owners.dedup();
    assert_eq!(owners, [0, 1, 2]);
}

#[test]
fn a_join_goes_by_its_token_and_what_follows_by_its_port() {
    let config = of_cores(3);
    for port in 0..12 {
        let mut join = Tcp::new("10.2.0.2", 5_000, "10.99.0.2", 8_684 + port, SYN);
        let named = ((8_684 + port) / 2 % 3) as u8;
        assert_eq!(owner(&config, &framed(&join)), named, "no join");
        for token in 0..4u8 {
            join.options = vec![30, 12, 0x10, 1, 9, 9, 9, 0xf0 | token, 1, 2, 3, 4];
            // A token that is none of ours is refused where the port leads.
            let core = if token < 3 { token } else { named };
            assert_eq!(owner(&config, &framed(&join)), core);
        }
        join.flags = ACK;
        assert_eq!(owner(&config, &framed(&join)), named, "no SYN");
        let mut quoted = join.answer(ACK, 1);
        quoted.payload = vec![0; 100];
        assert_eq!(owner(&config, &too_big(&framed(&quoted), 1300)), named);
    }
}

#[test]
fn the_fragments_of_a_packet_meet_wherever_they_come_in() {
    let config = of_cores(3);
    let ends = (H.parse().unwrap(), S.parse().unwrap());
    let mut owners = Vec::new();
    for id in 0..50u8 {
        let fragment = |field: [u8; 2]| {
            let mut frame = ip_frame(MAC_AT[0], port_mac(0), ends, (0, 64), 6, &[id; 32]);
            frame[18..20].copy_from_slice(&[0, id]);
            frame[20..22].copy_from_slice(&field);
            frame[24..26].fill(0);
            let sum = crate::common::raw::checksum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            frame
        };
        let core = owner(&config, &fragment([0x20, 0]));
        assert_eq!(owner(&config, &fragment([0x20, 4])), core);
        assert_eq!(owner(&config, &fragment([0, 8])), core);
        owners.push(core);
    }
    owners.sort_unstable();
    owners.dedup();
    assert_eq!(owners, [0, 1, 2]);
}

#[test]
fn what_neighbors_say_is_everybodys() {
    let (worker, _) = workers_of(&of_cores(2)).remove(0);
    let arp = [&[0xff; 6][..], &MAC_AT[0], &[8, 6], &[0; 28]].concat();
    assert_eq!(worker.app().owner(PortId(0), &arp), Owner::Every);
}

fn await_join(sim: &mut Sim<Either>) {
    let joined = sim.run(Duration::from_secs(5), |sim| {
        sim.hosts[CLIENT].mptcp().subflows() == 2
    });
    assert!(joined);
    // The box learns of a join when its third ACK comes.
    sim.idle(Duration::from_millis(200));
}

/// Sends both ways at once by a bonded connection of each of `ports`.
fn exchange(config: &EngineConfig, ports: core::ops::Range<u16>) -> [u64; 3] {
    let mut handed = [0; 3];
    for local in ports {
        let mut sim = bonded_sim(config.clone(), u64::from(local));
        let socket = sim.hosts[SERVER].tcp().listen(80);
        let now = sim.now;
        let to = if local % 2 == 0 { S } else { S6 };
        sim.hosts[CLIENT].mptcp().connect(now, local, (to, 80));
        await_join(&mut sim);
        let (up, down) = (pattern(400_000, 1), pattern(500_000, 2));
        sim.hosts[CLIENT].mptcp().data = up.clone();
        sim.hosts[CLIENT].mptcp().finish = true;
        let (mut sent, mut got, mut closed) = (0, Vec::new(), false);
        let done = sim.run(Duration::from_secs(60), |sim| {
            let server = sim.hosts[SERVER].tcp();
            sent += server.send(socket, &down[sent..]);
            if sent == down.len() && !closed {
                server.tcp(socket).close();
                closed = true;
            }
            server.recv(socket, &mut got);
            let over = matches!(server.tcp(socket).state(), State::Closed | State::TimeWait);
            let client = sim.hosts[CLIENT].mptcp();
            over && client.got.len() == down.len()
                && client.connection.as_ref().is_some_and(|c| c.is_closed())
        });
        assert!(done, "{local}: {} of {} came up", got.len(), up.len());
        assert!(got == up && sim.hosts[CLIENT].mptcp().got == down);
        assert_eq!(counter(&mut sim, "join_accepted"), 1, "{local}");
        assert_eq!(counter(&mut sim, "copied_in_stack"), 0);
        let names = ["handed_over", "taken_over", "handover_full"];
        for (all, name) in handed.iter_mut().zip(names) {
            *all += counter(&mut sim, name);
        }
        assert_empty(&mut sim);
    }
    handed
}

#[test]
fn bonded_connections_cross_a_box_of_three_workers() {
    let [over, taken, full] = exchange(&of_cores(3), 40_000..40_012);
    assert!(over > 5_000, "{over}");
    assert_eq!((taken, full), (over, 0));
}

#[test]
fn joins_at_whatever_port_reach_their_connection() {
    // A host that heeds no announced port, as a box that was configured with the address: its join has the server's.
    for local in 41_000..41_008 {
        let mut sim = bonded_sim(of_cores(3), 1);
        sim.hosts[CLIENT].mptcp().join_port = Some(80);
        let socket = sim.hosts[SERVER].tcp().listen(80);
        let now = sim.now;
        sim.hosts[CLIENT].mptcp().connect(now, local, (S, 80));
        await_join(&mut sim);
        sim.hosts[CLIENT].mptcp().data = pattern(2_000_000, 1);
        let mut got = Vec::new();
        let done = sim.run(Duration::from_secs(60), |sim| {
            sim.hosts[SERVER].tcp().recv(socket, &mut got);
            got.len() == 2_000_000
        });
        assert!(done, "{local}");
        assert_eq!(counter(&mut sim, "join_accepted"), 1, "{local}");
        assert_eq!(counter(&mut sim, "not_ours_reset"), 0);
        let carried = sim
            .on(ACCESS2, Way::ToBox)
            .filter(|seen| seen.frame.len() > 500);
        assert!(carried.count() > 50);
        // One of three ports names the owner; else all remember whose it is.
        assert!([0, 3].contains(&sim.occupancy().strays));
        sim.hosts[CLIENT].mptcp().finish = true;
        sim.idle(Duration::from_secs(1));
        sim.hosts[SERVER].tcp().tcp(socket).close();
        assert_empty(&mut sim);
    }
}

#[test]
fn both_boxes_may_have_several_workers() {
    for to in [S, S6] {
        let of = |config: EngineConfig, cores| EngineConfig { cores, ..config };
        let accesses = [Family::Both; 3];
        let edge = of(edge_of(&accesses, by_announcement()), 2);
        let mut sim = chain(edge, of(hag_of(&accesses), 3));
        let sockets = connect(&mut sim, 40_000, to);
        for from in [0, 1] {
            transfer(&mut sim, sockets, from, 3_000_000);
        }
        assert_eq!(edge_counter(&mut sim, "join_opened"), 2);
        assert!(edge_counter(&mut sim, "handed_over") > 100);
        close(&mut sim, sockets);
    }
}

/// The frames of IP that left by `at` when `frame` came in by `port`.
fn sent(sim: &mut Sim<Dumb>, port: usize, frame: Vec<u8>, at: usize) -> Vec<Vec<u8>> {
    let before = sim.seen.len();
    sim.inject(port, frame);
    sim.idle(Duration::from_millis(60));
    let out = sim.seen[before..].iter();
    let out = out.filter(|s| s.port == at && s.way == Way::FromBox);
    let ip = out.filter(|s| s.frame[12..14] == [8, 0]);
    ip.map(|s| s.frame.clone()).collect()
}

#[test]
fn a_segment_in_fragments_reaches_the_owner_of_its_flow_in_whatever_order() {
    for local in 1_000..1_012 {
        let mut sim = raw_sim(EngineConfig {
            accept_plain: true,
            ..of_cores(3)
        });
        let at = |port: usize, segment: &Tcp| segment.frame(MAC_AT[port], port_mac(port));
        let mut syn = Tcp::plain_syn(H, local, S);
        syn.options = SYN_OPTIONS[..4].to_vec();
        let out = sent(&mut sim, ACCESS1, at(ACCESS1, &syn), CORE);
        let mut answer = Tcp::parse(&out[0]).unwrap().answer(SYN | ACK, 77_000);
        answer.options = SYN_OPTIONS[..4].to_vec();
        let out = sent(&mut sim, CORE, at(CORE, &answer), ACCESS1);
        let mut host = Tcp::parse(&out[0]).unwrap().answer(ACK, syn.seq + 1);
        sent(&mut sim, ACCESS1, at(ACCESS1, &host), CORE);
        host.payload = pattern(900, 3);
        let whole = at(ACCESS1, &host);
        let parts = [(0, 320), (320, 640), (640, 2000)]
            .map(|(a, b)| crate::fragments::fragment(&whole, a, b));
        let mut got = Vec::new();
        for n in
            [(0, 1, 2), (2, 1, 0), (1, 2, 0)].map(|(a, b, c)| [a, b, c])[usize::from(local % 3)]
        {
            let out = sent(&mut sim, ACCESS1, parts[n].clone(), CORE);
            got.extend(
                out.iter()
                    .filter_map(|f| Tcp::parse(f))
                    .flat_map(|s| s.payload),
            );
        }
        assert!(got == host.payload, "{local}: {} octets", got.len());
        assert_eq!(counter(&mut sim, "reassembled"), 1);
    }
}

/// A host that is nobody's subscriber, so that its fragments go on as they come.
const STRANGER: &str = "10.2.0.9";

/// A fragment of packet `id` of the stranger's: its first, or one that follows.
fn strangers(protocol: u8, id: u16, first: bool) -> Vec<u8> {
    let ends = (STRANGER.parse().unwrap(), S.parse().unwrap());
    let macs = (MAC_AT[ACCESS2], port_mac(ACCESS2));
    let mut frame = ip_frame(macs.0, macs.1, ends, (0, 64), protocol, &[9; 32]);
    frame[18..20].copy_from_slice(&id.to_be_bytes());
    frame[20..22].copy_from_slice(if first { &[0x20, 0] } else { &[0, 4] });
    frame[24..26].fill(0);
    let sum = crate::common::raw::checksum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// How many fragments leave for the Internet when that one comes.
fn passed(sim: &mut Sim<Dumb>, protocol: u8, id: u16, first: bool) -> usize {
    let before = sim.seen.len();
    sim.inject(ACCESS2, strangers(protocol, id, first));
    sim.idle(Duration::from_millis(3));
    let out = sim.seen[before..].iter();
    let out = out.filter(|s| s.port == CORE && s.way == Way::FromBox);
    out.filter(|s| s.frame[12..14] == [8, 0]).count()
}

/// A box of three workers that knows its neighbors.
fn acquainted() -> Sim<Dumb> {
    let mut sim = raw_sim(of_cores(3));
    sim.inject(ACCESS2, framed(&Tcp::new(STRANGER, 1, S, 80, ACK)));
    sim.idle(Duration::from_millis(60));
    sim
}

#[test]
fn fragments_that_come_before_the_first_are_bounded_at_each_core_and_wait_five_seconds() {
    let mut sim = acquainted();
    for id in 0..400 {
        assert_eq!(passed(&mut sim, 6, id, false), 0);
    }
    assert_eq!(sim.occupancy().waiting, 3 * 64);
    assert_eq!(counter(&mut sim, "fragment_lost"), 400 - 3 * 64);
    // Those that came first gave way.
    assert_eq!(passed(&mut sim, 6, 0, true), 1);
    assert_eq!(passed(&mut sim, 6, 399, true), 2);
    assert_eq!(sim.occupancy().waiting, 3 * 64 - 1);
    sim.idle(Duration::from_millis(4_990));
    assert_eq!(sim.occupancy().waiting, 0);
    assert_eq!(counter(&mut sim, "fragment_lost"), 399);
    assert_eq!(passed(&mut sim, 6, 398, true), 1);
}

#[test]
fn what_the_first_fragments_said_is_remembered_of_the_last_ones_and_for_five_seconds() {
    let mut sim = acquainted();
    for id in 0..1_200 {
        assert_eq!(passed(&mut sim, 6, id, true), 1);
    }
    // 256 at each core.
    for (id, known) in [(1_199, true), (1_000, true), (200, false), (0, false)] {
        assert_eq!(passed(&mut sim, 6, id, false) == 1, known, "{id}");
    }
    assert!(counter(&mut sim, "fragment_handed_over") > 100);
    sim.idle(Duration::from_millis(4_900));
    assert_eq!(passed(&mut sim, 6, 1_199, false), 1);
    sim.idle(Duration::from_millis(100));
    assert_eq!(passed(&mut sim, 6, 1_199, false), 0);
}

#[test]
fn fragments_that_any_router_passes_on_wait_for_nothing() {
    let mut sim = acquainted();
    for id in 0..100 {
        assert_eq!(passed(&mut sim, 17, id, false), 1);
    }
    assert_eq!(counter(&mut sim, "fragment_handed_over"), 0);
}

#[test]
fn subflows_at_other_cores_ports_are_remembered_up_to_a_limit_and_the_rest_refused() {
    let mut config = of_cores(3);
    config.limits.relays = 3;
    // A connection whose owner is not the core that port 80 names.
    let mut sims = (41_000..41_020).map(|local| {
        let mut sim = bonded_sim(config.clone(), 1);
        sim.hosts[CLIENT].mptcp().join_port = Some(80);
        let socket = sim.hosts[SERVER].tcp().listen(80);
        let now = sim.now;
        sim.hosts[CLIENT].mptcp().connect(now, local, (S, 80));
        await_join(&mut sim);
        (sim, socket)
    });
    let (mut sim, socket) = sims.find(|(sim, _)| sim.occupancy().strays == 3).unwrap();
    for _ in 0..4 {
        let now = sim.now;
        let to = crate::common::HAG2.parse().unwrap();
        sim.hosts[CLIENT].mptcp().join(now, to, 80);
        sim.idle(Duration::from_millis(200));
    }
    assert_eq!(sim.occupancy().strays, 3 * 3, "three at each core");
    assert!(counter(&mut sim, "join_unplaced") > 0);
    assert_eq!(counter(&mut sim, "join_accepted"), 3);
    assert_eq!(sim.hosts[CLIENT].mptcp().subflows(), 1 + 3);
    // The connection goes on by what it has.
    sim.hosts[CLIENT].mptcp().data = pattern(200_000, 1);
    sim.hosts[CLIENT].mptcp().finish = true;
    let mut got = Vec::new();
    sim.run(Duration::from_secs(60), |sim| {
        sim.hosts[SERVER].tcp().recv(socket, &mut got);
        got.len() == 200_000
    });
    assert_eq!(got.len(), 200_000);
    sim.hosts[SERVER].tcp().tcp(socket).close();
    assert_empty(&mut sim);
}

#[test]
fn each_core_has_an_equal_share_of_the_limits() {
    let mut whole = of_cores(3);
    whole.limits.relays = 10;
    whole.limits.per_subscriber.connections = 7;
    whole.limits.buffer_total = 30 << 20;
    let share = whole.of_core(1, 3);
    assert_eq!((share.core, share.cores), (1, 3));
    assert_eq!(share.limits.relays, 4);
    assert_eq!(share.limits.per_subscriber.connections, 3);
    assert_eq!(share.limits.buffer_total, 10 << 20);
    assert_eq!(share.limits.buffer, whole.limits.buffer, "one connection's");
    assert_ne!(share.seed, whole.of_core(2, 3).seed);
    // With caps a subscriber is on one core, which has all of his share.
    let access = whole.ports.iter_mut().find(|p| p.role == PortRole::Access);
    access.unwrap().cap = Some(1_000_000);
    assert_eq!(whole.of_core(1, 3).limits.per_subscriber.connections, 7);
    assert_eq!(whole.of_core(0, 1).seed, whole.seed, "alone it is the box");
}
