//! What an operator is shown of a TCP connection of a leg.

use super::Leg;
use stack::tcp::Tcb;
use stack::{PacketBuf, Tuple};

/// One TCP connection of a leg.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SubflowInfo {
    /// Our number of it.
    pub(crate) id: u32,
    /// Of the segments that we send.
    pub(crate) tuple: Tuple,
    /// Smoothed round-trip time in microseconds, 0 before the first sample.
    pub(crate) srtt_us: u64,
    /// Congestion window in octets.
    pub(crate) cwnd: u64,
    /// Octets in flight.
    pub(crate) flight: u64,
    /// Payload octets received.
    pub(crate) bytes_in: u64,
    /// Payload octets acknowledged by the peer.
    pub(crate) bytes_out: u64,
    /// Segments sent again.
    pub(crate) retransmitted: u64,
    /// Used only when nothing else is left.
    pub(crate) backup: bool,
}

impl SubflowInfo {
    /// Gives `told` every TCP connection of `leg`.
    pub(crate) fn each<B: PacketBuf>(leg: &Leg<B>, told: &mut dyn FnMut(Self)) {
        match leg {
            Leg::Plain(leg) => told(Self::of(0, leg.tuple, false, &leg.tcb)),
            Leg::Multipath(leg) => leg.subflows().for_each(|subflow| {
                let id = u32::from(subflow.id().0);
                let tuple = subflow.tuple().reversed();
                told(Self::of(id, tuple, subflow.backup(), subflow.tcb()));
            }),
        }
    }

    /// What `tcb` tells of itself.
    fn of<B: PacketBuf>(id: u32, tuple: Tuple, backup: bool, tcb: &Tcb<B>) -> Self {
        let micros = |rtt: stack::time::Duration| u64::try_from(rtt.as_micros()).unwrap_or(0);
        Self {
            id,
            tuple,
            srtt_us: tcb.srtt().map_or(0, micros),
            cwnd: u64::from(tcb.cwnd()),
            flight: u64::from(tcb.flight_size()),
            bytes_in: tcb.bytes_received(),
            bytes_out: tcb.bytes_acked(),
            retransmitted: tcb.retransmitted(),
            backup,
        }
    }
}
