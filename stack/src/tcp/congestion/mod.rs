//! Congestion control: how much may be in flight. An enum behind a trait, matched, never boxed.

mod coupled;
mod new_reno;

pub use coupled::{Coupled, Share};
pub use new_reno::NewReno;

/// What a congestion controller is told, and what it answers. All amounts are octets.
pub trait CongestionControl {
    /// The congestion window.
    fn cwnd(&self) -> u32;
    /// The slow start threshold.
    fn ssthresh(&self) -> u32;
    /// `delivered` octets arrived while the window was what limited us, outside of fast recovery.
    fn on_ack(&mut self, delivered: u32, smss: u32);
    /// Loss recovery begins with `flight` octets outstanding.
    fn on_loss(&mut self, flight: u32, smss: u32);
    /// Loss recovery regulates the window (RFC 6937), then leaves it at what is safe to go on with.
    fn set_cwnd(&mut self, cwnd: u32);
    /// The retransmission timer expired with `flight` octets outstanding; `again` if for the same data as before.
    fn on_rto(&mut self, flight: u32, smss: u32, again: bool);
    /// Nothing was sent for longer than an RTO.
    fn on_idle(&mut self, smss: u32);
}

/// The controllers.
#[derive(Clone, Debug)]
pub enum Congestion {
    /// RFC 5681 and RFC 6582.
    NewReno(NewReno),
    /// RFC 6356 and its kin: one of several windows of a connection.
    Coupled(Coupled),
}

macro_rules! each {
    ($self:ident, $cc:ident => $body:expr) => {
        match $self {
            Self::NewReno($cc) => $body,
            Self::Coupled($cc) => $body,
        }
    };
}

impl Congestion {
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

impl CongestionControl for Congestion {
    fn cwnd(&self) -> u32 {
        each!(self, cc => cc.cwnd())
    }
    fn ssthresh(&self) -> u32 {
        each!(self, cc => cc.ssthresh())
    }
    fn on_ack(&mut self, delivered: u32, smss: u32) {
        each!(self, cc => cc.on_ack(delivered, smss));
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
    fn on_idle(&mut self, smss: u32) {
        each!(self, cc => cc.on_idle(smss));
    }
}
