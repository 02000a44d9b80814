//! A customer's site as one node: a host with TCP behind a box at the edge, which has two accesses.

use super::raw::Tcp;
use super::sim::{assert_balance, total};
use super::{BoxWorker, Host, Node, poor_hash, port_mac, workers_of};
use apps::control::{Command, Reply};
use apps::engine::{
    EdgeSettings, Engine, EngineConfig, Occupancy, PolicySettings, PortRole, PortSettings,
    SchedulerKind,
};
use dataplane::memory::linear;
use dataplane::{App, MemBuf, MemPort, MemWire, Worker};
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
    tcp_pacing: false,
};

/// The site; its card 0 is the primary access, the others are the secondary ones.
pub struct Customer {
    pub host: Host,
    pub worker: Worker<MemPort, Engine<MemBuf>>,
    wires: Vec<MemWire>,
    /// Further workers, each with its wires.
    siblings: Vec<BoxWorker>,
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
        let mut workers = workers_of(config).into_iter();
        let (worker, wires) = workers.next().unwrap();
        let host = Host::new(
            port_mac(0x77),
            &["10.11.0.2/24", "fd00:11::2/64"],
            &["10.11.0.1", "fd00:11::1"],
            3,
        );
        Self {
            host,
            worker,
            wires,
            siblings: workers.collect(),
            translator: None,
        }
    }

    /// Puts a box that knows nothing in the place of this one, as a restart does.
    pub fn restart(&mut self, config: &EngineConfig) {
        let fresh = Self::of(config);
        (self.worker, self.wires) = (fresh.worker, fresh.wires);
        self.siblings = fresh.siblings;
    }

    pub fn occupancy(&self) -> Occupancy {
        let all = self.siblings.iter().map(|(worker, _)| worker);
        total(all.chain([&self.worker]))
    }

    /// The value of a counter of the box, all workers together.
    pub fn counter(&mut self, now: Instant, name: &str) -> u64 {
        let siblings = self.siblings.iter_mut().map(|(worker, _)| worker);
        let all = core::iter::once(&mut self.worker).chain(siblings);
        let values = all.map(|worker| {
            let stats = worker.stats();
            worker.app_mut().worker(stats);
            let command = Command::ShowCounters;
            match worker.app_mut().command(now, command, &mut Vec::new()) {
                Reply::Counters(reply) => reply.counters[name],
                other => panic!("{other:?}"),
            }
        });
        values.sum()
    }

    /// The wire of a port at the worker that a poor device picks for `frame`.
    fn wire(&self, port: usize, frame: &[u8]) -> &MemWire {
        let worker = poor_hash(frame) % (1 + self.siblings.len());
        let more = worker.checked_sub(1).map(|n| &self.siblings[n].1[port]);
        more.unwrap_or(&self.wires[port])
    }

    /// The oldest frame that a worker sends by a port.
    fn take(&self, port: usize) -> Option<Vec<u8>> {
        let siblings = self.siblings.iter().map(|(_, wires)| wires);
        let mut all = core::iter::once(&self.wires).chain(siblings);
        all.find_map(|wires| wires[port].take())
            .map(|frame| linear(&frame))
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
        assert!(self.wire(nic + 1, &frame).put(frame), "the wire is full");
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        for _ in 0..1_000 {
            let mut sent = Vec::new();
            self.host.poll(now, &mut sent);
            let mut moved = sent.len();
            for (_, frame) in sent {
                assert!(self.wire(0, &frame).put(frame), "the wire is full");
            }
            moved += self.worker.poll(now);
            for (worker, _) in &mut self.siblings {
                moved += worker.poll(now);
            }
            let siblings = self.siblings.iter().map(|(worker, _)| worker);
            assert_balance(siblings.chain([&self.worker]));
            while let Some(frame) = self.take(0) {
                self.host.deliver(now, 0, frame);
                moved += 1;
            }
            for nic in 0..self.wires.len() - 1 {
                while let Some(mut frame) = self.take(nic + 1) {
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
        let siblings = self.siblings.iter().map(|(worker, _)| worker);
        let workers = siblings.chain([&self.worker]).map(Worker::next_deadline);
        workers.fold(host, earlier)
    }
}
