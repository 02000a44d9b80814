//! Ports at the ends of a veth pair.

mod support;

use dataplane::memory::linear;
use dataplane::{BURST, Port};
use dpdk::{Device, DpdkPort, Mbuf, PortConfig};
use stack::buf::MAX_SLICES;
use stack::{Frame, PacketBuf, Slice};
use support::{alone, config, eal, frame, header, ip, receive};

/// The two ends of a fresh veth pair.
fn veth() -> [DpdkPort; 2] {
    veth_with_tags(0)
}

/// The same, asked to take so many octets of tags beside the MTU.
fn veth_with_tags(tags: u16) -> [DpdkPort; 2] {
    ip("link add va address 02:00:00:00:00:0a type veth peer name vb address 02:00:00:00:00:0b");
    for end in ["va", "vb"] {
        std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").unwrap();
        ip(&format!("link set {end} up"));
    }
    let eal = eal();
    ["va", "vb"].map(|end| {
        let number = u8::from(end == "vb");
        let device = format!("net_af_packet{number},iface={end}");
        let config = PortConfig {
            tags,
            ..config(end, &device)
        };
        DpdkPort::open(eal, &config).unwrap()
    })
}

/// Sends `frames` and expects them, in their order and octet for octet, at the other end.
fn cross(from: &mut DpdkPort, to: &mut DpdkPort, mut frames: Vec<Frame<Mbuf>>) -> Vec<Slice<Mbuf>> {
    let expected: Vec<Vec<u8>> = frames.iter().map(linear).collect();
    from.transmit(&mut frames);
    assert!(frames.is_empty());
    let got = receive(to, expected.len());
    let bytes: Vec<Vec<u8>> = got.iter().map(|r| r.frame.bytes().to_vec()).collect();
    assert_eq!(bytes.len(), expected.len());
    assert!(bytes == expected, "some frame changed on its way");
    got.into_iter().map(|r| r.frame).collect()
}

#[test]
fn frames_cross_a_veth_pair_whole_and_no_buffer_is_lost() {
    if !alone("frames_cross_a_veth_pair_whole_and_no_buffer_is_lost") {
        return;
    }
    let [mut a, mut b] = veth();
    assert_eq!(a.info().mac, [2, 0, 0, 0, 0, 0x0a]);
    assert!(a.link_up() && b.link_up());
    let (mut sent, mut octets) = ([0, 0], [0, 0]);
    for round in 0..50_u32 {
        // Headers alone, then payload by reference: shared, several slices, cut slices.
        let small = (0..BURST as u32).map(|n| frame(&header(round * 100 + n, 128), []));
        let small = cross(&mut a, &mut b, small.collect());
        // Twice as large each time, back and forth, as two cut slices of what came.
        let doubled = |slices: &[Slice<Mbuf>]| {
            let pairs = slices.chunks(MAX_SLICES).map(|pair| {
                let cut = pair.iter().map(|slice| slice.slice(13..slice.len() - 5));
                frame(&header(round, 40), cut)
            });
            pairs.collect::<Vec<_>>()
        };
        let twice = cross(&mut b, &mut a, doubled(&small));
        let fourfold = cross(&mut a, &mut b, doubled(&twice));
        let large = cross(&mut b, &mut a, doubled(&fourfold));
        assert!(large.iter().all(|slice| slice.len() > 1000));
        // Payload that nobody else holds: it leaves from where it lies.
        let copied = a.stats().copied_at_port;
        let back: Vec<_> = large
            .into_iter()
            .map(|s| frame(&header(1, 30), [s.slice(100..s.len())]))
            .collect();
        let back = cross(&mut a, &mut b, back);
        assert_eq!(
            a.stats().copied_at_port,
            copied,
            "sole buffers are not copied"
        );
        // 32 small ones, then 16, 8, 4, and those 4 once more.
        sent[0] += 32 + 8 + 4;
        sent[1] += 16 + 4;
        octets[0] += back.len();
        octets[1] += back.len();
    }
    let (sa, sb) = (a.stats(), b.stats());
    assert_eq!((sa.tx_packets, sb.tx_packets), (sent[0], sent[1]));
    assert_eq!((sa.tx_packets, sa.tx_bytes), (sb.rx_packets, sb.rx_bytes));
    assert_eq!((sb.tx_packets, sb.tx_bytes), (sa.rx_packets, sa.rx_bytes));
    assert_eq!(
        (sa.tx_dropped, sb.tx_dropped, sa.rx_nobuf, sb.rx_nobuf),
        (0, 0, 0, 0)
    );
    assert_eq!(
        a.sends_chains(),
        sa.copied_at_port == 0,
        "copies only what cannot be chained"
    );
    assert_eq!((a.missing_buffers(), b.missing_buffers()), ((0, 0), (0, 0)));
}

