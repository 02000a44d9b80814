//! What leaves: the one place where a segment is decided upon (RFC 9293 3.8, RFC 6675 5).

use super::keepalive::Keepalive;
use super::send::frto::Turn;
use super::time_wait::TWO_MSL;
use super::timers::Timer;
use super::{State, Tcb};
use crate::counters::Counter;
use crate::seq::SeqNum;
use crate::time::Instant;
use crate::wire::tcp::{Flags, OPTIONS_MAX, Options, OutSegment};
use crate::{Cx, PacketBuf, Slice};

/// What of the send queue leaves next: an entry of it.
#[derive(Clone, Copy, Debug)]
enum Next {
    /// For the first time.
    New(usize),
    /// Once more.
    Again(usize),
    /// Its first octet alone, into a closed window.
    Probe(usize),
}

impl<B: PacketBuf> Tcb<B> {
    /// The next segment to send now, as [`Self::output_into`] makes it; call until `None`.
    pub fn output(&mut self, cx: &mut Cx<'_>, upper_space: usize) -> Option<OutSegment<B>> {
        let mut out = OutSegment::default();
        self.output_into(cx, upper_space, &mut out).then_some(out)
    }

    /// Writes the next segment to send now to `out`, if there is one: whether there is. Call until there is none. On segments
    /// that carry no item, `upper_space` octets of option space are left free for the layer above.
    ///
    /// A segment is a large value, and goes down through every layer: this way it lies where its owner has it, and none
    /// moves it. `out` is as [`OutSegment::default`] or an earlier call left it.
    ///
    /// The order: news for the peer's scoreboard, what was lost, a loss probe, new data or a window probe, an ACK that nothing
    /// carried.
    pub fn output_into(
        &mut self,
        cx: &mut Cx<'_>,
        upper_space: usize,
        out: &mut OutSegment<B>,
    ) -> bool {
        if self.state == State::Closed {
            return false;
        }
        if self.state == State::TimeWait && !self.timers.is_set(Timer::TimeWait) {
            self.timers.set(Timer::TimeWait, cx.now + TWO_MSL);
        }
        // RFC 2018 4: SACK goes out as soon as there is news, and full segments have no room for it.
        if self.rcv.ack.is_due() && self.snd.sack && self.rcv.queue.has_blocks() {
            self.pure_ack(cx.now, upper_space, out);
            return true;
        }
        if self.is_sending()
            && !self.is_paced_out(cx.now)
            && let Some(next) = self.next_data(cx)
        {
            return self.data_segment(cx.now, next, out);
        }
        if self.rcv.ack.is_due() {
            self.pure_ack(cx.now, upper_space, out);
            return true;
        }
        let probe = self.output_keepalive(cx);
        probe.map(|probe| *out = probe).is_some()
    }

    /// Writes the next segment to send now to `out`, which holds one with data, written there last by [`Self::output_into`] or by
    /// this, if all that is different is number, PSH, payload and the options of the layer above: new data that both windows let go,
    /// while there is nothing else to think of. Whether it is so; if not, nothing has changed. Nothing else may be done in between.
    ///
    /// So the owner may have changed the rest of `out` as it likes, as for the segment before it.
    #[inline]
    pub fn output_more(&mut self, now: Instant, out: &mut OutSegment<B>) -> bool {
        let Some(entry) = self.snd.queue.first_unsent() else {
            return false;
        };
        let (len, upper) = (entry.len, entry.upper.len());
        let whole = !entry.fin && len <= self.max_len(upper).min(self.snd.usable_wnd());
        if !whole || !self.goes_on(now) || !self.snd.cwnd_allows(len) {
            return false;
        }
        let (sent, queued) = (self.snd.queue.sent(), self.snd.queue.entries());
        let Some(entry) = self.snd.queue.send_next(now) else {
            return false;
        };
        out.seq = entry.seq;
        out.flags = if entry.psh && sent + 1 == queued {
            Flags::ACK.with(Flags::PSH)
        } else {
            Flags::ACK
        };
        out.payload = entry.payload.as_ref().map(Slice::hand_on);
        out.options.mptcp = entry.upper;
        self.note_new(now, len, sent > 1);
        true
    }

    /// Whether [`Self::output_into`] surely has nothing to send, and would change nothing: the cheap answer, for who has many of these.
    #[inline]
    #[must_use]
    pub fn is_silent(&self) -> bool {
        let Self { snd, rcv, .. } = self;
        let calm = snd.queue.is_untroubled() && !snd.tlp.due && self.rare.is_none();
        let probes = self.keepalive.as_ref().is_some_and(Keepalive::is_due);
        let says = rcv.ack.is_due() || snd.queue.first_unsent().is_some() || probes;
        self.is_sending() && calm && !says
    }

