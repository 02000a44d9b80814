//! Nanoseconds per relayed segment between MPTCP (two subflows) and TCP, in memory: the box alone is timed.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use bench::relays::{Direction, Relays};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::{Duration, Instant};

const BURST: usize = 8;

fn relayed_segment(c: &mut Criterion) {
    for (name, direction) in [
        ("mptcp-to-tcp", Direction::Upload),
        ("tcp-to-mptcp", Direction::Download),
    ] {
        let mut group = c.benchmark_group(format!("relay/{name}/segment"));
        group.throughput(Throughput::Elements(1));
        for connections in [1, 1_000, 100_000, 1_000_000] {
            let mut relays = Relays::new(connections);
            group.bench_function(BenchmarkId::from_parameter(connections), |b| {
                b.iter_custom(|segments| {
                    let mut busy = Duration::ZERO;
                    let mut done = 0;
                    while done < segments {
                        let round = relays.round(direction, BURST, |work| {
                            let start = Instant::now();
                            work();
                            busy += start.elapsed();
                        });
                        assert_eq!(round.copied, 0, "payload crosses by reference");
                        done += round.segments;
                    }
                    // Whole bursts went through; criterion asked for `segments`.
                    busy.mul_f64(segments as f64 / done as f64)
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, relayed_segment);
criterion_main!(benches);
