//! What is predicted is taken as anything else would be: a connection and its twin get the same segments, the twin's with
//! URG, which means nothing to us but keeps them from being predicted. And what leaves in a row leaves as anything else
//! would: the twin is asked for one segment after another.

use super::super::{Connection, Mode, Outcome, SubflowId};
use crate::Cx;
use crate::counters::Counter;
use crate::option::{Dss, Mapping, MpOption, Prio, lone_dss};
use crate::subflow::Subflow;
use crate::testing::{Buf, params, slice, tuple};
use crate::types::{Role, WireSeq};
use proptest::prelude::*;
use stack::tcp::{Agreed, Tcb, TsState};
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes, Options, OutSegment, Segment, Timestamps};
use stack::{Instant, Ledger, Rng, SeqNum, Tally};

/// A segment, as it lies towards what is expected.
#[derive(Clone, Debug)]
struct Shape {
    subflow: usize,
    /// From RCV.NXT.
    at: i32,
    len: usize,
    flags: u8,
    wnd: u16,
    /// Where its mapping begins before it, how far that goes on behind it, and where in the data its octets are.
    before: u32,
    behind: u16,
    data: i64,
    /// What is unusual of its option.
    odd: u8,
    /// Of what was sent, in quarters, the DATA_ACK and the acknowledgment.
    acks: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Segment(Shape),
    Send(usize),
    Take,
    Room(u32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let at = prop_oneof![12 => Just(0), 1 => Just(1_000), 1 => -1_500..3_000];
    let len = prop_oneof![6 => Just(1_000_usize), 2 => 1..1_400_usize, 1 => Just(0)];
    let flags = prop_oneof![8 => Just(0), 4 => Just(Flags::PSH.0), 1 => Just(Flags::FIN.0)];
    let wnd = prop_oneof![6 => Just(60_000), 1 => 0..4_000_u16];
    let before = prop_oneof![6 => Just(0_u32), 2 => 0..3_000_u32];
    let behind = prop_oneof![6 => Just(0_u16), 2 => 0..3_000_u16];
    let data = prop_oneof![8 => Just(0_i64), 2 => Just(1_000), 1 => -2_000..4_000_i64];
    let odd = prop_oneof![16 => Just(0_u8), 1 => 1..8_u8];
    let acks = prop_oneof![3 => Just(4_u32), 1 => 0..5_u32];
    let first = (0..2_usize, at, len, flags, wnd);
    let segment = (first, before, behind, data, odd, acks);
    let segment = segment.prop_map(
        |((subflow, at, len, flags, wnd), before, behind, data, odd, acks)| {
            Step::Segment(Shape {
                subflow,
                at,
                len,
                flags,
                wnd,
                before,
                behind,
                data,
                odd,
                acks,
            })
        },
    );
    prop_oneof![
        16 => segment,
        2 => prop_oneof![1..2_500_usize, 1..20_000_usize].prop_map(Step::Send),
        4 => Just(Step::Take),
        1 => (0..80_000_u32).prop_map(Step::Room),
        2 => (0..1_500_u64).prop_map(Step::Wait),
    ]
}

/// A connection with two subflows that data of the peer's has verified.
struct Rig {
    connection: Connection<Buf>,
    now: Instant,
    rng: Rng,
    tcp: Tally<stack::Counter>,
    mptcp: Tally<Counter>,
    ledger: Ledger,
    /// Segments that were asked for as more behind one with data.
    more: usize,
}

impl Rig {
    fn new(timestamps: bool) -> Self {
        let now = Instant::from_millis(1_000);
        let agreed = Agreed {
            sack: true,
            ts: timestamps.then_some(TsState {
                recent: 1,
                offset: 0,
            }),
            ..Agreed::plain(SeqNum(0), SeqNum(500), 1_400)
        };
        let params = params(Role::Responder);
        let mut rng = Rng::from_seed([3; 32]);
        let (mut tcp, mut mptcp) = (Tally::default(), Tally::default());
        let mut ledger = Ledger::default();
        let cx = &mut Cx {
            now,
            rng: &mut rng,
            tcp: &mut tcp,
            mptcp: &mut mptcp,
            ledger: &mut ledger,
        };
        let first = Tcb::new(&agreed, now);
        let mut connection = Connection::new(cx, &params, first, tuple(1));
        let second = Tcb::new(&agreed, now);
        connection.adopt(Subflow::new(SubflowId(1), tuple(2), second, true, 64));
        Self {
            connection,
            now,
            rng,
            tcp,
            mptcp,
            ledger,
            more: 0,
        }
    }

