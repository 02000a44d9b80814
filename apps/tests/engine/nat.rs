//! Private hosts behind one public address: through the box at the customer's edge alone, and through both boxes.

use crate::common::customer::{Customer, edge_config, hag_config};
use crate::common::raw::{ACK, Ip, MP_CAPABLE, RST, SYN, Tcp, checksum, ip_frame};
use crate::common::{
    ACCESS1, ACCESS2, CLIENT_MAC, Dumb, Host, Node, S, Sim, Way, counter, link, pattern, server,
    sim_of,
};
use apps::engine::{EdgeSettings, EngineConfig};
use apps::nat::{Allow, FirewallSettings, Forward, Inbound, MappingLimits, NatSettings, Protocol};
use smoltcp::iface::SocketHandle;
use stack::Instant;
use stack::ip::Endpoint;
use stack::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

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

#[test]
fn datagrams_and_pings_cross_and_come_back() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    for host in [H1, H2] {
        let port = ask(&mut sim, host, 5_000);
        let answer = udp(53, port, b"answer", (FAR, PUBLIC));
        let (at, src, dst, l4) = one(&put(&mut sim, WAN, (FAR, PUBLIC), 17, &answer));
        assert_eq!((at, src.as_str(), dst.as_str()), (LAN, FAR, host));
        assert_eq!(l4, udp(53, 5_000, b"answer", (FAR, host)));
        let sent = put(&mut sim, LAN, (host, FAR), 1, &icmp(8, 0, 7, b"ping"));
        let (_, src, _, l4) = one(&sent);
        assert_eq!(src, PUBLIC);
        let reply = icmp(0, 0, port_at(&l4, 4), b"ping");
        let (_, _, dst, l4) = one(&put(&mut sim, WAN, (FAR, PUBLIC), 1, &reply));
        assert_eq!((dst.as_str(), l4), (host, icmp(0, 0, 7, b"ping")));
    }
    // The box itself answers at its address.
    let (_, src, _, l4) = one(&put(
        &mut sim,
        WAN,
        (FAR, PUBLIC),
        1,
        &icmp(8, 0, 9, b"who"),
    ));
    assert_eq!((src.as_str(), l4), (PUBLIC, icmp(0, 0, 9, b"who")));
    // Nobody asked for this.
    let stray = udp(53, 9, b"stray", (FAR, PUBLIC));
    assert_eq!(put(&mut sim, WAN, (FAR, PUBLIC), 17, &stray), []);
    assert_eq!(counter(&mut sim, "nat_unsolicited"), 1);
}

#[test]
fn a_traceroute_hears_of_every_hop() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let question = udp(5_000, 33_434, b"", (H1, FAR));
    let dying = ip_frame(
        [2, 0, 0, 0, 0x33, 3],
        MACS[LAN],
        (ip(H1), ip(FAR)),
        (0, 1),
        17,
        &question,
    );
    let (at, src, dst, l4) = one(&put_frame(&mut sim, LAN, dying.clone()));
    assert_eq!(
        (at, src.as_str(), dst.as_str(), l4[0]),
        (LAN, "10.11.0.1", H1, 11)
    );
    assert_eq!(l4[8..], dying[14..], "quoted as it was sent");
    // One hop on, and at the end: what they quote is what left; what the host hears is what it sent.
    for (from, kind, code) in [(ROUTER, 11, 0), (FAR, 3, 3)] {
        let sent = put(&mut sim, LAN, (H1, FAR), 17, &question);
        let quoted = sent[0].1[14..].to_vec();
        let error = icmp(kind, code, 0, &quoted);
        let error = [&error[..4], &[0; 4], &error[8..]].concat();
        let error = resummed(error);
        let (at, src, dst, l4) = one(&put(&mut sim, WAN, (from, PUBLIC), 1, &error));
        assert_eq!((at, src.as_str(), dst.as_str()), (LAN, from, H1));
        let inner = Ip::parse(&[&[0; 12][..], &[8, 0], &l4[8..]].concat()).map(|inner| {
            (
                inner.src.to_string(),
                inner.dst.to_string(),
                inner.payload.to_vec(),
            )
        });
        assert_eq!(inner, Some((H1.into(), FAR.into(), question.clone())));
    }
}

