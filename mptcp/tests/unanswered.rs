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
