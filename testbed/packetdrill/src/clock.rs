//! Virtual time, and who waits for it.
//!
//! packetdrill has two threads. The one that loaded us, the *driver*, runs the script: it asks for the time, sleeps, and gives
//! and takes packets. The other one makes the calls that the script lets block. Time moves only by the driver: by a microsecond
//! whenever it asks for it, as it spins on the last of a wait; by as much as it sleeps; and to the next deadline when it waits
//! for a packet and there is none. Whatever the other thread's call waits for is looked at after each such step, and the
//! driver goes on only when that thread waits again or has asked for the time at which it returned. So every run is the same.

use crate::errno::{Errno, Result};
use crate::host::Host;
use crate::settings::Flags;
use stack::Instant;
use stack::time::{Duration, earlier};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// How long the driver waits in real time for the other thread to run, before it goes on without it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// Time at which it all begins: nothing on the wire begins at nought by chance.
const START: Instant = Instant::from_millis(1_000_000);

/// packetdrill sleeps to so shortly before an event, and spins on the clock for the rest.
const SPIN: Duration = Duration::from_micros(20);

/// How long the driver waits for a packet, in virtual time.
const NO_PACKET: Duration = Duration::from_mins(10);

/// Deadlines at one instant before a timer that does not stop is taken for a defect.
const STILL: u32 = 100_000;

/// What the other thread's call is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// There is none.
    Idle,
    /// It waits.
    Waiting,
    /// It is to look whether it waits any longer.
    Looking,
    /// It is over, and its thread is about to ask when.
    Returning(ThreadId),
}

/// The host with its clock.
pub(crate) struct World {
    pub(crate) host: Host,
    /// What the host has sent, and when.
    sent: VecDeque<(Instant, Vec<u8>)>,
    driver: ThreadId,
    call: Call,
    /// When the call gives up waiting.
    call_until: Option<Instant>,
}

/// What both threads share.
pub(crate) struct Clock {
    world: Mutex<World>,
    moved: Condvar,
}

impl Clock {
    /// A host of which the calling thread is the driver.
    pub(crate) fn new(flags: Flags) -> Self {
        let world = World {
            host: Host::new(flags, START),
            sent: VecDeque::new(),
            driver: thread::current().id(),
            call: Call::Idle,
            call_until: None,
        };
        Self {
            world: Mutex::new(world),
            moved: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time it is. The thread whose call returned is told first, and the driver finds that it has become later.
    pub(crate) fn now(&self) -> Instant {
        let mut world = self.lock();
        let me = thread::current().id();
        if world.call == Call::Returning(me) {
            world.call = Call::Idle;
            self.moved.notify_all();
        } else if me == world.driver {
            let next = world.host.now + Duration::from_micros(1);
            world = self.advance(world, next);
        }
        world.host.now
    }

    /// Lets `span` pass.
    pub(crate) fn sleep(&self, span: Duration) {
        let world = self.lock();
        let until = world.host.now + span + SPIN;
        drop(self.advance(world, until));
    }

    /// Does what never waits.
    pub(crate) fn run<T>(&self, act: impl FnOnce(&mut Host) -> T) -> T {
        let mut world = self.lock();
        let done = act(&mut world.host);
        world.gather();
        if thread::current().id() == world.driver {
            drop(self.settle(world));
        }
        done
    }

    /// Tries `attempt` until it says something, for `patience` of virtual time at most.
    ///
    /// # Errors
    /// What `attempt` says, or `EAGAIN` if time ran out.
    pub(crate) fn wait<T>(
        &self,
        patience: Option<Duration>,
        mut attempt: impl FnMut(&mut Host) -> Option<Result<T>>,
    ) -> Result<T> {
        let me = thread::current().id();
        let mut world = self.lock();
        let until = patience.map(|span| world.host.now + span);
        let mut waited = false;
        loop {
            let done = attempt(&mut world.host);
            world.gather();
            let late = until.is_some_and(|until| until <= world.host.now);
            if let Some(result) = done.or_else(|| late.then_some(Err(Errno::EAGAIN))) {
                if waited {
                    world.call = Call::Returning(me);
                    world.call_until = None;
                    self.moved.notify_all();
                } else if me == world.driver {
                    drop(self.settle(world));
                }
                return result;
            }
            if me == world.driver {
                // Nobody else would move the clock.
                let Some(next) = earlier(world.next_deadline(), until) else {
                    return Err(Errno::EAGAIN);
                };
                world = self.advance(world, next);
                continue;
            }
            world.call = Call::Waiting;
            world.call_until = until;
            waited = true;
            self.moved.notify_all();
            let waits = |world: &mut World| world.call == Call::Waiting;
            world = self
                .moved
                .wait_while(world, waits)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A packet for the host.
    pub(crate) fn deliver(&self, packet: Vec<u8>) {
        self.run(|host| host.input(packet));
    }

    /// The next packet that the host sent, and when; waits for it. `None` if none comes.
    pub(crate) fn receive(&self) -> Option<(Instant, Vec<u8>)> {
        let mut world = self.lock();
        let until = world.host.now + NO_PACKET;
        loop {
            if let Some(sent) = world.sent.pop_front() {
                return Some(sent);
            }
            let next = world.next_deadline().filter(|next| *next <= until)?;
            world = self.advance(world, next);
        }
    }

    /// Moves time on to `until`, past all that is due by then.
    fn advance<'a>(
        &'a self,
        mut world: MutexGuard<'a, World>,
        until: Instant,
    ) -> MutexGuard<'a, World> {
        let mut still = 0;
        while let Some(next) = world.next_deadline().filter(|next| *next <= until) {
            still = if next <= world.host.now { still + 1 } else { 0 };
            assert!(still < STILL, "a timer at {next:?} does not stop");
            world.host.now = world.host.now.max(next);
            world.host.advance();
            world.gather();
            world = self.settle(world);
        }
        world.host.now = world.host.now.max(until);
        world
    }

    /// Has the other thread's call look whether it waits any longer.
    fn settle<'a>(&'a self, mut world: MutexGuard<'a, World>) -> MutexGuard<'a, World> {
        if world.call == Call::Waiting {
            world.call = Call::Looking;
            self.moved.notify_all();
        }
        let busy = |world: &mut World| matches!(world.call, Call::Looking | Call::Returning(_));
        let waited = self.moved.wait_timeout_while(world, PATIENCE, busy);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl World {
    fn next_deadline(&self) -> Option<Instant> {
        earlier(self.host.next_deadline(), self.call_until)
    }

    fn gather(&mut self) {
        let now = self.host.now;
        let packets = self.host.out.drain(..).map(|packet| (now, packet));
        self.sent.extend(packets);
    }
}
