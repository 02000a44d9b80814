//! Paths that differ, lose and die: what a connection over two of them still carries, measured.

mod world;

use mptcp::connection::Limits;
use mptcp::scheduler::{Blest, Ecf, LowestRtt, Scheduler};
use mptcp::{Counter, SubflowId};
use stack::Rng;
use stack::time::Duration;
use world::{A, B, Link, Setup, World};

const MINUTE: Duration = Duration::from_secs(60);
/// Octets per second of every path.
const RATE: u64 = 1_000_000;

/// What a path loses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// So many of 10,000 segments, each by itself.
    Single(u32),
    /// All that enters in 10 ms, once a second on average.
    Bursts,
}

/// A connection from B to A over paths with these round trips in milliseconds, each losing as it says in both directions.
fn world(scheduler: &Scheduler, buffer: u32, paths: &[(u64, Loss)]) -> World {
    let links = paths.iter().map(|(rtt, loss)| {
        let single = if let Loss::Single(loss) = loss {
            *loss
        } else {
            0
        };
        // One product of rate and delay, and 20 ms at least.
        let queue = RATE * (*rtt).max(20) / 1_000;
        Link::pair(RATE, rtt / 2, queue).map(|link| link.with_loss(single))
    });
    let setup = Setup {
        limits: Limits {
            recv_buffer: buffer,
            send_buffer: buffer,
            ..Limits::default()
        },
        ..Setup::default()
    };
    let mut world = World::new(setup, links.collect());
    for end in &mut world.ends {
        end.conn.set_scheduler(scheduler.clone());
    }
    world.join_all(&(1..paths.len()).collect::<Vec<_>>());
    world
}

/// Octets per second that B brings A in the 30 s after 3 s, and the most that A ever held for want of what comes before.
fn goodput(world: &mut World, paths: &[(u64, Loss)]) -> (u64, usize) {
    let mut rng = Rng::from_u64(1);
    let mut pass = |world: &mut World| {
        for (links, (_, loss)) in world.paths.iter_mut().zip(paths) {
            for link in links {
                link.set_down(*loss == Loss::Bursts && rng.below(100) == 0);
            }
        }
        world.pass(Duration::from_millis(10));
    };
    world.ends[B].send(200_000_000, false);
    (0..300).for_each(|_| pass(world));
    let (before, mut held) = (world.ends[A].received, 0);
    for _ in 0..3_000 {
        pass(world);
        held = held.max(world.ends[A].conn.held());
    }
    world.ends[A].assert_intact();
    ((world.ends[A].received - before) as u64 / 30, held)
}

/// The same of a fresh connection.
fn fresh(scheduler: &Scheduler, buffer: u32, paths: &[(u64, Loss)]) -> (u64, usize) {
    goodput(&mut world(scheduler, buffer, paths), paths)
}

/// Round trips of 1:1 to 1:20: with room for what the slow path has under way both are filled; without, the schedulers that
/// look for that leave the quick one alone.
#[test]
fn i_hol_round_trips_of_one_to_twenty_fill_both_paths_or_leave_the_quick_one_alone() {
    let schedulers = [
        ("lowest-rtt", Scheduler::LowestRtt(LowestRtt)),
        ("blest", Scheduler::Blest(Blest::default())),
        ("ecf", Scheduler::Ecf(Ecf::default())),
    ];
    let none = Loss::Single(0);
    for (name, scheduler) in &schedulers {
        for ratio in [1, 2, 5, 10, 20] {
            let paths = [(20, none), (20 * ratio, none)];
            let (alone, _) = fresh(scheduler, 4 << 20, &paths[..1]);
            let roomy = 4 << 20;
            let (both, held) = fresh(scheduler, roomy, &paths);
            println!("{name} 1:{ratio}: {both} of {}, held {held}", 2 * alone);
            assert!(
                both * 100 >= 2 * alone * 90,
                "{name} 1:{ratio}: {both} of {}",
                2 * alone
            );
            assert!(held <= roomy as usize, "{name} 1:{ratio}: {held}");
            if *name == "lowest-rtt" {
                continue;
            }
            // What the slow path would have under way does not fit.
            let tight = 96 << 10;
            let (both, held) = fresh(scheduler, tight, &paths);
            println!("{name} 1:{ratio}, little room: {both} of {alone}, held {held}");
            assert!(
                both * 100 >= alone * 90,
                "{name} 1:{ratio}: {both} of {alone}"
            );
            assert!(held <= tight as usize, "{name} 1:{ratio}: {held}");
        }
    }
}

