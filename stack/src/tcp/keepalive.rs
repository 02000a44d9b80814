//! Probes of a peer that has long been silent (RFC 9293 3.8.4).

use super::{State, Tcb};
use crate::counters::Counter;
use crate::time::{Coarse, Duration, Instant};
use crate::wire::tcp::{Flags, Options, OutSegment};
use crate::{Cx, PacketBuf};
use core::num::NonZeroU32;

/// Probes without an answer after which the peer is given up. One that is lost proves nothing (RFC 1122 4.2.3.6).
pub const KEEPALIVE_PROBES: u8 = 4;

/// The most time between two probes, once the first has gone unanswered.
pub const KEEPALIVE_BETWEEN_MAX: Duration = Duration::from_secs(75);

/// When a silent peer is probed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keepalive {
    /// Silence after which a probe is sent, ms.
    period: u32,
    /// When the peer was last heard.
    heard: Instant,
    /// Probes since then.
    sent: u8,
    /// When to look at it again.
    at: Instant,
    /// Whether one is to be sent now.
    due: bool,
}

/// A [`Keepalive`] that waits for the next silence.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestingKeepalive {
    heard: Coarse,
    period: NonZeroU32,
}

impl RestingKeepalive {
    pub(super) fn wake(self) -> Keepalive {
        let (heard, period) = (Instant::from(self.heard), self.period.get());
        Keepalive {
            period,
            heard,
            sent: 0,
            at: heard + Duration::from_millis(period.into()),
            due: false,
        }
    }
}

impl Keepalive {
    /// Whether a probe is to be sent now.
    pub(super) const fn is_due(&self) -> bool {
        self.due
    }

    /// What is left at rest; `None` while a probe is due or unanswered.
    pub(super) fn rest(&self) -> Option<RestingKeepalive> {
        if self.sent > 0 || self.due {
            return None;
        }
        Some(RestingKeepalive {
            heard: self.heard.into(),
            // One that probes all the time never rests.
            period: NonZeroU32::new(self.period)?,
        })
    }
}

impl<B: PacketBuf> Tcb<B> {
    /// Probes the peer whenever it was silent for `period`, and gives it up after [`KEEPALIVE_PROBES`] without an
    /// answer, each of them at most `period` and [`KEEPALIVE_BETWEEN_MAX`] after the one before.
    pub fn set_keepalive(&mut self, now: Instant, period: Duration) {
        self.keepalive = Some(Keepalive {
            period: u32::try_from(period.as_millis()).unwrap_or(u32::MAX),
            heard: now,
            sent: 0,
            at: now + period,
            due: false,
        });
    }

    /// The silence after which the peer is probed, if it is.
    #[must_use]
    pub fn keepalive_period(&self) -> Option<Duration> {
        let keepalive = self.keepalive.as_ref()?;
        Some(Duration::from_millis(keepalive.period.into()))
    }

    /// Probes the peer once, now: whoever waits for the answer says for how long.
    pub fn request_probe(&mut self) {
        self.rare.get_or_insert_default().probe = true;
    }

    /// When [`Self::on_keepalive_timeout`] is due.
    pub(super) fn keepalive_at(&self) -> Option<Instant> {
        let over = matches!(self.state, State::Closed | State::TimeWait);
        let keepalive = self.keepalive.as_ref().filter(|_| !over);
        keepalive.map(|keepalive| keepalive.at)
    }

    /// The peer is there.
    pub(super) fn note_heard(&mut self, now: Instant) {
        if let Some(keepalive) = &mut self.keepalive {
            keepalive.heard = now;
            keepalive.sent = 0;
            keepalive.due = false;
        }
    }

    /// The timer fired: it is not moved with each segment, so the peer may have been heard since it was set.
    pub(super) fn on_keepalive_timeout(&mut self, cx: &mut Cx<'_>) {
        // What waits for an acknowledgment, or for a window, is sent again by itself.
        let busy = self.snd.queue.flight() > 0 || self.snd.queue.unsent() > 0;
        let Some(keepalive) = &mut self.keepalive else {
            return;
        };
        let period = Duration::from_millis(u64::from(keepalive.period));
        let silent_until = keepalive.heard + period;
        let between = period.min(KEEPALIVE_BETWEEN_MAX);
        keepalive.at = if busy {
            keepalive.sent = 0;
            cx.now + period
        } else if keepalive.sent == 0 && silent_until > cx.now {
            silent_until
        } else if keepalive.sent >= KEEPALIVE_PROBES {
            cx.counters.count(Counter::TcpKeepaliveTimedOut);
            return self.give_up(cx);
        } else {
            keepalive.due = true;
            keepalive.sent += 1;
            cx.now + between
        };
    }

    /// RFC 9293 3.8.4: a segment at SND.NXT - 1 without payload, which the peer must answer.
    pub(super) fn output_keepalive(&mut self, cx: &mut Cx<'_>) -> Option<OutSegment<B>> {
        let mut due = false;
        if let Some(rare) = &mut self.rare {
            due = core::mem::take(&mut rare.probe);
        }
        if let Some(keepalive) = &mut self.keepalive {
            due |= core::mem::take(&mut keepalive.due);
        }
        if !due {
            return None;
        }
        cx.counters.count(Counter::TcpKeepalive);
        let options = Options {
            ts: self.timestamps(cx.now),
            ..Options::default()
        };
        let mut segment = self.segment(Flags::ACK, options, true);
        segment.seq = self.snd.queue.nxt() - 1;
        Some(segment)
    }
}
