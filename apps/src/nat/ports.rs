//! The ports of the public address: one space for all protocols, in which a port belongs to one host at a time. Where
//! there are several cores each gives away its own, and what comes back to one comes to its core.
//!
//! A host that uses a port in two protocols keeps it in both; no other host gets it meanwhile in any. So a port and a
//! moment name a customer's host, and a relayed flow can never meet a translated one.

use super::Protocol;
use stack::Rng;
use stack::slab::Handle;
use std::net::Ipv4Addr;

/// The last of the well-known ports.
const WELL_KNOWN: u16 = 1023;

/// Random ports tried before the space is searched.
const TRIES: u32 = 8;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Whose the port is, while it has mappings.
    owner: Option<Ipv4Addr>,
    /// Its mappings: TCP, UDP, ICMP.
    mappings: [Option<Handle>; 3],
}

/// The core that a port of our own end, or of a host behind us, names. Two neighbors name the same, as translators of
/// addresses keep the lowest bit (RFC 4787 REQ-4), and hosts draw ports of the same parity.
pub(crate) const fn core_of_port(port: u16, cores: u8) -> u8 {
    let cores = if cores == 0 { 1 } else { cores as u16 };
    ((port >> 1) % cores) as u8
}

/// Which of several cores this one is, and so which ports are its own to give away.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Counted from 0.
    pub core: u8,
    /// At least 1.
    pub cores: u8,
}

impl Share {
    /// All ports.
    pub const WHOLE: Self = Self { core: 0, cores: 1 };

    /// Whether `port` is in it.
    #[must_use]
    pub const fn has(self, port: u16) -> bool {
        core_of_port(port, self.cores) == self.core
    }

    /// The port in it that is nearest below or above `port` and has the lowest bit of `parity`.
    pub(crate) const fn nearest(self, port: u16, parity: u16) -> u16 {
        let cores = if self.cores == 0 {
            1
        } else {
            self.cores as u16
        };
        let pair = (port >> 1) - (port >> 1) % cores + self.core as u16;
        // The last pairs of ports may name only the first cores.
        let pair = if pair > u16::MAX >> 1 {
            pair - cores
        } else {
            pair
        };
        pair << 1 | parity & 1
    }
}

/// Who has which port of this core's.
#[derive(Debug)]
pub(super) struct PortSpace {
    share: Share,
    slots: Vec<Slot>,
    /// All ports of this core's.
    all: usize,
    /// Ports without an owner: the well-known ones, all others.
    free: [usize; 2],
}

const fn place(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::Tcp => Some(0),
        Protocol::Udp => Some(1),
        Protocol::Icmp => Some(2),
        Protocol::Other(_) => None,
    }
}

/// Which of two ranges a port is in (RFC 4787 REQ-3 a).
fn range(port: u16) -> usize {
    usize::from(port > WELL_KNOWN)
}

/// First port and number of ports of a range. Port 0 is nobody's.
const RANGES: [(u16, u16); 2] = [(1, WELL_KNOWN), (WELL_KNOWN + 1, u16::MAX - WELL_KNOWN)];

impl PortSpace {
    pub(super) fn new(share: Share) -> Self {
        let free = RANGES.map(|(start, len)| {
            let ports = start..=start + (len - 1);
            ports.filter(|&port| share.has(port)).count()
        });
        Self {
            share,
            slots: vec![Slot::default(); 1 << 16],
            all: free.iter().sum(),
            free,
        }
    }

    /// Whether `port` is this core's.
    pub(super) const fn has(&self, port: u16) -> bool {
        self.share.has(port)
    }

    /// The mapping that has `port` of `protocol`.
    pub(super) fn get(&self, protocol: Protocol, port: u16) -> Option<Handle> {
        self.slots.get(usize::from(port))?.mappings[place(protocol)?]
    }

    /// A port for a host that itself uses `wanted`: that one where it can have it, else one of the same range and if
    /// possible of the same parity (RFC 4787 REQ-3 a, REQ-4), which nobody can guess (RFC 6056). `None` if all are taken.
    pub(super) fn choose(
        &self,
        rng: &mut Rng,
        protocol: Protocol,
        host: Ipv4Addr,
        wanted: u16,
    ) -> Option<u16> {
        let mine = |slot: &Slot| {
            slot.owner.is_none_or(|owner| owner == host)
                && place(protocol).is_some_and(|at| slot.mappings[at].is_none())
        };
        if wanted != 0 && self.has(wanted) && self.slots.get(usize::from(wanted)).is_some_and(mine)
        {
            return Some(wanted);
        }
        let first = range(wanted);
        [first, 1 - first]
            .into_iter()
            .find_map(|range| self.random(rng, range, wanted))
    }

    fn random(&self, rng: &mut Rng, range: usize, wanted: u16) -> Option<u16> {
        if self.free[range] == 0 {
            return None;
        }
        let (start, len) = RANGES[range];
        let free = |port: u16| self.has(port) && self.slots[usize::from(port)].owner.is_none();
        let mut at = 0;
        for _ in 0..TRIES {
            at = u16::try_from(rng.below(u32::from(len))).unwrap_or(0);
            let port = self.share.nearest(start + at, wanted);
            if (start..=start + (len - 1)).contains(&port) && free(port) {
                return Some(port);
            }
        }
        // Nearly full: the next one behind a random one.
        let end = start + (len - 1);
        (start + at..=end)
            .chain(start..start + at)
            .find(|&port| free(port))
    }

    /// Gives `port` to a mapping of `host`. It must have been chosen for that host, or be reserved for it.
    pub(super) fn take(&mut self, protocol: Protocol, port: u16, host: Ipv4Addr, mapping: Handle) {
        let Some(at) = place(protocol) else {
            return;
        };
        let slot = &mut self.slots[usize::from(port)];
        if slot.owner.is_none() {
            self.free[range(port)] = self.free[range(port)].saturating_sub(usize::from(port != 0));
            slot.owner = Some(host);
        }
        slot.mappings[at] = Some(mapping);
    }

    /// Takes a port back.
    pub(super) fn give_back(&mut self, protocol: Protocol, port: u16) {
        let Some(at) = place(protocol) else {
            return;
        };
        let slot = &mut self.slots[usize::from(port)];
        slot.mappings[at] = None;
        if slot.owner.is_some() && slot.mappings.iter().all(Option::is_none) {
            slot.owner = None;
            self.free[range(port)] += usize::from(port != 0);
        }
    }

    /// Ports that belong to a host.
    pub(super) fn used(&self) -> usize {
        self.all - self.free.iter().sum::<usize>()
    }
}
