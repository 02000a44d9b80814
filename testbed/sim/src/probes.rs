//! Makes up for four faults of smoltcp's.
//!
//! Its keepalives have an octet. It stands for nothing (RFC 9293 3.8.4), but smoltcp also sends it in the place of an octet
//! that it has yet to repeat, and then whoever gets it takes it for data: the octet is taken out.
//!
//! Of a segment that reaches beyond its window it takes what fits, and then the FIN behind what did not, as if the stream
//! ended there (RFC 9293 3.10.7.4 cuts both): the FIN is taken out.
//!
//! The window of its SYN+ACK it takes for one that is scaled (RFC 7323 2.2: none in a SYN is), and then has no room for what
//! it lets in, where a middlebox adds octets to as many as that window holds: what lies beyond is cut off before.
//!
//! After a timeout its SND.NXT goes back to the oldest octet, and its bare ACKs with it, to numbers that are acknowledged:
//! whoever gets them drops them (RFC 9293 3.10.7.4), and so never hears what they acknowledge. They get the highest number
//! that it sent.

use crate::middlebox::{FlowId, Way, flow_of};
use crate::packet::{ACK, FIN, RST, SYN, Tcp, kind};
use std::collections::BTreeMap;

/// What a host has sent of each of its flows: the end, and whether the last was one octet alone; and its windows.
#[derive(Default)]
pub struct Probes {
    sent: BTreeMap<FlowId, (u32, bool)>,
    windows: BTreeMap<FlowId, Window>,
}

/// What a host offers on a flow.
#[derive(Default)]
struct Window {
    /// The shift in its SYN, and whether the other end's had one, too (RFC 7323 2.2).
    shift: u8,
    is_scaled: bool,
    /// The right edge, and whether a SYN said so.
    edge: Option<u32>,
    is_first: bool,
}

impl Probes {
    /// `frame`, which leaves; without its octet if it is a keepalive with one, and with the highest number if it is a bare ACK.
    pub fn leaves(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let Some(mut tcp) = Tcp::parse(&frame) else {
            return frame;
        };
        self.offers(&tcp);
        let end = tcp.seq.wrapping_add(tcp.seq_len());
        let single = tcp.payload.len() == 1 && !tcp.has(FIN);
        let (last, was_single) = self
            .sent
            .entry(flow_of(&tcp, Way::Forth))
            .or_insert((end, single));
        if tcp.has(SYN) || end.wrapping_sub(*last).wrapping_sub(1) < 1 << 31 {
            (*last, *was_single) = (end, single);
            return frame;
        }
        if single && end == *last && tcp.payload == [0] && !*was_single {
            tcp.payload.clear();
            return tcp.frame();
        }
        if tcp.seq_len() == 0 && !tcp.has(RST) && end != *last {
            tcp.seq = *last;
            return tcp.frame();
        }
        frame
    }

    fn offers(&mut self, tcp: &Tcp) {
        let window = self.windows.entry(flow_of(tcp, Way::Forth)).or_default();
        if tcp.has(SYN) {
            let option = tcp.option(kind::WSCALE);
            window.shift = option.map_or(0, |option| option[2]);
        }
        if tcp.has(ACK) {
            let shift = if tcp.has(SYN) || !window.is_scaled {
                0
            } else {
                window.shift
            };
            window.edge = Some(tcp.ack.wrapping_add(u32::from(tcp.wnd) << shift));
            window.is_first = tcp.has(SYN);
        }
    }

    /// `frame`, which arrives; without its FIN if that is behind what the host has no room for, and without that if the host
    /// does not know.
    pub fn arrives(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let Some(mut tcp) = Tcp::parse(&frame) else {
            return frame;
        };
        let flow = flow_of(&tcp, Way::Back);
        if tcp.has(SYN) {
            let window = self.windows.entry(flow).or_default();
            window.is_scaled = tcp.option(kind::WSCALE).is_some();
            return frame;
        }
        let Some((window, edge)) = self.windows.get(&flow).and_then(|w| Some((w, w.edge?))) else {
            return frame;
        };
        let len = u32::try_from(tcp.payload.len()).unwrap_or(0);
        let beyond = tcp.seq.wrapping_add(len).wrapping_sub(edge);
        if beyond.wrapping_sub(1) >= 1 << 31 || !(window.is_first || tcp.has(FIN)) {
            return frame;
        }
        if window.is_first {
            let fits = len.saturating_sub(beyond);
            tcp.payload.truncate(fits as usize);
        }
        tcp.flags &= !FIN;
        tcp.frame()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;

    /// Seeds 67990, 90111 and 352799: both ends went back after a timeout, and neither heard the other.
    #[test]
    fn a_bare_ack_has_the_highest_number_that_was_sent() {
        let ends = ["10.0.0.1:1", "10.0.0.2:2"]
            .map(|end| ([0; 6], end.parse::<SocketAddr>().expect("an end")));
        let mut probes = Probes::default();
        let mut leaves = |flags, seq, payload: &[u8]| {
            let mut tcp = Tcp::between(ends[0], ends[1]);
            (tcp.flags, tcp.seq, tcp.payload) = (flags, seq, payload.to_vec());
            Tcp::parse(&probes.leaves(tcp.frame())).expect("a segment")
        };
        assert_eq!(leaves(SYN, 0, &[]).seq, 0);
        assert_eq!(leaves(ACK, 1, &[]).seq, 1);
        assert_eq!(leaves(ACK, 1, &[1; 500]).seq, 1);
        assert_eq!(leaves(ACK, 501, &[1; 500]).seq, 501);
        // It repeats the first, which then ends where it acknowledges from.
        assert_eq!(leaves(ACK, 1, &[1; 500]).seq, 1);
        assert_eq!(leaves(ACK, 501, &[]).seq, 1_001);
        // A reset has to have the number that the other end expects (RFC 5961 3.2), and a keepalive one before.
        assert_eq!(leaves(RST, 501, &[]).seq, 501);
        let keepalive = leaves(ACK, 1_000, &[0]);
        assert_eq!((keepalive.seq, keepalive.payload.len()), (1_000, 0));
    }
}
