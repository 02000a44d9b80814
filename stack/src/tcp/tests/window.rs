//! Windows and acknowledgments: closed, opened, delayed (RFC 9293 3.8.6).

use super::rig::{IRS, Rig, ack, plain, seg, with_sack};
use crate::tcp::Agreed;
use crate::time::Duration;
use crate::wire::tcp::Flags;
use crate::{Counter, SeqNum};

fn with_window(
    mut seg: crate::wire::tcp::Segment<super::rig::Buf>,
    wnd: u16,
) -> crate::wire::tcp::Segment<super::rig::Buf> {
    seg.wnd = wnd;
    seg
}

#[test]
fn t13_a_closed_window_is_probed_less_and_less_often_and_never_given_up() {
    let mut rig = Rig::new(&plain());
    rig.input(&with_window(ack(0), 0));
    rig.push(1000);
    assert_eq!(rig.sent(), []);
    let mut at = 0;
    let waits = [1, 2, 4, 8, 16, 32, 60, 60];
    for (n, wait) in (1..).zip(waits.into_iter().chain([60; 20])) {
        at += wait * 1000;
        rig.at(at - 1);
        assert_eq!(rig.sent(), [], "1 ms before probe {n}");
        rig.at(at);
        assert_eq!(rig.sent(), [(0, 1)], "probe {n}");
        rig.input(&with_window(ack(0), 0));
    }
    assert_eq!(rig.count(Counter::TcpZeroWindowProbe), 28);
    rig.input(&with_window(ack(0), 1000));
    assert_eq!(rig.sent(), [(0, 1000)]);
    assert!(!rig.tcb.is_closed());
}

#[test]
fn t13_a_peer_that_does_not_answer_probes_is_given_up() {
    let mut rig = Rig::new(&plain());
    rig.input(&with_window(ack(0), 0));
    rig.push(1000);
    rig.sent();
    let mut probes = 0;
    while let Some(at) = rig.deadline_ms() {
        rig.at(u64::try_from(at).unwrap());
        probes += rig.sent().len();
        assert!(probes < 100);
    }
    assert_eq!(probes, 15);
    assert!(rig.tcb.timed_out());
}

#[test]
fn t13_the_octet_of_a_probe_may_be_taken() {
    let mut rig = Rig::new(&plain());
    rig.input(&with_window(ack(0), 0));
    rig.push(1000);
    rig.sent();
    rig.at(1000);
    assert_eq!(rig.sent(), [(0, 1)]);
    rig.input(&with_window(ack(1), 0));
    assert_eq!(rig.tcb.queued(), 999);
    rig.input(&with_window(ack(1), 5000));
    assert_eq!(rig.sent(), [(1, 999)]);
}

#[test]
fn t13_the_right_edge_is_the_one_that_the_last_acknowledgment_offered() {
    let mut rig = Rig::new(&plain());
    // Beyond a gap, and then an acknowledgment from before it: simulator, black hole behind which a FIN overtook its data.
    rig.input(&with_window(seg(100, 0, Flags::ACK, &[1; 100]), 3000));
    (0..5).for_each(|_| rig.push(1000));
    let first: Vec<_> = rig.sent();
    assert!(
        first.ends_with(&[(0, 1000), (1000, 1000), (2000, 1000)]),
        "{first:?}"
    );
    rig.input(&with_window(ack(2000), 1000));
    assert_eq!(
        rig.sent(),
        [],
        "all that fits into 1,000 octets after 2,000 is under way"
    );
    rig.input(&with_window(ack(3000), 1000));
    assert_eq!(rig.sent(), [(3000, 1000)]);
}

#[test]
fn t13_a_fin_alone_is_probed_with_the_fin() {
    let mut rig = Rig::new(&plain());
    rig.input(&with_window(ack(0), 0));
    rig.tcb.finish();
    assert_eq!(rig.drain().len(), 0);
    rig.at(1000);
    let out = rig.drain();
    assert!(out[0].flags.has(Flags::FIN) && out[0].payload.is_none());
    rig.input(&with_window(ack(1), 0));
    assert_eq!(rig.tcb.state(), crate::tcp::State::FinWait2);
}

