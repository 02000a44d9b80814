//! Further subflows that we open: at the customer's edge from each secondary port's own address to the peer's announced
//! or configured ones; at the other box from an announced address to the customer's, where these are known.

use super::joins::wscale_for;
use super::{Engine, EngineConfig, FlowRef, Timer};
use crate::Counter;
use crate::relay::{By, Path, Paths, Relay, Remote, State};
use arrayvec::ArrayVec;
use core::net::IpAddr;
use mptcp::AddrId;
use mptcp::connection::Connection;
use mptcp::join::{Initiated, OpenJoin};
use mptcp::option::{MpOption, parse};
use stack::ip::TcpArrival;
use stack::slab::Handle;
use stack::tcp::handshake::{Offer, Opening};
use stack::time::Duration;
use stack::wire::tcp::{Flags, Segment, Timestamps};
use stack::{Alarm, Ended, Frame, Instant, PacketBuf, Rng, Tuple};

/// SYNs sent for one join, the first included.
const SYNS_MAX: u8 = 4;

/// The same while there is another address to try.
const SYNS_FIRST: u8 = 2;

/// Pairs of addresses tried for one path.
const CHOICES_MAX: usize = 8;

/// A join of ours that waits for its answer.
pub(super) struct Outbound {
    open: OpenJoin,
    pub(super) relay: Handle,
    /// Of the segments that we send.
    pub(super) tuple: Tuple,
    by: By,
    /// How many pairs of addresses there are for this path.
    choices: usize,
    alarm: Alarm,
}

/// A pair of addresses to be tried, the peer's with a port.
#[derive(Clone, Copy)]
struct Choice {
    src: IpAddr,
    id: AddrId,
    dst: IpAddr,
    dst_port: u16,
}

impl<B: PacketBuf> Engine<B> {
    /// The paths of a new relay; `None` if we open no further subflows for it.
    pub(super) fn paths_of(&mut self, now: Instant, relay: &Relay<B>) -> Option<Box<Paths>> {
        let mut paths = Paths::default();
        let Some(edge) = &self.config.edge else {
            let join = &self.config.join;
            let client = relay.ends.inner.src;
            let known = join.subscribers.iter().find(|s| s.prefix.contains(&client));
            if known.is_none() && !join.announced {
                return None;
            }
            let addresses = known.map_or(Vec::new(), |known| known.addresses.clone());
            let at = now + courtesy(&self.config, &mut self.tools.rng, relay);
            for addr in addresses {
                let remote = Remote {
                    id: None,
                    addr,
                    port: None,
                };
                paths.learn(remote, at);
                paths.add(By::Peer(addr), State::Due(at));
            }
            return Some(Box::new(paths));
        };
        for port in self.own.ports() {
            paths.add(By::Port(port), State::Idle);
        }
        for &addr in &edge.hag {
            let remote = Remote {
                id: None,
                addr,
                port: None,
            };
            paths.learn(remote, now);
        }
        Some(Box::new(paths))
    }

    /// The peer announced an address.
    pub(super) fn on_announced(
        &mut self,
        now: Instant,
        handle: Handle,
        id: AddrId,
        (addr, port): (IpAddr, Option<u16>),
    ) {
        let wanted = match &self.config.edge {
            Some(edge) => {
                edge.hag.contains(&addr) || edge.hag_prefixes.iter().any(|net| net.contains(&addr))
            },
            None => self.config.join.announced && !self.config.is_subscriber(addr),
        };
        if !wanted {
            return self.tools.apps.count(Counter::AnnouncementIgnored);
        }
        let at_edge = self.config.edge.is_some();
        let wait = match self.relays.get(handle) {
            Some(_) if at_edge => Duration::ZERO,
            Some(relay) => courtesy(&self.config, &mut self.tools.rng, &relay),
            None => return,
        };
        let Some(relay) = self.relays.get_mut(handle) else {
            return;
        };
        let Some(paths) = &mut relay.paths else {
            return;
        };
        let id = Some(id);
        paths.learn(Remote { id, addr, port }, now + wait);
        if !at_edge {
            let live = relay.joined.iter().find(|(_, tuple)| tuple.src == addr);
            let state = live.map_or(State::Due(now + wait), |&(_, tuple)| {
                State::Live(tuple, now)
            });
            paths.add(By::Peer(addr), state);
        }
    }

    /// The peer withdrew an address.
    pub(super) fn on_withdrawn(&mut self, handle: Handle, id: AddrId) {
        if let Some(paths) = self.paths_mut(handle) {
            paths.forget(id);
        }
    }

