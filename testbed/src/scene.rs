//! The HAG of the lab's scene, in memory and with every random choice fixed.

use apps::engine::{
    EdgeSettings, Engine, EngineConfig, JoinSettings, Limits, PolicySettings, PortRole,
    PortSettings, Select, Timeouts,
};
use apps::nat::{FirewallSettings, Forward, MappingLimits, NatSettings, Protocol};
use dataplane::memory::{MemBuf, linear};
use ipnet::{IpNet, Ipv4Net};
use stack::checksum::Sum;
use stack::ip::{Endpoint, InterfaceConfig, IsolatedConfig, NetConfig, RouteConfig};
use stack::{Frame, PortId};
use std::net::{IpAddr, Ipv4Addr};

/// Ethernet address of every host of the scene.
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];

const PORTS: [(&str, PortRole, [&str; 2]); 3] = [
    ("access1", PortRole::Access, ["10.1.0.1/24", "fd00:1::1/64"]),
    ("access2", PortRole::Access, ["10.2.0.1/24", "fd00:2::1/64"]),
    ("core", PortRole::Core, ["10.9.0.1/24", "fd00:9::1/64"]),
];

/// Ethernet address of our port `port`.
#[must_use]
pub const fn port_mac(port: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, port]
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

/// The addresses, routes and own addresses of the scene.
#[must_use]
pub fn net() -> NetConfig {
    let interfaces = (0..)
        .zip(&PORTS)
        .map(|(port, (_, _, addresses))| InterfaceConfig {
            port: PortId(port),
            mac: port_mac(port),
            mtu: 1500,
            addresses: nets(addresses),
        })
        .collect();
    let routes = [("0.0.0.0/0", "10.9.0.2"), ("::/0", "fd00:9::2")]
        .iter()
        .filter_map(|(to, via)| {
            Some(RouteConfig {
                to: to.parse().ok()?,
                via: via.parse().ok()?,
            })
        })
        .collect();
    NetConfig {
        interfaces,
        routes,
        own: announce(),
        ..NetConfig::default()
    }
}

fn announce() -> Vec<IpAddr> {
    addresses(&["10.99.0.2", "fd00:99::2"])
}

/// A HAG whose every random choice is fixed, within `limits`.
///
/// # Panics
/// The scene does not resolve: a mistake in this file.
#[must_use]
pub fn engine(limits: Limits) -> Engine<MemBuf> {
    Engine::new(config(limits)).expect("the scene resolves")
}

/// What it is built from.
#[must_use]
pub fn config(limits: Limits) -> EngineConfig {
    let ports = PORTS
        .iter()
        .map(|(name, role, _)| PortSettings::new(name, *role))
        .collect();
    EngineConfig {
        bridge: None,
        core: 0,
        cores: 1,
        net: net(),
        ports,
        subscribers: nets(&["10.1.0.0/24", "fd00:1::/64"]),
        announce: announce(),
        versions: mptcp::Versions::V1ThenV0,
        checksum: false,
        edge: None,
        join: JoinSettings::default(),
        inbound: false,
        policy: PolicySettings::default(),
        accept_plain: false,
        select: Select::default(),
        limits,
        timeouts: Timeouts::default(),
        seed: [7; 32],
        ..EngineConfig::default()
    }
}

/// The box at the customer's edge in the same place, its random choices fixed: port 0 faces its hosts, by port 1 it goes to the
/// servers and by port 2 to the HAG's further address.
///
/// # Panics
/// The scene does not resolve: a mistake in this file.
#[must_use]
pub fn bonding_edge(limits: Limits) -> Engine<MemBuf> {
    let sides = [
        ("lan", PortRole::Access, ["10.1.0.1/24", "fd00:1::1/64"]),
        ("wan1", PortRole::Core, ["10.9.0.1/24", "fd00:9::1/64"]),
        ("wan2", PortRole::Secondary, ["10.2.0.1/24", "fd00:2::1/64"]),
    ];
    let net = net();
    let interfaces = net.interfaces.into_iter().zip(&sides);
    let interfaces = interfaces.map(|(interface, (_, _, addresses))| InterfaceConfig {
        addresses: nets(addresses),
        ..interface
    });
    let isolated = IsolatedConfig {
        port: PortId(2),
        gateways: addresses(&["10.2.0.2", "fd00:2::2"]),
    };
    let config = EngineConfig {
        net: NetConfig {
            interfaces: interfaces.collect(),
            routes: net.routes,
            isolated: vec![isolated],
            ..NetConfig::default()
        },
        ports: sides
            .map(|(name, role, _)| PortSettings::new(name, role))
            .into(),
        announce: Vec::new(),
        edge: Some(EdgeSettings {
            hag_prefixes: nets(&["10.99.0.0/16", "fd00:99::/32"]),
            announce: true,
            ..EdgeSettings::default()
        }),
        inbound: true,
        ..config(limits)
    };
    Engine::new(config).expect("the scene resolves")
}

