//! B12: the throughput of two workers on two cores over that of one, half of the joined subflows handed over; and beside it what
//! the two cores can do at best, which is what two boxes of one worker do that share nothing.
//!
//!     cargo run --release -p bench --example workers [REPEATS]

use bench::rows::Spread;
use bench::workers::{Bed, Kin, Run, reels};
use std::io::{self, Write};

/// Relays of each worker, and pieces of eight segments through each: a worker is through in a tenth of a second or two.
const FLOWS: usize = 16;
const PIECES: usize = 3_200;

/// A run is made anew where a worker had less than this share of its core, at most so often.
const SHARE: f64 = 0.97;
const ATTEMPTS: usize = 8;

fn segments_a_second(run: &Run) -> f64 {
    run.segments as f64 / std::time::Duration::from(run.took).as_secs_f64()
}

fn siblings() -> String {
    let path = "/sys/devices/system/cpu/cpu0/topology/thread_siblings_list";
    let list = std::fs::read_to_string(path);
    list.map_or_else(|_| "unknown".to_owned(), |list| list.trim().to_owned())
}

/// Runs that others on the machine disturbed.
#[derive(Default)]
struct Disturbed(usize);

impl Disturbed {
    fn run(&mut self, workers: u8, kin: Kin, settle: impl Fn(usize) + Sync) -> Run {
        for _ in 1..ATTEMPTS {
            let reels = reels(workers, FLOWS);
            let run = Bed::new(&reels, (workers, kin), FLOWS, PIECES).run(&settle);
            if run.share >= SHARE {
                return run;
            }
            self.0 += 1;
        }
        let reels = reels(workers, FLOWS);
        Bed::new(&reels, (workers, kin), FLOWS, PIECES).run(settle)
    }
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
        "cores {} and {}; hardware threads of core 0, as the machine says: {}",
        cores[0].id,
        cores[1].id,
        siblings()
    )?;
    let mut disturbed = Disturbed::default();
    let (mut ratios, mut best) = (Vec::new(), Vec::new());
    for _ in 0..repeats.max(1) {
        let one = disturbed.run(1, Kin::Siblings, bind);
        let two = disturbed.run(2, Kin::Siblings, bind);
        let apart = disturbed.run(2, Kin::Strangers, bind);
        let [a, b, c] = [&one, &two, &apart].map(segments_a_second);
        writeln!(
            out,
            "one {a:.0} segments/s, two {b:.0}: {:.3}; two apart {c:.0}: {:.3}; {} of {} frames handed over",
            b / a,
            c / a,
            two.handed_over,
            two.received
        )?;
        ratios.push(b / a);
        best.push(c / a);
    }
    let [ratio, best] = [ratios, best].map(Spread::of);
    writeln!(
        out,
        "B12 {:.3} ({:.3} to {:.3}); two apart {:.3} ({:.3} to {:.3}); {} runs made anew, as others were on the cores",
        ratio.median, ratio.min, ratio.max, best.median, best.min, best.max, disturbed.0
    )
}
