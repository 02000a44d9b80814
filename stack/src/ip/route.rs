//! Where packets go: longest-prefix match over connected networks and static routes.

use crate::buf::PortId;
use core::net::IpAddr;
use ipnet::IpNet;

/// Where a destination is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The port.
    pub(super) port: PortId,
    /// The router to hand packets to; `None` if destinations are on the port's link.
    pub(super) via: Option<IpAddr>,
}

/// Prefixes of one length: networks in order, searched by bisection.
#[derive(Clone, Debug)]
struct Length {
    len: u8,
    networks: Vec<(u128, Target)>,
}

/// One family's routes, the longest prefixes first.
#[derive(Clone, Debug, Default)]
struct Family(Vec<Length>);

/// All routes of one worker. Built once, then only read.
#[derive(Clone, Debug, Default)]
pub(super) struct Routes {
    v4: Family,
    v6: Family,
}

impl Routes {
    /// Adds a route. Of two for the same prefix the first stays.
    pub(super) fn add(&mut self, to: IpNet, target: Target) {
        let family = match to {
            IpNet::V4(_) => &mut self.v4.0,
            IpNet::V6(_) => &mut self.v6.0,
        };
        let len = to.prefix_len();
        let at = family.partition_point(|length| length.len > len);
        if family.get(at).is_none_or(|length| length.len != len) {
            let networks = Vec::new();
            family.insert(at, Length { len, networks });
        }
        let network = masked(bits(to.addr()), len);
        let networks = &mut family[at].networks;
        if let Err(place) = networks.binary_search_by_key(&network, |&(network, _)| network) {
            networks.insert(place, (network, target));
        }
    }

    /// Where `dst` is reached: by the longest prefix that holds it.
    pub(super) fn get(&self, dst: IpAddr) -> Option<Target> {
        let family = match dst {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        };
        let bits = bits(dst);
        family.0.iter().find_map(|length| {
            let network = masked(bits, length.len);
            let place = length
                .networks
                .binary_search_by_key(&network, |&(network, _)| network)
                .ok()?;
            Some(length.networks[place].1)
        })
    }
}

/// The address with its first bit as the most significant, whatever the family.
fn bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(addr) => u128::from(addr.to_bits()) << 96,
        IpAddr::V6(addr) => addr.to_bits(),
    }
}

fn masked(bits: u128, len: u8) -> u128 {
    bits & !u128::MAX.checked_shr(u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Routes, Target};
    use crate::buf::PortId;
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use ipnet::{IpNet, Ipv4Net, Ipv6Net};
    use proptest::prelude::*;

    fn net() -> impl Strategy<Value = IpNet> {
        // Few distinct bits, at both ends of the address, so that prefixes nest.
        prop_oneof![
            (any::<u32>(), 0..=32u8).prop_map(|(bits, len)| {
                let addr = Ipv4Addr::from_bits(bits & 0xc000_0003);
                IpNet::V4(Ipv4Net::new(addr, len).unwrap())
            }),
            (any::<u128>(), 0..=128u8).prop_map(|(bits, len)| {
                let addr = Ipv6Addr::from_bits(bits & (3 << 126 | 1 << 64 | 3));
                IpNet::V6(Ipv6Net::new(addr, len).unwrap())
            }),
        ]
    }

    #[test]
    fn the_longest_prefix_wins_and_the_default_catches_the_rest() {
        let mut routes = Routes::default();
        let target = |port| Target {
            port: PortId(port),
            via: None,
        };
        for (port, to) in [(0, "0.0.0.0/0"), (1, "10.0.0.0/8"), (2, "10.1.0.0/24")] {
            routes.add(to.parse().unwrap(), target(port));
        }
        let port = |dst: &str| routes.get(dst.parse().unwrap()).map(|target| target.port.0);
        assert_eq!(port("10.1.0.7"), Some(2));
        assert_eq!(port("10.1.1.7"), Some(1));
        assert_eq!(port("192.0.2.1"), Some(0));
        assert_eq!(port("::1"), None);
    }

    proptest! {
        #[test]
        fn finds_what_a_search_of_all_finds(
            nets in prop::collection::vec(net(), 0..40),
            dsts in prop::collection::vec(net(), 1..40),
        ) {
            let mut routes = Routes::default();
            for (port, &to) in (0..).zip(&nets) {
                routes.add(to, Target { port: PortId(port), via: None });
            }
            for dst in dsts.into_iter().map(|net| net.addr()) {
                let naive = (0u8..)
                    .zip(&nets)
                    .filter(|(_, net)| net.contains::<&IpAddr>(&dst))
                    // Of the longest, the first.
                    .max_by_key(|&(port, net)| (net.prefix_len(), core::cmp::Reverse(port)));
                prop_assert_eq!(
                    routes.get(dst).map(|target| target.port.0),
                    naive.map(|(port, _)| port)
                );
            }
        }
    }
}
