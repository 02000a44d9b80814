//! The gate: what passes a router that translates and guards.

use super::*;

#[test]
fn a_mapping_is_the_same_towards_everybody_and_open_to_everybody() {
    for firewall in [OPEN, CLOSED] {
        let mut bed = Bed::new(firewall, vec![]);
        // RFC 4787 REQ-1, REQ-3: preserved where free.
        assert_eq!(bed.port_of(H1, 5_000, S), 5_000);
        assert_eq!(bed.port_of(H1, 5_000, "203.0.113.99"), 5_000);
        let other = bed.port_of(H2, 5_000, S);
        assert_ne!(other, 5_000);
        // REQ-8: whoever sends.
        assert_eq!(
            bed.back(&udp("203.0.113.50", ANY, (9, 5_000))),
            to_host(H1, 5_000)
        );
        assert_eq!(bed.back(&udp(S, ANY, (53, other))), to_host(H2, 5_000));
        let nobody = bed.back(&udp(S, ANY, (53, 6_000)));
        let expected = if firewall.is_some() {
            Passage::Drop(Counter::NatUnsolicited)
        } else {
            Passage::Own
        };
        assert_eq!(nobody, expected);
    }
}

#[test]
fn only_what_a_host_sends_keeps_a_mapping_of_udp() {
    let mut bed = Bed::new(CLOSED, vec![]);
    bed.port_of(H1, 5_000, S);
    for _ in 0..5 {
        bed.wait(50);
        assert_eq!(bed.back(&udp(S, ANY, (53, 5_000))), to_host(H1, 5_000));
    }
    bed.wait(51);
    assert_eq!(
        bed.back(&udp(S, ANY, (53, 5_000))),
        Passage::Drop(Counter::NatUnsolicited)
    );
    assert_eq!(bed.apps.get(Counter::NatExpired), 1);
}

#[test]
fn queries_are_mapped_by_identifier_and_errors_by_what_they_quote() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let echo = |src, dst, kind, id: u16| {
        let [a, b] = id.to_be_bytes();
        l3(src, dst, 1, &[kind, 0, 0, 0, a, b, 0, 1])
    };
    let first = bed.out(&echo(H1, S, 8, 7));
    assert!(matches!(
        first,
        Passage::Pass(Translation {
            src: Some(Endpoint { port: 7, .. }),
            ..
        })
    ));
    let Passage::Pass(Translation {
        src: Some(second), ..
    }) = bed.out(&echo(H2, S, 8, 7))
    else {
        panic!("mapped");
    };
    assert_ne!(second.port, 7);
    assert_eq!(bed.back(&echo(S, ANY, 0, second.port)), to_host(H2, 7));
    assert_eq!(bed.back(&echo(S, ANY, 0, 7)), to_host(H1, 7));
    // An error about each protocol finds who sent it (RFC 5508 REQ-4).
    let datagram = bed.port_of(H2, 5_000, S);
    let about = udp(ANY, S, (datagram, 53));
    assert_eq!(
        bed.back(&error("203.0.113.1", ANY, &about)),
        to_host(H2, 5_000)
    );
    let about = echo(ANY, S, 8, second.port);
    assert_eq!(bed.back(&error("203.0.113.1", ANY, &about)), to_host(H2, 7));
    let about = udp(ANY, S, (6_000, 53));
    let stray = Passage::Drop(Counter::NatStrayError);
    assert_eq!(bed.back(&error(S, ANY, &about)), stray);
    // And one of a host about what it got names the public address (REQ-5).
    let about = udp(S, H2, (53, 5_000));
    let told = bed.out(&error(H2, S, &about));
    let port = datagram;
    assert_eq!(
        told,
        Passage::Pass(Translation {
            src: Some(Endpoint { addr: PUBLIC, port }),
            dst: None
        })
    );
    assert_eq!(bed.out(&error(H2, S, &udp(S, H2, (53, 5_001)))), stray);
    bed.wait(61);
    assert_eq!(
        bed.back(&echo(S, ANY, 0, 7)),
        Passage::Drop(Counter::NatUnsolicited)
    );
}

