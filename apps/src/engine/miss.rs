//! Segments without a flow: policy decides on SYNs, the rest is a router's work, or refused.

use super::policy::{Asks, Load, Syn, Verdict, judge, side_of};
use super::{Engine, Native, PortRole};
use crate::Counter;
use crate::relay::{Ends, Kind};
use mptcp::handshake::capable::{self, CapableRequest, NotCapable};
use mptcp::handshake::join;
use mptcp::option::{MpOption, ResetReason, TcpRst};
use stack::ip::{SynEdit, TcpArrival};
use stack::tcp::reset_for;
use stack::wire::tcp::{Flags, OptBytes, Segment};
use stack::{Ended, FlowKey, Frame, Instant, PacketBuf, PortId, Side, Tuple};

impl<B: PacketBuf> Engine<B> {
    /// Takes a segment that belongs to no flow.
    pub(super) fn on_miss(
        &mut self,
        now: Instant,
        arrival: TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let flags = arrival.segment.flags;
        if flags.has(Flags::SYN) && !flags.has(Flags::ACK) && !flags.has(Flags::RST) {
            self.on_first_syn(now, &arrival, out)
        } else if arrival.local && !self.is_shared(arrival.packet.dst) {
            self.refuse(now, &arrival.segment, Counter::NotOursReset, out)
        } else if flags.has(Flags::SYN) {
            self.pass_answer(now, &arrival, out)
        } else if self.is_mid_stream(&arrival) {
            self.refuse_mid_stream(now, &arrival.segment, out)
        } else {
            self.pass(now, arrival.packet, out)
        }
    }

    fn on_first_syn(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let segment = &arrival.segment;
        if arrival.packet.ttl <= 1 && !arrival.local {
            // It ends here, and who asks for the way (tcptraceroute) is told so; nothing is worth remembering.
            return self.bypass(now, arrival, false, None, out);
        }
        if !arrival.packet.is_plain() && !arrival.local {
            // What the options say is about every packet of the flow, and a leg of ours would send none of it.
            let strip = !segment.options.mptcp.is_empty() && self.config.edge.is_none();
            return self.bypass(now, arrival, strip, Some(Counter::BypassWrapped), out);
        }
        if self.config.edge.is_some() {
            return self.on_host_syn(now, arrival, out);
        }
        let capable = capable::request(&segment.options.mptcp, self.config.versions);
        let asks = asks(&capable, &segment.options.mptcp);
        let syn = Syn {
            tuple: segment.tuple,
            port: arrival.packet.port,
            local: arrival.local,
            asks,
            opener: side_of(&self.config, &segment.tuple),
            authenticated: segment.options.authenticated,
            early_data: segment.options.fast_open || !segment.payload.is_empty(),
        };
        let peer = (syn.tuple.dst, syn.tuple.dst_port);
        let load = Load {
            plain: syn.opener == Side::Core && self.plain_peers.knows(now, peer),
            ..self.load(&syn)
        };
        let verdict = match judge(&self.config, &syn, &load) {
            verdict @ (Verdict::Split | Verdict::Offer) => {
                match self.deselected(&syn.tuple, segment.tos) {
                    None => verdict,
                    count => Verdict::Forward { strip: true, count },
                }
            },
            verdict => verdict,
        };
        match verdict {
            Verdict::Split => {
                if capable.is_ok() {
                    self.tools.mptcp.count(mptcp::Counter::MpCapableSynRx);
                }
                let kind = capable.map_or(Kind::Plain, Kind::Capable);
                self.begin(now, arrival, &Ends::outbound(syn.tuple), kind, out)
            },
            Verdict::Offer => {
                let ends = Ends::inbound(syn.tuple);
                self.begin_offer(now, arrival, &ends, out)
            },
            Verdict::Forward { strip, count } => self.bypass(now, arrival, strip, count, out),
            Verdict::Join => self.on_join(now, segment, out),
            Verdict::Refuse(why) => self.refuse(now, segment, why, out),
            Verdict::RefuseJoin(why) => self.refuse_join(now, segment, why, out),
        }
    }

