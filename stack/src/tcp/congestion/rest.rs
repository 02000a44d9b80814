//! A congestion controller while nothing is sent: the window restarts then, and what is left is what it was before.

use super::{Bbr, Congestion, CongestionControl, Coupled, Cubic, NewReno, Share};

/// What of a [`Congestion`] outlasts the time in which nothing is under way.
#[derive(Clone, Copy, Debug)]
pub(in crate::tcp) struct RestingCongestion {
    cwnd: u32,
    ssthresh: u32,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    NewReno,
    /// With `W_max` and `cwnd_prior`.
    Cubic(u32, u32),
    /// Its model of the path is older than it believes any (10 s): the path is learned anew.
    Bbr,
    /// Its share is computed anew before each acknowledgment.
    Coupled,
}

impl Congestion {
    pub(in crate::tcp) fn rest(&self) -> RestingCongestion {
        let kind = match self {
            Self::NewReno(_) => Kind::NewReno,
            Self::Cubic(cubic) => {
                let (w_max, prior) = cubic.marks();
                Kind::Cubic(w_max, prior)
            },
            Self::Bbr(_) => Kind::Bbr,
            Self::Coupled(_) => Kind::Coupled,
        };
        RestingCongestion {
            cwnd: self.cwnd(),
            ssthresh: self.ssthresh(),
            kind,
        }
    }
}

impl RestingCongestion {
    /// To go on with; `initial` is the window that a new connection would have.
    pub(in crate::tcp) fn wake(self, initial: u32) -> Congestion {
        let (cwnd, ssthresh) = (self.cwnd, self.ssthresh);
        match self.kind {
            Kind::NewReno => Congestion::NewReno(NewReno::after(cwnd, ssthresh)),
            Kind::Cubic(w_max, prior) => {
                Congestion::Cubic(Cubic::after((cwnd, ssthresh), (w_max, prior)))
            },
            Kind::Bbr => Congestion::Bbr(Bbr::new(cwnd.min(initial))),
            Kind::Coupled => Congestion::Coupled(Coupled::new(cwnd, ssthresh, Share::RENO)),
        }
    }
}