/// Each pair of losses from none to 5 %, single ones and bursts: both paths together bring what each alone would.
#[test]
fn i_sack_losses_on_either_path_cost_what_they_cost_one_path_alone() {
    let losses = [
        Loss::Single(0),
        Loss::Single(100),
        Loss::Single(200),
        Loss::Single(500),
        Loss::Bursts,
    ];
    let scheduler = Scheduler::LowestRtt(LowestRtt);
    let alone = |rtt: u64| losses.map(|loss| fresh(&scheduler, 4 << 20, &[(rtt, loss)]).0);
    let (first, second) = (alone(20), alone(40));
    println!("alone {first:?}, {second:?}");
    for (a, one) in losses.into_iter().zip(first) {
        for (b, other) in losses.into_iter().zip(second) {
            let paths = [(20, a), (40, b)];
            let mut world = world(&scheduler, 4 << 20, &paths);
            let (both, _) = goodput(&mut world, &paths);
            let (resent, timeouts) = (
                world.ends[B].tcp.get(stack::Counter::TcpRetransmitted),
                world.ends[B].tcp.get(stack::Counter::TcpRto),
            );
            println!(
                "{a:?} and {b:?}: {both} of {}, {resent} sent again, {timeouts} timeouts",
                one + other
            );
            assert!(
                both * 100 >= (one + other) * 85,
                "{a:?} and {b:?}: {both} of {}",
                one + other
            );
            // Losses are repaired by what arrives after them, and not by waiting.
            assert!(
                timeouts * 20 <= resent,
                "{a:?} and {b:?}: {timeouts} timeouts, {resent} sent again"
            );
        }
    }
}

/// How a path fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Nothing passes any more.
    Both,
    /// Only data is lost, or only what acknowledges it.
    OneWay(usize),
    /// Three of ten segments are lost, both ways.
    Lossy,
}

/// The second path fails in mid-stream: it is found out within three timeouts or a second, no octet is lost, and the first
/// path carries what it can.
#[test]
fn i_fail_a_path_that_fails_in_any_way_is_found_and_the_other_carries_all() {
    let lowest_rtt = Scheduler::LowestRtt(LowestRtt);
    let (alone, _) = fresh(&lowest_rtt, 4 << 20, &[(20, Loss::Single(0))]);
    for failure in [
        Failure::Both,
        Failure::OneWay(A),
        Failure::OneWay(B),
        Failure::Lossy,
    ] {
        let none = Loss::Single(0);
        let mut world = world(&lowest_rtt, 4 << 20, &[(20, none), (40, none)]);
        world.ends[B].send(200_000_000, false);
        world.pass(Duration::from_secs(4));
        let subflow = world.ends[B]
            .conn
            .subflow(SubflowId(1))
            .expect("two subflows");
        let most = (subflow.tcb().rto() * 3).max(Duration::from_secs(1));
        for (from, link) in world.paths[1].iter_mut().enumerate() {
            match failure {
                Failure::Both => link.set_down(true),
                Failure::OneWay(way) => link.set_down(from == way),
                Failure::Lossy => *link = link.clone().with_loss(3_000),
            }
        }
        if failure != Failure::Lossy {
            let found = |w: &World| w.ends[B].count(Counter::SubflowStale) > 0;
            let took = world.run(MINUTE, found);
            // What was queued and under way still arrives, and is acknowledged.
            let under_way = Duration::from_millis(2 * 40 + 40);
            println!("{failure:?}: found in {took:?}, three timeouts or a second are {most:?}");
            assert!(
                took <= most + under_way,
                "{failure:?}: {took:?} of {most:?}"
            );
        }
        let before = world.ends[A].received;
        world.pass(Duration::from_secs(60));
        let brought = (world.ends[A].received - before) as u64 / 60;
        println!("{failure:?}: {brought} octets a second, alone {alone}");
        assert!(
            brought * 100 >= alone * 90,
            "{failure:?}: {brought} of {alone}"
        );
        world.ends[A].assert_intact();
    }
}

/// A path falls silent in mid-stream: what it carries goes by the other with its first timeout, well before it counts as lost.
#[test]
fn i_fail_what_a_path_carries_goes_by_the_other_with_its_first_timeout() {
    let none = Loss::Single(0);
    let lowest_rtt = Scheduler::LowestRtt(LowestRtt);
    let mut world = world(&lowest_rtt, 4 << 20, &[(20, none), (30, none)]);
    world.ends[B].send(200_000_000, false);
    world.pass(Duration::from_secs(4));
    let rto = world.ends[B]
        .conn
        .subflow(SubflowId(1))
        .unwrap()
        .tcb()
        .rto();
    world.paths[1]
        .iter_mut()
        .for_each(|link| link.set_down(true));
    // What was under way arrives, and then nothing that follows the gap; until that is closed.
    world.pass(Duration::from_millis(150));
    let before = world.ends[A].received;
    let took = world.run(MINUTE, |w| w.ends[A].received > before + 100_000);
    println!("{took:?} after 150 ms, the timer {rto:?}");
    assert_eq!(world.ends[B].count(Counter::SubflowStale), 0);
    assert!(took < rto + Duration::from_millis(200), "{took:?}, {rto:?}");
    world.ends[A].assert_intact();
}
