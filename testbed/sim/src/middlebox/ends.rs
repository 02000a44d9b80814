//! Loses the ends of data, which have no acknowledgment of TCP that would bring them again (RFC 8684 3.3.3).

use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{Tcp, is_data_fin};
use stack::Instant;
use std::collections::BTreeMap;

/// The middlebox.
pub struct LoseEnds {
    most: u32,
    /// How many were lost of each direction of a flow.
    lost: BTreeMap<(Way, FlowId), u32>,
}

impl LoseEnds {
    /// One that loses the first `most` segments with a DATA_FIN and no data in each direction of a flow.
    #[must_use]
    pub const fn new(most: u32) -> Self {
        Self {
            most,
            lost: BTreeMap::new(),
        }
    }
}

impl Middlebox for LoseEnds {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let tcp = Tcp::parse(&frame).filter(|tcp| tcp.payload.is_empty() && is_data_fin(tcp));
        if let Some(tcp) = tcp {
            let lost = self.lost.entry((way, flow_of(&tcp, way))).or_default();
            if *lost < self.most {
                *lost += 1;
                return;
            }
        }
        out.push((way, frame));
    }
}
