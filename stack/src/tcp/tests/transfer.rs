//! Whole transfers over bad links: every octet once and in order, in good time.

use super::network::{Features, Link, Network, pattern};
use crate::Counter;
use crate::tcp::congestion::Algorithm;
use crate::time::Duration;

const ALL: Features = Features {
    sack: true,
    ts: true,
};

fn transfer(name: &str, net: &mut Network, octets: [usize; 2], limit_ms: u64) -> u128 {
    let data = [pattern(octets[0], 1), pattern(octets[1], 2)];
    net.send(0, data[0].clone(), true);
    net.send(1, data[1].clone(), true);
    let took = net.run(Duration::from_millis(limit_ms), |net| {
        net.ends
            .iter()
            .all(|end| end.fin_seen && end.tcb.queued() == 0)
    });
    let [a, b] = &net.ends;
    assert!(b.received == data[0], "{name}: octets of end 0 differ");
    assert!(a.received == data[1], "{name}: octets of end 1 differ");
    took.as_millis()
}

fn report(name: &str, net: &Network, ms: u128) {
    let [a, b] = &net.ends;
    println!(
        "{name}: {ms} ms, sent {} dropped {} resent {}+{} rto {}+{} recoveries {}+{}",
        net.sent,
        net.dropped,
        a.tcb.retransmitted(),
        b.tcb.retransmitted(),
        a.counters.get(Counter::TcpRto),
        b.counters.get(Counter::TcpRto),
        a.counters.get(Counter::TcpFastRecovery),
        b.counters.get(Counter::TcpFastRecovery),
    );
}

#[test]
fn clean_link_takes_slow_start_and_the_rate_no_more() {
    // 5 MB at 2.5 MB/s with 20 ms round trip: 2 s, plus headers and slow start.
    let links = [Link::new(2_500_000, 10, 200_000), Link::new(0, 10, 0)];
    let mut net = Network::new(1, &ALL, links);
    let ms = transfer("clean", &mut net, [5_000_000, 0], 10_000);
    report("clean", &net, ms);
    assert!(ms < 2_300, "{ms} ms");
    assert_eq!(net.ends[0].counters.get(Counter::TcpRto), 0);
}

#[test]
fn tail_drop_bursts_of_slow_start_cost_little() {
    // Slow start overshoots by hundreds of segments. Four seconds' worth of data; with a queue of a fifth of the
    // bandwidth-delay product Reno cannot do better. None ends where Reno fills the queue again: the last segment, lost, would
    // be asked after for two round trips. (octets/s, queue in octets, delay in ms, limit in ms)
    let rows = [
        (2_500_000, 100_000, 10, 4_300),
        (5_000_000, 200_000, 10, 4_300),
        (5_000_000, 500_000, 20, 4_400),
        (12_500_000, 1_000_000, 25, 4_600),
        (2_500_000, 32_000, 30, 6_000),
    ];
    for (rate, queue, delay, limit) in rows {
        let name = format!("tail drop, {rate} B/s, queue {queue}, delay {delay} ms");
        let links = [Link::new(rate, delay, queue), Link::new(0, delay, 0)];
        let mut net = Network::new(2, &ALL, links);
        let octets = usize::try_from(rate).unwrap() * 4;
        let ms = transfer(&name, &mut net, [octets, 0], 60_000);
        report(&name, &net, ms);
        assert!(net.dropped > 0, "{name}: nothing was lost");
        assert_eq!(net.ends[0].counters.get(Counter::TcpRto), 0, "{name}");
        assert!(ms < limit, "{name}: {ms} ms");
    }
}

/// HyStart++ (RFC 9406) leaves the first slow start where the queue begins to grow: not a segment is lost by then, and the
/// window fills the link. NewReno's ends in the loss of a queue. The growth is seen at two bandwidth-delay products, and in
/// the five rounds until it is certain the window triples (4.2), so the queue is a deep one.
#[test]
fn t8_cubic_leaves_slow_start_before_the_queue_overflows() {
    // (octets/s, delay in ms, queue in octets): eight round trips' worth.
    for (rate, delay, queue) in [
        (2_500_000, 20, 800_000),
        (6_250_000, 20, 2_000_000),
        (1_250_000, 100, 2_000_000),
    ] {
        let name = format!("{rate} B/s, delay {delay} ms, queue {queue}");
        let slow_start = |algorithm| {
            let links = [Link::new(rate, delay, queue), Link::new(0, delay, 0)];
            let mut net = Network::new(2, &ALL, links);
            net.ends[0].tcb.set_congestion(algorithm);
            net.send(0, pattern(20_000_000, 1), true);
            net.run(Duration::from_secs(10), |net| {
                net.ends[0].tcb.ssthresh() < u32::MAX
            });
            println!(
                "{name}, {algorithm:?}: {} dropped, {}",
                net.dropped,
                net.describe()
            );
            net
        };
        assert!(slow_start(Algorithm::NewReno).dropped > 20, "{name}");
        let net = slow_start(Algorithm::Cubic);
        assert_eq!(net.dropped, 0, "{name}");
        let bdp = rate * delay * 2 / 1000;
        assert!(u64::from(net.ends[0].tcb.cwnd()) > bdp, "{name}");
    }
}

