//! What a seed decides before anything runs: the network, the flows over it, and what goes wrong.

use crate::app::{Close, Pause};
use crate::fault::{self, Fault};
use crate::host::Habits;
use crate::keys::Round;
use crate::middlebox::Kind;
use crate::rules::Rule;
use crate::seed::{self, Draw};
use apps::engine::SchedulerKind;
use mptcp::{Coupling, Versions};
use stack::Rng;
use stack::tcp::congestion::Algorithm;
use stack::time::Duration;
use testbed::link::Shape;

/// Which families an access has addresses of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Both,
}

/// Which boxes are between the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// One box, which relays TCP to TCP.
    Plain,
    /// Two boxes that relay TCP to TCP, and one access network between them: that of this number, with its losses, of those
    /// that a bonded chain has.
    Relayed(usize),
    /// The box at the customer's edge and the box in the network, and so many access networks between them: 2 or 3.
    Bonded(usize),
    /// The box in the network alone, and so many access networks between it and a client that speaks Multipath TCP itself.
    Native(usize),
}

impl Chain {
    /// Links in the network: the LAN where there is one, the accesses, the core.
    #[must_use]
    pub const fn cables(self) -> usize {
        match self {
            Self::Plain => 2,
            Self::Relayed(_) => 3,
            Self::Bonded(accesses) => accesses + 2,
            Self::Native(accesses) => accesses + 1,
        }
    }

    /// Ports of each box, from the client on.
    #[must_use]
    pub fn machines(self) -> Vec<usize> {
        match self {
            Self::Plain => vec![2],
            Self::Relayed(_) => vec![2; 2],
            Self::Bonded(accesses) => vec![accesses + 1; 2],
            Self::Native(accesses) => vec![accesses + 1],
        }
    }

    /// Which access network link `cable` is, from 1 on: one with Multipath TCP at both ends.
    #[must_use]
    pub const fn access(self, cable: usize) -> Option<usize> {
        match self {
            Self::Relayed(access) if cable == 1 => Some(access),
            Self::Bonded(accesses) if cable >= 1 && cable <= accesses => Some(cable),
            Self::Native(accesses) if cable < accesses => Some(cable + 1),
            _ => None,
        }
    }

    /// Whether link `cable` is an access network.
    #[must_use]
    pub const fn is_access(self, cable: usize) -> bool {
        self.access(cable).is_some()
    }

    /// Whether link `cable` is an access network that carries additional subflows alone.
    #[must_use]
    pub fn is_secondary(self, cable: usize) -> bool {
        self.access(cable).is_some_and(|access| access > 1)
    }

    /// What link `cable` draws its chances by: its own number, and that of the access network that it stands for.
    #[must_use]
    pub const fn number(self, cable: usize) -> usize {
        match self {
            Self::Relayed(access) if cable == 1 => access,
            _ => cable,
        }
    }

    /// What link `cable` is called.
    #[must_use]
    pub fn name(self, cable: usize) -> String {
        match self.access(cable) {
            Some(access) => format!("access{access}"),
            None if cable + 1 == self.cables() => "core".into(),
            None => "lan".into(),
        }
    }
}

/// The network.
#[derive(Clone, Debug)]
pub struct Net {
    /// Which boxes.
    pub chain: Chain,
    /// Of the secondary accesses; the primary one has both.
    pub family: Family,
    /// Versions that the box at the edge asks for, and that the one in the network answers.
    pub versions: [Versions; 2],
    /// Whether each asks for checksums.
    pub checksum: [bool; 2],
    /// Which access carries what.
    pub scheduler: SchedulerKind,
    /// How the congestion windows of subflows depend on each other.
    pub congestion: Coupling,
    /// Congestion control of legs of TCP.
    pub tcp_congestion: Algorithm,
    /// Whether those spread what they send.
    pub tcp_pacing: bool,
    /// Whether the box at the edge waits for the other's address to be announced, or knows it.
    pub announced: bool,
    /// What of data's numbers comes round soon in what either box sends, from the client on.
    pub rounds: [Option<Round>; 2],
    /// Octets that a relay holds in each direction.
    pub buffer: u32,
    /// Receive buffers of each device.
    pub pool: u32,
    /// Flows that each box sets up at once.
    pub pending: usize,
    /// How many workers each box has, from the client on.
    pub workers: [u8; 2],
    /// Whether their devices spread flows over them.
    pub spreads: [bool; 2],
    /// The client's, and the server's.
    pub habits: [Habits; 2],
    /// Of each link, both ways.
    pub shapes: Vec<Shape>,
}

/// A flow.
#[derive(Clone, Debug)]
pub struct Flow {
    /// When it opens, from the start.
    pub opens: Duration,
    /// Whether the server opens it.
    pub inbound: bool,
    /// Whether it is of IPv6.
    pub v6: bool,
    /// Octets that the client sends, and the server.
    pub sizes: [u64; 2],
    /// When either closes.
    pub close: [Close; 2],
    /// When either stops reading for a while.
    pub pause: [Option<Pause>; 2],
}

