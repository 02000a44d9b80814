//! A full queue of our own device: more was sent than leaves, and no segment has to be lost to tell.

use super::Tcb;
use super::congestion::CongestionControl;
use super::send::recovery::Mode;
use crate::counters::Counter;
use crate::{Cx, PacketBuf};

impl<B: PacketBuf> Tcb<B> {
    /// What was sent last waits behind a full queue of the device. The window is reduced as for a mark that the peer saw (RFC 3168
    /// 6.1.2), once in a round trip, and not while it is being reduced for a loss.
    pub fn on_crowded(&mut self, cx: &mut Cx<'_>) {
        let (flight, smss) = (self.snd.queue.flight(), self.snd.smss());
        // Anything else than a number within what travels is of long ago.
        let answered = (1..=flight).contains(&(self.snd.crowded_until - self.snd.queue.una()));
        if answered || flight == 0 || self.snd.recovery.mode != Mode::Open {
            return;
        }
        self.snd.crowded_until = self.snd.queue.nxt();
        cx.counters.count(Counter::TcpCongestionOwn);
        self.snd.cc.on_mark(flight, smss);
    }
}
