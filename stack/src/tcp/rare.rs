//! State that few connections have: behind one pointer, so that the others stay small.

use super::black_hole::Suspicion;
use super::ecn::Ecn;
use super::pacing::Pacing;

#[derive(Clone, Debug, Default)]
pub(super) struct Rare {
    /// Where both ends agreed on it.
    pub(super) ecn: Option<Ecn>,
    /// While segments are smaller than they were, on a suspicion.
    pub(super) suspicion: Option<Suspicion>,
    /// Where what is sent is spread over time.
    pub(super) pacing: Option<Pacing>,
    /// The owner asked for one probe.
    pub(super) probe: bool,
    /// The owner waits for the peer's window, with nothing queued.
    pub(super) asks_window: bool,
}

impl Rare {
    pub(super) fn with_ecn() -> Box<Self> {
        Box::new(Self {
            ecn: Some(Ecn::default()),
            ..Self::default()
        })
    }
}
