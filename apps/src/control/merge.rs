//! One answer out of those of several workers: what each counted is added up, what each holds is put side by side.

use std::collections::BTreeMap;

use super::reply::{Account, Accounts, Counters, Path, PathTraffic, Paths, Ports, Reply, Status};
use super::{CONNECTIONS_SHOWN_MAX, Command};

/// The answer to `command` of all workers together; `None` without any.
#[must_use]
pub fn merge(command: Command, replies: Vec<Reply>) -> Option<Reply> {
    let mut merged = replies.into_iter().reduce(both)?;
    match (&mut merged, command) {
        (Reply::Connections(all), Command::ShowConnections { limit }) => {
            all.connections.truncate(limit.min(CONNECTIONS_SHOWN_MAX));
        },
        (Reply::Accounts(all), Command::ShowAccounts { limit }) => {
            all.accounts.truncate(limit.min(CONNECTIONS_SHOWN_MAX));
        },
        _ => {},
    }
    Some(merged)
}

/// Two answers to one command; workers give the same kind.
fn both(one: Reply, other: Reply) -> Reply {
    match (one, other) {
        (Reply::Ports(one), Reply::Ports(other)) => Reply::Ports(ports(one, &other)),
        (Reply::Connections(mut one), Reply::Connections(other)) => {
            one.connections.extend(other.connections);
            one.total += other.total;
            Reply::Connections(one)
        },
        (Reply::Paths(one), Reply::Paths(other)) => Reply::Paths(paths(one, other)),
        (Reply::Rules(mut one), Reply::Rules(other)) => {
            for (rule, more) in one.rules.iter_mut().zip(&other.rules) {
                rule.flows += more.flows;
            }
            Reply::Rules(one)
        },
        (Reply::Accounts(one), Reply::Accounts(other)) => Reply::Accounts(accounts(one, other)),
        (Reply::Runtime(mut one), Reply::Runtime(other)) => {
            one.cores.extend(other.cores);
            Reply::Runtime(one)
        },
        (Reply::Counters(one), Reply::Counters(other)) => {
            Reply::Counters(counters(one, other.counters))
        },
        (Reply::Status(one), Reply::Status(other)) => Reply::Status(Status {
            relays: one.relays + other.relays,
            pending: one.pending + other.pending,
            draining: one.draining && other.draining,
        }),
        (one, _) => one,
    }
}

fn ports(mut one: Ports, other: &Ports) -> Ports {
    for (port, more) in one.ports.iter_mut().zip(&other.ports) {
        port.rx_packets += more.rx_packets;
        port.rx_bytes += more.rx_bytes;
        port.tx_packets += more.tx_packets;
        port.tx_bytes += more.tx_bytes;
        port.tx_trains += more.tx_trains;
        port.rx_missed += more.rx_missed;
        port.rx_nobuf += more.rx_nobuf;
        port.tx_dropped += more.tx_dropped;
        port.copied_at_port += more.copied_at_port;
    }
    one
}

fn paths(one: Paths, other: Paths) -> Paths {
    let pairs = one.paths.into_iter().zip(other.paths);
    Paths {
        paths: pairs.map(|(one, other)| path(one, &other)).collect(),
    }
}

fn path(one: Path, other: &Path) -> Path {
    let subflows = one.subflows + other.subflows;
    // A part without a sample says nothing.
    let weight = |path: &Path| if path.srtt_us == 0 { 0 } else { path.subflows };
    let weighted = one.srtt_us * weight(&one) + other.srtt_us * weight(other);
    let least = |a: u64, b: u64| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
    Path {
        state: state(&one, other).to_owned(),
        subflows,
        srtt_us: weighted / (weight(&one) + weight(other)).max(1),
        min_rtt_us: least(one.min_rtt_us, other.min_rtt_us),
        rate_in: one.rate_in + other.rate_in,
        rate_out: one.rate_out + other.rate_out,
        bytes_in: one.bytes_in + other.bytes_in,
        bytes_out: one.bytes_out + other.bytes_out,
        delivery_rate: one.delivery_rate.saturating_add(other.delivery_rate),
        cwnd_limited_ms: one.cwnd_limited_ms.saturating_add(other.cwnd_limited_ms),
        sent: one.sent + other.sent,
        resent: one.resent + other.resent,
        ..one
    }
}

