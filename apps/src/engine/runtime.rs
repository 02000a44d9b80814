//! What the loop's cycles go to, and how often payload is touched: for the operator.

use super::Engine;
use crate::Counter;
use crate::control::{Core, Payload, Runtime, StepCycles};
use dataplane::PortReport;
use stack::{PacketBuf, Step};

impl<B: PacketBuf> Engine<B> {
    pub(super) fn show_runtime(&self) -> Runtime {
        let sums = self.tools.ledger.sums();
        let frames = sums.frames.max(1);
        let steps = Step::ALL.into_iter().zip(sums.steps);
        let explained: u64 = steps
            .clone()
            .filter(|(step, _)| *step != Step::Loop)
            .map(|(_, cycles)| cycles)
            .sum();
        let row = |(step, cycles): (Step, u64)| StepCycles {
            step: step.name().into(),
            cycles,
            cycles_per_frame: cycles / frames,
        };
        let core = Core {
            core: self.config.core.into(),
            turns: self.worker.polls,
            idle_turns: self.worker.idle_polls,
            busy_cycles: sums.busy,
            idle_cycles: sums.idle,
            watched_frames: sums.frames,
            watched_cycles: sums.watched,
            explained_permille: explained.saturating_mul(1000) / sums.watched.max(1),
            steps: steps.map(row).collect(),
            payload: self.payload(),
        };
        Runtime { cores: vec![core] }
    }

    /// Octets of segments that ports read for checksums that were left to them.
    pub(super) fn summed_at_port(&self) -> u64 {
        self.ports
            .iter()
            .map(|port| port.stats.summed_at_port)
            .sum()
    }

    pub(super) fn payload(&self) -> Payload {
        let ports = |octets: fn(&PortReport) -> u64| self.ports.iter().map(octets).sum();
        Payload {
            relayed: self.tools.apps.get(Counter::RelayedOctets),
            copied_in_stack: ports(|port| port.stats.copied_in_stack),
            copied_at_port: ports(|port| port.stats.copied_at_port),
            summed: self.tools.stack.get(stack::Counter::PayloadSummed) + self.summed_at_port(),
        }
    }
}
