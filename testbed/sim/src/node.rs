//! Who sits at the ends of links: hosts, and the boxes under test, each with the worker that a network card would drive.

use crate::app::Endpoint;
use crate::host::Host;
use crate::keys::{self, Round};
use crate::native::Native;
use crate::offload::Offloads;
use crate::port::{Checksums, Far, SimBuf, SimPort};
use crate::seed;
use crate::watch::Watch;
use apps::control::{Command, Reply};
use apps::engine::{Engine, EngineConfig, Limits, Occupancy};
use dataplane::{App, CoreId, Port, PortInfo, Worker, WorkerStats, mailbox, siblings_with};
use mptcp::Version;
use stack::time::{Duration, earlier};
use stack::{Instant, Rng};
use std::collections::BTreeMap;

/// The least time between two turns of a box that has nothing to do but says that it is due.
const LEAST: Duration = Duration::from_micros(10);

/// So many turns that do nothing in so short a time mean that a deadline has passed and stays.
const IDLE_TURNS: u32 = 1_000;

/// The seed of what is drawn again and again.
const REPEATED: u64 = 0x5eed;

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

/// That chance repeats itself at a box: keys and with them tokens, nonces and ports are those of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repeats {
    /// When this begins.
    pub from: Instant,
    /// How long it lasts.
    pub lasts: Duration,
}

/// The workers of a box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workers {
    /// How many.
    pub count: u8,
    /// Whether devices spread flows over them.
    pub spread: bool,
    /// Frames in each ring between two of them.
    pub ring: usize,
}

/// A box: an engine in each of its workers, and the far ends of its devices.
pub struct Machine {
    /// What it is called.
    pub name: &'static str,
    workers: Vec<Worker<SimPort, Engine<SimBuf>>>,
    limits: Limits,
    /// The far ends of its devices, in the order of its ports.
    pub far: Vec<Far>,
    due: Option<Instant>,
    sleepy: Option<Sleepy>,
    repeats: Option<Repeats>,
    /// Who looks at what it is given and what it sends, and what was seen first that must not be.
    watch: Watch,
    wrong: Option<String>,
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
    pub fn new(
        name: &'static str,
        config: &EngineConfig,
        pool: u32,
        workers: Workers,
        seed: u64,
    ) -> Self {
        let mut rng = seed::rng(seed, name);
        let mut drawn = seed::rng(seed, &format!("{name} offloads"));
        let mut infos = Vec::new();
        let count = workers.count;
        let mut held: Vec<Vec<SimPort>> = (0..count).map(|_| Vec::new()).collect();
        let far = (0..config.ports.len())
            .map(|port| {
                let offloads = Offloads::draw(&mut drawn).before(workers.ring);
                let info = PortInfo {
                    name: config.ports[port].name.clone(),
                    device: "sim".into(),
                    mac: config.net.interfaces[port].mac,
                    mtu: 1500,
                    sums: offloads.sums,
                };
                let checksums = match rng.below(100) {
                    0..35 => Checksums::Verifies,
                    35..50 => Checksums::Shares,
                    _ => Checksums::Leaves,
                };
                let queues = (count, workers.spread);
                let rng = Rng::from_u64(rng.u64());
                let (ports, far) = SimPort::new(&info, pool, (checksums, offloads), queues, rng);
                held.iter_mut()
                    .zip(ports)
                    .for_each(|(of, port)| of.push(port));
                infos.push(info);
                far
            })
            .collect();
        let mut config = config.clone();
        config.leave_checksums_to(&infos);
        let rings = siblings_with(count.into(), workers.ring);
        let made = (0..count).zip(held).zip(rings);
        let made = made.map(|((core, ports), rings)| {
            let (_, inbox) = mailbox(1);
            let engine = Engine::new(config.of_core(core, count)).expect("the scene resolves");
            Worker::new(CoreId(core), ports, engine, inbox).among(rings)
        });
        let workers: Vec<_> = made.collect();
        let at_rest = occupancy(&workers);
        Self {
            name,
            workers,
            limits: config.limits,
            far,
            due: None,
            sleepy: None,
            repeats: None,
            watch: Watch::default(),
            wrong: None,
            rng,
            at_rest,
            idle_turns: (0, Instant::ZERO),
        }
    }

    /// Has it polled late for some time.
    pub const fn sleep(&mut self, sleepy: Sleepy) {
        self.sleepy = Some(sleepy);
    }

    /// Has chance repeat itself for some time.
    pub const fn repeat(&mut self, repeats: Repeats) {
        self.repeats = Some(repeats);
    }

