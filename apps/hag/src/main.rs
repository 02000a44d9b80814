//! The Hybrid Access Gateway: checks its configuration, opens its ports, and runs its worker until it is told to stop.
#![forbid(unsafe_code)]

mod ports;
mod start;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apps::config::{self, Config};
use clap::{Parser, Subcommand};
use tracing::error;
use tracing_subscriber::EnvFilter;

/// The exit code for a wrong command line (clap's own) and for a wrong configuration.
const WRONG: u8 = 2;

/// Hybrid Access Gateway: bonds the access networks of a subscriber.
///
/// hag stands on the path of its subscribers' traffic. A TCP connection that a client opens with Multipath TCP goes on to
/// its server as plain TCP, from the client's own address; the client's second access joins it at an address that hag
/// announces. Everything else is forwarded untouched.
#[derive(Parser)]
#[command(
    version,
    after_help = HELP
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = "\
Examples:
  hag check -c hag.yaml           tell every mistake in the file: line, and what to write instead
  sudo hag run -c hag.yaml        run until SIGTERM or Ctrl-C
  RUST_LOG=debug hag run -c ...   with more to read on standard error

What `run` needs:
  - a configuration: start from apps/hag/hag.example.yaml, where every key is explained
  - root, or the capabilities CAP_NET_RAW, CAP_NET_ADMIN and CAP_IPC_LOCK
  - for a port on a kernel interface (net_af_packet, net_af_xdp): the interface up, without addresses, offloads off
    (ethtool -K IFACE rx off tx off gro off gso off tso off); for a PCI port: its driver bound to vfio-pci

While it runs, ask it with `braidctl show ports|connections|counters`.
On SIGTERM or SIGINT new flows are no longer bonded, and existing ones have drain.grace to end before they are reset. A
second signal cuts the grace time short.

Exit codes: 0 stopped as told, or the file is right; 1 could not run; 2 wrong command line or configuration.";

#[derive(Subcommand)]
enum Command {
    /// Run in the foreground until SIGTERM or SIGINT.
    Run {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Tell every mistake in a configuration: its line, and what to write instead. Starts nothing.
    Check {
        /// The configuration.
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Check { config } => match read(&config) {
            Some(read) => {
                let _ = writeln!(io::stdout(), "{}: ok", config.display());
                let _ = writeln!(io::stdout(), "{}", read.summary());
                ExitCode::SUCCESS
            },
            None => ExitCode::from(WRONG),
        },
        Command::Run { config } => {
            let Some(config) = read(&config) else {
                return ExitCode::from(WRONG);
            };
            log_to_stderr();
            match start::run(&config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(reason) => {
                    error!("{reason:#}");
                    ExitCode::FAILURE
                },
            }
        },
    }
}

/// Reads the file, and tells on standard error what is wrong with it, in the form of compilers.
fn read(path: &Path) -> Option<Config> {
    let mut told = io::stderr().lock();
    let name = path.display();
    let checked = match config::load(path) {
        Ok(checked) => checked,
        Err(error) => {
            let _ = writeln!(
                told,
                "{name}: {error}; name a configuration, such as a copy of apps/hag/hag.example.yaml"
            );
            return None;
        },
    };
    for warning in &checked.warnings {
        let _ = writeln!(told, "{name}:{warning} (a warning)");
    }
    match checked.result {
        Ok(config) => Some(config),
        Err(mistakes) => {
            for mistake in &mistakes {
                let _ = writeln!(told, "{name}:{mistake}");
            }
            None
        },
    }
}

/// Logs go to standard error, for a service manager to keep. The data plane writes none.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
