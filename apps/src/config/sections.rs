//! The sections of the file: each key once, with its range and its default.

use core::net::IpAddr;
use stack::tcp::congestion::Algorithm;
use stack::time::Duration;
use std::path::PathBuf;

use ipnet::IpNet;
use mptcp::{Coupling, Versions};

use super::place::Place;
use super::reader::{At, Reader, Table};
use super::tree::Node;
use super::types::{BoxKind, Control, Drain, Hugepages, Polling, Worker};
use crate::engine::{
    CORES_MAX, JoinSettings, Limits, PolicySettings, SchedulerKind, Select, Timeouts,
};
pub(super) use edge::HagDraft;
pub(super) use gate::{GateDraft, NatDraft};
use limits::limits;
pub(super) use ports::PortDraft;

mod edge;
mod gate;
mod join;
mod limits;
mod ports;
mod select;

/// What was readable of a file; [`super::cross`] checks how it fits together.
pub(super) struct Draft {
    pub(super) name: Option<String>,
    pub(super) worker: Option<Worker>,
    pub(super) ports: Vec<PortDraft>,
    /// Whether every address of every port was readable: else a route that does not resolve may be no mistake.
    pub(super) addresses_known: bool,
    /// The names of two ports that are a bump in the wire; else empty.
    pub(super) bridge: Vec<At<String>>,
    pub(super) routes: Vec<RouteDraft>,
    pub(super) subscribers: Vec<At<IpNet>>,
    /// At the customer's edge.
    pub(super) hag: Option<HagDraft>,
    pub(super) inbound: bool,
    /// In the network.
    pub(super) join: JoinSettings,
    /// At the customer's edge.
    pub(super) gate: Option<GateDraft>,
    pub(super) announce: Vec<At<IpAddr>>,
    pub(super) versions: Versions,
    pub(super) checksum: bool,
    pub(super) policy: PolicySettings,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) control: At<Control>,
    pub(super) drain: Drain,
    pub(super) select: Select,
}

/// What was readable of a route.
pub(super) struct RouteDraft {
    pub(super) to: Option<At<IpNet>>,
    pub(super) via: Option<At<IpAddr>>,
}

/// The sections of a file for hag.
const HAG: &[&str] = &[
    "name",
    "worker",
    "ports",
    "bridge",
    "routes",
    "subscribers",
    "inbound",
    "join",
    "mptcp",
    "policy",
    "limits",
    "timeouts",
    "control",
    "drain",
    "select",
];

/// The sections of a file for hcpe.
const HCPE: &[&str] = &[
    "name", "worker", "ports", "routes", "hosts", "nat", "firewall", "mappings", "hag", "mptcp",
    "policy", "limits", "timeouts", "control", "drain", "select",
];

const fn sections(kind: BoxKind) -> &'static [&'static str] {
    match kind {
        BoxKind::Hag => HAG,
        BoxKind::Hcpe => HCPE,
    }
}

const WORKER: &[&str] = &["cores", "polling", "hugepages", "memory_mb"];
const ROUTE: &[&str] = &["to", "via"];
const MPTCP_HAG: &[&str] = &["announce", "versions", "checksum"];
const MPTCP_HCPE: &[&str] = &["versions", "checksum"];
const TIMEOUTS: &[&str] = &["pending", "joining", "idle", "closing", "keepalive"];
const POLICY: &[&str] = &["scheduler", "congestion", "tcp_congestion", "tcp_pacing"];
const CONTROL: &[&str] = &["socket"];
const DRAIN: &[&str] = &["grace"];

/// Every key that a file may have.
#[cfg(test)]
pub(super) fn every_key(kind: BoxKind) -> Vec<&'static str> {
    let own: &[&[&str]] = match kind {
        BoxKind::Hag => &[join::JOIN, join::SUBSCRIBER, MPTCP_HAG, select::SELECT_HAG],
        BoxKind::Hcpe => &[
            ports::PORT_HCPE,
            MPTCP_HCPE,
            select::SELECT_HCPE,
            edge::HAG,
            gate::NAT,
            gate::FORWARD,
            gate::FIREWALL,
            gate::ALLOW,
            gate::MAPPINGS,
        ],
    };
    let shared = [
        sections(kind),
        ports::PORT,
        select::RULE,
        WORKER,
        ROUTE,
        POLICY,
        limits::LIMITS,
        limits::PER_SUBSCRIBER,
        TIMEOUTS,
        CONTROL,
        DRAIN,
    ];
    own.iter()
        .chain(&shared)
        .copied()
        .flatten()
        .copied()
        .collect()
}

