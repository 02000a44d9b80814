//! What crosses the box and comes back: datagrams, errors, flows that nobody bonds.

use super::*;

#[test]
fn datagrams_and_pings_cross_and_come_back() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    for host in [H1, H2] {
        let port = ask(&mut sim, host, 5_000);
        let answer = udp(53, port, b"answer", (FAR, PUBLIC));
        let (at, src, dst, l4) = one(&put(&mut sim, WAN, (FAR, PUBLIC), 17, &answer));
        assert_eq!((at, src.as_str(), dst.as_str()), (LAN, FAR, host));
        assert_eq!(l4, udp(53, 5_000, b"answer", (FAR, host)));
        let sent = put(&mut sim, LAN, (host, FAR), 1, &icmp(8, 0, 7, b"ping"));
        let (_, src, _, l4) = one(&sent);
        assert_eq!(src, PUBLIC);
        let reply = icmp(0, 0, port_at(&l4, 4), b"ping");
        let (_, _, dst, l4) = one(&put(&mut sim, WAN, (FAR, PUBLIC), 1, &reply));
        assert_eq!((dst.as_str(), l4), (host, icmp(0, 0, 7, b"ping")));
    }
    // The box itself answers at its address.
    let (_, src, _, l4) = one(&put(
        &mut sim,
        WAN,
        (FAR, PUBLIC),
        1,
        &icmp(8, 0, 9, b"who"),
    ));
    assert_eq!((src.as_str(), l4), (PUBLIC, icmp(0, 0, 9, b"who")));
    // Nobody asked for this.
    let stray = udp(53, 9, b"stray", (FAR, PUBLIC));
    assert_eq!(put(&mut sim, WAN, (FAR, PUBLIC), 17, &stray), []);
    assert_eq!(counter(&mut sim, "nat_unsolicited"), 1);
}

#[test]
fn a_traceroute_hears_of_every_hop() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let question = udp(5_000, 33_434, b"", (H1, FAR));
    let dying = ip_frame(
        [2, 0, 0, 0, 0x33, 3],
        MACS[LAN],
        (ip(H1), ip(FAR)),
        (0, 1),
        17,
        &question,
    );
    let (at, src, dst, l4) = one(&put_frame(&mut sim, LAN, dying.clone()));
    assert_eq!(
        (at, src.as_str(), dst.as_str(), l4[0]),
        (LAN, "10.11.0.1", H1, 11)
    );
    assert_eq!(l4[8..], dying[14..], "quoted as it was sent");
    // One hop on, and at the end: what they quote is what left; what the host hears is what it sent.
    for (from, kind, code) in [(ROUTER, 11, 0), (FAR, 3, 3)] {
        let sent = put(&mut sim, LAN, (H1, FAR), 17, &question);
        let quoted = sent[0].1[14..].to_vec();
        let error = icmp(kind, code, 0, &quoted);
        let error = [&error[..4], &[0; 4], &error[8..]].concat();
        let error = resummed(error);
        let (at, src, dst, l4) = one(&put(&mut sim, WAN, (from, PUBLIC), 1, &error));
        assert_eq!((at, src.as_str(), dst.as_str()), (LAN, from, H1));
        let inner = Ip::parse(&[&[0; 12][..], &[8, 0], &l4[8..]].concat()).map(|inner| {
            (
                inner.src.to_string(),
                inner.dst.to_string(),
                inner.payload.to_vec(),
            )
        });
        assert_eq!(inner, Some((H1.into(), FAR.into(), question.clone())));
    }
}

