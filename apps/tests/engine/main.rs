//! The engine between simulated hosts and links, in virtual time: one program, as each one more costs a link of its own.
#![allow(missing_docs, reason = "tests are read, not called")]

mod common;

mod attach;
mod bursts;
mod control_socket;
mod edge;
mod edge_raw;
mod edge_restart;
mod edge_shown;
mod floods;
mod fragments;
mod inbound;
mod joins;
mod long_paths;
mod nat;
mod odd_routes;
mod overload;
mod policy;
mod relay_buffers;
mod relay_icmp;
mod relay_mptcp;
mod relay_plain;
mod relay_random;
mod relay_rest;
mod relay_reuse;
mod relay_setup;
mod relay_timeouts;
mod several;
mod strangers;
mod versions;
mod wire_options;
