//! How the file of a box at the customer's edge fits together: one primary access, and a way to the box in the network.

use core::net::IpAddr;

use super::{connected, overlap, port_toward, routes_read, title};
use crate::config::quoted;
use crate::config::reader::{At, Reader};
use crate::config::sections::{Draft, HagDraft, PortDraft};
use crate::engine::PortRole;

pub(super) fn check(reader: &mut Reader, draft: &Draft, hag: &HagDraft) {
    one_primary(reader, &draft.ports);
    let secondary = |port: &PortDraft| port.role.is_none_or(|role| role == PortRole::Secondary);
    if !draft.ports.iter().any(secondary) && !draft.ports.is_empty() {
        if hag.addresses.is_empty() {
            let what = "no port of role secondary is there, so nothing is bonded";
            reader.warn(&hag.place, what, "give one port \"role: secondary\"");
        } else {
            let what = "there are addresses to join, and no port of role secondary to join them by";
            reader.wrong(&hag.place, what, "give one port \"role: secondary\"");
        }
    } else if hag.addresses.is_empty() && hag.prefixes.is_empty() {
        let what = "no address of hag's is joined, neither configured nor announced";
        let instead =
            "write hag: { addresses: [10.99.0.2], prefixes: [10.99.0.0/24] }, one or both";
        reader.warn(&hag.place, what, instead);
    } else if draft.addresses_known && routes_read(draft) {
        reached(reader, draft, hag);
    }
    one_core_for_caps(reader, draft);
    own_or_a_hosts(reader, draft, hag);
    gateways(reader, &draft.ports);
    for (n, prefix) in hag.prefixes.iter().enumerate() {
        let mut earlier = hag.prefixes.iter().take(n);
        if let Some(other) = earlier.find(|other| overlap(&other.value, &prefix.value)) {
            let what = format!("{} overlaps {}", prefix.value, other.value);
            reader.wrong(&prefix.place, what, "write each prefix once");
        }
    }
}

/// Here a cap is the whole port's, and all connections share it: cores share nothing.
fn one_core_for_caps(reader: &mut Reader, draft: &Draft) {
    let cores = draft.worker.as_ref().map_or(1, |worker| worker.cores.len());
    for port in draft
        .ports
        .iter()
        .filter(|port| port.cap.is_some() && cores > 1)
    {
        let what = format!("a cap is shared by all connections, and {cores} cores share none");
        let instead = "write one core in worker.cores, or leave cap out";
        reader.wrong(&port.place, what, instead);
    }
}

fn one_primary(reader: &mut Reader, ports: &[PortDraft]) {
    let primary = |port: &&PortDraft| port.role == Some(PortRole::Core);
    for port in ports.iter().filter(primary).skip(1) {
        reader.wrong(
            &port.place,
            "there are two ports of role primary",
            "give all but one \"role: secondary\"",
        );
    }
}

/// Each address to join lies behind a secondary port: joins leave by no other.
fn reached(reader: &mut Reader, draft: &Draft, hag: &HagDraft) {
    for At { value, place } in &hag.addresses {
        let mut gateways = draft.ports.iter().flat_map(|port| &port.gateway);
        if gateways.any(|gateway| gateway.value.is_ipv4() == value.is_ipv4()) {
            continue;
        }
        let Some(port) = toward(draft, *value) else {
            let what = format!("nothing leads to {value}");
            reader.wrong(place, what, add_a_route(*value));
            continue;
        };
        if port.role.is_some_and(|role| role != PortRole::Secondary) {
            let what = format!(
                "{} leads to {value}, and only secondary ports carry joins",
                title(Some(port), 0)
            );
            reader.wrong(place, what, add_a_route(*value));
        }
    }
}

/// Each gateway is a neighbor on its port's link, and the only one of its family.
fn gateways(reader: &mut Reader, ports: &[PortDraft]) {
    for port in ports {
        for (n, At { value, place }) in port.gateway.iter().enumerate() {
            let mut earlier = port.gateway.iter().take(n);
            let beside = |net: &At<ipnet::IpNet>| net.value.contains(value);
            let ours = |net: &At<ipnet::IpNet>| net.value.addr() == *value;
            if earlier.any(|other| other.value.is_ipv4() == value.is_ipv4()) {
                let what = format!("{value} is a second gateway of its family");
                reader.wrong(place, what, "write one a family");
            } else if port.addresses.iter().any(ours) {
                let what = format!("{value} is ourselves");
                reader.wrong(place, what, "write the address of the next router");
            } else if !port.addresses.iter().any(beside) {
                let what = format!("{value} is in no network of this port");
                let instead = "write a router beside one of the port's addresses";
                reader.wrong(place, what, instead);
            }
        }
    }
}

fn add_a_route(to: IpAddr) -> String {
    let length = if to.is_ipv4() { 32 } else { 128 };
    let to = quoted(&format!("{to}/{length}"));
    format!(
        "add a route: {{ to: {to}, via: a router on a secondary port }}, or give that port a gateway"
    )
}

/// The port by which packets to `to` leave: that of the longest prefix.
fn toward(draft: &Draft, to: IpAddr) -> Option<&PortDraft> {
    let connected = connected(draft).map(|(port, net)| (net.trunc(), Some(port)));
    let routed = draft.routes.iter().filter_map(|route| {
        let prefix = route.to.as_ref()?.value;
        Some((prefix, port_toward(draft, route)))
    });
    let candidates = connected.chain(routed).filter(|(net, _)| net.contains(&to));
    candidates.max_by_key(|(net, _)| net.prefix_len())?.1
}

fn own_or_a_hosts(reader: &mut Reader, draft: &Draft, hag: &HagDraft) {
    for (n, At { value, place }) in hag.addresses.iter().enumerate() {
        let mut earlier = hag.addresses.iter().take(n);
        if earlier.any(|other| other.value == *value) {
            let what = format!("{value} is here twice");
            reader.wrong(place, what, "write each address once");
        } else if let Some((port, _)) = connected(draft).find(|(_, net)| net.addr() == *value) {
            let what = format!("{value} is the address of {}", title(Some(port), 0));
            reader.wrong(place, what, "write the addresses that hag announces");
        } else if let Some(prefix) =
            (draft.subscribers.iter()).find(|prefix| prefix.value.contains(value))
        {
            let what = format!("{value} lies in the hosts' prefix {}", prefix.value);
            reader.wrong(place, what, "write the addresses that hag announces");
        }
    }
}