    pub(super) fn paths_mut(&mut self, handle: Handle) -> Option<&mut Paths> {
        self.relays.get_mut(handle)?.paths.as_deref_mut()
    }

    /// The path that a subflow between our address `ours` and the peer's `theirs` belongs to.
    pub(super) fn path_between(&self, ours: IpAddr, theirs: IpAddr) -> By {
        let own = self.own.find(ours).and_then(|own| own.port);
        own.map_or(By::Peer(theirs), By::Port)
    }

    /// Opens the joins that are due, once options were seen to pass in both directions.
    pub(super) fn run_joins(&mut self, now: Instant, handle: Handle, out: &mut Vec<Frame<B>>) {
        while let Some(path) = self.relays.get_mut(handle).and_then(|r| r.take_due(now)) {
            self.open_one(now, handle, path, out);
        }
    }

    /// The pairs of addresses for a path, the flow's own family first: two families on one access are one path, and a
    /// second subflow there would bring nothing.
    fn choices(&self, relay: &Relay<B>, by: By) -> ArrayVec<Choice, CHOICES_MAX> {
        let mut choices = ArrayVec::new();
        let (Some(paths), Some(connection)) = (&relay.paths, relay.multipath()) else {
            return choices;
        };
        let ipv6 = relay.ends.outer.dst.is_ipv6();
        for family in [ipv6, !ipv6] {
            let remotes = paths.remotes.iter().filter(|r| r.addr.is_ipv6() == family);
            for remote in remotes {
                let (port, dst_port) = match by {
                    By::Port(port) => (Some(port), relay.ends.outer.dst_port),
                    By::Peer(addr) if addr == remote.addr => (None, relay.ends.inner.src_port),
                    By::Peer(_) => continue,
                };
                let dst_port = remote.port.unwrap_or(dst_port);
                let mut own = self.own.on(port);
                let own = own.find(|own| own.addr.is_ipv6() == family);
                let Some(own) = own.filter(|own| {
                    self.net.port_from(own.addr, remote.addr).is_some()
                        && !connection.denies_join((remote.addr, dst_port))
                }) else {
                    continue;
                };
                let choice = Choice {
                    src: own.addr,
                    id: own.id,
                    dst: remote.addr,
                    dst_port,
                };
                choices.try_push(choice).ok();
            }
        }
        choices
    }

    fn open_one(&mut self, now: Instant, handle: Handle, path: Path, out: &mut Vec<Frame<B>>) {
        let Some(relay) = self.relays.get(handle) else {
            return;
        };
        let choices = self.choices(&relay, path.by);
        let Some(&Choice {
            src,
            id,
            dst,
            dst_port,
        }) = choices.get(usize::from(path.choice))
        else {
            // Nothing to try as things are: a new announcement makes it due again.
            if let Some(path) = self.paths_mut(handle).and_then(|paths| paths.of(path.by)) {
                path.choice = 0;
                path.state = State::Idle;
            }
            return;
        };
        let tuple = Tuple {
            src,
            dst,
            src_port: self.join_source_port(),
            dst_port,
        };
        let opened = self.begin_join(now, handle, tuple, id);
        let Some(open) = opened else {
            return self.on_join_failed(now, handle, path.by, choices.len());
        };
        let syn = open.syn(now);
        let again = open.next_deadline();
        let outbound = Outbound {
            open,
            relay: handle,
            tuple,
            by: path.by,
            choices: choices.len(),
            alarm: Alarm::default(),
        };
        // There was room when the join began.
        let Ok(join) = self.open_joins.insert(outbound) else {
            return;
        };
        let key = self.key_of(&tuple.reversed());
        if self.enter_flow(&key, FlowRef::OpenJoin(join)).is_err() {
            self.tools.apps.count(Counter::JoinUnopened);
            self.give_up_open(join);
            return self.on_join_failed(now, handle, path.by, choices.len());
        }
        if let Some(path) = self.paths_mut(handle).and_then(|paths| paths.of(path.by)) {
            path.state = State::Opening(Some(join));
        }
        self.arm_open_join(join, again.unwrap_or(now));
        self.send_join(now, handle, &tuple, syn, out);
    }

