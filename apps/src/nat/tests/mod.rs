//! The table against a model, and each rule of the RFCs by a packet that shows it.

use super::*;
use crate::Counter;
use dataplane::memory::MemBuf;
use stack::ip::{
    Endpoint, Ingress, InterfaceConfig, Net, NetConfig, Packet, RouteConfig, Translation,
};
use stack::time::Duration;
use stack::wire::tcp::Flags;
use stack::{Cx, Instant, PortId, Rng, RxChecksum, Slice, Tally};
use std::net::{IpAddr, Ipv4Addr};

const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
const S: &str = "203.0.113.7";
const H1: &str = "192.168.1.10";
const H2: &str = "192.168.1.11";
const S6: &str = "2001:db8:9::7";
const H6: &str = "2001:db8:1::10";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

mod gate;
mod table;

fn at(secs: u64) -> Instant {
    Instant::from_millis(1_000 * secs)
}

/// A gate, and a router that reads packets for it.
struct Bed {
    net: Net<MemBuf>,
    gate: Gate<MemBuf>,
    rng: Rng,
    now: Instant,
    stack: Tally<stack::Counter>,
    apps: Tally<Counter>,
}

const LAN: PortId = PortId(0);
const WAN: PortId = PortId(1);

fn mac(port: PortId) -> [u8; 6] {
    [2, 0, 0, 0, 0xbb, port.0]
}

impl Bed {
    fn new(inbound: Option<Inbound>, allow: Vec<Allow>) -> Self {
        let interface = |port, addresses: [&str; 2]| InterfaceConfig {
            port,
            mac: mac(port),
            mtu: 1500,
            addresses: addresses.map(|net| net.parse().unwrap()).to_vec(),
        };
        let route = |to: &str, via| RouteConfig {
            to: to.parse().unwrap(),
            via: ip(via),
        };
        let net = NetConfig {
            vlans: Vec::new(),
            interfaces: vec![
                interface(LAN, ["192.168.1.1/24", "2001:db8:1::1/64"]),
                interface(WAN, ["198.51.100.2/24", "2001:db8:2::2/64"]),
            ],
            routes: vec![
                route("0.0.0.0/0", "198.51.100.1"),
                route("::/0", "2001:db8:2::1"),
            ],
            own: vec![],
            shared: vec![IpAddr::V4(PUBLIC)],
            isolated: Vec::new(),
            private: vec![],
            groups: Vec::new(),
            summing: Vec::new(),
        };
        let nat = NatSettings {
            inside: vec!["192.168.1.0/24".parse().unwrap()],
            address: PUBLIC,
            forwards: vec![Forward {
                protocol: Protocol::Tcp,
                port: 8080,
                to: Endpoint {
                    addr: Ipv4Addr::new(192, 168, 1, 10),
                    port: 80,
                },
            }],
        };
        let firewall = inbound.map(|inbound| FirewallSettings { inbound, allow });
        let hosts = ["192.168.1.0/24", "2001:db8:1::/64"].map(|net| net.parse().unwrap());
        let bounds = (MappingLimits::default(), MappingTimeouts::default());
        Self {
            net: Net::new(net).unwrap(),
            gate: Gate::new(&hosts, Some(nat), firewall, bounds, (Share::WHOLE, 1)).unwrap(),
            rng: Rng::from_u64(1),
            now: at(1),
            stack: Tally::default(),
            apps: Tally::default(),
        }
    }

