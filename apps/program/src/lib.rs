//! What `hag` and `hcpe` share: they check a configuration, open its ports, and run a worker until they are told to stop.
#![forbid(unsafe_code)]

mod ports;
mod start;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use apps::config::{self, BoxKind, Config};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing::error;
use tracing_subscriber::EnvFilter;

/// The exit code for a wrong command line (clap's own) and for a wrong configuration.
const WRONG: u8 = 2;

/// What a program says of itself.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Which box it is.
    pub kind: BoxKind,
    /// One line for `-h`.
    pub short: &'static str,
    /// A paragraph for `--help`.
    pub long: &'static str,
}

#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

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

/// Runs the program that `about` describes with the arguments of this process.
#[must_use]
pub fn main(about: &About) -> ExitCode {
    let kind = about.kind;
    let matches = command(about).get_matches();
    let arguments = match Arguments::from_arg_matches(&matches) {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match arguments.command {
        Command::Check { config } => match read(kind, &config) {
            Some(read) => {
                let _ = writeln!(io::stdout(), "{}: ok", config.display());
                let _ = writeln!(io::stdout(), "{}", read.summary());
                ExitCode::SUCCESS
            },
            None => ExitCode::from(WRONG),
        },
        Command::Run { config } => {
            let Some(config) = read(kind, &config) else {
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

fn command(about: &About) -> clap::Command {
    Arguments::command()
        .name(about.kind.name())
        .about(about.short)
        .long_about(format!("{}\n\n{}", about.short, about.long))
        .after_help(help(about.kind))
}

fn help(kind: BoxKind) -> String {
    let (name, example) = (kind.name(), kind.example());
    let ask = match kind {
        BoxKind::Hag => "braidctl",
        BoxKind::Hcpe => "braidctl --socket /run/hcpe/hcpe.sock",
    };
    format!(
        "\
Examples:
  {name} check -c {name}.yaml           tell every mistake in the file: line, and what to write instead
  sudo {name} run -c {name}.yaml        run until SIGTERM or Ctrl-C
  RUST_LOG=debug {name} run -c ...   with more to read on standard error

What `run` needs:
  - a configuration: start from {example}, where every key is explained
  - root, or the capabilities CAP_NET_RAW, CAP_NET_ADMIN and CAP_IPC_LOCK
  - for a port on a kernel interface (net_af_packet, net_af_xdp): the interface up, without addresses, offloads off
    (ethtool -K IFACE rx off tx off gro off gso off tso off); for a PCI port: its driver bound to vfio-pci

While it runs, ask it with `{ask} show ports|connections|counters`.
On SIGTERM or SIGINT new flows are no longer bonded, and existing ones have drain.grace to end before they are reset. A
second signal cuts the grace time short.

Exit codes: 0 stopped as told, or the file is right; 1 could not run; 2 wrong command line or configuration."
    )
}

/// Reads the file, and tells on standard error what is wrong with it, in the form of compilers.
fn read(kind: BoxKind, path: &Path) -> Option<Config> {
    let mut told = io::stderr().lock();
    let name = path.display();
    let checked = match config::load(kind, path) {
        Ok(checked) => checked,
        Err(error) => {
            let _ = writeln!(
                told,
                "{name}: {error}; name a configuration, such as a copy of {}",
                kind.example()
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
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        for kind in [BoxKind::Hag, BoxKind::Hcpe] {
            let about = About {
                kind,
                short: "Short",
                long: "Long",
            };
            command(&about).debug_assert();
            let help = command(&about).render_long_help().to_string();
            assert!(help.contains(kind.example()), "{help}");
        }
    }
}
