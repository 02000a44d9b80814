//! The table against a model, and each rule of the RFCs by a packet that shows it.

use super::table::{NoMapping, Sign, Table};
use super::*;
use crate::Counter;
use dataplane::memory::MemBuf;
use proptest::prelude::*;
use stack::ip::{
    Endpoint, Ingress, InterfaceConfig, Net, NetConfig, Packet, RouteConfig, Translation,
};
use stack::time::Duration;
use stack::wire::tcp::Flags;
use stack::{Cx, Instant, PortId, Rng, RxChecksum, Slice, Tally};
use std::collections::{BTreeMap, BTreeSet};
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

fn table(limits: MappingLimits) -> Table {
    Table::new(limits, MappingTimeouts::default(), true, 7)
}

fn at(secs: u64) -> Instant {
    Instant::from_millis(1_000 * secs)
}

proptest! {
    /// No two hosts share a port in any protocol, a host's port keeps its mapping, and both directions agree.
    #[test]
    fn a_port_is_one_hosts_and_an_endpoint_has_one_port(
        seed: u64,
        ops in prop::collection::vec((0..6_u8, 0..4_usize, prop_oneof![1..6_u16, 1_020..1_030_u16, 5_000..5_004_u16], 0..400_u64), 1..200),
    ) {
        let mut table = table(MappingLimits { mappings: 40, mappings_per_host: 14 });
        let mut rng = Rng::from_u64(seed);
        let mut now = at(1);
        let mut model: BTreeMap<(Protocol, IpAddr, u16), u16> = BTreeMap::new();
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Icmp];
        for (host, which, port, pass) in ops {
            now = now + Duration::from_secs(if which == 3 { pass } else { 0 });
            table.advance(now);
            let protocol = protocols[which % 3];
            let host = IpAddr::from([192, 168, 1, host]);
            let inside = (host, port);
            // What the table forgot may go from the model too, once its shortest time is over.
            model.retain(|&(protocol, host, port), _| table.get(protocol, (host, port), None).is_some());
            let of_host = model.keys().filter(|(_, of, _)| *of == host).count();
            let known = table.get(protocol, inside, None);
            let handle = match known {
                Some(handle) => Ok(handle),
                None => table.make(now, &mut rng, protocol, inside, (None, true)),
            };
            match handle {
                Ok(handle) => {
                    table.used_outward(now, handle, None);
                    let outside = table.mapping(handle).unwrap().outside.unwrap();
                    let before = model.insert((protocol, host, port), outside);
                    prop_assert!(before.is_none_or(|before| before == outside), "endpoint-independent");
                    prop_assert_eq!(outside & 1, port & 1, "parity");
                    prop_assert_eq!(outside > 1023, port > 1023, "range");
                    prop_assert_eq!(table.behind(protocol, outside, ip(S)), Some(handle));
                },
                Err(NoMapping::HostFull) => prop_assert_eq!(of_host, 14),
                Err(NoMapping::Full) => prop_assert_eq!(model.len(), 40),
                Err(NoMapping::Busy) => prop_assert!(false, "has ports"),
            }
            let mut owners: BTreeMap<u16, IpAddr> = BTreeMap::new();
            let mut ends = BTreeSet::new();
            for mapping in table.iter() {
                let outside = mapping.outside.unwrap();
                prop_assert!(ends.insert((mapping.protocol, outside)), "one mapping for a port");
                let owner = *owners.entry(outside).or_insert(mapping.inside.0);
                prop_assert_eq!(owner, mapping.inside.0, "a port is one host's in all protocols");
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert_eq!(table.ports_used(), owners.len());
        }
        // In the end nothing is left.
        table.advance(now + Duration::from_secs(9_000));
        table.advance(now + Duration::from_secs(18_000));
        prop_assert_eq!((table.len(), table.ports_used(), table.hosts()), (0, 0, 0));
    }
}

