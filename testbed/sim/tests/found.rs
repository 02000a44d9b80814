//! What the simulator has found in the boxes, each with the least that shows it.

use mptcp::{Version, Versions};
use sim::app::{Close, Pause};
use sim::fault::Fault;
use sim::keys::{BEFORE, Round, before_whole};
use sim::lane::Ill;
use sim::middlebox::Kind;
use sim::middlebox::answers::Then;
use sim::middlebox::inject::Forgery;
use sim::middlebox::options::Change;
use sim::plan::{Chain, Plan};
use sim::port::Trouble;
use sim::rules::Rule;
use sim::run::{Outcome, run};
use stack::time::Duration;

/// Seed 124 without `data-fin-again`: a relay that had waited for too long asked for one turn after the other until its
/// MP_FASTCLOSE was answered.
#[test]
fn m23_a_relay_of_version_0_that_is_given_up_waits_for_the_answer_in_peace() {
    let mut plan = Plan::quiet(Chain::Bonded(2));
    plan.net.versions = [Versions::V0; 2];
    plan.net.shapes[1].delay = Duration::from_millis(100);
    let flow = &mut plan.flows[0];
    flow.sizes = [0, 2_000];
    flow.close = [Close::WhenSent, Close::Abort(u64::MAX)];
    // The run is given the time that the boxes take to lose patience.
    flow.pause[0] = Some(Pause {
        after: u64::MAX,
        lasts: Duration::from_secs(1_000),
    });
    // The end of the server's data is lost in one of these, and does not come again.
    plan.without = Some(Rule::DataFinAgain);
    let mut gone = 0;
    for from in (500..1_500).step_by(100) {
        plan.faults = vec![Fault::Lane {
            cable: 1,
            lane: 1,
            ill: Ill::Down,
            from: Duration::from_millis(from),
            lasts: Duration::from_millis(150),
        }];
        let outcome = run(&plan, false);
        assert_eq!(outcome.failure, None, "down from {from} ms on");
        let all = outcome.counters.iter();
        let sent = all.filter_map(|(_, all)| all.get("fastclose_tx"));
        gone += sent.sum::<u64>();
    }
    assert!(gone > 0);
}

/// Seeds 11496 and 19336: what waited beyond a gap of a subflow was not counted, and took all receive buffers of a device, so
/// that what would have closed the gap found none.
#[test]
fn what_waits_on_a_subflow_leaves_buffers_for_what_it_waits_for() {
    let mut plan = Plan::quiet(Chain::Bonded(2));
    plan.net.pool = 512;
    plan.net.buffer = 4 << 20;
    plan.net.habits.iter_mut().for_each(|habits| {
        habits.buffer = 512 << 10;
        habits.timestamps = false;
    });
    plan.net.shapes[1].delay = Duration::from_millis(200);
    plan.net.shapes[1].queue = Some(2_000_000);
    plan.flows[0].sizes = [0, 600_000];
    // Short segments, each of which takes a whole buffer.
    plan.faults = vec![
        Fault::Middlebox {
            cable: 0,
            kind: Kind::Options(Change::Clamp(536)),
        },
        Fault::Lane {
            cable: 1,
            lane: 1,
            ill: Ill::Loss(3_000),
            from: Duration::ZERO,
            lasts: Duration::from_secs(60),
        },
        Fault::Lane {
            cable: 2,
            lane: 1,
            ill: Ill::Down,
            from: Duration::ZERO,
            lasts: Duration::from_secs(60),
        },
    ];
    let mut refused = 0;
    for seed in 1..=3 {
        plan.seed = seed;
        let outcome = run(&plan, false);
        assert_eq!(outcome.failure, None, "seed {seed}");
        let all = outcome.counters.iter();
        let of = all.filter_map(|(_, all)| all.get("buffer_refused"));
        refused += of.sum::<u64>();
    }
    assert!(refused > 0);
}

