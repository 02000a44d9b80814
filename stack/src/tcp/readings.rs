//! What an owner, a scheduler or an operator may want to know of a connection.

use super::congestion::CongestionControl;
use super::{State, Tcb};
use crate::PacketBuf;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

impl<B: PacketBuf> Tcb<B> {
    /// The state.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// Whether nothing is left: reset, aborted, timed out, or both FINs acknowledged and TIME-WAIT over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Whether we gave up: too many retransmissions or probes without an answer.
    #[must_use]
    pub const fn timed_out(&self) -> bool {
        self.timed_out
    }

    /// Octets of payload queued, sent or not, that the peer has not acknowledged.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.snd.queue.payload() as usize
    }

    /// Segments queued that the peer has not acknowledged: each pins at least one packet buffer, however short it is.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.snd.queue.entries()
    }

    /// Octets of payload queued and never sent.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.snd.queue.unsent_payload() as usize
    }

    /// SND.UNA: the oldest unacknowledged sequence number.
    #[must_use]
    pub const fn snd_una(&self) -> SeqNum {
        self.snd.queue.una()
    }

    /// SND.NXT: the next sequence number to be sent for the first time.
    #[must_use]
    pub const fn snd_nxt(&self) -> SeqNum {
        self.snd.queue.nxt()
    }

    /// RCV.NXT: the next sequence number expected.
    #[must_use]
    pub fn rcv_nxt(&self) -> SeqNum {
        self.rcv.nxt()
    }

    /// The sequence number that the next pushed octet will have, or that of our FIN.
    #[must_use]
    pub fn push_seq(&self) -> SeqNum {
        self.snd.queue.payload_end()
    }

    /// Whether our FIN was sent.
    #[must_use]
    pub fn fin_sent(&self) -> bool {
        self.snd.queue.fin_sent()
    }

    /// The right edge of the peer's window: the first octet that it does not take.
    #[must_use]
    pub fn snd_wnd_edge(&self) -> SeqNum {
        self.snd.wnd_edge()
    }

    /// Shift of the windows that we announce: for owners that write their own into
    /// [`OutSegment::wnd`](crate::wire::tcp::OutSegment::wnd).
    #[must_use]
    pub const fn rcv_wscale(&self) -> u8 {
        self.rcv.window.wscale()
    }

    /// Shift of the windows that the peer announces.
    #[must_use]
    pub const fn snd_wscale(&self) -> u8 {
        self.snd.wscale
    }

    /// SMSS: payload and TCP options per segment.
    #[must_use]
    pub const fn smss(&self) -> u16 {
        self.snd.smss
    }

    /// Smoothed round-trip time, once measured (RFC 6298).
    #[must_use]
    pub fn srtt(&self) -> Option<Duration> {
        self.snd.rtt.srtt()
    }

    /// Variation of the round-trip time (RFC 6298); zero before the first measurement.
    #[must_use]
    pub fn rttvar(&self) -> Duration {
        self.snd.rtt.rttvar()
    }

    /// Least round-trip time measured.
    #[must_use]
    pub fn min_rtt(&self) -> Option<Duration> {
        self.snd.rtt.min_rtt()
    }

    /// The retransmission timeout as it stands, backed off.
    #[must_use]
    pub fn rto(&self) -> Duration {
        self.snd.rtt.rto()
    }

    /// Congestion window in octets.
    #[must_use]
    pub fn cwnd(&self) -> u32 {
        self.snd.cc.cwnd()
    }

    /// Slow start threshold in octets.
    #[must_use]
    pub fn ssthresh(&self) -> u32 {
        self.snd.cc.ssthresh()
    }

    /// Octets sent and not acknowledged, SND.NXT - SND.UNA (RFC 5681 2).
    #[must_use]
    pub fn flight_size(&self) -> u32 {
        self.snd.queue.flight()
    }

    /// Segments sent that SACK blocks report and no acknowledgment covers.
    #[must_use]
    pub fn sacked(&self) -> u32 {
        self.snd.queue.sacked()
    }

    /// Whether a loss is being repaired: fast recovery, or after a retransmission timeout.
    #[must_use]
    pub fn in_recovery(&self) -> bool {
        self.snd.in_recovery()
    }

    /// Octets of payload that the peer has acknowledged.
    #[must_use]
    pub const fn bytes_acked(&self) -> u64 {
        self.snd.octets_acked
    }

    /// Octets of payload received in order.
    #[must_use]
    pub const fn bytes_received(&self) -> u64 {
        self.rcv.octets
    }

    /// Octets known to have arrived, by acknowledgment, SACK or (without SACK) duplicate ACK. Wraps.
    #[must_use]
    pub const fn delivered(&self) -> u32 {
        self.snd.delivered
    }

    /// Whether the congestion window was in use when what was acknowledged last was sent (RFC 7661 3).
    #[must_use]
    pub fn is_cwnd_limited(&self) -> bool {
        self.snd_una() <= self.snd.limited_until
    }

    /// Segments sent more than once.
    #[must_use]
    pub fn retransmitted(&self) -> u64 {
        u64::from(self.snd.resends)
    }

    /// Retransmission timeouts in a row without an acknowledgment of new data.
    #[must_use]
    pub fn consecutive_rtos(&self) -> u32 {
        u32::from(self.snd.consecutive_rtos)
    }

    /// When the peer last acknowledged something new (or the connection began).
    #[must_use]
    pub const fn last_progress(&self) -> Instant {
        self.snd.last_progress
    }

    /// Payload held beyond a gap, in octets.
    #[must_use]
    pub fn out_of_order(&self) -> usize {
        self.rcv.queue.octets_beyond()
    }

    /// Slices received that were not taken, in order or beyond a gap: each pins a packet buffer, however short it is.
    #[must_use]
    pub fn pieces_in(&self) -> usize {
        self.rcv.queue.pieces()
    }

    /// Octets in order that were not taken yet.
    #[must_use]
    pub fn readable(&self) -> usize {
        (self.rcv.queue.nxt() - self.rcv.queue.taken()) as usize
    }
}
