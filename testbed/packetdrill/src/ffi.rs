//! The table of `packetdrill.h`, and all that is unsafe: pointers come from packetdrill and are read and written here alone.
//!
//! packetdrill reads `TCP_INFO` for the code in its scripts by `getsockopt` itself and not by the table. So this library has that
//! function, too: preloaded (`LD_PRELOAD`) it answers for our descriptors, and asks the kernel about all others.
#![expect(unsafe_code, reason = "the interface is C's")]

use crate::errno::{Errno, Result};
use crate::table::Table;
use core::ffi::{CStr, c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void};
use libc::{iovec, msghdr, pollfd, sockaddr, socklen_t, ssize_t, timeval};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicPtr, Ordering};

type Data = *mut c_void;

/// `struct packetdrill_interface`: the fields in its order.
#[repr(C)]
#[derive(Debug)]
#[expect(missing_docs, reason = "as in packetdrill.h")]
pub struct Interface {
    pub userdata: Data,
    pub free: unsafe extern "C" fn(Data),
    pub socket: unsafe extern "C" fn(Data, c_int, c_int, c_int) -> c_int,
    pub bind: unsafe extern "C" fn(Data, c_int, *const sockaddr, socklen_t) -> c_int,
    pub listen: unsafe extern "C" fn(Data, c_int, c_int) -> c_int,
    pub accept: unsafe extern "C" fn(Data, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub connect: unsafe extern "C" fn(Data, c_int, *const sockaddr, socklen_t) -> c_int,
    pub read: unsafe extern "C" fn(Data, c_int, *mut c_void, usize) -> ssize_t,
    pub readv: unsafe extern "C" fn(Data, c_int, *const iovec, c_int) -> ssize_t,
    pub recv: unsafe extern "C" fn(Data, c_int, *mut c_void, usize, c_int) -> ssize_t,
    pub recvfrom: unsafe extern "C" fn(
        Data,
        c_int,
        *mut c_void,
        usize,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    pub recvmsg: unsafe extern "C" fn(Data, c_int, *mut msghdr, c_int) -> ssize_t,
    pub write: unsafe extern "C" fn(Data, c_int, *const c_void, usize) -> ssize_t,
    pub writev: unsafe extern "C" fn(Data, c_int, *const iovec, c_int) -> ssize_t,
    pub send: unsafe extern "C" fn(Data, c_int, *const c_void, usize, c_int) -> ssize_t,
    pub sendto: unsafe extern "C" fn(
        Data,
        c_int,
        *const c_void,
        usize,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    pub sendmsg: unsafe extern "C" fn(Data, c_int, *const msghdr, c_int) -> ssize_t,
    pub fcntl: unsafe extern "C" fn(Data, c_int, c_int, c_long) -> c_int,
    pub ioctl: unsafe extern "C" fn(Data, c_int, c_ulong, *mut c_int) -> c_int,
    pub close: unsafe extern "C" fn(Data, c_int) -> c_int,
    pub shutdown: unsafe extern "C" fn(Data, c_int, c_int) -> c_int,
    pub getsockopt:
        unsafe extern "C" fn(Data, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    pub setsockopt:
        unsafe extern "C" fn(Data, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub poll: unsafe extern "C" fn(Data, *mut pollfd, c_ulong, c_int) -> c_int,
    pub netdev_send: unsafe extern "C" fn(Data, *const c_void, usize) -> c_int,
    pub netdev_receive:
        unsafe extern "C" fn(Data, *mut c_void, *mut usize, *mut c_longlong) -> c_int,
    pub usleep: unsafe extern "C" fn(Data, c_uint) -> c_int,
    pub gettimeofday: unsafe extern "C" fn(Data, *mut timeval, *mut c_void) -> c_int,
    pub epoll_create: unsafe extern "C" fn(Data, c_int) -> c_int,
    pub epoll_ctl: unsafe extern "C" fn(Data, c_int, c_int, c_int, *mut c_void) -> c_int,
    pub epoll_wait: unsafe extern "C" fn(Data, c_int, *mut c_void, c_int, c_int) -> c_int,
    pub pipe: unsafe extern "C" fn(Data, *mut c_int) -> c_int,
    pub splice:
        unsafe extern "C" fn(Data, c_int, *mut i64, c_int, *mut i64, usize, c_uint) -> ssize_t,
}

/// The table whose descriptors [`getsockopt`] answers for.
static PRESENT: AtomicPtr<Table> = AtomicPtr::new(core::ptr::null_mut());

/// Fills packetdrill's table. `flags` are those of `--so_flags`: `name=value`, separated by commas; what means nothing ends the
/// process with a message.
///
/// # Safety
/// `flags` is null or a C string, and `interface` points to a table that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(
    flags: *const c_char,
    interface: *mut Interface,
) {
    // SAFETY: a C string, by the contract.
    let text = (!flags.is_null()).then(|| unsafe { CStr::from_ptr(flags) });
    let table = match Table::new(&text.map(CStr::to_string_lossy).unwrap_or_default()) {
        Ok(table) => Box::into_raw(Box::new(table)),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        },
    };
    PRESENT.store(table, Ordering::Release);
    // SAFETY: room for a table, by the contract.
    unsafe { interface.write(filled(table.cast())) };
}

fn filled(userdata: Data) -> Interface {
    Interface {
        userdata,
        free,
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv,
        recv,
        recvfrom,
        recvmsg,
        write,
        writev,
        send,
        sendto,
        sendmsg,
        fcntl,
        ioctl,
        close,
        shutdown,
        getsockopt: table_getsockopt,
        setsockopt,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create,
        epoll_ctl,
        epoll_wait,
        pipe,
        splice,
    }
}

/// The table behind the user data.
///
/// # Safety
/// `data` is what [`packetdrill_interface_init`] gave out, and [`free`] was not called.
unsafe fn table<'a>(data: Data) -> &'a Table {
    // SAFETY: it points to a table that lives until `free`, by the contract; a table is shared between threads.
    unsafe { &*data.cast::<Table>() }
}

/// Octets that a caller of ours lends.
///
/// # Safety
/// `len` octets at `at` are readable and nobody writes them meanwhile, unless `len` is 0.
unsafe fn octets<'a>(at: *const c_void, len: usize) -> &'a [u8] {
    if len == 0 || at.is_null() {
        return &[];
    }
    // SAFETY: by the contract.
    unsafe { core::slice::from_raw_parts(at.cast(), len) }
}

/// Copies octets to a caller's buffer, as many as it has room for; how many that were.
///
/// # Safety
/// `room` octets at `to` may be written, unless `room` is 0.
unsafe fn give(from: &[u8], to: *mut c_void, room: usize) -> usize {
    let len = from.len().min(room);
    if len > 0 {
        // SAFETY: `len` is within both, and what is ours is not what is the caller's.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to.cast(), len) };
    }
    len
}

fn fail(error: Errno) {
    // SAFETY: the place of this thread's errno is always there.
    unsafe { *libc::__errno_location() = error.0 };
}

/// As C has it: -1 and errno.
fn answer<T: From<i8>>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| {
        fail(error);
        T::from(-1)
    })
}

fn count(result: Result<usize>) -> ssize_t {
    answer(result.map(|len| ssize_t::try_from(len).unwrap_or(ssize_t::MAX)))
}

/// The address in a `struct sockaddr_in` or `sockaddr_in6`.
///
/// # Safety
/// `len` octets at `at` are readable.
unsafe fn address(at: *const sockaddr, len: socklen_t) -> Result<SocketAddr> {
    // SAFETY: by the contract.
    let octets = unsafe { octets(at.cast(), len as usize) };
    let family = octets
        .first_chunk()
        .map(|family| u16::from_ne_bytes(*family));
    let port = octets.get(2..).and_then(<[u8]>::first_chunk);
    let port = u16::from_be_bytes(*port.ok_or(Errno::EINVAL)?);
    let addr: Option<IpAddr> = match family.map(c_int::from) {
        Some(libc::AF_INET) => {
            let v4 = octets.get(4..).and_then(<[u8]>::first_chunk::<4>);
            v4.map(|v4| Ipv4Addr::from(*v4).into())
        },
        Some(libc::AF_INET6) => {
            let v6 = octets.get(8..).and_then(<[u8]>::first_chunk::<16>);
            v6.map(|v6| Ipv6Addr::from(*v6).into())
        },
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    Ok(SocketAddr::new(addr.ok_or(Errno::EINVAL)?, port))
}

/// Writes an address as `struct sockaddr_in` or `sockaddr_in6`.
///
/// # Safety
/// `len` is null, or says how many octets at `at` may be written.
unsafe fn give_address(addr: SocketAddr, at: *mut sockaddr, len: *mut socklen_t) {
    if at.is_null() || len.is_null() {
        return;
    }
    let family = |family: c_int| u16::try_from(family).unwrap_or(0).to_ne_bytes();
    let port = addr.port().to_be_bytes();
    let octets = match addr.ip() {
        IpAddr::V4(v4) => [&family(libc::AF_INET)[..], &port, &v4.octets(), &[0; 8]].concat(),
        IpAddr::V6(v6) => [
            &family(libc::AF_INET6)[..],
            &port,
            &[0; 4],
            &v6.octets(),
            &[0; 4],
        ]
        .concat(),
    };
    // SAFETY: `len` octets at `at` may be written, by the contract.
    unsafe {
        give(&octets, at.cast(), *len as usize);
        *len = socklen_t::try_from(octets.len()).unwrap_or(0);
    }
}

/// The buffers of a scattered call.
///
/// # Safety
/// `count` entries at `iov` are readable.
unsafe fn vectors<'a>(iov: *const iovec, count: usize) -> &'a [iovec] {
    if count == 0 || iov.is_null() {
        return &[];
    }
    // SAFETY: by the contract.
    unsafe { core::slice::from_raw_parts(iov, count) }
}

/// All octets of the buffers.
///
/// # Safety
/// They are readable.
unsafe fn gather(vectors: &[iovec]) -> Vec<u8> {
    // SAFETY: by the contract.
    let pieces = vectors
        .iter()
        .map(|v| unsafe { octets(v.iov_base, v.iov_len) });
    pieces.collect::<Vec<_>>().concat()
}

/// Fills the buffers one after the other.
///
/// # Safety
/// They may be written.
unsafe fn scatter(mut from: &[u8], vectors: &[iovec]) {
    for vector in vectors {
        // SAFETY: by the contract.
        let given = unsafe { give(from, vector.iov_base, vector.iov_len) };
        from = &from[given..];
    }
}

fn room(vectors: &[iovec]) -> usize {
    vectors.iter().map(|vector| vector.iov_len).sum()
}

unsafe extern "C" fn free(data: Data) {
    PRESENT.store(core::ptr::null_mut(), Ordering::Release);
    // SAFETY: what init made, given back once.
    let table = unsafe { Box::from_raw(data.cast::<Table>()) };
    table.end();
}

unsafe extern "C" fn socket(data: Data, domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: the table's own user data.
    answer(unsafe { table(data) }.socket(domain, kind, protocol))
}

unsafe extern "C" fn bind(data: Data, fd: c_int, addr: *const sockaddr, len: socklen_t) -> c_int {
    // SAFETY: the table's own user data, and an address as bind(2) has it.
    let (table, addr) = unsafe { (table(data), address(addr, len)) };
    answer(addr.and_then(|addr| table.bind(fd, addr)))
}

unsafe extern "C" fn listen(data: Data, fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: the table's own user data.
    answer(unsafe { table(data) }.listen(fd, backlog))
}

unsafe extern "C" fn accept(
    data: Data,
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the table's own user data.
    let accepted = unsafe { table(data) }.accept(fd);
    answer(accepted.map(|(fd, peer)| {
        // SAFETY: room for an address as accept(2) has it.
        unsafe { give_address(peer, addr, len) };
        fd
    }))
}

unsafe extern "C" fn connect(
    data: Data,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: the table's own user data, and an address as connect(2) has it.
    let (table, addr) = unsafe { (table(data), address(addr, len)) };
    answer(addr.and_then(|addr| table.connect(fd, addr)))
}

unsafe extern "C" fn read(data: Data, fd: c_int, to: *mut c_void, len: usize) -> ssize_t {
    // SAFETY: as for recv.
    unsafe { recv(data, fd, to, len, 0) }
}

unsafe extern "C" fn readv(data: Data, fd: c_int, iov: *const iovec, len: c_int) -> ssize_t {
    // SAFETY: buffers as readv(2) has them.
    let vectors = unsafe { vectors(iov, usize::try_from(len).unwrap_or(0)) };
    // SAFETY: the table's own user data.
    let read = unsafe { table(data) }.recv(fd, room(vectors), 0);
    count(read.map(|octets| {
        // SAFETY: they may be written.
        unsafe { scatter(&octets, vectors) };
        octets.len()
    }))
}

unsafe extern "C" fn recv(
    data: Data,
    fd: c_int,
    to: *mut c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the table's own user data.
    let read = unsafe { table(data) }.recv(fd, len, flags);
    // SAFETY: `len` octets of room as recv(2) has it.
    count(read.map(|octets| unsafe { give(&octets, to, len) }))
}

unsafe extern "C" fn recvfrom(
    data: Data,
    fd: c_int,
    to: *mut c_void,
    len: usize,
    flags: c_int,
    _from: *mut sockaddr,
    _from_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: as for recv; a stream tells no sender.
    unsafe { recv(data, fd, to, len, flags) }
}

unsafe extern "C" fn recvmsg(data: Data, fd: c_int, message: *mut msghdr, flags: c_int) -> ssize_t {
    // SAFETY: a message as recvmsg(2) has it.
    let message = unsafe { &mut *message };
    // SAFETY: its buffers.
    let vectors = unsafe { vectors(message.msg_iov, message.msg_iovlen) };
    message.msg_controllen = 0;
    message.msg_flags = 0;
    // SAFETY: the table's own user data.
    let read = unsafe { table(data) }.recv(fd, room(vectors), flags);
    count(read.map(|octets| {
        // SAFETY: they may be written.
        unsafe { scatter(&octets, vectors) };
        octets.len()
    }))
}

unsafe extern "C" fn write(data: Data, fd: c_int, from: *const c_void, len: usize) -> ssize_t {
    // SAFETY: as for send.
    unsafe { send(data, fd, from, len, 0) }
}

unsafe extern "C" fn writev(data: Data, fd: c_int, iov: *const iovec, len: c_int) -> ssize_t {
    // SAFETY: buffers as writev(2) has them, and the table's own user data.
    let (octets, table) = unsafe {
        let vectors = vectors(iov, usize::try_from(len).unwrap_or(0));
        (gather(vectors), table(data))
    };
    count(table.send(fd, &octets, 0))
}

unsafe extern "C" fn send(
    data: Data,
    fd: c_int,
    from: *const c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the table's own user data, and `len` octets as send(2) has them.
    let (table, octets) = unsafe { (table(data), octets(from, len)) };
    count(table.send(fd, octets, flags))
}

unsafe extern "C" fn sendto(
    data: Data,
    fd: c_int,
    from: *const c_void,
    len: usize,
    flags: c_int,
    _to: *const sockaddr,
    _to_len: socklen_t,
) -> ssize_t {
    // SAFETY: as for send; a stream has one peer.
    unsafe { send(data, fd, from, len, flags) }
}

unsafe extern "C" fn sendmsg(
    data: Data,
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: a message as sendmsg(2) has it, with its buffers, and the table's own user data.
    let (octets, table) = unsafe {
        let message = &*message;
        (
            gather(vectors(message.msg_iov, message.msg_iovlen)),
            table(data),
        )
    };
    count(table.send(fd, &octets, flags))
}

// The last argument is variable in C. Where it is passed as a named one is (System V on x86-64, AAPCS64 on Linux), an integer or
// pointer of a word stands where this function looks for it; a command without one does not look.
unsafe extern "C" fn fcntl(data: Data, fd: c_int, command: c_int, argument: c_long) -> c_int {
    // SAFETY: the table's own user data.
    answer(unsafe { table(data) }.fcntl(fd, command, argument))
}

unsafe extern "C" fn ioctl(data: Data, fd: c_int, request: c_ulong, argument: *mut c_int) -> c_int {
    // SAFETY: the table's own user data.
    let value = unsafe { table(data) }.ioctl(fd, request);
    answer(value.map(|value| {
        // SAFETY: the requests that are known here tell a number.
        unsafe { argument.write(value) };
        0
    }))
}

unsafe extern "C" fn close(data: Data, fd: c_int) -> c_int {
    // SAFETY: the table's own user data.
    answer(unsafe { table(data) }.close(fd))
}

unsafe extern "C" fn shutdown(data: Data, fd: c_int, how: c_int) -> c_int {
    // SAFETY: the table's own user data.
    answer(unsafe { table(data) }.shutdown(fd, how))
}

unsafe extern "C" fn table_getsockopt(
    data: Data,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the table's own user data.
    let told = unsafe { table(data) }.getsockopt(fd, level, name);
    answer(told.map(|mut octets| {
        // SAFETY: `len` says how much room there is at `value`, as in getsockopt(2).
        unsafe {
            // Of a struct that is longer than ours is the rest is nought.
            if level == libc::SOL_TCP && name == libc::TCP_INFO {
                octets.resize(*len as usize, 0);
            }
            let given = give(&octets, value, *len as usize);
            *len = socklen_t::try_from(given).unwrap_or(0);
        }
        0
    }))
}

/// The system's function of this name, for our descriptors too: see the [module](self).
///
/// # Safety
/// As getsockopt(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let present = PRESENT.load(Ordering::Acquire);
    // SAFETY: null or a table; packetdrill frees it when it calls nothing else any more.
    if let Some(table) = unsafe { present.as_ref() }
        && table.has(fd)
    {
        // SAFETY: the table's user data, and what the caller gave.
        return unsafe { table_getsockopt(present.cast(), fd, level, name, value, len) };
    }
    // SAFETY: the system call with the caller's arguments.
    let result = unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, value, len) };
    c_int::try_from(result).unwrap_or(-1)
}