    /// Whether data was sent just now, and what [`Self::output_into`] looks at before new data is as it is nearly always: no ACK is
    /// due, nothing lost, asked or probed for, and nothing that few connections have.
    fn goes_on(&self, now: Instant) -> bool {
        let Self { snd, rcv, .. } = self;
        let calm = snd.queue.is_untroubled() && !snd.tlp.due && self.rare.is_none();
        let follows = snd.last_sent == now && snd.queue.flight() > 0;
        calm && follows && self.is_sending() && !rcv.ack.is_due()
    }

    /// Decides what of the send queue leaves now, and notes that it does.
    fn next_data(&mut self, cx: &mut Cx<'_>) -> Option<Next> {
        let turn = self.snd.turn();
        if turn != Turn::Usual {
            self.next_asking(cx, turn)
        } else if self.snd.queue.lost() > 0 {
            self.next_lost(cx)
        } else if self.snd.tlp.due {
            self.next_loss_probe(cx)
        } else {
            self.next_new(cx)
        }
    }

    /// Retransmits (NextSeg rule 1 of RFC 6675 4; RFC 6298 5.4).
    #[cold]
    fn next_lost(&mut self, cx: &mut Cx<'_>) -> Option<Next> {
        let (index, entry) = self.snd.queue.next_lost()?;
        let (len, upper) = (entry.len, entry.upper.len());
        let max = self.max_len(upper);
        let len = len.min(max);
        if !self.snd.recovery.oldest_due && !self.snd.cwnd_allows(len) {
            return None;
        }
        self.snd.recovery.oldest_due = false;
        self.snd.queue.cut_lost(index, max);
        self.resend(cx, index)
    }

    /// RFC 5682 2.1 step 2: new data, or where there is none that may go, what was lost as ever.
    #[cold]
    fn next_asking(&mut self, cx: &mut Cx<'_>, turn: Turn) -> Option<Next> {
        let Turn::New { first } = turn else {
            return None;
        };
        let next = self.next_new(cx);
        if next.is_none() && first {
            self.snd.end_frto();
            return self.next_lost(cx);
        }
        next
    }

    fn resend(&mut self, cx: &mut Cx<'_>, index: usize) -> Option<Next> {
        let entry = self.snd.queue.resend(index, cx.now)?;
        let len = entry.seq_len();
        self.snd.resends = self.snd.resends.saturating_add(1);
        cx.counters.count(Counter::TcpRetransmitted);
        self.snd.on_sent(len, cx.now);
        self.note_paced(cx.now, len);
        // RFC 6675 6, the careful variant: the timer starts anew with each retransmission. RFC 8985 7.3: with a probe too.
        self.arm_retransmit(cx.now);
        Some(Next::Again(index))
    }

    /// RFC 8985 7.3: new data that the peer's window takes, whatever the congestion window says, or else the last segment
    /// again.
    #[cold]
    fn next_loss_probe(&mut self, cx: &mut Cx<'_>) -> Option<Next> {
        self.snd.tlp.due = false;
        if !self.snd.may_probe() {
            return self.next_new(cx);
        }
        let flight = self.snd.queue.flight();
        let new = self.snd.queue.first_unsent().and_then(|entry| {
            let take = entry.len.min(self.max_len(entry.upper.len()));
            let whole = take == entry.len;
            let needed = take + u32::from(whole && entry.fin);
            (needed <= self.snd.usable_wnd()).then_some((take, whole))
        });
        let next = if let Some((take, whole)) = new {
            self.arm_retransmit(cx.now);
            self.send_new(cx.now, take, whole)
        } else {
            self.resend(cx, self.snd.queue.sent() - 1)
        };
        cx.counters.count(Counter::TcpLossProbe);
        self.snd.on_probe_sent(flight, new.is_none());
        self.timers.clear(Timer::LossProbe);
        next
    }

    /// Sends new data, as nothing lost waits, if both windows let it go or a probe is due.
    #[inline(always)]
    fn next_new(&mut self, cx: &mut Cx<'_>) -> Option<Next> {
        self.forget_black_hole(cx.now);
        let Some(entry) = self.snd.queue.first_unsent() else {
            self.snd.note_app_limited();
            return None;
        };
        let max = self.max_len(entry.upper.len());
        let usable = self.snd.usable_wnd();
        let mut take = entry.len.min(max);
        let mut whole = take == entry.len;
        let needed = take + u32::from(whole && entry.fin);
        if needed > usable {
            // RFC 9293 3.8.6.2.1: a part only if it is half of the largest window, or nothing else moves for long.
            let half = usable >= (self.snd.wnd_max / 2).max(1);
            if usable == 0 || !(half || self.snd.probe_due) {
                return self.next_window_probe(cx);
            }
            take = take.min(usable);
            whole = false;
        }
        self.snd.restart_if_idle(cx.now);
        if !self.snd.cwnd_allows(take) {
            return None;
        }
        self.send_new(cx.now, take, whole)
    }

