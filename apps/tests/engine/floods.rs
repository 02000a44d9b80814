//! Floods of SYNs and subscribers that ask for too much: memory stays bounded, and nobody else is pushed aside.

use crate::common::raw::{ACK, RST, SYN, Tcp, ip_frame};
use crate::common::stalled;
use crate::common::{
    ACCESS1, ACCESS2, CLIENT, CORE, Dumb, Either, H, HAG2, MAC_AT, S, SERVER, Sim, Way,
    assert_empty, bonded_sim, config, counter, pattern, plain_sim_with, port_mac, raw_sim,
};
use apps::engine::{EngineConfig, Limits, PerSubscriber, Timeouts};
use stack::time::Duration;
use std::net::{IpAddr, Ipv4Addr};

fn inbound(limits: Limits) -> Sim<Dumb> {
    let mut sim = raw_sim(EngineConfig {
        inbound: true,
        limits,
        ..config()
    });
    sim.record = false;
    sim
}

/// The `n`th SYN of a flood whose sources are all over the Internet.
fn spoofed(n: u32, to: [u8; 4]) -> Tcp {
    let mut syn = Tcp::plain_syn(S, 1000, H);
    // From 128.0.0.0 to 191.255.255.255, all over it.
    let bits = n.wrapping_mul(2_654_435_761);
    syn.src = IpAddr::V4(Ipv4Addr::from_bits((bits & 0x3fff_ffff) | 0x8000_0000));
    syn.dst = IpAddr::V4(to.into());
    syn.src_port = u16::try_from(bits & 0xffff).unwrap();
    syn.seq = bits;
    syn
}

/// Sends `count` SYNs at about 130,000 a second; calls `each` ten times in between.
fn flood(
    sim: &mut Sim<Dumb>,
    count: u32,
    syn: impl Fn(u32) -> Tcp,
    mut each: impl FnMut(&mut Sim<Dumb>),
) {
    for n in 0..count {
        sim.inject(CORE, syn(n).frame(MAC_AT[CORE], port_mac(CORE)));
        if n % 26 == 25 {
            sim.idle(Duration::from_micros(200));
        }
        if n % (count / 10) == count / 10 - 1 {
            each(sim);
        }
    }
}

/// A subscriber's own SYN, and that it is taken for bonding.
fn subscribers_are_served(sim: &mut Sim<Dumb>, port: u16) {
    let before = counter(sim, "mpcapable_syn_rx");
    let syn = Tcp::capable_syn("10.1.0.200", port, S);
    sim.inject(ACCESS1, syn.frame(MAC_AT[ACCESS1], port_mac(ACCESS1)));
    sim.idle(Duration::from_millis(1));
    assert_eq!(counter(sim, "mpcapable_syn_rx"), before + 1, "not split");
}

#[test]
fn t6_a_million_spoofed_syns_at_one_subscriber_hold_his_share_and_pass_on() {
    let mut sim = inbound(Limits::default());
    let mut port = 1000;
    flood(
        &mut sim,
        1_000_000,
        |n| spoofed(n, [10, 1, 0, 2]),
        |sim| {
            port += 1;
            subscribers_are_served(sim, port);
            let held = sim.occupancy();
            assert!(held.pending <= 1_000 + 10, "{held:?}");
            assert!(held.flows <= 2 * held.pending, "{held:?}");
            assert!(held.timers <= 1_000 + 10, "{held:?}");
            assert!(held.subscribers <= 2, "{held:?}");
        },
    );
    let passed = counter(&mut sim, "bypass_limit_subscriber");
    assert!(passed > 990_000, "{passed} went on unbonded");
    assert_eq!(counter(&mut sim, "bypass_limit_pending"), 0);
    let forwarded = counter(&mut sim, "forwarded");
    // But for the few from 169.254.0.0/16.
    assert!(forwarded >= 999_000, "{forwarded}: each goes on once");
    assert_empty(&mut sim);
}

#[test]
fn t6_a_flood_at_all_subscribers_takes_half_of_the_places() {
    let limits = Limits {
        pending: 2_000,
        ..Limits::default()
    };
    let mut sim = inbound(limits);
    let mut port = 1000;
    let to = |n: u32| [10, 1, 0, 10 + u8::try_from(n % 100).unwrap()];
    flood(
        &mut sim,
        100_000,
        |n| spoofed(n, to(n)),
        |sim| {
            port += 1;
            subscribers_are_served(sim, port);
            let held = sim.occupancy();
            assert!(held.pending <= 1_010, "{held:?}");
        },
    );
    assert!(counter(&mut sim, "bypass_limit_inbound") > 90_000);
    assert_empty(&mut sim);
}

