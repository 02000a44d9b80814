//! The answer to `show runtime`: what a core's cycles go to, and how often it touches payload.

use serde::{Deserialize, Serialize};

/// Every core's loop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// One entry a worker.
    pub cores: Vec<Core>,
}

/// One core's loop since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core {
    /// Its number, from 0.
    pub core: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Of those, turns in which nothing moved.
    pub idle_turns: u64,
    /// Cycles of the turns in which something moved.
    pub busy_cycles: u64,
    /// Cycles of all others, sleep included.
    pub idle_cycles: u64,
    /// Frames received and sent in the turns that were watched step by step, one in sixteen.
    pub watched_frames: u64,
    /// Cycles of those turns.
    pub watched_cycles: u64,
    /// Thousandths of `watched_cycles` that the steps but `loop` account for.
    pub explained_permille: u64,
    /// What those turns went to, in the order of a packet's walk.
    pub steps: Vec<StepCycles>,
    /// What became of payload.
    pub payload: Payload,
}

/// One step of a packet's walk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCycles {
    /// Its name.
    pub step: String,
    /// Cycles in the turns that were watched.
    pub cycles: u64,
    /// The same by frame received or sent.
    pub cycles_per_frame: u64,
}

/// Octets of payload since the start, and how many of them somebody had to touch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// Crossed a relay.
    pub relayed: u64,
    /// Copied by what stands above the ports: always 0.
    pub copied_in_stack: u64,
    /// Copied by a port, as its device cannot send from several buffers.
    pub copied_at_port: u64,
    /// Read to be summed: where the port does not verify TCP's checksum; for the checksums of mappings; and by a port for what
    /// leaves without a sum, as parts of segments that were cut. What is routed on counts, too.
    pub summed: u64,
}
