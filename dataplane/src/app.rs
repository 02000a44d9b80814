//! What a worker runs: packets in, frames and deadlines out.

use crate::port::{BufferUse, PortReport, Received};
use crate::worker::WorkerStats;
use stack::{Frame, Instant, PacketBuf, PortId};

/// A worker core, counted from 0 in the order of the configuration (not the machine's number of the core).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CoreId(pub u8);

/// One core's share of the program: it owns its connections, timers and counters, and shares nothing.
///
/// The worker calls, once per turn and in this order: [`command`](Self::command) for each waiting command,
/// [`input`](Self::input) for each port's burst of frames that [`owner`](Self::owner) gave to this core,
/// [`buffers`](Self::buffers), [`flush`](Self::flush). Frames pushed to `out` leave after `flush`, in their order per port.
pub trait App<B: PacketBuf> {
    /// What the control thread may ask.
    type Command;
    /// What it gets back.
    type Reply;

    /// The core that owns the flow of `frame`, which came in by `port`. Ours unless another core must see it.
    fn owner(&self, port: PortId, frame: &[u8]) -> CoreId;

    /// Takes the frames that came in by `port`, in their order: at least one, at most [`BURST`](crate::BURST). Leaves
    /// `burst` empty.
    fn input(
        &mut self,
        now: Instant,
        port: PortId,
        burst: &mut Vec<Received<B>>,
        out: &mut Vec<Frame<B>>,
    );

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

    /// Told every turn: the receive buffers of the fullest port. Above some share of them the app stops opening windows.
    fn buffers(&mut self, _fullest: BufferUse) {}
}
