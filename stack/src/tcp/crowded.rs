//! A full queue of our own device: more was sent than leaves, and no segment has to be lost to tell.

use super::Tcb;
use super::congestion::CongestionControl;
use super::send::recovery::Mode;
use crate::counters::Counter;
use crate::{Cx, PacketBuf};

impl<B: PacketBuf> Tcb<B> {
    /// What was sent last waits behind a full queue of the device. The window is reduced as for a mark that the peer saw (RFC 3168
    /// 6.1.2), at most once in a round trip, and not while it is being reduced for a loss.
    pub fn on_crowded(&mut self, cx: &mut Cx<'_>) {
        let round = self.snd.rtt.srtt().unwrap_or_default();
        let (flight, smss) = (self.snd.queue.flight(), self.snd.smss());
        let answered = cx.now < self.snd.last_crowded + round;
        if answered || flight == 0 || self.snd.recovery.mode != Mode::Open {
            return;
        }
        self.snd.last_crowded = cx.now;
        cx.counters.count(Counter::TcpCongestionOwn);
        self.snd.cc.on_mark(flight, smss);
    }
}
