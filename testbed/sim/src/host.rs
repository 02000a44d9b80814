//! Hosts that we did not write: smoltcp's TCP, and on it what a plan has them send, read and close.

use crate::app::{Endpoint, Role, Socket};
use crate::card::{Card, smol};
use crate::ecn::Ecn;
use crate::probes::Probes;
use smoltcp::iface::{Context, Interface, SocketSet};
use smoltcp::socket::tcp;
use smoltcp::time::Duration as SmolDuration;
use smoltcp::wire::{IpAddress, IpListenEndpoint};
use stack::Instant;
use stack::time::{Duration, earlier};
use std::cell::Cell;
use std::net::IpAddr;

thread_local! {
    /// Milliseconds of virtual time, for the hosts' timestamps: smoltcp asks a plain function for them.
    static MILLIS: Cell<u32> = const { Cell::new(1) };
}

/// The least time between two polls without news: smoltcp may say that something is due at once, and then do nothing.
const LEAST: Duration = Duration::from_micros(50);

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
    /// Whether it understands congestion marks (RFC 3168).
    pub ecn: bool,
    /// Whether it waits for a full segment while something is under way (RFC 1122 4.2.3.4), as hosts with much to send do;
    /// else it sends whatever the window takes, however little.
    pub nagle: bool,
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
    ecn: Option<Ecn>,
    probes: Probes,
    /// Its ends of flows, in the order of the plan.
    pub ends: Vec<Endpoint>,
    due: Option<Instant>,
}

impl Host {
    /// A host with `addresses` (with prefix lengths) and a default route by each of `gateways`.
    #[must_use]
    pub fn new(
        mac: [u8; 6],
        addresses: &[String],
        gateways: &[String],
        habits: Habits,
        seed: u64,
    ) -> Self {
        let (card, iface) = Card::new(mac, habits.mtu, addresses, gateways, seed);
        Self {
            card,
            iface,
            sockets: SocketSet::new(Vec::new()),
            habits,
            ecn: habits.ecn.then(Ecn::default),
            probes: Probes::default(),
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
        socket.set_nagle_enabled(self.habits.nagle);
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
        if let Some(ecn) = &mut self.ecn {
            ecn.arrives(&frame);
        }
        self.card.rx.push_back(self.probes.arrives(frame));
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
                let mut socket = Smoltcp(socket, self.iface.context());
                moved |= end.run(now, &mut socket);
            }
            if !moved {
                break;
            }
        }
        for frame in self.card.tx.drain(..) {
            let frame = self.probes.leaves(frame);
            out.push(match &mut self.ecn {
                Some(ecn) => ecn.leaves(frame),
                None => frame,
            });
        }
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

/// One of its sockets, and what it takes to open it.
struct Smoltcp<'a>(&'a mut tcp::Socket<'static>, &'a mut Context);

impl Socket for Smoltcp<'_> {
    fn open(&mut self, from: u16, to: IpAddr, port: u16) {
        let opens = self.0.connect(self.1, (IpAddress::from(to), port), from);
        opens.expect("a socket of its own");
    }

    fn is_up(&self) -> bool {
        self.0.may_send()
    }

    fn listens(&self) -> bool {
        self.0.state() == tcp::State::Listen
    }

    fn is_closed(&self) -> bool {
        self.0.state() == tcp::State::Closed
    }

    fn has_ended(&self) -> bool {
        matches!(
            self.0.state(),
            tcp::State::Closed | tcp::State::TimeWait | tcp::State::Listen
        )
    }

    fn can_recv(&mut self) -> bool {
        self.0.can_recv()
    }

    fn recv(&mut self, take: &mut dyn FnMut(&[u8]) -> usize) {
        // Nothing to receive: the caller has asked before.
        let _ = self.0.recv(|data| (take(data), ()));
    }

    fn is_finished(&mut self) -> bool {
        matches!(self.0.recv(|_| (0, ())), Err(tcp::RecvError::Finished))
    }

    fn can_send(&self) -> bool {
        self.0.can_send()
    }

    fn send(&mut self, data: &[u8]) -> usize {
        self.0.send_slice(data).unwrap_or(0)
    }

    /// In LAST-ACK smoltcp drops what acknowledges nothing new before it has looked at the window (RFC 9293 3.10.7.4 looks
    /// at it): one that was closed never opens again, and what waits for it is never sent. So an end whose peer has closed
    /// before it closes when all that it has sent is acknowledged.
    fn may_close(&self) -> bool {
        self.0.state() != tcp::State::CloseWait || self.0.send_queue() == 0
    }

    fn close(&mut self) {
        self.0.close();
    }

    fn abort(&mut self) {
        self.0.abort();
    }
}
