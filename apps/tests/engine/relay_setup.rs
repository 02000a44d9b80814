//! Policy, bypasses and the two-step set-up, asked with raw frames and judged by what leaves each port.

use crate::common::raw::{ACK, Ip, MP_CAPABLE, RST, SYN, SYN_OPTIONS, Tcp, ip_frame};
use crate::common::script::{only, send};
use crate::common::{
    ACCESS1, ACCESS2, CLIENT_MAC, CORE, Dumb, H, HAG2, MAC_AT, S, SERVER_MAC, Sim, Way,
    assert_empty, config, counter, port_mac, raw_sim,
};
use apps::control::Command;
use apps::engine::{EngineConfig, Limits, PerSubscriber};
use stack::time::Duration;

/// The one segment that left by the core port when `segment` came in by `port`.
fn passes(sim: &mut Sim<Dumb>, port: usize, segment: &Tcp) -> Tcp {
    only(&send(sim, port, segment, CORE)).clone()
}

#[test]
fn a_split_syn_leaves_verbatim_without_mp_capable_and_with_room_for_the_options() {
    let mut sim = raw_sim(config());
    let syn = Tcp::capable_syn(H, 1000, S);
    let out = passes(&mut sim, ACCESS1, &syn);
    assert_eq!(out.option(30), None);
    assert_eq!(
        out.option(2),
        Some(&1432u16.to_be_bytes()[..]),
        "1460 less 28"
    );
    assert_eq!((out.seq, out.wnd, out.ttl), (syn.seq, syn.wnd, syn.ttl - 1));
    for kind in [3, 4, 8] {
        assert_eq!(out.option(kind), syn.option(kind), "option {kind}");
    }
    assert_eq!(counter(&mut sim, "pending_opened"), 1);
    assert_empty(&mut sim);
}

#[test]
fn m17_checksums_that_either_asks_for_have_room_too() {
    // 30 octets, padded to 32.
    for (ours, theirs) in [(true, false), (false, true)] {
        let mut sim = raw_sim(EngineConfig {
            checksum: ours,
            ..config()
        });
        let mut syn = Tcp::capable_syn(H, 1000, S);
        let flags = syn.options.len() - 1;
        syn.options[flags] |= if theirs { 0x80 } else { 0 };
        let out = passes(&mut sim, ACCESS1, &syn);
        assert_eq!(out.option(2), Some(&1428u16.to_be_bytes()[..]));
    }
}

#[test]
fn the_client_is_answered_with_what_both_offered_and_nothing_before() {
    let mut sim = raw_sim(config());
    let syn = Tcp::capable_syn(H, 1000, S);
    let forwarded = passes(&mut sim, ACCESS1, &syn);
    assert_eq!(
        sim.on(ACCESS1, Way::FromBox)
            .filter(|s| Tcp::parse(&s.frame).is_some())
            .count(),
        0
    );
    let mut answer = forwarded.answer(SYN | ACK, 77_000);
    // The server takes SACK and a window scale of 9, and no timestamps.
    answer.options = vec![2, 4, 5, 0x78, 4, 2, 1, 1, 3, 3, 9, 0];
    let out = send(&mut sim, CORE, &answer, ACCESS1);
    let out = only(&out);
    assert_eq!(out.flags, SYN | ACK);
    assert_eq!(out.ack, syn.seq + 1);
    assert_ne!(out.seq, answer.seq);
    assert_eq!(out.option(2), Some(&[5, 0x78][..]));
    assert_eq!(out.option(3), Some(&[9][..]));
    assert_eq!(out.option(4), Some(&[][..]));
    assert_eq!(
        out.option(8),
        None,
        "timestamps that the server did not take"
    );
    let capable = out.option(30).expect("MP_CAPABLE");
    assert_eq!(
        (capable.len(), capable[0], capable[1] & 0x21),
        (10, 0x01, 0x21),
        "flags C and H"
    );
    // Nothing has gone to the server since its answer.
    let acks = sim
        .on(CORE, Way::FromBox)
        .filter_map(|s| Tcp::parse(&s.frame));
    assert_eq!(acks.filter(|tcp| tcp.has(ACK)).count(), 0);
}

