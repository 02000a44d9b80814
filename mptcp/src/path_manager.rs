//! Addresses: what we announce and withdraw, and what we owe the peer for its announcements (RFC 8684 3.4).

use crate::Cx;
use crate::counters::Counter;
use crate::option::{AddAddr, AddAddrProof, AddrIds};
use crate::types::AddrId;
use arrayvec::ArrayVec;
use core::net::IpAddr;
use stack::Instant;
use stack::time::{Duration, earlier};

/// Most addresses announced, and most echoes owed, at a time.
pub(crate) const ADDRESSES_MAX: usize = 8;
/// Most ADD_ADDRs sent for one address that is never echoed.
const SENDS_MAX: u8 = 6;
/// Least wait for an echo.
const WAIT_MIN: Duration = Duration::from_millis(200);

/// An address of ours that the peer is to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Announced {
    pub(crate) id: AddrId,
    pub(crate) addr: IpAddr,
    pub(crate) port: Option<u16>,
    sends: u8,
    due: bool,
    again: Option<Instant>,
}

/// What of the connection's options is due, on whichever subflow can carry it.
#[derive(Debug, Default)]
pub(crate) struct PathManager {
    announced: ArrayVec<Announced, ADDRESSES_MAX>,
    echoes: ArrayVec<AddAddr, ADDRESSES_MAX>,
    withdrawn: AddrIds,
}

impl PathManager {
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
            due: true,
            again: None,
        });
    }

    /// Withdraws an address; whether it had been announced.
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
                held.due = false;
                held.again = None;
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

    /// The next address to announce.
    pub(crate) fn next_announcement(&self) -> Option<Announced> {
        self.announced.iter().find(|held| held.due).copied()
    }

    /// It left; `echoed` is whether this version confirms (RFC 8684 3.4.1): then it is repeated until it is.
    pub(crate) fn announcement_sent(
        &mut self,
        id: AddrId,
        now: Instant,
        rtt: Duration,
        echoed: bool,
    ) {
        for held in &mut self.announced {
            if held.id == id {
                held.due = false;
                held.sends += 1;
                let wait = (rtt * 2).max(WAIT_MIN) * (1 << (held.sends - 1).min(6));
                held.again = echoed.then(|| now + wait);
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
        !self.echoes.is_empty()
            || !self.withdrawn.is_empty()
            || self.announced.iter().any(|held| held.due)
    }

    /// When [`Self::advance`] is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.announced
            .iter()
            .fold(None, |next, held| earlier(next, held.again))
    }

    /// Makes unconfirmed addresses due again, or gives them up.
    pub(crate) fn advance(&mut self, cx: &mut Cx<'_>) {
        for held in &mut self.announced {
            if held.again.is_some_and(|at| at <= cx.now) {
                held.again = None;
                if held.sends >= SENDS_MAX {
                    cx.mptcp.count(Counter::AddAddrGivenUp);
                } else {
                    held.due = true;
                }
            }
        }
    }

    /// Forgets all that is due: after a fallback nothing of it may be sent.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
