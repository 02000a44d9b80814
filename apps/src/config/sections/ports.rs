//! The ports: names, devices, roles and addresses.

use core::net::IpAddr;
use stack::time::Duration;

use ipnet::IpNet;

use crate::config::device;
use crate::config::place::Place;
use crate::config::reader::{At, Reader, Table};
use crate::config::tree::Node;
use crate::config::types::{BoxKind, Device};
use crate::engine::PortRole;

/// The keys of a port.
pub(super) const PORT: &[&str] = &[
    "name",
    "device",
    "role",
    "addresses",
    "mtu",
    "vlan",
    "cost",
    "weight",
    "cap",
];

/// The keys of a port of hcpe's.
pub(super) const PORT_HCPE: &[&str] = &[
    "name",
    "device",
    "role",
    "addresses",
    "mtu",
    "vlan",
    "gateway",
    "keepalive",
    "cost",
    "weight",
    "cap",
];

/// What was readable of a port.
pub(in crate::config) struct PortDraft {
    pub(in crate::config) place: Place,
    pub(in crate::config) name: Option<At<String>>,
    pub(in crate::config) device: Option<At<Device>>,
    pub(in crate::config) role: Option<PortRole>,
    pub(in crate::config) addresses: Vec<At<IpNet>>,
    pub(in crate::config) mtu: Option<At<u16>>,
    /// Of a secondary port of hcpe's.
    pub(in crate::config) gateway: Vec<At<IpAddr>>,
    pub(in crate::config) keepalive: Option<Duration>,
    pub(in crate::config) vlan: Vec<u16>,
    pub(in crate::config) cost: Option<u16>,
    pub(in crate::config) weight: u16,
    pub(in crate::config) cap: Option<u64>,
}

/// What is written about a port of each box.
struct Words {
    list: &'static str,
    name: &'static str,
    role: &'static str,
    roles: &'static [(&'static str, PortRole)],
}

const HAG: Words = Words {
    list: "write a list of ports: - { name: access1, device: \"net_af_packet0,iface=eth1\", role: access, \
           addresses: [10.1.0.1/24] }",
    name: "write a name such as access1",
    role: "write access (towards subscribers) or core (towards the Internet)",
    roles: &[("access", PortRole::Access), ("core", PortRole::Core)],
};

const HCPE: Words = Words {
    list: "write a list of ports: - { name: lan, device: \"net_af_packet0,iface=eth1\", role: lan, \
           addresses: [192.168.1.1/24] }",
    name: "write a name such as lan",
    role: "write lan (towards the hosts), primary or secondary (the access networks)",
    roles: &[
        ("lan", PortRole::Access),
        ("primary", PortRole::Core),
        ("secondary", PortRole::Secondary),
    ],
};

const fn words(kind: BoxKind) -> &'static Words {
    match kind {
        BoxKind::Hag => &HAG,
        BoxKind::Hcpe => &HCPE,
    }
}

/// Reads the ports.
pub(super) fn ports(reader: &mut Reader, root: &Table<'_>) -> Vec<PortDraft> {
    let instead = words(reader.kind).list;
    let Some(at) = root.require(reader, "ports", instead) else {
        return Vec::new();
    };
    let place = at.place.clone();
    if matches!(at.value, Node::List(items) if items.is_empty()) {
        reader.wrong(&place, "there is no port", instead);
    }
    let items = reader.list(&at, instead);
    if items.len() > 64 {
        let what = format!("{} ports are more than the 64 there may be", items.len());
        reader.wrong(&place, what, "write fewer");
        return Vec::new();
    }
    let items = items.into_iter().enumerate();
    items.filter_map(|(n, at)| port(reader, at, n)).collect()
}

