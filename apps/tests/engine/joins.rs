//! Further subflows between the two boxes: over several accesses of either family, opened by either side.

use crate::common::accesses::{
    Family, addresses_of, assert_own_sources, by_announcement, by_configuration, chain, close,
    connect, customer, edge_of, hag_of,
};
use crate::common::customer::Translator;
use crate::common::raw::{ACK, RST, SYN, Tcp};
use crate::common::site::{Site, edge_counter, large, transfer};
use crate::common::{Node, S, S6, Sim, Way, counter, port_mac};
use apps::engine::{EdgeSettings, EngineConfig, JoinSettings, JoinSubscriber, Limits, Timeouts};
use dataplane::App;
use stack::PortId;
use stack::time::Duration;
use std::net::IpAddr;

const BOTH: Family = Family::Both;

/// SYNs with MP_JOIN seen on the link of `port`, the answers not counted.
fn join_syns(sim: &Sim<Site>, port: usize, way: Way) -> usize {
    sim.on(port, way)
        .filter(|seen| {
            let tcp = match seen.frame[12..14] {
                [0x08, 0x00] if seen.frame[23] == 6 => 34,
                [0x86, 0xdd] if seen.frame[20] == 6 => 54,
                _ => return false,
            };
            let join = [30, 12];
            seen.frame[tcp + 13] & 0x3f == 2 && seen.frame[tcp + 20..].windows(2).any(|w| w == join)
        })
        .count()
}

/// Subflows of the only relay, as the box in the network counts them.
fn subflows(sim: &mut Sim<Site>) -> usize {
    let reply = sim.command(apps::control::Command::ShowConnections { limit: 10 });
    let apps::control::Reply::Connections(reply) = reply else {
        panic!("connections were asked for");
    };
    assert_eq!(reply.connections.len(), 1);
    reply.connections[0].subflows.len()
}

/// A connection to `to` carries data both ways by every access.
fn carries_by_all(accesses: &[Family], edge: EdgeSettings, to: &str) -> Sim<Site> {
    let limits = Limits {
        subflows: 16,
        ..Limits::default()
    };
    let edge = EngineConfig {
        limits,
        ..edge_of(accesses, edge)
    };
    let hag = EngineConfig {
        limits,
        ..hag_of(accesses)
    };
    let mut sim = chain(edge, hag);
    let sockets = connect(&mut sim, 40_000, to);
    transfer(&mut sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(1));
    assert_eq!(subflows(&mut sim), accesses.len());
    for (from, way) in [(0, Way::ToBox), (1, Way::FromBox)] {
        sim.seen.clear();
        transfer(&mut sim, sockets, from, 2_000_000 * accesses.len());
        for port in 0..accesses.len() {
            let frames = large(&sim, port, way);
            assert!(frames > 20, "{frames} on {port} {way:?}");
        }
        assert_own_sources(&sim);
    }
    close(&mut sim, sockets);
    sim
}

#[test]
fn two_secondaries_join_the_same_address_each_from_its_own() {
    carries_by_all(&[BOTH; 3], by_announcement(), S);
}

#[test]
fn eight_secondaries_join_the_same_address_each_from_its_own() {
    let mut sim = carries_by_all(&[BOTH; 9], by_announcement(), S6);
    assert_eq!(edge_counter(&mut sim, "join_opened"), 8);
}

