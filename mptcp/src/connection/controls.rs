//! The options that travel on segments without data, in the order in which they matter (RFC 8684 3).

use super::{Connection, LocalFin, Mode, SubflowId};
use crate::Cx;
use crate::counters::Counter;
use crate::crypto::{add_addr_hmac, dss_checksum};
use crate::option::{
    AddAddr, AddAddrProof, CapableForm, Dss, Mapping, MpOption, Packer, Prio, space,
};
use crate::path_manager::Announced;
use crate::types::{AddrId, Version};
use core::net::IpAddr;
use stack::PacketBuf;
use stack::checksum::Sum;
use stack::wire::tcp::OptBytes;

/// Octets of a DSS with nothing but a 64-bit DATA_ACK.
const DATA_ACK_LEN: usize = 12;

/// The one option that a segment carries beside its DATA_ACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// None.
    None,
    /// An initiator's MP_CAPABLE or MP_JOIN, on every segment without data until it is known to have arrived.
    Handshake,
    /// MP_FAIL.
    Fail,
    /// DATA_FIN: part of the DSS.
    DataFin,
    /// The echo of an ADD_ADDR.
    Echo,
    /// ADD_ADDR.
    AddAddr(AddrId),
    /// REMOVE_ADDR.
    RemoveAddr,
    /// MP_PRIO.
    Prio,
}

impl<B: PacketBuf> Connection<B> {
    /// Announces an address of ours under `id` (not 0): ADD_ADDR, repeated until the peer echoes it (version 1).
    pub fn announce(&mut self, id: AddrId, addr: IpAddr, port: Option<u16>) {
        if self.mode != Mode::Fallback && id != AddrId(0) {
            self.paths.announce(id, addr, port);
            self.dirty = true;
        }
    }

    /// Withdraws an address of ours: REMOVE_ADDR, on another subflow than those that use it, which are closed.
    pub fn withdraw(&mut self, cx: &mut Cx<'_>, id: AddrId) {
        if self.mode == Mode::Fallback {
            return;
        }
        self.paths.withdraw(id);
        let others = self
            .subflows
            .iter()
            .any(|s| s.local_id != id && s.is_usable());
        for at in 0..self.subflows.len() {
            if self.subflows[at].local_id == id && others {
                self.close_subflow(cx, at);
            }
        }
        self.dirty = true;
    }

    /// `addr` is no longer ours: REMOVE_ADDR for its `id` on another subflow, and nothing at all on those that used it, as
    /// nothing may leave with it. Their data goes to others.
    pub fn disown(&mut self, cx: &mut Cx<'_>, id: AddrId, addr: IpAddr) {
        if self.mode == Mode::Fallback || self.is_closed() {
            return;
        }
        self.paths.withdraw(id);
        for subflow in &mut self.subflows {
            if subflow.tuple.dst == addr {
                subflow.tcb.abort(&mut cx.stack());
            }
        }
        self.dirty = true;
        self.settle(cx);
    }

    /// Asks the peer to use subflow `id` only when no other is there, or again like the others (MP_PRIO).
    pub fn set_backup(&mut self, id: SubflowId, backup: bool) {
        if let Some(at) = self.index(id)
            && self.mode != Mode::Fallback
        {
            self.subflows[at].prio_due = Some(backup);
            self.dirty = true;
        }
    }

    /// What subflow `at` is to carry next on a segment without data.
    pub(super) fn next_control(&self, at: usize) -> Control {
        let subflow = &self.subflows[at];
        if subflow.fail_due.is_some() {
            return Control::Fail;
        }
        if self.mode == Mode::Fallback || !subflow.is_live() {
            return Control::None;
        }
        if subflow.join_ack.is_some() || self.capable_due && !subflow.joined {
            return Control::Handshake;
        }
        if subflow.data_fin_due {
            return Control::DataFin;
        }
        if subflow.prio_due.is_some() {
            return Control::Prio;
        }
        if !self.paths.has_due() || self.best_for_paths() != Some(at) {
            return Control::None;
        }
        if self.paths.next_echo().is_some() {
            Control::Echo
        } else if let Some(announced) = self.paths.next_announcement() {
            Control::AddAddr(announced.id)
        } else {
            Control::RemoveAddr
        }
    }

    /// Options about addresses go by the fastest subflow that works. One that is being withdrawn works no more, but where there
    /// is no other.
    fn best_for_paths(&self) -> Option<usize> {
        (0..self.subflows.len())
            .filter(|&at| self.subflows[at].is_live() && self.subflows[at].join_ack.is_none())
            .min_by_key(|&at| {
                let subflow = &self.subflows[at];
                (!subflow.is_usable(), subflow.srtt())
            })
    }

    /// How many octets `control` takes. The usual case is not written out for that: mostly data goes in its place.
    pub(super) fn control_len(&self, at: usize, control: Control) -> usize {
        match control {
            Control::None if self.mode == Mode::Fallback => 0,
            Control::None => DATA_ACK_LEN,
            // A proof costs a HMAC, and is as long whatever it is.
            _ => self.octets(at, control, |_| [0; 8]).len(),
        }
    }

