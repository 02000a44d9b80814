//! BBR on whole connections, beside CUBIC.

use super::network::{Features, Link, Network, pattern};
use crate::Counter;
use crate::tcp::congestion::Algorithm;
use crate::time::Duration;

const ALL: Features = Features {
    sack: true,
    ts: true,
};

/// Octets that arrive in `window` after `warm_up`, of a sender that always has more, and the network then.
fn steady(
    algorithm: Algorithm,
    mut net: Network,
    warm_up: Duration,
    window: Duration,
) -> (u64, Network) {
    net.ends[0].tcb.set_congestion(algorithm);
    net.send(0, pattern(200_000_000, 1), false);
    let begin = net.now + warm_up;
    let long = warm_up + window + Duration::from_secs(1);
    net.run(long, |net| net.now >= begin);
    let before = net.ends[1].received.len();
    let end = begin + window;
    net.run(long, |net| net.now >= end);
    let octets = net.ends[1].received.len() - before;
    (u64::try_from(octets).unwrap(), net)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// (octets/s, delay one way in ms, queue in octets): the link is filled and the queue is not.
#[test]
fn bbr_fills_the_link_and_not_its_queue() {
    for (rate, delay, queue) in [
        (2_500_000, 20, 2_000_000),
        (1_250_000, 100, 2_000_000),
        (12_500_000, 5, 2_000_000),
        (125_000, 30, 200_000),
        (2_500_000, 20, 25_000),
    ] {
        let net = || {
            let links = [Link::new(rate, delay, queue), Link::new(0, delay, 0)];
            Network::new(3, &ALL, links)
        };
        let (octets, net) = steady(Algorithm::Bbr, net(), seconds(4), seconds(4));
        let name = format!("{rate} B/s, {delay} ms, queue {queue}: {}", net.describe());
        let share = octets * 100 / (rate * 4);
        // 52 octets of headers for 1,448 of data: 96.5 % are the most.
        assert!(share >= 90, "{share} %, {name}");
        let srtt = net.ends[0].tcb.srtt().unwrap();
        let path = Duration::from_millis(2 * delay);
        let limit = path * 3 / 2 + Duration::from_millis(20);
        assert!(srtt <= limit, "{srtt:?}, {name}");
        println!("{share} %, {srtt:?}, dropped {}, {name}", net.dropped);
    }
}

/// One segment in a hundred is lost, and that is no congestion.
#[test]
fn bbr_does_not_take_random_loss_for_congestion() {
    let net = || {
        let mut link = Link::new(5_000_000, 20, 500_000);
        link.loss = 100;
        Network::new(5, &ALL, [link, Link::new(0, 20, 0)])
    };
    let (bbr, net_after) = steady(Algorithm::Bbr, net(), seconds(3), seconds(5));
    let (cubic, _) = steady(Algorithm::Cubic, net(), seconds(3), seconds(5));
    println!("BBR {bbr}, CUBIC {cubic}");
    assert!(
        bbr > 25_000_000 * 85 / 100,
        "{bbr}: {}",
        net_after.describe()
    );
    assert!(bbr > 2 * cubic, "{bbr}, CUBIC {cubic}");
    assert_eq!(net_after.ends[0].counters.get(Counter::TcpRto), 0);
}

/// A path whose rate falls to a quarter, and one that becomes longer: the model follows, the latter within the ten seconds
/// for which a least round trip is believed.
#[test]
fn bbr_follows_a_path_that_changes() {
    let links = [Link::new(5_000_000, 20, 1_000_000), Link::new(0, 20, 0)];
    let (_, mut net) = steady(
        Algorithm::Bbr,
        Network::new(7, &ALL, links),
        seconds(3),
        seconds(1),
    );
    net.links[0].rate = 1_250_000;
    let settle = net.now + seconds(6);
    net.run(seconds(10), |net| net.now >= settle);
    let path = Duration::from_millis(40);
    let srtt = net.ends[0].tcb.srtt().unwrap();
    // The window is twice what the path holds.
    assert!(srtt <= path * 5 / 2, "{srtt:?} {}", net.describe());
    net.links[0].delay = Duration::from_millis(80);
    let settle = net.now + seconds(15);
    net.run(seconds(20), |net| net.now >= settle);
    let before = net.ends[1].received.len();
    let end = net.now + seconds(4);
    net.run(seconds(10), |net| net.now >= end);
    let octets = net.ends[1].received.len() - before;
    assert!(
        octets > 1_250_000 * 4 * 85 / 100,
        "{octets} {}",
        net.describe()
    );
}

/// Bad links both ways: every octet once, in good time.
#[test]
fn bbr_over_bad_links_delivers_every_octet() {
    for seed in 0..10 {
        for sack in [true, false] {
            let mut link = Link::new(5_000_000, 10, 300_000);
            link.loss = 100;
            link.reorder = 500;
            link.jitter = Duration::from_millis(3);
            let features = Features { sack, ts: true };
            let mut net = Network::new(seed, &features, [link.clone(), link]);
            let data = [pattern(1_000_000, 1), pattern(1_000_000, 2)];
            for (end, data) in data.iter().enumerate() {
                net.ends[end].tcb.set_congestion(Algorithm::Bbr);
                net.send(end, data.clone(), true);
            }
            let took = net.run(seconds(60), |net| {
                net.ends
                    .iter()
                    .all(|end| end.fin_seen && end.tcb.queued() == 0)
            });
            assert!(net.ends[1].received == data[0] && net.ends[0].received == data[1]);
            println!("seed {seed}, SACK {sack}: {took:?}");
            assert!(
                took < seconds(if sack { 4 } else { 30 }),
                "seed {seed}, SACK {sack}: {took:?}"
            );
        }
    }
}

/// What rests forgets the path, which is learned anew from the initial window on, and goes on being paced.
#[test]
fn bbr_learns_the_path_anew_after_a_rest() {
    let links = [Link::new(2_500_000, 20, 500_000), Link::new(0, 20, 0)];
    let mut net = Network::new(9, &ALL, links);
    net.ends[0].tcb.set_congestion(Algorithm::Bbr);
    for round in 0..2 {
        net.ends[1].received.clear();
        net.resend(0, pattern(1_000_000, 1), false);
        let took = net.run(seconds(10), |net| {
            net.ends[1].received.len() == 1_000_000 && net.ends[0].tcb.rest().is_some()
        });
        assert!(took < Duration::from_millis(900), "round {round}: {took:?}");
        net.ends[0].tcb = net.ends[0].tcb.rest().unwrap().wake();
        assert_eq!(net.ends[0].tcb.cwnd(), 14_600);
        let rare = net.ends[0].tcb.rare.as_ref().unwrap();
        assert!(rare.pacing.is_some());
        net.now = net.now + seconds(100);
    }
    assert_eq!(net.dropped, 0);
}