fn port(reader: &mut Reader, at: At<&Node>, n: usize) -> Option<PortDraft> {
    let words = words(reader.kind);
    let keys = match reader.kind {
        BoxKind::Hag => PORT,
        BoxKind::Hcpe => PORT_HCPE,
    };
    let table = reader.table(at, keys)?;
    let name = table
        .require(reader, "name", words.name)
        .and_then(|at| reader.text(at, words.name));
    let device = device::read(reader, &table, n);
    let role = table
        .require(reader, "role", words.role)
        .and_then(|at| role(reader, &at, words));
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
    let vlan = table.find("vlan").map(|at| vlan(reader, &at));
    let gateway = table.find("gateway").map(|at| {
        let instead = "write a list of routers, one a family: [10.2.0.1, \"fd00:2::1\"]";
        let items = reader.list(&at, instead).into_iter();
        items.filter_map(|at| reader.address(at)).collect()
    });
    let keepalive = table
        .find("keepalive")
        .and_then(|at| reader.duration(&at, Duration::from_secs(5)..=Duration::from_secs(7_200)));
    let alone = role.is_some_and(|role| role != PortRole::Secondary);
    for key in ["gateway", "keepalive"] {
        if let (Some(at), true) = (table.find(key), alone) {
            let what = format!("only secondary ports have a {key}");
            reader.wrong(&at.place, what, "leave it out, or write a route");
        }
    }
    let (cost, weight, cap) = policy(reader, &table, role);
    Some(PortDraft {
        place: table.place,
        name,
        device,
        role,
        addresses: addresses.unwrap_or_default(),
        mtu,
        gateway: gateway.unwrap_or_default(),
        keepalive,
        vlan: vlan.unwrap_or_default(),
        cost,
        weight: weight.unwrap_or(1),
        cap,
    })
}

/// Reads the numbers of the virtual networks that a port's frames are tagged with, the outer first.
fn vlan(reader: &mut Reader, at: &At<&Node>) -> Vec<u16> {
    let instead = "write one number, or a service's and a customer's: [100] or [100, 200]";
    let place = at.place.clone();
    let items = reader.list(at, instead);
    if items.len() > 2 {
        let what = format!("{} tags are more than a frame has", items.len());
        reader.wrong(&place, what, instead);
    }
    let items = items.iter().take(2);
    items
        .filter_map(|at| reader.integer(at, 1u16..=4_094))
        .collect()
}

/// What a port costs, its share beside others, and how much may leave by it: only access networks have these.
fn policy(
    reader: &mut Reader,
    table: &Table<'_>,
    role: Option<PortRole>,
) -> (Option<u16>, Option<u16>, Option<u64>) {
    let foreign = match (reader.kind, role) {
        (BoxKind::Hag, Some(PortRole::Core)) | (BoxKind::Hcpe, Some(PortRole::Access)) => role,
        _ => None,
    };
    let [cost, weight, cap] = ["cost", "weight", "cap"].map(|key| table.find(key));
    if let Some(role) = foreign {
        for at in [&cost, &weight, &cap].into_iter().flatten() {
            let role = role.name(reader.kind == BoxKind::Hcpe);
            let what = format!("a port of role {role} leads to no access network");
            reader.wrong(&at.place, what, "leave it out here");
        }
        return (None, None, None);
    }
    (
        cost.and_then(|at| reader.integer(&at, 0u16..=1000)),
        weight.and_then(|at| reader.integer(&at, 1u16..=1000)),
        cap.and_then(|at| reader.rate(&at, 64_000..=1_000_000_000_000)),
    )
}

/// Reads a role; the other box's roles are told apart from misspelt ones.
fn role(reader: &mut Reader, at: &At<&Node>, words: &Words) -> Option<PortRole> {
    let (kind, other) = (reader.kind, reader.kind.other());
    if let Node::Text(text) = at.value
        && self::words(other)
            .roles
            .iter()
            .any(|(name, _)| name == text)
        && !words.roles.iter().any(|(name, _)| name == text)
    {
        let what = format!("{text} is a role of {}'s ports", other.name());
        let instead = format!("{} of {}", words.role, kind.name());
        reader.wrong(&at.place, what, instead);
        return None;
    }
    reader.choice(at, words.roles)
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
