//! What the operator of either box is shown of a bonded connection.

use crate::common::customer::hag_config;
use crate::common::site::{Site, announced, close, connect, held_at_edge, network, transfer};
use crate::common::{ACCESS1, ACCESS2, S, S6, Sim, Way, pattern};
use apps::control::{Account, Command, Connection, Path, Reply};
use dataplane::App;
use stack::time::Duration;

fn ask_edge(sim: &mut Sim<Site>, command: Command) -> Reply {
    let now = sim.now;
    let Site::Customer(customer) = &mut sim.hosts[0] else {
        panic!("the customer comes first");
    };
    let app = customer.worker.app_mut();
    app.command(now, command, &mut Vec::new())
}

fn paths(reply: Reply) -> Vec<Path> {
    match reply {
        Reply::Paths(paths) => paths.paths,
        other => panic!("{other:?}"),
    }
}

fn accounts(reply: Reply) -> Vec<Account> {
    match reply {
        Reply::Accounts(accounts) => accounts.accounts,
        other => panic!("{other:?}"),
    }
}

/// Payload octets of TCP over IPv4 on the link of `port`.
fn payload(sim: &Sim<Site>, port: usize, way: Way) -> u64 {
    let of = |frame: &[u8]| {
        if frame[12..14] != [8, 0] || frame[23] != 6 {
            return 0;
        }
        let total = u64::from(u16::from_be_bytes([frame[16], frame[17]]));
        total - 20 - u64::from(frame[14 + 20 + 12] >> 4) * 4
    };
    sim.on(port, way).map(|seen| of(&seen.frame)).sum()
}

#[test]
fn each_box_lists_the_subflows_of_its_multipath_leg() {
    let mut sim = network(announced(), hag_config());
    let sockets = connect(&mut sim, S);
    transfer(&mut sim, sockets, 0, 100_000);
    sim.idle(Duration::from_secs(1));
    let limit = 10;
    let edge = ask_edge(&mut sim, Command::ShowConnections { limit });
    let hag = sim.command(Command::ShowConnections { limit });
    for (reply, leg, ports, locals) in [
        (
            edge,
            "server",
            ["primary", "secondary"],
            ["10.11.0.2:40000", "10.2.0.2:"],
        ),
        (
            hag,
            "client",
            ["access1", "access2"],
            ["10.9.0.2:80", "10.99.0.2:"],
        ),
    ] {
        let Reply::Connections(reply) = reply else {
            panic!("{reply:?}");
        };
        let subflows = &reply.connections[0].subflows;
        assert_eq!(subflows.len(), 2, "{subflows:?}");
        for ((subflow, port), local) in subflows.iter().zip(ports).zip(locals) {
            assert_eq!(subflow.leg, leg);
            assert_eq!(subflow.port, port);
            assert!(subflow.local.starts_with(local), "{subflow:?}");
        }
    }
    close(&mut sim, sockets);
}

#[test]
fn paths_and_accounts_are_what_the_links_carried() {
    let mut sim = network(announced(), hag_config());
    for port in [ACCESS1, ACCESS2] {
        sim.links[port].shape.rate = 8_000_000;
    }
    let sockets = connect(&mut sim, S);
    transfer(&mut sim, sockets, 0, 3_000_000);
    let data = pattern(12_000_000, 7);
    let (mut sent, mut got) = (0, Vec::new());
    let half_way = sim.run(Duration::from_secs(60), |sim| {
        sent += sim.hosts[1].host().send(sockets[1], &data[sent..]);
        sim.hosts[0].host().recv(sockets[0], &mut got);
        got.len() > 5_000_000
    });
    assert!(half_way);
    let at_edge = paths(ask_edge(&mut sim, Command::ShowPaths));
    let at_hag = paths(sim.command(Command::ShowPaths));
    let names = |paths: &[Path]| {
        paths
            .iter()
            .map(|path| path.name.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&at_edge), ["primary", "secondary"]);
    assert_eq!(names(&at_hag), ["access1", "access2"]);
    let done = sim.run(Duration::from_secs(60), |sim| {
        sent += sim.hosts[1].host().send(sockets[1], &data[sent..]);
        sim.hosts[0].host().recv(sockets[0], &mut got);
        got.len() == data.len()
    });
    assert!(done && got == data);
    sim.idle(Duration::from_secs(5));
    let hag = accounts(sim.command(Command::ShowAccounts { limit: 9 }));
    let edge = accounts(ask_edge(&mut sim, Command::ShowAccounts { limit: 9 }));
    // The shortest round trip: of a handshake, whose frames are short; and where that had to wait for neighbors, of data, two frames'
    // time at a megabyte a second, as an acknowledgment waits for a second segment (RFC 5681 4.2), and its own.
    for (n, (port, [of_data, of_handshake])) in
        [(ACCESS1, [23_102, 20_214]), (ACCESS2, [43_102, 40_214])]
            .into_iter()
            .enumerate()
    {
        for (path, round_trip) in [(&at_edge[n], of_data), (&at_hag[n], of_handshake)] {
            assert_eq!((path.state.as_str(), path.subflows), ("up", 1));
            assert!(path.min_rtt_us.abs_diff(round_trip) <= 50, "{path:?}");
        }
        let (up, down) = (
            payload(&sim, port, Way::ToBox),
            payload(&sim, port, Way::FromBox),
        );
        assert!(up > 100_000 && down > 100_000, "{up} {down}");
        for account in [&hag[0], &edge[0]] {
            assert_eq!(account.subscriber, "10.11.0.2");
            assert_eq!(account.paths[n].bytes_up, up, "{account:?}");
            assert_eq!(account.paths[n].bytes_down, down, "{account:?}");
        }
    }
    // While the download ran both links were full.
    for n in [0, 1] {
        let rate = at_edge[n].rate_in;
        assert!(rate.abs_diff(1_000_000) * 20 <= 1_000_000, "{n}: {rate}");
        // Of a megabyte of frames, 1,420 of 1,514 octets are payload. What is sent may also grow the queue.
        let delivered = at_hag[n].delivery_rate;
        assert!(delivered.abs_diff(937_900) <= 9_000, "{:?}", at_hag[n]);
        assert!(at_hag[n].rate_out > 500_000, "{:?}", at_hag[n]);
    }
    close(&mut sim, sockets);
}

