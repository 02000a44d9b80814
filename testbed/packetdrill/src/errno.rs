//! Why a call fails, as an `errno`.

/// What a call returns: a count or descriptor, or an `errno`.
pub(crate) type Result<T> = core::result::Result<T, Errno>;

/// An `errno`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

macro_rules! errnos {
    ($($name:ident)*) => { impl Errno { $(pub(crate) const $name: Self = Self(libc::$name);)* } };
}

errnos!(
    EAGAIN EALREADY EBADF ECONNABORTED ECONNREFUSED ECONNRESET EHOSTUNREACH EINPROGRESS EINVAL EISCONN
    ENOPROTOOPT ENOSYS ENOTCONN EOPNOTSUPP EPIPE EPROTONOSUPPORT ETIMEDOUT EAFNOSUPPORT EADDRINUSE
);
