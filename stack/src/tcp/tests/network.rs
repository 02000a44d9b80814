//! Two connections joined by a link with a rate, a delay, a drop-tail queue, and seeded loss and reordering.

use super::rig::{Buf, slice};
use crate::flow::Tuple;
use crate::seq::SeqNum;
use crate::tcp::{Agreed, Tcb, TsState};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{OutSegment, Segment};
use crate::{Counter, Cx, Rng, Tally};
use core::net::IpAddr;
use std::collections::BTreeMap;

/// One direction of a link.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// Octets per second; 0 is without limit.
    pub(super) rate: u64,
    pub(super) delay: Duration,
    /// Octets that wait at most; what comes then is dropped.
    pub(super) queue: u64,
    /// Segments lost, of 10,000.
    pub(super) loss: u32,
    /// Segments delayed by up to `jitter` more, of 10,000.
    pub(super) reorder: u32,
    pub(super) jitter: Duration,
    /// Segments that come twice, of 10,000.
    pub(super) duplicate: u32,
    /// When what has entered so far has left; a link that stands still until then holds what comes.
    pub(super) busy_until: Instant,
}

impl Link {
    pub(super) fn new(rate: u64, delay_ms: u64, queue: u64) -> Self {
        Self {
            rate,
            delay: Duration::from_millis(delay_ms),
            queue,
            loss: 0,
            reorder: 0,
            jitter: Duration::ZERO,
            duplicate: 0,
            busy_until: Instant::ZERO,
        }
    }

    /// When a segment of `len` octets that enters now comes out; `None` if it is dropped.
    fn enter(&mut self, now: Instant, len: u64, rng: &mut Rng) -> Option<Instant> {
        let start = self.busy_until.max(now);
        let mut out = start;
        if self.rate > 0 {
            let waiting = start.since(now).as_nanos() * u128::from(self.rate) / 1_000_000_000;
            if waiting > u128::from(self.queue) {
                return None;
            }
            out = start + Duration::from_nanos(len * 1_000_000_000 / self.rate);
            self.busy_until = out;
        }
        if rng.below(10_000) < self.loss {
            return None;
        }
        let mut delay = self.delay;
        if rng.below(10_000) < self.reorder {
            delay += self.jitter * rng.below(1000) / 1000;
        }
        Some(out + delay)
    }
}

/// What an end sends and has received.
pub(super) struct End {
    pub(super) tcb: Tcb<Buf>,
    pub(super) counters: Tally<Counter>,
    pub(super) received: Vec<u8>,
    pub(super) fin_seen: bool,
    to_send: Vec<u8>,
    sent: usize,
    finish: bool,
    /// Octets the end holds for its reader; the reader takes `reader_rate` octets per second, or all at once if 0.
    pub(super) room: u32,
}

pub(super) struct Network {
    pub(super) now: Instant,
    pub(super) rng: Rng,
    pub(super) ends: [End; 2],
    pub(super) links: [Link; 2],
    wire: BTreeMap<(Instant, u64), (usize, Segment<Buf>)>,
    order: u64,
    ts: bool,
    /// The timestamps that each end has sent, in the order of sending.
    pub(super) stamps: [Vec<u32>; 2],
    pub(super) sent: u64,
    pub(super) dropped: u64,
}

pub(super) struct Features {
    pub(super) sack: bool,
    pub(super) ts: bool,
}

impl Network {
    pub(super) fn new(seed: u64, features: &Features, links: [Link; 2]) -> Self {
        let now = Instant::from_millis(5_000);
        let isns = [SeqNum(u32::MAX - 100_000), SeqNum(77)];
        let end = |me: usize| {
            let agreed = Agreed {
                sack: features.sack,
                ts: features.ts.then_some(TsState {
                    recent: 5_000,
                    offset: 0,
                }),
                snd_wscale: 7,
                rcv_wscale: 7,
                ..Agreed::plain(isns[me], isns[1 - me], 1_460)
            };
            End {
                tcb: Tcb::new(&agreed, now),
                counters: Tally::default(),
                received: Vec::new(),
                fin_seen: false,
                to_send: Vec::new(),
                sent: 0,
                finish: false,
                room: 4_000_000,
            }
        };
        Self {
            now,
            rng: Rng::from_u64(seed),
            ends: [end(0), end(1)],
            links,
            wire: BTreeMap::new(),
            order: 0,
            ts: features.ts,
            stamps: [Vec::new(), Vec::new()],
            sent: 0,
            dropped: 0,
        }
    }

    pub(super) fn send(&mut self, end: usize, bytes: Vec<u8>, finish: bool) {
        self.ends[end].to_send = bytes;
        self.ends[end].finish = finish;
    }

