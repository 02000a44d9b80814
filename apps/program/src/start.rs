//! From a right configuration to a running worker.

use std::fs::File;
use std::io::Read;
use std::thread;

use anyhow::{Context, bail, ensure};
use apps::config::Config;
use apps::engine::Engine;
use apps::run::Supervisor;
use crossbeam::channel::{Receiver, bounded};
use dataplane::{Clock, CoreId, Port, Worker};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::info;

use crate::ports;

/// Runs until a signal, or until something that it needs is missing.
pub(crate) fn run(config: &Config) -> anyhow::Result<()> {
    // Threads first: they must not inherit the worker's core when EAL pins this thread to it.
    let stop = on_signals()?;
    let (supervisor, inbox) = Supervisor::new(config, stop)?;
    cores_are_ours(&config.worker.cores)?;
    let opened = ports::open(config)?;
    let macs: Vec<_> = opened.iter().map(|port| port.info().mac).collect();
    let engine = Engine::new(config.engine(&macs, seed()?))?;
    let mut worker = Worker::new(CoreId(0), opened, engine, inbox);
    info!(socket = %config.control.socket.display(), "{} runs", config.name);
    supervisor.run(&mut worker, &Clock::start(), config.idle())?;
    info!("{} has stopped", config.name);
    Ok(())
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
