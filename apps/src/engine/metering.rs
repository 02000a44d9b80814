//! What the access networks carry: octets of relayed connections by port and by subscriber, and their present rates.

use super::Engine;
use super::policy::subscriber_key;
use crate::control::{Account, Accounts, Path, PathTraffic, Paths};
use mptcp::connection::Subflow;
use stack::buf::chain_len;
use stack::ip::Head;
use stack::time::Duration;
use stack::{Frame, Instant, PacketBuf, PortId, Tuple};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// Subscribers whose octets are kept apart; those beyond share one account.
const ACCOUNTS_MAX: usize = 65_536;

/// How long octets are summed up before they become a rate.
const WINDOW: Duration = Duration::from_secs(1);

/// Timeouts in a row after which a subflow's path is taken for dead.
const DEAD_AFTER: u32 = 2;

/// Payload octets of one access network, retransmissions included.
#[derive(Clone, Copy, Debug, Default)]
struct Octets {
    received: u64,
    sent: u64,
}

/// What a port of an access network carries for relays.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    payload: Octets,
    /// With all headers.
    frames: Octets,
    since: Instant,
    /// Of `frames` at `since`.
    then: Octets,
    /// Octets per second in the last window that was full.
    rate: Octets,
}

impl Meter {
    /// Closes the window if it is over. A port on which nothing moved since has no rate.
    fn roll(&mut self, now: Instant) {
        let elapsed = now.since(self.since);
        if elapsed >= WINDOW {
            self.close(now, elapsed);
        }
    }

    #[cold]
    fn close(&mut self, now: Instant, elapsed: Duration) {
        let micros = u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX);
        let per_second = |octets: u64| octets.saturating_mul(1_000_000) / micros.max(1);
        self.rate = Octets {
            received: per_second(self.frames.received - self.then.received),
            sent: per_second(self.frames.sent - self.then.sent),
        };
        (self.since, self.then) = (now, self.frames);
    }
}

/// One subscriber's octets, by port.
struct Ledger {
    subscriber: Option<IpAddr>,
    ports: Vec<Octets>,
}

/// The meters of all ports, and the subscribers' accounts.
pub(super) struct Metering {
    meters: Vec<Meter>,
    ledgers: Vec<Ledger>,
    of: BTreeMap<u128, u32>,
}

/// The octets of segments: of payload, and with all headers.
#[derive(Clone, Copy, Default)]
pub(super) struct Carried {
    pub(super) payload: usize,
    pub(super) frame: usize,
}

impl Carried {
    /// A segment came whose head this is.
    pub(super) fn add(&mut self, head: &Head) {
        self.payload += head.text_len();
        self.frame += head.frame_len();
    }
}

/// What leaves one after another by one port, entered once for all of it.
#[derive(Clone, Copy, Default)]
pub(super) struct Leaving {
    port: Option<PortId>,
    carried: Carried,
}

impl Metering {
    pub(super) fn new(ports: usize) -> Self {
        let others = Ledger {
            subscriber: None,
            ports: vec![Octets::default(); ports],
        };
        Self {
            meters: vec![Meter::default(); ports],
            ledgers: vec![others],
            of: BTreeMap::new(),
        }
    }

    /// The account of a subscriber: an IPv4 address or an IPv6 /64. Past the limit all share the first.
    pub(super) fn account(&mut self, subscriber: IpAddr) -> u32 {
        let key = subscriber_key(subscriber);
        if let Some(&account) = self.of.get(&key) {
            return account;
        }
        if self.ledgers.len() >= ACCOUNTS_MAX {
            return 0;
        }
        let account = u32::try_from(self.ledgers.len()).unwrap_or(0);
        let whose = match subscriber {
            IpAddr::V4(_) => subscriber,
            IpAddr::V6(_) => Ipv6Addr::from_bits(key).into(),
        };
        self.ledgers.push(Ledger {
            subscriber: Some(whose),
            ports: vec![Octets::default(); self.meters.len()],
        });
        self.of.insert(key, account);
        account
    }

