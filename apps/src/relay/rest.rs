//! A relay at rest: what is left of one through which nothing moves. It is a fraction of a [`Relay`], and most relays of a
//! box are at rest at any time.

use super::paths::Paths;
use super::pump::Pump;
use super::{Ends, Leg, Plain, Relay, Which};
use mptcp::SubflowId;
use mptcp::connection::{Limits, Resting as RestingConnection};
use stack::slab::Handle;
use stack::tcp::Resting as RestingTcb;
use stack::time::Coarse;
use stack::{Alarm, FlowKey, PackedTuple, PacketBuf, Side, Tuple};
use std::net::{IpAddr, SocketAddrV4};

/// A relay both legs of which are at rest, which neither end has begun to close, and for which nothing is due soon.
pub(crate) struct Resting {
    id: u64,
    legs: Legs,
    inner: PackedTuple,
    /// What an IPv4 subscriber's address and port are towards the Internet, if that is something else.
    mapped: Option<SocketAddrV4>,
    account: u32,
    subscriber: Option<Handle>,
    paths: Option<Box<Paths>>,
    opened: Coarse,
    active: Coarse,
    alarm: Alarm,
    opener: Side,
    /// The side on which Multipath TCP is spoken, if it is.
    multipath: Side,
    tos: (u8, u8),
}

/// The legs, by what each speaks: most relays join one of either kind.
enum Legs {
    /// Multipath TCP on one side, and TCP on the other.
    Mixed(RestingConnection, RestingTcb),
    /// The client's and the server's.
    Plain(RestingTcb, Box<RestingTcb>),
}

impl Legs {
    /// Those legs at rest, if they are, and where Multipath TCP is spoken.
    fn of<B: PacketBuf>(client: &Leg<B>, server: &Leg<B>) -> Option<(Self, Side)> {
        Some(match (client, server) {
            (Leg::Multipath(client), Leg::Plain(server)) => {
                (Self::Mixed(client.rest()?, server.rest()?), Side::Access)
            },
            (Leg::Plain(client), Leg::Multipath(server)) => {
                (Self::Mixed(server.rest()?, client.rest()?), Side::Core)
            },
            (Leg::Plain(client), Leg::Plain(server)) => {
                let legs = Self::Plain(client.rest()?, Box::new(server.rest()?));
                (legs, Side::Access)
            },
            // No box has such.
            (Leg::Multipath(_), Leg::Multipath(_)) => return None,
        })
    }

    /// The client's and the server's leg between `ends`.
    fn wake<B: PacketBuf>(&self, side: Side, ends: &Ends, limits: Limits) -> (Leg<B>, Leg<B>) {
        // As segments leave.
        let (to_client, to_server) = (ends.inner.reversed(), ends.outer);
        let plain = |tcb: &RestingTcb, tuple| Leg::Plain(Plain::new(tcb.wake(), tuple));
        let multipath = |leg: &RestingConnection, tuple: Tuple| {
            Leg::Multipath(leg.wake((tuple.dst, tuple.dst_port), limits))
        };
        match (self, side) {
            (Self::Mixed(leg, tcb), Side::Access) => {
                (multipath(leg, to_client), plain(tcb, to_server))
            },
            (Self::Mixed(leg, tcb), Side::Core) => {
                (plain(tcb, to_client), multipath(leg, to_server))
            },
            (Self::Plain(client, server), _) => {
                (plain(client, to_client), plain(server, to_server))
            },
        }
    }

    /// Octets moved from the client to the server, and back: at rest all that came was taken, and acknowledged.
    const fn moved(&self, side: Side) -> (u64, u64) {
        match (self, side) {
            (Self::Mixed(_, client), Side::Core) => (client.bytes_received(), client.bytes_acked()),
            (Self::Mixed(_, server), Side::Access) => {
                (server.bytes_acked(), server.bytes_received())
            },
            (Self::Plain(_, server), _) => (server.bytes_acked(), server.bytes_received()),
        }
    }

