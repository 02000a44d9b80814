//! Connections from the Internet to a subscriber: the box in the network accepts TCP and opens Multipath TCP, the box at
//! the customer's edge accepts that and opens TCP to the host; or they step out of the way.

use crate::common::customer::hag_config;
use crate::common::raw::{ACK, RST, SYN, SYN_OPTIONS, Tcp};
use crate::common::script::passes;
use crate::common::site::{
    Site, announced, close, configured, edge_counter, held_at_edge, large, network, sources,
    transfer,
};
use crate::common::{
    ACCESS1, ACCESS2, CORE, Dumb, H, S, Sim, Way, assert_empty, config, counter, raw_sim,
};
use apps::control::Command;
use apps::engine::{EdgeSettings, EngineConfig, Occupancy, Timeouts};
use smoltcp::iface::SocketHandle;
use stack::time::Duration;

const HOST: &str = "10.11.0.2";
const HOST6: &str = "fd00:11::2";

fn bonding() -> EngineConfig {
    EngineConfig {
        inbound: true,
        ..hag_config()
    }
}

/// Connects the server, as a client, to the customer's host; the host's socket comes first.
fn connect_in(sim: &mut Sim<Site>, to: &str) -> [SocketHandle; 2] {
    let host = sim.hosts[0].host().listen(80);
    let client = sim.hosts[1].host().connect(40_000, (to, 80));
    let up = sim.run(Duration::from_secs(10), |sim| {
        sim.hosts[0].host().tcp(host).may_send() && sim.hosts[1].host().tcp(client).may_send()
    });
    assert!(up, "no connection");
    [host, client]
}

fn tcp_on(sim: &Sim<Site>, port: usize, way: Way) -> Vec<(stack::Instant, Tcp)> {
    sim.on(port, way)
        .filter_map(|seen| Tcp::parse(&seen.frame).map(|tcp| (seen.at, tcp)))
        .collect()
}

fn both_ways_by_both_accesses(edge: EdgeSettings, to: &str) {
    let mut sim = network(edge, bonding());
    let sockets = connect_in(&mut sim, to);
    if to == HOST {
        let peer = sim.hosts[0].host().tcp(sockets[0]).remote_endpoint();
        assert_eq!(peer.unwrap().to_string(), "10.9.0.2:40000", "C's own");
    }
    transfer(&mut sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(1));
    assert_eq!(held_at_edge(&sim).relays, 1);
    assert_eq!(sim.occupancy().relays, 1);
    sim.seen.clear();
    // The host's upload first: that is what an inbound connection is mostly for.
    for (from, way) in [(0, Way::ToBox), (1, Way::FromBox)] {
        transfer(&mut sim, sockets, from, 4_000_000);
        for port in [ACCESS1, ACCESS2] {
            let frames = large(&sim, port, way);
            assert!(frames > 200, "{frames} on {port} {way:?}");
        }
    }
    if to == HOST {
        // BCP 38: each access carries its own addresses alone.
        assert_eq!(sources(&sim, ACCESS1, Way::ToBox), vec![[10, 11, 0, 2]]);
        assert_eq!(sources(&sim, ACCESS2, Way::ToBox), vec![[10, 2, 0, 2]]);
    }
    sim.idle(Duration::from_secs(20));
    assert_eq!(
        [held_at_edge(&sim).resting, sim.occupancy().resting],
        [1, 1]
    );
    transfer(&mut sim, sockets, 1, 10_000);
    close(&mut sim, sockets);
}

#[test]
fn data_crosses_by_both_accesses_after_an_announcement() {
    both_ways_by_both_accesses(announced(), HOST);
}

#[test]
fn ipv6_data_crosses_by_both_accesses_after_an_announcement() {
    both_ways_by_both_accesses(announced(), HOST6);
}

#[test]
fn data_crosses_by_both_accesses_as_configured_without_an_announcement() {
    let mut hag = bonding();
    hag.net.own.clone_from(&hag.announce);
    both_ways_by_both_accesses(configured(), HOST);
}

