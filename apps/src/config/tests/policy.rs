//! What accesses cost, how much they may carry, and how data finds its way.

use super::*;
use crate::engine::{PolicySettings, SchedulerKind};
use mptcp::Coupling;
use stack::tcp::congestion::Algorithm;

fn hag(access: &str, policy: &str) -> String {
    format!(
        "ports:
  - {{ name: a, device: 'net_null0', role: access, addresses: [10.1.0.1/24]{access} }}
  - {{ name: c, device: 'net_null1', role: core, addresses: [10.9.0.1/24] }}
subscribers: [10.1.0.0/24]
{policy}"
    )
}

fn told(source: &str) -> Vec<String> {
    let checked = check(BoxKind::Hag, source.as_bytes(), &|_| true);
    let mistakes = checked.result.err().unwrap_or_default();
    mistakes.iter().map(ToString::to_string).collect()
}

#[test]
fn costs_and_caps_reach_the_engine_and_overflow_is_the_default() {
    let plain = parse(BoxKind::Hag, &hag("", ""))
        .unwrap()
        .engine(&[[2; 6]; 2], [0; 32]);
    assert_eq!((plain.ports[0].cost, plain.ports[0].cap), (None, None));
    assert_eq!(
        plain.policy,
        PolicySettings {
            scheduler: SchedulerKind::Overflow,
            congestion: Coupling::Uncoupled,
            tcp_congestion: Algorithm::Cubic,
            tcp_pacing: false,
        }
    );
    let rows = [
        ("64kbit/s", 64_000),
        ("10 Mbit/s", 10_000_000),
        ("1Gbit/s", 1_000_000_000),
    ];
    for (text, rate) in rows {
        let source = hag(
            &format!(", cost: 7, cap: {text}"),
            "policy: { scheduler: lowest-rtt }",
        );
        let engine = parse(BoxKind::Hag, &source)
            .unwrap()
            .engine(&[[2; 6]; 2], [0; 32]);
        assert_eq!(
            (engine.ports[0].cost, engine.ports[0].cap),
            (Some(7), Some(rate))
        );
        assert_eq!(engine.policy.scheduler, SchedulerKind::LowestRtt);
    }
}

#[test]
fn m29_each_scheduler_and_weights_reach_the_engine() {
    for (text, scheduler) in [
        ("overflow", SchedulerKind::Overflow),
        ("lowest-rtt", SchedulerKind::LowestRtt),
        ("weighted", SchedulerKind::Weighted),
        ("redundant", SchedulerKind::Redundant),
        ("blest", SchedulerKind::Blest),
        ("ecf", SchedulerKind::Ecf),
    ] {
        let source = hag(", weight: 7", &format!("policy: {{ scheduler: {text} }}"));
        let engine = parse(BoxKind::Hag, &source)
            .unwrap()
            .engine(&[[2; 6]; 2], [0; 32]);
        assert_eq!(engine.policy.scheduler, scheduler);
        assert_eq!((engine.ports[0].weight, engine.ports[1].weight), (7, 1));
    }
}

#[test]
fn m28_the_coupling_reaches_the_engine() {
    for (text, coupling) in [
        ("uncoupled", Coupling::Uncoupled),
        ("lia", Coupling::Lia),
        ("olia", Coupling::Olia),
        ("balia", Coupling::Balia),
    ] {
        let source = hag("", &format!("policy: {{ congestion: {text} }}"));
        let engine = parse(BoxKind::Hag, &source)
            .unwrap()
            .engine(&[[2; 6]; 2], [0; 32]);
        assert_eq!(engine.policy.congestion, coupling);
    }
}

#[test]
fn t9_congestion_control_of_tcp_legs_reaches_the_engine() {
    for (text, control) in [
        ("cubic", Algorithm::Cubic),
        ("newreno", Algorithm::NewReno),
        ("bbr", Algorithm::Bbr),
    ] {
        let source = hag("", &format!("policy: {{ tcp_congestion: {text} }}"));
        let engine = parse(BoxKind::Hag, &source)
            .unwrap()
            .engine(&[[2; 6]; 2], [0; 32]);
        assert_eq!(engine.policy.tcp_congestion, control);
    }
}

#[test]
fn t8_pacing_of_tcp_legs_reaches_the_engine() {
    for pacing in [true, false] {
        let source = hag("", &format!("policy: {{ tcp_pacing: {pacing} }}"));
        let engine = parse(BoxKind::Hag, &source)
            .unwrap()
            .engine(&[[2; 6]; 2], [0; 32]);
        assert_eq!(engine.policy.tcp_pacing, pacing);
    }
}

#[test]
fn mistakes_of_policy_are_told() {
    let rate = "write a rate from 64kbit/s to 1000Gbit/s, such as 10Mbit/s";
    for (access, policy, expected) in [
        (
            ", cost: -1",
            "",
            "2: ports[0].cost: -1 is too small; write a whole number from 0 to 1000",
        ),
        (
            ", weight: 0",
            "",
            "2: ports[0].weight: 0 is too small; write a whole number from 1 to 1000",
        ),
        (
            ", cap: 10",
            "",
            &format!("2: ports[0].cap: 10 is no rate that fits here; {rate}"),
        ),
        (
            ", cap: 10MB/s",
            "",
            &format!("2: ports[0].cap: \"10MB/s\" is no rate that fits here; {rate}"),
        ),
        (
            ", cap: 1kbit/s",
            "",
            &format!("2: ports[0].cap: \"1kbit/s\" is no rate that fits here; {rate}"),
        ),
        (
            "",
            "policy: { scheduler: overflo }",
            "5: policy.scheduler: \"overflo\" is not a choice here; did you mean overflow? (there is overflow, lowest-rtt, weighted, redundant, blest, ecf)",
        ),
        (
            "",
            "policy: { congestion: bala }",
            "5: policy.congestion: \"bala\" is not a choice here; did you mean balia? (there is uncoupled, lia, olia, balia)",
        ),
        (
            "",
            "policy: { tcp_congestion: reno }",
            "5: policy.tcp_congestion: \"reno\" is not a choice here; write cubic or newreno or bbr",
        ),
        (
            "",
            "policy: { sheduler: overflow }",
            "5: policy.sheduler: unknown key; did you mean \"scheduler\"?",
        ),
    ] {
        assert_eq!(told(&hag(access, policy)), [expected], "{access}{policy}");
    }
    let core = hag("", "").replace(
        "[10.9.0.1/24]",
        "[10.9.0.1/24], cost: 1, weight: 1, cap: 1Mbit/s",
    );
    assert_eq!(
        told(&core),
        [
            "3: ports[1].cost: a port of role core leads to no access network; leave it out here",
            "3: ports[1].weight: a port of role core leads to no access network; leave it out here",
            "3: ports[1].cap: a port of role core leads to no access network; leave it out here",
        ]
    );
}

proptest! {
    #[test]
    fn rates_read_back(n in 0..1u64 << 40) {
        prop_assert_eq!(hint::rate(&hint::show_rate(n * 1_000)), Some(n * 1_000).filter(|n| *n > 0));
    }
}
