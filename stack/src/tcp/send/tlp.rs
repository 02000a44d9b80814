//! Tail loss probes (RFC 8985 7): nothing that follows reports a lost tail, so the last segment, or a new one, asks after it
//! well before the retransmission timer, whose price is the whole window.
//!
//! As RFC 8985 4 demands, only with SACK: without it, the answer to a probe tells nothing of what is missing.

use super::Sender;
use super::recovery::Mode;
use crate::counters::Counter;
use crate::seq::SeqNum;
use crate::tcp::congestion::CongestionControl;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{SackBlock, Segment};
use crate::{Cx, PacketBuf};

/// `TLP.max_ack_delay`: how long the peer may sit on the acknowledgment of a lone segment. Hosts wait 40 ms to 200 ms.
const MAX_ACK_DELAY: Duration = Duration::from_millis(200);

/// Least time until a probe: how late hosts may answer has little to do with a round trip of microseconds (7.2, "end-host
/// delay variance").
const PTO_MIN: Duration = Duration::from_millis(10);

/// The state of RFC 8985 5.3.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Tlp {
    /// TLP.end_seq: SND.NXT after the probe whose answer is not complete.
    pub(super) end: Option<SeqNum>,
    /// FlightSize when it was sent, in octets.
    flight: u32,
    /// TLP.is_retrans.
    resent: bool,
    /// Whether a round trip was measured since the last probe or the connection's start.
    pub(super) measured: bool,
    /// The probe timer has expired: the next segment out is the probe.
    pub(in crate::tcp) due: bool,
}

impl Tlp {
    pub(super) const fn new(measured: bool) -> Self {
        Self {
            end: None,
            flight: 0,
            resent: false,
            measured,
            due: false,
        }
    }

    /// Whether no probe is due or unanswered.
    pub(super) const fn is_idle(&self) -> bool {
        self.end.is_none() && !self.due
    }

    /// 7.1: a loss recovery begins.
    pub(super) const fn reset(&mut self) {
        self.end = None;
        self.resent = false;
        self.due = false;
    }
}

impl<B: PacketBuf> Sender<B> {
    /// Whether a loss probe may be sent, and its timer run: 7.2 and the conditions of 7.3. Where they do not hold, the
    /// retransmission timer is what repairs.
    pub(in crate::tcp) fn may_probe(&self) -> bool {
        self.sack
            && self.tlp.end.is_none()
            && self.tlp.measured
            && self.recovery.mode == Mode::Open
            && self.queue.sacked() == 0
            && self.queue.flight() > 0
    }

    /// When to probe if nothing happens until then (7.2), where the retransmission timer expires at `rto_at`. There is no
    /// row for a connection without SRTT: it has not met the second condition of 7.3.
    pub(in crate::tcp) fn probe_at(&self, now: Instant, rto_at: Instant) -> Option<Instant> {
        let srtt = self.may_probe().then(|| self.rtt.srtt())??;
        let mut pto = (srtt * 2).max(PTO_MIN);
        if self.queue.sent() == 1 {
            pto += MAX_ACK_DELAY;
        }
        Some((now + pto).min(rto_at))
    }

    /// A probe was sent while `flight` octets were outstanding: new data, or the last segment again.
    pub(in crate::tcp) fn on_probe_sent(&mut self, flight: u32, resent: bool) {
        self.tlp = Tlp {
            end: Some(self.queue.nxt()),
            flight,
            resent,
            measured: false,
            due: false,
        };
    }

    /// 7.4.2: whether the answer says that the probe repaired the loss of the very segment that it carried. Nothing else
    /// would tell congestion control of it. `duplicate` if the acknowledgment is one but for what is outstanding.
    pub(super) fn on_probe_ack(
        &mut self,
        cx: &mut Cx<'_>,
        seg: &Segment<B>,
        (flight, duplicate): (u32, bool),
        dsack: Option<SackBlock>,
    ) {
        let Some(end) = self.tlp.end.filter(|end| seg.ack >= *end) else {
            return;
        };
        let both_arrived = dsack.is_some_and(|block| block.end == end)
            || seg.ack == end && duplicate && seg.options.sack.is_empty();
        if !self.tlp.resent || both_arrived {
            self.tlp.end = None;
        } else if seg.ack > end {
            self.tlp.end = None;
            cx.counters.count(Counter::TcpLossProbeRepaired);
            self.cc.on_loss(self.tlp.flight.max(flight), self.smss());
            let window = self.cc.ssthresh().min(self.cc.cwnd());
            self.cc.set_cwnd(window);
        }
    }
}