    /// The same, for an end that has sent before.
    pub(super) fn resend(&mut self, end: usize, bytes: Vec<u8>, finish: bool) {
        self.ends[end].sent = 0;
        self.send(end, bytes, finish);
    }

    /// Runs until `done` or for `limit`; the time it took.
    pub(super) fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        self.turn(0);
        self.turn(1);
        while !done(self) {
            let arrival = self.wire.keys().next().map(|key| key.0);
            let timers = self.ends.iter().filter_map(|end| end.tcb.next_deadline());
            let Some(next) = timers.chain(arrival).min() else {
                panic!("nothing will ever happen again: {}", self.describe());
            };
            self.now = next.max(self.now);
            assert!(
                self.now.since(start) < limit,
                "not done after {limit:?}: {}",
                self.describe()
            );
            for end in 0..2 {
                self.with_cx(end, |tcb, cx| tcb.advance(cx));
            }
            while let Some(first) = self.wire.first_entry()
                && first.key().0 <= self.now
            {
                let (to, seg) = first.remove();
                self.with_cx(to, |tcb, cx| tcb.input(cx, &seg));
            }
            self.turn(0);
            self.turn(1);
        }
        self.now.since(start)
    }

    fn with_cx<R>(&mut self, end: usize, f: impl FnOnce(&mut Tcb<Buf>, &mut Cx<'_>) -> R) -> R {
        let end = &mut self.ends[end];
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            counters: &mut end.counters,
        };
        f(&mut end.tcb, &mut cx)
    }

    /// Lets an end read, write and send.
    fn turn(&mut self, me: usize) {
        let end = &mut self.ends[me];
        while let Some((_, part)) = end.tcb.take() {
            end.received.extend_from_slice(part.bytes());
        }
        if end.tcb.fin_received() {
            end.fin_seen = true;
            end.tcb.accept_fin();
        }
        end.tcb.set_recv_room(end.room);
        while end.sent < end.to_send.len() && end.tcb.unsent() < 64_000 {
            let to = (end.sent + 1_448).min(end.to_send.len());
            end.tcb.send(slice(&end.to_send[end.sent..to]));
            end.sent = to;
        }
        if end.finish && end.sent == end.to_send.len() {
            end.finish = false;
            end.tcb.finish();
        }
        while let Some(out) = self.with_cx(me, |tcb, cx| tcb.output(cx, 0)) {
            self.carry(me, &out);
        }
    }

    fn carry(&mut self, from: usize, out: &OutSegment<Buf>) {
        let seg = as_received(out);
        // RFC 7323 3.2: in every segment, once agreed.
        assert_eq!(seg.options.ts.is_some(), self.ts);
        self.stamps[from].extend(seg.options.ts.map(|ts| ts.val));
        let len = seg.payload.len() as u64 + 52;
        let copies = 1 + u32::from(self.rng.below(10_000) < self.links[from].duplicate);
        for _ in 0..copies {
            self.sent += 1;
            match self.links[from].enter(self.now, len, &mut self.rng) {
                Some(at) => {
                    self.order += 1;
                    self.wire.insert((at, self.order), (1 - from, seg.clone()));
                },
                None => self.dropped += 1,
            }
        }
    }

    pub(super) fn describe(&self) -> String {
        let of = |end: &End| {
            format!(
                "{:?} una {} nxt {} queued {} flight {} cwnd {} ssthresh {} rto {:?} in_recovery {} got {} ooo {}",
                end.tcb.state(),
                end.tcb.snd_una().0,
                end.tcb.snd_nxt().0,
                end.tcb.queued(),
                end.tcb.flight_size(),
                end.tcb.cwnd(),
                end.tcb.ssthresh(),
                end.tcb.rto(),
                end.tcb.in_recovery(),
                end.received.len(),
                end.tcb.out_of_order(),
            )
        };
        format!("{} | {}", of(&self.ends[0]), of(&self.ends[1]))
    }
}

/// What the peer sees of what we send.
pub(in crate::tcp) fn as_received(out: &OutSegment<Buf>) -> Segment<Buf> {
    let payload = out.payload.clone().unwrap_or_else(|| slice(&[]));
    let host = IpAddr::from([10, 0, 0, 1]);
    Segment {
        tuple: Tuple {
            src: host,
            dst: host,
            src_port: 1,
            dst_port: 2,
        },
        seq: out.seq,
        ack: out.ack,
        flags: out.flags,
        wnd: out.wnd,
        options: out.options.clone(),
        payload,
        tos: 0,
    }
}

/// Octets that differ wherever they are displaced.
pub(super) fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect()
}