    /// Has its data's numbers come round as soon as can be, or the low half of them, where it is one of two boxes, or the
    /// only one.
    pub fn round_numbers(&mut self, round: Round, which: usize) {
        for worker in &mut self.workers {
            for version in [Version::V0, Version::V1] {
                let keys = match round {
                    Round::Low => keys::of(version, which),
                    Round::Whole => vec![keys::whole(version)],
                };
                worker.app_mut().use_first(version, &keys);
            }
        }
    }

    /// Has whoever watches it know that keys may come again.
    pub const fn keys_repeat(&mut self) {
        self.watch.keys_repeat();
    }

    /// A frame has arrived at the device `card`.
    pub fn deliver(&mut self, now: Instant, card: usize, frame: Vec<u8>) {
        self.watch.given(&frame);
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
        let on = |repeats: Repeats| repeats.from <= now && now < repeats.from + repeats.lasts;
        if self.repeats.is_some_and(on) {
            for worker in &mut self.workers {
                worker.app_mut().draw_from(Rng::from_u64(REPEATED));
            }
        }
        let moved: usize = self.workers.iter_mut().map(|worker| worker.poll(now)).sum();
        let (turns, since) = self.idle_turns;
        let idle = moved == 0 && now.since(since) < IDLE;
        self.idle_turns = if idle { (turns + 1, since) } else { (0, now) };
        let parts = self.far.iter().flat_map(Far::take_parts);
        parts.for_each(|part| self.watch.given_part(part));
        for (card, far) in self.far.iter().enumerate() {
            for (frame, is_taken) in far.take() {
                // What the device does not take was sent nevertheless, as far as the box knows.
                let gave_up = || counters(&mut self.workers, now)["send_no_neighbor"] > 0;
                if let (None, Err(wrong)) = (&self.wrong, self.watch.sends(&frame, gave_up)) {
                    self.wrong = Some(wrong);
                }
                if is_taken {
                    out.push((card, frame));
                }
            }
        }
        // What moved at one worker may wait for another.
        let waiting = self.has_unfetched() || self.workers.len() > 1 && moved > 0;
        let ports = self.workers.iter().flat_map(|worker| worker.ports());
        let unsent = ports.map(Port::waiting).sum::<usize>() > 0;
        let deadline = self.asks().map(|at| at.max(now + LEAST));
        let deadline = earlier(unsent.then_some(now + LEAST), deadline);
        let next = earlier(waiting.then_some(now), deadline);
        self.due = next.map(|at| at + self.away(now));
    }

    /// When its engine asks for a turn.
    #[must_use]
    pub fn asks(&self) -> Option<Instant> {
        let all = self.workers.iter();
        all.filter_map(Worker::next_deadline).min()
    }

    /// Whether a deadline asks for one turn after the other that do nothing.
    #[must_use]
    pub const fn is_restless(&self) -> bool {
        self.idle_turns.0 > IDLE_TURNS
    }

    /// What it sent and may not.
    #[must_use]
    pub fn wrong(&self) -> Option<&str> {
        self.wrong.as_deref()
    }

    /// Whether frames wait in its devices.
    #[must_use]
    pub fn has_unfetched(&self) -> bool {
        self.far.iter().any(Far::is_waiting)
    }

    /// What it holds at present.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        occupancy(&self.workers)
    }

    /// What it holds beyond what it does without a flow; `None` if nothing.
    #[must_use]
    pub fn leftover(&self) -> Option<String> {
        let holds = self.occupancy();
        let buffers: u32 = self.far.iter().map(Far::buffers).sum();
        (holds != self.at_rest || buffers > 0).then(|| format!("{holds:?}, {buffers} buffers"))
    }

    /// Whether every frame that its engines were given has ended, in one fate, or waits. `None` if so.
    #[must_use]
    pub fn imbalance(&self) -> Option<String> {
        let frames = self.workers.iter().map(|worker| worker.app().frames());
        let wrong = frames.enumerate().find(|(_, frames)| !frames.balance());
        wrong.map(|(core, frames)| format!("core {core}: {frames:?}"))
    }

    /// What became of frames between its devices and its engines: of those that its workers handed over all but the ones
    /// that a full ring lost were taken out again, none of them twice, and none went to a core or a port that there is not;
    /// and what the devices received the engines were given. `None` if that is so.
    #[must_use]
    pub fn unaccounted(&self) -> Option<String> {
        let all = self.workers.iter().map(Worker::stats);
        let sum = |of: fn(&WorkerStats) -> u64| all.clone().map(|stats| of(&stats)).sum::<u64>();
        let (handed, taken) = (sum(|s| s.handed_over), sum(|s| s.taken_over));
        let astray = sum(|s| s.drop_no_core + s.drop_no_port);
        if handed != taken || astray > 0 {
            return Some(format!(
                "{handed} handed over, {taken} taken, {astray} to nobody"
            ));
        }
        let frames = self.workers.iter().map(|worker| worker.app().frames());
        let (given, again) = frames.fold((0, 0), |(given, again), frames| {
            (given + frames.received, again + frames.handed_over)
        });
        let received: u64 = self.far.iter().map(|far| far.stats().rx_packets).sum();
        let lost = sum(|s| s.handover_full);
        (received + again != given + lost).then(|| {
            format!(
                "{received} received, {again} of them handed on, {given} given to engines, {lost} lost"
            )
        })
    }

    /// Everything that it counts, by name; rows that are zero left out.
    pub fn counters(&mut self, now: Instant) -> BTreeMap<String, u64> {
        let mut all = counters(&mut self.workers, now);
        for far in &self.far {
            *all.entry("device_trains".to_owned()).or_default() += far.stats().tx_trains;
            *all.entry("device_joined".to_owned()).or_default() += far.joined()[0];
        }
        let (low, whole) = self.watch.rounds();
        all.insert("data_low_came_round".to_owned(), low);
        all.insert("data_came_round".to_owned(), whole);
        all.retain(|_, n| *n > 0);
        all
    }

    /// Bounds that it must keep to.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.limits
    }
}

