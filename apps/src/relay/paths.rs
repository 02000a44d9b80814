//! Further subflows that a relay opens or was offered: one per path, and when each is due again.
//!
//! At the customer's edge a path is a secondary port, at the other box an address of the peer's. A path carries one
//! subflow at most, whoever opened it: while one is under way or lives there, no other is opened or taken on it.

use arrayvec::ArrayVec;
use core::net::IpAddr;
use mptcp::AddrId;
use mptcp::connection::SUBFLOWS_MAX;
use stack::slab::Handle;
use stack::time::Duration;
use stack::{Instant, PortId, Tuple};

/// Paths of a relay at most: the first subflow has its own.
pub(crate) const PATHS_MAX: usize = SUBFLOWS_MAX - 1;

/// Addresses of the peer's that are remembered at most.
pub(crate) const REMOTES_MAX: usize = 8;

/// A subflow that lived this long was no failure: the next wait is a short one again.
const LIVED: Duration = Duration::from_secs(30);

/// Doublings of the wait before a path is tried again, from a second on: about eight minutes at most.
const DOUBLINGS_MAX: u8 = 9;

/// An address of the peer's that takes joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// The peer's name for it; `None` if it is known by configuration.
    pub(crate) id: Option<AddrId>,
    pub(crate) addr: IpAddr,
    /// The port that was announced with it.
    pub(crate) port: Option<u16>,
}

/// What tells one path from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// This port of ours.
    Port(PortId),
    /// This address of the peer's.
    Peer(IpAddr),
}

/// How a path stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The peer has no address that it could lead to.
    Idle,
    /// A join is due then.
    Due(Instant),
    /// A SYN is under way: ours, if a join of ours is named, else the peer's.
    Opening(Option<Handle>),
    /// The subflow that receives this tuple lives, since then.
    Live(Tuple, Instant),
    /// The peer wants none.
    Stopped,
}

/// A path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Path {
    pub(crate) by: By,
    pub(crate) state: State,
    /// Which of its ends' addresses is tried next: the flow's own family first, another once that failed.
    pub(crate) choice: u8,
    /// Rounds of all choices that came to nothing in a row.
    rounds: u8,
    /// The subflow that lives was opened by us.
    pub(crate) ours: bool,
}

/// The paths of a relay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    pub(crate) remotes: ArrayVec<Remote, REMOTES_MAX>,
    all: Vec<Path>,
}

impl Paths {
    /// Adds a path, unless it is there or there are too many.
    pub(crate) fn add(&mut self, by: By, state: State) {
        if self.of(by).is_none() && self.all.len() < PATHS_MAX {
            self.all.push(Path {
                by,
                state,
                choice: 0,
                rounds: 0,
                ours: false,
            });
        }
    }

    /// Remembers an address of the peer's; whether it is new. What is idle is due at `at`.
    pub(crate) fn learn(&mut self, remote: Remote, at: Instant) -> bool {
        if let Some(known) = self.remotes.iter_mut().find(|r| r.addr == remote.addr) {
            // Announced after it was configured: now it can be withdrawn.
            known.id = known.id.or(remote.id);
            known.port = remote.port.or(known.port);
            return false;
        }
        if self.remotes.try_push(remote).is_err() {
            return false;
        }
        for path in &mut self.all {
            if path.state == State::Idle {
                path.state = State::Due(at);
            }
        }
        true
    }

    /// Forgets an address that the peer withdrew, and the path that it made.
    pub(crate) fn forget(&mut self, id: AddrId) {
        let Some(at) = self.remotes.iter().position(|r| r.id == Some(id)) else {
            return;
        };
        let gone = self.remotes.remove(at);
        self.all.retain(|path| path.by != By::Peer(gone.addr));
        let none = self.remotes.is_empty();
        for path in &mut self.all {
            path.choice = 0;
            if none && matches!(path.state, State::Due(_)) {
                path.state = State::Idle;
            }
        }
    }

    /// The path that `by` names.
    pub(crate) fn of(&mut self, by: By) -> Option<&mut Path> {
        self.all.iter_mut().find(|path| path.by == by)
    }

    /// The same, to be looked at.
    pub(crate) fn get(&self, by: By) -> Option<&Path> {
        self.all.iter().find(|path| path.by == by)
    }

