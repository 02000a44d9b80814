//! The box at the customer's edge: a host's plain SYN goes on with MP_CAPABLE. If a box on the path answers with one, the
//! flow becomes a relay whose server leg is Multipath TCP; if none does, the flow goes on as if we were not there.

use super::policy::{Asks, Syn, subscriber_reason};
use super::setup::DSS_LEN;
use super::{Engine, PortRole};
use crate::Counter;
use crate::relay::{Ends, Kind, Pending};
use mptcp::handshake::capable::{self, Terms};
use mptcp::{Key, LocalKey, MpOption, Version};
use stack::ip::{SynEdit, TcpArrival};
use stack::slab::Handle;
use stack::tcp::handshake::{Offer, Opening};
use stack::wire::tcp::OptBytes;
use stack::{Frame, Instant, PacketBuf};

/// How many of a host's SYNs carry MP_CAPABLE: what drops SYNs with unknown options must not keep the host from its
/// server (RFC 8684 3.7).
const OFFERS_MAX: u8 = 2;

impl<B: PacketBuf> Engine<B> {
    /// Takes the first SYN of a flow.
    pub(super) fn on_host_syn(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let segment = &arrival.segment;
        if arrival.local {
            return self.refuse(now, segment, Counter::NotOursReset, out);
        }
        let options = &segment.options;
        let syn = Syn {
            tuple: segment.tuple,
            port: arrival.packet.port,
            local: false,
            asks: Asks::Plain,
            authenticated: options.authenticated,
            early_data: options.fast_open || !segment.payload.is_empty(),
        };
        let config = &self.config;
        let outbound = config.is_subscriber(syn.tuple.src) && !config.is_subscriber(syn.tuple.dst);
        let primary = self
            .net
            .port_toward(syn.tuple.dst)
            .map(|port| config.role(port));
        if !outbound || !options.mptcp.is_empty() || primary != Some(PortRole::Core) {
            // Hosts that speak it themselves are served by the box in the network.
            return self.bypass(now, arrival, false, None, out);
        }
        match subscriber_reason(config, &syn, &self.load(&syn)) {
            None => self.begin(now, arrival, &Ends::outbound(syn.tuple), Kind::Opening, out),
            why => self.bypass(now, arrival, false, why, out),
        }
    }

    /// The host's SYN towards the server: addresses, ports, number and options verbatim, MP_CAPABLE added to the first
    /// two, and the MSS such that what comes back fits the host's side.
    pub(super) fn forward_offer(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let tuple = &arrival.segment.tuple;
        let key = self.key_of(tuple);
        let offers = match self.flows.get(&key) {
            Some(super::FlowRef::Pending(handle)) => self
                .pendings
                .get(handle)
                .is_some_and(|pending| pending.syns <= OFFERS_MAX),
            _ => false,
        };
        let offer: OptBytes =
            MpOption::from(capable::syn(Version::V1, Key::new([0; 8]), self.terms())).into();
        let add_mptcp = if offers {
            offer.first_chunk().copied()
        } else {
            None
        };
        if add_mptcp.is_some() {
            self.tools.mptcp.count(mptcp::Counter::MpCapableSynTx);
        }
        let edit = SynEdit {
            strip_mptcp: false,
            mss_max: Some(self.segment_max(tuple.src).min(self.segment_max(tuple.dst))),
            decline_accurate_ecn: offers,
            add_mptcp,
            ..SynEdit::default()
        };
        self.net
            .forward_syn(&mut self.tools.cx(now), arrival, edit, out);
    }

    /// What we ask for: our own first address takes no joins, as it is the host's.
    const fn terms(&self) -> Terms {
        Terms {
            checksum: self.config.checksum,
            deny_join_initial: true,
        }
    }

    /// The answer to a SYN that we may have added MP_CAPABLE to: with one we go on, without one we step out of the way.
    pub(super) fn on_hag_answer(
        &mut self,
        now: Instant,
        handle: Handle,
        answered: (Opening, Offer),
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let segment = &arrival.segment;
        let offered = self
            .pendings
            .get(handle)
            .is_some_and(|pending| pending.syns <= OFFERS_MAX);
        let settled = if offered {
            self.settled(&segment.options.mptcp)
        } else {
            None
        };
        if settled.is_some() {
            self.tools.mptcp.count(mptcp::Counter::MpCapableSynAckRx);
            return self.on_answered(now, handle, answered, settled, segment.tos, out);
        }
        // The host has seen nothing of ours, and the server has what the host sent: both go on without us.
        self.drop_pending(handle);
        self.bypass(now, arrival, true, Some(Counter::CutThrough), out);
    }

    /// Our key and what the answer's MP_CAPABLE settles; `None` if there is none that we can go on with.
    fn settled(&mut self, options: &OptBytes) -> Option<(LocalKey, capable::Agreed)> {
        if options.is_empty() {
            return None;
        }
        let local = self.draw_key()?;
        match capable::syn_ack(options, Version::V1, local.key, self.terms()) {
            Ok(agreed) => Some((local, agreed)),
            Err(_) => {
                self.tokens.remove(local.token);
                None
            },
        }
    }

    /// The MSS that the client is told: what it fills leaves room for the options of the leg that speaks Multipath TCP.
    pub(super) fn mss_to_client(&self, pending: &Pending, server: &Offer, limit: u16) -> u16 {
        let ipv6 = pending.inner.dst.is_ipv6();
        if pending.kind == Kind::Opening {
            let limit = limit.min(self.segment_max(pending.inner.dst));
            server.smss(limit, ipv6).saturating_sub(DSS_LEN)
        } else {
            server.smss(limit, ipv6)
        }
    }
}
