//! A customer's site as one node: a host with TCP behind a box at the edge, which has two accesses.

use super::raw::Tcp;
use super::{Host, Node, port_mac};
use apps::engine::{
    EdgeSettings, Engine, EngineConfig, Occupancy, PolicySettings, PortRole, PortSettings,
    SchedulerKind,
};
use dataplane::memory::linear;
use dataplane::{CoreId, MemBuf, MemPort, MemWire, PortInfo, Worker, mailbox};
use stack::ip::{InterfaceConfig, NetConfig, RouteConfig};
use stack::time::{Duration, earlier};
use stack::{Instant, PortId};
use std::net::IpAddr;

pub const LAN_HOST: &str = "10.11.0.2";

/// Small transfers use both accesses: tests of policy say otherwise.
pub const EITHER_PATH: PolicySettings = PolicySettings {
    scheduler: SchedulerKind::LowestRtt,
    congestion: mptcp::Coupling::Uncoupled,
    tcp_congestion: stack::tcp::congestion::Algorithm::Cubic,
};

/// The site; its card 0 is the primary access, the others are the secondary ones.
pub struct Customer {
    pub host: Host,
    pub worker: Worker<MemPort, Engine<MemBuf>>,
    wires: Vec<MemWire>,
    /// What is on one of the accesses.
    pub translator: Option<Translator>,
}

/// A NAT for TCP on the access of one card: it keeps ports, and forgets those that send nothing for a while.
pub struct Translator {
    pub nic: usize,
    pub inside: IpAddr,
    pub outside: IpAddr,
    pub timeout: Duration,
    pub ports: Vec<(u16, Instant)>,
}

impl Translator {
    fn outward(&mut self, now: Instant, frame: Vec<u8>) -> Vec<u8> {
        let Some(mut tcp) = Tcp::parse(&frame).filter(|tcp| tcp.src == self.inside) else {
            return frame;
        };
        self.ports.retain(|(port, _)| *port != tcp.src_port);
        self.ports.push((tcp.src_port, now));
        tcp.src = self.outside;
        tcp.frame(mac(&frame, 6), mac(&frame, 0))
    }

    fn inward(&self, now: Instant, frame: Vec<u8>) -> Option<Vec<u8>> {
        let Some(mut tcp) = Tcp::parse(&frame).filter(|tcp| tcp.dst == self.outside) else {
            return Some(frame);
        };
        let mut ports = self.ports.iter();
        let (_, at) = ports.find(|(port, _)| *port == tcp.dst_port)?;
        tcp.dst = self.inside;
        (now.since(*at) < self.timeout).then(|| tcp.frame(mac(&frame, 6), mac(&frame, 0)))
    }
}

fn mac(frame: &[u8], at: usize) -> [u8; 6] {
    frame[at..at + 6].try_into().unwrap()
}

/// The box at the edge: LAN, primary, secondary.
pub fn edge_config(edge: EdgeSettings) -> EngineConfig {
    let nets: [&[&str]; 3] = [
        &["10.11.0.1/24", "fd00:11::1/64"],
        &["10.1.0.2/24", "fd00:1::2/64"],
        &["10.2.0.2/24", "fd00:2::2/64"],
    ];
    let macs = [
        [2, 0, 0, 0, 0xee, 0],
        super::CLIENT_MAC,
        super::CLIENT_MAC_2,
    ];
    let interface = |(port, addresses): (usize, &&[&str])| InterfaceConfig {
        port: PortId(u8::try_from(port).unwrap()),
        mac: macs[port],
        mtu: 1500,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
    };
    let route = |(to, via): (&str, &str)| RouteConfig {
        to: to.parse().unwrap(),
        via: via.parse().unwrap(),
    };
    let settings = |(name, role): (&str, PortRole)| PortSettings::new(name, role);
    EngineConfig {
        net: NetConfig {
            interfaces: nets.iter().enumerate().map(interface).collect(),
            routes: [
                ("0.0.0.0/0", "10.1.0.1"),
                ("::/0", "fd00:1::1"),
                ("10.99.0.2/32", "10.2.0.1"),
                ("fd00:99::2/128", "fd00:2::1"),
            ]
            .map(route)
            .into(),
            ..NetConfig::default()
        },
        ports: [
            ("lan", PortRole::Access),
            ("primary", PortRole::Core),
            ("secondary", PortRole::Secondary),
        ]
        .map(settings)
        .into(),
        subscribers: vec![
            "10.11.0.0/24".parse().unwrap(),
            "fd00:11::/64".parse().unwrap(),
        ],
        edge: Some(edge),
        policy: EITHER_PATH,
        seed: [9; 32],
        ..EngineConfig::default()
    }
}

