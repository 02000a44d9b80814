//! The connection-level window: back-pressure, zero window and its recovery, bounded memory.

mod world;

use mptcp::connection::Limits;
use mptcp::option::parse;
use mptcp::{Counter, DataSeq, MpOption, WireSeq};
use stack::Counter as TcpCounter;
use stack::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;
use world::{A, B, Link, Setup, World};

const MINUTE: Duration = Duration::from_secs(60);

fn small(recv_buffer: u32) -> Setup {
    Setup {
        limits: Limits {
            recv_buffer,
            send_buffer: 200_000,
            ..Limits::default()
        },
        ..Setup::default()
    }
}

#[test]
fn m15_a_reader_that_stops_bounds_memory_and_one_that_goes_on_gets_all() {
    for buffer in [20_000, 100_000, 1_000_000] {
        for loss in [0, 100] {
            let paths = vec![Link::bad_pair(10, loss, 100), Link::bad_pair(40, loss, 100)];
            let mut world = World::new(small(buffer), paths);
            world.join_all(&[1]);
            world.ends[B].reads = false;
            world.ends[A].send(3_000_000, true);
            world.ends[B].send(50_000, true);
            for _ in 0..60 {
                world.pass(Duration::from_secs(1));
                let held = world.ends[B].conn.held();
                assert!(held <= buffer as usize + 2 * 1400, "{held} of {buffer}");
            }
            assert!(
                world.ends[B].conn.held() > buffer as usize / 2,
                "{}",
                world.describe()
            );
            // The stalled side's own data still got through.
            assert_eq!(world.ends[A].received, 50_000);
            world.ends[B].reads = true;
            world.run(10 * MINUTE, World::is_complete);
            world.ends[B].assert_intact();
        }
    }
}

/// RFC 8684 3.3.4: DATA_ACK plus window, over all subflows and in the order in which they leave, whatever its owner has room
/// for in the end.
#[test]
fn m15_the_right_edge_of_the_connections_window_never_moves_back() {
    let setup = small(1_000_000);
    let shift = setup.wscale;
    let paths = vec![Link::bad_pair(10, 50, 100), Link::bad_pair(40, 50, 100)];
    let mut world = World::new(setup, paths);
    world.join_all(&[1]);
    let edges = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&edges);
    world.middlebox = Some(Box::new(move |transit| {
        let options = parse(&transit.segment.options.mptcp).flatten();
        let ack = options.into_iter().find_map(|option| match option {
            MpOption::Dss(dss) => dss.data_ack,
            _ => None,
        });
        if let (B, Some(WireSeq::Full(ack))) = (transit.from, ack) {
            let window = u64::from(transit.segment.wnd) << shift;
            seen.borrow_mut().push(DataSeq(ack) + window);
        }
        true
    }));
    world.ends[A].send(5_000_000, true);
    world.ends[B].send(0, true);
    for room in [1_000_000, 200_000, 3_000, 0, 500_000, 0, 100_000].repeat(5) {
        world.ends[B].room = room;
        world.ends[B].reads = room % 200_000 == 0;
        world.pass(Duration::from_millis(100));
    }
    world.ends[B].room = 1_000_000;
    world.ends[B].reads = true;
    world.run(10 * MINUTE, World::is_complete);
    let edges = edges.borrow();
    assert!(edges.len() > 100, "{}", edges.len());
    // A window that is scaled is rounded down; a sender has to live with that (RFC 7323 2.4).
    let rounded = 1 << shift;
    let mut highest = edges[0];
    for edge in edges.iter() {
        assert!(*edge + rounded > highest, "{edge:?} after {highest:?}");
        highest = highest.max(*edge);
    }
}

/// RFC 8684 3.3.5: else the peer could never fill our window.
#[test]
fn the_send_buffer_is_as_large_as_the_receive_buffer() {
    let limits = Limits::default();
    assert!(limits.send_buffer >= limits.recv_buffer);
}

#[test]
fn t13_a_lost_window_update_is_made_up_for_by_probes() {
    let mut world = World::new(
        small(50_000),
        vec![Link::pair(0, 10, 0), Link::pair(0, 30, 0)],
    );
    world.join_all(&[1]);
    world.ends[B].reads = false;
    world.ends[A].send(400_000, true);
    world.ends[B].send(0, true);
    world.pass(Duration::from_secs(5));
    // The updates that follow the reader's return are lost.
    world.ends[B].reads = true;
    for path in &mut world.paths {
        path[B].set_down(true);
    }
    world.pass(Duration::from_millis(300));
    for path in &mut world.paths {
        path[B].set_down(false);
    }
    let took = world.run(5 * MINUTE, World::is_complete);
    assert!(took < MINUTE, "{took:?} {}", world.describe());
    world.ends[B].assert_intact();
}

