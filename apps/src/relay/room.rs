//! How much a direction of a relay may hold, so that its reader is always busy and nothing waits in vain.
//!
//! A relay that holds too little stops either path for a part of its round trip; what it holds beyond that only makes the stream
//! late, cools the caches and takes buffers from others (RFC 7567 1: a queue is there for bursts). How much is right nobody says,
//! and it changes with either path. It shows in what waits to be sent: more is tried as long as there are moments with nothing.

/// What a relay may hold in each direction, octets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// At least, and as long as nothing has arrived, if that is no more than `most`.
    pub(crate) start: u32,
    /// At most.
    pub(crate) most: u32,
}

/// What was found to be enough for one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Enough {
    /// Octets beyond those to start with, and whether each that arrives adds one.
    more: u32,
    settled: bool,
    /// Octets that have arrived, and at how many it is looked at next.
    arrived: u64,
    look_at: u64,
    /// The least that has waited since it was looked at.
    waited: Option<u32>,
}

/// How things are in one direction, octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    /// What has come to the reader's host so far.
    pub(super) arrived: u64,
    /// What waited to be sent before more came to be sent.
    pub(super) unsent: u32,
    /// What is held.
    pub(super) held: u32,
}

impl Enough {
    /// Nothing is known of a direction in which so many octets have arrived.
    pub(super) fn after(arrived: u64) -> Self {
        Self {
            arrived,
            look_at: arrived,
            ..Self::default()
        }
    }

    /// What may be held of `room`. Of what waits `worth_waiting` octets wait for good, and that many may.
    ///
    /// It is looked at after as many octets as may be held, which takes a round trip or more. Until it is enough it doubles in
    /// that time, as either congestion window does in slow start, which so never waits for it.
    pub(super) fn of(&mut self, room: Room, now: Now, worth_waiting: impl FnOnce() -> u64) -> u32 {
        if !self.settled {
            let new = u32::try_from(now.arrived.saturating_sub(self.arrived)).unwrap_or(u32::MAX);
            self.more = self.more.saturating_add(new).min(room.most);
        }
        self.arrived = self.arrived.max(now.arrived);
        let waited = now.unsent.min(self.waited.unwrap_or(u32::MAX));
        self.waited = Some(waited);
        let enough = self.more.saturating_add(room.start).min(room.most);
        if now.unsent == 0 && now.held >= enough - enough / 16 {
            // A path that became slow keeps all that may be held, and the others have nothing to do.
            self.settled = false;
        }
        if self.arrived >= self.look_at {
            let worth = worth_waiting();
            let in_vain = u64::from(waited).saturating_sub(worth);
            self.settled = in_vain > 0;
            // Congestion windows shrink by a half, and grow again: what waits at their smallest is no sign yet.
            if in_vain > u64::from(enough - enough / 4) {
                self.more -= self.more / 4;
            }
            let worth = u32::try_from(worth).unwrap_or(u32::MAX);
            self.more = self.more.max(worth.min(room.most));
            self.look_at = self.arrived + u64::from(enough);
            self.waited = None;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room {
        start: 100_000,
        most: 1_000_000,
    };

    /// What may be held after so many octets have arrived, of which the box had `unsent` waiting whenever more came.
    fn after(enough: &mut Enough, octets: u64, (unsent, worth): (u32, u64)) -> u32 {
        let (end, mut room) = (enough.arrived + octets, 0);
        while enough.arrived < end {
            let now = Now {
                arrived: enough.arrived + 1_000,
                unsent,
                held: unsent,
            };
            room = enough.of(ROOM, now, || worth);
        }
        room
    }

    #[test]
    fn it_doubles_as_long_as_nothing_waits_and_stays_when_something_does() {
        let mut enough = Enough::default();
        assert_eq!(after(&mut enough, 100_000, (0, 0)), 200_000);
        assert_eq!(after(&mut enough, 200_000, (0, 0)), 400_000);
        // Until it is looked at it grows on.
        let settled = after(&mut enough, 1_000_000, (50_000, 0));
        assert!((400_000..1_000_000).contains(&settled), "{settled}");
        assert_eq!(after(&mut enough, 10_000_000, (50_000, 0)), settled);
        assert_eq!(after(&mut enough, 10_000_000, (0, 0)), 1_000_000);
    }

    #[test]
    fn it_shrinks_to_the_least_while_nearly_all_of_it_waits_in_vain() {
        let mut enough = Enough::default();
        after(&mut enough, 100_000, (0, 0));
        after(&mut enough, 1_000_000, (50_000, 0));
        let settled = after(&mut enough, 1_000_000, (50_000, 0));
        assert_eq!(
            after(&mut enough, 10_000_000, (settled * 7 / 10, 0)),
            settled
        );
        let less = after(&mut enough, 1_000_000, (settled * 8 / 10, 0));
        assert!((ROOM.start..settled).contains(&less), "{less} of {settled}");
        let least = after(&mut enough, 100_000_000, (settled, 0));
        assert!((ROOM.start..ROOM.start + 10).contains(&least), "{least}");
    }

    #[test]
    fn what_a_slow_path_needs_may_wait_at_once() {
        let mut enough = Enough::default();
        after(&mut enough, 1_000_000, (50_000, 0));
        assert!(after(&mut enough, 1_000_000, (50_000, 700_000)) >= 800_000);
        assert_eq!(after(&mut enough, 1_000_000, (50_000, u64::MAX)), 1_000_000);
    }

    #[test]
    fn what_is_all_on_its_way_is_too_little_before_the_next_look() {
        let mut enough = Enough::default();
        after(&mut enough, 1_000_000, (50_000, 0));
        let settled = after(&mut enough, 1_000, (50_000, 0));
        let now = |arrived, held| Now {
            arrived,
            unsent: 0,
            held,
        };
        let at = enough.arrived;
        assert_eq!(enough.of(ROOM, now(at + 1, settled / 2), || 0), settled);
        assert_eq!(enough.of(ROOM, now(at + 2, settled), || 0), settled);
        assert_eq!(
            enough.of(ROOM, now(at + 1_002, settled), || 0),
            settled + 1_000
        );
    }
}
