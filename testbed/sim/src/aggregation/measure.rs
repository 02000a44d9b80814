//! Runs cells, and each line of theirs alone.

use super::cell::{Cell, Goal, Line, Loss, ROW_ENDS, ROW_MOST, Step, Way};
use crate::app::Close;
use crate::fault::Fault;
use crate::host::Habits;
use crate::lane::Ill;
use crate::oracle::Failure;
use crate::plan::{Chain, Family, Flow, Net, Plan};
use crate::scene::START;
use crate::trace::Trace;
use crate::world::World;
use apps::engine::SchedulerKind;
use mptcp::{Coupling, Versions};
use stack::tcp::congestion::Algorithm;
use stack::time::Duration;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use testbed::link::Shape;

/// Every cell draws its losses from this.
const SEED: u64 = 1;
/// How often is looked at what has come.
const TICK: Duration = Duration::from_millis(100);
/// Goodput after a step is that of so many ticks.
const TICKS: u32 = 10;
/// A step has been followed once so much of the new level is there, in tenths.
const LEVEL: f64 = 0.9;
/// The steps of a line's rate, and until when each is looked at.
const STEPS: [(Duration, Duration); 2] = [(Step::FALLS, Step::RISES), (Step::RISES, Step::ENDS)];
/// Longer than any cell.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

/// What one run brought.
#[derive(Clone, Debug)]
struct Run {
    /// Octets that had come by the end of each tick.
    curve: Vec<u64>,
    /// Octets of frames by each access network in the window, data's direction.
    carried: Vec<u64>,
    /// When what was under way at each step of a line's rate had come.
    drained: [Duration; 2],
    /// What the boxes counted.
    counters: Vec<(&'static str, BTreeMap<String, u64>)>,
}

impl Run {
    /// Octets by the end of `at` from the start.
    fn by(&self, at: Duration) -> u64 {
        let tick = usize::try_from(at.as_millis() / TICK.as_millis()).unwrap_or(usize::MAX);
        self.curve[tick.min(self.curve.len() - 1)]
    }

    /// Mbit/s between two moments.
    fn goodput(&self, [from, to]: [Duration; 2]) -> f64 {
        (self.by(to) - self.by(from)) as f64 * 8.0 / seconds(to - from) / 1e6
    }

    /// Mbit/s in a window: between the means of what had come by the moments of its first quarter and of its last. What
    /// waits at the far end for a piece from the slow line comes all at once, megabytes of it; what had come by one moment
    /// says as much of that moment as of the window.
    fn steady(&self, [from, to]: [Duration; 2]) -> f64 {
        let span = (to - from) / 4;
        let ticks = span.as_millis() / TICK.as_millis();
        let mean = |begin: Duration| {
            let sum: u64 = (1..=ticks)
                .map(|n| self.by(begin + TICK * u32::try_from(n).unwrap_or(0)))
                .sum();
            sum as f64 / ticks as f64
        };
        (mean(to - span) - mean(from)) * 8.0 / seconds(to - span - from) / 1e6
    }

    /// Seconds after step number `step` until a second's goodput is near `level`, of what was sent after it: what was under
    /// way then must have come before. At most until `end`.
    fn follows(&self, step: usize, level: f64, end: Duration) -> f64 {
        let second = TICK * TICKS;
        let mut then = self.drained[step] + second;
        while then < end && self.goodput([then - second, then]) < LEVEL * level {
            then += TICK;
        }
        seconds(then - STEPS[step].0)
    }
}

/// What came of a cell in one direction. Rates are Mbit/s.
#[derive(Clone, Debug)]
pub struct Measured {
    /// The cell.
    pub cell: Cell,
    /// Which way the data went.
    pub way: Way,
    /// What came of it.
    pub goodput: f64,
    /// What one TCP reaches on the lines that count.
    pub ideal: f64,
    /// What full segments carry on the lines that count; `None` where losses or a step forbid to fill them.
    pub raw: Option<f64>,
    /// What one TCP reaches on the primary line alone.
    pub primary: f64,
    /// What one TCP reaches on the better line alone.
    pub best: f64,
    /// The part of all frames' octets that the secondary line carried.
    pub by_secondary: f64,
    /// Seconds until the fall and the rise of a line's rate were followed, and what one TCP on that line needs.
    pub steps: Option<[[f64; 2]; 2]>,
    /// What the boxes counted.
    pub counters: Vec<(&'static str, BTreeMap<String, u64>)>,
}

/// Told after each run: how many there have been, of how many.
pub type Progress<'a> = &'a (dyn Fn(usize, usize) + Sync);

/// A run that is due.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Job {
    /// Both lines of a cell.
    Both(Cell, Way),
    /// One line, which is access network number `access`, between hosts of `host` Mbit/s.
    Alone {
        line: Line,
        access: usize,
        way: Way,
        window: [Duration; 2],
        host: u64,
    },
}

impl Job {
    fn alone(cell: &Cell, at: usize, way: Way) -> Self {
        Self::Alone {
            line: cell.lines[at],
            access: at + 1,
            way,
            window: cell.window(),
            host: cell.host,
        }
    }