unsafe extern "C" fn setsockopt(
    data: Data,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: the table's own user data, and `len` octets as setsockopt(2) has them.
    let (table, value) = unsafe { (table(data), octets(value, len as usize)) };
    answer(table.setsockopt(fd, level, name, value))
}

unsafe extern "C" fn poll(data: Data, fds: *mut pollfd, len: c_ulong, timeout: c_int) -> c_int {
    let len = usize::try_from(len).unwrap_or(0);
    if len == 0 || fds.is_null() {
        return 0;
    }
    // SAFETY: the table's own user data, and `len` entries as poll(2) has them.
    let (table, fds) = unsafe { (table(data), core::slice::from_raw_parts_mut(fds, len)) };
    answer(table.poll(fds, timeout))
}

unsafe extern "C" fn netdev_send(data: Data, packet: *const c_void, len: usize) -> c_int {
    // SAFETY: the table's own user data, and `len` octets of a packet.
    unsafe { table(data).netdev_send(octets(packet, len)) };
    0
}

unsafe extern "C" fn netdev_receive(
    data: Data,
    to: *mut c_void,
    len: *mut usize,
    at: *mut c_longlong,
) -> c_int {
    // SAFETY: the table's own user data.
    let (when, packet) = unsafe { table(data) }.netdev_receive().unwrap_or_default();
    // SAFETY: `len` says how much room there is for a packet, and `at` is for its time.
    unsafe {
        *len = give(&packet, to, *len);
        *at = c_longlong::try_from(when.as_nanos() / 1000).unwrap_or(c_longlong::MAX);
    }
    0
}

