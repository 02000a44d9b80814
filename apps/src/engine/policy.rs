//! What becomes of a SYN that belongs to no flow: split it, forward it unbonded, take it as a join, or refuse it.

use super::config::{EngineConfig, PortRole};
use crate::Counter;
use core::net::IpAddr;
use stack::{PortId, Side, Tuple};

/// What a SYN asks for, as far as its options go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// No MPTCP option.
    Plain,
    /// An MP_CAPABLE of a version that we answer, well formed.
    Capable,
    /// An MP_CAPABLE of a version that we do not speak.
    OtherVersion,
    /// An MP_JOIN.
    Join,
    /// Any other option of kind 30.
    Garbled,
}

/// The facts about a SYN that policy looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syn {
    pub(super) tuple: Tuple,
    pub(super) port: PortId,
    /// Whether it is addressed to one of our own addresses.
    pub(super) local: bool,
    pub(super) asks: Asks,
    /// The side that sent it.
    pub(super) opener: Side,
    /// Carries a TCP-MD5 or TCP-AO option.
    pub(super) authenticated: bool,
    /// Carries data or a fast-open cookie.
    pub(super) early_data: bool,
}

/// How full the engine is, and whether it still takes flows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) relays: usize,
    pub(super) pending: usize,
    /// Of those, the ones from the Internet.
    pub(super) inbound: usize,
    /// Of those, the ones from the network that this SYN came from.
    pub(super) of_source: usize,
    /// Relays and pending flows of the subscriber.
    pub(super) of_subscriber: usize,
    /// Pending flows of the subscriber in this direction.
    pub(super) pending_of_subscriber: usize,
    pub(super) draining: bool,
    /// Whether packet buffers, or what all relays may hold together, run short.
    pub(super) short: bool,
    /// Whether more arrives than the core can do, and new flows have had their part of it.
    pub(super) overloaded: bool,
    /// Whether both the server and the client have a route.
    pub(super) routed: bool,
    /// Whether the answerer is known to speak no Multipath TCP.
    pub(super) plain: bool,
}

/// What becomes of a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Two legs, the subscriber's Multipath TCP as it asks for.
    Split,
    /// Two legs, the subscriber's Multipath TCP if it accepts our offer.
    Offer,
    /// Router's work; every option of kind 30 removed if `strip`.
    Forward { strip: bool, count: Option<Counter> },
    /// To the joins.
    Join,
    /// A reset to the sender.
    Refuse(Counter),
    /// The same for a join, which is told that it has no connection here.
    RefuseJoin(Counter),
}

/// Judges a SYN without a flow. Of a subscriber's SYN that is not split MP_CAPABLE is always removed: a server that
/// speaks MPTCP would answer it, and learn the client's other addresses.
pub(super) fn judge(config: &EngineConfig, syn: &Syn, load: &Load) -> Verdict {
    if syn.local {
        return if syn.asks == Asks::Join && config.announce.contains(&syn.tuple.dst) {
            if config.is_access_network(syn.port) {
                Verdict::Join
            } else {
                Verdict::RefuseJoin(Counter::JoinWrongPort)
            }
        } else {
            Verdict::Refuse(Counter::NotOursReset)
        };
    }
    let from_subscriber = config.is_subscriber(syn.tuple.src);
    let to_subscriber = config.is_subscriber(syn.tuple.dst);
    let plain = syn.asks == Asks::Plain;
    if to_subscriber && !from_subscriber && config.inbound && syn.asks != Asks::Join {
        return match syn_reason(config, syn, load) {
            None => Verdict::Offer,
            why => forward(!plain, why),
        };
    }
    let reason = match (from_subscriber, to_subscriber) {
        _ if plain && !config.accept_plain => return forward(false, None),
        (false, false) => {
            let count = (!plain).then_some(Counter::BypassNotSubscriber);
            return forward(false, count);
        },
        (false, true) => Some(Counter::BypassInbound),
        (true, true) => Some(Counter::BypassSubscriberToSubscriber),
        (true, false) if syn.asks == Asks::Join => {
            return Verdict::RefuseJoin(Counter::JoinNoToken);
        },
        (true, false) => syn_reason(config, syn, load),
    };
    match reason {
        None => Verdict::Split,
        Some(_) if plain => forward(false, None),
        Some(reason) => forward(true, Some(reason)),
    }
}

