//! The set-up of a split flow (draft-peirens section 5, figure 4): the opener's SYN goes on to the answerer as it came; the
//! opener is answered only once the answerer has answered, and the answerer's third ACK waits for the opener's. Either may
//! be the subscriber, and either may be the one towards whom we speak Multipath TCP: [`Kind`] and `opener` say which.

use super::{Engine, FlowRef, TokenRef};
use crate::Counter;
use crate::relay::{Answered, Ends, Kind, Pending};
use core::net::IpAddr;
use mptcp::handshake::capable::{self, Terms};
use mptcp::{LocalKey, MpOption, Token, Version};
use stack::ip::{IpOut, SynEdit, TcpArrival};
use stack::slab::Handle;
use stack::tcp::handshake::{AcceptVerdict, Accepting, Offer, OpenVerdict, Opening};
use stack::wire::tcp::{Flags, OptBytes, Options, OutSegment, Timestamps};
use stack::{Ended, Frame, Instant, PacketBuf, SeqNum, Side};

/// Octets of MPTCP options on each data segment of the access side: a DSS with 64-bit sequence number and
/// acknowledgment (RFC 8684 3.3). The server is offered that much less, so that one segment in is one segment out.
const DSS_LEN: u16 = 28;

/// The same with a checksum, and two octets of padding.
const DSS_CHECKSUM_LEN: u16 = 32;

impl<B: PacketBuf> Engine<B> {
    /// Takes the first SYN of a flow that is to be split: remembers it and forwards it.
    pub(super) fn begin(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        ends: &Ends,
        kind: Kind,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let segment = &arrival.segment;
        let meant = (kind, segment.tos & 0xfc);
        let pending = Pending::new(ends, segment.seq, Offer::of(segment), meant, now);
        let Ok(handle) = self.pendings.insert(pending) else {
            self.free_offering(kind);
            let count = Some(Counter::BypassLimitPending);
            return self.bypass(now, arrival, true, count, out);
        };
        if !self.enter(ends, FlowRef::Pending(handle), FlowRef::Pending(handle)) {
            self.pendings.remove(handle);
            self.free_offering(kind);
            let count = Some(Counter::BypassLimitRelays);
            return self.bypass(now, arrival, true, count, out);
        }
        self.hold(ends);
        self.subscribers.begin(ends);
        self.arm_pending(handle);
        self.overload.begin();
        self.net.learn_way(&arrival.packet, &segment.tuple);
        self.tools.apps.count(Counter::PendingOpened);
        self.forward_split_syn(now, arrival, (kind, 1), out)
    }

    /// Enters both keys of a flow; if the table is full neither is.
    pub(super) fn enter(&mut self, ends: &Ends, client: FlowRef, server: FlowRef) -> bool {
        let [from_client, from_server] = ends.keys();
        if self.enter_flow(&from_client, client).is_err() {
            return false;
        }
        if self.enter_flow(&from_server, server).is_err() {
            self.leave_flow(&from_client, client);
            return false;
        }
        true
    }

    /// The opener's SYN towards the answerer: addresses, ports, number and options verbatim, MP_CAPABLE removed, and the
    /// MSS such that what it lets through fits the opener's side with its options.
    fn forward_split_syn(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        (kind, syns): (Kind, u8),
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let tuple = &arrival.segment.tuple;
        if let Kind::Opening(offering) = kind {
            return self.forward_offer(now, arrival, (offering, syns), out);
        }
        let options = match kind {
            Kind::Capable(request) => self.dss_len(request.terms.checksum),
            Kind::Opening(_) | Kind::Plain => 0,
        };
        let opener = self.segment_max(tuple.src).saturating_sub(options);
        let edit = SynEdit {
            strip_mptcp: true,
            mss_max: Some(opener.min(self.segment_max(tuple.dst))),
            decline_accurate_ecn: true,
            add_mptcp: OptBytes::new(),
            ..SynEdit::default()
        };
        self.pass_syn(now, arrival, edit, out)
    }

    /// What a data segment's MPTCP options take of it, if the peer asks for checksums or not.
    pub(super) const fn dss_len(&self, peer_asks: bool) -> u16 {
        if self.config.checksum || peer_asks {
            DSS_CHECKSUM_LEN
        } else {
            DSS_LEN
        }
    }

