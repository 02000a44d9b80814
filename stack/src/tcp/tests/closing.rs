//! The end of a connection, in every order (RFC 9293 3.6, 3.10.4, 3.10.7.4).

use super::rig::{IRS, ISS, Rig, ack, payload, plain, seg, stamped, with_ts};
use crate::tcp::{State, Verdict};
use crate::wire::tcp::Flags;
use crate::{Counter, SeqNum};

fn fin() -> Flags {
    Flags::ACK.with(Flags::FIN)
}

#[test]
fn t4_active_close_passes_fin_wait_1_and_2_and_time_wait() {
    let mut rig = Rig::new(&plain());
    rig.push(10);
    rig.tcb.finish();
    assert_eq!(rig.tcb.state(), State::FinWait1);
    let out = rig.drain();
    assert_eq!(out.len(), 1, "FIN goes with the last data");
    assert!(out[0].flags.has(Flags::FIN));
    assert_eq!(payload(&out[0]).len(), 10);
    rig.input(&ack(10));
    assert_eq!(
        rig.tcb.state(),
        State::FinWait1,
        "the FIN itself is not acknowledged"
    );
    rig.input(&ack(11));
    assert_eq!(rig.tcb.state(), State::FinWait2);
    // Half closed: the peer may still send.
    rig.input(&seg(0, 11, Flags::ACK, b"more"));
    assert_eq!(rig.take_all(), b"more");
    rig.input(&seg(4, 11, fin(), &[]));
    assert_eq!(rig.tcb.state(), State::FinWait2);
    rig.tcb.accept_fin();
    assert_eq!(rig.tcb.state(), State::TimeWait);
    let out = rig.drain();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].ack, SeqNum(IRS + 1 + 5));
    assert_eq!(rig.deadline_ms(), Some(60_000));
    rig.at(60_000);
    assert!(rig.tcb.is_closed() && !rig.tcb.timed_out());
}

#[test]
fn t4_the_peers_fin_is_not_acknowledged_before_its_owner_accepts_it() {
    let mut rig = Rig::new(&plain());
    rig.input(&seg(0, 0, fin(), b"last"));
    assert!(!rig.tcb.fin_received(), "data before it was not taken");
    rig.tcb.accept_fin();
    assert_eq!(rig.tcb.state(), State::Established);
    assert_eq!(rig.take_all(), b"last");
    assert!(rig.tcb.fin_received());
    rig.at(40);
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 1 + 4));
    // The FIN again: answered, not acknowledged.
    rig.input(&seg(4, 0, fin(), &[]));
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 1 + 4));
    rig.tcb.accept_fin();
    assert_eq!(rig.tcb.state(), State::CloseWait);
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 1 + 5));
    assert!(!rig.tcb.fin_received());
}

#[test]
fn t4_half_close_the_other_way_sends_on_then_last_ack() {
    let mut rig = Rig::new(&plain());
    rig.input(&seg(0, 0, fin(), &[]));
    rig.tcb.accept_fin();
    rig.push(1000);
    assert_eq!(rig.sent(), [(0, 1000)]);
    rig.tcb.finish();
    assert_eq!(rig.tcb.state(), State::LastAck);
    assert!(!rig.tcb.fin_sent());
    let out = rig.drain();
    assert!(out[0].flags.has(Flags::FIN) && out[0].payload.is_none());
    assert_eq!(out[0].seq, SeqNum(ISS + 1001));
    assert!(rig.tcb.fin_sent());
    assert_eq!(rig.tcb.push_seq(), SeqNum(ISS + 1001));
    rig.input(&seg(1, 1001, Flags::ACK, &[]));
    assert!(rig.tcb.is_closed() && !rig.tcb.timed_out());
    assert_eq!(rig.tcb.next_deadline(), None);
}

#[test]
fn t4_simultaneous_close_passes_closing() {
    let mut rig = Rig::new(&plain());
    rig.tcb.finish();
    rig.drain();
    rig.input(&seg(0, 0, fin(), &[]));
    rig.tcb.accept_fin();
    assert_eq!(rig.tcb.state(), State::Closing);
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 2));
    rig.input(&seg(1, 1, Flags::ACK, &[]));
    assert_eq!(rig.tcb.state(), State::TimeWait);
}

#[test]
fn t4_fin_and_its_acknowledgment_in_one_segment() {
    let mut rig = Rig::new(&plain());
    rig.tcb.finish();
    rig.drain();
    rig.input(&seg(0, 1, fin(), b"bye"));
    assert_eq!(rig.tcb.state(), State::FinWait2);
    assert_eq!(rig.take_all(), b"bye");
    rig.tcb.accept_fin();
    assert_eq!(rig.tcb.state(), State::TimeWait);
}

#[test]
fn t4_a_fin_beyond_a_gap_waits_for_the_gap() {
    let mut rig = Rig::new(&plain());
    rig.input(&seg(3, 0, fin(), b"def"));
    assert!(!rig.tcb.fin_received());
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 1));
    rig.input(&seg(0, 0, Flags::ACK, b"abc"));
    assert_eq!(rig.take_all(), b"abcdef");
    assert!(rig.tcb.fin_received());
}

