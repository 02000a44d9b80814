//! Two workers against one, in memory: each replays pre-built frames from ports of its own, and half of the joined subflows
//! come in at the worker that does not own them.
//!
//! A client with two subflows sends to a server with TCP, through as many relays as each worker has. The frames of both
//! subflows are built beforehand; the server's acknowledgments are a number written into one that is.

use crate::relays::{Flow, Host, SEGMENT, SUBFLOW_ISS, acknowledgment, emit, plain, tuple};
use apps::engine::{Engine, EngineConfig, Limits};
use dataplane::{
    BURST, BufferUse, Clock, CoreId, MemBuf, Port, PortInfo, PortStats, Received, RxChecksum,
    Worker, mailbox, siblings,
};
use mptcp::handshake::join::{self, Keys};
use mptcp::option::{Capable, CapableFlags, CapableForm, MpOption};
use mptcp::{AddrId, Key, Version};
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes};
use stack::{Frame, Instant, Slice, rss};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;
use testbed::peer::{Peer, Wish};
use testbed::scene;

/// Segments of a subflow that come in at once.
const PIECE: usize = 4;
/// Segments of a flow that may be on their way.
const WINDOW: u32 = 32;
/// The box's ports.
const PORTS: usize = 3;
const CORE: usize = 2;
/// The client's port of the first flow.
const FIRST_PORT: u16 = 10_000;
/// No run takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// How far a flow has come: segments that the server has received. Apart from others', as cores share cache lines.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Progress(AtomicU32);

/// A subflow's frames, in order.
struct Lane {
    frames: Vec<MemBuf>,
    next: usize,
    /// Segments of the flow that went before the next piece of this subflow, other subflows' included.
    before: u32,
    progress: Arc<Progress>,
}

/// The server's end of a flow.
struct Server {
    acknowledgment: Vec<u8>,
    /// The sequence number of the first octet.
    first: u32,
    /// Octets that came, and that will have come in the end.
    received: u32,
    wanted: u32,
    progress: Arc<Progress>,
    /// An acknowledgment is owed.
    owes: bool,
}

/// A port of one worker.
pub struct Replay {
    info: PortInfo,
    stats: PortStats,
    /// While connections are set up: what comes in, and what has left.
    injected: VecDeque<MemBuf>,
    captured: Option<Vec<Frame<MemBuf>>>,
    lanes: Vec<Lane>,
    turn: usize,
    /// By the client's port; only those of flows that this worker owns.
    servers: Vec<Option<Server>>,
    owing: Vec<usize>,
    /// Flows that are not through yet, of all workers.
    left: Arc<AtomicUsize>,
}

impl Replay {
    fn new(port: usize, left: &Arc<AtomicUsize>) -> Self {
        let number = u8::try_from(port).unwrap_or(0);
        Self {
            info: PortInfo {
                name: format!("port{port}"),
                device: "memory".into(),
                mac: scene::port_mac(number),
                mtu: 1500,
                sums: false,
            },
            stats: PortStats::default(),
            injected: VecDeque::new(),
            captured: Some(Vec::new()),
            lanes: Vec::new(),
            turn: 0,
            servers: Vec::new(),
            owing: Vec::new(),
            left: Arc::clone(left),
        }
    }

    fn push(&mut self, into: &mut Vec<Received<MemBuf>>, frame: MemBuf) {
        self.stats.rx_packets += 1;
        into.push(Received {
            frame: Slice::new(frame),
            checksum: RxChecksum::Good,
        });
    }

