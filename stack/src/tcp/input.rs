//! What arrives, in the order of RFC 9293 3.10.7.4 for synchronized states, as RFC 5961 and RFC 7323 amend it.

use super::recv::queue::Arrival;
use super::tcb::seconds;
use super::timers::Timer;
use super::{State, Tcb, Verdict, low32};
use crate::counters::Counter;
use crate::seq::SeqNum;
use crate::time::Instant;
use crate::wire::tcp::{Flags, Segment};
use crate::{Cx, PacketBuf, Slice};

/// RFC 7323 5.5: TS.Recent says nothing any more after 24 days without a segment.
const TS_RECENT_VALID: u32 = 24 * 24 * 3600;
/// Largest round trip that an echoed timestamp is believed to measure.
const ECHO_MAX_MS: u32 = 60_000;

impl<B: PacketBuf> Tcb<B> {
    /// Takes a segment of this connection.
    pub fn input(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) -> Verdict {
        if self.is_predicted(seg) {
            return self.input_predicted(cx, seg);
        }
        if self.state == State::Closed {
            return Verdict::Dropped;
        }
        let reset = seg.flags.has(Flags::RST);
        // RFC 7323 5.3 R1, before anything else.
        if self.has_ts && !reset && !self.check_timestamps(cx, seg) {
            return Verdict::Dropped;
        }
        // First, the sequence number.
        if !self.is_acceptable(seg) {
            self.refuse(cx, seg);
            return Verdict::Dropped;
        }
        // Second, RST.
        if reset {
            return self.input_reset(cx, seg);
        }
        // Fourth, SYN: never believed, whatever its number (RFC 5961 4.2).
        if seg.flags.has(Flags::SYN) {
            self.challenge(cx);
            return Verdict::Dropped;
        }
        // Fifth, ACK.
        if !seg.flags.has(Flags::ACK) {
            return Verdict::Dropped;
        }
        if !self.is_ack_acceptable(seg.ack) {
            cx.counters.count(Counter::TcpDropAck);
            self.challenge(cx);
            return Verdict::Dropped;
        }
        self.renew_ts_recent(cx.now, seg);
        if self.state == State::TimeWait {
            return self.input_time_wait(cx, seg);
        }
        self.note_heard(cx.now);
        self.input_ecn(cx, seg);
        let acked = self.input_ack(cx, seg);
        // Sixth, URG: its pointer is ignored, the data is data (RFC 6093 6).
        // Seventh, the segment's text, and eighth, FIN.
        if seg.seq_len() > 0 {
            match self.state {
                State::Established | State::FinWait1 | State::FinWait2 => self.input_text(cx, seg),
                _ => self.input_after_fin(cx, seg),
            }
        }
        Verdict::Accepted { acked }
    }

    /// Whether `seg` is what comes next from a peer whom we send nothing (Jacobson's header prediction): the text after
    /// what came before, all of it in the window, that acknowledges what was acknowledged. None of the steps below would
    /// find anything to do but to take it in.
    #[inline]
    pub(super) fn is_predicted(&self, seg: &Segment<B>) -> bool {
        let Self { rcv, snd, .. } = self;
        let len = u32::try_from(seg.payload.len()).unwrap_or(u32::MAX);
        let recent = SeqNum(self.ts.recent);
        let ts = !self.has_ts || seg.options.ts.is_some_and(|ts| SeqNum(ts.val) >= recent);
        self.state == State::Established
            && seg.flags.without(Flags::PSH) == Flags::ACK
            && seg.seq == rcv.queue.nxt()
            && (1..=rcv.wnd()).contains(&len)
            && rcv.fin.is_none()
            && !rcv.queue.has_blocks()
            && ts
            && snd.is_window_alone(seg)
            && !self.uses_ecn()
            && !self.timers.is_set(Timer::Persist)
    }

    fn input_predicted(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) -> Verdict {
        self.note_predicted(cx.now, seg);
        self.append(cx.now, seg.payload.hand_on());
        Verdict::Accepted { acked: 0 }
    }

    /// Whether `seg` is what comes next, and its window is news: so it is then with each segment that goes on where it ends
    /// and has its header, but for number and PSH. Once `seg` was given to [`Self::input`], the text of those may be given to
    /// [`Self::input_more`], if nothing else is done in between.
    pub fn leads(&self, seg: &Segment<B>) -> bool {
        self.is_predicted(seg) && self.snd.is_news(seg)
    }

    /// Whether the window of `seg`, which was taken by [`Self::input_next`], was news: see [`Self::leads`]. So the text of what goes on
    /// behind it may be given to [`Self::input_more_next`].
    pub fn has_led(&self, seg: &Segment<B>) -> bool {
        self.snd.is_news(seg)
    }