#[test]
fn t6_a_flood_from_one_network_leaves_places_to_others() {
    let mut sim = inbound(Limits::default());
    let to = |n: u32| [10, 1, 0, 10 + u8::try_from(n % 100).unwrap()];
    let from_one = |n: u32| {
        let mut syn = spoofed(n, to(n));
        syn.src = IpAddr::V4(Ipv4Addr::new(192, 0, 2, u8::try_from(n % 250).unwrap()));
        syn
    };
    flood(&mut sim, 50_000, from_one, |_| ());
    assert_eq!(counter(&mut sim, "pending"), 1_000);
    assert!(counter(&mut sim, "bypass_limit_source") > 48_000);
    // Somebody else is bonded all the same.
    let before = counter(&mut sim, "pending_opened");
    let syn = spoofed(7, [10, 1, 0, 50]);
    sim.inject(CORE, syn.frame(MAC_AT[CORE], port_mac(CORE)));
    sim.idle(Duration::from_millis(1));
    assert_eq!(counter(&mut sim, "pending_opened"), before + 1);
    assert_empty(&mut sim);
}

/// Flows that come and go at once must not leave their timers behind.
#[test]
fn t6_refused_syns_leave_nothing_behind() {
    let mut sim = inbound(Limits::default());
    for n in 0..20_000 {
        let syn = spoofed(n, [10, 1, 0, 2]);
        sim.inject(CORE, syn.frame(MAC_AT[CORE], port_mac(CORE)));
        let mut reset = syn.answer(RST | ACK, 0);
        reset.ack = syn.seq.wrapping_add(1);
        let reset = reset.frame(MAC_AT[ACCESS1], port_mac(ACCESS1));
        sim.idle(Duration::from_micros(10));
        sim.inject(ACCESS1, reset);
    }
    sim.idle(Duration::from_millis(5));
    assert!(counter(&mut sim, "pending_refused") > 19_000);
    let held = sim.occupancy();
    assert_eq!(held.timers, held.pending + held.relays, "{held:?}");
    assert_empty(&mut sim);
}

fn shares(share: PerSubscriber) -> EngineConfig {
    EngineConfig {
        accept_plain: true,
        limits: Limits {
            buffer: 1 << 20,
            per_subscriber: share,
            ..Limits::default()
        },
        ..config()
    }
}

#[test]
fn connections_opened_at_once_that_nobody_reads_hold_no_more_than_the_share() {
    let share = PerSubscriber {
        buffer: 1 << 20,
        ..PerSubscriber::default()
    };
    let mut sim = plain_sim_with(shares(share), 1);
    sim.record = false;
    let pairs: Vec<_> = (0..40)
        .map(|n| crate::common::connect(&mut sim, 40_000 + n, S))
        .collect();
    // Every window was offered while nothing was held.
    let data = pattern(1 << 20, 4);
    let mut sent = vec![0; pairs.len()];
    let mut most = 0;
    sim.run(Duration::from_secs(20), |sim| {
        for (pair, sent) in pairs.iter().zip(&mut sent) {
            *sent += sim.hosts[SERVER].send(pair.server, &data[*sent..]);
        }
        most = most.max(sim.occupancy().held);
        false
    });
    // The first few were offered 256 KiB, the later ones 64: far less than 40 MiB, and the share is what is seen in the end.
    assert!(most < 4 << 20, "{most} held");
}

#[test]
fn a_subscriber_holds_no_more_than_its_share_of_the_buffers_and_goes_on() {
    let share = PerSubscriber {
        buffer: 256 << 10,
        ..PerSubscriber::default()
    };
    let mut sim = plain_sim_with(shares(share), 1);
    sim.record = false;
    let stalls: Vec<_> = (0..6)
        .map(|n| stalled(&mut sim, 40_000 + n, 4 << 20))
        .collect();
    let held = sim.occupancy().held;
    // The first relays' windows were offered before the others came; each keeps 8 KiB in any case.
    assert!(held < (256 << 10) + 6 * (64 << 10), "held {held}");
    assert!(counter(&mut sim, "buffer_share_hit") > 0);
    assert_eq!(counter(&mut sim, "buffer_budget_hit"), 0);
    let pair = crate::common::connect(&mut sim, 41_000, S);
    let data = pattern(1 << 18, 5);
    let (mut sent, mut got) = (0, Vec::new());
    let done = sim.run(Duration::from_secs(60), |sim| {
        sent += sim.hosts[SERVER].send(pair.server, &data[sent..]);
        sim.hosts[CLIENT].recv(pair.client, &mut got);
        got.len() == data.len()
    });
    assert!(done && got == data, "starved at {}", got.len());
    for pair in stalls {
        sim.hosts[CLIENT].tcp(pair.client).abort();
    }
    sim.idle(Duration::from_secs(1));
    assert_eq!(sim.occupancy().held, 0);
}

