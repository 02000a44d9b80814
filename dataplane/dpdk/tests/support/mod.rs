//! What the tests share. Each test runs in a process of its own, as EAL starts once a process, and in a network
//! namespace of its own, which is gone with it.
#![allow(dead_code, reason = "not every test needs all of it")]

use dataplane::{Port, Received};
use dpdk::{DpdkPort, Eal, EalConfig, Mbuf, PortConfig};
use stack::buf::{Chain, Header};
use stack::{Frame, PortId, Slice};
use std::process::Command;

const MARK: &str = "BRAID_TEST_NAMESPACE";

/// Runs the test called `name` again in a process and namespace of its own; `true` in that one.
pub(crate) fn alone(name: &str) -> bool {
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let status = Command::new("unshare")
        .arg("-n")
        .arg(own)
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(MARK, "1")
        .status();
    assert!(
        status.as_ref().is_ok_and(std::process::ExitStatus::success),
        "{name} failed in its own network namespace ({status:?}): it needs root, unshare and ip (apt-get install util-linux iproute2)"
    );
    false
}

pub(crate) fn eal() -> Eal {
    let config = EalConfig {
        hugepages: Some(false),
        memory_mb: 192,
        ..EalConfig::default()
    };
    Eal::init(&config).unwrap()
}

pub(crate) fn config(name: &str, device: &str) -> PortConfig {
    PortConfig {
        name: name.to_owned(),
        device: device.to_owned(),
        mtu: 1500,
        tags: 0,
        buffers: 8191,
    }
}

pub(crate) fn ip(args: &str) {
    let status = Command::new("ip").args(args.split(' ')).status();
    assert!(status.is_ok_and(|s| s.success()), "ip {args}");
}

pub(crate) fn frame(header: &[u8], payload: impl IntoIterator<Item = Slice<Mbuf>>) -> Frame<Mbuf> {
    let mut frame = Frame::new(PortId(0), Header::default(), Chain::new());
    frame.header.push(header);
    frame.payload.extend(payload);
    frame
}

/// An Ethernet header to everybody of an experimental type, and a number to tell frames apart.
pub(crate) fn header(number: u32, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
    bytes.extend(number.to_be_bytes());
    bytes.extend((bytes.len()..len).map(|n| (n % 251) as u8));
    bytes
}

/// Receives until `n` frames of our type are there, or some seconds have passed.
pub(crate) fn receive(port: &mut DpdkPort, n: usize) -> Vec<Received<Mbuf>> {
    let mut all = Vec::new();
    for _ in 0..200_000 {
        port.receive(&mut all);
        all.retain(|r| is_ours(r.frame.bytes()));
        if all.len() >= n {
            break;
        }
        std::thread::yield_now();
    }
    all
}

fn is_ours(frame: &[u8]) -> bool {
    let mut kind = frame.get(12..).unwrap_or(&[]);
    while let [0x81, 0, _, _, rest @ ..] = kind {
        kind = rest;
    }
    kind.starts_with(&[0x88, 0xb5])
}
