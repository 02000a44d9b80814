//! Both ends as one app of a worker.

use dataplane::{App, CoreId, Owner, PortInfo, Received};
use stack::ip::NetError;
use stack::time::earlier;
use stack::{Frame, Instant, PacketBuf, PortId, Rng};
use std::rc::Rc;

use crate::client::Clients;
use crate::config::{Config, ConfigError, Role};
use crate::end::{End, Hosts};
use crate::pattern::Pattern;
use crate::report::{Report, Stats};

/// The load generator: clients, a server, or both, each on its own ports.
pub struct Flowgen<B> {
    client: Option<End<B>>,
    server: Option<End<B>>,
    /// The names of the groups of clients.
    names: Vec<String>,
    /// Which end each port is.
    roles: Vec<Role>,
    /// When a server without clients in this process ends.
    until: Option<Instant>,
    now: Instant,
    over: bool,
}

/// A run as it stands, for a line of progress.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// The time.
    pub now: Instant,
    /// Whether what happens now is the result: the warm-up, and a search, are over.
    pub measuring: bool,
    /// Connections open at the clients, or else at the server.
    pub live: usize,
    /// Connections established since the measurement began.
    pub established: u64,
    /// Requests done since then.
    pub answered: u64,
    /// Payload that either end received and verified since then, octets.
    pub received: u64,
    /// Connections that failed since then.
    pub failed: u64,
}

impl<B: PacketBuf> Flowgen<B> {
    /// What `config` asks for. `ports` are what its ports are, in their order, `fill` makes a buffer of the
    /// port's kind with given octets, `seed` is the operating system's randomness, or fixed in tests.
    ///
    /// # Errors
    /// The addresses make no network, or `fill` has no buffers.
    pub fn new(
        config: &Config,
        ports: &[PortInfo],
        fill: &mut dyn FnMut(&[u8]) -> Option<B>,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let sizes = config.clients.iter();
        let sizes = sizes.map(|plan| (plan.request, plan.response));
        let pattern = Pattern::new(sizes, fill).map(Rc::new);
        let pattern = pattern.ok_or_else(|| {
            ConfigError::Wrong("no buffers for the payload: give the worker more memory_mb".into())
        })?;
        let mut rng = Rng::from_seed(seed);
        let mut end = |role, hosts, most| -> Result<End<B>, NetError> {
            let mut seed = [0; 32];
            rng.fill(&mut seed);
            let net = config.net(role, ports);
            End::new(
                net,
                hosts,
                most,
                Rc::clone(&pattern),
                Rng::from_seed(seed),
                now,
            )
        };
        let client = Clients::new(config, now).map(|clients| {
            let most = config.clients.iter().map(|plan| plan.connections).sum();
            end(Role::Client, Hosts::Clients(Box::new(clients)), most)
        });
        let client = client.transpose()?;
        let server = config.server.as_ref().map(|server| {
            let hosts = Hosts::Server(server.clone());
            end(Role::Server, hosts, server.connections)
        });
        let mut server = server.transpose()?;
        if let Some(server) = &mut server {
            server.books.begin(now, [0]);
        }
        let lasts = config.server.as_ref().and_then(|server| server.duration);
        Ok(Self {
            until: lasts.filter(|_| client.is_none()).map(|lasts| now + lasts),
            client,
            server,
            names: config
                .clients
                .iter()
                .map(|plan| plan.name.clone())
                .collect(),
            roles: config.ports.iter().map(|port| port.role).collect(),
            now,
            over: false,
        })
    }

    /// Whether the run has come to its end.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// Begins no more requests; what was measured so far is the result.
    pub fn stop(&mut self) {
        match &mut self.client {
            Some(end) => {
                if let Hosts::Clients(clients) = &mut end.hosts
                    && clients.stop(self.now)
                {
                    end.freeze(self.now);
                    end.close_all();
                }
            },
            None => self.until = Some(self.now),
        }
    }

