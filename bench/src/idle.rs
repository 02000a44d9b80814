//! What the box holds for relays with two subflows while nobody sends: all that it has allocated for so many of them, its
//! tables included.

use crate::relays::Relays;
use stack::time::Duration;
use std::cell::Cell;

/// What is allocated and not freed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Octets, as they were asked for.
    pub octets: i64,
    /// In so many blocks.
    pub blocks: i64,
}

/// What is held for `count` relays right after they were set up, and once nothing has moved for `silence`. `measure` runs a
/// share of the box's work and says what that allocated, less what it freed.
///
/// # Panics
/// A handshake did not go through: the engine is broken.
pub fn held(
    count: u32,
    silence: Duration,
    measure: impl Fn(&mut dyn FnMut()) -> Held,
) -> (Held, Held) {
    let sum = Cell::new(Held::default());
    let meter = |work: &mut dyn FnMut()| {
        let (before, taken) = (sum.get(), measure(work));
        sum.set(Held {
            octets: before.octets + taken.octets,
            blocks: before.blocks + taken.blocks,
        });
    };
    let mut relays = Relays::metered(count, meter);
    let established = sum.get();
    relays.idle(silence, meter);
    (established, sum.get())
}
