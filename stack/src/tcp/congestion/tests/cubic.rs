//! CUBIC against a model in floating point, and against what RFC 9438 says of its windows.

use super::super::{Ack, Algorithm, Congestion, CongestionControl};
use super::ack;
use crate::time::{Duration, Instant};

const BETA: f64 = 0.7;
const C: f64 = 0.4;

/// RFC 9438 4 in segments and seconds, as it is written.
struct Model {
    cwnd: f64,
    ssthresh: f64,
    w_max: f64,
    prior: f64,
    /// `t_epoch` (moved by what does not count), `cwnd_epoch` and `W_est`.
    epoch: Option<(f64, f64, f64)>,
    seen: f64,
}

impl Model {
    fn new(cwnd: f64) -> Self {
        Self {
            cwnd,
            ssthresh: f64::INFINITY,
            w_max: 0.0,
            prior: 0.0,
            epoch: None,
            seen: 0.0,
        }
    }

    fn k(&self, epoch: f64) -> f64 {
        ((self.w_max - epoch) / C).cbrt()
    }

    fn ack(&mut self, now: f64, acked: f64, srtt: f64, limited: bool) {
        if self.cwnd < self.ssthresh {
            let growth = acked.min(8.0).min(self.ssthresh - self.cwnd);
            self.cwnd += growth;
            self.seen = now;
            return;
        }
        let (mut start, cwnd_epoch, mut w_est) = *self.epoch.get_or_insert_with(|| {
            self.w_max = self.w_max.max(self.cwnd);
            (now, self.cwnd, self.cwnd)
        });
        if limited {
            let t = now - start;
            let curve = |t: f64| C * (t - self.k(cwnd_epoch)).powi(3) + self.w_max;
            let alpha = if w_est < self.prior {
                3.0 * (1.0 - BETA) / (1.0 + BETA)
            } else {
                1.0
            };
            w_est += alpha * acked / self.cwnd;
            if curve(t) < w_est {
                self.cwnd = self.cwnd.max(w_est);
            } else {
                let target = curve(t + srtt).max(self.cwnd).min(1.5 * self.cwnd);
                self.cwnd += (target - self.cwnd) / self.cwnd * acked;
            }
        } else {
            start += now - self.seen;
        }
        self.seen = now;
        self.epoch = Some((start, cwnd_epoch, w_est));
    }

    fn loss(&mut self, flight: f64) {
        self.w_max = if self.cwnd < self.w_max {
            self.cwnd * (1.0 + BETA) / 2.0
        } else {
            self.cwnd
        };
        self.prior = self.cwnd;
        self.ssthresh = (flight * BETA).max(2.0);
        self.cwnd = self.ssthresh;
        self.epoch = None;
    }

    fn timeout(&mut self, flight: f64) {
        self.loss(flight);
        self.w_max = 0.0;
        self.cwnd = 1.0;
    }
}

/// Both side by side, in segments of 1,448 octets.
struct Pair {
    cubic: Congestion,
    model: Model,
    ns: u64,
    rtt_ns: u64,
    name: String,
}

const SMSS: u32 = 1_448;

impl Pair {
    fn new(segments: u32, rtt_ms: u64) -> Self {
        let mut pair = Self {
            cubic: Congestion::new(Algorithm::Cubic, segments * SMSS),
            model: Model::new(f64::from(segments)),
            ns: 7_000_000_000,
            rtt_ns: rtt_ms * 1_000_000,
            name: format!("{segments} segments, RTT {rtt_ms} ms"),
        };
        pair.loss();
        pair
    }

    fn segments(&self) -> f64 {
        f64::from(self.cubic.cwnd()) / f64::from(SMSS)
    }

