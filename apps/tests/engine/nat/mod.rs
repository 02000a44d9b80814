//! Private hosts behind one public address: through the box at the customer's edge alone, and through both boxes.

use crate::common::customer::edge_config;
use crate::common::raw::{ACK, Ip, MP_CAPABLE, RST, SYN, Tcp, checksum, ip_frame};
use crate::common::{CLIENT_MAC, Dumb, Sim, Way, counter, link, sim_of};
use apps::engine::{EdgeSettings, EngineConfig};
use apps::nat::{Allow, FirewallSettings, Forward, Inbound, MappingLimits, NatSettings, Protocol};
use stack::ip::Endpoint;
use stack::time::Duration;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

mod bonded;
mod crossing;
mod firewall;
mod fragments;
mod shared_ports;

const PUBLIC: &str = "10.1.0.2";
const H1: &str = "10.11.0.10";
const H2: &str = "10.11.0.11";
/// Beyond the primary access.
const ROUTER: &str = "203.0.113.1";
const FAR: &str = "198.51.100.7";
const H6: &str = "fd00:11::10";
const S6: &str = "2001:db8::7";

/// The ports of the box at the edge.
const LAN: usize = 0;
const WAN: usize = 1;
const SECOND: usize = 2;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn nat() -> NatSettings {
    NatSettings {
        inside: vec!["10.11.0.0/16".parse().unwrap()],
        address: PUBLIC.parse().unwrap(),
        forwards: vec![Forward {
            protocol: Protocol::Tcp,
            port: 8080,
            to: Endpoint {
                addr: Ipv4Addr::new(10, 11, 0, 10),
                port: 80,
            },
        }],
    }
}

/// The box at the edge: all of 10.11.0.0/16 is behind it, and translated.
fn config(inbound: Option<Inbound>) -> EngineConfig {
    let edge = EdgeSettings {
        hag: Vec::new(),
        hag_prefixes: vec!["10.99.0.0/24".parse().unwrap()],
        ..EdgeSettings::default()
    };
    let mut config = edge_config(edge);
    config.net.interfaces[LAN].addresses[0] = "10.11.0.1/16".parse().unwrap();
    config.subscribers[0] = "10.11.0.0/16".parse().unwrap();
    config.nat = Some(nat());
    config.firewall = inbound.map(|inbound| FirewallSettings {
        inbound,
        allow: vec![],
    });
    config
}

/// The box alone; whoever is asked for answers to ARP, and what else is sent is ours to say.
fn alone(config: EngineConfig) -> Sim<Dumb> {
    let host = Dumb::new(&[
        [2, 0, 0, 0, 0x11, 2],
        [2, 0, 0, 0, 1, 1],
        [2, 0, 0, 0, 2, 1],
    ]);
    let links = vec![link(0, 0, 1), link(0, 1, 1), link(0, 2, 1)];
    sim_of(config, vec![host], links, 1)
}

/// The box's address at each of its ports.
const MACS: [[u8; 6]; 3] = [
    [2, 0, 0, 0, 0xee, 0],
    CLIENT_MAC,
    crate::common::CLIENT_MAC_2,
];

/// Puts an IP packet on the link of `port`, and waits until all that follows has happened; the IP packets that left since,
/// with their ports.
fn put(
    sim: &mut Sim<Dumb>,
    port: usize,
    (src, dst): (&str, &str),
    protocol: u8,
    l4: &[u8],
) -> Vec<(usize, Vec<u8>)> {
    let station = [2, 0, 0, 0, 0x33, 3];
    let frame = ip_frame(
        station,
        MACS[port],
        (ip(src), ip(dst)),
        (0, 64),
        protocol,
        l4,
    );
    put_frame(sim, port, frame)
}

fn put_tcp(sim: &mut Sim<Dumb>, port: usize, segment: &Tcp) -> Vec<(usize, Vec<u8>)> {
    put_frame(sim, port, segment.frame([2, 0, 0, 0, 0x33, 3], MACS[port]))
}

fn put_frame(sim: &mut Sim<Dumb>, port: usize, frame: Vec<u8>) -> Vec<(usize, Vec<u8>)> {
    sim.seen.clear();
    sim.inject(port, frame);
    sim.idle(Duration::from_millis(20));
    sim.seen
        .iter()
        .filter(|seen| seen.way == Way::FromBox && seen.frame[12..14] != [8, 6])
        .filter(|seen| !is_discovery(&seen.frame))
        .map(|seen| (seen.port, seen.frame.clone()))
        .collect()
}

fn is_discovery(frame: &[u8]) -> bool {
    frame[12..14] == [0x86, 0xdd] && frame[20] == 58 && (133..=137).contains(&frame[54])
}

fn udp(from: u16, to: u16, data: &[u8], (src, dst): (&str, &str)) -> Vec<u8> {
    let len = u16::try_from(8 + data.len()).unwrap().to_be_bytes();
    let mut l4 = [
        &from.to_be_bytes()[..],
        &to.to_be_bytes(),
        &len,
        &[0, 0],
        data,
    ]
    .concat();
    let pseudo: Vec<u8> = match (ip(src), ip(dst)) {
        (IpAddr::V4(a), IpAddr::V4(b)) => [&a.octets()[..], &b.octets(), &[0, 17], &len].concat(),
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            [&a.octets()[..], &b.octets(), &[0, 0], &len, &[0, 0, 0, 17]].concat()
        },
        _ => panic!("one family"),
    };
    let sum = checksum(&[&pseudo, &l4]);
    l4[6..8].copy_from_slice(&sum.to_be_bytes());
    l4
}

fn icmp(kind: u8, code: u8, id: u16, data: &[u8]) -> Vec<u8> {
    let [a, b] = id.to_be_bytes();
    let mut l4 = [&[kind, code, 0, 0, a, b, 0, 1][..], data].concat();
    let sum = checksum(&[&l4]);
    l4[2..4].copy_from_slice(&sum.to_be_bytes());
    l4
}

/// Source, destination, and the rest of the only packet sent.
fn one(sent: &[(usize, Vec<u8>)]) -> (usize, String, String, Vec<u8>) {
    let [(port, frame)] = sent else {
        panic!("{} packets: {sent:02x?}", sent.len());
    };
    let packet = Ip::parse(frame).unwrap();
    let l4 = packet.payload.to_vec();
    if packet.protocol == 1 {
        assert_eq!(checksum(&[&l4]), 0, "ICMP checksum");
    }
    (*port, packet.src.to_string(), packet.dst.to_string(), l4)
}

fn port_at(l4: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([l4[at], l4[at + 1]])
}

/// Sends a datagram of `host` to the far end; the port that it leaves from.
fn ask(sim: &mut Sim<Dumb>, host: &str, port: u16) -> u16 {
    let addrs = (host, FAR);
    let sent = put(sim, LAN, addrs, 17, &udp(port, 53, b"question", addrs));
    let (at, src, dst, l4) = one(&sent);
    assert_eq!((at, src.as_str(), dst.as_str()), (WAN, PUBLIC, FAR));
    assert_eq!(l4, udp(port_at(&l4, 0), 53, b"question", (PUBLIC, FAR)));
    port_at(&l4, 0)
}

fn resummed(mut icmp: Vec<u8>) -> Vec<u8> {
    icmp[2..4].fill(0);
    let sum = checksum(&[&icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    icmp
}
