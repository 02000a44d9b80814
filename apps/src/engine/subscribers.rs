//! What each subscriber uses of the box, and what networks in the Internet ask of it: one that asks for too much is served
//! as by a router and pushes nobody else aside.

use super::Engine;
use super::config::PerSubscriber;
use super::policy::subscriber_key;
use crate::relay::Ends;
use core::net::IpAddr;
use stack::PacketBuf;
use stack::Side;
use stack::slab::{Handle, Slab};
use std::collections::BTreeMap;

/// What one subscriber uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    key: u128,
    /// Pending flows that it opened.
    pub(super) pending: usize,
    /// Pending flows that the Internet opened to it.
    pub(super) inbound: usize,
    /// Relays.
    pub(super) relays: usize,
    /// Half-open joins of its connections.
    pub(super) joining: usize,
    /// Octets that its relays hold.
    pub(super) held: u64,
}

impl Usage {
    const fn is_idle(&self) -> bool {
        self.pending == 0 && self.inbound == 0 && self.relays == 0 && self.joining == 0
    }

    /// A flow that `opener` opened is pending no longer.
    const fn ends_pending(&mut self, opener: Side) {
        match opener {
            Side::Access => self.pending -= 1,
            Side::Core => self.inbound -= 1,
        }
    }

    /// What a relay of it may still hold in each direction: half of what is left to the subscriber.
    pub(super) fn room(&self, limits: &PerSubscriber) -> u32 {
        let half = limits.buffer.saturating_sub(self.held) / 2;
        u32::try_from(half).unwrap_or(u32::MAX)
    }

    /// What each of its relays may hold if all hold as much.
    pub(super) fn room_of_each(&self, limits: &PerSubscriber) -> u32 {
        let relays = u64::try_from(self.relays.max(1)).unwrap_or(u64::MAX);
        u32::try_from(limits.buffer / relays).unwrap_or(u32::MAX)
    }
}

/// The usage of every subscriber that uses anything.
pub(super) struct Subscribers {
    usage: Slab<Usage>,
    by_key: BTreeMap<u128, Handle>,
    /// Pending flows from the Internet, by the network that they came from.
    by_source: BTreeMap<u128, usize>,
    /// All pending flows from the Internet.
    pub(super) inbound: usize,
}

impl Subscribers {
    /// Room for `most` subscribers at once: as many as there may be flows.
    pub(super) fn new(most: usize) -> Self {
        Self {
            usage: Slab::with_capacity(most),
            by_key: BTreeMap::new(),
            by_source: BTreeMap::new(),
            inbound: 0,
        }
    }

    /// Subscribers that use anything.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// What the subscriber with `address` uses.
    pub(super) fn of(&self, address: IpAddr) -> Usage {
        let handle = self.by_key.get(&subscriber_key(address));
        handle
            .and_then(|handle| self.usage.get(*handle))
            .copied()
            .unwrap_or_default()
    }

    /// What the subscriber behind `handle` uses.
    pub(super) fn get(&self, handle: Option<Handle>) -> Usage {
        let usage = handle.and_then(|handle| self.usage.get(handle));
        usage.copied().unwrap_or_default()
    }

    /// Octets that the relays of the subscriber behind `handle` hold.
    pub(super) fn held(&self, handle: Option<Handle>) -> u64 {
        let usage = handle.and_then(|handle| self.usage.get(handle));
        usage.map_or(0, |usage| usage.held)
    }

    /// Pending flows from the network of `source`.
    pub(super) fn of_source(&self, source: IpAddr) -> usize {
        let count = self.by_source.get(&source_key(source));
        count.copied().unwrap_or(0)
    }

    /// Changes the usage of the subscriber with `address`; its handle, while it uses anything.
    fn change(&mut self, address: IpAddr, change: impl FnOnce(&mut Usage)) -> Option<Handle> {
        let key = subscriber_key(address);
        let handle = match self.by_key.get(&key) {
            Some(handle) => *handle,
            None => {
                let usage = Usage {
                    key,
                    ..Usage::default()
                };
                // There are no more subscribers with flows than there may be flows.
                let handle = self.usage.insert(usage).ok()?;
                self.by_key.insert(key, handle);
                handle
            },
        };
        self.change_at(Some(handle), change);
        Some(handle)
    }

    /// Changes the usage behind `handle`, and forgets it once that is nothing.
    pub(super) fn change_at(&mut self, handle: Option<Handle>, change: impl FnOnce(&mut Usage)) {
        let Some(handle) = handle else {
            return;
        };
        let Some(usage) = self.usage.get_mut(handle) else {
            return;
        };
        change(usage);
        if usage.is_idle() {
            let key = usage.key;
            self.usage.remove(handle);
            self.by_key.remove(&key);
        }
    }

