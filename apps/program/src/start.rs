//! From a right configuration to running workers.

use std::fs::File;
use std::io::Read;
use std::thread;

use anyhow::{Context, bail, ensure};
use apps::config::Config;
use apps::control::{Command, Reply};
use apps::engine::Engine;
use apps::run::Supervisor;
use crossbeam::channel::{Receiver, bounded};
use dataplane::{Clock, CoreId, Inbox, Port, Worker, siblings};
use dpdk::{DpdkPort, Eal, Mbuf};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{info, warn};

use crate::ports;

/// Runs until a signal, or until something that it needs is missing.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    // Threads first: they must not inherit the worker's core when EAL pins this thread to it.
    let stop = on_signals()?;
    let (supervisor, inboxes) = Supervisor::new(config, stop)?;
    cores_are_ours(&config.worker.cores)?;
    let (eal, opened) = ports::open(config)?;
    let mut workers = workers(config, opened, inboxes)?;
    info!(
        socket = %config.control.socket.display(),
        workers = workers.len(),
        "{} runs",
        config.name
    );
    supervisor.run(&mut workers, &Clock::start(), config.idle(), |place| {
        settle(eal, config.worker.cores.get(place).copied());
    })?;
    info!("{} has stopped", config.name);
    Ok(())
}

type BoxWorker = Worker<DpdkPort, Engine<Mbuf>>;

/// A worker for each core, with rings between them.
fn workers(
    config: &Config,
    opened: Vec<Vec<DpdkPort>>,
    inboxes: Vec<Inbox<Command, Reply>>,
) -> anyhow::Result<Vec<BoxWorker>> {
    let of_first = || opened.iter().take(1).flatten().map(DpdkPort::info);
    let macs: Vec<_> = of_first().map(|info| info.mac).collect();
    let mut whole = config.engine(&macs, seed()?);
    whole.leave_checksums_to(of_first());
    let cores = u8::try_from(opened.len())?;
    let parts = opened.into_iter().zip(inboxes).zip(siblings(cores.into()));
    let worker = |(core, ((ports, inbox), siblings))| {
        let mut ports: Vec<DpdkPort> = ports;
        let own = whole.of_core(core, cores);
        ports::attract_joins(&mut ports, &own);
        let engine = Engine::new(own)?;
        Ok(Worker::new(CoreId(core), ports, engine, inbox).among(siblings))
    };
    (0..).zip(parts).map(worker).collect()
}

/// Binds the calling thread to its core, and makes it known to DPDK. Without either a worker is slower, and works.
fn settle(eal: Eal, core: Option<u16>) {
    let bound = core.is_some_and(|core| {
        core_affinity::set_for_current(core_affinity::CoreId { id: core.into() })
    });
    if !bound {
        warn!(?core, "a worker could not be bound to its core");
    }
    if let Err(reason) = eal.join() {
        warn!(?core, reason, "a worker has no buffers of its own at hand");
    }
}

/// One message for each SIGTERM or SIGINT. Those that come while the ports are opened wait.
fn on_signals() -> anyhow::Result<Receiver<()>> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).context("signals cannot be handled")?;
    let (tell, stop) = bounded(2);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for _ in signals.forever() {
                // Whoever signals more often than twice has been heard.
                let _ = tell.try_send(());
            }
        })?;
    Ok(stop)
}

/// Refuses a core that this process may not use: EAL would only say that it failed.
fn cores_are_ours(cores: &[u16]) -> anyhow::Result<()> {
    let Some(allowed) = core_affinity::get_core_ids() else {
        bail!("the processor's cores cannot be listed");
    };
    for core in cores {
        let known = allowed.iter().any(|id| id.id == usize::from(*core));
        let names: Vec<_> = allowed.iter().map(|id| id.id.to_string()).collect();
        ensure!(
            known,
            "worker.cores: core {core} is not there, or not for this process; there are {}",
            names.join(", ")
        );
    }
    Ok(())
}

/// The operating system's randomness: keys, sequence numbers and the flow table's hash follow from it.
fn seed() -> anyhow::Result<[u8; 32]> {
    let mut seed = [0; 32];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut seed))
        .context("/dev/urandom cannot be read")?;
    Ok(seed)
}
