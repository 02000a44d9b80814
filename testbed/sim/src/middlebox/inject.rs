//! Sends segments that nobody sent: resets, data, and options of Multipath TCP, by somebody who sees what passes or guesses.

use super::{FlowId, Middlebox, Way, flow_of};
use crate::packet::{ACK, PSH, RST, SYN, Tcp, kind};
use crate::seed::Draw;
use stack::{Instant, Rng};
use std::collections::BTreeMap;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// A reset with exactly the number that comes next: believed by all (RFC 5961 3.2).
    Reset,
    /// A reset inside the window, with another number than the next: only asked about.
    NearReset,
    /// A reset far outside the window.
    FarReset,
    /// A SYN inside the window (RFC 5961 4).
    Syn,
    /// Octets that were acknowledged long ago, with another content.
    OldData,
    /// Octets far beyond the window.
    FarData,
    /// An ACK of what was never sent (RFC 5961 5).
    WildAck,
    /// An ADD_ADDR whose HMAC is none.
    AddAddr,
    /// A REMOVE_ADDR of address 1.
    RemoveAddr,
    /// An MP_FASTCLOSE with another key.
    Fastclose,
    /// An MP_PRIO that makes the subflow a backup.
    Prio,
    /// A DATA_ACK of what was never sent.
    DataAck,
}

/// The middlebox: after one in so many segments it sends a forged one the same way.
pub struct Forger {
    forgery: Forgery,
    ways: [bool; 2],
    every: u32,
    left: u32,
    rng: Rng,
    /// For each direction of each flow, what was acknowledged last.
    acked: BTreeMap<(Way, FlowId), u32>,
}

impl Forger {
    /// One that sends `forgery` after one in `every` segments that travel the `ways`, but no more than `most` times.
    #[must_use]
    pub fn new(forgery: Forgery, ways: [bool; 2], (every, most): (u32, u32), seed: u64) -> Self {
        Self {
            forgery,
            ways,
            every,
            left: most,
            rng: Rng::from_u64(seed),
            acked: BTreeMap::new(),
        }
    }

    /// The forged segment that follows `tcp`, which goes `way`.
    fn forge(&mut self, way: Way, tcp: &Tcp) -> Option<Tcp> {
        let next = tcp.seq.wrapping_add(tcp.seq_len());
        let mut forged = tcp.clone();
        forged.payload.clear();
        forged.strip(kind::MPTCP, true);
        forged.flags = ACK;
        forged.seq = next;
        match self.forgery {
            Forgery::Reset => forged.flags = RST | ACK,
            Forgery::NearReset => {
                forged.flags = RST | ACK;
                forged.seq = next.wrapping_add(self.rng.between(1, 500));
            },
            Forgery::FarReset => {
                forged.flags = RST | ACK;
                forged.seq = next.wrapping_add(1 << 30);
            },
            Forgery::Syn => forged.flags = SYN,
            Forgery::OldData => {
                let acked = *self.acked.get(&(way, flow_of(tcp, way)))?;
                // The handshake's own number is not data's.
                forged.seq = acked.wrapping_sub(100);
                forged.flags |= PSH;
                forged.payload = vec![0xee; 100];
            },
            Forgery::FarData => {
                forged.seq = next.wrapping_add(1 << 30);
                forged.payload = vec![0xee; 100];
            },
            Forgery::WildAck => forged.ack = tcp.ack.wrapping_add(1 << 20),
            Forgery::AddAddr => option(
                &mut forged,
                &[30, 16, 0x30, 9, 10, 99, 0, 77, 1, 2, 3, 4, 5, 6, 7, 8],
            ),
            Forgery::RemoveAddr => option(&mut forged, &[30, 4, 0x40, 1]),
            Forgery::Fastclose => option(&mut forged, &[30, 12, 0x70, 0, 1, 2, 3, 4, 5, 6, 7, 8]),
            Forgery::Prio => option(&mut forged, &[30, 3, 0x51]),
            Forgery::DataAck => option(&mut forged, &[30, 8, 0x20, 0x01, 0x7f, 1, 2, 3]),
        }
        Some(forged)
    }
}

/// Puts an option behind the others, if it fits.
fn option(tcp: &mut Tcp, octets: &[u8]) {
    while tcp.options.last() == Some(&1) {
        tcp.options.pop();
    }
    if tcp.options.len() + octets.len() <= 40 {
        tcp.options.extend(octets);
    }
}

impl Middlebox for Forger {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let tcp = Tcp::parse(&frame);
        out.push((way, frame));
        let Some(tcp) = tcp.filter(|tcp| !tcp.has(SYN) && !tcp.has(RST)) else {
            return;
        };
        if tcp.has(ACK) {
            self.acked
                .insert((way.turned(), flow_of(&tcp, way)), tcp.ack);
        }
        if self.left > 0
            && self.ways[way.index()]
            && self.rng.below(self.every) == 0
            && let Some(forged) = self.forge(way, &tcp)
        {
            self.left -= 1;
            out.push((way, forged.frame()));
        }
    }
}
