//! Which flows are bonded at all.

use super::section;
use crate::config::quoted;
use crate::config::reader::{At, Reader, Table};
use crate::config::tree::Node;
use crate::config::types::BoxKind;
use crate::engine::{Native, Rule, Select};

pub(super) const SELECT_HAG: &[&str] = &["include", "exclude", "plain"];
pub(super) const SELECT_HCPE: &[&str] = &["include", "exclude", "native"];
pub(super) const RULE: &[&str] = &["prefix", "port", "dscp"];

const NATIVE: &[(&str, Native)] = &[
    ("terminate", Native::Terminate),
    ("strip", Native::Strip),
    ("pass", Native::Pass),
];

const RULES: &str = "write a list of rules: - { prefix: 10.9.0.0/16, port: 443, dscp: 46 }, each with one of these keys at \
                     least";

/// Reads the rules.
pub(super) fn select(reader: &mut Reader, root: &Table<'_>) -> Select {
    let keys = match reader.kind {
        BoxKind::Hag => SELECT_HAG,
        BoxKind::Hcpe => SELECT_HCPE,
    };
    let Some(table) = section(reader, root, "select", keys) else {
        return Select::default();
    };
    let native = table.find("native");
    let plain = table.find("plain");
    Select {
        include: rules(reader, &table, "include"),
        exclude: rules(reader, &table, "exclude"),
        native: native
            .and_then(|at| reader.choice(&at, NATIVE))
            .unwrap_or_default(),
        plain: plain.is_some_and(|at| reader.boolean(&at).unwrap_or_default()),
    }
}

fn rules(reader: &mut Reader, table: &Table<'_>, key: &str) -> Vec<Rule> {
    let Some(at) = table.find(key) else {
        return Vec::new();
    };
    let place = at.place.clone();
    let items = reader.list(&at, RULES);
    // Each SYN is compared with each of them.
    if items.len() > 256 {
        let what = format!("{} rules are more than the 256 there may be", items.len());
        reader.wrong(&place, what, "write fewer, with shorter prefixes");
        return Vec::new();
    }
    let items = items.into_iter();
    items.filter_map(|at| rule(reader, at)).collect()
}

fn rule(reader: &mut Reader, at: At<&Node>) -> Option<Rule> {
    let table = reader.table(at, RULE)?;
    if RULE.iter().all(|key| table.find(key).is_none()) {
        let what = "a rule without a key matches every flow";
        reader.wrong(&table.place, what, RULES);
        return None;
    }
    let prefix = table.find("prefix");
    let dscp = table.find("dscp");
    let port = table.find("port");
    Some(Rule {
        prefix: prefix
            .and_then(|at| reader.network(at, "10.9.0.0/16"))
            .map(|at| at.value),
        port: port.and_then(|at| ports(reader, at)),
        dscp: dscp.and_then(|at| reader.integer(&at, 0u8..=63)),
    })
}

/// One port, or the first and the last of a range.
fn ports(reader: &mut Reader, at: At<&Node>) -> Option<(u16, u16)> {
    let instead = "write a port such as 443, or a range such as \"8000-8100\"";
    if matches!(at.value, Node::Integer(_)) {
        let port = reader.integer(&at, 1u16..=65_535)?;
        return Some((port, port));
    }
    let text = reader.text(at, instead)?;
    let range = text
        .value
        .split_once('-')
        .and_then(|(low, high)| Some((low.trim().parse().ok()?, high.trim().parse().ok()?)));
    match range {
        Some((low, high)) if 0 < low && low <= high => Some((low, high)),
        _ => {
            let what = format!("{} is no range of ports", quoted(&text.value));
            reader.wrong(&text.place, what, instead);
            None
        },
    }
}
