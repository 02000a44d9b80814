//! Sequence numbers of one flow: what the box has sent, and what it was given. Offsets are from the octet after the SYN.

use crate::packet::{FIN, Tcp, kind};
use std::collections::{BTreeMap, BTreeSet};

/// The offset of `seq` where `first` is that of offset 0, the one of all that is nearest to `near`.
pub(super) fn unwrap(seq: u32, first: u32, near: u64) -> Option<u64> {
    let expected = first.wrapping_add((near & 0xffff_ffff) as u32);
    near.checked_add_signed(i64::from(seq.wrapping_sub(expected).cast_signed()))
}

/// Octets kept for comparison that were acknowledged already.
const KEPT: usize = 1 << 16;

/// What the box has sent.
#[derive(Default)]
pub(super) struct Sent {
    iss: Option<u32>,
    /// The octets from `base` on.
    octets: Vec<u8>,
    base: u64,
    /// Where the stream ends, once the box has said so.
    fin: Option<u64>,
    /// What the other end has acknowledged, and the right edge of its window.
    una: u64,
    limit: u64,
    /// The shift of windows that we offer, and that the other end does; none where no SYN had one.
    shift: Option<u8>,
    their_shift: Option<u8>,
    /// The largest segment that the other end takes, options counted (RFC 6691).
    mss: usize,
}

fn shift_in(option: Option<&[u8]>) -> Option<u8> {
    option?.get(2).map(|shift| (*shift).min(14))
}

impl Sent {
    /// Whether the box has sent another SYN than the one of number `seq`.
    pub(super) fn is_other(&self, seq: u32) -> bool {
        self.iss.is_some_and(|iss| iss != seq)
    }

    /// Whether `ack` acknowledges the box's SYN, and nothing after it.
    pub(super) fn is_before_data(&self, ack: u32) -> bool {
        self.iss.is_some_and(|iss| iss.wrapping_add(1) == ack)
    }

    /// The box's own SYN.
    pub(super) fn syn(&mut self, tcp: &Tcp) {
        if self.iss == Some(tcp.seq) {
            return;
        }
        *self = Self {
            iss: Some(tcp.seq),
            shift: shift_in(tcp.option(kind::WSCALE)),
            their_shift: self.their_shift,
            mss: self.mss,
            ..Self::default()
        };
    }

    /// The other end's SYN: its window scale, and its segment size (RFC 9293 3.7.1, RFC 6691).
    pub(super) fn answered(&mut self, tcp: &Tcp) {
        self.their_shift = shift_in(tcp.option(kind::WSCALE));
        let default = if tcp.src.is_ipv4() { 536 } else { 1220 };
        let mss = match tcp.option(kind::MSS) {
            Some(&[_, _, high, low]) => u16::from_be_bytes([high, low]),
            _ => default,
        };
        self.mss = self.mss.max(mss.into());
    }

    /// The shift of a window field that we send (RFC 7323 2.2: both must offer one; that of a SYN is never scaled).
    pub(super) fn shift_of(&self, syn: bool) -> u8 {
        let both = self.shift.filter(|_| self.their_shift.is_some());
        both.filter(|_| !syn).unwrap_or(0)
    }

    pub(super) fn window(&self, field: u16) -> u64 {
        let both = self.their_shift.filter(|_| self.shift.is_some());
        u64::from(field) << both.unwrap_or(0)
    }

    pub(super) fn acknowledged(&mut self, ack: u32, field: u16, syn: bool) {
        let window = if syn {
            u64::from(field)
        } else {
            self.window(field)
        };
        let end = self.end();
        let Some(ack) = self
            .iss
            .and_then(|iss| unwrap(ack, iss.wrapping_add(1), end))
        else {
            return;
        };
        self.limit = self.limit.max(ack + window);
        if ack <= end + 1 {
            self.una = self.una.max(ack.min(end));
        }
        let done = usize::try_from(self.una.saturating_sub(self.base)).unwrap_or(0);
        if done > 2 * KEPT {
            self.octets.drain(..done - KEPT);
            self.base += (done - KEPT) as u64;
        }
    }

    const fn end(&self) -> u64 {
        self.base + self.octets.len() as u64
    }

