//! What the options of an accepted segment mean.

use super::timers::Timer;
use super::{Connection, Event, LocalFin, Mode};
use crate::counters::Counter;
use crate::crypto::{Keyed, add_addr_hmac, dss_intact, same};
use crate::dss::{Check, Declared, Mapping as Range};
use crate::option::{
    AddAddr, AddAddrProof, CapableForm, Dss, Mapped, Mapping, MpOption, Prio, ResetReason,
    lone_dss, parse,
};
use crate::send_queue::DataAcked;
use crate::subflow::Withdrawal;
use crate::types::{AddrId, Version, WireSeq};
use crate::{Cx, DataSeq};
use stack::PacketBuf;
use stack::checksum::Sum;
use stack::time::Duration;
use stack::wire::tcp::Segment;

/// Least wait for an answer to the probe of a withdrawn address.
const WITHDRAWAL_WAIT_MIN: Duration = Duration::from_secs(1);

/// Which signs of MPTCP a segment carried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    /// Any option 30 at all.
    pub(super) any: bool,
}

impl<B: PacketBuf> Connection<B> {
    /// Takes in the options of a segment that TCP accepted.
    pub(super) fn on_options(&mut self, cx: &mut Cx<'_>, at: usize, seg: &Segment<B>) -> Seen {
        if let Some(dss) = lone_dss(&seg.options.mptcp) {
            self.on_dss(cx, at, seg, &dss);
            return Seen { any: true };
        }
        self.on_each_option(cx, at, seg)
    }

    fn on_each_option(&mut self, cx: &mut Cx<'_>, at: usize, seg: &Segment<B>) -> Seen {
        let mut seen = Seen::default();
        for option in parse(&seg.options.mptcp) {
            let Ok(option) = option else {
                cx.mptcp.count(Counter::OptionMalformed);
                continue;
            };
            seen.any = true;
            match option {
                MpOption::Dss(dss) => self.on_dss(cx, at, seg, &dss),
                MpOption::Capable(capable) => self.on_capable(cx, at, capable.form),
                // The third ACK again: the fourth was lost (RFC 8684 3.2).
                MpOption::Join(_) => self.subflows[at].tcb.request_ack(),
                MpOption::AddAddr(add) => self.on_add_addr(cx, &add),
                MpOption::RemoveAddr(ids) => self.on_remove_addr(cx, &ids),
                MpOption::Prio(prio) => self.on_prio(cx, at, prio),
                MpOption::Fail { dsn } => self.on_fail(cx, at, DataSeq(dsn)),
                MpOption::Fastclose { receiver_key } => {
                    if receiver_key == self.params.local.key {
                        self.on_fastclose(cx);
                    } else {
                        cx.mptcp.count(Counter::FastcloseWrongKey);
                    }
                },
                // Means nothing without RST (RFC 8684 3.6).
                MpOption::TcpRst(_) => {},
                MpOption::Unknown { .. } => cx.mptcp.count(Counter::OptionUnknown),
            }
            if self.mode == Mode::Fallback || self.ended.is_some() {
                break;
            }
        }
        seen
    }

    #[inline]
    fn on_dss(&mut self, cx: &mut Cx<'_>, at: usize, seg: &Segment<B>, dss: &Dss) {
        if let Some(mapping) = &dss.mapping {
            self.on_mapping(cx, at, mapping, seg.payload.len());
        }
        if let Some(ack) = dss.data_ack
            && self.mode != Mode::Fallback
        {
            self.on_data_ack(cx, at, ack, seg.wnd);
        }
    }

