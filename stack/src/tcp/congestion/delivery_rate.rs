//! What a path delivers (draft-cheng-iccrg-delivery-rate-estimation): octets between two acknowledgments, over the time
//! that they took to be sent or to be acknowledged, whichever is more.

use crate::time::{Duration, Instant};
use std::collections::VecDeque;

/// Instants of sending that are remembered; what was sent before them brings no sample.
const REMEMBERED: usize = 4096;

/// One sample: what one acknowledgment says of the flight that it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateSample {
    /// Octets in a second.
    pub(super) rate: u64,
    /// `rs.prior_delivered`: octets that had been delivered when what arrived now was sent.
    pub(super) prior_delivered: u64,
    /// Over so much time.
    pub(super) interval: Duration,
    /// Whether the sender had nothing more to say then: the path may carry more than this.
    pub(super) app_limited: bool,
}

/// The state of a connection, and of what it has in flight. Segments that leave at one time share theirs.
#[derive(Clone, Debug)]
pub(super) struct DeliveryRate {
    /// `C.delivered`, octets.
    delivered: u64,
    /// `C.delivered_time`.
    delivered_at: Instant,
    /// `C.first_sent_time`: when what was acknowledged last was sent.
    first_sent: Instant,
    /// `C.app_limited`: samples say too little until so much is delivered; 0 if they do not.
    limited_until: u64,
    sent: VecDeque<Sent>,
}

/// `P`: what was known when segments were sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    first_sent: Instant,
    app_limited: bool,
}

impl DeliveryRate {
    pub(super) const fn new() -> Self {
        Self {
            delivered: 0,
            delivered_at: Instant::ZERO,
            first_sent: Instant::ZERO,
            limited_until: 0,
            sent: VecDeque::new(),
        }
    }

    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// 3.2: something is sent; `idle` if nothing was in flight before.
    pub(super) fn on_sent(&mut self, now: Instant, idle: bool) {
        if idle {
            self.first_sent = now;
            self.delivered_at = now;
        }
        if self.sent.back().is_some_and(|last| last.at == now) {
            return;
        }
        if self.sent.len() == REMEMBERED {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent {
            at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent: self.first_sent,
            app_limited: self.limited_until != 0,
        });
    }

    /// 3.3: `octets` arrived, of which the last was sent at `sent_at`. No sample where that is not known, or faster than
    /// `min_rtt`, which says more of the acknowledgments than of the path.
    pub(super) fn on_delivered(
        &mut self,
        now: Instant,
        octets: u32,
        sent_at: Option<Instant>,
        min_rtt: Option<Duration>,
    ) -> Option<RateSample> {
        self.delivered += u64::from(octets);
        self.delivered_at = now;
        if self.delivered > self.limited_until {
            self.limited_until = 0;
        }
        let sent_at = sent_at.filter(|_| octets > 0)?;
        while self.sent.front().is_some_and(|sent| sent.at < sent_at) {
            self.sent.pop_front();
        }
        let sent = *self.sent.front().filter(|sent| sent.at == sent_at)?;
        self.first_sent = sent.at;
        let interval = sent
            .at
            .since(sent.first_sent)
            .max(now.since(sent.delivered_at));
        if interval.is_zero() || min_rtt.is_some_and(|least| interval < least) {
            return None;
        }
        let octets = u128::from(self.delivered - sent.delivered);
        let rate = octets * 1_000_000_000 / interval.as_nanos();
        Some(RateSample {
            rate: u64::try_from(rate).unwrap_or(u64::MAX),
            prior_delivered: sent.delivered,
            interval,
            app_limited: sent.app_limited,
        })
    }

    /// 3.4: there is nothing more to send while `pipe` octets travel.
    pub(super) fn limit(&mut self, pipe: u32) {
        self.limited_until = (self.delivered + u64::from(pipe)).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Instant {
        Instant::from_millis(n)
    }

    /// Ten segments of 1,000 octets, one a millisecond, acknowledged 50 ms later one by one.
    fn steady(rate: &mut DeliveryRate, from: u64) -> Vec<Option<RateSample>> {
        for n in 0..10 {
            rate.on_sent(ms(from + n), n == 0);
        }
        let answers = (0..10).map(|n| {
            let sent = Some(ms(from + n));
            rate.on_delivered(ms(from + 50 + n), 1000, sent, None)
        });
        answers.collect()
    }

    #[test]
    fn a_flight_that_is_spread_is_measured_as_it_was_spread() {
        let mut rate = DeliveryRate::new();
        steady(&mut rate, 0);
        // The second flight starts anew: nothing was in flight. Its last segment: ten octets a flight of 59 ms.
        let last = steady(&mut rate, 1_000)[9].unwrap();
        assert_eq!(last.prior_delivered, 10_000);
        assert_eq!(last.interval, Duration::from_millis(59));
        assert_eq!(last.rate, 10_000 * 1000 / 59);
    }

    #[test]
    fn acknowledgments_that_come_together_are_no_rate() {
        let mut rate = DeliveryRate::new();
        for n in 0..10 {
            rate.on_sent(ms(n * 10), n == 0);
        }
        rate.on_delivered(ms(140), 1_000, Some(ms(0)), None);
        // All others at once: over the time from when the first was delivered or sent, not over nothing.
        let all = rate
            .on_delivered(ms(141), 9_000, Some(ms(90)), None)
            .unwrap();
        assert_eq!((all.interval.as_millis(), all.prior_delivered), (141, 0));
        let least = Some(Duration::from_millis(50));
        rate.on_sent(ms(200), true);
        assert_eq!(rate.on_delivered(ms(210), 1000, Some(ms(200)), least), None);
    }

    #[test]
    fn a_sender_with_nothing_to_say_is_known_as_such() {
        let mut rate = DeliveryRate::new();
        rate.on_sent(ms(0), true);
        rate.limit(1000);
        rate.on_sent(ms(1), false);
        rate.on_sent(ms(2), false);
        let first = rate.on_delivered(ms(50), 1000, Some(ms(0)), None).unwrap();
        let second = rate.on_delivered(ms(51), 1000, Some(ms(1)), None).unwrap();
        assert!(!first.app_limited && second.app_limited);
        rate.on_sent(ms(60), false);
        rate.on_delivered(ms(100), 1000, Some(ms(2)), None);
        assert!(
            !rate
                .on_delivered(ms(110), 1000, Some(ms(60)), None)
                .unwrap()
                .app_limited
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut rate = DeliveryRate::new();
        for n in 0..10_000 {
            rate.on_sent(ms(n), n == 0);
        }
        assert_eq!(rate.sent.len(), REMEMBERED);
        assert_eq!(rate.on_delivered(ms(10_000), 1000, Some(ms(5)), None), None);
        assert_eq!(rate.delivered(), 1000);
    }
}
