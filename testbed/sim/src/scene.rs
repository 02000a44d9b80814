//! The networks: hosts, boxes and links of a plan, wired up.
//!
//! Access `n`, from 1, is 10.n.0.0/24 and fd00:n::/64, .2 there on the client's side and .1 on the other; the core is
//! 10.9.0.0/24 and fd00:9::/64, the LAN behind the box at the edge 10.11.0.0/24 and fd00:11::/64. The box in the network
//! takes joins at 10.99.0.2 and fd00:99::2.

use crate::app::{Endpoint, Role};
use crate::cable::{Cable, Plug};
use crate::fault::{Fault, changes, rewrites};
use crate::host::Host;
use crate::lane::{self, Lane};
use crate::native::Native;
use crate::node::{Machine, Node, Repeats, Sleepy, Workers};
use crate::oracle::Reference;
use crate::plan::{Chain, Family, Net, Plan};
use crate::port;
use crate::seed::derive;
use crate::stream::Stream;
use apps::engine::{
    EdgeSettings, EngineConfig, Limits, PolicySettings, PortRole, PortSettings, Timeouts,
};
use dataplane::siblings::RING_FRAMES;
use stack::ip::{InterfaceConfig, IsolatedConfig, NetConfig, RouteConfig};
use stack::tcp::{KEEPALIVE_BETWEEN_MAX, KEEPALIVE_PROBES};
use stack::time::Duration;
use stack::{Instant, PortId};
use std::net::IpAddr;

/// When every run begins: not at zero, where nothing can lie before.
pub const START: Instant = Instant::from_millis(1_000);

/// The nodes and links of a run. The client is the first node, the server the last, boxes are between them in order.
pub struct Scene {
    /// Hosts and boxes.
    pub nodes: Vec<Node>,
    /// Links, the LAN first and the core last.
    pub cables: Vec<Cable>,
}

/// Builds the network of `plan` with the flows and faults in it.
#[must_use]
pub fn build(plan: &Plan) -> Scene {
    let net = &plan.net;
    let mut nodes = vec![client(plan)];
    match net.chain {
        Chain::Plain => {
            let config = EngineConfig {
                accept_plain: true,
                ..hag(plan, 1, "10.1.0.2/32", "fd00:1::2/128")
            };
            nodes.push(machine(plan, 0, "hag", &config));
        },
        Chain::Relayed(_) => {
            let near = EngineConfig {
                accept_plain: true,
                edge: None,
                ..edge(plan, 1)
            };
            let far = EngineConfig {
                accept_plain: true,
                ..hag(plan, 1, "10.11.0.0/24", "fd00:11::/64")
            };
            nodes.push(machine(plan, 0, "near", &near));
            nodes.push(machine(plan, 1, "far", &far));
        },
        Chain::Bonded(accesses) => {
            let edge = edge(plan, accesses);
            let hag = hag(plan, accesses, "10.11.0.0/24", "fd00:11::/64");
            nodes.push(machine(plan, 0, "hcpe", &edge));
            nodes.push(machine(plan, 1, "hag", &hag));
        },
        Chain::Native(accesses) => {
            let hag = hag(plan, accesses, "10.1.0.2/32", "fd00:1::2/128");
            nodes.push(machine(plan, 0, "hag", &hag));
        },
    }
    nodes.push(Node::Host(server(plan)));
    let mut scene = Scene {
        cables: cables(plan, nodes.len()),
        nodes,
    };
    if let Some(rule) = plan.without {
        for cable in &mut scene.cables {
            if matches!(scene.nodes[cable.ends[0].node], Node::Machine(_)) {
                cable.boxes.push(rule.shim(false));
            }
            if matches!(scene.nodes[cable.ends[1].node], Node::Machine(_)) {
                cable.far = Some(rule.shim(true));
            }
        }
    }
    for fault in &plan.faults {
        scene.add(fault);
    }
    scene
}

impl Scene {
    fn machine(&mut self, machine: usize) -> Option<&mut Machine> {
        match self.nodes.get_mut(machine + 1) {
            Some(Node::Machine(machine)) => Some(machine),
            _ => None,
        }
    }

