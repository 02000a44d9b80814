//! What an engine is built from: plain values, checked by whoever read them from a file.

use super::select::Select;
use crate::nat::{FirewallSettings, MappingLimits, MappingTimeouts, NatSettings};
use dataplane::PortInfo;
use ipnet::IpNet;
use mptcp::{Coupling, Versions};
use stack::ip::{IsolatedConfig, NetConfig};
use stack::tcp::congestion::Algorithm;
use stack::time::Duration;
use stack::{PortId, Rng};
use std::net::IpAddr;

/// Most cores of a box: as many as a hash spreads flows over without leaving one idle.
pub const CORES_MAX: u8 = 64;

/// Everything an engine needs to know, fixed for its lifetime.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The worker core this engine runs on; named by the low bits of the tokens it hands out.
    pub core: u8,
    /// How many of them run the box together: at least 1, at most [`CORES_MAX`].
    pub cores: u8,
    /// Addresses, routes and MTUs.
    pub net: NetConfig,
    /// One entry per port, in the order of [`PortId`].
    pub ports: Vec<PortSettings>,
    /// Two ports that are a bump in the wire: what comes by one leaves by the other as it came, but for the flows that are
    /// split.
    pub bridge: Option<[PortId; 2]>,
    /// Prefixes whose flows are split: H@ lies in one of them.
    pub subscribers: Vec<IpNet>,
    /// HAG@2: our addresses announced to clients (ADD_ADDR) and at which joins are accepted.
    pub announce: Vec<IpAddr>,
    /// What only a box at the customer's edge knows. With it the engine opens Multipath TCP towards the core side in the
    /// place of subscribers that speak TCP; without it, it accepts Multipath TCP from subscribers.
    pub edge: Option<EdgeSettings>,
    /// Further subflows that a box in the network opens towards its customers (figure 6 of the draft).
    pub join: JoinSettings,
    /// The versions of Multipath TCP that are spoken: answered as the SYN asks, asked for in this order.
    pub versions: Versions,
    /// Hosts behind one public IPv4 address.
    pub nat: Option<NatSettings>,
    /// The filter before hosts; none lets everything in.
    pub firewall: Option<FirewallSettings>,
    /// Bounds on the state of both.
    pub mapping_limits: MappingLimits,
    /// How long their state is kept.
    pub mapping_timeouts: MappingTimeouts,
    /// Whether the DSS checksum is asked for (RFC 8684 3.3.0); a peer that asks for it gets it anyway.
    pub checksum: bool,
    /// Bond connections from the Internet to subscribers, whose boxes are then offered Multipath TCP.
    pub inbound: bool,
    /// Which access carries what.
    pub policy: PolicySettings,
    /// Relay TCP flows of subscribers that offer no Multipath TCP too, TCP to TCP.
    pub accept_plain: bool,
    /// Which flows are bonded.
    pub select: Select,
    /// Bounds on what is held.
    pub limits: Limits,
    /// How long each state is kept.
    pub timeouts: Timeouts,
    /// From the operating system in production, fixed in tests: keys, ISNs and the flow table's hash follow from it.
    pub seed: [u8; 32],
}

/// What a box at the customer's edge knows of the box that it bonds with.
#[derive(Clone, Debug, Default)]
pub struct EdgeSettings {
    /// HAG@2: addresses that each connection joins from every secondary port once options have passed, announced or not.
    pub hag: Vec<IpAddr>,
    /// Announced addresses are joined if they lie in one of these.
    pub hag_prefixes: Vec<IpNet>,
    /// Whether the addresses of the secondary ports are announced, so that the other box can join them: not where these
    /// are translated on their way.
    pub announce: bool,
    /// How long a subflow by a port may be silent before it is probed: less than what translates addresses there
    /// remembers. Ports without an entry are never probed.
    pub keepalive: Vec<(PortId, Duration)>,
}

/// Which further subflows the box in the network opens, besides those that it accepts.
#[derive(Clone, Debug, Default)]
pub struct JoinSettings {
    /// HCPE@2: addresses of customers that are known beforehand. Of prefixes that overlap the first counts.
    pub subscribers: Vec<JoinSubscriber>,
    /// Whether addresses are joined that the customer's box itself announces.
    pub announced: bool,
    /// Whether the customers' boxes open none: else the first step is left to them for one to two round trips.
    pub sole: bool,
}

