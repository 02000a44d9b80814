//! Which data goes out next, and on which subflow: the one transmit decision of a connection.

use super::{Connection, LocalFin, Mode, Subflow, SubflowId};
use crate::counters::Counter;
use crate::coupling::Coupling;
use crate::crypto::dss_checksum;
use crate::dsn;
use crate::option::{Capable, CapableFlags, CapableForm, MpOption, data_dss};
use crate::scheduler::{Candidate, Demand, Purpose, Schedule, Scheduler, micros};
use crate::send_queue::SlotSet;
use crate::types::Version;
use crate::{Cx, DataSeq};
use arrayvec::ArrayVec;
use stack::checksum::Sum;
use stack::tcp::Item;
use stack::wire::tcp::OptBytes;
use stack::{Instant, PacketBuf, Slice};

/// Most octets of a DSS: with a 64-bit DATA_ACK and a 64-bit mapping (RFC 8684 3.3, figure 9).
const DSS_LEN: usize = 28;
/// The same with a checksum.
const DSS_CHECKSUM_LEN: usize = 30;
/// Most pieces sent once more at a time because they hold the window up.
const OPPORTUNISTIC_MAX: usize = 16;
/// Among so many of the oldest pieces: it is they that hold the window up.
const OVERTAKEN_AMONG: usize = 64;

#[cfg(test)]
mod tests;

impl<B: PacketBuf> Connection<B> {
    /// Octets that have to wait so that the slowest path is of use: twice what all others send in the time by which it may be
    /// later, as what came after by the fastest would be there sooner. 0 on one path.
    #[must_use]
    pub fn worth_waiting(&self) -> u64 {
        let usable = || self.subflows.iter().filter(|subflow| subflow.is_usable());
        let late = |subflow: &Subflow<B>| micros(subflow.srtt()) + micros(subflow.tcb.rttvar());
        let latest = usable().map(late).max().unwrap_or(0);
        let meanwhile = |subflow: &Subflow<B>| {
            let later = latest - late(subflow);
            u64::from(subflow.tcb.flight_size()).saturating_mul(later) / micros(subflow.srtt())
        };
        2 * usable().map(meanwhile).sum::<u64>()
    }

    /// Gives data to subflows, a piece at a time, as long as one can send it at once.
    pub(super) fn schedule(&mut self, cx: &mut Cx<'_>) {
        if self.mode == Mode::Fallback || self.ended.is_some() {
            return;
        }
        self.capped = false;
        let activations = self.scheduler.activations();
        while self.give_again(cx) || self.give_copy(cx) || self.give_new(cx) {}
        self.reinject_blocking_head(cx);
        if self.scheduler.activations() > activations {
            cx.mptcp.count(Counter::OverflowOn);
        }
        self.data_timer
            .arm(cx.now, self.has_unacknowledged(), &self.subflows);
        self.send_data_fin(cx);
    }

    /// Lowers the segment size of subflow `id` because its path's MTU shrank (RFC 1191, RFC 8201): `smss` is payload and
    /// TCP options. What travels and is larger is sent again at once, cut, each part with the mapping of the whole.
    pub fn path_mtu(&mut self, id: SubflowId, smss: u16) {
        if let Some(subflow) = self.subflow_mut(id) {
            subflow.tcb.set_smss(smss);
            self.dirty = true;
        }
    }

    /// Decides from now on how subflows are chosen.
    pub fn set_scheduler(&mut self, scheduler: Scheduler) {
        self.scheduler = scheduler;
        self.dirty = true;
    }

    /// Decides how the subflows' congestion windows depend on each other: to be called before any has left slow start.
    pub fn set_coupling(&mut self, coupling: Coupling) {
        self.coupling = coupling;
        for subflow in &mut self.subflows {
            subflow.tcb.set_congestion(coupling.algorithm());
        }
    }

