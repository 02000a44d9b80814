//! How a connection begins: SYN and SYN+ACK, at either end.

use mptcp::connection::{Connection, Limits, Params, SubflowId};
use mptcp::handshake::capable::{self, Terms};
use mptcp::{Key, MpOption, Role as MpRole, Version};
use stack::slab::Handle;
use stack::tcp::handshake::{Accepting, Offer, Opening};
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes, Segment, Timestamps};
use stack::{Frame, Instant, PacketBuf, Tuple};

use super::{Conn, End, FlowRef, Hosts, Stage, Work, key, tcb};
use crate::asking::{Asking, Turn};
use crate::config::Protocol;
use crate::report::Stats;
use crate::server::Serving;
use crate::stream::WINDOW;
use mptcp::Stream;

/// How long a closed Multipath TCP connection repeats its last DATA_ACK. It counts as open meanwhile.
const TIME_WAIT: Duration = Duration::from_millis(20);

/// Shift of our windows: more than we offer fits in 16 bits.
const WSCALE: u8 = 7;

impl<B: PacketBuf> End<B> {
    /// A segment of no connection: a SYN for the server, or to be reset.
    pub(super) fn on_stranger(
        &mut self,
        now: Instant,
        segment: &Segment<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let listens = match &self.hosts {
            Hosts::Server(server) => server.listen.contains(&segment.tuple.dst_port),
            Hosts::Clients(_) => false,
        };
        let syn = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
        if !(listens && syn && self.accept(now, segment, out))
            && let Some(reset) = stack::tcp::reset_for(segment)
        {
            self.send(now, &segment.tuple.reversed(), reset, out);
        }
    }

    pub(super) fn accept(
        &mut self,
        now: Instant,
        syn: &Segment<B>,
        out: &mut Vec<Frame<B>>,
    ) -> bool {
        let tuple = syn.tuple.reversed();
        let peer = Offer::of(syn);
        let ours = self.offer(now, &tuple);
        let smss = peer.smss(self.segment_max(&tuple), tuple.src.is_ipv6());
        let iss = self.isn.isn(now, &tuple);
        let mut accepting = Accepting::new(iss, syn.seq, &peer, &ours, smss, now);
        let answer = accepting.syn_ack(now, OptBytes::new());
        let conn = Conn::new(
            tuple,
            Stage::Accepting(accepting),
            Work::Server(Serving::default()),
            now,
        );
        if self.enter(conn).is_none() {
            return false;
        }
        self.books.of(0).begun += 1;
        self.send(now, &tuple, answer, out);
        true
    }

    /// Opens a connection of a group, whose first request was due at `due`, or that waits for one; `false` if there is no room or
    /// no free tuple.
    pub(super) fn open(
        &mut self,
        now: Instant,
        (group, due): (usize, Option<Instant>),
        out: &mut Vec<Frame<B>>,
    ) -> bool {
        let Hosts::Clients(clients) = &mut self.hosts else {
            return false;
        };
        let plan = &clients.groups[group].plan;
        let (to, mptcp) = (plan.to, plan.protocol == Protocol::Mptcp);
        let Some((host, src, src_port)) = clients.next_source() else {
            return false;
        };
        let tuple = Tuple {
            src,
            dst: to.ip(),
            src_port,
            dst_port: to.port(),
        };
        if self.flows.get(&key(tuple.reversed())).is_some() {
            return false;
        }
        let ours = self.offer(now, &tuple);
        let opening = Opening::new(self.isn.isn(now, &tuple), &ours, now);
        let offered = mptcp.then(|| Key::draw(&mut self.tools.rng));
        let syn = opening.syn(now, capable_of(offered));
        let number = u32::from(src_port) + u32::try_from(host).unwrap_or(0);
        let work = Work::Client(Asking::new(due, now, number));
        let mut conn = Conn::new(tuple, Stage::Opening(opening, offered), work, now);
        (conn.group, conn.host) = (group, host);
        if self.enter(conn).is_none() {
            return false;
        }
        self.books.of(group).begun += 1;
        if let Hosts::Clients(clients) = &mut self.hosts
            && due.is_some()
        {
            clients.groups[group].busy += 1;
        }
        self.send(now, &tuple, syn, out);
        true
    }

