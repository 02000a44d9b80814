//! What the relay's tests share: the box with three ports, hosts at its links, and raw frames.
#![allow(unreachable_pub, reason = "the tests are the only crate there is")]

pub mod accesses;
pub mod customer;
pub mod host;
pub mod mp;
pub mod raw;
pub mod script;
pub mod sim;
pub mod site;

pub use host::Host;
pub use mp::MpHost;
pub use sim::{Link, Node, Sim, Way};

use apps::control::{Command, Reply};
use apps::engine::{Engine, EngineConfig, Occupancy, PortRole, PortSettings, Timeouts};
use dataplane::{CoreId, MemBuf, MemPort, MemWire, PortInfo, Worker, mailbox, siblings};
use smoltcp::iface::SocketHandle;
use stack::PortId;
use stack::ip::{InterfaceConfig, NetConfig, RouteConfig};
use stack::time::Duration;
use testbed::link::Shape;

/// The box's ports.
pub const ACCESS1: usize = 0;
pub const ACCESS2: usize = 1;
pub const CORE: usize = 2;

/// The hosts, in the order of the simulation.
pub const CLIENT: usize = 0;
pub const SERVER: usize = 1;

pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
pub const CLIENT_MAC_2: [u8; 6] = [2, 0, 0, 0, 2, 2];
pub const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 2];

pub const H: &str = "10.1.0.2";
pub const S: &str = "10.9.0.2";
pub const H6: &str = "fd00:1::2";
pub const S6: &str = "fd00:9::2";
pub const HAG2: &str = "10.99.0.2";

pub fn port_mac(port: usize) -> [u8; 6] {
    [2, 0, 0, 0, 0xff, u8::try_from(port).unwrap()]
}

/// The box of the demo: two access ports and a core port.
pub fn config() -> EngineConfig {
    let nets = [
        ["10.1.0.1/24", "fd00:1::1/64"],
        ["10.2.0.1/24", "fd00:2::1/64"],
        ["10.9.0.1/24", "fd00:9::1/64"],
    ];
    let interface = |(port, addresses): (usize, &[&str; 2])| InterfaceConfig {
        port: PortId(u8::try_from(port).unwrap()),
        mac: port_mac(port),
        mtu: 1500,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let settings = |(name, role): (&str, PortRole)| PortSettings::new(name, role);
    let announce = vec![HAG2.parse().unwrap(), "fd00:99::2".parse().unwrap()];
    let route = |to: &str, via: &str| RouteConfig {
        to: to.parse().unwrap(),
        via: via.parse().unwrap(),
    };
    EngineConfig {
        net: NetConfig {
            interfaces: nets.iter().enumerate().map(interface).collect(),
            routes: vec![route("0.0.0.0/0", "10.9.0.2"), route("::/0", "fd00:9::2")],
            own: announce.clone(),
            ..NetConfig::default()
        },
        ports: [
            ("access1", PortRole::Access),
            ("access2", PortRole::Access),
            ("core", PortRole::Core),
        ]
        .map(settings)
        .into(),
        subscribers: vec![
            "10.1.0.0/24".parse().unwrap(),
            "fd00:1::/64".parse().unwrap(),
        ],
        announce,
        policy: customer::EITHER_PATH,
        // So that what the tests do with relays they do with those that have rested, too.
        timeouts: Timeouts {
            rest: Duration::from_millis(500),
            ..Timeouts::default()
        },
        seed: [7; 32],
        ..EngineConfig::default()
    }
}

/// The simulation of `config` with `hosts` at `links`; with as many workers as the configuration has cores, of which a
/// poor device picks one by little of each frame.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a configuration is made for its box"
)]
pub fn sim_of<N: Node>(config: EngineConfig, hosts: Vec<N>, links: Vec<Link>, seed: u64) -> Sim<N> {
    let mut workers = workers_of(&config).into_iter();
    let (worker, wires) = workers.next().unwrap();
    let mut sim = Sim::new(worker, wires, hosts, links, seed);
    sim.add_workers(workers.collect(), poor_hash);
    sim
}

/// The last octet of each address, and of what follows them, says nothing of who owns a flow.
pub fn poor_hash(frame: &[u8]) -> usize {
    let sum = |bytes: &[u8]| bytes.iter().map(|&octet| usize::from(octet)).sum::<usize>();
    sum(frame.get(26..38).unwrap_or(&[])) / 3
}

