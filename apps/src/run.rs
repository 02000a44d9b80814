//! How a box lives: it serves its control socket while its worker moves packets, and stops without a surprise.
//!
//! The worker runs on the thread that calls [`Supervisor::run`]. Everything else, sockets, signals and waiting, is on
//! the supervisor's thread, which is started first: whoever pins the worker's thread later does not pin it too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use dataplane::{App, AskError, Clock, Idle, Inbox, Mailbox, Port, Worker, mailbox};
use thiserror::Error;
use tracing::{info, warn};

use crate::config::Config;
use crate::control::server::{ServeError, Server};
use crate::control::{Command, Reply, Status};

#[cfg(test)]
mod tests;

/// Commands that may wait for the worker.
const MAILBOX: usize = 32;

/// How long the worker may take for a command.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a draining box looks whether it is empty.
const LOOK: Duration = Duration::from_millis(20);

/// Why a box did not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// It cannot be asked.
    #[error(transparent)]
    Control(#[from] ServeError),
    /// There is no thread to supervise on.
    #[error("the machine has no thread left for the supervisor: {0}")]
    Thread(#[from] std::io::Error),
    /// The supervisor ended before its time, which its own message explains.
    #[error("the supervisor ended early")]
    Ended,
}

/// The thread beside the worker.
#[derive(Debug)]
pub struct Supervisor {
    start: Sender<()>,
    started: Receiver<Result<(), ServeError>>,
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Supervisor {
    /// Starts the supervisor, which at first only waits, and gives back the worker's end of its mailbox.
    ///
    /// The first message on `stop` begins to drain, the second cuts the grace time short. A closed channel stops at once.
    ///
    /// # Errors
    /// [`RunError::Thread`].
    pub fn new(
        config: &Config,
        stop: Receiver<()>,
    ) -> Result<(Self, Inbox<Command, Reply>), RunError> {
        let (to_worker, inbox) = mailbox(MAILBOX);
        let (start, wait_for_start) = bounded(1);
        let (tell_started, started) = bounded(1);
        let stopped = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn({
                let socket = config.control.socket.clone();
                let grace = config.drain.grace;
                let stopped = Arc::clone(&stopped);
                move || {
                    // Dropped without a message if a port did not open.
                    if wait_for_start.recv().is_err() {
                        return;
                    }
                    let served = Server::start(&socket, to_worker.clone());
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
                    wind_down(&to_worker, &stop, grace);
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
        Ok((supervisor, inbox))
    }

    /// Opens the control socket, runs `worker` on this thread until it was told to stop and has stopped, and removes
    /// the socket. The ports are still open when this returns, and everything was handed to them.
    ///
    /// # Errors
    /// [`RunError::Control`] if there is no control socket: nothing has run then.
    pub fn run<P, A>(
        self,
        worker: &mut Worker<P, A>,
        clock: &Clock,
        idle: Idle,
    ) -> Result<(), RunError>
    where
        P: Port,
        A: App<P::Buf, Command = Command, Reply = Reply>,
    {
        self.start.send(()).map_err(|_| RunError::Ended)?;
        self.started.recv().map_err(|_| RunError::Ended)??;
        dataplane::run(worker, clock, idle, |_| {
            self.stopped.load(Ordering::Acquire) || self.thread.is_finished()
        });
        // What the last commands had to send.
        worker.poll(clock.now());
        self.thread.join().map_err(|_| RunError::Ended)
    }
}

/// Bypasses new flows, waits for those there are, and resets what is left after `grace`.
fn wind_down(worker: &Mailbox<Command, Reply>, hurry: &Receiver<()>, grace: Duration) {
    let clock = Clock::start();
    info!("stopping: new flows are bypassed, existing ones have {grace:?}");
    let mut last = Status::default();
    let mut command = Command::Drain;
    loop {
        match worker.ask(command, PATIENCE) {
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
    if let Err(error) = worker.ask(Command::ResetAll, PATIENCE) {
        warn!(%error, "the worker did not reset its connections");
    }
}