    /// Says what subflow `id` costs. Unless told, the first costs 0 and each that joined 1.
    pub fn set_cost(&mut self, id: SubflowId, cost: u16) {
        if let Some(subflow) = self.subflow_mut(id) {
            subflow.cost = cost;
            self.dirty = true;
        }
    }

    /// Says which share of the data subflow `id` is to carry beside others, at least 1 and 1 unless told.
    pub fn set_weight(&mut self, id: SubflowId, weight: u16) {
        if let Some(subflow) = self.subflow_mut(id) {
            subflow.weight = weight;
        }
    }

    /// Says how many octets of packets new data may add on subflow `id` until this is called again: what its path's cap
    /// leaves. `None` is without a cap, as at first. What is sent again, and bare acknowledgments, are not held back.
    pub fn set_allowance(&mut self, id: SubflowId, octets: Option<u32>) {
        if let Some(subflow) = self.subflow_mut(id)
            && subflow.allowance != octets
        {
            subflow.allowance = octets;
            self.dirty = true;
        }
    }

    /// Whether data waits for nothing but a larger allowance.
    #[must_use]
    pub const fn waits_for_allowance(&self) -> bool {
        self.capped
    }

    /// Octets of option 30 that data carries.
    pub(super) const fn data_option_len(&self) -> usize {
        if self.params.checksum {
            DSS_CHECKSUM_LEN
        } else {
            DSS_LEN
        }
    }

    /// Sends the oldest piece that waits to be sent again, on a subflow that did not carry it if there is one.
    fn give_again(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some((dsn, payload, carriers)) = self.send.again_head() else {
            return false;
        };
        let fresh = self
            .subflows
            .iter()
            .any(|s| s.is_usable() && !carriers.has(s.id.0));
        let avoid = if fresh { carriers } else { SlotSet::default() };
        let Some(at) = self.pick(cx.now, Purpose::Again, payload.len(), avoid) else {
            return false;
        };
        self.give_again_on(cx, at, dsn, &payload);
        true
    }

    /// Where all data goes by all subflows: gives one that has space the oldest piece under way that it does not carry.
    fn give_copy(&mut self, cx: &mut Cx<'_>) -> bool {
        if !self.scheduler.is_redundant() {
            return false;
        }
        let option_len = self.data_option_len();
        let backup = self.subflows.iter().all(|s| s.backup || !s.is_usable());
        for subflow in &mut self.subflows {
            if !subflow.is_usable() || subflow.backup != backup {
                continue;
            }
            let slot = subflow.id.0;
            let from = subflow.copied.unwrap_or(self.send.una());
            let Some((dsn, payload)) = self.send.copy_for(slot, from) else {
                subflow.copied = Some(self.send.nxt());
                continue;
            };
            let (candidate, capped) = subflow.candidate(payload.len(), option_len);
            self.capped |= capped;
            if candidate.has_space {
                subflow.copied = Some(dsn::plus(dsn, payload.len()));
                self.send.copied(dsn, slot);
                cx.mptcp.count(Counter::SentRedundantly);
                let id = subflow.id;
                self.push_cut(cx, id, dsn, &payload);
                return true;
            }
        }
        false
    }

    fn give_again_on(&mut self, cx: &mut Cx<'_>, at: usize, dsn: DataSeq, payload: &Slice<B>) {
        cx.mptcp.count(Counter::Reinjected);
        self.push_cut(cx, self.subflows[at].id, dsn, payload);
        let slot = self.subflows[at].id.0;
        self.send.sent_again(slot, cx.now);
    }

    /// Queues a piece that was cut for another subflow, in as many parts as this one's segments need.
    fn push_cut(&mut self, cx: &mut Cx<'_>, id: SubflowId, dsn: DataSeq, payload: &Slice<B>) {
        let Some(at) = self.index(id) else {
            return;
        };
        let max = self.piece_max(at);
        let mut sent = 0;
        while sent < payload.len() {
            let end = (sent + max).min(payload.len());
            self.push(cx, at, dsn::plus(dsn, sent), payload.slice(sent..end));
            sent = end;
        }
    }