    /// The next pieces of subflows whose flow is not too far ahead of its server.
    fn replay(&mut self, into: &mut Vec<Received<MemBuf>>) {
        for _ in 0..self.lanes.len() {
            if into.len() + PIECE > BURST {
                return;
            }
            self.turn = (self.turn + 1) % self.lanes.len();
            let Some(lane) = self.lanes.get_mut(self.turn) else {
                return;
            };
            let reached = lane.progress.0.load(Ordering::Acquire);
            if lane.next >= lane.frames.len() || lane.before + PIECE as u32 > reached + WINDOW {
                continue;
            }
            let piece: Vec<MemBuf> = lane.frames[lane.next..lane.next + PIECE].to_vec();
            lane.next += PIECE;
            lane.before += 2 * PIECE as u32;
            for frame in piece {
                self.push(into, frame);
            }
        }
    }

    fn acknowledge(&mut self, into: &mut Vec<Received<MemBuf>>) {
        while let Some(at) = self.owing.pop() {
            if let Some(Some(server)) = self.servers.get_mut(at) {
                server.owes = false;
                let frame = MemBuf::from(server.acknowledgment.clone());
                self.push(into, frame);
            }
        }
    }

    /// The server takes a segment in.
    fn serve(&mut self, frame: &Frame<MemBuf>) {
        let header = frame.header.bytes();
        let len = stack::buf::chain_len(&frame.payload);
        let (Some(port), Some(seq)) = (header.get(34..36), header.get(38..42)) else {
            return;
        };
        let port = u16::from_be_bytes([port[0], port[1]]);
        let Some(at) = port.checked_sub(FIRST_PORT).map(usize::from) else {
            return;
        };
        let Some(Some(server)) = self.servers.get_mut(at).filter(|_| len > 0) else {
            return;
        };
        let seq = u32::from_be_bytes([seq[0], seq[1], seq[2], seq[3]]);
        let end = seq.wrapping_add(u32::try_from(len).unwrap_or(0));
        server.acknowledgment[42..46].copy_from_slice(&end.to_be_bytes());
        // The box may send the end of one segment with the beginning of the next.
        let received = end.wrapping_sub(server.first).max(server.received);
        let done = received == server.wanted && server.received < received;
        server.received = received;
        let segments = received / SEGMENT as u32;
        server.progress.0.store(segments, Ordering::Release);
        if done {
            self.left.fetch_sub(1, Ordering::AcqRel);
        }
        if !server.owes {
            server.owes = true;
            self.owing.push(at);
        }
    }
}

impl Port for Replay {
    type Buf = MemBuf;

    fn info(&self) -> &PortInfo {
        &self.info
    }

    fn receive(&mut self, into: &mut Vec<Received<MemBuf>>) {
        while let Some(frame) = self.injected.pop_front() {
            self.stats.rx_packets += 1;
            into.push(Received {
                frame: Slice::new(frame),
                checksum: RxChecksum::Unknown,
            });
        }
        self.acknowledge(into);
        self.replay(into);
    }

    fn transmit(&mut self, frames: &mut Vec<Frame<MemBuf>>) {
        self.stats.tx_packets += frames.len() as u64;
        if let Some(captured) = &mut self.captured {
            return captured.append(frames);
        }
        for frame in frames.drain(..) {
            self.serve(&frame);
        }
    }

    fn stats(&self) -> PortStats {
        self.stats
    }

    fn buffers(&self) -> BufferUse {
        BufferUse::default()
    }
}

type BoxWorker = Worker<Replay, Engine<MemBuf>>;

/// A box with established relays, and all that its hosts will send.
pub struct Bed {
    workers: Vec<BoxWorker>,
    left: Arc<AtomicUsize>,
    data: MemBuf,
    now: Instant,
    segments: u64,
}

/// What a run has shown.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// How long it took.
    pub took: Duration,
    /// Segments that reached their server.
    pub segments: u64,
    /// Frames that one worker received and another owned.
    pub handed_over: u64,
    /// Frames that hosts sent.
    pub received: u64,
}

