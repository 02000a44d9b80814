//! The states of a connection and the edges between them (RFC 9293 3.3.2).

/// The synchronized states. LISTEN, SYN-SENT and SYN-RECEIVED are small structs of their own, in
/// [`handshake`](super::handshake).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Data flows both ways.
    Established,
    /// We sent or queued our FIN; the peer has not acknowledged it.
    FinWait1,
    /// Our FIN is acknowledged; the peer may still send.
    FinWait2,
    /// We accepted the peer's FIN; we may still send.
    CloseWait,
    /// Both sent a FIN, ours is not acknowledged.
    Closing,
    /// The peer closed first; our FIN is not acknowledged.
    LastAck,
    /// Both FINs are acknowledged; old duplicates die out.
    TimeWait,
    /// Nothing is left.
    Closed,
}
