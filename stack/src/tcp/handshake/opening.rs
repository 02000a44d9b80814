//! SYN-SENT (RFC 9293 3.10.7.3), without a [`Tcb`](crate::tcp::Tcb).

use super::{Accepting, Offer};
use crate::counters::Counter;
use crate::seq::SeqNum;
use crate::tcp::{Agreed, TsState, low32};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, OptBytes, Options, OutSegment, Segment, Timestamps};
use crate::{Cx, PacketBuf};

/// First wait for the answer before the SYN is due again (RFC 6298 2.1).
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// What a segment means to an [`Opening`].
#[derive(Debug)]
pub enum OpenVerdict<B> {
    /// The SYN+ACK, with what it offers: [`Opening::agreed`] has the outcome. No ACK was sent.
    Answered(Offer),
    /// The peer's own SYN, which crossed ours, with what it offers: [`Opening::crossed`] goes on from there, or the owner
    /// waits on.
    Crossed(Offer),
    /// The peer refused the connection with a reset.
    Refused,
    /// Nothing to do.
    Dropped,
    /// An answer to something that we did not send: send this reset, and go on waiting.
    Reset(OutSegment<B>),
}

/// SYN-SENT: a SYN is out, sent by us or forwarded for a host, until its SYN+ACK.
#[derive(Clone, Debug)]
pub struct Opening {
    sent_at: Instant,
    rtt: Option<Duration>,
    iss: SeqNum,
    irs: SeqNum,
    ours: Offer,
    answer: Option<Offer>,
    ts_offset: u32,
    sends: u8,
}

impl Opening {
    /// A SYN numbered `iss` that offers `ours`, which goes out at `now`: counts as its first transmission. Our timestamp
    /// clock reads `ours.ts.val` at `now` and goes on from there.
    #[must_use]
    pub fn new(iss: SeqNum, ours: &Offer, now: Instant) -> Self {
        let ts_offset = ours
            .ts
            .map_or(0, |ts| ts.val.wrapping_sub(low32(now.as_millis())));
        Self {
            sent_at: now,
            rtt: None,
            iss,
            irs: SeqNum(0),
            ours: *ours,
            answer: None,
            ts_offset,
            sends: 1,
        }
    }

    /// Notes that the SYN goes out once more, by whatever hand: its round trip can no longer be measured (RFC 6298 3).
    pub const fn sent_again(&mut self, now: Instant) {
        self.sends = self.sends.saturating_add(1);
        self.sent_at = now;
    }

    /// The SYN itself, with `upper` as option 30, for owners that forward none. Counts nothing.
    #[must_use]
    pub fn syn<B: PacketBuf>(&self, now: Instant, upper: OptBytes) -> OutSegment<B> {
        let options = Options {
            mss: self.ours.mss,
            wscale: self.ours.wscale,
            sack_permitted: self.ours.sack,
            ts: self.ours.ts.map(|_| Timestamps {
                val: low32(now.as_millis()).wrapping_add(self.ts_offset),
                ecr: 0,
            }),
            mptcp: upper,
            ..Options::default()
        };
        OutSegment {
            seq: self.iss,
            ack: SeqNum(0),
            flags: if self.ours.ecn {
                Flags::SYN.with(Flags::ECE).with(Flags::CWR)
            } else {
                Flags::SYN
            },
            wnd: self.ours.wnd,
            ect: false,
            options,
            payload: None,
        }
    }

    /// When the SYN is due again: after 1 s, doubling (RFC 6298 5). `None` once answered.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let doublings = u32::from(self.sends.saturating_sub(1).min(6));
        self.answer
            .is_none()
            .then(|| self.sent_at + FIRST_WAIT * (1 << doublings))
    }

    /// How often the SYN was sent.
    #[must_use]
    pub const fn sends(&self) -> u8 {
        self.sends
    }

    /// Our initial sequence number.
    #[must_use]
    pub const fn iss(&self) -> SeqNum {
        self.iss
    }

    /// Takes a segment from the peer (RFC 9293 3.10.7.3). The SYN+ACK again, while its ACK is held back, is `Dropped`.
    pub fn input<B: PacketBuf>(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) -> OpenVerdict<B> {
        if self.answer.is_some() {
            return self.input_answered(cx, seg);
        }
        // First: the ACK bit.
        let acked = seg.flags.has(Flags::ACK);
        if acked && seg.ack != self.iss + 1 {
            cx.counters.count(Counter::TcpDropAck);
            return match crate::tcp::reset_for(seg) {
                Some(reset) => {
                    cx.counters.count(Counter::TcpResetSent);
                    OpenVerdict::Reset(reset)
                },
                None => OpenVerdict::Dropped,
            };
        }
        // Second: the RST bit.
        if seg.flags.has(Flags::RST) {
            if !acked {
                return OpenVerdict::Dropped;
            }
            cx.counters.count(Counter::TcpResetReceived);
            return OpenVerdict::Refused;
        }
        // Fourth: the SYN bit.
        if !seg.flags.has(Flags::SYN) {
            return OpenVerdict::Dropped;
        }
        let offer = Offer::of(seg);
        if !acked {
            return OpenVerdict::Crossed(offer);
        }
        self.irs = seg.seq;
        self.rtt = (self.sends == 1).then(|| cx.now.since(self.sent_at));
        self.answer = Some(offer);
        OpenVerdict::Answered(offer)
    }

    /// SYN-RECEIVED after an active open: the peer's `syn` crossed ours (RFC 9293 3.5, MUST-10). Its SYN+ACK, to be sent
    /// next, has the number and the offer of our SYN; `smss` is what [`Offer::smss`] of the peer's offer says.
    #[must_use]
    pub fn crossed<B: PacketBuf>(&self, syn: &Segment<B>, smss: u16, now: Instant) -> Accepting {
        let clock = low32(now.as_millis()).wrapping_add(self.ts_offset);
        let ours = Offer {
            ts: self.ours.ts.map(|_| Timestamps { val: clock, ecr: 0 }),
            ..self.ours
        };
        let peer = Offer::of(syn);
        Accepting::new(self.iss, syn.seq, &peer, &ours, smss, now).after_active_open(self.sends > 1)
    }

    /// Between the SYN+ACK and the owner's making a `Tcb`, only a reset at exactly RCV.NXT matters (RFC 5961 3.2).
    fn input_answered<B: PacketBuf>(&self, cx: &mut Cx<'_>, seg: &Segment<B>) -> OpenVerdict<B> {
        if seg.flags.has(Flags::RST) && seg.seq == self.irs + 1 {
            cx.counters.count(Counter::TcpResetReceived);
            return OpenVerdict::Refused;
        }
        OpenVerdict::Dropped
    }

    /// What was agreed, once answered; `smss` is what [`Offer::smss`] of the answer says.
    #[must_use]
    pub fn agreed(&self, smss: u16) -> Option<Agreed> {
        let answer = self.answer.as_ref()?;
        let scales = self.ours.wscale.zip(answer.wscale);
        Some(Agreed {
            iss: self.iss,
            irs: self.irs,
            smss,
            snd_wnd: u32::from(answer.wnd),
            snd_wscale: scales.map_or(0, |(_, peer)| peer),
            rcv_wscale: scales.map_or(0, |(ours, _)| ours),
            rcv_wnd: u32::from(self.ours.wnd),
            sack: self.ours.sack && answer.sack,
            ts: self.ours.ts.and(answer.ts).map(|ts| TsState {
                recent: ts.val,
                offset: self.ts_offset,
            }),
            ecn: self.ours.ecn && answer.ecn,
            rtt: self.rtt,
            syn_lost: self.sends > 1,
        })
    }
}
