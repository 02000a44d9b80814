//! Header prediction (Jacobson) at both levels: the data that comes next, with the one option that it needs. Nearly all segments
//! of a peer that sends and is sent nothing are so, and for them [`Connection::input`] comes down to these few steps.

use super::{Connection, Mode};
use crate::coupling::Coupling;
use crate::dss;
use crate::option::{Dss, Mapping, lone_dss};
use crate::{Cx, DataSeq};
use stack::wire::tcp::Segment;
use stack::{PacketBuf, Slice, Step};

#[cfg(test)]
mod tests;

/// Where text belongs that goes on behind a segment.
#[derive(Clone, Copy, Debug)]
pub struct More {
    /// Index of the subflow.
    at: usize,
    mapping: dss::Mapping,
}

impl<B: PacketBuf> Connection<B> {
    /// Takes `seg` of subflow `at`, if it is what comes next there, is mapped by the DSS that is its only option, and
    /// acknowledges no data but what was; in a connection that is open each way, and cannot fall back. Whether it was; if not,
    /// nothing has changed. In the same order as [`Self::input`] does it: what is not here would have found nothing to do.
    #[inline]
    pub(super) fn input_predicted(&mut self, cx: &mut Cx<'_>, at: usize, seg: &Segment<B>) -> bool {
        let Some(Dss {
            data_ack: Some(ack),
            mapping: Some(mapping),
        }) = lone_dss(&seg.options.mptcp)
        else {
            return false;
        };
        let Mapping {
            data_fin, checksum, ..
        } = mapping;
        let una = self.send.una();
        let new = data_fin || checksum.is_some() || DataSeq::expand(ack, una) != una;
        if new || !self.is_calm() {
            return false;
        }
        let number = mapping.dsn;
        let dsn = DataSeq::expand(number, self.recv.next());
        let subflow = &mut self.subflows[at];
        let mapping = dss::Mapping {
            seq: subflow.irs + mapping.ssn,
            dsn,
            len: mapping.len.into(),
            check: None,
        };
        let len = u32::try_from(seg.payload.len()).unwrap_or(u32::MAX);
        let placed = subflow.mappings.is_next(seg.seq, len, &mapping);
        if !placed || subflow.withdrawal.is_some() {
            return false;
        }
        let outer = cx.ledger.enter(Step::TcpIn);
        let is_next = subflow.tcb.input_next(cx.now, seg);
        cx.ledger.enter(outer);
        if !is_next {
            return false;
        }
        self.dirty = true;
        self.halves.on_data(number);
        subflow.rate.on_ack(cx.now, &subflow.tcb);
        // The option: on_dss(), on_signs().
        subflow.mappings.pass(mapping, seg.seq + len);
        subflow.verified = true;
        let window = u64::from(seg.wnd) << subflow.tcb.snd_wscale();
        self.send_edge = self.send_edge.max(una + window);
        self.heard = true;
        self.capable_due &= subflow.joined;
        subflow.on_fourth_ack();
        // The data: receive().
        subflow.held.pass(seg.payload.len());
        subflow.uncovered_until = None;
        self.place(cx, at, mapping.place(seg.seq), seg.payload.hand_on());
        let window = self.window();
        self.subflows[at].tcb.set_recv_room(window);
        true
    }

    /// Whether `seg`, which was given to [`Self::input`] last, was what was expected. If so, the text of segments that go
    /// on where it ends, in its header but for number, PSH and the numbers of the mapping, may be given to [`Self::input_more`],
    /// if nothing else is done in between.
    pub fn has_led(&self, seg: &Segment<B>) -> bool {
        let subflow = self.predicted.and_then(|at| self.subflows.get(at));
        subflow.is_some_and(|subflow| subflow.tcb.has_led(seg))
    }

    /// Whether `len` octets of text behind what [led](Self::has_led) are in its subflow's window, and `mapping` is all that places
    /// them: what [`Self::input_more`] is to be given with them, at once.
    #[inline]
    pub fn takes_more(&self, mapping: &Mapping, len: usize) -> Option<More> {
        let at = self.predicted?;
        let subflow = self.subflows.get(at)?;
        let seq = subflow.tcb.rcv_nxt();
        let mapping = dss::Mapping {
            seq: subflow.irs + mapping.ssn,
            dsn: DataSeq::expand(mapping.dsn, self.recv.next()),
            len: mapping.len.into(),
            check: None,
        };
        let octets = u32::try_from(len).unwrap_or(u32::MAX);
        let placed = subflow.mappings.is_next(seq, octets, &mapping);
        (placed && subflow.tcb.takes_more(len)).then_some(More { at, mapping })
    }

    /// Takes the `text` that [`Self::takes_more`] was asked about: what [`Self::input`] would do of its segment.
    #[inline]
    pub fn input_more(&mut self, cx: &mut Cx<'_>, more: &More, text: Slice<B>) {
        let &More { at, mapping } = more;
        let subflow = &mut self.subflows[at];
        let seq = subflow.tcb.rcv_nxt();
        subflow.tcb.input_more_next(cx.now, text.len());
        subflow.mappings.pass(mapping, subflow.tcb.rcv_nxt());
        subflow.held.pass(text.len());
        self.place(cx, at, mapping.place(seq), text);
        let window = self.window();
        self.subflows[at].tcb.set_recv_room(window);
    }

    /// Whether data comes and will go on to: no fallback is possible, the peer's end has not come, and no option but a DSS is
    /// needed. [`Self::settle`] finds nothing to do then.
    fn is_calm(&self) -> bool {
        let verified = self.mode == Mode::Verified && !self.params.checksum;
        let alone = self.coupling == Coupling::Uncoupled;
        verified && alone && self.ended.is_none() && self.is_open()
    }
}