    fn with<T>(&mut self, work: impl FnOnce(&mut Connection<Buf>, &mut Cx<'_>) -> T) -> T {
        let cx = &mut Cx {
            now: self.now,
            rng: &mut self.rng,
            tcp: &mut self.tcp,
            mptcp: &mut self.mptcp,
            ledger: &mut self.ledger,
        };
        work(&mut self.connection, cx)
    }

    /// The segment that `shape` describes, and its subflow.
    fn segment(&self, shape: &Shape) -> Option<(SubflowId, Segment<Buf>)> {
        let connection = &self.connection;
        let subflow = connection.subflows.get(shape.subflow)?;
        let tcb = &subflow.tcb;
        let seq = tcb.rcv_nxt() + shape.at.cast_unsigned();
        let start = seq - shape.before;
        let dsn = connection.recv.next().0.wrapping_add_signed(shape.data);
        let len = u16::try_from(shape.len).unwrap() + shape.behind;
        let mapping = Mapping {
            dsn: WireSeq::Full(dsn.wrapping_sub(shape.before.into())),
            ssn: start - subflow.irs,
            len: len + u16::try_from(shape.before).unwrap() + u16::from(shape.odd == 1),
            checksum: (shape.odd == 2).then_some(7),
            data_fin: shape.odd == 1,
        };
        let (una, sent) = (connection.send.una(), connection.send.in_flight());
        let ack = una + (sent as u64) / 4 * u64::from(shape.acks) + u64::from(shape.odd == 3);
        let dss = Dss {
            data_ack: (shape.odd != 4).then_some(ack.low()),
            mapping: (shape.odd != 5 && shape.len > 0).then_some(mapping),
        };
        let mut mptcp = OptBytes::new();
        if shape.odd != 6 {
            MpOption::Dss(dss).emit(&mut mptcp).unwrap();
        }
        if shape.odd == 7 {
            let prio = MpOption::Prio(Prio {
                backup: true,
                id: None,
            });
            let _ = prio.emit(&mut mptcp);
        }
        let clock = u32::try_from(self.now.as_millis()).unwrap();
        let segment = Segment {
            tuple: subflow.tuple,
            seq,
            ack: tcb.snd_una() + tcb.flight_size() / 4 * shape.acks,
            flags: Flags::ACK.with(Flags(shape.flags)),
            wnd: shape.wnd,
            options: Options {
                ts: Some(Timestamps {
                    val: clock,
                    ecr: clock,
                }),
                mptcp,
                ..Options::default()
            },
            payload: slice(vec![7; shape.len]),
            tos: 0,
        };
        Some((subflow.id, segment))
    }

    /// Does `step`, with URG in its segment if it is the `twin`'s; what came of it: all that is kept, and all that was sent.
    fn act(&mut self, step: &Step, twin: bool) -> String {
        let mut told = Vec::new();
        match *step {
            Step::Segment(ref shape) => {
                if let Some((id, mut segment)) = self.segment(shape) {
                    let urg = if twin { Flags::URG } else { Flags(0) };
                    segment.flags = segment.flags.with(urg);
                    let outcome = self.with(|c, cx| c.input(cx, id, &segment));
                    told.push(format!("{outcome:?}"));
                }
            },
            Step::Send(len) => self.connection.send(slice(vec![9; len])),
            Step::Take => {
                while let Some(slice) = self.connection.take() {
                    told.push(format!("{slice:?}"));
                }
            },
            Step::Room(octets) => self.connection.set_recv_room(octets),
            Step::Wait(ms) => {
                self.now = self.now + Duration::from_millis(ms);
                self.with(|c, cx| c.advance(cx));
            },
        }
        let before = self.state();
        if twin {
            while let Some(out) = self.with(Connection::output) {
                told.push(format!(
                    "{:?} {:?} {:?}",
                    out.subflow, out.tuple, out.segment
                ));
            }
        } else {
            self.output_in_rows(&mut told);
        }
        while let Some(event) = self.connection.take_event() {
            told.push(format!("{event:?}"));
        }
        format!("{told:?} {before} {}", self.state())
    }

    /// Asks for more behind each segment with data; what was sent.
    fn output_in_rows(&mut self, told: &mut Vec<String>) {
        let mut segment = OutSegment::default();
        while let Some((id, tuple)) = self.with(|c, cx| c.output_into(cx, &mut segment)) {
            loop {
                told.push(format!("{id:?} {tuple:?} {segment:?}"));
                let (has_data, now) = (segment.payload.take().is_some(), self.now);
                if !has_data || !self.connection.output_more(now, &mut segment) {
                    break;
                }
                self.more += 1;
            }
        }
    }

    fn state(&self) -> String {
        let c = &self.connection;
        let levels = (&c.send, &c.recv, c.send_edge, c.recv_edge, &c.data_timer);
        let ends = (
            c.mode,
            c.ended,
            c.local_fin,
            c.remote_fin,
            c.close_at,
            c.closed_at,
        );
        let due = (c.heard, c.dirty, c.turn, c.capable_due, &c.outbox);
        let subflow = |s: &Subflow<Buf>| {
            let data = (&s.tcb, &s.mappings, &s.held, &s.rate, s.uncovered_until);
            let told = (s.announced, s.told, s.verified, s.bare, s.stale);
            format!("{data:?} {told:?} {:?} {:?}", s.data_fin_due, s.join_ack_at)
        };
        let subflows: Vec<_> = c.subflows.iter().map(subflow).collect();
        let counted = (&self.tcp, &self.mptcp);
        format!("{levels:?} {ends:?} {due:?} {subflows:?} {counted:?}")
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn what_is_predicted_is_taken_as_anything_else(
        timestamps: bool,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let [mut one, mut twin] = [Rig::new(timestamps), Rig::new(timestamps)];
        for step in steps {
            prop_assert_eq!(one.act(&step, false), twin.act(&step, true), "{:?}", step);
        }
    }
}

/// So many segments of `len` octets that come next on a subflow, in one header but for the numbers: their data lies
/// `stride` lengths apart, so that a second subflow may have what is in between; or with a `stride` of 0 have one mapping
/// together.
fn train(
    rig: &Rig,
    (subflow, count, len): (usize, i32, usize),
    wnd: u16,
    stride: i64,
) -> Vec<(SubflowId, Segment<Buf>)> {
    let octets = i32::try_from(len).unwrap();
    let shape = |at: i32| {
        let (before, behind) = (at * octets, (count - 1 - at) * octets);
        let together = stride == 0;
        Shape {
            subflow,
            at: before,
            len,
            wnd,
            before: if together { before.cast_unsigned() } else { 0 },
            behind: if together {
                u16::try_from(behind).unwrap()
            } else {
                0
            },
            data: i64::from(before) * stride.max(1),
            ..NEXT
        }
    };
    let segments = (0..count).filter_map(|at| rig.segment(&shape(at)));
    segments.collect()
}

/// Gives `segments`, those that may be as text with its mapping: how many that were.
fn take_train(rig: &mut Rig, segments: &[(SubflowId, Segment<Buf>)]) -> usize {
    let (mut led, mut more) = (false, 0);
    for (id, segment) in segments {
        let dss = lone_dss(&segment.options.mptcp);
        let mapping = dss.and_then(|dss| dss.mapping).unwrap();
        let len = segment.payload.len();
        let how = rig.connection.takes_more(&mapping, len);
        if let Some(how) = how.filter(|_| led) {
            let text = segment.payload.clone();
            rig.with(|c, cx| c.input_more(cx, &how, text));
            more += 1;
        } else {
            rig.with(|c, cx| c.input(cx, *id, segment));
            led = rig.connection.has_led(segment);
        }
    }
    more
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_text_of_a_train_is_taken_as_its_segments(
        timestamps: bool,
        steps in prop::collection::vec(
            (step(), 0..2_usize, 0..5_i32, 1..1_400_usize, 0..3_u16, 0..3_i64), 1..40,
        ),
    ) {
        let [mut one, mut twin] = [Rig::new(timestamps), Rig::new(timestamps)];
        for (step, subflow, count, len, wnd, stride) in steps {
            prop_assert_eq!(one.act(&step, false), twin.act(&step, true), "{:?}", step);
            let segments = train(&one, (subflow, count, len), wnd * 20_000, stride);
            take_train(&mut one, &segments);
            for (id, segment) in segments {
                let flags = segment.flags.with(Flags::URG);
                twin.with(|c, cx| c.input(cx, id, &Segment { flags, ..segment }));
            }
            prop_assert_eq!(one.state(), twin.state(), "{} of {}", count, len);
        }
    }
}

#[test]
fn all_of_a_train_but_its_first_is_taken_as_text() {
    let mut rig = Rig::new(true);
    for stride in [1, 2, 0] {
        let segments = train(&rig, (0, 5, 1_000), 60_000, stride);
        assert_eq!(take_train(&mut rig, &segments), 4);
    }
    let mut segments = train(&rig, (1, 5, 1_000), 60_000, 1);
    let twice = segments[2].clone();
    segments.insert(2, twice);
    assert_eq!(
        take_train(&mut rig, &segments),
        2,
        "what came twice is to be told"
    );
}

/// What comes next on a subflow.
const NEXT: Shape = Shape {
    subflow: 0,
    at: 0,
    len: 1_000,
    flags: 0,
    wnd: 60_000,
    before: 0,
    behind: 0,
    data: 0,
    odd: 0,
    acks: 4,
};

#[test]
fn data_of_a_peer_whom_we_send_nothing_is_predicted() {
    let mut rig = Rig::new(true);
    let mut predicted = |shape: Shape| {
        let (id, segment) = rig.segment(&shape).unwrap();
        let at = rig.connection.index(id).unwrap();
        let predicted = rig.with(|c, cx| c.input_predicted(cx, at, &segment));
        if !predicted {
            rig.with(|c, cx| c.input(cx, id, &segment));
        }
        predicted
    };
    assert!(predicted(NEXT));
    let long = Shape {
        behind: 2_000,
        ..NEXT
    };
    assert!(predicted(long), "a mapping of several segments");
    let second = Shape {
        before: 1_000,
        behind: 1_000,
        ..NEXT
    };
    assert!(predicted(second), "the same mapping once more");
    let third = Shape {
        before: 2_000,
        data: 5,
        ..NEXT
    };
    assert!(!predicted(third), "a mapping that disagrees");
    let ahead = Shape {
        subflow: 1,
        data: 1_000,
        ..NEXT
    };
    assert!(predicted(ahead), "what is missing comes by another subflow");
    let gap = Shape { at: 1_000, ..NEXT };
    assert!(!predicted(gap), "something is missing on the subflow");
    let unmapped = Shape { odd: 5, ..NEXT };
    assert!(!predicted(unmapped), "no mapping");
    assert_eq!(rig.connection.mode, Mode::Verified);
    assert_eq!(rig.connection.outcome(), Outcome::Alive);
}

#[test]
fn all_data_behind_the_first_of_a_subflow_is_more() {
    let mut rig = Rig::new(true);
    rig.act(&Step::Segment(NEXT), false);
    assert_eq!(rig.more, 0);
    for _ in 0..8 {
        rig.connection.send(slice(vec![9; 1_000]));
    }
    rig.act(&Step::Room(80_000), false);
    assert_eq!(rig.more, 7);
}
