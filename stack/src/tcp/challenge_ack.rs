//! The rate limit on challenge ACKs (RFC 5961 7).

use super::Instant;
use crate::counters::Counter;
use crate::time::Duration;
use crate::{Cx, Tally};

/// Challenge ACKs that one connection may send in a window of time.
const PER_WINDOW: u16 = 10;
const WINDOW: Duration = Duration::from_secs(5);

/// Meters one connection's challenge ACKs: at most ten in any started window of five seconds (RFC 5961 7).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ChallengeAcks {
    /// Milliseconds since the start of time, truncated; a wrap (49 days) costs at most one early window.
    window_start_ms: u32,
    sent: u16,
}

impl ChallengeAcks {
    /// Whether one more may be sent now; counts it either way.
    pub(super) fn allow(&mut self, cx: &mut Cx<'_>) -> bool {
        let allowed = self.take(cx.now);
        count(cx.counters, allowed);
        allowed
    }

    fn take(&mut self, now: Instant) -> bool {
        let now_ms = super::low32(now.as_millis());
        let window_ms = super::low32(u64::try_from(WINDOW.as_millis()).unwrap_or(u64::MAX));
        if self.sent == 0 || now_ms.wrapping_sub(self.window_start_ms) >= window_ms {
            self.window_start_ms = now_ms;
            self.sent = 0;
        }
        let allowed = self.sent < PER_WINDOW;
        self.sent += u16::from(allowed);
        allowed
    }
}

fn count(counters: &mut Tally<Counter>, allowed: bool) {
    counters.count(if allowed {
        Counter::TcpChallengeAck
    } else {
        Counter::TcpChallengeAckLimited
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t2_ten_challenges_in_five_seconds() {
        let mut limiter = ChallengeAcks::default();
        let allowed = |limiter: &mut ChallengeAcks, ms| {
            (0..12)
                .filter(|_| limiter.take(Instant::from_millis(ms)))
                .count()
        };
        assert_eq!(allowed(&mut limiter, 1_000), 10);
        assert_eq!(allowed(&mut limiter, 5_999), 0);
        assert_eq!(allowed(&mut limiter, 6_000), 10);
    }
}
