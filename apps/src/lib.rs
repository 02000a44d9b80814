//! The relay, policy, configuration and control shared by `hag` and `hcpe`.
#![forbid(unsafe_code)]

pub mod config;
pub mod control;
pub mod counters;
pub mod engine;
pub mod nat;
mod relay;
pub mod run;

pub use counters::Counter;