    fn read(&mut self, port: PortId, l3: &[u8]) -> Packet<MemBuf> {
        let ethertype = if l3[0] >> 4 == 4 {
            [8, 0]
        } else {
            [0x86, 0xdd]
        };
        let frame = [&mac(port)[..], &[2, 0, 0, 0, 0, 1], &ethertype, l3].concat();
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            counters: &mut self.stack,
        };
        let frame = Slice::new(MemBuf::from(frame));
        match self
            .net
            .input(&mut cx, port, frame, RxChecksum::Good, &mut Vec::new())
        {
            Ingress::Done(_) => panic!("not handed up: {:?}", self.stack),
            Ingress::Tcp(arrival) => arrival.packet,
            Ingress::IcmpError(arrival) => arrival.packet,
            Ingress::Opaque(opaque) => opaque.packet,
            Ingress::Transit(packet) => packet,
        }
    }

    fn judge(&mut self, side: Where, l3: &[u8]) -> Passage {
        let port = if side == Where::Inside { LAN } else { WAN };
        let packet = self.read(port, l3);
        self.gate
            .judge((self.now, &mut self.rng), &mut self.apps, side, &packet)
    }

    fn out(&mut self, l3: &[u8]) -> Passage {
        self.judge(Where::Inside, l3)
    }

    fn back(&mut self, l3: &[u8]) -> Passage {
        self.judge(Where::Outside, l3)
    }

    /// The port that a datagram of a host leaves from.
    fn port_of(&mut self, host: &str, port: u16, to: &str) -> u16 {
        match self.out(&udp(host, to, (port, 53))) {
            Passage::Pass(Translation {
                src: Some(Endpoint { addr, port }),
                ..
            }) => {
                assert_eq!(addr, PUBLIC);
                port
            },
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, secs: u64) {
        self.now = self.now + Duration::from_secs(secs);
        self.gate.advance(self.now, &mut self.apps);
    }
}

/// An IP packet; nobody here looks at its checksums but for the header's.
fn l3(src: &str, dst: &str, protocol: u8, l4: &[u8]) -> Vec<u8> {
    match (ip(src), ip(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let len = u16::try_from(20 + l4.len()).unwrap().to_be_bytes();
            let mut header = vec![0x45, 0, len[0], len[1], 0, 9, 0, 0, 64, protocol, 0, 0];
            header.extend(src.octets());
            header.extend(dst.octets());
            let sum = stack::checksum::Sum::of(&header).checksum().to_be_bytes();
            header[10..12].copy_from_slice(&sum);
            [&header, l4].concat()
        },
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let len = u16::try_from(l4.len()).unwrap().to_be_bytes();
            let header = [0x60, 0, 0, 0, len[0], len[1], protocol, 64];
            [&header, &src.octets()[..], &dst.octets(), l4].concat()
        },
        _ => panic!("one family"),
    }
}

fn udp(src: &str, dst: &str, (from, to): (u16, u16)) -> Vec<u8> {
    let [a, b] = from.to_be_bytes();
    let [c, d] = to.to_be_bytes();
    l3(src, dst, 17, &[a, b, c, d, 0, 8, 0, 0])
}

fn tcp(src: &str, dst: &str, (from, to): (u16, u16), flags: Flags) -> Vec<u8> {
    let mut l4 = [0; 20];
    l4[..2].copy_from_slice(&from.to_be_bytes());
    l4[2..4].copy_from_slice(&to.to_be_bytes());
    l4[12] = 0x50;
    l4[13] = flags.0;
    l3(src, dst, 6, &l4)
}

/// An error about `packet`.
fn error(src: &str, dst: &str, packet: &[u8]) -> Vec<u8> {
    let (protocol, kind) = if packet[0] >> 4 == 4 { (1, 3) } else { (58, 1) };
    l3(
        src,
        dst,
        protocol,
        &[&[kind, 1, 0, 0, 0, 0, 0, 0], packet].concat(),
    )
}

fn fragment(mut l3: Vec<u8>, field: u16) -> Vec<u8> {
    l3[6..8].copy_from_slice(&field.to_be_bytes());
    l3[10..12].fill(0);
    let sum = stack::checksum::Sum::of(&l3[..20]).checksum().to_be_bytes();
    l3[10..12].copy_from_slice(&sum);
    l3
}

fn to_host(host: &str, port: u16) -> Passage {
    let IpAddr::V4(addr) = ip(host) else {
        panic!("IPv4");
    };
    Passage::Pass(Translation {
        src: None,
        dst: Some(Endpoint { addr, port }),
    })
}

const OPEN: Option<Inbound> = None;
const CLOSED: Option<Inbound> = Some(Inbound::Drop);
const ANY: &str = "198.51.100.2";
