//! Connections that were put to rest in between go on as if nothing had been.

use super::network::{Features, Link, Network, pattern};
use super::rig::{IRS, ISS, Rig, START, ack, plain, seg, stamped, with_ts};
use crate::SeqNum;
use crate::tcp::Agreed;
use crate::tcp::congestion::{Algorithm, initial_window};
use crate::time::Duration;
use crate::wire::tcp::Flags;
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: Duration = Duration::from_secs(60);

/// Sends `octets` each way, checks what came out, and waits until nothing is owed any more.
fn exchange(net: &mut Network, octets: usize, finish: bool) {
    let data = [pattern(octets, 1), pattern(octets, 2)];
    for (end, data) in data.iter().enumerate() {
        net.ends[end].received.clear();
        net.resend(end, data.clone(), finish);
    }
    net.run(LIMIT, |net| {
        net.ends.iter().all(|end| {
            let over = end.tcb.queued() == 0 && end.fin_seen == finish;
            over && end.received.len() == octets && (finish || end.tcb.rest().is_some())
        })
    });
    let [a, b] = &net.ends;
    assert!(b.received == data[0] && a.received == data[1], "octets");
}

#[test]
fn what_has_rested_goes_on() {
    for (sack, ts, loss) in [(true, true, 0), (true, false, 100), (false, true, 100)] {
        let mut links = [20, 20].map(|delay| Link::new(2_500_000, delay, 100_000));
        for link in &mut links {
            link.loss = loss;
        }
        let mut net = Network::new(7, &Features { sack, ts }, links);
        for round in 0..3 {
            exchange(&mut net, 200_000, round == 2);
            if round < 2 {
                for end in &mut net.ends {
                    let before = (end.tcb.bytes_acked(), end.tcb.srtt(), end.tcb.rcv_nxt());
                    let resting = end.tcb.rest().expect("nothing is owed");
                    end.tcb = resting.wake();
                    let after = (end.tcb.bytes_acked(), end.tcb.srtt(), end.tcb.rcv_nxt());
                    assert_eq!(before, after);
                }
                net.now = net.now + Duration::from_secs(100);
            }
        }
    }
}

#[test]
fn nothing_rests_while_something_is_owed() {
    let links = [20, 20].map(|delay| Link::new(2_500_000, delay, 100_000));
    let mut net = Network::new(
        7,
        &Features {
            sack: true,
            ts: true,
        },
        links,
    );
    net.send(0, pattern(100_000, 1), false);
    net.run(LIMIT, |net| net.ends[0].tcb.flight_size() > 0);
    assert!(net.ends[0].tcb.rest().is_none(), "octets are under way");
    net.run(LIMIT, |net| net.ends[1].received.len() == 100_000);
    assert!(
        net.ends[0].tcb.rest().is_none(),
        "the last is not acknowledged"
    );
    net.ends[1].tcb.request_ack();
    assert!(net.ends[1].tcb.rest().is_none(), "an acknowledgment is due");
    net.ends[0].tcb.finish();
    assert!(net.ends[0].tcb.rest().is_none(), "a FIN waits");
}

/// (what is owed, agreed, what leads there): neither is owed by anything that the sender's and the receiver's halves know.
#[test]
fn nothing_rests_while_the_connection_itself_owes_something() {
    let capable = Agreed {
        ecn: true,
        ..plain()
    };
    type Lead = fn(&mut Rig);
    let rows: [(&str, Agreed, Lead); 5] = [
        ("an acknowledgment waits for company", plain(), |rig| {
            rig.input(&seg(0, 0, Flags::ACK, &[1; 100]));
            rig.take_all();
        }),
        ("a probe is asked for", plain(), |rig| {
            rig.tcb.request_probe();
        }),
        ("a mark is echoed", capable, |rig| {
            let mut marked = seg(0, 0, Flags::ACK, &[1; 100]);
            marked.tos = 3;
            rig.input(&marked);
            rig.take_all();
            rig.at(40);
            assert!(rig.drain()[0].flags.has(Flags::ECE));
        }),
        ("a reduction is to be confirmed", capable, |rig| {
            rig.push(1000);
            rig.drain();
            let mut echo = ack(1000);
            echo.flags = echo.flags.with(Flags::ECE);
            rig.input(&echo);
        }),
        ("a segment size is doubted", plain(), |rig| {
            rig.push(1000);
            for ms in [0, 1000, 3000, 7000, 15_000] {
                rig.at(ms);
                rig.drain();
            }
            assert_eq!(rig.tcb.smss(), 536);
            rig.input(&ack(536));
            rig.drain();
            rig.input(&ack(1000));
        }),
    ];
    for (name, agreed, lead) in rows {
        let mut rig = Rig::new(&agreed);
        assert!(rig.tcb.rest().is_some(), "{name}: before");
        lead(&mut rig);
        assert!(rig.tcb.rest().is_none(), "{name}");
    }
}

