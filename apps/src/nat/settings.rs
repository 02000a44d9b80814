//! What a gate is built from.

use ipnet::{IpNet, Ipv4Net};
use stack::ip::Endpoint;
use stack::time::Duration;
use stack::wire::ip::{TCP, UDP};
use std::net::{IpAddr, Ipv4Addr};

/// What a mapping is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, by port.
    Tcp,
    /// UDP, by port.
    Udp,
    /// ICMP queries, by identifier (RFC 5508).
    Icmp,
    /// Any other, by its number.
    Other(u8),
}

impl Protocol {
    /// The protocol with this number in an IP header.
    #[must_use]
    pub const fn of(number: u8) -> Self {
        match number {
            TCP => Self::Tcp,
            UDP => Self::Udp,
            stack::wire::ip::ICMP | stack::wire::ip::ICMPV6 => Self::Icmp,
            other => Self::Other(other),
        }
    }

    /// Its number; ICMP's stands for ICMPv6 too.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Tcp => TCP,
            Self::Udp => UDP,
            Self::Icmp => stack::wire::ip::ICMP,
            Self::Other(number) => number,
        }
    }
}

/// Hosts with addresses that the Internet does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NatSettings {
    /// Whose addresses are translated.
    pub inside: Vec<Ipv4Net>,
    /// The address that stands for all of them; one of our own.
    pub address: Ipv4Addr,
    /// Ports of it that always lead to one host.
    pub forwards: Vec<Forward>,
}

/// A port of the public address that always leads to one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port that the Internet sees.
    pub port: u16,
    /// The host and its port.
    pub to: Endpoint,
}

/// What becomes of packets from the Internet that nobody inside asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inbound {
    /// Dropped, but for what [`FirewallSettings::allow`] lists (RFC 6092's default operating mode).
    #[default]
    Drop,
    /// Passed on (RFC 6092 REC-49: transparent mode).
    Accept,
}

/// The filter before hosts whose addresses are not translated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FirewallSettings {
    /// What becomes of what nobody asked for.
    pub inbound: Inbound,
    /// What passes all the same.
    pub allow: Vec<Allow>,
}

/// Packets that pass although nobody inside asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Of this protocol; of every one if `None`.
    pub protocol: Option<Protocol>,
    /// To these hosts.
    pub to: IpNet,
    /// To this port; to every one if `None`.
    pub port: Option<u16>,
}

impl Allow {
    pub(super) fn takes(&self, protocol: Protocol, dst: IpAddr, port: u16) -> bool {
        self.protocol.is_none_or(|only| only == protocol)
            && self.to.contains(&dst)
            && self.port.is_none_or(|only| only == port)
    }
}

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingLimits {
    /// Mappings of all hosts.
    pub mappings: usize,
    /// Mappings of one host.
    pub mappings_per_host: usize,
}

impl Default for MappingLimits {
    fn default() -> Self {
        Self {
            mappings: 100_000,
            mappings_per_host: 8_192,
        }
    }
}

/// How long a mapping is kept after the last packet that refreshed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MappingTimeouts {
    /// Of UDP, and of protocols without ports: at least 2 minutes (RFC 4787 REQ-5, RFC 6092 REC-12 and REC-14).
    pub udp: Duration,
    /// Of ICMP queries: at least 60 seconds (RFC 5508 REQ-2).
    pub icmp: Duration,
    /// Of TCP that is not established, or closing: at least 4 minutes (RFC 5382 REQ-5).
    pub tcp_transitory: Duration,
    /// Of established TCP: at least 2 h 4 min (RFC 5382 REQ-5).
    pub tcp_established: Duration,
}

impl Default for MappingTimeouts {
    fn default() -> Self {
        Self {
            udp: Duration::from_secs(300),
            icmp: Duration::from_secs(60),
            tcp_transitory: Duration::from_secs(240),
            tcp_established: Duration::from_secs(2 * 3600 + 4 * 60),
        }
    }
}
