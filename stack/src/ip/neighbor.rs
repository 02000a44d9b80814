//! The neighbor cache: Ethernet addresses of next hops, and the packets that wait for them (RFC 826, RFC 4861 7).
//!
//! IPv4 and IPv6 neighbors live by the same states, those of RFC 4861 7.3.2 without DELAY. Our own questions make entries, and the
//! questions of others for an address of ours, as long as there is plenty of room: what else others say unasked refreshes entries
//! that are there. So what a stranger can take up is bounded.

use super::packet::Packet;
use crate::buf::{Frame, PortId};
use crate::time::{Duration, Instant, earlier};
use crate::{Counter, Cx, Tally};
use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};

/// A next hop on a link.
pub(super) type Key = (PortId, IpAddr);

/// Neighbors remembered.
const ENTRIES_MAX: usize = 4096;
/// While fewer are remembered, so is who asks for us: half of the room is for those that we ask for.
const CALLERS_MAX: usize = ENTRIES_MAX / 2;
/// Neighbors asked for at once.
const INCOMPLETE_MAX: usize = 256;
/// Packets that wait for one neighbor.
const HELD_PER_NEIGHBOR: usize = 8;
/// Packets that wait in all.
const HELD_MAX: usize = 256;
/// MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT (RFC 4861 10).
const TRIES: u8 = 3;
/// RETRANS_TIMER (RFC 4861 10).
const RETRY: Duration = Duration::from_secs(1);
/// BASE_REACHABLE_TIME (RFC 4861 10), in milliseconds; drawn between half of it and one and a half.
const REACHABLE_MS: u32 = 30_000;
/// How long an entry that nobody uses is kept.
const UNUSED: Duration = Duration::from_secs(600);
/// How long a neighbor that was just heard of keeps its Ethernet address, whatever is said unasked.
const LOCK: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Asked by broadcast or multicast, so many times.
    Incomplete(u8),
    Reachable,
    /// Perhaps still there; asked when next used.
    Stale,
    /// Asked at its last known address, so many times; packets go there meanwhile.
    Probe(u8),
}

#[derive(Debug)]
struct Entry {
    state: State,
    mac: [u8; 6],
    /// When the state ends.
    due: Instant,
    /// When the Ethernet address was last learnt.
    learnt: Instant,
}

/// A frame that waits, and the packet to quote if it cannot be delivered.
#[derive(Debug)]
pub(super) struct Held<B> {
    pub(super) key: Key,
    /// Complete but for the destination's Ethernet address.
    pub(super) frame: Frame<B>,
    /// With its fate if the neighbor answers; `None` if the packet is our own, or this a fragment after its first.
    pub(super) original: Option<(Packet<B>, Counter)>,
}

impl<B> Held<B> {
    /// Counts that the neighbor did not answer, or that others took the place.
    pub(super) fn give_up(&self, counters: &mut Tally<Counter>) {
        if self.original.is_some() {
            counters.end_waiting(Counter::DropNeighbor, 1);
        } else {
            counters.count(Counter::SendNoNeighbor);
        }
    }
}

/// A question to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Solicit {
    pub(super) key: Key,
    /// Asked directly, or everybody on the link.
    pub(super) mac: Option<[u8; 6]>,
}

/// What [`Neighbors::resolve`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resolution {
    /// Send there, without asking again before `until`.
    Known { mac: [u8; 6], until: Instant },
    /// Hold the packet.
    Unknown,
}

/// How an Ethernet address was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hearsay {
    /// It answers a question of ours: the neighbor hears us.
    pub(super) solicited: bool,
    /// It replaces what was known.
    pub(super) overrides: bool,
}

/// What became due.
#[derive(Debug)]
pub(super) struct Due<B> {
    pub(super) solicits: Vec<Solicit>,
    /// Packets whose neighbor stayed silent.
    pub(super) failed: Vec<Held<B>>,
}

#[derive(Debug)]
pub(super) struct Neighbors<B> {
    entries: BTreeMap<Key, Entry>,
    /// The keys of the incomplete entries, the oldest first.
    incomplete: VecDeque<Key>,
    held: VecDeque<Held<B>>,
    /// No entry is due before.
    next: Option<Instant>,
    /// Changes whenever an address that was given out may be wrong.
    epoch: u32,
}

