//! A host that speaks Multipath TCP by itself, on two access networks and without a box of ours in front of it: mptcp-rs,
//! a client of version 1 that we did not write, over smoltcp's neighbors and raw sockets.

use crate::app::{Endpoint, Role, Socket};
use crate::card::{Card, smol};
use mptcp_rs::{
    CloseReason, ConnectConfig, ConnectionHandle, Event, Instant as RsInstant, ReadError,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use smoltcp::iface::{Interface, SocketHandle, SocketSet};
use smoltcp::socket::raw;
use smoltcp::wire::IpProtocol;
use stack::Instant;
use stack::time::{Duration, earlier};
use std::net::{IpAddr, SocketAddr};

/// Largest IP packet.
const MTU: u16 = 1500;

/// The least time between two polls without news.
const LEAST: Duration = Duration::from_micros(50);

/// How long after the end of an additional subflow another is opened.
const AGAIN: Duration = Duration::from_secs(2);

/// Octets that an end reads at once.
const READ: usize = 4096;

type Stack = mptcp_rs::Endpoint<ChaCha20Rng>;

const fn rs(now: Instant) -> RsInstant {
    RsInstant::from_nanos(now.as_nanos())
}

/// An access network of the host.
struct Access {
    card: Card,
    iface: Interface,
    sockets: SocketSet<'static>,
    raw: SocketHandle,
    addresses: Vec<IpAddr>,
}

impl Access {
    fn new(access: usize, addresses: &[String], gateways: &[String], seed: u64) -> Self {
        let last = u8::try_from(access).unwrap_or(0);
        let mac = [2, 0, 0, 0, 0xaa, last];
        let (card, iface) = Card::new(mac, MTU.into(), addresses, gateways, seed);
        let buffer = || {
            let packets = vec![raw::PacketMetadata::EMPTY; 1024];
            raw::PacketBuffer::new(packets, vec![0; 1 << 20])
        };
        let mut sockets = SocketSet::new(Vec::new());
        let raw = raw::Socket::new(None, Some(IpProtocol::Tcp), buffer(), buffer());
        let bare = |text: &String| text.split('/').next().and_then(|text| text.parse().ok());
        Self {
            raw: sockets.add(raw),
            card,
            iface,
            sockets,
            addresses: addresses.iter().filter_map(bare).collect(),
        }
    }

    /// Lets its interface run; whether anything moved.
    fn poll(&mut self, now: Instant) -> bool {
        let frames = self.card.rx.len() + self.card.tx.len();
        self.iface
            .poll(smol(now), &mut self.card, &mut self.sockets);
        self.card.rx.len() + self.card.tx.len() != frames
    }

    fn raw(&mut self) -> &mut raw::Socket<'static> {
        self.sockets.get_mut(self.raw)
    }
}

/// A connection of one of its ends.
#[derive(Default)]
struct Link {
    handle: Option<ConnectionHandle>,
    connected: bool,
    closed: bool,
    /// Whether both streams came to their ends.
    ended: bool,
    finished: bool,
    /// What was read and not yet taken.
    read: Vec<u8>,
    /// When another subflow is to be opened, and to where.
    joins: Option<(Instant, SocketAddr)>,
}

/// The host.
pub struct Native {
    accesses: Vec<Access>,
    stack: Stack,
    buffer: u32,
    links: Vec<Link>,
    /// Its ends of flows, in the order of the plan.
    pub ends: Vec<Endpoint>,
    due: Option<Instant>,
}

impl Native {
    /// A host on access networks at each of which it has `addresses` (with prefix lengths) and gateways, and whose
    /// connections have `buffer` octets each way.
    #[must_use]
    pub fn new(accesses: &[(Vec<String>, Vec<String>)], buffer: u32, seed: u64) -> Self {
        let accesses = (1..).zip(accesses);
        let access = accesses
            .map(|(n, (addresses, gateways))| Access::new(n, addresses, gateways, seed ^ n as u64));
        Self {
            accesses: access.collect(),
            stack: Stack::new(ChaCha20Rng::seed_from_u64(seed)),
            buffer,
            links: Vec::new(),
            ends: Vec::new(),
            due: None,
        }
    }

