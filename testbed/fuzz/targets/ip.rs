//! Ethernet, ARP, IPv4, IPv6, NDP, ICMP and what they quote: the whole IP layer, frame after frame.
#![no_main]

use dataplane::memory::MemBuf;
use libfuzzer_sys::fuzz_target;
use stack::buf::{RxChecksum, Slice};
use stack::ip::{Ingress, Net};
use stack::{Cx, Instant, PortId, Rng, Tally};
use testbed::scene;

fuzz_target!(|data: &[u8]| {
    let mut net = Net::new(scene::net()).expect("the scene resolves");
    let (mut rng, mut counters, mut out) = (Rng::from_u64(1), Tally::default(), Vec::new());
    let mut rest = data;
    let mut now = Instant::from_millis(1);
    while let Some(([port, millis, high, low], tail)) = rest.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (frame, tail) = tail.split_at(len);
        rest = tail;
        now = now + stack::time::Duration::from_millis(u64::from(*millis) * 10);
        let mut cx = Cx {
            now,
            rng: &mut rng,
            counters: &mut counters,
        };
        let checksum = if port & 4 == 0 {
            RxChecksum::Good
        } else {
            RxChecksum::Unknown
        };
        let frame = Slice::new(MemBuf::from(frame.to_vec()));
        let _ended = match net.input(&mut cx, PortId(port & 3), frame, checksum, &mut out) {
            Ingress::Done(ended) => ended,
            Ingress::Tcp(arrival) => net.forward(&mut cx, arrival.packet, &mut out),
            Ingress::IcmpError(arrival) => net.forward(&mut cx, arrival.packet, &mut out),
            Ingress::Opaque(opaque) => net.forward(&mut cx, opaque.packet, &mut out),
            Ingress::Transit(packet) => net.forward(&mut cx, packet, &mut out),
        };
        net.advance(&mut cx, &mut out);
        assert!(out.len() <= 4096, "one frame cannot make thousands");
        out.clear();
    }
});
