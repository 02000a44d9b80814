//! Sockets on Braid's own stack behind packetdrill's table of calls (`--so_filename`), so that anyone's TCP and Multipath TCP
//! scripts run on it.
//!
//! It reads from the outside in: [`ffi`] is the table, with all that is unsafe; `table` are the calls of it in safe Rust, in
//! virtual time: `clock` is that time and who waits for it; `host` are sockets and connections between packets in and
//! packets out; `conn` is one connection, `stream` what a host asks of it that a relay does not, and `tools` what it is lent;
//! `options` is what sockets can be told, `info` what they tell of themselves, `settings` what the machine says, `alike` where
//! ours is made to look like Linux; `ip` reads and writes IP around the stack's TCP.
#![deny(unsafe_code)]

mod alike;
mod clock;
mod conn;
mod errno;
pub mod ffi;
mod host;
mod info;
mod ip;
mod options;
mod settings;
mod stream;
mod table;
mod tools;