#[test]
fn every_bypass_strips_mp_capable_and_counts_its_reason() {
    let none = Limits::default();
    let limited = |limits| EngineConfig { limits, ..config() };
    let zero_pending = Limits { pending: 0, ..none };
    let zero_relays = Limits { relays: 0, ..none };
    let zero_each = Limits {
        per_subscriber: PerSubscriber {
            pending: 0,
            ..none.per_subscriber
        },
        ..none
    };
    let to_server = Tcp::capable_syn(H, 1000, S);
    let mut signed = to_server.clone();
    signed.options = [&[19, 18][..], &[7; 16], &[30, 4, 1, 1]].concat();
    let mut early = to_server.clone();
    early.payload = b"GET".to_vec();
    let mut old = to_server.clone();
    old.options = [&SYN_OPTIONS[..], &[30, 12, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    // Version 1 with the key that only version 0 has in its SYN.
    let mut garbled = old.clone();
    garbled.options[SYN_OPTIONS.len() + 2] = 1;
    let cases = [
        (
            "bypass_limit_pending",
            limited(zero_pending),
            ACCESS1,
            to_server.clone(),
        ),
        (
            "bypass_limit_relays",
            limited(zero_relays),
            ACCESS1,
            to_server.clone(),
        ),
        (
            "bypass_limit_subscriber",
            limited(zero_each),
            ACCESS1,
            to_server.clone(),
        ),
        ("bypass_authenticated", config(), ACCESS1, signed),
        ("bypass_data_on_syn", config(), ACCESS1, early),
        ("bypass_version", config(), ACCESS1, old),
        ("bypass_malformed", config(), ACCESS1, garbled),
        ("bypass_wrong_port", config(), CORE, to_server),
    ];
    for (name, config, port, syn) in cases {
        let mut sim = raw_sim(config);
        let out = passes(&mut sim, port, &syn);
        assert_eq!(out.option(30), None, "{name}");
        assert_eq!((out.seq, &out.payload), (syn.seq, &syn.payload), "{name}");
        assert_eq!(counter(&mut sim, name), 1, "{name}");
        assert_eq!(counter(&mut sim, "pending"), 0, "{name}");
    }
}

#[test]
fn while_draining_new_flows_pass_stripped() {
    let mut sim = raw_sim(config());
    sim.command(Command::Drain);
    let out = passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S));
    assert_eq!(out.option(30), None);
    assert_eq!(out.option(2), Some(&[5, 0xb4][..]), "the MSS stays");
    assert_eq!(counter(&mut sim, "bypass_draining"), 1);
}

#[test]
fn inbound_and_between_subscribers_mp_capable_is_stripped() {
    let mut sim = raw_sim(config());
    let inbound = Tcp::capable_syn(S, 1000, H);
    let out = send(&mut sim, CORE, &inbound, ACCESS1);
    assert_eq!(only(&out).option(30), None);
    assert_eq!(counter(&mut sim, "bypass_inbound"), 1);
    let across = Tcp::capable_syn(H, 1000, "10.1.0.9");
    let out = send(&mut sim, ACCESS1, &across, ACCESS1);
    assert_eq!(only(&out).option(30), None);
    assert_eq!(counter(&mut sim, "bypass_subscriber_to_subscriber"), 1);
}

#[test]
fn strangers_mp_capable_passes_untouched() {
    let mut sim = raw_sim(config());
    let syn = Tcp::capable_syn("10.2.0.2", 1000, S);
    let out = passes(&mut sim, ACCESS2, &syn);
    assert_eq!(out.options, syn.options);
    assert_eq!(counter(&mut sim, "bypass_not_subscriber"), 1);
}

