//! Paths that are long in one way or the other: much in flight, or a day in use.

use crate::common::raw::{RST, Tcp};
use crate::common::{
    ACCESS1, CLIENT, CORE, Host, Pair, S, SERVER, Sim, Way, client, config, connect, link, pattern,
    server, sim_of,
};
use apps::engine::{EngineConfig, Limits};
use stack::seq::SeqNum;
use stack::time::Duration;
use testbed::link::Shape;

/// Bits and octets a second.
const GIGABIT: u64 = 1_000_000_000;
/// TCP payload in a second of it: 1,448 octets of a frame of 1,514.
const PAYLOAD: u64 = GIGABIT / 8 * 1_448 / 1_514;
/// What lies on the way at 200 ms, and as much again.
const BUFFER: usize = 64 << 20;

const WINDOW_SCALE: u8 = 3;
const TIMESTAMPS: u8 = 8;

/// A server 200 ms away at 1 Gbit/s, and hosts that hold all that this takes.
fn long_and_fat(most: u32) -> Sim<Host> {
    let limits = Limits {
        buffer: most,
        ..Limits::default()
    };
    let config = EngineConfig {
        accept_plain: true,
        limits,
        ..config()
    };
    let mut core = link(SERVER, 0, 100);
    core.shape = Shape {
        rate: GIGABIT,
        ..core.shape
    };
    let links = vec![link(CLIENT, 0, 1), link(CLIENT, 1, 1), core];
    let hosts = vec![client().with_buffer(BUFFER), server().with_buffer(BUFFER)];
    sim_of(config, hosts, links, 1)
}

/// What comes in a round trip once the window is open; `from` sends.
fn rate(sim: &mut Sim<Host>, pair: &Pair, from: usize, warm_up_ms: u64) -> u64 {
    let data = pattern(1 << 20, 3);
    let (mut sent, mut got) = (0_usize, Vec::new());
    let mut marks = Vec::new();
    for ms in [warm_up_ms, 400] {
        sim.run(Duration::from_millis(ms), |sim| {
            let (there, here) = if from == SERVER {
                ((SERVER, pair.server), (CLIENT, pair.client))
            } else {
                ((CLIENT, pair.client), (SERVER, pair.server))
            };
            loop {
                let at = sent % data.len();
                let taken = sim.hosts[there.0].send(there.1, &data[at..]);
                sent += taken;
                if taken == 0 {
                    break;
                }
            }
            sim.hosts[here.0].recv(here.1, &mut got);
            false
        });
        marks.push(got.len() as u64);
    }
    assert!(got.iter().zip(data.iter().cycle()).all(|(a, b)| a == b));
    (marks[1] - marks[0]) * 1000 / 400
}

/// The scale of the opener's SYN and of the answer to it, as they pass.
fn scales(sim: &Sim<Host>) -> Vec<u8> {
    let shown = [(CORE, Way::FromBox), (ACCESS1, Way::FromBox)];
    let syns = shown.iter().map(|(port, way)| {
        let mut seen = sim
            .on(*port, *way)
            .filter_map(|seen| Tcp::parse(&seen.frame));
        let syn = seen.find(|tcp| tcp.option(WINDOW_SCALE).is_some()).unwrap();
        syn.option(WINDOW_SCALE).unwrap()[0]
    });
    syns.collect()
}

/// 1 Gbit/s over 200 ms, in both directions: 25 MB must be in flight, from a window that begins with 256 KiB.
#[test]
fn i_ws_windows_grow_to_a_gigabit_over_200_ms() {
    for (from, warm_up) in [(SERVER, 2_200), (CLIENT, 4_000)] {
        let mut sim = long_and_fat(64 << 20);
        let pair = connect(&mut sim, 40_000, S);
        let scales = scales(&sim);
        assert!(scales.iter().all(|shift| *shift >= 9), "{scales:?}");
        sim.record = false;
        let rate = rate(&mut sim, &pair, from, warm_up);
        assert!(
            rate >= PAYLOAD * 95 / 100,
            "host {from} sends: {rate} of {PAYLOAD}"
        );
        // In flight and on its way through the box: no more than one such relay may hold.
        assert!(sim.worker.app().occupancy().held <= 64 << 20);
    }
}

