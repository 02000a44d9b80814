//! What stands between the hosts and the Internet, at the customer's edge: translation and the firewall.

use core::net::{IpAddr, SocketAddrV4};
use stack::time::Duration;

use ipnet::IpNet;
use stack::ip::Endpoint;

use super::section;
use crate::config::quoted;
use crate::config::reader::{At, Reader, Table};
use crate::config::tree::Node;
use crate::nat::{Allow, Forward, Inbound, MappingLimits, MappingTimeouts, Protocol};

/// The keys of `nat`.
pub(super) const NAT: &[&str] = &["inside", "address", "forwards"];
/// The keys of a forward.
pub(super) const FORWARD: &[&str] = &["protocol", "port", "to"];
/// The keys of `firewall`.
pub(super) const FIREWALL: &[&str] = &["inbound", "allow"];
/// The keys of a rule.
pub(super) const ALLOW: &[&str] = &["protocol", "to", "port"];
/// The keys of `mappings`.
pub(super) const MAPPINGS: &[&str] = &[
    "total",
    "per_host",
    "udp",
    "icmp",
    "tcp_transitory",
    "tcp_established",
];

/// What was readable of the three sections.
pub(in crate::config) struct GateDraft {
    pub(in crate::config) nat: Option<NatDraft>,
    pub(in crate::config) inbound: Inbound,
    pub(in crate::config) allow: Vec<At<Allow>>,
    pub(in crate::config) limits: MappingLimits,
    pub(in crate::config) timeouts: MappingTimeouts,
}

/// What was readable of `nat`.
pub(in crate::config) struct NatDraft {
    pub(in crate::config) inside: Vec<At<IpNet>>,
    pub(in crate::config) address: Option<At<IpAddr>>,
    pub(in crate::config) forwards: Vec<At<Forward>>,
}

/// Reads `nat`, `firewall` and `mappings`.
pub(super) fn gate(reader: &mut Reader, root: &Table<'_>) -> GateDraft {
    let (inbound, allow) = firewall(reader, root);
    let (limits, timeouts) = mappings(reader, root);
    GateDraft {
        nat: nat(reader, root),
        inbound,
        allow,
        limits,
        timeouts,
    }
}

fn nat(reader: &mut Reader, root: &Table<'_>) -> Option<NatDraft> {
    let table = section(reader, root, "nat", NAT)?;
    let instead = "write the prefixes whose addresses are translated: [192.168.1.0/24]";
    let inside = table.require(reader, "inside", instead).map(|at| {
        let items = reader.list(&at, instead).into_iter();
        let items = items.filter_map(|at| reader.network(at, "192.168.1.0/24"));
        items.collect()
    });
    let instead = "write the address that stands for all of them, one of the primary port's";
    let address = table
        .require(reader, "address", instead)
        .and_then(|at| reader.address(at));
    let forwards = table.find("forwards").map(|at| {
        let instead =
            "write a list: - { protocol: tcp, port: 8080, to: \"192.168.1.10:80\" }, or []";
        let items = reader.list(&at, instead).into_iter();
        items.filter_map(|item| forward(reader, item)).collect()
    });
    Some(NatDraft {
        inside: inside.unwrap_or_default(),
        address,
        forwards: forwards.unwrap_or_default(),
    })
}

fn forward(reader: &mut Reader, item: At<&Node>) -> Option<At<Forward>> {
    const CHOICES: &[(&str, Protocol)] = &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let table = reader.table(item, FORWARD)?;
    let protocol = table
        .require(reader, "protocol", "write tcp or udp")
        .and_then(|at| reader.choice(&at, CHOICES));
    let port = table
        .require(reader, "port", "write the port that the Internet sees")
        .and_then(|at| reader.integer(&at, 1..=u16::MAX));
    let instead = "write the host's address and port in quotes: \"192.168.1.10:80\"";
    let to = table
        .require(reader, "to", instead)
        .and_then(|at| reader.text(at, instead))
        .and_then(|at| {
            let to = at.value.parse::<SocketAddrV4>().ok();
            if to.is_none_or(|to| to.port() == 0) {
                let what = format!(
                    "{} is no IPv4 address with a port from 1 to 65535",
                    quoted(&at.value)
                );
                reader.wrong(&at.place, what, instead);
                return None;
            }
            to
        })?;
    Some(At {
        value: Forward {
            protocol: protocol?,
            port: port?,
            to: Endpoint {
                addr: *to.ip(),
                port: to.port(),
            },
        },
        place: table.place,
    })
}

