//! Middleboxes that the plan puts in the way of what comes seldom by chance: lost ends of data, numbers that come round.

use sim::fault::Fault;
use sim::middlebox::Kind;
use sim::middlebox::numbers::Drawn;
use sim::plan::{Chain, Plan};
use sim::rules::Rule;
use sim::run::run;

#[test]
fn m16_a_lost_data_fin_is_sent_again() {
    for most in 1..=3 {
        let mut plan = Plan::quiet(Chain::Bonded(2));
        let kind = Kind::LoseEnds(most);
        plan.faults = vec![
            Fault::Middlebox { cable: 1, kind },
            Fault::Middlebox { cable: 2, kind },
        ];
        let outcome = run(&plan, false);
        assert_eq!(outcome.failure, None);
        for (name, counters) in &outcome.counters {
            let sent = counters.get("data_fin_tx").copied().unwrap_or(0);
            assert!(sent > u64::from(most), "{name} {sent}");
        }
        plan.without = Some(Rule::DataFinAgain);
        let outcome = run(&plan, false);
        assert!(outcome.failure.is_some(), "{most}");
    }
}

#[test]
fn sequence_numbers_come_round_on_each_link() {
    for cable in 0..Chain::Bonded(2).cables() {
        for after in [0, 1, 30_000, 200_000] {
            let mut plan = Plan::quiet(Chain::Bonded(2));
            let kind = Kind::Numbers {
                drawn: Drawn::Wrapping(after),
                sack: true,
            };
            plan.faults = vec![Fault::Middlebox { cable, kind }];
            assert_eq!(run(&plan, false).failure, None, "{cable} {after}");
        }
    }
}