fn resummed(mut icmp: Vec<u8>) -> Vec<u8> {
    icmp[2..4].fill(0);
    let sum = checksum(&[&icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    icmp
}

#[test]
fn a_flow_that_nobody_bonds_goes_on_translated() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let syn = Tcp::plain_syn(H1, 5_000, FAR);
    let (_, sent) = put_tcp(&mut sim, LAN, &syn).remove(0);
    let sent = Tcp::parse(&sent).unwrap();
    // REQUIREMENTS P7-2: the public address, the host's number and options, and MP_CAPABLE.
    assert_eq!(
        (sent.src, sent.src_port, sent.seq),
        (ip(PUBLIC), 5_000, syn.seq)
    );
    assert_eq!(sent.option(30).map(|option| option[0]), Some(MP_CAPABLE[2]));
    let mut answer = sent.answer(SYN | ACK, 77);
    answer.options = crate::common::raw::SYN_OPTIONS.to_vec();
    let (port, frame) = put_tcp(&mut sim, WAN, &answer).remove(0);
    let heard = Tcp::parse(&frame).unwrap();
    assert_eq!(port, LAN);
    assert_eq!((heard.dst, heard.dst_port, heard.seq), (ip(H1), 5_000, 77));
    assert_eq!(counter(&mut sim, "cut_through"), 1);
    assert_eq!(sim.worker.app().occupancy().flows, 0);
    for (from, segment) in [
        (LAN, heard.answer(ACK, syn.seq + 1)),
        (WAN, sent.answer(ACK, 78)),
    ] {
        let (port, frame) = put_tcp(&mut sim, from, &segment).remove(0);
        let passed = Tcp::parse(&frame).unwrap();
        assert_eq!(port, 1 - from);
        assert!([passed.src, passed.dst].contains(&ip(if port == WAN { PUBLIC } else { H1 })));
    }
    // A reset by the server of a flow in set-up, and an error about its SYN, reach the host as its own.
    let syn = Tcp::plain_syn(H2, 5_000, FAR);
    let sent = Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1).unwrap();
    assert_ne!(sent.src_port, 5_000, "taken");
    let quoted = sim
        .seen
        .iter()
        .find(|s| s.port == WAN && s.way == Way::FromBox)
        .unwrap()
        .frame[14..]
        .to_vec();
    let error = resummed([&[3, 0, 0, 0, 0, 0, 0, 0][..], &quoted].concat());
    let (_, _, dst, l4) = one(&put(&mut sim, WAN, (ROUTER, PUBLIC), 1, &error));
    assert_eq!(dst, H2);
    assert_eq!(
        (&l4[20..24], port_at(&l4, 28)),
        (&[10, 11, 0, 11][..], 5_000)
    );
    let again = Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1).unwrap();
    assert_eq!(again.src_port, sent.src_port);
    let refusal = Tcp {
        ack: syn.seq + 1,
        ..again.answer(RST | ACK, 0)
    };
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &refusal)[0].1).unwrap();
    assert_eq!((heard.dst, heard.dst_port), (ip(H2), 5_000));
}

