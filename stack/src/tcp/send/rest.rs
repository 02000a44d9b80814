//! The sending half at rest.

use super::queue::SendQueue;
use super::rack::RestingRack;
use super::recovery::{Mode, Recovery};
use super::rtt::RestingRtt;
use super::tlp::Tlp;
use super::{PacketBuf, Sender};
use crate::seq::SeqNum;
use crate::tcp::congestion::{RestingCongestion, initial_window};
use crate::time::Instant;

/// A [`Sender`] of which all that was sent is acknowledged, and nothing waits.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct RestingSender {
    octets_acked: u64,
    rtt: RestingRtt,
    cc: RestingCongestion,
    nxt: SeqNum,
    wnd: u32,
    wnd_max: u32,
    resends: u32,
    smss: u16,
    wscale: u8,
    rack: RestingRack,
    sack: bool,
    measured: bool,
}

impl RestingSender {
    pub(in crate::tcp) const fn octets_acked(&self) -> u64 {
        self.octets_acked
    }

    /// The same with `rcv_nxt` as the number of the peer's last segment, which told its window.
    pub(in crate::tcp) fn wake<B: PacketBuf>(&self, rcv_nxt: SeqNum) -> Sender<B> {
        let nxt = self.nxt;
        let mut queue = SendQueue::new(nxt);
        queue.rack = self.rack.wake(nxt);
        Sender {
            queue,
            rtt: self.rtt.wake(nxt),
            cc: self.cc.wake(initial_window(u32::from(self.smss))),
            recovery: Recovery::new(nxt - 1),
            tlp: Tlp::new(self.measured),
            wnd: self.wnd,
            wnd_max: self.wnd_max,
            wscale: self.wscale,
            wl1: rcv_nxt,
            wl2: nxt,
            smss: self.smss,
            sack: self.sack,
            // Whatever limited us is long ago, and so is the last transmission: the window restarts (RFC 5681 4.1).
            limited_until: nxt - 1,
            crowded_until: nxt - 1,
            delivered: 0,
            last_sent: Instant::ZERO,
            last_progress: Instant::ZERO,
            consecutive_rtos: 0,
            probe_due: false,
            probes: 0,
            unanswered_probes: 0,
            octets_acked: self.octets_acked,
            resends: self.resends,
        }
    }
}

impl<B: PacketBuf> Sender<B> {
    /// What is left at rest; `None` if something is queued, under way, or being repaired.
    pub(in crate::tcp) fn rest(&self) -> Option<RestingSender> {
        let Self {
            queue,
            rtt,
            cc,
            recovery,
            tlp,
            wnd,
            wnd_max,
            wscale,
            wl1: _,
            wl2: _,
            smss,
            sack,
            limited_until: _,
            crowded_until: _,
            delivered: _,
            last_sent: _,
            last_progress: _,
            consecutive_rtos,
            probe_due,
            probes,
            unanswered_probes,
            octets_acked,
            resends,
        } = self;
        let is_empty = queue.entries() == 0 && queue.flight() == 0 && !queue.fin_queued();
        let repairs = recovery.mode != Mode::Open || recovery.assumed > 0 || recovery.oldest_due;
        let probes = *probe_due || *probes > 0 || *unanswered_probes > 0 || queue.probed;
        let rests = is_empty && !repairs && !probes && *consecutive_rtos == 0 && tlp.is_idle();
        rests.then(|| RestingSender {
            octets_acked: *octets_acked,
            rtt: rtt.rest(),
            cc: cc.rest(),
            nxt: queue.nxt(),
            wnd: *wnd,
            wnd_max: *wnd_max,
            resends: *resends,
            smss: *smss,
            wscale: *wscale,
            rack: queue.rack.rest(),
            sack: *sack,
            measured: tlp.measured,
        })
    }
}
