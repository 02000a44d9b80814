//! Our addresses that further subflows use, and the name of each within a connection (RFC 8684 3.4.1).

use super::config::{EngineConfig, PortRole};
use core::net::IpAddr;
use mptcp::AddrId;
use stack::PortId;

/// An address of ours that takes and opens joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnAddress {
    pub(super) addr: IpAddr,
    /// The secondary port that it is on; `None` if it is on no port.
    pub(super) port: Option<PortId>,
    /// Its name: never 0, which is the first subflow's.
    pub(super) id: AddrId,
}

/// All of them: a secondary port's own at the customer's edge, the announced ones at the other box.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnAddresses {
    all: Vec<OwnAddress>,
    /// The last name given.
    last: u8,
}

impl OwnAddresses {
    pub(super) fn new(config: &EngineConfig) -> Self {
        let mut own = Self::default();
        if config.edge.is_none() {
            for &addr in &config.announce {
                own.add(addr, None);
            }
            return own;
        }
        for interface in &config.net.interfaces {
            if config.role(interface.port) == PortRole::Secondary {
                for network in &interface.addresses {
                    own.add(network.addr(), Some(interface.port));
                }
            }
        }
        own
    }

    /// Adds an address under a name that none has; of more than 255 the last are left out.
    pub(super) fn add(&mut self, addr: IpAddr, port: Option<PortId>) -> Option<AddrId> {
        let free = |id: &u8| self.all.iter().all(|own| own.id.0 != *id);
        let mut ids = (self.last..u8::MAX).map(|id| id + 1).chain(1..=self.last);
        let id = ids.find(free)?;
        self.last = id;
        let id = AddrId(id);
        self.all.push(OwnAddress { addr, port, id });
        Some(id)
    }

    /// Puts `to` in the place of `from`, on the same port, under a name that is not in use.
    pub(super) fn replace(&mut self, from: IpAddr, to: IpAddr) {
        let port = self.find(from).and_then(|own| own.port);
        self.all.retain(|own| own.addr != from);
        self.add(to, port);
    }

    /// What is known of `addr`, if it takes joins.
    pub(super) fn find(&self, addr: IpAddr) -> Option<&OwnAddress> {
        self.all.iter().find(|own| own.addr == addr)
    }

    /// Those on `port`; `None` for those on no port.
    pub(super) fn on(&self, port: Option<PortId>) -> impl Iterator<Item = &OwnAddress> + Clone {
        self.all.iter().filter(move |own| own.port == port)
    }

    /// The ports that have any, each once.
    pub(super) fn ports(&self) -> impl Iterator<Item = PortId> {
        self.all.iter().enumerate().filter_map(|(n, own)| {
            let first = self.all.iter().take(n).all(|other| other.port != own.port);
            own.port.filter(|_| first)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_a_name_of_its_own_and_a_new_one_another() {
        let mut own = OwnAddresses::default();
        let mut names = Vec::new();
        for n in 0..255u8 {
            let addr = IpAddr::from([10, 2, 0, n]);
            names.push(own.add(addr, Some(PortId(n % 3))).unwrap().0);
        }
        names.sort_unstable();
        assert_eq!(names, (1..=255).collect::<Vec<u8>>());
        assert_eq!(own.add("10.3.0.1".parse().unwrap(), None), None);
        assert_eq!(own.ports().count(), 3);
        assert_eq!(own.on(Some(PortId(1))).count(), 85);
        assert_eq!(own.find("10.2.0.6".parse().unwrap()).unwrap().id, AddrId(7));
    }
}
