//! Coupled congestion control: how much of Reno's increase each subflow's window gets, so that all of them together take
//! no more of a bottleneck that they share than one TCP connection, and move to the paths that are congested least.
//!
//! Whole numbers throughout. With `x` the rate of a subflow, its window by its round-trip time, and `p` its part of the
//! sum of all rates, the increases of all three algorithms, taken as parts of Reno's, need `p` alone and one ratio of
//! round-trip times: so nothing can overflow, whatever the windows.

use crate::connection::SUBFLOWS_MAX;
use crate::subflow::Subflow;
use arrayvec::ArrayVec;
use stack::PacketBuf;
use stack::tcp::congestion::{Algorithm, Share};

/// How the windows of a connection's subflows depend on each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coupling {
    /// Not at all: each is that of a TCP connection of its own, with CUBIC. For paths that share no bottleneck, as the
    /// lines of two access networks do, and where each should be filled.
    #[default]
    Uncoupled,
    /// Linked increases (RFC 6356).
    Lia,
    /// Opportunistic linked increases (draft-khalili-mptcp-congestion-control-05).
    Olia,
    /// Balanced linked adaptation (draft-walid-mptcp-congestion-control).
    Balia,
}

/// What is known of a subflow whose window is one of several.
#[derive(Clone, Copy, Debug)]
struct Path {
    /// Octets that it has in flight when it may.
    window: u32,
    /// Smoothed round-trip time in microseconds, from 1 to 2^28.
    rtt: u32,
    /// Octets acknowledged since its last loss, or between its last two if these are more.
    span: u64,
}

/// How many octets a subflow gets through between its losses: l of OLIA.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spans {
    /// Octets acknowledged in all when it lost last.
    at_loss: u64,
    /// Octets acknowledged between its last two losses.
    between: u64,
    recovering: bool,
}

impl Spans {
    /// To be called before each acknowledgment with what was acknowledged so far: a loss that the one before, or a
    /// timeout, made known began a recovery, which lasts until the next at least.
    pub(crate) const fn renew(&mut self, acked: u64, recovering: bool) {
        if recovering && !self.recovering {
            self.between = acked - self.at_loss;
            self.at_loss = acked;
        }
        self.recovering = recovering;
    }

    fn longer(self, acked: u64) -> u64 {
        self.between.max(acked - self.at_loss)
    }
}

impl Coupling {
    /// How a subflow's window grows while it has all to itself. What the coupled ones are told apart by are parts of Reno's
    /// increase.
    pub(crate) const fn algorithm(self) -> Algorithm {
        match self {
            Self::Uncoupled => Algorithm::Cubic,
            Self::Lia | Self::Olia | Self::Balia => Algorithm::NewReno,
        }
    }

    /// What subflow `at` may take, if it is in congestion avoidance.
    pub(crate) fn share<B: PacketBuf>(self, subflows: &[Subflow<B>], at: usize) -> Option<Share> {
        let own = subflows.get(at)?;
        if own.tcb.cwnd() < own.tcb.ssthresh() || own.tcb.in_recovery() {
            return None;
        }
        let mut paths: ArrayVec<Path, SUBFLOWS_MAX> = ArrayVec::new();
        let mut own_at = None;
        for (index, subflow) in subflows.iter().enumerate() {
            let Some(path) = path_of(subflow, index == at) else {
                continue;
            };
            if index == at {
                own_at = Some(paths.len());
            }
            if paths.try_push(path).is_err() {
                break;
            }
        }
        Some(self.share_of(&paths, own_at?))
    }

    /// The share of path `at` of `paths`.
    fn share_of(self, paths: &[Path], at: usize) -> Share {
        let Some(parts) = parts(paths) else {
            return Share::RENO;
        };
        let (own, most) = (parts[at], parts.iter().copied().max().unwrap_or(0));
        match self {
            Self::Uncoupled => Share::RENO,
            Self::Lia => gain(lia(paths, &parts, at)),
            // The square of the own part is (w / rtt^2) / (sum of w / rtt)^2 * w.
            Self::Olia => gain(one_of(own * own) + olia_shift(paths, at)),
            Self::Balia => Share {
                cut: balia_cut(own, most),
                // With a = most / own, own^2 * (1 + a) / 2 * (4 + a) / 5.
                ..gain(one_of((own + most) * (4 * own + most) / 10))
            },
        }
    }
}

