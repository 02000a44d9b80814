//! ARP and NDP messages to us, and our answers.

use super::*;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, Icmpv6Packet, Icmpv6Repr, NdiscNeighborFlags, NdiscRepr,
    RawHardwareAddress,
};

pub(super) const BROADCAST: [u8; 6] = [0xff; 6];

pub(super) fn arp(
    port: PortId,
    to: [u8; 6],
    operation: ArpOperation,
    sender: ([u8; 6], &str),
    target: &str,
) -> Vec<u8> {
    let (IpAddr::V4(source), IpAddr::V4(target)) = (ip(sender.1), ip(target)) else {
        panic!("ARP is for IPv4");
    };
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: EthernetAddress(sender.0),
        source_protocol_addr: source,
        target_hardware_addr: EthernetAddress(mac(port)),
        target_protocol_addr: target,
    };
    let mut l3 = vec![0; repr.buffer_len()];
    repr.emit(&mut ArpPacket::new_unchecked(&mut l3[..]));
    ethernet(to, sender.0, EthernetProtocol::Arp, &l3)
}

pub(super) fn ndp(
    port: PortId,
    station: [u8; 6],
    (src, dst): (&str, &str),
    ttl: u8,
    repr: NdiscRepr<'_>,
) -> Vec<u8> {
    let (IpAddr::V6(from), IpAddr::V6(to)) = (ip(src), ip(dst)) else {
        panic!("NDP is for IPv6");
    };
    let repr = Icmpv6Repr::Ndisc(repr);
    let mut l4 = vec![0; repr.buffer_len()];
    let mut message = Icmpv6Packet::new_unchecked(&mut l4[..]);
    repr.emit(&from, &to, &mut message, &ChecksumCapabilities::default());
    let mut frame = packet((port, station), (src, dst), 58, ttl, &l4);
    if let [0xff, .., a, b, c, d] = to.octets() {
        frame[..6].copy_from_slice(&[0x33, 0x33, a, b, c, d]);
    }
    frame
}

pub(super) fn solicit(target: &str, lladdr: Option<[u8; 6]>) -> NdiscRepr<'static> {
    let IpAddr::V6(target_addr) = ip(target) else {
        panic!("NDP is for IPv6");
    };
    NdiscRepr::NeighborSolicit {
        target_addr,
        lladdr: lladdr.map(|mac| RawHardwareAddress::from_bytes(&mac)),
    }
}

pub(super) fn advertise(
    target: &str,
    flags: NdiscNeighborFlags,
    mac: [u8; 6],
) -> NdiscRepr<'static> {
    let IpAddr::V6(target_addr) = ip(target) else {
        panic!("NDP is for IPv6");
    };
    NdiscRepr::NeighborAdvert {
        flags,
        target_addr,
        lladdr: Some(RawHardwareAddress::from_bytes(&mac)),
    }
}

