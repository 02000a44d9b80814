//! Two workers against one, in memory: each replays pre-built frames from ports of its own, and half of the joined subflows
//! come in at the worker that does not own them.
//!
//! Beside that, workers that share nothing show what the cores can do.
//!
//! A client with two subflows sends to a server with TCP, through as many relays as each worker has. The frames of both
//! subflows are built beforehand; the server's acknowledgments are a number written into one that is.

use crate::clock;
use crate::relays::{Flow, Host, SEGMENT, SUBFLOW_ISS, acknowledgment, emit, plain, tuple};
use apps::engine::{Engine, EngineConfig, Limits};
use dataplane::{Clock, MemBuf, Port, Worker, mailbox, siblings};
use mptcp::handshake::join::{self, Keys};
use mptcp::option::{Capable, CapableFlags, CapableForm, MpOption};
use mptcp::{AddrId, Key, Version};
use stack::time::Duration;
use stack::wire::tcp::{Flags, OptBytes};
use stack::{Frame, Instant, rss};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, OnceLock};
use std::thread;
use testbed::peer::{Peer, Wish};
use testbed::scene;

mod replay;

use replay::{Buffer, FIRST_PORT, Lane, PIECE, Progress, Reel, Replay, Server};

pub use replay::Reels;

/// The box's ports.
const PORTS: usize = 3;
const CORE: usize = 2;
/// No run takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

type BoxWorker<'a> = Worker<Replay<'a>, Engine<Buffer<'a>>>;

/// What workers are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    /// Those of one box: half of the joined subflows come in at one that does not own them.
    Siblings,
    /// Each is a box of its own: what the cores can do at best.
    Strangers,
}

/// Room for what the hosts of so many workers with `flows` relays each will send: it outlives them.
#[must_use]
pub fn reels(workers: u8, flows: usize) -> Box<Reels> {
    let lanes = 2 * flows * usize::from(workers);
    (0..lanes).map(|_| OnceLock::new()).collect()
}

/// Workers with established relays, and all that their hosts will send.
pub struct Bed<'a> {
    workers: Vec<BoxWorker<'a>>,
    kin: Kin,
    reels: &'a Reels,
    /// Subflows that are loaded.
    loaded: usize,
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
    /// What the worker that got least of its core got of it: 1 if nobody else was on the cores.
    pub share: f64,
    /// Segments that reached their server.
    pub segments: u64,
    /// Frames that one worker received and another owned.
    pub handed_over: u64,
    /// Frames that hosts sent.
    pub received: u64,
}

impl Default for Run {
    /// Of nothing.
    fn default() -> Self {
        Self {
            took: Duration::ZERO,
            share: 1.0,
            segments: 0,
            handed_over: 0,
            received: 0,
        }
    }
}

