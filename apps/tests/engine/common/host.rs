//! A host that we did not write: smoltcp's TCP over a queue of frames.

use super::sim::Node;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpListenEndpoint};
use stack::Instant;
use stack::time::Duration;
use std::collections::VecDeque;
use std::net::IpAddr;

/// A network card made of two queues.
pub struct Wire {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
    mtu: usize,
}

pub struct Received(Vec<u8>);
pub struct Sent<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(Received, Sent<'_>)> {
        let frame = self.rx.pop_front()?;
        Some((Received(frame), Sent(&mut self.tx)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Sent<'_>> {
        Some(Sent(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities
    }
}

/// A host with one interface.
pub struct Host {
    wire: Wire,
    iface: Interface,
    pub sockets: SocketSet<'static>,
    buffer: usize,
}

fn smol(now: Instant) -> SmolInstant {
    // Rounded up: a timer that is due at a fraction must be seen as due when the clock shows it.
    SmolInstant::from_micros(i64::try_from(now.as_nanos().div_ceil(1_000)).unwrap())
}

impl Host {
    /// A host with `addresses` (with prefix lengths) and a default route by each of `gateways`.
    pub fn new(mac: [u8; 6], addresses: &[&str], gateways: &[&str], seed: u64) -> Self {
        let mut wire = Wire {
            rx: VecDeque::new(),
            tx: VecDeque::new(),
            mtu: 1500,
        };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut wire, SmolInstant::ZERO);
        iface.update_ip_addrs(|addrs| {
            for address in addresses {
                let net: ipnet::IpNet = address.parse().unwrap();
                let cidr = IpCidr::new(IpAddress::from(net.addr()), net.prefix_len());
                addrs.push(cidr).unwrap();
            }
        });
        for gateway in gateways {
            match gateway.parse::<IpAddr>().unwrap() {
                IpAddr::V4(via) => iface.routes_mut().add_default_ipv4_route(via).map(|_| ()),
                IpAddr::V6(via) => iface.routes_mut().add_default_ipv6_route(via).map(|_| ()),
            }
            .unwrap();
        }
        Self {
            wire,
            iface,
            sockets: SocketSet::new(Vec::new()),
            buffer: 256 << 10,
        }
    }

    /// The same host with so much room in each direction of each of its sockets, octets.
    pub fn with_buffer(mut self, octets: usize) -> Self {
        self.buffer = octets;
        self
    }

    fn socket(&self) -> tcp::Socket<'static> {
        let mut socket = tcp::Socket::new(
            tcp::SocketBuffer::new(vec![0; self.buffer]),
            tcp::SocketBuffer::new(vec![0; self.buffer]),
        );
        // A workspace is built with the features that any of it asks for: without a word the control would depend on them.
        socket.set_congestion_control(tcp::CongestionControl::None);
        socket.set_tsval_generator(Some(|| 1));
        socket.set_nagle_enabled(false);
        socket
    }

    /// A socket that waits for a connection to `port`.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let mut socket = self.socket();
        socket
            .listen(IpListenEndpoint { addr: None, port })
            .unwrap();
        self.sockets.add(socket)
    }

    /// A socket that connects from `local_port` to `remote`.
    pub fn connect(&mut self, local_port: u16, remote: (&str, u16)) -> SocketHandle {
        let mut socket = self.socket();
        let address: IpAddr = remote.0.parse().unwrap();
        socket
            .connect(
                self.iface.context(),
                (IpAddress::from(address), remote.1),
                local_port,
            )
            .unwrap();
        self.sockets.add(socket)
    }

    /// The socket behind `handle`.
    pub fn tcp(&mut self, handle: SocketHandle) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(handle)
    }

    /// Sends as much of `data` as fits; how much that was.
    pub fn send(&mut self, handle: SocketHandle, data: &[u8]) -> usize {
        let socket = self.tcp(handle);
        if socket.can_send() {
            socket.send_slice(data).unwrap()
        } else {
            0
        }
    }

    /// Appends all that has arrived to `into`.
    pub fn recv(&mut self, handle: SocketHandle, into: &mut Vec<u8>) {
        let socket = self.tcp(handle);
        while socket.can_recv() {
            socket
                .recv(|data| {
                    into.extend_from_slice(data);
                    (data.len(), ())
                })
                .unwrap();
        }
    }
}

impl Node for Host {
    fn deliver(&mut self, _now: Instant, _nic: usize, frame: Vec<u8>) {
        self.wire.rx.push_back(frame);
    }

    fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        self.iface
            .poll(smol(now), &mut self.wire, &mut self.sockets);
        out.extend(self.wire.tx.drain(..).map(|frame| (0, frame)));
    }

    fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let delay = self.iface.poll_delay(smol(now), &self.sockets)?;
        Some(now + Duration::from_micros(delay.total_micros()))
    }
}
