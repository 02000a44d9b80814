//! The loop: frames arrive, nodes run, time jumps to the next thing that happens; and after each step what must hold.

use crate::cable::{Arrival, Cable};
use crate::node::Node;
use crate::oracle::Failure;
use crate::plan::Plan;
use crate::scene::{self, START};
use crate::trace::{Point, Trace};
use stack::Instant;
use stack::time::{Duration, earlier};
use std::collections::BTreeMap;

/// Rounds at one moment after which the network does not come to rest.
const ROUNDS: u32 = 20_000;

/// How long is waited for everything to be let go: longer than an idle relay is kept.
const LEAVE: Duration = Duration::from_secs(4 * 3600);

/// A whole network in virtual time.
pub struct World {
    now: Instant,
    nodes: Vec<Node>,
    cables: Vec<Cable>,
    /// What happened.
    pub trace: Trace,
    arrivals: Vec<Arrival>,
    sent: Vec<(usize, Vec<u8>)>,
    /// Frames given to the devices of boxes.
    delivered: u64,
    /// Flows that were ended because a host of theirs hung.
    pub excused: Vec<usize>,
}

impl World {
    /// The network of `plan` at its start.
    #[must_use]
    pub fn new(plan: &Plan, trace: Trace) -> Self {
        let scene = scene::build(plan);
        Self {
            now: START,
            nodes: scene.nodes,
            cables: scene.cables,
            trace,
            arrivals: Vec::new(),
            sent: Vec::new(),
            delivered: 0,
            excused: Vec::new(),
        }
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// Runs until every flow is over and nothing is left.
    ///
    /// # Errors
    /// The first thing that must not be.
    pub fn run(&mut self, plan: &Plan) -> Result<(), Failure> {
        let patience = scene::patience(plan);
        let mut end = START + plan.calm() + patience;
        while !self.is_over() {
            self.settle()?;
            if self.is_over() {
                break;
            }
            match self.next_event() {
                Some(at) if at <= end => self.now = self.now.max(at),
                // A host that pauses sees the end of its flow only afterwards.
                _ if self.excuse(plan) => end = self.now + patience,
                _ => return Err(self.unended()),
            }
        }
        // Hosts believe forged segments that a box does not: only what boxes relay is safe from them.
        if plan.promises() && (!plan.forges() || self.relayed_all(plan)) {
            self.whole()?;
        }
        self.leave()
    }

    /// Runs until `at`, whatever is over by then.
    ///
    /// # Errors
    /// The first thing that must not be.
    pub fn run_until(&mut self, at: Instant) -> Result<(), Failure> {
        loop {
            self.settle()?;
            match self.next_event() {
                Some(next) if next <= at => self.now = self.now.max(next),
                _ => {
                    self.now = at;
                    return Ok(());
                },
            }
        }
    }

    /// Octets of flow number `flow` that have come at the client (0) or at the server (1).
    #[must_use]
    pub fn received(&self, flow: usize, which: usize) -> u64 {
        let mut ends = self.ends().filter(|end| end.flow == flow);
        ends.nth(which).map_or(0, |end| end.expects.got())
    }

    /// Octets of frames that have passed lane `lane` of link `cable`.
    #[must_use]
    pub fn carried(&self, cable: usize, lane: usize) -> u64 {
        self.cables[cable].lanes[lane].counts().passed_octets
    }

    /// Frames that lane `lane` of link `cable` has taken and not dropped, and how many of them have arrived.
    #[must_use]
    pub fn frames(&self, cable: usize, lane: usize) -> [u64; 2] {
        let lane = &self.cables[cable].lanes[lane];
        let taken = lane.counts().passed;
        [taken, taken - lane.under_way() as u64]
    }

    /// Lets all that is due at the present moment happen.
    fn settle(&mut self) -> Result<(), Failure> {
        for _ in 0..ROUNDS {
            if !self.round()? {
                return Ok(());
            }
        }
        Err(Failure::Restless {
            who: format!("everybody, at {:?}", self.now),
        })
    }

    /// One round; whether anything moved.
    fn round(&mut self) -> Result<bool, Failure> {
        let now = self.now;
        let mut moved = false;
        for cable in 0..self.cables.len() {
            if self.cables[cable].next_due().is_some_and(|at| at <= now) {
                self.cables[cable].arrivals(now, &mut self.arrivals);
                self.arrive(cable);
                moved = true;
            }
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].due().is_some_and(|at| at <= now) {
                self.nodes[node].poll(now, &mut self.sent);
                moved = true;
                self.check(node)?;
                self.send(node);
            }
        }
        Ok(moved)
    }

