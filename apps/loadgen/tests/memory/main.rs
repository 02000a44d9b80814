//! Runs of the load generator in memory and in virtual time.

mod alone;
mod common;
mod strangers;
mod through;
