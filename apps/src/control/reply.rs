//! The answers, as they are serialised: names and units here are what `braidctl --json` prints.

use std::collections::BTreeMap;

use super::Runtime;
use serde::{Deserialize, Serialize};

/// What a worker answers. Serialises as its content alone: the question says which it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `show ports`.
    Ports(Ports),
    /// To `show connections`.
    Connections(Connections),
    /// To `show paths`.
    Paths(Paths),
    /// To `show rules`.
    Rules(Rules),
    /// To `show accounts`.
    Accounts(Accounts),
    /// To `show runtime`.
    Runtime(Runtime),
    /// To `show counters`.
    Counters(Counters),
    /// To `show status`, `drain` and a reset of all.
    Status(Status),
}

/// Every port, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// The ports.
    pub ports: Vec<Port>,
}

/// One port and its traffic since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The configured name.
    pub name: String,
    /// The device behind it: a DPDK device string or a PCI address.
    pub device: String,
    /// `access` or `core`; at the customer's edge `lan`, `primary` or `secondary`.
    pub role: String,
    /// The MAC address, `02:00:00:00:00:01`.
    pub mac: String,
    /// The largest IP packet that it carries, in octets.
    pub mtu: u16,
    /// Frames received.
    pub rx_packets: u64,
    /// Octets received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_packets: u64,
    /// Octets sent.
    pub tx_bytes: u64,
    /// Trains of segments that the device was given to cut into frames.
    #[serde(default)]
    pub tx_trains: u64,
    /// Frames that the device dropped because we did not fetch them in time.
    pub rx_missed: u64,
    /// Frames that the device dropped because there was no buffer to receive into.
    #[serde(default)]
    pub rx_nobuf: u64,
    /// Frames that the device did not take.
    pub tx_dropped: u64,
    /// Payload octets that the port had to copy, as the device cannot send a chain of buffers.
    pub copied_at_port: u64,
}

/// The relays, as many as were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// The relays.
    pub connections: Vec<Connection>,
    /// How many relays there are in all, shown or not.
    pub total: u64,
}

/// What a relay is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// The server has not answered yet, or the client has not yet acknowledged that answer.
    Pending,
    /// Multipath TCP on the access networks.
    Mptcp,
    /// Plain TCP on both sides: the leg over the access networks fell back (RFC 8684 3.7).
    Fallback,
    /// One direction at least has ended.
    Closing,
}

impl ConnectionState {
    /// The name that operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Mptcp => "mptcp",
            Self::Fallback => "fallback",
            Self::Closing => "closing",
        }
    }
}

/// One relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Names the relay for as long as it lives.
    pub id: u64,
    /// The client's address and port.
    pub client: String,
    /// The server's address and port.
    pub server: String,
    /// What it is doing.
    pub state: ConnectionState,
    /// The MPTCP version; absent while pending without MPTCP, and after a fallback at set-up.
    pub version: Option<u8>,
    /// Our token (RFC 8684 3.2), eight hexadecimal digits.
    pub token: Option<String>,
    /// Milliseconds since the SYN.
    pub age_ms: u64,
    /// Payload octets from the client to the server.
    pub bytes_up: u64,
    /// Payload octets from the server to the client.
    pub bytes_down: u64,
    /// The TCP connections of the leg over the access networks; one after a fallback, none while pending.
    pub subflows: Vec<Subflow>,
}

/// One subflow of a relay's leg over the access networks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subflow {
    /// Our number of it; the first is 0.
    pub id: u32,
    /// Which leg it belongs to: `client` in the network, `server` at the customer's edge.
    #[serde(default)]
    pub leg: String,
    /// The address and port of our end: in the network the server's on the first subflow and an own one on joined ones, at
    /// the edge the host's and an own one.
    pub local: String,
    /// The address and port of the other box's end.
    pub remote: String,
    /// Name of the port that it runs by.
    pub port: String,
    /// Smoothed round-trip time in microseconds (RFC 6298); 0 before the first sample.
    pub srtt_us: u64,
    /// Congestion window in octets.
    pub cwnd: u64,
    /// Octets sent and not yet acknowledged.
    pub flight: u64,
    /// Payload octets received on it.
    pub bytes_in: u64,
    /// Payload octets sent on it and acknowledged.
    pub bytes_out: u64,
    /// Segments sent again.
    pub retransmitted: u64,
    /// Whether it is used only when no other is left (RFC 8684 3.3.8).
    pub backup: bool,
}

/// The access networks, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paths {
    /// One entry for each port that leads into an access network.
    pub paths: Vec<Path>,
}

/// One access network, as the relayed connections see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Path {
    /// The port's name.
    pub name: String,
    /// Its role.
    pub role: String,
    /// `up`; `down` if no subflow on it is answered any more; `idle` without a subflow.
    pub state: String,
    /// Subflows that it carries now.
    pub subflows: u64,
    /// The mean of their smoothed round-trip times in microseconds; 0 without a sample.
    pub srtt_us: u64,
    /// The least round-trip time of theirs in microseconds; 0 without a sample.
    pub min_rtt_us: u64,
    /// Octets per second received over about the last second, headers included.
    pub rate_in: u64,
    /// The same sent.
    pub rate_out: u64,
    /// Payload octets received since the start, those that came again included.
    pub bytes_in: u64,
    /// The same sent.
    pub bytes_out: u64,
    /// Octets per second that the peers take of the present subflows, when their congestion windows are full.
    pub delivery_rate: u64,
    /// For how many milliseconds those windows were full, over the present subflows.
    pub cwnd_limited_ms: u64,
    /// Segments with data that the present subflows sent.
    pub sent: u64,
    /// Of those, segments sent again: the path's losses as far as they were noticed.
    pub resent: u64,
}

/// The operator's rules, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// One rule of `select`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `include` or `exclude`.
    pub list: String,
    /// Its place in the list, from 1.
    pub position: u64,
    /// What it matches.
    pub rule: String,
    /// SYNs that it was the first of its list to match.
    pub flows: u64,
}

/// What subscribers' connections carried, as many subscribers as were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounts {
    /// The accounts.
    pub accounts: Vec<Account>,
    /// How many subscribers have one, shown or not.
    pub total: u64,
}

/// What one subscriber's relayed connections carried since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// An IPv4 address, the first of an IPv6 /64, or `others` for those past the number that is kept apart.
    pub subscriber: String,
    /// By access network, those that carried nothing left out.
    pub paths: Vec<PathTraffic>,
}

/// What one access network carried of a subscriber's relayed connections: payload octets, retransmissions included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathTraffic {
    /// The port's name.
    pub path: String,
    /// From the subscriber.
    pub bytes_up: u64,
    /// To the subscriber.
    pub bytes_down: u64,
}

/// Every named counter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Name and value. `copied_in_stack`, `relays` and `pending` stand among them; the last two are present numbers.
    pub counters: BTreeMap<String, u64>,
}

/// The state of the whole box.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Relays that exist now, pending ones not counted.
    pub relays: u64,
    /// Relays that wait for the server or for the client's third ACK.
    pub pending: u64,
    /// Whether new flows are bypassed.
    pub draining: bool,
}
