//! The transmission control block: one connection from ESTABLISHED on (RFC 9293 3.3.1).

use super::State;
use super::time_wait::{TWO_MSL, TimeWait};
use crate::buf::Chain;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{OptBytes, OutSegment, Segment};
use crate::{Cx, PacketBuf, Slice};

/// The clocks of RFC 7323, when both sides use timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TsState {
    /// TS.Recent: the peer's clock, to be echoed.
    pub recent: u32,
    /// Our TSval is `now.as_millis() + offset`, modulo 2^32.
    pub offset: u32,
}

/// What a handshake has agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// Our initial sequence number: that of our SYN.
    pub iss: SeqNum,
    /// The peer's initial sequence number.
    pub irs: SeqNum,
    /// Octets of payload and TCP options per segment towards the peer: its MSS, at most what the path takes.
    pub smss: u16,
    /// The peer's window in octets, as of its last segment.
    pub snd_wnd: u32,
    /// Shift of the windows that the peer announces.
    pub snd_wscale: u8,
    /// Shift of the windows that we announce.
    pub rcv_wscale: u8,
    /// The window in octets that we have offered so far.
    pub rcv_wnd: u32,
    /// Whether both sides take SACK blocks.
    pub sack: bool,
    /// Timestamps, if both sides send them.
    pub ts: Option<TsState>,
    /// The round trip that the handshake measured.
    pub rtt: Option<Duration>,
    /// Whether our SYN or SYN+ACK had to be sent more than once: the congestion window then starts at one segment
    /// (RFC 5681 3.1) and the RTO at 3 s (RFC 6298 5.7).
    pub syn_lost: bool,
}

impl Agreed {
    /// The least that two hosts can agree on: no options, both windows 65,535 octets. For tests and to build upon.
    #[must_use]
    pub const fn plain(iss: SeqNum, irs: SeqNum, smss: u16) -> Self {
        Self {
            iss,
            irs,
            smss,
            snd_wnd: 65_535,
            snd_wscale: 0,
            rcv_wscale: 0,
            rcv_wnd: 65_535,
            sack: false,
            ts: None,
            rtt: None,
            syn_lost: false,
        }
    }
}

/// One segment's worth of payload on its way out. Items are never joined; one is cut only where the path's MSS or the
/// peer's window has become smaller, and then both halves carry `upper`.
#[derive(Clone, Debug)]
pub struct Item<B> {
    /// At most [`Tcb::max_payload`] octets, and at least one.
    pub payload: Chain<B>,
    /// Option octets of the layer above, sent with the payload each time.
    pub upper: OptBytes,
    /// Whether PSH is set.
    pub psh: bool,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Acceptable: its acknowledgment, window, payload and FIN were taken where they were new.
    Accepted {
        /// Octets of our payload that this segment acknowledged for the first time.
        acked: u32,
    },
    /// Not acceptable: the owner must ignore it, its options too. An ACK may be due.
    Dropped,
    /// The peer reset the connection: [`State::Closed`].
    Reset,
}

/// One connection. See the [module](super) for the order of calls.
pub struct Tcb<B> {
    state: State,
    agreed: Agreed,
    items: std::collections::VecDeque<Item<B>>,
}

impl<B: PacketBuf> Tcb<B> {
    /// A connection in ESTABLISHED, right after its handshake: SND.UNA = SND.NXT = ISS + 1, RCV.NXT = IRS + 1.
    #[must_use]
    pub fn new(agreed: &Agreed, now: Instant) -> Self {
        let _ = now;
        Self {
            state: State::Established,
            agreed: *agreed,
            items: std::collections::VecDeque::new(),
        }
    }

    /// Takes a segment of this connection (RFC 9293 3.10.7.4, RFC 5961, RFC 7323 5).
    pub fn input(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) -> Verdict {
        let _ = (cx, seg);
        Verdict::Dropped
    }

    /// The next payload in order, with the sequence number of its first octet.
    pub fn take(&mut self) -> Option<(SeqNum, Slice<B>)> {
        None
    }

    /// Whether the peer's FIN is next: all before it was taken. It is not acknowledged before [`Self::accept_fin`].
    #[must_use]
    pub fn fin_received(&self) -> bool {
        false
    }

    /// Acknowledges the peer's FIN, once [`Self::fin_received`]: RCV.NXT moves over it and the state changes.
    pub fn accept_fin(&mut self) {}

    /// Sets how many octets the owner can hold beyond what it has taken. The window's right edge never moves back; a
    /// window update is sent when it opened by two segments, or half of what was ever offered.
    pub fn set_recv_room(&mut self, bytes: u32) {
        let _ = bytes;
    }

    /// Makes an ACK due now.
    pub fn request_ack(&mut self) {}

    /// Largest payload of an item that carries `upper` octets of options beside TCP's own.
    #[must_use]
    pub fn max_payload(&self, upper: usize) -> usize {
        usize::from(self.agreed.smss).saturating_sub(upper)
    }

    /// Lowers the segment size because the path's MTU shrank (never raises it): what is queued is cut as it is sent.
    pub fn set_smss(&mut self, smss: u16) {
        self.agreed.smss = smss.min(self.agreed.smss);
    }

    /// Octets that would leave at once if they were pushed now: what congestion window and peer's window allow, less
    /// what is in flight, lost, or queued unsent.
    #[must_use]
    pub fn send_space(&self) -> u32 {
        0
    }

