//! The host: sockets, connections, packets in and packets out.

use crate::conn::{Conn, Stage, answer_capable};
use crate::errno::{Errno, Result};
use crate::ip::{self, Arrival, Trouble};
use crate::options::{MPTCP, Options};
use crate::settings::{Flags, Settings};
use crate::tools::Tools;
use dataplane::MemBuf;
use mptcp::Stream;
use mptcp::handshake::join;
use mptcp::stream::Plain;
use mptcp::{AddrId, JoinRefusal, Key};
use stack::tcp::handshake::{Accepting, Offer, Opening};
use stack::wire::tcp::{Flags as Bits, OptBytes, Segment};
use stack::{Instant, SeqNum, Tuple};
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};

/// The first port that is chosen for those who bind none.
const EPHEMERAL: u16 = 32_768;

/// What a socket is.
pub(crate) enum Kind {
    Fresh,
    /// It waits for connections, those that wait to be accepted in their order.
    Listening {
        backlog: usize,
        ready: VecDeque<u32>,
    },
    Connected(u32),
}

/// A socket.
pub(crate) struct Socket {
    /// A descriptor of the system's, so that nobody else has its number and packetdrill can close it.
    file: OwnedFd,
    v6: bool,
    multi: bool,
    pub(crate) nonblocking: bool,
    pub(crate) options: Options,
    pub(crate) bound: Option<(IpAddr, u16)>,
    pub(crate) kind: Kind,
}

/// The host.
pub(crate) struct Host {
    pub(crate) now: Instant,
    pub(crate) flags: Flags,
    pub(crate) tools: Tools,
    pub(crate) sockets: BTreeMap<i32, Socket>,
    pub(crate) conns: BTreeMap<u32, Conn>,
    next_conn: u32,
    next_port: u16,
    /// Packets that were sent.
    pub(crate) out: Vec<Vec<u8>>,
}

impl Host {
    pub(crate) fn new(flags: Flags, now: Instant) -> Self {
        Self {
            now,
            tools: Tools::new(&flags),
            flags,
            sockets: BTreeMap::new(),
            conns: BTreeMap::new(),
            next_conn: 0,
            next_port: EPHEMERAL,
            out: Vec::new(),
        }
    }

    /// A new socket.
    ///
    /// # Errors
    /// What is no stream socket of IP, or no descriptor is left.
    pub(crate) fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<i32> {
        let v6 = match domain {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return Err(Errno::EAFNOSUPPORT),
        };
        let multi = match protocol {
            0 | libc::IPPROTO_TCP => false,
            MPTCP => true,
            _ => return Err(Errno::EPROTONOSUPPORT),
        };
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        if kind & !flags != libc::SOCK_STREAM {
            return Err(Errno::EPROTONOSUPPORT);
        }
        let options = Options::new(&self.flags.settings());
        let socket = Socket::new(v6, multi, options)?;
        Ok(self.enter(socket, kind & libc::SOCK_NONBLOCK != 0))
    }

    fn enter(&mut self, mut socket: Socket, nonblocking: bool) -> i32 {
        socket.nonblocking = nonblocking;
        let fd = socket.file.as_raw_fd();
        self.sockets.insert(fd, socket);
        fd
    }

    pub(crate) fn get(&mut self, fd: i32) -> Result<&mut Socket> {
        self.sockets.get_mut(&fd).ok_or(Errno::EBADF)
    }

    /// The connection of a socket.
    pub(crate) fn conn(&mut self, fd: i32) -> Result<&mut Conn> {
        match self.get(fd)?.kind {
            Kind::Connected(id) => self.conns.get_mut(&id).ok_or(Errno::ENOTCONN),
            Kind::Fresh | Kind::Listening { .. } => Err(Errno::ENOTCONN),
        }
    }

    /// Gives the socket a local address.
    ///
    /// # Errors
    /// It has one, or another listening socket has it.
    pub(crate) fn bind(&mut self, fd: i32, addr: IpAddr, port: u16) -> Result<()> {
        let port = if port == 0 { self.port() } else { port };
        let taken = self.sockets.values().any(|other| {
            matches!(other.kind, Kind::Listening { .. }) && other.bound == Some((addr, port))
        });
        let socket = self.get(fd)?;
        if socket.bound.is_some() {
            return Err(Errno::EINVAL);
        }
        if taken {
            return Err(Errno::EADDRINUSE);
        }
        socket.bound = Some((addr, port));
        Ok(())
    }