    /// Where a segment stands before which octets were never sent; `None` if there are none.
    pub(super) fn gap(&self, tcp: &Tcp) -> Option<u64> {
        let end = self.end();
        let at = unwrap(tcp.seq, self.iss?.wrapping_add(1), end)?;
        let follows_fin = self.fin.is_some_and(|fin| at == fin + 1);
        (at > end && !(follows_fin && tcp.payload.is_empty())).then_some(at)
    }

    /// Takes a segment, and says where its payload stands. `windowed` if the other end's window is one of this flow's own.
    pub(super) fn send(&mut self, tcp: &Tcp, windowed: bool) -> Result<u64, String> {
        let len = tcp.payload.len();
        if len > 0 && len + tcp.options.len() > self.mss {
            let mss = self.mss;
            return Err(format!("{len} octets where {mss} fit (RFC 9293 3.7.1)"));
        }
        let end = self.end();
        let first = self.iss.ok_or("a segment before any SYN")?.wrapping_add(1);
        // One before the first is a keepalive's of a flow without data.
        let Some(at) = unwrap(tcp.seq, first, end) else {
            return Ok(0);
        };
        if let Some(at) = self.gap(tcp) {
            return Err(format!(
                "octet {at} after {end} leaves a gap (RFC 9293 3.4)"
            ));
        }
        let last = at + tcp.payload.len() as u64;
        if tcp.has(FIN) && *self.fin.get_or_insert(last) != last {
            return Err(format!("the end moves to {last} (RFC 9293 3.6)"));
        }
        if self
            .fin
            .is_some_and(|fin| last > fin && !tcp.payload.is_empty())
        {
            return Err(format!("octet {last} after the end (RFC 9293 3.6)"));
        }
        self.compare(at, &tcp.payload)?;
        let new = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
        if let Some(new) = tcp.payload.get(new..).filter(|new| !new.is_empty()) {
            self.octets.extend(new);
            // A probe of a closed window is one octet beyond it (RFC 9293 3.8.6.1).
            if windowed && self.end() > self.limit + 1 {
                let limit = self.limit;
                return Err(format!("octet {} beyond the window {limit}", self.end()));
            }
        }
        Ok(at)
    }

    /// What is sent again is what was sent (RFC 9293 3.8.1). What was acknowledged may be garbage, in a keepalive.
    fn compare(&self, at: u64, payload: &[u8]) -> Result<(), String> {
        let from = at.max(self.una).max(self.base);
        let to = (at + payload.len() as u64).min(self.end());
        if from >= to {
            return Ok(());
        }
        let place = |offset: u64, base: u64| usize::try_from(offset - base).unwrap_or(0);
        let before = &self.octets[place(from, self.base)..place(to, self.base)];
        if before != &payload[place(from, at)..place(to, at)] {
            return Err(format!("other octets at {from}..{to} than before"));
        }
        Ok(())
    }
}

/// What the box was given.
#[derive(Default)]
pub(super) struct Got {
    /// Numbers of SYNs.
    syns: Vec<u32>,
    irs: Option<u32>,
    /// Whether the box has acknowledged the SYN of number `irs`.
    is_fixed: bool,
    /// Octets that came without a gap.
    next: u64,
    /// What came beyond a gap.
    beyond: BTreeMap<u64, u64>,
    /// Where the stream ends, according to each FIN.
    fins: BTreeSet<u64>,
    /// What the box acknowledged last.
    acked: u64,
    offer: Offer,
}

impl Got {
    pub(super) fn syn(&mut self, seq: u32) {
        if self.irs == Some(seq) {
            return;
        }
        // One within a stream may begin the next.
        self.syns.push(seq);
        if !self.is_fixed {
            self.begin(seq);
        }
    }

    /// What is known of the next stream, before anything of it came: the SYNs that did.
    pub(super) fn anew(&mut self) -> Self {
        Self {
            syns: std::mem::take(&mut self.syns),
            ..Self::default()
        }
    }

    /// Whether the box has acknowledged the other end's SYN, so that another changes nothing.
    pub(super) const fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    fn begin(&mut self, irs: u32) {
        *self = Self {
            syns: std::mem::take(&mut self.syns),
            irs: Some(irs),
            ..Self::default()
        };
    }

