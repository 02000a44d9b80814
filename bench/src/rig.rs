//! A load generator and a box between its ports, all on this thread: real connections, and only the box is timed.
//!
//! A port of the rig moves no octets: what is sent is handed over as it stands, and the rig itself puts each frame in one
//! piece before the other side receives it, as a network card would by DMA, outside of what is timed. Time is virtual, so
//! retransmission timers do not depend on how fast this machine is; what is
//! measured is this thread's processor time, so others on the same core do not count.

use crate::clock;
use apps::engine::{Engine, EngineConfig, Limits, PerSubscriber};
use dataplane::memory::{MemBuf, linear};
use dataplane::{
    App, BURST, BufferUse, CoreId, Owner, Port, PortInfo, PortStats, Received, RxChecksum, Worker,
    mailbox,
};
use loadgen::{Config, Flowgen};
use stack::time::Duration;
use stack::{Frame, Header, Instant, PortId, Slice};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;
use std::rc::Rc;

/// Virtual time of a turn.
const TURN: Duration = Duration::from_micros(20);

/// Received buffers that the rig keeps a reference to: what the box frees of them frees no memory, as with a pool.
const KEPT: usize = 1 << 14;

type Sent = Rc<RefCell<Vec<Frame<MemBuf>>>>;
type Waiting = Rc<RefCell<VecDeque<Received<MemBuf>>>>;

/// One end of a cable of the rig.
pub struct RigPort {
    info: PortInfo,
    sent: Sent,
    waiting: Waiting,
}

impl Port for RigPort {
    type Buf = MemBuf;

    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, into: &mut Vec<Received<MemBuf>>) {
        let mut waiting = self.waiting.borrow_mut();
        let burst = waiting.len().min(BURST);
        into.extend(waiting.drain(..burst));
    }

    fn give(&mut self, frames: &mut [Frame<MemBuf>]) {
        let taken = frames.iter_mut().map(Frame::take);
        self.sent.borrow_mut().extend(taken);
    }

    fn stats(&self) -> PortStats {
        PortStats::default()
    }

    fn buffers(&self) -> BufferUse {
        BufferUse::default()
    }
}

/// A cable: what either end sent, and what waits for the other.
struct Cable {
    generator: (Sent, Waiting),
    device: (Sent, Waiting),
}

/// What the box does with the clients' flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Relays Multipath TCP of so many subflows to TCP.
    Multipath(u8),
    /// Relays TCP to TCP.
    Plain,
    /// Routes their packets on.
    Routed,
    /// Carries frames from port to port as they are, as DPDK's testpmd does.
    Wire,
}

/// Which way payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the clients.
    Up,
    /// To them.
    Down,
}

/// What the clients do, beside who they are.
#[derive(Clone, Debug)]
pub struct Load {
    /// Connections at a time.
    pub connections: u32,
    /// Further keys of the section `client` of flowgen's file.
    pub client: String,
}

impl Load {
    /// A few connections that carry payload without end.
    #[must_use]
    pub fn endless(way: Way) -> Self {
        let client = match way {
            Way::Up => "request: endless, response: 0",
            Way::Down => "response: endless",
        };
        Self {
            connections: 8,
            client: client.to_owned(),
        }
    }

    /// Short connections: one request of 64 octets, one answer as long, and a clean end.
    #[must_use]
    pub fn short(connections: u32) -> Self {
        Self {
            connections,
            client: "request: 64, response: 64".to_owned(),
        }
    }
}

/// The box that is timed.
#[expect(clippy::large_enum_variant, reason = "there are a handful of them")]
enum Device {
    Engine(Worker<RigPort, Engine<MemBuf>>),
    Wire(Worker<RigPort, Wire>),
}

/// Carries frames from either of two ports to the other.
struct Wire;

impl App<MemBuf> for Wire {
    type Command = ();
    type Reply = ();
    type Word = ();

    fn owner(&self, _port: PortId, _frame: &[u8]) -> Owner {
        Owner::Core(CoreId(0))
    }

    fn input(
        &mut self,
        _now: Instant,
        port: PortId,
        burst: &mut Vec<Received<MemBuf>>,
        out: &mut Vec<Frame<MemBuf>>,
    ) {
        out.extend(burst.drain(..).map(|received| {
            Frame::new(
                PortId(1 - port.0),
                Header::default(),
                [received.frame].into_iter().collect(),
            )
        }));
    }

