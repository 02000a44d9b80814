//! One subflow of a connection: a TCP connection, the mappings that place its data, and what is due on it.

mod rate;

use crate::connection::SubflowId;
use crate::coupling::Spans;
use crate::dss::MappingStore;
use crate::scheduler::Candidate;
use crate::types::{AddrId, DataSeq};
use rate::Rate;
pub(crate) use rate::RestingRate;
use stack::checksum::Sum;
use stack::tcp::{State, Tcb};
use stack::time::Duration;
use stack::wire::tcp::OptBytes;
use stack::{Instant, PacketBuf, SeqNum, Slice, Tuple};
use std::collections::VecDeque;

/// Data that TCP delivered in order and that waits for its mapping, or for the rest of a mapping with a checksum.
#[derive(Debug)]
pub(crate) struct Held<B> {
    /// Sequence number of the first octet held.
    pub(crate) start: SeqNum,
    pub(crate) slices: VecDeque<Slice<B>>,
    pub(crate) len: usize,
    /// How many of `slices`, from the front, are in `sum`: a mapping is summed as it grows, never twice.
    pub(crate) summed: usize,
    pub(crate) summed_len: usize,
    pub(crate) sum: Sum,
}

impl<B: PacketBuf> Held<B> {
    const fn new(start: SeqNum) -> Self {
        Self {
            start,
            slices: VecDeque::new(),
            len: 0,
            summed: 0,
            summed_len: 0,
            sum: Sum::ZERO,
        }
    }

    pub(crate) fn push(&mut self, slice: Slice<B>) {
        self.len += slice.len();
        self.slices.push_back(slice);
    }

    /// Counts a piece that is not held, as its place is known and nothing is held before it.
    pub(crate) fn pass(&mut self, len: usize) {
        self.start += u32::try_from(len).unwrap_or(0);
    }

    /// Takes the first piece, or what of it lies before `end`.
    pub(crate) fn pop_before(&mut self, end: SeqNum) -> Option<(SeqNum, Slice<B>)> {
        let start = self.start;
        let room = usize::try_from(end.distance(start)).unwrap_or(0);
        if room == 0 {
            return None;
        }
        let mut slice = self.slices.pop_front()?;
        if slice.len() > room {
            self.slices.push_front(slice.slice(room..slice.len()));
            slice = slice.narrow(0..room);
        }
        self.len -= slice.len();
        self.start += u32::try_from(slice.len()).unwrap_or(0);
        self.summed = self.summed.saturating_sub(1);
        self.summed_len = self.summed_len.saturating_sub(slice.len());
        Some((start, slice))
    }

    /// Sums what is held of a mapping of `len` octets that begins at the front; the sum once all of it is there. Octets
    /// that are read for that are added to `read`.
    pub(crate) fn sum_front(&mut self, len: usize, read: &mut u64) -> Option<Sum> {
        while self.summed_len < len {
            let slice = self.slices.get_mut(self.summed)?;
            let room = len - self.summed_len;
            if slice.len() > room {
                let (head, tail) = (
                    slice.hand_on().narrow(0..room),
                    slice.slice(room..slice.len()),
                );
                self.slices[self.summed] = head;
                self.slices.insert(self.summed + 1, tail);
                continue;
            }
            let (sum, octets) = slice.sum_once();
            *read += octets;
            self.sum = self.sum.then(sum);
            self.summed_len += slice.len();
            self.summed += 1;
        }
        let sum = self.sum;
        self.sum = Sum::ZERO;
        Some(sum)
    }
}

/// The latest data given to a subflow without a break: where it began and goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) start: DataSeq,
    pub(crate) next: DataSeq,
}

