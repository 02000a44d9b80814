//! What goes out: segments of every subflow, dressed with the options of the connection.

use super::controls::Control;
use super::{Connection, Mode, Output, SubflowId};
use crate::option::{Dss, MpOption, parse};
use crate::{Cx, DataSeq};
use stack::wire::tcp::{Flags, OptBytes, OutSegment};
use stack::{Instant, PacketBuf, Step, Tuple};

impl<B: PacketBuf> Connection<B> {
    /// The next segment to send now, as [`Self::output_into`] makes it; call until `None`.
    pub fn output(&mut self, cx: &mut Cx<'_>) -> Option<Output<B>> {
        let mut segment = OutSegment::default();
        let (subflow, tuple) = self.output_into(cx, &mut segment)?;
        Some(Output {
            subflow,
            tuple,
            segment,
        })
    }

    /// Writes the next segment to send now to `segment`, which is as [`OutSegment::default`] or an earlier call left it: on
    /// which subflow and with which addresses and ports, the source being us. Call until `None`.
    pub fn output_into(
        &mut self,
        cx: &mut Cx<'_>,
        segment: &mut OutSegment<B>,
    ) -> Option<(SubflowId, Tuple)> {
        if self.dirty && self.outbox.is_empty() && !self.is_over() {
            self.dirty = false;
            self.settle(cx);
            self.schedule(cx);
        }
        if let Some(out) = self.outbox.pop_front() {
            *segment = out.segment;
            return Some((out.subflow, out.tuple));
        }
        if self.is_over() {
            return None;
        }
        let count = self.subflows.len();
        for step in 0..count {
            // The turn is one of the subflows', so this goes round once at most.
            let at = self.turn + step;
            let at = if at < count { at } else { at - count };
            if self.output_of(cx, at, segment) {
                self.turn = at;
                let subflow = &self.subflows[at];
                return Some((subflow.id, subflow.tuple.reversed()));
            }
        }
        self.turn = 0;
        None
    }

    /// Writes the next segment to send now to `segment`, which holds what [`Self::output_into`] or this wrote there last, if it goes by
    /// the same subflow and only has more data, with nothing else to say: most data leaves in a row. Whether it is so; if not,
    /// nothing has changed. Nothing else may be done in between.
    #[inline]
    pub fn output_more(&mut self, now: Instant, segment: &mut OutSegment<B>) -> bool {
        // With the same DATA_ACK as the one before, it tells nothing new that a window or a control depends on.
        let calm = self.mode == Mode::Verified && !self.dirty && self.outbox.is_empty();
        if !calm || data_ack_len(&segment.options.mptcp).is_none() {
            return false;
        }
        let Some(subflow) = self.subflows.get_mut(self.turn) else {
            return false;
        };
        let leaves = subflow.tcb.output_more(now, segment);
        if leaves {
            let len = segment.payload_len();
            subflow.rate.on_sent(now, &subflow.tcb, len);
            renew_data_ack(&mut segment.options.mptcp, self.recv.next());
        }
        leaves
    }

    /// What `id` sent last waits behind a full queue of the device: see [`Tcb::on_crowded`](stack::tcp::Tcb::on_crowded).
    pub fn on_crowded(&mut self, cx: &mut Cx<'_>, id: SubflowId) {
        if let Some(subflow) = self.subflow_mut(id) {
            subflow.tcb.on_crowded(&mut cx.stack());
        }
    }

    /// The next segment of one subflow: whether there was one.
    fn output_of(&mut self, cx: &mut Cx<'_>, at: usize, segment: &mut OutSegment<B>) -> bool {
        let mut control = self.next_control(at);
        if control == Control::None && self.subflows[at].tcb.is_silent() {
            // As most are at most times.
            return false;
        }
        if self.hides_data_ack(at, control) {
            self.subflows[at].tcb.request_ack();
            control = Control::None;
        }
        let mut space = self.control_len(at, control);
        let outer = cx.ledger.enter(Step::TcpOut);
        let tcb = &mut self.subflows[at].tcb;
        let mut leaves = tcb.output_into(&mut cx.stack(), space, segment);
        cx.ledger.enter(outer);
        if !leaves && control == Control::Handshake && self.is_ending_early(at) {
            control = Control::DataFin;
            space = self.control_len(at, control);
        }
        let tcb = &mut self.subflows[at].tcb;
        if !leaves && !matches!(control, Control::None | Control::Handshake) {
            // Nothing else leaves on this subflow now: an ACK carries the option.
            tcb.request_ack();
            leaves = tcb.output_into(&mut cx.stack(), space, segment);
        }
        if !leaves {
            return false;
        }
        self.dress(cx, at, segment, control);
        let subflow = &mut self.subflows[at];
        let len = segment.payload_len();
        if len > 0 {
            subflow.rate.on_sent(cx.now, &subflow.tcb, len);
        }
        true
    }

