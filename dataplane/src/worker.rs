//! The loop: one core, its ports, and the app that it runs over them.

use crate::app::{App, CoreId, Owner};
use crate::mailbox::Inbox;
use crate::port::{BURST, BufferUse, Port, PortReport, Received};
use crate::siblings::{Handed, Shown, Siblings};
use stack::{Frame, Instant, PacketBuf, PortId, Step};

/// Most ports of one worker: a [`PortId`] is one octet.
pub const MAX_PORTS: usize = 256;

/// What a worker counts beside its ports and its app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerStats {
    /// Turns.
    pub polls: u64,
    /// Turns that moved no packet and carried out no command.
    pub idle_polls: u64,
    /// Frames put into the rings of other cores: received ones that these own or learn from, and those that these send.
    pub handed_over: u64,
    /// Received frames taken out of the rings from other cores.
    pub taken_over: u64,
    /// Received frames lost as the ring to their core was full.
    pub handover_full: u64,
    /// What else was lost so: copies of what neighbors say, words between cores, and frames for the core that sends them.
    pub handover_missed: u64,
    /// Received frames dropped as they belong to a core that this worker has no ring to.
    pub drop_no_core: u64,
    /// Frames dropped as the app named a port that does not exist.
    pub drop_no_port: u64,
}

/// One core's loop body. Shares nothing with other workers, and no cache line either; all time comes in as an argument.
#[repr(align(128))]
pub struct Worker<P: Port, A: App<P::Buf>> {
    core: CoreId,
    ports: Vec<P>,
    app: A,
    inbox: Inbox<A::Command, A::Reply>,
    /// None if it is the only worker: then every frame is its own.
    siblings: Option<Siblings<P::Buf, A::Word>>,
    stats: WorkerStats,
    /// What moved in the last turn.
    moved: usize,
    received: Vec<Received<P::Buf>>,
    /// Empty between turns, as the others are.
    own: Vec<Received<P::Buf>>,
    owners: Vec<Owner>,
    out: Vec<Frame<P::Buf>>,
    /// Frames that wait in each port since the last turn.
    waiting: Vec<usize>,
}

impl<P: Port, A: App<P::Buf>> Worker<P, A> {
    /// A worker for `core`. `ports` are in the order of [`PortId`], at most [`MAX_PORTS`]; further ones are never polled.
    #[must_use]
    pub fn new(core: CoreId, ports: Vec<P>, app: A, inbox: Inbox<A::Command, A::Reply>) -> Self {
        let waiting = vec![0; ports.len()];
        Self {
            core,
            ports,
            app,
            inbox,
            siblings: None,
            stats: WorkerStats::default(),
            moved: 0,
            received: Vec::new(),
            own: Vec::new(),
            owners: Vec::new(),
            out: Vec::new(),
            waiting,
        }
    }

    /// Gives it rings to the other workers of the same ports; its core is theirs.
    #[must_use]
    pub fn among(mut self, siblings: Siblings<P::Buf, A::Word>) -> Self {
        self.core = siblings.core();
        self.siblings = Some(siblings).filter(|all| all.workers() > 1);
        self
    }

    /// One turn; returns how many packets moved and commands were carried out.
    ///
    /// `now` must not go back. A turn with nothing to do changes nothing.
    pub fn poll(&mut self, now: Instant) -> usize {
        let before = core::mem::take(&mut self.moved);
        if let Some(ledger) = self.app.ledger() {
            ledger.begin_turn(before);
        }
        let mut moved = self.commands(now);
        let (taken, more) = self.receive(now);
        moved += taken;
        self.app.took(taken, more);
        self.app.buffers(self.fullest());
        self.app.flush(now, &mut self.out);
        self.enter(Step::Loop);
        self.tell();
        self.enter(Step::Transmit);
        moved += self.transmit();
        self.stats.polls += 1;
        self.stats.idle_polls += u64::from(moved == 0);
        self.moved = moved;
        self.enter(Step::Loop);
        moved
    }

    /// Books what follows to `step`.
    fn enter(&mut self, step: Step) {
        if let Some(ledger) = self.app.ledger() {
            ledger.enter(step);
        }
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
        self.enter(Step::Control);
        let reports: Vec<PortReport> = self.ports.iter().map(report).collect();
        self.app.ports(&reports);
        self.app.worker(self.stats);
        let Self {
            app, inbox, out, ..
        } = self;
        usize::from(inbox.answer(|command| app.command(now, command, out)))
    }

    /// How many frames came, and whether as many as may come at once by any of the ways.
    fn receive(&mut self, now: Instant) -> (usize, bool) {
        let mut count = self.take_over(now);
        let mut more = count >= BURST;
        for at in 0..self.ports.len().min(MAX_PORTS) {
            let Some(port) = self.ports.get_mut(at) else {
                break;
            };
            if let Some(ledger) = self.app.ledger() {
                ledger.enter(Step::Receive);
            }
            port.receive(&mut self.received);
            fetch_headers(&self.received);
            count += self.received.len();
            more |= self.received.len() >= BURST;
            let id = PortId(u8::try_from(at).unwrap_or(u8::MAX));
            if self.siblings.is_some() {
                self.steer(id);
            }
            if !self.received.is_empty() {
                self.app.input(now, id, &mut self.received, &mut self.out);
                self.pass_on();
            }
        }
        (count, more)
    }

