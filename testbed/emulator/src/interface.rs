//! A network interface, read and written frame by frame through a packet socket.

use anyhow::{Context, bail};
use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind,
    recv, recvmsg, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Octets of the socket's buffer: what may arrive while the process does not run.
const BUFFER: usize = 16 << 20;
/// Larger than any frame.
const LARGEST: usize = 1 << 16;
/// The kernel's mark of a frame that this machine sends by the interface (`PACKET_OUTGOING` of if_packet.h).
const OUTGOING: u8 = 4;
/// A frame that seems to have waited longer than this was stamped by a clock that has been set since.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// One of the two interfaces.
pub(crate) struct Interface {
    name: String,
    socket: OwnedFd,
    frame: Vec<u8>,
    control: Vec<u8>,
    /// Frames that the kernel dropped because the socket's buffer was full.
    missed: u32,
}

/// A frame that came in.
pub(crate) struct Received<'a> {
    pub(crate) frame: &'a [u8],
    /// How long ago the kernel saw it.
    pub(crate) age: Duration,
}

impl Interface {
    /// Opens the interface `name` of this network namespace.
    pub(crate) fn open(name: &str) -> anyhow::Result<Self> {
        let mut known = Vec::new();
        let mut address: Option<LinkAddr> = None;
        for each in getifaddrs().context("the interfaces cannot be listed")? {
            let link = each.address.as_ref().and_then(|a| a.as_link_addr());
            if let Some(link) = link {
                if each.interface_name == name {
                    address = Some(*link);
                }
                known.push(each.interface_name);
            }
        }
        let Some(address) = address else {
            bail!(
                "there is no interface {name} in this network namespace; there are {}",
                known.join(", ")
            );
        };
        let socket = open_socket(&address).with_context(|| format!("interface {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            socket,
            frame: vec![0; LARGEST],
            control: nix::cmsg_space!(TimeSpec, u32),
            missed: 0,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn missed(&self) -> u32 {
        self.missed
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next frame that came in from the line, if there is one.
    pub(crate) fn receive(&mut self) -> anyhow::Result<Option<Received<'_>>> {
        loop {
            let mut parts = [IoSliceMut::new(&mut self.frame)];
            let control = Some(&mut self.control[..]);
            let descriptor = self.socket.as_raw_fd();
            let got = match recvmsg::<LinkAddr>(
                descriptor,
                &mut parts,
                control,
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(got) => got,
                // An interface that goes down says so once, and may come back.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return Ok(None),
                Err(error) => {
                    return Err(error).with_context(|| format!("reading from {}", self.name));
                },
            };
            let is_ours = got.address.is_some_and(|a| a.pkttype() == OUTGOING);
            let len = got.bytes;
            let mut age = Duration::ZERO;
            for message in got.cmsgs().into_iter().flatten() {
                match message {
                    ControlMessageOwned::ScmTimestampns(stamp) => age = since(stamp),
                    ControlMessageOwned::RxqOvfl(missed) => self.missed = missed,
                    _ => {},
                }
            }
            if !is_ours {
                let frame = &self.frame[..len];
                return Ok(Some(Received { frame, age }));
            }
        }
    }

    /// Sends a frame; whether the interface took it.
    pub(crate) fn send(&self, frame: &[u8]) -> bool {
        send(self.socket.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT).is_ok()
    }
}

fn open_socket(address: &LinkAddr) -> anyhow::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let family = AddressFamily::Packet;
    let socket = socket(family, SockType::Raw, flags, SockProtocol::EthAll)
        .context("a packet socket takes root or CAP_NET_RAW")?;
    // The address from the list says no protocol, so that the socket keeps its own: all.
    bind(socket.as_raw_fd(), address).context("cannot be bound to")?;
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).or_else(|_| {
        // Without CAP_NET_ADMIN, as much as this system allows.
        setsockopt(&socket, sockopt::RcvBuf, &BUFFER)
    })?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    // Before it was bound it heard every interface.
    let mut heard = [0; 1];
    while recv(socket.as_raw_fd(), &mut heard, MsgFlags::MSG_DONTWAIT).is_ok() {}
    Ok(socket)
}

/// Time since a stamp of the kernel's, which is wall-clock time.
fn since(stamp: TimeSpec) -> Duration {
    let Ok(now) = clock_gettime(ClockId::CLOCK_REALTIME) else {
        return Duration::ZERO;
    };
    let age = Duration::from(now).saturating_sub(Duration::from(stamp));
    if age > LONGEST_WAIT {
        Duration::ZERO
    } else {
        age
    }
}