/// Reads every section; `None` if the document is not even a table.
pub(super) fn read(reader: &mut Reader, root: &Node) -> Option<Draft> {
    let at = At {
        value: root,
        place: Place::default(),
    };
    let kind = reader.kind;
    let root = reader.table(at, sections(kind))?;
    point_to_the_other_box(reader);
    let name = match root.find("name") {
        Some(at) => reader
            .text(at, &format!("write a name such as {}-1", kind.name()))
            .map(|at| at.value),
        None => Some(kind.name().to_owned()),
    };
    let worker = worker(reader, &root);
    let before = reader.found.len();
    let ports = ports::ports(reader, &root);
    let addresses_known = !reader.found.iter().skip(before).any(|found| {
        let path = found.place.to_string();
        path == "ports" || path.contains("address")
    });
    let bridge = if kind == BoxKind::Hag {
        bridge(reader, &root)
    } else {
        Vec::new()
    };
    let routes = routes(reader, &root);
    let subscribers = subscribers(reader, &root);
    let inbound = match root.find("inbound") {
        Some(at) => reader.boolean(&at).unwrap_or(true),
        // The draft bonds both ways, and a subscriber without a hybrid box loses nothing by being asked.
        None => kind == BoxKind::Hag,
    };
    let hag = (kind == BoxKind::Hcpe).then(|| edge::hag(reader, &root));
    let join = match kind {
        BoxKind::Hag => join::join(reader, &root),
        BoxKind::Hcpe => JoinSettings::default(),
    };
    let gate = (kind == BoxKind::Hcpe).then(|| gate::gate(reader, &root));
    let (announce, versions, checksum) = mptcp(reader, &root);
    Some(Draft {
        name,
        limits: limits(reader, &root, worker.as_ref(), ports.len()),
        worker,
        ports,
        addresses_known,
        bridge,
        routes,
        subscribers,
        hag,
        inbound,
        join,
        gate,
        announce,
        versions,
        checksum,
        policy: policy(reader, &root),
        timeouts: timeouts(reader, &root),
        control: control(reader, &root),
        drain: drain(reader, &root),
        select: select::select(reader, &root),
    })
}

/// Says of sections that only the other box has whose they are.
fn point_to_the_other_box(reader: &mut Reader) {
    let (kind, other) = (reader.kind, reader.kind.other());
    for found in &mut reader.found {
        let path = found.place.to_string();
        if sections(other).contains(&path.as_str()) && !sections(kind).contains(&path.as_str()) {
            let (kind, other) = (kind.name(), other.name());
            found.instead = match path.as_str() {
                "subscribers" => {
                    "write the prefixes of the hosts behind hcpe under hosts".to_owned()
                },
                "hosts" => "write the prefixes that hag serves under subscribers".to_owned(),
                _ => format!("{path} is a section of {other}'s; leave it out of {kind}'s"),
            };
        }
    }
}

/// Opens an optional section.
fn section<'n>(
    reader: &mut Reader,
    root: &Table<'n>,
    key: &str,
    keys: &'static [&'static str],
) -> Option<Table<'n>> {
    root.find(key).and_then(|at| reader.table(at, keys))
}

fn worker(reader: &mut Reader, root: &Table<'_>) -> Option<Worker> {
    let mut worker = Worker {
        cores: vec![0],
        polling: Polling::Auto,
        hugepages: Hugepages::Auto,
        memory_mb: 256,
    };
    if root.find("worker").is_none() {
        return Some(worker);
    }
    let table = section(reader, root, "worker", WORKER)?;
    if let Some(at) = table.find("cores") {
        worker.cores = cores(reader, &at);
    }
    if let Some(at) = table.find("polling") {
        const CHOICES: &[(&str, Polling)] = &[
            ("auto", Polling::Auto),
            ("adaptive", Polling::Adaptive),
            ("spin", Polling::Spin),
        ];
        worker.polling = reader.choice(&at, CHOICES).unwrap_or(worker.polling);
    }
    if let Some(at) = table.find("hugepages") {
        const CHOICES: &[(&str, Hugepages)] = &[
            ("auto", Hugepages::Auto),
            ("yes", Hugepages::Yes),
            ("no", Hugepages::No),
        ];
        worker.hugepages = reader.choice(&at, CHOICES).unwrap_or(worker.hugepages);
    }
    if let Some(at) = table.find("memory_mb") {
        worker.memory_mb = reader
            .integer(&at, 64u32..=65_536)
            .unwrap_or(worker.memory_mb);
    }
    Some(worker)
}

