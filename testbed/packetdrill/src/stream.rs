//! What a host asks of a connection beside what any owner does.

use dataplane::MemBuf;
use mptcp::connection::SubflowId;
use mptcp::{Cx, Stream};
use stack::Slice;
use stack::tcp::{Item, Tcb};
use stack::wire::tcp::{OptBytes, Segment};

/// The TCP of the first subflow, while there is one.
pub(crate) fn tcb_of(stream: &Stream<MemBuf>) -> Option<&Tcb<MemBuf>> {
    match stream {
        Stream::Plain(plain) => Some(&plain.tcb),
        Stream::Multipath(connection) => connection.subflows().next().map(|subflow| subflow.tcb()),
    }
}

/// Takes a segment of subflow `id`; whether it brought octets that are next to TCP, if it is not Multipath TCP.
pub(crate) fn input(
    stream: &mut Stream<MemBuf>,
    cx: &mut Cx<'_>,
    id: SubflowId,
    segment: &Segment<MemBuf>,
) -> bool {
    let next = |stream: &Stream<MemBuf>| match stream {
        Stream::Plain(plain) => Some(plain.tcb.rcv_nxt()),
        Stream::Multipath(_) => None,
    };
    let before = next(stream);
    stream.input(cx, id, segment);
    next(stream) != before
}

/// Has what arrived acknowledged at once.
pub(crate) fn request_ack(stream: &mut Stream<MemBuf>) {
    if let Stream::Plain(plain) = stream {
        plain.tcb.request_ack();
    }
}

/// Most octets of a segment of its own.
pub(crate) fn piece(stream: &Stream<MemBuf>) -> usize {
    match stream {
        Stream::Plain(plain) => plain.tcb.max_payload(0),
        Stream::Multipath(_) => usize::MAX,
    }
}

/// Queues a piece of the stream, with PSH after it if `psh`.
pub(crate) fn send(stream: &mut Stream<MemBuf>, payload: Slice<MemBuf>, psh: bool) {
    match stream {
        Stream::Plain(plain) => plain.tcb.push(Item {
            payload,
            upper: OptBytes::new(),
            psh,
        }),
        Stream::Multipath(connection) => connection.send(payload),
    }
}