    fn add(&mut self, fault: &Fault) {
        match *fault {
            Fault::Lane {
                cable,
                lane,
                ill,
                from,
                lasts,
            } => {
                let from = START + from;
                self.cables[cable].lanes[lane].spell(lane::Spell { ill, from, lasts });
            },
            Fault::Device {
                machine,
                port,
                trouble,
                from,
                lasts,
            } => {
                let from = START + from;
                if let Some(machine) = self.machine(machine) {
                    machine.far[port].trouble(port::Spell {
                        trouble,
                        from,
                        lasts,
                    });
                }
            },
            // The box was built so.
            Fault::Rings { .. } => {},
            Fault::Late {
                machine,
                away,
                from,
                lasts,
            } => {
                let from = START + from;
                if let Some(machine) = self.machine(machine) {
                    machine.sleep(Sleepy { away, from, lasts });
                }
            },
            Fault::Repeats {
                machine,
                from,
                lasts,
            } => {
                let from = START + from;
                for node in &mut self.nodes {
                    if let Node::Machine(machine) = node {
                        machine.keys_repeat();
                    }
                }
                if let Some(machine) = self.machine(machine) {
                    machine.repeat(Repeats { from, lasts });
                }
            },
            Fault::Middlebox { cable, kind } => self.cables[cable].boxes.push(kind.build(START)),
        }
    }
}

/// Box number `at` from the client on.
fn machine(plan: &Plan, at: usize, name: &'static str, config: &EngineConfig) -> Node {
    let rings = plan.faults.iter().find_map(|fault| match fault {
        Fault::Rings { machine, frames } if *machine == at => Some(*frames),
        _ => None,
    });
    let workers = Workers {
        count: plan.net.workers[at],
        spread: plan.net.spreads[at],
        ring: rings.unwrap_or(RING_FRAMES),
    };
    let mut machine = Machine::new(name, config, plan.net.pool, workers, plan.seed);
    if let Some(round) = plan.net.rounds[at] {
        machine.round_numbers(round, at);
    }
    Node::Machine(machine)
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address of the scene")
}

/// Where the client is: behind the box at the edge, or at the only box.
const fn client_net(chain: Chain) -> u8 {
    match chain {
        Chain::Plain | Chain::Native(_) => 1,
        Chain::Relayed(_) | Chain::Bonded(_) => 11,
    }
}

fn host(plan: &Plan, which: usize, net: u8) -> Host {
    let ours = [format!("10.{net}.0.2/24"), format!("fd00:{net}::2/64")];
    let gateways = [format!("10.{net}.0.1"), format!("fd00:{net}::1")];
    let mac = [2, 0, 0, 0, net, 2];
    let seed = derive(plan.seed, if which == 0 { "client" } else { "server" });
    Host::new(mac, &ours, &gateways, plan.net.habits[which], seed)
}

fn client(plan: &Plan) -> Node {
    let Chain::Native(accesses) = plan.net.chain else {
        let mut host = host(plan, 0, client_net(plan.net.chain));
        ends(plan, 0).into_iter().for_each(|end| host.add(end));
        return Node::Host(host);
    };
    let access = |n: usize| {
        let family = family_of(&plan.net, n);
        (of_family(family, n, 2), gateways(family, n))
    };
    let accesses: Vec<_> = (1..=accesses).map(access).collect();
    let buffer = u32::try_from(plan.net.habits[0].buffer).unwrap_or(u32::MAX);
    let mut host = Native::new(&accesses, buffer, derive(plan.seed, "client"));
    ends(plan, 0).into_iter().for_each(|end| host.add(end));
    Node::Native(host)
}

fn server(plan: &Plan) -> Host {
    let mut host = host(plan, 1, 9);
    ends(plan, 1).into_iter().for_each(|end| host.add(end));
    host
}

/// The port that flow number `flow` is opened to.
#[must_use]
pub fn port(flow: usize) -> u16 {
    80 + u16::try_from(flow).unwrap_or(0)
}

/// The ends of all flows at the client (0) or the server (1).
fn ends(plan: &Plan, which: usize) -> Vec<Endpoint> {
    let net = [client_net(plan.net.chain), 9];
    let all = (0..).zip(&plan.flows).map(|(number, flow)| {
        let streams = [0, 1].map(|from: usize| {
            let key = derive(plan.seed, &format!("stream {number} {from}"));
            Stream::new(key, flow.sizes[from])
        });
        let index = usize::from(number);
        let role = if flow.inbound == (which == 1) {
            let other = net[1 - which];
            Role::Opens {
                from: 40_000 + number,
                to: addr(&if flow.v6 {
                    format!("fd00:{other}::2")
                } else {
                    format!("10.{other}.0.2")
                }),
                port: port(index),
            }
        } else {
            Role::Waits { port: port(index) }
        };
        let (swaps, inserted) = changes(&plan.net, &plan.faults, 1 - which);
        let rewrites = rewrites(&plan.net, &plan.faults, 1 - which);
        let expects = Reference::new(streams[1 - which])
            .changed(swaps, inserted)
            .rewritten(rewrites);
        let mut end = Endpoint::new(index, role, START + flow.opens, streams[which], expects);
        end.close = flow.close[which];
        end.pause = flow.pause[which];
        end
    });
    all.collect::<Vec<Endpoint>>()
}