    /// Whether `len` octets of text that come next are in the window.
    pub fn takes_more(&self, len: usize) -> bool {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        (1..=self.rcv.wnd()).contains(&len)
    }

    /// Takes the text of a segment that goes on where that ended which [`Self::leads`], and which
    /// [`takes_more`](Self::takes_more) takes: what [`Self::input`] would do of the segment.
    pub fn input_more(&mut self, now: Instant, text: Slice<B>) {
        self.snd.same_window(self.rcv.queue.nxt());
        self.append(now, text);
    }

    /// The same of `len` octets that are the owner's at once, as with [`Self::input_next`]; behind one that was taken so.
    pub fn input_more_next(&mut self, now: Instant, len: usize) {
        self.snd.same_window(self.rcv.queue.nxt());
        self.count_next(now, len);
        self.rcv.queue.pass(u32::try_from(len).unwrap_or(0));
    }

    fn append(&mut self, now: Instant, text: Slice<B>) {
        self.count_next(now, text.len());
        self.rcv.queue.append(text);
    }

    /// Text of `len` octets comes in order, and nothing waits beyond a gap.
    fn count_next(&mut self, now: Instant, len: usize) {
        let longest = u16::try_from(len).unwrap_or(u16::MAX);
        self.rcv.mss = self.rcv.mss.max(longest);
        self.rcv.octets += u64::from(longest);
        self.acknowledge_in_order(now);
    }

    fn note_predicted(&mut self, now: Instant, seg: &Segment<B>) {
        self.renew_ts_recent(now, seg);
        self.note_heard(now);
        self.snd.take_window(seg);
    }

    /// Takes `seg`, if it is what comes next and all before it was taken: as [`Self::input`] and [`Self::take`] would, but that
    /// its payload, which is not looked at here, is the owner's at once. Whether it was; if not, nothing has changed.
    pub fn input_next(&mut self, now: Instant, seg: &Segment<B>) -> bool {
        if !self.is_predicted(seg) || self.rcv.queue.taken() != seg.seq {
            return false;
        }
        self.note_predicted(now, seg);
        self.count_next(now, seg.payload.len());
        self.rcv.queue.pass(seg.seq_len());
        true
    }

    /// Text came in order, and nothing waits beyond a gap.
    fn acknowledge_in_order(&mut self, now: Instant) {
        if self.rcv.ack.on_in_order() {
            self.delay_ack(now);
        }
    }

    /// Text after the peer's FIN is ignored. Another FIN, and what a closed window does not take, is acknowledged.
    fn input_after_fin(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) {
        // RFC 9293 3.10.7.4, fifth, CLOSING: ignored if it does not acknowledge our FIN.
        let fin = seg.flags.has(Flags::FIN) && self.state != State::Closing;
        if self.state != State::Closed && (fin || self.rcv.wnd() == 0) {
            self.challenge(cx);
        }
    }

    /// RFC 7323 5.3 R1: `false` if the segment is older than what we have seen, or lacks the option where it must not.
    ///
    /// RFC 7323 3.2 would drop whatever lacks it. But Linux leaves it out where an ADD_ADDR takes the room, on a bare ACK,
    /// and a peer that has restarted may not send it in its SYN, which RFC 5961 4.2 wants to be answered. Nothing of these
    /// enters the stream; text and FIN, which would, are dropped.
    fn check_timestamps(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) -> bool {
        let Some(ts) = seg.options.ts else {
            if seg.seq_len() == 0 || seg.flags.has(Flags::SYN) {
                return true;
            }
            cx.counters.count(Counter::TcpDropPaws);
            return false;
        };
        let age = seconds(cx.now).wrapping_sub(self.ts_recent_age);
        if SeqNum(ts.val) >= SeqNum(self.ts.recent) || age > TS_RECENT_VALID {
            return true;
        }
        cx.counters.count(Counter::TcpDropPaws);
        self.answer_unacceptable(cx, seg);
        false
    }

    /// RFC 7323 4.3: TS.Recent is renewed by the segment that covers what we last acknowledged. RFC 7323 5.3 R3 would do so
    /// before the ACK is checked; then one forged segment that nothing else of is believed makes all real ones old.
    fn renew_ts_recent(&mut self, now: Instant, seg: &Segment<B>) {
        if let (true, Some(ts)) = (self.has_ts, seg.options.ts)
            && seg.seq <= self.last_ack_sent
        {
            self.ts.recent = ts.val;
            self.ts_recent_age = seconds(now);
        }
    }