    #[inline]
    fn add(&mut self, now: Instant, (account, port): (u32, PortId), carried: Carried, sent: bool) {
        let wide = |octets| u64::try_from(octets).unwrap_or(0);
        let (payload, frame) = (wide(carried.payload), wide(carried.frame));
        let at = usize::from(port.0);
        let meter = self.meters.get_mut(at);
        let ledger = self.ledgers.get_mut(account as usize);
        let (Some(meter), Some(own)) = (meter, ledger.and_then(|l| l.ports.get_mut(at))) else {
            return;
        };
        meter.roll(now);
        for (octets, n) in [
            (&mut meter.payload, payload),
            (&mut meter.frames, frame),
            (own, payload),
        ] {
            if sent {
                octets.sent += n;
            } else {
                octets.received += n;
            }
        }
    }

    /// Segments of a relay's Multipath TCP leg came in by `by`'s port.
    pub(super) fn received(&mut self, now: Instant, by: (u32, PortId), carried: Carried) {
        self.add(now, by, carried, false);
    }

    /// One leaves as `frame`, after those in `leaving`.
    #[inline]
    pub(super) fn leaves<B: PacketBuf>(
        &mut self,
        now: Instant,
        account: u32,
        frame: &Frame<B>,
        leaving: &mut Leaving,
    ) {
        if leaving.port != Some(frame.port) {
            self.left(now, account, core::mem::take(leaving));
            leaving.port = Some(frame.port);
        }
        let payload = chain_len(&frame.payload);
        leaving.carried.payload += payload;
        leaving.carried.frame += frame.header.len() + payload;
    }

    /// All in `leaving` have left.
    pub(super) fn left(&mut self, now: Instant, account: u32, leaving: Leaving) {
        if let Some(port) = leaving.port {
            self.add(now, (account, port), leaving.carried, true);
        }
    }
}

/// What the living subflows of a path tell together.
#[derive(Clone, Copy, Default)]
struct Living {
    subflows: u64,
    dead: u64,
    srtt_us: u64,
    sampled: u64,
    min_rtt_us: u64,
    delivery_rate: u64,
    cwnd_limited_ms: u64,
    sent: u64,
    resent: u64,
}

impl<B: PacketBuf> Engine<B> {
    /// The access network that segments with `tuple` leave by: a secondary one by its own address, else as the route says.
    pub(super) fn path_of(&self, tuple: &Tuple) -> Option<PortId> {
        let mut interfaces = self.config.net.interfaces.iter();
        let own = interfaces.find(|i| i.addresses.iter().any(|net| net.addr() == tuple.src));
        own.map(|interface| interface.port)
            .or_else(|| self.net.port_toward(tuple.dst))
    }

    pub(super) fn show_paths(&mut self, now: Instant) -> Paths {
        let mut living = vec![Living::default(); self.config.ports.len()];
        for (_, relay) in self.relays.iter() {
            let Some(connection) = relay.multipath() else {
                continue;
            };
            for subflow in connection.subflows() {
                let port = self.path_of(&subflow.tuple().reversed());
                if let Some(at) = port.and_then(|port| living.get_mut(usize::from(port.0))) {
                    at.take(subflow);
                }
            }
        }
        let (config, meters) = (&self.config, &mut self.metering.meters);
        let ports = (0..=u8::MAX).map(PortId).zip(&config.ports);
        let rows = ports.zip(meters).zip(&living);
        let paths = rows.filter(|(((port, _), _), _)| config.is_access_network(*port));
        let paths = paths.map(|(((_, settings), meter), living)| {
            meter.roll(now);
            Path {
                name: settings.name.clone(),
                role: settings.role.name(config.edge.is_some()).into(),
                state: living.state().into(),
                subflows: living.subflows,
                srtt_us: living.srtt_us / living.sampled.max(1),
                min_rtt_us: living.min_rtt_us,
                rate_in: meter.rate.received,
                rate_out: meter.rate.sent,
                bytes_in: meter.payload.received,
                bytes_out: meter.payload.sent,
                delivery_rate: living.delivery_rate,
                cwnd_limited_ms: living.cwnd_limited_ms,
                sent: living.sent,
                resent: living.resent,
            }
        });
        Paths {
            paths: paths.collect(),
        }
    }