    /// Gives one piece to a subflow although no window holds it: TCP's persist timer sends it as a probe until one does
    /// (RFC 9293 3.8.6.1).
    pub(super) fn give_probe(&mut self, cx: &mut Cx<'_>) {
        let usable = (0..self.subflows.len()).filter(|&at| self.subflows[at].is_usable());
        // Rather one whose window is to be asked for, if the scheduler waits for that.
        let asked = |&at: &usize| {
            let subflow = &self.subflows[at];
            (subflow.backup, subflow.tcb.send_space() > 0)
        };
        let Some(at) = usable.min_by_key(asked) else {
            return;
        };
        cx.mptcp.count(Counter::DataProbe);
        if let Some((dsn, payload, _)) = self.send.again_head() {
            self.give_again_on(cx, at, dsn, &payload);
        } else {
            self.give_head(cx, at, 1);
        }
    }

    /// Sends the next piece of new data, if the peer's window holds it; and what follows, while the scheduler would choose
    /// the same subflow for each.
    fn give_new(&mut self, cx: &mut Cx<'_>) -> bool {
        let Some(len) = self.send.head_len() else {
            return false;
        };
        let Some(at) = self.pick(cx.now, Purpose::New, len, SlotSet::default()) else {
            return false;
        };
        let option_len = self.data_option_len();
        let mut given = self.give_run(cx, at) || self.give_next(cx, at, len);
        while given
            && self.scheduler.stays()
            && let Some(len) = self.send.head_len()
            && self.subflows[at].has_space(len, option_len).0
        {
            given = self.give_next(cx, at, len);
        }
        if self.send.all_sent() {
            self.scheduler.on_all_given();
        }
        given
    }

    /// Gives subflow `at` the next pieces of new data under one mapping, which each repeats (RFC 8684 3.3.1): as many as the
    /// scheduler leaves to it, and as both windows let go at once. Whether there were two at least; if not, nothing has changed.
    ///
    /// Not with checksums: a receiver has to wait for all that one is over. And not before the peer has shown that it takes mappings.
    fn give_run(&mut self, cx: &Cx<'_>, at: usize) -> bool {
        let calm = self.mode == Mode::Verified && !self.params.checksum && !self.capable_due;
        if !calm || !self.scheduler.stays() {
            return false;
        }
        let (subflow, max) = (&self.subflows[at], self.piece_max(at));
        let window = dsn::octets(self.send_edge, self.send.nxt());
        let room = window
            .min(subflow.tcb.send_space() as usize)
            .min(usize::from(u16::MAX));
        let mut left = subflow.allowance;
        let (mut pieces, mut octets) = (0, 0);
        for len in self.send.waiting_lens() {
            let allowed = subflow.allow(&mut left, len, DSS_LEN);
            if len > max || octets + len > room || !allowed {
                break;
            }
            (pieces, octets) = (pieces + 1, octets + len);
        }
        if pieces < 2 {
            return false;
        }
        let upper = self.data_option(cx.now, at, (self.send.nxt(), octets), None);
        let subflow = &mut self.subflows[at];
        if subflow.tcb.queued() == 0 {
            subflow.busy_since = cx.now;
        }
        subflow.carry(self.send.nxt(), octets);
        for _ in 0..pieces {
            let Some((_, payload)) = self.send.send_head(max, subflow.id.0, cx.now) else {
                break;
            };
            subflow.spend(payload.len(), upper.len());
            subflow.tcb.push(Item {
                payload,
                upper,
                psh: self.send.all_sent(),
            });
        }
        true
    }

    /// Gives subflow `at` the next piece of new data, `len` octets, or what of it fits one segment and the peer's window.
    fn give_next(&mut self, cx: &mut Cx<'_>, at: usize, len: usize) -> bool {
        let window = dsn::octets(self.send_edge, self.send.nxt());
        let mut len = len.min(self.piece_max(at));
        if len > window {
            // A window that holds less than the piece is waited for, unless nothing else would open it.
            if self.send.in_flight() > 0 || window == 0 {
                return false;
            }
            len = window;
        }
        self.give_head(cx, at, len)
    }

