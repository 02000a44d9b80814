//! A net_tap port, which cuts trains of segments apart, and what its interface receives.

mod support;

use dataplane::Port;
use dataplane::memory::linear;
use dpdk::{DpdkPort, Mbuf};
use stack::Frame;
use stack::buf::Slice;
use stack::checksum::Sum;
use support::{alone, config, eal, frame, ip};

const SEGMENT: usize = 1_000;

/// The headers of a segment of 1,000 octets that is the `n`th of its train, but for its TCP checksum.
fn headers(ipv4: bool, n: u32, flags: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; 6];
    bytes.extend([2, 0, 0, 0, 0, 2]);
    let tcp_len = u16::try_from(20 + len).unwrap();
    if ipv4 {
        let [a, b] = (20 + tcp_len).to_be_bytes();
        let mut ip = vec![0x45, 0, a, b, 0, n as u8, 0x40, 0, 64, 6, 0, 0];
        ip.extend([10, 1, 0, 2, 192, 0, 2, 7]);
        let sum = Sum::of(&ip).checksum();
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend([0x08, 0x00]);
        bytes.extend(ip);
    } else {
        let [a, b] = tcp_len.to_be_bytes();
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, a, b, 6, 64]);
        bytes.extend([0xfd; 32]);
    }
    bytes.extend([0x1f, 0x90, 0, 80]);
    bytes.extend((7 + n * SEGMENT as u32).to_be_bytes());
    bytes.extend([0, 0, 0, 9, 0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    bytes
}

/// The TCP checksum of a whole frame.
fn checksum(frame: &[u8], ipv4: bool) -> u16 {
    let (addresses, l4) = if ipv4 { (26, 34) } else { (22, 54) };
    let len = frame.len() - l4;
    let pseudo = [0, 6, (len >> 8) as u8, len as u8];
    let mut tcp = frame[l4..].to_vec();
    tcp[16..18].fill(0);
    let pseudo = Sum::of(&frame[addresses..l4]).then(Sum::of(&pseudo));
    pseudo.then(Sum::of(&tcp)).checksum()
}

/// `frame` with its TCP checksum.
fn complete(mut frame: Frame<Mbuf>, ipv4: bool) -> Frame<Mbuf> {
    let sum = checksum(&linear(&frame), ipv4);
    let at = frame.header.len() - 4;
    frame.header.bytes_mut()[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    frame
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
            let one = |n: u32| {
                let ends = n + 1 == count;
                let (len, flags) = if ends { (last, 0x18) } else { (SEGMENT, 0x10) };
                let octets: Vec<u8> = (0..len).map(|at| (at as u32 + n) as u8).collect();
                let payload = Slice::new(tap.filled(&octets).unwrap());
                complete(frame(&headers(ipv4, n, flags, len), [payload]), ipv4)
            };
            let mut frames: Vec<_> = (0..count).map(one).collect();
            // Somebody keeps the payload, as TCP does.
            let kept = frames.clone();
            let expected: Vec<_> = frames.iter().map(linear).collect();
            let sent = tap.stats().tx_packets;
            tap.transmit(&mut frames);
            assert_eq!(tap.stats().tx_packets - sent, u64::from(count));
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
