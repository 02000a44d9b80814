//! The transmission control block: one connection from ESTABLISHED on (RFC 9293 3.3.1).

use super::State;
use super::challenge_ack::ChallengeAcks;
use super::congestion::{Algorithm, Congestion, CongestionControl, Share};
use super::keepalive::Keepalive;
use super::low32;
use super::rare::Rare;
use super::recv::Receiver;
use super::send::Sender;
use super::time_wait::{TWO_MSL, TimeWait};
use super::timers::{DELAYED_ACK, Timer, Timers};
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{OPTIONS_MAX, OptBytes, Timestamps};
use crate::{PacketBuf, Slice};

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
    /// Whether both sides answer congestion marks (RFC 3168 6.1.1).
    pub ecn: bool,
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
            ecn: false,
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
    pub payload: Slice<B>,
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

/// Octets of the timestamps option with its padding (RFC 7323 appendix A).
pub(super) const TS_LEN: usize = 12;

/// One connection. See the [module](super) for the order of calls.
#[derive(Clone, Debug)]
pub struct Tcb<B> {
    pub(super) state: State,
    pub(super) timed_out: bool,
    pub(super) has_ts: bool,
    pub(super) ts: TsState,
    /// When TS.Recent was last renewed, in seconds (RFC 7323 5.5).
    pub(super) ts_recent_age: u32,
    /// Last.ACK.sent (RFC 7323 4.3).
    pub(super) last_ack_sent: SeqNum,
    pub(super) challenges: ChallengeAcks,
    /// Where the owner asked for probes: every leg of a relay's first path.
    pub(super) keepalive: Option<Keepalive>,
    /// `None` unless something of it is used.
    pub(super) rare: Option<Box<Rare>>,
    pub(super) timers: Timers,
    pub(super) snd: Sender<B>,
    pub(super) rcv: Receiver<B>,
}

impl<B: PacketBuf> Tcb<B> {
    /// A connection in ESTABLISHED, right after its handshake: SND.UNA = SND.NXT = ISS + 1, RCV.NXT = IRS + 1.
    #[must_use]
    pub fn new(agreed: &Agreed, now: Instant) -> Self {
        let rcv_nxt = agreed.irs + 1;
        Self {
            state: State::Established,
            timed_out: false,
            has_ts: agreed.ts.is_some(),
            ts: agreed.ts.unwrap_or(TsState {
                recent: 0,
                offset: 0,
            }),
            ts_recent_age: seconds(now),
            last_ack_sent: rcv_nxt,
            challenges: ChallengeAcks::default(),
            keepalive: None,
            rare: agreed.ecn.then(Rare::with_ecn),
            timers: Timers::default(),
            snd: Sender::new(agreed, now),
            rcv: Receiver::new(rcv_nxt, agreed.rcv_wnd, agreed.rcv_wscale),
        }
    }

    /// Chooses how much may be in flight, for a connection that has sent nothing yet; it begins with NewReno.
    pub fn set_congestion(&mut self, algorithm: Algorithm) {
        self.snd.cc = Congestion::new(algorithm, self.snd.cc.cwnd());
        if algorithm == Algorithm::Bbr {
            self.set_pacing();
        }
    }

    /// Has the processor fetch its queues, once the connection itself is there.
    pub fn prefetch_queues(&self) {
        self.rcv.queue.prefetch();
        self.snd.queue.prefetch();
    }

    /// The next payload in order, with the sequence number of its first octet.
    pub fn take(&mut self) -> Option<(SeqNum, Slice<B>)> {
        self.rcv.queue.take()
    }

    /// Whether the peer's FIN is next: all before it was taken. It is not acknowledged before [`Self::accept_fin`].
    #[must_use]
    pub fn fin_received(&self) -> bool {
        self.rcv.fin_is_next() && self.rcv.queue.taken() == self.rcv.queue.nxt()
    }

    /// Acknowledges the peer's FIN, once [`Self::fin_received`]: RCV.NXT moves over it and the state changes. Does nothing
    /// otherwise.
    pub fn accept_fin(&mut self) {
        if !self.fin_received() {
            return;
        }
        self.rcv.fin_accepted = true;
        self.rcv.ack.request();
        // RFC 9293 3.10.7.4, eighth.
        match self.state {
            State::Established => self.state = State::CloseWait,
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => self.enter_time_wait(),
            State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait
            | State::Closed => {},
        }
    }

