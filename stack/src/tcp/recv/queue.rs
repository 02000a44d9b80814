//! What has arrived: payload in order, to be taken, and payload beyond gaps.

use crate::prefetch::prefetch_ring;
use crate::seq::SeqNum;
use crate::wire::tcp::SackBlock;
use crate::{PacketBuf, Slice};
use arrayvec::ArrayVec;
use std::collections::VecDeque;

/// Most SACK blocks that fit into a segment (RFC 2018 3).
pub(in crate::tcp) const SACK_BLOCKS: usize = 4;
/// Arrivals beyond a gap that are remembered as recent.
const RECENT: usize = 16;
/// Most runs of octets with gaps between them; what would make one more is dropped.
const RUNS_MAX: usize = 1024;

/// Entries whose memory an idle connection keeps.
const KEPT: usize = 128;

/// What became of a segment's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tcp) enum Arrival {
    /// The next in order; nothing waits beyond a gap.
    InOrder,
    /// The next in order, and a gap was or is beyond it.
    Filling,
    /// Beyond a gap.
    OutOfOrder,
    /// Nothing of it was new.
    Duplicate,
    /// Beyond a gap, and no more is held.
    Full,
}

/// Payload beyond gaps; made when the first arrives.
#[derive(Clone, Debug)]
struct Reassembly<B> {
    /// Ascending and disjoint.
    held: VecDeque<(SeqNum, Slice<B>)>,
    octets: usize,
    /// The maximal runs of what is held, ascending.
    runs: VecDeque<SackBlock>,
    /// An octet of each recent arrival, the latest first.
    recent: ArrayVec<SeqNum, RECENT>,
    /// How many of `recent` were in no SACK option yet.
    unreported: usize,
}

/// The receive queue.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct RecvQueue<B> {
    /// RCV.NXT, but for a FIN that was accepted.
    nxt: SeqNum,
    /// The first octet that was not taken.
    taken: SeqNum,
    ready: VecDeque<Slice<B>>,
    beyond: Option<Box<Reassembly<B>>>,
    /// What arrived twice, to be reported once (RFC 2883).
    duplicate: Option<SackBlock>,
}

impl<B: PacketBuf> RecvQueue<B> {
    pub(in crate::tcp) const fn new(nxt: SeqNum) -> Self {
        Self {
            nxt,
            taken: nxt,
            ready: VecDeque::new(),
            beyond: None,
            duplicate: None,
        }
    }

    pub(in crate::tcp) const fn nxt(&self) -> SeqNum {
        self.nxt
    }

    pub(in crate::tcp) const fn taken(&self) -> SeqNum {
        self.taken
    }

    /// The next payload in order.
    pub(in crate::tcp) fn take(&mut self) -> Option<(SeqNum, Slice<B>)> {
        let Some(slice) = self.ready.pop_front() else {
            self.release();
            return None;
        };
        let seq = self.taken;
        self.taken += len_of(&slice);
        Some((seq, slice))
    }

    /// All in order was taken: gives back the memory of a backlog that is over, or begins again at its start, so that few lines
    /// of it are in use.
    fn release(&mut self) {
        if self.ready.capacity() > KEPT {
            self.ready = VecDeque::new();
        } else {
            self.ready.clear();
        }
        if self
            .beyond
            .as_ref()
            .is_some_and(|b| b.held.is_empty() && b.held.capacity() > KEPT)
        {
            self.beyond = None;
        }
    }

    /// Octets held beyond gaps.
    pub(in crate::tcp) fn octets_beyond(&self) -> usize {
        self.beyond.as_ref().map_or(0, |beyond| beyond.octets)
    }

    /// Slices held, in order or beyond gaps.
    pub(in crate::tcp) fn pieces(&self) -> usize {
        let beyond = self.beyond.as_ref().map_or(0, |beyond| beyond.held.len());
        self.ready.len() + beyond
    }

    /// What has arrived and was not taken.
    pub(in crate::tcp) fn payload_mut(&mut self) -> impl Iterator<Item = &mut Slice<B>> {
        let beyond = self.beyond.iter_mut().flat_map(|beyond| &mut beyond.held);
        self.ready.iter_mut().chain(beyond.map(|(_, slice)| slice))
    }

    /// Has the processor fetch where what comes next in order will wait.
    pub(in crate::tcp) fn prefetch(&self) {
        prefetch_ring(&self.ready);
    }

    /// The octet after the last one received.
    pub(in crate::tcp) fn highest(&self) -> SeqNum {
        let last = self.beyond.as_ref().and_then(|b| b.runs.back());
        last.map_or(self.nxt, |run| run.end)
    }