#[test]
fn t4_data_beyond_the_fin_is_cut_off() {
    let mut rig = Rig::new(&plain());
    rig.input(&seg(0, 0, fin(), b"abc"));
    rig.input(&seg(0, 0, Flags::ACK, b"abcdef"));
    assert_eq!(rig.take_all(), b"abc");
    assert!(rig.tcb.fin_received());
}

#[test]
fn t4_our_fin_is_resent_until_acknowledged() {
    let mut rig = Rig::new(&plain());
    rig.tcb.finish();
    assert!(rig.drain()[0].flags.has(Flags::FIN));
    rig.at(1000);
    let again = rig.drain();
    assert!(again[0].flags.has(Flags::FIN));
    assert_eq!(again[0].seq, SeqNum(ISS + 1));
}

#[test]
fn t3_time_wait_ignores_resets_and_answers_the_fin_again() {
    let mut rig = Rig::new(&plain());
    rig.tcb.finish();
    rig.drain();
    rig.input(&seg(0, 1, fin(), &[]));
    rig.tcb.accept_fin();
    rig.drain();
    assert_eq!(rig.input(&seg(1, 1, Flags::RST, &[])), Verdict::Dropped);
    assert_eq!(rig.tcb.state(), State::TimeWait, "RFC 1337");
    rig.at(30_000);
    rig.input(&seg(0, 1, fin(), &[]));
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 2));
    assert_eq!(rig.deadline_ms(), Some(90_000), "the wait starts over");
}

#[test]
fn t3_the_small_time_wait_does_the_same() {
    let mut rig = Rig::new(&plain());
    rig.tcb.finish();
    rig.drain();
    rig.input(&seg(0, 1, fin(), &[]));
    rig.tcb.accept_fin();
    rig.drain();
    let mut small = rig.tcb.time_wait(rig.now).unwrap();
    let mut cx = crate::Cx {
        now: rig.now + crate::time::Duration::from_secs(30),
        rng: &mut rig.rng,
        counters: &mut rig.counters,
    };
    assert!(small.input(&mut cx, &seg(1, 1, Flags::RST, &[])).is_none());
    assert!(small.input(&mut cx, &seg(1, 1, Flags::ACK, &[])).is_none());
    let answer = small.input(&mut cx, &seg(0, 1, fin(), &[])).unwrap();
    assert_eq!((answer.seq, answer.ack), (SeqNum(ISS + 2), SeqNum(IRS + 2)));
    assert_eq!(small.deadline(), cx.now + crate::tcp::time_wait::TWO_MSL);
    // A new incarnation: a SYN beyond all that was used (RFC 9293 3.6.1).
    assert!(small.gives_way_to(&seg(1000, 0, Flags::SYN, &[])));
    assert!(!small.gives_way_to(&seg(0, 0, Flags::SYN, &[])));
    assert!(!small.gives_way_to(&seg(1000, 0, Flags::SYN.with(Flags::ACK), &[])));
}

/// RFC 6191 2, but for its second part's first rule, and RFC 9293 3.6.1.
#[test]
fn t3_a_syn_takes_the_tuple_over_by_a_later_clock_or_a_later_number() {
    // (the old connection's clock, the SYN's, the SYN's number counted from the octet after the old FIN, taken)
    let later = 1_000;
    let before = u32::MAX - 100;
    let rows = [
        (Some(50), Some(51), before, true),
        (Some(50), Some(49), later, false),
        (Some(50), Some(50), later, true),
        (Some(50), Some(50), before, false),
        (Some(50), None, later, true),
        (Some(50), None, before, false),
        (None, Some(1), later, true),
        (None, Some(1), before, false),
        (None, None, later, true),
        (None, None, before, false),
        // The clock wraps, and so does the number.
        (Some(u32::MAX), Some(3), before, true),
        (Some(3), Some(u32::MAX), later, false),
    ];
    for (old, new, number, taken) in rows {
        let stamp = |seg, clock: Option<u32>| match clock {
            Some(val) => stamped(seg, val, 0),
            None => seg,
        };
        let mut rig = Rig::new(&old.map_or_else(plain, with_ts));
        rig.tcb.finish();
        rig.drain();
        rig.input(&stamp(seg(0, 1, fin(), &[]), old));
        rig.tcb.accept_fin();
        rig.drain();
        let small = rig.tcb.time_wait(rig.now).unwrap();
        assert_eq!(small.used(), SeqNum(ISS + 2));
        let syn = stamp(seg(1u32.wrapping_add(number), 0, Flags::SYN, &[]), new);
        assert_eq!(small.gives_way_to(&syn), taken, "{old:?} {new:?} {number}");
        for flags in [
            Flags::ACK,
            Flags::SYN.with(Flags::ACK),
            Flags::SYN.with(Flags::RST),
        ] {
            let other = stamp(seg(later, 0, flags, &[]), new);
            assert!(!small.gives_way_to(&other), "{flags:?}");
        }
    }
}

#[test]
fn t1_finish_twice_and_push_after_it_do_nothing() {
    let mut rig = Rig::new(&plain());
    rig.tcb.finish();
    rig.tcb.finish();
    rig.push(10);
    assert_eq!(rig.tcb.queued(), 0);
    assert_eq!(rig.drain().len(), 1);
    assert_eq!(rig.count(Counter::TcpRetransmitted), 0);
}
