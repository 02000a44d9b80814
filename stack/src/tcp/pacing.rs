//! Segments spread over the round trip instead of sent as acknowledgments come: what arrives in bursts does not leave in
//! bursts, and overflows no short queue on its way (RFC 5681 leaves it open; RFC 9002 7.7 says how for QUIC).

use super::Tcb;
use super::congestion::CongestionControl;
use crate::PacketBuf;
use crate::time::{Duration, Instant};

/// Sending time that is made up for when output comes late: timers count in milliseconds.
const CREDIT: Duration = Duration::from_millis(2);

/// When the next segment may leave.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pacing {
    at: Instant,
    /// Something is held back until then.
    holds: bool,
}

impl<B: PacketBuf> Tcb<B> {
    /// Spreads what is sent from now on over the round trip, at the rate of the congestion window or of a controller that
    /// knows better.
    pub fn set_pacing(&mut self) {
        let pacing = &mut self.rare.get_or_insert_default().pacing;
        pacing.get_or_insert_default();
    }

    /// When what is held back may leave.
    pub(super) fn paced_at(&self) -> Option<Instant> {
        let pacing = self.rare.as_ref()?.pacing.as_ref();
        let held = pacing.filter(|pacing| pacing.holds && self.is_sending());
        held.map(|pacing| pacing.at)
    }

    /// Whether data must wait. What a timer sends, for an answer, does not; a window is only probed once this is over.
    pub(super) fn is_paced_out(&mut self, now: Instant) -> bool {
        let snd = &self.snd;
        let Some(pacing) = self.rare.as_mut().and_then(|rare| rare.pacing.as_mut()) else {
            return false;
        };
        let urgent = snd.recovery.oldest_due || snd.tlp.due;
        let waits = snd.queue.lost() > 0 || snd.queue.unsent() > 0;
        let early = now < pacing.at && !urgent;
        pacing.holds = early && waits;
        early
    }

    /// `len` octets were sent.
    pub(super) fn note_paced(&mut self, now: Instant, len: u32) {
        if let Some(pacing) = self.rare.as_mut().and_then(|rare| rare.pacing.as_mut())
            && let Some(rate) = self.snd.pacing_rate()
        {
            let nanos = u64::from(len) * 1_000_000_000 / rate.max(1);
            pacing.at = pacing.at.max(now - CREDIT) + Duration::from_nanos(nanos);
        }
    }
}

impl<B: PacketBuf> super::send::Sender<B> {
    /// Octets in a second: what the controller says, or else the congestion window in a round trip, and as much more as
    /// it grows in one. `None` before there is a round trip.
    fn pacing_rate(&self) -> Option<u64> {
        if let Some(rate) = self.cc.pacing_rate() {
            return Some(rate);
        }
        let srtt = u64::try_from(self.rtt.srtt()?.as_nanos()).unwrap_or(u64::MAX);
        // Recovery counts in its window what may be sent for each acknowledgment, which may be nothing (RFC 9937): a rate of
        // that would hold the next segment for minutes.
        let window = u64::from(self.cc.cwnd().max(self.pipe()).max(self.smss()));
        let quarters = if self.cc.cwnd() < self.cc.ssthresh() {
            8
        } else {
            5
        };
        Some(window * quarters * 250_000_000 / srtt.max(1))
    }
}
