//! The main ratios in less than a minute, all in memory: `make bench-quick`.
//!
//! What is compared runs in turns, window by window, on one core, and each ratio is of two neighboring windows; the rows
//! have the median of the ratios, and the least and the greatest. Only the box is timed. Results go to
//! `target/bench/quick.json`.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use bench::idle::{Held, held};
use bench::relays::{Direction, Relays};
use bench::rig::{Done, Load, Rig, Role, Way};
use bench::rows::{Goal, Rows};
use bench::{clock, cores};
use stack::time::Duration;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

const COMMAND: &str = "make bench-quick";
const REPEATS: usize = 7;

/// Payload of a window, octets.
const WINDOW: u64 = 24 << 20;

/// Payload until a client's windows have settled, octets: before, some of what it spreads over two lines comes out of turn.
const SETTLED: u64 = 1 << 30;

/// Connections of a window of set-ups.
const SETUPS: u64 = 2_000;

/// Active flows that are many.
const MANY: u32 = 200_000;

/// Idle connections whose memory is counted.
const IDLE: u32 = 30_000;

fn main() -> io::Result<()> {
    let start = Instant::now();
    let mut rows = Rows::new(COMMAND);
    rows.core_round_trip_ns = cores::round_trip();
    if let Some(trip) = rows.core_round_trip_ns {
        writeln!(
            io::stdout(),
            "core to core and back: {:.0} ns [{:.0} .. {:.0}]",
            trip.median,
            trip.min,
            trip.max
        )?;
    }
    relaying(&mut rows);
    subflows(&mut rows);
    setups(&mut rows);
    memory(&mut rows);
    many_flows(&mut rows);
    rows.seconds = start.elapsed().as_secs_f64();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench/quick.json");
    rows.write(&file)?;
    writeln!(
        io::stdout(),
        "{:.0} s; target/bench/quick.json",
        rows.seconds
    )
}

/// Runs so much payload through each box.
fn run(boxes: &mut [Rig], octets: u64) {
    for rig in boxes {
        rig.run(|work| work(), |_, done| done.octets >= octets);
    }
}

/// Runs windows of several boxes in turns; the nanoseconds an octet of each, one list a box.
fn costs(boxes: &mut [Rig]) -> Vec<Vec<f64>> {
    let window = |_: &Rig, done: &Done| done.octets >= WINDOW;
    let mut costs = vec![Vec::new(); boxes.len()];
    for _ in 0..REPEATS {
        for (rig, costs) in boxes.iter_mut().zip(&mut costs) {
            let done = rig.run(|work| work(), window);
            costs.push(done.busy.as_nanos() as f64 / done.octets as f64);
        }
    }
    costs
}

fn ratios(over: &[f64], under: &[f64]) -> Vec<f64> {
    over.iter().zip(under).map(|(a, b)| a / b).collect()
}

fn relaying(rows: &mut Rows) {
    for (way, name) in [(Way::Up, ""), (Way::Down, "/down")] {
        let roles = [Role::Multipath(2), Role::Plain, Role::Routed, Role::Wire];
        let mut boxes = roles.map(|role| Rig::new(role, &Load::endless(way)));
        run(&mut boxes, WINDOW);
        let [settling, ..] = &costs(&mut boxes[..1])[..] else {
            return;
        };
        run(&mut boxes, SETTLED);
        let [multipath, plain, routed, wire] = &costs(&mut boxes)[..] else {
            return;
        };
        let way = match way {
            Way::Up => "clients to server",
            Way::Down => "server to clients",
        };
        let id = |id: &str| format!("{id}{name}");
        rows.add(
            (&id("B1"), &format!("Multipath TCP (2 subflows) and TCP, {way}: forwarding's time an octet over ours")),
            (ratios(routed, multipath), "ratio"),
            Some(Goal::AtLeast(0.5)),
            "our worker that routes the same flows on, on the same ports",
        );
        rows.add(
            (
                &id("B1t"),
                &format!("TCP and TCP, {way}: forwarding's time an octet over ours"),
            ),
            (ratios(routed, plain), "ratio"),
            Some(Goal::AtLeast(0.6)),
            "our worker that routes the same flows on, on the same ports",
        );
        let tax: Vec<_> = ratios(multipath, plain)
            .iter()
            .map(|r| 100.0 * (1.0 - 1.0 / r))
            .collect();
        rows.add(
            (
                &id("B2"),
                &format!("what Multipath TCP takes of the plain relay's throughput, {way}"),
            ),
            (tax, "%"),
            Some(Goal::AtMost(15.0)),
            "our TCP relay",
        );
        for (what, costs) in [
            ("settling", settling),
            ("multipath", multipath),
            ("plain", plain),
            ("routed", routed),
            ("wire", wire),
        ] {
            let nanos = costs.iter().map(|cost| cost * 1_400.0).collect();
            rows.add(
                (
                    &id(what),
                    &format!("time a segment of 1,400 octets, its acknowledgments included, {way}"),
                ),
                (nanos, "ns/segment"),
                None,
                "",
            );
        }
    }
}

