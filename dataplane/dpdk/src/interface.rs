//! The kernel's interface that a virtual device stands on.

use core::ffi::c_char;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsRawFd as _;

/// Sets the MTU of `interface` of this thread's network namespace, in octets.
pub(crate) fn set_mtu(interface: &str, mtu: u16) -> io::Result<()> {
    // Any socket will do (netdevice(7)).
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: an ifreq is made of integers, for which zero is a value.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    if interface.len() > room {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, &from) in request.ifr_name.iter_mut().zip(interface.as_bytes()) {
        *to = from as c_char;
    }
    request.ifr_ifru.ifru_mtu = mtu.into();
    // SAFETY: the call reads the request, which lives as long as it runs, and the name in it ends with a zero.
    let returned = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFMTU, &raw const request) };
    if returned == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
