//! Windows as controllers move them.

use super::*;

mod cubic;

/// `delivered` octets in segments of 1,000, within a full window.
pub(super) fn ack(delivered: u32) -> Ack {
    Ack {
        now: Instant::ZERO,
        delivered,
        smss: 1000,
        limited: true,
        rtt: None,
        srtt: Duration::ZERO,
        una: SeqNum(0),
        nxt: SeqNum(0),
    }
}

const BOTH: [Algorithm; 2] = [Algorithm::NewReno, Algorithm::Cubic];

#[test]
fn t8_initial_window_is_ten_segments() {
    let rows = [
        (1460, 14_600),
        (536, 5_360),
        (8_960, 17_920),
        (1_448, 14_480),
    ];
    for (smss, cwnd) in rows {
        assert_eq!(initial_window(smss), cwnd, "smss {smss}");
    }
}

#[test]
fn t8_slow_start_doubles_and_avoidance_adds_one_segment_a_window() {
    let mut cc = NewReno::new(10_000);
    for _ in 0..10 {
        cc.on_ack(&ack(1000));
    }
    assert_eq!(cc.cwnd(), 20_000);
    cc.on_loss(20_000, 1000);
    cc.set_cwnd(cc.ssthresh());
    for _ in 0..9 {
        cc.on_ack(&ack(1000));
    }
    assert_eq!(cc.cwnd(), 10_000);
    cc.on_ack(&ack(1000));
    assert_eq!(cc.cwnd(), 11_000);
}

/// (algorithm, ssthresh after a timeout of 10,000 octets)
#[test]
fn t8_slow_start_ends_at_ssthresh() {
    for (algorithm, ssthresh) in [(Algorithm::NewReno, 5_000), (Algorithm::Cubic, 7_000)] {
        let mut cc = Congestion::new(algorithm, 10_000);
        cc.on_rto(10_000, 1000, false);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (1_000, ssthresh));
        cc.on_ack(&ack(ssthresh - 1_000));
        assert_eq!(cc.cwnd(), ssthresh);
        cc.on_rto(5_000, 1000, true);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (1_000, ssthresh));
    }
}

#[test]
fn t8_idle_restarts_at_the_initial_window() {
    for algorithm in BOTH {
        let mut cc = Congestion::new(algorithm, 10_000);
        cc.on_ack(&ack(8_000));
        cc.on_start(Instant::ZERO, None);
        assert_eq!(cc.cwnd(), 18_000);
        cc.on_start(Instant::ZERO, Some(10_000));
        assert_eq!(cc.cwnd(), 10_000);
        cc.on_start(Instant::ZERO, Some(20_000));
        assert_eq!(cc.cwnd(), 10_000, "a restart never opens the window");
    }
}

/// RFC 7661 3, RFC 9438 5.8: what a sender with little to say did not try says nothing of the path.
#[test]
fn t8_the_window_grows_only_where_it_is_the_limit() {
    for algorithm in BOTH {
        for avoidance in [false, true] {
            let mut cc = Congestion::new(algorithm, 100_000);
            if avoidance {
                cc.on_loss(100_000, 1000);
                cc.set_cwnd(cc.ssthresh());
            }
            let before = cc.cwnd();
            for n in 0..1000 {
                cc.on_ack(&Ack {
                    now: Instant::from_millis(n * 10),
                    limited: false,
                    ..ack(1000)
                });
            }
            assert_eq!(cc.cwnd(), before, "{algorithm:?}");
        }
    }
}
