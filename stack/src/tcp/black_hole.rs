//! Paths that swallow large packets and tell nobody (RFC 2923 2.1): what RFC 4821 does without ICMP, at its least.
//!
//! If a full segment times out twice in a row, it goes on in smaller ones: first as an IPv6 link must take them, then as
//! every IPv4 host must. After a while the old size is tried again, as routes change (RFC 8201 5.4).

use super::Tcb;
use crate::counters::Counter;
use crate::time::{Duration, Instant};
use crate::{Cx, PacketBuf};

/// Timeouts in a row after which a size is tried, and that size in octets of payload and options: 1,280 octets less the
/// headers of IPv6 and TCP; 576 less those of IPv4.
const STEPS: [(u8, u16); 2] = [(2, 1220), (4, 536)];

/// How long a smaller size is kept before the old one is tried again (RFC 1191 6.3).
const KEPT: Duration = Duration::from_mins(10);

/// What the size was before it was lowered by a suspicion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    smss: u16,
    since: Instant,
}

impl<B: PacketBuf> Tcb<B> {
    /// Before a retransmission timeout is taken: lowers the segment size if the oldest segment may be too large for its path.
    pub(super) fn suspect_black_hole(&mut self, cx: &mut Cx<'_>) {
        let Some(oldest) = self.snd.queue.entry(0).map(|entry| entry.len) else {
            return;
        };
        let timeouts = self.snd.consecutive_rtos + 1;
        let step = STEPS.iter().find(|(after, _)| *after == timeouts);
        let Some(&(_, smss)) = step else {
            return;
        };
        // Its options count, but any segment that is longer than the payload alone was sent in this size.
        if self.snd.smss <= smss || oldest + OPTIONS_SHARE < u32::from(smss) {
            return;
        }
        cx.counters.count(Counter::TcpBlackHole);
        let rare = self.rare.get_or_insert_default();
        let before = rare.suspicion.map_or(self.snd.smss, |old| old.smss);
        rare.suspicion = Some(Suspicion {
            smss: before,
            since: cx.now,
        });
        self.set_smss(smss);
    }

    /// Tries the old size again once the suspicion is old.
    pub(super) fn forget_black_hole(&mut self, now: Instant) {
        if let Some(rare) = &mut self.rare
            && let Some(before) = rare.suspicion
            && now.since(before.since) >= KEPT
        {
            rare.suspicion = None;
            self.snd.smss = self.snd.smss.max(before.smss);
        }
    }
}

/// Octets of a segment that may be options rather than payload.
const OPTIONS_SHARE: u32 = 40;
