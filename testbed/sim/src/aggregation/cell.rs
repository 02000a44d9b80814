//! One cell: two lines, what goes wrong on them, and how data is given to them.

use apps::engine::SchedulerKind;
use core::fmt;
use stack::time::Duration;
use testbed::link::MILLION;

/// Octets of an Ethernet frame with a full segment, and of TCP's payload in it beside timestamps.
const FULL: [u64; 2] = [1514, 1448];

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the client.
    Down,
    /// From the client.
    Up,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Down, Self::Up];

    /// The number of the host that sends: the client is 0.
    #[must_use]
    pub const fn sender(self) -> usize {
        match self {
            Self::Down => 1,
            Self::Up => 0,
        }
    }

    /// The lane that data goes by.
    #[must_use]
    pub const fn lane(self) -> usize {
        self.sender()
    }

    /// As it stands in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Up => "up",
        }
    }
}

/// Which frames a line loses beyond those for which its queue has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// None.
    None,
    /// So many of a million, both ways.
    Each(u32),
    /// So many of a million that go away from the client; none of those that go towards it.
    Up(u32),
    /// One after the other, both ways: of a million frames so many begin a row, which is four long in the mean.
    Rows(u32),
}

/// A row of losses ends with one frame in four,
pub(super) const ROW_ENDS: u32 = MILLION / 4;
/// and after so long in any case: by frames alone a row would go on for minutes that met a window's last segments, as
/// whoever repairs them waits twice as long for each that is lost.
pub(super) const ROW_MOST: Duration = Duration::from_millis(100);

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: u32| f64::from(share) * 100.0 / f64::from(MILLION);
        let text = match *self {
            Self::None => "0".to_owned(),
            Self::Each(share) => format!("{}%", percent(share)),
            Self::Up(share) => format!("up {}%", percent(share)),
            Self::Rows(share) => format!("rows {}%", percent(share)),
        };
        f.pad(&text)
    }
}

/// An access network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Megabits of frames per second, towards the client and away from it.
    pub rates: [u64; 2],
    /// Milliseconds there and back.
    pub rtt: u64,
    /// What its queues hold, in tenths of what is under way on it when its data direction is full.
    pub queue: u64,
    /// What it loses.
    pub loss: Loss,
    /// How its rate changes.
    pub step: Option<Step>,
}

impl Line {
    /// A line of `rate` Mbit/s both ways and a round trip of `rtt` ms; its queues hold one product of both.
    #[must_use]
    pub const fn new(rate: u64, rtt: u64) -> Self {
        Self {
            rates: [rate; 2],
            rtt,
            queue: 10,
            loss: Loss::None,
            step: None,
        }
    }

    /// The same with `rate` Mbit/s away from the client.
    #[must_use]
    pub const fn upwards(mut self, rate: u64) -> Self {
        self.rates[1] = rate;
        self
    }

    /// The same with a rate that falls to `to` Mbit/s, and comes back.
    #[must_use]
    pub const fn falling_to(mut self, to: u64) -> Self {
        self.step = Some(Step { to });
        self
    }

    /// Bits per second of frames that go `way`.
    #[must_use]
    pub const fn rate(&self, way: Way) -> u64 {
        match way {
            Way::Down => self.rates[0] * 1_000_000,
            Way::Up => self.rates[1] * 1_000_000,
        }
    }

    /// Octets that its queues hold.
    #[must_use]
    pub const fn queue_octets(&self, way: Way) -> u64 {
        self.rate(way) / 8 * self.rtt / 1000 * self.queue / 10
    }

    /// Milliseconds there and back while its queue is full.
    #[must_use]
    pub const fn longest_rtt(&self) -> u64 {
        self.rtt + self.rtt * self.queue / 10
    }

    /// Bits of payload per second that full segments of TCP carry at its rate.
    #[must_use]
    pub const fn raw(&self, way: Way) -> u64 {
        self.rate(way) / FULL[0] * FULL[1]
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [down, up] = self.rates;
        let rate = if down == up {
            down.to_string()
        } else {
            format!("{down}-{up}")
        };
        let step = self.step.map_or(String::new(), |step| step.to_string());
        f.pad(&format!("{rate}{step}/{}", self.rtt))
    }
}