/// A worker, and the wires at its ports.
pub type BoxWorker = (Worker<MemPort, Engine<MemBuf>>, Vec<MemWire>);

/// The workers of a box, each with ports of its own.
pub fn workers_of(config: &EngineConfig) -> Vec<BoxWorker> {
    let info = |port: usize| PortInfo {
        name: config.ports[port].name.clone(),
        device: "memory".into(),
        mac: config.net.interfaces[port].mac,
        mtu: 1500,
        sums: false,
    };
    let made = (0..config.cores).zip(siblings(config.cores.into()));
    let made = made.map(|(core, siblings)| {
        let (ports, wires) = (0..config.ports.len())
            .map(|port| MemPort::with_wire(info(port)))
            .unzip();
        let (_, inbox) = mailbox(1);
        let engine = Engine::new(config.of_core(core, config.cores));
        let engine = engine.expect("the network resolves");
        let worker = Worker::new(CoreId(core), ports, engine, inbox);
        (worker.among(siblings), wires)
    });
    made.collect()
}

pub fn link(host: usize, nic: usize, delay_ms: u64) -> Link {
    Link {
        host,
        nic,
        shape: Shape {
            delay: Duration::from_millis(delay_ms),
            ..Shape::default()
        },
        mtu: 1500,
    }
}

pub fn server() -> Host {
    Host::new(
        SERVER_MAC,
        &["10.9.0.2/24", "fd00:9::2/64"],
        &["10.9.0.1", "fd00:9::1"],
        9,
    )
}

pub fn client() -> Host {
    Host::new(
        CLIENT_MAC,
        &["10.1.0.2/24", "fd00:1::2/64"],
        &["10.1.0.1", "fd00:1::1"],
        1,
    )
}

/// Two hosts with plain TCP and the box between them relaying it.
pub fn plain_sim(seed: u64) -> Sim<Host> {
    plain_sim_with(
        EngineConfig {
            accept_plain: true,
            ..config()
        },
        seed,
    )
}

/// The same with another configuration. The second access port hangs on the client, too, and stays silent.
pub fn plain_sim_with(config: EngineConfig, seed: u64) -> Sim<Host> {
    let links = vec![link(CLIENT, 0, 5), link(CLIENT, 1, 5), link(SERVER, 0, 10)];
    sim_of(config, vec![client(), server()], links, seed)
}

