//! `braid-aggregation`: what two lines bring together, cell by cell, and whether that is what it should be.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use dataplane::Clock;
use sim::aggregation::table::{GOALS, parse, render};
use sim::aggregation::{Cell, Entry, Measured, compare, judge, matrix, measure};
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs every cell of the aggregation table in virtual time, prints it, and compares it with the reviewed one: fails where
/// a line is worse than that by more than a tolerance, or falls short of a goal that it reached.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// Runs only cells whose lines in the table hold all of these words: 20/30, ecf.
    words: Vec<String>,
    /// Prints what the boxes counted in each cell, too.
    #[arg(long)]
    counters: bool,
    /// Writes what was measured as the reviewed table: look at the difference before it is committed.
    #[arg(long)]
    bless: bool,
    /// The reviewed table.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/aggregation.md"))]
    reviewed: PathBuf,
    /// Where the table is written, too.
    #[arg(long)]
    into: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        },
    }
}

fn run(options: &Options) -> Result<bool> {
    let cells: Vec<Cell> = matrix::cells()
        .into_iter()
        .filter(|cell| {
            let text = cell.to_string();
            let has = |word: &String| text.split(' ').any(|part| part == word);
            options.words.iter().all(has)
        })
        .collect();
    if cells.is_empty() {
        bail!("no cell has all of these words");
    }
    let clock = Clock::start();
    let seconds = || std::time::Duration::from_nanos(clock.now().as_nanos()).as_secs_f64();
    let progress = |done: usize, all: usize| {
        if done.is_multiple_of(10) || done == all {
            eprintln!("[{:6.1} s] {done} of {all} runs", seconds());
        }
    };
    let measured = measure(&cells, &progress).map_err(|failure| anyhow::anyhow!("{failure}"))?;
    let entries: Vec<_> = measured.iter().map(Entry::new).collect();
    let table = render(&entries);
    print!("{table}");
    if options.counters {
        measured.iter().for_each(counters);
    }
    if let Some(path) = &options.into {
        std::fs::write(path, &table).context("the table")?;
    }
    if options.bless {
        bless(options, &table)?;
    }
    let reviewed = std::fs::read_to_string(&options.reviewed).context("the reviewed table")?;
    let worse = compare(&entries, &parse(&reviewed), options.words.is_empty());
    worse.iter().for_each(|line| println!("worse    {line}"));
    summary(&measured, worse.len());
    Ok(worse.is_empty())
}

/// Puts `table` in the place of the one that is reviewed; the words before that stay.
fn bless(options: &Options, table: &str) -> Result<()> {
    if !options.words.is_empty() {
        bail!("only a whole table can be reviewed");
    }
    let before = std::fs::read_to_string(&options.reviewed).unwrap_or_default();
    let words: String = before
        .lines()
        .take_while(|line| !line.starts_with('|'))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(&options.reviewed, words + table).context("the reviewed table")
}

fn counters(measured: &Measured) {
    println!("\n{}", Entry::new(measured).key());
    for (name, counters) in &measured.counters {
        let list: Vec<_> = counters
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        println!("{name:<8} {}", list.join(", "));
    }
}

fn summary(measured: &[Measured], worse: usize) {
    let all = measured.len();
    for goal in GOALS {
        let short = measured.iter().filter(|one| judge(one).contains(&goal));
        println!("{goal:<8} {} of {all} lines fall short", short.count());
    }
    let short = measured.iter().filter(|one| !judge(one).is_empty()).count();
    println!(
        "{} cells of two access networks, both ways; {} of {all} lines reach every goal",
        all / 2,
        all - short
    );
    println!("{} passed, {worse} failed", all - worse.min(all));
}
