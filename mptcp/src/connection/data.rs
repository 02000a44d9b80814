//! Data as the connection's owner sees it: what it takes and sends, how much it may, and what is held for either.

use super::{Connection, LocalFin, Mode, Subflow};
use crate::send_queue::SendQueue;
use stack::tcp::Tcb;
use stack::{PacketBuf, Slice};

impl<B: PacketBuf> Connection<B> {
    /// The next data in order.
    pub fn take(&mut self) -> Option<Slice<B>> {
        self.recv.take()
    }

    /// Sets how many octets the owner can hold beyond what it has taken. The announced window follows, at most
    /// [`Limits::recv_buffer`](super::Limits::recv_buffer); its right edge never moves back.
    pub fn set_recv_room(&mut self, bytes: u32) {
        let room = u64::from(bytes.min(self.params.limits.recv_buffer));
        let edge = self.recv_edge.max(self.recv.taken() + room);
        if edge > self.recv_edge {
            self.recv_edge = edge;
            self.renew_windows();
        }
    }

    /// The window to announce, relative to our DATA_ACK.
    pub(super) fn window(&self) -> u32 {
        u32::try_from(self.recv_edge.distance(self.recv.next()).max(0)).unwrap_or(u32::MAX)
    }

    /// Octets that [`Self::send`] may still add: 0 when [`Limits::send_buffer`](super::Limits::send_buffer) is used up, or after
    /// [`Self::finish`]. What is sent beyond is taken nevertheless.
    #[must_use]
    pub fn send_room(&self) -> usize {
        if self.local_fin != LocalFin::Open || self.is_over() {
            return 0;
        }
        // A piece pins a whole packet buffer, however short it is.
        let limit = self.params.limits.send_buffer as usize;
        if self.send.pieces() >= (limit / 128).max(64) {
            return 0;
        }
        limit.saturating_sub(self.queued())
    }

    /// A measure of what is to be sent, where it waits: in the only subflow after a fallback.
    fn to_send(
        &self,
        plain: impl Fn(&Tcb<B>) -> usize,
        data: impl Fn(&SendQueue<B>) -> usize,
    ) -> usize {
        match self.mode {
            Mode::Fallback => self
                .subflows
                .first()
                .map_or(0, |subflow| plain(&subflow.tcb)),
            Mode::Unverified | Mode::Verified => data(&self.send),
        }
    }

    /// Octets given to [`Self::send`] that the peer has not acknowledged for good, sent or not: what a relay holds.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.to_send(Tcb::queued, SendQueue::len)
    }

    /// Octets of those that no subflow was given yet.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.to_send(Tcb::unsent, SendQueue::waiting)
    }

    /// Octets of [`Self::queued`] that have not come to the peer's host yet: it has what a subflow got acknowledged, even if it
    /// waits there for what another one carries. What two subflows carry counts twice.
    #[must_use]
    pub fn not_arrived(&self) -> usize {
        let carried = self.subflows.iter().map(|subflow| subflow.tcb.queued());
        carried.sum::<usize>() + self.send.waiting()
    }

    /// Pieces of payload that make up [`Self::queued`]: each pins a packet buffer, however short it is.
    #[must_use]
    pub fn pieces(&self) -> usize {
        self.to_send(Tcb::pieces, SendQueue::pieces)
    }

    /// The payload that makes up [`Self::queued`], the oldest first, for who moves it elsewhere: its octets stay the same.
    pub fn queued_mut(&mut self) -> impl Iterator<Item = &mut Slice<B>> {
        let fallen_back = matches!(self.mode, Mode::Fallback);
        let first = self.subflows.first_mut().filter(|_| fallen_back);
        let plain = first
            .into_iter()
            .flat_map(|subflow| subflow.tcb.queued_mut());
        self.send.data_mut().chain(plain)
    }

    /// Queues payload, by reference. Ignored after [`Self::finish`] and once the connection ended.
    pub fn send(&mut self, payload: Slice<B>) {
        if self.local_fin != LocalFin::Open || self.is_over() {
            return;
        }
        if self.mode == Mode::Fallback {
            self.send_plain(payload);
        } else {
            self.send.push(payload);
            self.dirty = true;
        }
    }

    /// Octets held for the owner, in order or beyond gaps, of the data or of a subflow.
    #[must_use]
    pub fn held(&self) -> usize {
        let of = |subflow: &Subflow<B>| subflow.held.len + subflow.tcb.out_of_order();
        self.recv.held() + self.subflows.iter().map(of).sum::<usize>()
    }

    /// Pieces of payload that make up [`Self::held`]: each pins a packet buffer, however short it is.
    #[must_use]
    pub fn pieces_held(&self) -> usize {
        let of = |subflow: &Subflow<B>| subflow.held.slices.len() + subflow.tcb.pieces_in();
        self.recv.pieces() + self.subflows.iter().map(of).sum::<usize>()
    }

    /// The payload that was received and not taken, at either level, for who moves it elsewhere: its octets stay the same.
    pub fn received_mut(&mut self) -> impl Iterator<Item = &mut Slice<B>> {
        let subflows = self.subflows.iter_mut();
        let below = subflows.flat_map(|subflow| subflow.tcb.received_mut());
        self.recv.data_mut().chain(below)
    }
}
