//! The configuration file: YAML in, a [`Config`] or every mistake in it out.
//!
//! A file is read in four steps, and none of them stops at the first mistake: `tree` keeps the document as it is
//! written, `sections` reads each key with its range and default, `cross` checks how the parts fit together, and
//! `place` finds the lines of what was found wrong. A [`Config`] exists only if nothing was.

mod cross;
mod device;
mod hint;
mod place;
mod reader;
mod sections;
mod settings;
mod tree;
mod types;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use core::net::IpAddr;

use ipnet::IpNet;

use crate::nat::{FirewallSettings, NatSettings};
use reader::{At, Found, Reader};
use sections::Draft;
pub use types::{
    BoxKind, Config, Control, Device, Drain, Gate, Hag, Hugepages, Mistake, Mptcp, Polling, Port,
    Route, Worker,
};

/// The largest configuration file that is read, in octets.
pub const SOURCE_MAX: usize = 1024 * 1024;

/// How many mistakes are told at once, in lines; one more line says how many there are beyond.
const TOLD_MAX: usize = 100;

/// What a file says, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Checked {
    /// The configuration, or every mistake in the order of lines.
    pub result: Result<Config, Vec<Mistake>>,
    /// What is legal and probably not meant, in the order of lines.
    pub warnings: Vec<Mistake>,
}

/// Reads a configuration of a box of `kind`.
///
/// # Errors
/// Every mistake in `source`, in the order of lines.
pub fn parse(kind: BoxKind, source: &str) -> Result<Config, Vec<Mistake>> {
    check(kind, source.as_bytes(), &|_| true).result
}

/// Reads the configuration of a box of `kind` in the file at `path`.
///
/// # Errors
/// The file cannot be read.
pub fn load(kind: BoxKind, path: &Path) -> io::Result<Checked> {
    let mut source = Vec::new();
    // One octet above the limit is enough to see that there are too many.
    let most = u64::try_from(SOURCE_MAX).unwrap_or(u64::MAX) + 1;
    File::open(path)?.take(most).read_to_end(&mut source)?;
    Ok(check(kind, &source, &|path| path.is_dir()))
}

/// Reads a configuration from whatever a file holds; `is_directory` says whether a path on this machine is one.
#[must_use]
pub fn check(kind: BoxKind, source: &[u8], is_directory: &dyn Fn(&Path) -> bool) -> Checked {
    let source = match text(source) {
        Ok(source) => source,
        Err(mistake) => return failed(mistake),
    };
    let root = match tree::read(source) {
        Ok(root) => root,
        Err(error) => return failed(syntax(source, &error)),
    };
    if root == tree::Node::Empty {
        return failed(whole(
            "the file is empty",
            &format!("start from the example, {}", kind.example()),
        ));
    }
    let mut reader = Reader::new(kind);
    let draft = sections::read(&mut reader, &root);
    if let Some(draft) = &draft {
        cross::check(&mut reader, draft, is_directory);
    }
    let config = draft
        .filter(|_| reader.found.is_empty())
        .and_then(|draft| draft.finish(kind));
    Checked {
        result: config.ok_or_else(|| told(source, reader.found)),
        warnings: told(source, reader.warnings),
    }
}

impl Draft {
    /// The places of the ports that are a bump in the wire.
    fn bridged(&self) -> Option<[usize; 2]> {
        let named = |name: &At<String>| {
            let mut names = self.ports.iter().map(|port| port.name.as_ref());
            names.position(|port| port.is_some_and(|port| port.value == name.value))
        };
        match &*self.bridge {
            [one, other] => Some([named(one)?, named(other)?]),
            _ => None,
        }
    }

    /// The configuration; `None` if a part was not readable, which has been noted as a mistake.
    fn finish(self, kind: BoxKind) -> Option<Config> {
        let port = |port: sections::PortDraft| {
            Some(Port {
                name: port.name?.value,
                device: port.device?.value,
                role: port.role?,
                addresses: port.addresses.into_iter().map(|at| at.value).collect(),
                mtu: port.mtu?.value,
                gateway: port.gateway.into_iter().map(|at| at.value).collect(),
                keepalive: port.keepalive,
                vlan: port.vlan,
                cost: port.cost,
                weight: port.weight,
                cap: port.cap,
            })
        };
        let route = |route: sections::RouteDraft| {
            Some(Route {
                to: route.to?.value,
                via: route.via?.value,
            })
        };
        let bridge = self.bridged();
        Some(Config {
            kind,
            bridge,
            name: self.name?,
            worker: self.worker?,
            ports: self.ports.into_iter().map(port).collect::<Option<_>>()?,
            routes: self.routes.into_iter().map(route).collect::<Option<_>>()?,
            subscribers: self.subscribers.into_iter().map(|at| at.value).collect(),
            inbound: self.inbound,
            join: self.join,
            hag: self.hag.map(|hag| Hag {
                addresses: hag.addresses.into_iter().map(|at| at.value).collect(),
                prefixes: hag.prefixes.into_iter().map(|at| at.value).collect(),
                announce: hag.announce,
            }),
            gate: match self.gate {
                Some(gate) => Some(gate.finish()?),
                None => None,
            },
            mptcp: Mptcp {
                announce: self.announce.into_iter().map(|at| at.value).collect(),
                versions: self.versions,
                checksum: self.checksum,
            },
            policy: self.policy,
            limits: self.limits,
            timeouts: self.timeouts,
            control: self.control.value,
            drain: self.drain,
            select: self.select,
        })
    }
}

