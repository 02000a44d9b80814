//! A relay at rest: what is left of one through which nothing moves. It is a fraction of a [`Relay`], and most relays of a
//! box are at rest at any time.

use super::leg::{Leg, Plain};
use super::paths::Paths;
use super::pump::Pump;
use super::{Ends, Relay, Which};
use mptcp::connection::{Limits, Resting as RestingConnection};
use mptcp::{SubflowId, Token};
use stack::slab::Handle;
use stack::tcp::Resting as RestingTcb;
use stack::{Alarm, FlowKey, Instant, PackedTuple, PacketBuf, Side, Tuple};
use std::net::{IpAddr, SocketAddrV4};

/// A relay both legs of which are at rest, which neither end has begun to close, and for which nothing is due soon.
pub(crate) struct Resting {
    id: u64,
    client: RestingLeg,
    server: RestingLeg,
    inner: PackedTuple,
    /// What an IPv4 subscriber's address and port are towards the Internet, if that is something else.
    mapped: Option<SocketAddrV4>,
    token: Option<Token>,
    account: u32,
    subscriber: Option<Handle>,
    paths: Option<Box<Paths>>,
    up: u64,
    down: u64,
    opened: Instant,
    active: Instant,
    alarm: Alarm,
    opener: Side,
    tos: (u8, u8),
}

enum RestingLeg {
    Plain(Box<RestingTcb>),
    Multipath(Box<RestingConnection>),
}

impl RestingLeg {
    fn of<B: PacketBuf>(leg: &Leg<B>) -> Option<Self> {
        Some(match leg {
            Leg::Plain(leg) => Self::Plain(Box::new(leg.rest()?)),
            Leg::Multipath(leg) => Self::Multipath(Box::new(leg.rest()?)),
        })
    }

    /// The leg, whose segments leave with `tuple` on its first subflow.
    fn wake<B: PacketBuf>(&self, tuple: Tuple, limits: Limits) -> Leg<B> {
        match self {
            Self::Plain(tcb) => Leg::Plain(Plain::new(tcb.wake(), tuple)),
            Self::Multipath(leg) => Leg::Multipath(Box::new(leg.wake(limits))),
        }
    }

    const fn multipath(&self) -> Option<&RestingConnection> {
        match self {
            Self::Plain(_) => None,
            Self::Multipath(leg) => Some(leg),
        }
    }
}

impl<B: PacketBuf> Relay<B> {
    /// The relay at rest, and its timer with it; `None`, and nothing changed, if it is not.
    pub(super) fn rest(&mut self) -> Option<Resting> {
        // All fields are named: a new one has to be kept, or not to matter at rest.
        let Self {
            id,
            ends,
            client,
            server,
            token,
            joined: _,
            account,
            up,
            down,
            opened,
            active,
            ran: _,
            tos_up,
            tos_down,
            ending,
            announce_other_at,
            paths,
            subscriber,
            capped,
            cap_wake,
            held,
            alarm,
            starved: _,
            woken,
        } = self;
        let closes = up.is_finishing() || down.is_finishing() || ending.is_some();
        let waits = announce_other_at.is_some() || cap_wake.is_some() || !capped.is_empty();
        if closes || waits || *held > 0 || *woken {
            return None;
        }
        let mapped = match ends.outer.src {
            IpAddr::V4(src) if ends.outer != ends.inner => {
                Some(SocketAddrV4::new(src, ends.outer.src_port))
            },
            _ => None,
        };
        Some(Resting {
            id: *id,
            client: RestingLeg::of(client)?,
            server: RestingLeg::of(server)?,
            inner: PackedTuple::from(ends.inner),
            mapped,
            token: *token,
            account: *account,
            subscriber: *subscriber,
            paths: paths.take(),
            up: up.bytes,
            down: down.bytes,
            opened: *opened,
            active: *active,
            alarm: core::mem::take(alarm),
            opener: ends.opener,
            tos: (*tos_up, *tos_down),
        })
    }
}

impl Resting {
    /// The relay, to go on with, but for its paths and its timer.
    pub(super) fn wake<B: PacketBuf>(&self, limits: Limits) -> Relay<B> {
        let ends = self.ends();
        let client = self.client.wake(ends.inner.reversed(), limits);
        let server = self.server.wake(ends.outer, limits);
        let when = (self.opened, self.active);
        let mut relay = Relay::new(self.id, ends, (client, server), when, self.tos);
        relay.token = self.token;
        relay.joined = self.joined().collect();
        relay.account = self.account;
        relay.subscriber = self.subscriber;
        relay.up = Pump::of(self.up);
        relay.down = Pump::of(self.down);
        relay
    }

    /// What [`Self::wake`] leaves behind.
    pub(super) fn leave(self) -> (Option<Box<Paths>>, Alarm) {
        (self.paths, self.alarm)
    }

    pub(super) const fn paths(&self) -> Option<&Paths> {
        match &self.paths {
            Some(paths) => Some(paths),
            None => None,
        }
    }

    pub(super) const fn subscriber(&self) -> Option<Handle> {
        self.subscriber
    }

    /// Whether segments of `key` are those of this leg and subflow.
    pub(super) fn has(&self, which: Which, key: &FlowKey) -> bool {
        let [client, server] = self.ends().keys();
        let (id, first) = match which {
            Which::Client(id) => (id, client),
            Which::Server(id) => (id, server),
        };
        id == SubflowId::INITIAL && first == *key
            || self.joined().any(|joined| joined == (id, key.tuple))
    }

    fn joined(&self) -> impl Iterator<Item = (SubflowId, Tuple)> {
        let legs = [&self.client, &self.server];
        let multipath = legs.into_iter().filter_map(RestingLeg::multipath);
        multipath.flat_map(RestingConnection::joined)
    }

    pub(super) fn ends(&self) -> Ends {
        let inner = Tuple::from(&self.inner);
        let outer = self.mapped.map_or(inner, |mapped| Tuple {
            src: IpAddr::V4(*mapped.ip()),
            src_port: mapped.port(),
            ..inner
        });
        Ends {
            inner,
            outer,
            opener: self.opener,
        }
    }
}