#[test]
fn each_mix_of_families_carries_data_by_the_secondary() {
    for to in [S, S6] {
        for primary in [BOTH, if to == S { Family::V4 } else { Family::V6 }] {
            for secondary in [Family::V4, Family::V6] {
                for edge in [
                    by_announcement(),
                    by_configuration(&["10.99.0.2", "fd00:99::2"]),
                ] {
                    let mut sim = chain(
                        edge_of(&[primary, secondary], edge),
                        hag_of(&[primary, secondary]),
                    );
                    let sockets = connect(&mut sim, 40_000, to);
                    transfer(&mut sim, sockets, 0, 10_000);
                    // The other family is announced once its own brought no subflow.
                    sim.idle(Duration::from_secs(4));
                    assert_eq!(subflows(&mut sim), 2, "{to} {primary:?} {secondary:?}");
                    for (from, way) in [(0, Way::ToBox), (1, Way::FromBox)] {
                        sim.seen.clear();
                        transfer(&mut sim, sockets, from, 3_000_000);
                        let frames = large(&sim, 1, way);
                        assert!(frames > 200, "{frames} {to} {primary:?} {secondary:?}");
                        let longest = sim.on(1, way).map(|seen| seen.frame.len()).max();
                        assert!(longest <= Some(1514), "{longest:?}");
                    }
                    close(&mut sim, sockets);
                }
            }
        }
    }
}

#[test]
fn one_port_of_both_families_is_joined_once() {
    // The box in the network is configured under both addresses, so both are known from the first.
    let edge = by_configuration(&["fd00:99::2", "10.99.0.2"]);
    for (to, own) in [(S, "10.99.0.2"), (S6, "fd00:99::2")] {
        let mut sim = chain(edge_of(&[BOTH; 2], edge.clone()), hag_of(&[BOTH; 2]));
        let sockets = connect(&mut sim, 40_000, to);
        transfer(&mut sim, sockets, 0, 100_000);
        sim.idle(Duration::from_secs(60));
        assert_eq!(join_syns(&sim, 1, Way::ToBox), 1);
        let own: IpAddr = own.parse().unwrap();
        let joined = sim.on(1, Way::ToBox).filter_map(|s| addresses_of(&s.frame));
        assert!(joined.into_iter().any(|(_, dst)| dst == own));
        close(&mut sim, sockets);
    }
}

#[test]
fn the_other_family_is_tried_when_the_first_is_not_answered() {
    // Nobody has that address: the SYNs vanish at the core.
    let edge = by_configuration(&["10.99.0.77", "fd00:99::2"]);
    let mut sim = chain(edge_of(&[BOTH; 2], edge), hag_of(&[BOTH; 2]));
    let sockets = connect(&mut sim, 40_000, S);
    transfer(&mut sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(5));
    assert_eq!(subflows(&mut sim), 2);
    assert_eq!(edge_counter(&mut sim, "join_expired"), 1);
    close(&mut sim, sockets);
}

#[test]
fn a_reset_ends_joining_for_that_connection_and_no_other() {
    // Another box's address, which knows no such token.
    let edge = by_configuration(&["10.2.0.1"]);
    let mut sim = chain(edge_of(&[BOTH; 3], edge), hag_of(&[BOTH; 3]));
    for (n, port) in (1..).zip([40_000, 40_001]) {
        let sockets = connect(&mut sim, port, S);
        transfer(&mut sim, sockets, 0, 100_000);
        sim.idle(Duration::from_secs(300));
        transfer(&mut sim, sockets, 1, 1_000_000);
        // Both secondaries asked at once; the first refusal stopped what was not under way.
        let asked = join_syns(&sim, 1, Way::ToBox) + join_syns(&sim, 2, Way::ToBox);
        assert!((n..=2 * n).contains(&asked), "{asked}");
        assert!(edge_counter(&mut sim, "join_stopped") >= u64::try_from(n).unwrap());
        close(&mut sim, sockets);
    }
}

#[test]
fn the_servers_own_address_is_never_joined_where_the_peer_forbids_it() {
    // RFC 8684 3.1: the C flag that the other box sets is about exactly this address and port.
    let mut sim = chain(
        edge_of(&[BOTH; 2], by_configuration(&[S])),
        hag_of(&[BOTH; 2]),
    );
    let sockets = connect(&mut sim, 40_000, S);
    transfer(&mut sim, sockets, 0, 1_000_000);
    sim.idle(Duration::from_secs(60));
    assert_eq!(
        sim.on(1, Way::ToBox)
            .filter(|s| addresses_of(&s.frame).is_some())
            .count(),
        0
    );
    close(&mut sim, sockets);
}