impl sections::GateDraft {
    /// The gate; `None` if a part was not readable.
    fn finish(self) -> Option<Gate> {
        let nat = |nat: sections::NatDraft| {
            let v4 = |at: At<IpNet>| match at.value {
                IpNet::V4(net) => Some(net),
                IpNet::V6(_) => None,
            };
            let IpAddr::V4(address) = nat.address?.value else {
                return None;
            };
            Some(NatSettings {
                inside: nat.inside.into_iter().map(v4).collect::<Option<_>>()?,
                address,
                forwards: nat.forwards.into_iter().map(|at| at.value).collect(),
            })
        };
        Some(Gate {
            nat: match self.nat {
                Some(draft) => Some(nat(draft)?),
                None => None,
            },
            firewall: FirewallSettings {
                inbound: self.inbound,
                allow: self.allow.into_iter().map(|at| at.value).collect(),
            },
            limits: self.limits,
            timeouts: self.timeouts,
        })
    }
}

/// Text that can be a configuration at all.
fn text(source: &[u8]) -> Result<&str, Mistake> {
    if source.len() > SOURCE_MAX {
        let what =
            format!("the file has more than the {SOURCE_MAX} octets that a configuration may have");
        return Err(whole(&what, "name a configuration file"));
    }
    let read = str::from_utf8(source).map_err(|error| {
        let before = source.get(..error.valid_up_to()).unwrap_or_default();
        Mistake {
            line: 1 + before.iter().filter(|&&octet| octet == b'\n').count(),
            path: String::new(),
            what: "this is no UTF-8 text".to_owned(),
            instead: "save the file as UTF-8".to_owned(),
        }
    })?;
    // Some editors put a byte order mark first; the YAML parser takes it for a document of its own.
    Ok(read.strip_prefix('\u{feff}').unwrap_or(read))
}

/// A mistake of the file as a whole.
fn whole(what: &str, instead: &str) -> Mistake {
    Mistake {
        line: 1,
        path: String::new(),
        what: what.to_owned(),
        instead: instead.to_owned(),
    }
}

/// Where the parser gave up. There is only ever one: what follows a syntax error has no meaning.
fn syntax(source: &str, error: &serde_yaml::Error) -> Mistake {
    let message = error.to_string();
    let line = error.location().map_or(1, |location| location.line());
    let lines = source.lines().count().max(1);
    let instead = if source.contains('\t') {
        "indent with spaces, not with tabs"
    } else {
        "put texts with : # { } [ ] , & * ! | > ' \" % @ in quotes, and indent with spaces"
    };
    Mistake {
        line: line.min(lines),
        path: String::new(),
        what: format!("this is no YAML: {}", message.escape_debug()),
        instead: instead.to_owned(),
    }
}

fn failed(mistake: Mistake) -> Checked {
    Checked {
        result: Err(vec![mistake]),
        warnings: Vec::new(),
    }
}

/// Finds the lines. Each costs a walk through the document, so there is a bound on how many.
fn told(source: &str, found: Vec<Found>) -> Vec<Mistake> {
    let beyond = found.len().saturating_sub(TOLD_MAX);
    let with_line = |found: Found| Mistake {
        line: found.place.line(source),
        path: found.place.to_string(),
        what: found.what,
        instead: found.instead,
    };
    let mut told: Vec<_> = found.into_iter().take(TOLD_MAX).map(with_line).collect();
    told.sort_by_key(|mistake| mistake.line);
    if beyond > 0 {
        told.push(Mistake {
            line: source.lines().count().max(1),
            path: String::new(),
            what: format!("{beyond} more mistakes are not shown"),
            instead: "mend these first".to_owned(),
        });
    }
    told
}

/// Text from the file for a sentence: in quotes, shortened, nothing in it can move a terminal's cursor.
fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    let dots = if short.len() < text.len() { "..." } else { "" };
    format!("\"{}{dots}\"", short.escape_debug())
}