/// `up` if a subflow is answered anywhere, `idle` if there is none, else `down`.
fn state(one: &Path, other: &Path) -> &'static str {
    let is = |state: &str| one.state == state || other.state == state;
    if is("up") {
        "up"
    } else if is("down") {
        "down"
    } else {
        "idle"
    }
}

/// A subscriber's flows may be on several cores: its rows are added up. How many there are in all is known where all are
/// shown; else there are at least as many as the worker with the most has.
fn accounts(one: Accounts, other: Accounts) -> Accounts {
    let total = one.total.max(other.total);
    let mut all = one.accounts;
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (at, account) in all.iter().enumerate() {
        places.insert(account.subscriber.clone(), at);
    }
    for account in other.accounts {
        match places
            .get(&account.subscriber)
            .and_then(|&at| all.get_mut(at))
        {
            Some(known) => add_traffic(known, account.paths),
            None => all.push(account),
        }
    }
    let named = all.iter().filter(|a| a.subscriber != "others").count();
    Accounts {
        accounts: all,
        total: total.max(u64::try_from(named).unwrap_or(u64::MAX)),
    }
}

fn add_traffic(account: &mut Account, paths: Vec<PathTraffic>) {
    for more in paths {
        match account.paths.iter_mut().find(|path| path.path == more.path) {
            Some(path) => {
                path.bytes_up += more.bytes_up;
                path.bytes_down += more.bytes_down;
            },
            None => account.paths.push(more),
        }
    }
}