    /// RFC 8684 3.3.2 and 3.3.1: the DATA_ACK, and the window relative to it.
    fn on_data_ack(&mut self, cx: &mut Cx<'_>, at: usize, ack: WireSeq, wnd: u16) {
        let ack = DataSeq::expand(ack, self.send.una());
        let fin = match self.local_fin {
            LocalFin::Sent { dsn, .. } => Some(dsn),
            LocalFin::Open | LocalFin::Wanted => None,
            LocalFin::Acked => Some(self.send.nxt()),
        };
        match self.send.acknowledge(ack, fin.is_some()) {
            DataAcked::NeverSent => {
                cx.mptcp.count(Counter::DataAckAhead);
                return;
            },
            DataAcked::Octets(_) => self.on_data_progress(),
            DataAcked::Nothing => {},
        }
        if let (LocalFin::Sent { .. }, Some(fin)) = (self.local_fin, fin)
            && ack == fin + 1
        {
            self.local_fin = LocalFin::Acked;
            for subflow in &mut self.subflows {
                subflow.data_fin_due = false;
            }
        }
        let subflow = &mut self.subflows[at];
        subflow.verified = true;
        let window = u64::from(wnd) << subflow.tcb.snd_wscale();
        self.send_edge = self.send_edge.max(ack + window);
        // RFC 8684 3.7: only the DATA_ACK of something that was sent shows that options pass both ways.
        if self.mode == Mode::Unverified && ack > self.first_out {
            self.mode = Mode::Verified;
        }
    }

    /// The first data of version 1 has its mapping in MP_CAPABLE (RFC 8684 3.1): DSN is IDSN + 1, SSN is 1.
    fn on_capable(&mut self, cx: &mut Cx<'_>, at: usize, form: CapableForm) {
        if let CapableForm::Data { len, checksum, .. } = form
            && self.params.version == Version::V1
            && !self.subflows[at].joined
        {
            let first = self.params.remote_key.idsn(self.params.version) + 1;
            let mapping = Mapping {
                dsn: first.full(),
                ssn: 1,
                len,
                checksum,
                data_fin: false,
            };
            if len > 0 {
                self.on_mapping(cx, at, &mapping, usize::from(len));
            }
        }
    }

    fn on_mapping(&mut self, cx: &mut Cx<'_>, at: usize, mapping: &Mapping, payload: usize) {
        let Ok(mapped) = mapping.classify(payload) else {
            cx.mptcp.count(Counter::DssMalformed);
            return;
        };
        let dsn = DataSeq::expand(mapping.dsn, self.recv.next());
        if mapped == Mapped::Infinite {
            self.on_infinite(cx, at, mapping.ssn, dsn);
            return;
        }
        // A checksum is there if it was negotiated, and else not (RFC 8684 3.3); version 0 ignores one too many
        // (RFC 6824 3.3.1).
        if self.params.checksum != mapping.checksum.is_some() {
            cx.mptcp.count(Counter::DssChecksumForm);
            if self.params.checksum || self.params.version == Version::V1 {
                self.reset_subflow(cx, at, ResetReason::MPTCP_SPECIFIC);
                return;
            }
        }
        let checksum = mapping.checksum.filter(|_| self.params.checksum);
        match mapped {
            Mapped::DataFin => {
                let intact = checksum
                    .is_none_or(|sum| dss_intact(dsn, mapping.ssn, mapping.len, Sum::ZERO, sum));
                if intact {
                    self.on_data_fin(cx, at, dsn);
                } else {
                    cx.mptcp.count(Counter::DssChecksumError);
                }
            },
            Mapped::Data { octets, data_fin } => {
                self.halves.on_data(mapping.dsn);
                let subflow = &mut self.subflows[at];
                let declared = subflow.mappings.declare(Range {
                    seq: subflow.irs + mapping.ssn,
                    dsn,
                    len: u32::from(octets),
                    check: checksum.map(|checksum| Check {
                        ssn: mapping.ssn,
                        dll: mapping.len,
                        checksum,
                    }),
                });
                if declared == Declared::Conflict {
                    cx.mptcp.count(Counter::DssNoMatch);
                }
                // One under a checksum counts once that is verified.
                if data_fin && checksum.is_none() {
                    self.on_data_fin(cx, at, dsn + u64::from(octets));
                }
            },
            Mapped::Infinite => {},
        }
    }

    /// The peer's DATA_FIN (RFC 8684 3.3.3): known from now on, acknowledged once the owner accepted it.
    pub(super) fn on_data_fin(&mut self, cx: &mut Cx<'_>, at: usize, dsn: DataSeq) {
        match self.remote_fin {
            None if dsn >= self.recv.next() => {
                cx.mptcp.count(Counter::DataFinRx);
                self.remote_fin = Some(dsn);
            },
            // Our acknowledgment was lost: say it again.
            Some(fin) if fin == dsn => self.subflows[at].tcb.request_ack(),
            None | Some(_) => cx.mptcp.count(Counter::DssMalformed),
        }
    }