unsafe extern "C" fn usleep(data: Data, micros: c_uint) -> c_int {
    // SAFETY: the table's own user data.
    unsafe { table(data) }.usleep(micros);
    0
}

unsafe extern "C" fn gettimeofday(data: Data, to: *mut timeval, _zone: *mut c_void) -> c_int {
    // SAFETY: the table's own user data.
    let micros = unsafe { table(data) }.now().as_nanos() / 1000;
    let part = |micros: u64| i64::try_from(micros).unwrap_or(i64::MAX);
    // SAFETY: room for the time.
    unsafe {
        to.write(timeval {
            tv_sec: part(micros / 1_000_000),
            tv_usec: part(micros % 1_000_000),
        });
    }
    0
}

unsafe extern "C" fn epoll_create(_: Data, _: c_int) -> c_int {
    answer(Err(Errno::ENOSYS))
}

unsafe extern "C" fn epoll_ctl(_: Data, _: c_int, _: c_int, _: c_int, _: *mut c_void) -> c_int {
    answer(Err(Errno::ENOSYS))
}

unsafe extern "C" fn epoll_wait(_: Data, _: c_int, _: *mut c_void, _: c_int, _: c_int) -> c_int {
    answer(Err(Errno::ENOSYS))
}

unsafe extern "C" fn pipe(_: Data, _: *mut c_int) -> c_int {
    answer(Err(Errno::ENOSYS))
}

unsafe extern "C" fn splice(
    _: Data,
    _: c_int,
    _: *mut i64,
    _: c_int,
    _: *mut i64,
    _: usize,
    _: c_uint,
) -> ssize_t {
    answer(Err(Errno::ENOSYS))
}