/// The advertisement in `frame`, as smoltcp reads it: flags, target, Ethernet address.
fn read_advert(frame: &[u8]) -> (NdiscNeighborFlags, Ipv6Addr, Vec<u8>) {
    let (src, dst, l4) = l4_of(frame);
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) else {
        panic!("IPv6");
    };
    let message = Icmpv6Packet::new_checked(&l4[..]).unwrap();
    match Icmpv6Repr::parse(&src, &dst, &message, &ChecksumCapabilities::default()).unwrap() {
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
            flags,
            target_addr,
            lladdr,
        }) => (flags, target_addr, lladdr.unwrap().as_bytes().to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn arp_is_answered_for_our_addresses_on_every_port_and_for_no_other() {
    let rows = [
        (ACCESS, "10.1.0.2", "10.1.0.1", true),
        (ACCESS, "10.1.0.2", "10.99.0.2", true),
        (SECOND, "10.2.0.2", "10.99.0.2", true),
        (ACCESS, "0.0.0.0", "10.1.0.1", true),
        (ACCESS, "10.1.0.2", "10.1.0.3", false),
        (ACCESS, "10.1.0.2", "10.9.0.2", false),
        (ACCESS, "192.0.2.1", "10.1.0.1", true),
        (ACCESS, "224.0.0.1", "10.1.0.1", false),
    ];
    for (port, sender, target, answered) in rows {
        let mut bed = Bed::new();
        bed.input(
            port,
            arp(
                port,
                BROADCAST,
                ArpOperation::Request,
                (CLIENT_MAC, sender),
                target,
            ),
        );
        let sent = bed.sent();
        assert_eq!(
            sent.len(),
            usize::from(answered),
            "{sender} asks for {target}"
        );
        for (out_port, frame) in sent {
            assert_eq!((out_port, &frame[..6]), (port, &CLIENT_MAC[..]));
            let repr = ArpRepr::parse(&ArpPacket::new_checked(&frame[14..]).unwrap()).unwrap();
            let ArpRepr::EthernetIpv4 {
                operation,
                source_hardware_addr,
                source_protocol_addr,
                target_hardware_addr,
                target_protocol_addr,
                ..
            } = repr
            else {
                panic!("{repr:?}");
            };
            assert_eq!(operation, ArpOperation::Reply);
            assert_eq!(
                (source_hardware_addr.0, IpAddr::V4(source_protocol_addr)),
                (mac(port), ip(target))
            );
            assert_eq!(
                (target_hardware_addr.0, IpAddr::V4(target_protocol_addr)),
                (CLIENT_MAC, ip(sender))
            );
        }
    }
}

#[test]
fn ndp_is_answered_for_our_addresses_on_every_port_and_for_no_other() {
    let own_link_local = "fe80::ff:fe00:bb00";
    let rows = [
        ("fd00:1::2", "ff02::1:ff00:1", "fd00:1::1", true),
        ("fe80::99", "ff02::1:ff00:1", "fd00:1::1", true),
        ("fd00:1::2", "fd00:1::1", "fd00:1::1", true),
        ("fd00:1::2", "ff02::1:ff00:2", "fd00:99::2", true),
        ("fd00:1::2", "ff02::1:ff00:bb00", own_link_local, true),
        ("fd00:1::2", "ff02::1:ff00:3", "fd00:1::3", false),
        ("fd00:1::2", "ff02::1:ff00:9", "fd00:1::1", false),
        ("2001:db8::1", "ff02::1:ff00:1", "fd00:1::1", true),
        ("ff02::5", "ff02::1:ff00:1", "fd00:1::1", false),
    ];
    for (src, dst, target, answered) in rows {
        let mut bed = Bed::new();
        bed.input(
            ACCESS,
            ndp(
                ACCESS,
                CLIENT_MAC,
                (src, dst),
                255,
                solicit(target, Some(CLIENT_MAC)),
            ),
        );
        let sent = bed.sent();
        assert_eq!(
            sent.len(),
            usize::from(answered),
            "{src} asks {dst} for {target}: {:?}",
            bed.counted()
        );
        for (port, frame) in sent {
            assert_eq!(
                (port, &frame[..6], frame[21]),
                (ACCESS, &CLIENT_MAC[..], 255)
            );
            let (from, to, _) = l4_of(&frame);
            assert_eq!((from, to), (ip(target), ip(src)));
            let (flags, addr, lladdr) = read_advert(&frame);
            assert_eq!(
                flags,
                NdiscNeighborFlags::ROUTER
                    | NdiscNeighborFlags::SOLICITED
                    | NdiscNeighborFlags::OVERRIDE
            );
            assert_eq!(
                (IpAddr::V6(addr), &lladdr[..]),
                (ip(target), &mac(ACCESS)[..])
            );
        }
    }
}

#[test]
fn duplicate_address_detection_of_our_address_is_answered_to_all_nodes() {
    let mut bed = Bed::new();
    bed.input(
        ACCESS,
        ndp(
            ACCESS,
            CLIENT_MAC,
            ("::", "ff02::1:ff00:1"),
            255,
            solicit("fd00:1::1", None),
        ),
    );
    let (_, frame) = bed.sent_one();
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(l4_of(&frame).1, ip("ff02::1"));
    assert!(
        !read_advert(&frame)
            .0
            .contains(NdiscNeighborFlags::SOLICITED)
    );
}

#[test]
fn ndp_that_passed_a_router_is_refused() {
    let mut bed = Bed::new();
    bed.input(
        ACCESS,
        ndp(
            ACCESS,
            CLIENT_MAC,
            ("fd00:1::2", "fd00:1::1"),
            254,
            solicit("fd00:1::1", None),
        ),
    );
    assert_eq!(bed.sent(), []);
    assert_eq!(bed.counted(), [(Counter::DropMalformed, 1)]);
}

#[test]
fn solicitations_with_several_options_are_read() {
    // A nonce (RFC 3971) before the link-layer address.
    let mut frame = ndp(
        ACCESS,
        CLIENT_MAC,
        ("fd00:1::2", "fd00:1::1"),
        255,
        solicit("fd00:1::1", Some(SERVER_MAC)),
    );
    frame.splice(14 + 40 + 24..14 + 40 + 24, [14, 1, 9, 9, 9, 9, 9, 9]);
    frame[19] += 8;
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip("fd00:1::2"), ip("fd00:1::1")) else {
        panic!("IPv6");
    };
    Icmpv6Packet::new_unchecked(&mut frame[54..]).fill_checksum(&src, &dst);
    let mut bed = Bed::new();
    bed.input(ACCESS, frame);
    assert_eq!(bed.sent_one().1[..6], SERVER_MAC);
}

#[test]
fn whoever_claims_our_address_is_counted_and_not_believed() {
    let mut bed = Bed::new();
    bed.input(
        ACCESS,
        arp(
            ACCESS,
            BROADCAST,
            ArpOperation::Request,
            (CLIENT_MAC, "10.1.0.1"),
            "10.1.0.1",
        ),
    );
    bed.input(
        ACCESS,
        ndp(
            ACCESS,
            CLIENT_MAC,
            ("fd00:1::2", "ff02::1"),
            255,
            advertise("fd00:1::1", NdiscNeighborFlags::OVERRIDE, CLIENT_MAC),
        ),
    );
    let counted = [(Counter::NeighborConflict, 2), (Counter::NeighborTaken, 2)];
    assert_eq!(bed.counted(), counted);
    assert_eq!(bed.sent(), []);
}
