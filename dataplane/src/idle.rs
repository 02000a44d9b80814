//! What a worker does when there is nothing to do. The only sleep of the data plane.

use crate::app::App;
use crate::clock::Clock;
use crate::port::Port;
use crate::worker::Worker;
use core::time::Duration;
use stack::Instant;

/// How a worker waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Polls without a pause: lowest latency, a whole core.
    Spin,
    /// Polls `turns` more times after the last packet, then sleeps up to `nap` between turns, never past a deadline.
    Adaptive {
        /// Empty turns before the first sleep.
        turns: u32,
        /// Longest sleep.
        nap: Duration,
    },
}

impl Idle {
    /// Adaptive, for several programs on one small machine: sleeps of at most 100 us after 64 empty turns.
    pub const ADAPTIVE: Self = Self::Adaptive {
        turns: 64,
        nap: Duration::from_micros(100),
    };
}

/// How many turns in a row moved nothing, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub struct Idler {
    idle: Idle,
    empty: u32,
}

impl Idler {
    /// Nothing was empty yet.
    #[must_use]
    pub const fn new(idle: Idle) -> Self {
        Self { idle, empty: 0 }
    }

    /// How long to sleep after a turn that moved `moved` packets and ended at `now`; `None`: poll again at once.
    pub fn after(
        &mut self,
        moved: usize,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Option<Duration> {
        let Idle::Adaptive { turns, nap } = self.idle else {
            return None;
        };
        if moved > 0 {
            self.empty = 0;
            return None;
        }
        if self.empty < turns {
            self.empty += 1;
            return None;
        }
        let left = deadline.map_or(nap, |at| at.since(now));
        Some(left.min(nap)).filter(|sleep| !sleep.is_zero())
    }
}

/// Runs `worker` on the calling thread until `stop` says so. `stop` is asked before each turn.
pub fn run<P: Port, A: App<P::Buf>>(
    worker: &mut Worker<P, A>,
    clock: &Clock,
    idle: Idle,
    mut stop: impl FnMut(&A) -> bool,
) {
    let mut idler = Idler::new(idle);
    while !stop(worker.app()) {
        let now = clock.now();
        let moved = worker.poll(now);
        if moved > 0 || idle == Idle::Spin {
            idler.after(moved, now, None);
            continue;
        }
        if let Some(sleep) = idler.after(0, clock.now(), worker.next_deadline()) {
            #[expect(clippy::disallowed_methods, reason = "this is the idle policy")]
            std::thread::sleep(sleep);
        }
    }
}
