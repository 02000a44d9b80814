//! When to acknowledge (RFC 9293 3.8.6.3, RFC 5681 4.2).

/// Full segments that one ACK may cover.
const SEGMENTS_PER_ACK: u8 = 2;
/// Duplicate ACKs owed at most at a time: a burst of arrivals beyond a gap is answered so that any sender notices.
const OWED_MAX: u8 = 3;

/// ACKs that are due, or will be.
#[derive(Clone, Debug, Default)]
pub(in crate::tcp) struct Acks {
    owed: u8,
    /// Segments in order since the last ACK.
    segments: u8,
}

impl Acks {
    /// An ACK is due now.
    pub(in crate::tcp) fn request(&mut self) {
        self.owed = self.owed.max(1);
    }

    /// A segment came in order; `true` if its ACK may wait.
    pub(in crate::tcp) fn on_in_order(&mut self) -> bool {
        self.segments += 1;
        if self.segments < SEGMENTS_PER_ACK {
            return self.owed == 0;
        }
        self.segments = 0;
        self.request();
        false
    }

    /// A segment came beyond a gap, or again: each is answered at once (RFC 5681 4.2).
    pub(in crate::tcp) fn on_out_of_order(&mut self) {
        self.owed = (self.owed + 1).min(OWED_MAX);
    }

    pub(in crate::tcp) const fn is_due(&self) -> bool {
        self.owed > 0
    }

    /// A segment of ours carries the acknowledgment. After a pure ACK the next of those owed is due, if `more` is to be
    /// said or duplicates are owed; payload pays for all.
    pub(in crate::tcp) fn on_sent(&mut self, pure: bool, more: bool) {
        self.segments = 0;
        self.owed = if pure { self.owed.saturating_sub(1) } else { 0 };
        if more {
            self.request();
        }
    }
}
