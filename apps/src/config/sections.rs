//! The sections of the file: each key once, with its range and its default.

use core::net::IpAddr;
use core::time::Duration;
use std::path::PathBuf;

use ipnet::IpNet;

use super::device;
use super::place::Place;
use super::reader::{At, Reader, Table};
use super::tree::Node;
use super::types::{Control, Device, Drain, Hugepages, Polling, Worker};
use crate::engine::{Limits, PortRole, Timeouts};

/// What was readable of a file; [`super::cross`] checks how it fits together.
pub(super) struct Draft {
    pub(super) name: Option<String>,
    pub(super) worker: Option<Worker>,
    pub(super) ports: Vec<PortDraft>,
    /// Whether every address of every port was readable: else a route that does not resolve may be no mistake.
    pub(super) addresses_known: bool,
    pub(super) routes: Vec<RouteDraft>,
    pub(super) subscribers: Vec<At<IpNet>>,
    pub(super) announce: Vec<At<IpAddr>>,
    pub(super) checksum: bool,
    pub(super) limits: Limits,
    pub(super) timeouts: Timeouts,
    pub(super) control: At<Control>,
    pub(super) drain: Drain,
}

/// What was readable of a port.
pub(super) struct PortDraft {
    pub(super) place: Place,
    pub(super) name: Option<At<String>>,
    pub(super) device: Option<At<Device>>,
    pub(super) role: Option<PortRole>,
    pub(super) addresses: Vec<At<IpNet>>,
    pub(super) mtu: Option<At<u16>>,
}

/// What was readable of a route.
pub(super) struct RouteDraft {
    pub(super) to: Option<At<IpNet>>,
    pub(super) via: Option<At<IpAddr>>,
}

const SECTIONS: &[&str] = &[
    "name",
    "worker",
    "ports",
    "routes",
    "subscribers",
    "mptcp",
    "limits",
    "timeouts",
    "control",
    "drain",
];

const WORKER: &[&str] = &["cores", "polling", "hugepages", "memory_mb"];
const PORT: &[&str] = &["name", "device", "role", "addresses", "mtu"];
const ROUTE: &[&str] = &["to", "via"];
const MPTCP: &[&str] = &["announce", "checksum"];
const LIMITS: &[&str] = &[
    "connections",
    "pending",
    "pending_per_subscriber",
    "joining",
    "subflows",
    "buffer_per_connection",
    "buffer_total",
];
const TIMEOUTS: &[&str] = &["pending", "joining", "idle", "closing"];
const CONTROL: &[&str] = &["socket"];
const DRAIN: &[&str] = &["grace"];

/// Every key that a file may have.
#[cfg(test)]
pub(super) const EVERY_KEY: [&[&str]; 9] = [
    SECTIONS, WORKER, PORT, ROUTE, MPTCP, LIMITS, TIMEOUTS, CONTROL, DRAIN,
];

/// Reads every section; `None` if the document is not even a table.
pub(super) fn read(reader: &mut Reader, root: &Node) -> Option<Draft> {
    let at = At {
        value: root,
        place: Place::default(),
    };
    let root = reader.table(at, SECTIONS)?;
    let name = match root.find("name") {
        Some(at) => reader
            .text(at, "write a name such as hag-1")
            .map(|at| at.value),
        None => Some("hag".to_owned()),
    };
    let worker = worker(reader, &root);
    let before = reader.found.len();
    let ports = ports(reader, &root);
    let addresses_known = !reader.found.iter().skip(before).any(|found| {
        let path = found.place.to_string();
        path == "ports" || path.contains("address")
    });
    let routes = routes(reader, &root);
    let subscribers = subscribers(reader, &root);
    let (announce, checksum) = mptcp(reader, &root);
    Some(Draft {
        name,
        limits: limits(reader, &root, worker.as_ref(), ports.len()),
        worker,
        ports,
        addresses_known,
        routes,
        subscribers,
        announce,
        checksum,
        timeouts: timeouts(reader, &root),
        control: control(reader, &root),
        drain: drain(reader, &root),
    })
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
    let items = reader.list(at, "write [0], or the number of another core");
    if is_list && items.len() != 1 {
        let what = format!(
            "{} cores are given, and this version runs one worker",
            items.len()
        );
        reader.wrong(&place, what, "write one core: [0]");
    }
    let items = items.into_iter();
    items
        .filter_map(|at| reader.integer(&at, 0u16..=1023))
        .collect()
}

const PORTS: &str = "write a list of ports: - { name: access1, device: \"net_af_packet0,iface=eth1\", role: access, \
                     addresses: [10.1.0.1/24] }";

fn ports(reader: &mut Reader, root: &Table<'_>) -> Vec<PortDraft> {
    let Some(at) = root.require(reader, "ports", PORTS) else {
        return Vec::new();
    };
    let place = at.place.clone();
    if matches!(at.value, Node::List(items) if items.is_empty()) {
        reader.wrong(&place, "there is no port", PORTS);
    }
    let items = reader.list(&at, PORTS);
    if items.len() > 64 {
        let what = format!("{} ports are more than the 64 there may be", items.len());
        reader.wrong(&place, what, "write fewer");
        return Vec::new();
    }
    let items = items.into_iter().enumerate();
    items.filter_map(|(n, at)| port(reader, at, n)).collect()
}

