//! The calls of the table in safe Rust: addresses and octets in, what the application is told out.

use crate::clock::Clock;
use crate::conn::{Conn, Stage};
use crate::errno::{Errno, Result};
use crate::host::{Host, Kind, Socket};
use crate::info::tcp_info;
use crate::settings::Flags;
use stack::Instant;
use stack::time::Duration;
use std::net::{IpAddr, SocketAddr};

/// What the table's user data is.
pub(crate) struct Table {
    clock: Clock,
}

impl Table {
    /// A host as `flags` say, driven by the calling thread.
    ///
    /// # Errors
    /// Flags that mean nothing.
    pub(crate) fn new(flags: &str) -> core::result::Result<Self, String> {
        let flags = Flags::read(flags)?;
        Ok(Self {
            clock: Clock::new(flags),
        })
    }

    pub(crate) fn socket(&self, domain: i32, kind: i32, protocol: i32) -> Result<i32> {
        self.clock.run(|host| host.socket(domain, kind, protocol))
    }

    pub(crate) fn bind(&self, fd: i32, to: SocketAddr) -> Result<i32> {
        let addr = to.ip().to_canonical();
        self.clock
            .run(|host| host.bind(fd, addr, to.port()))
            .map(|()| 0)
    }

    pub(crate) fn listen(&self, fd: i32, backlog: i32) -> Result<i32> {
        self.clock.run(|host| host.listen(fd, backlog)).map(|()| 0)
    }

    /// A descriptor, and the peer.
    pub(crate) fn accept(&self, fd: i32) -> Result<(i32, SocketAddr)> {
        let (fd, tuple, v6) = self.clock.wait(None, |host| {
            let socket = host.sockets.get(&fd);
            let (nonblocking, v6) = socket.map_or((false, false), |s| (s.nonblocking, s.is_v6()));
            match host.accept(fd) {
                None if nonblocking => Some(Err(Errno::EAGAIN)),
                accepted => accepted.map(|result| result.map(|(fd, tuple)| (fd, tuple, v6))),
            }
        })?;
        let addr = match tuple.dst {
            IpAddr::V4(v4) if v6 => v4.to_ipv6_mapped().into(),
            addr => addr,
        };
        Ok((fd, SocketAddr::new(addr, tuple.dst_port)))
    }

    pub(crate) fn connect(&self, fd: i32, to: SocketAddr) -> Result<i32> {
        let mut begun = false;
        self.clock.wait(None, |host| {
            let nonblocking = match host.get(fd) {
                Ok(socket) => socket.nonblocking,
                Err(error) => return Some(Err(error)),
            };
            let first = !begun
                && matches!(
                    host.get(fd).map(|socket| &socket.kind),
                    Ok(Kind::Fresh | Kind::Listening { .. })
                );
            if first && let Err(error) = host.connect(fd, to.ip().to_canonical(), to.port()) {
                return Some(Err(error));
            }
            let again = !begun && !first;
            begun = true;
            let conn = match host.conn(fd) {
                Ok(conn) => conn,
                Err(error) => return Some(Err(error)),
            };
            match (&conn.stage, conn.error.take()) {
                (_, Some(error)) => Some(Err(error)),
                (Stage::Opening(..) | Stage::Accepting(..), None) if nonblocking => {
                    Some(Err(if again {
                        Errno::EALREADY
                    } else {
                        Errno::EINPROGRESS
                    }))
                },
                (Stage::Opening(..) | Stage::Accepting(..), None) => None,
                (Stage::Open(_), None) if again => Some(Err(Errno::EISCONN)),
                (Stage::Open(_), None) => Some(Ok(0)),
                (Stage::TimeWait(_) | Stage::Over, None) => Some(Err(Errno::ECONNABORTED)),
            }
        })
    }

    /// At most `len` octets of the stream; none at its end.
    pub(crate) fn recv(&self, fd: i32, len: usize, flags: i32) -> Result<Vec<u8>> {
        let patience = self.patience(fd);
        let peek = flags & libc::MSG_PEEK != 0;
        let least = if flags & libc::MSG_WAITALL != 0 {
            len
        } else {
            1
        };
        self.clock.wait(patience, |host| {
            let nonblocking = host.get(fd).is_ok_and(|socket| socket.nonblocking)
                || flags & libc::MSG_DONTWAIT != 0;
            let conn = match host.conn(fd) {
                Ok(conn) => conn,
                Err(error) => return Some(Err(error)),
            };
            let over =
                conn.eof || conn.shut_rd || matches!(conn.stage, Stage::TimeWait(_) | Stage::Over);
            if len == 0 || conn.inbox.len() >= least || (over && !conn.inbox.is_empty()) {
                let len = len.min(conn.inbox.len());
                let read = if peek {
                    conn.inbox.range(..len).copied().collect()
                } else {
                    conn.inbox.drain(..len).collect()
                };
                host.turn();
                return Some(Ok(read));
            }
            if let Some(error) = conn.error.take() {
                return Some(Err(error));
            }
            if over {
                return Some(Ok(Vec::new()));
            }
            nonblocking.then_some(Err(Errno::EAGAIN))
        })
    }

