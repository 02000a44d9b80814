//! Segments put in by hand, and what the box sends because of them.

use super::raw::Tcp;
use super::{MAC_AT, Node, Sim, Way, port_mac};
use stack::time::Duration;

/// Sends `segment` into `port`, lets it go through, and returns what left by `at` since.
pub fn send<N: Node>(sim: &mut Sim<N>, port: usize, segment: &Tcp, at: usize) -> Vec<Tcp> {
    let before = sim.seen.len();
    sim.inject(port, segment.frame(MAC_AT[port], port_mac(port)));
    sim.idle(Duration::from_millis(20));
    sent_since(sim, before, at)
}

/// What left by `at` after the first `before` frames.
pub fn sent_since<N: Node>(sim: &Sim<N>, before: usize, at: usize) -> Vec<Tcp> {
    let out = sim.seen[before..].iter();
    out.filter(|s| s.port == at && s.way == Way::FromBox)
        .filter_map(|s| Tcp::parse(&s.frame))
        .collect()
}

pub fn only(segments: &[Tcp]) -> &Tcp {
    assert_eq!(segments.len(), 1, "{segments:?}");
    &segments[0]
}

/// The one segment that left by `at` when `segment` came in by `port`.
pub fn passes<N: Node>(sim: &mut Sim<N>, port: usize, segment: &Tcp, at: usize) -> Tcp {
    only(&send(sim, port, segment, at)).clone()
}
