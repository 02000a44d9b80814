//! Ports that carry their own addresses alone: a further access of a host that routes others' packets elsewhere.
//!
//! Each has routes of its own, used by what is sent from its addresses and by nothing else; the routes of all other
//! packets do not know it. So neither another's address leaves by it, nor one of its own by another port (BCP 38), however
//! routes change. What comes by it is for its own addresses, and these are reached by it alone (the strong model of
//! RFC 1122 3.3.4.2).

use super::route::Routes;
use super::{Net, NetError, Target};
use crate::buf::{PacketBuf, PortId};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// An isolated port: its addresses, and where what they send goes.
#[derive(Clone, Debug)]
pub(super) struct Isolated {
    port: PortId,
    addresses: Vec<IpAddr>,
    pub(super) routes: Routes,
}

/// Whose routes a packet follows: those of the isolated port of that index, or everybody's.
pub(super) type Domain = Option<u8>;

impl<B: PacketBuf> Net<B> {
    /// Notes that `port` is isolated, before its addresses are entered.
    pub(super) fn isolate(&mut self, port: PortId) {
        if self.domain_at(port).is_none() {
            self.isolated.push(Isolated {
                port,
                addresses: Vec::new(),
                routes: Routes::default(),
            });
        }
    }

    /// Enters the networks of a port where those of its domain are.
    pub(super) fn add_connected(&mut self, port: PortId, networks: &[IpNet]) {
        let domain = self.domain_at(port);
        for &network in networks {
            if let Some(isolated) = self.isolated_mut(domain) {
                isolated.addresses.push(network.addr());
            }
            self.routes_mut(domain)
                .add(network, Target { port, via: None });
        }
    }

    /// Everything from an isolated port's addresses that has no better route goes to `gateway`.
    pub(super) fn add_gateway(&mut self, port: PortId, gateway: IpAddr) -> Result<(), NetError> {
        let on_link = self
            .interface(port)
            .is_some_and(|interface| interface.is_on_link(gateway));
        if !on_link || self.is_own(gateway) {
            return Err(NetError::GatewayUnresolved { port, gateway });
        }
        let everything: IpNet = match gateway {
            IpAddr::V4(_) => Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0).into(),
            IpAddr::V6(_) => Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let target = Target {
            port,
            via: Some(gateway),
        };
        let domain = self.domain_at(port);
        self.routes_mut(domain).add(everything, target);
        Ok(())
    }

    /// The domain of packets that `port` receives.
    pub(super) fn domain_at(&self, port: PortId) -> Domain {
        let at = self.isolated.iter().position(|held| held.port == port)?;
        u8::try_from(at).ok()
    }

    /// The domain of packets from, or to, our address `addr`; everybody's for all other addresses.
    pub(super) fn domain_of(&self, addr: IpAddr) -> Domain {
        if self.isolated.is_empty() {
            return None;
        }
        let mut isolated = self.isolated.iter();
        let at = isolated.position(|held| held.addresses.contains(&addr))?;
        u8::try_from(at).ok()
    }

    fn isolated_mut(&mut self, domain: Domain) -> Option<&mut Isolated> {
        self.isolated.get_mut(usize::from(domain?))
    }

    pub(super) fn routes(&self, domain: Domain) -> &Routes {
        domain
            .and_then(|at| self.isolated.get(usize::from(at)))
            .map_or(&self.routes, |isolated| &isolated.routes)
    }

    pub(super) fn routes_mut(&mut self, domain: Domain) -> &mut Routes {
        match domain.and_then(|at| self.isolated.get_mut(usize::from(at))) {
            Some(isolated) => &mut isolated.routes,
            None => &mut self.routes,
        }
    }

    /// The port by which packets from `src` to `dst` leave.
    #[must_use]
    pub fn port_from(&self, src: IpAddr, dst: IpAddr) -> Option<PortId> {
        let domain = self.domain_of(src);
        Some(self.routes(domain).get(dst)?.port)
    }

    /// Most octets of an IP packet from `src` on the link towards `dst`.
    #[must_use]
    pub fn mtu_from(&self, src: IpAddr, dst: IpAddr) -> Option<u16> {
        let Some(port) = self.port_from(src, dst) else {
            return self.bridged_mtu();
        };
        Some(self.interface(port)?.mtu)
    }
}
