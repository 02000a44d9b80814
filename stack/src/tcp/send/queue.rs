//! What was pushed and not yet acknowledged, sent or not: one entry per segment, in order.

use super::rack::{Rack, Receipt};
use super::scoreboard::Scoreboard;
use crate::prefetch::{AHEAD, prefetch_ring};
use crate::seq::SeqNum;
use crate::tcp::Item;
use crate::time::Instant;
use crate::wire::tcp::OptBytes;
use crate::{PacketBuf, Slice};
use std::collections::VecDeque;

/// Entries whose memory an idle connection keeps.
const KEPT: usize = 128;

/// What is known of a segment that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Travelling, sent once (or not sent yet).
    Fresh,
    /// Travelling, sent more than once.
    Resent,
    /// Believed lost, to be sent again.
    Lost,
    /// Reported by a SACK block.
    Sacked,
}

/// One segment: its payload, its options, and what happened to it.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Entry<B> {
    /// `None` in a FIN alone.
    pub(in crate::tcp) payload: Option<Slice<B>>,
    pub(in crate::tcp) upper: OptBytes,
    pub(in crate::tcp) psh: bool,
    pub(in crate::tcp) seq: SeqNum,
    pub(super) sent_at: Instant,
    pub(in crate::tcp) len: u32,
    pub(in crate::tcp) fin: bool,
    pub(super) mark: Mark,
    /// Whether it was ever sent more than once: its round trip is ambiguous (Karn).
    pub(super) resent: bool,
}

impl<B> Entry<B> {
    /// Octets in sequence space.
    pub(in crate::tcp) const fn seq_len(&self) -> u32 {
        self.len + self.fin as u32
    }

    pub(super) fn end(&self) -> SeqNum {
        self.seq + self.seq_len()
    }
}

/// What an ACK brought to light.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::tcp) struct News {
    /// Octets of payload acknowledged for the first time.
    pub(in crate::tcp) acked: u32,
    /// Octets of sequence space now known to have arrived, by acknowledgment or SACK.
    pub(in crate::tcp) delivered: u32,
    /// When the latest segment that was sent only once, and has now arrived, was sent.
    pub(in crate::tcp) fresh: Option<Instant>,
    /// Whether something that was sent more than once was acknowledged.
    pub(in crate::tcp) resent: bool,
    /// When the segment sent last of those that have now arrived was sent, and its end.
    pub(super) latest: Option<(Instant, SeqNum)>,
    /// The highest octet that has now arrived.
    pub(super) highest: Option<SeqNum>,
    /// Whether it widened the reordering window.
    pub(super) reordered: bool,
}

/// The send queue with the retransmission state of each segment in it.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct SendQueue<B> {
    pub(super) entries: VecDeque<Entry<B>>,
    /// How many entries were sent: they come first.
    pub(super) sent: usize,
    /// SND.UNA.
    pub(super) una: SeqNum,
    /// SND.NXT.
    pub(super) nxt: SeqNum,
    /// What SND.NXT will be when all of the queue was sent.
    end: SeqNum,
    fin: bool,
    /// Whether one octet beyond SND.NXT was sent as a zero-window probe.
    pub(in crate::tcp) probed: bool,
    /// Octets believed to travel (RFC 6675 2).
    pub(super) pipe: u32,
    /// Octets marked lost.
    pub(super) lost: u32,
    /// RACK.segs_sacked: segments reported by SACK blocks and not yet acknowledged.
    pub(super) sacked: u32,
    /// Entries before this index are not `Lost`, unless the scoreboard lists them as lost once more.
    pub(super) next_lost: usize,
    /// Entries before this index are not `Fresh`: loss detection goes on from here.
    pub(super) examined: usize,
    pub(super) rack: Rack,
    pub(super) board: Option<Box<Scoreboard>>,
}

impl<B: PacketBuf> SendQueue<B> {
    pub(in crate::tcp) fn new(nxt: SeqNum) -> Self {
        Self {
            entries: VecDeque::new(),
            sent: 0,
            una: nxt,
            nxt,
            end: nxt,
            fin: false,
            probed: false,
            pipe: 0,
            lost: 0,
            sacked: 0,
            next_lost: 0,
            examined: 0,
            rack: Rack::new(nxt),
            board: None,
        }
    }

    pub(in crate::tcp) const fn una(&self) -> SeqNum {
        self.una
    }

    pub(in crate::tcp) const fn nxt(&self) -> SeqNum {
        self.nxt
    }

    /// The sequence number after the last octet of payload.
    pub(in crate::tcp) fn payload_end(&self) -> SeqNum {
        self.end - u32::from(self.fin)
    }

    pub(in crate::tcp) fn fin_sent(&self) -> bool {
        self.fin && self.nxt == self.end
    }

