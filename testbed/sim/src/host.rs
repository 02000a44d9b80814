//! Hosts that we did not write: smoltcp's TCP, and on it what a plan has them send, read and close.

use crate::app::{Endpoint, Role};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpListenEndpoint};
use stack::Instant;
use stack::time::{Duration, earlier};
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::IpAddr;

thread_local! {
    /// Milliseconds of virtual time, for the hosts' timestamps: smoltcp asks a plain function for them.
    static MILLIS: Cell<u32> = const { Cell::new(1) };
}

/// The least time between two polls without news: smoltcp may say that something is due at once, and then do nothing.
const LEAST: Duration = Duration::from_micros(50);

/// A network card made of two queues.
struct Card {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
    mtu: usize,
}

struct FromWire(Vec<u8>);
struct ToWire<'a>(&'a mut VecDeque<Vec<u8>>);

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

/// What a host's sockets are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habits {
    /// Octets of each socket's buffers.
    pub buffer: usize,
    /// Whether it offers timestamps.
    pub timestamps: bool,
    /// Whether it heeds congestion (RFC 5681), or sends all that the window takes.
    pub reno: bool,
    /// Largest IP packet of its link.
    pub mtu: usize,
    /// Whether it gives up on a peer that is silent for ten minutes. A host that does not waits for ever, so that nothing
    /// but the boxes can end a wait.
    pub gives_up: bool,
}

/// A host with one interface, and the ends of flows on it.
pub struct Host {
    card: Card,
    iface: Interface,
    sockets: SocketSet<'static>,
    habits: Habits,
    /// Its ends of flows, in the order of the plan.
    pub ends: Vec<Endpoint>,
    due: Option<Instant>,
}

fn smol(now: Instant) -> SmolInstant {
    // Rounded up: a timer that is due at a fraction must be seen as due when the clock shows it.
    SmolInstant::from_micros(i64::try_from(now.as_nanos().div_ceil(1_000)).unwrap_or(i64::MAX))
}

impl Host {
    /// A host with `addresses` (with prefix lengths) and a default route by each of `gateways`.
    ///
    /// # Panics
    /// An address that does not parse: a mistake in the scene.
    #[must_use]
    pub fn new(
        mac: [u8; 6],
        addresses: &[&str],
        gateways: &[&str],
        habits: Habits,
        seed: u64,
    ) -> Self {
        let mut card = Card {
            rx: VecDeque::new(),
            tx: VecDeque::new(),
            mtu: habits.mtu,
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
        Self {
            card,
            iface,
            sockets: SocketSet::new(Vec::new()),
            habits,
            ends: Vec::new(),
            due: None,
        }
    }

    fn socket(&self) -> tcp::Socket<'static> {
        let buffer = || tcp::SocketBuffer::new(vec![0; self.habits.buffer]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        if self.habits.timestamps {
            socket.set_tsval_generator(Some(|| MILLIS.with(Cell::get)));
        }
        socket.set_nagle_enabled(false);
        socket.set_congestion_control(if self.habits.reno {
            tcp::CongestionControl::Reno
        } else {
            tcp::CongestionControl::None
        });
        if self.habits.gives_up {
            socket.set_keep_alive(Some(SmolDuration::from_secs(60)));
            socket.set_timeout(Some(SmolDuration::from_secs(600)));
        }
        socket
    }

    /// Adds an end of a flow; one that waits for the other listens from now on.
    ///
    /// # Panics
    /// Two ends listen on one port.
    pub fn add(&mut self, mut end: Endpoint) {
        let mut socket = self.socket();
        if let Role::Waits { port } = end.role {
            let listens = socket.listen(IpListenEndpoint { addr: None, port });
            listens.expect("a port of its own");
        }
        end.socket = Some(self.sockets.add(socket));
        self.due = earlier(self.due, Some(end.opens));
        self.ends.push(end);
    }

    /// A frame has arrived.
    pub fn deliver(&mut self, now: Instant, frame: Vec<u8>) {
        self.card.rx.push_back(frame);
        self.due = Some(now);
    }

    /// When [`poll`](Self::poll) has something to do.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Runs until it has nothing more to do at this moment; frames go to `out`.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        let clock = u32::try_from(now.as_millis() & 0xffff_ffff).unwrap_or(0);
        MILLIS.with(|millis| millis.set(clock));
        loop {
            let sent = self.card.tx.len();
            self.iface
                .poll(smol(now), &mut self.card, &mut self.sockets);
            let mut moved = self.card.tx.len() > sent;
            for end in &mut self.ends {
                let Some(handle) = end.socket else { continue };
                let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
                moved |= end.run(now, socket, self.iface.context());
            }
            if !moved {
                break;
            }
        }
        out.extend(self.card.tx.drain(..));
        let mut delay = self.iface.poll_delay(smol(now), &self.sockets);
        if delay.is_none() && self.nudge() {
            delay = self.iface.poll_delay(smol(now), &self.sockets);
        }
        let at = delay.map(|delay| now + Duration::from_micros(delay.total_micros()).max(LEAST));
        let plans = self.ends.iter().filter_map(|end| end.next_step(now)).min();
        self.due = earlier(at, plans);
    }

    /// smoltcp may lose the timer of an end of stream that is not acknowledged, and then waits for ever: a fault of the
    /// host's. Acknowledgments that repeat themselves bring it back to its senses, so it is made to ask for some.
    fn nudge(&mut self) -> bool {
        let mut nudged = false;
        for end in &mut self.ends {
            let Some(handle) = end.socket else { continue };
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(handle);
            let closing = matches!(
                socket.state(),
                tcp::State::FinWait1 | tcp::State::Closing | tcp::State::LastAck
            );
            if closing && socket.keep_alive().is_none() {
                socket.set_keep_alive(Some(SmolDuration::from_secs(1)));
                end.nudged = true;
                nudged = true;
            }
        }
        nudged
    }

    /// Ends flow `flow` by force.
    pub fn abort(&mut self, now: Instant, flow: usize) {
        for end in self.ends.iter().filter(|end| end.flow == flow) {
            let Some(handle) = end.socket else { continue };
            self.sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
        }
        self.due = Some(now);
    }
}
