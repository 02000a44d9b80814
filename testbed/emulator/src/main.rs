//! Emulates a link between two network interfaces, where the kernel has no netem.
//!
//! Frames that come in by one interface leave by the other, as [`testbed::link`] says. Arrival times are the kernel's,
//! so that a frame read late is not sent late; how late frames left nevertheless is measured and reported.
#![forbid(unsafe_code)]

mod bridge;
mod histogram;
mod interface;
mod options;
mod report;

use bridge::Bridge;
use clap::Parser;
use options::Options;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("braid-link: {error:#}");
            ExitCode::FAILURE
        },
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&stop))?;
    }
    flag::register(SIGUSR1, Arc::clone(&asked))?;
    let mut bridge = Bridge::open(options)?;
    eprintln!("braid-link: {} and {} are joined", options.a, options.b);
    let mut next_report = options.every;
    while !stop.load(Ordering::Relaxed) {
        bridge.turn()?;
        let is_time = next_report.is_some_and(|at| bridge.elapsed() >= at);
        if is_time {
            next_report = next_report.zip(options.every).map(|(at, every)| at + every);
        }
        if asked.swap(false, Ordering::Relaxed) || is_time {
            report::print(&bridge.report(), options.json)?;
        }
    }
    report::print(&bridge.report(), options.json)
}
