//! How a box lives: it serves its control socket while its workers move packets, and stops without a surprise.
//!
//! The first worker runs on the thread that calls [`Supervisor::run`], each further one on a thread of its own. Everything
//! else, sockets, signals and waiting, is on the supervisor's thread, which is started first: whoever pins a worker's thread
//! later does not pin it too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dataplane::{App, AskError, Clock, Idle, Inbox, Port, Worker, mailbox};
use thiserror::Error;
use tracing::{info, warn};

use crate::config::Config;
use crate::control::server::{ServeError, Server};
use crate::control::{Command, Reply, Status, Workers};

#[cfg(test)]
mod tests;

/// Commands that may wait for a worker.
const MAILBOX: usize = 32;

/// How long a worker may take for a command.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a draining box looks whether it is empty.
const LOOK: Duration = Duration::from_millis(20);

/// Why a box did not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// It cannot be asked.
    #[error(transparent)]
    Control(#[from] ServeError),
    /// There is no thread to supervise on, or for a worker.
    #[error("the machine has no thread left: {0}")]
    Thread(#[from] std::io::Error),
    /// The supervisor or a worker ended before its time, which its own message explains.
    #[error("the supervisor or a worker ended early")]
    Ended,
}

/// The thread beside the workers.
#[derive(Debug)]
pub struct Supervisor {
    start: Sender<()>,
    started: Receiver<Result<(), ServeError>>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Supervisor {
    /// Starts the supervisor, which at first only waits, and gives back the end of its
    /// mailbox of each worker, in the order of the configuration's cores.
    ///
    /// The first message on `stop` begins to drain, the second cuts the grace time short. A closed channel stops at once.
    ///
    /// # Errors
    /// [`RunError::Thread`].
    pub fn new(
        config: &Config,
        stop: Receiver<()>,
    ) -> Result<(Self, Vec<Inbox<Command, Reply>>), RunError> {
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) =
            config.worker.cores.iter().map(|_| mailbox(MAILBOX)).unzip();
        let workers = Workers::from(mailboxes);
        let (start, wait_for_start) = bounded(1);
        let (tell_started, started) = bounded(1);
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn({
                let socket = config.control.socket.clone();
                let grace = config.drain.grace.into();
                let stopped = Arc::clone(&stopped);
                move || {
                    // Dropped without a message if a port did not open.
                    if wait_for_start.recv().is_err() {
                        return;
                    }
                    let served = Server::start(&socket, workers.clone());
                    let server = match served {
                        Ok(server) => {
                            let _ = tell_started.send(Ok(()));
                            server
                        },
                        Err(error) => {
                            let _ = tell_started.send(Err(error));
                            return;
                        },
                    };
                    let _ = stop.recv();
                    wind_down(&workers, &stop, grace);
                    drop(server);
                    stopped.store(true, Ordering::Release);
                }
            })?;
        let supervisor = Self {
            start,
            started,
            stopped,
            thread,
        };
        Ok((supervisor, inboxes))
    }

    /// Opens the control socket, runs `workers` until they were told to stop and have stopped, and removes the socket. The
    /// first runs on this thread; each further one on its own, which first calls `settle` with the worker's place. The ports
    /// are still open when this returns, and everything was handed to them.
    ///
    /// # Errors
    /// [`RunError::Control`] if there is no control socket: nothing has run then.
    pub fn run<P, A>(
        self,
        workers: &mut [Worker<P, A>],
        clock: &Clock,
        idle: Idle,
        settle: impl Fn(usize) + Sync,
    ) -> Result<(), RunError>
    where
        P: Port<Buf: Send> + Send,
        A: App<P::Buf, Command: Send, Reply: Send, Word: Send> + Send,
    {
        self.start.send(()).map_err(|_| RunError::Ended)?;
        self.started.recv().map_err(|_| RunError::Ended)??;
        let Some((first, others)) = workers.split_first_mut() else {
            return Err(RunError::Ended);
        };
        let over = &AtomicBool::new(false);
        let stop = || {
            over.load(Ordering::Acquire)
                || self.stopped.load(Ordering::Acquire)
                || self.thread.is_finished()
        };
        let turn = |worker: &mut Worker<P, A>| {
            // One that fails stops all: none of them is a box without the others.
            let _ends = Ends(over);
            dataplane::run(worker, clock, idle, |_| stop());
            // What the last commands had to send.
            worker.poll(clock.now());
        };
        let (turn, settle) = (&turn, &settle);
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (place, worker) in (1..).zip(others) {
                let started = thread::Builder::new()
                    .name(format!("worker-{place}"))
                    .spawn_scoped(scope, move || {
                        settle(place);
                        turn(worker);
                    });
                match started {
                    Ok(thread) => threads.push(thread),
                    Err(error) => {
                        over.store(true, Ordering::Release);
                        return Err(RunError::Thread(error));
                    },
                }
            }
            turn(first);
            let joined = threads.into_iter().map(thread::ScopedJoinHandle::join);
            joined
                .collect::<Result<(), _>>()
                .map_err(|_| RunError::Ended)
        })?;
        self.thread.join().map_err(|_| RunError::Ended)
    }
}

/// Says so when a worker ends, however it does.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Bypasses new flows, waits for those there are, and resets what is left after `grace`.
fn wind_down(workers: &Workers, hurry: &Receiver<()>, grace: Duration) {
    let clock = Clock::start();
    info!("stopping: new flows are bypassed, existing ones have {grace:?}");
    let mut last = Status::default();
    let mut command = Command::Drain;
    loop {
        match workers.ask(command, PATIENCE) {
            Ok(Reply::Status(status)) => {
                last = status;
                command = Command::ShowStatus;
                if status.relays == 0 && status.pending == 0 {
                    info!("stopping: no connection is left");
                    return;
                }
            },
            Err(AskError::Gone) => return,
            Ok(_) | Err(AskError::Full | AskError::TimedOut) => {},
        }
        if Duration::from_nanos(clock.now().as_nanos()) >= grace {
            break;
        }
        match hurry.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {},
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    info!(
        relays = last.relays,
        pending = last.pending,
        "stopping: the rest is reset"
    );
    if let Err(error) = workers.ask(Command::ResetAll, PATIENCE) {
        warn!(%error, "a worker did not reset its connections");
    }
}
