//! The clients: when a connection is opened and a request begun, and what one of them does on its connection.

use core::net::IpAddr;
use mptcp::Stream;
use stack::slab::Handle;
use stack::time::Duration;
use stack::{Instant, PacketBuf};

use crate::config::{Client, Config, Role};
use crate::pattern::{Pattern, SEEDS};
use crate::report::{Found, Stats};
use crate::search::Searching;
use crate::server::Wrong;
use crate::stream::{WINDOW, has_room};

/// How long the last requests have, once no more are begun.
const GRACE: Duration = Duration::from_secs(2);

/// Requests begun, and connections opened or closed, in one turn at most: bursts stay as long as those of a port.
pub(crate) const PER_TURN: usize = 32;

/// Requests at a steady rate, by the clock and not by what became of earlier ones.
#[derive(Clone, Copy, Debug)]
struct Pace {
    since: Instant,
    rate: u64,
    /// How many were begun.
    begun: u64,
}

impl Pace {
    const fn new(since: Instant, rate: u64) -> Self {
        Self {
            since,
            rate,
            begun: 0,
        }
    }

    /// How many are due by `now`.
    fn due(&self, now: Instant) -> u64 {
        let due = now.since(self.since).as_nanos() * u128::from(self.rate) / 1_000_000_000;
        u64::try_from(due).unwrap_or(u64::MAX)
    }

    /// When the next one is due.
    fn next(&self) -> Instant {
        let nanos = u128::from(self.begun + 1) * 1_000_000_000 / u128::from(self.rate.max(1));
        self.since + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

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
    pub(crate) plan: Client,
    /// Each host's address on the port of first subflows.
    hosts: Vec<IpAddr>,
    /// Each host's addresses on the further ports.
    further: Vec<Vec<IpAddr>>,
    /// Connections opened so far.
    opened: u64,
    /// Connections that wait for a request.
    pub(crate) idle: Vec<Handle>,
    /// Connections that are to be closed.
    pub(crate) parting: Vec<Handle>,
    /// Requests under way.
    pub(crate) busy: u64,
    /// Requests that ended in this trial, well or not.
    pub(crate) over: u64,
    pace: Pace,
    phase: Phase,
    until: Instant,
    search: Option<Searching>,
    /// Segments sent, and sent again, when the trial began.
    segments: (u64, u64),
}

impl Clients {
    pub(crate) fn new(config: &Config, plan: &Client, now: Instant) -> Self {
        let of_family = |net: &&ipnet::IpNet| net.addr().is_ipv4() == plan.to.is_ipv4();
        let mut ports = config.ports_of(Role::Client).map(|(_, port)| {
            let first = port.addresses.iter().find(of_family);
            let hosts = first.into_iter();
            let all = hosts.flat_map(|&first| (0..port.hosts).map(move |n| (first, n)));
            all.map(|(first, n)| crate::config::nth(first, n).addr())
                .collect::<Vec<_>>()
        });
        let mut clients = Self {
            plan: plan.clone(),
            hosts: ports.next().unwrap_or_default(),
            further: ports.filter(|hosts| !hosts.is_empty()).collect(),
            opened: 0,
            idle: Vec::new(),
            parting: Vec::new(),
            busy: 0,
            over: 0,
            pace: Pace::new(now, plan.rate),
            phase: Phase::Warmup,
            until: now + plan.warmup,
            search: plan.search.map(Searching::new),
            segments: (0, 0),
        };
        if clients.search.is_some() {
            clients.begin_trial(now);
        }
        clients
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
        let patient = now.since(started) < self.plan.timeout;
        match self.phase {
            Phase::Warmup if patient => self.until = now + self.plan.warmup,
            Phase::Trial(false) if patient => self.begin_trial(now),
            _ => {},
        }
    }

    /// Whether requests begin by the clock.
    pub(crate) const fn is_paced(&self) -> bool {
        self.pace.rate > 0
    }

    /// When the next request is due, if it is by now; the caller begins it.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        (self.asks() && self.pace.due(now) > self.pace.begun).then(|| self.pace.next())
    }

    pub(crate) const fn begun(&mut self) {
        self.pace.begun += 1;
    }

