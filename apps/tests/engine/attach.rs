//! How the box hangs on its links: tagged frames, and as a bump in the wire between two routers.

use crate::common::raw::{ACK, Ip, SYN, Tcp, ip_frame};
use crate::common::{
    ACCESS1, ACCESS2, CORE, Dumb, H, HAG2, MAC_AT, S, Sim, Way, config, counter, port_mac, raw_sim,
};
use apps::engine::EngineConfig;
use stack::PortId;
use stack::ip::VlanConfig;
use stack::time::Duration;

/// The tags of two networks, one within the other.
const QINQ: [u8; 8] = [0x88, 0xa8, 0xe0, 100, 0x81, 0, 0, 200];
const DOT1Q: [u8; 4] = [0x81, 0, 0, 7];

fn tagged(frame: &[u8], tags: &[u8]) -> Vec<u8> {
    [&frame[..12], tags, &frame[12..]].concat()
}

fn untagged(frame: &[u8], tags: &[u8]) -> Vec<u8> {
    assert_eq!(&frame[12..12 + tags.len()], tags);
    [&frame[..12], &frame[12 + tags.len()..]].concat()
}

/// Puts `frame` into `port`, and returns what left by `at` since, but for questions for neighbors.
fn frames(sim: &mut Sim<Dumb>, port: usize, frame: Vec<u8>, at: usize) -> Vec<Vec<u8>> {
    let before = sim.seen.len();
    sim.inject(port, frame);
    sim.idle(Duration::from_millis(60));
    let out = sim.seen[before..].iter();
    let out = out.filter(|s| s.port == at && s.way == Way::FromBox);
    out.map(|s| s.frame.clone()).collect()
}

fn only(frames: &[Vec<u8>]) -> Vec<u8> {
    assert_eq!(frames.len(), 1, "{frames:?}");
    frames[0].clone()
}

/// The box between two routers, which speak to each other's stations.
pub(crate) fn bump() -> EngineConfig {
    let mut config = config();
    config.bridge = Some([ACCESS1, CORE].map(|port| PortId(u8::try_from(port).unwrap())));
    config.accept_plain = true;
    // Nothing here may need a route.
    config.net.routes.clear();
    config
}

/// `segment` from the router at `port` to the other.
pub(crate) fn across(port: usize, segment: &Tcp, tags: &[u8]) -> Vec<u8> {
    let other = ACCESS1 + CORE - port;
    tagged(&segment.frame(MAC_AT[port], MAC_AT[other]), tags)
}

#[test]
fn what_is_not_split_crosses_a_bump_in_the_wire_octet_by_octet() {
    let mut sim = raw_sim(bump());
    let (h, s) = (H.parse().unwrap(), S.parse().unwrap());
    let packet = |protocol: u8, ends, ttl| {
        let payload = [[0xab, protocol, 0, 9].as_slice(), &[5; 60]].concat();
        ip_frame(
            MAC_AT[ACCESS1],
            MAC_AT[CORE],
            ends,
            (0x2a, ttl),
            protocol,
            &payload,
        )
    };
    let mut all: Vec<Vec<u8>> = [17, 50, 47, 132, 41]
        .map(|protocol| packet(protocol, (h, s), 1))
        .into();
    // To a group, and from somebody who is no host of anybody's.
    let mut group = packet(17, (h, "239.1.2.3".parse().unwrap()), 4);
    group[..6].copy_from_slice(&[1, 0, 0x5e, 1, 2, 3]);
    all.push(group);
    // Plain TCP of strangers, LLDP, and what is no IP at all.
    let stranger = Tcp::capable_syn("192.0.2.7", 1000, S);
    all.push(stranger.frame(MAC_AT[ACCESS1], MAC_AT[CORE]));
    all.push(
        [
            &[1, 0x80, 0xc2, 0, 0, 0xe][..],
            &MAC_AT[ACCESS1],
            &[0x88, 0xcc],
            &[0; 50],
        ]
        .concat(),
    );
    all.push([&MAC_AT[CORE][..], &MAC_AT[ACCESS1], &[0x12, 0x34], &[9; 50]].concat());
    for frame in all {
        for tags in [&[][..], &DOT1Q, &QINQ] {
            let frame = tagged(&frame, tags);
            let out = only(&frames(&mut sim, ACCESS1, frame.clone(), CORE));
            assert!(out == frame, "{frame:x?} left as {out:x?}");
        }
    }
    let mut back = packet(17, (s, h), 64);
    back[..6].copy_from_slice(&MAC_AT[ACCESS1]);
    back[6..12].copy_from_slice(&MAC_AT[CORE]);
    assert_eq!(only(&frames(&mut sim, CORE, back.clone(), ACCESS1)), back);
}

