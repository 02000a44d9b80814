//! The App: it owns a core's flows, relays, timers and counters, and walks each packet through them.
//!
//! A received frame goes `burst` (or `walk`, if it is no plain TCP segment) -> IP -> flow table -> `setup` while its
//! handshake lasts, `split` at its end, or the relay's leg afterwards (`run`); the relay is woken, and at the end of the burst `drive` runs it once: data moves, segments leave.
//! A segment without a flow goes to `policy`, and further subflows to `joins`. `report` answers the operator.

mod addresses;
mod burst;
mod caps;
mod config;
mod drive;
mod edge;
mod flows;
mod icmp;
mod joins;
mod metering;
mod miss;
mod offer;
mod open_joins;
mod option_eaters;
mod overload;
mod passage;
mod policy;
mod pressure;
mod renumber;
mod report;
mod run;
mod runtime;
mod select;
mod setup;
mod split;
mod steer;
mod subscribers;
mod tools;
mod versions;
mod walk;

pub use config::{
    CORES_MAX, EdgeSettings, EngineConfig, JoinSettings, JoinSubscriber, Limits, PerSubscriber,
    PolicySettings, PortRole, PortSettings, SchedulerKind, Timeouts,
};
pub use select::{Native, Rule, Select};
pub use steer::Word;

use crate::Counter;
use crate::control::{Command, Reply};
use crate::nat::{Gate, Share};
use crate::relay::{Pending, Relays};
use addresses::OwnAddresses;
use burst::Seen;
pub(crate) use caps::Capped;
use caps::Caps;
use dataplane::{App, BufferUse, CoreId, Owner, PortReport, Received, WorkerStats};
use flows::{FlowRef, PLACES_MAX};
use ipnet::IpNet;
use metering::Metering;
use mptcp::join::Joining;
use mptcp::time_wait::TimeWait;
use mptcp::{Key, KeyPools, TokenTable, Version};
use offer::PlainPeers;
use open_joins::Outbound;
use option_eaters::OptionEaters;
use overload::Overload;
use pressure::Freeing;
use select::RuleHits;
use stack::ip::{Net, NetError, Reassembly, plain_ends};
use stack::slab::{Handle, Slab};
use stack::tally::Gathering;
use stack::tcp::isn::IsnGenerator;
use stack::time::earlier;
use stack::wheel::{Alarm, Wheel};
use stack::{FlowIndex, Frame, Instant, Ledger, PacketBuf, PortId, Rng, Tuple};
use std::net::IpAddr;
use steer::{Steering, core_bits};
use subscribers::Subscribers;
use tools::Tools;
use versions::PeerVersions;

/// Whose deadline a timer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Pending(Handle),
    Relay(Handle),
    Joining(Handle),
    OpenJoin(Handle),
    TimeWait(Handle),
}

impl Timer {
    /// The place of the relay whose timer it is.
    const fn relay(self) -> Option<u32> {
        match self {
            Self::Relay(handle) => Some(handle.index),
            _ => None,
        }
    }
}

/// Whose token it is: that of the relay at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TokenRef(u32);

impl TokenRef {
    /// Of a flow whose client has not shown its key yet.
    const PENDING: Self = Self(u32::MAX);
}

/// A subflow that was answered and not yet confirmed.
struct HalfOpen {
    joining: Joining,
    relay: Handle,
    /// Whose it is, to count it.
    subscriber: Option<Handle>,
    /// Of the segments that we receive.
    tuple: Tuple,
    opened: Instant,
    alarm: Alarm,
}

/// What is left of a leg in TIME-WAIT, or of a subflow of one.
struct Remains {
    state: TimeWait,
    /// Of the segments that we send.
    tuple: Tuple,
    alarm: Alarm,
}

/// Subscribers of which the version of Multipath TCP that they answer is kept in mind.
const PEERS: usize = 4_096;

/// Keys drawn ahead, a few each turn.
const KEYS_READY: usize = 256;

/// Keys found in one turn: drawing costs a hash, about a microsecond, for each pattern of the bits that name a core.
const KEYS_PER_TURN: u32 = 2;

