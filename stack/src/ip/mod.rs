//! A sans-IO IPv4 and IPv6 host and router: frames in; segments, packets and frames out. It knows nothing of flows.
//!
//! [`Net::input`] answers what an IP node has to answer by itself (ARP, NDP, echo) and hands up TCP segments, ICMP errors
//! that quote TCP, and packets in transit. What is not the caller's own it gives to [`Net::forward`]. A frame takes this
//! way: `input` reads Ethernet and IP and drops what no router passes on; `arp`, `ndp` and `icmp` answer; `forward` and
//! `output` find the way (`route`, `neighbor`) and build headers. Payload goes from a frame to the next by reference.

mod address;
mod arp;
mod bridge;
mod config;
mod contents;
mod error;
mod follow;
mod forward;
mod head;
mod icmp;
mod input;
mod isolated;
mod lane;
mod limit;
mod link;
mod ndp;
mod neighbor;
mod output;
mod packet;
mod partial;
mod reassembly;
mod route;
mod sight;
mod syn;
#[cfg(test)]
mod tests;
mod translate;
mod uncut;

pub use crate::buf::RxChecksum;
pub use config::{InterfaceConfig, IsolatedConfig, NetConfig, NetError, RouteConfig, VlanConfig};
pub use contents::{Contents, FragmentId, Ports, Quoted};
pub use follow::Behind;
pub use head::Head;
pub use packet::{
    IcmpArrival, IcmpKind, Ingress, IpOut, Opaque, Packet, SynEdit, TcpArrival, Unreachable,
};
pub use reassembly::{Gathered, Reassembly};
pub use sight::{PlainEnds, Seen, Sight, plain_ends, sight};
pub use translate::{Endpoint, Translation};

use crate::Cx;
use crate::buf::{Frame, PacketBuf, PortId};
use crate::time::Instant;
use address::{AddressSet, Interface};
use bridge::Bridge;
use core::net::IpAddr;
use head::Judged;
use ipnet::IpNet;
use isolated::Isolated;
use limit::TokenBucket;
use link::Tags;
use neighbor::Neighbors;
use output::Cached;
use route::{Routes, Target};

/// ICMP errors in a second, and at once.
const ERRORS: (u32, u32) = (1_000, 100);
/// Echo replies in a second, and at once.
const ANSWERS: (u32, u32) = (10_000, 1_000);

/// The IP layer of one worker.
#[derive(Debug)]
pub struct Net<B> {
    /// By the number of their port.
    interfaces: Vec<Option<Interface>>,
    /// Every address of ours except link-local ones.
    own: AddressSet,
    /// Those of them behind which there are other hosts.
    shared: AddressSet,
    /// Networks that no port outside them reaches.
    private: Vec<IpNet>,
    /// Where packets to groups go on, by the port they came by.
    groups: Vec<(PortId, PortId)>,
    /// The broadcast address of every network that we are on.
    broadcasts: AddressSet,
    /// Ports whose devices compute TCP checksums.
    summing: Vec<PortId>,
    /// Ports whose devices' queues are full: what is sent waits for them.
    crowded: Vec<PortId>,
    /// Of all packets but those from isolated ports' addresses.
    routes: Routes,
    isolated: Vec<Isolated>,
    bridge: Option<Bridge>,
    neighbors: Neighbors<B>,
    /// Direct-mapped: where the last packets to each destination went.
    cache: Box<[Cached]>,
    /// That of the last segment of ours.
    lane: lane::Lane,
    /// Direct-mapped: for whom the last TCP packets between two addresses were.
    judged: Box<[Option<Judged>]>,
    errors: TokenBucket,
    answers: TokenBucket,
    /// The identification of the next IPv4 packet of our own.
    next_id: u16,
}

impl<B: PacketBuf> Net<B> {
    /// A network of `config`; every route must resolve to a port.
    pub fn new(config: NetConfig) -> Result<Self, NetError> {
        let mut net = Self {
            interfaces: Vec::new(),
            own: AddressSet::default(),
            shared: AddressSet::default(),
            private: config.private,
            groups: config.groups,
            broadcasts: AddressSet::default(),
            summing: config.summing,
            crowded: Vec::new(),
            routes: Routes::default(),
            isolated: Vec::new(),
            bridge: None,
            neighbors: Neighbors::new(),
            cache: vec![Cached::EMPTY; output::CACHE_LEN].into_boxed_slice(),
            lane: lane::Lane::closed(),
            judged: vec![None; output::CACHE_LEN].into_boxed_slice(),
            errors: TokenBucket::new(ERRORS.0, ERRORS.1),
            answers: TokenBucket::new(ANSWERS.0, ANSWERS.1),
            next_id: 0,
        };
        for isolated in &config.isolated {
            net.isolate(isolated.port);
        }
        for interface in config.interfaces {
            let vlan = config.vlans.iter().find(|vlan| vlan.port == interface.port);
            let tags = Tags::of_ids(vlan.map_or(&[], |vlan| &vlan.ids))?;
            net.add_interface(interface, tags)?;
        }
        for addr in config.own {
            net.add_own(addr)?;
        }
        for addr in config.shared {
            net.shared.insert(addr);
        }
        for route in config.routes {
            net.add_route(&route)?;
        }
        for isolated in config.isolated {
            for gateway in isolated.gateways {
                net.add_gateway(isolated.port, gateway)?;
            }
        }
        Ok(net)
    }