/// Why a SYN between a subscriber and the Internet cannot be split; `None` if it can.
pub(super) fn syn_reason(config: &EngineConfig, syn: &Syn, load: &Load) -> Option<Counter> {
    let limits = &config.limits;
    let outbound = syn.opener == Side::Access;
    let from = if outbound {
        PortRole::Access
    } else {
        PortRole::Core
    };
    let checks = [
        (config.role(syn.port) != from, Counter::BypassWrongPort),
        (
            outbound && syn.asks == Asks::Garbled,
            Counter::BypassMalformed,
        ),
        (
            outbound && syn.asks == Asks::OtherVersion,
            Counter::BypassVersion,
        ),
        (load.plain, Counter::BypassPlainPeer),
        (syn.authenticated, Counter::BypassAuthenticated),
        (syn.early_data, Counter::BypassDataOnSyn),
        (load.draining, Counter::BypassDraining),
        (!load.routed, Counter::BypassNoRoute),
        // Those that there are get what is left.
        (load.short, Counter::BypassBuffers),
        (load.overloaded, Counter::BypassOverload),
        (load.relays >= limits.relays, Counter::BypassLimitRelays),
        (load.pending >= limits.pending, Counter::BypassLimitPending),
        // However many the Internet opens, half of the places are for subscribers.
        (
            !outbound && load.inbound >= limits.pending.div_ceil(2),
            Counter::BypassLimitInbound,
        ),
        (
            load.pending_of_subscriber >= limits.per_subscriber.pending,
            Counter::BypassLimitSubscriber,
        ),
        (
            load.of_subscriber >= limits.per_subscriber.connections,
            Counter::BypassLimitConnections,
        ),
        (
            !outbound && load.of_source >= limits.pending_per_source,
            Counter::BypassLimitSource,
        ),
    ];
    checks.iter().find(|(hit, _)| *hit).map(|&(_, why)| why)
}

const fn forward(strip: bool, count: Option<Counter>) -> Verdict {
    Verdict::Forward { strip, count }
}

/// The side that a packet came from: from a subscriber, or to an address at which joins are accepted.
pub(super) fn side_of(config: &EngineConfig, tuple: &Tuple) -> Side {
    if config.is_subscriber(tuple.src) || config.announce.contains(&tuple.dst) {
        Side::Access
    } else {
        Side::Core
    }
}

