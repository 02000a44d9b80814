//! A relay: two legs, and what moves between them.

mod info;
mod paths;
mod pending;
mod pool;
mod pump;
mod relays;
mod rest;
mod room;

pub(crate) use info::SubflowInfo;
pub(crate) use paths::{By, Path, Paths, Remote, State};
pub(crate) use pending::{Answered, Ends, Kind, Offering, Pending};

use crate::Counter;
use crate::engine::{Capped, Timeouts};
use mptcp::connection::{Connection, SubflowId};
use mptcp::stream::Fate;
pub(crate) use mptcp::stream::{Plain, Stream as Leg};
use mptcp::{Cx, Token};
pub(crate) use pool::leave_pool;
use pump::{Pump, held, move_data, waiting};
pub(crate) use relays::Relays;
pub(crate) use room::Room;
use stack::slab::Handle;
use stack::time::Duration;
use stack::wheel::Alarm;
use stack::wire::tcp::Segment;
use stack::{FlowKey, Instant, PacketBuf, Tuple};

/// Which leg of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    /// Towards the subscriber, on this subflow.
    Client(SubflowId),
    /// Towards the Internet, on this subflow.
    Server(SubflowId),
}

/// Both legs, by any of their subflows.
pub(crate) const LEGS: [Which; 2] = [
    Which::Server(SubflowId::INITIAL),
    Which::Client(SubflowId::INITIAL),
];

/// Two legs bound to one another.
pub(crate) struct Relay<B> {
    /// Names the relay for as long as the engine lives.
    pub(crate) id: u64,
    /// Addresses and ports of both legs, and who opened.
    pub(crate) ends: Ends,
    /// Towards the subscriber.
    pub(crate) client: Leg<B>,
    /// Towards the Internet.
    pub(crate) server: Leg<B>,
    /// Names the client leg in an MP_JOIN.
    pub(crate) token: Option<Token>,
    /// The subflows that joined, with addresses and ports as the peer sends.
    pub(crate) joined: Vec<(SubflowId, Tuple)>,
    /// Whose octets are counted together with this one's.
    pub(crate) account: u32,
    /// From the client to the server.
    pub(crate) up: Pump,
    /// From the server to the client.
    pub(crate) down: Pump,
    /// When the SYN came.
    pub(crate) opened: Instant,
    /// When a segment was last taken.
    active: Instant,
    /// When it was last run.
    pub(crate) ran: Instant,
    /// Traffic class of what the client sent last: that of what leaves towards the server.
    tos_up: u8,
    /// Traffic class of what the server sent last.
    tos_down: u8,
    /// Why it ends, once it does otherwise than cleanly.
    ending: Option<Counter>,
    /// When addresses of the other family are announced, unless a subflow joined by then.
    pub(crate) announce_other_at: Option<Instant>,
    /// The paths of further subflows, if we open any.
    pub(crate) paths: Option<Box<Paths>>,
    /// Whose it is, to count what it uses.
    pub(crate) subscriber: Option<Handle>,
    /// Subflows whose paths are capped.
    pub(crate) capped: Vec<Capped>,
    /// When a cap lets more go that waits for that.
    pub(crate) cap_wake: Option<Instant>,
    /// Octets held when it was last looked at.
    pub(crate) held: u64,
    /// Its entry in the timer wheel.
    pub(crate) alarm: Alarm,
    /// Whether its windows were kept small when it last ran, as buffers were short.
    pub(crate) starved: bool,
    /// Whether it is in the list of relays to run at the end of this burst.
    pub(crate) woken: bool,
}

impl<B: PacketBuf> Relay<B> {
    /// A relay between `client` and `server`, opened for the SYN that came at `opened`.
    pub(crate) fn new(
        id: u64,
        ends: Ends,
        (client, server): (Leg<B>, Leg<B>),
        (opened, now): (Instant, Instant),
        (tos_up, tos_down): (u8, u8),
    ) -> Self {
        Self {
            id,
            ends,
            client,
            server,
            token: None,
            account: 0,
            joined: Vec::new(),
            up: Pump::default(),
            down: Pump::default(),
            opened,
            active: now,
            ran: now,
            tos_up,
            tos_down,
            ending: None,
            announce_other_at: None,
            paths: None,
            subscriber: None,
            capped: Vec::new(),
            cap_wake: None,
            held: 0,
            alarm: Alarm::default(),
            starved: false,
            woken: false,
        }
    }

