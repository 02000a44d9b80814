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
    /// Echoed, or given up.
    Settled,
}

/// What of the connection's options is due, on whichever subflow can carry it.
#[derive(Debug, Default)]
pub(crate) struct PathManager {
    announced: ArrayVec<Announced, ADDRESSES_MAX>,
    echoes: ArrayVec<AddAddr, ADDRESSES_MAX>,
    withdrawn: AddrIds,
}

/// A [`PathManager`] that owes nothing and waits for nothing.
#[derive(Clone, Debug)]
pub(crate) struct RestingPaths(Box<[Announced]>);

impl RestingPaths {
    pub(crate) fn wake(&self) -> PathManager {
        PathManager {
            announced: self.0.iter().copied().collect(),
            ..PathManager::default()
        }
    }
}

impl PathManager {
    pub(crate) fn rest(&self) -> Option<RestingPaths> {
        let rests = !self.has_due() && self.current().is_none();
        rests.then(|| RestingPaths(self.announced.as_slice().into()))
    }

    /// Announces an address, once: the same id again is ignored until it was withdrawn.
    pub(crate) fn announce(&mut self, id: AddrId, addr: IpAddr, port: Option<u16>) {
        if self.announced.is_full() || self.announced.iter().any(|held| held.id == id) {
            return;
        }
        self.announced.push(Announced {
            id,
            addr,
            port,
            sends: 0,
            stage: Stage::Waiting,
        });
    }

    /// Withdraws an address.
    pub(crate) fn withdraw(&mut self, id: AddrId) {
        self.announced.retain(|held| held.id != id);
        if !self.withdrawn.is_full() && !self.withdrawn.contains(&id) {
            self.withdrawn.push(id);
        }
    }

    /// The peer has it.
    pub(crate) fn on_echo(&mut self, id: AddrId, addr: IpAddr) {
        for held in &mut self.announced {
            if held.id == id && held.addr == addr {
                held.stage = Stage::Settled;
            }
        }
    }

    /// Owes the peer an echo. A peer that announces faster than it takes echoes loses the oldest.
    pub(crate) fn echo(&mut self, add: AddAddr) {
        let echo = AddAddr {
            proof: AddAddrProof::Echo,
            ..add
        };
        if self.echoes.contains(&echo) {
            return;
        }
        if self.echoes.is_full() {
            self.echoes.remove(0);
        }
        self.echoes.push(echo);
    }

    /// The next echo owed.
    pub(crate) fn next_echo(&self) -> Option<AddAddr> {
        self.echoes.first().copied()
    }

    /// It left.
    pub(crate) fn echo_sent(&mut self) {
        if !self.echoes.is_empty() {
            self.echoes.remove(0);
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
        self.announced
            .iter()
            .find(|held| held.stage != Stage::Settled)
    }

    /// It left: it is repeated until it is echoed (RFC 8684 3.4.1).
    pub(crate) fn announcement_sent(&mut self, id: AddrId, now: Instant, rtt: Duration) {
        for held in &mut self.announced {
            if held.id == id {
                held.sends += 1;
                let wait = (rtt * 2).max(WAIT_MIN) * (1 << (held.sends - 1).min(6));
                held.stage = Stage::Sent(now + wait);
            }
        }
    }

    /// The ids to be withdrawn.
    pub(crate) const fn withdrawals(&self) -> &AddrIds {
        &self.withdrawn
    }

    /// They left.
    pub(crate) fn withdrawals_sent(&mut self) {
        self.withdrawn.clear();
    }

    /// Whether anything is due.
    pub(crate) fn has_due(&self) -> bool {
        !self.echoes.is_empty() || !self.withdrawn.is_empty() || self.next_announcement().is_some()
    }

    /// When [`Self::advance`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.current().and_then(|held| match held.stage {
            Stage::Sent(until) => Some(until),
            Stage::Waiting | Stage::Settled => None,
        })
    }

    /// Makes unconfirmed addresses due again, or gives them up; `echoed` is whether this version confirms at all.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>, echoed: bool) {
        if !echoed {
            return self.refresh(cx.now);
        }
        for held in &mut self.announced {
            match held.stage {
                Stage::Sent(until) if until > cx.now => {},
                Stage::Sent(_) if held.sends >= SENDS_MAX => {
                    cx.mptcp.count(Counter::AddAddrGivenUp);
                    held.stage = Stage::Settled;
                },
                Stage::Sent(_) => held.stage = Stage::Waiting,
                Stage::Waiting | Stage::Settled => {},
            }
        }
    }

    /// Without echoes each address goes out a few times, each time after all others.
    fn refresh(&mut self, now: Instant) {
        let due = |held: &Announced| matches!(held.stage, Stage::Sent(until) if until <= now);
        let Some(at) = self.announced.iter().position(due) else {
            return;
        };
        let mut held = self.announced.remove(at);
        held.stage = if held.sends < REFRESHES {
            Stage::Waiting
        } else {
            Stage::Settled
        };
        self.announced.push(held);
    }

    /// Forgets all that is due: after a fallback nothing of it may be sent.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
