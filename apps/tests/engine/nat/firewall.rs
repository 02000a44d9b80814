//! What comes unasked.

use super::*;

#[test]
fn an_unsolicited_syn_is_refused_after_six_seconds_and_a_forward_is_not() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let syn = Tcp::plain_syn(FAR, 9_000, PUBLIC);
    assert_eq!(put_tcp(&mut sim, WAN, &syn), []);
    sim.seen.clear();
    sim.idle(Duration::from_millis(5_900));
    assert_eq!(sim.on(WAN, Way::FromBox).count(), 0);
    sim.idle(Duration::from_millis(200));
    let refusals: Vec<_> = sim
        .on(WAN, Way::FromBox)
        .filter(|s| s.frame[12..14] == [8, 0])
        .collect();
    assert_eq!(refusals.len(), 1);
    assert_eq!(refusals[0].frame[34..36], [3, 13]);
    let forwarded = Tcp {
        dst_port: 8080,
        ..syn
    };
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &forwarded)[0].1).unwrap();
    assert_eq!(
        (heard.dst, heard.dst_port, heard.src),
        (ip(H1), 80, ip(FAR))
    );
    let answer = Tcp::parse(&put_tcp(&mut sim, LAN, &heard.answer(SYN | ACK, 5))[0].1).unwrap();
    assert_eq!((answer.src, answer.src_port), (ip(PUBLIC), 8080));
}

#[test]
fn ipv6_hosts_keep_their_addresses_and_are_not_reached_unasked() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let into = udp(53, 5_000, b"unasked", (S6, H6));
    assert_eq!(put(&mut sim, WAN, (S6, H6), 17, &into), []);
    assert_eq!(counter(&mut sim, "firewall_dropped"), 1);
    let out = udp(5_000, 53, b"asked", (H6, S6));
    let (at, src, _, l4) = one(&put(&mut sim, LAN, (H6, S6), 17, &out));
    assert_eq!((at, src.as_str(), l4), (WAN, H6, out));
    let (_, _, dst, l4) = one(&put(&mut sim, WAN, (S6, H6), 17, &into));
    assert_eq!((dst.as_str(), l4), (H6, into));
    // A SYN with or without MP_CAPABLE is none of the host's.
    for syn in [Tcp::plain_syn(S6, 9, H6), Tcp::capable_syn(S6, 10, H6)] {
        assert_eq!(put_tcp(&mut sim, WAN, &syn), []);
    }
    assert_eq!(counter(&mut sim, "firewall_dropped"), 3);
    // Sources from the other side.
    let spoofed = udp(1, 2, b"", ("fd00:11::77", H6));
    assert_eq!(put(&mut sim, WAN, ("fd00:11::77", H6), 17, &spoofed), []);
    let foreign = udp(1, 2, b"", ("2001:db8::9", S6));
    assert_eq!(put(&mut sim, LAN, ("2001:db8::9", S6), 17, &foreign), []);
    assert_eq!(counter(&mut sim, "firewall_source"), 2);
}

#[test]
fn a_rule_lets_in_what_it_names() {
    let mut config = config(Some(Inbound::Drop));
    config.firewall = Some(FirewallSettings {
        inbound: Inbound::Drop,
        allow: vec![Allow {
            protocol: Some(Protocol::Tcp),
            to: "fd00:11::10/128".parse().unwrap(),
            port: Some(80),
        }],
    });
    let mut sim = alone(config);
    let syn = Tcp::plain_syn(S6, 9, H6);
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &syn)[0].1).unwrap();
    assert_eq!(heard.dst, ip(H6));
    let answer = heard.answer(SYN | ACK, 5);
    assert_eq!(put_tcp(&mut sim, LAN, &answer).len(), 1);
    let other = Tcp {
        dst_port: 81,
        ..syn
    };
    assert_eq!(put_tcp(&mut sim, WAN, &other), []);
}

/// Random packets at every port: nothing panics, nothing leaves with a host's address, nothing grows without bound.
#[test]
fn noise_from_all_sides_is_survived_and_no_inner_address_leaves() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let mut rng = stack::Rng::from_u64(11);
    let addresses = [
        H1,
        H2,
        PUBLIC,
        FAR,
        ROUTER,
        "10.11.0.1",
        "10.2.0.2",
        "10.99.0.2",
    ];
    for round in 0..4_000_u32 {
        let pick = |rng: &mut stack::Rng| addresses[rng.below(8) as usize];
        let (src, dst) = (pick(&mut rng), pick(&mut rng));
        let port = rng.below(3) as usize;
        let protocol = [1_u8, 6, 17, 47, 50, 132][rng.below(6) as usize];
        let mut l4 = vec![0; rng.below(90) as usize];
        rng.fill(&mut l4);
        if protocol == 1 && l4.len() > 50 {
            // An error that quotes something.
            l4[0] = [3, 11, 12][rng.below(3) as usize];
            let inner = ip_frame(
                [2; 6],
                [2; 6],
                (ip(pick(&mut rng)), ip(pick(&mut rng))),
                (0, 9),
                17,
                &l4[36..],
            );
            l4.truncate(8);
            l4.extend(&inner[14..]);
            l4 = resummed(l4);
        } else if rng.below(2) == 0 && l4.len() > 3 {
            l4[0] = 0;
            l4[2] = 0;
        }
        let mut frame = ip_frame(
            [2; 6],
            MACS[port],
            (ip(src), ip(dst)),
            (0, 64),
            protocol,
            &l4,
        );
        if round % 5 == 0 {
            let field = u16::try_from(rng.below(0x4000)).unwrap();
            frame[20..22].copy_from_slice(&field.to_be_bytes());
            frame[24..26].fill(0);
            let sum = checksum(&[&frame[14..34]]);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        sim.inject(port, frame);
        if round % 50 == 0 {
            sim.idle(Duration::from_millis(100));
        }
    }
    sim.idle(Duration::from_secs(10));
    let inner: Vec<_> = sim
        .seen
        .iter()
        .filter(|seen| seen.way == Way::FromBox && seen.port != LAN && seen.frame[12..14] == [8, 0])
        .filter(|seen| seen.frame[26..28] == [10, 11])
        .collect();
    assert_eq!(
        inner.len(),
        0,
        "{:02x?}",
        inner.first().map(|seen| &seen.frame)
    );
    assert_eq!(
        sim.on(SECOND, Way::FromBox)
            .filter(|s| s.frame[12..14] == [8, 0] && s.frame[23] != 1)
            .count(),
        0
    );
    sim.idle(Duration::from_secs(10_000));
    assert_eq!(sim.occupancy().mappings, 1);
}
