//! The two boxes, their ports, and everything around them that no script is about.

use crate::script::Settings;
use apps::engine::{
    EdgeSettings, Engine, EngineConfig, Limits, PolicySettings, PortRole, PortSettings,
    SchedulerKind,
};
use dataplane::{CoreId, MemBuf, MemPort, MemWire, PortInfo, Worker, mailbox};
use mptcp::Versions;
use stack::PortId;
use stack::ip::{InterfaceConfig, NetConfig, RouteConfig};
use std::net::IpAddr;
use testbed::scene::{self, port_mac};

/// A box on a worker, and the wires at its ports.
pub(crate) struct Scene {
    pub(crate) worker: Worker<MemPort, Engine<MemBuf>>,
    pub(crate) wires: Vec<MemWire>,
    /// The names of its ports.
    pub(crate) ports: Vec<String>,
}

pub(crate) fn scene(settings: &Settings) -> Result<Scene, String> {
    let base = if settings.edge {
        edge(settings.join)
    } else {
        scene::config(Limits::default())
    };
    let config = EngineConfig {
        versions: if settings.version == 0 {
            Versions::V0ThenV1
        } else {
            Versions::V1ThenV0
        },
        checksum: settings.checksum,
        inbound: settings.inbound,
        // A script that is not about policy sees the quickest path used.
        policy: PolicySettings {
            scheduler: SchedulerKind::LowestRtt,
            ..PolicySettings::default()
        },
        ..base
    };
    let ports: Vec<String> = config.ports.iter().map(|port| port.name.clone()).collect();
    let interfaces = ports.iter().zip(&config.net.interfaces);
    let (ends, wires) = interfaces
        .map(|(name, interface)| {
            MemPort::with_wire(PortInfo {
                name: name.clone(),
                device: "memory".into(),
                mac: interface.mac,
                mtu: 1500,
                sums: false,
            })
        })
        .unzip();
    let engine = Engine::new(config).map_err(|error| format!("the box: {error}"))?;
    let (_, inbox) = mailbox(1);
    Ok(Scene {
        worker: Worker::new(CoreId(0), ends, engine, inbox),
        wires,
        ports,
    })
}

/// A box at the customer's edge, with two accesses; `join` is whether it knows an address to join.
fn edge(join: bool) -> EngineConfig {
    const PORTS: [(&str, PortRole, [&str; 2]); 3] = [
        ("lan", PortRole::Access, ["10.11.0.1/24", "fd00:11::1/64"]),
        ("primary", PortRole::Core, ["10.1.0.2/24", "fd00:1::2/64"]),
        (
            "secondary",
            PortRole::Secondary,
            ["10.2.0.2/24", "fd00:2::2/64"],
        ),
    ];
    let interfaces = (0..)
        .zip(&PORTS)
        .map(|(port, (_, _, nets))| InterfaceConfig {
            port: PortId(port),
            mac: port_mac(port),
            mtu: 1500,
            addresses: nets.iter().filter_map(|net| net.parse().ok()).collect(),
        });
    let routes = [("0.0.0.0/0", "10.1.0.1"), ("10.99.0.2/32", "10.2.0.1")];
    let routes = routes.iter().filter_map(|(to, via)| {
        Some(RouteConfig {
            to: to.parse().ok()?,
            via: via.parse().ok()?,
        })
    });
    let ports = PORTS
        .iter()
        .map(|(name, role, _)| PortSettings::new(name, *role));
    EngineConfig {
        net: NetConfig {
            interfaces: interfaces.collect(),
            routes: routes.collect(),
            ..NetConfig::default()
        },
        ports: ports.collect(),
        subscribers: ["10.11.0.0/24", "fd00:11::/64"]
            .iter()
            .filter_map(|net| net.parse().ok())
            .collect(),
        edge: Some(EdgeSettings {
            hag: join
                .then_some(IpAddr::from([10, 99, 0, 2]))
                .into_iter()
                .collect(),
            ..EdgeSettings::default()
        }),
        seed: [9; 32],
        ..EngineConfig::default()
    }
}
