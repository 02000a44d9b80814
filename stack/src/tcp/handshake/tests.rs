use super::{AcceptVerdict, Accepting, Offer, OpenVerdict, Opening};
use crate::seq::SeqNum;
use crate::tcp::tests::network::as_received;
use crate::tcp::tests::rig::Buf;
use crate::tcp::{Agreed, TsState};
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, OptBytes, OutSegment, Segment, Timestamps};
use crate::{Counter, Cx, Rng, Tally};

const NOW: Instant = Instant::from_millis(10_000);

struct Lent {
    rng: Rng,
    counters: Tally<Counter>,
}

impl Lent {
    fn new() -> Self {
        Self {
            rng: Rng::from_u64(1),
            counters: Tally::default(),
        }
    }

    fn at(&mut self, now: Instant) -> Cx<'_> {
        Cx {
            now,
            rng: &mut self.rng,
            counters: &mut self.counters,
        }
    }
}

fn offer(mss: u16, wscale: u8, val: u32) -> Offer {
    Offer {
        mss: Some(mss),
        wscale: Some(wscale),
        sack: true,
        ts: Some(Timestamps { val, ecr: 0 }),
        wnd: 64_000,
        ecn: true,
    }
}

fn received(out: &OutSegment<Buf>) -> Segment<Buf> {
    as_received(out)
}

fn accepting() -> Accepting {
    let mut accepting = Accepting::new(
        SeqNum(500),
        SeqNum(100),
        &offer(1400, 7, 42),
        &offer(1380, 9, 77),
        1300,
        NOW,
    );
    let _: OutSegment<Buf> = accepting.syn_ack(NOW, OptBytes::new());
    accepting
}

/// A segment of the client: sequence and acknowledgment as they stand.
fn segment(seq: u32, ack: u32, flags: Flags) -> Segment<Buf> {
    let mut seg =
        received(&Opening::new(SeqNum(seq), &Offer::default(), NOW).syn(NOW, OptBytes::new()));
    seg.ack = SeqNum(ack);
    seg.flags = flags;
    seg.options = crate::wire::tcp::Options {
        ts: Some(Timestamps { val: 43, ecr: 77 }),
        ..Default::default()
    };
    seg.wnd = 1000;
    seg
}

#[test]
fn t12_both_sides_agree_on_the_same() {
    let mut lent = Lent::new();
    let ours = offer(1460, 3, 1_000);
    let mut opening = Opening::new(SeqNum(u32::MAX), &ours, NOW);
    let syn = received(&opening.syn(NOW, OptBytes::new()));
    assert_eq!(Offer::of(&syn), ours);
    let theirs = offer(1200, 8, 5);
    let smss = Offer::of(&syn).smss(1400, false);
    let mut accepting = Accepting::new(SeqNum(9), syn.seq, &Offer::of(&syn), &theirs, smss, NOW);
    let later = NOW + Duration::from_millis(30);
    let syn_ack = received(&accepting.syn_ack(later, OptBytes::new()));
    assert_eq!(
        syn_ack.ack,
        SeqNum(0),
        "the SYN was at the end of the circle"
    );
    let verdict = opening.input(&mut lent.at(later), &syn_ack);
    let OpenVerdict::Answered(answer) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(answer.mss, Some(1200));
    let client = opening.agreed(answer.smss(1460, false)).unwrap();
    assert_eq!(
        client,
        Agreed {
            iss: SeqNum(u32::MAX),
            irs: SeqNum(9),
            smss: 1200,
            snd_wnd: 64_000,
            snd_wscale: 8,
            rcv_wscale: 3,
            rcv_wnd: 64_000,
            sack: true,
            // The acceptor's clock reads 5 at NOW and 35 now; ours reads 1,000 at NOW.
            ts: Some(TsState {
                recent: 35,
                offset: 1_000u32.wrapping_sub(10_000),
            }),
            ecn: true,
            rtt: Some(Duration::from_millis(30)),
            syn_lost: false,
        }
    );
    let mut tcb = crate::tcp::Tcb::<Buf>::new(&client, later);
    tcb.request_ack();
    let third = received(&tcb.output(&mut lent.at(later), 0).unwrap());
    assert_eq!(
        third.options.ts,
        Some(Timestamps {
            val: 1_030,
            ecr: 35
        })
    );
    let verdict = accepting.third_ack(&mut lent.at(later), &third);
    let AcceptVerdict::Established(server) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(
        (server.iss, server.irs, server.smss),
        (SeqNum(9), SeqNum(u32::MAX), 1400)
    );
    assert_eq!((server.snd_wscale, server.rcv_wscale), (3, 8));
    assert_eq!(
        server.ts,
        Some(TsState {
            recent: 1_000,
            offset: 5u32.wrapping_sub(10_000)
        })
    );
    assert_eq!(server.snd_wnd, u32::from(third.wnd) << 3);
    assert!(server.sack && server.ecn);
}

