//! Tests of whole connections, in virtual time.

mod arrives;
mod bbr;
mod black_hole;
mod closing;
mod crowded;
mod ecn;
mod frto;
mod in_a_row;
mod keepalive;
mod must;
pub(super) mod network;
mod pacing;
mod predicted;
mod rack;
mod reset;
mod rest;
pub(super) mod rig;
mod rto;
mod signals;
mod simultaneous_open;
mod timestamps;
mod tlp;
mod transfer;
mod window;