/// One subflow: a TCP connection that carries part of the data.
pub struct Subflow<B> {
    pub(crate) id: SubflowId,
    pub(crate) tuple: Tuple,
    pub(crate) tcb: Tcb<B>,
    /// Our initial sequence number: subflow sequence numbers in mappings count from it (RFC 8684 3.3.1).
    pub(crate) iss: SeqNum,
    /// The peer's.
    pub(crate) irs: SeqNum,
    /// Began with MP_JOIN.
    pub(crate) joined: bool,
    pub(crate) local_id: AddrId,
    pub(crate) remote_id: AddrId,
    /// The peer asked us to use it only when no other is there (RFC 8684 3.3.8).
    pub(crate) backup: bool,
    /// What its path costs, for schedulers that heed it.
    pub(crate) cost: u16,
    /// Its share of the data, for schedulers that heed it.
    pub(crate) weight: u16,
    /// Octets of packets that new data may still add to its path, if that is capped.
    pub(crate) allowance: Option<u32>,
    pub(crate) mappings: MappingStore,
    pub(crate) held: Held<B>,
    /// A DATA_ACK has come by it.
    pub(crate) verified: bool,
    /// The last segment that acknowledged data of ours carried no option of MPTCP.
    pub(crate) bare: bool,
    /// Until when data waits for its mapping, for the rest of one, or for an infinite one.
    pub(crate) uncovered_until: Option<Instant>,
    /// How often the peer was asked whether more of the mapping that comes first is under way, since some of it came; or whether
    /// it is there at all, since an infinite mapping is waited for.
    pub(crate) asked: u8,
    /// It is there, but what it answered was no infinite mapping: it is given a little longer.
    pub(crate) answered: bool,
    /// Its checksum failed at this number while it was alone: its data waits for an infinite mapping (RFC 8684 3.7).
    pub(crate) failed: Option<DataSeq>,
    /// When MP_FAIL is to be repeated, as no infinite mapping has come.
    pub(crate) fail_again_at: Option<Instant>,
    /// It made no progress for so long that its data went to others; until it does.
    pub(crate) stale: bool,
    pub(crate) rate: Rate,
    /// When its window was last halved because it held up all else.
    pub(crate) penalised_at: Option<Instant>,
    /// Kept for OLIA alone.
    pub(crate) spans: Spans,
    /// When it last went from nothing queued to something.
    pub(crate) busy_since: Instant,
    /// What it was given last, in one piece.
    pub(crate) run: Option<Run>,
    /// All data before it was given to this subflow, where all goes by all.
    pub(crate) copied: Option<DataSeq>,
    /// Our FIN is queued: no new data.
    pub(crate) finishing: bool,
    /// The third ACK's MP_JOIN, sent until the fourth ACK comes; no data before it (RFC 8684 3.2).
    pub(crate) join_ack: Option<OptBytes>,
    /// When the third ACK is to be repeated.
    pub(crate) join_ack_at: Option<Instant>,
    /// How often it was repeated.
    pub(crate) join_acks: u8,
    /// The window last announced on it, in octets.
    pub(crate) announced: u32,
    /// Whether any window was announced yet.
    pub(crate) announced_once: bool,
    /// What the last segment with a DATA_ACK acknowledged of it.
    pub(crate) told: SeqNum,
    /// A DATA_FIN is to be sent on it.
    pub(crate) data_fin_due: bool,
    /// The peer withdrew its address, and whether it still answers there is being found out.
    pub(crate) withdrawal: Option<Withdrawal>,
    /// MP_FAIL with this number is to be sent on it.
    pub(crate) fail_due: Option<DataSeq>,
    /// MP_PRIO is to be sent on it: whether as backup.
    pub(crate) prio_due: Option<bool>,
}

/// A probe of a subflow whose address the peer withdrew (RFC 8684 3.4.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Withdrawal {
    /// What arrives from here on answers it: earlier than the path's round trip nothing can.
    pub(crate) answered_from: Instant,
    /// Without an answer until here, the subflow is reset.
    pub(crate) until: Instant,
}

