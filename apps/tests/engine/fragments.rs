//! Fragments, IPv4 options and IPv6 extension headers, on flows that are split and on those that are not.

use crate::common::raw::{ACK, SYN, SYN_OPTIONS, Tcp, checksum};
use crate::common::{
    ACCESS1, CORE, Dumb, H, MAC_AT, S, Sim, Way, config, counter, port_mac, raw_sim,
};
use apps::engine::EngineConfig;
use stack::time::Duration;

/// What left by `at` when `frame` came in by `port`.
fn frames(sim: &mut Sim<Dumb>, port: usize, frame: Vec<u8>, at: usize) -> Vec<Vec<u8>> {
    let before = sim.seen.len();
    sim.inject(port, frame);
    sim.idle(Duration::from_millis(60));
    let out = sim.seen[before..].iter();
    let out = out.filter(|s| s.port == at && s.way == Way::FromBox);
    let ip = out.filter(|s| s.frame[12..14] == [8, 0]);
    ip.map(|s| s.frame.clone()).collect()
}

fn frame(port: usize, segment: &Tcp) -> Vec<u8> {
    segment.frame(MAC_AT[port], port_mac(port))
}

/// Writes the checksum of an IPv4 header anew.
fn mend(frame: &mut [u8]) {
    let len = usize::from(frame[14] & 15) * 4;
    frame[24..26].fill(0);
    let sum = checksum(&[&frame[14..14 + len]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// Octets `from..to` behind the IPv4 header of `frame`, as a fragment; `to` beyond the end makes it the last.
pub(crate) fn fragment(frame: &[u8], from: usize, to: usize) -> Vec<u8> {
    let data = &frame[34..];
    let last = to >= data.len();
    let part = &data[from..to.min(data.len())];
    let mut out = [&frame[..34], part].concat();
    let len = u16::try_from(20 + part.len()).unwrap();
    out[16..18].copy_from_slice(&len.to_be_bytes());
    let field = u16::try_from(from / 8).unwrap() | if last { 0 } else { 0x2000 };
    out[20..22].copy_from_slice(&field.to_be_bytes());
    mend(&mut out);
    out
}

/// A relayed connection, and the host's next segment.
fn split() -> (Sim<Dumb>, Tcp) {
    let mut sim = raw_sim(EngineConfig {
        accept_plain: true,
        ..config()
    });
    let mut syn = Tcp::plain_syn(H, 1000, S);
    syn.options = SYN_OPTIONS[..4].to_vec();
    let out = frames(&mut sim, ACCESS1, frame(ACCESS1, &syn), CORE);
    let mut answer = Tcp::parse(&out[0]).unwrap().answer(SYN | ACK, 77_000);
    answer.options = SYN_OPTIONS[..4].to_vec();
    let out = frames(&mut sim, CORE, frame(CORE, &answer), ACCESS1);
    let host = Tcp::parse(&out[0]).unwrap().answer(ACK, syn.seq + 1);
    frames(&mut sim, ACCESS1, frame(ACCESS1, &host), CORE);
    (sim, host)
}

fn payloads(frames: &[Vec<u8>]) -> Vec<u8> {
    let segments = frames.iter().filter_map(|frame| Tcp::parse(frame));
    segments.flat_map(|segment| segment.payload).collect()
}

#[test]
fn a_segment_of_a_split_flow_in_fragments_arrives_in_whatever_order_they_come() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let (mut sim, mut host) = split();
        host.payload = crate::common::pattern(900, 3);
        let whole = frame(ACCESS1, &host);
        let parts = [(0, 320), (320, 640), (640, 2000)].map(|(a, b)| fragment(&whole, a, b));
        let mut got = Vec::new();
        for n in order {
            let out = frames(&mut sim, ACCESS1, parts[n].clone(), CORE);
            got.extend(payloads(&out));
        }
        assert!(got == host.payload, "{order:?}: {} octets", got.len());
        assert_eq!(counter(&mut sim, "reassembled"), 1);
        assert_eq!(counter(&mut sim, "copied_in_stack"), 0);
    }
}

#[test]
fn fragments_of_a_flow_that_is_not_split_pass_as_they_came() {
    let mut sim = raw_sim(config());
    let mut data = Tcp::new(H, 1000, S, 80, ACK);
    data.payload = crate::common::pattern(600, 3);
    let whole = frame(ACCESS1, &data);
    let parts = [(0, 320), (320, 2000)].map(|(a, b)| fragment(&whole, a, b));
    assert!(frames(&mut sim, ACCESS1, parts[0].clone(), CORE).is_empty());
    let out = frames(&mut sim, ACCESS1, parts[1].clone(), CORE);
    assert_eq!(out.len(), 2);
    for (sent, came) in out.iter().zip(&parts) {
        assert_eq!(sent[34..], came[34..]);
        assert_eq!(sent[16..22], came[16..22]);
        assert_eq!(sent[22] + 1, came[22]);
    }
}

#[test]
fn fragments_that_overlap_deliver_nothing_and_are_counted() {
    let (mut sim, mut host) = split();
    host.payload = vec![0x55; 600];
    let good = frame(ACCESS1, &host);
    let mut evil = host.clone();
    evil.payload = vec![0xaa; 600];
    let evil = frame(ACCESS1, &evil);
    for part in [
        fragment(&good, 0, 320),
        fragment(&evil, 160, 480),
        fragment(&good, 320, 2000),
    ] {
        let out = frames(&mut sim, ACCESS1, part, CORE);
        assert!(payloads(&out).is_empty());
    }
    assert!(counter(&mut sim, "drop_fragment") >= 1);
    // The segment whole, sent again, is taken.
    let out = frames(&mut sim, ACCESS1, good, CORE);
    assert_eq!(payloads(&out), host.payload);
}

/// The network asserts after each turn that received frames add up; here is what they add up to.
#[test]
fn bug20_each_fragment_has_one_fate() {
    let cut = |host: &Tcp| {
        let whole = frame(ACCESS1, host);
        [(0, 320), (320, 640), (640, 2000)].map(|(a, b)| fragment(&whole, a, b))
    };
    let names = ["leg_taken", "drop_fragment", "drop_unread", "forwarded"];
    let fates = |parts: &[Vec<u8>], wait: u64| {
        let (mut sim, _) = split();
        let before = names.map(|name| counter(&mut sim, name));
        for part in parts {
            frames(&mut sim, ACCESS1, part.clone(), CORE);
        }
        sim.idle(Duration::from_secs(wait));
        let after = names.map(|name| counter(&mut sim, name));
        let waiting = counter(&mut sim, "frames_waiting");
        assert_eq!(waiting, sim.occupancy().waiting as u64);
        let of = |n: usize| after[n] - before[n];
        ([0, 1, 2, 3].map(of), waiting)
    };
    let (_, mut host) = split();
    host.payload = crate::common::pattern(900, 3);
    let parts = cut(&host);
    assert_eq!(fates(&parts, 0), ([3, 0, 0, 0], 0), "a whole segment");
    assert_eq!(fates(&parts[..2], 0), ([0; 4], 2), "the last is awaited");
    assert_eq!(fates(&parts[..2], 6), ([0, 2, 0, 0], 0), "and never comes");
    let twice = [0, 0, 1, 2].map(|n| parts[n].clone());
    assert_eq!(fates(&twice, 0), ([3, 1, 0, 0], 0), "the first comes twice");
    let overlapping = fragment(&frame(ACCESS1, &host), 160, 480);
    let spoilt = [parts[0].clone(), overlapping, parts[2].clone()];
    assert_eq!(fates(&spoilt, 0), ([0, 3, 0, 0], 0), "two overlap");
    let mut damaged = parts;
    *damaged[1].last_mut().unwrap() ^= 1;
    assert_eq!(fates(&damaged, 0), ([0, 0, 3, 0], 0), "the sum is wrong");
    host.src_port += 1;
    assert_eq!(fates(&cut(&host), 0), ([0, 0, 0, 3], 0), "no flow of ours");
}

#[test]
fn what_never_becomes_whole_is_bounded_and_later_fragments_pass() {
    let mut sim = raw_sim(config());
    let mut data = Tcp::new(H, 1000, S, 80, ACK);
    data.payload = vec![1; 600];
    let whole = frame(ACCESS1, &data);
    let mut passed = 0;
    for id in 0..200u16 {
        let mut part = fragment(&whole, 0, 320);
        part[18..20].copy_from_slice(&id.to_be_bytes());
        mend(&mut part);
        let before = sim.seen.len();
        sim.inject(ACCESS1, part);
        sim.idle(Duration::from_millis(5));
        let out = sim.seen[before..].iter();
        passed += out
            .filter(|s| {
                s.port == CORE && s.way == Way::FromBox && s.frame[12] == 8 && s.frame[13] == 0
            })
            .count();
    }
    assert!(passed >= 130, "{passed} of 200 passed");
}

#[test]
fn a_cut_syn_does_not_carry_its_mp_capable_past_the_box() {
    let mut sim = raw_sim(config());
    let whole = frame(ACCESS1, &Tcp::capable_syn(H, 1000, S));
    for part in [fragment(&whole, 0, 24), fragment(&whole, 24, 2000)] {
        assert!(frames(&mut sim, ACCESS1, part, CORE).is_empty());
    }
}

/// Has as many segments wait as may: first fragments of another host's, which nothing follows.
fn crowd(sim: &mut Sim<Dumb>) {
    let mut data = Tcp::new("10.1.0.77", 1000, S, 80, ACK);
    data.payload = vec![1; 600];
    let mut part = fragment(&frame(ACCESS1, &data), 0, 320);
    for id in 0..64u16 {
        part[18..20].copy_from_slice(&id.to_be_bytes());
        mend(&mut part);
        sim.inject(ACCESS1, part.clone());
        sim.idle(Duration::from_millis(2));
    }
    assert_eq!(sim.occupancy().waiting, 64);
}

#[test]
fn what_must_not_pass_the_box_by_does_not_for_want_of_room_to_hold_it() {
    let (mut sim, mut host) = split();
    crowd(&mut sim);
    host.payload = vec![7; 600];
    let mut other = host.clone();
    other.src_port += 1;
    let cut = |segment: &Tcp, at: usize| {
        let whole = frame(ACCESS1, segment);
        [fragment(&whole, 0, at), fragment(&whole, at, 2000)]
    };
    // Of the flow that is split the server gets no beginning, and of any other all.
    for (segment, at, passes) in [
        (&host, 320, [false, true]),
        (&host, 8, [false, true]),
        (&Tcp::capable_syn(H, 2000, S), 24, [false, true]),
        (&Tcp::capable_syn(H, 2000, S), 8, [false, true]),
        (&other, 320, [true, true]),
    ] {
        let before = counter(&mut sim, "drop_fragment");
        let passed = cut(segment, at).map(|part| !frames(&mut sim, ACCESS1, part, CORE).is_empty());
        assert_eq!(passed, passes, "{at} of {segment:?}");
        let dropped = counter(&mut sim, "drop_fragment") - before;
        assert_eq!(dropped, u64::from(!passes[0]));
    }
}

#[test]
fn fragments_with_ip_options_do_not_pass_the_box_by() {
    let (mut sim, mut host) = split();
    host.payload = vec![7; 600];
    let mut other = host.clone();
    other.src_port += 1;
    let syn = Tcp::capable_syn(H, 2000, S);
    for (segment, passes) in [(&host, false), (&syn, false), (&other, true)] {
        let part = fragment(&frame(ACCESS1, segment), 0, 24);
        let out = frames(&mut sim, ACCESS1, with_options(&part, &RECORD), CORE);
        assert_eq!(!out.is_empty(), passes, "{segment:?}");
    }
}

/// `frame` with IPv4 options before its segment.
fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let mut out = [&frame[..34], options, &frame[34..]].concat();
    out[14] = 0x40 | u8::try_from(5 + options.len() / 4).unwrap();
    let len = u16::from_be_bytes([frame[16], frame[17]]) + u16::try_from(options.len()).unwrap();
    out[16..18].copy_from_slice(&len.to_be_bytes());
    mend(&mut out);
    out
}

