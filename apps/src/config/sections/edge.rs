//! What only a box at the customer's edge is told.

use core::net::IpAddr;

use ipnet::IpNet;

use super::section;
use crate::config::place::Place;
use crate::config::reader::{At, Reader, Table};

/// The keys of `hag`.
pub(super) const HAG: &[&str] = &["addresses", "prefixes", "announce"];

/// What was readable of the box in the network.
pub(in crate::config) struct HagDraft {
    pub(in crate::config) place: Place,
    pub(in crate::config) addresses: Vec<At<IpAddr>>,
    pub(in crate::config) prefixes: Vec<At<IpNet>>,
    pub(in crate::config) announce: bool,
}

/// Reads where the box in the network is.
pub(super) fn hag(reader: &mut Reader, root: &Table<'_>) -> HagDraft {
    let Some(table) = section(reader, root, "hag", HAG) else {
        return HagDraft {
            place: root.place.clone(),
            addresses: Vec::new(),
            prefixes: Vec::new(),
            announce: false,
        };
    };
    let addresses = table.find("addresses").map(|at| {
        let instead = "write a list of hag's addresses: [10.99.0.2, \"fd00:99::2\"], or []";
        let items = reader.list(&at, instead).into_iter();
        items.filter_map(|at| reader.address(at)).collect()
    });
    let prefixes = table.find("prefixes").map(|at| {
        let instead = "write a list of prefixes: [10.99.0.0/24, \"fd00:99::/64\"], or []";
        let items = reader.list(&at, instead).into_iter();
        let items = items.filter_map(|at| reader.network(at, "10.99.0.0/24"));
        items.collect()
    });
    let announce = table.find("announce");
    let announce = announce.and_then(|at| reader.boolean(&at));
    HagDraft {
        place: table.place,
        addresses: addresses.unwrap_or_default(),
        prefixes: prefixes.unwrap_or_default(),
        announce: announce.unwrap_or(false),
    }
}
