//! TIME-WAIT in few octets: answers old duplicates until they have died out (RFC 9293 3.6, RFC 1337).

use super::challenge_ack::ChallengeAcks;
use super::{TsState, low32};
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, Options, OutSegment, Segment, Timestamps};
use crate::{Cx, PacketBuf};

/// Twice the maximum segment lifetime, as hosts commonly have it (RFC 9293 3.4.2 leaves the MSL to us).
pub const TWO_MSL: Duration = Duration::from_secs(60);

/// What is left of a connection in TIME-WAIT: enough to acknowledge a retransmitted FIN.
#[derive(Clone, Debug)]
pub struct TimeWait {
    deadline: Instant,
    wait_ms: u32,
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    ts: Option<TsState>,
    challenges: ChallengeAcks,
    wnd: u16,
}

const _: () = assert!(
    size_of::<TimeWait>() <= 56,
    "closed connections multiply this"
);

impl TimeWait {
    pub(super) fn new(
        now: Instant,
        wait: Duration,
        (snd_nxt, rcv_nxt): (SeqNum, SeqNum),
        ts: Option<TsState>,
        wnd: u16,
    ) -> Self {
        Self {
            deadline: now + wait,
            wait_ms: u32::try_from(wait.as_millis()).unwrap_or(u32::MAX),
            snd_nxt,
            rcv_nxt,
            ts,
            challenges: ChallengeAcks::default(),
            wnd,
        }
    }

    /// When the tuple is free again.
    #[must_use]
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The sequence number after all that we sent: who takes the tuple over begins beyond it.
    #[must_use]
    pub const fn used(&self) -> SeqNum {
        self.snd_nxt
    }

    /// Whether `seg` is a SYN of a new incarnation that may take the tuple over at once: a later timestamp, or without
    /// timestamps a later sequence number (RFC 6191 2, RFC 9293 3.6.1).
    ///
    /// RFC 6191 takes any SYN if the new incarnation will use timestamps and the old one did not. Whether it will is not
    /// known before the far end has answered, and the old one's answer makes it unlikely: its number must be later then.
    #[must_use]
    pub fn gives_way_to<B: PacketBuf>(&self, seg: &Segment<B>) -> bool {
        if !seg.flags.has(Flags::SYN) || seg.flags.has(Flags::ACK) || seg.flags.has(Flags::RST) {
            return false;
        }
        match (self.ts, seg.options.ts) {
            (Some(ours), Some(ts)) if ts.val != ours.recent => SeqNum(ts.val) > SeqNum(ours.recent),
            _ => seg.seq > self.rcv_nxt,
        }
    }

    /// Takes a segment of the old connection: a reset is ignored (RFC 1337 3 F1), whatever else occupies sequence space
    /// or is out of place is answered with an ACK, and a FIN restarts the wait (RFC 9293 3.10.7.4).
    pub fn input<B: PacketBuf>(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment<B>,
    ) -> Option<OutSegment<B>> {
        self.input_asking(cx, seg, false)
    }

    /// The same of a segment that asks for an ACK in any case, if `asks`: to the layer above it means more.
    pub fn input_asking<B: PacketBuf>(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment<B>,
        asks: bool,
    ) -> Option<OutSegment<B>> {
        if seg.flags.has(Flags::RST) {
            return None;
        }
        let in_place = seg.seq == self.rcv_nxt && seg.ack == self.snd_nxt;
        if seg.seq_len() == 0 && in_place && !asks {
            return None;
        }
        let fin = seg.flags.has(Flags::FIN) && !seg.flags.has(Flags::SYN);
        if fin && seg.seq + seg.seq_len() == self.rcv_nxt {
            self.deadline = cx.now + Duration::from_millis(u64::from(self.wait_ms));
        }
        self.challenges.allow(cx).then(|| self.ack(cx.now))
    }

    /// The last ACK, to be sent again.
    #[must_use]
    pub fn ack<B: PacketBuf>(&self, now: Instant) -> OutSegment<B> {
        OutSegment {
            ect: false,
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            flags: Flags::ACK,
            wnd: self.wnd,
            options: Options {
                ts: self.ts.map(|ts| Timestamps {
                    val: low32(now.as_millis()).wrapping_add(ts.offset),
                    ecr: ts.recent,
                }),
                ..Options::default()
            },
            payload: None,
        }
    }
}
