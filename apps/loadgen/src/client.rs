//! All clients of a run: what it is at, and where the next connection starts from.

use core::net::IpAddr;
use stack::Instant;
use stack::slab::Handle;
use stack::time::{Duration, earlier};

use crate::config::{Config, Role};
use crate::group::Group;
use crate::report::{Books, Found, Stats};
use crate::search::Searching;

/// How long the last requests have, once no more are begun.
const GRACE: Duration = Duration::from_secs(2);

/// Requests begun, and connections opened or closed, in one turn at most: bursts stay as long as those of a port.
pub(crate) const PER_TURN: usize = 32;

/// What a run is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not measured yet.
    Warmup,
    /// A rate of the search; `true` once it has settled and is measured.
    Trial(bool),
    /// The requests of a rate end before the next one is tried, `true`, or the best one is measured.
    Draining(bool),
    /// The result.
    Measuring,
    /// No more requests are begun.
    Ending,
    Over,
}

/// All clients of a run.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) groups: Vec<Group>,
    /// Each host's address on the port of first subflows.
    hosts: Vec<IpAddr>,
    /// Each host's addresses on the further ports.
    further: Vec<Vec<IpAddr>>,
    /// Connections opened so far.
    opened: u64,
    /// Connections that are to be closed.
    pub(crate) parting: Vec<Handle>,
    phase: Phase,
    until: Instant,
    /// How long it runs before it is measured, and then.
    warmup: Duration,
    duration: Duration,
    /// How long anything may take.
    patience: Duration,
    /// Of a run with one group.
    search: Option<Searching>,
    /// Segments sent, and sent again, when the trial began.
    segments: (u64, u64),
}

impl Clients {
    /// The clients of `config`; `None` if there are none. All groups start from the same hosts, and are measured for the same time.
    pub(crate) fn new(config: &Config, now: Instant) -> Option<Self> {
        let plans = &config.clients;
        let plan = plans.first()?;
        let of_family = |net: &&ipnet::IpNet| net.addr().is_ipv4() == plan.to.is_ipv4();
        let mut ports = config.ports_of(Role::Client).map(|(_, port)| {
            let first = port.addresses.iter().find(of_family);
            let hosts = first.into_iter();
            let all = hosts.flat_map(|&first| (0..port.hosts).map(move |n| (first, n)));
            all.map(|(first, n)| crate::config::nth(first, n).addr())
                .collect::<Vec<_>>()
        });
        let mut clients = Self {
            groups: plans.iter().map(|plan| Group::new(plan, now)).collect(),
            hosts: ports.next().unwrap_or_default(),
            further: ports.filter(|hosts| !hosts.is_empty()).collect(),
            opened: 0,
            parting: Vec::new(),
            phase: Phase::Warmup,
            until: now + plan.warmup,
            warmup: plan.warmup,
            duration: plan.duration,
            patience: plans.iter().map(|plan| plan.timeout).max()?,
            search: plan.search.map(Searching::new),
            segments: (0, 0),
        };
        if clients.search.is_some() {
            clients.begin_trial(now);
        }
        Some(clients)
    }

    /// How many connections may be open when `heard` were established: neighbors on the way hold only a few packets for whom
    /// they still ask, so one goes first, and then one of each host.
    pub(crate) const fn known(&self, heard: usize) -> usize {
        match heard {
            0 => 1,
            _ if heard < self.hosts.len() => self.hosts.len(),
            _ => usize::MAX,
        }
    }

    /// The source of the next connection, and the host's number.
    pub(crate) fn next_source(&mut self) -> Option<(usize, IpAddr, u16)> {
        let hosts = self.hosts.len() as u64;
        let number = self.opened;
        self.opened += 1;
        let host = usize::try_from(number.checked_rem(hosts)?).ok()?;
        // RFC 6335 6: the system ports are left out.
        let port = 1024 + (number / hosts) % (65_536 - 1024);
        Some((host, self.hosts[host], u16::try_from(port).ok()?))
    }

    /// The address that subflow `n`, 1 the first further one, of a connection of `host` starts from.
    pub(crate) fn source_of(&self, host: usize, n: usize) -> Option<IpAddr> {
        let port = self.further.get((n - 1) % self.further.len().max(1))?;
        port.get(host % port.len()).copied()
    }

    /// Whether requests are begun.
    pub(crate) const fn asks(&self) -> bool {
        matches!(
            self.phase,
            Phase::Warmup | Phase::Trial(_) | Phase::Measuring
        )
    }

    /// When the connections of a group are opened from; long ago once the warm-up is over.
    pub(crate) fn opens_at(&self, group: &Group) -> Instant {
        match self.phase {
            Phase::Warmup => self.until - self.warmup + group.plan.delay,
            _ => Instant::ZERO,
        }
    }

