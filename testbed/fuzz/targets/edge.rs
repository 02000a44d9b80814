//! The whole input of the box at the customer's edge, which speaks Multipath TCP with whoever answers: a host, a server or what
//! is in its place, and that one's further address, all played by the fuzzer.
#![no_main]

use fuzz::{LIMITS, Step, play};
use libfuzzer_sys::fuzz_target;
use testbed::{peer::Peer, scene};

fuzz_target!(|steps: Vec<Step>| {
    let peers = [
        (0, ["10.1.0.2:4000", "10.9.0.2:80"], 1000),
        (1, ["10.9.0.2:80", "10.1.0.2:4000"], 9000),
        (2, ["10.99.0.2:80", "10.2.0.1:4001"], 5000),
        (0, ["[fd00:1::2]:4000", "[fd00:9::2]:80"], 1000),
        (1, ["[fd00:9::2]:80", "[fd00:1::2]:4000"], 9000),
        (2, ["[fd00:99::2]:80", "[fd00:2::1]:4001"], 5000),
        // From the Internet to the host.
        (1, ["10.9.0.2:4000", "10.1.0.2:80"], 1),
        (0, ["10.1.0.2:80", "10.9.0.2:4000"], 7000),
    ];
    let peers = peers.map(|(port, between, iss)| Peer::new(port, fuzz::tuple(between), iss));
    play(scene::bonding_edge(LIMITS), peers.into(), &steps);
});
