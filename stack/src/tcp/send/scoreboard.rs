//! Which segments have arrived, which are lost: SACK (RFC 2018, RFC 6675) and, by time, RACK (RFC 8985).
//!
//! Every step is amortized constant per segment: SACK blocks are snapped to segments and kept as ranges, so a block that
//! is reported again costs one search, and both loss detectors walk forward from where they last stopped.

use super::queue::{Entry, Mark, News, SendQueue};
use crate::PacketBuf;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::wire::tcp::SackBlock;
use std::collections::VecDeque;

/// DupThresh (RFC 6675 2).
pub(super) const DUP_THRESH: u8 = 3;

/// The segment sent most recently of those that have arrived (RFC 8985 5.2).
#[derive(Clone, Copy, Debug)]
pub(super) struct Rack {
    /// RACK.xmit_ts.
    sent_at: Instant,
    /// RACK.end_seq.
    end: SeqNum,
    /// RACK.rtt.
    rtt: Duration,
    /// RACK.min_RTT.
    min_rtt: Duration,
    /// RACK.fack: the highest octet that has arrived.
    highest: SeqNum,
    /// RACK.reordering_seen.
    reordering_seen: bool,
}

impl Rack {
    pub(super) const fn new(end: SeqNum) -> Self {
        Self {
            sent_at: Instant::ZERO,
            end,
            rtt: Duration::ZERO,
            min_rtt: Duration::MAX,
            highest: end,
            reordering_seen: false,
        }
    }

    /// RFC 8985 6.2 steps 1 to 3. An arrival sooner than any round trip is that of an earlier transmission.
    pub(super) fn update(&mut self, sent_at: Instant, end: SeqNum, resent: bool, now: Instant) {
        if end > self.highest {
            self.highest = end;
        } else if end < self.highest && !resent {
            self.reordering_seen = true;
        }
        let rtt = now.since(sent_at);
        if resent && rtt < self.min_rtt {
            return;
        }
        if !resent {
            self.min_rtt = self.min_rtt.min(rtt);
        }
        if (sent_at, end.distance(self.end)) > (self.sent_at, 0) {
            self.sent_at = sent_at;
            self.end = end;
            self.rtt = rtt;
        }
    }

    fn is_later_than(&self, sent_at: Instant, end: SeqNum) -> bool {
        (self.sent_at, self.end.distance(end)) > (sent_at, 0)
    }

    /// RFC 8985 6.2 step 5: when a segment sent at `sent_at`, before the delivered one, counts as lost. A quarter of the
    /// least round trip is left for reordering.
    fn overdue_at(&self, sent_at: Instant) -> Instant {
        let reordering = if self.min_rtt == Duration::MAX {
            Duration::ZERO
        } else {
            self.min_rtt / 4
        };
        sent_at + self.rtt + reordering
    }
}

/// What SACK and retransmissions need beyond the marks on the segments; made when first needed.
#[derive(Clone, Debug, Default)]
pub(super) struct Scoreboard {
    /// What was reported by SACK: ascending, disjoint, not adjacent, along the edges of segments.
    ranges: VecDeque<SackBlock>,
    /// Retransmissions in the order of their sending.
    resent: VecDeque<(SeqNum, Instant)>,
    /// Segments whose retransmission was lost too: they go first.
    lost_again: VecDeque<SeqNum>,
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

