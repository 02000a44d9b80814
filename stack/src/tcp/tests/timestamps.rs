//! Timestamps over a day in which the clocks come round (RFC 7323 5).

use super::network::{Features, Link, Network, pattern};
use super::rig::{Buf, slice};
use crate::seq::SeqNum;
use crate::time::Duration;
use crate::wire::tcp::{Flags, Options, Segment, Timestamps};
use crate::{Counter, Cx};

const HOUR: Duration = Duration::from_hours(1);
const PAUSE: Duration = Duration::from_mins(10);
const ALL: Features = Features {
    sack: true,
    ts: true,
};

/// Both clocks pass 2^32 at their noon, an hour apart. A pause and an exchange of data over a link that loses and
/// repeats, for 24 hours: no segment is taken for an old one, each has the option, and no clock ever goes back.
#[test]
fn t12_a_day_in_which_the_clocks_come_round() {
    let mut link = Link::new(5_000_000, 10, 300_000);
    link.loss = 200;
    link.duplicate = 200;
    let mut net = Network::new(11, &ALL, [link.clone(), link]);
    let start = net.now;
    for (end, noon) in [(0, 12), (1, 13)] {
        let until_noon = u32::try_from((HOUR * noon).as_millis()).unwrap();
        net.ends[end].tcb.ts.offset = 0_u32.wrapping_sub(until_noon);
        net.ends[1 - end].tcb.ts.recent = 5_000_u32.wrapping_sub(until_noon);
    }
    let data = pattern(40_000, 3);
    let mut octets = 0;
    while net.now.since(start) < HOUR * 24 {
        for end in &mut net.ends {
            end.tcb.send(slice(&data));
        }
        octets += data.len();
        net.run(Duration::from_mins(2), |net| {
            let all = |end: &super::network::End| end.tcb.queued() == 0;
            net.ends.iter().all(all)
        });
        net.now = net.now + PAUSE;
    }
    for (end, stamps) in net.ends.iter().zip(&net.stamps) {
        assert_eq!(end.received.len(), octets);
        assert!(end.received.chunks(data.len()).all(|part| part == data));
        assert_eq!(end.counters.get(Counter::TcpDropPaws), 0);
        assert!(
            end.tcb.rto() < Duration::from_secs(1),
            "{:?}",
            end.tcb.rto()
        );
        let back = stamps
            .windows(2)
            .find(|two| SeqNum(two[1]) < SeqNum(two[0]));
        assert_eq!(back, None);
        assert!(
            stamps.windows(2).any(|two| two[1] < two[0]),
            "none came round"
        );
        assert!(stamps.len() > 5_000, "{}", stamps.len());
    }
    old_duplicates_are_dropped(&mut net);
}

/// Segments of the last day that a network has kept, and whose numbers would fit again: of before noon and of after it.
fn old_duplicates_are_dropped(net: &mut Network) {
    let end = &mut net.ends[0];
    let (nxt, una) = (end.tcb.rcv_nxt(), end.tcb.snd_una());
    let now = *net.stamps[1].last().unwrap();
    let before = end.received.len();
    for (n, age) in (1..).zip([HOUR / 60, HOUR, HOUR * 10, HOUR * 13, HOUR * 23]) {
        let age = u32::try_from(age.as_millis()).unwrap();
        let host = core::net::IpAddr::from([10, 0, 0, 1]);
        let segment: Segment<Buf> = Segment {
            tuple: crate::flow::Tuple {
                src: host,
                dst: host,
                src_port: 1,
                dst_port: 2,
            },
            seq: nxt,
            ack: una,
            flags: Flags::ACK,
            wnd: u16::MAX,
            options: Options {
                ts: Some(Timestamps {
                    val: now.wrapping_sub(age),
                    ecr: 0,
                }),
                ..Options::default()
            },
            payload: slice(b"old"),
            tos: 0,
        };
        let mut cx = Cx {
            now: net.now,
            rng: &mut net.rng,
            counters: &mut end.counters,
        };
        let verdict = end.tcb.input(&mut cx, &segment);
        assert_eq!(verdict, crate::tcp::Verdict::Dropped, "{age} ms old");
        assert_eq!(end.counters.get(Counter::TcpDropPaws), n);
    }
    assert!(end.tcb.take().is_none());
    assert_eq!(end.received.len(), before);
}