/// The answer to a neighbor solicitation, by the station `mac`.
fn advertisement(solicitation: &[u8], mac: [u8; 6]) -> Option<Vec<u8>> {
    let asked = solicitation[12..14] == [0x86, 0xdd] && solicitation[20] == 58;
    if !asked || solicitation.get(54) != Some(&135) {
        return None;
    }
    let address = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).unwrap();
    let (from, target) = (
        address(&solicitation[22..38]),
        address(&solicitation[62..78]),
    );
    let mut message = [&[136, 0, 0, 0, 0x60, 0, 0, 0][..], &target, &[2, 1], &mac].concat();
    let sum = raw::checksum(&[&target, &from, &[0, 0, 0, 32, 0, 0, 0, 58], &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let to = solicitation[6..12].try_into().unwrap();
    let addresses = (target.into(), from.into());
    Some(raw::ip_frame(mac, to, addresses, (0, 255), 58, &message))
}

/// A host that answers ARP and NDP for whatever address is asked for, and else does nothing.
pub struct Dumb {
    macs: Vec<[u8; 6]>,
    answers: Vec<(usize, Vec<u8>)>,
}

impl Dumb {
    /// With these Ethernet addresses, one for each card.
    pub fn new(macs: &[[u8; 6]]) -> Self {
        Self {
            macs: macs.to_vec(),
            answers: Vec::new(),
        }
    }
}

impl Node for Dumb {
    fn deliver(&mut self, _now: stack::Instant, nic: usize, frame: Vec<u8>) {
        // ARP request: answer with our MAC for the address asked for.
        if frame[12..14] == [8, 6] && frame[20..22] == [0, 1] {
            let mut reply = [&frame[6..12], &self.macs[nic][..], &[8, 6]].concat();
            reply.extend(&frame[14..20]);
            reply.extend([0, 2]);
            reply.extend(self.macs[nic]);
            reply.extend(&frame[38..42]);
            reply.extend(&frame[22..32]);
            self.answers.push((nic, reply));
        }
        if let Some(answer) = advertisement(&frame, self.macs[nic]) {
            self.answers.push((nic, answer));
        }
    }

    fn poll(&mut self, _now: stack::Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        out.append(&mut self.answers);
    }

    fn next_deadline(&mut self, _now: stack::Instant) -> Option<stack::Instant> {
        None
    }
}

/// The Ethernet addresses at the far ends of the box's ports.
pub const MAC_AT: [[u8; 6]; 3] = [CLIENT_MAC, CLIENT_MAC_2, SERVER_MAC];

/// The box with nobody at its ports who says anything by himself.
pub fn raw_sim(config: EngineConfig) -> Sim<Dumb> {
    let host = Dumb::new(&MAC_AT);
    let links = vec![link(0, 0, 1), link(0, 1, 1), link(0, 2, 1)];
    sim_of(config, vec![host], links, 1)
}

/// Either kind of host.
#[expect(clippy::large_enum_variant, reason = "a test has two of them")]
pub enum Either {
    Tcp(Host),
    Mptcp(Box<MpHost>),
}

impl Either {
    pub fn tcp(&mut self) -> &mut Host {
        match self {
            Self::Tcp(host) => host,
            Self::Mptcp(_) => panic!("a host with MPTCP"),
        }
    }

    pub fn mptcp(&mut self) -> &mut MpHost {
        match self {
            Self::Mptcp(host) => host,
            Self::Tcp(_) => panic!("a host with TCP"),
        }
    }

    fn node(&mut self) -> &mut dyn Node {
        match self {
            Self::Tcp(host) => host,
            Self::Mptcp(host) => host.as_mut(),
        }
    }
}

impl Node for Either {
    fn deliver(&mut self, now: stack::Instant, nic: usize, frame: Vec<u8>) {
        self.node().deliver(now, nic, frame);
    }

    fn poll(&mut self, now: stack::Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        self.node().poll(now, out);
    }

    fn next_deadline(&mut self, now: stack::Instant) -> Option<stack::Instant> {
        self.node().next_deadline(now)
    }
}

/// An MPTCP client with two access lines and a TCP server.
pub fn bonded_sim(config: EngineConfig, seed: u64) -> Sim<Either> {
    let hosts = vec![
        Either::Mptcp(Box::new(MpHost::new(seed))),
        Either::Tcp(server()),
    ];
    let links = vec![link(CLIENT, 0, 10), link(CLIENT, 1, 20), link(SERVER, 0, 5)];
    sim_of(config, hosts, links, seed)
}

/// `len` octets that differ from place to place.
pub fn pattern(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stack::Rng::from_u64(seed).fill(&mut bytes);
    bytes
}

/// The value of a counter by its name.
pub fn counter<N: Node>(sim: &mut Sim<N>, name: &str) -> u64 {
    let Reply::Counters(reply) = sim.command(Command::ShowCounters) else {
        panic!("counters were asked for");
    };
    *reply
        .counters
        .get(name)
        .unwrap_or_else(|| panic!("no counter {name}"))
}

/// Asserts that nothing is held any more, once TIME-WAIT is over.
pub fn assert_empty<N: Node>(sim: &mut Sim<N>) {
    sim.idle(Duration::from_secs(130));
    assert_eq!(sim.occupancy(), Occupancy::default());
}

/// A connected pair of sockets through the box.
pub struct Pair {
    pub client: SocketHandle,
    pub server: SocketHandle,
}

/// Connects client and server, and waits until both know.
pub fn connect(sim: &mut Sim<Host>, local_port: u16, to: &str) -> Pair {
    let server = sim.hosts[SERVER].listen(80);
    let client = sim.hosts[CLIENT].connect(local_port, (to, 80));
    let pair = Pair { client, server };
    let up = sim.run(Duration::from_secs(10), |sim| {
        sim.hosts[CLIENT].tcp(client).may_send() && sim.hosts[SERVER].tcp(server).may_send()
    });
    assert!(up, "no connection");
    pair
}

/// A connection whose client never reads, and whose server has sent all that it can of `len` octets, which is not all.
pub fn stalled(sim: &mut Sim<Host>, port: u16, len: usize) -> Pair {
    let pair = connect(sim, port, S);
    let data = pattern(len, 4);
    let mut sent = 0;
    sim.run(Duration::from_secs(20), |sim| {
        sent += sim.hosts[SERVER].send(pair.server, &data[sent..]);
        false
    });
    assert!(sent < data.len());
    pair
}