    /// The time of the last turn.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// How the run stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let ends = [self.client.as_ref(), self.server.as_ref()];
        let first = ends.into_iter().flatten().next();
        let of_first = |f: fn(&Stats) -> u64| first.map_or(0, |end| end.books.sum(f));
        Snapshot {
            now: self.now,
            measuring: match first.map(|end| &end.hosts) {
                Some(Hosts::Clients(clients)) => clients.is_measuring(),
                _ => true,
            },
            live: first.map_or(0, |end| end.live),
            established: of_first(|stats| stats.established),
            answered: of_first(|stats| stats.answered),
            received: ends
                .into_iter()
                .flatten()
                .map(|end| end.books.sum(|stats| stats.received))
                .sum(),
            failed: of_first(Stats::failed),
        }
    }

    /// What was measured; complete once the run is over.
    #[must_use]
    pub fn report(&self) -> Report {
        let ends = [self.client.as_ref(), self.server.as_ref()];
        let [client, server] = ends.map(|end| end.map(|end| end.measure(self.now)));
        let (client, each) = client.unzip();
        let groups = self.names.iter().cloned().zip(each.unwrap_or_default());
        Report {
            client,
            groups: groups.filter(|(name, _)| !name.is_empty()).collect(),
            server: server.map(|(server, _)| server),
            segments_sent_again: ends.into_iter().flatten().map(End::sent_again).sum(),
            search: self.client.as_ref().and_then(|end| match &end.hosts {
                Hosts::Clients(clients) => clients.found(),
                Hosts::Server(_) => None,
            }),
        }
    }

    fn end_of(&mut self, port: PortId) -> Option<&mut End<B>> {
        match self.roles.get(usize::from(port.0))? {
            Role::Client => self.client.as_mut(),
            Role::Server => self.server.as_mut(),
        }
    }

    /// Measures both ends over the same time, and notices that the run is over.
    fn advance(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        let clients = self.client.as_ref().and_then(|end| match &end.hosts {
            Hosts::Clients(clients) => Some((clients, end.books.since())),
            Hosts::Server(_) => None,
        });
        let by_clock = self.until.is_some_and(|until| now >= until);
        let (ending, over) = clients.map_or((by_clock, by_clock), |(clients, _)| {
            (clients.is_ending(), clients.is_over())
        });
        if let (Some((_, since)), Some(server)) = (clients, &mut self.server)
            && since > server.books.since()
        {
            server.books.begin(since, [server.live]);
        }
        if ending && let Some(server) = &mut self.server {
            server.freeze(now);
        }
        if over && !self.over {
            self.over = true;
            for end in [&mut self.client, &mut self.server].into_iter().flatten() {
                end.abort_all(now, out);
            }
        }
    }
}

impl<B: PacketBuf> App<B> for Flowgen<B> {
    type Command = ();
    type Reply = Snapshot;
    type Word = ();

    fn owner(&self, _port: PortId, _frame: &[u8]) -> Owner {
        Owner::Core(CoreId(0))
    }

    fn input(
        &mut self,
        now: Instant,
        port: PortId,
        burst: &mut Vec<Received<B>>,
        out: &mut Vec<Frame<B>>,
    ) {
        let Some(end) = self.end_of(port) else {
            return burst.clear();
        };
        for received in burst.drain(..) {
            end.input(now, port, received, out);
        }
    }

    fn flush(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        self.now = now;
        if self.over {
            return;
        }
        for end in [&mut self.client, &mut self.server].into_iter().flatten() {
            end.flush(now, out);
        }
        self.advance(now, out);
    }

    fn next_deadline(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let ends = [self.client.as_ref(), self.server.as_ref()];
        let ends = ends.into_iter().flatten().map(End::next_deadline);
        ends.fold(self.until, earlier)
    }

    fn waits(&mut self, port: PortId, frames: usize) {
        if let Some(end) = self.end_of(port) {
            end.waits(port, frames);
        }
    }

    fn command(&mut self, _now: Instant, (): (), _out: &mut Vec<Frame<B>>) -> Snapshot {
        self.snapshot()
    }
}