fn subflows(rows: &mut Rows) {
    let mut boxes = [1, 8].map(|n| Rig::new(Role::Multipath(n), &Load::endless(Way::Down)));
    run(&mut boxes, SETTLED);
    let [one, eight] = &costs(&mut boxes)[..] else {
        return;
    };
    rows.add(
        (
            "B4",
            "goodput of a core with 8 subflows a connection over that with 1",
        ),
        (ratios(one, eight), "ratio"),
        Some(Goal::AtLeast(0.9)),
        "the same relay with one subflow",
    );
}

fn setups(rows: &mut Rows) {
    let mut rig = Rig::new(Role::Multipath(2), &Load::short(2_000));
    let window = |_: &Rig, done: &Done| done.requests >= SETUPS;
    // Half a second of closed connections is kept, in virtual time: from then on as many go as come.
    rig.run(|work| work(), |_, done| done.requests >= 10 * SETUPS);
    let rates = (0..REPEATS).map(|_| {
        let done = rig.run(|work| work(), window);
        done.requests as f64 / (done.busy.as_nanos() as f64 / 1e9) / 1e3
    });
    rows.add(
        ("B5", "connections a second and core: set up with a join, one request and answer, closed cleanly"),
        (rates.collect(), "thousand/s"),
        Some(Goal::AtLeast(100.0)),
        "",
    );
}

fn memory(rows: &mut Rows) {
    let (_, idle) = held(IDLE, Duration::from_secs(120), |work| {
        let taken = allocation_counter::measure(work);
        Held {
            octets: taken.bytes_current,
            blocks: taken.count_current,
        }
    });
    rows.add(
        (
            "B6",
            "octets that the box holds for a relay with 2 subflows, idle for two minutes, tables included, of 30,000",
        ),
        (vec![idle.octets as f64 / f64::from(IDLE)], "octets"),
        Some(Goal::AtMost(1_024.0)),
        "",
    );
}

fn many_flows(rows: &mut Rows) {
    let mut few = Relays::new(1_000);
    let mut many = Relays::new(MANY);
    let cost = |relays: &mut Relays| {
        let (mut busy, mut segments) = (Duration::ZERO, 0);
        while segments < 16_000 {
            let round = relays.round(Direction::Upload, 8, |work| {
                let start = clock::spent();
                work();
                busy += clock::spent().saturating_sub(start);
            });
            segments += round.segments;
        }
        busy.as_nanos() as f64 / segments as f64
    };
    cost(&mut few);
    cost(&mut many);
    let ratios = (0..REPEATS).map(|_| {
        let few = cost(&mut few);
        cost(&mut many) / few
    });
    rows.add(
        (
            "B7",
            "time a segment with 200,000 active flows over that with 1,000",
        ),
        (ratios.collect(), "ratio"),
        Some(Goal::AtMost(1.5)),
        "the same relay with 1,000 flows",
    );
}