    const fn way(&self) -> Way {
        match self {
            Self::Both(_, way) | Self::Alone { way, .. } => *way,
        }
    }

    fn window(&self) -> [Duration; 2] {
        match self {
            Self::Both(cell, _) => cell.window(),
            Self::Alone { window, .. } => *window,
        }
    }

    fn plan(&self) -> Plan {
        match *self {
            Self::Both(cell, way) => plan(
                Chain::Bonded(2),
                &cell.lines,
                (cell.host, way),
                cell.scheduler,
            ),
            Self::Alone {
                line,
                access,
                way,
                host,
                ..
            } => plan(
                Chain::Relayed(access),
                &[line],
                (host, way),
                SchedulerKind::default(),
            ),
        }
    }

    fn run(&self) -> Result<Run, Failure> {
        let plan = self.plan();
        let [from, to] = self.window();
        let mut world = World::new(&plan, Trace::default());
        let (which, lane) = (1 - self.way().sender(), self.way().lane());
        let accesses = 1..plan.net.chain.cables() - 1;
        let carried = |world: &World| -> Vec<u64> {
            let all = accesses.clone();
            all.map(|cable| world.carried(cable, lane)).collect()
        };
        let frames = |world: &World| -> Vec<[u64; 2]> {
            let all = accesses.clone();
            all.map(|cable| world.frames(cable, lane)).collect()
        };
        let (mut curve, mut before) = (vec![0], vec![0; accesses.len()]);
        let (mut under_way, mut drained) = ([const { Vec::new() }; 2], [Duration::ZERO; 2]);
        let mut at = Duration::ZERO;
        while at < to {
            at += TICK;
            world.run_until(START + at)?;
            curve.push(world.received(0, which));
            if at == from {
                before = carried(&world);
            }
            for step in 0..STEPS.len() {
                if at == STEPS[step].0 {
                    under_way[step] = frames(&world);
                }
                let mut came = frames(&world).into_iter().zip(&under_way[step]);
                if came.any(|([_, arrived], [taken, _])| arrived < *taken) {
                    drained[step] = at + TICK;
                }
            }
        }
        let after = carried(&world);
        Ok(Run {
            curve,
            drained: [0, 1].map(|step: usize| drained[step].max(STEPS[step].0)),
            carried: after.iter().zip(before).map(|(a, b)| a - b).collect(),
            counters: world.counters(),
        })
    }
}

/// Runs `cells` both ways on all cores, each line of theirs alone once.
///
/// # Errors
/// What must not be in any of the runs.
pub fn measure(cells: &[Cell], progress: Progress<'_>) -> Result<Vec<Measured>, Failure> {
    let mut jobs = Vec::new();
    for cell in cells {
        for way in Way::ALL {
            let alone = [0, 1].map(|at| Job::alone(cell, at, way));
            for job in [Job::Both(*cell, way), alone[0], alone[1]] {
                if !jobs.contains(&job) {
                    jobs.push(job);
                }
            }
        }
    }
    let runs = run_all(&jobs, progress)?;
    let find = |job: &Job| {
        let at = jobs.iter().position(|other| other == job);
        &runs[at.expect("every run of a cell is among the jobs")]
    };
    let all = cells
        .iter()
        .flat_map(|cell| Way::ALL.map(|way| (cell, way)));
    let all = all.map(|(cell, way)| {
        let both = find(&Job::Both(*cell, way));
        let alone = [0, 1].map(|at| find(&Job::alone(cell, at, way)));
        measured(cell, way, both, alone)
    });
    Ok(all.collect())
}

fn run_all(jobs: &[Job], progress: Progress<'_>) -> Result<Vec<Run>, Failure> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let slots: Vec<Mutex<Option<Result<Run, Failure>>>> =
        jobs.iter().map(|_| Mutex::new(None)).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(at) else { return };
                    let run = job.run();
                    if let Ok(mut slot) = slots[at].lock() {
                        *slot = Some(run);
                    }
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, jobs.len());
                }
            });
        }
    });
    let runs = slots.into_iter().map(|slot| {
        let run = slot.into_inner().unwrap_or_default();
        run.expect("every job was run")
    });
    runs.collect()
}

