//! What an outsider, or an old duplicate, can do to a connection: nothing (RFC 5961, RFC 7323 5).

use super::rig::{IRS, ISS, Rig, ack, plain, seg, stamped, with_ts};
use crate::tcp::{State, Verdict};
use crate::wire::tcp::Flags;
use crate::{Counter, SeqNum};

const WND: u32 = 65_535;

/// (name, flags, sequence number, acknowledgment, verdict, state, whether an ACK answers)
type Row = (&'static str, Flags, u32, u32, Verdict, State, bool);

#[test]
fn t2_resets_and_syns_are_believed_only_at_the_very_number() {
    let (rst, syn, ack) = (Flags::RST, Flags::SYN, Flags::ACK);
    let back = u32::MAX;
    let (open, closed) = (State::Established, State::Closed);
    let rows: &[Row] = &[
        ("rst_at_rcv_nxt", rst, 0, 0, Verdict::Reset, closed, false),
        (
            "rst_ack_at_rcv_nxt",
            rst.with(ack),
            0,
            0,
            Verdict::Reset,
            closed,
            false,
        ),
        (
            "rst_in_window_draws_a_challenge_ack",
            rst,
            1,
            0,
            Verdict::Dropped,
            open,
            true,
        ),
        (
            "rst_at_window_end_draws_a_challenge_ack",
            rst,
            WND - 1,
            0,
            Verdict::Dropped,
            open,
            true,
        ),
        (
            "rst_beyond_window_is_dropped",
            rst,
            WND,
            0,
            Verdict::Dropped,
            open,
            false,
        ),
        (
            "rst_before_window_is_dropped",
            rst,
            back,
            0,
            Verdict::Dropped,
            open,
            false,
        ),
        (
            "syn_in_window_draws_a_challenge_ack",
            syn,
            10,
            0,
            Verdict::Dropped,
            open,
            true,
        ),
        (
            "syn_at_rcv_nxt_draws_a_challenge_ack",
            syn,
            0,
            0,
            Verdict::Dropped,
            open,
            true,
        ),
        (
            "syn_outside_draws_a_challenge_ack",
            syn,
            WND + 9,
            0,
            Verdict::Dropped,
            open,
            true,
        ),
        (
            "syn_ack_again_draws_an_ack",
            syn.with(ack),
            back,
            0,
            Verdict::Dropped,
            open,
            true,
        ),
        (
            "no_ack_bit_is_dropped",
            Flags(0),
            0,
            0,
            Verdict::Dropped,
            open,
            false,
        ),
        (
            "ack_of_the_future_draws_a_challenge_ack",
            ack,
            0,
            1001,
            Verdict::Dropped,
            open,
            true,
        ),
        (
            "ack_of_the_far_past_draws_a_challenge_ack",
            ack,
            0,
            back - WND,
            Verdict::Dropped,
            open,
            true,
        ),
        (
            "ack_of_the_near_past_is_taken",
            ack,
            0,
            back - WND + 1,
            Verdict::Accepted { acked: 0 },
            open,
            false,
        ),
        (
            "ack_is_taken",
            ack,
            0,
            1000,
            Verdict::Accepted { acked: 1000 },
            open,
            false,
        ),
        (
            "keepalive_draws_an_ack",
            ack,
            back,
            0,
            Verdict::Dropped,
            open,
            true,
        ),
    ];
    for (name, flags, seq, ack, verdict, state, answered) in rows {
        let mut rig = Rig::new(&plain());
        rig.push(1000);
        rig.drain();
        let got = rig.input(&seg(*seq, *ack, *flags, &[]));
        assert_eq!(got, *verdict, "{name}");
        assert_eq!(rig.tcb.state(), *state, "{name}");
        let answers = rig.drain();
        assert_eq!(!answers.is_empty(), *answered, "{name}");
        if let Some(answer) = answers.first() {
            assert_eq!(answer.flags, Flags::ACK, "{name}");
            assert_eq!(answer.seq, SeqNum(ISS + 1001), "{name}");
            assert_eq!(answer.ack, SeqNum(IRS + 1), "{name}");
        }
    }
}

#[test]
fn t2_challenge_acks_are_rationed() {
    let mut rig = Rig::new(&plain());
    for _ in 0..100 {
        rig.input(&seg(1, 0, Flags::RST, &[]));
        rig.drain();
    }
    assert_eq!(rig.count(Counter::TcpChallengeAck), 10);
    assert_eq!(rig.count(Counter::TcpChallengeAckLimited), 90);
    // Data that came again is no attack.
    rig.input(&seg(0, 0, Flags::ACK, b"abc"));
    rig.take_all();
    rig.at(40);
    rig.drain();
    rig.input(&seg(0, 0, Flags::ACK, b"abc"));
    assert_eq!(rig.drain().len(), 1);
}

#[test]
fn t2_a_reset_after_the_peers_fin_counts_one_further() {
    let mut rig = Rig::new(&plain());
    rig.input(&seg(0, 0, Flags::ACK.with(Flags::FIN), &[]));
    assert_eq!(rig.input(&seg(1, 0, Flags::RST, &[])), Verdict::Reset);
}

#[test]
fn t12_old_timestamps_are_answered_and_dropped() {
    let mut rig = Rig::new(&with_ts(100));
    let fresh = stamped(seg(0, 0, Flags::ACK, b"abc"), 101, 0);
    assert_eq!(rig.input(&fresh), Verdict::Accepted { acked: 0 });
    rig.tcb.request_ack();
    assert_eq!(rig.drain()[0].options.ts.unwrap().ecr, 101);
    let old = stamped(seg(3, 0, Flags::ACK, b"def"), 100, 0);
    assert_eq!(rig.input(&old), Verdict::Dropped);
    assert_eq!(rig.count(Counter::TcpDropPaws), 1);
    assert_eq!(rig.drain().len(), 1, "RFC 7323 5.3 R1: an ACK in reply");
    assert_eq!(rig.take_all(), b"abc");
    // The clock wraps: 2^31 - 1 later is later.
    let wrapped = stamped(seg(3, 0, Flags::ACK, b"def"), 101 + (1 << 31) - 1, 0);
    assert_eq!(rig.input(&wrapped), Verdict::Accepted { acked: 0 });
}

#[test]
fn t12_bug13_text_needs_a_timestamp_and_resets_and_bare_acks_do_not() {
    let mut rig = Rig::new(&with_ts(100));
    for flags in [Flags::ACK, Flags::ACK.with(Flags::FIN)] {
        assert_eq!(rig.input(&seg(0, 0, flags, b"abc")), Verdict::Dropped);
    }
    let fin = seg(0, 0, Flags::ACK.with(Flags::FIN), &[]);
    assert_eq!(rig.input(&fin), Verdict::Dropped);
    assert_eq!(rig.count(Counter::TcpDropPaws), 3);
    assert!(rig.drain().is_empty(), "RFC 7323 3.2: in silence");
    rig.push(1000);
    rig.drain();
    assert_eq!(rig.input(&ack(1000)), Verdict::Accepted { acked: 1000 });
    rig.tcb.request_ack();
    assert_eq!(rig.drain()[0].options.ts.unwrap().ecr, 100, "as before");
    // What the bare ACK says is checked like that of any other.
    assert_eq!(rig.input(&ack(1001)), Verdict::Dropped);
    assert_eq!(rig.count(Counter::TcpDropAck), 1);
    assert_eq!(rig.input(&seg(0, 0, Flags::RST, &[])), Verdict::Reset);
}

/// A peer that has restarted and uses timestamps no more must hear that we know nothing of that.
#[test]
fn t12_a_syn_without_a_timestamp_is_challenged() {
    let mut rig = Rig::new(&with_ts(100));
    assert_eq!(rig.input(&seg(5, 0, Flags::SYN, &[])), Verdict::Dropped);
    assert_eq!(rig.drain()[0].flags, Flags::ACK);
    assert_eq!(rig.count(Counter::TcpChallengeAck), 1);
}

#[test]
fn t12_timestamps_are_forgotten_after_24_days() {
    let mut rig = Rig::new(&with_ts(100));
    rig.at(25 * 24 * 3600 * 1000);
    let old = stamped(seg(0, 0, Flags::ACK, b"abc"), 99, 0);
    assert_eq!(rig.input(&old), Verdict::Accepted { acked: 0 });
}

/// Whoever cannot guess an acknowledgment must not turn our clock of the peer forward: all that it sends would be old.
#[test]
fn t12_a_segment_that_is_not_believed_leaves_ts_recent_alone() {
    let far = 100 + (1 << 30);
    for (name, flags, acked) in [
        ("SYN", Flags::ACK.with(Flags::SYN), 0),
        ("ACK of the future", Flags::ACK, 1_000),
        ("ACK of the past", Flags::ACK, u32::MAX - WND),
        ("no ACK", Flags::PSH, 0),
    ] {
        let mut rig = Rig::new(&with_ts(100));
        let forged = stamped(seg(0, acked, flags, b"forged"), far, 0);
        assert_eq!(rig.input(&forged), Verdict::Dropped, "{name}");
        let real = stamped(seg(0, 0, Flags::ACK, b"abc"), 101, 0);
        assert_eq!(rig.input(&real), Verdict::Accepted { acked: 0 }, "{name}");
        assert_eq!(rig.take_all(), b"abc", "{name}");
    }
}

#[test]
fn t12_ts_recent_is_that_of_the_segment_that_the_ack_covers() {
    let mut rig = Rig::new(&with_ts(100));
    // Beyond a gap: not what is echoed (RFC 7323 4.3).
    rig.input(&stamped(seg(10, 0, Flags::ACK, b"later"), 120, 0));
    assert_eq!(rig.drain()[0].options.ts.unwrap().ecr, 100);
    rig.input(&stamped(seg(0, 0, Flags::ACK, b"0123456789"), 110, 0));
    assert_eq!(rig.drain()[0].options.ts.unwrap().ecr, 110);
}

#[test]
fn t18_urgent_data_is_data() {
    let mut rig = Rig::new(&plain());
    rig.input(&seg(0, 0, Flags::ACK.with(Flags::URG), b"abc"));
    assert_eq!(rig.take_all(), b"abc");
}

#[test]
fn t1_a_closed_connection_says_nothing() {
    let mut rig = Rig::new(&plain());
    rig.push(1000);
    rig.drain();
    let reset = rig.abort().unwrap();
    assert_eq!(reset.flags, Flags::RST.with(Flags::ACK));
    assert_eq!(reset.seq, SeqNum(ISS + 1001));
    assert_eq!(rig.count(Counter::TcpResetSent), 1);
    assert!(rig.abort().is_none());
    assert_eq!(rig.input(&ack(0)), Verdict::Dropped);
    assert!(rig.drain().is_empty());
    assert_eq!(rig.tcb.next_deadline(), None);
    rig.push(10);
    assert_eq!(rig.tcb.queued(), 0);
}

/// RFC 5961 5.2 counts from the largest window there was: an acknowledgment that was overtaken is no attack although the
/// window has closed since.
#[test]
fn t2_an_old_acknowledgment_counts_by_the_largest_window() {
    let mut rig = Rig::new(&plain());
    for _ in 0..5 {
        rig.push(1000);
    }
    rig.drain();
    let mut closed = ack(5000);
    closed.wnd = 0;
    assert_eq!(rig.input(&closed), Verdict::Accepted { acked: 5000 });
    assert_eq!(rig.input(&ack(1000)), Verdict::Accepted { acked: 0 });
    assert_eq!(rig.count(Counter::TcpDropAck), 0);
}