#[test]
fn past_its_connections_a_subscriber_is_served_unbonded() {
    let share = PerSubscriber {
        connections: 2,
        ..PerSubscriber::default()
    };
    let mut sim = raw_sim(EngineConfig {
        limits: Limits {
            per_subscriber: share,
            ..Limits::default()
        },
        ..config()
    });
    for (n, bonded) in [(0, true), (1, true), (2, false)] {
        let before = sim.seen.len();
        let syn = Tcp::capable_syn(H, 1000 + n, S);
        sim.inject(ACCESS1, syn.frame(MAC_AT[ACCESS1], port_mac(ACCESS1)));
        sim.idle(Duration::from_millis(20));
        let out = sim.seen[before..].iter();
        let out = out.filter(|s| s.port == CORE && s.way == Way::FromBox);
        let out: Vec<_> = out.filter_map(|s| Tcp::parse(&s.frame)).collect();
        assert_eq!((out.len(), out[0].option(30)), (1, None));
        assert_eq!(counter(&mut sim, "pending") > u64::from(n), bonded);
    }
    assert_eq!(counter(&mut sim, "bypass_limit_connections"), 1);
    let other = Tcp::capable_syn("10.1.0.9", 1000, S);
    sim.inject(ACCESS1, other.frame(MAC_AT[ACCESS1], port_mac(ACCESS1)));
    sim.idle(Duration::from_millis(20));
    assert_eq!(counter(&mut sim, "pending"), 3, "another subscriber");
    assert_empty(&mut sim);
}

fn bonded(limits: Limits) -> Sim<Either> {
    let mut sim = bonded_sim(EngineConfig { limits, ..config() }, 1);
    sim.hosts[SERVER].tcp().listen(80);
    let now = sim.now;
    sim.hosts[CLIENT].mptcp().connect(now, 40_000, (S, 80));
    sim
}

#[test]
fn bug15_joins_beyond_the_limits_are_dropped_and_the_connection_goes_on() {
    let none = Limits::default();
    let own = PerSubscriber {
        joining: 0,
        ..none.per_subscriber
    };
    for (name, limits) in [
        ("join_limit", Limits { joining: 0, ..none }),
        (
            "join_limit_subscriber",
            Limits {
                per_subscriber: own,
                ..none
            },
        ),
    ] {
        let mut sim = bonded(limits);
        sim.idle(Duration::from_secs(3));
        assert!(counter(&mut sim, name) > 0, "{name}");
        let client = sim.hosts[CLIENT].mptcp();
        assert!(client.is_up());
        assert_eq!((client.subflows(), client.joins_refused), (1, 0), "{name}");
    }
}

#[test]
fn without_room_in_the_index_flows_pass_unbonded_and_joins_are_dropped() {
    let limits = Limits {
        relays: 2,
        pending: 1,
        joining: 1,
        subflows: 16,
        ..Limits::default()
    };
    let mut sim = bonded_sim(EngineConfig { limits, ..config() }, 1);
    sim.hosts[SERVER].tcp().listen(80);
    sim.hosts[CLIENT].mptcp().limits.subflows = 16;
    let now = sim.now;
    sim.hosts[CLIENT].mptcp().connect(now, 40_000, (S, 80));
    sim.idle(Duration::from_secs(1));
    let join = |sim: &mut Sim<Either>| {
        let (now, to) = (sim.now, HAG2.parse().unwrap());
        sim.hosts[CLIENT].mptcp().join(now, to, 80);
        sim.idle(Duration::from_millis(200));
        sim.occupancy().flows
    };
    // Four keys for each relay and two for each of the rest, two of which the first subflow has.
    while join(&mut sim) < 13 {}
    // A flow has two keys: with room for one of them it has none.
    let syn = Tcp::capable_syn("10.1.0.9", 1000, S);
    let sent = crate::common::script::passes(&mut sim, ACCESS1, &syn, CORE);
    assert_eq!((sent.option(30), sent.option(3)), (None, syn.option(3)));
    assert_eq!(counter(&mut sim, "bypass_limit_relays"), 1);
    let held = sim.occupancy();
    assert_eq!((held.flows, held.pending, held.subscribers), (13, 0, 1));
    assert_eq!(join(&mut sim), 14);
    assert_eq!(counter(&mut sim, "join_limit"), 0);
    assert_eq!(join(&mut sim), 14);
    assert!(counter(&mut sim, "join_limit") > 0);
    assert_eq!(sim.occupancy().joining, 0);
    let client = sim.hosts[CLIENT].mptcp();
    assert_eq!((client.subflows(), client.joins_refused), (13, 0));
}

