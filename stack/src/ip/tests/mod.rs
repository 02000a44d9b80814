//! One router with three ports, as in the demo, and frames written and read by smoltcp.

mod bridge;
mod discovery;
mod fuzz;
mod host;
mod icmp;
mod isolated;
mod lane;
mod neighbor;
mod partial;
mod reassembly;
mod syn;
mod transit;
mod translate;

use super::*;
use crate::Counter;
use crate::buf::{Slice, chain_len};
use crate::rng::Rng;
use crate::tally::Tally;
use core::net::Ipv6Addr;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr, IpAddress, IpProtocol,
    Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr,
};

/// A received buffer.
#[derive(Clone, Debug)]
pub(super) struct Buf(bytes::Bytes);

impl PacketBuf for Buf {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn rewritten(self, at: usize, octets: [u8; 2]) -> Option<Self> {
        let mut bytes = self.0.try_into_mut().ok()?;
        bytes.get_mut(at..at + 2)?.copy_from_slice(&octets);
        Some(Self(bytes.freeze()))
    }
}

pub(super) const ACCESS: PortId = PortId(0);
pub(super) const SECOND: PortId = PortId(1);
pub(super) const CORE: PortId = PortId(2);
pub(super) const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];
pub(super) const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 2];

pub(super) fn mac(port: PortId) -> [u8; 6] {
    [2, 0, 0, 0, 0xbb, port.0]
}

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(super) fn config() -> NetConfig {
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
    NetConfig {
        interfaces: vec![
            interface(ACCESS, ["10.1.0.1/24", "fd00:1::1/64"]),
            interface(SECOND, ["10.2.0.1/24", "fd00:2::1/64"]),
            interface(CORE, ["10.9.0.1/24", "fd00:9::1/64"]),
        ],
        routes: vec![route("0.0.0.0/0", "10.9.0.2"), route("::/0", "fd00:9::2")],
        own: vec![ip("10.99.0.2"), ip("fd00:99::2")],
        ..NetConfig::default()
    }
}

/// A router and all that it is lent.
pub(super) struct Bed {
    pub(super) net: Net<Buf>,
    pub(super) now: Instant,
    rng: Rng,
    counters: Tally<Counter>,
    pub(super) out: Vec<Frame<Buf>>,
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::of(config())
    }

    pub(super) fn of(config: NetConfig) -> Self {
        Self {
            net: Net::new(config).unwrap(),
            now: Instant::from_millis(1_000),
            rng: Rng::from_u64(1),
            counters: Tally::default(),
            out: Vec::new(),
        }
    }

    /// A router that knows the client on both lines and the server.
    pub(super) fn acquainted() -> Self {
        let mut bed = Self::new();
        for (port, station, addrs) in [
            (ACCESS, CLIENT_MAC, ["10.1.0.2", "fd00:1::2"]),
            (CORE, SERVER_MAC, ["10.9.0.2", "fd00:9::2"]),
        ] {
            for addr in addrs {
                bed.acquaint(port, station, ip(addr));
            }
        }
        bed.counters = Tally::default();
        bed
    }

    /// Makes the router ask for `addr` and answers it.
    pub(super) fn acquaint(&mut self, port: PortId, station: [u8; 6], addr: IpAddr) {
        let key = (port, addr);
        self.with(|net, cx, _| net.neighbors.resolve(cx, key, &mut None));
        let how = crate::ip::neighbor::Hearsay {
            solicited: true,
            overrides: true,
        };
        self.with(|net, cx, _| net.neighbors.learn(cx, key, station, how, &mut Vec::new()));
    }

    pub(super) fn with<R>(
        &mut self,
        f: impl FnOnce(&mut Net<Buf>, &mut Cx<'_>, &mut Vec<Frame<Buf>>) -> R,
    ) -> R {
        let mut cx = Cx {
            now: self.now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        };
        f(&mut self.net, &mut cx, &mut self.out)
    }

    pub(super) fn input(&mut self, port: PortId, frame: Vec<u8>) -> Ingress<Buf> {
        self.input_as(port, frame, RxChecksum::Unknown)
    }

    pub(super) fn input_as(
        &mut self,
        port: PortId,
        frame: Vec<u8>,
        checksum: RxChecksum,
    ) -> Ingress<Buf> {
        let frame = Slice::new(Buf(frame.into()));
        self.with(|net, cx, out| net.input(cx, port, frame, checksum, out))
    }

    /// Takes a frame in and passes on whatever is in transit.
    pub(super) fn route(&mut self, port: PortId, frame: Vec<u8>) {
        let packet = match self.input(port, frame) {
            Ingress::Done(_) => return,
            Ingress::Tcp(arrival) => arrival.packet,
            Ingress::IcmpError(arrival) => arrival.packet,
            Ingress::Opaque(opaque) => opaque.packet,
            Ingress::Transit(packet) => packet,
        };
        _ = self.with(|net, cx, out| net.forward(cx, packet, out));
    }

    /// Lets time pass, doing what is due when it is.
    pub(super) fn pass(&mut self, ms: u64) {
        let end = Instant::from_millis(self.now.as_millis() + ms);
        while let Some(next) = self.net.next_deadline().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.with(|net, cx, out| net.advance(cx, out));
        }
        self.now = end;
    }

    /// The frames sent so far, each in one piece, with their ports.
    pub(super) fn sent(&mut self) -> Vec<(PortId, Vec<u8>)> {
        self.out
            .drain(..)
            .map(|frame| (frame.port, linear(&frame)))
            .collect()
    }

    /// The only frame sent so far.
    pub(super) fn sent_one(&mut self) -> (PortId, Vec<u8>) {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:02x?}");
        sent.remove(0)
    }

    /// Received frames that have ended or wait.
    pub(super) fn ended(&self) -> u64 {
        self.counters.ended() + self.net.waiting() as u64
    }

    pub(super) fn count(&self, counter: Counter) -> u64 {
        self.counters.get(counter)
    }

    /// Every counter that is not zero.
    pub(super) fn counted(&self) -> Vec<(Counter, u64)> {
        self.counters.iter().filter(|&(_, n)| n > 0).collect()
    }
}