    pub(crate) const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    pub(crate) const fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending | Phase::Over)
    }

    /// Whether what happens now is the result.
    pub(crate) const fn is_measuring(&self) -> bool {
        matches!(self.phase, Phase::Measuring)
    }

    /// Puts the end of the warm-up, or of a first trial's, off: no connection was established yet since `started`.
    pub(crate) fn wait(&mut self, now: Instant, started: Instant) {
        let patient = now.since(started) < self.patience;
        match self.phase {
            Phase::Warmup if patient => self.until = now + self.warmup,
            Phase::Trial(false) if patient => self.begin_trial(now),
            _ => {},
        }
    }

    /// Requests under way.
    fn busy(&self) -> u64 {
        self.groups.iter().map(|group| group.busy).sum()
    }

    /// When there is something to do though nothing arrives.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let groups = self.groups.iter().filter(|_| self.asks());
        if !self.parting.is_empty() || groups.clone().any(Group::opens) {
            return Some(Instant::ZERO);
        }
        groups.map(Group::next_due).fold(Some(self.until), earlier)
    }

    /// Goes on to the next phase when the present one is over. `segments` are those sent, and sent again, since the start.
    /// Whether everything that is open is to be closed from now on.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        books: &mut Books,
        segments: (u64, u64),
        live: usize,
    ) -> bool {
        let due = now >= self.until;
        match self.phase {
            Phase::Warmup if due => self.measure(now, books),
            Phase::Trial(false) if due => {
                books.begin(now, self.groups.iter().map(|group| group.live));
                self.segments = segments;
                self.phase = Phase::Trial(true);
                self.until = now + self.trial();
            },
            Phase::Trial(true) if due => {
                let lost = self.lost(now, books, segments);
                let more = self
                    .search
                    .as_mut()
                    .is_some_and(|search| search.judge(lost));
                if !more && let Some(search) = &mut self.search {
                    search.rate = search.best();
                }
                self.phase = Phase::Draining(more);
                self.until = now + GRACE;
            },
            Phase::Draining(true) if due || self.busy() == 0 => self.begin_trial(now),
            Phase::Draining(false) if due || self.busy() == 0 => {
                let rate = self.search.as_ref().map_or(0, |search| search.rate);
                if rate == 0 {
                    self.end(now);
                    return true;
                }
                self.keep(now, rate);
                self.phase = Phase::Warmup;
                self.until = now + self.warmup;
            },
            Phase::Measuring if due => {
                self.end(now);
                return true;
            },
            Phase::Ending if live == 0 || (due && self.parting.is_empty()) => {
                self.phase = Phase::Over;
            },
            _ => {},
        }
        false
    }

    /// Has all groups keep `rate` from now on.
    fn keep(&mut self, now: Instant, rate: u64) {
        for group in &mut self.groups {
            group.keep(now, rate);
        }
    }

    fn measure(&mut self, now: Instant, books: &mut Books) {
        books.begin(now, self.groups.iter().map(|group| group.live));
        for group in &mut self.groups {
            group.begin(now);
        }
        self.phase = Phase::Measuring;
        self.until = now + self.duration;
    }

    fn end(&mut self, now: Instant) {
        self.phase = Phase::Ending;
        // What was begun by the clock ends, or is given up, in its own time: so nothing is left behind in the box under test.
        let paced = self.groups.iter().filter(|group| group.is_paced());
        let most = paced.map(|group| group.plan.timeout).max();
        self.until = now + most.map_or(GRACE, |most| most.max(GRACE));
    }

    /// No more requests; what was measured so far is the result.
    pub(crate) fn stop(&mut self, now: Instant) -> bool {
        let first = !self.is_ending();
        if first {
            self.end(now);
        }
        first
    }

    fn trial(&self) -> Duration {
        self.search
            .as_ref()
            .map_or(Duration::ZERO, |search| search.settings.trial)
    }

    fn begin_trial(&mut self, now: Instant) {
        let rate = self.search.as_ref().map_or(0, |search| search.rate);
        self.keep(now, rate);
        for group in &mut self.groups {
            group.over = 0;
        }
        self.phase = Phase::Trial(false);
        self.until = now + self.trial() / 4;
    }

    /// What was lost in a trial, in parts per million: requests that failed or are late by more than a fiftieth of it, or
    /// segments that had to be sent again, whichever is more.
    fn lost(&self, now: Instant, books: &Books, segments: (u64, u64)) -> u64 {
        let sum = |of: &dyn Fn(&Group) -> u64| self.groups.iter().map(of).sum::<u64>();
        let due = sum(&|group| group.due(now - self.trial() / 50));
        let late = due.saturating_sub(sum(&|group| group.over));
        let asked = sum(&|group| group.due(now)).max(1);
        let (sent, again) = (segments.0 - self.segments.0, segments.1 - self.segments.1);
        let requests = (late + books.sum(Stats::failed)) * 1_000_000 / asked;
        requests.max(again * 1_000_000 / sent.max(1))
    }

    /// What the search found.
    pub(crate) fn found(&self) -> Option<Found> {
        self.search.as_ref().map(|search| Found {
            rate: search.best(),
            trials: search.trials.clone(),
        })
    }
}
