//! A host behind a box at the customer's edge, two accesses, the box in the network, and a server: both ends plain TCP.

use super::customer::{Customer, edge_config};
use super::{Host, Node, Sim, Way, link, pattern, server, sim_of};
use apps::engine::{EdgeSettings, EngineConfig, Occupancy};
use smoltcp::iface::SocketHandle;
use stack::Instant;
use stack::time::Duration;

#[expect(clippy::large_enum_variant, reason = "a test has two of them")]
pub enum Site {
    Customer(Customer),
    Server(Host),
}

impl Site {
    fn node(&mut self) -> &mut dyn Node {
        match self {
            Self::Customer(node) => node,
            Self::Server(node) => node,
        }
    }

    pub fn host(&mut self) -> &mut Host {
        match self {
            Self::Customer(node) => &mut node.host,
            Self::Server(node) => node,
        }
    }
}

impl Node for Site {
    fn deliver(&mut self, now: Instant, nic: usize, frame: Vec<u8>) {
        self.node().deliver(now, nic, frame);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        self.node().poll(now, out);
    }

    fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        self.node().next_deadline(now)
    }
}

pub fn announced() -> EdgeSettings {
    EdgeSettings {
        hag: Vec::new(),
        hag_prefixes: vec![
            "10.99.0.0/24".parse().unwrap(),
            "fd00:99::/64".parse().unwrap(),
        ],
        ..EdgeSettings::default()
    }
}

pub fn configured() -> EdgeSettings {
    EdgeSettings {
        hag: vec!["10.99.0.2".parse().unwrap()],
        ..EdgeSettings::default()
    }
}

/// The network with a box at the edge that knows `edge`, and `hag` in the network.
pub fn network(edge: EdgeSettings, hag: EngineConfig) -> Sim<Site> {
    network_of(&edge_config(edge), hag)
}

/// The same with a whole configuration of the box at the edge.
pub fn network_of(edge: &EngineConfig, hag: EngineConfig) -> Sim<Site> {
    let hosts = vec![Site::Customer(Customer::of(edge)), Site::Server(server())];
    let links = vec![link(0, 0, 10), link(0, 1, 20), link(1, 0, 5)];
    sim_of(hag, hosts, links, 1)
}

pub fn connect(sim: &mut Sim<Site>, to: &str) -> [SocketHandle; 2] {
    let server = sim.hosts[1].host().listen(80);
    let client = sim.hosts[0].host().connect(40_000, (to, 80));
    let up = sim.run(Duration::from_secs(10), |sim| {
        sim.hosts[0].host().tcp(client).may_send() && sim.hosts[1].host().tcp(server).may_send()
    });
    assert!(up, "no connection");
    [client, server]
}

/// Sends `len` octets from host `from` to the other, and compares them.
pub fn transfer(sim: &mut Sim<Site>, sockets: [SocketHandle; 2], from: usize, len: usize) {
    let data = pattern(len, 5);
    let (mut sent, mut got) = (0, Vec::new());
    let done = sim.run(Duration::from_secs(120), |sim| {
        sent += sim.hosts[from].host().send(sockets[from], &data[sent..]);
        sim.hosts[1 - from].host().recv(sockets[1 - from], &mut got);
        got.len() == data.len()
    });
    assert!(done, "{} of {len} octets came", got.len());
    assert!(got == data, "not the octets that were sent");
}

pub fn close(sim: &mut Sim<Site>, sockets: [SocketHandle; 2]) {
    for at in [0, 1] {
        sim.hosts[at].host().tcp(sockets[at]).close();
        sim.idle(Duration::from_secs(3));
    }
    sim.idle(Duration::from_secs(130));
    assert_eq!(held_at_edge(sim), Occupancy::default());
    assert_eq!(sim.occupancy(), Occupancy::default());
}

pub fn held_at_edge(sim: &Sim<Site>) -> Occupancy {
    match &sim.hosts[0] {
        Site::Customer(customer) => customer.occupancy(),
        Site::Server(_) => panic!("the customer comes first"),
    }
}

/// Payload-sized frames seen on the link of `port`.
pub fn large(sim: &Sim<Site>, port: usize, way: Way) -> usize {
    sim.on(port, way)
        .filter(|seen| seen.frame.len() > 1_000)
        .count()
}

/// The IPv4 sources of what passed on `port`, each once.
pub fn sources(sim: &Sim<Site>, port: usize, way: Way) -> Vec<[u8; 4]> {
    let mut all: Vec<[u8; 4]> = sim
        .on(port, way)
        .filter(|seen| seen.frame[12..14] == [8, 0])
        .map(|seen| seen.frame[26..30].try_into().unwrap())
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A counter of the box at the edge.
pub fn edge_counter(sim: &mut Sim<Site>, name: &str) -> u64 {
    let now = sim.now;
    let Site::Customer(customer) = &mut sim.hosts[0] else {
        panic!("the customer comes first");
    };
    customer.counter(now, name)
}
