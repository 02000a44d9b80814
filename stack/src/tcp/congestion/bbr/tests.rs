//! The model, round by round.

use super::*;

const SMSS: u32 = 1_000;
const RTT: Duration = Duration::from_millis(10);

/// A sender, and a path that answers each of its flights after [`RTT`].
struct Path {
    bbr: Bbr,
    now: Instant,
    recovering: bool,
}

impl Path {
    fn new() -> Self {
        Self {
            bbr: Bbr::new(10 * SMSS),
            now: Instant::from_millis(1_000),
            recovering: false,
        }
    }

    fn deliver(&mut self, octets: u32, sent_at: Instant, pipe: u32) {
        self.bbr.on_delivery(&Delivery {
            now: self.now,
            delivered: octets,
            sent_at: Some(sent_at),
            rtt: Some(self.now.since(sent_at)),
            srtt: RTT,
            pipe,
            smss: SMSS,
            losing: false,
            recovering: self.recovering,
            after_timeout: false,
        });
    }

    /// A flight of `octets` arrives as a whole.
    fn round(&mut self, octets: u32) {
        let sent_at = self.now;
        self.bbr.on_sent(sent_at, true);
        self.now = self.now + RTT;
        self.deliver(octets, sent_at, 0);
    }

    /// The same of one that had nothing more to say.
    fn limited_round(&mut self, octets: u32) {
        self.bbr.on_app_limited(octets);
        self.round(octets);
    }

    /// One that knows its path: 100,000 octets in a round trip.
    fn settled() -> Self {
        let mut path = Self::new();
        (0..20).for_each(|_| path.round(100_000));
        assert!(matches!(path.state(), State::ProbeBw { .. }));
        path
    }

    fn state(&self) -> State {
        self.bbr.model.state
    }

    fn best(&self) -> u64 {
        self.bbr.model.btl_bw.max()
    }

    /// A round trip as long as ever was not seen for longer than it is believed.
    fn forget_rtprop(&mut self) {
        self.now = self.now + RTPROP_KEPT;
        let sent_at = self.now;
        self.bbr.on_sent(sent_at, true);
        self.now = self.now + RTT * 2;
        self.deliver(10_000, sent_at, 8 * SMSS);
    }

    fn probing_rtt() -> Self {
        let mut path = Self::settled();
        path.forget_rtprop();
        assert!(matches!(path.state(), State::ProbeRtt { .. }));
        path
    }
}

/// 4.3.2.2: growth by a quarter begins the count anew.
#[test]
fn the_pipe_is_full_after_three_rounds_without_a_quarter_more() {
    let mut path = Path::new();
    path.round(10_000);
    for octets in [12_000, 12_000, 15_000, 15_000, 16_000] {
        path.round(octets);
        assert_eq!(path.state(), State::Startup, "{octets}");
    }
    path.round(16_000);
    assert_ne!(path.state(), State::Startup);
}

#[test]
fn acknowledgments_of_one_round_count_once_and_those_of_little_to_say_not_at_all() {
    let mut path = Path::new();
    path.round(10_000);
    let sent_at = path.now;
    path.bbr.on_sent(sent_at, true);
    path.now = path.now + RTT;
    (0..10).for_each(|_| path.deliver(1_000, sent_at, 0));
    assert_eq!(path.bbr.model.full_rounds, 1);
    (0..10).for_each(|_| path.limited_round(1_000));
    assert_eq!(path.bbr.model.full_rounds, 1);
    assert_eq!(path.state(), State::Startup);
}

/// 4.1.1.4: who has little to say learns nothing of a path that carries more, but something of one that carries as much.
#[test]
fn a_sender_with_little_to_say_does_not_lower_the_rate() {
    let mut path = Path::settled();
    assert_eq!(path.best(), 10_000_000);
    (0..30).for_each(|_| path.limited_round(10_000));
    assert_eq!(path.best(), 10_000_000);
    path.limited_round(200_000);
    assert_eq!(path.best(), 20_000_000);
    (0..30).for_each(|_| path.round(50_000));
    assert_eq!(path.best(), 5_000_000, "the path has changed");
}

/// 4.3.4.4: what is sent first after a pause asks for no more, and gives nothing back, and the least round trip is not looked
/// for with a small window as nothing has been in flight anyway.
#[test]
fn sending_begins_again_at_the_rate_of_the_path() {
    for (phase, gain) in CYCLE.into_iter().enumerate() {
        let mut path = Path::settled();
        let since = path.now;
        path.bbr.model.state = State::ProbeBw { phase, since };
        path.bbr.pacing_rate = scaled(path.best(), gain);
        path.bbr.on_start(path.now, Some(10 * SMSS));
        assert_eq!(path.bbr.pacing_rate(), Some(10_000_000), "phase {phase}");
    }
    let mut path = Path::settled();
    path.bbr.on_start(path.now, None);
    path.forget_rtprop();
    assert!(matches!(path.state(), State::ProbeBw { .. }));
    path.forget_rtprop();
    assert!(matches!(path.state(), State::ProbeRtt { .. }), "once");
}

/// 4.3.5: four segments, and after that the window of before.
#[test]
fn the_window_is_small_while_the_least_round_trip_is_looked_for() {
    let before = Path::settled().bbr.cwnd();
    let mut path = Path::probing_rtt();
    assert!(before > 100_000);
    assert_eq!(path.bbr.cwnd(), 4 * SMSS);
    let end = path.now + PROBE_RTT;
    while path.now < end {
        path.round(4 * SMSS);
        let small = path.bbr.cwnd() == 4 * SMSS;
        let probing = matches!(path.state(), State::ProbeRtt { .. });
        assert_eq!(small, probing);
    }
    path.round(4 * SMSS);
    assert!(matches!(path.state(), State::ProbeBw { .. }));
    assert!(path.bbr.cwnd() >= before, "{}", path.bbr.cwnd());
}

/// 4.2.3.4: recovery regulates the window, and once it is over it is the one of before; a second loss, or a look at the least
/// round trip, does not take the small one for that.
#[test]
fn the_window_of_before_a_loss_comes_back() {
    for losses in 1..3 {
        let mut path = Path::settled();
        let before = path.bbr.cwnd();
        path.bbr.on_loss(before, SMSS);
        for _ in 0..losses {
            path.recovering = true;
            path.bbr.set_cwnd(5_000);
            path.round(5_000);
            assert_eq!(path.bbr.cwnd(), 5_000, "recovery's");
            if losses > 1 {
                path.bbr.on_rto(5_000, SMSS, false);
            }
        }
        path.recovering = false;
        path.round(5_000);
        assert!(path.bbr.cwnd() >= before, "{losses}: {}", path.bbr.cwnd());
    }
    let mut path = Path::probing_rtt();
    let before = path.bbr.model.prior_cwnd;
    path.bbr.on_loss(4 * SMSS, SMSS);
    assert_eq!(path.bbr.model.prior_cwnd, before);
}

/// RFC 3168 6.1.2: half of what is in flight, two segments at least, and never more than before.
#[test]
fn a_mark_halves_what_is_in_flight() {
    for (flight, cwnd) in [(80_000, 40_000), (1_000, 2_000), (1_000_000, 100_000)] {
        let mut bbr = Bbr::new(100_000);
        bbr.on_mark(flight, SMSS);
        assert_eq!(bbr.cwnd(), cwnd, "{flight}");
    }
}