#[test]
fn t13_an_owner_with_data_elsewhere_may_ask_for_the_window() {
    let mut rig = Rig::new(&plain());
    rig.tcb.ask_window(rig.now);
    assert_eq!(rig.deadline_ms(), None, "it is open");
    rig.input(&with_window(ack(0), 0));
    let mut at = 0;
    for wait in [1, 2, 4] {
        rig.tcb.ask_window(rig.now);
        rig.tcb.ask_window(rig.now);
        at += wait * 1000;
        rig.at(at - 1);
        assert!(rig.drain().is_empty(), "1 ms before {at}");
        rig.at(at);
        let out = rig.drain();
        assert_eq!(out.len(), 1, "at {at}");
        assert!(out[0].payload.is_none() && out[0].seq == SeqNum(rig.tcb.snd_nxt().0 - 1));
        assert_eq!(rig.deadline_ms(), None, "once");
        rig.input(&with_window(ack(0), 0));
    }
    // What is open in time is not asked for, and the next time it begins anew.
    rig.tcb.ask_window(rig.now);
    rig.input(&with_window(ack(0), 5000));
    rig.at(at + 8000);
    assert!(rig.drain().is_empty());
    rig.input(&with_window(ack(0), 0));
    rig.tcb.ask_window(rig.now);
    assert_eq!(rig.due_ms(), Some(at + 9000));
    // Data that is queued meanwhile is probed with as ever.
    rig.push(1000);
    rig.at(at + 9000);
    assert_eq!(rig.sent(), [(0, 1)]);
    assert!(!rig.tcb.timed_out());
}

#[test]
fn t13_a_peer_that_does_not_say_its_window_is_given_up() {
    let mut rig = Rig::new(&plain());
    rig.input(&with_window(ack(0), 0));
    let mut probes = 0;
    while !rig.tcb.timed_out() {
        rig.tcb.ask_window(rig.now);
        let due = rig.due_ms().expect("it is asked for");
        rig.at(due);
        probes += rig.drain().len();
        assert!(probes < 100);
    }
    assert_eq!(probes, 15);
}

#[test]
fn t13_a_small_window_is_filled_only_when_it_is_half_or_nothing_else_moves() {
    let mut rig = Rig::new(&plain());
    rig.input(&with_window(ack(0), 400));
    rig.push(1000);
    assert_eq!(rig.sent(), [], "400 of 65,535 is a silly window");
    rig.at(1000);
    assert_eq!(rig.sent(), [(0, 400)], "the override timeout");
    rig.input(&with_window(ack(400), 600));
    assert_eq!(rig.sent(), [(400, 600)]);
    let mut rig = Rig::new(&Agreed {
        snd_wnd: 800,
        ..plain()
    });
    rig.push(1000);
    assert_eq!(rig.sent(), [(0, 800)], "all that this peer ever offers");
}

#[test]
fn t13_acks_wait_40_ms_or_for_the_second_segment() {
    let mut rig = Rig::new(&plain());
    rig.input(&seg(0, 0, Flags::ACK, &[1; 1000]));
    assert!(rig.drain().is_empty());
    assert_eq!(rig.deadline_ms(), Some(40));
    rig.input(&seg(1000, 0, Flags::ACK, &[1; 1000]));
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 2001));
    assert_eq!(rig.deadline_ms(), None);
    rig.input(&seg(2000, 0, Flags::ACK, &[1; 1000]));
    rig.at(39);
    assert!(rig.drain().is_empty());
    rig.at(40);
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 3001));
}

/// RFC 5681 4.2 has each segment beyond a gap answered at once. Three answers start a recovery; more to what came together
/// would be a burst for nothing.
#[test]
fn t13_a_burst_beyond_a_gap_is_answered_three_times() {
    let mut rig = Rig::new(&plain());
    for n in 1..20 {
        rig.input(&seg(n * 1000, 0, Flags::ACK, &[1; 1000]));
    }
    assert_eq!(rig.drain().len(), 3);
    rig.input(&seg(20_000, 0, Flags::ACK, &[1; 1000]));
    assert_eq!(rig.drain().len(), 1);
}

#[test]
fn t13_data_carries_the_ack() {
    let mut rig = Rig::new(&plain());
    rig.input(&seg(0, 0, Flags::ACK, &[1; 1000]));
    rig.push(10);
    let out = rig.drain();
    assert_eq!((out.len(), out[0].ack), (1, SeqNum(IRS + 1001)));
    rig.input(&seg(1000, 10, Flags::ACK, &[]));
    assert_eq!(rig.deadline_ms(), None);
}

