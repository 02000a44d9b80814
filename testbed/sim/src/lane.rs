//! One direction of a link: the model that the lab's emulator runs, and before it what that model does not do.
//!
//! [`testbed::link`] draws the same five numbers for every frame, so that figures of the lab are comparable from one shape
//! to another. What is added here draws from a source of its own, and leaves that as it is.

use crate::packet::{self, Tcp};
use stack::time::Duration;
use stack::{Instant, Rng};
use testbed::link::{Counts, Link, MILLION, Shape};

/// What is wrong with a lane for some time. Shares are of a million frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ill {
    /// Frames are lost one by one.
    Loss(u32),
    /// Frames are lost in a row: a good lane turns bad at the first share, a bad one good at the second, and loses while
    /// it is bad (Gilbert and Elliott's model).
    Burst {
        /// Of frames on a good lane.
        enter: u32,
        /// Of frames on a bad one.
        leave: u32,
    },
    /// The same, but that time heals, too: a sender that waits outlasts what it cannot shorten by sending.
    Row {
        /// Of frames on a good lane.
        enter: u32,
        /// Of frames on a bad one.
        leave: u32,
        /// So long after it turned bad the lane is good in any case.
        most: Duration,
    },
    /// Frames take up to so much longer, in order.
    Jitter(Duration),
    /// Frames are held back so that others overtake them.
    Reorder {
        /// How many.
        share: u32,
        /// For how long at most.
        by: Duration,
    },
    /// Frames come twice.
    Duplicate(u32),
    /// One bit of a frame with an IP packet in it is turned over.
    Corrupt(u32),
    /// Frames that may be marked are marked: congestion experienced (RFC 3168).
    Mark(u32),
    /// Nothing passes.
    Down,
    /// The lane sends so many bits per second.
    Rate(u64),
    /// So many octets may wait.
    Queue(u64),
    /// IP packets larger than `mtu` do not pass.
    Narrow {
        /// In octets.
        mtu: u16,
        /// Whether a router says so to who sent them.
        tells: bool,
    },
}

/// Something wrong from one moment to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spell {
    /// What it is.
    pub ill: Ill,
    /// When it begins.
    pub from: Instant,
    /// How long it lasts.
    pub lasts: Duration,
}

impl Spell {
    fn is_on(&self, now: Instant) -> bool {
        self.from <= now && now < self.from + self.lasts
    }
}

/// One direction of a link.
pub struct Lane {
    link: Link<Vec<u8>>,
    well: Shape,
    spells: Vec<Spell>,
    rng: Rng,
    /// Whether frames are being lost in a row.
    bad: bool,
    /// Since when, if so.
    bad_since: Instant,
    /// Frames that never entered the link: lost in a row, or too large.
    pub refused: u64,
}

impl Lane {
    /// A lane that is like `well` whenever nothing is wrong with it.
    #[must_use]
    pub fn new(well: Shape, seed: u64) -> Self {
        Self {
            link: Link::new(well, seed),
            well,
            spells: Vec::new(),
            rng: Rng::from_u64(seed ^ 0x5ca1_ab1e),
            bad: false,
            bad_since: Instant::ZERO,
            refused: 0,
        }
    }

    /// Adds something wrong.
    pub fn spell(&mut self, spell: Spell) {
        self.spells.push(spell);
    }

