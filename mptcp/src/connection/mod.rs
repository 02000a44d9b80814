//! One Multipath TCP connection as a value: up to [`SUBFLOWS_MAX`] subflows, one sequence space each way (RFC 8684).
//!
//! The owner calls, in this order and as often as it likes:
//!
//! 1. [`Connection::input`] for each segment of a subflow, then [`Connection::take`] until `None`,
//!    [`Connection::fin_received`], [`Connection::set_recv_room`];
//! 2. [`Connection::send`] and [`Connection::finish`] for what is to go out;
//! 3. [`Connection::advance`] when [`Connection::next_deadline`] has passed (a spurious call does nothing);
//! 4. [`Connection::output`] until `None`, whenever any of the above was called;
//! 5. [`Connection::take_event`] until `None`: subflows that came and went, addresses that the peer announced.
//!
//! After a fallback the same calls run one plain TCP connection, so the owner need not care.

mod close;
mod controls;
mod data;
mod fallback;
mod fastclose;
mod halves;
mod input;
mod options;
mod output;
mod predicted;
mod rest;
mod schedule;
mod timers;

pub use crate::subflow::Subflow;
pub use predicted::More;
pub use rest::Resting;

use self::halves::{Halves, Whole};
use crate::coupling::Coupling;
use crate::crypto::Keyed;
use crate::path_manager::PathManager;
use crate::recv_queue::RecvQueue;
use crate::scheduler::Scheduler;
use crate::send_queue::SendQueue;
use crate::types::{AddrId, DataSeq, Role, Version};
use crate::{Cx, Key, LocalKey};
use core::cell::OnceCell;
use core::net::IpAddr;
use stack::tcp::Tcb;
use stack::time::Duration;
use stack::wire::tcp::OutSegment;
use stack::{Instant, PacketBuf, Tuple, prefetch};
use std::collections::VecDeque;

/// Most subflows of one connection at a time.
pub const SUBFLOWS_MAX: usize = 16;

/// Names a subflow within its connection: below [`SUBFLOWS_MAX`], reused once [`Event::SubflowClosed`] named it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubflowId(pub u8);

impl SubflowId {
    /// The subflow that a connection begins with.
    pub const INITIAL: Self = Self(0);
}

/// What bounds a connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Subflows at a time, joins that are under way included: 1 to [`SUBFLOWS_MAX`].
    pub subflows: u8,
    /// Octets queued towards the peer and not yet DATA_ACKed, past which [`Connection::send_room`] is 0.
    pub send_buffer: u32,
    /// Octets held for the owner, in order or beyond gaps: the largest window announced.
    pub recv_buffer: u32,
    /// How long a connection may take to close once both sides want to, or once its last subflow is gone.
    pub close_timeout: Duration,
    /// How long the end of a closed connection repeats its last DATA_ACK (the data-level TIME-WAIT).
    pub time_wait: Duration,
}

impl Limits {
    /// Pieces held for the owner, whatever their length: each pins a whole packet buffer.
    pub(crate) fn pieces_max(&self) -> usize {
        (self.recv_buffer / 128).max(64) as usize
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subflows: 8,
            send_buffer: 4 << 20,
            recv_buffer: 4 << 20,
            close_timeout: Duration::from_secs(10),
            time_wait: Duration::from_millis(500),
        }
    }
}

/// What the handshake of the first subflow settled.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// The version that both sides agreed on.
    pub version: Version,
    /// Whether we sent the first SYN.
    pub role: Role,
    /// Our key, with what its hash gives.
    pub local: LocalKey,
    /// The peer's key.
    pub remote_key: Key,
    /// Whether either side asked for DSS checksums.
    pub checksum: bool,
    /// The peer's C flag: no joins to the address and port of its first subflow (RFC 8684 3.1).
    pub peer_denies_initial_addr: bool,
    /// Bounds.
    pub limits: Limits,
}

/// The three states of an MPTCP leg (RFC 8684 3.3.1, 3.3.2, 3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No data of ours was DATA_ACKed, no more than an initial window of the peer's came mapped, and no subflow has
    /// joined: an answer without options means fallback.
    Unverified,
    /// Options pass in both directions: from now on a subflow without them is broken.
    Verified,
    /// Plain TCP on the only subflow, for good.
    Fallback,
}