#[test]
fn a_thousand_hosts_share_sixty_thousand_ports() {
    let mut config = config(Some(Inbound::Drop));
    config.mapping_limits = MappingLimits {
        mappings: 70_000,
        mappings_per_host: 60,
    };
    let mut sim = alone(config);
    // So that both neighbors are known.
    ask(&mut sim, H1, 1);
    sim.record = false;
    let mut left: BTreeMap<u16, (String, u16)> = BTreeMap::new();
    for n in 0..60_u16 {
        for host in 0..1_000_u16 {
            let [a, b] = (256 + host).to_be_bytes();
            let host = format!("10.11.{a}.{b}");
            let addrs = (host.as_str(), FAR);
            let datagram = udp(40_000 + n, 53, &[], addrs);
            sim.inject(
                LAN,
                ip_frame(
                    [2; 6],
                    MACS[LAN],
                    (ip(addrs.0), ip(FAR)),
                    (0, 64),
                    17,
                    &datagram,
                ),
            );
        }
        sim.record = true;
        sim.seen.clear();
        sim.idle(Duration::from_millis(20));
        sim.record = false;
        // In the order that they were sent.
        let sent = sim
            .seen
            .iter()
            .filter(|s| s.port == WAN && s.way == Way::FromBox && s.frame[23] == 17);
        for (host, seen) in (0_u16..).zip(sent) {
            let [a, b] = (256 + host).to_be_bytes();
            let packet = Ip::parse(&seen.frame).unwrap();
            assert_eq!(packet.src.to_string(), PUBLIC);
            let taken = left.insert(
                port_at(packet.payload, 0),
                (format!("10.11.{a}.{b}"), 40_000 + n),
            );
            assert_eq!(taken, None, "one port for two");
        }
    }
    assert_eq!(left.len(), 60_000);
    assert_eq!(sim.worker.app().occupancy().mappings, 60_002);
    // Each of them is answered: a few of all.
    sim.record = true;
    for (port, (host, own)) in left.iter().step_by(997) {
        let answer = udp(53, *port, b"answer", (FAR, PUBLIC));
        let (_, _, dst, l4) = one(&put(&mut sim, WAN, (FAR, PUBLIC), 17, &answer));
        assert_eq!((&dst, port_at(&l4, 2)), (host, *own));
    }
    // One host's limit is its own: it is told, and others go on.
    let addrs = ("10.11.1.0", FAR);
    let sent = put(&mut sim, LAN, addrs, 17, &udp(9_000, 53, b"", addrs));
    let (at, _, dst, l4) = one(&sent);
    assert_eq!(
        (at, dst.as_str(), &l4[..2]),
        (LAN, "10.11.1.0", &[3, 13][..])
    );
    assert_eq!(counter(&mut sim, "nat_host_full"), 1);
    ask(&mut sim, H1, 9_000);
    // And all of it is forgotten.
    sim.idle(Duration::from_secs(700));
    assert_eq!(sim.worker.app().occupancy().mappings, 1);
}

#[test]
fn tcp_flows_of_many_hosts_never_meet_on_a_port_with_datagrams() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let mut ports = BTreeMap::new();
    for n in 0..200_u16 {
        let host = format!("10.11.2.{}", n % 50);
        let own = 5_000 + n / 50;
        let port = if n % 3 == 0 {
            ask(&mut sim, &host, own)
        } else {
            let syn = Tcp::plain_syn(&host, own, FAR);
            Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1)
                .unwrap()
                .src_port
        };
        let owner = ports.entry(port).or_insert_with(|| host.clone());
        assert_eq!(*owner, host, "a port of two hosts");
    }
    assert!(ports.len() >= 200);
}

