//! How far the machine's first two cores are from each other: benchmarks that use both depend on it.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use crate::rows::Spread;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Round trips that are timed at once.
const TRIPS: u64 = 1_000;

/// How often they are, and for how long at most: where others are at work on the cores it takes long.
const RUNS: usize = 20;
const LONGEST: Duration = Duration::from_millis(500);

/// What is sent when it is over.
const OVER: u64 = u64::MAX;

/// The round trip of a cache line between two cores in nanoseconds; `None` with fewer than two.
#[must_use]
pub fn round_trip() -> Option<Spread> {
    let cores = core_affinity::get_core_ids()?;
    let [one, other, ..] = cores[..] else {
        return None;
    };
    let ball = AtomicU64::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            core_affinity::set_for_current(other);
            let mut wanted = 1;
            while await_ball(&ball, wanted) {
                ball.store(wanted + 1, Ordering::Release);
                wanted += 2;
            }
        });
        let here = scope.spawn(|| {
            core_affinity::set_for_current(one);
            let taken = serve(&ball);
            ball.store(OVER, Ordering::Release);
            Spread::of(taken)
        });
        here.join().ok()
    })
}

/// Plays some rounds; the nanoseconds of a trip in each.
fn serve(ball: &AtomicU64) -> Vec<f64> {
    let (begun, mut sent, mut taken) = (Instant::now(), 0, Vec::new());
    while taken.is_empty() || (taken.len() < RUNS && begun.elapsed() < LONGEST) {
        let (start, mut trips) = (Instant::now(), 0);
        while trips < TRIPS && begun.elapsed() < LONGEST {
            ball.store(sent + 1, Ordering::Release);
            await_ball(ball, sent + 2);
            sent += 2;
            trips += 1;
        }
        taken.push(start.elapsed().as_nanos() as f64 / trips.max(1) as f64);
    }
    taken
}

/// Waits for the other core; `false` once it is over. Lets others run where both threads share one.
fn await_ball(ball: &AtomicU64, wanted: u64) -> bool {
    for turn in 1_u32.. {
        match ball.load(Ordering::Acquire) {
            OVER => return false,
            there if there == wanted => return true,
            _ => {},
        }
        if turn.is_multiple_of(10_000) {
            thread::yield_now();
        }
        std::hint::spin_loop();
    }
    false
}