/// One step of a connection's life.
#[derive(Clone, Debug)]
enum Step {
    /// Segments to send.
    Push(u8),
    /// The peer acknowledges so many quarters of what is in flight, says its window, and perhaps that a mark came.
    Tell { quarters: u32, wnd: u16, ece: bool },
    /// The peer sends.
    Data { len: usize, ce: bool, cwr: bool },
    /// Milliseconds pass.
    Wait(u64),
    /// All is acknowledged, and long after that the connection rests, if it may.
    Rest,
}

/// One of two that live the same life; only one of them rests.
struct Twin {
    rig: Rig,
    rests: bool,
    ms: u64,
    /// Octets that the peer has sent, and its last window.
    peer: u32,
    wnd: u16,
    room: u32,
    ts: bool,
    clock: u32,
    said: Vec<String>,
    rested: u32,
}

impl Twin {
    fn new(agreed: &Agreed, rests: bool) -> Self {
        Self {
            rig: Rig::new(agreed),
            rests,
            ms: 0,
            peer: 0,
            wnd: u16::MAX,
            room: agreed.rcv_wnd,
            ts: agreed.ts.is_some(),
            clock: 0,
            said: Vec::new(),
            rested: 0,
        }
    }

    fn note(&mut self) {
        self.rig.take_all();
        self.rig.tcb.set_recv_room(self.room);
        for out in self.rig.drain() {
            self.clock = out.options.ts.map_or(0, |ts| ts.val);
            let parts = (out.seq.0, out.ack.0, out.flags, out.wnd, out.ect);
            let len = super::rig::payload(&out).len();
            let options = (out.options.ts, &out.options.sack);
            self.said.push(format!(
                "{} ms: {parts:?}, {len} octets, {options:?}",
                self.ms
            ));
        }
        let tcb = &self.rig.tcb;
        let windows = (tcb.cwnd(), tcb.ssthresh(), tcb.snd_wnd_edge());
        self.said.push(format!("{windows:?}"));
    }

    /// The first whole millisecond at which a timer is due: paced segments are, at any nanosecond.
    fn due(&self) -> Option<u64> {
        let due = self.rig.tcb.next_deadline()?.since(START).as_nanos();
        Some(u64::try_from(due.div_ceil(1_000_000)).unwrap())
    }

    fn wait(&mut self, ms: u64) {
        let until = self.ms + ms;
        while let Some(due) = self.due().filter(|due| *due <= until) {
            self.ms = due.max(self.ms);
            self.rig.at(self.ms);
            self.note();
        }
        self.ms = until;
        self.rig.at(until);
        self.note();
    }

    fn input(&mut self, mut segment: crate::wire::tcp::Segment<super::rig::Buf>) {
        segment.wnd = self.wnd;
        if self.ts {
            let now = self.rig.now.since(START).as_millis();
            segment = stamped(segment, 5_000 + u32::try_from(now).unwrap(), self.clock);
        }
        self.rig.input(&segment);
        self.note();
    }

    fn una(&self) -> u32 {
        self.rig.tcb.snd_una() - SeqNum(ISS + 1)
    }