/// Record route with room for two, and a router alert.
const RECORD: [u8; 16] = [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0x94, 4, 0, 0, 0];

#[test]
fn a_segment_with_ip_options_is_taken_on_a_flow_that_is_split() {
    let (mut sim, mut host) = split();
    host.payload = b"behind options".to_vec();
    let wrapped = with_options(&frame(ACCESS1, &host), &RECORD);
    let out = frames(&mut sim, ACCESS1, wrapped, CORE);
    assert_eq!(payloads(&out), host.payload);
}

#[test]
fn a_syn_with_ip_options_passes_with_them_and_without_mp_capable() {
    let mut sim = raw_sim(config());
    let syn = Tcp::capable_syn(H, 1000, S);
    let out = frames(
        &mut sim,
        ACCESS1,
        with_options(&frame(ACCESS1, &syn), &RECORD),
        CORE,
    );
    assert_eq!(out.len(), 1);
    assert_eq!(out[0][34..50], RECORD);
    let sent = Tcp::parse(&out[0]).unwrap();
    assert_eq!((sent.option(30), sent.option(2)), (None, syn.option(2)));
    assert_eq!(counter(&mut sim, "bypass_wrapped"), 1);
    assert_eq!(counter(&mut sim, "pending_opened"), 0);
    // A route that the sender chose is no business of ours at all.
    let loose = [131, 7, 4, 10, 9, 9, 9, 0];
    let mut sim = raw_sim(config());
    let out = frames(
        &mut sim,
        ACCESS1,
        with_options(&frame(ACCESS1, &syn), &loose),
        CORE,
    );
    assert_eq!(out.len(), 1);
    assert_eq!(out[0][34..42], loose);
}
