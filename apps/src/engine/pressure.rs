//! Packet buffers run short: what waits for its reader makes room for what is to be received.
//!
//! Windows have become small by then and new flows are passed on unbonded. But what was offered before may still come, and a
//! reader that stalls keeps what it was sent for as long as it likes, in buffers that the port receives into. So payload that
//! waits is copied into ordinary memory: first that of relays through which nothing moves and what lies far behind in long
//! queues, so that flows which move go on without a copy; when the last buffers are due, whatever waits.

use super::Engine;
use super::drive::{LAST_PERMILLE, ROOM_MIN, SHORT_PERMILLE};
use crate::Counter;
use crate::relay::{LEGS, leave_pool};
use stack::time::Duration;
use stack::{Instant, PacketBuf};

/// How often that is done, and how much of it at most each time: relays and slices looked at, and slices copied.
const PERIOD: Duration = Duration::from_millis(1);
const RELAYS: usize = 64;
const LOOKS: usize = 4096;
const COPIES: usize = 256;

/// Nothing moved through a relay for so long: its reader stalls.
const STALLED: Duration = Duration::from_millis(100);

/// Where it goes on, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Freeing {
    /// The place of the relay whose turn is next.
    place: u32,
    /// Places looked at since something was copied.
    in_vain: usize,
    due: Instant,
}

impl<B: PacketBuf> Engine<B> {
    /// Frees receive buffers while they run short.
    pub(super) fn free_buffers(&mut self, now: Instant) {
        if self.buffers_used <= SHORT_PERMILLE {
            self.freeing.in_vain = 0;
        } else if self.freeing.due <= now {
            self.copy_what_waits(now);
            let all = self.freeing.in_vain >= self.relays.places();
            self.freeing.due = now + if all { STALLED } else { PERIOD };
        }
    }

    /// When there is more of it to do.
    pub(super) fn freeing_due(&self) -> Option<Instant> {
        (self.buffers_used > SHORT_PERMILLE).then_some(self.freeing.due)
    }

    fn copy_what_waits(&mut self, now: Instant) {
        let last = self.buffers_used > LAST_PERMILLE;
        let (mut looks, mut copies) = (LOOKS, COPIES);
        for _ in 0..RELAYS.min(self.relays.places()) {
            let (relay, next) = self.relays.awake_at(self.freeing.place);
            let mut octets = 0;
            if let Some(relay) = relay {
                let stalls = last || relay.ran + STALLED <= now;
                let spared = if stalls { 0 } else { ROOM_MIN as usize };
                for which in LEGS {
                    let freed = leave_pool(relay.leg(which), spared, copies);
                    looks = looks.saturating_sub(freed.looked_at);
                    copies -= freed.slices;
                    octets += freed.octets;
                }
            }
            self.freeing.in_vain = if octets > 0 {
                0
            } else {
                self.freeing.in_vain + 1
            };
            let octets = u64::try_from(octets).unwrap_or(u64::MAX);
            self.tools.apps.add(Counter::BufferCopied, octets);
            if copies == 0 {
                // There may be more of it in the same place.
                return;
            }
            self.freeing.place = next;
            if looks == 0 {
                return;
            }
        }
    }
}