#[test]
fn t10_beyond_a_gap_and_into_it_are_acknowledged_at_once() {
    let mut rig = Rig::new(&with_sack());
    rig.input(&seg(1000, 0, Flags::ACK, &[2; 1000]));
    let out = rig.drain();
    assert_eq!((out.len(), out[0].ack), (1, SeqNum(IRS + 1)));
    let block = out[0].options.sack[0];
    assert_eq!(
        (block.start, block.end),
        (SeqNum(IRS + 1001), SeqNum(IRS + 2001))
    );
    rig.input(&seg(0, 0, Flags::ACK, &[1; 500]));
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 501));
    rig.input(&seg(500, 0, Flags::ACK, &[1; 500]));
    let out = rig.drain();
    assert_eq!(out[0].ack, SeqNum(IRS + 2001));
    assert!(out[0].options.sack.is_empty());
}

#[test]
fn t10_what_came_twice_is_reported_once() {
    let mut rig = Rig::new(&with_sack());
    rig.input(&seg(0, 0, Flags::ACK, &[1; 1000]));
    rig.input(&seg(0, 0, Flags::ACK, &[1; 1000]));
    let out = rig.drain();
    let block = out[0].options.sack[0];
    assert_eq!(
        (block.start, block.end),
        (SeqNum(IRS + 1), SeqNum(IRS + 1001))
    );
    rig.tcb.request_ack();
    assert!(rig.drain()[0].options.sack.is_empty());
    assert_eq!(rig.count(Counter::TcpDuplicate), 1);
}

#[test]
fn t13_a_reader_that_stalls_closes_the_window_and_opens_it_again() {
    let mut rig = Rig::new(&Agreed {
        rcv_wnd: 3000,
        ..plain()
    });
    for n in 0..3 {
        rig.input(&seg(n * 1000, 0, Flags::ACK, &[1; 1000]));
        rig.tcb.set_recv_room(3000);
    }
    let wnds: Vec<_> = rig.drain().iter().map(|out| out.wnd).collect();
    assert_eq!(wnds, [0]);
    // The peer's probe does not fit; it is answered, and what it acknowledges counts.
    rig.push(10);
    rig.drain();
    let probe = seg(3000, 10, Flags::ACK, b"x");
    assert_eq!(
        rig.input(&probe),
        crate::tcp::Verdict::Accepted { acked: 10 }
    );
    let out = rig.drain();
    assert_eq!((out[0].ack, out[0].wnd), (SeqNum(IRS + 3001), 0));
    // Half a segment of room is not said; a good part of the buffer is, at once.
    rig.tcb.take();
    rig.tcb.set_recv_room(2100);
    assert!(rig.drain().is_empty());
    rig.take_all();
    rig.tcb.set_recv_room(3000);
    assert_eq!(rig.drain()[0].wnd, 3000);
}

#[test]
fn t12_the_right_edge_never_moves_back() {
    let mut rig = Rig::new(&plain());
    let mut edge = SeqNum(IRS + 1) + 65_535;
    let rooms = [65_535, 10, 0, 30_000, 65_535, 1, 50_000, 0];
    for (n, room) in (0..).zip(rooms) {
        rig.input(&seg(n * 1000, 0, Flags::ACK, &[1; 1000]));
        rig.take_all();
        rig.tcb.set_recv_room(room);
        rig.tcb.request_ack();
        let out = rig.drain();
        let now = out[0].ack + u32::from(out[0].wnd);
        assert!(now >= edge, "room {room}");
        edge = now;
    }
}

#[test]
fn t13_text_beyond_the_window_is_cut_and_answered() {
    let mut rig = Rig::new(&Agreed {
        rcv_wnd: 1500,
        ..plain()
    });
    rig.input(&seg(0, 0, Flags::ACK, &[1; 1000]));
    rig.input(&seg(1000, 0, Flags::ACK, &[2; 1000]));
    assert_eq!(rig.take_all().len(), 1500);
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 1501));
    rig.input(&seg(5000, 0, Flags::ACK, &[2; 1000]));
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 1501));
    assert_eq!(rig.count(Counter::TcpDropWindow), 1);
}

#[test]
fn send_space_is_what_would_leave_at_once() {
    let mut rig = Rig::new(&Agreed {
        snd_wnd: 6_000,
        rtt: Some(Duration::from_millis(10)),
        ..plain()
    });
    assert_eq!(rig.tcb.send_space(), 6_000);
    rig.push(1000);
    assert_eq!(rig.tcb.send_space(), 5_000);
    rig.sent();
    assert_eq!(rig.tcb.send_space(), 5_000);
    rig.input(&ack(1000));
    assert_eq!(rig.tcb.send_space(), 10_000, "the congestion window");
    rig.tcb.finish();
    assert_eq!(rig.tcb.send_space(), 0);
}