#[test]
fn a_path_on_which_nothing_is_answered_is_down_and_an_unused_one_idle() {
    let mut sim = network(announced(), hag_config());
    assert!(
        paths(sim.command(Command::ShowPaths))
            .iter()
            .all(|path| path.state == "idle"),
        "no connection"
    );
    let sockets = connect(&mut sim, S6);
    transfer(&mut sim, sockets, 0, 500_000);
    sim.idle(Duration::from_secs(1));
    sim.links[ACCESS2].shape.down = true;
    // The dead path's share goes by the other at the first timeout; the second one comes a little later.
    transfer(&mut sim, sockets, 0, 3_000_000);
    sim.idle(Duration::from_millis(500));
    let at_edge = paths(ask_edge(&mut sim, Command::ShowPaths));
    assert_eq!(at_edge[0].state, "up");
    assert_ne!(at_edge[1].state, "up");
    assert_eq!(
        accounts(sim.command(Command::ShowAccounts { limit: 9 }))[0].subscriber,
        "fd00:11::"
    );
    close(&mut sim, sockets);
}

fn connections(reply: Reply) -> Vec<Connection> {
    match reply {
        Reply::Connections(list) => list.connections,
        other => panic!("{other:?}"),
    }
}

#[test]
fn at_rest_a_connection_is_shown_by_either_box_as_before() {
    let shown = |sim: &mut Sim<Site>| {
        let list = Command::ShowConnections { limit: 10 };
        let mut all = connections(ask_edge(sim, list));
        all.extend(connections(sim.command(list)));
        let ages: Vec<_> = all.iter().map(|c| c.age_ms).collect();
        all.iter_mut().for_each(|connection| connection.age_ms = 0);
        (all, ages)
    };
    for to in [S, S6] {
        let mut sim = network(announced(), hag_config());
        let sockets = connect(&mut sim, to);
        transfer(&mut sim, sockets, 0, 100_000);
        transfer(&mut sim, sockets, 1, 50_000);
        sim.idle(Duration::from_millis(200));
        let resting = |sim: &Sim<Site>| [held_at_edge(sim).resting, sim.occupancy().resting];
        assert_eq!(resting(&sim), [0, 0]);
        let (before, ages) = shown(&mut sim);
        assert!(
            before
                .iter()
                .all(|c| (c.bytes_up, c.bytes_down) == (100_000, 50_000))
        );
        assert!(
            before
                .iter()
                .all(|c| c.token.is_some() && c.subflows.len() == 2)
        );
        sim.idle(Duration::from_secs(20));
        assert_eq!(resting(&sim), [1, 1], "{to}");
        let (then, later) = shown(&mut sim);
        assert_eq!(then, before, "{to}");
        // In steps of a second at rest.
        let passed = ages.iter().zip(&later).map(|(before, then)| then - before);
        assert!(
            passed.clone().all(|ms| (19_000..=21_000).contains(&ms)),
            "{ages:?} {later:?}"
        );
        // What it carries then is its subscriber's, as before.
        transfer(&mut sim, sockets, 0, 30_000);
        let list = Command::ShowAccounts { limit: 9 };
        for all in [ask_edge(&mut sim, list), sim.command(list)].map(accounts) {
            let up = all[0].paths.iter().map(|path| path.bytes_up).sum::<u64>();
            assert_eq!(all.len(), 1, "{to} {all:?}");
            assert!(all[0].subscriber != "others" && up >= 130_000, "{all:?}");
        }
        close(&mut sim, sockets);
    }
}
