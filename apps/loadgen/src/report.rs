//! What was measured.

use hdrhistogram::Histogram;
use serde::Serialize;
use stack::Instant;
use stack::time::Duration;
use std::collections::BTreeMap;

/// What takes so much longer than half of them, in nanoseconds, was held up: by the machine below, most of the time.
const HELD_UP: u64 = 50_000;

/// Longest time that a histogram tells apart.
const LONGEST: u64 = 60_000_000_000;

/// Counts and times of one end since [`Stats::begin`].
#[derive(Clone, Debug)]
pub(crate) struct Stats {
    pub(crate) since: Instant,
    pub(crate) begun: u64,
    pub(crate) established: u64,
    pub(crate) closed: u64,
    pub(crate) refused: u64,
    pub(crate) reset: u64,
    pub(crate) timed_out: u64,
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    pub(crate) received: u64,
    pub(crate) wrong: u64,
    pub(crate) joined: u64,
    pub(crate) plain: u64,
    pub(crate) live_max: usize,
    pub(crate) connect: Histogram<u64>,
    pub(crate) request: Histogram<u64>,
}

impl Default for Stats {
    fn default() -> Self {
        // Three digits: the bounds are constants, so this cannot fail.
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3).expect("bounds that fit");
        Self {
            since: Instant::ZERO,
            begun: 0,
            established: 0,
            closed: 0,
            refused: 0,
            reset: 0,
            timed_out: 0,
            asked: 0,
            answered: 0,
            received: 0,
            wrong: 0,
            joined: 0,
            plain: 0,
            live_max: 0,
            connect: histogram(),
            request: histogram(),
        }
    }
}

impl Stats {
    /// Forgets what was, and counts from `now` on.
    pub(crate) fn begin(&mut self, now: Instant) {
        *self = Self {
            since: now,
            ..Self::default()
        };
    }

    /// Requests and connections that failed, in whatever way.
    pub(crate) const fn failed(&self) -> u64 {
        self.refused + self.reset + self.timed_out + self.wrong
    }

    pub(crate) fn took(histogram: &mut Histogram<u64>, time: Duration) {
        histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds what another group counted in the same time.
    fn add(&mut self, other: &Self) {
        let counts = [
            (&mut self.begun, other.begun),
            (&mut self.established, other.established),
            (&mut self.closed, other.closed),
            (&mut self.refused, other.refused),
            (&mut self.reset, other.reset),
            (&mut self.timed_out, other.timed_out),
            (&mut self.asked, other.asked),
            (&mut self.answered, other.answered),
            (&mut self.received, other.received),
            (&mut self.wrong, other.wrong),
            (&mut self.joined, other.joined),
            (&mut self.plain, other.plain),
        ];
        for (sum, more) in counts {
            *sum += more;
        }
        for (sum, more) in [
            (&mut self.connect, &other.connect),
            (&mut self.request, &other.request),
        ] {
            sum.add(more).expect("bounds that are the same");
        }
    }

    /// The same in the words of the result, for the time until `until`, with `live` connections open.
    fn report(&self, until: Instant, live: usize) -> Measured {
        let seconds = core::time::Duration::from(until.since(self.since))
            .as_secs_f64()
            .max(1e-9);
        Measured {
            seconds,
            connections: Connections {
                begun: self.begun,
                established: self.established,
                closed: self.closed,
                refused: self.refused,
                reset: self.reset,
                timed_out: self.timed_out,
                now: live,
                most: self.live_max,
                per_second: self.established as f64 / seconds,
                subflows_joined: self.joined,
                fell_back: self.plain,
            },
            requests: Requests {
                begun: self.asked,
                done: self.answered,
                per_second: self.answered as f64 / seconds,
            },
            octets_verified: self.received,
            pieces_wrong: self.wrong,
            gbit_per_second: self.received as f64 * 8.0 / seconds / 1e9,
            connect_us: Times::of(&self.connect),
            request_us: Times::of(&self.request),
        }
    }
}

/// What is counted of one end: of each group of its clients, or of its server.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    each: Vec<Stats>,
    /// Connections of all groups open at a time, at most.
    live_max: usize,
}

impl Books {
    /// Of so many groups, at least one.
    pub(crate) fn new(groups: usize) -> Self {
        Self {
            each: vec![Stats::default(); groups.max(1)],
            live_max: 0,
        }
    }

    /// Forgets what was, and counts from `now` on. `live` says of each group how many connections are open.
    pub(crate) fn begin(&mut self, now: Instant, live: impl IntoIterator<Item = usize>) {
        self.live_max = 0;
        for (stats, live) in self.each.iter_mut().zip(live) {
            stats.begin(now);
            stats.live_max = live;
            self.live_max += live;
        }
    }

    /// Since when it counts.
    pub(crate) fn since(&self) -> Instant {
        self.each[0].since
    }

    /// What is counted of a group.
    pub(crate) fn of(&mut self, group: usize) -> &mut Stats {
        &mut self.each[group]
    }

    /// Notes a connection opened by a group: with it so many of the group's are open, and so many in all.
    pub(crate) fn opened(&mut self, group: usize, live: usize, in_all: usize) {
        let most = &mut self.each[group].live_max;
        *most = live.max(*most);
        self.live_max = in_all.max(self.live_max);
    }