/// Everything that a seed decides.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The network.
    pub net: Net,
    /// The flows.
    pub flows: Vec<Flow>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// A rule that the boxes do not keep.
    pub without: Option<Rule>,
}

impl Plan {
    /// What `seed` decides.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut net = net(&mut seed::rng(seed, "network"));
        let legs = &mut seed::rng(seed, "legs");
        net.tcp_pacing = legs.percent(20);
        if legs.percent(15) {
            net.tcp_congestion = Algorithm::Bbr;
        }
        let numbers = &mut seed::rng(seed, "numbers");
        net.rounds = [0, 1].map(|_| numbers.percent(20).then_some(Round::Low));
        let flows = flows(&net, &mut seed::rng(seed, "flows"));
        let mut faults = fault::draw(&net, &mut seed::rng(seed, "faults"));
        let among = &mut seed::rng(seed, "workers");
        net.workers = [0, 1].map(|_| among.pick(&[1, 1, 1, 2, 3]));
        net.spreads = [0, 1].map(|_| among.percent(60));
        faults.extend(fault::among_workers(&net, among));
        faults.extend(fault::gateway(
            &net,
            &faults,
            &mut seed::rng(seed, "gateway"),
        ));
        faults.extend(fault::lost_ends(&net, &mut seed::rng(seed, "ends")));
        faults.extend(fault::wrapping(&net, &mut seed::rng(seed, "wrap")));
        let mut plan = Self {
            seed,
            net,
            flows,
            faults,
            without: None,
        };
        let gives_up = !plan.promises();
        plan.net
            .habits
            .iter_mut()
            .for_each(|habits| habits.gives_up = gives_up);
        plan
    }

    /// A network in which nothing goes wrong, and one flow over it: where tests begin that say themselves what does.
    #[must_use]
    pub fn quiet(chain: Chain) -> Self {
        let habits = Habits {
            buffer: 64 << 10,
            timestamps: true,
            reno: true,
            mtu: 1500,
            ecn: false,
            nagle: false,
            gives_up: false,
        };
        let shape = |cable| {
            let access = chain.is_access(cable);
            Shape {
                rate: if access { 10_000_000 } else { 0 },
                queue: access.then_some(100_000),
                delay: Duration::from_millis(if access { 10 } else { 1 }),
                ..Shape::default()
            }
        };
        Self {
            seed: 1,
            net: Net {
                chain,
                family: Family::Both,
                versions: [Versions::V1; 2],
                checksum: [false; 2],
                scheduler: SchedulerKind::LowestRtt,
                congestion: Coupling::Uncoupled,
                tcp_congestion: Algorithm::Cubic,
                tcp_pacing: false,
                announced: true,
                rounds: [None; 2],
                buffer: 256 << 10,
                pool: 8192,
                pending: 50,
                workers: [1; 2],
                spreads: [true; 2],
                habits: [habits; 2],
                shapes: (0..chain.cables()).map(shape).collect(),
            },
            flows: vec![Flow {
                opens: Duration::ZERO,
                inbound: false,
                v6: false,
                sizes: [300_000; 2],
                close: [Close::WhenSent, Close::AfterPeer],
                pause: [None; 2],
            }],
            faults: Vec::new(),
            without: None,
        }
    }

    /// A network in which nothing goes wrong, and one flow over two fast accesses with `octets` octets to the server.
    #[must_use]
    pub fn long(chain: Chain, octets: u64) -> Self {
        let mut plan = Self::quiet(chain);
        for (cable, shape) in plan.net.shapes.iter_mut().enumerate() {
            shape.delay = Duration::from_millis(1);
            if plan.net.chain.is_access(cable) {
                (shape.rate, shape.queue) = (1_000_000_000, Some(1_000_000));
            }
        }
        plan.net.buffer = 4 << 20;
        for habits in &mut plan.net.habits {
            habits.buffer = 512 << 10;
        }
        plan.flows[0].sizes = [octets, 100_000];
        // A second for every 2 MB: the run is as patient as with a pause of that length, which does not come.
        plan.flows[0].pause[0] = Some(Pause {
            after: u64::MAX,
            lasts: Duration::from_secs(octets / 2_000_000),
        });
        plan
    }

    /// Whether every flow must come through whole: nothing is done that may end one.
    #[must_use]
    pub fn promises(&self) -> bool {
        let aborts = |flow: &Flow| flow.close.iter().any(|c| matches!(c, Close::Abort(_)));
        let breaks = self.faults.iter().any(|fault| fault.may_break(&self.net));
        !breaks && !self.flows.iter().any(aborts) && !self.asks_twice()
    }

    /// Whether somebody sends segments in others' names.
    #[must_use]
    pub fn forges(&self) -> bool {
        let forges = |fault: &Fault| {
            matches!(
                fault,
                Fault::Middlebox {
                    kind: Kind::Forger { .. },
                    ..
                }
            )
        };
        self.faults.iter().any(forges)
    }

    /// Whether a SYN that is sent again may ask for another version than the first, whose answer is still under way: the
    /// opener may then take the one answer, and the box at the edge expect it to have taken the other.
    fn asks_twice(&self) -> bool {
        let [asked, spoken] = self.net.versions;
        let understood =
            asked == spoken || matches!(spoken, Versions::V1ThenV0 | Versions::V0ThenV1);
        !understood && !self.faults.is_empty()
    }

    /// When the last fault that passes has passed, from the start.
    #[must_use]
    pub fn calm(&self) -> Duration {
        let opens = self.flows.iter().map(|flow| flow.opens);
        let faults = self.faults.iter().filter_map(Fault::ends);
        opens.chain(faults).max().unwrap_or_default()
    }
}

