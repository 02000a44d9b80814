//! One connection under test, and segments made by hand.

use crate::buf::Slice;
use crate::flow::Tuple;
use crate::seq::SeqNum;
use crate::tcp::{Agreed, Item, Tcb, TsState, Verdict};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, OptBytes, Options, OutSegment, SackBlock, Segment, Timestamps};
use crate::{Counter, Cx, PacketBuf, Rng, Tally};
use bytes::Bytes;
use core::net::IpAddr;

/// A received buffer.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Buf(pub(in crate::tcp) Bytes);

impl PacketBuf for Buf {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn is_sole(&self) -> bool {
        self.0.is_unique()
    }
}

pub(in crate::tcp) fn slice(bytes: &[u8]) -> Slice<Buf> {
    Slice::new(Buf(Bytes::copy_from_slice(bytes)))
}

/// Our ISS in every rig.
pub(in crate::tcp) const ISS: u32 = 1_000;
/// The peer's.
pub(in crate::tcp) const IRS: u32 = 9_000;
/// SMSS in every rig.
pub(in crate::tcp) const MSS: u16 = 1_000;

pub(in crate::tcp) fn plain() -> Agreed {
    Agreed::plain(SeqNum(ISS), SeqNum(IRS), MSS)
}

pub(in crate::tcp) fn with_sack() -> Agreed {
    Agreed {
        sack: true,
        ..plain()
    }
}

pub(in crate::tcp) fn with_ts(recent: u32) -> Agreed {
    Agreed {
        ts: Some(TsState { recent, offset: 0 }),
        ..plain()
    }
}

/// A connection with its time, randomness and counters.
pub(in crate::tcp) struct Rig {
    pub(in crate::tcp) tcb: Tcb<Buf>,
    pub(in crate::tcp) now: Instant,
    pub(in crate::tcp) rng: Rng,
    pub(in crate::tcp) counters: Tally<Counter>,
}

/// Start of time in every rig: not zero, so that clocks differ from ages.
pub(in crate::tcp) const START: Instant = Instant::from_millis(1_000_000);

impl Rig {
    pub(in crate::tcp) fn new(agreed: &Agreed) -> Self {
        Self {
            tcb: Tcb::new(agreed, START),
            now: START,
            rng: Rng::from_u64(7),
            counters: Tally::default(),
        }
    }

    /// Moves the clock to `ms` after the start and runs what is due, deadline by deadline.
    pub(in crate::tcp) fn at(&mut self, ms: u64) {
        self.now = START + Duration::from_millis(ms);
        self.advance();
    }

    /// What the rig lends to anything but its own connection.
    pub(in crate::tcp) fn cx(&mut self) -> Cx<'_> {
        Cx {
            now: self.now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        }
    }

    /// Runs what is due now.
    pub(in crate::tcp) fn advance(&mut self) {
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        };
        self.tcb.advance(&mut cx);
    }

    pub(in crate::tcp) fn input(&mut self, seg: &Segment<Buf>) -> Verdict {
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        };
        self.tcb.input(&mut cx, seg)
    }

    pub(in crate::tcp) fn output(&mut self) -> Option<OutSegment<Buf>> {
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        };
        let silent = self.tcb.is_silent();
        let out = self.tcb.output(&mut cx, 0);
        assert!(!silent || out.is_none(), "it said that there is nothing");
        out
    }

    pub(in crate::tcp) fn abort(&mut self) -> Option<OutSegment<Buf>> {
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        };
        self.tcb.abort(&mut cx)
    }

    /// Everything that wants to leave now.
    pub(in crate::tcp) fn drain(&mut self) -> Vec<OutSegment<Buf>> {
        let out: Vec<_> = core::iter::from_fn(|| self.output()).take(10_000).collect();
        assert!(out.len() < 10_000, "output() never ends");
        out
    }

    /// What leaves now, as (first octet of payload counted from 0, octets of payload).
    pub(in crate::tcp) fn sent(&mut self) -> Vec<(u32, usize)> {
        self.drain()
            .iter()
            .map(|seg| (seg.seq - SeqNum(ISS + 1), payload(seg).len()))
            .collect()
    }

    /// Queues one item of `len` octets.
    pub(in crate::tcp) fn push(&mut self, len: usize) {
        self.tcb.push(Item {
            payload: slice(&vec![0x55; len]),
            upper: OptBytes::new(),
            psh: false,
        });
    }

    /// Milliseconds after the start at which the next timer is due.
    pub(in crate::tcp) fn deadline_ms(&self) -> Option<u128> {
        self.tcb
            .next_deadline()
            .map(|at| at.since(START).as_millis())
    }

    /// The first whole millisecond after the start at which a timer is due.
    pub(in crate::tcp) fn due_ms(&self) -> Option<u64> {
        let due = self.tcb.next_deadline()?.since(START).as_micros();
        Some(u64::try_from(due.div_ceil(1000)).unwrap())
    }

    pub(in crate::tcp) fn count(&self, counter: Counter) -> u64 {
        self.counters.get(counter)
    }

    pub(in crate::tcp) fn take_all(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while let Some((_, part)) = self.tcb.take() {
            all.extend_from_slice(part.bytes());
        }
        all
    }
}

/// Where the payload lies.
pub(in crate::tcp) fn address(seg: &OutSegment<Buf>) -> *const u8 {
    seg.payload.as_ref().unwrap().bytes().as_ptr()
}

pub(in crate::tcp) fn payload(seg: &OutSegment<Buf>) -> Vec<u8> {
    seg.payload
        .iter()
        .flat_map(|part| part.bytes().to_vec())
        .collect()
}

/// A segment from the peer: sequence and acknowledgment count from the first octets after the SYNs.
pub(in crate::tcp) fn seg(seq: u32, ack: u32, flags: Flags, data: &[u8]) -> Segment<Buf> {
    Segment {
        tuple: Tuple {
            src: IpAddr::from([10, 9, 0, 2]),
            dst: IpAddr::from([10, 1, 0, 2]),
            src_port: 80,
            dst_port: 4_000,
        },
        seq: SeqNum(IRS + 1) + seq,
        ack: SeqNum(ISS + 1) + ack,
        flags,
        wnd: u16::MAX,
        options: Options::default(),
        payload: slice(data),
        tos: 0,
    }
}

pub(in crate::tcp) fn ack(ack: u32) -> Segment<Buf> {
    seg(0, ack, Flags::ACK, &[])
}

/// An ACK with SACK blocks in octets counted from 0.
pub(in crate::tcp) fn sack(cumulative: u32, blocks: &[(u32, u32)]) -> Segment<Buf> {
    let mut seg = ack(cumulative);
    for (start, end) in blocks {
        seg.options.sack.push(SackBlock {
            start: SeqNum(ISS + 1) + *start,
            end: SeqNum(ISS + 1) + *end,
        });
    }
    seg
}

pub(in crate::tcp) fn stamped(mut seg: Segment<Buf>, val: u32, ecr: u32) -> Segment<Buf> {
    seg.options.ts = Some(Timestamps { val, ecr });
    seg
}
