//! What the benches share: relays in memory, driven frame by frame so that only the box itself is timed.
#![forbid(unsafe_code)]

pub mod download;
