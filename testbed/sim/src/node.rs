//! Who sits at the ends of links: hosts, and the boxes under test, each with the worker that a network card would drive.

use crate::host::Host;
use crate::port::{Far, SimBuf, SimPort};
use crate::seed::{self, Draw};
use apps::control::{Command, Reply};
use apps::engine::{Engine, EngineConfig, Occupancy};
use dataplane::{App, CoreId, PortInfo, Worker, mailbox};
use stack::time::{Duration, earlier};
use stack::{Instant, Rng};
use std::collections::BTreeMap;

/// The least time between two turns of a box that has nothing to do but says that it is due.
const LEAST: Duration = Duration::from_micros(10);

/// So many turns that do nothing in so short a time mean that a deadline has passed and stays.
const IDLE_TURNS: u32 = 1_000;

/// See [`IDLE_TURNS`].
const IDLE: Duration = Duration::from_millis(50);

/// That a box is polled late: its core was busy with something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sleepy {
    /// How long after a turn it is away at most.
    pub away: Duration,
    /// When this begins.
    pub from: Instant,
    /// How long it lasts.
    pub lasts: Duration,
}

/// A box: the engine in its worker, and the far ends of its devices.
pub struct Machine {
    /// What it is called.
    pub name: &'static str,
    worker: Worker<SimPort, Engine<SimBuf>>,
    /// The far ends of its devices, in the order of its ports.
    pub far: Vec<Far>,
    due: Option<Instant>,
    sleepy: Option<Sleepy>,
    rng: Rng,
    /// What it holds without a flow: static forwards, for one.
    at_rest: Occupancy,
    /// Turns in a row that did nothing, and when the first of them was.
    idle_turns: (u32, Instant),
}

impl Machine {
    /// A box of `config`, whose devices have `pool` buffers each.
    ///
    /// # Panics
    /// The configuration's network does not resolve: a mistake in the scene.
    #[must_use]
    pub fn new(name: &'static str, config: EngineConfig, pool: u32, seed: u64) -> Self {
        let mut rng = seed::rng(seed, name);
        let (ports, far) = (0..config.ports.len())
            .map(|port| {
                let info = PortInfo {
                    name: config.ports[port].name.clone(),
                    device: "sim".into(),
                    mac: config.net.interfaces[port].mac,
                    mtu: 1500,
                };
                let verifies = rng.percent(50);
                SimPort::new(info, pool, verifies, Rng::from_u64(rng.u64()))
            })
            .unzip();
        let (_, inbox) = mailbox(1);
        let engine = Engine::new(config).expect("the scene resolves");
        let worker = Worker::new(CoreId(0), ports, engine, inbox);
        let at_rest = worker.app().occupancy();
        Self {
            name,
            worker,
            far,
            due: None,
            sleepy: None,
            rng,
            at_rest,
            idle_turns: (0, Instant::ZERO),
        }
    }

    /// Has it polled late for some time.
    pub const fn sleep(&mut self, sleepy: Sleepy) {
        self.sleepy = Some(sleepy);
    }

    /// A frame has arrived at the device `card`.
    pub fn deliver(&mut self, now: Instant, card: usize, frame: Vec<u8>) {
        self.far[card].put(frame);
        if self.due.is_none_or(|due| due > now) {
            self.due = Some(now + self.away(now));
        }
    }

    fn away(&mut self, now: Instant) -> Duration {
        let on = |s: &Sleepy| s.from <= now && now < s.from + s.lasts;
        let Some(sleepy) = self.sleepy.filter(on) else {
            return Duration::ZERO;
        };
        let micros = u32::try_from(sleepy.away.as_micros()).unwrap_or(u32::MAX);
        Duration::from_micros(u64::from(self.rng.below(micros)))
    }

    /// When [`poll`](Self::poll) has something to do.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// One turn of its worker; what it sends goes to `out` with the device that it leaves by.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        self.far.iter().for_each(|far| far.at(now));
        let moved = self.worker.poll(now);
        let (turns, since) = self.idle_turns;
        let idle = moved == 0 && now.since(since) < IDLE;
        self.idle_turns = if idle { (turns + 1, since) } else { (0, now) };
        for (card, far) in self.far.iter().enumerate() {
            out.extend(far.take().into_iter().map(|frame| (card, frame)));
        }
        let waiting = self.far.iter().any(Far::is_waiting);
        let deadline = self.worker.next_deadline().map(|at| at.max(now + LEAST));
        let next = earlier(waiting.then_some(now), deadline);
        self.due = next.map(|at| at + self.away(now));
    }

    /// When its engine asks for a turn.
    #[must_use]
    pub fn asks(&self) -> Option<Instant> {
        self.worker.next_deadline()
    }

    /// Whether a deadline asks for one turn after the other that do nothing.
    #[must_use]
    pub const fn is_restless(&self) -> bool {
        self.idle_turns.0 > IDLE_TURNS
    }

    /// What it holds at present.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        self.worker.app().occupancy()
    }

    /// What it holds beyond what it does without a flow; `None` if nothing.
    #[must_use]
    pub fn leftover(&self) -> Option<String> {
        let holds = self.occupancy();
        let buffers: u32 = self.far.iter().map(Far::buffers).sum();
        (holds != self.at_rest || buffers > 0).then(|| format!("{holds:?}, {buffers} buffers"))
    }

    /// Everything that it counts, by name; rows that are zero left out.
    pub fn counters(&mut self, now: Instant) -> BTreeMap<String, u64> {
        let app = self.worker.app_mut();
        let Reply::Counters(reply) = app.command(now, Command::ShowCounters, &mut Vec::new())
        else {
            return BTreeMap::new();
        };
        reply
            .counters
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(name, n)| (name.to_string(), *n))
            .collect()
    }

    /// Bounds that it must keep to.
    #[must_use]
    pub fn limits(&self) -> apps::engine::Limits {
        self.worker.app().config().limits
    }
}

/// Somebody at the ends of links.
#[expect(clippy::large_enum_variant, reason = "a network has four of them")]
pub enum Node {
    /// A host.
    Host(Host),
    /// A box.
    Machine(Machine),
}

impl Node {
    /// A frame has arrived at `card`.
    pub fn deliver(&mut self, now: Instant, card: usize, frame: Vec<u8>) {
        match self {
            Self::Host(host) => host.deliver(now, frame),
            Self::Machine(machine) => machine.deliver(now, card, frame),
        }
    }

    /// When [`poll`](Self::poll) has something to do.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        match self {
            Self::Host(host) => host.due(),
            Self::Machine(machine) => machine.due(),
        }
    }

    /// Runs once; frames to send go to `out` with the card that they leave by.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>) {
        match self {
            Self::Host(host) => {
                let mut frames = Vec::new();
                host.poll(now, &mut frames);
                out.extend(frames.into_iter().map(|frame| (0, frame)));
            },
            Self::Machine(machine) => machine.poll(now, out),
        }
    }
}