    /// Adds an end of a flow, which it opens: it waits for nobody.
    ///
    /// # Panics
    /// The end waits for the other to open: a mistake in the scene.
    pub fn add(&mut self, end: Endpoint) {
        assert!(matches!(end.role, Role::Opens { .. }), "a client opens");
        self.due = earlier(self.due, Some(end.opens));
        self.links.push(Link::default());
        self.ends.push(end);
    }

    /// A frame has arrived by its access network `card`.
    pub fn deliver(&mut self, now: Instant, card: usize, frame: Vec<u8>) {
        self.accesses[card].card.rx.push_back(frame);
        self.due = Some(now);
    }

    /// When [`poll`](Self::poll) has something to do.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Runs until it has nothing more to do at this moment; frames go to `out` with the card that they leave by.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        if self.stack.poll_timeout().is_some_and(|at| at <= rs(now)) {
            self.stack.handle_timeout(rs(now));
        }
        loop {
            let mut moved = self.take_in(now);
            moved |= self.run(now);
            moved |= self.send(now);
            for access in &mut self.accesses {
                moved |= access.poll(now);
            }
            if !moved {
                break;
            }
        }
        for (card, access) in self.accesses.iter_mut().enumerate() {
            out.extend(access.card.tx.drain(..).map(|frame| (card, frame)));
        }
        self.due = self.next(now);
    }

    fn next(&mut self, now: Instant) -> Option<Instant> {
        let timeout = self.stack.poll_timeout();
        let stack = timeout.map(|at| Instant::from_nanos(at.as_nanos()).max(now + LEAST));
        let accesses = self.accesses.iter_mut().filter_map(|access| {
            let delay = access.iface.poll_delay(smol(now), &access.sockets)?;
            Some(now + Duration::from_micros(delay.total_micros()).max(LEAST))
        });
        let accesses = accesses.min();
        let ends = self.ends.iter().filter_map(|end| end.next_step(now)).min();
        let joins = self.links.iter().filter_map(|link| link.joins);
        let joins = joins.map(|(at, _)| at.max(now + LEAST)).min();
        [stack, accesses, ends, joins].into_iter().flatten().min()
    }

    /// Gives what has arrived to the stack.
    fn take_in(&mut self, now: Instant) -> bool {
        let mut moved = false;
        for access in &mut self.accesses {
            moved |= access.poll(now);
            while let Ok(packet) = access.raw().recv() {
                self.stack.handle_packet(rs(now), packet);
                moved = true;
            }
        }
        while let Some((handle, event)) = self.stack.poll_event() {
            moved = true;
            let of = |link: &&mut Link| link.handle == Some(handle);
            let Some(link) = self.links.iter_mut().find(of) else {
                continue;
            };
            match event {
                Event::Connected { .. } => link.connected = true,
                Event::Closed { reason } => {
                    // Where all was read, the end of the other's stream goes with the connection.
                    link.ended = reason == CloseReason::Normal;
                    (link.closed, link.joins) = (true, None);
                },
                Event::AddressAnnounced { addr, .. } => link.joins = Some((now, addr)),
                Event::SubflowDown { .. } => {
                    link.joins = link.joins.map(|(_, addr)| (now + AGAIN, addr));
                },
                _ => {},
            }
        }
        moved
    }

    /// Has the ends do what they can, and opens subflows that are due.
    fn run(&mut self, now: Instant) -> bool {
        let mut moved = false;
        for (end, link) in self.ends.iter_mut().zip(&mut self.links) {
            let mut connection = Connection {
                now,
                local: &self.accesses[0].addresses,
                stack: &mut self.stack,
                buffer: self.buffer,
                link,
            };
            moved |= end.run(now, &mut connection);
            let Some(handle) = link.handle else { continue };
            if let Some((_, to)) = link.joins.take_if(|(at, _)| *at <= now) {
                for access in &self.accesses[1..] {
                    let local = access
                        .addresses
                        .iter()
                        .find(|ip| ip.is_ipv4() == to.is_ipv4());
                    if let Some(local) = local {
                        // Refused where the connection has fallen back or is at its end.
                        let join = self
                            .stack
                            .add_subflow(rs(now), handle, *local, to, MTU, false);
                        moved |= join.is_ok();
                    }
                }
            }
        }
        moved
    }

    fn send(&mut self, now: Instant) -> bool {
        let mut packet = [0; MTU as usize];
        let mut moved = false;
        while let Some(len) = self.stack.poll_transmit(rs(now), &mut packet) {
            let packet = &packet[..len];
            moved = true;
            let from = source(packet);
            let ours = |access: &&mut Access| access.addresses.iter().any(|ip| Some(*ip) == from);
            if let Some(access) = self.accesses.iter_mut().find(ours) {
                // A full queue loses what it has no room for, as a host's does.
                let _ = access.raw().send_slice(packet);
            }
        }
        moved
    }

    /// Ends flow `flow` by force.
    pub fn abort(&mut self, now: Instant, flow: usize) {
        for (end, link) in self.ends.iter().zip(&self.links) {
            let connection = link.handle.and_then(|handle| self.stack.connection(handle));
            if let Some(connection) = connection.filter(|_| end.flow == flow) {
                connection.abort();
            }
        }
        self.due = Some(now);
    }
}

