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
