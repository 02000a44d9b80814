//! braidctl.

fn main() {}