#[test]
fn hosts_meet_at_the_public_address() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let port = ask(&mut sim, H2, 5_000);
    let hello = udp(4_000, port, b"hello", (H1, PUBLIC));
    let (at, src, dst, l4) = one(&put(&mut sim, LAN, (H1, PUBLIC), 17, &hello));
    assert_eq!((at, src.as_str(), dst.as_str()), (LAN, PUBLIC, H2));
    assert_eq!(l4, udp(4_000, 5_000, b"hello", (PUBLIC, H2)));
    let back = udp(5_000, 4_000, b"back", (H2, PUBLIC));
    let (_, src, dst, l4) = one(&put(&mut sim, LAN, (H2, PUBLIC), 17, &back));
    assert_eq!((src.as_str(), dst.as_str()), (PUBLIC, H1));
    assert_eq!(l4, udp(port, 4_000, b"back", (PUBLIC, H1)));
    // A static forward from inside: the whole handshake.
    let syn = Tcp::new(H2, 6_000, PUBLIC, 8080, SYN);
    let heard = Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1).unwrap();
    assert_eq!(
        (heard.src, heard.dst, heard.dst_port),
        (ip(PUBLIC), ip(H1), 80)
    );
    let sent = put_tcp(&mut sim, LAN, &heard.answer(SYN | ACK, 5));
    let answer = Tcp::parse(&sent[0].1).unwrap();
    assert_eq!(
        (answer.src, answer.src_port, answer.dst),
        (ip(PUBLIC), 8080, ip(H2))
    );
    assert_eq!(answer.dst_port, 6_000);
}

#[test]
fn an_unsolicited_syn_is_refused_after_six_seconds_and_a_forward_is_not() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let syn = Tcp::plain_syn(FAR, 9_000, PUBLIC);
    assert_eq!(put_tcp(&mut sim, WAN, &syn), []);
    sim.seen.clear();
    sim.idle(Duration::from_millis(5_900));
    assert_eq!(sim.on(WAN, Way::FromBox).count(), 0);
    sim.idle(Duration::from_millis(200));
    let refusals: Vec<_> = sim
        .on(WAN, Way::FromBox)
        .filter(|s| s.frame[12..14] == [8, 0])
        .collect();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].frame[34..36], [3, 13]);
    let forwarded = Tcp {
        dst_port: 8080,
        ..syn
    };
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &forwarded)[0].1).unwrap();
    assert_eq!(
        (heard.dst, heard.dst_port, heard.src),
        (ip(H1), 80, ip(FAR))
    );
    let answer = Tcp::parse(&put_tcp(&mut sim, LAN, &heard.answer(SYN | ACK, 5))[0].1).unwrap();
    assert_eq!((answer.src, answer.src_port), (ip(PUBLIC), 8080));
}

#[test]
fn fragments_are_translated_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let mut sim = alone(config(Some(Inbound::Drop)));
        ask(&mut sim, H1, 1);
        let data: Vec<u8> = (0..=255).cycle().take(2_000).collect();
        let whole = udp(5_000, 53, &data, (H1, FAR));
        let parts = [(0x2000_u16, &whole[..1_200]), (150, &whole[1_200..])];
        let mut sent = Vec::new();
        for (field, part) in order.map(|n| parts[n]) {
            let mut frame = ip_frame([2; 6], MACS[LAN], (ip(H1), ip(FAR)), (0, 64), 17, part);
            frame[20..22].copy_from_slice(&field.to_be_bytes());
            frame[24..26].fill(0);
            let sum = checksum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            sent.extend(put_frame(&mut sim, LAN, frame));
        }
        sent.sort_by_key(|(_, frame)| port_at(frame, 20) & 0x1fff);
        let parts: Vec<_> = sent
            .iter()
            .map(|(_, frame)| Ip::parse(frame).unwrap())
            .collect();
        assert!(parts.iter().all(|part| part.src == ip(PUBLIC)), "{order:?}");
        let joined: Vec<u8> = parts
            .iter()
            .flat_map(|part| part.payload.to_vec())
            .collect();
        assert_eq!(joined, udp(5_000, 53, &data, (PUBLIC, FAR)));
    }
}

