//! Where SYNs with MP_CAPABLE are not answered, and those without are: for a while they are not sent there.
//!
//! An access that is down for some seconds looks the same to the flow that waited: its first SYNs, with the option, got
//! lost, and the third, without it, did not. So one flow is not enough, unless others were answered meanwhile: the next
//! flow there, begun after that, must see the same.

use core::net::IpAddr;
use ipnet::IpNet;
use stack::Instant;
use stack::time::Duration;
use std::collections::BTreeMap;

/// How long what is known or suspected lasts.
const KEPT: Duration = Duration::from_secs(300);

/// How many networks are remembered.
const MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Eater {
    since: Instant,
    /// Seen twice, or once while others were answered.
    known: bool,
}

/// The networks that are known or suspected to be behind something that drops SYNs with MP_CAPABLE (RFC 8684 3.7).
#[derive(Debug, Default)]
pub(super) struct OptionEaters {
    of: BTreeMap<IpAddr, Eater>,
    /// When a SYN with the option was last answered with one, by anybody.
    answered: Option<Instant>,
}

impl OptionEaters {
    /// Whether a SYN towards `server` goes without the option.
    pub(super) fn knows(&mut self, now: Instant, server: IpAddr) -> bool {
        let net = network(server);
        match self.of.get(&net) {
            Some(eater) if now.since(eater.since) < KEPT => eater.known,
            Some(_) => {
                self.of.remove(&net);
                false
            },
            None => false,
        }
    }

    /// Notes that `server` answered a SYN with the option with one.
    pub(super) fn answered(&mut self, now: Instant, server: IpAddr) {
        self.answered = Some(now);
        self.of.remove(&network(server));
    }

    /// Notes that of a flow's SYNs, the first sent at `begun`, only one without the option was answered by `server`.
    pub(super) fn only_plain_answered(&mut self, now: Instant, begun: Instant, server: IpAddr) {
        if self.of.len() >= MAX {
            self.of.retain(|_, eater| now.since(eater.since) < KEPT);
        }
        let net = network(server);
        let before = self.of.get(&net).copied();
        let before = before.filter(|eater| now.since(eater.since) < KEPT);
        let others_were_answered = self.answered.is_some_and(|at| at > begun);
        let known = others_were_answered || before.is_some_and(|eater| eater.since <= begun);
        let eater = match before {
            // It waited beside the one that is remembered: nothing new.
            Some(before) if !known => before,
            _ => Eater { since: now, known },
        };
        if before.is_some() || self.of.len() < MAX {
            self.of.insert(net, eater);
        }
    }
}

/// What stands in the way of an address stands in that of its neighbors.
fn network(server: IpAddr) -> IpAddr {
    let bits = if server.is_ipv4() { 24 } else { 48 };
    IpNet::new(server, bits).map_or(server, |net| net.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_millis(1_000 * secs)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn one_flow_is_a_suspicion_and_a_later_one_or_others_that_were_answered_make_it_known() {
        let server = ip("192.0.2.1");
        let mut eaters = OptionEaters::default();
        eaters.only_plain_answered(at(110), at(100), server);
        assert!(!eaters.knows(at(110), server));
        // A flow that waited beside the first saw the same outage.
        eaters.only_plain_answered(at(112), at(105), server);
        assert!(!eaters.knows(at(112), server));
        eaters.only_plain_answered(at(130), at(120), server);
        assert!(eaters.knows(at(130), server));
        assert!(eaters.knows(at(130), ip("192.0.2.99")), "its neighbor");
        assert!(!eaters.knows(at(130), ip("192.0.3.1")));
        // It lasts for a while, counted from when it was seen last.
        assert!(eaters.knows(at(429), server));
        assert!(!eaters.knows(at(430), server));

        let mut eaters = OptionEaters::default();
        eaters.answered(at(105), ip("198.51.100.1"));
        eaters.only_plain_answered(at(110), at(100), server);
        assert!(eaters.knows(at(110), server), "others were answered");
        eaters.answered(at(111), ip("192.0.2.7"));
        assert!(!eaters.knows(at(111), server), "it was answered itself");
        eaters.only_plain_answered(at(120), at(115), server);
        assert!(!eaters.knows(at(120), server), "others were before it");
    }

    #[test]
    fn a_suspicion_is_forgotten_in_time() {
        let server = ip("2001:db8::1");
        let mut eaters = OptionEaters::default();
        eaters.only_plain_answered(at(110), at(100), server);
        eaters.only_plain_answered(at(420), at(411), server);
        assert!(!eaters.knows(at(420), server), "the first is long ago");
        eaters.only_plain_answered(at(430), at(421), ip("2001:db8:0:9::1"));
        assert!(eaters.knows(at(430), server), "a /48");
    }

    #[test]
    fn so_many_networks_are_remembered() {
        let mut eaters = OptionEaters::default();
        let net = |n: u32| IpAddr::from((n << 8).to_be_bytes());
        for n in 0..10_001 {
            eaters.only_plain_answered(at(110), at(100), net(n));
        }
        assert_eq!(eaters.of.len(), MAX);
        // What is remembered may become known; of the rest the next is not even suspected.
        eaters.only_plain_answered(at(120), at(111), net(9_999));
        eaters.only_plain_answered(at(120), at(111), net(10_000));
        eaters.only_plain_answered(at(130), at(121), net(10_000));
        assert!(eaters.knows(at(130), net(9_999)) && !eaters.knows(at(130), net(10_000)));
        // Those whose time is over make room.
        eaters.only_plain_answered(at(500), at(499), net(10_000));
        assert_eq!(eaters.of.len(), 1);
    }
}