/// The SYN towards the edge is C's own with one option more, and C hears nothing before the host has answered.
#[test]
fn the_answer_comes_after_the_hosts_and_the_syn_goes_on_verbatim() {
    let mut sim = network(announced(), bonding());
    connect_in(&mut sim, HOST);
    let asked = tcp_on(&sim, CORE, Way::ToBox)[0].1.clone();
    let offered = tcp_on(&sim, ACCESS1, Way::FromBox)[0].1.clone();
    assert_eq!((offered.seq, offered.wnd), (asked.seq, asked.wnd));
    assert_eq!(offered.ttl, asked.ttl - 1);
    for kind in [3, 4, 8] {
        assert_eq!(offered.option(kind), asked.option(kind), "option {kind}");
    }
    assert_eq!(offered.option(30), Some(&[1, 0x21][..]), "MP_CAPABLE, v1");
    assert_eq!(asked.option(30), None);
    let is_answer = |tcp: &Tcp| tcp.has(SYN) && tcp.has(ACK);
    let from_edge = tcp_on(&sim, ACCESS1, Way::ToBox);
    let (from_edge_at, from_edge) = from_edge.iter().find(|(_, tcp)| is_answer(tcp)).unwrap();
    let to_client = tcp_on(&sim, CORE, Way::FromBox);
    let (to_client_at, to_client) = to_client.iter().find(|(_, tcp)| is_answer(tcp)).unwrap();
    assert!(from_edge.option(30).is_some() && to_client.option(30).is_none());
    assert_ne!(from_edge.seq, to_client.seq, "each box's own number");
    assert!(to_client_at >= from_edge_at);
    // One link each way behind the box, so the answer cannot have come back sooner.
    assert!(to_client_at.since(asked_at(&sim)) >= Duration::from_millis(20));
    // And no MPTCP option has ever left towards the Internet.
    let leaked = tcp_on(&sim, CORE, Way::FromBox);
    assert!(leaked.iter().all(|(_, tcp)| tcp.option(30).is_none()));
}

fn asked_at(sim: &Sim<Site>) -> stack::Instant {
    tcp_on(sim, CORE, Way::ToBox)[0].0
}

#[test]
fn either_direction_goes_on_after_the_other_was_closed() {
    for first in [0, 1] {
        let mut sim = network(announced(), bonding());
        let sockets = connect_in(&mut sim, HOST);
        transfer(&mut sim, sockets, first, 10_000);
        sim.hosts[first].host().tcp(sockets[first]).close();
        let seen = sim.run(Duration::from_secs(2), |sim| {
            !sim.hosts[1 - first]
                .host()
                .tcp(sockets[1 - first])
                .may_recv()
        });
        assert!(seen, "the other end does not see the end");
        transfer(&mut sim, sockets, 1 - first, 1_000_000);
        close(&mut sim, sockets);
    }
}

#[test]
fn a_hosts_refusal_reaches_the_client_and_nothing_is_kept() {
    let mut sim = network(announced(), bonding());
    let client = sim.hosts[1].host().connect(40_000, (HOST, 81));
    let refused = sim.run(Duration::from_secs(2), |sim| {
        !sim.hosts[1].host().tcp(client).is_open()
    });
    assert!(refused);
    assert_eq!(held_at_edge(&sim), Occupancy::default());
    assert_eq!(counter(&mut sim, "pending_refused"), 1);
    sim.idle(Duration::from_secs(130));
    assert_eq!(held_at_edge(&sim), Occupancy::default());
    assert_empty(&mut sim);
}

#[test]
fn a_reset_of_either_end_reaches_the_other() {
    for from in [0, 1] {
        let mut sim = network(announced(), bonding());
        let sockets = connect_in(&mut sim, HOST);
        transfer(&mut sim, sockets, from, 10_000);
        sim.hosts[from].host().tcp(sockets[from]).abort();
        let ended = sim.run(Duration::from_secs(3), |sim| {
            !sim.hosts[1 - from].host().tcp(sockets[1 - from]).is_open()
        });
        assert!(ended, "from {from}");
        sim.idle(Duration::from_secs(130));
        assert_eq!(held_at_edge(&sim), Occupancy::default());
        assert_empty(&mut sim);
    }
}

