//! Which segments have arrived and which are to be sent again: SACK (RFC 2018, RFC 6675).
//!
//! Every step is amortized constant per segment: SACK blocks are snapped to segments and kept as ranges, so a block that
//! is reported again costs one search, and loss detection walks forward from where it last stopped.

use super::frto::Frto;
use super::queue::{Entry, Mark, News, SendQueue};
use super::rack::Receipt;
use crate::PacketBuf;
use crate::seq::SeqNum;
use crate::time::Instant;
use crate::wire::tcp::SackBlock;
use std::collections::VecDeque;

/// DupThresh (RFC 6675 2).
pub(super) const DUP_THRESH: u32 = 3;

/// What SACK and retransmissions need beyond the marks on the segments; made when first needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Scoreboard {
    /// What was reported by SACK: ascending, disjoint, not adjacent, along the edges of segments.
    ranges: VecDeque<SackBlock>,
    /// Retransmissions in the order of their sending, and at one time of their numbers.
    resent: VecDeque<(SeqNum, Instant)>,
    /// Segments whose retransmission was lost too: they go first.
    lost_again: VecDeque<SeqNum>,
    /// While it is not known whether a timeout was needed.
    pub(super) frto: Option<Box<Frto>>,
}

impl Scoreboard {
    pub(super) fn forget_before(&mut self, una: SeqNum) {
        // Without SACK nobody else takes them out.
        while self.resent.front().is_some_and(|(seq, _)| *seq < una) {
            self.resent.pop_front();
        }
        while let Some(range) = self.ranges.front_mut()
            && range.start < una
        {
            if range.end <= una {
                self.ranges.pop_front();
            } else {
                range.start = una;
            }
        }
    }

    /// Notes a retransmission. What is sent at once counts as sent in the order of its numbers (RFC 8985 6.2 step 2).
    fn note_resent(&mut self, seq: SeqNum, now: Instant) {
        let later = self.resent.iter().rev();
        let later = later.take_while(|(other, at)| *at == now && *other > seq);
        let place = self.resent.len() - later.count();
        self.resent.insert(place, (seq, now));
    }

    /// Retransmissions remembered.
    #[cfg(test)]
    pub(super) fn noted(&self) -> usize {
        self.resent.len()
    }

    /// The retransmission timer expired: what was lost is sent again from the oldest on. What `reneged` was reported by a
    /// peer that has thrown it away.
    pub(super) fn on_timeout(&mut self, reneged: bool) {
        self.lost_again.clear();
        if reneged {
            self.ranges.clear();
        }
    }

    /// Index of the first range that ends at or beyond `seq`.
    fn search(&self, seq: SeqNum) -> usize {
        self.ranges.partition_point(|range| range.end < seq)
    }

    fn covers(&self, block: SackBlock) -> bool {
        self.ranges
            .get(self.search(block.end))
            .is_some_and(|range| range.start <= block.start && block.end <= range.end)
    }

    /// Adds a range, joining it with those that it overlaps or touches.
    fn add(&mut self, start: SeqNum, end: SeqNum) {
        let first = self.search(start);
        let mut joined = SackBlock { start, end };
        let mut last = first;
        while let Some(range) = self.ranges.get(last)
            && range.start <= end
        {
            joined.start = joined.start.min(range.start);
            joined.end = joined.end.max(range.end);
            last += 1;
        }
        match self.ranges.get_mut(first) {
            Some(slot) if last > first => {
                *slot = joined;
                self.ranges.drain(first + 1..last);
            },
            _ => self.ranges.insert(first, joined),
        }
    }
}

impl<B: PacketBuf> SendQueue<B> {
    /// Octets reported by SACK blocks and not yet acknowledged.
    pub(in crate::tcp) fn sacked_octets(&self) -> u32 {
        let ranges = self.board.iter().flat_map(|board| &board.ranges);
        ranges.map(|range| range.end - range.start).sum()
    }

    /// Takes one SACK block. What lies outside of what was sent, as a DSACK does (RFC 2883), tells nothing here.
    pub(in crate::tcp) fn sack(&mut self, block: SackBlock, receipt: &Receipt, news: &mut News) {
        if block.start >= block.end || block.start < self.una || block.end > self.nxt {
            return;
        }
        if self.board.as_ref().is_some_and(|board| board.covers(block)) {
            return;
        }
        let mut index = self.index_of(block.start);
        let Some(start) = self.entries.get(index).map(|entry| entry.seq) else {
            return;
        };
        let mut end = start;
        while index < self.sent
            && let Some(entry) = self.entries.get(index)
            && entry.end() <= block.end
        {
            // What an earlier block reported is stepped over as a whole.
            if let Some(range) = self.sacked_range_around(entry.seq) {
                end = range.end;
                index = self.index_of(end);
                continue;
            }
            end = entry.end();
            self.arrived(index, receipt, news);
            if let Some(entry) = self.entries.get_mut(index) {
                entry.mark = Mark::Sacked;
                self.sacked += 1;
            }
            index += 1;
        }
        if start < end {
            self.board.get_or_insert_default().add(start, end);
        }
    }