impl Bed {
    /// A box of `workers` workers with `flows` relays each, through each of which `pieces` times eight segments will go,
    /// half on each subflow.
    ///
    /// # Panics
    /// A handshake did not go through: the engine is broken.
    #[must_use]
    pub fn new(workers: u8, flows: usize, pieces: usize) -> Self {
        let all = flows * usize::from(workers);
        let left = Arc::new(AtomicUsize::new(all));
        let limits = Limits {
            relays: all * 2,
            pending: 64 * usize::from(workers),
            joining: 64 * usize::from(workers),
            ..Limits::default()
        };
        let config = EngineConfig {
            cores: workers,
            ..scene::config(limits)
        };
        let made = (0..workers).zip(siblings(workers.into()));
        let made = made.map(|(core, siblings)| {
            let ports = (0..PORTS).map(|port| Replay::new(port, &left)).collect();
            let (_, inbox) = mailbox(1);
            let engine = Engine::new(config.of_core(core, workers)).expect("the scene resolves");
            Worker::new(CoreId(core), ports, engine, inbox).among(siblings)
        });
        let mut bed = Self {
            workers: made.collect(),
            left,
            data: MemBuf::from(vec![0x55; SEGMENT]),
            now: Instant::from_millis(1),
            segments: (all * pieces * 2 * PIECE) as u64,
        };
        let mut ports = FIRST_PORT..;
        for core in 0..workers {
            for nth in 0..flows {
                let port = ports.find(|&port| owner(port, workers) == core);
                let port = port.expect("there are ports enough");
                bed.open(port, core, nth % 2 == 1, pieces);
            }
        }
        for worker in &mut bed.workers {
            for port in worker.ports_mut() {
                port.captured = None;
            }
        }
        bed
    }

    /// Puts a frame on a port of a worker, and gives back what the box sends until it rests.
    fn hear(&mut self, (worker, port): (usize, usize), frame: Vec<u8>) -> Vec<Frame<MemBuf>> {
        let mut heard = Vec::new();
        let mut to_send = vec![((worker, port), frame)];
        while let Some(((worker, port), frame)) = to_send.pop() {
            let ports = self.workers[worker].ports_mut();
            ports[port].injected.push_back(MemBuf::from(frame));
            let mut idle = false;
            while !core::mem::replace(&mut idle, true) {
                for worker in &mut self.workers {
                    idle &= worker.poll(self.now) == 0;
                }
            }
            for worker in 0..self.workers.len() {
                for port in self.workers[worker].ports_mut() {
                    heard.extend(port.captured.iter_mut().flat_map(|sent| sent.drain(..)));
                }
            }
            let asked = heard.iter().filter_map(scene::arp_reply);
            to_send.extend(asked.map(|(port, reply)| ((0, usize::from(port)), reply)));
            heard.retain(|frame| scene::arp_reply(frame).is_none());
        }
        heard
    }

    /// Sends `wish` as one of the flow's ends, which comes in at `worker`, and shows all of them what comes of it.
    fn exchange(
        &mut self,
        flow: &mut Flow,
        worker: usize,
        sender: fn(&mut Flow) -> &mut Peer,
        wish: &Wish,
    ) {
        let peer = sender(flow);
        let (port, frame) = (usize::from(peer.port.0), peer.frame(wish, &self.data));
        for frame in self.hear((worker, port), frame) {
            flow.note(&frame);
        }
    }

