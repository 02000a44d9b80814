//! RACK against a model that is the pseudocode of RFC 8985 6, written down segment by segment.

use super::super::queue::{Mark, News};
use super::{FIRST, LEN, at, block, queue, receipt};
use crate::seq::SeqNum;
use crate::time::Duration;
use proptest::prelude::*;

#[derive(Clone, Debug, Default)]
struct Segment {
    xmit: Option<u64>,
    retransmitted: bool,
    lost: bool,
    arrived: bool,
}

/// Time in milliseconds, sequence numbers in whole segments from 0.
#[derive(Debug, Default)]
struct Model {
    segments: Vec<Segment>,
    xmit_ts: u64,
    end_seq: usize,
    fack: usize,
    rtt: u64,
    reordering_seen: bool,
}

impl Model {
    fn transmit(&mut self, n: usize, now: u64) {
        let segment = &mut self.segments[n];
        segment.retransmitted |= segment.xmit.is_some();
        segment.xmit = Some(now);
        segment.lost = false;
    }

    /// `RACK_update` and `RACK_detect_reordering`.
    fn take(&mut self, mut arrived: Vec<usize>, now: u64, min_rtt: u64) {
        arrived.retain(|n| self.segments[*n].xmit.is_some() && !self.segments[*n].arrived);
        for n in &arrived {
            self.segments[*n].arrived = true;
        }
        arrived.sort_by_key(|n| (self.segments[*n].xmit, *n));
        for n in &arrived {
            let segment = &self.segments[*n];
            let xmit = segment.xmit.unwrap();
            if segment.retransmitted && now - xmit < min_rtt {
                continue;
            }
            self.rtt = now - xmit;
            if (xmit, n + 1) > (self.xmit_ts, self.end_seq) {
                (self.xmit_ts, self.end_seq) = (xmit, n + 1);
            }
        }
        arrived.sort_unstable();
        for n in arrived {
            if n + 1 > self.fack {
                self.fack = n + 1;
            } else if n + 1 < self.fack && !self.segments[n].retransmitted {
                self.reordering_seen = true;
            }
        }
    }

    /// `RACK_detect_loss`; when the next of them will be.
    fn detect(&mut self, now: u64, reo_wnd: u64) -> Option<u64> {
        let mut next: Option<u64> = None;
        for (n, segment) in self.segments.iter_mut().enumerate() {
            let Some(xmit) = segment.xmit else { break };
            if segment.arrived || segment.lost || (self.xmit_ts, self.end_seq) <= (xmit, n + 1) {
                continue;
            }
            let due = xmit + self.rtt + reo_wnd;
            if due <= now {
                segment.lost = true;
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        next
    }

    fn lost(&self) -> Vec<usize> {
        let numbered = self.segments.iter().enumerate();
        numbered
            .filter(|(_, s)| s.lost && !s.arrived)
            .map(|(n, _)| n)
            .collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Send(u32),
    Resend(u32),
    Ack(u32),
    Sack(Vec<(u32, u32)>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u64..40).prop_map(Step::Wait),
        3 => (1u32..8).prop_map(Step::Send),
        3 => (1u32..6).prop_map(Step::Resend),
        1 => (0u32..60).prop_map(Step::Ack),
        4 => prop::collection::vec((0u32..60, 1u32..6), 1..4).prop_map(Step::Sack),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn t11_losses_are_those_of_the_pseudocode(
        steps in prop::collection::vec(step(), 1..120),
        reo_wnd in 0u64..30,
        min_rtt in 0u64..20,
    ) {
        let mut queue = queue(60);
        let mut model = Model { segments: vec![Segment::default(); 60], ..Model::default() };
        let (mut now, mut una) = (1_000, 0);
        for step in steps {
            let mut news = News::default();
            let mut receipt = receipt(now);
            receipt.min_rtt = Duration::from_millis(min_rtt);
            let mut arrived = Vec::new();
            match step {
                Step::Wait(ms) => now += ms,
                Step::Send(count) => for _ in 0..count {
                    let n = queue.sent();
                    if queue.send_next(at(now)).is_some() {
                        model.transmit(una + n, now);
                    }
                },
                Step::Resend(count) => for _ in 0..count {
                    let next = queue.next_lost().map(|(index, _)| index);
                    if let Some(index) = next {
                        queue.resend(index, at(now));
                        model.transmit(una + index, now);
                    }
                },
                Step::Ack(to) => {
                    let sent = una + queue.sent();
                    let to = una.max((to as usize).min(sent));
                    queue.ack(SeqNum(FIRST) + u32::try_from(to).unwrap() * LEN, &receipt, &mut news);
                    arrived.extend(una..to);
                    una = to;
                },
                Step::Sack(blocks) => {
                    let sent = u32::try_from(una + queue.sent()).unwrap();
                    for (start, len) in blocks {
                        let start = start.max(u32::try_from(una).unwrap());
                        let end = (start + len).min(sent);
                        if start < end {
                            queue.sack(block(start * LEN, end * LEN), &receipt, &mut news);
                            arrived.extend(start as usize..end as usize);
                        }
                    }
                },
            }
            queue.conclude(at(now), &news);
            model.take(arrived, now, min_rtt);
            let next = queue.detect_losses(at(now), Duration::from_millis(reo_wnd));
            prop_assert_eq!(next, model.detect(now, reo_wnd).map(at));
            let marks = queue.entries.iter().enumerate();
            let lost: Vec<_> = marks
                .filter(|(_, entry)| entry.mark == Mark::Lost)
                .map(|(index, _)| una + index)
                .collect();
            prop_assert_eq!(lost, model.lost());
            prop_assert_eq!(queue.reordering_seen(), model.reordering_seen);
        }
    }
}