#[test]
fn hosts_meet_at_their_public_address() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let port = bed.port_of(H2, 5_000, S);
    // RFC 4787 REQ-9: the sender's public address and port, not its own.
    let both = |src: u16, dst: Endpoint| {
        Passage::Pass(Translation {
            src: Some(Endpoint {
                addr: PUBLIC,
                port: src,
            }),
            dst: Some(dst),
        })
    };
    let h2 = Endpoint {
        addr: Ipv4Addr::new(192, 168, 1, 11),
        port: 5_000,
    };
    assert_eq!(bed.out(&udp(H1, ANY, (4_000, port))), both(4_000, h2));
    let h1 = Endpoint {
        addr: Ipv4Addr::new(192, 168, 1, 10),
        port: 4_000,
    };
    assert_eq!(bed.out(&udp(H2, ANY, (5_000, 4_000))), both(port, h1));
    // To a static forward, and to a port that is nobody's.
    let web = Endpoint {
        addr: Ipv4Addr::new(192, 168, 1, 10),
        port: 80,
    };
    assert_eq!(
        bed.out(&tcp(H2, ANY, (4_001, 8080), Flags::SYN)),
        both(4_001, web)
    );
    assert_eq!(
        bed.out(&udp(H1, ANY, (4_000, 9))),
        Passage::Drop(Counter::NatUnsolicited)
    );
    // By their own addresses they are neighbors.
    assert_eq!(
        bed.out(&udp(H1, H2, (1, 2))),
        Passage::Pass(Translation::NONE)
    );
}

#[test]
fn a_forward_leads_to_its_host_and_its_answers_leave_from_there() {
    let mut bed = Bed::new(CLOSED, vec![]);
    assert_eq!(
        bed.back(&tcp(S, ANY, (9, 8080), Flags::SYN)),
        to_host(H1, 80)
    );
    let answer = bed.out(&tcp(H1, S, (80, 9), Flags::SYN.with(Flags::ACK)));
    let src = Some(Endpoint {
        addr: PUBLIC,
        port: 8080,
    });
    assert_eq!(answer, Passage::Pass(Translation { src, dst: None }));
    bed.wait(100_000);
    assert_eq!(
        bed.back(&tcp(S, ANY, (9, 8080), Flags::SYN)),
        to_host(H1, 80)
    );
    // Nobody else gets the port.
    assert_ne!(bed.port_of(H2, 8080, S), 8080);
}

#[test]
fn a_host_is_never_reached_by_its_own_address_nor_leaves_with_it() {
    let mut bed = Bed::new(OPEN, vec![]);
    let direct = Passage::Drop(Counter::NatDirect);
    assert_eq!(bed.back(&udp(S, H1, (53, 5_000))), direct);
    let rest: [(u8, &[u8]); 4] = [
        (47, b"gre?"),
        (1, &[5, 0, 0, 0, 0, 0, 0, 0]),
        (132, b"sctp"),
        (2, b"igmp"),
    ];
    for (protocol, l4) in rest {
        let Passage::Pass(to) = bed.out(&l3(H1, S, protocol, l4)) else {
            continue;
        };
        assert_eq!(to.src.map(|src| src.addr), Some(PUBLIC), "{protocol}");
    }
    assert_eq!(
        bed.out(&l3(H1, S, 6, &[0; 12])),
        Passage::Drop(Counter::NatUnread)
    );
}

#[test]
fn a_protocol_without_ports_is_told_apart_by_the_other_end() {
    let mut bed = Bed::new(CLOSED, vec![]);
    assert!(matches!(bed.out(&l3(H1, S, 47, b"gre?")), Passage::Pass(_)));
    assert_eq!(bed.back(&l3(S, ANY, 47, b"gre!")), to_host(H1, 0));
    assert_eq!(
        bed.out(&l3(H2, S, 47, b"gre?")),
        Passage::Prohibit(Counter::NatBusy)
    );
    assert!(matches!(
        bed.out(&l3(H2, "203.0.113.9", 47, b"gre?")),
        Passage::Pass(_)
    ));
    assert_eq!(
        bed.back(&l3("203.0.113.9", ANY, 47, b"gre!")),
        to_host(H2, 0)
    );
    assert_eq!(
        bed.back(&l3("203.0.113.8", ANY, 47, b"gre!")),
        Passage::Drop(Counter::NatUnsolicited)
    );
}

