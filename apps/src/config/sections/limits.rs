//! Bounds on connections, half-open ones and memory, of all and of one subscriber.

use super::section;
use crate::config::reader::{Reader, Table};
use crate::config::types::Worker;
use crate::engine::{Limits, PerSubscriber};

pub(super) const LIMITS: &[&str] = &[
    "connections",
    "pending",
    "pending_per_source",
    "joining",
    "subflows",
    "buffer_per_connection",
    "buffer_total",
    "protect_established",
    "per_subscriber",
];
pub(super) const PER_SUBSCRIBER: &[&str] = &["connections", "pending", "joining", "buffer"];

/// How much a box takes on at once; what is not said follows from the memory it was given.
pub(super) fn limits(
    reader: &mut Reader,
    root: &Table<'_>,
    worker: Option<&Worker>,
    ports: usize,
) -> Limits {
    let mut limits = Limits::default();
    // Payload is held in the buffers it came in, which are its port's share of the memory; a quarter of that is what
    // leaves enough, beside headers and unused ends, to go on receiving.
    let memory = worker.map_or(1 << 30, |worker| u64::from(worker.memory_mb) << 20);
    let shares = u64::try_from(ports.max(1)).unwrap_or(1) * 4;
    limits.buffer_total = (((memory >> 20) / shares) << 20).max(1 << 20);
    let quarter = u32::try_from(limits.buffer_total / 4).unwrap_or(u32::MAX);
    limits.buffer = limits.buffer.min(quarter);
    limits.per_subscriber.buffer = limits.buffer_total / 2;
    let Some(table) = section(reader, root, "limits", LIMITS) else {
        return limits;
    };
    let mut count = |key, field: &mut usize, high: u32| {
        let value = table
            .find(key)
            .and_then(|at| reader.integer(&at, 1u32..=high));
        *field = value
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(*field);
    };
    count("connections", &mut limits.relays, 1_000_000);
    count("pending", &mut limits.pending, 1_000_000);
    count(
        "pending_per_source",
        &mut limits.pending_per_source,
        1_000_000,
    );
    count("joining", &mut limits.joining, 1_000_000);
    count("subflows", &mut limits.subflows, 16);
    if let Some(at) = table.find("buffer_total") {
        let value = reader.octets(&at, 1 << 20..=memory / 2);
        limits.buffer_total = value.unwrap_or(limits.buffer_total);
        limits.buffer = limits
            .buffer
            .min(u32::try_from(limits.buffer_total).unwrap_or(u32::MAX));
    }
    if let Some(at) = table.find("buffer_per_connection") {
        let high = limits.buffer_total.clamp(1 << 16, 1 << 28);
        let value = reader.octets(&at, 1 << 16..=high);
        limits.buffer = value
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(limits.buffer);
    }
    if let Some(at) = table.find("protect_established") {
        let value = reader.boolean(&at);
        limits.protect_established = value.unwrap_or(limits.protect_established);
    }
    limits.per_subscriber = per_subscriber(reader, &table, &limits);
    limits
}

/// The share of one subscriber: never more than there is for all.
fn per_subscriber(reader: &mut Reader, table: &Table<'_>, all: &Limits) -> PerSubscriber {
    let mut share = PerSubscriber::default();
    share.connections = share.connections.min(all.relays);
    share.pending = share.pending.min(all.pending);
    share.joining = share.joining.min(all.joining);
    share.buffer = all.buffer_total / 2;
    let Some(own) = section(reader, table, "per_subscriber", PER_SUBSCRIBER) else {
        return share;
    };
    let mut count = |key, field: &mut usize, high: usize| {
        let at = own.find(key);
        let high = u32::try_from(high).unwrap_or(u32::MAX);
        let value = at.and_then(|at| reader.integer(&at, 1u32..=high));
        *field = value
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(*field);
    };
    count("connections", &mut share.connections, all.relays);
    count("pending", &mut share.pending, all.pending);
    count("joining", &mut share.joining, all.joining);
    if let Some(at) = own.find("buffer") {
        let value = reader.octets(&at, 1 << 16..=all.buffer_total);
        share.buffer = value.unwrap_or(share.buffer);
    }
    share
}