/// A line's rate falls, and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Mbit/s in between.
    pub to: u64,
}

impl Step {
    /// When it falls, from the start.
    pub const FALLS: Duration = Duration::from_secs(6);
    /// When it comes back.
    pub const RISES: Duration = Duration::from_secs(13);
    /// When that has been looked at for long enough.
    pub const ENDS: Duration = Duration::from_secs(20);
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ">{}", self.to)
    }
}

/// What a cell is to reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Both lines together.
    Sum,
    /// The better of both: all data goes by each, which is bought with the other line's capacity.
    Best,
    /// The first line, by which all of it fits: the second costs more, and must not be used.
    Primary,
}

/// One cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The primary line and the secondary one.
    pub lines: [Line; 2],
    /// How data is given to them.
    pub scheduler: SchedulerKind,
    /// Mbit/s of frames of the sender's own link.
    pub host: u64,
}

/// All schedulers but the one that is used by default.
pub const OTHERS: [SchedulerKind; 5] = [
    SchedulerKind::LowestRtt,
    SchedulerKind::Weighted,
    SchedulerKind::Redundant,
    SchedulerKind::Blest,
    SchedulerKind::Ecf,
];

/// As a scheduler stands in the table, and in configurations.
#[must_use]
pub const fn name(scheduler: SchedulerKind) -> &'static str {
    match scheduler {
        SchedulerKind::Overflow => "overflow",
        SchedulerKind::LowestRtt => "lowest-rtt",
        SchedulerKind::Weighted => "weighted",
        SchedulerKind::Redundant => "redundant",
        SchedulerKind::Blest => "blest",
        SchedulerKind::Ecf => "ecf",
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [primary, secondary] = self.lines;
        let (queue, scheduler) = (primary.queue as f64 / 10.0, name(self.scheduler));
        write!(
            f,
            "{primary} {secondary} {queue} {} {scheduler}",
            primary.loss
        )
    }
}

/// Mbit/s of hosts' links, where they are not to be the limit.
pub const HOST: u64 = 1_000;

impl Cell {
    /// A cell of two lines whose hosts are no limit.
    #[must_use]
    pub const fn new(lines: [Line; 2], scheduler: SchedulerKind) -> Self {
        Self {
            lines,
            scheduler,
            host: HOST,
        }
    }

    /// The same with queues of `tenths` of a product of bandwidth and delay.
    #[must_use]
    pub fn queue(mut self, tenths: u64) -> Self {
        self.lines.iter_mut().for_each(|line| line.queue = tenths);
        self
    }

    /// The same with lines that lose frames.
    #[must_use]
    pub fn loss(mut self, loss: Loss) -> Self {
        self.lines.iter_mut().for_each(|line| line.loss = loss);
        self
    }

    /// The same with a sender that has so many Mbit/s.
    #[must_use]
    pub const fn host(mut self, rate: u64) -> Self {
        self.host = rate;
        self
    }

    /// What it is to reach.
    #[must_use]
    pub fn goal(&self) -> Goal {
        if self.scheduler == SchedulerKind::Redundant {
            Goal::Best
        } else if self.host < HOST {
            Goal::Primary
        } else {
            Goal::Sum
        }
    }

    /// Between which two moments its goodput is taken: past slow start, and for some of the sawteeth of a lossy line.
    #[must_use]
    pub fn window(&self) -> [Duration; 2] {
        if self.lines.iter().any(|line| line.step.is_some()) {
            return [Step::FALLS, Step::ENDS];
        }
        let lossy = self.lines.iter().any(|line| line.loss != Loss::None);
        let far = self.lines.iter().any(|line| line.rtt >= 200);
        let deep = self.lines.iter().any(|line| line.queue > 10);
        let seconds = |n| Duration::from_secs(n);
        match (lossy, far) {
            (false, false) => [seconds(5), seconds(15)],
            (false, true) if deep => [seconds(40), seconds(80)],
            (false, true) => [seconds(20), seconds(50)],
            (true, false) => [seconds(5), seconds(45)],
            (true, true) => [seconds(20), seconds(100)],
        }
    }
}
