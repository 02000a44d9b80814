//! BBR (draft-cardwell-iccrg-bbr-congestion-control-00): the window follows from what the path delivers and from its
//! least round trip, not from loss. Whole octets, nanoseconds and gains in 256ths; no floats.
//!
//! Its repair of losses is everybody's (RFC 9937), with the window that the path's model says as the threshold: octet for
//! octet first, as the draft wants it, and never less than that window for long.

use super::delivery_rate::{DeliveryRate, RateSample};
use super::{Ack, CongestionControl, Delivery};
use crate::time::{Duration, Instant};
use core::cmp::Ordering;

#[cfg(test)]
mod tests;

/// What gains are counted in.
const UNIT: u64 = 256;
/// `BBRHighGain`, 2/ln 2: the least that doubles the rate in a round trip.
const HIGH_GAIN: u64 = 739;
/// Its inverse.
const DRAIN_GAIN: u64 = 89;
/// `cwnd_gain` while the rate is probed: acknowledgments that are late or come together must not stop the sender.
const CWND_GAIN: u64 = 2 * UNIT;
/// Gains of the phases of `ProbeBW`: ask for more, give it back, cruise.
const CYCLE: [u64; 8] = [
    UNIT * 5 / 4,
    UNIT * 3 / 4,
    UNIT,
    UNIT,
    UNIT,
    UNIT,
    UNIT,
    UNIT,
];
/// `BtlBwFilterLen`, rounds.
const RATE_ROUNDS: u64 = 10;
/// `RTpropFilterLen`.
const RTPROP_KEPT: Duration = Duration::from_secs(10);
/// `ProbeRTTDuration`.
const PROBE_RTT: Duration = Duration::from_millis(200);
/// `BBRMinPipeCwnd`, segments.
const LEAST_SEGMENTS: u32 = 4;
/// Rounds without a quarter more, after which the pipe is full.
const FULL_ROUNDS: u8 = 3;

/// One window and the model that it follows. The model is apart: no other controller is nearly as large.
#[derive(Clone, Debug)]
pub struct Bbr {
    cwnd: u32,
    /// What the model allows; the threshold while a loss is repaired.
    target: u32,
    /// `BBR.pacing_rate`, octets a second; 0 before there is a round trip.
    pacing_rate: u64,
    model: Box<Model>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Startup,
    Drain,
    ProbeBw {
        phase: usize,
        since: Instant,
    },
    /// The window is small until then, once it was reached, and for a round at least.
    ProbeRtt {
        until: Option<Instant>,
        round_done: bool,
    },
}

#[derive(Clone, Debug)]
struct Model {
    state: State,
    rate: DeliveryRate,
    /// `BBR.BtlBw`.
    btl_bw: MaxFilter,
    /// `BBR.RTprop`.
    rtprop: Option<Duration>,
    rtprop_at: Instant,
    round: u64,
    round_starts: bool,
    /// `BBR.next_round_delivered`.
    round_end: u64,
    full_rate: u64,
    full_rounds: u8,
    filled_pipe: bool,
    /// `BBR.prior_cwnd`: what to go back to after a repair or a look at the least round trip.
    prior_cwnd: u32,
    recovering: bool,
    /// Sending begins again with nothing in flight.
    idle_restart: bool,
    initial_cwnd: u32,
}

impl Bbr {
    /// Starts with a window of `cwnd` octets.
    #[must_use]
    pub fn new(cwnd: u32) -> Self {
        Self {
            cwnd,
            target: u32::MAX,
            pacing_rate: 0,
            model: Box::new(Model {
                state: State::Startup,
                rate: DeliveryRate::new(),
                btl_bw: MaxFilter::default(),
                rtprop: None,
                rtprop_at: Instant::ZERO,
                round: 0,
                round_starts: false,
                round_end: 0,
                full_rate: 0,
                full_rounds: 0,
                filled_pipe: false,
                prior_cwnd: 0,
                recovering: false,
                idle_restart: false,
                initial_cwnd: cwnd,
            }),
        }
    }

