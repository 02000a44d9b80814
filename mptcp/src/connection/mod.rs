//! One Multipath TCP connection as a value: up to eight subflows, one sequence space each way (RFC 8684).
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

use crate::types::{AddrId, DataSeq, Role, Version};
use crate::{Cx, Key};
use core::net::IpAddr;
use stack::tcp::Tcb;
use stack::time::Duration;
use stack::wire::tcp::{OutSegment, Segment};
use stack::{Instant, PacketBuf, Slice, Tuple};

/// Most subflows of one connection at a time.
pub const SUBFLOWS_MAX: usize = 8;

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
    /// Our key.
    pub local_key: Key,
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
    /// No DATA_ACK has come and no subflow has joined: an answer without options means fallback.
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

/// One Multipath TCP connection. See the [module](self) for the order of calls.
pub struct Connection<B> {
    params: Params,
    tcb: Tcb<B>,
    tuple: Tuple,
}

impl<B: PacketBuf> Connection<B> {
    /// A connection right after its handshake, with its first subflow in ESTABLISHED. `tuple` is that of the segments
    /// it receives. No segment after the SYN may have been given to `tcb` yet: a third ACK that carries data is the
    /// first [`Connection::input`].
    #[must_use]
    pub fn new(cx: &mut Cx<'_>, params: &Params, tcb: Tcb<B>, tuple: Tuple) -> Self {
        let _ = cx;
        Self {
            params: *params,
            tcb,
            tuple,
        }
    }

    /// Takes a segment of subflow `id`: TCP first, then its options, then its data.
    pub fn input(&mut self, cx: &mut Cx<'_>, id: SubflowId, seg: &Segment<B>) -> Outcome {
        let _ = (id, self.tcb.input(&mut cx.stack(), seg));
        Outcome::Alive
    }

    /// The next data in order.
    pub fn take(&mut self) -> Option<Slice<B>> {
        None
    }

    /// Whether the peer's end of data is next and everything before it was taken: its DATA_FIN, or its FIN after a
    /// fallback. It is not acknowledged before [`Self::accept_fin`].
    #[must_use]
    pub fn fin_received(&self) -> bool {
        false
    }

    /// Acknowledges the peer's end of data, once [`Self::fin_received`].
    pub fn accept_fin(&mut self) {}

    /// Sets how many octets the owner can hold beyond what it has taken. The announced window follows, at most
    /// [`Limits::recv_buffer`]; its right edge never moves back.
    pub fn set_recv_room(&mut self, bytes: u32) {
        let _ = bytes;
    }

    /// Octets that [`Self::send`] may still add: 0 when [`Limits::send_buffer`] is used up, or after
    /// [`Self::finish`]. What is sent beyond is taken nevertheless.
    #[must_use]
    pub fn send_room(&self) -> usize {
        0
    }

    /// Queues payload, by reference. Ignored after [`Self::finish`] and once the connection ended.
    pub fn send(&mut self, payload: Slice<B>) {
        let _ = payload;
    }

    /// Ends our direction after all that was queued: DATA_FIN, or FIN after a fallback.
    pub fn finish(&mut self) {}

    /// Whether our end of data is acknowledged.
    #[must_use]
    pub fn fin_acknowledged(&self) -> bool {
        false
    }

    /// Whether our end of data has left at least once: the DATA_FIN, or the FIN after a fallback. A relay acknowledges
    /// the other side's end only then.
    #[must_use]
    pub fn fin_sent(&self) -> bool {
        false
    }

    /// Octets given to [`Self::send`] that the peer has not acknowledged for good, sent or not: what a relay holds.
    #[must_use]
    pub fn queued(&self) -> usize {
        0
    }

    /// Cuts the connection off: MP_FASTCLOSE and resets on all subflows, to be fetched with [`Self::output`].
    pub fn abort(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    /// The next segment to send now; call until `None`.
    pub fn output(&mut self, cx: &mut Cx<'_>) -> Option<Output<B>> {
        let segment = self.tcb.output(&mut cx.stack(), 12)?;
        Some(Output {
            subflow: SubflowId::INITIAL,
            tuple: self.tuple.reversed(),
            segment,
        })
    }

    /// When [`Self::advance`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.tcb.next_deadline()
    }

    /// Runs the timers that are due. Follow with [`Self::output`].
    pub fn advance(&mut self, cx: &mut Cx<'_>) -> Outcome {
        self.tcb.advance(&mut cx.stack());
        Outcome::Alive
    }

    /// What happened since the last call.
    pub fn take_event(&mut self) -> Option<Event> {
        None
    }

    /// How the connection is doing.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        Outcome::Alive
    }

    /// Whether it can be dropped: closed, or cut off.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.outcome() != Outcome::Alive
    }

    /// Unverified, verified or fallen back.
    #[must_use]
    pub fn mode(&self) -> Mode {
        Mode::Unverified
    }

    /// What the handshake settled.
    #[must_use]
    pub const fn params(&self) -> &Params {
        &self.params
    }

    /// Announces an address of ours under `id` (not 0): ADD_ADDR, repeated until the peer echoes it (version 1).
    pub fn announce(&mut self, id: AddrId, addr: IpAddr, port: Option<u16>) {
        let _ = (id, addr, port);
    }

    /// Withdraws an address of ours: REMOVE_ADDR, on another subflow than those that use it, which are closed.
    pub fn withdraw(&mut self, id: AddrId) {
        let _ = id;
    }

    /// Asks the peer to use subflow `id` only when no other is there, or again like the others (MP_PRIO).
    pub fn set_backup(&mut self, id: SubflowId, backup: bool) {
        let _ = (id, backup);
    }

    /// The subflows, in no particular order.
    pub fn subflows(&self) -> impl Iterator<Item = &Subflow<B>> {
        core::iter::empty()
    }

    /// The next octet expected of the peer: what we DATA_ACK.
    #[must_use]
    pub fn data_ack(&self) -> DataSeq {
        DataSeq(0)
    }
}

/// One subflow: a TCP connection that carries part of the data.
pub struct Subflow<B> {
    id: SubflowId,
    tuple: Tuple,
    tcb: Tcb<B>,
}

impl<B: PacketBuf> Subflow<B> {
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
        false
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
}
