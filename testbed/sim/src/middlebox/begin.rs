//! Where a stream begins, for middleboxes that count its octets from there.

use crate::packet::{ACK, RST, SYN, Tcp};

/// The beginning of what travels one way of a flow. A SYN or a reset that neither end would heed changes nothing of it.
pub(super) struct Beginning {
    /// The number of the first octet.
    pub(super) first: u32,
    /// The end of what has passed, counted from there.
    passed: u32,
    /// Whether the other end has acknowledged the SYN: another then begins nothing, as at that end (RFC 5961 4.2), until the
    /// stream is reset.
    is_fixed: bool,
}

/// What is not ahead.
const BEHIND: u32 = 1 << 31;

impl Beginning {
    /// That of the stream that SYN `tcp` opens.
    pub(super) const fn of(tcp: &Tcp) -> Self {
        Self {
            first: tcp.seq.wrapping_add(1),
            passed: 0,
            is_fixed: false,
        }
    }

    /// `tcp` travels the stream's way; whether it is the SYN of another one that begins instead.
    pub(super) fn travels(&mut self, tcp: &Tcp) -> bool {
        if tcp.has(SYN) {
            return !self.is_fixed && self.first != tcp.seq.wrapping_add(1);
        }
        let at = tcp.seq.wrapping_sub(self.first);
        if tcp.has(RST) {
            // An end resets at what it has sent, its FIN counted: what lies beyond is forged, and not in order.
            self.is_fixed &= at > self.passed + 1;
            return false;
        }
        let end = at.wrapping_add(u32::try_from(tcp.payload.len()).unwrap_or(0));
        if end.wrapping_sub(self.passed) < 1 << 20 && !tcp.payload.is_empty() {
            self.passed = end;
        }
        false
    }

    /// `tcp` travels the other way, and may acknowledge the SYN.
    pub(super) fn answered(&mut self, tcp: &Tcp) {
        let at = tcp.ack.wrapping_sub(self.first);
        self.is_fixed |= tcp.has(ACK) && !tcp.has(RST) && at < BEHIND && at <= self.passed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syn_within_a_stream_begins_no_other_until_it_is_reset() {
        let ends = ["10.0.0.1:1", "10.0.0.2:2"].map(|end| ([0; 6], end.parse().expect("an end")));
        let segment = |flags, seq, ack, len| {
            let mut tcp = Tcp::between(ends[0], ends[1]);
            (tcp.flags, tcp.seq, tcp.ack) = (flags, seq, ack);
            tcp.payload = vec![0; len];
            tcp
        };
        let mut begins = Beginning::of(&segment(SYN, 6_999, 0, 0));
        assert_eq!(begins.first, 7_000);
        assert!(!begins.travels(&segment(SYN, 6_999, 0, 0)), "sent again");
        // A SYN that nobody has acknowledged may come with another number.
        assert!(begins.travels(&segment(SYN, 999, 0, 0)));
        begins = Beginning::of(&segment(SYN, 999, 0, 0));
        begins.answered(&segment(SYN | ACK, 4_999, 1_000, 0));
        assert!(!begins.travels(&segment(ACK, 1_000, 5_000, 10)));
        assert!(!begins.travels(&segment(SYN, 1_500, 0, 0)));
        assert!(!begins.travels(&segment(RST | ACK, 1_500, 5_000, 0)));
        assert!(!begins.travels(&segment(SYN, 1_500, 0, 0)));
        // The end itself resets it, and opens it anew.
        assert!(!begins.travels(&segment(RST | ACK, 1_010, 5_000, 0)));
        assert!(begins.travels(&segment(SYN, 1_500, 0, 0)));
    }
}