fn port(reader: &mut Reader, at: At<&Node>, n: usize) -> Option<PortDraft> {
    const ROLES: &[(&str, PortRole)] = &[("access", PortRole::Access), ("core", PortRole::Core)];
    let table = reader.table(at, PORT)?;
    let name = table
        .require(reader, "name", "write a name such as access1")
        .and_then(|at| reader.text(at, "write a name such as access1"));
    let device = device::read(reader, &table, n);
    let role = table
        .require(
            reader,
            "role",
            "write access (towards subscribers) or core (towards the Internet)",
        )
        .and_then(|at| reader.choice(&at, ROLES));
    let addresses = table.require(
        reader,
        "addresses",
        "write our addresses on this port: [10.1.0.1/24]",
    );
    let addresses = addresses.map(|at| addresses_of(reader, &at));
    let mtu = match table.find("mtu") {
        None => Some(At {
            value: 1_500,
            place: table.place.clone(),
        }),
        Some(at) => {
            let place = at.place.clone();
            reader
                .integer(&at, 1_280u16..=9_000)
                .map(|value| At { value, place })
        },
    };
    Some(PortDraft {
        place: table.place,
        name,
        device,
        role,
        addresses: addresses.unwrap_or_default(),
        mtu,
    })
}

fn addresses_of(reader: &mut Reader, at: &At<&Node>) -> Vec<At<IpNet>> {
    let empty = matches!(at.value, Node::List(items) if items.is_empty());
    if empty {
        let instead = "write at least one: [10.1.0.1/24]";
        reader.wrong(
            &at.place,
            "a port needs an address for its neighbors to reach us by",
            instead,
        );
    }
    let items = reader.list(at, "write a list: [10.1.0.1/24, \"fd00:1::1/64\"]");
    let mut addresses = Vec::new();
    for item in items {
        let Some(prefix) = reader.prefix(item, "10.1.0.1/24") else {
            continue;
        };
        let address = At {
            value: prefix.value.addr(),
            place: prefix.place.clone(),
        };
        if reader.host(address).is_some() && has_room(reader, &prefix) {
            addresses.push(prefix);
        }
    }
    addresses
}

/// Refuses the network's own and its broadcast address as a host's (IPv4, RFC 3021 apart).
fn has_room(reader: &mut Reader, prefix: &At<IpNet>) -> bool {
    let IpNet::V4(net) = prefix.value else {
        return true;
    };
    let kind = match net.addr() {
        _ if net.prefix_len() >= 31 => return true,
        address if address == net.network() => "the network itself",
        address if address == net.broadcast() => "the network's broadcast address",
        _ => return true,
    };
    let example = net.hosts().next().unwrap_or_else(|| net.addr());
    let instead = format!(
        "write our address in that network, such as {example}/{}",
        net.prefix_len()
    );
    reader.wrong(&prefix.place, format!("{net} names {kind}"), instead);
    false
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
    let instead = "write the prefixes whose flows are to be bonded: [10.1.0.0/24, \"fd00:1::/64\"]";
    let Some(at) = root.require(reader, "subscribers", instead) else {
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

fn mptcp(reader: &mut Reader, root: &Table<'_>) -> (Vec<At<IpAddr>>, bool) {
    let Some(table) = section(reader, root, "mptcp", MPTCP) else {
        return (Vec::new(), false);
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
    (announce.unwrap_or_default(), checksum.unwrap_or(false))
}

fn limits(reader: &mut Reader, root: &Table<'_>, worker: Option<&Worker>, ports: usize) -> Limits {
    let mut limits = Limits::default();
    // Payload is held in the buffers it came in, which are its port's share of the memory; a quarter of that is what
    // leaves enough, beside headers and unused ends, to go on receiving.
    let memory = worker.map_or(1 << 30, |worker| u64::from(worker.memory_mb) << 20);
    let shares = u64::try_from(ports.max(1)).unwrap_or(1) * 4;
    limits.buffer_total = (((memory >> 20) / shares) << 20).max(1 << 20);
    let quarter = u32::try_from(limits.buffer_total / 4).unwrap_or(u32::MAX);
    limits.buffer = limits.buffer.min(quarter);
    let Some(table) = section(reader, root, "limits", LIMITS) else {
        return limits;
    };
    let mut count = |key, field: &mut usize, high: u32| {
        let value = table
            .find(key)
            .and_then(|at| reader.integer(&at, 1u32..=high));
        *field = value
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(*field);
    };
    count("connections", &mut limits.relays, 1_000_000);
    count("pending", &mut limits.pending, 1_000_000);
    count(
        "pending_per_subscriber",
        &mut limits.pending_per_subscriber,
        1_000_000,
    );
    count("joining", &mut limits.joining, 1_000_000);
    count("subflows", &mut limits.subflows, 8);
    if let Some(at) = table.find("pending_per_subscriber")
        && limits.pending_per_subscriber > limits.pending
    {
        let what = format!(
            "{} is above the limit of all together",
            limits.pending_per_subscriber
        );
        let instead = format!("write at most limits.pending, {}", limits.pending);
        reader.wrong(&at.place, what, instead);
    }
    limits.pending_per_subscriber = limits.pending_per_subscriber.min(limits.pending);
    if let Some(at) = table.find("buffer_total") {
        let value = reader.octets(&at, 1 << 20..=memory / 2);
        limits.buffer_total = value.unwrap_or(limits.buffer_total);
        limits.buffer = limits
            .buffer
            .min(u32::try_from(limits.buffer_total).unwrap_or(u32::MAX));
    }
    if let Some(at) = table.find("buffer_per_connection") {
        let high = limits.buffer_total.clamp(1 << 16, 1 << 28);
        let value = reader.octets(&at, 1 << 16..=high);
        limits.buffer = value
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(limits.buffer);
    }
    limits
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
    timeouts
}

fn control(reader: &mut Reader, root: &Table<'_>) -> At<Control> {
    let mut control = At {
        value: Control {
            socket: PathBuf::from("/run/hag/hag.sock"),
        },
        place: root.place.clone(),
    };
    let instead = "write an absolute path such as /run/hag/hag.sock";
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