fn cables(plan: &Plan, nodes: usize) -> Vec<Cable> {
    let chain = plan.net.chain;
    let plug = |node, card| Plug { node, card };
    let ends = |cable: usize| match chain {
        _ if cable + 1 == chain.cables() => {
            let card = match chain {
                Chain::Plain | Chain::Relayed(_) => 1,
                Chain::Bonded(accesses) | Chain::Native(accesses) => accesses,
            };
            [plug(nodes - 2, card), plug(nodes - 1, 0)]
        },
        Chain::Native(_) => [plug(0, cable), plug(1, cable)],
        _ if cable == 0 => [plug(0, 0), plug(1, 0)],
        Chain::Plain | Chain::Relayed(_) | Chain::Bonded(_) => [plug(1, cable), plug(2, cable - 1)],
    };
    let shapes = plan.net.shapes.iter().enumerate();
    let cable = shapes.map(|(cable, shape)| {
        let lane = |way: &str| {
            let number = chain.number(cable);
            let seed = derive(plan.seed, &format!("lane {number} {way}"));
            Lane::new(*shape, seed)
        };
        Cable {
            ends: ends(cable),
            lanes: [lane("forth"), lane("back")],
            boxes: Vec::new(),
            far: None,
        }
    });
    cable.collect()
}

fn interface(port: usize, mac: [u8; 6], addresses: &[String]) -> InterfaceConfig {
    let parse = |text: &String| text.parse().expect("an address of the scene");
    InterfaceConfig {
        port: PortId(u8::try_from(port).unwrap_or(0)),
        mac,
        mtu: 1500,
        addresses: addresses.iter().map(parse).collect(),
    }
}

fn route(to: &str, via: &str) -> RouteConfig {
    RouteConfig {
        to: to.parse().expect("a prefix of the scene"),
        via: addr(via),
    }
}

/// Addresses of an access on one side of it.
fn of_family(family: Family, net: usize, last: u8) -> Vec<String> {
    let v4 = (family != Family::V6).then(|| format!("10.{net}.0.{last}/24"));
    let v6 = (family != Family::V4).then(|| format!("fd00:{net}::{last}/64"));
    v4.into_iter().chain(v6).collect()
}

/// Addresses of the routers of an access, without prefix lengths.
fn gateways(family: Family, net: usize) -> Vec<String> {
    let all = of_family(family, net, 1).into_iter();
    all.map(|text| text.split('/').next().unwrap_or_default().to_owned())
        .collect()
}

fn family_of(net: &Net, access: usize) -> Family {
    if access == 1 {
        Family::Both
    } else {
        net.family
    }
}

fn common(plan: &Plan, name: &str) -> EngineConfig {
    let mut seed = [0; 32];
    stack::Rng::from_u64(derive(plan.seed, name)).fill(&mut seed);
    EngineConfig {
        policy: PolicySettings {
            scheduler: plan.net.scheduler,
            congestion: plan.net.congestion,
            tcp_congestion: plan.net.tcp_congestion,
            tcp_pacing: plan.net.tcp_pacing,
        },
        limits: Limits {
            relays: 100,
            pending: plan.net.pending,
            joining: 20,
            buffer: plan.net.buffer,
            ..Limits::default()
        },
        inbound: true,
        timeouts: Timeouts {
            rest: Duration::from_millis(100 + plan.seed % 2_000),
            ..Timeouts::default()
        },
        seed,
        ..EngineConfig::default()
    }
}

