//! Which core owns what a frame is about, where there are several: computed from the frame alone, so that every core
//! comes to the same result, and both directions of a flow go to one.
//!
//! - A flow in transit goes by the symmetric hash of its addresses and ports, which a device computes, too ([`rss`]). With
//!   caps on lines it goes by its subscriber, as a bucket has one owner.
//! - Where mappings or filters know a flow by its inner end alone, that end's port names the core ([`core_of_port`]).
//! - So does our own port of a further subflow. The SYN of a join goes by its token; if its port is of another core, the
//!   owner tells all others for as long as the subflow lives ([`Word`]).
//! - An ICMP error goes the way of what it quotes.
//! - Fragments of a packet meet at one core by what they share, and go on from there as the first one says.
//! - What neighbors say is everybody's.

use super::Engine;
use super::config::EngineConfig;
use super::policy::subscriber_key;
use crate::Counter;
use crate::nat::{Fragments, Protocol, Share, core_of_port};
use core::net::IpAddr;
use dataplane::{CoreId, Owner, Received};
use mptcp::Token;
use mptcp::handshake::join;
use stack::ip::{FragmentId, Packet, Seen, Sight, sight};
use stack::rss;
use stack::wire::ip::{ICMP, ICMPV6, TCP, UDP};
use stack::wire::tcp::{Flags, parse_options};
use stack::{Ended, FlowKey, Instant, PacketBuf, PortId, RxChecksum, Tuple};
use std::collections::{BTreeMap, VecDeque};

/// The first port that is announced for joins where there are several cores: high enough for nobody to need a privilege,
/// and no other service's.
const JOIN_PORT: u16 = 8684;

/// How many low bits of a token it takes to name one of so many cores.
pub(super) const fn core_bits(cores: u8) -> u8 {
    let last = cores.saturating_sub(1);
    (u8::BITS - last.leading_zeros()) as u8
}

/// What cores tell each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// The subflow that receives this tuple is the sender's, whatever its port says.
    Mine(Tuple),
    /// It is no more.
    Gone(Tuple),
}

/// By what a flow in transit is told from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// By its addresses and ports.
    Flow,
    /// By its subscriber.
    Subscriber,
    /// By the host behind us and its port.
    Inner,
}

/// One core's part in finding owners.
pub(super) struct Steering<B> {
    cores: u8,
    rule: Rule,
    /// Subflows at ports that do not name their core.
    strays: BTreeMap<Tuple, u8>,
    strays_max: usize,
    /// First fragments that came by, and others that wait for theirs.
    fragments: Fragments<B, CoreId>,
    misplaced: VecDeque<(CoreId, PortId, Received<B>)>,
    words: VecDeque<Word>,
}

impl<B: PacketBuf> Steering<B> {
    pub(super) fn new(config: &EngineConfig) -> Self {
        let rule = if config.has_gate() {
            Rule::Inner
        } else if config.steers_by_subscriber() {
            Rule::Subscriber
        } else {
            Rule::Flow
        };
        Self {
            cores: config.cores,
            rule,
            strays: BTreeMap::new(),
            // As many as relays in all, whoever owns them.
            strays_max: config.limits.relays * usize::from(config.cores),
            fragments: Fragments::default(),
            misplaced: VecDeque::new(),
            words: VecDeque::new(),
        }
    }

    pub(super) const fn is_alone(&self) -> bool {
        self.cores <= 1
    }

    fn by_hash(&self, hash: u16) -> u8 {
        let queue = rss::queue(hash, u16::from(self.cores));
        u8::try_from(queue).unwrap_or(0)
    }

    /// Where the fragments of a packet meet.
    fn meeting(&self, id: &FragmentId) -> u8 {
        let [a, b, c, d] = id.id.to_be_bytes();
        let folded = u16::from_be_bytes([a, b]) ^ u16::from_be_bytes([c, d]);
        self.by_hash(rss::hash_folded(
            rss::fold(id.src) ^ rss::fold(id.dst) ^ folded,
        ))
    }

    /// The owner of a flow in transit, in whichever direction it is seen.
    fn owner_of(&self, config: &EngineConfig, tuple: &Tuple, protocol: u8) -> u8 {
        match self.rule {
            Rule::Flow => self.by_hash(rss::hash(tuple)),
            Rule::Inner => self.owner_of_inner(config, tuple, protocol),
            Rule::Subscriber => {
                let served = [tuple.src, tuple.dst]
                    .into_iter()
                    .filter(|addr| config.is_subscriber(*addr));
                let line = served.map(subscriber_key).min();
                let line = line.map(|key| rss::fold(IpAddr::V6(key.into())));
                self.by_hash(line.map_or_else(|| rss::hash(tuple), rss::hash_folded))
            },
        }
    }

