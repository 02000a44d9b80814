//! Changes the options of TCP itself: takes them out, rewrites them, puts them in another order.

use super::{Middlebox, Way};
use crate::packet::{SYN, Tcp, kind};
use stack::Instant;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An option of this kind is taken out of SYNs and SYN+ACKs, so that neither end uses it.
    Refuse(u8),
    /// An option of this kind is taken out of all but SYNs and SYN+ACKs.
    Lose(u8),
    /// The window scale in SYNs that travel forth is this: the other end misreads our windows.
    Scale(u8),
    /// The segment size in SYNs is at most this.
    Clamp(u16),
    /// The clock of either end is off by this, and what echoes it is set right again.
    Clock(u32),
    /// Options stand in the opposite order.
    Order,
}

/// The middlebox.
pub struct Options(Change);

impl Options {
    /// One that makes `change`.
    #[must_use]
    pub const fn new(change: Change) -> Self {
        Self(change)
    }

    fn change(&self, way: Way, tcp: &mut Tcp) {
        let syn = tcp.has(SYN);
        match self.0 {
            Change::Refuse(kind) if syn => {
                tcp.strip(kind, false);
            },
            Change::Lose(kind) if !syn => {
                tcp.strip(kind, false);
            },
            Change::Scale(shift) if syn && way == Way::Forth => {
                edit(tcp, kind::WSCALE, |body| body[0] = shift);
            },
            Change::Clamp(most) if syn => edit(tcp, kind::MSS, |body| {
                let mss = u16::from_be_bytes([body[0], body[1]]).min(most);
                body.copy_from_slice(&mss.to_be_bytes());
            }),
            // The end that the first end's clock runs through sees it later; its echo is turned back.
            Change::Clock(by) => edit(tcp, kind::TIMESTAMPS, |body| {
                let at = if way == Way::Forth { 0 } else { 4 };
                let field = [body[at], body[at + 1], body[at + 2], body[at + 3]];
                let clock = u32::from_be_bytes(field);
                // An echo of zero stands for none.
                if at == 4 && clock == 0 {
                    return;
                }
                let moved = if at == 0 {
                    clock.wrapping_add(by)
                } else {
                    clock.wrapping_sub(by)
                };
                body[at..at + 4].copy_from_slice(&moved.to_be_bytes());
            }),
            Change::Order => turn_over(tcp),
            Change::Refuse(_) | Change::Lose(_) | Change::Scale(_) | Change::Clamp(_) => {},
        }
    }
}

/// Gives the body of the first option of `kind` to `with`.
fn edit(tcp: &mut Tcp, kind: u8, with: impl FnOnce(&mut [u8])) {
    let len = match kind {
        kind::WSCALE => 3,
        kind::MSS => 4,
        _ => 10,
    };
    let found = tcp
        .ranges()
        .into_iter()
        .find(|(k, range)| *k == kind && range.len() == len);
    if let Some((_, range)) = found {
        with(&mut tcp.options[range.start + 2..range.end]);
    }
}

fn turn_over(tcp: &mut Tcp) {
    let ranges = tcp.ranges();
    let parts = ranges
        .iter()
        .rev()
        .map(|(_, range)| &tcp.options[range.clone()]);
    tcp.options = parts.collect::<Vec<_>>().concat();
}

impl Middlebox for Options {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(mut tcp) = Tcp::parse(&frame) else {
            return out.push((way, frame));
        };
        let before = tcp.options.clone();
        self.change(way, &mut tcp);
        let frame = if tcp.options == before {
            frame
        } else {
            tcp.frame()
        };
        out.push((way, frame));
    }
}
