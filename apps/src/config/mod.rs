//! The configuration file: YAML in, a [`Config`] or every mistake in it out.

mod types;

pub use types::{
    Config, Control, Drain, Hugepages, Limits, Mistake, Mptcp, Polling, Port, Role, Route, Worker,
};

/// The largest configuration file that is read, in octets.
pub const SOURCE_MAX: usize = 1024 * 1024;

/// Reads a configuration.
///
/// # Errors
/// Every mistake in `source`, in the order of their lines.
pub fn parse(source: &str) -> Result<Config, Vec<Mistake>> {
    Err(vec![Mistake {
        path: String::new(),
        line: 1,
        what: format!("{} octets that are not read", source.len()),
        instead: String::new(),
    }])
}