    /// A count, summed over all groups.
    pub(crate) fn sum(&self, of: impl Fn(&Stats) -> u64) -> u64 {
        self.each.iter().map(of).sum()
    }

    /// What was counted until `until`, in all and of each group, of which `live` says how many connections are open.
    pub(crate) fn report(&self, until: Instant, live: &[usize]) -> (Measured, Vec<Measured>) {
        let mut all = self.each[0].clone();
        self.each[1..].iter().for_each(|other| all.add(other));
        all.live_max = self.live_max;
        let each = self.each.iter().zip(live);
        let each = each.map(|(stats, &live)| stats.report(until, live));
        (all.report(until, live.iter().sum()), each.collect())
    }
}

/// The result of a run, as it is written in JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The clients' side, if there were clients: all groups together.
    pub client: Option<Measured>,
    /// Each group of clients by its name, if they have names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<String, Measured>,
    /// The server's side, if there was one.
    pub server: Option<Measured>,
    /// Segments that either of them sent more than once, since the start.
    pub segments_sent_again: u64,
    /// What was looked for, and found.
    pub search: Option<Found>,
}

/// One side's measurements.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// How long it was measured.
    pub seconds: f64,
    /// Connections.
    pub connections: Connections,
    /// Requests and their responses.
    pub requests: Requests,
    /// Octets of payload received that were the right ones in the right place.
    pub octets_verified: u64,
    /// Pieces of payload that were not: each ended its connection.
    pub pieces_wrong: u64,
    /// Payload received, verified, per second.
    pub gbit_per_second: f64,
    /// From the SYN to the SYN+ACK, in microseconds.
    pub connect_us: Times,
    /// From when a request was due to the last octet of its response, in microseconds.
    pub request_us: Times,
}

/// Counts of connections.
#[derive(Clone, Debug, Serialize)]
pub struct Connections {
    /// SYNs sent, or received by a server, retransmissions not counted.
    pub begun: u64,
    /// Handshakes completed.
    pub established: u64,
    /// Closed by both ends.
    pub closed: u64,
    /// Refused by a reset.
    pub refused: u64,
    /// Reset later.
    pub reset: u64,
    /// Given up as nothing came in time.
    pub timed_out: u64,
    /// Open when this was written.
    pub now: usize,
    /// Open at a time, at most.
    pub most: usize,
    /// Handshakes per second.
    pub per_second: f64,
    /// Further subflows that joined.
    pub subflows_joined: u64,
    /// Connections that asked for Multipath TCP and became TCP.
    pub fell_back: u64,
}

/// Counts of requests.
#[derive(Clone, Debug, Serialize)]
pub struct Requests {
    /// Begun.
    pub begun: u64,
    /// Done: every octet of the response came and was right.
    pub done: u64,
    /// Done per second.
    pub per_second: f64,
}

/// A distribution of times in microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Times {
    /// How many were measured.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// Half of them were at most this.
    pub p50: f64,
    /// 90 of 100.
    pub p90: f64,
    /// 99 of 100.
    pub p99: f64,
    /// 999 of 1,000.
    pub p99_9: f64,
    /// The most.
    pub max: f64,
    /// How many took over 50 us longer than `p50`: they were held up, by the machine below the two most of the time.
    pub held_up: u64,
    /// 99 of 100 of all others.
    pub p99_others: f64,
    /// 999 of 1,000 of all others.
    pub p99_9_others: f64,
}

impl Times {
    fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        let bound = histogram.value_at_quantile(0.5).saturating_add(HELD_UP);
        let others = histogram.count_between(0, bound);
        let share = others as f64 / histogram.len().max(1) as f64;
        Self {
            count: histogram.len(),
            min: histogram.min() as f64 / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max() as f64 / 1e3,
            held_up: histogram.len() - others,
            p99_others: at(0.99 * share),
            p99_9_others: at(0.999 * share),
        }
    }
}

/// What a search found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The highest rate that lost no more than it may, requests per second; 0 if there is none.
    pub rate: u64,
    /// Every rate that was tried, in order.
    pub trials: Vec<Trial>,
}

/// A rate that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Trial {
    /// Requests per second.
    pub rate: u64,
    /// What was lost, late or sent again, in parts per million.
    pub lost_ppm: u64,
    /// Whether that was little enough.
    pub good: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_up_is_counted_apart() {
        let mut stats = Stats::default();
        for n in 1..=1_000 {
            let micros = if n > 980 { 5_000 } else { 20 + n % 10 };
            Stats::took(&mut stats.request, Duration::from_micros(micros));
        }
        let times = Times::of(&stats.request);
        assert_eq!((times.count, times.held_up), (1_000, 20));
        assert!(times.p99 > 4_900.0, "{times:?}");
        assert!((28.9..29.1).contains(&times.p99_others), "{times:?}");
        assert!((28.9..29.1).contains(&times.p99_9_others), "{times:?}");
        let none = Times::of(&Stats::default().request);
        assert_eq!((none.count, none.held_up), (0, 0));
    }
}