/// What all workers count, by name.
fn counters(
    workers: &mut [Worker<SimPort, Engine<SimBuf>>],
    now: Instant,
) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for worker in workers {
        let stats = worker.stats();
        let app = worker.app_mut();
        let reply = app.command(now, Command::ShowCounters, &mut Vec::new());
        if let Reply::Counters(reply) = reply {
            for (name, n) in &reply.counters {
                *all.entry(name.to_string()).or_default() += n;
            }
        }
        for (name, n) in [
            ("handed_over", stats.handed_over),
            ("handover_full", stats.handover_full),
            ("handover_missed", stats.handover_missed),
        ] {
            *all.entry(name.to_owned()).or_default() += n;
        }
    }
    all
}

/// What all workers hold.
fn occupancy(workers: &[Worker<SimPort, Engine<SimBuf>>]) -> Occupancy {
    let all = workers.iter().map(|worker| worker.app().occupancy());
    all.fold(Occupancy::default(), |sum, one| Occupancy {
        flows: sum.flows + one.flows,
        pending: sum.pending + one.pending,
        subscribers: sum.subscribers + one.subscribers,
        relays: sum.relays + one.relays,
        resting: sum.resting + one.resting,
        joining: sum.joining + one.joining,
        tokens: sum.tokens + one.tokens,
        time_waits: sum.time_waits + one.time_waits,
        timers: sum.timers + one.timers,
        mappings: sum.mappings + one.mappings,
        strays: sum.strays + one.strays,
        waiting: sum.waiting + one.waiting,
        held: sum.held + one.held,
        pieces: sum.pieces + one.pieces,
    })
}

/// Somebody at the ends of links.
pub enum Node {
    /// A host.
    Host(Host),
    /// A host that speaks Multipath TCP.
    Native(Native),
    /// A box.
    Machine(Machine),
}

impl Node {
    /// A frame has arrived at `card`.
    pub fn deliver(&mut self, now: Instant, card: usize, frame: Vec<u8>) {
        match self {
            Self::Host(host) => host.deliver(now, frame),
            Self::Native(host) => host.deliver(now, card, frame),
            Self::Machine(machine) => machine.deliver(now, card, frame),
        }
    }

    /// When [`poll`](Self::poll) has something to do.
    #[must_use]
    pub const fn due(&self) -> Option<Instant> {
        match self {
            Self::Host(host) => host.due(),
            Self::Native(host) => host.due(),
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
            Self::Native(host) => host.poll(now, out),
            Self::Machine(machine) => machine.poll(now, out),
        }
    }

    /// The ends of flows that are on it.
    #[must_use]
    pub fn ends(&self) -> &[Endpoint] {
        match self {
            Self::Host(host) => &host.ends,
            Self::Native(host) => &host.ends,
            Self::Machine(_) => &[],
        }
    }

    /// The same, to be changed.
    pub fn ends_mut(&mut self) -> &mut [Endpoint] {
        match self {
            Self::Host(host) => &mut host.ends,
            Self::Native(host) => &mut host.ends,
            Self::Machine(_) => &mut [],
        }
    }

    /// Ends flow `flow` by force, where it ends here.
    pub fn abort(&mut self, now: Instant, flow: usize) {
        match self {
            Self::Host(host) => host.abort(now, flow),
            Self::Native(host) => host.abort(now, flow),
            Self::Machine(_) => {},
        }
    }
}