    /// The join itself, if there is room and the connection takes one more subflow.
    fn begin_join(
        &mut self,
        now: Instant,
        handle: Handle,
        tuple: Tuple,
        id: AddrId,
    ) -> Option<OpenJoin> {
        if self.open_joins.len() >= self.open_joins.capacity() {
            self.tools.apps.count(Counter::JoinUnopened);
            return None;
        }
        if self.flow(&self.key_of(&tuple.reversed())).is_some() {
            return None;
        }
        let clock = u32::try_from(now.as_millis() & u64::from(u32::MAX)).unwrap_or(0);
        let val = clock.wrapping_add(self.isn.ts_offset(&tuple));
        let ours = Offer {
            mss: Some(self.segment_max_from(tuple.src, tuple.dst)),
            wscale: Some(wscale_for(self.config.limits.buffer)),
            sack: true,
            ts: Some(Timestamps { val, ecr: 0 }),
            wnd: u16::MAX,
            ecn: self.uses_ecn(handle),
        };
        let opening = Opening::new(self.isn.isn(now, &tuple), &ours, now);
        let connection = self.relays.get_mut(handle)?.multipath_mut()?;
        let cx = &mut self.tools.leg(now);
        let to = (tuple.dst, tuple.dst_port);
        connection.open_join(cx, opening, to, id, false).ok()
    }

    /// Whether the first subflow uses ECN, and so both ends of the flow do.
    fn uses_ecn(&self, handle: Handle) -> bool {
        let relay = self.relays.get(handle);
        let connection = relay.as_deref().and_then(Relay::multipath);
        let first = connection.and_then(|connection| connection.subflows().next());
        first.is_some_and(|subflow| subflow.tcb().uses_ecn())
    }

    /// Takes a segment that answers a join of ours.
    pub(super) fn on_open_join(
        &mut self,
        now: Instant,
        handle: Handle,
        arrival: &TcpArrival<B>,
        out: &mut Vec<Frame<B>>,
    ) -> Ended {
        let segment = &arrival.segment;
        let limit = self.segment_max_from(segment.tuple.dst, segment.tuple.src);
        let Some(outbound) = self.open_joins.get_mut(handle) else {
            return self.tools.apps.end(Counter::DropNoFlow);
        };
        let (relay, by, choices) = (outbound.relay, outbound.by, outbound.choices);
        let Some(connection) = self.relays.get_mut(relay).and_then(|r| r.multipath_mut()) else {
            self.forget_join(handle);
            return self.refuse(now, segment, Counter::JoinRefused, out);
        };
        let cx = &mut self.tools.leg(now);
        let mut fate = Counter::JoinTaken;
        let answer = match connection.input_join(cx, &mut outbound.open, limit, segment) {
            Initiated::Established(id) => {
                self.take_open_join(handle);
                self.tools.apps.count(Counter::JoinOpened);
                let was = FlowRef::OpenJoin(handle);
                self.enter_subflow(now, relay, id, (segment.tuple, true), was);
                None
            },
            Initiated::Waiting(answer) => answer,
            Initiated::Refused(_, answer) => {
                fate = Counter::JoinRefused;
                self.forget_join(handle);
                if segment.flags.has(Flags::RST) && !is_transient(segment) {
                    // Whoever is there does not know the connection, or wants no more of it: another box's token, say.
                    self.tools.apps.count(Counter::JoinStopped);
                    if let Some(paths) = self.paths_mut(relay) {
                        paths.stop();
                    }
                } else {
                    self.on_join_failed(now, relay, by, choices);
                }
                answer
            },
        };
        if let Some(answer) = answer {
            self.send_join(now, relay, &segment.tuple.reversed(), answer, out);
        }
        self.tools.apps.end(fate)
    }

    /// A join came to nothing: the next pair of addresses, or all again after a while.
    fn on_join_failed(&mut self, now: Instant, relay: Handle, by: By, choices: usize) {
        if let Some(paths) = self.paths_mut(relay) {
            paths.on_failure(by, choices, now);
        }
        // Its timer follows the path's.
        self.wake(relay);
    }

    /// The timer of a join of ours: its SYN once more, or it is given up.
    pub(super) fn on_open_join_timer(
        &mut self,
        now: Instant,
        handle: Handle,
        out: &mut Vec<Frame<B>>,
    ) {
        let Some(outbound) = self.open_joins.get_mut(handle) else {
            return;
        };
        let (relay, tuple, by) = (outbound.relay, outbound.tuple, outbound.by);
        self.timers.disarm(&mut outbound.alarm);
        if let Some(at) = outbound.open.next_deadline().filter(|at| *at > now) {
            return self.arm_open_join(handle, at);
        }
        let choices = outbound.choices;
        let lives = self.relays.get(relay).is_some();
        let sends = if choices > 1 { SYNS_FIRST } else { SYNS_MAX };
        if !lives || outbound.open.sends() >= sends {
            self.tools.apps.count(Counter::JoinExpired);
            self.give_up_open(handle);
            return self.on_join_failed(now, relay, by, choices);
        }
        outbound.open.sent_again(now);
        let syn = outbound.open.syn(now);
        let again = outbound.open.next_deadline();
        self.arm_open_join(handle, again.unwrap_or(now));
        self.send_join(now, relay, &tuple, syn, out);
    }

