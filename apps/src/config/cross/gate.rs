//! How translation and the firewall fit the hosts and the ports.

use core::net::IpAddr;

use ipnet::IpNet;

use super::connected;
use crate::config::reader::{At, Reader};
use crate::config::sections::{Draft, GateDraft, NatDraft};
use crate::engine::PortRole;
use crate::nat::{Forward, Protocol};

pub(super) fn check(reader: &mut Reader, draft: &Draft, gate: &GateDraft) {
    if let Some(nat) = &gate.nat {
        inside(reader, draft, nat);
        if draft.addresses_known {
            address(reader, draft, nat);
        }
        forwards(reader, nat);
    }
    for rule in &gate.allow {
        let of_hosts = |prefix: &At<IpNet>| prefix.value.contains(&rule.value.to);
        if !draft.subscribers.is_empty() && !draft.subscribers.iter().any(of_hosts) {
            let what = format!("{} is none of the hosts'", rule.value.to);
            reader.wrong(
                &rule.place,
                what,
                "name a prefix or an address of the hosts",
            );
        }
        let translated = |nat: &NatDraft| {
            let mut inside = nat.inside.iter();
            inside.any(|prefix| prefix.value.contains(&rule.value.to))
        };
        if gate.nat.as_ref().is_some_and(translated) {
            let what = format!(
                "{} is translated, so nobody outside can name it",
                rule.value.to
            );
            reader.wrong(&rule.place, what, "write a forward under nat");
        }
    }
}

fn inside(reader: &mut Reader, draft: &Draft, nat: &NatDraft) {
    for prefix in &nat.inside {
        let of_hosts = |hosts: &At<IpNet>| hosts.value.contains(&prefix.value);
        if prefix.value.addr().is_ipv6() {
            let what = format!("{} is IPv6, which is not translated", prefix.value);
            reader.wrong(&prefix.place, what, "leave it out here");
        } else if !draft.subscribers.is_empty() && !draft.subscribers.iter().any(of_hosts) {
            let what = format!("{} is not among the hosts", prefix.value);
            reader.wrong(&prefix.place, what, "write it under hosts, too");
        }
    }
}

/// Answers to the public address come by the primary access.
fn address(reader: &mut Reader, draft: &Draft, nat: &NatDraft) {
    let Some(At { value, place }) = &nat.address else {
        return;
    };
    let mut own = connected(draft).filter(|(port, _)| port.role == Some(PortRole::Core));
    if !own.any(|(_, net)| net.addr() == *value) || matches!(value, IpAddr::V6(_)) {
        let what = format!("{value} is no IPv4 address of the primary port");
        reader.wrong(place, what, "write one of the primary port's addresses");
    }
}

fn forwards(reader: &mut Reader, nat: &NatDraft) {
    for (n, forward) in nat.forwards.iter().enumerate() {
        let Forward { protocol, port, to } = forward.value;
        let name = if protocol == Protocol::Tcp {
            "tcp"
        } else {
            "udp"
        };
        let mut earlier = nat.forwards.iter().take(n).map(|at| at.value);
        let is_inside = |prefix: &At<IpNet>| prefix.value.contains(&IpAddr::V4(to.addr));
        if earlier
            .clone()
            .any(|other| (other.protocol, other.port) == (protocol, port))
        {
            let what = format!("{name} port {port} is forwarded twice");
            reader.wrong(&forward.place, what, "forward each port once");
        } else if earlier.any(|other| (other.protocol, other.to) == (protocol, to)) {
            let what = format!(
                "{name} {}:{} is already behind another port, and what it sends can leave from one alone",
                to.addr, to.port
            );
            reader.wrong(&forward.place, what, "forward one port to it");
        } else if !nat.inside.is_empty() && !nat.inside.iter().any(is_inside) {
            let what = format!("{} is no address inside", to.addr);
            reader.wrong(
                &forward.place,
                what,
                "forward to a host in one of nat.inside",
            );
        }
    }
}
