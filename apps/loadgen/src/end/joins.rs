//! Further subflows: every address that the peer announces is joined until there are as many as wanted.

use core::net::IpAddr;
use mptcp::AddrId;
use mptcp::connection::{Connection, Event};
use mptcp::join::Initiated;
use stack::slab::Handle;
use stack::tcp::handshake::Opening;
use stack::wire::tcp::Segment;
use stack::{Frame, Instant, PacketBuf, Tuple};

use super::{End, FlowRef, Hosts, Stage, key};
use mptcp::Stream;

impl<B: PacketBuf> End<B> {
    pub(super) fn on_join_answer(
        &mut self,
        now: Instant,
        handle: Handle,
        segment: &Segment<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let ours = segment.tuple.reversed();
        let limit = self.segment_max(&ours);
        let Some(conn) = self.conns.get_mut(handle) else {
            return;
        };
        let Some(at) = conn.joins.iter().position(|(_, tuple)| *tuple == ours) else {
            return;
        };
        let Stage::Open(Stream::Multipath(connection)) = &mut conn.stage else {
            return;
        };
        let (open, _) = &mut conn.joins[at];
        let cx = &mut self.tools.cx(now);
        let answer = match connection.input_join(cx, open, limit, segment) {
            Initiated::Waiting(answer) => answer,
            Initiated::Established(_) => {
                self.books.of(conn.group).joined += 1;
                conn.joins.swap_remove(at);
                None
            },
            Initiated::Refused(_, answer) => {
                conn.joins.swap_remove(at);
                self.flows.remove(&key(segment.tuple));
                answer
            },
        };
        if let Some(answer) = answer {
            self.send(now, &ours, answer, out);
        }
    }

    /// Enters subflows that came, forgets those that went, and joins addresses that were announced.
    pub(super) fn events(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        while let Some(event) = self.multipath(handle).and_then(Connection::take_event) {
            match event {
                Event::SubflowOpened { id, tuple } => {
                    let flow = FlowRef {
                        conn: handle,
                        subflow: Some(id),
                    };
                    // A full table shows as a subflow that never answers.
                    let _ = self.flows.insert(key(tuple), flow);
                },
                Event::SubflowClosed { tuple, .. } => {
                    self.flows.remove(&key(tuple));
                },
                Event::AddressAnnounced { addr, port, .. } => {
                    self.join(now, handle, addr, port, out);
                },
                Event::AddressRemoved { .. } => {},
            }
        }
    }

    pub(super) fn multipath(&mut self, handle: Handle) -> Option<&mut Connection<B>> {
        match &mut self.conns.get_mut(handle)?.stage {
            Stage::Open(stream) => stream.multipath_mut(),
            _ => None,
        }
    }

    /// Opens all further subflows, to an address of the peer's.
    pub(super) fn join(
        &mut self,
        now: Instant,
        handle: Handle,
        dst: IpAddr,
        port: Option<u16>,
        out: &mut Vec<Frame<B>>,
    ) {
        loop {
            let Hosts::Clients(clients) = &self.hosts else {
                return;
            };
            let Some(conn) = self.conns.get(handle) else {
                return;
            };
            let n = conn.joined + 1;
            let most = clients.groups[conn.group].plan.subflows;
            let source = clients.source_of(conn.host, usize::from(n));
            let Some(src) = source.filter(|src| n < most && src.is_ipv4() == dst.is_ipv4()) else {
                return;
            };
            let tuple = Tuple {
                src,
                dst,
                src_port: conn.tuple.src_port.wrapping_add(u16::from(n - 1) << 12),
                dst_port: port.unwrap_or(conn.tuple.dst_port),
            };
            self.open_join(now, handle, tuple, n, out);
        }
    }

    pub(super) fn open_join(
        &mut self,
        now: Instant,
        handle: Handle,
        tuple: Tuple,
        n: u8,
        out: &mut Vec<Frame<B>>,
    ) {
        let ours = self.offer(now, &tuple);
        let opening = Opening::new(self.isn.isn(now, &tuple), &ours, now);
        let received = key(tuple.reversed());
        let free = self.flows.get(&received).is_none();
        let Some(conn) = self.conns.get_mut(handle) else {
            return;
        };
        conn.joined = n;
        let Stage::Open(Stream::Multipath(connection)) = &mut conn.stage else {
            return;
        };
        let cx = &mut self.tools.cx(now);
        let to = (tuple.dst, tuple.dst_port);
        let Some(open) = free
            .then(|| connection.open_join(cx, opening, to, AddrId(n), false).ok())
            .flatten()
        else {
            return;
        };
        let syn = open.syn(now);
        conn.joins.push((open, tuple));
        let flow = FlowRef {
            conn: handle,
            subflow: None,
        };
        let _ = self.flows.insert(received, flow);
        self.send(now, &tuple, syn, out);
    }
}