/// One core's engine. Nothing in it is shared with another core.
pub struct Engine<B> {
    config: EngineConfig,
    /// Addresses of ours that further subflows use.
    own: OwnAddresses,
    /// How much each capped path may still carry.
    caps: Caps,
    net: Net<B>,
    fragments: Reassembly<B>,
    tools: Tools,
    isn: IsnGenerator,
    flows: FlowIndex,
    /// Whether a flow came or went since one was last looked up for a burst.
    flows_changed: bool,
    pendings: Slab<Pending>,
    subscribers: Subscribers,
    /// Who answered an offer of Multipath TCP without.
    plain_peers: PlainPeers,
    /// At the customer's edge: where SYNs with MP_CAPABLE are not answered.
    option_eaters: OptionEaters,
    rule_hits: RuleHits,
    relays: Relays<B>,
    joinings: Slab<HalfOpen>,
    open_joins: Slab<Outbound>,
    remains: Slab<Remains>,
    tokens: TokenTable<TokenRef>,
    keys: KeyPools,
    peer_versions: PeerVersions,
    timers: Wheel<Timer>,
    due: Vec<Timer>,
    /// Frames that came in, and of these those that legs took, since the counters were last asked for.
    received: u64,
    legs: Gathering,
    /// What was read of the frames of a burst.
    seen: Vec<Seen>,
    /// Relays to run at the end of this burst, each once.
    woken: Vec<Handle>,
    /// Octets that all relays hold.
    held: u64,
    /// Packet buffers in use, in thousandths.
    buffers_used: u32,
    freeing: Freeing,
    overload: Overload,
    draining: bool,
    steering: Steering<B>,
    /// Between hosts and the Internet, at the customer's edge.
    gate: Option<Gate<B>>,
    next_id: u64,
    ports: Vec<PortReport>,
    worker: WorkerStats,
    metering: Metering,
}

impl<B: PacketBuf> Engine<B> {
    /// An engine without flows. Fails if the network does not resolve.
    pub fn new(config: EngineConfig) -> Result<Self, NetError> {
        let mut rng = Rng::from_seed(config.seed);
        let mut secret = [0; 16];
        rng.fill(&mut secret);
        let gate = Self::gate(&config, &mut rng);
        let mut net = config.net_with_isolation();
        if let Some(nat) = &config.nat {
            net.shared.push(IpAddr::V4(nat.address));
            net.private
                .extend(nat.inside.iter().map(|net| IpNet::V4(*net)));
        }
        let limits = &config.limits;
        let time_waits = limits.relays;
        // Two keys for each relay and each pending flow, one for each joined subflow (two a relay on average) and TIME-WAIT.
        let keys = limits.relays * 4 + limits.pending * 2 + limits.joining * 2 + time_waits;
        let mut net = Net::new(net)?;
        if let Some(ends) = config.bridge {
            net.bridge(ends, limits.relays + limits.pending, rng.u64());
        }
        Ok(Self {
            net,
            fragments: Reassembly::default(),
            own: OwnAddresses::new(&config),
            caps: Caps::new(&config),
            flows: FlowIndex::new(keys, rng.u64()),
            flows_changed: false,
            pendings: slab(limits.pending),
            relays: Relays::with_capacity(
                limits.relays.min(PLACES_MAX),
                split::connection_limits(limits),
            ),
            joinings: slab(limits.joining),
            open_joins: slab(limits.joining),
            tokens: TokenTable::with_capacity(limits.relays + limits.pending),
            peer_versions: PeerVersions::new(
                config.versions,
                if config.inbound { PEERS } else { 1 },
            ),
            keys: KeyPools::new(
                config.versions,
                u32::from(config.core),
                core_bits(config.cores),
                KEYS_READY,
            ),
            // As many again of subflows, which wait for half a second alone.
            remains: slab(time_waits * 2),
            isn: IsnGenerator::new(secret),
            tools: Tools::new(rng),
            subscribers: Subscribers::new(limits.relays + limits.pending),
            plain_peers: PlainPeers::default(),
            option_eaters: OptionEaters::default(),
            rule_hits: RuleHits::new(&config.select),
            timers: Wheel::new(),
            due: Vec::new(),
            received: 0,
            legs: Gathering::default(),
            seen: Vec::new(),
            woken: Vec::new(),
            held: 0,
            buffers_used: 0,
            freeing: Freeing::default(),
            overload: Overload::default(),
            draining: false,
            gate,
            next_id: 1 + u64::from(config.core),
            steering: Steering::new(&config),
            ports: Vec::new(),
            worker: WorkerStats::default(),
            metering: Metering::new(config.ports.len()),
            config,
        })
    }

