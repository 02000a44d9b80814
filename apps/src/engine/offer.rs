//! Opening Multipath TCP in the place of a host that speaks TCP: its SYN goes on with MP_CAPABLE. If a box on the path
//! answers with one, the flow becomes a relay whose leg away from that host is Multipath TCP; if none does, the flow goes
//! on as if we were not there. At the customer's edge these are the hosts behind it, in the network the Internet's.

use super::Engine;
use super::policy::subscriber_key;
use crate::Counter;
use crate::relay::{Ends, Kind, Offering, Pending};
use core::net::IpAddr;
use mptcp::handshake::capable::{self, Terms};
use mptcp::{Key, LocalKey, MpOption, Version};
use stack::ip::{SynEdit, TcpArrival};
use stack::slab::Handle;
use stack::tcp::handshake::{Offer, Opening};
use stack::time::Duration;
use stack::wire::tcp::OptBytes;
use stack::{Ended, Frame, Instant, PacketBuf};
use std::collections::BTreeMap;

/// How many of a host's SYNs carry MP_CAPABLE: what drops SYNs with unknown options must not keep the host from its
/// server (RFC 8684 3.7).
const OFFERS_MAX: u8 = 2;

/// How long who answered a MP_CAPABLE with none is not asked again.
const PLAIN_FOR: Duration = Duration::from_secs(300);

/// How many of those are remembered.
const PLAIN_MAX: usize = 10_000;

/// Subscribers' addresses and ports that answered without MP_CAPABLE: for a while nothing is prepared for them.
#[derive(Debug, Default)]
pub(super) struct PlainPeers {
    until: BTreeMap<(IpAddr, u16), Instant>,
}

impl PlainPeers {
    fn remember(&mut self, now: Instant, peer: (IpAddr, u16)) {
        if self.until.len() >= PLAIN_MAX {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() < PLAIN_MAX {
            self.until.insert(peer, now + PLAIN_FOR);
        }
    }

    /// Whether `peer` answered without MP_CAPABLE not long ago.
    pub(super) fn knows(&mut self, now: Instant, peer: (IpAddr, u16)) -> bool {
        let known = self.until.get(&peer).is_some_and(|until| *until > now);
        if !known {
            self.until.remove(&peer);
        }
        known
    }
}

impl<B: PacketBuf> Engine<B> {
    /// Whether SYNs with MP_CAPABLE towards `server` went unanswered not long ago, and one without it did not.
    pub(super) fn eats_option(&mut self, now: Instant, server: IpAddr) -> bool {
        self.option_eaters.knows(now, server)
    }

    /// Takes the first SYN of a flow in whose opener's place Multipath TCP is offered.
    pub(super) fn begin_offer(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        ends: &Ends,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        match self.offering(now, ends) {
            Some(offering) => self.begin(now, arrival, ends, Kind::Opening(offering), out),
            None => {
                let why = Some(Counter::BypassLimitPending);
                self.bypass(now, arrival, true, why, out)
            },
        }
    }

    /// The box that answers our SYNs, as far as versions go: at the customer's edge one in the network answers them all.
    const fn peer_of(&self, ends: &Ends) -> u128 {
        match self.config.edge {
            Some(_) => 0,
            None => subscriber_key(ends.inner.src),
        }
    }

    /// What to ask the peer for next; `None` if there is no key for it.
    fn offering(&mut self, now: Instant, ends: &Ends) -> Option<Offering> {
        let version = self.peer_versions.ask(now, self.peer_of(ends));
        let key = match version {
            Version::V0 => Some(self.draw_key(version)?.key),
            Version::V1 => None,
        };
        Some(Offering { version, key })
    }

    /// Frees the token of a flow that we asked for in version 0.
    pub(super) fn free_offering(&mut self, kind: Kind) {
        if let Kind::Opening(offering) = kind
            && let Some(token) = offering.token()
        {
            self.tokens.remove(token);
        }
    }

    /// A host's SYN towards the answerer: addresses, ports, number and options verbatim, MP_CAPABLE added to the first
    /// two, and the MSS such that what comes back fits the host's side.
    pub(super) fn forward_offer(
        &mut self,
        now: Instant,
        arrival: &TcpArrival<B>,
        (offering, syns): (Offering, u8),
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let tuple = &arrival.segment.tuple;
        let offers = syns <= OFFERS_MAX;
        let mut add_mptcp = OptBytes::new();
        if offers {
            // The SYN of version 1 brings no key.
            let key = offering.key.unwrap_or(Key::new([0; 8]));
            add_mptcp = MpOption::from(capable::syn(offering.version, key, self.terms())).into();
            self.tools.mptcp.count(mptcp::Counter::MpCapableSynTx);
        }
        let edit = SynEdit {
            // One of the host's own would be taken for ours.
            strip_mptcp: true,
            mss_max: Some(self.segment_max(tuple.src).min(self.segment_max(tuple.dst))),
            decline_accurate_ecn: offers,
            add_mptcp,
            ..SynEdit::default()
        };
        self.pass_syn(now, arrival, edit, out)
    }