    fn arrive(&mut self, cable: usize) {
        for chance in self.cables[cable].chances() {
            let ends = self.nodes.iter_mut().flat_map(Node::ends_mut);
            ends.for_each(|end| end.expects.may_come(&chance));
        }
        for Arrival { plug, frame } in self.arrivals.drain(..) {
            self.trace.note(self.now, cable, Point::Arrived, &frame);
            self.delivered += u64::from(matches!(self.nodes[plug.node], Node::Machine(_)));
            self.nodes[plug.node].deliver(self.now, plug.card, frame);
        }
    }

    fn send(&mut self, node: usize) {
        let sent = std::mem::take(&mut self.sent);
        for (card, frame) in sent {
            let on = |cable: &Cable| {
                cable
                    .ends
                    .iter()
                    .any(|plug| plug.node == node && plug.card == card)
            };
            let Some(cable) = self.cables.iter().position(on) else {
                continue;
            };
            self.trace.note(self.now, cable, Point::Sent, &frame);
            self.cables[cable].put(self.now, node, frame, &mut self.arrivals);
            self.arrive(cable);
        }
    }

    /// What must hold of a node after each of its turns.
    fn check(&self, node: usize) -> Result<(), Failure> {
        match &self.nodes[node] {
            host @ (Node::Host(_) | Node::Native(_)) => {
                let failure = host.ends().iter().find_map(|end| end.failure.clone());
                failure.map_or(Ok(()), Err)
            },
            Node::Machine(machine) => {
                if let Some(what) = machine.wrong() {
                    let (node, what) = (machine.name, what.to_owned());
                    return Err(Failure::Sent { node, what });
                }
                if let Some(what) = machine.imbalance() {
                    let node = machine.name;
                    return Err(Failure::Unbalanced { node, what });
                }
                if machine.is_restless() {
                    let (name, holds) = (machine.name, machine.occupancy());
                    let (now, asks) = (self.now, machine.asks());
                    return Err(Failure::Restless {
                        who: format!(
                            "{name} at {now:?} asks for a turn at {asks:?}, and does nothing: {holds:?}"
                        ),
                    });
                }
                let (holds, limits) = (machine.occupancy(), machine.limits());
                let buffer = u64::from(limits.buffer.max(64 << 10));
                let bound = holds.relays as u64 * 2 * buffer + (1 << 20);
                if holds.held > bound
                    || holds.relays > limits.relays
                    || holds.pending > limits.pending
                {
                    return Err(Failure::OverLimit {
                        node: machine.name,
                        what: format!("{holds:?}"),
                    });
                }
                Ok(())
            },
        }
    }

    fn next_event(&self) -> Option<Instant> {
        let cables = self.cables.iter().filter_map(Cable::next_due).min();
        let nodes = self.nodes.iter().filter_map(Node::due).min();
        earlier(cables, nodes)
    }

    /// Whether every flow is over: that of an opener who gave up may never have come to the other end.
    fn is_over(&self) -> bool {
        let given_up = |flow| self.ends().any(|end| end.flow == flow && end.over);
        self.ends()
            .all(|end| end.over || end.listens && given_up(end.flow))
    }

    fn ends(&self) -> impl Iterator<Item = &crate::app::Endpoint> {
        self.nodes.iter().flat_map(Node::ends)
    }

    fn state(&self, flow: usize) -> String {
        let one = |end: &crate::app::Endpoint| {
            let (got, sent) = (end.expects.got(), end.sent);
            let of = end.sends.len;
            let how = if end.finished { ", saw the end" } else { "" };
            let over = if end.over { ", over" } else { "" };
            format!("{sent} of {of} sent, {got} came{how}{over}")
        };
        let ends: Vec<_> = self
            .ends()
            .filter(|end| end.flow == flow)
            .map(one)
            .collect();
        let seconds = core::time::Duration::from(self.now.since(START)).as_secs_f64();
        format!("client {}; server {}; at {seconds:.3} s", ends[0], ends[1])
    }

    fn unended(&self) -> Failure {
        let flow = self.ends().find(|end| !end.over).map_or(0, |end| end.flow);
        Failure::Unended {
            flow,
            state: self.state(flow),
        }
    }

