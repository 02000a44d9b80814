//! The mappings: who inside uses what, until when, and which port stands for it.

use super::ports::{PortSpace, Share};
use super::{Forward, MappingLimits, MappingTimeouts, Protocol};
use stack::slab::{Handle, Slab};
use stack::time::Duration;
use stack::wheel::{Alarm, Wheel};
use stack::wire::tcp::Flags;
use stack::{FlowKey, FlowTable, Instant, Rng, Side, Tuple};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a TCP connection has come, as far as its segments tell in passing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Not TCP.
    None,
    /// Not established; whether the other end has answered.
    Opening { answered: bool },
    /// Both ends have sent segments without SYN.
    Established,
    /// Reset, or both ends have sent FIN, or one, as told: out, in.
    Closing(bool, bool),
}

/// A host's use of a port.
#[derive(Debug)]
pub(super) struct Mapping {
    pub(super) protocol: Protocol,
    pub(super) inside: (IpAddr, u16),
    /// The other end, where a protocol without ports has nothing else to tell its flows apart.
    remote: Option<IpAddr>,
    /// The port of the public address; `None` if the host's own address is used.
    pub(super) outside: Option<u16>,
    /// Relayed flows that use it, and one for a static forward: kept while there are any.
    holds: u32,
    progress: Progress,
    until: Instant,
    alarm: Alarm,
}

/// Why there is no mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoMapping {
    /// The table is full, or every port is taken.
    Full,
    /// The host has as many as it may.
    HostFull,
    /// Another host speaks this protocol with the same remote address.
    Busy,
}

/// What a segment says of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sign {
    pub(super) flags: Flags,
    pub(super) data: bool,
}

/// All mappings.
pub(super) struct Table {
    mappings: Slab<Mapping>,
    /// From what is inside, and of protocols without ports from what is outside.
    index: FlowTable<Handle>,
    ports: Option<PortSpace>,
    per_host: BTreeMap<IpAddr, usize>,
    timers: Wheel<Handle>,
    due: Vec<Handle>,
    limits: MappingLimits,
    timeouts: MappingTimeouts,
}

