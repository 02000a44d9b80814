//! Which path carries what: the cheap one first, the dear one for the rest, and both for a flow that fills both.
//!
//! The cells: a primary of 20 Mbit/s and 30 ms, a secondary of 40 Mbit/s and 60 or 15 ms; queues of one product of
//! bandwidth and delay; loss-free unless said. Rates are those of packets, with 100 octets of headers each.

mod world;

use mptcp::Counter;
use mptcp::scheduler::{Overflow, Scheduler};
use stack::time::Duration;
use world::{A, B, Link, Setup, World};

/// Octets per second.
const PRIMARY: u64 = 2_500_000;
const SECONDARY: u64 = 5_000_000;
/// Of a packet's octets, those that carry data: 1400 of 1500.
const fn payload(octets: u64) -> u64 {
    octets * 14 / 15
}

/// One path: `rate` in octets per second, a round trip of `rtt_ms`, a queue of one bandwidth-delay product, losing
/// `loss` of 10,000 packets.
fn path(rate: u64, rtt_ms: u64, loss: u32) -> [Link; 2] {
    Link::pair(rate, rtt_ms / 2, rate * rtt_ms / 1000).map(|link| link.with_loss(loss))
}

fn world(paths: Vec<[Link; 2]>) -> World {
    let joins: Vec<usize> = (1..paths.len()).collect();
    let mut world = World::new(Setup::default(), paths);
    for end in &mut world.ends {
        end.conn
            .set_scheduler(Scheduler::Overflow(Overflow::default()));
    }
    world.join_all(&joins);
    world
}

/// Has `from` write `rate` octets of data per second, every `tick_ms`, for `seconds`.
fn offer(world: &mut World, from: usize, rate: u64, tick_ms: u64, seconds: u64) {
    for _ in 0..seconds * 1000 / tick_ms {
        let octets = usize::try_from(rate * tick_ms / 1000).unwrap();
        world.ends[from].send(octets, false);
        world.pass(Duration::from_millis(tick_ms));
    }
}

/// Octets of packets that each path has carried from `from`.
fn carried(world: &World, from: usize) -> Vec<u64> {
    world
        .paths
        .iter()
        .map(|path| path[from].carried())
        .collect()
}

#[test]
fn m29_what_the_primary_can_carry_never_overflows() {
    for rtt in [60, 15] {
        for (from, tick) in [(A, 1), (B, 1), (B, 10), (B, 20)] {
            let mut world = world(vec![path(PRIMARY, 30, 0), path(SECONDARY, rtt, 0)]);
            offer(&mut world, from, payload(PRIMARY) * 8 / 10, tick, 20);
            let octets = carried(&world, from);
            assert!(
                octets[1] * 1000 < octets[0] + octets[1],
                "{octets:?} {}",
                world.describe()
            );
        }
    }
}

#[test]
fn m29_what_the_primary_cannot_carry_goes_to_the_secondary_also_when_that_is_faster() {
    for rtt in [60, 15] {
        for (from, tick) in [(A, 1), (B, 1), (B, 10), (B, 20)] {
            let mut world = world(vec![path(PRIMARY, 30, 0), path(SECONDARY, rtt, 0)]);
            offer(&mut world, from, payload(PRIMARY) * 2, tick, 3);
            let before = carried(&world, from);
            offer(&mut world, from, payload(PRIMARY) * 2, tick, 20);
            let after = carried(&world, from);
            let busy = (after[0] - before[0]) * 1000 / (PRIMARY * 20);
            let rest = (after[1] - before[1]) * 1000 / (PRIMARY * 20);
            println!("rtt {rtt} tick {tick} from {from}: primary {busy}, secondary {rest} of 1000");
            assert!(busy >= 950, "{busy} {}", world.describe());
            assert!(busy + rest >= 1980, "{rest} {}", world.describe());
        }
    }
}

#[test]
fn m29_at_its_limit_the_overflow_does_not_flap() {
    for share in [95, 100, 105] {
        for rtt in [60, 15] {
            let mut world = world(vec![path(PRIMARY, 30, 0), path(SECONDARY, rtt, 0)]);
            offer(&mut world, B, payload(PRIMARY) * share / 100, 10, 60);
            let on = world.ends[B].count(Counter::OverflowOn);
            println!(
                "share {share} rtt {rtt}: {on} activations, {:?}",
                carried(&world, B)
            );
            assert!(on <= 60, "{on} activations in 60 s");
        }
    }
}