    fn port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port - 1
    }

    pub(crate) fn listen(&mut self, fd: i32, backlog: i32) -> Result<()> {
        let socket = self.get(fd)?;
        let backlog = usize::try_from(backlog).unwrap_or(4096);
        match &mut socket.kind {
            Kind::Connected(_) => return Err(Errno::EINVAL),
            Kind::Listening { backlog: old, .. } => *old = backlog,
            Kind::Fresh => {
                socket.kind = Kind::Listening {
                    backlog,
                    ready: VecDeque::new(),
                };
            },
        }
        Ok(())
    }

    /// The next connection that waits, as a socket of its own; `None` if none does.
    pub(crate) fn accept(&mut self, fd: i32) -> Option<Result<(i32, Tuple)>> {
        let (id, v6, multi) = match self.get(fd) {
            Ok(socket) => match &mut socket.kind {
                Kind::Listening { ready, .. } => (ready.pop_front()?, socket.v6, socket.multi),
                _ => return Some(Err(Errno::EINVAL)),
            },
            Err(error) => return Some(Err(error)),
        };
        let conn = self.conns.get_mut(&id)?;
        conn.listener = None;
        conn.announce(&self.tools.endpoints);
        let (options, tuple) = (conn.options.clone(), conn.tuple);
        self.turn();
        Some(Socket::new(v6, multi, options).map(|mut socket| {
            socket.kind = Kind::Connected(id);
            socket.bound = Some((tuple.src, tuple.src_port));
            (self.enter(socket, false), tuple)
        }))
    }

    /// Sends the SYN of a connection.
    ///
    /// # Errors
    /// The socket has a connection already, or listens.
    pub(crate) fn connect(&mut self, fd: i32, to: IpAddr, port: u16) -> Result<()> {
        let now = self.now;
        let settings = self.flags.settings();
        let local = self.flags.local[usize::from(to.is_ipv6())];
        let free = self.port();
        let versions = self.flags.version;
        let socket = self.get(fd)?;
        match socket.kind {
            Kind::Fresh => {},
            Kind::Connected(_) => return Err(Errno::EISCONN),
            Kind::Listening { .. } => return Err(Errno::EINVAL),
        }
        let (src, src_port) = socket.bound.unwrap_or((local, free));
        let tuple = Tuple {
            src: if src.is_unspecified() { local } else { src },
            dst: to,
            src_port,
            dst_port: port,
        };
        let (options, multi) = (socket.options.clone(), socket.multi && settings.mptcp);
        socket.bound = Some((tuple.src, src_port));
        let key = multi.then(|| Key::draw(&mut self.tools.rng));
        let offer = self
            .tools
            .offer(now, &tuple, &options, &settings, settings.ecn == 1);
        let opening = Opening::new(self.tools.isn(now, &tuple), &offer, now);
        let syn = opening.syn(now, self.tools.capable(key, versions, &settings));
        let stage = Stage::Opening(opening, key);
        let mut conn = Conn::new(now, tuple, stage, options, settings, &self.flags);
        conn.send(&mut self.tools, &syn, None);
        let id = self.add(conn);
        self.get(fd)?.kind = Kind::Connected(id);
        self.collect();
        Ok(())
    }

    fn add(&mut self, conn: Conn) -> u32 {
        self.next_conn += 1;
        self.conns.insert(self.next_conn, conn);
        self.next_conn
    }

    /// Closes a descriptor.
    pub(crate) fn close(&mut self, fd: i32) -> Result<()> {
        let socket = self.sockets.remove(&fd).ok_or(Errno::EBADF)?;
        match socket.kind {
            Kind::Fresh => {},
            Kind::Connected(id) => {
                if let Some(conn) = self.conns.get_mut(&id) {
                    conn.close(&mut self.tools, self.now);
                }
            },
            Kind::Listening { .. } => {
                for conn in self.conns.values_mut() {
                    if conn.listener == Some(fd) {
                        conn.owned = false;
                        conn.abort(&mut self.tools, self.now);
                    }
                }
            },
        }
        self.turn();
        Ok(())
    }

    /// Takes in a packet.
    pub(crate) fn input(&mut self, packet: Vec<u8>) {
        match ip::read(packet) {
            Some(Arrival::Tcp(segment)) => self.on_segment(&segment),
            Some(Arrival::Error { tuple, seq, why }) => self.on_error(&tuple, seq, why),
            None => {},
        }
        self.turn();
    }

    fn on_segment(&mut self, segment: &Segment<MemBuf>) {
        let now = self.now;
        let found = self.conns.iter().find_map(|(id, conn)| {
            let live = !matches!(conn.stage, Stage::Over);
            let subflow = conn.subflow_of(&segment.tuple).filter(|_| live)?;
            Some((*id, subflow))
        });
        let Some((id, subflow)) = found else {
            return self.on_stranger(segment);
        };
        let Some(conn) = self.conns.get_mut(&id) else {
            return;
        };
        if let Stage::TimeWait(rest) = &conn.stage
            && rest.gives_way_to(segment)
        {
            conn.stage = Stage::Over;
            return self.on_stranger(segment);
        }
        let accepting = matches!(conn.stage, Stage::Accepting(..));
        match subflow {
            Some(subflow) => conn.input(&mut self.tools, now, subflow, segment),
            None => conn.input_joining(&mut self.tools, now, segment),
        }
        if accepting && matches!(conn.stage, Stage::Open(_)) {
            self.queue(id);
        }
    }

    /// Puts an established connection where it waits to be accepted.
    fn queue(&mut self, id: u32) {
        let listener = self.conns.get(&id).and_then(|conn| conn.listener);
        let socket = listener.and_then(|fd| self.sockets.get_mut(&fd));
        if let Some(Kind::Listening { ready, .. }) = socket.map(|socket| &mut socket.kind) {
            ready.push_back(id);
        }
    }

    /// A segment of no connection: a SYN for a listening socket or a join, or to be reset.
    fn on_stranger(&mut self, segment: &Segment<MemBuf>) {
        let syn = segment.flags.has(Bits::SYN)
            && !segment.flags.has(Bits::ACK)
            && !segment.flags.has(Bits::RST);
        let tuple = segment.tuple.reversed();
        let listener =
            self.sockets
                .iter()
                .find_map(|(fd, socket)| match (&socket.kind, socket.bound) {
                    (Kind::Listening { backlog, ready }, Some((addr, port))) => {
                        let here =
                            port == tuple.src_port && (addr == tuple.src || addr.is_unspecified());
                        here.then_some((*fd, ready.len() > *backlog))
                    },
                    _ => None,
                });
        let answered = match (syn, join::request(&segment.options.mptcp), listener) {
            (true, Ok(request), _) => self.accept_join(segment, request.token),
            (true, Err(_), Some((_, true))) => true,
            (true, Err(_), Some((fd, false))) => self.accept_syn(fd, segment),
            _ => false,
        };
        if !answered && let Some(reset) = stack::tcp::reset_for(segment) {
            self.tools.send(&reset, &tuple, 0);
        }
        self.collect();
    }

    fn accept_syn(&mut self, fd: i32, syn: &Segment<MemBuf>) -> bool {
        let now = self.now;
        let settings = self.flags.settings();
        let versions = self.flags.version;
        self.tools.endpoints = self.flags.endpoints();
        let Some(socket) = self.sockets.get(&fd) else {
            return false;
        };
        let (options, multi) = (socket.options.clone(), socket.multi && settings.mptcp);
        let tuple = syn.tuple.reversed();
        let accepting = self.accepting(syn, &options, &settings);
        let capable = multi
            .then(|| answer_capable(&mut self.tools, &settings, versions, &syn.options.mptcp))
            .flatten();
        let stage = Stage::Accepting(accepting, capable);
        let mut conn = Conn::new(now, tuple, stage, options, settings, &self.flags);
        conn.listener = Some(fd);
        if let Stage::Accepting(accepting, capable) = &mut conn.stage {
            let upper = capable.map_or_else(OptBytes::new, |(_, upper)| upper);
            let answer = accepting.syn_ack(now, upper);
            conn.send(&mut self.tools, &answer, None);
        }
        self.add(conn);
        true
    }

    fn accepting(
        &self,
        syn: &Segment<MemBuf>,
        options: &Options,
        settings: &Settings,
    ) -> Accepting {
        let (now, tuple) = (self.now, syn.tuple.reversed());
        let peer = Offer::of(syn);
        let ours = self
            .tools
            .offer(now, &tuple, options, settings, settings.ecn != 0);
        let smss = peer.smss(self.tools.segment_max(&tuple, options), tuple.src.is_ipv6());
        Accepting::new(
            self.tools.isn(now, &tuple),
            syn.seq,
            &peer,
            &ours,
            smss,
            now,
        )
    }

    fn accept_join(&mut self, syn: &Segment<MemBuf>, token: mptcp::Token) -> bool {
        let now = self.now;
        let named = self.conns.iter().find(|(_, conn)| conn.has_token(token));
        let Some((&id, conn)) = named else {
            if let Some(reset) = mptcp::join::refuse_join(syn, JoinRefusal::NoToken) {
                self.tools.send(&reset, &syn.tuple.reversed(), 0);
            }
            return true;
        };
        // RFC 8684 3.2: the address of the first subflow is number 0.
        let mut endpoints = self.tools.endpoints.iter();
        let endpoint =
            endpoints.find(|(_, addr)| *addr == syn.tuple.dst && *addr != conn.tuple.src);
        let local = endpoint.map_or(AddrId(0), |(id, _)| *id);
        let (options, settings) = (conn.options.clone(), conn.settings.clone());
        let accepting = self.accepting(syn, &options, &settings);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.input_join(&mut self.tools, now, accepting, local, syn);
        }
        true
    }

    /// RFC 9293 3.9.2.2, RFC 5927 4: an error counts only if it is about something that is under way.
    fn on_error(&mut self, tuple: &Tuple, seq: SeqNum, why: Trouble) {
        let headers = u16::try_from(ip::header_len(tuple.src) + 20).unwrap_or(60);
        let Some(conn) = self.conns.values_mut().find(|conn| conn.tuple == *tuple) else {
            return;
        };
        match (&mut conn.stage, why) {
            (Stage::Opening(opening, _), Trouble::Refused) if opening.iss() == seq => {
                conn.error = Some(Errno::ECONNREFUSED);
                conn.stage = Stage::Over;
            },
            (Stage::Opening(opening, _), Trouble::Unreachable) if opening.iss() == seq => {
                conn.error = Some(Errno::EHOSTUNREACH);
                conn.stage = Stage::Over;
            },
            (Stage::Open(Stream::Plain(Plain { tcb, .. })), Trouble::TooBig(mtu))
                if seq.within(tcb.snd_una(), tcb.flight_size()) =>
            {
                tcb.set_smss(mtu.max(68).saturating_sub(headers));
            },
            _ => {},
        }
    }

    /// Runs what is due.
    pub(crate) fn advance(&mut self) {
        for conn in self.conns.values_mut() {
            if conn.next_deadline().is_some_and(|at| at <= self.now) {
                conn.advance(&mut self.tools, self.now);
            }
        }
        self.turn();
    }

    /// Lets every connection do what it can, and forgets those that nobody needs.
    pub(crate) fn turn(&mut self) {
        for conn in self.conns.values_mut() {
            conn.turn(&mut self.tools, self.now);
        }
        let sockets = &self.sockets;
        self.conns.retain(|id, conn| {
            // What was established can be accepted, whatever has become of it since.
            let listener = conn
                .listener
                .map(|fd| sockets.get(&fd).map(|socket| &socket.kind));
            let held = match listener {
                Some(Some(Kind::Listening { ready, .. })) => ready.contains(id),
                Some(_) => false,
                None => conn.owned,
            };
            held || !matches!(conn.stage, Stage::Over)
        });
        let conns = &self.conns;
        for socket in self.sockets.values_mut() {
            if let Kind::Listening { ready, .. } = &mut socket.kind {
                ready.retain(|id| conns.contains_key(id));
            }
        }
        self.collect();
    }

    fn collect(&mut self) {
        self.out.append(&mut self.tools.out);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.conns.values().filter_map(Conn::next_deadline).min()
    }

    /// Lets go of all descriptors without closing them: packetdrill has closed them by their numbers.
    pub(crate) fn disown(&mut self) {
        for (_, socket) in core::mem::take(&mut self.sockets) {
            let _ = socket.file.into_raw_fd();
        }
    }
}

impl Socket {
    fn new(v6: bool, multi: bool, options: Options) -> Result<Self> {
        let file = std::fs::File::open("/dev/null");
        let file = file.map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EMFILE)))?;
        Ok(Self {
            file: file.into(),
            v6,
            multi,
            nonblocking: false,
            options,
            bound: None,
            kind: Kind::Fresh,
        })
    }

    pub(crate) const fn is_v6(&self) -> bool {
        self.v6
    }
}
