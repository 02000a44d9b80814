//! What tells the schedulers apart, in whole connections.

mod world;

use mptcp::connection::Limits;
use mptcp::scheduler::{Blest, Ecf, LowestRtt, Overflow, Redundant, Scheduler, Weighted};
use mptcp::{Counter, SubflowId};
use stack::time::Duration;
use world::{A, B, Link, Setup, World};

const MINUTE: Duration = Duration::from_secs(60);

fn world(scheduler: &Scheduler, buffer: u32, paths: Vec<[Link; 2]>) -> World {
    let joins: Vec<usize> = (1..paths.len()).collect();
    let setup = Setup {
        limits: Limits {
            recv_buffer: buffer,
            send_buffer: buffer,
            ..Limits::default()
        },
        ..Setup::default()
    };
    let mut world = World::new(setup, paths);
    for end in &mut world.ends {
        end.conn.set_scheduler(scheduler.clone());
    }
    world.join_all(&joins);
    world
}

fn all() -> [(&'static str, Scheduler); 6] {
    [
        ("lowest-rtt", Scheduler::LowestRtt(LowestRtt)),
        ("overflow", Scheduler::Overflow(Overflow::default())),
        ("weighted", Scheduler::Weighted(Weighted::default())),
        ("redundant", Scheduler::Redundant(Redundant)),
        ("blest", Scheduler::Blest(Blest::default())),
        ("ecf", Scheduler::Ecf(Ecf::default())),
    ]
}

/// Has B write `octets` every 10 ms for `seconds`.
fn offer(world: &mut World, octets: usize, seconds: usize) {
    for _ in 0..seconds * 100 {
        world.ends[B].send(octets, false);
        world.pass(Duration::from_millis(10));
    }
}

#[test]
fn m29_weights_share_out_what_both_paths_could_carry() {
    for (weights, share) in [([3, 1], 750), ([1, 1], 500), ([1, 9], 100)] {
        let paths = vec![
            Link::pair(2_500_000, 10, 100_000),
            Link::pair(2_500_000, 30, 100_000),
        ];
        let mut world = world(&Scheduler::Weighted(Weighted::default()), 4 << 20, paths);
        for (id, weight) in (0..).zip(weights) {
            world.ends[B].conn.set_weight(SubflowId(id), weight);
        }
        let before = [0, 1].map(|path| world.paths[path][B].carried());
        offer(&mut world, 14_000, 10);
        let carried = [0, 1].map(|path| world.paths[path][B].carried() - before[path]);
        let first = carried[0] * 1_000 / (carried[0] + carried[1]);
        assert!(first.abs_diff(share) < 30, "{first} of 1000 by {weights:?}");
    }
}

#[test]
fn m29_redundant_data_does_not_feel_a_path_that_dies() {
    let late = |scheduler: &Scheduler| {
        let paths = vec![
            Link::pair(2_500_000, 10, 100_000),
            Link::pair(2_500_000, 15, 100_000),
        ];
        let mut world = world(scheduler, 4 << 20, paths);
        offer(&mut world, 2_800, 2);
        world.paths[0]
            .iter_mut()
            .for_each(|link| link.set_down(true));
        // The most that was ever missing for longer than the slower path takes.
        let mut most = 0;
        for _ in 0..100 {
            let sent = world.ends[B].total;
            world.ends[B].send(2_800, false);
            world.pass(Duration::from_millis(20));
            most = most.max(sent - world.ends[A].received.min(sent));
        }
        world.ends[A].assert_intact();
        (most, world.ends[B].count(Counter::SentRedundantly))
    };
    let (missing, copies) = late(&Scheduler::Redundant(Redundant));
    assert_eq!(missing, 0, "nothing is ever late");
    assert!(copies > 200, "{copies}");
    let (missing, copies) = late(&Scheduler::LowestRtt(LowestRtt));
    assert!(missing > 2_800 * 5, "{missing} octets");
    assert_eq!(copies, 0);
}

#[test]
fn m29_redundant_data_goes_as_fast_as_the_best_path() {
    let paths = || {
        vec![
            Link::pair(2_500_000, 10, 50_000),
            Link::pair(500_000, 40, 40_000),
        ]
    };
    let redundant = Scheduler::Redundant(Redundant);
    let alone =
        world(&redundant, 1 << 20, vec![paths()[0].clone()]).transfer([0, 10_000_000], MINUTE);
    let both = world(&redundant, 1 << 20, paths()).transfer([0, 10_000_000], MINUTE);
    println!("alone {alone:?} both {both:?}");
    assert!(both * 100 <= alone * 105, "alone {alone:?} both {both:?}");
}

#[test]
fn m29_ecf_does_not_let_the_end_hang_on_the_slow_path() {
    // 200 kB, which the fast path carries in less time than the slow one's round trip; the fast one is full at times.
    let took = |scheduler: &Scheduler| {
        let paths = vec![
            Link::pair(2_500_000, 5, 50_000),
            Link::pair(2_500_000, 150, 500_000),
        ];
        let mut world = world(scheduler, 4 << 20, paths);
        let mut sum = Duration::ZERO;
        for round in 1..=10 {
            world.ends[B].send(200_000, false);
            sum += world.run(MINUTE, |w| w.ends[A].received == 200_000 * round);
            world.pass(Duration::from_secs(1));
        }
        sum / 10
    };
    let ecf = took(&Scheduler::Ecf(Ecf::default()));
    let lowest = took(&Scheduler::LowestRtt(LowestRtt));
    println!("ecf {ecf:?}, lowest round trip {lowest:?}");
    assert!(ecf < Duration::from_millis(130), "{ecf:?}");
    assert!(lowest > ecf + Duration::from_millis(50), "{lowest:?}");
}

/// Octets per second that one flow gets through in the 20 s after 5 s.
fn goodput(scheduler: &Scheduler, buffer: u32, paths: Vec<[Link; 2]>) -> usize {
    let mut world = world(scheduler, buffer, paths);
    world.ends[B].send(400_000_000, false);
    world.pass(Duration::from_secs(5));
    let before = world.ends[A].received;
    world.pass(Duration::from_secs(20));
    world.ends[A].assert_intact();
    (world.ends[A].received - before) / 20
}

/// 20 Mbit/s and 10 ms beside 4 Mbit/s and 1 s.
fn fast_and_slow() -> Vec<[Link; 2]> {
    vec![
        Link::pair(2_500_000, 5, 50_000),
        Link::pair(500_000, 500, 500_000),
    ]
}

#[test]
fn m29_a_path_that_holds_up_the_window_is_given_less() {
    let mut world = world(&all()[0].1, 400_000, fast_and_slow());
    world.ends[B].send(400_000_000, false);
    world.pass(Duration::from_secs(5));
    let (before, sent) = (world.ends[A].received, world.paths[1][B].carried());
    world.pass(Duration::from_secs(20));
    let got = world.ends[A].received - before;
    let slow = world.ends[B]
        .conn
        .subflow(SubflowId(1))
        .unwrap()
        .tcb()
        .cwnd();
    let penalised = world.ends[B].count(Counter::Penalised);
    let wasted = world.paths[1][B].carried() - sent;
    println!(
        "{got} octets, {wasted} by the slow path, whose window is {slow}, halved {penalised} times"
    );
    // At most once a round trip of that path.
    assert!((5..=25).contains(&penalised), "{penalised}");
    assert!(slow < 20_000, "{slow}");
    assert!(
        wasted < 500_000,
        "{wasted}: what went by the slow path went by the fast one too"
    );
}

/// A relay gives its leg no more than the other end's window holds, in whole segments.
#[test]
fn m29_a_slow_path_is_overtaken_where_less_than_a_segment_is_left_of_the_window() {
    for left in [1, 300, 1_000] {
        let mut world = world(&all()[0].1, 400_000, fast_and_slow());
        world.ends[A].reads = false;
        world.ends[B].send(400_000 - left, false);
        // The window is told in units of 128 octets.
        let took = world.run(MINUTE, |w| w.ends[B].conn.queued() < 128);
        println!("{left} octets left: {took:?}");
        let slow = world.paths[1][B].carried();
        assert!(slow > 1_400, "{left} left: {slow} by the slow path");
        assert!(took < Duration::from_millis(500), "{left} left: {took:?}");
    }
}

#[test]
fn bug11_a_path_a_hundred_times_slower_costs_at_most_a_tenth_of_the_best_alone() {
    for buffer in [100_000, 1 << 20, 4 << 20] {
        let alone = goodput(&all()[0].1, buffer, vec![fast_and_slow()[0].clone()]);
        for (name, scheduler) in all() {
            let both = goodput(&scheduler, buffer, fast_and_slow());
            println!("{name}, {buffer} octets: {} of 1000", both * 1000 / alone);
            assert!(
                both * 10 >= alone * 9,
                "{name}, {buffer}: {both} of {alone}"
            );
        }
    }
}