/// Several workers, whose rings are short and whose devices give frames to whichever of them: what is lost between them is
/// counted and comes again, and the same seed gives the same trace.
#[test]
fn frames_go_to_their_workers_whoever_gets_them() {
    let mut plan = Plan::quiet(Chain::Bonded(2));
    plan.net.workers = [2, 3];
    plan.flows = vec![plan.flows[0].clone(); 3];
    let (mut handed, mut lost) = (0, 0);
    for spreads in [false, true] {
        plan.net.spreads = [spreads; 2];
        for machine in [0, 1] {
            let rings = Fault::Rings {
                machine,
                frames: 16,
            };
            let missteers = |port| Fault::Device {
                machine,
                port,
                trouble: Trouble::Missteers(50),
                from: Duration::ZERO,
                lasts: Duration::from_secs(60),
            };
            plan.faults = vec![rings, missteers(0), missteers(1), missteers(2)];
            let outcome = run(&plan, false);
            assert_eq!(outcome.failure, None);
            assert_eq!(outcome.hash, run(&plan, false).hash);
            for (_, all) in &outcome.counters {
                handed += all.get("handed_over").copied().unwrap_or(0);
                lost += all.get("handover_full").copied().unwrap_or(0);
            }
        }
    }
    assert!(
        handed > 1_000 && lost > 0,
        "{handed} handed over, {lost} lost"
    );
}

/// Devices that cut what leaves in a row, compute checksums, and put together what arrives: the flows come through whole.
#[test]
fn devices_that_cut_and_join_change_nothing() {
    let (mut trains, mut joined) = (0, 0);
    for seed in 1..=12 {
        let mut plan = Plan::quiet(Chain::Bonded(2));
        plan.seed = seed;
        plan.flows[0].v6 = seed % 2 == 0;
        let outcome = run(&plan, false);
        assert_eq!(outcome.failure, None, "{seed}");
        for (_, all) in &outcome.counters {
            trains += all.get("device_trains").copied().unwrap_or(0);
            joined += all.get("device_joined").copied().unwrap_or(0);
        }
    }
    assert!(trains > 100 && joined > 100, "{trains} {joined}");
}

/// The low half of data's numbers comes round each way, with and without checksums, at boxes and at a client that we did
/// not write.
#[test]
fn numbers_of_data_may_come_round() {
    // That client takes no checksums.
    let rows = [
        (Chain::Bonded(2), Versions::V0, false),
        (Chain::Bonded(2), Versions::V0, true),
        (Chain::Bonded(2), Versions::V1, false),
        (Chain::Bonded(2), Versions::V1, true),
        (Chain::Native(2), Versions::V1, false),
    ];
    for (chain, versions, checksum) in rows {
        let mut plan = Plan::quiet(chain);
        plan.net.versions = [versions; 2];
        plan.net.rounds = [Some(Round::Low); 2];
        plan.net.checksum = [checksum; 2];
        plan.flows[0].sizes = [u64::from(2 * BEFORE); 2];
        let outcome = run(&plan, false);
        let note = format!("{chain:?} {versions:?} {checksum}");
        assert_eq!(outcome.failure, None, "{note}");
        // Of what each box sends with Multipath TCP.
        let boxes = if chain == Chain::Native(2) { 1 } else { 2 };
        assert_eq!(counted(&outcome, "data_low_came_round"), [1; 2][..boxes]);
        assert!(counted(&outcome, "data_came_round").is_empty());
    }
}

/// What each box counted that counted any.
fn counted(outcome: &Outcome, name: &str) -> Vec<u64> {
    let all = outcome.counters.iter();
    all.filter_map(|(_, all)| all.get(name).copied()).collect()
}

/// All 64 bits of data's numbers come round, each way, at boxes and at a client that we did not write. Of version 0 no key
/// is known that begins so near: the soak is long enough.
#[test]
fn m13_all_numbers_of_data_may_come_round() {
    // The box that sends, and whether checksums have it write all 64 bits.
    let rows = [
        (Chain::Bonded(2), 0, false),
        (Chain::Bonded(2), 1, true),
        (Chain::Native(2), 0, false),
    ];
    let octets = before_whole(Version::V1) + 1_000_000;
    for (chain, sender, checksum) in rows {
        let mut plan = Plan::long(chain, octets);
        plan.net.rounds[sender] = Some(Round::Whole);
        plan.net.checksum = [checksum; 2];
        // The box in the network sends on what the server does.
        if sender == 1 || chain == Chain::Native(2) {
            plan.flows[0].sizes.reverse();
            plan.flows[0].pause.reverse();
        }
        let outcome = run(&plan, false);
        let note = format!("{chain:?} {sender} {checksum}");
        assert_eq!(outcome.failure, None, "{note}");
        assert_eq!(counted(&outcome, "data_came_round"), [1], "{note}");
    }
}

