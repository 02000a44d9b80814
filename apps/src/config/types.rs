//! What a configuration says, once it is right.

use core::fmt;
use core::net::IpAddr;
use stack::time::Duration;
use std::path::PathBuf;

use ipnet::IpNet;
use mptcp::Versions;

use crate::engine::{JoinSettings, Limits, PolicySettings, PortRole, Select, Timeouts};
use crate::nat::{FirewallSettings, MappingLimits, MappingTimeouts, NatSettings};

/// Which of the two boxes a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoxKind {
    /// The Hybrid Access Gateway, in the operator's network.
    Hag,
    /// The hybrid customer premises equipment, at the customer's edge.
    Hcpe,
}

impl BoxKind {
    /// The program's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hag => "hag",
            Self::Hcpe => "hcpe",
        }
    }

    /// The example in the tree, where every key is explained.
    #[must_use]
    pub const fn example(self) -> &'static str {
        match self {
            Self::Hag => "apps/hag/hag.example.yaml",
            Self::Hcpe => "apps/hcpe/hcpe.example.yaml",
        }
    }

    /// Where its control socket is, unless the file says otherwise.
    #[must_use]
    pub const fn socket(self) -> &'static str {
        match self {
            Self::Hag => "/run/hag/hag.sock",
            Self::Hcpe => "/run/hcpe/hcpe.sock",
        }
    }

    pub(super) const fn other(self) -> Self {
        match self {
            Self::Hag => Self::Hcpe,
            Self::Hcpe => Self::Hag,
        }
    }
}

/// A whole, checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose it is.
    pub kind: BoxKind,
    /// The box's name, in its logs.
    pub name: String,
    /// Cores, polling and memory.
    pub worker: Worker,
    /// The ports; a port's place here is its [`PortId`](stack::PortId).
    pub ports: Vec<Port>,
    /// Two ports that are a bump in the wire, by their place.
    pub bridge: Option<[usize; 2]>,
    /// Static routes. Each resolves to a connected network of one port.
    pub routes: Vec<Route>,
    /// Whose flows are relayed: prefixes of the client side. At the customer's edge the hosts behind it.
    pub subscribers: Vec<IpNet>,
    /// Whether connections from the Internet to subscribers are bonded; never at the customer's edge, where the answer decides.
    pub inbound: bool,
    /// In the network: the further subflows that are opened towards customers.
    pub join: JoinSettings,
    /// At the customer's edge: the box in the network that it bonds with.
    pub hag: Option<Hag>,
    /// At the customer's edge: what stands between the hosts and the Internet.
    pub gate: Option<Gate>,
    /// Multipath TCP.
    pub mptcp: Mptcp,
    /// Which access carries what.
    pub policy: PolicySettings,
    /// What may be held at once.
    pub limits: Limits,
    /// How long each state is kept.
    pub timeouts: Timeouts,
    /// The control socket.
    pub control: Control,
    /// How to stop.
    pub drain: Drain,
    /// Which flows are bonded.
    pub select: Select,
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
    /// What is behind it.
    pub device: Device,
    /// Which side it faces.
    pub role: PortRole,
    /// Our addresses on it, each with the prefix of the network there.
    pub addresses: Vec<IpNet>,
    /// The largest IP packet on it, in octets.
    pub mtu: u16,
    /// Of a secondary port: next hops of whatever its own addresses send, one a family.
    pub gateway: Vec<IpAddr>,
    /// Of a secondary port: how long a subflow may be silent before it is probed.
    pub keepalive: Option<Duration>,
    /// The virtual network that its frames are tagged with, within that of a service if there are two.
    pub vlan: Vec<u16>,
    /// What sending data by it costs, if that is written.
    pub cost: Option<u16>,
    /// The share of data that goes by it beside others, for the scheduler that heeds weights.
    pub weight: u16,
    /// Bits per second of bonded flows' packets that are sent by it at most.
    pub cap: Option<u64>,
}

/// What is behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {
    /// A DPDK virtual device with its arguments: `net_af_packet0,iface=eth1`.
    Virtual(String),
    /// A PCI address: `0000:03:00.0`.
    Pci(String),
}

impl Device {
    /// As it is written in the file.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Virtual(name) | Self::Pci(name) => name,
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
    /// The versions to speak, and which of them to ask for first.
    pub versions: Versions,
    /// Whether to ask for DSS checksums.
    pub checksum: bool,
}

/// What a box at the customer's edge knows of the one in the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hag {
    /// Addresses that each connection joins, announced or not.
    pub addresses: Vec<IpAddr>,
    /// Announced addresses are joined if they lie in one of these.
    pub prefixes: Vec<IpNet>,
    /// Whether it is told the addresses of the secondary ports, to join them itself.
    pub announce: bool,
}

/// What stands between hosts and the Internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// Hosts behind one public IPv4 address.
    pub nat: Option<NatSettings>,
    /// The filter before hosts.
    pub firewall: FirewallSettings,
    /// Bounds on the state of both.
    pub limits: MappingLimits,
    /// How long their state is kept.
    pub timeouts: MappingTimeouts,
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

/// One mistake in a configuration file, or one thing that is legal and probably not meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The line in the file, from 1.
    pub line: usize,
    /// Where in the document: `ports[1].mtu`. Empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: String,
}

impl fmt::Display for Mistake {
    /// `12: ports[1].mtu: 70000 is too large; write a whole number from 1280 to 9000`, to stand behind a file's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.line)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.what, self.instead)
    }
}
