//! SYN-RECEIVED (RFC 9293 3.10.7.4), without a [`Tcb`](crate::tcp::Tcb).

use super::Offer;
use crate::counters::Counter;
use crate::seq::SeqNum;
use crate::tcp::challenge_ack::ChallengeAcks;
use crate::tcp::{Agreed, TsState, low32};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, OptBytes, Options, OutSegment, Segment, Timestamps};
use crate::{Cx, PacketBuf};

/// First wait for the third ACK before the SYN+ACK is sent again (RFC 6298 2.1).
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// What a segment means to an [`Accepting`].
#[derive(Debug)]
pub enum AcceptVerdict<B> {
    /// The peer's third ACK, or its first data, or its SYN+ACK if SYNs crossed: make a `Tcb` of it and give it this same
    /// segment.
    Established(Agreed),
    /// The peer's SYN again: send the SYN+ACK again.
    Resend,
    /// Send this; the handshake is still pending.
    Answer(OutSegment<B>),
    /// The peer gave up, or refused us if SYNs crossed: forget it.
    Reset,
    /// Nothing to do.
    Dropped,
}

/// SYN-RECEIVED: we know the peer's SYN and answer it, once or several times, until the third ACK.
#[derive(Clone, Debug)]
pub struct Accepting {
    sent_at: Instant,
    iss: SeqNum,
    irs: SeqNum,
    rcv_wnd: u32,
    ts_recent: u32,
    ts_offset: u32,
    challenges: ChallengeAcks,
    smss: u16,
    mss: u16,
    snd_wscale: u8,
    rcv_wscale: u8,
    sends: u8,
    has_wscale: bool,
    has_sack: bool,
    has_ts: bool,
    has_ecn: bool,
    /// Whether the peer's SYN crossed one of ours, and whether that was sent more than once by then.
    crossed: bool,
    syn_lost: bool,
}

const _: () = assert!(size_of::<Accepting>() <= 64, "SYN floods multiply this");

impl Accepting {
    /// Accepts the SYN numbered `irs` that offered `peer`, with our own `iss`, offering `ours`: window scale, SACK and
    /// timestamps are used only if both sides offer them. `ours.ts.val` is our clock's reading at `now`, `ours.wnd` the
    /// window, `smss` what [`Offer::smss`] says.
    #[must_use]
    pub fn new(
        iss: SeqNum,
        irs: SeqNum,
        peer: &Offer,
        ours: &Offer,
        smss: u16,
        now: Instant,
    ) -> Self {
        let scales = peer.wscale.zip(ours.wscale);
        let clocks = peer.ts.zip(ours.ts);
        Self {
            sent_at: now,
            iss,
            irs,
            rcv_wnd: u32::from(ours.wnd),
            ts_recent: clocks.map_or(0, |(peer, _)| peer.val),
            ts_offset: clocks.map_or(0, |(_, ours)| ours.val.wrapping_sub(low32(now.as_millis()))),
            challenges: ChallengeAcks::default(),
            smss,
            mss: ours.mss.unwrap_or(0),
            snd_wscale: scales.map_or(0, |(peer, _)| peer),
            rcv_wscale: scales.map_or(0, |(_, ours)| ours),
            sends: 0,
            has_wscale: scales.is_some(),
            has_sack: peer.sack && ours.sack,
            has_ts: clocks.is_some(),
            has_ecn: peer.ecn && ours.ecn,
            crossed: false,
            syn_lost: false,
        }
    }

    /// Turns it into SYN-RECEIVED after an active open (RFC 9293 MUST-11): the SYN numbered as ours left already, `lost` if
    /// more than once.
    pub(super) const fn after_active_open(mut self, lost: bool) -> Self {
        self.crossed = true;
        self.syn_lost = lost;
        self
    }

    /// Our SYN+ACK, with `upper` as option 30. Each call counts as one transmission and restarts the wait.
    pub fn syn_ack<B: PacketBuf>(&mut self, now: Instant, upper: OptBytes) -> OutSegment<B> {
        self.sends = self.sends.saturating_add(1);
        self.sent_at = now;
        let options = Options {
            mss: (self.mss != 0).then_some(self.mss),
            wscale: self.has_wscale.then_some(self.rcv_wscale),
            sack_permitted: self.has_sack,
            ts: self.timestamps(now),
            mptcp: upper,
            ..Options::default()
        };
        OutSegment {
            seq: self.iss,
            ack: self.irs + 1,
            flags: if self.has_ecn {
                Flags::SYN.with(Flags::ACK).with(Flags::ECE)
            } else {
                Flags::SYN.with(Flags::ACK)
            },
            ect: false,
            wnd: u16::try_from(self.rcv_wnd).unwrap_or(u16::MAX),
            options,
            payload: None,
        }
    }