/// The key of a mapping of what is inside.
const fn inside_key(
    protocol: Protocol,
    (addr, port): (IpAddr, u16),
    remote: Option<IpAddr>,
) -> FlowKey {
    let nobody = match addr {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    FlowKey {
        side: Side::Access,
        tuple: Tuple {
            src: addr,
            dst: match remote {
                Some(remote) => remote,
                None => nobody,
            },
            src_port: port,
            dst_port: protocol.number() as u16,
        },
    }
}

/// The key of a mapping of a protocol without ports as it is seen from outside.
const fn outside_key(protocol: Protocol, remote: IpAddr) -> FlowKey {
    FlowKey {
        side: Side::Core,
        ..inside_key(protocol, (remote, 0), None)
    }
}

impl Table {
    pub(super) fn new(
        limits: MappingLimits,
        timeouts: MappingTimeouts,
        translates: Option<Share>,
        seed: u64,
    ) -> Self {
        Self {
            mappings: Slab::with_capacity(limits.mappings),
            index: FlowTable::new(limits.mappings * 2, seed),
            ports: translates.map(PortSpace::new),
            per_host: BTreeMap::new(),
            timers: Wheel::new(),
            due: Vec::new(),
            limits,
            timeouts,
        }
    }

    /// The mapping that stands for `inside`, if there is one.
    pub(super) fn get(
        &self,
        protocol: Protocol,
        inside: (IpAddr, u16),
        remote: Option<IpAddr>,
    ) -> Option<Handle> {
        self.index.get(&inside_key(protocol, inside, remote))
    }

    /// The mapping behind a port of the public address, or behind `remote` for protocols without ports.
    pub(super) fn behind(&self, protocol: Protocol, port: u16, remote: IpAddr) -> Option<Handle> {
        match protocol {
            Protocol::Other(_) => self.index.get(&outside_key(protocol, remote)),
            _ => self.ports.as_ref()?.get(protocol, port),
        }
    }

    pub(super) fn mapping(&self, handle: Handle) -> Option<&Mapping> {
        self.mappings.get(handle)
    }

    /// Enters a static forward of a port of this core's, which stays for good. `false` if it meets another.
    pub(super) fn reserve(&mut self, forward: &Forward) -> bool {
        if !self
            .ports
            .as_ref()
            .is_some_and(|ports| ports.has(forward.port))
        {
            return true;
        }
        let host = IpAddr::V4(forward.to.addr);
        let inside = (host, forward.to.port);
        let taken = self
            .ports
            .as_ref()
            .is_none_or(|ports| ports.get(forward.protocol, forward.port).is_some());
        if taken || self.get(forward.protocol, inside, None).is_some() {
            return false;
        }
        let mapping = Mapping {
            protocol: forward.protocol,
            inside,
            remote: None,
            outside: Some(forward.port),
            holds: 1,
            progress: Progress::None,
            until: Instant::ZERO,
            alarm: Alarm::default(),
        };
        self.enter(mapping).is_ok()
    }

    /// Makes a mapping of what a host has begun to use; with a port of the public address if it is `translated`.
    pub(super) fn make(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        protocol: Protocol,
        inside: (IpAddr, u16),
        (remote, translated): (Option<IpAddr>, bool),
    ) -> Result<Handle, NoMapping> {
        let of_host = self.per_host.get(&inside.0).copied().unwrap_or(0);
        if of_host >= self.limits.mappings_per_host {
            return Err(NoMapping::HostFull);
        }
        let outside = match (inside.0, &self.ports, protocol) {
            (IpAddr::V4(_), _, Protocol::Other(_)) if translated => {
                let busy = remote
                    .is_some_and(|remote| self.index.get(&outside_key(protocol, remote)).is_some());
                if busy {
                    return Err(NoMapping::Busy);
                }
                Some(0)
            },
            (IpAddr::V4(host), Some(ports), _) if translated => {
                let port = ports.choose(rng, protocol, host, inside.1);
                Some(port.ok_or(NoMapping::Full)?)
            },
            _ => None,
        };
        let progress = if protocol == Protocol::Tcp {
            Progress::Opening { answered: false }
        } else {
            Progress::None
        };
        let mut mapping = Mapping {
            protocol,
            inside,
            remote,
            outside,
            holds: 0,
            progress,
            until: now,
            alarm: Alarm::default(),
        };
        mapping.until = now + self.timeouts.of(&mapping);
        let until = mapping.until;
        let handle = self.enter(mapping)?;
        self.arm(handle, until);
        Ok(handle)
    }

    fn enter(&mut self, mapping: Mapping) -> Result<Handle, NoMapping> {
        let Mapping {
            protocol,
            inside,
            remote,
            outside,
            ..
        } = mapping;
        let Ok(handle) = self.mappings.insert(mapping) else {
            return Err(NoMapping::Full);
        };
        // There is room for two keys of each mapping.
        self.index
            .insert(inside_key(protocol, inside, remote), handle)
            .map_err(|_| NoMapping::Full)?;
        *self.per_host.entry(inside.0).or_insert(0) += 1;
        if let (Some(remote), Some(_)) = (remote, outside) {
            self.index
                .insert(outside_key(protocol, remote), handle)
                .ok();
        }
        if let (Some(ports), Some(port), IpAddr::V4(host)) = (&mut self.ports, outside, inside.0) {
            ports.take(protocol, port, host, handle);
        }
        Ok(handle)
    }

    /// A packet from inside used the mapping: RFC 4787 REQ-6, RFC 6092 REC-16.
    pub(super) fn used_outward(&mut self, now: Instant, handle: Handle, sign: Option<Sign>) {
        let Some(mapping) = self.mappings.get_mut(handle) else {
            return;
        };
        if let Some(sign) = sign {
            mapping.progress = mapping.progress.after(sign, true);
        }
        mapping.until = now + self.timeouts.of(mapping);
    }

    /// A packet from outside used it. That alone keeps only established connections: else anybody could keep the
    /// mapping alive (RFC 4787 REQ-6 b).
    pub(super) fn used_inward(&mut self, now: Instant, handle: Handle, sign: Option<Sign>) {
        let (Some(mapping), Some(sign)) = (self.mappings.get_mut(handle), sign) else {
            return;
        };
        let before = mapping.progress;
        mapping.progress = before.after(sign, false);
        if before.is_established() {
            mapping.until = now + self.timeouts.of(mapping);
        }
    }

    /// A relayed flow uses the mapping from now on.
    pub(super) fn hold(&mut self, handle: Handle) {
        if let Some(mapping) = self.mappings.get_mut(handle) {
            mapping.holds = mapping.holds.saturating_add(1);
        }
    }

    /// A relayed flow is none any more. What is still on its way to one that has ended has four minutes to find its host
    /// (RFC 5382 REQ-5).
    pub(super) fn release(&mut self, ended: Option<Instant>, handle: Handle) {
        if let Some(mapping) = self.mappings.get_mut(handle) {
            mapping.holds = mapping.holds.saturating_sub(1);
            if let Some(now) = ended {
                mapping.until = mapping.until.max(now + self.timeouts.tcp_transitory);
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// Removes mappings whose time has come; how many.
    pub(super) fn advance(&mut self, now: Instant) -> u64 {
        let mut due = core::mem::take(&mut self.due);
        self.timers.expired(now, &mut due);
        let mut gone = 0;
        for handle in due.drain(..) {
            let Some(mapping) = self.mappings.get_mut(handle) else {
                continue;
            };
            self.timers.disarm(&mut mapping.alarm);
            let soon = now + self.timeouts.tcp_transitory;
            if mapping.holds > 0 {
                self.arm(handle, soon);
            } else if mapping.until > now {
                // A connection that ends meanwhile has less time left than this says.
                let until = mapping.until.min(soon);
                self.arm(handle, until);
            } else {
                self.remove(handle);
                gone += 1;
            }
        }
        self.due = due;
        gone
    }

    fn arm(&mut self, handle: Handle, at: Instant) {
        if let Some(mapping) = self.mappings.get_mut(handle) {
            self.timers.arm(&mut mapping.alarm, handle, at);
        }
    }

    fn remove(&mut self, handle: Handle) {
        let Some(mut mapping) = self.mappings.remove(handle) else {
            return;
        };
        self.timers.disarm(&mut mapping.alarm);
        let Mapping {
            protocol,
            inside,
            remote,
            outside,
            ..
        } = mapping;
        self.index.remove(&inside_key(protocol, inside, remote));
        if let (Some(remote), Some(_)) = (remote, outside) {
            self.index.remove(&outside_key(protocol, remote));
        }
        if let (Some(ports), Some(port)) = (&mut self.ports, outside) {
            ports.give_back(protocol, port);
        }
        if let Some(count) = self.per_host.get_mut(&inside.0) {
            *count -= 1;
            if *count == 0 {
                self.per_host.remove(&inside.0);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.mappings.len()
    }

    pub(super) fn hosts(&self) -> usize {
        self.per_host.len()
    }

    pub(super) fn ports_used(&self) -> usize {
        self.ports.as_ref().map_or(0, PortSpace::used)
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().map(|(_, mapping)| mapping)
    }
}

impl MappingTimeouts {
    const fn of(&self, mapping: &Mapping) -> Duration {
        match (mapping.protocol, mapping.progress) {
            (Protocol::Tcp, progress) if progress.is_established() => self.tcp_established,
            (Protocol::Tcp, _) => self.tcp_transitory,
            (Protocol::Icmp, _) => self.icmp,
            (Protocol::Udp | Protocol::Other(_), _) => self.udp,
        }
    }
}

impl Progress {
    /// Established, or closed by one end alone.
    const fn is_established(self) -> bool {
        matches!(
            self,
            Self::Established | Self::Closing(true, false) | Self::Closing(false, true)
        )
    }

    /// RFC 5382 5: what a segment in passing makes of it. Sequence numbers are not looked at, so nothing of this ends a
    /// mapping at once: it only shortens its time to that of a transitory one, and traffic brings it back.
    fn after(self, sign: Sign, outward: bool) -> Self {
        let Sign { flags, data } = sign;
        if self == Self::None {
            return self;
        }
        if flags.has(Flags::RST) {
            return match self {
                Self::Opening { .. } => self,
                _ => Self::Closing(true, true),
            };
        }
        if flags.has(Flags::SYN) {
            // A new connection from the same port, or an answer.
            return match self {
                Self::Opening { answered } => Self::Opening {
                    answered: answered || !outward,
                },
                Self::Closing(true, true) => Self::Opening { answered: false },
                other => other,
            };
        }
        if flags.has(Flags::FIN) {
            return match self {
                Self::Closing(out, back) => Self::Closing(out || outward, back || !outward),
                Self::Opening { .. } => self,
                _ => Self::Closing(outward, !outward),
            };
        }
        match self {
            Self::Opening { answered: true } if outward => Self::Established,
            Self::Opening { answered } => Self::Opening {
                answered: answered || !outward,
            },
            // Another connection of the same port goes on.
            Self::Closing(true, true) if data => Self::Established,
            other => other,
        }
    }
}
