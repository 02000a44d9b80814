//! What leaves in a row leaves as anything else would: a connection asks for more behind each segment with data (see
//! [`Tcb::output_more`](crate::tcp::Tcb::output_more)), its twin for one segment after another.

use super::rig::{Buf, Rig, plain, seg, slice, stamped, with_ts};
use crate::seq::SeqNum;
use crate::tcp::{Agreed, Item};
use crate::time::Duration;
use crate::wire::tcp::{Flags, OptBytes, OutSegment, SackBlock};
use proptest::prelude::*;

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    /// We send items of so many octets each, and so many of options, the last with PSH.
    Push {
        len: usize,
        upper: usize,
        count: u32,
    },
    /// The peer acknowledges so many eighths of what is under way, and reports so many beyond; its window; octets of its own.
    Ack {
        part: u32,
        beyond: u32,
        wnd: u16,
        len: usize,
    },
    /// So many milliseconds pass.
    Wait(u64),
    /// The path takes segments of so many octets only.
    Size(u16),
    /// We close.
    Finish,
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![6 => Just(900_usize), 2 => 1..1_000_usize];
    let upper = prop_oneof![4 => Just(0_usize), 4 => Just(28), 1 => Just(12)];
    let push = (len, upper, 1..12_u32);
    let part = prop_oneof![4 => Just(8_u32), 2 => 0..9_u32];
    let beyond = prop_oneof![6 => Just(0_u32), 1 => 0..8_u32];
    let wnd = prop_oneof![6 => Just(u16::MAX), 1 => Just(0), 1 => 0..9_000_u16];
    let ack = (
        part,
        beyond,
        wnd,
        prop_oneof![2 => Just(0_usize), 1 => Just(500)],
    );
    prop_oneof![
        8 => push.prop_map(|(len, upper, count)| Step::Push { len, upper, count }),
        8 => ack.prop_map(|(part, beyond, wnd, len)| Step::Ack { part, beyond, wnd, len }),
        3 => prop_oneof![Just(0_u64), 1..1_500_u64].prop_map(Step::Wait),
        1 => (500..1_000_u16).prop_map(Step::Size),
        1 => Just(Step::Finish),
    ]
}

fn act(rig: &mut Rig, step: &Step, ms: u64) {
    match *step {
        Step::Push { len, upper, count } => {
            for at in 0..count {
                let octets = (0..upper).map(|octet| u8::try_from(octet).unwrap() + 1);
                let upper = octets.collect::<OptBytes>();
                let len = len.min(rig.tcb.max_payload(upper.len()));
                rig.tcb.push(Item {
                    payload: slice(&vec![0x55; len]),
                    upper,
                    psh: at + 1 == count,
                });
            }
        },
        Step::Ack {
            part,
            beyond,
            wnd,
            len,
        } => {
            let eighth = rig.tcb.flight_size() / 8;
            let mut segment = seg(0, 0, Flags::ACK, &vec![7; len]);
            segment.seq = rig.tcb.rcv_nxt();
            segment.ack = if part == 8 {
                rig.tcb.snd_nxt()
            } else {
                rig.tcb.snd_una() + eighth * part
            };
            segment.wnd = wnd;
            if beyond > 0 && part + beyond <= 7 {
                let start: SeqNum = segment.ack + eighth;
                segment.options.sack.push(SackBlock {
                    start,
                    end: start + eighth * beyond,
                });
            }
            let clock = u32::try_from(1_000 + ms).unwrap();
            rig.input(&stamped(segment, clock, clock));
            rig.take_all();
        },
        Step::Wait(_) => rig.at(ms),
        Step::Size(smss) => rig.tcb.set_smss(smss),
        Step::Finish => rig.tcb.finish(),
    }
}

/// Everything that wants to leave now, and how much of it was asked for as more.
fn in_rows(rig: &mut Rig) -> (Vec<OutSegment<Buf>>, usize) {
    let (mut out, mut place, mut more) = (Vec::new(), OutSegment::default(), 0);
    loop {
        let has_data = place.payload.take().is_some();
        let now = rig.now;
        if has_data && rig.tcb.output_more(now, &mut place) {
            more += 1;
        } else {
            let Rig {
                tcb, rng, counters, ..
            } = rig;
            let cx = &mut crate::Cx { now, rng, counters };
            if !tcb.output_into(cx, 0, &mut place) {
                return (out, more);
            }
        }
        out.push(place.clone());
    }
}

fn agreed() -> impl Strategy<Value = Agreed> {
    (any::<bool>(), any::<bool>(), 0..8_u8).prop_map(|(ts, sack, ecn)| Agreed {
        sack,
        ecn: ecn == 0,
        ..if ts { with_ts(1_000) } else { plain() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn what_leaves_in_a_row_leaves_as_anything_else(
        agreed in agreed(),
        pacing in 0..8_u8,
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let [mut one, mut twin] = [Rig::new(&agreed), Rig::new(&agreed)];
        for rig in [&mut one, &mut twin] {
            if pacing == 0 {
                rig.tcb.set_pacing();
            }
        }
        let mut ms = 0;
        for step in steps {
            if let Step::Wait(more) = step {
                ms += more;
            }
            act(&mut one, &step, ms);
            act(&mut twin, &step, ms);
            let (sent, _) = in_rows(&mut one);
            prop_assert_eq!(format!("{sent:?}"), format!("{:?}", twin.drain()), "{:?}", step);
            prop_assert_eq!(format!("{:?}", one.tcb), format!("{:?}", twin.tcb), "{:?}", step);
            prop_assert_eq!(format!("{:?}", one.counters), format!("{:?}", twin.counters));
        }
    }
}

#[test]
fn all_of_a_burst_but_its_first_is_more() {
    let mut rig = Rig::new(&with_ts(1_000));
    let push = Step::Push {
        len: 900,
        upper: 28,
        count: 8,
    };
    act(&mut rig, &push, 0);
    let (sent, more) = in_rows(&mut rig);
    assert_eq!((sent.len(), more), (8, 7));
    let pushed = sent.iter().filter(|segment| segment.flags.has(Flags::PSH));
    assert_eq!(pushed.count(), 1, "the last");
    rig.now = rig.now + Duration::from_millis(1);
    act(&mut rig, &push, 1);
    let (_, more) = in_rows(&mut rig);
    assert!(more < 8, "the congestion window ends it");
}

/// A port writes headers where those of the received segment were: of what is sent first, and of that alone.
#[test]
fn what_is_sent_first_has_the_room_before_a_received_text() {
    for (len, cut) in [(500, false), (1_500, true)] {
        let mut rig = Rig::new(&plain());
        let mut segment = seg(0, 0, Flags::ACK, &vec![7; len]);
        segment.payload = segment.payload.narrow(54..len);
        segment.payload.only_from_here();
        rig.input(&segment);
        drop(segment);
        let (_, text) = rig.tcb.take().expect("it came in order");
        rig.tcb.send(text);
        let room = |rig: &mut Rig| {
            let sent = std::iter::from_fn(|| rig.output().filter(|sent| sent.payload.is_some()));
            let room = sent.map(|sent| sent.payload.is_some_and(|text| text.has_room()));
            room.collect::<Vec<_>>()
        };
        let first = if cut { vec![true, false] } else { vec![true] };
        assert_eq!(room(&mut rig), first, "{len}");
        rig.at(2_000);
        let again = room(&mut rig);
        assert!(!again.is_empty() && !again.contains(&true), "{again:?}");
    }
}
