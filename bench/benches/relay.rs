//! Nanoseconds per relayed segment, MPTCP (two subflows) to TCP, in memory: the box alone is timed.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use bench::download::Downloads;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};

const BURST: usize = 8;

fn relayed_segment(c: &mut Criterion) {
    let mut group = c.benchmark_group("relay/mptcp-to-tcp/segment");
    group.throughput(Throughput::Elements(1));
    for connections in [1, 1_000] {
        let mut downloads = Downloads::new(connections);
        group.bench_function(BenchmarkId::from_parameter(connections), |b| {
            b.iter_custom(|segments| {
                let start = Instant::now();
                let mut busy = Duration::ZERO;
                let mut done = 0;
                while done < segments {
                    let round = downloads.round(BURST, || start.elapsed());
                    assert_eq!(round.copied, 0, "payload crosses by reference");
                    busy += round.busy;
                    done += round.segments;
                }
                // Whole bursts went through; criterion asked for `segments`.
                busy.mul_f64(segments as f64 / done as f64)
            });
        });
    }
    group.finish();
}

criterion_group!(benches, relayed_segment);
criterion_main!(benches);