    /// RFC 9293 3.4, table 6. With a closed window, a segment at RCV.NXT is let through for its ACK and RST; its text
    /// does not fit and is cut off.
    fn is_acceptable(&self, seg: &Segment<B>) -> bool {
        let nxt = self.rcv.nxt();
        if seg.seq == nxt {
            return true;
        }
        let wnd = self.rcv.wnd();
        // A reset stands where its own number does, whatever text it carries (RFC 5961 3.2).
        let reset = seg.flags.has(Flags::RST);
        let len = if reset { 0 } else { seg.seq_len() };
        if seg.seq.within(nxt, wnd) {
            return true;
        }
        // Who has filled the window sends its ACKs from the octet after it, also while a gap keeps RCV.NXT behind. They
        // occupy nothing there; RFC 9293 3.10.7.4 lets them through where the window is closed, for the same reason.
        if seg.seq == nxt + wnd && len == 0 && !reset {
            return true;
        }
        // After a FIN that was not accepted yet, its sender goes on one beyond it.
        if self.rcv.fin_is_next() && seg.seq == nxt + 1 && len == 0 {
            return true;
        }
        len > 0 && (seg.seq + (len - 1)).within(nxt, wnd)
    }

    fn refuse(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) {
        if seg.flags.has(Flags::RST) {
            cx.counters.count(Counter::TcpDropWindow);
            return;
        }
        let end = seg.seq + seg.seq_len();
        if end <= self.rcv.nxt() && !seg.payload.is_empty() {
            cx.counters.count(Counter::TcpDuplicate);
            self.rcv.queue.note_duplicate(seg.seq, seg.payload.len());
        } else {
            cx.counters.count(Counter::TcpDropWindow);
        }
        self.answer_unacceptable(cx, seg);
        let fin = seg.flags.has(Flags::FIN) && !seg.flags.has(Flags::SYN);
        if self.state == State::TimeWait && fin && end == self.rcv.nxt() {
            // RFC 9293 3.10.7.4, fifth, TIME-WAIT: the FIN again restarts the wait.
            self.timers.clear(Timer::TimeWait);
        }
    }

    /// RFC 9293 3.10.7.4, first: an ACK in reply. Text may have been resent because our ACK was lost, so its answer is not
    /// rationed; anything else could be two hosts answering each other for ever.
    fn answer_unacceptable(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) {
        if seg.flags.has(Flags::SYN) || seg.seq_len() == 0 {
            self.challenge(cx);
        } else {
            self.rcv.ack.request();
        }
    }

    fn challenge(&mut self, cx: &mut Cx<'_>) {
        if self.challenges.allow(cx) {
            self.rcv.ack.request();
        }
    }

    /// RFC 5961 3.2: only a reset at exactly RCV.NXT is believed at once. RFC 1337 3 F1: never in TIME-WAIT.
    fn input_reset(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) -> Verdict {
        if self.state == State::TimeWait {
            return Verdict::Dropped;
        }
        let nxt = self.rcv.nxt();
        if seg.seq == nxt || (self.rcv.fin_is_next() && seg.seq == nxt + 1) {
            cx.counters.count(Counter::TcpResetReceived);
            self.close();
            return Verdict::Reset;
        }
        self.challenge(cx);
        Verdict::Dropped
    }

    /// RFC 5961 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
    fn is_ack_acceptable(&self, ack: SeqNum) -> bool {
        let queue = &self.snd.queue;
        let lowest = queue.una() - self.snd.wnd_max;
        ack <= queue.ack_max() && ack >= lowest
    }

    /// What lies beyond the peer's FIN in TIME-WAIT was never sent by it: acknowledged, but the wait does not start over, or
    /// an outsider could keep the tuple for ever.
    fn input_time_wait(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) -> Verdict {
        if seg.seq_len() > 0 {
            self.challenge(cx);
        }
        Verdict::Dropped
    }

    /// Fifth: the acknowledgment, the window, and the states that wait for our FIN's.
    fn input_ack(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) -> u32 {
        if self.snd.is_window_alone(seg) {
            self.snd.take_window(seg);
            self.look_at_window();
            return 0;
        }
        let echoed = self.echo_age(cx.now, seg);
        let acked = self.snd.on_ack(cx, seg, echoed);
        if let Some(at) = acked.reorder_at {
            self.timers.set(Timer::Reorder, at);
        } else {
            self.timers.clear(Timer::Reorder);
        }
        if acked.advanced {
            self.prove_old_size();
            if self.snd.queue.flight() == 0 {
                // RFC 6298 5.2.
                self.timers.clear(Timer::Retransmit);
            } else {
                // RFC 6298 5.3.
                self.arm_retransmit(cx.now);
            }
        }
        self.arm_probe(cx.now, acked.advanced);
        self.look_at_window();
        if self.snd.queue.fin_acked() {
            self.on_fin_acked();
        }
        acked.payload
    }

