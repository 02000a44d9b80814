//! Coupled congestion control in whole connections: no more of a shared bottleneck than one TCP, no less than the best
//! path alone, and away from the path that loses more.

mod world;

use mptcp::Coupling;
use stack::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;
use world::{A, B, Link, Setup, World};

const COUPLED: [Coupling; 3] = [Coupling::Lia, Coupling::Olia, Coupling::Balia];

/// A connection over `paths` on which B sends all the time.
fn world(coupling: Coupling, seed: u64, paths: Vec<[Link; 2]>) -> World {
    let joins: Vec<usize> = (1..paths.len()).collect();
    let setup = Setup {
        seed,
        ..Setup::default()
    };
    let mut world = World::new(setup, paths);
    for end in &mut world.ends {
        end.conn.set_coupling(coupling);
    }
    world.join_all(&joins);
    world
}

/// Octets that A gets in `measured` seconds after `before`, for each of some connections side by side.
fn received(worlds: &mut [World], before: u64, measured: u64) -> Vec<usize> {
    for world in &mut *worlds {
        world.ends[B].send(2_000_000_000, false);
    }
    World::pass_together(worlds, Duration::from_secs(before));
    let start: Vec<usize> = worlds.iter().map(|w| w.ends[A].received).collect();
    World::pass_together(worlds, Duration::from_secs(measured));
    let ends = worlds.iter().zip(start);
    ends.map(|(w, start)| w.ends[A].received - start).collect()
}

/// What a connection with two subflows gets of a bottleneck of 10 Mbit/s, as a part of what one TCP connection beside
/// it gets.
fn beside_tcp(coupling: Coupling, seed: u64) -> f64 {
    // A queue of one product of bandwidth and delay: 40 ms.
    let shared = Rc::new(RefCell::new(Link::pair(1_250_000, 0, 50_000)));
    let line = || Link::pair(0, 20, 0).map(|link| link.with_jitter(2));
    let mut worlds = [
        world(coupling, seed, vec![line(), line()]),
        // Alone, a window that is coupled is Reno's.
        world(Coupling::Lia, seed + 100, vec![line()]),
    ];
    // The first has joined by now: both begin at once.
    let now = worlds[0].now;
    worlds[1].pass(now.since(worlds[1].now));
    for world in &mut worlds {
        world.bottleneck = Some(shared.clone());
    }
    let got = received(&mut worlds, 10, 60);
    got[0] as f64 / got[1] as f64
}

#[test]
fn m28_two_subflows_at_one_bottleneck_take_what_one_tcp_takes() {
    let mean = |coupling| (1..=4).map(|seed| beside_tcp(coupling, seed)).sum::<f64>() / 4.0;
    let uncoupled = mean(Coupling::Uncoupled);
    println!("uncoupled: {uncoupled:.2}");
    assert!(
        uncoupled > 1.5,
        "{uncoupled}: the bottleneck is no shared one"
    );
    for coupling in COUPLED {
        let share = mean(coupling);
        println!("{coupling:?}: {share:.2}");
        assert!((0.8..=1.2).contains(&share), "{coupling:?}: {share}");
    }
}

#[test]
fn m28_two_paths_bring_no_less_than_the_best_alone() {
    let path = |rate: u64, rtt: u64| {
        Link::pair(rate, rtt / 2, rate * rtt / 1000).map(|link| link.with_jitter(1))
    };
    for (fast, slow) in [
        ((1_250_000, 40), (250_000, 100)),
        ((1_250_000, 100), (250_000, 20)),
    ] {
        let (fast, slow) = (path(fast.0, fast.1), path(slow.0, slow.1));
        let mut alone = [world(Coupling::Lia, 1, vec![fast.clone()])];
        let alone = received(&mut alone, 5, 40)[0] as f64;
        for coupling in COUPLED {
            let mut both = [world(coupling, 1, vec![fast.clone(), slow.clone()])];
            let both = received(&mut both, 5, 40)[0] as f64 / alone;
            println!("{coupling:?}: {both:.2} of the best alone");
            assert!(both >= 1.0, "{coupling:?}: {both} of the best alone");
        }
    }
}

/// The part of the data that goes by the second of two paths that differ in loss alone: 2 and 20 of 1,000.
fn by_the_worse(coupling: Coupling) -> f64 {
    let path = |loss| Link::pair(0, 20, 0).map(|link| link.with_jitter(1).with_loss(loss));
    let mut worlds = [world(coupling, 1, vec![path(20), path(200)])];
    received(&mut worlds, 10, 110);
    let carried = [0, 1].map(|path| worlds[0].paths[path][B].carried() as f64);
    carried[1] / (carried[0] + carried[1])
}

#[test]
fn m28_loss_moves_traffic_to_the_other_path() {
    // By 1 / sqrt(loss) each on its own: 24 of 100; linked by 1 / loss: 9 of 100.
    let uncoupled = by_the_worse(Coupling::Uncoupled);
    println!("uncoupled: {uncoupled:.3}");
    for coupling in COUPLED {
        let part = by_the_worse(coupling);
        println!("{coupling:?}: {part:.3}");
        assert!(
            part < uncoupled * 0.75,
            "{coupling:?}: {part} of {uncoupled}"
        );
    }
}

/// The part of 60 Mbit/s that two lines of 20 and 40 bring together, each losing `loss` of 10,000 packets.
fn of_both_lines(coupling: Coupling, loss: u32) -> f64 {
    let path = |rate: u64, rtt: u64| {
        Link::pair(rate, rtt / 2, rate * rtt / 1000).map(|link| link.with_loss(loss))
    };
    let mut worlds = [world(
        coupling,
        1,
        vec![path(2_500_000, 30), path(5_000_000, 60)],
    )];
    let got = received(&mut worlds, 5, 40)[0] as f64;
    got / (40.0 * 7_500_000.0 * 14.0 / 15.0)
}

#[test]
fn m28_two_lines_that_share_nothing_are_filled_best_by_windows_of_their_own() {
    // Why the default is uncoupled: an access line's own queue and losses say nothing of the other line.
    for loss in [0, 3, 10] {
        let uncoupled = of_both_lines(Coupling::Uncoupled, loss);
        println!("loss of {loss}: uncoupled {uncoupled:.3}");
        assert!(loss > 0 || uncoupled > 0.9, "{uncoupled}");
        for coupling in COUPLED {
            let coupled = of_both_lines(coupling, loss);
            println!("loss of {loss}: {coupling:?} {coupled:.3}");
            let most = if loss == 0 { 1.02 } else { 0.8 };
            let part = coupled / uncoupled;
            assert!(part < most, "{coupling:?}: {part} of uncoupled");
        }
    }
}
