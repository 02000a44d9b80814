//! The box at the customer's edge, asked by a SYN without a flow: of one of its hosts, which goes on with an offer of
//! Multipath TCP, or of the Internet's with such an offer, which the box in the network made.

use super::Native;
use super::policy::{Asks, Syn, syn_reason};
use super::{Engine, PortRole, passage};
use crate::Counter;
use crate::nat::Passage;
use crate::relay::Kind;
use mptcp::handshake::{capable, join};
use stack::ip::TcpArrival;
use stack::{Ended, Frame, Instant, PacketBuf, Side};

impl<B: PacketBuf> Engine<B> {
    /// Takes the first SYN of a flow.
    pub(super) fn on_host_syn(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let segment = &arrival.segment;
        let ours = self.own.find(segment.tuple.dst).is_some();
        if arrival.local && ours && join::request(&segment.options.mptcp).is_ok() {
            return self.on_join(now, segment, out);
        }
        let shared = self.is_shared(segment.tuple.dst);
        if arrival.local && !shared {
            return self.refuse(now, segment, Counter::NotOursReset, out);
        }
        let options = &segment.options;
        let syn = Syn {
            tuple: segment.tuple,
            port: arrival.packet.port,
            local: false,
            asks: Asks::Plain,
            opener: Side::Access,
            authenticated: options.authenticated,
            early_data: options.fast_open || !segment.payload.is_empty(),
        };
        let config = &self.config;
        let from_host = config.is_subscriber(syn.tuple.src);
        let to_host = config.is_subscriber(syn.tuple.dst) || shared;
        if to_host && !from_host {
            return self.on_internet_syn(now, arrival, syn, out);
        }
        let outbound = from_host && !to_host;
        let primary = self
            .net
            .port_toward(syn.tuple.dst)
            .map(|port| config.role(port));
        if !outbound || primary != Some(PortRole::Core) || join::request(&options.mptcp).is_ok() {
            // A join belongs to a connection that did not come this way.
            return self.bypass(now, arrival, false, None, out);
        }
        let speaks = !options.mptcp.is_empty();
        let native = config.select.native;
        let why = match self.deselected(&syn.tuple, segment.tos) {
            None if speaks && native == Native::Pass => {
                return self.bypass(now, arrival, false, Some(Counter::NativePassed), out);
            },
            None if speaks && native == Native::Strip => Some(Counter::NativeStripped),
            None if self.eats_option(now, syn.tuple.dst) => Some(Counter::BypassOptionEaten),
            None => syn_reason(&self.config, &syn, &self.load(&syn)),
            why => why,
        };
        if why.is_some() {
            // There are never two owners of one MP_CAPABLE.
            return self.bypass(now, arrival, speaks, why, out);
        }
        if speaks {
            self.tools.apps.count(Counter::NativeTerminated);
        }
        match self.judge(now, &arrival.packet) {
            Passage::Pass(to) => {
                let ends = passage::outbound(syn.tuple, &to);
                self.begin_offer(now, arrival, &ends, out)
            },
            stopped => self.stop(now, arrival.packet.clone(), stopped, out),
        }
    }

    /// A SYN of the Internet's for one of the hosts. The box in the network has offered Multipath TCP in its sender's
    /// place: the SYN goes on without, and once the host has answered we accept.
    fn on_internet_syn(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        syn: Syn,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        // RFC 6092: whom strangers may ask for is settled before anything else.
        let ends = match self.judge(now, &arrival.packet) {
            Passage::Pass(to) => passage::inbound(syn.tuple, &to),
            stopped => return self.stop(now, arrival.packet.clone(), stopped, out),
        };
        let options = &arrival.segment.options.mptcp;
        let syn = Syn {
            opener: Side::Core,
            tuple: ends.inner.reversed(),
            ..syn
        };
        let Ok(request) = capable::request(options, self.config.versions) else {
            // A host that speaks it is not asked past us: its answer would be its own.
            let count = (!options.is_empty()).then_some(Counter::BypassMalformed);
            return self.bypass(now, arrival, true, count, out);
        };
        match syn_reason(&self.config, &syn, &self.load(&syn)) {
            None => {
                self.tools.mptcp.count(mptcp::Counter::MpCapableSynRx);
                self.begin(now, arrival, &ends, Kind::Capable(request), out)
            },
            why => self.bypass(now, arrival, true, why, out),
        }
    }
}
