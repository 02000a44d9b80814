//! What leaves: the one place where a segment is decided upon (RFC 9293 3.8, RFC 6675 5).

use super::send::queue::Entry;
use super::time_wait::TWO_MSL;
use super::timers::Timer;
use super::{State, Tcb};
use crate::buf::Chain;
use crate::counters::Counter;
use crate::seq::SeqNum;
use crate::time::Instant;
use crate::wire::tcp::{Flags, OPTIONS_MAX, OptBytes, Options, OutSegment};
use crate::{Cx, PacketBuf};

/// The parts of a segment that carries an entry of the send queue.
struct Outgoing<B> {
    seq: SeqNum,
    payload: Chain<B>,
    upper: OptBytes,
    psh: bool,
    fin: bool,
}

impl<B: PacketBuf> Outgoing<B> {
    fn of(entry: &Entry<B>) -> Self {
        Self {
            seq: entry.seq,
            payload: entry.item.payload.clone(),
            upper: entry.item.upper,
            psh: entry.item.psh,
            fin: entry.fin,
        }
    }
}

impl<B: PacketBuf> Tcb<B> {
    /// The next segment to send now; call until `None`. On segments that carry no item, `upper_space` octets of option
    /// space are left free for the layer above.
    ///
    /// The order: news for the peer's scoreboard, what was lost, a probe, new data, an ACK that nothing carried.
    pub fn output(&mut self, cx: &mut Cx<'_>, upper_space: usize) -> Option<OutSegment<B>> {
        if self.state == State::Closed {
            return None;
        }
        if self.state == State::TimeWait && !self.timers.is_set(Timer::TimeWait) {
            self.timers.set(Timer::TimeWait, cx.now + TWO_MSL);
        }
        // RFC 2018 4: SACK goes out as soon as there is news, and full segments have no room for it.
        if self.rcv.ack.is_due() && self.snd.sack && self.rcv.queue.has_blocks() {
            return Some(self.pure_ack(cx.now, upper_space));
        }
        if self.is_sending()
            && let Some(segment) = self.output_lost(cx).or_else(|| self.output_new(cx))
        {
            return Some(segment);
        }
        self.rcv
            .ack
            .is_due()
            .then(|| self.pure_ack(cx.now, upper_space))
    }

    /// Retransmits (NextSeg rule 1 of RFC 6675 4; RFC 6298 5.4).
    fn output_lost(&mut self, cx: &mut Cx<'_>) -> Option<OutSegment<B>> {
        let (index, entry) = self.snd.queue.next_lost()?;
        let (len, upper) = (entry.len, entry.item.upper.len());
        let max = self.max_len(upper);
        let len = len.min(max);
        if !self.snd.cwnd_allows(len) {
            return None;
        }
        self.snd.queue.cut_lost(index, max);
        let entry = self.snd.queue.resend(index, cx.now)?;
        let (out, len) = (Outgoing::of(entry), entry.seq_len());
        self.snd.resends += 1;
        cx.counters.count(Counter::TcpRetransmitted);
        self.snd.on_sent(len, cx.now);
        // RFC 6675 6, the careful variant: the timer starts anew with each retransmission.
        self.arm_retransmit(cx.now);
        Some(self.data_segment(cx.now, out))
    }

    /// Sends new data if nothing lost waits, both windows let it go, or a probe is due.
    fn output_new(&mut self, cx: &mut Cx<'_>) -> Option<OutSegment<B>> {
        if self.snd.queue.lost() > 0 {
            return None;
        }
        let entry = self.snd.queue.first_unsent()?;
        let max = self.max_len(entry.item.upper.len());
        let usable = self.snd.usable_wnd();
        let mut take = entry.len.min(max);
        let mut whole = take == entry.len;
        let needed = take + u32::from(whole && entry.fin);
        if needed > usable {
            // RFC 9293 3.8.6.2.1: a part only if it is half of the largest window, or nothing else moves for long.
            let half = usable >= (self.snd.wnd_max / 2).max(1);
            if usable == 0 || !(half || self.snd.probe_due) {
                return self.output_probe(cx);
            }
            take = take.min(usable);
            whole = false;
        }
        self.snd.restart_if_idle(cx.now);
        if !self.snd.cwnd_allows(take) {
            return None;
        }
        if !whole {
            self.snd.queue.cut_unsent(take);
        }
        let entry = self.snd.queue.send_next(cx.now)?;
        let (out, len) = (Outgoing::of(entry), entry.seq_len());
        self.snd.on_sent(len, cx.now);
        self.snd.probe_due = false;
        self.snd.probes = 0;
        self.timers.clear(Timer::Persist);
        if !self.timers.is_set(Timer::Retransmit) {
            self.arm_retransmit(cx.now);
        }
        Some(self.data_segment(cx.now, out))
    }