    /// Opens a flow that `core` owns, and gives its ends what they will send. The joined subflow comes in at `core`, or at
    /// the next one if it is to be `astray`.
    fn open(&mut self, port: u16, core: u8, astray: bool, pieces: usize) {
        let (h, x, hag, s) = ([10, 1, 0, 2], [10, 2, 0, 2], [10, 99, 0, 2], [10, 9, 0, 2]);
        let [first, second] = SUBFLOW_ISS;
        // Where there are several cores each takes joins at a port of its own; alone it takes them at any.
        let join_port = 8_684 + 2 * u16::from(core);
        let mut flow = Flow {
            subflows: vec![
                Host::new(0, tuple(h, s, port, 80), first.0),
                Host::new(1, tuple(x, hag, port, join_port), second.0),
            ],
            server: Host::new(2, tuple(s, h, 80, port), 3_000),
            data_ack: 0,
            dsn: 0,
            sum: None,
        };
        let at = usize::from(core);
        let (syn, ack) = (Flags::SYN, Flags::ACK);
        let [a, b] = port.to_be_bytes();
        let key = Key::new([a, b, 3, 4, 5, 6, 7, 8]);
        let capable = |form| {
            emit(Capable {
                version: 1,
                flags: CapableFlags::HMAC,
                form,
            })
        };
        let first: fn(&mut Flow) -> &mut Peer = |flow| &mut flow.subflows[0].peer;
        let wish = with(syn, capable(CapableForm::Bare));
        self.exchange(&mut flow, at, first, &wish);
        self.exchange(
            &mut flow,
            at,
            |flow| &mut flow.server.peer,
            &plain(syn.with(ack)),
        );
        let answer = mptcp::option::parse(&flow.subflows[0].peer.mptcp)
            .flatten()
            .next();
        let Some(MpOption::Capable(Capable {
            form: CapableForm::OneKey { sender },
            ..
        })) = answer
        else {
            panic!("the box answered MP_CAPABLE with {answer:?}");
        };
        let form = CapableForm::TwoKeys {
            sender: key,
            receiver: sender,
        };
        self.exchange(&mut flow, at, first, &with(ack, capable(form)));
        flow.data_ack = sender.idsn(Version::V1).0.wrapping_add(1);
        flow.dsn = key.idsn(Version::V1).0.wrapping_add(1);
        let wish = with(ack, acknowledgment(flow.data_ack, None));
        self.exchange(&mut flow, at, first, &wish);
        let keys = Keys {
            version: Version::V1,
            local: key,
            remote: sender,
        };
        let joined_at = (at + usize::from(astray)) % self.workers.len();
        self.join(&mut flow, joined_at, &keys);
        self.load(flow, (at, joined_at), pieces);
    }

    fn join(&mut self, flow: &mut Flow, at: usize, keys: &Keys) {
        let second: fn(&mut Flow) -> &mut Peer = |flow| &mut flow.subflows[1].peer;
        let nonce = 0x0102_0304;
        let wish = with(Flags::SYN, emit(join::syn(keys, nonce, AddrId(2), false)));
        self.exchange(flow, at, second, &wish);
        let joined = join::syn_ack(&flow.subflows[1].peer.mptcp, keys, nonce)
            .expect("the box accepts the join");
        let wish = with(Flags::ACK, emit(joined.ack));
        self.exchange(flow, at, second, &wish);
    }

    /// Builds all that the flow's ends will send.
    fn load(&mut self, mut flow: Flow, (at, joined_at): (usize, usize), pieces: usize) {
        let progress: Arc<Progress> = Arc::default();
        let lane = |before| Lane {
            frames: Vec::with_capacity(pieces * PIECE),
            next: 0,
            before,
            progress: Arc::clone(&progress),
        };
        let mut lanes = [lane(0), lane(PIECE as u32)];
        for _ in 0..pieces {
            for (subflow, lane) in lanes.iter_mut().enumerate() {
                let piece = (0..PIECE).map(|_| flow.upload(subflow, &self.data).1);
                lane.frames.extend(piece.map(MemBuf::from));
            }
        }
        let [first, second] = lanes;
        let (_, acknowledgment) = flow.server.acknowledge(OptBytes::new(), &self.data);
        let place = usize::from(flow.subflows[0].peer.tuple.src_port - FIRST_PORT);
        self.workers[at].ports_mut()[0].lanes.push(first);
        self.workers[joined_at].ports_mut()[1].lanes.push(second);
        let servers = &mut self.workers[at].ports_mut()[CORE].servers;
        if servers.len() <= place {
            servers.resize_with(place + 1, || None);
        }
        let first = acknowledgment[42..46].try_into().map(u32::from_be_bytes);
        servers[place] = Some(Server {
            acknowledgment,
            first: first.expect("four octets"),
            received: 0,
            wanted: u32::try_from(pieces * 2 * PIECE * SEGMENT).unwrap_or(u32::MAX),
            progress,
            owes: false,
        });
    }