#[test]
fn a_ping_in_fragments_is_answered_in_fragments() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    ask(&mut sim, H1, 1);
    let data: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    for (from, addrs, sent, got) in [
        (LAN, (H1, FAR), icmp(8, 0, 7, &data), (PUBLIC, FAR)),
        (WAN, (FAR, PUBLIC), icmp(0, 0, 7, &data), (FAR, H1)),
    ] {
        let mut heard = Vec::new();
        for (n, part) in sent.chunks(1_480).enumerate() {
            let more = if n < 2 { 0x2000 } else { 0 };
            let field = more | u16::try_from(n * 1_480 / 8).unwrap();
            let mut frame = ip_frame(
                [2; 6],
                MACS[from],
                (ip(addrs.0), ip(addrs.1)),
                (0, 64),
                1,
                part,
            );
            frame[20..22].copy_from_slice(&field.to_be_bytes());
            frame[24..26].fill(0);
            let sum = checksum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            heard.extend(put_frame(&mut sim, from, frame));
        }
        let joined: Vec<u8> = heard
            .iter()
            .flat_map(|(_, frame)| {
                let part = Ip::parse(frame).unwrap();
                assert_eq!((part.src, part.dst), (ip(got.0), ip(got.1)));
                part.payload.to_vec()
            })
            .collect();
        assert_eq!(joined, sent, "the identifier is kept");
    }
}

#[test]
fn ipv6_hosts_keep_their_addresses_and_are_not_reached_unasked() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let into = udp(53, 5_000, b"unasked", (S6, H6));
    assert_eq!(put(&mut sim, WAN, (S6, H6), 17, &into), []);
    assert_eq!(counter(&mut sim, "firewall_dropped"), 1);
    let out = udp(5_000, 53, b"asked", (H6, S6));
    let (at, src, _, l4) = one(&put(&mut sim, LAN, (H6, S6), 17, &out));
    assert_eq!((at, src.as_str(), l4), (WAN, H6, out));
    let (_, _, dst, l4) = one(&put(&mut sim, WAN, (S6, H6), 17, &into));
    assert_eq!((dst.as_str(), l4), (H6, into));
    // A SYN with or without MP_CAPABLE is none of the host's.
    for syn in [Tcp::plain_syn(S6, 9, H6), Tcp::capable_syn(S6, 10, H6)] {
        assert_eq!(put_tcp(&mut sim, WAN, &syn), []);
    }
    assert_eq!(counter(&mut sim, "firewall_dropped"), 3);
    // Sources from the other side.
    let spoofed = udp(1, 2, b"", ("fd00:11::77", H6));
    assert_eq!(put(&mut sim, WAN, ("fd00:11::77", H6), 17, &spoofed), []);
    let foreign = udp(1, 2, b"", ("2001:db8::9", S6));
    assert_eq!(put(&mut sim, LAN, ("2001:db8::9", S6), 17, &foreign), []);
    assert_eq!(counter(&mut sim, "firewall_source"), 2);
}

#[test]
fn a_rule_lets_in_what_it_names() {
    let mut config = config(Some(Inbound::Drop));
    config.firewall = Some(FirewallSettings {
        inbound: Inbound::Drop,
        allow: vec![Allow {
            protocol: Some(Protocol::Tcp),
            to: "fd00:11::10/128".parse().unwrap(),
            port: Some(80),
        }],
    });
    let mut sim = alone(config);
    let syn = Tcp::plain_syn(S6, 9, H6);
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &syn)[0].1).unwrap();
    assert_eq!(heard.dst, ip(H6));
    let answer = heard.answer(SYN | ACK, 5);
    assert_eq!(put_tcp(&mut sim, LAN, &answer).len(), 1);
    let other = Tcp {
        dst_port: 81,
        ..syn
    };
    assert_eq!(put_tcp(&mut sim, WAN, &other), []);
}

