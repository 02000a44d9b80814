//! Asks for one new flow after another in the name of a host, and finishes none.

use super::{Middlebox, Way};
use crate::packet::{ACK, SYN, Tcp};
use stack::Instant;
use stack::time::Duration;

/// From one row of SYNs to the next.
const BETWEEN: Duration = Duration::from_micros(200);

/// Where nobody listens: what comes there is reset.
const NOWHERE: u16 = 7;

/// The middlebox: once a SYN has passed forth, it sends others like it from other ports, in rows.
pub struct Storm {
    from: Instant,
    rows: u16,
    in_a_row: u16,
    like: Option<Tcp>,
    sent: u16,
}

impl Storm {
    /// One that sends `rows` times `in_a_row` SYNs at once, from `from` on.
    #[must_use]
    pub const fn new(from: Instant, rows: u16, in_a_row: u16) -> Self {
        Self {
            from,
            rows,
            in_a_row,
            like: None,
            sent: 0,
        }
    }
}

impl Middlebox for Storm {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        if way == Way::Forth && self.like.is_none() {
            self.like = Tcp::parse(&frame).filter(|tcp| tcp.has(SYN) && !tcp.has(ACK));
        }
        out.push((way, frame));
    }

    fn next_deadline(&self) -> Option<Instant> {
        (self.rows > 0 && self.like.is_some()).then_some(self.from)
    }

    fn advance(&mut self, now: Instant, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(like) = &self.like else {
            return;
        };
        for _ in 0..self.in_a_row {
            let mut syn = like.clone();
            // Each port comes again only after all others.
            syn.src_port = 1_024 + self.sent % 30_000;
            syn.dst_port = NOWHERE;
            self.sent = self.sent.wrapping_add(1);
            out.push((Way::Forth, syn.frame()));
        }
        self.rows -= 1;
        self.from = now + BETWEEN;
    }
}