    /// Whether segments of `key` are those of this leg and subflow.
    fn has(&self, which: Which, key: &FlowKey) -> bool {
        let (leg, id, is_first) = match which {
            Which::Client(id) => (&self.client, id, self.ends.is_access(key)),
            Which::Server(id) => (&self.server, id, self.ends.is_core(key)),
        };
        // The number of a first subflow that has ended may be that of one which joined.
        if id == SubflowId::INITIAL && is_first {
            return true;
        }
        // The subflow itself is needed next anyway; the list alone knows of those that have just ended.
        let subflow = leg.multipath().and_then(|leg| leg.subflow(id));
        match subflow {
            Some(subflow) => subflow.tuple() == key.tuple,
            None => self.joined.contains(&(id, key.tuple)),
        }
    }

    /// One of the legs.
    pub(crate) const fn leg(&mut self, which: Which) -> &mut Leg<B> {
        match which {
            Which::Client(_) => &mut self.client,
            Which::Server(_) => &mut self.server,
        }
    }

    /// The leg that speaks Multipath TCP, if one does.
    pub(crate) fn multipath(&self) -> Option<&Connection<B>> {
        self.client.multipath().or_else(|| self.server.multipath())
    }

    /// The same, to be changed.
    pub(crate) fn multipath_mut(&mut self) -> Option<&mut Connection<B>> {
        match &mut self.client {
            Leg::Multipath(connection) => Some(connection),
            Leg::Plain(_) => self.server.multipath_mut(),
        }
    }

    /// The name of subflow `id` of that leg.
    pub(crate) const fn multipath_leg(&self, id: SubflowId) -> Which {
        match self.client {
            Leg::Multipath(_) => Which::Client(id),
            Leg::Plain(_) => Which::Server(id),
        }
    }

    /// Has silent ends probed every `period`, that of a Multipath TCP leg on its first subflow, or on another once that is gone:
    /// who asks the box by a probe of his own hears of the box alone, and keeps alive what the other end may have lost.
    pub(crate) fn set_keepalive(&mut self, now: Instant, period: Duration) {
        for leg in [&mut self.client, &mut self.server] {
            match leg {
                Leg::Plain(leg) => leg.tcb.set_keepalive(now, period),
                Leg::Multipath(leg) => leg.keep_alive(now, SubflowId::INITIAL, period),
            }
        }
    }

    /// Whether the payload of `segment` from `which` leg is too much where `held_max` octets may be held. What is beyond
    /// a gap counts for that, too, but never keeps out what closes the gap.
    ///
    /// Nothing is refused that was offered, but where slices are short or the last buffers are due, when `held_max` is less: windows
    /// are made of no more than that, and scaling rounds them down (RFC 7323 2.3). Rounded up they would lend up to a unit beyond it,
    /// and who fills a window would have its last octets refused for as long as the other end reads nothing.
    pub(crate) fn is_full(&self, which: Which, segment: &Segment<B>, held_max: usize) -> bool {
        let (from, to, id) = match which {
            Which::Client(id) => (&self.client, &self.server, id),
            Which::Server(id) => (&self.server, &self.client, id),
        };
        let held = held(to);
        held >= held_max || (!from.is_next(id, segment.seq) && held + waiting(from) >= held_max)
    }

    /// Takes a segment of one of the legs.
    pub(crate) fn input(&mut self, cx: &mut Cx<'_>, which: Which, segment: &Segment<B>) {
        let (leg, id, tos) = match which {
            Which::Client(id) => (&mut self.client, id, &mut self.tos_up),
            Which::Server(id) => (&mut self.server, id, &mut self.tos_down),
        };
        if leg.input(cx, id, segment) {
            self.active = cx.now;
            if !segment.payload.is_empty() {
                // DSCP crosses with the data; ECN belongs to each leg alone.
                *tos = segment.tos & 0xfc;
            }
        }
    }

    /// The traffic class of what leaves by `which` leg.
    pub(crate) const fn tos(&self, which: Which) -> u8 {
        match which {
            Which::Client(_) => self.tos_down,
            Which::Server(_) => self.tos_up,
        }
    }

    /// The traffic class of what leaves by the Multipath TCP leg.
    pub(crate) const fn multipath_tos(&self) -> u8 {
        match self.client {
            Leg::Multipath(_) => self.tos_down,
            Leg::Plain(_) => self.tos_up,
        }
    }

