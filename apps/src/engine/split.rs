//! The moment of the split: the opener's third ACK has come, a pending flow becomes a relay, and only now the answerer gets
//! its own third ACK. So a spoofed SYN completes no handshake anywhere.

use super::{Engine, EngineConfig, FlowRef, TokenRef};
use crate::Counter;
use crate::relay::{Answered, Kind, Leg, Pending, Plain, Relay, Which};
use mptcp::connection::{Connection, Limits, Params, SUBFLOWS_MAX, SubflowId};
use mptcp::handshake::capable::{self, CapableRequest, ThirdAck};
use mptcp::{AddrId, Key, LocalKey, Role, Token, Version};
use stack::slab::Handle;
use stack::tcp::{Agreed, Tcb};
use stack::time::Duration;
use stack::wire::tcp::Segment;
use stack::{Instant, PacketBuf, Side};

/// How long addresses of the flow's own family are given to bring a subflow before the other's are announced.
const OTHER_FAMILY_AFTER: Duration = Duration::from_secs(2);

/// What the opener's third ACK makes of its leg.
enum Opener {
    /// Multipath TCP, with what was agreed.
    Multipath(Params),
    /// TCP: no MP_CAPABLE was offered, or it did not come back.
    Plain,
}

impl<B: PacketBuf> Engine<B> {
    /// Takes the segment that completes the opener's handshake.
    pub(super) fn split(
        &mut self,
        now: Instant,
        handle: Handle,
        agreed: &Agreed,
        segment: &Segment<B>,
    ) {
        let Some(opener) = self.opener_of(handle, segment) else {
            return;
        };
        let Some(pending) = self.take_pending(handle) else {
            return;
        };
        let ends = pending.ends();
        let relay = self.relay_of(now, &pending, (&opener, agreed), segment);
        let token = relay.as_ref().and_then(|relay| relay.token);
        let Some(relay) = relay.and_then(|relay| self.take_in(relay)) else {
            self.leave_pending(handle, &ends);
            return self.free_tokens(&pending, None);
        };
        // Keys, mapping and token are the relay's from here on.
        let pending_flow = FlowRef::Pending(handle);
        let [from_client, from_server] = ends.keys();
        let (client, server) = (
            Which::Client(SubflowId::INITIAL),
            Which::Server(SubflowId::INITIAL),
        );
        self.turn_flow(&from_client, pending_flow, FlowRef::Leg(relay, client));
        self.turn_flow(&from_server, pending_flow, FlowRef::Leg(relay, server));
        self.free_tokens(&pending, token);
        if let Some(token) = token {
            self.tokens.set(token, TokenRef(relay.index));
        }
        self.wake(relay);
    }

    /// The relay that a pending flow becomes, which has its place in its subscriber's limit from here on.
    fn relay_of(
        &mut self,
        now: Instant,
        pending: &Pending,
        (opener, agreed): (&Opener, &Agreed),
        segment: &Segment<B>,
    ) -> Option<Box<Relay<B>>> {
        let ends = pending.ends();
        let subscriber = self.subscribers.open(&ends);
        let Some((answerer, opened)) = self.answerer_leg(now, pending) else {
            self.close_of(subscriber);
            return None;
        };
        let from_opener = ends.opener_sends();
        let mut tcb = Tcb::new(agreed, now);
        let (opener, token) = match opener {
            Opener::Plain => {
                self.tune(&mut tcb);
                let leg = Plain::new(tcb, from_opener.reversed());
                (Leg::Plain(leg), opened)
            },
            Opener::Multipath(params) => {
                let cx = &mut self.tools.leg(now);
                let connection = Connection::new(cx, params, tcb, from_opener);
                (Leg::Multipath(connection), Some(params.local.token))
            },
        };
        self.tools.apps.count(Counter::Opened);
        self.tools.apps.count(if token.is_some() {
            Counter::OpenedMptcp
        } else {
            Counter::OpenedPlain
        });
        let answered = pending.answered.as_ref();
        let tos = (pending.tos, answered.map_or(0, |a| a.tos));
        let (legs, tos, from) = match ends.opener {
            Side::Access => ((opener, answerer), tos, Which::Client(SubflowId::INITIAL)),
            Side::Core => (
                (answerer, opener),
                (tos.1, tos.0),
                Which::Server(SubflowId::INITIAL),
            ),
        };
        let opened = (pending.opened, now);
        let mut relay = Box::new(Relay::new(self.next_id, ends, legs, opened, tos));
        self.next_id += u64::from(self.config.cores);
        relay.token = token;
        relay.account = self.metering.account(ends.inner.src);
        relay.subscriber = subscriber;
        let version = relay.multipath().map(|leg| leg.params().version);
        if version == Some(Version::V0) {
            self.tools.apps.count(Counter::OpenedVersion0);
        }
        relay.set_keepalive(now, self.config.timeouts.keepalive);
        self.announce(now, &mut relay);
        relay.paths = self.paths_of(now, &relay);
        relay.input(&mut self.tools.leg(now), from, segment);
        Some(relay)
    }

    /// Gives a relay its place; without one it is gone.
    fn take_in(&mut self, relay: Box<Relay<B>>) -> Option<Handle> {
        let placed = self.relays.insert(relay);
        placed.map_err(|relay| self.close_of(relay.subscriber)).ok()
    }

    /// A relay of `subscriber` is gone.
    fn close_of(&mut self, subscriber: Option<Handle>) {
        self.subscribers
            .change_at(subscriber, |usage| usage.relays -= 1);
    }