fn cores(reader: &mut Reader, at: &At<&Node>) -> Vec<u16> {
    let place = at.place.clone();
    let is_list = matches!(at.value, Node::List(_));
    let items = reader.list(at, "write [0], or the numbers of other cores");
    if is_list && !(1..=usize::from(CORES_MAX)).contains(&items.len()) {
        let what = format!("{} cores are given", items.len());
        let instead = format!("write from 1 to {CORES_MAX} of them, such as [0]");
        reader.wrong(&place, what, instead);
    }
    let mut cores = Vec::new();
    for item in items {
        let Some(core) = reader.integer(&item, 0u16..=1023) else {
            continue;
        };
        if cores.contains(&core) {
            let what = format!("core {core} is there twice");
            reader.wrong(&item.place, what, "give each worker its own core");
        }
        cores.push(core);
    }
    cores
}

fn routes(reader: &mut Reader, root: &Table<'_>) -> Vec<RouteDraft> {
    let Some(at) = root.find("routes") else {
        return Vec::new();
    };
    let instead = "write a list of routes: - { to: 0.0.0.0/0, via: 10.9.0.2 }, or []";
    let items = reader.list(&at, instead);
    let mut routes = Vec::new();
    for item in items {
        let Some(table) = reader.table(item, ROUTE) else {
            continue;
        };
        let to = table
            .require(
                reader,
                "to",
                "write the destinations, such as 0.0.0.0/0 or \"::/0\"",
            )
            .and_then(|at| reader.network(at, "0.0.0.0/0 or \"::/0\""));
        let via = table
            .require(reader, "via", "write the next hop's address")
            .and_then(|at| reader.address(at));
        routes.push(RouteDraft { to, via });
    }
    routes
}

fn subscribers(reader: &mut Reader, root: &Table<'_>) -> Vec<At<IpNet>> {
    let (key, instead) = match reader.kind {
        BoxKind::Hag => (
            "subscribers",
            "write the prefixes whose flows are to be bonded: [10.1.0.0/24, \"fd00:1::/64\"]",
        ),
        BoxKind::Hcpe => (
            "hosts",
            "write the prefixes of the hosts behind the lan ports: [10.10.0.0/24, \"fd00:10::/64\"]",
        ),
    };
    let Some(at) = root.require(reader, key, instead) else {
        return Vec::new();
    };
    if matches!(at.value, Node::List(items) if items.is_empty()) {
        reader.wrong(&at.place, "nobody would be served", instead);
    }
    let items = reader.list(&at, instead).into_iter();
    items
        .filter_map(|at| reader.network(at, "10.1.0.0/24"))
        .collect()
}

fn mptcp(reader: &mut Reader, root: &Table<'_>) -> (Vec<At<IpAddr>>, Versions, bool) {
    let keys = match reader.kind {
        BoxKind::Hag => MPTCP_HAG,
        BoxKind::Hcpe => MPTCP_HCPE,
    };
    let Some(table) = section(reader, root, "mptcp", keys) else {
        return (Vec::new(), Versions::default(), false);
    };
    let announce = table.find("announce").map(|at| {
        let items = reader.list(
            &at,
            "write a list of our own addresses: [10.99.0.2, \"fd00:99::2\"], or []",
        );
        items
            .into_iter()
            .filter_map(|at| reader.address(at))
            .collect()
    });
    let checksum = table.find("checksum").and_then(|at| reader.boolean(&at));
    let versions = table.find("versions").and_then(|at| versions(reader, &at));
    (
        announce.unwrap_or_default(),
        versions.unwrap_or_default(),
        checksum.unwrap_or(false),
    )
}

/// Versions of Multipath TCP, each once: the first is asked for first.
fn versions(reader: &mut Reader, at: &At<&Node>) -> Option<Versions> {
    const INSTEAD: &str = "write the versions to speak, the one to ask for first in front: [1], [1, 0], [0, 1] or [0]";
    let before = reader.found.len();
    let items = reader.list(at, INSTEAD);
    let written: Vec<Option<u8>> = items
        .iter()
        .map(|item| reader.integer(item, 0..=1_u8))
        .collect();
    match written[..] {
        [Some(1)] => Some(Versions::V1),
        [Some(0)] => Some(Versions::V0),
        [Some(1), Some(0)] => Some(Versions::V1ThenV0),
        [Some(0), Some(1)] => Some(Versions::V0ThenV1),
        _ => {
            if reader.found.len() == before {
                reader.wrong(&at.place, "no version, or one twice", INSTEAD);
            }
            None
        },
    }
}

