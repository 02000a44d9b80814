//! Which version of Multipath TCP to ask a peer for: an initiator may cache what it learned (RFC 8684 3.1).
//!
//! One flow asks for one version, on all its SYNs. A responder of version 0 alone does not see version 1's SYN, which
//! brings no key, and lets it pass to the server; so the flow is plain TCP by the time that we know, and to ask again
//! would reset the server's connection. The next flow asks for the other version.

use mptcp::{Version, Versions};
use stack::Instant;
use stack::time::Duration;

/// How long a version that is not the first choice is kept to.
const KEEP: Duration = Duration::from_secs(600);

/// Plain answers in a row after which a version that was once answered is doubted: single flows may be excluded from
/// bonding by the peer's policy, or take a path without it.
const DOUBT: u8 = 16;

/// What is known of peers, in as many places as there may be peers; two that share a place forget each other.
#[derive(Debug)]
pub(super) struct PeerVersions {
    order: Versions,
    places: Vec<Place>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    peer: u128,
    ask: Version,
    /// Since when the peer is known to answer `ask`.
    known: Option<Instant>,
    /// Plain answers in a row since it last did.
    plain: u8,
}

impl PeerVersions {
    /// Knows nothing of any of up to `peers` (at least one) yet.
    pub(super) fn new(order: Versions, peers: usize) -> Self {
        let place = Place {
            peer: 0,
            ask: order.first(),
            known: None,
            plain: 0,
        };
        Self {
            order,
            places: vec![place; peers.max(1)],
        }
    }

    /// The version to ask `peer` for.
    pub(super) fn ask(&mut self, now: Instant, peer: u128) -> Version {
        let first = self.order.first();
        let place = self.place(peer);
        if place.ask != first && place.known.is_some_and(|since| now.since(since) >= KEEP) {
            // The peer may have learned the one that we would rather speak.
            (place.ask, place.known, place.plain) = (first, None, 0);
        }
        place.ask
    }

    /// `peer` answered `version`.
    pub(super) fn answered(&mut self, now: Instant, peer: u128, version: Version) {
        let place = self.place(peer);
        if place.ask != version || place.known.is_none() {
            (place.ask, place.known) = (version, Some(now));
        }
        place.plain = 0;
    }

    /// `peer` was asked for `version` and did not answer in kind; whether it will be asked for another from now on.
    pub(super) fn refused(&mut self, peer: u128, version: Version) -> bool {
        let other = match self.order.second() {
            Some(second) if version == self.order.first() => second,
            Some(_) => self.order.first(),
            None => return false,
        };
        let place = self.place(peer);
        if place.ask != version {
            return false;
        }
        place.plain = place.plain.saturating_add(1);
        let changes = place.known.is_none() || place.plain >= DOUBT;
        if changes {
            (place.ask, place.known, place.plain) = (other, None, 0);
        }
        changes
    }

    fn place(&mut self, peer: u128) -> &mut Place {
        let first = self.order.first();
        let mixed = peer.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let count = self.places.len() as u128;
        let at = usize::try_from((mixed >> 64) % count).unwrap_or(0);
        let place = &mut self.places[at];
        if place.peer != peer {
            *place = Place {
                peer,
                ask: first,
                known: None,
                plain: 0,
            };
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Version::{V0, V1};

    const T: Instant = Instant::from_millis(1_000);

    #[test]
    fn an_unknown_peer_is_asked_for_each_version_in_turn() {
        let mut peers = PeerVersions::new(Versions::V1ThenV0, 1);
        for version in [V1, V0, V1, V0] {
            assert_eq!(peers.ask(T, 7), version);
            peers.refused(7, version);
        }
    }

    #[test]
    fn what_was_answered_is_kept_to_through_single_plain_answers() {
        let mut peers = PeerVersions::new(Versions::V1ThenV0, 1);
        peers.refused(7, V1);
        peers.answered(T, 7, V0);
        for _ in 0..3 {
            for _ in 0..DOUBT - 1 {
                peers.refused(7, V0);
                assert_eq!(peers.ask(T, 7), V0);
            }
            peers.answered(T, 7, V0);
        }
        for _ in 0..DOUBT {
            peers.refused(7, V0);
        }
        assert_eq!(peers.ask(T, 7), V1, "doubted in the end");
    }

    #[test]
    fn the_second_choice_is_given_up_after_a_while_and_the_first_is_not() {
        let later = T + KEEP;
        for (order, answered) in [(Versions::V1ThenV0, V0), (Versions::V0ThenV1, V0)] {
            let mut peers = PeerVersions::new(order, 1);
            peers.answered(T, 7, answered);
            peers.answered(T + KEEP / 2, 7, answered);
            assert_eq!(peers.ask(T + KEEP / 2, 7), answered);
            assert_eq!(peers.ask(later, 7), order.first());
        }
    }

    #[test]
    fn one_version_alone_is_always_asked_for() {
        for (order, version) in [(Versions::V1, V1), (Versions::V0, V0)] {
            let mut peers = PeerVersions::new(order, 1);
            for _ in 0..40 {
                peers.refused(7, version);
                assert_eq!(peers.ask(T, 7), version);
            }
        }
    }

    #[test]
    fn a_late_answer_about_another_version_changes_nothing() {
        let mut peers = PeerVersions::new(Versions::V1ThenV0, 1);
        peers.refused(7, V1);
        // A second flow was asked before the first was answered.
        peers.refused(7, V1);
        assert_eq!(peers.ask(T, 7), V0);
    }

    #[test]
    fn peers_have_places_of_their_own() {
        let mut peers = PeerVersions::new(Versions::V1ThenV0, 64);
        for peer in 0..32 {
            peers.refused(peer, V1);
        }
        let others = (0..32).filter(|&peer| peers.ask(T, peer) == V0).count();
        assert!(others > 12, "{others} remembered");
    }
}
