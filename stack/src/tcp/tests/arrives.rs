//! SEGMENT ARRIVES (RFC 9293 3.10.7): every state, every combination of SYN, ACK, FIN, RST and text, at every kind of
//! sequence and acknowledgment number, against [`rules`], which knows nothing of our code.

mod rules;

use super::rig::{Buf, Rig, payload, slice};
use crate::flow::Tuple;
use crate::seq::SeqNum;
use crate::tcp::handshake::{AcceptVerdict, Accepting, Offer, OpenVerdict, Opening};
use crate::tcp::{Agreed, State, reset_for};
use crate::time::Duration;
use crate::wire::tcp::{Flags, OptBytes, Options, OutSegment, Segment};
use core::net::IpAddr;
use rules::{Block, Event, Is, Outcome, Reply, arrives};

/// The window that we offer at first, and the peer's.
const WND: i64 = 100;
const SND_WND: i64 = 1_000;
/// Octets of ours on their way where the state has any.
const FLIGHT: i64 = 20;
/// How long an ACK may wait for company here: less than the least RTO, and than the 500 ms of RFC 9293 3.8.6.3.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where both ends' numbers begin.
#[derive(Clone, Copy, Debug)]
struct Base {
    iss: SeqNum,
    irs: SeqNum,
}

fn number(base: SeqNum, at: i64) -> SeqNum {
    let offset = u32::try_from(at.rem_euclid(1 << 32)).unwrap();
    base + 1 + offset
}

fn relative(base: SeqNum, number: SeqNum) -> i64 {
    i64::from(number.distance(base + 1))
}

/// The octet that stands at a place of the peer's stream.
fn octet(at: i64) -> u8 {
    u8::try_from(at.rem_euclid(251)).unwrap()
}

fn segment(base: Base, event: &Event) -> Segment<Buf> {
    let flags = [
        (event.syn, Flags::SYN),
        (event.ack.is_some(), Flags::ACK),
        (event.fin, Flags::FIN),
        (event.rst, Flags::RST),
    ];
    let flags = flags.iter().filter(|(set, _)| *set);
    let text = (0..event.text).map(|n| octet(event.seq + i64::from(event.syn) + n));
    let host = IpAddr::from([10, 9, 0, 2]);
    Segment {
        tuple: Tuple {
            src: host,
            dst: host,
            src_port: 80,
            dst_port: 4_000,
        },
        seq: number(base.irs, event.seq),
        ack: number(base.iss, event.ack.unwrap_or(7)),
        flags: flags.fold(Flags(0), |all, (_, flag)| all.with(*flag)),
        wnd: u16::try_from(SND_WND).unwrap(),
        options: Options::default(),
        payload: slice(&text.collect::<Vec<_>>()),
        tos: 0,
    }
}

/// What the numbers are in each state as [`reach`] makes it.
fn block(is: Is, wnd: i64) -> Block {
    let (una, nxt) = match is {
        Is::SynSent | Is::SynReceived | Is::SynCrossed => (-1, 0),
        Is::FinWait2 | Is::TimeWait => (1, 1),
        Is::FinWait1 | Is::Closing | Is::LastAck => (0, FLIGHT + 1),
        Is::Established | Is::CloseWait | Is::Closed => (0, FLIGHT),
    };
    let fin_taken = matches!(is, Is::CloseWait | Is::Closing | Is::LastAck | Is::TimeWait);
    Block {
        is,
        una,
        nxt,
        wnd_max: SND_WND,
        fin_sent: !matches!(is, Is::Established | Is::CloseWait),
        rcv_nxt: i64::from(fin_taken),
        rcv_wnd: wnd,
    }
}

