//! A small app for this crate's own tests: it echoes, sends by timer, and notes what it was told.

use crate::app::{App, CoreId, Owner};
use crate::memory::MemBuf;
use crate::port::{BufferUse, PortInfo, PortReport, Received};
use crate::worker::WorkerStats;
use stack::buf::{Chain, Header};
use stack::time::Duration;
use stack::{Frame, Instant, PortId};

/// Frames that begin with this octet belong to the core that the next one names.
pub(crate) const FOREIGN: u8 = 0xee;

/// Frames that begin with this octet are everybody's.
pub(crate) const COMMON: u8 = 0xec;

/// Frames that begin with this octet turn out to belong to the core that the next one names.
pub(crate) const MISTAKEN: u8 = 0xed;

#[derive(Default)]
pub(crate) struct Echo {
    /// Answers go out by this port; `None`: nothing is answered.
    pub(crate) answer_by: Option<u8>,
    /// When to send a frame unasked, and how often after that.
    pub(crate) timer: Option<(Instant, Duration)>,
    pub(crate) inputs: Vec<(Instant, PortId, Vec<u8>)>,
    pub(crate) fired: Vec<Instant>,
    pub(crate) ports: Vec<PortReport>,
    pub(crate) worker: WorkerStats,
    pub(crate) buffers: BufferUse,
    /// The core that this is.
    pub(crate) core: u8,
    pub(crate) overheard: Vec<Vec<u8>>,
    pub(crate) to_tell: Vec<u32>,
    pub(crate) told: Vec<(CoreId, u32)>,
    pub(crate) mistaken: Vec<(CoreId, PortId, Received<MemBuf>)>,
    pub(crate) waits: Vec<(PortId, usize)>,
    pub(crate) calls: Vec<&'static str>,
}

pub(crate) fn port_info(name: &str) -> PortInfo {
    PortInfo {
        name: name.to_owned(),
        device: format!("memory,{name}"),
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        sums: false,
    }
}

pub(crate) fn frame(port: u8, header: &[u8], received: Option<Received<MemBuf>>) -> Frame<MemBuf> {
    let mut frame = Frame::new(PortId(port), Header::default(), Chain::new());
    frame.header.push(header);
    if let Some(received) = received {
        frame.payload.push(received.frame);
    }
    frame
}

impl App<MemBuf> for Echo {
    type Command = &'static str;
    type Reply = String;
    type Word = u32;

    fn owner(&self, _: PortId, frame: &[u8]) -> Owner {
        match frame {
            [FOREIGN, core, ..] => Owner::Core(CoreId(*core)),
            [COMMON, ..] => Owner::Every,
            _ => Owner::Core(CoreId(self.core)),
        }
    }

    fn overhear(
        &mut self,
        _: Instant,
        _: PortId,
        received: Received<MemBuf>,
        _: &mut Vec<Frame<MemBuf>>,
    ) {
        self.overheard.push(received.frame.bytes().to_vec());
    }

    fn hand_over(&mut self) -> Option<(CoreId, PortId, Received<MemBuf>)> {
        self.mistaken.pop()
    }

    fn tell(&mut self) -> Option<u32> {
        self.to_tell.pop()
    }

    fn told(&mut self, from: CoreId, word: u32) {
        self.told.push((from, word));
    }

    fn input(
        &mut self,
        now: Instant,
        port: PortId,
        burst: &mut Vec<Received<MemBuf>>,
        out: &mut Vec<Frame<MemBuf>>,
    ) {
        self.calls.push("input");
        for received in burst.drain(..) {
            if let [MISTAKEN, core, ..] = *received.frame.bytes()
                && core != self.core
            {
                self.mistaken.push((CoreId(core), port, received));
                continue;
            }
            self.inputs
                .push((now, port, received.frame.bytes().to_vec()));
            if let Some(by) = self.answer_by {
                out.push(frame(by, b"echo:", Some(received)));
            }
        }
    }

    fn flush(&mut self, now: Instant, out: &mut Vec<Frame<MemBuf>>) {
        self.calls.push("flush");
        while let Some((at, every)) = self.timer.filter(|&(at, _)| at <= now) {
            self.fired.push(now);
            out.push(frame(0, b"tick", None));
            self.timer = Some((at + every, every));
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.timer.map(|(at, _)| at)
    }

    fn command(
        &mut self,
        _: Instant,
        command: &'static str,
        out: &mut Vec<Frame<MemBuf>>,
    ) -> String {
        self.calls.push("command");
        out.push(frame(0, command.as_bytes(), None));
        format!("{command}: {} ports", self.ports.len())
    }

    fn ports(&mut self, ports: &[PortReport]) {
        self.ports = ports.to_vec();
    }

    fn worker(&mut self, stats: WorkerStats) {
        self.worker = stats;
    }

    fn waits(&mut self, port: PortId, frames: usize) {
        self.waits.push((port, frames));
    }

    fn buffers(&mut self, fullest: BufferUse) {
        self.calls.push("buffers");
        self.buffers = fullest;
    }
}
