//! SYNs that cross (RFC 9293 3.5, figure 7, MUST-10).

use super::network::as_received;
use super::rig::{Buf, Rig, payload, plain, slice};
use crate::seq::SeqNum;
use crate::tcp::handshake::{AcceptVerdict, Accepting, Offer, OpenVerdict, Opening};
use crate::tcp::{Agreed, TsState};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, OptBytes, OutSegment, Segment, Timestamps};

const NOW: Instant = Instant::from_millis(10_000);

fn offer(mss: u16, wscale: u8, val: u32) -> Offer {
    Offer {
        mss: Some(mss),
        wscale: Some(wscale),
        sack: true,
        ts: Some(Timestamps { val, ecr: 0 }),
        wnd: 60_000,
        ecn: true,
    }
}

fn openings() -> [Opening; 2] {
    [
        Opening::new(SeqNum(100), &offer(1_400, 7, 1_000), NOW),
        Opening::new(SeqNum(300), &offer(1_300, 2, 5_000), NOW),
    ]
}

fn syn(opening: &Opening) -> Segment<Buf> {
    as_received(&opening.syn(NOW, OptBytes::new()))
}

/// Gives `opening` the SYN of the other side: SYN-RECEIVED.
fn cross(rig: &mut Rig, opening: &mut Opening, syn: &Segment<Buf>) -> Accepting {
    match opening.input(&mut rig.cx(), syn) {
        OpenVerdict::Crossed(offer) => opening.crossed(syn, offer.smss(1_460, false), rig.now),
        other => panic!("{other:?}"),
    }
}

fn established(rig: &mut Rig, accepting: &mut Accepting, seg: &Segment<Buf>) -> Agreed {
    match accepting.third_ack(&mut rig.cx(), seg) {
        AcceptVerdict::Established(agreed) => agreed,
        other => panic!("{other:?}"),
    }
}

/// A connection as agreed, after the segment that established it.
fn connected(agreed: &Agreed, now: Instant, seg: &Segment<Buf>) -> Rig {
    let mut rig = Rig::new(agreed);
    rig.now = now;
    rig.input(seg);
    rig
}

fn talk(rigs: &mut [Rig; 2]) {
    for (from, to) in [(0, 1), (1, 0)] {
        rigs[from].tcb.send(slice(b"said by one to the other"));
        let out = rigs[from].drain();
        assert_eq!(payload(&out[0]), b"said by one to the other");
        rigs[to].input(&as_received(&out[0]));
        assert_eq!(rigs[to].take_all(), b"said by one to the other");
    }
}

#[test]
fn t4_syns_that_cross_make_one_connection() {
    let mut rig = Rig::new(&plain());
    rig.now = NOW + Duration::from_millis(10);
    let [mut a, mut b] = openings();
    let syns = [syn(&a), syn(&b)];
    let mut a = cross(&mut rig, &mut a, &syns[1]);
    let mut b = cross(&mut rig, &mut b, &syns[0]);
    let answers: [OutSegment<Buf>; 2] =
        [&mut a, &mut b].map(|s| s.syn_ack(rig.now, OptBytes::new()));
    let numbers = answers.each_ref().map(|out| (out.seq, out.ack, out.flags));
    let syn_ack = Flags::SYN.with(Flags::ACK).with(Flags::ECE);
    assert_eq!(
        numbers,
        [
            (SeqNum(100), SeqNum(301), syn_ack),
            (SeqNum(300), SeqNum(101), syn_ack)
        ]
    );
    assert_eq!(
        answers[0].options.ts,
        Some(Timestamps {
            val: 1_010,
            ecr: 5_000
        }),
        "the clock of the SYN goes on"
    );
    let answers = answers.each_ref().map(as_received);
    rig.now = NOW + Duration::from_millis(20);
    let agreed_a = established(&mut rig, &mut a, &answers[1]);
    let agreed_b = established(&mut rig, &mut b, &answers[0]);
    assert_eq!(
        agreed_a,
        Agreed {
            iss: SeqNum(100),
            irs: SeqNum(300),
            smss: 1_300,
            // RFC 7323 2.2: that of a SYN+ACK is not scaled.
            snd_wnd: 60_000,
            snd_wscale: 2,
            rcv_wscale: 7,
            rcv_wnd: 60_000,
            sack: true,
            ts: Some(TsState {
                recent: 5_000,
                offset: 1_000u32.wrapping_sub(10_000),
            }),
            ecn: true,
            // The peer may have answered our SYN or our SYN+ACK.
            rtt: None,
            syn_lost: false,
        }
    );
    assert_eq!(
        (agreed_b.iss, agreed_b.irs, agreed_b.smss),
        (SeqNum(300), SeqNum(100), 1_400)
    );
    let mut rigs = [
        connected(&agreed_a, rig.now, &answers[1]),
        connected(&agreed_b, rig.now, &answers[0]),
    ];
    talk(&mut rigs);
}