#[test]
fn t12_what_one_side_does_not_offer_is_not_used() {
    let none = Offer {
        wnd: 1000,
        ..Offer::default()
    };
    let all = offer(1460, 7, 5);
    for (peer, ours) in [(none, all), (all, none)] {
        let mut accepting = Accepting::new(SeqNum(1), SeqNum(2), &peer, &ours, 536, NOW);
        let answer: OutSegment<Buf> = accepting.syn_ack(NOW, OptBytes::new());
        assert_eq!(answer.options.wscale, None);
        assert_eq!(answer.options.ts, None);
        assert!(!answer.options.sack_permitted);
        assert!(!answer.flags.has(Flags::ECE) && !answer.flags.has(Flags::CWR));
    }
    assert_eq!(none.smss(1460, false), 536);
    assert_eq!(none.smss(1460, true), 1220);
    assert_eq!(offer(0, 0, 0).smss(1460, false), 64, "a hostile MSS");
}

#[test]
fn t1_syn_received_in_the_order_of_rfc9293() {
    // (name, sequence number, acknowledgment, flags, what it is)
    let (ack, rst, syn) = (Flags::ACK, Flags::RST, Flags::SYN);
    let rows = [
        ("third_ack", 101, 501, ack, "established"),
        (
            "data_with_ack",
            101,
            501,
            ack.with(Flags::PSH),
            "established",
        ),
        ("syn_again", 100, 0, syn, "resend"),
        ("other_syn_in_window", 105, 0, syn, "ack"),
        ("syn_far_away", 100_000, 0, syn, "ack"),
        ("rst_at_rcv_nxt", 101, 0, rst, "reset"),
        ("rst_in_window", 102, 0, rst, "ack"),
        ("rst_outside", 99, 0, rst, "dropped"),
        ("no_ack", 101, 501, Flags(0), "dropped"),
        ("ack_too_low", 101, 500, ack, "rst"),
        ("ack_too_high", 101, 502, ack, "rst"),
        ("outside_the_window", 70_000, 501, ack, "ack"),
    ];
    for (name, seq, ack, flags, expected) in rows {
        let mut lent = Lent::new();
        let verdict = accepting().third_ack(&mut lent.at(NOW), &segment(seq, ack, flags));
        let got = match verdict {
            AcceptVerdict::Established(_) => "established",
            AcceptVerdict::Resend => "resend",
            AcceptVerdict::Answer(out) if out.flags.has(Flags::RST) => {
                assert_eq!(out.seq, SeqNum(ack), "{name}");
                "rst"
            },
            AcceptVerdict::Answer(out) => {
                assert_eq!((out.seq, out.ack), (SeqNum(501), SeqNum(101)), "{name}");
                "ack"
            },
            AcceptVerdict::Reset => "reset",
            AcceptVerdict::Dropped => "dropped",
        };
        assert_eq!(got, expected, "{name}");
    }
}

#[test]
fn t12_an_old_timestamp_does_not_establish() {
    let mut lent = Lent::new();
    let mut old = segment(101, 501, Flags::ACK);
    old.options.ts = Some(Timestamps { val: 41, ecr: 77 });
    let verdict = accepting().third_ack(&mut lent.at(NOW), &old);
    assert!(matches!(verdict, AcceptVerdict::Answer(_)), "{verdict:?}");
    assert_eq!(lent.counters.get(Counter::TcpDropPaws), 1);
}

#[test]
fn t7_the_syn_ack_is_due_after_1_3_7_seconds() {
    let mut accepting = accepting();
    let mut due = Vec::new();
    for _ in 0..4 {
        let at = accepting.next_deadline().unwrap();
        due.push(at.since(NOW).as_secs());
        let _: OutSegment<Buf> = accepting.syn_ack(at, OptBytes::new());
    }
    assert_eq!(due, [1, 3, 7, 15]);
    let mut lent = Lent::new();
    let verdict = accepting.third_ack(&mut lent.at(NOW), &segment(101, 501, Flags::ACK));
    let AcceptVerdict::Established(agreed) = verdict else {
        panic!("{verdict:?}");
    };
    assert!(
        agreed.syn_lost && agreed.rtt.is_none(),
        "Karn, and RFC 6298 5.7"
    );
}