    /// The port names the core of what has one. Of the rest, what is translated is known by its other end (see
    /// [`Protocol::Other`]), and what is filtered by the host.
    fn owner_of_inner(&self, config: &EngineConfig, tuple: &Tuple, protocol: u8) -> u8 {
        let nat = config.nat.as_ref();
        let is_public = |addr: IpAddr| nat.is_some_and(|nat| nat.address == addr);
        let is_inner = |addr| config.is_subscriber(addr) || is_public(addr);
        let from_inside = is_inner(tuple.src);
        let Tuple {
            src: inner,
            src_port: port,
            dst: remote,
            ..
        } = if from_inside {
            *tuple
        } else {
            tuple.reversed()
        };
        if matches!(protocol, TCP | UDP | ICMP | ICMPV6) {
            let forwards = nat.iter().flat_map(|nat| &nat.forwards);
            let kind = Protocol::of(protocol);
            let forward = forwards.into_iter().find(|forward| {
                forward.protocol == kind
                    && (IpAddr::V4(forward.to.addr), forward.to.port) == (inner, port)
            });
            return core_of_port(forward.map_or(port, |forward| forward.port), self.cores);
        }
        let translated = nat.is_some_and(|nat| {
            is_public(inner)
                || matches!(inner, IpAddr::V4(inner) if nat.inside.iter().any(|net| net.contains(&inner)))
        });
        let known_by = if translated { remote } else { inner };
        self.by_hash(rss::hash_folded(rss::fold(known_by)))
    }

    /// The owner of what is sent to an address of ours that takes joins.
    fn owner_of_subflow(&self, tuple: &Tuple, segment: &[u8], core_bits: u8) -> u8 {
        let named = core_of_port(tuple.dst_port, self.cores);
        if let Some(token) = joined(segment) {
            let core = u8::try_from(token.core(core_bits)).unwrap_or(u8::MAX);
            return if core < self.cores { core } else { named };
        }
        self.strays.get(tuple).copied().unwrap_or(named)
    }

    /// Fragments that wait for the first of their packet.
    pub(super) fn waiting(&self) -> usize {
        self.fragments.waiting()
    }

    fn misplace(&mut self, core: CoreId, packet: Packet<B>) {
        let received = Received {
            frame: packet.frame,
            checksum: RxChecksum::Unknown,
        };
        self.misplaced.push_back((core, packet.port, received));
    }

    /// Subflows that are remembered as their ports do not name their core.
    pub(super) fn strays(&self) -> usize {
        self.strays.len()
    }

    /// When fragments are given up.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.fragments.next_deadline()
    }
}

impl EngineConfig {
    /// The port at which this core takes joins, if it needs one of its own (RFC 8684 3.4.1).
    #[must_use]
    pub fn join_port(&self) -> Option<u16> {
        if self.cores <= 1 {
            return None;
        }
        (JOIN_PORT..).find(|&port| core_of_port(port, self.cores) == self.core)
    }
}

impl<B: PacketBuf> Engine<B> {
    /// The core that owns the flow of `frame`.
    pub(super) fn owner_of(&self, frame: &[u8]) -> Owner {
        let core = match sight(frame) {
            Sight::Neighbor => return Owner::Every,
            Sight::Other => self.config.core,
            Sight::Fragment(id, _) => self.steering.meeting(&id),
            Sight::Flow(seen) => self.owner_of_seen(&seen),
        };
        Owner::Core(CoreId(core))
    }

    fn owner_of_seen(&self, seen: &Seen<'_>) -> u8 {
        let reversed;
        let tuple = if seen.quoted {
            // The quoted segment's answers would come from its destination.
            reversed = seen.tuple.reversed();
            &reversed
        } else {
            &seen.tuple
        };
        if self.own.find(tuple.dst).is_some() {
            let bits = core_bits(self.config.cores);
            return self.steering.owner_of_subflow(tuple, seen.segment, bits);
        }
        self.steering.owner_of(&self.config, tuple, seen.protocol)
    }

