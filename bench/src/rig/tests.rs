use super::{Cable, Device, Load, Rig, Role, carry, engine};
use apps::engine::{EngineConfig, Limits, Occupancy, PerSubscriber};
use stack::Instant;
use stack::time::Duration;

/// Frames that wait at an end of a cable, beyond which what comes is lost: what cards do where a box is too slow.
const WAIT_MAX: usize = 128;

/// A box with few places of each kind.
fn small(role: Role, load: &Load) -> EngineConfig {
    let limits = Limits {
        relays: 500,
        pending: 200,
        joining: 60,
        per_subscriber: PerSubscriber {
            connections: 450,
            pending: 150,
            joining: 50,
            ..PerSubscriber::default()
        },
        protect_established: false,
        ..Limits::default()
    };
    EngineConfig {
        limits,
        ..engine(role, load)
    }
}

impl Rig {
    fn occupancy(&self) -> Occupancy {
        match &self.device {
            Device::Engine(worker) => worker.app().occupancy(),
            Device::Wire(_) => Occupancy::default(),
        }
    }

    /// A turn in which both ends of each cable lose what they cannot hold; how many frames.
    fn lossy_turn(&mut self, turn: Duration) -> usize {
        self.now = self.now + turn;
        let (now, mut lost) = (self.now, 0);
        let mut cut = |waiting: &super::Waiting| {
            let mut waiting = waiting.borrow_mut();
            lost += waiting.len().saturating_sub(WAIT_MAX);
            waiting.truncate(WAIT_MAX);
        };
        self.generator.poll(now);
        for Cable { generator, device } in &self.cables {
            carry(&generator.0, &device.1, &mut self.kept);
            cut(&device.1);
        }
        let Device::Engine(worker) = &mut self.device else {
            return 0;
        };
        worker.poll(now);
        for Cable { generator, device } in &self.cables {
            carry(&device.0, &generator.1, &mut self.kept);
            cut(&generator.1);
        }
        lost
    }

    /// All hosts are gone from here on: turns when something is due, until nothing is held or `patience` is over.
    fn alone(&mut self, patience: Duration) {
        for cable in &self.cables {
            cable.device.1.borrow_mut().clear();
        }
        let until = self.now + patience;
        while self.now < until && self.occupancy() != Occupancy::default() {
            let Device::Engine(worker) = &mut self.device else {
                return;
            };
            let due = worker.next_deadline().unwrap_or(Instant::ZERO);
            self.now = due.max(self.now + Duration::from_millis(1));
            worker.poll(self.now);
            for cable in &self.cables {
                cable.device.0.borrow_mut().clear();
            }
        }
    }
}

/// Many times more connections at once than there are places, over cables that lose what is too much; and in the middle of
/// it all hosts fall silent, whatever each flow was about to do. No pending flow, relay, token, key, timer or octet may be
/// left once the longest timeout is over.
#[test]
fn a_storm_of_set_ups_leaves_nothing_behind() {
    for subflows in [1, 2] {
        let (role, load) = (Role::Multipath(subflows), Load::short(2_000));
        let mut rig = Rig::with(role, &load, small(role, &load));
        let (mut lost, mut most) = (0, Occupancy::default());
        // The cut comes while there is something of each kind under way.
        let is_in_the_middle = |held: &Occupancy| {
            let joining = subflows == 1 || held.joining > 0;
            joining && held.pending > 0 && held.relays > 0
        };
        for turn in 0.. {
            lost += rig.lossy_turn(Duration::from_micros(200));
            let held = rig.occupancy();
            most.pending = most.pending.max(held.pending);
            most.relays = most.relays.max(held.relays);
            if turn >= 20_000 && is_in_the_middle(&held) {
                break;
            }
            assert!(turn < 60_000, "{held:?}");
        }
        assert!(lost > 1_000, "{lost} frames lost: no storm");
        assert!(most.pending >= 150 && most.relays > 200, "{most:?}");
        rig.alone(Duration::from_secs(4 * 3600));
        assert_eq!(rig.occupancy(), Occupancy::default());
    }
}