    /// Ends a flow that hangs because a host of its own does, or that runs between hosts alone, as no box relays anything
    /// any more; whether there was one. What a host sends that heeds no congestion may come to no end, either, where not every
    /// box relays it: all but a queue of each window is lost on an access, and goes again once its timer has backed off.
    fn excuse(&mut self, plan: &Plan) -> bool {
        let relays = self
            .machines()
            .any(|machine| machine.occupancy().relays > 0);
        let passed_on = !self.relayed_all(plan);
        let floods = |flow| {
            let ends = self.ends().filter(|end| end.flow == flow);
            let mut others = ends.zip(plan.net.habits.iter().rev());
            passed_on && others.all(|(end, other)| end.expects.is_complete() || !other.reno)
        };
        // What a box still holds it may have stopped to move itself: its host waits for that, however it was reminded.
        let holds = self.machines().any(|machine| machine.occupancy().held > 0);
        let nudged = |flow| !holds && self.ends().any(|end| end.flow == flow && end.nudged);
        let hangs = |flow| !relays || floods(flow) || nudged(flow);
        let Some(flow) = self
            .ends()
            .find(|end| !end.over && hangs(end.flow))
            .map(|end| end.flow)
        else {
            return false;
        };
        if self.excused.contains(&flow) {
            return false;
        }
        self.excused.push(flow);
        let now = self.now;
        for node in &mut self.nodes {
            node.abort(now, flow);
        }
        true
    }

    /// Whether every flow was relayed by every box, and none went by as it came.
    fn relayed_all(&mut self, plan: &Plan) -> bool {
        let counters = self.counters();
        let opened =
            |(_, all): &(_, BTreeMap<String, u64>)| all.get("relay_opened").copied().unwrap_or(0);
        counters
            .iter()
            .all(|of| opened(of) >= plan.flows.len() as u64)
    }

    /// Every flow has come through whole.
    fn whole(&self) -> Result<(), Failure> {
        let broken =
            |end: &&crate::app::Endpoint| !end.is_complete() && !self.excused.contains(&end.flow);
        match self.ends().find(broken) {
            None => Ok(()),
            Some(end) => Err(Failure::Broken {
                flow: end.flow,
                state: self.state(end.flow),
            }),
        }
    }

    /// After all has ended nothing is left of it, and every frame is accounted for.
    fn leave(&mut self) -> Result<(), Failure> {
        let end = self.now + LEAVE;
        loop {
            self.settle()?;
            let left = self
                .machines()
                .find_map(|machine| Some((machine.name, machine.leftover()?)));
            let travels = |cable: &Cable| cable.lanes.iter().any(|lane| lane.under_way() > 0);
            let waits = self.machines().any(crate::node::Machine::has_unfetched);
            let still = waits || self.cables.iter().any(travels);
            let Some((node, what)) = left else {
                if still {
                    self.now = self.next_event().unwrap_or(end).max(self.now);
                    continue;
                }
                return self.accounts();
            };
            match self.next_event() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => return Err(Failure::Leftover { node, what }),
            }
        }
    }

    fn machines(&self) -> impl Iterator<Item = &crate::node::Machine> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Machine(machine) => Some(machine),
            Node::Host(_) | Node::Native(_) => None,
        })
    }

    /// No frame is lost between the counters of links, devices and boxes, and no payload was copied.
    fn accounts(&self) -> Result<(), Failure> {
        for (n, cable) in self.cables.iter().enumerate() {
            for lane in &cable.lanes {
                let c = lane.counts();
                let out = c.passed - c.duplicated + c.full + c.lost + c.down;
                if c.entered != out {
                    return Err(Failure::Lost {
                        what: format!("link {n}: {c:?}"),
                    });
                }
            }
        }
        let mut received = 0;
        for machine in self.machines() {
            if let Some(what) = machine.unaccounted() {
                let what = format!("{}: {what}", machine.name);
                return Err(Failure::Lost { what });
            }
            for far in &machine.far {
                let stats = far.stats();
                let [joined, into] = far.joined();
                received += stats.rx_packets + stats.rx_nobuf + stats.rx_missed + joined - into;
                if stats.copied_in_stack > 0 {
                    return Err(Failure::Copied { node: machine.name });
                }
            }
        }
        if received != self.delivered {
            let delivered = self.delivered;
            return Err(Failure::Lost {
                what: format!("{delivered} frames were given to devices, {received} were counted"),
            });
        }
        Ok(())
    }

    /// Everything that the boxes count, by box.
    pub fn counters(&mut self) -> Vec<(&'static str, BTreeMap<String, u64>)> {
        let now = self.now;
        let machines = self.nodes.iter_mut().filter_map(|node| match node {
            Node::Machine(machine) => Some(machine),
            Node::Host(_) | Node::Native(_) => None,
        });
        machines
            .map(|machine| (machine.name, machine.counters(now)))
            .collect()
    }
}