    /// Whether a DATA_FIN waits behind an MP_CAPABLE that went out and that nothing has answered yet: a peer with nothing
    /// to say answers only that.
    fn is_ending_early(&self, at: usize) -> bool {
        let subflow = &self.subflows[at];
        self.capable_due && !subflow.joined && subflow.data_fin_due
    }

    /// Whether `control` leaves no room for a DATA_ACK on a segment that acknowledges what none with a DATA_ACK did: the peer
    /// would take options for dropped on the way (RFC 8684 3.7). One goes before it.
    fn hides_data_ack(&self, at: usize, control: Control) -> bool {
        let addresses = matches!(
            control,
            Control::AddAddr(_) | Control::RemoveAddr | Control::Echo
        );
        let subflow = &self.subflows[at];
        addresses
            && subflow.told != subflow.tcb.rcv_nxt()
            && !has_data_ack(&self.control_bytes(at, control))
    }

    /// Puts the connection's options and window on a segment of subflow `at`.
    fn dress(&mut self, cx: &mut Cx<'_>, at: usize, segment: &mut OutSegment<B>, control: Control) {
        if segment.flags.has(Flags::RST) {
            return;
        }
        if segment.options.mptcp.is_empty() {
            // Data that has no option left none room, as after a fallback: it may be as long as fits without. What is due goes
            // on an ACK.
            if segment.payload.is_none() {
                segment.options.mptcp = self.control_bytes(at, control);
                self.control_sent(cx, at, control);
            }
        } else if self.mode == Mode::Fallback {
            drop_data_ack(&mut segment.options.mptcp);
        } else if self.halves.whole_acks() && data_ack_len(&segment.options.mptcp) == Some(4) {
            // It was queued before the peer's first whole number came: an ACK has room for what answers that.
            drop_data_ack(&mut segment.options.mptcp);
            self.subflows[at].tcb.request_ack();
        } else {
            renew_data_ack(&mut segment.options.mptcp, self.recv.next());
        }
        if self.mode == Mode::Fallback {
            return;
        }
        let plain = matches!(control, Control::None | Control::DataFin);
        if plain || has_data_ack(&segment.options.mptcp) {
            self.subflows[at].told = segment.ack;
        }
        // RFC 8684 3.3.1: the window field counts from the DATA_ACK, on every subflow alike.
        let window = self.window();
        let subflow = &mut self.subflows[at];
        let scale = subflow.tcb.rcv_wscale();
        segment.wnd = u16::try_from(window >> scale).unwrap_or(u16::MAX);
        subflow.announced = u32::from(segment.wnd) << scale;
        subflow.announced_once = true;
    }
}

fn has_data_ack(options: &OptBytes) -> bool {
    let bears =
        |option| matches!(option, MpOption::Dss(Dss { data_ack, .. }) if data_ack.is_some());
    parse(options).flatten().any(bears)
}

/// DATA_ACK present, and of 8 octets (RFC 8684 3.3).
const ACK: u8 = 0x01;
const ACK_OF_8: u8 = 0x02;

/// The length of the DATA_ACK in `option`, if that is a DSS with one.
#[inline]
fn data_ack_len(option: &OptBytes) -> Option<usize> {
    const DSS: u8 = 2 << 4;
    match **option {
        [_, _, subtype, flags, ..] if subtype & 0xf0 == DSS && flags & ACK != 0 => {
            Some(if flags & ACK_OF_8 == 0 { 4 } else { 8 })
        },
        _ => None,
    }
}

/// Writes the present DATA_ACK into a DSS that was made when its data was queued.
#[inline]
fn renew_data_ack(option: &mut OptBytes, data_ack: DataSeq) {
    let whole = data_ack.0.to_be_bytes();
    match data_ack_len(option) {
        Some(4) => {
            if let Some(field) = option.get_mut(4..8) {
                field.copy_from_slice(&whole[4..]);
            }
        },
        Some(_) => {
            if let Some(field) = option.get_mut(4..12) {
                field.copy_from_slice(&whole);
            }
        },
        None => {},
    }
}

/// Takes the DATA_ACK out of a DSS that was made before one had to be longer, or before the fallback. What TCP has in order since
/// then need not be what the peer's mappings say, and the window is of TCP's numbers again; the mapping stays true, and the peer may
/// not have fallen back (RFC 8684 3.7: no more DATA_ACKs, and subflow ACKs alone count).
#[cold]
fn drop_data_ack(option: &mut OptBytes) {
    let Some(ack) = data_ack_len(option) else {
        return;
    };
    let len = option.len() - ack;
    option.copy_within(4 + ack.., 4);
    option.truncate(len);
    option[1] = u8::try_from(len).unwrap_or(0);
    option[3] &= !(ACK | ACK_OF_8);
}
