//! FFI to libdpdk 22.11: generated bindings and a small C shim. The only crate with generated code.
//!
//! Nothing here is safe or pleasant; the `dpdk` crate is both. DPDK's static inline functions cannot be linked to:
//! those that are needed stand in `c/shim.c` under `braid_…`, called once a burst wherever it matters.
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    missing_docs,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    clippy::missing_safety_doc,
    reason = "generated"
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
