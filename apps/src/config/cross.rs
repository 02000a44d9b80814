//! How the sections fit together: names that are there twice, routes that lead nowhere, addresses that collide.

use std::path::Path;

use ipnet::IpNet;

use super::device;
use super::quoted;
use super::reader::{At, Reader};
use super::sections::{Draft, PortDraft, RouteDraft};
use super::types::{BoxKind, Device};
use crate::engine::PortRole;

mod edge;
mod gate;

/// Checks what was readable, and notes what does not fit.
pub(super) fn check(reader: &mut Reader, draft: &Draft, is_directory: &dyn Fn(&Path) -> bool) {
    names_and_devices(reader, &draft.ports);
    roles(reader, &draft.ports);
    bridge(reader, draft);
    addresses(reader, &draft.ports);
    if draft.addresses_known {
        routes(reader, draft);
        subscribers(reader, draft);
    }
    announced(reader, draft);
    if let Some(hag) = &draft.hag {
        edge::check(reader, draft, hag);
    }
    if let Some(gate) = &draft.gate {
        gate::check(reader, draft, gate);
    }
    let socket = &draft.control.value.socket;
    let parent = socket.parent().unwrap_or(Path::new("/"));
    // One missing directory is made by whoever serves the socket.
    if !is_directory(parent) && !parent.parent().is_some_and(is_directory) {
        let what = format!("the directory {} does not exist", parent.display());
        let (kind, parent) = (reader.kind.name(), parent.display());
        let instead = format!("create it before {kind} runs: mkdir -p {parent}");
        reader.warn(&draft.control.place, what, instead);
    }
}

fn names_and_devices(reader: &mut Reader, ports: &[PortDraft]) {
    for (n, port) in ports.iter().enumerate() {
        let earlier = || ports.iter().take(n);
        if let Some(name) = &port.name
            && earlier().any(|other| {
                other
                    .name
                    .as_ref()
                    .is_some_and(|other| other.value == name.value)
            })
        {
            let what = format!("{} is the name of another port", quoted(&name.value));
            reader.wrong(&name.place, what, "give each port its own name");
        }
        let Some(device) = &port.device else {
            continue;
        };
        let names = names_of(&device.value);
        let same = earlier().find_map(|other| {
            let others = names_of(&other.device.as_ref()?.value);
            names.iter().find(|name| others.contains(name)).copied()
        });
        if let Some(same) = same {
            let what = format!("{} is already behind another port", quoted(same));
            reader.wrong(
                &device.place,
                what,
                "give each port its own device and interface",
            );
        }
    }
}

/// What of a device no two ports can share.
fn names_of(device: &Device) -> Vec<&str> {
    let text = device.as_str();
    let name = text.split(',').next().unwrap_or(text);
    let mut names = vec![name];
    names.extend(device::interface(text));
    names
}

fn roles(reader: &mut Reader, ports: &[PortDraft]) {
    // Where a role was not readable, it may be the one that seems to be missing.
    let (Some(first), false) = (ports.first(), ports.iter().any(|port| port.role.is_none())) else {
        return;
    };
    let edge = reader.kind == BoxKind::Hcpe;
    for (role, purpose) in [
        (
            PortRole::Access,
            if edge { "the hosts" } else { "subscribers" },
        ),
        (PortRole::Core, "the Internet"),
    ] {
        let name = role.name(edge);
        if !ports.iter().any(|port| port.role == Some(role)) {
            let what = format!("no port of role {name} leads to {purpose}");
            reader.wrong(
                &first.place,
                what,
                format!("give one port \"role: {name}\""),
            );
        }
    }
}

/// The two ends of a bump in the wire: one towards subscribers, one towards the Internet.
fn bridge(reader: &mut Reader, draft: &Draft) {
    let mut roles = Vec::new();
    for name in &draft.bridge {
        let named = |port: &&PortDraft| port.name.as_ref().is_some_and(|n| n.value == name.value);
        let Some(port) = draft.ports.iter().find(named) else {
            let what = format!("{} is the name of no port", quoted(&name.value));
            reader.wrong(
                &name.place,
                what,
                "write the names of two ports of this file",
            );
            return;
        };
        roles.extend(port.role);
    }
    if let ([first, ..], [one, other]) = (&*draft.bridge, &*roles)
        && one == other
    {
        let what = format!("both ends are of role {}", one.name(false));
        let instead = "join an access port to a core port: a flow passes from one to the other";
        reader.wrong(&first.place, what, instead);
    }
}

