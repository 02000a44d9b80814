//! The chain with as many access networks as a test asks for, each of one family or both: the customer's site, the box in
//! the network, a server. Access `n`, from 1, is 10.n.0.0/24 and fd00:n::/64 (29 for 9, which is the core); the customer is
//! .2 there, the other box .1.

use super::customer::Customer;
use super::site::Site;
use super::{Sim, Way, link, port_mac, server, sim_of};
use apps::engine::{EdgeSettings, EngineConfig, PortRole, PortSettings};
use smoltcp::iface::SocketHandle;
use stack::PortId;
use stack::ip::{InterfaceConfig, IsolatedConfig, NetConfig, RouteConfig};
use stack::time::Duration;
use std::net::IpAddr;

/// The families of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    Both,
}

impl Family {
    fn has(self, v4: bool) -> bool {
        self == Self::Both || (self == Self::V4) == v4
    }

    /// Of `texts`, an IPv4 and an IPv6 one, those of the family.
    fn of<T>(self, texts: [T; 2]) -> Vec<T> {
        let [v4, v6] = texts;
        let v4 = Some(v4).filter(|_| self.has(true));
        let v6 = Some(v6).filter(|_| self.has(false));
        v4.into_iter().chain(v6).collect()
    }
}

fn interface(port: usize, mac: [u8; 6], addresses: &[String]) -> InterfaceConfig {
    InterfaceConfig {
        port: PortId(u8::try_from(port).unwrap()),
        mac,
        mtu: 1500,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    }
}

fn route(to: &str, via: &str) -> RouteConfig {
    RouteConfig {
        to: to.parse().unwrap(),
        via: via.parse().unwrap(),
    }
}

fn settings(name: &str, role: PortRole) -> PortSettings {
    PortSettings::new(name, role)
}

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The third part of the networks of access `n`.
fn net_of(n: usize) -> usize {
    if n == 9 { 29 } else { n }
}

/// The box at the edge: hosts on port 0, the primary access on port 1, then the secondary ones.
pub fn edge_of(accesses: &[Family], edge: EdgeSettings) -> EngineConfig {
    let lan = ["10.11.0.1/24".into(), "fd00:11::1/64".into()];
    let mut interfaces = vec![interface(0, [2, 0, 0, 0, 0xee, 0], &lan)];
    let mut ports = vec![settings("lan", PortRole::Access)];
    let mut isolated = Vec::new();
    for (n, family) in (1..).zip(accesses) {
        let net = net_of(n);
        let ours = family.of([format!("10.{net}.0.2/24"), format!("fd00:{net}::2/64")]);
        let last = u8::try_from(n).unwrap();
        interfaces.push(interface(n, [2, 0, 0, 0, 0xee, last], &ours));
        let role = if n == 1 {
            PortRole::Core
        } else {
            PortRole::Secondary
        };
        ports.push(settings(&format!("wan{n}"), role));
        if n > 1 {
            let gateways = family.of([format!("10.{net}.0.1"), format!("fd00:{net}::1")]);
            isolated.push(IsolatedConfig {
                port: PortId(last),
                gateways: gateways.iter().map(|text| addr(text)).collect(),
            });
        }
    }
    let default = [route("0.0.0.0/0", "10.1.0.1"), route("::/0", "fd00:1::1")];
    EngineConfig {
        net: NetConfig {
            interfaces,
            routes: accesses[0].of(default),
            isolated,
            ..NetConfig::default()
        },
        ports,
        subscribers: vec![
            "10.11.0.0/24".parse().unwrap(),
            "fd00:11::/64".parse().unwrap(),
        ],
        edge: Some(edge),
        policy: super::customer::EITHER_PATH,
        seed: [9; 32],
        ..EngineConfig::default()
    }
}

/// The box in the network: an access port for each access, and the core port last.
pub fn hag_of(accesses: &[Family]) -> EngineConfig {
    let mut interfaces = Vec::new();
    let mut ports = Vec::new();
    for (n, family) in (1..).zip(accesses) {
        let net = net_of(n);
        let ours = family.of([format!("10.{net}.0.1/24"), format!("fd00:{net}::1/64")]);
        interfaces.push(interface(n - 1, port_mac(n - 1), &ours));
        ports.push(settings(&format!("access{n}"), PortRole::Access));
    }
    let core = accesses.len();
    let ours = ["10.9.0.1/24".into(), "fd00:9::1/64".into()];
    interfaces.push(interface(core, port_mac(core), &ours));
    ports.push(settings("core", PortRole::Core));
    let mut routes = vec![route("0.0.0.0/0", "10.9.0.2"), route("::/0", "fd00:9::2")];
    routes.extend(accesses[0].of([
        route("10.11.0.0/24", "10.1.0.2"),
        route("fd00:11::/64", "fd00:1::2"),
    ]));
    let announce = vec![addr("10.99.0.2"), addr("fd00:99::2")];
    EngineConfig {
        net: NetConfig {
            interfaces,
            routes,
            own: announce.clone(),
            ..NetConfig::default()
        },
        ports,
        subscribers: accesses[0].of([
            "10.11.0.0/24".parse().unwrap(),
            "fd00:11::/64".parse().unwrap(),
        ]),
        announce,
        policy: super::customer::EITHER_PATH,
        seed: [7; 32],
        ..EngineConfig::default()
    }
}