    /// Puts a frame on the lane; what a router in the way answers to its sender, if it is too large.
    pub fn put(&mut self, now: Instant, mut frame: Vec<u8>) -> Option<Vec<u8>> {
        let mut shape = self.well;
        for at in 0..self.spells.len() {
            let spell = self.spells[at];
            if !spell.is_on(now) {
                continue;
            }
            match spell.ill {
                Ill::Loss(share) => shape.loss = share,
                Ill::Jitter(jitter) => shape.jitter = jitter,
                Ill::Reorder { share, by } => (shape.reorder, shape.reorder_by) = (share, by),
                Ill::Duplicate(share) => shape.duplicate = share,
                Ill::Down => shape.down = true,
                Ill::Rate(rate) => shape.rate = rate,
                Ill::Queue(octets) => shape.queue = Some(octets),
                Ill::Burst { enter, leave } => {
                    if self.turns_bad(now, enter, leave) {
                        return None;
                    }
                },
                Ill::Row { enter, leave, most } => {
                    self.bad &= now.since(self.bad_since) < most;
                    if self.turns_bad(now, enter, leave) {
                        return None;
                    }
                },
                Ill::Corrupt(share) => {
                    if self.rng.below(MILLION) < share && packet::is_ip(&frame) {
                        turn_a_bit(&mut frame, &mut self.rng);
                    }
                },
                Ill::Mark(share) => {
                    if self.rng.below(MILLION) < share {
                        frame = marked(frame);
                    }
                },
                Ill::Narrow { mtu, tells } => {
                    if frame.len() > 14 + usize::from(mtu) {
                        self.refused += 1;
                        return if tells {
                            packet::too_big(&frame, mtu)
                        } else {
                            None
                        };
                    }
                },
            }
        }
        self.link.reshape(shape);
        let len = frame.len();
        self.link.put(now, len, frame);
        None
    }

    /// Whether the lane is bad for the frame that comes: a good one turns bad at the share `enter`, a bad one good at `leave`.
    fn turns_bad(&mut self, now: Instant, enter: u32, leave: u32) -> bool {
        let was = self.bad;
        self.bad ^= self.rng.below(MILLION) < if was { leave } else { enter };
        if self.bad && !was {
            self.bad_since = now;
        }
        self.refused += u64::from(self.bad);
        self.bad
    }

    /// When the next frame is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.link.next_due()
    }

    /// The next frame that is due.
    pub fn take(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.link.take(now).map(|(_, frame)| frame)
    }

    /// What the link counted.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        self.link.counts()
    }

    /// Frames under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.link.under_way()
    }
}

/// Neither ARP, which has no checksum, nor the Ethernet header are touched: a line's own check would find that.
fn turn_a_bit(frame: &mut [u8], rng: &mut Rng) {
    let bits = u32::try_from((frame.len() - 14) * 8).unwrap_or(1);
    let bit = 14 * 8 + rng.below(bits) as usize;
    frame[bit / 8] ^= 1 << (bit % 8);
}

fn marked(frame: Vec<u8>) -> Vec<u8> {
    match Tcp::parse(&frame) {
        Some(mut tcp) if tcp.ecn() == 1 || tcp.ecn() == 2 => {
            tcp.set_ecn(3);
            tcp.frame()
        },
        _ => frame,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which frames pass that come so many milliseconds after a lane turned bad, which no frame makes good again.
    fn passes(ill: fn(u32) -> Ill, after: &[u64]) -> Vec<bool> {
        let turned = Instant::from_millis(1_000);
        let mut lane = Lane::new(Shape::default(), 1);
        let (moment, ever) = (Duration::from_millis(1), Duration::from_secs(1_000));
        for (enter, from, lasts) in [(MILLION, turned, moment), (0, turned + moment, ever)] {
            let ill = ill(enter);
            lane.spell(Spell { ill, from, lasts });
        }
        lane.put(turned, vec![0; 100]);
        let all = after.iter().map(|after| {
            let before = lane.refused;
            lane.put(turned + Duration::from_millis(*after), vec![0; 100]);
            lane.refused == before
        });
        all.collect()
    }

    #[test]
    fn a_row_of_losses_ends_with_time_and_a_burst_with_frames_alone() {
        let row = |enter| Ill::Row {
            enter,
            leave: 0,
            most: Duration::from_millis(100),
        };
        let burst = |enter| Ill::Burst { enter, leave: 0 };
        let after = [1, 99, 100, 10_000];
        assert_eq!(passes(row, &after), [false, false, true, true]);
        assert_eq!(passes(burst, &after), [false; 4]);
    }
}