#[test]
fn every_port_can_be_in_use_at_once() {
    let mut table = table(MappingLimits {
        mappings: 70_000,
        mappings_per_host: 70_000,
    });
    let mut rng = Rng::from_u64(3);
    let mut seen = BTreeSet::new();
    // A thousand hosts that all use the same 65 ports: all but the first get others.
    for n in 0..65_u16 {
        for host in 0..1_000_u16 {
            let [a, b] = host.to_be_bytes();
            let inside = (IpAddr::from([10, 0, a, b]), 40_000 + n);
            if seen.len() == 64_512 {
                // Then the well-known ones are next; the space ends at 65,535.
                break;
            }
            let handle = table
                .make(at(1), &mut rng, Protocol::Udp, inside, (None, true))
                .unwrap();
            assert!(seen.insert(table.mapping(handle).unwrap().outside.unwrap()));
        }
    }
    assert_eq!(seen.len(), 64_512);
    assert_eq!(table.ports_used(), 64_512);
}

#[test]
fn a_full_space_refuses_and_takes_none_twice() {
    let mut table = table(MappingLimits {
        mappings: 70_000,
        mappings_per_host: 70_000,
    });
    let mut rng = Rng::from_u64(3);
    for port in 1..=u16::MAX {
        let inside = (ip(H1), port);
        let made = table.make(at(1), &mut rng, Protocol::Tcp, inside, (None, true));
        assert_eq!(table.mapping(made.unwrap()).unwrap().outside, Some(port));
    }
    let other = (ip(H2), 5_000);
    let refused = table.make(at(1), &mut rng, Protocol::Tcp, other, (None, true));
    assert_eq!(refused, Err(NoMapping::Full));
    // The same host may use its ports in another protocol, nobody else may.
    let same = table.make(
        at(1),
        &mut rng,
        Protocol::Udp,
        (ip(H1), 5_000),
        (None, true),
    );
    assert_eq!(table.mapping(same.unwrap()).unwrap().outside, Some(5_000));
    let refused = table.make(at(1), &mut rng, Protocol::Udp, other, (None, true));
    assert_eq!(refused, Err(NoMapping::Full));
}

/// What of a connection's segments passes, in order: from inside or not, flags, payload.
fn lifetime(segments: &[(bool, Flags, bool)]) -> u64 {
    let mut table = table(MappingLimits::default());
    let mut rng = Rng::from_u64(1);
    let inside = (ip(H1), 5_000);
    let handle = table
        .make(at(1), &mut rng, Protocol::Tcp, inside, (None, true))
        .unwrap();
    for &(out, flags, data) in segments {
        let sign = Some(Sign { flags, data });
        if out {
            table.used_outward(at(1), handle, sign);
        } else {
            table.used_inward(at(1), handle, sign);
        }
    }
    (1..8_000)
        .find(|&secs| {
            table.advance(at(secs));
            table.len() == 0
        })
        .unwrap()
}

#[test]
fn tcp_is_kept_as_rfc_5382_asks() {
    let (syn, ack) = (Flags::SYN, Flags::ACK);
    let both = syn.with(ack);
    let fin = ack.with(Flags::FIN);
    let opened = [(true, syn, false), (false, both, false), (true, ack, false)];
    let with = |more: &[(bool, Flags, bool)]| lifetime(&[&opened, more].concat());
    assert_eq!(lifetime(&opened[..1]), 241);
    assert_eq!(lifetime(&opened[..2]), 241);
    assert_eq!(lifetime(&opened), 7_441);
    assert_eq!(with(&[(true, fin, false)]), 7_441, "half-closed");
    assert_eq!(with(&[(true, fin, false), (false, fin, false)]), 241);
    assert_eq!(
        with(&[(true, fin, false), (false, fin, false), (true, ack, false)]),
        241
    );
    assert_eq!(with(&[(false, Flags::RST, false)]), 241);
    assert_eq!(
        with(&[(false, Flags::RST, false), (true, ack, true)]),
        7_441
    );
    let again = [
        (true, fin, false),
        (false, fin, false),
        opened[0],
        opened[1],
        opened[2],
    ];
    assert_eq!(with(&again), 7_441, "the port opens another connection");
    // Both open at once.
    let simultaneous = [
        (true, syn, false),
        (false, syn, false),
        (true, both, false),
        (false, both, false),
        (true, ack, false),
    ];
    assert_eq!(lifetime(&simultaneous), 7_441);
}