    /// A part in a thousand and a hundredth of a segment: the curve's time counts in quarters of a millisecond, and its
    /// windows in whole octets.
    fn check(&self) {
        let (cwnd, model) = (self.segments(), self.model.cwnd);
        let off = (cwnd - model).abs();
        assert!(
            off <= model / 1000.0 + 0.01,
            "{} at {} ms: {cwnd} for {model}",
            self.name,
            self.ns / 1_000_000
        );
    }

    /// ACKs of two segments each, spread over the round trip, for about `ms`.
    fn run(&mut self, ms: u64, limited: bool) {
        let end = self.ns + ms * 1_000_000;
        while self.ns < end {
            let acks = (self.segments() / 2.0).max(1.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "time"
            )]
            let gap = (self.rtt_ns as f64 / acks) as u64;
            self.ns += gap;
            self.cubic.on_ack(&Ack {
                now: Instant::from_nanos(self.ns),
                delivered: 2 * SMSS,
                smss: SMSS,
                limited,
                srtt: Duration::from_nanos(self.rtt_ns),
                ..ack(0)
            });
            let srtt = self.rtt_ns as f64 / 1e9;
            self.model.ack(self.ns as f64 / 1e9, 2.0, srtt, limited);
            self.check();
        }
    }

    fn loss(&mut self) {
        self.cubic.on_loss(self.cubic.cwnd(), SMSS);
        self.cubic.set_cwnd(self.cubic.ssthresh());
        self.model.loss(self.model.cwnd);
        self.check();
    }

    fn timeout(&mut self) {
        self.cubic.on_rto(self.cubic.cwnd(), SMSS, false);
        self.model.timeout(self.model.cwnd);
        self.check();
    }
}

/// Windows and round trips from a LAN to a fat long path; losses early and late, so that fast convergence, both sides of
/// the plateau and Reno's region are passed.
#[test]
fn t9_the_window_is_that_of_the_floating_point_model() {
    for segments in [10, 100, 1_000, 20_000] {
        for rtt_ms in [1, 10, 50, 200] {
            // ACKs that are simulated: not more than seconds' worth of work.
            let round_trips = (400_000 / segments).min(2_000);
            let ms = (u64::from(round_trips) * rtt_ms).min(40_000);
            let mut pair = Pair::new(segments, rtt_ms);
            pair.run(ms, true);
            pair.loss();
            pair.run(ms / 4, true);
            pair.loss();
            pair.run(ms / 8, true);
            pair.loss();
            pair.run(ms / 2, true);
            pair.timeout();
            pair.run(ms, true);
        }
    }
}

/// By hand: the window follows the curve, which is at that of the loss after K, and then grows beyond. 1,000 segments:
/// K = (300 / 0.4)^(1/3) = 9.086 s.
#[test]
fn t9_the_plateau_is_where_k_says() {
    let mut pair = Pair::new(1_000, 100);
    pair.run(4_000, true);
    // 0.4 * (4 - 9.086)^3 + 1000 = 947.4.
    assert!((pair.segments() - 947.4).abs() < 0.5, "{}", pair.segments());
    pair.run(5_086, true);
    assert!(
        (pair.segments() - 1_000.0).abs() < 0.5,
        "{}",
        pair.segments()
    );
    pair.run(4_000, true);
    // 0.4 * 4^3 = 25.6 above.
    assert!(
        (pair.segments() - 1_025.6).abs() < 0.5,
        "{}",
        pair.segments()
    );
}

/// 5.8: neither an idle hour nor one within the window moves the curve on.
#[test]
fn t9_time_that_does_not_count_is_left_out() {
    for idle in [true, false] {
        let mut pair = Pair::new(1_000, 100);
        pair.run(4_000, true);
        let before = pair.segments();
        if idle {
            pair.ns += 3_600_000_000_000;
            pair.cubic.on_start(Instant::from_nanos(pair.ns), None);
            let start = pair.ns as f64 / 1e9;
            pair.model.epoch = pair
                .model
                .epoch
                .map(|(at, cwnd, w_est)| (at + start - pair.model.seen, cwnd, w_est));
            pair.model.seen = start;
        } else {
            pair.run(60_000, false);
        }
        assert!(
            (pair.segments() - before).abs() < f64::EPSILON,
            "idle {idle}"
        );
        pair.run(1_000, true);
        // 0.4 * (5 - 9.086)^3 + 1000 = 972.7.
        assert!(
            (pair.segments() - 972.7).abs() < 0.5,
            "idle {idle}: {}",
            pair.segments()
        );
    }
}