/// The box at the edge: hosts on port 0, the primary access on port 1, then the secondary ones.
fn edge(plan: &Plan, accesses: usize) -> EngineConfig {
    let lan = ["10.11.0.1/24".into(), "fd00:11::1/64".into()];
    let mut interfaces = vec![interface(0, [2, 0, 0, 0, 0xee, 0], &lan)];
    let mut ports = vec![PortSettings::new("lan", PortRole::Access)];
    let mut isolated = Vec::new();
    for n in 1..=accesses {
        let last = u8::try_from(n).unwrap_or(0);
        let family = family_of(&plan.net, n);
        interfaces.push(interface(
            n,
            [2, 0, 0, 0, 0xee, last],
            &of_family(family, n, 2),
        ));
        let role = if n == 1 {
            PortRole::Core
        } else {
            PortRole::Secondary
        };
        ports.push(PortSettings::new(&format!("access{n}"), role));
        if n > 1 {
            let gateways = gateways(family, n);
            isolated.push(IsolatedConfig {
                port: PortId(last),
                gateways: gateways.iter().map(|text| addr(text)).collect(),
            });
        }
    }
    let settings = if plan.net.announced {
        EdgeSettings {
            hag_prefixes: ["10.99.0.0/24", "fd00:99::/64"]
                .map(|p| p.parse().expect("a prefix"))
                .into(),
            ..EdgeSettings::default()
        }
    } else {
        EdgeSettings {
            hag: ["10.99.0.2", "fd00:99::2"].map(addr).into(),
            ..EdgeSettings::default()
        }
    };
    EngineConfig {
        net: NetConfig {
            interfaces,
            routes: vec![route("0.0.0.0/0", "10.1.0.1"), route("::/0", "fd00:1::1")],
            isolated,
            ..NetConfig::default()
        },
        ports,
        subscribers: ["10.11.0.0/24", "fd00:11::/64"]
            .map(|p| p.parse().expect("a prefix"))
            .into(),
        edge: Some(settings),
        versions: plan.net.versions[0],
        checksum: plan.net.checksum[0],
        ..common(plan, "edge")
    }
}

/// The box in the network: a port for each access, and the core's last. `v4` and `v6` are its subscribers.
fn hag(plan: &Plan, accesses: usize, v4: &str, v6: &str) -> EngineConfig {
    let mut interfaces = Vec::new();
    let mut ports = Vec::new();
    for n in 1..=accesses {
        let last = u8::try_from(n).unwrap_or(0);
        let ours = of_family(family_of(&plan.net, n), n, 1);
        interfaces.push(interface(n - 1, [2, 0, 0, 0, 0xff, last], &ours));
        ports.push(PortSettings::new(&format!("access{n}"), PortRole::Access));
    }
    let ours = ["10.9.0.1/24".into(), "fd00:9::1/64".into()];
    interfaces.push(interface(accesses, [2, 0, 0, 0, 0xff, 9], &ours));
    ports.push(PortSettings::new("core", PortRole::Core));
    let mut routes = vec![route("0.0.0.0/0", "10.9.0.2"), route("::/0", "fd00:9::2")];
    if matches!(plan.net.chain, Chain::Relayed(_) | Chain::Bonded(_)) {
        routes.extend([route(v4, "10.1.0.2"), route(v6, "fd00:1::2")]);
    }
    let own: Vec<IpAddr> = ["10.99.0.2", "fd00:99::2"].map(addr).into();
    EngineConfig {
        net: NetConfig {
            interfaces,
            routes,
            own: own.clone(),
            ..NetConfig::default()
        },
        ports,
        subscribers: [v4, v6].map(|p| p.parse().expect("a prefix")).into(),
        announce: own,
        versions: plan.net.versions[1],
        checksum: plan.net.checksum[1],
        ..common(plan, "hag")
    }
}

/// How long a run may take after its last fault, all flows being over then.
#[must_use]
pub fn patience(plan: &Plan) -> Duration {
    // A retransmission timer that has backed off to a minute on each of three legs, one after the other, and twice.
    let backed_off = if plan.faults.is_empty() { 60 } else { 360 };
    let pauses = plan
        .flows
        .iter()
        .flat_map(|flow| flow.pause.iter().flatten());
    let pauses: Duration = pauses.map(|pause| pause.lasts).sum();
    // A reset that is lost leaves the other end to the boxes' keepalive, after two hours of silence. A box that was answered just
    // before the other one gave up begins anew then.
    let given_up =
        Timeouts::default().keepalive + KEEPALIVE_BETWEEN_MAX * u32::from(KEEPALIVE_PROBES);
    let gives_up = plan.net.habits.iter().any(|habits| habits.gives_up);
    let gives_up = if gives_up {
        given_up * 2
    } else {
        Duration::ZERO
    };
    // mptcp-rs says that a connection is over once its TIME-WAIT is.
    let native = matches!(plan.net.chain, Chain::Native(_));
    let time_wait = Duration::from_secs(if native { 130 } else { 0 });
    Duration::from_secs(backed_off) + pauses + gives_up + time_wait
}
