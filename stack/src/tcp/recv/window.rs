//! The window that we offer: its right edge never moves back (RFC 9293 3.8.6, RFC 7323 2.4).

use crate::seq::SeqNum;
use crate::tcp::congestion::initial_window;

/// Largest window that can be said at all (RFC 7323 2.3: 2^30).
const WINDOW_MAX: u32 = 1 << 30;

/// Right edges in sequence space.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct RecvWindow {
    /// How far the owner can hold.
    edge: SeqNum,
    /// How far the peer was told that it may send.
    offered: SeqNum,
    /// The largest window ever offered: what stands for the size of the buffer.
    largest: u32,
    /// Nothing was announced since the handshake, whose field is not scaled, and what that could not say may wait.
    fresh: bool,
    wscale: u8,
}

impl RecvWindow {
    pub(in crate::tcp) fn new(nxt: SeqNum, offered: u32, wscale: u8) -> Self {
        let edge = nxt + offered.min(WINDOW_MAX);
        Self {
            edge,
            offered: edge,
            largest: offered,
            fresh: true,
            wscale,
        }
    }

    pub(in crate::tcp) const fn wscale(&self) -> u8 {
        self.wscale
    }

    /// The octets from `taken` on that the owner can hold are `room`.
    pub(in crate::tcp) fn set_room(&mut self, taken: SeqNum, room: u32) {
        self.edge = self.edge.max(taken + room.min(WINDOW_MAX));
    }

    /// The first octet that is not accepted: what was offered, which is never beyond, is honored, and so is what could be.
    pub(in crate::tcp) const fn accepts_below(&self) -> SeqNum {
        self.edge
    }

    pub(in crate::tcp) const fn offered(&self) -> SeqNum {
        self.offered
    }

    /// What the handshake could not say does not wait.
    pub(in crate::tcp) const fn tell(&mut self) {
        self.fresh = false;
    }

    /// Whether the edge has moved far enough that the peer should be told at once: two segments, or half of the largest
    /// window (RFC 9293 3.8.6.2.2 says one segment or half; two are what an ACK stands for).
    /// An edge beyond what the field can say from `nxt` on is no news: no ACK would tell it. And while what the handshake offered
    /// holds an initial window (RFC 6928), the peer can send until the first ACK of that tells the rest.
    pub(in crate::tcp) fn update_due(&self, nxt: SeqNum, mss: u32) -> bool {
        let sayable = nxt + (u32::from(u16::MAX) << self.wscale);
        let edge = self.edge.min(sayable);
        let news = if edge > self.offered {
            edge - self.offered
        } else {
            0
        };
        let told_later = || self.fresh && self.offered >= nxt + initial_window(mss);
        news >= (2 * mss).min(self.largest / 2).max(1) && !told_later()
    }

    fn news(&self) -> u32 {
        if self.edge > self.offered {
            self.edge - self.offered
        } else {
            0
        }
    }

    /// The window field of a segment that acknowledges `nxt`, and notes it as offered. The edge is moved by steps of a
    /// segment or half the buffer only (RFC 9293 3.8.6.2.2, silly window avoidance). Scaling rounds down: the edge on
    /// the wire may fall behind the one offered before by less than one unit, and that one still holds (RFC 7323 2.4).
    pub(in crate::tcp) fn announce(&mut self, nxt: SeqNum, mss: u32) -> u16 {
        let step = mss.min(self.largest / 2).max(1);
        let edge = if self.news() >= step {
            self.edge
        } else {
            self.offered
        };
        let window = if edge > nxt { edge - nxt } else { 0 };
        let field = u16::try_from(window >> self.wscale).unwrap_or(u16::MAX);
        let window = u32::from(field) << self.wscale;
        self.fresh = false;
        self.offered = self.offered.max(nxt + window);
        self.largest = self.largest.max(window);
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t12_window_never_shrinks() {
        let mut window = RecvWindow::new(SeqNum(0), 10_000, 0);
        window.set_room(SeqNum(0), 4_000);
        assert_eq!(window.announce(SeqNum(0), 1000), 10_000);
        window.set_room(SeqNum(3_000), 0);
        assert_eq!(window.announce(SeqNum(3_000), 1000), 7_000);
        assert_eq!(window.accepts_below(), SeqNum(10_000));
    }

    #[test]
    fn t13_window_opens_by_segments_only() {
        let mut window = RecvWindow::new(SeqNum(0), 10_000, 0);
        window.set_room(SeqNum(999), 10_000);
        assert_eq!(window.announce(SeqNum(999), 1000), 9_001);
        window.set_room(SeqNum(1_000), 10_000);
        assert!(!window.update_due(SeqNum(0), 1000));
        assert_eq!(window.announce(SeqNum(1_000), 1000), 10_000);
        window.set_room(SeqNum(3_000), 10_000);
        assert!(window.update_due(SeqNum(0), 1000));
    }

    #[test]
    fn t13_what_the_field_cannot_say_is_no_news() {
        // Without scaling, an owner that can hold more than 65,535 octets would ask for an ACK at every look.
        let mut window = RecvWindow::new(SeqNum(0), 65_535, 0);
        window.set_room(SeqNum(0), 4 << 20);
        assert!(!window.update_due(SeqNum(0), 1460));
        assert_eq!(window.announce(SeqNum(0), 1460), 65_535);
        assert!(window.update_due(SeqNum(2_920), 1460));
        let mut scaled = RecvWindow::new(SeqNum(0), 65_535, 1);
        scaled.announce(SeqNum(0), 1460);
        scaled.set_room(SeqNum(0), 4 << 20);
        assert!(scaled.update_due(SeqNum(0), 1460));
        assert_eq!(scaled.announce(SeqNum(0), 1460), 65_535);
        assert!(!scaled.update_due(SeqNum(0), 1460));
    }

    #[test]
    fn t13_what_a_handshake_could_not_say_waits_for_the_first_ack() {
        // Its field is not scaled. (offered, whether that is less than an initial window)
        for (offered, urgent) in [(65_535, false), (14_600, false), (14_599, true), (0, true)] {
            let mut window = RecvWindow::new(SeqNum(0), offered, 7);
            window.set_room(SeqNum(0), 4 << 20);
            assert_eq!(window.update_due(SeqNum(0), 1460), urgent, "{offered}");
            assert_eq!(window.announce(SeqNum(1_460), 1460), 32_756);
            window.set_room(SeqNum(4_380), 4 << 20);
            assert!(window.update_due(SeqNum(1_460), 1460), "{offered}");
        }
    }

    #[test]
    fn t13_half_the_buffer_is_a_step_too() {
        let mut window = RecvWindow::new(SeqNum(0), 1_000, 0);
        window.set_room(SeqNum(500), 1_000);
        assert!(window.update_due(SeqNum(0), 1460));
        assert_eq!(window.announce(SeqNum(1_000), 1460), 500);
    }

    #[test]
    fn t12_scaled_window_rounds_down_and_what_was_offered_is_honored() {
        let mut window = RecvWindow::new(SeqNum(0), 1_000, 7);
        assert_eq!(window.announce(SeqNum(0), 100), 7);
        assert_eq!(window.announce(SeqNum(1), 100), 7);
        assert_eq!(window.accepts_below(), SeqNum(1_000));
    }

    #[test]
    fn t12_window_stops_at_what_the_field_can_say() {
        let mut window = RecvWindow::new(SeqNum(0), 65_535, 2);
        window.set_room(SeqNum(0), u32::MAX);
        assert_eq!(window.announce(SeqNum(0), 1000), 65_535);
        assert_eq!(window.offered(), SeqNum(65_535 << 2));
    }
}