fn net(rng: &mut Rng) -> Net {
    let chain = match rng.below(100) {
        0..15 => Chain::Plain,
        15..25 => Chain::Native(2),
        _ => Chain::Bonded(rng.pick(&[2, 2, 2, 3])),
    };
    let versions = [
        [Versions::V1; 2],
        [Versions::V1; 2],
        [Versions::V0; 2],
        [Versions::V1ThenV0; 2],
        [Versions::V0ThenV1, Versions::V1ThenV0],
        [Versions::V1ThenV0, Versions::V0],
    ];
    let shapes = (0..chain.cables())
        .map(|cable| {
            let access = chain.is_access(cable);
            let millis = if access {
                rng.pick(&[1, 5, 10, 30, 80, 200])
            } else {
                rng.pick(&[0, 1, 5])
            };
            Shape {
                rate: if access {
                    u64::from(rng.between(2, 60)) * 1_000_000
                } else {
                    0
                },
                queue: access.then(|| u64::from(rng.between(30, 300)) * 1_000),
                delay: Duration::from_millis(millis),
                ..Shape::default()
            }
        })
        .collect();
    let habits = |rng: &mut Rng| Habits {
        buffer: rng.pick(&[8, 64, 256, 512]) << 10,
        timestamps: rng.percent(70),
        reno: rng.percent(80),
        mtu: 1500,
        ecn: rng.percent(50),
        nagle: false,
        gives_up: false,
    };
    Net {
        chain,
        family: rng.pick(&[Family::V4, Family::V6, Family::Both]),
        versions: rng.pick(&versions),
        checksum: rng.pick(&[[false, false], [true, false], [false, true], [true, true]]),
        scheduler: if rng.percent(50) {
            SchedulerKind::Overflow
        } else {
            SchedulerKind::LowestRtt
        },
        congestion: rng.pick(&[
            Coupling::Uncoupled,
            Coupling::Uncoupled,
            Coupling::Lia,
            Coupling::Olia,
            Coupling::Balia,
        ]),
        tcp_congestion: rng.pick(&[Algorithm::Cubic, Algorithm::Cubic, Algorithm::NewReno]),
        tcp_pacing: false,
        announced: rng.percent(60),
        rounds: [None; 2],
        buffer: rng.pick(&[64, 256, 4096]) << 10,
        pool: rng.pick(&[512, 2048, 8192]),
        pending: 50,
        workers: [1; 2],
        spreads: [true; 2],
        habits: [habits(rng), habits(rng)],
        shapes,
    }
}

fn flows(net: &Net, rng: &mut Rng) -> Vec<Flow> {
    let size = |rng: &mut Rng| match rng.below(7) {
        0 => 0,
        1 => u64::from(rng.between(1, 3_000)),
        2 => u64::from(rng.between(3_000, 60_000)),
        3 => u64::from(rng.between(60_000, 200_000)),
        4 | 5 => u64::from(rng.between(200_000, 600_000)),
        _ => u64::from(rng.between(600_000, 2_000_000)),
    };
    (0..rng.pick(&[1, 1, 1, 2, 3]))
        .map(|_| {
            let sizes = [size(rng), size(rng)];
            let closes = [
                [Close::WhenSent, Close::AfterPeer],
                [Close::AfterPeer, Close::WhenSent],
                [Close::WhenSent, Close::WhenSent],
            ];
            let pause = |rng: &mut Rng, len: u64| {
                rng.percent(15).then(|| Pause {
                    after: u64::from(rng.below(u32::try_from(len).unwrap_or(u32::MAX))),
                    lasts: Duration::from_millis(u64::from(rng.between(10, 8_000))),
                })
            };
            let mut close = rng.pick(&closes);
            if rng.percent(5) {
                let end = rng.below(2) as usize;
                let most = u32::try_from(sizes[1 - end]).unwrap_or(u32::MAX);
                close[end] = Close::Abort(u64::from(rng.below(most)));
            }
            Flow {
                opens: Duration::from_millis(u64::from(rng.below(1_500))),
                inbound: matches!(net.chain, Chain::Bonded(_)) && rng.percent(25),
                v6: rng.percent(50),
                sizes,
                close,
                pause: [pause(rng, sizes[1]), pause(rng, sizes[0])],
            }
        })
        .collect()
}