    /// Runs due timers, passes the end of one leg to the other, moves data: how many octets. Each direction may hold `room`
    /// octets.
    pub(crate) fn run(&mut self, cx: &mut Cx<'_>, room: Room, timeouts: &Timeouts) -> u64 {
        self.ran = cx.now;
        // Nothing is due before its entry in the wheel has fired.
        let due = !self.alarm.is_set();
        if due {
            for leg in [&mut self.client, &mut self.server] {
                if leg.next_deadline().is_some_and(|at| at <= cx.now) {
                    leg.advance(cx);
                }
            }
        }
        self.cross_ends(cx);
        if due && self.ending.is_none() && self.times_out_at(timeouts) <= cx.now {
            self.reset(cx, Counter::ClosedIdle);
        }
        let up = move_data(&mut self.up, &mut self.client, &mut self.server, room);
        let down = move_data(&mut self.down, &mut self.server, &mut self.client, room);
        up + down
    }

    /// A leg that was reset or lost takes the other with it.
    fn cross_ends(&mut self, cx: &mut Cx<'_>) {
        let multipath = |leg: &Leg<B>| leg.multipath().is_some();
        let why = match (self.client.fate(), self.server.fate()) {
            (_, Some(Fate::Lost)) if multipath(&self.server) => Counter::ClosedAllPathsLost,
            (Some(Fate::Lost), _) if multipath(&self.client) => Counter::ClosedAllPathsLost,
            (_, Some(Fate::Reset)) => Counter::ClosedServerReset,
            (_, Some(Fate::Lost)) => Counter::ClosedServerLost,
            (Some(Fate::Reset), _) => Counter::ClosedClientReset,
            (Some(Fate::Lost), _) => Counter::ClosedClientLost,
            _ => return,
        };
        self.reset(cx, why);
    }

    /// Resets what is left of both legs.
    pub(crate) fn reset(&mut self, cx: &mut Cx<'_>, why: Counter) {
        self.ending.get_or_insert(why);
        self.client.abort(cx);
        self.server.abort(cx);
    }

    /// The legs in the order in which they send.
    pub(crate) const fn order(&self) -> [Which; 2] {
        let [server, client] = LEGS;
        if self.down.has_end() && !self.up.has_end() {
            [client, server]
        } else {
            [server, client]
        }
    }

    /// Acknowledges the ends of stream that have been sent on; whether there was one, so that output is due again.
    pub(crate) fn settle_ends(&mut self, now: Instant) -> bool {
        let up = self.up.settle_end(now, &mut self.client, &self.server);
        let down = self.down.settle_end(now, &mut self.server, &self.client);
        up || down
    }

    /// Why the relay is over, once both legs have ended, or are past where what is left of their subflows can be `kept`. To
    /// be asked when all output was sent.
    pub(crate) fn is_over(&self, kept: bool) -> Option<Counter> {
        let ended = |leg: &Leg<B>| leg.fate().is_some() || kept && leg.is_past();
        let over = ended(&self.client) && ended(&self.server);
        over.then(|| self.ending.unwrap_or(Counter::ClosedClean))
    }

    /// Slices held for either end: each pins a packet buffer.
    pub(crate) fn pieces(&self) -> usize {
        self.client.pieces() + self.server.pieces()
    }

    /// Octets held for either end, what waits for lost ones before it with them.
    pub(crate) fn holds(&self) -> u64 {
        let octets = |leg: &Leg<B>| held(leg) + waiting(leg);
        u64::try_from(octets(&self.client) + octets(&self.server)).unwrap_or(u64::MAX)
    }

    /// Whether one of the ends has begun to close.
    pub(crate) const fn is_closing(&self) -> bool {
        self.up.is_finishing() || self.down.is_finishing() || self.ending.is_some()
    }

    fn times_out_at(&self, timeouts: &Timeouts) -> Instant {
        let closing = self.up.is_finishing() && self.down.is_finishing();
        self.active
            + if closing {
                timeouts.closing
            } else {
                timeouts.idle
            }
    }

    /// When it must be run though nothing arrives.
    pub(crate) fn next_deadline(&self, timeouts: &Timeouts) -> Instant {
        let join = self.paths.as_ref().filter(|_| self.may_join());
        let due = Instant::NEVER
            .before(self.client.next_deadline())
            .before(self.server.next_deadline())
            .before(self.announce_other_at)
            .before(join.and_then(|paths| paths.next_due()))
            .before(self.cap_wake);
        // If it was given up, and in version 0 the end waits for an answer, its leg knows for how long.
        if self.ending.is_some() && due != Instant::NEVER {
            return due;
        }
        due.min(self.times_out_at(timeouts))
    }
}
