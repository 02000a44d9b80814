//! The lines on the control socket: `{"command":"show ports"}` asks, `{"status":"ok","result":{..}}` or
//! `{"status":"error","message":".."}` answers.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use super::{CONNECTIONS_SHOWN_MAX, Command, Reply};

/// The longest question that is read, in octets with its newline.
pub const REQUEST_MAX: usize = 4_096;

/// A question as it is written. Unknown fields are refused, so that a misspelt one is not silently ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// One of [`COMMANDS`].
    pub command: String,
    /// For `show connections` and `show accounts`: how many rows at most; without it, [`CONNECTIONS_SHOWN_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// For `set address`: the address that is no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
    /// For `set address`: the new one, with its prefix length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// For `set address`: the router beside it, if that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
}

/// Every command that can be asked for by name.
pub const COMMANDS: [&str; 10] = [
    "show ports",
    "show connections",
    "show paths",
    "show accounts",
    "show rules",
    "show runtime",
    "show counters",
    "show status",
    "drain",
    "set address",
];

impl Request {
    /// The question for `command` without further options.
    #[must_use]
    pub fn new(command: &str) -> Self {
        Self {
            command: command.to_owned(),
            limit: None,
            from: None,
            to: None,
            gateway: None,
        }
    }

    /// Reads one line.
    ///
    /// # Errors
    /// The sentence to send back: not JSON, an unknown field, or an unknown command.
    pub fn parse(line: &str) -> Result<Command, String> {
        let request: Self = serde_json::from_str(line).map_err(|error| {
            format!("not a request ({error}); write one line like {{\"command\":\"show ports\"}}")
        })?;
        let limit = request.limit.unwrap_or(CONNECTIONS_SHOWN_MAX);
        match request.command.as_str() {
            "show ports" => Ok(Command::ShowPorts),
            "show connections" => Ok(Command::ShowConnections {
                limit: limit.min(CONNECTIONS_SHOWN_MAX),
            }),
            "show rules" => Ok(Command::ShowRules),
            "show runtime" => Ok(Command::ShowRuntime),
            "show paths" => Ok(Command::ShowPaths),
            "show accounts" => Ok(Command::ShowAccounts {
                limit: limit.min(CONNECTIONS_SHOWN_MAX),
            }),
            "show counters" => Ok(Command::ShowCounters),
            "show status" => Ok(Command::ShowStatus),
            "drain" => Ok(Command::Drain),
            "set address" => {
                let to = request.to.and_then(|text| text.parse().ok());
                let (Some(from), Some(to)) = (request.from, to) else {
                    return Err(
                        "set address needs \"from\" and \"to\", such as 10.2.0.2 and 10.2.0.7/24"
                            .into(),
                    );
                };
                Ok(Command::SetAddress {
                    from,
                    to,
                    gateway: request.gateway,
                })
            },
            other => Err(format!(
                "unknown command \"{other}\"; there are {}",
                COMMANDS.join(", ")
            )),
        }
    }
}

/// An answer as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Response<R> {
    /// It was done.
    Ok {
        /// What was asked for.
        result: R,
    },
    /// It was not done.
    Error {
        /// Why, and what to write instead.
        message: String,
    },
}

impl Response<Reply> {
    /// The line to send, newline included.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_else(|error| {
            // Reply holds strings, integers and lists alone: this cannot happen, and must not panic if it does.
            format!("{{\"status\":\"error\",\"message\":\"{error}\"}}")
        });
        line.push('\n');
        line
    }
}
