//! A secondary port gets another address: the old one is withdrawn, what ran from it ends here in silence, as nothing may
//! leave with it any more, and the path is joined anew from the new one.

use super::Engine;
use crate::Counter;
use crate::relay::By;
use ipnet::IpNet;
use stack::{Instant, PacketBuf};
use std::net::IpAddr;

impl<B: PacketBuf> Engine<B> {
    /// Puts `to` in the place of `from`, an address of a secondary port, and `gateway` in the place of the one of that
    /// family, if one is given. What makes no network changes nothing, and counts.
    pub(super) fn set_address(
        &mut self,
        now: Instant,
        from: IpAddr,
        to: IpNet,
        gateway: Option<IpAddr>,
    ) {
        let Some(old) = self.own.find(from).copied() else {
            return self.tools.apps.count(Counter::AddressRefused);
        };
        let Some(port) = old.port.filter(|_| from.is_ipv4() == to.addr().is_ipv4()) else {
            return self.tools.apps.count(Counter::AddressRefused);
        };
        let mut config = self.config.clone();
        for interface in &mut config.net.interfaces {
            for network in &mut interface.addresses {
                if interface.port == port && network.addr() == from {
                    *network = to;
                }
            }
        }
        for isolated in &mut config.net.isolated {
            for held in &mut isolated.gateways {
                if isolated.port == port && held.is_ipv4() == from.is_ipv4() {
                    *held = gateway.unwrap_or(*held);
                }
            }
        }
        if self.net.reconfigure(config.net_with_isolation()).is_err() {
            return self.tools.apps.count(Counter::AddressRefused);
        }
        self.config = config;
        self.own.replace(from, to.addr());
        self.tools.apps.count(Counter::AddressChanged);
        let relays: Vec<_> = self.relays.handles().collect();
        for handle in relays {
            let Some(relay) = self.relays.get_mut(handle) else {
                continue;
            };
            if let Some(connection) = relay.multipath_mut() {
                connection.disown(&mut self.tools.leg(now), old.id, from);
            }
            if let Some(paths) = &mut relay.paths {
                paths.retry(By::Port(port), now);
            }
            self.wake(handle);
        }
    }
}