/// What the box in the network opens by itself.
fn initiating(known: bool, announced: bool, sole: bool) -> JoinSettings {
    let subscriber = JoinSubscriber {
        prefix: "10.11.0.0/24".parse().unwrap(),
        addresses: vec!["10.2.0.2".parse().unwrap()],
    };
    JoinSettings {
        subscribers: if known { vec![subscriber] } else { Vec::new() },
        announced,
        sole,
    }
}

fn initiated(edge: EdgeSettings, join: JoinSettings) -> Sim<Site> {
    let hag = EngineConfig {
        join,
        ..hag_of(&[BOTH; 2])
    };
    let mut sim = chain(edge_of(&[BOTH; 2], edge), hag);
    let sockets = connect(&mut sim, 40_000, S);
    transfer(&mut sim, sockets, 0, 50_000);
    sim.idle(Duration::from_secs(5));
    let expected = subflows(&mut sim);
    for (from, way) in [(0, Way::ToBox), (1, Way::FromBox)] {
        sim.seen.clear();
        transfer(&mut sim, sockets, from, 2_000_000);
        let frames = large(&sim, 1, way);
        assert_eq!(frames > 100, expected == 2, "{frames}");
    }
    assert_eq!(subflows(&mut sim), expected, "subflows came or went");
    close(&mut sim, sockets);
    sim
}

#[test]
fn whoever_knows_the_other_opens_and_one_subflow_a_path_is_the_end() {
    // Who knows: the box in the network, the one at the edge. Who opened: the first, the second.
    for (hag, cpe, opened) in [
        (false, false, [0, 0]),
        (false, true, [0, 1]),
        (true, false, [1, 0]),
        (true, true, [0, 1]),
    ] {
        let edge = if cpe {
            by_configuration(&["10.99.0.2"])
        } else {
            EdgeSettings::default()
        };
        let mut sim = initiated(edge, initiating(hag, false, false));
        let who = [
            counter(&mut sim, "join_opened"),
            edge_counter(&mut sim, "join_opened"),
        ];
        assert_eq!(who, opened, "{hag} {cpe}");
        let accepted = [
            edge_counter(&mut sim, "join_accepted"),
            counter(&mut sim, "join_accepted"),
        ];
        assert_eq!(accepted, opened, "{hag} {cpe}");
    }
}

#[test]
fn what_the_customers_box_announces_is_joined() {
    let edge = EdgeSettings {
        announce: true,
        ..EdgeSettings::default()
    };
    let mut sim = initiated(edge, initiating(false, true, false));
    assert_eq!(counter(&mut sim, "join_opened"), 1);
    assert_eq!(edge_counter(&mut sim, "join_accepted"), 1);
    // Where that is not asked for it is ignored.
    let edge = EdgeSettings {
        announce: true,
        ..EdgeSettings::default()
    };
    let mut sim = initiated(edge, JoinSettings::default());
    assert_eq!(counter(&mut sim, "join_opened"), 0);
    assert_eq!(counter(&mut sim, "announcement_ignored"), 1);
}

#[test]
fn syns_that_cross_leave_one_subflow_a_path() {
    // Both know, and the box in the network leaves the other no first step: at every offset of their clocks.
    for delay in [5, 10, 15, 20, 40] {
        let hag = EngineConfig {
            join: initiating(true, false, true),
            ..hag_of(&[BOTH; 2])
        };
        let edge = edge_of(&[BOTH; 2], by_announcement());
        let mut sim = chain(edge, hag);
        sim.links[1].shape.delay = Duration::from_millis(delay);
        let sockets = connect(&mut sim, 40_000, S);
        transfer(&mut sim, sockets, 0, 50_000);
        sim.idle(Duration::from_secs(20));
        assert_eq!(subflows(&mut sim), 2, "{delay} ms");
        transfer(&mut sim, sockets, 1, 1_000_000);
        let opened = counter(&mut sim, "join_opened") + edge_counter(&mut sim, "join_opened");
        assert_eq!(opened, 1, "{delay} ms");
        close(&mut sim, sockets);
    }
}

