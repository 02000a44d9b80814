//! What RFC 9293 3.10.7 says to a segment, in numbers without end: written from its text, and using none of our code.
//!
//! Peer's numbers count from its IRS + 1, ours from our ISS + 1. Where RFC 5961, RFC 1337 or a decision of ours amends
//! the text, the line says so.

/// The states of RFC 9293 3.3.2 in which segments arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Is {
    /// After an active open.
    SynSent,
    /// After a passive open.
    SynReceived,
    /// After an active open whose SYN crossed the peer's.
    SynCrossed,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

/// The variables of RFC 9293 3.3.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) is: Is,
    pub(super) una: i64,
    pub(super) nxt: i64,
    /// MAX.SND.WND (RFC 5961 5.2).
    pub(super) wnd_max: i64,
    pub(super) fin_sent: bool,
    pub(super) rcv_nxt: i64,
    pub(super) rcv_wnd: i64,
}

/// A segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub(super) seq: i64,
    pub(super) ack: Option<i64>,
    pub(super) syn: bool,
    pub(super) fin: bool,
    pub(super) rst: bool,
    /// Octets of text.
    pub(super) text: i64,
}

/// What is sent in reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nothing,
    /// `<SEQ=SND.NXT><ACK=RCV.NXT><CTL=ACK>`
    Ack,
    /// `<SEQ=ISS><ACK=RCV.NXT><CTL=SYN,ACK>`
    SynAck,
    /// `<SEQ=SEG.ACK><CTL=RST>`
    Reset,
    /// `<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>`
    ResetAck,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) is: Is,
    pub(super) reply: Reply,
    pub(super) una: i64,
    pub(super) rcv_nxt: i64,
    /// Octets of text held for later.
    pub(super) held: i64,
    /// Whether the 2 MSL begin anew.
    pub(super) waits_anew: bool,
}

pub(super) fn arrives(block: &Block, event: &Event) -> Outcome {
    let mut after = Outcome {
        is: block.is,
        reply: Reply::Nothing,
        una: block.una,
        rcv_nxt: block.rcv_nxt,
        held: 0,
        waits_anew: false,
    };
    match block.is {
        Is::Closed => after.reply = in_closed(event),
        Is::SynSent => in_syn_sent(block, event, &mut after),
        _ => in_other_states(block, event, &mut after),
    }
    after
}

/// 3.10.7.1
fn in_closed(event: &Event) -> Reply {
    if event.rst {
        Reply::Nothing
    } else if event.ack.is_some() {
        Reply::Reset
    } else {
        Reply::ResetAck
    }
}

/// 3.10.7.3
fn in_syn_sent(block: &Block, event: &Event, after: &mut Outcome) {
    // First, check the ACK bit.
    if let Some(ack) = event.ack
        && !(block.una < ack && ack <= block.nxt)
    {
        if !event.rst {
            after.reply = Reply::Reset;
        }
        return;
    }
    // Second, check the RST bit.
    if event.rst {
        if event.ack.is_some() {
            after.is = Is::Closed;
        }
        return;
    }
    // Fourth, check the SYN bit. Text and FIN beside it are not taken and come again (T17).
    if event.syn {
        after.rcv_nxt = event.seq + 1;
        if let Some(ack) = event.ack {
            after.una = ack;
            after.is = Is::Established;
            after.reply = Reply::Ack;
        } else {
            after.is = Is::SynCrossed;
            after.reply = Reply::SynAck;
        }
    }
}

