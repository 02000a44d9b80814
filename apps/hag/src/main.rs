//! hag.

fn main() {}
