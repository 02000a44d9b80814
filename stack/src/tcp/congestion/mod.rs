//! Congestion control: how much may be in flight. An enum behind a trait, matched, never boxed.

mod bbr;
mod coupled;
mod cubic;
mod delivery_rate;
mod hystart;
mod new_reno;
mod rest;
#[cfg(test)]
mod tests;

pub use bbr::Bbr;
pub use coupled::{Coupled, Share};
pub use cubic::Cubic;
pub use new_reno::NewReno;
pub(super) use rest::RestingCongestion;

use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

/// What an acknowledgment that may open the window tells a congestion controller.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// When it came.
    pub now: Instant,
    /// Octets that arrived.
    pub delivered: u32,
    /// SMSS in octets.
    pub smss: u32,
    /// Whether the window was what limited us when that was sent (RFC 7661 3). If not, it must not grow.
    pub limited: bool,
    /// The round trip that it measured.
    pub rtt: Option<Duration>,
    /// SRTT; zero before the first measurement.
    pub srtt: Duration,
    /// SND.UNA.
    pub una: SeqNum,
    /// SND.NXT.
    pub nxt: SeqNum,
}

/// What any acknowledgment tells a controller that keeps a model of the path.
#[derive(Clone, Copy, Debug)]
pub struct Delivery {
    /// When it came.
    pub now: Instant,
    /// Octets that arrived.
    pub delivered: u32,
    /// When the last of them was sent, as far as that is known.
    pub sent_at: Option<Instant>,
    /// The round trip that it measured.
    pub rtt: Option<Duration>,
    /// SRTT; zero before the first measurement.
    pub srtt: Duration,
    /// Octets believed to travel.
    pub pipe: u32,
    /// SMSS in octets.
    pub smss: u32,
    /// Whether something is known to be lost that was not sent again.
    pub losing: bool,
    /// Whether recovery regulates the window.
    pub recovering: bool,
    /// Whether what a timeout left behind is being repaired.
    pub after_timeout: bool,
}

/// What a congestion controller is told, and what it answers. All amounts are octets.
pub trait CongestionControl {
    /// The congestion window.
    fn cwnd(&self) -> u32;
    /// The slow start threshold.
    fn ssthresh(&self) -> u32;
    /// Something arrived outside of fast recovery.
    fn on_ack(&mut self, ack: &Ack);
    /// Loss recovery begins with `flight` octets outstanding.
    fn on_loss(&mut self, flight: u32, smss: u32);
    /// Loss recovery regulates the window (RFC 9937), then leaves it at what is safe to go on with.
    fn set_cwnd(&mut self, cwnd: u32);
    /// The retransmission timer expired with `flight` octets outstanding; `again` if for the same data as before.
    fn on_rto(&mut self, flight: u32, smss: u32, again: bool);
    /// Sending begins again with nothing in flight. After more than an RTO without, `idle` has the restart window (RFC 5681
    /// 4.1).
    fn on_start(&mut self, now: Instant, idle: Option<u32>);
    /// The peer saw a congestion mark, with `flight` octets outstanding: as a loss, but nothing is to be repaired (RFC 3168
    /// 6.1.2).
    fn on_mark(&mut self, flight: u32, smss: u32) {
        self.on_loss(flight, smss);
        self.set_cwnd(self.ssthresh().min(self.cwnd()));
    }
    /// An acknowledgment was taken, in recovery or not.
    fn on_delivery(&mut self, _: &Delivery) {}
    /// Something was sent; `idle` if nothing else travels.
    fn on_sent(&mut self, _: Instant, _idle: bool) {}
    /// There is nothing more to send while `pipe` octets travel, fewer than the window allows.
    fn on_app_limited(&mut self, _pipe: u32) {}
    /// Octets in a second at which to send, from a controller that knows.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }
}

/// Which controller a connection has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// RFC 5681 and RFC 6582.
    NewReno,
    /// RFC 9438: what hosts have by default.
    #[default]
    Cubic,
    /// BBR: by what the path delivers rather than by what it loses. Always paced.
    Bbr,
}

/// The controllers.
#[derive(Clone, Debug)]
pub enum Congestion {
    /// RFC 5681 and RFC 6582.
    NewReno(NewReno),
    /// RFC 9438.
    Cubic(Cubic),
    /// By a model of the path.
    Bbr(Bbr),
    /// RFC 6356 and its kin: one of several windows of a connection.
    Coupled(Coupled),
}

impl Congestion {
    /// In slow start, with a window of `cwnd` octets.
    #[must_use]
    pub fn new(algorithm: Algorithm, cwnd: u32) -> Self {
        match algorithm {
            Algorithm::NewReno => Self::NewReno(NewReno::new(cwnd)),
            Algorithm::Cubic => Self::Cubic(Cubic::new(cwnd)),
            Algorithm::Bbr => Self::Bbr(Bbr::new(cwnd)),
        }
    }

    /// Lets the window grow and shrink by `share` from now on. One that was not coupled stays as it is while it has all
    /// to itself.
    pub fn couple(&mut self, share: Share) {
        match self {
            Self::Coupled(coupled) => coupled.set_share(share),
            _ if share == Share::RENO => {},
            other => *other = Self::Coupled(Coupled::new(other.cwnd(), other.ssthresh(), share)),
        }
    }
}

/// RFC 6928 2: ten segments, at most 14,600 octets unless two segments are more.
#[must_use]
pub fn initial_window(smss: u32) -> u32 {
    (10 * smss).min(14_600.max(2 * smss))
}

macro_rules! each {
    ($self:ident, $cc:ident => $body:expr) => {
        match $self {
            Self::NewReno($cc) => $body,
            Self::Cubic($cc) => $body,
            Self::Bbr($cc) => $body,
            Self::Coupled($cc) => $body,
        }
    };
}

impl CongestionControl for Congestion {
    fn cwnd(&self) -> u32 {
        each!(self, cc => cc.cwnd())
    }
    fn ssthresh(&self) -> u32 {
        each!(self, cc => cc.ssthresh())
    }
    fn on_ack(&mut self, ack: &Ack) {
        each!(self, cc => cc.on_ack(ack));
    }
    fn on_loss(&mut self, flight: u32, smss: u32) {
        each!(self, cc => cc.on_loss(flight, smss));
    }
    fn set_cwnd(&mut self, cwnd: u32) {
        each!(self, cc => cc.set_cwnd(cwnd));
    }
    fn on_rto(&mut self, flight: u32, smss: u32, again: bool) {
        each!(self, cc => cc.on_rto(flight, smss, again));
    }
    fn on_start(&mut self, now: Instant, idle: Option<u32>) {
        each!(self, cc => cc.on_start(now, idle));
    }
    fn on_mark(&mut self, flight: u32, smss: u32) {
        each!(self, cc => cc.on_mark(flight, smss));
    }
    fn on_delivery(&mut self, delivery: &Delivery) {
        each!(self, cc => cc.on_delivery(delivery));
    }
    fn on_sent(&mut self, now: Instant, idle: bool) {
        each!(self, cc => cc.on_sent(now, idle));
    }
    fn on_app_limited(&mut self, pipe: u32) {
        each!(self, cc => cc.on_app_limited(pipe));
    }
    fn pacing_rate(&self) -> Option<u64> {
        each!(self, cc => cc.pacing_rate())
    }
}
