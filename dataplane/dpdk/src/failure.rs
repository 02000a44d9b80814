//! Why a device does not do what it was asked, and what to do about it.

use core::ffi::c_int;

/// What failed, and what to do.
pub(crate) type Failure = (String, String);

/// A failure for `reason`, as the error that it is.
pub(crate) fn failure<T>(
    reason: impl Into<String>,
    advice: impl Into<String>,
) -> Result<T, Failure> {
    Err((reason.into(), advice.into()))
}

/// Turns DPDK's return value into a failure.
pub(crate) fn check(what: &str, returned: c_int, advice: &str) -> Result<(), Failure> {
    if returned < 0 {
        return failure(format!("{what}: {}", crate::reason(returned)), advice);
    }
    Ok(())
}
