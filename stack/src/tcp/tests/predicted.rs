//! What is predicted is taken as anything else would be (see [`Tcb::input`](crate::tcp::Tcb::input)): a connection and its
//! twin get the same segments, the twin's with URG, which means nothing to us but keeps them from being predicted.

use super::rig::{Buf, Rig, plain, seg, stamped, with_ts};
use crate::seq::SeqNum;
use crate::tcp::{Agreed, Verdict};
use crate::time::Duration;
use crate::wire::tcp::{Flags, SackBlock, Segment};
use proptest::prelude::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// A segment, so far from RCV.NXT, with so many octets; what it acknowledges of ours, in quarters; its window; its age.
    Segment {
        at: i32,
        len: usize,
        acks: u32,
        wnd: u16,
        flags: u8,
        age: u32,
    },
    /// We send so many octets.
    Push(usize),
    /// We take what came.
    Take,
    /// We can hold so many octets more.
    Room(u32),
    /// So many milliseconds pass.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let at = prop_oneof![8 => Just(0), 1 => Just(1_000), 1 => -1_500..3_000];
    let len = prop_oneof![4 => Just(1_000_usize), 2 => 1..1_400_usize, 1 => Just(0)];
    let wnd = prop_oneof![6 => Just(u16::MAX), 1 => Just(0), 1 => 0..4_000_u16];
    let flags = prop_oneof![8 => Just(0), 4 => Just(Flags::PSH.0), 1 => Just(Flags::FIN.0)];
    let acks = prop_oneof![3 => Just(4_u32), 1 => 0..5_u32];
    let age = prop_oneof![8 => Just(0_u32), 1 => 0..20_u32];
    let segment = (at, len, acks, wnd, flags, age);
    prop_oneof![
        12 => segment.prop_map(|(at, len, acks, wnd, flags, age)| Step::Segment { at, len, acks, wnd, flags, age }),
        1 => (1..2_500_usize).prop_map(Step::Push),
        3 => Just(Step::Take),
        1 => (0..80_000_u32).prop_map(Step::Room),
        3 => (0..1_500_u64).prop_map(Step::Wait),
    ]
}

/// Does `step`, and says what came of it: all of the connection, and all that it sends.
fn act(rig: &mut Rig, step: &Step, ms: u64, twin: bool) -> (Option<Verdict>, String) {
    let mut verdict = None;
    match *step {
        Step::Segment {
            at,
            len,
            acks,
            wnd,
            flags,
            age,
        } => {
            let urg = if twin { Flags::URG } else { Flags(0) };
            let flags = Flags::ACK.with(Flags(flags)).with(urg);
            let mut segment = seg(0, 0, flags, &vec![7; len]);
            segment.seq = rig.tcb.rcv_nxt() + at.cast_unsigned();
            segment.ack = rig.tcb.snd_una() + rig.tcb.flight_size() / 4 * acks;
            segment.wnd = wnd;
            if age == 19 {
                let start = SeqNum(segment.ack.0);
                segment.options.sack.push(SackBlock {
                    start,
                    end: start + 100,
                });
            }
            let clock = u32::try_from(1_000 + ms).unwrap();
            verdict = Some(rig.input(&stamped(segment, clock - age, clock)));
        },
        Step::Push(len) => rig.push(len.min(1_000)),
        Step::Take => {
            rig.take_all();
        },
        Step::Room(octets) => rig.tcb.set_recv_room(octets),
        Step::Wait(_) => rig.at(ms),
    }
    let out = rig.drain();
    (verdict, format!("{:?} {out:?}", rig.tcb))
}

fn agreed() -> impl Strategy<Value = Agreed> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(ts, sack, ecn)| Agreed {
        sack,
        ecn,
        ..if ts { with_ts(1_000) } else { plain() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_predicted_is_taken_as_anything_else(
        agreed in agreed(),
        keepalive in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut rigs = [Rig::new(&agreed), Rig::new(&agreed)];
        for rig in &mut rigs {
            if keepalive {
                rig.tcb.set_keepalive(rig.now, Duration::from_secs(2));
            }
        }
        let mut ms = 0;
        for step in steps {
            if let Step::Wait(more) = step {
                ms += more;
            }
            let [one, twin] = &mut rigs;
            prop_assert_eq!(act(one, &step, ms, false), act(twin, &step, ms, true), "{:?}", step);
        }
    }
}

/// A train: so many segments that come next, each of so many octets, with one header but for the number.
fn train(rig: &Rig, ms: u64, count: u32, len: u32, wnd: u16) -> Vec<Segment<Buf>> {
    let clock = u32::try_from(1_000 + ms).unwrap();
    let next = |at| {
        let mut segment = seg(0, 0, Flags::ACK, &vec![7; len as usize]);
        segment.seq = rig.tcb.rcv_nxt() + at * len;
        segment.ack = rig.tcb.snd_una() + rig.tcb.flight_size();
        segment.wnd = wnd;
        stamped(segment, clock, clock)
    };
    (0..count).map(next).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_text_of_a_train_is_taken_as_its_segments(
        agreed in agreed(),
        keepalive in any::<bool>(),
        steps in proptest::collection::vec((step(), 0..5_u32, 1..1_400_u32, 0..3_u16), 1..40),
    ) {
        let [mut one, mut twin] = [Rig::new(&agreed), Rig::new(&agreed)];
        for rig in [&mut one, &mut twin] {
            if keepalive {
                rig.tcb.set_keepalive(rig.now, Duration::from_secs(2));
            }
        }
        let mut ms = 0;
        for (step, count, len, wnd) in steps {
            if let Step::Wait(more) = step {
                ms += more;
            }
            prop_assert_eq!(act(&mut one, &step, ms, false), act(&mut twin, &step, ms, true));
            let segments = train(&one, ms, count, len, wnd * 20_000);
            let mut leads = false;
            for segment in &segments {
                leads &= one.tcb.takes_more(segment.payload.len());
                if leads {
                    let now = one.now;
                    one.tcb.input_more(now, segment.payload.clone());
                } else {
                    leads = one.tcb.leads(segment);
                    one.input(segment);
                }
                twin.input(&Segment {
                    flags: segment.flags.with(Flags::URG),
                    ..segment.clone()
                });
            }
            prop_assert_eq!(format!("{:?}", one.tcb), format!("{:?}", twin.tcb), "{} of {}", count, len);
            prop_assert_eq!(format!("{:?}", one.drain()), format!("{:?}", twin.drain()));
        }
    }
}

#[test]
fn data_of_a_peer_whom_we_send_nothing_is_predicted() {
    let mut rig = Rig::new(&with_ts(1_000));
    rig.tcb.set_keepalive(rig.now, Duration::from_secs(2));
    let mut next = |ms: u32| {
        let mut segment = seg(0, 0, Flags::ACK.with(Flags::PSH), &[7; 1_000]);
        segment.seq = rig.tcb.rcv_nxt();
        let segment = stamped(segment, 1_000 + ms, 0);
        let predicted = rig.tcb.is_predicted(&segment);
        rig.input(&segment);
        rig.take_all();
        rig.drain();
        predicted
    };
    assert!(next(0) && next(0) && next(5));
    assert!(!next(4), "an older timestamp");
    rig.push(1_000);
    rig.drain();
    let segment = stamped(seg(3_000, 0, Flags::ACK, &[7; 1_000]), 1_005, 0);
    assert!(
        !rig.tcb.is_predicted(&segment),
        "what is ours is not acknowledged"
    );
}