    /// Lets all workers run, each on a thread of its own that `settle` has bound to a core, until every segment is through.
    ///
    /// # Panics
    /// Something was lost.
    pub fn run(mut self, settle: impl Fn(usize) + Sync) -> Run {
        let clock = Clock::start();
        let start = Barrier::new(self.workers.len());
        let (left, patience) = (&self.left, self.now + PATIENCE);
        // Their time goes on from that of the handshakes.
        let so_far = self.now.since(Instant::ZERO);
        let (clock, start, settle) = (&clock, &start, &settle);
        let began = OnceLock::new();
        let ends: Vec<Instant> = thread::scope(|scope| {
            let threads = self.workers.iter_mut().enumerate().map(|(place, worker)| {
                let began = &began;
                scope.spawn(move || {
                    settle(place);
                    start.wait();
                    began.get_or_init(|| clock.now());
                    loop {
                        let now = clock.now() + so_far;
                        worker.poll(now);
                        if left.load(Ordering::Acquire) == 0 || now > patience {
                            return clock.now();
                        }
                    }
                })
            });
            let threads: Vec<_> = threads.collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended.map(|end| end.expect("no worker fails")).collect()
        });
        assert_eq!(left.load(Ordering::Acquire), 0, "every flow is through");
        let end = ends.into_iter().max().unwrap_or(Instant::ZERO);
        let began = began.get().copied().unwrap_or(end);
        self.told(end.since(began))
    }

    /// The same in one thread, each worker in turn.
    ///
    /// # Panics
    /// Something was lost.
    pub fn run_in_turn(mut self) -> Run {
        let mut now = self.now;
        while self.left.load(Ordering::Acquire) > 0 {
            now = now + Duration::from_micros(20);
            assert!(now < self.now + PATIENCE, "every flow is through");
            for worker in &mut self.workers {
                worker.poll(now);
            }
        }
        self.told(Duration::ZERO)
    }

    fn told(&self, took: Duration) -> Run {
        let lost = self.workers.iter().map(|worker| {
            let stats = worker.stats();
            stats.handover_full + stats.drop_no_core + stats.drop_no_port
        });
        assert_eq!(lost.sum::<u64>(), 0, "nothing is lost between workers");
        let sum = |of: fn(&BoxWorker) -> u64| self.workers.iter().map(of).sum();
        Run {
            took,
            segments: self.segments,
            handed_over: sum(|worker| worker.stats().handed_over),
            received: sum(|worker| {
                let ports = worker.ports().iter();
                ports.map(|port| port.stats().rx_packets).sum()
            }),
        }
    }
}

fn with(flags: Flags, option: OptBytes) -> Wish {
    Wish {
        mptcp: option,
        ..plain(flags)
    }
}

/// The worker that owns the flow of the client's `port`.
fn owner(port: u16, workers: u8) -> u8 {
    let flow = tuple([10, 1, 0, 2], [10, 9, 0, 2], port, 80);
    rss::queue(rss::hash(&flow), workers.into()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_gets_through_and_a_quarter_of_them_by_another_worker() {
        let alone = Bed::new(1, 6, 20).run_in_turn();
        assert_eq!((alone.segments, alone.handed_over), (6 * 20 * 8, 0));
        let both = Bed::new(2, 6, 20).run_in_turn();
        assert_eq!(both.segments, 2 * alone.segments);
        // Half of the joined subflows, which carry half of the segments; and what sets connections up.
        let quarter = both.segments / 4;
        let more = both.handed_over - quarter;
        assert!(more < 100, "{more} more than {quarter}");
    }
}
