//! How fast the peer takes what we send, and for how long the congestion window was what held us back. Whole octets and
//! microseconds; an ACK costs an addition, a sample a division.

use stack::Instant;
use stack::PacketBuf;
use stack::tcp::Tcb;
use stack::time::Duration;

/// Shortest interval over which a rate is measured: below it, the bursts in which ACKs come would show.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What a subflow measures of the path that its data takes.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    /// When the present interval began.
    began: Instant,
    /// Octets delivered in it.
    octets: u32,
    /// Whether the congestion window was full throughout it.
    limited: bool,
    /// Octets per second of the last interval that tells, 0 before: up to 34 Gbit/s.
    rate: u32,
    /// Milliseconds of intervals in which it was full throughout.
    limited_ms: u32,
    /// Segments with data sent, each as often as it was sent.
    pub(crate) segments: u64,
    /// What the subflow's TCP had counted as delivered, when last asked: it wraps.
    delivered: u32,
}

/// What of a [`Rate`] outlasts the time in which nothing is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestingRate {
    segments: u64,
    rate: u32,
    limited_ms: u32,
}

impl RestingRate {
    /// Goes on, with a TCP that counts what is delivered from 0.
    pub(crate) const fn wake(self) -> Rate {
        Rate {
            rate: self.rate,
            limited_ms: self.limited_ms,
            segments: self.segments,
            ..Rate::new()
        }
    }
}

impl Rate {
    pub(crate) const fn rest(&self) -> RestingRate {
        RestingRate {
            segments: self.segments,
            rate: self.rate,
            limited_ms: self.limited_ms,
        }
    }

    pub(crate) const fn new() -> Self {
        Self {
            began: Instant::ZERO,
            octets: 0,
            limited: true,
            rate: 0,
            limited_ms: 0,
            segments: 0,
            delivered: 0,
        }
    }

    /// A segment with data leaves; all that `tcb` has in flight now is `len` octets if nothing was before.
    pub(crate) fn on_sent<B: PacketBuf>(&mut self, now: Instant, tcb: &Tcb<B>, len: usize) {
        self.segments += 1;
        if tcb.flight_size() as usize == len {
            self.on_start(now);
        }
    }

    /// Something is sent while nothing is in flight: the time before does not count.
    const fn on_start(&mut self, now: Instant) {
        self.began = now;
        self.octets = 0;
        self.limited = true;
    }

    /// Something may have been delivered, as `tcb` counts.
    pub(crate) fn on_ack<B: PacketBuf>(&mut self, now: Instant, tcb: &Tcb<B>) {
        let octets = tcb.delivered().wrapping_sub(self.delivered);
        if octets > 0 {
            self.delivered = tcb.delivered();
            self.on_delivered(now, octets, tcb.is_cwnd_limited(), tcb.srtt());
        }
    }

    /// `octets` were delivered, and the congestion window was full when they were sent if `limited`.
    fn on_delivered(&mut self, now: Instant, octets: u32, limited: bool, srtt: Option<Duration>) {
        self.limited &= limited;
        self.octets = self.octets.saturating_add(octets);
        let interval = srtt.map_or(INTERVAL_MIN, |srtt| (srtt * 2).max(INTERVAL_MIN));
        if now.since(self.began) < interval {
            return;
        }
        let took = micros(now, self.began).max(1);
        let sample = u64::from(self.octets) * 1_000_000 / took;
        let sample = u32::try_from(sample).unwrap_or(u32::MAX);
        // What we did not try to send does not tell what the path would have carried, unless it carried more than before.
        if self.limited || sample > self.rate {
            self.rate = sample;
        }
        if self.limited {
            let took = u32::try_from(took / 1_000).unwrap_or(u32::MAX);
            self.limited_ms = self.limited_ms.saturating_add(took);
        }
        self.began = now;
        self.octets = 0;
        self.limited = true;
    }

    /// Octets per second.
    pub(crate) fn octets_per_second(&self) -> u64 {
        u64::from(self.rate)
    }

    /// How long what was in flight filled the congestion window, counted by whole intervals.
    pub(crate) fn limited(&self) -> Duration {
        Duration::from_millis(u64::from(self.limited_ms))
    }
}

fn micros(now: Instant, earlier: Instant) -> u64 {
    u64::try_from(now.since(earlier).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rate after (ms, octets delivered, window full) in turn, with a round trip of 40 ms.
    fn rate(rows: &[(u64, u32, bool)]) -> (u64, u64) {
        let mut rate = Rate::new();
        rate.on_start(Instant::from_millis(1_000));
        for &(ms, octets, limited) in rows {
            let now = Instant::from_millis(1_000 + ms);
            rate.on_delivered(now, octets, limited, Some(Duration::from_millis(40)));
        }
        let limited = u64::try_from(rate.limited().as_millis()).unwrap();
        (rate.octets_per_second(), limited)
    }

    #[test]
    fn m29_the_rate_is_what_a_full_window_brings_in_an_interval() {
        assert_eq!(rate(&[(50, 5_000, true)]), (0, 0));
        assert_eq!(
            rate(&[(50, 5_000, true), (100, 5_000, true)]),
            (100_000, 100)
        );
        let slower = [(50, 5_000, true), (100, 5_000, true), (200, 5_000, true)];
        assert_eq!(rate(&slower), (50_000, 200));
    }

    #[test]
    fn m29_a_sender_with_little_to_say_does_not_make_the_path_look_slow() {
        let idle = [(100, 10_000, true), (200, 100, false)];
        assert_eq!(rate(&idle), (100_000, 100));
        let faster = [(100, 10_000, true), (200, 20_000, false)];
        assert_eq!(rate(&faster), (200_000, 100));
        let partly = [(100, 10_000, true), (150, 100, false), (200, 100, true)];
        assert_eq!(rate(&partly), (100_000, 100));
    }

    #[test]
    fn m29_time_without_anything_in_flight_does_not_count() {
        let mut rate = Rate::new();
        rate.on_start(Instant::from_millis(60_000));
        rate.on_delivered(Instant::from_millis(60_100), 10_000, true, None);
        assert_eq!(rate.octets_per_second(), 100_000);
        assert_eq!(rate.limited(), Duration::from_millis(100));
    }
}