    fn on_add_addr(&mut self, cx: &mut Cx<'_>, add: &AddAddr) {
        match add.proof {
            AddAddrProof::Echo if self.params.version == Version::V1 => {
                cx.mptcp.count(Counter::EchoAddRx);
                self.paths.on_echo(add.id, add.addr);
                return;
            },
            AddAddrProof::Hmac(hmac) if self.params.version == Version::V1 => {
                let theirs = Keyed::new(&self.params.remote_key, &self.params.local.key);
                let expected = add_addr_hmac(&theirs, add.id, add.addr, add.port);
                if !same(&expected, &hmac) {
                    cx.mptcp.count(Counter::AddAddrHmacFailure);
                    return;
                }
                self.paths.echo(*add);
            },
            AddAddrProof::V0 if self.params.version == Version::V0 => {},
            // The other version's form (RFC 6824 3.4.1, RFC 8684 3.4.1).
            AddAddrProof::Hmac(_) | AddAddrProof::V0 | AddAddrProof::Echo => {
                cx.mptcp.count(Counter::OptionMalformed);
                return;
            },
        }
        cx.mptcp.count(Counter::AddAddrRx);
        // Id 0 is the address of the first subflow: nothing new (RFC 8684 3.4.1).
        if add.id != AddrId(0) {
            self.tell(Event::AddressAnnounced {
                id: add.id,
                addr: add.addr,
                port: add.port,
            });
        }
    }

    /// RFC 8684 3.4.2: the subflows from the address are probed, and reset if nobody answers, unless no other would be
    /// left. A forged withdrawal so costs no path; one that works its owner ends by itself, with a FIN.
    fn on_remove_addr(&mut self, cx: &mut Cx<'_>, ids: &[AddrId]) {
        cx.mptcp.count(Counter::RemoveAddrRx);
        for &id in ids {
            let others = self
                .subflows
                .iter()
                .any(|s| s.remote_id != id && s.is_usable());
            for at in 0..self.subflows.len() {
                if self.subflows[at].remote_id == id && others {
                    self.probe_withdrawn(cx, at);
                }
            }
            self.tell(Event::AddressRemoved { id });
        }
    }

    /// Asks whether the peer is still there on subflow `at`. Until it answers, data takes other ways.
    fn probe_withdrawn(&mut self, cx: &mut Cx<'_>, at: usize) {
        let subflow = &mut self.subflows[at];
        if subflow.finishing || subflow.withdrawal.is_some() || !subflow.is_live() {
            return;
        }
        subflow.tcb.request_probe();
        subflow.stale = true;
        subflow.withdrawal = Some(Withdrawal {
            answered_from: cx.now + subflow.srtt() / 2,
            until: cx.now + (subflow.base_rto() * 3).max(WITHDRAWAL_WAIT_MIN),
        });
        self.dirty = true;
        self.reinject_carried_alone();
    }

    /// RFC 8684 3.3.8; version 0 may name an address instead of the subflow that carries the option.
    fn on_prio(&mut self, cx: &mut Cx<'_>, at: usize, prio: Prio) {
        cx.mptcp.count(Counter::MpPrioRx);
        match prio.id.filter(|_| self.params.version == Version::V0) {
            None => self.subflows[at].backup = prio.backup,
            Some(id) => {
                for subflow in &mut self.subflows {
                    if subflow.remote_id == id {
                        subflow.backup = prio.backup;
                    }
                }
            },
        }
    }

    /// Whether a timer that concerns the whole connection is to run: for [`Timer`].
    pub(super) fn has_unacknowledged(&self) -> Option<Timer> {
        if self.mode == Mode::Fallback {
            None
        } else if self.send.in_flight() > 0 {
            Some(Timer::Retransmit)
        } else if !self.send.all_sent() && (self.send_edge <= self.send.nxt() || self.is_stuck()) {
            // The window may also be one that only a subflow that is gone announced.
            Some(Timer::Probe)
        } else {
            None
        }
    }
}