    fn has_gap(&self) -> bool {
        self.beyond.as_ref().is_some_and(|b| !b.held.is_empty())
    }

    /// Takes payload at `seq`, inside the window. At most `held_max` slices are held beyond gaps.
    pub(in crate::tcp) fn insert(
        &mut self,
        seq: SeqNum,
        slice: Slice<B>,
        held_max: usize,
    ) -> Arrival {
        let end = seq + len_of(&slice);
        if seq > self.nxt {
            return self.insert_beyond(seq, slice, held_max);
        }
        if seq < self.nxt {
            // RFC 2883 4: report what came twice.
            self.duplicate = Some(SackBlock {
                start: seq,
                end: end.min(self.nxt),
            });
            if end <= self.nxt {
                return Arrival::Duplicate;
            }
        }
        let news = if seq == self.nxt {
            slice
        } else {
            slice.slice((self.nxt - seq) as usize..slice.len())
        };
        self.nxt = end;
        self.ready.push_back(news);
        if !self.has_gap() {
            return Arrival::InOrder;
        }
        self.close_gap();
        Arrival::Filling
    }

    /// Takes the next payload, where nothing is held beyond a gap.
    pub(in crate::tcp) fn append(&mut self, slice: Slice<B>) {
        self.nxt += len_of(&slice);
        self.ready.push_back(slice);
    }

    /// Counts the next `len` octets, which were taken as they came: nothing is held.
    pub(in crate::tcp) fn pass(&mut self, len: u32) {
        self.nxt += len;
        self.taken = self.nxt;
    }

    /// Notes that `len` octets at `seq`, all of them received before, came again (RFC 2883 4).
    pub(in crate::tcp) fn note_duplicate(&mut self, seq: SeqNum, len: usize) {
        self.duplicate = Some(SackBlock {
            start: seq,
            end: seq + u32::try_from(len).unwrap_or(0),
        });
    }

    /// Moves what is now in order out of reassembly.
    fn close_gap(&mut self) {
        let Some(beyond) = &mut self.beyond else {
            return;
        };
        while let Some((seq, _)) = beyond.held.front()
            && *seq <= self.nxt
            && let Some((seq, slice)) = beyond.held.pop_front()
        {
            beyond.octets -= slice.len();
            let end = seq + len_of(&slice);
            if end <= self.nxt {
                continue;
            }
            let news = if seq == self.nxt {
                slice
            } else {
                slice.slice((self.nxt - seq) as usize..slice.len())
            };
            self.nxt = end;
            self.ready.push_back(news);
        }
        beyond.forget_before(self.nxt);
    }

    fn insert_beyond(&mut self, seq: SeqNum, slice: Slice<B>, held_max: usize) -> Arrival {
        let beyond = self
            .beyond
            .get_or_insert_with(|| Box::new(Reassembly::new()));
        let end = seq + len_of(&slice);
        let arrival = beyond.insert(seq, slice, held_max);
        if arrival == Arrival::Duplicate {
            self.duplicate = Some(SackBlock { start: seq, end });
        }
        arrival
    }

    /// Whether an ACK has something to report that none has reported yet.
    pub(in crate::tcp) fn has_unreported(&self) -> bool {
        self.duplicate.is_some() || self.beyond.as_ref().is_some_and(|b| b.unreported > 0)
    }

    /// Whether an ACK now would carry SACK blocks.
    pub(in crate::tcp) fn has_blocks(&self) -> bool {
        self.duplicate.is_some() || self.has_gap()
    }

    /// Appends at most `room` blocks: first what came twice (RFC 2883), then runs in the order of their latest arrivals
    /// (RFC 2018 4), then the lowest. If more arrivals than fit were never reported, this and the following ACKs go
    /// through them as if each had been sent in its time.
    pub(in crate::tcp) fn blocks(
        &mut self,
        room: usize,
        out: &mut ArrayVec<SackBlock, SACK_BLOCKS>,
    ) {
        let room = room.min(SACK_BLOCKS);
        let duplicate = self.duplicate.take().filter(|_| room > 0);
        push_new(out, duplicate);
        if let Some(beyond) = &mut self.beyond {
            beyond.blocks(room, out);
        }
    }

    /// Drops what lies beyond gaps: it will not come to order any more.
    pub(in crate::tcp) fn drop_beyond(&mut self) {
        self.beyond = None;
        self.duplicate = None;
    }
}

impl<B: PacketBuf> Reassembly<B> {
    const fn new() -> Self {
        Self {
            held: VecDeque::new(),
            octets: 0,
            runs: VecDeque::new(),
            recent: ArrayVec::new_const(),
            unreported: 0,
        }
    }

