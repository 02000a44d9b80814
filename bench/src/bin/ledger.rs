//! What a segment, or a whole connection, costs on its way through the box, in instructions by function:
//!
//! ```text
//! CARGO_PROFILE_RELEASE_DEBUG=line-tables-only cargo build --release -p bench --bin ledger
//! valgrind --tool=callgrind --toggle-collect='*through_the_box*' target/release/ledger download 8000
//! callgrind_annotate callgrind.out.*
//! ```
//!
//! With `setup` it is what a whole connection costs: set up with a join, one request and its answer, closed cleanly.
//!
//! With many connections their number in each burst can be given, too: memory is waited for once a burst, so a burst of one flow
//! pays most for it.
//!
//! Divide what callgrind collected by the segments or connections printed; `python3 -m testbed.lab.instructions` does both for all of
//! them. Without valgrind the nanoseconds say something too.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use bench::relays::{Direction, Flows, Relays};
use bench::rig::{Done, Load, Rig, Role};
use stack::buf::RxChecksum;
use std::time::{Duration, Instant};

/// Segments in a burst that is of one flow, and in one of several.
const BURST: usize = 8;
const BURST_OF_SEVERAL: usize = 32;

/// What can be asked for: the flow, where its payload goes, and what the ports say of checksums.
const TRANSFERS: [(&str, Flows, Direction, RxChecksum); 5] = {
    use Direction::{Download, Upload};
    use RxChecksum::{Good, Unknown};
    [
        ("download", Flows::Multipath, Download, Good),
        ("upload", Flows::Multipath, Upload, Good),
        ("download-unverified", Flows::Multipath, Download, Unknown),
        ("plain", Flows::Plain, Download, Good),
        ("forward", Flows::Forwarded, Download, Good),
    ]
};

/// Connections at a time where set-ups are counted, unless told otherwise: `setup 40000 2000` has 2,000.
const AT_A_TIME: u32 = 200;

/// All of the box's work on the way of a connection: instruction counters look for this name.
#[inline(never)]
fn through_the_box(work: &mut dyn FnMut()) {
    work();
}

/// Connections come and go: what was there before the first that counts is nearly what is left after the last.
fn setups(connections: u64, at_a_time: u32) {
    let mut rig = Rig::new(Role::Multipath(2), &Load::short(at_a_time));
    let warm = |_: &Rig, done: &Done| done.requests >= 2_000;
    rig.run(|work| work(), warm);
    let done = rig.run(through_the_box, |_, done| done.requests >= connections);
    let Done {
        busy,
        requests,
        frames,
        ..
    } = done;
    let nanos = busy.as_nanos() / u128::from(requests.max(1));
    println!("setup: {requests} connections, {frames} frames received, {nanos} ns each");
}

fn main() {
    let mut args = std::env::args().skip(1);
    let asked = args.next().unwrap_or_default();
    if asked == "setup" {
        let connections = args.next().and_then(|n| n.parse().ok());
        let at_a_time = args.next().and_then(|n| n.parse().ok());
        return setups(connections.unwrap_or(4_000), at_a_time.unwrap_or(AT_A_TIME));
    }
    let Some((name, flows, direction, checksum)) = TRANSFERS.iter().find(|row| row.0 == asked)
    else {
        let known = TRANSFERS.map(|row| row.0).join(" | ");
        eprintln!(
            "usage: ledger {known} [SEGMENTS [CONNECTIONS [OF_THEM_IN_A_BURST]]] | setup [CONNECTIONS [AT_A_TIME]]"
        );
        std::process::exit(2);
    };
    let segments: u64 = args.next().and_then(|n| n.parse().ok()).unwrap_or(8_000);
    let connections = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let at_once: usize = args.next().and_then(|n| n.parse().ok()).unwrap_or(1);
    let burst = match at_once {
        1 => BURST,
        several => (BURST_OF_SEVERAL / several.max(1)).max(1),
    };
    let mut relays = Relays::of(*flows, connections, *checksum);
    let (mut done, mut busy) = (0, Duration::ZERO);
    while done < segments {
        let round = relays.round_of(*direction, (at_once, burst), |work| {
            let start = Instant::now();
            work();
            busy += start.elapsed();
        });
        done += round.segments;
    }
    let nanos = busy.as_nanos() / u128::from(done.max(1));
    println!("{name}, {connections} flows: {done} segments, {nanos} ns each");
    for core in relays.runtime().cores {
        let busy = core.steps.iter().filter(|step| step.step != "idle");
        let all: u64 = busy.clone().map(|step| step.cycles).sum();
        println!("step        cycles a frame sent   share");
        for step in busy {
            let share = step.cycles * 100 / all.max(1);
            println!("{:<12}{:>19}{share:>6} %", step.step, step.cycles_per_frame);
        }
    }
}