/// Seed 24923: a first mapping that is changed on the way has both boxes fall back, and what is lost meanwhile goes again without
/// DATA_ACKs, of which the window would be that of TCP.
#[test]
fn what_goes_again_after_a_fallback_acknowledges_no_data() {
    let mut fallen = 0;
    for (seed, lane) in (1..=20).flat_map(|seed| [(seed, 0), (seed, 1)]) {
        let mut plan = Plan::quiet(Chain::Bonded(2));
        plan.seed = seed;
        plan.net.checksum = [true; 2];
        plan.net.buffer = 64 << 10;
        plan.flows[0].sizes = [60_000; 2];
        plan.faults = vec![
            Fault::Middlebox {
                cable: 1,
                kind: Kind::Swap([true, true]),
            },
            Fault::Middlebox {
                cable: 2,
                kind: Kind::Portal(Then::Silence),
            },
            Fault::Lane {
                cable: 1,
                lane,
                ill: Ill::Loss(150_000),
                from: Duration::ZERO,
                lasts: Duration::from_secs(5),
            },
        ];
        let outcome = run(&plan, false);
        assert_eq!(outcome.failure, None, "{seed} {lane}");
        let all = outcome.counters.iter();
        let of = all.filter_map(|(_, all)| all.get("fallback_fail_rx"));
        fallen += of.sum::<u64>();
    }
    assert!(fallen > 0);
}

/// Seeds 5849, 20737, 26103, 48000, 66083 and 88510: a SYN that was forged within a stream, which its end answers with a
/// challenge, was the beginning of another to middleboxes that count octets from there, and to one that translates what is
/// opened.
#[test]
fn a_forged_syn_confuses_no_middlebox() {
    let gateway = Kind::Gateway {
        ways: [true; 2],
        longer: false,
        most: 1_000,
    };
    let nat = Kind::Nat {
        forgets: None,
        timeout: None,
        addresses: false,
    };
    let boxes = [
        (Chain::Bonded(2), 1, gateway, false),
        (Chain::Plain, 0, Kind::Insert(20_000), false),
        (Chain::Bonded(2), 0, nat, true),
    ];
    for (chain, cable, kind, inbound) in boxes {
        for seed in 1..=4 {
            let mut plan = Plan::quiet(chain);
            plan.net.checksum = [true; 2];
            plan.flows[0].inbound = inbound;
            let forger = Kind::Forger {
                forgery: Forgery::Syn,
                ways: [true; 2],
                every: 8,
                most: 20,
                seed,
            };
            plan.faults = vec![
                Fault::Middlebox {
                    cable,
                    kind: forger,
                },
                Fault::Middlebox { cable, kind },
            ];
            let outcome = run(&plan, false);
            assert_eq!(outcome.failure, None, "{cable} {seed}");
        }
    }
}

/// Seed 222784: a middlebox adds octets to as many as the window of a host's SYN+ACK holds, which the host takes for a
/// larger one, and then it has no room for them.
#[test]
fn a_window_that_a_middlebox_overfills_is_no_end_of_a_host() {
    let mut plan = Plan::quiet(Chain::Plain);
    plan.net.habits[0].buffer = 512 << 10;
    plan.net.habits[0].reno = false;
    plan.flows[0].sizes = [112_634, 0];
    // From an address that is no subscriber's: the box relays nothing.
    let nat = Kind::Nat {
        forgets: None,
        timeout: None,
        addresses: true,
    };
    plan.faults = [Kind::Insert(27_358), nat]
        .map(|kind| Fault::Middlebox { cable: 0, kind })
        .into();
    assert_eq!(run(&plan, false).failure, None);
}

/// Seed 90087: a SYN that comes twice counts as sent again, so the third is not bonded, and a host that heeds no congestion
/// floods an access itself.
#[test]
fn a_host_that_floods_an_access_may_come_to_no_end() {
    let mut plan = Plan::quiet(Chain::Bonded(2));
    plan.net.versions = [Versions::V0; 2];
    plan.net.buffer = 4 << 20;
    plan.net.habits.iter_mut().for_each(|habits| {
        habits.buffer = 512 << 10;
        habits.timestamps = false;
    });
    plan.net.habits[1].reno = false;
    plan.net.shapes[1].delay = Duration::from_millis(350);
    let flow = &mut plan.flows[0];
    flow.inbound = true;
    flow.sizes = [40_000, 2_400_000];
    flow.close = [Close::AfterPeer, Close::WhenSent];
    plan.faults = vec![Fault::Lane {
        cable: 3,
        lane: 1,
        ill: Ill::Duplicate(1_000_000),
        from: Duration::ZERO,
        lasts: Duration::from_millis(100),
    }];
    let outcome = run(&plan, false);
    assert_eq!(outcome.failure, None);
    let all = outcome.counters.iter();
    let through = all.filter_map(|(_, all)| all.get("cut_through"));
    assert_eq!(through.sum::<u64>(), 1);
    assert!(outcome.lasted > Duration::from_secs(360));
}

