//! Tests of whole connections, in virtual time.

mod network;

mod rig;

mod transfer;
