//! What runs on a host: one end of a flow, which sends a stream, compares what comes with what must come, and closes.

use crate::oracle::{Failure, Reference};
use crate::stream::Stream;
use smoltcp::iface::SocketHandle;
use stack::Instant;
use stack::time::Duration;
use std::net::IpAddr;

/// Who opens a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This end.
    Opens {
        /// From this port.
        from: u16,
        /// To this address.
        to: IpAddr,
        /// And this port there.
        port: u16,
    },
    /// The other end, to this port here.
    Waits {
        /// Of our own.
        port: u16,
    },
}

/// When an end closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Once it has sent all.
    WhenSent,
    /// Once it has sent all and the other end has closed.
    AfterPeer,
    /// It resets the connection once so many octets have come.
    Abort(u64),
}

/// That an end stops reading for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// After so many octets.
    pub after: u64,
    /// For so long.
    pub lasts: Duration,
}

/// A connection as a host's TCP, whichever it is, offers it to what runs on the host.
pub trait Socket {
    /// Opens it, from port `from` if the host lets one choose.
    fn open(&mut self, from: u16, to: IpAddr, port: u16);
    /// Whether the handshake is through, and this end not closed.
    fn is_up(&self) -> bool;
    /// Whether it waits for somebody to open.
    fn listens(&self) -> bool;
    /// Whether nothing is left of it.
    fn is_closed(&self) -> bool;
    /// Whether it can neither send nor get anything new.
    fn has_ended(&self) -> bool;
    /// Whether there is something to be read.
    fn can_recv(&mut self) -> bool;
    /// Gives what there is to `take`, which says how many octets of it were read.
    fn recv(&mut self, take: &mut dyn FnMut(&[u8]) -> usize);
    /// Whether the other end's stream has ended, and all before it was read.
    fn is_finished(&mut self) -> bool;
    /// Whether it takes octets to be sent.
    fn can_send(&self) -> bool;
    /// Takes octets to be sent; how many.
    fn send(&mut self, data: &[u8]) -> usize;
    /// Whether it can be closed now, and still does all that a TCP must.
    fn may_close(&self) -> bool;
    /// Ends what this end sends.
    fn close(&mut self);
    /// Resets it.
    fn abort(&mut self);
}

/// One end of a flow.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Which flow, in the order of the plan.
    pub flow: usize,
    /// Who opens.
    pub role: Role,
    /// When it opens.
    pub opens: Instant,
    /// What it sends.
    pub sends: Stream,
    /// When it closes.
    pub close: Close,
    /// That it stops reading for a while.
    pub pause: Option<Pause>,
    /// What must come.
    pub expects: Reference,
    /// Its socket, once it has one.
    pub socket: Option<SocketHandle>,
    /// Octets of what it sends that the socket has taken.
    pub sent: u64,
    /// Whether the other end's stream has ended with a FIN, and all before it was read.
    pub finished: bool,
    /// Whether it is over: it can neither send nor receive any more.
    pub over: bool,
    /// Whether it still waits for somebody to open.
    pub listens: bool,
    /// Whether its host forgot to send something again, and had to be reminded.
    pub nudged: bool,
    /// What it found wrong.
    pub failure: Option<Failure>,
    opened: bool,
    up: bool,
    closed: bool,
    reads_again: Option<Instant>,
}

impl Endpoint {
    /// An end of flow number `flow` that has not begun.
    #[must_use]
    pub fn new(flow: usize, role: Role, opens: Instant, sends: Stream, expects: Reference) -> Self {
        Self {
            flow,
            role,
            opens,
            sends,
            close: Close::AfterPeer,
            pause: None,
            expects,
            socket: None,
            sent: 0,
            finished: false,
            over: false,
            listens: false,
            nudged: false,
            failure: None,
            opened: matches!(role, Role::Waits { .. }),
            up: false,
            closed: false,
            reads_again: None,
        }
    }

    /// When it does something although nothing arrives.
    #[must_use]
    pub fn next_step(&self, now: Instant) -> Option<Instant> {
        let opens = (!self.opened).then_some(self.opens);
        [opens, self.reads_again]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .min()
    }

    /// Whether all that was sent to it has come, and its end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.finished && self.expects.is_complete()
    }

    /// Does what can be done now; whether the socket may have something to send.
    pub fn run(&mut self, now: Instant, socket: &mut dyn Socket) -> bool {
        if !self.opened && self.opens <= now {
            self.opened = true;
            if let Role::Opens { from, to, port } = self.role {
                socket.open(from, to, port);
            }
            return true;
        }
        self.listens = false;
        self.up |= socket.is_up();
        if !self.up {
            self.over = self.opened && socket.is_closed();
            self.listens = socket.listens();
            return false;
        }
        let mut moved = self.receive(now, socket);
        moved |= self.send(socket);
        moved |= self.end(socket);
        self.over = socket.has_ended() && !socket.can_recv();
        moved
    }

    fn receive(&mut self, now: Instant, socket: &mut dyn Socket) -> bool {
        if self.reads_again.is_some_and(|at| now < at) {
            return false;
        }
        self.reads_again = None;
        let mut moved = false;
        while socket.can_recv() {
            let limit = self
                .pause
                .map(|pause| pause.after.saturating_sub(self.expects.got()));
            if limit == Some(0) {
                self.reads_again = self.pause.take().map(|pause| now + pause.lasts);
                return moved;
            }
            let limit = limit.map_or(usize::MAX, |limit| {
                usize::try_from(limit).unwrap_or(usize::MAX)
            });
            let flow = self.flow;
            let expects = &mut self.expects;
            let failure = &mut self.failure;
            socket.recv(&mut |data| {
                let part = &data[..data.len().min(limit)];
                if let Err(wrong) = expects.take(flow, part) {
                    failure.get_or_insert(wrong);
                }
                part.len()
            });
            moved = true;
        }
        if !self.finished && socket.is_finished() {
            self.finished = true;
            if let Err(cut) = self.expects.end(self.flow) {
                self.failure.get_or_insert(cut);
            }
        }
        moved
    }

    fn send(&mut self, socket: &mut dyn Socket) -> bool {
        let mut moved = false;
        while self.sent < self.sends.len && socket.can_send() {
            let mut part = [0; 4096];
            let len = (self.sends.len - self.sent).min(4096);
            let part = &mut part[..usize::try_from(len).unwrap_or(0)];
            self.sends.fill(self.sent, part);
            let taken = socket.send(part);
            if taken == 0 {
                break;
            }
            self.sent += taken as u64;
            moved = true;
        }
        moved
    }

    fn end(&mut self, socket: &mut dyn Socket) -> bool {
        let all_sent = self.sent == self.sends.len;
        let now = match self.close {
            Close::WhenSent => all_sent,
            Close::AfterPeer => all_sent && self.finished,
            Close::Abort(after) if self.expects.got() >= after => {
                let first = !self.closed;
                self.closed = true;
                if first {
                    socket.abort();
                }
                return first;
            },
            Close::Abort(_) => all_sent && self.finished,
        };
        let now = now && !self.closed && socket.may_close();
        if now {
            self.closed = true;
            socket.close();
        }
        now
    }
}
