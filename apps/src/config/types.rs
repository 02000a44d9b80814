//! What a configuration says, once it is right.

use core::net::IpAddr;
use core::time::Duration;
use std::path::PathBuf;

use ipnet::IpNet;

/// A whole, checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The box's name, in its logs.
    pub name: String,
    /// Cores, polling and memory.
    pub worker: Worker,
    /// The ports; a port's place here is its `PortId`.
    pub ports: Vec<Port>,
    /// Static routes. Each resolves to a connected network of one port.
    pub routes: Vec<Route>,
    /// Whose flows are relayed: prefixes of the client side.
    pub subscribers: Vec<IpNet>,
    /// Multipath TCP.
    pub mptcp: Mptcp,
    /// What may be held at once.
    pub limits: Limits,
    /// The control socket.
    pub control: Control,
    /// How to stop.
    pub drain: Drain,
}

/// Cores, polling and memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// The processor cores to run on, one worker each.
    pub cores: Vec<u16>,
    /// What to do when no packet is there.
    pub polling: Polling,
    /// Where packet memory comes from.
    pub hugepages: Hugepages,
    /// Packet memory in MiB.
    pub memory_mb: u32,
}

/// What a worker does when no packet is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polling {
    /// [`Self::Spin`] if every port is a PCI device, else [`Self::Adaptive`].
    Auto,
    /// Sleep, at most 100 microseconds, after some empty polls: several boxes can share a small machine.
    Adaptive,
    /// Never sleep: a whole core for the least latency.
    Spin,
}

/// Where packet memory comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hugepages {
    /// Hugepages if the machine has enough of them free, else normal pages.
    Auto,
    /// Hugepages, or do not start.
    Yes,
    /// Normal pages.
    No,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name in `braidctl` and in logs.
    pub name: String,
    /// A DPDK virtual device (`net_af_packet0,iface=eth1`) or a PCI address (`0000:03:00.0`).
    pub device: String,
    /// Which side it faces.
    pub role: Role,
    /// Our addresses on it, each with the prefix of the network there.
    pub addresses: Vec<IpNet>,
    /// The largest IP packet on it, in octets.
    pub mtu: u16,
}

/// Which side a port faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Towards subscribers.
    Access,
    /// Towards the Internet.
    Core,
}

impl Role {
    /// As it is written in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Core => "core",
        }
    }
}

/// A static route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The destinations.
    pub to: IpNet,
    /// The next hop, on a connected network.
    pub via: IpAddr,
}

/// Multipath TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mptcp {
    /// Our own addresses that clients are told to join (ADD_ADDR), on no port.
    pub announce: Vec<IpAddr>,
    /// Whether to ask for DSS checksums.
    pub checksum: bool,
}

/// What may be held at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Relays; flows beyond are forwarded unbonded.
    pub connections: u32,
    /// Relays that wait for the server or for the client's third ACK; flows beyond are forwarded unbonded.
    pub pending: u32,
    /// The same, for one subscriber address.
    pub pending_per_subscriber: u32,
    /// Octets that one relay may hold in each direction.
    pub buffer_per_connection: u32,
}

/// The control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Where it is.
    pub socket: PathBuf,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long existing relays may go on after SIGTERM before they are reset.
    pub grace: Duration,
}

/// One mistake in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where in the document: `ports[1].mtu`. Empty for the document as a whole.
    pub path: String,
    /// The line in the file, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: String,
}
