//! Every test of the connection once more, in version 0 (RFC 6824) where it does not name a version.
//!
//! The files are compiled a second time below this one: `world::Setup` reads the version from where it stands.
#![expect(
    clippy::duplicate_mod,
    reason = "each of the files has its own copy of the world"
)]

#[path = "checksum.rs"]
mod checksum;
#[path = "closing.rs"]
mod closing;
#[path = "fallback.rs"]
mod fallback;
#[path = "infinite.rs"]
mod infinite;
#[path = "paths.rs"]
mod paths;
#[path = "runs.rs"]
mod runs;
#[path = "transfer.rs"]
mod transfer;
#[path = "unanswered.rs"]
mod unanswered;
#[path = "unfilled.rs"]
mod unfilled;
#[path = "windows.rs"]
mod windows;
