//! A net_tap port, which cuts trains of segments apart, and what its interface receives.

mod support;

use dataplane::memory::linear;
use dataplane::{MemBuf, Port};
use dpdk::DpdkPort;
use stack::Slice;
use stack::wire::ip::set_length;
use stack::wire::tcp::Flags;
use support::{alone, config, eal, frame, ip};
use testbed::peer::{Peer, Wish};

const SEGMENT: usize = 1_000;

/// The headers of segment `n`, with text of `text`.
fn headers_of(ipv4: bool, n: usize, flags: Flags, text: &[u8]) -> Vec<u8> {
    let (wish, data) = (
        Wish::text(n * SEGMENT, flags, text.len()),
        MemBuf::from(text.to_vec()),
    );
    let mut whole = Peer::somebody(ipv4, 7).frame(&wish, &data);
    // To everybody, so that the interface takes it.
    whole[..6].fill(0xff);
    let (header, rest) = whole.split_at_mut(if ipv4 { 34 } else { 54 });
    if ipv4 {
        // As a device numbers them that cuts them.
        header[19] = n as u8;
        set_length(&mut header[14..], rest.len());
    }
    whole.truncate(whole.len() - text.len());
    whole
}

#[test]
fn a_train_arrives_as_the_segments_that_it_was_made_of() {
    if !alone("a_train_arrives_as_the_segments_that_it_was_made_of") {
        return;
    }
    let eal = eal();
    let mut tap = DpdkPort::open(eal, &config("tap", "net_tap0,iface=tb0")).unwrap();
    std::fs::write("/proc/sys/net/ipv6/conf/tb0/disable_ipv6", "1").unwrap();
    ip("link set tb0 up");
    let mut seen = DpdkPort::open(eal, &config("seen", "net_af_packet1,iface=tb0")).unwrap();
    let before = (tap.missing_buffers(), seen.missing_buffers());
    for ipv4 in [true, false] {
        for (count, last) in [(2, SEGMENT), (9, 1), (40, 333)] {
            let one = |n: usize| {
                let (len, flags) = if n + 1 == count {
                    (last, Flags::ACK.with(Flags::PSH))
                } else {
                    (SEGMENT, Flags::ACK)
                };
                let octets: Vec<u8> = (0..len).map(|at| (at + n) as u8).collect();
                let mut text = Slice::new(tap.filled(&octets).unwrap());
                text.sum_once();
                frame(&headers_of(ipv4, n, flags, &octets), [text])
            };
            let mut frames: Vec<_> = (0..count).map(one).collect();
            // Somebody keeps the payload, as TCP does.
            let kept = frames.clone();
            let expected: Vec<_> = frames.iter().map(linear).collect();
            let sent = tap.stats().tx_packets;
            tap.transmit(&mut frames);
            assert_eq!(tap.stats().tx_packets - sent, count as u64);
            let mut got = Vec::new();
            for _ in 0..200_000 {
                seen.receive(&mut got);
                if got.len() >= expected.len() {
                    break;
                }
                std::thread::yield_now();
            }
            let got: Vec<_> = got.iter().map(|r| r.frame.bytes().to_vec()).collect();
            assert_eq!(got.len(), expected.len(), "{ipv4} {count}");
            assert!(got == expected, "{ipv4} {count}: some segment differs");
            for (kept, expected) in kept.iter().zip(&expected) {
                assert!(expected.ends_with(kept.payload[0].bytes()));
            }
        }
    }
    let stats = tap.stats();
    assert_eq!((stats.tx_dropped, stats.copied_at_port), (0, 0));
    assert_eq!(
        stats.tx_trains, 3,
        "those of IPv4, as net_tap cuts no others"
    );
    assert_eq!((tap.missing_buffers(), seen.missing_buffers()), before);
}
