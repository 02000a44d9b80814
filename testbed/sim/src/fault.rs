//! What goes wrong in a run: each fault by itself, so that it can be switched off and leave the others as they are.

use crate::lane::Ill;
use crate::middlebox::Kind;
use crate::middlebox::answers::Then;
use crate::middlebox::inject::Forgery;
use crate::middlebox::numbers::Drawn;
use crate::middlebox::options::Change;
use crate::middlebox::strip::From;
use crate::oracle::{Rewrites, Swaps};
use crate::packet::kind;
use crate::plan::{Chain, Net};
use crate::port::Trouble;
use crate::seed::Draw;
use stack::Rng;
use stack::time::Duration;
use testbed::link::MILLION;

/// One thing that goes wrong. Times are from the start of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A lane of link `cable` is ill.
    Lane {
        /// Which link.
        cable: usize,
        /// 0 for the lane away from the client, 1 for the one towards it.
        lane: usize,
        /// What is wrong.
        ill: Ill,
        /// From when.
        from: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// A device of a box is in trouble.
    Device {
        /// Which box, from the client on.
        machine: usize,
        /// Which of its ports.
        port: usize,
        /// What is wrong.
        trouble: Trouble,
        /// From when.
        from: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// The rings between the workers of a box have room for so few frames, for good.
    Rings {
        /// Which box, from the client on.
        machine: usize,
        /// In each ring.
        frames: usize,
    },
    /// A box is polled late.
    Late {
        /// Which box, from the client on.
        machine: usize,
        /// How late at most.
        away: Duration,
        /// From when.
        from: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// Chance repeats itself at a box, so that tokens collide.
    Repeats {
        /// Which box, from the client on.
        machine: usize,
        /// From when.
        from: Duration,
        /// For how long.
        lasts: Duration,
    },
    /// There is a middlebox on link `cable`, for good.
    Middlebox {
        /// Which link.
        cable: usize,
        /// What it does.
        kind: Kind,
    },
}

impl Fault {
    /// Whether it may end a flow of a network like `net`, which then must not look whole.
    #[must_use]
    pub fn may_break(&self, net: &Net) -> bool {
        match self {
            Self::Lane { .. }
            | Self::Device { .. }
            | Self::Rings { .. }
            | Self::Late { .. }
            | Self::Repeats { .. } => false,
            Self::Middlebox { cable, kind } => breaks(net.chain, *cable, kind),
        }
    }

    /// When it is over; `None` if it stays.
    #[must_use]
    pub fn ends(&self) -> Option<Duration> {
        match self {
            Self::Lane { from, lasts, .. }
            | Self::Device { from, lasts, .. }
            | Self::Late { from, lasts, .. }
            | Self::Repeats { from, lasts, .. } => Some(*from + *lasts),
            Self::Rings { .. } | Self::Middlebox { .. } => None,
        }
    }
}

/// Whether a middlebox on link `cable` may end a flow. Nothing that happens to a secondary access may: the connection goes
/// on by the others. Where TCP is on both sides, what spares TCP spares the flow.
fn breaks(chain: Chain, cable: usize, kind: &Kind) -> bool {
    if chain.is_secondary(cable) {
        return false;
    }
    let access = chain.is_access(cable);
    match kind {
        Kind::Strip { from, .. } => access && matches!(from, From::Data | From::Nth(_)),
        // Windows that are misread make a flow slow beyond all patience.
        // And segments without the timestamps that were agreed upon are dropped (RFC 7323 3.2).
        Kind::Options(change) => {
            matches!(change, Change::Scale(_) | Change::Lose(kind::TIMESTAMPS))
        },
        // Two segments made one keep one's mapping.
        Kind::Join { .. } | Kind::Accelerator => access,
        Kind::Portal(_) => true,
        Kind::Forger { forgery, .. } => *forgery == Forgery::Reset,
        Kind::Nat {
            forgets, timeout, ..
        } => forgets.is_some() || timeout.is_some(),
        Kind::Swap(_) | Kind::Gateway { .. } => access,
        Kind::Numbers { .. }
        | Kind::LoseEnds(_)
        | Kind::Split(_)
        | Kind::Insert(_)
        | Kind::Storm { .. } => false,
    }
}

/// What middleboxes make of the octets that the client (0) or the server (1) sends.
#[must_use]
pub fn changes(net: &Net, faults: &[Fault], from: usize) -> (Swaps, Option<u64>) {
    let (mut swaps, mut inserted) = (Swaps::None, None);
    for fault in faults {
        let Fault::Middlebox { cable, kind } = fault else {
            continue;
        };
        let access = net.chain.is_access(*cable);
        match kind {
            Kind::Swap(ways) if ways[from] && !access => swaps = Swaps::All,
            // Additional subflows whose checksum fails are reset; without checksums nobody knows.
            Kind::Swap(ways) if ways[from] && swaps != Swaps::All => {
                let checked = net.checksum[0] || net.checksum[1];
                swaps = match (checked, net.chain.is_secondary(*cable)) {
                    (false, _) => Swaps::Some,
                    (true, true) => swaps,
                    (true, false) => Swaps::Since,
                };
            },
            Kind::Insert(before) if from == 0 => inserted = Some(u64::from(*before)),
            _ => {},
        }
    }
    (swaps, inserted)
}

/// What gateways make of the octets that the client (0) or the server (1) sends.
#[must_use]
pub fn rewrites(net: &Net, faults: &[Fault], from: usize) -> Rewrites {
    let checked = net.checksum[0] || net.checksum[1];
    let of = |fault: &Fault| match fault {
        Fault::Middlebox {
            cable,
            kind: Kind::Gateway { ways, longer, .. },
        } => {
            // An additional subflow whose checksum fails is reset.
            let is_reset = checked && net.chain.is_secondary(*cable);
            (ways[from] && !is_reset).then_some(Rewrites::Some { longer: *longer })
        },
        _ => None,
    };
    faults.iter().find_map(of).unwrap_or_default()
}

/// Draws a gateway between the two boxes, where nothing else changes octets.
#[must_use]
pub fn gateway(net: &Net, others: &[Fault], rng: &mut Rng) -> Option<Fault> {
    let changes = |fault: &Fault| {
        matches!(
            fault,
            Fault::Middlebox {
                kind: Kind::Swap(_) | Kind::Insert(_),
                ..
            }
        )
    };
    let Chain::Bonded(accesses) = net.chain else {
        return None;
    };
    if !rng.percent(10) || others.iter().any(changes) {
        return None;
    }
    let accesses = u32::try_from(accesses).unwrap_or(1);
    Some(Fault::Middlebox {
        cable: rng.between(1, accesses) as usize,
        kind: Kind::Gateway {
            ways: rng.pick(&[[true, false], [false, true], [true, true]]),
            longer: rng.percent(50),
            most: rng.pick(&[1, 1, 3, 1000]),
        },
    })
}

/// Draws ends of data that are lost, however many accesses carry them.
#[must_use]
pub fn lost_ends(net: &Net, rng: &mut Rng) -> Vec<Fault> {
    if !matches!(net.chain, Chain::Bonded(_)) || !rng.percent(15) {
        return Vec::new();
    }
    let kind = Kind::LoseEnds(rng.between(1, 3));
    let accesses = (0..net.chain.cables()).filter(|cable| net.chain.is_access(*cable));
    accesses
        .map(|cable| Fault::Middlebox { cable, kind })
        .collect()
}

/// Draws a link on which sequence numbers come round soon.
#[must_use]
pub fn wrapping(net: &Net, rng: &mut Rng) -> Option<Fault> {
    let cable = rng.below(u32::try_from(net.chain.cables()).unwrap_or(1)) as usize;
    let strangers = matches!(net.chain, Chain::Native(_)) && net.chain.is_access(cable);
    let kind = Kind::Numbers {
        drawn: Drawn::Wrapping(rng.below(200_000)),
        sack: true,
    };
    (rng.percent(15) && !strangers).then_some(Fault::Middlebox { cable, kind })
}

/// Draws what goes wrong: nothing in a part of all runs, else a few kinds of faults, so that each kind is also seen
/// without most of the others.
#[must_use]
pub fn draw(net: &Net, rng: &mut Rng) -> Vec<Fault> {
    if rng.percent(10) {
        return Vec::new();
    }
    let (lanes, devices) = (rng.pick(&[0, 1, 1, 2, 3, 4]), rng.pick(&[0, 0, 0, 1, 2]));
    let mut faults = Vec::new();
    for _ in 0..lanes {
        let before = faults.len();
        lane_faults(net, rng, &mut faults);
        // Two bits turned over may make up for each other, and TCP's checksum cannot tell.
        if faults[..before].iter().any(corrupts) && faults[before..].iter().any(corrupts) {
            faults.truncate(before);
        }
    }
    for _ in 0..devices {
        faults.push(device_fault(net, rng));
    }
    for _ in 0..rng.pick(&[0, 0, 1, 1, 1, 2]) {
        let fault = middlebox(net, rng);
        // Of two that add octets the second would count those of the first.
        let adds = |fault: &Fault| {
            matches!(
                fault,
                Fault::Middlebox {
                    kind: Kind::Insert(_),
                    ..
                }
            )
        };
        if !(adds(&fault) && faults.iter().any(adds)) {
            faults.push(fault);
        }
    }
    faults
}

/// Draws what goes wrong between the workers of boxes that have several.
#[must_use]
pub fn among_workers(net: &Net, rng: &mut Rng) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (machine, ports) in net.chain.machines().into_iter().enumerate() {
        let several = net.workers[machine] > 1;
        if rng.percent(25) && several {
            // A burst at least: with less most of each is lost for good, and a host without congestion control never learns.
            let frames = rng.pick(&[32, 40, 64]);
            faults.push(Fault::Rings { machine, frames });
        }
        if rng.percent(40) && several {
            let (from, lasts) = spell(rng, 20_000);
            let trouble = Trouble::Missteers(rng.between(1, 100));
            let port = rng.below(u32::try_from(ports).unwrap_or(1)) as usize;
            faults.push(Fault::Device {
                machine,
                port,
                trouble,
                from,
                lasts,
            });
        }
    }
    faults
}

const fn corrupts(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Lane {
            ill: Ill::Corrupt(_),
            ..
        }
    )
}