    fn gate(config: &EngineConfig, rng: &mut Rng) -> Option<Gate<B>> {
        if !config.has_gate() {
            return None;
        }
        let bounds = (config.mapping_limits, config.mapping_timeouts);
        let (nat, firewall) = (config.nat.clone(), config.firewall.clone());
        let share = Share {
            core: config.core,
            cores: config.cores,
        };
        Gate::new(
            &config.subscribers,
            nat,
            firewall,
            bounds,
            (share, rng.u64()),
        )
    }

    /// What it was built from.
    #[must_use]
    pub const fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Everything that it holds at present: all zero once the last flow has ended and its TIME-WAIT is over.
    #[must_use]
    pub fn occupancy(&self) -> Occupancy {
        Occupancy {
            flows: self.flows.len(),
            pending: self.pendings.len(),
            subscribers: self.subscribers.len(),
            relays: self.relays.len(),
            resting: self.relays.resting(),
            joining: self.joinings.len() + self.open_joins.len(),
            tokens: self.tokens.len(),
            time_waits: self.remains.len(),
            timers: self.timers.len(),
            mappings: self.gate_use().mappings,
            strays: self.steering.strays(),
            waiting: self.waiting(),
            held: self.held,
            pieces: self.relays.iter().map(|(_, relay)| relay.pieces()).sum(),
        }
    }

    /// Received frames that wait for others or for a neighbor, and have no fate yet.
    fn waiting(&self) -> usize {
        self.net.waiting()
            + self.fragments.waiting()
            + self.steering.waiting()
            + self.gate.as_ref().map_or(0, Gate::waiting)
    }

    /// What became of the frames that came in.
    #[must_use]
    pub fn frames(&self) -> Frames {
        let Tools { stack, apps, .. } = &self.tools;
        Frames {
            received: apps.get(Counter::Received) + self.received,
            ended: stack.ended() + apps.ended() + self.legs.ended(),
            handed_over: apps.get(Counter::FragmentHandedOver),
            waiting: u64::try_from(self.waiting()).unwrap_or(u64::MAX),
        }
    }

    /// Draws from `rng` from now on. For tests that have chance repeat itself: keys, and with them tokens, then collide.
    pub fn draw_from(&mut self, rng: Rng) {
        self.tools.rng = rng;
    }

    /// Has `keys` be the first that are used of `version`. For tests in which data's numbers are to begin somewhere.
    pub fn use_first(&mut self, version: Version, keys: &[Key]) {
        self.keys.put_first(version, &mut self.tools.rng, keys);
    }

    fn wake(&mut self, handle: Handle) {
        if let Some(relay) = self.relays.get_mut(handle)
            && !relay.woken
        {
            relay.woken = true;
            self.woken.push(handle);
        }
    }
}

/// A slab of what flows are found in: their index names so many places.
fn slab<T>(limit: usize) -> Slab<T> {
    Slab::with_capacity(limit.min(PLACES_MAX))
}

/// What became of the frames that an engine was given: all of them have ended, each in one fate, or wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// Those that came in.
    pub received: u64,
    /// The sum of all fates.
    pub ended: u64,
    /// Of these, frames that were handed to another core's engine, which receives them anew.
    pub handed_over: u64,
    /// Those that wait.
    pub waiting: u64,
}

impl Frames {
    /// Whether none is lost, and none has two fates.
    #[must_use]
    pub const fn balance(&self) -> bool {
        self.received == self.ended + self.waiting
    }
}

