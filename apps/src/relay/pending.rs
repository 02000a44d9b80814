//! A flow between its SYN and its third ACK: small, and silent towards its *opener*, who sent the SYN, until its *answerer*
//! has answered. Either may be the subscriber.

use mptcp::handshake::capable::{Agreed, CapableRequest};
use mptcp::{Key, LocalKey, Token, Version};
use stack::tcp::handshake::{Accepting, Offer, Opening};
use stack::{Alarm, FlowKey, Instant, SeqNum, Side, Tuple};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

/// How the flow was asked for, and so how the opener is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// SYN with this MP_CAPABLE: the answer carries one too, and the opener's leg is Multipath TCP.
    Capable(CapableRequest),
    /// Plain SYN, which goes on with MP_CAPABLE: we open Multipath TCP in its sender's place, as the answerer's leg.
    Opening(Offering),
    /// Plain SYN, or a plain one after such with MP_CAPABLE: the answer carries none.
    Plain,
}

/// The MP_CAPABLE that we add to a host's SYN, the same each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offering {
    /// The version that we ask for.
    pub(crate) version: Version,
    /// Our key, which version 0 has in the SYN: its token is taken from there on.
    pub(crate) key: Option<Key>,
}

impl Offering {
    /// The token that is taken for it.
    pub(crate) fn token(&self) -> Option<Token> {
        self.key.map(|key| key.token(self.version))
    }
}

/// Addresses and ports of a flow as each side of the box knows it, both from the subscriber's to the Internet's end, and
/// the side that opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// As the subscriber's segments read.
    pub(crate) inner: Tuple,
    /// As segments towards the Internet leave: the same, unless the box translates the subscriber's address.
    pub(crate) outer: Tuple,
    /// Where the SYN came from.
    pub(crate) opener: Side,
}

impl Ends {
    /// A flow that is not translated, opened by the subscriber that sends as `inner`.
    pub(crate) const fn outbound(inner: Tuple) -> Self {
        Self {
            inner,
            outer: inner,
            opener: Side::Access,
        }
    }

    /// A flow that is not translated, opened from the Internet by a SYN that was received as `syn`.
    pub(crate) const fn inbound(syn: Tuple) -> Self {
        let inner = syn.reversed();
        Self {
            inner,
            outer: inner,
            opener: Side::Core,
        }
    }

    /// Of what the opener sends, as we receive it.
    pub(crate) const fn opener_sends(&self) -> Tuple {
        match self.opener {
            Side::Access => self.inner,
            Side::Core => self.outer.reversed(),
        }
    }

    /// Of what we send to the answerer.
    pub(crate) const fn answerer_gets(&self) -> Tuple {
        match self.opener {
            Side::Access => self.outer,
            Side::Core => self.inner.reversed(),
        }
    }

    /// Whether `key` is that of the subscriber's segments, the first of [`keys`](Self::keys).
    pub(crate) fn is_access(&self, key: &FlowKey) -> bool {
        key.side == Side::Access && key.tuple == self.inner
    }

    /// Whether `key` is that of the Internet's segments, the second.
    pub(crate) fn is_core(&self, key: &FlowKey) -> bool {
        key.side == Side::Core && key.tuple == self.outer.reversed()
    }

    /// The keys of the flow: as the subscriber's segments arrive, and as the Internet's do.
    pub(crate) const fn keys(&self) -> [FlowKey; 2] {
        let access = FlowKey {
            side: Side::Access,
            tuple: self.inner,
        };
        let core = FlowKey {
            side: Side::Core,
            tuple: self.outer.reversed(),
        };
        [access, core]
    }
}

/// A SYN that was forwarded and whose split is prepared.
pub(crate) struct Pending {
    /// Addresses and ports as the subscriber's segments read.
    pub(crate) inner: Tuple,
    /// What an IPv4 subscriber's address and port are towards the Internet; nothing for IPv6.
    mapped: SocketAddrV4,
    /// The side that the SYN came from.
    pub(crate) opener: Side,
    /// The opener's initial sequence number.
    pub(crate) iss: SeqNum,
    /// What the opener offered in its last SYN.
    pub(crate) offer: Offer,
    /// How often the SYN was sent.
    pub(crate) syns: u8,
    /// Capable or plain.
    pub(crate) kind: Kind,
    /// Traffic class of the SYN.
    pub(crate) tos: u8,
    /// When the first SYN came.
    pub(crate) opened: Instant,
    /// When the last SYN, or the answer to it, came; the flow expires counted from here.
    pub(crate) touched: Instant,
    /// Where our numbers towards the opener must begin beyond: those of the tuple's former life, out of TIME-WAIT.
    pub(crate) used: Option<SeqNum>,
    /// What the answerer answered, once it did.
    pub(crate) answered: Option<Box<Answered>>,
    /// Its entry in the timer wheel.
    pub(crate) alarm: Alarm,
}

/// A pending flow whose answerer has answered: it waits for the opener's third ACK.
pub(crate) struct Answered {
    /// The half-open connection towards the answerer, its third ACK held back.
    pub(crate) opening: Opening,
    /// The half-open connection towards the opener.
    pub(crate) accepting: Accepting,
    /// What the answerer offered.
    pub(crate) offer: Offer,
    /// Our key, if the SYN+ACK carries MP_CAPABLE. Its token is taken from here on.
    pub(crate) key: Option<LocalKey>,
    /// What the MP_CAPABLE of the answerer's SYN+ACK settled, if we asked for it.
    pub(crate) agreed: Option<Agreed>,
    /// Traffic class of the answer.
    pub(crate) tos: u8,
}

impl Pending {
    /// A flow between `ends` whose first SYN, numbered `iss`, came `now`.
    pub(crate) fn new(
        ends: &Ends,
        iss: SeqNum,
        offer: Offer,
        (kind, tos): (Kind, u8),
        now: Instant,
    ) -> Self {
        // Only IPv4 is ever translated: the room for an IPv6 address would be for nothing in each entry.
        let mapped = match ends.outer.src {
            IpAddr::V4(src) => SocketAddrV4::new(src, ends.outer.src_port),
            IpAddr::V6(_) => SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0),
        };
        Self {
            inner: ends.inner,
            mapped,
            opener: ends.opener,
            iss,
            offer,
            syns: 1,
            kind,
            tos,
            opened: now,
            touched: now,
            used: None,
            answered: None,
            alarm: Alarm::default(),
        }
    }

    /// Addresses and ports as segments towards the Internet leave.
    pub(crate) const fn outer(&self) -> Tuple {
        match self.inner.src {
            IpAddr::V6(_) => self.inner,
            IpAddr::V4(_) => Tuple {
                src: IpAddr::V4(*self.mapped.ip()),
                src_port: self.mapped.port(),
                ..self.inner
            },
        }
    }

    /// Both, and who opened.
    pub(crate) const fn ends(&self) -> Ends {
        Ends {
            inner: self.inner,
            outer: self.outer(),
            opener: self.opener,
        }
    }

    /// The opener's SYN as the answerer sees it: number and options verbatim. It is as good as ours from here on.
    pub(crate) fn opening(&self) -> Opening {
        let mut opening = Opening::new(self.iss, &self.offer, self.touched);
        if self.syns > 1 {
            opening.sent_again(self.touched);
        }
        opening
    }
}

const _: () = assert!(size_of::<Pending>() <= 128, "SYN floods multiply this");
