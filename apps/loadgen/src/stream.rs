//! What a generator's ends ask of their connections beside what any owner does.

use mptcp::Stream;
use stack::PacketBuf;

/// Octets that may wait for the peer's acknowledgment, and that may wait for us to read them.
pub(crate) const WINDOW: u32 = 1 << 20;

/// Octets that are queued unsent at most: more would only take memory.
const AHEAD: usize = 256 << 10;

/// Whether one more piece may be queued.
pub(crate) fn has_room<B: PacketBuf>(stream: &Stream<B>) -> bool {
    match stream {
        Stream::Plain(plain) => plain.tcb.unsent() < AHEAD && plain.tcb.queued() < WINDOW as usize,
        Stream::Multipath(connection) => connection.send_room() > 0,
    }
}

/// Subflows that live; a TCP connection has one.
pub(crate) fn subflows<B: PacketBuf>(stream: &Stream<B>) -> usize {
    stream
        .multipath()
        .map_or(1, |connection| connection.subflows().count())
}