    /// What the segment's options make of the opener's leg; `None` if it is to be ignored.
    fn opener_of(&mut self, handle: Handle, segment: &Segment<B>) -> Option<Opener> {
        let pending = self.pendings.get(handle)?;
        let answered = pending.answered.as_ref()?;
        let (Kind::Capable(request), Some(local)) = (pending.kind, answered.key) else {
            return Some(Opener::Plain);
        };
        let checksum = self.config.checksum || request.terms.checksum;
        let offered = capable::Answered {
            version: request.version,
            checksum,
            local: local.key,
            remote: request.key,
        };
        let third_ack = capable::third_ack(&segment.options.mptcp, &offered);
        if let Some(counter) = third_ack.counter() {
            self.tools.mptcp.count(counter);
        }
        match third_ack {
            ThirdAck::Established { remote, .. } => {
                let params = self.params(&request, checksum, (local, remote));
                Some(Opener::Multipath(params))
            },
            ThirdAck::TooEarly => None,
            ThirdAck::Fallback(_) => {
                self.tools.apps.count(Counter::FallbackThirdAck);
                Some(Opener::Plain)
            },
        }
    }

    fn params(
        &self,
        request: &CapableRequest,
        checksum: bool,
        (local, remote_key): (LocalKey, Key),
    ) -> Params {
        Params {
            version: request.version,
            role: Role::Responder,
            local,
            remote_key,
            checksum,
            peer_denies_initial_addr: request.terms.deny_join_initial,
            limits: connection_limits(&self.config.limits),
        }
    }

    /// What we open a connection with, after the answer to our MP_CAPABLE.
    fn initiator_params(&self, local: LocalKey, settled: &capable::Agreed) -> Params {
        Params {
            version: settled.version,
            role: Role::Initiator,
            local,
            remote_key: settled.remote,
            checksum: settled.checksum,
            peer_denies_initial_addr: settled.deny_join_initial,
            limits: connection_limits(&self.config.limits),
        }
    }

    /// How a TCP leg sends.
    fn tune(&self, tcb: &mut Tcb<B>) {
        tcb.set_congestion(self.config.policy.tcp_congestion);
        if self.config.policy.tcp_pacing {
            tcb.set_pacing();
        }
    }

    /// The answerer's leg: it goes on with the opener's number, timestamps and window scale, and acknowledges at once.
    fn answerer_leg(&mut self, now: Instant, pending: &Pending) -> Option<(Leg<B>, Option<Token>)> {
        let Answered {
            opening,
            offer,
            key,
            agreed: settled,
            ..
        } = pending.answered.as_deref()?;
        let to_answerer = pending.ends().answerer_gets();
        let dst = to_answerer.dst;
        let smss = offer.smss(self.segment_max(dst), dst.is_ipv6());
        let agreed = opening.agreed(smss)?;
        let mut tcb = Tcb::new(&agreed, now);
        tcb.request_ack();
        let (Some(local), Some(settled)) = (key, settled) else {
            self.tune(&mut tcb);
            return Some((Leg::Plain(Plain::new(tcb, to_answerer)), None));
        };
        let params = self.initiator_params(*local, settled);
        let received = to_answerer.reversed();
        let connection = Connection::new(&mut self.tools.leg(now), &params, tcb, received);
        Some((Leg::Multipath(connection), Some(local.token)))
    }

    /// Tells the client where else it can reach us: at addresses of the flow's own family, at once.
    fn announce(&self, now: Instant, relay: &mut Relay<B>) {
        if let Some(edge) = &self.config.edge {
            if edge.announce {
                self.announce_paths(relay);
            }
            return;
        }
        let ipv6 = relay.ends.inner.dst.is_ipv6();
        if announce_family(&self.config, relay, ipv6) {
            relay.announce_other_at = Some(now + OTHER_FAMILY_AFTER);
        } else {
            announce_family(&self.config, relay, !ipv6);
        }
    }

    /// Tells the box in the network where it can reach us: at one address of each secondary port, of the flow's own family
    /// if there is one, so that one access brings one subflow.
    fn announce_paths(&self, relay: &mut Relay<B>) {
        let ipv6 = relay.ends.outer.dst.is_ipv6();
        for port in self.own.ports() {
            let mut own = self.own.on(Some(port));
            let own = own
                .clone()
                .find(|own| own.addr.is_ipv6() == ipv6)
                .or_else(|| own.next());
            if let (Some(own), Some(connection)) = (own, relay.multipath_mut()) {
                connection.announce(own.id, own.addr, self.config.join_port());
            }
        }
    }
}

/// Tells the client of `relay` of the other family's addresses too, if none of its own brought a subflow: one that can use both would
/// join twice over one access.
pub(super) fn announce_other<B: PacketBuf>(config: &EngineConfig, relay: &mut Relay<B>) {
    relay.announce_other_at = None;
    if relay.joined.is_empty() && !relay.is_closing() {
        let ipv6 = relay.ends.inner.dst.is_ipv6();
        announce_family(config, relay, !ipv6);
    }
}

/// What bounds a connection of ours.
pub(super) fn connection_limits(limits: &super::Limits) -> Limits {
    Limits {
        subflows: u8::try_from(limits.subflows.min(SUBFLOWS_MAX)).unwrap_or(1),
        send_buffer: limits.buffer,
        recv_buffer: limits.buffer,
        ..Limits::default()
    }
}

/// Announces those addresses that are of one family; whether there was any.
fn announce_family<B: PacketBuf>(config: &EngineConfig, relay: &mut Relay<B>, ipv6: bool) -> bool {
    let Some(connection) = relay.client.multipath_mut() else {
        return false;
    };
    let mut any = false;
    for (id, address) in (1..=u8::MAX).zip(&config.announce) {
        if address.is_ipv6() == ipv6 {
            connection.announce(AddrId(id), *address, config.join_port());
            any = true;
        }
    }
    any
}