/// Seed 122000: several SYNs of one tuple that were forged at once begin a flow each, and the watcher knew the last of them
/// alone.
#[test]
fn each_forged_syn_is_known_whose_flow_begins() {
    let mut plan = Plan::quiet(Chain::Plain);
    plan.net.shapes[0].delay = Duration::ZERO;
    plan.net.habits.iter_mut().for_each(|habits| {
        habits.timestamps = false;
        habits.gives_up = true;
    });
    plan.flows[0].sizes = [4_000, 0];
    plan.flows[0].close = [Close::AfterPeer, Close::WhenSent];
    for seed in 1..=8 {
        plan.seed = seed;
        let forger = Kind::Forger {
            forgery: Forgery::Syn,
            ways: [true, false],
            every: 1,
            most: 10,
            seed,
        };
        let boxes = [(1, Kind::Portal(Then::Reset)), (0, forger)];
        let boxes = boxes.map(|(cable, kind)| Fault::Middlebox { cable, kind });
        // Also where they come to one worker after the other.
        let missteers = Fault::Device {
            machine: 0,
            port: 0,
            trouble: Trouble::Missteers(91),
            from: Duration::ZERO,
            lasts: Duration::from_secs(60),
        };
        for workers in [1, 3] {
            plan.net.workers[0] = workers;
            plan.faults = boxes.clone().into();
            plan.faults.extend((workers > 1).then(|| missteers.clone()));
            assert_eq!(run(&plan, false).failure, None, "{workers} {seed}");
        }
    }
}

/// Where the only path is down for longer than five seconds just when a wrong checksum was found on it, the
/// flow goes on as TCP all the same.
#[test]
fn m22_an_outage_beside_a_wrong_checksum_ends_no_flow() {
    let (mut fallen, mut asked) = (0, 0);
    for from in (60..160).step_by(5) {
        let mut plan = Plan::quiet(Chain::Bonded(2));
        plan.net.checksum = [true; 2];
        plan.flows[0].sizes = [60_000; 2];
        let down = |lane| Fault::Lane {
            cable: 1,
            lane,
            ill: Ill::Down,
            from: Duration::from_millis(from),
            lasts: Duration::from_secs(20),
        };
        let boxes = [
            (1, Kind::Swap([true, false])),
            (2, Kind::Portal(Then::Silence)),
        ];
        let boxes = boxes.map(|(cable, kind)| Fault::Middlebox { cable, kind });
        plan.faults = boxes.into_iter().chain([down(0), down(1)]).collect();
        let outcome = run(&plan, false);
        assert_eq!(outcome.failure, None, "{from}");
        let count = |name| {
            let all = outcome.counters.iter();
            all.filter_map(|(_, all)| all.get(name)).sum::<u64>()
        };
        assert_eq!(count("relay_closed_clean"), 2, "{from}");
        fallen += count("fallback_fail_rx");
        asked = asked.max(count("mp_fail_tx"));
    }
    assert!(fallen > 0 && asked > 5, "{fallen} {asked}");
}

/// More new flows are asked for than a box has time, or places, for beside one that is established: nearly all go on unbonded,
/// and that one keeps its subflows and comes through whole.
#[test]
fn a_storm_of_new_flows_leaves_those_that_there_are_as_they_are() {
    let mut plan = Plan::long(Chain::Bonded(2), 20_000_000);
    plan.net.pending = 2_000;
    plan.faults = vec![Fault::Middlebox {
        cable: 0,
        kind: Kind::Storm {
            from: Duration::from_millis(50),
            rows: 50,
            in_a_row: 200,
        },
    }];
    let outcome = run(&plan, false);
    assert_eq!(outcome.failure, None);
    let unbonded = counted(&outcome, "bypass_overload");
    assert!(unbonded[0] > 100, "{unbonded:?}");
    assert!(counted(&outcome, "pending_opened")[0] < 1_000);
    assert_eq!(counted(&outcome, "relay_opened"), [1; 2]);
    assert_eq!(counted(&outcome, "join_opened"), [1]);
    assert!(counted(&outcome, "subflow_lost").is_empty());
}