    /// 4.2.1: `BBRSetPacingRate`.
    fn set_pacing_rate(&mut self, delivery: &Delivery) {
        let model = &self.model;
        let rate = if model.btl_bw.max() == 0 {
            let srtt = nanos(delivery.srtt.max(Duration::from_millis(1)));
            let rate = u128::from(self.cwnd) * 1_000_000_000 / u128::from(srtt);
            scaled(u64::try_from(rate).unwrap_or(u64::MAX), HIGH_GAIN)
        } else {
            scaled(model.btl_bw.max(), model.pacing_gain())
        };
        if model.filled_pipe || rate > self.pacing_rate {
            self.pacing_rate = rate;
        }
    }

    /// 4.2.3: `BBRSetCwnd`.
    fn set_window(&mut self, delivery: &Delivery) {
        let model = &mut self.model;
        let least = LEAST_SEGMENTS * delivery.smss;
        self.target = model.inflight(model.cwnd_gain(), self.pacing_rate, delivery.smss);
        self.target = self.target.max(least);
        if model.recovering != delivery.recovering {
            model.recovering = delivery.recovering;
            if !delivery.recovering {
                self.cwnd = self.cwnd.max(model.prior_cwnd);
            }
        }
        if delivery.recovering {
            return;
        }
        let grown = self.cwnd.saturating_add(delivery.delivered);
        if model.filled_pipe {
            self.cwnd = grown.min(self.target);
        } else if self.cwnd < self.target || model.rate.delivered() < u64::from(model.initial_cwnd)
        {
            self.cwnd = grown;
        }
        if !delivery.after_timeout {
            self.cwnd = self.cwnd.max(least);
        }
        if matches!(model.state, State::ProbeRtt { .. }) {
            self.cwnd = self.cwnd.min(least);
        }
    }

    fn save_window(&mut self) {
        let model = &mut self.model;
        let small = model.recovering || matches!(model.state, State::ProbeRtt { .. });
        let before = if small { model.prior_cwnd } else { 0 };
        model.prior_cwnd = before.max(self.cwnd);
    }

    /// 4.3.5: `BBRCheckProbeRTT`.
    fn check_probe_rtt(&mut self, delivery: &Delivery, expired: bool) {
        let probing = matches!(self.model.state, State::ProbeRtt { .. });
        if !probing && expired && !self.model.idle_restart {
            self.save_window();
            self.model.state = State::ProbeRtt {
                until: None,
                round_done: false,
            };
        }
        let model = &mut self.model;
        if delivery.delivered > 0 {
            model.idle_restart = false;
        }
        let State::ProbeRtt { until, round_done } = &mut model.state else {
            return;
        };
        // So little in flight is not what the path can carry.
        model.rate.limit(delivery.pipe);
        match *until {
            None if delivery.pipe <= LEAST_SEGMENTS * delivery.smss => {
                *until = Some(delivery.now + PROBE_RTT);
                *round_done = false;
                model.round_end = model.rate.delivered();
            },
            None => {},
            Some(at) => {
                *round_done |= model.round_starts;
                if *round_done && delivery.now >= at {
                    model.rtprop_at = delivery.now;
                    self.cwnd = self.cwnd.max(model.prior_cwnd);
                    model.state = State::Startup;
                    if model.filled_pipe {
                        model.probe_bw(delivery.now);
                    }
                }
            },
        }
    }
}

impl Model {
    /// 4.1.1: `BBRUpdateRound` and `BBRUpdateBtlBw`.
    fn update_rate(&mut self, sample: Option<&RateSample>) {
        self.round_starts = false;
        let Some(sample) = sample else {
            return;
        };
        if sample.prior_delivered >= self.round_end {
            self.round_end = self.rate.delivered();
            self.round += 1;
            self.round_starts = true;
        }
        if sample.rate >= self.btl_bw.max() || !sample.app_limited {
            self.btl_bw.update(self.round, sample.rate);
        }
    }