fn counters(mut one: Counters, other: BTreeMap<String, u64>) -> Counters {
    for (name, value) in other {
        *one.counters.entry(name).or_insert(0) += value;
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Connection, ConnectionState, Connections, Port, Rule, Rules};

    fn merged(command: Command, one: Reply, other: Reply) -> Reply {
        merge(command, vec![one, other]).unwrap()
    }

    #[test]
    fn counts_add_up_and_a_box_drains_when_all_of_it_does() {
        let counters = |n: u64| {
            Reply::Counters(Counters {
                counters: [("a".to_owned(), n), ("relays".to_owned(), 1)].into(),
            })
        };
        let Reply::Counters(all) = merged(Command::ShowCounters, counters(3), counters(4)) else {
            panic!()
        };
        assert_eq!((all.counters["a"], all.counters["relays"]), (7, 2));
        let status = |draining| {
            Reply::Status(Status {
                relays: 2,
                pending: 1,
                draining,
            })
        };
        for (a, b, both) in [(true, true, true), (true, false, false)] {
            let expected = Status {
                relays: 4,
                pending: 2,
                draining: both,
            };
            let got = merged(Command::ShowStatus, status(a), status(b));
            assert_eq!(got, Reply::Status(expected));
        }
        let ports = || {
            Reply::Ports(Ports {
                ports: vec![Port {
                    name: "x".into(),
                    rx_packets: 5,
                    copied_at_port: 7,
                    tx_trains: 2,
                    ..Port::default()
                }],
            })
        };
        let Reply::Ports(all) = merged(Command::ShowPorts, ports(), ports()) else {
            panic!()
        };
        assert_eq!((all.ports.len(), all.ports[0].rx_packets), (1, 10));
        assert_eq!(all.ports[0].copied_at_port, 14);
        assert_eq!(all.ports[0].tx_trains, 4);
        let rules = |flows| {
            Reply::Rules(Rules {
                rules: vec![Rule {
                    flows,
                    ..Rule::default()
                }],
            })
        };
        assert_eq!(merged(Command::ShowRules, rules(1), rules(2)), rules(3));
    }

    #[test]
    fn rows_stand_side_by_side_as_many_as_were_asked_for() {
        let connection = |id| Connection {
            id,
            client: String::new(),
            server: String::new(),
            state: ConnectionState::Mptcp,
            version: None,
            token: None,
            age_ms: 0,
            bytes_up: 0,
            bytes_down: 0,
            subflows: Vec::new(),
        };
        let of = |ids: [u64; 2]| {
            Reply::Connections(Connections {
                connections: ids.map(connection).into(),
                total: 2,
            })
        };
        let command = Command::ShowConnections { limit: 3 };
        let Reply::Connections(all) = merged(command, of([1, 3]), of([2, 4])) else {
            panic!()
        };
        let ids: Vec<_> = all.connections.iter().map(|c| c.id).collect();
        assert_eq!((ids, all.total), (vec![1, 3, 2], 4));
    }

    #[test]
    fn a_path_is_what_all_of_its_subflows_see() {
        let path = |state: &str, subflows, srtt_us, min_rtt_us| Path {
            state: state.into(),
            subflows,
            srtt_us,
            min_rtt_us,
            rate_in: 10,
            ..Path::default()
        };
        let of = |path: Path| Reply::Paths(Paths { paths: vec![path] });
        for (one, other, both) in [
            (("up", 3, 100, 90), ("up", 1, 500, 20), ("up", 4, 200, 20)),
            (("up", 1, 0, 0), ("down", 1, 300, 250), ("up", 2, 300, 250)),
            (("idle", 0, 0, 0), ("down", 2, 10, 9), ("down", 2, 10, 9)),
            (("idle", 0, 0, 0), ("idle", 0, 0, 0), ("idle", 0, 0, 0)),
        ] {
            let made = |(a, b, c, d)| of(path(a, b, c, d));
            let Reply::Paths(all) = merged(Command::ShowPaths, made(one), made(other)) else {
                panic!()
            };
            let got = &all.paths[0];
            let seen = (&got.state[..], got.subflows, got.srtt_us, got.min_rtt_us);
            assert_eq!(seen, both);
            assert_eq!(got.rate_in, 20);
        }
    }

    #[test]
    fn a_subscriber_has_one_account_however_many_cores_serve_it() {
        let account = |subscriber: &str, paths: &[(&str, u64)]| Account {
            subscriber: subscriber.into(),
            paths: paths
                .iter()
                .map(|&(path, bytes_up)| PathTraffic {
                    path: path.into(),
                    bytes_up,
                    bytes_down: 1,
                })
                .collect(),
        };
        let of = |accounts: Vec<Account>| {
            let total = accounts.iter().filter(|a| a.subscriber != "others").count() as u64;
            Reply::Accounts(Accounts { accounts, total })
        };
        let one = of(vec![
            account("others", &[("x", 1)]),
            account("10.1.0.2", &[("x", 5)]),
        ]);
        let other = of(vec![
            account("10.1.0.2", &[("x", 6), ("y", 2)]),
            account("10.1.0.3", &[("y", 4)]),
        ]);
        let command = Command::ShowAccounts { limit: 10 };
        let Reply::Accounts(all) = merged(command, one.clone(), other.clone()) else {
            panic!()
        };
        assert_eq!(all.total, 2);
        let shared = &all.accounts[1];
        assert_eq!(shared.subscriber, "10.1.0.2");
        assert_eq!(
            (shared.paths[0].bytes_up, shared.paths[0].bytes_down),
            (11, 2)
        );
        assert_eq!(
            (&shared.paths[1].path[..], shared.paths[1].bytes_up),
            ("y", 2)
        );
        let Reply::Accounts(short) = merged(Command::ShowAccounts { limit: 2 }, one, other) else {
            panic!()
        };
        assert_eq!(short.accounts.len(), 2);
    }
}