#[test]
fn a_flow_that_nobody_bonds_goes_on_translated() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let syn = Tcp::plain_syn(H1, 5_000, FAR);
    let (_, sent) = put_tcp(&mut sim, LAN, &syn).remove(0);
    let sent = Tcp::parse(&sent).unwrap();
    // REQUIREMENTS P7-2: the public address, the host's number and options, and MP_CAPABLE.
    assert_eq!(
        (sent.src, sent.src_port, sent.seq),
        (ip(PUBLIC), 5_000, syn.seq)
    );
    assert_eq!(sent.option(30).map(|option| option[0]), Some(MP_CAPABLE[2]));
    let mut answer = sent.answer(SYN | ACK, 77);
    answer.options = crate::common::raw::SYN_OPTIONS.to_vec();
    let (port, frame) = put_tcp(&mut sim, WAN, &answer).remove(0);
    let heard = Tcp::parse(&frame).unwrap();
    assert_eq!(port, LAN);
    assert_eq!((heard.dst, heard.dst_port, heard.seq), (ip(H1), 5_000, 77));
    assert_eq!(counter(&mut sim, "cut_through"), 1);
    assert_eq!(sim.occupancy().flows, 0);
    for (from, segment) in [
        (LAN, heard.answer(ACK, syn.seq + 1)),
        (WAN, sent.answer(ACK, 78)),
    ] {
        let (port, frame) = put_tcp(&mut sim, from, &segment).remove(0);
        let passed = Tcp::parse(&frame).unwrap();
        assert_eq!(port, 1 - from);
        assert!([passed.src, passed.dst].contains(&ip(if port == WAN { PUBLIC } else { H1 })));
    }
    // A reset by the server of a flow in set-up, and an error about its SYN, reach the host as its own.
    let syn = Tcp::plain_syn(H2, 5_000, FAR);
    let sent = Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1).unwrap();
    assert_ne!(sent.src_port, 5_000, "taken");
    let quoted = sim
        .seen
        .iter()
        .find(|s| s.port == WAN && s.way == Way::FromBox)
        .unwrap()
        .frame[14..]
        .to_vec();
    let error = resummed([&[3, 0, 0, 0, 0, 0, 0, 0][..], &quoted].concat());
    let (_, _, dst, l4) = one(&put(&mut sim, WAN, (ROUTER, PUBLIC), 1, &error));
    assert_eq!(dst, H2);
    assert_eq!(
        (&l4[20..24], port_at(&l4, 28)),
        (&[10, 11, 0, 11][..], 5_000)
    );
    let again = Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1).unwrap();
    assert_eq!(again.src_port, sent.src_port);
    let refusal = Tcp {
        ack: syn.seq + 1,
        ..again.answer(RST | ACK, 0)
    };
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &refusal)[0].1).unwrap();
    assert_eq!((heard.dst, heard.dst_port), (ip(H2), 5_000));
}

#[test]
fn hosts_meet_at_the_public_address() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let port = ask(&mut sim, H2, 5_000);
    let hello = udp(4_000, port, b"hello", (H1, PUBLIC));
    let (at, src, dst, l4) = one(&put(&mut sim, LAN, (H1, PUBLIC), 17, &hello));
    assert_eq!((at, src.as_str(), dst.as_str()), (LAN, PUBLIC, H2));
    assert_eq!(l4, udp(4_000, 5_000, b"hello", (PUBLIC, H2)));
    let back = udp(5_000, 4_000, b"back", (H2, PUBLIC));
    let (_, src, dst, l4) = one(&put(&mut sim, LAN, (H2, PUBLIC), 17, &back));
    assert_eq!((src.as_str(), dst.as_str()), (PUBLIC, H1));
    assert_eq!(l4, udp(port, 4_000, b"back", (PUBLIC, H1)));
    // A static forward from inside: the whole handshake.
    let syn = Tcp::new(H2, 6_000, PUBLIC, 8080, SYN);
    let heard = Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1).unwrap();
    assert_eq!(
        (heard.src, heard.dst, heard.dst_port),
        (ip(PUBLIC), ip(H1), 80)
    );
    let sent = put_tcp(&mut sim, LAN, &heard.answer(SYN | ACK, 5));
    let answer = Tcp::parse(&sent[0].1).unwrap();
    assert_eq!(
        (answer.src, answer.src_port, answer.dst),
        (ip(PUBLIC), 8080, ip(H2))
    );
    assert_eq!(answer.dst_port, 6_000);
}

#[test]
fn a_flow_that_is_passed_on_survives_a_restart() {
    let mut sim = alone(config(Some(Inbound::Drop)));
    let syn = Tcp::plain_syn(H1, 5_000, FAR);
    let sent = Tcp::parse(&put_tcp(&mut sim, LAN, &syn)[0].1).unwrap();
    put_tcp(&mut sim, WAN, &sent.answer(SYN | ACK, 77));
    sim.replace_box(alone(config(Some(Inbound::Drop))));
    // The server speaks first: nothing may end its connection.
    let from_server = sent.answer(ACK, 78);
    assert_eq!(put_tcp(&mut sim, WAN, &from_server), []);
    let from_host = Tcp {
        seq: syn.seq + 1,
        ack: 78,
        flags: ACK,
        options: vec![],
        ..syn
    };
    let passed = Tcp::parse(&put_tcp(&mut sim, LAN, &from_host)[0].1).unwrap();
    assert_eq!((passed.src, passed.src_port), (ip(PUBLIC), 5_000));
    let heard = Tcp::parse(&put_tcp(&mut sim, WAN, &from_server)[0].1).unwrap();
    assert_eq!((heard.dst, heard.dst_port), (ip(H1), 5_000));
}