    /// What we ask for: our own first address takes no joins, as it is the host's.
    const fn terms(&self) -> Terms {
        Terms {
            checksum: self.config.checksum,
            deny_join_initial: true,
        }
    }

    /// The answer to a SYN that we may have added MP_CAPABLE to: with one we go on, without one we step out of the way.
    pub(super) fn on_offer_answered(
        &mut self,
        now: Instant,
        handle: Handle,
        offering: Offering,
        answered: (Opening, Offer),
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let segment = &arrival.segment;
        let Some(pending) = self.pendings.get(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        let (offered, peer) = (pending.syns <= OFFERS_MAX, self.peer_of(&pending.ends()));
        let (begun, answerer) = (pending.opened, segment.tuple.src);
        if offered {
            let settled = self.settled(offering, &segment.options.mptcp);
            if settled.is_some() {
                self.tools.mptcp.count(mptcp::Counter::MpCapableSynAckRx);
                self.peer_versions.answered(now, peer, offering.version);
                self.option_eaters.answered(now, answerer);
                return self.on_answered(now, handle, answered, settled, segment.tos, out);
            }
            if self.peer_versions.refused(peer, offering.version) {
                self.tools.apps.count(Counter::VersionChanged);
            }
        } else if self.config.edge.is_some() {
            // Only the SYN without the option was answered.
            self.option_eaters.only_plain_answered(now, begun, answerer);
        }
        // The opener has seen nothing of ours, and the answerer has what the opener sent: both go on without us.
        self.drop_pending(handle);
        let last = self.config.versions.second();
        if self.config.edge.is_none() && last.is_none_or(|last| last == offering.version) {
            let peer = (segment.tuple.src, segment.tuple.src_port);
            self.plain_peers.remember(now, peer);
        }
        self.bypass(now, arrival, true, Some(Counter::CutThrough), out)
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
            // A box in the network forbids joins to the server's address, where it has none of its own; a server that speaks
            // it itself does not. It is not ours to bond with: without an answer it falls back (RFC 8684 3.7).
            Ok(agreed)
                if agreed.deny_join_initial
                    || version == Version::V0
                    || self.config.edge.is_none() =>
            {
                Some((local, agreed))
            },
            Ok(_) | Err(_) => {
                self.tokens.remove(local.token);
                None
            },
        }
    }

    /// The MSS that the opener is told: what it fills leaves room for the options of the leg that speaks Multipath TCP.
    pub(super) fn mss_to_opener(
        &self,
        pending: &Pending,
        answerer: &Offer,
        settled: Option<&(LocalKey, capable::Agreed)>,
        limit: u16,
    ) -> u16 {
        let to = pending.ends().answerer_gets().dst;
        if matches!(pending.kind, Kind::Opening(_)) {
            let limit = limit.min(self.segment_max(to));
            let checksum = settled.is_some_and(|(_, agreed)| agreed.checksum);
            let options = self.dss_len(checksum);
            answerer.smss(limit, to.is_ipv6()).saturating_sub(options)
        } else {
            answerer.smss(limit, to.is_ipv6())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_without_the_option_is_remembered_for_a_while_and_so_many_are() {
        let mut peers = PlainPeers::default();
        let peer = |n: u32| (IpAddr::from(n.to_be_bytes()), 80);
        let begin = Instant::from_millis(1_000);
        for n in 0..10_001 {
            peers.remember(begin, peer(n));
        }
        assert_eq!(peers.until.len(), PLAIN_MAX);
        let late = begin + PLAIN_FOR;
        assert!(peers.knows(begin, peer(9_999)) && !peers.knows(begin, peer(10_000)));
        assert!(!peers.knows(begin, (peer(1).0, 81)), "another port");
        // Those whose time is over make room.
        peers.remember(late, peer(10_000));
        assert_eq!(peers.until.len(), 1);
        assert!(peers.knows(late, peer(10_000)));
        assert!(!peers.knows(late + PLAIN_FOR, peer(10_000)));
    }
}