#[test]
fn a_relayed_flow_keeps_its_port_and_four_minutes_more() {
    let mut table = table(MappingLimits::default());
    let mut rng = Rng::from_u64(1);
    let inside = (ip(H1), 5_000);
    let handle = table
        .make(at(1), &mut rng, Protocol::Tcp, inside, (None, true))
        .unwrap();
    table.hold(handle);
    for secs in (0..20_000).step_by(100) {
        table.advance(at(secs));
    }
    assert_eq!(table.len(), 1);
    table.release(Some(at(20_000)), handle);
    table.advance(at(20_239));
    assert_eq!(table.len(), 1);
    for secs in 20_240..20_500 {
        table.advance(at(secs));
    }
    assert_eq!(table.len(), 0);
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
            gate: Gate::new(&hosts, Some(nat), firewall, bounds, 1).unwrap(),
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
            Ingress::Done => panic!("not handed up: {:?}", self.stack),
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

#[test]
fn a_mapping_is_the_same_towards_everybody_and_open_to_everybody() {
    for firewall in [OPEN, CLOSED] {
        let mut bed = Bed::new(firewall, vec![]);
        // RFC 4787 REQ-1, REQ-3: preserved where free.
        assert_eq!(bed.port_of(H1, 5_000, S), 5_000);
        assert_eq!(bed.port_of(H1, 5_000, "203.0.113.99"), 5_000);
        let other = bed.port_of(H2, 5_000, S);
        assert_ne!(other, 5_000);
        // REQ-8: whoever sends.
        assert_eq!(
            bed.back(&udp("203.0.113.50", ANY, (9, 5_000))),
            to_host(H1, 5_000)
        );
        assert_eq!(bed.back(&udp(S, ANY, (53, other))), to_host(H2, 5_000));
        let nobody = bed.back(&udp(S, ANY, (53, 6_000)));
        let expected = if firewall.is_some() {
            Passage::Drop(Counter::NatUnsolicited)
        } else {
            Passage::Own
        };
        assert_eq!(nobody, expected);
    }
}

#[test]
fn only_what_a_host_sends_keeps_a_mapping_of_udp() {
    let mut bed = Bed::new(CLOSED, vec![]);
    bed.port_of(H1, 5_000, S);
    for _ in 0..5 {
        bed.wait(50);
        assert_eq!(bed.back(&udp(S, ANY, (53, 5_000))), to_host(H1, 5_000));
    }
    bed.wait(51);
    assert_eq!(
        bed.back(&udp(S, ANY, (53, 5_000))),
        Passage::Drop(Counter::NatUnsolicited)
    );
    assert_eq!(bed.apps.get(Counter::NatExpired), 1);
}

#[test]
fn queries_are_mapped_by_identifier_and_errors_by_what_they_quote() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let echo = |src, dst, kind, id: u16| {
        let [a, b] = id.to_be_bytes();
        l3(src, dst, 1, &[kind, 0, 0, 0, a, b, 0, 1])
    };
    let first = bed.out(&echo(H1, S, 8, 7));
    assert!(matches!(
        first,
        Passage::Pass(Translation {
            src: Some(Endpoint { port: 7, .. }),
            ..
        })
    ));
    let Passage::Pass(Translation {
        src: Some(second), ..
    }) = bed.out(&echo(H2, S, 8, 7))
    else {
        panic!("mapped");
    };
    assert_ne!(second.port, 7);
    assert_eq!(bed.back(&echo(S, ANY, 0, second.port)), to_host(H2, 7));
    assert_eq!(bed.back(&echo(S, ANY, 0, 7)), to_host(H1, 7));
    // An error about each protocol finds who sent it (RFC 5508 REQ-4).
    let datagram = bed.port_of(H2, 5_000, S);
    let about = udp(ANY, S, (datagram, 53));
    assert_eq!(
        bed.back(&error("203.0.113.1", ANY, &about)),
        to_host(H2, 5_000)
    );
    let about = echo(ANY, S, 8, second.port);
    assert_eq!(bed.back(&error("203.0.113.1", ANY, &about)), to_host(H2, 7));
    let about = udp(ANY, S, (6_000, 53));
    let stray = Passage::Drop(Counter::NatStrayError);
    assert_eq!(bed.back(&error(S, ANY, &about)), stray);
    // And one of a host about what it got names the public address (REQ-5).
    let about = udp(S, H2, (53, 5_000));
    let told = bed.out(&error(H2, S, &about));
    let port = datagram;
    assert_eq!(
        told,
        Passage::Pass(Translation {
            src: Some(Endpoint { addr: PUBLIC, port }),
            dst: None
        })
    );
    assert_eq!(bed.out(&error(H2, S, &udp(S, H2, (53, 5_001)))), stray);
    bed.wait(61);
    assert_eq!(
        bed.back(&echo(S, ANY, 0, 7)),
        Passage::Drop(Counter::NatUnsolicited)
    );
}