#[test]
fn fragments_follow_the_first_whenever_they_come() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let first = fragment(udp(H1, S, (5_000, 53)), 0x2000);
    let later = fragment(l3(H1, S, 17, b"the rest"), 1);
    let early = bed.out(&later);
    let Passage::Early(id) = early else {
        panic!("{early:?}");
    };
    let packet = bed.read(LAN, &later);
    bed.gate.keep_early(bed.now, &mut bed.apps, id, packet);
    let went = bed.out(&first);
    assert!(matches!(
        went,
        Passage::Pass(Translation { src: Some(_), .. })
    ));
    assert!(bed.gate.early(id).is_some());
    assert!(bed.gate.early(id).is_none());
    assert_eq!(bed.out(&later), went);
    // Fragments that nobody can place are bounded, and dropped in the end.
    for n in 0..100_u16 {
        let mut stray = fragment(l3(S, ANY, 17, b"the rest"), 1);
        stray[4..6].copy_from_slice(&n.to_be_bytes());
        let stray = fragment(stray, 1);
        let Passage::Early(id) = bed.back(&stray) else {
            panic!("early");
        };
        let packet = bed.read(WAN, &stray);
        bed.gate.keep_early(bed.now, &mut bed.apps, id, packet);
    }
    assert_eq!(bed.apps.get(Counter::FragmentLost), 36);
    bed.wait(6);
    assert_eq!(bed.apps.get(Counter::FragmentLost), 100);
}

#[test]
fn an_unsolicited_syn_waits_six_seconds_for_its_counterpart() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let syn = tcp(S, ANY, (80, 5_000), Flags::SYN);
    let crossed = tcp(S, ANY, (81, 5_001), Flags::SYN);
    for l3 in [&syn, &crossed, &crossed] {
        assert_eq!(bed.back(l3), Passage::Unsolicited(Counter::NatUnsolicited));
        let packet = bed.read(WAN, l3);
        bed.gate.keep_unsolicited(bed.now, packet);
    }
    // A host opens the same connection at the same time: RFC 5382 REQ-4 a.
    assert!(matches!(
        bed.out(&tcp(H1, S, (5_001, 81), Flags::SYN)),
        Passage::Pass(_)
    ));
    bed.now = bed.now + Duration::from_millis(5_999);
    assert!(bed.gate.next_refusal(bed.now).is_none());
    bed.now = bed.now + Duration::from_millis(1);
    assert_eq!(bed.gate.next_deadline(), Some(bed.now));
    assert!(bed.gate.next_refusal(bed.now).is_some());
    assert!(bed.gate.next_refusal(bed.now).is_none());
    // What is no SYN is dropped in silence: the host may be about to speak, after we began anew.
    assert_eq!(
        bed.back(&tcp(S, ANY, (80, 5_000), Flags::ACK)),
        Passage::Drop(Counter::NatUnsolicited)
    );
}

#[test]
fn of_unsolicited_syns_so_many_are_answered() {
    let mut bed = Bed::new(CLOSED, vec![]);
    for n in 0..100 {
        let syn = tcp(S, ANY, (80, 5_000 + n), Flags::SYN);
        assert_eq!(
            bed.back(&syn),
            Passage::Unsolicited(Counter::NatUnsolicited)
        );
        let packet = bed.read(WAN, &syn);
        bed.gate.keep_unsolicited(bed.now, packet);
    }
    bed.now = bed.now + Duration::from_secs(6);
    let refused = core::iter::from_fn(|| bed.gate.next_refusal(bed.now));
    assert_eq!(refused.count(), 64);
}