    /// Sets how many octets the owner can hold from the first one on that it has not taken. The window's right edge never
    /// moves back; a window update is sent when it opened by two segments, or by half of the largest window offered.
    pub fn set_recv_room(&mut self, bytes: u32) {
        let window = &mut self.rcv.window;
        window.set_room(self.rcv.queue.taken(), bytes);
        if window.update_due(self.rcv.queue.nxt(), u32::from(self.rcv.mss))
            && self.rcv.fin.is_none()
        {
            self.rcv.ack.request();
        }
    }

    /// Makes an ACK due now.
    pub fn request_ack(&mut self) {
        self.rcv.ack.request();
    }

    /// Has the peer told at once what the window field of a handshake could not say, and not with the first ACK of its data.
    pub const fn tell_window(&mut self) {
        self.rcv.window.tell();
    }

    /// Has what came acknowledged by the next segment that leaves, or by an ACK of its own after as long as one may wait.
    pub fn delay_ack(&mut self, now: Instant) {
        if !self.rcv.ack.is_due() && !self.timers.is_set(Timer::DelayedAck) {
            self.timers.set(Timer::DelayedAck, now + DELAYED_ACK);
        }
    }

    /// Largest payload of an item that carries `upper` octets of options beside TCP's own, padding included.
    #[must_use]
    pub fn max_payload(&self, upper: usize) -> usize {
        payload_max(self.snd.smss, self.ts_len(), upper)
    }

    /// Octets of options in a segment that carries `upper` octets of them beside TCP's own, padding included.
    #[must_use]
    pub fn options_len(&self, upper: usize) -> usize {
        (self.ts_len() + upper.next_multiple_of(4)).min(OPTIONS_MAX)
    }

    /// Lowers the segment size because the path's MTU shrank (never raises it): what is queued is cut as it is sent, and
    /// what travels and is larger is sent again at once (RFC 1191 6.5).
    pub fn set_smss(&mut self, smss: u16) {
        let smss = smss.max(64);
        self.bound_old_size(smss);
        if smss < self.snd.smss {
            // What is marked lost now did not pass, whatever an earlier timeout was for.
            self.snd.end_frto();
        }
        self.lower_smss(smss);
    }

    pub(super) fn lower_smss(&mut self, smss: u16) {
        if smss < self.snd.smss {
            self.snd.smss = smss;
            let ts_len = self.ts_len();
            let max = |upper| payload_max(smss, ts_len, upper);
            self.snd.queue.mark_longer_lost(max);
        }
    }

    /// Lets the congestion window grow and shrink by `share` from now on, as it is one of several of a connection's.
    pub fn couple(&mut self, share: Share) {
        self.snd.cc.couple(share);
    }

    /// Lowers the congestion window as a loss would, because what travels here holds up what the owner sends elsewhere.
    pub fn penalise(&mut self) {
        if !self.snd.in_recovery() {
            self.snd
                .cc
                .on_loss(self.snd.queue.flight(), self.snd.smss());
            self.snd.cc.set_cwnd(self.snd.cc.ssthresh());
        }
    }

    /// Octets that would leave at once if they were pushed now: what congestion window and peer's window allow, less
    /// what is in flight, lost, or queued unsent.
    #[must_use]
    pub fn send_space(&self) -> u32 {
        if self.is_sending() && !self.snd.queue.fin_queued() {
            self.snd.space()
        } else {
            0
        }
    }

    /// The owner has data for the peer that waits for nothing but its window, and leaves it with nobody else: where that is closed
    /// and nothing is queued, the peer is probed as it would be with data queued (RFC 9293 3.8.6.1), once for each call.
    pub fn ask_window(&mut self, now: Instant) {
        if !self.is_sending() || self.queued() > 0 || self.snd.usable_wnd() > 0 {
            return;
        }
        self.rare.get_or_insert_default().asks_window = true;
        if !self.timers.is_set(Timer::Persist) {
            let at = now + self.snd.persist_interval();
            self.timers.set(Timer::Persist, at);
        }
    }