    /// How many of `octets` were taken.
    pub(crate) fn send(&self, fd: i32, octets: &[u8], flags: i32) -> Result<usize> {
        if flags & !(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_MORE | libc::MSG_EOR) != 0
        {
            return Err(Errno::EOPNOTSUPP);
        }
        let mut taken = 0;
        self.clock.wait(None, |host| {
            let nonblocking = host.get(fd).is_ok_and(|socket| socket.nonblocking)
                || flags & libc::MSG_DONTWAIT != 0;
            let now = host.now;
            let conn = match host.conn(fd) {
                Ok(conn) => conn,
                Err(Errno::ENOTCONN) => return Some(Err(Errno::EPIPE)),
                Err(error) => return Some(Err(error)),
            };
            if taken == 0
                && let Some(error) = conn.error.take()
            {
                return Some(Err(error));
            }
            let result = match &conn.stage {
                Stage::Opening(..) | Stage::Accepting(..) => None,
                Stage::Open(_) if !conn.shut_wr => {
                    conn.more = flags & libc::MSG_MORE != 0;
                    let len = room(conn).min(octets.len() - taken);
                    conn.write(now, &octets[taken..taken + len]);
                    taken += len;
                    host.turn();
                    (taken == octets.len()).then_some(Ok(taken))
                },
                _ if taken > 0 => Some(Ok(taken)),
                _ => Some(Err(Errno::EPIPE)),
            };
            result.or(match (nonblocking, taken) {
                (false, _) => None,
                (true, 0) => Some(Err(Errno::EAGAIN)),
                (true, taken) => Some(Ok(taken)),
            })
        })
    }

    fn patience(&self, fd: i32) -> Option<Duration> {
        self.clock
            .run(|host| host.get(fd).ok().and_then(|socket| socket.options.rcvtimeo))
    }

    pub(crate) fn close(&self, fd: i32) -> Result<i32> {
        self.clock.run(|host| host.close(fd)).map(|()| 0)
    }

    pub(crate) fn shutdown(&self, fd: i32, how: i32) -> Result<i32> {
        self.clock.run(|host| {
            let conn = host.conn(fd)?;
            match conn.stage {
                Stage::Over | Stage::TimeWait(_) => return Err(Errno::ENOTCONN),
                Stage::Opening(..) => {
                    conn.stage = Stage::Over;
                    return Ok(0);
                },
                Stage::Accepting(..) | Stage::Open(_) => {},
            }
            if matches!(how, libc::SHUT_RD | libc::SHUT_RDWR) {
                conn.shut_rd = true;
            }
            if matches!(how, libc::SHUT_WR | libc::SHUT_RDWR) {
                conn.shut_wr = true;
                conn.finish();
            }
            host.turn();
            Ok(0)
        })
    }

    /// F_GETFL and F_SETFL.
    pub(crate) fn fcntl(&self, fd: i32, command: i32, argument: i64) -> Result<i32> {
        self.clock.run(|host| {
            let socket = host.get(fd)?;
            match command {
                libc::F_GETFL => Ok(libc::O_RDWR
                    | if socket.nonblocking {
                        libc::O_NONBLOCK
                    } else {
                        0
                    }),
                libc::F_SETFL => {
                    socket.nonblocking = argument & i64::from(libc::O_NONBLOCK) != 0;
                    Ok(0)
                },
                _ => Err(Errno::EINVAL),
            }
        })
    }

    /// The number that a request asks for.
    pub(crate) fn ioctl(&self, fd: i32, request: u64) -> Result<i32> {
        /// `SIOCOUTQNSD`: octets that were never sent.
        const UNSENT: u64 = 0x894b;
        let count = |len: usize| i32::try_from(len).unwrap_or(i32::MAX);
        self.clock.run(|host| {
            let conn = host.conn(fd)?;
            match request {
                libc::FIONREAD => Ok(count(conn.inbox.len())),
                libc::TIOCOUTQ => Ok(count(conn.queued())),
                UNSENT => Ok(count(conn.unsent())),
                _ => Err(Errno::EINVAL),
            }
        })
    }

    pub(crate) fn setsockopt(&self, fd: i32, level: i32, name: i32, value: &[u8]) -> Result<i32> {
        self.clock.run(|host| {
            let now = host.now;
            host.get(fd)?.options.set(level, name, value)?;
            let options = host.get(fd)?.options.clone();
            if let Ok(conn) = host.conn(fd) {
                if (level, name) == (libc::SOL_TCP, libc::TCP_NODELAY) && options.nodelay {
                    // Whoever does not want to wait does not want what waits already to go on waiting.
                    conn.push(true);
                }
                let wakes =
                    options.keepalive && (level, name) == (libc::SOL_SOCKET, libc::SO_KEEPALIVE);
                conn.options = options;
                conn.set_keepalive(now, wakes);
                host.turn();
            }
            Ok(0)
        })
    }