    /// When there is something to do though nothing arrives.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.is_over() {
            return None;
        }
        let paced = self.is_paced() && self.asks();
        stack::time::earlier(Some(self.until), paced.then(|| self.pace.next()))
    }

    /// Goes on to the next phase when the present one is over. `segments` are those sent, and sent again, since the start.
    /// Whether everything that is open is to be closed from now on.
    pub(crate) fn advance(
        &mut self,
        now: Instant,
        stats: &mut Stats,
        segments: (u64, u64),
        live: usize,
    ) -> bool {
        let due = now >= self.until;
        match self.phase {
            Phase::Warmup if due => self.measure(now, stats),
            Phase::Trial(false) if due => {
                stats.begin(now);
                self.segments = segments;
                self.phase = Phase::Trial(true);
                self.until = now + self.trial();
            },
            Phase::Trial(true) if due => {
                let lost = self.lost(now, stats, segments);
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
            Phase::Draining(true) if due || self.busy == 0 => self.begin_trial(now),
            Phase::Draining(false) if due || self.busy == 0 => {
                let rate = self.search.as_ref().map_or(0, |search| search.rate);
                if rate == 0 {
                    self.end(now);
                    return true;
                }
                self.pace = Pace::new(now, rate);
                self.phase = Phase::Warmup;
                self.until = now + self.plan.warmup;
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

    fn measure(&mut self, now: Instant, stats: &mut Stats) {
        stats.begin(now);
        if self.is_paced() {
            // What was due while all came to be is not what is measured.
            self.pace = Pace::new(now, self.pace.rate);
        }
        self.phase = Phase::Measuring;
        self.until = now + self.plan.duration;
    }

    fn end(&mut self, now: Instant) {
        self.phase = Phase::Ending;
        // What was begun by the clock ends, or is given up, in its own time: so nothing is left behind in the box under test.
        let most = if self.is_paced() {
            self.plan.timeout.max(GRACE)
        } else {
            GRACE
        };
        self.until = now + most;
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
        self.pace = Pace::new(now, rate);
        self.over = 0;
        self.phase = Phase::Trial(false);
        self.until = now + self.trial() / 4;
    }

    /// What was lost in a trial, in parts per million: requests that failed or are late by more than a fiftieth of it, or
    /// segments that had to be sent again, whichever is more.
    fn lost(&self, now: Instant, stats: &Stats, segments: (u64, u64)) -> u64 {
        let due = self.pace.due(now - self.trial() / 50);
        let late = due.saturating_sub(self.over);
        let asked = self.pace.due(now).max(1);
        let (sent, again) = (segments.0 - self.segments.0, segments.1 - self.segments.1);
        let requests = (late + stats.failed()) * 1_000_000 / asked;
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

/// What a client's connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// A request is under way, or will be once the connection is there.
    Asking,
    /// It waits for the next request.
    Idle,
    /// All its requests are done, and it stays open.
    Held,
    /// It closes.
    Closing,
}

/// What one client does on its connection.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) turn: Turn,
    /// When the request was due.
    pub(crate) due: Instant,
    /// When it was begun: later, if no connection was free.
    pub(crate) begun: Instant,
    seed: u32,
    sent: u64,
    got: u64,
    done: u32,
}

impl Asking {
    /// A client whose first request is due at `due`; `number` tells it from its neighbors.
    pub(crate) fn new(due: Instant, now: Instant, number: u32) -> Self {
        Self {
            turn: Turn::Asking,
            due,
            begun: now,
            seed: number % SEEDS,
            sent: 0,
            got: 0,
            done: 0,
        }
    }

    /// Begins the next request.
    pub(crate) fn ask(&mut self, due: Instant, now: Instant) {
        self.turn = Turn::Asking;
        self.due = due;
        self.begun = now;
        self.seed = (self.seed + 1) % SEEDS;
        self.sent = 0;
        self.got = 0;
    }

    /// Reads what came and sends what there is room for; whether the request is done with that.
    pub(crate) fn run<B: PacketBuf>(
        &mut self,
        plan: &Client,
        stream: &mut Stream<B>,
        pattern: &Pattern<B>,
        stats: &mut Stats,
    ) -> Result<bool, Wrong> {
        while let Some(piece) = stream.take() {
            let end = self.got + piece.len() as u64;
            let asked = self.turn == Turn::Asking && end <= plan.response;
            if !asked || !pattern.matches(self.seed, self.got, piece.bytes()) {
                return Err(Wrong);
            }
            stats.received += piece.len() as u64;
            self.got = end;
        }
        stream.set_recv_room(WINDOW);
        if stream.fin_received() {
            // The server closes after us, and never before.
            if self.turn != Turn::Closing {
                return Err(Wrong);
            }
            stream.accept_fin();
        }
        if self.turn != Turn::Asking {
            return Ok(false);
        }
        if self.sent == 0 {
            stats.asked += 1;
        }
        while self.sent < plan.request && has_room(stream) {
            let piece = pattern.piece(self.seed, self.sent, plan.request - self.sent, true);
            self.sent += piece.len() as u64;
            stream.send(piece);
        }
        Ok(self.sent == plan.request && self.got == plan.response)
    }

    /// Notes that the request is done, and what follows from it.
    pub(crate) fn done(&mut self, plan: &Client) {
        self.done += 1;
        self.turn = match plan.requests {
            requests if requests == 0 || self.done < requests => Turn::Idle,
            _ if plan.hold => Turn::Held,
            _ => Turn::Closing,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_is_kept_by_the_clock() {
        let start = Instant::from_millis(5);
        let mut pace = Pace::new(start, 1_000_000);
        assert_eq!(pace.due(start), 0);
        assert_eq!(pace.next(), start + Duration::from_micros(1));
        assert_eq!(pace.due(start + Duration::from_millis(1)), 1_000);
        pace.begun = 999;
        assert_eq!(pace.next(), start + Duration::from_millis(1));
    }
}