    fn tell(&mut self, quarters: u32, ece: bool) {
        let acked = self.una() + self.rig.tcb.flight_size() * quarters / 4;
        let flags = Flags::ACK.with(if ece { Flags::ECE } else { Flags::ACK });
        self.input(seg(self.peer, acked, flags, &[]));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Push(segments) => {
                (0..segments).for_each(|_| self.rig.push(900));
                self.note();
            },
            Step::Tell { quarters, wnd, ece } => {
                self.wnd = wnd;
                self.tell(quarters, ece);
            },
            Step::Data { len, ce, cwr } => {
                let flags = Flags::ACK.with(if cwr { Flags::CWR } else { Flags::ACK });
                let mut data = seg(self.peer, self.una(), flags, &vec![7; len]);
                data.tos = if ce { 3 } else { 0 };
                self.peer = self.rig.tcb.rcv_nxt() - SeqNum(IRS + 1) + u32::try_from(len).unwrap();
                self.input(data);
            },
            Step::Wait(ms) => self.wait(ms),
            Step::Rest => {
                for _ in 0..100 {
                    self.tell(4, false);
                    if self.rig.tcb.queued() == 0 {
                        break;
                    }
                    self.wait(10);
                }
                // Longer than any RTO: the window restarts.
                self.wait(70_000);
                let resting = self.rig.tcb.rest();
                self.said.push(format!("rests: {}", resting.is_some()));
                let Some(resting) = resting else {
                    return;
                };
                self.rested += 1;
                if self.rests {
                    self.rig.tcb = resting.wake();
                } else {
                    // What counts towards the next growth is forgotten, and is to be.
                    let initial = initial_window(self.rig.tcb.snd.smss());
                    let cc = &mut self.rig.tcb.snd.cc;
                    *cc = cc.rest().wake(initial);
                }
                self.note();
            },
        }
    }
}

/// Both twins say the same, and how often one rested.
fn live(agreed: &Agreed, set: impl Fn(&mut Rig), steps: &[Step]) -> u32 {
    let [never, rested] = [false, true].map(|rests| {
        let mut twin = Twin::new(agreed, rests);
        set(&mut twin.rig);
        steps.iter().for_each(|step| twin.step(step));
        twin
    });
    for (n, pair) in never.said.iter().zip(&rested.said).enumerate() {
        assert_eq!(pair.0, pair.1, "entry {n} of {agreed:?}");
    }
    assert_eq!(never.said.len(), rested.said.len());
    rested.rested
}

/// The largest window that the peer ever offered tells a silly one (RFC 9293 3.8.6.2.1), also after a rest.
#[test]
fn a_silly_window_is_one_after_a_rest_too() {
    let steps = [
        Step::Push(1),
        Step::Tell {
            quarters: 4,
            wnd: 400,
            ece: false,
        },
        Step::Rest,
        Step::Push(1),
        Step::Wait(5_000),
    ];
    // `Rest` tells the small window all along.
    assert_eq!(live(&plain(), |_| (), &steps), 1);
}

/// Whether the window was in use (RFC 7661 3) says nothing any more once that was long ago: it restarts.
#[test]
fn a_window_that_was_used_before_a_rest_is_not_in_use() {
    let mut rig = Rig::new(&plain());
    (0..10).for_each(|_| rig.push(1000));
    assert_eq!(rig.sent().len(), 10);
    rig.input(&ack(10_000));
    assert!(rig.tcb.is_cwnd_limited());
    rig.tcb = rig.tcb.rest().unwrap().wake();
    assert!(!rig.tcb.is_cwnd_limited());
}

fn step() -> impl Strategy<Value = Step> {
    let wnd = prop_oneof![3 => Just(u16::MAX), 1 => 0..u16::MAX, 1 => 0..3_000_u16];
    let rare = || prop::bool::weighted(0.1);
    prop_oneof![
        4 => (1..30_u8).prop_map(Step::Push),
        6 => (0..5_u32, wnd, rare())
            .prop_map(|(quarters, wnd, ece)| Step::Tell { quarters, wnd, ece }),
        3 => (1..1_000_usize, rare(), prop::bool::ANY)
            .prop_map(|(len, ce, cwr)| Step::Data { len, ce, cwr }),
        3 => (1..300_u64).prop_map(Step::Wait),
        1 => (300..5_000_u64).prop_map(Step::Wait),
        2 => Just(Step::Rest),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 400, ..ProptestConfig::with_cases(256) })]

    /// Whoever rested sends what one sends that never did, to the octet and the millisecond.
    #[test]
    fn who_rested_sends_what_one_sends_that_never_did(
        steps in vec(step(), 1..40),
        (sack, ts, ecn, paced, cubic) in any::<(bool, bool, bool, bool, bool)>(),
    ) {
        let base = if ts { with_ts(5_000) } else { plain() };
        let agreed = Agreed {
            sack,
            ecn,
            rtt: Some(Duration::from_millis(100)),
            ..base
        };
        live(&agreed, |rig| {
            let algorithm = if cubic { Algorithm::Cubic } else { Algorithm::NewReno };
            rig.tcb.set_congestion(algorithm);
            if paced {
                rig.tcb.set_pacing();
            }
        }, &steps);
    }
}
