//! What a relayed segment costs, for instruction counts by function (set-up included):
//!
//! ```text
//! cargo build --release -p bench --example ledger
//! valgrind --tool=callgrind --toggle-collect='*through_the_box*' target/release/examples/ledger download 1 8000
//! callgrind_annotate callgrind.out.*
//! ```
//!
//! Divide what callgrind collected by the segments printed. Without valgrind the nanoseconds say something too.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use bench::relays::{Direction, Relays};
use std::time::{Duration, Instant};

const BURST: usize = 8;

fn main() {
    let mut args = std::env::args().skip(1);
    let direction = match args.next().as_deref() {
        Some("upload") => Direction::Upload,
        _ => Direction::Download,
    };
    let connections = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let segments: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(8_000);
    let mut relays = Relays::new(connections);
    let (mut done, mut busy) = (0, Duration::ZERO);
    while done < segments {
        let round = relays.round(direction, BURST, |work| {
            let start = Instant::now();
            work();
            busy += start.elapsed();
        });
        done += round.segments;
    }
    let nanos = busy.as_nanos() / u128::from(done.max(1));
    println!("{direction:?}, {connections} relays: {done} segments, {nanos} ns each");
}
