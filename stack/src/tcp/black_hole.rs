//! Paths that swallow large packets and tell nobody (RFC 2923 2.1): what RFC 4821 does without ICMP, at its least.
//!
//! If a full segment times out twice in a row, smaller ones are tried: first as an IPv6 link must take them, then as every
//! IPv4 host must. An outage looks the same up to here, so once one of those was acknowledged the old size is tried again.
//! Only if that fails where the smaller one has just passed is the path taken for a black hole, and the size kept for a
//! while, as routes change (RFC 8201 5.4).

use super::Tcb;
use crate::counters::Counter;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::{Cx, PacketBuf};

/// Timeouts in a row after which a size is tried, and that size in octets of payload and options: 1,280 octets less the
/// headers of IPv6 and TCP; 576 less those of IPv4.
const STEPS: [(u8, u16); 2] = [(2, 1220), (4, 536)];

/// How long a smaller size is kept before the old one is tried again (RFC 1191 6.3).
const KEPT: Duration = Duration::from_mins(10);

/// A size that is doubted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Suspicion {
    smss: u16,
    stage: Stage,
}

/// How far the doubt went.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Smaller segments are sent; none was acknowledged yet.
    Trying,
    /// Segments of `passed` octets were: the old size is sent again, and is proven once all before `until`, a larger
    /// segment's end, is acknowledged.
    Proving { passed: u16, until: SeqNum },
    /// The old size failed again: smaller segments are sent since then.
    Sure { since: Instant },
}

impl<B: PacketBuf> Tcb<B> {
    /// Before a retransmission timeout is taken: lowers the segment size if the oldest segment may be too large for its path.
    pub(super) fn suspect_black_hole(&mut self, cx: &mut Cx<'_>) {
        let Some(oldest) = self.snd.queue.entry(0).map(|entry| entry.len) else {
            return;
        };
        let suspicion = self.rare.as_ref().and_then(|rare| rare.suspicion);
        let timeouts = self.snd.consecutive_rtos + 1;
        let step = STEPS.iter().find(|(after, _)| *after == timeouts);
        let (smss, stage) = match (suspicion.map(|old| old.stage), step) {
            (Some(Stage::Proving { passed, .. }), _) => (passed, Stage::Sure { since: cx.now }),
            (None | Some(Stage::Trying), Some((_, smss))) => (*smss, Stage::Trying),
            (Some(Stage::Sure { .. }), _) | (_, None) => return,
        };
        // Its options count, but any segment that is longer than the payload alone was sent in this size.
        if self.snd.smss <= smss || oldest + OPTIONS_SHARE < u32::from(smss) {
            return;
        }
        cx.counters.count(Counter::TcpBlackHole);
        let before = suspicion.map_or(self.snd.smss, |old| old.smss);
        self.rare.get_or_insert_default().suspicion = Some(Suspicion {
            smss: before,
            stage,
        });
        self.lower_smss(smss);
    }

    /// After an acknowledgment of something new: what passed was small, or the old size was proven.
    pub(super) fn prove_old_size(&mut self) {
        let queue = &self.snd.queue;
        let Some(rare) = &mut self.rare else {
            return;
        };
        let Some(suspicion) = &mut rare.suspicion else {
            return;
        };
        match suspicion.stage {
            Stage::Trying => {
                let passed = self.snd.smss;
                let mut queued = (0..queue.entries()).filter_map(|index| queue.entry(index));
                let larger = queued.find(|entry| entry.len > u32::from(passed));
                let until = larger.map_or(queue.nxt() + u32::from(suspicion.smss), |entry| {
                    entry.seq + entry.len
                });
                suspicion.stage = Stage::Proving { passed, until };
                self.snd.smss = suspicion.smss;
            },
            Stage::Proving { until, .. } if queue.una() >= until => rare.suspicion = None,
            Stage::Proving { .. } | Stage::Sure { .. } => {},
        }
    }

    /// Tries the old size again once the smaller one was kept for long.
    pub(super) fn forget_black_hole(&mut self, now: Instant) {
        if let Some(rare) = &mut self.rare
            && let Some(Suspicion { smss, stage }) = rare.suspicion
            && let Stage::Sure { since } = stage
            && now.since(since) >= KEPT
        {
            rare.suspicion = None;
            self.snd.smss = self.snd.smss.max(smss);
        }
    }

    /// A router named a size: what was doubted will not come back larger.
    pub(super) fn bound_old_size(&mut self, smss: u16) {
        if let Some(suspicion) = self.rare.as_mut().and_then(|rare| rare.suspicion.as_mut()) {
            suspicion.smss = suspicion.smss.min(smss);
        }
    }
}

/// Octets of a segment that may be options rather than payload.
const OPTIONS_SHARE: u32 = 40;