#[test]
fn hosts_meet_at_their_public_address() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let port = bed.port_of(H2, 5_000, S);
    // RFC 4787 REQ-9: the sender's public address and port, not its own.
    let both = |src: u16, dst: Endpoint| {
        Passage::Pass(Translation {
            src: Some(Endpoint {
                addr: PUBLIC,
                port: src,
            }),
            dst: Some(dst),
        })
    };
    let h2 = Endpoint {
        addr: Ipv4Addr::new(192, 168, 1, 11),
        port: 5_000,
    };
    assert_eq!(bed.out(&udp(H1, ANY, (4_000, port))), both(4_000, h2));
    let h1 = Endpoint {
        addr: Ipv4Addr::new(192, 168, 1, 10),
        port: 4_000,
    };
    assert_eq!(bed.out(&udp(H2, ANY, (5_000, 4_000))), both(port, h1));
    // To a static forward, and to a port that is nobody's.
    let web = Endpoint {
        addr: Ipv4Addr::new(192, 168, 1, 10),
        port: 80,
    };
    assert_eq!(
        bed.out(&tcp(H2, ANY, (4_001, 8080), Flags::SYN)),
        both(4_001, web)
    );
    assert_eq!(
        bed.out(&udp(H1, ANY, (4_000, 9))),
        Passage::Drop(Counter::NatUnsolicited)
    );
    // By their own addresses they are neighbors.
    assert_eq!(
        bed.out(&udp(H1, H2, (1, 2))),
        Passage::Pass(Translation::NONE)
    );
}

#[test]
fn a_forward_leads_to_its_host_and_its_answers_leave_from_there() {
    let mut bed = Bed::new(CLOSED, vec![]);
    assert_eq!(
        bed.back(&tcp(S, ANY, (9, 8080), Flags::SYN)),
        to_host(H1, 80)
    );
    let answer = bed.out(&tcp(H1, S, (80, 9), Flags::SYN.with(Flags::ACK)));
    let src = Some(Endpoint {
        addr: PUBLIC,
        port: 8080,
    });
    assert_eq!(answer, Passage::Pass(Translation { src, dst: None }));
    bed.wait(100_000);
    assert_eq!(
        bed.back(&tcp(S, ANY, (9, 8080), Flags::SYN)),
        to_host(H1, 80)
    );
    // Nobody else gets the port.
    assert_ne!(bed.port_of(H2, 8080, S), 8080);
}

#[test]
fn a_host_is_never_reached_by_its_own_address_nor_leaves_with_it() {
    let mut bed = Bed::new(OPEN, vec![]);
    let direct = Passage::Drop(Counter::NatDirect);
    assert_eq!(bed.back(&udp(S, H1, (53, 5_000))), direct);
    let rest: [(u8, &[u8]); 4] = [
        (47, b"gre?"),
        (1, &[5, 0, 0, 0, 0, 0, 0, 0]),
        (132, b"sctp"),
        (2, b"igmp"),
    ];
    for (protocol, l4) in rest {
        let Passage::Pass(to) = bed.out(&l3(H1, S, protocol, l4)) else {
            continue;
        };
        assert_eq!(to.src.map(|src| src.addr), Some(PUBLIC), "{protocol}");
    }
    assert_eq!(
        bed.out(&l3(H1, S, 6, &[0; 12])),
        Passage::Drop(Counter::NatUnread)
    );
}

#[test]
fn a_protocol_without_ports_is_told_apart_by_the_other_end() {
    let mut bed = Bed::new(CLOSED, vec![]);
    assert!(matches!(bed.out(&l3(H1, S, 47, b"gre?")), Passage::Pass(_)));
    assert_eq!(bed.back(&l3(S, ANY, 47, b"gre!")), to_host(H1, 0));
    assert_eq!(
        bed.out(&l3(H2, S, 47, b"gre?")),
        Passage::Prohibit(Counter::NatBusy)
    );
    assert!(matches!(
        bed.out(&l3(H2, "203.0.113.9", 47, b"gre?")),
        Passage::Pass(_)
    ));
    assert_eq!(
        bed.back(&l3("203.0.113.9", ANY, 47, b"gre!")),
        to_host(H2, 0)
    );
    assert_eq!(
        bed.back(&l3("203.0.113.8", ANY, 47, b"gre!")),
        Passage::Drop(Counter::NatUnsolicited)
    );
}

