//! The receiving half: reassembly, window, acknowledgments.

pub(super) mod ack;
pub(super) mod queue;
#[cfg(test)]
mod tests;
pub(super) mod window;

use crate::PacketBuf;
use crate::seq::SeqNum;
use ack::Acks;
use queue::RecvQueue;
use window::RecvWindow;

/// Slices held beyond gaps, whatever the window: a peer that sends tiny segments pins a packet buffer with each.
const HELD_MIN: u32 = 64;

/// The receive variables of RFC 9293 3.3.1.
#[derive(Clone, Debug)]
pub(super) struct Receiver<B> {
    pub(super) queue: RecvQueue<B>,
    pub(super) window: RecvWindow,
    pub(super) ack: Acks,
    /// Sequence number of the peer's FIN, once one came.
    pub(super) fin: Option<SeqNum>,
    pub(super) fin_accepted: bool,
    /// Largest payload seen in a segment: what stands for the peer's MSS.
    pub(super) mss: u16,
    pub(super) octets: u64,
}

/// A [`Receiver`] that holds nothing and owes nothing.
#[derive(Clone, Debug)]
pub(super) struct RestingReceiver {
    octets: u64,
    nxt: SeqNum,
    /// What was offered beyond that.
    wnd: u32,
    mss: u16,
    wscale: u8,
}

impl RestingReceiver {
    pub(super) const fn octets(&self) -> u64 {
        self.octets
    }

    pub(super) fn wake<B: PacketBuf>(&self) -> Receiver<B> {
        Receiver {
            queue: RecvQueue::new(self.nxt),
            window: RecvWindow::new(self.nxt, self.wnd, self.wscale),
            ack: Acks::default(),
            fin: None,
            fin_accepted: false,
            mss: self.mss,
            octets: self.octets,
        }
    }
}

impl<B: PacketBuf> Receiver<B> {
    /// What is left at rest; `None` if something is held, to be acknowledged, or over.
    pub(super) fn rest(&self) -> Option<RestingReceiver> {
        let Self {
            queue,
            window,
            ack,
            fin,
            fin_accepted,
            mss,
            octets,
        } = self;
        let holds = queue.taken() != queue.nxt() || queue.has_blocks();
        let rests = !holds && !ack.is_due() && fin.is_none() && !fin_accepted;
        let (nxt, offered) = (queue.nxt(), window.offered());
        rests.then(|| RestingReceiver {
            octets: *octets,
            nxt,
            wnd: if offered > nxt { offered - nxt } else { 0 },
            mss: *mss,
            wscale: window.wscale(),
        })
    }

    pub(super) fn new(nxt: SeqNum, offered: u32, wscale: u8) -> Self {
        Self {
            queue: RecvQueue::new(nxt),
            window: RecvWindow::new(nxt, offered, wscale),
            ack: Acks::default(),
            fin: None,
            fin_accepted: false,
            mss: 536,
            octets: 0,
        }
    }

    /// RCV.NXT.
    pub(super) fn nxt(&self) -> SeqNum {
        self.queue.nxt() + u32::from(self.fin_accepted)
    }

    /// RCV.WND as far as we accept.
    pub(super) fn wnd(&self) -> u32 {
        let (edge, nxt) = (self.window.accepts_below(), self.nxt());
        if edge > nxt { edge - nxt } else { 0 }
    }

    /// Slices that may be held beyond gaps: twice what a window of full segments makes.
    pub(super) fn held_max(&self) -> usize {
        let full = self.wnd() / u32::from(self.mss.max(1));
        (HELD_MIN + 2 * full) as usize
    }

    pub(super) fn fin_is_next(&self) -> bool {
        !self.fin_accepted && self.fin == Some(self.queue.nxt())
    }
}
