//! A connection at rest: what is left of one on which nothing travels, waits or is due.

use super::halves::{Halves, Whole};
use super::{Connection, Limits, LocalFin, Mode, Params, SUBFLOWS_MAX};
use crate::connection::timers::DataTimer;
use crate::coupling::{Coupling, Spans};
use crate::path_manager::RestingPaths;
use crate::recv_queue::RecvQueue;
use crate::scheduler::RestingScheduler;
use crate::send_queue::SendQueue;
use crate::subflow::{RestingRate, Subflow};
use crate::types::{AddrId, DataSeq, Role, Version};
use crate::{Key, SubflowId};
use arrayvec::ArrayVec;
use core::cell::OnceCell;
use core::net::IpAddr;
use stack::tcp::Resting as RestingTcb;
use stack::{Instant, PackedTuple, PacketBuf, SeqNum, Tuple};
use std::collections::VecDeque;

/// A [`Connection`] of which all data was acknowledged and taken, and which neither end has begun to close.
#[derive(Clone, Debug)]
pub struct Resting {
    local_key: Key,
    remote_key: Key,
    send_next: DataSeq,
    recv_next: DataSeq,
    /// Windows, counted from the numbers that come next.
    send_window: u32,
    recv_window: u32,
    subflows: Box<[RestingSubflow]>,
    paths: RestingPaths,
    scheduler: RestingScheduler,
    /// Those of the subflows, kept for OLIA alone.
    spans: Option<Box<ArrayVec<Spans, SUBFLOWS_MAX>>>,
    coupling: Coupling,
    version: Version,
    role: Role,
    checksum: bool,
    whole: Whole,
    peer_denies_initial_addr: bool,
    has_joined: bool,
    forgotten: bool,
}

#[derive(Clone, Debug)]
struct RestingSubflow {
    tcb: RestingTcb,
    tuple: PackedTuple,
    rate: RestingRate,
    iss: SeqNum,
    irs: SeqNum,
    announced: u32,
    cost: u16,
    weight: u16,
    id: SubflowId,
    local_id: AddrId,
    remote_id: AddrId,
    joined: bool,
    backup: bool,
    verified: bool,
    bare: bool,
    announced_once: bool,
}

impl Resting {
    /// The connection, to go on with in `limits`. Its first subflow came from `initial_peer`: what an owner knows anyway
    /// is not kept, and what keys and their hashes tell is computed anew.
    #[must_use]
    pub fn wake<B: PacketBuf>(&self, initial_peer: (IpAddr, u16), limits: Limits) -> Connection<B> {
        let local = self.local_key.derive(self.version);
        let params = Params {
            version: self.version,
            role: self.role,
            local,
            remote_key: self.remote_key,
            checksum: self.checksum,
            peer_denies_initial_addr: self.peer_denies_initial_addr,
            limits,
        };
        let pieces = limits.pieces_max();
        let spans = self.spans.iter().flat_map(|spans| spans.iter().copied());
        let spans = spans.chain(core::iter::repeat(Spans::default()));
        let subflows = self.subflows.iter().zip(spans);
        Connection {
            params,
            mode: Mode::Verified,
            ended: None,
            subflows: subflows.map(|(s, spans)| s.wake(spans, pieces)).collect(),
            has_joined: self.has_joined,
            joins_pending: 0,
            keyed: OnceCell::new(),
            send: SendQueue::new(self.send_next),
            scheduler: self.scheduler.wake(),
            coupling: self.coupling,
            capped: false,
            send_edge: self.send_next + u64::from(self.send_window),
            recv: RecvQueue::new(self.recv_next, pieces),
            first_out: local.idsn + 1,
            first_in: self.remote_key.idsn(self.version) + 1,
            recv_edge: self.recv_next + u64::from(self.recv_window),
            halves: Halves::new(Instant::ZERO, self.send_next, self.whole),
            local_fin: LocalFin::Open,
            remote_fin: None,
            remote_fin_accepted: false,
            heard: false,
            paths: self.paths.wake(),
            predicted: None,
            dirty: true,
            turn: 0,
            initial_peer,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            data_timer: DataTimer::default(),
            infinite: None,
            fail_answer: None,
            capable_due: false,
            fastclose: None,
            close_at: None,
            closed_at: None,
            forgotten: self.forgotten,
            last_loss: super::ResetReason::LastSubflow,
        }
    }

    /// The joined subflows: their names, and the addresses and ports of the segments that they receive.
    pub fn joined(&self) -> impl Iterator<Item = (SubflowId, Tuple)> {
        let joined = self.subflows.iter().filter(|subflow| subflow.joined);
        joined.map(|subflow| (subflow.id, Tuple::from(&subflow.tuple)))
    }
}

