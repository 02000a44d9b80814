//! Takes the octet out of smoltcp's keepalives. It stands for nothing (RFC 9293 3.8.4), but smoltcp also sends it in the place
//! of an octet that it has yet to repeat, and then whoever gets it takes it for data.

use crate::middlebox::{FlowId, Way, flow_of};
use crate::packet::{FIN, SYN, Tcp};
use std::collections::BTreeMap;

/// What a host has sent of each of its flows: the end, and whether the last was one octet alone.
#[derive(Default)]
pub struct Probes(BTreeMap<FlowId, (u32, bool)>);

impl Probes {
    /// `frame`, which leaves; without its octet if it is a keepalive with one.
    pub fn leaves(&mut self, frame: Vec<u8>) -> Vec<u8> {
        let Some(mut tcp) = Tcp::parse(&frame) else {
            return frame;
        };
        let end = tcp.seq.wrapping_add(tcp.seq_len());
        let single = tcp.payload.len() == 1 && !tcp.has(FIN);
        let (last, was_single) = self
            .0
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
        frame
    }
}