#[test]
fn the_customers_subflow_stays_where_the_end_of_ours_was_lost() {
    // The box in the network has opened one, but its third ACK never comes to the customer's box, which forgets the join and
    // opens one itself: only now are there two on the path, and ours goes.
    let hag = EngineConfig {
        join: initiating(true, false, true),
        ..hag_of(&[BOTH; 2])
    };
    let timeouts = Timeouts {
        joining: Duration::from_secs(2),
        ..Timeouts::default()
    };
    let edge = EngineConfig {
        timeouts,
        ..edge_of(&[BOTH; 2], by_announcement())
    };
    let mut sim = chain(edge, hag);
    // The SYN overtakes the announcement that the customer's box would open one upon.
    sim.links[1].shape.delay = Duration::from_millis(1);
    let server = sim.hosts[1].host().listen(80);
    let sockets = [sim.hosts[0].host().connect(40_000, (S, 80)), server];
    let answered = sim.run(Duration::from_secs(1), |sim| {
        let sent = sim.on(1, Way::ToBox).filter_map(|s| Tcp::parse(&s.frame));
        sent.into_iter().any(|tcp| tcp.flags == SYN | ACK)
    });
    assert!(answered);
    sim.links[1].shape.down = true;
    // Not for the three seconds after which a neighbor that is silent is asked for anew.
    sim.idle(Duration::from_millis(2_500));
    assert_eq!(counter(&mut sim, "join_opened"), 1);
    assert_eq!(edge_counter(&mut sim, "join_accepted"), 0);
    assert_eq!(counter(&mut sim, "join_surplus_closed"), 0);
    sim.links[1].shape.down = false;
    sim.idle(Duration::from_secs(2));
    assert_eq!(counter(&mut sim, "join_surplus_closed"), 1);
    assert_eq!(edge_counter(&mut sim, "join_opened"), 1);
    assert_eq!(subflows(&mut sim), 2);
    // And neither opens another.
    for from in [0, 1] {
        transfer(&mut sim, sockets, from, 1_000_000);
    }
    sim.idle(Duration::from_secs(60));
    assert_eq!(subflows(&mut sim), 2);
    assert_eq!(counter(&mut sim, "join_opened"), 1);
    assert_eq!(edge_counter(&mut sim, "join_opened"), 1);
    close(&mut sim, sockets);
}

#[test]
fn a_join_at_the_edge_needs_a_token_and_nothing_else_listens_there() {
    let mut sim = chain(
        edge_of(&[BOTH; 2], EdgeSettings::default()),
        hag_of(&[BOTH; 2]),
    );
    for (src, dst) in [("10.2.0.1", "10.2.0.2"), ("10.1.0.1", "10.1.0.2")] {
        let now = sim.now;
        let before = edge_counter(&mut sim, "not_ours_reset");
        let nic = usize::from(dst == "10.2.0.2");
        let own = [2, 0, 0, 0, 0xee, if nic == 0 { 1 } else { 2 }];
        let frame = Tcp::plain_syn(src, 1_234, dst).frame(port_mac(nic), own);
        customer(&mut sim).deliver(now, nic, frame);
        sim.idle(Duration::from_secs(1));
        assert_eq!(edge_counter(&mut sim, "not_ours_reset"), before + 1);
    }
}

