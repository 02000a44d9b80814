//! A network in virtual time: hosts, links with delay and seeded loss, and the box under test in the middle.

use super::BoxWorker;
use apps::control::{Command, Reply, merge};
use apps::engine::{Engine, Occupancy};
use dataplane::memory::linear;
use dataplane::{App, BufferUse, MemBuf, MemPort, MemWire, Port, PortReport, Worker};
use stack::time::{Duration, earlier};
use stack::{Instant, PortId};
use testbed::link::{self, Shape};

/// Something with network cards at the end of links.
pub trait Node {
    /// A frame has arrived at the card `nic`.
    fn deliver(&mut self, now: Instant, nic: usize, frame: Vec<u8>);
    /// Runs once; frames to send go to `out` with the card they leave by.
    fn poll(&mut self, now: Instant, out: &mut Vec<(usize, Vec<u8>)>);
    /// When `poll` has something to do although nothing arrives.
    fn next_deadline(&mut self, now: Instant) -> Option<Instant>;
}

/// A link between one of a host's cards and one of the box's ports.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Which host, in the order of the simulation.
    pub host: usize,
    /// Which of its cards.
    pub nic: usize,
    /// What it is like, each way.
    pub shape: Shape,
    /// Largest IP packet that passes from the box: a router answers a larger one, and drops it.
    pub mtu: usize,
}

/// Where a frame was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Sent by the host towards the box.
    ToBox,
    /// Sent by the box.
    FromBox,
}

/// A frame as it was put on a link, lost afterwards or not.
#[derive(Clone, Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// On the link of which port.
    pub port: usize,
    /// In which direction.
    pub way: Way,
    /// All of it.
    pub frame: Vec<u8>,
}

/// A link's two directions, with the frames on them.
struct Wire {
    to_box: link::Link<Vec<u8>>,
    from_box: link::Link<Vec<u8>>,
}

impl Wire {
    fn new(shape: Shape, seed: u64) -> Self {
        Self {
            to_box: link::Link::new(shape, 2 * seed),
            from_box: link::Link::new(shape, 2 * seed + 1),
        }
    }

    fn way(&mut self, way: Way) -> &mut link::Link<Vec<u8>> {
        match way {
            Way::ToBox => &mut self.to_box,
            Way::FromBox => &mut self.from_box,
        }
    }
}

/// What all of some workers hold.
pub fn total<'a>(workers: impl Iterator<Item = &'a Worker<MemPort, Engine<MemBuf>>>) -> Occupancy {
    let held = workers.map(|worker| worker.app().occupancy());
    held.fold(Occupancy::default(), |a, b| Occupancy {
        flows: a.flows + b.flows,
        pending: a.pending + b.pending,
        subscribers: a.subscribers + b.subscribers,
        relays: a.relays + b.relays,
        resting: a.resting + b.resting,
        joining: a.joining + b.joining,
        tokens: a.tokens + b.tokens,
        time_waits: a.time_waits + b.time_waits,
        timers: a.timers + b.timers,
        mappings: a.mappings + b.mappings,
        strays: a.strays + b.strays,
        waiting: a.waiting + b.waiting,
        held: a.held + b.held,
        pieces: a.pieces + b.pieces,
    })
}

/// Every frame that these workers were given has ended, in one fate, or waits.
pub fn assert_balance<'a>(workers: impl Iterator<Item = &'a Worker<MemPort, Engine<MemBuf>>>) {
    for worker in workers {
        let frames = worker.app().frames();
        assert!(frames.balance(), "{frames:?}");
    }
}

/// The simulation: port `n` of the box hangs on `links[n]`.
pub struct Sim<H> {
    pub now: Instant,
    pub worker: Worker<MemPort, Engine<MemBuf>>,
    /// Further workers of the box, each with a queue of its own at every port: `queues[n][port]` is worker `n + 1`'s.
    pub siblings: Vec<Worker<MemPort, Engine<MemBuf>>>,
    queues: Vec<Vec<MemWire>>,
    /// Which worker receives what a host sends: the device's choice, as bad as it likes.
    pub queue_of: fn(&[u8]) -> usize,
    pub hosts: Vec<H>,
    pub links: Vec<Link>,
    /// Every frame on every link, in order, if `record` is set.
    pub seen: Vec<Seen>,
    pub record: bool,
    /// Packets dropped because they were larger than a link's MTU.
    pub too_big: usize,
    ports: Vec<MemWire>,
    wires: Vec<Wire>,
}