#[test]
fn a_client_hears_nothing_while_the_host_is_silent() {
    let mut sim = network(announced(), bonding());
    // The edge's LAN has no such host, so neighbor discovery fails and the SYN gets no answer but ICMP.
    let client = sim.hosts[1].host().connect(40_000, ("10.11.0.77", 80));
    sim.idle(Duration::from_secs(20));
    let answers = tcp_on(&sim, CORE, Way::FromBox);
    assert!(answers.is_empty(), "{answers:?}");
    let asked = tcp_on(&sim, CORE, Way::ToBox).len();
    let passed = tcp_on(&sim, ACCESS1, Way::FromBox).len();
    assert_eq!(asked, passed, "each once");
    sim.hosts[1].host().sockets.remove(client);
    sim.idle(Duration::from_secs(150));
    assert_eq!(held_at_edge(&sim).pending, 0);
    assert_eq!(sim.occupancy().pending, 0);
}

#[test]
fn an_edge_that_does_not_bond_is_passed_by_and_remembered_for_a_while() {
    // The edge serves nobody, so it forwards as a router; the host speaks plain TCP.
    let mut sim = raw_sim(EngineConfig {
        inbound: true,
        ..config()
    });
    let open = |sim: &mut Sim<Dumb>, port: u16| {
        let syn = Tcp::plain_syn(S, port, H);
        let offered = passes(sim, CORE, &syn, ACCESS1);
        let mut answer = offered.answer(SYN | ACK, 77_000);
        answer.options = SYN_OPTIONS.to_vec();
        let passed = passes(sim, ACCESS1, &answer, CORE);
        assert_eq!((passed.seq, &passed.options), (77_000, &answer.options));
        offered.option(30).is_some()
    };
    assert!(open(&mut sim, 1000), "MP_CAPABLE is offered");
    assert_eq!(counter(&mut sim, "cut_through"), 1);
    assert_eq!(sim.occupancy().flows, 0, "freed at once");
    assert!(!open(&mut sim, 1001), "not offered again");
    assert_eq!(counter(&mut sim, "bypass_plain_peer"), 1);
    sim.idle(Duration::from_secs(301));
    assert!(open(&mut sim, 1002), "offered again after a while");
    assert_empty(&mut sim);
}

fn raw() -> Sim<Dumb> {
    raw_sim(EngineConfig {
        inbound: true,
        ..config()
    })
}

#[test]
fn the_first_two_syns_carry_the_offer_and_the_third_goes_plain() {
    let mut sim = raw();
    let syn = Tcp::plain_syn(S, 1000, H);
    for offered in [true, true, false, false] {
        let out = passes(&mut sim, CORE, &syn, ACCESS1);
        assert_eq!(out.option(30).is_some(), offered);
        sim.idle(Duration::from_secs(1));
    }
    // The answer to a plain SYN is the host's own, and the client's from now on.
    let mut answer = syn.answer(SYN | ACK, 5);
    answer.options = SYN_OPTIONS.to_vec();
    assert_eq!(passes(&mut sim, ACCESS1, &answer, CORE).seq, 5);
    assert_empty(&mut sim);
}

