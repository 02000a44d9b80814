//! Clients and server on both sides of a HAG.

use crate::common::{generator, hag, info, run, settle};
use apps::engine::Engine;
use dataplane::{MemBuf, MemPort};
use loadgen::Report;

fn load(client: &str) -> (Report, usize) {
    let yaml = format!(
        "ports:\n  - {{ name: a, device: x, role: client, addresses: [10.1.0.2/24], hosts: 5, gateway: [10.1.0.1] }}\n  \
         - {{ name: b, device: x, role: client, addresses: [10.2.0.2/24], hosts: 5, gateway: [10.2.0.1] }}\n  \
         - {{ name: c, device: x, role: server, addresses: [10.9.0.2/24], gateway: [10.9.0.1] }}\n\
         client: {{ to: 10.9.0.2:80, {client} }}\nserver: {{ listen: [80] }}\n"
    );
    let pairs: Vec<_> = ["a", "b", "c"]
        .map(|n| MemPort::pair(info(n), info(n)))
        .into();
    let (ours, theirs) = pairs.into_iter().unzip();
    let mut between = hag(theirs, |config| config.accept_plain = true);
    let report = run::<Engine<MemBuf>>(&mut generator(&yaml, ours), Some(&mut between));
    settle(&mut between);
    (report, between.app().occupancy().relays)
}

fn clean(report: &Report) {
    for end in [&report.client, &report.server].into_iter().flatten() {
        let c = &end.connections;
        assert_eq!(
            (c.refused, c.timed_out, end.pieces_wrong),
            (0, 0, 0),
            "{report:?}"
        );
        assert_eq!((c.fell_back, c.reset), (0, 0), "{report:?}");
    }
}

#[test]
fn every_connection_has_its_joined_subflow_and_closes_cleanly() {
    let (report, left) = load(
        "protocol: mptcp, subflows: 2, connections: 10, request: 64, response: 5000, duration: 100ms",
    );
    clean(&report);
    let client = report.client.unwrap();
    assert!(client.connections.closed > 20, "{client:?}");
    let c = &client.connections;
    assert!(c.subflows_joined + 10 >= c.established && c.subflows_joined <= c.established + 10);
    assert_eq!(left, 0, "the box holds nothing");
}

#[test]
fn four_subflows_carry_one_stream() {
    let (report, _) = load(
        "protocol: mptcp, subflows: 4, connections: 2, response: endless, duration: 20ms, warmup: 20ms",
    );
    clean(&report);
    let client = report.client.unwrap();
    assert!(client.octets_verified > 1 << 20, "{client:?}");
}

#[test]
fn plain_tcp_is_relayed_too() {
    let (report, _) = load("connections: 10, request: 2000, response: 5000, duration: 100ms");
    clean(&report);
    assert!(report.client.unwrap().requests.done > 100);
}

#[test]
fn the_highest_rate_is_found_and_then_measured() {
    let (report, _) = load(
        "protocol: mptcp, subflows: 2, connections: 40, response: 100, duration: 1s, \
         search: { low: 10, high: 100000, trial: 400ms }",
    );
    let found = report.search.unwrap();
    let client = report.client.unwrap();
    assert!(
        found.trials.iter().any(|t| t.good) && found.trials.iter().any(|t| !t.good),
        "{found:?}"
    );
    let kept = client.requests.per_second;
    let wanted = found.rate as f64;
    assert!(
        (wanted * 0.96..=wanted * 1.02).contains(&kept),
        "{kept} of {wanted}"
    );
}