    const fn multipath(&self) -> Option<&RestingConnection> {
        match self {
            Self::Plain(..) => None,
            Self::Mixed(leg, _) => Some(leg),
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
            token: _,
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
        // One that was woken has yet to run, which counts what it holds now.
        if *woken || announce_other_at.is_some() {
            return None;
        }
        let mapped = match ends.outer.src {
            IpAddr::V4(src) if ends.outer != ends.inner => {
                Some(SocketAddrV4::new(src, ends.outer.src_port))
            },
            _ => None,
        };
        let (legs, multipath) = Legs::of(client, server)?;
        // Legs that are at rest have neither begun to close, nor a subflow with a cap, nor anything to hold or to wait for.
        debug_assert!(!up.is_finishing() && !down.is_finishing() && ending.is_none());
        debug_assert!(*held == 0 && cap_wake.is_none() && capped.is_empty());
        debug_assert_eq!(legs.moved(multipath), (up.bytes, down.bytes));
        Some(Resting {
            id: *id,
            legs,
            inner: PackedTuple::from(ends.inner),
            mapped,
            account: *account,
            subscriber: *subscriber,
            paths: paths.take(),
            opened: (*opened).into(),
            active: (*active).into(),
            alarm: core::mem::take(alarm),
            opener: ends.opener,
            multipath,
            tos: (*tos_up, *tos_down),
        })
    }
}

impl Resting {
    /// The relay, to go on with, but for its paths and its timer.
    pub(super) fn wake<B: PacketBuf>(&self, limits: Limits) -> Relay<B> {
        let ends = self.ends();
        let legs = self.legs.wake(self.multipath, &ends, limits);
        let when = (self.opened.into(), self.active.into());
        let mut relay = Relay::new(self.id, ends, legs, when, self.tos);
        relay.token = relay.multipath().map(|leg| leg.params().local.token);
        relay.joined = self.joined().collect();
        relay.account = self.account;
        relay.subscriber = self.subscriber;
        let (up, down) = self.legs.moved(self.multipath);
        (relay.up, relay.down) = (Pump::of(up), Pump::of(down));
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
        let multipath = self.legs.multipath().into_iter();
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

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::MemBuf;
    use stack::tcp::{Agreed, Tcb};
    use stack::{Instant, SeqNum};

    /// Numbers of the flow index may be another flow's: the keys alone tell.
    #[test]
    fn a_relay_at_rest_knows_its_own_keys_alone() {
        let tuple = |port| Tuple {
            src: "10.1.0.2".parse().unwrap(),
            dst: "10.9.0.2".parse().unwrap(),
            src_port: port,
            dst_port: 80,
        };
        let now = Instant::from_millis(1_000);
        let leg = |tuple| {
            let agreed = Agreed::plain(SeqNum(1), SeqNum(2), 1460);
            Leg::Plain(Plain::new(Tcb::<MemBuf>::new(&agreed, now), tuple))
        };
        let ends = Ends::outbound(tuple(1_000));
        let legs = (leg(ends.inner.reversed()), leg(ends.outer));
        let mut relay = Relay::new(7, ends, legs, (now, now), (0, 0));
        let (initial, joined) = (SubflowId::INITIAL, SubflowId(1));
        let check = |has: &dyn Fn(Which, &FlowKey) -> bool| {
            let [client, server] = ends.keys();
            let others = Ends::outbound(tuple(1_001)).keys();
            assert!(has(Which::Client(initial), &client));
            assert!(has(Which::Server(initial), &server));
            for key in others.iter().chain([&server]) {
                assert!(!has(Which::Client(initial), key));
            }
            assert!(!has(Which::Server(initial), &client));
            assert!(!has(Which::Client(joined), &client));
        };
        check(&|which, key| relay.has(which, key));
        let resting = relay.rest().unwrap();
        check(&|which, key| resting.has(which, key));
    }
}
