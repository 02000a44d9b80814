//! Tests of whole connections, in virtual time.

mod closing;
pub(super) mod network;
mod reset;
pub(super) mod rig;
mod rto;
mod transfer;
mod window;
