//! The handshake in small structs: what a SYN offers, SYN-RECEIVED ([`Accepting`]) and SYN-SENT ([`Opening`]).
//!
//! Neither holds a queue nor a [`Tcb`](super::Tcb): whoever floods us with SYNs multiplies these 64 octets only.
//! Once established, both end in an [`Agreed`](super::Agreed) from which the owner makes a `Tcb` when the time has come.

mod accepting;
mod opening;
#[cfg(test)]
mod tests;

pub use accepting::{AcceptVerdict, Accepting};
pub use opening::{OpenVerdict, Opening};

use crate::PacketBuf;
use crate::wire::tcp::{Flags, Options, Segment, Timestamps};

/// Largest window shift (RFC 7323 2.3).
pub const WSCALE_MAX: u8 = 14;

/// What a SYN or SYN+ACK offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Largest segment that its sender takes, in octets of payload and TCP options.
    pub mss: Option<u16>,
    /// Shift that its sender wants to apply to the windows it announces.
    pub wscale: Option<u8>,
    /// Whether its sender takes SACK blocks.
    pub sack: bool,
    /// Its timestamps; in a plain SYN the echo means nothing.
    pub ts: Option<Timestamps>,
    /// Its window, never scaled (RFC 7323 2.2).
    pub wnd: u16,
    /// Whether its sender answers congestion marks: an ECN-setup SYN or SYN+ACK (RFC 3168 6.1.1).
    pub ecn: bool,
}

impl Offer {
    /// Reads the offer of a segment with SYN.
    #[must_use]
    pub fn of<B: PacketBuf>(syn: &Segment<B>) -> Self {
        let (ece, cwr) = (syn.flags.has(Flags::ECE), syn.flags.has(Flags::CWR));
        let answer = syn.flags.has(Flags::ACK);
        Self {
            ecn: ece && cwr != answer,
            ..Self::from_options(&syn.options, syn.wnd)
        }
    }

    pub(super) fn from_options(options: &Options, wnd: u16) -> Self {
        Self {
            mss: options.mss,
            wscale: options.wscale.map(|shift| shift.min(WSCALE_MAX)),
            sack: options.sack_permitted,
            ts: options.ts,
            wnd,
            ecn: false,
        }
    }

    /// SMSS towards the offer's sender: its MSS, or the default of its family (RFC 9293 3.7.1: 536, IPv6 1220),
    /// at most `limit`, the largest that our path takes. Never under 64, so that a hostile MSS starves nobody else.
    #[must_use]
    pub fn smss(&self, limit: u16, ipv6: bool) -> u16 {
        let default = if ipv6 { 1220 } else { 536 };
        self.mss.unwrap_or(default).min(limit).max(64)
    }
}