    /// Where there are several cores: a fragment that met the others of its packet here goes on as the first one says;
    /// what of it is this core's own is given back, the first fragment before those that came too early. What any router
    /// passes on, this core does.
    pub(super) fn place_fragment(
        &mut self,
        now: Instant,
        packet: Packet<B>,
    ) -> Result<Vec<Packet<B>>, Ended> {
        let Some(id) = packet.fragment_id() else {
            return Ok(vec![packet]);
        };
        let routed = !self.config.has_gate() && ![0, TCP].contains(&id.protocol);
        if routed || self.steering.meeting(&id) != self.config.core {
            return Ok(vec![packet]);
        }
        let seen = packet.seen();
        let owner = match seen {
            Some(seen) => Some(CoreId(self.owner_of_seen(&seen))),
            None => self.steering.fragments.get(now, &id),
        };
        let Some(owner) = owner else {
            let lost = self.steering.fragments.keep(now, id, packet);
            self.tools.apps.end_waiting(Counter::FragmentLost, lost);
            return Err(Ended::later());
        };
        let mut whole = vec![packet];
        if seen.is_some() {
            self.steering.fragments.learn(now, id, owner);
            whole.extend(core::iter::from_fn(|| self.steering.fragments.early(&id)));
        }
        if owner.0 == self.config.core {
            return Ok(whole);
        }
        let ends = whole.into_iter().map(|packet| {
            self.steering.misplace(owner, packet);
            self.tools.apps.end(Counter::FragmentHandedOver)
        });
        Err(Ended::all(ends))
    }

    /// The next frame that belongs to another core after all.
    pub(super) fn next_misplaced(&mut self) -> Option<(CoreId, PortId, Received<B>)> {
        self.steering.misplaced.pop_front()
    }

    /// The next word for all other cores.
    pub(super) fn next_word(&mut self) -> Option<Word> {
        self.steering.words.pop_front()
    }

    /// What another core says.
    pub(super) fn on_word(&mut self, from: CoreId, word: Word) {
        match word {
            Word::Mine(tuple) => {
                let strays = &mut self.steering.strays;
                if strays.len() < self.steering.strays_max || strays.contains_key(&tuple) {
                    strays.insert(tuple, from.0);
                } else {
                    // It is refused where its port leads, as if its connection were not known.
                    self.tools.apps.count(Counter::JoinUnplaced);
                }
            },
            Word::Gone(tuple) => {
                self.steering.strays.remove(&tuple);
            },
        }
    }

    /// Lets go of fragments whose first one does not come.
    pub(super) fn run_steering(&mut self, now: Instant) {
        if self.steering.next_deadline().is_some_and(|at| at <= now) {
            let lost = self.steering.fragments.expire(now);
            self.tools.apps.end_waiting(Counter::FragmentLost, lost);
        }
    }

    /// Has the other cores know of a subflow that is ours although its port does not say so, or no longer is.
    pub(super) fn tell_of(&mut self, key: &FlowKey, ours: bool) {
        if self.steering.is_alone() || !self.is_stray(&key.tuple) {
            return;
        }
        let word = if ours { Word::Mine } else { Word::Gone }(key.tuple);
        // What comes in at this core is told from its port's core by the same memory.
        self.on_word(CoreId(self.config.core), word);
        self.steering.words.push_back(word);
    }

    /// A port for a subflow that we open, which names this core.
    pub(super) fn join_source_port(&mut self) -> u16 {
        let low = u16::try_from(self.tools.rng.below(0x8000)).unwrap_or(0);
        let share = Share {
            core: self.config.core,
            cores: self.config.cores,
        };
        share.nearest(0x8000 | low, low)
    }

    /// Whether this core's own subflow that receives `tuple` is one whose port names another.
    fn is_stray(&self, tuple: &Tuple) -> bool {
        self.own.find(tuple.dst).is_some()
            && core_of_port(tuple.dst_port, self.config.cores) != self.config.core
    }
}

/// The token in the SYN of a join.
fn joined(segment: &[u8]) -> Option<Token> {
    let &[offset, flags] = segment.get(12..14)?.first_chunk()?;
    let flags = Flags(flags);
    if !flags.has(Flags::SYN) || flags.has(Flags::ACK) {
        return None;
    }
    let options = parse_options(segment.get(20..usize::from(offset >> 4) * 4)?)?;
    join::request(&options.mptcp)
        .ok()
        .map(|request| request.token)
}
