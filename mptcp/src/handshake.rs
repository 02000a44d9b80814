//! What the options of a handshake mean: pure decisions, without state of their own.
//!
//! [`capable`] is the first subflow (RFC 8684 3.1), [`join`] every further one (3.2).

pub mod capable;
pub mod join;
