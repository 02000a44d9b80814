//! FFI to libdpdk.
