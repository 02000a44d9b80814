//! The App: it owns a core's flows, relays, timers and counters, and walks each packet through them.

mod config;

pub use config::{EngineConfig, Limits, PortRole, PortSettings, Timeouts};

use core::marker::PhantomData;
use stack::{PacketBuf, Rng};

/// One core's engine. Nothing in it is shared with another core.
pub struct Engine<B> {
    config: EngineConfig,
    rng: Rng,
    buffers: PhantomData<B>,
}

impl<B: PacketBuf> Engine<B> {
    /// An engine without flows.
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        let rng = Rng::from_seed(config.seed);
        Self {
            config,
            rng,
            buffers: PhantomData,
        }
    }

    /// What it was built from.
    #[must_use]
    pub const fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// The core's generator.
    pub const fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }
}