pub(super) fn linear(frame: &Frame<Buf>) -> Vec<u8> {
    let mut bytes = frame.header.bytes().to_vec();
    for slice in &frame.payload {
        bytes.extend_from_slice(slice.bytes());
    }
    assert_eq!(
        bytes.len(),
        frame.header.bytes().len() + chain_len(&frame.payload)
    );
    if let Some((field, checksum)) = frame.checksum() {
        bytes[field].copy_from_slice(&checksum);
    }
    bytes
}

fn ethernet(dst: [u8; 6], src: [u8; 6], protocol: EthernetProtocol, l3: &[u8]) -> Vec<u8> {
    let repr = EthernetRepr {
        src_addr: EthernetAddress(src),
        dst_addr: EthernetAddress(dst),
        ethertype: protocol,
    };
    let mut bytes = vec![0; 14 + l3.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes[..]);
    repr.emit(&mut frame);
    frame.payload_mut().copy_from_slice(l3);
    bytes
}

/// An IP packet of `protocol` with the given hop limit in a frame from `station` to the router's `port`.
pub(super) fn packet(
    (port, station): (PortId, [u8; 6]),
    (src, dst): (&str, &str),
    protocol: u8,
    ttl: u8,
    l4: &[u8],
) -> Vec<u8> {
    let next_header = IpProtocol::from(protocol);
    match (ip(src), ip(dst)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let repr = Ipv4Repr {
                src_addr: src,
                dst_addr: dst,
                next_header,
                payload_len: l4.len(),
                hop_limit: ttl,
            };
            let mut l3 = vec![0; 20 + l4.len()];
            let mut packet = Ipv4Packet::new_unchecked(&mut l3[..]);
            repr.emit(&mut packet, &ChecksumCapabilities::default());
            packet.payload_mut().copy_from_slice(l4);
            ethernet(mac(port), station, EthernetProtocol::Ipv4, &l3)
        },
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let repr = Ipv6Repr {
                src_addr: src,
                dst_addr: dst,
                next_header,
                payload_len: l4.len(),
                hop_limit: ttl,
            };
            let mut l3 = vec![0; 40 + l4.len()];
            let mut packet = Ipv6Packet::new_unchecked(&mut l3[..]);
            repr.emit(&mut packet);
            packet.payload_mut().copy_from_slice(l4);
            ethernet(mac(port), station, EthernetProtocol::Ipv6, &l3)
        },
        _ => panic!("one family"),
    }
}

/// Changes a frame's IPv4 header and makes its checksum right again.
pub(super) fn edit_ipv4(frame: &mut [u8], edit: impl FnOnce(&mut [u8])) {
    let header_len = usize::from(frame[14] & 0xf) * 4;
    edit(&mut frame[14..14 + header_len]);
    let header_len = usize::from(frame[14] & 0xf) * 4;
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    assert_eq!(usize::from(packet.header_len()), header_len);
    packet.fill_checksum();
}

/// A TCP segment written by smoltcp, with the given raw options put in.
pub(super) fn tcp_segment(
    (src, dst): (&str, &str),
    flags: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    use smoltcp::wire::TcpPacket;
    assert_eq!(options.len() % 4, 0);
    let header_len = 20 + options.len();
    let mut bytes = vec![0; header_len + payload.len()];
    bytes[20..header_len].copy_from_slice(options);
    bytes[header_len..].copy_from_slice(payload);
    let mut packet = TcpPacket::new_unchecked(&mut bytes[..]);
    packet.set_src_port(40_000);
    packet.set_dst_port(80);
    packet.set_seq_number(smoltcp::wire::TcpSeqNumber(1_000_000));
    packet.set_header_len(u8::try_from(header_len).unwrap());
    packet.set_window_len(64_240);
    bytes[13] = flags;
    let mut packet = TcpPacket::new_unchecked(&mut bytes[..]);
    packet.fill_checksum(&IpAddress::from(ip(src)), &IpAddress::from(ip(dst)));
    bytes
}

