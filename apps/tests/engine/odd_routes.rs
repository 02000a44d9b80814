//! Routes that lead past the box in one direction, and flows that have a subscriber at either end: raw frames, judged by
//! what leaves each port and by what is kept.

use crate::common::raw::{ACK, RST, SYN, SYN_OPTIONS, Tcp};
use crate::common::{
    ACCESS1, ACCESS2, CORE, Dumb, H, MAC_AT, S, Sim, Way, assert_empty, config, counter, port_mac,
    raw_sim,
};
use apps::engine::{EngineConfig, Occupancy};
use stack::time::Duration;

/// A DSS with a data acknowledgment of four octets and nothing else (RFC 8684 3.3).
const DSS: [u8; 8] = [30, 8, 0x20, 0x01, 0, 0, 0, 1];

/// What left by `at` because `segment` came in by `port`.
fn send(sim: &mut Sim<Dumb>, port: usize, segment: &Tcp, at: usize) -> Vec<Tcp> {
    let before = sim.seen.len();
    sim.inject(port, segment.frame(MAC_AT[port], port_mac(port)));
    sim.idle(Duration::from_millis(20));
    let out = sim.seen[before..].iter();
    out.filter(|s| s.port == at && s.way == Way::FromBox)
        .filter_map(|s| Tcp::parse(&s.frame))
        .collect()
}

/// `segment`, sent into `port`, leaves by `at` as through any router.
fn routed(sim: &mut Sim<Dumb>, port: usize, segment: &Tcp, at: usize) {
    let out = send(sim, port, segment, at);
    let hop = Tcp {
        ttl: segment.ttl - 1,
        ..segment.clone()
    };
    assert_eq!(out, [hop]);
}

/// What the opener of `syn` sends next, once somebody has answered it with number 77,000.
fn third_ack(syn: &Tcp, payload: &[u8]) -> Tcp {
    Tcp {
        seq: syn.seq + 1,
        ack: 77_001,
        flags: ACK,
        options: Vec::new(),
        payload: payload.to_vec(),
        ..syn.clone()
    }
}

/// A SYN of a flow that the box prepares to split, and the ports towards its opener and its answerer.
fn begun(inbound: bool) -> (Sim<Dumb>, Tcp, [usize; 2]) {
    let mut sim = raw_sim(EngineConfig {
        inbound,
        ..config()
    });
    let (syn, ports) = if inbound {
        (Tcp::plain_syn(S, 1000, H), [CORE, ACCESS1])
    } else {
        (Tcp::capable_syn(H, 1000, S), [ACCESS1, CORE])
    };
    assert_eq!(send(&mut sim, ports[0], &syn, ports[1]).len(), 1);
    assert_eq!(counter(&mut sim, "pending"), 1);
    (sim, syn, ports)
}

#[test]
fn a_flow_whose_answer_takes_another_way_is_routed_and_freed_with_the_third_ack() {
    for inbound in [false, true] {
        for first in [&b""[..], b"GET /"] {
            let (mut sim, syn, [near, far]) = begun(inbound);
            let ack = third_ack(&syn, first);
            routed(&mut sim, near, &ack, far);
            assert_eq!(counter(&mut sim, "cut_through_one_way"), 1);
            assert_eq!(counter(&mut sim, "pending"), 0, "freed at once");
            assert_eq!(sim.occupancy().flows, 0);
            // The rest of the connection, also where the other direction comes back to this way.
            let mut data = ack.clone();
            data.payload = b"and more".to_vec();
            routed(&mut sim, near, &data, far);
            let mut greeting = syn.answer(ACK, 77_001);
            greeting.payload = b"220 welcome".to_vec();
            routed(&mut sim, far, &greeting, near);
            let mut again = syn.answer(SYN | ACK, 77_000);
            again.options = SYN_OPTIONS.to_vec();
            routed(&mut sim, far, &again, near);
            assert_empty(&mut sim);
        }
    }
}