    /// Takes another configuration over, and keeps what is known of the neighbors. On an error nothing has changed.
    pub fn reconfigure(&mut self, config: NetConfig) -> Result<(), NetError> {
        let mut fresh = Self::new(config)?;
        core::mem::swap(&mut fresh.neighbors, &mut self.neighbors);
        *self = fresh;
        Ok(())
    }

    /// The port by which packets to `dst` leave, unless their source is an isolated port's.
    #[must_use]
    pub fn port_toward(&self, dst: IpAddr) -> Option<PortId> {
        Some(self.routes.get(dst)?.port)
    }

    /// Most octets of an IP packet on the link towards `dst`, unless its source is an isolated port's.
    #[must_use]
    pub fn mtu_toward(&self, dst: IpAddr) -> Option<u16> {
        let Some(port) = self.port_toward(dst) else {
            return self.bridged_mtu();
        };
        Some(self.interface(port)?.mtu)
    }

    /// Whether `addr` is one of our addresses, on a port or on none.
    #[must_use]
    pub fn is_own(&self, addr: IpAddr) -> bool {
        self.own.contains(addr)
    }

    /// When [`Net::advance`] must be called next.
    #[must_use]
    pub const fn next_deadline(&self) -> Option<Instant> {
        self.neighbors.next_deadline()
    }

    /// Received packets that wait for a neighbor's answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.neighbors.waiting()
    }

    /// Does what is due: asks neighbors again, gives up on those that stay silent, forgets old ones.
    pub fn advance(&mut self, cx: &mut Cx<'_>, out: &mut Vec<Frame<B>>) {
        let Some(due) = self.neighbors.advance(cx.now) else {
            return;
        };
        for solicit in due.solicits {
            self.solicit(solicit, out);
        }
        for held in due.failed {
            held.give_up(cx.counters);
            if let Some((packet, _)) = held.original {
                self.send_icmp_unreachable(cx, &packet, Unreachable::Host, out);
            }
        }
    }

    fn interface(&self, port: PortId) -> Option<&Interface> {
        self.interfaces.get(usize::from(port.0))?.as_ref()
    }

    fn add_interface(&mut self, config: InterfaceConfig, tags: Tags) -> Result<(), NetError> {
        let port = config.port;
        let interface = Interface::new(config, tags)?;
        for &net in &interface.addresses {
            self.add_own(net.addr())?;
            if let Some(broadcast) = address::broadcast_of(net) {
                self.broadcasts.insert(IpAddr::V4(broadcast));
            }
        }
        self.add_connected(port, &interface.addresses);
        let place = usize::from(port.0);
        if self.interfaces.len() <= place {
            self.interfaces.resize_with(place + 1, || None);
        }
        match self.interfaces[place].replace(interface) {
            None => Ok(()),
            Some(_) => Err(NetError::DuplicatePort(port)),
        }
    }

    fn add_own(&mut self, addr: IpAddr) -> Result<(), NetError> {
        if !address::is_host(addr) {
            return Err(NetError::BadAddress(addr));
        }
        if !self.own.insert(addr) {
            return Err(NetError::DuplicateAddress(addr));
        }
        Ok(())
    }

    fn add_route(&mut self, route: &RouteConfig) -> Result<(), NetError> {
        let RouteConfig { to, via } = *route;
        if to.addr().is_ipv4() != via.is_ipv4() {
            return Err(NetError::RouteFamily { to, via });
        }
        if self.is_own(via) {
            return Err(NetError::RouteViaSelf { to, via });
        }
        let on_link = self.interfaces.iter().flatten().find(|interface| {
            interface
                .addresses
                .iter()
                .any(|net| net.contains::<&IpAddr>(&via))
        });
        let Some(interface) = on_link else {
            return Err(NetError::RouteUnresolved { to, via });
        };
        let target = Target {
            port: interface.port,
            via: Some(via),
        };
        let domain = self.domain_at(target.port);
        self.routes_mut(domain).add(to, target);
        Ok(())
    }
}
