//! Octets that the box holds for a relay with two subflows while nobody sends: all that it has allocated for so many of
//! them, its tables included, by their number.
//!
//! ```text
//! cargo run --release -p bench --example idle -- 1000000
//! ```

use bench::idle::{Held, held};
use stack::time::Duration;

fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let count: u32 = count.unwrap_or(100_000);
    let (established, idle) = held(count, Duration::from_secs(120), |work| {
        let taken = allocation_counter::measure(work);
        Held {
            octets: taken.bytes_current,
            blocks: taken.count_current,
        }
    });
    for (when, Held { octets, blocks }) in
        [("established", established), ("idle for two minutes", idle)]
    {
        let (octets, blocks) = (octets / i64::from(count), blocks / i64::from(count));
        println!("{count} relays {when}: {octets} octets in {blocks} blocks each");
    }
}