/// The box in the network, which serves the site's prefixes.
pub fn hag_config() -> EngineConfig {
    let mut config = super::config();
    for (to, via) in [("10.11.0.0/24", "10.1.0.2"), ("fd00:11::/64", "fd00:1::2")] {
        config.net.routes.push(RouteConfig {
            to: to.parse().unwrap(),
            via: via.parse().unwrap(),
        });
        config.subscribers.push(to.parse().unwrap());
    }
    config
}

impl Customer {
    /// A site whose box has a LAN port and then as many accesses as `config` says.
    pub fn of(config: &EngineConfig) -> Self {
        let info = |port: usize| PortInfo {
            name: config.ports[port].name.clone(),
            device: "memory".into(),
            mac: config.net.interfaces[port].mac,
            mtu: 1500,
        };
        let (ports, wires) = (0..config.ports.len())
            .map(|port| MemPort::with_wire(info(port)))
            .unzip();
        let (_, inbox) = mailbox(1);
        let engine = Engine::new(config.clone()).expect("the network resolves");
        let host = Host::new(
            port_mac(0x77),
            &["10.11.0.2/24", "fd00:11::2/64"],
            &["10.11.0.1", "fd00:11::1"],
            3,
        );
        Self {
            host,
            worker: Worker::new(CoreId(0), ports, engine, inbox),
            wires,
            translator: None,
        }
    }

    /// Puts a box that knows nothing in the place of this one, as a restart does.
    pub fn restart(&mut self, config: &EngineConfig) {
        let fresh = Self::of(config);
        (self.worker, self.wires) = (fresh.worker, fresh.wires);
    }

    pub fn occupancy(&self) -> Occupancy {
        self.worker.app().occupancy()
    }
}

impl Node for Customer {
    fn deliver(&mut self, now: Instant, nic: usize, frame: Vec<u8>) {
        let frame = match &self.translator {
            Some(translator) if translator.nic == nic => translator.inward(now, frame),
            _ => Some(frame),
        };
        let Some(frame) = frame else {
            return;
        };
        assert!(self.wires[nic + 1].put(frame), "the wire is full");
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        for _ in 0..1_000 {
            let mut sent = Vec::new();
            self.host.poll(now, &mut sent);
            let mut moved = sent.len();
            for (_, frame) in sent {
                assert!(self.wires[0].put(frame), "the wire is full");
            }
            moved += self.worker.poll(now);
            while let Some(frame) = self.wires[0].take() {
                self.host.deliver(now, 0, linear(&frame));
                moved += 1;
            }
            for nic in 0..self.wires.len() - 1 {
                while let Some(frame) = self.wires[nic + 1].take() {
                    let mut frame = linear(&frame);
                    if let Some(translator) = &mut self.translator
                        && translator.nic == nic
                    {
                        frame = translator.outward(now, frame);
                    }
                    out.push((nic, frame));
                }
            }
            if moved == 0 {
                return;
            }
        }
        panic!("the site does not come to rest");
    }

    fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let least = now + Duration::from_micros(10);
        let host = self.host.next_deadline(now).map(|at| at.max(least));
        earlier(self.worker.next_deadline(), host)
    }
}