#[test]
fn held_frames_count_as_used_and_outlive_their_port() {
    if !alone("held_frames_count_as_used_and_outlive_their_port") {
        return;
    }
    let [mut a, mut b] = veth();
    let mut frames: Vec<_> = (0..600).map(|n| frame(&header(n, 100), [])).collect();
    let mut held = Vec::new();
    for burst in frames.chunks_mut(100) {
        a.transmit(&mut burst.to_vec());
        held.extend(receive(&mut b, 100));
    }
    assert_eq!(held.len(), 600);
    let used = b.buffers();
    assert!(
        (600..2000).contains(&used.used) && used.size == 8191,
        "{used:?}"
    );
    assert_eq!(b.missing_buffers().0, 600);
    drop(held.split_off(1));
    assert_eq!(b.missing_buffers().0, 1);
    drop(b);
    drop(a);
    assert_eq!(held[0].frame.bytes(), header(0, 100));
    assert_eq!(held[0].frame.buffer().bytes().len(), 100);
}

#[test]
fn packets_as_long_as_the_mtu_cross_with_two_tags() {
    if !alone("packets_as_long_as_the_mtu_cross_with_two_tags") {
        return;
    }
    let mut ends = veth_with_tags(8);
    assert!(ends.iter().all(DpdkPort::takes_tags));
    let grow = |ends: &mut [DpdkPort; 2], payload: Vec<Slice<Mbuf>>| {
        ends.reverse();
        let [from, to] = ends;
        cross(from, to, vec![frame(&header(1, 18), payload)]).remove(0)
    };
    let mut large = grow(&mut ends, Vec::new());
    while large.len() < 748 {
        large = grow(&mut ends, vec![large.clone(), large.clone()]);
    }
    let [a, b] = &mut ends;
    let packet = || [large.slice(0..748), large.slice(0..748)];
    // The driver reads every outer tag as a customer's.
    for outer in [[0x81, 0], [0x88, 0xa8]] {
        let tags = [outer, [0, 100], [0x81, 0], [0, 7]].concat();
        // The number is of the packet.
        let mut link = header(1, 14 + 4);
        link.splice(12..12, tags);
        b.transmit(&mut vec![frame(&link, packet())]);
        let got = receive(a, 1);
        let got = got.first().expect("the frame arrives");
        assert_eq!(got.frame.len(), 14 + 8 + 1500);
        link[12..14].copy_from_slice(&[0x81, 0]);
        assert!(linear(&frame(&link, packet())) == got.frame.bytes());
    }
}

#[test]
fn the_kernel_is_not_asked_for_frames_of_an_interface_without_a_device() {
    if !alone("the_kernel_is_not_asked_for_frames_of_an_interface_without_a_device") {
        return;
    }
    ip("link add va type veth peer name vb");
    for (given, completed) in [
        ("net_af_xdp0,iface=va", "net_af_xdp0,iface=va,busy_budget=0"),
        (
            "net_af_xdp0,iface=va,busy_budget=64",
            "net_af_xdp0,iface=va,busy_budget=64",
        ),
        ("net_af_xdp0,iface=lo", "net_af_xdp0,iface=lo"),
        ("net_af_xdp0,iface=none", "net_af_xdp0,iface=none"),
        ("net_tap0,iface=va", "net_tap0,iface=va"),
    ] {
        let device = Device::parse(given, 1500).unwrap().for_interface();
        assert_eq!(device.args(), completed);
    }
}