#[test]
fn items_keep_their_options_and_their_edges() {
    let mut rig = Rig::new(&plain());
    let upper: crate::wire::tcp::OptBytes = [30, 4, 1, 2].into_iter().collect();
    let max = rig.tcb.max_payload(upper.len());
    assert_eq!(max, 996);
    for len in [10, 20] {
        rig.tcb.push(crate::tcp::Item {
            payload: super::rig::slice(&vec![7; len]),
            upper,
            psh: true,
        });
    }
    rig.tcb.finish();
    let out = rig.drain();
    assert_eq!(out.len(), 2);
    assert!(out.iter().all(|seg| seg.options.mptcp == upper));
    assert_eq!(out[1].flags, Flags::ACK.with(Flags::PSH).with(Flags::FIN));
}

#[test]
fn a_connection_is_small() {
    // What a packet buffer in ordinary memory takes is the largest that B will be. Eight cache lines, of which loss
    // recovery by time and the curve of congestion control take two; and what probes a silent peer, as nearly every
    // connection has that.
    let probing = size_of::<crate::tcp::keepalive::Keepalive>();
    let size = size_of::<crate::tcp::Tcb<super::rig::Buf>>();
    assert!(size <= 512 + probing, "{size} octets");
}

/// Who has filled our window sends its ACKs from the octet after it. Behind a gap that is not RCV.NXT, and what they
/// acknowledge must count all the same.
#[test]
fn t13_acks_from_the_edge_of_a_full_window_count() {
    let mut rig = Rig::new(&plain());
    rig.push(1000);
    rig.drain();
    for n in 1..65 {
        rig.input(&seg(n * 1000, 0, Flags::ACK, &[1; 1000]));
    }
    rig.input(&seg(65_000, 0, Flags::ACK, &[1; 535]));
    rig.drain();
    let verdict = rig.input(&seg(65_535, 1000, Flags::ACK, &[]));
    assert_eq!(verdict, crate::tcp::Verdict::Accepted { acked: 1000 });
    assert!(rig.drain().is_empty());
    assert_eq!(rig.deadline_ms(), None, "nothing is in flight");
    // One further is outside.
    let verdict = rig.input(&seg(65_536, 1000, Flags::ACK, &[]));
    assert_eq!(verdict, crate::tcp::Verdict::Dropped);
}

/// A FIN that finds the window closed is not taken; its sender must hear that we live, or it gives up.
#[test]
fn t13_a_fin_at_a_closed_window_is_answered() {
    let mut rig = Rig::new(&Agreed {
        rcv_wnd: 3000,
        ..plain()
    });
    for n in 0..3 {
        rig.input(&seg(n * 1000, 0, Flags::ACK, &[1; 1000]));
        rig.tcb.set_recv_room(3000);
    }
    rig.drain();
    rig.input(&seg(3000, 0, Flags::ACK.with(Flags::FIN), &[]));
    let out = rig.drain();
    let answers: Vec<_> = out.iter().map(|out| (out.ack, out.wnd)).collect();
    assert_eq!(answers, [(SeqNum(IRS + 3001), 0)]);
    // Room comes, and the FIN again.
    rig.take_all();
    rig.tcb.set_recv_room(3000);
    rig.input(&seg(3000, 0, Flags::ACK.with(Flags::FIN), &[]));
    assert!(rig.tcb.fin_received());
}

/// A window's worth of single octets, each behind a gap of its own, would take a buffer for each.
#[test]
fn what_waits_behind_gaps_is_bounded_in_pieces_too_and_the_gap_is_closed_all_the_same() {
    let mut rig = Rig::new(&plain());
    for n in 0..1_000 {
        rig.input(&seg(1 + 2 * n, 0, Flags::ACK, b"x"));
        assert_eq!(rig.drain().len(), 1, "each is answered at once");
    }
    let waiting = rig.count(Counter::TcpOutOfOrder);
    assert!((50..500).contains(&waiting), "{waiting}");
    assert_eq!(rig.count(Counter::TcpReassemblyFull), 1_000 - waiting);
    rig.input(&seg(0, 0, Flags::ACK, b"y"));
    assert_eq!(rig.take_all(), b"yx");
    // What was refused was not acknowledged, and is taken when it comes again.
    for n in 1..1_000 {
        rig.input(&seg(2 * n, 0, Flags::ACK, b"yx"));
        assert_eq!(rig.take_all(), b"yx", "{n}");
    }
}