    /// The octets of an option's value.
    pub(crate) fn getsockopt(&self, fd: i32, level: i32, name: i32) -> Result<Vec<u8>> {
        self.clock.run(|host| {
            let now = host.now;
            let number = match (level, name) {
                (libc::SOL_TCP, libc::TCP_INFO) => {
                    return Ok(host
                        .conn(fd)
                        .map_or_else(|_| vec![7], |conn| tcp_info(conn, now)));
                },
                // A controller of congestion that tells nothing of itself, as Linux has it for CUBIC.
                (libc::SOL_TCP, libc::TCP_CC_INFO) => return Ok(Vec::new()),
                (libc::SOL_SOCKET, libc::SO_MEMINFO) => return Ok(meminfo(host.get(fd)?)),
                (libc::SOL_SOCKET, libc::SO_ERROR) => {
                    host.get(fd)?;
                    let error = host.conn(fd).ok().and_then(|conn| conn.error.take());
                    error.map_or(0, |error| error.0)
                },
                (libc::SOL_TCP, libc::TCP_MAXSEG)
                    if host.conn(fd).is_ok_and(|conn| conn.mss().is_some()) =>
                {
                    i32::try_from(host.conn(fd)?.mss().unwrap_or(0)).unwrap_or(i32::MAX)
                },
                _ => host.get(fd)?.options.get(level, name)?,
            };
            Ok(number.to_ne_bytes().to_vec())
        })
    }

    /// Waits until one of `fds` is ready, for `timeout` milliseconds, for ever if that is negative; how many are.
    pub(crate) fn poll(&self, fds: &mut [libc::pollfd], timeout: i32) -> Result<i32> {
        let patience = u64::try_from(timeout).ok().map(Duration::from_millis);
        let ready = self.clock.wait(patience, |host| {
            let mut ready = 0;
            for fd in &mut *fds {
                let always = libc::POLLERR | libc::POLLHUP | libc::POLLNVAL;
                fd.revents = events(host, fd.fd) & (fd.events | always);
                ready += i32::from(fd.revents != 0);
            }
            (ready != 0).then_some(Ok(ready))
        });
        match ready {
            Err(Errno::EAGAIN) => Ok(0),
            ready => ready,
        }
    }

    pub(crate) fn netdev_send(&self, packet: &[u8]) {
        self.clock.deliver(packet.to_vec());
    }

    pub(crate) fn netdev_receive(&self) -> Option<(Instant, Vec<u8>)> {
        self.clock.receive()
    }

    pub(crate) fn usleep(&self, micros: u32) {
        self.clock.sleep(Duration::from_micros(micros.into()));
    }

    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Whether `fd` is one of ours.
    pub(crate) fn has(&self, fd: i32) -> bool {
        self.clock.run(|host| host.sockets.contains_key(&fd))
    }

    /// Ends it all; descriptors are packetdrill's to close.
    pub(crate) fn end(&self) {
        self.clock.run(Host::disown);
    }
}

/// The nine numbers of `SO_MEMINFO`: of them the buffers' sizes are known.
fn meminfo(socket: &Socket) -> Vec<u8> {
    let (rcvbuf, sndbuf) = (socket.options.rcvbuf, socket.options.sndbuf);
    let numbers = [0, rcvbuf, 0, sndbuf, 0, 0, 0, 0, 0];
    numbers
        .iter()
        .flat_map(|number: &u32| number.to_ne_bytes())
        .collect()
}

/// How much may be written: Linux takes whole writes while its buffer is not full.
fn room(conn: &Conn) -> usize {
    let limit = usize::try_from(conn.options.sndbuf).unwrap_or(usize::MAX);
    limit.saturating_sub(conn.queued())
}

/// What a descriptor is ready for.
fn events(host: &mut Host, fd: i32) -> i16 {
    let Ok(Socket { kind, .. }) = host.get(fd) else {
        return libc::POLLNVAL;
    };
    match kind {
        Kind::Fresh => libc::POLLOUT | libc::POLLHUP,
        Kind::Listening { ready, .. } if ready.is_empty() => 0,
        Kind::Listening { .. } => libc::POLLIN | libc::POLLRDNORM,
        Kind::Connected(_) => host
            .conn(fd)
            .map_or(libc::POLLNVAL, |conn| stream_events(conn)),
    }
}

fn stream_events(conn: &Conn) -> i16 {
    let over = matches!(conn.stage, Stage::TimeWait(_) | Stage::Over);
    let pending = matches!(conn.stage, Stage::Opening(..) | Stage::Accepting(..));
    let ended = conn.eof || conn.shut_rd || over;
    let mut events = 0;
    if conn.error.is_some() {
        events |= libc::POLLERR;
    }
    if over || (ended && conn.shut_wr) {
        events |= libc::POLLHUP;
    }
    if ended {
        events |= libc::POLLRDHUP;
    }
    if ended || !conn.inbox.is_empty() {
        events |= libc::POLLIN | libc::POLLRDNORM;
    }
    if !pending && (conn.shut_wr || over || room(conn) > 0) {
        events |= libc::POLLOUT | libc::POLLWRNORM;
    }
    events
}