    pub(super) fn enter(&mut self, conn: Conn<B>) -> Option<Handle> {
        let (received, group) = (conn.tuple.reversed(), conn.group);
        let handle = match self.conns.insert(conn) {
            Ok(handle) => handle,
            Err(conn) => {
                self.forget_oldest();
                self.conns.insert(conn).ok()?
            },
        };
        let flow = FlowRef {
            conn: handle,
            subflow: Some(SubflowId::INITIAL),
        };
        if self.flows.insert(key(received), flow).is_err() {
            self.conns.remove(handle);
            return None;
        }
        self.live += 1;
        let live = match &mut self.hosts {
            Hosts::Clients(clients) => {
                let live = &mut clients.groups[group].live;
                *live += 1;
                *live
            },
            Hosts::Server(_) => self.live,
        };
        self.books.opened(group, live, self.live);
        self.wake(handle);
        Some(handle)
    }

    pub(super) fn offer(&self, now: Instant, tuple: &Tuple) -> Offer {
        let clock = u32::try_from(now.as_millis() & u64::from(u32::MAX)).unwrap_or(0);
        Offer {
            mss: Some(self.segment_max(tuple)),
            wscale: Some(WSCALE),
            sack: true,
            ts: Some(Timestamps {
                val: clock.wrapping_add(self.isn.ts_offset(tuple)),
                ecr: 0,
            }),
            wnd: u16::MAX,
            ecn: false,
        }
    }

    /// The largest segment, options included, that the link of `tuple` takes.
    pub(super) fn segment_max(&self, tuple: &Tuple) -> u16 {
        let headers = if tuple.src.is_ipv6() { 60 } else { 40 };
        let mtu = self.net.mtu_from(tuple.src, tuple.dst);
        mtu.unwrap_or(1_280).saturating_sub(headers)
    }

    /// The SYN+ACK came: the connection is there.
    pub(super) fn on_answer(
        &mut self,
        now: Instant,
        handle: Handle,
        answer: Offer,
        segment: &Segment<B>,
    ) {
        let smss = answer.smss(
            self.segment_max(&segment.tuple.reversed()),
            segment.tuple.src.is_ipv6(),
        );
        let Some(conn) = self.conns.get_mut(handle) else {
            return;
        };
        let Stage::Opening(opening, offered) = &conn.stage else {
            return;
        };
        let Some(agreed) = opening.agreed(smss) else {
            return;
        };
        let mut tcb = tcb(&agreed, now);
        let options = &segment.options.mptcp;
        let multipath = offered
            .and_then(|key| capable::syn_ack(options, Version::V1, key, Terms::default()).ok());
        let stats = self.books.of(conn.group);
        stats.plain += u64::from(offered.is_some() && multipath.is_none());
        stats.established += 1;
        Stats::took(&mut stats.connect, now.since(conn.opened));
        let stream = match multipath {
            Some(agreed) => {
                let params = Params {
                    version: agreed.version,
                    role: MpRole::Initiator,
                    local: agreed.local.derive(agreed.version),
                    remote_key: agreed.remote,
                    checksum: agreed.checksum,
                    peer_denies_initial_addr: agreed.deny_join_initial,
                    limits: Limits {
                        send_buffer: WINDOW,
                        recv_buffer: WINDOW,
                        time_wait: TIME_WAIT,
                        ..Limits::default()
                    },
                };
                let cx = &mut self.tools.cx(now);
                let connection = Connection::new(cx, &params, tcb, segment.tuple);
                Stream::Multipath(connection)
            },
            None => {
                tcb.request_ack();
                Stream::plain(tcb, conn.tuple)
            },
        };
        if let (Work::Client(asking), Hosts::Clients(clients)) = (&conn.work, &mut self.hosts)
            && asking.turn == Turn::Idle
        {
            clients.groups[conn.group].idle.push_back(handle);
        }
        self.heard += 1;
        conn.stage = Stage::Open(stream);
    }
}

/// The option of a SYN that offers Multipath TCP with `key`, or none.
pub(super) fn capable_of(key: Option<Key>) -> OptBytes {
    let capable = key.map(|key| capable::syn(Version::V1, key, Terms::default()));
    capable.map_or_else(Default::default, |capable| MpOption::from(capable).into())
}