    /// 4.1.2: `BBRUpdateRTprop`. Whether it was not seen again for too long.
    fn update_rtprop(&mut self, now: Instant, rtt: Option<Duration>) -> bool {
        let expired = self.rtprop.is_some() && now.since(self.rtprop_at) > RTPROP_KEPT;
        if let Some(rtt) = rtt
            && (expired || self.rtprop.is_none_or(|least| rtt <= least))
        {
            self.rtprop = Some(rtt);
            self.rtprop_at = now;
        }
        expired
    }

    /// 4.3.2.2: `BBRCheckFullPipe`.
    fn check_full_pipe(&mut self, sample: Option<&RateSample>) {
        let tells = sample.is_some_and(|sample| !sample.app_limited);
        if self.filled_pipe || !self.round_starts || !tells {
            return;
        }
        let rate = self.btl_bw.max();
        if rate >= self.full_rate.saturating_mul(5) / 4 {
            self.full_rate = rate;
            self.full_rounds = 0;
            return;
        }
        self.full_rounds += 1;
        self.filled_pipe = self.full_rounds >= FULL_ROUNDS;
    }

    /// 4.3.3: `BBRCheckDrain`.
    fn check_drain(&mut self, delivery: &Delivery) {
        if self.state == State::Startup && self.filled_pipe {
            self.state = State::Drain;
        }
        if self.state == State::Drain && delivery.pipe <= self.bdp(UNIT) {
            self.probe_bw(delivery.now);
        }
    }

    /// 4.3.4.3: `BBREnterProbeBW`, at any phase but the one that gives back, so that flows do not probe in step. The clock
    /// decides, which no two flows read at the same time.
    fn probe_bw(&mut self, now: Instant) {
        let drawn = usize::try_from((now.as_nanos() >> 10) % 7).unwrap_or(0);
        let phase = if drawn == 1 { 7 } else { drawn };
        self.state = State::ProbeBw { phase, since: now };
    }

    /// 4.3.4.3: `BBRCheckCyclePhase`.
    fn check_cycle(&mut self, delivery: &Delivery) {
        let State::ProbeBw { phase, since } = self.state else {
            return;
        };
        let gain = CYCLE[phase % CYCLE.len()];
        let rtprop = self.rtprop.unwrap_or_default();
        let long = delivery.now.since(since) > rtprop;
        let before = delivery.pipe.saturating_add(delivery.delivered);
        let next = match gain.cmp(&UNIT) {
            Ordering::Equal => long,
            Ordering::Greater => long && (delivery.losing || before >= self.bdp(gain)),
            Ordering::Less => long || before <= self.bdp(UNIT),
        };
        if next {
            self.state = State::ProbeBw {
                phase: (phase + 1) % CYCLE.len(),
                since: delivery.now,
            };
        }
    }

    fn pacing_gain(&self) -> u64 {
        match self.state {
            State::Startup => HIGH_GAIN,
            State::Drain => DRAIN_GAIN,
            State::ProbeBw { phase, .. } => CYCLE[phase % CYCLE.len()],
            State::ProbeRtt { .. } => UNIT,
        }
    }

    const fn cwnd_gain(&self) -> u64 {
        match self.state {
            State::Startup | State::Drain => HIGH_GAIN,
            State::ProbeBw { .. } => CWND_GAIN,
            State::ProbeRtt { .. } => UNIT,
        }
    }

    /// `gain` times the product of rate and least round trip, octets; the initial window before both are known.
    fn bdp(&self, gain: u64) -> u32 {
        let (Some(rtprop), rate @ 1..) = (self.rtprop, self.btl_bw.max()) else {
            return self.initial_cwnd;
        };
        let bdp = u128::from(rate) * rtprop.as_nanos() / 1_000_000_000;
        let bdp = bdp * u128::from(gain) / u128::from(UNIT);
        u32::try_from(bdp).unwrap_or(u32::MAX)
    }