/// Why a connection ended other than by both sides finishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetReason {
    /// The peer sent MP_FASTCLOSE.
    Fastclose,
    /// The peer reset the last subflow.
    LastSubflow,
    /// The peer stopped answering on the last subflow, or did not close in time.
    TimedOut,
    /// We reset the last subflow because its data could not be placed.
    Unusable,
    /// [`Connection::abort`] was called.
    Aborted,
}

/// How a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    Alive,
    /// Both sides finished and all is acknowledged: it can be dropped.
    Closed,
    /// It was cut off: drop it after [`Connection::output`] has returned what is left to send.
    Reset(ResetReason),
}

/// What happened that the owner may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A subflow came to life: segments of `tuple` (as received) belong to it.
    SubflowOpened {
        /// The subflow.
        id: SubflowId,
        /// Addresses and ports of the segments that it receives.
        tuple: Tuple,
    },
    /// A subflow is gone: `tuple` (as received) no longer belongs to this connection.
    SubflowClosed {
        /// The subflow; its id may be used again.
        id: SubflowId,
        /// Addresses and ports of the segments that it received.
        tuple: Tuple,
    },
    /// The peer announced an address, with a valid HMAC.
    AddressAnnounced {
        /// The peer's name for it.
        id: AddrId,
        /// The address.
        addr: IpAddr,
        /// The port, if it named one.
        port: Option<u16>,
    },
    /// The peer withdrew an address.
    AddressRemoved {
        /// The peer's name for it.
        id: AddrId,
    },
}

impl Event {
    fn closes(&self, subflow: SubflowId) -> bool {
        matches!(self, Self::SubflowClosed { id, .. } if *id == subflow)
    }
}

/// A segment on its way out of a connection.
#[derive(Clone, Debug)]
pub struct Output<B> {
    /// The subflow it belongs to; it may be gone already when the segment resets it.
    pub subflow: SubflowId,
    /// Source and destination as they will stand in the segment: source is us.
    pub tuple: Tuple,
    /// The segment.
    pub segment: OutSegment<B>,
}

/// Most events kept for the owner; it is to fetch them after each call.
const EVENTS_MAX: usize = 64;

/// One Multipath TCP connection. See the [module](self) for the order of calls.
pub struct Connection<B> {
    params: Params,
    mode: Mode,
    ended: Option<Outcome>,
    subflows: Vec<Subflow<B>>,
    /// A subflow has joined at some time: the peer has several paths, or we have.
    has_joined: bool,
    /// Joins that were answered and wait for their third ACK: they count against the limit.
    joins_pending: u8,
    /// What HMACs of ours have in common, once there was one: of announcements and of answers to joins.
    keyed: OnceCell<Box<Keyed>>,
    send: SendQueue<B>,
    scheduler: Scheduler,
    coupling: Coupling,
    /// Whether a subflow's allowance was all that kept data back when it was last looked at.
    capped: bool,
    /// First number that the peer's window does not hold: the greatest DATA_ACK + window ever seen (RFC 8684 3.3.1).
    send_edge: DataSeq,
    recv: RecvQueue<B>,
    /// The number of the first octet of data, each way.
    first_out: DataSeq,
    first_in: DataSeq,
    halves: Halves,
    /// First number that our window does not hold. Never moves back.
    recv_edge: DataSeq,
    local_fin: LocalFin,
    /// The number of the peer's DATA_FIN, once known.
    remote_fin: Option<DataSeq>,
    remote_fin_accepted: bool,
    /// An acceptable segment with options of MPTCP came since our DATA_FIN was sent last.
    heard: bool,
    paths: PathManager,
    /// By index the subflow of the segment that came last, if that was predicted.
    predicted: Option<usize>,
    /// Something changed that may allow or require sending.
    dirty: bool,
    /// The subflow whose turn it is to be asked for output.
    turn: usize,
    /// Where the peer's first subflow began: a C flag of its keeps joins from there (RFC 8684 3.1).
    initial_peer: (IpAddr, u16),
    outbox: VecDeque<Output<B>>,
    events: VecDeque<Event>,
    data_timer: timers::DataTimer,
    /// Our first data since the fallback is to carry an infinite mapping (RFC 8684 3.7).
    infinite: Option<fallback::Infinite>,
    /// The fallback answered the peer's MP_FAIL, with one of our own.
    fail_answer: Option<DataSeq>,
    /// An initiator repeats MP_CAPABLE until an option of the peer's shows that it arrived (RFC 8684 3.1).
    capable_due: bool,
    /// It is being cut off, and the peer's answer is waited for.
    fastclose: Option<fastclose::Fastclose>,
    close_at: Option<Instant>,
    closed_at: Option<Instant>,
    /// The peer reset a subflow because it knows nothing of the connection, or made no sense of it.
    forgotten: bool,
    last_loss: ResetReason,
}

