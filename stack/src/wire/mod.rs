//! Wire formats. TCP and its options are ours, one pass over the bytes; the rest is read with smoltcp's views.

pub mod ip;
pub mod tcp;