#[test]
fn fragments_follow_the_first_whenever_they_come() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let first = fragment(udp(H1, S, (5_000, 53)), 0x2000);
    let later = fragment(l3(H1, S, 17, b"the rest"), 1);
    let early = bed.out(&later);
    let Passage::Early(id) = early else {
        panic!("{early:?}");
    };
    let packet = bed.read(LAN, &later);
    bed.gate.keep_early(bed.now, &mut bed.apps, id, packet);
    let went = bed.out(&first);
    assert!(matches!(
        went,
        Passage::Pass(Translation { src: Some(_), .. })
    ));
    assert!(bed.gate.early(id).is_some());
    assert!(bed.gate.early(id).is_none());
    assert_eq!(bed.out(&later), went);
    // Fragments that nobody can place are bounded, and dropped in the end.
    for n in 0..100_u16 {
        let mut stray = fragment(l3(S, ANY, 17, b"the rest"), 1);
        stray[4..6].copy_from_slice(&n.to_be_bytes());
        let stray = fragment(stray, 1);
        let Passage::Early(id) = bed.back(&stray) else {
            panic!("early");
        };
        let packet = bed.read(WAN, &stray);
        bed.gate.keep_early(bed.now, &mut bed.apps, id, packet);
    }
    assert_eq!(bed.apps.get(Counter::FragmentLost), 36);
    bed.wait(6);
    assert_eq!(bed.apps.get(Counter::FragmentLost), 100);
}

#[test]
fn an_unsolicited_syn_waits_six_seconds_for_its_counterpart() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let syn = tcp(S, ANY, (80, 5_000), Flags::SYN);
    let crossed = tcp(S, ANY, (81, 5_001), Flags::SYN);
    for l3 in [&syn, &crossed, &crossed] {
        assert_eq!(bed.back(l3), Passage::Unsolicited(Counter::NatUnsolicited));
        let packet = bed.read(WAN, l3);
        bed.gate.keep_unsolicited(bed.now, packet);
    }
    // A host opens the same connection at the same time: RFC 5382 REQ-4 a.
    assert!(matches!(
        bed.out(&tcp(H1, S, (5_001, 81), Flags::SYN)),
        Passage::Pass(_)
    ));
    bed.now = bed.now + Duration::from_millis(5_999);
    assert!(bed.gate.next_refusal(bed.now).is_none());
    bed.now = bed.now + Duration::from_millis(1);
    assert_eq!(bed.gate.next_deadline(), Some(bed.now));
    assert!(bed.gate.next_refusal(bed.now).is_some());
    assert!(bed.gate.next_refusal(bed.now).is_none());
    // What is no SYN is dropped in silence: the host may be about to speak, after we began anew.
    assert_eq!(
        bed.back(&tcp(S, ANY, (80, 5_000), Flags::ACK)),
        Passage::Drop(Counter::NatUnsolicited)
    );
}