impl<B> Neighbors<B> {
    pub(super) const fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            incomplete: VecDeque::new(),
            held: VecDeque::new(),
            next: None,
            epoch: 1,
        }
    }

    pub(super) const fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(super) const fn next_deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The address of a neighbor that a packet is to be sent to; asks for it if need be.
    pub(super) fn resolve(
        &mut self,
        cx: &mut Cx<'_>,
        key: Key,
        ask: &mut Option<Solicit>,
    ) -> Resolution {
        let now = cx.now;
        let Some(entry) = self.entries.get_mut(&key) else {
            self.begin(now, key, cx.counters);
            *ask = Some(Solicit { key, mac: None });
            return Resolution::Unknown;
        };
        let over = matches!(entry.state, State::Reachable) && now >= entry.due;
        if over || matches!(entry.state, State::Stale) {
            // RFC 4861 7.3.3: used while stale, it is asked at its address while packets keep going there.
            entry.state = State::Probe(1);
            entry.due = now + RETRY;
            self.next = earlier(self.next, Some(entry.due));
            *ask = Some(Solicit {
                key,
                mac: Some(entry.mac),
            });
        }
        match entry.state {
            State::Incomplete(_) => Resolution::Unknown,
            _ => Resolution::Known {
                mac: entry.mac,
                until: entry.due,
            },
        }
    }

    /// Received packets that wait.
    pub(super) fn waiting(&self) -> usize {
        let received = self.held.iter().filter(|held| held.original.is_some());
        received.count()
    }

    /// Keeps a frame until its neighbor answers. What has no place then is dropped for it.
    pub(super) fn hold(&mut self, held: Held<B>, counters: &mut Tally<Counter>) {
        let mine = self.held.iter().filter(|other| other.key == held.key);
        if mine.count() >= HELD_PER_NEIGHBOR
            && let Some(oldest) = self.held.iter().position(|other| other.key == held.key)
            && let Some(oldest) = self.held.remove(oldest)
        {
            oldest.give_up(counters);
        }
        if self.held.len() >= HELD_MAX
            && let Some(oldest) = self.held.pop_front()
        {
            oldest.give_up(counters);
        }
        self.held.push_back(held);
    }

    /// Remembers who asks for an address of ours from its Ethernet address `mac`, if there is room: what it has to say needs an
    /// answer, which would wait for a question of our own for a round trip (RFC 826, the reception of packets; RFC 4861 7.2.3).
    pub(super) fn meet(&mut self, now: Instant, key: Key, mac: [u8; 6]) {
        if self.entries.len() >= CALLERS_MAX {
            return;
        }
        let due = now + UNUSED;
        self.entries.entry(key).or_insert_with(|| {
            self.next = earlier(self.next, Some(due));
            Entry {
                state: State::Stale,
                mac,
                due,
                learnt: now,
            }
        });
    }

    /// Learns that `key` has the Ethernet address `mac` and appends what waited for that to `out`. Ignored unless
    /// the neighbor is in the cache.
    pub(super) fn learn(
        &mut self,
        cx: &mut Cx<'_>,
        key: Key,
        mac: [u8; 6],
        how: Hearsay,
        out: &mut Vec<Frame<B>>,
    ) {
        let now = cx.now;
        let Some(entry) = self.entries.get_mut(&key) else {
            return;
        };
        let incomplete = matches!(entry.state, State::Incomplete(_));
        let same = entry.mac == mac && !incomplete;
        let asked = matches!(entry.state, State::Incomplete(_) | State::Probe(_));
        if !same && !incomplete {
            if !how.overrides {
                // RFC 4861 7.2.5: a different address without the override flag only casts doubt.
                if matches!(entry.state, State::Reachable) {
                    entry.state = State::Stale;
                    entry.due = now + UNUSED;
                    self.epoch = self.epoch.wrapping_add(1);
                }
                return;
            }
            if !asked && now < entry.learnt + LOCK {
                return;
            }
            self.epoch = self.epoch.wrapping_add(1);
        }
        entry.mac = mac;
        entry.learnt = now;
        if how.solicited && asked {
            entry.state = State::Reachable;
            let half = REACHABLE_MS / 2;
            let ms = half + cx.rng.below(REACHABLE_MS);
            entry.due = now + Duration::from_millis(u64::from(ms));
        } else if !same {
            entry.state = State::Stale;
            entry.due = now + UNUSED;
        }
        self.next = earlier(self.next, Some(entry.due));
        if incomplete {
            self.incomplete.retain(|other| *other != key);
            self.release(key, mac, cx.counters, out);
        }
    }

    /// Does what is due at `now`. Questions repeated, packets given up.
    pub(super) fn advance(&mut self, now: Instant) -> Option<Due<B>> {
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        let mut due = Due {
            solicits: Vec::new(),
            failed: Vec::new(),
        };
        let mut gone = Vec::new();
        let mut lost = Vec::new();
        let mut next = None;
        for (&key, entry) in &mut self.entries {
            if entry.due <= now {
                match entry.state {
                    State::Reachable => {
                        entry.state = State::Stale;
                        entry.due = now + UNUSED;
                    },
                    State::Stale => gone.push(key),
                    State::Incomplete(tries) if tries >= TRIES => gone.push(key),
                    State::Incomplete(tries) => {
                        entry.state = State::Incomplete(tries + 1);
                        entry.due = now + RETRY;
                        due.solicits.push(Solicit { key, mac: None });
                    },
                    State::Probe(tries) if tries >= TRIES => {
                        // Perhaps the neighbor has a new address: everybody on the link is asked.
                        entry.state = State::Incomplete(1);
                        entry.due = now + RETRY;
                        lost.push(key);
                        due.solicits.push(Solicit { key, mac: None });
                    },
                    State::Probe(tries) => {
                        entry.state = State::Probe(tries + 1);
                        entry.due = now + RETRY;
                        let mac = Some(entry.mac);
                        due.solicits.push(Solicit { key, mac });
                    },
                }
            }
            next = earlier(next, Some(entry.due));
        }
        if !gone.is_empty() || !lost.is_empty() {
            self.epoch = self.epoch.wrapping_add(1);
        }
        self.incomplete.extend(lost);
        for key in gone {
            self.forget(key, &mut due.failed);
        }
        self.next = next;
        Some(due)
    }

    fn begin(&mut self, now: Instant, key: Key, counters: &mut Tally<Counter>) {
        let mut failed = Vec::new();
        if self.incomplete.len() >= INCOMPLETE_MAX
            && let Some(oldest) = self.incomplete.front().copied()
        {
            self.forget(oldest, &mut failed);
        }
        if self.entries.len() >= ENTRIES_MAX {
            // Whoever was heard of longest ago; not those that are being asked, which are few.
            let known = self
                .entries
                .iter()
                .filter(|(_, entry)| !matches!(entry.state, State::Incomplete(_)));
            if let Some((&oldest, _)) = known.min_by_key(|(_, entry)| entry.learnt) {
                self.forget(oldest, &mut failed);
                self.epoch = self.epoch.wrapping_add(1);
            }
        }
        failed.iter().for_each(|held| held.give_up(counters));
        let due = now + RETRY;
        let entry = Entry {
            state: State::Incomplete(1),
            mac: [0; 6],
            due,
            learnt: now,
        };
        self.entries.insert(key, entry);
        self.incomplete.push_back(key);
        self.next = earlier(self.next, Some(due));
    }

    fn forget(&mut self, key: Key, failed: &mut Vec<Held<B>>) {
        if let Some(entry) = self.entries.remove(&key)
            && matches!(entry.state, State::Incomplete(_))
        {
            self.incomplete.retain(|other| *other != key);
        }
        // Whoever is forgotten to make room has waited longest, and so have its packets.
        while self.held.front().is_some_and(|held| held.key == key)
            && let Some(held) = self.held.pop_front()
        {
            failed.push(held);
        }
        if !self.held.iter().any(|held| held.key == key) {
            return;
        }
        for _ in 0..self.held.len() {
            match self.held.pop_front() {
                Some(held) if held.key == key => failed.push(held),
                Some(held) => self.held.push_back(held),
                None => break,
            }
        }
    }

    fn release(
        &mut self,
        key: Key,
        mac: [u8; 6],
        counters: &mut Tally<Counter>,
        out: &mut Vec<Frame<B>>,
    ) {
        for _ in 0..self.held.len() {
            match self.held.pop_front() {
                Some(mut held) if held.key == key => {
                    held.frame.header.bytes_mut()[..6].copy_from_slice(&mac);
                    if let Some((_, fate)) = held.original {
                        counters.end_waiting(fate, 1);
                    }
                    out.push(held.frame);
                },
                Some(held) => self.held.push_back(held),
                None => break,
            }
        }
    }
}