impl<H: Node> Sim<H> {
    pub fn new(
        worker: Worker<MemPort, Engine<MemBuf>>,
        ports: Vec<MemWire>,
        hosts: Vec<H>,
        links: Vec<Link>,
        seed: u64,
    ) -> Self {
        let seeds = seed * links.len() as u64..;
        let wires = links.iter().zip(seeds);
        let wires = wires.map(|(link, seed)| Wire::new(link.shape, seed));
        Self {
            now: Instant::from_millis(1_000),
            worker,
            siblings: Vec::new(),
            queues: Vec::new(),
            queue_of: |_| 0,
            hosts,
            wires: wires.collect(),
            links,
            seen: Vec::new(),
            record: true,
            too_big: 0,
            ports,
        }
    }

    /// Gives the box further workers with queues of their own; `queue_of` is taken modulo their number.
    pub fn add_workers(&mut self, workers: Vec<BoxWorker>, queue_of: fn(&[u8]) -> usize) {
        (self.siblings, self.queues) = workers.into_iter().unzip();
        self.queue_of = queue_of;
    }

    fn queue(&self, port: usize, frame: &[u8]) -> &MemWire {
        let worker = (self.queue_of)(frame) % (1 + self.queues.len());
        let more = worker.checked_sub(1).map(|n| &self.queues[n][port]);
        more.unwrap_or(&self.ports[port])
    }

    /// What all workers hold.
    pub fn occupancy(&self) -> Occupancy {
        total(self.siblings.iter().chain([&self.worker]))
    }

    fn put_on_link(&mut self, port: usize, way: Way, frame: Vec<u8>) {
        if self.record {
            let at = self.now;
            self.seen.push(Seen {
                at,
                port,
                way,
                frame: frame.clone(),
            });
        }
        let link = self.links[port];
        let too_big = way == Way::FromBox && frame.len() > 14 + link.mtu;
        if too_big && !link.shape.down {
            self.too_big += 1;
            let error = super::raw::too_big(&frame, u16::try_from(link.mtu).unwrap());
            return self.put_on_link(port, Way::ToBox, error);
        }
        let wire = self.wires[port].way(way);
        wire.reshape(link.shape);
        wire.put(self.now, frame.len(), frame);
    }

    /// Puts a raw frame on the link of `port`, as if its host had sent it.
    pub fn inject(&mut self, port: usize, frame: Vec<u8>) {
        self.put_on_link(port, Way::ToBox, frame);
    }

    fn deliver_due(&mut self) {
        while let Some((_, port, way)) = self.next_arrival()
            && let Some((_, frame)) = self.wires[port].way(way).take(self.now)
        {
            if way == Way::ToBox {
                let queue = self.queue(port, &frame);
                assert!(queue.put(frame), "the wire into the box is full");
            } else {
                let link = self.links[port];
                self.hosts[link.host].deliver(self.now, link.nic, frame);
            }
        }
    }

    /// When, on the link of which port and in which direction the next frame arrives.
    fn next_arrival(&self) -> Option<(Instant, usize, Way)> {
        let arrivals = self.wires.iter().enumerate().flat_map(|(port, wire)| {
            let to_box = wire.to_box.next_due().map(|at| (at, port, Way::ToBox));
            let from_box = wire.from_box.next_due().map(|at| (at, port, Way::FromBox));
            to_box.into_iter().chain(from_box)
        });
        arrivals.min_by_key(|&(at, ..)| at)
    }