    /// Takes a segment of `len` octets, and says where they stand.
    pub(super) fn take(&mut self, seq: u32, len: u64, syn: bool, fin: bool) -> Option<u64> {
        let seq = seq.wrapping_add(u32::from(syn));
        let at = unwrap(seq, self.irs?.wrapping_add(1), self.next)?;
        if fin {
            self.fins.insert(at + len);
        }
        if len > 0 {
            self.cover(at, at + len);
        }
        Some(at)
    }

    fn cover(&mut self, at: u64, end: u64) {
        let known = self.beyond.entry(at).or_insert(end);
        *known = end.max(*known);
        while let Some(first) = self.beyond.first_entry().filter(|e| *e.key() <= self.next) {
            self.next = self.next.max(first.remove());
        }
    }

    /// The parts of `from..to` that were given.
    pub(super) fn parts(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let beyond = self.beyond.range(..to).map(|(at, end)| (*at, *end));
        [(0, self.next)]
            .into_iter()
            .chain(beyond)
            .map(|(at, end)| (at.max(from), end.min(to)))
            .filter(|(at, end)| at < end)
            .collect()
    }

    fn has(&self, from: u64, to: u64) -> bool {
        let mut at = from.max(self.next);
        for (start, end) in &self.beyond {
            if *start <= at {
                at = at.max(*end);
            }
        }
        // The end of the stream takes a number of its own.
        at >= to || self.fins.contains(&at) && at + 1 == to
    }

    /// Checks what the box acknowledges (RFC 9293 3.4, RFC 2018 4).
    pub(super) fn acknowledges(&mut self, tcp: &Tcp) -> Result<(), String> {
        let syn = tcp.ack.wrapping_sub(1);
        if !self.is_fixed {
            if self.irs != Some(syn) && self.syns.contains(&syn) {
                self.begin(syn);
            }
            self.is_fixed = true;
        }
        let irs = self.irs.ok_or("an acknowledgment of nothing")?;
        let ack = unwrap(tcp.ack, irs.wrapping_add(1), self.next);
        let ack = ack.ok_or("a SYN is acknowledged that did not come")?;
        let end = self.next + u64::from(self.fins.contains(&self.next));
        if ack > end {
            return Err(format!("octet {ack} is acknowledged, and {end} came"));
        }
        if ack < self.acked {
            let acked = self.acked;
            return Err(format!("{ack} is acknowledged after {acked}"));
        }
        self.acked = ack;
        for (_, range) in tcp.ranges().iter().filter(|(k, _)| *k == kind::SACK) {
            for block in tcp.options[range.start + 2..range.end].chunks_exact(8) {
                let edge = |at: usize| {
                    u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
                };
                let edges = [edge(0), edge(4)].map(|e| unwrap(e, irs.wrapping_add(1), ack));
                // What is a quarter of all numbers ahead may as well be old: segments forged far away.
                if let [Some(from), Some(to)] = edges
                    && from < ack + (1 << 30)
                    && !(from < to && self.has(from, to))
                {
                    return Err(format!("{from}..{to} in SACK did not come"));
                }
            }
        }
        Ok(())
    }

    /// Checks the window that the box offers with an acknowledgment.
    pub(super) fn offers(&mut self, tcp: &Tcp, shift: u8) -> Result<(), String> {
        self.offer.make(self.acked, tcp.wnd, shift)
    }
}

/// What one flow has acknowledged and offered, of its own stream or of the data's.
#[derive(Clone, Copy, Default)]
pub(super) struct Offer {
    acked: u64,
    edge: u64,
}

impl Offer {
    /// Neither an acknowledgment nor a right edge that was offered moves back (RFC 9293 3.8.6, RFC 8684 3.3.4), but for
    /// what the shift cannot say, or the field not hold.
    pub(super) fn make(&mut self, ack: u64, field: u16, shift: u8) -> Result<(), String> {
        let Self { acked, edge } = *self;
        if ack < acked {
            return Err(format!("{ack} is acknowledged after {acked}"));
        }
        let offered = ack + (u64::from(field) << shift);
        if offered + (1 << shift) <= edge && field != u16::MAX {
            return Err(format!(
                "the right edge moves from {edge} back to {offered}"
            ));
        }
        (self.acked, self.edge) = (ack, edge.max(offered));
        Ok(())
    }
}