impl<B: PacketBuf> Connection<B> {
    /// The connection at rest; `None` while anything is to be done about it, or once it fell back.
    #[must_use]
    pub fn rest(&self) -> Option<Resting> {
        // All fields are named: a new one has to be kept, or not to matter at rest.
        let Self {
            params,
            mode,
            ended,
            subflows,
            has_joined,
            joins_pending,
            keyed: _,
            send,
            scheduler,
            coupling,
            capped,
            send_edge,
            recv,
            first_out,
            first_in,
            recv_edge,
            halves,
            local_fin,
            remote_fin,
            remote_fin_accepted,
            heard: _,
            paths,
            predicted: _,
            dirty: _,
            turn: _,
            initial_peer: _,
            outbox,
            events,
            data_timer,
            infinite,
            fail_answer,
            capable_due,
            fastclose,
            close_at,
            closed_at,
            forgotten,
            last_loss: _,
        } = self;
        let is_open = *mode == Mode::Verified && ended.is_none() && fastclose.is_none();
        let is_open = is_open && *local_fin == LocalFin::Open && remote_fin.is_none();
        let closes = *remote_fin_accepted || close_at.is_some() || closed_at.is_some();
        let holds = send.len() > 0 || recv.held() > 0 || *joins_pending > 0 || *capped;
        let owes =
            !outbox.is_empty() || !events.is_empty() || *capable_due || fail_answer.is_some();
        let rests = is_open && !closes && !holds && !owes && infinite.is_none();
        if !rests || !data_timer.is_idle() || subflows.is_empty() {
            return None;
        }
        let spans = (*coupling == Coupling::Olia)
            .then(|| Box::new(subflows.iter().map(|s| s.spans).collect()));
        let subflows: Option<Vec<_>> = subflows.iter().map(Subflow::rest).collect();
        debug_assert_eq!(*first_out, params.local.idsn + 1);
        debug_assert_eq!(*first_in, params.remote_key.idsn(params.version) + 1);
        Some(Resting {
            local_key: params.local.key,
            remote_key: params.remote_key,
            send_next: send.nxt(),
            recv_next: recv.next(),
            send_window: u32::try_from(send_edge.distance(send.nxt())).ok()?,
            recv_window: u32::try_from(recv_edge.distance(recv.next())).ok()?,
            subflows: subflows?.into_boxed_slice(),
            paths: paths.rest()?,
            scheduler: scheduler.rest(),
            spans,
            coupling: *coupling,
            version: params.version,
            role: params.role,
            checksum: params.checksum,
            whole: halves.rest(send.nxt()),
            peer_denies_initial_addr: params.peer_denies_initial_addr,
            has_joined: *has_joined,
            forgotten: *forgotten,
        })
    }
}

impl RestingSubflow {
    fn wake<B: PacketBuf>(&self, spans: Spans, pieces: usize) -> Subflow<B> {
        let tuple = Tuple::from(&self.tuple);
        Subflow {
            iss: self.iss,
            irs: self.irs,
            local_id: self.local_id,
            remote_id: self.remote_id,
            backup: self.backup,
            cost: self.cost,
            weight: self.weight,
            verified: self.verified,
            bare: self.bare,
            rate: self.rate.wake(),
            spans,
            announced: self.announced,
            announced_once: self.announced_once,
            ..Subflow::new(self.id, tuple, self.tcb.wake(), self.joined, pieces)
        }
    }
}

impl<B: PacketBuf> Subflow<B> {
    /// What is left at rest. What it was given last, in one piece or as copies, no longer matters once all is DATA_ACKed.
    fn rest(&self) -> Option<RestingSubflow> {
        let Self {
            id,
            tuple,
            tcb,
            iss,
            irs,
            joined,
            local_id,
            remote_id,
            backup,
            cost,
            weight,
            allowance,
            mappings,
            held,
            verified,
            bare,
            uncovered_until,
            asked: _,
            answered: _,
            failed,
            fail_again_at,
            stale,
            rate,
            penalised_at: _,
            spans: _,
            busy_since: _,
            run: _,
            copied: _,
            finishing,
            join_ack,
            join_ack_at,
            join_acks: _,
            announced,
            announced_once,
            told: _,
            data_fin_due,
            withdrawal,
            fail_due,
            prio_due,
        } = self;
        let next = tcb.rcv_nxt();
        let holds = held.start != next || !mappings.is_idle(next) || uncovered_until.is_some();
        let fails = failed.is_some() || fail_again_at.is_some() || fail_due.is_some() || *stale;
        let joins = join_ack.is_some() || join_ack_at.is_some() || prio_due.is_some();
        let ends = *finishing || *data_fin_due || withdrawal.is_some();
        if holds || fails || joins || ends || allowance.is_some() {
            return None;
        }
        Some(RestingSubflow {
            tcb: tcb.rest()?,
            tuple: PackedTuple::from(*tuple),
            rate: rate.rest(),
            iss: *iss,
            irs: *irs,
            announced: *announced,
            cost: *cost,
            weight: *weight,
            id: *id,
            local_id: *local_id,
            remote_id: *remote_id,
            joined: *joined,
            backup: *backup,
            verified: *verified,
            bare: *bare,
            announced_once: *announced_once,
        })
    }
}