    /// 4.2.3.2: `BBRInflight`: room for what waits in bursts at both ends beside that.
    fn inflight(&self, gain: u64, pacing_rate: u64, smss: u32) -> u32 {
        // 4.2.2: a millisecond's worth, two segments at least where the rate is no trickle, 64 KiB at most.
        let burst = u32::try_from(pacing_rate / 1000).unwrap_or(u32::MAX);
        let segments = if pacing_rate < 150_000 { 1 } else { 2 };
        let quantum = burst.min(64 << 10).max(segments * smss);
        self.bdp(gain).saturating_add(3 * quantum)
    }
}

impl CongestionControl for Bbr {
    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.target
    }

    fn on_ack(&mut self, _: &Ack) {}

    fn on_delivery(&mut self, delivery: &Delivery) {
        let model = &mut self.model;
        let rate = &mut model.rate;
        let (now, octets) = (delivery.now, delivery.delivered);
        let sample = rate.on_delivered(now, octets, delivery.sent_at, model.rtprop);
        model.update_rate(sample.as_ref());
        model.check_cycle(delivery);
        model.check_full_pipe(sample.as_ref());
        model.check_drain(delivery);
        let expired = model.update_rtprop(now, delivery.rtt);
        self.check_probe_rtt(delivery, expired);
        self.set_pacing_rate(delivery);
        self.set_window(delivery);
    }

    fn on_sent(&mut self, now: Instant, idle: bool) {
        self.model.rate.on_sent(now, idle);
    }

    fn on_app_limited(&mut self, pipe: u32) {
        self.model.rate.limit(pipe);
    }

    fn pacing_rate(&self) -> Option<u64> {
        (self.pacing_rate > 0).then_some(self.pacing_rate)
    }

    /// 4.2.3.4: the window is remembered, and the model stays as it is.
    fn on_loss(&mut self, _: u32, _: u32) {
        self.save_window();
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd;
    }

    /// The model knows no marks, but RFC 3168 6.1.2 wants an answer: half of what is in flight, for a round trip.
    fn on_mark(&mut self, flight: u32, smss: u32) {
        self.cwnd = self.cwnd.min((flight / 2).max(2 * smss));
    }

    fn on_rto(&mut self, _: u32, smss: u32, again: bool) {
        if !again {
            self.save_window();
        }
        self.cwnd = smss;
    }

    /// 4.3.4.4: `BBRHandleRestartFromIdle`. What is paced starts without a burst: the window may stay.
    fn on_start(&mut self, _: Instant, _: Option<u32>) {
        self.model.idle_restart = true;
        if matches!(self.model.state, State::ProbeBw { .. }) {
            self.pacing_rate = self.model.btl_bw.max();
        }
    }
}

/// The greatest of the last rounds: the best, and the best of what came after it, twice (as Kathleen Nichols does it).
#[derive(Clone, Copy, Debug, Default)]
struct MaxFilter {
    /// Rounds and values, the best first.
    best: [(u64, u64); 3],
}

impl MaxFilter {
    const fn max(&self) -> u64 {
        self.best[0].1
    }

    fn update(&mut self, round: u64, value: u64) {
        let new = (round, value);
        if value >= self.best[0].1 || round - self.best[2].0 > RATE_ROUNDS {
            self.best = [new; 3];
            return;
        }
        if value >= self.best[1].1 {
            self.best[1] = new;
            self.best[2] = new;
        } else if value >= self.best[2].1 {
            self.best[2] = new;
        }
        let age = round - self.best[0].0;
        if age > RATE_ROUNDS {
            self.best = [self.best[1], self.best[2], new];
            if round - self.best[0].0 > RATE_ROUNDS {
                self.best = [self.best[1], self.best[2], new];
            }
        } else if self.best[1].0 == self.best[0].0 && age > RATE_ROUNDS / 4 {
            self.best[1] = new;
            self.best[2] = new;
        } else if self.best[2].0 == self.best[1].0 && age > RATE_ROUNDS / 2 {
            self.best[2] = new;
        }
    }
}

fn scaled(rate: u64, gain: u64) -> u64 {
    let scaled = u128::from(rate) * u128::from(gain) / u128::from(UNIT);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
