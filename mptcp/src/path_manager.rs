//! Addresses: what we announce and withdraw, and what we owe the peer for its announcements (RFC 8684 3.4).

use crate::Cx;
use crate::counters::Counter;
use crate::option::{AddAddr, AddAddrProof, AddrIds};
use crate::types::AddrId;
use arrayvec::ArrayVec;
use core::net::IpAddr;
use stack::Instant;
use stack::time::Duration;

/// Most addresses announced, and most echoes owed, at a time.
pub(crate) const ADDRESSES_MAX: usize = 8;
/// Most ADD_ADDRs sent for one address that is never echoed.
const SENDS_MAX: u8 = 6;
/// ADD_ADDRs sent for one address in version 0, which knows no echo: a host may refresh what it announced, and the
/// receiver ignores what it knows (RFC 6824 3.4.1).
const REFRESHES: u8 = 3;
/// Least wait for an echo.
const WAIT_MIN: Duration = Duration::from_millis(200);

/// An address of ours that the peer is to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    pub(crate) id: AddrId,
    pub(crate) addr: IpAddr,
    pub(crate) port: Option<u16>,
    sends: u8,
    stage: Stage,
}

/// How far an announcement has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// To be sent, in its turn.
    Waiting,
    /// Sent; waits for its echo until then.
    Sent(Instant),
}

/// What of the connection's options is due, on whichever subflow can carry it.
#[derive(Debug, Default)]
pub(crate) struct PathManager {
    /// Nothing is due most of the time: that takes no room in a connection, and one look.
    owed: Option<Box<Owed>>,
    /// What was announced and echoed, or given up.
    settled: Ids,
}

type Ids = ArrayVec<AddrId, ADDRESSES_MAX>;

#[derive(Debug, Default)]
struct Owed {
    /// What is to be sent, or waits for its echo: in this order.
    announced: ArrayVec<Announced, ADDRESSES_MAX>,
    echoes: ArrayVec<AddAddr, ADDRESSES_MAX>,
    withdrawn: AddrIds,
}

impl Owed {
    fn is_empty(&self) -> bool {
        self.announced.is_empty() && self.echoes.is_empty() && self.withdrawn.is_empty()
    }
}

/// A [`PathManager`] that owes nothing and waits for nothing.
#[derive(Clone, Debug)]
pub(crate) struct RestingPaths(Ids);

impl RestingPaths {
    pub(crate) fn wake(&self) -> PathManager {
        PathManager {
            owed: None,
            settled: self.0.clone(),
        }
    }
}

impl PathManager {
    pub(crate) fn rest(&self) -> Option<RestingPaths> {
        let rests = self.owed.is_none();
        rests.then(|| RestingPaths(self.settled.clone()))
    }

    /// Announces an address, once: the same id again is ignored until it was withdrawn.
    pub(crate) fn announce(&mut self, id: AddrId, addr: IpAddr, port: Option<u16>) {
        let announced = &mut self.owed.get_or_insert_default().announced;
        let is_full = announced.len() + self.settled.len() >= ADDRESSES_MAX;
        let is_known = announced.iter().any(|held| held.id == id) || self.settled.contains(&id);
        if !is_full && !is_known {
            announced.push(Announced {
                id,
                addr,
                port,
                sends: 0,
                stage: Stage::Waiting,
            });
        }
        self.tidy();
    }

    /// Lets go of what is empty.
    fn tidy(&mut self) {
        if self.owed.as_deref().is_some_and(Owed::is_empty) {
            self.owed = None;
        }
    }

    /// Withdraws an address.
    pub(crate) fn withdraw(&mut self, id: AddrId) {
        self.settled.retain(|settled| *settled != id);
        let Owed {
            announced,
            withdrawn,
            ..
        } = &mut **self.owed.get_or_insert_default();
        announced.retain(|held| held.id != id);
        if !withdrawn.is_full() && !withdrawn.contains(&id) {
            withdrawn.push(id);
        }
    }

    /// The peer has it.
    pub(crate) fn on_echo(&mut self, id: AddrId, addr: IpAddr) {
        let Some(owed) = &mut self.owed else {
            return;
        };
        let is_it = |held: &Announced| held.id == id && held.addr == addr;
        if let Some(at) = owed.announced.iter().position(is_it) {
            owed.announced.remove(at);
            self.settled.push(id);
            self.tidy();
        }
    }

    /// Owes the peer an echo. A peer that announces faster than it takes echoes loses the oldest.
    pub(crate) fn echo(&mut self, add: AddAddr) {
        let echo = AddAddr {
            proof: AddAddrProof::Echo,
            ..add
        };
        let echoes = &mut self.owed.get_or_insert_default().echoes;
        if echoes.contains(&echo) {
            return;
        }
        if echoes.is_full() {
            echoes.remove(0);
        }
        echoes.push(echo);
    }

    /// The next echo owed.
    pub(crate) fn next_echo(&self) -> Option<AddAddr> {
        self.owed.as_ref()?.echoes.first().copied()
    }

    /// It left.
    pub(crate) fn echo_sent(&mut self) {
        if let Some(owed) = &mut self.owed
            && !owed.echoes.is_empty()
        {
            owed.echoes.remove(0);
            self.tidy();
        }
    }

    /// The next address to announce: one at a time, in the order in which they were given. A receiver that still deals
    /// with one may drop the next (Linux does), so that waits until the one before it is echoed or given up.
    pub(crate) fn next_announcement(&self) -> Option<Announced> {
        self.current()
            .filter(|held| held.stage == Stage::Waiting)
            .copied()
    }

    fn current(&self) -> Option<&Announced> {
        self.owed.as_ref()?.announced.first()
    }