/// A line of 20 Mbit/s, with a queue of a round trip, and a server that is faster: the line is always busy, and not many more of the
/// stream's octets wait in the box for their turn than are on their way.
#[test]
fn what_waits_for_a_slow_line_is_little() {
    const LINE: u64 = 20_000_000;
    let config = EngineConfig {
        accept_plain: true,
        ..config()
    };
    let mut access = link(CLIENT, 0, 10);
    access.shape = Shape {
        rate: LINE,
        queue: Some(50_000),
        ..access.shape
    };
    let links = vec![access, link(CLIENT, 1, 10), link(SERVER, 0, 5)];
    let hosts = vec![client().with_buffer(BUFFER), server().with_buffer(BUFFER)];
    let mut sim = sim_of(config, hosts, links, 1);
    let pair = connect(&mut sim, 40_000, S);
    sim.record = false;
    let rate = rate(&mut sim, &pair, SERVER, 10_000);
    assert!(rate >= PAYLOAD * LINE / GIGABIT * 95 / 100, "{rate}");
    let held = sim.worker.app().occupancy().held;
    // 200 ms of the line.
    assert!(held <= LINE / 8 / 5, "{held}");
}

/// The ceiling: what a relay may hold, in a round trip, whatever the scale could say.
#[test]
fn i_ws_what_a_relay_may_hold_is_the_ceiling() {
    let mut sim = long_and_fat(4 << 20);
    let pair = connect(&mut sim, 40_000, S);
    sim.record = false;
    let rate = rate(&mut sim, &pair, SERVER, 2_200);
    let ceiling = (4 << 20) * 5;
    assert!(rate <= ceiling, "{rate}");
    assert!(rate >= ceiling * 9 / 10, "{rate}");
}

/// A day on one connection, with a word each way in an hour. The client's clock is about to come round: the leg towards the
/// server goes on from it, in every segment, through zero, and never back.
#[test]
fn i_ts_a_legs_clock_goes_on_from_the_openers_for_a_day() {
    const HOUR_MS: u32 = 3_600_000;
    const FIRST: u32 = u32::MAX - 12 * HOUR_MS;
    let config = EngineConfig {
        accept_plain: true,
        ..config()
    };
    let links = vec![link(CLIENT, 0, 5), link(CLIENT, 1, 5), link(SERVER, 0, 10)];
    let mut sim = sim_of(config, vec![client(), server()], links, 1);
    let listening = sim.hosts[SERVER].listen(80);
    let connecting = sim.hosts[CLIENT].connect(40_000, (S, 80));
    let clock = sim.hosts[CLIENT].tcp(connecting);
    clock.set_tsval_generator(Some(|| FIRST));
    let begin = sim.now;
    for hour in 0..25_u8 {
        let (mut at_server, mut at_client) = (Vec::new(), Vec::new());
        let mut sent = (0, 0);
        let done = sim.run(Duration::from_secs(10), |sim| {
            if sent.0 == 0 {
                sent.0 = sim.hosts[CLIENT].send(connecting, &[hour; 100]);
            }
            if sent.1 == 0 {
                sent.1 = sim.hosts[SERVER].send(listening, &[hour; 100]);
            }
            sim.hosts[SERVER].recv(listening, &mut at_server);
            sim.hosts[CLIENT].recv(connecting, &mut at_client);
            at_server.len() == 100 && at_client.len() == 100
        });
        assert!(done, "hour {hour}");
        assert!(
            at_server
                .iter()
                .chain(&at_client)
                .all(|octet| *octet == hour)
        );
        sim.idle(Duration::from_mins(59));
    }
    for (port, first) in [(CORE, Some(FIRST)), (ACCESS1, None)] {
        let seen = sim.on(port, Way::FromBox);
        let segments = seen.filter_map(|seen| Some((seen.at, Tcp::parse(&seen.frame)?)));
        let segments: Vec<_> = segments.filter(|(_, tcp)| !tcp.has(RST)).collect();
        let stamp = |tcp: &Tcp| {
            let option = tcp
                .option(TIMESTAMPS)
                .expect("a timestamp in every segment");
            u32::from_be_bytes(option[..4].try_into().unwrap())
        };
        let (opened, syn) = &segments[0];
        assert_eq!(first.unwrap_or(stamp(syn)), stamp(syn));
        assert!(segments.len() > 24, "{}", segments.len());
        let mut last = stamp(syn);
        for (at, tcp) in &segments {
            let now = stamp(tcp);
            assert!(SeqNum(now) >= SeqNum(last), "back from {last} to {now}");
            let passed = u32::try_from(at.since(*opened).as_millis()).unwrap();
            let shown = now.wrapping_sub(stamp(syn));
            assert!(shown.abs_diff(passed) <= 1_000, "{shown} ms of {passed}");
            last = now;
        }
        assert!(first.is_none() || last < FIRST, "it did not come round");
    }
    assert!(sim.now.since(begin) > Duration::from_hours(24));
}