impl<B: PacketBuf> Subflow<B> {
    /// `pieces_max` bounds the mappings ahead of their data.
    pub(crate) fn new(
        id: SubflowId,
        tuple: Tuple,
        tcb: Tcb<B>,
        joined: bool,
        pieces_max: usize,
    ) -> Self {
        let first = tcb.rcv_nxt();
        Self {
            id,
            tuple,
            iss: tcb.push_seq() - 1,
            irs: first - 1,
            tcb,
            joined,
            local_id: AddrId(0),
            remote_id: AddrId(0),
            backup: false,
            cost: u16::from(joined),
            weight: 1,
            allowance: None,
            mappings: MappingStore::new(first, pieces_max),
            held: Held::new(first),
            verified: false,
            bare: false,
            uncovered_until: None,
            asked: 0,
            answered: false,
            failed: None,
            fail_again_at: None,
            stale: false,
            rate: Rate::new(),
            penalised_at: None,
            spans: Spans::default(),
            busy_since: Instant::ZERO,
            run: None,
            copied: None,
            finishing: false,
            join_ack: None,
            join_ack_at: None,
            join_acks: 0,
            announced: 0,
            announced_once: false,
            told: first,
            data_fin_due: false,
            withdrawal: None,
            fail_due: None,
            prio_due: None,
        }
    }

    /// Its name within the connection.
    #[must_use]
    pub const fn id(&self) -> SubflowId {
        self.id
    }

    /// Addresses and ports of the segments that it receives.
    #[must_use]
    pub const fn tuple(&self) -> Tuple {
        self.tuple
    }

    /// Its TCP connection: state, round-trip time, congestion window, counts.
    #[must_use]
    pub const fn tcb(&self) -> &Tcb<B> {
        &self.tcb
    }

    /// Whether the peer wants it used only when no other is there.
    #[must_use]
    pub const fn backup(&self) -> bool {
        self.backup
    }

    /// What its path costs.
    #[must_use]
    pub const fn cost(&self) -> u16 {
        self.cost
    }

    /// Octets of TCP payload per second that the peer took lately while the congestion window was full, or the most it
    /// took otherwise: what the path carries as far as is known. 0 before the first two round trips, and 100 ms.
    #[must_use]
    pub fn delivery_rate(&self) -> u64 {
        self.rate.octets_per_second()
    }

    /// How long the congestion window was what held us back, in all, to some round trips.
    #[must_use]
    pub fn cwnd_limited(&self) -> Duration {
        self.rate.limited()
    }

    /// Segments with data sent on it, each as often as it was sent.
    #[must_use]
    pub const fn segments_out(&self) -> u64 {
        self.rate.segments
    }

