//! B12: the throughput of two workers on two cores over that of one, half of the joined subflows handed over.
//!
//!     cargo run --release -p bench --example workers [REPEATS]

use bench::workers::{Bed, Run};
use std::io::{self, Write};

/// Relays of each worker, and pieces of eight segments through each.
const FLOWS: usize = 16;
const PIECES: usize = 400;

fn segments_a_second(run: &Run) -> f64 {
    run.segments as f64 / std::time::Duration::from(run.took).as_secs_f64()
}

fn siblings() -> String {
    let path = "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list";
    let list = std::fs::read_to_string(path);
    list.map_or_else(|_| "unknown".to_owned(), |list| list.trim().to_owned())
}

fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (
        values[values.len() / 2],
        values[0],
        values[values.len() - 1],
    )
}

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let repeats: usize = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(7);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if cores.len() < 2 {
        return writeln!(out, "B12 needs two cores");
    }
    let bind = |place: usize| {
        core_affinity::set_for_current(cores[place]);
    };
    writeln!(
        out,
        "cores {} and {}; hardware threads of core 0: {}",
        cores[0].id,
        cores[1].id,
        siblings()
    )?;
    let (mut ratios, mut ones, mut twos) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats.max(1) {
        let one = Bed::new(1, FLOWS, PIECES).run(bind);
        let two = Bed::new(2, FLOWS, PIECES).run(bind);
        let (a, b) = (segments_a_second(&one), segments_a_second(&two));
        writeln!(
            out,
            "one {a:.0} segments/s, two {b:.0}: {:.3}; {} of {} frames handed over",
            b / a,
            two.handed_over,
            two.received
        )?;
        ratios.push(b / a);
        ones.push(a);
        twos.push(b);
    }
    let (ratio, least, most) = median(ratios);
    let (one, two) = (median(ones).0, median(twos).0);
    writeln!(
        out,
        "B12 {ratio:.3} ({least:.3} to {most:.3}); medians {one:.0} and {two:.0} segments/s"
    )
}