/// A middlebox somewhere; two of them may be on one link.
fn middlebox(net: &Net, rng: &mut Rng) -> Fault {
    let cable = rng.below(u32::try_from(net.shapes.len()).unwrap_or(1)) as usize;
    let access = net.chain.is_access(cable);
    let ways = rng.pick(&[[true, false], [false, true], [true, true]]);
    let join = |rng: &mut Rng| Kind::Join {
        keeps_second: rng.percent(50),
    };
    if access && matches!(net.chain, Chain::Native(_)) {
        let kind = around_strangers(rng, ways);
        return Fault::Middlebox { cable, kind };
    }
    let kind = match (rng.below(24), access) {
        (0..=2, true) => Kind::Strip {
            from: strip_from(rng),
            ways,
            close_up: rng.percent(50),
        },
        (3, true) => Kind::Accelerator,
        (4..=7, true) | (4, false) => Kind::Swap(ways),
        (5, false) => Kind::Insert(rng.below(50_000)),
        (8, _) => join(rng),
        (9, _) => Kind::Split(rng.between(100, 1200) as usize),
        (10, _) => Kind::Portal(rng.pick(&[Then::Reset, Then::Silence])),
        (11, _) => Kind::Nat {
            forgets: rng.percent(50).then(|| millis(rng, 100, 4_000)),
            timeout: rng.percent(30).then(|| millis(rng, 1_000, 8_000)),
            addresses: rng.percent(50),
        },
        (12 | 13, _) => Kind::Numbers {
            drawn: Drawn::Any(rng.u64()),
            sack: rng.percent(70),
        },
        (14..=20, _) => forger(net.chain, cable, rng),
        // What happens to additional subflows alone must be seen there.
        (21 | 22, _) if net.chain.is_secondary(cable) => Kind::Swap([true, true]),
        _ => Kind::Options(change(rng)),
    };
    Fault::Middlebox { cable, kind }
}