#[test]
fn a_servers_mp_capable_towards_a_subscriber_is_stripped() {
    let mut sim = raw_sim(config());
    let syn = Tcp::plain_syn(H, 1000, S);
    let forwarded = passes(&mut sim, ACCESS1, &syn);
    let mut answer = forwarded.answer(SYN | ACK, 5);
    answer.options = [&SYN_OPTIONS[..], &[30, 12, 1, 1, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let out = send(&mut sim, CORE, &answer, ACCESS1);
    assert_eq!(only(&out).option(30), None);
    assert_eq!(only(&out).seq, 5, "the flow is not ours");
    assert_eq!(counter(&mut sim, "stripped_answer"), 1);
}

#[test]
fn t6_each_repeated_syn_is_forwarded_once_and_none_is_invented() {
    let mut sim = raw_sim(config());
    let syn = Tcp::capable_syn(H, 1000, S);
    for _ in 0..3 {
        passes(&mut sim, ACCESS1, &syn);
        sim.idle(Duration::from_secs(1));
    }
    let syns = sim
        .on(CORE, Way::FromBox)
        .filter_map(|s| Tcp::parse(&s.frame));
    assert_eq!(syns.count(), 3);
    assert_eq!(counter(&mut sim, "pending_syn_forwarded"), 2);
    assert_eq!(counter(&mut sim, "pending"), 1);
    assert_empty(&mut sim);
}

#[test]
fn a_plain_retry_is_the_same_flows_fallback_and_cut_through() {
    let mut sim = raw_sim(config());
    passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S));
    let plain = Tcp::plain_syn(H, 1000, S);
    let out = passes(&mut sim, ACCESS1, &plain);
    assert_eq!(out.options, plain.options);
    assert_eq!(counter(&mut sim, "mpc_plain_retry"), 1);
    assert_eq!(counter(&mut sim, "pending"), 0);
    let mut answer = out.answer(SYN | ACK, 4711);
    answer.options = SYN_OPTIONS.to_vec();
    let out = send(&mut sim, CORE, &answer, ACCESS1);
    assert_eq!(
        (only(&out).seq, only(&out).option(30)),
        (4711, None),
        "the server's own answer"
    );
}

#[test]
fn a_plain_retry_after_the_answer_gets_that_answer_without_mp_capable() {
    let mut sim = raw_sim(config());
    let forwarded = passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S));
    let mut answer = forwarded.answer(SYN | ACK, 77_000);
    answer.options = SYN_OPTIONS.to_vec();
    let first = send(&mut sim, CORE, &answer, ACCESS1);
    let again = send(&mut sim, ACCESS1, &Tcp::plain_syn(H, 1000, S), ACCESS1);
    assert_eq!(only(&again).seq, only(&first).seq);
    assert_eq!(only(&again).option(30), None);
    assert_eq!(counter(&mut sim, "mpc_plain_retry"), 1);
    assert_empty(&mut sim);
}

#[test]
fn a_refusal_after_our_answer_is_renumbered() {
    let mut sim = raw_sim(config());
    let forwarded = passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S));
    let answer = forwarded.answer(SYN | ACK, 77_000);
    let ours = only(&send(&mut sim, CORE, &answer, ACCESS1)).clone();
    let mut reset = forwarded.answer(RST | ACK, 77_001);
    reset.ack = forwarded.seq + 1;
    let out = send(&mut sim, CORE, &reset, ACCESS1);
    assert!(only(&out).has(RST));
    assert_eq!(only(&out).seq, ours.seq + 1);
    assert_eq!(counter(&mut sim, "pending_refused"), 1);
    assert_empty(&mut sim);
}

#[test]
fn an_answer_to_something_else_is_passed_on_for_the_client_to_judge() {
    let mut sim = raw_sim(config());
    let forwarded = passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S));
    let mut stale = forwarded.answer(ACK, 99);
    stale.ack = 1234;
    let out = send(&mut sim, CORE, &stale, ACCESS1);
    assert_eq!((only(&out).seq, only(&out).ack), (99, 1234));
    assert_eq!(counter(&mut sim, "pending"), 1);
    let mut reset = Tcp::new(H, 1000, S, 80, RST);
    reset.seq = 1234;
    assert_eq!(passes(&mut sim, ACCESS1, &reset).seq, 1234);
    assert_eq!(counter(&mut sim, "pending"), 1, "the client goes on");
}