    fn flush(&mut self, _now: Instant, _out: &mut Vec<Frame<MemBuf>>) {}

    fn next_deadline(&self) -> Option<Instant> {
        None
    }

    fn command(&mut self, _now: Instant, (): (), _out: &mut Vec<Frame<MemBuf>>) {}
}

/// What the box did in a while.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Time in turns that moved something.
    pub busy: Duration,
    /// Payload that arrived at its end and was verified, octets.
    pub octets: u64,
    /// Requests answered.
    pub requests: u64,
    /// Frames that the box received.
    pub frames: u64,
}

/// The load generator, the box, and the cables between them.
pub struct Rig {
    generator: Worker<RigPort, Flowgen<MemBuf>>,
    device: Device,
    cables: Vec<Cable>,
    kept: VecDeque<MemBuf>,
    now: Instant,
    /// What reading the clock takes.
    reading: Duration,
    done: Done,
}

impl Rig {
    /// A box in `role` under `load`.
    ///
    /// # Panics
    /// The configuration that is written here is wrong.
    #[must_use]
    pub fn new(role: Role, load: &Load) -> Self {
        Self::with(role, load, engine(role, load))
    }

    /// A box of `role`, made from `device` if it is an engine.
    fn with(role: Role, load: &Load, device: EngineConfig) -> Self {
        let config = Config::read(&yaml(role, load)).expect("a right configuration");
        let (mut ours, mut theirs, mut cables) = (Vec::new(), Vec::new(), Vec::new());
        for port in &config.ports {
            let (a, b) = (end(&port.name), end(&port.name));
            cables.push(Cable {
                generator: (Rc::clone(&a.sent), Rc::clone(&a.waiting)),
                device: (Rc::clone(&b.sent), Rc::clone(&b.waiting)),
            });
            ours.push(a);
            theirs.push(b);
        }
        let known = |n: usize| PortInfo {
            mac: [2, 0, 0, 0, 7, n as u8],
            ..PortInfo::default()
        };
        let known: Vec<_> = (1..=ours.len()).map(known).collect();
        let mut fill = |octets: &[u8]| Some(MemBuf::from(octets.to_vec()));
        let generator = Flowgen::new(&config, &known, &mut fill, [3; 32], Instant::ZERO);
        let device = match role {
            Role::Wire => Device::Wire(Worker::new(CoreId(0), theirs, Wire, mailbox(1).1)),
            _ => {
                let engine = Engine::new(device).expect("the scene resolves");
                Device::Engine(Worker::new(CoreId(0), theirs, engine, mailbox(1).1))
            },
        };
        Self {
            generator: Worker::new(
                CoreId(0),
                ours,
                generator.expect("the addresses make a network"),
                mailbox(1).1,
            ),
            device,
            cables,
            kept: VecDeque::with_capacity(KEPT),
            now: Instant::ZERO,
            reading: clock::reading(),
            done: Done::default(),
        }
    }

    /// Turns until `enough` says so of what the box has done meanwhile; `meter` runs each turn of the box.
    ///
    /// # Panics
    /// Nothing moves any more, or something failed.
    pub fn run(
        &mut self,
        mut meter: impl FnMut(&mut dyn FnMut()),
        enough: impl Fn(&Self, &Done) -> bool,
    ) -> Done {
        let before = self.done();
        for _ in 0..20_000_000_u32 {
            self.turn(&mut meter);
            let now = self.done();
            let since = Done {
                busy: now.busy.saturating_sub(before.busy),
                octets: now.octets - before.octets,
                requests: now.requests - before.requests,
                frames: now.frames - before.frames,
            };
            if enough(self, &since) {
                assert_eq!(
                    self.generator.app().snapshot().failed,
                    0,
                    "nothing may fail"
                );
                return since;
            }
        }
        panic!(
            "it does not get there: {:?}",
            self.generator.app().snapshot()
        );
    }

    fn done(&self) -> Done {
        let snapshot = self.generator.app().snapshot();
        Done {
            octets: snapshot.received,
            requests: snapshot.answered,
            ..self.done
        }
    }

