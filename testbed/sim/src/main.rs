//! `braid-sim`: one seed in full, or a range of them with a summary.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail};
use clap::Parser;
use dataplane::Clock;
use mptcp::Versions;
use sim::keys::Round;
use sim::oracle::Failure;
use sim::plan::{Chain, Plan};
use sim::rules::Rule;
use sim::run::{Outcome, run, shrink};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs whole networks in virtual time, each from a seed, and looks for what must not be.
#[derive(Parser, Debug)]
#[command(version)]
struct Options {
    /// A seed, which is run in full; or a range of them, as in 0..2000.
    #[arg(default_value = "0..2000", value_parser = seeds)]
    seeds: Range<u64>,
    /// Where the frames of a single seed are written.
    #[arg(long, default_value = "target/sim")]
    into: PathBuf,
    /// How many failing seeds of a range are looked into before it stops.
    #[arg(long, default_value_t = 5)]
    failures: usize,
    /// Instead of seeds sends so many octets over one connection of either version: past 4 GiB all numbers come round.
    #[arg(long)]
    octets: Option<u64>,
    /// Runs boxes that do not keep a rule, or one after the other each of all: a failure must be found.
    #[arg(long, value_parser = rules)]
    without: Option<Rules>,
}

/// Rules to be taken out one by one.
#[derive(Clone, Debug)]
struct Rules(Vec<Rule>);

fn rules(text: &str) -> Result<Rules, String> {
    let named: Vec<_> = Rule::ALL
        .into_iter()
        .filter(|rule| text == "all" || rule.name() == text)
        .collect();
    if named.is_empty() {
        let names: Vec<_> = Rule::ALL.iter().map(|rule| rule.name()).collect();
        return Err(format!("rules are all, {}", names.join(", ")));
    }
    Ok(Rules(named))
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|error| error.to_string())
    };
    match text.split_once("..") {
        None => number(text).map(|seed| seed..seed + 1),
        Some((from, to)) => Ok(number(from)?..number(to)?),
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Rules(rules)) = &options.without
        && options.seeds.end > options.seeds.start + 1
    {
        return selfcheck(&options, rules);
    }
    if let Some(octets) = options.octets {
        return long(octets);
    }
    let result = if options.seeds.end == options.seeds.start + 1 {
        one(&options)
    } else {
        many(&options)
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(2)
        },
    }
}

/// The commit that this is built from, as well as it is known.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = std::process::Command::new("git")
            .args(arguments)
            .output()
            .ok()?;
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    match changed.as_deref() {
        Some("") | None => commit,
        Some(_) => format!("{commit} with changes"),
    }
}

fn describe(plan: &Plan) {
    println!("network  {:?}", plan.net);
    for (number, flow) in plan.flows.iter().enumerate() {
        println!("flow {number}   {flow:?}");
    }
    for fault in &plan.faults {
        println!("fault    {fault:?}");
    }
}

/// One seed: everything about it, and its frames in a file.
fn one(options: &Options) -> Result<bool> {
    let seed = options.seeds.start;
    let mut plan = Plan::new(seed);
    plan.without = options
        .without
        .as_ref()
        .and_then(|Rules(rules)| rules.first().copied());
    println!("seed {seed} of commit {}", commit());
    describe(&plan);
    let outcome = run(&plan, true);
    for (name, counters) in &outcome.counters {
        let list: Vec<_> = counters
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        println!("{name:<8} {}", list.join(", "));
    }
    let path = write(options, &format!("seed-{seed}.pcapng"), outcome.file)?;
    let seconds = std::time::Duration::from(outcome.lasted).as_secs_f64();
    println!(
        "{} frames seen in {seconds:.3} s of virtual time, trace {:016x}: {}",
        outcome.frames,
        outcome.hash,
        path.display()
    );
    let again = run(&plan, false);
    let failure = outcome
        .failure
        .or_else(|| (again.hash != outcome.hash).then_some(Failure::Undetermined));
    let Some(failure) = failure else {
        println!("ok");
        return Ok(true);
    };
    println!("FAILED   {failure}");
    let least = shrink(&plan, &failure);
    println!("\nthe least that fails so:");
    describe(&least);
    let outcome = run(&least, true);
    let path = write(options, &format!("seed-{seed}-least.pcapng"), outcome.file)?;
    if let Some(failure) = outcome.failure {
        println!("FAILED   {failure}: {}", path.display());
    }
    Ok(false)
}

fn write(options: &Options, name: &str, file: Option<Vec<u8>>) -> Result<PathBuf> {
    std::fs::create_dir_all(&options.into).context("the folder for captures")?;
    let path = options.into.join(name);
    std::fs::write(&path, file.unwrap_or_default()).context("the capture")?;
    Ok(path)
}

/// One connection in either version that carries more than numbers of 32 bits can count, and comes to where those of 64
/// bits come round.
fn long(octets: u64) -> ExitCode {
    let done = [Versions::V1, Versions::V0].map(|versions| {
        let mut plan = Plan::long(Chain::Bonded(2), octets);
        plan.net.versions = [versions; 2];
        plan.net.rounds[0] = Some(Round::Whole);
        one_long(&plan)
    });
    ExitCode::from(u8::from(done != [true; 2]))
}