/// One percent of loss both ways, and reordering: the same for CUBIC as for NewReno.
#[test]
fn t9_cubic_over_bad_links_delivers_every_octet() {
    for seed in 0..10 {
        let mut link = Link::new(5_000_000, 10, 300_000);
        link.loss = 100;
        link.reorder = 500;
        link.jitter = Duration::from_millis(3);
        let mut net = Network::new(seed, &ALL, [link.clone(), link]);
        for end in &mut net.ends {
            end.tcb.set_congestion(Algorithm::Cubic);
        }
        let ms = transfer("CUBIC", &mut net, [1_000_000, 1_000_000], 30_000);
        report(&format!("CUBIC, 1 % loss, seed {seed}"), &net, ms);
        assert!(ms < 4_500, "seed {seed}: {ms} ms");
    }
}

#[test]
fn random_loss_both_ways_stalls_nothing() {
    for seed in 0..20 {
        let mut link = Link::new(5_000_000, 10, 300_000);
        link.loss = 100;
        let mut net = Network::new(seed, &ALL, [link.clone(), link]);
        let ms = transfer("loss", &mut net, [1_000_000, 1_000_000], 30_000);
        report(&format!("1 % loss, seed {seed}"), &net, ms);
        assert!(ms < 4_500, "seed {seed}: {ms} ms");
    }
}

#[test]
fn heavy_loss_reordering_and_duplication_deliver_every_octet() {
    for seed in 0..20 {
        for (sack, ts) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut link = Link::new(2_000_000, 15, 100_000);
            link.loss = 500;
            link.reorder = 1_000;
            link.jitter = Duration::from_millis(20);
            link.duplicate = 300;
            let mut net = Network::new(seed, &Features { sack, ts }, [link.clone(), link]);
            let ms = transfer("heavy", &mut net, [150_000, 80_000], 600_000);
            report(
                &format!("5 % loss, sack {sack} ts {ts} seed {seed}"),
                &net,
                ms,
            );
        }
    }
}

#[test]
fn reordering_alone_costs_no_timeout() {
    let mut link = Link::new(5_000_000, 20, 500_000);
    link.reorder = 2_000;
    link.jitter = Duration::from_millis(4);
    let mut net = Network::new(3, &ALL, [link, Link::new(0, 20, 0)]);
    let ms = transfer("reordering", &mut net, [5_000_000, 0], 60_000);
    report("reordering", &net, ms);
    assert_eq!(net.ends[0].counters.get(Counter::TcpRto), 0);
    assert!(ms < 5_000, "{ms} ms");
}

#[test]
fn without_sack_new_reno_repairs_bursts() {
    let features = Features {
        sack: false,
        ts: true,
    };
    let links = [Link::new(2_500_000, 10, 60_000), Link::new(0, 10, 0)];
    let mut net = Network::new(4, &features, links);
    let ms = transfer("new reno", &mut net, [5_000_000, 0], 60_000);
    report("new reno", &net, ms);
    assert!(ms < 5_000, "{ms} ms");
}

/// Whatever the links do and however little the ends hold: all arrives, and nothing waits for ever.
#[test]
fn no_combination_of_links_and_windows_stalls() {
    for seed in 0..150 {
        let mut rng = crate::Rng::from_u64(seed);
        let mut link = || {
            let mut link = Link::new(
                u64::from(200_000 + rng.below(5_000_000)),
                u64::from(rng.below(60)),
                u64::from(3_000 + rng.below(200_000)),
            );
            link.loss = rng.below(4) * rng.below(300);
            link.reorder = rng.below(2) * rng.below(3_000);
            link.jitter = Duration::from_millis(u64::from(rng.below(30)));
            link.duplicate = rng.below(2) * rng.below(500);
            link
        };
        let links = [link(), link()];
        let features = Features {
            sack: rng.below(3) > 0,
            ts: rng.below(2) > 0,
        };
        let mut net = Network::new(seed, &features, links);
        for end in &mut net.ends {
            end.room = 2_000 + rng.below(3) * rng.below(60_000);
        }
        let octets = [rng.below(200_000) as usize, rng.below(200_000) as usize];
        let name = format!("seed {seed}");
        let ms = transfer(&name, &mut net, octets, 900_000);
        report(&name, &net, ms);
        for end in &net.ends {
            assert!(!end.tcb.timed_out(), "{name}");
        }
    }
}
