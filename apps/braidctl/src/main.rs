//! Asks a running hag or hcpe what it is doing, over its control socket.
#![forbid(unsafe_code)]

mod table;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use apps::control::client::ask;
use apps::control::wire::Request;
use apps::control::{Accounts, Connections, Counters, Paths, Ports, Rules, Runtime, Status};
use clap::{Parser, Subcommand};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Asks a running hag or hcpe what it is doing.
#[derive(Parser)]
#[command(
    version,
    after_help = "Examples:\n  \
        braidctl show connections\n  \
        braidctl show paths\n  \
        braidctl show counters --all --explain\n  \
        braidctl show frames --explain\n  \
        braidctl show runtime\n  \
        braidctl --socket /run/hcpe/hcpe.sock show ports --json\n  \
        braidctl drain\n\n\
        The socket is control.socket in the configuration of hag or hcpe; its group may use it too.\n\n\
        Exit codes: 0 answered, 1 no answer, 2 wrong command line."
)]
struct Arguments {
    /// The control socket: hag's, unless it is said. hcpe's is /run/hcpe/hcpe.sock.
    #[arg(
        long,
        global = true,
        default_value = "/run/hag/hag.sock",
        value_name = "PATH"
    )]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what there is.
    Show {
        #[command(subcommand)]
        what: Show,
    },
    /// Give a secondary port of hcpe's another address: connections are joined anew from it.
    SetAddress {
        /// The address that is no more.
        from: IpAddr,
        /// The new one, such as 10.2.0.7/24.
        to: String,
        /// The router beside it, if that changed, too.
        #[arg(long, value_name = "ADDRESS")]
        gateway: Option<IpAddr>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// From now on, forward new flows without bonding them. What is bonded goes on.
    Drain {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
enum Show {
    /// The ports and their traffic since the start.
    Ports {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The relayed connections with their subflows.
    Connections {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// How many connections at most; the box shows no more than 1000.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// The access networks: round trips, rates, losses, and what each carries.
    Paths {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The rules that say which flows are bonded, and how many flows each decided.
    Rules {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// What each subscriber's relayed connections carried by each access network since the start.
    Accounts {
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// How many subscribers at most; the box shows no more than 1000.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// The named counters that are not zero: every drop, fallback, bypass and reset by its reason.
    Counters {
        /// Print JSON, with the counters that are zero.
        #[arg(long)]
        json: bool,
        /// Also those that are zero.
        #[arg(long)]
        all: bool,
        /// Say what each one counts.
        #[arg(long)]
        explain: bool,
    },
    /// What became of the frames received: passed on, taken, or dropped by its reason. They add up; `counters --json` has
    /// them, too.
    Frames {
        /// Say what each row is.
        #[arg(long)]
        explain: bool,
    },
    /// What each core's cycles go to, by step of a packet's walk, and how often payload is touched.
    Runtime {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// How many relays there are, and whether the box is draining.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let closed = error
                .downcast_ref::<io::Error>()
                .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe);
            // Whoever reads us may stop early: `braidctl show counters | head`.
            if closed {
                return ExitCode::SUCCESS;
            }
            let _ = writeln!(io::stderr(), "braidctl: {error:#}");
            ExitCode::FAILURE
        },
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let text = match &arguments.command {
        Command::Drain { json } => {
            fetch::<Status>(arguments, &Request::new("drain"), *json, table::status)?
        },
        Command::SetAddress {
            from,
            to,
            gateway,
            json,
        } => {
            let request = Request {
                from: Some(*from),
                to: Some(to.clone()),
                gateway: *gateway,
                ..Request::new("set address")
            };
            fetch::<Status>(arguments, &request, *json, table::status)?
        },
        Command::Show { what } => show(arguments, what)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn show(arguments: &Arguments, what: &Show) -> anyhow::Result<String> {
    match what {
        Show::Ports { json } => {
            fetch::<Ports>(arguments, &Request::new("show ports"), *json, table::ports)
        },
        Show::Connections { json, limit } => {
            let request = Request {
                limit: *limit,
                ..Request::new("show connections")
            };
            fetch::<Connections>(arguments, &request, *json, table::connections)
        },
        Show::Paths { json } => {
            fetch::<Paths>(arguments, &Request::new("show paths"), *json, table::paths)
        },
        Show::Rules { json } => {
            fetch::<Rules>(arguments, &Request::new("show rules"), *json, table::rules)
        },
        Show::Runtime { json } => fetch::<Runtime>(
            arguments,
            &Request::new("show runtime"),
            *json,
            table::runtime,
        ),
        Show::Accounts { json, limit } => {
            let request = Request {
                limit: *limit,
                ..Request::new("show accounts")
            };
            fetch::<Accounts>(arguments, &request, *json, table::accounts)
        },
        Show::Counters { json, all, explain } => {
            let request = Request::new("show counters");
            fetch::<Counters>(arguments, &request, *json, |counters| {
                table::counters(counters, *all, *explain)
            })
        },
        Show::Frames { explain } => {
            let request = Request::new("show counters");
            fetch::<Counters>(arguments, &request, false, |counters| {
                table::frames(counters, *explain)
            })
        },
        Show::Status { json } => fetch::<Status>(
            arguments,
            &Request::new("show status"),
            *json,
            table::status,
        ),
    }
}

/// Asks, and makes the text to print: the answer's JSON, or what `human` makes of it.
fn fetch<R: DeserializeOwned + Serialize>(
    arguments: &Arguments,
    request: &Request,
    json: bool,
    human: impl FnOnce(&R) -> String,
) -> anyhow::Result<String> {
    let answer: R = ask(&arguments.socket, request)?;
    if !json {
        return Ok(human(&answer));
    }
    let mut text = serde_json::to_string_pretty(&answer).context("the answer is no JSON")?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_socket_may_stand_before_or_behind_the_command() {
        for line in [
            ["braidctl", "--socket", "/s", "show", "ports", "--json"],
            ["braidctl", "show", "ports", "--json", "--socket", "/s"],
        ] {
            let arguments = Arguments::try_parse_from(line).unwrap();
            assert_eq!(arguments.socket, PathBuf::from("/s"));
        }
    }
}
