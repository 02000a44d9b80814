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
        let left = deadline.map_or(nap, |at| at.since(now).into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemPort;
    use crate::testing::{Echo, port_info};
    use crate::{CoreId, mailbox};

    const NAP: Duration = Duration::from_micros(100);
    const NOW: Instant = Instant::from_millis(1000);

    fn tired() -> Idler {
        let mut idler = Idler::new(Idle::Adaptive { turns: 3, nap: NAP });
        for _ in 0..3 {
            assert_eq!(idler.after(0, NOW, None), None, "still polls");
        }
        idler
    }

    #[test]
    fn spinning_never_sleeps() {
        let mut idler = Idler::new(Idle::Spin);
        assert!((0..1000).all(|_| idler.after(0, NOW, None).is_none()));
    }

    #[test]
    fn adaptive_sleeps_after_its_empty_turns_until_a_packet_comes() {
        let mut idler = tired();
        assert_eq!(idler.after(0, NOW, None), Some(NAP));
        assert_eq!(idler.after(0, NOW, None), Some(NAP));
        assert_eq!(idler.after(1, NOW, None), None);
        assert_eq!(idler.after(0, NOW, None), None, "counts anew");
    }

    #[test]
    fn adaptive_never_sleeps_past_a_deadline() {
        let in_nanos = |n| Some(NOW + stack::time::Duration::from_nanos(n));
        for (deadline, sleep) in [
            (in_nanos(1), Some(Duration::from_nanos(1))),
            (in_nanos(99_999), Some(Duration::from_nanos(99_999))),
            (in_nanos(5_000_000), Some(NAP)),
            (Some(NOW), None),
            (Some(Instant::ZERO), None),
        ] {
            assert_eq!(tired().after(0, NOW, deadline), sleep, "{deadline:?}");
        }
    }

    #[test]
    fn an_adaptive_worker_sleeps_and_wakes_at_the_deadline() {
        let due = Instant::from_millis(60);
        let app = Echo {
            timer: Some((due, stack::time::Duration::from_secs(3600))),
            ..Echo::default()
        };
        let (port, _wire) = MemPort::with_wire(port_info("a"));
        let (_control, inbox) = mailbox(1);
        let mut worker = Worker::new(CoreId(0), vec![port], app, inbox);
        let idle = Idle::Adaptive {
            turns: 3,
            nap: Duration::from_secs(3600),
        };
        run(&mut worker, &Clock::start(), idle, |app| {
            !app.fired.is_empty()
        });
        let fired = worker.app().fired[0];
        assert!(fired >= due && fired.as_millis() < 30_000, "{fired:?}");
        let polls = worker.stats().polls;
        assert!(polls < 20, "slept instead of {polls} turns");
    }

    #[test]
    fn a_stopped_worker_takes_no_further_turn() {
        let (_control, inbox) = mailbox(1);
        let mut worker: Worker<MemPort, Echo> =
            Worker::new(CoreId(0), vec![], Echo::default(), inbox);
        let mut left = 5;
        run(&mut worker, &Clock::start(), Idle::ADAPTIVE, |_| {
            left -= 1;
            left == 0
        });
        assert_eq!(worker.stats().polls, 4);
    }
}