/// A middlebox in front of a host whose Multipath TCP is not ours: what it makes of worse is no concern of ours.
fn around_strangers(rng: &mut Rng, ways: [bool; 2]) -> Kind {
    match rng.below(5) {
        0 => Kind::Strip {
            from: rng.pick(&[From::Syn, From::SynAck]),
            ways,
            close_up: rng.percent(50),
        },
        1 => Kind::Split(rng.between(100, 1200) as usize),
        2 => Kind::Options(Change::Clamp(
            u16::try_from(rng.between(536, 1400)).unwrap_or(536),
        )),
        3 => Kind::Options(Change::Order),
        _ => Kind::Nat {
            forgets: None,
            timeout: None,
            addresses: rng.percent(50),
        },
    }
}

fn strip_from(rng: &mut Rng) -> From {
    match rng.below(6) {
        0 => From::Syn,
        1 => From::SynAck,
        2 => From::Data,
        3 => From::Swallow,
        _ => From::Nth(rng.between(1, 60)),
    }
}

fn change(rng: &mut Rng) -> Change {
    let refused = [
        kind::WSCALE,
        kind::SACK_PERMITTED,
        kind::TIMESTAMPS,
        kind::MSS,
    ];
    match rng.below(6) {
        0 => Change::Refuse(rng.pick(&refused)),
        1 => Change::Lose(rng.pick(&[kind::TIMESTAMPS, kind::SACK])),
        2 => Change::Scale(u8::try_from(rng.below(15)).unwrap_or(0)),
        3 => Change::Clamp(u16::try_from(rng.between(536, 1400)).unwrap_or(536)),
        4 => Change::Clock(rng.u32()),
        _ => Change::Order,
    }
}