/// A connection in that state, with a receive window of `wnd`.
fn reach(is: Is, base: Base, wnd: i64) -> Rig {
    let before = wnd + block(is, wnd).rcv_nxt;
    let mut rig = Rig::new(&Agreed {
        snd_wnd: u32::try_from(SND_WND).unwrap(),
        rcv_wnd: u32::try_from(before).unwrap(),
        ..Agreed::plain(base.iss, base.irs, 1_000)
    });
    let input = |rig: &mut Rig, fin, ack| {
        let event = Event {
            seq: 0,
            ack: Some(ack),
            syn: false,
            fin,
            rst: false,
            text: 0,
        };
        rig.input(&segment(base, &event));
        if fin {
            rig.tcb.accept_fin();
        }
        rig.drain();
    };
    if matches!(is, Is::CloseWait | Is::LastAck) {
        input(&mut rig, true, 0);
    }
    if !matches!(is, Is::FinWait2 | Is::TimeWait) {
        rig.push(usize::try_from(FLIGHT).unwrap());
    }
    if !matches!(is, Is::Established | Is::CloseWait) {
        rig.tcb.finish();
    }
    rig.drain();
    match is {
        Is::FinWait2 => input(&mut rig, false, 1),
        Is::Closing => input(&mut rig, true, 0),
        Is::TimeWait => input(&mut rig, true, 1),
        _ => {},
    }
    rig
}

fn name_of(state: State) -> Is {
    match state {
        State::Established => Is::Established,
        State::FinWait1 => Is::FinWait1,
        State::FinWait2 => Is::FinWait2,
        State::CloseWait => Is::CloseWait,
        State::Closing => Is::Closing,
        State::LastAck => Is::LastAck,
        State::TimeWait => Is::TimeWait,
        State::Closed => Is::Closed,
    }
}

/// Lets the owner of `rig` do what it does after a segment, and sees what came of it.
fn settle(rig: &mut Rig, base: Base, before: &Block) -> Outcome {
    let got = rig.take_all();
    let first = usize::try_from(before.rcv_nxt).unwrap();
    for (n, octet_got) in got.iter().enumerate() {
        let at = i64::try_from(first + n).unwrap();
        assert_eq!(*octet_got, octet(at), "the octet at {at}");
    }
    rig.tcb.accept_fin();
    let mut out = rig.drain();
    rig.now = rig.now + PATIENCE;
    let waiting = rig.tcb.next_deadline().is_some_and(|at| at <= rig.now);
    if waiting {
        rig.advance();
        out.extend(rig.drain());
    }
    // What retransmits is no reply.
    out.retain(|out| payload(out).is_empty() && !out.flags.has(Flags::FIN));
    for ack in &out {
        assert_eq!(ack.flags, Flags::ACK);
        assert_eq!(ack.seq, rig.tcb.snd_nxt(), "SEQ");
        assert_eq!(ack.ack, rig.tcb.rcv_nxt(), "ACK");
    }
    Outcome {
        is: name_of(rig.tcb.state()),
        reply: if out.is_empty() {
            Reply::Nothing
        } else {
            Reply::Ack
        },
        una: relative(base.iss, rig.tcb.snd_una()),
        rcv_nxt: relative(base.irs, rig.tcb.rcv_nxt()),
        held: i64::try_from(rig.tcb.out_of_order()).unwrap(),
        waits_anew: false,
    }
}

/// What our code makes of the segment in a state that has a [`crate::tcp::Tcb`].
fn run_tcb(before: &Block, base: Base, event: &Event) -> Outcome {
    let mut rig = reach(before.is, base, before.rcv_wnd);
    let waits_until = rig.tcb.next_deadline();
    rig.now = rig.now + Duration::from_millis(1);
    rig.input(&segment(base, event));
    let mut outcome = settle(&mut rig, base, before);
    if before.is == Is::TimeWait {
        outcome.waits_anew = rig.tcb.next_deadline() != waits_until;
    }
    outcome
}

/// The small value that is kept of TIME-WAIT knows neither window: what it need not answer it may, and nothing else differs.
fn run_small_time_wait(before: &Block, base: Base, event: &Event) -> Outcome {
    let rig = reach(before.is, base, before.rcv_wnd);
    let mut small = rig.tcb.time_wait(rig.now).unwrap();
    let ends = small.deadline();
    let mut rig = Rig::new(&Agreed::plain(base.iss, base.irs, 1_000));
    rig.now = rig.now + Duration::from_millis(1);
    let mut outcome = unchanged(before);
    let answer: Option<OutSegment<Buf>> = small.input(&mut rig.cx(), &segment(base, event));
    if let Some(out) = answer {
        assert_eq!(out.flags, Flags::ACK);
        assert_eq!(out.seq, number(base.iss, before.nxt));
        assert_eq!(out.ack, number(base.irs, before.rcv_nxt));
        let may = !event.rst && arrives(before, event).reply == Reply::Nothing;
        outcome.reply = if may { Reply::Nothing } else { Reply::Ack };
    }
    outcome.waits_anew = small.deadline() != ends;
    outcome
}