    pub(super) fn load(&self, syn: &Syn) -> Load {
        let (subscriber, source) = match syn.opener {
            Side::Access => (syn.tuple.src, None),
            Side::Core => (syn.tuple.dst, Some(syn.tuple.src)),
        };
        let usage = self.subscribers.of(subscriber);
        let routed = |address| self.net.port_toward(address).is_some();
        Load {
            relays: self.relays.len() + self.pendings.len(),
            pending: self.pendings.len(),
            inbound: self.subscribers.inbound,
            of_source: source.map_or(0, |source| self.subscribers.of_source(source)),
            of_subscriber: usage.relays + usage.pending + usage.inbound,
            pending_of_subscriber: match syn.opener {
                Side::Access => usage.pending,
                Side::Core => usage.inbound,
            },
            draining: self.draining,
            short: self.is_short(),
            overloaded: self.config.limits.protect_established && self.overload.is_too_dear(),
            // Over a bump in the wire what goes on needs no route.
            routed: self.net.paired(syn.port).is_some()
                || (routed(syn.tuple.src) && routed(syn.tuple.dst)),
            plain: false,
        }
    }

    /// Forwards a SYN unbonded.
    pub(super) fn bypass(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        strip_mptcp: bool,
        count: Option<Counter>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        if let Some(count) = count {
            self.tools.apps.count(count);
        }
        let edit = SynEdit {
            strip_mptcp,
            ..SynEdit::default()
        };
        self.pass_syn(now, arrival, edit, out)
    }

    /// A SYN+ACK of a flow that is not split: between a subscriber and the Internet nobody was offered MP_CAPABLE, and so
    /// nobody must get one.
    pub(super) fn pass_answer(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let strip = self.config.edge.is_none() && !arrival.segment.options.mptcp.is_empty() && {
            let Tuple { src, dst, .. } = arrival.segment.tuple;
            self.config.is_subscriber(src) || self.config.is_subscriber(dst)
        };
        let count = strip.then_some(Counter::StrippedAnswer);
        self.bypass(now, arrival, strip, count, out)
    }

    /// Whether the other box speaks MPTCP on a flow that we do not know: we split it in a former life, or have ended it.
    fn is_mid_stream(&self, arrival: &TcpArrival<B>) -> bool {
        let segment = &arrival.segment;
        !segment.options.mptcp.is_empty()
            && self.may_be_split(arrival.packet.port, &self.key_of(&segment.tuple))
    }

    /// Whether segments like this, from `port`, come from the other box if they speak MPTCP. In the network that is a
    /// subscriber's segment, at the customer's edge one for a host.
    pub(super) fn may_be_split(&self, port: PortId, key: &FlowKey) -> bool {
        let role = self.config.role(port);
        match &self.config.edge {
            None => key.side == Side::Access && role == PortRole::Access,
            // Hosts that are let through speak it themselves, with whomever they like.
            Some(_) => {
                self.config.select.native != Native::Pass
                    && role == PortRole::Core
                    && self.config.is_subscriber(key.tuple.dst)
                    && !self.config.is_subscriber(key.tuple.src)
            },
        }
    }

    /// Answers a segment of a flow that we may once have split: its client must not take the server for its peer. A plain one
    /// may be a host's whose box has forgotten the flow, and has nothing to do with a reset that speaks of MPTCP.
    pub(super) fn refuse_mid_stream(
        &mut self,
        now: Instant,
        segment: &Segment<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let Some(mut reset) = reset_for(segment) else {
            return self.tools.apps.end(Counter::MidStreamDropped);
        };
        if !segment.options.mptcp.is_empty() {
            let why = TcpRst {
                transient: false,
                reason: ResetReason::MPTCP_SPECIFIC,
            };
            reset.options.mptcp = MpOption::from(why).into();
        }
        self.send(now, &segment.tuple.reversed(), reset, out);
        self.tools.apps.end(Counter::MidStreamReset)
    }

    /// Answers with a reset; a reset itself is dropped.
    pub(super) fn refuse(
        &mut self,
        now: Instant,
        segment: &Segment<B>,
        why: Counter,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        if let Some(reset) = reset_for(segment) {
            self.send(now, &segment.tuple.reversed(), reset, out);
        }
        self.tools.apps.end(why)
    }
}

/// What the MPTCP options of a SYN ask for.
fn asks(capable: &Result<CapableRequest, NotCapable>, options: &OptBytes) -> Asks {
    match capable {
        _ if options.is_empty() => Asks::Plain,
        Ok(_) => Asks::Capable,
        Err(NotCapable::Version(_)) => Asks::OtherVersion,
        Err(_) if join::request(options).is_ok() => Asks::Join,
        Err(_) => Asks::Garbled,
    }
}