    /// Holds what of `slice` is new; what is held already stays.
    fn insert(&mut self, seq: SeqNum, slice: Slice<B>, held_max: usize) -> Arrival {
        let end = seq + len_of(&slice);
        let first_run = self.runs.partition_point(|run| run.end < seq);
        let touches = self.runs.get(first_run).is_some_and(|run| run.start <= end);
        if self.held.len() >= held_max || (!touches && self.runs.len() >= RUNS_MAX) {
            return Arrival::Full;
        }
        let before = self.octets;
        match self.held.back() {
            Some((last, held)) if *last + len_of(held) > seq => self.insert_between(seq, &slice),
            _ => self.hold(self.held.len(), seq, slice),
        }
        let new = self.octets > before;
        if new {
            self.add_run(first_run, seq, end);
        }
        self.note_recent(seq);
        if new {
            Arrival::OutOfOrder
        } else {
            Arrival::Duplicate
        }
    }

    fn insert_between(&mut self, seq: SeqNum, slice: &Slice<B>) {
        let end = seq + len_of(slice);
        let mut index = self
            .held
            .partition_point(|(start, held)| *start + len_of(held) <= seq);
        let mut at = seq;
        while at < end {
            let next = self
                .held
                .get(index)
                .map(|(start, held)| (*start, *start + len_of(held)));
            let gap_end = next.map_or(end, |(start, _)| start.min(end));
            if at < gap_end {
                let part = slice.slice((at - seq) as usize..(gap_end - seq) as usize);
                self.hold(index, at, part);
                index += 1;
            }
            match next {
                Some((_, held_end)) => at = held_end.max(gap_end),
                None => return,
            }
            index += 1;
        }
    }

    fn hold(&mut self, index: usize, seq: SeqNum, slice: Slice<B>) {
        self.octets += slice.len();
        self.held.insert(index, (seq, slice));
    }

    /// Joins `seq..end` with the runs from index `first` on that it overlaps or touches.
    fn add_run(&mut self, first: usize, seq: SeqNum, end: SeqNum) {
        let mut joined = SackBlock { start: seq, end };
        let mut last = first;
        while let Some(run) = self.runs.get(last)
            && run.start <= end
        {
            joined.start = joined.start.min(run.start);
            joined.end = joined.end.max(run.end);
            last += 1;
        }
        match self.runs.get_mut(first) {
            Some(slot) if last > first => {
                *slot = joined;
                self.runs.drain(first + 1..last);
            },
            _ => self.runs.insert(first, joined),
        }
    }

    fn run_around(&self, seq: SeqNum) -> Option<SackBlock> {
        let index = self.runs.partition_point(|run| run.end <= seq);
        self.runs.get(index).filter(|run| run.start <= seq).copied()
    }

    /// Puts `seq` first among the recent arrivals, in place of those in the same run.
    fn note_recent(&mut self, seq: SeqNum) {
        let run = self.run_around(seq);
        self.forget_recent(|at| run.is_some_and(|run| run.start <= at && at < run.end));
        if self.recent.is_full() {
            self.recent.pop();
        }
        self.recent.insert(0, seq);
        self.unreported = (self.unreported + 1).min(RECENT);
    }

    fn forget_recent(&mut self, gone: impl Fn(SeqNum) -> bool) {
        let mut index = 0;
        while let Some(at) = self.recent.get(index) {
            if gone(*at) {
                self.recent.remove(index);
                self.unreported -= usize::from(index < self.unreported);
            } else {
                index += 1;
            }
        }
    }

    fn forget_before(&mut self, nxt: SeqNum) {
        while self.runs.front().is_some_and(|run| run.end <= nxt) {
            self.runs.pop_front();
        }
        self.forget_recent(|at| at < nxt);
    }

    fn blocks(&mut self, room: usize, out: &mut ArrayVec<SackBlock, SACK_BLOCKS>) {
        let from = self
            .unreported
            .saturating_sub(room.saturating_sub(out.len()).max(1));
        for index in from..self.recent.len() {
            if out.len() >= room {
                break;
            }
            let run = self.recent.get(index).and_then(|at| self.run_around(*at));
            push_new(out, run);
        }
        self.unreported = from;
        for run in &self.runs {
            if out.len() >= room {
                break;
            }
            push_new(out, Some(*run));
        }
    }
}

fn push_new(out: &mut ArrayVec<SackBlock, SACK_BLOCKS>, run: Option<SackBlock>) {
    if let Some(run) = run
        && !out.contains(&run)
        && !out.is_full()
    {
        out.push(run);
    }
}

fn len_of<B: PacketBuf>(slice: &Slice<B>) -> u32 {
    u32::try_from(slice.len()).unwrap_or(0)
}
