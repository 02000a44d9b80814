//! One space of ports for all hosts and protocols.

use super::*;

#[test]
fn a_thousand_hosts_share_sixty_thousand_ports() {
    let mut config = config(Some(Inbound::Drop));
    config.mapping_limits = MappingLimits {
        mappings: 70_000,
        mappings_per_host: 60,
    };
    let mut sim = alone(config);
    // So that both neighbors are known.
    ask(&mut sim, H1, 1);
    sim.record = false;
    let mut left: BTreeMap<u16, (String, u16)> = BTreeMap::new();
    for n in 0..60_u16 {
        for host in 0..1_000_u16 {
            let [a, b] = (256 + host).to_be_bytes();
            let host = format!("10.11.{a}.{b}");
            let addrs = (host.as_str(), FAR);
            let datagram = udp(40_000 + n, 53, &[], addrs);
            sim.inject(
                LAN,
                ip_frame(
                    [2; 6],
                    MACS[LAN],
                    (ip(addrs.0), ip(FAR)),
                    (0, 64),
                    17,
                    &datagram,
                ),
            );
        }
        sim.record = true;
        sim.seen.clear();
        sim.idle(Duration::from_millis(20));
        sim.record = false;
        // In the order that they were sent.
        let sent = sim
            .seen
            .iter()
            .filter(|s| s.port == WAN && s.way == Way::FromBox && s.frame[23] == 17);
        for (host, seen) in (0_u16..).zip(sent) {
            let [a, b] = (256 + host).to_be_bytes();
            let packet = Ip::parse(&seen.frame).unwrap();
            assert_eq!(packet.src.to_string(), PUBLIC);
            let taken = left.insert(
                port_at(packet.payload, 0),
                (format!("10.11.{a}.{b}"), 40_000 + n),
            );
            assert_eq!(taken, None, "one port for two");
        }
    }
    assert_eq!(left.len(), 60_000);
    assert_eq!(sim.occupancy().mappings, 60_002);
    // Each of them is answered: a few of all.
    sim.record = true;
    for (port, (host, own)) in left.iter().step_by(997) {
        let answer = udp(53, *port, b"answer", (FAR, PUBLIC));
        let (_, _, dst, l4) = one(&put(&mut sim, WAN, (FAR, PUBLIC), 17, &answer));
        assert_eq!((&dst, port_at(&l4, 2)), (host, *own));
    }
    // One host's limit is its own: it is told, and others go on.
    let addrs = ("10.11.1.0", FAR);
    let sent = put(&mut sim, LAN, addrs, 17, &udp(9_000, 53, b"", addrs));
    let (at, _, dst, l4) = one(&sent);
    assert_eq!(
        (at, dst.as_str(), &l4[..2]),
        (LAN, "10.11.1.0", &[3, 13][..])
    );
    assert_eq!(counter(&mut sim, "nat_host_full"), 1);
    ask(&mut sim, H1, 9_000);
    // And all of it is forgotten.
    sim.idle(Duration::from_secs(700));
    assert_eq!(sim.occupancy().mappings, 1);
}

#[test]
fn tcp_flows_of_many_hosts_never_meet_on_a_port_with_datagrams() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let mut ports = BTreeMap::new();
    for n in 0..200_u16 {
        let host = format!("10.11.2.{}", n % 50);
        let own = 5_000 + n / 50;
        let port = if n % 3 == 0 {
            ask(&mut sim, &host, own)
        } else {
            let syn = Tcp::plain_syn(&host, own, FAR);
            Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1)
                .unwrap()
                .src_port
        };
        let owner = ports.entry(port).or_insert_with(|| host.clone());
        assert_eq!(*owner, host, "a port of two hosts");
    }
    assert!(ports.len() >= 200);
}