#[test]
fn a_flow_of_which_nothing_more_comes_by_is_freed_in_time() {
    for inbound in [false, true] {
        let (mut sim, _, _) = begun(inbound);
        sim.idle(Duration::from_secs(119));
        assert_eq!(counter(&mut sim, "pending"), 1);
        sim.idle(Duration::from_secs(2));
        assert_eq!(sim.occupancy(), Occupancy::default());
        assert_eq!(counter(&mut sim, "pending_expired"), 1);
    }
}

/// A copy of a SYN can be late, and find a box that has been restarted meanwhile.
#[test]
fn multipath_segments_of_a_flow_without_an_answer_are_refused_and_never_passed_on() {
    let (mut sim, syn, [near, far]) = begun(false);
    let mut older = third_ack(&syn, b"older");
    older.seq = syn.seq - 5_000;
    older.options = DSS.to_vec();
    assert!(send(&mut sim, near, &older, far).is_empty());
    assert_eq!(
        counter(&mut sim, "pending"),
        1,
        "that was not about this SYN"
    );
    let mut next = third_ack(&syn, b"next");
    next.options = DSS.to_vec();
    let out = send(&mut sim, near, &next, near);
    assert_eq!((out[0].flags, out[0].seq), (RST, next.ack));
    assert_eq!(out[0].option(30), Some(&[0x80, 1][..]), "MP_TCPRST");
    assert_eq!(counter(&mut sim, "pending"), 0);
    assert_eq!(counter(&mut sim, "mid_stream_reset"), 2);
    let to_server = sim.on(CORE, Way::FromBox);
    let leaked = to_server.filter_map(|seen| Tcp::parse(&seen.frame));
    assert_eq!(leaked.filter(|tcp| tcp.option(30).is_some()).count(), 0);
}

/// The SYN took another way: the server, if it speaks Multipath TCP, has seen the customer's MP_CAPABLE and answers it.
#[test]
fn an_answer_without_its_syn_passes_without_mp_capable_and_leaves_nothing() {
    let mut sim = raw_sim(EngineConfig {
        inbound: true,
        ..config()
    });
    for (near, far, src, dst) in [(CORE, ACCESS1, S, H), (ACCESS1, CORE, H, S)] {
        let mut answer = Tcp::plain_syn(src, 80, dst);
        (answer.flags, answer.ack) = (SYN | ACK, 5);
        let plain = answer.clone();
        answer
            .options
            .extend([30, 12, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        let out = send(&mut sim, near, &answer, far);
        assert_eq!((out.len(), &out[0].options), (1, &plain.options));
        let mut data = third_ack(&plain, b"data");
        data.ack = 5;
        routed(&mut sim, near, &data, far);
    }
    assert_eq!(counter(&mut sim, "stripped_answer"), 2);
    assert_empty(&mut sim);
}

/// Both ends are customers of this box: neither is the Internet, so nothing is split, and no end hears of Multipath TCP.
#[test]
fn a_flow_between_two_subscribers_is_routed_plainly() {
    let mut both = config();
    both.subscribers.push("10.2.0.0/24".parse().unwrap());
    let mut sim = raw_sim(EngineConfig {
        inbound: true,
        ..both
    });
    let syn = Tcp::capable_syn(H, 1000, "10.2.0.2");
    let out = send(&mut sim, ACCESS1, &syn, ACCESS2);
    assert_eq!((out.len(), out[0].option(30)), (1, None));
    assert_eq!((out[0].seq, out[0].option(2)), (syn.seq, syn.option(2)));
    let mut answer = syn.answer(SYN | ACK, 77_000);
    answer.options = SYN_OPTIONS.to_vec();
    routed(&mut sim, ACCESS2, &answer, ACCESS1);
    routed(&mut sim, ACCESS1, &third_ack(&syn, b"hello"), ACCESS2);
    assert_eq!(counter(&mut sim, "bypass_subscriber_to_subscriber"), 1);
    assert_eq!(counter(&mut sim, "pending_opened"), 0);
    assert_empty(&mut sim);
}
