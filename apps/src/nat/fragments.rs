//! Fragments: only the first carries ports, so what became of it becomes of all others (RFC 4787 REQ-14).
//! That is a translation at the gate, and the core that owns it where there are several.

use stack::Instant;
use stack::ip::{FragmentId, Packet};
use stack::time::Duration;
use std::collections::VecDeque;

/// Packets of which fragments are awaited.
const PACKETS_MAX: usize = 256;

/// Fragments that came before the first of their packet and are kept.
const EARLY_MAX: usize = 64;

/// How long the rest of a packet may take: less than the 15 seconds of RFC 791 3.2, as links are fast today.
const LIFETIME: Duration = Duration::from_secs(5);

/// Recent first fragments, and others that came before them. All of it is bounded: what is oldest gives way.
#[derive(Debug)]
pub struct Fragments<B, T> {
    known: VecDeque<(FragmentId, T, Instant)>,
    early: VecDeque<(FragmentId, Packet<B>, Instant)>,
}

impl<B, T> Default for Fragments<B, T> {
    fn default() -> Self {
        Self {
            known: VecDeque::new(),
            early: VecDeque::new(),
        }
    }
}

impl<B, T: Copy> Fragments<B, T> {
    /// What became of the first fragment of `id`.
    #[must_use]
    pub fn get(&self, now: Instant, id: &FragmentId) -> Option<T> {
        self.known
            .iter()
            .rev()
            .find(|(known, _, until)| known == id && *until > now)
            .map(|&(_, to, _)| to)
    }

    /// Remembers what becomes of the first fragment of `id`.
    pub fn learn(&mut self, now: Instant, id: FragmentId, to: T) {
        self.known
            .retain(|(known, _, until)| *known != id && *until > now);
        if self.known.len() >= PACKETS_MAX {
            self.known.pop_front();
        }
        self.known.push_back((id, to, now + LIFETIME));
    }

    /// Keeps a fragment until the first of its packet comes; how many had to go for it.
    pub fn keep(&mut self, now: Instant, id: FragmentId, packet: Packet<B>) -> u64 {
        let before = self.early.len();
        self.early.retain(|(_, _, until)| *until > now);
        let mut gone = before - self.early.len();
        if self.early.len() >= EARLY_MAX {
            self.early.pop_front();
            gone += 1;
        }
        self.early.push_back((id, packet, now + LIFETIME));
        gone as u64
    }

    /// The next fragment of `id` that came too early.
    pub fn early(&mut self, id: &FragmentId) -> Option<Packet<B>> {
        let at = self.early.iter().position(|(early, ..)| early == id)?;
        self.early.remove(at).map(|(_, packet, _)| packet)
    }

    /// Fragments that came too early.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.early.len()
    }

    /// When [`Fragments::expire`] has something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.early.front().map(|&(_, _, until)| until)
    }

    /// Drops fragments whose packet did not begin in time; how many.
    pub fn expire(&mut self, now: Instant) -> u64 {
        let before = self.early.len();
        self.early.retain(|(_, _, until)| *until > now);
        (before - self.early.len()) as u64
    }
}