/// The IP payload of `frame` and its addresses; checks the IPv4 header's checksum.
pub(super) fn l4_of(frame: &[u8]) -> (IpAddr, IpAddr, Vec<u8>) {
    match frame[12..14] {
        [0x08, 0x00] => {
            let packet = Ipv4Packet::new_checked(&frame[14..]).unwrap();
            assert!(packet.verify_checksum());
            let (src, dst) = (packet.src_addr(), packet.dst_addr());
            (src.into(), dst.into(), packet.payload().to_vec())
        },
        [0x86, 0xdd] => {
            let packet = Ipv6Packet::new_checked(&frame[14..]).unwrap();
            let (src, dst): (Ipv6Addr, Ipv6Addr) = (packet.src_addr(), packet.dst_addr());
            (src.into(), dst.into(), packet.payload().to_vec())
        },
        _ => panic!("not IP: {frame:02x?}"),
    }
}

#[test]
fn each_mistake_of_a_configuration_is_named() {
    let interface = |addresses: &[&str]| InterfaceConfig {
        port: PortId(0),
        mac: CLIENT_MAC,
        mtu: 1500,
        addresses: addresses.iter().map(|net| net.parse().unwrap()).collect(),
    };
    let route = |to: &str, via| RouteConfig {
        to: to.parse().unwrap(),
        via: ip(via),
    };
    let base = NetConfig {
        interfaces: vec![interface(&["10.1.0.1/24"])],
        ..NetConfig::default()
    };
    let rows: &[(&str, NetConfig, &str)] = &[
        (
            "no link to the next hop",
            NetConfig {
                routes: vec![route("0.0.0.0/0", "10.2.0.2")],
                ..base.clone()
            },
            "no port has an address on the network of 10.2.0.2",
        ),
        (
            "next hop is ourselves",
            NetConfig {
                routes: vec![route("0.0.0.0/0", "10.1.0.1")],
                ..base.clone()
            },
            "one of our own",
        ),
        (
            "families mixed",
            NetConfig {
                routes: vec![route("::/0", "10.1.0.2")],
                ..base.clone()
            },
            "one is IPv4",
        ),
        (
            "address twice",
            NetConfig {
                own: vec![ip("10.1.0.1")],
                ..base.clone()
            },
            "given twice",
        ),
        (
            "port twice",
            NetConfig {
                interfaces: vec![interface(&["10.1.0.1/24"]), interface(&["10.2.0.1/24"])],
                ..base.clone()
            },
            "port 0 is given twice",
        ),
        (
            "multicast address",
            NetConfig {
                own: vec![ip("224.0.0.1")],
                ..base.clone()
            },
            "224.0.0.1 cannot be a host's",
        ),
        (
            "network address",
            NetConfig {
                interfaces: vec![interface(&["10.1.0.0/24"])],
                ..base.clone()
            },
            "10.1.0.0 cannot be a host's",
        ),
        (
            "broadcast address",
            NetConfig {
                interfaces: vec![interface(&["10.1.0.255/24"])],
                ..base.clone()
            },
            "10.1.0.255 cannot be a host's",
        ),
        (
            "mtu",
            NetConfig {
                interfaces: vec![InterfaceConfig {
                    mtu: 1000,
                    ..interface(&["10.1.0.1/24"])
                }],
                ..base.clone()
            },
            "MTU of 1000",
        ),
        (
            "group mac",
            NetConfig {
                interfaces: vec![InterfaceConfig {
                    mac: [1; 6],
                    ..interface(&["10.1.0.1/24"])
                }],
                ..base.clone()
            },
            "Ethernet address",
        ),
        (
            "an isolated port's gateway elsewhere",
            NetConfig {
                isolated: vec![IsolatedConfig {
                    port: PortId(0),
                    gateways: vec![ip("10.2.0.9")],
                }],
                ..base
            },
            "gateway 10.2.0.9 of port 0",
        ),
    ];
    for (name, config, words) in rows {
        let error = Net::<Buf>::new(config.clone()).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
    assert!(Net::<Buf>::new(config()).is_ok());
}

#[test]
fn the_way_to_a_destination_is_told() {
    let bed = Bed::new();
    assert_eq!(bed.net.port_toward(ip("10.1.0.77")), Some(ACCESS));
    assert_eq!(bed.net.port_toward(ip("192.0.2.1")), Some(CORE));
    assert_eq!(bed.net.port_toward(ip("fd00:2::9")), Some(SECOND));
    assert_eq!(bed.net.mtu_toward(ip("192.0.2.1")), Some(1500));
    assert!(bed.net.is_own(ip("10.99.0.2")) && bed.net.is_own(ip("fd00:1::1")));
    assert!(!bed.net.is_own(ip("10.1.0.2")));
}
