//! What the emulator says of itself: a line for each direction, or JSON.

use crate::histogram::Histogram;
use serde::Serialize;
use stack::time::Duration;
use std::io::{self, Write};

/// Both directions since the start.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) seconds: f64,
    pub(crate) ways: [Way; 2],
}

/// One direction.
#[derive(Serialize)]
pub(crate) struct Way {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) entered: u64,
    pub(crate) sent: u64,
    pub(crate) sent_octets: u64,
    /// Octets of the largest frame that came in: more than the MTU and a header is several frames in one.
    pub(crate) largest: usize,
    pub(crate) under_way: u64,
    pub(crate) queue_full: u64,
    pub(crate) lost: u64,
    pub(crate) reordered: u64,
    pub(crate) duplicated: u64,
    pub(crate) queue_max: u64,
    /// Not seen: the kernel dropped them because the process was too slow.
    pub(crate) missed: u32,
    /// Not taken by the interface they were to leave by.
    pub(crate) refused: u64,
    pub(crate) lateness_us: Lateness,
    /// The same of the frames since the last report.
    pub(crate) recent_us: Lateness,
}

/// How late frames left, in microseconds.
#[derive(Serialize)]
pub(crate) struct Lateness {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl From<&Histogram> for Lateness {
    fn from(histogram: &Histogram) -> Self {
        let micros = |time: Duration| time.as_nanos() as f64 / 1000.0;
        Self {
            p50: micros(histogram.per_mille(500)),
            p99: micros(histogram.per_mille(990)),
            p999: micros(histogram.per_mille(999)),
            max: micros(histogram.max()),
        }
    }
}

/// Prints it to the standard output.
pub(crate) fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, report)?;
        writeln!(out)?;
    } else {
        for way in &report.ways {
            writeln!(out, "{}", line(report.seconds, way))?;
        }
    }
    Ok(out.flush()?)
}

fn line(seconds: f64, way: &Way) -> String {
    let late = &way.lateness_us;
    let mut line = format!(
        "{seconds:.1} s  {} to {}: {} frames in, {} out ({} octets), {} under way; dropped: {} by the queue, {} lost; \
         late by {:.0} us (half), {:.0} us (99 %), {:.0} us (99.9 %), {:.0} us (worst)",
        way.from,
        way.to,
        way.entered,
        way.sent,
        way.sent_octets,
        way.under_way,
        way.queue_full,
        way.lost,
        late.p50,
        late.p99,
        late.p999,
        late.max
    );
    if way.reordered + way.duplicated > 0 {
        line += &format!("; {} held back, {} twice", way.reordered, way.duplicated);
    }
    if way.missed > 0 || way.refused > 0 {
        line += &format!(
            "; NOT EMULATED: {} frames missed, this process was too slow; {} refused by {}, larger than its MTU or down",
            way.missed, way.refused, way.to
        );
    }
    line
}
