//! The whole input of the HAG: a subscriber, its second line, a server and a stranger, all played by the fuzzer.
#![no_main]

use apps::engine::{Engine, EngineConfig};
use fuzz::{LIMITS, Step, play};
use libfuzzer_sys::fuzz_target;
use testbed::{peer::Peer, scene};

fuzz_target!(|steps: Vec<Step>| {
    let peers = [
        (0, ["10.1.0.2:4000", "10.9.0.2:80"], 1000),
        (2, ["10.9.0.2:80", "10.1.0.2:4000"], 9000),
        (1, ["10.2.0.2:4001", "10.99.0.2:80"], 5000),
        (0, ["[fd00:1::2]:4000", "[fd00:9::2]:80"], 1000),
        (2, ["[fd00:9::2]:80", "[fd00:1::2]:4000"], 9000),
        (1, ["[fd00:2::2]:4001", "[fd00:99::2]:80"], 5000),
        // From the Internet to the subscriber.
        (2, ["10.9.0.3:4000", "10.1.0.2:80"], 1),
        (0, ["10.1.0.2:80", "10.9.0.3:4000"], 7000),
    ];
    let peers = peers.map(|(port, between, iss)| Peer::new(port, fuzz::tuple(between), iss));
    let config = EngineConfig {
        inbound: true,
        ..scene::config(LIMITS)
    };
    let hag = Engine::new(config).expect("the scene resolves");
    play(hag, peers.into(), &steps);
});
