//! What a worker runs: packets in, frames and deadlines out.

use crate::port::{BufferUse, PortReport, Received};
use crate::worker::WorkerStats;
use stack::{Frame, Instant, Ledger, PacketBuf, PortId};

/// A worker core, counted from 0 in the order of the configuration (not the machine's number of the core).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub u8);

/// Whose a received frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// One core's.
    Core(CoreId),
    /// The receiving core's, and all others get a copy to learn from: see [`App::overhear`].
    Every,
}

/// One core's share of the program: it owns its connections, timers and counters, and shares nothing.
///
/// The worker calls, once per turn and in this order: [`command`](Self::command) for each waiting command,
/// [`input`](Self::input) for what other cores handed over and for each port's burst of frames that
/// [`owner`](Self::owner) gave to this core, [`buffers`](Self::buffers), [`flush`](Self::flush). Frames pushed to `out`
/// leave after `flush`, in their order per port.
pub trait App<B: PacketBuf> {
    /// What the control thread may ask.
    type Command;
    /// What it gets back.
    type Reply;
    /// What cores tell each other.
    type Word: Copy;

    /// The core that owns the flow of `frame`, which came in by `port` of this core. Asked only where there are several.
    fn owner(&self, port: PortId, frame: &[u8]) -> Owner;

    /// The same of each frame of `burst`, appended to `owners`: most come in rows of one flow.
    fn owners(&self, port: PortId, burst: &[Received<B>], owners: &mut Vec<Owner>) {
        let frames = burst.iter().map(|received| received.frame.bytes());
        owners.extend(frames.map(|frame| self.owner(port, frame)));
    }

    /// Takes the frames that came in by `port`, in their order: at least one, at most [`BURST`](crate::BURST). Leaves
    /// `burst` empty.
    fn input(
        &mut self,
        now: Instant,
        port: PortId,
        burst: &mut Vec<Received<B>>,
        out: &mut Vec<Frame<B>>,
    );

    /// Learns from a frame that another core answers ([`Owner::Every`]); what waited for that is pushed to `out`.
    fn overhear(
        &mut self,
        _now: Instant,
        _port: PortId,
        _received: Received<B>,
        _out: &mut Vec<Frame<B>>,
    ) {
    }

    /// The next frame of which [`input`](Self::input) found that another core owns it after all. Asked after each burst
    /// where there are several cores.
    fn hand_over(&mut self) -> Option<(CoreId, PortId, Received<B>)> {
        None
    }

    /// The next thing that all other cores are to know. Asked at the end of a turn where there are several.
    fn tell(&mut self) -> Option<Self::Word> {
        None
    }

    /// Another core tells this one something.
    fn told(&mut self, _from: CoreId, _word: Self::Word) {}

    /// Ends the turn: every connection that was woken and every timer that is due, once.
    fn flush(&mut self, now: Instant, out: &mut Vec<Frame<B>>);

    /// When [`flush`](Self::flush) has something to do although nothing was received; `None` if never.
    fn next_deadline(&self) -> Option<Instant>;

    /// Carries out a command of the control thread.
    fn command(
        &mut self,
        now: Instant,
        command: Self::Command,
        out: &mut Vec<Frame<B>>,
    ) -> Self::Reply;

    /// Told before every command: what each port is and has counted, in the order of [`PortId`].
    fn ports(&mut self, _ports: &[PortReport]) {}

    /// Told before every command: what the worker itself has counted.
    fn worker(&mut self, _stats: WorkerStats) {}

    /// Where the app books its steps, for the worker to book its own beside them.
    fn ledger(&mut self) -> Option<&mut Ledger> {
        None
    }

    /// Told every turn: how many frames it received, and whether more are likely to wait, as a port or the rings from other
    /// cores gave as many as a turn takes of them ([`BURST`](crate::port::BURST)).
    fn took(&mut self, _frames: usize, _more: bool) {}

    /// Told at the end of a turn: so many frames wait to leave by `port`, as the queue of its device is full. Told while some wait, and
    /// once when none does any more.
    fn waits(&mut self, _port: PortId, _frames: usize) {}

    /// Told every turn: the receive buffers of the fullest port. Above some share of them the app stops opening windows.
    fn buffers(&mut self, _fullest: BufferUse) {}
}