#[test]
fn an_idle_subflow_is_probed_and_one_that_died_is_opened_again() {
    let edge = EdgeSettings {
        keepalive: vec![(PortId(2), Duration::from_secs(25))],
        ..by_announcement()
    };
    let mut sim = chain(edge_of(&[BOTH; 2], edge), hag_of(&[BOTH; 2]));
    let sockets = connect(&mut sim, 40_000, S);
    transfer(&mut sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(5));
    sim.seen.clear();
    sim.idle(Duration::from_secs(1_000));
    // One each way every 25 s: 442 KiB in a day.
    let octets: usize = [Way::ToBox, Way::FromBox]
        .into_iter()
        .flat_map(|way| sim.on(1, way))
        .filter(|seen| addresses_of(&seen.frame).is_some())
        .map(|seen| seen.frame.len() - 14)
        .sum();
    let a_day = octets * 86_400 / 1_000;
    assert!((400_000..480_000).contains(&a_day), "{a_day} octets a day");
    assert_eq!(edge_counter(&mut sim, "tcp_keepalive"), 40);
    assert_eq!(edge_counter(&mut sim, "subflow_lost"), 0);
    // The path dies in silence while nothing passes.
    sim.links[1].shape.down = true;
    sim.idle(Duration::from_secs(130));
    assert_eq!(edge_counter(&mut sim, "subflow_lost"), 1);
    sim.links[1].shape.down = false;
    sim.idle(Duration::from_secs(120));
    assert_eq!(edge_counter(&mut sim, "join_opened"), 2);
    transfer(&mut sim, sockets, 0, 2_000_000);
    close(&mut sim, sockets);
}

#[test]
fn a_secondary_that_fails_costs_no_octet_and_is_joined_again() {
    for (down, minutes) in [(5, 1), (600, 20)] {
        let mut sim = chain(edge_of(&[BOTH; 3], by_announcement()), hag_of(&[BOTH; 3]));
        let sockets = connect(&mut sim, 40_000, S);
        transfer(&mut sim, sockets, 0, 1_000_000);
        sim.links[1].shape.down = true;
        transfer(&mut sim, sockets, 0, 1_000_000);
        transfer(&mut sim, sockets, 1, 1_000_000);
        sim.idle(Duration::from_secs(down));
        sim.links[1].shape.down = false;
        sim.idle(Duration::from_secs(60 * minutes));
        sim.seen.clear();
        // The others alone would not do.
        for port in [0, 2] {
            sim.links[port].shape.rate = 4_000_000;
        }
        transfer(&mut sim, sockets, 0, 5_000_000);
        // Whether in full segments or, as long as a black hole is suspected, in smaller ones.
        let octets: usize = sim.on(1, Way::ToBox).map(|seen| seen.frame.len()).sum();
        assert!(octets > 500_000, "{octets} after {down} s");
        close(&mut sim, sockets);
    }
}

/// A reset in the name of whoever sent the last segment by the access `port`, that way.
fn reset_of(sim: &Sim<Site>, port: usize, way: Way) -> Tcp {
    let frames = sim.on(port, way).filter_map(|seen| Tcp::parse(&seen.frame));
    let last = frames.last().expect("a segment passed");
    Tcp {
        seq: last
            .seq
            .wrapping_add(u32::try_from(last.payload.len()).unwrap()),
        flags: RST,
        options: Vec::new(),
        payload: Vec::new(),
        ..last
    }
}

#[test]
fn m25_a_connection_that_lost_its_last_subflow_is_joined_again() {
    let mut sim = chain(edge_of(&[BOTH; 2], by_announcement()), hag_of(&[BOTH; 2]));
    let sockets = connect(&mut sim, 40_000, S);
    transfer(&mut sim, sockets, 0, 500_000);
    transfer(&mut sim, sockets, 1, 500_000);
    sim.idle(Duration::from_secs(2));
    assert_eq!(subflows(&mut sim), 2);
    // Something on both paths resets both ends of both subflows.
    for port in 0..2 {
        let of_box = port_mac(port);
        let of_edge = [2, 0, 0, 0, 0xee, if port == 0 { 1 } else { 2 }];
        let to_box = reset_of(&sim, port, Way::ToBox).frame(of_edge, of_box);
        let to_edge = reset_of(&sim, port, Way::FromBox).frame(of_box, of_edge);
        let now = sim.now;
        customer(&mut sim).deliver(now, port, to_edge);
        sim.inject(port, to_box);
    }
    sim.idle(Duration::from_millis(200));
    assert_eq!(subflows(&mut sim), 0);
    assert_eq!(edge_counter(&mut sim, "relays"), 1);
    sim.idle(Duration::from_secs(3));
    assert_eq!(subflows(&mut sim), 1, "by the secondary");
    transfer(&mut sim, sockets, 0, 500_000);
    transfer(&mut sim, sockets, 1, 500_000);
    close(&mut sim, sockets);
}