#[test]
fn ipv6_hosts_get_what_they_asked_for() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let dropped = Passage::Drop(Counter::FirewallDropped);
    let pass = Passage::Pass(Translation::NONE);
    assert_eq!(bed.back(&udp(S6, H6, (53, 5_000))), dropped);
    assert_eq!(bed.back(&tcp(S6, H6, (80, 5_000), Flags::ACK)), dropped);
    let syn = tcp(S6, H6, (80, 5_000), Flags::SYN);
    assert_eq!(
        bed.back(&syn),
        Passage::Unsolicited(Counter::FirewallDropped)
    );
    assert_eq!(bed.out(&udp(H6, S6, (5_000, 53))), pass);
    assert_eq!(bed.back(&udp(S6, H6, (53, 5_000))), pass);
    assert_eq!(
        bed.back(&udp("2001:db8:77::1", H6, (1, 5_000))),
        pass,
        "REC-17"
    );
    assert_eq!(bed.back(&udp(S6, H6, (53, 5_001))), dropped);
    assert_eq!(bed.out(&tcp(H6, S6, (5_000, 80), Flags::SYN)), pass);
    assert_eq!(
        bed.back(&tcp(S6, H6, (80, 5_000), Flags::SYN.with(Flags::ACK))),
        pass
    );
    // REC-10, REC-18: errors about what was sent, and no others.
    let sent = udp(H6, S6, (5_000, 53));
    assert_eq!(bed.back(&error("2001:db8:5::5", H6, &sent)), pass);
    let never = udp(H6, S6, (5_001, 53));
    assert_eq!(bed.back(&error("2001:db8:5::5", H6, &never)), dropped);
    // RFC 4890 4.3.1: echo. REC-21, 22, 24, 26: what secures itself.
    assert_eq!(bed.back(&l3(S6, H6, 58, &[128, 0, 0, 0, 0, 1, 0, 1])), pass);
    for protocol in [50, 51, 139] {
        assert_eq!(bed.back(&l3(S6, H6, protocol, b"secured")), pass);
    }
    assert_eq!(bed.back(&udp(S6, H6, (500, 500))), pass);
    assert_eq!(bed.back(&l3(S6, H6, 47, b"gre?")), dropped);
    assert_eq!(bed.out(&l3(H6, S6, 47, b"gre!")), pass);
    assert_eq!(bed.back(&l3(S6, H6, 47, b"gre?")), pass);
}

#[test]
fn sources_stay_on_their_side_and_routing_headers_out() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let foreign = Passage::Drop(Counter::FirewallSource);
    assert_eq!(
        bed.out(&udp("2001:db8:77::1", S6, (1, 2))),
        foreign,
        "REC-5"
    );
    assert_eq!(bed.out(&udp("10.0.0.1", S, (1, 2))), foreign, "REC-5");
    assert_eq!(
        bed.back(&udp("2001:db8:1::99", H6, (1, 2))),
        foreign,
        "REC-6"
    );
    let routed = [&[17, 0, 0, 0, 0, 0, 0, 0][..], &[0, 1, 0, 2, 0, 8, 0, 0]].concat();
    let routed = l3(H6, S6, 43, &routed);
    assert_eq!(
        bed.out(&routed),
        Passage::Drop(Counter::FirewallRouting),
        "REC-4"
    );
}

#[test]
fn rules_and_transparent_mode_let_in() {
    let web = Allow {
        protocol: Some(Protocol::Tcp),
        to: "2001:db8:1::10/128".parse().unwrap(),
        port: Some(80),
    };
    let mut bed = Bed::new(CLOSED, vec![web]);
    let pass = Passage::Pass(Translation::NONE);
    assert_eq!(bed.back(&tcp(S6, H6, (9, 80), Flags::SYN)), pass);
    assert_ne!(bed.back(&tcp(S6, H6, (9, 81), Flags::SYN)), pass);
    assert_ne!(
        bed.back(&tcp(S6, "2001:db8:1::11", (9, 80), Flags::SYN)),
        pass
    );
    assert_ne!(bed.back(&udp(S6, H6, (9, 80))), pass);
    // REC-49.
    let mut bed = Bed::new(Some(Inbound::Accept), vec![]);
    assert_eq!(bed.back(&udp(S6, H6, (9, 80))), pass);
    assert_eq!(bed.back(&tcp(S6, H6, (9, 81), Flags::SYN)), pass);
    assert_eq!(bed.gate.table().len(), 1, "nothing but the forward");
}

#[test]
fn a_relayed_flow_keeps_its_way_through_the_firewall() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let pass = Passage::Pass(Translation::NONE);
    assert_eq!(bed.out(&tcp(H6, S6, (5_000, 80), Flags::SYN)), pass);
    let host = (ip(H6), 5_000);
    bed.gate.hold(host);
    for _ in 0..10 {
        bed.wait(1_000);
    }
    bed.gate.release(Some(bed.now), host);
    bed.wait(239);
    // The box in the network has begun anew: what the server sends reaches the host, which says that it knows nothing.
    let late = tcp(S6, H6, (80, 5_000), Flags::ACK);
    assert_eq!(bed.back(&late), pass);
    assert_eq!(bed.out(&tcp(H6, S6, (5_000, 80), Flags::RST)), pass);
    bed.wait(500);
    bed.wait(500);
    assert_eq!(bed.back(&late), Passage::Drop(Counter::FirewallDropped));
}
