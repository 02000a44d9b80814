//! What an access network costs, and how much it may carry: the part of policy that every subflow is told.
//!
//! A capped path has a bucket that all connections of the engine share. What a relay may send of new data is taken out
//! of it as an allowance before the relay runs; what has left, retransmissions and bare acknowledgments included, is
//! counted against it after. So these may overdraw a bucket, and new data waits until that is made up for.

use super::Engine;
use super::config::{EngineConfig, PolicySettings, PortRole, SchedulerKind};
use super::policy::subscriber_key;
use crate::relay::Relay;
use core::net::IpAddr;
use mptcp::connection::SubflowId;
use mptcp::scheduler::{Blest, Ecf, LowestRtt, Overflow, Redundant, Scheduler, Weighted};
use stack::slab::Handle;
use stack::time::Duration;
use stack::{Frame, Instant, PacketBuf, PortId, Tuple};
use std::collections::BTreeMap;

/// How much may leave at once after a pause, in time at the cap's rate.
const BURST: Duration = Duration::from_millis(20);
/// At least so many octets may: two full packets.
const BURST_MIN: u64 = 3_000;
/// What is waited for is a full packet of so many octets,
const PACKET: u64 = 1_500;
/// and at least so long, so that packets leave in small bursts where the cap is a high one.
const WAIT_MIN: Duration = Duration::from_millis(1);
/// Octets of the header that is not an IP packet's.
const ETHERNET: usize = 14;
/// Buckets at least kept before those that are full are forgotten.
const SWEEP_MIN: usize = 64;

/// A capped path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CapKey {
    port: u8,
    /// The line at the other end, at a box in the network: an IPv4 address or an IPv6 /64. Else 0.
    line: u128,
}

/// A subflow on a capped path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capped {
    pub(crate) subflow: SubflowId,
    pub(crate) key: CapKey,
}

/// A cap in the form that is computed with.
#[derive(Clone, Copy, Debug)]
struct Cap {
    /// Bits per second.
    rate: u64,
    /// How long the bucket takes to fill.
    burst: Duration,
}

impl Cap {
    fn new(rate: u64) -> Self {
        let rate = rate.max(1);
        let burst = time_of(BURST_MIN, rate).max(BURST);
        Self { rate, burst }
    }
}

/// The caps of all ports, and their buckets. A bucket is the time at which it will be full again: one that is full is
/// like one that never was used.
#[derive(Debug, Default)]
pub(super) struct Caps {
    /// By port.
    caps: Vec<Option<Cap>>,
    /// Whether a bucket belongs to a line at the other end, or to the port as a whole.
    by_line: bool,
    full_at: BTreeMap<CapKey, Instant>,
    sweep_at: usize,
}

impl Caps {
    pub(super) fn new(config: &EngineConfig) -> Self {
        let caps = config.ports.iter().map(|port| port.cap.map(Cap::new));
        Self {
            caps: caps.collect(),
            by_line: config.edge.is_none(),
            full_at: BTreeMap::new(),
            sweep_at: SWEEP_MIN,
        }
    }

    /// The bucket for what leaves by `port` to `remote`, if there is a cap.
    pub(super) fn key(&self, port: PortId, remote: IpAddr) -> Option<CapKey> {
        self.caps.get(usize::from(port.0)).copied().flatten()?;
        let line = if self.by_line {
            subscriber_key(remote)
        } else {
            0
        };
        Some(CapKey { port: port.0, line })
    }

    fn cap(&self, key: CapKey) -> Option<Cap> {
        self.caps.get(usize::from(key.port)).copied().flatten()
    }

    /// Octets of packets that may leave now.
    pub(super) fn allowance(&self, now: Instant, key: CapKey) -> Option<u32> {
        let cap = self.cap(key)?;
        let owed = (self.full_at.get(&key)).map_or(Duration::ZERO, |at| at.since(now));
        let left = cap.burst.saturating_sub(owed);
        let octets = left.as_nanos() * u128::from(cap.rate) / 8_000_000_000;
        Some(u32::try_from(octets).unwrap_or(u32::MAX))
    }

    /// Counts a packet of `octets` that left.
    pub(super) fn spend(&mut self, now: Instant, key: CapKey, octets: usize) {
        let Some(cap) = self.cap(key) else {
            return;
        };
        if self.full_at.len() >= self.sweep_at && !self.full_at.contains_key(&key) {
            self.full_at.retain(|_, at| *at > now);
            self.sweep_at = (self.full_at.len() * 2).max(SWEEP_MIN);
        }
        let at = self.full_at.entry(key).or_insert(now);
        let octets = u64::try_from(octets).unwrap_or(u64::MAX);
        *at = (*at).max(now) + time_of(octets, cap.rate);
    }