/// RFC 7413: who sends data in its SYN, with a cookie or a request for one, speaks with the server about it: none is lost, and
/// what is lost of MP_CAPABLE costs nothing but the bond.
#[test]
fn t17_data_in_a_syn_reaches_the_server_and_is_not_split() {
    let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
    let request = [34, 2, 1, 1];
    for (port, fast_open, data) in [
        (1000, &cookie[..], &b"GET / HTTP/1.0"[..]),
        (1001, &request, b""),
        (1002, &[], b"T/TCP"),
    ] {
        let mut sim = raw_sim(config());
        let mut syn = Tcp::capable_syn(H, port, S);
        syn.options = [&SYN_OPTIONS[..], fast_open, &MP_CAPABLE].concat();
        syn.payload = data.to_vec();
        let out = passes(&mut sim, ACCESS1, &syn);
        assert_eq!((out.flags, out.seq), (SYN, syn.seq));
        assert_eq!(out.payload, data);
        assert_eq!(out.option(34), syn.option(34));
        assert_eq!(out.option(30), None);
        assert_eq!(counter(&mut sim, "bypass_data_on_syn"), 1);
        // The server takes the data at once, and the client gets that answer.
        let mut answer = syn.answer(SYN | ACK, 77_000);
        answer.payload = b"200".to_vec();
        let out = send(&mut sim, CORE, &answer, ACCESS1);
        assert_eq!((only(&out).ack, only(&out).seq), (answer.ack, 77_000));
        assert_eq!(only(&out).payload, b"200");
        assert_empty(&mut sim);
    }
}

/// Text in a SYN+ACK of a flow that is split is not taken: the server's stack sends it again, as none was acknowledged.
#[test]
fn t17_data_in_a_syn_ack_comes_again_and_is_not_lost() {
    let mut sim = raw_sim(config());
    let syn = Tcp::plain_syn(H, 1000, S);
    let mut capable = Tcp::capable_syn(H, 1000, S);
    capable.seq = syn.seq;
    let forwarded = passes(&mut sim, ACCESS1, &capable);
    let mut answer = forwarded.answer(SYN | ACK, 77_000);
    answer.payload = b"early".to_vec();
    let out = send(&mut sim, CORE, &answer, ACCESS1);
    assert!(only(&out).payload.is_empty());
    let mut third = only(&out).answer(ACK, syn.seq + 1);
    third.options = Vec::new();
    let out = send(&mut sim, ACCESS1, &third, CORE);
    let acks: Vec<_> = out.iter().map(|tcp| (tcp.flags, tcp.ack)).collect();
    assert_eq!(acks, [(ACK, 77_001)], "the SYN, and no octet of the text");
    let mut again = forwarded.answer(ACK, 77_001);
    again.payload = b"early".to_vec();
    let out = send(&mut sim, CORE, &again, ACCESS1);
    let texts: Vec<_> = out.iter().map(|tcp| &tcp.payload[..]).collect();
    assert_eq!(texts, [b"early"]);
}

/// RFC 9293 3.5, figure 7: both ends open at once, and the box, which knows neither end's numbers yet, steps aside.
#[test]
fn t4_a_simultaneous_open_of_both_ends_passes_unsplit() {
    let mut sim = raw_sim(config());
    let syn = Tcp::capable_syn(H, 1000, S);
    passes(&mut sim, ACCESS1, &syn);
    let mut other = Tcp::plain_syn(S, 80, H);
    (other.dst_port, other.seq) = (1000, 77_000);
    let out = send(&mut sim, CORE, &other, ACCESS1);
    assert_eq!((only(&out).flags, only(&out).seq), (SYN, 77_000));
    assert_eq!(only(&out).options, other.options);
    let mut answer = other.answer(SYN | ACK, syn.seq);
    answer.options = SYN_OPTIONS.to_vec();
    let out = passes(&mut sim, ACCESS1, &answer);
    assert_eq!((out.flags, out.seq, out.ack), (SYN | ACK, syn.seq, 77_001));
    let mut answer = syn.answer(SYN | ACK, 77_000);
    answer.options = SYN_OPTIONS.to_vec();
    let out = send(&mut sim, CORE, &answer, ACCESS1);
    assert_eq!((only(&out).flags, only(&out).ack), (SYN | ACK, syn.seq + 1));
    let mut data = Tcp::new(H, 1000, S, 80, ACK);
    (data.seq, data.ack, data.payload) = (syn.seq + 1, 77_001, b"hello".to_vec());
    assert_eq!(passes(&mut sim, ACCESS1, &data).payload, b"hello");
    assert_eq!(counter(&mut sim, "pending"), 0);
    assert_empty(&mut sim);
}