#[test]
fn bug10_a_window_that_only_a_lost_subflow_announced_is_probed() {
    let mut world = World::new(
        small(50_000),
        vec![Link::pair(0, 10, 0), Link::pair(0, 40, 0)],
    );
    world.join_all(&[1]);
    world.ends[B].reads = false;
    // No more than the window holds, so that nothing waits at A.
    world.ends[A].send(50_000, false);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.ends[A].conn.queued(), 0);
    // The news that there is room again reaches A by path 0 alone.
    world.paths[1][B].set_down(true);
    world.ends[B].reads = true;
    world.pass(Duration::from_secs(1));
    world.paths[1][B].set_down(false);
    // Path 0 ends.
    world.middlebox = Some(Box::new(|transit| {
        let segment = transit.segment;
        if transit.path == 0 {
            segment.flags = stack::wire::tcp::Flags::RST;
            segment.options = stack::wire::tcp::Options::default();
            segment.payload = segment.payload.slice(0..0);
        }
        true
    }));
    world.ends[A].conn.set_backup(mptcp::SubflowId(0), true);
    world.ends[B].conn.set_backup(mptcp::SubflowId(0), true);
    world.pass(Duration::from_secs(1));
    assert!(
        world.ends.iter().all(|e| e.conn.subflows().count() == 1),
        "{}",
        world.describe()
    );
    world.ends[A].send(100_000, true);
    world.run(MINUTE, |w| w.ends[B].received == 150_000);
    world.ends[B].assert_intact();
}

#[test]
fn m21_a_window_that_only_a_backup_announced_is_probed() {
    let mut world = World::new(
        small(50_000),
        vec![Link::pair(0, 40, 0), Link::pair(0, 10, 0)],
    );
    world.join_all(&[1]);
    world.ends[B].reads = false;
    world.ends[A].send(50_000, false);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.ends[A].conn.queued(), 0);
    // By path 1 A knows of no room,
    world.ends[B].send(1_400, false);
    world.pass(Duration::from_secs(1));
    // and the news that there is some again reach it by path 0 alone, which becomes a backup.
    world.paths[1][B].set_down(true);
    world.ends[B].reads = true;
    world.pass(Duration::from_secs(1));
    world.paths[1][B].set_down(false);
    world.ends[B]
        .conn
        .set_backup(mptcp::SubflowId::INITIAL, true);
    world.pass(Duration::from_secs(1));
    let first = world.ends[A].conn.subflow(mptcp::SubflowId::INITIAL);
    assert!(first.unwrap().backup());
    world.ends[A].send(100_000, false);
    let took = world.run(MINUTE, |w| w.ends[B].received == 150_000);
    assert!(took < Duration::from_secs(2), "{took:?}");
    world.ends[B].assert_intact();
}

/// RFC 9293 3.8.6.1, RFC 8684 3.3.5: each subflow's own window is heeded, so each is probed, also while others carry data.
#[test]
fn t13_a_window_update_that_is_lost_on_one_of_two_paths_costs_no_path() {
    let paths = vec![
        Link::pair(200_000, 10, 50_000),
        Link::pair(200_000, 10, 50_000),
    ];
    let mut world = World::new(small(50_000), paths);
    world.join_all(&[1]);
    world.ends[B].reads = false;
    world.ends[A].send(4_000_000, true);
    world.ends[B].send(0, true);
    world.pass(Duration::from_secs(5));
    world.paths[1][B].set_down(true);
    world.ends[B].reads = true;
    world.pass(Duration::from_millis(500));
    world.paths[1][B].set_down(false);
    let carried = |world: &World| {
        let second = world.ends[A].conn.subflow(mptcp::SubflowId(1));
        second.expect("a second subflow").bytes_out()
    };
    let before = carried(&world);
    world.pass(Duration::from_secs(5));
    let (after, probes) = (
        carried(&world),
        world.ends[A].tcp.get(TcpCounter::TcpKeepalive),
    );
    assert!(after > before + 500_000, "{before} {after}");
    assert!(probes > 0);
    world.run(MINUTE, World::is_complete);
    world.ends[B].assert_intact();
    // Nobody asks for what is open.
    assert_eq!(world.ends[A].tcp.get(TcpCounter::TcpKeepalive), probes);
}

#[test]
fn a_slow_reader_in_small_steps() {
    let mut world = World::new(
        small(30_000),
        vec![Link::pair(0, 10, 0), Link::pair(0, 30, 0)],
    );
    world.join_all(&[1]);
    world.ends[A].send(1_000_000, true);
    world.ends[B].send(0, true);
    for step in 0..400 {
        world.ends[B].reads = step % 2 == 0;
        world.pass(Duration::from_millis(40));
    }
    world.ends[B].reads = true;
    world.run(MINUTE, World::is_complete);
    world.ends[B].assert_intact();
}

