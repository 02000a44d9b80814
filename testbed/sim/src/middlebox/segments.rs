//! Cuts segments in two, or makes one of two, as offloads do and proxies that look into the payload.

use super::{Middlebox, Way};
use crate::packet::{ACK, FIN, PSH, Tcp};
use stack::Instant;
use stack::time::Duration;

/// Cuts every segment with more payload than this in two, each with all options.
pub struct Split(pub usize);

impl Middlebox for Split {
    fn pass(&mut self, _now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let Some(tcp) = Tcp::parse(&frame).filter(|tcp| tcp.payload.len() > self.0) else {
            return out.push((way, frame));
        };
        out.extend(cut(tcp, self.0).into_iter().map(|part| (way, part.frame())));
    }
}

/// The two segments that `tcp` becomes if it is cut after `at` octets of payload.
#[must_use]
pub fn cut(mut tcp: Tcp, at: usize) -> [Tcp; 2] {
    let mut second = tcp.clone();
    second.payload.drain(..at);
    second.seq = second.seq.wrapping_add(u32::try_from(at).unwrap_or(0));
    tcp.payload.truncate(at);
    tcp.flags &= !(FIN | PSH);
    [tcp, second]
}

/// How long a segment waits for the one after it.
const WAIT: Duration = Duration::from_millis(1);

/// Makes one segment of two that follow each other; the options of one of them are lost.
pub struct Join {
    waiting: [Option<(Instant, Tcp)>; 2],
    keeps_second: bool,
}

impl Join {
    /// One that keeps the second's options, or the first's.
    #[must_use]
    pub const fn new(keeps_second: bool) -> Self {
        Self {
            waiting: [None, None],
            keeps_second,
        }
    }
}

impl Middlebox for Join {
    fn pass(&mut self, now: Instant, way: Way, frame: Vec<u8>, out: &mut Vec<(Way, Vec<u8>)>) {
        let waited = self.waiting[way.index()].take().map(|(_, tcp)| tcp);
        let plain = |tcp: &Tcp| tcp.flags & !PSH == ACK && !tcp.payload.is_empty();
        let Some(tcp) = Tcp::parse(&frame).filter(plain) else {
            out.extend(waited.map(|tcp| (way, tcp.frame())));
            return out.push((way, frame));
        };
        let Some(mut first) = waited else {
            self.waiting[way.index()] = Some((now + WAIT, tcp));
            return;
        };
        let follows = first.seq.wrapping_add(first.seq_len()) == tcp.seq
            && (first.src, first.dst, first.src_port, first.dst_port)
                == (tcp.src, tcp.dst, tcp.src_port, tcp.dst_port)
            && first.payload.len() + tcp.payload.len() <= 1300;
        if !follows {
            out.push((way, first.frame()));
            self.waiting[way.index()] = Some((now + WAIT, tcp));
            return;
        }
        first.payload.extend(tcp.payload);
        (first.ack, first.wnd) = (tcp.ack, tcp.wnd);
        first.flags |= tcp.flags;
        if self.keeps_second {
            first.options = tcp.options;
        }
        out.push((way, first.frame()));
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.waiting.iter().flatten().map(|(at, _)| *at).min()
    }

    fn advance(&mut self, now: Instant, out: &mut Vec<(Way, Vec<u8>)>) {
        for way in [Way::Forth, Way::Back] {
            let waiting = &mut self.waiting[way.index()];
            if waiting.as_ref().is_some_and(|(at, _)| *at <= now)
                && let Some((_, tcp)) = waiting.take()
            {
                out.push((way, tcp.frame()));
            }
        }
    }
}
