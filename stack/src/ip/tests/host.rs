//! smoltcp's interface as a real neighbor: it resolves us, we resolve it, and its pings are answered and routed.

use super::*;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::raw;
use smoltcp::wire::{
    HardwareAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpCidr, IpVersion,
};
use std::collections::VecDeque;

/// A wire's end: frames in, frames out.
#[derive(Default)]
struct Wire {
    received: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

struct Received(Vec<u8>);
struct Send<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Send<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Send<'a>;
    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Send<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Received(frame), Send(&mut self.sent)))
    }
    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Send<'_>> {
        Some(Send(&mut self.sent))
    }
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A smoltcp host on one of the router's ports.
struct Host {
    port: PortId,
    wire: Wire,
    interface: Interface,
    sockets: SocketSet<'static>,
    raw: smoltcp::iface::SocketHandle,
}

impl Host {
    fn new(port: PortId, station: [u8; 6], addrs: [&str; 2], gateway: &str, v6: bool) -> Self {
        let mut wire = Wire::default();
        let hardware = HardwareAddress::Ethernet(EthernetAddress(station));
        let start = smoltcp::time::Instant::ZERO;
        let mut interface = Interface::new(Config::new(hardware), &mut wire, start);
        interface.update_ip_addrs(|list| {
            for addr in addrs {
                list.push(addr.parse::<IpCidr>().unwrap()).unwrap();
            }
        });
        match ip(gateway) {
            IpAddr::V4(addr) => interface.routes_mut().add_default_ipv4_route(addr).unwrap(),
            IpAddr::V6(addr) => interface.routes_mut().add_default_ipv6_route(addr).unwrap(),
        };
        let buffer = || raw::PacketBuffer::new(vec![raw::PacketMetadata::EMPTY; 8], vec![0; 8192]);
        let (version, protocol) = if v6 {
            (IpVersion::Ipv6, IpProtocol::Icmpv6)
        } else {
            (IpVersion::Ipv4, IpProtocol::Icmp)
        };
        let mut sockets = SocketSet::new(vec![]);
        let raw = sockets.add(raw::Socket::new(
            Some(version),
            Some(protocol),
            buffer(),
            buffer(),
        ));
        Self {
            port,
            wire,
            interface,
            sockets,
            raw,
        }
    }

    fn ping(&mut self, src: &str, dst: &str) {
        let frame = match (ip(src), ip(dst)) {
            (IpAddr::V4(_), IpAddr::V4(_)) => {
                let repr = Icmpv4Repr::EchoRequest {
                    ident: 7,
                    seq_no: 1,
                    data: b"ping",
                };
                let mut l4 = vec![0; repr.buffer_len()];
                repr.emit(
                    &mut Icmpv4Packet::new_unchecked(&mut l4[..]),
                    &ChecksumCapabilities::default(),
                );
                packet((self.port, [2; 6]), (src, dst), 1, 64, &l4)
            },
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let repr = Icmpv6Repr::EchoRequest {
                    ident: 7,
                    seq_no: 1,
                    data: b"ping",
                };
                let mut l4 = vec![0; repr.buffer_len()];
                let mut message = Icmpv6Packet::new_unchecked(&mut l4[..]);
                repr.emit(&from, &to, &mut message, &ChecksumCapabilities::default());
                packet((self.port, [2; 6]), (src, dst), 58, 64, &l4)
            },
            _ => panic!("one family"),
        };
        let socket = self.sockets.get_mut::<raw::Socket<'_>>(self.raw);
        socket.send_slice(&frame[14..]).unwrap();
    }

    /// The ICMP types that reached the host's socket.
    fn heard(&mut self, header: usize) -> Vec<u8> {
        let socket = self.sockets.get_mut::<raw::Socket<'_>>(self.raw);
        let mut types = Vec::new();
        while let Ok(packet) = socket.recv() {
            types.push(packet[header]);
        }
        types
    }
}

/// Runs everything for two seconds of its own time.
fn run(bed: &mut Bed, hosts: &mut [Host]) {
    for _ in 0..200 {
        bed.pass(10);
        let now = smoltcp::time::Instant::from_millis(i64::try_from(bed.now.as_millis()).unwrap());
        for host in &mut *hosts {
            host.interface.poll(now, &mut host.wire, &mut host.sockets);
            let frames: Vec<_> = host.wire.sent.drain(..).collect();
            for frame in frames {
                bed.route(host.port, frame);
            }
        }
        for (port, frame) in bed.sent() {
            for host in hosts.iter_mut().filter(|host| host.port == port) {
                host.wire.received.push_back(frame.clone());
            }
        }
    }
}

#[test]
fn a_host_finds_us_and_pings_us_and_another_host_through_us() {
    for (v6, header, reply, gateways, pings) in [
        (
            false,
            20,
            0,
            ["10.1.0.1", "10.9.0.1"],
            ("10.1.0.2", ["10.1.0.1", "10.99.0.2", "10.9.0.2"]),
        ),
        (
            true,
            40,
            129,
            ["fd00:1::1", "fd00:9::1"],
            ("fd00:1::2", ["fd00:1::1", "fd00:99::2", "fd00:9::2"]),
        ),
    ] {
        for dst in pings.1 {
            let mut bed = Bed::new();
            let mut hosts = [
                Host::new(
                    ACCESS,
                    CLIENT_MAC,
                    ["10.1.0.2/24", "fd00:1::2/64"],
                    gateways[0],
                    v6,
                ),
                Host::new(
                    CORE,
                    SERVER_MAC,
                    ["10.9.0.2/24", "fd00:9::2/64"],
                    gateways[1],
                    v6,
                ),
            ];
            hosts[0].ping(pings.0, dst);
            run(&mut bed, &mut hosts);
            let heard = hosts[0].heard(header);
            assert!(
                heard.contains(&reply),
                "{dst}: {heard:?} {:?}",
                bed.counted()
            );
        }
    }
}

#[test]
fn a_host_hears_that_nobody_is_there() {
    let mut bed = Bed::new();
    let mut hosts = [Host::new(
        ACCESS,
        CLIENT_MAC,
        ["10.1.0.2/24", "fd00:1::2/64"],
        "10.1.0.1",
        false,
    )];
    hosts[0].ping("10.1.0.2", "10.9.0.77");
    run(&mut bed, &mut hosts);
    run(&mut bed, &mut hosts);
    assert_eq!(hosts[0].heard(20), [3]);
}