fn measured(cell: &Cell, way: Way, both: &Run, alone: [&Run; 2]) -> Measured {
    let window = cell.window();
    let each = alone.map(|run| run.steady(window));
    let raws = cell.lines.map(|line| line.raw(way) as f64 / 1e6);
    let of = |of: [f64; 2]| match cell.goal() {
        Goal::Sum => of[0] + of[1],
        Goal::Best => of[0].max(of[1]),
        Goal::Primary => of[0],
    };
    let host = Line::new(cell.host, 0).raw(way) as f64 / 1e6;
    let full = |line: &Line| line.loss == Loss::None && line.step.is_none();
    let all: u64 = both.carried.iter().sum();
    Measured {
        cell: *cell,
        way,
        goodput: both.steady(window),
        ideal: of(each),
        raw: cell.lines.iter().all(full).then(|| of(raws).min(host)),
        primary: each[0],
        best: each[0].max(each[1]),
        by_secondary: both.carried[1] as f64 / all.max(1) as f64,
        steps: steps(cell, both, alone),
        counters: both.counters.clone(),
    }
}

/// How long both lines need after each step of one of them, and how long that one alone.
fn steps(cell: &Cell, both: &Run, alone: [&Run; 2]) -> Option<[[f64; 2]; 2]> {
    let at = cell.lines.iter().position(|line| line.step.is_some())?;
    Some([0, 1].map(|step| {
        let end = STEPS[step].1;
        // What each brings by the end of the phase is its level.
        let level = alone.map(|run| run.goodput([end - Duration::from_secs(3), end]));
        [
            both.follows(step, level[0] + level[1], end),
            alone[at].follows(step, level[at], end),
        ]
    }))
}

/// What a box may hold for a connection over `lines`: twice what all of them carry in the longest round trip, with a full
/// queue (RFC 6182 5.3), and no less than where nothing is configured.
fn buffer(lines: &[Line], way: Way) -> u32 {
    let rates: u64 = lines.iter().map(|line| line.rate(way) / 8).sum();
    let longest = lines.iter().map(Line::longest_rtt).max().unwrap_or(0);
    let octets = u32::try_from(2 * rates * longest / 1000).unwrap_or(u32::MAX);
    octets.max(apps::engine::Limits::default().buffer)
}

/// One flow of endless data between hosts that are no limit.
fn plan(chain: Chain, lines: &[Line], (host, way): (u64, Way), scheduler: SchedulerKind) -> Plan {
    let near = Shape {
        rate: host * 1_000_000,
        delay: Duration::from_micros(100),
        ..Shape::default()
    };
    let mut shapes = vec![near];
    shapes.extend(lines.iter().map(|line| shape(line, way)));
    shapes.push(near);
    let habits = Habits {
        buffer: 16 << 20,
        timestamps: true,
        reno: false,
        mtu: 1500,
        ecn: false,
        nagle: true,
        gives_up: false,
    };
    let mut sizes = [0; 2];
    sizes[way.sender()] = u64::MAX / 2;
    let faults = (1..).zip(lines);
    Plan {
        seed: SEED,
        net: Net {
            chain,
            family: Family::V4,
            versions: [Versions::V1; 2],
            checksum: [false; 2],
            scheduler,
            congestion: Coupling::Uncoupled,
            tcp_congestion: Algorithm::Cubic,
            tcp_pacing: false,
            announced: false,
            rounds: [None; 2],
            buffer: buffer(lines, way),
            pool: 1 << 16,
            pending: 50,
            workers: [1; 2],
            spreads: [true; 2],
            habits: [habits; 2],
            shapes,
        },
        flows: vec![Flow {
            opens: Duration::ZERO,
            inbound: false,
            v6: false,
            sizes,
            close: [Close::AfterPeer; 2],
            pause: [None; 2],
        }],
        faults: faults
            .flat_map(|(cable, line)| faults_of(cable, line))
            .collect(),
        without: None,
    }
}