    /// The octets of `control`, with the DATA_ACK beside it where both fit.
    pub(super) fn control_bytes(&self, at: usize, control: Control) -> OptBytes {
        self.octets(at, control, |announced| {
            add_addr_hmac(self.keyed(), announced.id, announced.addr, announced.port)
        })
    }

    fn octets(
        &self,
        at: usize,
        control: Control,
        prove: impl Fn(&Announced) -> [u8; 8],
    ) -> OptBytes {
        let subflow = &self.subflows[at];
        let mut packer = Packer::new(space(true, 0));
        let ack = MpOption::from(Dss {
            data_ack: Some(self.recv.next().full()),
            mapping: None,
        });
        match control {
            Control::Handshake => {
                if let Some(join) = &subflow.join_ack {
                    return *join;
                }
                let capable = self.capable(CapableForm::TwoKeys {
                    sender: self.params.local.key,
                    receiver: self.params.remote_key,
                });
                packer.push(&capable.into());
                return packer.finish();
            },
            Control::DataFin => {
                packer.push(&self.data_fin_option());
                return packer.finish();
            },
            Control::None => {},
            Control::Fail => {
                if let Some(dsn) = subflow.fail_due {
                    packer.push(&MpOption::Fail { dsn: dsn.0 });
                }
                if self.mode == Mode::Fallback {
                    return packer.finish();
                }
            },
            Control::Echo => {
                if let Some(echo) = self.paths.next_echo() {
                    packer.push(&echo.into());
                }
            },
            Control::AddAddr(_) => {
                if let Some(option) = self.add_addr_option(prove) {
                    packer.push(&option);
                }
            },
            Control::RemoveAddr => {
                let ids = self.paths.withdrawals().iter().copied();
                packer.push(&MpOption::RemoveAddr(ids.collect()));
            },
            Control::Prio => {
                if let Some(backup) = subflow.prio_due {
                    packer.push(&MpOption::Prio(Prio { backup, id: None }));
                }
            },
        }
        if self.mode != Mode::Fallback {
            packer.push(&ack);
        }
        packer.finish()
    }

    /// RFC 8684 3.3.3: a DATA_FIN alone has SSN 0 and length 1.
    fn data_fin_option(&self) -> MpOption {
        let dsn = match self.local_fin {
            LocalFin::Sent { dsn, .. } => dsn,
            LocalFin::Open | LocalFin::Wanted | LocalFin::Acked => self.send.nxt(),
        };
        let checksum = self
            .params
            .checksum
            .then(|| dss_checksum(dsn, 0, 1, Sum::ZERO));
        MpOption::from(Dss {
            data_ack: Some(self.recv.next().full()),
            mapping: Some(Mapping {
                dsn: dsn.full(),
                ssn: 0,
                len: 1,
                checksum,
                data_fin: true,
            }),
        })
    }

    fn add_addr_option(&self, prove: impl Fn(&Announced) -> [u8; 8]) -> Option<MpOption> {
        let announced = self.paths.next_announcement()?;
        let (id, addr, port) = (announced.id, announced.addr, announced.port);
        let proof = match self.params.version {
            Version::V0 => AddAddrProof::V0,
            Version::V1 => AddAddrProof::Hmac(prove(&announced)),
        };
        Some(
            AddAddr {
                id,
                addr,
                port,
                proof,
            }
            .into(),
        )
    }

    /// Notes that `control` left on subflow `at`.
    pub(super) fn control_sent(&mut self, cx: &mut Cx<'_>, at: usize, control: Control) {
        let subflow = &mut self.subflows[at];
        match control {
            Control::None | Control::Handshake => {},
            Control::Fail => {
                subflow.fail_due = None;
                // Nothing acknowledges MP_FAIL but the infinite mapping that it asks for. It goes as often in each of the
                // waits for that, of which each is twice the one before.
                let waits = subflow.failed.is_some();
                let doubled = if subflow.answered { 0 } else { subflow.asked };
                let wait = subflow.tcb.rto() * (1 << doubled);
                subflow.fail_again_at = waits.then(|| cx.now + wait);
                cx.mptcp.count(Counter::MpFailTx);
            },
            Control::DataFin => {
                subflow.data_fin_due = false;
                cx.mptcp.count(Counter::DataFinTx);
            },
            Control::Echo => {
                self.paths.echo_sent();
                cx.mptcp.count(Counter::EchoAddTx);
            },
            Control::AddAddr(id) => {
                self.paths.announcement_sent(id, cx.now, subflow.srtt());
                cx.mptcp.count(Counter::AddAddrTx);
            },
            Control::RemoveAddr => {
                self.paths.withdrawals_sent();
                cx.mptcp.count(Counter::RemoveAddrTx);
            },
            Control::Prio => {
                subflow.prio_due = None;
                cx.mptcp.count(Counter::MpPrioTx);
            },
        }
    }
}