/// Where our end of data stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LocalFin {
    /// The owner has not finished.
    Open,
    /// It has, but not all data was given to a subflow.
    Wanted,
    /// DATA_FIN with this number was sent; it is due again at `again`, and was sent `sends` times, the last `unanswered`
    /// of them to a peer that said nothing at all.
    Sent {
        dsn: DataSeq,
        again: Instant,
        sends: u8,
        unanswered: u8,
    },
    /// It is DATA_ACKed.
    Acked,
}

impl<B: PacketBuf> Connection<B> {
    /// A connection right after its handshake, with its first subflow in ESTABLISHED. `tuple` is that of the segments
    /// it receives. No segment after the SYN may have been given to `tcb` yet: a third ACK that carries data is the
    /// first [`Connection::input`]. Call [`Connection::output`] next: an initiator's third ACK is due.
    #[must_use]
    pub fn new(cx: &mut Cx<'_>, params: &Params, tcb: Tcb<B>, tuple: Tuple) -> Self {
        let version = params.version;
        // MP_CAPABLE occupies the initial number on both sides (RFC 8684 3.1).
        let first_out = params.local.idsn + 1;
        let first_in = params.remote_key.idsn(version) + 1;
        let pieces = params.limits.pieces_max();
        let snd_wnd = tcb.snd_wnd_edge() - tcb.snd_una();
        let coupling = Coupling::default();
        let mut first = Subflow::new(SubflowId::INITIAL, tuple, tcb, false, pieces);
        first.tcb.set_congestion(coupling.algorithm());
        let initiator = params.role == Role::Initiator;
        if initiator {
            first.tcb.request_ack();
        } else {
            // It shows that the third ACK came: from then on the initiator may join (RFC 8684 3.1).
            first.tcb.tell_window();
        }
        let mut connection = Self {
            params: *params,
            mode: Mode::Unverified,
            ended: None,
            subflows: Vec::with_capacity(2),
            has_joined: false,
            joins_pending: 0,
            keyed: OnceCell::new(),
            send: SendQueue::new(first_out),
            scheduler: Scheduler::default(),
            coupling,
            capped: false,
            send_edge: first_out + u64::from(snd_wnd),
            recv: RecvQueue::new(first_in, pieces),
            first_out,
            first_in,
            halves: Halves::new(cx.now, first_out, Whole::under(params.checksum)),
            recv_edge: first_in,
            local_fin: LocalFin::Open,
            remote_fin: None,
            remote_fin_accepted: false,
            heard: false,
            paths: PathManager::default(),
            predicted: None,
            dirty: true,
            turn: 0,
            initial_peer: (tuple.src, tuple.src_port),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            data_timer: timers::DataTimer::default(),
            infinite: None,
            fail_answer: None,
            capable_due: initiator,
            fastclose: None,
            close_at: None,
            closed_at: None,
            forgotten: false,
            last_loss: ResetReason::LastSubflow,
        };
        connection.subflows.push(first);
        connection.set_recv_room(params.limits.recv_buffer);
        connection.tell(Event::SubflowOpened {
            id: SubflowId::INITIAL,
            tuple,
        });
        connection
    }

    /// Has the processor fetch the subflows and the queues of data, once the connection itself is there.
    pub fn prefetch_subflows(&self) {
        self.subflows.iter().for_each(prefetch);
        self.recv.prefetch();
        self.send.prefetch();
    }

    /// Has it fetch the queues of the subflows, once these are there.
    pub fn prefetch_queues(&self) {
        let subflows = self.subflows.iter();
        subflows.for_each(|subflow| subflow.tcb.prefetch_queues());
    }

