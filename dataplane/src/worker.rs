//! The loop: one core, its ports, and the app that it runs over them.

use crate::app::{App, CoreId};
use crate::mailbox::Inbox;
use crate::port::{BufferUse, Port, PortReport, Received};
use stack::{Frame, Instant, PortId};

/// Most ports of one worker: a [`PortId`] is one octet.
pub const MAX_PORTS: usize = 256;

/// What a worker counts beside its ports and its app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Turns.
    pub polls: u64,
    /// Turns that moved no packet and carried out no command.
    pub idle_polls: u64,
    /// Received frames dropped as they belong to a core that this worker has no ring to.
    pub drop_no_core: u64,
    /// Frames dropped as the app named a port that does not exist.
    pub drop_no_port: u64,
}

/// One core's loop body. Shares nothing with other workers; all time comes in as an argument.
pub struct Worker<P: Port, A: App<P::Buf>> {
    core: CoreId,
    ports: Vec<P>,
    app: A,
    inbox: Inbox<A::Command, A::Reply>,
    stats: WorkerStats,
    received: Vec<Received<P::Buf>>,
    out: Vec<Frame<P::Buf>>,
    per_port: Vec<Vec<Frame<P::Buf>>>,
}

impl<P: Port, A: App<P::Buf>> Worker<P, A> {
    /// A worker for `core`. `ports` are in the order of [`PortId`], at most [`MAX_PORTS`]; further ones are never polled.
    #[must_use]
    pub fn new(core: CoreId, ports: Vec<P>, app: A, inbox: Inbox<A::Command, A::Reply>) -> Self {
        let per_port = ports.iter().map(|_| Vec::new()).collect();
        Self {
            core,
            ports,
            app,
            inbox,
            stats: WorkerStats::default(),
            received: Vec::new(),
            out: Vec::new(),
            per_port,
        }
    }

    /// One turn; returns how many packets moved and commands were carried out.
    ///
    /// `now` must not go back. A turn with nothing to do changes nothing.
    pub fn poll(&mut self, now: Instant) -> usize {
        let mut moved = self.commands(now);
        moved += self.receive(now);
        self.app.buffers(self.fullest());
        self.app.flush(now, &mut self.out);
        moved += self.transmit();
        self.stats.polls += 1;
        self.stats.idle_polls += u64::from(moved == 0);
        moved
    }

    /// When [`poll`](Self::poll) has something to do even if nothing is received; `None` if never.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.app.next_deadline()
    }

    fn commands(&mut self, now: Instant) -> usize {
        if !self.inbox.has_mail() {
            return 0;
        }
        let reports: Vec<PortReport> = self.ports.iter().map(report).collect();
        self.app.ports(&reports);
        self.app.worker(self.stats);
        let Self {
            app, inbox, out, ..
        } = self;
        usize::from(inbox.answer(|command| app.command(now, command, out)))
    }

    fn receive(&mut self, now: Instant) -> usize {
        let mut count = 0;
        let Self { app, received, .. } = self;
        for (id, port) in (0..=u8::MAX).map(PortId).zip(&mut self.ports) {
            port.receive(received);
            let came = received.len();
            // Steering: with one worker there is no ring to another core yet.
            received.retain(|one| app.owner(id, one.frame.bytes()) == self.core);
            count += came;
            self.stats.drop_no_core += (came - received.len()) as u64;
            if !received.is_empty() {
                app.input(now, id, received, &mut self.out);
            }
        }
        count
    }

    fn transmit(&mut self) -> usize {
        let count = self.out.len();
        if count == 0 {
            return 0;
        }
        for frame in self.out.drain(..) {
            match self.per_port.get_mut(usize::from(frame.port.0)) {
                Some(frames) => frames.push(frame),
                None => self.stats.drop_no_port += 1,
            }
        }
        for (port, frames) in self.ports.iter_mut().zip(&mut self.per_port) {
            if !frames.is_empty() {
                port.transmit(frames);
            }
        }
        count
    }

    /// The buffers of the port that has the largest share of them taken.
    fn fullest(&self) -> BufferUse {
        let uses = self.ports.iter().map(Port::buffers);
        uses.max_by_key(|buffers| buffers.permille())
            .unwrap_or_default()
    }

    /// The app.
    #[must_use]
    pub const fn app(&self) -> &A {
        &self.app
    }

    /// The app, to be changed between turns.
    pub const fn app_mut(&mut self) -> &mut A {
        &mut self.app
    }

    /// The ports, in the order of [`PortId`].
    #[must_use]
    pub fn ports(&self) -> &[P] {
        &self.ports
    }

    /// What the worker counted.
    #[must_use]
    pub const fn stats(&self) -> WorkerStats {
        self.stats
    }
}

fn report<P: Port>(port: &P) -> PortReport {
    PortReport {
        info: port.info().clone(),
        stats: port.stats(),
        buffers: port.buffers(),
    }
}

#[cfg(test)]
mod tests;