    /// Payload octets received in order on it.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.tcb.bytes_received()
    }

    /// Payload octets that the peer acknowledged on it.
    #[must_use]
    pub fn bytes_out(&self) -> u64 {
        self.tcb.bytes_acked()
    }

    /// Whether it may carry new data.
    pub(crate) fn is_usable(&self) -> bool {
        !self.finishing
            && !self.stale
            && self.join_ack.is_none()
            && matches!(self.tcb.state(), State::Established | State::CloseWait)
    }

    /// What a scheduler sees of it that has a piece of `len` octets to give, with options of `option_len`; and whether
    /// its path's cap is all that keeps it from sending that.
    pub(crate) fn candidate(&self, len: usize, option_len: usize) -> (Candidate, bool) {
        let tcb = &self.tcb;
        let (has_space, capped) = self.has_space(len, option_len);
        let candidate = Candidate {
            id: self.id,
            cost: self.cost,
            weight: self.weight,
            srtt: self.srtt(),
            rttvar: tcb.rttvar(),
            cwnd: tcb.cwnd(),
            ssthresh: tcb.ssthresh(),
            flight: tcb.flight_size(),
            starting: !capped && tcb.ssthresh() == u32::MAX,
            backup: self.backup,
            has_space,
        };
        (candidate, capped)
    }

    /// Whether a piece of `len` octets with options of `option_len` would leave at once; and whether its path's cap is all
    /// that keeps it from that.
    pub(crate) fn has_space(&self, len: usize, option_len: usize) -> (bool, bool) {
        let tcb = &self.tcb;
        let len = len.min(tcb.max_payload(option_len));
        let space = tcb.send_space() as usize;
        let fits = space >= len || tcb.queued() == 0 && space > 0;
        let packet = || self.packet_len(len, option_len);
        let capped = fits && self.allowance.is_some_and(|left| left < packet());
        (fits && !capped, capped)
    }

    /// Takes a piece of `len` octets with options of `option_len` off what is `left` of an allowance, if that holds it:
    /// whether it does.
    pub(crate) fn allow(&self, left: &mut Option<u32>, len: usize, option_len: usize) -> bool {
        let Some(octets) = left else {
            return true;
        };
        let rest = octets.checked_sub(self.packet_len(len, option_len));
        *left = rest.or(Some(0));
        rest.is_some()
    }

    /// Takes a piece of `len` octets with options of `option_len` off the allowance.
    pub(crate) fn spend(&mut self, len: usize, option_len: usize) {
        if let Some(left) = self.allowance {
            self.allowance = Some(left.saturating_sub(self.packet_len(len, option_len)));
        }
    }

    /// Octets of the packet with `len` octets of data and options of `option_len`, beside TCP's own.
    fn packet_len(&self, len: usize, option_len: usize) -> u32 {
        let ip = if self.tuple.src.is_ipv4() { 20 } else { 40 };
        let all = len + ip + 20 + self.tcb.options_len(option_len);
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    /// Halves the congestion window because the data that it was given holds up all else: at most once a round trip, as
    /// a loss would. Whether it did.
    pub(crate) fn penalise(&mut self, now: Instant) -> bool {
        let due = self
            .penalised_at
            .is_none_or(|at| now.since(at) >= self.srtt());
        if due {
            self.penalised_at = Some(now);
            self.tcb.penalise();
        }
        due
    }

    /// Whether the peer can still be reached by it.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.tcb.state(), State::Closed | State::TimeWait)
    }

    /// Whether what it carries can be left to it: the peer answers, as far as is known.
    pub(crate) fn makes_progress(&self) -> bool {
        self.is_live() && !self.stale && self.tcb.consecutive_rtos() == 0
    }

    /// Notes that `len` octets from `dsn` on were given to it.
    pub(crate) fn carry(&mut self, dsn: DataSeq, len: usize) {
        let next = crate::dsn::plus(dsn, len);
        self.run = Some(match self.run {
            Some(run) if run.next == dsn => Run { next, ..run },
            // It may stand twice in this stream: all that it was given so far is no run until it is DATA_ACKed.
            Some(run) if dsn < run.next => Run {
                start: run.next.max(next),
                next: run.next.max(next),
            },
            _ => Run { start: dsn, next },
        });
    }

    /// Whether all that it has under way, and all from `una` to `nxt`, is one run of data on it: only then can its
    /// stream stand for the connection's (RFC 8684 3.7).
    pub(crate) fn is_contiguous(&self, una: DataSeq, nxt: DataSeq) -> bool {
        let Some(run) = self.run else {
            return una == nxt;
        };
        let covers = una == nxt || run.start <= una && run.next == nxt;
        covers && crate::dsn::octets(run.next, run.start) >= self.tcb.queued()
    }

    /// Any acceptable segment after our third ACK shows that it arrived: data may flow (RFC 8684 3.2).
    pub(crate) fn on_fourth_ack(&mut self) {
        self.join_ack = None;
        self.join_ack_at = None;
    }

    /// When it will count as stale: data unacknowledged for three RTOs, and at least a second.
    pub(crate) fn stale_at(&self) -> Option<Instant> {
        if self.stale || self.tcb.queued() == 0 || !self.is_live() {
            return None;
        }
        let patience = (self.base_rto() * 3).max(Duration::from_secs(1));
        Some(self.tcb.last_progress().max(self.busy_since) + patience)
    }

    /// The RTO without the doublings of timeouts in a row.
    pub(crate) fn base_rto(&self) -> Duration {
        match self.tcb.consecutive_rtos() {
            0 => self.tcb.rto(),
            doublings => self.tcb.rto() / (1 << doublings.min(6)),
        }
    }

    /// Smoothed round-trip time, or a guess before the first measurement.
    pub(crate) fn srtt(&self) -> Duration {
        self.tcb.srtt().unwrap_or(Duration::from_millis(500))
    }
}