    /// Whether [`Self::take_event`] has something to tell.
    #[must_use]
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// What happened since the last call.
    pub fn take_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn tell(&mut self, event: Event) {
        // Openings and closings are never lost: the owner's flow table depends on them, and their number bounds them
        // between two calls of the owner. What the peer announces may be dropped.
        let vital = matches!(
            event,
            Event::SubflowOpened { .. } | Event::SubflowClosed { .. }
        );
        if vital || self.events.len() < EVENTS_MAX {
            self.events.push_back(event);
        }
    }

    /// How the connection is doing.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        self.ended.unwrap_or(Outcome::Alive)
    }

    /// Whether it can be dropped: closed, or cut off.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether it has ended, or is being cut off: no data goes either way.
    pub(crate) const fn is_over(&self) -> bool {
        self.ended.is_some() || self.fastclose.is_some()
    }

    /// Unverified, verified or fallen back.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// What the handshake settled.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// What HMACs of ours have in common in version 1.
    pub(crate) fn keyed(&self) -> &Keyed {
        let (local, remote) = (&self.params.local.key, &self.params.remote_key);
        self.keyed
            .get_or_init(|| Box::new(Keyed::new(local, remote)))
    }

    /// The subflows, in no particular order.
    pub fn subflows(&self) -> impl Iterator<Item = &Subflow<B>> {
        self.subflows.iter()
    }

    /// Subflow `id`, while it lives.
    #[must_use]
    pub fn subflow(&self, id: SubflowId) -> Option<&Subflow<B>> {
        self.subflows.iter().find(|subflow| subflow.id == id)
    }

    /// The next octet expected of the peer: what we DATA_ACK.
    #[must_use]
    pub const fn data_ack(&self) -> DataSeq {
        self.recv.next()
    }

    fn index(&self, id: SubflowId) -> Option<usize> {
        self.subflows.iter().position(|subflow| subflow.id == id)
    }

    pub(crate) fn subflow_mut(&mut self, id: SubflowId) -> Option<&mut Subflow<B>> {
        self.subflows.iter_mut().find(|subflow| subflow.id == id)
    }

    /// Joins that wait for their third ACK.
    pub(crate) const fn joins_pending(&self) -> u8 {
        self.joins_pending
    }

    pub(crate) const fn joins_pending_mut(&mut self) -> &mut u8 {
        &mut self.joins_pending
    }

    /// Takes in a subflow whose handshake proved the keys: a connection with two can no longer fall back.
    pub(crate) fn adopt(&mut self, mut subflow: Subflow<B>) {
        subflow.tcb.set_congestion(self.coupling.algorithm());
        self.mode = Mode::Verified;
        self.has_joined = true;
        self.close_at = None;
        self.subflows.push(subflow);
        self.renew_windows();
    }

    /// Whether `to` takes no joins: the peer's first address and port, if its C flag says so, and nothing else
    /// (RFC 8684 3.1).
    #[must_use]
    pub fn denies_join(&self, to: (IpAddr, u16)) -> bool {
        self.params.peer_denies_initial_addr && to == self.initial_peer
    }

    /// Whether the peer is known to have both keys, so that a join can be proven to it: a responder's peer showed its
    /// own, and an initiator's has answered with an option of MPTCP (RFC 8684 3.1, 3.2).
    #[must_use]
    pub fn may_join(&self) -> bool {
        self.mode != Mode::Fallback && (self.mode == Mode::Verified || !self.capable_due)
    }

    /// Whether both ends of data are known, so that no further subflow makes sense.
    pub(crate) fn is_closing(&self) -> bool {
        self.remote_fin_accepted && self.local_fin != LocalFin::Open
    }

    /// The lowest id that no subflow has, and whose last holder's end the owner knows of: until then it takes segments of
    /// that one's tuple for the new one's.
    pub(crate) fn free_id(&self) -> Option<SubflowId> {
        let limit = u8::try_from(SUBFLOWS_MAX).unwrap_or(u8::MAX);
        (0..limit)
            .map(SubflowId)
            .find(|&id| self.index(id).is_none() && !self.events.iter().any(|e| e.closes(id)))
    }
}