fn offer(wnd: i64) -> Offer {
    Offer {
        mss: Some(1_000),
        wnd: u16::try_from(wnd).unwrap(),
        ..Offer::default()
    }
}

/// The reply that a segment of the handshake is.
fn reply_of(out: &OutSegment<Buf>, before: &Block, base: Base, event: &Event) -> Reply {
    let (syn, rst) = (out.flags.has(Flags::SYN), out.flags.has(Flags::RST));
    if rst && out.flags.has(Flags::ACK) {
        let len = event.text + i64::from(event.syn) + i64::from(event.fin);
        assert_eq!(
            (out.seq, out.ack),
            (SeqNum(0), number(base.irs, event.seq + len))
        );
        return Reply::ResetAck;
    }
    if rst {
        assert_eq!(out.flags, Flags::RST);
        assert_eq!(out.seq, number(base.iss, event.ack.unwrap()));
        return Reply::Reset;
    }
    let rcv_nxt = if before.is == Is::SynSent {
        event.seq + 1
    } else {
        before.rcv_nxt
    };
    assert_eq!(out.ack, number(base.irs, rcv_nxt));
    assert!(out.flags.has(Flags::ACK));
    assert_eq!(out.seq, if syn { base.iss } else { base.iss + 1 });
    if syn { Reply::SynAck } else { Reply::Ack }
}

fn unchanged(before: &Block) -> Outcome {
    Outcome {
        is: before.is,
        reply: Reply::Nothing,
        una: before.una,
        rcv_nxt: before.rcv_nxt,
        held: 0,
        waits_anew: false,
    }
}

fn run_accepting(before: &Block, base: Base, event: &Event) -> Outcome {
    let mut rig = Rig::new(&Agreed::plain(base.iss, base.irs, 1_000));
    let ours = offer(before.rcv_wnd);
    let mut accepting = if before.is == Is::SynCrossed {
        let syn = Event {
            seq: -1,
            ack: None,
            syn: true,
            fin: false,
            rst: false,
            text: 0,
        };
        let opening = Opening::new(base.iss, &ours, rig.now);
        opening.crossed(&segment(base, &syn), 1_000, rig.now)
    } else {
        let peer = offer(SND_WND);
        Accepting::new(base.iss, base.irs, &peer, &ours, 1_000, rig.now)
    };
    let _: OutSegment<Buf> = accepting.syn_ack(rig.now, OptBytes::new());
    let segment = segment(base, event);
    let mut outcome = unchanged(before);
    match accepting.third_ack(&mut rig.cx(), &segment) {
        AcceptVerdict::Established(agreed) => {
            let mut rig = Rig::new(&agreed);
            rig.input(&segment);
            return settle(&mut rig, base, before);
        },
        AcceptVerdict::Resend => outcome.reply = Reply::SynAck,
        AcceptVerdict::Answer(out) => outcome.reply = reply_of(&out, before, base, event),
        AcceptVerdict::Reset => outcome.is = Is::Closed,
        AcceptVerdict::Dropped => {},
    }
    outcome
}

fn run_opening(before: &Block, base: Base, event: &Event) -> Outcome {
    let mut rig = Rig::new(&Agreed::plain(base.iss, base.irs, 1_000));
    let mut opening = Opening::new(base.iss, &offer(before.rcv_wnd), rig.now);
    let mut outcome = unchanged(before);
    match opening.input(&mut rig.cx(), &segment(base, event)) {
        OpenVerdict::Answered(_) => {
            let mut rig = Rig::new(&opening.agreed(1_000).unwrap());
            rig.tcb.request_ack();
            return settle(&mut rig, base, before);
        },
        OpenVerdict::Crossed(_) => {
            outcome.is = Is::SynCrossed;
            outcome.rcv_nxt = event.seq + 1;
            let mut accepting = opening.crossed(&segment(base, event), 1_000, rig.now);
            let out = accepting.syn_ack(rig.now, OptBytes::new());
            outcome.reply = reply_of(&out, before, base, event);
        },
        OpenVerdict::Refused => outcome.is = Is::Closed,
        OpenVerdict::Reset(out) => outcome.reply = reply_of(&out, before, base, event),
        OpenVerdict::Dropped => {},
    }
    outcome
}

