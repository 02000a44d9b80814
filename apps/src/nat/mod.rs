//! Hosts behind one public IPv4 address, and the filter before all hosts: sans-IO, and without packets of its own.
//!
//! A [`Gate`] stands between the hosts and the Internet. What a host sends makes a *mapping* of its protocol, address and
//! port; what comes back finds that mapping, whoever sends it (endpoint-independent mapping and filtering: RFC 4787 REQ-1
//! and REQ-8, RFC 5382 REQ-1 and REQ-3, RFC 6092 REC-11, REC-17, REC-33). Of a translated host it says which port of the
//! public address stands for it; of all others it only says that they wait for an answer. Flows that are relayed take their
//! port from the same table as those that are only passed on, and hold it for as long as they live.
//!
//! `gate` judges packets, `table` keeps mappings, `ports` gives ports out, `fragments` remembers what the first fragment
//! of a packet told.

mod firewall;
mod fragments;
mod gate;
mod ports;
mod settings;
mod table;
#[cfg(test)]
mod tests;

pub use fragments::Fragments;
pub use gate::{Gate, GateUse, Passage, Where};
pub use ports::Share;
pub(crate) use ports::core_of_port;
pub use settings::{
    Allow, FirewallSettings, Forward, Inbound, MappingLimits, MappingTimeouts, NatSettings,
    Protocol,
};