#[test]
fn a_client_that_gives_up_takes_its_pending_flow_along() {
    let mut sim = raw_sim(config());
    let syn = Tcp::capable_syn(H, 1000, S);
    passes(&mut sim, ACCESS1, &syn);
    let mut reset = Tcp::new(H, 1000, S, 80, RST);
    reset.seq = syn.seq + 1;
    assert!(passes(&mut sim, ACCESS1, &reset).has(RST));
    assert_eq!(counter(&mut sim, "pending"), 0);
    assert_eq!(counter(&mut sim, "pending_client_reset"), 1);
    // And after the answer: the server learns of it by a reset with the number that it expects.
    let forwarded = passes(&mut sim, ACCESS1, &syn);
    send(&mut sim, CORE, &forwarded.answer(SYN | ACK, 5), ACCESS1);
    let out = passes(&mut sim, ACCESS1, &reset);
    assert_eq!((out.flags, out.seq), (RST, syn.seq + 1));
    assert_empty(&mut sim);
}

#[test]
fn a_new_syn_on_the_tuple_of_a_pending_flow_begins_anew() {
    let mut sim = raw_sim(config());
    passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S));
    let mut other = Tcp::capable_syn(H, 1000, S);
    other.seq = 42;
    assert_eq!(passes(&mut sim, ACCESS1, &other).seq, 42);
    assert_eq!(counter(&mut sim, "pending"), 1);
    assert_eq!(counter(&mut sim, "pending_opened"), 2);
    assert_empty(&mut sim);
}

#[test]
fn t6_pending_flows_are_bounded_in_total_and_per_subscriber_and_the_rest_is_forwarded() {
    let limits = Limits {
        pending: 30,
        per_subscriber: PerSubscriber {
            pending: 20,
            ..PerSubscriber::default()
        },
        ..Limits::default()
    };
    let mut sim = raw_sim(EngineConfig { limits, ..config() });
    for n in 0..100u16 {
        let from = if n % 2 == 0 { H } else { "10.1.0.3" };
        let out = passes(&mut sim, ACCESS1, &Tcp::capable_syn(from, 1000 + n, S));
        assert_eq!(out.option(30), None);
    }
    assert_eq!(counter(&mut sim, "pending"), 30);
    assert_eq!(counter(&mut sim, "bypass_limit_pending"), 70);
    assert_empty(&mut sim);
    for n in 0..50u16 {
        passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 3000 + n, S));
    }
    assert_eq!(counter(&mut sim, "pending"), 20);
    assert_eq!(counter(&mut sim, "bypass_limit_subscriber"), 30);
    assert_empty(&mut sim);
}

#[test]
fn pending_flows_count_as_the_relays_that_they_may_become() {
    let limits = Limits {
        relays: 3,
        ..Limits::default()
    };
    let mut sim = raw_sim(EngineConfig { limits, ..config() });
    for n in 0..5 {
        passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000 + n, S));
    }
    assert_eq!(counter(&mut sim, "pending"), 3);
    assert_eq!(counter(&mut sim, "bypass_limit_relays"), 2);
    assert_empty(&mut sim);
}

#[test]
fn a_pending_flow_lives_on_from_its_last_syn() {
    let mut sim = raw_sim(config());
    for _ in 0..3 {
        passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S));
        sim.idle(Duration::from_secs(100));
        assert_eq!(counter(&mut sim, "pending"), 1);
    }
    sim.idle(Duration::from_secs(21));
    assert_eq!(counter(&mut sim, "pending"), 0);
    assert_eq!(counter(&mut sim, "pending_expired"), 1);
}

/// An ICMP destination-unreachable from a router towards the client, quoting `quoted`.
fn unreachable(code: u8, quoted: &Tcp) -> Vec<u8> {
    let packet = quoted.frame(SERVER_MAC, port_mac(CORE))[14..].to_vec();
    let mut icmp = vec![3, code, 0, 0, 0, 0, 0, 0];
    icmp.extend(&packet[..28.min(packet.len())]);
    let sum = crate::common::raw::checksum(&[&icmp]);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let ends = ("10.9.0.9".parse().unwrap(), H.parse().unwrap());
    ip_frame(SERVER_MAC, port_mac(CORE), ends, (0, 64), 1, &icmp)
}