#[test]
fn m29_a_slow_path_does_not_block_a_small_window() {
    // 1000 ms beside 10 ms with a window far below the sum of the products: never much slower than the fast one alone.
    let paths = || {
        vec![
            Link::pair(2_500_000, 5, 50_000),
            Link::pair(500_000, 500, 300_000),
        ]
    };
    let mut alone = World::new(small(400_000), paths());
    let fast = alone.transfer([10_000_000, 0], 10 * MINUTE);
    let mut both = World::new(small(400_000), paths());
    both.join_all(&[1]);
    let together = both.transfer([10_000_000, 0], 10 * MINUTE);
    println!("alone {fast:?} together {together:?}");
    assert!(
        together < fast * 3 / 2 + Duration::from_secs(3),
        "alone {fast:?} together {together:?} {}",
        both.describe()
    );
}

#[test]
fn one_octet_segments_are_bounded_too() {
    let mut world = World::new(small(100_000), vec![Link::pair(0, 1, 0)]);
    world.ends[A].piece = 1;
    world.ends[B].reads = false;
    world.ends[A].send(5_000, true);
    world.ends[B].send(0, true);
    world.pass(Duration::from_secs(20));
    world.ends[B].reads = true;
    world.run(10 * MINUTE, World::is_complete);
    world.ends[B].assert_intact();
}

#[test]
fn bug6_one_lost_segment_before_thousands_with_a_mapping_each() {
    // With checksums every mapping is kept whole until its data is in order.
    let mut world = World::new(
        Setup {
            checksum: true,
            limits: Limits {
                recv_buffer: 16 << 20,
                send_buffer: 16 << 20,
                ..Limits::default()
            },
            ..Setup::default()
        },
        vec![Link::pair(50_000_000, 50, 100_000_000)],
    );
    let mut count = 0;
    world.middlebox = Some(Box::new(move |transit| {
        count += i32::from(transit.segment.payload.len() > 100);
        count != 4000
    }));
    world.transfer([11_000_000, 0], MINUTE);
}

#[test]
fn m22_a_peer_that_ignores_mp_fail_and_windows_cannot_make_us_hold_without_bound() {
    for piece in [1400, 20] {
        let mut world = World::new(
            Setup {
                checksum: true,
                limits: Limits {
                    recv_buffer: 200_000,
                    send_buffer: 64 << 20,
                    ..Limits::default()
                },
                ..Setup::default()
            },
            vec![Link::pair(0, 5, 0)],
        );
        world.ends[A].piece = piece;
        let mut count = 0;
        world.middlebox = Some(Box::new(move |transit| {
            let segment = transit.segment;
            if transit.from == B {
                // All that would hold A back.
                let keep = parse(&segment.options.mptcp).flatten();
                let keep = keep.filter(|option| matches!(option, MpOption::Dss(_)));
                let options: Vec<_> = keep.collect();
                segment.options.mptcp.clear();
                for option in options {
                    option.emit(&mut segment.options.mptcp).unwrap();
                }
                segment.wnd = u16::MAX;
            }
            count += i32::from(!segment.payload.is_empty());
            if count == 50 && !segment.payload.is_empty() {
                let mut octets = segment.payload.bytes().to_vec();
                octets[10] ^= 0x40;
                segment.payload = world::slice(octets);
            }
            true
        }));
        world.ends[A].send(3_000_000, false);
        world.ends[B].send(10, false);
        let mut most = 0;
        for _ in 0..400 {
            world.pass(Duration::from_millis(10));
            most = most.max(world.ends[B].conn.held());
        }
        assert_eq!(world.ends[B].count(Counter::MpFailTx), 1);
        assert!(most <= 200_000 + 20_000, "{most} octets held");
        let pieces = most / piece;
        assert!(pieces <= 2 * 200_000 / 128, "{pieces} pieces held");
        assert_eq!(world.ends[B].count(Counter::DssUncovered), 1);
    }
}

/// With a small shift the field holds less than the room that there is: saying so again and again would have both ends
/// answer each other's acknowledgments for ever.
#[test]
fn a_window_larger_than_its_field_is_announced_once() {
    for wscale in [0, 3] {
        let setup = Setup {
            wscale,
            ..Setup::default()
        };
        let mut world = World::new(setup, vec![Link::pair(0, 10, 0), Link::pair(0, 20, 0)]);
        world.join_all(&[1]);
        world.ends[A].send(200_000, false);
        world.ends[B].send(200_000, false);
        world.pass(Duration::from_secs(2));
        assert_eq!(world.ends[A].received, 200_000);
        let sent = world.sent_segments;
        world.pass(Duration::from_secs(10));
        assert_eq!(world.sent_segments, sent);
    }
}
