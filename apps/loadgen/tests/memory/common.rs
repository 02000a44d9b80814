//! A load generator and the box between its ports, in memory and in virtual time.

use apps::engine::{Engine, EngineConfig, Limits};
use dataplane::{App, CoreId, MemBuf, MemPort, PortInfo, Worker, mailbox};
use loadgen::{Config, Flowgen, Report};
use stack::Instant;
use stack::time::{Duration, earlier};

pub(crate) fn info(name: &str) -> PortInfo {
    PortInfo {
        name: name.to_owned(),
        ..PortInfo::default()
    }
}

/// What the generator is told of its ports.
pub(crate) fn known(count: u8) -> Vec<PortInfo> {
    let port = |n| PortInfo {
        mac: [2, 0, 0, 0, 7, n],
        ..PortInfo::default()
    };
    (1..=count).map(port).collect()
}

pub(crate) fn generator(yaml: &str, ports: Vec<MemPort>) -> Worker<MemPort, Flowgen<MemBuf>> {
    let config = Config::read(yaml).unwrap();
    let mut fill = |octets: &[u8]| Some(MemBuf::from(octets.to_vec()));
    let known = known(u8::try_from(ports.len()).unwrap());
    let app = Flowgen::new(&config, &known, &mut fill, [5; 32], Instant::ZERO).unwrap();
    let (_, inbox) = mailbox(1);
    Worker::new(CoreId(0), ports, app, inbox)
}

/// A HAG in memory, by `change` other than that of the lab's scene.
pub(crate) fn hag(
    ports: Vec<MemPort>,
    change: impl FnOnce(&mut EngineConfig),
) -> Worker<MemPort, Engine<MemBuf>> {
    let limits = Limits {
        relays: 2_000,
        pending: 1_000,
        ..Limits::default()
    };
    let mut config = testbed::scene::engine(limits).config().clone();
    change(&mut config);
    let (_, inbox) = mailbox(1);
    Worker::new(CoreId(0), ports, Engine::new(config).unwrap(), inbox)
}

/// Runs the box for a while longer: closed connections are remembered for a moment.
pub(crate) fn settle<A: App<MemBuf>>(between: &mut Worker<MemPort, A>) {
    let mut now = Instant::from_millis(1_000_000);
    for _ in 0..1_000 {
        between.poll(now);
        now = now + Duration::from_millis(100);
    }
}

/// Runs the generator, and the box if there is one, until the run is over.
pub(crate) fn run<A: App<MemBuf>>(
    generator: &mut Worker<MemPort, Flowgen<MemBuf>>,
    mut between: Option<&mut Worker<MemPort, A>>,
) -> Report {
    let mut now = Instant::ZERO;
    for _ in 0..5_000_000 {
        let mut moved = generator.poll(now);
        let mut deadline = generator.next_deadline();
        if let Some(worker) = &mut between {
            moved += worker.poll(now);
            deadline = earlier(deadline, worker.next_deadline());
        }
        if generator.app().is_over() {
            return generator.app().report();
        }
        // Each turn takes a while, as it does on a machine.
        let next = now + Duration::from_micros(20);
        now = if moved > 0 {
            next
        } else {
            deadline.map_or(next, |at| at.max(next))
        };
    }
    panic!("the run does not end: {:?}", generator.app().snapshot());
}
