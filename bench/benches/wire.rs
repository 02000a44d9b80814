//! What each packet costs before any protocol runs: reading, summing and writing a full segment.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use dataplane::memory::MemBuf;
use stack::buf::{Header, RxChecksum, Slice};
use stack::checksum::Sum;
use stack::wire::tcp::{self, Flags, OptBytes, Options, OutSegment, Timestamps};
use stack::{SeqNum, Tuple};
use std::hint::black_box;
use std::net::IpAddr;

const PAYLOAD: usize = 1420;

fn segment() -> OutSegment<MemBuf> {
    let payload = Some(Slice::new(MemBuf::from(vec![0x55; PAYLOAD])));
    let mut dss = vec![30, 26, 0x20, 0x0f];
    dss.resize(26, 7);
    OutSegment {
        ect: false,
        seq: SeqNum(1),
        ack: SeqNum(2),
        flags: Flags::ACK,
        wnd: 1000,
        options: Options {
            ts: Some(Timestamps { val: 3, ecr: 4 }),
            mptcp: dss.into_iter().collect::<OptBytes>(),
            ..Options::default()
        },
        payload,
    }
}

fn wire(c: &mut Criterion) {
    let (src, dst) = (IpAddr::from([10, 1, 0, 2]), IpAddr::from([10, 9, 0, 2]));
    let tuple = Tuple {
        src,
        dst,
        src_port: 4000,
        dst_port: 80,
    };
    let out = segment();
    let mut header = Header::default();
    tcp::emit(&out, &tuple, &mut header);
    let mut l4 = header.bytes().to_vec();
    let octets = out.payload.as_ref().map_or(&[][..], Slice::bytes);
    l4.extend_from_slice(octets);
    let l4 = Slice::new(MemBuf::from(l4));

    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Elements(1));
    for (name, checksum) in [("good", RxChecksum::Good), ("unknown", RxChecksum::Unknown)] {
        group.bench_function(format!("tcp-parse/{name}"), |b| {
            b.iter(|| tcp::parse(black_box(l4.clone()), src, dst, 0, checksum));
        });
    }
    let mut known = out.clone();
    if let Some(payload) = &mut known.payload {
        payload.set_sum(Sum::of(octets));
    }
    group.bench_function("tcp-emit/sum-known", |b| {
        b.iter(|| {
            let mut header = Header::default();
            tcp::emit(black_box(&known), &tuple, &mut header);
            header
        });
    });
    group.bench_function("checksum/1420", |b| {
        b.iter(|| Sum::of(black_box(octets)));
    });
    group.finish();
}

criterion_group!(benches, wire);
criterion_main!(benches);
