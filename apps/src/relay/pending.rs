//! A flow between its SYN and its third ACK: small, and silent towards the client until the server has answered.

use mptcp::LocalKey;
use mptcp::handshake::capable::{Agreed, CapableRequest};
use stack::tcp::handshake::{Accepting, Offer, Opening};
use stack::{Instant, SeqNum, Tuple};

/// How the flow was asked for, and so how the client is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SYN with this MP_CAPABLE: the answer carries one too.
    Capable(CapableRequest),
    /// Plain SYN of a host behind us, which goes on with MP_CAPABLE: we open Multipath TCP in the host's place.
    Opening,
    /// Plain SYN, or a plain one after such with MP_CAPABLE: the answer carries none.
    Plain,
}

/// A SYN that was forwarded and whose split is prepared.
pub(crate) struct Pending {
    /// Addresses and ports of the client's SYN.
    pub(crate) tuple: Tuple,
    /// The client's initial sequence number.
    pub(crate) iss: SeqNum,
    /// What the client offered in its last SYN.
    pub(crate) offer: Offer,
    /// How often the SYN was sent.
    pub(crate) syns: u8,
    /// Capable or plain.
    pub(crate) kind: Kind,
    /// Traffic class of the SYN.
    pub(crate) tos: u8,
    /// When the first SYN came.
    pub(crate) opened: Instant,
    /// When the last SYN came; the flow expires counted from here.
    pub(crate) touched: Instant,
    /// What the server answered, once it did.
    pub(crate) answered: Option<Box<Answered>>,
}

/// A pending flow whose server has answered: it waits for the client's third ACK.
pub(crate) struct Answered {
    /// The half-open connection towards the server, its third ACK held back.
    pub(crate) opening: Opening,
    /// The half-open connection towards the client.
    pub(crate) accepting: Accepting,
    /// What the server offered.
    pub(crate) offer: Offer,
    /// Our key, if the SYN+ACK carries MP_CAPABLE. Its token is taken from here on.
    pub(crate) key: Option<LocalKey>,
    /// What the MP_CAPABLE of the server's SYN+ACK settled, if we asked for it.
    pub(crate) agreed: Option<Agreed>,
    /// Traffic class of the server's answer.
    pub(crate) tos: u8,
}

impl Pending {
    /// The client's SYN as the server sees it: number and options verbatim. It is as good as ours from here on.
    pub(crate) fn opening(&self) -> Opening {
        let mut opening = Opening::new(self.iss, &self.offer, self.touched);
        if self.syns > 1 {
            opening.sent_again(self.touched);
        }
        opening
    }
}

const _: () = assert!(size_of::<Pending>() <= 128, "SYN floods multiply this");
