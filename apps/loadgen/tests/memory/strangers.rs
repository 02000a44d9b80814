//! A server that we did not write: smoltcp's TCP, and the pattern computed anew from its definition.

use dataplane::memory::linear;
use dataplane::{MemPort, MemWire};
use loadgen::Report;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr};
use stack::time::Duration;
use stack::{Instant, Rng};

use crate::common::{generator, info};

/// A network card on the far end of a wire.
struct Card(MemWire);
struct FromWire(Vec<u8>);
struct ToWire<'a>(&'a MemWire);

impl RxToken for FromWire {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for ToWire<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.put(frame);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = FromWire;
    type TxToken<'a> = ToWire<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(FromWire, ToWire<'_>)> {
        let frame = self.0.take()?;
        Some((FromWire(linear(&frame)), ToWire(&self.0)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<ToWire<'_>> {
        Some(ToWire(&self.0))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// The octet at `at` of the answer to a request of `seed`.
fn octet(string: &[u8], seed: u32, at: u64) -> u8 {
    let place = u64::from(seed) * 1400 + at;
    string[(place % string.len() as u64) as usize]
}

/// Reads requests of 24 octets and answers each; the octet at `spoiled` of a connection's answers is wrong.
struct Answerer {
    string: Vec<u8>,
    spoiled: Option<u64>,
    seed: u32,
    left: u64,
    at: u64,
}

impl Answerer {
    fn run(&mut self, socket: &mut tcp::Socket<'_>) {
        if self.left == 0 && socket.recv_queue() >= 24 {
            let mut header = [0; 24];
            socket.recv_slice(&mut header).unwrap();
            assert_eq!(header[..4], *b"flow");
            self.seed = u32::from_be_bytes(header[4..8].try_into().unwrap());
            self.left = u64::from_be_bytes(header[16..].try_into().unwrap());
            self.at = 0;
        }
        while self.left > 0 && socket.can_send() {
            let mut octet = octet(&self.string, self.seed, self.at);
            if self.spoiled == Some(self.at) {
                octet ^= 1;
            }
            if socket.send_slice(&[octet]).unwrap() == 0 {
                break;
            }
            self.left -= 1;
            self.at += 1;
        }
        if socket.state() == tcp::State::CloseWait && self.left == 0 {
            socket.close();
        }
        if !socket.is_open() {
            socket.listen(80).unwrap();
        }
    }
}

fn against_smoltcp(client: &str, spoiled: Option<u64>) -> Report {
    let yaml = format!(
        "ports: [{{ name: c, device: x, role: client, addresses: [10.1.0.2/24] }}]\n\
         client: {{ to: 10.1.0.9:80, connections: 1, {client} }}\n"
    );
    let (port, wire) = MemPort::with_wire(info("c"));
    let mut generator = generator(&yaml, vec![port]);
    let mut card = Card(wire);
    let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 9, 9]));
    let mut iface = Interface::new(Config::new(mac), &mut card, SmolInstant::ZERO);
    let address: IpCidr = "10.1.0.9/24".parse().unwrap();
    iface.update_ip_addrs(|addresses| addresses.push(address).unwrap());
    let buffer = || tcp::SocketBuffer::new(vec![0; 64 << 10]);
    let mut sockets = SocketSet::new(Vec::new());
    let handle: SocketHandle = sockets.add(tcp::Socket::new(buffer(), buffer()));
    let mut string = vec![0; 1400 * 31];
    Rng::from_u64(1).fill(&mut string);
    let mut answerer = Answerer {
        string,
        spoiled,
        seed: 0,
        left: 0,
        at: 0,
    };
    let mut now = Instant::ZERO;
    while !generator.app().is_over() {
        generator.poll(now);
        let micros = i64::try_from(now.as_nanos() / 1_000).unwrap();
        iface.poll(SmolInstant::from_micros(micros), &mut card, &mut sockets);
        answerer.run(sockets.get_mut(handle));
        now = now + Duration::from_micros(50);
        assert!(now.as_millis() < 60_000, "the run does not end");
    }
    generator.app().report()
}

#[test]
fn another_stacks_server_is_asked_and_its_answers_are_verified() {
    let report = against_smoltcp("requests: 5, response: 5000, duration: 500ms", None);
    let client = report.client.unwrap();
    assert!(client.requests.done > 20, "{client:?}");
    assert_eq!((client.pieces_wrong, client.connections.reset), (0, 0));
    assert!(client.connections.closed >= 3, "{client:?}");
}

#[test]
fn an_octet_that_is_wrong_is_noticed() {
    let report = against_smoltcp("response: 5000, duration: 200ms", Some(4_999));
    let client = report.client.unwrap();
    assert!(client.pieces_wrong > 0, "{client:?}");
    assert_eq!(client.requests.done, 0);
}