/// The source address of an IP packet.
fn source(packet: &[u8]) -> Option<IpAddr> {
    if packet.first()? >> 4 == 4 {
        let octets: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
        Some(octets.into())
    } else {
        let octets: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
        Some(octets.into())
    }
}

/// One of its connections, and what it takes to open it.
struct Connection<'a> {
    now: Instant,
    local: &'a [IpAddr],
    stack: &'a mut Stack,
    buffer: u32,
    link: &'a mut Link,
}

impl Connection<'_> {
    fn get(&mut self) -> Option<&mut mptcp_rs::Connection> {
        self.stack.connection(self.link.handle?)
    }

    /// Reads ahead, so that it is known whether there is anything.
    fn read_ahead(&mut self) {
        if !self.link.read.is_empty() || self.link.finished {
            return;
        }
        let mut into = [0; READ];
        match self.get().map(|connection| connection.read(&mut into)) {
            Some(Ok(0)) => self.link.finished = true,
            Some(Ok(len)) => self.link.read.extend(&into[..len]),
            Some(Err(ReadError::Reset)) => self.link.closed = true,
            None => self.link.finished = self.link.ended,
            Some(Err(_)) => {},
        }
    }
}

impl Socket for Connection<'_> {
    fn open(&mut self, _from: u16, to: IpAddr, port: u16) {
        let mut config = ConnectConfig::default();
        (config.send_buffer, config.recv_buffer) = (self.buffer, self.buffer);
        let local = self.local.iter().find(|ip| ip.is_ipv4() == to.is_ipv4());
        let local = *local.expect("an address of each family on the primary access");
        let to = SocketAddr::new(to, port);
        let opened = self.stack.connect_mptcp(rs(self.now), local, to, config);
        self.link.handle = Some(opened.expect("a connection of its own"));
    }

    fn is_up(&self) -> bool {
        self.link.connected && !self.link.closed
    }

    fn listens(&self) -> bool {
        false
    }

    fn is_closed(&self) -> bool {
        self.link.closed
    }

    fn has_ended(&self) -> bool {
        self.link.closed
    }

    fn can_recv(&mut self) -> bool {
        self.read_ahead();
        !self.link.read.is_empty()
    }

    fn recv(&mut self, take: &mut dyn FnMut(&[u8]) -> usize) {
        let taken = take(&self.link.read);
        self.link.read.drain(..taken);
    }

    fn is_finished(&mut self) -> bool {
        self.read_ahead();
        self.link.finished && self.link.read.is_empty()
    }

    fn can_send(&self) -> bool {
        !self.link.closed
    }

    fn send(&mut self, data: &[u8]) -> usize {
        self.get()
            .and_then(|connection| connection.write(data).ok())
            .unwrap_or(0)
    }

    fn may_close(&self) -> bool {
        true
    }

    fn close(&mut self) {
        if let Some(connection) = self.get() {
            connection.close();
        }
    }

    fn abort(&mut self) {
        if let Some(connection) = self.get() {
            connection.abort();
        }
    }
}
