//! What the parts cost that every segment or every connection passes: look-up, options, HMAC, timers, congestion control and
//! schedulers.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use mptcp::connection::SubflowId;
use mptcp::crypto::JoinHmac;
use mptcp::option::{Dss, Mapping, MpOption, parse};
use mptcp::scheduler::{
    Blest, Candidate, Demand, Ecf, LowestRtt, Overflow, Purpose, Schedule, Scheduler, Weighted,
};
use mptcp::{Key, Version, WireSeq};
use stack::flow_index::FlowIndex;
use stack::tcp::congestion::{Ack, Algorithm, Congestion, CongestionControl};
use stack::time::Duration;
use stack::wheel::{Alarm, Wheel};
use stack::wire::tcp::OptBytes;
use stack::{FlowKey, Handle, Instant, Rng, SeqNum, Side, Tuple};
use std::hint::black_box;
use std::net::IpAddr;

fn key(n: u32) -> FlowKey {
    let [a, b, c, d] = n.to_be_bytes();
    FlowKey {
        side: Side::Access,
        tuple: Tuple {
            src: IpAddr::from([10, a, b, c]),
            dst: IpAddr::from([10, 9, 0, 2]),
            src_port: 1024 + u16::from(d),
            dst_port: 80,
        },
    }
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    for count in [1_000_u32, 100_000, 1_000_000] {
        let mut index = FlowIndex::new(count as usize, 7);
        for n in 0..count {
            let hash = index.hash(&key(n));
            index.insert(hash, n, |other| other == n).expect("room");
        }
        let mut rng = Rng::from_u64(1);
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                let n = rng.below(count);
                index.get(index.hash(&key(n))).find(|&other| other == n)
            });
        });
    }
    group.finish();
}

fn options(c: &mut Criterion) {
    let mapping = Mapping {
        dsn: WireSeq::Full(1 << 40),
        ssn: 77,
        len: 1_400,
        checksum: None,
        data_fin: false,
    };
    let dss = MpOption::from(Dss {
        data_ack: Some(WireSeq::Full(1 << 41)),
        mapping: Some(mapping),
    });
    let mut bytes = OptBytes::new();
    dss.emit(&mut bytes).expect("one option fits");
    c.bench_function("options/dss-parse", |b| {
        b.iter(|| parse(black_box(&bytes)).last());
    });
    c.bench_function("options/dss-emit", |b| {
        b.iter(|| {
            let mut bytes = OptBytes::new();
            black_box(&dss).emit(&mut bytes).map(|()| bytes)
        });
    });
}

fn crypto(c: &mut Criterion) {
    let (ours, theirs) = (Key::new([1; 8]), Key::new([2; 8]));
    for (name, version) in [("v1", Version::V1), ("v0", Version::V0)] {
        c.bench_function(&format!("crypto/join-hmac/{name}"), |b| {
            b.iter(|| JoinHmac::compute(version, black_box(&ours), &theirs, 3, 4).truncated());
        });
        c.bench_function(&format!("crypto/token/{name}"), |b| {
            b.iter(|| black_box(&ours).token(version));
        });
    }
}

fn timers(c: &mut Criterion) {
    let mut wheel = Wheel::new();
    let mut alarms = vec![Alarm::default(); 1_000];
    let (mut now, mut due, mut at) = (Instant::from_millis(1), Vec::new(), 0);
    c.bench_function("wheel/arm-and-fire", |b| {
        b.iter(|| {
            let handle = Handle {
                index: at as u32,
                generation: 0,
            };
            wheel.arm(&mut alarms[at], handle, now + Duration::from_millis(200));
            at = (at + 1) % alarms.len();
            now = now + Duration::from_micros(20);
            wheel.expired(now, &mut due);
            due.clear();
        });
    });
}

fn congestion(c: &mut Criterion) {
    for (name, algorithm) in [("cubic", Algorithm::Cubic), ("newreno", Algorithm::NewReno)] {
        let mut control = Congestion::new(algorithm, 100_000);
        control.on_loss(100_000, 1_400);
        let mut ack = Ack {
            now: Instant::from_millis(1),
            delivered: 2_800,
            smss: 1_400,
            limited: true,
            rtt: Some(Duration::from_millis(20)),
            srtt: Duration::from_millis(20),
            una: SeqNum(0),
            nxt: SeqNum(100_000),
        };
        c.bench_function(&format!("congestion/{name}/ack"), |b| {
            b.iter(|| {
                ack.now = ack.now + Duration::from_micros(100);
                control.on_ack(black_box(&ack));
            });
        });
    }
}

fn schedulers(c: &mut Criterion) {
    let candidate = |id: u8| Candidate {
        id: SubflowId(id),
        cost: u16::from(id),
        weight: 1,
        srtt: Duration::from_millis(20 + u64::from(id)),
        rttvar: Duration::from_millis(2),
        cwnd: 100_000,
        ssthresh: 80_000,
        flight: 40_000,
        starting: false,
        backup: false,
        has_space: true,
    };
    let candidates: Vec<_> = (0..2).map(candidate).collect();
    let all = [
        ("lowest-rtt", Scheduler::LowestRtt(LowestRtt)),
        ("overflow", Scheduler::Overflow(Overflow::default())),
        ("weighted", Scheduler::Weighted(Weighted::default())),
        ("blest", Scheduler::Blest(Blest::default())),
        ("ecf", Scheduler::Ecf(Ecf::default())),
    ];
    for (name, mut scheduler) in all {
        let demand = Demand {
            now: Instant::from_millis(1),
            purpose: Purpose::New,
            len: 1_400,
            waiting: 100_000,
            window: 1_000_000,
        };
        c.bench_function(&format!("scheduler/{name}"), |b| {
            b.iter(|| scheduler.pick(black_box(&demand), &candidates));
        });
    }
}

criterion_group!(
    benches, lookup, options, crypto, timers, congestion, schedulers
);
criterion_main!(benches);
