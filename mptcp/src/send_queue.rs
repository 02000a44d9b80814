//! The send side of the data sequence space: data by reference, kept until it is DATA_ACKed (RFC 8684 3.3.2).

use crate::DataSeq;
use crate::dsn;
use stack::prefetch::AHEAD;
use stack::{Instant, PacketBuf, Slice, prefetch_ring};
use std::collections::VecDeque;

/// A set of subflow slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotSet(pub(crate) u16);

impl SlotSet {
    pub(crate) const fn has(self, slot: u8) -> bool {
        self.0 & (1 << slot) != 0
    }

    pub(crate) const fn add(&mut self, slot: u8) {
        self.0 |= 1 << slot;
    }

    pub(crate) const fn remove(&mut self, slot: u8) {
        self.0 &= !(1 << slot);
    }
}

/// Data that was given to at least one subflow and not yet DATA_ACKed.
#[derive(Debug)]
pub(crate) struct Chunk<B> {
    pub(crate) dsn: DataSeq,
    pub(crate) payload: Slice<B>,
    /// The subflows that carry it or carried it.
    pub(crate) carriers: SlotSet,
    /// Whether it waits to be sent once more on another subflow.
    again: bool,
    /// When it was last given to a subflow.
    pub(crate) sent_at: Instant,
}

impl<B: PacketBuf> Chunk<B> {
    pub(crate) fn end(&self) -> DataSeq {
        dsn::plus(self.dsn, self.payload.len())
    }
}

/// What a DATA_ACK did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataAcked {
    /// It acknowledged so many new octets.
    Octets(usize),
    /// Nothing new.
    Nothing,
    /// It acknowledges data that was never sent: ignored.
    NeverSent,
}

/// Data on its way out, in order: DATA_ACKed | sent, not DATA_ACKed | not given to any subflow yet.
#[derive(Debug)]
pub(crate) struct SendQueue<B> {
    una: DataSeq,
    nxt: DataSeq,
    sent: VecDeque<Chunk<B>>,
    sent_len: usize,
    pending: VecDeque<Slice<B>>,
    pending_len: usize,
    /// Numbers of the chunks to be sent again, in no particular order; stale entries are skipped.
    again: VecDeque<DataSeq>,
}

impl<B: PacketBuf> SendQueue<B> {
    /// An empty queue whose first octet will be number `first`.
    pub(crate) fn new(first: DataSeq) -> Self {
        Self {
            una: first,
            nxt: first,
            sent: VecDeque::new(),
            sent_len: 0,
            pending: VecDeque::new(),
            pending_len: 0,
            again: VecDeque::new(),
        }
    }

    /// The oldest number that is not DATA_ACKed.
    pub(crate) const fn una(&self) -> DataSeq {
        self.una
    }

    /// The number of the next octet to be given to a subflow.
    pub(crate) const fn nxt(&self) -> DataSeq {
        self.nxt
    }

    /// Octets held, sent or not.
    pub(crate) const fn len(&self) -> usize {
        self.sent_len + self.pending_len
    }

    /// Whether everything that was queued was given to a subflow at least once.
    pub(crate) fn all_sent(&self) -> bool {
        self.pending.is_empty()
    }

    /// Octets that no subflow has carried yet.
    pub(crate) const fn waiting(&self) -> usize {
        self.pending_len
    }

    /// Lengths of the pieces that no subflow has carried yet, in their order.
    pub(crate) fn waiting_lens(&self) -> impl Iterator<Item = usize> {
        self.pending.iter().map(Slice::len)
    }

    /// Octets given to a subflow and not DATA_ACKed.
    pub(crate) const fn in_flight(&self) -> usize {
        self.sent_len
    }

    /// Pieces held, sent or not.
    pub(crate) fn pieces(&self) -> usize {
        self.sent.len() + self.pending.len()
    }

    /// The data held, the oldest first.
    pub(crate) fn data_mut(&mut self) -> impl Iterator<Item = &mut Slice<B>> {
        let sent = self.sent.iter_mut().map(|chunk| &mut chunk.payload);
        sent.chain(&mut self.pending)
    }

    /// Queues `slice` behind all else.
    pub(crate) fn push(&mut self, slice: Slice<B>) {
        if !slice.is_empty() {
            self.pending_len += slice.len();
            self.pending.push_back(slice);
        }
    }

    /// Length of the next piece that no subflow has carried yet.
    pub(crate) fn head_len(&self) -> Option<usize> {
        self.pending.front().map(Slice::len)
    }

    /// Cuts up to `len` octets off the head of what is pending and counts them as carried by `slot`.
    pub(crate) fn send_head(
        &mut self,
        len: usize,
        slot: u8,
        now: Instant,
    ) -> Option<(DataSeq, Slice<B>)> {
        let head = self.pending.pop_front()?;
        // What waited for a window has left the cache.
        if let Some(later) = self.pending.get(AHEAD) {
            later.fetch();
        }
        if self.pending.is_empty() {
            // From its start again, so that few lines of it are in use.
            self.pending.clear();
        }
        let payload = if head.len() > len {
            self.pending.push_front(head.slice(len..head.len()));
            head.narrow(0..len)
        } else {
            head
        };
        let dsn = self.nxt;
        let mut carriers = SlotSet::default();
        carriers.add(slot);
        self.nxt = dsn::plus(dsn, payload.len());
        self.pending_len -= payload.len();
        self.sent_len += payload.len();
        self.sent.push_back(Chunk {
            dsn,
            payload: payload.clone(),
            carriers,
            again: false,
            sent_at: now,
        });
        Some((dsn, payload))
    }

