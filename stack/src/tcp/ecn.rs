//! Explicit congestion notification on one connection (RFC 3168 6.1): marks are answered on the leg where they occur.

use super::congestion::CongestionControl;
use super::send::recovery::Mode;
use super::{State, Tcb};
use crate::counters::Counter;
use crate::seq::SeqNum;
use crate::wire::tcp::{Flags, Segment};
use crate::{Cx, PacketBuf};

/// The ECN field of an IP header (RFC 3168 5).
const FIELD: u8 = 0b11;
/// Congestion experienced.
const CE: u8 = 0b11;

/// What a connection that uses ECN has to remember.
#[derive(Clone, Debug, Default)]
pub(super) struct Ecn {
    /// A mark came: every segment of ours says so until the peer has answered (RFC 3168 6.1.3).
    echo: bool,
    /// Our window was reduced for a mark: the next new data says so (6.1.2).
    reduced: bool,
    /// Marks on what was sent before this were answered already: once in a round trip.
    until: Option<SeqNum>,
}

impl Ecn {
    /// Whether nothing is to be said; marks on what was sent are all answered once all of that is acknowledged.
    pub(super) const fn is_idle(&self) -> bool {
        !self.echo && !self.reduced
    }
}

impl<B: PacketBuf> Tcb<B> {
    /// Takes the ECN bits of an acceptable segment, before its acknowledgment is taken.
    pub(super) fn input_ecn(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) {
        let Some(ecn) = self.rare.as_mut().and_then(|rare| rare.ecn.as_mut()) else {
            return;
        };
        if seg.flags.has(Flags::CWR) {
            ecn.echo = false;
        }
        if seg.tos & FIELD == CE && !seg.payload.is_empty() {
            cx.counters.count(Counter::TcpCongestionMarked);
            ecn.echo = true;
        }
        if ecn.until.is_some_and(|until| seg.ack > until) {
            ecn.until = None;
        }
        if seg.flags.has(Flags::ECE) && ecn.until.is_none() && self.state != State::TimeWait {
            self.reduce(cx);
        }
    }

    /// RFC 3168 6.1.2: as for a loss, without anything to send again. One that is being repaired has halved it already.
    fn reduce(&mut self, cx: &mut Cx<'_>) {
        let (flight, smss) = (self.snd.queue.flight(), self.snd.smss());
        if flight == 0 {
            return;
        }
        if let Some(ecn) = self.rare.as_mut().and_then(|rare| rare.ecn.as_mut()) {
            ecn.reduced = true;
            ecn.until = Some(self.snd.queue.nxt());
        }
        if self.snd.recovery.mode == Mode::Open {
            cx.counters.count(Counter::TcpCongestionEchoed);
            self.snd.cc.on_mark(flight, smss);
        }
    }

    /// The ECN flags of a segment of ours; `new` if it carries data for the first time, which alone may be marked by
    /// the network (6.1.4, 6.1.5).
    pub(super) fn ecn_flags(&mut self, flags: Flags, new: bool) -> Flags {
        let mut flags = flags;
        let ecn = self.rare.as_mut().and_then(|rare| rare.ecn.as_mut());
        let Some(ecn) = ecn.filter(|_| !flags.has(Flags::RST)) else {
            return flags;
        };
        if ecn.echo {
            flags = flags.with(Flags::ECE);
        }
        if new && ecn.reduced {
            ecn.reduced = false;
            flags = flags.with(Flags::CWR);
        }
        flags
    }

    /// Whether both ends use ECN.
    #[must_use]
    pub fn uses_ecn(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.ecn.is_some())
    }
}