/// Octets of data per second that one flow gets through, as fast as it can, over 20 s after 2 s.
fn bulk(paths: Vec<[Link; 2]>, from: usize) -> u64 {
    let mut world = world(paths);
    world.ends[from].send(400_000_000, false);
    world.pass(Duration::from_secs(2));
    let before = world.ends[1 - from].received;
    world.pass(Duration::from_secs(20));
    let got = world.ends[1 - from].received - before;
    u64::try_from(got).unwrap() / 20
}

#[test]
fn m29_one_flow_fills_both_lines() {
    for rtt in [60, 15] {
        for from in [A, B] {
            let got = bulk(vec![path(PRIMARY, 30, 0), path(SECONDARY, rtt, 0)], from);
            let share = got * 1000 / payload(PRIMARY + SECONDARY);
            println!("rtt {rtt} from {from}: {share} of 1000");
            assert!(share >= 900, "rtt {rtt} from {from}: {share} of 1000");
        }
    }
}

#[test]
fn m29_two_lines_are_never_slower_than_the_primary_alone() {
    for loss in [0, 10, 100] {
        for rtt in [60, 15] {
            let alone = bulk(vec![path(PRIMARY, 30, loss)], B);
            let both = bulk(vec![path(PRIMARY, 30, loss), path(SECONDARY, rtt, loss)], B);
            println!("loss {loss} rtt {rtt}: {} of 1000", both * 1000 / alone);
            assert!(
                both * 100 >= alone * 98,
                "loss {loss}, rtt {rtt}: {both} after {alone}"
            );
        }
    }
}

/// Octets of data that one flow gets through while the second of its paths goes from 40 to 5 and back to 40 Mbit/s, 8 s
/// each; with both paths, or with one of them alone.
fn with_a_step(paths: Vec<[Link; 2]>, steps: usize) -> u64 {
    let mut world = world(paths);
    world.ends[B].send(400_000_000, false);
    world.pass(Duration::from_secs(2));
    let before = world.ends[A].received;
    for rate in [SECONDARY, SECONDARY / 8, SECONDARY] {
        if let Some(path) = world.paths.get_mut(steps) {
            path.iter_mut().for_each(|link| link.set_rate(rate));
        }
        world.pass(Duration::from_secs(8));
    }
    u64::try_from(world.ends[A].received - before).unwrap()
}

#[test]
fn m29_a_step_of_the_secondarys_rate_is_followed_as_one_tcp_would() {
    for rtt in [60, 15] {
        let (primary, secondary) = (path(PRIMARY, 30, 0), path(SECONDARY, rtt, 0));
        let alone = with_a_step(vec![primary.clone()], 1) + with_a_step(vec![secondary.clone()], 0);
        let both = with_a_step(vec![primary, secondary], 1);
        println!("rtt {rtt}: {} of 1000", both * 1000 / alone);
        assert!(both * 10 >= alone * 9, "rtt {rtt}: {both} of {alone}");
    }
}

#[test]
fn m29_each_subflow_measures_what_its_path_carries() {
    let mut world = world(vec![path(PRIMARY, 30, 0), path(SECONDARY, 60, 0)]);
    world.ends[B].send(400_000_000, false);
    world.pass(Duration::from_secs(5));
    for _ in 0..10 {
        world.pass(Duration::from_millis(470));
        for (subflow, (rate, rtt)) in world.ends[B]
            .conn
            .subflows()
            .zip([(PRIMARY, 30), (SECONDARY, 60)])
        {
            let share = subflow.delivery_rate() * 1000 / payload(rate);
            assert!((950..1050).contains(&share), "{share} of 1000 of {rate}");
            let min = subflow.tcb().min_rtt().unwrap().as_millis();
            assert!((rtt..rtt + 2).contains(&min), "{min} ms");
            let limited = subflow.cwnd_limited();
            assert!(limited > Duration::from_millis(4_500), "{limited:?}");
        }
    }
}