/// What announces itself in the lab's range is joined.
pub fn by_announcement() -> EdgeSettings {
    EdgeSettings {
        hag_prefixes: vec![
            "10.99.0.0/24".parse().unwrap(),
            "fd00:99::/64".parse().unwrap(),
        ],
        ..EdgeSettings::default()
    }
}

/// These addresses are joined, announced or not.
pub fn by_configuration(addresses: &[&str]) -> EdgeSettings {
    EdgeSettings {
        hag: addresses.iter().map(|text| addr(text)).collect(),
        ..EdgeSettings::default()
    }
}

/// The whole chain. The primary access has a delay of 10 ms, each further one 10 ms more; all have 50 Mbit/s.
#[expect(clippy::needless_pass_by_value, reason = "made for the call")]
pub fn chain(edge: EngineConfig, hag: EngineConfig) -> Sim<Site> {
    let accesses = hag.ports.len() - 1;
    let mut links: Vec<_> = (0..accesses)
        .map(|n| link(0, n, 10 + 10 * u64::try_from(n).unwrap()))
        .collect();
    for link in &mut links {
        link.shape.rate = 50_000_000;
    }
    links.push(link(1, 0, 5));
    let hosts = vec![Site::Customer(Customer::of(&edge)), Site::Server(server())];
    sim_of(hag, hosts, links, 1)
}

pub fn connect(sim: &mut Sim<Site>, local_port: u16, to: &str) -> [SocketHandle; 2] {
    let server = sim.hosts[1].host().listen(80);
    let client = sim.hosts[0].host().connect(local_port, (to, 80));
    let up = sim.run(Duration::from_secs(10), |sim| {
        sim.hosts[0].host().tcp(client).may_send() && sim.hosts[1].host().tcp(server).may_send()
    });
    assert!(up, "no connection");
    [client, server]
}

/// Closes both ends, and asserts that neither box holds anything afterwards, and that every address left where it belongs.
pub fn close(sim: &mut Sim<Site>, sockets: [SocketHandle; 2]) {
    super::site::close(sim, sockets);
    assert_own_sources(sim);
}

pub fn customer(sim: &mut Sim<Site>) -> &mut Customer {
    match &mut sim.hosts[0] {
        Site::Customer(customer) => customer,
        Site::Server(_) => panic!("the customer comes first"),
    }
}

/// Source and destination of an IP packet in a frame.
pub fn addresses_of(frame: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
    let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&frame[at..at + 4]).unwrap());
    match frame[12..14] {
        [0x08, 0x00] => Some((v4(26), v4(30))),
        [0x86, 0xdd] => Some((v6(22), v6(38))),
        _ => None,
    }
}

/// BCP 38: on every access but the primary one the customer sends from its own address there alone, and that address is
/// seen nowhere else.
pub fn assert_own_sources(sim: &Sim<Site>) {
    let core = sim.links.len() - 1;
    for n in 1..=core {
        let net = net_of(n);
        let own = [format!("10.{net}.0.2"), format!("fd00:{net}::2")].map(|text| addr(&text));
        let foreign = |src: &IpAddr| {
            // Neighbor discovery speaks from link-local addresses.
            let link_local = matches!(src, IpAddr::V6(src) if src.is_unicast_link_local());
            !link_local && !own.contains(src)
        };
        for seen in sim.on(n - 1, Way::ToBox) {
            let Some((src, _)) = addresses_of(&seen.frame) else {
                continue;
            };
            assert!(n == 1 || !foreign(&src), "{src} left by access {n}");
            let secondary = (2..=core).any(|other| {
                let net = net_of(other);
                let theirs = [format!("10.{net}.0.2"), format!("fd00:{net}::2")];
                other != n && theirs.iter().any(|text| addr(text) == src)
            });
            assert!(!secondary, "{src} left by access {n}");
        }
    }
}
