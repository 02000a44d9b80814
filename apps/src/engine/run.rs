//! A run: segments of one leg that came in a row. Most go on where the one before them ended, in its header but for the numbers:
//! of those only the text is read.

use super::Engine;
use super::burst::{How, Seen};
use super::metering::Carried;
use super::tools::Tools;
use crate::relay::{Leg, Which};
use dataplane::Received;
use mptcp::option::{Mapping, next_mapping};
use stack::ip::{Head, Net};
use stack::slab::Handle;
use stack::{Instant, PacketBuf, Slice, Step};
use std::vec::Drain;

impl<B: PacketBuf> Engine<B> {
    /// Gives each segment to the leg, and wakes the relay.
    pub(super) fn on_run(
        &mut self,
        now: Instant,
        leg: (Handle, Which),
        mut run: &[Seen],
        frames: &mut Drain<'_, Received<B>>,
    ) {
        let Some(port) = run.first().map(|first| first.head.port) else {
            return;
        };
        let held_max = self.held_max(self.relays.subscriber(leg.0));
        let mut carried = Carried::default();
        while let [Seen { head, .. }, behind @ ..] = run {
            let Some(Received { frame, checksum }) = frames.next() else {
                return;
            };
            run = behind;
            self.tools.ledger.enter(Step::Parse);
            match &Net::segment(&mut self.tools.cx(now), head, frame, checksum) {
                Ok(segment) => {
                    let more = behind.first().is_some_and(|next| next.goes_on.is_some());
                    let leads = more && self.relays.leads(leg, segment);
                    let (_, whole) = self.give(now, leg, held_max, segment);
                    carried.add(head);
                    if more && whole && (leads || self.relays.has_led(leg, segment)) {
                        run = self.on_more(now, leg, run, frames, &mut carried);
                    }
                },
                Err(error) => _ = self.tools.stack.end((*error).into()),
            }
        }
        self.after_leg(now, leg, port, carried);
    }

    /// Gives the leg those of `run` that go on where the segment before them ended, which was given with its payload and leads
    /// (`Relays::leads`, `has_led`): it holds no more than before, and is heard of as before. Those that are left.
    fn on_more<'a>(
        &mut self,
        now: Instant,
        (handle, which): (Handle, Which),
        mut run: &'a [Seen],
        frames: &mut Drain<'_, Received<B>>,
        carried: &mut Carried,
    ) -> &'a [Seen] {
        let Some(relay) = self.relays.get_mut(handle) else {
            return run;
        };
        let (tools, legs) = (&mut self.tools, &mut self.legs);
        let mut mapping = None;
        while let [
            Seen {
                head,
                goes_on: Some(how),
                ..
            },
            behind @ ..,
        ] = run
        {
            let len = head.text_len();
            match relay.leg(which) {
                Leg::Plain(leg) => {
                    if !matches!(how, How::Same) || !leg.tcb.takes_more(len) {
                        return run;
                    }
                    let Some(text) = text_of(tools, now, head, frames) else {
                        return behind;
                    };
                    tools.ledger.enter(Step::TcpIn);
                    leg.tcb.input_more(now, text);
                },
                Leg::Multipath(leg) => {
                    // One mapping may be over several segments.
                    mapping = match how {
                        How::Mapped(next) => Some(*next),
                        How::Same => mapping.or_else(|| mapping_of(head, frames)),
                    };
                    let Some(more) = mapping.and_then(|mapping| leg.takes_more(&mapping, len))
                    else {
                        return run;
                    };
                    let Some(text) = text_of(tools, now, head, frames) else {
                        return behind;
                    };
                    tools.ledger.enter(Step::MptcpIn);
                    leg.input_more(&mut tools.leg(now), &more, text);
                },
            }
            _ = legs.end();
            carried.add(head);
            run = behind;
        }
        run
    }
}

/// The mapping that the first of `frames`, whose head is `head`, has in a DSS that is its only option beside timestamps.
fn mapping_of<B: PacketBuf>(head: &Head, frames: &Drain<'_, Received<B>>) -> Option<Mapping> {
    let options = head.options(&frames.as_slice().first()?.frame);
    next_mapping([options, options])
}

/// The text of the first of `frames`, whose head is `head`; `None` if it is damaged, and at its end.
fn text_of<B: PacketBuf>(
    tools: &mut Tools,
    now: Instant,
    head: &Head,
    frames: &mut Drain<'_, Received<B>>,
) -> Option<Slice<B>> {
    let Received { frame, checksum } = frames.next()?;
    tools.ledger.enter(Step::Parse);
    let text = Net::text(&mut tools.cx(now), head, frame, checksum);
    text.map_err(|error| tools.stack.end(error.into())).ok()
}
