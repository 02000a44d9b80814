//! Further subflows that hag opens towards its customers.

use core::net::IpAddr;

use ipnet::IpNet;

use super::section;
use crate::config::reader::{At, Reader, Table};
use crate::engine::{JoinSettings, JoinSubscriber};

/// The keys of `join`, and of each entry of its subscribers.
pub(super) const JOIN: &[&str] = &["subscribers", "announced", "sole"];
pub(super) const SUBSCRIBER: &[&str] = &["prefix", "addresses"];

const INSTEAD: &str = "write a list: - { prefix: 10.1.0.0/24, addresses: [10.2.0.2] }, with an address for each access";

/// Reads which subflows hag opens.
pub(super) fn join(reader: &mut Reader, root: &Table<'_>) -> JoinSettings {
    let mut join = JoinSettings::default();
    let Some(table) = section(reader, root, "join", JOIN) else {
        return join;
    };
    let mut flag = |key| table.find(key).and_then(|at| reader.boolean(&at));
    join.announced = flag("announced").unwrap_or(false);
    join.sole = flag("sole").unwrap_or(false);
    let Some(at) = table.find("subscribers") else {
        return join;
    };
    for item in reader.list(&at, INSTEAD) {
        let Some(table) = reader.table(item, SUBSCRIBER) else {
            continue;
        };
        let prefix = table
            .require(reader, "prefix", "write the prefix of the customer's hosts")
            .and_then(|at| reader.network(at, "10.1.0.0/24"));
        let addresses = table.require(reader, "addresses", INSTEAD);
        let addresses = addresses.map(|at| addresses_of(reader, &at));
        if let (
            Some(At {
                value: prefix,
                place,
            }),
            Some(addresses),
        ) = (prefix, addresses)
        {
            let overlaps = |s: &JoinSubscriber| overlap(&s.prefix, &prefix);
            if join.subscribers.iter().any(overlaps) {
                let what = format!("{prefix} overlaps another prefix here");
                reader.wrong(&place, what, "write each customer once");
            }
            join.subscribers.push(JoinSubscriber { prefix, addresses });
        }
    }
    join
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn addresses_of(reader: &mut Reader, at: &At<&crate::config::tree::Node>) -> Vec<IpAddr> {
    let items = reader.list(at, INSTEAD).into_iter();
    let items = items.filter_map(|at| reader.address(at));
    items.map(|at| at.value).collect()
}
