//! Connections that were put to rest in between go on as if nothing had been.

use super::network::{Features, Link, Network, pattern};
use crate::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Sends `octets` each way, checks what came out, and waits until nothing is owed any more.
fn exchange(net: &mut Network, octets: usize, finish: bool) {
    let data = [pattern(octets, 1), pattern(octets, 2)];
    for (end, data) in data.iter().enumerate() {
        net.ends[end].received.clear();
        net.resend(end, data.clone(), finish);
    }
    net.run(LIMIT, |net| {
        net.ends.iter().all(|end| {
            let over = end.tcb.queued() == 0 && end.fin_seen == finish;
            over && end.received.len() == octets && (finish || end.tcb.rest().is_some())
        })
    });
    let [a, b] = &net.ends;
    assert!(b.received == data[0] && a.received == data[1], "octets");
}

#[test]
fn what_has_rested_goes_on() {
    for (sack, ts, loss) in [(true, true, 0), (true, false, 100), (false, true, 100)] {
        let mut links = [20, 20].map(|delay| Link::new(2_500_000, delay, 100_000));
        for link in &mut links {
            link.loss = loss;
        }
        let mut net = Network::new(7, &Features { sack, ts }, links);
        for round in 0..3 {
            exchange(&mut net, 200_000, round == 2);
            if round < 2 {
                for end in &mut net.ends {
                    let before = (end.tcb.bytes_acked(), end.tcb.srtt(), end.tcb.rcv_nxt());
                    let resting = end.tcb.rest().expect("nothing is owed");
                    end.tcb = resting.wake();
                    let after = (end.tcb.bytes_acked(), end.tcb.srtt(), end.tcb.rcv_nxt());
                    assert_eq!(before, after);
                }
                net.now = net.now + Duration::from_secs(100);
            }
        }
    }
}

#[test]
fn nothing_rests_while_something_is_owed() {
    let links = [20, 20].map(|delay| Link::new(2_500_000, delay, 100_000));
    let mut net = Network::new(
        7,
        &Features {
            sack: true,
            ts: true,
        },
        links,
    );
    net.send(0, pattern(100_000, 1), false);
    net.run(LIMIT, |net| net.ends[0].tcb.flight_size() > 0);
    assert!(net.ends[0].tcb.rest().is_none(), "octets are under way");
    net.run(LIMIT, |net| net.ends[1].received.len() == 100_000);
    assert!(
        net.ends[0].tcb.rest().is_none(),
        "the last is not acknowledged"
    );
    net.ends[1].tcb.request_ack();
    assert!(net.ends[1].tcb.rest().is_none(), "an acknowledgment is due");
    net.ends[0].tcb.finish();
    assert!(net.ends[0].tcb.rest().is_none(), "a FIN waits");
}