    /// When the SYN+ACK is due again: after 1 s, doubling (RFC 6298 5). `None` before the first.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let doublings = u32::from(self.sends.checked_sub(1)?.min(6));
        Some(self.sent_at + FIRST_WAIT * (1 << doublings))
    }

    /// How often the SYN+ACK was sent.
    #[must_use]
    pub const fn sends(&self) -> u8 {
        self.sends
    }

    /// Our initial sequence number.
    #[must_use]
    pub const fn iss(&self) -> SeqNum {
        self.iss
    }

    /// Takes the next segment of this tuple (RFC 9293 3.10.7.4 for SYN-RECEIVED, RFC 5961).
    pub fn third_ack<B: PacketBuf>(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment<B>,
    ) -> AcceptVerdict<B> {
        let rcv_nxt = self.irs + 1;
        let reset = seg.flags.has(Flags::RST);
        if seg.flags.has(Flags::SYN) && seg.seq == self.irs && !reset {
            let acked = seg.flags.has(Flags::ACK);
            // The peer did not see our answer and sends its SYN again: so do we.
            if !acked {
                return AcceptVerdict::Resend;
            }
            // RFC 9293 3.5, figure 7, line 6: its answer to our SYN that crossed its own.
            if self.crossed && seg.ack == self.iss + 1 {
                return AcceptVerdict::Established(self.agreed(cx.now, seg));
            }
        }
        // RFC 7323 5.3 R1: an old timestamp is answered and dropped, except on a reset.
        if let (true, false, Some(ts)) = (self.has_ts, reset, seg.options.ts)
            && SeqNum(ts.val) < SeqNum(self.ts_recent)
        {
            cx.counters.count(Counter::TcpDropPaws);
            return self.challenge(cx);
        }
        // First: the sequence number. A reset stands where its own number does, whatever text it carries.
        if !self.is_acceptable(seg, if reset { 0 } else { seg.seq_len() }) {
            cx.counters.count(Counter::TcpDropWindow);
            return if reset {
                AcceptVerdict::Dropped
            } else {
                self.challenge(cx)
            };
        }
        // Second: RST counts only at exactly RCV.NXT (RFC 5961 3.2).
        if reset {
            if seg.seq == rcv_nxt {
                cx.counters.count(Counter::TcpResetReceived);
                return AcceptVerdict::Reset;
            }
            return self.challenge(cx);
        }
        // Fourth: SYN (RFC 5961 4.2).
        if seg.flags.has(Flags::SYN) {
            return self.challenge(cx);
        }
        // Fifth: ACK.
        if !seg.flags.has(Flags::ACK) {
            return AcceptVerdict::Dropped;
        }
        if seg.ack != self.iss + 1 {
            cx.counters.count(Counter::TcpDropAck);
            cx.counters.count(Counter::TcpResetSent);
            return crate::tcp::reset_for(seg)
                .map_or(AcceptVerdict::Dropped, AcceptVerdict::Answer);
        }
        AcceptVerdict::Established(self.agreed(cx.now, seg))
    }

    /// RFC 9293 3.4, table 6. With a closed window, a segment at RCV.NXT is let through for its ACK and RST.
    fn is_acceptable<B: PacketBuf>(&self, seg: &Segment<B>, len: u32) -> bool {
        let rcv_nxt = self.irs + 1;
        seg.seq == rcv_nxt
            || seg.seq.within(rcv_nxt, self.rcv_wnd)
            || (len > 0 && (seg.seq + (len - 1)).within(rcv_nxt, self.rcv_wnd))
    }

    fn agreed<B: PacketBuf>(&self, now: Instant, seg: &Segment<B>) -> Agreed {
        // RFC 7323 2.2: the window of a segment with SYN is never scaled.
        let shift = if seg.flags.has(Flags::SYN) {
            0
        } else {
            self.snd_wscale
        };
        Agreed {
            iss: self.iss,
            irs: self.irs,
            smss: self.smss,
            snd_wnd: u32::from(seg.wnd) << shift,
            snd_wscale: self.snd_wscale,
            rcv_wscale: self.rcv_wscale,
            rcv_wnd: self.rcv_wnd,
            sack: self.has_sack,
            ts: self.has_ts.then_some(TsState {
                recent: self.ts_recent,
                offset: self.ts_offset,
            }),
            ecn: self.has_ecn,
            // Karn: only an answer to the one SYN+ACK measures the round trip (RFC 6298 3). Where SYNs crossed it may be one
            // to our SYN.
            rtt: (self.sends == 1 && !self.crossed).then(|| now.since(self.sent_at)),
            syn_lost: self.syn_lost || self.sends > 1,
        }
    }

    fn challenge<B: PacketBuf>(&mut self, cx: &mut Cx<'_>) -> AcceptVerdict<B> {
        if !self.challenges.allow(cx) {
            return AcceptVerdict::Dropped;
        }
        AcceptVerdict::Answer(OutSegment {
            seq: self.iss + 1,
            ack: self.irs + 1,
            flags: Flags::ACK,
            ect: false,
            wnd: u16::try_from(self.rcv_wnd >> self.rcv_wscale).unwrap_or(u16::MAX),
            options: Options {
                ts: self.timestamps(cx.now),
                ..Options::default()
            },
            payload: None,
        })
    }

    fn timestamps(&self, now: Instant) -> Option<Timestamps> {
        self.has_ts.then(|| Timestamps {
            val: low32(now.as_millis()).wrapping_add(self.ts_offset),
            ecr: self.ts_recent,
        })
    }
}
