//! What every connection is lent: randomness, counters, what there is to offer, and where packets go.

use crate::ip;
use crate::options::Options;
use crate::settings::{Flags, Settings};
use dataplane::MemBuf;
use mptcp::handshake::capable;
use mptcp::{AddrId, Cx, Key, MpOption, Versions};
use stack::tcp::handshake::Offer;
use stack::tcp::isn::IsnGenerator;
use stack::wire::tcp::{OptBytes, OutSegment, Timestamps};
use stack::{Instant, Ledger, Rng, SeqNum, Tally, Tuple};
use std::net::IpAddr;

/// What the connections are lent.
pub(crate) struct Tools {
    pub(crate) rng: Rng,
    tcp: Tally<stack::Counter>,
    mptcp: Tally<mptcp::Counter>,
    ledger: Ledger,
    isn: IsnGenerator,
    mtu: u16,
    /// Our further addresses, which Multipath TCP announces.
    pub(crate) endpoints: Vec<(AddrId, IpAddr)>,
    /// Packets that were sent.
    pub(crate) out: Vec<Vec<u8>>,
}

impl Tools {
    pub(crate) fn new(flags: &Flags) -> Self {
        Self {
            rng: Rng::from_u64(1),
            tcp: Tally::default(),
            mptcp: Tally::default(),
            ledger: Ledger::default(),
            isn: IsnGenerator::new(*b"packets to drill"),
            mtu: flags.mtu,
            endpoints: Vec::new(),
            out: Vec::new(),
        }
    }

    pub(crate) fn cx(&mut self, now: Instant) -> Cx<'_> {
        Cx {
            now,
            rng: &mut self.rng,
            tcp: &mut self.tcp,
            mptcp: &mut self.mptcp,
            ledger: &mut self.ledger,
        }
    }

    pub(crate) fn isn(&self, now: Instant, tuple: &Tuple) -> SeqNum {
        self.isn.isn(now, tuple)
    }

    /// The largest segment, TCP options included, that the link and the user allow.
    pub(crate) fn segment_max(&self, tuple: &Tuple, options: &Options) -> u16 {
        let headers = u16::try_from(ip::header_len(tuple.src) + 20).unwrap_or(60);
        let fits = self.mtu.saturating_sub(headers);
        options.maxseg.map_or(fits, |max| max.min(fits))
    }

    pub(crate) fn offer(
        &self,
        now: Instant,
        tuple: &Tuple,
        options: &Options,
        settings: &Settings,
        ecn: bool,
    ) -> Offer {
        let clock = u32::try_from(now.as_millis() & u64::from(u32::MAX)).unwrap_or(0);
        let val = clock.wrapping_add(self.isn.ts_offset(tuple));
        Offer {
            mss: Some(self.segment_max(tuple, options)),
            wscale: settings.wscale(),
            sack: settings.sack,
            ts: settings.timestamps.then_some(Timestamps { val, ecr: 0 }),
            wnd: u16::try_from(options.rcvbuf).unwrap_or(u16::MAX),
            ecn,
        }
    }

    pub(crate) fn terms(&self, settings: &Settings) -> capable::Terms {
        capable::Terms {
            checksum: settings.checksum,
            deny_join_initial: false,
        }
    }

    /// The option of a SYN that offers Multipath TCP with `key`, or none.
    pub(crate) fn capable(
        &self,
        key: Option<Key>,
        versions: Versions,
        settings: &Settings,
    ) -> OptBytes {
        let capable = key.map(|key| capable::syn(versions.first(), key, self.terms(settings)));
        capable.map_or_else(Default::default, |capable| MpOption::from(capable).into())
    }

    pub(crate) fn send(&mut self, segment: &OutSegment<MemBuf>, tuple: &Tuple, tos: u8) {
        self.out.push(ip::write(segment, tuple, tos));
    }
}