#[test]
fn the_primary_fails_and_what_lives_goes_on_by_the_secondary() {
    let mut sim = chain(edge_of(&[BOTH; 2], by_announcement()), hag_of(&[BOTH; 2]));
    let sockets = connect(&mut sim, 40_000, S);
    transfer(&mut sim, sockets, 0, 1_000_000);
    sim.links[0].shape.down = true;
    transfer(&mut sim, sockets, 0, 2_000_000);
    transfer(&mut sim, sockets, 1, 2_000_000);
    // A new connection does not find another way out: nothing of the host's leaves by the secondary.
    sim.hosts[0].host().connect(40_001, (S, 80));
    sim.idle(Duration::from_secs(30));
    assert_own_sources(&sim);
    sim.links[0].shape.down = false;
    transfer(&mut sim, sockets, 1, 1_000_000);
    sim.idle(Duration::from_secs(150));
    assert_own_sources(&sim);
}

/// The chain with a NAT on its secondary access that forgets what was silent for a minute.
fn behind_nat(edge: EdgeSettings) -> Sim<Site> {
    let mut hag = hag_of(&[BOTH; 2]);
    hag.net.routes.push(stack::ip::RouteConfig {
        to: "100.64.0.9/32".parse().unwrap(),
        via: "10.2.0.2".parse().unwrap(),
    });
    let mut sim = chain(edge_of(&[Family::V4; 2], edge), hag);
    customer(&mut sim).translator = Some(Translator {
        nic: 1,
        inside: "10.2.0.2".parse().unwrap(),
        outside: "100.64.0.9".parse().unwrap(),
        timeout: Duration::from_secs(60),
        ports: Vec::new(),
    });
    sim
}

#[test]
fn behind_a_translator_the_join_comes_from_inside_and_is_kept_alive() {
    for kept in [true, false] {
        let mut edge = by_configuration(&["10.99.0.2"]);
        if kept {
            edge.keepalive = vec![(PortId(2), Duration::from_secs(25))];
        }
        let mut sim = behind_nat(edge);
        let sockets = connect(&mut sim, 40_000, S);
        transfer(&mut sim, sockets, 0, 100_000);
        sim.idle(Duration::from_secs(5));
        assert_eq!(subflows(&mut sim), 2);
        sim.idle(Duration::from_secs(600));
        sim.seen.clear();
        sim.links[0].shape.rate = 4_000_000;
        // Towards the customer: what the NAT has forgotten it drops.
        transfer(&mut sim, sockets, 1, 1_000_000);
        let stale = counter(&mut sim, "subflow_stale");
        assert_eq!(stale == 0, kept, "{stale}");
        if kept {
            let frames = large(&sim, 1, Way::FromBox);
            assert!(frames > 100, "{frames}");
        }
        crate::common::site::close(&mut sim, sockets);
    }
}

#[test]
fn a_secondary_address_that_changes_is_withdrawn_and_joined_anew() {
    let mut sim = chain(edge_of(&[BOTH; 2], by_announcement()), hag_of(&[BOTH; 2]));
    let sockets = connect(&mut sim, 40_000, S);
    transfer(&mut sim, sockets, 0, 1_000_000);
    sim.seen.clear();
    let command = apps::control::Command::SetAddress {
        from: "10.2.0.2".parse().unwrap(),
        to: "10.2.0.7/24".parse().unwrap(),
        gateway: None,
    };
    let (now, mut out) = (sim.now, Vec::new());
    customer(&mut sim)
        .worker
        .app_mut()
        .command(now, command, &mut out);
    assert!(out.is_empty(), "what is due leaves with the next turn");
    transfer(&mut sim, sockets, 0, 2_000_000);
    sim.idle(Duration::from_secs(5));
    crate::common::site::close(&mut sim, sockets);
}