fn addresses(reader: &mut Reader, ports: &[PortDraft]) {
    let all = || {
        ports.iter().enumerate().flat_map(|(n, port)| {
            let addresses = port.addresses.iter();
            addresses.map(move |address| (n, address))
        })
    };
    for (n, (port, address)) in all().enumerate() {
        let mut earlier = all().take(n);
        let Some((other, clash)) = earlier.find(|(other, clash)| {
            clash.value.addr() == address.value.addr()
                || (*other != port && overlap(&clash.value, &address.value))
        }) else {
            continue;
        };
        let name = title(ports.get(other), other);
        if clash.value.addr() == address.value.addr() {
            let what = format!("{} is already an address of {name}", address.value.addr());
            reader.wrong(&address.place, what, "write each address once");
        } else {
            let (here, there) = (address.value.trunc(), clash.value.trunc());
            let what = format!("the network {here} overlaps {there} of {name}");
            let instead =
                "give each port a network of its own: else where its hosts are is unknown";
            reader.wrong(&address.place, what, instead);
        }
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// A port's name for a sentence.
fn title(port: Option<&PortDraft>, n: usize) -> String {
    port.and_then(|port| port.name.as_ref()).map_or_else(
        || format!("ports[{n}]"),
        |name| format!("port {}", quoted(&name.value)),
    )
}

fn routes(reader: &mut Reader, draft: &Draft) {
    for (n, route) in draft.routes.iter().enumerate() {
        if let Some(to) = &route.to {
            let mut earlier = draft.routes.iter().take(n).filter_map(|r| r.to.as_ref());
            if earlier.any(|other| other.value == to.value) {
                let what = format!("there is already a route to {}", to.value);
                reader.wrong(&to.place, what, "keep one of them");
            }
        }
        let Some(via) = &route.via else {
            continue;
        };
        if let Some(to) = &route.to
            && to.value.addr().is_ipv4() != via.value.is_ipv4()
        {
            let what = format!("{} is not of the family of {}", via.value, to.value);
            reader.wrong(
                &via.place,
                what,
                "write a next hop of the same family (IPv4 or IPv6)",
            );
            continue;
        }
        let mut connected = connected(draft);
        if connected.any(|(_, net)| net.addr() == via.value) {
            let what = format!("the route leads to {}, which is ourselves", via.value);
            reader.wrong(&via.place, what, "write the address of the next router");
        } else if port_toward(draft, route).is_none() {
            let known: Vec<_> = self::connected(draft)
                .map(|(_, net)| net.trunc().to_string())
                .collect();
            let what = format!(
                "the route does not resolve: {} is in no port's network",
                via.value
            );
            let instead = if known.is_empty() {
                "give a port an address in that network".to_owned()
            } else {
                format!(
                    "write a next hop in {}, or give a port an address beside it",
                    known.join(", ")
                )
            };
            reader.wrong(&via.place, what, instead);
        }
    }
}

/// Every connected network, with the port it is on.
fn connected(draft: &Draft) -> impl Iterator<Item = (&PortDraft, &IpNet)> {
    draft.ports.iter().flat_map(|port| {
        let addresses = port.addresses.iter();
        addresses.map(move |address| (port, &address.value))
    })
}

/// The port by which a route leaves.
fn port_toward<'d>(draft: &'d Draft, route: &RouteDraft) -> Option<&'d PortDraft> {
    let via = route.via.as_ref()?.value;
    let mut networks = connected(draft);
    networks
        .find(|(_, net)| net.contains(&via))
        .map(|(port, _)| port)
}

fn subscribers(reader: &mut Reader, draft: &Draft) {
    let routes_read = routes_read(draft);
    let (name, a_port) = match reader.kind {
        BoxKind::Hag => ("access", "an access port"),
        BoxKind::Hcpe => ("lan", "a lan port"),
    };
    for (n, prefix) in draft.subscribers.iter().enumerate() {
        let mut earlier = draft.subscribers.iter().take(n);
        if let Some(other) = earlier.find(|other| overlap(&other.value, &prefix.value)) {
            let what = format!("{} overlaps {}", prefix.value, other.value);
            reader.wrong(&prefix.place, what, "write each prefix once");
        }
        if routes_read && !leads_to(draft, &prefix.value) {
            let what = format!("no {name} port leads to {}", prefix.value);
            let instead = format!(
                "give {a_port} an address in it, or add a route: {{ to: {}, via: a router on {a_port} }}",
                quoted(&prefix.value.to_string())
            );
            reader.wrong(&prefix.place, what, instead);
        }
    }
}

fn routes_read(draft: &Draft) -> bool {
    (draft.routes.iter()).all(|route| route.to.is_some() && route.via.is_some())
}

/// Whether some part of `prefix` lies behind a port towards those whose flows are bonded. A role that was not readable
/// may be that. Across a bump in the wire everybody is reached as they were before, without a route of ours.
fn leads_to(draft: &Draft, prefix: &IpNet) -> bool {
    if !draft.bridge.is_empty() {
        return true;
    }
    let access = |port: &PortDraft| port.role.is_none_or(|role| role == PortRole::Access);
    connected(draft).any(|(port, net)| access(port) && overlap(&net.trunc(), prefix))
        || draft.routes.iter().any(|route| {
            let overlaps = (route.to.as_ref()).is_some_and(|to| overlap(&to.value, prefix));
            // What does not resolve has been noted.
            overlaps && port_toward(draft, route).is_none_or(access)
        })
}

fn announced(reader: &mut Reader, draft: &Draft) {
    for (n, At { value, place }) in draft.announce.iter().enumerate() {
        let mut earlier = draft.announce.iter().take(n);
        if earlier.any(|other| other.value == *value) {
            reader.wrong(
                place,
                format!("{value} is here twice"),
                "write each address once",
            );
            continue;
        }
        let on_port = connected(draft).find(|(_, net)| net.addr() == *value);
        if let Some((port, _)) = on_port {
            let name = title(Some(port), 0);
            let what = format!("{value} is the address of {name}");
            reader.wrong(
                place,
                what,
                "announce an address of our own that is on no port",
            );
        }
        let subscribers = &mut draft.subscribers.iter();
        if let Some(prefix) = subscribers.find(|prefix| prefix.value.contains(value)) {
            let what = format!("{value} lies in the subscriber prefix {}", prefix.value);
            reader.wrong(
                place,
                what,
                "announce an address that no subscriber can have",
            );
        }
        let same_family = |(_, net): (&PortDraft, &IpNet)| net.addr().is_ipv4() == value.is_ipv4();
        if draft.addresses_known && on_port.is_none() && !connected(draft).any(same_family) {
            let family = if value.is_ipv4() { "IPv4" } else { "IPv6" };
            let what = format!("no port has an {family} address, so nobody can reach {value}");
            reader.wrong(
                place,
                what,
                format!("give a port an {family} address, or leave it out"),
            );
        }
    }
}
