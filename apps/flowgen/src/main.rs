//! flowgen: loads a box with TCP or Multipath TCP connections over DPDK ports, verifies every octet, and tells what it
//! measured.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::{Parser, Subcommand};
use dataplane::{Clock, CoreId, Idle, Port, Worker, mailbox};
use dpdk::{DpdkPort, Eal, EalConfig, Mbuf, PortConfig, buffers_for};
use loadgen::{Config, Flowgen, Snapshot};
use signal_hook::consts::{SIGINT, SIGTERM};

/// The exit code for a wrong command line (clap's own) and for a wrong configuration.
const WRONG: u8 = 2;

const EXAMPLE: &str = "apps/flowgen/flowgen.example.yaml";

const ABOUT: &str = "flowgen opens TCP or Multipath TCP connections over DPDK ports, asks on each for responses of a size, and verifies every octet at its position, at both ends. It counts connections and requests per second, and how long they took. It runs the same TCP and Multipath TCP as hag, without a kernel, and is client, server, or both.";

const HELP: &str = "\
Examples:
  flowgen check -c load.yaml                tell what is wrong in the file
  sudo flowgen run -c load.yaml             run; a line a second on standard error, the result in JSON on standard output
  sudo flowgen run -c load.yaml -o out.json the same, the result in a file

What to write for what is wanted (start from apps/flowgen/flowgen.example.yaml, where every key is explained):
  connections per second   requests: 1, rate: 0, and as many `connections` as it takes to keep the box busy
  throughput               a few `connections`, response: endless (download) or request: endless (upload)
  latency under load       requests: 0 and a `rate`; times count from when a request was due, so that a stall shows
  connections at a time    hold: true and `connections: N`
  established ones alone   requests: 0, hold: true and a `rate`: all are opened first, and none for one that fails
  the highest rate         search: { low, high }: doubled, then halved in between, until less than 0.1 % is lost

Several groups of clients in one run, each with what it does, are a list: client: [{ name: kept, .. }, { name: storm, .. }].
The result then has each beside the total, in `groups` by name.

The result: `client` and `server` have connections (established, refused, reset, timed_out, subflows_joined, fell_back),
requests, octets_verified, pieces_wrong (0, unless a box damages payload), gbit_per_second, and times in microseconds.

SIGTERM or SIGINT ends the run; what was measured so far is the result.
Exit codes: 0 done, or the file is right; 1 could not run, or octets were wrong; 2 wrong command line or configuration.";

#[derive(Parser)]
#[command(version, about = "Loads a box with TCP and Multipath TCP connections and verifies what comes", long_about = ABOUT, after_help = HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run, and tell what was measured.
    Run {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
        /// Where the result goes instead of standard output.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// No lines of progress.
        #[arg(short, long)]
        quiet: bool,
    },
    /// Tell what is wrong in a configuration. Starts nothing.
    Check {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let (path, run) = match Arguments::parse().command {
        Command::Check { config } => (config, None),
        Command::Run {
            config,
            output,
            quiet,
        } => (config, Some((output, quiet))),
    };
    let config = match read(&path) {
        Ok(config) => config,
        Err(mistakes) => {
            for mistake in mistakes.lines() {
                let _ = writeln!(io::stderr(), "{}: {mistake}", path.display());
            }
            return ExitCode::from(WRONG);
        },
    };
    let Some((output, quiet)) = run else {
        let _ = writeln!(io::stdout(), "{}: ok", path.display());
        return ExitCode::SUCCESS;
    };
    match generate(&config, output.as_deref(), quiet) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "flowgen: {reason:#}");
            ExitCode::FAILURE
        },
    }
}

fn read(path: &Path) -> Result<Config, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("{error}; name a copy of {EXAMPLE}"))?;
    Config::read(&text).map_err(|error| error.to_string())
}