    fn turn(&mut self, meter: &mut impl FnMut(&mut dyn FnMut())) {
        self.now = self.now + TURN;
        let now = self.now;
        self.generator.poll(now);
        // It takes what the box sent at once, however many ports of the box sent to one of its own.
        let waits = |cable: &Cable| !cable.generator.1.borrow().is_empty();
        while self.cables.iter().any(waits) {
            self.generator.poll(now);
        }
        for cable in &self.cables {
            self.done.frames += carry(&cable.generator.0, &cable.device.1, &mut self.kept);
        }
        let (mut moved, mut took) = (0, Duration::ZERO);
        let device = &mut self.device;
        meter(&mut || {
            let start = clock::spent();
            moved = match device {
                Device::Engine(worker) => worker.poll(now),
                Device::Wire(worker) => worker.poll(now),
            };
            took = clock::spent().saturating_sub(start);
        });
        if moved > 0 {
            self.done.busy += took.saturating_sub(self.reading);
        }
        for cable in &self.cables {
            carry(&cable.device.0, &cable.generator.1, &mut self.kept);
        }
    }
}

/// Puts what was sent in one piece each, to be received; how many frames.
fn carry(sent: &Sent, waiting: &Waiting, kept: &mut VecDeque<MemBuf>) -> u64 {
    let (mut sent, mut waiting) = (sent.borrow_mut(), waiting.borrow_mut());
    let frames = sent.len() as u64;
    for frame in sent.drain(..) {
        let buffer = MemBuf::from(linear(&frame));
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(buffer.clone());
        waiting.push_back(Received {
            frame: Slice::new(buffer),
            checksum: RxChecksum::Good,
        });
    }
    frames
}

fn end(name: &str) -> RigPort {
    RigPort {
        info: PortInfo {
            name: name.to_owned(),
            ..PortInfo::default()
        },
        sent: Sent::default(),
        waiting: Waiting::default(),
    }
}

/// What the generator is told. Over a mere wire both ends are in one network.
fn yaml(role: Role, load: &Load) -> String {
    let hosts = load.connections.div_ceil(40_000).clamp(1, 200);
    let mut yaml = "ports:\n".to_owned();
    let mut port = |name, role, address, gateway: &str| {
        let gateway = if gateway.is_empty() {
            String::new()
        } else {
            format!(", gateway: [{gateway}]")
        };
        let hosts = if role == "client" { hosts } else { 1 };
        writeln!(
            yaml,
            "  - {{ name: {name}, device: rig, role: {role}, addresses: [{address}], hosts: {hosts}{gateway} }}"
        )
    };
    let written = match role {
        Role::Wire => port("access1", "client", "10.9.0.10/24", "")
            .and_then(|()| port("core", "server", "10.9.0.2/24", "")),
        _ => port("access1", "client", "10.1.0.2/24", "10.1.0.1")
            .and_then(|()| port("access2", "client", "10.2.0.2/24", "10.2.0.1"))
            .and_then(|()| port("core", "server", "10.9.0.2/24", "10.9.0.1")),
    };
    written.expect("text can be written");
    let speak = match role {
        Role::Multipath(subflows) => format!("protocol: mptcp, subflows: {subflows}"),
        Role::Plain | Role::Routed | Role::Wire => "protocol: tcp".to_owned(),
    };
    let Load {
        connections,
        client,
    } = load;
    yaml + &format!(
        "client: {{ to: 10.9.0.2:80, {speak}, connections: {connections}, {client}, duration: 600m }}\nserver: {{ listen: [80] }}\n"
    )
}

fn engine(role: Role, load: &Load) -> EngineConfig {
    // Closed connections are remembered for half a second: as many again, and more, at high rates of set-up.
    let relays = load.connections as usize * 2 + 100_000;
    let limits = Limits {
        relays,
        pending: relays,
        joining: relays,
        per_subscriber: PerSubscriber {
            connections: relays,
            pending: relays,
            joining: relays,
            ..PerSubscriber::default()
        },
        // What is measured is what flows cost that are bonded, at the highest rate.
        protect_established: false,
        ..Limits::default()
    };
    let scene = testbed::scene::engine(Limits::default());
    EngineConfig {
        limits,
        accept_plain: role == Role::Plain,
        ..scene.config().clone()
    }
}

#[cfg(test)]
mod tests;
