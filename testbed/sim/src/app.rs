//! What runs on a host: one end of a flow, which sends a stream, compares what comes with what must come, and closes.

use crate::oracle::{Failure, Reference};
use crate::stream::Stream;
use smoltcp::iface::{Context, SocketHandle};
use smoltcp::socket::tcp::{RecvError, Socket, State};
use smoltcp::wire::IpAddress;
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
    pub fn run(&mut self, now: Instant, socket: &mut Socket<'static>, cx: &mut Context) -> bool {
        if !self.opened && self.opens <= now {
            self.opened = true;
            if let Role::Opens { from, to, port } = self.role {
                let opens = socket.connect(cx, (IpAddress::from(to), port), from);
                opens.expect("a socket of its own");
            }
            return true;
        }
        self.listens = false;
        self.up |= socket.may_send();
        if !self.up {
            self.over = self.opened && socket.state() == State::Closed;
            self.listens = socket.state() == State::Listen;
            return false;
        }
        let mut moved = self.receive(now, socket);
        moved |= self.send(socket);
        moved |= self.end(socket);
        let ended = matches!(
            socket.state(),
            State::Closed | State::TimeWait | State::Listen
        );
        self.over = ended && !socket.can_recv();
        moved
    }

    fn receive(&mut self, now: Instant, socket: &mut Socket<'static>) -> bool {
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
            let wrong = socket.recv(|data| {
                let part = &data[..data.len().min(limit)];
                (part.len(), expects.take(flow, part).err())
            });
            if let Ok(Some(wrong)) = wrong {
                self.failure.get_or_insert(wrong);
            }
            moved = true;
        }
        if !self.finished && matches!(socket.recv(|_| (0, ())), Err(RecvError::Finished)) {
            self.finished = true;
            if let Err(cut) = self.expects.end(self.flow) {
                self.failure.get_or_insert(cut);
            }
        }
        moved
    }

    fn send(&mut self, socket: &mut Socket<'static>) -> bool {
        let mut moved = false;
        while self.sent < self.sends.len && socket.can_send() {
            let mut part = [0; 4096];
            let len = (self.sends.len - self.sent).min(4096);
            let part = &mut part[..usize::try_from(len).unwrap_or(0)];
            self.sends.fill(self.sent, part);
            let taken = socket.send_slice(part).unwrap_or(0);
            if taken == 0 {
                break;
            }
            self.sent += taken as u64;
            moved = true;
        }
        moved
    }

    fn end(&mut self, socket: &mut Socket<'static>) -> bool {
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
        let now = now && !self.closed;
        if now {
            self.closed = true;
            socket.close();
        }
        now
    }
}
