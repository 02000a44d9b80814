//! A gateway between the boxes that rewrites addresses, and with them the length of what passes (RFC 8684 3.3.1, 3.7).

use sim::fault::Fault;
use sim::middlebox::Kind;
use sim::plan::{Chain, Plan};
use sim::rules::Rule;
use sim::run::{Outcome, run};
use stack::time::Duration;

fn plan(cable: usize, checksum: bool, longer: bool) -> Plan {
    let mut plan = Plan::quiet(Chain::Bonded(2));
    plan.net.checksum = [checksum; 2];
    plan.faults.push(Fault::Middlebox {
        cable,
        kind: Kind::Gateway {
            ways: [true; 2],
            longer,
            most: 1_000,
        },
    });
    plan
}

fn count(outcome: &Outcome, name: &str) -> u64 {
    let all = outcome.counters.iter();
    all.filter_map(|(_, all)| all.get(name)).sum()
}

#[test]
fn i_csum_a_gateway_on_an_additional_subflow_resets_it() {
    for longer in [false, true] {
        let outcome = run(&plan(2, true, longer), false);
        assert_eq!(outcome.failure, None);
        assert!(count(&outcome, "dss_checksum_error") > 0);
        assert!(count(&outcome, "mp_fail_tx") > 0);
    }
}

#[test]
fn i_csum_a_gateway_on_the_first_subflow_is_found() {
    for longer in [false, true] {
        let outcome = run(&plan(1, true, longer), false);
        assert_eq!(outcome.failure, None);
        assert!(count(&outcome, "dss_checksum_error") > 0);
        assert!(count(&outcome, "mp_fail_tx") > 0);
    }
}

/// Nobody can know, but all that was sent is waited for no longer than the boxes' own timers last, and the end comes.
#[test]
fn without_checksums_a_mapping_that_does_not_fit_ends() {
    for (cable, longer) in [(1, false), (1, true), (2, false), (2, true)] {
        let outcome = run(&plan(cable, false, longer), false);
        assert_eq!(outcome.failure, None, "{cable} {longer}");
        assert_eq!(count(&outcome, "dss_checksum_error"), 0);
        // TIME-WAIT of the host that closed first, and a few seconds before.
        assert!(
            outcome.lasted < Duration::from_secs(70),
            "{:?}",
            outcome.lasted
        );
    }
}

/// The oracle sees what a box makes of it that does not look at checksums.
#[test]
fn unverified_checksums_let_wrong_octets_through() {
    let mut plan = plan(2, true, true);
    plan.without = Some(Rule::DssChecksum);
    let failure = run(&plan, false).failure.map(|failure| failure.kind());
    assert_eq!(failure, Some("wrong octet"));
}