    /// Takes in a DATA_ACK; `fin` is whether a DATA_FIN of ours occupies the number after the last octet.
    pub(crate) fn acknowledge(&mut self, ack: DataSeq, fin: bool) -> DataAcked {
        let limit = dsn::plus(self.nxt, usize::from(fin));
        if dsn::distance(ack, limit) > 0 {
            return DataAcked::NeverSent;
        }
        let octets = dsn::octets(ack, self.una).min(self.sent_len);
        if octets == 0 {
            return DataAcked::Nothing;
        }
        let mut left = octets;
        while let Some(front) = self.sent.front_mut() {
            let len = front.payload.len();
            if len > left {
                front.payload = front.payload.slice(left..len);
                front.dsn = dsn::plus(front.dsn, left);
                break;
            }
            left -= len;
            self.sent.pop_front();
            if left == 0 {
                break;
            }
        }
        if self.sent.is_empty() {
            self.sent.clear();
        }
        self.sent_len -= octets;
        self.una = dsn::plus(self.una, octets);
        DataAcked::Octets(octets)
    }

    /// Has the processor fetch its oldest data, and where new data will wait.
    pub(crate) fn prefetch(&self) {
        prefetch_ring(&self.sent);
        prefetch_ring(&self.pending);
    }

    /// The oldest chunk that is not DATA_ACKed.
    pub(crate) fn oldest(&self) -> Option<&Chunk<B>> {
        self.sent.front()
    }

    /// Marks up to `limit` of the oldest chunks that `choose` picks to be sent again; returns how many.
    pub(crate) fn send_again(
        &mut self,
        limit: usize,
        mut choose: impl FnMut(&Chunk<B>) -> bool,
    ) -> usize {
        let mut chosen = 0;
        for chunk in &mut self.sent {
            if chosen == limit {
                break;
            }
            if !chunk.again && choose(chunk) {
                chunk.again = true;
                self.again.push_back(chunk.dsn);
                chosen += 1;
            }
        }
        chosen
    }

    /// Marks the first of the `among` oldest chunks that `choose` picks to be sent again, before any other; whether there
    /// was one.
    pub(crate) fn overtake(
        &mut self,
        among: usize,
        mut choose: impl FnMut(&Chunk<B>) -> bool,
    ) -> bool {
        let mut oldest = self.sent.iter_mut().take(among);
        let chosen = oldest.find(|chunk| !chunk.again && choose(chunk));
        if let Some(chunk) = chosen {
            chunk.again = true;
            self.again.push_front(chunk.dsn);
            return true;
        }
        false
    }

    /// Forgets a slot that was freed, so that its next holder does not count as a carrier.
    pub(crate) fn forget(&mut self, slot: u8) {
        for chunk in &mut self.sent {
            chunk.carriers.remove(slot);
        }
    }

    /// Whether a chunk waits to be sent again, or did and was DATA_ACKed meanwhile.
    pub(crate) fn is_again(&self) -> bool {
        !self.again.is_empty()
    }

    /// The next chunk to be sent again: what is left of it, and which subflows carried it.
    pub(crate) fn again_head(&mut self) -> Option<(DataSeq, Slice<B>, SlotSet)> {
        while let Some(&dsn) = self.again.front() {
            if let Some(chunk) = self.chunk(dsn)
                && chunk.again
            {
                return Some((chunk.dsn, chunk.payload.clone(), chunk.carriers));
            }
            self.again.pop_front();
        }
        None
    }

    /// Notes that the chunk at the head of those to be sent again was given to `slot`.
    pub(crate) fn sent_again(&mut self, slot: u8, now: Instant) {
        if let Some(dsn) = self.again.pop_front()
            && let Some(chunk) = self.chunk(dsn)
        {
            chunk.again = false;
            chunk.carriers.add(slot);
            chunk.sent_at = now;
        }
    }

    /// The oldest chunk at `from` or later that `slot` does not carry.
    pub(crate) fn copy_for(&self, slot: u8, from: DataSeq) -> Option<(DataSeq, Slice<B>)> {
        let before = |chunk: &Chunk<B>| dsn::distance(chunk.end(), from) <= 0;
        let start = self.sent.partition_point(before);
        let mut rest = self.sent.range(start..);
        rest.find(|chunk| !chunk.carriers.has(slot))
            .map(|chunk| (chunk.dsn, chunk.payload.clone()))
    }

    /// Notes that the chunk at `dsn` was given to `slot` beside others.
    pub(crate) fn copied(&mut self, dsn: DataSeq, slot: u8) {
        if let Some(chunk) = self.chunk(dsn) {
            chunk.carriers.add(slot);
        }
    }

    /// The chunk that holds `dsn`; a partial DATA_ACK may have moved its start past it.
    fn chunk(&mut self, dsn: DataSeq) -> Option<&mut Chunk<B>> {
        if self.sent.is_empty() {
            return None;
        }
        let at = if dsn::distance(dsn, self.una) < 0 {
            self.una
        } else {
            dsn
        };
        let index = self
            .sent
            .partition_point(|chunk| dsn::distance(chunk.end(), at) <= 0);
        self.sent.get_mut(index).filter(|chunk| {
            chunk.dsn == dsn || dsn::distance(chunk.dsn, dsn) > 0 && chunk.dsn == at
        })
    }

    /// Drops what was sent and returns what is pending: after a fallback the subflow itself keeps what it carries.
    pub(crate) fn take_plain(&mut self) -> VecDeque<Slice<B>> {
        self.sent.clear();
        self.again.clear();
        self.sent_len = 0;
        self.una = self.nxt;
        self.pending_len = 0;
        core::mem::take(&mut self.pending)
    }
}

#[cfg(test)]
mod tests;