    fn poll_all(&mut self) -> usize {
        let mut moved = 0;
        let mut out = Vec::new();
        for host in 0..self.hosts.len() {
            self.hosts[host].poll(self.now, &mut out);
            moved += out.len();
            for (nic, frame) in out.drain(..) {
                let port = self
                    .links
                    .iter()
                    .position(|l| l.host == host && l.nic == nic);
                self.put_on_link(port.unwrap(), Way::ToBox, frame);
            }
        }
        moved += self.worker.poll(self.now);
        for worker in &mut self.siblings {
            moved += worker.poll(self.now);
        }
        assert_balance(self.siblings.iter().chain([&self.worker]));
        for port in 0..self.ports.len() {
            while let Some(frame) = self.ports[port].take() {
                self.put_on_link(port, Way::FromBox, linear(&frame));
            }
            for queue in 0..self.queues.len() {
                while let Some(frame) = self.queues[queue][port].take() {
                    self.put_on_link(port, Way::FromBox, linear(&frame));
                }
            }
        }
        moved
    }

    /// Lets all that is due at the present instant happen.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            self.deliver_due();
            if self.poll_all() == 0 {
                return;
            }
        }
        panic!("the network does not come to rest at {:?}", self.now);
    }

    fn next_event(&mut self) -> Option<Instant> {
        let mut next = self.next_arrival().map(|(at, ..)| at);
        for worker in self.siblings.iter().chain([&self.worker]) {
            next = earlier(next, worker.next_deadline());
        }
        for host in &mut self.hosts {
            next = earlier(next, host.next_deadline(self.now));
        }
        next
    }

    /// Runs for `duration`, calling `each` whenever something may have changed, until `each` returns `true`; whether
    /// it did.
    pub fn run(&mut self, duration: Duration, mut each: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + duration;
        loop {
            self.settle();
            if each(self) {
                return true;
            }
            self.settle();
            let least = self.now + Duration::from_micros(10);
            let next = self.next_event().map_or(end, |at| at.max(least));
            if next >= end {
                self.now = end;
                self.settle();
                return each(self);
            }
            self.now = next;
        }
    }

    /// Makes the port report so many thousandths of its packet buffers as used.
    pub fn report_buffers(&self, port: usize, used: u32) {
        self.ports[port].report_buffers(BufferUse { used, size: 1_000 });
    }

    /// Gives the port a pool of so many packet buffers, from its next frame on.
    pub fn limit_buffers(&self, port: usize, size: u32) {
        self.ports[port].limit_buffers(size);
    }

    /// The packet buffers of the port.
    pub fn buffers(&self, port: usize) -> BufferUse {
        self.worker.ports()[port].buffers()
    }

    /// Frames that the port lost as there was no buffer to receive into.
    pub fn starved(&self, port: usize) -> u64 {
        self.worker.ports()[port].stats().rx_nobuf
    }

    /// Runs for `duration`.
    pub fn idle(&mut self, duration: Duration) {
        self.run(duration, |_| false);
    }

    /// Gives every worker of the box a command, and makes one answer of theirs.
    pub fn command(&mut self, command: Command) -> Reply {
        let (now, mut out, mut replies) = (self.now, Vec::new(), Vec::new());
        for worker in core::iter::once(&mut self.worker).chain(&mut self.siblings) {
            let report = |port: &MemPort| PortReport {
                info: port.info().clone(),
                stats: port.stats(),
                buffers: port.buffers(),
            };
            let reports: Vec<_> = worker.ports().iter().map(report).collect();
            let stats = worker.stats();
            worker.app_mut().ports(&reports);
            worker.app_mut().worker(stats);
            replies.push(worker.app_mut().command(now, command, &mut out));
        }
        for frame in out {
            let PortId(port) = frame.port;
            self.put_on_link(usize::from(port), Way::FromBox, linear(&frame));
        }
        merge(command, replies).unwrap()
    }

    /// Puts the box of another simulation in the place of this one's, as a restart does.
    pub fn replace_box(&mut self, fresh: Self) {
        self.worker = fresh.worker;
        self.ports = fresh.ports;
        self.siblings = fresh.siblings;
        self.queues = fresh.queues;
    }

    /// The frames seen on the link of `port` in direction `way`.
    pub fn on(&self, port: usize, way: Way) -> impl Iterator<Item = &Seen> {
        self.seen
            .iter()
            .filter(move |s| s.port == port && s.way == way)
    }
}