fn run_closed(before: &Block, base: Base, event: &Event) -> Outcome {
    let mut outcome = unchanged(before);
    if let Some(out) = reset_for(&segment(base, event)) {
        outcome.reply = reply_of(&out, before, base, event);
    }
    outcome
}

/// Every segment that is worth a case in a state: before, across and in the window, at its edges and beyond, with every
/// kind of acknowledgment, for all flags and three lengths of text.
fn events(before: &Block) -> Vec<Event> {
    let (nxt, wnd) = (before.rcv_nxt, before.rcv_wnd);
    let seqs = [
        nxt - (1 << 30),
        nxt - 50,
        nxt - 5,
        nxt - 4,
        nxt - 2,
        nxt - 1,
        nxt,
        nxt + 1,
        nxt + wnd / 2,
        nxt + wnd - 5,
        nxt + wnd - 4,
        nxt + wnd - 1,
        nxt + wnd,
        nxt + wnd + 1,
        nxt + wnd + (1 << 30),
    ];
    let acks = [
        before.una - (1 << 30),
        before.una - before.wnd_max - 1,
        before.una - before.wnd_max,
        before.una - 1,
        before.una,
        before.una + 1,
        before.nxt - 1,
        before.nxt,
        before.nxt + 1,
        before.nxt + (1 << 30),
    ];
    let acks: Vec<_> = acks.into_iter().map(Some).chain([None]).collect();
    let mut events = Vec::new();
    for seq in seqs {
        for ack in &acks {
            for flags in 0..8 {
                for text in [0, 4, WND + 20] {
                    events.push(Event {
                        seq,
                        ack: *ack,
                        syn: flags & 1 != 0,
                        fin: flags & 2 != 0,
                        rst: flags & 4 != 0,
                        text,
                    });
                }
            }
        }
    }
    events
}

/// Compares all cases of one state; how many there were.
fn compare(is: Is, run: impl Fn(&Block, Base, &Event) -> Outcome) -> usize {
    // The second pair wraps within the window and within what is in flight.
    let bases = [
        (SeqNum(1_000), SeqNum(9_000)),
        (SeqNum(u32::MAX - 9), SeqNum(u32::MAX - 30)),
    ];
    let (mut cases, mut wrong) = (0, Vec::new());
    for (iss, irs) in bases {
        for wnd in [WND, 0] {
            let before = block(is, wnd);
            for event in events(&before) {
                cases += 1;
                let expected = arrives(&before, &event);
                let got = run(&before, Base { iss, irs }, &event);
                // Of a connection that is gone no number is left.
                let gone = expected.is == Is::Closed && got.is == Is::Closed;
                if got != expected && !(gone && got.reply == expected.reply) {
                    wrong.push(format!(
                        "{before:?}\n {event:?}\n is {got:?}\n not {expected:?}"
                    ));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {cases} cases differ, such as\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
    cases
}

#[test]
fn t1_segments_in_closed_listen_or_syn_sent() {
    assert!(compare(Is::Closed, run_closed) > 10_000);
    assert!(compare(Is::SynSent, run_opening) > 10_000);
}

#[test]
fn t1_segments_in_syn_received() {
    assert!(compare(Is::SynReceived, run_accepting) > 10_000);
    assert!(compare(Is::SynCrossed, run_accepting) > 10_000);
}

#[test]
fn t1_segments_in_established() {
    assert!(compare(Is::Established, run_tcb) > 10_000);
}

#[test]
fn t1_segments_in_fin_wait_1_and_2() {
    assert!(compare(Is::FinWait1, run_tcb) > 10_000);
    assert!(compare(Is::FinWait2, run_tcb) > 10_000);
}

#[test]
fn t1_segments_in_close_wait_and_last_ack() {
    assert!(compare(Is::CloseWait, run_tcb) > 10_000);
    assert!(compare(Is::LastAck, run_tcb) > 10_000);
}

#[test]
fn t1_segments_in_closing_and_time_wait() {
    assert!(compare(Is::Closing, run_tcb) > 10_000);
    assert!(compare(Is::TimeWait, run_tcb) > 10_000);
    assert!(compare(Is::TimeWait, run_small_time_wait) > 10_000);
}
