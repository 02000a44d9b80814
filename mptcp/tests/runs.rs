//! Segments that leave in a row share one mapping, which each repeats (RFC 8684 3.3.1): as devices that cut frames apart would
//! have it, and as the kernel's own sender does.

mod world;

use mptcp::connection::Limits;
use mptcp::option::{Dss, parse};
use mptcp::{Counter, Mode, MpOption, SubflowId, WireSeq};
use stack::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;
use world::{A, B, Link, Setup, World};

const MINUTE: Duration = Duration::from_secs(60);

/// A mapping that `A` declared, on a segment with text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Declared {
    path: usize,
    dsn: WireSeq,
    ssn: u32,
    len: usize,
    /// What of it is in the segment, from its start.
    from: usize,
    text: usize,
}

/// What `A` declares from now on, of mappings by DSS.
fn watch(world: &mut World) -> Rc<RefCell<Vec<Declared>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let declared = Rc::clone(&seen);
    let mut firsts = [None; 4];
    world.middlebox = Some(Box::new(move |transit| {
        let (segment, path) = (transit.segment, transit.path);
        let mut options = parse(&segment.options.mptcp).flatten();
        let mapping = options.find_map(|option| match option {
            MpOption::Dss(Dss { mapping, .. }) => mapping,
            _ => None,
        });
        if let (A, Some(mapping)) = (transit.from, mapping)
            && !segment.payload.is_empty()
        {
            // Where the subflow's numbers begin is known by the first of its mappings.
            let iss = *firsts[path].get_or_insert(segment.seq - mapping.ssn);
            declared.borrow_mut().push(Declared {
                path,
                dsn: mapping.dsn,
                ssn: mapping.ssn,
                len: mapping.len.into(),
                from: ((segment.seq - iss) - mapping.ssn) as usize,
                text: segment.payload.len(),
            });
        }
        true
    }));
    seen
}

/// A connection on which either end has shown the other that it takes mappings.
fn verified(setup: Setup, paths: Vec<[Link; 2]>) -> World {
    let mut world = World::new(setup, paths);
    world.ends[A].send(100, false);
    world.ends[B].send(100, false);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.ends[A].conn.mode(), Mode::Verified);
    world
}

fn first_subflow(world: &World) -> SubflowId {
    world.ends[A].conn.subflows().next().unwrap().id()
}

#[test]
fn segments_in_a_row_repeat_one_mapping_that_ends_with_them() {
    let mut world = verified(Setup::default(), vec![Link::pair(0, 10, 0)]);
    let seen = watch(&mut world);
    world.ends[A].send(3_000_000, true);
    world.ends[B].send(0, true);
    world.run(MINUTE, World::is_complete);
    world.ends[B].assert_intact();
    let seen = seen.borrow();
    let mut runs = seen.chunk_by(|a, b| (a.dsn, a.ssn, a.len) == (b.dsn, b.ssn, b.len));
    assert!(
        runs.clone().any(|run| run.len() > 10),
        "there are long ones"
    );
    let whole = |run: &[Declared]| {
        let ends = run.iter().scan(0, |end, part| {
            let follows = part.from == *end;
            *end += part.text;
            Some((follows, *end))
        });
        let ends: Vec<_> = ends.collect();
        ends.iter().all(|(follows, _)| *follows)
            && ends.last().map(|last| last.1) == Some(run[0].len)
    };
    assert!(
        runs.all(whole),
        "no mapping promises more than leaves with it"
    );
}

/// A receiver cannot say whether data is intact before it has all that a checksum is over.
#[test]
fn with_checksums_each_segment_has_its_own_mapping() {
    let setup = Setup {
        checksum: true,
        ..Setup::default()
    };
    let mut world = verified(setup, vec![Link::pair(0, 10, 0)]);
    let seen = watch(&mut world);
    world.ends[A].send(500_000, true);
    world.ends[B].send(0, true);
    world.run(MINUTE, World::is_complete);
    let seen = seen.borrow();
    assert!(seen.len() > 300);
    assert!(
        seen.iter()
            .all(|part| (part.from, part.text) == (0, part.len))
    );
}

/// Lost, sent again, cut by a smaller MTU, by the other path: a place that was declared stays.
#[test]
fn what_is_lost_of_a_run_keeps_its_place() {
    for seed in 1..20 {
        let setup = Setup {
            seed,
            ..Setup::default()
        };
        let paths = vec![Link::bad_pair(10, 300, 100), Link::bad_pair(25, 300, 100)];
        let mut world = verified(setup, paths);
        world.join_all(&[1]);
        let seen = watch(&mut world);
        world.ends[A].send(1_000_000, true);
        world.pass(Duration::from_millis(60));
        let id = first_subflow(&world);
        world.ends[A].conn.path_mtu(id, 700);
        world.ends[B].send(0, true);
        world.run(10 * MINUTE, World::is_complete);
        world.ends[B].assert_intact();
        let shared = |part: &&Declared| part.len > part.text && part.from > 0;
        assert!(seen.borrow().iter().filter(shared).count() > 20, "{seed}");
        assert_eq!(world.ends[B].count(Counter::DssNoMatch), 0, "{seed}");
    }
}

/// The cap of a path is no more than what it leaves, however many segments leave at once.
#[test]
fn a_run_stays_within_what_a_path_is_allowed() {
    let mut world = verified(Setup::default(), vec![Link::pair(0, 10, 0)]);
    let seen = watch(&mut world);
    let id = first_subflow(&world);
    // Three packets of 1,400 octets with headers of 20 and 20, timestamps and a DSS.
    world.ends[A].conn.set_allowance(id, Some(3 * 1_480));
    world.ends[A].send(14_000, false);
    world.pass(Duration::from_secs(1));
    let sent: usize = seen.borrow().iter().map(|part| part.text).sum();
    assert_eq!(sent, 3 * 1_400);
    assert_eq!(seen.borrow()[0].len, 3 * 1_400);
}

/// What no window holds yet may have to go by another path: it is given to none.
#[test]
fn a_run_stays_within_both_windows() {
    for (recv_buffer, most) in [(1_000_000, 14_600), (6_000, 6_000)] {
        let setup = Setup {
            limits: Limits {
                recv_buffer,
                ..Limits::default()
            },
            ..Setup::default()
        };
        let mut world = verified(setup, vec![Link::pair(0, 10, 0)]);
        let subflow = world.ends[A].conn.subflows().next().unwrap();
        assert_eq!(subflow.tcb().cwnd(), 14_600);
        let seen = watch(&mut world);
        world.ends[A].send(100_000, false);
        world.pass(Duration::from_millis(5));
        let seen = seen.borrow();
        assert!(seen[0].len > 2 * 1_400 && seen[0].len <= most, "{seen:?}");
    }
}