    /// Sends `take` octets of the first segment never sent, or `whole` of it.
    #[inline(always)]
    fn send_new(&mut self, now: Instant, take: u32, whole: bool) -> Option<Next> {
        if !whole {
            self.snd.queue.cut_unsent(take);
        }
        // What follows at the same time puts off no probe, but the second segment, which is no lone one any more.
        let goes_on = self.snd.queue.sent() > 1 && self.snd.last_sent == now;
        let entry = self.snd.queue.send_next(now)?;
        let len = entry.seq_len();
        self.note_new(now, len, goes_on);
        Some(Next::New(self.snd.queue.sent() - 1))
    }

    /// Notes that `len` octets left for the first time; whether others did at the same time, the one before the last with them.
    #[inline(always)]
    fn note_new(&mut self, now: Instant, len: u32, goes_on: bool) {
        self.snd.on_sent(len, now);
        self.note_paced(now, len);
        self.snd.note_asked();
        self.snd.probe_due = false;
        self.snd.probes = 0;
        self.timers.clear(Timer::Persist);
        if !self.timers.is_set(Timer::Retransmit) {
            self.arm_retransmit(now);
        }
        if !goes_on {
            self.arm_probe(now, true);
        }
    }

    /// RFC 9293 3.8.6.1: while the window is closed and nothing is in flight, one octet goes out now and then.
    fn next_window_probe(&mut self, cx: &mut Cx<'_>) -> Option<Next> {
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
        self.snd.queue.probed = true;
        cx.counters.count(Counter::TcpZeroWindowProbe);
        Some(Next::Probe(self.snd.queue.sent()))
    }

    /// RFC 6298 5.1.
    pub(super) fn arm_retransmit(&mut self, now: Instant) {
        let at = now + self.snd.rtt.rto();
        self.timers.set(Timer::Retransmit, at);
    }

    fn max_len(&self, upper: usize) -> u32 {
        u32::try_from(self.max_payload(upper)).unwrap_or(u32::MAX)
    }

    /// Writes the segment of an entry of the send queue, if it is there.
    #[inline]
    fn data_segment(&mut self, now: Instant, next: Next, out: &mut OutSegment<B>) -> bool {
        let (index, new) = match next {
            Next::New(index) => (index, true),
            Next::Again(index) | Next::Probe(index) => (index, false),
        };
        let ts = self.timestamps(now);
        let (ack, wnd) = self.acknowledge(false);
        let mut flags = self.ecn_flags(Flags::ACK, new);
        out.ect = new && self.uses_ecn();
        let Some(entry) = self.snd.queue.entry(index) else {
            return false;
        };
        let mut fin = entry.fin;
        out.payload = match (&entry.payload, next) {
            (Some(whole), Next::Probe(_)) => {
                fin = false;
                Some(whole.slice(0..1))
            },
            (whole, _) => whole.as_ref().map(Slice::hand_on),
        };
        // RFC 9293 3.9.1.2: what is pushed in a row is one push, and receivers and devices that put segments together stop at each.
        if entry.psh && self.snd.queue.entries() == index + 1 {
            flags = flags.with(Flags::PSH);
        }
        if fin {
            flags = flags.with(Flags::FIN);
        }
        (out.seq, out.ack, out.flags, out.wnd) = (entry.seq, ack, flags, wnd);
        out.options.ts = ts;
        out.options.sack.clear();
        out.options.mptcp = entry.upper;
        true
    }

    fn pure_ack(&mut self, now: Instant, upper_space: usize, out: &mut OutSegment<B>) {
        out.options.ts = self.timestamps(now);
        out.options.sack.clear();
        out.options.mptcp.clear();
        if self.snd.sack {
            // RFC 2018 3: two octets and eight a block, two more to align.
            let room = OPTIONS_MAX.saturating_sub(self.ts_len() + upper_space + 4) / 8;
            self.rcv.queue.blocks(room, &mut out.options.sack);
        }
        let (ack, wnd) = self.acknowledge(true);
        let flags = self.ecn_flags(Flags::ACK, false);
        (out.seq, out.ack, out.flags, out.wnd) = (self.snd.queue.nxt(), ack, flags, wnd);
        out.ect = false;
        out.payload = None;
    }

    /// A segment at SND.NXT that acknowledges RCV.NXT and announces the window.
    pub(super) fn segment(&mut self, flags: Flags, options: Options, pure: bool) -> OutSegment<B> {
        let (ack, wnd) = self.acknowledge(pure);
        OutSegment {
            seq: self.snd.queue.nxt(),
            ack,
            flags: self.ecn_flags(flags, false),
            wnd,
            ect: false,
            options,
            payload: None,
        }
    }

    /// The acknowledgment and the window field of a segment that leaves now, `pure` if it carries nothing else.
    fn acknowledge(&mut self, pure: bool) -> (SeqNum, u16) {
        let ack = self.rcv.nxt();
        let wnd = self.rcv.window.announce(ack, u32::from(self.rcv.mss));
        let more = pure && self.snd.sack && self.rcv.queue.has_unreported();
        self.rcv.ack.on_sent(pure, more);
        self.timers.clear(Timer::DelayedAck);
        self.last_ack_sent = ack;
        (ack, wnd)
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