/// Customers whose further addresses are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinSubscriber {
    /// Where the hosts are.
    pub prefix: IpNet,
    /// One address for each of their further accesses.
    pub addresses: Vec<IpAddr>,
}

/// What the engine knows about a port beyond its addresses.
#[derive(Clone, Debug)]
pub struct PortSettings {
    /// The name from the configuration.
    pub name: String,
    /// Which side of the box it faces.
    pub role: PortRole,
    /// What sending data by it costs, as an access network: less is preferred. `None` is 0 where connections begin,
    /// which is the primary access, and 1 elsewhere.
    pub cost: Option<u16>,
    /// The share of data that goes by it beside other accesses, for the scheduler that heeds weights: at least 1.
    pub weight: u16,
    /// Bits per second of IP packets of bonded flows that we send by it at most: in all at the customer's edge, to each
    /// line (an IPv4 address or an IPv6 /64) at the other box. What is sent again and bare acknowledgments are counted,
    /// and not held back.
    pub cap: Option<u64>,
}

impl PortSettings {
    /// A port without policy.
    #[must_use]
    pub fn new(name: &str, role: PortRole) -> Self {
        Self {
            name: name.to_owned(),
            role,
            cost: None,
            weight: 1,
            cap: None,
        }
    }
}

/// Which access carries what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicySettings {
    /// How each piece of data gets its subflow.
    pub scheduler: SchedulerKind,
    /// How the congestion windows of a connection's subflows depend on each other.
    pub congestion: Coupling,
    /// Congestion control of TCP legs: towards servers, and wherever nobody speaks Multipath TCP.
    pub tcp_congestion: Algorithm,
    /// Whether those spread what they send over the round trip.
    pub tcp_pacing: bool,
}

/// How each piece of data gets its subflow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchedulerKind {
    /// Accesses of the least cost first, the others for what those cannot carry.
    #[default]
    Overflow,
    /// The lowest round-trip time first, whatever it costs.
    LowestRtt,
    /// Each access by its weight.
    Weighted,
    /// All data by all accesses.
    Redundant,
    /// A slow access only where its data does not block the window of the fastest.
    Blest,
    /// A slow access only where the fastest would not be done sooner.
    Ecf,
}

/// Which side of the box a port faces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRole {
    /// Towards subscribers: the only ports where a box in the network takes MP_CAPABLE.
    Access,
    /// Towards the Internet; at the customer's edge the primary access.
    Core,
    /// At the customer's edge: a further access, isolated: for joined subflows from the port's own address alone
    /// (BCP 38), by routes and gateways of its own.
    Secondary,
}

impl PortRole {
    /// As it is written in the configuration and shown by `braidctl`; `edge` for the box at the customer's edge.
    #[must_use]
    pub const fn name(self, edge: bool) -> &'static str {
        match (self, edge) {
            (Self::Access, false) => "access",
            (Self::Access, true) => "lan",
            (Self::Core, false) => "core",
            (Self::Core, true) => "primary",
            (Self::Secondary, _) => "secondary",
        }
    }
}

/// Bounds: past each of them new flows are forwarded unbonded, never answered or dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Relays at once.
    pub relays: usize,
    /// Pending flows at once (SYN seen, not yet split).
    pub pending: usize,
    /// Pending flows at once from one network in the Internet: a /24 of IPv4 or a /48 of IPv6. All those from the
    /// Internet together may be half of `pending`.
    pub pending_per_source: usize,
    /// The share of one subscriber: an IPv4 address or an IPv6 /64.
    pub per_subscriber: PerSubscriber,
    /// Half-open joins at once.
    pub joining: usize,
    /// Subflows of one connection, half-open joins included.
    pub subflows: usize,
    /// Octets that one relay holds in one direction: received, and not yet acknowledged by the other end.
    pub buffer: u32,
    /// Whether established flows go before new ones: while more arrives than a core can do, these are bonded as far as a part
    /// of its time suffices for them.
    pub protect_established: bool,
    /// Octets that all relays hold together. Each may hold half of what is left; past it, 64 KiB in a direction.
    pub buffer_total: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            relays: 100_000,
            pending: 20_000,
            pending_per_source: 1_000,
            per_subscriber: PerSubscriber::default(),
            joining: 10_000,
            subflows: 8,
            buffer: 4 << 20,
            buffer_total: 1 << 30,
            protect_established: true,
        }
    }
}

