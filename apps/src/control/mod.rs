//! The control interface: what an operator may ask a running box, and what it answers.
//!
//! One question is one line of JSON on a Unix stream socket, and so is its answer ([`wire`]). The socket's threads
//! never touch the data plane: a [`Command`] goes to each worker by a mailbox, which is read between two bursts, and a
//! [`Reply`] comes back by value; where there are several [`Workers`], theirs are made one.

use ipnet::IpNet;
use stack::tally::Counted;
use std::net::IpAddr;

pub mod client;
mod merge;
mod reply;
mod runtime;
pub mod server;
pub mod wire;
mod workers;

#[cfg(test)]
mod tests;

pub use merge::merge;
pub use reply::{
    Account, Accounts, Connection, ConnectionState, Connections, Counters, Path, PathTraffic,
    Paths, Port, Ports, Reply, Rule, Rules, Status, Subflow,
};
pub use runtime::{Core, Payload, Runtime, StepCycles};
pub use workers::Workers;

/// The largest number of connections in one answer to [`Command::ShowConnections`]: the worker makes that answer
/// between two bursts, and must not be held up by a hundred thousand rows.
pub const CONNECTIONS_SHOWN_MAX: usize = 1_000;

/// What can be asked of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// The ports with their traffic. Answered by [`Reply::Ports`].
    ShowPorts,
    /// The relays, pending ones included: the first `limit` of them. Answered by [`Reply::Connections`].
    ShowConnections {
        /// How many rows at most; never above [`CONNECTIONS_SHOWN_MAX`].
        limit: usize,
    },
    /// The access networks: what they carry and how they fare. Answered by [`Reply::Paths`].
    ShowPaths,
    /// The rules that say which flows are bonded, each with the flows it decided. Answered by [`Reply::Rules`].
    ShowRules,
    /// What each subscriber's relayed connections carried by each access network: the first `limit` of them. Answered by
    /// [`Reply::Accounts`].
    ShowAccounts {
        /// How many rows at most; never above [`CONNECTIONS_SHOWN_MAX`].
        limit: usize,
    },
    /// What the cores' cycles go to. Answered by [`Reply::Runtime`].
    ShowRuntime,
    /// Every named counter of every layer. Answered by [`Reply::Counters`].
    ShowCounters,
    /// How many relays there are, and whether the box is draining. Cheap: a stopping box asks every few
    /// milliseconds. Answered by [`Reply::Status`].
    ShowStatus,
    /// From now on bypass new flows (their MP_CAPABLE is stripped); the relays that exist go on. Answered by
    /// [`Reply::Status`].
    Drain,
    /// A secondary port of hcpe's gets another address: subflows from the old one are withdrawn and opened anew. Answered
    /// by [`Reply::Status`].
    SetAddress {
        /// The address that is no more.
        from: IpAddr,
        /// The new one, with the prefix length of its network.
        to: IpNet,
        /// The router beside it, if that changed, too.
        gateway: Option<IpAddr>,
    },
    /// Reset every relay, towards both ends. Answered by [`Reply::Status`].
    ResetAll,
}

/// What an engine shows among its counters and no table of counters declares.
const BESIDE: [(&str, &str); 16] = [
    (
        "copied_at_port",
        "Octets of payload that ports copied, as their devices cannot send from several buffers.",
    ),
    (
        "copied_in_stack",
        "Octets of TCP payload that left as a copy instead of by reference: always 0.",
    ),
    (
        "drop_no_core",
        "Received frames dropped as they belong to a core that the receiving one has no ring to.",
    ),
    (
        "drop_no_port",
        "Frames dropped on their way out as they name a port that does not exist: a fault of ours.",
    ),
    (
        "frames_waiting",
        "Received frames that wait now, for other fragments or for their next hop's address.",
    ),
    (
        "handed_over",
        "Frames put into the rings of other cores: received ones that these own or learn from, and those that these send.",
    ),
    (
        "handover_full",
        "Received frames lost as the ring to their core was full.",
    ),
    (
        "handover_missed",
        "Copies of what neighbors say, words between cores, and frames for the core that sends them, lost as the ring to it was full.",
    ),
    (
        "held_octets",
        "Payload octets that all relays hold now, received and not yet acknowledged by the other end.",
    ),
    (
        "nat_hosts",
        "Hosts that have mappings now, translated or only awaited back.",
    ),
    (
        "nat_mappings",
        "Mappings that exist now, static forwards among them.",
    ),
    (
        "nat_ports",
        "Ports of the public address that belong to a host now, of 65535.",
    ),
    (
        "pending",
        "Relays that wait now for the server or for the client's third ACK.",
    ),
    ("relays", "Relays that exist now, pending ones not counted."),
    (
        "summed_at_port",
        "Octets of TCP segments that ports read for checksums that were left to them, as their devices compute none.",
    ),
    (
        "taken_over",
        "Received frames taken out of the rings from other cores.",
    ),
];

/// Whether the counter `name` is a fate: what became of a received frame. With those that wait they add up to what came in.
#[must_use]
pub fn is_fate(name: &str) -> bool {
    fn find<C: Counted>(name: &str) -> bool {
        C::ALL.iter().any(|row| row.is_fate() && row.name() == name)
    }
    find::<stack::Counter>(name) || find::<crate::Counter>(name)
}

/// What the counter `name` counts, in a sentence.
#[must_use]
pub fn explain(name: &str) -> Option<&'static str> {
    fn find<C: Counted>(name: &str) -> Option<&'static str> {
        C::ALL
            .iter()
            .find(|row| row.name() == name)
            .map(|row| row.help())
    }
    find::<stack::Counter>(name)
        .or_else(|| find::<mptcp::Counter>(name))
        .or_else(|| find::<crate::Counter>(name))
        .or_else(|| {
            BESIDE
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, help)| *help)
        })
}