    /// RFC 9293 3.8.6.1: while the window is closed and nothing is in flight, one octet goes out now and then.
    fn output_probe(&mut self, cx: &mut Cx<'_>) -> Option<OutSegment<B>> {
        if self.snd.queue.flight() > 0 {
            return None;
        }
        if !self.timers.is_set(Timer::Persist) {
            let at = cx.now + self.snd.persist_interval();
            self.timers.set(Timer::Persist, at);
        }
        if !self.snd.probe_due {
            return None;
        }
        self.snd.probe_due = false;
        let entry = self.snd.queue.first_unsent()?;
        let mut out = Outgoing::of(entry);
        out.fin = entry.len == 0;
        out.payload = entry
            .item
            .payload
            .first()
            .map(|slice| slice.slice(0..1))
            .into_iter()
            .collect();
        self.snd.queue.probed = true;
        cx.counters.count(Counter::TcpZeroWindowProbe);
        Some(self.data_segment(cx.now, out))
    }

    /// RFC 6298 5.1.
    pub(super) fn arm_retransmit(&mut self, now: Instant) {
        let at = now + self.snd.rtt.rto();
        self.timers.set(Timer::Retransmit, at);
    }

    fn max_len(&self, upper: usize) -> u32 {
        u32::try_from(self.max_payload(upper)).unwrap_or(u32::MAX)
    }

    fn data_segment(&mut self, now: Instant, out: Outgoing<B>) -> OutSegment<B> {
        let mut flags = Flags::ACK;
        if out.psh {
            flags = flags.with(Flags::PSH);
        }
        if out.fin {
            flags = flags.with(Flags::FIN);
        }
        let options = Options {
            ts: self.timestamps(now),
            mptcp: out.upper,
            ..Options::default()
        };
        let mut segment = self.segment(flags, options, false);
        segment.seq = out.seq;
        segment.payload = out.payload;
        segment
    }

    fn pure_ack(&mut self, now: Instant, upper_space: usize) -> OutSegment<B> {
        let mut options = Options {
            ts: self.timestamps(now),
            ..Options::default()
        };
        if self.snd.sack {
            // RFC 2018 3: two octets and eight a block, two more to align.
            let room = OPTIONS_MAX.saturating_sub(self.ts_len() + upper_space + 4) / 8;
            self.rcv.queue.blocks(room, &mut options.sack);
        }
        self.segment(Flags::ACK, options, true)
    }

    /// A segment at SND.NXT that acknowledges RCV.NXT and announces the window.
    fn segment(&mut self, flags: Flags, options: Options, pure: bool) -> OutSegment<B> {
        let ack = self.rcv.nxt();
        let wnd = self.rcv.window.announce(ack, u32::from(self.rcv.mss));
        let more = pure && self.snd.sack && self.rcv.queue.has_unreported();
        self.rcv.ack.on_sent(pure, more);
        self.timers.clear(Timer::DelayedAck);
        self.last_ack_sent = ack;
        OutSegment {
            seq: self.snd.queue.nxt(),
            ack,
            flags,
            wnd,
            options,
            payload: Chain::new(),
        }
    }

    /// Ends the connection at once (RFC 9293 3.10.5): the reset to send, or `None` if the connection is over anyway.
    pub fn abort(&mut self, cx: &mut Cx<'_>) -> Option<OutSegment<B>> {
        if !self.is_sending() {
            self.close();
            return None;
        }
        let options = Options {
            ts: self.timestamps(cx.now),
            ..Options::default()
        };
        let mut reset = self.segment(Flags::RST.with(Flags::ACK), options, true);
        reset.wnd = 0;
        self.close();
        cx.counters.count(Counter::TcpResetSent);
        Some(reset)
    }
}