    /// Octets of payload and TCP options of a segment towards `to`: on the side of Multipath TCP at most what every access
    /// network takes, as subflows run by any of them.
    pub(super) fn segment_max(&self, to: IpAddr) -> u16 {
        let headers = if to.is_ipv4() { 40 } else { 60 };
        let toward = self.net.mtu_toward(to).unwrap_or(1280);
        let least = if self.config.is_bonded_side(to) {
            self.config
                .access_mtu()
                .map_or(toward, |mtu| mtu.min(toward))
        } else {
            toward
        };
        least.saturating_sub(headers)
    }

    /// The same on a joined subflow from our address `src`: its path may be of another family and another MTU.
    pub(super) fn segment_max_from(&self, src: IpAddr, to: IpAddr) -> u16 {
        let headers = if to.is_ipv4() { 40 } else { 60 };
        let mtu = self.net.mtu_from(src, to).unwrap_or(1280);
        mtu.saturating_sub(headers)
    }

    /// Takes a segment of a flow in set-up.
    pub(super) fn on_pending(
        &mut self,
        now: Instant,
        handle: Handle,
        side: Side,
        arrival: TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Some(pending) = self.pendings.get(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        if side != pending.opener {
            self.on_answer(now, handle, &arrival, out)
        } else if arrival.segment.flags.has(Flags::SYN) {
            self.on_syn_again(now, handle, arrival, out)
        } else {
            self.on_opener_ack(now, handle, arrival, out)
        }
    }

    /// The opener sends its SYN again: before the answerer has answered it goes on to it, each time once and
    /// none of our own; afterwards it is answered again.
    fn on_syn_again(
        &mut self,
        now: Instant,
        handle: Handle,
        arrival: TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let segment = &arrival.segment;
        let Some(pending) = self.pendings.get_mut(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        if segment.seq != pending.iss || segment.flags.has(Flags::ACK) {
            // A new connection from the same port: the opener has forgotten the old one.
            self.drop_pending(handle);
            return self.on_miss(now, arrival, out);
        }
        pending.touched = now;
        if matches!(pending.kind, Kind::Capable(_)) && segment.options.mptcp.is_empty() {
            self.tools.apps.count(Counter::MpcPlainRetry);
            pending.kind = Kind::Plain;
            if pending.answered.is_none() && !self.config.accept_plain {
                // Nothing was split yet: step out of the way.
                self.drop_pending(handle);
                return self.bypass(now, &arrival, false, None, out);
            }
        }
        if let Kind::Capable(before) = pending.kind
            && let Ok(request) = capable::request(&segment.options.mptcp, self.config.versions)
            && (request.version == before.version || pending.answered.is_none())
        {
            // A box that was told of an error forgets the flow, and asks with another key when its host tries again: the
            // last SYN counts (RFC 6824 3.1), as nothing is known that was agreed with the first.
            pending.kind = Kind::Capable(request);
        }
        if pending.answered.is_some() {
            self.answer_opener(now, handle, out);
            return self.tools.apps.end(Counter::SetupTaken);
        }
        // The clock is read anew, as the opener's next timestamps count from this SYN's.
        pending.offer = Offer::of(segment);
        pending.syns = pending.syns.saturating_add(1);
        let meant = (pending.kind, pending.syns);
        self.tools.apps.count(Counter::PendingSynForwarded);
        self.forward_split_syn(now, &arrival, meant, out)
    }

    fn on_answer(
        &mut self,
        now: Instant,
        handle: Handle,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let segment = &arrival.segment;
        let Some(pending) = self.pendings.get_mut(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        let for_us = segment.flags.has(Flags::ACK) && segment.ack == pending.iss + 1;
        if !for_us && pending.answered.is_none() {
            // Not an answer to this SYN, but to something older: the opener knows what to say to it.
            return self.pass_answer(now, arrival, out);
        }
        let cx = &mut self.tools.cx(now);
        let mut opening = pending.opening();
        let verdict = match &mut pending.answered {
            None => opening.input(cx, segment),
            Some(answered) => answered.opening.input(cx, segment),
        };
        match verdict {
            OpenVerdict::Answered(offer) => {
                if let Kind::Opening(offering) = pending.kind {
                    let answered = (opening, offer);
                    return self.on_offer_answered(now, handle, offering, answered, arrival, out);
                }
                return self.on_answered(now, handle, (opening, offer), None, segment.tos, out);
            },
            OpenVerdict::Refused => {
                self.tools.apps.count(Counter::PendingRefused);
                return self.refuse_opener(now, handle, arrival, out);
            },
            OpenVerdict::Dropped | OpenVerdict::Crossed(_) => {
                if segment.flags.has(Flags::SYN) && pending.answered.is_some() {
                    // The answerer asks again for its third ACK, so the opener has not sent us its own.
                    self.answer_opener(now, handle, out);
                }
            },
            OpenVerdict::Reset(reset) => {
                self.send(now, &segment.tuple.reversed(), reset, out);
            },
        }
        self.tools.apps.end(Counter::SetupTaken)
    }

    /// The answerer has answered: only now is the opener's SYN answered, with what the answerer accepted of it.
    pub(super) fn on_answered(
        &mut self,
        now: Instant,
        handle: Handle,
        (opening, answerer): (Opening, Offer),
        settled: Option<(LocalKey, capable::Agreed)>,
        tos: u8,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Some(pending) = self.pendings.get(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        let to_opener = pending.ends().opener_sends().reversed();
        let limit = self.segment_max(to_opener.dst);
        let ipv6 = to_opener.dst.is_ipv6();
        // Our own clock: one millisecond ticks from an offset that tells nothing of other connections.
        let clock = now.as_millis() & u64::from(u32::MAX);
        let val = u32::try_from(clock)
            .unwrap_or(0)
            .wrapping_add(self.isn.ts_offset(&to_opener));
        let ours = Offer {
            mss: Some(self.mss_to_opener(pending, &answerer, settled.as_ref(), limit)),
            ts: answerer.ts.map(|_| Timestamps { val, ecr: 0 }),
            ..answerer
        };
        let accepting = Accepting::new(
            match pending.used {
                None => self.isn.isn(now, &to_opener),
                Some(used) => self.isn.isn_beyond(now, &to_opener, used),
            },
            pending.iss,
            &pending.offer,
            &ours,
            pending.offer.smss(limit, ipv6),
            now,
        );
        let key = match pending.kind {
            Kind::Capable(request) => self.draw_key(request.version),
            Kind::Opening(_) => settled.map(|(key, _)| key),
            Kind::Plain => None,
        };
        if let Some(pending) = self.pendings.get_mut(handle) {
            pending.touched = now;
            pending.answered = Some(Box::new(Answered {
                opening,
                accepting,
                offer: answerer,
                key,
                agreed: settled.map(|(_, agreed)| agreed),
                tos: tos & 0xfc,
            }));
        }
        self.answer_opener(now, handle, out);
        self.tools.apps.end(Counter::SetupTaken)
    }

    /// A key of ours whose token is from now on taken. Without one the flow goes on as plain TCP (RFC 8684 3.1).
    pub(super) fn draw_key(&mut self, version: Version) -> Option<LocalKey> {
        let Self {
            keys,
            tokens,
            tools,
            ..
        } = self;
        let key = keys.take(version, &mut tools.rng, &mut tools.mptcp, |token| {
            tokens.contains(token)
        })?;
        tokens.insert(key.token, TokenRef::PENDING).ok()?;
        Some(key)
    }

    /// Sends the opener our SYN+ACK, once more if need be.
    fn answer_opener(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let Some(pending) = self.pendings.get_mut(handle) else {
            return;
        };
        let Some(answered) = &mut pending.answered else {
            return;
        };
        let upper = match (pending.kind, &answered.key) {
            (Kind::Capable(request), Some(local)) => {
                let ours = Terms {
                    checksum: self.config.checksum,
                    deny_join_initial: true,
                };
                self.tools.mptcp.count(mptcp::Counter::MpCapableSynAckTx);
                MpOption::from(capable::answer(&request, local.key, ours)).into()
            },
            _ => OptBytes::new(),
        };
        let mut segment = answered.accepting.syn_ack(now, upper);
        let ip = IpOut {
            tos: answered.tos,
            ..IpOut::default()
        };
        let tuple = pending.ends().opener_sends().reversed();
        self.net
            .send_tcp(&mut self.tools.cx(now), &tuple, ip, &mut segment, out);
    }

    /// The answerer refused: its own reset reaches the opener, renumbered if that has seen our SYN+ACK.
    fn refuse_opener(
        &mut self,
        now: Instant,
        handle: Handle,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Some(pending) = self.drop_pending(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        match &pending.answered {
            None => self.pass(now, arrival.packet.clone(), out),
            Some(answered) => {
                let reset = reset(answered.accepting.iss() + 1, Some(pending.iss + 1));
                let to_opener = pending.ends().opener_sends().reversed();
                self.send(now, &to_opener, reset, out);
                self.tools.apps.end(Counter::SetupTaken)
            },
        }
    }

    /// A segment without SYN from the opener: its third ACK, data in its place, or a reset.
    fn on_opener_ack(
        &mut self,
        now: Instant,
        handle: Handle,
        arrival: TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Some(pending) = self.pendings.get_mut(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        let ends = pending.ends();
        let next = pending.iss + 1;
        let Some(answered) = &mut pending.answered else {
            return self.on_ack_unasked(now, handle, arrival, out);
        };
        let verdict = answered
            .accepting
            .third_ack(&mut self.tools.cx(now), &arrival.segment);
        match verdict {
            AcceptVerdict::Established(agreed) => {
                self.split(now, handle, &agreed, &arrival.segment);
            },
            AcceptVerdict::Resend => self.answer_opener(now, handle, out),
            AcceptVerdict::Answer(segment) => {
                self.send(now, &ends.opener_sends().reversed(), segment, out);
            },
            AcceptVerdict::Reset => {
                self.tools.apps.count(Counter::PendingClientReset);
                self.drop_pending(handle);
                self.send(now, &ends.answerer_gets(), reset(next, None), out);
            },
            AcceptVerdict::Dropped => {},
        }
        self.tools.apps.end(Counter::SetupTaken)
    }

    /// A segment without SYN from an opener whose answer has not passed here. If it is the next one of this flow the answer
    /// took another way, and the flow does without us; else it is about something older, between both ends.
    fn on_ack_unasked(
        &mut self,
        now: Instant,
        handle: Handle,
        arrival: TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Some(pending) = self.pendings.get(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        let (flags, is_next) = (
            arrival.segment.flags,
            arrival.segment.seq == pending.iss + 1,
        );
        if flags.has(Flags::RST) {
            if is_next {
                self.tools.apps.count(Counter::PendingClientReset);
                self.drop_pending(handle);
            }
            return self.pass(now, arrival.packet, out);
        }
        if is_next && flags.has(Flags::ACK) {
            self.tools.apps.count(Counter::CutThroughOneWay);
            self.drop_pending(handle);
        }
        self.on_miss(now, arrival, out)
    }

    /// Resets both ends of a pending flow that was answered, and forgets it.
    pub(super) fn reset_pending(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        let Some(pending) = self.drop_pending(handle) else {
            return;
        };
        let (ends, iss) = (pending.ends(), pending.iss);
        let Some(answered) = pending.answered else {
            return;
        };
        let to_opener = reset(answered.accepting.iss() + 1, Some(iss + 1));
        self.send(now, &ends.opener_sends().reversed(), to_opener, out);
        self.send(now, &ends.answerer_gets(), reset(iss + 1, None), out);
    }

    /// Forgets a pending flow, its keys, its token and its place in its subscriber's limit.
    pub(super) fn drop_pending(&mut self, handle: Handle) -> Option<Pending> {
        let pending = self.take_pending(handle)?;
        let ends = pending.ends();
        self.leave_pending(handle, &ends);
        self.free_tokens(&pending, None);
        self.subscribers.end(&ends);
        Some(pending)
    }

    /// Takes a pending flow out of its place alone.
    pub(super) fn take_pending(&mut self, handle: Handle) -> Option<Pending> {
        let mut pending = self.pendings.remove(handle)?;
        self.timers.disarm(&mut pending.alarm);
        Some(pending)
    }

    /// Forgets the keys of the pending flow that was behind `handle`, and its hold on its mapping.
    pub(super) fn leave_pending(&mut self, handle: Handle, ends: &Ends) {
        for key in ends.keys() {
            self.leave_flow(&key, FlowRef::Pending(handle));
        }
        self.release(None, ends);
    }

    /// Frees the tokens of a pending flow, but the one that `kept` is.
    pub(super) fn free_tokens(&mut self, pending: &Pending, kept: Option<Token>) {
        let drawn = pending.answered.as_ref().and_then(|a| a.key);
        let offered = match pending.kind {
            Kind::Opening(offering) => offering.token(),
            Kind::Capable(_) | Kind::Plain => None,
        };
        for token in [drawn.map(|key| key.token), offered].into_iter().flatten() {
            if kept != Some(token) {
                self.tokens.remove(token);
            }
        }
    }
}

/// A reset numbered `seq`, acknowledging `ack`.
fn reset<B: PacketBuf>(seq: SeqNum, ack: Option<SeqNum>) -> OutSegment<B> {
    OutSegment {
        seq,
        ect: false,
        ack: ack.unwrap_or_default(),
        flags: ack.map_or(Flags::RST, |_| Flags::RST.with(Flags::ACK)),
        wnd: 0,
        options: Options::default(),
        payload: None,
    }
}