    /// A flow between `ends` is pending.
    pub(super) fn begin(&mut self, ends: &Ends) {
        let subscriber = ends.inner.src;
        if ends.opener == Side::Access {
            self.change(subscriber, |usage| usage.pending += 1);
            return;
        }
        self.change(subscriber, |usage| usage.inbound += 1);
        self.inbound += 1;
        *self
            .by_source
            .entry(source_key(ends.outer.dst))
            .or_insert(0) += 1;
    }

    /// It no longer is.
    pub(super) fn end(&mut self, ends: &Ends) {
        self.change(ends.inner.src, |usage| usage.ends_pending(ends.opener));
        self.end_inbound(ends);
    }

    /// A pending flow between `ends` has become a relay; the handle of its subscriber.
    pub(super) fn open(&mut self, ends: &Ends) -> Option<Handle> {
        self.end_inbound(ends);
        self.change(ends.inner.src, |usage| {
            usage.ends_pending(ends.opener);
            usage.relays += 1;
        })
    }

    fn end_inbound(&mut self, ends: &Ends) {
        if ends.opener == Side::Access {
            return;
        }
        self.inbound -= 1;
        let key = source_key(ends.outer.dst);
        if let Some(count) = self.by_source.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&key);
            }
        }
    }
}

impl<B: PacketBuf> Engine<B> {
    /// Whether the subscriber of `relay` has as many half-open joins as it may.
    pub(super) fn joins_too_much(&self, relay: Handle) -> bool {
        let subscriber = self.relays.subscriber(relay);
        let most = self.config.limits.per_subscriber.joining;
        self.subscribers.get(subscriber).joining >= most
    }
}

/// The network that a limit on sources counts: a /24 of IPv4, a /48 of IPv6.
const fn source_key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => (v4.to_bits() >> 8) as u128,
        IpAddr::V6(v6) => v6.to_bits() >> 80 << 80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stack::Tuple;

    fn ends(host: &str, peer: &str, opener: Side) -> Ends {
        let tuple = Tuple {
            src: host.parse().unwrap(),
            dst: peer.parse().unwrap(),
            src_port: 1,
            dst_port: 2,
        };
        match opener {
            Side::Access => Ends::outbound(tuple),
            Side::Core => Ends::inbound(tuple.reversed()),
        }
    }

    #[test]
    fn usage_is_counted_by_subscriber_and_source_and_forgotten_with_the_last() {
        let mut all = Subscribers::new(10);
        let out = ends("fd00:1::2", "fd00:9::2", Side::Access);
        let inward = ends("fd00:1::3", "fd00:9:0:1::2", Side::Core);
        all.begin(&out);
        all.begin(&inward);
        all.begin(&out);
        let relay = all.open(&out);
        all.change_at(relay, |usage| usage.held = 100);
        let usage = all.of("fd00:1::4".parse().unwrap());
        assert_eq!((usage.pending, usage.inbound, usage.relays), (1, 1, 1));
        assert_eq!(all.of_source("fd00:9:0:2::9".parse().unwrap()), 1, "a /48");
        assert_eq!(all.of_source("fd00:8::9".parse().unwrap()), 0);
        assert_eq!((all.len(), all.inbound), (1, 1));
        all.end(&out);
        all.end(&inward);
        assert_eq!((all.len(), all.inbound), (1, 0));
        all.change_at(relay, |usage| usage.relays -= 1);
        assert_eq!(all.len(), 0);
        assert!(all.by_source.is_empty());
        assert_eq!(all.get(relay), Usage::default());
    }

    #[test]
    fn ipv4_sources_are_counted_by_24() {
        let key = |text: &str| source_key(text.parse().unwrap());
        assert_eq!(key("192.0.2.1"), key("192.0.2.254"));
        assert_ne!(key("192.0.2.1"), key("192.0.3.1"));
    }

    #[test]
    fn a_relay_may_hold_half_of_what_is_left_to_its_subscriber() {
        let limits = PerSubscriber {
            buffer: 1_000,
            ..PerSubscriber::default()
        };
        let with = |held| Usage {
            held,
            ..Usage::default()
        };
        assert_eq!(with(0).room(&limits), 500);
        assert_eq!(with(600).room(&limits), 200);
        assert_eq!(with(2_000).room(&limits), 0);
        let four = Usage {
            relays: 4,
            ..with(600)
        };
        assert_eq!(four.room_of_each(&limits), 250);
        assert_eq!(with(0).room_of_each(&limits), 1_000);
    }
}
