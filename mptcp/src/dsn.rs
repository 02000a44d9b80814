//! Data sequence numbers and lengths in memory: where `u64` meets `usize`.

use crate::DataSeq;

/// How far `a` lies after `b`; negative when before it.
pub(crate) const fn distance(a: DataSeq, b: DataSeq) -> i64 {
    a.distance(b)
}

/// The number `by` octets after `dsn` (before it when negative).
pub(crate) const fn offset(dsn: DataSeq, by: i64) -> DataSeq {
    DataSeq(dsn.0.wrapping_add_signed(by))
}

/// The number `len` octets after `dsn`.
pub(crate) const fn plus(dsn: DataSeq, len: usize) -> DataSeq {
    DataSeq(dsn.0.wrapping_add(len as u64))
}

/// Octets from `b` to `a`; 0 if `a` is before `b`.
pub(crate) fn octets(a: DataSeq, b: DataSeq) -> usize {
    usize::try_from(distance(a, b)).unwrap_or(0)
}