    /// The reported range that holds the octet at `seq`.
    fn sacked_range_around(&self, seq: SeqNum) -> Option<SackBlock> {
        let board = self.board.as_ref()?;
        let range = board.ranges.get(board.search(seq + 1))?;
        (range.start <= seq).then_some(*range)
    }

    /// Index of the first sent entry that starts at or beyond `seq`.
    fn index_of(&self, seq: SeqNum) -> usize {
        let (mut low, mut high) = (0, self.sent);
        while low < high {
            let middle = low.midpoint(high);
            if self
                .entries
                .get(middle)
                .is_some_and(|entry| entry.seq < seq)
            {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub(super) fn sent_entry_at(&self, seq: SeqNum) -> Option<(usize, &Entry<B>)> {
        let index = self.index_of(seq);
        if index >= self.sent {
            return None;
        }
        let entry = self.entries.get(index)?;
        (entry.seq == seq).then_some((index, entry))
    }

    /// The retransmission made first of those that may still travel: its number and time.
    pub(super) fn oldest_resent(&self) -> Option<(SeqNum, Instant)> {
        self.board.as_ref()?.resent.front().copied()
    }

    pub(super) fn forget_oldest_resent(&mut self) {
        if let Some(board) = &mut self.board {
            board.resent.pop_front();
        }
    }

    /// Marks the entry at `index`, whose retransmission travels, as lost: it goes first.
    pub(super) fn mark_lost_again(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.mark = Mark::Lost;
            let (seq, len) = (entry.seq, entry.seq_len());
            self.pipe -= len;
            self.lost += len;
            self.board.get_or_insert_default().lost_again.push_back(seq);
        }
    }

    /// Marks the entry at `index`, which travels, as lost.
    pub(super) fn mark_lost(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index) else {
            return;
        };
        if matches!(entry.mark, Mark::Fresh | Mark::Resent) {
            entry.mark = Mark::Lost;
            let len = entry.seq_len();
            self.pipe -= len;
            self.lost += len;
            self.next_lost = self.next_lost.min(index);
        }
    }

    /// Without SACK: the oldest segment is lost (RFC 6582 3.2), whether it was sent once or more often.
    pub(in crate::tcp) fn mark_head_lost(&mut self) {
        if self.sent > 0 {
            self.mark_lost(0);
        }
    }

    /// What travels with more payload than `max` allows beside its options is too large for the path.
    pub(in crate::tcp) fn mark_longer_lost(&mut self, max: impl Fn(usize) -> usize) {
        for index in 0..self.sent {
            let too_long = |entry: &Entry<B>| entry.len as usize > max(entry.upper.len());
            if self.entries.get(index).is_some_and(too_long) {
                self.mark_lost(index);
            }
        }
    }

    /// The lost segment to send next (NextSeg rule 1 of RFC 6675 4), with its index.
    pub(in crate::tcp) fn next_lost(&mut self) -> Option<(usize, &Entry<B>)> {
        if self.lost == 0 {
            return None;
        }
        let index = self.next_lost_again().or_else(|| {
            while self.next_lost < self.sent {
                let mark = self.entries.get(self.next_lost)?.mark;
                if mark == Mark::Lost {
                    return Some(self.next_lost);
                }
                self.next_lost += 1;
            }
            None
        })?;
        self.entries.get(index).map(|entry| (index, entry))
    }

    fn next_lost_again(&mut self) -> Option<usize> {
        loop {
            let seq = *self.board.as_ref()?.lost_again.front()?;
            if let Some((index, entry)) = self.sent_entry_at(seq)
                && entry.mark == Mark::Lost
            {
                return Some(index);
            }
            self.board.as_mut()?.lost_again.pop_front();
        }
    }

    /// Marks the entry at `index`, which is lost or travels, as sent again.
    pub(in crate::tcp) fn resend(&mut self, index: usize, now: Instant) -> Option<&Entry<B>> {
        let entry = self.entries.get_mut(index)?;
        let len = entry.seq_len();
        if entry.mark == Mark::Lost {
            self.lost -= len;
            self.pipe += len;
        }
        entry.mark = Mark::Resent;
        entry.resent = true;
        entry.sent_at = now;
        self.board
            .get_or_insert_default()
            .note_resent(entry.seq, now);
        self.entries.get(index)
    }

    /// Cuts the lost entry at `index`, because the path takes `at` octets of payload only.
    pub(in crate::tcp) fn cut_lost(&mut self, index: usize, at: u32) {
        self.cut(index, at);
        self.next_lost = self.next_lost.min(index + 1);
    }
}