/// Somebody who sends what nobody sent, to a box: what a host makes of it is no concern of ours.
fn forger(chain: Chain, cable: usize, rng: &mut Rng) -> Kind {
    let tcp = [
        Forgery::Reset,
        Forgery::NearReset,
        Forgery::NearReset,
        Forgery::NearReset,
        Forgery::FarReset,
        Forgery::Syn,
        Forgery::Syn,
        Forgery::Syn,
        Forgery::OldData,
        Forgery::FarData,
        Forgery::WildAck,
    ];
    let multipath = [
        Forgery::AddAddr,
        Forgery::RemoveAddr,
        Forgery::Fastclose,
        Forgery::Prio,
        Forgery::DataAck,
    ];
    let access = chain.is_access(cable);
    let forgery = if access && rng.percent(50) {
        rng.pick(&multipath)
    } else {
        rng.pick(&tcp)
    };
    let ways = if access {
        [true, true]
    } else {
        [cable == 0, cable != 0]
    };
    Kind::Forger {
        forgery,
        ways,
        every: rng.between(1, 40),
        most: rng.between(1, 20),
        seed: rng.u64(),
    }
}

fn millis(rng: &mut Rng, low: u32, high: u32) -> Duration {
    Duration::from_millis(u64::from(rng.between(low, high)))
}

/// From when, and for how long: from the start in half of all cases, so that handshakes meet it, too.
fn spell(rng: &mut Rng, most: u32) -> (Duration, Duration) {
    let begin = rng.between(1, 2_500);
    let from = if rng.percent(50) { 0 } else { begin };
    (
        Duration::from_millis(u64::from(from)),
        millis(rng, 50, most),
    )
}

/// One ill, in one or both directions.
fn lane_faults(net: &Net, rng: &mut Rng, faults: &mut Vec<Fault>) {
    let cable = rng.below(u32::try_from(net.shapes.len()).unwrap_or(1)) as usize;
    let share = |rng: &mut Rng, most: u32| rng.between(1, most) * (MILLION / 1000);
    let ill = match rng.below(12) {
        0 | 1 => Ill::Loss(share(rng, 150)),
        2 => Ill::Burst {
            enter: share(rng, 30),
            leave: share(rng, 400).max(MILLION / 50),
        },
        3 => Ill::Jitter(millis(rng, 1, 200)),
        4 => Ill::Reorder {
            share: share(rng, 300),
            by: millis(rng, 1, 300),
        },
        5 => Ill::Duplicate(share(rng, 300)),
        6 => Ill::Corrupt(share(rng, 100)),
        7 => Ill::Down,
        8 => Ill::Rate(u64::from(rng.between(100, 20_000)) * 1_000),
        9 => Ill::Queue(u64::from(rng.between(3, 40)) * 1_000),
        10 => Ill::Narrow {
            mtu: u16::try_from(rng.between(1280, 1499)).unwrap_or(1280),
            tells: rng.percent(50),
        },
        _ => Ill::Mark(share(rng, 500)),
    };
    let most = if ill == Ill::Down { 10_000 } else { 20_000 };
    let (from, lasts) = spell(rng, most);
    let lanes = rng.pick(&[[true, false], [false, true], [true, true]]);
    for lane in (0..2).filter(|lane| lanes[*lane]) {
        faults.push(Fault::Lane {
            cable,
            lane,
            ill,
            from,
            lasts,
        });
    }
}

fn device_fault(net: &Net, rng: &mut Rng) -> Fault {
    let machines = net.chain.machines();
    let machine = rng.below(u32::try_from(machines.len()).unwrap_or(1)) as usize;
    let port = rng.below(u32::try_from(machines[machine]).unwrap_or(1)) as usize;
    match rng.below(4) {
        0 => {
            let (from, lasts) = spell(rng, 3_000);
            Fault::Device {
                machine,
                port,
                trouble: Trouble::NoBuffer,
                from,
                lasts,
            }
        },
        1 => {
            let (from, lasts) = spell(rng, 10_000);
            let percent = rng.between(1, 30);
            Fault::Device {
                machine,
                port,
                trouble: if percent.is_multiple_of(2) {
                    Trouble::TakesFewer(percent)
                } else {
                    Trouble::MakesWait(percent)
                },
                from,
                lasts,
            }
        },
        2 => Fault::Repeats {
            machine,
            from: Duration::ZERO,
            lasts: millis(rng, 500, 3_000),
        },
        _ => {
            let (from, lasts) = spell(rng, 10_000);
            Fault::Late {
                machine,
                away: millis(rng, 1, 150),
                from,
                lasts,
            }
        },
    }
}
