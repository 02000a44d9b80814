//! Octets that the box holds for a relay with two subflows while nobody sends: all that it has allocated for so many of
//! them, its tables included, by their number.
//!
//! ```text
//! cargo run --release -p bench --example idle -- 1000000
//! ```

use bench::relays::Relays;
use stack::time::Duration;
use std::cell::Cell;

fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let count: u32 = count.unwrap_or(100_000);
    let (octets, blocks) = (Cell::new(0), Cell::new(0));
    let meter = |work: &mut dyn FnMut()| {
        let taken = allocation_counter::measure(work);
        octets.set(octets.get() + taken.bytes_current);
        blocks.set(blocks.get() + taken.count_current);
    };
    let mut relays = Relays::metered(count, meter);
    let show = |when: &str| {
        let each = |sum: &Cell<i64>| sum.get() / i64::from(count);
        println!(
            "{count} relays {when}: {} octets in {} blocks each",
            each(&octets),
            each(&blocks)
        );
    };
    show("established");
    relays.idle(Duration::from_secs(120), meter);
    show("idle for two minutes");
}