    fn give_head(&mut self, cx: &mut Cx<'_>, at: usize, len: usize) -> bool {
        let slot = self.subflows[at].id.0;
        let Some((dsn, payload)) = self.send.send_head(len, slot, cx.now) else {
            return false;
        };
        self.push(cx, at, dsn, payload);
        true
    }

    /// When the peer's window or our buffer is full and a fast subflow idles, the oldest pieces, which hold all up, go
    /// out on it too, once per subflow; and the slow one that was given them gets less from then on (Raiciu et al., NSDI
    /// 2012: opportunistic retransmission, and penalisation of slow subflows).
    fn reinject_blocking_head(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..OPPORTUNISTIC_MAX {
            let window = dsn::octets(self.send_edge, self.send.nxt());
            // Who has less than a segment left may be given nothing for it (RFC 9293 3.8.6.2).
            let blocked = match self.send.head_len() {
                Some(len) => len > window,
                None if self.local_fin == LocalFin::Open && !self.subflows.is_empty() => {
                    self.send_room().min(window) < self.piece_max(0)
                },
                None => false,
            };
            let Some(oldest) = self.send.oldest().filter(|_| blocked) else {
                return;
            };
            let (len, carriers) = (oldest.payload.len(), oldest.carriers);
            self.scheduler.on_blocked();
            let slow = (0..self.subflows.len()).filter(|&at| carriers.has(self.subflows[at].id.0));
            let Some(slowest) = slow.max_by_key(|&at| self.subflows[at].srtt()) else {
                return;
            };
            let mut avoid = SlotSet::default();
            avoid.add(self.subflows[slowest].id.0);
            let Some(at) = self.pick(cx.now, Purpose::Overtake, len, avoid) else {
                return;
            };
            // Worth it only where it overtakes: the piece is older than the fast path's round trip, which is shorter.
            let (fast, slot) = (self.subflows[at].srtt(), self.subflows[at].id.0);
            if fast * 2 >= self.subflows[slowest].srtt() {
                return;
            }
            let chosen = self.send.overtake(OVERTAKEN_AMONG, |chunk| {
                !chunk.carriers.has(slot) && cx.now.since(chunk.sent_at) > fast
            });
            if !chosen || !self.give_again(cx) {
                return;
            }
            if self.subflows[slowest].penalise(cx.now) {
                cx.mptcp.count(Counter::Penalised);
            }
        }
    }

    /// The subflow for a piece of `len` octets now, none of `avoid`.
    fn pick(
        &mut self,
        now: Instant,
        purpose: Purpose,
        len: usize,
        avoid: SlotSet,
    ) -> Option<usize> {
        let option_len = self.data_option_len();
        let mut candidates: ArrayVec<Candidate, { super::SUBFLOWS_MAX }> = ArrayVec::new();
        let mut any_capped = false;
        let within = self.send_edge > self.send.nxt();
        for subflow in &mut self.subflows {
            if subflow.is_usable() && !avoid.has(subflow.id.0) && !candidates.is_full() {
                let (candidate, capped) = subflow.candidate(len, option_len);
                any_capped |= capped;
                if !candidate.has_space && candidate.flight == 0 && within && !candidate.backup {
                    // Each subflow's own window is heeded, too (RFC 8684 3.3.5), and the one that opened it may have been lost.
                    subflow.tcb.ask_window(now);
                }
                candidates.push(candidate);
            }
        }
        let window = dsn::octets(self.send_edge, self.send.una());
        let demand = Demand {
            now,
            purpose,
            len,
            waiting: self.send.waiting(),
            window: window.min(self.params.limits.send_buffer as usize),
        };
        let picked = self.scheduler.pick(&demand, &candidates);
        self.capped |= any_capped && picked.is_none();
        self.index(picked?)
    }