/// Whom a limit per subscriber counts: an IPv4 address, or an IPv6 /64.
pub(super) const fn subscriber_key(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits() as u128,
        IpAddr::V6(v6) => v6.to_bits() & !0xffff_ffff_ffff_ffff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Limits, PerSubscriber, PortSettings};

    fn config() -> EngineConfig {
        let port = PortSettings::new;
        EngineConfig {
            ports: vec![port("a", PortRole::Access), port("c", PortRole::Core)],
            subscribers: vec!["10.1.0.0/24".parse().unwrap()],
            announce: vec!["10.99.0.2".parse().unwrap()],
            limits: Limits {
                relays: 10,
                pending: 5,
                per_subscriber: PerSubscriber {
                    pending: 2,
                    connections: 4,
                    ..PerSubscriber::default()
                },
                ..Limits::default()
            },
            ..EngineConfig::default()
        }
    }

    fn syn(src: &str, dst: &str, asks: Asks) -> Syn {
        Syn {
            tuple: Tuple {
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                src_port: 1,
                dst_port: 2,
            },
            port: PortId(0),
            local: dst == "10.99.0.2",
            asks,
            opener: Side::Access,
            authenticated: false,
            early_data: false,
        }
    }

    const IDLE: Load = Load {
        relays: 0,
        pending: 0,
        inbound: 0,
        of_source: 0,
        of_subscriber: 0,
        pending_of_subscriber: 0,
        draining: false,
        short: false,
        overloaded: false,
        routed: true,
        plain: false,
    };

    fn reason(syn: &Syn, load: &Load) -> Option<Counter> {
        match judge(&config(), syn, load) {
            Verdict::Forward { strip: true, count } => count,
            other => panic!("not stripped: {other:?}"),
        }
    }

    const H: &str = "10.1.0.2";
    const S: &str = "10.9.0.2";

    #[test]
    fn a_subscribers_mp_capable_is_split() {
        assert_eq!(
            judge(&config(), &syn(H, S, Asks::Capable), &IDLE),
            Verdict::Split
        );
    }

    #[test]
    fn every_bypass_of_a_subscriber_strips_and_names_its_reason() {
        let capable = syn(H, S, Asks::Capable);
        let with = |f: fn(&mut Syn)| {
            let mut changed = capable;
            f(&mut changed);
            changed
        };
        let cases = [
            (with(|s| s.port = PortId(1)), IDLE, Counter::BypassWrongPort),
            (
                with(|s| s.asks = Asks::Garbled),
                IDLE,
                Counter::BypassMalformed,
            ),
            (
                with(|s| s.asks = Asks::OtherVersion),
                IDLE,
                Counter::BypassVersion,
            ),
            (
                with(|s| s.authenticated = true),
                IDLE,
                Counter::BypassAuthenticated,
            ),
            (
                with(|s| s.early_data = true),
                IDLE,
                Counter::BypassDataOnSyn,
            ),
            (
                capable,
                Load {
                    draining: true,
                    ..IDLE
                },
                Counter::BypassDraining,
            ),
            (
                capable,
                Load {
                    routed: false,
                    ..IDLE
                },
                Counter::BypassNoRoute,
            ),
            (
                capable,
                Load { relays: 10, ..IDLE },
                Counter::BypassLimitRelays,
            ),
            (
                capable,
                Load {
                    short: true,
                    ..IDLE
                },
                Counter::BypassBuffers,
            ),
            (
                capable,
                Load {
                    overloaded: true,
                    ..IDLE
                },
                Counter::BypassOverload,
            ),
            (
                capable,
                Load { pending: 5, ..IDLE },
                Counter::BypassLimitPending,
            ),
            (
                capable,
                Load {
                    pending_of_subscriber: 2,
                    ..IDLE
                },
                Counter::BypassLimitSubscriber,
            ),
            (
                capable,
                Load {
                    of_subscriber: 4,
                    ..IDLE
                },
                Counter::BypassLimitConnections,
            ),
            (
                syn(H, "10.1.0.9", Asks::Capable),
                IDLE,
                Counter::BypassSubscriberToSubscriber,
            ),
            (syn(S, H, Asks::Capable), IDLE, Counter::BypassInbound),
        ];
        for (syn, load, want) in cases {
            assert_eq!(reason(&syn, &load), Some(want));
        }
    }

    #[test]
    fn what_the_internet_opens_is_offered_within_its_own_bounds() {
        let config = EngineConfig {
            inbound: true,
            limits: Limits {
                pending_per_source: 1,
                ..config().limits
            },
            ..config()
        };
        let inbound = Syn {
            port: PortId(1),
            opener: Side::Core,
            ..syn(S, H, Asks::Plain)
        };
        let load = |change: fn(&mut Load)| {
            let mut load = IDLE;
            change(&mut load);
            judge(&config, &inbound, &load)
        };
        assert_eq!(load(|_| ()), Verdict::Offer);
        type Case = (fn(&mut Load), Counter);
        let cases: [Case; 5] = [
            (|l| l.inbound = 3, Counter::BypassLimitInbound),
            (|l| l.of_source = 1, Counter::BypassLimitSource),
            (
                |l| l.pending_of_subscriber = 2,
                Counter::BypassLimitSubscriber,
            ),
            (|l| l.of_subscriber = 4, Counter::BypassLimitConnections),
            (|l| l.plain = true, Counter::BypassPlainPeer),
        ];
        for (change, why) in cases {
            assert_eq!(load(change), forward(false, Some(why)));
        }
        let join = judge(&config, &syn(S, H, Asks::Join), &IDLE);
        assert_eq!(join, forward(true, Some(Counter::BypassInbound)));
    }

    #[test]
    fn strangers_pass_untouched() {
        let verdict = judge(&config(), &syn("10.3.0.1", S, Asks::Capable), &IDLE);
        let count = Some(Counter::BypassNotSubscriber);
        assert_eq!(
            verdict,
            Verdict::Forward {
                strip: false,
                count
            }
        );
        let plain = judge(&config(), &syn(H, S, Asks::Plain), &IDLE);
        assert_eq!(plain, forward(false, None));
    }

    #[test]
    fn joins_go_to_announced_addresses_alone() {
        let join = |dst| judge(&config(), &syn("10.2.0.2", dst, Asks::Join), &IDLE);
        assert_eq!(join("10.99.0.2"), Verdict::Join);
        let to_server = judge(&config(), &syn(H, S, Asks::Join), &IDLE);
        assert_eq!(to_server, Verdict::RefuseJoin(Counter::JoinNoToken));
        let plain = judge(&config(), &syn("10.2.0.2", "10.99.0.2", Asks::Plain), &IDLE);
        assert_eq!(plain, Verdict::Refuse(Counter::NotOursReset));
    }

    #[test]
    fn the_side_is_the_subscribers_source_or_the_announced_destination() {
        let side = |src, dst| side_of(&config(), &syn(src, dst, Asks::Plain).tuple);
        assert_eq!(side(H, S), Side::Access);
        assert_eq!(side(S, H), Side::Core);
        assert_eq!(side("10.2.0.2", "10.99.0.2"), Side::Access);
    }

    #[test]
    fn ipv6_subscribers_are_counted_by_64() {
        let key = |text: &str| subscriber_key(text.parse().unwrap());
        assert_eq!(key("fd00:1::2"), key("fd00:1::3"));
        assert_ne!(key("fd00:1::2"), key("fd00:1:0:1::2"));
        assert_ne!(key("10.1.0.2"), key("10.1.0.3"));
    }
}