impl<'a> Bed<'a> {
    /// So many workers with `flows` relays each, through each of which `pieces` times eight segments will go, half on each
    /// subflow. `reels` is [`reels`]'s, and empty.
    ///
    /// # Panics
    /// A handshake did not go through: the engine is broken.
    #[must_use]
    pub fn new(reels: &'a Reels, (workers, kin): (u8, Kin), flows: usize, pieces: usize) -> Self {
        let all = flows * usize::from(workers);
        let left = Arc::new(AtomicUsize::new(all));
        let limits = Limits {
            relays: all * 2,
            pending: 64 * usize::from(workers),
            joining: 64 * usize::from(workers),
            protect_established: false,
            ..Limits::default()
        };
        let of_box = match kin {
            Kin::Siblings => workers,
            Kin::Strangers => 1,
        };
        let config = EngineConfig {
            cores: of_box,
            ..scene::config(limits)
        };
        let ends = (0..workers).flat_map(|_| siblings(of_box.into()));
        let made = ends.take(workers.into()).map(|siblings| {
            let core = siblings.core();
            let ports = (0..PORTS).map(|port| Replay::new(port, &left)).collect();
            let (_, inbox) = mailbox(1);
            let engine = Engine::new(config.of_core(core.0, of_box)).expect("the scene resolves");
            Worker::new(core, ports, engine, inbox).among(siblings)
        });
        let mut bed = Self {
            workers: made.collect(),
            kin,
            reels,
            loaded: 0,
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
        // A few keys are drawn each turn until there are enough.
        for _ in 0..1_000 {
            for worker in &mut bed.workers {
                worker.poll(bed.now);
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
                let ports = self.workers[worker].ports_mut().iter_mut();
                let sent =
                    ports.flat_map(|port| port.captured.iter_mut().flat_map(|sent| sent.drain(..)));
                for frame in sent {
                    match scene::arp_reply(&frame) {
                        Some((port, reply)) => to_send.push(((worker, port.into()), reply)),
                        None => heard.push(frame),
                    }
                }
            }
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
        let joined_at = match self.kin {
            Kin::Siblings => (at + usize::from(astray)) % self.workers.len(),
            Kin::Strangers => at,
        };
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
        let mut frames = [Vec::new(), Vec::new()];
        for _ in 0..pieces {
            for (subflow, frames) in frames.iter_mut().enumerate() {
                frames.extend((0..PIECE).map(|_| flow.upload(subflow, &self.data).1));
            }
        }
        let mut before = 0;
        let [first, second] = frames.map(|frames| {
            let reels = &self.reels[self.loaded];
            let reel = reels.get_or_init(|| Reel::of(frames.into_iter()));
            let lane = Lane::new(reel, before, &progress);
            before += PIECE as u32;
            self.loaded += 1;
            lane
        });
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
        // Their time goes on from that of the handshakes.
        let so_far = self.now.since(Instant::ZERO);
        let common = &Common {
            clock: Clock::start(),
            start: Barrier::new(self.workers.len()),
            so_far,
            left: Arc::clone(&self.left),
        };
        let settle = &settle;
        // Each on its own thread's stack: cores share cache lines.
        let workers = core::mem::take(&mut self.workers).into_iter();
        let ends: Vec<_> = thread::scope(|scope| {
            let threads = workers.enumerate().map(|(place, worker)| {
                scope.spawn(move || {
                    settle(place);
                    common.run(worker)
                })
            });
            let threads: Vec<_> = threads.collect();
            let ended = threads.into_iter().map(|thread| thread.join());
            ended.map(|end| end.expect("no worker fails")).collect()
        });
        let mut run = Run::default();
        let (mut began, mut ended) = (Duration::MAX, Duration::ZERO);
        for end in ends {
            let times = [end.began, end.ended].map(|at| at.since(Instant::ZERO));
            (began, ended) = (began.min(times[0]), ended.max(times[1]));
            run.share = run.share.min(end.share);
            self.workers.push(end.worker);
        }
        run.took = ended.saturating_sub(began);
        assert_eq!(
            self.left.load(Ordering::Acquire),
            0,
            "every flow is through"
        );
        self.told(run)
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
        self.told(Run::default())
    }

    /// What `run` has shown, with what the workers counted.
    fn told(&self, run: Run) -> Run {
        let lost = self.workers.iter().map(|worker| {
            let stats = worker.stats();
            stats.handover_full + stats.drop_no_core + stats.drop_no_port
        });
        assert_eq!(lost.sum::<u64>(), 0, "nothing is lost between workers");
        let sum = |of: fn(&BoxWorker<'_>) -> u64| self.workers.iter().map(of).sum();
        Run {
            segments: self.segments,
            handed_over: sum(|worker| worker.stats().handed_over),
            received: sum(|worker| {
                let ports = worker.ports().iter();
                ports.map(|port| port.stats().rx_packets).sum()
            }),
            ..run
        }
    }
}

/// What all workers of a run have.
struct Common {
    clock: Clock,
    start: Barrier,
    so_far: Duration,
    left: Arc<AtomicUsize>,
}

/// How it went for one of them.
struct End<'a> {
    worker: BoxWorker<'a>,
    began: Instant,
    ended: Instant,
    share: f64,
}

impl Common {
    fn run<'a>(&self, mut worker: BoxWorker<'a>) -> End<'a> {
        self.start.wait();
        let (began, spent) = (self.clock.now(), clock::spent());
        let mut ended = began;
        while self.left.load(Ordering::Acquire) > 0 && ended.since(began) < PATIENCE {
            worker.poll(ended + self.so_far);
            ended = self.clock.now();
        }
        let spent = clock::spent().saturating_sub(spent);
        let share = spent.as_nanos() as f64 / ended.since(began).as_nanos().max(1) as f64;
        End {
            worker,
            began,
            ended,
            share,
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

    fn run(workers: u8, kin: Kin) -> Run {
        let reels = reels(workers, 6);
        Bed::new(&reels, (workers, kin), 6, 20).run_in_turn()
    }

    #[test]
    fn strangers_hand_nothing_over_and_carry_as_much_each() {
        let apart = run(2, Kin::Strangers);
        assert_eq!((apart.segments, apart.handed_over), (2 * 6 * 20 * 8, 0));
    }

    #[test]
    fn a_run_on_threads_says_how_long_it_took_and_what_it_got_of_its_cores() {
        let reels = reels(2, 2);
        let bed = Bed::new(&reels, (2, Kin::Siblings), 2, 20);
        let run = bed.run(|_| ());
        assert_eq!(run.segments, 2 * 2 * 20 * 8);
        assert!(run.took > Duration::ZERO);
        assert!(0.0 < run.share && run.share <= 1.0, "{}", run.share);
    }

    #[test]
    fn every_segment_gets_through_and_a_quarter_of_them_by_another_worker() {
        let alone = run(1, Kin::Siblings);
        assert_eq!((alone.segments, alone.handed_over), (6 * 20 * 8, 0));
        let both = run(2, Kin::Siblings);
        assert_eq!(both.segments, 2 * alone.segments);
        // Half of the joined subflows, which carry half of the segments; and what sets connections up.
        let quarter = both.segments / 4;
        let more = both.handed_over - quarter;
        assert!(more < 100, "{more} more than {quarter}");
    }
}
