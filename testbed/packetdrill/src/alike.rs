//! What Linux does otherwise without either being wrong, and what its scripts take for granted: made alike at the edge, so that
//! a script goes on to what it is about. `linux=off` among the flags leaves it.

use dataplane::MemBuf;
use mptcp::option::{CapableForm, parse};
use mptcp::{MpOption, WireSeq};
use stack::{SeqNum, Tuple};

use stack::wire::tcp::{Flags, OptBytes, OutSegment, Segment, Timestamps};

/// What is remembered of a connection for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alike {
    on: bool,
    /// The peer's clock, as of its last segment that told it.
    clock: u32,
    /// Whether the peer's last data was numbered with 64 bits.
    wide: bool,
    /// What is beyond all that was sent so far.
    sent: Option<SeqNum>,
}

impl Alike {
    pub(crate) fn new(on: bool) -> Self {
        Self {
            on,
            ..Self::default()
        }
    }

    /// Scripts leave out the timestamps of the peer's segments, which RFC 7323 3.2 would have dropped where both ends use
    /// them: such a segment is taken as if it had the last one.
    pub(crate) fn received(
        &mut self,
        segment: &Segment<MemBuf>,
        timestamps: bool,
    ) -> Option<Segment<MemBuf>> {
        if !segment.payload.is_empty() {
            self.wide = parse(&segment.options.mptcp)
                .flatten()
                .any(|option| match option {
                    MpOption::Dss(dss) => dss
                        .mapping
                        .is_some_and(|mapping| matches!(mapping.dsn, WireSeq::Full(_))),
                    // Its numbers are not told, and might be of either width later.
                    MpOption::Capable(capable) => matches!(capable.form, CapableForm::Data { .. }),
                    _ => false,
                });
        }
        if let Some(ts) = segment.options.ts {
            self.clock = ts.val;
            return None;
        }
        let bare = !segment.flags.has(Flags::RST) && !segment.flags.has(Flags::SYN);
        (self.on && timestamps && bare).then(|| {
            let mut segment = segment.clone();
            segment.options.ts = Some(Timestamps {
                val: self.clock,
                ecr: 0,
            });
            segment
        })
    }

    /// Linux answers with DATA_ACKs of 64 bits only data that was numbered with as many; ours always have 64 (RFC 8684 3.3.1
    /// allows both).
    pub(crate) fn narrow(&self, segment: &mut OutSegment<MemBuf>) {
        if !self.on || self.wide {
            return;
        }
        let mut narrow = OptBytes::new();
        for option in parse(&segment.options.mptcp).flatten() {
            let option = match option {
                MpOption::Dss(mut dss) => {
                    if let Some(WireSeq::Full(ack)) = dss.data_ack {
                        let low = u32::try_from(ack & u64::from(u32::MAX)).unwrap_or(0);
                        dss.data_ack = Some(WireSeq::Low(low));
                    }
                    MpOption::Dss(dss)
                },
                option => option,
            };
            if option.emit(&mut narrow).is_err() {
                return;
            }
        }
        segment.options.mptcp = narrow;
    }

    /// Linux ends what it hands to its device at once with PSH, if that is more than one segment and new.
    pub(crate) fn push(&mut self, burst: &mut [(OutSegment<MemBuf>, Tuple)]) {
        let new = self.sent;
        for (segment, _) in &*burst {
            let end = segment.seq + len(segment);
            if self.sent.is_none_or(|sent| end > sent) {
                self.sent = Some(end);
            }
        }
        let joined: Vec<bool> = burst.windows(2).map(follows).collect();
        for at in 1..burst.len() {
            let last = joined[at - 1] && !joined.get(at).is_some_and(|joined| *joined);
            let segment = &mut burst[at].0;
            if self.on && last && new.is_none_or(|new| segment.seq >= new) {
                segment.flags = segment.flags.with(Flags::PSH);
            }
        }
    }
}

fn len(segment: &OutSegment<MemBuf>) -> u32 {
    u32::try_from(segment.payload_len()).unwrap_or(0)
}

/// Whether the second of a pair goes on where the first one ends.
fn follows(pair: &[(OutSegment<MemBuf>, Tuple)]) -> bool {
    let [(before, from), (segment, to)] = pair else {
        return false;
    };
    let len = len(before);
    from == to && len > 0 && segment.payload.is_some() && before.seq + len == segment.seq
}
