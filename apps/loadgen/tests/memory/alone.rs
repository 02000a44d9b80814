//! Clients and server on the two ends of one wire.

use crate::common::{generator, info, run};
use dataplane::{MemBuf, MemPort};
use loadgen::{Flowgen, Report};

fn load(client: &str) -> Report {
    run_with(&format!("{{ {client} }}"))
}

/// Several groups of clients, each with its keys.
fn groups(groups: &[&str]) -> Report {
    run_with(&format!("[ {{ {} }} ]", groups.join(" }, { ")))
}

fn run_with(client: &str) -> Report {
    let yaml = format!(
        "ports:\n  - {{ name: c, device: x, role: client, addresses: [10.1.0.2/24, \"fd00::2/64\"], hosts: 3 }}\n  \
         - {{ name: s, device: x, role: server, addresses: [10.1.0.100/24, \"fd00::100/64\"] }}\n\
         client: {client}\nserver: {{ listen: [80] }}\n"
    );
    let (a, b) = MemPort::pair(info("c"), info("s"));
    run::<Flowgen<MemBuf>>(&mut generator(&yaml, vec![a, b]), None)
}

/// Nothing was lost, damaged, or reset.
fn clean(report: &Report) {
    for end in [&report.client, &report.server].into_iter().flatten() {
        let c = &end.connections;
        assert_eq!((c.refused, c.reset, c.timed_out), (0, 0, 0), "{report:?}");
        assert_eq!((end.pieces_wrong, c.fell_back), (0, 0));
    }
}

#[test]
fn connections_are_opened_asked_on_and_closed_without_end() {
    let report =
        load("to: 10.1.0.100:80, connections: 20, request: 64, response: 3000, duration: 500ms");
    clean(&report);
    let client = report.client.unwrap();
    assert!(client.connections.established > 1_000, "{client:?}");
    assert_eq!(client.connections.most, 20);
    assert_eq!(
        client.octets_verified,
        client.requests.done * 3000,
        "whole responses, but for those under way"
    );
    assert!(client.request_us.p50 > 0.0 && client.request_us.count == client.requests.done);
}

#[test]
fn closed_connections_that_linger_keep_no_new_ones_out() {
    // Each tuple is remembered for a second, and there is room for some 1,000 of them.
    let report =
        load("to: 10.1.0.100:80, connections: 4, request: 64, response: 64, duration: 500ms");
    clean(&report);
    let connections = report.client.unwrap().connections;
    assert!(connections.established > 4_000, "{connections:?}");
}

#[test]
fn ipv6_works_as_well() {
    let report = load("to: \"[fd00::100]:80\", connections: 2, response: 100KiB, duration: 200ms");
    clean(&report);
    assert!(report.client.unwrap().requests.done > 10);
}

#[test]
fn endless_transfers_are_verified_in_both_directions() {
    let down = load("to: 10.1.0.100:80, connections: 3, response: endless, duration: 20ms");
    clean(&down);
    assert!(down.client.unwrap().octets_verified > 1 << 20);
    let up =
        load("to: 10.1.0.100:80, connections: 3, request: endless, response: 0, duration: 20ms");
    clean(&up);
    assert!(up.server.unwrap().octets_verified > 1 << 20);
}

#[test]
fn requests_begin_by_the_clock() {
    let report = load(
        "to: 10.1.0.100:80, connections: 50, requests: 0, response: 100, rate: 5000, duration: 1s",
    );
    clean(&report);
    let client = report.client.unwrap();
    assert!(
        (4_990..=5_010).contains(&client.requests.done),
        "{client:?}"
    );
    assert!(client.connections.most < 50, "a few suffice");
}

#[test]
fn connections_are_held() {
    let report =
        load("to: 10.1.0.100:80, connections: 500, hold: true, response: 100, duration: 1s");
    clean(&report);
    let client = report.client.unwrap();
    assert_eq!(
        (client.connections.now, client.connections.established),
        (500, 500)
    );
    assert_eq!(client.requests.done, 500);
}

#[test]
fn a_server_that_does_not_answer_counts_as_timed_out() {
    let report = load("to: 10.1.0.77:80, connections: 5, response: 1, duration: 20s, timeout: 3s");
    let client = report.client.unwrap();
    assert!(client.connections.timed_out >= 5, "{client:?}");
    assert_eq!(client.connections.established, 0);
}

#[test]
fn a_port_that_nobody_listens_at_refuses() {
    let report = load("to: 10.1.0.100:81, connections: 5, response: 1, duration: 100ms");
    let client = report.client.unwrap();
    assert!(client.connections.refused > 5, "{client:?}");
}

#[test]
fn groups_are_told_apart_and_summed() {
    let report = groups(&[
        "name: kept, to: 10.1.0.100:80, connections: 10, requests: 0, hold: true, rate: 2000, response: 5000, duration: 1s, warmup: 100ms",
        "name: storm, to: 10.1.0.100:80, connections: 100, rate: 500, request: 64, response: 64, duration: 1s, warmup: 100ms, delay: 100ms",
    ]);
    clean(&report);
    let names: Vec<_> = report.groups.keys().map(String::as_str).collect();
    assert_eq!(names, ["kept", "storm"]);
    let (kept, storm) = (&report.groups["kept"], &report.groups["storm"]);
    assert_eq!(
        (kept.connections.established, kept.connections.now),
        (0, 10),
        "all of them in the warm-up: {kept:?}"
    );
    assert!((1_990..=2_010).contains(&kept.requests.done), "{kept:?}");
    assert_eq!(kept.octets_verified / 5_000, kept.requests.done);
    assert!((495..=505).contains(&storm.connections.established));
    assert!((495..=505).contains(&storm.requests.done), "{storm:?}");
    let server = report.server.as_ref().unwrap();
    assert!(
        server.connections.established <= storm.connections.established + 1,
        "none of the storm in the warm-up: {server:?}"
    );
    let all = report.client.unwrap();
    assert_eq!(all.requests.done, kept.requests.done + storm.requests.done);
    assert_eq!(
        all.request_us.count,
        kept.request_us.count + storm.request_us.count
    );
    assert!(all.connections.most > 10 && all.connections.most < 110);
    assert_eq!(report.server.unwrap().requests.done, all.requests.done);
}

#[test]
fn a_run_without_names_tells_no_groups() {
    let report = load("to: 10.1.0.100:80, connections: 1, response: 64, duration: 50ms");
    let text = serde_json::to_string(&report).unwrap();
    assert!(!text.contains("groups"), "{text}");
}

#[test]
fn connections_that_are_held_are_asked_on_in_turn() {
    let report = load(
        "to: 10.1.0.100:80, connections: 50, requests: 0, hold: true, response: 100, rate: 5000, duration: 1s, warmup: 100ms",
    );
    clean(&report);
    let client = report.client.unwrap();
    assert_eq!(client.connections.most, 50, "all of them, and none twice");
    assert!((4_990..=5_010).contains(&client.requests.done));
}
