//! A client that we did not write, mptcp-rs, against the box in the network: handshakes, joins, and what it makes of paths
//! that fail.

use sim::fault::Fault;
use sim::lane::Ill;
use sim::middlebox::Kind;
use sim::middlebox::strip::From;
use sim::plan::{Chain, Plan};
use sim::run::{Outcome, run};
use stack::time::Duration;

/// One flow from the client to a server, and what the box counted; the flow came through whole.
fn whole(plan: &Plan) -> Outcome {
    let outcome = run(plan, false);
    assert_eq!(outcome.failure, None, "{:?}", outcome.counters);
    outcome
}

fn counted(outcome: &Outcome, name: &str) -> u64 {
    let of = outcome.counters.iter().map(|(_, all)| all.get(name));
    of.flatten().sum()
}

fn plans() -> impl Iterator<Item = Plan> {
    [false, true].into_iter().map(|v6| {
        let mut plan = Plan::quiet(Chain::Native(2));
        plan.flows[0].v6 = v6;
        plan
    })
}

fn down(cable: usize, from: u64, lasts: u64) -> [Fault; 2] {
    [0, 1].map(|lane| Fault::Lane {
        cable,
        lane,
        ill: Ill::Down,
        from: Duration::from_millis(from),
        lasts: Duration::from_millis(lasts),
    })
}

#[test]
fn m2_a_client_that_we_did_not_write_is_answered_in_multipath_tcp() {
    for plan in plans() {
        let outcome = whole(&plan);
        assert_eq!(counted(&outcome, "relay_opened_mptcp"), 1);
        assert_eq!(counted(&outcome, "relay_closed_clean"), 1);
    }
}

#[test]
fn m2_a_third_ack_that_is_lost_comes_again() {
    for mut plan in plans() {
        // The handshake of the access takes 20 ms, and the server's 2 ms more.
        plan.faults.extend(down(0, 20, 100));
        let outcome = whole(&plan);
        assert_eq!(counted(&outcome, "relay_opened_mptcp"), 1);
    }
}

#[test]
fn m2_where_its_option_is_stripped_either_way_it_is_served_as_tcp() {
    for mut plan in plans() {
        for from in [From::Syn, From::SynAck] {
            plan.faults = vec![Fault::Middlebox {
                cable: 0,
                kind: Kind::Strip {
                    from,
                    ways: [true, true],
                    close_up: false,
                },
            }];
            let outcome = whole(&plan);
            assert_eq!(counted(&outcome, "join_accepted"), 0);
        }
    }
}

#[test]
fn m8_its_join_of_the_announced_address_is_accepted_and_carries_data() {
    for mut plan in plans() {
        plan.flows[0].sizes = [2_000_000; 2];
        let outcome = whole(&plan);
        assert_eq!(counted(&outcome, "join_accepted"), 1);
        // One path of 10 Mbit/s alone takes 1.6 s, and both end with the client's TIME-WAIT.
        plan.faults.extend(down(1, 0, 60_000));
        let alone = whole(&plan);
        assert_eq!(counted(&alone, "join_accepted"), 0);
        let gain = alone.lasted.saturating_sub(outcome.lasted);
        assert!(gain > Duration::from_millis(200), "{gain:?}");
    }
}

#[test]
fn m8_what_a_dead_path_took_with_it_comes_by_the_other() {
    for mut plan in plans() {
        plan.flows[0].sizes = [1_000_000; 2];
        plan.faults.extend(down(0, 400, 60_000));
        let outcome = whole(&plan);
        assert_eq!(counted(&outcome, "join_accepted"), 1);
        assert!(counted(&outcome, "reinjected") > 0);
    }
}

#[test]
fn m8_a_third_ack_of_a_join_that_is_lost_comes_again() {
    for mut plan in plans() {
        plan.flows[0].sizes = [3_000_000; 2];
        plan.net.shapes[1].delay = Duration::from_millis(40);
        for lost in [100, 120, 140, 160, 180] {
            plan.faults = down(1, lost, 60).into();
            let outcome = whole(&plan);
            assert_eq!(
                counted(&outcome, "join_accepted"),
                1,
                "lost from {lost} ms on"
            );
        }
    }
}
