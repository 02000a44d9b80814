//! The box at the customer's edge with translation and firewall: frames at all ports, and none leaves with a host's address.
#![no_main]

use dataplane::memory::{MemBuf, linear};
use dataplane::{App, Received};
use libfuzzer_sys::fuzz_target;
use stack::time::Duration;
use stack::{Instant, PortId, RxChecksum, Slice};
use testbed::scene;

/// Whether a frame carries IPv4 from one of the hosts.
fn is_from_host(frame: &[u8]) -> bool {
    frame.get(12..14) == Some(&[8, 0]) && frame.get(26..29) == Some(&scene::INSIDE)
}

fuzz_target!(|data: &[u8]| {
    let mut engine = scene::edge();
    let mut out = Vec::new();
    let mut rest = data;
    let mut now = Instant::from_millis(1);
    while let Some(([port, millis, high, low], tail)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (frame, tail) = tail.split_at(len);
        rest = tail;
        now = now + Duration::from_millis(u64::from(*millis) * u64::from(*millis));
        let frame = scene::repaired(frame, port & 1);
        let received = Received {
            frame: Slice::new(MemBuf::from(frame)),
            checksum: RxChecksum::Good,
        };
        engine.input(now, PortId(port & 1), &mut vec![received], &mut out);
        engine.flush(now, &mut out);
        let mut sent = core::mem::take(&mut out);
        // Neighbors answer, so that what waits for them leaves.
        for (port, reply) in sent.iter().filter_map(scene::arp_reply) {
            let received = Received {
                frame: Slice::new(MemBuf::from(reply)),
                checksum: RxChecksum::Good,
            };
            engine.input(now, PortId(port), &mut vec![received], &mut out);
        }
        sent.append(&mut out);
        for frame in sent {
            let leaves = frame.port != PortId(0);
            assert!(
                !leaves || !is_from_host(&linear(&frame)),
                "an inner address left"
            );
        }
    }
});