/// 4.7: whoever finds less room than before aims lower: at 85 % of it.
#[test]
fn t9_fast_convergence_lowers_the_plateau() {
    // (window of the second loss in thousands of the first, plateau after it in thousands)
    for (second, plateau) in [(800, 680), (999, 849), (1_000, 1_000), (1_300, 1_300)] {
        let mut cc = Congestion::new(Algorithm::Cubic, 1_000_000);
        cc.on_loss(1_000_000, 1000);
        cc.set_cwnd(second * 1000);
        cc.on_loss(second * 1000, 1000);
        cc.set_cwnd(cc.ssthresh());
        let Congestion::Cubic(cubic) = &cc else {
            panic!("CUBIC")
        };
        let off = cubic.w_max().abs_diff(plateau * 1000);
        assert!(off <= 1000, "{second}: {}", cubic.w_max());
    }
}

/// 4.6: seven tenths of what was in flight, two segments at least. The same for a congestion mark.
#[test]
fn t9_a_loss_costs_three_tenths() {
    for (flight, ssthresh) in [
        (100_000, 70_000),
        (3_000, 2_100),
        (2_000, 2_000),
        (0, 2_000),
    ] {
        let mut cc = Congestion::new(Algorithm::Cubic, 100_000);
        cc.on_loss(flight, 1000);
        assert_eq!(cc.ssthresh(), ssthresh, "{flight}");
    }
}

/// Table 1 and table 2 of RFC 9438 5.1: the average window in segments where one packet of 1/p is lost, with C = 0.4. The
/// tables come from the formula of an ideal flow; ours reacts a round trip later and in whole octets.
#[test]
fn t9_average_windows_are_those_of_the_tables() {
    let rows = [
        (100_u32, 1_000, 38.0),
        (100, 10_000, 187.0),
        (100, 100_000, 1_054.0),
        (10, 1_000, 38.0),
        (10, 10_000, 120.0),
        (10, 100_000, 379.0),
    ];
    for (rtt_ms, period, expected) in rows {
        let mut cc = Congestion::new(Algorithm::Cubic, 10 * SMSS);
        cc.on_loss(10 * SMSS, SMSS);
        let (mut ns, mut count) = (0_u64, 0);
        let (mut area, mut time) = (0.0, 0.0);
        // Two hundred losses, of which the first half leads there.
        while count < 200 * period {
            let cwnd = f64::from(cc.cwnd()) / f64::from(SMSS);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "time"
            )]
            let gap = (f64::from(rtt_ms) * 1e6 / cwnd) as u64;
            ns += gap;
            count += 1;
            if count > 100 * period {
                area += cwnd * gap as f64;
                time += gap as f64;
            }
            if count % period == 0 {
                cc.on_loss(cc.cwnd(), SMSS);
                cc.set_cwnd(cc.ssthresh());
                continue;
            }
            cc.on_ack(&Ack {
                now: Instant::from_nanos(ns),
                delivered: SMSS,
                smss: SMSS,
                srtt: Duration::from_millis(rtt_ms.into()),
                ..ack(0)
            });
        }
        let average = area / time;
        let off = (average - expected).abs() / expected;
        println!("RTT {rtt_ms} ms, p = 1/{period}: {average:.1} for {expected}");
        assert!(
            off < 0.1,
            "RTT {rtt_ms} ms, p = 1/{period}: {average} for {expected}"
        );
    }
}