    /// What other cores received and this one owns, before what it receives itself: it is older. Frames that came in by one
    /// port in a row are one burst.
    fn take_over(&mut self, now: Instant) -> usize {
        let Self {
            app,
            siblings: Some(siblings),
            received,
            out,
            ..
        } = self
        else {
            return 0;
        };
        let mut count = 0;
        for (core, word) in siblings.told(BURST) {
            app.told(core, word);
        }
        let mut by = PortId(0);
        let take = |handed: Handed<_>| {
            count += 1;
            let Handed {
                port,
                received: frame,
                copy,
            } = handed;
            if copy {
                return app.overhear(now, port, frame, out);
            }
            if !received.is_empty() && (port != by || received.len() == BURST) {
                fetch_headers(received);
                app.input(now, by, received, out);
            }
            by = port;
            // What says where its headers lie was written by another core, too.
            frame.frame.fetch();
            received.push(frame);
        };
        // In one go: asked for one after the other, each frame is moved through the state of the iterators.
        siblings.taken_over(BURST).for_each(take);
        if !received.is_empty() {
            fetch_headers(received);
            app.input(now, by, received, out);
        }
        self.stats.taken_over += count;
        self.pass_on();
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// Puts what belongs to other cores into their rings, and leaves the rest.
    fn steer(&mut self, port: PortId) {
        let Self {
            core,
            app,
            siblings: Some(siblings),
            stats,
            received,
            own,
            owners,
            ..
        } = self
        else {
            return;
        };
        let mine = Owner::Core(*core);
        owners.clear();
        app.owners(port, received, owners);
        let Some(first) = owners.iter().position(|owner| *owner != mine) else {
            return;
        };
        for (received, owner) in received.drain(first..).zip(owners.drain(first..)) {
            match owner {
                Owner::Core(owner) if owner != *core => {
                    let known = siblings.hand_over(owner, port, received);
                    stats.drop_no_core += u64::from(!known);
                    continue;
                },
                Owner::Core(_) => {},
                Owner::Every => {
                    for other in siblings.others() {
                        siblings.hand_copy(other, port, received.clone());
                    }
                },
            }
            own.push(received);
        }
        received.append(own);
        stats.count(siblings.show_received());
    }

    /// Hands over what the app found to be another core's.
    fn pass_on(&mut self) {
        let Some(siblings) = &mut self.siblings else {
            return;
        };
        while let Some((core, port, received)) = self.app.hand_over() {
            let known = siblings.hand_over(core, port, received);
            self.stats.drop_no_core += u64::from(!known);
        }
        self.stats.count(siblings.show_received());
    }

    /// Tells the other cores what they are to know, before anything of this turn leaves.
    fn tell(&mut self) {
        let Some(siblings) = &mut self.siblings else {
            return;
        };
        while let Some(word) = self.app.tell() {
            self.stats.handover_missed += siblings.tell(word);
        }
    }

    fn transmit(&mut self) -> usize {
        if let Some(siblings) = &mut self.siblings {
            self.out.extend(siblings.outgoing(BURST));
        }
        let mut count = self.out.len();
        let Self {
            ports,
            app,
            siblings,
            stats,
            out,
            waiting,
            ..
        } = self;
        // In runs of one port, where they lie: a frame is large.
        let mut rest = out.as_mut_slice();
        while let Some(id) = rest.first().map(|frame| frame.port) {
            let same = rest.iter().take_while(|frame| frame.port == id).count();
            let (run, behind) = rest.split_at_mut(same);
            rest = behind;
            let Some(port) = ports.get_mut(usize::from(id.0)) else {
                stats.drop_no_port += run.len() as u64;
                continue;
            };
            match (port.sent_by(), &mut *siblings) {
                (Some(core), Some(siblings)) => {
                    let known = siblings.send_by(core, run);
                    stats.drop_no_core += if known { 0 } else { run.len() as u64 };
                },
                _ => port.give(run),
            }
        }
        out.clear();
        if let Some(siblings) = siblings {
            stats.count(siblings.show_sent());
        }
        for (id, (port, waiting)) in (0..=u8::MAX).zip(ports.iter_mut().zip(waiting)) {
            port.flush();
            let (waits, waited) = (port.waiting(), *waiting);
            if waited > 0 || waits > 0 {
                app.waits(PortId(id), waits);
                count += waited.saturating_sub(waits);
            }
            *waiting = waits;
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

    /// The ports, to be changed between turns.
    pub fn ports_mut(&mut self) -> &mut [P] {
        &mut self.ports
    }

    /// What the worker counted.
    #[must_use]
    pub const fn stats(&self) -> WorkerStats {
        self.stats
    }
}

impl WorkerStats {
    const fn count(&mut self, shown: Shown) {
        self.handed_over += shown.done;
        self.handover_full += shown.full;
        self.handover_missed += shown.missed;
    }
}

/// Has the processor fetch the headers of frames that another core or a device has written or looked at.
fn fetch_headers<B: PacketBuf>(burst: &[Received<B>]) {
    for received in burst {
        received.frame.fetch_headers();
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
