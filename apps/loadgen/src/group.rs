//! One group of clients: when its requests are due, and which of its connections are free for one.

use stack::Instant;
use stack::slab::Handle;
use stack::time::Duration;
use std::collections::VecDeque;

use crate::config::Client;

/// Requests at a steady rate, by the clock and not by what became of earlier ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    since: Instant,
    rate: u64,
    /// How many were begun.
    begun: u64,
}

impl Pace {
    pub(crate) const fn new(since: Instant, rate: u64) -> Self {
        Self {
            since,
            rate,
            begun: 0,
        }
    }

    /// How many are due by `now`.
    pub(crate) fn due(&self, now: Instant) -> u64 {
        let due = now.since(self.since).as_nanos() * u128::from(self.rate) / 1_000_000_000;
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// When the next one is due.
    fn next(&self) -> Instant {
        let nanos = u128::from(self.begun + 1) * 1_000_000_000 / u128::from(self.rate.max(1));
        self.since + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What a group does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Opens a connection, whose first request was due then, or which waits for one.
    Open(Option<Instant>),
    /// Begins a request, which was due then, on a connection that waits for it.
    Ask(Handle, Instant),
}

/// The clients of one section.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) plan: Client,
    /// Connections that wait for a request, the one that has waited longest first.
    pub(crate) idle: VecDeque<Handle>,
    /// Connections that are not merely remembered.
    pub(crate) live: usize,
    /// Requests under way.
    pub(crate) busy: u64,
    /// Requests that ended in this trial, well or not.
    pub(crate) over: u64,
    /// Connections opened so far.
    opened: usize,
    pace: Pace,
}

impl Group {
    pub(crate) fn new(plan: &Client, now: Instant) -> Self {
        Self {
            plan: plan.clone(),
            idle: VecDeque::new(),
            live: 0,
            busy: 0,
            over: 0,
            opened: 0,
            pace: Pace::new(now, plan.rate),
        }
    }

    /// Whether requests begin by the clock.
    pub(crate) const fn is_paced(&self) -> bool {
        self.pace.rate > 0
    }

    /// Whether all connections are opened before they are needed, and asked on in turn. None takes the place of one that fails: what
    /// is measured is what becomes of these.
    const fn is_held(&self) -> bool {
        self.plan.hold && self.plan.requests == 0 && self.is_paced()
    }

    /// Whether it opens connections though no request is due.
    pub(crate) const fn opens(&self) -> bool {
        let most = self.plan.connections as usize;
        if self.is_held() {
            self.opened < most
        } else {
            !self.is_paced() && self.live < most
        }
    }

    /// What there is to do; `room`: whether another connection may be open in all.
    pub(crate) fn next(&mut self, now: Instant, room: bool) -> Option<Next> {
        if room && self.opens() {
            return Some(Next::Open((!self.is_held()).then_some(now)));
        }
        if !self.is_paced() || self.pace.due(now) <= self.pace.begun {
            return None;
        }
        let due = self.pace.next();
        if self.is_held() {
            return Some(Next::Ask(self.idle.pop_front()?, due));
        }
        // The one that was free last: others may become idle, as those of a box do.
        if let Some(handle) = self.idle.pop_back() {
            return Some(Next::Ask(handle, due));
        }
        let room = room && self.live < self.plan.connections as usize;
        room.then_some(Next::Open(Some(due)))
    }

    /// Notes what was begun.
    pub(crate) const fn begun(&mut self, what: Next) {
        if matches!(what, Next::Open(_)) {
            self.opened += 1;
        }
        if matches!(what, Next::Open(Some(_)) | Next::Ask(..)) {
            self.pace.begun += 1;
        }
    }

    /// When a request is due by the clock.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.is_paced().then(|| self.pace.next())
    }

    /// How many requests are due by `now`.
    pub(crate) fn due(&self, now: Instant) -> u64 {
        self.pace.due(now)
    }

    /// Keeps `rate` from now on.
    pub(crate) const fn keep(&mut self, now: Instant, rate: u64) {
        self.pace = Pace::new(now, rate);
    }

    /// Forgets what was due while all came to be: that is not what is measured.
    pub(crate) const fn begin(&mut self, now: Instant) {
        self.keep(now, self.pace.rate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_by_the_clock() {
        let start = Instant::from_millis(5);
        let mut pace = Pace::new(start, 1_000_000);
        assert_eq!(pace.due(start), 0);
        assert_eq!(pace.next(), start + Duration::from_micros(1));
        assert_eq!(pace.due(start + Duration::from_millis(1)), 1_000);
        pace.begun = 999;
        assert_eq!(pace.next(), start + Duration::from_millis(1));
    }
}
