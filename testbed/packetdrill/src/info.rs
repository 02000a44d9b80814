//! What a connection tells of itself: Linux's `struct tcp_info`, where the stack has the value.

use crate::conn::{Conn, Stage};
use crate::stream::tcb_of;
use dataplane::MemBuf;
use stack::Instant;
use stack::tcp::{State, Tcb};
use stack::time::Duration;

/// States as Linux numbers them.
const fn number(stage: &Stage) -> u8 {
    match stage {
        Stage::Opening(..) => 2,
        Stage::Accepting(..) => 3,
        Stage::TimeWait(_) => 6,
        Stage::Open(_) | Stage::Over => 7,
    }
}

const fn state(tcb: &Tcb<MemBuf>) -> u8 {
    match tcb.state() {
        State::Established => 1,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::TimeWait => 6,
        State::Closed => 7,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Closing => 11,
    }
}

/// `struct tcp_info` up to `tcpi_snd_wnd`. What the stack has no name for is nought.
pub(crate) fn tcp_info(conn: &Conn, now: Instant) -> Vec<u8> {
    let tcb = match &conn.stage {
        Stage::Open(stream) => tcb_of(stream),
        _ => None,
    };
    let mut out = Layout::default();
    let Some(tcb) = tcb else {
        out.octets([number(&conn.stage)]);
        return out.0;
    };
    let mss = u32::try_from(tcb.max_payload(0)).unwrap_or(1).max(1);
    let segments = |octets: u32| octets.div_ceil(mss);
    let micros = |span: Duration| u32::try_from(span.as_micros()).unwrap_or(u32::MAX);
    let since = |at: Instant| u32::try_from(now.since(at).as_millis()).unwrap_or(u32::MAX);
    let rtos = tcb.consecutive_rtos();
    // Open, Disorder, Recovery and Loss as Linux numbers them.
    let congestion = match (tcb.in_recovery(), rtos) {
        (false, _) if tcb.sacked() > 0 => 1,
        (false, _) => 0,
        (true, 0) => 3,
        (true, _) => 4,
    };
    out.octets([
        state(tcb),
        congestion,
        u8::try_from(rtos).unwrap_or(u8::MAX),
        0,
    ]);
    out.octets([
        u8::try_from(rtos).unwrap_or(u8::MAX),
        conn.agreed,
        tcb.snd_wscale() | tcb.rcv_wscale() << 4,
        0,
    ]);
    let unsent = u32::try_from(conn.unsent()).unwrap_or(u32::MAX);
    let advertised = u32::from(tcb.smss());
    let unacked = segments(tcb.flight_size());
    // rto, ato, snd_mss, rcv_mss, unacked, sacked, lost, retrans, fackets.
    out.words([
        micros(tcb.rto()),
        40_000,
        mss,
        mss,
        unacked,
        tcb.sacked(),
        0,
        0,
        0,
    ]);
    // last_data_sent, last_ack_sent, last_data_recv, last_ack_recv.
    out.words([
        since(conn.last_data_out),
        0,
        since(conn.last_data_in),
        since(conn.last_ack_in),
    ]);
    let rtt = tcb.srtt().map_or(0, micros);
    let threshold = match tcb.ssthresh() {
        u32::MAX => 0x7fff_ffff,
        octets => octets / mss,
    };
    // pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering.
    out.words([
        advertised + 40,
        0,
        rtt,
        micros(tcb.rttvar()),
        threshold,
        tcb.cwnd() / mss,
        advertised,
        3,
    ]);
    // rcv_rtt, rcv_space, total_retrans.
    out.words([0, 0, u32::try_from(tcb.retransmitted()).unwrap_or(u32::MAX)]);
    out.longs([0, u64::MAX, tcb.bytes_acked(), tcb.bytes_received()]);
    let [segs_in, segs_out] = conn.segments;
    let [data_in, data_out] = conn.data_segments;
    let min_rtt = tcb.min_rtt().map_or(u32::MAX, micros);
    out.words([segs_out, segs_in, unsent, min_rtt, data_in, data_out]);
    // delivery_rate, busy_time, rwnd_limited, sndbuf_limited.
    out.longs([0, 0, 0, 0]);
    out.words([tcb.delivered().div_ceil(mss), 0]);
    // bytes_sent, bytes_retrans.
    out.longs([tcb.bytes_acked() + u64::from(tcb.flight_size()), 0]);
    out.words([0, 0, 0, tcb.snd_wnd_edge() - tcb.snd_una()]);
    out.0
}

/// Fields in the order of the struct.
#[derive(Default)]
struct Layout(Vec<u8>);

impl Layout {
    fn octets<const N: usize>(&mut self, fields: [u8; N]) {
        self.0.extend(fields);
    }

    fn words<const N: usize>(&mut self, fields: [u32; N]) {
        self.0
            .extend(fields.iter().flat_map(|field| field.to_ne_bytes()));
    }

    fn longs<const N: usize>(&mut self, fields: [u64; N]) {
        self.0
            .extend(fields.iter().flat_map(|field| field.to_ne_bytes()));
    }
}
