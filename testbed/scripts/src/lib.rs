//! Scripts in the manner of packetdrill, in virtual time, with what a relay needs: several connections on one timeline.
//!
//! A script says which segments the hosts around a box send, and which they must get, and when. The box is the engine in
//! the worker that runs on a network card. What the hosts send and what they compare is written and read without the
//! stack under test, down to Multipath TCP's hashes. `README.md` beside this crate describes the format; [`parse`] reads
//! it, [`play`] plays it.
#![forbid(unsafe_code)]

mod hash;
mod names;
mod option;
mod parse;
mod play;
mod render;
mod scene;
mod script;

pub use parse::parse;
pub use play::{Failure, play};
pub use script::Script;