#[test]
fn ipv6_hosts_get_what_they_asked_for() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let dropped = Passage::Drop(Counter::FirewallDropped);
    let pass = Passage::Pass(Translation::NONE);
    assert_eq!(bed.back(&udp(S6, H6, (53, 5_000))), dropped);
    assert_eq!(bed.back(&tcp(S6, H6, (80, 5_000), Flags::ACK)), dropped);
    let syn = tcp(S6, H6, (80, 5_000), Flags::SYN);
    assert_eq!(
        bed.back(&syn),
        Passage::Unsolicited(Counter::FirewallDropped)
    );
    assert_eq!(bed.out(&udp(H6, S6, (5_000, 53))), pass);
    assert_eq!(bed.back(&udp(S6, H6, (53, 5_000))), pass);
    assert_eq!(
        bed.back(&udp("2001:db8:77::1", H6, (1, 5_000))),
        pass,
        "REC-17"
    );
    assert_eq!(bed.back(&udp(S6, H6, (53, 5_001))), dropped);
    assert_eq!(bed.out(&tcp(H6, S6, (5_000, 80), Flags::SYN)), pass);
    assert_eq!(
        bed.back(&tcp(S6, H6, (80, 5_000), Flags::SYN.with(Flags::ACK))),
        pass
    );
    // REC-10, REC-18: errors about what was sent, and no others.
    let sent = udp(H6, S6, (5_000, 53));
    assert_eq!(bed.back(&error("2001:db8:5::5", H6, &sent)), pass);
    let never = udp(H6, S6, (5_001, 53));
    assert_eq!(bed.back(&error("2001:db8:5::5", H6, &never)), dropped);
    // RFC 4890 4.3.1: echo. REC-21, 22, 24, 26: what secures itself.
    assert_eq!(bed.back(&l3(S6, H6, 58, &[128, 0, 0, 0, 0, 1, 0, 1])), pass);
    for protocol in [50, 51, 139] {
        assert_eq!(bed.back(&l3(S6, H6, protocol, b"secured")), pass);
    }
    assert_eq!(bed.back(&udp(S6, H6, (500, 500))), pass);
    assert_eq!(bed.back(&l3(S6, H6, 47, b"gre?")), dropped);
    assert_eq!(bed.out(&l3(H6, S6, 47, b"gre!")), pass);
    assert_eq!(bed.back(&l3(S6, H6, 47, b"gre?")), pass);
}

#[test]
fn sources_stay_on_their_side_and_routing_headers_out() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let foreign = Passage::Drop(Counter::FirewallSource);
    assert_eq!(
        bed.out(&udp("2001:db8:77::1", S6, (1, 2))),
        foreign,
        "REC-5"
    );
    assert_eq!(bed.out(&udp("10.0.0.1", S, (1, 2))), foreign, "REC-5");
    assert_eq!(
        bed.back(&udp("2001:db8:1::99", H6, (1, 2))),
        foreign,
        "REC-6"
    );
    let routed = [&[17, 0, 0, 0, 0, 0, 0, 0][..], &[0, 1, 0, 2, 0, 8, 0, 0]].concat();
    let routed = l3(H6, S6, 43, &routed);
    assert_eq!(
        bed.out(&routed),
        Passage::Drop(Counter::FirewallRouting),
        "REC-4"
    );
}

#[test]
fn rules_and_transparent_mode_let_in() {
    let web = Allow {
        protocol: Some(Protocol::Tcp),
        to: "2001:db8:1::10/128".parse().unwrap(),
        port: Some(80),
    };
    let mut bed = Bed::new(CLOSED, vec![web]);
    let pass = Passage::Pass(Translation::NONE);
    assert_eq!(bed.back(&tcp(S6, H6, (9, 80), Flags::SYN)), pass);
    assert_ne!(bed.back(&tcp(S6, H6, (9, 81), Flags::SYN)), pass);
    assert_ne!(
        bed.back(&tcp(S6, "2001:db8:1::11", (9, 80), Flags::SYN)),
        pass
    );
    assert_ne!(bed.back(&udp(S6, H6, (9, 80))), pass);
    // REC-49.
    let mut bed = Bed::new(Some(Inbound::Accept), vec![]);
    assert_eq!(bed.back(&udp(S6, H6, (9, 80))), pass);
    assert_eq!(bed.back(&tcp(S6, H6, (9, 81), Flags::SYN)), pass);
    assert_eq!(bed.gate.table().len(), 1, "nothing but the forward");
}

#[test]
fn a_relayed_flow_keeps_its_way_through_the_firewall() {
    let mut bed = Bed::new(CLOSED, vec![]);
    let pass = Passage::Pass(Translation::NONE);
    assert_eq!(bed.out(&tcp(H6, S6, (5_000, 80), Flags::SYN)), pass);
    let host = (ip(H6), 5_000);
    bed.gate.hold(host);
    for _ in 0..10 {
        bed.wait(1_000);
    }
    bed.gate.release(Some(bed.now), host);
    bed.wait(239);
    // The box in the network has begun anew: what the server sends reaches the host, which says that it knows nothing.
    let late = tcp(S6, H6, (80, 5_000), Flags::ACK);
    assert_eq!(bed.back(&late), pass);
    assert_eq!(bed.out(&tcp(H6, S6, (5_000, 80), Flags::RST)), pass);
    bed.wait(500);
    bed.wait(500);
    assert_eq!(bed.back(&late), Passage::Drop(Counter::FirewallDropped));
}
