//! Of RFC 9293's list of MUSTs, those that no mechanism of ours has tests of its own for.

use super::network::as_received;
use super::rig::{IRS, ISS, Rig, ack, payload, plain, seg};
use crate::SeqNum;
use crate::tcp::Agreed;
use crate::wire::tcp::Flags;

/// MUST-1: the window field is a number without sign, all of which may be in flight.
#[test]
fn t13_must_1_a_window_above_32767_is_used_whole() {
    let mut rig = Rig::new(&plain());
    let (mut pushed, mut acked) = (0, 0);
    while rig.tcb.cwnd() < 70_000 {
        while pushed < acked + 64_000 {
            rig.push(1_000);
            pushed += 1_000;
        }
        rig.drain();
        acked = rig.tcb.snd_nxt() - SeqNum(ISS + 1);
        rig.input(&ack(acked));
    }
    for _ in 0..70 {
        rig.push(1_000);
    }
    rig.drain();
    assert_eq!(rig.tcb.flight_size(), 65_000);
}

/// MUST-34, SHLD-15 to 17: a window that was drawn in stops what is new, not what is on its way, and does not end anything.
#[test]
fn t13_must_34_a_window_that_shrinks_is_survived() {
    let mut rig = Rig::new(&plain());
    for _ in 0..12 {
        rig.push(1_000);
    }
    assert_eq!(rig.drain().len(), 10);
    let mut shrunk = ack(1_000);
    shrunk.wnd = 2_000;
    rig.input(&shrunk);
    assert!(rig.drain().is_empty(), "2,000 beyond what is acknowledged");
    for _ in 0..3 {
        rig.now = rig.tcb.next_deadline().unwrap();
        rig.advance();
        let again = rig.sent();
        assert_eq!(again.first(), Some(&(1_000, 1_000)), "SHLD-16: resent");
    }
    rig.input(&ack(10_000));
    let fresh = rig.sent();
    assert_eq!(fresh.first(), Some(&(10_000, 1_000)));
    assert!(!rig.tcb.is_closed());
}

/// MUST-37: a window that stays closed is no reason to close; MUST-66: nor to miss a reset.
#[test]
fn t13_must_66_a_reset_counts_while_our_window_is_closed() {
    let mut rig = Rig::new(&Agreed {
        rcv_wnd: 0,
        ..plain()
    });
    let urgent = Flags::ACK.with(Flags::URG);
    rig.push(10);
    rig.drain();
    let verdict = rig.input(&seg(0, 10, urgent, b"!"));
    assert_eq!(verdict, crate::tcp::Verdict::Accepted { acked: 10 });
    assert_eq!(rig.drain()[0].ack, SeqNum(IRS + 1), "but not the text");
    assert_eq!(
        rig.input(&seg(0, 0, Flags::RST, &[])),
        crate::tcp::Verdict::Reset
    );
}

/// MUST-58 and 59: all that has arrived is taken before anything of it is acknowledged, and then once.
#[test]
fn t13_must_59_what_came_together_is_acknowledged_together() {
    let mut rig = Rig::new(&plain());
    for n in 0..20 {
        rig.input(&seg(n * 1_000, 0, Flags::ACK, &[1; 1_000]));
    }
    let out = rig.drain();
    assert_eq!((out.len(), out[0].ack), (1, SeqNum(IRS + 20_001)));
}

/// MUST-65: what is agreed in SYNs is said in no other segment.
#[test]
fn t12_must_65_options_of_a_syn_are_in_no_other_segment() {
    let mut rig = Rig::new(&plain());
    rig.push(1_000);
    rig.tcb.request_ack();
    rig.tcb.finish();
    let mut all = rig.drain();
    rig.at(1_000);
    all.extend(rig.drain());
    all.extend(rig.abort());
    assert!(all.len() >= 3);
    for out in all {
        let options = out.options;
        assert_eq!((options.mss, options.wscale), (None, None));
        assert!(!options.sack_permitted);
    }
}

/// MUST-60 and 61, where there is no PUSH in a SEND: the last segment of what was queued at once has it. And MUST-62: text
/// of any length is urgent like other text, and is delivered in line.
#[test]
fn t13_must_61_the_last_segment_of_a_write_is_pushed() {
    let mut rig = Rig::new(&plain());
    rig.tcb.send(super::rig::slice(&[7; 2_500]));
    let out = rig.drain();
    let pushed: Vec<_> = out.iter().map(|out| out.flags.has(Flags::PSH)).collect();
    assert_eq!(pushed, [false, false, true]);
    let mut peer = Rig::new(&Agreed::plain(SeqNum(IRS), SeqNum(ISS), 1_000));
    for out in &out {
        let mut arrived = as_received(out);
        arrived.flags = arrived.flags.with(Flags::URG);
        peer.input(&arrived);
    }
    assert_eq!(
        peer.take_all().len(),
        out.iter().map(|o| payload(o).len()).sum()
    );
}
