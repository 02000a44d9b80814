//! The two directions between the two interfaces.

use crate::histogram::Histogram;
use crate::interface::Interface;
use crate::options::Options;
use crate::report::{Report, Way};
use anyhow::Context;
use dataplane::Clock;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::prctl::set_timerslack;
use nix::sys::time::TimeSpec;
use stack::Instant;
use stack::time::Duration;
use stack::time::earlier;
use testbed::link::Link;

/// Frames read from an interface before those due are sent.
const BURST: usize = 32;
/// The longest sleep: a signal is heeded after it at the latest.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// Buffers kept for frames to come.
const SPARE: usize = 4096;

/// Two interfaces and the link between them.
pub(crate) struct Bridge {
    clock: Clock,
    interfaces: [Interface; 2],
    /// From the first to the second interface, and back.
    ways: [Direction; 2],
    spare: Vec<Vec<u8>>,
    spin: Duration,
}

struct Direction {
    link: Link<Vec<u8>>,
    last_arrival: Instant,
    sent: u64,
    sent_octets: u64,
    largest: usize,
    refused: u64,
    lateness: Histogram,
    /// Since the last report.
    recent: Histogram,
}

impl Bridge {
    /// Opens the interfaces of `options`.
    pub(crate) fn open(options: &Options) -> anyhow::Result<Self> {
        // The default lets a sleep last 50 us longer than asked.
        set_timerslack(1).context("the timer slack cannot be set")?;
        let direction = |shape, way| Direction {
            link: Link::new(shape, options.seed.wrapping_mul(2) + way),
            last_arrival: Instant::ZERO,
            sent: 0,
            sent_octets: 0,
            largest: 0,
            refused: 0,
            lateness: Histogram::default(),
            recent: Histogram::default(),
        };
        let [there, back] = options.shapes();
        Ok(Self {
            interfaces: [Interface::open(&options.a)?, Interface::open(&options.b)?],
            ways: [direction(there, 0), direction(back, 1)],
            spare: Vec::with_capacity(SPARE),
            spin: options.spin,
            clock: Clock::start(),
        })
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.now().since(Instant::ZERO)
    }

    /// Reads what came, sends what is due, and sleeps if there is time to.
    pub(crate) fn turn(&mut self) -> anyhow::Result<()> {
        let mut came = 0;
        for way in 0..2 {
            came += self.read(way)?;
            self.send_due(way);
        }
        if came == 0 { self.sleep() } else { Ok(()) }
    }

    fn read(&mut self, way: usize) -> anyhow::Result<usize> {
        let direction = &mut self.ways[way];
        for count in 0..BURST {
            let Some(received) = self.interfaces[way].receive()? else {
                return Ok(count);
            };
            let arrival = self.clock.now() - received.age.into();
            direction.largest = direction.largest.max(received.frame.len());
            direction.last_arrival = direction.last_arrival.max(arrival);
            let mut frame = self.spare.pop().unwrap_or_default();
            frame.clear();
            frame.extend_from_slice(received.frame);
            let arrival = direction.last_arrival;
            direction.link.put(arrival, frame.len(), frame);
        }
        Ok(BURST)
    }

    fn send_due(&mut self, way: usize) {
        let direction = &mut self.ways[way];
        loop {
            let now = self.clock.now();
            let Some((due, frame)) = direction.link.take(now) else {
                return;
            };
            let late = now.since(due);
            direction.lateness.record(late);
            direction.recent.record(late);
            if self.interfaces[1 - way].send(&frame) {
                direction.sent += 1;
                direction.sent_octets += frame.len() as u64;
            } else {
                direction.refused += 1;
            }
            if self.spare.len() < SPARE {
                self.spare.push(frame);
            }
        }
    }

    /// Sleeps until a frame comes, or shortly before one is due; not at all if one is due that soon.
    fn sleep(&self) -> anyhow::Result<()> {
        let [there, back] = [0, 1].map(|way| self.ways[way].link.next_due());
        let mut time = LONGEST_SLEEP;
        if let Some(due) = earlier(there, back) {
            let left = due.since(self.clock.now());
            if left <= self.spin {
                std::hint::spin_loop();
                return Ok(());
            }
            time = time.min(left - self.spin);
        }
        let mut wait =
            [0, 1].map(|way| PollFd::new(self.interfaces[way].descriptor(), PollFlags::POLLIN));
        match ppoll(
            &mut wait,
            Some(TimeSpec::from(std::time::Duration::from(time))),
            None,
        ) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error).context("waiting for frames"),
        }
    }

    /// What it counted so far.
    pub(crate) fn report(&mut self) -> Report {
        let recent = [0, 1].map(|way| std::mem::take(&mut self.ways[way].recent));
        let way = |way: usize| {
            let direction = &self.ways[way];
            let counts = *direction.link.counts();
            Way {
                from: self.interfaces[way].name().to_owned(),
                to: self.interfaces[1 - way].name().to_owned(),
                entered: counts.entered,
                sent: direction.sent,
                sent_octets: direction.sent_octets,
                largest: direction.largest,
                under_way: direction.link.under_way() as u64,
                queue_full: counts.full,
                lost: counts.lost,
                reordered: counts.reordered,
                duplicated: counts.duplicated,
                queue_max: counts.queue_max,
                missed: self.interfaces[way].missed(),
                refused: direction.refused,
                lateness_us: (&direction.lateness).into(),
                recent_us: (&recent[way]).into(),
            }
        };
        Report {
            seconds: std::time::Duration::from(self.elapsed()).as_secs_f64(),
            ways: [way(0), way(1)],
        }
    }
}