fn firewall(reader: &mut Reader, root: &Table<'_>) -> (Inbound, Vec<At<Allow>>) {
    const CHOICES: &[(&str, Inbound)] = &[("drop", Inbound::Drop), ("accept", Inbound::Accept)];
    let Some(table) = section(reader, root, "firewall", FIREWALL) else {
        return (Inbound::Drop, Vec::new());
    };
    let inbound = table
        .find("inbound")
        .and_then(|at| reader.choice(&at, CHOICES));
    let allow = table.find("allow").map(|at| {
        let instead = "write a list: - { protocol: tcp, to: \"fd00:10::2/128\", port: 22 }, or []";
        let items = reader.list(&at, instead).into_iter();
        items.filter_map(|item| rule(reader, item)).collect()
    });
    (inbound.unwrap_or_default(), allow.unwrap_or_default())
}

fn rule(reader: &mut Reader, item: At<&Node>) -> Option<At<Allow>> {
    const CHOICES: &[(&str, Option<Protocol>)] = &[
        ("any", None),
        ("tcp", Some(Protocol::Tcp)),
        ("udp", Some(Protocol::Udp)),
        ("icmp", Some(Protocol::Icmp)),
    ];
    let table = reader.table(item, ALLOW)?;
    let protocol = match table.find("protocol") {
        Some(at) => reader.choice(&at, CHOICES)?,
        None => None,
    };
    let to = table
        .require(reader, "to", "write the hosts that are let in to")
        .and_then(|at| reader.network(at, "\"fd00:10::2/128\""));
    let port = match table.find("port") {
        Some(at) => Some((reader.integer(&at, 1..=u16::MAX)?, at.place)),
        None => None,
    };
    if let Some((_, place)) = &port
        && !matches!(protocol, Some(Protocol::Tcp | Protocol::Udp))
    {
        let what = "only tcp and udp have ports";
        reader.wrong(
            place,
            what,
            "give the rule \"protocol: tcp\" or \"protocol: udp\"",
        );
    }
    Some(At {
        value: Allow {
            protocol,
            to: to?.value,
            port: port.map(|(port, _)| port),
        },
        place: table.place,
    })
}

fn mappings(reader: &mut Reader, root: &Table<'_>) -> (MappingLimits, MappingTimeouts) {
    let (mut limits, mut timeouts) = (MappingLimits::default(), MappingTimeouts::default());
    let Some(table) = section(reader, root, "mappings", MAPPINGS) else {
        return (limits, timeouts);
    };
    for (key, field) in [
        ("total", &mut limits.mappings),
        ("per_host", &mut limits.mappings_per_host),
    ] {
        let value = table
            .find(key)
            .and_then(|at| reader.integer(&at, 1..=1_000_000_u32));
        *field = value
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(*field);
    }
    // The least that RFC 4787 REQ-5, RFC 5508 REQ-2 and RFC 5382 REQ-5 allow.
    for (key, field, least) in [
        ("udp", &mut timeouts.udp, 120),
        ("icmp", &mut timeouts.icmp, 60),
        ("tcp_transitory", &mut timeouts.tcp_transitory, 240),
        ("tcp_established", &mut timeouts.tcp_established, 7_440),
    ] {
        let range = Duration::from_secs(least)..=Duration::from_secs(7 * 86_400);
        let value = table.find(key).and_then(|at| reader.duration(&at, range));
        *field = value.unwrap_or(*field);
    }
    (limits, timeouts)
}