#[test]
fn joins_that_found_no_room_take_no_place_of_their_connection() {
    let mut sim = bonded(Limits {
        joining: 1,
        ..Limits::default()
    });
    let client = sim.hosts[CLIENT].mptcp();
    client.joining = false;
    client.limits.subflows = 16;
    sim.idle(Duration::from_secs(1));
    let join = |sim: &mut Sim<Either>| {
        let (now, to) = (sim.now, HAG2.parse().unwrap());
        sim.hosts[CLIENT].mptcp().join(now, to, 80);
    };
    for _ in 0..7 {
        join(&mut sim);
    }
    // Each has its turn when its SYN comes again.
    sim.idle(Duration::from_secs(200));
    assert!(counter(&mut sim, "join_limit") >= 6);
    assert_eq!(counter(&mut sim, "join_accepted"), 7);
    assert_eq!(sim.hosts[CLIENT].mptcp().subflows(), 8);
    // More than a connection may have are refused.
    join(&mut sim);
    sim.idle(Duration::from_secs(1));
    assert_eq!(counter(&mut sim, "join_refused"), 1);
    let client = sim.hosts[CLIENT].mptcp();
    assert_eq!((client.subflows(), client.joins_refused), (8, 1));
}

/// A join is answered at most five times, and no longer than is configured; then its place is another's.
#[test]
fn bug15_a_join_whose_third_ack_never_comes_is_forgotten() {
    for (joining, answers, after) in [(300, 5, 31), (10, 4, 10)] {
        let limits = Limits {
            subflows: 2,
            ..Limits::default()
        };
        let timeouts = Timeouts {
            joining: Duration::from_secs(joining),
            ..config().timeouts
        };
        let config = EngineConfig {
            limits,
            timeouts,
            ..config()
        };
        let mut sim = bonded_sim(config, 1);
        sim.hosts[SERVER].tcp().listen(80);
        // The box knows its neighbor there, and so goes on answering.
        let ends = (S.parse().unwrap(), "10.2.0.2".parse().unwrap());
        sim.inject(
            CORE,
            ip_frame(MAC_AT[CORE], port_mac(CORE), ends, (0, 64), 17, b"hello"),
        );
        sim.idle(Duration::from_secs(1));
        let now = sim.now;
        sim.hosts[CLIENT].mptcp().connect(now, 40_000, (S, 80));
        let answered = |sim: &Sim<Either>| {
            let tcp = sim.on(ACCESS2, Way::FromBox);
            let tcp = tcp.filter_map(|s| Tcp::parse(&s.frame));
            tcp.filter(|tcp| tcp.flags == SYN | ACK).count()
        };
        let joined = sim.run(Duration::from_secs(3), |sim| answered(sim) > 0);
        assert!(joined, "no join");
        sim.links[ACCESS2].shape.down = true;
        sim.idle(Duration::from_secs(after - 1));
        assert_eq!(sim.occupancy().joining, 1);
        sim.idle(Duration::from_secs(2));
        assert_eq!(counter(&mut sim, "join_expired"), 1);
        assert_eq!(sim.occupancy().joining, 0);
        assert_eq!(answered(&sim), answers);
        assert_eq!(counter(&mut sim, "relays"), 1, "the connection goes on");
        sim.links[ACCESS2].shape.down = false;
        let (now, to) = (sim.now, HAG2.parse().unwrap());
        sim.hosts[CLIENT].mptcp().join(now, to, 80);
        sim.idle(Duration::from_secs(1));
        assert_eq!(counter(&mut sim, "join_accepted"), 1);
    }
}

#[test]
fn what_is_left_of_tcp_legs_takes_half_of_the_room_for_what_is_left() {
    let mut sim = plain_sim_with(
        EngineConfig {
            limits: Limits {
                relays: 4,
                ..Limits::default()
            },
            ..shares(PerSubscriber::default())
        },
        1,
    );
    for n in 0..6 {
        let pair = crate::common::connect(&mut sim, 40_000 + n, S);
        sim.hosts[CLIENT].tcp(pair.client).close();
        sim.idle(Duration::from_millis(200));
        sim.hosts[SERVER].tcp(pair.server).close();
        sim.idle(Duration::from_millis(200));
    }
    assert_eq!(counter(&mut sim, "relay_closed_clean"), 6);
    assert_eq!(sim.occupancy().time_waits, 4);
    assert_empty(&mut sim);
}
