//! Congestion marks, by RFC 3168 6.1.

use super::rig::{Rig, ack, plain, seg};
use crate::Counter;
use crate::tcp::Agreed;
use crate::wire::tcp::Flags;

const NOT_ECT: u8 = 0;
const ECT0: u8 = 2;
const CE: u8 = 3;

fn capable() -> Agreed {
    Agreed {
        ecn: true,
        ..plain()
    }
}

fn data(at: u32, tos: u8) -> crate::wire::tcp::Segment<super::rig::Buf> {
    let mut data = seg(at, 0, Flags::ACK, &[1; 100]);
    data.tos = tos;
    data
}

#[test]
fn t14_only_new_data_of_a_connection_that_agreed_may_be_marked() {
    for agreed in [capable(), plain()] {
        let mut rig = Rig::new(&agreed);
        rig.push(1000);
        assert_eq!(rig.drain()[0].ect, agreed.ecn);
        rig.at(1000);
        let again = rig.drain();
        assert!(!again[0].ect, "RFC 3168 6.1.5: no retransmission");
        rig.tcb.request_ack();
        assert!(!rig.drain()[0].ect, "RFC 3168 6.1.4: no pure ACK");
    }
}

#[test]
fn t14_a_mark_is_echoed_until_the_sender_says_that_it_slowed_down() {
    let mut rig = Rig::new(&capable());
    rig.input(&data(0, CE));
    rig.tcb.request_ack();
    assert!(rig.drain()[0].flags.has(Flags::ECE));
    rig.input(&data(100, ECT0));
    rig.tcb.request_ack();
    assert!(rig.drain()[0].flags.has(Flags::ECE), "still");
    rig.push(10);
    assert!(rig.drain()[0].flags.has(Flags::ECE), "on data, too");
    let mut reduced = data(200, ECT0);
    reduced.flags = reduced.flags.with(Flags::CWR);
    rig.input(&reduced);
    rig.tcb.request_ack();
    assert!(!rig.drain()[0].flags.has(Flags::ECE));
    assert_eq!(rig.count(Counter::TcpCongestionMarked), 1);
}

#[test]
fn t14_marks_mean_nothing_where_they_were_not_agreed_or_on_what_is_no_data() {
    let mut rig = Rig::new(&plain());
    rig.input(&data(0, CE));
    rig.tcb.request_ack();
    assert!(!rig.drain()[0].flags.has(Flags::ECE));
    let mut rig = Rig::new(&capable());
    let mut bare = ack(0);
    bare.tos = CE;
    rig.input(&bare);
    rig.input(&data(0, NOT_ECT));
    rig.tcb.request_ack();
    assert!(!rig.drain()[0].flags.has(Flags::ECE));
}

#[test]
fn t14_an_echo_halves_the_window_once_in_a_round_trip_and_is_confirmed_on_new_data() {
    let mut rig = Rig::new(&capable());
    for _ in 0..10 {
        rig.push(1000);
    }
    assert_eq!(rig.drain().len(), 10);
    let before = rig.tcb.cwnd();
    let echo = |at| {
        let mut ack = ack(at);
        ack.flags = ack.flags.with(Flags::ECE);
        ack
    };
    rig.input(&echo(1000));
    let halved = rig.tcb.cwnd();
    assert!(halved <= before / 2, "{before} to {halved}");
    rig.input(&echo(2000));
    assert!(rig.tcb.cwnd() >= halved, "the same round trip");
    for at in 3..=10 {
        rig.input(&echo(at * 1000));
    }
    assert_eq!(rig.count(Counter::TcpCongestionEchoed), 1);
    rig.push(1000);
    rig.push(1000);
    let sent = rig.drain();
    assert!(sent[0].flags.has(Flags::CWR) && sent[0].ect);
    assert!(!sent[1].flags.has(Flags::CWR), "said once");
    rig.input(&echo(11_000));
    assert_eq!(rig.count(Counter::TcpCongestionEchoed), 2, "a new round");
    assert_eq!(rig.count(Counter::TcpRetransmitted), 0);
}

/// RFC 3168 6.1.2: one reduction for a window of data, whether it lost a segment or had one marked.
#[test]
fn t14_a_loss_and_a_mark_in_one_round_trip_halve_the_window_once() {
    let mut rig = Rig::new(&capable());
    for _ in 0..10 {
        rig.push(1000);
    }
    rig.drain();
    for _ in 0..3 {
        rig.input(&ack(0));
    }
    rig.drain();
    assert!(rig.tcb.in_recovery());
    let halved = rig.tcb.ssthresh();
    let mut echo = ack(0);
    echo.flags = echo.flags.with(Flags::ECE);
    rig.input(&echo);
    assert_eq!(rig.tcb.ssthresh(), halved);
    assert_eq!(rig.count(Counter::TcpCongestionEchoed), 0);
    // The receiver hears all the same that the window was reduced.
    rig.input(&ack(10_000));
    rig.push(1000);
    assert!(rig.drain()[0].flags.has(Flags::CWR));
}

/// RFC 3168 6.1.6: a probe of a closed window must not be marked.
#[test]
fn t14_a_window_probe_is_not_marked() {
    let mut rig = Rig::new(&capable());
    let mut closed = ack(0);
    closed.wnd = 0;
    rig.input(&closed);
    rig.push(1000);
    rig.drain();
    rig.at(1000);
    let out = rig.drain();
    assert_eq!(rig.count(Counter::TcpZeroWindowProbe), 1);
    assert!(!out[0].ect);
}
