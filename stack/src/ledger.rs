//! Where the cycles of a packet's walk go: each layer says when its step begins, and the ledger adds up what passes.
//!
//! One turn of the loop in `WATCHED_EACH` is watched step by step, which costs a read of the processor's cycle counter a
//! step; of the others it is known how long they took, which is a read a turn. The counter is the owner's: this crate
//! knows no clock.

/// Of so many turns one is watched.
const WATCHED_EACH: u64 = 16;

/// What the loop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Step {
    /// Takes frames from the ports.
    Receive,
    /// Reads Ethernet, IP and TCP headers; answers or forwards what is no segment.
    Parse,
    /// Finds the flow, or decides what becomes of a segment without one.
    Lookup,
    /// TCP takes a segment.
    TcpIn,
    /// Multipath TCP takes a segment: its options, and the place of its data.
    MptcpIn,
    /// Timers that are due.
    Timers,
    /// Data moves between the legs of a relay, and windows follow.
    Relay,
    /// Multipath TCP decides what goes out by which subflow, and dresses it.
    MptcpOut,
    /// TCP decides what leaves.
    TcpOut,
    /// A route, a neighbor, and the headers.
    IpOut,
    /// Gives frames to the ports.
    Transmit,
    /// Answers the control thread.
    Control,
    /// What the loop does beside all that.
    Loop,
    /// Turns in which nothing moved, and sleep.
    Idle,
}

impl Step {
    /// Every step, in the order of a packet's walk.
    pub const ALL: [Self; 14] = [
        Self::Receive,
        Self::Parse,
        Self::Lookup,
        Self::TcpIn,
        Self::MptcpIn,
        Self::Timers,
        Self::Relay,
        Self::MptcpOut,
        Self::TcpOut,
        Self::IpOut,
        Self::Transmit,
        Self::Control,
        Self::Loop,
        Self::Idle,
    ];

    /// The name that operators read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "rx",
            Self::Parse => "parse",
            Self::Lookup => "lookup",
            Self::TcpIn => "tcp-in",
            Self::MptcpIn => "mptcp-in",
            Self::Timers => "timers",
            Self::Relay => "relay",
            Self::MptcpOut => "mptcp-out",
            Self::TcpOut => "tcp-out",
            Self::IpOut => "ip-out",
            Self::Transmit => "tx",
            Self::Control => "control",
            Self::Loop => "loop",
            Self::Idle => "idle",
        }
    }
}

/// Cycles by step.
pub type Cycles = [u64; Step::ALL.len()];

/// One core's ledger.
#[derive(Clone, Debug)]
pub struct Ledger {
    read: fn() -> u64,
    step: Step,
    watching: bool,
    /// When the present turn began, and in a watched one the present step.
    turn_at: u64,
    step_at: u64,
    /// Of the present turn.
    turn: Cycles,
    turns: u64,
    sums: Sums,
}

/// What a ledger has added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    /// Cycles of turns in which something moved.
    pub busy: u64,
    /// Cycles of all others, and between turns.
    pub idle: u64,
    /// Frames that moved in watched turns.
    pub frames: u64,
    /// Cycles of the watched turns.
    pub watched: u64,
    /// By step, of the watched turns.
    pub steps: Cycles,
}

impl Default for Ledger {
    /// A ledger of a clock that stands.
    fn default() -> Self {
        Self::new(|| 0)
    }
}

impl Ledger {
    /// An empty ledger that reads the cycle counter by `read`.
    #[must_use]
    pub fn new(read: fn() -> u64) -> Self {
        let now = read();
        Self {
            read,
            step: Step::Idle,
            watching: false,
            turn_at: now,
            step_at: now,
            turn: Cycles::default(),
            turns: 0,
            sums: Sums::default(),
        }
    }

    /// `step` begins; returns the one that it interrupts.
    pub fn enter(&mut self, step: Step) -> Step {
        if self.watching {
            self.lap();
        }
        core::mem::replace(&mut self.step, step)
    }

    /// Books what has passed to the present step.
    #[cold]
    fn lap(&mut self) {
        let now = (self.read)();
        self.turn[self.step as usize] += now.wrapping_sub(self.step_at);
        self.step_at = now;
    }

    /// A turn of the loop begins; in the one before, `moved` frames did.
    pub fn begin_turn(&mut self, moved: usize) {
        let now = (self.read)();
        let took = now.wrapping_sub(self.turn_at);
        let moved = u64::try_from(moved).unwrap_or(u64::MAX);
        if moved > 0 {
            self.sums.busy += took;
        } else {
            self.sums.idle += took;
        }
        if self.watching {
            self.turn[self.step as usize] += now.wrapping_sub(self.step_at);
            self.close_watched(took, moved);
        }
        self.turns = self.turns.wrapping_add(1);
        self.watching = self.turns.is_multiple_of(WATCHED_EACH);
        (self.turn_at, self.step_at, self.step) = (now, now, Step::Loop);
    }

    fn close_watched(&mut self, took: u64, moved: u64) {
        let turn = core::mem::take(&mut self.turn);
        self.sums.watched += took;
        self.sums.frames += moved;
        if moved > 0 {
            for (sum, cycles) in self.sums.steps.iter_mut().zip(turn) {
                *sum += cycles;
            }
        } else {
            self.sums.steps[Step::Idle as usize] += turn.iter().sum::<u64>();
        }
    }

    /// What was added up so far.
    #[must_use]
    pub const fn sums(&self) -> &Sums {
        &self.sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    std::thread_local! {
        static CLOCK: Cell<u64> = const { Cell::new(0) };
    }

    fn pass(cycles: u64) {
        CLOCK.set(CLOCK.get() + cycles);
    }

    /// A turn in which receiving takes 10 cycles, and a TCP step of 5 interrupts an MPTCP step of 7.
    fn turn(ledger: &mut Ledger) {
        pass(1);
        ledger.enter(Step::Receive);
        pass(10);
        ledger.enter(Step::MptcpIn);
        pass(3);
        let outer = ledger.enter(Step::TcpIn);
        pass(5);
        ledger.enter(outer);
        pass(4);
        ledger.enter(Step::Idle);
        pass(2);
    }

    #[test]
    fn every_cycle_of_a_watched_turn_is_booked_to_a_step() {
        let mut ledger = Ledger::new(|| CLOCK.get());
        ledger.begin_turn(0);
        for n in 1..=WATCHED_EACH {
            turn(&mut ledger);
            ledger.begin_turn(usize::from(n != 3));
        }
        let sums = ledger.sums();
        assert_eq!((sums.busy, sums.idle), ((WATCHED_EACH - 1) * 25, 25));
        assert_eq!((sums.watched, sums.frames), (25, 1));
        assert_eq!(sums.steps.iter().sum::<u64>(), 25);
        let of = |step: Step| sums.steps[step as usize];
        assert_eq!((of(Step::Receive), of(Step::Loop)), (10, 1));
        assert_eq!((of(Step::MptcpIn), of(Step::TcpIn)), (7, 5));
    }

    #[test]
    fn a_turn_in_which_nothing_moved_is_idle_altogether() {
        let mut ledger = Ledger::new(|| CLOCK.get());
        for _ in 0..=WATCHED_EACH {
            ledger.begin_turn(0);
            turn(&mut ledger);
        }
        let sums = ledger.sums();
        assert_eq!(sums.steps[Step::Idle as usize], sums.watched);
        assert_eq!(sums.busy, 0);
    }
}