    /// When a full packet may leave, later than now.
    pub(super) fn ready_at(&self, now: Instant, key: CapKey) -> Option<Instant> {
        let cap = self.cap(key)?;
        let owed = (self.full_at.get(&key)).map_or(Duration::ZERO, |at| at.since(now));
        let owed = owed + time_of(PACKET, cap.rate);
        Some(now + owed.saturating_sub(cap.burst).max(WAIT_MIN))
    }
}

impl<B: PacketBuf> Engine<B> {
    /// Tells a connection how subflows are chosen, and what the path of the new one costs; notes if that is capped.
    /// `tuple` is that of the segments that we receive.
    pub(super) fn on_subflow_opened(&mut self, handle: Handle, id: SubflowId, tuple: Tuple) {
        let port = self.net.port_from(tuple.dst, tuple.src);
        let first = id == SubflowId::INITIAL;
        let cost = self.config.cost(port, first);
        let weight = port.and_then(|port| self.config.ports.get(usize::from(port.0)));
        let weight = weight.map_or(1, |port| port.weight);
        let key = port.and_then(|port| self.caps.key(port, tuple.src));
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        if let Some(key) = key {
            relay.capped.push(Capped { subflow: id, key });
        }
        if let Some(connection) = relay.multipath_mut() {
            if first {
                connection.set_scheduler(self.config.policy.scheduler());
                connection.set_coupling(self.config.policy.congestion);
            }
            connection.set_cost(id, cost);
            connection.set_weight(id, weight);
        }
    }
}

impl<B: PacketBuf> Relay<B> {
    /// Forgets a subflow that has ended.
    pub(super) fn uncap(&mut self, id: SubflowId) {
        self.capped.retain(|capped| capped.subflow != id);
    }

    /// Lets each capped subflow send what its path's bucket holds.
    pub(super) fn grant(&mut self, now: Instant, caps: &Caps) {
        let capped = core::mem::take(&mut self.capped);
        if let Some(connection) = self.multipath_mut() {
            for Capped { subflow, key } in &capped {
                connection.set_allowance(*subflow, caps.allowance(now, *key));
            }
        }
        self.capped = capped;
    }

    /// Has the relay run again when a path's cap lets more go, if that is what data waits for.
    pub(super) fn await_caps(&mut self, now: Instant, caps: &Caps) {
        let waits = self
            .multipath()
            .is_some_and(|connection| connection.waits_for_allowance());
        let ready = self
            .capped
            .iter()
            .filter_map(|capped| caps.ready_at(now, capped.key));
        self.cap_wake = ready.min().filter(|_| waits);
    }
}

/// Counts what was sent on `subflow`.
pub(super) fn charge<B: PacketBuf>(
    (caps, capped): (&mut Caps, &[Capped]),
    now: Instant,
    subflow: SubflowId,
    sent: &[Frame<B>],
) {
    if let Some(capped) = capped.iter().find(|capped| capped.subflow == subflow) {
        for frame in sent {
            caps.spend(now, capped.key, frame.len().saturating_sub(ETHERNET));
        }
    }
}