    /// The highest acknowledgment that makes sense: SND.NXT, or one more when that was probed.
    pub(in crate::tcp) fn ack_max(&self) -> SeqNum {
        self.nxt + u32::from(self.probed)
    }

    /// FlightSize: SND.NXT - SND.UNA.
    pub(in crate::tcp) fn flight(&self) -> u32 {
        self.nxt - self.una
    }

    pub(in crate::tcp) const fn pipe(&self) -> u32 {
        self.pipe
    }

    pub(in crate::tcp) const fn lost(&self) -> u32 {
        self.lost
    }

    /// Whether nothing is known to be lost or to have arrived out of turn, and no timeout is being judged.
    pub(in crate::tcp) const fn is_untroubled(&self) -> bool {
        self.lost == 0 && self.board.is_none()
    }

    /// Segments reported by SACK blocks and not yet acknowledged.
    pub(in crate::tcp) const fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Octets of sequence space never sent.
    pub(in crate::tcp) fn unsent(&self) -> u32 {
        self.end - self.nxt
    }

    /// Octets of payload never sent.
    pub(in crate::tcp) fn unsent_payload(&self) -> u32 {
        self.unsent() - u32::from(self.fin && self.nxt != self.end)
    }

    /// Octets of payload not acknowledged.
    pub(in crate::tcp) fn payload(&self) -> u32 {
        (self.end - self.una) - u32::from(self.fin && self.una != self.end)
    }

    /// Has the processor fetch its oldest segments, or where the next will be put.
    pub(in crate::tcp) fn prefetch(&self) {
        prefetch_ring(&self.entries);
    }

    /// Segments in the queue.
    pub(in crate::tcp) fn entries(&self) -> usize {
        self.entries.len()
    }

    /// The payload in the queue, the oldest first.
    pub(in crate::tcp) fn payload_mut(&mut self) -> impl Iterator<Item = &mut Slice<B>> {
        let entries = self.entries.iter_mut();
        entries.filter_map(|entry| entry.payload.as_mut())
    }

    pub(in crate::tcp) const fn fin_queued(&self) -> bool {
        self.fin
    }

    pub(in crate::tcp) fn fin_acked(&self) -> bool {
        self.fin && self.una == self.end
    }

    #[inline(always)]
    pub(in crate::tcp) fn push(&mut self, item: Item<B>) {
        let Item {
            payload,
            upper,
            psh,
        } = item;
        let len = u32::try_from(payload.len()).unwrap_or(0);
        if len > 0 && !self.fin {
            self.append(Some(payload), (upper, psh), len);
        }
    }

    /// Queues the FIN, on the last segment if that was not sent yet.
    pub(in crate::tcp) fn finish(&mut self) {
        if self.fin {
            return;
        }
        self.fin = true;
        let unsent = self.entries.len() > self.sent;
        match self.entries.back_mut() {
            Some(last) if unsent => {
                last.fin = true;
                self.end += 1;
            },
            _ => self.append(None, (OptBytes::new(), false), 0),
        }
    }

    /// `len` octets, or without a payload the FIN.
    #[inline(always)]
    fn append(&mut self, payload: Option<Slice<B>>, (upper, psh): (OptBytes, bool), len: u32) {
        let (seq, fin) = (self.end, payload.is_none());
        self.end = seq + (len + u32::from(fin));
        self.entries.push_back(Entry {
            payload,
            upper,
            psh,
            seq,
            sent_at: Instant::ZERO,
            len,
            fin,
            mark: Mark::Fresh,
            resent: false,
        });
    }

    /// How many segments were sent: they come first.
    pub(in crate::tcp) const fn sent(&self) -> usize {
        self.sent
    }

    /// Segment `index` from the oldest.
    pub(in crate::tcp) fn entry(&self, index: usize) -> Option<&Entry<B>> {
        self.entries.get(index)
    }

    /// The first segment never sent.
    pub(in crate::tcp) fn first_unsent(&self) -> Option<&Entry<B>> {
        self.entries.get(self.sent)
    }

    /// Marks the first unsent segment as sent.
    pub(in crate::tcp) fn send_next(&mut self, now: Instant) -> Option<&Entry<B>> {
        // What waited for a window has left the cache.
        let later = self.entries.get(self.sent + AHEAD);
        if let Some(payload) = later.and_then(|entry| entry.payload.as_ref()) {
            payload.fetch();
        }
        let entry = self.entries.get_mut(self.sent)?;
        entry.sent_at = now;
        self.sent += 1;
        self.nxt = entry.end();
        self.pipe += entry.seq_len();
        self.probed = false;
        Some(entry)
    }