    /// Largest piece of data for a subflow: one mapping, one segment.
    pub(super) fn piece_max(&self, at: usize) -> usize {
        self.subflows[at]
            .tcb
            .max_payload(self.data_option_len())
            .max(1)
    }

    /// Queues one piece on a subflow, with its mapping.
    #[inline(always)]
    fn push(&mut self, cx: &mut Cx<'_>, at: usize, dsn: DataSeq, mut payload: Slice<B>) {
        if self.params.checksum {
            let (_, read) = payload.sum_once();
            cx.tcp.add(stack::Counter::PayloadSummed, read);
        }
        let psh = self.send.all_sent();
        let len = payload.len();
        let sum = self.params.checksum.then(|| payload.sum());
        let upper = self.data_option(cx.now, at, (dsn, len), sum);
        let subflow = &mut self.subflows[at];
        if subflow.tcb.queued() == 0 {
            subflow.busy_since = cx.now;
        }
        subflow.carry(dsn, len);
        subflow.spend(len, upper.len());
        subflow.tcb.push(Item {
            payload,
            upper,
            psh,
        });
    }

    /// The option that maps the next `len` octets of subflow `at`, whose sum is `sum` if checksums are in use: a DSS, or for an
    /// initiator's first data the MP_CAPABLE that stands for one (RFC 8684 3.1).
    fn data_option(
        &mut self,
        now: Instant,
        at: usize,
        (dsn, len): (DataSeq, usize),
        sum: Option<Sum>,
    ) -> OptBytes {
        let subflow = &self.subflows[at];
        let ssn = subflow.tcb.push_seq() - subflow.iss;
        let len = u16::try_from(len).unwrap_or(u16::MAX);
        let checksum = sum.map(|sum| dss_checksum(dsn, ssn, len, sum));
        // It stands for the connection's first octet, and a joined subflow may have carried that.
        let first = ssn == 1 && !subflow.joined && dsn == self.first_out;
        if self.capable_due && first && self.params.version == Version::V1 {
            return MpOption::from(self.capable(CapableForm::Data {
                sender: self.params.local.key,
                receiver: self.params.remote_key,
                len,
                checksum,
            }))
            .into();
        }
        let (nxt, ack) = (self.send.nxt(), self.recv.next());
        let (dsn, ack) = match self.mode {
            Mode::Verified => (self.halves.of_data(now, nxt, dsn), self.halves.of_ack(ack)),
            // What the peer takes it by may not have arrived.
            Mode::Unverified | Mode::Fallback => (dsn.full(), ack.full()),
        };
        data_dss(ack, (dsn, ssn, len), checksum)
    }

    /// An MP_CAPABLE of ours after the SYN.
    pub(super) fn capable(&self, form: CapableForm) -> Capable {
        let mut flags = CapableFlags::HMAC;
        if self.params.checksum {
            flags = flags.with(CapableFlags::CHECKSUM);
        }
        Capable {
            version: self.params.version.wire(),
            flags,
            form,
        }
    }

    /// Queues a DATA_FIN once all data was given to a subflow (RFC 8684 3.3.3): on one. If no answer comes as soon as TCP would
    /// expect it, it goes by all.
    fn send_data_fin(&mut self, cx: &mut Cx<'_>) {
        if self.local_fin != LocalFin::Wanted || !self.send.all_sent() {
            return;
        }
        self.local_fin = LocalFin::Sent {
            dsn: self.send.nxt(),
            again: cx.now + super::timers::patience(&self.subflows) / 2,
            sends: 1,
            unanswered: 0,
        };
        self.heard = false;
        self.for_end(|subflow| subflow.data_fin_due = subflow.join_ack.is_none());
    }

    /// Makes the DATA_FIN due on every subflow that may carry it.
    pub(super) fn ask_data_fin(&mut self) {
        for subflow in &mut self.subflows {
            subflow.data_fin_due = subflow.is_live() && subflow.join_ack.is_none();
        }
    }
}
