//! What a [`Net`](super::Net) is built from, and why it may not be.

use crate::buf::PortId;
use core::net::IpAddr;
use ipnet::IpNet;

/// Addresses of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceConfig {
    /// The port.
    pub port: PortId,
    /// Its Ethernet address.
    pub mac: [u8; 6],
    /// Most octets of an IP packet on it: 1,280 to 9,600.
    pub mtu: u16,
    /// Our addresses on it, each with the length of its on-link prefix.
    pub addresses: Vec<IpNet>,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteConfig {
    /// Destinations.
    pub to: IpNet,
    /// The next hop; must be on the link of a port.
    pub via: IpAddr,
}

/// Everything that the IP layer needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetConfig {
    /// The ports with an address, each once.
    pub interfaces: Vec<InterfaceConfig>,
    /// Static routes, in any order: the longest prefix wins, of equal ones the first.
    pub routes: Vec<RouteConfig>,
    /// Our addresses that are on no port (HAG@2): ARP and NDP are answered for them on every port.
    pub own: Vec<IpAddr>,
    /// Those of our addresses that other hosts have in common with us: what is sent to them and not answered here is
    /// handed up as if it were in transit.
    pub shared: Vec<IpAddr>,
    /// Ports that carry packets from and to their own addresses alone. A route whose next hop is on such a port serves
    /// what these addresses send, and nothing else.
    pub isolated: Vec<IsolatedConfig>,
    /// Where packets to multicast groups of more than a link's scope go on: from the first port to the second, without
    /// regard to who joined what. What has no pair here is dropped.
    pub groups: Vec<(PortId, PortId)>,
    /// Destinations that only ports with an address in one of these may ask for: networks behind a translator, our own
    /// addresses there included.
    pub private: Vec<IpNet>,
    /// Ports whose frames are tagged.
    pub vlans: Vec<VlanConfig>,
    /// Ports whose devices compute TCP checksums: they are left to them.
    pub summing: Vec<PortId>,
}

/// The virtual network that a port is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanConfig {
    /// The port.
    pub port: PortId,
    /// Its number, 1 to 4094; before it that of the service's network that carries it, if there is one.
    pub ids: Vec<u16>,
}

/// A port for its own addresses alone (BCP 38).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolatedConfig {
    /// The port.
    pub port: PortId,
    /// Next hops on its link, one a family: for whatever its addresses send and no route names.
    pub gateways: Vec<IpAddr>,
}

/// Why a configuration makes no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// A next hop is on no link.
    #[error(
        "route {to} via {via}: no port has an address on the network of {via}; add one, or correct the next hop"
    )]
    RouteUnresolved {
        /// The route's destinations.
        to: IpNet,
        /// The route's next hop.
        via: IpAddr,
    },
    /// A next hop is one of our own addresses.
    #[error(
        "route {to} via {via}: {via} is one of our own addresses; name the router on the other end"
    )]
    RouteViaSelf {
        /// The route's destinations.
        to: IpNet,
        /// The route's next hop.
        via: IpAddr,
    },
    /// An isolated port's next hop is not on its link.
    #[error(
        "gateway {gateway} of port {}: it is on no network of that port; give the port an address beside it", port.0
    )]
    GatewayUnresolved {
        /// The port.
        port: PortId,
        /// The next hop.
        gateway: IpAddr,
    },
    /// Destinations and next hop are of different families.
    #[error("route {to} via {via}: one is IPv4 and the other IPv6")]
    RouteFamily {
        /// The route's destinations.
        to: IpNet,
        /// The route's next hop.
        via: IpAddr,
    },
    /// An address that no host may have.
    #[error("address {0} cannot be a host's: use a unicast address of the network")]
    BadAddress(IpAddr),
    /// The same address twice.
    #[error("address {0} is given twice; each of our addresses is in one place")]
    DuplicateAddress(IpAddr),
    /// The same port twice.
    #[error("port {} is given twice", .0.0)]
    DuplicatePort(PortId),
    /// An MTU out of range.
    #[error("port {}: an MTU of {mtu} is not between 1280 and 9600", port.0)]
    BadMtu {
        /// The port.
        port: PortId,
        /// What was asked for.
        mtu: u16,
    },
    /// A number that no virtual network may have.
    #[error("VLAN {0} is not between 1 and 4094")]
    BadVlan(u16),
    /// More tags than frames have.
    #[error("a port is on one VLAN, or on one within another: two numbers at most")]
    TooManyTags,
    /// An Ethernet address that no port may have.
    #[error("port {}: its Ethernet address is a group address or zero", .0.0)]
    BadMac(PortId),
}