/// 3.10.7.4
fn in_other_states(block: &Block, event: &Event, after: &mut Outcome) {
    let handshake = matches!(block.is, Is::SynReceived | Is::SynCrossed);
    let edge = block.rcv_nxt + block.rcv_wnd;
    let inside = |seq: i64| block.rcv_nxt <= seq && seq < edge;
    let len = event.text + i64::from(event.syn) + i64::from(event.fin);
    // The peer's SYN again, or the SYN+ACK that crossed ours, stands where its handshake stands.
    if handshake && event.syn && !event.rst && event.seq == block.rcv_nxt - 1 {
        match (block.is, event.ack) {
            // Amendment: our SYN+ACK was lost, so it is sent again rather than a bare ACK.
            (_, None) => return after.reply = Reply::SynAck,
            // 3.5 figure 7, line 6, and appendix A.2: the acknowledgment counts though its SYN was seen. Text beside a
            // SYN is not taken.
            (Is::SynCrossed, Some(ack)) if ack == block.nxt => {
                after.una = ack;
                after.is = Is::Established;
                return after.reply = Reply::Ack;
            },
            _ => {},
        }
    }
    // First, check sequence number. Second, check the RST bit, by RFC 5961 3.2.
    if event.rst {
        if block.is == Is::TimeWait {
            // Amendment: RFC 1337 3 F1.
        } else if event.seq == block.rcv_nxt {
            after.is = Is::Closed;
        } else if inside(event.seq) {
            after.reply = Reply::Ack;
        }
        return;
    }
    let acceptable = match (len, block.rcv_wnd) {
        (0, 0) => event.seq == block.rcv_nxt,
        (0, _) => inside(event.seq),
        (_, 0) => false,
        _ => inside(event.seq) || inside(event.seq + len - 1),
    };
    // "Special allowance" for what a closed window keeps out; and, by appendix A.2, for the ACKs of a sender that has
    // filled the window, which come from its right edge.
    let at_closed_window = block.rcv_wnd == 0 && event.seq == block.rcv_nxt && !event.syn;
    let at_edge = len == 0 && event.seq == edge && !handshake;
    if !(acceptable || at_closed_window || at_edge) {
        after.reply = Reply::Ack;
        let again = event.fin && !event.syn && event.seq + len == block.rcv_nxt;
        after.waits_anew = block.is == Is::TimeWait && again;
        return;
    }
    // Fourth, check the SYN bit, by RFC 5961 4.2. Amendment: SYN-RECEIVED after a passive open does the same, so that no
    // outsider ends it; the reset that the ACK draws from a peer that began anew does.
    if event.syn {
        after.reply = Reply::Ack;
        return;
    }
    // Fifth, check the ACK field.
    let Some(ack) = event.ack else {
        return;
    };
    if handshake {
        if ack <= block.una || ack > block.nxt {
            after.reply = Reply::Reset;
            return;
        }
        after.is = Is::Established;
    } else if ack < block.una - block.wnd_max || ack > block.nxt {
        // RFC 5961 5.2.
        after.reply = Reply::Ack;
        return;
    }
    after.una = after.una.max(ack);
    let fin_acked = block.fin_sent && after.una == block.nxt;
    match after.is {
        Is::FinWait1 if fin_acked => after.is = Is::FinWait2,
        Is::Closing if fin_acked => after.is = Is::TimeWait,
        Is::LastAck if fin_acked => return after.is = Is::Closed,
        _ => {},
    }
    // What does not fit a closed window was not acceptable, whatever it acknowledged. In TIME-WAIT nothing but the FIN
    // again is expected, which is acknowledged.
    if len > 0 && (at_closed_window || block.is == Is::TimeWait) {
        after.reply = Reply::Ack;
        return;
    }
    // Seventh, process the segment text, and eighth, check the FIN bit.
    match after.is {
        Is::Established | Is::FinWait1 | Is::FinWait2 => text_and_fin(event, edge, after),
        // Fifth, CLOSING: if our FIN is not acknowledged, ignore the segment.
        Is::Closing => {},
        // The text after a FIN is ignored, another FIN acknowledged.
        _ if event.fin => after.reply = Reply::Ack,
        _ => {},
    }
}

fn text_and_fin(event: &Event, edge: i64, after: &mut Outcome) {
    let end = (event.seq + event.text).min(edge);
    if event.text > 0 {
        after.reply = Reply::Ack;
        if event.seq > after.rcv_nxt {
            after.held = end - event.seq;
        } else {
            after.rcv_nxt = after.rcv_nxt.max(end);
        }
    }
    if !event.fin {
        return;
    }
    after.reply = Reply::Ack;
    let fin = event.seq + event.text;
    // What lies outside the window is trimmed off, the FIN included; beyond a gap it waits.
    if fin != after.rcv_nxt || fin >= edge {
        return;
    }
    after.rcv_nxt += 1;
    after.is = match after.is {
        Is::Established => Is::CloseWait,
        Is::FinWait1 => Is::Closing,
        _ => Is::TimeWait,
    };
}
