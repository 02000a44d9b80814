//! More arrives than the core can do: flows that are established go before new ones.
//!
//! Setting up a flow costs a core as much as hundreds of segments of one that is there, and what it does not get to is lost in
//! the rings of its ports, whomever it belongs to: a storm of new flows would take nearly all from the others, whose ends then
//! take the loss for congestion. So a new flow has a price, in frames that must have come since the one before. It rises with
//! every turn that leaves frames behind and falls with every other, to nothing: a core with time to spare bonds all, and has its
//! purse filled. A flow that cannot be paid for is forwarded unbonded, which costs a tenth.

/// By how much a turn that leaves frames behind raises the price, which each other turn lowers by one. So it settles where one
/// turn of seventeen is full: rings hold a burst or two then, and none overflows.
const RISE: u32 = 16;

/// The highest price, in frames: new flows then take about a tenth of the core's time.
const DEAREST: u32 = 512;

/// Frames that are saved for flows to come at most. A box that moves as much as it can is always busy, and bonds the few flows that
/// come; and the hundred that come at once to one with time to spare.
const SAVED: u32 = 16 * DEAREST;

/// What a new flow costs, and what there is to pay with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overload {
    price: u32,
    saved: u32,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            price: 0,
            saved: SAVED,
        }
    }
}

impl Overload {
    /// A turn took so many frames, and left `more` behind, or not.
    pub(super) fn turn(&mut self, frames: usize, more: bool) {
        self.price = if more {
            (self.price + RISE).min(DEAREST)
        } else {
            self.price.saturating_sub(1)
        };
        let frames = u32::try_from(frames).unwrap_or(SAVED);
        self.saved = match self.price {
            0 => SAVED,
            _ => self.saved.saturating_add(frames).min(SAVED),
        };
    }

    /// Whether a new flow costs more than there is.
    pub(super) const fn is_too_dear(&self) -> bool {
        self.saved < self.price
    }

    /// A flow is being set up.
    pub(super) const fn begin(&mut self) {
        self.saved = self.saved.saturating_sub(self.price);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Flows that can be paid for, of as many as come.
    fn bonded(overload: &mut Overload) -> u32 {
        let mut flows = 0;
        while !overload.is_too_dear() && flows < 1_000 {
            overload.begin();
            flows += 1;
        }
        flows
    }

    #[test]
    fn a_flow_costs_nothing_while_no_frames_are_left_behind() {
        let mut overload = Overload::default();
        assert_eq!(bonded(&mut overload), 1_000);
        overload.turn(1, true);
        overload.turn(96, false);
        assert!(bonded(&mut overload) < 1_000);
        for _ in 0..RISE {
            overload.turn(1, false);
        }
        assert_eq!(bonded(&mut overload), 1_000);
    }

    #[test]
    fn while_frames_wait_flows_have_a_part_of_what_comes() {
        let mut overload = Overload::default();
        for _ in 0..1_000 {
            overload.turn(64, true);
        }
        assert_eq!(bonded(&mut overload), SAVED / DEAREST, "what was saved");
        let mut flows = 0;
        for _ in 0..1_000 {
            overload.turn(64, true);
            flows += bonded(&mut overload);
        }
        assert_eq!(flows, 64_000 / DEAREST);
    }
}
