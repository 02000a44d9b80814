//! Further subflows of Multipath TCP, of either end's making.

use super::{Conn, Stage};
use crate::tools::Tools;
use dataplane::MemBuf;
use mptcp::Stream;
use mptcp::connection::Event;
use mptcp::join::Initiated;
use mptcp::{AddrId, Joined};
use stack::tcp::handshake::{Accepting, Opening};
use stack::wire::tcp::Segment;
use stack::{Instant, Tuple};
use std::net::IpAddr;

impl Conn {
    /// Takes a SYN that joins this connection, whose token named it; `accepting` is made from it.
    pub(crate) fn input_join(
        &mut self,
        tools: &mut Tools,
        now: Instant,
        accepting: Accepting,
        id: AddrId,
        syn: &Segment<MemBuf>,
    ) {
        let Stage::Open(Stream::Multipath(connection)) = &mut self.stage else {
            return;
        };
        let tuple = syn.tuple.reversed();
        match connection.join(&mut tools.cx(now), syn, accepting, id) {
            Ok(mut joining) => {
                let answer = joining.syn_ack(now);
                self.joinings.push((joining, tuple));
                self.send(tools, &answer, Some(tuple));
            },
            Err(why) => {
                if let Some(reset) = connection.refuse_join(syn, why) {
                    self.send(tools, &reset, Some(tuple));
                }
            },
        }
    }

    /// Takes a segment of a subflow that is being joined.
    pub(crate) fn input_joining(
        &mut self,
        tools: &mut Tools,
        now: Instant,
        segment: &Segment<MemBuf>,
    ) {
        let tuple = segment.tuple.reversed();
        let limit = tools.segment_max(&tuple, &self.options);
        let Stage::Open(Stream::Multipath(connection)) = &mut self.stage else {
            return;
        };
        let cx = &mut tools.cx(now);
        let answer = if let Some(at) = self.joinings.iter().position(|(_, t)| *t == tuple) {
            match connection.complete_join(cx, &mut self.joinings[at].0, segment) {
                Joined::Waiting(answer) => answer,
                Joined::Established(_) => {
                    self.joinings.remove(at);
                    None
                },
                Joined::Refused(_, answer) => {
                    self.joinings.remove(at);
                    answer
                },
            }
        } else if let Some(at) = self.joins.iter().position(|(_, t)| *t == tuple) {
            match connection.input_join(cx, &mut self.joins[at].0, limit, segment) {
                Initiated::Waiting(answer) => answer,
                Initiated::Established(_) => {
                    self.joins.remove(at);
                    None
                },
                Initiated::Refused(_, answer) => {
                    self.joins.remove(at);
                    answer
                },
            }
        } else {
            None
        };
        if let Some(answer) = answer {
            self.send(tools, &answer, Some(tuple));
        }
    }

    /// Joins every address that the peer announced, from our address on the way to it.
    pub(super) fn events(&mut self, tools: &mut Tools, now: Instant) {
        let mut announced = Vec::new();
        if let Stage::Open(Stream::Multipath(connection)) = &mut self.stage {
            while let Some(event) = connection.take_event() {
                if let Event::AddressAnnounced { addr, port, .. } = event {
                    announced.push((addr, port));
                }
            }
        }
        for (dst, port) in announced {
            let tuple = Tuple {
                src: self.tuple.src,
                dst,
                src_port: self.tuple.src_port.wrapping_add(1),
                dst_port: port.unwrap_or(self.tuple.dst_port),
            };
            if dst.is_ipv4() != tuple.src.is_ipv4() {
                continue;
            }
            let offer = tools.offer(now, &tuple, &self.options, &self.settings, false);
            let opening = Opening::new(tools.isn(now, &tuple), &offer, now);
            let Stage::Open(Stream::Multipath(connection)) = &mut self.stage else {
                return;
            };
            let to = (tuple.dst, tuple.dst_port);
            let cx = &mut tools.cx(now);
            if let Ok(open) = connection.open_join(cx, opening, to, AddrId(0), false) {
                let syn = open.syn(now);
                self.joins.push((open, tuple));
                self.send(tools, &syn, Some(tuple));
            }
        }
    }

    /// It was accepted: announces our further addresses.
    pub(crate) fn announce(&mut self, endpoints: &[(AddrId, IpAddr)]) {
        if let Stage::Open(Stream::Multipath(connection)) = &mut self.stage {
            for (id, addr) in endpoints.iter().filter(|(_, addr)| *addr != self.tuple.src) {
                connection.announce(*id, *addr, None);
            }
        }
    }

    /// Whether its own key has this token.
    pub(crate) fn has_token(&self, token: mptcp::Token) -> bool {
        match &self.stage {
            Stage::Open(Stream::Multipath(connection)) => connection.params().local.token == token,
            _ => false,
        }
    }
}