    /// Queues one segment. Ignored after [`Self::finish`] and when closed.
    pub fn push(&mut self, item: Item<B>) {
        self.items.push_back(item);
    }

    /// Queues payload, cut into items of [`Self::max_payload`]`(0)`.
    pub fn send(&mut self, payload: Slice<B>) {
        let _ = payload;
    }

    /// Queues a FIN after all that was pushed.
    pub fn finish(&mut self) {}

    /// Ends the connection at once: the reset to send, unless nobody waits for one.
    pub fn abort(&mut self, cx: &mut Cx<'_>) -> Option<OutSegment<B>> {
        let _ = cx;
        None
    }

    /// The next segment to send now; call until `None`. On segments that carry no item, `upper_space` octets of option
    /// space are left free for the layer above.
    pub fn output(&mut self, cx: &mut Cx<'_>, upper_space: usize) -> Option<OutSegment<B>> {
        let _ = (cx, upper_space);
        None
    }

    /// When [`Self::advance`] is due.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        None
    }

    /// Runs the timers that are due: retransmission, persist, delayed ACK, TIME-WAIT. Follow with [`Self::output`].
    pub fn advance(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// What is to be kept of a connection in TIME-WAIT, which its owner may then drop: a small value.
    #[must_use]
    pub fn time_wait(&self, now: Instant) -> Option<TimeWait> {
        (self.state == State::TimeWait).then(|| {
            TimeWait::new(
                now,
                TWO_MSL,
                (self.snd_nxt(), self.rcv_nxt()),
                self.agreed.ts,
                0,
            )
        })
    }

    /// Whether nothing is left: reset, aborted, timed out, or both FINs acknowledged and TIME-WAIT over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether we gave up: too many retransmissions or probes without an answer.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        false
    }

    /// Octets of payload queued, sent or not, that the peer has not acknowledged.
    #[must_use]
    pub fn queued(&self) -> usize {
        0
    }

    /// Octets of payload queued and never sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        0
    }

    /// SND.UNA: the oldest unacknowledged sequence number.
    #[must_use]
    pub fn snd_una(&self) -> SeqNum {
        self.agreed.iss
    }

    /// SND.NXT: the next sequence number to be sent for the first time.
    #[must_use]
    pub fn snd_nxt(&self) -> SeqNum {
        self.agreed.iss
    }

    /// RCV.NXT: the next sequence number expected.
    #[must_use]
    pub fn rcv_nxt(&self) -> SeqNum {
        self.agreed.irs
    }

    /// The sequence number that the next pushed octet will have.
    #[must_use]
    pub fn push_seq(&self) -> SeqNum {
        self.agreed.iss
    }

    /// The right edge of the peer's window: the first octet that it does not take.
    #[must_use]
    pub fn snd_wnd_edge(&self) -> SeqNum {
        self.agreed.iss
    }

    /// The right edge of the window that we have offered.
    #[must_use]
    pub fn rcv_wnd_edge(&self) -> SeqNum {
        self.agreed.irs
    }

    /// Shift of the windows that we announce: for owners that write their own into [`OutSegment::wnd`].
    #[must_use]
    pub fn rcv_wscale(&self) -> u8 {
        self.agreed.rcv_wscale
    }

    /// Shift of the windows that the peer announces.
    #[must_use]
    pub fn snd_wscale(&self) -> u8 {
        self.agreed.snd_wscale
    }

    /// SMSS: payload and TCP options per segment.
    #[must_use]
    pub fn smss(&self) -> u16 {
        self.agreed.smss
    }

    /// Smoothed round-trip time, once measured (RFC 6298).
    #[must_use]
    pub fn srtt(&self) -> Option<Duration> {
        None
    }

    /// Least round-trip time measured.
    #[must_use]
    pub fn min_rtt(&self) -> Option<Duration> {
        None
    }

    /// The retransmission timeout as it stands, backed off.
    #[must_use]
    pub fn rto(&self) -> Duration {
        Duration::from_secs(1)
    }

    /// Congestion window in octets.
    #[must_use]
    pub fn cwnd(&self) -> u32 {
        0
    }

    /// Slow start threshold in octets.
    #[must_use]
    pub fn ssthresh(&self) -> u32 {
        0
    }

    /// Octets sent and not acknowledged, SND.NXT - SND.UNA (RFC 5681 2).
    #[must_use]
    pub fn flight_size(&self) -> u32 {
        0
    }

    /// Whether a loss is being repaired: fast recovery, or after a retransmission timeout.
    #[must_use]
    pub fn in_recovery(&self) -> bool {
        false
    }

    /// Octets of payload that the peer has acknowledged.
    #[must_use]
    pub fn bytes_acked(&self) -> u64 {
        0
    }

    /// Octets of payload received in order.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        0
    }

    /// Segments sent more than once.
    #[must_use]
    pub fn retransmitted(&self) -> u64 {
        0
    }

    /// Retransmission timeouts in a row without an acknowledgment of new data.
    #[must_use]
    pub fn consecutive_rtos(&self) -> u32 {
        0
    }

    /// When the peer last acknowledged something new (or the connection began).
    #[must_use]
    pub fn last_progress(&self) -> Instant {
        Instant::ZERO
    }

    /// Payload held beyond a gap, in octets.
    #[must_use]
    pub fn out_of_order(&self) -> usize {
        0
    }

    /// Octets in order that were not taken yet.
    #[must_use]
    pub fn readable(&self) -> usize {
        0
    }
}