/// How long `octets` take at `rate` bits per second.
fn time_of(octets: u64, rate: u64) -> Duration {
    let nanos = u128::from(octets) * 8_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl PolicySettings {
    /// The scheduler of a new connection.
    pub(super) fn scheduler(self) -> Scheduler {
        match self.scheduler {
            SchedulerKind::Overflow => Scheduler::Overflow(Overflow::default()),
            SchedulerKind::LowestRtt => Scheduler::LowestRtt(LowestRtt),
            SchedulerKind::Weighted => Scheduler::Weighted(Weighted::default()),
            SchedulerKind::Redundant => Scheduler::Redundant(Redundant),
            SchedulerKind::Blest => Scheduler::Blest(Blest::default()),
            SchedulerKind::Ecf => Scheduler::Ecf(Ecf::default()),
        }
    }
}

impl EngineConfig {
    /// What sending by `port` costs. Where the file does not say it, the customer's edge knows its primary port, and the
    /// other box takes the first subflow's path as the primary one.
    pub(super) fn cost(&self, port: Option<PortId>, first: bool) -> u16 {
        let settings = port.and_then(|port| self.ports.get(usize::from(port.0)));
        let written = settings.and_then(|settings| settings.cost);
        let by_role = match settings.map(|settings| settings.role) {
            Some(PortRole::Secondary) => 1,
            Some(PortRole::Core) => 0,
            Some(PortRole::Access) | None => u16::from(!first),
        };
        written.unwrap_or(by_role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PortSettings;

    const MS: Duration = Duration::from_millis(1);

    fn caps(rate: u64, edge: bool) -> Caps {
        let port = |cap| PortSettings {
            cap,
            ..PortSettings::new("x", PortRole::Access)
        };
        Caps::new(&EngineConfig {
            ports: vec![port(None), port(Some(rate))],
            edge: edge.then(Default::default),
            ..EngineConfig::default()
        })
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_port_without_a_cap_has_no_bucket() {
        let caps = caps(10_000_000, true);
        assert_eq!(caps.key(PortId(0), addr("10.2.0.2")), None);
        assert_eq!(caps.key(PortId(7), addr("10.2.0.2")), None);
    }

    #[test]
    fn what_leaves_over_time_is_the_cap_however_it_is_asked_for() {
        for step in [1, 3, 17, 100] {
            let mut caps = caps(10_000_000, true);
            let key = caps.key(PortId(1), addr("10.2.0.2")).unwrap();
            let (mut sent, mut now) = (0u64, Instant::from_millis(1_000));
            for _ in 0..10_000 / step {
                while caps.allowance(now, key).unwrap() >= 1_500 {
                    caps.spend(now, key, 1_500);
                    sent += 1_500;
                }
                now = now + MS * step;
            }
            // A pause longer than the bucket is deep is lost.
            let most = 10_000_000 / 8 * 10 + 25_000;
            let least = if step <= 17 {
                most * 98 / 100
            } else {
                most / 6
            };
            assert!(
                (least..=most).contains(&sent),
                "{sent} in steps of {step} ms"
            );
        }
    }

    #[test]
    fn who_waits_until_it_is_ready_finds_room() {
        let mut caps = caps(1_000_000, true);
        let key = caps.key(PortId(1), addr("10.2.0.2")).unwrap();
        let mut now = Instant::from_millis(1_000);
        assert_eq!(caps.allowance(now, key), Some(3_000));
        caps.spend(now, key, 4_500);
        assert_eq!(caps.allowance(now, key), Some(0), "it is overdrawn");
        let ready = caps.ready_at(now, key).unwrap();
        assert_eq!(ready.since(now), MS * 24);
        now = ready;
        assert_eq!(caps.allowance(now, key), Some(1_500));
        assert_eq!(caps.ready_at(now, key), Some(now + WAIT_MIN));
    }

    #[test]
    fn at_the_edge_a_port_has_one_bucket_and_in_the_network_each_line() {
        for (edge, shared) in [(true, true), (false, false)] {
            let caps = caps(10_000_000, edge);
            let key = |text| caps.key(PortId(1), addr(text)).unwrap();
            assert_eq!(key("10.2.0.2") == key("10.2.0.3"), shared);
            assert_eq!(key("fd00:2::2") == key("fd00:2:0:1::2"), shared);
            assert_eq!(key("fd00:2::2"), key("fd00:2::3"));
        }
    }

    #[test]
    fn buckets_that_are_full_are_forgotten() {
        let mut caps = caps(10_000_000, false);
        for n in 0..10_000u32 {
            let now = Instant::from_millis(u64::from(n));
            let key = caps.key(PortId(1), IpAddr::from(n.to_be_bytes())).unwrap();
            caps.spend(now, key, 1_500);
            assert!(caps.full_at.len() <= SWEEP_MIN);
        }
    }

    #[test]
    fn costs_follow_the_file_then_the_role_then_who_came_first() {
        let port = |role, cost| PortSettings {
            cost,
            ..PortSettings::new("x", role)
        };
        let config = EngineConfig {
            ports: vec![
                port(PortRole::Core, None),
                port(PortRole::Secondary, None),
                port(PortRole::Secondary, Some(7)),
                port(PortRole::Access, None),
                port(PortRole::Access, Some(3)),
            ],
            ..EngineConfig::default()
        };
        let cost = |port: u8, first| config.cost(Some(PortId(port)), first);
        assert_eq!([cost(0, true), cost(1, false), cost(2, false)], [0, 1, 7]);
        assert_eq!([cost(3, true), cost(3, false), cost(4, true)], [0, 1, 3]);
        assert_eq!(config.cost(None, false), 1);
    }
}
