//! A network card of a host, and smoltcp's interface on it: addresses, neighbors, a default route.

use smoltcp::iface::{Config, Interface};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr};
use stack::Instant;
use std::collections::VecDeque;
use std::net::IpAddr;

/// A network card made of two queues.
pub struct Card {
    /// Frames that have arrived.
    pub rx: VecDeque<Vec<u8>>,
    /// Frames to be sent.
    pub tx: VecDeque<Vec<u8>>,
    mtu: usize,
}

/// A frame that has arrived.
pub struct FromWire(Vec<u8>);

/// Where a frame is put that is to be sent.
pub struct ToWire<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for FromWire {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for ToWire<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = FromWire;
    type TxToken<'a> = ToWire<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(FromWire, ToWire<'_>)> {
        let frame = self.rx.pop_front()?;
        Some((FromWire(frame), ToWire(&mut self.tx)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<ToWire<'_>> {
        Some(ToWire(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + 14;
        capabilities
    }
}

impl Card {
    /// A card whose link carries IP packets of up to `mtu` octets, and on it an interface with `addresses` (with prefix
    /// lengths) and a default route by each of `gateways`.
    ///
    /// # Panics
    /// An address that does not parse: a mistake in the scene.
    #[must_use]
    pub fn new(
        mac: [u8; 6],
        mtu: usize,
        addresses: &[String],
        gateways: &[String],
        seed: u64,
    ) -> (Self, Interface) {
        let mut card = Self {
            rx: VecDeque::new(),
            tx: VecDeque::new(),
            mtu,
        };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = seed;
        let mut iface = Interface::new(config, &mut card, SmolInstant::ZERO);
        iface.update_ip_addrs(|addrs| {
            for address in addresses {
                let net: ipnet::IpNet = address.parse().expect("an address of the scene");
                let cidr = IpCidr::new(IpAddress::from(net.addr()), net.prefix_len());
                addrs
                    .push(cidr)
                    .expect("room for the addresses of the scene");
            }
        });
        for gateway in gateways {
            let routes = iface.routes_mut();
            let added = match gateway.parse::<IpAddr>().expect("a gateway of the scene") {
                IpAddr::V4(via) => routes.add_default_ipv4_route(via).map(|_| ()),
                IpAddr::V6(via) => routes.add_default_ipv6_route(via).map(|_| ()),
            };
            added.expect("room for the routes of the scene");
        }
        (card, iface)
    }
}

/// The time as smoltcp counts it. Rounded up: a timer that is due at a fraction must be seen as due when the clock shows it.
#[must_use]
pub fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX))
}
