//! Which addresses are what: ours, a host's, a group's, or nobody's.

use super::config::{InterfaceConfig, NetError};
use super::link::{Tags, link_len};
use crate::buf::PortId;
use crate::wire::ip::ETHERNET;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ipnet::IpNet;

/// Addresses by family and in order, so that a look-up compares a few numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressSet {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl AddressSet {
    pub(super) fn contains(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => place(&self.v4, addr, Ipv4Addr::to_bits).is_ok(),
            IpAddr::V6(addr) => place(&self.v6, addr, Ipv6Addr::to_bits).is_ok(),
        }
    }

    /// Whether `addr` was new.
    pub(super) fn insert(&mut self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(addr) => insert(&mut self.v4, addr, Ipv4Addr::to_bits),
            IpAddr::V6(addr) => insert(&mut self.v6, addr, Ipv6Addr::to_bits),
        }
    }

    /// Those of the family of `like`, the lowest first.
    pub(super) fn of_family(&self, like: IpAddr) -> impl Iterator<Item = IpAddr> {
        let v4 = if like.is_ipv4() { &self.v4[..] } else { &[] };
        let v6 = if like.is_ipv6() { &self.v6[..] } else { &[] };
        let v4 = v4.iter().copied().map(IpAddr::V4);
        v4.chain(v6.iter().copied().map(IpAddr::V6))
    }
}

/// Where `addr` stands among `sorted`, or would.
fn place<A: Copy, N: Ord>(sorted: &[A], addr: A, number: impl Fn(A) -> N) -> Result<usize, usize> {
    let wanted = number(addr);
    sorted.binary_search_by(|held| number(*held).cmp(&wanted))
}

fn insert<A: Copy, N: Ord>(sorted: &mut Vec<A>, addr: A, number: impl Fn(A) -> N) -> bool {
    let place = place(sorted, addr, number);
    if let Err(place) = place {
        sorted.insert(place, addr);
    }
    place.is_err()
}

/// A port with its addresses, checked.
#[derive(Clone, Debug)]
pub(super) struct Interface {
    pub(super) port: PortId,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u16,
    pub(super) addresses: Vec<IpNet>,
    /// Formed from the Ethernet address (RFC 4291 appendix A); every port answers for it.
    pub(super) link_local: Ipv6Addr,
    /// Of every frame on it.
    pub(super) tags: Tags,
}

impl Interface {
    pub(super) fn new(config: InterfaceConfig, tags: Tags) -> Result<Self, NetError> {
        let InterfaceConfig {
            port,
            mac,
            mtu,
            addresses,
        } = config;
        if !is_station(mac) {
            return Err(NetError::BadMac(port));
        }
        if !(1280..=9600).contains(&mtu) {
            return Err(NetError::BadMtu { port, mtu });
        }
        for net in &addresses {
            if broadcast_of(*net)
                .is_some_and(|addr| net.addr() == addr || net.addr() == net.network())
            {
                return Err(NetError::BadAddress(net.addr()));
            }
        }
        Ok(Self {
            port,
            mac,
            mtu,
            addresses,
            link_local: link_local_of(mac),
            tags,
        })
    }

    /// Our address on this link from which a host at `toward` is best spoken to.
    pub(super) fn source_for(&self, toward: IpAddr) -> Option<IpAddr> {
        if let IpAddr::V6(addr) = toward
            && addr.is_unicast_link_local()
        {
            return Some(IpAddr::V6(self.link_local));
        }
        let mut same_family = self
            .addresses
            .iter()
            .filter(|net| net.addr().is_ipv4() == toward.is_ipv4());
        let first = same_family.clone().next()?;
        let on_link = same_family.find(|net| net.contains::<&IpAddr>(&toward));
        Some(on_link.unwrap_or(first).addr())
    }

    /// Where an IP packet begins in a frame of this port; `None` if it has not the tags that it must.
    #[inline]
    pub(super) fn packet_at(&self, frame: &[u8]) -> Option<usize> {
        if self.tags.len() == 0 {
            // A tag would stand where the kind of packet is expected.
            return Some(ETHERNET);
        }
        let tags = Tags::of_frame(frame);
        self.tags.is_same(&tags).then(|| link_len(tags))
    }

    /// Whether `addr` is on this link.
    pub(super) fn is_on_link(&self, addr: IpAddr) -> bool {
        let link_local = match addr {
            IpAddr::V4(_) => false,
            IpAddr::V6(addr) => addr.is_unicast_link_local(),
        };
        link_local
            || self
                .addresses
                .iter()
                .any(|net| net.contains::<&IpAddr>(&addr))
    }
}

/// Whether `mac` is one station's: not a group's, and not zero.
pub(super) fn is_station(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}

/// The link-local address of the station `mac` (RFC 4291 2.5.1, appendix A).
fn link_local_of(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac;
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

/// The directed broadcast address of an IPv4 network; none for /31 (RFC 3021) and /32.
pub(super) fn broadcast_of(net: IpNet) -> Option<Ipv4Addr> {
    match net {
        IpNet::V4(net) if net.prefix_len() < 31 => Some(net.broadcast()),
        _ => None,
    }
}

/// Whether a host can have `addr` (RFC 1122 3.2.1.3, RFC 1812 5.3.7, RFC 4291 2.5): martians are all others.
pub(super) fn is_host(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => {
            let first = addr.octets()[0];
            first != 0 && first != 127 && first < 224
        },
        IpAddr::V6(addr) => {
            !(addr.is_unspecified()
                || addr.is_loopback()
                || addr.is_multicast()
                || addr.to_ipv4_mapped().is_some())
        },
    }
}

/// Whether packets from or to `addr` stay on their link (RFC 3927 7, RFC 4291 2.5.6).
pub(super) fn is_link_scoped(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

/// Whether `addr` names a group: multicast, or the limited broadcast.
pub(super) fn is_group(addr: IpAddr) -> bool {
    addr.is_multicast() || addr == IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Whether `addr` is a multicast group whose packets routers may pass on (RFC 5771 4, RFC 4291 2.7: those of interfaces
/// and links stay there).
pub(super) fn is_routed_group(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_multicast() && addr.octets()[..3] != [224, 0, 0],
        IpAddr::V6(addr) => addr.is_multicast() && addr.octets()[1] & 0xf > 2,
    }
}

/// The Ethernet address of a group (RFC 1112 6.4, RFC 2464 7).
pub(super) fn group_mac(group: IpAddr) -> [u8; 6] {
    match group {
        IpAddr::V4(addr) => {
            let [_, b, c, d] = addr.octets();
            [1, 0, 0x5e, b & 0x7f, c, d]
        },
        IpAddr::V6(addr) => {
            let [.., a, b, c, d] = addr.octets();
            [0x33, 0x33, a, b, c, d]
        },
    }
}
