//! Data over one to three subflows: every octet once, in order, whatever the paths do.

mod world;

use mptcp::Counter;
use stack::time::Duration;
use world::{A, B, Link, Setup, World};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn one_subflow_both_ways_at_once() {
    let mut world = World::new(Setup::default(), vec![Link::pair(0, 10, 0)]);
    world.transfer([300_000, 200_000], MINUTE);
}

#[test]
fn m29_two_subflows_both_ways_at_once_with_loss_and_reordering() {
    for seed in 0..12 {
        for loss in [0, 100, 500] {
            let paths = vec![
                Link::bad_pair(10, loss, 300),
                Link::bad_pair(40, loss, 300),
                Link::bad_pair(25, loss, 0),
            ];
            let mut world = World::new(
                Setup {
                    seed,
                    ..Setup::default()
                },
                paths,
            );
            world.join_all(if seed % 2 == 0 { &[1] } else { &[1, 2] });
            world.transfer([400_000, 300_000], 10 * MINUTE);
        }
    }
}

#[test]
fn m29_two_paths_carry_the_sum_of_their_rates() {
    // 20 and 40 Mbit/s, 30 and 60 ms: the demo's lines.
    for (delays, from) in [([15, 30], B), ([15, 30], A), ([30, 7], B)] {
        let paths = vec![
            Link::pair(2_500_000, delays[0], 150_000),
            Link::pair(5_000_000, delays[1], 300_000),
        ];
        let mut world = World::new(Setup::default(), paths);
        world.join_all(&[1]);
        // Let it leave slow start, then measure.
        world.ends[from].send(200_000_000, false);
        world.pass(Duration::from_secs(3));
        let before = world.ends[1 - from].received;
        world.pass(Duration::from_secs(15));
        let got = world.ends[1 - from].received - before;
        let sum = 7_500_000 * 15 * 1400 / 1500;
        let share = got * 1000 / sum;
        println!("{delays:?}: {share} of 1000, {}", world.describe());
        assert!(
            share >= 950,
            "{share} of 1000 of the sum: {}",
            world.describe()
        );
    }
}

#[test]
fn m13_data_sequence_numbers_wrap_at_32_bits() {
    // A key whose initial number lies within a mebioctet of a wrap is found by trying some.
    let left = |octets: [u8; 8]| {
        let low = mptcp::Key::new(octets).idsn(mptcp::Version::V1).0 & 0xffff_ffff;
        usize::try_from(0xffff_ffff - low).unwrap()
    };
    let key = (0u64..)
        .map(u64::to_be_bytes)
        .find(|&key| left(key) < 1 << 20)
        .unwrap();
    let setup = Setup {
        keys: [key, [0x21; 8]],
        ..Setup::default()
    };
    let mut world = World::new(
        setup,
        vec![Link::pair(0, 5, 0), Link::bad_pair(9, 100, 300)],
    );
    world.join_all(&[1]);
    world.transfer([left(key) + 2_000_000, 100_000], 10 * MINUTE);
}

#[test]
fn m29_a_path_that_dies_loses_nothing() {
    for dead in [0, 1] {
        let paths = vec![
            Link::pair(1_000_000, 10, 100_000),
            Link::pair(1_000_000, 30, 100_000),
        ];
        let mut world = World::new(Setup::default(), paths);
        world.join_all(&[1]);
        world.ends[A].send(6_000_000, true);
        world.ends[B].send(6_000_000, true);
        world.pass(Duration::from_secs(1));
        for link in &mut world.paths[dead] {
            link.set_down(true);
        }
        let took = world.run(MINUTE, World::is_complete);
        assert!(took < Duration::from_secs(12), "{took:?}");
        world.ends.iter().for_each(world::End::assert_intact);
        assert!(world.ends[A].count(Counter::Reinjected) > 0);
    }
}

#[test]
fn m29_a_dead_path_is_found_within_three_rtos_or_a_second() {
    // Round trips of 20 ms, where a second is more, and of 600 ms, where three timeouts are.
    for (delay, patience) in [(10, 1_000), (300, 2_700)] {
        let paths = vec![
            Link::pair(1_000_000, 10, 100_000),
            Link::pair(1_000_000, delay, 400_000),
        ];
        let mut world = World::new(Setup::default(), paths);
        world.join_all(&[1]);
        world.ends[A].send(60_000_000, false);
        world.pass(Duration::from_secs(8));
        let most = world.ends[A]
            .conn
            .subflow(mptcp::SubflowId(1))
            .unwrap()
            .tcb()
            .rto()
            * 3;
        let most = most.max(Duration::from_secs(1));
        world.paths[1]
            .iter_mut()
            .for_each(|link| link.set_down(true));
        let took = world.run(MINUTE, |w| w.ends[A].count(Counter::SubflowStale) > 0);
        // What was under way still arrives, and its acknowledgments.
        let under_way = Duration::from_millis(2 * delay) + Duration::from_millis(400);
        println!("{took:?}, three timeouts {most:?}");
        assert!(took <= most + under_way, "{took:?} of {most:?}");
        assert!(
            took >= Duration::from_millis(patience / 2),
            "{took:?}: too early"
        );
        // From then on the other path carries all, what was lost with this one too.
        let at = world.ends[B].received;
        world.pass(Duration::from_secs(5));
        assert!(
            world.ends[B].received - at > 4_000_000,
            "{}",
            world.describe()
        );
        world.ends[B].assert_intact();
    }
}

#[test]
fn m29_a_path_that_comes_back_is_used_again() {
    let paths = vec![
        Link::pair(1_000_000, 10, 100_000),
        Link::pair(1_000_000, 30, 100_000),
    ];
    let mut world = World::new(Setup::default(), paths);
    world.join_all(&[1]);
    world.ends[A].send(40_000_000, true);
    world.ends[B].send(0, true);
    world.pass(Duration::from_secs(2));
    world.paths[1]
        .iter_mut()
        .for_each(|link| link.set_down(true));
    world.pass(Duration::from_secs(5));
    world.paths[1]
        .iter_mut()
        .for_each(|link| link.set_down(false));
    world.pass(Duration::from_secs(10));
    let before = world.paths[1][A].carried();
    world.pass(Duration::from_secs(5));
    assert!(
        world.paths[1][A].carried() - before > 3_000_000,
        "{}",
        world.describe()
    );
    world.run(MINUTE, World::is_complete);
    world.ends[B].assert_intact();
}

#[test]
fn m17_checksums_on_both_ways() {
    for seed in 0..4 {
        let setup = Setup {
            seed,
            checksum: true,
            ..Setup::default()
        };
        let mut world = World::new(
            setup,
            vec![Link::bad_pair(10, 200, 300), Link::bad_pair(30, 200, 300)],
        );
        world.join_all(&[1]);
        world.transfer([200_000, 300_000], 10 * MINUTE);
        assert_eq!(world.ends[A].count(Counter::DssChecksumError), 0);
    }
}

#[test]
fn large_slices_are_cut_into_segments() {
    for timestamps in [false, true] {
        let setup = Setup {
            timestamps,
            ..Setup::default()
        };
        let mut world = World::new(setup, vec![Link::pair(0, 10, 0), Link::pair(0, 20, 0)]);
        world.join_all(&[1]);
        world.ends[A].piece = 40_000;
        world.ends[B].piece = 7;
        world.transfer([1_000_000, 20_000], MINUTE);
    }
}
