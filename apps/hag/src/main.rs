//! The Hybrid Access Gateway: checks its configuration, opens its ports, and runs its worker until it is told to stop.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use apps::config::BoxKind;
use program::About;

const ABOUT: About = About {
    kind: BoxKind::Hag,
    short: "Hybrid Access Gateway: bonds the access networks of a subscriber",
    long: "hag stands on the path of its subscribers' traffic. A TCP connection that a client opens with Multipath TCP goes \
           on to its server as plain TCP, from the client's own address; the client's second access joins it at an \
           address that hag announces. Everything else is forwarded untouched.",
};

fn main() -> ExitCode {
    program::main(&ABOUT)
}