#[test]
fn t15_an_unreachable_in_set_up_reaches_the_client_and_frees_the_flow() {
    let mut sim = raw_sim(config());
    let forwarded = passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S));
    let mut forged = forwarded.clone();
    forged.seq += 1;
    sim.inject(CORE, unreachable(1, &forged));
    sim.idle(Duration::from_millis(10));
    assert_eq!(
        counter(&mut sim, "icmp_stray"),
        1,
        "another number is not ours"
    );
    assert_eq!(counter(&mut sim, "pending"), 1);
    let error = unreachable(1, &forwarded);
    sim.inject(CORE, error.clone());
    sim.idle(Duration::from_millis(10));
    let last = sim.on(ACCESS1, Way::FromBox).last().unwrap();
    let (out, original) = (Ip::parse(&last.frame).unwrap(), Ip::parse(&error).unwrap());
    assert_eq!((out.protocol, out.payload), (1, original.payload));
    assert_eq!(counter(&mut sim, "pending"), 0);
    assert_eq!(counter(&mut sim, "pending_unreachable"), 1);
}

#[test]
fn what_is_not_tcp_passes_untouched_but_for_ttl_and_ethernet_addresses() {
    let ends = (H.parse().unwrap(), S.parse().unwrap());
    for protocol in [17, 1, 47, 50, 132] {
        let payload = crate::common::pattern(300, u64::from(protocol));
        // UDP and ICMP in transit: their checksums are the hosts' business.
        let frame = ip_frame(
            CLIENT_MAC,
            port_mac(ACCESS1),
            ends,
            (0xb8, 17),
            protocol,
            &payload,
        );
        forwarded_alike(&frame);
    }
    let mut fragment = ip_frame(CLIENT_MAC, port_mac(ACCESS1), ends, (0, 64), 17, &[7; 64]);
    fragment[20..22].copy_from_slice(&[0x20, 0x08]);
    fragment[24..26].copy_from_slice(&[0, 0]);
    let sum = crate::common::raw::checksum(&[&fragment[14..34]]);
    fragment[24..26].copy_from_slice(&sum.to_be_bytes());
    forwarded_alike(&fragment);
}

