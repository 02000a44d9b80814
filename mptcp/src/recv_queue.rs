//! Reassembly at the connection level: data by reference, in order of data sequence numbers (RFC 8684 3.3.2).

use crate::DataSeq;
use crate::dsn;
use stack::{PacketBuf, Slice, prefetch_ring};
use std::collections::VecDeque;

/// What became of data handed to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Some of it moved the DATA_ACK.
    InOrder,
    /// It was kept beyond a gap.
    OutOfOrder,
    /// Nothing of it was new.
    Duplicate,
    /// It lies beyond the window, or the queue holds its limit of pieces: dropped, never DATA_ACKed.
    Refused,
}

/// The receive side of the data sequence space.
#[derive(Debug)]
pub(crate) struct RecvQueue<B> {
    /// RCV.NXT of the data level: the DATA_ACK that we send.
    next: DataSeq,
    ready: VecDeque<Slice<B>>,
    ready_len: usize,
    /// Pieces beyond `next`, sorted, without overlap.
    ahead: VecDeque<(DataSeq, Slice<B>)>,
    ahead_len: usize,
    /// Most pieces held: a piece pins a whole packet buffer however short it is.
    pieces_max: usize,
}

impl<B: PacketBuf> RecvQueue<B> {
    /// A queue that expects `next` and never holds more than `pieces_max` pieces.
    pub(crate) fn new(next: DataSeq, pieces_max: usize) -> Self {
        Self {
            next,
            ready: VecDeque::new(),
            ready_len: 0,
            ahead: VecDeque::new(),
            ahead_len: 0,
            pieces_max,
        }
    }

    /// The next octet expected in order.
    pub(crate) const fn next(&self) -> DataSeq {
        self.next
    }

    /// The first octet that was not taken yet.
    pub(crate) fn taken(&self) -> DataSeq {
        DataSeq(self.next.0.wrapping_sub(self.ready_len as u64))
    }

    /// Octets held, in order and beyond gaps.
    pub(crate) const fn held(&self) -> usize {
        self.ready_len + self.ahead_len
    }

    /// Pieces held, in order and beyond gaps.
    pub(crate) fn pieces(&self) -> usize {
        self.ready.len() + self.ahead.len()
    }

    /// The data held, in order and beyond gaps.
    pub(crate) fn data_mut(&mut self) -> impl Iterator<Item = &mut Slice<B>> {
        let ahead = self.ahead.iter_mut().map(|(_, slice)| slice);
        self.ready.iter_mut().chain(ahead)
    }

    /// Whether data beyond a gap is held.
    pub(crate) fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Counts a DATA_FIN that was accepted: it occupies one number (RFC 8684 3.3.3).
    pub(crate) fn step_over_fin(&mut self) {
        self.next = dsn::plus(self.next, 1);
    }

    /// Appends data that follows in order whatever its number is: after a fallback the subflow's order counts alone.
    pub(crate) fn append(&mut self, slice: Slice<B>) {
        self.next = dsn::plus(self.next, slice.len());
        self.ready_len += slice.len();
        self.ready.push_back(slice);
    }

    /// Takes in `slice`, whose first octet is `at`; only what lies before `edge`.
    pub(crate) fn insert(&mut self, at: DataSeq, slice: Slice<B>, edge: DataSeq) -> Received {
        let pieces = self.pieces();
        if at == self.next
            && (1..=dsn::octets(edge, at)).contains(&slice.len())
            && pieces < self.pieces_max
        {
            self.append(slice);
            self.drain();
            return Received::InOrder;
        }
        let skip = dsn::octets(self.next, at);
        let within = dsn::octets(edge, at).min(slice.len());
        if skip >= slice.len() {
            return Received::Duplicate;
        }
        if within <= skip || self.ready.len() >= self.pieces_max {
            return Received::Refused;
        }
        let at = dsn::plus(at, skip);
        let slice = slice.narrow(skip..within);
        let full = pieces >= self.pieces_max;
        if at == self.next {
            // What fills the gap goes before what lies beyond it: that was not DATA_ACKed and comes again.
            if full && let Some((_, last)) = self.ahead.pop_back() {
                self.ahead_len -= last.len();
            }
            self.append(slice);
            self.drain();
            return Received::InOrder;
        }
        if full {
            return Received::Refused;
        }
        self.insert_ahead(at, slice)
    }

    fn insert_ahead(&mut self, at: DataSeq, slice: Slice<B>) -> Received {
        let after = |(last, held): &(DataSeq, Slice<B>)| {
            dsn::distance(dsn::plus(*last, held.len()), at) <= 0
        };
        if self.ahead.back().is_none_or(after) {
            self.ahead_len += slice.len();
            self.ahead.push_back((at, slice));
            return Received::OutOfOrder;
        }
        let mut at = at;
        let end = dsn::plus(at, slice.len());
        let start = at;
        let mut index = self.ahead.partition_point(after);
        let mut new = false;
        while dsn::distance(end, at) > 0 {
            let held = self.ahead.get(index).map(|(dsn, held)| (*dsn, held.len()));
            let stop = held.map_or(end, |(dsn, _)| {
                if dsn::distance(dsn, end) < 0 {
                    dsn
                } else {
                    end
                }
            });
            if dsn::distance(stop, at) > 0 {
                let piece = slice.slice(dsn::octets(at, start)..dsn::octets(stop, start));
                self.ahead_len += piece.len();
                self.ahead.insert(index, (at, piece));
                new = true;
                index += 1;
            }
            let Some((dsn, len)) = held else { break };
            at = dsn::plus(dsn, len);
            index += 1;
        }
        if new {
            Received::OutOfOrder
        } else {
            Received::Duplicate
        }
    }

    /// Moves what has become contiguous from beyond the gap into order.
    fn drain(&mut self) {
        while let Some((at, _)) = self.ahead.front() {
            if dsn::distance(*at, self.next) > 0 {
                break;
            }
            let Some((at, slice)) = self.ahead.pop_front() else {
                break;
            };
            self.ahead_len -= slice.len();
            let (skip, len) = (dsn::octets(self.next, at), slice.len());
            if skip < len {
                self.append(slice.narrow(skip..len));
            }
        }
    }

    /// Drops all that is held beyond a gap.
    pub(crate) fn discard_ahead(&mut self) {
        self.ahead.clear();
        self.ahead_len = 0;
    }

    /// The next piece in order.
    pub(crate) fn take(&mut self) -> Option<Slice<B>> {
        let Some(slice) = self.ready.pop_front() else {
            // From its start again, so that few lines of it are in use.
            self.ready.clear();
            return None;
        };
        self.ready_len -= slice.len();
        Some(slice)
    }

    /// Has the processor fetch where what comes next in order will wait.
    pub(crate) fn prefetch(&self) {
        prefetch_ring(&self.ready);
    }

    /// Whether nothing waits to be taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.ready.is_empty()
    }
}

#[cfg(test)]
mod tests;