fn bridge(reader: &mut Reader, root: &Table<'_>) -> Vec<At<String>> {
    let instead = "write the names of an access port and a core port: [access1, core], or []";
    let Some(at) = root.find("bridge") else {
        return Vec::new();
    };
    let place = at.place.clone();
    let items = reader.list(&at, instead);
    if !matches!(items.len(), 0 | 2) {
        let what = format!("a bump in the wire has two ends, not {}", items.len());
        reader.wrong(&place, what, instead);
        return Vec::new();
    }
    let items = items.into_iter();
    items.filter_map(|at| reader.text(at, instead)).collect()
}

fn policy(reader: &mut Reader, root: &Table<'_>) -> PolicySettings {
    const SCHEDULERS: &[(&str, SchedulerKind)] = &[
        ("overflow", SchedulerKind::Overflow),
        ("lowest-rtt", SchedulerKind::LowestRtt),
        ("weighted", SchedulerKind::Weighted),
        ("redundant", SchedulerKind::Redundant),
        ("blest", SchedulerKind::Blest),
        ("ecf", SchedulerKind::Ecf),
    ];
    const COUPLINGS: &[(&str, Coupling)] = &[
        ("uncoupled", Coupling::Uncoupled),
        ("lia", Coupling::Lia),
        ("olia", Coupling::Olia),
        ("balia", Coupling::Balia),
    ];
    const TCP: &[(&str, Algorithm)] = &[
        ("cubic", Algorithm::Cubic),
        ("newreno", Algorithm::NewReno),
        ("bbr", Algorithm::Bbr),
    ];
    let Some(table) = section(reader, root, "policy", POLICY) else {
        return PolicySettings::default();
    };
    let scheduler = table
        .find("scheduler")
        .and_then(|at| reader.choice(&at, SCHEDULERS));
    let congestion = table
        .find("congestion")
        .and_then(|at| reader.choice(&at, COUPLINGS));
    let tcp_congestion = table
        .find("tcp_congestion")
        .and_then(|at| reader.choice(&at, TCP));
    let tcp_pacing = table.find("tcp_pacing").and_then(|at| reader.boolean(&at));
    PolicySettings {
        scheduler: scheduler.unwrap_or_default(),
        congestion: congestion.unwrap_or_default(),
        tcp_congestion: tcp_congestion.unwrap_or_default(),
        tcp_pacing: tcp_pacing.unwrap_or_default(),
    }
}

fn timeouts(reader: &mut Reader, root: &Table<'_>) -> Timeouts {
    let mut timeouts = Timeouts::default();
    let Some(table) = section(reader, root, "timeouts", TIMEOUTS) else {
        return timeouts;
    };
    let mut time = |key, field: &mut Duration, low, high| {
        let range = Duration::from_secs(low)..=Duration::from_secs(high);
        let value = table.find(key).and_then(|at| reader.duration(&at, range));
        *field = value.unwrap_or(*field);
    };
    time("pending", &mut timeouts.pending, 5, 600);
    time("joining", &mut timeouts.joining, 1, 600);
    time("idle", &mut timeouts.idle, 60, 7 * 86_400);
    time("closing", &mut timeouts.closing, 1, 3_600);
    time("keepalive", &mut timeouts.keepalive, 1, 7 * 86_400);
    timeouts
}

fn control(reader: &mut Reader, root: &Table<'_>) -> At<Control> {
    let mut control = At {
        value: Control {
            socket: PathBuf::from(reader.kind.socket()),
        },
        place: root.place.clone(),
    };
    let instead = &format!("write an absolute path such as {}", reader.kind.socket());
    let table = section(reader, root, "control", CONTROL);
    let Some(at) = table.and_then(|table| table.find("socket")) else {
        return control;
    };
    let Some(socket) = reader.text(at, instead) else {
        return control;
    };
    // The kernel's struct sockaddr_un holds 108 octets: this, a suffix while it is made, and a zero.
    if !socket.value.starts_with('/') {
        let what = format!("{} is no absolute path", super::quoted(&socket.value));
        reader.wrong(&socket.place, what, instead);
    } else if socket.value.len() > 103 {
        let what = "the path is longer than the 103 octets that a socket's name may have";
        reader.wrong(&socket.place, what, instead);
    } else {
        control = At {
            value: Control {
                socket: PathBuf::from(socket.value),
            },
            place: socket.place,
        };
    }
    control
}

fn drain(reader: &mut Reader, root: &Table<'_>) -> Drain {
    let table = section(reader, root, "drain", DRAIN);
    let range = Duration::ZERO..=Duration::from_secs(86_400);
    let grace = table
        .and_then(|table| table.find("grace"))
        .and_then(|at| reader.duration(&at, range));
    Drain {
        grace: grace.unwrap_or(Duration::from_secs(10)),
    }
}