#[test]
fn a_flow_that_is_passed_on_survives_a_restart() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let syn = Tcp::plain_syn(H1, 5_000, FAR);
    let sent = Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1).unwrap();
    put_tcp(&mut sim, WAN, &sent.answer(SYN | ACK, 77));
    sim.replace_box(alone(config(Some(Inbound::Drop))));
    // The server speaks first: nothing may end its connection.
    let from_server = sent.answer(ACK, 78);
    assert_eq!(put_tcp(&mut sim, WAN, &from_server), []);
    let from_host = Tcp {
        seq: syn.seq + 1,
        ack: 78,
        flags: ACK,
        options: vec![],
        ..syn
    };
    let passed = Tcp::parse(&put_tcp(&mut sim, LAN, &from_host)[0].1).unwrap();
    assert_eq!((passed.src, passed.src_port), (ip(PUBLIC), 5_000));
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &from_server)[0].1).unwrap();
    assert_eq!((heard.dst, heard.dst_port), (ip(H1), 5_000));
}

#[expect(clippy::large_enum_variant, reason = "a test has two of them")]
enum Site {
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

    fn host(&mut self) -> &mut Host {
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

fn transfer(sim: &mut Sim<Site>, sockets: [SocketHandle; 2], from: usize, len: usize) {
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

/// The IPv4 sources seen on a link.
fn sources(sim: &Sim<Site>, port: usize, way: Way) -> BTreeSet<String> {
    sim.on(port, way)
        .filter(|seen| seen.frame[12..14] == [8, 0])
        .map(|seen| Ip::parse(&seen.frame).unwrap().src.to_string())
        .collect()
}

#[test]
fn a_private_host_is_bonded_and_the_server_sees_the_public_address_alone() {
    let site = Site::Customer(Customer::of(&config(Some(Inbound::Drop))));
    let links = vec![link(0, 0, 10), link(0, 1, 20), link(1, 0, 5)];
    let mut sim = sim_of(hag_config(), vec![site, Site::Server(server())], links, 1);
    let server = sim.hosts[1].host().listen(80);
    let client = sim.hosts[0].host().connect(40_000, (S, 80));
    let sockets = [client, server];
    let up = sim.run(Duration::from_secs(10), |sim| {
        sim.hosts[0].host().tcp(client).may_send() && sim.hosts[1].host().tcp(server).may_send()
    });
    assert!(up, "no connection");
    transfer(&mut sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(1));
    for from in [0, 1] {
        transfer(&mut sim, sockets, from, 4_000_000);
    }
    for (port, way) in [
        (ACCESS1, Way::ToBox),
        (ACCESS2, Way::ToBox),
        (ACCESS2, Way::FromBox),
    ] {
        let large = sim
            .on(port, way)
            .filter(|seen| seen.frame.len() > 1_000)
            .count();
        assert!(large > 200, "{large} on {port} {way:?}");
    }
    let only = |address: &str| BTreeSet::from([address.to_owned()]);
    assert_eq!(sources(&sim, ACCESS1, Way::ToBox), only(PUBLIC));
    assert_eq!(sources(&sim, ACCESS2, Way::ToBox), only("10.2.0.2"));
    assert_eq!(
        sources(&sim, crate::common::CORE, Way::FromBox),
        only(PUBLIC)
    );
    let held = |sim: &Sim<Site>| match &sim.hosts[0] {
        Site::Customer(customer) => customer.occupancy(),
        Site::Server(_) => panic!("the customer comes first"),
    };
    assert_eq!(held(&sim).relays, 1);
    // However long nothing passes, the flow keeps its port.
    sim.idle(Duration::from_secs(500));
    assert_eq!(held(&sim).mappings, 2);
    transfer(&mut sim, sockets, 0, 100_000);
    for at in [0, 1] {
        sim.hosts[at].host().tcp(sockets[at]).close();
        sim.idle(Duration::from_secs(3));
    }
    sim.idle(Duration::from_secs(500));
    assert_eq!(held(&sim).mappings, 1);
    assert_eq!((held(&sim).relays, held(&sim).flows), (0, 0));
    assert_eq!(sim.worker.app().occupancy().relays, 0);
}

/// Random packets at every port: nothing panics, nothing leaves with a host's address, nothing grows without bound.
#[test]
fn noise_from_all_sides_is_survived_and_no_inner_address_leaves() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let mut rng = stack::Rng::from_u64(11);
    let addresses = [
        H1,
        H2,
        PUBLIC,
        FAR,
        ROUTER,
        "10.11.0.1",
        "10.2.0.2",
        "10.99.0.2",
    ];
    for round in 0..4_000_u32 {
        let pick = |rng: &mut stack::Rng| addresses[rng.below(8) as usize];
        let (src, dst) = (pick(&mut rng), pick(&mut rng));
        let port = rng.below(3) as usize;
        let protocol = [1_u8, 6, 17, 47, 50, 132][rng.below(6) as usize];
        let mut l4 = vec![0; rng.below(90) as usize];
        rng.fill(&mut l4);
        if protocol == 1 && l4.len() > 50 {
            // An error that quotes something.
            l4[0] = [3, 11, 12][rng.below(3) as usize];
            let inner = ip_frame(
                [2; 6],
                [2; 6],
                (ip(pick(&mut rng)), ip(pick(&mut rng))),
                (0, 9),
                17,
                &l4[36..],
            );
            l4.truncate(8);
            l4.extend(&inner[14..]);
            l4 = resummed(l4);
        } else if rng.below(2) == 0 && l4.len() > 3 {
            l4[0] = 0;
            l4[2] = 0;
        }
        let mut frame = ip_frame(
            [2; 6],
            MACS[port],
            (ip(src), ip(dst)),
            (0, 64),
            protocol,
            &l4,
        );
        if round % 5 == 0 {
            let field = u16::try_from(rng.below(0x4000)).unwrap();
            frame[20..22].copy_from_slice(&field.to_be_bytes());
            frame[24..26].fill(0);
            let sum = checksum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        sim.inject(port, frame);
        if round % 50 == 0 {
            sim.idle(Duration::from_millis(100));
        }
    }
    sim.idle(Duration::from_secs(10));
    let inner: Vec<_> = sim
        .seen
        .iter()
        .filter(|seen| seen.way == Way::FromBox && seen.port != LAN && seen.frame[12..14] == [8, 0])
        .filter(|seen| seen.frame[26..28] == [10, 11])
        .collect();
    assert_eq!(
        inner.len(),
        0,
        "{:02x?}",
        inner.first().map(|seen| &seen.frame)
    );
    assert_eq!(
        sim.on(SECOND, Way::FromBox)
            .filter(|s| s.frame[12..14] == [8, 0] && s.frame[23] != 1)
            .count(),
        0
    );
    sim.idle(Duration::from_secs(10_000));
    assert_eq!(sim.worker.app().occupancy().mappings, 1);
}

#[test]
fn a_bonded_flow_from_outside_reaches_the_host_behind_a_forward() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let syn = Tcp {
        dst_port: 8080,
        ..Tcp::capable_syn(FAR, 9_000, PUBLIC)
    };
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &syn)[0].1).unwrap();
    assert_eq!(
        (heard.src, heard.dst, heard.dst_port),
        (ip(FAR), ip(H1), 80)
    );
    assert_eq!(heard.option(30), None);
    assert_eq!(sim.worker.app().occupancy().pending, 1);
    let mut answer = heard.answer(SYN | ACK, 5);
    answer.options = crate::common::raw::SYN_OPTIONS.to_vec();
    let (port, frame) = put_tcp(&mut sim, LAN, &answer).remove(0);
    let accepted = Tcp::parse(&frame).unwrap();
    assert_eq!(port, WAN);
    assert_eq!((accepted.src, accepted.src_port), (ip(PUBLIC), 8080));
    assert_eq!(accepted.dst_port, 9_000);
    assert!(accepted.option(30).is_some(), "bonded");
    // A port that leads nowhere is as silent to a bonded SYN as to any other.
    let stray = Tcp {
        dst_port: 8081,
        ..syn
    };
    assert_eq!(put_tcp(&mut sim, WAN, &stray), []);
}