#[test]
fn a_flow_is_split_in_place_with_the_stations_and_tags_of_its_ends() {
    for tags in [&[][..], &DOT1Q, &QINQ] {
        let mut sim = raw_sim(bump());
        let read = |frame: &[u8], from: usize| {
            let (to, station) = (&frame[..6], &frame[6..12]);
            let other = ACCESS1 + CORE - from;
            assert_eq!((to, station), (&MAC_AT[other][..], &MAC_AT[from][..]));
            Tcp::parse(&untagged(frame, tags)).expect("a segment")
        };
        let syn = Tcp::plain_syn(H, 1000, S);
        let out = only(&frames(
            &mut sim,
            ACCESS1,
            across(ACCESS1, &syn, tags),
            CORE,
        ));
        let asked = read(&out, ACCESS1);
        assert_eq!(asked.ttl, syn.ttl, "no hop");
        let mut answer = asked.answer(SYN | ACK, 77_000);
        answer.options = crate::common::raw::SYN_OPTIONS.to_vec();
        let out = only(&frames(
            &mut sim,
            CORE,
            across(CORE, &answer, tags),
            ACCESS1,
        ));
        let told = read(&out, CORE);
        assert_ne!(told.seq, answer.seq, "our own answer");
        let mut host = told.answer(ACK, syn.seq + 1);
        host.options = told.options[4..16].to_vec();
        host.options.clear();
        host.options.extend([8, 10]);
        host.options.extend(syn.option(8).unwrap()[..4].to_vec());
        host.options.extend(&told.option(8).unwrap()[..4]);
        host.payload = b"in place".to_vec();
        let out = frames(&mut sim, ACCESS1, across(ACCESS1, &host, tags), CORE);
        let data = read(out.last().unwrap(), ACCESS1);
        assert_eq!(data.payload, b"in place");
        assert_eq!(counter(&mut sim, "relay_opened"), 1);
        assert_eq!(counter(&mut sim, "drop_no_route"), 0);
    }
}

#[test]
fn a_bypassed_syn_crosses_without_mp_capable() {
    let mut sim = raw_sim(EngineConfig {
        accept_plain: false,
        limits: apps::engine::Limits {
            pending: 0,
            ..apps::engine::Limits::default()
        },
        ..bump()
    });
    let syn = Tcp::capable_syn(H, 1000, S);
    let out = only(&frames(
        &mut sim,
        ACCESS1,
        across(ACCESS1, &syn, &QINQ),
        CORE,
    ));
    let out = Tcp::parse(&untagged(&out, &QINQ)).unwrap();
    assert_eq!((out.option(30), out.ttl), (None, syn.ttl));
}

#[test]
fn questions_cross_a_bump_and_those_for_our_own_addresses_are_answered_too() {
    let mut sim = raw_sim(bump());
    let ask = |target: [u8; 4]| {
        let mut arp = [
            [0xff; 6].as_slice(),
            &MAC_AT[ACCESS1],
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1],
        ]
        .concat();
        arp.extend(MAC_AT[ACCESS1]);
        arp.extend([10, 1, 0, 2, 0, 0, 0, 0, 0, 0]);
        arp.extend(target);
        arp
    };
    let replies = frames(&mut sim, ACCESS1, ask([10, 99, 0, 2]), ACCESS1);
    assert_eq!(replies[0][20..22], [0, 2]);
    assert_eq!(replies[0][22..28], port_mac(ACCESS1), "{HAG2} is ours");
    // Whoever is on the other side answers for himself.
    let question = ask([10, 1, 0, 77]);
    let crossed = frames(&mut sim, ACCESS1, question.clone(), CORE);
    assert_eq!(only(&crossed), question);
    let ours = sim.on(ACCESS1, Way::FromBox);
    let ours = ours.filter(|s| s.frame[22..28] == port_mac(ACCESS1));
    assert_eq!(ours.count(), 1);
}

#[test]
fn a_tagged_port_speaks_in_its_network_and_hears_nothing_else() {
    for ids in [vec![7], vec![100, 200]] {
        let mut config = config();
        config.net.vlans = [ACCESS1, CORE]
            .map(|port| VlanConfig {
                port: PortId(u8::try_from(port).unwrap()),
                ids: ids.clone(),
            })
            .into();
        let mut tags = if ids.len() == 1 {
            DOT1Q.to_vec()
        } else {
            QINQ.to_vec()
        };
        let mut sim = raw_sim(config);
        sim.links[CORE].mtu += tags.len();
        let syn = Tcp::capable_syn(H, 1000, S);
        let frame = syn.frame(MAC_AT[ACCESS1], port_mac(ACCESS1));
        let question = only(&frames(&mut sim, ACCESS1, tagged(&frame, &tags), CORE));
        // What we send has no priority.
        tags[2] = 0;
        assert_eq!(untagged(&question, &tags)[20..22], [0, 1], "an ARP request");
        let mut answer = [
            port_mac(CORE).as_slice(),
            &MAC_AT[CORE],
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        ]
        .concat();
        answer.extend(MAC_AT[CORE]);
        answer.extend([10, 9, 0, 2]);
        answer.extend(port_mac(CORE));
        answer.extend([10, 9, 0, 1]);
        let out = only(&frames(&mut sim, CORE, tagged(&answer, &tags), CORE));
        let out = Tcp::parse(&untagged(&out, &tags)).unwrap();
        assert_eq!((out.ttl, out.option(30)), (syn.ttl - 1, None));
        let udp = ip_frame(
            MAC_AT[ACCESS1],
            port_mac(ACCESS1),
            (H.parse().unwrap(), S.parse().unwrap()),
            (0, 9),
            17,
            &[3; 1480],
        );
        let out = only(&frames(&mut sim, ACCESS1, tagged(&udp, &tags), CORE));
        assert_eq!(
            Ip::parse(&untagged(&out, &tags)).unwrap().payload,
            [3; 1480],
            "tags are beside the MTU"
        );
        for others in [&[][..], &[0x81, 0, 0, 9]] {
            assert!(frames(&mut sim, ACCESS1, tagged(&frame, others), CORE).is_empty());
        }
        assert_eq!(counter(&mut sim, "drop_vlan"), 2);
        // The port beside it is not tagged.
        let untouched = Tcp::plain_syn("10.2.0.9", 5, S).frame(MAC_AT[ACCESS2], port_mac(ACCESS2));
        only(&frames(&mut sim, ACCESS2, untouched, CORE));
    }
}
