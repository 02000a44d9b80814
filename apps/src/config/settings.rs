//! From the file's words to what the parts below are built from.

use dataplane::Idle;
use stack::PortId;
use stack::ip::{InterfaceConfig, IsolatedConfig, NetConfig, RouteConfig, VlanConfig};

use super::types::{Config, Device, Polling, Port, Route};
use crate::engine::{EdgeSettings, EngineConfig, PortRole, PortSettings};
use crate::nat::{MappingLimits, MappingTimeouts};

impl Config {
    /// What the engines are built from, for all cores together. `macs` are the Ethernet addresses of the ports, in their order;
    /// `seed` is the operating system's randomness.
    #[must_use]
    pub fn engine(&self, macs: &[[u8; 6]], seed: [u8; 32]) -> EngineConfig {
        let port = |port: &Port| PortSettings {
            name: port.name.clone(),
            role: port.role,
            cost: port.cost,
            weight: port.weight,
            cap: port.cap,
        };
        EngineConfig {
            core: 0,
            cores: 1,
            net: self.net(macs),
            ports: self.ports.iter().map(port).collect(),
            bridge: self.bridge.and_then(|ends| {
                let [one, other] = ends.map(u8::try_from);
                Some([PortId(one.ok()?), PortId(other.ok()?)])
            }),
            subscribers: self.subscribers.clone(),
            announce: self.mptcp.announce.clone(),
            edge: self.hag.as_ref().map(|hag| EdgeSettings {
                hag: hag.addresses.clone(),
                hag_prefixes: hag.prefixes.clone(),
                announce: hag.announce,
                keepalive: self.keepalives(),
            }),
            nat: self.gate.as_ref().and_then(|gate| gate.nat.clone()),
            firewall: self.gate.as_ref().map(|gate| gate.firewall.clone()),
            mapping_limits: self
                .gate
                .as_ref()
                .map_or_else(MappingLimits::default, |gate| gate.limits),
            mapping_timeouts: self
                .gate
                .as_ref()
                .map_or_else(MappingTimeouts::default, |gate| gate.timeouts),
            join: self.join.clone(),
            versions: self.mptcp.versions,
            checksum: self.mptcp.checksum,
            inbound: self.inbound,
            policy: self.policy,
            accept_plain: self.select.plain,
            limits: self.limits,
            timeouts: self.timeouts,
            select: self.select.clone(),
            seed,
        }
    }

    /// How long a subflow by each port may be silent, where that is given.
    fn keepalives(&self) -> Vec<(PortId, stack::time::Duration)> {
        let ports = (0..=u8::MAX).map(PortId).zip(&self.ports);
        let kept = ports.filter_map(|(id, port)| Some((id, port.keepalive?)));
        kept.collect()
    }

    /// The addresses and routes of all ports.
    fn net(&self, macs: &[[u8; 6]]) -> NetConfig {
        let interfaces = (0..=u8::MAX).zip(&self.ports).zip(macs);
        let interface = |((id, port), mac): ((u8, &Port), &[u8; 6])| InterfaceConfig {
            port: PortId(id),
            mac: *mac,
            mtu: port.mtu,
            addresses: port.addresses.clone(),
        };
        let route = |route: &Route| RouteConfig {
            to: route.to,
            via: route.via,
        };
        let vlans = (0..=u8::MAX)
            .zip(&self.ports)
            .filter(|(_, port)| !port.vlan.is_empty());
        let vlan = |(id, port): (u8, &Port)| VlanConfig {
            port: PortId(id),
            ids: port.vlan.clone(),
        };
        let secondaries = (0..=u8::MAX)
            .zip(&self.ports)
            .filter(|(_, port)| port.role == PortRole::Secondary);
        let isolated = |(id, port): (u8, &Port)| IsolatedConfig {
            port: PortId(id),
            gateways: port.gateway.clone(),
        };
        NetConfig {
            isolated: secondaries.map(isolated).collect(),
            vlans: vlans.map(vlan).collect(),
            interfaces: interfaces.map(interface).collect(),
            routes: self.routes.iter().map(route).collect(),
            own: self.mptcp.announce.clone(),
            ..NetConfig::default()
        }
    }

    /// How the worker waits: what the file says, or what suits the devices.
    #[must_use]
    pub fn idle(&self) -> Idle {
        let all_pci = (self.ports.iter()).all(|port| matches!(port.device, Device::Pci(_)));
        match self.worker.polling {
            Polling::Spin => Idle::Spin,
            Polling::Auto if all_pci => Idle::Spin,
            Polling::Auto | Polling::Adaptive => Idle::ADAPTIVE,
        }
    }

    /// One line that says what the file describes, for `hag check`.
    #[must_use]
    pub fn summary(&self) -> String {
        let edge = self.hag.is_some();
        let ports: Vec<_> = (self.ports.iter())
            .map(|port| format!("{} ({})", port.name, port.role.name(edge)))
            .collect();
        let (served, verb, nothing, peers) = match &self.hag {
            None => {
                let announce = texts(&self.mptcp.announce);
                (
                    "subscriber prefix",
                    "announces",
                    "announces nothing",
                    announce,
                )
            },
            Some(hag) => {
                let peers = [texts(&hag.addresses), texts(&hag.prefixes)].concat();
                ("prefix of hosts", "joins", "joins nothing", peers)
            },
        };
        format!(
            "{}: ports {}; {}; {}; {}",
            self.name,
            ports.join(", "),
            counted(self.routes.len(), "route"),
            counted(self.subscribers.len(), served),
            if peers.is_empty() {
                nothing.to_owned()
            } else {
                format!("{verb} {}", peers.join(", "))
            },
        )
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

/// `1 route`, `2 routes`, `2 subscriber prefixes`, `2 prefixes of hosts`.
fn counted(n: usize, what: &str) -> String {
    let (noun, rest) = match what.split_once(" of ") {
        Some((noun, rest)) => (noun, format!(" of {rest}")),
        None => (what, String::new()),
    };
    let plural = match (n, noun.ends_with('x')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{n} {noun}{plural}{rest}")
}