    /// Retransmissions remembered.
    #[cfg(test)]
    pub(super) fn noted(&self) -> usize {
        self.resent.len()
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
    /// Takes one SACK block. What lies outside of what was sent, as a DSACK does (RFC 2883), tells nothing here.
    pub(in crate::tcp) fn sack(&mut self, block: SackBlock, now: Instant, news: &mut News) {
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
            self.arrived(index, now, news);
            if let Some(entry) = self.entries.get_mut(index) {
                entry.mark = Mark::Sacked;
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

    fn sent_entry_at(&mut self, seq: SeqNum) -> Option<(usize, &mut Entry<B>)> {
        let index = self.index_of(seq);
        if index >= self.sent {
            return None;
        }
        let entry = self.entries.get_mut(index)?;
        (entry.seq == seq).then_some((index, entry))
    }

    /// Marks what is lost by now; the deadline at which more may be, if nothing else arrives.
    /// For peers that send SACK only: without it, an arrival says nothing about what was sent before.
    pub(in crate::tcp) fn detect_losses(&mut self, now: Instant, smss: u32) -> Option<Instant> {
        // RFC 8985 6.2 step 4: once segments were seen to overtake each other, counting them says nothing.
        if let (false, Some(edge)) = (self.rack.reordering_seen, self.lost_edge(smss)) {
            self.detect_by_count(edge);
        }
        crate::time::earlier(self.detect_by_time(now), self.detect_lost_again(now))
    }

    /// IsLost of RFC 6675 4: everything below the returned edge has DupThresh ranges, or more than DupThresh - 1 segments'
    /// worth of octets, reported above it.
    fn lost_edge(&self, smss: u32) -> Option<SeqNum> {
        let board = self.board.as_ref()?;
        let mut octets = 0;
        for (count, range) in (1..).zip(board.ranges.iter().rev()) {
            octets += range.end - range.start;
            if count >= DUP_THRESH || octets > u32::from(DUP_THRESH - 1) * smss {
                return Some(range.start);
            }
        }
        None
    }

    fn detect_by_count(&mut self, edge: SeqNum) {
        while self.examined < self.sent
            && let Some(entry) = self.entries.get(self.examined)
            && entry.end() <= edge
        {
            if entry.mark == Mark::Fresh {
                self.mark_lost(self.examined);
            }
            self.examined += 1;
        }
    }

    /// RFC 8985 for first transmissions, which were sent in the order of the queue.
    fn detect_by_time(&mut self, now: Instant) -> Option<Instant> {
        while self.examined < self.sent
            && let Some(entry) = self.entries.get(self.examined)
        {
            if entry.mark == Mark::Fresh {
                if !self.rack.is_later_than(entry.sent_at, entry.end()) {
                    return None;
                }
                let overdue = self.rack.overdue_at(entry.sent_at);
                if now < overdue {
                    return Some(overdue);
                }
                self.mark_lost(self.examined);
            }
            self.examined += 1;
        }
        None
    }

    /// RFC 8985 for retransmissions, in the order of their sending.
    fn detect_lost_again(&mut self, now: Instant) -> Option<Instant> {
        loop {
            let (seq, sent_at) = *self.board.as_ref()?.resent.front()?;
            let rack = self.rack;
            if let Some((_, entry)) = self.sent_entry_at(seq)
                && entry.mark == Mark::Resent
                && entry.sent_at == sent_at
            {
                if !rack.is_later_than(sent_at, entry.end()) {
                    return None;
                }
                let overdue = rack.overdue_at(sent_at);
                if now < overdue {
                    return Some(overdue);
                }
                entry.mark = Mark::Lost;
                let len = entry.seq_len();
                self.pipe -= len;
                self.lost += len;
                self.board.as_mut()?.lost_again.push_back(seq);
            }
            self.board.as_mut()?.resent.pop_front();
        }
    }

    /// Marks the entry at `index`, which travels, as lost.
    fn mark_lost(&mut self, index: usize) {
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

    /// Whether segments of this path overtake each other.
    pub(in crate::tcp) const fn reordering_seen(&self) -> bool {
        self.rack.reordering_seen
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
            let too_long = |entry: &Entry<B>| entry.len as usize > max(entry.item.upper.len());
            if self.entries.get(index).is_some_and(too_long) {
                self.mark_lost(index);
            }
        }
    }

    /// After a timeout: all that was not reported is lost (RFC 6675 5.1). If the oldest was reported and is still not
    /// acknowledged, the peer has thrown it away, and no report counts (RFC 2018 8).
    pub(in crate::tcp) fn mark_all_lost(&mut self) {
        let reneged = self
            .entries
            .front()
            .is_some_and(|head| self.sent > 0 && head.mark == Mark::Sacked);
        self.pipe = 0;
        self.lost = 0;
        for entry in self.entries.iter_mut().take(self.sent) {
            if reneged || entry.mark != Mark::Sacked {
                entry.mark = Mark::Lost;
                self.lost += entry.seq_len();
            }
        }
        self.next_lost = 0;
        self.examined = self.sent;
        if let Some(board) = &mut self.board {
            board.resent.clear();
            board.lost_again.clear();
            if reneged {
                board.ranges.clear();
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

    /// Marks the entry at `index`, which is lost, as sent again.
    pub(in crate::tcp) fn resend(&mut self, index: usize, now: Instant) -> Option<&Entry<B>> {
        let entry = self.entries.get_mut(index)?;
        entry.mark = Mark::Resent;
        entry.resent = true;
        entry.sent_at = now;
        let len = entry.seq_len();
        self.lost -= len;
        self.pipe += len;
        self.board
            .get_or_insert_default()
            .resent
            .push_back((entry.seq, now));
        self.entries.get(index)
    }

    /// Cuts the lost entry at `index`, because the path takes `at` octets of payload only.
    pub(in crate::tcp) fn cut_lost(&mut self, index: usize, at: u32) {
        self.cut(index, at);
        self.next_lost = self.next_lost.min(index + 1);
    }
}
