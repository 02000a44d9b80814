//! Sans-IO Multipath TCP over [`stack::tcp`]: RFC 6824 (version 0) and RFC 8684 (version 1).
#![forbid(unsafe_code)]