    pub(super) fn show_accounts(&self, limit: usize) -> Accounts {
        let ledgers = &self.metering.ledgers;
        let used = ledgers
            .iter()
            .filter(|ledger| ledger.subscriber.is_some() || ledger.is_used());
        let account = |ledger: &Ledger| {
            let ports = self.config.ports.iter().zip(&ledger.ports);
            let carried = ports.filter(|(_, octets)| octets.received + octets.sent > 0);
            Account {
                subscriber: ledger
                    .subscriber
                    .map_or_else(|| "others".to_owned(), |address| address.to_string()),
                paths: carried
                    .map(|(settings, octets)| {
                        // Our peer on the access networks is the subscriber's side in the network, and the other at the edge.
                        let (up, down) = if self.config.edge.is_some() {
                            (octets.sent, octets.received)
                        } else {
                            (octets.received, octets.sent)
                        };
                        PathTraffic {
                            path: settings.name.clone(),
                            bytes_up: up,
                            bytes_down: down,
                        }
                    })
                    .collect(),
            }
        };
        Accounts {
            accounts: used.take(limit).map(account).collect(),
            total: u64::try_from(ledgers.len() - 1).unwrap_or(u64::MAX),
        }
    }
}

impl Ledger {
    fn is_used(&self) -> bool {
        self.ports.iter().any(|o| o.received + o.sent > 0)
    }
}

impl Living {
    fn take<B: PacketBuf>(&mut self, subflow: &Subflow<B>) {
        let tcb = subflow.tcb();
        let micros = |rtt: Duration| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
        self.subflows += 1;
        self.dead += u64::from(tcb.consecutive_rtos() >= DEAD_AFTER);
        if let Some(srtt) = tcb.srtt() {
            self.srtt_us = self.srtt_us.saturating_add(micros(srtt));
            self.sampled += 1;
        }
        if let Some(least) = tcb.min_rtt().map(micros) {
            self.min_rtt_us = match self.min_rtt_us {
                0 => least,
                known => known.min(least),
            };
        }
        let limited = u64::try_from(subflow.cwnd_limited().as_millis()).unwrap_or(u64::MAX);
        self.cwnd_limited_ms = self.cwnd_limited_ms.saturating_add(limited);
        self.delivery_rate = self.delivery_rate.saturating_add(subflow.delivery_rate());
        self.sent += subflow.segments_out();
        self.resent += tcb.retransmitted();
    }

    const fn state(&self) -> &'static str {
        match (self.subflows, self.dead) {
            (0, _) => "idle",
            (all, dead) if all == dead => "down",
            _ => "up",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_become_a_rate_when_their_window_is_over() {
        let mut metering = Metering::new(2);
        let account = metering.account("10.1.0.2".parse().unwrap());
        assert_eq!(metering.account("10.1.0.2".parse().unwrap()), account);
        let at = |ms| Instant::from_millis(ms);
        let by = (account, PortId(1));
        let carried = Carried {
            payload: 1_000,
            frame: 1_066,
        };
        for ms in 5_000..6_000 {
            metering.received(at(ms), by, carried);
        }
        let leaving = Leaving {
            port: Some(PortId(1)),
            carried,
        };
        metering.left(at(5_999), account, leaving);
        metering.meters[1].roll(at(6_000));
        let rate = metering.meters[1].rate;
        assert!((1_000_000..1_100_000).contains(&rate.received), "{rate:?}");
        assert_eq!(metering.ledgers[1].ports[1].received, 1_000_000);
        assert_eq!(metering.ledgers[1].ports[1].sent, 1_000);
        metering.meters[1].roll(at(9_000));
        assert_eq!(metering.meters[1].rate.received, 0, "nothing moved since");
    }

    #[test]
    fn ipv6_subscribers_share_an_account_by_64() {
        let mut metering = Metering::new(1);
        let one = metering.account("fd00:1::2".parse().unwrap());
        assert_eq!(metering.account("fd00:1::3".parse().unwrap()), one);
        assert_ne!(metering.account("fd00:1:0:1::3".parse().unwrap()), one);
        assert_ne!(metering.account("10.1.0.2".parse().unwrap()), one);
    }

    #[test]
    fn past_so_many_subscribers_the_rest_share_an_account() {
        let mut metering = Metering::new(1);
        let of = |n: u32| IpAddr::from(n.to_be_bytes());
        let accounts: Vec<_> = (1..70_000).map(|n| metering.account(of(n))).collect();
        let apart = ACCOUNTS_MAX - 1;
        assert!(accounts[..apart].iter().all(|&account| account > 0));
        assert!(accounts[apart..].iter().all(|&account| account == 0));
        assert_eq!(metering.ledgers.len(), ACCOUNTS_MAX);
        assert_eq!(metering.account(of(1)), accounts[0]);
    }
}
