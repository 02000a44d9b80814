//! Safe layer over DPDK, and the DPDK implementation of [`dataplane::Port`].
//!
//! [`Eal`] is started once a process; [`DpdkPort::open`] then turns a device string, such as
//! `net_af_packet0,iface=h1` or a PCI address, into a port whose received buffers are [`Mbuf`]s. All unsafe code of the
//! project is here, under a few invariants:
//!
//! - EAL and its memory live until the process ends, and a pool is given back only when all its mbufs are home: an
//!   [`Mbuf`] never dangles, even if it outlives its port.
//! - An mbuf's octets are written only while this crate alone holds it: before its first [`Mbuf`] is handed out, or
//!   when a sole [`Mbuf`] is consumed to be sent.
//! - A port of a worker has queues of its own, which one thread uses at a time.

mod buffers;
mod configure;
mod device;
mod eal;
mod failure;
mod interface;
mod lane;
mod long;
mod mbuf;
mod mempool;
mod open;
mod port;
mod spread;
mod transmit;

pub use buffers::buffers_for;
pub use device::{Device, DeviceError};
pub use eal::{Eal, EalConfig, EalError};
pub use mbuf::Mbuf;
pub use mempool::PoolError;
pub use open::{OpenError, PortConfig};
pub use port::DpdkPort;

use core::ffi::c_int;

/// What DPDK's error number `errno`, of either sign, means.
fn reason(errno: c_int) -> String {
    // SAFETY: rte_strerror takes any number and returns a NUL-terminated string in static or per-thread memory, which
    // is copied before anything else can overwrite it.
    let text = unsafe { core::ffi::CStr::from_ptr(dpdk_sys::rte_strerror(errno.saturating_abs())) };
    text.to_string_lossy().into_owned()
}

/// The reason of a failure that DPDK reports through its per-thread error number.
fn last_reason() -> String {
    // SAFETY: reads a per-thread integer.
    reason(unsafe { dpdk_sys::braid_errno() })
}