fn one_long(plan: &Plan) -> bool {
    let clock = Clock::start();
    let outcome = run(plan, false);
    for (name, counters) in &outcome.counters {
        let relayed = counters.get("relayed_octets").copied().unwrap_or(0);
        let rounds = ["data_low_came_round", "data_came_round"];
        let [low, whole] = rounds.map(|name| counters.get(name).copied().unwrap_or(0));
        println!("{name:<8} relayed_octets {relayed}, numbers came round {low} {whole}");
    }
    let lasted = outcome.lasted.as_millis();
    let took = clock.now().as_nanos() / 1_000_000;
    let frames = outcome.frames;
    println!("{frames} frames seen in {lasted} ms of virtual time, which took {took} ms");
    match &outcome.failure {
        None => println!("ok"),
        Some(failure) => println!("FAILED   {failure}"),
    }
    outcome.failure.is_none()
}

/// Each rule in turn is taken out, and some seed of the range must show it: one that fails with all rules shows nothing.
fn selfcheck(options: &Options, rules: &[Rule]) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {}));
    let mut unseen = 0;
    for rule in rules {
        let found = options.seeds.clone().find_map(|seed| {
            let mut plan = Plan::new(seed);
            plan.without = Some(*rule);
            let failure = run(&plan, false).failure?;
            plan.without = None;
            let holds = run(&plan, false).failure.is_none();
            holds.then_some((seed, failure))
        });
        match found {
            Some((seed, failure)) => println!("without {:<16} seed {seed}: {failure}", rule.name()),
            None => {
                println!(
                    "without {:<16} NOTHING IS FOUND in {:?}",
                    rule.name(),
                    options.seeds
                );
                unseen += 1;
            },
        }
    }
    println!("{} passed, {unseen} failed", rules.len() - unseen);
    ExitCode::from(u8::from(unseen > 0))
}

#[derive(Default)]
struct Sum {
    done: u64,
    frames: u64,
    failed: BTreeMap<u64, Failure>,
    counters: BTreeMap<String, u64>,
}

/// A range of seeds on all cores, each seed's failure in a line.
fn many(options: &Options) -> Result<bool> {
    let Range { start, end } = options.seeds.clone();
    if start >= end {
        bail!("{start}..{end} is no range of seeds");
    }
    // A panic is a failure like any other, and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let clock = Clock::start();
    let next = AtomicU64::new(start);
    let sum = Mutex::new(Sum::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let Ok(enough) = sum.lock().map(|sum| sum.failed.len() >= options.failures)
                    else {
                        return;
                    };
                    if seed >= end || enough {
                        return;
                    }
                    let plan = Plan::new(seed);
                    let outcome = run(&plan, false);
                    // One seed in 64 runs twice: the trace must be the same.
                    let again = seed.is_multiple_of(64).then(|| run(&plan, false).hash);
                    if let Ok(mut sum) = sum.lock() {
                        note(&mut sum, (seed, end - start), outcome, again);
                    }
                }
            });
        }
    });
    let _ = std::panic::take_hook();
    let sum = sum.into_inner().unwrap_or_default();
    summary(&sum, clock.now().as_nanos());
    Ok(sum.failed.is_empty())
}

fn note(sum: &mut Sum, (seed, all): (u64, u64), outcome: Outcome, again: Option<u64>) {
    sum.done += 1;
    sum.frames += outcome.frames;
    for (_, counters) in outcome.counters {
        for (name, n) in counters {
            *sum.counters.entry(name).or_default() += n;
        }
    }
    let differs = again.is_some_and(|hash| hash != outcome.hash);
    let failure = outcome
        .failure
        .or_else(|| differs.then_some(Failure::Undetermined));
    if let Some(failure) = failure {
        println!("seed {seed}: {failure}");
        sum.failed.insert(seed, failure);
    }
    if sum.done.is_multiple_of(500) {
        println!("{} of {all} seeds", sum.done);
    }
}

fn summary(sum: &Sum, nanos: u64) {
    let seconds = std::time::Duration::from_nanos(nanos).as_secs_f64();
    let each = sum.done as f64 / seconds * 60.0;
    println!(
        "{} seeds in {seconds:.1} s ({each:.0} a minute), {} frames seen",
        sum.done, sum.frames
    );
    let wanted = [
        "relay_opened",
        "relay_opened_mptcp",
        "join_accepted",
        "tcp_rto",
        "tcp_fast_recovery",
        "reinjected",
        "device_trains",
        "device_joined",
        "data_low_came_round",
    ];
    let seen: Vec<_> = wanted
        .iter()
        .map(|name| format!("{name} {}", sum.counters.get(*name).unwrap_or(&0)))
        .collect();
    println!("{}", seen.join(", "));
    for (seed, failure) in &sum.failed {
        println!("seed {seed} of commit {}: {failure}", commit());
        println!("    replay: make sim SEED={seed}");
    }
    let (passed, failed) = (sum.done - sum.failed.len() as u64, sum.failed.len());
    println!("{passed} passed, {failed} failed");
}