/// Bounds on what one subscriber uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PerSubscriber {
    /// Relays and pending flows at once.
    pub connections: usize,
    /// Pending flows at once that it opened, and as many that the Internet opened to it.
    pub pending: usize,
    /// Half-open joins at once.
    pub joining: usize,
    /// Octets that its relays hold together. Each may hold half of what is left; past it, 8 KiB in a direction.
    pub buffer: u64,
}

impl Default for PerSubscriber {
    fn default() -> Self {
        Self {
            connections: 10_000,
            pending: 1_000,
            joining: 1_000,
            buffer: 1 << 29,
        }
    }
}

/// How long each state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// A pending flow without its third ACK, counted from its last SYN, or from the answer to it.
    pub pending: Duration,
    /// A half-open join.
    pub joining: Duration,
    /// A relay through which nothing passes: at least 2 h 4 min (RFC 5382 REQ-5).
    pub idle: Duration,
    /// A relay whose ends have both begun to close, without progress.
    pub closing: Duration,
    /// Silence of an end after which it is probed; after four probes without an answer it is dead. Of additional subflows
    /// [`EdgeSettings::keepalive`] decides.
    pub keepalive: Duration,
    /// A relay through which nothing passes, until it is put to rest: at least some round trips. It then takes a fifth of the
    /// memory, and what a connection remembers for seconds only is forgotten.
    pub rest: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            pending: Duration::from_secs(120),
            joining: Duration::from_secs(30),
            idle: Duration::from_secs(2 * 3600 + 4 * 60),
            closing: Duration::from_secs(240),
            keepalive: Duration::from_secs(2 * 3600),
            rest: Duration::from_secs(10),
        }
    }
}

