//! The kernel's interface that a virtual device stands on.

use core::ffi::c_char;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

/// Sets the MTU of `interface` of this thread's network namespace, in octets.
pub(crate) fn set_mtu(interface: &str, mtu: u16) -> io::Result<()> {
    let mut request = about(interface)?;
    request.ifr_ifru.ifru_mtu = mtu.into();
    // SAFETY: with this number the kernel reads the name and the MTU of the request.
    unsafe { ask(libc::SIOCSIFMTU, &request) }
}

/// Whether `interface` of this thread's network namespace has its driver in the kernel alone, as a veth has: no device behind it.
pub(crate) fn is_virtual(interface: &str) -> io::Result<bool> {
    let mut driver = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        names: [[0; 32]; 3],
        bus: [0; 32],
        rest: [0; 64],
    };
    let mut request = about(interface)?;
    request.ifr_ifru.ifru_data = (&raw mut driver).cast();
    // SAFETY: with this number the kernel reads the name, and the command at the request's pointer, and answers there: the structure is
    // the one that goes with the command, and lives longer than the call.
    unsafe { ask(libc::SIOCETHTOOL, &request) }?;
    Ok(driver.bus[0] == 0)
}

/// Asks for a structure `ethtool_drvinfo` (linux/ethtool.h).
const ETHTOOL_GDRVINFO: u32 = 3;

/// That structure.
#[repr(C)]
struct DriverInfo {
    command: u32,
    /// The driver's, and the versions of it and of the device's program.
    names: [[u8; 32]; 3],
    /// The device's address on its bus; empty if there is none.
    bus: [u8; 32],
    /// One more version, what is reserved, and how much else there is to ask for.
    rest: [u8; 64],
}

/// A request about `interface`, empty but for its name.
fn about(interface: &str) -> io::Result<libc::ifreq> {
    // SAFETY: an ifreq is made of integers and pointers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    if interface.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, &from) in request.ifr_name.iter_mut().zip(interface.as_bytes()) {
        *to = from as c_char;
    }
    Ok(request)
}

/// Gives the kernel a request.
///
/// # Safety
/// What request number `what` reads of it must be set, and what it points to be there for the kernel to read and write.
unsafe fn ask(what: libc::Ioctl, request: &libc::ifreq) -> io::Result<()> {
    // Any socket will do (netdevice(7)).
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: the request lives as long as the call runs, and the name in it ends with a zero; the rest is the caller's.
    let returned = unsafe { libc::ioctl(socket.as_raw_fd(), what, core::ptr::from_ref(request)) };
    if returned == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