    /// It left: it is repeated until it is echoed (RFC 8684 3.4.1).
    pub(crate) fn announcement_sent(&mut self, id: AddrId, now: Instant, rtt: Duration) {
        let announced = self.owed.iter_mut().flat_map(|owed| &mut owed.announced);
        for held in announced {
            if held.id == id {
                held.sends += 1;
                let wait = (rtt * 2).max(WAIT_MIN) * (1 << (held.sends - 1).min(6));
                held.stage = Stage::Sent(now + wait);
            }
        }
    }

    /// The ids to be withdrawn.
    pub(crate) fn withdrawals(&self) -> &[AddrId] {
        self.owed.as_ref().map_or(&[], |owed| &owed.withdrawn)
    }

    /// They left.
    pub(crate) fn withdrawals_sent(&mut self) {
        if let Some(owed) = &mut self.owed {
            owed.withdrawn.clear();
            self.tidy();
        }
    }

    /// Whether anything is due.
    pub(crate) fn has_due(&self) -> bool {
        self.owed.as_ref().is_some_and(|owed| {
            !owed.echoes.is_empty()
                || !owed.withdrawn.is_empty()
                || self.next_announcement().is_some()
        })
    }

    /// When [`Self::advance`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.current().and_then(|held| match held.stage {
            Stage::Sent(until) => Some(until),
            Stage::Waiting => None,
        })
    }

    /// Makes unconfirmed addresses due again, or gives them up; `echoed` is whether this version confirms at all.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>, echoed: bool) {
        if !echoed {
            self.refresh(cx.now);
        } else if let Some(owed) = &mut self.owed {
            let settled = &mut self.settled;
            owed.announced.retain(|held| match held.stage {
                Stage::Sent(until) if until > cx.now => true,
                Stage::Sent(_) if held.sends >= SENDS_MAX => {
                    cx.mptcp.count(Counter::AddAddrGivenUp);
                    settled.push(held.id);
                    false
                },
                Stage::Sent(_) | Stage::Waiting => {
                    held.stage = Stage::Waiting;
                    true
                },
            });
        }
        self.tidy();
    }

    /// Without echoes each address goes out a few times, each time after all others.
    fn refresh(&mut self, now: Instant) {
        let Some(owed) = &mut self.owed else {
            return;
        };
        let due = |held: &Announced| matches!(held.stage, Stage::Sent(until) if until <= now);
        let Some(at) = owed.announced.iter().position(due) else {
            return;
        };
        let mut held = owed.announced.remove(at);
        if held.sends < REFRESHES {
            held.stage = Stage::Waiting;
            owed.announced.push(held);
        } else {
            self.settled.push(held.id);
        }
    }

    /// Forgets all that is due: after a fallback nothing of it may be sent.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDR: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(10, 99, 0, 2));

    fn announce_and_settle(paths: &mut PathManager, id: AddrId) {
        paths.announce(id, ADDR, None);
        let announced = paths.next_announcement().expect("it is due");
        assert_eq!(announced.id, id);
        paths.announcement_sent(id, Instant::ZERO, WAIT_MIN);
        assert!(paths.rest().is_none(), "its echo is waited for");
        paths.on_echo(id, ADDR);
    }

    #[test]
    fn what_was_echoed_is_owed_no_more_until_it_was_withdrawn() {
        let mut paths = PathManager::default();
        announce_and_settle(&mut paths, AddrId(1));
        let mut paths = paths.rest().expect("nothing is owed").wake();
        paths.announce(AddrId(1), ADDR, None);
        assert!(!paths.has_due() && paths.owed.is_none());
        paths.withdraw(AddrId(1));
        assert_eq!(paths.withdrawals(), [AddrId(1)]);
        assert!(paths.rest().is_none());
        paths.withdrawals_sent();
        assert!(paths.owed.is_none());
        announce_and_settle(&mut paths, AddrId(1));
    }

    /// An echo repeats the whole announcement (RFC 8684 3.4.1), and one may be late.
    #[test]
    fn m18_the_echo_of_what_an_id_meant_before_settles_nothing() {
        let mut paths = PathManager::default();
        let other = IpAddr::V4(core::net::Ipv4Addr::new(10, 99, 0, 3));
        paths.announce(AddrId(1), ADDR, None);
        paths.announcement_sent(AddrId(1), Instant::ZERO, WAIT_MIN);
        paths.withdraw(AddrId(1));
        paths.withdrawals_sent();
        paths.announce(AddrId(1), other, None);
        paths.announcement_sent(AddrId(1), Instant::ZERO, WAIT_MIN);
        paths.on_echo(AddrId(1), ADDR);
        assert!(paths.rest().is_none(), "its own echo is waited for");
        paths.on_echo(AddrId(1), other);
        assert!(paths.rest().is_some());
    }

    #[test]
    fn m18_what_is_announced_again_before_its_echo_left_is_echoed_once() {
        let mut paths = PathManager::default();
        let announced = |id| AddAddr {
            id: AddrId(id),
            addr: ADDR,
            port: None,
            proof: AddAddrProof::Hmac([id; 8]),
        };
        for _ in 0..ADDRESSES_MAX {
            paths.echo(announced(1));
        }
        paths.echo(announced(2));
        for id in [1, 2] {
            assert_eq!(paths.next_echo().map(|echo| echo.id), Some(AddrId(id)));
            paths.echo_sent();
        }
        assert_eq!(paths.next_echo(), None);
    }

    #[test]
    fn what_is_known_to_the_peer_counts_against_the_bound() {
        let mut paths = PathManager::default();
        for id in 1..=8 {
            announce_and_settle(&mut paths, AddrId(id));
        }
        paths.announce(AddrId(9), ADDR, None);
        assert!(!paths.has_due());
        paths.withdraw(AddrId(8));
        paths.withdrawals_sent();
        announce_and_settle(&mut paths, AddrId(9));
    }
}