    /// If the window opened after it was closed: what waits may go, or be cut to fit if the silly window lasts.
    fn look_at_window(&mut self) {
        if !self.timers.is_set(Timer::Persist) || self.snd.usable_wnd() == 0 {
            return;
        }
        let fits = self
            .snd
            .queue
            .first_unsent()
            .is_none_or(|entry| entry.seq_len() <= self.snd.usable_wnd());
        if fits {
            self.timers.clear(Timer::Persist);
            self.snd.probe_due = false;
            self.snd.probes = 0;
        }
    }

    fn on_fin_acked(&mut self) {
        match self.state {
            State::FinWait1 => self.state = State::FinWait2,
            State::Closing => self.enter_time_wait(),
            State::LastAck => self.close(),
            State::Established
            | State::FinWait2
            | State::CloseWait
            | State::TimeWait
            | State::Closed => {},
        }
    }

    /// RFC 7323 4.1: the age in milliseconds of the timestamp that the segment echoes.
    fn echo_age(&self, now: Instant, seg: &Segment<B>) -> Option<u32> {
        let ts = seg.options.ts.filter(|ts| self.has_ts && ts.ecr != 0)?;
        let clock = low32(now.as_millis()).wrapping_add(self.ts.offset);
        Some(clock.wrapping_sub(ts.ecr)).filter(|age| *age <= ECHO_MAX_MS)
    }

    /// Seventh and eighth: text and FIN, cut to the window.
    fn input_text(&mut self, cx: &mut Cx<'_>, seg: &Segment<B>) {
        let nxt = self.rcv.queue.nxt();
        let edge = match self.rcv.fin {
            Some(fin) => fin,
            None => nxt + self.rcv.wnd(),
        };
        let len = u32::try_from(seg.payload.len()).unwrap_or(0);
        let end = seg.seq + len;
        if seg.flags.has(Flags::FIN) {
            // A FIN again, beyond a gap, or beyond the window asks for an ACK; the first in order waits for its owner.
            if self.rcv.fin.is_some() || seg.seq > nxt || end >= edge {
                self.rcv.ack.request();
            }
            // A FIN before what its sender has already sent is no FIN.
            if self.rcv.fin.is_none() && end < edge && end >= self.rcv.queue.highest() {
                self.rcv.fin = Some(end);
            }
        }
        let cut = if end > edge { end - edge } else { 0 };
        if len > cut {
            let payload = seg.payload.hand_on().narrow(0..(len - cut) as usize);
            self.take_text(cx, seg.seq, payload, seg.payload.len());
        }
        // What did not fit is a probe of our window (RFC 9293 3.8.6.1).
        if cut > 0 {
            self.rcv.ack.request();
        }
    }

    /// Takes in text that lies in the window, of a segment with `len` octets of it.
    fn take_text(&mut self, cx: &mut Cx<'_>, seq: SeqNum, payload: Slice<B>, len: usize) {
        let longest = u16::try_from(len).unwrap_or(u16::MAX);
        self.rcv.mss = self.rcv.mss.max(longest);
        let nxt = self.rcv.queue.nxt();
        // What is in order is never refused for it.
        let held_max = if seq > nxt { self.rcv.held_max() } else { 0 };
        let arrival = self.rcv.queue.insert(seq, payload, held_max);
        self.rcv.octets += u64::from(self.rcv.queue.nxt() - nxt);
        match arrival {
            Arrival::InOrder => self.acknowledge_in_order(cx.now),
            // RFC 5681 4.2: at once when a gap was filled.
            Arrival::Filling => self.rcv.ack.request(),
            Arrival::OutOfOrder => {
                cx.counters.count(Counter::TcpOutOfOrder);
                self.rcv.ack.on_out_of_order();
            },
            Arrival::Duplicate => {
                cx.counters.count(Counter::TcpDuplicate);
                self.rcv.ack.on_out_of_order();
            },
            Arrival::Full => {
                cx.counters.count(Counter::TcpReassemblyFull);
                self.rcv.ack.on_out_of_order();
            },
        }
    }

    /// Looks for losses because time has passed (RFC 8985 6.3).
    pub(super) fn detect_losses(&mut self, cx: &mut Cx<'_>) {
        if let Some(at) = self.snd.on_reorder_timeout(cx) {
            self.timers.set(Timer::Reorder, at);
        }
        self.arm_probe(cx.now, false);
    }
}
