//! The box at the customer's edge: a host's plain SYN goes on with MP_CAPABLE. If a box on the path answers with one, the
//! flow becomes a relay whose server leg is Multipath TCP; if none does, the flow goes on as if we were not there.

use super::policy::{Asks, Syn, subscriber_reason};
use super::setup::DSS_LEN;
use super::{Engine, PortRole};
use crate::Counter;
use crate::relay::{Ends, Kind, Offering, Pending};
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

/// The box in the network, which answers all of our SYNs: one peer, as far as versions go.
const PEER: u128 = 0;

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
        if let Some(why) = subscriber_reason(config, &syn, &self.load(&syn)) {
            return self.bypass(now, arrival, false, Some(why), out);
        }
        match self.offering(now) {
            Some(offering) => {
                let ends = Ends::outbound(segment.tuple);
                self.begin(now, arrival, &ends, Kind::Opening(offering), out);
            },
            None => {
                let why = Some(Counter::BypassLimitPending);
                self.bypass(now, arrival, false, why, out);
            },
        }
    }

    /// What to ask the peer for next; `None` if there is no key for it.
    fn offering(&mut self, now: Instant) -> Option<Offering> {
        let version = self.peer_versions.ask(now, PEER);
        let key = match version {
            Version::V0 => Some(self.draw_key(version)?.key),
            Version::V1 => None,
        };
        Some(Offering { version, key })
    }

    /// Frees the token of a flow that we asked for in version 0.
    pub(super) fn free_offering(&mut self, kind: Kind) {
        if let Kind::Opening(Offering {
            version,
            key: Some(key),
        }) = kind
        {
            self.tokens.remove(key.token(version));
        }
    }

    /// The host's SYN towards the server: addresses, ports, number and options verbatim, MP_CAPABLE added to the first
    /// two, and the MSS such that what comes back fits the host's side.
    pub(super) fn forward_offer(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        offering: Offering,
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
        let mut add_mptcp = OptBytes::new();
        if offers {
            // The SYN of version 1 brings no key.
            let key = offering.key.unwrap_or(Key::new([0; 8]));
            add_mptcp = MpOption::from(capable::syn(offering.version, key, self.terms())).into();
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
        offering: Offering,
        answered: (Opening, Offer),
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let segment = &arrival.segment;
        let offered = self
            .pendings
            .get(handle)
            .is_some_and(|pending| pending.syns <= OFFERS_MAX);
        if offered {
            let settled = self.settled(offering, &segment.options.mptcp);
            if settled.is_some() {
                self.tools.mptcp.count(mptcp::Counter::MpCapableSynAckRx);
                self.peer_versions.answered(now, PEER, offering.version);
                return self.on_answered(now, handle, answered, settled, segment.tos, out);
            }
            if self.peer_versions.refused(PEER, offering.version) {
                self.tools.apps.count(Counter::VersionChanged);
            }
        }
        // The host has seen nothing of ours, and the server has what the host sent: both go on without us.
        self.drop_pending(handle);
        self.bypass(now, arrival, true, Some(Counter::CutThrough), out);
    }

    /// Our key and what the answer's MP_CAPABLE settles; `None` if there is none that we can go on with.
    fn settled(
        &mut self,
        offering: Offering,
        options: &OptBytes,
    ) -> Option<(LocalKey, capable::Agreed)> {
        if options.is_empty() {
            return None;
        }
        let version = offering.version;
        let local = match offering.key {
            Some(key) => key.derive(version),
            None => self.draw_key(version)?,
        };
        match capable::syn_ack(options, version, local.key, self.terms()) {
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
        if matches!(pending.kind, Kind::Opening(_)) {
            let limit = limit.min(self.segment_max(pending.inner.dst));
            server.smss(limit, ipv6).saturating_sub(DSS_LEN)
        } else {
            server.smss(limit, ipv6)
        }
    }
}