fn forwarded_alike(frame: &[u8]) {
    let mut sim = raw_sim(config());
    sim.inject(ACCESS1, frame.to_vec());
    sim.idle(Duration::from_millis(10));
    let ip = |s: &&crate::common::sim::Seen| s.frame[12..14] == [8, 0];
    let out = sim
        .on(CORE, Way::FromBox)
        .find(ip)
        .expect("forwarded")
        .frame
        .clone();
    let mut want = frame.to_vec();
    want[..6].copy_from_slice(&SERVER_MAC);
    want[6..12].copy_from_slice(&port_mac(CORE));
    want[22] -= 1;
    want[24..26].copy_from_slice(&[0, 0]);
    let sum = crate::common::raw::checksum(&[&want[14..34]]);
    want[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(out, want);
    assert_eq!(counter(&mut sim, "forwarded"), 1);
}

#[test]
fn plain_tcp_without_state_is_forwarded_and_mptcp_mid_stream_reset() {
    let mut sim = raw_sim(config());
    let mut segment = Tcp::new(H, 1000, S, 80, ACK);
    segment.payload = b"data".to_vec();
    assert_eq!(passes(&mut sim, ACCESS1, &segment).payload, b"data");
    // A DSS: the box split this flow in a former life.
    segment.options = vec![30, 8, 0x20, 0x01, 0, 0, 0, 1];
    segment.ack = 991;
    let out = send(&mut sim, ACCESS1, &segment, ACCESS1);
    assert_eq!((only(&out).flags & RST, only(&out).seq), (RST, 991));
    assert_eq!(
        only(&out).option(30),
        Some(&[0x80, 1][..]),
        "MP_TCPRST, reason 1"
    );
    assert_eq!(counter(&mut sim, "mid_stream_reset"), 1);
    segment.flags = RST;
    assert!(send(&mut sim, ACCESS1, &segment, CORE).is_empty());
    assert_eq!(counter(&mut sim, "mid_stream_dropped"), 1);
}

#[test]
fn own_addresses_refuse_what_is_no_valid_join() {
    let mut sim = raw_sim(config());
    let mut join = Tcp::plain_syn("10.2.0.2", 2000, HAG2);
    join.options = [&SYN_OPTIONS[..], &[30, 12, 0x10, 3, 1, 2, 3, 4, 5, 6, 7, 8]].concat();
    let out = send(&mut sim, ACCESS2, &join, ACCESS2);
    assert!(only(&out).has(RST), "unknown token");
    // RFC 8684 3.2: the reset says that the error is one of MPTCP.
    assert_eq!(only(&out).option(30), Some(&[0x80, 1][..]), "MP_TCPRST");
    assert_eq!(counter(&mut sim, "join_no_token"), 1);
    let plain = Tcp::plain_syn("10.2.0.2", 2001, HAG2);
    assert!(only(&send(&mut sim, ACCESS2, &plain, ACCESS2)).has(RST));
    let stray = Tcp::new("10.2.0.2", 2002, HAG2, 80, ACK);
    assert!(only(&send(&mut sim, ACCESS2, &stray, ACCESS2)).has(RST));
    assert_eq!(counter(&mut sim, "not_ours_reset"), 2);
    // A subscriber's MP_JOIN towards a server: no server may see it.
    let mut astray = Tcp::plain_syn(H, 2003, S);
    astray.options = join.options;
    assert!(send(&mut sim, ACCESS1, &astray, CORE).is_empty());
    assert_eq!(counter(&mut sim, "join_no_token"), 2);
}

/// What is no segment to us passes untouched, as through any router; of a flow that is split here it stays.
#[test]
fn t18_damaged_segments_pass_unless_their_flow_is_split() {
    let damage = |segment: &Tcp| {
        let mut spoilt = segment.frame(MAC_AT[ACCESS1], port_mac(ACCESS1));
        *spoilt.last_mut().unwrap() ^= 1;
        let mut odd = segment.clone();
        odd.options = vec![8, 3, 1, 1];
        let odd = odd.frame(MAC_AT[ACCESS1], port_mac(ACCESS1));
        [("drop_checksum", spoilt), ("drop_malformed", odd)]
    };
    let through = |sim: &mut Sim<Dumb>, frame: &[u8]| {
        let before = sim.seen.len();
        sim.inject(ACCESS1, frame.to_vec());
        sim.idle(Duration::from_millis(20));
        let out = sim.seen[before..].iter();
        let ipv4 = |frame: &[u8]| frame[12..14] == [8, 0];
        out.filter(|s| s.port == CORE && s.way == Way::FromBox && ipv4(&s.frame))
            .map(|s| s.frame[34..].to_vec())
            .collect::<Vec<_>>()
    };
    let mut data = Tcp::new(H, 1000, S, 80, ACK);
    data.payload = b"GET".to_vec();
    let mut sim = raw_sim(config());
    for (name, frame) in damage(&data) {
        assert_eq!(through(&mut sim, &frame), [&frame[34..]], "{name}");
        assert_eq!(counter(&mut sim, name), 0);
    }
    passes(&mut sim, ACCESS1, &Tcp::capable_syn(H, 1000, S));
    for (name, frame) in damage(&data) {
        assert_eq!(through(&mut sim, &frame), [[0_u8; 0]; 0], "{name}");
        assert_eq!(counter(&mut sim, name), 1);
    }
}

/// The box that asks in its host's place may be told of an error, and forget the flow; then its host tries again.
#[test]
fn m1_of_two_keys_in_syns_of_one_flow_the_last_counts() {
    let mut sim = raw_sim(EngineConfig {
        versions: mptcp::Versions::V0,
        ..config()
    });
    let syn = |key: u8| {
        let mut syn = Tcp::plain_syn(H, 1000, S);
        syn.options.extend([30, 12, 0x00, 0x01]);
        syn.options.extend([key; 8]);
        syn
    };
    passes(&mut sim, ACCESS1, &syn(1));
    let forwarded = passes(&mut sim, ACCESS1, &syn(2));
    let answer = forwarded.answer(SYN | ACK, 77_000);
    let out = send(&mut sim, CORE, &answer, ACCESS1);
    let out = only(&out);
    let ours = out.option(30).expect("MP_CAPABLE")[2..10].to_vec();
    let mut ack = out.answer(ACK, syn(2).seq + 1);
    ack.options = [&[30, 20, 0x00, 0x01][..], &[2; 8], &ours].concat();
    passes(&mut sim, ACCESS1, &ack);
    assert_eq!(counter(&mut sim, "mpcapable_ack_rx"), 1);
    assert_eq!(counter(&mut sim, "fallback_key"), 0);
}