/// What an engine holds, for tests and operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occupancy {
    /// Keys in the flow table.
    pub flows: usize,
    /// Flows before their third ACK.
    pub pending: usize,
    /// Subscribers with flows.
    pub subscribers: usize,
    /// Relays.
    pub relays: usize,
    /// Those of them that are at rest.
    pub resting: usize,
    /// Subflows before their third ACK.
    pub joining: usize,
    /// Tokens that name a connection.
    pub tokens: usize,
    /// Ended connections whose tuple is still kept.
    pub time_waits: usize,
    /// Entries in the timer wheel.
    pub timers: usize,
    /// Mappings of hosts, static forwards among them.
    pub mappings: usize,
    /// Subflows that are remembered as their ports do not name their core.
    pub strays: usize,
    /// Received frames that wait: fragments for others of their packet, packets for their next hop's address.
    pub waiting: usize,
    /// Octets held for either end of all relays.
    pub held: u64,
    /// Slices that these octets lie in: each pins a packet buffer.
    pub pieces: usize,
}

impl<B: PacketBuf> App<B> for Engine<B> {
    type Command = Command;
    type Reply = Reply;

    type Word = Word;

    fn owner(&self, _: PortId, frame: &[u8]) -> Owner {
        self.owner_of(frame)
    }

    fn owners(&self, _: PortId, burst: &[Received<B>], owners: &mut Vec<Owner>) {
        let mut before = None;
        for received in burst {
            let frame = received.frame.bytes();
            let ends = plain_ends(frame);
            let owner = match before {
                Some((same, owner)) if ends == Some(same) => owner,
                _ => self.owner_of(frame),
            };
            before = ends.map(|ends| (ends, owner));
            owners.push(owner);
        }
    }

    fn input(
        &mut self,
        now: Instant,
        port: PortId,
        burst: &mut Vec<Received<B>>,
        out: &mut Vec<Frame<B>>,
    ) {
        self.take_burst(now, port, burst, out);
    }

    fn overhear(
        &mut self,
        now: Instant,
        port: PortId,
        received: Received<B>,
        out: &mut Vec<Frame<B>>,
    ) {
        let cx = &mut self.tools.cx(now);
        self.net.learn_from(cx, port, received.frame, out);
    }

    fn hand_over(&mut self) -> Option<(CoreId, PortId, Received<B>)> {
        self.next_misplaced()
    }

    fn tell(&mut self) -> Option<Word> {
        self.next_word()
    }

    fn told(&mut self, from: CoreId, word: Word) {
        self.on_word(from, word);
    }

    fn flush(&mut self, now: Instant, out: &mut Vec<Frame<B>>) {
        self.run_timers(now, out);
        self.run_woken(now, out);
        self.free_buffers(now);
        let draws = KEYS_PER_TURN << core_bits(self.config.cores);
        self.keys.refill(&mut self.tools.rng, draws);
    }

    fn next_deadline(&self) -> Option<Instant> {
        if !self.woken.is_empty() {
            return Some(Instant::from_millis(0));
        }
        let gate = self.gate.as_ref().and_then(Gate::next_deadline);
        let gate = earlier(self.steering.next_deadline(), gate);
        let net = earlier(self.net.next_deadline(), gate);
        let net = earlier(self.fragments.next_deadline(), net);
        let net = earlier(self.freeing_due(), net);
        earlier(self.timers.next_deadline(), net)
    }

    fn command(&mut self, now: Instant, command: Command, out: &mut Vec<Frame<B>>) -> Reply {
        self.answer(now, command, out)
    }

    fn ledger(&mut self) -> Option<&mut Ledger> {
        Some(&mut self.tools.ledger)
    }

    fn ports(&mut self, ports: &[PortReport]) {
        ports.clone_into(&mut self.ports);
    }

    fn worker(&mut self, stats: WorkerStats) {
        self.worker = stats;
    }

    fn took(&mut self, frames: usize, more: bool) {
        self.overload.turn(frames, more);
    }

    fn waits(&mut self, port: PortId, frames: usize) {
        self.net.set_crowded(port, frames > 0);
    }

    fn buffers(&mut self, fullest: BufferUse) {
        self.buffers_used = fullest.permille();
    }
}
