//! A stateful load generator on our own stack: hosts that open TCP or Multipath TCP connections, ask and verify, and a
//! server that answers them.
//!
//! Sans-IO like all below the worker: [`Flowgen`] is a [`dataplane::App`], so the very hosts that load a box over DPDK run
//! in virtual time in tests. It reads in the order of a run: [`config`] says what is to be done, `end` are the hosts of one
//! side of the box with their connections, `client` says what a run is at, `group` when a group of clients opens and asks,
//! `asking` what one of them does, `server` answers, `pattern` is what both send and verify, `stream` is what the ends ask of a
//! connection, `search` looks for the highest rate, and [`report`] is what was measured.
#![forbid(unsafe_code)]

mod app;
mod asking;
mod client;
pub mod config;
mod end;
mod group;
mod pattern;
pub mod report;
mod search;
mod server;
mod stream;

pub use app::{Flowgen, Snapshot};
pub use config::Config;
pub use report::Report;