/// What a share is computed with: a number with 48 bits behind the point.
const POINT: u32 = 48;
const ONE: i64 = 1 << POINT;

/// A product of two numbers with 48 bits behind the point each, as one.
fn one_of(product: u128) -> i64 {
    i64::try_from(product >> POINT).unwrap_or(i64::MAX)
}

/// A gain with 24 bits behind the point instead, and Reno's decrease.
fn gain(parts: i64) -> Share {
    let parts = parts / (ONE / i64::from(Share::ONE));
    Share {
        gain: i32::try_from(parts).unwrap_or(Share::RENO.gain),
        ..Share::RENO
    }
}

fn path_of<B: PacketBuf>(subflow: &Subflow<B>, own: bool) -> Option<Path> {
    let tcb = &subflow.tcb;
    if !own && !subflow.is_usable() {
        return None;
    }
    // RFC 6356 3: in recovery the window is not the real one; and one that is not used does not count for what it is.
    let window = if tcb.in_recovery() {
        tcb.ssthresh()
    } else if own || tcb.is_cwnd_limited() {
        tcb.cwnd()
    } else {
        tcb.cwnd().min(tcb.flight_size())
    };
    let rtt = u32::try_from(tcb.srtt()?.as_micros()).unwrap_or(u32::MAX);
    (window > 0).then(|| Path {
        window,
        rtt: rtt.clamp(1, 1 << 28),
        span: subflow.spans.longer(tcb.bytes_acked()),
    })
}

/// Each path's part of the sum of all rates; `None` if there is no rate.
fn parts(paths: &[Path]) -> Option<ArrayVec<u128, SUBFLOWS_MAX>> {
    // Octets per microsecond with 32 bits behind the point: OLIA's increase is a small difference of such terms.
    let rate = |path: &Path| u128::from((u64::from(path.window) << 32) / u64::from(path.rtt));
    let total: u128 = paths.iter().map(rate).sum();
    let part = |path| (rate(path) << POINT) / total;
    (total > 0).then(|| paths.iter().map(part).collect())
}

/// RFC 6356 3: with alpha put in, alpha / total = max(w / rtt^2) / (sum of w / rtt)^2; never more than Reno.
fn lia(paths: &[Path], parts: &[u128], at: usize) -> i64 {
    let rtt = |index: usize| u128::from(paths[index].rtt);
    let best = (0..paths.len())
        .reduce(|a, b| {
            let b_is_more = parts[b] * rtt(a) > parts[a] * rtt(b);
            if b_is_more { b } else { a }
        })
        .unwrap_or(at);
    one_of(parts[at] * parts[best] * rtt(at) / rtt(best)).min(ONE)
}

/// OLIA's alpha: it moves increase from the paths with the largest windows to those that lose least and have small ones.
fn olia_shift(paths: &[Path], at: usize) -> i64 {
    // l^2 / rtt is compared without a division.
    let less = |a: &Path, b: &Path| {
        let square = |path: &Path| u128::from(path.span.min(1 << 48)).pow(2);
        square(a) * u128::from(b.rtt) < square(b) * u128::from(a.rtt)
    };
    let is_best = |path: &Path| !paths.iter().any(|other| less(path, other));
    let largest = paths.iter().map(|path| path.window).max().unwrap_or(0);
    let is_largest = |path: &Path| path.window == largest;
    let wants = |path: &Path| is_best(path) && !is_largest(path);
    let count = |what: &dyn Fn(&Path) -> bool| paths.iter().filter(|path| what(path)).count();
    let wanting = count(&wants);
    let part = |of: usize| ONE / i64::try_from(paths.len() * of).unwrap_or(i64::MAX);
    if wanting == 0 {
        0
    } else if wants(&paths[at]) {
        part(wanting)
    } else if is_largest(&paths[at]) {
        -part(count(&is_largest))
    } else {
        0
    }
}

/// BALIA's decrease: half of min(a, 1.5), a being `most` by `own`.
fn balia_cut(own: u128, most: u128) -> u32 {
    let (half, limit) = (u128::from(Share::ONE / 2), Share::ONE / 4 * 3);
    let cut = (most * half).checked_div(own);
    cut.and_then(|cut| u32::try_from(cut).ok())
        .map_or(limit, |cut| cut.min(limit))
}

#[cfg(test)]
mod tests;