impl EngineConfig {
    /// Leaves TCP checksums to those of the ports, given in their order, whose devices compute them.
    pub fn leave_checksums_to<'a>(&mut self, ports: impl IntoIterator<Item = &'a PortInfo>) {
        let ports = (0..=u8::MAX).map(PortId).zip(ports);
        let summing = ports.filter(|(_, info)| info.sums);
        self.net.summing = summing.map(|(id, _)| id).collect();
    }

    /// What the engine on `core`, the first of which is 0, knows where `cores` of them run the box: an equal share of
    /// each limit, and randomness of its own. What one subscriber may use is a share only where its flows are on several
    /// cores.
    #[must_use]
    pub fn of_core(&self, core: u8, cores: u8) -> Self {
        let mut own = Self {
            core,
            cores,
            ..self.clone()
        };
        if cores <= 1 {
            return own;
        }
        let mut rng = Rng::from_seed(self.seed);
        for _ in 0..=core {
            rng.fill(&mut own.seed);
        }
        let n = usize::from(cores);
        let limits = &mut own.limits;
        for limit in [
            &mut limits.relays,
            &mut limits.pending,
            &mut limits.pending_per_source,
            &mut limits.joining,
            &mut own.mapping_limits.mappings,
            &mut own.mapping_limits.mappings_per_host,
        ] {
            *limit = limit.div_ceil(n);
        }
        limits.buffer_total = limits.buffer_total.div_ceil(u64::from(cores));
        let share = &mut limits.per_subscriber;
        if !self.steers_by_subscriber() {
            for limit in [
                &mut share.connections,
                &mut share.pending,
                &mut share.joining,
            ] {
                *limit = limit.div_ceil(n);
            }
            share.buffer = share.buffer.div_ceil(u64::from(cores));
        }
        share.buffer = share.buffer.min(limits.buffer_total);
        own
    }

    /// Whether all flows of a subscriber are on one core: where lines are capped, as a cap has one owner.
    pub(super) fn steers_by_subscriber(&self) -> bool {
        let capped = self.ports.iter().any(|port| port.cap.is_some());
        capped && self.edge.is_none() && !self.has_gate()
    }

    /// Whether what is not split goes by a gate.
    pub(super) const fn has_gate(&self) -> bool {
        self.nat.is_some() || self.firewall.is_some()
    }

    /// The role of `port`; a port that was not configured faces the Internet.
    #[must_use]
    pub fn role(&self, port: PortId) -> PortRole {
        self.ports
            .get(usize::from(port.0))
            .map_or(PortRole::Core, |settings| settings.role)
    }

    /// The network, with every secondary port isolated: it carries its own addresses alone (BCP 38). Packets to groups
    /// go from subscribers to the Internet; at the customer's edge also back, to the first port where hosts are.
    pub(super) fn net_with_isolation(&self) -> NetConfig {
        let mut net = self.net.clone();
        for interface in &self.net.interfaces {
            let port = interface.port;
            let known = net.isolated.iter().any(|isolated| isolated.port == port);
            if self.role(port) == PortRole::Secondary && !known {
                net.isolated.push(IsolatedConfig {
                    port,
                    gateways: Vec::new(),
                });
            }
        }
        let ports = || self.net.interfaces.iter().map(|interface| interface.port);
        let of = |role| ports().filter(move |&port| self.role(port) == role);
        if let Some(core) = of(PortRole::Core).next() {
            net.groups
                .extend(of(PortRole::Access).map(|access| (access, core)));
            let back = of(PortRole::Access).next().filter(|_| self.edge.is_some());
            net.groups.extend(back.map(|lan| (core, lan)));
        }
        net
    }

    /// Whether `address` is a subscriber's.
    #[must_use]
    pub fn is_subscriber(&self, address: IpAddr) -> bool {
        self.subscribers.iter().any(|net| covers(net, address))
    }

    /// Whether Multipath TCP runs towards `address`, of a host that is not our own: subscribers in the network, everyone
    /// else at the customer's edge.
    #[must_use]
    pub fn is_bonded_side(&self, address: IpAddr) -> bool {
        self.is_subscriber(address) != self.edge.is_some()
    }

    /// The smallest MTU of the access networks: subflows run by any of them.
    #[must_use]
    pub fn access_mtu(&self) -> Option<u16> {
        let interfaces = self.net.interfaces.iter();
        let access = interfaces.filter(|i| self.is_access_network(i.port));
        access.map(|i| i.mtu).min()
    }

    /// Whether `port` leads into an access network: the ports that subflows run by.
    #[must_use]
    pub fn is_access_network(&self, port: PortId) -> bool {
        (self.role(port) == PortRole::Access) != self.edge.is_some()
    }
}

/// Whether `address` is of network `net`, by its leading bits: asked of every packet.
fn covers(net: &IpNet, address: IpAddr) -> bool {
    match (net, address) {
        (IpNet::V4(net), IpAddr::V4(address)) => {
            let differs = net.addr().to_bits() ^ address.to_bits();
            differs.leading_zeros() >= net.prefix_len().into()
        },
        (IpNet::V6(net), IpAddr::V6(address)) => {
            let differs = net.addr().to_bits() ^ address.to_bits();
            differs.leading_zeros() >= net.prefix_len().into()
        },
        _ => false,
    }
}

impl Default for EngineConfig {
    /// A box without ports that serves nobody, with the seed zero: to be filled in.
    fn default() -> Self {
        Self {
            core: 0,
            cores: 1,
            net: NetConfig::default(),
            ports: Vec::new(),
            bridge: None,
            subscribers: Vec::new(),
            announce: Vec::new(),
            edge: None,
            join: JoinSettings::default(),
            versions: Versions::V1,
            nat: None,
            firewall: None,
            mapping_limits: MappingLimits::default(),
            mapping_timeouts: MappingTimeouts::default(),
            checksum: false,
            inbound: false,
            policy: PolicySettings::default(),
            accept_plain: false,
            select: Select::default(),
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            seed: [0; 32],
        }
    }
}