    /// When the next join is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let due = self.all.iter().filter_map(|path| match path.state {
            State::Due(at) => Some(at),
            _ => None,
        });
        due.min()
    }

    /// A path whose join is due; it counts as opening from here on.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<Path> {
        let path = self
            .all
            .iter_mut()
            .find(|path| matches!(path.state, State::Due(at) if at <= now))?;
        path.state = State::Opening(None);
        Some(*path)
    }

    /// The join on `by` came to nothing. There were `choices` of addresses: the next one is tried at once, and after the
    /// last all of them again, after a wait that doubles each time.
    pub(crate) fn on_failure(&mut self, by: By, choices: usize, now: Instant) {
        let Some(path) = self.of(by) else {
            return;
        };
        if !matches!(path.state, State::Opening(_)) {
            return;
        }
        path.choice += 1;
        if usize::from(path.choice) < choices {
            path.state = State::Due(now);
        } else {
            path.choice = 0;
            path.wait(now);
        }
    }

    /// The subflow that received `tuple` has ended; whether a path was its own.
    pub(crate) fn on_end(&mut self, tuple: &Tuple, now: Instant) {
        let mut all = self.all.iter_mut();
        if let Some((path, since)) = all.find_map(|path| match path.state {
            State::Live(live, since) if live == *tuple => Some((path, since)),
            _ => None,
        }) {
            path.choice = 0;
            if now.since(since) >= LIVED {
                path.rounds = 0;
            }
            path.wait(now);
        }
    }

    /// The path has changed: what waits there is due at once, and no failure of before counts.
    pub(crate) fn retry(&mut self, by: By, now: Instant) {
        if let Some(path) = self.of(by)
            && path.state != State::Stopped
        {
            path.rounds = 0;
            path.choice = 0;
            if matches!(path.state, State::Due(_) | State::Idle | State::Live(..)) {
                path.state = State::Due(now);
            }
        }
    }

    /// The peer wants no further subflow of this connection.
    pub(crate) fn stop(&mut self) {
        for path in &mut self.all {
            if !matches!(path.state, State::Live(..)) {
                path.state = State::Stopped;
            }
        }
    }
}

impl Path {
    fn wait(&mut self, now: Instant) {
        self.state = State::Due(now + Duration::from_secs(1 << self.rounds));
        self.rounds = (self.rounds + 1).min(DOUBLINGS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: By = By::Port(PortId(2));

    fn remote(addr: &str, id: Option<u8>) -> Remote {
        Remote {
            id: id.map(AddrId),
            addr: addr.parse().unwrap(),
            port: None,
        }
    }

    fn at(secs: u64) -> Instant {
        Instant::from_millis(1_000 * secs)
    }

    #[test]
    fn a_path_is_due_once_an_address_is_known_and_carries_one_subflow() {
        let mut paths = Paths::default();
        paths.add(P, State::Idle);
        assert_eq!(paths.next_due(), None);
        assert!(paths.learn(remote("10.99.0.2", Some(1)), at(1)));
        assert!(!paths.learn(remote("10.99.0.2", Some(1)), at(2)));
        assert_eq!(paths.next_due(), Some(at(1)));
        assert!(paths.take_due(at(0)).is_none());
        assert_eq!(paths.take_due(at(1)).unwrap().by, P);
        // The other family is announced while the first is tried: nothing more is due.
        assert!(paths.learn(remote("fd00:99::2", Some(2)), at(1)));
        assert!(paths.take_due(at(100)).is_none());
    }

    #[test]
    fn another_family_is_tried_at_once_and_then_all_again_after_waits_that_double() {
        let mut paths = Paths::default();
        paths.add(P, State::Due(at(0)));
        let mut now = at(0);
        for wait in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 512] {
            assert_eq!(paths.take_due(now).unwrap().choice, 0);
            paths.on_failure(P, 2, now);
            assert_eq!(paths.take_due(now).unwrap().choice, 1);
            paths.on_failure(P, 2, now);
            let next = paths.next_due().unwrap();
            assert_eq!(next, now + Duration::from_secs(wait));
            now = next;
        }
    }

    #[test]
    fn a_subflow_that_lived_is_no_failure() {
        let tuple = Tuple {
            src: "10.99.0.2".parse().unwrap(),
            dst: "10.2.0.2".parse().unwrap(),
            src_port: 80,
            dst_port: 4,
        };
        let mut paths = Paths::default();
        paths.add(P, State::Due(at(0)));
        let mut live = |from: u64, to: u64| {
            paths.take_due(at(from)).unwrap();
            paths.of(P).unwrap().state = State::Live(tuple, at(from));
            paths.on_end(&tuple, at(to));
            paths.next_due().unwrap()
        };
        assert_eq!(live(0, 1), at(2));
        assert_eq!(live(2, 3), at(5));
        assert_eq!(live(5, 6), at(10));
        assert_eq!(live(10, 60), at(61));
    }

    #[test]
    fn a_refusal_ends_joining_and_a_withdrawal_ends_its_own_path() {
        let mut paths = Paths::default();
        let addr: IpAddr = "10.2.0.2".parse().unwrap();
        paths.add(P, State::Due(at(0)));
        paths.add(By::Peer(addr), State::Due(at(0)));
        paths.learn(remote("10.2.0.2", Some(3)), at(0));
        paths.forget(AddrId(4));
        assert!(paths.of(By::Peer(addr)).is_some());
        paths.forget(AddrId(3));
        assert!(paths.of(By::Peer(addr)).is_none());
        assert_eq!(paths.of(P).unwrap().state, State::Idle);
        paths.stop();
        assert!(paths.take_due(at(1_000)).is_none());
        assert!(!paths.learn(remote("10.99.0.3", None), at(5)) || paths.next_due().is_none());
    }

    #[test]
    fn there_are_as_many_as_a_connection_has_subflows() {
        let mut paths = Paths::default();
        for port in 0..40 {
            paths.add(By::Port(PortId(port)), State::Idle);
        }
        assert_eq!(paths.all.len(), PATHS_MAX);
    }
}