#[test]
fn what_the_internet_asks_for_by_mptcp_options_is_stripped_and_bonded_by_us_instead() {
    let mut sim = raw();
    let syn = Tcp::capable_syn(S, 1000, H);
    let out = passes(&mut sim, CORE, &syn, ACCESS1);
    let options: Vec<_> = out.options.windows(2).filter(|o| o[0] == 30).collect();
    assert_eq!(options.len(), 1, "ours alone");
    let mut join = Tcp::plain_syn(S, 1001, H);
    join.options = [&SYN_OPTIONS[..], &[30, 12, 0x10, 3, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    assert_eq!(passes(&mut sim, CORE, &join, ACCESS1).option(30), None);
    assert_eq!(counter(&mut sim, "bypass_inbound"), 1);
    assert_empty(&mut sim);
}

#[test]
fn flows_that_cannot_be_bonded_pass_without_an_offer() {
    let plain = Tcp::plain_syn(S, 1000, H);
    let mut signed = plain.clone();
    signed.options = [&[19, 18][..], &[7; 16], &[1, 1]].concat();
    let mut early = plain.clone();
    early.payload = b"GET".to_vec();
    for (name, syn) in [
        ("bypass_authenticated", signed),
        ("bypass_data_on_syn", early),
    ] {
        let mut sim = raw();
        let out = passes(&mut sim, CORE, &syn, ACCESS1);
        assert_eq!((&out.options, &out.payload), (&syn.options, &syn.payload));
        assert_eq!(counter(&mut sim, name), 1);
    }
    let mut sim = raw();
    sim.command(Command::Drain);
    assert_eq!(passes(&mut sim, CORE, &plain, ACCESS1).option(30), None);
    assert_eq!(counter(&mut sim, "bypass_draining"), 1);
    // By the wrong port: a spoofed source on an access.
    let mut sim = raw();
    assert_eq!(passes(&mut sim, ACCESS2, &plain, ACCESS1).option(30), None);
    assert_eq!(counter(&mut sim, "bypass_wrong_port"), 1);
}

#[test]
fn a_client_that_gives_up_or_a_host_that_refuses_late_is_heard_by_the_other() {
    let capable = [&SYN_OPTIONS[..], &[30, 12, 1, 0x21, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let mut sim = raw();
    let syn = Tcp::plain_syn(S, 1000, H);
    let offered = passes(&mut sim, CORE, &syn, ACCESS1);
    let mut answer = offered.answer(SYN | ACK, 77_000);
    answer.options.clone_from(&capable);
    let ours = passes(&mut sim, ACCESS1, &answer, CORE);
    assert!(ours.seq != 77_000 && ours.option(30).is_none());
    let mut reset = Tcp::new(S, 1000, H, 80, RST);
    reset.seq = syn.seq + 1;
    let out = passes(&mut sim, CORE, &reset, ACCESS1);
    assert_eq!((out.flags, out.seq), (RST, syn.seq + 1));
    assert_empty(&mut sim);
    let offered = passes(&mut sim, CORE, &syn, ACCESS1);
    let mut answer = offered.answer(SYN | ACK, 77_000);
    answer.options = capable;
    let ours = passes(&mut sim, ACCESS1, &answer, CORE);
    let mut reset = offered.answer(RST | ACK, 77_001);
    reset.ack = offered.seq + 1;
    let out = passes(&mut sim, ACCESS1, &reset, CORE);
    assert_eq!((out.has(RST), out.seq), (true, ours.seq + 1));
    assert_empty(&mut sim);
}

/// The time that a pending flow has counts from the answer, too: a client on a slow path must not lose its flow under it.
#[test]
fn a_pending_flow_lives_on_from_its_answer() {
    let timeouts = Timeouts {
        pending: Duration::from_secs(10),
        ..Timeouts::default()
    };
    let mut sim = raw_sim(EngineConfig {
        timeouts,
        ..config()
    });
    let forwarded = passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S), CORE);
    sim.idle(Duration::from_secs(8));
    let mut answer = forwarded.answer(SYN | ACK, 77_000);
    answer.options = SYN_OPTIONS.to_vec();
    passes(&mut sim, CORE, &answer, ACCESS1);
    sim.idle(Duration::from_secs(8));
    assert_eq!(counter(&mut sim, "pending"), 1, "8 s after the answer");
    sim.idle(Duration::from_secs(3));
    assert_eq!(counter(&mut sim, "pending_expired"), 1);
}

#[test]
fn a_lost_secondary_costs_no_octet() {
    let mut sim = network(announced(), bonding());
    let sockets = connect_in(&mut sim, HOST);
    transfer(&mut sim, sockets, 0, 500_000);
    assert!(edge_counter(&mut sim, "join_opened") > 0, "not joined");
    sim.links[ACCESS2].shape.down = true;
    transfer(&mut sim, sockets, 0, 2_000_000);
    transfer(&mut sim, sockets, 1, 2_000_000);
    close(&mut sim, sockets);
}