    fn arm_open_join(&mut self, handle: Handle, at: Instant) {
        if let Some(outbound) = self.open_joins.get_mut(handle) {
            self.timers
                .arm(&mut outbound.alarm, Timer::OpenJoin(handle), at);
        }
    }

    /// Gives a join of ours up; its place in its connection is free again.
    pub(super) fn give_up_open(&mut self, handle: Handle) {
        let relay = self.open_joins.get(handle).map(|outbound| outbound.relay);
        let relay = relay.and_then(|relay| self.relays.get_mut(relay));
        if let Some(connection) = relay.and_then(Relay::multipath_mut) {
            connection.abandon_join();
        }
        self.forget_join(handle);
    }

    /// Takes a join of ours out of its place alone.
    fn take_open_join(&mut self, handle: Handle) -> Option<Outbound> {
        let mut outbound = self.open_joins.remove(handle)?;
        self.timers.disarm(&mut outbound.alarm);
        Some(outbound)
    }

    fn forget_join(&mut self, handle: Handle) {
        if let Some(outbound) = self.take_open_join(handle) {
            let key = self.key_of(&outbound.tuple.reversed());
            self.leave_flow(&key, FlowRef::OpenJoin(handle));
        }
    }
}

impl<B: PacketBuf> Relay<B> {
    /// A path whose join is due and may be opened; it counts as opening from here on.
    fn take_due(&mut self, now: Instant) -> Option<Path> {
        if !self.may_join() {
            return None;
        }
        self.paths.as_mut()?.take_due(now)
    }

    /// Whether a subflow on this path would be one too many: there is one, or ours is under way at the customer's edge,
    /// which goes first.
    pub(super) fn is_taken(&self, by: By) -> bool {
        let path = self.paths.as_ref().and_then(|paths| paths.get(by));
        path.is_some_and(|path| match (path.state, by) {
            (State::Live(..) | State::Opening(_), By::Port(_)) => true,
            (_, By::Port(_) | By::Peer(_)) => false,
        })
    }

    /// The peer's join on this path was answered.
    pub(super) fn await_peer(&mut self, by: By) {
        if let Some(path) = self.paths.as_mut().and_then(|paths| paths.of(by))
            && !matches!(path.state, State::Opening(_) | State::Live(..))
        {
            path.state = State::Opening(None);
        }
    }

    /// The subflow that receives `tuple` lives on this path, opened by us or not; what was there before, and by whom.
    pub(super) fn occupy(
        &mut self,
        by: By,
        tuple: Tuple,
        ours: bool,
        now: Instant,
    ) -> Option<(State, bool)> {
        let path = self.paths.as_mut()?.of(by)?;
        let was = (path.state, path.ours);
        path.state = State::Live(tuple, now);
        path.ours = ours;
        Some(was)
    }

    /// Whether a join could be proven to the peer, and would still be of use.
    pub(crate) fn may_join(&self) -> bool {
        let connection = self.multipath();
        connection.is_some_and(Connection::may_join) && !self.is_closing()
    }
}

/// How long the box in the network leaves the first step to the customer's: a random time of one to two round trips, so
/// that not both open a subflow on one path; none if it is configured as the only one that opens any.
fn courtesy<B: PacketBuf>(config: &EngineConfig, rng: &mut Rng, relay: &Relay<B>) -> Duration {
    if config.join.sole {
        return Duration::ZERO;
    }
    let mut subflows = relay.multipath().into_iter().flat_map(Connection::subflows);
    let srtt = subflows.find_map(|subflow| subflow.tcb().srtt());
    let srtt = srtt.unwrap_or(Duration::from_millis(200));
    srtt + srtt * rng.below(1_001) / 1_000
}

/// Whether a reset says that another try may succeed (RFC 8684 3.6).
fn is_transient<B: PacketBuf>(reset: &Segment<B>) -> bool {
    let mut options = parse(&reset.options.mptcp).flatten();
    options.any(|option| matches!(option, MpOption::TcpRst(rst) if rst.transient))
}