    /// Queues one segment. Ignored when empty, after [`Self::finish`], and when closed.
    #[inline(always)]
    pub fn push(&mut self, item: Item<B>) {
        if self.is_sending() {
            self.snd.queue.push(item);
        }
    }

    /// Queues payload, cut into items of [`Self::max_payload`]`(0)`.
    pub fn send(&mut self, payload: Slice<B>) {
        let (max, len) = (self.max_payload(0), payload.len());
        if len <= max {
            return self.push(plain_item(payload, true));
        }
        for from in (0..len).step_by(max) {
            let to = (from + max).min(len);
            self.push(plain_item(payload.hand_on().narrow(from..to), to == len));
        }
    }

    /// Queues a FIN after all that was pushed.
    pub fn finish(&mut self) {
        // RFC 9293 3.10.4.
        self.state = match self.state {
            State::Established => State::FinWait1,
            State::CloseWait => State::LastAck,
            _ => return,
        };
        self.snd.queue.finish();
    }

    /// The payload that makes up [`Self::queued`], the oldest first, for who moves it elsewhere: its octets stay the same.
    pub fn queued_mut(&mut self) -> impl Iterator<Item = &mut Slice<B>> {
        self.snd.queue.payload_mut()
    }

    /// The payload that was received and not taken, in order and beyond gaps, for who moves it elsewhere: its octets stay the same.
    pub fn received_mut(&mut self) -> impl Iterator<Item = &mut Slice<B>> {
        self.rcv.queue.payload_mut()
    }

    /// Whether data may still be queued or resent.
    pub(super) const fn is_sending(&self) -> bool {
        !matches!(self.state, State::Closed | State::TimeWait)
    }

    pub(super) const fn ts_len(&self) -> usize {
        if self.has_ts { TS_LEN } else { 0 }
    }

    pub(super) fn timestamps(&self, now: Instant) -> Option<Timestamps> {
        self.has_ts.then(|| Timestamps {
            val: low32(now.as_millis()).wrapping_add(self.ts.offset),
            ecr: self.ts.recent,
        })
    }

    /// Nothing is left to do: CLOSED.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
        self.timers = Timers::default();
        self.snd.queue.clear();
        self.rcv.queue.drop_beyond();
    }

    /// Both FINs are acknowledged. The wait begins with the next [`Self::output`], which knows the time.
    pub(super) fn enter_time_wait(&mut self) {
        self.state = State::TimeWait;
        self.timers = Timers::default();
        self.snd.queue.clear();
        self.rcv.queue.drop_beyond();
    }

    /// What is to be kept of a connection in TIME-WAIT, which its owner may then drop: a small value.
    #[must_use]
    pub fn time_wait(&self, now: Instant) -> Option<TimeWait> {
        self.time_wait_of(now, TWO_MSL, self.rcv.wnd())
    }

    /// The same, for the time `wait` and with a window of `wnd` octets.
    #[must_use]
    pub fn time_wait_of(&self, now: Instant, wait: Duration, wnd: u32) -> Option<TimeWait> {
        (self.state == State::TimeWait).then(|| {
            let wnd = u16::try_from(wnd >> self.rcv.window.wscale());
            TimeWait::new(
                now,
                wait,
                (self.snd_nxt(), self.rcv_nxt()),
                self.has_ts.then_some(self.ts),
                wnd.unwrap_or(u16::MAX),
            )
        })
    }
}

/// Largest payload beside timestamps of `ts_len` octets and `upper` octets of other options. Where both do not fit
/// aligned, timestamps go unpadded.
fn payload_max(smss: u16, ts_len: usize, upper: usize) -> usize {
    let options = (ts_len + upper.next_multiple_of(4)).min(OPTIONS_MAX);
    usize::from(smss).saturating_sub(options).max(1)
}

/// An item without options.
const fn plain_item<B: PacketBuf>(payload: Slice<B>, psh: bool) -> Item<B> {
    Item {
        payload,
        upper: OptBytes::new(),
        psh,
    }
}

/// Whole seconds since the start of time.
pub(super) fn seconds(now: Instant) -> u32 {
    low32(now.as_millis() / 1000)
}
