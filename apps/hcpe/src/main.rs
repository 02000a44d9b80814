//! The box at the customer's edge: checks its configuration, opens its ports, and runs its worker until it is told to stop.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use apps::config::BoxKind;
use program::About;

const ABOUT: About = About {
    kind: BoxKind::Hcpe,
    short: "Hybrid CPE: carries its hosts' TCP over several access networks at once",
    long: "hcpe stands at the customer's edge, between hosts that need know nothing of it and two or more access networks. \
           A TCP connection of a host goes out on the primary access with the host's own address and ports, as Multipath \
           TCP; if a hag on the path answers, the secondary accesses join it there. If none does, the connection goes on \
           as through any router. Everything else is forwarded on the primary access.",
};

fn main() -> ExitCode {
    program::main(&ABOUT)
}