#[test]
fn t1_syn_sent_in_the_order_of_rfc9293() {
    let (ack, rst, syn) = (Flags::ACK, Flags::RST, Flags::SYN);
    let rows = [
        ("syn_ack", 501, syn.with(ack), "answered"),
        ("syn_ack_of_something_else", 502, syn.with(ack), "rst"),
        ("old_ack", 500, ack, "rst"),
        ("bare_ack", 501, ack, "dropped"),
        ("rst_ack", 501, rst.with(ack), "refused"),
        ("rst_with_wrong_ack", 502, rst.with(ack), "dropped"),
        ("rst_without_ack", 501, rst, "dropped"),
        ("simultaneous_open", 0, syn, "crossed"),
    ];
    for (name, ack, flags, expected) in rows {
        let mut lent = Lent::new();
        let mut opening = Opening::new(SeqNum(500), &offer(1460, 7, 77), NOW);
        let got = match opening.input(&mut lent.at(NOW), &segment(9, ack, flags)) {
            OpenVerdict::Answered(_) => "answered",
            OpenVerdict::Crossed(_) => "crossed",
            OpenVerdict::Refused => "refused",
            OpenVerdict::Dropped => "dropped",
            OpenVerdict::Reset(out) => {
                assert_eq!((out.seq, out.flags), (SeqNum(ack), Flags::RST), "{name}");
                "rst"
            },
        };
        assert_eq!(got, expected, "{name}");
        assert_eq!(
            opening.agreed(1460).is_some(),
            expected == "answered",
            "{name}"
        );
        assert_eq!(
            opening.next_deadline().is_none(),
            expected == "answered",
            "{name}"
        );
    }
}

#[test]
fn t2_while_the_third_ack_is_held_back_only_an_exact_reset_counts() {
    let mut lent = Lent::new();
    let mut opening = Opening::new(SeqNum(500), &offer(1460, 7, 77), NOW);
    opening.input(
        &mut lent.at(NOW),
        &segment(9, 501, Flags::SYN.with(Flags::ACK)),
    );
    let again = opening.input(
        &mut lent.at(NOW),
        &segment(9, 501, Flags::SYN.with(Flags::ACK)),
    );
    assert!(matches!(again, OpenVerdict::Dropped));
    let near = opening.input(&mut lent.at(NOW), &segment(11, 501, Flags::RST));
    assert!(matches!(near, OpenVerdict::Dropped));
    let exact = opening.input(&mut lent.at(NOW), &segment(10, 501, Flags::RST));
    assert!(matches!(exact, OpenVerdict::Refused));
}

#[test]
fn t7_a_syn_sent_twice_measures_nothing() {
    let mut lent = Lent::new();
    let mut opening = Opening::new(SeqNum(500), &offer(1460, 7, 77), NOW);
    assert_eq!(opening.next_deadline(), Some(NOW + Duration::from_secs(1)));
    opening.sent_again(NOW + Duration::from_secs(1));
    assert_eq!(opening.next_deadline(), Some(NOW + Duration::from_secs(3)));
    let later = NOW + Duration::from_secs(2);
    opening.input(
        &mut lent.at(later),
        &segment(9, 501, Flags::SYN.with(Flags::ACK)),
    );
    let agreed = opening.agreed(1460).unwrap();
    assert!(agreed.syn_lost && agreed.rtt.is_none());
}

#[test]
fn t1_a_segment_without_a_connection_is_reset() {
    let with_ack = crate::tcp::reset_for(&segment(7, 900, Flags::ACK)).unwrap();
    assert_eq!((with_ack.seq, with_ack.flags), (SeqNum(900), Flags::RST));
    let without = crate::tcp::reset_for(&segment(7, 0, Flags::SYN)).unwrap();
    assert_eq!((without.seq, without.ack), (SeqNum(0), SeqNum(8)));
    assert_eq!(without.flags, Flags::RST.with(Flags::ACK));
    assert!(crate::tcp::reset_for(&segment(7, 0, Flags::RST)).is_none());
}