#[test]
fn t4_a_lost_syn_ack_is_made_up_for_by_the_ack_that_the_other_draws() {
    let mut rig = Rig::new(&plain());
    rig.now = NOW;
    let [mut a, mut b] = openings();
    let syns = [syn(&a), syn(&b)];
    let mut a = cross(&mut rig, &mut a, &syns[1]);
    let mut b = cross(&mut rig, &mut b, &syns[0]);
    let _: OutSegment<Buf> = a.syn_ack(NOW, OptBytes::new());
    let answer = as_received(&b.syn_ack(NOW, OptBytes::new()));
    let agreed = established(&mut rig, &mut a, &answer);
    let mut first = connected(&agreed, NOW, &answer);
    let ack = as_received(&first.drain()[0]);
    assert_eq!(
        (ack.seq, ack.ack, ack.flags),
        (SeqNum(101), SeqNum(301), Flags::ACK)
    );
    let agreed = established(&mut rig, &mut b, &ack);
    talk(&mut [first, connected(&agreed, NOW, &ack)]);
}

#[test]
fn t4_only_one_syn_arrives_before_the_answer_to_it() {
    let mut rig = Rig::new(&plain());
    rig.now = NOW;
    let [mut a, mut b] = openings();
    let syn_b = syn(&b);
    // Our SYN is late; our SYN+ACK answers the peer as a listener's would.
    let mut a = cross(&mut rig, &mut a, &syn_b);
    let answer = as_received(&a.syn_ack(NOW, OptBytes::new()));
    assert!(matches!(
        b.input(&mut rig.cx(), &answer),
        OpenVerdict::Answered(_)
    ));
    let mut second = Rig::new(&b.agreed(1_400).unwrap());
    second.now = NOW;
    second.tcb.request_ack();
    let ack = as_received(&second.drain()[0]);
    let agreed = established(&mut rig, &mut a, &ack);
    talk(&mut [connected(&agreed, NOW, &ack), second]);
}

#[test]
fn t4_a_peer_that_crossed_us_may_still_refuse() {
    let mut rig = Rig::new(&plain());
    rig.now = NOW;
    let [mut a, b] = openings();
    let syn_b = syn(&b);
    let mut a = cross(&mut rig, &mut a, &syn_b);
    let mut reset = syn_b.clone();
    reset.flags = Flags::RST;
    reset.seq = SeqNum(301);
    assert!(matches!(
        a.third_ack(&mut rig.cx(), &reset),
        AcceptVerdict::Reset
    ));
    // Its SYN again is answered again.
    assert!(matches!(
        a.third_ack(&mut rig.cx(), &syn_b),
        AcceptVerdict::Resend
    ));
}

#[test]
fn t4_a_syn_that_left_twice_before_it_crossed_counts_as_lost() {
    let mut rig = Rig::new(&plain());
    rig.now = NOW;
    let [mut a, b] = openings();
    a.sent_again(NOW);
    let mut a = cross(&mut rig, &mut a, &syn(&b));
    let _: OutSegment<Buf> = a.syn_ack(NOW, OptBytes::new());
    let mut ack = syn(&b);
    ack.flags = Flags::ACK;
    ack.seq = SeqNum(301);
    ack.ack = SeqNum(101);
    assert!(established(&mut rig, &mut a, &ack).syn_lost, "RFC 6298 5.7");
}
