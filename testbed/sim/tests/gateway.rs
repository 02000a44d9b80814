//! A gateway between the boxes that rewrites addresses, and with them the length of what passes (RFC 8684 3.3.1, 3.7).

use sim::app::Close;
use sim::fault::Fault;
use sim::middlebox::Kind;
use sim::middlebox::gateway::{ADDRESS, is_address, rewritten};
use sim::packet::checksum;
use sim::plan::{Chain, Plan};
use sim::rules::Rule;
use sim::run::{Outcome, run};
use sim::seed::derive;
use sim::stream::Stream;
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

/// Without checksums, too, the oracle knows which octets may come in which place: others, which somebody else has changed,
/// may not.
#[test]
fn without_checksums_what_the_gateway_did_not_do_is_wrong() {
    for longer in [false, true] {
        let mut plan = plan(2, false, longer);
        plan.faults.push(Fault::Middlebox {
            cable: 1,
            kind: Kind::Swap([true; 2]),
        });
        let failure = run(&plan, false).failure.map(|failure| failure.kind());
        assert_eq!(failure, Some("wrong octet"));
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

/// What is left of a mapping that became shorter comes with what is sent again or after it, or both ends go on without,
/// also where nothing else follows.
#[test]
fn i_csum_a_single_mapping_that_became_shorter_ends() {
    let closes = [
        [Close::WhenSent, Close::AfterPeer],
        [Close::AfterPeer, Close::WhenSent],
    ];
    let mut unfilled = 0;
    for (seed, close) in (1..40).flat_map(|seed| closes.map(|close| (seed, close))) {
        for checksum in [false, true] {
            let mut plan = plan(1, checksum, false);
            plan.seed = seed;
            plan.flows[0].sizes = [800; 2];
            plan.flows[0].close = close;
            let outcome = run(&plan, false);
            let note = format!("{seed} {close:?} {checksum} {:?}", outcome.counters);
            assert_eq!(outcome.failure, None, "{note}");
            // TIME-WAIT of the host that closed first, and a few seconds before.
            assert!(outcome.lasted < Duration::from_secs(75), "{note}");
            unfilled += count(&outcome, "dss_unfilled");
        }
    }
    assert!(unfilled > 0);
}

/// A seed, and a length, with which the server's data is one mapping, whose checksum is right for what the gateway makes of
/// it, too.
fn right_by_chance() -> (u64, u64) {
    let text = rewritten(true);
    let fits = |seed: &u64| {
        let stream = Stream::new(derive(*seed, "stream 0 1"), 1_200);
        let mut sent = vec![0; 1_200];
        stream.fill(0, &mut sent);
        let at = sent.windows(ADDRESS).position(is_address)?;
        let comes = [&sent[..at], text, &sent[at + ADDRESS..]].concat();
        let sum = |octets: &[u8], len: usize| checksum(&[&octets[..len]]);
        let mut lens = at + ADDRESS..sent.len();
        let len = lens.find(|len| sum(&sent, *len) == sum(&comes, *len))?;
        Some((*seed, len as u64))
    };
    let mut seeds = 1..10_000;
    seeds.find_map(|seed| fits(&seed)).expect("a seed")
}

/// Seed 119956: the checksum is right for what has been rewritten, once in 65,536 times. Nobody can know, and it is let through.
#[test]
fn a_checksum_may_be_right_by_chance() {
    let (seed, len) = right_by_chance();
    let mut plan = plan(2, true, true);
    plan.seed = seed;
    plan.faults = vec![Fault::Middlebox {
        cable: 2,
        kind: Kind::Gateway {
            ways: [false, true],
            longer: true,
            most: 1,
        },
    }];
    // The faster access has joined when the server's data comes.
    plan.net.shapes[2].delay = Duration::from_millis(1);
    plan.net.shapes[3].delay = Duration::from_millis(300);
    for (len, errors) in [(len, 0), (len - 1, 1)] {
        plan.flows[0].sizes = [100_000, len];
        let outcome = run(&plan, false);
        assert_eq!(outcome.failure, None, "{seed} {len}");
        let seen = count(&outcome, "dss_checksum_error");
        assert_eq!(seen, errors, "{seed} {len}");
    }
}
