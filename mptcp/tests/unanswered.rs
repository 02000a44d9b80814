//! MP_FAIL on the only subflow (RFC 8684 3.7) whose answer is lost, or comes late, or never.

mod world;

use mptcp::option::parse;
use mptcp::{Counter, Mode, MpOption};
use stack::time::Duration;
use stack::wire::tcp::{Flags, Segment};
use world::{A, B, Setup, Transit, World, one_path};

const MINUTE: Duration = Duration::from_secs(60);

/// Changes an octet of its payload.
fn change(segment: &mut Segment<world::Buf>) {
    let mut octets = segment.payload.bytes().to_vec();
    octets[50] ^= 0x40;
    segment.payload = world::slice(octets);
}

/// Whether a segment has MP_FAIL.
fn fails(transit: &Transit<'_>) -> bool {
    let mut options = parse(&transit.segment.options.mptcp).flatten();
    options.any(|option| matches!(option, MpOption::Fail { .. }))
}

fn modes(world: &World) -> [Mode; 2] {
    world.ends.each_ref().map(|end| end.conn.mode())
}

/// A world with checksums in which a segment of A's data was changed, the first of all or not, and since then the path is
/// down: both ways, or away from one end alone.
fn changed_before_an_outage(first: bool, down: &'static [usize]) -> World {
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    if !first {
        world.ends.iter_mut().for_each(|end| end.send(1_400, false));
        world.run(MINUTE, |w| w.ends.iter().all(|end| end.received == 1_400));
        world.pass(Duration::from_secs(1));
    }
    let mut changed = false;
    world.middlebox = Some(Box::new(move |transit| {
        let passes = !changed || !down.contains(&transit.from);
        if transit.from == A && transit.segment.payload.len() > 100 && !changed {
            changed = true;
            change(transit.segment);
        }
        passes
    }));
    world.ends[A].send(800, false);
    world
}

#[test]
fn m22_an_outage_after_mp_fail_is_no_answer_to_it() {
    // How long the path is down, and away from whom.
    let outages: [(u64, &[usize]); _] = [
        (7, &[A, B]),
        (20, &[A, B]),
        (20, &[A]),
        (20, &[B]),
        (60, &[A, B]),
        (90, &[A, B]),
    ];
    for ((secs, down), first) in outages.into_iter().flat_map(|o| [(o, true), (o, false)]) {
        let mut world = changed_before_an_outage(first, down);
        let note = format!("{secs} s, down from {down:?}, the first mapping {first}");
        world.pass(Duration::from_secs(secs));
        world.middlebox = None;
        let before = if first { 0 } else { 1_400 };
        world.run(2 * MINUTE, |w| w.ends[B].received == before + 800);
        assert_eq!(modes(&world), [Mode::Fallback; 2], "{note}");
        // As often in each of five waits as every 200 ms in the first five seconds, and a few times when it is there again.
        let sent = world.ends[B].count(Counter::MpFailTx);
        assert!(sent <= 5 * 25 + 5, "{note}: {sent}");
        world.ends.iter_mut().for_each(|end| end.send(50_000, true));
        world.run(2 * MINUTE, World::is_complete);
        world.run(MINUTE, World::is_closed);
    }
}

#[test]
fn m22_an_outage_without_an_end_gives_an_infinite_mapping_up() {
    let mut world = changed_before_an_outage(false, &[A, B]);
    world.pass(2 * MINUTE);
    assert!(!world.ends[B].conn.is_closed(), "{}", world.describe());
    world.run(MINUTE, |w| w.ends[B].conn.is_closed());
    assert_eq!(world.ends[B].count(Counter::DssUncovered), 1);
}

/// Seed 307478: a peer that has sent all answers an MP_FAIL, which is lost, and ends its stream with a FIN, which comes.
#[test]
fn m22_a_fin_that_comes_before_the_answer_to_mp_fail_ends_the_stream() {
    let mut world = one_path(Setup {
        checksum: true,
        ..Setup::default()
    });
    let (mut changed, mut asked, mut ended) = (false, false, false);
    world.middlebox = Some(Box::new(move |transit| {
        if transit.from == B {
            // Asked once, and again when the end has come.
            return !fails(&transit) || ended || !std::mem::replace(&mut asked, true);
        }
        if transit.segment.payload.len() > 100 && !changed {
            changed = true;
            change(transit.segment);
        }
        let passes = ended || !fails(&transit);
        ended |= passes && transit.segment.flags.has(Flags::FIN);
        passes
    }));
    world.ends[A].send(1_400, true);
    world.ends[B].send(0, true);
    world.run(MINUTE, World::is_complete);
    assert!(world.ends[B].count(Counter::MpFailTx) > 1);
    assert_eq!(modes(&world), [Mode::Fallback; 2], "{}", world.describe());
    world.run(MINUTE, World::is_closed);
}