fn shape(line: &Line, way: Way) -> Shape {
    Shape {
        queue: Some(line.queue_octets(way)),
        delay: Duration::from_millis(line.rtt) / 2,
        ..Shape::default()
    }
}

/// What is said of each direction by itself.
fn faults_of(cable: usize, line: &Line) -> Vec<Fault> {
    let mut faults = Vec::new();
    for way in Way::ALL {
        let mut ill = |ill, from, lasts| {
            faults.push(Fault::Lane {
                cable,
                lane: way.lane(),
                ill,
                from,
                lasts,
            });
        };
        ill(Ill::Rate(line.rate(way)), Duration::ZERO, FOR_EVER);
        if let Some(Step { to }) = line.step {
            let lasts = Step::RISES - Step::FALLS;
            ill(Ill::Rate(to * 1_000_000), Step::FALLS, lasts);
        }
        match line.loss {
            Loss::Each(share) => ill(Ill::Loss(share), Duration::ZERO, FOR_EVER),
            Loss::Up(share) if way == Way::Up => ill(Ill::Loss(share), Duration::ZERO, FOR_EVER),
            Loss::Rows(enter) => {
                let (leave, most) = (ROW_ENDS, ROW_MOST);
                ill(Ill::Row { enter, leave, most }, Duration::ZERO, FOR_EVER);
            },
            Loss::None | Loss::Up(_) => {},
        }
    }
    faults
}

fn seconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::super::table::judge;
    use super::*;

    #[test]
    fn what_waits_for_a_gap_at_the_ends_of_a_window_moves_its_goodput_little() {
        let window = [Duration::from_secs(20), Duration::from_secs(50)];
        let mut moments = 0.0_f64;
        for phase in 0..30 {
            // A megabit each tenth of a second, of which the last three seconds' come at once.
            let curve = (0..600).map(|tick| (tick + phase) / 30 * 30 * 125_000);
            let run = Run {
                curve: curve.collect(),
                carried: Vec::new(),
                drained: [Duration::ZERO; 2],
                counters: Vec::new(),
            };
            let steady = run.steady(window);
            assert!((9.8..10.2).contains(&steady), "{phase}: {steady}");
            let late = [window[0], window[1] - Duration::from_millis(1_500)];
            moments = moments.max((run.goodput(late) - 10.0).abs());
        }
        assert!(moments > 0.4, "{moments}");
    }

    /// Both lines and each alone, towards the client and away from it.
    fn run(cell: Cell) -> Vec<Measured> {
        measure(&[cell], &|_, _| {}).unwrap()
    }

    #[test]
    fn m29_two_lines_bring_what_tcp_brings_on_each() {
        for one in run(Cell::new(
            [Line::new(2, 20), Line::new(3, 40)],
            SchedulerKind::Overflow,
        )) {
            assert!(judge(&one).is_empty(), "{one:?}");
            assert!((0.5..0.7).contains(&one.by_secondary), "{one:?}");
            // The lines cannot carry more than they have, and one TCP fills each.
            assert!(one.goodput < 4.8 && one.ideal < 4.8, "{one:?}");
            assert!(one.ideal > 0.95 * one.raw.unwrap(), "{one:?}");
        }
    }

    #[test]
    fn m29_a_line_a_hundred_times_slower_does_not_hold_up_the_quick_one() {
        let lines = [Line::new(3, 10), Line::new(1, 1000)];
        for scheduler in [SchedulerKind::LowestRtt, SchedulerKind::Overflow] {
            for one in run(Cell::new(lines, scheduler)) {
                assert!(one.goodput >= 0.98 * one.primary, "{one:?}");
            }
        }
    }
}