/// Runs it; whether no octet was wrong.
fn generate(config: &Config, output: Option<&Path>, quiet: bool) -> anyhow::Result<bool> {
    let told = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&told))
            .context("signals cannot be handled")?;
    }
    let ports = open(config)?;
    let known: Vec<_> = ports.iter().map(|port| port.info().clone()).collect();
    let clock = Clock::start();
    let mut fill = |octets: &[u8]| -> Option<Mbuf> { ports.first()?.filled(octets) };
    let app = Flowgen::new(config, &known, &mut fill, seed()?, clock.now())?;
    let (_nobody, inbox) = mailbox(1);
    let mut worker = Worker::new(CoreId(0), ports, app, inbox);
    let idle = if config.worker.spin {
        Idle::Spin
    } else {
        Idle::ADAPTIVE
    };
    let mut progress = Progress::new(quiet);
    dataplane::run(&mut worker, &clock, idle, |app| {
        progress.show(app);
        app.is_over() || told.load(Ordering::Relaxed)
    });
    worker.app_mut().stop();
    dataplane::run(&mut worker, &clock, idle, Flowgen::is_over);
    progress.end();
    let report = worker.app().report();
    let text = serde_json::to_string_pretty(&report)?;
    match output {
        Some(path) => {
            std::fs::write(path, text + "\n").with_context(|| path.display().to_string())?;
        },
        None => writeln!(io::stdout(), "{text}")?,
    }
    let ends = [&report.client, &report.server];
    Ok(ends.into_iter().flatten().all(|end| end.pieces_wrong == 0))
}

fn open(config: &Config) -> anyhow::Result<Vec<DpdkPort>> {
    let devices = config.ports.iter().map(|port| port.device.clone());
    let is_pci =
        |device: &String| dpdk::Device::parse(device, 0).is_ok_and(|device| device.is_pci());
    let eal = Eal::init(&EalConfig {
        memory_mb: config.worker.memory_mb,
        hugepages: config.worker.hugepages,
        core: Some(config.worker.core),
        others: Vec::new(),
        pci: devices.filter(is_pci).collect(),
    })?;
    let count = u32::try_from(config.ports.len())?;
    let open = |port: &loadgen::config::Port| {
        DpdkPort::open(
            eal,
            &PortConfig {
                name: port.name.clone(),
                device: port.device.clone(),
                mtu: port.mtu,
                tags: 0,
                buffers: buffers_for(config.worker.memory_mb, count, port.mtu, 1),
            },
        )
    };
    Ok(config.ports.iter().map(open).collect::<Result<_, _>>()?)
}

/// The operating system's randomness: keys, sequence numbers and the flow table's hash follow from it.
fn seed() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut seed))
        .context("/dev/urandom cannot be read")?;
    Ok(seed)
}

/// A line a second.
struct Progress {
    quiet: bool,
    terminal: bool,
    last: Snapshot,
}

impl Progress {
    fn new(quiet: bool) -> Self {
        Self {
            quiet,
            terminal: io::stderr().is_terminal(),
            last: Snapshot::default(),
        }
    }

    fn show(&mut self, app: &Flowgen<Mbuf>) {
        let seconds = std::time::Duration::from(app.now().since(self.last.now)).as_secs_f64();
        if self.quiet || seconds < 1.0 {
            return;
        }
        let now = app.snapshot();
        // Counts begin anew when the measurement does.
        let rate = |now: u64, last: u64| now.saturating_sub(last) as f64 / seconds;
        let line = format!(
            "{:5.0} s  {}  {:8} open  {:9.0} connections/s  {:9.0} requests/s  {:7.3} Gbit/s verified  {} failed",
            now.now.as_millis() as f64 / 1e3,
            if now.measuring {
                "measuring "
            } else {
                "warming up"
            },
            now.live,
            rate(now.established, self.last.established),
            rate(now.answered, self.last.answered),
            rate(now.received, self.last.received) * 8.0 / 1e9,
            now.failed,
        );
        let (before, after) = if self.terminal {
            ("\r", "")
        } else {
            ("", "\n")
        };
        let _ = write!(io::stderr(), "{before}{line}{after}");
        self.last = now;
    }

    fn end(&self) {
        if self.terminal && !self.quiet {
            let _ = writeln!(io::stderr());
        }
    }
}