    /// Cuts the first unsent segment after `at` octets of payload.
    pub(in crate::tcp) fn cut_unsent(&mut self, at: u32) {
        self.cut(self.sent, at);
    }

    /// Cuts entry `index` after `at` octets of payload; both parts carry the options of the whole.
    pub(super) fn cut(&mut self, index: usize, at: u32) {
        let Some(head) = self.entries.get_mut(index) else {
            return;
        };
        if at == 0 || at > head.len || at == head.seq_len() {
            return;
        }
        let mut tail = head.clone();
        trim_front(&mut tail, at);
        keep_front(head, at);
        head.fin = false;
        head.psh = false;
        self.entries.insert(index + 1, tail);
        if index < self.sent {
            self.sent += 1;
            self.next_lost += usize::from(index < self.next_lost);
            self.examined += usize::from(index < self.examined);
        }
    }

    /// Takes a cumulative acknowledgment, which must lie in SND.UNA..=[`Self::ack_max`].
    pub(in crate::tcp) fn ack(&mut self, ack: SeqNum, receipt: &Receipt, news: &mut News) {
        if ack > self.nxt {
            self.accept_probe(receipt.now);
        }
        let mut whole = 0;
        while whole < self.sent
            && let Some(entry) = self.entries.get(whole)
            && entry.end() <= ack
        {
            news.acked += entry.len;
            self.sacked -= u32::from(entry.mark == Mark::Sacked);
            self.arrived(whole, receipt, news);
            whole += 1;
        }
        self.entries.drain(..whole);
        self.sent -= whole;
        self.next_lost = self.next_lost.saturating_sub(whole);
        self.examined = self.examined.saturating_sub(whole);
        if self.sent > 0
            && let Some(head) = self.entries.front_mut()
            && head.seq < ack
        {
            let part = ack - head.seq;
            news.acked += part;
            trim_front(head, part);
            let mark = head.mark;
            self.leave(mark, part);
            if mark == Mark::Lost {
                // A list of losses knows it by its former number.
                self.next_lost = 0;
            }
            news.delivered += if mark == Mark::Sacked { 0 } else { part };
        }
        self.una = ack;
        if self.sent == 0 {
            self.board = None;
        } else if let Some(board) = &mut self.board {
            board.forget_before(ack);
        }
        if self.entries.is_empty() && self.entries.capacity() > KEPT {
            self.entries = VecDeque::new();
        }
    }

    /// The peer took the probe: it counts as sent, and what is left of its segment as unsent.
    fn accept_probe(&mut self, now: Instant) {
        let Some(entry) = self.entries.get(self.sent) else {
            return;
        };
        if entry.seq_len() > 1 {
            self.cut_unsent(1);
        }
        self.send_next(now);
        if let Some(entry) = self.entries.get_mut(self.sent.saturating_sub(1)) {
            entry.resent = true;
        }
    }

    /// Notes that entry `index` has arrived; the caller removes or marks it.
    pub(super) fn arrived(&mut self, index: usize, receipt: &Receipt, news: &mut News) {
        let Some(entry) = self.entries.get(index) else {
            return;
        };
        if entry.mark == Mark::Sacked {
            return;
        }
        let (mark, len) = (entry.mark, entry.seq_len());
        news.delivered += len;
        if entry.resent {
            news.resent = true;
        } else {
            news.fresh = news.fresh.max(Some(entry.sent_at));
        }
        self.rack
            .note(receipt, (entry.sent_at, entry.end()), entry.resent, news);
        self.leave(mark, len);
    }

    /// Takes `len` octets with `mark` out of the sums.
    pub(super) const fn leave(&mut self, mark: Mark, len: u32) {
        match mark {
            Mark::Fresh | Mark::Resent => self.pipe -= len,
            Mark::Lost => self.lost -= len,
            Mark::Sacked => {},
        }
    }

    /// Drops everything: the connection is over.
    pub(in crate::tcp) fn clear(&mut self) {
        let fin = self.fin_sent();
        *self = Self::new(self.nxt);
        self.fin = fin;
    }
}

/// Takes the first `part` octets of sequence space away.
fn trim_front<B: PacketBuf>(entry: &mut Entry<B>, part: u32) {
    let payload = entry.payload.take();
    let rest = payload.map(|payload| payload.narrow(part as usize..usize::MAX));
    entry.payload = rest.filter(|rest| !rest.is_empty());
    entry.seq += part;
    entry.len = entry.len.saturating_sub(part);
}

/// Leaves the first `part` octets of payload.
fn keep_front<B: PacketBuf>(entry: &mut Entry<B>, part: u32) {
    let payload = entry.payload.take();
    entry.payload = payload.map(|payload| payload.narrow(0..part as usize));
    entry.len = part;
}