/// The first three octets of the hosts behind [`edge`].
pub const INSIDE: [u8; 3] = [192, 168, 1];

/// A box at the customer's edge with translation, a static forward and a firewall, its random choices fixed: port 0 faces
/// the hosts, port 1 the Internet.
///
/// # Panics
/// The scene does not resolve: a mistake in this file.
#[must_use]
pub fn edge() -> Engine<MemBuf> {
    let sides = [
        (
            "lan",
            PortRole::Access,
            ["192.168.1.1/24", "2001:db8:1::1/64"],
        ),
        (
            "wan",
            PortRole::Core,
            ["198.51.100.2/24", "2001:db8:2::2/64"],
        ),
    ];
    let interfaces = (0..)
        .zip(&sides)
        .map(|(port, (_, _, addresses))| InterfaceConfig {
            port: PortId(port),
            mac: port_mac(port),
            mtu: 1500,
            addresses: nets(addresses),
        })
        .collect();
    let route = RouteConfig {
        to: nets(&["0.0.0.0/0"])[0],
        via: addresses(&["198.51.100.1"])[0],
    };
    let ports = sides.map(|(name, role, _)| PortSettings::new(name, role));
    let forward = Forward {
        protocol: Protocol::Tcp,
        port: 8080,
        to: Endpoint {
            addr: Ipv4Addr::new(192, 168, 1, 10),
            port: 80,
        },
    };
    let limits = Limits {
        relays: 8,
        pending: 8,
        ..Limits::default()
    };
    let config = EngineConfig {
        net: NetConfig {
            interfaces,
            routes: vec![route],
            ..NetConfig::default()
        },
        ports: ports.into(),
        subscribers: nets(&["192.168.1.0/24", "2001:db8:1::/64"]),
        edge: Some(EdgeSettings::default()),
        nat: Some(NatSettings {
            inside: vec![Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 1, 0), 24)],
            address: Ipv4Addr::new(198, 51, 100, 2),
            forwards: vec![forward],
        }),
        firewall: Some(FirewallSettings::default()),
        mapping_limits: MappingLimits {
            mappings: 32,
            mappings_per_host: 16,
        },
        limits,
        seed: [7; 32],
        ..EngineConfig::default()
    };
    Engine::new(config).expect("the scene resolves")
}

/// `frame` as a frame for our port `port`, its IPv4 header's checksum right: most of what a fuzzer writes has neither.
#[must_use]
pub fn repaired(frame: &[u8], port: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if let Some(station) = frame.get_mut(..6) {
        station.copy_from_slice(&port_mac(port));
    }
    if let Some(header) = frame.get_mut(14..34)
        && header[0] == 0x45
    {
        header[10..12].fill(0);
        let sum = Sum::of(header).checksum();
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// What the host that `frame` asks for by ARP answers: the port it hangs on, and its reply.
#[must_use]
pub fn arp_reply(frame: &Frame<MemBuf>) -> Option<(u8, Vec<u8>)> {
    const REPLY: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 2];
    let request = linear(frame);
    let (asker, target) = (request.get(22..32)?, request.get(38..42)?);
    if request.get(12..14)? != [8, 6] {
        return None;
    }
    let reply = [&request[6..12], &HOST_MAC, &REPLY, &HOST_MAC, target, asker];
    Some((frame.port.0, reply.concat()))
}
